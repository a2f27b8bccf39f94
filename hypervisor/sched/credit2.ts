/**
 * credit2, Xen's default scheduler (xen/common/sched/credit2.c).
 *
 * Every vcpu has credit, in cycles. A running vcpu burns it at a rate that is inverse to its weight: cycles * maxWeight /
 * weight. The runnable ones wait in a queue ordered by credit, and a pCPU that looks for work takes the first that may
 * run there. When that one's credit is used up, everybody gets CREDIT_INIT more, so over several resets each
 * busy vcpu gets time in proportion to its weight, and one that sleeps keeps at most a little extra. A vcpu that wakes
 * goes to an idle pCPU, the one it last ran on if it can, or else to the one whose vcpu has least credit, if less
 * than its own. Nobody is preempted within RATELIMIT.
 *
 * One queue serves all pCPUs, as with Xen's `credit2_runqueue=all`: balancing is then the placement alone.
 */
import type { Vcpu } from "../domain/vcpu.ts";
import { nsToCycles } from "../time/frequency.ts";
import type { Scheduler, SchedulerHost } from "./scheduler.ts";

/** CSCHED2_CREDIT_INIT, CSCHED2_CARRYOVER_MAX, CSCHED2_MIN_TIMER, CSCHED2_MAX_TIMER, the rate limit, in cycles. */
export const CREDIT_INIT: number = nsToCycles(10_000_000);
const CARRYOVER_MAX = nsToCycles(500_000);
const MIN_TIMER = nsToCycles(500_000);
const MAX_TIMER = nsToCycles(2_000_000);
export const RATELIMIT: number = nsToCycles(1_000_000);
/** What a vcpu that yields is set back by, for one decision. */
const YIELD_BIAS = nsToCycles(1_000_000);
export const DEFAULT_WEIGHT = 256;

/** A vcpu as the scheduler sees it. Plain fields: this is saved state. */
interface Unit {
  readonly vcpu: Vcpu;
  weight: number;
  credit: number;
  /** Fraction of a cycle of credit that burning left over, in 1/weight. */
  residue: number;
  /** pCPU that runs it, -1. */
  pcpu: number;
  queued: boolean;
  yields: boolean;
  /** Cycle up to which its credit is burnt, while it runs. */
  burntTo: number;
  /** Cycle at which it began to run. */
  started: number;
  /** pCPUs that it may run on; null: all. */
  readonly affinity: readonly number[] | null;
}

export class Credit2 implements Scheduler {
  readonly name = "credit2";
  private readonly host: SchedulerHost;
  private readonly units: Map<Vcpu, Unit> = new Map();
  /** Waiting units, most credit first; those of equal credit in the order in which they came. */
  private readonly queue: Unit[] = [];
  private readonly running: (Unit | null)[];
  /** Idle pCPUs that were already asked to take something. */
  private readonly tickled: boolean[];
  private readonly ends: number[];
  private maxWeight = 1;

  constructor(host: SchedulerHost) {
    this.host = host;
    this.running = host.pcpus.map(() => null);
    this.tickled = host.pcpus.map(() => false);
    this.ends = host.pcpus.map(() => Infinity);
  }

  insert(vcpu: Vcpu): void {
    const { weight, affinity } = vcpu.domain.options;
    const allowed = affinity?.[vcpu.id]?.filter((p) => p < this.running.length) ?? null;
    this.units.set(vcpu, {
      vcpu,
      weight: weight ?? DEFAULT_WEIGHT,
      credit: CREDIT_INIT,
      residue: 0,
      pcpu: -1,
      queued: false,
      yields: false,
      burntTo: 0,
      started: 0,
      affinity: allowed !== null && allowed.length > 0 ? allowed : null,
    });
    this.updateMaxWeight();
  }

  remove(vcpu: Vcpu): void {
    const unit = this.units.get(vcpu);
    if (unit === undefined) return;
    this.dequeue(unit);
    if (unit.pcpu >= 0) {
      this.host.tickle(unit.pcpu);
      this.running[unit.pcpu] = null;
    }
    this.units.delete(vcpu);
    this.updateMaxWeight();
  }

  setWeight(vcpu: Vcpu, weight: number): void {
    this.units.get(vcpu)!.weight = weight;
    this.updateMaxWeight();
  }

  private updateMaxWeight(): void {
    this.maxWeight = 1;
    for (const unit of this.units.values()) this.maxWeight = Math.max(this.maxWeight, unit.weight);
  }

  private mayRun(unit: Unit, pcpu: number): boolean {
    return unit.affinity === null || unit.affinity.includes(pcpu);
  }

  private enqueue(unit: Unit): void {
    let at = this.queue.length;
    while (at > 0 && this.queue[at - 1]!.credit < unit.credit) at--;
    this.queue.splice(at, 0, unit);
    unit.queued = true;
  }

  private dequeue(unit: Unit): void {
    if (!unit.queued) return;
    this.queue.splice(this.queue.indexOf(unit), 1);
    unit.queued = false;
  }

  private burn(unit: Unit, now: number): void {
    const cycles = now - unit.burntTo;
    if (cycles <= 0) return;
    unit.burntTo = now;
    const spent = cycles * this.maxWeight + unit.residue;
    unit.credit -= Math.floor(spent / unit.weight);
    unit.residue = spent % unit.weight;
  }

  wake(vcpu: Vcpu): void {
    const unit = this.units.get(vcpu);
    if (unit === undefined || unit.queued || unit.pcpu >= 0) return;
    this.enqueue(unit);
    this.place(unit);
  }

  /** runq_tickle: finds a pCPU that should take `unit` now. */
  private place(unit: Unit): void {
    const now = this.host.now();
    const preferred = unit.vcpu.processor;
    const idle = (p: number): boolean => this.running[p] === null && !this.tickled[p] && this.mayRun(unit, p);
    let target = preferred < this.running.length && idle(preferred) ? preferred : -1;
    if (target < 0) target = this.running.findIndex((_, p) => idle(p));
    if (target < 0) {
      let least = unit.credit;
      for (const [p, other] of this.running.entries()) {
        if (other === null || !this.mayRun(unit, p)) continue;
        this.burn(other, now);
        if (other.credit < least) {
          least = other.credit;
          target = p;
        }
      }
    }
    if (target < 0) return;
    if (this.running[target] === null) this.tickled[target] = true;
    this.host.tickle(target);
  }

  sleep(vcpu: Vcpu): void {
    const unit = this.units.get(vcpu);
    if (unit === undefined) return;
    this.dequeue(unit);
    if (unit.pcpu >= 0) this.host.tickle(unit.pcpu);
  }

  yield(vcpu: Vcpu): void {
    const unit = this.units.get(vcpu);
    if (unit === undefined || unit.pcpu < 0) return;
    unit.yields = true;
    this.host.tickle(unit.pcpu);
  }

  pick(pcpu: number, now: number): Vcpu | null {
    this.tickled[pcpu] = false;
    const current = this.running[pcpu] ?? null;
    if (current !== null) this.burn(current, now);
    const stays = current?.vcpu.isRunnable() ?? false;
    const next = this.candidate(pcpu, now, stays ? current : null);
    if (current !== null && current !== next) {
      current.pcpu = -1;
      if (stays) this.enqueue(current);
    }
    if (current !== null) current.yields = false;
    this.running[pcpu] = next;
    if (next === null) {
      this.ends[pcpu] = Infinity;
      return null;
    }
    this.dequeue(next);
    if (next !== current) {
      next.pcpu = pcpu;
      next.started = now;
      next.burntTo = now;
    }
    if (next.credit <= 0) this.reset(next, now);
    this.ends[pcpu] = now + this.runtime(next, pcpu, now);
    // Somebody was pushed out: another pCPU may be idle, or run something less entitled.
    if (current !== null && current !== next && stays) this.place(current);
    return next.vcpu;
  }

  sliceEnd(pcpu: number): number {
    return this.ends[pcpu]!;
  }

  /** runq_candidate: `current` is what may go on running, null if it can't. */
  private candidate(pcpu: number, now: number, current: Unit | null): Unit | null {
    if (current !== null && !current.yields && now - current.started < RATELIMIT) return current;
    const first = this.queue.find((unit) => this.mayRun(unit, pcpu)) ?? null;
    if (current === null || first === null) return first ?? current;
    return first.credit > current.credit - (current.yields ? YIELD_BIAS : 0) ? first : current;
  }

  /** Everybody gets credit for another round; `next` decides for how many rounds at once. */
  private reset(next: Unit, now: number): void {
    const rounds = next.credit < -CREDIT_INIT ? 1 + Math.floor(-next.credit / CREDIT_INIT) : 1;
    for (const unit of this.units.values()) {
      if (unit.pcpu >= 0) this.burn(unit, now);
      unit.credit = Math.min(unit.credit + rounds * CREDIT_INIT, CREDIT_INIT + CARRYOVER_MAX);
    }
    this.queue.sort((a, b) => b.credit - a.credit);
  }

  /** How long `unit` may run before `pcpu` should look again: until the first waiting one has more credit. */
  private runtime(unit: Unit, pcpu: number, now: number): number {
    const waiting = this.queue.find((other) => this.mayRun(other, pcpu));
    if (waiting === undefined) return MAX_TIMER;
    const lead = unit.credit - Math.max(waiting.credit, 0);
    const time = Math.ceil((lead * unit.weight) / this.maxWeight);
    const limited = Math.max(time, MIN_TIMER, RATELIMIT - (now - unit.started));
    return Math.min(limited, MAX_TIMER);
  }

  /** Credit of a vcpu in cycles, for dumps and tests. */
  creditOf(vcpu: Vcpu): number {
    return this.units.get(vcpu)!.credit;
  }
}

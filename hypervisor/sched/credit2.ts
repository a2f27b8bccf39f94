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
 * A domain with a cap has a budget of cycles for each period, which its vcpus burn together. When it is used up they wait
 * until the next period, whatever their credit; what was taken too much is taken from what comes next.
 *
 * One queue serves all pCPUs, as with Xen's `credit2_runqueue=all`: balancing is then the placement alone.
 */
import type { Domain } from "../domain/domain.ts";
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
/** CSCHED2_BDGT_REPL_PERIOD: how often budgets are filled up. */
export const BUDGET_PERIOD: number = nsToCycles(10_000_000);
/** Least of a budget that is worth a switch. */
const MIN_BUDGET = nsToCycles(50_000);

/** What a capped domain may still use, in cycles. Its timer runs only while the budget is not full. */
interface Budget {
  readonly total: number;
  left: number;
  /** Handle of the event that fills it up, 0 none. */
  timer: number;
}

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
  /** Shared by the vcpus of the domain; null without a cap. */
  readonly budget: Budget | null;
}

/** Its domain's budget for this period is used up. */
const isParked = ({ budget }: Unit): boolean => budget !== null && budget.left <= 0;

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
  private readonly budgets: Map<Domain, Budget> = new Map();
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
      budget: this.budgetOf(vcpu.domain),
    });
    this.updateMaxWeight();
  }

  private budgetOf(domain: Domain): Budget | null {
    const cap = domain.options.cap ?? 0;
    if (cap <= 0) return null;
    let budget = this.budgets.get(domain);
    if (budget === undefined) {
      const total = Math.ceil((BUDGET_PERIOD * cap) / 100);
      budget = { total, left: total, timer: 0 };
      this.budgets.set(domain, budget);
    }
    return budget;
  }

  /** A period begins: those who waited for it may run again. */
  private refill(budget: Budget): void {
    const now = this.host.now();
    const sharers = [...this.units.values()].filter((unit) => unit.budget === budget);
    for (const unit of sharers) if (unit.pcpu >= 0) this.burn(unit, now);
    const waited = budget.left <= 0;
    budget.left = Math.min(budget.left + budget.total, budget.total);
    budget.timer = 0;
    if (budget.left < budget.total || sharers.some((unit) => unit.pcpu >= 0)) this.startPeriod(budget, now);
    if (waited && budget.left > 0) for (const unit of sharers) if (unit.queued) this.place(unit);
  }

  private startPeriod(budget: Budget, now: number): void {
    if (budget.timer === 0)
      budget.timer = this.host.queue.schedule(now + BUDGET_PERIOD, () => {
        this.refill(budget);
      });
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
    if (unit.budget !== null && ![...this.units.values()].some((other) => other.budget === unit.budget)) {
      this.host.queue.cancel(unit.budget.timer);
      this.budgets.delete(vcpu.domain);
    }
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

  /** `pcpu` may take it now. */
  private isEligible(unit: Unit, pcpu: number): boolean {
    return this.mayRun(unit, pcpu) && !isParked(unit);
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
    if (unit.budget !== null) unit.budget.left -= cycles;
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
    if (isParked(unit)) return;
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
    const next = this.candidate(pcpu, now, stays && !isParked(current!) ? current : null);
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
    if (next.budget !== null) this.startPeriod(next.budget, now);
    this.ends[pcpu] = now + Math.min(this.runtime(next, pcpu, now), this.share(next));
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
    const first = this.queue.find((unit) => this.isEligible(unit, pcpu)) ?? null;
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

  /** What of the budget `unit`, which runs, may use before it must look again. */
  private share({ budget }: Unit): number {
    if (budget === null) return Infinity;
    const sharers = this.running.reduce((n, other) => n + (other?.budget === budget ? 1 : 0), 0);
    return Math.max(MIN_BUDGET, Math.ceil(budget.left / sharers));
  }

  /** How long `unit` may run before `pcpu` should look again: until the first waiting one has more credit. */
  private runtime(unit: Unit, pcpu: number, now: number): number {
    const waiting = this.queue.find((other) => this.isEligible(other, pcpu));
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

/**
 * The loop that makes the machine run. Physical CPUs take turns on the host's one thread: the one whose clock is
 * furthest behind runs for a quantum of cycles past the next. Events of the machine's queue fire when no busy
 * pCPU is behind them any more, so nobody sees an event of his past or future by more than one instruction's cut. An idle
 * pCPU takes no turns; its clock jumps when it is given something to do.
 *
 * Where the loop stops for its caller (`untilCycle`) is no decision of the machine: the turn goes on unchanged
 * at the next call, so a run in pieces is the same run.
 */
import { ACCOUNTED, REMAINING, SLICE_END } from "../cpu/arena.ts";
import type { Core } from "../cpu/core.ts";
import { account } from "../cpu/system/mode.ts";
import { RUNSTATE_running } from "./abi/vcpu-op.ts";
import { setRunstate, stoppedState } from "./domain/runstate.ts";
import { handleExit } from "./hvm/exits.ts";
import { COST_CONTEXT_SWITCH, COST_SCHEDULE, COST_TIMER } from "./hypercalls/costs.ts";
import type { Hypervisor, PhysicalCpu } from "./hypervisor.ts";
import { enterPvGuest } from "./pv/entry.ts";
import { handlePvExit } from "./pv/exits.ts";
import { armFastPath, settleFastPath } from "./pv/fast-path.ts";
import { CALIBRATION_CYCLES, updateVcpuTime } from "./time/pv-clock.ts";

/** Cycles that one pCPU may run ahead of the others. */
export const QUANTUM = 10_000;
/** Longest turn of the only busy pCPU: how often the caller's `until` is asked. */
export const LONG_QUANTUM = 1_000_000;

/** Why `runMachine` came back; as RunOutcome of the machine's interface. */
export type StopReason = "all-shutdown" | "cycle-limit" | "stopped" | "blocked";

/** Runs until `untilCycle` (absolute), until `until` (asked after every turn) says so, or until nothing can run. */
export function runMachine(hv: Hypervisor, untilCycle: number, until: () => boolean = () => false): StopReason {
  for (;;) {
    if (hv.turnEnd < 0 || hv.turn.cycle >= hv.turnEnd) {
      hv.turnEnd = -1;
      if (until()) return "stopped";
      const why = beginTurn(hv, untilCycle);
      if (why !== null) return why;
    }
    // Whoever has just been shut down leaves its pCPU first: where it all ends does not depend on the limit either.
    if (hv.turn.cycle >= untilCycle && (!hv.turn.needsSchedule || anyAlive(hv))) return "cycle-limit";
    step(hv, untilCycle);
  }
}

/** Someone may still run, or wake up. */
const anyAlive = (hv: Hypervisor): boolean => {
  for (const d of hv.domains.values()) if (!d.isShutDown && !d.isDying) return true;
  return false;
};

const isBusy = (p: PhysicalCpu): boolean => p.current !== null || p.needsSchedule;

/** Chooses the pCPU of the next turn and fires what is due. @returns why the machine can't go on, or null. */
function beginTurn(hv: Hypervisor, untilCycle: number): StopReason | null {
  for (;;) {
    let first: PhysicalCpu | null = null;
    let second = Infinity;
    for (const p of hv.pcpus) {
      if (!isBusy(p)) continue;
      if (first === null || p.cycle < first.cycle) {
        if (first !== null) second = Math.min(second, first.cycle);
        first = p;
      } else second = Math.min(second, p.cycle);
    }
    if (first === null) {
      if (!anyAlive(hv)) return "all-shutdown";
      const next = hv.queue.next;
      if (next === Infinity) return "blocked";
      const cycle = Math.max(next, hv.turn.cycle);
      hv.turn.idleTo(Math.min(cycle, untilCycle));
      if (cycle > untilCycle) return "cycle-limit";
      fire(hv);
      continue;
    }
    hv.turn = first;
    if (first.cycle >= hv.queue.next) {
      fire(hv);
      continue;
    }
    hv.turnEnd = second === Infinity ? first.cycle + LONG_QUANTUM : second + QUANTUM;
    return null;
  }
}

function fire(hv: Hypervisor): void {
  const fired = hv.queue.run(hv.turn.cycle);
  hv.chargeXen("timer", fired * COST_TIMER);
}

/** One stretch of the turn: schedule if it is due, run the vcpu up to what comes first, handle its exit. */
function step(hv: Hypervisor, untilCycle: number): void {
  const p = hv.turn;
  if (p.needsSchedule || p.cycle >= hv.scheduler.sliceEnd(p.index)) schedule(hv, p);
  const vcpu = p.current;
  if (vcpu === null) {
    hv.turnEnd = -1;
    return;
  }
  const due = Math.min(hv.turnEnd, hv.queue.next, hv.scheduler.sliceEnd(p.index));
  if (due <= p.cycle) {
    // The turn ends, whatever the caller's limit: an event fires when nobody is behind it, before anything else is scheduled.
    hv.turnEnd = -1;
    return;
  }
  if (untilCycle <= p.cycle) return;
  const deadline = Math.min(due, untilCycle);
  const core = vcpu.core;
  core.activate();
  setCycle(core, p.cycle);
  core.f64[ACCOUNTED >>> 3] = p.cycle;
  hv.inGuest = true;
  if (vcpu.pv === null) {
    const code = hv.engine.run(core, deadline);
    account(core);
    handleExit(vcpu, code);
  } else if (!vcpu.pv.checkEvents || enterPvGuest(vcpu)) {
    armFastPath(vcpu);
    const code = hv.engine.run(core, deadline);
    settleFastPath(vcpu);
    account(core);
    handlePvExit(vcpu, code);
  }
  p.cycle = core.now();
  hv.inGuest = false;
  if (hv.queue.next <= p.cycle) hv.turnEnd = -1;
}

/** Sets the clock of a core that is placed on a pCPU. */
export function setCycle(core: Core, cycle: number): void {
  core.f64[SLICE_END >>> 3] = cycle;
  core.i32[REMAINING >>> 2] = 0;
}

function schedule(hv: Hypervisor, p: PhysicalCpu): void {
  const before = p.current;
  const next = hv.scheduler.pick(p.index, p.cycle);
  // Behind the choice: who goes back into the queue for it may tickle this very pCPU, which has chosen already.
  p.needsSchedule = false;
  hv.chargeXen("schedule", COST_SCHEDULE);
  if (next === before) {
    if (next !== null && p.cycle - next.timeRenewed >= CALIBRATION_CYCLES) {
      next.core.activate();
      updateVcpuTime(next, p.cycle);
    }
    return;
  }
  if (before !== null) {
    before.isRunning = false;
    // Its copy of the runstate is written through its own page tables.
    if (before.runstateArea !== null) before.core.activate();
    setRunstate(before, stoppedState(before), p.cycle);
  }
  p.current = next;
  if (next === null) return;
  hv.chargeXen("schedule", COST_CONTEXT_SWITCH);
  next.isRunning = true;
  if (next.pv !== null) {
    next.pv.checkEvents = true;
    next.pv.segmentsStale = true;
  }
  next.processor = p.index;
  next.core.activate();
  setRunstate(next, RUNSTATE_running, p.cycle);
  updateVcpuTime(next, p.cycle);
}

/** What every scheduler gives the machine loop. Cycles are absolute machine cycles. */
import type { Vcpu } from "../domain/vcpu.ts";

export interface Scheduler {
  readonly name: string;
  /** A new vcpu, not runnable yet. */
  insert(vcpu: Vcpu): void;
  remove(vcpu: Vcpu): void;
  /** The vcpu is runnable (it may have been before). */
  wake(vcpu: Vcpu): void;
  /** The vcpu is not runnable any more (it may not have been before). */
  sleep(vcpu: Vcpu): void;
  /** The running vcpu lets others go first once (SCHEDOP_yield). */
  yield(vcpu: Vcpu): void;
  /** Takes note that `vcpu` ran on `pcpu` up to `now`; called before every decision and when it stops. */
  ran(vcpu: Vcpu, pcpu: number, now: number): void;
  /** What `pcpu` runs from `now` on; null is idle. */
  pick(pcpu: number, now: number): Vcpu | null;
  /** Cycle at which `pcpu` has to ask again if nothing else happens, for what `pick` returned last. */
  sliceEnd(pcpu: number): number;
}

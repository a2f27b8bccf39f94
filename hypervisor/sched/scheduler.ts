/** What every scheduler gives the machine loop. Cycles are absolute machine cycles. */
import type { Clock } from "../../cpu/core.ts";
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
  /** What `pcpu` runs from `now` on; null is idle. The one that ran before is charged up to `now`. */
  pick(pcpu: number, now: number): Vcpu | null;
  /** Cycle at which `pcpu` has to ask again if nothing else happens, for what `pick` returned last. */
  sliceEnd(pcpu: number): number;
  /** Weight of a domain's vcpus; only later time counts by it. */
  setWeight(vcpu: Vcpu, weight: number): void;
}

/** What a scheduler asks of the machine. */
export interface SchedulerHost {
  readonly pcpus: readonly { readonly index: number }[];
  now(): number;
  readonly queue: Pick<Clock, "schedule" | "cancel">;
  /** Asks `pick` again for `pcpu` as soon as possible. */
  tickle(pcpu: number): void;
}

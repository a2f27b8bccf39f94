/** What became of an instruction that was emulated for the guest, and the step to the next one. */
import { VEC_DB } from "../../cpu/core.ts";
import { FLAG_RF, FLAG_TF } from "../../cpu/flags.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { latchDebugStatus } from "./debug-registers.ts";
import { injectTrap, TBF_EXCEPTION } from "./inject.ts";
import * as R from "./registers.ts";
import { moveRip } from "./syscall.ts";

/** What became of the instruction: done, the guest's #GP(0) or another fault that waits already, or not ours. */
export const DONE = 0;
export const FAULTED = 1;
export const UNHANDLED = 2;
/** Done in part: it is to be executed again. */
export const AGAIN = 3;

const DR6_BS = 0x4000;

/** RIP goes past the instruction; a single step is due after it (pv_emul_instruction_done). */
export function instructionDone(vcpu: Vcpu, length: number): void {
  const i = vcpu.core.i32;
  moveRip(vcpu, length);
  i[R.RFLAGS]! &= ~FLAG_RF;
  if ((i[R.RFLAGS]! & FLAG_TF) === 0) return;
  latchDebugStatus(vcpu, DR6_BS);
  if ((vcpu.pv!.bounceFlags & TBF_EXCEPTION) === 0) injectTrap(vcpu, VEC_DB);
}

/** Exits of system instructions to the hypervisor. */
import { EXIT_LENGTH, EXIT_QUAL, EXIT_REASON, INTERRUPTIBILITY, MODE, RIP } from "../arena.ts";
import { type Core, DELIVERY_NATIVE } from "../core.ts";
import { H_EXIT_AT, MODE_16, MODE_64, MODE_CODE_MASK } from "../uops/uop.ts";

/** True if there is a controller (the guest is NONROOT, or PV) and its controls have the INTERCEPT_* bit. */
export const intercepts = (core: Core, bit: number): boolean =>
  core.controls.delivery !== DELIVERY_NATIVE && (core.controls.intercepts & bit) !== 0;

/** Fills an exit whose RIP stays at the instruction of `length` bytes; returns H_EXIT_AT. */
export function exitAt(core: Core, reason: number, length: number, qualLo = 0, qualHi = 0): number {
  core.i32[EXIT_REASON >>> 2] = reason;
  core.i32[EXIT_LENGTH >>> 2] = length;
  core.i32[EXIT_QUAL >>> 2] = qualLo;
  core.i32[(EXIT_QUAL + 4) >>> 2] = qualHi;
  return H_EXIT_AT;
}

/** The hypervisor has done an intercepted instruction: RIP goes past its EXIT_LENGTH bytes, and an interrupt shadow ends. */
export function skipInstruction(core: Core): void {
  const i = core.i32;
  const length = i[EXIT_LENGTH >>> 2]!;
  const lo = (i[RIP >>> 2]! + length) | 0;
  const code = i[MODE >>> 2]! & MODE_CODE_MASK;
  if (code === MODE_64 && lo >>> 0 < length) i[(RIP + 4) >>> 2]! += 1;
  i[RIP >>> 2] = code === MODE_16 ? lo & 0xffff : lo;
  i[INTERRUPTIBILITY >>> 2]! &= ~3;
}

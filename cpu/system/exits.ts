/** Exits of system instructions to the hypervisor. */
import { EXIT_LENGTH, EXIT_QUAL, EXIT_REASON } from "../arena.ts";
import { type Core, DELIVERY_NATIVE } from "../core.ts";
import { H_EXIT_AT } from "../uops/uop.ts";

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

/** Changes of RFLAGS by instructions (POPF, IRET, CLI, STI), and what they make deliverable. */
import { INTERRUPTIBILITY, NMI_PENDING, RFLAGS_SYS } from "../arena.ts";
import { type Core, INTERCEPT_INTR_WINDOW, INTERCEPT_NMI_WINDOW } from "../core.ts";
import { FLAG_IF, FLAG_RF, getFlags, setFlags } from "../flags.ts";
import { BLOCKED_NMI } from "./mode.ts";

/** Makes the run loop look at interrupts at the next cut, if there may be one to take. */
export function noticeInterrupts(core: Core): void {
  const i = core.i32;
  const wants = core.controls.intercepts;
  if (i[RFLAGS_SYS >>> 2]! & FLAG_IF) {
    if (wants & INTERCEPT_INTR_WINDOW || (core.interrupts !== null && core.interrupts.pending() >= 0))
      core.breakSlice();
  }
  if ((i[NMI_PENDING >>> 2] !== 0 || wants & INTERCEPT_NMI_WINDOW) && !(i[INTERRUPTIBILITY >>> 2]! & BLOCKED_NMI))
    core.breakSlice();
}

/** RFLAGS = the bits of `value` that `mask` names, the others as they are. RF only if it is asked for. */
export function changeFlags(core: Core, value: number, mask: number): void {
  setFlags(core, (getFlags(core) & ~mask & ~FLAG_RF) | (value & mask));
}

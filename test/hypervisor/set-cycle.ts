import { REMAINING, SLICE_END } from "../../cpu/arena.ts";
import type { Core } from "../../cpu/core.ts";

/** Moves the clock of the active core. */
export function setCycleTo(core: Core, cycle: number): void {
  core.f64[SLICE_END >>> 3] = cycle;
  core.i32[REMAINING >>> 2] = 0;
}

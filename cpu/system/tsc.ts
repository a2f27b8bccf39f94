/** The time-stamp counter: cycles of the core plus TSC_OFFSET, never behind what another core showed. */
import { S_RAX, S_RDX, SLOTS, TSC_OFFSET } from "../arena.ts";
import type { Core } from "../core.ts";

/** The TSC as a number of cycles. Every core that looks sees at least what any core saw. */
export function readTsc(core: Core): number {
  const own = core.now() + core.f64[TSC_OFFSET >>> 3]!;
  const group = core.shared;
  // Cores with different offsets (vcpus of different domains) have clocks of their own.
  const floor = group.lastTsc + core.f64[TSC_OFFSET >>> 3]!;
  const value = Math.max(own, floor);
  group.lastTsc = value - core.f64[TSC_OFFSET >>> 3]!;
  return value;
}

export function writeTsc(core: Core, value: number): void {
  core.f64[TSC_OFFSET >>> 3] = value - core.now();
}

export const lowWord = (value: number): number => (value % 0x100000000) | 0;
export const highWord = (value: number): number => Math.floor(value / 0x100000000) | 0;
/** hi:lo (unsigned) as a number; exact below 2^53. */
export const toNumber = (lo: number, hi: number): number => (hi >>> 0) * 0x100000000 + (lo >>> 0);

/** EDX:EAX = hi:lo, upper halves cleared. */
export function setEdxEax(core: Core, lo: number, hi: number): void {
  const i = core.i32;
  i[(SLOTS + S_RAX) >>> 2] = lo;
  i[(SLOTS + S_RAX + 4) >>> 2] = 0;
  i[(SLOTS + S_RDX) >>> 2] = hi;
  i[(SLOTS + S_RDX + 4) >>> 2] = 0;
}

// The two ends of every SSE floating-point operation: what MXCSR asks for, and what it is told. SDM volume 1, 11.5.

import { CR4, MXCSR } from "../arena.ts";
import { type Core, raise, VEC_UD, VEC_XM } from "../core.ts";
import { isAmd } from "../system/cpu-model.ts";
import { createFloatContext, type FloatContext, PRE_COMPUTATION } from "./softfloat.ts";

export const MXCSR_INIT = 0x1f80;
const MXCSR_BITS = 0xffff;
/** AMD's misaligned SSE mode: operands of 16 bytes may lie anywhere, but those of moves that ask for alignment (APM volume 1, 4.2.2). */
export const MXCSR_MM = 0x20000;
export const MXCSR_DAZ = 0x40;
export const MXCSR_FTZ = 0x8000;
const CR4_OSXMMEXCPT = 0x400;
const STATUS = MXCSR >>> 2;

/** Bits that LDMXCSR accepts; others give #GP(0). FXSAVE stores this as MXCSR_MASK. */
export const mxcsrMask = (core: Core): number => (isAmd(core) ? MXCSR_BITS | MXCSR_MM : MXCSR_BITS);

/** The context of SSE operations; operations do not nest. */
export const sse: FloatContext = createFloatContext();

/** Starts an operation. */
export function beginSse(core: Core): void {
  const mxcsr = core.i32[STATUS] as number;
  sse.flags = 0;
  sse.masks = (mxcsr >> 7) & 0x3f;
  sse.rounding = (mxcsr >> 13) & 3;
  sse.daz = (mxcsr & MXCSR_DAZ) !== 0;
  sse.ftz = (mxcsr & MXCSR_FTZ) !== 0;
}

/**
 * Posts the exceptions. Nonzero: one of them is unmasked, the fault is recorded and nothing may be written. An unmasked
 * #I, #D or #Z in one element keeps the later exceptions of all elements from being reported.
 */
export function finishSse(core: Core): number {
  let flags = sse.flags;
  const unmasked = flags & ~sse.masks;
  if (unmasked & PRE_COMPUTATION) flags &= PRE_COMPUTATION;
  core.i32[STATUS] = (core.i32[STATUS] as number) | flags;
  if (unmasked === 0) return 0;
  return raise(core, (core.i32[CR4 >>> 2] as number) & CR4_OSXMMEXCPT ? VEC_XM : VEC_UD);
}

/**
 * Whether JavaScript's own arithmetic may stand in: rounding to nearest, all exceptions masked, #P reported already, no
 * DAZ or FTZ. Operands and results must still be looked at.
 */
export function plainMode(core: Core): boolean {
  return ((core.i32[STATUS] as number) & 0xffe0) === 0x1fa0;
}

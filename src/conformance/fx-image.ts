/** The registers of an FXSAVE image, 64-bit form (SDM table 10-2), to and from a core's state in the arena. */
import * as A from "../../cpu/arena.ts";
import type { Core } from "../../cpu/core.ts";
import { CW_ALWAYS, CW_WRITABLE, refreshSummary } from "../../cpu/fpu/x87-state.ts";

const FX_FSW = 2;
const FX_FTW = 4;
const FX_MXCSR = 24;
const FX_ST = 32;
const FX_XMM = 160;

const word = (fx: Uint8Array, at: number): number => fx[at]! | (fx[at + 1]! << 8);

/** Full tag of a register that is not empty: 0 valid, 1 zero, 2 special. */
function tagOf(u8: Uint8Array, at: number): number {
  const exponent = word(u8, at + 8) & 0x7fff;
  if (exponent === 0) {
    for (let b = 0; b < 8; b++) if (u8[at + b] !== 0) return 2;
    return 1;
  }
  return exponent === 0x7fff || !(u8[at + 7]! & 0x80) ? 2 : 0;
}

/**
 * Loads x87 and SSE registers from `fx` as FXRSTOR does, which brought the processor into that state; the registers in it are
 * relative to the top of the stack.
 */
export function loadFx(core: Core, fx: Uint8Array): void {
  const { u8, i32 } = core;
  const sw = word(fx, FX_FSW);
  const top = (sw >>> 11) & 7;
  i32[A.FPU_CW >>> 2] = (word(fx, 0) & CW_WRITABLE) | CW_ALWAYS;
  i32[A.FPU_SW >>> 2] = sw;
  refreshSummary(core);
  i32[A.MXCSR >>> 2] = word(fx, FX_MXCSR) | (word(fx, FX_MXCSR + 2) << 16);
  for (let n = 0; n < 8; n++) {
    const register = A.FPR + ((top + n) & 7) * 16;
    for (let b = 0; b < 10; b++) u8[register + b] = fx[FX_ST + n * 16 + b]!;
  }
  let tags = 0;
  for (let r = 0; r < 8; r++) tags |= (fx[FX_FTW]! & (1 << r) ? tagOf(u8, A.FPR + r * 16) : 3) << (r * 2);
  i32[A.FPU_TW >>> 2] = tags;
  for (let n = 0; n < 16; n++) {
    const register = A.XMM + n * A.XMM_STRIDE;
    for (let b = 0; b < 16; b++) u8[register + b] = fx[FX_XMM + n * 16 + b]!;
  }
}

/** Stores what FXSAVE would; pointers and reserved bytes are left alone. */
export function storeFx(core: Core, fx: Uint8Array): void {
  const { u8, i32 } = core;
  const cw = i32[A.FPU_CW >>> 2]!;
  const sw = i32[A.FPU_SW >>> 2]!;
  const top = (sw >>> 11) & 7;
  fx[0] = cw;
  fx[1] = cw >>> 8;
  fx[FX_FSW] = sw;
  fx[FX_FSW + 1] = sw >>> 8;
  const full = i32[A.FPU_TW >>> 2]!;
  let tags = 0;
  for (let r = 0; r < 8; r++) if (((full >>> (r * 2)) & 3) !== 3) tags |= 1 << r;
  fx[FX_FTW] = tags;
  const mxcsr = i32[A.MXCSR >>> 2]!;
  for (let b = 0; b < 4; b++) fx[FX_MXCSR + b] = mxcsr >>> (8 * b);
  for (let n = 0; n < 8; n++) {
    const register = A.FPR + ((top + n) & 7) * 16;
    for (let b = 0; b < 10; b++) fx[FX_ST + n * 16 + b] = u8[register + b]!;
  }
  for (let n = 0; n < 16; n++) {
    const register = A.XMM + n * A.XMM_STRIDE;
    for (let b = 0; b < 16; b++) fx[FX_XMM + n * 16 + b] = u8[register + b]!;
  }
}

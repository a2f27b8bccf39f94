/** Shuffles, blends, insertions and extractions of vectors, and widening moves. c = the instruction's immediate, where it has one. */
import { S_T0, SLOTS, XMM } from "../arena.ts";
import type { Core } from "../core.ts";
import { defineHelper } from "../uops/helpers.ts";
import { H_OK } from "../uops/uop.ts";
import { vectorAt } from "./simd-lanes.ts";

const D = 2;
const A = 3;
const C = 7;
const DISP = 8;

/** A copy of d and a, for results whose lanes come from anywhere. */
const first: Uint8Array = new Uint8Array(16);
const second: Uint8Array = new Uint8Array(16);
const first32: Int32Array = new Int32Array(first.buffer);
const second32: Int32Array = new Int32Array(second.buffer);
const second16: Uint16Array = new Uint16Array(second.buffer);

function copyOperands(core: Core, d: number, a: number): void {
  for (let i = 0; i < 4; i++) {
    first32[i] = core.i32[(d >>> 2) + i]!;
    second32[i] = core.i32[(a >>> 2) + i]!;
  }
}

/** PSHUFB: disp = 16, or 8 for MMX registers. */
export const HELPER_PSHUFB: number = defineHelper("PSHUFB", (core, u) => {
  const d = vectorAt(core, u, D);
  copyOperands(core, d, vectorAt(core, u, A));
  const mask = core.i32[(u + DISP) >>> 2]! - 1;
  for (let i = 0; i < 16; i++) core.u8[d + i] = second[i]! & 0x80 ? 0 : first[second[i]! & mask]!;
  return H_OK;
});

/** PALIGNR: d:a shifted right by c bytes. */
export const HELPER_PALIGNR: number = defineHelper("PALIGNR", (core, u) => {
  const d = vectorAt(core, u, D);
  copyOperands(core, d, vectorAt(core, u, A));
  const by = core.u8[u + C]!;
  for (let i = 0; i < 16; i++) {
    const from = i + by;
    core.u8[d + i] = from < 16 ? second[from]! : from < 32 ? first[from - 16]! : 0;
  }
  return H_OK;
});

/** PSHUFLW (disp = 0), PSHUFHW (disp = 4): four words of a by c, the other four as they are. */
export const HELPER_PSHUFW: number = defineHelper("PSHUFLW, PSHUFHW", (core, u) => {
  const d = vectorAt(core, u, D);
  copyOperands(core, d, vectorAt(core, u, A));
  const imm = core.u8[u + C]!;
  const half = core.i32[(u + DISP) >>> 2]!;
  for (let i = 0; i < 8; i++) {
    const from = (i & 4) === half ? half + ((imm >> ((i & 3) * 2)) & 3) : i;
    core.u16[(d >>> 1) + i] = second16[from]!;
  }
  return H_OK;
});

export const HELPER_SHUFPS: number = defineHelper("SHUFPS", (core, u) => {
  const d = vectorAt(core, u, D);
  copyOperands(core, d, vectorAt(core, u, A));
  const imm = core.u8[u + C]!;
  for (let i = 0; i < 4; i++) {
    const lane = (imm >> (i * 2)) & 3;
    core.i32[(d >>> 2) + i] = i < 2 ? first32[lane]! : second32[lane]!;
  }
  return H_OK;
});

export const HELPER_SHUFPD: number = defineHelper("SHUFPD", (core, u) => {
  const d = vectorAt(core, u, D);
  copyOperands(core, d, vectorAt(core, u, A));
  const imm = core.u8[u + C]!;
  for (let i = 0; i < 4; i++) {
    const lane = (i < 2 ? imm & 1 : imm & 2 ? 1 : 0) * 2 + (i & 1);
    core.i32[(d >>> 2) + i] = i < 2 ? first32[lane]! : second32[lane]!;
  }
  return H_OK;
});

// ---- blends -----------------------------------------------------------------------------------------------------------

/** U_HELPER: lanes of disp bytes (2, 4, 8): d[i] = a[i] where bit i of c is set. */
export const HELPER_BLEND: number = defineHelper("blend", (core, u) => {
  const d = vectorAt(core, u, D);
  const a = vectorAt(core, u, A);
  const size = core.i32[(u + DISP) >>> 2]!;
  const imm = core.u8[u + C]!;
  for (let i = 0; i < 16; i++) if ((imm >> Math.trunc(i / size)) & 1) core.u8[d + i] = core.u8[a + i]!;
  return H_OK;
});

/** U_HELPER: lanes of disp bytes (1, 4, 8): d[i] = a[i] where the top bit of XMM0's lane is set. */
export const HELPER_BLENDV: number = defineHelper("blend by XMM0", (core, u) => {
  const d = vectorAt(core, u, D);
  const a = vectorAt(core, u, A);
  const size = core.i32[(u + DISP) >>> 2]!;
  // The mask may be d itself: take its signs first.
  let mask = 0;
  for (let i = 0; i < 16; i++) mask |= (core.u8[XMM + (i | (size - 1))]! >> 7) << i;
  for (let i = 0; i < 16; i++) if ((mask >> i) & 1) core.u8[d + i] = core.u8[a + i]!;
  return H_OK;
});

/** U_HELPER: the 16 (c = 16) or 8 bytes at S_T0, S_T1: bytes of vector d where the top bit of vector a's byte is set. */
export const HELPER_MASKMOV: number = defineHelper("MASKMOV", (core, u) => {
  const d = vectorAt(core, u, D);
  const a = vectorAt(core, u, A);
  const size = core.u8[u + C]!;
  for (let i = 0; i < size; i++) if (core.u8[a + i]! & 0x80) core.u8[SLOTS + S_T0 + i] = core.u8[d + i]!;
  return H_OK;
});

// ---- lanes and general registers -----------------------------------------------------------------------------------------

/** U_HELPER: lane c of disp bytes of vector d = low bytes of slot a. */
export const HELPER_PINSR: number = defineHelper("PINSR", (core, u) => {
  const size = core.i32[(u + DISP) >>> 2]!;
  const to = vectorAt(core, u, D) + core.u8[u + C]! * size;
  const from = SLOTS + core.u8[u + A]!;
  for (let i = 0; i < size; i++) core.u8[to + i] = core.u8[from + i]!;
  return H_OK;
});

/** U_HELPER: slot d = lane c of disp bytes of vector a, zero-extended to 64 bits. */
export const HELPER_PEXTR: number = defineHelper("PEXTR", (core, u) => {
  const size = core.i32[(u + DISP) >>> 2]!;
  const to = SLOTS + core.u8[u + D]!;
  const from = vectorAt(core, u, A) + core.u8[u + C]! * size;
  for (let i = 0; i < 8; i++) core.u8[to + i] = i < size ? core.u8[from + i]! : 0;
  return H_OK;
});

/** INSERTPS: c = immediate; the source dword is already lane 0 of a if it came from memory. */
export const HELPER_INSERTPS: number = defineHelper("INSERTPS", (core, u) => {
  const { i32 } = core;
  const imm = core.u8[u + C]!;
  const d = vectorAt(core, u, D) >>> 2;
  i32[d + ((imm >> 4) & 3)] = i32[(vectorAt(core, u, A) >>> 2) + (imm >> 6)]!;
  for (let i = 0; i < 4; i++) if ((imm >> i) & 1) i32[d + i] = 0;
  return H_OK;
});

/** U_HELPER: slot d = the sign bits of vector a's lanes of c bytes (4, 8). */
export const HELPER_MOVMSK: number = defineHelper("MOVMSK", (core, u) => {
  const size = core.u8[u + C]!;
  const a = vectorAt(core, u, A);
  let mask = 0;
  for (let i = 0; i < 16 / size; i++) mask |= (core.u8[a + i * size + size - 1]! >> 7) << i;
  const d = (SLOTS + core.u8[u + D]!) >>> 2;
  core.i32[d] = mask;
  core.i32[d + 1] = 0;
  return H_OK;
});

// ---- widening moves --------------------------------------------------------------------------------------------------------

/** Bits of disp of HELPER_WIDEN. */
export const WIDEN_SIGNED = 0x100;

/** U_HELPER: lanes of c bytes of a, extended to disp & 15 bytes, with the sign if disp & WIDEN_SIGNED. */
export const HELPER_WIDEN: number = defineHelper("PMOVSX, PMOVZX", (core, u) => {
  const d = vectorAt(core, u, D);
  copyOperands(core, d, vectorAt(core, u, A));
  const from = core.u8[u + C]!;
  const disp = core.i32[(u + DISP) >>> 2]!;
  const to = disp & 15;
  for (let i = 0; i < 16 / to; i++) {
    const fill = disp & WIDEN_SIGNED && second[i * from + from - 1]! & 0x80 ? 0xff : 0;
    for (let k = 0; k < to; k++) core.u8[d + i * to + k] = k < from ? second[i * from + k]! : fill;
  }
  return H_OK;
});

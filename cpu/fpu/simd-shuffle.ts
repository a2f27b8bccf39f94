/**
 * Shuffles, blends, insertions and extractions of vectors, and widening moves: vector d of vectors a and b, 16 bytes, or 32 where it
 * is said; d may be either source. c = the instruction's immediate, where it has one.
 */
import { S_T0, SLOTS, YMM_UPPER_BYTES } from "../arena.ts";
import type { Core } from "../core.ts";
import { defineHelper } from "../uops/helpers.ts";
import { H_OK } from "../uops/uop.ts";
import { defineVectorHelper, vectorAt } from "./simd-lanes.ts";

const D = 2;
const A = 3;
const B = 4;
const C = 7;
const DISP = 8;

/** A copy of a and b, for results whose lanes come from anywhere. */
const first: Uint8Array = new Uint8Array(16);
const second: Uint8Array = new Uint8Array(16);
const first32: Int32Array = new Int32Array(first.buffer);
const second32: Int32Array = new Int32Array(second.buffer);

function copyOperands(core: Core, u: number): void {
  const a = vectorAt(core, u, A) >>> 2;
  const b = vectorAt(core, u, B) >>> 2;
  for (let i = 0; i < 4; i++) {
    first32[i] = core.i32[a + i]!;
    second32[i] = core.i32[b + i]!;
  }
}

/** PSHUFB of MMX registers: a by b. */
export const HELPER_PSHUFB_MMX: number = defineVectorHelper("PSHUFB (MMX)", (core, u) => {
  const d = vectorAt(core, u, D);
  copyOperands(core, u);
  for (let i = 0; i < 8; i++) core.u8[d + i] = second[i]! & 0x80 ? 0 : first[second[i]! & 7]!;
  return H_OK;
});

/** PALIGNR: a:b shifted right by c bytes. */
export const HELPER_PALIGNR: number = defineVectorHelper("PALIGNR", (core, u) => {
  const d = vectorAt(core, u, D);
  copyOperands(core, u);
  const by = core.u8[u + C]!;
  for (let i = 0; i < 16; i++) {
    const from = i + by;
    core.u8[d + i] = from < 16 ? second[from]! : from < 32 ? first[from - 16]! : 0;
  }
  return H_OK;
});

export const HELPER_SHUFPD: number = defineVectorHelper("SHUFPD", (core, u) => {
  const d = vectorAt(core, u, D);
  copyOperands(core, u);
  const imm = core.u8[u + C]!;
  for (let i = 0; i < 4; i++) {
    const lane = (i < 2 ? imm & 1 : imm & 2 ? 1 : 0) * 2 + (i & 1);
    core.i32[(d >>> 2) + i] = i < 2 ? first32[lane]! : second32[lane]!;
  }
  return H_OK;
});

/** VPERMILPS and VPERMILPD (disp = 4, 8): elements of a, chosen by bits 1..0 or bit 1 of the element of b. */
export const HELPER_VPERMILV: number = defineVectorHelper("VPERMILPS, VPERMILPD", (core, u) => {
  const d = vectorAt(core, u, D) >>> 2;
  copyOperands(core, u);
  if (core.i32[(u + DISP) >>> 2] === 4) for (let i = 0; i < 4; i++) core.i32[d + i] = first32[second32[i]! & 3]!;
  else for (let i = 0; i < 4; i++) core.i32[d + i] = first32[(second32[i & 2]! & 2) + (i & 1)]!;
  return H_OK;
});

// ---- shuffles over 32 bytes -------------------------------------------------------------------------------------------

/** Copies of two 32-byte vectors. */
const whole: Int32Array = new Int32Array(8);
const other: Int32Array = new Int32Array(8);

function copyWhole(core: Core, address: number, to: Int32Array): void {
  for (let i = 0; i < 4; i++) {
    to[i] = core.i32[(address >>> 2) + i]!;
    to[i + 4] = core.i32[((address + YMM_UPPER_BYTES) >>> 2) + i]!;
  }
}

function setWhole(core: Core, d: number, i: number, value: number): void {
  core.i32[((d + (i < 4 ? 0 : YMM_UPPER_BYTES - 16)) >>> 2) + i] = value;
}

/** VPERMD, VPERMPS: dwords of b, chosen by the dwords of a. */
export const HELPER_VPERMD: number = defineVectorHelper("VPERMD, VPERMPS", (core, u) => {
  const d = vectorAt(core, u, D);
  copyWhole(core, vectorAt(core, u, A), other);
  copyWhole(core, vectorAt(core, u, B), whole);
  for (let i = 0; i < 8; i++) setWhole(core, d, i, whole[other[i]! & 7]!);
  return H_OK;
});

/** VPERMQ, VPERMPD: qwords of b by c. */
export const HELPER_VPERMQ: number = defineVectorHelper("VPERMQ, VPERMPD", (core, u) => {
  const d = vectorAt(core, u, D);
  copyWhole(core, vectorAt(core, u, B), whole);
  const imm = core.u8[u + C]!;
  for (let i = 0; i < 8; i++) setWhole(core, d, i, whole[((imm >> (i & 6)) & 3) * 2 + (i & 1)]!);
  return H_OK;
});

/** VPERM2F128, VPERM2I128: each half is one of the four halves of a and b, or zero, by four bits of c. */
export const HELPER_VPERM2: number = defineVectorHelper("VPERM2F128, VPERM2I128", (core, u) => {
  const d = vectorAt(core, u, D);
  copyWhole(core, vectorAt(core, u, A), whole);
  copyWhole(core, vectorAt(core, u, B), other);
  const imm = core.u8[u + C]!;
  for (let i = 0; i < 8; i++) {
    const choice = imm >> (i & 4);
    const from = choice & 2 ? other : whole;
    setWhole(core, d, i, choice & 8 ? 0 : from[(choice & 1) * 4 + (i & 3)]!);
  }
  return H_OK;
});

// ---- blends -----------------------------------------------------------------------------------------------------------

/** Lanes of disp bytes (2, 4, 8): d[i] = b[i] where bit i of c is set, else a[i]. */
export const HELPER_BLEND: number = defineVectorHelper("blend", (core, u) => {
  const d = vectorAt(core, u, D);
  copyOperands(core, u);
  const size = core.i32[(u + DISP) >>> 2]!;
  const imm = core.u8[u + C]!;
  for (let i = 0; i < 16; i++) core.u8[d + i] = (imm >> Math.trunc(i / size)) & 1 ? second[i]! : first[i]!;
  return H_OK;
});

/** Lanes of disp bytes (1, 4, 8): d[i] = b[i] where the top bit of the lane of vector c is set, else a[i]. */
export const HELPER_BLENDV: number = defineVectorHelper("blend by a mask", (core, u) => {
  const d = vectorAt(core, u, D);
  copyOperands(core, u);
  const size = core.i32[(u + DISP) >>> 2]!;
  const selector = vectorAt(core, u, C);
  // The mask may be d itself: take its signs first.
  let mask = 0;
  for (let i = 0; i < 16; i++) mask |= (core.u8[selector + (i | (size - 1))]! >> 7) << i;
  for (let i = 0; i < 16; i++) core.u8[d + i] = (mask >> i) & 1 ? second[i]! : first[i]!;
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

/** U_HELPER: d = vector a with the low bytes of slot b as its lane c of disp bytes. */
export const HELPER_PINSR: number = defineHelper("PINSR", (core, u) => {
  const size = core.i32[(u + DISP) >>> 2]!;
  const d = vectorAt(core, u, D);
  const a = vectorAt(core, u, A);
  if (a !== d) core.u8.copyWithin(d, a, a + 16);
  const to = d + core.u8[u + C]! * size;
  const from = SLOTS + core.u8[u + B]!;
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

/** INSERTPS: c = immediate; the source dword is already lane 0 of b if it came from memory. */
export const HELPER_INSERTPS: number = defineVectorHelper("INSERTPS", (core, u) => {
  const imm = core.u8[u + C]!;
  const d = vectorAt(core, u, D) >>> 2;
  copyOperands(core, u);
  first32[(imm >> 4) & 3] = second32[imm >> 6]!;
  for (let i = 0; i < 4; i++) core.i32[d + i] = (imm >> i) & 1 ? 0 : first32[i]!;
  return H_OK;
});

/** U_HELPER: slot d = the sign bits of vector a's lanes of c bytes (4, 8); disp: bytes of the vector, 16 or 32. */
export const HELPER_MOVMSK: number = defineHelper("MOVMSK", (core, u) => {
  const size = core.u8[u + C]!;
  const bytes = core.i32[(u + DISP) >>> 2]!;
  let mask = 0;
  for (let i = 0, n = 0; i < bytes; i += size, n++) {
    const lane = vectorAt(core, u, A) + (i < 16 ? i : i - 16 + YMM_UPPER_BYTES);
    mask |= (core.u8[lane + size - 1]! >> 7) << n;
  }
  const d = (SLOTS + core.u8[u + D]!) >>> 2;
  core.i32[d] = mask;
  core.i32[d + 1] = 0;
  return H_OK;
});

// ---- widening moves --------------------------------------------------------------------------------------------------------

/** Bits of disp of HELPER_WIDEN. */
export const WIDEN_SIGNED = 0x100;
export const WIDEN_LONG = 0x200;

/** Lanes of c bytes of b, extended to disp & 15 bytes, with the sign if disp & WIDEN_SIGNED; disp & WIDEN_LONG: to fill 32 bytes. */
export const HELPER_WIDEN: number = defineVectorHelper("PMOVSX, PMOVZX", (core, u) => {
  const d = vectorAt(core, u, D);
  copyOperands(core, u);
  const from = core.u8[u + C]!;
  const disp = core.i32[(u + DISP) >>> 2]!;
  const to = disp & 15;
  for (let i = 0, at = 0; at < (disp & WIDEN_LONG ? 32 : 16); i++, at += to) {
    const fill = disp & WIDEN_SIGNED && second[i * from + from - 1]! & 0x80 ? 0xff : 0;
    const lane = d + (at < 16 ? at : at - 16 + YMM_UPPER_BYTES);
    for (let k = 0; k < to; k++) core.u8[lane + k] = k < from ? second[i * from + k]! : fill;
  }
  return H_OK;
});

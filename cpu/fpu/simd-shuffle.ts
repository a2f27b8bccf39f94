/**
 * Shuffles of vectors that programs seldom use: vector d of vectors a and b, 16 bytes, or 32 where it is said; d may be either source. c = the
 * instruction's immediate, where it has one.
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

// ---- parts of vectors --------------------------------------------------------------------------------------------------

/** U_HELPER: the 16 (c = 16) or 8 bytes at S_T0, S_T1: bytes of vector d where the top bit of vector a's byte is set. */
export const HELPER_MASKMOV: number = defineHelper("MASKMOV", (core, u) => {
  const d = vectorAt(core, u, D);
  const a = vectorAt(core, u, A);
  const size = core.u8[u + C]!;
  for (let i = 0; i < size; i++) if (core.u8[a + i]! & 0x80) core.u8[SLOTS + S_T0 + i] = core.u8[d + i]!;
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

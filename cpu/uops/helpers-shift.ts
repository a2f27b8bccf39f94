/**
 * Helpers of RCL, RCR, SHLD and SHRD: c = operand bytes, disp = count already masked, or -1 for CL. A count of zero
 * changes no flag, but a 32-bit result is still zero-extended. Flags that the SDM leaves undefined follow what
 * processors do: OF as for a count of one, AF cleared by the double shifts.
 */
import { CC_A, S_RCX, SLOTS } from "../arena.ts";
import type { Core } from "../core.ts";
import { defineHelper } from "./helpers.ts";
import {
  carry,
  DISP,
  FIELD_A,
  FIELD_C,
  FIELD_D,
  readSlot,
  setCarry,
  setOverflow,
  setResultFlags,
  writeSlot,
} from "./helpers-integer.ts";
import { H_OK } from "./uop.ts";

function countOf(core: Core, u: number, size: number): number {
  const disp = core.i32[(u + DISP) >>> 2]!;
  return disp >= 0 ? disp : core.u8[SLOTS + S_RCX]! & (size === 8 ? 63 : 31);
}

/** The high word of an 8-byte slot. */
function highWord(core: Core, slot: number): number {
  return core.i32[(SLOTS + slot + 4) >>> 2]!;
}

/** A rotation through carry, left by `count` of 9, 17, 33 or 65 bits. */
function rotateLeft(core: Core, slot: number, size: number, count: number): void {
  const cf = carry(core);
  const bits = size << 3;
  let lo = readSlot(core, slot, size === 8 ? 4 : size);
  let hi = 0;
  let out: number;
  if (size === 8) {
    hi = highWord(core, slot);
    [lo, hi, out] = rotate65(lo, hi, cf, count);
  } else if (size === 4) {
    const value = lo;
    out = (value >>> (32 - count)) & 1;
    lo = count === 32 ? 0 : value << count;
    lo |= cf << (count - 1);
    if (count > 1) lo |= value >>> (33 - count);
  } else {
    const wide = lo | (cf << bits); // 9 or 17 bits
    const turned = (wide << count) | (wide >>> (bits + 1 - count));
    lo = turned & ((1 << bits) - 1);
    out = (turned >>> bits) & 1;
  }
  writeSlot(core, slot, size, lo, hi);
  setCarry(core, out);
}

/** Left rotation of CF:hi:lo (65 bits) by 1..64: the three parts of the result. */
function rotate65(lo: number, hi: number, cf: number, count: number): [number, number, number] {
  for (let left = count; left > 0; ) {
    // Steps of at most 31 keep every shift below 32.
    const n = Math.min(left, 31);
    const out = (hi >>> (32 - n)) & 1;
    // The n - 1 bits that leave above CF's new place come back at the bottom, below the old CF.
    const wrapped = n === 1 ? 0 : hi >>> (33 - n);
    const nextHi = (hi << n) | (lo >>> (32 - n));
    lo = (lo << n) | (cf << (n - 1)) | wrapped;
    hi = nextHi;
    cf = out;
    left -= n;
  }
  return [lo | 0, hi | 0, cf];
}

/** U_HELPER: d, c, disp. */
export const HELPER_RCL: number = defineHelper("RCL", (core, u) => {
  const size = core.u8[u + FIELD_C]!;
  const slot = core.u8[u + FIELD_D]!;
  const bits = size << 3;
  const count = countOf(core, u, size) % (bits + 1);
  if (count === 0) {
    if (size === 4) writeSlot(core, slot, 4, readSlot(core, slot, 4), 0);
    return H_OK;
  }
  rotateLeft(core, slot, size, count);
  setOverflow(core, signOf(core, slot, size) ^ carry(core));
  return H_OK;
});

/** U_HELPER: d, c, disp. A rotation right by n is one left by (bits + 1 - n). */
export const HELPER_RCR: number = defineHelper("RCR", (core, u) => {
  const size = core.u8[u + FIELD_C]!;
  const slot = core.u8[u + FIELD_D]!;
  const bits = size << 3;
  const count = countOf(core, u, size) % (bits + 1);
  if (count === 0) {
    if (size === 4) writeSlot(core, slot, 4, readSlot(core, slot, 4), 0);
    return H_OK;
  }
  rotateLeft(core, slot, size, bits + 1 - count);
  const top = size === 8 ? highWord(core, slot) >>> 30 : readSlot(core, slot, size) >>> (bits - 2);
  setOverflow(core, ((top >> 1) ^ top) & 1);
  return H_OK;
});

function signOf(core: Core, slot: number, size: number): number {
  if (size === 8) return highWord(core, slot) >>> 31;
  return (readSlot(core, slot, size) >>> ((size << 3) - 1)) & 1;
}

function finishDouble(core: Core, slot: number, size: number, lo: number, hi: number, cf: number, of: number): number {
  writeSlot(core, slot, size, lo, hi);
  setResultFlags(core, size, lo, hi);
  setCarry(core, cf & 1);
  setOverflow(core, of & 1);
  core.i32[CC_A >>> 2] = 0;
  return H_OK;
}

/** U_HELPER: d, a, c, disp. 16-bit counts above 16 shift destination : source : source, as AMD's processors do. */
export const HELPER_SHLD: number = defineHelper("SHLD", (core, u) => {
  const size = core.u8[u + FIELD_C]!;
  const slot = core.u8[u + FIELD_D]!;
  const from = core.u8[u + FIELD_A]!;
  const n = countOf(core, u, size);
  const d = readSlot(core, slot, size === 8 ? 4 : size);
  const s = readSlot(core, from, size === 8 ? 4 : size);
  if (n === 0) {
    if (size === 4) writeSlot(core, slot, 4, d, 0);
    return H_OK;
  }
  if (size === 2) {
    const wide = (d << 16) | s;
    let result = (wide << n) >>> 16;
    if (n > 16) result |= s >>> (32 - n);
    const cf = wide >>> (32 - n);
    return finishDouble(core, slot, 2, result, 0, cf, cf ^ (result >>> 15));
  }
  if (size === 4) {
    const result = (d << n) | (s >>> (32 - n));
    const cf = d >>> (32 - n);
    return finishDouble(core, slot, 4, result, 0, cf, cf ^ (result >>> 31));
  }
  const dHi = highWord(core, slot);
  const sHi = highWord(core, from);
  // The 128 bits dHi:d:sHi:s, moved up by n; whole words first.
  const k = n & 31;
  const w3 = n < 32 ? dHi : d;
  const w2 = n < 32 ? d : sHi;
  const w1 = n < 32 ? sHi : s;
  const hi = k === 0 ? w3 : (w3 << k) | (w2 >>> (32 - k));
  const lo = k === 0 ? w2 : (w2 << k) | (w1 >>> (32 - k));
  const cf = n <= 32 ? dHi >>> (32 - n) : d >>> (64 - n);
  return finishDouble(core, slot, 8, lo, hi, cf, cf ^ (hi >>> 31));
});

/** U_HELPER: d, a, c, disp. */
export const HELPER_SHRD: number = defineHelper("SHRD", (core, u) => {
  const size = core.u8[u + FIELD_C]!;
  const slot = core.u8[u + FIELD_D]!;
  const from = core.u8[u + FIELD_A]!;
  const n = countOf(core, u, size);
  const d = readSlot(core, slot, size === 8 ? 4 : size);
  const s = readSlot(core, from, size === 8 ? 4 : size);
  if (n === 0) {
    if (size === 4) writeSlot(core, slot, 4, d, 0);
    return H_OK;
  }
  if (size === 2) {
    const wide = (s << 16) | d;
    let result = (wide >>> n) & 0xffff;
    if (n > 16) result |= (s << (32 - n)) & 0xffff;
    return finishDouble(core, slot, 2, result, 0, wide >>> (n - 1), (result >>> 15) ^ (result >>> 14));
  }
  if (size === 4) {
    const result = (d >>> n) | (s << (32 - n));
    return finishDouble(core, slot, 4, result, 0, d >>> (n - 1), (result >>> 31) ^ (result >>> 30));
  }
  const dHi = highWord(core, slot);
  const sHi = highWord(core, from);
  const k = n & 31;
  const w0 = n < 32 ? d : dHi;
  const w1 = n < 32 ? dHi : s;
  const w2 = n < 32 ? s : sHi;
  const lo = k === 0 ? w0 : (w0 >>> k) | (w1 << (32 - k));
  const hi = k === 0 ? w1 : (w1 >>> k) | (w2 << (32 - k));
  const cf = n <= 32 ? d >>> (n - 1) : dHi >>> (n - 33);
  return finishDouble(core, slot, 8, lo, hi, cf, (hi >>> 31) ^ (hi >>> 30));
});

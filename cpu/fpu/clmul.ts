/** PCLMULQDQ: carry-less multiplication (SDM volume 2). VPCLMULQDQ does the same for each 16 bytes of a wider register. */
import type { Core } from "../core.ts";
import { H_OK } from "../uops/uop.ts";
import { defineVectorHelper, vectorAt } from "./simd-lanes.ts";

/**
 * Low 32 bits of the carry-less product of two words. Every fourth bit of the operands is kept, so that the sums of an ordinary
 * multiplication, eight ones at most, carry only into bits that are masked off again.
 */
function low(x: number, y: number): number {
  const x0 = x & 0x11111111;
  const x1 = x & 0x22222222;
  const x2 = x & 0x44444444;
  const x3 = x & 0x88888888;
  const y0 = y & 0x11111111;
  const y1 = y & 0x22222222;
  const y2 = y & 0x44444444;
  const y3 = y & 0x88888888;
  const z0 = Math.imul(x0, y0) ^ Math.imul(x1, y3) ^ Math.imul(x2, y2) ^ Math.imul(x3, y1);
  const z1 = Math.imul(x0, y1) ^ Math.imul(x1, y0) ^ Math.imul(x2, y3) ^ Math.imul(x3, y2);
  const z2 = Math.imul(x0, y2) ^ Math.imul(x1, y1) ^ Math.imul(x2, y0) ^ Math.imul(x3, y3);
  const z3 = Math.imul(x0, y3) ^ Math.imul(x1, y2) ^ Math.imul(x2, y1) ^ Math.imul(x3, y0);
  return (z0 & 0x11111111) | (z1 & 0x22222222) | (z2 & 0x44444444) | (z3 & 0x88888888);
}

/** The bits of a word in the opposite order. */
function reverse(x: number): number {
  let r = ((x >>> 1) & 0x55555555) | ((x & 0x55555555) << 1);
  r = ((r >>> 2) & 0x33333333) | ((r & 0x33333333) << 2);
  r = ((r >>> 4) & 0x0f0f0f0f) | ((r & 0x0f0f0f0f) << 4);
  r = ((r >>> 8) & 0x00ff00ff) | ((r & 0x00ff00ff) << 8);
  return (r >>> 16) | (r << 16);
}

/** 16 bytes at `dst` = the product of a quadword of `first` (bit 0 of imm: which) and one of `second` (bit 4). */
export function carrylessMultiply(core: Core, dst: number, first: number, second: number, imm: number): void {
  const { i32 } = core;
  const a = (first + (imm & 1) * 8) >>> 2;
  const b = (second + ((imm >> 4) & 1) * 8) >>> 2;
  const a0 = i32[a]!;
  const a1 = i32[a + 1]!;
  const b0 = i32[b]!;
  const b1 = i32[b + 1]!;
  // The high half of a product is the low half of the product of the reversed words, reversed: 63 bits in all.
  const ra0 = reverse(a0);
  const ra1 = reverse(a1);
  const rb0 = reverse(b0);
  const rb1 = reverse(b1);
  const bottom = low(a0, b0);
  const bottomHigh = reverse(low(ra0, rb0)) >>> 1;
  const top = low(a1, b1);
  const topHigh = reverse(low(ra1, rb1)) >>> 1;
  // Karatsuba: the middle is (a0 + a1) * (b0 + b1) less the outer products.
  const middle = low(a0 ^ a1, b0 ^ b1) ^ bottom ^ top;
  const middleHigh = (reverse(low(ra0 ^ ra1, rb0 ^ rb1)) >>> 1) ^ bottomHigh ^ topHigh;
  const d = dst >>> 2;
  i32[d] = bottom;
  i32[d + 1] = bottomHigh ^ middle;
  i32[d + 2] = top ^ middleHigh;
  i32[d + 3] = topHigh;
}

/** U_HELPER: d = a * b, c = immediate. */
export const HELPER_PCLMULQDQ: number = defineVectorHelper("PCLMULQDQ", (core, u) => {
  carrylessMultiply(core, vectorAt(core, u, 2), vectorAt(core, u, 3), vectorAt(core, u, 4), core.u8[u + 7]!);
  return H_OK;
});

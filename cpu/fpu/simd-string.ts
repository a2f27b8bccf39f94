/** PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (SDM volume 2, 4.1): one helper, the form in disp, the immediate in c. */
import { S_RAX, S_RCX, S_RDX, SLOTS, XMM } from "../arena.ts";
import type { Core } from "../core.ts";
import { FLAG_CF, FLAG_OF, FLAG_SF, FLAG_ZF, setArithmeticFlags } from "../flags.ts";
import { defineHelper } from "../uops/helpers.ts";
import { H_OK } from "../uops/uop.ts";
import { vectorAt } from "./simd-lanes.ts";

/** Lengths in rAX and rDX; else strings end at a zero. */
export const PCMPSTR_EXPLICIT = 1;
/** The result is a mask in XMM0; else an index in ECX. */
export const PCMPSTR_MASK = 2;
/** REX.W: the lengths are 64 bits wide. */
export const PCMPSTR_WIDE = 4;

const EQUAL_ANY = 0;
const RANGES = 1;
const EQUAL_EACH = 2;

const p: Int32Array = new Int32Array(16);
const q: Int32Array = new Int32Array(16);

/** Fills `to` with the elements at `at` as the format in bits 1-0 says: unsigned or signed (2), bytes or words (1). */
function unpack(core: Core, at: number, format: number, to: Int32Array): void {
  for (let i = 0; i < 16; i++) {
    if (format & 1) {
      const word = i < 8 ? core.u16[(at >>> 1) + i]! : 0;
      to[i] = format & 2 ? (word << 16) >> 16 : word;
    } else to[i] = format & 2 ? (core.u8[at + i]! << 24) >> 24 : core.u8[at + i]!;
  }
}

/** Length from a register: its magnitude, at most n. */
function explicitLength(core: Core, slot: number, wide: boolean, n: number): number {
  const at = (SLOTS + slot) >>> 2;
  const lo = core.i32[at]!;
  if (!wide) return Math.min(Math.abs(lo), n);
  const value = core.i32[at + 1]! * 0x100000000 + (lo >>> 0);
  return Math.min(Math.abs(value), n);
}

function implicitLength(elements: Int32Array, n: number): number {
  for (let i = 0; i < n; i++) if (elements[i] === 0) return i;
  return n;
}

/** IntRes1: p is the set, the ranges, or the string; q what is looked at. */
function aggregate(operation: number, n: number, lengthP: number, lengthQ: number): number {
  let result = 0;
  for (let j = 0; j < n; j++) {
    let hit = false;
    if (operation === EQUAL_ANY) {
      if (j < lengthQ) for (let i = 0; i < lengthP && !hit; i++) hit = p[i] === q[j];
    } else if (operation === RANGES) {
      if (j < lengthQ) for (let i = 0; i + 1 < lengthP && !hit; i += 2) hit = p[i]! <= q[j]! && q[j]! <= p[i + 1]!;
    } else if (operation === EQUAL_EACH) {
      const both = j < lengthP && j < lengthQ;
      hit = both ? p[j] === q[j] : j >= lengthP && j >= lengthQ;
    } else {
      // Equal ordered: p as a substring of q at j, as far as the register goes.
      hit = true;
      for (let i = 0; i < lengthP && i + j < n && hit; i++) hit = i + j < lengthQ && p[i] === q[i + j];
    }
    if (hit) result |= 1 << j;
  }
  return result;
}

export const HELPER_PCMPSTR: number = defineHelper("PCMPxSTRx", (core, u) => {
  const imm = core.u8[u + 7]!;
  const form = core.i32[(u + 8) >>> 2]!;
  const n = imm & 1 ? 8 : 16;
  unpack(core, vectorAt(core, u, 2), imm & 3, p);
  unpack(core, vectorAt(core, u, 3), imm & 3, q);
  const wide = (form & PCMPSTR_WIDE) !== 0;
  const lengthP = form & PCMPSTR_EXPLICIT ? explicitLength(core, S_RAX, wide, n) : implicitLength(p, n);
  const lengthQ = form & PCMPSTR_EXPLICIT ? explicitLength(core, S_RDX, wide, n) : implicitLength(q, n);

  let result = aggregate((imm >> 2) & 3, n, lengthP, lengthQ);
  // Polarity: bit 4 negates, bit 5 limits that to the elements that q has.
  if (imm & 0x10) result ^= imm & 0x20 ? (1 << lengthQ) - 1 : (1 << n) - 1;

  if (form & PCMPSTR_MASK) writeMask(core, result, n, (imm & 0x40) !== 0);
  else {
    const at = (SLOTS + S_RCX) >>> 2;
    if (result === 0) core.i32[at] = n;
    else core.i32[at] = imm & 0x40 ? 31 - Math.clz32(result) : 31 - Math.clz32(result & -result);
    core.i32[at + 1] = 0;
  }
  setArithmeticFlags(
    core,
    (result !== 0 ? FLAG_CF : 0) |
      (lengthQ < n ? FLAG_ZF : 0) |
      (lengthP < n ? FLAG_SF : 0) |
      (result & 1 ? FLAG_OF : 0),
  );
  return H_OK;
});

/** XMM0 = a bit an element, or a whole element each. */
function writeMask(core: Core, result: number, n: number, elements: boolean): void {
  const at = XMM;
  core.i32.fill(0, at >>> 2, (at + 16) >>> 2);
  if (!elements) core.i32[at >>> 2] = result;
  else {
    const size = 16 / n;
    for (let i = 0; i < 16; i++) core.u8[at + i] = (result >> Math.trunc(i / size)) & 1 ? 0xff : 0;
  }
}

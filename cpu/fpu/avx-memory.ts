/**
 * AVX and AVX2 instructions that access memory element by element: VMASKMOVPS and its like, VPGATHERDD and its like (SDM volume 2).
 * Only elements whose mask has its top bit set are accessed, so only they fault, and none is checked for alignment.
 */
import { BUS_DATA, FAULT_VECTOR, MODE, S_SEGBASE, S_T5, SLOTS, XMM_STRIDE, YMM_UPPER_BYTES } from "../arena.ts";
import { type Core, raise, VEC_GP, VEC_SS } from "../core.ts";
import { SEG_FS, SEG_SS } from "../decode/instruction.ts";
import { KIND_CURRENT, probeWrite, readSlow, withoutAlignment, writeSlow } from "../mmu/access.ts";
import { segmentAllows } from "../system/segcheck.ts";
import { defineHelper } from "../uops/helpers.ts";
import { in64BitMode } from "../uops/helpers-integer.ts";
import { C_SCALE_MASK, C_STACK, H_FAULT, H_OK, MODE_FLAT } from "../uops/uop.ts";
import { vectorAt } from "./simd-lanes.ts";

const D = 2;
const A = 3;
const B = 4;
const S = 5;
const C = 7;
const DISP = 8;
const T5 = (SLOTS + S_T5) >>> 2;
const DATA = BUS_DATA >>> 2;

/** Index in i32 of the byte at offset `at` (a multiple of 4) of the vector at `address`. */
function wordAt(address: number, at: number): number {
  return (address + (at < XMM_STRIDE ? at : at - XMM_STRIDE + YMM_UPPER_BYTES)) >>> 2;
}

/** Top bit of the element of `size` bytes at offset `at` of the vector at `address`. */
function selected(core: Core, address: number, at: number, size: number): boolean {
  return core.i32[wordAt(address, at + size - 4)]! < 0;
}

/** The linear address that `locate` found. */
let linearLo = 0;
let linearHi = 0;

/** Finds `size` bytes at seg:[hi:lo], seg of micro-op `u`. @returns H_*: in legacy modes the segment is checked */
function locate(core: Core, u: number, lo: number, hi: number, size: number, write: boolean): number {
  const { i32 } = core;
  const seg = core.u8[u + S]!;
  const long = in64BitMode(core);
  linearLo = lo | 0;
  linearHi = long ? hi : 0;
  if (!long) {
    if (seg < SEG_FS && i32[MODE >>> 2]! & MODE_FLAT) return H_OK;
    if (!segmentAllows(core, seg, lo >>> 0, size, write)) return raise(core, seg === SEG_SS ? VEC_SS : VEC_GP, 0);
  } else if (seg < SEG_FS) return H_OK;
  const base = (SLOTS + S_SEGBASE + (seg << 3)) >>> 2;
  const sum = (lo >>> 0) + (i32[base]! >>> 0);
  linearLo = sum | 0;
  if (long) linearHi = (hi + i32[base + 1]! + (sum > 0xffffffff ? 1 : 0)) | 0;
  return H_OK;
}

/** `locate` for what lies `offset` bytes behind seg:[S_T5]. */
function locateElement(core: Core, u: number, offset: number, size: number, write: boolean): number {
  const lo = (core.i32[T5]! >>> 0) + offset;
  return locate(core, u, lo | 0, (core.i32[T5 + 1]! + (lo > 0xffffffff ? 1 : 0)) | 0, size, write);
}

/**
 * U_HELPER: d (a vector temporary) = elements of b bytes at s:[S_T5], s a segment register, whose element of mask a is set, zeros
 * elsewhere. disp: bytes of the vectors, 16 or 32; c: C_STACK or 0.
 */
export const HELPER_MASK_LOAD: number = defineHelper("masked load", (core, u) =>
  withoutAlignment(core, () => maskedLoad(core, u)),
);

function maskedLoad(core: Core, u: number): number {
  const size = core.u8[u + B]!;
  const d = vectorAt(core, u, D);
  const mask = vectorAt(core, u, A);
  for (let at = 0; at < core.i32[(u + DISP) >>> 2]!; at += size) {
    for (let k = 0; k < size; k += 4) core.i32[wordAt(d, at + k)] = 0;
    if (!selected(core, mask, at, size)) continue;
    let r = locateElement(core, u, at, size, false);
    if (r === H_OK) r = readSlow(core, linearLo, linearHi, size, u);
    if (r !== H_OK) return r;
    for (let k = 0; k < size; k += 4) core.i32[wordAt(d, at + k)] = core.i32[DATA + (k >> 2)]!;
  }
  return H_OK;
}

/** Whether all elements that a masked store writes can be written. @returns H_* */
function checkStore(core: Core, u: number, mask: number, size: number, bytes: number): number {
  for (let at = 0; at < bytes; at += size) {
    if (!selected(core, mask, at, size)) continue;
    const located = locateElement(core, u, at, size, true);
    if (located !== H_OK) return located;
    const r = probeWrite(core, linearLo, linearHi, size, KIND_CURRENT);
    const stack = core.u8[u + C]! & C_STACK && core.i32[FAULT_VECTOR >>> 2] === VEC_GP;
    if (r !== H_OK) return r === H_FAULT && stack ? raise(core, VEC_SS) : r;
  }
  return H_OK;
}

/** U_HELPER: the reverse: elements of d whose element of mask a is set are stored. All of them are checked before one is. */
export const HELPER_MASK_STORE: number = defineHelper("masked store", (core, u) =>
  withoutAlignment(core, () => maskedStore(core, u)),
);

function maskedStore(core: Core, u: number): number {
  const size = core.u8[u + B]!;
  const d = vectorAt(core, u, D);
  const mask = vectorAt(core, u, A);
  const bytes = core.i32[(u + DISP) >>> 2]!;
  let r = checkStore(core, u, mask, size, bytes);
  for (let at = 0; at < bytes && r === H_OK; at += size) {
    if (!selected(core, mask, at, size)) continue;
    r = locateElement(core, u, at, size, true);
    for (let k = 0; k < size; k += 4) core.i32[DATA + (k >> 2)] = core.i32[wordAt(d, at + k)]!;
    if (r === H_OK) r = writeSlow(core, linearLo, linearHi, size, u);
  }
  return r;
}

// ---- gathers ----------------------------------------------------------------------------------------------------------

/** disp of HELPER_GATHER: bytes of an element, of an index, elements, bytes of an address. */
export function gatherForm(element: number, index: number, count: number, address: number): number {
  return element | (index << 8) | (count << 16) | (address << 24);
}

/** `locate` for seg:[S_T5 + index << scale], the index at word `indexAt` of the arena. */
function locateIndexed(core: Core, u: number, indexAt: number, form: number): number {
  const { i32 } = core;
  const scale = core.u8[u + C]! & C_SCALE_MASK;
  const wide = ((form >> 8) & 255) === 8;
  const index = i32[indexAt]!;
  const high = wide ? i32[indexAt + 1]! : index >> 31;
  const shiftedHigh = scale === 0 ? high : (high << scale) | (index >>> (32 - scale));
  const lo = (i32[T5]! >>> 0) + ((index << scale) >>> 0);
  const hi = (i32[T5 + 1]! + shiftedHigh + (lo > 0xffffffff ? 1 : 0)) | 0;
  return locate(core, u, lo | 0, form >>> 24 === 8 ? hi : 0, form & 255, false);
}

/**
 * U_HELPER: loads the elements of d whose element of mask b is set, from seg:[S_T5 + index << scale], a = indices, s = segment
 * register, c = scale and C_STACK, disp = gatherForm. Elements that are done have their mask cleared, so that after a fault the
 * instruction goes on where it was.
 */
export const HELPER_GATHER: number = defineHelper("gather", (core, u) => withoutAlignment(core, () => gather(core, u)));

function gather(core: Core, u: number): number {
  const { i32 } = core;
  const form = i32[(u + DISP) >>> 2]!;
  const size = form & 255;
  const indexSize = (form >> 8) & 255;
  const bytes = ((form >> 16) & 255) * size;
  const d = vectorAt(core, u, D);
  const mask = vectorAt(core, u, B);
  for (let at = 0; at < bytes; at += size) {
    if (selected(core, mask, at, size)) {
      let r = locateIndexed(core, u, wordAt(vectorAt(core, u, A), (at / size) * indexSize), form);
      if (r === H_OK) r = readSlow(core, linearLo, linearHi, size, u);
      if (r !== H_OK) return r;
      for (let k = 0; k < size; k += 4) i32[wordAt(d, at + k)] = i32[DATA + (k >> 2)]!;
    }
    for (let k = 0; k < size; k += 4) i32[wordAt(mask, at + k)] = 0;
  }
  // What lies above is zero, in both.
  for (let at = bytes; at < 2 * XMM_STRIDE; at += 4) i32[wordAt(d, at)] = i32[wordAt(mask, at)] = 0;
  return H_OK;
}

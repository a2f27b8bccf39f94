/**
 * Repeated string instructions. One call does one chunk: as many whole elements as are left, fit before the nearest page
 * end (with DF = 1: page start) of either pointer, and do not wrap the address size; an element that straddles a page is a
 * chunk of its own. The call updates rCX, rSI and rDI, and leaves RIP at the instruction if elements remain, else past
 * it. So in every engine a chunk is one instruction that retires, with a cut after it where interrupts may come in;
 * it costs REP_CHUNK_CYCLES + ceil(bytes / 32) cycles beyond the one of every instruction.
 *
 * A fault in the middle leaves the registers at the element that faulted and the instruction does not retire; what was
 * done before it is charged.
 *
 * Operands of the micro-ops: d = segment of the source, a = address size, b = REP prefix (F2, F3, 0), c = element size.
 */
import { BUS_DATA, MODE, RFLAGS_SYS, S_RAX, S_RCX, S_RDI, S_RSI, S_SEGBASE, SLOTS } from "../arena.ts";
import { type Core, raise, VEC_GP, VEC_SS } from "../core.ts";
import { SEG_ES, SEG_FS, SEG_SS } from "../decode/instruction.ts";
import { FLAG_DF, FLAG_TF } from "../flags.ts";
import { readSlow, TRANSLATE_EXIT, TRANSLATE_FAULT, translateRead, translateWrite, writeSlow } from "../mmu/access.ts";
import { segmentAllows } from "../system/segcheck.ts";
import { defineHelper } from "./helpers.ts";
import {
  FIELD_A,
  FIELD_B,
  FIELD_C,
  FIELD_D,
  in64BitMode,
  repeatInstruction,
  setSubFlags,
  writeSlot,
} from "./helpers-integer.ts";
import { H_EXIT_AT, H_FAULT, H_OK, MODE_FLAT } from "./uop.ts";

/** Cycles of a chunk beside its bytes. */
export const REP_CHUNK_CYCLES = 3;
/** Bytes that a repeated string instruction moves in a cycle. */
export const REP_BYTES_PER_CYCLE = 32;

const RAX = (SLOTS + S_RAX) >>> 2;
const DATA = BUS_DATA >>> 2;
const PAGE = 4096;
/** An element count that no chunk reaches. */
const MANY = 0x7fffffff;

// ---- pointers and counters ------------------------------------------------------------------------------------------

/** Linear address of one string operand, and its offset in the segment (the low word, cut to the address size). */
class Pointer {
  lo = 0;
  hi = 0;
  offset = 0;

  /** Reads index register `slot` in `seg`, `addrSize` bytes. */
  set(core: Core, slot: number, seg: number, addrSize: number): void {
    const i = core.i32;
    const register = (SLOTS + slot) >>> 2;
    let lo = i[register]!;
    let hi = 0;
    if (addrSize === 8) hi = i[register + 1]!;
    else if (addrSize === 2) lo &= 0xffff;
    this.offset = lo >>> 0;
    const long = in64BitMode(core);
    if (!long || seg >= SEG_FS) {
      const base = (SLOTS + S_SEGBASE + (seg << 3)) >>> 2;
      const sum = (lo >>> 0) + (i[base]! >>> 0);
      lo = sum | 0;
      hi = long ? (hi + i[base + 1]! + (sum > 0xffffffff ? 1 : 0)) | 0 : 0;
    }
    this.lo = lo;
    this.hi = hi;
  }

  /** Whole elements before the page or the address size ends in the direction of DF; 0 if this one straddles the end. */
  room(size: number, addrSize: number, down: boolean): number {
    const inPage = this.lo & (PAGE - 1);
    const end = addrSize === 2 ? 0x10000 : 0x100000000;
    if (inPage + size > PAGE || (addrSize !== 8 && this.offset + size > end)) return 0;
    const byPage = down ? inPage + size : PAGE - inPage;
    const byWrap = addrSize === 8 ? byPage : down ? this.offset + size : end - this.offset;
    return Math.trunc(Math.min(byPage, byWrap) / size);
  }

  /** Moves by `bytes` that stay in the page, or by one element at its end. */
  step(core: Core, bytes: number): void {
    const lo = (this.lo >>> 0) + bytes;
    this.lo = lo | 0;
    this.offset += bytes;
    if (in64BitMode(core)) this.hi = (this.hi + (lo > 0xffffffff ? 1 : lo < 0 ? -1 : 0)) | 0;
  }
}

const source = new Pointer();
const target = new Pointer();

function elementsLeft(core: Core, addrSize: number): number {
  const at = (SLOTS + S_RCX) >>> 2;
  if (addrSize === 2) return core.i32[at]! & 0xffff;
  if (addrSize === 8 && core.i32[at + 1] !== 0) return MANY;
  return core.i32[at]! >>> 0;
}

/** Adds `delta` to rCX, rSI or rDI in the address size. */
function addIndex(core: Core, slot: number, addrSize: number, delta: number): void {
  const i = core.i32;
  const at = (SLOTS + slot) >>> 2;
  if (addrSize === 2) {
    core.u16[at << 1] = core.u16[at << 1]! + delta;
    return;
  }
  const sum = (i[at]! >>> 0) + delta;
  i[at] = sum;
  i[at + 1] = addrSize === 4 ? 0 : i[at + 1]! + (sum > 0xffffffff ? 1 : sum < 0 ? -1 : 0);
}

const goesDown = (core: Core): boolean => (core.i32[RFLAGS_SYS >>> 2]! & FLAG_DF) !== 0;

export const USES_SOURCE = 1;
export const USES_TARGET = 2;

/**
 * `n` elements of micro-op `u` are done: registers, cycles, and RIP back to the instruction if it is to go on.
 * `stop`: a comparison or a fault ends it here.
 */
function commit(core: Core, u: number, n: number, uses: number, stop: boolean): void {
  if (n === 0) return;
  const addrSize = core.u8[u + FIELD_A]!;
  const bytes = n * core.u8[u + FIELD_C]!;
  const delta = goesDown(core) ? -bytes : bytes;
  if (uses & USES_SOURCE) addIndex(core, S_RSI, addrSize, delta);
  if (uses & USES_TARGET) addIndex(core, S_RDI, addrSize, delta);
  core.charge(REP_CHUNK_CYCLES + Math.ceil(bytes / REP_BYTES_PER_CYCLE));
  if (core.u8[u + FIELD_B] === 0) return;
  addIndex(core, S_RCX, addrSize, -n);
  if (!stop && elementsLeft(core, addrSize) !== 0) repeatInstruction(core, u);
}

// ---- a chunk -----------------------------------------------------------------------------------------------------------

/** True if [offset, ...) of `n` elements in the direction of DF lies in the segment; a flat one has 4 GiB. */
function inSegment(
  core: Core,
  seg: number,
  p: Pointer,
  n: number,
  size: number,
  down: boolean,
  write: boolean,
): boolean {
  if (in64BitMode(core)) return true;
  const lowest = down ? p.offset - (n - 1) * size : p.offset;
  if (seg < SEG_FS && core.i32[MODE >>> 2]! & MODE_FLAT) return lowest + n * size <= 0x100000000;
  return segmentAllows(core, seg, lowest, n * size, write);
}

/** Arena addresses of the lowest byte of a chunk's operands, or negative as `translateRead` says. */
let sourceAt = 0;
let targetAt = 0;

/**
 * Sets up the next chunk of `u`: the pointers, the arena addresses (slow path if negative).
 * @returns elements in the chunk, or -1 if a segment check faulted
 */
function prepare(core: Core, u: number, left: number, uses: number, write: boolean): number {
  const seg = core.u8[u + FIELD_D]!;
  const addrSize = core.u8[u + FIELD_A]!;
  const size = core.u8[u + FIELD_C]!;
  const down = goesDown(core);
  // Single steps and data breakpoints trap after each element.
  let n = core.mmu.watching || core.i32[RFLAGS_SYS >>> 2]! & FLAG_TF ? 1 : left;
  if (uses & USES_SOURCE) {
    source.set(core, S_RSI, seg, addrSize);
    n = Math.min(n, source.room(size, addrSize, down));
  }
  if (uses & USES_TARGET) {
    target.set(core, S_RDI, SEG_ES, addrSize);
    n = Math.min(n, target.room(size, addrSize, down));
  }
  if (n === 0) n = 1;
  // A segment that ends inside the chunk: element by element up to its end.
  if (uses & USES_SOURCE && !inSegment(core, seg, source, n, size, down, false)) {
    n = 1;
    if (!inSegment(core, seg, source, 1, size, down, false)) {
      raise(core, seg === SEG_SS ? VEC_SS : VEC_GP, 0);
      return -1;
    }
  }
  if (uses & USES_TARGET && !inSegment(core, SEG_ES, target, n, size, down, write)) {
    n = 1;
    if (!inSegment(core, SEG_ES, target, 1, size, down, write)) {
      raise(core, VEC_GP, 0);
      return -1;
    }
  }
  return n;
}

const statusOf = (place: number): number =>
  place === TRANSLATE_FAULT ? H_FAULT : place === TRANSLATE_EXIT ? H_EXIT_AT : H_OK;

/**
 * Fills sourceAt and targetAt for `n` elements. What is compared is looked at target first, as an AMD EPYC does it.
 * @returns H_OK, or what the helper has to return
 */
function translateChunk(core: Core, u: number, n: number, uses: number, write: boolean): number {
  const bytes = n * core.u8[u + FIELD_C]!;
  const back = goesDown(core) ? bytes - core.u8[u + FIELD_C]! : 0;
  if (uses & USES_TARGET && !write) {
    targetAt = translateRead(core, (target.lo - back) | 0, target.hi, bytes);
    if (statusOf(targetAt) !== H_OK) return statusOf(targetAt);
  }
  if (uses & USES_SOURCE) {
    sourceAt = translateRead(core, (source.lo - back) | 0, source.hi, bytes);
    if (statusOf(sourceAt) !== H_OK) return statusOf(sourceAt);
  }
  if (uses & USES_TARGET && write) {
    targetAt = translateWrite(core, (target.lo - back) | 0, target.hi, bytes);
    if (statusOf(targetAt) !== H_OK) return statusOf(targetAt);
  }
  return H_OK;
}

// ---- MOVS ----------------------------------------------------------------------------------------------------------------

/** Copies as element moves in the direction of DF would, which differs from a block move where operands overlap. */
function copyElements(core: Core, to: number, from: number, n: number, size: number, down: boolean): void {
  const { u8 } = core;
  const bytes = n * size;
  const distance = down ? from - to : to - from;
  if (distance <= 0 || distance >= bytes) {
    u8.copyWithin(to, from, from + bytes);
    return;
  }
  // The target runs into the source: pieces no longer than the distance see what the pieces before them wrote.
  const piece = distance - (distance % size) || size;
  for (let done = 0; done < bytes; done += piece) {
    const length = Math.min(piece, bytes - done);
    const at = down ? bytes - done - length : done;
    u8.copyWithin(to + at, from + at, from + at + length);
  }
}

export const HELPER_REP_MOVS: number = defineHelper("REP MOVS", (core, u) => {
  const left = elementsLeft(core, core.u8[u + FIELD_A]!);
  if (left === 0) return H_OK;
  const both = USES_SOURCE | USES_TARGET;
  const n = prepare(core, u, left, both, true);
  if (n < 0) return H_FAULT;
  const r = translateChunk(core, u, n, both, true);
  if (r !== H_OK) return r;
  const size = core.u8[u + FIELD_C]!;
  const down = goesDown(core);
  if (sourceAt >= 0 && targetAt >= 0) {
    copyElements(core, targetAt, sourceAt, n, size, down);
    commit(core, u, n, both, false);
    return H_OK;
  }
  for (let k = 0; k < n; k++) {
    let status = readSlow(core, source.lo, source.hi, size, 0);
    if (status === H_OK) status = writeSlow(core, target.lo, target.hi, size, 0);
    if (status !== H_OK) {
      commit(core, u, k, both, true);
      return status;
    }
    source.step(core, down ? -size : size);
    target.step(core, down ? -size : size);
  }
  commit(core, u, n, both, false);
  return H_OK;
});

// ---- STOS ----------------------------------------------------------------------------------------------------------------

/** Fills `bytes` at `to` with the low `size` bytes of rAX. */
function fill(core: Core, to: number, bytes: number, size: number): void {
  const { u8 } = core;
  const from = SLOTS + S_RAX;
  const first = u8[from]!;
  let uniform = true;
  for (let k = 1; k < size; k++) uniform &&= u8[from + k] === first;
  if (uniform) {
    u8.fill(first, to, to + bytes);
    return;
  }
  u8.copyWithin(to, from, from + size);
  for (let done = size; done < bytes; done *= 2) u8.copyWithin(to + done, to, to + Math.min(done, bytes - done));
}

export const HELPER_REP_STOS: number = defineHelper("REP STOS", (core, u) => {
  const left = elementsLeft(core, core.u8[u + FIELD_A]!);
  if (left === 0) return H_OK;
  const n = prepare(core, u, left, USES_TARGET, true);
  if (n < 0) return H_FAULT;
  const r = translateChunk(core, u, n, USES_TARGET, true);
  if (r !== H_OK) return r;
  const size = core.u8[u + FIELD_C]!;
  if (targetAt >= 0) {
    fill(core, targetAt, n * size, size);
    commit(core, u, n, USES_TARGET, false);
    return H_OK;
  }
  const down = goesDown(core);
  for (let k = 0; k < n; k++) {
    core.i32[DATA] = core.i32[RAX]!;
    core.i32[DATA + 1] = core.i32[RAX + 1]!;
    const status = writeSlow(core, target.lo, target.hi, size, 0);
    if (status !== H_OK) {
      commit(core, u, k, USES_TARGET, true);
      return status;
    }
    target.step(core, down ? -size : size);
  }
  commit(core, u, n, USES_TARGET, false);
  return H_OK;
});

// ---- LODS, SCAS, CMPS ------------------------------------------------------------------------------------------------------

/** Element `size` bytes at arena address `at`, zero-extended. */
let elementLo = 0;
let elementHi = 0;
function loadElement(core: Core, at: number, size: number): void {
  const { u8 } = core;
  elementLo = 0;
  elementHi = 0;
  for (let k = Math.min(size, 4) - 1; k >= 0; k--) elementLo = (elementLo << 8) | u8[at + k]!;
  if (size === 8) elementHi = u8[at + 4]! | (u8[at + 5]! << 8) | (u8[at + 6]! << 16) | (u8[at + 7]! << 24);
}

/** Reads the element at `p`, which is `k` elements into the chunk, through `at` (arena, lowest byte) or slowly. */
function readElement(core: Core, p: Pointer, at: number, k: number, n: number, size: number): number {
  if (at >= 0) {
    loadElement(core, goesDown(core) ? at + (n - 1 - k) * size : at + k * size, size);
    return H_OK;
  }
  const status = readSlow(core, p.lo, p.hi, size, 0);
  if (status === H_OK) loadElement(core, BUS_DATA, size);
  return status;
}

export const HELPER_REP_LODS: number = defineHelper("REP LODS", (core, u) => {
  const left = elementsLeft(core, core.u8[u + FIELD_A]!);
  if (left === 0) return H_OK;
  const n = prepare(core, u, left, USES_SOURCE, false);
  if (n < 0) return H_FAULT;
  const r = translateChunk(core, u, n, USES_SOURCE, false);
  if (r !== H_OK) return r;
  const size = core.u8[u + FIELD_C]!;
  const step = goesDown(core) ? -size : size;
  // Of plain memory only the last element is seen; a device sees every read.
  for (let k = sourceAt >= 0 ? n - 1 : 0; k < n; k++) {
    const status = readElement(core, source, sourceAt, k, n, size);
    if (status !== H_OK) {
      commit(core, u, k, USES_SOURCE, true);
      return status;
    }
    writeSlot(core, S_RAX, size, elementLo, elementHi);
    source.step(core, step);
  }
  commit(core, u, n, USES_SOURCE, false);
  return H_OK;
});

const REPNE = 0xf2;

/** The first of `bytes` bytes at which two stretches of the arena differ, or `bytes`. */
function firstDifference({ u8, i32 }: Core, a: number, b: number, bytes: number): number {
  let k = 0;
  if (((a ^ b) & 3) === 0) {
    while (k < bytes && (a + k) & 3 && u8[a + k] === u8[b + k]) k++;
    if (((a + k) & 3) === 0) while (k + 4 <= bytes && i32[(a + k) >>> 2] === i32[(b + k) >>> 2]) k += 4;
  }
  while (k < bytes && u8[a + k] === u8[b + k]) k++;
  return k;
}

/** The first of `bytes` bytes at arena address `at` that is `value` (`equal`) or is not, or `bytes`. */
function firstByte({ u8 }: Core, at: number, bytes: number, value: number, equal: boolean): number {
  let k = 0;
  if (equal) while (k < bytes && u8[at + k] !== value) k++;
  else while (k < bytes && u8[at + k] === value) k++;
  return k;
}

/** The element of `n` that ends a comparison in plain memory, upwards, or n; -1: look at them one by one. */
function quickEnd(core: Core, uses: number, n: number, size: number, stopEqual: boolean): number {
  if (goesDown(core) || targetAt < 0) return -1;
  if ((uses & USES_SOURCE) === 0)
    return size === 1 ? firstByte(core, targetAt, n, core.u8[SLOTS + S_RAX]!, stopEqual) : -1;
  if (sourceAt < 0 || stopEqual) return -1;
  return Math.trunc(firstDifference(core, sourceAt, targetAt, n * size) / size);
}

/** SCAS (uses the target) and CMPS (both): compares until the prefix's condition fails. Flags are the last comparison's. */
function compareStrings(core: Core, u: number, uses: number): number {
  const left = elementsLeft(core, core.u8[u + FIELD_A]!);
  if (left === 0) return H_OK;
  const n = prepare(core, u, left, uses, false);
  if (n < 0) return H_FAULT;
  const r = translateChunk(core, u, n, uses, false);
  if (r !== H_OK) return r;
  const size = core.u8[u + FIELD_C]!;
  const step = goesDown(core) ? -size : size;
  const stopEqual = core.u8[u + FIELD_B] === REPNE;
  const cut = size < 4 ? (1 << (size << 3)) - 1 : -1;
  let aLo = core.i32[RAX]! & cut;
  let aHi = size === 8 ? core.i32[RAX + 1]! : 0;
  let bLo = 0;
  let bHi = 0;
  let done = 0;
  let status = H_OK;
  let stop = false;
  const end = quickEnd(core, uses, n, size, stopEqual);
  // All before the last of these do not end it: that one is left to be compared.
  if (end >= 0) {
    done = Math.min(end, n - 1);
    if (uses & USES_SOURCE) source.step(core, done * size);
    target.step(core, done * size);
  }
  while (done < n && !stop) {
    status = readElement(core, target, targetAt, done, n, size);
    if (status !== H_OK) break;
    const targetLo = elementLo;
    const targetHi = elementHi;
    if (uses & USES_SOURCE) {
      status = readElement(core, source, sourceAt, done, n, size);
      if (status !== H_OK) break;
      aLo = elementLo;
      aHi = elementHi;
      source.step(core, step);
    }
    target.step(core, step);
    done++;
    bLo = targetLo;
    bHi = targetHi;
    stop = (aLo === bLo && aHi === bHi) === stopEqual;
  }
  if (done > 0) setSubFlags(core, size, aLo, aHi, bLo, bHi);
  commit(core, u, done, uses, stop || status !== H_OK);
  return status;
}

export const HELPER_REP_SCAS: number = defineHelper("REP SCAS", (core, u) => compareStrings(core, u, USES_TARGET));
export const HELPER_REP_CMPS: number = defineHelper("REP CMPS", (core, u) =>
  compareStrings(core, u, USES_SOURCE | USES_TARGET),
);

/** U_HELPER behind the micro-ops of a single string instruction: b = USES_*, moves rSI and rDI by an element. */
export const HELPER_STRING_ADVANCE: number = defineHelper("string advance", (core, u) => {
  const addrSize = core.u8[u + FIELD_A]!;
  const size = core.u8[u + FIELD_C]!;
  const delta = goesDown(core) ? -size : size;
  const uses = core.u8[u + FIELD_B]!;
  if (uses & USES_SOURCE) addIndex(core, S_RSI, addrSize, delta);
  if (uses & USES_TARGET) addIndex(core, S_RDI, addrSize, delta);
  return H_OK;
});

/**
 * Memory accesses outside the TLB fast path: what generated code calls when its probe misses, and what helpers,
 * exception delivery and the hypervisor use. Data passes through BUS_DATA, little-endian, zero-extended to 16 bytes.
 *
 * Results: H_OK; H_FAULT (fault recorded); H_EXIT_AT (EXIT_REASON filled: second-level fault, bus pending); H_RESTART
 * (the store hit translated code, or the access a data breakpoint, outside step mode: run the instruction alone, so that
 * the trap comes right after it).
 * Both halves of an access that crosses a page are checked before anything is read from a device or written.
 */

import * as A from "../arena.ts";
import {
  BUS_DATA,
  COUNT_DTLB_MISS,
  COUNT_FETCH_MISS,
  COUNT_SMC,
  CPL,
  DR,
  DTLB,
  FETCH_ARENA,
  FETCH_PAGE,
  FRAME_CODE,
  FRAME_DIRTY_LOG,
  MODE,
  PENDING_DEBUG,
  TLB_ADDEND,
  TLB_ATTR,
  TLB_BASE,
  TLB_CTX,
  TLB_READ,
  TLB_VIEW_BYTES,
  VIEW_SUPERVISOR,
  VIEW_SUPERVISOR_SMAP,
  VIEW_USER,
} from "../arena.ts";
import { BUS_DONE, type Core, EXIT_PENDING, raise, VEC_AC, VEC_GP, VEC_SS } from "../core.ts";
import {
  C_STACK,
  H_EXIT_AT,
  H_FAULT,
  H_OK,
  H_RESTART,
  MODE_64,
  MODE_CODE_MASK,
  MODE_FLAT,
  MODE_STEP,
  U_CALL,
  U_CALL_R,
  U_LEAVE64,
  U_POP64,
  U_PUSH64,
  U_PUSHI64,
  U_RET,
} from "../uops/uop.ts";
import { hitsCode, noteWrite } from "./memory.ts";
import { toMachine } from "./nested.ts";
import { ACCESS_FETCH, ACCESS_READ, ACCESS_WRITE } from "./state.ts";
import { dataEntry, fetchEntry, fillData, fillFetch, TLB_ATTR_WRITABLE } from "./tlb.ts";
import { isCanonical, walk } from "./walker.ts";

const DATA = BUS_DATA >>> 2;
/** Log2 of TLB_VIEW_BYTES. */
const VIEW_SHIFT: number = 31 - Math.clz32(TLB_VIEW_BYTES);
const CR4_SMAP_BYTE = 2;
const CR4_SMAP_BIT = 0x20;

// ---- kinds of access ------------------------------------------------------------------------------------------------

/** As the current CPL does (with SMAP as AC says). */
export const KIND_CURRENT = 0;
/** Implicit supervisor access to a system structure: descriptor tables, TSS; SMAP always in force (SDM 4.6). */
export const KIND_SYSTEM = 1;
/** User access, whatever the CPL. */
export const KIND_USER = 2;

function viewOf(core: Core, kind: number): number {
  if (kind === KIND_CURRENT) return (core.i32[TLB_BASE >>> 2]! - DTLB) >> VIEW_SHIFT;
  if (kind === KIND_USER) return VIEW_USER;
  return core.u8[A.CR4 + CR4_SMAP_BYTE]! & CR4_SMAP_BIT ? VIEW_SUPERVISOR_SMAP : VIEW_SUPERVISOR;
}

// ---- faults -------------------------------------------------------------------------------------------------------

/** An address that the segment does not have: #GP(0), or #SS(0) for a reference to the stack. `u` 0: not from a micro-op. */
function badAddress(core: Core, u: number): number {
  return raise(core, u !== 0 && isStack(core, u) ? VEC_SS : VEC_GP, 0);
}

function isStack(core: Core, u: number): boolean {
  switch (core.u16[u >>> 1]!) {
    case U_PUSH64:
    case U_PUSHI64:
    case U_POP64:
    case U_LEAVE64:
    case U_CALL:
    case U_CALL_R:
    case U_RET:
      return true;
    default:
      return (core.u8[u + 7]! & C_STACK) !== 0;
  }
}

/**
 * Records data breakpoints (SDM 18.2.4) that [lo, lo + size) touches. @returns H_RESTART outside step mode, except for the
 * accesses of a helper that ends its block or of a delivery (`system`): the next cut is their end
 */
function checkWatch(core: Core, lo: number, hi: number, size: number, write: boolean, system: boolean): number {
  const i = core.i32;
  const dr7 = i[(DR + 56) >>> 2]!;
  let hits = 0;
  for (let n = 0; n < 4; n++) {
    const rw = (dr7 >>> (16 + n * 4)) & 3;
    if (!(dr7 & (3 << (n * 2))) || !(rw === 3 || (rw === 1 && write))) continue;
    const length = [1, 2, 8, 4][(dr7 >>> (18 + n * 4)) & 3]!;
    const at = (DR + n * 8) >>> 2;
    if (i[at + 1] !== hi) continue;
    const start = (i[at]! & -length) >>> 0;
    if (lo >>> 0 < start + length && (lo >>> 0) + size > start) hits |= 1 << n;
  }
  if (hits === 0) return H_OK;
  if (!(i[MODE >>> 2]! & MODE_STEP)) {
    if (!system) return H_RESTART;
    core.breakSlice();
  }
  i[PENDING_DEBUG >>> 2]! |= hits;
  return H_OK;
}

/** True if an enabled data breakpoint lies in the page of hi:lo: it stays out of the TLB. */
function pageIsWatched(core: Core, lo: number, hi: number): boolean {
  const i = core.i32;
  const dr7 = i[(DR + 56) >>> 2]!;
  for (let n = 0; n < 4; n++) {
    if (!(dr7 & (3 << (n * 2))) || !((dr7 >>> (16 + n * 4)) & 1)) continue;
    const at = (DR + n * 8) >>> 2;
    if (i[at + 1] === hi && (i[at]! ^ lo) >>> 12 === 0) return true;
  }
  return false;
}

// ---- translation --------------------------------------------------------------------------------------------------

/**
 * Translates one byte's address through the TLB of `view`, filling it: `mmu.at` is its arena address, or -1 with
 * `mmu.physical` for the bus.
 */
function resolve(core: Core, lo: number, hi: number, access: number, view: number): number {
  const i = core.i32;
  const m = core.mmu;
  const e = dataEntry(view, lo);
  if (
    i[e + (TLB_READ >>> 2)] === ((lo & ~0xfff) | i[TLB_CTX >>> 2]!) &&
    i[e + (TLB_READ >>> 2) + 1] === hi &&
    (access === ACCESS_READ || i[e + (TLB_ATTR >>> 2)]! & TLB_ATTR_WRITABLE)
  ) {
    m.at = (lo + i[e + (TLB_ADDEND >>> 2)]!) >>> 0;
    return H_OK;
  }
  i[COUNT_DTLB_MISS >>> 2]!++;
  const r = walk(core, lo, hi, access, view === VIEW_USER, view === VIEW_SUPERVISOR_SMAP);
  if (r !== H_OK) return r;
  if (m.page < 0) {
    m.at = -1;
    m.physical += lo & 0xfff;
    return H_OK;
  }
  if (!(m.watching && pageIsWatched(core, lo, hi))) fillData(core, view, lo, hi);
  m.at = m.page + (lo & 0xfff);
  return H_OK;
}

/**
 * For a hypervisor that goes through its guest's own page tables (no second level): arena address of the byte at hi:lo as `view` may
 * access it, or -1. The TLB is asked and filled; the fault that a failure records is nobody's.
 */
export function locate(core: Core, lo: number, hi: number, write: boolean, view: number): number {
  if (!isCanonical(hi)) return -1;
  return resolve(core, lo, hi, write ? ACCESS_WRITE : ACCESS_READ, view) === H_OK ? core.mmu.at : -1;
}

/** High word of the address `bytes` after hi:lo, which lies in the next page: 32-bit linear addresses wrap. */
function nextHi(core: Core, lo: number, hi: number, bytes: number): number {
  if ((lo >>> 0) + bytes < 0x100000000) return hi;
  return (core.i32[MODE >>> 2]! & MODE_CODE_MASK) === MODE_64 ? (hi + 1) | 0 : 0;
}

/**
 * True if the access of micro-op `u` reaches over the end of a flat segment, 4 GiB: a limit violation (an AMD EPYC has it so; SDM
 * vol. 3, 6.3 leaves it open). An access by FS or GS, whose record names a base, was checked against its own limit.
 */
function overruns(core: Core, lo: number, size: number, u: number): boolean {
  const mode = core.i32[MODE >>> 2]!;
  if (u === 0 || (lo >>> 0) + size <= 0x100000000 || (mode & MODE_FLAT) === 0) return false;
  return (mode & MODE_CODE_MASK) !== MODE_64 && core.u8[u + 5] === A.S_ZERO;
}

/** Alignment check: before the page is looked at, as processors do it. 32 bytes need the alignment of 16 (asked of an AMD EPYC). */
const misaligned = (core: Core, lo: number, size: number, view: number): boolean =>
  core.mmu.alignCheck && view === VIEW_USER && (lo & (Math.min(size, 16) - 1)) !== 0;

/** Runs `access`, a part of an instruction whose accesses are not checked for alignment. */
export function withoutAlignment(core: Core, access: () => number): number {
  const check = core.mmu.alignCheck;
  core.mmu.alignCheck = false;
  const r = access();
  core.mmu.alignCheck = check;
  return r;
}

// ---- reads ----------------------------------------------------------------------------------------------------------

/** BUS_DATA = the `size` bytes (1..16) at arena address `at`, zero-extended. */
function loadData(core: Core, at: number, size: number): void {
  const { i32, u8 } = core;
  clearData(core);
  if (((at | size) & 3) === 0) for (let k = 0; k < size; k += 4) i32[(BUS_DATA + k) >>> 2] = i32[(at + k) >>> 2]!;
  else for (let k = 0; k < size; k++) u8[BUS_DATA + k] = u8[at + k]!;
}

function clearData(core: Core): void {
  core.i32[DATA] = 0;
  core.i32[DATA + 1] = 0;
  core.i32[DATA + 2] = 0;
  core.i32[DATA + 3] = 0;
}

/** Bytes of the widest access. */
const WIDEST = 32;

const pending = (core: Core): number => {
  core.i32[A.EXIT_REASON >>> 2] = EXIT_PENDING;
  return H_EXIT_AT;
};

/** Reads `size` bytes (1..32) from the bus into BUS_DATA + `to`, in the pieces that a bus knows. */
function busRead(core: Core, physical: number, size: number, to: number): number {
  const u8 = core.u8;
  let done = 0;
  // What was read before lies in `piece`'s way: collect it aside.
  const collected = new Uint8Array(WIDEST);
  while (done < size) {
    const piece = pieceAt(physical + done, size - done);
    if (core.bus.memoryRead(core, physical + done, piece) !== BUS_DONE) return pending(core);
    for (let k = 0; k < piece; k++) collected[done + k] = u8[BUS_DATA + k]!;
    done += piece;
  }
  for (let k = 0; k < size; k++) u8[BUS_DATA + to + k] = collected[k]!;
  return H_OK;
}

function busWrite(core: Core, physical: number, size: number, from: number): number {
  const u8 = core.u8;
  const data = u8.slice(BUS_DATA, BUS_DATA + WIDEST);
  let done = 0;
  while (done < size) {
    const piece = pieceAt(physical + done, size - done);
    clearData(core);
    for (let k = 0; k < piece; k++) u8[BUS_DATA + k] = data[from + done + k]!;
    if (core.bus.memoryWrite(core, physical + done, piece) !== BUS_DONE) {
      u8.set(data, BUS_DATA);
      return pending(core);
    }
    done += piece;
  }
  u8.set(data, BUS_DATA);
  return H_OK;
}

/** Largest of 8, 4, 2, 1 that is at most `left`. Only whole accesses reach a device misaligned. */
function pieceAt(address: number, left: number): number {
  if (left === 8 || left === 4 || left === 2 || left === 1) return left;
  const align = address % 8;
  for (let piece = 8; piece > 1; piece >>= 1) if (piece <= left && align % piece === 0) return piece;
  return 1;
}

function read(core: Core, lo: number, hi: number, size: number, view: number, u: number, system: boolean): number {
  const m = core.mmu;
  const u8 = core.u8;
  const first = 4096 - (lo & 0xfff);
  if (!isCanonical(hi)) return badAddress(core, u);
  const hi2 = size > first ? nextHi(core, lo, hi, first) : hi;
  if (!isCanonical(hi2) || (size > first && overruns(core, lo, size, u))) return badAddress(core, u);
  if (misaligned(core, lo, size, view)) return raise(core, VEC_AC, 0);
  let r = resolve(core, lo, hi, ACCESS_READ, view);
  if (r !== H_OK) return r;
  if (size <= first) {
    if (m.watching) r = checkWatch(core, lo, hi, size, false, system);
    if (r !== H_OK) return r;
    if (m.at < 0) {
      clearData(core);
      return busRead(core, m.physical, size, 0);
    }
    loadData(core, m.at, size);
    return H_OK;
  }
  const at = m.at;
  const physical = m.physical;
  r = resolve(core, (lo + first) | 0, hi2, ACCESS_READ, view);
  if (r !== H_OK) return r;
  if (m.watching) r = checkWatch(core, lo, hi, size, false, system);
  if (r !== H_OK) return r;
  const at2 = m.at;
  const physical2 = m.physical;
  clearData(core);
  if (at < 0) {
    r = busRead(core, physical, first, 0);
    if (r !== H_OK) return r;
  } else for (let k = 0; k < first; k++) u8[BUS_DATA + k] = u8[at + k]!;
  if (at2 < 0) {
    const head = u8.slice(BUS_DATA, BUS_DATA + first);
    r = busRead(core, physical2, size - first, first);
    u8.set(head, BUS_DATA);
    return r;
  }
  for (let k = first; k < size; k++) u8[BUS_DATA + k] = u8[at2 + k - first]!;
  return H_OK;
}

// ---- writes -----------------------------------------------------------------------------------------------------------

/** Self-modification: H_RESTART outside step mode (the code is dropped either way). */
function dropCode(core: Core, at: number, size: number, restart: boolean): number {
  if (at < 0 || !hitsCode(core, at, size)) return H_OK;
  core.i32[COUNT_SMC >>> 2]!++;
  core.shared.invalidateCode(at, size);
  return restart && !(core.i32[MODE >>> 2]! & MODE_STEP) ? H_RESTART : H_OK;
}

function store(core: Core, at: number, size: number, from: number): void {
  const u8 = core.u8;
  const arena = core.arena;
  const frame = (at - arena.ram) >>> 12;
  if (u8[arena.frameAttr + frame]! & FRAME_DIRTY_LOG) core.shared.noteDirty(frame);
  if (((at | size | from) & 3) === 0) {
    const { i32 } = core;
    for (let k = 0; k < size; k += 4) i32[(at + k) >>> 2] = i32[(BUS_DATA + from + k) >>> 2]!;
  } else for (let k = 0; k < size; k++) u8[at + k] = u8[BUS_DATA + from + k]!;
}

const PLAIN_WRITE = 0;
const ONLY_CHECK_THEN_READ = 1;
/** System writes between instructions: no block is running that could be restarted. */
const SYSTEM_WRITE = 2;

function write(core: Core, lo: number, hi: number, size: number, view: number, u: number, how: number): number {
  const m = core.mmu;
  const first = 4096 - (lo & 0xfff);
  const restart = how !== SYSTEM_WRITE;
  if (!isCanonical(hi)) return badAddress(core, u);
  const hi2 = size > first ? nextHi(core, lo, hi, first) : hi;
  if (!isCanonical(hi2) || (size > first && overruns(core, lo, size, u))) return badAddress(core, u);
  if (misaligned(core, lo, size, view)) return raise(core, VEC_AC, 0);
  let r = resolve(core, lo, hi, ACCESS_WRITE, view);
  if (r !== H_OK) return r;
  if (size <= first) {
    if (m.watching) r = checkWatch(core, lo, hi, size, true, !restart);
    if (r !== H_OK) return r;
    if (m.at < 0) {
      if (how !== ONLY_CHECK_THEN_READ) return busWrite(core, m.physical, size, 0);
      clearData(core);
      return busRead(core, m.physical, size, 0);
    }
    r = dropCode(core, m.at, size, restart);
    if (r !== H_OK) return r;
    if (how === ONLY_CHECK_THEN_READ) loadData(core, m.at, size);
    else store(core, m.at, size, 0);
    return H_OK;
  }
  const at = m.at;
  const physical = m.physical;
  r = resolve(core, (lo + first) | 0, hi2, ACCESS_WRITE, view);
  if (r !== H_OK) return r;
  const at2 = m.at;
  const physical2 = m.physical;
  if (m.watching) r = checkWatch(core, lo, hi, size, true, !restart);
  if (r !== H_OK) return r;
  const one = dropCode(core, at, first, restart);
  const two = dropCode(core, at2, size - first, restart);
  if (one !== H_OK || two !== H_OK) return H_RESTART;
  if (how === ONLY_CHECK_THEN_READ) return read(core, lo, hi, size, view, u, !restart);
  if (at < 0) {
    r = busWrite(core, physical, first, 0);
    if (r !== H_OK) return r;
  } else store(core, at, first, 0);
  if (at2 < 0) return busWrite(core, physical2, size - first, first);
  store(core, at2, size - first, first);
  return H_OK;
}

// ---- for generated code -----------------------------------------------------------------------------------------------

/** Load of `size` bytes (1, 2, 4, 8, 16, 32) at linear hi:lo for micro-op `u` into BUS_DATA. */
export function readSlow(core: Core, lo: number, hi: number, size: number, u: number): number {
  return read(core, lo, hi, size, viewOf(core, KIND_CURRENT), u, false);
}

/** Store of `size` bytes from BUS_DATA. */
export function writeSlow(core: Core, lo: number, hi: number, size: number, u: number): number {
  return write(core, lo, hi, size, viewOf(core, KIND_CURRENT), u, PLAIN_WRITE);
}

/** The load of a read-modify-write: write permission and self-modification first, then the load. */
export function rmwSlow(core: Core, lo: number, hi: number, size: number, u: number): number {
  return write(core, lo, hi, size, viewOf(core, KIND_CURRENT), u, ONLY_CHECK_THEN_READ);
}

/**
 * Makes FETCH_PAGE and FETCH_ARENA name the page of linear hi:lo, through the fetch TLB. Code runs from RAM only: a fetch
 * from a device's address is #GP(0) on the bare machine (a limit of this model).
 */
export function fetchSlow(core: Core, lo: number, hi: number): number {
  const i = core.i32;
  const m = core.mmu;
  if (!isCanonical(hi)) return raise(core, VEC_GP, 0);
  const user = i[CPL >>> 2] === 3;
  const e = fetchEntry(user, lo);
  if (i[e] === ((lo & ~0xfff) | i[TLB_CTX >>> 2]!) && i[e + 1] === hi) {
    i[FETCH_ARENA >>> 2] = i[e + 2]!;
  } else {
    i[COUNT_FETCH_MISS >>> 2]!++;
    const r = walk(core, lo, hi, ACCESS_FETCH, user, false);
    if (r !== H_OK) return r;
    if (m.page < 0) return raise(core, VEC_GP, 0);
    fillFetch(core, user, lo, hi);
    i[FETCH_ARENA >>> 2] = m.page;
  }
  i[FETCH_PAGE >>> 2] = lo & ~0xfff;
  i[(FETCH_PAGE + 4) >>> 2] = hi;
  return H_OK;
}

/** What `translateRead` and `translateWrite` return besides an arena address: fault recorded; take the slow path; exit. */
export const TRANSLATE_FAULT = -1;
export const TRANSLATE_SLOW = -2;
export const TRANSLATE_EXIT = -3;

function translate(core: Core, lo: number, hi: number, size: number, access: number): number {
  const m = core.mmu;
  if ((lo & 0xfff) + size > 4096 || m.watching || m.alignCheck) return TRANSLATE_SLOW;
  if (!isCanonical(hi)) {
    raise(core, VEC_GP, 0);
    return TRANSLATE_FAULT;
  }
  const r = resolve(core, lo, hi, access, viewOf(core, KIND_CURRENT));
  if (r !== H_OK) return r === H_EXIT_AT ? TRANSLATE_EXIT : TRANSLATE_FAULT;
  if (m.at < 0) return TRANSLATE_SLOW;
  if (access === ACCESS_WRITE) {
    const attr = core.u8[core.arena.frameAttr + ((m.at - core.arena.ram) >>> 12)]!;
    if (attr !== 0 && (attr !== FRAME_CODE || hitsCode(core, m.at, size))) return TRANSLATE_SLOW;
  }
  return m.at;
}

/**
 * Arena address of `size` bytes at linear hi:lo, which may be read there directly until the next thing that can change
 * translations; TRANSLATE_FAULT, TRANSLATE_EXIT (return H_EXIT_AT), or TRANSLATE_SLOW: device, watched or
 * crossing bytes, use `readSlow`. Stack references pass their own check for canonical addresses.
 */
export function translateRead(core: Core, lo: number, hi: number, size: number): number {
  return translate(core, lo, hi, size, ACCESS_READ);
}

/** The same for writing; TRANSLATE_SLOW also if the bytes hold translated code or the frame is watched or logged. */
export function translateWrite(core: Core, lo: number, hi: number, size: number): number {
  return translate(core, lo, hi, size, ACCESS_WRITE);
}

// ---- for system structures ----------------------------------------------------------------------------------------------

/** Reads `size` bytes (1..32) at linear hi:lo into BUS_DATA with the rights of `kind` (KIND_*). */
export function readLinear(core: Core, lo: number, hi: number, size: number, kind: number): number {
  return read(core, lo, hi, size, viewOf(core, kind), 0, true);
}

/**
 * Arena address, a multiple of 4, where `size` bytes at linear hi:lo may be read with the rights of `kind`; TRANSLATE_FAULT,
 * TRANSLATE_EXIT, or TRANSLATE_SLOW where they don't lie together in RAM, or must be looked at by `readLinear`.
 */
export function readPlace(core: Core, lo: number, hi: number, size: number, kind: number): number {
  const m = core.mmu;
  if ((lo & 0xfff) + size > 4096 || lo & 3 || m.watching || m.alignCheck || !isCanonical(hi)) return TRANSLATE_SLOW;
  const r = resolve(core, lo, hi, ACCESS_READ, viewOf(core, kind));
  if (r !== H_OK) return r === H_EXIT_AT ? TRANSLATE_EXIT : TRANSLATE_FAULT;
  return m.at < 0 ? TRANSLATE_SLOW : m.at;
}

/** As `readLinear` (1..16 bytes); after H_OK the bytes lie at arena address `mmu.at`, a multiple of 4: in RAM or at BUS_DATA. */
export function readInPlace(core: Core, lo: number, hi: number, size: number, kind: number): number {
  const place = readPlace(core, lo, hi, size, kind);
  if (place >= 0) return H_OK;
  if (place === TRANSLATE_FAULT) return H_FAULT;
  if (place === TRANSLATE_EXIT) return H_EXIT_AT;
  const r = readLinear(core, lo, hi, size, kind);
  core.mmu.at = BUS_DATA;
  return r;
}

/**
 * Arena address, a multiple of 4, of a frame of `size` bytes that ends before linear hi:lo and may be written directly.
 * TRANSLATE_FAULT and TRANSLATE_EXIT are about the eight bytes that are pushed first; TRANSLATE_SLOW: push them singly.
 */
export function framePlace(core: Core, lo: number, hi: number, size: number, kind: number): number {
  const m = core.mmu;
  // Where `lo` begins a page, the frame lies in the one before.
  const room = ((lo - 1) & 0xfff) + 1;
  if (room < size || lo & 3 || lo === 0 || m.watching || m.alignCheck || !isCanonical(hi)) return TRANSLATE_SLOW;
  const r = resolve(core, (lo - 8) | 0, hi, ACCESS_WRITE, viewOf(core, kind));
  if (r !== H_OK) return r === H_EXIT_AT ? TRANSLATE_EXIT : TRANSLATE_FAULT;
  if (m.at < 0 || core.u8[core.arena.frameAttr + ((m.at - core.arena.ram) >>> 12)] !== 0) return TRANSLATE_SLOW;
  return m.at - (size - 8);
}

/** Writes `size` bytes of BUS_DATA. Only between instructions or in helpers that end their block. */
export function writeLinear(core: Core, lo: number, hi: number, size: number, kind: number): number {
  return write(core, lo, hi, size, viewOf(core, kind), 0, SYSTEM_WRITE);
}

/** Checks that `size` bytes (1..4096) could be written, without writing. Same results. */
export function probeWrite(core: Core, lo: number, hi: number, size: number, kind: number): number {
  const view = viewOf(core, kind);
  if (!isCanonical(hi)) return raise(core, VEC_GP, 0);
  let r = resolve(core, lo, hi, ACCESS_WRITE, view);
  const first = 4096 - (lo & 0xfff);
  if (r === H_OK && size > first) {
    const hi2 = nextHi(core, lo, hi, first);
    if (!isCanonical(hi2)) return raise(core, VEC_GP, 0);
    r = resolve(core, (lo + first) | 0, hi2, ACCESS_WRITE, view);
  }
  return r;
}

// ---- for the hypervisor and for debuggers ---------------------------------------------------------------------------------

/** Fault and exit words, which a look from outside must not change. */
const KEEP_FROM = A.FAULT_VECTOR;
const KEEP_TO: number = A.EXIT_INTR_ERROR + 4;

/**
 * Copies between guest memory at linear `address` and `bytes` for a hypercall of the active core, with supervisor
 * (`user` false) or user rights; a fault is not delivered. @returns bytes that were not copied, 0 if all were
 */
export function copyLinear(core: Core, address: bigint, bytes: Uint8Array, write: boolean, user: boolean): number {
  const keep = core.u8.slice(KEEP_FROM, KEEP_TO);
  const left = copyPages(core, address, bytes, write, user ? VIEW_USER : VIEW_SUPERVISOR);
  core.u8.set(keep, KEEP_FROM);
  return left;
}

function copyPages(core: Core, address: bigint, bytes: Uint8Array, write: boolean, view: number): number {
  const m = core.mmu;
  const wide = m.paging === 3;
  for (let done = 0; done < bytes.length; ) {
    const a = BigInt.asUintN(wide ? 64 : 32, address + BigInt(done));
    const lo = Number(a & 0xffffffffn) | 0;
    const hi = Number(a >> 32n) | 0;
    const n = Math.min(bytes.length - done, 4096 - (lo & 0xfff));
    if (!isCanonical(hi)) return bytes.length - done;
    const r = walk(core, lo, hi, write ? ACCESS_WRITE : ACCESS_READ, view === VIEW_USER, false);
    if (r !== H_OK || m.page < 0) return bytes.length - done;
    const at = m.page + (lo & 0xfff);
    if (write) {
      noteWrite(core, at, n);
      core.u8.set(bytes.subarray(done, done + n), at);
    } else bytes.set(core.u8.subarray(at, at + n), done);
    done += n;
  }
  return 0;
}

/**
 * The bytes at linear `address`, at most `length`, as far as they are mapped to RAM: for dumps and debuggers. Changes
 * nothing: no fault, no A or D bit, no TLB entry. The core need not be active.
 */
export function peekLinear(core: Core, address: bigint, length: number): Uint8Array {
  const before = core.shared.active;
  core.activate();
  const walks = core.i32[A.COUNT_WALK >>> 2]!;
  core.mmu.peek = true;
  const bytes = new Uint8Array(length);
  const left = copyLinear(core, address, bytes, false, false);
  core.mmu.peek = false;
  core.i32[A.COUNT_WALK >>> 2] = walks;
  if (before !== null && before !== core) before.activate();
  return bytes.subarray(0, length - left);
}

/** Guest-physical `gpa` to an arena address through the second level without side effects, or -1. */
export function physicalToArena(core: Core, gpa: number): number {
  const keep = core.u8.slice(KEEP_FROM, KEEP_TO);
  core.mmu.peek = true;
  const page = toMachine(core, gpa, ACCESS_READ, true);
  core.mmu.peek = false;
  core.u8.set(keep, KEEP_FROM);
  return page < 0 ? -1 : page + (gpa & 0xfff);
}

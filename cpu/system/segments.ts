/**
 * Descriptors and segment loads (SDM 3.4, 5.2-5.7), and the stacks that far transfers and event delivery push to. Functions
 * return H_OK, H_FAULT or H_EXIT_AT; `ext` is the EXT bit of error codes (1 during the delivery of an external event).
 */
import * as A from "../arena.ts";
import { type Core, raise, VEC_GP, VEC_NP, VEC_SS, VEC_TS } from "../core.ts";
import { FLAG_VM } from "../flags.ts";
import { KIND_CURRENT, KIND_SYSTEM, KIND_USER, readInPlace, readLinear, writeLinear } from "../mmu/access.ts";
import { H_OK } from "../uops/uop.ts";
import { CR0_PE, carryInto, is64, isLongMode } from "./bits.ts";
import { loadSegmentRaw, loadTableRaw } from "./mode.ts";
import {
  ATTR_ACCESSED,
  ATTR_CODE,
  ATTR_DB,
  ATTR_DC,
  ATTR_DPL_SHIFT,
  ATTR_RW,
  ATTR_TYPE_MASK,
  ATTR_UNUSABLE,
} from "./segcheck.ts";

export const SEG_SS = 2;
export const SEG_CS = 1;

/** System descriptor types (SDM table 3-2). */
export const TYPE_TSS16 = 1;
export const TYPE_LDT = 2;
export const TYPE_TSS16_BUSY = 3;
export const TYPE_CALL16 = 4;
export const TYPE_TASK_GATE = 5;
export const TYPE_INT16 = 6;
export const TYPE_TRAP16 = 7;
export const TYPE_TSS = 9;
export const TYPE_TSS_BUSY = 11;
export const TYPE_CALL = 12;
export const TYPE_INT = 14;
export const TYPE_TRAP = 15;

/** A descriptor in memory. */
export class Descriptor {
  selector = 0;
  lo = 0;
  hi = 0;
  /** The upper eight bytes of a 16-byte system descriptor. */
  lo2 = 0;
  hi2 = 0;
  /** Linear address. */
  atLo = 0;
  atHi = 0;

  /** Attributes in the format of segcheck.ts. */
  get attr(): number {
    return (this.hi >>> 8) & 0xf0ff;
  }
  get type(): number {
    return (this.hi >>> 8) & ATTR_TYPE_MASK;
  }
  get dpl(): number {
    return (this.hi >>> 13) & 3;
  }
  get present(): boolean {
    return (this.hi & 0x8000) !== 0;
  }
  get isSystem(): boolean {
    return (this.hi & 0x1000) === 0;
  }
  get isCode(): boolean {
    return (this.hi & 0x1800) === 0x1800;
  }
  get isWritableData(): boolean {
    return (this.hi & 0x1a00) === 0x1200;
  }
  get isConforming(): boolean {
    return (this.hi & 0x1c00) === 0x1c00;
  }
  get base(): number {
    return (this.lo >>> 16) | ((this.hi & 0xff) << 16) | (this.hi & 0xff000000);
  }
  /** In bytes, as int32. */
  get limit(): number {
    const limit = (this.lo & 0xffff) | (this.hi & 0xf0000);
    return this.hi & 0x800000 ? (limit << 12) | 0xfff : limit;
  }
  /** Offset of a gate, low word. */
  get offset(): number {
    return (this.lo & 0xffff) | (this.hi & 0xffff0000);
  }
  /** Selector of a gate. */
  get target(): number {
    return this.lo >>> 16;
  }
}

/** `readDescriptor`: the selector is beyond its table, or its LDT does not exist. The caller names the fault. */
export const NO_DESCRIPTOR = -1;

/** Linear address of `offset` in table `table` (GDTR, IDTR, LDTR, TR). */
export function tableAddress(core: Core, table: number, offset: number, d: Descriptor): void {
  const base = (table + A.TABLE_BASE) >>> 2;
  d.atLo = (core.i32[base]! + offset) | 0;
  d.atHi = isLongMode(core) ? carryInto(core.i32[base + 1]!, d.atLo, offset) : 0;
}

/** Reads the descriptor that `selector` names (not null). @returns H_OK, NO_DESCRIPTOR, H_FAULT, H_EXIT_AT */
export function readDescriptor(core: Core, selector: number, d: Descriptor): number {
  const i = core.i32;
  const table = selector & 4 ? A.LDTR : A.GDTR;
  d.selector = selector;
  if (table === A.LDTR && (i[A.LDTR >>> 2]! & 0xfffc) === 0) return NO_DESCRIPTOR;
  if (table === A.LDTR && i[(A.LDTR + A.SEG_ATTR) >>> 2]! & ATTR_UNUSABLE) return NO_DESCRIPTOR;
  if ((selector | 7) > core.u32[(table + A.SEG_LIMIT) >>> 2]!) return NO_DESCRIPTOR;
  tableAddress(core, table, selector & 0xfff8, d);
  const r = readInPlace(core, d.atLo, d.atHi, 8, KIND_SYSTEM);
  if (r !== H_OK) return r;
  const at = core.mmu.at >>> 2;
  d.lo = i[at]!;
  d.hi = i[at + 1]!;
  return H_OK;
}

/** Reads the upper half of a 16-byte descriptor. The limit must have been checked by `readDescriptor` of selector + 8. */
export function readUpperHalf(core: Core, d: Descriptor): number {
  const table = d.selector & 4 ? A.LDTR : A.GDTR;
  if ((d.selector | 7) + 8 > core.u32[(table + A.SEG_LIMIT) >>> 2]!) return NO_DESCRIPTOR;
  const lo = (d.atLo + 8) | 0;
  const r = readLinear(core, lo, carryInto(d.atHi, lo, 8), 8, KIND_SYSTEM);
  if (r !== H_OK) return r;
  d.lo2 = core.i32[A.BUS_DATA >>> 2]!;
  d.hi2 = core.i32[(A.BUS_DATA + 4) >>> 2]!;
  return H_OK;
}

/** Writes the type byte of a descriptor back with `bit` of the type set (accessed, busy). */
export function setTypeBit(core: Core, d: Descriptor, bit: number): number {
  if (d.hi & (bit << 8)) return H_OK;
  core.i32[A.BUS_DATA >>> 2] = ((d.hi >>> 8) & 0xff) | bit;
  const lo = (d.atLo + 5) | 0;
  const r = writeLinear(core, lo, carryInto(d.atHi, lo, 5), 1, KIND_SYSTEM);
  if (r === H_OK) d.hi |= bit << 8;
  return r;
}

/** #GP, #NP, #TS or #SS with the error code of a selector. */
export const raiseSelector = (core: Core, vector: number, selector: number, ext: number): number =>
  raise(core, vector, (selector & 0xfffc) | ext);

export const selectorOf = (core: Core, seg: number): number => core.i32[(A.SEG + seg * A.SEG_STRIDE) >>> 2]! & 0xffff;
export const attrOf = (core: Core, seg: number): number => core.i32[(A.SEG + seg * A.SEG_STRIDE + A.SEG_ATTR) >>> 2]!;

const isProtected = (core: Core): boolean =>
  (core.i32[A.CR0 >>> 2]! & CR0_PE) !== 0 && !(core.i32[A.RFLAGS_SYS >>> 2]! & FLAG_VM);

/** Puts descriptor `d` into segment register `seg` with selector `selector`. */
export function setFromDescriptor(core: Core, seg: number, selector: number, d: Descriptor): void {
  loadSegmentRaw(core, seg, selector, d.base, 0, d.limit, d.attr);
}

/** Real-address and virtual-8086 mode: base = selector * 16; the limit stays as it is in real mode ("unreal" works). */
export function loadRealSegment(core: Core, seg: number, selector: number): void {
  const attr = attrOf(core, seg);
  if (core.i32[A.RFLAGS_SYS >>> 2]! & FLAG_VM) {
    loadSegmentRaw(core, seg, selector, selector << 4, 0, 0xffff, 0xf3);
    return;
  }
  const limit = core.i32[(A.SEG + seg * A.SEG_STRIDE + A.SEG_LIMIT) >>> 2]!;
  const usable = attr & ATTR_UNUSABLE ? 0x93 : (attr & (ATTR_DB | 0x8000)) | 0x93;
  loadSegmentRaw(core, seg, selector, selector << 4, 0, attr & ATTR_UNUSABLE ? 0xffff : limit, usable);
}

const scratch = new Descriptor();

/**
 * MOV, POP, LDS.. to ES, SS, DS, FS, GS in any mode. Changes nothing unless it returns H_OK. The caller updates the
 * mode word, and starts the interrupt shadow for SS.
 */
export function loadSegment(core: Core, seg: number, selector: number): number {
  if (!isProtected(core)) {
    loadRealSegment(core, seg, selector);
    return H_OK;
  }
  const cpl = core.i32[A.CPL >>> 2]!;
  if ((selector & 0xfffc) === 0) {
    if (seg === SEG_SS && !(is64(core) && cpl < 3 && (selector & 3) === cpl)) return raise(core, VEC_GP, 0);
    loadNull(core, seg, selector);
    return H_OK;
  }
  const d = scratch;
  let r = readDescriptor(core, selector, d);
  if (r === NO_DESCRIPTOR) return raiseSelector(core, VEC_GP, selector, 0);
  if (r !== H_OK) return r;
  const rpl = selector & 3;
  if (seg === SEG_SS) {
    if (rpl !== cpl || d.dpl !== cpl || !d.isWritableData) return raiseSelector(core, VEC_GP, selector, 0);
    if (!d.present) return raiseSelector(core, VEC_SS, selector, 0);
  } else {
    if (d.isSystem || (d.isCode && !(d.attr & ATTR_RW))) return raiseSelector(core, VEC_GP, selector, 0);
    if (!d.isConforming && (rpl > d.dpl || cpl > d.dpl)) return raiseSelector(core, VEC_GP, selector, 0);
    if (!d.present) return raiseSelector(core, VEC_NP, selector, 0);
  }
  r = setTypeBit(core, d, ATTR_ACCESSED);
  if (r !== H_OK) return r;
  setFromDescriptor(core, seg, selector, d);
  return H_OK;
}

/** A null selector: the register is unusable; SS keeps the privilege level as its DPL. */
export function loadNull(core: Core, seg: number, selector: number): void {
  const dpl = seg === SEG_SS ? (core.i32[A.CPL >>> 2]! << ATTR_DPL_SHIFT) | ATTR_DB : 0;
  loadSegmentRaw(core, seg, selector, 0, 0, 0, ATTR_UNUSABLE | dpl);
}

/**
 * After a return to an outer level: ES, DS, FS, GS that the new level may not use become null (SDM, RET and IRET). Their bases stay,
 * which 64-bit code sees of FS and GS.
 */
export function dropInnerSegments(core: Core, cpl: number): void {
  for (const seg of [0, 3, 4, 5]) {
    const attr = attrOf(core, seg);
    if (attr & ATTR_UNUSABLE) continue;
    const conforming = (attr & (ATTR_CODE | ATTR_DC)) === (ATTR_CODE | ATTR_DC);
    if (((attr >>> ATTR_DPL_SHIFT) & 3) >= cpl || conforming) continue;
    const base = (A.SLOTS + A.S_SEGBASE + seg * 8) >>> 2;
    loadSegmentRaw(core, seg, 0, core.i32[base]!, core.i32[base + 1]!, 0, ATTR_UNUSABLE);
  }
}

/** LLDT. */
export function loadLdt(core: Core, selector: number): number {
  if ((selector & 0xfffc) === 0) {
    loadTableRaw(core, A.LDTR, selector, 0, 0, 0, ATTR_UNUSABLE);
    return H_OK;
  }
  return loadSystemSegment(core, A.LDTR, selector, 1 << TYPE_LDT);
}

/** LTR: the TSS becomes busy. */
export function loadTr(core: Core, selector: number): number {
  if ((selector & 0xfffc) === 0) return raise(core, VEC_GP, 0);
  return loadSystemSegment(
    core,
    A.TR,
    selector,
    isLongMode(core) ? 1 << TYPE_TSS : (1 << TYPE_TSS) | (1 << TYPE_TSS16),
  );
}

function loadSystemSegment(core: Core, table: number, selector: number, types: number): number {
  const d = scratch;
  const long = isLongMode(core);
  if (selector & 4) return raiseSelector(core, VEC_GP, selector, 0);
  let r = readDescriptor(core, selector, d);
  if (r === NO_DESCRIPTOR) return raiseSelector(core, VEC_GP, selector, 0);
  if (r !== H_OK) return r;
  if (!d.isSystem || !((types >>> d.type) & 1)) return raiseSelector(core, VEC_GP, selector, 0);
  d.lo2 = 0;
  if (long) {
    r = readUpperHalf(core, d);
    if (r === NO_DESCRIPTOR) return raiseSelector(core, VEC_GP, selector, 0);
    if (r !== H_OK) return r;
    if ((d.hi2 & 0x1f00) !== 0 || (d.lo2 << 16) >> 16 !== d.lo2) return raiseSelector(core, VEC_GP, selector, 0);
  }
  if (!d.present) return raiseSelector(core, VEC_NP, selector, 0);
  if (table === A.TR) {
    r = setTypeBit(core, d, 2);
    if (r !== H_OK) return r;
  }
  loadTableRaw(core, table, selector, d.base, d.lo2, d.limit, d.attr);
  return H_OK;
}

// ---- stacks ---------------------------------------------------------------------------------------------------------------

/** A stack that is being pushed to or popped from; RSP changes only when the caller commits. */
export class Stack {
  baseLo = 0;
  baseHi = 0;
  lo = 0;
  hi = 0;
  /** Bytes of the stack pointer: 2, 4, 8. */
  size = 8;
  limit = -1;
  attr = 0;
  kind: number = KIND_CURRENT;
  /** Error code of #SS. */
  error = 0;
}

/** The current stack. */
export function currentStack(core: Core, s: Stack): void {
  const i = core.i32;
  s.lo = i[(A.SLOTS + A.S_RSP) >>> 2]!;
  s.hi = i[(A.SLOTS + A.S_RSP + 4) >>> 2]!;
  s.attr = attrOf(core, SEG_SS);
  s.limit = i[(A.SEG + SEG_SS * A.SEG_STRIDE + A.SEG_LIMIT) >>> 2]!;
  s.size = is64(core) ? 8 : s.attr & ATTR_DB ? 4 : 2;
  s.baseLo = s.size === 8 ? 0 : i[(A.SLOTS + A.S_SEGBASE + SEG_SS * 8) >>> 2]!;
  s.baseHi = 0;
  s.kind = KIND_CURRENT;
  s.error = 0;
}

/** The access kind of a privilege level that is not current yet. */
export const kindOf = (core: Core, cpl: number): number =>
  core.i32[A.CPL >>> 2] === cpl ? KIND_CURRENT : cpl === 3 ? KIND_USER : KIND_SYSTEM;

function stackAllows(s: Stack, offset: number, bytes: number, write: boolean): boolean {
  if (s.attr & ATTR_UNUSABLE || (write && !(s.attr & ATTR_RW))) return false;
  const last = offset + bytes - 1;
  const limit = s.limit >>> 0;
  if (s.attr & ATTR_DC) return offset > limit && last <= (s.attr & ATTR_DB ? 0xffffffff : 0xffff);
  return last <= limit;
}

/** Linear low word of stack offset `lo`, after the legacy limit check; NaN if that fails. */
function stackLinear(s: Stack, bytes: number, write: boolean): number {
  const offset = s.size === 2 ? s.lo & 0xffff : s.lo >>> 0;
  return stackAllows(s, offset, bytes, write) ? (s.baseLo + offset) | 0 : Number.NaN;
}

/** A non-canonical stack address is #SS, not #GP. */
const stackCanonical = (s: Stack): boolean => (s.hi << 16) >> 16 === s.hi;

/** Pushes the low `bytes` (2, 4, 8) of hi:lo. */
export function push(core: Core, s: Stack, bytes: number, lo: number, hi: number): number {
  move(s, -bytes);
  let linear = s.lo;
  if (s.size === 8) {
    if (!stackCanonical(s)) return raise(core, VEC_SS, s.error);
  } else {
    linear = stackLinear(s, bytes, true);
    if (Number.isNaN(linear)) return raise(core, VEC_SS, s.error);
  }
  core.i32[A.BUS_DATA >>> 2] = lo;
  core.i32[(A.BUS_DATA + 4) >>> 2] = hi;
  return writeLinear(core, linear, s.size === 8 ? s.hi : 0, bytes, s.kind);
}

/** Pops `bytes` into BUS_DATA. */
export function pop(core: Core, s: Stack, bytes: number): number {
  let linear = s.lo;
  if (s.size === 8) {
    if (!stackCanonical(s)) return raise(core, VEC_SS, s.error);
  } else {
    linear = stackLinear(s, bytes, false);
    if (Number.isNaN(linear)) return raise(core, VEC_SS, s.error);
  }
  const r = readLinear(core, linear, s.size === 8 ? s.hi : 0, bytes, s.kind);
  if (r === H_OK) move(s, bytes);
  return r;
}

/** Moves the stack pointer by `delta` bytes (int32). */
export function move(s: Stack, delta: number): void {
  const lo = (s.lo + delta) | 0;
  if (s.size === 8) {
    s.hi = carryInto(s.hi, lo, delta);
    s.lo = lo;
  } else if (s.size === 4) s.lo = lo;
  else s.lo = (s.lo & ~0xffff) | (lo & 0xffff);
}

/** Makes the stack pointer architectural. */
export function commitStack(core: Core, s: Stack): void {
  const at = (A.SLOTS + A.S_RSP) >>> 2;
  if (s.size === 2) core.u16[(A.SLOTS + A.S_RSP) >>> 1] = s.lo;
  else {
    core.i32[at] = s.lo;
    core.i32[at + 1] = s.size === 8 ? s.hi : 0;
  }
}

/** The stack that the TSS gives for privilege level `dpl` (or IST `ist` > 0): pointer and, in legacy modes, SS checked. */
export function stackFromTss(core: Core, dpl: number, ist: number, ext: number, s: Stack, d: Descriptor): number {
  const i = core.i32;
  const limit = core.u32[(A.TR + A.SEG_LIMIT) >>> 2]!;
  const tr = i[A.TR >>> 2]! & 0xffff;
  s.kind = kindOf(core, dpl);
  if (isLongMode(core)) {
    const offset = ist > 0 ? 0x1c + 8 * ist : 4 + 8 * dpl;
    if (offset + 7 > limit) return raiseSelector(core, VEC_TS, tr, ext);
    tableAddress(core, A.TR, offset, d);
    const r = readInPlace(core, d.atLo, d.atHi, 8, KIND_SYSTEM);
    if (r !== H_OK) return r;
    const at = core.mmu.at >>> 2;
    s.lo = i[at]!;
    s.hi = i[at + 1]!;
    s.size = 8;
    s.baseLo = s.baseHi = 0;
    s.error = ext;
    return stackCanonical(s) ? H_OK : raise(core, VEC_SS, ext);
  }
  const wide = (i[(A.TR + A.SEG_ATTR) >>> 2]! & 8) !== 0;
  const offset = wide ? 4 + 8 * dpl : 2 + 4 * dpl;
  if (offset + (wide ? 5 : 3) > limit) return raiseSelector(core, VEC_TS, tr, ext);
  tableAddress(core, A.TR, offset, d);
  let r = readLinear(core, d.atLo, d.atHi, wide ? 6 : 4, KIND_SYSTEM);
  if (r !== H_OK) return r;
  s.lo = wide ? i[A.BUS_DATA >>> 2]! : core.u16[A.BUS_DATA >>> 1]!;
  s.hi = 0;
  const ss = wide ? core.u16[(A.BUS_DATA + 4) >>> 1]! : core.u16[(A.BUS_DATA + 2) >>> 1]!;
  if ((ss & 0xfffc) === 0) return raise(core, VEC_TS, ext);
  r = readDescriptor(core, ss, d);
  if (r === NO_DESCRIPTOR) return raiseSelector(core, VEC_TS, ss, ext);
  if (r !== H_OK) return r;
  if ((ss & 3) !== dpl || d.dpl !== dpl || !d.isWritableData) return raiseSelector(core, VEC_TS, ss, ext);
  if (!d.present) return raiseSelector(core, VEC_SS, ss, ext);
  r = setTypeBit(core, d, ATTR_ACCESSED);
  if (r !== H_OK) return r;
  s.attr = d.attr;
  s.limit = d.limit;
  s.size = s.attr & ATTR_DB ? 4 : 2;
  s.baseLo = d.base;
  s.baseHi = 0;
  s.error = (ss & 0xfffc) | ext;
  return H_OK;
}

/** SS after a switch to level `dpl`: `d` from the TSS, or null with RPL = dpl in long mode. CPL must be set already. */
export function setSwitchedStack(core: Core, dpl: number, d: Descriptor): void {
  if (isLongMode(core)) loadNull(core, SEG_SS, dpl);
  else setFromDescriptor(core, SEG_SS, d.selector, d);
}

/**
 * Far transfers: JMP, CALL and RET to other code segments, through call gates, and IRET (SDM volume 2, volume 3
 * section 5.8). Every function returns H_OK with RIP, CS and what else changes set, or H_FAULT or H_EXIT_AT with nothing
 * changed. A hardware task switch exits in NONROOT (EXIT_TASK_SWITCH): its controller completes it by `completeTaskSwitch`.
 */
import * as A from "../arena.ts";
import { type Core, DELIVERY_NONROOT, EXIT_TASK_SWITCH, raise, VEC_GP, VEC_NP, VEC_SS } from "../core.ts";
import {
  FLAG_AC,
  FLAG_DF,
  FLAG_ID,
  FLAG_IF,
  FLAG_IOPL,
  FLAG_NT,
  FLAG_RF,
  FLAG_TF,
  FLAG_VIF,
  FLAG_VIP,
  FLAG_VM,
  FLAGS_ARITHMETIC,
  getFlags,
  setFlags,
} from "../flags.ts";
import { KIND_CURRENT, KIND_SYSTEM, readLinear, readPlace, TRANSLATE_EXIT, TRANSLATE_FAULT } from "../mmu/access.ts";
import { H_EXIT_AT, H_FAULT, H_OK } from "../uops/uop.ts";
import { CR0_PE, is64, isLongMode, setRip } from "./bits.ts";
import { exitAt } from "./exits.ts";
import { BLOCKED_NMI, hasCodeBreakpoint, loadSegmentRaw, setCpl, updateMode, updatePrivilege } from "./mode.ts";
import { changeFlags, noticeInterrupts } from "./rflags.ts";
import { ATTR_ACCESSED, ATTR_DB, ATTR_L } from "./segcheck.ts";
import {
  commitStack,
  currentStack,
  Descriptor,
  dropInnerSegments,
  loadNull,
  loadRealSegment,
  move,
  NO_DESCRIPTOR,
  pop,
  push,
  raiseSelector,
  readDescriptor,
  readUpperHalf,
  SEG_CS,
  SEG_SS,
  Stack,
  selectorOf,
  setFromDescriptor,
  setSwitchedStack,
  setTypeBit,
  stackFromTss,
  TYPE_CALL,
  TYPE_CALL16,
  TYPE_TASK_GATE,
  TYPE_TSS,
  TYPE_TSS16,
} from "./segments.ts";
import { switchTask, TASK_CALL, TASK_IRET, TASK_JMP } from "./task.ts";

const code = new Descriptor();
const gate = new Descriptor();
const segment = new Descriptor();
const stack = new Stack();
const inner = new Stack();

const RFLAGS = A.RFLAGS_SYS >>> 2;
const DATA = A.BUS_DATA >>> 2;
const cplOf = (core: Core): number => core.i32[A.CPL >>> 2]!;

const isReal = (core: Core): boolean => !(core.i32[A.CR0 >>> 2]! & CR0_PE) || (core.i32[RFLAGS]! & FLAG_VM) !== 0;

/** A switch that an instruction of `length` bytes asks for; RIP is past it. */
function taskSwitch(core: Core, selector: number, source: number, length: number): number {
  if (core.controls.delivery === DELIVERY_NONROOT)
    return exitAt(core, EXIT_TASK_SWITCH, length, selector | (source << 30));
  return switchTask(core, selector, source, 0, core.i32[A.RIP >>> 2]!, getFlags(core), -1);
}

/** Reads the descriptor of a code transfer; null and out-of-table selectors are #GP. */
function readTarget(core: Core, selector: number, d: Descriptor): number {
  if ((selector & 0xfffc) === 0) return raise(core, VEC_GP, 0);
  const r = readDescriptor(core, selector, d);
  return r === NO_DESCRIPTOR ? raiseSelector(core, VEC_GP, selector, 0) : r;
}

/** The target offset lies in the segment (legacy) or is canonical (64-bit code). */
function checkOffset(core: Core, d: Descriptor, lo: number, hi: number): number {
  const long = isLongMode(core) && (d.attr & ATTR_L) !== 0;
  const ok = long ? (hi << 16) >> 16 === hi : hi === 0 && lo >>> 0 <= d.limit >>> 0;
  return ok ? H_OK : raise(core, VEC_GP, 0);
}

/** Rights of a direct transfer to code segment `d`. */
function checkCode(core: Core, selector: number, d: Descriptor): number {
  const cpl = cplOf(core);
  if (!d.isCode) return raiseSelector(core, VEC_GP, selector, 0);
  const allowed = d.isConforming ? d.dpl <= cpl : (selector & 3) <= cpl && d.dpl === cpl;
  if (!allowed) return raiseSelector(core, VEC_GP, selector, 0);
  if (isLongMode(core) && (d.attr & (ATTR_L | ATTR_DB)) === (ATTR_L | ATTR_DB))
    return raiseSelector(core, VEC_GP, selector, 0);
  return d.present ? H_OK : raiseSelector(core, VEC_NP, selector, 0);
}

function enterCode(core: Core, selector: number, d: Descriptor, lo: number, hi: number): void {
  setFromDescriptor(core, SEG_CS, (selector & 0xfffc) | cplOf(core), d);
  setRip(core, lo, hi);
  updateMode(core);
}

const truncate = (lo: number, bytes: number): number => (bytes === 2 ? lo & 0xffff : lo);

/** Reads a call gate's target code segment into `code`. `gateRight`: most privileged level that need not match. */
function readCallGate(core: Core, selector: number): number {
  const cpl = cplOf(core);
  const long = isLongMode(core);
  if (gate.type !== TYPE_CALL && (long || gate.type !== TYPE_CALL16)) return raiseSelector(core, VEC_GP, selector, 0);
  if (gate.dpl < cpl || gate.dpl < (selector & 3)) return raiseSelector(core, VEC_GP, selector, 0);
  if (!gate.present) return raiseSelector(core, VEC_NP, selector, 0);
  gate.lo2 = 0;
  if (long) {
    const r = readUpperHalf(core, gate);
    if (r === NO_DESCRIPTOR || (r === H_OK && gate.hi2 & 0x1f00)) return raiseSelector(core, VEC_GP, selector, 0);
    if (r !== H_OK) return r;
  }
  const r = readTarget(core, gate.target, code);
  if (r !== H_OK) return r;
  if (!code.isCode || code.dpl > cpl) return raiseSelector(core, VEC_GP, gate.target, 0);
  if (long && (code.attr & (ATTR_L | ATTR_DB)) !== ATTR_L) return raiseSelector(core, VEC_GP, gate.target, 0);
  return code.present ? H_OK : raiseSelector(core, VEC_NP, gate.target, 0);
}

/** Where a call gate leads. */
const gateOffset = (): number => (gate.type === TYPE_CALL16 ? gate.offset & 0xffff : gate.offset);

/** System descriptors as targets: H_OK for a call gate that `readCallGate` accepted. */
function readSystemTarget(core: Core, selector: number): number {
  gate.selector = selector;
  gate.lo = code.lo;
  gate.hi = code.hi;
  gate.atLo = code.atLo;
  gate.atHi = code.atHi;
  return readCallGate(core, selector);
}

const TASK_TYPES: number = (1 << TYPE_TASK_GATE) | (1 << TYPE_TSS) | (1 << TYPE_TSS16);

/** True if the descriptor in `code` leads to another task. */
const isTaskTarget = (core: Core): boolean =>
  code.isSystem && !isLongMode(core) && ((TASK_TYPES >>> code.type) & 1) !== 0;

/** JMP or CALL to the TSS or task gate in `code`. */
function taskTarget(core: Core, selector: number, source: number, length: number): number {
  if (code.dpl < cplOf(core) || code.dpl < (selector & 3)) return raiseSelector(core, VEC_GP, selector, 0);
  if (!code.present) return raiseSelector(core, VEC_NP, selector, 0);
  return taskSwitch(core, code.type === TYPE_TASK_GATE ? code.target : selector, source, length);
}

/** JMP far to selector:hi:lo; `bytes` is the operand size, `length` that of the instruction; RIP is past it. */
export function farJump(core: Core, selector: number, lo: number, hi: number, bytes: number, length: number): number {
  if (isReal(core)) {
    if (truncate(lo, bytes) >>> 0 > 0xffff) return raise(core, VEC_GP, 0);
    loadRealSegment(core, SEG_CS, selector);
    setRip(core, truncate(lo, bytes), 0);
    updateMode(core);
    return H_OK;
  }
  let r = readTarget(core, selector, code);
  if (r !== H_OK) return r;
  if (isTaskTarget(core)) return taskTarget(core, selector, TASK_JMP, length);
  if (code.isSystem) {
    r = readSystemTarget(core, selector);
    if (r !== H_OK) return r;
    if (!code.isConforming && code.dpl !== cplOf(core)) return raiseSelector(core, VEC_GP, gate.target, 0);
    r = checkOffset(core, code, gateOffset(), gate.lo2);
    if (r === H_OK) r = setTypeBit(core, code, ATTR_ACCESSED);
    if (r !== H_OK) return r;
    enterCode(core, gate.target, code, gateOffset(), gate.lo2);
    return H_OK;
  }
  r = checkCode(core, selector, code);
  if (r === H_OK) r = checkOffset(core, code, truncate(lo, bytes), bytes === 8 ? hi : 0);
  if (r === H_OK) r = setTypeBit(core, code, ATTR_ACCESSED);
  if (r !== H_OK) return r;
  enterCode(core, selector, code, truncate(lo, bytes), bytes === 8 ? hi : 0);
  return H_OK;
}

/** CALL far. */
export function farCall(core: Core, selector: number, lo: number, hi: number, bytes: number, length: number): number {
  const i = core.i32;
  const s = stack;
  currentStack(core, s);
  const ripLo = i[A.RIP >>> 2]!;
  const ripHi = i[(A.RIP + 4) >>> 2]!;
  const cs = selectorOf(core, SEG_CS);
  if (isReal(core)) {
    if (truncate(lo, bytes) >>> 0 > 0xffff) return raise(core, VEC_GP, 0);
    let r = push(core, s, bytes, cs, 0);
    if (r === H_OK) r = push(core, s, bytes, ripLo, 0);
    if (r !== H_OK) return r;
    commitStack(core, s);
    loadRealSegment(core, SEG_CS, selector);
    setRip(core, truncate(lo, bytes), 0);
    updateMode(core);
    return H_OK;
  }
  let r = readTarget(core, selector, code);
  if (r !== H_OK) return r;
  if (isTaskTarget(core)) return taskTarget(core, selector, TASK_CALL, length);
  if (code.isSystem) {
    r = readSystemTarget(core, selector);
    return r === H_OK ? callThroughGate(core) : r;
  }
  r = checkCode(core, selector, code);
  if (r === H_OK) r = push(core, s, bytes, cs, 0);
  if (r === H_OK) r = push(core, s, bytes, ripLo, ripHi);
  if (r === H_OK) r = checkOffset(core, code, truncate(lo, bytes), bytes === 8 ? hi : 0);
  if (r === H_OK) r = setTypeBit(core, code, ATTR_ACCESSED);
  if (r !== H_OK) return r;
  commitStack(core, s);
  enterCode(core, selector, code, truncate(lo, bytes), bytes === 8 ? hi : 0);
  return H_OK;
}

function callThroughGate(core: Core): number {
  const i = core.i32;
  const long = isLongMode(core);
  const bytes = long ? 8 : gate.type === TYPE_CALL16 ? 2 : 4;
  const ripLo = i[A.RIP >>> 2]!;
  const ripHi = i[(A.RIP + 4) >>> 2]!;
  const cs = selectorOf(core, SEG_CS);
  const cpl = cplOf(core);
  const selector = gate.target;
  const offset = gateOffset();
  const s = stack;
  let r = checkOffset(core, code, offset, gate.lo2);
  if (r !== H_OK) return r;
  const newCpl = code.isConforming ? cpl : code.dpl;
  if (newCpl === cpl) {
    r = push(core, s, bytes, cs, 0);
    if (r === H_OK) r = push(core, s, bytes, ripLo, ripHi);
    if (r === H_OK) r = setTypeBit(core, code, ATTR_ACCESSED);
    if (r !== H_OK) return r;
    commitStack(core, s);
    enterCode(core, selector, code, offset, gate.lo2);
    return H_OK;
  }
  const n = inner;
  r = stackFromTss(core, newCpl, 0, 0, n, segment);
  if (r === H_OK) r = push(core, n, bytes, selectorOf(core, SEG_SS), 0);
  if (r === H_OK) r = push(core, n, bytes, i[(A.SLOTS + A.S_RSP) >>> 2]!, long ? i[(A.SLOTS + A.S_RSP + 4) >>> 2]! : 0);
  if (!long) {
    // Parameters, the last one first, so that they keep their order.
    const count = gate.hi & 31;
    for (let k = count - 1; k >= 0 && r === H_OK; k--) {
      currentStack(core, s);
      move(s, k * bytes);
      r = pop(core, s, bytes);
      if (r === H_OK) r = push(core, n, bytes, i[DATA]!, 0);
    }
  }
  if (r === H_OK) r = push(core, n, bytes, cs, 0);
  if (r === H_OK) r = push(core, n, bytes, ripLo, ripHi);
  if (r === H_OK) r = setTypeBit(core, code, ATTR_ACCESSED);
  if (r !== H_OK) return r;
  setCpl(core, newCpl);
  setSwitchedStack(core, newCpl, segment);
  commitStack(core, n);
  enterCode(core, selector, code, offset, gate.lo2);
  return H_OK;
}

/** Checks the code segment of a return: RPL is the new level. */
function checkReturnCode(core: Core, selector: number): number {
  const cpl = cplOf(core);
  const rpl = selector & 3;
  const r = readTarget(core, selector, code);
  if (r !== H_OK) return r;
  if (!code.isCode || rpl < cpl) return raiseSelector(core, VEC_GP, selector, 0);
  if (code.isConforming ? code.dpl > rpl : code.dpl !== rpl) return raiseSelector(core, VEC_GP, selector, 0);
  if (isLongMode(core) && (code.attr & (ATTR_L | ATTR_DB)) === (ATTR_L | ATTR_DB))
    return raiseSelector(core, VEC_GP, selector, 0);
  return code.present ? H_OK : raiseSelector(core, VEC_NP, selector, 0);
}

/** Checks the stack segment of a return to level `rpl` into `segment`; null is fine for 64-bit code below level 3. */
function checkReturnStack(core: Core, selector: number, rpl: number): number {
  if ((selector & 0xfffc) === 0) {
    const allowed = isLongMode(core) && (code.attr & ATTR_L) !== 0 && rpl !== 3;
    return allowed ? H_OK : raise(core, VEC_GP, 0);
  }
  const r = readDescriptor(core, selector, segment);
  if (r === NO_DESCRIPTOR) return raiseSelector(core, VEC_GP, selector, 0);
  if (r !== H_OK) return r;
  if ((selector & 3) !== rpl || segment.dpl !== rpl || !segment.isWritableData)
    return raiseSelector(core, VEC_GP, selector, 0);
  return segment.present ? H_OK : raiseSelector(core, VEC_SS, selector, 0);
}

/** Sets SS and the stack pointer of a return to an outer level (or of any 64-bit IRET). */
function returnStack(core: Core, selector: number, bytes: number, lo: number, hi: number): void {
  if ((selector & 0xfffc) === 0) loadNull(core, SEG_SS, selector);
  else setFromDescriptor(core, SEG_SS, selector, segment);
  const wide = isLongMode(core) && (code.attr & ATTR_L) !== 0;
  const at = (A.SLOTS + A.S_RSP) >>> 2;
  if (wide || (segment.attr & ATTR_DB && (selector & 0xfffc) !== 0)) {
    core.i32[at] = bytes === 2 ? lo & 0xffff : lo;
    core.i32[at + 1] = wide && bytes === 8 ? hi : 0;
  } else core.u16[(A.SLOTS + A.S_RSP) >>> 1] = lo;
}

/** RETF; releases `release` bytes of parameters. */
export function farReturn(core: Core, bytes: number, release: number): number {
  const i = core.i32;
  const s = stack;
  currentStack(core, s);
  let r = pop(core, s, bytes);
  if (r !== H_OK) return r;
  const lo = i[DATA]!;
  const hi = bytes === 8 ? i[DATA + 1]! : 0;
  r = pop(core, s, bytes);
  if (r !== H_OK) return r;
  const selector = i[DATA]! & 0xffff;
  if (isReal(core)) {
    if (lo >>> 0 > 0xffff) return raise(core, VEC_GP, 0);
    move(s, release);
    commitStack(core, s);
    loadRealSegment(core, SEG_CS, selector);
    setRip(core, lo, 0);
    updatePrivilege(core);
    return H_OK;
  }
  r = checkReturnCode(core, selector);
  if (r === H_OK) r = checkOffset(core, code, lo, hi);
  if (r !== H_OK) return r;
  const rpl = selector & 3;
  move(s, release);
  if (rpl === cplOf(core)) {
    r = setTypeBit(core, code, ATTR_ACCESSED);
    if (r !== H_OK) return r;
    commitStack(core, s);
    enterCode(core, selector, code, lo, hi);
    return H_OK;
  }
  r = pop(core, s, bytes);
  if (r !== H_OK) return r;
  const spLo = i[DATA]!;
  const spHi = bytes === 8 ? i[DATA + 1]! : 0;
  r = pop(core, s, bytes);
  if (r !== H_OK) return r;
  const ss = i[DATA]! & 0xffff;
  r = checkReturnStack(core, ss, rpl);
  if (r === H_OK) r = setTypeBit(core, code, ATTR_ACCESSED);
  if (r === H_OK && (ss & 0xfffc) !== 0) r = setTypeBit(core, segment, ATTR_ACCESSED);
  if (r !== H_OK) return r;
  setCpl(core, rpl);
  returnStack(core, ss, bytes, spLo, spHi);
  // Parameters are released on the outer stack as well.
  currentStack(core, s);
  s.size = isLongMode(core) && code.attr & ATTR_L ? 8 : s.size;
  move(s, release);
  commitStack(core, s);
  dropInnerSegments(core, rpl);
  enterCode(core, selector, code, lo, hi);
  return H_OK;
}

/** Bits of RFLAGS that IRET restores at any privilege level. */
const IRET_FLAGS: number = FLAGS_ARITHMETIC | FLAG_TF | FLAG_DF | FLAG_NT | FLAG_RF | FLAG_AC | FLAG_ID;

function iretFlags(core: Core, value: number, bytes: number, cpl: number): void {
  let mask = IRET_FLAGS;
  const iopl = (core.i32[RFLAGS]! >>> 12) & 3;
  if (cpl === 0) mask |= FLAG_IOPL | FLAG_VIF | FLAG_VIP;
  if (cpl <= iopl) mask |= FLAG_IF;
  if (bytes === 2) mask &= 0xffff;
  // RF only matters to code breakpoints; without any, the next instruction would clear it unseen.
  if (!hasCodeBreakpoint(core.i32[(A.DR + 56) >>> 2]!)) mask &= ~FLAG_RF;
  changeFlags(core, value, mask);
}

function finishIret(core: Core): number {
  updatePrivilege(core);
  noticeInterrupts(core);
  return H_OK;
}

/** Ends an IRET that pops RSP and SS too; `code` holds its code segment, checked. */
function iretWithStack(
  core: Core,
  bytes: number,
  selector: number,
  lo: number,
  hi: number,
  image: number,
  spLo: number,
  spHi: number,
  ss: number,
): number {
  const cpl = cplOf(core);
  const rpl = selector & 3;
  let r = checkReturnStack(core, ss, rpl);
  if (r === H_OK) r = setTypeBit(core, code, ATTR_ACCESSED);
  if (r === H_OK && (ss & 0xfffc) !== 0) r = setTypeBit(core, segment, ATTR_ACCESSED);
  if (r !== H_OK) return r;
  iretFlags(core, image, bytes, cpl);
  setCpl(core, rpl);
  returnStack(core, ss, bytes, spLo, spHi);
  if (rpl !== cpl) dropInnerSegments(core, rpl);
  setFromDescriptor(core, SEG_CS, selector, code);
  setRip(core, lo, hi);
  return finishIret(core);
}

/** IRETQ from the frame at arena address `place`. */
function iretFromFrame(core: Core, place: number): number {
  const i = core.i32;
  const at = place >>> 2;
  const lo = i[at]!;
  const hi = i[at + 1]!;
  const selector = i[at + 2]! & 0xffff;
  const image = i[at + 4]!;
  const spLo = i[at + 6]!;
  const spHi = i[at + 7]!;
  const ss = i[at + 8]! & 0xffff;
  let r = checkReturnCode(core, selector);
  if (r === H_OK) r = checkOffset(core, code, lo, hi);
  return r === H_OK ? iretWithStack(core, 8, selector, lo, hi, image, spLo, spHi, ss) : r;
}

/**
 * IRET of `length` bytes with operands of `bytes` bytes; RIP is past it. It unblocks NMIs also where it faults (SDM volume 3, 6.7.1),
 * but not where it leaves the core to be executed again.
 */
export function iret(core: Core, bytes: number, length: number): number {
  const i = core.i32;
  const r = interruptReturn(core, bytes, length);
  if (r !== H_EXIT_AT && i[A.INTERRUPTIBILITY >>> 2]! & BLOCKED_NMI) {
    i[A.INTERRUPTIBILITY >>> 2]! &= ~BLOCKED_NMI;
    noticeInterrupts(core);
  }
  return r;
}

function interruptReturn(core: Core, bytes: number, length: number): number {
  const i = core.i32;
  const s = stack;
  const flags = getFlags(core);
  const cpl = cplOf(core);
  const protectedMode = (i[A.CR0 >>> 2]! & CR0_PE) !== 0;
  const vm = protectedMode && (flags & FLAG_VM) !== 0;
  if (vm && (flags & FLAG_IOPL) !== FLAG_IOPL) return raise(core, VEC_GP, 0);
  if (protectedMode && !vm && flags & FLAG_NT) {
    if (isLongMode(core)) return raise(core, VEC_GP, 0);
    // The back link of the current TSS names the task to return to.
    const base = (A.TR + A.TABLE_BASE) >>> 2;
    const r = readLinear(core, i[base]!, 0, 2, KIND_SYSTEM);
    return r === H_OK ? taskSwitch(core, i[DATA]! & 0xffff, TASK_IRET, length) : r;
  }
  if (bytes === 8) {
    const rsp = (A.SLOTS + A.S_RSP) >>> 2;
    const place = readPlace(core, i[rsp]!, i[rsp + 1]!, 40, KIND_CURRENT);
    if (place >= 0) return iretFromFrame(core, place);
    if (place === TRANSLATE_FAULT) return H_FAULT;
    if (place === TRANSLATE_EXIT) return H_EXIT_AT;
  }
  currentStack(core, s);
  let r = pop(core, s, bytes);
  if (r !== H_OK) return r;
  const lo = i[DATA]!;
  const hi = bytes === 8 ? i[DATA + 1]! : 0;
  r = pop(core, s, bytes);
  if (r !== H_OK) return r;
  const selector = i[DATA]! & 0xffff;
  r = pop(core, s, bytes);
  if (r !== H_OK) return r;
  const image = i[DATA]!;

  if (!protectedMode || vm) {
    if (lo >>> 0 > 0xffff) return raise(core, VEC_GP, 0);
    commitStack(core, s);
    loadRealSegment(core, SEG_CS, selector);
    setRip(core, lo, 0);
    iretFlags(core, vm ? (image & ~FLAG_IOPL) | FLAG_IOPL : image, bytes, vm ? 3 : 0);
    return finishIret(core);
  }
  if (image & FLAG_VM && bytes === 4 && cpl === 0 && !isLongMode(core)) return iretToVm86(core, s, lo, selector, image);

  r = checkReturnCode(core, selector);
  if (r === H_OK) r = checkOffset(core, code, lo, hi);
  if (r !== H_OK) return r;
  const rpl = selector & 3;
  if (rpl === cpl && !is64(core)) {
    r = setTypeBit(core, code, ATTR_ACCESSED);
    if (r !== H_OK) return r;
    commitStack(core, s);
    iretFlags(core, image, bytes, cpl);
    setFromDescriptor(core, SEG_CS, selector, code);
    setRip(core, lo, hi);
    return finishIret(core);
  }
  r = pop(core, s, bytes);
  if (r !== H_OK) return r;
  const spLo = i[DATA]!;
  const spHi = bytes === 8 ? i[DATA + 1]! : 0;
  r = pop(core, s, bytes);
  if (r !== H_OK) return r;
  const ss = i[DATA]! & 0xffff;
  return iretWithStack(core, bytes, selector, lo, hi, image, spLo, spHi, ss);
}

function iretToVm86(core: Core, s: Stack, lo: number, selector: number, image: number): number {
  const i = core.i32;
  const popped: number[] = [];
  for (let n = 0; n < 6; n++) {
    const r = pop(core, s, 4);
    if (r !== H_OK) return r;
    popped.push(i[DATA]!);
  }
  // ESP SS ES DS FS GS.
  const segments = [popped[2]!, selector, popped[1]!, popped[3]!, popped[4]!, popped[5]!];
  setFlags(core, image);
  setCpl(core, 3);
  for (let seg = 0; seg < 6; seg++) {
    const value = segments[seg]! & 0xffff;
    loadSegmentRaw(core, seg, value, value << 4, 0, 0xffff, 0xf3);
  }
  i[(A.SLOTS + A.S_RSP) >>> 2] = popped[0]!;
  i[(A.SLOTS + A.S_RSP + 4) >>> 2] = 0;
  setRip(core, lo & 0xffff, 0);
  return finishIret(core);
}

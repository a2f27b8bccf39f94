/**
 * Delivery of exceptions and interrupts through the IDT: real, protected and long mode (SDM chapter 6), with the
 * double-fault rules, and the two other ways that an event can go: to a PV hypervisor, or out of a NONROOT guest.
 *
 * A delivery changes no register before its last access to memory, so a fault or exit on the way leaves the core as it
 * was. If it leaves by an exit, the event stands in INJECT_INFO and is delivered again when the core runs on.
 */
import * as A from "../arena.ts";
import {
  type Core,
  DELIVERY_NONROOT,
  DELIVERY_PV,
  EXIT_EXCEPTION,
  EXIT_PV,
  EXIT_TASK_SWITCH,
  EXIT_TRIPLE_FAULT,
  FAULT_HAS_ERROR,
  FAULT_ICEBP,
  FAULT_SOFTWARE,
  FAULT_TRAP,
  hasErrorCode,
  raise,
  VEC_BP,
  VEC_DB,
  VEC_DE,
  VEC_DF,
  VEC_GP,
  VEC_NMI,
  VEC_NP,
  VEC_OF,
  VEC_PF,
  VEC_TS,
} from "../core.ts";
import { FLAG_AC, FLAG_IF, FLAG_NT, FLAG_RF, FLAG_TF, FLAG_VM, getFlags } from "../flags.ts";
import { framePlace, KIND_SYSTEM, readInPlace, readLinear, TRANSLATE_EXIT, TRANSLATE_FAULT } from "../mmu/access.ts";
import { H_EXIT_AT, H_FAULT, H_OK } from "../uops/uop.ts";
import { CR0_PE, isLongMode, setRip } from "./bits.ts";
import { exitAt } from "./exits.ts";
import { ACTIVE, BLOCKED_NMI, HALTED, SHADOW_MOV_SS, SHADOW_STI, SHUTDOWN, setCpl, updatePrivilege } from "./mode.ts";
import { ATTR_ACCESSED, ATTR_DB, ATTR_L, ATTR_UNUSABLE } from "./segcheck.ts";
import {
  commitStack,
  currentStack,
  Descriptor,
  kindOf,
  loadRealSegment,
  NO_DESCRIPTOR,
  push,
  raiseSelector,
  readDescriptor,
  SEG_CS,
  SEG_SS,
  Stack,
  selectorOf,
  setFromDescriptor,
  setSwitchedStack,
  setTypeBit,
  stackFromTss,
  TYPE_INT,
  TYPE_INT16,
  TYPE_TASK_GATE,
  TYPE_TRAP,
  TYPE_TRAP16,
  tableAddress,
} from "./segments.ts";
import { switchTask, TASK_GATE } from "./task.ts";

/** Event types of the interruption-information format (SDM 25.8.3, bits 10..8). */
export const EVENT_EXTERNAL = 0;
export const EVENT_NMI = 2;
export const EVENT_EXCEPTION = 3;
/** INT n. */
export const EVENT_SOFTWARE_INTERRUPT = 4;
/** INT1. */
export const EVENT_PRIVILEGED_SOFTWARE = 5;
/** INT3, INTO. */
export const EVENT_SOFTWARE_EXCEPTION = 6;
export const INFO_ERROR_VALID = 0x800;
export const INFO_VALID: number = 0x80000000 | 0;

/** EXIT_PV with EXIT_INTR_INFO 0: EXIT_QUAL low word names the instruction. */
export const PV_SYSCALL = 1;
export const PV_SYSENTER = 2;

const RFLAGS = A.RFLAGS_SYS >>> 2;
const gate = new Descriptor();
const code = new Descriptor();
const stackSegment = new Descriptor();
const stack = new Stack();

const isSoftware = (type: number): boolean => type === EVENT_SOFTWARE_INTERRUPT || type === EVENT_SOFTWARE_EXCEPTION;

const infoOf = (vector: number, type: number, error: number): number =>
  vector | (type << 8) | (error >= 0 ? INFO_ERROR_VALID : 0) | INFO_VALID;

// ---- the IDT ------------------------------------------------------------------------------------------------------------

/**
 * Delivers one event through the guest's IDT.
 * @param error error code, or -1 for none
 * @param rf pushed in the image of RFLAGS: set for faults, so that a code breakpoint does not hit again
 * @returns H_OK, H_FAULT (a further fault is recorded) or H_EXIT_AT
 */
function deliver(
  core: Core,
  vector: number,
  type: number,
  error: number,
  ripLo: number,
  ripHi: number,
  rf: number,
): number {
  const flags = getFlags(core) | rf;
  if (!(core.i32[A.CR0 >>> 2]! & CR0_PE)) return deliverReal(core, vector, ripLo, flags);
  const ext = isSoftware(type) ? 0 : 1;
  return isLongMode(core)
    ? deliverLong(core, vector, type, error, ripLo, ripHi, flags, ext)
    : deliverProtected(core, vector, type, error, ripLo, flags, ext);
}

function deliverReal(core: Core, vector: number, ripLo: number, flags: number): number {
  const offset = vector * 4;
  if (offset + 3 > core.u32[(A.IDTR + A.SEG_LIMIT) >>> 2]!) return raise(core, VEC_GP, 0);
  tableAddress(core, A.IDTR, offset, gate);
  let r = readLinear(core, gate.atLo, gate.atHi, 4, KIND_SYSTEM);
  if (r !== H_OK) return r;
  const target = core.i32[A.BUS_DATA >>> 2]!;
  const s = stack;
  currentStack(core, s);
  r = push(core, s, 2, flags, 0);
  if (r === H_OK) r = push(core, s, 2, selectorOf(core, SEG_CS), 0);
  if (r === H_OK) r = push(core, s, 2, ripLo, 0);
  if (r !== H_OK) return r;
  commitStack(core, s);
  loadRealSegment(core, SEG_CS, target >>> 16);
  setRip(core, target & 0xffff, 0);
  core.i32[RFLAGS] = (core.i32[RFLAGS]! | 0) & ~(FLAG_IF | FLAG_TF | FLAG_AC | FLAG_RF);
  return entered(core);
}

/** Reads the gate and its code segment, with all checks up to the privilege level. */
function readGate(core: Core, vector: number, bytes: number, type: number, ext: number): number {
  const i = core.i32;
  const code8 = vector * 8 + 2;
  if (vector * bytes + bytes - 1 > core.u32[(A.IDTR + A.SEG_LIMIT) >>> 2]!) return raise(core, VEC_GP, code8 | ext);
  tableAddress(core, A.IDTR, vector * bytes, gate);
  const r = readInPlace(core, gate.atLo, gate.atHi, bytes, KIND_SYSTEM);
  if (r !== H_OK) return r;
  const at = core.mmu.at >>> 2;
  gate.lo = i[at]!;
  gate.hi = i[at + 1]!;
  gate.lo2 = bytes === 16 ? i[at + 2]! : 0;
  const kind = gate.type;
  const known =
    gate.isSystem &&
    (kind === TYPE_INT ||
      kind === TYPE_TRAP ||
      (bytes === 8 && (kind === TYPE_INT16 || kind === TYPE_TRAP16 || kind === TYPE_TASK_GATE)));
  if (!known) return raise(core, VEC_GP, code8 | ext);
  if (isSoftware(type) && gate.dpl < i[A.CPL >>> 2]!) return raise(core, VEC_GP, code8);
  if (!gate.present) return raise(core, VEC_NP, code8 | ext);
  return H_OK;
}

function readCode(core: Core, ext: number): number {
  const selector = gate.target;
  if ((selector & 0xfffc) === 0) return raise(core, VEC_GP, ext);
  const r = readDescriptor(core, selector, code);
  if (r === NO_DESCRIPTOR) return raiseSelector(core, VEC_GP, selector, ext);
  if (r !== H_OK) return r;
  if (!code.isCode || code.dpl > core.i32[A.CPL >>> 2]!) return raiseSelector(core, VEC_GP, selector, ext);
  if (!code.present) return raiseSelector(core, VEC_NP, selector, ext);
  return H_OK;
}

function deliverLong(
  core: Core,
  vector: number,
  type: number,
  error: number,
  ripLo: number,
  ripHi: number,
  flags: number,
  ext: number,
): number {
  const i = core.i32;
  let r = readGate(core, vector, 16, type, ext);
  if (r === H_OK) r = readCode(core, ext);
  if (r !== H_OK) return r;
  if ((code.attr & (ATTR_L | ATTR_DB)) !== ATTR_L) return raiseSelector(core, VEC_GP, gate.target, ext);
  const cpl = i[A.CPL >>> 2]!;
  const newCpl = code.isConforming ? cpl : code.dpl;
  const ist = gate.hi & 7;
  const s = stack;
  if (newCpl < cpl || ist > 0) {
    r = stackFromTss(core, newCpl, ist, ext, s, stackSegment);
    if (r !== H_OK) return r;
  } else {
    s.lo = i[(A.SLOTS + A.S_RSP) >>> 2]!;
    s.hi = i[(A.SLOTS + A.S_RSP + 4) >>> 2]!;
    s.size = 8;
    s.kind = kindOf(core, newCpl);
    s.error = ext;
  }
  s.lo &= ~15;
  if ((gate.lo2 << 16) >> 16 !== gate.lo2) return raise(core, VEC_GP, ext);
  r = pushFrame(core, s, error, ripLo, ripHi, flags);
  if (r === H_OK) r = setTypeBit(core, code, ATTR_ACCESSED);
  if (r !== H_OK) return r;

  commitStack(core, s);
  setCpl(core, newCpl);
  if (newCpl < cpl) setSwitchedStack(core, newCpl, stackSegment);
  setFromDescriptor(core, SEG_CS, (gate.target & ~3) | newCpl, code);
  setRip(core, gate.offset, gate.lo2);
  i[RFLAGS]! &= ~(FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM | (gate.type === TYPE_INT ? FLAG_IF : 0));
  return entered(core);
}

/** Pushes SS, RSP, RFLAGS, CS, RIP and, if it is not negative, the error code (SDM vol. 3, 6.14.2). */
function pushFrame(core: Core, s: Stack, error: number, ripLo: number, ripHi: number, flags: number): number {
  const i = core.i32;
  const rspLo = i[(A.SLOTS + A.S_RSP) >>> 2]!;
  const rspHi = i[(A.SLOTS + A.S_RSP + 4) >>> 2]!;
  const size = error >= 0 ? 48 : 40;
  const place = framePlace(core, s.lo, s.hi, size, s.kind);
  if (place >= 0) {
    let at = place >>> 2;
    if (error >= 0) {
      i[at] = error;
      i[at + 1] = 0;
      at += 2;
    }
    i[at] = ripLo;
    i[at + 1] = ripHi;
    i[at + 2] = selectorOf(core, SEG_CS);
    i[at + 3] = 0;
    i[at + 4] = flags;
    i[at + 5] = 0;
    i[at + 6] = rspLo;
    i[at + 7] = rspHi;
    i[at + 8] = selectorOf(core, SEG_SS);
    i[at + 9] = 0;
    s.lo = (s.lo - size) | 0;
    return H_OK;
  }
  if (place === TRANSLATE_FAULT) return H_FAULT;
  if (place === TRANSLATE_EXIT) return H_EXIT_AT;
  let r = push(core, s, 8, selectorOf(core, SEG_SS), 0);
  if (r === H_OK) r = push(core, s, 8, rspLo, rspHi);
  if (r === H_OK) r = push(core, s, 8, flags, 0);
  if (r === H_OK) r = push(core, s, 8, selectorOf(core, SEG_CS), 0);
  if (r === H_OK) r = push(core, s, 8, ripLo, ripHi);
  if (r === H_OK && error >= 0) r = push(core, s, 8, error, 0);
  return r;
}

function deliverProtected(
  core: Core,
  vector: number,
  type: number,
  error: number,
  ripLo: number,
  flags: number,
  ext: number,
): number {
  const i = core.i32;
  let r = readGate(core, vector, 8, type, ext);
  if (r !== H_OK) return r;
  if (gate.type === TYPE_TASK_GATE) return taskGate(core, error, ripLo, flags, ext);
  r = readCode(core, ext);
  if (r !== H_OK) return r;
  const cpl = i[A.CPL >>> 2]!;
  const vm = (flags & FLAG_VM) !== 0;
  const newCpl = code.isConforming ? cpl : code.dpl;
  if (vm && newCpl !== 0) return raiseSelector(core, VEC_GP, gate.target, ext);
  const wide = (gate.type & 8) !== 0;
  const bytes = wide ? 4 : 2;
  const offset = wide ? gate.offset : gate.offset & 0xffff;
  const s = stack;
  const inner = newCpl < cpl;
  if (inner) {
    r = stackFromTss(core, newCpl, 0, ext, s, stackSegment);
    if (r !== H_OK) return r;
    if (vm) for (const seg of [5, 4, 3, 0]) if (r === H_OK) r = push(core, s, bytes, selectorOf(core, seg), 0);
    if (r === H_OK) r = push(core, s, bytes, selectorOf(core, SEG_SS), 0);
    if (r === H_OK) r = push(core, s, bytes, i[(A.SLOTS + A.S_RSP) >>> 2]!, 0);
  } else {
    currentStack(core, s);
    s.error = ext;
  }
  if (r === H_OK) r = push(core, s, bytes, flags, 0);
  if (r === H_OK) r = push(core, s, bytes, selectorOf(core, SEG_CS), 0);
  if (r === H_OK) r = push(core, s, bytes, ripLo, 0);
  if (r === H_OK && error >= 0) r = push(core, s, bytes, error, 0);
  if (r !== H_OK) return r;
  if (offset >>> 0 > code.limit >>> 0) return raise(core, VEC_GP, ext);
  r = setTypeBit(core, code, ATTR_ACCESSED);
  if (r !== H_OK) return r;

  setCpl(core, newCpl);
  if (inner) setSwitchedStack(core, newCpl, stackSegment);
  commitStack(core, s);
  if (vm) {
    for (const seg of [0, 3, 4, 5]) {
      i[(A.SEG + seg * A.SEG_STRIDE) >>> 2] = 0;
      i[(A.SEG + seg * A.SEG_STRIDE + A.SEG_ATTR) >>> 2] = ATTR_UNUSABLE;
      i[(A.SLOTS + A.S_SEGBASE + seg * 8) >>> 2] = 0;
    }
  }
  setFromDescriptor(core, SEG_CS, (gate.target & ~3) | newCpl, code);
  setRip(core, offset, 0);
  const interrupt = gate.type === TYPE_INT || gate.type === TYPE_INT16;
  i[RFLAGS]! &= ~(FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM | (interrupt ? FLAG_IF : 0));
  return entered(core);
}

/** In NONROOT a task switch is its controller's affair: `completeTaskSwitch`. */
function taskGate(core: Core, error: number, ripLo: number, flags: number, ext: number): number {
  if (core.controls.delivery === DELIVERY_NONROOT)
    return exitAt(core, EXIT_TASK_SWITCH, 0, gate.target | (TASK_GATE << 30));
  const r = switchTask(core, gate.target, TASK_GATE, ext, ripLo, flags, error);
  return r === H_OK ? entered(core) : r;
}

/**
 * Does the task switch of EXIT_TASK_SWITCH in place of its NONROOT guest: EXIT_QUAL says where to, and INJECT_INFO has the
 * event if one was being delivered, which is then done. @returns H_OK, or H_FAULT with a fault recorded in the old task
 */
export function completeTaskSwitch(core: Core): number {
  const i = core.i32;
  const selector = i[A.EXIT_QUAL >>> 2]! & 0xffff;
  const source = i[A.EXIT_QUAL >>> 2]! >>> 30;
  const info = i[A.INJECT_INFO >>> 2]!;
  const event = source === TASK_GATE && (info & INFO_VALID) !== 0;
  const type = (info >>> 8) & 7;
  const software = isSoftware(type) || type === EVENT_PRIVILEGED_SOFTWARE;
  const length = !event ? i[A.EXIT_LENGTH >>> 2]! : software ? i[A.INJECT_LENGTH >>> 2]! : 0;
  const ext = event && !isSoftware(type) ? 1 : 0;
  const error = event && info & INFO_ERROR_VALID ? i[A.INJECT_ERROR >>> 2]! : -1;
  const rf = event && type === EVENT_EXCEPTION && (info & 0xff) !== VEC_DB ? FLAG_RF : 0;
  i[A.INJECT_INFO >>> 2] = 0;
  return switchTask(core, selector, source, ext, (i[A.RIP >>> 2]! + length) | 0, getFlags(core) | rf, error);
}

function entered(core: Core): number {
  core.i32[A.INTERRUPTIBILITY >>> 2]! &= ~(SHADOW_STI | SHADOW_MOV_SS);
  core.i32[A.ACTIVITY >>> 2] = ACTIVE;
  updatePrivilege(core);
  return H_OK;
}

// ---- events -----------------------------------------------------------------------------------------------------------

const CONTRIBUTORY: number = (1 << VEC_DE) | (1 << VEC_TS) | (1 << VEC_NP) | (1 << 12) | (1 << VEC_GP);
const TRIPLE = -1;

/** SDM table 6-5: what a fault during the delivery of another becomes. */
function combine(first: number, type: number, second: number): number {
  if (type !== EVENT_EXCEPTION) return second;
  const contributory = ((CONTRIBUTORY >>> second) & 1) !== 0;
  if (first === VEC_DF) return contributory || second === VEC_PF ? TRIPLE : second;
  if ((CONTRIBUTORY >>> first) & 1) return contributory ? VEC_DF : second;
  if (first === VEC_PF) return contributory || second === VEC_PF ? VEC_DF : second;
  return second;
}

function fillEvent(core: Core, reason: number, vector: number, type: number, error: number, length: number): number {
  const i = core.i32;
  i[A.EXIT_REASON >>> 2] = reason;
  i[A.EXIT_INTR_INFO >>> 2] = infoOf(vector, type, error);
  i[A.EXIT_INTR_ERROR >>> 2] = Math.max(error, 0);
  i[A.EXIT_LENGTH >>> 2] = length;
  if (vector === VEC_PF) {
    i[A.EXIT_QUAL >>> 2] = i[A.EXIT_GLA >>> 2]!;
    i[(A.EXIT_QUAL + 4) >>> 2] = i[(A.EXIT_GLA + 4) >>> 2]!;
  } else {
    i[A.EXIT_QUAL >>> 2] = vector === VEC_DB ? i[A.PENDING_DEBUG >>> 2]! : 0;
    i[(A.EXIT_QUAL + 4) >>> 2] = 0;
  }
  return reason;
}

function stash(core: Core, vector: number, type: number, error: number, length: number): void {
  const i = core.i32;
  i[A.INJECT_INFO >>> 2] = infoOf(vector, type, error);
  i[A.INJECT_ERROR >>> 2] = Math.max(error, 0);
  i[A.INJECT_LENGTH >>> 2] = length;
}

/** The exit that an event causes instead of its delivery, or 0. */
function intercepted(core: Core, vector: number, type: number, error: number, length: number): number {
  const delivery = core.controls.delivery;
  if (delivery === DELIVERY_PV) return fillEvent(core, EXIT_PV, vector, type, error, length);
  if (
    delivery === DELIVERY_NONROOT &&
    type !== EVENT_SOFTWARE_INTERRUPT &&
    type !== EVENT_EXTERNAL &&
    type !== EVENT_NMI &&
    (core.controls.exceptionBitmap >>> vector) & 1
  )
    return fillEvent(core, EXIT_EXCEPTION, vector, type, error, length);
  return 0;
}

/** #DB reaches the debug registers with its delivery (SDM 18.2.3); #PF likewise CR2. */
function latch(core: Core, vector: number): void {
  const i = core.i32;
  if (vector === VEC_PF) {
    i[A.CR2 >>> 2] = i[A.EXIT_GLA >>> 2]!;
    i[(A.CR2 + 4) >>> 2] = i[(A.EXIT_GLA + 4) >>> 2]!;
  } else if (vector === VEC_DB) {
    const dr6 = (A.DR + 48) >>> 2;
    const bits = i[A.PENDING_DEBUG >>> 2]!;
    // The breakpoint bits are of this exception alone; software clears the others.
    i[dr6] = (i[dr6]! & ~0xf) | bits;
    i[A.PENDING_DEBUG >>> 2] = 0;
    i[(A.DR + 56) >>> 2]! &= ~0x2000;
  }
}

/**
 * Delivers an event and whatever faults it meets on the way.
 * @param length bytes by which the pushed RIP is past RIP (software events that are injected), else 0
 * @param fault RIP is at the instruction that faulted
 * @returns 0, or an EXIT_* code
 */
function deliverEvent(
  core: Core,
  vector: number,
  type: number,
  error: number,
  length: number,
  fault: boolean,
  fresh: boolean,
): number {
  const i = core.i32;
  let first = true;
  for (;;) {
    if (fresh) {
      const exit = intercepted(core, vector, type, error, length);
      if (exit !== 0) return exit;
      latch(core, vector);
    }
    const lo = (i[A.RIP >>> 2]! + length) | 0;
    const hi = (i[(A.RIP + 4) >>> 2]! + (lo >>> 0 < length ? 1 : 0)) | 0;
    const rf = fault && type === EVENT_EXCEPTION ? FLAG_RF : 0;
    i[A.DELIVERING >>> 2] = vector;
    const r = deliver(core, vector, type, error, lo, hi, rf);
    i[A.DELIVERING >>> 2] = -1;
    if (r === H_OK) return 0;
    if (r === H_EXIT_AT) {
      stash(core, vector, type, error, length);
      return i[A.EXIT_REASON >>> 2]!;
    }
    const second = i[A.FAULT_VECTOR >>> 2]!;
    i[(A.FAULT_COUNTS >>> 2) + (second & 31)]!++;
    const next = combine(vector, type, second);
    if (next === TRIPLE) {
      i[A.ACTIVITY >>> 2] = SHUTDOWN;
      i[A.EXIT_REASON >>> 2] = EXIT_TRIPLE_FAULT;
      return EXIT_TRIPLE_FAULT;
    }
    if (
      first &&
      core.controls.delivery === DELIVERY_NONROOT &&
      next === second &&
      (core.controls.exceptionBitmap >>> second) & 1
    )
      stash(core, vector, type, error, length);
    first = false;
    error = next === VEC_DF ? 0 : hasErrorCode(next) ? i[A.FAULT_ERROR >>> 2]! : -1;
    vector = next;
    type = EVENT_EXCEPTION;
    length = 0;
    fault = true;
    fresh = true;
  }
}

/**
 * Delivers the fault that `raise` recorded, RIP being at the instruction (past it with FAULT_TRAP).
 * @returns 0 and the core goes on at the handler, or an EXIT_* code
 */
export function deliverPendingFault(core: Core): number {
  const i = core.i32;
  const vector = i[A.FAULT_VECTOR >>> 2]! & 0xff;
  const flags = i[A.FAULT_FLAGS >>> 2]!;
  if (vector < 32) i[(A.FAULT_COUNTS >>> 2) + vector]!++;
  let type = EVENT_EXCEPTION;
  if (flags & FAULT_ICEBP) type = EVENT_PRIVILEGED_SOFTWARE;
  else if (flags & FAULT_SOFTWARE)
    type = vector === VEC_BP || vector === VEC_OF ? EVENT_SOFTWARE_EXCEPTION : EVENT_SOFTWARE_INTERRUPT;
  else if (vector === VEC_NMI) type = EVENT_NMI;
  const error = flags & FAULT_HAS_ERROR ? i[A.FAULT_ERROR >>> 2]! : -1;
  // What breakpoints found in an instruction that faults, they find again when it is restarted.
  if (vector !== VEC_DB) i[A.PENDING_DEBUG >>> 2] = 0;
  return deliverEvent(core, vector, type, error, 0, (flags & FAULT_TRAP) === 0, true);
}

/**
 * INT n, INT3, INTO, INT1 from their helpers: RIP is past the instruction of `length` bytes.
 * @returns H_OK (handler entered), H_FAULT or H_EXIT_AT (the engine rolls RIP back to the instruction)
 */
export function deliverSoftware(core: Core, vector: number, type: number, length: number): number {
  const i = core.i32;
  if (type === EVENT_PRIVILEGED_SOFTWARE) i[A.PENDING_DEBUG >>> 2] = 0;
  if (intercepted(core, vector, type, -1, length) !== 0) return H_EXIT_AT;
  if (vector < 32) i[(A.FAULT_COUNTS >>> 2) + vector]!++;
  i[A.DELIVERING >>> 2] = vector;
  const r = deliver(core, vector, type, -1, i[A.RIP >>> 2]!, i[(A.RIP + 4) >>> 2]!, 0);
  i[A.DELIVERING >>> 2] = -1;
  if (r === H_OK) core.stepDiscarded = true;
  if (r === H_EXIT_AT && i[A.EXIT_REASON >>> 2] === EXIT_TASK_SWITCH) stash(core, vector, type, -1, length);
  return r;
}

/** True if a maskable interrupt can be taken now: RFLAGS.IF, no shadow, and a core that runs or sleeps in HLT. */
export function interruptsDeliverable(core: Core): boolean {
  const i = core.i32;
  return (
    (i[RFLAGS]! & FLAG_IF) !== 0 &&
    (i[A.INTERRUPTIBILITY >>> 2]! & (SHADOW_STI | SHADOW_MOV_SS)) === 0 &&
    i[A.ACTIVITY >>> 2]! <= HALTED
  );
}

/** True if an NMI can be taken now. */
export function nmiDeliverable(core: Core): boolean {
  const i = core.i32;
  return (i[A.INTERRUPTIBILITY >>> 2]! & (SHADOW_MOV_SS | BLOCKED_NMI)) === 0 && i[A.ACTIVITY >>> 2]! <= HALTED;
}

/** Acknowledges and takes external interrupt `vector`, which `core.interrupts.pending()` named. */
export function deliverInterrupt(core: Core, vector: number): number {
  core.interrupts?.acknowledge(vector);
  core.i32[A.COUNT_INTERRUPTS >>> 2]!++;
  core.i32[A.ACTIVITY >>> 2] = ACTIVE;
  return deliverEvent(core, vector, EVENT_EXTERNAL, -1, 0, false, true);
}

/** Takes the pending NMI; further ones wait for IRET. */
export function deliverNmi(core: Core): number {
  const i = core.i32;
  i[A.NMI_PENDING >>> 2] = 0;
  i[A.ACTIVITY >>> 2] = ACTIVE;
  i[A.INTERRUPTIBILITY >>> 2]! |= BLOCKED_NMI;
  return deliverEvent(core, VEC_NMI, EVENT_NMI, -1, 0, false, true);
}

/** Delivers the event of INJECT_INFO (the caller has seen that there is one), which no control intercepts. */
export function deliverInjected(core: Core): number {
  const i = core.i32;
  const info = i[A.INJECT_INFO >>> 2]!;
  i[A.INJECT_INFO >>> 2] = 0;
  if (!(info & INFO_VALID)) return 0;
  const vector = info & 0xff;
  const type = (info >>> 8) & 7;
  if (type === 1 || type === 7) return 0;
  i[A.ACTIVITY >>> 2] = ACTIVE;
  if (type === EVENT_NMI) i[A.INTERRUPTIBILITY >>> 2]! |= BLOCKED_NMI;
  const length = type >= EVENT_SOFTWARE_INTERRUPT ? i[A.INJECT_LENGTH >>> 2]! & 15 : 0;
  const error = info & INFO_ERROR_VALID ? i[A.INJECT_ERROR >>> 2]! & 0xffff : -1;
  return deliverEvent(core, vector, type, error, length, vector !== VEC_DB, false);
}

/**
 * Delivers #DB for the conditions collected in PENDING_DEBUG. RF is pushed as it is, also for a code breakpoint: its handler
 * sets it in the image (SDM 18.3.1.1).
 */
export function deliverDebug(core: Core): number {
  core.i32[(A.FAULT_COUNTS >>> 2) + VEC_DB]!++;
  return deliverEvent(core, VEC_DB, EVENT_EXCEPTION, -1, 0, false, true);
}

/**
 * Hardware task switches (SDM volume 3, chapter 8; section 8.3 lists the steps and table 8-1 the checks): JMP and CALL to a
 * TSS or task gate, a task gate in the IDT, IRET with NT set; 16- and 32-bit task-state segments. Legacy modes only.
 *
 * Everything up to the saving of the old task can fault in the old task, with nothing changed. What goes wrong afterwards
 * belongs to the new task: it is put into INJECT_INFO, so that it arrives before the new task's first instruction.
 */
import * as A from "../arena.ts";
import { type Core, FAULT_HAS_ERROR, raise, VEC_GP, VEC_NP, VEC_PF, VEC_SS, VEC_TS } from "../core.ts";
import { FLAG_NT, FLAG_VM, setFlags } from "../flags.ts";
import { KIND_SYSTEM, probeWrite, readLinear, writeLinear } from "../mmu/access.ts";
import { H_OK } from "../uops/uop.ts";
import { CR0_PG, CR0_TS, setRip } from "./bits.ts";
import { writeCr3 } from "./cr.ts";
import { loadSegmentRaw, loadTableRaw, SHADOW_MOV_SS, SHADOW_STI, setCpl, updateMode } from "./mode.ts";
import { ATTR_ACCESSED, ATTR_CODE, ATTR_RW, ATTR_UNUSABLE } from "./segcheck.ts";
import {
  commitStack,
  currentStack,
  Descriptor,
  loadLdt,
  NO_DESCRIPTOR,
  push,
  raiseSelector,
  readDescriptor,
  SEG_CS,
  SEG_SS,
  Stack,
  selectorOf,
  setFromDescriptor,
  setTypeBit,
  TYPE_TSS,
  TYPE_TSS16,
} from "./segments.ts";

/** What switches tasks, as in the exit qualification of SDM table 28-2. */
export const TASK_CALL = 0;
export const TASK_IRET = 1;
export const TASK_JMP = 2;
/** A task gate in the IDT. */
export const TASK_GATE = 3;

/** Bit of a TSS descriptor's type: busy, and 32-bit. */
const BUSY = 2;
const WIDE = 8;
/** DR7: what a task switch clears, L0-L3 and LE (SDM 8.3); DR6.BT. */
const DR7_LOCAL = 0x155;
const DR6_BT = 0x8000;

/** Offsets of a task-state segment; registers in the order of their encoding, segments ES CS SS DS (FS GS). */
interface Layout {
  readonly bytes: number;
  readonly limit: number;
  readonly cr3: number;
  readonly eip: number;
  readonly eflags: number;
  readonly registers: number;
  readonly selectors: number;
  readonly segments: number;
  readonly ldt: number;
  readonly trap: number;
}
const TSS32: Layout = {
  bytes: 4,
  limit: 0x67,
  cr3: 0x1c,
  eip: 0x20,
  eflags: 0x24,
  registers: 0x28,
  selectors: 0x48,
  segments: 6,
  ldt: 0x60,
  trap: 0x64,
};
const TSS16: Layout = {
  bytes: 2,
  limit: 0x2b,
  cr3: -1,
  eip: 0x0e,
  eflags: 0x10,
  registers: 0x12,
  selectors: 0x22,
  segments: 4,
  ldt: 0x2a,
  trap: -1,
};

const DATA = A.BUS_DATA >>> 2;
const incoming = new Descriptor();
const outgoing = new Descriptor();
const segment = new Descriptor();
const stack = new Stack();

/** The new task's state, as read from its TSS. */
const next = { cr3: 0, eip: 0, eflags: 0, ldt: 0, trap: 0, registers: new Int32Array(8), selectors: new Int32Array(6) };

const field = (core: Core, base: number, offset: number, bytes: number): number =>
  readLinear(core, (base + offset) | 0, 0, bytes, KIND_SYSTEM);

function readState(core: Core, base: number, layout: Layout): number {
  const i = core.i32;
  const { bytes } = layout;
  let r = H_OK;
  const read = (offset: number, size: number): number => {
    if (r !== H_OK || offset < 0) return 0;
    r = field(core, base, offset, size);
    return i[DATA]!;
  };
  next.cr3 = read(layout.cr3, bytes);
  next.eip = read(layout.eip, bytes);
  next.eflags = read(layout.eflags, bytes);
  for (let n = 0; n < 8; n++) {
    // The upper halves of registers are undefined after a switch to a 16-bit task (they read as ones here).
    next.registers[n] = read(layout.registers + n * bytes, bytes) | (bytes === 2 ? 0xffff0000 : 0);
  }
  for (let n = 0; n < 6; n++)
    next.selectors[n] = n < layout.segments ? read(layout.selectors + n * bytes, 2) & 0xffff : 0;
  next.ldt = read(layout.ldt, 2) & 0xffff;
  next.trap = read(layout.trap, 2) & 1;
  return r;
}

/** Checks that the outgoing state can be saved. */
const probeState = (core: Core, base: number, layout: Layout): number =>
  probeWrite(
    core,
    (base + layout.eip) | 0,
    0,
    layout.selectors + layout.segments * layout.bytes - layout.eip,
    KIND_SYSTEM,
  );

function saveState(core: Core, base: number, layout: Layout, eip: number, eflags: number): void {
  const { bytes } = layout;
  const write = (offset: number, value: number): void => {
    core.i32[DATA] = value;
    writeLinear(core, (base + offset) | 0, 0, bytes, KIND_SYSTEM);
  };
  write(layout.eip, eip);
  write(layout.eflags, eflags);
  for (let n = 0; n < 8; n++) write(layout.registers + n * bytes, core.i32[(A.SLOTS + n * 8) >>> 2]!);
  for (let n = 0; n < layout.segments; n++) write(layout.selectors + n * bytes, selectorOf(core, n));
}

/** Table 8-1, the checks of the TSS descriptor that `selector` names. */
function readIncoming(core: Core, selector: number, source: number, ext: number): number {
  const invalid = source === TASK_IRET ? VEC_TS : VEC_GP;
  if (selector & 4 || (selector & 0xfffc) === 0) return raiseSelector(core, invalid, selector, ext);
  const r = readDescriptor(core, selector, incoming);
  if (r === NO_DESCRIPTOR) return raiseSelector(core, invalid, selector, ext);
  if (r !== H_OK) return r;
  const type = incoming.type & ~BUSY;
  const busy = (incoming.type & BUSY) !== 0;
  const isTss = incoming.isSystem && (type === TYPE_TSS || type === TYPE_TSS16);
  if (!isTss || busy !== (source === TASK_IRET)) return raiseSelector(core, invalid, selector, ext);
  if (!incoming.present) return raiseSelector(core, VEC_NP, selector, ext);
  const layout = incoming.type & WIDE ? TSS32 : TSS16;
  if (incoming.limit >>> 0 < layout.limit) return raiseSelector(core, VEC_TS, selector, ext);
  return H_OK;
}

/** The descriptor of the task that is left; its busy bit may have to go. */
function readOutgoing(core: Core, layout: Layout): number {
  const tr = core.i32[A.TR >>> 2]! & 0xffff;
  if (core.u32[(A.TR + A.SEG_LIMIT) >>> 2]! < layout.limit) return raiseSelector(core, VEC_TS, tr, 0);
  const r = readDescriptor(core, tr, outgoing);
  return r === NO_DESCRIPTOR ? raiseSelector(core, VEC_TS, tr, 0) : r;
}

/**
 * Switches to the task of TSS `selector`.
 * @param source TASK_*; gates and their privilege have been checked
 * @param ext the EXT bit of error codes
 * @param eip where the old task goes on
 * @param eflags what is saved as the old task's EFLAGS
 * @param error error code to push in the new task, or -1
 * @returns H_OK: the new task runs (a fault of its own is injected); H_FAULT or H_EXIT_AT: nothing changed
 */
export function switchTask(
  core: Core,
  selector: number,
  source: number,
  ext: number,
  eip: number,
  eflags: number,
  error: number,
): number {
  const i = core.i32;
  const base = (A.TR + A.TABLE_BASE) >>> 2;
  const oldBase = i[base]!;
  const oldLayout = i[(A.TR + A.SEG_ATTR) >>> 2]! & WIDE ? TSS32 : TSS16;
  const nested = source === TASK_CALL || source === TASK_GATE;
  let r = readIncoming(core, selector, source, ext);
  if (r === H_OK) r = readOutgoing(core, oldLayout);
  if (r !== H_OK) return r;
  const layout = incoming.type & WIDE ? TSS32 : TSS16;
  const newBase = incoming.base;
  r = readState(core, newBase, layout);
  if (r === H_OK) r = probeState(core, oldBase, oldLayout);
  if (r === H_OK && nested) r = probeWrite(core, newBase, 0, 2, KIND_SYSTEM);
  if (r === H_OK) r = probeWrite(core, incoming.atLo, 0, 8, KIND_SYSTEM);
  if (r === H_OK && !nested) r = probeWrite(core, outgoing.atLo, 0, 8, KIND_SYSTEM);
  if (r !== H_OK) return r;

  if (!nested) {
    i[DATA] = (outgoing.hi >>> 8) & 0xff & ~BUSY;
    writeLinear(core, (outgoing.atLo + 5) | 0, 0, 1, KIND_SYSTEM);
  }
  saveState(core, oldBase, oldLayout, eip, source === TASK_IRET ? eflags & ~FLAG_NT : eflags);
  if (nested) {
    i[DATA] = i[A.TR >>> 2]! & 0xffff;
    writeLinear(core, newBase, 0, 2, KIND_SYSTEM);
  }
  if (source !== TASK_IRET) setTypeBit(core, incoming, BUSY);
  loadTableRaw(core, A.TR, selector, newBase, 0, incoming.limit, incoming.attr | BUSY);
  if (enter(core, layout, nested, ext, error) !== H_OK) injectFault(core);
  return H_OK;
}

/** The new task: registers first, then what can fault, in the order of table 8-1. */
function enter(core: Core, layout: Layout, nested: boolean, ext: number, error: number): number {
  const i = core.i32;
  i[A.CR0 >>> 2]! |= CR0_TS;
  i[(A.DR + 56) >>> 2]! &= ~DR7_LOCAL;
  i[A.INTERRUPTIBILITY >>> 2]! &= ~(SHADOW_STI | SHADOW_MOV_SS);
  // A trap that the switching instruction would have had is lost with its task's TF.
  i[A.PENDING_DEBUG >>> 2] = next.trap ? DR6_BT : 0;
  core.stepDiscarded = true;
  core.breakSlice();
  const paged = layout.cr3 >= 0 && (i[A.CR0 >>> 2]! & CR0_PG) !== 0;
  const r = paged ? writeCr3(core, next.cr3, 0) : H_OK;
  setFlags(core, (layout.bytes === 2 ? next.eflags & 0xffff : next.eflags) | (nested ? FLAG_NT : 0));
  for (let n = 0; n < 8; n++) {
    i[(A.SLOTS + n * 8) >>> 2] = next.registers[n]!;
    i[(A.SLOTS + n * 8 + 4) >>> 2] = 0;
  }
  setRip(core, layout.bytes === 2 ? next.eip & 0xffff : next.eip, 0);
  const vm = (next.eflags & FLAG_VM) !== 0 && layout.bytes === 4;
  setCpl(core, vm ? 3 : next.selectors[SEG_CS]! & 3);
  for (let seg = 0; seg < 6; seg++) {
    const selector = next.selectors[seg]!;
    if (vm) loadSegmentRaw(core, seg, selector, selector << 4, 0, 0xffff, 0xf3);
    else loadSegmentRaw(core, seg, selector, 0, 0, 0, ATTR_UNUSABLE);
  }
  const loaded = r === H_OK ? loadSelectors(core, vm, ext) : r;
  updateMode(core);
  if (loaded !== H_OK) return loaded;
  if (error >= 0) {
    currentStack(core, stack);
    stack.error = ext;
    const pushed = push(core, stack, layout.bytes, error, 0);
    if (pushed !== H_OK) return pushed;
    commitStack(core, stack);
  }
  const limit = core.u32[(A.SEG + SEG_CS * A.SEG_STRIDE + A.SEG_LIMIT) >>> 2]!;
  return i[A.RIP >>> 2]! >>> 0 > limit ? raise(core, VEC_GP, ext) : H_OK;
}

function loadSelectors(core: Core, vm: boolean, ext: number): number {
  let r = loadLdt(core, next.ldt);
  if (r !== H_OK) {
    // An LDT that LLDT would refuse is #TS here, whatever its fault was.
    const isOwn = core.i32[A.FAULT_VECTOR >>> 2] !== VEC_PF;
    loadTableRaw(core, A.LDTR, next.ldt, 0, 0, 0, ATTR_UNUSABLE);
    return isOwn ? raiseSelector(core, VEC_TS, next.ldt, ext) : r;
  }
  if (vm) return H_OK;
  r = loadTaskCode(core, next.selectors[SEG_CS]!, ext);
  if (r === H_OK) r = loadTaskStack(core, next.selectors[SEG_SS]!, ext);
  for (const seg of [3, 0, 4, 5]) if (r === H_OK) r = loadTaskData(core, seg, next.selectors[seg]!, ext);
  return r;
}

/** Reads the descriptor of `selector` into `segment`; null selectors and such as name nothing are #TS. */
function readTaskSegment(core: Core, selector: number, ext: number): number {
  if ((selector & 0xfffc) === 0) return raiseSelector(core, VEC_TS, selector, ext);
  const r = readDescriptor(core, selector, segment);
  return r === NO_DESCRIPTOR ? raiseSelector(core, VEC_TS, selector, ext) : r;
}

function loadChecked(core: Core, seg: number, selector: number): number {
  const r = setTypeBit(core, segment, ATTR_ACCESSED);
  if (r === H_OK) setFromDescriptor(core, seg, selector, segment);
  return r;
}

function loadTaskCode(core: Core, selector: number, ext: number): number {
  const r = readTaskSegment(core, selector, ext);
  if (r !== H_OK) return r;
  const rpl = selector & 3;
  const fits = segment.isCode && (segment.isConforming ? segment.dpl <= rpl : segment.dpl === rpl);
  if (!fits) return raiseSelector(core, VEC_TS, selector, ext);
  return segment.present ? loadChecked(core, SEG_CS, selector) : raiseSelector(core, VEC_NP, selector, ext);
}

function loadTaskStack(core: Core, selector: number, ext: number): number {
  const r = readTaskSegment(core, selector, ext);
  if (r !== H_OK) return r;
  const cpl = core.i32[A.CPL >>> 2]!;
  if (!segment.isWritableData || (selector & 3) !== cpl || segment.dpl !== cpl)
    return raiseSelector(core, VEC_TS, selector, ext);
  return segment.present ? loadChecked(core, SEG_SS, selector) : raiseSelector(core, VEC_SS, selector, ext);
}

function loadTaskData(core: Core, seg: number, selector: number, ext: number): number {
  if ((selector & 0xfffc) === 0) return H_OK;
  const r = readTaskSegment(core, selector, ext);
  if (r !== H_OK) return r;
  const cpl = core.i32[A.CPL >>> 2]!;
  const readable = !segment.isSystem && (!(segment.attr & ATTR_CODE) || (segment.attr & ATTR_RW) !== 0);
  const allowed = segment.isConforming || (segment.dpl >= cpl && segment.dpl >= (selector & 3));
  if (!readable || !allowed) return raiseSelector(core, VEC_TS, selector, ext);
  return segment.present ? loadChecked(core, seg, selector) : raiseSelector(core, VEC_NP, selector, ext);
}

/** Makes the recorded fault the next event. (SDM table 25-17: type 3, hardware exception.) */
function injectFault(core: Core): void {
  const i = core.i32;
  const vector = i[A.FAULT_VECTOR >>> 2]! & 0xff;
  const hasError = (i[A.FAULT_FLAGS >>> 2]! & FAULT_HAS_ERROR) !== 0;
  i[(A.FAULT_COUNTS >>> 2) + (vector & 31)]!++;
  if (vector === VEC_PF) {
    i[A.CR2 >>> 2] = i[A.EXIT_GLA >>> 2]!;
    i[(A.CR2 + 4) >>> 2] = 0;
  }
  i[A.INJECT_INFO >>> 2] = 0x80000300 | vector | (hasError ? 0x800 : 0);
  i[A.INJECT_ERROR >>> 2] = hasError ? i[A.FAULT_ERROR >>> 2]! : 0;
}

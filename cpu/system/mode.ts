/**
 * What follows from the control registers: the MODE word that keys blocks, the view and context of data accesses, the
 * paging mode. Whoever changes CR0, CR4, EFER, CS, SS, RFLAGS.VM/TF/AC, DR7 or the interrupt shadow calls `updateMode`.
 */
import * as A from "../arena.ts";
import { type Core, DELIVERY_NONROOT } from "../core.ts";
import { FLAG_AC, FLAG_TF, FLAG_VM } from "../flags.ts";
import { newEpoch, selectContext } from "../mmu/contexts.ts";
import { describeWalks } from "../mmu/quick.ts";
import { PAGING_32, PAGING_LONG, PAGING_NONE, PAGING_PAE } from "../mmu/state.ts";
import {
  MODE_16,
  MODE_32,
  MODE_64,
  MODE_AVX,
  MODE_EM,
  MODE_FLAT,
  MODE_LMA,
  MODE_MP,
  MODE_NONROOT,
  MODE_OSFXSR,
  MODE_OSXSAVE,
  MODE_PE,
  MODE_SS32,
  MODE_STEP,
  MODE_TS,
  MODE_VM,
} from "../uops/uop.ts";
import * as B from "./bits.ts";
import { ATTR_CODE, ATTR_DB, ATTR_DC, ATTR_L, ATTR_RW, ATTR_UNUSABLE } from "./segcheck.ts";

/** INTERRUPTIBILITY bits (SDM table 25-3). */
export const SHADOW_STI = 1;
export const SHADOW_MOV_SS = 2;
export const BLOCKED_NMI = 8;

/** ACTIVITY values. */
export const ACTIVE = 0;
export const HALTED = 1;
export const SHUTDOWN = 2;
export const WAIT_SIPI = 3;

/** SSE and AVX state in XCR0. */
const XCR0_VECTORS = 6;

const CODE = 1;
const FLAT_SEGMENTS = [0, CODE, 2, 3];

/** CS, DS, ES, SS have base 0, cover 4 GiB, and need no check of rights. */
function isFlat(core: Core): boolean {
  const i = core.i32;
  for (const seg of FLAT_SEGMENTS) {
    const at = (A.SEG + seg * A.SEG_STRIDE) >>> 2;
    const attr = i[at + (A.SEG_ATTR >>> 2)]!;
    if (attr & ATTR_UNUSABLE || i[at + (A.SEG_LIMIT >>> 2)] !== -1 || !(attr & ATTR_RW)) return false;
    if (seg !== CODE && (attr & ATTR_CODE || attr & ATTR_DC)) return false;
    if (i[(A.SLOTS + A.S_SEGBASE + seg * 8) >>> 2] !== 0) return false;
  }
  return true;
}

/** The bits of MODE that follow from control registers and controls. */
function controlMode(core: Core, cr0: number, cr4: number): number {
  let mode = 0;
  if (cr0 & B.CR0_PE) mode |= MODE_PE;
  if (cr0 & B.CR0_TS) mode |= MODE_TS;
  if (cr0 & B.CR0_EM) mode |= MODE_EM;
  if (cr0 & B.CR0_MP) mode |= MODE_MP;
  if (cr4 & B.CR4_OSFXSR) mode |= MODE_OSFXSR;
  if (cr4 & B.CR4_OSXSAVE) {
    mode |= MODE_OSXSAVE;
    if ((core.i32[A.XCR0 >>> 2]! & XCR0_VECTORS) === XCR0_VECTORS) mode |= MODE_AVX;
  }
  if (core.controls.delivery === DELIVERY_NONROOT) mode |= MODE_NONROOT;
  return mode;
}

export function updateMode(core: Core): void {
  const i = core.i32;
  const m = core.mmu;
  const group = core.shared;
  if (!m.registered) {
    m.registered = true;
    if (!group.cores.includes(core)) group.cores.push(core);
  }
  const cr0 = i[A.CR0 >>> 2]!;
  const cr4 = i[A.CR4 >>> 2]!;
  const efer = i[A.EFER >>> 2]!;
  const flags = i[A.RFLAGS_SYS >>> 2]!;
  const cs = i[(A.SEG + A.SEG_STRIDE + A.SEG_ATTR) >>> 2]!;
  const lma = (efer & B.EFER_LMA) !== 0;

  let mode: number;
  if (lma && cs & ATTR_L) mode = MODE_64 | MODE_FLAT;
  else {
    mode = cs & ATTR_DB ? MODE_32 : MODE_16;
    if (i[(A.SEG + 2 * A.SEG_STRIDE + A.SEG_ATTR) >>> 2]! & ATTR_DB) mode |= MODE_SS32;
    if (isFlat(core)) mode |= MODE_FLAT;
    if (lma) mode |= MODE_LMA;
  }
  if (flags & FLAG_VM) mode |= MODE_VM;
  m.controlMode = controlMode(core, cr0, cr4);
  mode |= m.controlMode;
  const dr7 = i[(A.DR + 56) >>> 2]!;
  if (flags & FLAG_TF || i[A.INTERRUPTIBILITY >>> 2]! & (SHADOW_STI | SHADOW_MOV_SS) || hasCodeBreakpoint(dr7))
    mode |= MODE_STEP;
  i[A.MODE >>> 2] = mode;
  // The run loop does the steps.
  if (mode & MODE_STEP) core.breakSlice();

  m.paging = !(cr0 & B.CR0_PG) ? PAGING_NONE : lma ? PAGING_LONG : cr4 & B.CR4_PAE ? PAGING_PAE : PAGING_32;
  m.wp = (cr0 & B.CR0_WP) !== 0;
  m.nxe = (efer & B.EFER_NXE) !== 0;
  m.smep = (cr4 & B.CR4_SMEP) !== 0;
  m.pse = (cr4 & B.CR4_PSE) !== 0;
  m.watching = hasDataBreakpoint(dr7);
  const epoch =
    (cr0 & (B.CR0_PG | B.CR0_WP)) ^
    (cr4 & (B.CR4_PSE | B.CR4_PAE | B.CR4_PGE | B.CR4_PCIDE | B.CR4_SMEP)) ^
    ((efer & (B.EFER_NXE | B.EFER_LMA)) << 16);
  updateView(core);
  if (epoch !== m.epoch) {
    m.epoch = epoch;
    newEpoch(core);
  } else selectContext(core);
  describeWalks(core);
}

/**
 * `updateMode` for changes of CPL, CS, SS, RFLAGS and the interrupt shadow alone: events, IRET, SYSCALL and their like. What
 * follows from control registers stays.
 */
export function updatePrivilege(core: Core): void {
  const i = core.i32;
  const m = core.mmu;
  const plain =
    (i[(A.SEG + A.SEG_STRIDE + A.SEG_ATTR) >>> 2]! & ATTR_L) !== 0 &&
    m.paging === PAGING_LONG &&
    !(i[A.RFLAGS_SYS >>> 2]! & (FLAG_TF | FLAG_VM)) &&
    !(i[A.INTERRUPTIBILITY >>> 2]! & (SHADOW_STI | SHADOW_MOV_SS)) &&
    !(i[(A.DR + 56) >>> 2]! & ENABLED);
  if (!plain) {
    updateMode(core);
    return;
  }
  i[A.MODE >>> 2] = m.controlMode | MODE_64 | MODE_FLAT;
  updateView(core);
  i[A.FETCH_PAGE >>> 2] = -1;
  i[(A.FETCH_PAGE + 4) >>> 2] = -1;
}

/** Selects the table of data accesses, after changes of CPL, CR4.SMAP or RFLAGS.AC. */
export function updateView(core: Core): void {
  const i = core.i32;
  const user = i[A.CPL >>> 2] === 3;
  const ac = (i[A.RFLAGS_SYS >>> 2]! & FLAG_AC) !== 0;
  const smap = (i[A.CR4 >>> 2]! & B.CR4_SMAP) !== 0;
  const view = user ? A.VIEW_USER : smap && !ac ? A.VIEW_SUPERVISOR_SMAP : A.VIEW_SUPERVISOR;
  i[A.TLB_BASE >>> 2] = A.DTLB + view * A.TLB_VIEW_BYTES;
  const check = user && ac && (i[A.CR0 >>> 2]! & B.CR0_AM) !== 0;
  if (check !== core.mmu.alignCheck) {
    core.mmu.alignCheck = check;
    selectContext(core);
    describeWalks(core);
  }
}

/** DR7 bits 7..0: some breakpoint is enabled. */
const ENABLED = 0xff;

export const hasCodeBreakpoint = (dr7: number): boolean => {
  if (!(dr7 & ENABLED)) return false;
  for (let n = 0; n < 4; n++) if (dr7 & (3 << (n * 2)) && !(dr7 & (3 << (16 + n * 4)))) return true;
  return false;
};

export const hasDataBreakpoint = (dr7: number): boolean => {
  if (!(dr7 & ENABLED)) return false;
  for (let n = 0; n < 4; n++) if (dr7 & (3 << (n * 2)) && dr7 & (1 << (16 + n * 4))) return true;
  return false;
};

/** Changes the privilege level: cycles so far go to the account of the old one. The caller calls `updateMode`. */
export function setCpl(core: Core, cpl: number): void {
  const old = core.i32[A.CPL >>> 2]!;
  if (old === cpl) return;
  if ((old === 3) !== (cpl === 3)) account(core);
  core.i32[A.CPL >>> 2] = cpl;
}

/** Moves the cycles since the last call to the account of the current privilege level. */
export function account(core: Core): void {
  const now = core.now();
  const f64 = core.f64;
  const at = core.i32[A.CPL >>> 2] === 3 && core.i32[A.PV_KERNEL >>> 2] === 0 ? A.ACCOUNT_USER : A.ACCOUNT_KERNEL;
  f64[at >>> 3]! += now - f64[A.ACCOUNTED >>> 3]!;
  f64[A.ACCOUNTED >>> 3] = now;
}

/** Holds off interrupts for one instruction, which the run loop executes alone (MODE_STEP). */
export function startShadow(core: Core, bit: number): void {
  core.i32[A.INTERRUPTIBILITY >>> 2]! |= bit;
  core.i32[A.MODE >>> 2]! |= MODE_STEP;
  core.breakSlice();
}

// ---- states to start from -----------------------------------------------------------------------------------------------

/** Sets a segment register without any check. `limit` in bytes, `attr` in the format of segcheck.ts. */
export function loadSegmentRaw(
  core: Core,
  seg: number,
  selector: number,
  baseLo: number,
  baseHi: number,
  limit: number,
  attr: number,
): void {
  const i = core.i32;
  const at = (A.SEG + seg * A.SEG_STRIDE) >>> 2;
  i[at] = selector & 0xffff;
  i[at + (A.SEG_ATTR >>> 2)] = attr;
  i[at + (A.SEG_LIMIT >>> 2)] = limit;
  i[(A.SLOTS + A.S_SEGBASE + seg * 8) >>> 2] = baseLo;
  i[(A.SLOTS + A.S_SEGBASE + seg * 8 + 4) >>> 2] = baseHi;
}

/** Sets LDTR, TR, GDTR or IDTR (an arena address of arena.ts) without any check. */
export function loadTableRaw(
  core: Core,
  table: number,
  selector: number,
  baseLo: number,
  baseHi: number,
  limit: number,
  attr: number,
): void {
  const i = core.i32;
  i[table >>> 2] = selector & 0xffff;
  i[(table + A.SEG_ATTR) >>> 2] = attr;
  i[(table + A.SEG_LIMIT) >>> 2] = limit;
  i[(table + A.TABLE_BASE) >>> 2] = baseLo;
  i[(table + A.TABLE_BASE + 4) >>> 2] = baseHi;
}

const ATTR_LDT = 0x82;
const ATTR_TSS_BUSY = 0x8b;

/** The state after RESET or INIT (SDM table 10-1). Cycle counts and accounts go on. Activates the core. */
export function resetCore(core: Core): void {
  core.activate();
  const i = core.i32;
  const keepFrom = A.SLICE_END;
  const clock = core.u8.slice(keepFrom, A.INSTRET + 8);
  const accounts = core.u8.slice(A.ACCOUNT_USER, A.ACCOUNTED + 8);
  const counters = core.u8.slice(A.FAULT_COUNTS, A.COUNT_INTERRUPTS + 4);
  const tsc = core.f64[A.TSC_OFFSET >>> 3]!;
  core.u8.fill(0, A.CORE, A.CORE + A.CORE_BYTES);
  core.u8.set(clock, keepFrom);
  core.u8.set(accounts, A.ACCOUNT_USER);
  core.u8.set(counters, A.FAULT_COUNTS);
  core.f64[A.TSC_OFFSET >>> 3] = tsc;
  i[A.DELIVERING >>> 2] = -1;
  i[A.RFLAGS_SYS >>> 2] = 2;
  // All arithmetic flags clear: ZF and PF are clear while these words are not zero.
  i[A.CC_Z >>> 2] = 1;
  i[A.CC_S >>> 2] = 1;
  i[(A.SLOTS + A.S_RDX) >>> 2] = 0x000306c3;
  B.setRip(core, 0xfff0, 0);
  for (let seg = 0; seg < 6; seg++) loadSegmentRaw(core, seg, 0, 0, 0, 0xffff, 0x93);
  loadSegmentRaw(core, 1, 0xf000, 0xffff0000 | 0, 0, 0xffff, 0x9b);
  loadTableRaw(core, A.GDTR, 0, 0, 0, 0xffff, 0);
  loadTableRaw(core, A.IDTR, 0, 0, 0, 0xffff, 0);
  loadTableRaw(core, A.LDTR, 0, 0, 0, 0xffff, ATTR_LDT);
  loadTableRaw(core, A.TR, 0, 0, 0, 0xffff, ATTR_TSS_BUSY);
  i[A.CR0 >>> 2] = 0x60000010;
  i[A.XCR0 >>> 2] = 1;
  i[(A.DR + 48) >>> 2] = 0xffff0ff0 | 0;
  i[(A.DR + 56) >>> 2] = 0x400;
  i[A.MSR_PAT >>> 2] = 0x00070406;
  i[(A.MSR_PAT + 4) >>> 2] = 0x00070406;
  i[A.MSR_APIC_BASE >>> 2] = 0xfee00800 | 0 | (core.index === 0 ? 0x100 : 0);
  i[A.MSR_MISC_ENABLE >>> 2] = 1;
  i[A.FPU_CW >>> 2] = 0x40;
  i[A.FPU_TW >>> 2] = 0x5555;
  i[A.MXCSR >>> 2] = 0x1f80;
  updateMode(core);
}

/**
 * The state in which a PVH guest starts (Xen's docs/misc/pvh): 32-bit protected mode without paging, flat segments, EBX the
 * guest-physical address of start_info.
 */
export function setPvhState(core: Core, entry: number, ebx: number): void {
  resetCore(core);
  const i = core.i32;
  for (let seg = 0; seg < 6; seg++) loadSegmentRaw(core, seg, 0, 0, 0, -1, 0xc093);
  loadSegmentRaw(core, 1, 0, 0, 0, -1, 0xc09b);
  loadTableRaw(core, A.TR, 0, 0, 0, 0x67, ATTR_TSS_BUSY);
  loadTableRaw(core, A.GDTR, 0, 0, 0, 0, 0);
  loadTableRaw(core, A.IDTR, 0, 0, 0, 0, 0);
  i[A.CR0 >>> 2] = B.CR0_PE | B.CR0_ET;
  i[(A.SLOTS + A.S_RDX) >>> 2] = 0;
  i[(A.SLOTS + A.S_RBX) >>> 2] = ebx;
  B.setRip(core, entry, 0);
  updateMode(core);
}

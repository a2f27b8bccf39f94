/**
 * Control registers: the checks and effects of writing CR0, CR3, CR4, CR8, EFER and XCR0 (SDM 2.5, 4.1), and TLB
 * invalidation. `write*` functions are the bare register writes, also for a hypervisor that completes an intercepted one.
 */
import * as A from "../arena.ts";
import {
  type Core,
  DELIVERY_NONROOT,
  EXIT_CR,
  INTERCEPT_CR3_LOAD,
  INTERCEPT_CR3_STORE,
  INTERCEPT_CR8,
  raise,
  VEC_GP,
} from "../core.ts";
import { XSTATE_AVX, XSTATE_SSE, XSTATE_X87 } from "../fpu/xsave.ts";
import { currentPcid, dropContext, forgetContext, newEpoch, selectContext } from "../mmu/contexts.ts";
import { PHYSICAL_BITS } from "../mmu/state.ts";
import { invalidatePage } from "../mmu/tlb.ts";
import { isCanonical, loadPdptes } from "../mmu/walker.ts";
import { H_OK } from "../uops/uop.ts";
import { LocalApic } from "./apic.ts";
import * as B from "./bits.ts";
import { cpuLimits, cpuModel } from "./cpu-model.ts";
import { xfeatures } from "./cpuid.ts";
import { exitAt, intercepts } from "./exits.ts";
import { updateMode } from "./mode.ts";
import { ATTR_L } from "./segcheck.ts";
import { attrOf, SEG_CS } from "./segments.ts";

/** CR4 bits that exist here. Virtual-8086 mode has no extensions (VME, PVI): CPUID denies them. */
const CR4_ALLOWED: number =
  B.CR4_TSD |
  B.CR4_DE |
  B.CR4_PSE |
  B.CR4_PAE |
  B.CR4_MCE |
  B.CR4_PGE |
  B.CR4_PCE |
  B.CR4_OSFXSR |
  B.CR4_OSXMMEXCPT |
  B.CR4_UMIP |
  B.CR4_FSGSBASE |
  B.CR4_PCIDE |
  B.CR4_OSXSAVE |
  B.CR4_SMEP |
  B.CR4_SMAP;

/** CR4 bits that may be set on this core. */
export const cr4Allowed = (core: Core): number => CR4_ALLOWED & (cpuLimits(core)?.cr4 ?? -1);

const RESERVED_HI: number = -1 << (PHYSICAL_BITS - 32);
const PDPTE_CR4: number = B.CR4_PAE | B.CR4_PSE | B.CR4_PGE | B.CR4_SMEP;

function set(core: Core, register: number, lo: number, hi: number): void {
  core.i32[register >>> 2] = lo;
  core.i32[(register + 4) >>> 2] = hi;
}

/** MOV to CR0, LMSW, CLTS: H_OK, H_FAULT or H_EXIT_AT (while PDPTEs are read). */
export function writeCr0(core: Core, lo: number, hi: number): number {
  const i = core.i32;
  const old = B.cr0(core);
  const cr4 = B.cr4(core);
  if (hi !== 0) return raise(core, VEC_GP, 0);
  const value = (lo & B.CR0_DEFINED) | B.CR0_ET;
  if (value & B.CR0_PG && !(value & B.CR0_PE)) return raise(core, VEC_GP, 0);
  if (value & B.CR0_NW && !(value & B.CR0_CD)) return raise(core, VEC_GP, 0);
  const efer = i[A.EFER >>> 2]!;
  const changed = value ^ old;
  let newEfer = efer;
  if (changed & B.CR0_PG) {
    if (value & B.CR0_PG) {
      if (efer & B.EFER_LME) {
        if (!(cr4 & B.CR4_PAE) || attrOf(core, SEG_CS) & ATTR_L) return raise(core, VEC_GP, 0);
        newEfer |= B.EFER_LMA;
      }
    } else {
      if (B.is64(core) || cr4 & B.CR4_PCIDE) return raise(core, VEC_GP, 0);
      newEfer &= ~B.EFER_LMA;
    }
  }
  if (value & B.CR0_PG && cr4 & B.CR4_PAE && !(newEfer & B.EFER_LMA) && changed & (B.CR0_PG | B.CR0_CD | B.CR0_NW)) {
    const r = loadPdptes(core, i[A.CR3 >>> 2]!);
    if (r !== H_OK) return r;
  }
  i[A.EFER >>> 2] = newEfer;
  set(core, A.CR0, value, 0);
  updateMode(core);
  return H_OK;
}

export function writeCr3(core: Core, lo: number, hi: number): number {
  const cr4 = B.cr4(core);
  const pcide = (cr4 & B.CR4_PCIDE) !== 0;
  const keep = pcide && hi < 0;
  const value = pcide ? hi & 0x7fffffff : hi;
  if (B.isLongMode(core)) {
    if (value & RESERVED_HI) return raise(core, VEC_GP, 0);
  } else if (B.cr0(core) & B.CR0_PG && cr4 & B.CR4_PAE) {
    const r = loadPdptes(core, lo);
    if (r !== H_OK) return r;
  }
  set(core, A.CR3, lo, value);
  const pcid = currentPcid(core);
  if (!keep) forgetContext(core, pcid);
  selectContext(core);
  return H_OK;
}

export function writeCr4(core: Core, lo: number, hi: number): number {
  const i = core.i32;
  const old = B.cr4(core);
  if (hi !== 0 || lo & ~cr4Allowed(core)) return raise(core, VEC_GP, 0);
  const long = B.isLongMode(core);
  if (long && !(lo & B.CR4_PAE)) return raise(core, VEC_GP, 0);
  if (lo & ~old & B.CR4_PCIDE && (!long || i[A.CR3 >>> 2]! & 0xfff)) return raise(core, VEC_GP, 0);
  if (B.cr0(core) & B.CR0_PG && lo & B.CR4_PAE && !long && (lo ^ old) & PDPTE_CR4) {
    const r = loadPdptes(core, i[A.CR3 >>> 2]!);
    if (r !== H_OK) return r;
  }
  set(core, A.CR4, lo, 0);
  updateMode(core);
  return H_OK;
}

/** CR8 is bits 7..4 of the local APIC's task priority. */
export function writeCr8(core: Core, lo: number, hi: number): number {
  if (hi !== 0 || lo & ~15) return raise(core, VEC_GP, 0);
  set(core, A.CR8, lo, 0);
  if (core.interrupts instanceof LocalApic) core.interrupts.setTaskPriority(lo << 4);
  core.breakSlice();
  return H_OK;
}

export function readCr8(core: Core): number {
  return core.interrupts instanceof LocalApic ? core.interrupts.taskPriority >>> 4 : core.i32[A.CR8 >>> 2]!;
}

/** EFER bits that may be set on this core; LMA is the processor's. */
export const eferAllowed = (core: Core): number =>
  (B.EFER_SCE | B.EFER_LME | B.EFER_NXE) & (cpuLimits(core)?.efer ?? -1);

/** WRMSR to EFER: #GP for unknown bits, and for a change of LME under paging. */
export function writeEfer(core: Core, lo: number, hi: number): number {
  const old = core.i32[A.EFER >>> 2]!;
  if (hi !== 0 || lo & ~(eferAllowed(core) | B.EFER_LMA)) return raise(core, VEC_GP, 0);
  if ((lo ^ old) & B.EFER_LME && B.cr0(core) & B.CR0_PG) return raise(core, VEC_GP, 0);
  core.i32[A.EFER >>> 2] = (lo & ~B.EFER_LMA) | (old & B.EFER_LMA);
  updateMode(core);
  return H_OK;
}

/** XCR0 bits that may be set on this core. */
const xcr0Allowed = (core: Core): number => cpuLimits(core)?.xcr0 ?? xfeatures(cpuModel(core));

/** XSETBV to XCR0: x87 always, no AVX without SSE, nothing that the model has not (SDM volume 1, 13.3). */
export function writeXcr0(core: Core, index: number, lo: number, hi: number): number {
  if (index !== 0 || hi !== 0 || !(lo & XSTATE_X87) || lo & ~xcr0Allowed(core)) return raise(core, VEC_GP, 0);
  if ((lo & (XSTATE_SSE | XSTATE_AVX)) === XSTATE_AVX) return raise(core, VEC_GP, 0);
  set(core, A.XCR0, lo, 0);
  updateMode(core);
  return H_OK;
}

// ---- the instructions ---------------------------------------------------------------------------------------------------

/** EXIT_CR qualification (SDM table 28-3). */
const ACCESS_TO = 0;
const ACCESS_FROM = 1;
const ACCESS_CLTS = 2;
const ACCESS_LMSW = 3;
const qualification = (cr: number, access: number, gpr: number): number => cr | (access << 4) | (gpr << 8);

const nonRoot = (core: Core): boolean => core.controls.delivery === DELIVERY_NONROOT;

/** MOV CRn, r: hi:lo is the value from general register `gpr`. */
export function movToCr(core: Core, cr: number, gpr: number, lo: number, hi: number, length: number): number {
  const i = core.i32;
  const c = core.controls;
  switch (cr) {
    case 0:
      if (nonRoot(core)) {
        if ((lo ^ c.cr0Shadow) & c.cr0Mask) return exitAt(core, EXIT_CR, length, qualification(0, ACCESS_TO, gpr));
        lo = (lo & ~c.cr0Mask) | (B.cr0(core) & c.cr0Mask);
      }
      return writeCr0(core, lo, hi);
    case 2:
      set(core, A.CR2, lo, hi);
      return H_OK;
    case 3:
      if (intercepts(core, INTERCEPT_CR3_LOAD)) return exitAt(core, EXIT_CR, length, qualification(3, ACCESS_TO, gpr));
      return writeCr3(core, lo, hi);
    case 4:
      if (nonRoot(core)) {
        if ((lo ^ c.cr4Shadow) & c.cr4Mask) return exitAt(core, EXIT_CR, length, qualification(4, ACCESS_TO, gpr));
        lo = (lo & ~c.cr4Mask) | (i[A.CR4 >>> 2]! & c.cr4Mask);
      }
      return writeCr4(core, lo, hi);
    default:
      if (intercepts(core, INTERCEPT_CR8)) return exitAt(core, EXIT_CR, length, qualification(8, ACCESS_TO, gpr));
      return writeCr8(core, lo, hi);
  }
}

/** MOV r, CRn: the low word of the value as the guest sees it (CR2 and CR3 have a high word in the register). */
export function visibleCr0(core: Core): number {
  const c = core.controls;
  const value = B.cr0(core);
  return nonRoot(core) ? (value & ~c.cr0Mask) | (c.cr0Shadow & c.cr0Mask) : value;
}

function visibleCr4(core: Core): number {
  const c = core.controls;
  const value = B.cr4(core);
  return nonRoot(core) ? (value & ~c.cr4Mask) | (c.cr4Shadow & c.cr4Mask) : value;
}

/** MOV r, CRn into slot `slot` (8 bytes in 64-bit mode, else 4). */
export function movFromCr(core: Core, cr: number, slot: number, gpr: number, length: number): number {
  const i = core.i32;
  const at = (A.SLOTS + slot) >>> 2;
  let lo: number;
  let hi = 0;
  switch (cr) {
    case 0:
      lo = visibleCr0(core);
      break;
    case 2:
      lo = i[A.CR2 >>> 2]!;
      hi = i[(A.CR2 + 4) >>> 2]!;
      break;
    case 3:
      if (intercepts(core, INTERCEPT_CR3_STORE))
        return exitAt(core, EXIT_CR, length, qualification(3, ACCESS_FROM, gpr));
      lo = i[A.CR3 >>> 2]!;
      hi = i[(A.CR3 + 4) >>> 2]!;
      break;
    case 4:
      lo = visibleCr4(core);
      break;
    default:
      if (intercepts(core, INTERCEPT_CR8)) return exitAt(core, EXIT_CR, length, qualification(8, ACCESS_FROM, gpr));
      lo = readCr8(core);
  }
  i[at] = lo;
  i[at + 1] = B.is64(core) ? hi : 0;
  return H_OK;
}

/** CLTS. */
export function clearTs(core: Core, length: number): number {
  const c = core.controls;
  if (nonRoot(core) && c.cr0Mask & B.CR0_TS) {
    if (c.cr0Shadow & B.CR0_TS) return exitAt(core, EXIT_CR, length, qualification(0, ACCESS_CLTS, 0));
    return H_OK;
  }
  core.i32[A.CR0 >>> 2]! &= ~B.CR0_TS;
  updateMode(core);
  return H_OK;
}

/** LMSW: PE, MP, EM, TS; PE cannot be cleared. */
export function loadMsw(core: Core, source: number, length: number): number {
  const c = core.controls;
  const old = B.cr0(core);
  let value = (old & ~15) | (source & 15) | (old & B.CR0_PE);
  if (nonRoot(core)) {
    // An attempt to clear PE is no attempt to change it.
    const wanted = (source & 15) | (c.cr0Shadow & B.CR0_PE);
    if ((wanted ^ c.cr0Shadow) & c.cr0Mask & 15)
      return exitAt(core, EXIT_CR, length, qualification(0, ACCESS_LMSW, 0) | (source << 16));
    value = (value & ~c.cr0Mask) | (old & c.cr0Mask);
  }
  return writeCr0(core, value, 0);
}

/** INVPCID types (SDM volume 2, INVPCID). */
const INVPCID_ADDRESS = 0;
const INVPCID_CONTEXT = 1;
const INVPCID_ALL_GLOBAL = 2;
const INVPCID_ALL = 3;

/** INVPCID with the descriptor's PCID word (hi:lo) and linear address. */
export function invalidatePcid(
  core: Core,
  type: number,
  pcidLo: number,
  pcidHi: number,
  lo: number,
  hi: number,
): number {
  if (type > INVPCID_ALL || pcidHi !== 0 || pcidLo & ~0xfff) return raise(core, VEC_GP, 0);
  const pcide = (B.cr4(core) & B.CR4_PCIDE) !== 0;
  if (type <= INVPCID_CONTEXT && !pcide && pcidLo !== 0) return raise(core, VEC_GP, 0);
  switch (type) {
    case INVPCID_ADDRESS:
      if (!isCanonical(hi)) return raise(core, VEC_GP, 0);
      invalidatePage(core, lo, hi);
      break;
    case INVPCID_CONTEXT:
      dropContext(core, pcide ? pcidLo : 0);
      break;
    case INVPCID_ALL_GLOBAL:
    case INVPCID_ALL:
      newEpoch(core);
      break;
  }
  return H_OK;
}

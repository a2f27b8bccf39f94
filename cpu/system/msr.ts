/**
 * Model-specific registers (SDM volume 4, APM volume 2 appendix A). One table by number says where a plain MSR lives and
 * which of its bits may be set; the others have functions. An unknown MSR is #GP.
 */
import * as A from "../arena.ts";
import { type Core, EXIT_RDMSR, EXIT_WRMSR, INTERCEPT_MSR, raise, VEC_GP } from "../core.ts";
import { PHYSICAL_BITS } from "../mmu/state.ts";
import { H_OK } from "../uops/uop.ts";
import { APIC_BASE_BSP, APIC_BASE_ENABLE, APIC_BASE_X2, LocalApic } from "./apic.ts";
import { cpuModel, VENDOR_AMD, VENDOR_INTEL } from "./cpu-model.ts";
import { writeEfer } from "./cr.ts";
import { exitAt, intercepts } from "./exits.ts";
import { highWord, lowWord, readTsc, setEdxEax, toNumber, writeTsc } from "./tsc.ts";
import * as W from "./words.ts";

export const MSR_TSC = 0x10;
export const MSR_EFER_NUMBER = 0xc0000080;

/** Result of a read: value words. */
export class MsrValue {
  lo = 0;
  hi = 0;
}

interface Plain {
  /** Arena address of the i64. */
  readonly at: number;
  /** Bits that may be set; others are #GP. */
  readonly lo: number;
  readonly hi: number;
  /** The value is an address: must be canonical. */
  readonly canonical?: boolean;
  /** Only this vendor has it. */
  readonly vendor?: number;
}

const ALL = -1;
const PHYSICAL_HI: number = (1 << (PHYSICAL_BITS - 32)) - 1;

const PLAIN: ReadonlyMap<number, Plain> = new Map<number, Plain>([
  [0x3a, { at: W.MSR_FEATURE_CONTROL, lo: 0x7, hi: 0, vendor: VENDOR_INTEL }],
  [0x17a, { at: W.MSR_MCG_STATUS, lo: 7, hi: 0 }],
  [0x174, { at: A.MSR_SYSENTER_CS, lo: ALL, hi: ALL }],
  [0x175, { at: A.MSR_SYSENTER_ESP, lo: ALL, hi: ALL, canonical: true }],
  [0x176, { at: A.MSR_SYSENTER_EIP, lo: ALL, hi: ALL, canonical: true }],
  [0x1a0, { at: A.MSR_MISC_ENABLE, lo: ALL, hi: ALL, vendor: VENDOR_INTEL }],
  [0x1d9, { at: W.MSR_DEBUGCTL, lo: 0, hi: 0 }],
  [0xc0000081, { at: A.MSR_STAR, lo: ALL, hi: ALL }],
  [0xc0000082, { at: A.MSR_LSTAR, lo: ALL, hi: ALL, canonical: true }],
  [0xc0000083, { at: A.MSR_CSTAR, lo: ALL, hi: ALL, canonical: true }],
  [0xc0000084, { at: A.MSR_FMASK, lo: ALL, hi: 0 }],
  [0xc0000102, { at: A.MSR_KERNEL_GS_BASE, lo: ALL, hi: ALL, canonical: true }],
  [0xc0000103, { at: A.MSR_TSC_AUX, lo: ALL, hi: 0 }],
  [0xc0010010, { at: W.MSR_SYSCFG, lo: ALL, hi: ALL, vendor: VENDOR_AMD }],
  [0xc0010015, { at: W.MSR_HWCR, lo: ALL, hi: ALL, vendor: VENDOR_AMD }],
  [0xc0011029, { at: W.MSR_DE_CFG, lo: ALL, hi: ALL, vendor: VENDOR_AMD }],
]);

/** MSRs that read as a constant and cannot be written, by vendor. */
function constant(core: Core, msr: number): number {
  const amd = cpuModel(core).vendor === VENDOR_AMD;
  switch (msr) {
    case 0x17: // IA32_PLATFORM_ID
      return amd ? -1 : 0;
    case 0x8b: // IA32_BIOS_SIGN_ID, PATCH_LEVEL
    case 0x179: // IA32_MCG_CAP: no banks
      return 0;
    case 0xfe: // IA32_MTRRCAP: 8 variable ranges, fixed ranges, write-combining
      return 0x508;
    default:
      return -1;
  }
}

const isCanonicalHi = (hi: number): boolean => (hi << 16) >> 16 === hi;

const FIXED_MTRRS: readonly number[] = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];

/** Arena address of an MTRR's i64, or -1. */
function mtrr(msr: number): number {
  if (msr === 0x2ff) return W.MTRR_DEF_TYPE;
  const variable = msr - 0x200;
  if (variable >= 0 && variable < W.MTRR_VARIABLE_COUNT * 2) return W.MTRR_VARIABLE + variable * 8;
  const fixed = FIXED_MTRRS.indexOf(msr);
  return fixed < 0 ? -1 : W.MTRR_FIXED + fixed * 8;
}

const segmentBase = (msr: number): number =>
  msr === 0xc0000100 ? A.SLOTS + A.S_FSBASE : msr === 0xc0000101 ? A.SLOTS + A.S_GSBASE : -1;

const MSR_ARCH_CAPABILITIES = 0x10a;
const MSR_TSC_ADJUST = 0x3b;
const MSR_TSC_DEADLINE = 0x6e0;
const MSR_APIC_BASE = 0x1b;
const MSR_PAT = 0x277;
const MSR_XSS = 0xda0;

/** Reads an MSR (uint32 number) without intercepts. @returns false: #GP */
export function readMsr(core: Core, msr: number, out: MsrValue): boolean {
  const i = core.i32;
  const load = (at: number): boolean => {
    out.lo = i[at >>> 2]!;
    out.hi = i[(at + 4) >>> 2]!;
    return true;
  };
  const model = cpuModel(core);
  const plain = PLAIN.get(msr);
  if (plain !== undefined) return plain.vendor !== undefined && plain.vendor !== model.vendor ? false : load(plain.at);
  const base = segmentBase(msr);
  if (base >= 0) return load(base);
  const range = mtrr(msr);
  if (range >= 0) return load(range);
  const apic = core.interrupts;
  if (msr >= 0x800 && msr <= 0x8ff) {
    if (!(apic instanceof LocalApic) || !apic.isX2) return false;
    const value = apic.readMsr(msr);
    if (value === -1) return false;
    out.lo = value | 0;
    out.hi = msr === 0x830 ? apic.icrDestination | 0 : 0;
    return true;
  }
  switch (msr) {
    case MSR_TSC: {
      const tsc = readTsc(core);
      out.lo = lowWord(tsc);
      out.hi = highWord(tsc);
      return true;
    }
    case MSR_APIC_BASE:
      return load(A.MSR_APIC_BASE);
    case MSR_TSC_ADJUST:
      return load(A.MSR_TSC_ADJUST);
    case MSR_PAT:
      return load(A.MSR_PAT);
    case MSR_XSS:
      return load(A.MSR_XSS);
    case MSR_EFER_NUMBER:
      return load(A.EFER);
    case MSR_TSC_DEADLINE: {
      const deadline = apic instanceof LocalApic ? apic.tscDeadline : 0;
      out.lo = lowWord(deadline);
      out.hi = highWord(deadline);
      return true;
    }
    case MSR_ARCH_CAPABILITIES:
      if (model.archCapabilities === 0) return false;
      out.lo = model.archCapabilities | 0;
      out.hi = 0;
      return true;
  }
  const value = constant(core, msr);
  if (value < 0) return false;
  out.lo = value;
  out.hi = 0;
  return true;
}

/** Writes an MSR without intercepts. @returns H_OK or H_FAULT (#GP recorded) */
export function writeMsr(core: Core, msr: number, lo: number, hi: number): number {
  const i = core.i32;
  const store = (at: number): number => {
    i[at >>> 2] = lo;
    i[(at + 4) >>> 2] = hi;
    return H_OK;
  };
  const gp = (): number => raise(core, VEC_GP, 0);
  const model = cpuModel(core);
  const plain = PLAIN.get(msr);
  if (plain !== undefined) {
    if (plain.vendor !== undefined && plain.vendor !== model.vendor) return gp();
    if (lo & ~plain.lo || hi & ~plain.hi || (plain.canonical && !isCanonicalHi(hi))) return gp();
    return store(plain.at);
  }
  const base = segmentBase(msr);
  if (base >= 0) return isCanonicalHi(hi) ? store(base) : gp();
  if (mtrr(msr) >= 0) return writeMtrr(core, msr, lo, hi);
  const apic = core.interrupts;
  if (msr >= 0x800 && msr <= 0x8ff) {
    if (!(apic instanceof LocalApic) || !apic.isX2) return gp();
    return apic.writeMsr(msr, lo, hi) ? H_OK : gp();
  }
  switch (msr) {
    case MSR_TSC: {
      const before = core.f64[A.TSC_OFFSET >>> 3]!;
      writeTsc(core, toNumber(lo, hi));
      adjust(core, core.f64[A.TSC_OFFSET >>> 3]! - before);
      return H_OK;
    }
    case MSR_TSC_ADJUST: {
      const old = hiLo(i[A.MSR_TSC_ADJUST >>> 2]!, i[(A.MSR_TSC_ADJUST + 4) >>> 2]!);
      core.f64[A.TSC_OFFSET >>> 3]! += hiLo(lo, hi) - old;
      return store(A.MSR_TSC_ADJUST);
    }
    case MSR_APIC_BASE:
      return writeApicBase(core, lo, hi);
    case MSR_PAT:
      return validPat(lo) && validPat(hi) ? store(A.MSR_PAT) : gp();
    case MSR_XSS:
      return lo === 0 && hi === 0 ? store(A.MSR_XSS) : gp();
    case MSR_EFER_NUMBER:
      return writeEfer(core, lo, hi);
    case 0x8b:
    case 0x79:
      // Microcode: the signature is cleared before it is read, updates are refused by their absence.
      return H_OK;
    case MSR_TSC_DEADLINE:
      if (apic instanceof LocalApic) apic.tscDeadline = toNumber(lo, hi);
      return H_OK;
    default:
      return gp();
  }
}

/** Signed 64-bit words as a number. */
const hiLo = (lo: number, hi: number): number => hi * 0x100000000 + (lo >>> 0);

function adjust(core: Core, delta: number): void {
  const i = core.i32;
  const at = A.MSR_TSC_ADJUST >>> 2;
  const sum = hiLo(i[at]!, i[at + 1]!) + delta;
  i[at] = (sum % 0x100000000) | 0;
  i[at + 1] = Math.floor(sum / 0x100000000) | 0;
}

/** Every byte of a PAT half is a memory type: 0, 1, 4..7. */
function validPat(word: number): boolean {
  for (let k = 0; k < 4; k++) {
    const type = (word >>> (k * 8)) & 0xff;
    if (type > 7 || type === 2 || type === 3) return false;
  }
  return true;
}

function validMtrrTypes(word: number): boolean {
  for (let k = 0; k < 4; k++) {
    const type = (word >>> (k * 8)) & 0xff;
    if (type > 6 || type === 2 || type === 3) return false;
  }
  return true;
}

function writeMtrr(core: Core, msr: number, lo: number, hi: number): number {
  const at = mtrr(msr);
  let ok: boolean;
  if (msr === 0x2ff) ok = hi === 0 && !(lo & ~0xcff) && validMtrrTypes(lo & 0xff);
  else if (msr < 0x210) {
    const mask = (msr & 1) !== 0;
    ok = !(hi & ~PHYSICAL_HI) && (mask ? !(lo & 0x7ff) : !(lo & 0xf00) && validMtrrTypes(lo & 0xff));
  } else ok = validMtrrTypes(lo) && validMtrrTypes(hi);
  if (!ok) return raise(core, VEC_GP, 0);
  core.i32[at >>> 2] = lo;
  core.i32[(at + 4) >>> 2] = hi;
  return H_OK;
}

/** SDM 11.12.5: allowed changes of mode; the BSP bit is read-only. */
function writeApicBase(core: Core, lo: number, hi: number): number {
  const i = core.i32;
  const old = i[A.MSR_APIC_BASE >>> 2]!;
  const was = old & (APIC_BASE_ENABLE | APIC_BASE_X2);
  const now = lo & (APIC_BASE_ENABLE | APIC_BASE_X2);
  if (hi & ~PHYSICAL_HI || lo & 0x2ff) return raise(core, VEC_GP, 0);
  if (now === APIC_BASE_X2) return raise(core, VEC_GP, 0);
  if (was === (APIC_BASE_ENABLE | APIC_BASE_X2) && now === APIC_BASE_ENABLE) return raise(core, VEC_GP, 0);
  if (was === 0 && now & APIC_BASE_X2) return raise(core, VEC_GP, 0);
  i[A.MSR_APIC_BASE >>> 2] = (lo & ~APIC_BASE_BSP) | (old & APIC_BASE_BSP);
  i[(A.MSR_APIC_BASE + 4) >>> 2] = hi;
  if (now === 0 && was !== 0 && core.interrupts instanceof LocalApic) core.interrupts.reset();
  return H_OK;
}

// ---- the instructions ---------------------------------------------------------------------------------------------------

/** True if the bitmap (SDM 25.6.9) has the MSR's bit set, or does not cover it. */
function bitmapIntercepts(core: Core, msr: number, write: boolean): boolean {
  if (!intercepts(core, INTERCEPT_MSR)) return false;
  const bitmap = core.controls.msrBitmap;
  if (bitmap === null) return true;
  const base = write ? 0x800 : 0;
  if (msr < 0x2000) return (bitmap[base + (msr >>> 3)]! & (1 << (msr & 7))) !== 0;
  const high = msr - 0xc0000000;
  if (high < 0 || high >= 0x2000) return true;
  return (bitmap[base + 0x400 + (high >>> 3)]! & (1 << (high & 7))) !== 0;
}

const value = new MsrValue();

export function rdmsr(core: Core, length: number): number {
  const msr = core.u32[(A.SLOTS + A.S_RCX) >>> 2]!;
  if (bitmapIntercepts(core, msr, false)) return exitAt(core, EXIT_RDMSR, length, msr | 0);
  if (!readMsr(core, msr, value)) return raise(core, VEC_GP, 0);
  setEdxEax(core, value.lo, value.hi);
  return H_OK;
}

export function wrmsr(core: Core, length: number): number {
  const i = core.i32;
  const msr = core.u32[(A.SLOTS + A.S_RCX) >>> 2]!;
  if (bitmapIntercepts(core, msr, true)) return exitAt(core, EXIT_WRMSR, length, msr | 0);
  return writeMsr(core, msr, i[(A.SLOTS + A.S_RAX) >>> 2]!, i[(A.SLOTS + A.S_RDX) >>> 2]!);
}

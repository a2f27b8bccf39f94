/** Bits of the control registers and of EFER (SDM 2.5, APM 3.1), and a few accessors of registers in the arena. */
import { CR0, CR4, EFER, MODE, RIP, S_RSP, SLOTS } from "../arena.ts";
import type { Core } from "../core.ts";
import { MODE_64, MODE_CODE_MASK } from "../uops/uop.ts";

export const CR0_PE = 0x1;
export const CR0_MP = 0x2;
export const CR0_EM = 0x4;
export const CR0_TS = 0x8;
export const CR0_ET = 0x10;
export const CR0_NE = 0x20;
export const CR0_WP = 0x10000;
export const CR0_AM = 0x40000;
export const CR0_NW = 0x20000000;
export const CR0_CD = 0x40000000;
export const CR0_PG: number = 0x80000000 | 0;
export const CR0_DEFINED: number = 0xe005003f | 0;

export const CR4_VME = 0x1;
export const CR4_PVI = 0x2;
export const CR4_TSD = 0x4;
export const CR4_DE = 0x8;
export const CR4_PSE = 0x10;
export const CR4_PAE = 0x20;
export const CR4_MCE = 0x40;
export const CR4_PGE = 0x80;
export const CR4_PCE = 0x100;
export const CR4_OSFXSR = 0x200;
export const CR4_OSXMMEXCPT = 0x400;
export const CR4_UMIP = 0x800;
export const CR4_VMXE = 0x2000;
export const CR4_FSGSBASE = 0x10000;
export const CR4_PCIDE = 0x20000;
export const CR4_OSXSAVE = 0x40000;
export const CR4_SMEP = 0x100000;
export const CR4_SMAP = 0x200000;

export const EFER_SCE = 0x1;
export const EFER_LME = 0x100;
export const EFER_LMA = 0x400;
export const EFER_NXE = 0x800;
export const EFER_SVME = 0x1000;

export const cr0 = (core: Core): number => core.i32[CR0 >>> 2]!;
export const cr4 = (core: Core): number => core.i32[CR4 >>> 2]!;
export const isLongMode = (core: Core): boolean => (core.i32[EFER >>> 2]! & EFER_LMA) !== 0;
/** 64-bit code runs (CS.L under EFER.LMA). */
export const is64 = (core: Core): boolean => (core.i32[MODE >>> 2]! & MODE_CODE_MASK) === MODE_64;

export function setRip(core: Core, lo: number, hi: number): void {
  core.i32[RIP >>> 2] = lo;
  core.i32[(RIP + 4) >>> 2] = hi;
}

export function setRsp(core: Core, lo: number, hi: number): void {
  core.i32[(SLOTS + S_RSP) >>> 2] = lo;
  core.i32[(SLOTS + S_RSP + 4) >>> 2] = hi;
}

/** High word of hi:lo + offset, where `sum` is the low word of the sum. */
export const carryInto = (hi: number, sum: number, offset: number): number =>
  (hi + (offset < 0 ? -1 : 0) + (sum >>> 0 < offset >>> 0 ? 1 : 0)) | 0;

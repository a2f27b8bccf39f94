/** Places in the arena of the registers that PV code deals with, as indices of the core's `i32`. Low words; the high word follows. */
import * as A from "../../cpu/arena.ts";

export const RAX: number = (A.SLOTS + A.S_RAX) >>> 2;
export const RCX: number = (A.SLOTS + A.S_RCX) >>> 2;
export const RDX: number = (A.SLOTS + A.S_RDX) >>> 2;
export const RBX: number = (A.SLOTS + A.S_RBX) >>> 2;
export const RSP: number = (A.SLOTS + A.S_RSP) >>> 2;
export const RBP: number = (A.SLOTS + A.S_RBP) >>> 2;
export const RSI: number = (A.SLOTS + A.S_RSI) >>> 2;
export const RDI: number = (A.SLOTS + A.S_RDI) >>> 2;
export const R8: number = (A.SLOTS + A.S_R8) >>> 2;
export const R9: number = R8 + 2;
export const R10: number = R8 + 4;
export const R11: number = R8 + 6;
export const RIP: number = A.RIP >>> 2;
export const RFLAGS: number = A.RFLAGS_SYS >>> 2;
export const GSBASE: number = (A.SLOTS + A.S_GSBASE) >>> 2;
export const FSBASE: number = (A.SLOTS + A.S_FSBASE) >>> 2;
/** The base that SWAPGS would bring: that of the half of the guest that does not run. */
export const OTHER_GSBASE: number = A.MSR_KERNEL_GS_BASE >>> 2;
export const TSC_AUX: number = A.MSR_TSC_AUX >>> 2;
export const CR0: number = A.CR0 >>> 2;
export const CR2: number = A.CR2 >>> 2;
export const CR3: number = A.CR3 >>> 2;
export const CR4: number = A.CR4 >>> 2;

export const SEG_ES = 0;
export const SEG_CS = 1;
export const SEG_SS = 2;
export const SEG_DS = 3;
export const SEG_FS = 4;
export const SEG_GS = 5;
export const CS: number = (A.SEG + SEG_CS * A.SEG_STRIDE) >>> 2;
export const SS: number = (A.SEG + SEG_SS * A.SEG_STRIDE) >>> 2;
/** Base of CS outside 64-bit mode. */
export const CS_BASE: number = (A.SLOTS + A.S_CSBASE) >>> 2;
export const CS_ATTR: number = CS + (A.SEG_ATTR >>> 2);
export const SS_ATTR: number = SS + (A.SEG_ATTR >>> 2);

/** Bases of segments as `i32` index. */
export const baseAt = (seg: number): number => (A.SLOTS + A.S_SEGBASE + seg * 8) >>> 2;

/** Selector registers as `i32` index: its low half is the selector. */
export const selectorAt = (seg: number): number => (A.SEG + seg * A.SEG_STRIDE) >>> 2;

/** Flat segments of Xen's part of the GDT, in the format of segcheck.ts: 64-bit and 32-bit code and data, DPL 3 and 1, accessed. */
export const CODE64_R3 = 0xa0fb;
export const CODE32_R3 = 0xc0fb;
export const DATA_R3 = 0xc0f3;
export const CODE32_R1 = 0xc0bb;
export const DATA_R1 = 0xc0b3;
/** FLAT_RING3_CS64, FLAT_RING3_CS32 and FLAT_RING3_SS64 (public/arch-x86/xen-x86_64.h). */
export const FLAT_CS64 = 0xe033;
export const FLAT_CS32 = 0xe023;
export const FLAT_SS64 = 0xe02b;
/** What a 32-bit guest has there (public/arch-x86/xen-x86_32.h): kernel in ring 1, user in ring 3. */
export const FLAT_COMPAT_KERNEL_CS = 0xe019;
export const FLAT_COMPAT_KERNEL_SS = 0xe021;
export const FLAT_COMPAT_USER_CS = 0xe02b;
export const FLAT_COMPAT_USER_SS = 0xe033;

/** Per-core words in the arena that only the system files use: they are saved and switched with the core. */
import { SYSTEM_WORDS } from "../arena.ts";

/** The four PDPTE registers of PAE paging, i64 each. */
export const PDPTES: number = SYSTEM_WORDS;
/** MTRRs: default type, 11 fixed ranges, then 8 base and mask pairs, i64 each. */
export const MTRR_DEF_TYPE: number = SYSTEM_WORDS + 0x20;
export const MTRR_FIXED: number = SYSTEM_WORDS + 0x28;
export const MTRR_VARIABLE: number = SYSTEM_WORDS + 0x80;
export const MTRR_VARIABLE_COUNT = 8;
/** i64: MSRs that only keep their value. */
export const MSR_HWCR: number = SYSTEM_WORDS + 0x100;
export const MSR_SYSCFG: number = SYSTEM_WORDS + 0x108;
export const MSR_DE_CFG: number = SYSTEM_WORDS + 0x110;
export const MSR_FEATURE_CONTROL: number = SYSTEM_WORDS + 0x118;
export const MSR_MCG_STATUS: number = SYSTEM_WORDS + 0x120;
export const MSR_VM_HSAVE_PA: number = SYSTEM_WORDS + 0x128;
export const MSR_MISC_FEATURES: number = SYSTEM_WORDS + 0x130;
export const MSR_DEBUGCTL: number = SYSTEM_WORDS + 0x138;
/** i32: address ranges armed by MONITOR: the guest waits in MWAIT until the next interrupt. */
export const MONITOR_ARMED: number = SYSTEM_WORDS + 0x140;

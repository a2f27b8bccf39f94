/** Which CPUID features (FEATURE_* of decode/instruction.ts) a core has: instructions of all others are undefined. */
import type { Core } from "../core.ts";
import * as I from "../decode/instruction.ts";
import { FEATURE_NAMES } from "../decode/table.ts";
import { type CpuidLeaf, cpuid } from "./cpuid.ts";

type Register = "eax" | "ebx" | "ecx" | "edx";

/** CPUID leaf, subleaf, register and bit of each feature (SDM volume 2, CPUID; APM volume 3, appendix E). */
const BITS: Readonly<Record<number, readonly [leaf: number, subleaf: number, register: Register, bit: number]>> = {
  [I.FEATURE_FPU]: [1, 0, "edx", 0],
  [I.FEATURE_MMX]: [1, 0, "edx", 23],
  [I.FEATURE_SSE]: [1, 0, "edx", 25],
  [I.FEATURE_SSE2]: [1, 0, "edx", 26],
  [I.FEATURE_SSE3]: [1, 0, "ecx", 0],
  [I.FEATURE_SSSE3]: [1, 0, "ecx", 9],
  [I.FEATURE_SSE41]: [1, 0, "ecx", 19],
  [I.FEATURE_SSE42]: [1, 0, "ecx", 20],
  [I.FEATURE_POPCNT]: [1, 0, "ecx", 23],
  [I.FEATURE_LZCNT]: [0x80000001, 0, "ecx", 5],
  [I.FEATURE_BMI1]: [7, 0, "ebx", 3],
  [I.FEATURE_MOVBE]: [1, 0, "ecx", 22],
  [I.FEATURE_CX16]: [1, 0, "ecx", 13],
  [I.FEATURE_FXSR]: [1, 0, "edx", 24],
  [I.FEATURE_XSAVE]: [1, 0, "ecx", 26],
  [I.FEATURE_XSAVEOPT]: [0xd, 1, "eax", 0],
  [I.FEATURE_XSAVEC]: [0xd, 1, "eax", 1],
  [I.FEATURE_XSAVES]: [0xd, 1, "eax", 3],
  [I.FEATURE_FSGSBASE]: [7, 0, "ebx", 0],
  [I.FEATURE_RDTSCP]: [0x80000001, 0, "edx", 27],
  [I.FEATURE_INVPCID]: [7, 0, "ebx", 10],
  [I.FEATURE_SMAP]: [7, 0, "ebx", 20],
  [I.FEATURE_RDRAND]: [1, 0, "ecx", 30],
  [I.FEATURE_RDSEED]: [7, 0, "ebx", 18],
  [I.FEATURE_SYSCALL]: [0x80000001, 0, "edx", 11],
  [I.FEATURE_SEP]: [1, 0, "edx", 11],
  [I.FEATURE_CLFSH]: [1, 0, "edx", 19],
  [I.FEATURE_CLFLUSHOPT]: [7, 0, "ebx", 23],
  [I.FEATURE_CLWB]: [7, 0, "ebx", 24],
  [I.FEATURE_MONITOR]: [1, 0, "ecx", 3],
  [I.FEATURE_AES]: [1, 0, "ecx", 25],
  [I.FEATURE_PCLMULQDQ]: [1, 0, "ecx", 1],
  [I.FEATURE_ADX]: [7, 0, "ebx", 19],
  [I.FEATURE_SHA]: [7, 0, "ebx", 29],
  [I.FEATURE_PKU]: [7, 0, "ecx", 3],
  [I.FEATURE_RDPID]: [7, 0, "ecx", 22],
  [I.FEATURE_CLZERO]: [0x80000008, 0, "ebx", 0],
  [I.FEATURE_SSE4A]: [0x80000001, 0, "ecx", 6],
  [I.FEATURE_SMX]: [1, 0, "ecx", 6],
  [I.FEATURE_PREFETCHW]: [0x80000001, 0, "ecx", 8],
  [I.FEATURE_AVX]: [1, 0, "ecx", 28],
  [I.FEATURE_AVX2]: [7, 0, "ebx", 5],
  [I.FEATURE_FMA]: [1, 0, "ecx", 12],
  [I.FEATURE_F16C]: [1, 0, "ecx", 29],
  [I.FEATURE_BMI2]: [7, 0, "ebx", 8],
};

/**
 * One byte a FEATURE_ number, 1 if the core's model has it. FEATURE_BASE always is there, and so are VMX and SVM: VMCALL and
 * VMMCALL mean something in every guest, and the other instructions decide for themselves.
 */
export function featureSet(core: Core): Uint8Array {
  return Uint8Array.from(FEATURE_NAMES, (_, feature) => {
    const place = BITS[feature];
    if (place === undefined) return 1;
    const [leaf, subleaf, register, bit] = place;
    const answer: CpuidLeaf = cpuid(core, leaf, subleaf);
    return (answer[register] >>> bit) & 1;
  });
}

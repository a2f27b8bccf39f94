/**
 * CPUID: what the models report. A feature bit is set only if its instructions are lifted: the tables below name, for each bit,
 * a mnemonic that must have a meaning. In NONROOT the hypervisor intercepts CPUID and answers from here, filtered
 * (SDM volume 2, CPUID; APM volume 3, appendix E).
 */
import { CR4, MSR_APIC_BASE, XCR0 } from "../arena.ts";
import type { Core } from "../core.ts";
import * as MN from "../decode/mnemonics.ts";
import { XSTATE_AVX, XSTATE_SSE, XSTATE_X87 } from "../fpu/xsave.ts";
import { coreWord } from "../mmu/contexts.ts";
import { PHYSICAL_BITS } from "../mmu/state.ts";
import { LIFTERS } from "../uops/builder.ts";
import { APIC_BASE_ENABLE } from "./apic.ts";
import { CR4_OSXSAVE } from "./bits.ts";
import { type CpuModel, cpuModel, LEVEL_V1, LEVEL_V2, LEVEL_V3, VENDOR_AMD, VENDOR_INTEL } from "./cpu-model.ts";

/**
 * A feature: bit number, the mnemonic it needs (MN_INVALID: none), the level that it comes with (LEVEL_V1 if absent), and the
 * vendors that have it (1 Intel, 2 AMD, 3 both).
 */
type Feature = readonly [bit: number, mnemonic: number, level?: number, vendors?: number];

const LEAF1_EDX: readonly Feature[] = [
  [0, MN.MN_FADD], // FPU
  [2, 0], // DE
  [3, 0], // PSE
  [4, MN.MN_RDTSC],
  [5, MN.MN_RDMSR],
  [6, 0], // PAE
  [7, 0], // MCE
  [8, MN.MN_CMPXCHG8B],
  [9, 0], // APIC
  [11, MN.MN_SYSENTER],
  [12, 0], // MTRR
  [13, 0], // PGE
  [14, 0], // MCA
  [15, MN.MN_CMOVO],
  [16, 0], // PAT
  [17, 0], // PSE36
  [19, MN.MN_CLFLUSH],
  [23, MN.MN_PADDB],
  [24, MN.MN_FXSAVE],
  [25, MN.MN_ADDPS],
  [26, MN.MN_ADDPD],
  [28, 0], // HTT: the processor count in EBX is valid
];
const LEAF1_ECX: readonly Feature[] = [
  [0, MN.MN_ADDSUBPD, LEVEL_V2], // SSE3
  [1, MN.MN_PCLMULQDQ, LEVEL_V3],
  [3, MN.MN_MONITOR],
  [9, MN.MN_PSHUFB, LEVEL_V2], // SSSE3
  [12, MN.mnemonic("VFMADD132PS"), LEVEL_V3],
  [13, MN.MN_CMPXCHG16B, LEVEL_V2],
  [17, MN.MN_INVPCID], // PCID
  [19, MN.MN_BLENDPS, LEVEL_V2], // SSE4.1
  [20, MN.MN_CRC32, LEVEL_V2], // SSE4.2
  [21, 0], // x2APIC
  [22, MN.MN_MOVBE, LEVEL_V3],
  [23, MN.MN_POPCNT, LEVEL_V2],
  [24, 0], // TSC deadline timer
  [25, MN.MN_AESENC, LEVEL_V3],
  [26, MN.MN_XSAVE],
  [28, MN.mnemonic("VADDPS"), LEVEL_V3], // AVX
  [29, MN.mnemonic("VCVTPH2PS"), LEVEL_V3], // F16C
  [30, MN.MN_RDRAND],
];
const LEAF7_EBX: readonly Feature[] = [
  [0, MN.MN_RDFSBASE],
  [1, 0, LEVEL_V1, 1], // TSC_ADJUST
  [3, MN.mnemonic("ANDN"), LEVEL_V3], // BMI1
  [5, MN.mnemonic("VPADDB"), LEVEL_V3], // AVX2
  [7, 0], // SMEP
  [8, MN.mnemonic("MULX"), LEVEL_V3], // BMI2
  [9, MN.MN_MOVS], // ERMS
  [10, MN.MN_INVPCID],
  [18, MN.MN_RDSEED],
  [19, MN.MN_ADCX, LEVEL_V3],
  [20, MN.MN_STAC],
  [23, MN.MN_CLFLUSHOPT],
  [24, MN.MN_CLWB],
  [29, MN.MN_SHA1MSG1, LEVEL_V3],
];
const LEAF7_ECX: readonly Feature[] = [
  [2, 0], // UMIP
  [22, MN.MN_RDPID],
];
const LEAF7_EDX: readonly Feature[] = [
  [4, MN.MN_MOVS], // FSRM
];
const EXT1_EDX: readonly Feature[] = [
  [11, MN.MN_SYSCALL],
  [20, 0], // NX
  [26, 0], // 1 GiB pages
  [27, MN.MN_RDTSCP],
  [29, 0], // long mode
];
const EXT1_ECX: readonly Feature[] = [
  [0, MN.MN_LAHF, LEVEL_V2],
  [4, 0, LEVEL_V1, 2], // LOCK MOV CR0 is MOV CR8
  [5, MN.MN_LZCNT, LEVEL_V3],
  [7, 0, LEVEL_V1, 2], // misaligned SSE mode
  [8, MN.MN_PREFETCHW],
];
/** AVX in leaf 1 ECX. */
const AVX_BIT = 28;
/** Bits of leaf 1 EDX that AMD repeats in leaf 80000001 EDX. */
export const EXT1_COMMON = 0x0183f3ff;

function collect(table: readonly Feature[], model: CpuModel): number {
  let bits = 0;
  for (const [bit, mnemonic, level, vendors] of table) {
    if (mnemonic !== 0 && LIFTERS[mnemonic] === undefined) continue;
    if ((level ?? LEVEL_V1) > model.level) continue;
    if (((vendors ?? 3) & (model.vendor === VENDOR_AMD ? 2 : 1)) === 0) continue;
    bits |= 1 << bit;
  }
  return bits;
}

/** Result of `cpuid`: four uint32 words, reused by the next call. */
export class CpuidLeaf {
  eax = 0;
  ebx = 0;
  ecx = 0;
  edx = 0;
}

const out = new CpuidLeaf();

const word = (text: string, at: number): number => {
  let value = 0;
  for (let k = 0; k < 4; k++) value |= (at + k < text.length ? text.charCodeAt(at + k) : 0) << (k * 8);
  return value;
};

function answer(eax: number, ebx: number, ecx: number, edx: number): CpuidLeaf {
  out.eax = eax >>> 0;
  out.ebx = ebx >>> 0;
  out.ecx = ecx >>> 0;
  out.edx = edx >>> 0;
  return out;
}

/** Highest standard and extended leaves. */
const MAX_LEAF = 0x16;
const MAX_EXTENDED = 0x80000008;
const BRAND_FIRST = 0x80000002;

/**
 * What CPUID answers for `leaf` and `subleaf` (uint32) on `core`. Unknown leaves of a known range are zero.
 *
 * @param model another than the core's own, for a guest that is shown less
 * @param components XSTATE_* that leaf 0D shows
 */
export function cpuid(
  core: Core,
  leaf: number,
  subleaf: number,
  model: CpuModel = cpuModel(core),
  components: number = xfeatures(model),
): CpuidLeaf {
  const v = model.vendor;
  const apicId = core.index;
  const cores = Math.max(1, core.shared.cores.length);
  let at = leaf >>> 0;
  // Beyond the range: Intel answers as for the highest standard leaf, which is zero enough.
  if (at < 0x80000000 ? at > MAX_LEAF : at > MAX_EXTENDED) at = -1;
  switch (at) {
    case 0: {
      const s = model.vendorString;
      return answer(MAX_LEAF, word(s, 0), word(s, 8), word(s, 4));
    }
    case 1: {
      // A local APIC that is switched off is not there (SDM vol. 3, 11.4.3).
      const apic = core.i32[coreWord(core, MSR_APIC_BASE) >>> 2]! & APIC_BASE_ENABLE ? 0 : 1 << 9;
      const osxsave = core.i32[CR4 >>> 2]! & CR4_OSXSAVE ? 1 << 27 : 0;
      const clflush = 8 << 8;
      return answer(
        model.signature,
        (apicId << 24) | (Math.min(cores, 255) << 16) | clflush,
        collect(LEAF1_ECX, model) | osxsave,
        collect(LEAF1_EDX, model) & ~apic & (cores > 1 ? -1 : ~(1 << 28)),
      );
    }
    case 2:
      return v === VENDOR_INTEL ? answer(0x00feff01, 0, 0, 0) : answer(0, 0, 0, 0);
    case 4:
      return v === VENDOR_INTEL ? cache(subleaf) : answer(0, 0, 0, 0);
    case 5:
      return answer(64, 64, 3, 0);
    case 6:
      // ARAT: the APIC timer always runs.
      return answer(4, 0, 0, 0);
    case 7: {
      if (subleaf !== 0) return answer(0, 0, 0, 0);
      const arch = model.archCapabilities !== 0 ? 1 << 29 : 0;
      return answer(0, collect(LEAF7_EBX, model), collect(LEAF7_ECX, model), collect(LEAF7_EDX, model) | arch);
    }
    case 0xb: {
      // Threads of a core: one; cores of the package: all.
      if (subleaf === 0) return answer(0, 1, 0x100, apicId);
      const shift = Math.ceil(Math.log2(cores));
      return subleaf === 1 ? answer(shift, cores, 0x201, apicId) : answer(0, 0, subleaf, apicId);
    }
    case 0xd:
      return xsave(core, components, subleaf);
    case 0x15:
      return v === VENDOR_INTEL ? answer(1, Math.round(model.hz / 25_000_000), 25_000_000, 0) : answer(0, 0, 0, 0);
    case 0x16: {
      const mhz = Math.round(model.hz / 1_000_000);
      return v === VENDOR_INTEL ? answer(mhz, mhz, 100, 0) : answer(0, 0, 0, 0);
    }
    case 0x80000000: {
      const s = v === VENDOR_AMD ? model.vendorString : "";
      return answer(MAX_EXTENDED, word(s, 0), word(s, 8), word(s, 4));
    }
    case 0x80000001: {
      const common = v === VENDOR_AMD ? collect(LEAF1_EDX, model) & EXT1_COMMON : 0;
      const signature = v === VENDOR_AMD ? model.signature : 0;
      return answer(signature, 0, collect(EXT1_ECX, model), collect(EXT1_EDX, model) | common);
    }
    case BRAND_FIRST:
    case BRAND_FIRST + 1:
    case BRAND_FIRST + 2: {
      const from = (at - BRAND_FIRST) * 16;
      const b = model.brand;
      return answer(word(b, from), word(b, from + 4), word(b, from + 8), word(b, from + 12));
    }
    case 0x80000006:
      // L2: 256 KiB, 8-way, 64-byte lines.
      return answer(0, 0, 0x01006040, 0);
    case 0x80000007:
      return answer(0, 0, 0, 1 << 8);
    case 0x80000008:
      return answer(PHYSICAL_BITS | (48 << 8), 0, v === VENDOR_AMD ? cores - 1 : 0, 0);
    default:
      return answer(0, 0, 0, 0);
  }
}

/** Leaf 4: 32 KiB L1 data and code, 256 KiB L2; 64-byte lines, 8 ways. */
function cache(subleaf: number): CpuidLeaf {
  const geometry = (7 << 22) | 63;
  if (subleaf === 0) return answer(0x121, geometry, 63, 0);
  if (subleaf === 1) return answer(0x122, geometry, 63, 0);
  return subleaf === 2 ? answer(0x143, geometry, 511, 0) : answer(0, 0, 0, 0);
}

/** Where the legacy area and header of an XSAVE image end, and what the upper halves of the YMM registers take behind it. */
const XSAVE_LEGACY = 576;
const XSAVE_AVX = 256;

/** The state components that XCR0 may enable (XSTATE_*): the upper halves of the YMM registers come with AVX. */
export function xfeatures(model: CpuModel): number {
  const avx = (collect(LEAF1_ECX, model) >>> AVX_BIT) & 1;
  return XSTATE_X87 | XSTATE_SSE | (avx ? XSTATE_AVX : 0);
}

const imageBytes = (components: number): number => XSAVE_LEGACY + (components & XSTATE_AVX ? XSAVE_AVX : 0);

/** Leaf 0D: sizes of the XSAVE image, and what there is of the family. */
function xsave(core: Core, all: number, subleaf: number): CpuidLeaf {
  const enabled = core.i32[XCR0 >>> 2]!;
  if (subleaf === 0) return answer(all, imageBytes(enabled), imageBytes(all), 0);
  if (subleaf === 1) {
    const has = (mnemonic: number): number => (LIFTERS[mnemonic] === undefined ? 0 : 1);
    // XGETBV tells what is in use in ECX = 1: bit 2.
    const bits = has(MN.MN_XSAVEOPT) | (has(MN.MN_XSAVEC) << 1) | (has(MN.MN_XGETBV) << 2) | (has(MN.MN_XSAVES) << 3);
    return answer(bits, imageBytes(enabled), 0, 0);
  }
  return subleaf === 2 && all & XSTATE_AVX ? answer(XSAVE_AVX, XSAVE_LEGACY, 0, 0) : answer(0, 0, 0, 0);
}

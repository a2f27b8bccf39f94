/** Every feature bit that CPUID reports has a test that proves the feature: the table below names it. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { Arena } from "../../../cpu/arena.ts";
import { Core, CoreGroup } from "../../../cpu/core.ts";
import { CPU_MODELS, setCpuModel, VENDOR_AMD } from "../../../cpu/system/cpu-model.ts";
import { cpuid } from "../../../cpu/system/cpuid.ts";
import { resetCore } from "../../../cpu/system/mode.ts";

const WORDS = [
  [0x1, 0, "ecx"],
  [0x1, 0, "edx"],
  [0x6, 0, "eax"],
  [0x7, 0, "ebx"],
  [0x7, 0, "ecx"],
  [0x7, 0, "edx"],
  [0xd, 1, "eax"],
  [0x80000001, 0, "ecx"],
  [0x80000001, 0, "edx"],
  [0x80000007, 0, "edx"],
  [0x80000008, 0, "ebx"],
] as const;

const HERE = "test/cpu/system/cpuid-instructions.test.ts";
const APIC = "test/cpu/system/apic.test.ts";
const MMU = "test/cpu/mmu/walker.test.ts";

/** "leaf.register.bit": the file of the test, and a part of its title. */
const PROOFS: Readonly<Record<string, readonly [file: string, title: string]>> = {
  "1.ecx.0": [HERE, "SSE3: ADDSUBPD"],
  "1.ecx.1": [HERE, "PCLMULQDQ: 3 times 3 without a carry"],
  "1.ecx.3": [HERE, "MONITOR: it takes an address"],
  "1.ecx.9": [HERE, "SSSE3: PSHUFB"],
  "1.ecx.12": [HERE, "FMA: 3 times 3 plus 3"],
  "1.ecx.13": [HERE, "CX16: CMPXCHG16B"],
  "1.ecx.17": [MMU, "PCIDs keep translations over loads with bit 63 set"],
  "1.ecx.19": [HERE, "SSE4.1: PMULLD"],
  "1.ecx.20": [HERE, "SSE4.2: CRC32"],
  "1.ecx.21": [APIC, "x2APIC: registers by MSR"],
  "1.ecx.22": [HERE, "MOVBE: it turns bytes around"],
  "1.ecx.23": [HERE, "POPCNT: it counts ones"],
  "1.ecx.24": [APIC, "fires at the TSC deadline and then disarms"],
  "1.ecx.25": [HERE, "AES: the last round of zeros"],
  "1.ecx.26": [HERE, "XSAVE: XGETBV"],
  "1.ecx.28": [HERE, "AVX: VADDPS doubles 1"],
  "1.ecx.29": [HERE, "F16C: 1 as a half"],
  "1.ecx.30": [HERE, "RDRAND: it succeeds"],
  "1.edx.0": [HERE, "FPU: FADD"],
  "1.edx.2": [HERE, "DE: DR4 is undefined"],
  "1.edx.3": [MMU, "translates 4 KiB and 4 MiB pages"],
  "1.edx.4": [HERE, "TSC: it counts"],
  "1.edx.5": [HERE, "MSR: RDMSR reads PAT"],
  "1.edx.6": [MMU, "walks from the PDPTE registers"],
  "1.edx.7": [HERE, "MCE: CR4.MCE"],
  "1.edx.8": [HERE, "CX8: CMPXCHG8B"],
  "1.edx.9": [APIC, "counts down once, and periodically"],
  "1.edx.11": [HERE, "SEP: SYSENTER"],
  "1.edx.12": [HERE, "MTRR: the default type"],
  "1.edx.13": [MMU, "a context number per address space: CR3 loads and epochs change it"],
  "1.edx.14": [HERE, "MCA: MCG_CAP"],
  "1.edx.15": [HERE, "CMOV: CMOVE"],
  "1.edx.16": [APIC, "PAT must be made of types"],
  "1.edx.17": ["test/cpu/mmu/pse36.test.ts", "a 4 MiB page lies beyond 4 GiB"],
  "1.edx.19": [HERE, "CLFSH: CLFLUSH"],
  "1.edx.23": [HERE, "MMX: PADDB"],
  "1.edx.24": [HERE, "FXSR: FXSAVE"],
  "1.edx.25": [HERE, "SSE: ADDPS"],
  "1.edx.26": [HERE, "SSE2: ADDPD"],
  "6.eax.2": [APIC, "counts down once, and periodically"],
  "7.ebx.0": [HERE, "FSGSBASE: WRFSBASE"],
  "7.ebx.1": [HERE, "TSC_ADJUST: it is kept"],
  "7.ebx.3": [HERE, "BMI1: ANDN"],
  "7.ebx.5": [HERE, "AVX2: VPBROADCASTB"],
  "7.ebx.7": [MMU, "refuses fetches by NX and SMEP"],
  "7.ebx.8": [HERE, "BMI2: MULX"],
  "7.ebx.9": ["test/cpu/uops/string.test.ts", "fills with any value, up and down, over pages"],
  "7.ebx.10": [HERE, "INVPCID: everything"],
  "7.ebx.18": [HERE, "RDSEED: it succeeds"],
  "7.ebx.19": [HERE, "ADX: ADCX"],
  "7.ebx.20": [MMU, "lets STAC through SMAP"],
  "7.ebx.23": [HERE, "CLFLUSHOPT of a mapped line"],
  "7.ebx.24": [HERE, "CLWB of a mapped line"],
  "7.ebx.29": [HERE, "SHA: SHA1NEXTE rotates"],
  "7.ecx.2": [HERE, "UMIP: SGDT"],
  "7.ecx.22": [HERE, "RDPID: it reads TSC_AUX"],
  "7.edx.4": ["test/cpu/uops/string.test.ts", "retires one instruction a chunk"],
  "7.edx.29": [HERE, "ARCH_CAPABILITIES: RDCL_NO"],
  "d.eax.0": [HERE, "XSAVEOPT: it stores"],
  "d.eax.1": [HERE, "XSAVEC: it stores"],
  "d.eax.2": [HERE, "XGETBV of what is in use"],
  "80000001.ecx.0": [HERE, "LAHF in 64-bit mode"],
  "80000001.ecx.4": [HERE, "AltMovCr8: LOCK"],
  "80000001.ecx.7": [HERE, "MisAlignSse: MXCSR.MM"],
  "80000001.ecx.5": [HERE, "LZCNT: zeros above 1"],
  "80000001.ecx.8": [HERE, "PREFETCHW of a mapped line"],
  "80000001.edx.11": [HERE, "SYSCALL goes where LSTAR says"],
  "80000001.edx.20": [MMU, "refuses fetches by NX and SMEP"],
  "80000001.edx.26": [MMU, "translates 4 KiB, 2 MiB and 1 GiB pages"],
  "80000001.edx.27": [HERE, "RDTSCP: TSC_AUX in ECX"],
  "80000001.edx.29": ["test/cpu/system/exceptions.test.ts", "pushes SS, RSP, RFLAGS, CS, RIP and an error code"],
  "80000007.edx.8": [HERE, "TSC: it counts"],
};

/** Bits of leaf 80000001 EDX that repeat those of leaf 1 EDX on AMD (APM volume 3, E.4.2). */
const REPEATED = 0x0183f3ff;

const root = fileURLToPath(new URL("../../../", import.meta.url));

describe("CPUID", () => {
  it.each(CPU_MODELS)("reports nothing on $name that no test proves", (model) => {
    const core = new Core(new Arena(0x100000), 0, new CoreGroup());
    resetCore(core);
    setCpuModel(core, model);
    const unproven: string[] = [];
    for (const [leaf, subleaf, register] of WORDS) {
      let bits = cpuid(core, leaf, subleaf)[register];
      if (leaf === 0x80000001 && register === "edx" && model.vendor === VENDOR_AMD) bits &= ~REPEATED;
      for (let bit = 0; bit < 32; bit++) {
        const name = `${leaf.toString(16)}.${register}.${bit}`;
        if ((bits >>> bit) & 1 && PROOFS[name] === undefined) unproven.push(name);
      }
    }
    expect(unproven).toEqual([]);
  });

  it.each(Object.entries(PROOFS))("%s has its test", (_name, [file, title]) => {
    const text = readFileSync(`${root}${file}`, "utf8");
    const titles = text.split("\n").filter((line) => /\b(it|test)(\.\w+\([^)]*\))?\(|^ {2}\["|^ {4}"/.test(line));
    expect(titles.some((line) => line.includes(title))).toBe(true);
  });
});

/** What CPUID promises and no other test names: a few instructions each, and what they leave in rAX. */
import { describe, expect, it } from "vitest";
import { CR4 } from "../../../cpu/arena.ts";
import { VEC_GP, VEC_UD } from "../../../cpu/core.ts";
import { FEATURE_LZCNT, FEATURE_MOVBE, FEATURE_SSE42 } from "../../../cpu/decode/instruction.ts";
import { makeReference } from "../../../cpu/reference/evaluator.ts";
import { CR4_UMIP } from "../../../cpu/system/bits.ts";
import { findCpuModel, setCpuModel } from "../../../cpu/system/cpu-model.ts";
import { featureSet } from "../../../cpu/system/features.ts";
import { BareCore, type BareOptions, bytes, CODE, DATA } from "../../support/bare-core.ts";

const bare = new BareCore(makeReference);
const OPTIONS: BareOptions = { cpl: 0, registers: [0n, 0n, 0n, 0n, 0x31000n, 0n, BigInt(DATA)] };

/** Runs kernel code up to the first exception. */
function run(code: string, options: BareOptions = OPTIONS): { vector: number; at: number; rax: number } {
  bare.reset(bytes(code), options);
  const { faults } = bare.runThrough(1000, 1000, () => -1);
  return { vector: faults[0]!.vector, at: faults[0]!.rip - CODE, rax: Number(bare.core.slot(0)) };
}

const TO_0X60 = (code: string): string => {
  const length = code.trim().split(/\s+/).length;
  return `${code} ${"cc ".repeat(0x60 - length)} b8 07 00 00 00`;
};
const ONE = "b8 01 00 00 00";
const OSXSAVE = "0f 20 e0  0d 00 00 04 00  0f 22 e0";
const AVX = `${OSXSAVE}  31 c9  31 d2  b8 07 00 00 00  0f 01 d1`;

/** Title, code (rSI points at zeroed, 4 KiB aligned memory; UD2 is appended), rAX. */
const CASES: readonly (readonly [title: string, code: string, rax: number])[] = [
  ["FPU: FADD doubles 1", "db e3  d9 e8  d8 c0  df 3e  48 8b 06", 2],
  ["TSC: it counts", "0f 31  89 c3  0f 31  39 d8  0f 97 c0  0f b6 c0", 1],
  ["MSR: RDMSR reads PAT", "b9 77 02 00 00  0f 32", 0x70406],
  ["MCE: CR4.MCE can be set", "0f 20 e0  0c 40  0f 22 e0  31 c0  0f 20 e0  83 e0 40", 0x40],
  ["CX8: CMPXCHG8B exchanges equal values", "31 c0  31 d2  bb 09 00 00 00  31 c9  0f c7 0e  8b 06", 9],
  [
    "SEP: SYSENTER goes where the MSRs say",
    TO_0X60(
      `b9 74 01 00 00 b8 10 00 00 00 31 d2 0f 30 b9 75 01 00 00 b8 00 10 03 00 0f 30
       b9 76 01 00 00 b8 60 00 01 00 0f 30 0f 34`,
    ),
    7,
  ],
  ["MTRR: the default type is kept", "b9 ff 02 00 00  b8 06 0c 00 00  31 d2  0f 30  31 c0  0f 32", 0xc06],
  ["MCA: MCG_CAP can be read", `b9 79 01 00 00  0f 32  ${ONE}`, 1],
  ["CMOV: CMOVE moves after an equal comparison", "bb 05 00 00 00  31 c0  0f 44 c3", 5],
  ["CLFSH: CLFLUSH of a mapped line", `0f ae 3e  ${ONE}`, 1],
  ["MMX: PADDB adds bytes", "b8 01 01 01 01  0f 6e c0  0f fc c0  0f 7e c0", 0x02020202],
  ["FXSR: FXSAVE stores MXCSR", "0f ae 06  8b 46 18", 0x1f80],
  ["SSE: ADDPS doubles 1", `${ONE}  f3 0f 2a c0  0f 58 c0  f3 0f 2d c0`, 2],
  ["SSE2: ADDPD doubles 1", `${ONE}  f2 0f 2a c0  66 0f 58 c0  f2 0f 2d c0`, 2],
  ["SSE3: ADDSUBPD subtracts below", `${ONE}  f2 0f 2a c0  b0 03  f2 0f 2a c8  66 0f d0 c8  f2 0f 2d c1`, 2],
  ["MONITOR: it takes an address", `48 89 f0  31 c9  31 d2  0f 01 c8  ${ONE}`, 1],
  ["SSSE3: PSHUFB spreads a byte", "b8 07 00 00 00  66 0f 6e c0  66 0f ef c9  66 0f 38 00 c1  66 0f 7e c0", 0x07070707],
  ["CX16: CMPXCHG16B exchanges equal values", "31 c0  31 d2  bb 09 00 00 00  31 c9  48 0f c7 0e  48 8b 06", 9],
  ["SSE4.1: PMULLD squares 5", "b8 05 00 00 00  66 0f 6e c0  66 0f 38 40 c0  66 0f 7e c0", 25],
  ["SSE4.2: CRC32 of one byte", "31 c0  b3 01  f2 0f 38 f0 c3", 0xf26b8303],
  ["MOVBE: it turns bytes around", "c7 06 01 02 03 04  0f 38 f0 06", 0x01020304],
  ["POPCNT: it counts ones", "b8 ff 00 00 00  f3 0f b8 c0", 8],
  ["XSAVE: XGETBV reads XCR0", `${OSXSAVE}  31 c9  0f 01 d0`, 1],
  ["XSAVEOPT: it stores", `${OSXSAVE}  ${ONE}  31 d2  0f ae 36  ${ONE}`, 1],
  ["XSAVEC: it stores in the compact form", `${OSXSAVE}  ${ONE}  31 d2  0f c7 26  0f b6 86 0f 02 00 00`, 0x80],
  ["XGETBV of what is in use: SSE", `${AVX}  66 0f 6e c0  b1 01  0f 01 d0  83 e0 06`, 2],
  [
    "XGETBV of what is in use: AVX",
    `${AVX}  c4 e3 7d 18 c0 01  66 0f 6e c8  c4 e3 7d 18 c1 01  b1 01  0f 01 d0  83 e0 06`,
    6,
  ],
  ["AVX: VADDPS doubles 1", `${AVX}  ${ONE}  f3 0f 2a c0  c5 fc 58 c0  f3 0f 2d c0`, 2],
  [
    "AVX2: VPBROADCASTB to the upper half",
    `${AVX}  66 0f 6e c0  c4 e2 7d 78 c0  c4 e3 7d 39 c0 01  66 0f 7e c0`,
    0x07070707,
  ],
  ["FMA: 3 times 3 plus 3", `${AVX}  b8 03 00 00 00  f2 0f 2a c0  c4 e2 f9 a9 c0  f2 0f 2d c0`, 12],
  ["F16C: 1 as a half", `${AVX}  ${ONE}  f3 0f 2a c0  c4 e3 79 1d c0 00  66 0f 7e c0`, 0x3c00],
  ["BMI1: ANDN clears bits", "b8 05 00 00 00  bb 07 00 00 00  c4 e2 78 f2 c3", 2],
  ["BMI2: MULX multiplies by EDX", "ba 03 00 00 00  b8 05 00 00 00  c4 e2 7b f6 d8", 15],
  ["RDRAND: it succeeds", "0f c7 f0  0f 92 c0  0f b6 c0", 1],
  ["RDSEED: it succeeds", "0f c7 f8  0f 92 c0  0f b6 c0", 1],
  [
    "FSGSBASE: WRFSBASE and RDFSBASE",
    "0f 20 e0  0d 00 00 01 00  0f 22 e0  b8 34 12 00 00  f3 48 0f ae d0  31 c0  f3 48 0f ae c0",
    0x1234,
  ],
  ["TSC_ADJUST: it is kept", "b9 3b 00 00 00  b8 00 10 00 00  31 d2  0f 30  31 c0  0f 32", 0x1000],
  ["INVPCID: everything", `b8 02 00 00 00  66 0f 38 82 06  ${ONE}`, 1],
  ["PCLMULQDQ: 3 times 3 without a carry", "b8 03 00 00 00  66 0f 6e c0  66 0f 3a 44 c0 00  66 0f 7e c0", 5],
  // SubBytes makes 0x63 of 0.
  ["AES: the last round of zeros", "66 0f ef c0  66 0f 38 dd c0  66 0f 7e c0", 0x63636363],
  [
    "SHA: SHA1NEXTE rotates a word by 30 bits",
    "b8 04 00 00 00  66 0f 6e c0  66 0f 73 f8 0c  66 0f ef c9  0f 38 c8 c1  66 0f 73 d8 0c  66 0f 7e c0",
    1,
  ],
  ["ADX: ADCX adds the carry", "bb 05 00 00 00  31 c0  f9  66 0f 38 f6 c3", 6],
  ["CLFLUSHOPT of a mapped line", `66 0f ae 3e  ${ONE}`, 1],
  ["CLWB of a mapped line", `66 0f ae 36  ${ONE}`, 1],
  ["RDPID: it reads TSC_AUX", "b9 03 01 00 c0  b8 07 00 00 00  31 d2  0f 30  31 c0  f3 0f c7 f8", 7],
  ["RDTSCP: TSC_AUX in ECX", "b9 03 01 00 c0  b8 07 00 00 00  31 d2  0f 30  0f 01 f9  89 c8", 7],
  ["ARCH_CAPABILITIES: RDCL_NO", "b9 0a 01 00 00  0f 32  83 e0 01", 1],
  [
    "SYSCALL goes where LSTAR says",
    TO_0X60(
      `b9 82 00 00 c0 b8 60 00 01 00 31 d2 0f 30 b9 81 00 00 c0 31 c0 ba 10 00 18 00 0f 30
       0f 05`,
    ),
    7,
  ],
  ["LAHF in 64-bit mode", "f9  9f  0f b6 c4", 3],
  ["LZCNT: zeros above 1", `${ONE}  f3 0f bd c0`, 31],
  ["PREFETCHW of a mapped line", `0f 0d 0e  ${ONE}`, 1],
];

describe("a feature that CPUID reports works:", () => {
  it.each(CASES)("%s", (_title, code, rax) => {
    const end = `${code} 0f 0b`.trim().split(/\s+/).length - 2;
    expect(run(`${code} 0f 0b`)).toEqual({ vector: VEC_UD, at: end, rax });
  });

  it("DE: DR4 is undefined under CR4.DE", () => {
    expect(run("0f 20 e0  0c 08  0f 22 e0  0f 21 e3")).toMatchObject({ vector: VEC_UD, at: 8 });
  });

  it("UMIP: SGDT is #GP in user mode", () => {
    bare.reset(bytes("0f 01 06"), { registers: OPTIONS.registers! });
    bare.core.i32[CR4 >>> 2]! |= CR4_UMIP;
    expect(bare.runThrough(10, 10, () => -1).faults[0]!.vector).toBe(VEC_GP);
  });
});

describe("what only AMD's processors have works:", () => {
  const amd = new BareCore(makeReference);
  setCpuModel(amd.core, findCpuModel("amd", "x86-64-v3"));
  const runAmd = (code: string): { vector: number; rax: number } => {
    amd.reset(bytes(code), OPTIONS);
    return { vector: amd.runThrough(1000, 1000, () => -1).faults[0]!.vector, rax: Number(amd.core.slot(0)) };
  };

  it("AltMovCr8: LOCK makes CR8 of CR0", () => {
    expect(runAmd("b8 05 00 00 00  44 0f 22 c0  31 c0  f0 0f 20 c0  0f 0b")).toEqual({ vector: VEC_UD, rax: 5 });
    expect(run("f0 0f 20 c0").vector).toBe(VEC_UD);
  });

  it("MisAlignSse: MXCSR.MM lets ADDPS read anywhere, but no MOVAPS", () => {
    const setMm = "c7 06 80 1f 02 00  0f ae 16";
    expect(runAmd(`${setMm}  0f 58 46 01  b8 03 00 00 00  0f 0b`)).toEqual({ vector: VEC_UD, rax: 3 });
    expect(runAmd(`${setMm}  0f 28 46 01`).vector).toBe(VEC_GP);
    expect(runAmd("0f 58 46 01").vector).toBe(VEC_GP);
    expect(run(setMm).vector).toBe(VEC_GP);
    expect(runAmd("0f ae 06  8b 46 1c  0f 0b").rax).toBe(0x2ffff);
  });

  it("a far pointer of 32 bits, whatever REX.W says", () => {
    const pointer = "c7 06 44 33 22 11  66 c7 46 04 03 00";
    expect(runAmd(`${pointer}  48 0f b5 06  0f 0b`)).toEqual({ vector: VEC_UD, rax: 0x11223344 });
  });
});

describe("a feature that CPUID does not report", () => {
  const without = (feature: number): void => {
    bare.engine.blocks.features = featureSet(bare.core);
    bare.engine.blocks.features[feature] = 0;
  };

  it("makes its instructions undefined", () => {
    without(FEATURE_SSE42);
    expect(run("f2 0f 38 f0 c3 0f 0b")).toMatchObject({ vector: VEC_UD, at: 0 });
    without(FEATURE_MOVBE);
    expect(run("0f 38 f0 06 0f 0b")).toMatchObject({ vector: VEC_UD, at: 0 });
    bare.engine.blocks.features = null;
  });

  it("leaves LZCNT to be BSR, whose prefix means nothing", () => {
    without(FEATURE_LZCNT);
    expect(run("b8 10 00 00 00 f3 0f bd c0 0f 0b")).toEqual({ vector: VEC_UD, at: 9, rax: 4 });
    bare.engine.blocks.features = null;
  });
});

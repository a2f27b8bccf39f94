/**
 * Instructions that vectors of 64-bit user mode can't show: those of the system, and those that 64-bit mode left out. A few
 * instructions each, and what they leave in rAX.
 */
import { describe, expect, it } from "vitest";
import { VEC_GP, VEC_OF, VEC_UD } from "../../../cpu/core.ts";
import { BareCore, type BareOptions, bytes, DATA } from "../../support/bare-core.ts";

const bare = new BareCore();

/** Runs `code` up to the first exception. */
function run(code: string, options: BareOptions): { vector: number; rax: number } {
  bare.reset(bytes(code), {
    ...options,
    registers: [0n, 0n, 0n, 0n, options.bits === 16 ? 0x1000n : 0x31000n, 0n, BigInt(options.bits === 16 ? 0 : DATA)],
  });
  const { faults } = bare.runThrough(1000, 1000, () => -1);
  return { vector: faults[0]!.vector, rax: Number(bare.core.slot(0)) };
}

const OSXSAVE = "0f 20 e0  0d 00 00 04 00  0f 22 e0";
/** 1.0 in ST0, saved by `save`, lost, restored by `restore`, and stored as an integer. */
const saved = (save: string, restore: string): string =>
  `${OSXSAVE}  db e3  d9 e8  b8 01 00 00 00  31 d2  ${save}  db e3  ${restore}  df 3e  48 8b 06`;

describe("in supervisor mode", () => {
  it.each([
    ["SLDT stores the null selector after reset", "b8 ff ff ff ff  0f 00 c0", 0],
    ["STR stores the null selector after reset", "b8 ff ff ff ff  0f 00 c8", 0],
    ["SGDT stores what LGDT loaded", "66 c7 06 27 00  0f 01 16  66 c7 06 00 00  0f 01 06  0f b7 06", 0x27],
    ["SIDT stores what LIDT loaded", "66 c7 06 37 00  0f 01 1e  66 c7 06 00 00  0f 01 0e  0f b7 06", 0x37],
    ["SMSW stores CR0", "0f 01 e0", 0x80010033],
    ["CPUID names the vendor", "31 c0  0f a2  89 d8", 0x756e6547],
    [
      "SYSRET goes to user mode with the selector of STAR",
      "b9 81 00 00 c0 31 c0 ba 10 00 18 00 0f 30  48 8d 0d 0a 00 00 00  49 c7 c3 02 00 00 00  48 0f 07  31 c0 8c c8",
      0x2b,
    ],
    [
      "SYSEXIT goes to user mode with the selector after SYSENTER_CS",
      "b9 74 01 00 00 b8 10 00 00 00 31 d2 0f 30  48 8d 15 03 00 00 00  48 0f 35  31 c0 8c c8",
      0x33,
    ],
    ["XSAVE and XRSTOR keep ST0", saved("0f ae 26", "0f ae 2e"), 1],
    ["XSAVE64 and XRSTOR64 keep ST0", saved("48 0f ae 26", "48 0f ae 2e"), 1],
    ["XSAVEOPT64 and XRSTOR64 keep ST0", saved("48 0f ae 36", "48 0f ae 2e"), 1],
    ["XSAVEC64 and XRSTOR64 keep ST0", saved("48 0f c7 26", "48 0f ae 2e"), 1],
  ] as const)("%s", (_title, code, rax) => {
    expect(run(`${code} 0f 0b`, { cpl: 0 })).toEqual({ vector: VEC_UD, rax });
  });
});

describe("in user mode", () => {
  it("RDPMC is #GP without CR4.PCE", () => {
    expect(run("0f 33", { cpl: 3 }).vector).toBe(VEC_GP);
  });
  it("MWAIT is undefined", () => {
    expect(run("0f 01 c9", { cpl: 3 }).vector).toBe(VEC_UD);
  });
});

describe("in real-address mode", () => {
  const pop = (code: string, read: string): string => `b8 34 12  50  ${code}  31 c0  ${read}`;
  const load = (code: string, read: string): string =>
    `c7 06 00 00 78 56  c7 06 02 00 34 12  ${code} 1e 00 00  ${read}  81 fb 78 56  74 02  31 c0`;
  it.each([
    ["POP ES", pop("07", "8c c0"), 0x1234],
    ["POP SS", pop("17", "8c d0"), 0x1234],
    ["POP DS", pop("1f", "8c d8"), 0x1234],
    ["LES loads ES and the offset", load("c4", "8c c0"), 0x1234],
    ["LDS loads DS and the offset", load("c5", "8c d8"), 0x1234],
    ["CALLF to a pointer, and RETF", "9a 07 00 00 10  0f 0b  b8 05 00  5b  53  cb", 5],
    ["JMPF to a pointer", "ea 07 00 00 10  0f 0b  b8 05 00", 5],
  ] as const)("%s", (_title, code, rax) => {
    expect(run(`${code} 0f 0b`, { bits: 16 })).toEqual({ vector: VEC_UD, rax });
  });
  it("INTO is #OF after an overflow, and nothing else", () => {
    expect(run("b0 7f  04 01  ce  0f 0b", { bits: 16 }).vector).toBe(VEC_OF);
    expect(run("b0 7e  04 01  ce  0f 0b", { bits: 16 }).vector).toBe(VEC_UD);
  });
});

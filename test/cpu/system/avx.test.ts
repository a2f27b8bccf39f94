/** AVX as an operating system sees it: when it is there, state images, and faults in the middle of an access. */
import { describe, expect, it } from "vitest";
import * as A from "../../../cpu/arena.ts";
import { VEC_GP, VEC_NM, VEC_PF, VEC_UD } from "../../../cpu/core.ts";
import { FEATURE_AVX } from "../../../cpu/decode/instruction.ts";
import { FLAG_VM } from "../../../cpu/flags.ts";
import { makeReference } from "../../../cpu/reference/evaluator.ts";
import { makeInterpreter } from "../../../cpu/run.ts";
import * as B from "../../../cpu/system/bits.ts";
import { updateMode } from "../../../cpu/system/mode.ts";
import { BareCore, type BareOptions, bytes, CODE, DATA, PAGE_UNMAPPED } from "../../support/bare-core.ts";

const VADDPS = "c5 f4 58 c2";
const ANDN = "c4 e2 78 f2 c3";
const UD2 = "0f 0b";
/** Address of the end of the last page before one that is not mapped. */
const EDGE = DATA + PAGE_UNMAPPED * 0x1000;

describe.each([
  ["interpreter", makeInterpreter],
  ["reference", makeReference],
] as const)("on the %s", (_name, makeRunner) => {
  const bare = new BareCore(makeRunner);
  const { core } = bare;

  /** Vector and offset of the first exception of `code`. */
  function first(code: string, options: BareOptions, change: () => void = () => {}): readonly [number, number] {
    bare.reset(bytes(`${code} ${UD2}`), options);
    change();
    updateMode(core);
    const { faults } = bare.runThrough(1000, 1000, () => -1);
    return [faults[0]!.vector, faults[0]!.rip - (options.bits === 16 ? 0 : CODE)];
  }
  const ran = (code: string): readonly [number, number] => [VEC_UD, code.split(" ").length];

  const setVector = (n: number, words: readonly number[]): void =>
    words.forEach((word, k) => {
      core.i32[((A.XMM + n * A.XMM_STRIDE) >>> 2) + k] = word;
    });
  const vector = (n: number): number[] => {
    const at = (A.XMM + n * A.XMM_STRIDE) >>> 2;
    return Array.from(core.i32.subarray(at, at + 4));
  };
  const dataWord = (offset: number): number => core.i32[(core.arena.ram + DATA + offset) >>> 2]!;
  const setData = (offset: number, word: number): void => {
    core.i32[(core.arena.ram + DATA + offset) >>> 2] = word;
  };

  it("AVX needs CR4.OSXSAVE, and SSE and AVX in XCR0", () => {
    expect(first(VADDPS, { avx: true })).toEqual(ran(VADDPS));
    expect(first(VADDPS, {})).toEqual([VEC_UD, 0]);
    for (const xcr0 of [1, 3, 5])
      expect(first(VADDPS, { avx: true }, () => (core.i32[A.XCR0 >>> 2] = xcr0))).toEqual([VEC_UD, 0]);
    expect(first(VADDPS, { avx: true }, () => (core.i32[A.CR4 >>> 2]! &= ~B.CR4_OSXSAVE))).toEqual([VEC_UD, 0]);
  });

  it("CR0.TS makes it #NM, behind #UD; CR0.EM and CR4.OSFXSR don't matter", () => {
    const ts = (): void => void (core.i32[A.CR0 >>> 2]! |= B.CR0_TS);
    expect(first(VADDPS, { avx: true }, ts)).toEqual([VEC_NM, 0]);
    expect(first(VADDPS, {}, ts)).toEqual([VEC_UD, 0]);
    expect(
      first(VADDPS, { avx: true }, () => {
        core.i32[A.CR0 >>> 2]! |= B.CR0_EM;
        core.i32[A.CR4 >>> 2]! &= ~B.CR4_OSFXSR;
      }),
    ).toEqual(ran(VADDPS));
  });

  it("BMI needs none of that, but protected mode as AVX does", () => {
    expect(first(ANDN, {})).toEqual(ran(ANDN));
    expect(first(ANDN, { bits: 32 }, () => (core.i32[A.CR0 >>> 2]! |= B.CR0_TS))).toEqual(ran(ANDN));
    for (const code of [ANDN, VADDPS]) {
      expect(first(code, { bits: 16, avx: true })).toEqual([VEC_UD, 0]);
      const virtual = (): void => void (core.i32[A.RFLAGS_SYS >>> 2]! |= FLAG_VM);
      expect(first(code, { bits: 32, avx: true }, virtual)).toEqual([VEC_UD, 0]);
      expect(first(code, { bits: 32, avx: true })).toEqual(ran(code));
    }
  });

  it("SSE keeps upper halves, the VEX form clears them, in 32-bit code VZEROALL clears eight registers", () => {
    const fill = (): void => {
      for (let n = 0; n < 16; n++) setVector(n + A.YMM_UPPER, [1, 2, 3, 4]);
    };
    first("0f 58 c1", { avx: true }, fill);
    expect(vector(A.YMM_UPPER)).toEqual([1, 2, 3, 4]);
    first("c5 f8 58 c1", { avx: true }, fill);
    expect(vector(A.YMM_UPPER)).toEqual([0, 0, 0, 0]);
    first("c5 fc 77", { avx: true, bits: 32 }, fill);
    expect([vector(A.YMM_UPPER + 7), vector(A.YMM_UPPER + 8)]).toEqual([
      [0, 0, 0, 0],
      [1, 2, 3, 4],
    ]);
  });

  const RSI = 6;
  const at = (address: number, more: Readonly<Record<number, bigint>> = {}): bigint[] =>
    Array.from({ length: 16 }, (_, n) => (n === RSI ? BigInt(address) : (more[n] ?? 0n)));

  it("XSAVE leaves out what is in its initial configuration, XRSTOR brings it back", () => {
    const registers = at(DATA, { 0: 7n });
    const save = "0f ae 26";
    first(save, { avx: true, cpl: 0, registers }, () => setVector(A.YMM_UPPER + 3, [5, 6, 7, 8]));
    // After a reset the x87 control word is not the initial one.
    expect(dataWord(512) & 6).toBe(4);
    expect([0, 4, 8, 12].map((k) => dataWord(576 + 48 + k))).toEqual([5, 6, 7, 8]);
    // Saved, cleared and restored; then restored from an image without the component.
    const clear = "c5 f8 77";
    first(`${save} ${clear} 0f ae 2e`, { avx: true, cpl: 0, registers }, () =>
      setVector(A.YMM_UPPER + 3, [5, 6, 7, 8]),
    );
    expect(vector(A.YMM_UPPER + 3)).toEqual([5, 6, 7, 8]);
    first("0f ae 2e", { avx: true, cpl: 0, registers }, () => setVector(A.YMM_UPPER + 3, [5, 6, 7, 8]));
    expect(vector(A.YMM_UPPER + 3)).toEqual([0, 0, 0, 0]);
  });

  it("XSAVEOPT and XSAVEC don't write what is in its initial configuration; XSAVEC says what it has room for", () => {
    const registers = at(DATA, { 0: 7n });
    const mark = (): void => setData(576, 0x1234);
    for (const code of ["0f ae 36", "0f c7 26"]) {
      first(code, { avx: true, cpl: 0, registers }, mark);
      expect(dataWord(576)).toBe(0x1234);
    }
    expect([dataWord(520), dataWord(524) >>> 0]).toEqual([7, 0x80000000]);
    first("0f ae 26", { avx: true, cpl: 0, registers }, mark);
    expect(dataWord(576)).toBe(0);
  });

  it("XRSTOR refuses components that XCR0 has not, and XSETBV AVX without SSE", () => {
    first("0f ae 2e", { avx: true, cpl: 0, registers: at(DATA, { 0: 7n }) });
    expect(first("0f ae 2e", { avx: true, cpl: 0, registers: at(DATA, { 0: 7n }) }, () => setData(512, 8))).toEqual([
      VEC_GP,
      0,
    ]);
    for (const [value, vector] of [
      [5, VEC_GP],
      [15, VEC_GP],
      [6, VEC_GP],
      [7, VEC_UD],
    ] as const)
      expect(first("0f 01 d1", { avx: true, cpl: 0, registers: at(DATA, { 0: BigInt(value) }) })[0]).toBe(vector);
  });

  it("an access of 32 bytes that crosses into a page that is not there does nothing", () => {
    const registers = at(EDGE - 16);
    const fill = (): void => {
      setVector(0, [1, 2, 3, 4]);
      setVector(A.YMM_UPPER, [5, 6, 7, 8]);
    };
    expect(first("c5 fc 11 06", { avx: true, registers }, fill)).toEqual([VEC_PF, 0]);
    expect(dataWord(EDGE - DATA - 16)).toBe(0);
    expect(first("c5 fc 10 06", { avx: true, registers }, fill)).toEqual([VEC_PF, 0]);
    expect(vector(0)).toEqual([1, 2, 3, 4]);
    // Aligned to 16 bytes, but not to 32.
    expect(first("c5 fc 29 06", { avx: true, registers: at(DATA + 16) }, fill)).toEqual([VEC_GP, 0]);
    expect(first("c5 f8 29 06", { avx: true, registers: at(DATA + 16) }, fill)).toEqual([VEC_UD, 4]);
  });

  it("masked moves touch no page for elements that the mask leaves out, and store nothing if one faults", () => {
    const registers = at(EDGE - 16);
    const masked = (upper: number) => (): void => {
      setVector(0, [1, 2, 3, 4]);
      setVector(1, [-1, -1, -1, -1]);
      setVector(A.YMM_UPPER + 1, [upper, 0, 0, 0]);
    };
    const store = "c4 e2 75 2e 06";
    expect(first(store, { avx: true, registers }, masked(-1))).toEqual([VEC_PF, 0]);
    expect(dataWord(EDGE - DATA - 16)).toBe(0);
    expect(first(store, { avx: true, registers }, masked(0))).toEqual([VEC_UD, 5]);
    expect(dataWord(EDGE - DATA - 16)).toBe(1);
    expect(first("c4 e2 75 2c 16", { avx: true, registers }, masked(0))).toEqual([VEC_UD, 5]);
    expect(first("c4 e2 75 2c 16", { avx: true, registers }, masked(-1))).toEqual([VEC_PF, 0]);
  });

  it("a gather that faults keeps the elements before, and their mask is clear", () => {
    // vpgatherdd xmm0, [rsi + xmm2 * 4], xmm1
    const gather = "c4 e2 71 90 04 96";
    const result = first(gather, { avx: true, registers: at(EDGE - 8) }, () => {
      setData(EDGE - DATA - 8, 11);
      setData(EDGE - DATA - 4, 22);
      setVector(0, [91, 92, 93, 94]);
      setVector(1, [-1, -1, -1, -1]);
      setVector(2, [1, 0, 2, 0]);
    });
    expect(result).toEqual([VEC_PF, 0]);
    expect(vector(0)).toEqual([22, 11, 93, 94]);
    expect(vector(1)).toEqual([0, 0, -1, -1]);
  });
});

it("a model without AVX has no VEX-encoded vectors, nor those of AES", () => {
  const bare = new BareCore(makeReference);
  const features = new Uint8Array(64).fill(1);
  features[FEATURE_AVX] = 0;
  for (const code of [VADDPS, "c4 e2 71 dc c2"]) {
    bare.reset(bytes(`${code} ${UD2}`), { avx: true });
    bare.engine.blocks.features = features;
    expect(bare.runThrough(1000, 1000, () => -1).faults[0]).toMatchObject({ vector: VEC_UD, rip: CODE });
  }
});

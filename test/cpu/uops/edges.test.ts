/** Edges that random vectors found against a real processor. */
import { describe, expect, it } from "vitest";
import { VEC_GP, VEC_PF, VEC_SS, VEC_UD } from "../../../cpu/core.ts";
import { makeReference } from "../../../cpu/reference/evaluator.ts";
import { findCpuModel, setCpuModel } from "../../../cpu/system/cpu-model.ts";
import { BareCore, bytes, CODE } from "../../support/bare-core.ts";

/** Runs code up to its first exception; rCX is 5. */
function run(code: string, registers: Partial<Record<number, bigint>> = {}, cpu: "intel" | "amd" = "intel") {
  const bare = new BareCore(makeReference);
  setCpuModel(bare.core, findCpuModel(cpu, "x86-64-v3"));
  const values = Array.from({ length: 16 }, (_, n) => registers[n] ?? (n === 1 ? 5n : 0n));
  bare.reset(bytes(code), { registers: values });
  const { vector, rip } = bare.runThrough(100, 100, () => -1).faults[0]!;
  return { vector, at: rip - CODE };
}

describe("a repeat prefix on LOOPE and LOOPNE", () => {
  // xor eax, eax (ZF = 1); F2 LOOPE +2; UD2; UD2
  const code = "31 c0  f2 e1 02  0f 0b  0f 0b";
  it("is the condition on AMD", () => expect(run(code, {}, "amd")).toEqual({ vector: VEC_UD, at: 5 }));
  it("means nothing on Intel", () => expect(run(code)).toEqual({ vector: VEC_UD, at: 7 }));
  // xor eax, eax; F3 LOOPNE +2
  it("works the other way round", () =>
    expect(run("31 c0  f3 e0 02  0f 0b  0f 0b", {}, "amd")).toEqual({ vector: VEC_UD, at: 7 }));
});

describe("an operand that leaves the canonical addresses", () => {
  const LAST = 0x7ffffffffff8n;
  it("is #SS by way of rBP though its first half is not mapped", () =>
    expect(run("0f 10 45 00", { 5: LAST })).toEqual({ vector: VEC_SS, at: 0 }));
  it("is #GP by way of rAX", () => expect(run("0f 11 00", { 0: LAST })).toEqual({ vector: VEC_GP, at: 0 }));
  it("is #GP in a string of dwords", () =>
    expect(run("f3 a7", { 6: LAST + 6n, 7: 0x20000n })).toEqual({ vector: VEC_GP, at: 0 }));
});

describe("MOVSXD with an operand-size prefix at the last two bytes before the non-canonical addresses", () => {
  // 66 MOVSXD ax, [rax]; UD2. The two bytes themselves are not mapped, so a read of two is #PF.
  const code = "66 63 00  0f 0b";
  it("reads four bytes on AMD", () =>
    expect(run(code, { 0: 0x7ffffffffffen }, "amd")).toEqual({ vector: VEC_GP, at: 0 }));
  it("reads two on Intel", () => expect(run(code, { 0: 0x7ffffffffffen })).toEqual({ vector: VEC_PF, at: 0 }));
});

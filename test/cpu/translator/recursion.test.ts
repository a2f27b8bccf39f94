/** A function that calls itself, directly and through another one that the region holds twice, for each of its callers. */
import { describe, expect, it } from "vitest";
import { makeReference } from "../../../cpu/reference/evaluator.ts";
import type { Translator } from "../../../cpu/translator/translator.ts";
import { BareCore } from "../../support/bare-core.ts";
import { eagerTranslator } from "../../support/eager-translator.ts";

const translators: Translator[] = [];
const reference = new BareCore(makeReference);
const translator = new BareCore(eagerTranslator(translators));

const [F, G] = [0x40, 0x80];
/** CALL at `at` of `to`, offsets in the program. */
function call(at: number, to: number): number[] {
  const distance = to - at - 5;
  return [0xe8, distance & 255, ...new Array<number>(3).fill(distance < 0 ? 0xff : 0)];
}

/** f(n): n == 0 or f(n - 1) twice and g twice; g: f. */
function program(): Uint8Array {
  const code = new Uint8Array(0x100).fill(0x90);
  // mov ecx, 5; call f; jmp back
  code.set([0xb9, 5, 0, 0, 0, ...call(5, F), 0xeb, 0xf4]);
  // push rcx; dec ecx; jz out; ...; out: add edx, ecx; rol edx, 3; pop rcx; ret
  code.set([0x51, 0xff, 0xc9, 0x74, 20], F);
  for (const [n, to] of [F, F, G, G].entries()) code.set(call(F + 5 + 5 * n, to), F + 5 + 5 * n);
  code.set([0x01, 0xca, 0xc1, 0xc2, 3, 0x59, 0xc3], F + 25);
  // add edx, 3; call f; ret
  code.set([0x83, 0xc2, 3, ...call(G + 3, F), 0xc3], G);
  return code;
}

function outcome(bare: BareCore, slice: number): unknown {
  bare.reset(program(), { cpl: 0 });
  return { ...bare.runThrough(40_000, slice, () => -1), state: bare.state() };
}

describe("recursion inside a region", () => {
  it("does what the reference does, in slices of any length", () => {
    for (const slice of [3, 50, 40_000]) expect(outcome(translator, slice)).toEqual(outcome(reference, slice));
    expect(translators[0]!.counts.functions).toBeGreaterThan(1);
  });
});

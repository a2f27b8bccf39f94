/** Flags across a micro-op that calls a helper on its rare way only: what is known of them must hold on both ways. */
import { describe, expect, it } from "vitest";
import { makeReference } from "../../../cpu/reference/evaluator.ts";
import type { Translator } from "../../../cpu/translator/translator.ts";
import { BareCore, bytes, DATA, STACK } from "../../support/bare-core.ts";
import { eagerTranslator } from "../../support/eager-translator.ts";

const translators: Translator[] = [];
const reference = new BareCore(makeReference);
const translator = new BareCore(eagerTranslator(translators));

describe("flags in translated code", () => {
  for (const [name, text] of [
    ["cvtsi2sd", "f2 48 0f 2a c1"],
    ["cvttsd2si", "f2 48 0f 2c d1"],
    ["cmpxchg16b", "f0 48 0f c7 0f"],
  ] as const)
    it(`are those of the comparison before ${name}`, () => {
      // inc r8d; cmp r8d, 30; <instruction>; jl +4; add r9d, 1; jmp back
      const body = bytes(`41 ff c0 41 83 f8 1e ${text} 7c 04 41 83 c1 01`);
      const code = Uint8Array.from([...body, 0xeb, 256 - body.length - 2]);
      const [expected, found] = [reference, translator].map((bare) => {
        bare.reset(code, { registers: [0n, 3n, 0n, 0n, BigInt(STACK), 0n, 0n, BigInt(DATA)] });
        bare.run(600);
        return bare.state().gpr;
      });
      expect(found).toEqual(expected);
      expect(translators[0]!.counts.functions).toBeGreaterThan(0);
    });
});

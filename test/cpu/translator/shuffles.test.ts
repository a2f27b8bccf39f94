/** Shuffles by an immediate, which translations know and the interpreter reads. */
import { describe, expect, it } from "vitest";
import { makeReference } from "../../../cpu/reference/evaluator.ts";
import type { Translator } from "../../../cpu/translator/translator.ts";
import { BareCore } from "../../support/bare-core.ts";
import { eagerTranslator } from "../../support/eager-translator.ts";
import { Random } from "../../support/random.ts";

const translators: Translator[] = [];
const reference = new BareCore(makeReference);
const translator = new BareCore(eagerTranslator(translators));

/** PSHUFD, PSHUFLW, PSHUFHW, SHUFPS, PMULUDQ, PMULHW and PMULHUW of the low registers in a loop, with immediates of `random`. */
function program(random: Random): Uint8Array {
  const code: number[] = [];
  const operands = (): number => 0xc0 | random.below(64);
  for (let n = 0; n < 6; n++) {
    code.push(random.pick([0x66, 0xf2, 0xf3]), 0x0f, 0x70, operands(), random.below(256));
    code.push(0x0f, 0xc6, operands(), random.below(256));
    code.push(0x66, 0x0f, random.pick([0xf4, 0xe4, 0xe5, 0xfe, 0xef]), operands());
  }
  return Uint8Array.from([...code, 0xeb, 256 - code.length - 2]);
}

describe("shuffles in translated code", () => {
  it("do what the reference does", () => {
    const random = new Random(70);
    for (let run = 0; run < 20; run++) {
      const vectors = Uint8Array.from({ length: 256 }, () => random.below(256));
      const code = program(random);
      const [expected, found] = [reference, translator].map((bare) => {
        bare.reset(code, { vectors });
        bare.run(600);
        return bare.state().xmm;
      });
      expect(found).toEqual(expected);
    }
    expect(translators[0]!.counts.functions).toBeGreaterThan(10);
  });
});

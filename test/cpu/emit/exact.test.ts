/** Floating-point operations while MXCSR.PE is clear: the first inexact one sets it, in the interpreter as in the reference, which uses softfloat. */
import { describe, expect, it } from "vitest";
import * as A from "../../../cpu/arena.ts";
import { makeReference } from "../../../cpu/reference/evaluator.ts";
import { makeInterpreter } from "../../../cpu/run.ts";
import { BareCore } from "../../support/bare-core.ts";
import { Random } from "../../support/random.ts";

const interpreter = new BareCore(makeInterpreter);
const reference = new BareCore(makeReference);
const MXCSR = 0x1f80;
const PE = 0x20;

const OPERATIONS = { ADD: 0x58, MUL: 0x59, SUB: 0x5c, DIV: 0x5e, SQRT: 0x51 } as const;
const FORMS = { SD: 0xf2, SS: 0xf3, PD: 0x66, PS: 0 } as const;

/** Low half of xmm0 and MXCSR after `xmm0 = xmm0 op xmm1`. */
function outcome(bare: BareCore, code: Uint8Array, vectors: Uint8Array): string {
  bare.reset(code, { vectors });
  bare.core.i32[A.MXCSR >>> 2] = MXCSR;
  bare.run(1);
  return `${bare.state().xmm[0]} mxcsr ${bare.core.i32[A.MXCSR >>> 2]!.toString(16)}`;
}

/** Operands whose sum, product, quotient or root is often exact, or misses it by a bit. */
function operands(random: Random, operation: keyof typeof OPERATIONS, bits: number): [number, number] {
  // Products of numbers of half the length are exact, most others are not.
  const most = operation === "MUL" && random.below(3) === 0 ? bits : bits >> 1;
  const whole = (): number => random.below(2 ** random.below(most)) * (random.below(2) === 0 ? 1 : -1);
  const scaled = (value: number): number => value * 2 ** (random.below(60) - 30);
  const [a, b] = [whole() || 3, whole() || 5];
  const nudge = random.below(3) === 0 ? 2 ** -random.below(bits) : 0;
  if (operation === "DIV") return [scaled(a * b) + nudge, b];
  if (operation === "SQRT") return [0, Math.abs(a * a * 4 ** (random.below(20) - 10) + nudge)];
  if (random.below(20) === 0) return [scaled(a), random.below(2) === 0 ? 0 : -0];
  return [scaled(a), scaled(b) + nudge];
}

describe("an operation while PE is clear", () => {
  for (const [operation, opcode] of Object.entries(OPERATIONS) as [keyof typeof OPERATIONS, number][])
    it(`${operation} sets PE if it is inexact, and only then`, () => {
      const random = new Random(opcode);
      let exact = 0;
      let inexact = 0;
      for (const [form, prefix] of Object.entries(FORMS)) {
        const code = Uint8Array.from([...(prefix === 0 ? [] : [prefix]), 0x0f, opcode, 0xc1, 0x90]);
        const double = form.endsWith("D");
        for (let n = 0; n < 150; n++) {
          const vectors = new Uint8Array(32);
          const lanes = double ? new Float64Array(vectors.buffer) : new Float32Array(vectors.buffer);
          for (let lane = 0; lane < lanes.length / 2; lane++) {
            const [a, b] = operands(random, operation, double ? 50 : 22);
            lanes[lane] = a;
            lanes[lane + lanes.length / 2] = b;
          }
          const found = outcome(interpreter, code, vectors);
          expect(found, `${operation}${form} ${[...lanes].join(" ")}`).toBe(outcome(reference, code, vectors));
          if (interpreter.core.i32[A.MXCSR >>> 2]! & PE) inexact++;
          else exact++;
        }
      }
      expect(Math.min(exact, inexact)).toBeGreaterThan(60);
    });
});

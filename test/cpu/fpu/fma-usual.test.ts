/** Fused multiply-add in WebAssembly (cpu/emit/fma.ts) against the helpers, which are all that the reference has. */
import { expect, it } from "vitest";
import * as A from "../../../cpu/arena.ts";
import { makeReference } from "../../../cpu/reference/evaluator.ts";
import { makeInterpreter } from "../../../cpu/run.ts";
import { setRip } from "../../../cpu/system/bits.ts";
import { BareCore, CODE } from "../../support/bare-core.ts";
import { Random, randomF32, randomF64 } from "./random.ts";

const reference = new BareCore(makeReference);
const interpreter = new BareCore(makeInterpreter);

/** Every form of ymm0 or xmm0, ymm1, ymm2, and whether it is of doubles; each jumps to itself behind. */
const FORMS = [0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f].flatMap((opcode) =>
  [0, 0x10, 0x20].flatMap((order) =>
    [0x71, 0x75, 0xf1, 0xf5].map((vex) => ({
      double: vex >= 0x80,
      code: [0xc4, 0xe2, vex, opcode + order, 0xc2, 0xeb, 0xfe, 0x90],
    })),
  ),
);

const bits = new DataView(new ArrayBuffer(8));
/** Numbers whose product and addend are near each other, often cancelling, or any. */
function triple(r: Random, double: boolean): bigint[] {
  if (r.below(4) === 0)
    return [0, 1, 2].map(() => (double ? randomF64(r) : (BigInt(randomF32(r)) << 32n) | BigInt(randomF32(r))));
  const short = r.below(2) === 0;
  const value = (): number => (short ? r.below(4096) - 2048 : r.next() / 2 ** 31 - 1 + r.next() / 2 ** 62);
  const lane = (): number[] => {
    const [x, y] = [value() * 2 ** (r.below(40) - 20), value()];
    const z =
      r.below(3) === 0 ? value() * 2 ** (r.below(120) - 60) : -x * y * (1 + (r.below(3) - 1) * 2 ** -r.below(54));
    return [x, y, r.below(2) ? z : -z];
  };
  const [one, other] = [lane(), lane()];
  return [0, 1, 2].map((n) => {
    if (double) bits.setFloat64(0, one[n]!);
    else
      for (const [at, from] of [
        [0, one],
        [4, other],
      ] as const)
        bits.setFloat32(at, from[n]!);
    return bits.getBigUint64(0);
  });
}

function outcome({ core }: BareCore): string {
  const vectors = [0, A.YMM_UPPER].flatMap((n) => [
    core.u64[(A.XMM >>> 3) + n * 2]!,
    core.u64[(A.XMM >>> 3) + n * 2 + 1]!,
  ]);
  return `${vectors.map((x) => x.toString(16))} mxcsr ${core.i32[A.MXCSR >>> 2]!.toString(16)}`;
}

it("fused multiply-add does what the exact code does, to the bit and the flag", () => {
  const r = new Random(231);
  const code = Uint8Array.from(FORMS.flatMap((form) => form.code));
  for (const bare of [reference, interpreter]) bare.reset(code, { avx: true });
  FORMS.forEach(({ double, code: [, , vex, opcode] }, n) => {
    for (let k = 0; k < 40; k++) {
      const words = Array.from({ length: 4 }, () => triple(r, double));
      const mxcsr = r.pick([0x1fa0, 0x1fa0, 0x1fbf, 0x1f80, 0x3fa0, 0x9fa0, 0x1fe0]);
      const [expected, found] = [reference, interpreter].map((bare) => {
        const { u64, i32 } = bare.core;
        words.forEach((operands, word) => {
          const at = (A.XMM >>> 3) + (word & 1) + (word >> 1) * A.YMM_UPPER * 2;
          for (const [register, value] of operands.entries()) u64[at + register * 2] = value;
        });
        i32[A.MXCSR >>> 2] = mxcsr;
        setRip(bare.core, CODE + n * 8, 0);
        bare.run(bare.core.now() + 1);
        return outcome(bare);
      });
      const shown = (): string =>
        `${vex!.toString(16)} ${opcode!.toString(16)} ${words.flat().map((x) => x.toString(16))}`;
      if (found !== expected) expect(found, shown()).toBe(expected);
    }
  });
  expect(FORMS.length).toBe(120);
});

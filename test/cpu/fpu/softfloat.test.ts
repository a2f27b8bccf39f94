// The rounding core by itself: fused multiply-add against the processor, and properties that hold everywhere.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createFloatContext, F32, F64, F80, PE, unpackF32, unpackF64, unpackF80 } from "../../../cpu/fpu/softfloat.ts";
import { add, convert, divide, fusedMultiplyAdd, multiply, squareRoot } from "../../../cpu/fpu/softfloat-arith.ts";
import { hasOracle, MEMORY, MXCSR_AT, newCase, runNative, TRAPPED, XMM0, XMM1 } from "./oracle.ts";
import { Random, randomF64 } from "./random.ts";

const view = new DataView(new ArrayBuffer(8));
function bitsOf(x: number): bigint {
  view.setFloat64(0, x);
  return view.getBigUint64(0);
}
function doubleOf(bits: bigint): number {
  view.setBigUint64(0, bits);
  return view.getFloat64(0);
}
const operand = (x: number) => unpackF64(createFloatContext(), bitsOf(x));

describe("double arithmetic rounded to nearest", () => {
  it("is what JavaScript computes", () => {
    const number = fc.double();
    fc.assert(
      fc.property(number, number, (x, y) => {
        const ctx = createFloatContext();
        const a = operand(x);
        const b = operand(y);
        expect(doubleOf(add(ctx, F64, a, b, 0))).toBe(x + y);
        expect(doubleOf(add(ctx, F64, a, b, 1))).toBe(x - y);
        expect(doubleOf(multiply(ctx, F64, a, b))).toBe(x * y);
        expect(doubleOf(divide(ctx, F64, a, b))).toBe(x / y);
        expect(doubleOf(squareRoot(ctx, F64, a))).toBe(Math.sqrt(x));
      }),
      { numRuns: 2000 },
    );
  });

  it("narrows to single as Math.fround does", () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true }), (x) => {
        const narrow = Number(convert(createFloatContext(), F32, operand(x)));
        view.setUint32(0, narrow);
        expect(view.getFloat32(0)).toBe(Math.fround(x));
      }),
    );
  });
});

describe("conversion to a wider format and back", () => {
  it("changes nothing and is exact", () => {
    fc.assert(
      fc.property(fc.bigInt(0n, (1n << 64n) - 1n), (bits) => {
        const ctx = createFloatContext();
        const wide = convert(ctx, F80, unpackF64(ctx, bits));
        const back = convert(ctx, F64, unpackF80(BigInt.asUintN(64, wide), Number(wide >> 64n)));
        const nan = (bits & 0x7fff_ffff_ffff_ffffn) > 0x7ff0_0000_0000_0000n;
        expect(back).toBe(nan ? bits | (1n << 51n) : bits);
        expect(ctx.flags & PE).toBe(0);
      }),
    );
  });
});

describe("directed rounding", () => {
  it("encloses the quotient of singles between down and up, one unit apart when inexact", () => {
    const single = fc.integer({ min: 0x00800000, max: 0x7f7fffff });
    fc.assert(
      fc.property(single, single, (x, y) => {
        const results = [1, 2].map((rounding) => {
          const ctx = createFloatContext();
          ctx.rounding = rounding;
          const bits = divide(ctx, F32, unpackF32(ctx, x), unpackF32(ctx, y));
          return { bits, inexact: (ctx.flags & PE) !== 0 };
        });
        const [down, up] = results as [{ bits: bigint; inexact: boolean }, { bits: bigint; inexact: boolean }];
        expect(up.bits - down.bits).toBe(down.inexact ? 1n : 0n);
      }),
    );
  });
});

describe.skipIf(!hasOracle())("fused multiply-add on this processor", () => {
  it("agrees with the model to the bit", () => {
    const r = new Random(3);
    // vfmadd213sd xmm0, xmm1, [rdi]: xmm0 = xmm1 * xmm0 + [rdi]
    const cases = Array.from({ length: 2000 }, () => {
      const c = newCase([0xc4, 0xe2, 0xf1, 0xa9, 0x07]);
      const a = randomF64(r);
      const b = randomF64(r);
      const product = bitsOf(-doubleOf(a) * doubleOf(b));
      c.setBigUint64(XMM0, a, true);
      c.setBigUint64(XMM1, b, true);
      c.setBigUint64(MEMORY, r.below(2) ? randomF64(r) : product, true);
      c.setUint32(MXCSR_AT, 0x1f80 | (r.below(4) << 13), true);
      return c;
    });
    const native = runNative(cases);
    if (native[0]?.getUint32(TRAPPED, true) !== 0) return;
    cases.forEach((c, i) => {
      const ctx = createFloatContext();
      ctx.rounding = (c.getUint32(MXCSR_AT, true) >> 13) & 3;
      const [a, b, addend] = [XMM1, XMM0, MEMORY].map((at) => unpackF64(ctx, c.getBigUint64(at, true)));
      if (a === undefined || b === undefined || addend === undefined) throw new Error("three operands");
      // Which of several NaNs is taken depends on the form of the instruction.
      if ([a, b, addend].filter((x) => x.cls >= 3).length > 0) return;
      const bits = fusedMultiplyAdd(ctx, F64, a, b, addend);
      const cpu = native[i] as DataView;
      const text = `${doubleOf(c.getBigUint64(XMM1, true))} * ${doubleOf(c.getBigUint64(XMM0, true))} + ${doubleOf(c.getBigUint64(MEMORY, true))}`;
      expect(bits.toString(16), text).toBe(cpu.getBigUint64(XMM0, true).toString(16));
      expect(ctx.flags, text).toBe(cpu.getUint32(MXCSR_AT, true) & 0x3f);
    });
  });
});

// The rounding core by itself: properties that hold everywhere.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createFloatContext, F32, F64, F80, PE, unpackF32, unpackF64, unpackF80 } from "../../../cpu/fpu/softfloat.ts";
import { add, convert, divide, multiply, squareRoot } from "../../../cpu/fpu/softfloat-arith.ts";

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

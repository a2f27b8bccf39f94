/**
 * Packed floats, lane by lane. Comparisons, minima and maxima raise no exception where no operand is a NaN or a denormal, whatever MXCSR says; arithmetic
 * is done where emit-float.ts does it of scalars. Elsewhere these functions return 0 and have done nothing.
 */
import * as A from "../arena.ts";
import { type FunctionBody, type FunctionType, I32 as TYPE_I32 } from "./assembler.ts";
import {
  type Code,
  constant128,
  give,
  I32,
  type Local,
  Maker,
  type Operation,
  rarely,
  sequence,
  simd,
  when,
} from "./code.ts";
import {
  allTrue,
  and,
  anyTrue,
  comparable,
  F32,
  F64,
  highHalf,
  load128,
  maskOf,
  middling,
  moderate,
  noInexactYet,
  or,
  promoteLow,
  store128,
  storeFirst,
  twoProduct,
  twoSum,
  unlessUsual,
  V128_LOAD,
  V128_LOAD32_ZERO,
  V128_LOAD64_ZERO,
  ZERO,
} from "./simd-code.ts";

/** f(d, a, b, c): offsets of vectors from A.XMM, c as U_FLANES of uops/uop.ts has it. */
const TYPE: FunctionType = { params: [TYPE_I32, TYPE_I32, TYPE_I32, TYPE_I32], results: [TYPE_I32] };

/**
 * Predicates of CMPPS and VCMPPS (SDM volume 2, table 3-1) by their low four bits, bit n: those that are true of less, of equal, of greater. Bit 4
 * only changes what NaNs do to flags.
 */
const LESS = 0x9696;
const EQUAL = 0xa5a5;
const GREATER = 0xf0f0;

/** What becomes of two lanes; c is that of the micro-op. */
type Lanes = (a: Code, b: Code, c: Code) => Code;

const compare =
  (double: boolean): Lanes =>
  (a, b, c) => {
    const { lt, eq, gt } = double ? F64 : F32;
    const predicate = I32.and(c, I32.of(15));
    const wanted = (set: number): Code => maskOf(I32.and(I32.shr(I32.of(set), predicate), I32.of(1)));
    return or(or(and(lt(a, b), wanted(LESS)), and(eq(a, b), wanted(EQUAL))), and(gt(a, b), wanted(GREATER)));
  };
/** Equal operands, which may be zeros of either sign, give the second. */
const extreme =
  (double: boolean, op: "pmin" | "pmax"): Lanes =>
  (a, b) =>
    (double ? F64 : F32)[op](b, a);

function lanesFunction(name: string, double: boolean, lanes: Lanes): FunctionBody {
  const m = new Maker(TYPE);
  const [d, a, b, c] = [0, 1, 2, 3].map((n) => m.parameter(n).get) as [Code, Code, Code, Code];
  const length = I32.shr(c, I32.of(5));
  const half = (at: number): { result: Local; code: Code } => {
    const [x, y, result] = [m.v128(), m.v128(), m.v128()];
    const first = load128(double ? V128_LOAD64_ZERO : V128_LOAD32_ZERO, A.XMM + at);
    const whole = load128(V128_LOAD, A.XMM + at);
    const code = sequence(
      when(
        length,
        sequence(x.set(whole(a)), y.set(whole(b))),
        // The other lanes of a scalar are zero, which will do.
        sequence(x.set(first(a)), y.set(first(b))),
      ),
      rarely(I32.eqz(allTrue(double, and(comparable(double, x.get), comparable(double, y.get)))), give(I32.of(0))),
      result.set(lanes(x.get, y.get, c)),
    );
    return { result, code };
  };
  const [low, high] = [half(0), half(A.YMM_UPPER_BYTES)];
  /** A scalar leaves the rest of a. */
  const storeScalar: Code = sequence(
    store128(A.XMM)(d, load128(V128_LOAD, A.XMM)(a)),
    storeFirst(double)(d, low.result.get),
  );
  return m.finish(
    name,
    low.code,
    when(I32.eq(length, I32.of(2)), sequence(high.code, store128(A.XMM + A.YMM_UPPER_BYTES)(d, high.result.get))),
    when(length, store128(A.XMM)(d, low.result.get), storeScalar),
    I32.of(1),
  );
}

// ---- arithmetic -------------------------------------------------------------------------------------------------------------

/** Operations by the low bits of c. */
const [ADD, SUB, MUL, DIV] = [0, 1, 2, 3];
export const LANES_OPERATIONS: Readonly<Record<string, number>> = { ADD, SUB, MUL, DIV };

/** Statement: leaves with 0 unless x op y, which is `result`, is exact (exact.ts). */
function unlessExact(m: Maker, double: boolean, op: number, x: Code, y: Code, result: Code): Code {
  const lanes = double ? F64 : F32;
  const leaveIf = (mask: Code): Code => when(anyTrue(mask), give(I32.of(0)));
  if (op === ADD || op === SUB) {
    const sum = twoSum(m, x, op === ADD ? y : lanes.sub(ZERO, y), lanes);
    return sequence(sum.code, leaveIf(lanes.ne(sum.error.get, ZERO)));
  }
  const [one, other, product] = op === MUL ? [x, y, result] : [result, y, x];
  if (double) {
    const found = twoProduct(m, one, other);
    const usual = and(middling(true, x), middling(true, y));
    return sequence(
      when(I32.eqz(allTrue(true, usual)), give(I32.of(0))),
      found.code,
      leaveIf(or(F64.ne(found.error.get, ZERO), F64.ne(found.product.get, product))),
    );
  }
  // The product of two singles is a double.
  const differs = (half: (x: Code) => Code): Code =>
    F64.ne(F64.mul(promoteLow(half(one)), promoteLow(half(other))), promoteLow(half(product)));
  return leaveIf(
    or(
      differs((v) => v),
      differs(highHalf),
    ),
  );
}

/** arith(d, a, b, c): d = a op b. */
function arithmetic(double: boolean): FunctionBody {
  const m = new Maker(TYPE);
  const [d, a, b, c] = [0, 1, 2, 3].map((n) => m.parameter(n).get) as [Code, Code, Code, Code];
  const mxcsr = m.i32();
  const op = I32.and(c, I32.of(3));
  const lanes = double ? F64 : F32;
  const half = (at: number): { result: Local; code: Code } => {
    const [x, y, result] = [m.v128(), m.v128(), m.v128()];
    const whole = load128(V128_LOAD, A.XMM + at);
    const calculate = (number: number, operation: Operation): Code =>
      sequence(
        result.set(operation(x.get, y.get)),
        rarely(noInexactYet(mxcsr.get), unlessExact(m, double, number, x.get, y.get, result.get)),
      );
    const code = sequence(
      x.set(whole(a)),
      y.set(whole(b)),
      rarely(I32.eqz(allTrue(double, and(moderate(double, x.get), moderate(double, y.get)))), give(I32.of(0))),
      when(
        I32.below(op, I32.of(MUL)),
        when(op, calculate(SUB, lanes.sub), calculate(ADD, lanes.add)),
        when(
          I32.eq(op, I32.of(MUL)),
          calculate(MUL, lanes.mul),
          sequence(rarely(anyTrue(lanes.eq(y.get, ZERO)), give(I32.of(0))), calculate(DIV, lanes.div)),
        ),
      ),
    );
    return { result, code };
  };
  const [low, high] = [half(0), half(A.YMM_UPPER_BYTES)];
  return m.finish(
    double ? "arith64" : "arith32",
    mxcsr.set(I32.load(A.MXCSR)),
    unlessUsual(mxcsr.get),
    low.code,
    when(
      I32.eq(I32.shr(c, I32.of(5)), I32.of(2)),
      sequence(high.code, store128(A.XMM + A.YMM_UPPER_BYTES)(d, high.result.get)),
    ),
    store128(A.XMM)(d, low.result.get),
    I32.of(1),
  );
}

// ---- of one operand -----------------------------------------------------------------------------------------------------------

/** What becomes of x, where `usual` is all ones in each lane; `inexact` is not zero where something may be rounded. */
interface Unary {
  readonly usual: Code;
  readonly inexact: Code;
  readonly result: Code;
}
const dwords = (word: number): Code => constant128(word, word);
const [I32X4_ADD, I32X4_BELOW, I32X4_EQ] = [simd(0xae), simd(0x3a), simd(0x37)];
const [F32_CONVERT, F32_TRUNC_SAT, F32_ABS, F32_TRUNC, F32_NEAREST, F32_SQRT] = [
  0xfa, 0xf8, 0xe0, 0x69, 0x6a, 0xe3,
].map(simd) as [Operation, Operation, Operation, Operation, Operation, Operation];
const [F64_SQRT, F64_GE, F32_GE, NOT] = [0xef, 0x4c, 0x46, 0x4d].map(simd) as [
  Operation,
  Operation,
  Operation,
  Operation,
];
const TWO_31 = dwords(0x4f000000);

/** CVTDQ2PS: exact up to 2^24 in size. */
const fromDwords = (x: Code): Unary => ({
  usual: I32X4_EQ(ZERO, ZERO),
  inexact: NOT(I32X4_BELOW(I32X4_ADD(x, dwords(2 ** 24)), dwords(2 ** 25))),
  result: F32_CONVERT(x),
});
/** CVTTPS2DQ and CVTPS2DQ, of what is in range. */
const toDwords =
  (round: Operation) =>
  (x: Code): Unary => ({
    usual: F32.lt(F32_ABS(round(x)), TWO_31),
    inexact: F32.ne(round(x), x),
    result: F32_TRUNC_SAT(round(x)),
  });
/** SQRTPS and SQRTPD. */
const root =
  (double: boolean) =>
  (x: Code): Unary => ({
    usual: and(moderate(double, x), (double ? F64_GE : F32_GE)(x, ZERO)),
    inexact: NOT(ZERO),
    result: (double ? F64_SQRT : F32_SQRT)(x),
  });

function unaryFunction(name: string, double: boolean, unary: (x: Code) => Unary): FunctionBody {
  const m = new Maker(TYPE);
  const [d, b, c] = [0, 2, 3].map((n) => m.parameter(n).get) as [Code, Code, Code];
  const half = (at: number): { result: Local; code: Code } => {
    const [x, result] = [m.v128(), m.v128()];
    const { usual, inexact, result: value } = unary(x.get);
    const code = sequence(
      x.set(load128(V128_LOAD, A.XMM + at)(b)),
      rarely(I32.eqz(allTrue(double, usual)), give(I32.of(0))),
      rarely(noInexactYet(I32.load(A.MXCSR)), when(anyTrue(inexact), give(I32.of(0)))),
      result.set(value),
    );
    return { result, code };
  };
  const [low, high] = [half(0), half(A.YMM_UPPER_BYTES)];
  return m.finish(
    name,
    unlessUsual(I32.load(A.MXCSR)),
    low.code,
    when(
      I32.eq(I32.shr(c, I32.of(5)), I32.of(2)),
      sequence(high.code, store128(A.XMM + A.YMM_UPPER_BYTES)(d, high.result.get)),
    ),
    store128(A.XMM)(d, low.result.get),
    I32.of(1),
  );
}
const unaryFunctions = (): FunctionBody[] => [
  unaryFunction("cvtdq2ps", false, fromDwords),
  unaryFunction("cvttps2dq", false, toDwords(F32_TRUNC)),
  unaryFunction("cvtps2dq", false, toDwords(F32_NEAREST)),
  unaryFunction("sqrtps", false, root(false)),
  unaryFunction("sqrtpd", true, root(true)),
];

export const floatLanes = (): FunctionBody[] => [
  ...[true, false].flatMap((double) => {
    const bits = double ? "64" : "32";
    return [
      arithmetic(double),
      lanesFunction(`compare${bits}`, double, compare(double)),
      lanesFunction(`min${bits}`, double, extreme(double, "pmin")),
      lanesFunction(`max${bits}`, double, extreme(double, "pmax")),
    ];
  }),
  ...unaryFunctions(),
];

/** SIMD pieces of functions on vectors (code.ts): loads and stores, logic, and what kind of numbers the lanes are. */
import * as A from "../arena.ts";
import { MEM } from "./assembler.ts";
import {
  type Code,
  constant128,
  give,
  I32,
  type Local,
  type Maker,
  type Operation,
  rarely,
  sequence,
  simd,
} from "./code.ts";

/** A load or store at an address, and a constant offset. */
export const load128 =
  (op: number, offset: number) =>
  (address: Code): Code =>
  (w) => {
    address(w);
    w.simdMem(op, offset);
  };
export const store128 =
  (offset: number) =>
  (address: Code, value: Code): Code =>
  (w) => {
    address(w);
    value(w);
    w.simdMem(0x0b, offset);
  };
export const V128_LOAD = 0x00;
export const V128_LOAD32_ZERO = 0x5c;
export const V128_LOAD64_ZERO = 0x5d;
/** A scalar: lane 0 of `value` goes to vector `to`, whose other lanes stay. */
export const storeFirst =
  (double: boolean) =>
  (to: Code, value: Code): Code =>
  (w) => {
    to(w);
    value(w);
    w.simd(double ? 0x1d : 0x1b); // extract_lane
    w.byte(0);
    w.mem(double ? MEM.i64_store : MEM.i32_store, A.XMM);
  };
export const and: Operation = simd(0x4e);
export const or: Operation = simd(0x50);
export const xor: Operation = simd(0x51);
/** (if set, if clear, mask) */
export const bitselect: Operation = simd(0x52);
export const anyTrue: Operation = simd(0x53);
export const splat64: Operation = simd(0x12);
/** Of doubles, singles, and integers of their sizes. */
export type Arithmetic = Readonly<Record<"add" | "sub" | "mul" | "div", Operation>>;
export type Comparison = Readonly<Record<"eq" | "ne" | "lt" | "gt" | "pmin" | "pmax", Operation>>;
export const F64: Arithmetic & Comparison = {
  eq: simd(0x47),
  ne: simd(0x48),
  lt: simd(0x49),
  gt: simd(0x4a),
  add: simd(0xf0),
  sub: simd(0xf1),
  mul: simd(0xf2),
  div: simd(0xf3),
  pmin: simd(0xf6),
  pmax: simd(0xf7),
};
export const F32: Arithmetic & Comparison = {
  eq: simd(0x41),
  ne: simd(0x42),
  lt: simd(0x43),
  gt: simd(0x44),
  add: simd(0xe4),
  sub: simd(0xe5),
  mul: simd(0xe6),
  div: simd(0xe7),
  pmin: simd(0xea),
  pmax: simd(0xeb),
};
export const L64: Readonly<Record<"add" | "sar" | "eq" | "less" | "above" | "allTrue", Operation>> = {
  add: simd(0xce),
  sar: simd(0xcc),
  eq: simd(0xd6),
  less: simd(0xd8),
  above: simd(0xd9),
  allTrue: simd(0xc3),
};
export const L32: Readonly<Record<"eq" | "less" | "above" | "allTrue", Operation>> = {
  eq: simd(0x37),
  less: simd(0x39),
  above: simd(0x3b),
  allTrue: simd(0xa3),
};
export const promoteLow: Operation = simd(0x5f);
export const demoteZero: Operation = simd(0x5e);
export const ZERO: Code = constant128(0, 0);

/** All ones in each lane whose number is zero, or has a biased exponent from `low` up to, and but for `inclusive` not including, `high` with no fraction. */
function within64(x: Code, low: number, high: number, inclusive: boolean): Code {
  const magnitude = and(x, constant128(0x7fffffff, -1));
  return or(
    L64.eq(magnitude, ZERO),
    and(
      L64.above(magnitude, constant128((low << 20) - 1, -1)),
      L64.less(magnitude, constant128(high << 20, inclusive ? 1 : 0)),
    ),
  );
}
function within32(x: Code, low: number, high: number, inclusive: boolean): Code {
  const magnitude = and(x, constant128(0x7fffffff, 0x7fffffff));
  const [least, most] = [(low << 23) - 1, (high << 23) + (inclusive ? 1 : 0)];
  return or(
    L32.eq(magnitude, ZERO),
    and(L32.above(magnitude, constant128(least, least)), L32.less(magnitude, constant128(most, most))),
  );
}
/** Zero, or an exponent within 200 (60) of the bias. */
export const middling = (double: boolean, x: Code): Code =>
  double ? within64(x, 1023 - 200, 1023 + 200, false) : within32(x, 127 - 60, 127 + 60, false);
/** Zero, or an exponent within 500 (60) of the bias: two such have sums, products and quotients that neither overflow nor underflow. */
export const moderate = (double: boolean, x: Code): Code =>
  double ? within64(x, 1023 - 500, 1023 + 501, false) : within32(x, 127 - 60, 127 + 61, false);
/** No NaN, no denormal. */
export const comparable = (double: boolean, x: Code): Code =>
  double ? within64(x, 1, 0x7ff, true) : within32(x, 1, 0xff, true);
export const allTrue = (double: boolean, mask: Code): Code => (double ? L64 : L32).allTrue(mask);
/** -1 in all lanes if the i32 is 1, 0 if it is 0. */
export const maskOf = (bit: Code): Code => simd(0x11)(I32.sub(I32.of(0), bit));

/** MXCSR: all masked, round to nearest, neither DAZ nor FTZ; other flags than PE don't matter. */
const MXCSR_MASK = 0xffc0;
const MXCSR_USUAL = 0x1f80;
const MXCSR_PE = 0x20;
/** Statement: leaves with 0 unless MXCSR is as the functions on lanes want it. */
export const unlessUsual = (mxcsr: Code): Code =>
  rarely(I32.ne(I32.and(mxcsr, I32.of(MXCSR_MASK)), I32.of(MXCSR_USUAL)), give(I32.of(0)));
/** Nothing inexact has happened yet: what is not exact has to be told. */
export const noInexactYet = (mxcsr: Code): Code => I32.eqz(I32.and(mxcsr, I32.of(MXCSR_PE)));

/** The high two singles of x, twice. */
export const highHalf =
  (x: Code): Code =>
  (w) => {
    x(w);
    x(w);
    w.simd(0x0d);
    for (const dword of [2, 3, 2, 3]) for (let byte = 0; byte < 4; byte++) w.byte(dword * 4 + byte);
  };

/** a + b = sum + error, of doubles or singles (D. Knuth, The Art of Computer Programming, volume 2, 4.2.2). */
export function twoSum(
  m: Maker,
  a: Code,
  b: Code,
  { add, sub }: Arithmetic = F64,
): { sum: Local; error: Local; code: Code } {
  const [sum, error, part] = [m.v128(), m.v128(), m.v128()];
  const code = sequence(
    sum.set(add(a, b)),
    part.set(sub(sum.get, a)),
    error.set(add(sub(a, sub(sum.get, part.get)), sub(b, part.get))),
  );
  return { sum, error, code };
}

/** x = high + low, of at most 26 bits each. */
function split(m: Maker, x: Code): { high: Local; low: Local; code: Code } {
  const [high, low, big] = [m.v128(), m.v128(), m.v128()];
  const code = sequence(
    // 2^27 + 1
    big.set(F64.mul(x, constant128(0x41a00000, 0x02000000))),
    high.set(F64.sub(big.get, F64.sub(big.get, x))),
    low.set(F64.sub(x, high.get)),
  );
  return { high, low, code };
}

/** a * b = product + error, of doubles (T. Dekker, Numerische Mathematik 18 (1971)). */
export function twoProduct(m: Maker, a: Code, b: Code): { product: Local; error: Local; code: Code } {
  const [product, error] = [m.v128(), m.v128()];
  const [x, y] = [split(m, a), split(m, b)];
  const high = F64.sub(F64.mul(x.high.get, y.high.get), product.get);
  const crossed = F64.add(F64.add(high, F64.mul(x.high.get, y.low.get)), F64.mul(x.low.get, y.high.get));
  const code = sequence(
    product.set(F64.mul(a, b)),
    x.code,
    y.code,
    error.set(F64.add(crossed, F64.mul(x.low.get, y.low.get))),
  );
  return { product, error, code };
}

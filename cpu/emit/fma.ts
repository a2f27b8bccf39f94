/**
 * Fused multiply-add in WebAssembly, which has no such instruction, on two lanes at once: products and sums with their errors, and rounding to odd
 * between (S. Boldo and G. Melquiond, IEEE Transactions on Computers 57 (2008)), as cpu/fpu/fma.ts does where its operands are of middling size. Under other circumstances these
 * functions return 0 and have done nothing.
 */
import * as A from "../arena.ts";
import { type FunctionBody, type FunctionType, I32 as TYPE_I32 } from "./assembler.ts";
import { type Code, choose, constant128, give, I32, I64, type Local, Maker, rarely, sequence, when } from "./code.ts";
import {
  allTrue,
  and,
  anyTrue,
  bitselect,
  demoteZero,
  F64,
  highHalf,
  L64,
  load128,
  middling,
  noInexactYet,
  or,
  promoteLow,
  splat64,
  store128,
  storeFirst,
  twoProduct,
  twoSum,
  unlessUsual,
  V128_LOAD,
  V128_LOAD32_ZERO,
  V128_LOAD64_ZERO,
  xor,
  ZERO,
} from "./simd-code.ts";

/** fma(d, a, b, c): offsets of vectors from A.XMM, c as U_FMA of uops/uop.ts has it. */
const TYPE: FunctionType = { params: [TYPE_I32, TYPE_I32, TYPE_I32, TYPE_I32], results: [TYPE_I32] };

const ONE = constant128(0, 1);

/** sum + error rounded to odd: where there is an error, an even sum goes one unit towards it. */
function toOdd(sum: Code, error: Code): Code {
  const even = L64.eq(and(sum, ONE), ZERO);
  const towards = or(L64.sar(xor(sum, error), I32.of(63)), ONE);
  return L64.add(sum, and(towards, and(even, F64.ne(error, ZERO))));
}

/** The signs of the product, and of the addends of even and of odd lanes, are inverted by bits 2, 3 and 4 of c. */
const signBit = (c: Code, bit: number, at: number): Code =>
  I64.shl(I64.extend(I32.and(I32.shr(c, I32.of(bit)), I32.of(1))), I64.of(at));

interface Fused {
  /** Nonzero if every lane could be done. */
  readonly usual: Local;
  /** Nonzero if some lane is not known to be exact. */
  readonly inexact: Local;
  readonly result: Local;
  readonly code: Code;
}

/** a * b + c of two doubles. */
function fuse64(m: Maker, a: Code, b: Code, c: Code): Pick<Fused, "inexact" | "result" | "code"> {
  const [inexact, result] = [m.i32(), m.v128()];
  const exact = twoProduct(m, a, b);
  const tail = twoSum(m, c, exact.error.get);
  const sum = twoSum(m, exact.product.get, tail.sum.get);
  const rest = twoSum(m, tail.error.get, sum.error.get);
  const code = sequence(
    exact.code,
    tail.code,
    sum.code,
    rest.code,
    inexact.set(anyTrue(F64.ne(rest.sum.get, ZERO))),
    result.set(F64.add(sum.sum.get, toOdd(rest.sum.get, rest.error.get))),
    // A zero comes of an exact product, and has the sign that its sum gives it.
    result.set(bitselect(F64.add(exact.product.get, c), result.get, F64.eq(result.get, ZERO))),
  );
  return { inexact, result, code };
}

/** a * b + c of the four singles of 16 bytes: in doubles products are exact, and rounding the sum to odd makes the rounding to singles the only one. */
function fuse32(m: Maker, a: Code, b: Code, c: Code): Pick<Fused, "inexact" | "result" | "code"> {
  const [inexact, result] = [m.i32(), m.v128()];
  const shuffle =
    (lanes: readonly number[], x: Code, y: Code): Code =>
    (w) => {
      x(w);
      y(w);
      w.simd(0x0d);
      for (const lane of lanes) w.byte(lane);
    };
  const dwords = (...order: readonly number[]): number[] =>
    order.flatMap((dword) => [0, 1, 2, 3].map((byte) => dword * 4 + byte));
  const parts = [0, 1].map((half) => {
    const wide = (x: Code): Code => promoteLow(half === 0 ? x : highHalf(x));
    const [x, y] = [m.v128(), m.v128()];
    const sum = twoSum(m, x.get, y.get);
    const narrow = m.v128();
    const code = sequence(
      x.set(F64.mul(wide(a), wide(b))),
      y.set(wide(c)),
      sum.code,
      narrow.set(demoteZero(toOdd(sum.sum.get, sum.error.get))),
    );
    const lost = or(F64.ne(sum.error.get, ZERO), F64.ne(promoteLow(narrow.get), sum.sum.get));
    return { code, narrow, lost };
  });
  const [low, high] = parts as [(typeof parts)[0], (typeof parts)[0]];
  const code = sequence(
    low.code,
    high.code,
    inexact.set(anyTrue(or(low.lost, high.lost))),
    result.set(shuffle(dwords(0, 1, 4, 5), low.narrow.get, high.narrow.get)),
  );
  return { inexact, result, code };
}

/** One half of the vectors: from memory to `result`. `scalar` (i32): the first lane alone. */
function half(
  m: Maker,
  double: boolean,
  factors: readonly [Code, Code, Code],
  c: Code,
  at: number,
  scalar: Code,
): Fused {
  const [x, y, z, usual] = [m.v128(), m.v128(), m.v128(), m.i32()];
  const whole = load128(V128_LOAD, A.XMM + at);
  const first = load128(double ? V128_LOAD64_ZERO : V128_LOAD32_ZERO, A.XMM + at);
  // The other lanes of a scalar are zero, which is usual and exact.
  const read = (to: Local, from: Code): Code => when(scalar, to.set(first(from)), to.set(whole(from)));
  const fused = (double ? fuse64 : fuse32)(m, x.get, y.get, z.get);
  const even = signBit(c, 3, double ? 63 : 31);
  const odd = signBit(c, 4, 63);
  const negated = double
    ? (((w) => {
        splat64(even)(w);
        odd(w);
        w.simd(0x1e); // i64x2.replace_lane
        w.byte(1);
      }) as Code)
    : splat64(I64.or(even, odd));
  const product = double ? splat64(signBit(c, 2, 63)) : splat64(I64.or(signBit(c, 2, 31), signBit(c, 2, 63)));
  const code = sequence(
    read(x, factors[0]),
    read(y, factors[1]),
    read(z, factors[2]),
    usual.set(allTrue(double, and(and(middling(double, x.get), middling(double, y.get)), middling(double, z.get)))),
    x.set(xor(x.get, product)),
    z.set(xor(z.get, negated)),
    fused.code,
  );
  return { usual, inexact: fused.inexact, result: fused.result, code };
}

function fma(double: boolean): FunctionBody {
  const m = new Maker(TYPE);
  const [d, a, b, c] = [0, 1, 2, 3].map((n) => m.parameter(n).get) as [Code, Code, Code, Code];
  const order = I32.and(c, I32.of(3));
  const lanes = I32.shr(c, I32.of(5));
  const [x, y, z, mxcsr] = [m.i32(), m.i32(), m.i32(), m.i32()];
  const factors = [x.get, y.get, z.get] as const;
  const low = half(m, double, factors, c, 0, I32.eqz(lanes));
  const high = half(m, double, factors, c, A.YMM_UPPER_BYTES, I32.of(0));
  const is = (n: number): Code => I32.eq(order, I32.of(n));
  const isLong = I32.eq(lanes, I32.of(2));
  /** Not while PE is clear and something may have been rounded. */
  const check = (part: Fused): Code =>
    rarely(I32.or(I32.eqz(part.usual.get), I32.and(part.inexact.get, noInexactYet(mxcsr.get))), give(I32.of(0)));
  return m.finish(
    double ? "fma64" : "fma32",
    mxcsr.set(I32.load(A.MXCSR)),
    unlessUsual(mxcsr.get),
    // VFMADD132 is 1 * 3 + 2, and so on.
    x.set(choose(is(0), d, a)),
    y.set(choose(is(1), d, b)),
    z.set(choose(is(0), a, choose(is(1), b, d))),
    low.code,
    check(low),
    when(isLong, sequence(high.code, check(high), store128(A.XMM + A.YMM_UPPER_BYTES)(d, high.result.get))),
    when(lanes, store128(A.XMM)(d, low.result.get), storeFirst(double)(d, low.result.get)),
    I32.of(1),
  );
}

export const fmaFunctions = (): FunctionBody[] => [fma(true), fma(false)];

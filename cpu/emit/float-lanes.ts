/**
 * Comparisons, minima and maxima of floats, lane by lane: where no operand is a NaN or a denormal they raise no exception, whatever MXCSR says.
 * Elsewhere these functions return 0 and have done nothing.
 */
import * as A from "../arena.ts";
import { type FunctionBody, type FunctionType, MEM, I32 as TYPE_I32 } from "./assembler.ts";
import { type Code, give, I32, type Local, Maker, rarely, sequence, simd, when } from "./code.ts";
import {
  allTrue,
  and,
  comparable,
  F32,
  F64,
  load128,
  maskOf,
  or,
  store128,
  V128_LOAD,
  V128_LOAD32_ZERO,
  V128_LOAD64_ZERO,
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
  const storeScalar: Code = sequence(store128(A.XMM)(d, load128(V128_LOAD, A.XMM)(a)), (w) => {
    d(w);
    simd(double ? 0x1d : 0x1b)(low.result.get)(w); // extract_lane
    w.byte(0);
    w.mem(double ? MEM.i64_store : MEM.i32_store, A.XMM);
  });
  return m.finish(
    name,
    low.code,
    when(I32.eq(length, I32.of(2)), sequence(high.code, store128(A.XMM + A.YMM_UPPER_BYTES)(d, high.result.get))),
    when(length, store128(A.XMM)(d, low.result.get), storeScalar),
    I32.of(1),
  );
}

export const floatLanes = (): FunctionBody[] =>
  [true, false].flatMap((double) => {
    const bits = double ? "64" : "32";
    return [
      lanesFunction(`compare${bits}`, double, compare(double)),
      lanesFunction(`min${bits}`, double, extreme(double, "pmin")),
      lanesFunction(`max${bits}`, double, extreme(double, "pmax")),
    ];
  });

// FMA3: fused multiply-add with one rounding (SDM volume 1, 14.5; APM volume 4, VFMADD*). An operation takes the core and
// the byte addresses in the arena of the instruction's operands 1 (also the destination), 2 and 3, and writes the first
// `lanes` elements of operand 1: what lies above them, and the register's upper part, is the caller's affair. It returns
// 0, or nonzero if a fault was raised, and then has written nothing.

import type { Core } from "../core.ts";
import { F32, type FloatFormat } from "./softfloat.ts";
import { fusedMultiplyAdd } from "./softfloat-arith.ts";
import { element, F32_LEAST, lane32, lane64, ordinary, setElement } from "./sse-arith.ts";
import { beginSse, finishSse, plainMode, sse } from "./sse-state.ts";

export type FmaOperation = (core: Core, first: number, second: number, third: number) => number;

/** Which operands are multiplied and which is added, as the digits of the mnemonic name them: VFMADD132 is 1 * 3 + 2. */
export const FMA_132 = 0;
export const FMA_213 = 1;
export const FMA_231 = 2;

/** The signs: of the product, and of the addend in even and in odd lanes. */
export interface FmaSigns {
  readonly product: number;
  readonly even: number;
  readonly odd: number;
}

/** By the mnemonic without V, its digits and its suffix. */
export const FMA_SIGNS: Readonly<Record<string, FmaSigns>> = {
  FMADD: { product: 0, even: 0, odd: 0 },
  FMSUB: { product: 0, even: 1, odd: 1 },
  FNMADD: { product: 1, even: 0, odd: 0 },
  FNMSUB: { product: 1, even: 1, odd: 1 },
  FMADDSUB: { product: 0, even: 1, odd: 0 },
  FMSUBADD: { product: 0, even: 0, odd: 1 },
};

const results: bigint[] = [0n, 0n, 0n, 0n, 0n, 0n, 0n, 0n];

// ---- the fast path ----------------------------------------------------------------------------------------------

/** Factors and summands that are in this range or zero: their products and all errors are normal and can't overflow. */
const LOW = 2 ** -200;
const HIGH = 2 ** 200;
/** A single as result is normal and finite for certain if its magnitude is in this range before it is rounded. */
const F32_LOW = 2 ** -125;
const F32_HIGH = 2 ** 127;

const quick = new Float64Array(8);
const bits64 = new Float64Array(1);
const words = new Int32Array(bits64.buffer);

/** x + error to 53 bits, rounded to odd: so that a later rounding to fewer bits is as if it were the only one. */
function toOdd(x: number, error: number): number {
  if (error === 0) return x;
  bits64[0] = x;
  const low = words[0] as number;
  if (low & 1) return x;
  // Away from zero is the odd number above; towards zero, the one below: of a power of two that borrows.
  if (error > 0 === x > 0) words[0] = low | 1;
  else {
    words[0] = low - 1;
    if (low === 0) words[1] = (words[1] as number) - 1;
  }
  return bits64[0] as number;
}

/** What a + b lost when it was rounded to `sum`. D. Knuth, The Art of Computer Programming, volume 2, 4.2.2. */
function sumError(a: number, b: number, sum: number): number {
  const part = sum - a;
  return a - (sum - part) + (b - part);
}

const SPLIT = 2 ** 27 + 1;

/** What a * b lost when it was rounded to `product`. T. Dekker, Numerische Mathematik 18 (1971). */
function productError(a: number, b: number, product: number): number {
  const bigA = a * SPLIT;
  const highA = bigA - (bigA - a);
  const lowA = a - highA;
  const bigB = b * SPLIT;
  const highB = bigB - (bigB - b);
  const lowB = b - highB;
  return lowA * lowB - (product - highA * highB - lowA * highB - highA * lowB);
}

function middling(x: number): boolean {
  const magnitude = Math.abs(x);
  return x === 0 || (magnitude >= LOW && magnitude <= HIGH);
}

/** a * b + c rounded once; all three `middling`. S. Boldo and G. Melquiond, IEEE Transactions on Computers 57 (2008). */
function fuse64(a: number, b: number, c: number): number {
  const product = a * b;
  const lower = productError(a, b, product);
  const tail = c + lower;
  const tailError = sumError(c, lower, tail);
  const sum = product + tail;
  const rest = sumError(product, tail, sum);
  const r = sum + toOdd(tailError + rest, sumError(tailError, rest, tailError + rest));
  // A zero comes of an exact product, and has the sign that its sum gives it.
  return r === 0 ? product + c : r;
}

function fast64(core: Core, a: number, b: number, c: number, first: number, signs: FmaSigns, lanes: number): boolean {
  const view = core.f64;
  for (let lane = 0; lane < lanes; lane++) {
    const x = view[lane64(a, lane)] as number;
    const y = view[lane64(b, lane)] as number;
    const z = view[lane64(c, lane)] as number;
    if (!middling(x) || !middling(y) || !middling(z)) return false;
    quick[lane] = fuse64(signs.product ? -x : x, y, (lane & 1 ? signs.odd : signs.even) ? -z : z);
  }
  for (let lane = 0; lane < lanes; lane++) view[lane64(first, lane)] = quick[lane] as number;
  return true;
}

/** The product of singles is exact in double precision, and the sum rounded to odd there rounds to single as if exact. */
function fast32(core: Core, a: number, b: number, c: number, first: number, signs: FmaSigns, lanes: number): boolean {
  const view = core.f32;
  for (let lane = 0; lane < lanes; lane++) {
    const x = view[lane32(a, lane)] as number;
    const y = view[lane32(b, lane)] as number;
    const z = view[lane32(c, lane)] as number;
    if (!ordinary(x, F32_LEAST) || !ordinary(y, F32_LEAST) || !ordinary(z, F32_LEAST)) return false;
    const product = signs.product ? -(x * y) : x * y;
    const addend = (lane & 1 ? signs.odd : signs.even) ? -z : z;
    const sum = product + addend;
    const r = toOdd(sum, sumError(product, addend, sum));
    const magnitude = Math.abs(r);
    if (r !== 0 && !(magnitude >= F32_LOW && magnitude < F32_HIGH)) return false;
    quick[lane] = r;
  }
  for (let lane = 0; lane < lanes; lane++) view[lane32(first, lane)] = quick[lane] as number;
  return true;
}

// ---- the operation ------------------------------------------------------------------------------------------------

/**
 * The operation of one instruction. NaNs are taken in the order multiplicand, multiplier, addend, where the multiplicand is the
 * first operand in FMA_132 and else the second.
 *
 * @param order FMA_132, FMA_213 or FMA_231
 * @param signs an entry of FMA_SIGNS
 * @param fmt F32 or F64
 * @param lanes elements: 1 for scalar instructions, up to 8 for packed ones
 */
export function fusedMultiply(order: number, signs: FmaSigns, fmt: FloatFormat, lanes: number): FmaOperation {
  return (core, first, second, third) => {
    const a = order === FMA_132 ? first : second;
    const b = order === FMA_213 ? first : third;
    const c = order === FMA_132 ? second : order === FMA_213 ? third : first;
    if (plainMode(core)) {
      const fast = fmt === F32 ? fast32 : fast64;
      if (fast(core, a, b, c, first, signs, lanes)) return 0;
    }
    beginSse(core);
    for (let lane = 0; lane < lanes; lane++) {
      const x = element(core, fmt, a, lane);
      const y = element(core, fmt, b, lane);
      const z = element(core, fmt, c, lane);
      results[lane] = fusedMultiplyAdd(sse, fmt, x, y, z, signs.product, lane & 1 ? signs.odd : signs.even);
    }
    if (finishSse(core) !== 0) return 1;
    for (let lane = 0; lane < lanes; lane++) setElement(core, fmt, first, lane, results[lane] as bigint);
    return 0;
  };
}

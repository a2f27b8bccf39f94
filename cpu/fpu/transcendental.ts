// The transcendental functions of the x87 in BigInt fixed point: deterministic on every host, unlike Math.*.
//
// Each function takes finite non-zero operands and returns sign, significand and exponent of a result that is accurate
// to far more than 64 bits and ends in a sticky bit, ready for `roundPack`. Domain checks are the caller's.

import { bitLength, finite, type Operand } from "./softfloat.ts";
import { integerSqrt } from "./softfloat-arith.ts";

/** Bits of relative accuracy that the series aim at. */
const GUARD = 136;
/** Below 2^-SMALL the first term of a series is the result, but for a sticky bit. */
const SMALL = 96;
/** Fraction bits of the stored constants. */
const CONSTANT_BITS = 640;

/** sum of (-1)^k / ((2k+1) n^(2k+1)) for arctan, without the signs for the area tangent. */
function inverseSeries(n: bigint, fractionBits: number, alternating: boolean): bigint {
  const square = n * n;
  let power = (1n << BigInt(fractionBits + 16)) / n;
  let sum = 0n;
  let positive = true;
  for (let k = 1n; power !== 0n; k += 2n) {
    sum += positive ? power / k : -(power / k);
    power /= square;
    if (alternating) positive = !positive;
  }
  return sum >> 16n;
}

// Machin's formula, and the corresponding one for ln 2.
const PI: bigint = 16n * inverseSeries(5n, CONSTANT_BITS, true) - 4n * inverseSeries(239n, CONSTANT_BITS, true);
const LN2: bigint =
  18n * inverseSeries(26n, CONSTANT_BITS, false) -
  2n * inverseSeries(4801n, CONSTANT_BITS, false) +
  8n * inverseSeries(8749n, CONSTANT_BITS, false);

function constant(value: bigint, fractionBits: number): bigint {
  return value >> BigInt(CONSTANT_BITS - fractionBits);
}

/** Result of a series: a magnitude in fixed point made an operand, with a sticky bit below. */
function inexact(sign: number, fixed: bigint, fractionBits: number): Operand {
  return finite(sign, (fixed << 1n) | 1n, -fractionBits - 1);
}

/** Just below (`toZero`) or just above the magnitude of `sig * 2^exp`. */
function beside(sign: number, sig: bigint, exp: number, toZero: boolean): Operand {
  const wide = sig << 160n;
  return finite(sign, toZero ? wide - 1n : wide + 1n, exp - 160);
}

/** floor(log2(|a|)) of a finite operand. */
function exponentOf(a: Operand): number {
  return a.exp + bitLength(a.sig) - 1;
}

/** Magnitude of `a` in fixed point; bits below the fraction are dropped. */
function toFixed(a: Operand, fractionBits: number): bigint {
  const shift = a.exp + fractionBits;
  return shift >= 0 ? a.sig << BigInt(shift) : a.sig >> BigInt(-shift);
}

/** 2^x - 1 for |x| < 1. */
export function exp2MinusOne(x: Operand): Operand {
  const magnitude = exponentOf(x);
  if (magnitude < -SMALL) {
    // x ln 2, the rest being far below the last bit.
    const bits = 256;
    return inexact(x.sign, x.sig * constant(LN2, bits), bits - x.exp);
  }
  const halvings = 8;
  const bits = GUARD + 32 - magnitude;
  const scale = BigInt(bits);
  const fixed = (toFixed(x, bits) * constant(LN2, bits)) >> BigInt(bits + halvings);
  const y = x.sign ? -fixed : fixed;
  let sum = 0n;
  let term = y;
  for (let k = 2n; term !== 0n && term !== -1n; k++) {
    sum += term;
    term = ((term * y) >> scale) / k;
  }
  // expm1(2y) = expm1(y) (expm1(y) + 2)
  for (let i = 0; i < halvings; i++) sum = (sum * (sum + (2n << scale))) >> scale;
  return inexact(x.sign, sum < 0n ? -sum : sum, bits);
}

/** 2 artanh(z), z in fixed point. */
function doubleArtanh(z: bigint, scale: bigint): bigint {
  const square = (z * z) >> scale;
  let power = z;
  let sum = 0n;
  for (let k = 1n; power !== 0n && power !== -1n; k += 2n) {
    sum += power / k;
    power = (power * square) >> scale;
  }
  return sum << 1n;
}

/** y * log2(x) of a positive x given as an exact `sig * 2^exp`. */
function timesLog2(y: Operand, sig: bigint, exp: number): Operand {
  // x = m 2^e with m between sqrt(1/2) and sqrt(2), so that nothing cancels.
  const length = bitLength(sig);
  let e = exp + length - 1;
  if (sig === 1n << BigInt(length - 1)) {
    return finite(y.sign ^ (e < 0 ? 1 : 0), y.sig * BigInt(Math.abs(e)), y.exp);
  }
  const top = length >= 12 ? Number(sig >> BigInt(length - 12)) : Number(sig << BigInt(12 - length));
  let mExp = -(length - 1);
  if (top >= 2896) {
    e++;
    mExp--;
  }
  // m has `length` bits, so m - 1 is at least 2^-length away from zero.
  const bits = GUARD + 32 + length;
  const scale = BigInt(bits);
  const m = sig << BigInt(bits + mExp);
  const one = 1n << scale;
  const ln = doubleArtanh(((m - one) << scale) / (m + one), scale);
  const log2 = (BigInt(e) << scale) + (ln << scale) / constant(LN2, bits);
  const negative = log2 < 0n;
  return inexact(y.sign ^ (negative ? 1 : 0), y.sig * (negative ? -log2 : log2), bits - y.exp);
}

/** y * log2(x), x positive. The result is exact (no sticky bit) for powers of two; zero for x = 1. */
export function yLog2(y: Operand, x: Operand): Operand {
  return timesLog2(y, x.sig, x.exp);
}

/** y * log2(x + 1), x > -1. */
export function yLog2PlusOne(y: Operand, x: Operand): Operand {
  const magnitude = exponentOf(x);
  const sign = y.sign ^ x.sign;
  if (magnitude < -SMALL) {
    const bits = 256;
    const quotient = (x.sig << BigInt(2 * bits)) / constant(LN2, bits);
    return inexact(sign, y.sig * quotient, bits - y.exp - x.exp);
  }
  // Far from one, x + 1 has the logarithm of x to more bits than the result has.
  if (magnitude > 200) return timesLog2(y, x.sig, x.exp);
  if (magnitude >= -3) {
    const exp = Math.min(x.exp, 0);
    const scaled = x.sig << BigInt(x.exp - exp);
    const one = 1n << BigInt(-exp);
    return timesLog2(y, x.sign ? one - scaled : one + scaled, exp);
  }
  const bits = GUARD + 32 - magnitude;
  const scale = BigInt(bits);
  const fixed = toFixed(x, bits);
  const signed = x.sign ? -fixed : fixed;
  const ln = doubleArtanh((signed << scale) / ((2n << scale) + signed), scale);
  const log2 = (ln << scale) / constant(LN2, bits);
  return inexact(sign, y.sig * (log2 < 0n ? -log2 : log2), bits - y.exp);
}

/** sin and cos of a fixed-point angle, |r| <= pi/4 or so. */
function sinCosSeries(r: bigint, scale: bigint): { sin: bigint; cos: bigint } {
  const square = (r * r) >> scale;
  let sin = 0n;
  let cos = 0n;
  let term = 1n << scale;
  for (let k = 1n; term !== 0n; k += 2n) {
    cos += term;
    const odd = ((term * r) >> scale) / k;
    sin += odd;
    // term_{k+1} = -term_{k-1} r^2 / (k (k + 1))
    term = -((term * square) >> scale) / (k * (k + 1n));
  }
  return { sin, cos };
}

export interface SinCos {
  readonly sin: Operand;
  readonly cos: Operand;
  readonly tan: Operand;
}

/**
 * The value of pi that processors reduce arguments by: 66 bits, exactly this times 2^-64 (SDM volume 1, 8.3.8). It makes
 * FSIN of a number near a multiple of pi differ from the sine, in the same way everywhere.
 */
const REDUCTION_PI = 0x3243f6a8885a308d3n;

/** sin, cos and tan of |x| < 2^63. */
export function sinCosTan(x: Operand): SinCos {
  const magnitude = exponentOf(x);
  if (magnitude < -SMALL) {
    return {
      sin: beside(x.sign, x.sig, x.exp, true),
      cos: beside(0, 1n, 0, true),
      tan: beside(x.sign, x.sig, x.exp, false),
    };
  }
  // A 64-bit significand comes no closer to a multiple of pi/2 than about 2^-66 relative to its last place.
  const bits = GUARD + 160 + Math.max(0, -magnitude);
  const scale = BigInt(bits);
  const angle = toFixed(x, bits);
  let quadrant = 0n;
  let r = angle;
  if (magnitude >= -1) {
    const halfPi = REDUCTION_PI << BigInt(bits - 65);
    quadrant = ((angle << 1n) + halfPi) / (halfPi << 1n);
    r = angle - quadrant * halfPi;
  }
  const series = sinCosSeries(r, scale);
  const turn = Number(quadrant & 3n);
  const sin = turn & 1 ? series.cos : series.sin;
  const cos = turn & 1 ? series.sin : series.cos;
  const sinNegative = sin < 0n !== turn >= 2;
  const cosNegative = cos < 0n !== (turn === 1 || turn === 2);
  const sinMagnitude = sin < 0n ? -sin : sin;
  const cosMagnitude = cos < 0n ? -cos : cos;
  const sinSign = x.sign ^ (sinNegative ? 1 : 0);
  const cosSign = cosNegative ? 1 : 0;
  return {
    sin: inexact(sinSign, sinMagnitude, bits),
    cos: inexact(cosSign, cosMagnitude, bits),
    tan: inexact(sinSign ^ cosSign, (sinMagnitude << scale) / cosMagnitude, bits),
  };
}

/** arctan of a fixed-point t in (0, 1]. */
function arctanFixed(t: bigint, scale: bigint): bigint {
  const one = 1n << scale;
  const halvings = 3;
  let reduced = t;
  // arctan(t) = 2 arctan(t / (1 + sqrt(1 + t^2)))
  for (let i = 0; i < halvings; i++) {
    reduced = (reduced << scale) / (one + integerSqrt((one << scale) + reduced * reduced));
  }
  const square = (reduced * reduced) >> scale;
  let power = reduced;
  let sum = 0n;
  for (let k = 1n; power !== 0n && power !== -1n; k += 2n) {
    sum += power / k;
    power = -((power * square) >> scale);
  }
  return sum << BigInt(halvings);
}

/** The angle of (x, y), both finite and not zero. */
export function arctan2(y: Operand, x: Operand): Operand {
  const gap = exponentOf(y) - exponentOf(x);
  if (gap < -SMALL) {
    if (x.sign === 0) {
      const shift = 192 + bitLength(x.sig);
      // t - t^3/3: just below the quotient.
      return finite(y.sign, (((y.sig << BigInt(shift)) / x.sig) << 1n) - 1n, y.exp - x.exp - shift - 1);
    }
    return inexact(y.sign, constant(PI, 192) - 1n, 192);
  }
  if (gap > SMALL) return inexact(y.sign, (constant(PI, 192) >> 1n) - BigInt(x.sign ? 0 : 1), 192);
  const bits = GUARD + 32 + Math.abs(gap) * 2;
  const scale = BigInt(bits);
  const pi = constant(PI, bits);
  const yScaled = y.sig << BigInt(Math.max(0, y.exp - x.exp));
  const xScaled = x.sig << BigInt(Math.max(0, x.exp - y.exp));
  let angle: bigint;
  if (yScaled <= xScaled) angle = arctanFixed((yScaled << scale) / xScaled, scale);
  else angle = (pi >> 1n) - arctanFixed((xScaled << scale) / yScaled, scale);
  return inexact(y.sign, x.sign ? pi - angle : angle, bits);
}

/** pi times `numerator`/4 with a sign, as FPATAN returns it for zeros and infinities. */
export function quarterPis(sign: number, numerator: number): Operand {
  return inexact(sign, (constant(PI, 192) * BigInt(numerator)) >> 2n, 192);
}

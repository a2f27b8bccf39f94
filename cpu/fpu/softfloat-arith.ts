// Arithmetic and comparison of unpacked operands; results are packed in the destination format.

import {
  bitLength,
  DE,
  FINITE,
  type FloatContext,
  type FloatFormat,
  IE,
  INFINITE,
  invalid,
  type Operand,
  packInfinity,
  packNaN,
  packZero,
  QNAN,
  RC_DOWN,
  roundPack,
  roundToInteger,
  SNAN,
  UNSUPPORTED,
  ZE,
  ZERO,
} from "./softfloat.ts";

/**
 * The NaN that a two-operand instruction returns (SDM volume 1, table 4-7): SSE takes the first operand when it is one;
 * x87 takes a QNaN before an SNaN, then the larger significand, then the positive one.
 */
export function propagateNaN(ctx: FloatContext, fmt: FloatFormat, a: Operand, b: Operand): bigint {
  if (a.cls === UNSUPPORTED || b.cls === UNSUPPORTED) return invalid(ctx, fmt);
  if (a.cls === SNAN || b.cls === SNAN) ctx.flags |= IE;
  let chosen = a;
  if (a.cls < QNAN) chosen = b;
  else if (ctx.x87 && b.cls >= QNAN) {
    if (a.cls !== b.cls) chosen = a.cls === QNAN ? a : b;
    else if (a.sig !== b.sig) chosen = a.sig > b.sig ? a : b;
    else chosen = a.sign <= b.sign ? a : b;
  }
  return packNaN(fmt, chosen.sign, chosen.sig);
}

function raiseDenormal(ctx: FloatContext, a: Operand, b: Operand): void {
  if (a.denormal || b.denormal) ctx.flags |= DE;
}

/** Beyond this many bits the smaller summand is only a sticky bit. */
const FAR = 256;

/** Exact sum, or one whose far-away tail is a sticky bit; both operands FINITE. */
function sumInto(
  ctx: FloatContext,
  fmt: FloatFormat,
  aSign: number,
  aSig: bigint,
  aExp: number,
  bSign: number,
  bSig: bigint,
  bExp: number,
): bigint {
  let sigA = aSig;
  let sigB = bSig;
  let exp = Math.min(aExp, bExp);
  if (aExp - bExp > FAR && aExp > bExp + bitLength(bSig)) {
    exp = aExp - FAR;
    sigA = aSig << BigInt(FAR);
    sigB = 1n;
  } else if (bExp - aExp > FAR && bExp > aExp + bitLength(aSig)) {
    exp = bExp - FAR;
    sigB = bSig << BigInt(FAR);
    sigA = 1n;
  } else {
    sigA <<= BigInt(aExp - exp);
    sigB <<= BigInt(bExp - exp);
  }
  const sum = (aSign ? -sigA : sigA) + (bSign ? -sigB : sigB);
  if (sum === 0n) return packZero(fmt, ctx.rounding === RC_DOWN ? 1 : 0);
  return sum < 0n ? roundPack(ctx, fmt, 1, -sum, exp) : roundPack(ctx, fmt, 0, sum, exp);
}

/** a + b, or a - b with `negate` = 1. */
export function add(ctx: FloatContext, fmt: FloatFormat, a: Operand, b: Operand, negate: number): bigint {
  if (a.cls >= QNAN || b.cls >= QNAN) return propagateNaN(ctx, fmt, a, b);
  const bSign = b.sign ^ negate;
  if (a.cls === INFINITE && b.cls === INFINITE && a.sign !== bSign) return invalid(ctx, fmt);
  raiseDenormal(ctx, a, b);
  if (a.cls === INFINITE) return packInfinity(fmt, a.sign);
  if (b.cls === INFINITE) return packInfinity(fmt, bSign);
  if (a.cls === ZERO && b.cls === ZERO)
    return packZero(fmt, a.sign === bSign ? a.sign : ctx.rounding === RC_DOWN ? 1 : 0);
  if (a.cls === ZERO) return roundPack(ctx, fmt, bSign, b.sig, b.exp);
  if (b.cls === ZERO) return roundPack(ctx, fmt, a.sign, a.sig, a.exp);
  return sumInto(ctx, fmt, a.sign, a.sig, a.exp, bSign, b.sig, b.exp);
}

export function multiply(ctx: FloatContext, fmt: FloatFormat, a: Operand, b: Operand): bigint {
  if (a.cls >= QNAN || b.cls >= QNAN) return propagateNaN(ctx, fmt, a, b);
  const sign = a.sign ^ b.sign;
  if (a.cls === INFINITE || b.cls === INFINITE) {
    if (a.cls === ZERO || b.cls === ZERO) return invalid(ctx, fmt);
    raiseDenormal(ctx, a, b);
    return packInfinity(fmt, sign);
  }
  raiseDenormal(ctx, a, b);
  if (a.cls === ZERO || b.cls === ZERO) return packZero(fmt, sign);
  return roundPack(ctx, fmt, sign, a.sig * b.sig, a.exp + b.exp);
}

export function divide(ctx: FloatContext, fmt: FloatFormat, a: Operand, b: Operand): bigint {
  if (a.cls >= QNAN || b.cls >= QNAN) return propagateNaN(ctx, fmt, a, b);
  const sign = a.sign ^ b.sign;
  if (a.cls === INFINITE) {
    if (b.cls === INFINITE) return invalid(ctx, fmt);
    raiseDenormal(ctx, a, b);
    return packInfinity(fmt, sign);
  }
  if (b.cls === ZERO) {
    if (a.cls === ZERO) return invalid(ctx, fmt);
    ctx.flags |= ZE;
    return packInfinity(fmt, sign);
  }
  raiseDenormal(ctx, a, b);
  if (b.cls === INFINITE || a.cls === ZERO) return packZero(fmt, sign);
  // Two more quotient bits than the widest significand, and a sticky bit below them.
  const shift = Math.max(0, 67 + bitLength(b.sig) - bitLength(a.sig));
  const numerator = a.sig << BigInt(shift);
  const quotient = numerator / b.sig;
  const sticky = quotient * b.sig === numerator ? 0n : 1n;
  return roundPack(ctx, fmt, sign, (quotient << 1n) | sticky, a.exp - b.exp - shift - 1);
}

/** Largest r with r * r <= n. */
export function integerSqrt(n: bigint): bigint {
  if (n < 2n) return n;
  let r = 1n << BigInt((bitLength(n) + 1) >> 1);
  for (;;) {
    const next = (r + n / r) >> 1n;
    if (next >= r) return r;
    r = next;
  }
}

export function squareRoot(ctx: FloatContext, fmt: FloatFormat, a: Operand): bigint {
  if (a.cls >= QNAN) return propagateNaN(ctx, fmt, a, a);
  if (a.cls === ZERO) return packZero(fmt, a.sign);
  if (a.sign) return invalid(ctx, fmt);
  if (a.cls === INFINITE) return packInfinity(fmt, 0);
  raiseDenormal(ctx, a, a);
  // A radicand of at least 134 bits and an even exponent: a root of at least 67 bits.
  let shift = Math.max(0, 134 - bitLength(a.sig));
  if ((a.exp - shift) & 1) shift++;
  const radicand = a.sig << BigInt(shift);
  const root = integerSqrt(radicand);
  const sticky = root * root === radicand ? 0n : 1n;
  return roundPack(ctx, fmt, 0, (root << 1n) | sticky, (a.exp - shift) / 2 - 1);
}

/**
 * a * b + c with one rounding; the signs of the product and of c are inverted by 1. NaNs are taken in the order a, b, c and keep
 * their sign (SDM volume 1, 14.5.2).
 */
export function fusedMultiplyAdd(
  ctx: FloatContext,
  fmt: FloatFormat,
  a: Operand,
  b: Operand,
  c: Operand,
  negateProduct: number,
  negateAddend: number,
): bigint {
  if (a.cls >= QNAN || b.cls >= QNAN || c.cls >= QNAN) {
    if (a.cls === SNAN || b.cls === SNAN || c.cls === SNAN) ctx.flags |= IE;
    const chosen = a.cls >= QNAN ? a : b.cls >= QNAN ? b : c;
    return packNaN(fmt, chosen.sign, chosen.sig);
  }
  const sign = a.sign ^ b.sign ^ negateProduct;
  const cSign = c.sign ^ negateAddend;
  const productInfinite = a.cls === INFINITE || b.cls === INFINITE;
  if (productInfinite && (a.cls === ZERO || b.cls === ZERO)) return invalid(ctx, fmt);
  if (productInfinite && c.cls === INFINITE && cSign !== sign) return invalid(ctx, fmt);
  raiseDenormal(ctx, a, b);
  raiseDenormal(ctx, c, c);
  if (productInfinite) return packInfinity(fmt, sign);
  if (c.cls === INFINITE) return packInfinity(fmt, cSign);
  if (a.cls === ZERO || b.cls === ZERO) {
    if (c.cls === ZERO) return packZero(fmt, cSign === sign ? sign : ctx.rounding === RC_DOWN ? 1 : 0);
    return roundPack(ctx, fmt, cSign, c.sig, c.exp);
  }
  const product = a.sig * b.sig;
  const exp = a.exp + b.exp;
  if (c.cls === ZERO) return roundPack(ctx, fmt, sign, product, exp);
  return sumInto(ctx, fmt, sign, product, exp, cSign, c.sig, c.exp);
}

export const LESS = 0;
export const EQUAL = 1;
export const GREATER = 2;
export const UNORDERED = 3;

/** Order of two finite values or infinities, -0 equal to +0. */
function order(a: Operand, b: Operand): number {
  const aSign = a.cls === ZERO ? 0 : a.sign ? -1 : 1;
  const bSign = b.cls === ZERO ? 0 : b.sign ? -1 : 1;
  if (aSign !== bSign) return aSign < bSign ? LESS : GREATER;
  if (aSign === 0) return EQUAL;
  let magnitude = 0;
  if (a.cls === INFINITE || b.cls === INFINITE) {
    magnitude = (a.cls === INFINITE ? 1 : 0) - (b.cls === INFINITE ? 1 : 0);
  } else {
    const aTop = a.exp + bitLength(a.sig);
    const bTop = b.exp + bitLength(b.sig);
    if (aTop !== bTop) magnitude = aTop > bTop ? 1 : -1;
    else {
      const exp = Math.min(a.exp, b.exp);
      const x = a.sig << BigInt(a.exp - exp);
      const y = b.sig << BigInt(b.exp - exp);
      magnitude = x === y ? 0 : x > y ? 1 : -1;
    }
  }
  if (magnitude === 0) return EQUAL;
  return magnitude * aSign > 0 ? GREATER : LESS;
}

/** Compares; `signaling` raises #I for quiet NaNs too (COMISS, FCOM), otherwise only for signaling ones (UCOMISS, FUCOM). */
export function compare(ctx: FloatContext, a: Operand, b: Operand, signaling: boolean): number {
  if (a.cls >= QNAN || b.cls >= QNAN) {
    if (signaling || a.cls >= SNAN || b.cls >= SNAN) ctx.flags |= IE;
    return UNORDERED;
  }
  raiseDenormal(ctx, a, b);
  return order(a, b);
}

/** Converts between formats; a denormal operand raises #D, a signaling NaN #I. */
export function convert(ctx: FloatContext, to: FloatFormat, a: Operand): bigint {
  if (a.cls === ZERO) return packZero(to, a.sign);
  if (a.cls === INFINITE) return packInfinity(to, a.sign);
  if (a.cls >= QNAN) return propagateNaN(ctx, to, a, a);
  raiseDenormal(ctx, a, a);
  return roundPack(ctx, to, a.sign, a.sig, a.exp);
}

/** Converts a signed integer, raising #P when the format is too narrow for it. */
export function fromInteger(ctx: FloatContext, to: FloatFormat, value: bigint): bigint {
  if (value === 0n) return packZero(to, 0);
  return value < 0n ? roundPack(ctx, to, 1, -value, 0) : roundPack(ctx, to, 0, value, 0);
}

/**
 * Converts to a signed integer of `bits` bits by `rounding`. NaNs, infinities and values out of range raise #I alone and
 * give the integer indefinite, which is the most negative integer.
 */
export function toInteger(ctx: FloatContext, a: Operand, bits: number, rounding: number): bigint {
  const limit = 1n << BigInt(bits - 1);
  if (a.cls <= FINITE && (a.cls === ZERO || a.exp + bitLength(a.sig) <= bits + 1)) {
    const flags = ctx.flags;
    const value = roundToInteger(ctx, rounding, a);
    if (value >= -limit && value < limit) return value;
    ctx.flags = flags;
  }
  ctx.roundedUp = false;
  ctx.flags |= IE;
  return -limit;
}

/** Rounds to an integral value in the same format (ROUNDPS, FRNDINT); the sign of a zero result is the operand's. */
export function roundToIntegral(ctx: FloatContext, fmt: FloatFormat, a: Operand, rounding: number): bigint {
  if (a.cls >= QNAN) return propagateNaN(ctx, fmt, a, a);
  if (a.cls === INFINITE) return packInfinity(fmt, a.sign);
  if (a.cls === ZERO) return packZero(fmt, a.sign);
  if (a.exp >= 0) return roundPack(ctx, fmt, a.sign, a.sig, a.exp);
  const value = roundToInteger(ctx, rounding, a);
  const roundedUp = ctx.roundedUp;
  if (value === 0n) return packZero(fmt, a.sign);
  const packed = roundPack(ctx, fmt, a.sign, value < 0n ? -value : value, 0);
  ctx.roundedUp = roundedUp;
  return packed;
}

// Binary floating point after IEEE 754 as x86 processors do it: formats, unpacking and the one rounding step.
//
// A finite value is `sig * 2^exp` with an integer `sig` of any size, so that every operation first makes an exact (or
// sticky) result and rounds once, in `roundPack`. SDM volume 1, chapter 4.8 (formats, NaNs), 4.9 (exceptions), 8.4, 11.5.

/** Exception flags, at the bit positions they have in the x87 status word and in MXCSR. */
export const IE = 0x01;
export const DE = 0x02;
export const ZE = 0x04;
export const OE = 0x08;
export const UE = 0x10;
export const PE = 0x20;
/** Exceptions found before the operation is carried out; unmasked, they suppress it and the later ones. */
export const PRE_COMPUTATION: number = IE | DE | ZE;

/** Rounding control, as encoded in the x87 control word and MXCSR. */
export const RC_NEAREST = 0;
export const RC_DOWN = 1;
export const RC_UP = 2;
export const RC_ZERO = 3;

export interface FloatFormat {
  /** Width of the encoding in bits. */
  readonly bits: number;
  /** Significand bits, the integer bit included. */
  readonly precision: number;
  readonly bias: number;
  /** Unbiased exponents of the smallest and the largest normal number. */
  readonly emin: number;
  readonly emax: number;
  /** Whether the integer bit is part of the encoding (the double extended format). */
  readonly explicit: boolean;
}

function format(bits: number, precision: number, exponentBits: number, explicit: boolean): FloatFormat {
  const bias = 2 ** (exponentBits - 1) - 1;
  return { bits, precision, bias, emin: 1 - bias, emax: bias, explicit };
}

export const F16: FloatFormat = format(16, 11, 5, false);
export const F32: FloatFormat = format(32, 24, 8, false);
export const F64: FloatFormat = format(64, 53, 11, false);
export const F80: FloatFormat = format(80, 64, 15, true);

/** Classes of operands. Everything from QNAN on is not a number. */
export const ZERO = 0;
export const FINITE = 1;
export const INFINITE = 2;
export const QNAN = 3;
export const SNAN = 4;
/** Unnormals, pseudo-infinities and pseudo-NaNs of the double extended format. */
export const UNSUPPORTED = 5;

export interface Operand {
  cls: number;
  sign: number;
  /** Exponent of the least significant bit of `sig` (FINITE only). */
  exp: number;
  /** FINITE: the integer significand. NaN: 64-bit significand with its integer bit, whatever the format it came from. */
  sig: bigint;
  denormal: boolean;
}

/** What an operation runs under, and what it reports. One mutable object per core; no operation allocates another. */
export interface FloatContext {
  rounding: number;
  /** Significand bits that x87 arithmetic rounds to: 24, 53 or 64. Only the F80 format obeys it. */
  precision: number;
  /** Masked exceptions, one bit each. */
  masks: number;
  daz: boolean;
  ftz: boolean;
  /** x87 rules: the NaN of the larger significand wins; unmasked overflow and underflow deliver a wrapped exponent. */
  x87: boolean;
  flags: number;
  /** The last rounding increased the magnitude (C1 of the x87 status word). */
  roundedUp: boolean;
}

export function createFloatContext(): FloatContext {
  return {
    rounding: RC_NEAREST,
    precision: 64,
    masks: 0x3f,
    daz: false,
    ftz: false,
    x87: false,
    flags: 0,
    roundedUp: false,
  };
}

const INTEGER_BIT = 1n << 63n;
export const QUIET_BIT: bigint = 1n << 62n;
/** Significand of the "real indefinite" QNaN. */
export const INDEFINITE: bigint = INTEGER_BIT | QUIET_BIT;
/** The real indefinite of the double extended format. */
export const F80_INDEFINITE: bigint = (0xffffn << 64n) | INDEFINITE;

const asDouble: Float64Array = new Float64Array(1);
const asWords: Uint32Array = new Uint32Array(asDouble.buffer);

/** Bits of x >= 0 up to its highest one; 0 of zero. */
export function bitLength(x: bigint): number {
  asDouble[0] = Number(x);
  const high = asWords[1] as number;
  const exponent = high >>> 20;
  if (exponent === 0) return 0;
  if (exponent === 0x7ff) return x.toString(2).length;
  const length = exponent - 1022;
  // A power of two may have been rounded up to.
  if ((high & 0xfffff) !== 0 || asWords[0] !== 0) return length;
  return x >> BigInt(length - 1) === 0n ? length - 1 : length;
}

function operand(cls: number, sign: number, exp: number, sig: bigint, denormal: boolean): Operand {
  return { cls, sign, exp, sig, denormal };
}

export function finite(sign: number, sig: bigint, exp: number): Operand {
  return operand(sig === 0n ? ZERO : FINITE, sign, exp, sig, false);
}

/** A half; only F16C knows it, which has no DAZ for it, and no #D. */
export function unpackF16(bits: number): Operand {
  const sign = (bits >>> 15) & 1;
  const biased = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (biased === 0x1f) {
    if (fraction === 0) return operand(INFINITE, sign, 0, 0n, false);
    const cls = fraction & 0x200 ? QNAN : SNAN;
    return operand(cls, sign, 0, INTEGER_BIT | (BigInt(fraction) << 53n), false);
  }
  if (biased === 0) {
    if (fraction === 0) return operand(ZERO, sign, 0, 0n, false);
    return operand(FINITE, sign, -24, BigInt(fraction), false);
  }
  return operand(FINITE, sign, biased - 25, BigInt(fraction | 0x400), false);
}

export function unpackF32(ctx: FloatContext, bits: number): Operand {
  const sign = bits >>> 31;
  const biased = (bits >>> 23) & 0xff;
  const fraction = bits & 0x7fffff;
  if (biased === 0xff) {
    if (fraction === 0) return operand(INFINITE, sign, 0, 0n, false);
    const cls = fraction & 0x400000 ? QNAN : SNAN;
    return operand(cls, sign, 0, INTEGER_BIT | (BigInt(fraction) << 40n), false);
  }
  if (biased === 0) {
    if (fraction === 0 || ctx.daz) return operand(ZERO, sign, 0, 0n, false);
    return operand(FINITE, sign, -149, BigInt(fraction), true);
  }
  return operand(FINITE, sign, biased - 150, BigInt(fraction | 0x800000), false);
}

export function unpackF64(ctx: FloatContext, bits: bigint): Operand {
  const sign = Number(bits >> 63n) & 1;
  const biased = Number((bits >> 52n) & 0x7ffn);
  const fraction = bits & 0xf_ffff_ffff_ffffn;
  if (biased === 0x7ff) {
    if (fraction === 0n) return operand(INFINITE, sign, 0, 0n, false);
    const cls = fraction >> 51n ? QNAN : SNAN;
    return operand(cls, sign, 0, INTEGER_BIT | (fraction << 11n), false);
  }
  if (biased === 0) {
    if (fraction === 0n || ctx.daz) return operand(ZERO, sign, 0, 0n, false);
    return operand(FINITE, sign, -1074, fraction, true);
  }
  return operand(FINITE, sign, biased - 1075, fraction | 0x10_0000_0000_0000n, false);
}

/** Unpacks a double extended value from its significand and its sign-and-exponent word. */
export function unpackF80(sig: bigint, signExponent: number): Operand {
  const sign = (signExponent >> 15) & 1;
  const biased = signExponent & 0x7fff;
  const integer = sig >> 63n !== 0n;
  if (biased === 0) {
    if (sig === 0n) return operand(ZERO, sign, 0, 0n, false);
    // A pseudo-denormal (integer bit set) has the value it would have with exponent 1, and is a denormal operand too.
    return operand(FINITE, sign, -16445, sig, true);
  }
  if (!integer) return operand(UNSUPPORTED, sign, 0, sig, false);
  if (biased === 0x7fff) {
    if (sig === INTEGER_BIT) return operand(INFINITE, sign, 0, 0n, false);
    return operand(sig & QUIET_BIT ? QNAN : SNAN, sign, 0, sig, false);
  }
  return operand(FINITE, sign, biased - 16446, sig, false);
}

/** Unpacks the `bits`-wide encoding that the operations return. */
export function unpack(ctx: FloatContext, fmt: FloatFormat, bits: bigint): Operand {
  if (fmt === F32) return unpackF32(ctx, Number(bits));
  if (fmt === F64) return unpackF64(ctx, bits);
  return unpackF80(BigInt.asUintN(64, bits), Number(bits >> 64n));
}

/** Joins sign, biased exponent and a significand that carries its integer bit (dropped unless the format has it). */
function join(fmt: FloatFormat, sign: number, biased: number, sig: bigint): bigint {
  const fieldBits = fmt.explicit ? fmt.precision : fmt.precision - 1;
  const field = BigInt.asUintN(fieldBits, sig);
  const exponentBits = fmt.bits - 1 - fieldBits;
  return (BigInt((sign << exponentBits) | biased) << BigInt(fieldBits)) | field;
}

export function packZero(fmt: FloatFormat, sign: number): bigint {
  return sign ? 1n << BigInt(fmt.bits - 1) : 0n;
}

export function packInfinity(fmt: FloatFormat, sign: number): bigint {
  return join(fmt, sign, fmt.bias * 2 + 1, 1n << BigInt(fmt.precision - 1));
}

/** Packs a NaN, made quiet; a narrower format keeps the upper bits of the payload. */
export function packNaN(fmt: FloatFormat, sign: number, sig: bigint): bigint {
  return join(fmt, sign, fmt.bias * 2 + 1, (sig | QUIET_BIT) >> BigInt(64 - fmt.precision));
}

export function packIndefinite(fmt: FloatFormat): bigint {
  return packNaN(fmt, 1, INDEFINITE);
}

/** Raises #I and returns the masked response. */
export function invalid(ctx: FloatContext, fmt: FloatFormat): bigint {
  ctx.flags |= IE;
  return packIndefinite(fmt);
}

// Results of roundShift.
let lostBits = false;
let incremented = false;

/** `sig / 2^shift` rounded to an integer by `rounding`; leaves what it did in `lostBits` and `incremented`. */
function roundShift(rounding: number, sign: number, sig: bigint, shift: number): bigint {
  lostBits = false;
  incremented = false;
  if (shift <= 0) return sig << BigInt(-shift);
  const amount = BigInt(shift);
  const kept = sig >> amount;
  const rest = sig - (kept << amount);
  if (rest === 0n) return kept;
  lostBits = true;
  if (rounding === RC_NEAREST) {
    const half = 1n << (amount - 1n);
    incremented = rest > half || (rest === half && (kept & 1n) === 1n);
  } else if (rounding === RC_DOWN) incremented = sign === 1;
  else if (rounding === RC_UP) incremented = sign === 0;
  return incremented ? kept + 1n : kept;
}

/** Exponent adjustment of the wrapped result that an unmasked x87 overflow or underflow delivers (SDM 4.9.1.5). */
const WRAP = 24576;

function wrapped(ctx: FloatContext, fmt: FloatFormat, sign: number, sig: bigint, exponent: number): bigint {
  // Only FSCALE leaves the range even after the adjustment (SSE discards the result anyway).
  if (exponent > fmt.emax || exponent < fmt.emin) {
    if (fmt.explicit) ctx.flags |= PE;
    ctx.roundedUp = exponent > 0;
    return exponent > 0 ? packInfinity(fmt, sign) : packZero(fmt, sign);
  }
  return join(fmt, sign, exponent + fmt.bias, sig);
}

/**
 * Rounds the non-zero `sig * 2^exp` (a sticky lowest bit is welcome) into `fmt`, raising #O, #U and #P in `ctx.flags`.
 * Tininess is detected after rounding. With #O or #U unmasked the result is the wrapped one for x87 registers; for SSE
 * and for stores to memory it is not meant to be used.
 */
export function roundPack(ctx: FloatContext, fmt: FloatFormat, sign: number, sig: bigint, exp: number): bigint {
  const precision = fmt.explicit ? ctx.precision : fmt.precision;
  const widen = BigInt(fmt.precision - precision);
  const length = bitLength(sig);
  let rounded = roundShift(ctx.rounding, sign, sig, length - precision);
  let exponent = exp + length - 1;
  if (bitLength(rounded) > precision) {
    rounded >>= 1n;
    exponent++;
  }
  if (exponent > fmt.emax) {
    if ((ctx.masks & OE) === 0) {
      ctx.flags |= OE | (lostBits ? PE : 0);
      ctx.roundedUp = incremented;
      return wrapped(ctx, fmt, sign, rounded << widen, exponent - WRAP);
    }
    ctx.flags |= OE | PE;
    const towards =
      ctx.rounding === RC_NEAREST || (ctx.rounding === RC_UP && sign === 0) || (ctx.rounding === RC_DOWN && sign === 1);
    ctx.roundedUp = towards;
    if (towards) return packInfinity(fmt, sign);
    return join(fmt, sign, fmt.emax + fmt.bias, ((1n << BigInt(precision)) - 1n) << widen);
  }
  if (exponent < fmt.emin) {
    if ((ctx.masks & UE) === 0) {
      ctx.flags |= UE | (lostBits ? PE : 0);
      ctx.roundedUp = incremented;
      return wrapped(ctx, fmt, sign, rounded << widen, exponent + WRAP);
    }
    if (ctx.ftz) {
      ctx.flags |= UE | PE;
      ctx.roundedUp = false;
      return packZero(fmt, sign);
    }
    const denormal = roundShift(ctx.rounding, sign, sig, fmt.emin - (precision - 1) - exp) << widen;
    if (lostBits) ctx.flags |= UE | PE;
    ctx.roundedUp = incremented;
    return join(fmt, sign, denormal >> BigInt(fmt.precision - 1) ? 1 : 0, denormal);
  }
  if (lostBits) ctx.flags |= PE;
  ctx.roundedUp = incremented;
  return join(fmt, sign, exponent + fmt.bias, rounded << widen);
}

/** A finite value rounded to an integer by `rounding`, signed; raises #P when it was none. */
export function roundToInteger(ctx: FloatContext, rounding: number, a: Operand): bigint {
  ctx.roundedUp = false;
  if (a.cls === ZERO) return 0n;
  const shift = -a.exp;
  // Anything this small only leaves a sticky bit; the cap keeps the shift of denormals short.
  const magnitude =
    shift > 200 && bitLength(a.sig) < shift - 2
      ? roundShift(rounding, a.sign, 1n, 2)
      : roundShift(rounding, a.sign, a.sig, shift);
  if (lostBits) ctx.flags |= PE;
  ctx.roundedUp = incremented;
  return a.sign ? -magnitude : magnitude;
}

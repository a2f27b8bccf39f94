// F2XM1, FYL2X, FYL2XP1, FPTAN, FPATAN, FSIN, FCOS, FSINCOS: domains, special operands and conditions.
// SDM volume 2, and the tables of results there. The numbers come from transcendental.ts.

import { FPU_SW } from "../arena.ts";
import type { Core } from "../core.ts";
import {
  bitLength,
  DE,
  F80,
  F80_INDEFINITE,
  FINITE,
  INFINITE,
  invalid,
  type Operand,
  PE,
  packInfinity,
  packZero,
  QNAN,
  roundPack,
  UE,
  ZE,
  ZERO,
} from "./softfloat.ts";
import { convert, propagateNaN } from "./softfloat-arith.ts";
import { arctan2, exp2MinusOne, quarterPis, type SinCos, sinCosTan, yLog2, yLog2PlusOne } from "./transcendental.ts";
import { unary } from "./x87-arith.ts";
import { begin, finish, isEmpty, pop, push, readST, SW_C2, stackFault, writeST, x87 } from "./x87-state.ts";
import type { X87Operation } from "./x87-transfer.ts";

const SW = FPU_SW >> 2;
const ONE = 0x3fff_8000_0000_0000_0000n;

function pack(value: Operand): bigint {
  return value.cls === ZERO ? packZero(F80, value.sign) : roundPack(x87, F80, value.sign, value.sig, value.exp);
}

/** The same for a result that may happen to be exact: the processors raise #P, and #U if it is tiny, all the same. */
function packInexact(value: Operand): bigint {
  const bits = pack(value);
  x87.flags |= PE;
  if (value.cls === FINITE && exponentOf(value) < F80.emin) x87.flags |= UE;
  return bits;
}

/** floor(log2(|a|)). */
function exponentOf(a: Operand): number {
  return a.exp + bitLength(a.sig) - 1;
}

function denormals(a: Operand, b: Operand): void {
  if (a.denormal || b.denormal) x87.flags |= DE;
}

/** 2^x - 1. Outside [-1, 1] the manuals leave the result open: it is the operand. */
export const f2xm1: X87Operation = unary((a) => {
  if (a.cls >= QNAN) return propagateNaN(x87, F80, a, a);
  if (a.cls === ZERO) return packZero(F80, a.sign);
  if (a.cls === INFINITE) return a.sign ? ONE | (1n << 79n) : packInfinity(F80, 0);
  denormals(a, a);
  const exponent = exponentOf(a);
  if (exponent >= 0) {
    x87.flags |= PE;
    // At 1 and -1 the processors round a result just below 1, and give -1/2, as inexact.
    if (exponent === 0 && a.sig === 1n << BigInt(bitLength(a.sig) - 1))
      return a.sign ? 0xbffe_8000_0000_0000_0000n : roundPack(x87, F80, 0, (1n << 128n) - 1n, -128);
    return convert(x87, F80, a);
  }
  return pack(exp2MinusOne(a));
});

/** ST(1) = f(ST(1), ST(0)), then a pop. */
function binaryPop(m: Core, f: (y: Operand, x: Operand) => bigint): void {
  begin(m);
  if (isEmpty(m, 0) || isEmpty(m, 1)) {
    if (!stackFault(m, false)) return;
    writeST(m, 1, F80_INDEFINITE);
  } else {
    const bits = f(readST(m, 1), readST(m, 0));
    if (!finish(m)) return;
    writeST(m, 1, bits);
  }
  pop(m);
}

function yLog2x(y: Operand, x: Operand): bigint {
  if (x.cls >= QNAN || y.cls >= QNAN) return propagateNaN(x87, F80, x, y);
  if (x.cls === ZERO) {
    if (y.cls === ZERO) return invalid(x87, F80);
    if (y.cls === INFINITE) return packInfinity(F80, y.sign ^ 1);
    x87.flags |= ZE;
    return packInfinity(F80, y.sign ^ 1);
  }
  if (x.sign) return invalid(x87, F80);
  if (x.cls === INFINITE) {
    if (y.cls === ZERO) return invalid(x87, F80);
    denormals(y, y);
    return packInfinity(F80, y.sign);
  }
  const exponent = exponentOf(x);
  const isOne = exponent === 0 && x.sig === 1n << BigInt(bitLength(x.sig) - 1);
  if (y.cls === INFINITE) {
    if (isOne) return invalid(x87, F80);
    denormals(x, x);
    return packInfinity(F80, y.sign ^ (exponent < 0 ? 1 : 0));
  }
  denormals(x, y);
  if (isOne) return packZero(F80, y.sign);
  if (y.cls === ZERO) return packZero(F80, y.sign ^ (exponent < 0 ? 1 : 0));
  return packInexact(yLog2(y, x));
}

function yLog2xPlusOne(y: Operand, x: Operand): bigint {
  if (x.cls >= QNAN || y.cls >= QNAN) return propagateNaN(x87, F80, x, y);
  if (x.cls === INFINITE) {
    if (x.sign || y.cls === ZERO) return invalid(x87, F80);
    denormals(y, y);
    return packInfinity(F80, y.sign);
  }
  if (y.cls === INFINITE) {
    if (x.cls === ZERO) return invalid(x87, F80);
    denormals(x, x);
    return packInfinity(F80, y.sign ^ x.sign);
  }
  denormals(x, y);
  if (x.cls === ZERO || y.cls === ZERO) return packZero(F80, x.sign ^ y.sign);
  // The manuals define |x| <= 1 - sqrt(1/2) only; from -1 down the processors return the operand.
  if (x.sign && exponentOf(x) >= 0) {
    x87.flags |= PE;
    return convert(x87, F80, x);
  }
  return packInexact(yLog2PlusOne(y, x));
}

/** The angle of the point (ST(0), ST(1)). */
function arctangent(y: Operand, x: Operand): bigint {
  if (x.cls >= QNAN || y.cls >= QNAN) return propagateNaN(x87, F80, x, y);
  denormals(x, y);
  if (y.cls === INFINITE) {
    return pack(quarterPis(y.sign, x.cls !== INFINITE ? 2 : x.sign ? 3 : 1));
  }
  if (x.cls === INFINITE || y.cls === ZERO) {
    return x.sign ? pack(quarterPis(y.sign, 4)) : packZero(F80, y.sign);
  }
  if (x.cls === ZERO) return pack(quarterPis(y.sign, 2));
  return pack(arctan2(y, x));
}

export const fyl2x = (m: Core): void => binaryPop(m, yLog2x);
export const fyl2xp1 = (m: Core): void => binaryPop(m, yLog2xPlusOne);
export const fpatan = (m: Core): void => binaryPop(m, arctangent);

// ---- trigonometry -----------------------------------------------------------------------------------------------

/** x^2/3 is below a quarter of the last place from here down. */
const SMALL_TANGENT = -33;

const INVALID = 0;
const SPECIAL = 1;
const OUT_OF_RANGE = 2;
const IN_RANGE = 3;

let angle: SinCos | null = null;
let special = 0n;

/** Sorts the operand of a trigonometric function; IN_RANGE leaves its functions in `angle`. */
function classify(a: Operand): number {
  angle = null;
  if (a.cls >= QNAN) {
    special = propagateNaN(x87, F80, a, a);
    return SPECIAL;
  }
  if (a.cls === INFINITE) {
    special = invalid(x87, F80);
    return INVALID;
  }
  if (a.cls === FINITE) {
    if (exponentOf(a) >= 63) return OUT_OF_RANGE;
    denormals(a, a);
    angle = sinCosTan(a);
  }
  return IN_RANGE;
}

/** FSIN and FCOS; C2 set and nothing done if |ST(0)| >= 2^63. */
function sineOrCosine(cosine: boolean): X87Operation {
  return (m) => {
    begin(m);
    m.i32[SW] = (m.i32[SW] as number) & ~SW_C2;
    if (isEmpty(m, 0)) {
      if (stackFault(m, false)) writeST(m, 0, F80_INDEFINITE);
      return;
    }
    const a = readST(m, 0);
    const kind = classify(a);
    if (kind === OUT_OF_RANGE) {
      m.i32[SW] = (m.i32[SW] as number) | SW_C2;
      return;
    }
    let bits = special;
    if (kind === IN_RANGE) {
      if (angle === null) bits = cosine ? ONE : packZero(F80, a.sign);
      else bits = pack(cosine ? angle.cos : angle.sin);
    }
    if (finish(m)) writeST(m, 0, bits);
  };
}
export const fsin: X87Operation = sineOrCosine(false);
export const fcos: X87Operation = sineOrCosine(true);

/** FSINCOS and FPTAN: the first result replaces ST(0), the second (cosine, or one) is pushed. */
function twoResults(tangent: boolean): X87Operation {
  return (m) => {
    begin(m);
    m.i32[SW] = (m.i32[SW] as number) & ~SW_C2;
    const underflow = isEmpty(m, 0);
    if (underflow || !isEmpty(m, 7)) {
      if (!stackFault(m, !underflow)) return;
      writeST(m, 0, F80_INDEFINITE);
      push(m, F80_INDEFINITE);
      return;
    }
    const a = readST(m, 0);
    const kind = classify(a);
    if (kind === OUT_OF_RANGE) {
      m.i32[SW] = (m.i32[SW] as number) | SW_C2;
      return;
    }
    let first = special;
    let second = special;
    if (kind === IN_RANGE) {
      if (angle === null) {
        first = packZero(F80, a.sign);
        second = ONE;
      } else {
        second = tangent ? ONE : pack(angle.cos);
        // The processors return a small normal operand of FPTAN as it is in every rounding mode.
        const small = tangent && !a.denormal && exponentOf(a) <= SMALL_TANGENT;
        first = small ? packInexact(a) : pack(tangent ? angle.tan : angle.sin);
      }
    }
    if (!finish(m)) return;
    writeST(m, 0, first);
    push(m, second);
  };
}
export const fptan: X87Operation = twoResults(true);
export const fsincos: X87Operation = twoResults(false);

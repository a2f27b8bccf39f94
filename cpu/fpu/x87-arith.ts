// x87 arithmetic, comparisons and the functions that are exact: FPREM, FPREM1, FSCALE, FXTRACT, FRNDINT, FSQRT.
// Operations take the core, the number of the ST(i) operand, and their memory operand in slot S_T0.

import { FPU_SW, S_T0 } from "../arena.ts";
import type { Core } from "../core.ts";
import { FLAG_CF, FLAG_PF, FLAG_ZF, setArithmeticFlags } from "../flags.ts";
import {
  bitLength,
  DE,
  F80,
  F80_INDEFINITE,
  finite,
  INFINITE,
  invalid,
  type Operand,
  packInfinity,
  packZero,
  QNAN,
  roundPack,
  unpackF32,
  unpackF64,
  ZE,
  ZERO,
} from "./softfloat.ts";
import {
  add,
  compare,
  divide,
  multiply,
  propagateNaN,
  roundToIntegral,
  squareRoot,
  UNORDERED,
} from "./softfloat-arith.ts";
import {
  begin,
  beginKeepingC1,
  finish,
  isEmpty,
  obeyPrecisionControl,
  pop,
  push,
  readST,
  SW_C0,
  SW_C1,
  SW_C2,
  SW_C3,
  setConditions,
  slot64,
  stackFault,
  writeST,
  x87,
} from "./x87-state.ts";
import type { X87Operation } from "./x87-transfer.ts";

/** Numbers of the operations in ModRM bits 5..3. */
export const FADD = 0;
export const FMUL = 1;
export const FSUB = 4;
export const FSUBR = 5;
export const FDIV = 6;
export const FDIVR = 7;

function compute(operation: number, a: Operand, b: Operand): bigint {
  switch (operation) {
    case FADD:
      return add(x87, F80, a, b, 0);
    case FMUL:
      return multiply(x87, F80, a, b);
    case FSUB:
      return add(x87, F80, a, b, 1);
    case FSUBR:
      return add(x87, F80, b, a, 1);
    case FDIV:
      return divide(x87, F80, a, b);
    default:
      return divide(x87, F80, b, a);
  }
}

/** ST(0) = ST(0) op ST(i). */
export function arithST0(operation: number): X87Operation {
  return (m, i) => arithRegisters(m, operation, 0, i, false);
}

/** ST(i) = ST(i) op ST(0), and a pop if `popping`. */
export function arithSTi(operation: number, popping: boolean): X87Operation {
  return (m, i) => arithRegisters(m, operation, i, 0, popping);
}

function arithRegisters(m: Core, operation: number, target: number, source: number, popping: boolean): void {
  begin(m);
  if (isEmpty(m, target) || isEmpty(m, source)) {
    if (!stackFault(m, false)) return;
    writeST(m, target, F80_INDEFINITE);
  } else {
    obeyPrecisionControl(m);
    const bits = compute(operation, readST(m, target), readST(m, source));
    if (!finish(m)) return;
    writeST(m, target, bits);
  }
  if (popping) pop(m);
}

/** How a memory operand becomes a number; bits above its size are to be ignored. */
export type MemoryOperand = (m: Core) => Operand;

const integer = (bits: number): MemoryOperand => {
  return (m) => {
    const value = BigInt.asIntN(bits, slot64(m, S_T0));
    return value < 0n ? finite(1, -value, 0) : finite(0, value, 0);
  };
};
export const M16_INT: MemoryOperand = integer(16);
export const M32_INT: MemoryOperand = integer(32);
export const M32_REAL: MemoryOperand = (m) => unpackF32(x87, Number(slot64(m, S_T0) & 0xffffffffn));
export const M64_REAL: MemoryOperand = (m) => unpackF64(x87, slot64(m, S_T0));

/** ST(0) = ST(0) op memory. */
export function arithMemory(operation: number, memory: MemoryOperand): X87Operation {
  return (m) => {
    begin(m);
    if (isEmpty(m, 0)) {
      if (stackFault(m, false)) writeST(m, 0, F80_INDEFINITE);
      return;
    }
    obeyPrecisionControl(m);
    const bits = compute(operation, readST(m, 0), memory(m));
    if (finish(m)) writeST(m, 0, bits);
  };
}

// ---- comparisons ------------------------------------------------------------------------------------------------

const CONDITION_BITS: readonly number[] = [SW_C0, SW_C3, 0, SW_C3 | SW_C2 | SW_C0];
const COMPARE_FLAGS: readonly number[] = [FLAG_CF, FLAG_ZF, 0, FLAG_ZF | FLAG_PF | FLAG_CF];

/**
 * Compares ST(0) with `b` (null: an empty register) into the condition bits, then pops `pops` times. An unmasked
 * exception keeps the stack as it is, but the processors set the condition bits all the same.
 */
function compareWith(m: Core, b: Operand | null, signaling: boolean, pops: number): void {
  if (isEmpty(m, 0) || b === null) {
    setConditions(m, SW_C3 | SW_C2 | SW_C0);
    if (!stackFault(m, false)) return;
  } else {
    const relation = compare(x87, readST(m, 0), b, signaling);
    setConditions(m, CONDITION_BITS[relation] as number);
    if (!finish(m)) return;
  }
  for (let n = 0; n < pops; n++) pop(m);
}

/** FCOM, FCOMP, FCOMPP (`signaling`) and FUCOM, FUCOMP, FUCOMPP with ST(i). */
export function compareST(signaling: boolean, pops: number): X87Operation {
  return (m, i) => {
    begin(m);
    compareWith(m, isEmpty(m, i) ? null : readST(m, i), signaling, pops);
  };
}

export function compareMemory(memory: MemoryOperand, pops: number): X87Operation {
  return (m) => {
    begin(m);
    compareWith(m, memory(m), true, pops);
  };
}

export function ftst(m: Core): void {
  begin(m);
  compareWith(m, finite(0, 0n, 0), true, 0);
}

/** FCOMI, FCOMIP (`signaling`), FUCOMI, FUCOMIP: the relation goes to ZF, PF, CF; OF, SF and AF are cleared. */
export function compareFlags(signaling: boolean, popping: boolean): X87Operation {
  return (m, i) => {
    beginKeepingC1(m);
    if (isEmpty(m, 0) || isEmpty(m, i)) {
      setArithmeticFlags(m, COMPARE_FLAGS[UNORDERED] as number);
      if (!stackFault(m, false)) return;
    } else {
      const relation = compare(x87, readST(m, 0), readST(m, i), signaling);
      setArithmeticFlags(m, COMPARE_FLAGS[relation] as number);
      if (!finish(m)) return;
    }
    if (popping) pop(m);
  };
}

/** RFLAGS (CF, PF, ZF) of a comparison's relation, as COMISS sets them too. */
export function relationFlags(relation: number): number {
  return COMPARE_FLAGS[relation] as number;
}

// ---- one-operand functions --------------------------------------------------------------------------------------

/** ST(0) = f(ST(0)). */
export function unary(f: (a: Operand) => bigint, precisionControl = false): X87Operation {
  return (m) => {
    begin(m);
    if (isEmpty(m, 0)) {
      if (stackFault(m, false)) writeST(m, 0, F80_INDEFINITE);
      return;
    }
    if (precisionControl) obeyPrecisionControl(m);
    const bits = f(readST(m, 0));
    if (finish(m)) writeST(m, 0, bits);
  };
}

export const fsqrt: X87Operation = unary((a) => squareRoot(x87, F80, a), true);
export const frndint: X87Operation = unary((a) => {
  if (a.denormal) x87.flags |= DE;
  return roundToIntegral(x87, F80, a, x87.rounding);
});

/** Value 2^exponent significand, |exponent| clamped: far beyond the range of the format any amount is the same. */
const SCALE_LIMIT = 0x10000;

/** ST(0) scaled by two to the power of ST(1), truncated. */
function scale(a: Operand, b: Operand): bigint {
  if (a.cls >= QNAN || b.cls >= QNAN) return propagateNaN(x87, F80, a, b);
  if (b.cls === INFINITE) {
    if (b.sign === 0 ? a.cls === ZERO : a.cls === INFINITE) return invalid(x87, F80);
    if (a.denormal) x87.flags |= DE;
    return b.sign === 0 ? packInfinity(F80, a.sign) : packZero(F80, a.sign);
  }
  if (a.denormal || b.denormal) x87.flags |= DE;
  if (a.cls === INFINITE) return packInfinity(F80, a.sign);
  if (a.cls === ZERO) return packZero(F80, a.sign);
  let amount = 0;
  if (b.cls !== ZERO) {
    if (b.exp + bitLength(b.sig) > 17) amount = SCALE_LIMIT;
    else amount = Number(b.exp >= 0 ? b.sig << BigInt(b.exp) : b.sig >> BigInt(-b.exp));
    if (b.sign) amount = -amount;
  }
  return roundPack(x87, F80, a.sign, a.sig, a.exp + amount);
}

/** ST(0) = f(ST(0), ST(1)). */
function binary(m: Core, f: (a: Operand, b: Operand) => bigint): void {
  begin(m);
  if (isEmpty(m, 0) || isEmpty(m, 1)) {
    if (stackFault(m, false)) writeST(m, 0, F80_INDEFINITE);
    return;
  }
  const bits = f(readST(m, 0), readST(m, 1));
  if (finish(m)) writeST(m, 0, bits);
}

export function fscale(m: Core): void {
  binary(m, scale);
}

// ---- partial remainder ------------------------------------------------------------------------------------------

let quotient = 0n;
let partial = false;
/** The operation has no quotient: NaNs and invalid operands leave C0 and C3 as they were. */
let noQuotient = false;

/**
 * SDM volume 2, FPREM and FPREM1: exact when the exponents differ by less than 64; otherwise the difference shrinks by
 * 32 to 63 and C2 asks for another round.
 */
function remainder(a: Operand, b: Operand, nearest: boolean): bigint {
  quotient = 0n;
  partial = false;
  noQuotient = true;
  if (a.cls >= QNAN || b.cls >= QNAN) return propagateNaN(x87, F80, a, b);
  if (a.cls === INFINITE || b.cls === ZERO) return invalid(x87, F80);
  noQuotient = false;
  if (a.denormal || b.denormal) x87.flags |= DE;
  if (a.cls === ZERO) return packZero(F80, a.sign);
  if (b.cls === INFINITE) return roundPack(x87, F80, a.sign, a.sig, a.exp);
  const difference = a.exp + bitLength(a.sig) - (b.exp + bitLength(b.sig));
  if (difference < -1) return roundPack(x87, F80, a.sign, a.sig, a.exp);
  const exp = Math.min(a.exp, b.exp);
  if (difference >= 64) {
    partial = true;
    // Subtracts b times a multiple of 2^(difference - n).
    const n = 32 + (difference & 31);
    const divisorExp = b.exp + difference - n;
    const low = Math.min(a.exp, divisorExp);
    const rest = (a.sig << BigInt(a.exp - low)) % (b.sig << BigInt(divisorExp - low));
    return rest === 0n ? packZero(F80, a.sign) : roundPack(x87, F80, a.sign, rest, low);
  }
  const numerator = a.sig << BigInt(a.exp - exp);
  const divisor = b.sig << BigInt(b.exp - exp);
  quotient = numerator / divisor;
  let rest = numerator - quotient * divisor;
  let sign = a.sign;
  if (nearest) {
    const twice = rest << 1n;
    if (twice > divisor || (twice === divisor && quotient & 1n)) {
      rest = divisor - rest;
      sign ^= 1;
      quotient++;
    }
  }
  return rest === 0n ? packZero(F80, a.sign) : roundPack(x87, F80, sign, rest, exp);
}

function partialRemainder(m: Core, nearest: boolean): void {
  begin(m);
  m.i32[FPU_SW >> 2] = (m.i32[FPU_SW >> 2] as number) & ~SW_C2;
  if (isEmpty(m, 0) || isEmpty(m, 1)) {
    if (stackFault(m, false)) writeST(m, 0, F80_INDEFINITE);
    return;
  }
  const bits = remainder(readST(m, 0), readST(m, 1), nearest);
  if (!finish(m)) return;
  writeST(m, 0, bits);
  if (noQuotient) return;
  setConditions(
    m,
    partial ? SW_C2 : (quotient & 4n ? SW_C0 : 0) | (quotient & 2n ? SW_C3 : 0) | (quotient & 1n ? SW_C1 : 0),
  );
}
export const fprem = (m: Core): void => partialRemainder(m, false);
export const fprem1 = (m: Core): void => partialRemainder(m, true);

// ---- FXTRACT ----------------------------------------------------------------------------------------------------

let fraction = 0n;

/** Returns the exponent and leaves the significand in `fraction`. */
function extract(a: Operand): bigint {
  if (a.cls >= QNAN) return (fraction = propagateNaN(x87, F80, a, a));
  if (a.cls === INFINITE) {
    fraction = packInfinity(F80, a.sign);
    return packInfinity(F80, 0);
  }
  if (a.cls === ZERO) {
    x87.flags |= ZE;
    fraction = packZero(F80, a.sign);
    return packInfinity(F80, 1);
  }
  if (a.denormal) x87.flags |= DE;
  const top = bitLength(a.sig) - 1;
  fraction = roundPack(x87, F80, a.sign, a.sig, -top);
  const exponent = a.exp + top;
  if (exponent === 0) return packZero(F80, 0);
  return roundPack(x87, F80, exponent < 0 ? 1 : 0, BigInt(Math.abs(exponent)), 0);
}

export function fxtract(m: Core): void {
  begin(m);
  if (isEmpty(m, 0)) {
    if (!stackFault(m, false)) return;
    writeST(m, 0, F80_INDEFINITE);
    push(m, F80_INDEFINITE);
    return;
  }
  if (!isEmpty(m, 7)) {
    if (!stackFault(m, true)) return;
    writeST(m, 0, F80_INDEFINITE);
    push(m, F80_INDEFINITE);
    return;
  }
  const exponent = extract(readST(m, 0));
  if (!finish(m)) return;
  writeST(m, 0, exponent);
  push(m, fraction);
}

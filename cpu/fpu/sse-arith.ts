// SSE, SSE2, SSE3 and SSE4.1 floating-point arithmetic on registers in the arena. Every operation takes the core, the
// byte addresses of its destination (and first source) and of its second source, and the immediate; it returns 0, or
// nonzero if a fault was raised, and then has written nothing.

import type { Core } from "../core.ts";
import { setArithmeticFlags } from "../flags.ts";
import { F32, type FloatFormat, type Operand, PE, packZero, unpackF32, unpackF64, ZERO } from "./softfloat.ts";
import {
  add,
  compare,
  divide,
  EQUAL,
  GREATER,
  LESS,
  multiply,
  roundToIntegral,
  squareRoot,
} from "./softfloat-arith.ts";
import { beginSse, finishSse, plainMode, sse } from "./sse-state.ts";
import { relationFlags } from "./x87-arith.ts";

export type SseOperation = (core: Core, dst: number, src: number, imm: number) => number;

export const SSE_ADD = 0;
export const SSE_SUB = 1;
export const SSE_MUL = 2;
export const SSE_DIV = 3;
export const SSE_SQRT = 4;
export const SSE_MIN = 5;
export const SSE_MAX = 6;

// ---- elements ---------------------------------------------------------------------------------------------------

/** Bits of element `lane` of the vector at `address`. */
export function elementBits(core: Core, fmt: FloatFormat, address: number, lane: number): bigint {
  if (fmt === F32) return BigInt(core.u32[(address >>> 2) + lane] as number);
  return core.u64[(address >>> 3) + lane] as bigint;
}

export function element(core: Core, fmt: FloatFormat, address: number, lane: number): Operand {
  if (fmt === F32) return unpackF32(sse, core.u32[(address >>> 2) + lane] as number);
  return unpackF64(sse, core.u64[(address >>> 3) + lane] as bigint);
}

export function setElement(core: Core, fmt: FloatFormat, address: number, lane: number, bits: bigint): void {
  if (fmt === F32) core.u32[(address >>> 2) + lane] = Number(bits);
  else core.u64[(address >>> 3) + lane] = bits;
}

const results: bigint[] = [0n, 0n, 0n, 0n];

/** Posts exceptions and writes the first `lanes` results unless one of them faults. */
function deliver(core: Core, fmt: FloatFormat, dst: number, lanes: number): number {
  if (finishSse(core) !== 0) return 1;
  for (let lane = 0; lane < lanes; lane++) setElement(core, fmt, dst, lane, results[lane] as bigint);
  return 0;
}

/** The bits of an element with DAZ applied. */
function flushed(core: Core, fmt: FloatFormat, address: number, lane: number): bigint {
  const bits = elementBits(core, fmt, address, lane);
  const a = element(core, fmt, address, lane);
  return a.cls === ZERO ? packZero(fmt, a.sign) : bits;
}

function slow(core: Core, fmt: FloatFormat, operation: number, a: number, b: number, lane: number): bigint {
  const y = element(core, fmt, b, lane);
  if (operation === SSE_SQRT) return squareRoot(sse, fmt, y);
  const x = element(core, fmt, a, lane);
  switch (operation) {
    case SSE_ADD:
      return add(sse, fmt, x, y, 0);
    case SSE_SUB:
      return add(sse, fmt, x, y, 1);
    case SSE_MUL:
      return multiply(sse, fmt, x, y);
    case SSE_DIV:
      return divide(sse, fmt, x, y);
    default: {
      // MIN and MAX: the second operand unless the first is smaller (larger); a NaN raises #I and gives the second.
      const first = compare(sse, x, y, true) === (operation === SSE_MIN ? LESS : GREATER);
      return flushed(core, fmt, first ? a : b, lane);
    }
  }
}

// ---- the fast path ----------------------------------------------------------------------------------------------

/** Bounds that keep operands normal and results away from underflow and overflow. */
const F64_LEAST = 2 ** -1022;
const F64_LOW = 2 ** -1021;
const F64_HIGH = 2 ** 1023;
export const F32_LEAST: number = 2 ** -126;
const F32_LOW = 2 ** -125;
const F32_HIGH = 2 ** 127;

function calculate(operation: number, a: number, b: number): number {
  switch (operation) {
    case SSE_ADD:
      return a + b;
    case SSE_SUB:
      return a - b;
    case SSE_MUL:
      return a * b;
    case SSE_DIV:
      return a / b;
    case SSE_SQRT:
      return Math.sqrt(b);
    case SSE_MIN:
      // Not Math.min: of two zeros the second is taken, whatever the signs.
      if (a < b) return a;
      return b;
    default:
      if (a > b) return a;
      return b;
  }
}

/** Zero, or of a magnitude from `low` up to and excluding infinity. False for NaNs. */
export function ordinary(x: number, low: number): boolean {
  const magnitude = Math.abs(x);
  return x === 0 || (magnitude >= low && magnitude < Infinity);
}

/** Whether `r` can be trusted as the result: in range, or a zero that the operation gives exactly. */
function trusted(operation: number, a: number, b: number, r: number, low: number, high: number): boolean {
  if (r === 0) return (operation !== SSE_MUL && operation !== SSE_DIV) || a === 0 || b === 0;
  const magnitude = Math.abs(r);
  return magnitude >= low && magnitude < high;
}

const quick = new Float64Array(4);

function fastF64(core: Core, operation: number, dst: number, src: number, lanes: number): boolean {
  const view = core.f64;
  const needed = operation !== SSE_SQRT;
  for (let lane = 0; lane < lanes; lane++) {
    const b = view[(src >>> 3) + lane] as number;
    const a = needed ? (view[(dst >>> 3) + lane] as number) : b;
    if (!ordinary(a, F64_LEAST) || !ordinary(b, F64_LEAST)) return false;
    const r = calculate(operation, a, b);
    if (!trusted(operation, a, b, r, F64_LOW, F64_HIGH)) return false;
    quick[lane] = r;
  }
  for (let lane = 0; lane < lanes; lane++) view[(dst >>> 3) + lane] = quick[lane] as number;
  return true;
}

/** + - * / and sqrt of singles in double precision, rounded to single, are exact: 53 >= 2 * 24 + 2. */
function fastF32(core: Core, operation: number, dst: number, src: number, lanes: number): boolean {
  const view = core.f32;
  const needed = operation !== SSE_SQRT;
  for (let lane = 0; lane < lanes; lane++) {
    const b = view[(src >>> 2) + lane] as number;
    const a = needed ? (view[(dst >>> 2) + lane] as number) : b;
    if (!ordinary(a, F32_LEAST) || !ordinary(b, F32_LEAST)) return false;
    const r = calculate(operation, a, b);
    if (!trusted(operation, a, b, r, F32_LOW, F32_HIGH)) return false;
    quick[lane] = r;
  }
  for (let lane = 0; lane < lanes; lane++) view[(dst >>> 2) + lane] = quick[lane] as number;
  return true;
}

// ---- operations -------------------------------------------------------------------------------------------------

/** ADD SUB MUL DIV SQRT MIN MAX (SSE_*), packed (4 or 2 lanes) or scalar (1). */
export function arithmetic(operation: number, fmt: FloatFormat, lanes: number): SseOperation {
  return (core, dst, src) => {
    if (plainMode(core)) {
      if (fmt === F32 ? fastF32(core, operation, dst, src, lanes) : fastF64(core, operation, dst, src, lanes)) return 0;
    }
    beginSse(core);
    for (let lane = 0; lane < lanes; lane++) results[lane] = slow(core, fmt, operation, dst, src, lane);
    return deliver(core, fmt, dst, lanes);
  };
}

/** HADD, HSUB: the two halves of the result come from adjacent pairs of either operand. */
export function horizontal(fmt: FloatFormat, lanes: number, subtract: number): SseOperation {
  return (core, dst, src) => {
    beginSse(core);
    const half = lanes >> 1;
    for (let lane = 0; lane < lanes; lane++) {
      const from = lane < half ? dst : src;
      const pair = (lane % half) * 2;
      results[lane] = add(sse, fmt, element(core, fmt, from, pair), element(core, fmt, from, pair + 1), subtract);
    }
    return deliver(core, fmt, dst, lanes);
  };
}

/** ADDSUB: even elements are subtracted, odd ones added. */
export function addSubtract(fmt: FloatFormat, lanes: number): SseOperation {
  return (core, dst, src) => {
    beginSse(core);
    for (let lane = 0; lane < lanes; lane++) {
      const subtract = (lane & 1) ^ 1;
      results[lane] = add(sse, fmt, element(core, fmt, dst, lane), element(core, fmt, src, lane), subtract);
    }
    return deliver(core, fmt, dst, lanes);
  };
}

/** Whether the relation satisfies predicate 0..7: EQ LT LE UNORD and their negations. */
const PREDICATES: readonly (readonly boolean[])[] = [
  [false, true, false, false],
  [true, false, false, false],
  [true, true, false, false],
  [false, false, false, true],
];
/** LT, LE, NLT and NLE raise #I for quiet NaNs too. */
const SIGNALING = 0b01100110;

export function comparePredicate(fmt: FloatFormat, lanes: number): SseOperation {
  const ones = (1n << BigInt(fmt.bits)) - 1n;
  return (core, dst, src, imm) => {
    const predicate = imm & 7;
    const signaling = ((SIGNALING >> predicate) & 1) === 1;
    beginSse(core);
    for (let lane = 0; lane < lanes; lane++) {
      const relation = compare(sse, element(core, fmt, dst, lane), element(core, fmt, src, lane), signaling);
      const holds = PREDICATES[predicate & 3]?.[relation] === true;
      results[lane] = holds !== predicate > 3 ? ones : 0n;
    }
    return deliver(core, fmt, dst, lanes);
  };
}

/** COMIS (`signaling`) and UCOMIS: ZF, PF and CF; OF, SF and AF are cleared. */
export function compareToFlags(fmt: FloatFormat, signaling: boolean): SseOperation {
  return (core, dst, src) => {
    const a = fmt === F32 ? (core.f32[dst >>> 2] as number) : (core.f64[dst >>> 3] as number);
    const b = fmt === F32 ? (core.f32[src >>> 2] as number) : (core.f64[src >>> 3] as number);
    const low = fmt === F32 ? F32_LEAST : F64_LEAST;
    if (ordinary(a, low) && ordinary(b, low)) {
      setArithmeticFlags(core, relationFlags(a < b ? LESS : a > b ? GREATER : EQUAL));
      return 0;
    }
    beginSse(core);
    const relation = compare(sse, element(core, fmt, dst, 0), element(core, fmt, src, 0), signaling);
    if (finishSse(core) !== 0) return 1;
    setArithmeticFlags(core, relationFlags(relation));
    return 0;
  };
}

/** ROUNDPS and its like: immediate bits 1..0 rounding, bit 2 take it from MXCSR, bit 3 do not report #P. */
export function round(fmt: FloatFormat, lanes: number): SseOperation {
  return (core, dst, src, imm) => {
    beginSse(core);
    const rounding = imm & 4 ? sse.rounding : imm & 3;
    for (let lane = 0; lane < lanes; lane++)
      results[lane] = roundToIntegral(sse, fmt, element(core, fmt, src, lane), rounding);
    if (imm & 8) sse.flags &= ~PE;
    return deliver(core, fmt, dst, lanes);
  };
}

/** DPPS, DPPD: exceptions are reported by stage: products, sums of pairs, the sum of those. */
export function dotProduct(fmt: FloatFormat, lanes: number): SseOperation {
  return (core, dst, src, imm) => {
    beginSse(core);
    const terms: bigint[] = [];
    for (let lane = 0; lane < lanes; lane++) {
      if ((imm >> (4 + lane)) & 1)
        terms.push(multiply(sse, fmt, element(core, fmt, dst, lane), element(core, fmt, src, lane)));
      else terms.push(0n);
    }
    while (terms.length > 1) {
      if (finishSse(core) !== 0) return 1;
      for (let i = 0; i < terms.length; i++) {
        const x = unpackBits(fmt, terms[i] as bigint);
        const y = unpackBits(fmt, terms[i + 1] as bigint);
        terms.splice(i, 2, add(sse, fmt, x, y, 0));
      }
    }
    for (let lane = 0; lane < lanes; lane++) results[lane] = (imm >> lane) & 1 ? (terms[0] as bigint) : 0n;
    return deliver(core, fmt, dst, lanes);
  };
}

function unpackBits(fmt: FloatFormat, bits: bigint): Operand {
  return fmt === F32 ? unpackF32(sse, Number(bits)) : unpackF64(sse, bits);
}

// ---- approximations ---------------------------------------------------------------------------------------------

/**
 * RCP and RSQRT approximate to a relative error of 1.5 * 2^-12 at most, each processor in its own way, and raise no exceptions.
 * Ours are as near as single precision allows, so that no processor is further away than that.
 */
const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);
const F32_INFINITY = 0x7f800000;
const F32_INDEFINITE = 0xffc00000;

function approximateReciprocal(bits: number): number {
  const sign = bits & 0x80000000;
  const exponent = (bits >>> 23) & 0xff;
  const fraction = bits & 0x7fffff;
  if (exponent === 0xff) return fraction === 0 ? sign : bits | 0x400000;
  // Denormals count as zeros, and tiny results are flushed to zero, whatever MXCSR says.
  if (exponent === 0) return sign | F32_INFINITY;
  if (exponent >= 253) return sign;
  scratchBits[0] = bits;
  scratch[0] = 1 / (scratch[0] as number);
  return scratchBits[0] as number;
}

function approximateRoot(bits: number): number {
  const exponent = (bits >>> 23) & 0xff;
  const fraction = bits & 0x7fffff;
  if (exponent === 0xff && fraction !== 0) return bits | 0x400000;
  if (exponent === 0) return (bits & 0x80000000) | F32_INFINITY;
  if (bits >>> 31) return F32_INDEFINITE;
  if (exponent === 0xff) return 0;
  scratchBits[0] = bits;
  scratch[0] = 1 / Math.sqrt(scratch[0] as number);
  return scratchBits[0] as number;
}

export function approximate(root: boolean, lanes: number): SseOperation {
  return (core, dst, src) => {
    for (let lane = 0; lane < lanes; lane++) {
      const bits = core.u32[(src >>> 2) + lane] as number;
      core.u32[(dst >>> 2) + lane] = root ? approximateRoot(bits) : approximateReciprocal(bits);
    }
    return 0;
  };
}

// SSE and AVX floating-point arithmetic on registers in the arena. Every operation takes the core, the byte addresses of its
// destination and its sources, and the immediate; it returns 0, or nonzero if a fault was raised, and then has written
// nothing.

import { YMM_UPPER_BYTES } from "../arena.ts";
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

/**
 * @param dst byte address of the destination
 * @param a of the first source, which scalar operations take the rest of the destination from
 * @param b of the second source, or the only one
 */
export type SseOperation = (core: Core, dst: number, a: number, b: number, imm: number) => number;

export const SSE_ADD = 0;
export const SSE_SUB = 1;
export const SSE_MUL = 2;
export const SSE_DIV = 3;
export const SSE_SQRT = 4;
export const SSE_MIN = 5;
export const SSE_MAX = 6;

// ---- elements ---------------------------------------------------------------------------------------------------

/** Index in f32 and u32 of element `lane`; from 4 on it lies in the upper half of a YMM register. */
export function lane32(address: number, lane: number): number {
  return (address >>> 2) + lane + (lane >> 2) * ((YMM_UPPER_BYTES - 16) >> 2);
}

/** Index in f64 and u64 of element `lane`; from 2 on it lies in the upper half of a YMM register. */
export function lane64(address: number, lane: number): number {
  return (address >>> 3) + lane + (lane >> 1) * ((YMM_UPPER_BYTES - 16) >> 3);
}

/** Bits of element `lane` of the vector at `address`. */
export function elementBits(core: Core, fmt: FloatFormat, address: number, lane: number): bigint {
  if (fmt === F32) return BigInt(core.u32[lane32(address, lane)] as number);
  return core.u64[lane64(address, lane)] as bigint;
}

export function element(core: Core, fmt: FloatFormat, address: number, lane: number): Operand {
  if (fmt === F32) return unpackF32(sse, core.u32[lane32(address, lane)] as number);
  return unpackF64(sse, core.u64[lane64(address, lane)] as bigint);
}

export function setElement(core: Core, fmt: FloatFormat, address: number, lane: number, bits: bigint): void {
  if (fmt === F32) core.u32[lane32(address, lane)] = Number(bits);
  else core.u64[lane64(address, lane)] = bits;
}

/** What scalar operations do before they write their element: the rest of the destination is the first source's. */
export function takeRest(core: Core, dst: number, a: number): void {
  if (dst !== a) core.u8.copyWithin(dst, a, a + 16);
}

const results: bigint[] = new Array<bigint>(8).fill(0n);

/** Posts exceptions and writes the first `lanes` results unless one of them faults. */
function deliver(core: Core, fmt: FloatFormat, dst: number, a: number, lanes: number): number {
  if (finishSse(core) !== 0) return 1;
  if (lanes === 1) takeRest(core, dst, a);
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

const quick = new Float64Array(8);

function fastF64(core: Core, operation: number, dst: number, x: number, y: number, lanes: number): boolean {
  const view = core.f64;
  const needed = operation !== SSE_SQRT;
  for (let lane = 0; lane < lanes; lane++) {
    const b = view[lane64(y, lane)] as number;
    const a = needed ? (view[lane64(x, lane)] as number) : b;
    if (!ordinary(a, F64_LEAST) || !ordinary(b, F64_LEAST)) return false;
    const r = calculate(operation, a, b);
    if (!trusted(operation, a, b, r, F64_LOW, F64_HIGH)) return false;
    quick[lane] = r;
  }
  if (lanes === 1) takeRest(core, dst, x);
  for (let lane = 0; lane < lanes; lane++) view[lane64(dst, lane)] = quick[lane] as number;
  return true;
}

/** + - * / and sqrt of singles in double precision, rounded to single, are exact: 53 >= 2 * 24 + 2. */
function fastF32(core: Core, operation: number, dst: number, x: number, y: number, lanes: number): boolean {
  const view = core.f32;
  const needed = operation !== SSE_SQRT;
  for (let lane = 0; lane < lanes; lane++) {
    const b = view[lane32(y, lane)] as number;
    const a = needed ? (view[lane32(x, lane)] as number) : b;
    if (!ordinary(a, F32_LEAST) || !ordinary(b, F32_LEAST)) return false;
    const r = calculate(operation, a, b);
    if (!trusted(operation, a, b, r, F32_LOW, F32_HIGH)) return false;
    quick[lane] = r;
  }
  if (lanes === 1) takeRest(core, dst, x);
  for (let lane = 0; lane < lanes; lane++) view[lane32(dst, lane)] = quick[lane] as number;
  return true;
}

// ---- operations -------------------------------------------------------------------------------------------------

/** ADD SUB MUL DIV SQRT MIN MAX (SSE_*), packed (2 to 8 lanes) or scalar (1). */
export function arithmetic(operation: number, fmt: FloatFormat, lanes: number): SseOperation {
  const fast = fmt === F32 ? fastF32 : fastF64;
  return (core, dst, a, b) => {
    if (plainMode(core) && fast(core, operation, dst, a, b, lanes)) return 0;
    beginSse(core);
    for (let lane = 0; lane < lanes; lane++) results[lane] = slow(core, fmt, operation, a, b, lane);
    return deliver(core, fmt, dst, a, lanes);
  };
}

/** HADD, HSUB: the two halves of each 16 bytes of the result come from adjacent pairs of either operand. */
export function horizontal(fmt: FloatFormat, lanes: number, subtract: number): SseOperation {
  const group = fmt === F32 ? 4 : 2;
  return (core, dst, a, b) => {
    beginSse(core);
    for (let lane = 0; lane < lanes; lane++) {
      const inGroup = lane & (group - 1);
      const from = inGroup < group >> 1 ? a : b;
      const pair = lane - inGroup + (inGroup & ((group >> 1) - 1)) * 2;
      results[lane] = add(sse, fmt, element(core, fmt, from, pair), element(core, fmt, from, pair + 1), subtract);
    }
    return deliver(core, fmt, dst, a, lanes);
  };
}

/** ADDSUB: even elements are subtracted, odd ones added. */
export function addSubtract(fmt: FloatFormat, lanes: number): SseOperation {
  return (core, dst, a, b) => {
    beginSse(core);
    for (let lane = 0; lane < lanes; lane++) {
      const subtract = (lane & 1) ^ 1;
      results[lane] = add(sse, fmt, element(core, fmt, a, lane), element(core, fmt, b, lane), subtract);
    }
    return deliver(core, fmt, dst, a, lanes);
  };
}

/**
 * Whether the relation (LESS, EQUAL, GREATER, UNORDERED) satisfies predicates 0..3 and 8..11: EQ LT LE UNORD, EQ_UQ NGE NGT FALSE.
 * 4..7 and 12..15 are their negations; from 16 on they come again with the other treatment of quiet NaNs.
 */
const PREDICATES: readonly (readonly boolean[])[] = [
  [false, true, false, false],
  [true, false, false, false],
  [true, true, false, false],
  [false, false, false, true],
  [false, true, false, true],
  [true, false, false, true],
  [true, true, false, true],
  [false, false, false, false],
];
/** Of predicates 0..15, those that raise #I for quiet NaNs too: LT LE NLT NLE, NGE NGT GE GT. */
const SIGNALING = 0b0110011001100110;

/** CMPPS and its like; `mask` is 7, or 31 for the VEX forms (SDM volume 2, CMPPD, table 3-1). */
export function comparePredicate(fmt: FloatFormat, lanes: number, mask: number): SseOperation {
  const ones = (1n << BigInt(fmt.bits)) - 1n;
  return (core, dst, a, b, imm) => {
    const predicate = imm & mask;
    const signaling = ((SIGNALING >> (predicate & 15)) & 1) !== predicate >> 4;
    const holds = PREDICATES[(predicate & 3) | ((predicate & 8) >> 1)] as readonly boolean[];
    const negated = (predicate & 4) !== 0;
    beginSse(core);
    for (let lane = 0; lane < lanes; lane++) {
      const relation = compare(sse, element(core, fmt, a, lane), element(core, fmt, b, lane), signaling);
      results[lane] = holds[relation] !== negated ? ones : 0n;
    }
    return deliver(core, fmt, dst, a, lanes);
  };
}

/** COMIS (`signaling`) and UCOMIS: ZF, PF and CF; OF, SF and AF are cleared. */
export function compareToFlags(fmt: FloatFormat, signaling: boolean): SseOperation {
  return (core, _dst, a, b) => {
    const x = fmt === F32 ? (core.f32[a >>> 2] as number) : (core.f64[a >>> 3] as number);
    const y = fmt === F32 ? (core.f32[b >>> 2] as number) : (core.f64[b >>> 3] as number);
    const low = fmt === F32 ? F32_LEAST : F64_LEAST;
    if (ordinary(x, low) && ordinary(y, low)) {
      setArithmeticFlags(core, relationFlags(x < y ? LESS : x > y ? GREATER : EQUAL));
      return 0;
    }
    beginSse(core);
    const relation = compare(sse, element(core, fmt, a, 0), element(core, fmt, b, 0), signaling);
    if (finishSse(core) !== 0) return 1;
    setArithmeticFlags(core, relationFlags(relation));
    return 0;
  };
}

/** ROUNDPS and its like: immediate bits 1..0 rounding, bit 2 take it from MXCSR, bit 3 do not report #P. */
export function round(fmt: FloatFormat, lanes: number): SseOperation {
  return (core, dst, a, b, imm) => {
    beginSse(core);
    const rounding = imm & 4 ? sse.rounding : imm & 3;
    for (let lane = 0; lane < lanes; lane++)
      results[lane] = roundToIntegral(sse, fmt, element(core, fmt, b, lane), rounding);
    if (imm & 8) sse.flags &= ~PE;
    return deliver(core, fmt, dst, a, lanes);
  };
}

/**
 * DPPS, DPPD, of each 16 bytes for itself: exceptions are reported by stage: products, sums of pairs, the sum of those; of both
 * halves of a YMM register together.
 */
export function dotProduct(fmt: FloatFormat, lanes: number): SseOperation {
  const group = fmt === F32 ? 4 : 2;
  return (core, dst, a, b, imm) => {
    beginSse(core);
    const terms: bigint[] = [];
    for (let lane = 0; lane < lanes; lane++) {
      const wanted = (imm >> (4 + (lane & (group - 1)))) & 1;
      terms.push(wanted ? multiply(sse, fmt, element(core, fmt, a, lane), element(core, fmt, b, lane)) : 0n);
    }
    while (terms.length > lanes / group) {
      if (finishSse(core) !== 0) return 1;
      for (let i = 0; i < terms.length; i++) {
        const x = unpackBits(fmt, terms[i] as bigint);
        const y = unpackBits(fmt, terms[i + 1] as bigint);
        terms.splice(i, 2, add(sse, fmt, x, y, 0));
      }
    }
    for (let lane = 0; lane < lanes; lane++)
      results[lane] = (imm >> (lane & (group - 1))) & 1 ? (terms[Math.trunc(lane / group)] as bigint) : 0n;
    return deliver(core, fmt, dst, a, lanes);
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
  const value = root ? approximateRoot : approximateReciprocal;
  return (core, dst, a, b) => {
    if (lanes === 1) {
      const r = value(core.u32[b >>> 2] as number);
      takeRest(core, dst, a);
      core.u32[dst >>> 2] = r;
    } else
      for (let lane = 0; lane < lanes; lane++) core.u32[lane32(dst, lane)] = value(core.u32[lane32(b, lane)] as number);
    return 0;
  };
}

// Conversions between integers and SSE floating point, and between its formats. As in sse-arith.ts an operation takes
// byte addresses of destination and sources (the first counts for scalars only); a destination may be a general register slot
// or an MMX register.

import type { Core } from "../core.ts";
import { F32, F64, type FloatFormat, type Operand, RC_ZERO } from "./softfloat.ts";
import { convert, fromInteger, toInteger } from "./softfloat-arith.ts";
import { element, lane32, lane64, type SseOperation, setElement, takeRest } from "./sse-arith.ts";
import { beginSse, finishSse, plainMode, sse } from "./sse-state.ts";

const results: bigint[] = new Array<bigint>(8).fill(0n);

/** Writes `lanes` results of 32 or (`wide`) 64 bits, then zeros up to `clear` bytes. */
function deliver(core: Core, dst: number, lanes: number, wide: boolean, clear: number): number {
  if (finishSse(core) !== 0) return 1;
  for (let lane = 0; lane < lanes; lane++) setElement(core, wide ? F64 : F32, dst, lane, results[lane] as bigint);
  for (let at = lanes * (wide ? 8 : 4); at < clear; at += 4) core.i32[(dst + at) >>> 2] = 0;
  return 0;
}

/** Writes the one result of a scalar conversion whose destination is an XMM register. */
function deliverScalar(core: Core, fmt: FloatFormat, dst: number, a: number): number {
  if (finishSse(core) !== 0) return 1;
  takeRest(core, dst, a);
  setElement(core, fmt, dst, 0, results[0] as bigint);
  return 0;
}

/** CVTSI2SS/SD: an integer of 32 or (`wide`) 64 bits. */
export function scalarFromInteger(fmt: FloatFormat, wide: boolean): SseOperation {
  return (core, dst, a, b) => {
    const bits = wide ? BigInt.asIntN(64, core.u64[b >>> 3] as bigint) : BigInt(core.i32[b >>> 2] as number);
    beginSse(core);
    results[0] = fromInteger(sse, fmt, bits);
    return deliverScalar(core, fmt, dst, a);
  };
}

/** CVTDQ2PS/PD, CVTPI2PS/PD: `lanes` integers of 32 bits. The rest of dst is kept. */
export function fromIntegers(fmt: FloatFormat, lanes: number): SseOperation {
  return (core, dst, _a, b) => {
    if (fmt === F64) {
      // Always exact. From the last element down, so that dst may be the source.
      for (let lane = lanes - 1; lane >= 0; lane--) core.f64[lane64(dst, lane)] = core.i32[lane32(b, lane)] as number;
      return 0;
    }
    if (plainMode(core)) {
      for (let lane = 0; lane < lanes; lane++) core.f32[lane32(dst, lane)] = core.i32[lane32(b, lane)] as number;
      return 0;
    }
    beginSse(core);
    for (let lane = 0; lane < lanes; lane++)
      results[lane] = fromInteger(sse, fmt, BigInt(core.i32[lane32(b, lane)] as number));
    return deliver(core, dst, lanes, false, 0);
  };
}

/**
 * CVT(T)SS2SI, CVT(T)SD2SI, CVT(T)PS2DQ, CVT(T)PD2DQ and their PI forms: integers of 32 or (`wide`) 64 bits, rounded by
 * MXCSR or truncated, then zeros up to `clear` bytes of the destination.
 */
export function toIntegers(
  fmt: FloatFormat,
  lanes: number,
  wide: boolean,
  truncate: boolean,
  clear: number,
): SseOperation {
  const bits = wide ? 64 : 32;
  return (core, dst, _a, b) => {
    if (lanes === 1 && truncate && plainMode(core)) {
      const x = fmt === F32 ? (core.f32[b >>> 2] as number) : (core.f64[b >>> 3] as number);
      if (x > -2147483649 && x < 2147483648) {
        core.i32[dst >>> 2] = x;
        core.i32[(dst + 4) >>> 2] = wide && x <= -1 ? -1 : 0;
        return 0;
      }
    }
    beginSse(core);
    const rounding = truncate ? RC_ZERO : sse.rounding;
    for (let lane = 0; lane < lanes; lane++)
      results[lane] = BigInt.asUintN(bits, toInteger(sse, element(core, fmt, b, lane), bits, rounding));
    return deliver(core, dst, lanes, wide, clear);
  };
}

/** CVTPS2PD, CVTPD2PS: `clear` as above (CVTPD2PS zeroes the upper half). */
export function betweenFormats(from: FloatFormat, to: FloatFormat, lanes: number, clear: number): SseOperation {
  return (core, dst, _a, b) => {
    beginSse(core);
    for (let lane = 0; lane < lanes; lane++) {
      const x: Operand = element(core, from, b, lane);
      results[lane] = convert(sse, to, x);
    }
    return deliver(core, dst, lanes, to === F64, clear);
  };
}

/** CVTSS2SD, CVTSD2SS. */
export function scalarBetween(from: FloatFormat, to: FloatFormat): SseOperation {
  return (core, dst, a, b) => {
    const x = from === F32 ? (core.f32[b >>> 2] as number) : (core.f64[b >>> 3] as number);
    const magnitude = Math.abs(x);
    if (x === 0 || (magnitude >= 2 ** -125 && magnitude < 2 ** 127 && (to === F64 || plainMode(core)))) {
      takeRest(core, dst, a);
      if (to === F64) core.f64[dst >>> 3] = x;
      else core.f32[dst >>> 2] = x;
      return 0;
    }
    beginSse(core);
    results[0] = convert(sse, to, element(core, from, b, 0));
    return deliverScalar(core, to, dst, a);
  };
}

// Conversions between integers and SSE floating point, and between its formats. As in sse-arith.ts an operation takes
// byte addresses of destination and source; a destination may be a general register slot or an MMX register.

import type { Core } from "../core.ts";
import { F32, F64, type FloatFormat, type Operand, RC_ZERO } from "./softfloat.ts";
import { convert, fromInteger, toInteger } from "./softfloat-arith.ts";
import { element, type SseOperation, setElement } from "./sse-arith.ts";
import { beginSse, finishSse, plainMode, sse } from "./sse-state.ts";

const results: bigint[] = [0n, 0n, 0n, 0n];

/** How results are written: all of a group's element width, then zeros up to `clear` bytes. */
function deliver(core: Core, dst: number, lanes: number, wide: boolean, clear: number): number {
  if (finishSse(core) !== 0) return 1;
  for (let lane = 0; lane < lanes; lane++) setElement(core, wide ? F64 : F32, dst, lane, results[lane] as bigint);
  for (let at = lanes * (wide ? 8 : 4); at < clear; at += 4) core.i32[(dst + at) >>> 2] = 0;
  return 0;
}

/** Signed integer in element `lane`, of 32 or (`wide`) 64 bits. */
function integer(core: Core, wide: boolean, src: number, lane: number): bigint {
  return wide
    ? BigInt.asIntN(64, core.u64[(src >>> 3) + lane] as bigint)
    : BigInt(core.i32[(src >>> 2) + lane] as number);
}

/** CVTSI2SS/SD, CVTDQ2PS/PD, CVTPI2PS/PD: `lanes` integers of 32 or (`wide`) 64 bits. The rest of dst is kept. */
export function fromIntegers(fmt: FloatFormat, lanes: number, wide: boolean): SseOperation {
  return (core, dst, src) => {
    if (fmt === F64 && !wide) {
      // Always exact. From the last element down, so that dst may be src.
      for (let lane = lanes - 1; lane >= 0; lane--)
        core.f64[(dst >>> 3) + lane] = core.i32[(src >>> 2) + lane] as number;
      return 0;
    }
    if (!wide && plainMode(core)) {
      for (let lane = 0; lane < lanes; lane++) core.f32[(dst >>> 2) + lane] = core.i32[(src >>> 2) + lane] as number;
      return 0;
    }
    beginSse(core);
    for (let lane = 0; lane < lanes; lane++) results[lane] = fromInteger(sse, fmt, integer(core, wide, src, lane));
    return deliver(core, dst, lanes, fmt === F64, 0);
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
  return (core, dst, src) => {
    if (lanes === 1 && truncate && plainMode(core)) {
      const x = fmt === F32 ? (core.f32[src >>> 2] as number) : (core.f64[src >>> 3] as number);
      if (x > -2147483649 && x < 2147483648) {
        core.i32[dst >>> 2] = x;
        core.i32[(dst + 4) >>> 2] = wide && x <= -1 ? -1 : 0;
        return 0;
      }
    }
    beginSse(core);
    const rounding = truncate ? RC_ZERO : sse.rounding;
    for (let lane = 0; lane < lanes; lane++)
      results[lane] = BigInt.asUintN(bits, toInteger(sse, element(core, fmt, src, lane), bits, rounding));
    return deliver(core, dst, lanes, wide, clear);
  };
}

/** CVTPS2PD, CVTPD2PS, CVTSS2SD, CVTSD2SS: `clear` as above (CVTPD2PS zeroes the upper half). */
export function betweenFormats(from: FloatFormat, to: FloatFormat, lanes: number, clear: number): SseOperation {
  return (core, dst, src) => {
    beginSse(core);
    for (let lane = 0; lane < lanes; lane++) {
      const a: Operand = element(core, from, src, lane);
      results[lane] = convert(sse, to, a);
    }
    return deliver(core, dst, lanes, to === F64, clear);
  };
}

/** The fast path of CVTSS2SD and CVTSD2SS before `betweenFormats`. */
export function scalarBetween(from: FloatFormat, to: FloatFormat): SseOperation {
  const general = betweenFormats(from, to, 1, 0);
  return (core, dst, src, imm) => {
    const x = from === F32 ? (core.f32[src >>> 2] as number) : (core.f64[src >>> 3] as number);
    const magnitude = Math.abs(x);
    if (x === 0 || (magnitude >= 2 ** -125 && magnitude < 2 ** 127 && (to === F64 || plainMode(core)))) {
      if (to === F64) core.f64[dst >>> 3] = x;
      else core.f32[dst >>> 2] = x;
      return 0;
    }
    return general(core, dst, src, imm);
  };
}

// F16C: conversions between half and single precision (SDM volume 1, 14.4; volume 2, VCVTPH2PS and VCVTPS2PH). As in
// sse-convert.ts an operation takes the core and byte addresses in the arena of destination and sources; it returns 0, or
// nonzero if a fault was raised, and then has written nothing.

import type { Core } from "../core.ts";
import { F16, F32, unpackF16 } from "./softfloat.ts";
import { convert } from "./softfloat-arith.ts";
import { element, type SseOperation, setElement } from "./sse-arith.ts";
import { beginSse, finishSse, sse } from "./sse-state.ts";

const results: bigint[] = [0n, 0n, 0n, 0n, 0n, 0n, 0n, 0n];

/** VCVTPH2PS: `lanes` (4 or 8) halves. Exact; a denormal half is a number like others, whatever MXCSR.DAZ says, and no #D. */
export function halfToSingle(lanes: number): SseOperation {
  return (core, dst, _a, src) => {
    beginSse(core);
    for (let lane = 0; lane < lanes; lane++)
      results[lane] = convert(sse, F32, unpackF16(core.u16[(src >>> 1) + lane] as number));
    if (finishSse(core) !== 0) return 1;
    for (let lane = 0; lane < lanes; lane++) setElement(core, F32, dst, lane, results[lane] as bigint);
    return 0;
  };
}

/**
 * VCVTPS2PH: `lanes` (4 or 8) singles, then zeros up to `clear` bytes of the destination. Immediate bits 1..0 are the rounding,
 * bit 2 takes it from MXCSR. MXCSR.FTZ is ignored, DAZ is not. A destination in memory must have been checked for writing before:
 * a page fault leaves MXCSR alone.
 */
export function singleToHalf(lanes: number, clear: number): SseOperation {
  return (core: Core, dst: number, _a: number, src: number, imm: number) => {
    beginSse(core);
    if ((imm & 4) === 0) sse.rounding = imm & 3;
    sse.ftz = false;
    for (let lane = 0; lane < lanes; lane++) results[lane] = convert(sse, F16, element(core, F32, src, lane));
    if (finishSse(core) !== 0) return 1;
    for (let lane = 0; lane < lanes; lane++) core.u16[(dst >>> 1) + lane] = Number(results[lane]);
    for (let at = lanes * 2; at < clear; at += 2) core.u16[(dst + at) >>> 1] = 0;
    return 0;
  };
}

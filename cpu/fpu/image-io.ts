// State images in guest memory: a buffer that is read from, or written to, a linear address in one go, so that every
// fault comes before any state changes.

import { BUS_DATA } from "../arena.ts";
import type { Core } from "../core.ts";
import { KIND_CURRENT, probeWrite, readLinear, writeLinear } from "../mmu/access.ts";
import { H_OK } from "../uops/uop.ts";

/** Bytes of the largest image: legacy region, XSAVE header, AVX component. */
export const IMAGE_BYTES = 1024;

/** The image being worked on; one instruction at a time. */
export const image: Uint8Array = new Uint8Array(IMAGE_BYTES);
export const imageView: DataView = new DataView(image.buffer);

const CHUNK = 16;

/** High word of hi:lo + offset. */
function highAt(lo: number, hi: number, offset: number): number {
  return (lo >>> 0) + offset > 0xffffffff ? (hi + 1) | 0 : hi;
}

/** Fills image[from, to) from linear hi:lo + from. @returns H_* */
export function readImage(core: Core, lo: number, hi: number, from: number, to: number): number {
  for (let at = from; at < to; at += CHUNK) {
    const n = Math.min(CHUNK, to - at);
    const r = readLinear(core, (lo + at) | 0, highAt(lo, hi, at), n, KIND_CURRENT);
    if (r !== H_OK) return r;
    image.set(core.u8.subarray(BUS_DATA, BUS_DATA + n), at);
  }
  return H_OK;
}

/** Checks that linear hi:lo can be written for `bytes`. @returns H_* */
export function probeImage(core: Core, lo: number, hi: number, bytes: number): number {
  return probeWrite(core, lo, hi, bytes, KIND_CURRENT);
}

/** Writes image[from, to) to linear hi:lo + from. @returns H_* */
export function writeImage(core: Core, lo: number, hi: number, from: number, to: number): number {
  for (let at = from; at < to; at += CHUNK) {
    const n = Math.min(CHUNK, to - at);
    core.u8.set(image.subarray(at, at + n), BUS_DATA);
    const r = writeLinear(core, (lo + at) | 0, highAt(lo, hi, at), n, KIND_CURRENT);
    if (r !== H_OK) return r;
  }
  return H_OK;
}

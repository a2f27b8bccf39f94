// State images in guest memory: a buffer that is read from, or written to, a linear address in one go, so that every
// fault comes before any state changes. How an image must be aligned its instruction knows.

import { BUS_DATA, MODE } from "../arena.ts";
import type { Core } from "../core.ts";
import {
  KIND_CURRENT,
  probeWrite,
  readLinear,
  TRANSLATE_EXIT,
  TRANSLATE_FAULT,
  translateRead,
  translateWrite,
  withoutAlignment,
  writeLinear,
} from "../mmu/access.ts";
import { H_EXIT_AT, H_FAULT, H_OK, MODE_64, MODE_CODE_MASK } from "../uops/uop.ts";

/** Bytes of the largest image: legacy region, XSAVE header, AVX component. */
export const IMAGE_BYTES = 1024;

/** The image being worked on; one instruction at a time. */
export const image: Uint8Array = new Uint8Array(IMAGE_BYTES);
export const imageView: DataView = new DataView(image.buffer);

/** Bytes moved at a time where the image crosses a page or touches a device, watched or logged memory. */
const CHUNK = 16;

/** High word of hi:lo + offset; outside 64-bit mode linear addresses wrap at 4 GiB. */
function highAt(core: Core, lo: number, hi: number, offset: number): number {
  if ((lo >>> 0) + offset <= 0xffffffff) return hi;
  return ((core.i32[MODE >>> 2] as number) & MODE_CODE_MASK) === MODE_64 ? (hi + 1) | 0 : 0;
}

/** Fills image[from, to) from linear hi:lo + from. @returns H_* */
export function readImage(core: Core, lo: number, hi: number, from: number, to: number): number {
  const whole = translateRead(core, (lo + from) | 0, highAt(core, lo, hi, from), to - from);
  if (whole >= 0) {
    image.set(core.u8.subarray(whole, whole + to - from), from);
    return H_OK;
  }
  if (whole === TRANSLATE_FAULT) return H_FAULT;
  if (whole === TRANSLATE_EXIT) return H_EXIT_AT;
  return withoutAlignment(core, () => readChunks(core, lo, hi, from, to));
}

function readChunks(core: Core, lo: number, hi: number, from: number, to: number): number {
  for (let at = from; at < to; at += CHUNK) {
    const n = Math.min(CHUNK, to - at);
    const r = readLinear(core, (lo + at) | 0, highAt(core, lo, hi, at), n, KIND_CURRENT);
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
  const whole = translateWrite(core, (lo + from) | 0, highAt(core, lo, hi, from), to - from);
  if (whole >= 0) {
    core.u8.set(image.subarray(from, to), whole);
    return H_OK;
  }
  if (whole === TRANSLATE_FAULT) return H_FAULT;
  if (whole === TRANSLATE_EXIT) return H_EXIT_AT;
  return withoutAlignment(core, () => writeChunks(core, lo, hi, from, to));
}

function writeChunks(core: Core, lo: number, hi: number, from: number, to: number): number {
  for (let at = from; at < to; at += CHUNK) {
    const n = Math.min(CHUNK, to - at);
    core.u8.set(image.subarray(at, at + n), BUS_DATA);
    const r = writeLinear(core, (lo + at) | 0, highAt(core, lo, hi, at), n, KIND_CURRENT);
    if (r !== H_OK) return r;
  }
  return H_OK;
}

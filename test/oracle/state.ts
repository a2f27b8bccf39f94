/** Random x87, MMX and SSE state, and memory full of numbers. */
import { randomF32, randomF64, randomF80 } from "../cpu/fpu/random.ts";
import type { Random } from "./random.ts";
import { FX_BYTES, WINDOW_BYTES } from "./vector.ts";

const FX_FTW = 4;
const FX_MXCSR = 24;
const FX_ST = 32;
const FX_XMM = 160;

/** Random control, status and tag words: rounding modes, precisions, masks, sticky flags; and MXCSR. */
export function controls(r: Random, fx: Uint8Array): void {
  const view = new DataView(fx.buffer, fx.byteOffset);
  const masked = mediaControls(r, fx);
  view.setUint16(0, 0x40 | (masked ? 0x3f : r.below(64)) | (r.pick([0, 2, 3, 3]) << 8) | (r.below(4) << 10), true);
  // Flags that are pending would fault before the instruction; a few do.
  const pending = r.chance(5) ? r.below(64) : 0;
  const summary = pending & ~view.getUint16(0, true) & 0x3f ? 0x8080 : 0;
  view.setUint16(2, (r.below(8) << 11) | (r.u32() & 0x4700) | pending | summary, true);
  fx[FX_FTW] = r.chance(75) ? 0xff : r.chance(20) ? 0 : r.below(256);
}

/** Random MXCSR: rounding modes, masks, sticky flags, DAZ and FTZ. @returns true if all exceptions are masked */
export function mediaControls(r: Random, fx: Uint8Array): boolean {
  const masked = r.chance(65);
  const special = (r.chance(15) ? 0x8000 : 0) | (r.chance(15) ? 0x40 : 0);
  const sticky = r.chance(40) ? 0x20 : r.chance(50) ? 0 : r.below(64);
  const mxcsr = (masked ? 0x1f80 : r.below(64) << 7) | (r.below(4) << 13) | special | sticky;
  new DataView(fx.buffer, fx.byteOffset).setUint32(FX_MXCSR, mxcsr, true);
  return masked;
}

/** A value for ST(n): numbers of every kind, a few that are no valid encoding, integers near the bounds. */
export function setST(r: Random, fx: Uint8Array, n: number): void {
  const view = new DataView(fx.buffer, fx.byteOffset);
  const at = FX_ST + n * 16;
  let bits = randomF80(r);
  if (r.chance(25)) {
    const exponent = 16383 + r.below(70) - 3;
    const low = (1n << BigInt(r.below(63))) - 1n;
    bits = (BigInt((r.below(2) << 15) | exponent) << 64n) | (1n << 63n) | (r.bits(63) & ~low);
  }
  if (n > 0 && r.chance(15)) {
    // Near its neighbour: cancellation, comparisons.
    const near = view.getBigUint64(at - 16, true) + BigInt(r.below(3));
    bits = (BigInt(view.getUint16(at - 8, true) ^ (r.below(2) << 15)) << 64n) | BigInt.asUintN(64, near);
  }
  view.setBigUint64(at, BigInt.asUintN(64, bits), true);
  view.setUint16(at + 8, Number(bits >> 64n), true);
}

/** Sixteen bytes of singles, doubles or integers. */
function setVector(r: Random, view: DataView, at: number): void {
  const kind = r.below(4);
  for (let k = 0; k < 16; k += 8) {
    if (kind === 0) view.setBigUint64(at + k, r.u64(), true);
    else if (kind === 1) view.setBigUint64(at + k, randomF64(r), true);
    else if (kind === 2) {
      view.setUint32(at + k, randomF32(r), true);
      view.setUint32(at + k + 4, randomF32(r), true);
    } else if (r.chance(50)) view.setFloat64(at + k, (r.u32() - 2 ** 31) * 2 ** (r.below(70) - 35), true);
    else {
      view.setFloat32(at + k, (r.u32() / 256 - 2 ** 23) * 2 ** (r.below(60) - 32), true);
      view.setFloat32(at + k + 4, (r.u32() / 256 - 2 ** 23) * 2 ** (r.below(60) - 32), true);
    }
  }
}

export function setXmm(r: Random, fx: Uint8Array, n: number): void {
  setVector(r, new DataView(fx.buffer, fx.byteOffset), FX_XMM + n * 16);
}

/** A random FXSAVE image (SDM table 10-2). */
export function fxImage(r: Random): Uint8Array {
  const fx = new Uint8Array(FX_BYTES);
  controls(r, fx);
  new DataView(fx.buffer).setUint32(FX_MXCSR + 4, 0xffff, true);
  for (let n = 0; n < 8; n++) setST(r, fx, n);
  for (let n = 0; n < 16; n++) setXmm(r, fx, n);
  return fx;
}

/** Memory for instructions on numbers: singles, doubles, integers, extended and decimal ones. */
export function setNumbers(r: Random, mem: Uint8Array, from: number, bytes: number): void {
  const view = new DataView(mem.buffer, mem.byteOffset);
  const end = Math.min(from + bytes, WINDOW_BYTES - 16);
  for (let at = from; at < end; at += 16) {
    const kind = r.below(8);
    if (kind === 0) {
      const bits = randomF80(r);
      view.setBigUint64(at, BigInt.asUintN(64, bits), true);
      view.setUint16(at + 8, Number(bits >> 64n), true);
    } else if (kind === 1) for (let k = 0; k < 10; k++) mem[at + k] = r.below(10) * 16 + r.below(10);
    else setVector(r, view, at);
  }
}

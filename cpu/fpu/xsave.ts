// FXSAVE, FXRSTOR and the XSAVE family (SDM volume 1, 10.5 and chapter 13). Components: x87, SSE, and AVX where XCR0
// allows it. What is in use is worked out from the registers themselves, so nobody has to keep XINUSE.

import {
  FPR,
  FPU_CS,
  FPU_CW,
  FPU_DP,
  FPU_DS,
  FPU_IP,
  FPU_OP,
  FPU_SW,
  FPU_TW,
  MXCSR,
  S_RAX,
  S_RDX,
  SLOTS,
  XCR0,
  XMM,
  XMM_STRIDE,
  YMM_UPPER_BYTES,
} from "../arena.ts";
import { type Core, raise, VEC_AC, VEC_GP } from "../core.ts";
import { isCanonical } from "../mmu/walker.ts";
import { H_OK } from "../uops/uop.ts";
import { image, imageView, probeImage, readImage, writeImage } from "./image-io.ts";
import { MXCSR_INIT, mxcsrMask } from "./sse-state.ts";
import { CW_ALWAYS, CW_INIT, CW_WRITABLE, initialize, refreshSummary, TAG_EMPTY, topOf } from "./x87-state.ts";

export const XSTATE_X87 = 1;
export const XSTATE_SSE = 2;
export const XSTATE_AVX = 4;
export const LEGACY_BYTES = 512;
const HEADER_END = 576;
const AVX_BYTES = 256;
const XMM_AT = 160;
const COMPACTED_HIGH = 0x80000000;

/** Options of `xsave` and `xrstor`. */
export const XSAVE_PLAIN = 0;
/** XSAVEOPT: components in their initial configuration are not written. */
export const XSAVE_OPTIMIZED = 1;
/** XSAVEC and XSAVES: the compacted format. */
export const XSAVE_COMPACTED = 2;

/** Whether the form has 64-bit pointers, and how many XMM registers there are (8 outside 64-bit mode). */
export interface ImageForm {
  readonly pointers64: boolean;
  readonly registers: number;
}

// ---- the legacy region ------------------------------------------------------------------------------------------

function packX87(core: Core, form: ImageForm): void {
  const v = imageView;
  v.setUint16(0, core.i32[FPU_CW >> 2] as number, true);
  v.setUint16(2, core.i32[FPU_SW >> 2] as number, true);
  let abridged = 0;
  for (let r = 0; r < 8; r++) {
    if ((((core.i32[FPU_TW >> 2] as number) >> (r * 2)) & 3) !== TAG_EMPTY) abridged |= 1 << r;
  }
  v.setUint16(4, abridged, true);
  v.setUint16(6, core.i32[FPU_OP >> 2] as number, true);
  v.setUint32(8, core.u32[FPU_IP >> 2] as number, true);
  v.setUint32(12, form.pointers64 ? (core.u32[(FPU_IP >> 2) + 1] as number) : (core.i32[FPU_CS >> 2] as number), true);
  v.setUint32(16, core.u32[FPU_DP >> 2] as number, true);
  v.setUint32(20, form.pointers64 ? (core.u32[(FPU_DP >> 2) + 1] as number) : (core.i32[FPU_DS >> 2] as number), true);
  const top = topOf(core);
  for (let i = 0; i < 8; i++) {
    const from = FPR + ((top + i) & 7) * 16;
    image.set(core.u8.subarray(from, from + 10), 32 + i * 16);
    image.fill(0, 42 + i * 16, 48 + i * 16);
  }
}

function unpackX87(core: Core, form: ImageForm): void {
  const v = imageView;
  core.i32[FPU_CW >> 2] = (v.getUint16(0, true) & CW_WRITABLE) | CW_ALWAYS;
  core.i32[FPU_SW >> 2] = v.getUint16(2, true);
  const abridged = v.getUint8(4);
  let tags = 0;
  for (let r = 0; r < 8; r++) if ((abridged & (1 << r)) === 0) tags |= TAG_EMPTY << (r * 2);
  core.i32[FPU_TW >> 2] = tags;
  core.i32[FPU_OP >> 2] = v.getUint16(6, true) & 0x7ff;
  core.u32[FPU_IP >> 2] = v.getUint32(8, true);
  core.u32[(FPU_IP >> 2) + 1] = form.pointers64 ? v.getUint32(12, true) : 0;
  core.u32[FPU_DP >> 2] = v.getUint32(16, true);
  core.u32[(FPU_DP >> 2) + 1] = form.pointers64 ? v.getUint32(20, true) : 0;
  core.i32[FPU_CS >> 2] = form.pointers64 ? 0 : v.getUint16(12, true);
  core.i32[FPU_DS >> 2] = form.pointers64 ? 0 : v.getUint16(20, true);
  refreshSummary(core);
  const top = topOf(core);
  for (let i = 0; i < 8; i++) {
    core.u8.set(image.subarray(32 + i * 16, 42 + i * 16), FPR + ((top + i) & 7) * 16);
  }
}

function packMxcsr(core: Core): void {
  imageView.setUint32(24, core.i32[MXCSR >> 2] as number, true);
  imageView.setUint32(28, mxcsrMask(core), true);
}

function packXmm(core: Core, registers: number): void {
  for (let i = 0; i < registers; i++) {
    const from = XMM + i * XMM_STRIDE;
    image.set(core.u8.subarray(from, from + 16), XMM_AT + i * 16);
  }
}

function unpackXmm(core: Core, registers: number): void {
  for (let i = 0; i < registers; i++) {
    core.u8.set(image.subarray(XMM_AT + i * 16, XMM_AT + i * 16 + 16), XMM + i * XMM_STRIDE);
  }
}

/** Where alignment is checked, the alignment of four bytes is a matter of #AC, the rest of #GP (an AMD EPYC; SDM: it may vary). */
const misalignedImage = (core: Core, lo: number, hi: number): number =>
  raise(core, core.mmu.alignCheck && lo & 3 && isCanonical(hi) ? VEC_AC : VEC_GP);

/** FXSAVE at linear hi:lo (16-byte aligned, else #GP(0)). Bytes 416..511 stay as they are. @returns H_* */
export function fxsave(core: Core, lo: number, hi: number, form: ImageForm): number {
  if (lo & 15) return misalignedImage(core, lo, hi);
  packX87(core, form);
  packMxcsr(core);
  packXmm(core, form.registers);
  return probeImage(core, lo, hi, LEGACY_BYTES) || writeImage(core, lo, hi, 0, XMM_AT + form.registers * 16);
}

export function fxrstor(core: Core, lo: number, hi: number, form: ImageForm): number {
  if (lo & 15) return misalignedImage(core, lo, hi);
  const r = readImage(core, lo, hi, 0, LEGACY_BYTES);
  if (r !== H_OK) return r;
  const mxcsr = imageView.getUint32(24, true);
  if (mxcsr & ~mxcsrMask(core)) return raise(core, VEC_GP);
  unpackX87(core, form);
  core.i32[MXCSR >> 2] = mxcsr;
  unpackXmm(core, form.registers);
  return H_OK;
}

/** Takes the x87 and SSE state of the (active) core from an image of FXSAVE; bits of MXCSR that don't exist are left out. */
export function loadLegacyImage(core: Core, bytes: Uint8Array, form: ImageForm): void {
  image.set(bytes.subarray(0, LEGACY_BYTES));
  unpackX87(core, form);
  core.i32[MXCSR >> 2] = imageView.getUint32(24, true) & mxcsrMask(core);
  unpackXmm(core, form.registers);
}

// ---- XSAVE ------------------------------------------------------------------------------------------------------

function anySet(core: Core, address: number, bytes: number): boolean {
  for (let at = address >> 2; at < (address + bytes) >> 2; at++) if (core.i32[at] !== 0) return true;
  return false;
}

/** The components that are not in their initial configuration (XINUSE, SDM volume 1, 13.6). */
export function xinuse(core: Core): number {
  let bits = 0;
  if (
    core.i32[FPU_CW >> 2] !== CW_INIT ||
    core.i32[FPU_SW >> 2] !== 0 ||
    core.i32[FPU_TW >> 2] !== 0xffff ||
    core.i32[FPU_OP >> 2] !== 0 ||
    anySet(core, FPU_IP, 16) ||
    anyFpr(core)
  )
    bits |= XSTATE_X87;
  for (let i = 0; i < 16; i++) {
    if (anySet(core, XMM + i * XMM_STRIDE, 16)) bits |= XSTATE_SSE;
    if (anySet(core, XMM + i * XMM_STRIDE + YMM_UPPER_BYTES, 16)) bits |= XSTATE_AVX;
  }
  return bits;
}

function anyFpr(core: Core): boolean {
  for (let r = 0; r < 8; r++) {
    if (anySet(core, FPR + r * 16, 8) || core.u16[(FPR + r * 16 + 8) >> 1] !== 0) return true;
  }
  return false;
}

/** EDX:EAX & XCR0: the low word is all that this model has components in. */
function requested(core: Core): number {
  return (core.i32[(SLOTS + S_RAX) >> 2] as number) & (core.i32[XCR0 >> 2] as number);
}

function packAvx(core: Core): void {
  for (let i = 0; i < 16; i++) {
    const from = XMM + i * XMM_STRIDE + YMM_UPPER_BYTES;
    image.set(core.u8.subarray(from, from + 16), HEADER_END + i * 16);
  }
}

/** XSAVE, XSAVEOPT, XSAVEC at linear hi:lo (64-byte aligned, else #GP(0)). */
export function xsave(core: Core, lo: number, hi: number, form: ImageForm, variant: number): number {
  if (lo & 63) return raise(core, VEC_GP);
  const rfbm = requested(core);
  const bytes = rfbm & XSTATE_AVX ? HEADER_END + AVX_BYTES : HEADER_END;
  let r = probeImage(core, lo, hi, bytes) || readImage(core, lo, hi, LEGACY_BYTES, HEADER_END);
  if (r !== H_OK) return r;
  let inUse = xinuse(core);
  const compacted = variant === XSAVE_COMPACTED;
  if (compacted && core.i32[MXCSR >> 2] !== MXCSR_INIT) inUse |= XSTATE_SSE;
  const written = variant === XSAVE_PLAIN ? rfbm : rfbm & inUse;
  if (compacted) {
    imageView.setUint32(512, rfbm & inUse, true);
    imageView.setUint32(516, 0, true);
    imageView.setUint32(520, rfbm, true);
    imageView.setUint32(524, COMPACTED_HIGH, true);
  } else imageView.setUint32(512, (imageView.getUint32(512, true) & ~rfbm) | (rfbm & inUse), true);
  if (written & XSTATE_X87) {
    packX87(core, form);
    r = writeImage(core, lo, hi, 0, 24) || writeImage(core, lo, hi, 32, XMM_AT);
  }
  if (r === H_OK && (compacted ? written & XSTATE_SSE : rfbm & (XSTATE_SSE | XSTATE_AVX))) {
    packMxcsr(core);
    r = writeImage(core, lo, hi, 24, 32);
  }
  if (r === H_OK && written & XSTATE_SSE) {
    packXmm(core, form.registers);
    r = writeImage(core, lo, hi, XMM_AT, XMM_AT + form.registers * 16);
  }
  if (r === H_OK && written & XSTATE_AVX) {
    packAvx(core);
    r = writeImage(core, lo, hi, HEADER_END, HEADER_END + form.registers * 16);
  }
  return r || writeImage(core, lo, hi, 512, compacted ? 528 : 520);
}

/** XRSTOR from linear hi:lo; `compactedAllowed` if the processor has XSAVEC. */
export function xrstor(core: Core, lo: number, hi: number, form: ImageForm, compactedAllowed: boolean): number {
  if (lo & 63) return raise(core, VEC_GP);
  const rfbm = requested(core);
  let r = readImage(core, lo, hi, 0, HEADER_END);
  if (r !== H_OK) return r;
  const present = imageView.getUint32(512, true);
  const compactBits = imageView.getUint32(520, true);
  const compactHigh = imageView.getUint32(524, true);
  const compacted = compactHigh === COMPACTED_HIGH && compactedAllowed;
  const xcr0 = core.i32[XCR0 >> 2] as number;
  let bad = imageView.getUint32(516, true) !== 0 || (present & ~xcr0) !== 0;
  if (compacted) bad ||= (compactBits & ~xcr0) !== 0 || (present & ~compactBits) !== 0;
  else bad ||= compactBits !== 0 || compactHigh !== 0;
  for (let at = 528; at < (compacted ? HEADER_END : 536); at++) bad ||= image[at] !== 0;
  const load = rfbm & present;
  const mxcsr = imageView.getUint32(24, true);
  const loadMxcsr = compacted ? (load & XSTATE_SSE) !== 0 : (rfbm & (XSTATE_SSE | XSTATE_AVX)) !== 0;
  if (loadMxcsr) bad ||= (mxcsr & ~mxcsrMask(core)) !== 0;
  if (bad) return raise(core, VEC_GP);
  if (load & XSTATE_AVX) {
    r = readImage(core, lo, hi, HEADER_END, HEADER_END + AVX_BYTES);
    if (r !== H_OK) return r;
  }
  if (load & XSTATE_X87) unpackX87(core, form);
  else if (rfbm & XSTATE_X87) {
    initialize(core);
    core.u8.fill(0, FPR, FPR + 128);
  }
  if (loadMxcsr) core.i32[MXCSR >> 2] = mxcsr;
  else if (rfbm & XSTATE_SSE) core.i32[MXCSR >> 2] = MXCSR_INIT;
  if (load & XSTATE_SSE) unpackXmm(core, form.registers);
  else if (rfbm & XSTATE_SSE)
    for (let i = 0; i < form.registers; i++) core.u8.fill(0, XMM + i * XMM_STRIDE, XMM + i * XMM_STRIDE + 16);
  if (rfbm & XSTATE_AVX) {
    for (let i = 0; i < form.registers; i++) {
      const to = XMM + i * XMM_STRIDE + YMM_UPPER_BYTES;
      if (load & XSTATE_AVX) core.u8.set(image.subarray(HEADER_END + i * 16, HEADER_END + i * 16 + 16), to);
      else core.u8.fill(0, to, to + 16);
    }
  }
  return H_OK;
}

/** XCR0, or XCR0 & XINUSE, in EDX:EAX. */
export function xgetbv(core: Core, index: number): number {
  if (index !== 0 && index !== 1) return raise(core, VEC_GP);
  const value = core.i32[XCR0 >> 2] as number;
  core.i32[(SLOTS + S_RAX) >> 2] = index === 0 ? value : value & xinuse(core);
  core.i32[((SLOTS + S_RAX) >> 2) + 1] = 0;
  core.i32[(SLOTS + S_RDX) >> 2] = index === 0 ? (core.i32[(XCR0 >> 2) + 1] as number) : 0;
  core.i32[((SLOTS + S_RDX) >> 2) + 1] = 0;
  return H_OK;
}

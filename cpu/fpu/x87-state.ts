// The x87 register stack in the arena, and the two ends of every x87 operation: `begin` and `finish`.
// SDM volume 1, chapter 8.

import { CORE, FPR, FPU_CW, FPU_DP, FPU_IP, FPU_OP, FPU_SW, FPU_TW } from "../arena.ts";
import type { Core } from "../core.ts";
import {
  createFloatContext,
  F80_INDEFINITE,
  type FloatContext,
  IE,
  OE,
  type Operand,
  PE,
  PRE_COMPUTATION,
  UE,
  unpackF80,
} from "./softfloat.ts";

export const SW_SF = 0x40;
export const SW_ES = 0x80;
export const SW_C0 = 0x100;
export const SW_C1 = 0x200;
export const SW_C2 = 0x400;
export const SW_C3 = 0x4000;
export const SW_B = 0x8000;
export const SW_CONDITIONS: number = SW_C0 | SW_C1 | SW_C2 | SW_C3;
export const SW_TOP_SHIFT = 11;
export const CW_INIT = 0x37f;
/** CW bits that FLDCW can change; bit 6 always reads as one. */
export const CW_WRITABLE = 0x1f3f;
export const CW_ALWAYS = 0x40;

const CW = FPU_CW >> 2;
const SW = FPU_SW >> 2;
const TW = FPU_TW >> 2;
const SLOT_WORDS = CORE >> 3;

/** Tags of the full tag word. Only TAG_EMPTY is stored faithfully; the others are worked out when the word is saved. */
export const TAG_VALID = 0;
export const TAG_ZERO = 1;
export const TAG_SPECIAL = 2;
export const TAG_EMPTY = 3;

/** Significand bits by precision control; the reserved encoding acts as the widest. */
const PRECISIONS: readonly number[] = [24, 64, 53, 64];

/** The context of x87 operations; operations do not nest. */
export const x87: FloatContext = createFloatContext();
x87.x87 = true;

export function topOf(m: Core): number {
  return ((m.i32[SW] as number) >> SW_TOP_SHIFT) & 7;
}

export function setTop(m: Core, top: number): void {
  m.i32[SW] = ((m.i32[SW] as number) & ~(7 << SW_TOP_SHIFT)) | ((top & 7) << SW_TOP_SHIFT);
}

/** Starts an operation: reads the control word, clears C1. */
export function begin(m: Core): void {
  beginKeepingC1(m);
  m.i32[SW] = (m.i32[SW] as number) & ~SW_C1;
}

/** The same without touching C1: FCMOVcc, FCOMI and their like clear it on stack underflow only. */
export function beginKeepingC1(m: Core): void {
  const cw = m.i32[CW] as number;
  x87.flags = 0;
  x87.roundedUp = false;
  x87.masks = cw & 0x3f;
  x87.rounding = (cw >> 10) & 3;
  x87.precision = 64;
}

/** The operations that obey precision control call this after `begin`. */
export function obeyPrecisionControl(m: Core): void {
  x87.precision = PRECISIONS[((m.i32[CW] as number) >> 8) & 3] as number;
}

/** Sets exception flags and, if one of them is unmasked, ES and B, on which the next waiting instruction faults. */
function report(m: Core, flags: number): void {
  let sw = (m.i32[SW] as number) | flags;
  if (flags & ~x87.masks & 0x3f) sw |= SW_ES | SW_B;
  m.i32[SW] = sw;
}

/**
 * Posts the exceptions of the operation; C1 tells whether an inexact result was rounded up. True if the result is to be
 * delivered: not after an unmasked #I, #D or #Z, and to memory (`toMemory`) not after an unmasked #O or #U either.
 */
export function finish(m: Core, toMemory = false): boolean {
  let flags = x87.flags;
  const unmasked = flags & ~x87.masks;
  if (unmasked & PRE_COMPUTATION) {
    report(m, flags & PRE_COMPUTATION);
    return false;
  }
  const withheld = toMemory && (unmasked & (OE | UE)) !== 0;
  if (withheld) flags &= ~PE;
  else if (flags & PE && x87.roundedUp) flags |= SW_C1;
  report(m, flags);
  return !withheld;
}

/** #IS: stack underflow (`overflow` false) or overflow. True if it is masked. */
export function stackFault(m: Core, overflow: boolean): boolean {
  m.i32[SW] = (m.i32[SW] as number) & ~SW_C1;
  report(m, IE | SW_SF | (overflow ? SW_C1 : 0));
  return (x87.masks & IE) !== 0;
}

export function isEmpty(m: Core, i: number): boolean {
  return (((m.i32[TW] as number) >> (((topOf(m) + i) & 7) * 2)) & 3) === TAG_EMPTY;
}

/** Sets the tag of physical register `physical`. */
export function setTag(m: Core, physical: number, tag: number): void {
  const shift = (physical & 7) * 2;
  m.i32[TW] = ((m.i32[TW] as number) & ~(3 << shift)) | (tag << shift);
}

/** Byte address of ST(i). */
export function addressOfST(m: Core, i: number): number {
  return FPR + ((topOf(m) + i) & 7) * 16;
}

export function readST(m: Core, i: number): Operand {
  const at = addressOfST(m, i);
  return unpackF80(m.u64[at >> 3] as bigint, m.u16[(at + 8) >> 1] as number);
}

/** The 80-bit encoding in ST(i). */
export function readBits(m: Core, i: number): bigint {
  const at = addressOfST(m, i);
  return (BigInt(m.u16[(at + 8) >> 1] as number) << 64n) | (m.u64[at >> 3] as bigint);
}

/** Writes an 80-bit encoding to ST(i) and tags it as in use. */
export function writeST(m: Core, i: number, bits: bigint): void {
  const physical = (topOf(m) + i) & 7;
  const at = FPR + physical * 16;
  m.u64[at >> 3] = bits;
  m.u16[(at + 8) >> 1] = Number(bits >> 64n);
  setTag(m, physical, TAG_VALID);
}

export function push(m: Core, bits: bigint): void {
  setTop(m, topOf(m) - 1);
  writeST(m, 0, bits);
}

export function pop(m: Core): void {
  const top = topOf(m);
  setTag(m, top, TAG_EMPTY);
  setTop(m, top + 1);
}

/** Stack overflow check before a push; the masked response has then been given. True: the instruction is over. */
export function pushFault(m: Core): boolean {
  if (!isEmpty(m, 7)) {
    if (stackFault(m, true)) push(m, F80_INDEFINITE);
    return true;
  }
  return false;
}

export function setConditions(m: Core, bits: number): void {
  m.i32[SW] = ((m.i32[SW] as number) & ~SW_CONDITIONS) | bits;
}

/** ES and B follow the flags and masks; FLDCW, FLDENV and FXRSTOR may change either. */
export function refreshSummary(m: Core): void {
  const sw = m.i32[SW] as number;
  m.i32[SW] = sw & ~(m.i32[CW] as number) & 0x3f ? sw | SW_ES | SW_B : sw & ~(SW_ES | SW_B);
}

/** The full tag word with the tags of registers in use worked out from their contents, as FNSTENV stores it. */
export function fullTagWord(m: Core): number {
  const stored = m.i32[TW] as number;
  let word = 0;
  for (let r = 0; r < 8; r++) {
    let tag = (stored >> (r * 2)) & 3;
    if (tag !== TAG_EMPTY) {
      const at = FPR + r * 16;
      const exponent = (m.u16[(at + 8) >> 1] as number) & 0x7fff;
      const high = m.i32[(at + 4) >> 2] as number;
      if (exponent === 0) tag = high === 0 && m.i32[at >> 2] === 0 ? TAG_ZERO : TAG_SPECIAL;
      else tag = exponent === 0x7fff || high >= 0 ? TAG_SPECIAL : TAG_VALID;
    }
    word |= tag << (r * 2);
  }
  return word;
}

/** FNINIT, and the x87 part of RESET and of XRSTOR's initial configuration; the registers keep their contents. */
export function initialize(m: Core): void {
  m.i32[CW] = CW_INIT;
  m.i32[SW] = 0;
  m.i32[TW] = 0xffff;
  m.i32[FPU_OP >> 2] = 0;
  m.u64[FPU_IP >> 3] = 0n;
  m.u64[FPU_DP >> 3] = 0n;
}

/** The 64-bit value of slot `slot` (a byte offset into the slot file). */
export function slot64(m: Core, slot: number): bigint {
  return m.u64[SLOT_WORDS + (slot >> 3)] as bigint;
}

export function setSlot64(m: Core, slot: number, value: bigint): void {
  m.u64[SLOT_WORDS + (slot >> 3)] = value;
}

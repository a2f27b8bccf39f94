// x87 loads, stores, exchanges and control words. An operation takes the arena and the register number of its ST(i)
// operand; memory operands are in slot S_T0 (bits 79..64 of a ten-byte one in S_T1). A store leaves what to write
// there; the slots come in with the old contents of memory, so an operation that must not store leaves them alone.

import { FPU_CW, FPU_SW, FPU_TW, S_RAX, S_T0, S_T1 } from "../arena.ts";
import type { Core } from "../core.ts";
import { FLAG_CF, FLAG_PF, FLAG_ZF, getFlags } from "../flags.ts";
import {
  F32,
  F64,
  F80,
  F80_INDEFINITE,
  type FloatFormat,
  IE,
  packIndefinite,
  RC_ZERO,
  unpackF32,
  unpackF64,
  ZERO,
} from "./softfloat.ts";
import { convert, fromInteger, toInteger } from "./softfloat-arith.ts";
import {
  addressOfST,
  begin,
  beginKeepingC1,
  CW_ALWAYS,
  CW_WRITABLE,
  finish,
  initialize,
  isEmpty,
  pop,
  push,
  pushFault,
  readBits,
  readST,
  refreshSummary,
  SW_C0,
  SW_C1,
  SW_C2,
  SW_C3,
  SW_CONDITIONS,
  setSlot64,
  setTag,
  setTop,
  slot64,
  stackFault,
  TAG_EMPTY,
  topOf,
  writeST,
  x87,
} from "./x87-state.ts";

export type X87Operation = (m: Core, i: number) => void;

// ---- loads ------------------------------------------------------------------------------------------------------

/** An unmasked #I suppresses the push, an unmasked #D does not. */
function finishLoad(m: Core, bits: bigint): void {
  finish(m);
  if ((x87.flags & ~x87.masks & IE) === 0) push(m, bits);
}

export function fldM32(m: Core): void {
  begin(m);
  if (pushFault(m)) return;
  const bits = convert(x87, F80, unpackF32(x87, Number(slot64(m, S_T0) & 0xffffffffn)));
  finishLoad(m, bits);
}

export function fldM64(m: Core): void {
  begin(m);
  if (pushFault(m)) return;
  const bits = convert(x87, F80, unpackF64(x87, slot64(m, S_T0)));
  finishLoad(m, bits);
}

/** No exceptions but stack overflow: the value is moved as it is. */
export function fldM80(m: Core): void {
  begin(m);
  if (pushFault(m)) return;
  push(m, ((slot64(m, S_T1) & 0xffffn) << 64n) | slot64(m, S_T0));
}

export function fldST(m: Core, i: number): void {
  begin(m);
  if (isEmpty(m, i)) {
    if (stackFault(m, false)) push(m, F80_INDEFINITE);
    return;
  }
  if (pushFault(m)) return;
  push(m, readBits(m, i));
}

function fild(m: Core, bits: number): void {
  begin(m);
  if (pushFault(m)) return;
  push(m, fromInteger(x87, F80, BigInt.asIntN(bits, slot64(m, S_T0))));
}
export const fildM16 = (m: Core): void => fild(m, 16);
export const fildM32 = (m: Core): void => fild(m, 32);
export const fildM64 = (m: Core): void => fild(m, 64);

export function fbld(m: Core): void {
  begin(m);
  if (pushFault(m)) return;
  let value = 0n;
  let scale = 1n;
  const high = slot64(m, S_T1);
  let digits = ((high & 0xffn) << 64n) | slot64(m, S_T0);
  for (let i = 0; i < 18; i++) {
    value += (digits & 15n) * scale;
    digits >>= 4n;
    scale *= 10n;
  }
  const sign = (high >> 15n) & 1n;
  const packed = fromInteger(x87, F80, value);
  push(m, packed | (sign << 79n));
}

/** FLD1 FLDL2T FLDL2E FLDPI FLDLG2 FLDLN2 FLDZ: truncated significand, exponent, and whether the next bits round up. */
const CONSTANTS: readonly (readonly [exponent: number, significand: bigint, tail: number])[] = [
  [0x3fff, 0x8000_0000_0000_0000n, 0],
  [0x4000, 0xd49a_784b_cd1b_8afen, 1],
  [0x3fff, 0xb8aa_3b29_5c17_f0bbn, 2],
  [0x4000, 0xc90f_daa2_2168_c234n, 2],
  [0x3ffd, 0x9a20_9a84_fbcf_f798n, 2],
  [0x3ffe, 0xb172_17f7_d1cf_79abn, 2],
  [0, 0n, 0],
];

/** D9 E8+i. The constants are rounded by RC (tail 2: above one half, 1: below); #P is not raised. */
export function loadConstant(m: Core, i: number): void {
  begin(m);
  if (pushFault(m)) return;
  const [exponent, significand, tail] = CONSTANTS[i] as readonly [number, bigint, number];
  const up = tail !== 0 && (x87.rounding === 2 || (x87.rounding === 0 && tail === 2));
  push(m, (BigInt(exponent) << 64n) | (up ? significand + 1n : significand));
}

// ---- stores -----------------------------------------------------------------------------------------------------

function store(m: Core, popping: boolean, compute: (m: Core) => bigint, indefinite: bigint): void {
  begin(m);
  if (isEmpty(m, 0)) {
    if (!stackFault(m, false)) return;
    setSlot64(m, S_T0, indefinite);
  } else {
    const bits = compute(m);
    if (!finish(m, true)) return;
    setSlot64(m, S_T0, bits);
  }
  if (popping) pop(m);
}

/** A denormal to be stored does not raise #D. */
const narrow = (m: Core, to: FloatFormat): bigint => {
  const a = readST(m, 0);
  a.denormal = false;
  return convert(x87, to, a);
};
const toF32 = (m: Core): bigint => narrow(m, F32);
const toF64 = (m: Core): bigint => narrow(m, F64);
const toInt = (bits: number, truncate: boolean): ((m: Core) => bigint) => {
  return (m) => {
    const value = toInteger(x87, readST(m, 0), bits, truncate ? RC_ZERO : x87.rounding);
    return BigInt.asUintN(64, value);
  };
};
const toInt16 = toInt(16, false);
const toInt32 = toInt(32, false);
const toInt64 = toInt(64, false);
const chop16 = toInt(16, true);
const chop32 = toInt(32, true);
const chop64 = toInt(64, true);
const INDEFINITE_F32: bigint = packIndefinite(F32);
const INDEFINITE_F64: bigint = packIndefinite(F64);

export const fstM32 = (m: Core): void => store(m, false, toF32, INDEFINITE_F32);
export const fstpM32 = (m: Core): void => store(m, true, toF32, INDEFINITE_F32);
export const fstM64 = (m: Core): void => store(m, false, toF64, INDEFINITE_F64);
export const fstpM64 = (m: Core): void => store(m, true, toF64, INDEFINITE_F64);
export const fistM16 = (m: Core): void => store(m, false, toInt16, 0x8000n);
export const fistpM16 = (m: Core): void => store(m, true, toInt16, 0x8000n);
export const fistM32 = (m: Core): void => store(m, false, toInt32, 0x8000_0000n);
export const fistpM32 = (m: Core): void => store(m, true, toInt32, 0x8000_0000n);
export const fistpM64 = (m: Core): void => store(m, true, toInt64, 0x8000_0000_0000_0000n);
export const fisttpM16 = (m: Core): void => store(m, true, chop16, 0x8000n);
export const fisttpM32 = (m: Core): void => store(m, true, chop32, 0x8000_0000n);
export const fisttpM64 = (m: Core): void => store(m, true, chop64, 0x8000_0000_0000_0000n);

function setTenBytes(m: Core, bits: bigint): void {
  setSlot64(m, S_T0, BigInt.asUintN(64, bits));
  setSlot64(m, S_T1, bits >> 64n);
}

export function fstpM80(m: Core): void {
  begin(m);
  if (isEmpty(m, 0)) {
    if (!stackFault(m, false)) return;
    setTenBytes(m, F80_INDEFINITE);
  } else setTenBytes(m, readBits(m, 0));
  pop(m);
}

const BCD_LIMIT = 10n ** 18n;
const BCD_INDEFINITE = 0xffff_c000_0000_0000_0000n;

export function fbstp(m: Core): void {
  begin(m);
  if (isEmpty(m, 0)) {
    if (!stackFault(m, false)) return;
    setTenBytes(m, BCD_INDEFINITE);
    pop(m);
    return;
  }
  const a = readST(m, 0);
  let value = toInteger(x87, a, 64, x87.rounding);
  const outside = x87.flags & IE || value >= BCD_LIMIT || value <= -BCD_LIMIT;
  if (outside) {
    x87.flags = IE;
    x87.roundedUp = false;
  }
  if (!finish(m)) return;
  if (outside) setTenBytes(m, BCD_INDEFINITE);
  else {
    if (value < 0n) value = -value;
    let digits = 0n;
    for (let at = 0n; value !== 0n; at += 4n, value /= 10n) digits |= (value % 10n) << at;
    setTenBytes(m, digits | (BigInt(a.sign) << 79n));
  }
  pop(m);
}

function fstRegister(m: Core, i: number, popping: boolean): void {
  begin(m);
  if (isEmpty(m, 0)) {
    if (!stackFault(m, false)) return;
    writeST(m, i, F80_INDEFINITE);
  } else writeST(m, i, readBits(m, 0));
  if (popping) pop(m);
}
export const fstST = (m: Core, i: number): void => fstRegister(m, i, false);
export const fstpST = (m: Core, i: number): void => fstRegister(m, i, true);

/** D9 D8+i, not in the manuals: FSTP that takes no notice of an empty ST(0). */
export function fstpnce(m: Core, i: number): void {
  begin(m);
  if (!isEmpty(m, 0)) writeST(m, i, readBits(m, 0));
  pop(m);
}

// ---- moves and stack control ------------------------------------------------------------------------------------

export function fxch(m: Core, i: number): void {
  begin(m);
  const empty0 = isEmpty(m, 0);
  const emptyI = isEmpty(m, i);
  if ((empty0 || emptyI) && !stackFault(m, false)) return;
  const x = empty0 ? F80_INDEFINITE : readBits(m, 0);
  const y = emptyI ? F80_INDEFINITE : readBits(m, i);
  writeST(m, 0, y);
  writeST(m, i, x);
}

/** Flags that the conditions B, E, BE and U of FCMOVcc look at, by ModRM bits 4..3. */
const FCMOV_FLAGS: readonly number[] = [FLAG_CF, FLAG_ZF, FLAG_CF | FLAG_ZF, FLAG_PF];

/** FCMOVB, E, BE, U (`which` 0..3), or with `negated` FCMOVNB, NE, NBE, NU. */
export function fcmov(which: number, negated: boolean): X87Operation {
  const flags = FCMOV_FLAGS[which] as number;
  return (m, i) => {
    beginKeepingC1(m);
    if (isEmpty(m, 0) || isEmpty(m, i)) {
      if (stackFault(m, false)) writeST(m, 0, F80_INDEFINITE);
    } else if (((getFlags(m) & flags) === 0) === negated) writeST(m, 0, readBits(m, i));
  };
}

export function ffree(m: Core, i: number): void {
  begin(m);
  setTag(m, topOf(m) + i, TAG_EMPTY);
}

/** DF C0+i, not in the manuals: FFREE and a pop. */
export function ffreep(m: Core, i: number): void {
  ffree(m, i);
  pop(m);
}

export function fincstp(m: Core): void {
  begin(m);
  setTop(m, topOf(m) + 1);
}

export function fdecstp(m: Core): void {
  begin(m);
  setTop(m, topOf(m) - 1);
}

export function fchs(m: Core): void {
  signOperation(m, (word) => word ^ 0x8000);
}

export function fabs(m: Core): void {
  signOperation(m, (word) => word & 0x7fff);
}

function signOperation(m: Core, change: (word: number) => number): void {
  begin(m);
  if (isEmpty(m, 0)) {
    if (stackFault(m, false)) writeST(m, 0, F80_INDEFINITE);
    return;
  }
  const at = (addressOfST(m, 0) + 8) >> 1;
  m.u16[at] = change(m.u16[at] as number);
}

export function fxam(m: Core): void {
  const at = addressOfST(m, 0);
  const sign = (m.u16[(at + 8) >> 1] as number) >> 15 ? SW_C1 : 0;
  let bits: number;
  if (isEmpty(m, 0)) bits = SW_C3 | SW_C0;
  else {
    const a = readST(m, 0);
    if (a.cls === ZERO) bits = SW_C3;
    else if (a.denormal) bits = SW_C3 | SW_C2;
    else bits = FXAM_CLASSES[a.cls] as number;
  }
  m.i32[FPU_SW >> 2] = ((m.i32[FPU_SW >> 2] as number) & ~SW_CONDITIONS) | bits | sign;
}

/** By operand class: zero, finite, infinite, QNaN, SNaN, unsupported. */
const FXAM_CLASSES: readonly number[] = [SW_C3, SW_C2, SW_C2 | SW_C0, SW_C0, SW_C0, 0];

// ---- control words ----------------------------------------------------------------------------------------------

export function fldcw(m: Core): void {
  m.i32[FPU_CW >> 2] = (Number(slot64(m, S_T0) & 0xffffn) & CW_WRITABLE) | CW_ALWAYS;
  refreshSummary(m);
}

export function fnstcw(m: Core): void {
  setSlot64(m, S_T0, BigInt(m.i32[FPU_CW >> 2] as number));
}

export function fnstsw(m: Core): void {
  setSlot64(m, S_T0, BigInt(m.i32[FPU_SW >> 2] as number));
}

export function fnstswAX(m: Core): void {
  setSlot64(m, S_RAX, (slot64(m, S_RAX) & ~0xffffn) | BigInt(m.i32[FPU_SW >> 2] as number));
}

/** Clears the exception flags, SF, ES and B; C0 to C3 and TOP stay. */
export function fnclex(m: Core): void {
  m.i32[FPU_SW >> 2] = (m.i32[FPU_SW >> 2] as number) & 0x7f00;
}

export function fninit(m: Core): void {
  initialize(m);
}

/** FNOP, and FNENI, FNDISI, FNSETPM of the 8087 and 80287. */
export function fnop(): void {}

/** Before an MMX instruction other than EMMS: TOP = 0, all tags valid. A write sets bits 79..64 of its register too. */
export function enterMmx(m: Core): void {
  setTop(m, 0);
  m.i32[FPU_TW >> 2] = 0;
}

/** Small things that the integer helpers share: operands of a micro-op record, slots as int32 pairs, flags. */
import { CC_A, CC_C, CC_O, CC_S, CC_Z, MODE, RIP, S_RIPBASE, SLOTS } from "../arena.ts";
import { type Core, raise, VEC_UD } from "../core.ts";
import { defineHelper } from "./helpers.ts";
import { MODE_64, MODE_CODE_MASK } from "./uop.ts";

/** Index in `core.i32` of the low word of the slot that byte `field` (2 d, 3 a, 4 b) of micro-op `u` names. */
export function slotWord(core: Core, u: number, field: number): number {
  return (SLOTS + core.u8[u + field]!) >>> 2;
}

export const FIELD_D = 2;
export const FIELD_A = 3;
export const FIELD_B = 4;
export const FIELD_S = 5;
export const FIELD_OFF = 6;
export const FIELD_C = 7;
export const DISP = 8;

/** Reads the low `size` bytes (1, 2, 4) of a slot, zero-extended to an int32. `slot` may be one of AH..BH. */
export function readSlot(core: Core, slot: number, size: number): number {
  const at = SLOTS + slot;
  if (size === 1) return core.u8[at]!;
  return size === 2 ? core.u16[at >>> 1]! : core.i32[at >>> 2]!;
}

/** Writes a slot as micro-ops do: 1 and 2 bytes merge, 4 zero-extend, 8 replace. */
export function writeSlot(core: Core, slot: number, size: number, lo: number, hi: number): void {
  const at = SLOTS + slot;
  if (size === 1) core.u8[at] = lo;
  else if (size === 2) core.u16[at >>> 1] = lo;
  else {
    core.i32[at >>> 2] = lo;
    core.i32[(at + 4) >>> 2] = size === 8 ? hi : 0;
  }
}

/** 1 if CF is set. */
export function carry(core: Core): number {
  return core.i32[(CC_C + 4) >>> 2]! >>> 31;
}

export function setCarry(core: Core, cf: number): void {
  core.i32[(CC_C + 4) >>> 2] = cf << 31;
}

export function setOverflow(core: Core, of: number): void {
  core.i32[(CC_O + 4) >>> 2] = of << 31;
}

/** ZF, SF and PF of a result of `size` bytes whose low word (already cut to size) and high word are given. */
export function setResultFlags(core: Core, size: number, lo: number, hi: number): void {
  const i = core.i32;
  i[CC_Z >>> 2] = lo;
  i[(CC_Z + 4) >>> 2] = size === 8 ? hi : 0;
  i[CC_S >>> 2] = lo;
  i[(CC_S + 4) >>> 2] = size === 8 ? hi : lo << (32 - (size << 3));
}

export function setAdjust(core: Core, af: number): void {
  core.i32[CC_A >>> 2] = af << 4;
}

/** Flags of the subtraction a - b in `size` bytes; operands are cut to their size here. */
export function setSubFlags(core: Core, size: number, aLo: number, aHi: number, bLo: number, bHi: number): void {
  let shift = 0;
  if (size < 4) {
    shift = 32 - (size << 3);
    aLo = (aLo << shift) >>> shift;
    bLo = (bLo << shift) >>> shift;
  }
  const lo = (aLo - bLo) | 0;
  core.i32[CC_A >>> 2] = aLo ^ bLo ^ lo;
  if (size === 8) {
    const borrow = aLo >>> 0 < bLo >>> 0 ? 1 : 0;
    const hi = (aHi - bHi - borrow) | 0;
    setResultFlags(core, 8, lo, hi);
    setCarry(core, ((~aHi & bHi) | (~(aHi ^ bHi) & hi)) >>> 31);
    setOverflow(core, ((aHi ^ bHi) & (aHi ^ hi)) >>> 31);
    return;
  }
  setResultFlags(core, size, (lo << shift) >>> shift, 0);
  setCarry(core, ((~aLo & bLo) | (~(aLo ^ bLo) & lo)) >>> 31);
  setOverflow(core, (((aLo ^ bLo) & (aLo ^ lo)) << shift) >>> 31);
}

/** True if the running code is 64-bit code. */
export function in64BitMode(core: Core): boolean {
  return (core.i32[MODE >>> 2]! & MODE_CODE_MASK) === MODE_64;
}

/** Inside a U_HELPER_END: sets RIP back to the instruction of micro-op `u`, so that it runs again after a cut. */
export function repeatInstruction(core: Core, u: number): void {
  const i = core.i32;
  const base = i[(SLOTS + S_RIPBASE) >>> 2]!;
  const lo = (base + core.u8[u + FIELD_OFF]!) | 0;
  core.repeating = true;
  const code = i[MODE >>> 2]! & MODE_CODE_MASK;
  i[RIP >>> 2] = lo;
  i[(RIP + 4) >>> 2] = code === MODE_64 ? (i[(SLOTS + S_RIPBASE + 4) >>> 2]! + (lo >>> 0 < base >>> 0 ? 1 : 0)) | 0 : 0;
}

/** U_HELPER_END: #UD. */
export const HELPER_UNDEFINED: number = defineHelper("undefined opcode", (core) => raise(core, VEC_UD));

/**
 * What the lifters of MMX, SSE and VEX-encoded instructions share: availability, operands in vector registers, and what VEX makes
 * of them: a destination of its own, and 32 bytes or zeros in the upper half.
 */
import { S_T0, XMM_T0, YMM_UPPER } from "../arena.ts";
import { raise, VEC_NM } from "../core.ts";
import {
  type Instruction,
  OP_GPR,
  OP_MEM,
  OP_XMM,
  ROW_ALIGN16,
  ROW_AVX,
  ROW_L256,
  ROW_MMX,
  ROW_RW0,
  ROW_SSE,
  ROW_VEX,
  ROW_WRITE0,
} from "../decode/instruction.ts";
import { MNEMONIC_NAMES, mnemonic } from "../decode/mnemonics.ts";
import { ROW_FLAGS } from "../decode/table.ts";
import { type BlockBuilder, defineLifter, type Lifter } from "./builder.ts";
import { defineHelper } from "./helpers.ts";
import { HELPER_UNDEFINED } from "./helpers-integer.ts";
import {
  C_FORGIVEN,
  MODE_AVX,
  MODE_EM,
  MODE_OSFXSR,
  MODE_PE,
  MODE_TS,
  MODE_VM,
  U_LOAD_ZX8_32,
  U_LOAD_ZX16_32,
  U_VFROM32,
  U_VLOAD,
  U_VLOAD32,
  U_VLOAD64,
  U_VLOAD256,
  U_VLOADA,
  U_VLOADA256,
  U_VZERO,
} from "./uop.ts";

/** Vector temporaries, as register numbers. */
export const V_T0: number = XMM_T0;
export const V_T1: number = XMM_T0 + 1;

/** The upper half of YMM register or 32-byte temporary `n`. */
export const upper = (n: number): number => n + YMM_UPPER;

/** U_HELPER_END: #NM. */
export const HELPER_DEVICE_NOT_AVAILABLE: number = defineHelper("device not available", (core) => raise(core, VEC_NM));

/**
 * Whether the mode allows this MMX or SSE instruction (SDM volume 3, 2.5 and 13.1); if not, emits the fault that it
 * raises: #UD for CR0.EM, and for SSE without CR4.OSFXSR; of VEX-encoded ones in real-address and virtual-8086 mode, and of those
 * with AVX state without CR4.OSXSAVE and the state in XCR0; #NM for CR0.TS.
 */
export function simdAllowed(b: BlockBuilder, ins: Instruction): boolean {
  const flags = ROW_FLAGS[ins.row]!;
  if (flags & ROW_VEX) {
    const real = !(b.mode & MODE_PE) || (b.mode & MODE_VM) !== 0;
    if (real || (flags & ROW_AVX && !(b.mode & MODE_AVX))) {
      b.helperEnd(HELPER_UNDEFINED);
      return false;
    }
    if (!(flags & ROW_AVX)) return true;
  } else if (!(flags & (ROW_SSE | ROW_MMX))) return true;
  else if (b.mode & MODE_EM || (flags & ROW_SSE && !(b.mode & MODE_OSFXSR))) {
    b.helperEnd(HELPER_UNDEFINED);
    return false;
  }
  if (b.mode & MODE_TS) {
    b.helperEnd(HELPER_DEVICE_NOT_AVAILABLE);
    return false;
  }
  return true;
}

/** `lifter` behind the check of `simdAllowed`. */
export function guarded(lifter: Lifter): Lifter {
  return (b, ins) => {
    if (simdAllowed(b, ins)) lifter(b, ins);
  };
}

/** The immediate of SHUFPS that takes qword `x` of its first source and qword `y` of its second. */
export const qwordOrder = (x: number, y: number): number => (x ? 0x0e : 0x04) | (y ? 0xe0 : 0x40);

// ---- VEX ------------------------------------------------------------------------------------------------------------------

export const isVex = (ins: Instruction): boolean => (ROW_FLAGS[ins.row]! & ROW_VEX) !== 0;
/** The vectors of the instruction have 32 bytes. */
export const isLong = (ins: Instruction): boolean => (ROW_FLAGS[ins.row]! & ROW_L256) !== 0;

/** VEX-encoded instructions with two sources have a destination besides them; the others' first source is the destination. */
function hasDestination(ins: Instruction): boolean {
  const kind = ins.kind[2]!;
  return isVex(ins) && (kind === OP_XMM || kind === OP_MEM || kind === OP_GPR);
}

/** Number of the vector that is the first source. */
export function firstSource(ins: Instruction): number {
  return ins.reg[hasDestination(ins) ? 1 : 0]!;
}

/** Index of the operand that is the second source, or the only one. */
export function lastSource(ins: Instruction): number {
  return hasDestination(ins) ? 2 : 1;
}

/** What every VEX-encoded instruction with a destination of 16 bytes does to the upper half of the register. */
export function clearUpper(b: BlockBuilder, ins: Instruction): void {
  const flags = ROW_FLAGS[ins.row]!;
  if (flags & ROW_VEX && flags & (ROW_WRITE0 | ROW_RW0) && ins.kind[0] === OP_XMM && ins.size[0] !== 32)
    b.vector(U_VZERO, upper(ins.reg[0]!), 0, 0);
}

/** Defines the meaning of these instructions and of their VEX-encoded forms, whose names have a V before them. */
export function defineVectorLifter(lifter: Lifter, ...mnemonics: number[]): void {
  for (const number of mnemonics) {
    defineLifter(lifter, number);
    const vex = `V${MNEMONIC_NAMES[number]}`;
    if (MNEMONIC_NAMES.includes(vex)) defineLifter(lifter, mnemonic(vex));
  }
}

// ---- operands -------------------------------------------------------------------------------------------------------------

/** Loads the memory operand, operand `i`, into vector `temp`, zero-extended; 16 and 32 bytes are checked for alignment if the row says so. */
export function loadVector(b: BlockBuilder, ins: Instruction, i: number, temp: number): void {
  const size = ins.size[i]!;
  const aligned = (ROW_FLAGS[ins.row]! & ROW_ALIGN16) !== 0;
  b.mem(ins, size, false);
  if (size === 32) b.m(aligned ? U_VLOADA256 : U_VLOAD256, temp);
  else if (size === 16) {
    if (aligned) b.mc |= C_FORGIVEN;
    b.m(aligned ? U_VLOADA : U_VLOAD, temp);
  } else if (size === 8) b.m(U_VLOAD64, temp);
  else if (size === 4) b.m(U_VLOAD32, temp);
  else {
    b.m(size === 2 ? U_LOAD_ZX16_32 : U_LOAD_ZX8_32, S_T0);
    b.rr(U_VFROM32, temp, S_T0);
  }
}

/** Number of vector operand `i`, a register or memory, which is loaded into `temp`. */
export function vectorSource(b: BlockBuilder, ins: Instruction, i: number, temp: number): number {
  if (ins.kind[i] !== OP_MEM) return ins.reg[i]!;
  loadVector(b, ins, i, temp);
  return temp;
}

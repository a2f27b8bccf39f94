/** What the lifters of MMX and SSE instructions share: availability, operands in vector registers. */
import { S_T0, XMM_T0 } from "../arena.ts";
import { raise, VEC_NM } from "../core.ts";
import { type Instruction, OP_MEM, ROW_ALIGN16, ROW_MMX, ROW_SSE } from "../decode/instruction.ts";
import { ROW_FLAGS } from "../decode/table.ts";
import type { BlockBuilder, Lifter } from "./builder.ts";
import { defineHelper } from "./helpers.ts";
import { HELPER_UNDEFINED } from "./helpers-integer.ts";
import {
  MODE_EM,
  MODE_OSFXSR,
  MODE_TS,
  U_LOAD_ZX16_32,
  U_VFROM32,
  U_VLOAD,
  U_VLOAD32,
  U_VLOAD64,
  U_VLOADA,
} from "./uop.ts";

/** Vector temporaries, as register numbers. */
export const V_T0: number = XMM_T0;
export const V_T1: number = XMM_T0 + 1;
export const V_T2: number = XMM_T0 + 2;

/** U_HELPER_END: #NM. */
export const HELPER_DEVICE_NOT_AVAILABLE: number = defineHelper("device not available", (core) => raise(core, VEC_NM));

/**
 * Whether the mode allows this MMX or SSE instruction (SDM volume 3, 2.5 and 13.1); if not, emits the fault that it
 * raises: #UD for CR0.EM, and for SSE without CR4.OSFXSR; #NM for CR0.TS.
 */
export function simdAllowed(b: BlockBuilder, ins: Instruction): boolean {
  const flags = ROW_FLAGS[ins.row]!;
  if (!(flags & (ROW_SSE | ROW_MMX))) return true;
  if (b.mode & MODE_EM || (flags & ROW_SSE && !(b.mode & MODE_OSFXSR))) {
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

/** Loads the memory operand, operand `i`, into vector `temp`, zero-extended; 16 bytes are checked for alignment if the row says so. */
export function loadVector(b: BlockBuilder, ins: Instruction, i: number, temp: number): void {
  const size = ins.size[i]!;
  b.mem(ins, size, false);
  if (size === 16) b.m(ROW_FLAGS[ins.row]! & ROW_ALIGN16 ? U_VLOADA : U_VLOAD, temp);
  else if (size === 8) b.m(U_VLOAD64, temp);
  else if (size === 4) b.m(U_VLOAD32, temp);
  else {
    b.m(U_LOAD_ZX16_32, S_T0);
    b.rr(U_VFROM32, temp, S_T0);
  }
}

/** Register number of XMM or memory operand `i`; memory is loaded into `temp`. */
export function vectorSource(b: BlockBuilder, ins: Instruction, i: number, temp: number): number {
  if (ins.kind[i] !== OP_MEM) return ins.reg[i]!;
  loadVector(b, ins, i, temp);
  return temp;
}

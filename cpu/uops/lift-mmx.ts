/**
 * The MMX side of packed instructions: operands go through vector temporaries, where the micro-ops and helpers of the XMM
 * forms work on them, and the low half goes back. Also EMMS and the moves that only MMX registers have.
 */
import { S_RDI, S_T0, S_ZERO } from "../arena.ts";
import { type Instruction, OP_GPR, OP_MEM, OP_MMX } from "../decode/instruction.ts";
import * as MN from "../decode/mnemonics.ts";
import { HELPER_EMMS, HELPER_MMX_CHECK, HELPER_MMX_ENTER, HELPER_MMX_READ, HELPER_MMX_WRITE } from "../fpu/mmx.ts";
import { HELPER_MASKMOV } from "../fpu/simd-shuffle.ts";
import { type BlockBuilder, defineLifter } from "./builder.ts";
import { slotOf } from "./lift-common.ts";
import { guarded, loadVector, V_T0, V_T1 } from "./lift-vector.ts";
import * as U from "./uop.ts";

/** Emits d = x op y on vectors; `imm` is the instruction's immediate, as far as it concerns them. */
export type VectorOperation = (b: BlockBuilder, d: number, x: number, y: number, imm: number) => void;

/** How the low half of the 128-bit operation gives the 64-bit result. */
/** Lane by lane: it is the low half. */
export const MMX_LANES = 0;
/** Unpacking of high halves: the high half of the same unpacking of low halves. */
export const MMX_HIGH = 1;
/** The result's halves come from x and from y: the operation on both side by side. */
export const MMX_BESIDE = 2;

/** True if operand 0 or 1 is an MMX register: the instruction's MMX form. */
export function isMmx(ins: Instruction): boolean {
  return ins.kind[0] === OP_MMX || ins.kind[1] === OP_MMX;
}

/** Loads MMX or memory operand `i` into vector `temp`, zero-extended. */
export function mmxSource(b: BlockBuilder, ins: Instruction, i: number, temp: number): void {
  if (ins.kind[i] === OP_MMX) b.helper(HELPER_MMX_READ, temp, ins.reg[i]!);
  else loadVector(b, ins, i, temp);
}

export function mmxWrite(b: BlockBuilder, register: number, vector: number, high = 0): void {
  b.helper(HELPER_MMX_WRITE, register, vector, 0, high);
}

/** mm = mm op mm/m64. */
export function mmxBinary(b: BlockBuilder, ins: Instruction, operation: VectorOperation, shape: number): void {
  b.helper(HELPER_MMX_READ, V_T0, ins.reg[0]!);
  mmxSource(b, ins, 1, V_T1);
  if (shape === MMX_BESIDE) {
    b.vector(U.vop("unpacklqdq"), V_T0, V_T0, V_T1);
    operation(b, V_T0, V_T0, V_T0, 0);
  } else operation(b, V_T0, V_T0, V_T1, 0);
  mmxWrite(b, ins.reg[0]!, V_T0, shape === MMX_HIGH ? 1 : 0);
}

/** Shift of an MMX register by an immediate. */
export function mmxShift(b: BlockBuilder, ins: Instruction, kind: number): void {
  b.helper(HELPER_MMX_READ, V_T0, ins.reg[0]!);
  b.vectorImm(kind, V_T0, V_T0, ins.immLo & 255);
  mmxWrite(b, ins.reg[0]!, V_T0);
}

/** PALIGNR: both sources side by side, the second in the low half. */
export function mmxAlign(b: BlockBuilder, ins: Instruction): void {
  b.helper(HELPER_MMX_READ, V_T0, ins.reg[0]!);
  mmxSource(b, ins, 1, V_T1);
  b.vector(U.vop("unpacklqdq"), V_T1, V_T1, V_T0);
  b.vectorImm(U.U_VBYTESHR, V_T1, V_T1, Math.min(ins.immLo & 255, 16));
  mmxWrite(b, ins.reg[0]!, V_T1);
}

/** MOVD and MOVQ of MMX registers. */
export function mmxMove(b: BlockBuilder, ins: Instruction): void {
  const size = ins.size[0]!;
  if (ins.kind[0] === OP_MMX) {
    // An exception that waits comes before one of the load.
    if (ins.kind[1] !== OP_MMX) b.helper(HELPER_MMX_CHECK);
    if (ins.kind[1] === OP_GPR) b.rr(ins.size[1] === 8 ? U.U_VFROM64 : U.U_VFROM32, V_T0, slotOf(ins, 1));
    else mmxSource(b, ins, 1, V_T0);
    mmxWrite(b, ins.reg[0]!, V_T0);
    return;
  }
  b.helper(HELPER_MMX_READ, V_T0, ins.reg[1]!);
  if (ins.kind[0] === OP_MEM) {
    b.mem(ins, size, true);
    b.m(size === 8 ? U.U_VSTORE64 : U.U_VSTORE32, V_T0);
  } else b.rr(size === 8 ? U.U_VTO64 : U.U_VTO32, slotOf(ins, 0), V_T0);
  b.helper(HELPER_MMX_ENTER);
}

defineLifter(
  guarded((b) => b.helper(HELPER_EMMS)),
  MN.MN_EMMS,
);
defineLifter(guarded(mmxMove), MN.MN_MOVNTQ);
defineLifter(
  guarded((b, ins) => {
    b.helper(HELPER_MMX_READ, V_T0, ins.reg[1]!);
    b.rr(U.U_VMOVZ64, ins.reg[0]!, V_T0);
    b.helper(HELPER_MMX_ENTER);
  }),
  MN.MN_MOVQ2DQ,
);
defineLifter(
  guarded((b, ins) => {
    b.helper(HELPER_MMX_CHECK);
    mmxWrite(b, ins.reg[0]!, ins.reg[1]!);
  }),
  MN.MN_MOVDQ2Q,
);

// Masked stores read what they leave alone, and write it back: on one thread nobody sees the difference. Which
// accesses happen for bytes that the mask excludes is left to the processor (SDM, MASKMOVDQU).
defineLifter(
  guarded((b, ins) => {
    b.helper(HELPER_MMX_READ, V_T0, ins.reg[0]!);
    b.helper(HELPER_MMX_READ, V_T1, ins.reg[1]!);
    // AMD's processors enter MMX state even if the store then faults.
    b.helper(HELPER_MMX_ENTER);
    b.address(S_RDI, S_ZERO, 0, 0, ins.seg, ins.addrSize, 8, true);
    b.m(U.U_LOADW + 3, S_T0);
    b.helper(HELPER_MASKMOV, V_T0, V_T1, 0, 8);
    b.m(U.U_STORE + 3, S_T0);
  }),
  MN.MN_MASKMOVQ,
);

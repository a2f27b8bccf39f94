/** Data movement: MOV and its extensions, LEA, XCHG, BSWAP, MOVBE, CMOVcc, SETcc, CBW, CWD, XLAT. */
import { S_RAX, S_RBX, S_RIPBASE, S_T0, S_T1, S_ZERO, SEG_STRIDE } from "../arena.ts";
import { type Instruction, OP_CR, OP_DR, OP_IMM, OP_SREG, REG_NONE, REG_RIP } from "../decode/instruction.ts";
import * as MN from "../decode/mnemonics.ts";
import { type BlockBuilder, defineLifter, gprSlot, sizeIndex } from "./builder.ts";
import { HELPER_UNDEFINED } from "./helpers-integer.ts";
import { isMemory, moveImmediate, slotOf, source } from "./lift-common.ts";
import { FORM_MOV_CR, FORM_MOV_DR, FORM_MOV_TO_SREG, SYSTEM_FORMS } from "./system-forms.ts";
import * as U from "./uop.ts";

/** S[d] = selector of segment register `seg`. */
export function readSelector(b: BlockBuilder, d: number, seg: number): void {
  b.rr(U.U_SELECTOR, d, S_ZERO, seg * SEG_STRIDE);
}

function systemForm(b: BlockBuilder, ins: Instruction, form: number): void {
  const lifter = SYSTEM_FORMS[form];
  if (lifter === undefined) b.helperEnd(HELPER_UNDEFINED);
  else lifter(b, ins);
}

function liftMov(b: BlockBuilder, ins: Instruction): void {
  const to = ins.kind[0]!;
  const from = ins.kind[1]!;
  const size = ins.size[0]!;
  const sz = sizeIndex(size);
  if (to === OP_CR || from === OP_CR) systemForm(b, ins, FORM_MOV_CR);
  else if (to === OP_DR || from === OP_DR) systemForm(b, ins, FORM_MOV_DR);
  else if (to === OP_SREG) systemForm(b, ins, FORM_MOV_TO_SREG);
  else if (from === OP_SREG) {
    readSelector(b, S_T0, ins.reg[1]!);
    if (isMemory(ins, 0)) {
      b.mem(ins, 2, true);
      b.m(U.U_STORE + 1, S_T0);
    } else b.rr(U.U_MOV_RR + sz, slotOf(ins, 0), S_T0);
  } else if (isMemory(ins, 0)) {
    b.mem(ins, size, true);
    if (from === OP_IMM) b.m(U.U_STOREI + sz, 0, ins.immLo);
    else b.m(U.U_STORE + sz, slotOf(ins, 1));
  } else if (from === OP_IMM) moveImmediate(b, size, slotOf(ins, 0), ins.immLo, ins.immHi);
  else if (isMemory(ins, 1)) {
    b.mem(ins, size, false);
    b.m(U.U_LOAD + sz, slotOf(ins, 0));
  } else b.rr(U.U_MOV_RR + sz, slotOf(ins, 0), slotOf(ins, 1));
}
defineLifter(liftMov, MN.MN_MOV, MN.MN_MOVNTI);

/** Register and memory kinds of MOVZX and MOVSX by destination size; 16-bit destinations go through S_T0. */
function extend(b: BlockBuilder, ins: Instruction, register: number, memory: number): void {
  const d = ins.size[0] === 2 ? S_T0 : slotOf(ins, 0);
  if (isMemory(ins, 1)) {
    b.mem(ins, ins.size[1]!, false);
    b.m(memory, d);
  } else b.rr(register, d, slotOf(ins, 1));
  if (ins.size[0] === 2) b.rr(U.U_MOV_RR + 1, slotOf(ins, 0), S_T0);
}

function liftMovzx(b: BlockBuilder, ins: Instruction): void {
  if (ins.size[1] === 1) extend(b, ins, U.U_ZX8_32, U.U_LOAD_ZX8_32);
  else extend(b, ins, U.U_ZX16_32, U.U_LOAD_ZX16_32);
}
defineLifter(liftMovzx, MN.MN_MOVZX);

function liftMovsx(b: BlockBuilder, ins: Instruction): void {
  const wide = ins.size[0] === 8;
  if (ins.size[1] === 1) extend(b, ins, wide ? U.U_SX8_64 : U.U_SX8_32, wide ? U.U_LOAD_SX8_64 : U.U_LOAD_SX8_32);
  else extend(b, ins, wide ? U.U_SX16_64 : U.U_SX16_32, wide ? U.U_LOAD_SX16_64 : U.U_LOAD_SX16_32);
}
defineLifter(liftMovsx, MN.MN_MOVSX);

function liftMovsxd(b: BlockBuilder, ins: Instruction): void {
  if (ins.size[0] === 8) extend(b, ins, U.U_SX32_64, U.U_LOAD_SX32_64);
  else if (ins.size[0] === 2 && ins.amd === 1 && isMemory(ins, 1)) {
    // AMD's processors read four bytes for the 16-bit form too; Intel's two (SDM volume 2, MOVSXD).
    b.mem(ins, 4, false);
    b.m(U.U_LOAD_SX32_64, S_T0);
    b.rr(U.U_MOV_RR + 1, slotOf(ins, 0), S_T0);
  } else liftMov(b, ins);
}
defineLifter(liftMovsxd, MN.MN_MOVSXD);

/** d = effective address of the memory operand, without a segment base, cut to `size` bytes. */
function liftLea(b: BlockBuilder, ins: Instruction): void {
  const a = ins.base === REG_NONE ? S_ZERO : ins.base === REG_RIP ? S_RIPBASE : gprSlot(ins.base);
  const index = ins.index === REG_NONE ? S_ZERO : gprSlot(ins.index);
  const disp = ins.base === REG_RIP ? (ins.disp + b.next) | 0 : ins.disp;
  const size = ins.size[0]!;
  const narrow = Math.min(size, ins.addrSize);
  // The low 16 or 32 bits of a sum do not depend on what is above them, so the narrower size decides the kind.
  const kind = narrow === 8 ? U.U_LEA64 : narrow === 4 ? U.U_LEA32 : U.U_EA16;
  const d = size === 2 ? S_T0 : slotOf(ins, 0);
  b.emit(kind, d, a, index, S_ZERO, ins.scale, disp, 0);
  if (size === 2) b.rr(U.U_MOV_RR + 1, slotOf(ins, 0), S_T0);
}
defineLifter(liftLea, MN.MN_LEA);

function liftXchg(b: BlockBuilder, ins: Instruction): void {
  const sz = sizeIndex(ins.size[0]!);
  if (isMemory(ins, 0)) {
    b.mem(ins, ins.size[0]!, true);
    b.m(U.U_XCHG_RM + sz, slotOf(ins, 1));
  } else b.rr(U.U_XCHG_RR + sz, slotOf(ins, 0), slotOf(ins, 1));
}
defineLifter(liftXchg, MN.MN_XCHG);

/** BSWAP of 16 bits is undefined; processors clear the register's low 16 bits. */
function liftBswap(b: BlockBuilder, ins: Instruction): void {
  const d = slotOf(ins, 0);
  if (ins.size[0] === 2) b.ri(U.U_MOV_RI + 1, d, 0);
  else b.rr(ins.size[0] === 8 ? U.U_BSWAP64 : U.U_BSWAP32, d, d);
}
defineLifter(liftBswap, MN.MN_BSWAP);

/** Swaps the bytes of `slot` (a temporary) of `size` bytes; S_T1 helps with two. */
function swapBytes(b: BlockBuilder, size: number, slot: number): void {
  if (size !== 2) {
    b.rr(size === 8 ? U.U_BSWAP64 : U.U_BSWAP32, slot, slot);
    return;
  }
  b.rr(U.U_MOV_RR, S_T1, slot);
  b.rr(U.U_MOV_RR, slot, slot | 1);
  b.rr(U.U_MOV_RR, slot | 1, S_T1);
}

function liftMovbe(b: BlockBuilder, ins: Instruction): void {
  const size = ins.size[0]!;
  const sz = sizeIndex(size);
  if (isMemory(ins, 0)) {
    b.rr(U.U_MOV_RR + sz, S_T0, slotOf(ins, 1));
    swapBytes(b, size, S_T0);
    b.mem(ins, size, true);
    b.m(U.U_STORE + sz, S_T0);
    return;
  }
  b.mem(ins, size, false);
  b.m(U.U_LOAD + sz, S_T0);
  swapBytes(b, size, S_T0);
  b.rr(U.U_MOV_RR + sz, slotOf(ins, 0), S_T0);
}
defineLifter(liftMovbe, MN.MN_MOVBE);

for (let cc = 0; cc < 16; cc++) {
  defineLifter((b, ins) => {
    const a = source(b, ins, 1, S_T0);
    b.rr(U.U_CMOV + sizeIndex(ins.size[0]!), slotOf(ins, 0), a, cc);
  }, MN.MN_CMOVO + cc);
  defineLifter((b, ins) => {
    if (isMemory(ins, 0)) {
      b.rr(U.U_SETCC, S_T0, S_ZERO, cc);
      b.mem(ins, 1, true);
      b.m(U.U_STORE, S_T0);
    } else b.rr(U.U_SETCC, slotOf(ins, 0), S_ZERO, cc);
  }, MN.MN_SETO + cc);
}

/** CBW, CWDE, CDQE: rAX = sign-extension of its lower half. */
function liftCbw(b: BlockBuilder, ins: Instruction): void {
  if (ins.opSize === 8) b.rr(U.U_SX32_64, S_RAX, S_RAX);
  else if (ins.opSize === 4) b.rr(U.U_SX16_32, S_RAX, S_RAX);
  else {
    b.rr(U.U_SX8_32, S_T0, S_RAX);
    b.rr(U.U_MOV_RR + 1, S_RAX, S_T0);
  }
}
defineLifter(liftCbw, MN.MN_CBW);
defineLifter((b, ins) => b.rr(U.U_CWD + sizeIndex(ins.opSize), S_ZERO, S_ZERO), MN.MN_CWD);

defineLifter((b, ins) => {
  b.rr(U.U_ZX8_32, S_T0, S_RAX);
  b.address(S_RBX, S_T0, 0, 0, ins.seg, ins.addrSize, 1, false);
  b.m(U.U_LOAD, S_RAX);
}, MN.MN_XLAT);

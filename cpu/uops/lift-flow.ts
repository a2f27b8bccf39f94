/** Near control flow: JMP, Jcc, CALL, RET, LOOPcc, JRCXZ. Far forms are lift-system.ts's. */
import { S_RCX, S_RIPBASE, S_RSP, S_T0, S_T1, S_ZERO } from "../arena.ts";
import { type Instruction, OP_REL } from "../decode/instruction.ts";
import * as MN from "../decode/mnemonics.ts";
import { type BlockBuilder, defineLifter, type Lifter, sizeIndex } from "./builder.ts";
import { addTo, isMemory, loadTop, push, setSum, slotOf, stackSize, zeroExtend } from "./lift-common.ts";
import * as U from "./uop.ts";

/** Displacement of a relative branch from the block's first byte. */
function target(b: BlockBuilder, ins: Instruction): number {
  return (b.next + ins.immLo) | 0;
}

function jump(b: BlockBuilder, ins: Instruction): void {
  b.terminal(b.is64 ? U.U_JMP : U.U_JMP_L, 0, 0, 0, ins.opSize, target(b, ins), 0);
}

/** Slot of an indirect branch's target, zero-extended to 64 bits. */
function indirectTarget(b: BlockBuilder, ins: Instruction): number {
  const size = ins.opSize;
  if (isMemory(ins, 0)) {
    b.mem(ins, size, false);
    b.m(size === 2 ? U.U_LOAD_ZX16_32 : U.U_LOAD + sizeIndex(size), S_T1);
    return S_T1;
  }
  if (size === 8) return slotOf(ins, 0);
  zeroExtend(b, size, S_T1, slotOf(ins, 0));
  return S_T1;
}

defineLifter((b, ins) => {
  if (ins.kind[0] === OP_REL) jump(b, ins);
  else b.terminal(U.U_JMP_R, 0, indirectTarget(b, ins), 0, 0, 0, 0);
}, MN.MN_JMP);

for (let cc = 0; cc < 16; cc++)
  defineLifter((b, ins) => {
    if (b.is64) b.terminal(U.U_JCC + cc, 0, 0, 0, 0, target(b, ins), 0);
    else b.terminal(U.U_JCC_L, 0, 0, cc, ins.opSize, target(b, ins), 0);
  }, MN.MN_JO + cc);

defineLifter((b, ins) => {
  const relative = ins.kind[0] === OP_REL;
  if (b.is64) {
    if (relative) b.terminal(U.U_CALL, 0, 0, 0, 0, target(b, ins), 0);
    else b.terminal(U.U_CALL_R, 0, indirectTarget(b, ins), 0, 0, 0, 0);
    return;
  }
  const a = relative ? S_ZERO : indirectTarget(b, ins);
  b.emit(U.U_LEA32, S_T0, S_RIPBASE, S_ZERO, S_ZERO, 0, b.next, 0);
  push(b, ins.opSize, S_T0);
  if (relative) jump(b, ins);
  else b.terminal(U.U_JMP_R, 0, a, 0, 0, 0, 0);
}, MN.MN_CALL);

defineLifter((b, ins) => {
  // The count of C2 is unsigned, whatever the operand size made of it; C3 has none.
  const release = ins.opcode === 0xc2 ? ins.immLo & 0xffff : 0;
  if (b.is64) {
    b.terminal(U.U_RET, 0, 0, 0, 0, 0, release);
    return;
  }
  loadTop(b, ins.opSize, S_T0);
  setSum(b, stackSize(b), S_RSP, S_RSP, ins.opSize + release);
  b.terminal(U.U_JMP_R, 0, S_T0, 0, 0, 0, 0);
}, MN.MN_RET);

/** Slot with rCX cut to the address size and zero-extended. */
function counter(b: BlockBuilder, ins: Instruction): number {
  if (ins.addrSize === 8) return S_RCX;
  zeroExtend(b, ins.addrSize, S_T0, S_RCX);
  return S_T0;
}

/** No condition. */
const ALWAYS = -1;
const CC_E = 4;
const CC_NE = 5;

function loopLifter(cc: number): Lifter {
  return (b, ins) => {
    addTo(b, ins.addrSize, S_RCX, -1);
    let a = counter(b, ins);
    if (cc !== ALWAYS) {
      // Not taken if the condition fails: the count that is tested becomes zero then.
      b.rr(U.U_MOV_RR + 3, S_T1, S_ZERO);
      b.rr(U.U_CMOV + 3, S_T1, a, cc);
      a = S_T1;
    }
    b.terminal(U.U_JNZ_R, 0, a, 0, ins.opSize, target(b, ins), 0);
  };
}
defineLifter(loopLifter(ALWAYS), MN.MN_LOOP);
defineLifter(loopLifter(CC_E), MN.MN_LOOPE);
defineLifter(loopLifter(CC_NE), MN.MN_LOOPNE);

defineLifter((b, ins) => {
  b.terminal(U.U_JZ_R, 0, counter(b, ins), 0, ins.opSize, target(b, ins), 0);
}, MN.MN_JRCXZ);

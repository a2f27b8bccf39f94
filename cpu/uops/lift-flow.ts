/** Near control flow: JMP, Jcc, CALL, RET, LOOPcc, JRCXZ. Far forms are lift-segment.ts's. */
import { S_RCX, S_RIPBASE, S_RSP, S_T0, S_T1, S_ZERO } from "../arena.ts";
import { type Instruction, OP_REL } from "../decode/instruction.ts";
import * as MN from "../decode/mnemonics.ts";
import { isAmd } from "../system/cpu-model.ts";
import { type BlockBuilder, defineLifter, type Lifter, sizeIndex } from "./builder.ts";
import { GATE_ALWAYS, GATE_NONZERO, GATE_ZERO, HELPER_BRANCH16, HELPER_NEAR_TARGET } from "./helpers-misc.ts";
import { checkPush, isMemory, loadTop, push, setSum, slotOf, stackSize, zeroExtend } from "./lift-common.ts";
import * as U from "./uop.ts";

/** Displacement of a relative branch from the block's first byte. */
function target(b: BlockBuilder, ins: Instruction): number {
  return (b.next + ins.immLo) | 0;
}

/**
 * Where CS is not flat, a target beyond its limit is #GP(0) on the branch (SDM, JMP): emits that check for the target
 * S[a] + disp before anything changes. `gate` is one of GATE_*, about slot `gateSlot`. In real-address and
 * virtual-8086 mode a 16-bit target is always within the limit.
 */
function checkTarget(b: BlockBuilder, ins: Instruction, a: number, disp: number, gate: number, gateSlot: number): void {
  if (!mayExceedLimit(b, ins)) return;
  b.helper(HELPER_NEAR_TARGET, ins.opSize, a, gateSlot, gate, disp);
}

function mayExceedLimit(b: BlockBuilder, ins: Instruction): boolean {
  if (b.is64 || b.mode & U.MODE_FLAT) return false;
  return ins.opSize === 4 || (b.mode & (U.MODE_PE | U.MODE_VM)) === U.MODE_PE;
}

function checkRelative(b: BlockBuilder, ins: Instruction, gate: number, gateSlot: number): void {
  checkTarget(b, ins, S_RIPBASE, target(b, ins), gate, gateSlot);
}

/** A near branch that cuts RIP to 16 bits where code has 64: only AMD's processors have it (Instruction.amd). */
function cutsRip(b: BlockBuilder, ins: Instruction): boolean {
  return b.is64 && ins.opSize === 2;
}

const isBranch16 = (b: BlockBuilder, ins: Instruction): boolean =>
  ins.opSize === 2 && (b.mode & U.MODE_CODE_MASK) !== U.MODE_16;

/**
 * Ends the block with a conditional branch of 16-bit operand size in wider code, which leaves RIP whole if it is not taken:
 * `gate` is one of GATE_*, about slot `a`. @returns false if the instruction is no such branch.
 */
function branch16(b: BlockBuilder, ins: Instruction, gate: number, a: number): boolean {
  if (!isBranch16(b, ins)) return false;
  b.helperEnd(HELPER_BRANCH16, 0, 0, a, gate, target(b, ins));
  return true;
}

function jump(b: BlockBuilder, ins: Instruction): void {
  b.terminal(b.is64 && !cutsRip(b, ins) ? U.U_JMP : U.U_JMP_L, 0, 0, 0, ins.opSize, target(b, ins), 0);
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
  if (ins.kind[0] === OP_REL) {
    checkRelative(b, ins, GATE_ALWAYS, S_ZERO);
    jump(b, ins);
    return;
  }
  const a = indirectTarget(b, ins);
  checkTarget(b, ins, a, 0, GATE_ALWAYS, S_ZERO);
  b.terminal(U.U_JMP_R, 0, a, 0, 0, 0, 0);
}, MN.MN_JMP);

for (let cc = 0; cc < 16; cc++)
  defineLifter((b, ins) => {
    if (b.is64 && !cutsRip(b, ins)) {
      b.terminal(U.U_JCC + cc, 0, 0, 0, 0, target(b, ins), 0);
      return;
    }
    if (isBranch16(b, ins) || mayExceedLimit(b, ins)) {
      b.rr(U.U_MOV_RR + 3, S_T0, S_ZERO);
      b.rr(U.U_SETCC, S_T0, S_ZERO, cc);
      checkRelative(b, ins, GATE_NONZERO, S_T0);
      if (branch16(b, ins, GATE_NONZERO, S_T0)) return;
    }
    b.terminal(U.U_JCC_L, 0, 0, cc, ins.opSize, target(b, ins), 0);
  }, MN.MN_JO + cc);

defineLifter((b, ins) => {
  const relative = ins.kind[0] === OP_REL;
  if (b.is64 && !cutsRip(b, ins)) {
    if (relative) b.terminal(U.U_CALL, 0, 0, 0, 0, target(b, ins), 0);
    else b.terminal(U.U_CALL_R, 0, indirectTarget(b, ins), 0, 0, 0, 0);
    return;
  }
  const a = relative ? S_ZERO : indirectTarget(b, ins);
  // The stack's limit is looked at before that of the target (asked of an AMD EPYC).
  if (mayExceedLimit(b, ins)) checkPush(b, ins.opSize);
  if (relative) checkRelative(b, ins, GATE_ALWAYS, S_ZERO);
  else checkTarget(b, ins, a, 0, GATE_ALWAYS, S_ZERO);
  b.emit(b.is64 ? U.U_LEA64 : U.U_LEA32, S_T0, S_RIPBASE, S_ZERO, S_ZERO, 0, b.next, 0);
  push(b, ins.opSize, S_T0);
  if (relative) jump(b, ins);
  else b.terminal(U.U_JMP_R, 0, a, 0, 0, 0, 0);
}, MN.MN_CALL);

defineLifter((b, ins) => {
  // The count of C2 is unsigned, whatever the operand size made of it; C3 has none.
  const release = ins.opcode === 0xc2 ? ins.immLo & 0xffff : 0;
  if (b.is64 && !cutsRip(b, ins)) {
    b.terminal(U.U_RET, 0, 0, 0, 0, 0, release);
    return;
  }
  loadTop(b, ins.opSize, S_T0);
  checkTarget(b, ins, S_T0, 0, GATE_ALWAYS, S_ZERO);
  setSum(b, stackSize(b), S_RSP, S_RSP, ins.opSize + release);
  b.terminal(U.U_JMP_R, 0, S_T0, 0, 0, 0, 0);
}, MN.MN_RET);

/** No condition. */
const ALWAYS = -1;
const CC_E = 4;
const CC_NE = 5;
const REP_F3 = 0xf3;

/** On AMD's processors a repeat prefix overrides the condition of LOOPE and LOOPNE; Intel's ignore it. */
function loopCondition(b: BlockBuilder, ins: Instruction, cc: number): number {
  if (cc === ALWAYS || ins.rep === 0 || !isAmd(b.core)) return cc;
  return ins.rep === REP_F3 ? CC_E : CC_NE;
}

function loopLifter(condition: number): Lifter {
  return (b, ins) => {
    const cc = loopCondition(b, ins, condition);
    const size = ins.addrSize;
    // The new count, zero-extended; where it may still fault, rCX keeps the old one until it can't.
    const check = mayExceedLimit(b, ins);
    const counter = size === 2 || check ? S_T0 : S_RCX;
    const kind = size === 8 ? U.U_LEA64 : size === 4 ? U.U_LEA32 : U.U_EA16;
    b.emit(kind, counter, S_RCX, S_ZERO, S_ZERO, 0, -1, 0);
    let a = counter;
    if (cc !== ALWAYS) {
      // Not taken if the condition fails: the count that is tested becomes zero then.
      b.rr(U.U_MOV_RR + 3, S_T1, S_ZERO);
      b.rr(U.U_CMOV + 3, S_T1, a, cc);
      a = S_T1;
    }
    checkRelative(b, ins, GATE_NONZERO, a);
    if (counter !== S_RCX) b.rr(U.U_MOV_RR + sizeIndex(size), S_RCX, counter);
    if (branch16(b, ins, GATE_NONZERO, a)) return;
    b.terminal(U.U_JNZ_R, 0, a, 0, ins.opSize, target(b, ins), 0);
  };
}
defineLifter(loopLifter(ALWAYS), MN.MN_LOOP);
defineLifter(loopLifter(CC_E), MN.MN_LOOPE);
defineLifter(loopLifter(CC_NE), MN.MN_LOOPNE);

defineLifter((b, ins) => {
  let a = S_RCX;
  if (ins.addrSize !== 8) zeroExtend(b, ins.addrSize, (a = S_T0), S_RCX);
  checkRelative(b, ins, GATE_ZERO, a);
  if (branch16(b, ins, GATE_ZERO, a)) return;
  b.terminal(U.U_JZ_R, 0, a, 0, ins.opSize, target(b, ins), 0);
}, MN.MN_JRCXZ);

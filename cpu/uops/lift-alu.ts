/** Two-operand arithmetic and logic, INC DEC NEG NOT, XADD, CMPXCHG, multiplication and division. */
import { S_RAX, S_RDX, S_T0, S_T1, S_ZERO } from "../arena.ts";
import { type Instruction, OP_IMM, OP_NONE } from "../decode/instruction.ts";
import * as MN from "../decode/mnemonics.ts";
import { defineLifter, type Lifter, sizeIndex } from "./builder.ts";
import { HELPER_ADCX, HELPER_ADOX, HELPER_CMPXCHG8B } from "./helpers-wide.ts";
import { freezeAddress, isMemory, readModify, slotOf, source, writeBack } from "./lift-common.ts";
import * as U from "./uop.ts";

function aluLifter(op: number): Lifter {
  const writes = op !== U.ALU_CMP && op !== U.ALU_TEST;
  return (b, ins) => {
    const size = ins.size[0]!;
    const sz = sizeIndex(size);
    const immediate = ins.kind[1] === OP_IMM;
    if (isMemory(ins, 0)) {
      b.mem(ins, size, writes);
      if (immediate) b.m(U.alu(op, U.FORM_MI, sz), 0, ins.immLo);
      // TEST commutes, so memory with a register is the form that loads.
      else b.m(U.alu(op, op === U.ALU_TEST ? U.FORM_RM : U.FORM_MR, sz), slotOf(ins, 1));
    } else if (immediate) b.ri(U.alu(op, U.FORM_RI, sz), slotOf(ins, 0), ins.immLo);
    else if (isMemory(ins, 1)) {
      b.mem(ins, size, false);
      b.m(U.alu(op, U.FORM_RM, sz), slotOf(ins, 0));
    } else b.rr(U.alu(op, U.FORM_RR, sz), slotOf(ins, 0), slotOf(ins, 1));
  };
}
for (const [op, mn] of [
  [U.ALU_ADD, MN.MN_ADD],
  [U.ALU_OR, MN.MN_OR],
  [U.ALU_ADC, MN.MN_ADC],
  [U.ALU_SBB, MN.MN_SBB],
  [U.ALU_AND, MN.MN_AND],
  [U.ALU_SUB, MN.MN_SUB],
  [U.ALU_XOR, MN.MN_XOR],
  [U.ALU_CMP, MN.MN_CMP],
  [U.ALU_TEST, MN.MN_TEST],
] as const)
  defineLifter(aluLifter(op), mn);

function unaryLifter(register: number, memory: number): Lifter {
  return (b, ins) => {
    const sz = sizeIndex(ins.size[0]!);
    if (isMemory(ins, 0)) {
      b.mem(ins, ins.size[0]!, true);
      b.m(memory + sz, 0);
    } else b.rr(register + sz, slotOf(ins, 0), S_ZERO);
  };
}
defineLifter(unaryLifter(U.U_INC, U.U_INC_M), MN.MN_INC);
defineLifter(unaryLifter(U.U_DEC, U.U_DEC_M), MN.MN_DEC);
defineLifter(unaryLifter(U.U_NEG, U.U_NEG_M), MN.MN_NEG);
defineLifter(unaryLifter(U.U_NOT, U.U_NOT_M), MN.MN_NOT);

defineLifter((b, ins) => {
  const d = readModify(b, ins);
  const a = slotOf(ins, 1);
  if (isMemory(ins, 0)) freezeAddress(b, a & ~7);
  b.rr(U.U_XADD + sizeIndex(ins.size[0]!), d, a);
  writeBack(b, ins);
}, MN.MN_XADD);

defineLifter((b, ins) => {
  const d = readModify(b, ins);
  if (isMemory(ins, 0)) freezeAddress(b, S_RAX);
  b.rr(U.U_CMPXCHG + sizeIndex(ins.size[0]!), d, slotOf(ins, 1));
  writeBack(b, ins);
}, MN.MN_CMPXCHG);

// Both write memory whether or not the comparison succeeds (SDM, CMPXCHG8B), hence LOADW first.
defineLifter((b, ins) => {
  b.mem(ins, 8, true);
  b.m(U.U_LOADW + 3, S_T0);
  freezeAddress(b, S_RAX, S_RDX);
  b.helper(HELPER_CMPXCHG8B, S_T0);
  b.m(U.U_STORE + 3, S_T0);
}, MN.MN_CMPXCHG8B);
defineLifter((b, ins) => {
  b.mem(ins, 16, true);
  b.m(U.U_ALIGN16, 0);
  b.m(U.U_LOADW + 3, S_T0);
  b.m(U.U_LOADW + 3, S_T1, 0, 8);
  freezeAddress(b, S_RAX, S_RDX);
  b.rr(U.U_CMPXCHG16, S_T0, S_T1);
  b.m(U.U_STORE + 3, S_T0);
  b.m(U.U_STORE + 3, S_T1, 0, 8);
}, MN.MN_CMPXCHG16B);

function adxLifter(helper: number): Lifter {
  return (b, ins) => b.helper(helper, slotOf(ins, 0), source(b, ins, 1, S_T0), 0, ins.size[0]!);
}
defineLifter(adxLifter(HELPER_ADCX), MN.MN_ADCX);
defineLifter(adxLifter(HELPER_ADOX), MN.MN_ADOX);

/** MUL, DIV, IDIV and the one-operand IMUL: rDX:rAX and operand 0. */
function wideLifter(kind: number): Lifter {
  return (b, ins) => b.rr(kind + sizeIndex(ins.size[0]!), S_ZERO, source(b, ins, 0, S_T0));
}
defineLifter(wideLifter(U.U_MUL), MN.MN_MUL);
defineLifter(wideLifter(U.U_DIV), MN.MN_DIV);
defineLifter(wideLifter(U.U_IDIV), MN.MN_IDIV);
const imulWide = wideLifter(U.U_IMUL);

defineLifter((b, ins: Instruction) => {
  if (ins.kind[1] === OP_NONE) {
    imulWide(b, ins);
    return;
  }
  const sz = sizeIndex(ins.size[0]!);
  const a = source(b, ins, 1, S_T0);
  if (ins.kind[2] === OP_IMM) b.emit(U.U_IMUL_RRI + sz, slotOf(ins, 0), a, S_ZERO, S_ZERO, 0, 0, ins.immLo);
  else b.rr(U.U_IMUL_RR + sz, slotOf(ins, 0), a);
}, MN.MN_IMUL);

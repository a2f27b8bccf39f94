/** PUSH, POP, PUSHA, POPA, ENTER, LEAVE. PUSHF and POPF are lift-system.ts's. */
import {
  S_RAX,
  S_RBP,
  S_RBX,
  S_RCX,
  S_RDI,
  S_RDX,
  S_RSI,
  S_RSP,
  S_T0,
  S_T1,
  S_T2,
  S_T3,
  S_T4,
  S_T5,
  S_T6,
  S_ZERO,
} from "../arena.ts";
import { type Instruction, OP_IMM, OP_SREG, REG_SP } from "../decode/instruction.ts";
import * as MN from "../decode/mnemonics.ts";
import { type BlockBuilder, defineLifter, sizeIndex } from "./builder.ts";
import { HELPER_UNDEFINED } from "./helpers-integer.ts";
import { addTo, isMemory, loadTop, push, setSum, slotOf, source, stackAddress, stackSize } from "./lift-common.ts";
import { readSelector } from "./lift-move.ts";
import { FORM_POP_SREG, SYSTEM_FORMS } from "./system-forms.ts";
import * as U from "./uop.ts";

defineLifter((b, ins) => {
  const size = ins.opSize;
  if (ins.kind[0] === OP_IMM) {
    if (size === 8) b.ri(U.U_PUSHI64, 0, ins.immLo);
    else {
      stackAddress(b, S_RSP, -size, size, true);
      b.m(U.U_STOREI + sizeIndex(size), 0, ins.immLo);
      addTo(b, stackSize(b), S_RSP, -size);
    }
    return;
  }
  let a = S_T0;
  if (ins.kind[0] === OP_SREG) readSelector(b, S_T0, ins.reg[0]!);
  else a = source(b, ins, 0, S_T0);
  if (size === 8) b.rr(U.U_PUSH64, 0, a);
  else push(b, size, a);
}, MN.MN_PUSH);

defineLifter((b, ins) => {
  const size = ins.opSize;
  if (ins.kind[0] === OP_SREG) {
    const lifter = SYSTEM_FORMS[FORM_POP_SREG];
    if (lifter === undefined) b.helperEnd(HELPER_UNDEFINED);
    else lifter(b, ins);
  } else if (isMemory(ins, 0)) {
    loadTop(b, size, S_T0);
    // An address with rSP as its base uses rSP after the pop (SDM, POP).
    b.mem(ins, size, true, ins.base === REG_SP ? size : 0);
    b.m(U.U_STORE + sizeIndex(size), S_T0);
    addTo(b, stackSize(b), S_RSP, size);
  } else if (size === 8) b.rr(U.U_POP64, slotOf(ins, 0), 0);
  else {
    loadTop(b, size, S_T0);
    addTo(b, stackSize(b), S_RSP, size);
    b.rr(U.U_MOV_RR + sizeIndex(size), slotOf(ins, 0), S_T0);
  }
}, MN.MN_POP);

// PUSHA and POPA treat their eight words as one operand: a 16-bit stack pointer that wraps inside it is a limit violation
// here (the processor's own answer differs from model to model).
const PUSHA_ORDER = [S_RAX, S_RCX, S_RDX, S_RBX, S_RSP, S_RBP, S_RSI, S_RDI];
/** What POPA loads, from the stack's top up; the word that PUSHA stored of rSP is skipped. */
const POPA_ORDER: readonly (readonly [place: number, slot: number, temp: number])[] = [
  [0, S_RDI, S_T0],
  [1, S_RSI, S_T1],
  [2, S_RBP, S_T2],
  [4, S_RBX, S_T3],
  [5, S_RDX, S_T4],
  [6, S_RCX, S_T5],
  [7, S_RAX, S_T6],
];

defineLifter((b, ins) => {
  const size = ins.opSize;
  stackAddress(b, S_RSP, -size * 8, size * 8, true);
  PUSHA_ORDER.forEach((slot, i) => {
    b.m(U.U_STORE + sizeIndex(size), slot, 0, size * (7 - i));
  });
  addTo(b, stackSize(b), S_RSP, -size * 8);
}, MN.MN_PUSHA);

defineLifter((b, ins) => {
  const size = ins.opSize;
  const sz = sizeIndex(size);
  stackAddress(b, S_RSP, 0, size * 8, false);
  for (const [place, , temp] of POPA_ORDER) b.m(U.U_LOAD + sz, temp, 0, size * place);
  for (const [, slot, temp] of POPA_ORDER) b.rr(U.U_MOV_RR + sz, slot, temp);
  addTo(b, stackSize(b), S_RSP, size * 8);
}, MN.MN_POPA);

/**
 * ENTER: push rBP; copy `level - 1` frame pointers of the caller's display and push the new one; then the locals. All
 * accesses come before rBP and rSP change.
 */
function liftEnter(b: BlockBuilder, ins: Instruction): void {
  const size = ins.opSize;
  const sz = sizeIndex(size);
  const level = ins.imm2 & 31;
  const total = size * (level + 1) + (ins.immLo & 0xffff);
  stackAddress(b, S_RSP, -size, size, true);
  b.m(U.U_STORE + sz, S_RBP);
  for (let i = 1; i < level; i++) {
    stackAddress(b, S_RBP, -size * i, size, false);
    b.m(U.U_LOAD + sz, S_T0);
    stackAddress(b, S_RSP, -size * (i + 1), size, true);
    b.m(U.U_STORE + sz, S_T0);
  }
  // The frame pointer, whole: only its low `size` bytes go to the display and to rBP.
  b.emit(U.U_LEA64, S_T0, S_RSP, S_ZERO, S_ZERO, 0, -size, 0);
  if (level > 0) {
    stackAddress(b, S_RSP, -size * (level + 1), size, true);
    b.m(U.U_STORE + sz, S_T0);
  }
  // The stack must be writable at its new top as well (SDM, ENTER): processors find that out after the pushes.
  stackAddress(b, S_RSP, -total, size, true);
  b.m(U.U_LOADW + sz, S_T1);
  addTo(b, stackSize(b), S_RSP, -total);
  b.rr(U.U_MOV_RR + sz, S_RBP, S_T0);
  // Deep nesting takes hundreds of micro-ops: no block has two of them.
  if (level > 1) b.terminal(U.U_END, 0, 0, 0, 0, 0, 0);
}
defineLifter(liftEnter, MN.MN_ENTER);

defineLifter((b, ins) => {
  const size = ins.opSize;
  if (size === 8) {
    b.rr(U.U_LEAVE64, 0, 0);
    return;
  }
  stackAddress(b, S_RBP, 0, size, false);
  b.m(U.U_LOAD + sizeIndex(size), S_T0);
  setSum(b, stackSize(b), S_RSP, S_RBP, size);
  b.rr(U.U_MOV_RR + sizeIndex(size), S_RBP, S_T0);
}, MN.MN_LEAVE);

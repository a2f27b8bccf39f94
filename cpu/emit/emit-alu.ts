/** Integer addition, subtraction and logic, and what is made of them (SDM vol. 2; flags as its tables say). */
import * as A from "../arena.ts";
import * as U from "../uops/uop.ts";
import { OP } from "./assembler.ts";
import { bitsOf, type Emitter, IMPORT_RMW } from "./emitter.ts";
import { type EmitTable, family } from "./table.ts";

/** Locals x op y -> r and flags. */
function compute(e: Emitter, op: number, sz: number): void {
  const { w, l } = e;
  const carry = op === U.ALU_ADC || op === U.ALU_SBB;
  w.get(l.x);
  w.get(l.y);
  switch (op) {
    case U.ALU_ADD:
    case U.ALU_ADC:
      w.op(OP.i64_add);
      break;
    case U.ALU_SUB:
    case U.ALU_CMP:
    case U.ALU_SBB:
      w.op(OP.i64_sub);
      break;
    case U.ALU_OR:
      w.op(OP.i64_or);
      break;
    case U.ALU_XOR:
      w.op(OP.i64_xor);
      break;
    default:
      w.op(OP.i64_and);
  }
  if (carry) {
    e.getFlag(A.CC_C);
    w.i64(63);
    w.op(OP.i64_shr_u, op === U.ALU_ADC ? OP.i64_add : OP.i64_sub);
  }
  w.set(l.r);
  if (op === U.ALU_OR || op === U.ALU_AND || op === U.ALU_XOR || op === U.ALU_TEST) {
    e.clearFlag(A.CC_C);
    e.clearFlag(A.CC_O);
    e.clearFlag(A.CC_A);
    e.flagsOfResult(l.r, sz);
    e.noteFlags(op, sz);
    return;
  }
  const adds = op === U.ALU_ADD || op === U.ALU_ADC;
  if (adds) addFlags(e, sz, carry);
  else subtractFlags(e, sz, carry);
  e.adjustFlag();
  e.flagsOfResult(l.r, sz);
  e.noteFlags(op, sz);
}

/** CF and OF of x + y (+ carry) = r. Operands are zero-extended, so below 64 bits the carry is bit n of r. */
function addFlags(e: Emitter, sz: number, carry: boolean): void {
  const { w, l } = e;
  e.openFlag(A.CC_C);
  if (sz !== 3) {
    w.get(l.r);
    w.i64(63 - bitsOf(sz));
    w.op(OP.i64_shl);
  } else if (!carry) {
    w.get(l.r);
    w.get(l.x);
    w.op(OP.i64_lt_u, OP.i64_extend_i32_u);
    w.i64(63);
    w.op(OP.i64_shl);
  } else {
    // (x & y) | ((x | y) & ~r): bit 63 is the carry out.
    w.get(l.x);
    w.get(l.y);
    w.op(OP.i64_and);
    w.get(l.x);
    w.get(l.y);
    w.op(OP.i64_or);
    w.get(l.r);
    w.i64(-1);
    w.op(OP.i64_xor, OP.i64_and, OP.i64_or);
  }
  e.closeFlag(A.CC_C);
  e.openFlag(A.CC_O);
  w.get(l.x);
  w.get(l.r);
  w.op(OP.i64_xor);
  w.get(l.y);
  w.get(l.r);
  w.op(OP.i64_xor, OP.i64_and);
  e.toTop(sz);
  e.closeFlag(A.CC_O);
}

/** CF and OF of x - y (- borrow) = r. Below 64 bits a borrow makes r negative. */
function subtractFlags(e: Emitter, sz: number, carry: boolean): void {
  const { w, l } = e;
  e.openFlag(A.CC_C);
  if (sz !== 3) w.get(l.r);
  else if (!carry) {
    w.get(l.x);
    w.get(l.y);
    w.op(OP.i64_lt_u, OP.i64_extend_i32_u);
    w.i64(63);
    w.op(OP.i64_shl);
  } else {
    // (~x & y) | (~(x ^ y) & r)
    w.get(l.x);
    w.i64(-1);
    w.op(OP.i64_xor);
    w.get(l.y);
    w.op(OP.i64_and);
    w.get(l.x);
    w.get(l.y);
    w.op(OP.i64_xor);
    w.i64(-1);
    w.op(OP.i64_xor);
    w.get(l.r);
    w.op(OP.i64_and, OP.i64_or);
  }
  e.closeFlag(A.CC_C);
  e.openFlag(A.CC_O);
  w.get(l.x);
  w.get(l.y);
  w.op(OP.i64_xor);
  w.get(l.x);
  w.get(l.r);
  w.op(OP.i64_xor, OP.i64_and);
  e.toTop(sz);
  e.closeFlag(A.CC_O);
}

function emitAlu(e: Emitter, op: number, form: number, sz: number): void {
  const { w, l } = e;
  const writes = op !== U.ALU_CMP && op !== U.ALU_TEST;
  const memoryDestination = form === U.FORM_MR || form === U.FORM_MI;
  if (memoryDestination) {
    e.load(sz, writes ? IMPORT_RMW : undefined);
    w.set(l.x);
  } else {
    e.get("d", sz);
    w.set(l.x);
  }
  if (form === U.FORM_RR) e.get("a", sz);
  else if (form === U.FORM_RM) e.load(sz);
  else if (form === U.FORM_MR) e.get("d", sz);
  else e.immOperand(sz);
  w.set(l.y);
  if (writes && memoryDestination) {
    // The store hits what the load with write intent has checked; flags come after it.
    const plain = op === U.ALU_ADC || op === U.ALU_SBB;
    w.get(l.x);
    w.get(l.y);
    if (op === U.ALU_ADD || op === U.ALU_ADC) w.op(OP.i64_add);
    else if (op === U.ALU_SUB || op === U.ALU_SBB) w.op(OP.i64_sub);
    else if (op === U.ALU_OR) w.op(OP.i64_or);
    else if (op === U.ALU_XOR) w.op(OP.i64_xor);
    else w.op(OP.i64_and);
    if (plain) {
      e.getFlag(A.CC_C);
      w.i64(63);
      w.op(OP.i64_shr_u, op === U.ALU_ADC ? OP.i64_add : OP.i64_sub);
    }
    w.set(l.t);
    e.storeAt(sz, l.t);
  }
  compute(e, op, sz);
  if (writes && !memoryDestination) {
    e.open("d");
    w.get(l.r);
    e.close("d", sz);
  }
}

/** INC, DEC, NEG, NOT. */
function emitUnary(e: Emitter, op: "inc" | "dec" | "neg" | "not", sz: number, memory: boolean): void {
  const { w, l } = e;
  if (memory) e.load(sz, IMPORT_RMW);
  else e.get("d", sz);
  if (op === "neg") {
    w.set(l.y);
    w.i64(0);
    w.set(l.x);
    w.i64(0);
    w.get(l.y);
    w.op(OP.i64_sub);
  } else {
    w.tee(l.x);
    if (op === "not") {
      w.i64(-1);
      w.op(OP.i64_xor);
    } else {
      w.i64(1);
      w.tee(l.y);
      w.op(op === "inc" ? OP.i64_add : OP.i64_sub);
    }
  }
  w.set(l.r);
  if (memory) e.storeAt(sz, l.r);
  else {
    e.open("d");
    w.get(l.r);
    e.close("d", sz);
  }
  if (op === "not") return;
  if (op === "neg") subtractFlags(e, sz, false);
  else {
    e.openFlag(A.CC_O);
    w.get(l.x);
    w.get(l.r);
    w.op(OP.i64_xor);
    if (op === "inc") {
      // y = 1: overflow iff x >= 0 and r < 0, (x ^ r) & r.
      w.get(l.r);
      w.op(OP.i64_and);
    } else {
      w.get(l.x);
      w.op(OP.i64_and);
    }
    e.toTop(sz);
    e.closeFlag(A.CC_O);
  }
  e.adjustFlag();
  e.flagsOfResult(l.r, sz);
}

function emitXadd(e: Emitter, sz: number): void {
  const { w, l } = e;
  e.get("d", sz);
  w.set(l.x);
  e.get("a", sz);
  w.set(l.y);
  compute(e, U.ALU_ADD, sz);
  e.open("a");
  w.get(l.x);
  e.close("a", sz, true);
  e.open("d");
  w.get(l.r);
  e.close("d", sz);
}

function emitCmpxchg(e: Emitter, sz: number): void {
  const { w, l } = e;
  e.getFixed(A.S_RAX, sz);
  w.set(l.x);
  e.get("d", sz);
  w.set(l.y);
  compute(e, U.ALU_CMP, sz);
  w.get(l.x);
  w.get(l.y);
  w.op(OP.i64_eq);
  w.if();
  e.open("d");
  e.get("a", sz);
  e.close("d", sz, true);
  w.else();
  e.openFixed(A.S_RAX);
  w.get(l.y);
  e.closeFixed(A.S_RAX, sz);
  w.end();
}

function emitCwd(e: Emitter, sz: number): void {
  e.openFixed(A.S_RDX);
  e.getFixed(A.S_RAX, sz);
  e.signExtend(sz);
  e.w.i64(63);
  e.w.op(OP.i64_shr_s);
  e.closeFixed(A.S_RDX, sz);
}

export function installAlu(table: EmitTable): void {
  for (let op = 0; op <= U.ALU_TEST; op++)
    for (let form = 0; form <= U.FORM_MI; form++)
      family(table, U.alu(op, form, 0), 0, (e, sz) => emitAlu(e, op, form, sz));
  for (const [kind, memory, op] of [
    [U.U_INC, U.U_INC_M, "inc"],
    [U.U_DEC, U.U_DEC_M, "dec"],
    [U.U_NEG, U.U_NEG_M, "neg"],
    [U.U_NOT, U.U_NOT_M, "not"],
  ] as const) {
    family(table, kind, 0, (e, sz) => emitUnary(e, op, sz, false));
    family(table, memory, 0, (e, sz) => emitUnary(e, op, sz, true));
  }
  family(table, U.U_CWD, 1, (e, sz) => emitCwd(e, sz));
  family(table, U.U_XADD, 0, (e, sz) => emitXadd(e, sz));
  family(table, U.U_CMPXCHG, 0, (e, sz) => emitCmpxchg(e, sz));
}

/** Integer addition, subtraction and logic, and what is made of them (SDM vol. 2; flags as its tables say). */
import * as A from "../arena.ts";
import * as U from "../uops/uop.ts";
import { OP } from "./assembler.ts";
import { type Emitter, IMPORT_RMW } from "./emitter.ts";
import { type EmitTable, family } from "./family.ts";
import { K_ADC, K_ADD, K_CMP, K_DEC, K_INC, K_LOGIC, K_SBB, K_SUB } from "./flags.ts";

const ADDS = new Set([U.ALU_ADD, U.ALU_ADC]);
/** Whose flags they are. */
const KINDS: Readonly<Record<number, number>> = {
  [U.ALU_ADD]: K_ADD,
  [U.ALU_ADC]: K_ADC,
  [U.ALU_SUB]: K_SUB,
  [U.ALU_SBB]: K_SBB,
  [U.ALU_CMP]: K_CMP,
  [U.ALU_OR]: K_LOGIC,
  [U.ALU_AND]: K_LOGIC,
  [U.ALU_XOR]: K_LOGIC,
  [U.ALU_TEST]: K_LOGIC,
};
const LOGIC = new Set([U.ALU_OR, U.ALU_AND, U.ALU_XOR, U.ALU_TEST]);
const CARRIES = new Set([U.ALU_ADC, U.ALU_SBB]);

/** The operation in 32 and in 64 bits. */
function operation(op: number): readonly [number, number] {
  if (ADDS.has(op)) return [OP.i32_add, OP.i64_add];
  if (op === U.ALU_OR) return [OP.i32_or, OP.i64_or];
  if (op === U.ALU_XOR) return [OP.i32_xor, OP.i64_xor];
  return LOGIC.has(op) ? [OP.i32_and, OP.i64_and] : [OP.i32_sub, OP.i64_sub];
}

/** Pushes local as an i32. */
function narrow(e: Emitter, local: number): void {
  e.w.get(local);
  e.w.op(OP.i32_wrap_i64);
}

/**
 * Locals x op y -> r. 32 bits are computed in 32, whose upper half a processor clears for nothing, so r is zero-extended; of 8 and 16
 * bits it is the result in 64.
 */
function compute(e: Emitter, op: number, sz: number): void {
  const { w, l } = e;
  const [op32, op64] = operation(op);
  const carry = (): void => {
    e.getFlag(A.CC_C);
    w.i64(63);
    w.op(OP.i64_shr_u);
  };
  if (sz === 2) {
    narrow(e, l.x);
    narrow(e, l.y);
    w.op(op32);
    if (CARRIES.has(op)) {
      carry();
      w.op(OP.i32_wrap_i64, op32);
    }
    w.op(OP.i64_extend_i32_u);
  } else {
    w.get(l.x);
    w.get(l.y);
    w.op(op64);
    if (CARRIES.has(op)) {
      carry();
      w.op(op64);
    }
  }
  w.set(l.r);
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
  compute(e, op, sz);
  // The store hits what the load with write intent has checked; flags come after it.
  if (writes && memoryDestination) e.storeAt(sz, l.r);
  else if (writes) {
    e.open("d");
    w.get(l.r);
    e.close("d", sz, sz === 2);
  }
  e.flagsOf(KINDS[op]!, sz);
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
  } else {
    w.set(l.x);
    w.i64(op === "not" ? -1 : 1);
    w.set(l.y);
  }
  compute(e, op === "not" ? U.ALU_XOR : op === "inc" ? U.ALU_ADD : U.ALU_SUB, sz);
  if (memory) e.storeAt(sz, l.r);
  else {
    e.open("d");
    w.get(l.r);
    e.close("d", sz, sz === 2);
  }
  if (op === "not") return;
  e.flagsOf(op === "neg" ? K_SUB : op === "inc" ? K_INC : K_DEC, sz);
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
  e.close("d", sz, sz === 2);
  e.flagsOf(K_ADD, sz);
}

function emitCmpxchg(e: Emitter, sz: number): void {
  const { w, l } = e;
  e.getFixed(A.S_RAX, sz);
  w.set(l.x);
  e.get("d", sz);
  w.set(l.y);
  compute(e, U.ALU_CMP, sz);
  e.flagsOf(K_CMP, sz);
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

/** BMI1 and BMI2 (SDM volume 2), sizes 32 and 64 bits; flags that the manual leaves undefined are clear, or follow the result. */
import * as A from "../arena.ts";
import * as U from "../uops/uop.ts";
import { OP } from "./assembler.ts";
import { mulHigh } from "./emit-muldiv.ts";
import { bitsOf, type Emitter } from "./emitter.ts";
import { type EmitTable, family } from "./family.ts";

/** d = local r, with its flags, OF and AF clear; CF is set by the caller before. */
function finish(e: Emitter, sz: number): void {
  e.clearFlag(A.CC_O);
  e.clearFlag(A.CC_A);
  e.open("d");
  e.w.get(e.l.r);
  e.close("d", sz);
  e.flagsOfResult(e.l.r, sz);
}

/** CF = (the i32 on the stack). */
function carryOf(e: Emitter, condition: () => void): void {
  e.openFlag(A.CC_C);
  condition();
  e.w.op(OP.i64_extend_i32_u);
  e.w.i64(63);
  e.w.op(OP.i64_shl);
  e.closeFlag(A.CC_C);
}

function emitAndNot(e: Emitter, sz: number): void {
  const { w, l } = e;
  e.get("a", sz);
  w.i64(-1);
  w.op(OP.i64_xor);
  e.get("b", sz);
  w.op(OP.i64_and);
  w.set(l.r);
  e.clearFlag(A.CC_C);
  finish(e, sz);
}

/** BLSR a & (a - 1), BLSMSK a ^ (a - 1), both with CF if a is zero; BLSI a & -a, with CF if it is not. */
function emitLowest(e: Emitter, kind: "blsr" | "blsmsk" | "blsi", sz: number): void {
  const { w, l } = e;
  e.get("a", sz);
  w.set(l.x);
  if (kind === "blsi") {
    w.i64(0);
    w.get(l.x);
  } else {
    w.get(l.x);
    w.i64(1);
  }
  w.op(OP.i64_sub);
  w.get(l.x);
  w.op(kind === "blsmsk" ? OP.i64_xor : OP.i64_and);
  w.set(l.r);
  carryOf(e, () => {
    w.get(l.x);
    w.op(OP.i64_eqz);
    if (kind === "blsi") w.op(OP.i32_eqz);
  });
  finish(e, sz);
}

/** BZHI: a without the bits from b[7:0] on; CF if there are none. */
function emitZeroHigh(e: Emitter, sz: number): void {
  const { w, l } = e;
  const bits = bitsOf(sz);
  e.get("b", 0);
  w.set(l.y);
  e.get("a", sz);
  w.set(l.x);
  w.get(l.x);
  w.i64(-1);
  w.get(l.y);
  w.op(OP.i64_shl);
  w.i64(-1);
  w.op(OP.i64_xor, OP.i64_and);
  w.get(l.x);
  w.get(l.y);
  w.i64(bits);
  w.op(OP.i64_lt_u, OP.select);
  w.set(l.r);
  carryOf(e, () => {
    w.get(l.y);
    w.i64(bits);
    w.op(OP.i64_ge_u);
  });
  finish(e, sz);
}

/** SHLX, SHRX, SARX: no flags. */
function emitShift(e: Emitter, op: number, sz: number): void {
  const { w } = e;
  e.open("d");
  e.get("a", sz);
  if (op === OP.i64_shr_s) e.signExtend(sz);
  e.get("b", 3);
  w.i64(bitsOf(sz) - 1);
  w.op(OP.i64_and, op);
  e.close("d", sz);
}

function emitRotate(e: Emitter, sz: number): void {
  const { w, l } = e;
  e.open("d");
  e.get("a", sz);
  if (sz === 3) {
    e.imm();
    w.op(OP.i64_rotr);
  } else {
    // The operand twice, so that what a shift takes from above is the operand again.
    w.tee(l.x);
    w.get(l.x);
    w.i64(32);
    w.op(OP.i64_shl, OP.i64_or);
    e.imm();
    w.op(OP.i64_shr_u);
  }
  e.close("d", sz);
}

/** MULX: a = low, then d = high half of rDX * b, so that the high half stays where both are one register. */
function emitMultiply(e: Emitter, sz: number): void {
  const { w, l } = e;
  e.getFixed(A.S_RDX, sz);
  w.set(l.x);
  e.get("b", sz);
  w.set(l.y);
  if (sz === 3) {
    mulHigh(e);
    w.set(l.t);
  }
  w.get(l.x);
  w.get(l.y);
  w.op(OP.i64_mul);
  w.set(l.r);
  e.open("a");
  w.get(l.r);
  e.close("a", sz);
  e.open("d");
  if (sz === 3) w.get(l.t);
  else {
    w.get(l.r);
    w.i64(32);
    w.op(OP.i64_shr_u);
  }
  e.close("d", sz);
}

export function installBmi(table: EmitTable): void {
  family(table, U.U_ANDN, 2, emitAndNot);
  family(table, U.U_BLSR, 2, (e, sz) => emitLowest(e, "blsr", sz));
  family(table, U.U_BLSMSK, 2, (e, sz) => emitLowest(e, "blsmsk", sz));
  family(table, U.U_BLSI, 2, (e, sz) => emitLowest(e, "blsi", sz));
  family(table, U.U_BZHI, 2, emitZeroHigh);
  family(table, U.U_SHLX, 2, (e, sz) => emitShift(e, OP.i64_shl, sz));
  family(table, U.U_SHRX, 2, (e, sz) => emitShift(e, OP.i64_shr_u, sz));
  family(table, U.U_SARX, 2, (e, sz) => emitShift(e, OP.i64_shr_s, sz));
  family(table, U.U_RORX, 2, emitRotate);
  family(table, U.U_MULX, 2, emitMultiply);
}

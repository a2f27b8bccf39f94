/** Integer ALU, shifts, bit operations, multiplication and division (SDM vol. 2; flags as its tables say). */
import * as A from "../arena.ts";
import { VEC_DE } from "../core.ts";
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

/** Pushes the shift count: imm, or CL masked. */
function count(e: Emitter, sz: number, byCl: boolean): void {
  if (byCl) {
    e.getFixed(A.S_RCX, 3);
    e.w.i64(sz === 3 ? 63 : 31);
    e.w.op(OP.i64_and);
  } else e.imm();
}

/** SHL, SHR, SAR: x = operand, y = count (1..63). Counts over the size (8, 16 bits) shift everything out. */
function emitShift(e: Emitter, op: "shl" | "shr" | "sar", sz: number, byCl: boolean): void {
  const { w, l } = e;
  count(e, sz, byCl);
  w.tee(l.y);
  if (byCl) {
    w.op(OP.i64_eqz, OP.i32_eqz);
    w.if();
  } else w.op(OP.drop);
  e.get("d", sz);
  if (op === "sar") e.signExtend(sz);
  w.set(l.x);
  w.get(l.x);
  w.get(l.y);
  w.op(op === "shl" ? OP.i64_shl : op === "shr" ? OP.i64_shr_u : OP.i64_shr_s);
  w.set(l.r);
  // CF: the last bit shifted out, moved to bit 63.
  e.openFlag(A.CC_C);
  w.get(l.x);
  if (op === "shl") {
    // bit (bits - y) of x; for 64 bits x << (y - 1) has it on top.
    w.get(l.y);
    w.i64(1);
    w.op(OP.i64_sub, OP.i64_shl);
    e.toTop(sz);
  } else {
    w.get(l.y);
    w.i64(1);
    w.op(OP.i64_sub, op === "shr" ? OP.i64_shr_u : OP.i64_shr_s);
    w.i64(63);
    w.op(OP.i64_shl);
  }
  e.closeFlag(A.CC_C);
  // OF: defined for counts of 1: SHL top bit ^ CF; SHR old top bit; SAR 0. The same formula is used for every count.
  e.openFlag(A.CC_O);
  if (op === "shl") {
    w.get(l.r);
    e.toTop(sz);
    e.getFlag(A.CC_C);
    w.op(OP.i64_xor);
  } else if (op === "shr") {
    // r ^ (r << 1) has the old top bit at the top for a count of 1, and 0 for larger ones as silicon gives.
    w.get(l.r);
    w.i64(1);
    w.op(OP.i64_shl);
    w.get(l.r);
    w.op(OP.i64_xor);
    e.toTop(sz);
  } else w.i64(0);
  e.closeFlag(A.CC_O);
  e.clearFlag(A.CC_A);
  e.open("d");
  w.get(l.r);
  e.close("d", sz);
  e.flagsOfResult(l.r, sz);
  if (byCl) {
    // A zero count of a 32-bit operand still zero-extends the register.
    w.else();
    if (sz === 2) {
      e.open("d");
      e.get("d", 2);
      e.close("d", 2, true);
    }
    w.end();
  }
}

/** ROL, ROR: only CF and OF change. 8 and 16 bits rotate a replicated operand. */
function emitRotate(e: Emitter, left: boolean, sz: number, byCl: boolean): void {
  const { w, l } = e;
  const bits = bitsOf(sz);
  count(e, sz, byCl);
  w.tee(l.y);
  if (byCl) {
    w.op(OP.i64_eqz, OP.i32_eqz);
    w.if();
  } else w.op(OP.drop);
  e.get("d", sz);
  w.set(l.x);
  if (sz === 3) {
    w.get(l.x);
    w.get(l.y);
    w.op(left ? OP.i64_rotl : OP.i64_rotr);
  } else {
    // Amount modulo the size, then (x << k) | (x >> (bits - k)).
    w.get(l.y);
    w.i64(bits - 1);
    w.op(OP.i64_and);
    w.set(l.y);
    w.get(l.x);
    w.get(l.y);
    w.op(left ? OP.i64_shl : OP.i64_shr_u);
    w.get(l.x);
    w.i64(bits);
    w.get(l.y);
    w.op(OP.i64_sub, left ? OP.i64_shr_u : OP.i64_shl, OP.i64_or);
  }
  w.set(l.r);
  e.openFlag(A.CC_C);
  w.get(l.r);
  if (left) {
    w.i64(63);
    w.op(OP.i64_shl);
  } else e.toTop(sz);
  e.closeFlag(A.CC_C);
  e.openFlag(A.CC_O);
  w.get(l.r);
  e.toTop(sz);
  if (left) e.getFlag(A.CC_C);
  else {
    w.get(l.r);
    e.toTop(sz);
    w.i64(1);
    w.op(OP.i64_shl);
  }
  w.op(OP.i64_xor);
  e.closeFlag(A.CC_O);
  e.open("d");
  w.get(l.r);
  e.close("d", sz);
  if (byCl) {
    w.else();
    if (sz === 2) {
      e.open("d");
      e.get("d", 2);
      e.close("d", 2, true);
    }
    w.end();
  }
}

/** BT, BTS, BTR, BTC: CF = the bit; the others stay. */
function emitBitTest(e: Emitter, op: "bt" | "bts" | "btr" | "btc", sz: number, immediate: boolean): void {
  const { w, l } = e;
  if (immediate) e.imm();
  else e.get("a", 3);
  w.i64(bitsOf(sz) - 1);
  w.op(OP.i64_and);
  w.set(l.y);
  e.get("d", sz);
  w.set(l.x);
  e.openFlag(A.CC_C);
  w.get(l.x);
  w.get(l.y);
  w.op(OP.i64_shr_u);
  w.i64(63);
  w.op(OP.i64_shl);
  e.closeFlag(A.CC_C);
  if (op === "bt") return;
  e.open("d");
  w.get(l.x);
  w.i64(1);
  w.get(l.y);
  w.op(OP.i64_shl);
  if (op === "bts") w.op(OP.i64_or);
  else if (op === "btc") w.op(OP.i64_xor);
  else {
    w.i64(-1);
    w.op(OP.i64_xor, OP.i64_and);
  }
  e.close("d", sz);
}

/** BSF, BSR, TZCNT, LZCNT, POPCNT. */
function emitBitCount(e: Emitter, op: "bsf" | "bsr" | "tzcnt" | "lzcnt" | "popcnt", sz: number): void {
  const { w, l } = e;
  const bits = bitsOf(sz);
  e.get("a", sz);
  w.set(l.x);
  const scan = op === "bsf" || op === "bsr";
  if (scan) {
    // ZF tells a zero source; the other flags are undefined and kept as the result's would be.
    e.clearFlag(A.CC_C);
    e.clearFlag(A.CC_O);
    e.clearFlag(A.CC_A);
    w.get(l.x);
    w.set(l.r);
    e.flagsOfResult(l.r, sz);
    w.get(l.x);
    w.op(OP.i64_eqz, OP.i32_eqz);
    w.if();
    e.open("d");
    if (op === "bsf") {
      w.get(l.x);
      w.op(OP.i64_ctz);
    } else {
      w.i64(63);
      w.get(l.x);
      w.op(OP.i64_clz, OP.i64_sub);
    }
    e.close("d", sz, true);
    w.end();
    return;
  }
  if (op === "popcnt") {
    w.get(l.x);
    w.op(OP.i64_popcnt);
  } else if (op === "tzcnt") {
    w.get(l.x);
    if (sz !== 3) {
      w.i64(2 ** bits);
      w.op(OP.i64_or);
    }
    w.op(OP.i64_ctz);
  } else {
    w.get(l.x);
    w.op(OP.i64_clz);
    if (sz !== 3) {
      w.i64(64 - bits);
      w.op(OP.i64_sub);
    }
  }
  w.set(l.r);
  e.clearFlag(A.CC_O);
  e.clearFlag(A.CC_A);
  if (op === "popcnt") {
    e.clearFlag(A.CC_C);
    e.openFlag(A.CC_Z);
    w.get(l.r);
    e.closeFlag(A.CC_Z);
    // PF and SF are cleared: an odd low byte, not negative.
    e.openFlag(A.CC_S);
    w.i64(1);
    e.closeFlag(A.CC_S);
  } else {
    e.openFlag(A.CC_C);
    w.get(l.x);
    w.op(OP.i64_eqz, OP.i64_extend_i32_u);
    w.i64(63);
    w.op(OP.i64_shl);
    e.closeFlag(A.CC_C);
    e.flagsOfResult(l.r, sz);
  }
  e.open("d");
  w.get(l.r);
  e.close("d", sz, true);
}

/** Pushes the upper 64 bits of the unsigned product of locals x and y; uses r, t. */
function mulHigh(e: Emitter): void {
  const { w, l } = e;
  const low = (local: number): void => {
    w.get(local);
    w.op(OP.i32_wrap_i64, OP.i64_extend_i32_u);
  };
  const high = (local: number): void => {
    w.get(local);
    w.i64(32);
    w.op(OP.i64_shr_u);
  };
  // r = hi(x)*lo(y) + (lo(x)*lo(y) >> 32)
  high(l.x);
  low(l.y);
  w.op(OP.i64_mul);
  low(l.x);
  low(l.y);
  w.op(OP.i64_mul);
  w.i64(32);
  w.op(OP.i64_shr_u, OP.i64_add);
  w.set(l.r);
  // t = lo(x)*hi(y) + lo(r)
  low(l.x);
  high(l.y);
  w.op(OP.i64_mul);
  low(l.r);
  w.op(OP.i64_add);
  w.set(l.t);
  high(l.x);
  high(l.y);
  w.op(OP.i64_mul);
  high(l.r);
  w.op(OP.i64_add);
  high(l.t);
  w.op(OP.i64_add);
}

/** Pushes the upper 64 bits of the signed product of x and y. */
function mulHighSigned(e: Emitter): void {
  const { w, l } = e;
  mulHigh(e);
  w.get(l.x);
  w.i64(63);
  w.op(OP.i64_shr_s);
  w.get(l.y);
  w.op(OP.i64_and, OP.i64_sub);
  w.get(l.y);
  w.i64(63);
  w.op(OP.i64_shr_s);
  w.get(l.x);
  w.op(OP.i64_and, OP.i64_sub);
}

/** Stores CF = OF = (condition i32 on the stack); AF clear; the flags that the manual leaves undefined follow the low result r. */
function mulFlags(e: Emitter, sz: number): void {
  const { w, l } = e;
  w.op(OP.i64_extend_i32_u);
  w.i64(63);
  w.op(OP.i64_shl);
  w.set(l.t);
  e.openFlag(A.CC_C);
  w.get(l.t);
  e.closeFlag(A.CC_C);
  e.openFlag(A.CC_O);
  w.get(l.t);
  e.closeFlag(A.CC_O);
  e.clearFlag(A.CC_A);
  e.flagsOfResult(l.r, sz);
}

/** IMUL r, r and IMUL r, r, imm. */
function emitImul2(e: Emitter, sz: number, immediate: boolean): void {
  const { w, l } = e;
  e.get(immediate ? "a" : "d", sz);
  e.signExtend(sz);
  w.set(l.x);
  if (immediate) e.imm();
  else {
    e.get("a", sz);
    e.signExtend(sz);
  }
  w.set(l.y);
  if (sz === 3) {
    mulHighSigned(e);
    w.set(l.t);
    w.get(l.x);
    w.get(l.y);
    w.op(OP.i64_mul);
    w.set(l.r);
    w.get(l.t);
    w.get(l.r);
    w.i64(63);
    w.op(OP.i64_shr_s, OP.i64_ne);
  } else {
    w.get(l.x);
    w.get(l.y);
    w.op(OP.i64_mul);
    w.tee(l.r);
    e.signExtend(sz);
    w.get(l.r);
    w.op(OP.i64_ne);
  }
  mulFlags(e, sz);
  e.open("d");
  w.get(l.r);
  e.close("d", sz);
}

/** MUL, IMUL one-operand forms: rDX:rAX = rAX * a. */
function emitMulWide(e: Emitter, signed: boolean, sz: number): void {
  const { w, l } = e;
  e.getFixed(A.S_RAX, sz);
  if (signed) e.signExtend(sz);
  w.set(l.x);
  e.get("a", sz);
  if (signed) e.signExtend(sz);
  w.set(l.y);
  if (sz === 3) {
    if (signed) mulHighSigned(e);
    else mulHigh(e);
    w.set(l.t);
    w.get(l.x);
    w.get(l.y);
    w.op(OP.i64_mul);
    w.set(l.r);
    e.openFixed(A.S_RDX);
    w.get(l.t);
    e.closeFixed(A.S_RDX, 3);
    e.openFixed(A.S_RAX);
    w.get(l.r);
    e.closeFixed(A.S_RAX, 3);
    w.get(l.t);
    if (signed) {
      w.get(l.r);
      w.i64(63);
      w.op(OP.i64_shr_s);
    } else w.i64(0);
    w.op(OP.i64_ne);
    mulFlags(e, 3);
    return;
  }
  w.get(l.x);
  w.get(l.y);
  w.op(OP.i64_mul);
  w.set(l.r);
  if (sz === 0) {
    e.openFixed(A.S_RAX);
    w.get(l.r);
    e.closeFixed(A.S_RAX, 1);
  } else {
    e.openFixed(A.S_RDX);
    w.get(l.r);
    w.i64(bitsOf(sz));
    w.op(OP.i64_shr_u);
    e.closeFixed(A.S_RDX, sz);
    e.openFixed(A.S_RAX);
    w.get(l.r);
    e.closeFixed(A.S_RAX, sz);
  }
  w.get(l.r);
  w.get(l.r);
  if (signed) e.signExtend(sz);
  else e.zeroExtend(sz);
  w.op(OP.i64_ne);
  mulFlags(e, sz);
}

/** DIV, IDIV for 8, 16 and 32 bits in i64; 64 bits in emitDiv64. Flags (undefined) stay. */
function emitDiv(e: Emitter, signed: boolean, sz: number): void {
  const { w, l } = e;
  const bits = bitsOf(sz);
  e.get("a", sz);
  if (signed) e.signExtend(sz);
  w.tee(l.y);
  w.op(OP.i64_eqz);
  w.if();
  e.fault(VEC_DE);
  w.end();
  // x = the double-width dividend
  if (sz === 0) {
    e.getFixed(A.S_RAX, 1);
    if (signed) e.signExtend(1);
  } else {
    e.getFixed(A.S_RDX, sz);
    w.i64(bits);
    w.op(OP.i64_shl);
    e.getFixed(A.S_RAX, sz);
    w.op(OP.i64_or);
    if (signed && sz === 1) e.signExtend(2);
  }
  w.set(l.x);
  if (signed) {
    // -2^63 / -1 would trap in WebAssembly; it overflows here as well.
    w.get(l.y);
    w.i64(-1);
    w.op(OP.i64_eq);
    w.get(l.x);
    w.i64(-(2 ** 63));
    w.op(OP.i64_eq, OP.i32_and);
    w.if();
    e.fault(VEC_DE);
    w.end();
  }
  w.get(l.x);
  w.get(l.y);
  w.op(signed ? OP.i64_div_s : OP.i64_div_u);
  w.tee(l.r);
  w.get(l.r);
  if (signed) e.signExtend(sz);
  else e.zeroExtend(sz);
  w.op(OP.i64_ne);
  w.if();
  e.fault(VEC_DE);
  w.end();
  w.get(l.x);
  w.get(l.y);
  w.op(signed ? OP.i64_rem_s : OP.i64_rem_u);
  w.set(l.t);
  if (sz === 0) {
    e.openFixed(A.S_RAX);
    w.get(l.t);
    w.i64(8);
    w.op(OP.i64_shl);
    w.get(l.r);
    w.i64(0xff);
    w.op(OP.i64_and, OP.i64_or);
    e.closeFixed(A.S_RAX, 1);
    return;
  }
  e.openFixed(A.S_RDX);
  w.get(l.t);
  e.closeFixed(A.S_RDX, sz);
  e.openFixed(A.S_RAX);
  w.get(l.r);
  e.closeFixed(A.S_RAX, sz);
}

/** Helper numbers for the 128-bit dividends that do not fit 64 bits; set by uops/helpers-div.ts through `setDivHelpers`. */
let divHelper = -1;
let idivHelper = -1;
/** Names the helpers (U_HELPER conventions, a = divisor slot) that DIV and IDIV r/m64 call when rDX:rAX needs 128 bits. */
export function setDivHelpers(div: number, idiv: number): void {
  divHelper = div;
  idivHelper = idiv;
}

function emitDiv64(e: Emitter, signed: boolean): void {
  const { w, l } = e;
  e.get("a", 3);
  w.tee(l.y);
  w.op(OP.i64_eqz);
  w.if();
  e.fault(VEC_DE);
  w.end();
  e.getFixed(A.S_RAX, 3);
  w.set(l.x);
  e.getFixed(A.S_RDX, 3);
  if (signed) {
    w.get(l.x);
    w.i64(63);
    w.op(OP.i64_shr_s, OP.i64_eq);
    // ... and not by -1, whose quotient may overflow.
    w.get(l.y);
    w.i64(-1);
    w.op(OP.i64_ne, OP.i32_and);
  } else w.op(OP.i64_eqz);
  w.if();
  e.openFixed(A.S_RDX);
  w.get(l.x);
  w.get(l.y);
  w.op(signed ? OP.i64_rem_s : OP.i64_rem_u);
  e.closeFixed(A.S_RDX, 3);
  e.openFixed(A.S_RAX);
  w.get(l.x);
  w.get(l.y);
  w.op(signed ? OP.i64_div_s : OP.i64_div_u);
  e.closeFixed(A.S_RAX, 3);
  w.else();
  e.callHelper(signed ? idivHelper : divHelper);
  w.end();
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

/** Byte reversal of local x (64 bits), pushed. */
function emitBswap(e: Emitter, bits: 32 | 64): void {
  const { w, l } = e;
  const swap = (half: number, shift: number): void => {
    w.get(l.x);
    w.i64(shift);
    w.op(OP.i64_shr_u);
    mask64(e, half);
    w.op(OP.i64_and);
    w.get(l.x);
    mask64(e, half);
    w.op(OP.i64_and);
    w.i64(shift);
    w.op(OP.i64_shl, OP.i64_or);
    w.set(l.x);
  };
  e.get("d", 3);
  w.set(l.x);
  swap(0x00ff00ff, 8);
  swap(0x0000ffff, 16);
  e.open("d");
  w.get(l.x);
  if (bits === 64) {
    w.i64(32);
    w.op(OP.i64_rotl);
  }
  e.close("d", bits === 64 ? 3 : 2);
}

/** Pushes the constant whose two 32-bit halves are both `half` (a number literal of 64 bits would not be exact). */
function mask64(e: Emitter, half: number): void {
  e.w.i64(half);
  e.w.i64(half);
  e.w.i64(32);
  e.w.op(OP.i64_shl, OP.i64_or);
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
  for (const [immediate, cl, op] of [
    [U.U_SHL_I, U.U_SHL_C, "shl"],
    [U.U_SHR_I, U.U_SHR_C, "shr"],
    [U.U_SAR_I, U.U_SAR_C, "sar"],
  ] as const) {
    family(table, immediate, 0, (e, sz) => emitShift(e, op, sz, false));
    family(table, cl, 0, (e, sz) => emitShift(e, op, sz, true));
  }
  family(table, U.U_ROL_I, 0, (e, sz) => emitRotate(e, true, sz, false));
  family(table, U.U_ROR_I, 0, (e, sz) => emitRotate(e, false, sz, false));
  family(table, U.U_ROL_C, 0, (e, sz) => emitRotate(e, true, sz, true));
  family(table, U.U_ROR_C, 0, (e, sz) => emitRotate(e, false, sz, true));
  for (const [register, immediate, op] of [
    [U.U_BT_R, U.U_BT_I, "bt"],
    [U.U_BTS_R, U.U_BTS_I, "bts"],
    [U.U_BTR_R, U.U_BTR_I, "btr"],
    [U.U_BTC_R, U.U_BTC_I, "btc"],
  ] as const) {
    family(table, register, 1, (e, sz) => emitBitTest(e, op, sz, false));
    family(table, immediate, 1, (e, sz) => emitBitTest(e, op, sz, true));
  }
  family(table, U.U_BSF, 1, (e, sz) => emitBitCount(e, "bsf", sz));
  family(table, U.U_BSR, 1, (e, sz) => emitBitCount(e, "bsr", sz));
  family(table, U.U_TZCNT, 1, (e, sz) => emitBitCount(e, "tzcnt", sz));
  family(table, U.U_LZCNT, 1, (e, sz) => emitBitCount(e, "lzcnt", sz));
  family(table, U.U_POPCNT, 1, (e, sz) => emitBitCount(e, "popcnt", sz));
  table[U.U_BSWAP32] = (e) => emitBswap(e, 32);
  table[U.U_BSWAP64] = (e) => emitBswap(e, 64);
  family(table, U.U_IMUL_RR, 1, (e, sz) => emitImul2(e, sz, false));
  family(table, U.U_IMUL_RRI, 1, (e, sz) => emitImul2(e, sz, true));
  family(table, U.U_MUL, 0, (e, sz) => emitMulWide(e, false, sz));
  family(table, U.U_IMUL, 0, (e, sz) => emitMulWide(e, true, sz));
  family(table, U.U_DIV, 0, (e, sz) => (sz === 3 ? emitDiv64(e, false) : emitDiv(e, false, sz)));
  family(table, U.U_IDIV, 0, (e, sz) => (sz === 3 ? emitDiv64(e, true) : emitDiv(e, true, sz)));
  family(table, U.U_CWD, 1, (e, sz) => emitCwd(e, sz));
  family(table, U.U_XADD, 0, (e, sz) => emitXadd(e, sz));
  family(table, U.U_CMPXCHG, 0, (e, sz) => emitCmpxchg(e, sz));
}

/** Shifts, rotates, bit tests and counts, byte swaps (SDM vol. 2; flags as its tables say). */
import * as A from "../arena.ts";
import * as U from "../uops/uop.ts";
import { OP } from "./assembler.ts";
import { bitsOf, type Emitter } from "./emitter.ts";
import { type EmitTable, family } from "./family.ts";

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
  if (op === "sar" && sz !== 2) e.signExtend(sz);
  w.set(l.x);
  w.get(l.x);
  if (sz === 2 && op !== "shr") {
    w.op(OP.i32_wrap_i64);
    w.get(l.y);
    w.op(OP.i32_wrap_i64, op === "shl" ? OP.i32_shl : OP.i32_shr_s, OP.i64_extend_i32_u);
  } else {
    w.get(l.y);
    w.op(op === "shl" ? OP.i64_shl : op === "shr" ? OP.i64_shr_u : OP.i64_shr_s);
  }
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
  e.close("d", sz, sz === 2);
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
    e.flagsUncertain();
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
  } else if (sz === 2) {
    w.get(l.x);
    w.op(OP.i32_wrap_i64);
    w.get(l.y);
    w.op(OP.i32_wrap_i64, left ? OP.i32_rotl : OP.i32_rotr, OP.i64_extend_i32_u);
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
  e.close("d", sz, sz === 2);
  if (byCl) {
    w.else();
    if (sz === 2) {
      e.open("d");
      e.get("d", 2);
      e.close("d", 2, true);
    }
    w.end();
    e.flagsUncertain();
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

export function installBits(table: EmitTable): void {
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
}

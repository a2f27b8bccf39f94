/** Double shifts by a constant, and the exchange of 16 bytes (SDM, SHLD, SHRD, CMPXCHG16B). */
import * as A from "../arena.ts";
import { VEC_GP } from "../core.ts";
import * as U from "../uops/uop.ts";
import { OP } from "./assembler.ts";
import type { Emitter } from "./emitter.ts";
import { type EmitTable, family } from "./family.ts";

/** y = imm + by, the count or what is left to the size. */
function count(e: Emitter, by: number): void {
  e.imm();
  if (by === 0) return;
  e.w.i64(by);
  e.w.op(OP.i64_add);
}
/** 64 - imm. */
function rest(e: Emitter): void {
  e.w.i64(64);
  e.imm();
  e.w.op(OP.i64_sub);
}

/** Local x = d, or with 32 bits d beside a: what the bits that are shifted out come from. r = the result, with garbage above 32 bits. */
function shift(e: Emitter, left: boolean, sz: number): void {
  const { w, l } = e;
  const [upper, lower] = left ? (["d", "a"] as const) : (["a", "d"] as const);
  if (sz === 3) {
    e.get("d", 3);
    w.tee(l.x);
    count(e, 0);
    w.op(left ? OP.i64_shl : OP.i64_shr_u);
    e.get("a", 3);
    rest(e);
    w.op(left ? OP.i64_shr_u : OP.i64_shl, OP.i64_or);
    w.set(l.r);
    return;
  }
  e.get(upper, 2);
  w.i64(32);
  w.op(OP.i64_shl);
  e.get(lower, 2);
  w.op(OP.i64_or);
  w.tee(l.x);
  count(e, 0);
  w.op(left ? OP.i64_shl : OP.i64_shr_u);
  if (left) {
    w.i64(32);
    w.op(OP.i64_shr_u);
  }
  w.set(l.r);
}

/** SHLD and SHRD by imm, 1 to the size less one. OF by the formula for a count of one, whatever the count; AF clear. */
function emitDoubleShift(e: Emitter, left: boolean, sz: number): void {
  const { w, l } = e;
  shift(e, left, sz);
  // CF: the last bit shifted out, moved to bit 63.
  e.openFlag(A.CC_C);
  w.get(l.x);
  count(e, -1);
  w.op(left ? OP.i64_shl : OP.i64_shr_u);
  if (!left) {
    w.i64(63);
    w.op(OP.i64_shl);
  }
  e.closeFlag(A.CC_C);
  e.openFlag(A.CC_O);
  w.get(l.r);
  if (left) {
    e.toTop(sz);
    e.getFlag(A.CC_C);
  } else {
    w.i64(1);
    w.op(OP.i64_shl);
    w.get(l.r);
  }
  w.op(OP.i64_xor);
  if (!left) e.toTop(sz);
  e.closeFlag(A.CC_O);
  e.clearFlag(A.CC_A);
  e.open("d");
  w.get(l.r);
  e.close("d", sz);
  e.flagsOfResult(l.r, sz);
}

/** Slot = local i ? slot `yes` : local `no`. */
function chooseSlot(e: Emitter, close: () => void, yes: () => void, no: () => void): void {
  yes();
  no();
  e.w.get(e.l.i);
  e.w.op(OP.select);
  close();
}

function emitExchange(e: Emitter): void {
  const { w, l } = e;
  e.get("d", 3);
  w.tee(l.x);
  e.getFixed(A.S_RAX, 3);
  w.op(OP.i64_eq);
  e.get("a", 3);
  w.tee(l.y);
  e.getFixed(A.S_RDX, 3);
  w.op(OP.i64_eq, OP.i32_and);
  w.set(l.i);
  for (const [field, fresh, old] of [
    ["d", A.S_RBX, l.x],
    ["a", A.S_RCX, l.y],
  ] as const) {
    e.open(field);
    chooseSlot(
      e,
      () => e.close(field, 3),
      () => e.getFixed(fresh, 3),
      () => w.get(old),
    );
  }
  for (const [slot, old] of [
    [A.S_RAX, l.x],
    [A.S_RDX, l.y],
  ] as const) {
    e.openFixed(slot);
    chooseSlot(
      e,
      () => e.closeFixed(slot, 3),
      () => e.getFixed(slot, 3),
      () => w.get(old),
    );
  }
  // Of the flags ZF alone changes; all are written, as is done where one is.
  const others = [
    [A.CC_S, l.x],
    [A.CC_A, l.y],
    [A.CC_C, l.r],
    [A.CC_O, l.t],
  ] as const;
  for (const [word, local] of others) {
    e.getFlag(word);
    w.set(local);
  }
  for (const [word, local] of others) {
    e.openFlag(word);
    w.get(local);
    e.closeFlag(word);
  }
  e.openFlag(A.CC_Z);
  w.get(l.i);
  w.op(OP.i32_eqz, OP.i64_extend_i32_u);
  e.closeFlag(A.CC_Z);
}

export function installWide(table: EmitTable): void {
  family(table, U.U_SHLD_I, 2, (e, sz) => emitDoubleShift(e, true, sz));
  family(table, U.U_SHRD_I, 2, (e, sz) => emitDoubleShift(e, false, sz));
  table[U.U_CMPXCHG16] = emitExchange;
  table[U.U_ALIGN16] = (e) => {
    const { w, l } = e;
    e.address();
    w.get(l.lin);
    w.i64(15);
    w.op(OP.i64_and, OP.i64_eqz, OP.i32_eqz);
    w.unlikely();
    w.if();
    e.fault(VEC_GP);
    w.end();
  };
}

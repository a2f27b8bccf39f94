/** What system software does all the time and needs no TypeScript: privilege checks, flags as a whole, selectors, SWAPGS. */

import * as A from "../arena.ts";
import { VEC_GP } from "../core.ts";
import { FLAG_AF, FLAG_IF, FLAG_RF, FLAG_VM, FLAGS_SYSTEM } from "../flags.ts";
import * as U from "../uops/uop.ts";
import { MEM, OP } from "./assembler.ts";
import type { Emitter } from "./emitter.ts";
import type { EmitTable } from "./family.ts";
import { word } from "./words.ts";

/** Pushes RFLAGS as an i32, without VM and RF. */
export function flagsImage(e: Emitter): void {
  const { w } = e;
  word(w, A.RFLAGS_SYS);
  w.i32(FLAGS_SYSTEM & ~(FLAG_VM | FLAG_RF));
  w.op(OP.i32_and);
  w.i32(2);
  w.op(OP.i32_or);
  for (const [flag, bit] of [
    [A.CC_C, 0],
    [A.CC_S, 7],
    [A.CC_O, 11],
  ] as const) {
    e.getFlag(flag);
    w.i64(63);
    w.op(OP.i64_shr_u, OP.i32_wrap_i64);
    w.i32(bit);
    w.op(OP.i32_shl, OP.i32_or);
  }
  e.getFlag(A.CC_S);
  w.op(OP.i32_wrap_i64);
  w.i32(0xff);
  w.op(OP.i32_and, OP.i32_popcnt);
  w.i32(1);
  w.op(OP.i32_and, OP.i32_eqz);
  w.i32(2);
  w.op(OP.i32_shl, OP.i32_or);
  e.getFlag(A.CC_A);
  w.op(OP.i32_wrap_i64);
  w.i32(FLAG_AF);
  w.op(OP.i32_and, OP.i32_or);
  e.getFlag(A.CC_Z);
  w.op(OP.i64_eqz);
  w.i32(6);
  w.op(OP.i32_shl, OP.i32_or);
}

/** Leaves with #GP(0) unless CPL is 0. */
function requireCpl0(e: Emitter): void {
  word(e.w, A.CPL);
  e.w.if();
  e.fault(VEC_GP);
  e.w.end();
}

/** Pushes 1 if CPL is above IOPL. */
export function aboveIopl(e: Emitter): void {
  const { w } = e;
  word(w, A.CPL);
  word(w, A.RFLAGS_SYS);
  w.i32(12);
  w.op(OP.i32_shr_u);
  w.i32(3);
  w.op(OP.i32_and, OP.i32_gt_s);
}

export function installSystem(table: EmitTable): void {
  table[U.U_CPL0] = requireCpl0;
  table[U.U_CLI] = (e) => {
    const { w } = e;
    aboveIopl(e);
    w.if();
    e.fault(VEC_GP);
    w.end();
    w.i32(0);
    word(w, A.RFLAGS_SYS);
    w.i32(~FLAG_IF);
    w.op(OP.i32_and);
    w.mem(MEM.i32_store, A.RFLAGS_SYS);
  };
  table[U.U_RFLAGS] = (e) => {
    e.open("d");
    flagsImage(e);
    e.w.op(OP.i64_extend_i32_u);
    e.close("d", 3);
  };
  table[U.U_SELECTOR] = (e) => {
    e.open("d");
    e.c();
    e.w.mem(MEM.i64_load16_u, A.SEG + A.SEG_SELECTOR);
    e.close("d", 3);
  };
  table[U.U_SWAPGS] = (e) => {
    const { w, l } = e;
    requireCpl0(e);
    e.getFixed(A.S_GSBASE, 3);
    w.set(l.x);
    e.openFixed(A.S_GSBASE);
    w.i32(0);
    w.mem(MEM.i64_load, A.MSR_KERNEL_GS_BASE);
    e.closeFixed(A.S_GSBASE, 3);
    w.i32(0);
    w.get(l.x);
    w.mem(MEM.i64_store, A.MSR_KERNEL_GS_BASE);
  };
  for (let sz = 1; sz < 4; sz++)
    table[U.U_BIT_OFFSET + sz] = (e) => {
      const { w } = e;
      e.open("d");
      e.get("a", sz);
      e.signExtend(sz);
      w.i64(3);
      w.op(OP.i64_shr_s);
      w.i64(-(1 << sz));
      w.op(OP.i64_and);
      e.close("d", 3);
    };
}

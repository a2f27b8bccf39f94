/**
 * Helpers that end a block and whose usual case is done in place: SYSCALL, SYSRET, STI, STAC and CLAC. What is rare (another mode, debug
 * registers, events that wait) goes to the helper, which says what the instruction means; the reference knows the helper alone.
 */

import * as A from "../arena.ts";
import { type Assembler, type Label, MEM, OP } from "../emit/assembler.ts";
import { aboveIopl, flagsImage } from "../emit/emit-system.ts";
import { notCanonical, put, put64, word } from "../emit/words.ts";
import { FLAG_AC, FLAG_AF, FLAG_IF, FLAG_RF, FLAG_TF, FLAG_VM, FLAGS_SYSTEM } from "../flags.ts";
import { CR4_SMAP, EFER_SCE } from "../system/bits.ts";
import { CODE64, DATA32, SYSRET_FLAGS } from "../system/syscall.ts";
import { I, type InterpreterEmitter, RIPL, X } from "./emitter.ts";

export const R_RCX: number = A.S_RCX;
export const R_R11: number = A.S_R8 + 24;
export const SEG_CS: number = A.SEG + A.SEG_STRIDE;
export const SEG_SS: number = A.SEG + 2 * A.SEG_STRIDE;
export const S_SSBASE: number = A.S_SEGBASE + 16;
/** Bits that enable breakpoints in DR7. */
export const BREAKPOINTS = 0xff;

/** Stores the i32 that `value` pushes at `address`. */
/** Goes to `slow` if the i32 at `address` has one of `bits`. */
export function unless(e: InterpreterEmitter, slow: Label, address: number, bits: number): void {
  word(e.w, address);
  e.w.i32(bits);
  e.w.op(OP.i32_and);
  e.w.brIf(slow);
}

/** Moves the cycles since the last change of privilege to `account`: system/mode.ts `account`. */
export function charge(w: Assembler, account: number): void {
  const load = (address: number): void => {
    w.i32(0);
    w.mem(MEM.f64_load, address);
  };
  const now = (): void => {
    load(A.SLICE_END);
    w.i32(0);
    w.mem(MEM.i32_load, A.REMAINING);
    w.op(OP.f64_convert_i32_s, OP.f64_sub);
  };
  w.i32(0);
  load(account);
  now();
  load(A.ACCOUNTED);
  w.op(OP.f64_sub, OP.f64_add);
  w.mem(MEM.f64_store, account);
  w.i32(0);
  now();
  w.mem(MEM.f64_store, A.ACCOUNTED);
}

/** RFLAGS = local I: flags.ts `setFlags`. */
export function setFlags(w: Assembler): void {
  /** Pushes bit `from` of I at bit `to` of an i64. */
  const bit = (from: number, to: number): void => {
    w.get(I);
    w.op(OP.i64_extend_i32_u);
    w.i64(63 - from);
    w.op(OP.i64_shl);
    w.i64(63);
    w.op(OP.i64_shr_u);
    w.i64(to);
    w.op(OP.i64_shl);
  };
  put64(w, A.CC_Z, () => {
    bit(6, 0);
    w.i64(1);
    w.op(OP.i64_xor);
  });
  put64(w, A.CC_S, () => {
    bit(2, 0);
    w.i64(1);
    w.op(OP.i64_xor);
    bit(7, 63);
    w.op(OP.i64_or);
  });
  put64(w, A.CC_C, () => bit(0, 63));
  put64(w, A.CC_O, () => bit(11, 63));
  put64(w, A.CC_A, () => {
    w.get(I);
    w.i32(FLAG_AF);
    w.op(OP.i32_and, OP.i64_extend_i32_u);
  });
  put(w, A.RFLAGS_SYS, () => {
    w.get(I);
    w.i32(FLAGS_SYSTEM);
    w.op(OP.i32_and);
    w.i32(2);
    w.op(OP.i32_or);
  });
}

/** Flat 64-bit CS and SS of level `cpl`; `selectors` pushes what `add` is added to. */
function setSegments(w: Assembler, selectors: () => void, addCs: number, addSs: number, cpl: number): void {
  for (const [seg, base, add, attr] of [
    [SEG_CS, A.S_CSBASE, addCs, CODE64],
    [SEG_SS, S_SSBASE, addSs, DATA32],
  ] as const) {
    put(w, seg + A.SEG_SELECTOR, () => {
      selectors();
      w.i32(add);
      w.op(OP.i32_add);
      w.i32(0xfffc);
      w.op(OP.i32_and);
      w.i32(cpl);
      w.op(OP.i32_or);
    });
    put(w, seg + A.SEG_ATTR, () => w.i32(attr | (cpl << 5)));
    put(w, seg + A.SEG_LIMIT, () => w.i32(-1));
    put64(w, A.SLOTS + base, () => w.i64(0));
  }
}

/** TLB_BASE of a supervisor: with SMAP in force if `smap` pushes 1. */
function superviseWith(w: Assembler, smap: () => void): void {
  put(w, A.TLB_BASE, () => {
    w.i32(A.DTLB + A.VIEW_SUPERVISOR_SMAP * A.TLB_VIEW_BYTES);
    w.i32(A.DTLB + A.VIEW_SUPERVISOR * A.TLB_VIEW_BYTES);
    smap();
    w.op(OP.select);
  });
}

function pushSmap(e: InterpreterEmitter): void {
  word(e.w, A.CR4);
  e.w.i32(CR4_SMAP);
  e.w.op(OP.i32_and);
}

export function forgetFetchPage(w: Assembler): void {
  put64(w, A.FETCH_PAGE, () => w.i64(-1));
}

/** SYSCALL from 64-bit code of level 3. RIPL is the address behind it; becomes LSTAR. */
export function fastSyscall(e: InterpreterEmitter, slow: Label): void {
  const { w } = e;
  word(w, A.CPL);
  w.i32(3);
  w.op(OP.i32_ne);
  w.brIf(slow);
  word(w, A.EFER);
  w.i32(EFER_SCE);
  w.op(OP.i32_and, OP.i32_eqz);
  w.brIf(slow);
  unless(e, slow, A.RFLAGS_SYS, FLAG_TF | FLAG_VM | FLAG_AC | FLAG_RF);
  unless(e, slow, A.DR + 56, BREAKPOINTS);
  flagsImage(e);
  w.set(I);
  put64(w, A.SLOTS + R_RCX, () => w.get(RIPL));
  put64(w, A.SLOTS + R_R11, () => {
    w.get(I);
    w.op(OP.i64_extend_i32_u);
  });
  w.get(I);
  word(e.w, A.MSR_FMASK);
  w.i32(-1);
  w.op(OP.i32_xor, OP.i32_and);
  w.set(I);
  setFlags(w);
  charge(w, A.ACCOUNT_USER);
  put(w, A.CPL, () => w.i32(0));
  setSegments(w, () => word(w, A.MSR_STAR + 4), 0, 8, 0);
  superviseWith(w, () => pushSmap(e));
  forgetFetchPage(w);
  w.i32(0);
  w.mem(MEM.i64_load, A.MSR_LSTAR);
  w.set(RIPL);
}

/** SYSRET to 64-bit code. RIPL becomes RCX. */
export function fastSysret(e: InterpreterEmitter, slow: Label): void {
  const { w } = e;
  word(w, A.EFER);
  w.i32(EFER_SCE);
  w.op(OP.i32_and, OP.i32_eqz);
  w.brIf(slow);
  word(w, A.EVENTS_WAIT);
  w.brIf(slow);
  unless(e, slow, A.SLOTS + R_R11, FLAG_TF | FLAG_AC);
  unless(e, slow, A.DR + 56, BREAKPOINTS);
  e.getFixed(R_RCX, 3);
  w.set(X);
  notCanonical(w, X);
  w.brIf(slow);
  word(w, A.SLOTS + R_R11);
  w.i32(SYSRET_FLAGS);
  w.op(OP.i32_and);
  w.set(I);
  setFlags(w);
  charge(w, A.ACCOUNT_KERNEL);
  put(w, A.CPL, () => w.i32(3));
  setSegments(
    w,
    () => {
      word(w, A.MSR_STAR + 4);
      w.i32(16);
      w.op(OP.i32_shr_u);
    },
    16,
    8,
    3,
  );
  put(w, A.TLB_BASE, () => w.i32(A.DTLB + A.VIEW_USER * A.TLB_VIEW_BYTES));
  forgetFetchPage(w);
  w.get(X);
  w.set(RIPL);
}

/**
 * STI. The shadow keeps interrupts off until after the next instruction. It can be left out where nothing waits, and where
 * neither the cut behind STI nor the one behind the next instruction, a cycle later, ends the slice.
 */
export function fastSti(e: InterpreterEmitter, slow: Label): void {
  const { w } = e;
  aboveIopl(e);
  w.brIf(slow);
  word(w, A.RFLAGS_SYS);
  w.tee(I);
  w.i32(FLAG_IF);
  w.op(OP.i32_and, OP.i32_eqz);
  w.if();
  word(w, A.EVENTS_WAIT);
  w.brIf(slow);
  word(w, A.REMAINING);
  w.i32(2);
  w.op(OP.i32_le_s);
  w.brIf(slow);
  put(w, A.RFLAGS_SYS, () => {
    w.get(I);
    w.i32(FLAG_IF);
    w.op(OP.i32_or);
  });
  w.end();
}

/** STAC (`set`) and CLAC at level 0. */
export function fastAc(e: InterpreterEmitter, slow: Label, set: boolean): void {
  const { w } = e;
  word(w, A.CPL);
  w.brIf(slow);
  put(w, A.RFLAGS_SYS, () => {
    word(w, A.RFLAGS_SYS);
    w.i32(set ? FLAG_AC : ~FLAG_AC);
    w.op(set ? OP.i32_or : OP.i32_and);
  });
  superviseWith(w, () => (set ? w.i32(0) : pushSmap(e)));
}

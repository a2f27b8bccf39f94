/**
 * The flag words (arena.ts CC_*) of integer operations, and the lazy form in which translated code keeps them: the operation, two of
 * its operands and results, and words of their own for what other operations left behind.
 *
 *   CC_K = 0: the words CC_Z .. CC_A hold. Otherwise kind << 2 | size, and which words stand apart:
 *     K_ADD, K_SUB   CC_1 = y, CC_2 = result, of x + y and x - y
 *     K_CMP          CC_1 = x, CC_2 = y
 *     K_LOGIC, K_INC, K_DEC   CC_2 = result
 *     K_WORDS        CC_1 = CC_A, CC_2 = result sign-extended to 64 bits, CC_S and CC_Z
 *     K_OWN_C, K_OWN_O, K_OWN_Z   CC_C, CC_O, CC_Z are in CC_OWN_C ... whatever the operation is; always so for C of K_INC and K_DEC, and
 *     for C and O of K_WORDS
 */
import * as A from "../arena.ts";
import { type Assembler, MEM, OP } from "./assembler.ts";
import type { Emitter } from "./emitter.ts";

export const K_ADD = 1;
export const K_SUB = 2;
export const K_CMP = 3;
export const K_LOGIC = 4;
export const K_INC = 5;
export const K_DEC = 6;
export const K_WORDS = 7;
/** Not kept: the words are made at once. */
export const K_ADC = 8;
export const K_SBB = 9;
export const K_OWN_C = 0x100;
export const K_OWN_O = 0x200;
export const K_OWN_Z = 0x400;

/** Locals that hold the operands, zero-extended from their size, and the result, with any garbage above it but the carry of 8 and 16 bits. */
export interface Operands {
  readonly x: number;
  readonly y: number;
  readonly r: number;
}

/** Pushes flag word `word` of operation `kind`. Of INC and DEC, which keep it, there is no CC_C. */
export function pushFlag(e: Emitter, word: number, kind: number, sz: number, of: Operands): void {
  const { w } = e;
  if (word === A.CC_Z || word === A.CC_S) {
    w.get(of.r);
    e.signExtend(sz);
  } else if (kind === K_LOGIC) w.i64(0);
  else if (word === A.CC_C) carry(e, kind, sz, of);
  else if (word === A.CC_O) overflow(e, kind, sz, of);
  else adjust(w, kind, of);
}

/** Operands are zero-extended, so of 8 and 16 bits the carry of an addition is bit n of r, and a borrow makes r negative. */
function carry(e: Emitter, kind: number, sz: number, { x, y, r }: Operands): void {
  const { w } = e;
  if (sz < 2) {
    w.get(r);
    if (kind === K_ADD || kind === K_ADC) {
      w.i64(63 - (8 << sz));
      w.op(OP.i64_shl);
    }
  } else if (kind === K_ADC) {
    // (x & y) | ((x | y) & ~r): the top bit is the carry out.
    w.get(x);
    w.get(y);
    w.op(OP.i64_and);
    w.get(x);
    w.get(y);
    w.op(OP.i64_or);
    w.get(r);
    w.i64(-1);
    w.op(OP.i64_xor, OP.i64_and, OP.i64_or);
    e.toTop(sz);
  } else if (kind === K_SBB) {
    // (~x & y) | (~(x ^ y) & r)
    w.get(x);
    w.i64(-1);
    w.op(OP.i64_xor);
    w.get(y);
    w.op(OP.i64_and);
    w.get(x);
    w.get(y);
    w.op(OP.i64_xor);
    w.i64(-1);
    w.op(OP.i64_xor);
    w.get(r);
    w.op(OP.i64_and, OP.i64_or);
    e.toTop(sz);
  } else {
    if (kind === K_ADD) {
      w.get(r);
      w.get(x);
    } else {
      w.get(x);
      w.get(y);
    }
    w.op(OP.i64_lt_u, OP.i64_extend_i32_u);
    w.i64(63);
    w.op(OP.i64_shl);
  }
}

/** The operands of an addition have the same sign and the result another; those of a subtraction different ones, and so x and r. */
function overflow(e: Emitter, kind: number, sz: number, { x, y, r }: Operands): void {
  const { w } = e;
  if (kind === K_INC || kind === K_DEC) {
    // y = 1: x >= 0 and r < 0, (x ^ r) & r; x < 0 and r >= 0, (x ^ r) & x.
    w.get(x);
    w.get(r);
    w.op(OP.i64_xor);
    w.get(kind === K_INC ? r : x);
  } else {
    w.get(x);
    w.get(kind === K_ADD || kind === K_ADC ? r : y);
    w.op(OP.i64_xor);
    w.get(kind === K_ADD || kind === K_ADC ? y : x);
    w.get(r);
    w.op(OP.i64_xor);
  }
  w.op(OP.i64_and);
  e.toTop(sz);
}

function adjust(w: Assembler, kind: number, { x, y, r }: Operands): void {
  w.get(x);
  if (kind === K_INC || kind === K_DEC) w.i64(1);
  else w.get(y);
  w.op(OP.i64_xor);
  w.get(r);
  w.op(OP.i64_xor);
}

/** Stores the words of operation `kind`; of INC and DEC all but CC_C. */
export function storeFlags(e: Emitter, kind: number, sz: number, of: Operands): void {
  for (const word of kind === K_INC || kind === K_DEC ? [A.CC_O, A.CC_A] : [A.CC_C, A.CC_O, A.CC_A]) {
    e.openFlag(word);
    pushFlag(e, word, kind, sz, of);
    e.closeFlag(word);
  }
  e.flagsOfResult(of.r, sz);
}

/** Locals x, y, r = operands and result of the lazy form: `first` and `second` push CC_1 and CC_2. */
export function unpack(e: Emitter, kind: number, sz: number, first: () => void, second: () => void): void {
  const { w, l } = e;
  const set = (local: number, push: () => void): void => {
    push();
    w.set(local);
  };
  if (kind === K_CMP) {
    set(l.x, first);
    set(l.y, second);
    w.get(l.x);
    w.get(l.y);
    w.op(OP.i64_sub);
    w.set(l.r);
    return;
  }
  set(l.r, second);
  if (kind === K_LOGIC) return;
  if (kind === K_INC || kind === K_DEC) w.i64(1);
  else first();
  w.set(l.y);
  w.get(l.r);
  w.get(l.y);
  w.op(kind === K_ADD || kind === K_INC ? OP.i64_sub : OP.i64_add);
  e.zeroExtend(sz);
  w.set(l.x);
}

/** A function without parameters that makes the words of the lazy form in memory, if there is one. `e` keeps flags in memory. */
export function settleFlags(e: Emitter): void {
  const { w } = e;
  const load = (cell: number): void => {
    w.i32(0);
    w.mem(MEM.i64_load, cell);
  };
  const copy = (word: number, cell: number): void => {
    e.openFlag(word);
    load(cell);
    e.closeFlag(word);
  };
  const kind = (): void => {
    w.i32(0);
    w.mem(MEM.i32_load, A.CC_K);
  };
  const done = w.block();
  kind();
  w.op(OP.i32_eqz);
  w.brIf(done);
  const apart = w.block();
  const cases = Array.from({ length: (K_WORDS + 1) << 2 }, () => w.block()).reverse();
  kind();
  w.i32(0xff);
  w.op(OP.i32_and);
  w.brTable(cases, apart);
  for (let n = 0; n < cases.length; n++) {
    w.end();
    const [k, sz] = [n >> 2, n & 3];
    if (k === K_WORDS) {
      copy(A.CC_A, A.CC_1);
      copy(A.CC_S, A.CC_2);
      copy(A.CC_Z, A.CC_2);
    } else if (k !== 0) {
      unpack(
        e,
        k,
        sz,
        () => load(A.CC_1),
        () => load(A.CC_2),
      );
      storeFlags(e, k, sz, e.l);
    }
    w.br(apart);
  }
  w.end();
  for (const [bit, word, cell] of [
    [K_OWN_C, A.CC_C, A.CC_OWN_C],
    [K_OWN_O, A.CC_O, A.CC_OWN_O],
    [K_OWN_Z, A.CC_Z, A.CC_OWN_Z],
  ] as const) {
    kind();
    w.i32(bit);
    w.op(OP.i32_and);
    w.if();
    copy(word, cell);
    w.end();
  }
  w.i32(0);
  w.i32(0);
  w.mem(MEM.i32_store, A.CC_K);
  w.end();
}

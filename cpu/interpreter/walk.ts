/**
 * Walks of 4-level paging over cached second-level translations without TypeScript. What is rare (a second level that is not in the caches, a
 * page that is not RAM or has attributes) changes nothing here and is done by mmu/walker.ts, which says what all of this means; the
 * reference knows that alone. A and D bits, counts and recorded faults are the same.
 */

import * as A from "../arena.ts";
import { FAULT_HAS_ERROR, VEC_PF } from "../core.ts";
import { Assembler, type FunctionBody, I32, I64, type Label, MEM, OP } from "../emit/assembler.ts";
import { IMPORTS } from "../emit/emitter.ts";
import { add, put, word } from "../emit/words.ts";
import { RIGHT_DIRTY, RIGHT_FETCH, RIGHT_READ, RIGHT_WRITE } from "../mmu/nested.ts";
import { WALK_NESTED, WALK_NESTED_AD, WALK_SMEP, WALK_WP } from "../mmu/quick.ts";
import { ACCESS_FETCH, ACCESS_WRITE, PHYSICAL_BITS } from "../mmu/state.ts";
import { PF_P, PF_RSVD, PF_U, PF_W, PTE_A, PTE_D, PTE_P, PTE_PS, PTE_U, PTE_W } from "../mmu/walker.ts";

/** Index in the interpreter's module (generate.ts). */
export const WALK: number = IMPORTS.length + 7;
/** What `walk` answers besides the arena address of a page. */
const WALK_NOT_DONE = 0;
export const WALK_FAULT = 1;

/** Bytes of an entry of A.WALK_ENTRIES. */
const CELL_BYTES = 8;
const WRITABLE: number = RIGHT_WRITE | RIGHT_DIRTY;
const ALL_RIGHTS: number = RIGHT_READ | WRITABLE | RIGHT_FETCH;
const FRAME_MASK: number = 2 ** (PHYSICAL_BITS - 12) - 1;

/** Pushes whether the i32 that was pushed has one of `bits`. */
export function has(w: Assembler, bits: number): void {
  w.i32(bits);
  w.op(OP.i32_and);
}

export function answerIf(w: Assembler, answer: number): void {
  w.unlikely();
  w.if();
  w.i32(answer);
  w.op(OP.return);
  w.end();
}

/** Pushes the attributes of the frame of the arena address in local `at`. */
export function frameAttributes(w: Assembler, at: number): void {
  w.get(at);
  word(w, A.RAM_AT);
  w.op(OP.i32_sub);
  w.i32(12);
  w.op(OP.i32_shr_u);
  w.mem(MEM.i32_load8_u, A.FRAMES);
}

// ---- the walk -----------------------------------------------------------------------------------------------------------

/** Locals of `walk`: parameters, i32s, i64s. */
const LIN = 0;
const KIND = 1;
const FRAME = 2;
const PAGE = 3;
const RIGHTS = 4;
const AT = 5;
const CELL = 6;
const RULES = 7;
const NEEDED = 8;
const SLOT = 9;
const BITS = 10;
const USER = 11;
const SHIFT = 12;
const ENTRY = 13;
/** All entries ANDed, and ORed. */
const ALL = 14;
const ANY = 15;
const WALK_LOCALS: readonly number[] = [I32, I32, I32, I32, I32, I32, I32, I32, I32, I32, I64, I64, I64, I64];

/** frameToMachine (mmu/nested.ts): PAGE and RIGHTS of guest frame FRAME, if it has those NEEDED. */
function toMachine(w: Assembler, slow: Label): void {
  const slot = (shift: number): void => {
    w.get(FRAME);
    if (shift > 0) {
      w.i32(shift);
      w.op(OP.i32_shr_u);
    }
    w.tee(BITS);
    w.i32(A.NESTED_ENTRIES - 1);
    w.op(OP.i32_and);
    w.i32(2);
    w.op(OP.i32_shl);
    word(w, A.WALK_NESTED_AT);
    w.op(OP.i32_add);
    w.tee(SLOT);
  };
  /** Pushes whether RIGHTS, loaded from `entry` of SLOT, lacks one. */
  const lacks = (entry: number): void => {
    w.get(SLOT);
    w.mem(MEM.i32_load, entry);
    w.tee(RIGHTS);
    w.get(NEEDED);
    w.op(OP.i32_and);
    w.get(NEEDED);
    w.op(OP.i32_ne);
  };
  /** Pushes whether the tag at `tag` of SLOT is another. */
  const differs = (tag: number): void => {
    w.mem(MEM.i32_load, tag);
    w.get(BITS);
    w.i32(1);
    w.op(OP.i32_add, OP.i32_ne);
  };
  const pageOfRights = (): void => {
    w.get(RIGHTS);
    w.i32(-4096);
    w.op(OP.i32_and);
  };
  const done = w.block();
  w.get(RULES);
  has(w, WALK_NESTED);
  w.op(OP.i32_eqz);
  w.if();
  w.get(FRAME);
  word(w, A.RAM_FRAMES);
  w.op(OP.i32_ge_u);
  w.unlikely();
  w.brIf(slow);
  w.get(FRAME);
  w.i32(12);
  w.op(OP.i32_shl);
  word(w, A.RAM_AT);
  w.op(OP.i32_add);
  w.set(PAGE);
  w.i32(ALL_RIGHTS);
  w.set(RIGHTS);
  w.br(done);
  w.end();
  const small = w.block();
  slot(9);
  differs(A.NESTED_LARGE_TAG);
  w.brIf(small);
  lacks(A.NESTED_LARGE_ENTRY);
  w.brIf(small);
  pageOfRights();
  w.get(FRAME);
  w.i32(511);
  w.op(OP.i32_and);
  w.i32(12);
  w.op(OP.i32_shl, OP.i32_add);
  w.set(PAGE);
  w.br(done);
  w.end();
  slot(0);
  differs(A.NESTED_TAG);
  w.unlikely();
  w.brIf(slow);
  lacks(A.NESTED_ENTRY);
  w.unlikely();
  w.brIf(slow);
  pageOfRights();
  w.set(PAGE);
  w.end();
}

/** Goes over the entries, to the leaf in ENTRY with the page's size in SHIFT. Branches to `fault` with BITS of its error code. */
function descend(w: Assembler, slow: Label, fault: Label): void {
  const faultIf = (bits: number): void => {
    w.unlikely();
    w.if();
    w.i32(bits);
    w.set(BITS);
    w.br(fault);
    w.end();
  };
  const leaf = w.block();
  const level = w.loop();
  toMachine(w, slow);
  w.get(PAGE);
  w.get(LIN);
  w.get(SHIFT);
  w.op(OP.i64_shr_u, OP.i32_wrap_i64);
  w.i32(511);
  w.op(OP.i32_and);
  w.i32(3);
  w.op(OP.i32_shl, OP.i32_add);
  w.set(AT);
  w.get(CELL);
  w.get(AT);
  w.mem(MEM.i32_store, 0);
  w.get(CELL);
  w.get(RIGHTS);
  w.mem(MEM.i32_store, 4);
  w.get(AT);
  w.mem(MEM.i64_load, 0);
  w.tee(ENTRY);
  w.get(ALL);
  w.op(OP.i64_and);
  w.set(ALL);
  w.get(ENTRY);
  w.get(ANY);
  w.op(OP.i64_or);
  w.set(ANY);
  w.get(ENTRY);
  w.op(OP.i32_wrap_i64);
  has(w, PTE_P);
  w.op(OP.i32_eqz);
  faultIf(0);
  w.get(ENTRY);
  w.i32(0);
  w.mem(MEM.i64_load, A.WALK_RESERVED);
  w.op(OP.i64_and, OP.i64_eqz, OP.i32_eqz);
  faultIf(PF_P | PF_RSVD);
  w.get(ENTRY);
  w.i64(12);
  w.op(OP.i64_shr_u, OP.i32_wrap_i64);
  w.i32(FRAME_MASK);
  w.op(OP.i32_and);
  w.set(FRAME);
  w.get(SHIFT);
  w.i64(12);
  w.op(OP.i64_eq);
  w.brIf(leaf);
  w.get(ENTRY);
  w.op(OP.i32_wrap_i64);
  has(w, PTE_PS);
  w.if();
  // Level 4 has no pages; of a page's address the lower bits are reserved, but for PAT.
  w.get(SHIFT);
  w.i64(39);
  w.op(OP.i64_eq);
  w.get(ENTRY);
  w.i64(1);
  w.get(SHIFT);
  w.op(OP.i64_shl);
  w.i64(0x2000);
  w.op(OP.i64_sub, OP.i64_and, OP.i64_eqz, OP.i32_eqz, OP.i32_or);
  faultIf(PF_P | PF_RSVD);
  w.br(leaf);
  w.end();
  w.get(CELL);
  w.i32(CELL_BYTES);
  w.op(OP.i32_add);
  w.set(CELL);
  w.get(SHIFT);
  w.i64(9);
  w.op(OP.i64_sub);
  w.set(SHIFT);
  w.br(level);
  w.end();
  w.end();
}

/** allowed (mmu/walker.ts). */
function checkRights(w: Assembler, fault: Label): void {
  const refuse = (): void => {
    w.unlikely();
    w.brIf(fault);
  };
  const lacks = (bit: number): void => {
    w.get(ALL);
    w.op(OP.i32_wrap_i64);
    has(w, bit);
    w.op(OP.i32_eqz);
  };
  const rule = (bit: number): void => {
    w.get(RULES);
    has(w, bit);
  };
  w.i32(PF_P);
  w.set(BITS);
  w.get(KIND);
  w.i32(ACCESS_FETCH);
  w.op(OP.i32_eq);
  w.if();
  w.get(ANY);
  w.i64(0);
  w.op(OP.i64_lt_s);
  refuse();
  w.end();
  w.get(USER);
  w.if();
  lacks(PTE_U);
  refuse();
  w.get(KIND);
  w.i32(ACCESS_WRITE);
  w.op(OP.i32_eq);
  lacks(PTE_W);
  w.op(OP.i32_and);
  refuse();
  w.else();
  lacks(PTE_U);
  w.op(OP.i32_eqz);
  w.if();
  w.get(KIND);
  w.i32(ACCESS_FETCH);
  w.op(OP.i32_eq);
  w.if(I32);
  rule(WALK_SMEP);
  w.else();
  word(w, A.TLB_BASE);
  w.i32(A.DTLB + A.VIEW_SUPERVISOR_SMAP * A.TLB_VIEW_BYTES);
  w.op(OP.i32_eq);
  w.end();
  refuse();
  w.end();
  w.get(KIND);
  w.i32(ACCESS_WRITE);
  w.op(OP.i32_eq);
  w.if();
  lacks(PTE_W);
  w.if();
  rule(WALK_WP);
  refuse();
  w.end();
  w.end();
  w.end();
}

/** PAGE and RIGHTS of the access itself, whose leaf points to FRAME. */
function finish(w: Assembler, slow: Label): void {
  w.get(SHIFT);
  w.i64(12);
  w.op(OP.i64_ne);
  w.if();
  // Of a large page, the frame within it comes from the address. It must be known that there is one: see noteLarge of mmu/tlb.ts.
  w.get(SHIFT);
  w.i64(21);
  w.op(OP.i64_ne);
  w.brIf(slow);
  const outside = (min: number, max: number): void => {
    const region = (): void => {
      w.get(LIN);
      w.i64(21);
      w.op(OP.i64_shr_u, OP.f64_convert_i64_u);
      w.i32(0);
    };
    region();
    w.mem(MEM.f64_load, min);
    w.op(OP.f64_lt);
    region();
    w.mem(MEM.f64_load, max);
    w.op(OP.f64_gt, OP.i32_or);
  };
  w.get(LIN);
  w.i64(0);
  w.op(OP.i64_lt_s);
  w.if(I32);
  outside(A.LARGE_HIGH_MIN, A.LARGE_HIGH_MAX);
  w.else();
  outside(A.LARGE_LOW_MIN, A.LARGE_LOW_MAX);
  w.end();
  w.unlikely();
  w.brIf(slow);
  w.get(FRAME);
  w.i32(-512);
  w.op(OP.i32_and);
  w.get(LIN);
  w.i64(12);
  w.op(OP.i64_shr_u, OP.i32_wrap_i64);
  w.i32(511);
  w.op(OP.i32_and, OP.i32_or);
  w.set(FRAME);
  w.end();
  w.i32(WRITABLE);
  w.i32(RIGHT_FETCH);
  w.i32(RIGHT_READ);
  w.get(KIND);
  w.i32(ACCESS_FETCH);
  w.op(OP.i32_eq, OP.select);
  w.get(KIND);
  w.i32(ACCESS_WRITE);
  w.op(OP.i32_eq, OP.select);
  w.set(NEEDED);
  toMachine(w, slow);
  // A frame with attributes: fillData and dropCode of mmu.
  w.get(KIND);
  w.i32(ACCESS_FETCH);
  w.op(OP.i32_ne);
  w.if();
  frameAttributes(w, PAGE);
  w.i32(0xff);
  w.i32(A.FRAME_MMIO | A.FRAME_WATCH);
  w.get(KIND);
  w.i32(ACCESS_WRITE);
  w.op(OP.i32_eq, OP.select, OP.i32_and);
  w.unlikely();
  w.brIf(slow);
  w.end();
}

/** Sets the A bits of all entries, and the leaf's D bit for a write: markUsed (mmu/walker.ts). First, whether all may be written. */
function markUsed(w: Assembler, slow: Label): void {
  const isWrite = (): void => {
    w.get(KIND);
    w.i32(ACCESS_WRITE);
    w.op(OP.i32_eq);
  };
  /** Pushes what the low word of the entry of cell SLOT is to be; AT is its address. */
  const marked = (): void => {
    w.get(SLOT);
    w.mem(MEM.i32_load, 0);
    w.tee(AT);
    w.mem(MEM.i32_load, 0);
    w.i32(PTE_A | PTE_D);
    w.i32(PTE_A);
    w.get(SLOT);
    w.get(CELL);
    w.op(OP.i32_eq);
    isWrite();
    w.op(OP.i32_and, OP.select, OP.i32_or);
  };
  const eachCell = (body: () => void): void => {
    w.i32(A.WALK_ENTRIES);
    w.set(SLOT);
    const next = w.loop();
    body();
    w.get(SLOT);
    w.i32(CELL_BYTES);
    w.op(OP.i32_add);
    w.tee(SLOT);
    w.get(CELL);
    w.op(OP.i32_le_u);
    w.brIf(next);
    w.end();
  };
  w.get(ALL);
  w.op(OP.i32_wrap_i64);
  has(w, PTE_A);
  w.op(OP.i32_eqz);
  w.get(ENTRY);
  w.op(OP.i32_wrap_i64);
  has(w, PTE_D);
  w.op(OP.i32_eqz);
  isWrite();
  w.op(OP.i32_and, OP.i32_or);
  w.unlikely();
  w.if();
  eachCell(() => {
    marked();
    w.get(AT);
    w.mem(MEM.i32_load, 0);
    w.op(OP.i32_ne);
    w.if();
    frameAttributes(w, AT);
    w.brIf(slow);
    w.get(SLOT);
    w.mem(MEM.i32_load, 4);
    w.i32(WRITABLE);
    w.op(OP.i32_and);
    w.i32(WRITABLE);
    w.op(OP.i32_ne);
    w.brIf(slow);
    w.end();
  });
  eachCell(() => {
    marked();
    w.set(NEEDED);
    w.get(AT);
    w.get(NEEDED);
    w.mem(MEM.i32_store, 0);
  });
  w.end();
}

/**
 * walk(linear address, ACCESS_*): arena address of the 4 KiB page, with WALK_SHIFT and WALK_WRITABLE; WALK_FAULT with a #PF recorded, but not for
 * a fetch; or WALK_NOT_DONE.
 */
export function walkFunction(): FunctionBody {
  const w = new Assembler();
  const slow = w.block();
  const fault = w.block();
  word(w, A.WALK);
  w.set(RULES);
  w.get(KIND);
  w.i32(ACCESS_FETCH);
  w.op(OP.i32_eq);
  w.if(I32);
  word(w, A.CPL);
  w.i32(3);
  w.op(OP.i32_eq);
  w.else();
  word(w, A.TLB_BASE);
  w.i32(A.DTLB + A.VIEW_USER * A.TLB_VIEW_BYTES);
  w.op(OP.i32_eq);
  w.end();
  w.set(USER);
  // CR3 has bits 51..12 of an address, of which there are not so many.
  w.i32(0);
  w.mem(MEM.i64_load, A.CR3);
  w.i64(12);
  w.op(OP.i64_shl);
  w.i64(24);
  w.op(OP.i64_shr_u);
  w.tee(ENTRY);
  w.i64(FRAME_MASK);
  w.op(OP.i64_gt_u);
  w.brIf(slow);
  w.get(ENTRY);
  w.op(OP.i32_wrap_i64);
  w.set(FRAME);
  w.i32(WRITABLE);
  w.i32(RIGHT_READ);
  w.get(RULES);
  has(w, WALK_NESTED_AD);
  w.op(OP.select);
  w.set(NEEDED);
  w.i32(A.WALK_ENTRIES);
  w.set(CELL);
  w.i64(39);
  w.set(SHIFT);
  w.i64(-1);
  w.set(ALL);
  descend(w, slow, fault);
  checkRights(w, fault);
  finish(w, slow);
  markUsed(w, slow);
  add(w, A.COUNT_WALK, 1);
  put(w, A.WALK_SHIFT, () => {
    w.get(SHIFT);
    w.op(OP.i32_wrap_i64);
  });
  // A write needs nothing more: the D bit is set, and all say that it may.
  put(w, A.WALK_WRITABLE, () => {
    w.get(ENTRY);
    w.op(OP.i32_wrap_i64);
    has(w, PTE_D);
    w.get(KIND);
    w.i32(ACCESS_WRITE);
    w.op(OP.i32_eq, OP.i32_or);
    w.i32(0);
    w.op(OP.i32_ne);
    w.get(ALL);
    w.op(OP.i32_wrap_i64);
    has(w, PTE_W);
    w.get(USER);
    w.get(RULES);
    has(w, WALK_WP);
    w.op(OP.i32_or, OP.i32_eqz, OP.i32_or);
    w.i32(0);
    w.op(OP.i32_ne, OP.i32_and);
    w.get(RIGHTS);
    w.i32(WRITABLE);
    w.op(OP.i32_and);
    w.i32(WRITABLE);
    w.op(OP.i32_eq, OP.i32_and);
  });
  w.get(PAGE);
  w.op(OP.return);
  w.end();
  // A fault: pageFault of mmu/walker.ts. One of a fetch is found again by who records it.
  w.get(KIND);
  w.i32(ACCESS_FETCH);
  w.op(OP.i32_eq);
  w.brIf(slow);
  add(w, A.COUNT_WALK, 1);
  w.i32(0);
  w.get(LIN);
  w.mem(MEM.i64_store, A.EXIT_GLA);
  put(w, A.FAULT_VECTOR, () => w.i32(VEC_PF));
  put(w, A.FAULT_ERROR, () => {
    w.get(BITS);
    w.i32(PF_U);
    w.i32(0);
    w.get(USER);
    w.op(OP.select, OP.i32_or);
    w.i32(PF_W);
    w.i32(0);
    w.get(KIND);
    w.i32(ACCESS_WRITE);
    w.op(OP.i32_eq, OP.select, OP.i32_or);
  });
  put(w, A.FAULT_FLAGS, () => w.i32(FAULT_HAS_ERROR));
  w.i32(WALK_FAULT);
  w.op(OP.return);
  w.end();
  w.i32(WALK_NOT_DONE);
  return {
    name: "walk",
    type: { params: [I64, I32], results: [I32] },
    locals: WALK_LOCALS,
    code: w.bytes.slice(0, w.length),
    hints: w.hints,
  };
}

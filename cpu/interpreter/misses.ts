/**
 * TLB misses without TypeScript: the accesses and fetches that need a walk (walk.ts), and the filling of the TLBs. What is rare (other paging,
 * an access that crosses pages, checks for alignment, data breakpoints, and what `walk` does not do) changes nothing here and is done by
 * mmu/access.ts; the reference knows that alone. Counts and TLB entries are the same.
 */

import * as A from "../arena.ts";
import { Assembler, type FunctionBody, I32, I64, MEM, OP } from "../emit/assembler.ts";
import { IMPORT_READ, IMPORT_RMW, IMPORT_WRITE } from "../emit/emitter.ts";
import { add, notCanonical, put, word } from "../emit/words.ts";
import { ACCESS_FETCH } from "../mmu/state.ts";
import { SEVERAL, TLB_ATTR_WRITABLE } from "../mmu/tlb.ts";
import { H_FAULT, H_OK } from "../uops/uop.ts";
import { fetchEntry } from "./fetch-tlb.ts";
import { answerIf, frameAttributes, has, WALK, WALK_FAULT, walkFunction } from "./walk.ts";

/** What `access` and `fetch` answer when they have done nothing. */
export const NOT_DONE = -1;

/** Indices in the interpreter's module (generate.ts), behind WALK. */
const NOTE_TAG: number = WALK + 1;
export const ACCESS: number = WALK + 2;
export const FETCH: number = WALK + 3;
export const SLOW: number = WALK + 4;
export const MISS_FUNCTIONS = 5;

const V128_LOAD = 0x00;
const V128_STORE = 0x0b;

/** noteWriteTag(page, entry) of mmu/tlb.ts, with arena addresses. */
function noteTagCode(): Assembler {
  const w = new Assembler();
  const [page, entry, places, known] = [0, 1, 2, 3];
  /** Pushes whether entry `known`, loaded from place `at`, still has a write tag of the page. */
  const isWriteTag = (at: number): void => {
    w.get(places);
    w.mem(MEM.i32_load, at);
    w.tee(known);
    w.op(OP.i32_eqz);
    w.if(I32);
    w.i32(0);
    w.else();
    w.get(known);
    w.i32(2);
    w.op(OP.i32_shl);
    w.tee(known);
    w.mem(MEM.i32_load, A.TLB_WRITE);
    w.i32(0);
    w.op(OP.i32_ne);
    w.get(known);
    w.mem(MEM.i32_load, A.TLB_READ);
    w.i32(-4096);
    w.op(OP.i32_and);
    w.get(known);
    w.mem(MEM.i32_load, A.TLB_ADDEND);
    w.op(OP.i32_add);
    w.get(page);
    w.op(OP.i32_eq, OP.i32_and);
    w.end();
  };
  const place = (at: number, push: () => void): void => {
    w.get(places);
    push();
    w.mem(MEM.i32_store, at);
    w.op(OP.return);
  };
  const index = (): void => {
    w.get(entry);
    w.i32(2);
    w.op(OP.i32_shr_u);
  };
  w.get(page);
  word(w, A.RAM_AT);
  w.op(OP.i32_sub);
  w.i32(9);
  w.op(OP.i32_shr_u);
  word(w, A.WRITE_TAGGED_AT);
  w.op(OP.i32_add);
  w.tee(places);
  w.mem(MEM.i32_load, 0);
  w.tee(known);
  index();
  w.op(OP.i32_eq);
  w.get(places);
  w.mem(MEM.i32_load, 4);
  index();
  w.op(OP.i32_eq, OP.i32_or);
  w.get(known);
  w.i32(SEVERAL);
  w.op(OP.i32_eq, OP.i32_or);
  w.if();
  w.op(OP.return);
  w.end();
  for (const at of [0, 4]) {
    isWriteTag(at);
    w.op(OP.i32_eqz);
    w.if();
    place(at, index);
    w.end();
  }
  place(0, () => w.i32(SEVERAL));
  return w;
}

/** Pushes the page of the address in i64 local `lin` with the number of the context. */
function tag(w: Assembler, lin: number): void {
  w.get(lin);
  w.i64(-4096);
  w.op(OP.i64_and);
  w.i32(0);
  w.mem(MEM.i64_load32_u, A.TLB_CTX);
  w.op(OP.i64_or);
}

/** Answers NOT_DONE unless walks are to be done, and the address in i64 local `lin` is canonical. */
function unlessUsual(w: Assembler, lin: number): void {
  word(w, A.WALK);
  w.op(OP.i32_eqz);
  answerIf(w, NOT_DONE);
  notCanonical(w, lin);
  answerIf(w, NOT_DONE);
}

/** Answers what the walk whose result is in local `page` came to, unless that is a page. */
function unlessPage(w: Assembler, page: number, onFault: () => void): void {
  w.get(page);
  w.i32(WALK_FAULT);
  w.op(OP.i32_le_u);
  w.unlikely();
  w.if();
  w.get(page);
  w.op(OP.i32_eqz);
  answerIf(w, NOT_DONE);
  onFault();
  w.i32(H_FAULT);
  w.op(OP.return);
  w.end();
}

/**
 * access(IMPORT_READ, WRITE or RMW, bytes): what readSlow, writeSlow and rmwSlow of mmu/access.ts do for 1, 2, 4, 8, 16 or 32 bytes at
 * ACCESS_LIN that no TLB has. H_OK, H_FAULT or NOT_DONE.
 */
function accessCode(): Assembler {
  const w = new Assembler();
  const [access, bytes, entry, page, isWrite, lin] = [0, 1, 2, 3, 4, 5];
  w.i32(0);
  w.mem(MEM.i64_load, A.ACCESS_LIN);
  w.set(lin);
  unlessUsual(w, lin);
  w.get(lin);
  w.op(OP.i32_wrap_i64);
  w.i32(0xfff);
  w.op(OP.i32_and);
  w.get(bytes);
  w.op(OP.i32_add);
  w.i32(A.PAGE_SIZE);
  w.op(OP.i32_gt_u);
  answerIf(w, NOT_DONE);
  w.get(access);
  w.i32(IMPORT_READ);
  w.op(OP.i32_ne);
  w.set(isWrite);
  word(w, A.TLB_BASE);
  w.get(lin);
  w.i64(12 - A.TLB_ENTRY_SHIFT);
  w.op(OP.i64_shr_u, OP.i32_wrap_i64);
  w.i32((A.TLB_ENTRIES - 1) << A.TLB_ENTRY_SHIFT);
  w.op(OP.i32_and, OP.i32_add);
  w.tee(entry);
  // The page is there, and something else is in the way: no miss.
  w.mem(MEM.i64_load, A.TLB_READ);
  tag(w, lin);
  w.op(OP.i64_eq);
  w.if();
  w.get(isWrite);
  w.op(OP.i32_eqz);
  w.get(entry);
  w.mem(MEM.i32_load, A.TLB_ATTR);
  has(w, TLB_ATTR_WRITABLE);
  w.op(OP.i32_or);
  answerIf(w, NOT_DONE);
  w.end();
  w.get(lin);
  w.get(isWrite);
  w.call(WALK);
  w.set(page);
  unlessPage(w, page, () => add(w, A.COUNT_DTLB_MISS, 1));
  add(w, A.COUNT_DTLB_MISS, 1);
  fillData(w, lin, page, entry);
  // PAGE becomes the place.
  w.get(page);
  w.get(lin);
  w.op(OP.i32_wrap_i64);
  w.i32(0xfff);
  w.op(OP.i32_and, OP.i32_add);
  w.set(page);
  w.get(access);
  w.i32(IMPORT_WRITE);
  w.op(OP.i32_eq);
  w.if();
  copy(
    w,
    bytes,
    () => w.i32(A.BUS_DATA),
    () => w.get(page),
  );
  w.else();
  for (const half of [0, 8]) {
    w.i32(A.BUS_DATA);
    w.i64(0);
    w.mem(MEM.i64_store, half);
  }
  copy(
    w,
    bytes,
    () => w.get(page),
    () => w.i32(A.BUS_DATA),
  );
  w.end();
  w.i32(H_OK);
  return w;
}

/** fillData of mmu/tlb.ts: `entry` gets what the walk has found for `lin`. A page to be written has no attributes, one to be read may. */
function fillData(w: Assembler, lin: number, page: number, entry: number): void {
  w.get(entry);
  tag(w, lin);
  w.mem(MEM.i64_store, A.TLB_READ);
  w.get(entry);
  w.i64(0);
  w.mem(MEM.i64_store, A.TLB_WRITE);
  word(w, A.WALK_WRITABLE);
  w.if();
  frameAttributes(w, page);
  w.op(OP.i32_eqz);
  w.if();
  w.get(page);
  w.get(entry);
  w.call(NOTE_TAG);
  w.get(entry);
  tag(w, lin);
  w.mem(MEM.i64_store, A.TLB_WRITE);
  w.end();
  w.end();
  w.get(entry);
  w.get(page);
  w.get(lin);
  w.op(OP.i32_wrap_i64);
  w.i32(-4096);
  w.op(OP.i32_and, OP.i32_sub);
  w.mem(MEM.i32_store, A.TLB_ADDEND);
  w.get(entry);
  word(w, A.WALK_SHIFT);
  word(w, A.WALK_WRITABLE);
  w.i32(Math.log2(TLB_ATTR_WRITABLE));
  w.op(OP.i32_shl, OP.i32_or);
  w.mem(MEM.i32_store, A.TLB_ATTR);
}

/** Copies as many bytes as local `bytes` says. */
function copy(w: Assembler, bytes: number, from: () => void, to: () => void): void {
  const done = w.block();
  const moves = [
    [8, MEM.i64_load, MEM.i64_store],
    [4, MEM.i32_load, MEM.i32_store],
    [1, MEM.i32_load8_u, MEM.i32_store8],
    [2, MEM.i32_load16_u, MEM.i32_store16],
  ] as const;
  for (const [size, load, store] of moves) {
    w.get(bytes);
    w.i32(size);
    w.op(OP.i32_eq);
    w.if();
    to();
    from();
    w.mem(load, 0);
    w.mem(store, 0);
    w.br(done);
    w.end();
  }
  const vector = (at: number): void => {
    to();
    from();
    w.simdMem(V128_LOAD, at);
    w.simdMem(V128_STORE, at);
  };
  vector(0);
  w.get(bytes);
  w.i32(32);
  w.op(OP.i32_eq);
  w.if();
  vector(16);
  w.end();
  w.end();
}

/** fetch(linear address): fetchSlow of mmu/access.ts for what the fetch TLB does not have. H_OK or NOT_DONE. */
function fetchCode(): Assembler {
  const w = new Assembler();
  const [lin, entry, page, old] = [0, 1, 2, 3];
  unlessUsual(w, lin);
  // A translation leaves the fetch TLB: newFetchEpoch. Where epochs begin anew there is more to do.
  fetchEntry(w, lin);
  w.tee(entry);
  w.mem(MEM.i32_load, A.FETCH_TLB);
  w.tee(old);
  w.if(I32);
  w.get(old);
  w.i32(0xfff);
  w.op(OP.i32_and);
  w.mem(MEM.i32_load8_u, A.CONTEXT_LIVE);
  w.else();
  w.i32(0);
  w.end();
  w.set(old);
  const epoch = (): void => {
    w.i32(0);
    w.mem(MEM.i64_load, A.FETCH_EPOCH);
    w.i64(2 ** A.FETCH_EPOCH_SHIFT);
    w.op(OP.i64_add);
  };
  epoch();
  w.op(OP.i64_eqz);
  answerIf(w, NOT_DONE);
  w.get(lin);
  w.i32(ACCESS_FETCH);
  w.call(WALK);
  w.tee(page);
  w.op(OP.i32_eqz);
  answerIf(w, NOT_DONE);
  add(w, A.COUNT_FETCH_MISS, 1);
  w.get(old);
  w.if();
  w.i32(0);
  epoch();
  w.mem(MEM.i64_store, A.FETCH_EPOCH);
  w.end();
  w.get(entry);
  tag(w, lin);
  w.mem(MEM.i64_store, A.FETCH_TLB);
  w.get(entry);
  w.get(page);
  w.mem(MEM.i32_store, A.FETCH_TLB + 8);
  w.get(entry);
  word(w, A.WALK_SHIFT);
  w.mem(MEM.i32_store, A.FETCH_TLB + 12);
  put(w, A.FETCH_ARENA, () => w.get(page));
  w.i32(0);
  w.get(lin);
  w.i64(-4096);
  w.op(OP.i64_and);
  w.mem(MEM.i64_store, A.FETCH_PAGE);
  w.i32(H_OK);
  return w;
}

/** slow(IMPORT_*, bytes, micro-op): `access`, or else the import. */
function slowCode(): Assembler {
  const w = new Assembler();
  const [access, bytes, uop, status] = [0, 1, 2, 3];
  const importIf = (target: number): void => {
    w.get(access);
    w.i32(target);
    w.op(OP.i32_eq);
    w.if();
    w.get(bytes);
    w.get(uop);
    w.call(target);
    w.op(OP.return);
    w.end();
  };
  w.get(access);
  w.get(bytes);
  w.call(ACCESS);
  w.tee(status);
  w.i32(NOT_DONE);
  w.op(OP.i32_ne);
  w.if();
  w.get(status);
  w.op(OP.return);
  w.end();
  importIf(IMPORT_READ);
  importIf(IMPORT_WRITE);
  w.get(bytes);
  w.get(uop);
  w.call(IMPORT_RMW);
  return w;
}

/** The functions from WALK to SLOW of the interpreter's module, in their order. */
export function missFunctions(): FunctionBody[] {
  const body = (
    name: string,
    params: readonly number[],
    results: readonly number[],
    locals: readonly number[],
    w: Assembler,
  ): FunctionBody => ({
    name,
    type: { params, results },
    locals,
    code: w.bytes.slice(0, w.length),
    hints: w.hints,
  });
  return [
    walkFunction(),
    body("noteTag", [I32, I32], [], [I32, I32], noteTagCode()),
    body("access", [I32, I32], [I32], [I32, I32, I32, I64], accessCode()),
    body("fetch", [I64], [I32], [I32, I32, I32], fetchCode()),
    body("slow", [I32, I32, I32], [I32], [I32], slowCode()),
  ];
}

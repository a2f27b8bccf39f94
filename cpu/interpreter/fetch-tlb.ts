/** The fetch TLB as generated code sees it. */
import * as A from "../arena.ts";
import { type Assembler, MEM, OP } from "../emit/assembler.ts";

/** Pushes the offset of the fetch TLB's entry for linear address `lin` (i64), in the half of the current privilege. */
export function fetchEntry(w: Assembler, lin: number): void {
  w.get(lin);
  w.i64(12 - A.FETCH_ENTRY_SHIFT);
  w.op(OP.i64_shr_u, OP.i32_wrap_i64);
  w.i32((A.FETCH_ENTRIES - 1) << A.FETCH_ENTRY_SHIFT);
  w.op(OP.i32_and);
  w.i32(0);
  w.i32(A.FETCH_HALF_BYTES);
  w.i32(0);
  w.mem(MEM.i32_load, A.CPL);
  w.i32(3);
  w.op(OP.i32_ne, OP.select, OP.i32_add);
}

/**
 * Pushes the stamp of what the fetch TLB holds: epoch, view and context number in one word. While it stays the same, every translation
 * that was in the fetch TLB still is. The locals hold the TLB base (i32) and the context number (i64).
 */
export function stamp(w: Assembler, tlb: number, ctx: number): void {
  w.i32(0);
  w.mem(MEM.i64_load, A.FETCH_EPOCH);
  w.get(tlb);
  w.op(OP.i64_extend_i32_u);
  w.i64(12);
  w.op(OP.i64_shl, OP.i64_or);
  w.get(ctx);
  w.op(OP.i64_or);
}

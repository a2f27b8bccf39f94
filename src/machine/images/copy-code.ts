/** What the decoders of LZ4 and LZMA share: how their WebAssembly copies matches, eight bytes at a time wherever they lie. */
import { type Assembler, MEM, OP } from "../../../cpu/emit/assembler.ts";

/** Bytes behind the end of input and output that may be read or written. */
export const SLACK = 16;

/** Numbers of i32 locals. */
export interface CopyLocals {
  from: number;
  /** Where the copy goes. */
  at: number;
  /** Where it ends. */
  end: number;
  /** `at` - `from` of a match. */
  distance: number;
}

/** Local += `bytes`. */
export function advance(w: Assembler, local: number, bytes: number): void {
  w.get(local);
  w.i32(bytes);
  w.op(OP.i32_add);
  w.set(local);
}

/** Copies eight bytes at a time until `at` reaches `end` or passes it. */
export function copyEights(w: Assembler, l: CopyLocals): void {
  const more = w.loop();
  w.get(l.at);
  w.get(l.from);
  w.mem(MEM.i64_load, 0);
  w.mem(MEM.i64_store, 0);
  advance(w, l.from, 8);
  advance(w, l.at, 8);
  w.get(l.at);
  w.get(l.end);
  w.op(OP.i32_lt_u);
  w.brIf(more);
  w.end();
}

function copyByte(w: Assembler, l: CopyLocals): void {
  w.get(l.at);
  w.get(l.from);
  w.mem(MEM.i32_load8_u, 0);
  w.mem(MEM.i32_store8, 0);
  advance(w, l.from, 1);
  advance(w, l.at, 1);
}

/**
 * Copies a match; `at` becomes `end`. One that is nearer than eight bytes repeats itself: its first eight bytes go one by one, and then a
 * multiple of the distance that is eight or more lies between what is there and what comes.
 */
export function copyMatch(w: Assembler, l: CopyLocals): void {
  w.get(l.distance);
  w.i32(8);
  w.op(OP.i32_lt_u);
  w.if();
  for (let n = 0; n < 8; n++) copyByte(w, l);
  const more = w.loop();
  w.get(l.from);
  w.get(l.distance);
  w.op(OP.i32_sub);
  w.tee(l.from);
  w.i32(8);
  w.op(OP.i32_add);
  w.get(l.at);
  w.op(OP.i32_gt_u);
  w.brIf(more);
  w.end();
  w.end();
  w.get(l.at);
  w.get(l.end);
  w.op(OP.i32_lt_u);
  w.if();
  copyEights(w, l);
  w.end();
  w.get(l.end);
  w.set(l.at);
}

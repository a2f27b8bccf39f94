/**
 * The decoder of LZ4 blocks as a WebAssembly function, since TypeScript can't copy eight bytes at a time wherever they lie. It reads
 * and writes one memory, which both input and output are in.
 */
import { Assembler, buildModule, type FunctionType, I32, type Label, MEM, OP } from "../../../cpu/emit/assembler.ts";
import { advance, copyEights, copyMatch } from "./copy-code.ts";

const MATCH_MIN = 4;

/** (source, sourceEnd, output, outputEnd) -> position behind the output, or -1: corrupted data. */
export type DecodeBlock = (source: number, sourceEnd: number, output: number, outputEnd: number) => number;
const TYPE: FunctionType = { params: [I32, I32, I32, I32], results: [I32] };

const POS = 0;
const SOURCE_END = 1;
const AT = 2;
const OUTPUT_END = 3;
const TOKEN = 4;
const COUNT = 5;
const BYTE = 6;
const FROM = 7;
const END = 8;
const START = 9;
const DISTANCE = 10;
const LOCALS: readonly number[] = new Array<number>(7).fill(I32);
const COPY = { from: FROM, at: AT, end: END, distance: DISTANCE };

/** Leaves for `corrupted` if local `a` `op` local `b`. */
function failIf(w: Assembler, corrupted: Label, a: number, op: number, b: number): void {
  w.get(a);
  w.get(b);
  w.op(op);
  w.unlikely();
  w.brIf(corrupted);
}

/** Leaves for `corrupted` if COUNT is more than what is between locals `at` and `end`. */
function failIfLonger(w: Assembler, corrupted: Label, at: number, end: number): void {
  w.get(COUNT);
  w.get(end);
  w.get(at);
  w.op(OP.i32_sub, OP.i32_gt_u);
  w.unlikely();
  w.brIf(corrupted);
}

/** COUNT = the four bits on the stack and, if all are set, the bytes that follow, up to one that is not 255. */
function readCount(w: Assembler, corrupted: Label): void {
  w.tee(COUNT);
  w.i32(15);
  w.op(OP.i32_eq);
  w.if();
  const more = w.loop();
  failIf(w, corrupted, POS, OP.i32_ge_u, SOURCE_END);
  w.get(COUNT);
  w.get(POS);
  w.mem(MEM.i32_load8_u, 0);
  w.tee(BYTE);
  w.op(OP.i32_add);
  w.set(COUNT);
  advance(w, POS, 1);
  // Here too, since the sum must not overflow.
  failIfLonger(w, corrupted, AT, OUTPUT_END);
  w.get(BYTE);
  w.i32(255);
  w.op(OP.i32_eq);
  w.brIf(more);
  w.end();
  w.end();
}

/** END = AT + COUNT. */
function setEnd(w: Assembler): void {
  w.get(AT);
  w.get(COUNT);
  w.op(OP.i32_add);
  w.set(END);
}

/** One sequence after the other (lz4 block format description): literals, then a match; the last has literals only. */
function decoder(): Uint8Array {
  const w = new Assembler();
  w.get(AT);
  w.set(START);
  const corrupted = w.block();
  const sequence = w.loop();
  failIf(w, corrupted, POS, OP.i32_ge_u, SOURCE_END);
  w.get(POS);
  w.mem(MEM.i32_load8_u, 0);
  w.set(TOKEN);
  advance(w, POS, 1);
  w.get(TOKEN);
  w.i32(4);
  w.op(OP.i32_shr_u);
  readCount(w, corrupted);
  failIfLonger(w, corrupted, POS, SOURCE_END);
  failIfLonger(w, corrupted, AT, OUTPUT_END);
  w.get(COUNT);
  w.if();
  w.get(POS);
  w.set(FROM);
  setEnd(w);
  copyEights(w, COPY);
  w.get(END);
  w.set(AT);
  w.get(POS);
  w.get(COUNT);
  w.op(OP.i32_add);
  w.set(POS);
  w.end();
  w.get(POS);
  w.get(SOURCE_END);
  w.op(OP.i32_eq);
  w.if();
  w.get(AT);
  w.op(OP.return);
  w.end();
  w.get(SOURCE_END);
  w.get(POS);
  w.op(OP.i32_sub);
  w.i32(2);
  w.op(OP.i32_lt_u);
  w.brIf(corrupted);
  w.get(POS);
  w.mem(MEM.i32_load16_u, 0);
  w.set(DISTANCE);
  advance(w, POS, 2);
  w.get(TOKEN);
  w.i32(15);
  w.op(OP.i32_and);
  readCount(w, corrupted);
  advance(w, COUNT, MATCH_MIN);
  failIfLonger(w, corrupted, AT, OUTPUT_END);
  w.get(DISTANCE);
  w.op(OP.i32_eqz);
  w.brIf(corrupted);
  w.get(DISTANCE);
  w.get(AT);
  w.get(START);
  w.op(OP.i32_sub, OP.i32_gt_u);
  w.brIf(corrupted);
  w.get(AT);
  w.get(DISTANCE);
  w.op(OP.i32_sub);
  w.set(FROM);
  setEnd(w);
  copyMatch(w, COPY);
  w.br(sequence);
  w.end();
  w.end();
  w.i32(-1);
  return w.bytes.slice(0, w.length);
}

/** The function over `memory`. */
export function linkDecodeBlock(memory: WebAssembly.Memory): DecodeBlock {
  const pages = memory.buffer.byteLength / 0x10000;
  const module = new WebAssembly.Module(
    buildModule(pages, [], [{ name: "decode", type: TYPE, locals: LOCALS, code: decoder() }]),
  );
  return new WebAssembly.Instance(module, { env: { memory } }).exports.decode as DecodeBlock;
}

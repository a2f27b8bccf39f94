/**
 * The generated interpreter: one WebAssembly function, a `br_table` over micro-op kinds, made at start-up from the
 * emitters of cpu/emit. Operands are read from the micro-op records in the arena.
 *
 *   run(block: i32) -> i32     executes blocks from RIP, beginning with `block` if it is not 0, and returns
 *     0            the slice ended at a cut (REMAINING <= 0); RIP is the next instruction
 *     1..4         H_FAULT, H_EXIT, H_EXIT_AT, H_RESTART of uop.ts; UOP is the micro-op, S_RIPBASE and BLOCK its block
 *     RUN_HOT, RUN_SAMPLE    see there
 *     RUN_MISS     no block is known at RIP, or its page is not in the fetch TLB
 * At least one block is entered before the deadline is tested, so a call always makes progress. With sampled code, `block` may also be
 * 1 + a micro-op of the block in BLOCK, to go on from.
 */
import * as A from "../arena.ts";
import { Assembler, buildModule, type FunctionType, type Label, MEM, OP } from "../emit/assembler.ts";
import { I32, I64, IMPORTS } from "../emit/emitter.ts";
import { settleFlags } from "../emit/flags.ts";
import { SHARED_FUNCTIONS, sharedFunctions } from "../emit/shared.ts";
import { emitTable } from "../emit/table.ts";
import { CTX_NONE } from "../mmu/contexts.ts";
import * as U from "../uops/uop.ts";
import {
  BLOCK,
  CTX,
  ENT,
  FAULTED,
  I,
  InterpreterEmitter,
  LIN,
  LINK,
  LOCAL_TYPES,
  PC,
  RIPL,
  RUN_TYPE,
  SCRATCH,
  SHARED,
  ST,
  TLB,
  X,
  Y,
} from "./emitter.ts";
import { eventFunctions } from "./fast-events.ts";
import { fetchEntry, stamp } from "./fetch-tlb.ts";
import { FETCH, missFunctions } from "./misses.ts";
import { pvSyscallCode } from "./pv-ends.ts";
import { pvIretqCode } from "./pv-iretq.ts";
import { pvInCode } from "./pv-ports.ts";
import { CHAIN, reload, storeRip, terminals } from "./terminals.ts";

export const RUN_MISS = 5;
/**
 * The block in BLOCK has become warm, or its translation has been called so often that a larger one is worth making: RIP is its first
 * instruction, which has not been executed.
 */
export const RUN_HOT = 6;
/** The translation of the block in BLOCK, which has not been executed, is to be called by `chain` from outside, and timed. */
export const RUN_SAMPLE = 7;
/** A translated function's answer for: go on at RIP. Others are what `run` returns. */
export const TRANSLATED_GOES_ON: number = -1;
/**
 * Other answers of a translated function: above this, the first micro-op of an instruction whose access missed the TLB, before it has changed
 * anything. BLOCK and S_RIPBASE are its block's; the interpreter goes on there.
 */
export const TRANSLATED_LAST_STATUS = 15;
/** Type of translated functions: linear RIP -> status. */
export const TRANSLATED_TYPE: FunctionType = { params: [I64], results: [I32] };

/** Emits the look-up of the block at RIPL into local BLOCK; a miss stores RIP and returns RUN_MISS. */
function lookUp(w: Assembler): void {
  const miss = (): void => {
    storeRip(w);
    w.i32(RUN_MISS);
    w.op(OP.return);
  };
  w.get(RIPL);
  w.i32(0);
  w.mem(MEM.i64_load, A.SLOTS + A.S_CSBASE);
  w.op(OP.i64_add);
  w.tee(LIN);
  w.i64(-4096);
  w.op(OP.i64_and);
  w.tee(X);
  w.i32(0);
  w.mem(MEM.i64_load, A.FETCH_PAGE);
  w.op(OP.i64_ne);
  w.if();
  // Another page: probe the fetch TLB. No link may cross a page.
  w.i32(0);
  w.set(LINK);
  fetchEntry(w, LIN);
  w.tee(ENT);
  w.mem(MEM.i64_load, A.FETCH_TLB);
  w.get(X);
  w.get(CTX);
  w.op(OP.i64_or, OP.i64_ne);
  w.if();
  w.get(LIN);
  w.call(FETCH);
  w.if();
  miss();
  w.end();
  w.else();
  w.i32(0);
  w.get(X);
  w.mem(MEM.i64_store, A.FETCH_PAGE);
  w.i32(0);
  w.get(ENT);
  w.mem(MEM.i32_load, A.FETCH_TLB + 8);
  w.mem(MEM.i32_store, A.FETCH_ARENA);
  w.end();
  w.end();
  // I = arena address of the first byte; ENT = its entry in the block table.
  w.i32(0);
  w.mem(MEM.i32_load, A.FETCH_ARENA);
  w.get(LIN);
  w.op(OP.i32_wrap_i64);
  w.i32(0xfff);
  w.op(OP.i32_and, OP.i32_or);
  w.tee(I);
  w.get(I);
  w.i32(14);
  w.op(OP.i32_shr_u, OP.i32_xor);
  w.i32(A.BLOCK_TABLE_ENTRIES - 1);
  w.op(OP.i32_and);
  w.i32(A.BLOCK_TABLE_SHIFT);
  w.op(OP.i32_shl);
  w.tee(ENT);
  w.mem(MEM.i32_load, A.BLOCK_TABLE);
  w.get(I);
  w.op(OP.i32_ne);
  w.get(ENT);
  w.mem(MEM.i32_load, A.BLOCK_TABLE + 4);
  w.i32(0);
  w.mem(MEM.i32_load, A.MODE);
  w.op(OP.i32_ne, OP.i32_or);
  w.if();
  miss();
  w.end();
  w.get(ENT);
  w.mem(MEM.i32_load, A.BLOCK_TABLE + 8);
  w.tee(BLOCK);
  w.mem(MEM.i32_load, U.BLOCK_SECOND);
  w.tee(I);
  w.unlikely();
  w.if();
  // An instruction that crosses into the next page: no link, and the page has to be where it was.
  w.i32(0);
  w.set(LINK);
  w.get(X);
  w.i64(A.PAGE_SIZE);
  w.op(OP.i64_add);
  w.set(X);
  fetchEntry(w, X);
  w.tee(ENT);
  w.mem(MEM.i64_load, A.FETCH_TLB);
  w.get(X);
  w.get(CTX);
  w.op(OP.i64_or, OP.i64_ne);
  w.get(ENT);
  w.mem(MEM.i32_load, A.FETCH_TLB + 8);
  w.get(I);
  w.op(OP.i32_ne, OP.i32_or);
  w.if();
  miss();
  w.end();
  w.end();
  w.get(LINK);
  w.if();
  w.get(LINK);
  w.get(BLOCK);
  w.mem(MEM.i32_store, 0);
  w.end();
}

/** Pushes, and leaves in local I, what the i32 at `offset` from what `base` pushes has come to: one less than it was. */
function countDown(w: Assembler, base: () => void, offset: number): void {
  base();
  base();
  w.mem(MEM.i32_load, offset);
  w.i32(1);
  w.op(OP.i32_sub);
  w.tee(I);
  w.mem(MEM.i32_store, offset);
  w.get(I);
}

/** Index of TRANSLATED_TYPE: behind the types of the imports and of the functions. */
const TRANSLATED: number = SHARED + SHARED_FUNCTIONS.length;

/**
 * Looks at the heat of local BLOCK: counts an entry down and returns RUN_HOT when the block has become warm, or hands over to
 * `chain`, which runs translations as long as there are some, and goes on where it stops: at a block, or at micro-op PC inside of one.
 */
function warmth(w: Assembler, enter: Label, inside: Label, sampled: boolean): void {
  w.get(BLOCK);
  w.mem(MEM.i32_load, U.BLOCK_HEAT);
  w.tee(I);
  w.if();
  w.get(I);
  w.i32(0);
  w.op(OP.i32_lt_s);
  w.if();
  storeRip(w);
  if (sampled) {
    countDown(w, () => w.i32(0), A.SAMPLE);
    w.op(OP.i32_eqz);
    w.if();
    w.i32(RUN_SAMPLE);
    w.op(OP.return);
    w.end();
  }
  w.get(BLOCK);
  w.call(CHAIN);
  w.set(ST);
  w.i32(0);
  w.set(LINK);
  w.i32(0);
  w.mem(MEM.i32_load, A.BLOCK);
  w.set(BLOCK);
  w.get(ST);
  w.tee(PC);
  w.i32(TRANSLATED_LAST_STATUS);
  w.op(OP.i32_gt_s);
  w.brIf(inside);
  w.get(ST);
  w.i32(TRANSLATED_GOES_ON);
  w.op(OP.i32_ne);
  w.if();
  w.get(ST);
  w.op(OP.return);
  w.end();
  loadRip(w);
  w.br(enter);
  w.end();
  w.get(BLOCK);
  w.get(I);
  w.i32(1);
  w.op(OP.i32_sub);
  w.tee(I);
  w.mem(MEM.i32_store, U.BLOCK_HEAT);
  w.get(I);
  w.op(OP.i32_eqz);
  w.if();
  storeRip(w);
  w.i32(RUN_HOT);
  w.op(OP.return);
  w.end();
  w.end();
}

function loadRip(w: Assembler): void {
  w.i32(0);
  w.mem(MEM.i64_load, A.RIP);
  w.set(RIPL);
}

/** Local ENT = offset of RIPL's entry in the jump cache. */
function jumpEntry(w: Assembler): void {
  w.get(RIPL);
  w.op(OP.i32_wrap_i64);
  w.get(RIPL);
  w.i64(10);
  w.op(OP.i64_shr_u, OP.i32_wrap_i64, OP.i32_xor);
  w.i32(A.JUMP_ENTRIES - 1);
  w.op(OP.i32_and);
  w.i32(A.JUMP_SHIFT);
  w.op(OP.i32_shl);
  w.set(ENT);
}

const INTERPRET: number = IMPORTS.length;
const SETTLE: number = IMPORTS.length + 5;
const LINKED: number = IMPORTS.length + 6;

/** chain(block): as `linked`, and makes the flag words of what translations left (emit/flags.ts). */
function chainCode(): Uint8Array {
  const w = new Assembler();
  w.get(BLOCK);
  w.call(LINKED);
  w.call(SETTLE);
  return w.bytes.slice(0, w.length);
}

function settleCode(): Uint8Array {
  const w = new Assembler();
  settleFlags(new InterpreterEmitter(w, SCRATCH));
  return w.bytes.slice(0, w.length);
}

/** A miss has left the translation of local BLOCK: the last one that may has it called next for being made anew. */
function countMiss(w: Assembler): void {
  countDown(w, () => w.get(BLOCK), U.BLOCK_MISSES);
  w.op(OP.i32_eqz);
  w.if();
  w.get(BLOCK);
  w.i32(1);
  w.mem(MEM.i32_store, U.BLOCK_CALLS);
  w.end();
}

/**
 * linked(block): runs the translation of `block` at RIP, and then those of the blocks that follow, until one has none: then it
 * returns TRANSLATED_GOES_ON with RIP there and BLOCK its record. Other answers are what `run` returns. What follows is found in
 * the jump cache, or else as everywhere, and then entered there - but not in context CTX_NONE, where nothing is known to stay in the
 * fetch TLB. A small function of its own, because V8 keeps the registers of a small one better than those of the interpreter.
 */
function linkedCode(): Uint8Array {
  const w = new Assembler();
  reload(w);
  loadRip(w);
  w.i32(-1);
  w.get(BLOCK);
  w.mem(MEM.i32_load, U.BLOCK_HEAT);
  w.op(OP.i32_sub);
  w.set(LINK);
  const next = w.loop();
  w.get(RIPL);
  w.get(LINK);
  w.callIndirect(TRANSLATED);
  w.tee(ST);
  w.i32(TRANSLATED_GOES_ON);
  w.op(OP.i32_ne);
  w.if();
  w.get(ST);
  w.i32(TRANSLATED_LAST_STATUS);
  w.op(OP.i32_gt_s);
  w.if();
  countMiss(w);
  w.end();
  w.get(ST);
  w.op(OP.return);
  w.end();
  loadRip(w);
  w.get(BLOCK);
  w.get(RIPL);
  w.mem(MEM.i64_store32, U.BLOCK_NEXT);
  w.get(BLOCK);
  w.i32(0);
  w.mem(MEM.i32_load, A.SLOTS + A.S_RSP);
  w.mem(MEM.i32_store, U.BLOCK_STACK);
  jumpEntry(w);
  stamp(w, TLB, CTX);
  w.set(Y);
  const unknown = w.block();
  w.get(ENT);
  w.mem(MEM.i64_load, A.JUMPS);
  w.get(RIPL);
  w.op(OP.i64_ne);
  w.brIf(unknown);
  w.get(ENT);
  w.mem(MEM.i64_load, A.JUMPS + 8);
  w.get(Y);
  w.op(OP.i64_ne);
  w.brIf(unknown);
  w.get(ENT);
  w.mem(MEM.i32_load, A.JUMPS + 16);
  w.i32(0);
  w.mem(MEM.i32_load, A.MODE);
  w.op(OP.i32_ne);
  w.brIf(unknown);
  w.get(ENT);
  w.mem(MEM.i32_load, A.JUMPS + 20);
  w.set(LINK);
  w.get(ENT);
  w.mem(MEM.i32_load, A.JUMPS + 24);
  w.set(BLOCK);
  countDown(w, () => w.get(BLOCK), U.BLOCK_CALLS);
  w.brIf(next);
  w.i32(0);
  w.get(BLOCK);
  w.mem(MEM.i32_store, A.BLOCK);
  w.i32(RUN_HOT);
  w.op(OP.return);
  w.end();
  w.i32(0);
  w.set(LINK);
  lookUp(w);
  w.get(BLOCK);
  w.mem(MEM.i32_load, U.BLOCK_HEAT);
  w.tee(I);
  w.i32(0);
  w.op(OP.i32_ge_s);
  w.if();
  w.i32(0);
  w.get(BLOCK);
  w.mem(MEM.i32_store, A.BLOCK);
  w.i32(TRANSLATED_GOES_ON);
  w.op(OP.return);
  w.end();
  w.i32(-1);
  w.get(I);
  w.op(OP.i32_sub);
  w.set(LINK);
  w.get(CTX);
  w.i64(CTX_NONE);
  w.op(OP.i64_ne);
  w.if();
  jumpEntry(w);
  w.get(ENT);
  w.get(RIPL);
  w.mem(MEM.i64_store, A.JUMPS);
  w.get(ENT);
  // Anew: the look-up may have begun an epoch.
  stamp(w, TLB, CTX);
  w.mem(MEM.i64_store, A.JUMPS + 8);
  w.get(ENT);
  w.i32(0);
  w.mem(MEM.i32_load, A.MODE);
  w.mem(MEM.i32_store, A.JUMPS + 16);
  w.get(ENT);
  w.get(LINK);
  w.mem(MEM.i32_store, A.JUMPS + 20);
  w.get(ENT);
  w.get(BLOCK);
  w.mem(MEM.i32_store, A.JUMPS + 24);
  w.end();
  w.br(next);
  w.end();
  w.op(OP.unreachable);
  return w.bytes.slice(0, w.length);
}

/** run(block): as `interpret`, and goes on at the handler of a page fault that is delivered in place. */
function runCode(): Uint8Array {
  const w = new Assembler();
  const status = 1;
  const again = w.loop();
  w.get(BLOCK);
  w.call(INTERPRET);
  w.tee(status);
  w.i32(U.H_FAULT);
  w.op(OP.i32_eq);
  w.if();
  w.i32(0);
  w.call(FAULTED);
  w.if();
  w.i32(0);
  w.set(BLOCK);
  w.i32(0);
  w.mem(MEM.i32_load, A.REMAINING);
  w.i32(0);
  w.op(OP.i32_gt_s);
  w.brIf(again);
  w.i32(0);
  w.op(OP.return);
  w.end();
  w.end();
  w.get(status);
  w.op(OP.return);
  w.end();
  w.op(OP.unreachable);
  return w.bytes.slice(0, w.length);
}

/**
 * @param sampled calls of translated code are counted down in A.SAMPLE (link.ts)
 * @returns the bytes of the interpreter's module
 */
export function generateInterpreter(sampled = false): Uint8Array {
  const w = new Assembler();
  const e = new InterpreterEmitter(w, SCRATCH);
  reload(w);
  w.i32(0);
  w.mem(MEM.i64_load, A.RIP);
  w.set(RIPL);
  const enter = w.loop();
  const inside = w.block();
  if (sampled) {
    w.get(BLOCK);
    w.i32(1);
    w.op(OP.i32_and);
    w.if();
    w.get(BLOCK);
    w.i32(1);
    w.op(OP.i32_sub);
    w.set(PC);
    w.i32(0);
    w.mem(MEM.i32_load, A.BLOCK);
    w.set(BLOCK);
    w.br(inside);
    w.end();
  }
  w.get(BLOCK);
  w.op(OP.i32_eqz);
  w.if();
  lookUp(w);
  w.end();
  w.i32(0);
  w.get(BLOCK);
  w.mem(MEM.i32_store, A.BLOCK);
  warmth(w, enter, inside, sampled);
  w.i32(0);
  w.get(RIPL);
  w.mem(MEM.i64_store, A.SLOTS + A.S_RIPBASE);
  w.get(BLOCK);
  w.i32(U.BLOCK_HEADER_BYTES);
  w.op(OP.i32_add);
  w.set(PC);
  w.end();

  const next = w.loop();
  const plain = emitTable();
  const ends = terminals();
  const labels: Label[] = [];
  const absent = w.block();
  for (let kind = U.U_KINDS - 1; kind >= 0; kind--) labels[kind] = w.block();
  w.get(PC);
  w.mem(MEM.i32_load16_u, 0);
  w.brTable(labels, absent);
  for (let kind = 0; kind < U.U_KINDS; kind++) {
    w.end();
    const terminal = ends.get(kind);
    const emit = plain[kind];
    if (terminal !== undefined) terminal(e, enter);
    else if (emit !== undefined) {
      emit(e);
      w.get(PC);
      w.i32(U.UOP_BYTES);
      w.op(OP.i32_add);
      w.set(PC);
      w.br(next);
    } else w.op(OP.unreachable);
  }
  w.end();
  w.op(OP.unreachable);
  w.end();
  w.end();
  w.op(OP.unreachable);
  return buildModule(
    A.FIXED_PAGES,
    IMPORTS,
    [
      { name: "interpret", type: RUN_TYPE, locals: LOCAL_TYPES, code: w.bytes.slice(0, w.length), hints: w.hints },
      { name: "chain", type: RUN_TYPE, locals: LOCAL_TYPES, code: chainCode() },
      { name: "pvSyscall", type: RUN_TYPE, locals: LOCAL_TYPES, ...pvSyscallCode() },
      { name: "pvIn", type: RUN_TYPE, locals: LOCAL_TYPES, ...pvInCode() },
      { name: "pvIretq", type: RUN_TYPE, locals: LOCAL_TYPES, ...pvIretqCode() },
      // A local more, where the others have their parameter.
      { name: "settle", type: { params: [], results: [] }, locals: [I32, ...LOCAL_TYPES], code: settleCode() },
      { name: "linked", type: RUN_TYPE, locals: LOCAL_TYPES, code: linkedCode() },
      ...missFunctions(),
      ...eventFunctions(),
      { name: "run", type: RUN_TYPE, locals: [I32], code: runCode() },
      ...sharedFunctions(SHARED),
    ],
    true,
    [TRANSLATED_TYPE],
  );
}

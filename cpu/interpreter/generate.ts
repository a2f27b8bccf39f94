/**
 * The generated interpreter: one WebAssembly function, a `br_table` over micro-op kinds, made at start-up from the
 * emitters of cpu/emit. Operands are read from the micro-op records in the arena.
 *
 *   run(block: i32) -> i32     executes blocks from RIP, beginning with `block` if it is not 0, and returns
 *     0            the slice ended at a cut (REMAINING <= 0); RIP is the next instruction
 *     1..4         H_FAULT, H_EXIT, H_EXIT_AT, H_RESTART of uop.ts; UOP is the micro-op, S_RIPBASE and BLOCK its block
 *     RUN_HOT      see there
 *     RUN_MISS     no block is known at RIP, or its page is not in the fetch TLB
 * At least one block is entered before the deadline is tested, so a call always makes progress.
 */
import * as A from "../arena.ts";
import { VEC_GP } from "../core.ts";
import { Assembler, buildModule, type FunctionType, type Label, MEM, OP } from "../emit/assembler.ts";
import { condition, conditionByNumber, push } from "../emit/emit-move.ts";
import { Emitter, type Field, I32, I64, IMPORT_HELPER, IMPORTS, type Scratch, V128 } from "../emit/emitter.ts";
import { emitTable } from "../emit/table.ts";
import * as U from "../uops/uop.ts";

export const RUN_MISS = 5;
/** The block in BLOCK has become warm: RIP is its first instruction, which has not been executed. */
export const RUN_HOT = 6;
/** A translated function's answer for: go on at RIP. Others are what `run` returns. */
export const TRANSLATED_GOES_ON: number = -1;
/** Type of translated functions: linear RIP -> status. */
export const TRANSLATED_TYPE: FunctionType = { params: [I64], results: [I32] };

const FIELD_OFFSET = { d: 2, a: 3, b: 4, s: 5 } as const;
const LOADS = [MEM.i64_load8_u, MEM.i64_load16_u, MEM.i64_load32_u, MEM.i64_load];
const STORES = [MEM.i64_store8, MEM.i64_store16, MEM.i64_store32, MEM.i64_store];

// Locals. The parameter comes first; the i32s, the i64s and the v128 follow in the order of LOCAL_TYPES.
const BLOCK = 0;
const PC = 1;
const ENT = 2;
const ST = 3;
const I = 4;
const TLB = 5;
const LINK = 6;
const CTX = 7;
const RIPL = 8;
const X = 9;
const Y = 10;
const R = 11;
const T = 12;
const LIN = 13;
const V = 14;
const LOCAL_TYPES = [I32, I32, I32, I32, I32, I32, I64, I64, I64, I64, I64, I64, I64, V128];
const SCRATCH: Scratch = { x: X, y: Y, r: R, t: T, lin: LIN, v: V, ent: ENT, st: ST, i: I };

class InterpreterEmitter extends Emitter {
  private pcByte(offset: number): void {
    this.w.get(PC);
    this.w.mem(MEM.i32_load8_u, offset);
  }
  get(field: Field, sz: number): void {
    this.pcByte(FIELD_OFFSET[field]);
    this.w.mem(LOADS[sz]!, A.SLOTS);
  }
  getFixed(slot: number, sz: number): void {
    this.w.i32(0);
    this.w.mem(LOADS[sz]!, A.SLOTS + slot);
  }
  open(field: Field): void {
    this.pcByte(FIELD_OFFSET[field]);
  }
  close(_field: Field, sz: number, clean = false): void {
    if (sz === 2 && !clean) this.zeroExtend(2);
    this.w.mem(sz === 2 ? MEM.i64_store : STORES[sz]!, A.SLOTS);
  }
  openFixed(): void {
    this.w.i32(0);
  }
  closeFixed(slot: number, sz: number): void {
    if (sz === 2) this.zeroExtend(2);
    this.w.mem(sz === 2 ? MEM.i64_store : STORES[sz]!, A.SLOTS + slot);
  }
  openFlag(): void {
    this.w.i32(0);
  }
  closeFlag(flag: number): void {
    this.w.mem(MEM.i64_store, flag);
  }
  getFlag(flag: number): void {
    this.w.i32(0);
    this.w.mem(MEM.i64_load, flag);
  }
  imm(): void {
    this.w.get(PC);
    this.w.mem(MEM.i64_load32_s, 12);
  }
  imm64(): void {
    this.w.get(PC);
    this.w.mem(MEM.i64_load, 8);
  }
  disp(): void {
    this.w.get(PC);
    this.w.mem(MEM.i64_load32_s, 8);
  }
  c(): void {
    this.pcByte(7);
  }
  scale(): void {
    this.w.get(PC);
    this.w.mem(MEM.i64_load8_u, 7);
    this.w.i64(U.C_SCALE_MASK);
    this.w.op(OP.i64_and);
  }
  vectorAddress(field: "d" | "a" | "b"): void {
    this.pcByte(FIELD_OFFSET[field]);
    this.w.i32(5);
    this.w.op(OP.i32_shl);
  }
  uop(): void {
    this.w.get(PC);
  }
  leaveIf(): void {
    const { w } = this;
    w.tee(ST);
    w.if();
    w.i32(0);
    w.get(PC);
    w.mem(MEM.i32_store, A.UOP);
    w.get(ST);
    w.op(OP.return);
    w.end();
  }
  callHelper(number: number): void {
    this.w.i32(number);
    this.w.get(PC);
    this.w.call(IMPORT_HELPER);
    this.leaveIf();
  }
  callImmHelper(): void {
    this.w.get(PC);
    this.w.mem(MEM.i32_load, 12);
    this.w.get(PC);
    this.w.call(IMPORT_HELPER);
    this.leaveIf();
  }
  tlbBase(): void {
    this.w.get(TLB);
  }
  context(): void {
    this.w.get(CTX);
  }
  condition(cc: number): void {
    condition(this, cc);
  }
  conditionOfC(): void {
    conditionByNumber(this, () => this.c());
  }
}

/** Reloads the locals that a helper may have changed. */
function reload(w: Assembler): void {
  w.i32(0);
  w.mem(MEM.i32_load, A.TLB_BASE);
  w.set(TLB);
  w.i32(0);
  w.mem(MEM.i64_load32_u, A.TLB_CTX);
  w.set(CTX);
}

/** Adds the terminal's second record to the counters: instructions to INSNS, cycles from REMAINING. */
function account(w: Assembler): void {
  w.i32(0);
  w.i32(0);
  w.mem(MEM.i32_load, A.INSNS);
  w.get(PC);
  w.mem(MEM.i32_load16_u, 16 + 8);
  w.op(OP.i32_add);
  w.mem(MEM.i32_store, A.INSNS);
  w.i32(0);
  w.i32(0);
  w.mem(MEM.i32_load, A.REMAINING);
  w.get(PC);
  w.mem(MEM.i32_load16_u, 16 + 10);
  w.op(OP.i32_sub);
  w.tee(I);
  w.mem(MEM.i32_store, A.REMAINING);
}

/** Ends the slice if REMAINING (local I) is used up: RIP is stored and the function returns 0. */
function testDeadline(w: Assembler): void {
  w.get(I);
  w.i32(0);
  w.op(OP.i32_le_s);
  w.if();
  storeRip(w);
  w.i32(0);
  w.op(OP.return);
  w.end();
}

function storeRip(w: Assembler): void {
  w.i32(0);
  w.get(RIPL);
  w.mem(MEM.i64_store, A.RIP);
}

function ripBase(w: Assembler): void {
  w.i32(0);
  w.mem(MEM.i64_load, A.SLOTS + A.S_RIPBASE);
}

/** RIPL = RIPBASE + bytes of the block. */
function straightOn(w: Assembler): void {
  ripBase(w);
  w.get(PC);
  w.mem(MEM.i64_load16_u, 16 + 12);
  w.op(OP.i64_add);
  w.set(RIPL);
}

/** RIPL = RIPBASE + disp. */
function relative(w: Assembler): void {
  ripBase(w);
  w.get(PC);
  w.mem(MEM.i64_load32_s, 8);
  w.op(OP.i64_add);
  w.set(RIPL);
}

/** RIPL &= mask of the i32 number of bytes that `bytes` pushes (2, 4; 8 or 0: all). */
function maskRip(w: Assembler, bytes: () => void): void {
  bytes();
  w.i32(4);
  w.op(OP.i32_eq);
  w.if();
  w.get(RIPL);
  w.op(OP.i32_wrap_i64, OP.i64_extend_i32_u);
  w.set(RIPL);
  w.else();
  bytes();
  w.i32(2);
  w.op(OP.i32_eq);
  w.if();
  w.get(RIPL);
  w.i64(0xffff);
  w.op(OP.i64_and);
  w.set(RIPL);
  w.end();
  w.end();
}

/** Goes to RIPL through the link at PC + `link`, or, if it is not set, by looking the block up, which then sets it. */
function follow(w: Assembler, enter: Label, link: number): void {
  account(w);
  testDeadline(w);
  w.get(PC);
  w.i32(link);
  w.op(OP.i32_add);
  w.tee(LINK);
  w.mem(MEM.i32_load, 0);
  w.set(BLOCK);
  w.br(enter);
}

/** Goes to RIPL, which no link can tell in advance. */
function goTo(w: Assembler, enter: Label): void {
  account(w);
  testDeadline(w);
  w.i32(0);
  w.set(LINK);
  w.i32(0);
  w.set(BLOCK);
  w.br(enter);
}

const LINK_TAKEN = 16;
const LINK_NOT_TAKEN = 20;

/** Faults with #GP(0) if local Y is not canonical (48 bits). */
function checkCanonical(e: Emitter): void {
  const { w } = e;
  w.get(Y);
  w.i64(16);
  w.op(OP.i64_shl);
  w.i64(16);
  w.op(OP.i64_shr_s);
  w.get(Y);
  w.op(OP.i64_ne);
  w.if();
  e.fault(VEC_GP);
  w.end();
}

type EmitTerminal = (e: InterpreterEmitter, enter: Label) => void;

function terminals(): Map<number, EmitTerminal> {
  const table = new Map<number, EmitTerminal>();
  const blockMask = (w: Assembler) => (): void => {
    w.get(PC);
    w.mem(MEM.i32_load16_u, 16 + 14);
  };
  table.set(U.U_END, ({ w }, enter) => {
    straightOn(w);
    maskRip(w, blockMask(w));
    follow(w, enter, LINK_NOT_TAKEN);
  });
  table.set(U.U_JMP, ({ w }, enter) => {
    relative(w);
    follow(w, enter, LINK_TAKEN);
  });
  table.set(U.U_JMP_L, (e, enter) => {
    relative(e.w);
    maskRip(e.w, () => e.c());
    follow(e.w, enter, LINK_TAKEN);
  });
  for (let cc = 0; cc < 16; cc++)
    table.set(U.U_JCC + cc, (e, enter) => {
      const { w } = e;
      condition(e, cc);
      w.if();
      relative(w);
      follow(w, enter, LINK_TAKEN);
      w.end();
      straightOn(w);
      follow(w, enter, LINK_NOT_TAKEN);
    });
  table.set(U.U_JCC_L, (e, enter) => {
    const { w } = e;
    conditionByNumber(e, () => {
      w.get(PC);
      w.mem(MEM.i32_load8_u, 4);
    });
    w.if();
    relative(w);
    maskRip(w, () => e.c());
    follow(w, enter, LINK_TAKEN);
    w.end();
    straightOn(w);
    maskRip(w, () => e.c());
    follow(w, enter, LINK_NOT_TAKEN);
  });
  for (const [kind, zero] of [
    [U.U_JNZ_R, false],
    [U.U_JZ_R, true],
  ] as const)
    table.set(kind, (e, enter) => {
      const { w } = e;
      e.get("a", 3);
      w.op(OP.i64_eqz);
      if (!zero) w.op(OP.i32_eqz);
      w.if();
      relative(w);
      maskRip(w, () => e.c());
      follow(w, enter, LINK_TAKEN);
      w.end();
      straightOn(w);
      maskRip(w, () => e.c());
      follow(w, enter, LINK_NOT_TAKEN);
    });
  table.set(U.U_JMP_R, (e, enter) => {
    e.get("a", 3);
    e.w.set(Y);
    checkCanonical(e);
    e.w.get(Y);
    e.w.set(RIPL);
    goTo(e.w, enter);
  });
  table.set(U.U_CALL, (e, enter) => {
    const { w } = e;
    straightOn(w);
    w.get(RIPL);
    w.set(Y);
    push(e);
    relative(w);
    follow(w, enter, LINK_TAKEN);
  });
  table.set(U.U_CALL_R, (e, enter) => {
    const { w } = e;
    e.get("a", 3);
    w.tee(T);
    w.set(Y);
    checkCanonical(e);
    straightOn(w);
    w.get(RIPL);
    w.set(Y);
    push(e);
    w.get(T);
    w.set(RIPL);
    goTo(w, enter);
  });
  table.set(U.U_RET, (e, enter) => {
    const { w } = e;
    e.getFixed(A.S_RSP, 3);
    w.set(LIN);
    e.loadAt(3);
    w.set(Y);
    checkCanonical(e);
    e.openFixed();
    w.get(LIN);
    w.i64(8);
    w.op(OP.i64_add);
    e.imm();
    w.op(OP.i64_add);
    e.closeFixed(A.S_RSP, 3);
    w.get(Y);
    w.set(RIPL);
    goTo(w, enter);
  });
  table.set(U.U_HELPER_END, (e, enter) => {
    const { w } = e;
    straightOn(w);
    maskRip(w, blockMask(w));
    storeRip(w);
    w.i32(0);
    w.get(PC);
    w.mem(MEM.i32_store, A.UOP);
    w.get(PC);
    w.mem(MEM.i32_load, 12);
    w.get(PC);
    w.call(IMPORT_HELPER);
    w.tee(ST);
    w.i32(U.H_EXIT);
    w.op(OP.i32_eq);
    w.if();
    account(w);
    w.get(ST);
    w.op(OP.return);
    w.end();
    w.get(ST);
    w.if();
    w.get(ST);
    w.op(OP.return);
    w.end();
    account(w);
    reload(w);
    w.i32(0);
    w.mem(MEM.i64_load, A.RIP);
    w.set(RIPL);
    testDeadline(w);
    w.i32(0);
    w.set(LINK);
    w.i32(0);
    w.set(BLOCK);
    w.br(enter);
  });
  return table;
}

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
  // Another page: probe the fetch TLB, in the half of the current privilege. No link may cross a page.
  w.i32(0);
  w.set(LINK);
  w.get(LIN);
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
  w.tee(ENT);
  w.mem(MEM.i64_load, A.FETCH_TLB);
  w.get(X);
  w.get(CTX);
  w.op(OP.i64_or, OP.i64_ne);
  w.if();
  miss();
  w.end();
  w.i32(0);
  w.get(X);
  w.mem(MEM.i64_store, A.FETCH_PAGE);
  w.i32(0);
  w.get(ENT);
  w.mem(MEM.i32_load, A.FETCH_TLB + 8);
  w.mem(MEM.i32_store, A.FETCH_ARENA);
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
  w.set(BLOCK);
  w.get(LINK);
  w.if();
  w.get(LINK);
  w.get(BLOCK);
  w.mem(MEM.i32_store, 0);
  w.end();
}

/**
 * Looks at the heat of local BLOCK: counts an entry down and returns RUN_HOT when the block has become warm, or enters its
 * translation, which goes on here (TRANSLATED_GOES_ON) or returns what `run` returns.
 */
function warmth(w: Assembler, enter: Label): void {
  w.get(BLOCK);
  w.mem(MEM.i32_load, U.BLOCK_HEAT);
  w.tee(I);
  w.if();
  w.get(I);
  w.i32(0);
  w.op(OP.i32_lt_s);
  w.if();
  w.get(RIPL);
  w.i32(-1);
  w.get(I);
  w.op(OP.i32_sub);
  w.callIndirect(IMPORTS.length + 1);
  w.tee(ST);
  w.i32(TRANSLATED_GOES_ON);
  w.op(OP.i32_ne);
  w.if();
  w.get(ST);
  w.op(OP.return);
  w.end();
  w.i32(0);
  w.mem(MEM.i64_load, A.RIP);
  w.set(RIPL);
  w.i32(0);
  w.set(LINK);
  w.i32(0);
  w.set(BLOCK);
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

/** @returns the bytes of the interpreter's module for a memory of `memoryPages` pages of 64 KiB. */
export function generateInterpreter(memoryPages: number): Uint8Array {
  const w = new Assembler();
  const e = new InterpreterEmitter(w, SCRATCH);
  reload(w);
  w.i32(0);
  w.mem(MEM.i64_load, A.RIP);
  w.set(RIPL);
  const enter = w.loop();
  w.get(BLOCK);
  w.op(OP.i32_eqz);
  w.if();
  lookUp(w);
  w.end();
  w.i32(0);
  w.get(BLOCK);
  w.mem(MEM.i32_store, A.BLOCK);
  warmth(w, enter);
  w.i32(0);
  w.get(RIPL);
  w.mem(MEM.i64_store, A.SLOTS + A.S_RIPBASE);
  w.get(BLOCK);
  w.i32(U.BLOCK_HEADER_BYTES);
  w.op(OP.i32_add);
  w.set(PC);

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
    memoryPages,
    IMPORTS,
    [{ name: "run", type: { params: [I32], results: [I32] }, locals: LOCAL_TYPES, code: w.bytes.slice(0, w.length) }],
    true,
    [TRANSLATED_TYPE],
  );
}

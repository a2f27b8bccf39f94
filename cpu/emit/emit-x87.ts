/** x87 micro-ops: the usual case by the functions of x87-arith.ts and x87-moves.ts, the rest by the helper that the record names. */
import * as A from "../arena.ts";
import * as U from "../uops/uop.ts";
import { MEM, OP } from "./assembler.ts";
import type { Emitter } from "./emitter.ts";
import type { EmitTable } from "./family.ts";
import { shared } from "./shared.ts";

const FOP_MASK = 0x7ff;
const ES = 0x80;

/** FOP, FIP and, with a memory operand, FDP (SDM volume 1, 8.1.8). */
function pointers(e: Emitter, memory: boolean): void {
  const { w } = e;
  w.i32(0);
  e.disp();
  w.op(OP.i32_wrap_i64);
  w.i32(FOP_MASK);
  w.op(OP.i32_and);
  w.mem(MEM.i32_store, A.FPU_OP);
  w.i32(0);
  e.getFixed(A.S_RIPBASE, 3);
  e.offset();
  w.op(OP.i64_add);
  w.mem(MEM.i64_store, A.FPU_IP);
  if (!memory) return;
  w.i32(0);
  e.getFixed(A.S_T5, 3);
  w.mem(MEM.i64_store, A.FPU_DP);
}

type Operands = (e: Emitter) => void;
const none: Operands = () => {};
const inT0: Operands = (e) => e.getFixed(A.S_T0, 3);
const inT0T1: Operands = (e) => {
  e.getFixed(A.S_T0, 3);
  e.getFixed(A.S_T1, 3);
};
const fromResult =
  (...slots: number[]): Operands =>
  (e) => {
    slots.forEach((slot, n) => {
      e.openFixed(slot);
      e.w.i32(0);
      e.w.mem(MEM.i64_load, A.X87_RESULT + n * 8);
      e.closeFixed(slot, 3);
    });
  };

/** Function, what it takes besides c, whether there is a memory operand, what is done with its result. */
const CALLS: Partial<Record<U.X87Op, readonly [name: string, operands: Operands, memory: boolean, result: Operands]>> =
  {
    arith: ["x87Arith", none, false, none],
    arithMemory: ["x87ArithMemory", inT0, true, none],
    compareMemory: ["x87CompareMemory", inT0, true, none],
    load: ["x87Load", inT0, true, none],
    load80: ["x87Load80", inT0T1, true, none],
    loadST: ["x87LoadST", none, false, none],
    store: ["x87Store", none, true, fromResult(A.S_T0)],
    store80: ["x87Store80", none, true, fromResult(A.S_T0, A.S_T1)],
    storeST: ["x87StoreST", none, false, none],
    exchange: ["x87Exchange", none, false, none],
    sign: ["x87Sign", none, false, none],
    sqrt: ["x87Root", none, false, none],
    roundToIntegral: ["x87RoundToIntegral", none, false, none],
  };

/** With 1 on the stack if the usual case was done, else 0: what is left to do. */
function finish(e: Emitter, usual: () => void): void {
  const { w } = e;
  w.likely();
  w.if();
  usual();
  w.else();
  e.callImmHelper();
  w.end();
}

/** FCOM and its like. */
function emitCompare(e: Emitter): void {
  e.c();
  e.callShared(shared("x87Compare"));
  e.w.i32(0);
  e.w.op(OP.i32_ge_s);
  finish(e, () => pointers(e, false));
}

/** FCOMI and its like: ZF, PF, CF as the relation says, the others clear. */
function emitCompareFlags(e: Emitter): void {
  const { w, l } = e;
  e.c();
  e.callShared(shared("x87Compare"));
  w.tee(l.i);
  w.i32(0);
  w.op(OP.i32_ge_s);
  w.likely();
  w.if();
  pointers(e, false);
  e.openFlag(A.CC_C);
  w.get(l.i);
  w.op(OP.i32_eqz, OP.i64_extend_i32_u);
  w.i64(63);
  w.op(OP.i64_shl);
  e.closeFlag(A.CC_C);
  e.openFlag(A.CC_Z);
  w.get(l.i);
  w.i32(1);
  w.op(OP.i32_ne, OP.i64_extend_i32_u);
  e.closeFlag(A.CC_Z);
  // PF clear: an odd low byte; SF clear: not negative.
  e.openFlag(A.CC_S);
  w.i64(1);
  e.closeFlag(A.CC_S);
  e.clearFlag(A.CC_O);
  e.clearFlag(A.CC_A);
  w.else();
  e.flagsUncertain();
  e.callImmHelper();
  w.end();
}

/** FLDZ and FLD1. */
function emitLoadConstant(e: Emitter): void {
  const { w } = e;
  e.c();
  e.c();
  w.op(OP.i64_extend_i32_u);
  w.i64(63);
  w.op(OP.i64_shl);
  w.i64(0x3fff);
  w.i64(0);
  e.c();
  w.op(OP.select);
  e.callShared(shared("x87Load80"));
  finish(e, () => pointers(e, false));
}

/** FNSTCW, FNSTSW: slot = the word at `address`. */
const emitWord =
  (slot: number, sz: number, address: number) =>
  (e: Emitter): void => {
    e.openFixed(slot);
    e.w.i32(0);
    e.w.mem(MEM.i64_load16_u, address);
    e.closeFixed(slot, sz);
  };

export function installX87(table: EmitTable): void {
  for (const [op, [name, operands, memory, result]] of Object.entries(CALLS)) {
    const number = shared(name);
    table[U.x87op(op as U.X87Op)] = (e) => {
      e.c();
      operands(e);
      e.callShared(number);
      finish(e, () => {
        result(e);
        pointers(e, memory);
      });
    };
  }
  table[U.x87op("compare")] = emitCompare;
  table[U.x87op("compareFlags")] = emitCompareFlags;
  table[U.x87op("loadConstant")] = emitLoadConstant;
  // A control instruction leaves the pointers alone.
  table[U.x87op("loadControl")] = (e) => {
    e.c();
    inT0(e);
    e.callShared(shared("x87LoadControl"));
    e.w.op(OP.i32_eqz);
    e.w.unlikely();
    e.w.if();
    e.callImmHelper();
    e.w.end();
  };
  table[U.x87op("storeControl")] = emitWord(A.S_T0, 3, A.FPU_CW);
  table[U.x87op("storeStatus")] = emitWord(A.S_T0, 3, A.FPU_SW);
  table[U.x87op("statusToAX")] = emitWord(A.S_RAX, 1, A.FPU_SW);
  table[U.x87op("wait")] = (e) => {
    e.w.i32(0);
    e.w.mem(MEM.i32_load, A.FPU_SW);
    e.w.i32(ES);
    e.w.op(OP.i32_and);
    e.w.unlikely();
    e.w.if();
    e.callImmHelper();
    e.w.end();
  };
}

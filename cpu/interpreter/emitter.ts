/** The interpreter's side of the micro-op emitters: operands are read from the record at local PC at run time. */
import * as A from "../arena.ts";
import { type FunctionType, MEM, OP } from "../emit/assembler.ts";
import { condition, conditionByNumber } from "../emit/emit-move.ts";
import { type Access, Emitter, type Field, I32, I64, IMPORT_HELPER, type Scratch, V128 } from "../emit/emitter.ts";
import * as U from "../uops/uop.ts";
import { MISS_FUNCTIONS, SLOW } from "./misses.ts";
import { WALK } from "./walk.ts";

/** Indices in the interpreter's module (generate.ts): the functions of fast-events.ts, `run`, and the first of emit/shared.ts. */
export const FAULTED: number = WALK + MISS_FUNCTIONS;
export const IRET: number = FAULTED + 1;
export const SHARED: number = IRET + 2;
const FIELD_OFFSET = { d: 2, a: 3, b: 4, s: 5 } as const;
const LOADS = [MEM.i64_load8_u, MEM.i64_load16_u, MEM.i64_load32_u, MEM.i64_load];
const STORES = [MEM.i64_store8, MEM.i64_store16, MEM.i64_store32, MEM.i64_store];

// Locals. The parameter comes first; the i32s, the i64s and the v128 follow in the order of LOCAL_TYPES.
/** Parameter: the block to begin with, then the block that is entered. */
export const BLOCK = 0;
export const PC = 1;
export const ENT = 2;
export const ST = 3;
export const I = 4;
export const TLB = 5;
export const LINK = 6;
export const CTX = 7;
export const RIPL = 8;
export const X = 9;
export const Y = 10;
const R = 11;
export const T = 12;
export const LIN = 13;
const V = 14;
export const LOCAL_TYPES: readonly number[] = [I32, I32, I32, I32, I32, I32, I64, I64, I64, I64, I64, I64, I64, V128];
/** Type of the functions that have them. */
export const RUN_TYPE: FunctionType = { params: [I32], results: [I32] };
export const SCRATCH: Scratch = { x: X, y: Y, r: R, t: T, lin: LIN, v: V, ent: ENT, st: ST, i: I };

export class InterpreterEmitter extends Emitter {
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
  offset(): void {
    this.w.get(PC);
    this.w.mem(MEM.i64_load8_u, 6);
  }
  vectorAddress(field: "d" | "a" | "b"): void {
    this.pcByte(FIELD_OFFSET[field]);
    this.w.i32(4);
    this.w.op(OP.i32_shl);
  }
  uop(): void {
    this.w.get(PC);
  }
  leaveIf(): void {
    const { w } = this;
    w.tee(ST);
    w.unlikely();
    w.if();
    w.i32(0);
    w.get(PC);
    w.mem(MEM.i32_store, A.UOP);
    w.get(ST);
    w.op(OP.return);
    w.end();
  }
  override slow(access: Access, bytes: number): void {
    const { w } = this;
    w.i32(0);
    w.get(LIN);
    w.mem(MEM.i64_store, A.ACCESS_LIN);
    w.i32(access);
    w.i32(bytes);
    this.uop();
    w.call(SLOW);
    this.leaveIf();
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
  callShared(number: number): void {
    this.w.call(SHARED + number);
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

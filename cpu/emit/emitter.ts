/**
 * What every micro-op emitter writes against. The semantics of a micro-op stand once, in the emit-*.ts files, in terms of this
 * class; where operands come from is the engine's: the interpreter reads them from the micro-op record at run time, the
 * translator knows them and keeps slots in locals.
 */
import * as A from "../arena.ts";
import { type Assembler, I32, I64, type Import, MEM, OP, V128 } from "./assembler.ts";
import { storeFlags } from "./flags.ts";
import { SHARED_FUNCTIONS } from "./shared.ts";

export type Field = "d" | "a" | "b" | "s";

/** Scratch locals that emitters may use freely inside one micro-op. */
export interface Scratch {
  x: number;
  y: number;
  r: number;
  t: number;
  lin: number;
  v: number;
  ent: number;
  st: number;
  i: number;
}

/** Imported functions, in the order of their indices. Types in terms of wasm value types. */
export const IMPORTS: readonly Import[] = [
  { name: "read", type: { params: [I32, I32], results: [I32] } },
  { name: "write", type: { params: [I32, I32], results: [I32] } },
  { name: "rmw", type: { params: [I32, I32], results: [I32] } },
  { name: "helper", type: { params: [I32, I32], results: [I32] } },
  { name: "fault", type: { params: [I32, I32], results: [I32] } },
];
/** The slow path of an access at ACCESS_LIN: read(bytes, micro-op), and so on. */
export const IMPORT_READ = 0;
export const IMPORT_WRITE = 1;
export const IMPORT_RMW = 2;
/** helper(number, micro-op). */
export const IMPORT_HELPER = 3;
/** fault(vector, error code): records the fault, returns H_FAULT. */
export const IMPORT_FAULT = 4;
/**
 * Of translations: the same functions told REMAINING as well, or the micro-op, so that their calls are short (interpreter/gates.ts); and
 * settle(), which makes the flag words of the lazy form (flags.ts settleFlags), and those of shared.ts.
 */
export const TRANSLATION_IMPORTS: readonly Import[] = [
  ...IMPORTS.map(({ name, type }) => ({ name, type: { ...type, params: [...type.params, I32] } })),
  { name: "settle", type: { params: [], results: [] } },
  ...SHARED_FUNCTIONS,
];
export const IMPORT_SETTLE: number = IMPORTS.length;
/** The first of shared.ts. */
export const IMPORT_SHARED: number = IMPORTS.length + 1;

/** Size in bits of size index 0..3. */
export const bitsOf = (sz: number): number => 8 << sz;
export const bytesOf = (sz: number): number => 1 << sz;

const LOADS = [MEM.i64_load8_u, MEM.i64_load16_u, MEM.i64_load32_u, MEM.i64_load];
const STORES = [MEM.i64_store8, MEM.i64_store16, MEM.i64_store32, MEM.i64_store];

export type Access = typeof IMPORT_READ | typeof IMPORT_WRITE | typeof IMPORT_RMW;

export abstract class Emitter {
  readonly w: Assembler;
  readonly l: Scratch;

  constructor(w: Assembler, scratch: Scratch) {
    this.w = w;
    this.l = scratch;
  }

  // ---- operands: the engine's -------------------------------------------------------------------------------------
  /** Pushes slot `field`, the low `8 << sz` bits zero-extended to i64. */
  abstract get(field: Field, sz: number): void;
  /** Pushes a slot known by name (S_RAX ...). */
  abstract getFixed(slot: number, sz: number): void;
  /** Begins a write to a slot: then push the i64 value, then `close` with the same arguments. */
  abstract open(field: Field): void;
  /** `clean`: for sz 2, the upper half of the value is known to be zero. */
  abstract close(field: Field, sz: number, clean?: boolean): void;
  abstract openFixed(slot: number): void;
  abstract closeFixed(slot: number, sz: number): void;
  /** Begins and ends a write of one of the CC_* words. */
  abstract openFlag(flag: number): void;
  abstract closeFlag(flag: number): void;
  abstract getFlag(flag: number): void;
  /** Pushes imm sign-extended to i64; (disp, imm) as one i64; disp sign-extended; c as i32; scale as i64. */
  abstract imm(): void;
  abstract imm64(): void;
  abstract disp(): void;
  abstract c(): void;
  abstract scale(): void;
  /** Pushes the arena address of a vector register operand plus nothing; use with vector loads at offset A.XMM. */
  abstract vectorAddress(field: "d" | "a" | "b"): void;
  /** True if both fields are known to name the same vector. */
  sameVector(_one: "d" | "a" | "b", _other: "d" | "a" | "b"): boolean {
    return false;
  }
  /** Pushes the address of the micro-op record. */
  abstract uop(): void;
  /** With an H_* status on the stack: leaves the engine with it if it is not zero. */
  abstract leaveIf(): void;
  /** Calls U_HELPER-style helper `number` on this micro-op and leaves the engine if it faults. */
  abstract callHelper(number: number): void;
  /** The same with the number in the record's imm. */
  abstract callImmHelper(): void;
  /** The record's imm, where that is known when code is made. */
  knownImm(): number | null {
    return null;
  }
  /** Calls function `number` of shared.ts with its operands on the stack. */
  abstract callShared(number: number): void;
  /** Pushes the record's off as i64. */
  abstract offset(): void;
  /** Pushes the TLB base (i32) and the context (i64). */
  abstract tlbBase(): void;
  abstract context(): void;

  /** Pushes condition `cc` (0..15) as an i32. */
  abstract condition(cc: number): void;
  /** Pushes the condition whose number is in the record's c. */
  abstract conditionOfC(): void;

  // ---- values -----------------------------------------------------------------------------------------------------
  /** Leaves the engine with fault `vector`, error code 0. */
  fault(vector: number): void {
    this.w.i32(vector);
    this.w.i32(0);
    this.w.call(IMPORT_FAULT);
    this.leaveIf();
  }

  /** Sign-extends the value on the stack from `8 << sz` bits. */
  signExtend(sz: number): void {
    if (sz === 0) this.w.op(OP.i64_extend8_s);
    else if (sz === 1) this.w.op(OP.i64_extend16_s);
    else if (sz === 2) this.w.op(OP.i64_extend32_s);
  }
  /** Zero-extends the value on the stack from `8 << sz` bits. */
  zeroExtend(sz: number): void {
    if (sz === 2) this.w.op(OP.i32_wrap_i64, OP.i64_extend_i32_u);
    else if (sz < 2) {
      this.w.i64(sz === 0 ? 0xff : 0xffff);
      this.w.op(OP.i64_and);
    }
  }
  /** Shifts the value on the stack so that the top bit of its size is bit 63. */
  toTop(sz: number): void {
    if (sz === 3) return;
    this.w.i64(64 - bitsOf(sz));
    this.w.op(OP.i64_shl);
  }
  /** Pushes imm as an operand of size `sz`, zero-extended. */
  immOperand(sz: number): void {
    this.imm();
    this.zeroExtend(sz);
  }

  // ---- flags ------------------------------------------------------------------------------------------------------
  /** Stores ZF, SF, PF from local `r` (any garbage above the size is ignored). */
  flagsOfResult(r: number, sz: number): void {
    const { w } = this;
    this.openFlag(A.CC_Z);
    w.get(r);
    this.signExtend(sz);
    if (sz !== 3) w.tee(r);
    this.closeFlag(A.CC_Z);
    this.openFlag(A.CC_S);
    w.get(r);
    this.closeFlag(A.CC_S);
  }
  clearFlag(flag: number): void {
    this.openFlag(flag);
    this.w.i64(0);
    this.closeFlag(flag);
  }
  /** The flags of operation `kind` (flags.ts K_*): locals x, y and r hold its operands and result. */
  flagsOf(kind: number, sz: number): void {
    storeFlags(this, kind, sz, this.l);
  }
  /** Here flags may be those that were stored before, or those before the `if` that ends or turns to its other arm. */
  flagsUncertain(): void {}

  // ---- memory -----------------------------------------------------------------------------------------------------
  /** Computes the linear address of the memory operand into local `lin`. */
  address(): void {
    const { w, l } = this;
    this.get("a", 3);
    this.get("b", 3);
    this.scale();
    w.op(OP.i64_shl, OP.i64_add);
    this.disp();
    w.op(OP.i64_add);
    this.get("s", 3);
    w.op(OP.i64_add);
    w.set(l.lin);
  }

  /**
   * Probes the TLB for `bytes` at local `lin` with tag TLB_READ or TLB_WRITE: pushes 1 on a hit. Local `ent` is the entry.
   * The page of the last byte is compared, so an access that crosses pages misses.
   */
  probe(tag: number, bytes: number): void {
    const { w, l } = this;
    this.tlbBase();
    w.get(l.lin);
    w.i64(12 - A.TLB_ENTRY_SHIFT);
    w.op(OP.i64_shr_u, OP.i32_wrap_i64);
    w.i32((A.TLB_ENTRIES - 1) << A.TLB_ENTRY_SHIFT);
    w.op(OP.i32_and, OP.i32_add);
    w.tee(l.ent);
    w.mem(MEM.i64_load, tag);
    w.get(l.lin);
    if (bytes > 1) {
      w.i64(bytes - 1);
      w.op(OP.i64_add);
    }
    w.i64(-4096);
    w.op(OP.i64_and);
    this.context();
    w.op(OP.i64_or, OP.i64_eq);
  }

  /** Pushes the arena address that a hit of `probe` found. */
  hitAddress(): void {
    const { w, l } = this;
    w.get(l.lin);
    w.op(OP.i32_wrap_i64);
    w.get(l.ent);
    w.mem(MEM.i32_load, A.TLB_ADDEND);
    w.op(OP.i32_add);
  }

  /**
   * Calls a slow path for `bytes` at `lin`; leaves the engine if it says so. The address goes through memory (ACCESS_LIN): as 32-bit halves its
   * parts would be computed before they are needed.
   */
  abstract slow(access: Access, bytes: number): void;

  /** Loads from local `lin` and pushes the value, zero-extended to i64. `access` READ or RMW. */
  loadAt(sz: number, access: Access = IMPORT_READ): void {
    const { w } = this;
    this.probe(access === IMPORT_READ ? A.TLB_READ : A.TLB_WRITE, bytesOf(sz));
    w.likely();
    w.if(I64);
    this.hitAddress();
    w.mem(LOADS[sz]!, 0);
    w.else();
    this.slow(access, bytesOf(sz));
    w.i32(0);
    w.mem(LOADS[sz]!, A.BUS_DATA);
    w.end();
  }

  /** Loads the memory operand. */
  load(sz: number, access: Access = IMPORT_READ): void {
    this.address();
    this.loadAt(sz, access);
  }

  /** Stores local `value` (i64, low bits used) at local `lin`. */
  storeAt(sz: number, value: number): void {
    const { w } = this;
    this.probe(A.TLB_WRITE, bytesOf(sz));
    w.likely();
    w.if();
    this.hitAddress();
    w.get(value);
    w.mem(STORES[sz]!, 0);
    w.else();
    w.i32(0);
    w.get(value);
    w.mem(MEM.i64_store, A.BUS_DATA);
    this.slow(IMPORT_WRITE, bytesOf(sz));
    w.end();
  }

  // ---- vectors ----------------------------------------------------------------------------------------------------
  getVector(field: "d" | "a" | "b"): void {
    this.vectorAddress(field);
    this.w.simdMem(0x00, A.XMM);
  }
  openVector(field: "d"): void {
    this.vectorAddress(field);
  }
  closeVector(): void {
    this.w.simdMem(0x0b, A.XMM);
  }
}

export { I32, I64, V128 };

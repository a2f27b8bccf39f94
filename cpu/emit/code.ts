/**
 * WebAssembly written as expressions, for functions that calculate more than an emitter's few operations: `I64.add(a.get, b.get)` pushes a sum,
 * `x.set(value)` is a statement. Pieces are put together once, when the function is made.
 */
import {
  Assembler,
  type FunctionBody,
  type FunctionType,
  MEM,
  OP,
  I32 as TYPE_I32,
  I64 as TYPE_I64,
  V128 as TYPE_V128,
} from "./assembler.ts";

/** Emits something: an expression pushes its value, a statement leaves the stack as it was. */
export type Code = (w: Assembler) => void;

/** Operands first, in their order. */
export type Operation = (...operands: readonly Code[]) => Code;
/** Loads and stores take the constant part of the address first, and last the rest of it, if there is any. */
export type Load = (offset: number, address?: Code) => Code;
export type Store = (offset: number, value: Code, address?: Code) => Code;

const operation =
  (op: number): Operation =>
  (...operands) =>
  (w) => {
    for (const operand of operands) operand(w);
    w.op(op);
  };
const zero: Code = (w) => w.i32(0);
const load =
  (op: number): Load =>
  (offset, address = zero) =>
  (w) => {
    address(w);
    w.mem(op, offset);
  };
const store =
  (op: number): Store =>
  (offset, value, address = zero) =>
  (w) => {
    address(w);
    value(w);
    w.mem(op, offset);
  };

type Shared = "add" | "sub" | "and" | "or" | "shl" | "shr" | "eqz" | "eq" | "ne" | "less" | "below" | "above";
interface Constant {
  of(value: number): Code;
}
/** `less` compares signed, `below` and `above` unsigned; `shr` is unsigned. */
export const I32: Constant &
  Record<Shared | "xor" | "wrap", Operation> &
  Record<"load" | "load16", Load> &
  Record<"store" | "store16", Store> = {
  of: (value) => (w) => w.i32(value),
  load: load(MEM.i32_load),
  load16: load(MEM.i32_load16_u),
  store: store(MEM.i32_store),
  store16: store(MEM.i32_store16),
  add: operation(OP.i32_add),
  sub: operation(OP.i32_sub),
  and: operation(OP.i32_and),
  or: operation(OP.i32_or),
  xor: operation(OP.i32_xor),
  shl: operation(OP.i32_shl),
  shr: operation(OP.i32_shr_u),
  eqz: operation(OP.i32_eqz),
  eq: operation(OP.i32_eq),
  ne: operation(OP.i32_ne),
  less: operation(OP.i32_lt_s),
  below: operation(OP.i32_lt_u),
  above: operation(OP.i32_gt_u),
  wrap: operation(OP.i32_wrap_i64),
};
/** The same; `words` is a constant from its two words, `extend` an i32, unsigned. */
export const I64: Constant &
  Record<Shared | "mul" | "divide" | "sar" | "clz" | "extend", Operation> & {
    words(high: number, low: number): Code;
    load: Load;
    store: Store;
  } = {
  of: (value) => (w) => w.i64(value),
  words: (high, low) => (w) => w.i64Words(low, high),
  load: load(MEM.i64_load),
  store: store(MEM.i64_store),
  add: operation(OP.i64_add),
  sub: operation(OP.i64_sub),
  mul: operation(OP.i64_mul),
  divide: operation(OP.i64_div_u),
  and: operation(OP.i64_and),
  or: operation(OP.i64_or),
  shl: operation(OP.i64_shl),
  shr: operation(OP.i64_shr_u),
  sar: operation(OP.i64_shr_s),
  clz: operation(OP.i64_clz),
  eqz: operation(OP.i64_eqz),
  eq: operation(OP.i64_eq),
  ne: operation(OP.i64_ne),
  less: operation(OP.i64_lt_s),
  below: operation(OP.i64_lt_u),
  above: operation(OP.i64_gt_u),
  extend: operation(OP.i64_extend_i32_u),
};

/** SIMD instruction `op` (core specification, SIMD table). */
export const simd =
  (op: number): Operation =>
  (...operands) =>
  (w) => {
    for (const operand of operands) operand(w);
    w.simd(op);
  };
/** A v128 constant of two equal 64-bit words. */
export const constant128 =
  (high: number, low: number): Code =>
  (w) => {
    w.simd(0x0c);
    w.raw(new Uint8Array(Int32Array.of(low, high, low, high).buffer));
  };

/** `condition` (i32) ? `yes` : `no`, both evaluated. */
export const choose = (condition: Code, yes: Code, no: Code): Code => operation(OP.select)(yes, no, condition);

export const sequence =
  (...code: readonly Code[]): Code =>
  (w) => {
    for (const part of code) part(w);
  };
/** Statement: `yes` if the i32 is not zero, else `no`. */
export const when =
  (condition: Code, yes: Code, no?: Code): Code =>
  (w) => {
    condition(w);
    w.if();
    yes(w);
    if (no !== undefined) {
      w.else();
      no(w);
    }
    w.end();
  };
/** `when` with a condition that mostly is zero. */
export const rarely =
  (condition: Code, yes: Code): Code =>
  (w) => {
    condition(w);
    w.unlikely();
    w.if();
    yes(w);
    w.end();
  };
/** Statement: `body` again as long as the i32 is not zero. */
export const repeatWhile =
  (condition: Code, body: Code): Code =>
  (w) => {
    const again = w.loop();
    condition(w);
    w.if();
    body(w);
    w.br(again);
    w.end();
    w.end();
  };
/** Statement: leaves the function with a value. */
export const give = (value: Code): Code => operation(OP.return)(value);
/** Expression: what function `index` returns. */
export const call =
  (index: number, ...operands: readonly Code[]): Code =>
  (w) => {
    for (const operand of operands) operand(w);
    w.call(index);
  };

export interface Local {
  readonly get: Code;
  set(value: Code): Code;
}

/** A function in the making: its parameters come first, then the locals that it asks for. */
export class Maker {
  private readonly type: FunctionType;
  private readonly locals: number[] = [];

  constructor(type: FunctionType) {
    this.type = type;
  }
  parameter(n: number): Local {
    return local(n);
  }
  i32(): Local {
    return this.local(TYPE_I32);
  }
  i64(): Local {
    return this.local(TYPE_I64);
  }
  v128(): Local {
    return this.local(TYPE_V128);
  }
  private local(type: number): Local {
    this.locals.push(type);
    return local(this.type.params.length + this.locals.length - 1);
  }
  /**
   * The code is put together when it is asked for: who only wants the function's type does not wait for it.
   * @param code ends with the function's result on the stack
   */
  finish(name: string, ...code: readonly Code[]): FunctionBody {
    let made: Assembler | undefined;
    const assemble = (): Assembler => {
      if (made !== undefined) return made;
      made = new Assembler();
      sequence(...code)(made);
      return made;
    };
    return {
      name,
      type: this.type,
      locals: this.locals,
      get code() {
        const { bytes, length } = assemble();
        return bytes.slice(0, length);
      },
      get hints() {
        return assemble().hints;
      },
    };
  }
}

const local = (n: number): Local => ({
  get: (w) => w.get(n),
  set: (value) => (w) => {
    value(w);
    w.set(n);
  },
});

/**
 * Is a floating-point operation exact? While MXCSR.PE is clear, a program's first inexact operation has to set it; until then every operation
 * asks here, and what is exact goes the short way (emit-float.ts). The error of a sum is computed as by Knuth's TwoSum, that
 * of a product as by Dekker and Veltkamp (Muller et al., Handbook of Floating-Point Arithmetic, sections 4.3 and 4.4); a quotient or root is exact if
 * multiplying it gives the operand back. Operands are zero or of an exponent for which no step overflows or underflows.
 */
import * as A from "../arena.ts";
import { Assembler, type FunctionType, I32, I64, type Label, MEM, OP } from "./assembler.ts";

const F32 = 0x7d;
const F64 = 0x7c;
const [F32_LOAD, F64_LOAD] = [0x2a, 0x2b];
const [F32_EQ, F64_EQ] = [0x5b, 0x61];
const [F32_SQRT, F32_ADD, F32_SUB, F32_DIV, F32_MUL] = [0x91, 0x92, 0x93, 0x95, 0x94];
const [F64_SQRT, F64_ADD, F64_SUB, F64_MUL, F64_DIV] = [0x9f, 0xa0, 0xa1, 0xa2, 0xa3];
const F64_PROMOTE_F32 = 0xbb;

/** exact(operation, a, b): 1 if a op b (SQRT: of b) is exact; a and b are offsets from A.XMM. */
export const EXACT_TYPE: FunctionType = { params: [I32, I32, I32], results: [I32] };
export const EXACT_LOCALS: readonly number[] = [
  ...new Array<number>(8).fill(F64),
  ...new Array<number>(4).fill(F32),
  I64,
];
export const EXACT_OPERATIONS = ["ADD", "SUB", "MUL", "DIV", "SQRT"] as const;
/** The operation's number: doubles come first. */
export const exactNumber = (operation: (typeof EXACT_OPERATIONS)[number], double: boolean): number =>
  EXACT_OPERATIONS.indexOf(operation) + (double ? 0 : EXACT_OPERATIONS.length);

const [KIND, PA, PB] = [0, 1, 2];
const [X, Y, R, P, XH, XL, YH, YL] = [3, 4, 5, 6, 7, 8, 9, 10];
const [SX, SY, SR, SB] = [11, 12, 13, 14];
const BITS = 15;

/** As of emit-float.ts, but PE is clear. */
const MXCSR_MASK = 0xffe0;
const MXCSR_CLEAR = 0x1f80;

/** Pushes 1 if the operand at `from` is zero, or its exponent is within 200 (60) of the bias; `positive`: and it has no sign. */
function moderate(w: Assembler, from: number, double: boolean, nonzero: boolean, positive: boolean): void {
  const sign = positive ? 1 : 0;
  w.get(from);
  w.mem(double ? MEM.i64_load : MEM.i64_load32_u, A.XMM);
  w.tee(BITS);
  w.i64(double ? 52 : 23);
  w.op(OP.i64_shr_u);
  w.i64((double ? 0x7ff : 0xff) | (sign << (double ? 11 : 8)));
  w.op(OP.i64_and);
  w.i64(double ? 1023 - 200 : 127 - 60);
  w.op(OP.i64_sub);
  w.i64(double ? 401 : 121);
  w.op(OP.i64_lt_u);
  if (nonzero) return;
  w.get(BITS);
  w.i64((double ? 1 : 33) - sign);
  w.op(OP.i64_shl, OP.i64_eqz, OP.i32_or);
}

/** Local to = a op b. */
function calculate(w: Assembler, to: number, a: number, op: number, b: number): void {
  w.get(a);
  w.get(b);
  w.op(op);
  w.set(to);
}

/** Pushes 1 if x + y (or x - y) is exact. */
function sumExact(
  w: Assembler,
  [add, sub, eq]: readonly number[],
  [x, y, r, t]: readonly number[],
  minus: boolean,
): void {
  calculate(w, r!, x!, minus ? sub! : add!, y!);
  // t = what y contributed; the errors of both.
  calculate(w, t!, r!, sub!, x!);
  w.get(x!);
  w.get(r!);
  w.get(t!);
  w.op(sub!, sub!);
  if (minus) {
    w.get(y!);
    w.get(t!);
    w.op(add!, sub!);
  } else {
    w.get(y!);
    w.get(t!);
    w.op(sub!, add!);
  }
  zero(w, eq!);
}
function zero(w: Assembler, eq: number): void {
  if (eq === F64_EQ) w.f64(0);
  else {
    w.byte(0x43);
    w.raw(new Uint8Array(4));
  }
  w.op(eq);
}

/** from = high + low, of at most 26 bits each. */
function split(w: Assembler, from: number, high: number, low: number): void {
  w.get(from);
  w.f64(2 ** 27 + 1);
  w.op(F64_MUL);
  w.tee(high);
  w.get(high);
  w.get(from);
  w.op(F64_SUB, F64_SUB);
  w.set(high);
  calculate(w, low, from, F64_SUB, high);
}

/** Pushes 1 if x * y is exact, and is local `same` if that is given. */
function productExact(w: Assembler, x: number, y: number, same: number): void {
  calculate(w, P, x, F64_MUL, y);
  split(w, x, XH, XL);
  split(w, y, YH, YL);
  w.get(XH);
  w.get(YH);
  w.op(F64_MUL);
  w.get(P);
  w.op(F64_SUB);
  for (const [a, b] of [
    [XH, YL],
    [XL, YH],
    [XL, YL],
  ] as const) {
    w.get(a);
    w.get(b);
    w.op(F64_MUL, F64_ADD);
  }
  zero(w, F64_EQ);
  if (same < 0) return;
  w.get(P);
  w.get(same);
  w.op(F64_EQ, OP.i32_and);
}

const widened = (w: Assembler, local: number): void => {
  w.get(local);
  w.op(F64_PROMOTE_F32);
};
/** Pushes 1 if the product of two floats, which is exact as a double, is what `result` pushes. */
function singleProduct(w: Assembler, x: number, y: number, result: number): void {
  widened(w, x);
  widened(w, y);
  w.op(F64_MUL);
  widened(w, result);
  w.op(F64_EQ);
}

function operation(w: Assembler, name: (typeof EXACT_OPERATIONS)[number], double: boolean): void {
  const [x, y, r] = double ? [X, Y, R] : [SX, SY, SR];
  if (name === "ADD" || name === "SUB") {
    if (double) sumExact(w, [F64_ADD, F64_SUB, F64_EQ], [x, y, r, P], name === "SUB");
    else sumExact(w, [F32_ADD, F32_SUB, F32_EQ], [x, y, r, SB], name === "SUB");
  } else if (name === "MUL") {
    if (double) productExact(w, x, y, -1);
    else {
      calculate(w, r, x, F32_MUL, y);
      singleProduct(w, x, y, r);
    }
  } else if (name === "DIV") {
    calculate(w, r, x, double ? F64_DIV : F32_DIV, y);
    if (double) productExact(w, r, y, x);
    else singleProduct(w, r, y, x);
  } else {
    w.get(y);
    w.op(double ? F64_SQRT : F32_SQRT);
    w.set(r);
    if (double) productExact(w, r, r, y);
    else singleProduct(w, r, r, y);
  }
}

/** The function's code. */
export function exactCode(): Uint8Array {
  const w = new Assembler();
  const no = w.block();
  w.i32(0);
  w.mem(MEM.i32_load, A.MXCSR);
  w.i32(MXCSR_MASK);
  w.op(OP.i32_and);
  w.i32(MXCSR_CLEAR);
  w.op(OP.i32_ne);
  w.brIf(no);
  const cases: Label[] = Array.from({ length: 2 * EXACT_OPERATIONS.length }, () => w.block()).reverse();
  w.get(KIND);
  w.brTable(cases, no);
  for (let n = 0; n < cases.length; n++) {
    w.end();
    const double = n < EXACT_OPERATIONS.length;
    const name = EXACT_OPERATIONS[n % EXACT_OPERATIONS.length]!;
    const unary = name === "SQRT";
    moderate(w, PB, double, name === "DIV", unary);
    if (!unary) {
      moderate(w, PA, double, false, false);
      w.op(OP.i32_and);
    }
    w.op(OP.i32_eqz);
    w.brIf(no);
    for (const [from, to] of [
      [PA, double ? X : SX],
      [PB, double ? Y : SY],
    ] as const) {
      w.get(from);
      w.mem(double ? F64_LOAD : F32_LOAD, A.XMM);
      w.set(to);
    }
    operation(w, name, double);
    w.op(OP.return);
  }
  w.end();
  w.i32(0);
  return w.bytes.slice(0, w.length);
}

/**
 * SSE floating point on WebAssembly's floats (ARCHITECTURE.md): the usual case inline, everything else by the helper that the record
 * names. An operand may be zero or have an exponent near the middle, so that no result can overflow, underflow or be denormal;
 * with PE set and everything masked the operation then changes no flag, and WebAssembly rounds to nearest as MXCSR says.
 */
import * as A from "../arena.ts";
import * as U from "../uops/uop.ts";
import { MEM, OP } from "./assembler.ts";
import type { Emitter } from "./emitter.ts";
import { exactNumber } from "./exact.ts";
import type { EmitTable } from "./family.ts";
import { LANES_OPERATIONS } from "./float-lanes.ts";
import { shared } from "./shared.ts";

const F32_LOAD = 0x2a;
const F64_LOAD = 0x2b;
const F32_STORE = 0x38;
const F64_STORE = 0x39;
const F32_EQ = 0x5b;
const F32_LT = 0x5d;
const F64_EQ = 0x61;
const F64_LT = 0x63;
const F32_OPS = { SQRT: 0x91, ADD: 0x92, SUB: 0x93, MUL: 0x94, DIV: 0x95 } as const;
const F64_OPS = { SQRT: 0x9f, ADD: 0xa0, SUB: 0xa1, MUL: 0xa2, DIV: 0xa3 } as const;
type Operation = keyof typeof F64_OPS;
const F64_ABS = 0x99;
const F64_TRUNC = 0x9d;
const F64_NEAREST = 0x9e;
const F64_PROMOTE_F32 = 0xbb;
const F32_DEMOTE_F64 = 0xb6;
const F32_CONVERT_I32_S = 0xb2;
const F32_CONVERT_I64_S = 0xb4;
const I32_TRUNC_F64_S = 0xaa;
const I64_TRUNC_F64_S = 0xb0;
const F64_CONVERT_I32_S = 0xb7;
const F64_CONVERT_I64_S = 0xb9;

/** MXCSR: flags below PE don't matter; PE set, DAZ clear, all masked, round to nearest, FTZ clear. */
const MXCSR_MASK = 0xffe0;
const MXCSR_USUAL = 0x1fa0;
const MXCSR_PE = 0x20;
/** Pushes PE, or 1 if what `exact` pushes is. */
function inexactOr(e: Emitter, exact: () => void): void {
  const { w } = e;
  w.i32(0);
  w.mem(MEM.i32_load, A.MXCSR);
  w.i32(MXCSR_PE);
  w.op(OP.i32_and);
  exact();
  w.op(OP.i32_or);
  // 32 or 1 or 33 or 0.
  w.i32(0);
  w.op(OP.i32_ne);
}

/** Pushes 1 if MXCSR is as the fast path needs it, but for PE if `anyPe`. */
function usualMxcsr(e: Emitter, anyPe = false): void {
  const { w } = e;
  w.i32(0);
  w.mem(MEM.i32_load, A.MXCSR);
  if (anyPe) {
    w.i32(MXCSR_PE);
    w.op(OP.i32_or);
  }
  w.i32(MXCSR_MASK);
  w.op(OP.i32_and);
  w.i32(MXCSR_USUAL);
  w.op(OP.i32_eq);
}

/**
 * Pushes 1 if the f64 (or f32) of vector `field` has an exponent within 500 (60) of the bias, or is zero unless `nonzero`. `positive`: and has
 * no sign.
 */
function middling(e: Emitter, field: "a" | "b", double: boolean, nonzero: boolean, positive: boolean): void {
  const { w, l } = e;
  e.vectorAddress(field);
  w.mem(double ? MEM.i64_load : MEM.i64_load32_u, A.XMM);
  w.tee(l.t);
  w.i64(double ? 52 : 23);
  w.op(OP.i64_shr_u);
  if (!positive) {
    w.i64(double ? 0x7ff : 0xff);
    w.op(OP.i64_and);
  }
  w.i64(double ? 1023 - 500 : 127 - 60);
  w.op(OP.i64_sub);
  w.i64(double ? 1001 : 121);
  w.op(OP.i64_lt_u);
  if (nonzero) return;
  w.get(l.t);
  if (!positive) {
    w.i64(double ? 1 : 33);
    w.op(OP.i64_shl);
  }
  w.op(OP.i64_eqz, OP.i32_or);
}

const EXACT = shared("exact");

/** Scalar instructions: d = a, except for what the caller is about to store. */
function takeRest(e: Emitter): void {
  if (e.sameVector("d", "a")) return;
  const { w } = e;
  e.vectorAddress("d");
  e.vectorAddress("a");
  w.op(OP.i32_ne);
  w.if();
  e.openVector("d");
  e.getVector("a");
  e.closeVector();
  w.end();
}

/** Of scalars; packed numbers are float-lanes.ts's. */
function emitArithmetic(e: Emitter, operation: Operation, double: boolean): void {
  const { w, l } = e;
  const unary = operation === "SQRT";
  usualMxcsr(e);
  if (!unary) {
    middling(e, "a", double, false, false);
    w.op(OP.i32_and);
  }
  middling(e, "b", double, operation === "DIV", unary);
  w.op(OP.i32_and);
  w.set(l.i);
  // Or else it is exact, which the rare way finds out.
  const done = w.block();
  const short = w.block();
  w.get(l.i);
  w.likely();
  w.brIf(short);
  w.i32(exactNumber(operation, double));
  for (const field of ["a", "b"] as const) e.vectorAddress(field);
  e.callShared(EXACT);
  w.brIf(short);
  e.callImmHelper();
  w.br(done);
  w.end();
  e.vectorAddress("d");
  for (const field of unary ? (["b"] as const) : (["a", "b"] as const)) {
    e.vectorAddress(field);
    w.mem(double ? F64_LOAD : F32_LOAD, A.XMM);
  }
  w.op(double ? F64_OPS[operation] : F32_OPS[operation]);
  takeRest(e);
  w.mem(double ? F64_STORE : F32_STORE, A.XMM);
  w.end();
}

/** Pushes 1 if the f64 (or f32) of vector `field` is no NaN and no denormal: such are compared and widened without an exception. */
function comparable(e: Emitter, field: "a" | "b", double: boolean): void {
  const { w, l } = e;
  e.vectorAddress(field);
  w.mem(double ? MEM.i64_load : MEM.i64_load32_u, A.XMM);
  // Without its sign, at the top: from the least normal number to infinity, or zero.
  w.i64(double ? 1 : 33);
  w.op(OP.i64_shl);
  w.tee(l.t);
  w.i64(double ? 2 ** 53 : 2 ** 56);
  w.op(OP.i64_sub);
  if (double) w.i64Words(1, 0xffe00000 - 0x200000);
  else w.i64Words(1, 0xff000000 - 0x1000000);
  w.op(OP.i64_lt_u);
  w.get(l.t);
  w.op(OP.i64_eqz, OP.i32_or);
}

/** COMISD, UCOMISD and those of singles: ZF, PF, CF = equal, unordered, below; the others clear. NaNs and denormals go to the helper. */
function emitCompare(e: Emitter, double: boolean): void {
  const { w } = e;
  comparable(e, "a", double);
  comparable(e, "b", double);
  w.op(OP.i32_and);
  w.likely();
  w.if();
  const compare = (op: number): void => {
    for (const field of ["a", "b"] as const) {
      e.vectorAddress(field);
      w.mem(double ? F64_LOAD : F32_LOAD, A.XMM);
    }
    w.op(op);
  };
  e.openFlag(A.CC_C);
  compare(double ? F64_LT : F32_LT);
  w.op(OP.i64_extend_i32_u);
  w.i64(63);
  w.op(OP.i64_shl);
  e.closeFlag(A.CC_C);
  e.openFlag(A.CC_Z);
  compare(double ? F64_EQ : F32_EQ);
  w.op(OP.i32_eqz, OP.i64_extend_i32_u);
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

/** CVTSI2SD and CVTSI2SS: exact, or as MXCSR says. */
function emitFromInteger(e: Emitter, wide: boolean, double: boolean): void {
  const { w } = e;
  const convert = (): void => {
    e.vectorAddress("d");
    e.get("b", wide ? 3 : 2);
    if (wide) w.op(double ? F64_CONVERT_I64_S : F32_CONVERT_I64_S);
    else w.op(OP.i32_wrap_i64, double ? F64_CONVERT_I32_S : F32_CONVERT_I32_S);
    takeRest(e);
    w.mem(double ? F64_STORE : F32_STORE, A.XMM);
  };
  if (double && !wide) {
    convert();
    return;
  }
  usualMxcsr(e, true);
  // Up to 2^53 (2^24) in size every integer is a number of the format.
  const exact = double ? 2 ** 53 : 2 ** 24;
  inexactOr(e, () => {
    e.get("b", wide ? 3 : 2);
    if (!wide) e.signExtend(2);
    w.i64(exact);
    w.op(OP.i64_add);
    w.i64(2 * exact);
    w.op(OP.i64_lt_u);
  });
  w.op(OP.i32_and);
  w.likely();
  w.if();
  convert();
  w.else();
  e.callImmHelper();
  w.end();
}

/** CVTTSD2SI, or with `round` F64_NEAREST CVTSD2SI, and those of singles: values in range; NaN and the rest, which give the integer indefinite, go to the helper. */
function emitToInteger(e: Emitter, wide: boolean, double: boolean, round: number): void {
  const { w } = e;
  usualMxcsr(e, true);
  const value = (): void => {
    e.vectorAddress("b");
    w.mem(double ? F64_LOAD : F32_LOAD, A.XMM);
    if (!double) w.op(F64_PROMOTE_F32);
  };
  inexactOr(e, () => {
    value();
    w.op(round);
    value();
    w.op(F64_EQ);
  });
  w.op(OP.i32_and);
  value();
  w.op(F64_ABS);
  w.f64(wide ? 2 ** 62 : 2 ** 31 - 1);
  w.op(F64_LT, OP.i32_and);
  w.likely();
  w.if();
  e.open("d");
  value();
  if (round !== F64_TRUNC) w.op(round);
  if (wide) w.op(I64_TRUNC_F64_S);
  else w.op(I32_TRUNC_F64_S, OP.i64_extend_i32_u);
  e.close("d", wide ? 3 : 2, true);
  w.else();
  e.callImmHelper();
  w.end();
}

/** CVTSS2SD: exact, of a number. */
function emitWiden(e: Emitter): void {
  const { w } = e;
  comparable(e, "b", false);
  w.likely();
  w.if();
  e.vectorAddress("d");
  e.vectorAddress("b");
  w.mem(F32_LOAD, A.XMM);
  w.op(F64_PROMOTE_F32);
  takeRest(e);
  w.mem(F64_STORE, A.XMM);
  w.else();
  e.callImmHelper();
  w.end();
}

/** CVTSD2SS, of a number whose exponent is near the middle of what singles have. */
function emitNarrow(e: Emitter): void {
  const { w, l } = e;
  const value = (): void => {
    e.vectorAddress("b");
    w.mem(F64_LOAD, A.XMM);
  };
  usualMxcsr(e, true);
  inexactOr(e, () => {
    value();
    w.op(F32_DEMOTE_F64, F64_PROMOTE_F32);
    value();
    w.op(F64_EQ);
  });
  w.op(OP.i32_and);
  e.vectorAddress("b");
  w.mem(MEM.i64_load, A.XMM);
  w.i64(1);
  w.op(OP.i64_shl);
  w.tee(l.t);
  w.i64(53);
  w.op(OP.i64_shr_u);
  w.i64(1023 - 100);
  w.op(OP.i64_sub);
  w.i64(201);
  w.op(OP.i64_lt_u);
  w.get(l.t);
  w.op(OP.i64_eqz, OP.i32_or, OP.i32_and);
  w.likely();
  w.if();
  e.vectorAddress("d");
  value();
  w.op(F32_DEMOTE_F64);
  takeRest(e);
  w.mem(F32_STORE, A.XMM);
  w.else();
  e.callImmHelper();
  w.end();
}

/** What a function of shared.ts does on vectors d, a, b as c says, or else the helper. */
function emitLanes(e: Emitter, number: number, c: () => void = () => e.c()): void {
  const { w } = e;
  for (const field of ["d", "a", "b"] as const) e.vectorAddress(field);
  c();
  e.callShared(number);
  w.op(OP.i32_eqz);
  w.unlikely();
  w.if();
  e.callImmHelper();
  w.end();
}

export function installFloat(table: EmitTable): void {
  table[U.U_FMA64] = (e) => emitLanes(e, shared("fma64"));
  table[U.U_FMA32] = (e) => emitLanes(e, shared("fma32"));
  U.FP_OPS.forEach((name, i) => {
    const [, operation, form, precision, long] = /^([A-Z]+)([PS])([DS])(Y?)$/.exec(name) as string[] as [
      string,
      Operation,
      string,
      string,
      string,
    ];
    const double = precision === "D";
    if (form === "S") table[U.U_FP + i] = (e) => emitArithmetic(e, operation, double);
    else {
      const c = LANES_OPERATIONS[operation]! | ((long === "Y" ? 2 : 1) << 5);
      const number = shared(double ? "arith64" : "arith32");
      table[U.U_FP + i] = (e) => emitLanes(e, number, () => e.w.i32(c));
    }
  });
  for (const name of U.FLANES_OPS) table[U.flanes(name)] = (e) => emitLanes(e, shared(name));
  table[U.U_COMISD] = (e) => emitCompare(e, true);
  table[U.U_COMISS] = (e) => emitCompare(e, false);
  table[U.U_CVTSS2SD] = emitWiden;
  table[U.U_CVTSD2SS] = emitNarrow;
  for (const [kind, double] of [
    [U.U_CVTSI2SD32, true],
    [U.U_CVTSI2SS32, false],
  ] as const)
    for (const wide of [false, true]) table[kind + (wide ? 1 : 0)] = (e) => emitFromInteger(e, wide, double);
  for (const [kind, double, round] of [
    [U.U_CVTTSD2SI32, true, F64_TRUNC],
    [U.U_CVTTSS2SI32, false, F64_TRUNC],
    [U.U_CVTSD2SI32, true, F64_NEAREST],
    [U.U_CVTSS2SI32, false, F64_NEAREST],
  ] as const)
    for (const wide of [false, true]) table[kind + (wide ? 1 : 0)] = (e) => emitToInteger(e, wide, double, round);
}

/** Multiplication and division (SDM vol. 2; flags as its tables say). */
import * as A from "../arena.ts";
import { VEC_DE } from "../core.ts";
import * as U from "../uops/uop.ts";
import { OP } from "./assembler.ts";
import { bitsOf, type Emitter } from "./emitter.ts";
import { type EmitTable, family } from "./family.ts";

/** Pushes the upper 64 bits of the unsigned product of locals x and y; uses r, t. */
export function mulHigh(e: Emitter): void {
  const { w, l } = e;
  const low = (local: number): void => {
    w.get(local);
    w.op(OP.i32_wrap_i64, OP.i64_extend_i32_u);
  };
  const high = (local: number): void => {
    w.get(local);
    w.i64(32);
    w.op(OP.i64_shr_u);
  };
  // r = hi(x)*lo(y) + (lo(x)*lo(y) >> 32)
  high(l.x);
  low(l.y);
  w.op(OP.i64_mul);
  low(l.x);
  low(l.y);
  w.op(OP.i64_mul);
  w.i64(32);
  w.op(OP.i64_shr_u, OP.i64_add);
  w.set(l.r);
  // t = lo(x)*hi(y) + lo(r)
  low(l.x);
  high(l.y);
  w.op(OP.i64_mul);
  low(l.r);
  w.op(OP.i64_add);
  w.set(l.t);
  high(l.x);
  high(l.y);
  w.op(OP.i64_mul);
  high(l.r);
  w.op(OP.i64_add);
  high(l.t);
  w.op(OP.i64_add);
}

/** Pushes the upper 64 bits of the signed product of x and y. */
function mulHighSigned(e: Emitter): void {
  const { w, l } = e;
  mulHigh(e);
  w.get(l.x);
  w.i64(63);
  w.op(OP.i64_shr_s);
  w.get(l.y);
  w.op(OP.i64_and, OP.i64_sub);
  w.get(l.y);
  w.i64(63);
  w.op(OP.i64_shr_s);
  w.get(l.x);
  w.op(OP.i64_and, OP.i64_sub);
}

/** Stores CF = OF = (condition i32 on the stack); AF clear; the flags that the manual leaves undefined follow the low result r. */
function mulFlags(e: Emitter, sz: number): void {
  const { w, l } = e;
  w.op(OP.i64_extend_i32_u);
  w.i64(63);
  w.op(OP.i64_shl);
  w.set(l.t);
  e.openFlag(A.CC_C);
  w.get(l.t);
  e.closeFlag(A.CC_C);
  e.openFlag(A.CC_O);
  w.get(l.t);
  e.closeFlag(A.CC_O);
  e.clearFlag(A.CC_A);
  e.flagsOfResult(l.r, sz);
}

/** IMUL r, r and IMUL r, r, imm. */
function emitImul2(e: Emitter, sz: number, immediate: boolean): void {
  const { w, l } = e;
  e.get(immediate ? "a" : "d", sz);
  e.signExtend(sz);
  w.set(l.x);
  if (immediate) e.imm();
  else {
    e.get("a", sz);
    e.signExtend(sz);
  }
  w.set(l.y);
  if (sz === 3) {
    mulHighSigned(e);
    w.set(l.t);
    w.get(l.x);
    w.get(l.y);
    w.op(OP.i64_mul);
    w.set(l.r);
    w.get(l.t);
    w.get(l.r);
    w.i64(63);
    w.op(OP.i64_shr_s, OP.i64_ne);
  } else {
    w.get(l.x);
    w.get(l.y);
    w.op(OP.i64_mul);
    w.tee(l.r);
    e.signExtend(sz);
    w.get(l.r);
    w.op(OP.i64_ne);
  }
  mulFlags(e, sz);
  e.open("d");
  if (sz === 2) {
    w.get(l.x);
    w.op(OP.i32_wrap_i64);
    w.get(l.y);
    w.op(OP.i32_wrap_i64, OP.i32_mul, OP.i64_extend_i32_u);
  } else w.get(l.r);
  e.close("d", sz, sz === 2);
}

/** MUL, IMUL one-operand forms: rDX:rAX = rAX * a. */
function emitMulWide(e: Emitter, signed: boolean, sz: number): void {
  const { w, l } = e;
  e.getFixed(A.S_RAX, sz);
  if (signed) e.signExtend(sz);
  w.set(l.x);
  e.get("a", sz);
  if (signed) e.signExtend(sz);
  w.set(l.y);
  if (sz === 3) {
    if (signed) mulHighSigned(e);
    else mulHigh(e);
    w.set(l.t);
    w.get(l.x);
    w.get(l.y);
    w.op(OP.i64_mul);
    w.set(l.r);
    e.openFixed(A.S_RDX);
    w.get(l.t);
    e.closeFixed(A.S_RDX, 3);
    e.openFixed(A.S_RAX);
    w.get(l.r);
    e.closeFixed(A.S_RAX, 3);
    w.get(l.t);
    if (signed) {
      w.get(l.r);
      w.i64(63);
      w.op(OP.i64_shr_s);
    } else w.i64(0);
    w.op(OP.i64_ne);
    mulFlags(e, 3);
    return;
  }
  w.get(l.x);
  w.get(l.y);
  w.op(OP.i64_mul);
  w.set(l.r);
  if (sz === 0) {
    e.openFixed(A.S_RAX);
    w.get(l.r);
    e.closeFixed(A.S_RAX, 1);
  } else {
    e.openFixed(A.S_RDX);
    w.get(l.r);
    w.i64(bitsOf(sz));
    w.op(OP.i64_shr_u);
    e.closeFixed(A.S_RDX, sz);
    e.openFixed(A.S_RAX);
    w.get(l.r);
    e.closeFixed(A.S_RAX, sz);
  }
  w.get(l.r);
  w.get(l.r);
  if (signed) e.signExtend(sz);
  else e.zeroExtend(sz);
  w.op(OP.i64_ne);
  mulFlags(e, sz);
}

/** DIV, IDIV for 8, 16 and 32 bits in i64; 64 bits in emitDiv64. Flags (undefined) stay. */
function emitDiv(e: Emitter, signed: boolean, sz: number): void {
  const { w, l } = e;
  const bits = bitsOf(sz);
  e.get("a", sz);
  if (signed) e.signExtend(sz);
  w.tee(l.y);
  w.op(OP.i64_eqz);
  w.unlikely();
  w.if();
  e.fault(VEC_DE);
  w.end();
  // x = the double-width dividend
  if (sz === 0) {
    e.getFixed(A.S_RAX, 1);
    if (signed) e.signExtend(1);
  } else {
    e.getFixed(A.S_RDX, sz);
    w.i64(bits);
    w.op(OP.i64_shl);
    e.getFixed(A.S_RAX, sz);
    w.op(OP.i64_or);
    if (signed && sz === 1) e.signExtend(2);
  }
  w.set(l.x);
  if (signed) {
    // -2^63 / -1 would trap in WebAssembly; it overflows here as well.
    w.get(l.y);
    w.i64(-1);
    w.op(OP.i64_eq);
    w.get(l.x);
    w.i64(-(2 ** 63));
    w.op(OP.i64_eq, OP.i32_and);
    w.unlikely();
    w.if();
    e.fault(VEC_DE);
    w.end();
  }
  w.get(l.x);
  w.get(l.y);
  w.op(signed ? OP.i64_div_s : OP.i64_div_u);
  w.tee(l.r);
  w.get(l.r);
  if (signed) e.signExtend(sz);
  else e.zeroExtend(sz);
  w.op(OP.i64_ne);
  w.unlikely();
  w.if();
  e.fault(VEC_DE);
  w.end();
  w.get(l.x);
  w.get(l.y);
  w.op(signed ? OP.i64_rem_s : OP.i64_rem_u);
  w.set(l.t);
  if (sz === 0) {
    e.openFixed(A.S_RAX);
    w.get(l.t);
    w.i64(8);
    w.op(OP.i64_shl);
    w.get(l.r);
    w.i64(0xff);
    w.op(OP.i64_and, OP.i64_or);
    e.closeFixed(A.S_RAX, 1);
    return;
  }
  e.openFixed(A.S_RDX);
  w.get(l.t);
  e.closeFixed(A.S_RDX, sz);
  e.openFixed(A.S_RAX);
  w.get(l.r);
  e.closeFixed(A.S_RAX, sz);
}

/** Number of the helper for signed dividends that do not fit 64 bits; uops/helpers-div.ts sets it. */
let idivHelper = -1;
/** Names the helper (U_HELPER conventions, a = divisor slot) that IDIV r/m64 calls when rDX:rAX needs 128 bits. */
export function setDivHelper(idiv: number): void {
  idivHelper = idiv;
}

function emitDiv64(e: Emitter, signed: boolean): void {
  const { w, l } = e;
  e.get("a", 3);
  w.tee(l.y);
  w.op(OP.i64_eqz);
  w.unlikely();
  w.if();
  e.fault(VEC_DE);
  w.end();
  e.getFixed(A.S_RAX, 3);
  w.set(l.x);
  e.getFixed(A.S_RDX, 3);
  if (signed) {
    w.get(l.x);
    w.i64(63);
    w.op(OP.i64_shr_s, OP.i64_eq);
    // ... and not by -1, whose quotient may overflow.
    w.get(l.y);
    w.i64(-1);
    w.op(OP.i64_ne, OP.i32_and);
  } else w.op(OP.i64_eqz);
  w.likely();
  w.if();
  e.openFixed(A.S_RDX);
  w.get(l.x);
  w.get(l.y);
  w.op(signed ? OP.i64_rem_s : OP.i64_rem_u);
  e.closeFixed(A.S_RDX, 3);
  e.openFixed(A.S_RAX);
  w.get(l.x);
  w.get(l.y);
  w.op(signed ? OP.i64_div_s : OP.i64_div_u);
  e.closeFixed(A.S_RAX, 3);
  w.else();
  if (signed) e.callHelper(idivHelper);
  else divideWide(e);
  w.end();
}

/**
 * rDX:rAX / y, unsigned, for a dividend of 128 bits: two digits of 32 bits by long division (D. Knuth, The Art of Computer Programming,
 * vol. 2, 4.3.1, algorithm D, in the form of H. Warren, Hacker's Delight, 9-4).
 */
function divideWide(e: Emitter): void {
  const { w, l } = e;
  const low32 = (local: number): void => {
    w.get(local);
    w.op(OP.i32_wrap_i64, OP.i64_extend_i32_u);
  };
  const high32 = (local: number): void => {
    w.get(local);
    w.i64(32);
    w.op(OP.i64_shr_u);
  };
  const shift = (): void => {
    w.get(l.i);
    w.op(OP.i64_extend_i32_u);
  };
  e.getFixed(A.S_RDX, 3);
  w.tee(l.t);
  w.get(l.y);
  w.op(OP.i64_ge_u);
  w.unlikely();
  w.if();
  e.fault(VEC_DE);
  w.end();
  // Normalised: the divisor's top bit is set. t = upper 64 bits of the dividend, x = lower.
  w.get(l.y);
  w.op(OP.i64_clz, OP.i32_wrap_i64);
  w.set(l.i);
  w.get(l.t);
  shift();
  w.op(OP.i64_shl);
  w.get(l.x);
  w.i64(1);
  w.op(OP.i64_shr_u);
  w.i64(63);
  shift();
  w.op(OP.i64_sub, OP.i64_shr_u, OP.i64_or);
  w.set(l.t);
  w.get(l.x);
  shift();
  w.op(OP.i64_shl);
  w.set(l.x);
  w.get(l.y);
  shift();
  w.op(OP.i64_shl);
  w.set(l.y);
  /** r = the next digit of t : 32 bits that `next` pushes; t = what remains. */
  const digit = (next: () => void): void => {
    w.get(l.t);
    high32(l.y);
    w.op(OP.i64_div_u);
    w.set(l.r);
    // lin = t - r * high(y), which the estimate leaves.
    w.get(l.t);
    w.get(l.r);
    high32(l.y);
    w.op(OP.i64_mul, OP.i64_sub);
    w.set(l.lin);
    const done = w.block();
    for (let tries = 0; tries < 2; tries++) {
      // Too large if r has more than a digit, or r * low(y) > lin : next.
      high32(l.r);
      w.op(OP.i64_eqz);
      w.get(l.r);
      low32(l.y);
      w.op(OP.i64_mul);
      w.get(l.lin);
      w.i64(32);
      w.op(OP.i64_shl);
      next();
      w.op(OP.i64_or, OP.i64_le_u, OP.i32_and);
      w.brIf(done);
      w.get(l.r);
      w.i64(1);
      w.op(OP.i64_sub);
      w.set(l.r);
      w.get(l.lin);
      high32(l.y);
      w.op(OP.i64_add);
      w.set(l.lin);
      if (tries === 0) {
        high32(l.lin);
        w.op(OP.i64_eqz, OP.i32_eqz);
        w.brIf(done);
      }
    }
    w.end();
    w.get(l.t);
    w.i64(32);
    w.op(OP.i64_shl);
    next();
    w.op(OP.i64_or);
    w.get(l.r);
    w.get(l.y);
    w.op(OP.i64_mul, OP.i64_sub);
    w.set(l.t);
  };
  digit(() => high32(l.x));
  // The first digit of the quotient goes above the second one of the dividend, in x.
  low32(l.x);
  w.get(l.r);
  w.i64(32);
  w.op(OP.i64_shl, OP.i64_or);
  w.set(l.x);
  digit(() => low32(l.x));
  e.openFixed(A.S_RDX);
  w.get(l.t);
  shift();
  w.op(OP.i64_shr_u);
  e.closeFixed(A.S_RDX, 3);
  e.openFixed(A.S_RAX);
  w.get(l.x);
  w.i64(-(2 ** 32));
  w.op(OP.i64_and);
  w.get(l.r);
  w.op(OP.i64_or);
  e.closeFixed(A.S_RAX, 3);
}

export function installMulDiv(table: EmitTable): void {
  family(table, U.U_IMUL_RR, 1, (e, sz) => emitImul2(e, sz, false));
  family(table, U.U_IMUL_RRI, 1, (e, sz) => emitImul2(e, sz, true));
  family(table, U.U_MUL, 0, (e, sz) => emitMulWide(e, false, sz));
  family(table, U.U_IMUL, 0, (e, sz) => emitMulWide(e, true, sz));
  family(table, U.U_DIV, 0, (e, sz) => (sz === 3 ? emitDiv64(e, false) : emitDiv(e, false, sz)));
  family(table, U.U_IDIV, 0, (e, sz) => (sz === 3 ? emitDiv64(e, true) : emitDiv(e, true, sz)));
}

/**
 * x87 in WebAssembly: what its functions share. They do the usual case: no exception that is unmasked or pending, registers that are not
 * empty, numbers that are zero or normal and so is the result. Then they return 1; else they return 0 and have changed nothing, and the exact code of
 * cpu/fpu does it all. Names of the state's parts: SDM volume 1, 8.1.
 */
import * as A from "../arena.ts";
import { type Code, choose, give, I32, I64, type Local, type Maker, rarely, sequence, when } from "./code.ts";

export const TRUE: Code = I32.of(1);
export const FALSE: Code = I32.of(0);
export const C0 = 0x100;
export const C1 = 0x200;
export const C2 = 0x400;
export const C3 = 0x4000;
const PE = 0x20;
const ES = 0x80;
const TOP_ONE = 0x800;
const TOP = 0x3800;
const ALL_MASKED = 0x3f;
export const SIGN = 0x8000;
export const BIAS = 0x3fff;
/** Biased exponents of normal numbers are 1 .. this. */
const MOST = 0x7ffe;
export const INTEGER_BIT: Code = I64.words(-0x80000000, 0);

export const statusWord: Code = I32.load(A.FPU_SW);
export const controlWord: Code = I32.load(A.FPU_CW);
const tagWord: Code = I32.load(A.FPU_TW);
export const setStatusWord = (value: Code): Code => I32.store(A.FPU_SW, value);
/** RC: 0 nearest, 1 down, 2 up, 3 towards zero. */
export const roundingControl: Code = I32.and(I32.shr(controlWord, I32.of(10)), I32.of(3));
export const DOWN = 1;
const CHOP = 3;

/** #MF waits: the instruction is the exact code's. */
export const unlessPending = (otherwise: Code = FALSE): Code =>
  rarely(I32.and(statusWord, I32.of(ES)), give(otherwise));
/** The same, or an exception is unmasked. */
export const unlessMasked = (otherwise: Code = FALSE): Code =>
  sequence(
    unlessPending(otherwise),
    rarely(I32.ne(I32.and(controlWord, I32.of(ALL_MASKED)), I32.of(ALL_MASKED)), give(otherwise)),
  );

// ---- registers ------------------------------------------------------------------------------------------------------------

/** Offset of ST(i) from A.FPR. */
export const registerOf = (i: Code): Code =>
  I32.shl(I32.and(I32.add(I32.shr(statusWord, I32.of(11)), i), I32.of(7)), I32.of(4));
/** Two bits of the tag word at the register's place. */
const tagBits = (register: Code): Code => I32.shl(I32.of(3), I32.shr(register, I32.of(3)));
export const isEmpty = (register: Code): Code => I32.eq(I32.and(tagWord, tagBits(register)), tagBits(register));
/** Tags a register as in use. */
export const setUsed = (register: Code): Code =>
  I32.store(A.FPU_TW, I32.and(tagWord, I32.xor(tagBits(register), I32.of(-1))));
const setEmpty = (register: Code): Code => I32.store(A.FPU_TW, I32.or(tagWord, tagBits(register)));
export const significand = (register: Code): Code => I64.load(A.FPR, register);
export const signExponent = (register: Code): Code => I32.load16(A.FPR + 8, register);
/** Writes a register and tags it. */
export const write = (register: Code, se: Code, sig: Code): Code =>
  sequence(I64.store(A.FPR, sig, register), I32.store16(A.FPR + 8, se, register), setUsed(register));

/** The status word with TOP moved by `by` and the bits of `clear` cleared. */
const moved = (by: number, clear: number): Code =>
  I32.or(I32.and(statusWord, I32.of(~(TOP | clear))), I32.and(I32.add(statusWord, I32.of(by * TOP_ONE)), I32.of(TOP)));
export const pop: Code = sequence(setEmpty(registerOf(FALSE)), setStatusWord(moved(1, 0)));
/** Pushes what is no stack overflow: `register` is that of ST(7), and becomes ST(0). C1 is cleared. */
export const push = (register: Code, se: Code, sig: Code): Code =>
  sequence(write(register, se, sig), setStatusWord(moved(-1, C1)));
export const clearC1: Code = setStatusWord(I32.and(statusWord, I32.of(~C1)));

// ---- operands -------------------------------------------------------------------------------------------------------------

/** Sign and exponent as in the upper 16 bits of the format, the significand, and the biased exponent alone. */
export interface Operand {
  readonly se: Local;
  readonly sig: Local;
  readonly exp: Local;
}
export const operand = (m: Maker): Operand => ({ se: m.i32(), sig: m.i64(), exp: m.i32() });
export const setExponent = (a: Operand): Code => a.exp.set(I32.and(a.se.get, I32.of(0x7fff)));
export const readRegister = (a: Operand, register: Code): Code =>
  sequence(a.sig.set(significand(register)), a.se.set(signExponent(register)), setExponent(a));

export const isNormal = (a: Operand): Code =>
  I32.and(I32.below(I32.sub(a.exp.get, TRUE), I32.of(MOST)), I64.less(a.sig.get, I64.of(0)));
export const isZero = (a: Operand): Code => I64.eqz(I64.or(a.sig.get, I64.extend(a.exp.get)));
export const isUsual = (a: Operand): Code => I32.or(isNormal(a), isZero(a));
export const signOf = (a: Operand): Code => I32.and(a.se.get, I32.of(SIGN));

/** Formats of memory operands, by the opcode: (opcode - D8) >> 1, and FILD m64. */
export const FORMAT_F32 = 0;
export const FORMAT_I32 = 1;
export const FORMAT_F64 = 2;
export const FORMAT_I16 = 3;
export const FORMAT_I64 = 4;

export interface Real {
  readonly precision: number;
  readonly exponentBits: number;
  readonly most: number;
  readonly rebias: number;
}
/** Of the binary formats: bits of the significand and of the exponent, the highest exponent of a number, difference of the biases. */
export const REALS: Readonly<Record<typeof FORMAT_F32 | typeof FORMAT_F64, Real>> = {
  [FORMAT_F32]: { precision: 24, exponentBits: 8, most: 0xfe, rebias: BIAS - 127 },
  [FORMAT_F64]: { precision: 53, exponentBits: 11, most: 0x7fe, rebias: BIAS - 1023 },
};

/** Takes a number from memory, `bits` (its low ones); leaves with `otherwise` if it is none of the usual. */
export function fromMemory(m: Maker, a: Operand, format: Code, bits: Code, otherwise: Code = FALSE): Code {
  const value = m.i64();
  const real = ({ precision, exponentBits, most, rebias }: Real): Code =>
    sequence(
      // To the top: sign, exponent, fraction.
      value.set(I64.shl(bits, I64.of(64 - precision - exponentBits))),
      a.se.set(I32.shl(I32.wrap(I64.shr(value.get, I64.of(63))), I32.of(15))),
      a.exp.set(I32.wrap(I64.shr(I64.shl(value.get, I64.of(1)), I64.of(64 - exponentBits)))),
      a.sig.set(I64.or(I64.shl(value.get, I64.of(exponentBits)), INTEGER_BIT)),
      when(
        I64.eqz(I64.shl(value.get, I64.of(1))),
        a.sig.set(I64.of(0)),
        sequence(
          rarely(I32.eqz(I32.below(I32.sub(a.exp.get, TRUE), I32.of(most))), give(otherwise)),
          a.se.set(I32.or(a.se.get, I32.add(a.exp.get, I32.of(rebias)))),
        ),
      ),
    );
  const integer = sequence(
    value.set(choose(I32.eq(format, I32.of(FORMAT_I32)), I64.sar(I64.shl(bits, I64.of(32)), I64.of(32)), bits)),
    when(I32.eq(format, I32.of(FORMAT_I16)), value.set(I64.sar(I64.shl(bits, I64.of(48)), I64.of(48)))),
    a.se.set(FALSE),
    a.sig.set(value.get),
    when(
      I32.eqz(I64.eqz(value.get)),
      sequence(
        when(
          I64.less(value.get, I64.of(0)),
          sequence(a.se.set(I32.of(SIGN)), value.set(I64.sub(I64.of(0), value.get))),
        ),
        a.se.set(I32.or(a.se.get, I32.sub(I32.of(BIAS + 63), I32.wrap(I64.clz(value.get))))),
        a.sig.set(I64.shl(value.get, I64.clz(value.get))),
      ),
    ),
  );
  return sequence(
    when(
      I32.eq(format, I32.of(FORMAT_F64)),
      real(REALS[FORMAT_F64]),
      when(I32.eq(format, I32.of(FORMAT_F32)), real(REALS[FORMAT_F32]), integer),
    ),
    setExponent(a),
  );
}

// ---- rounding -------------------------------------------------------------------------------------------------------------

/** A significand under way: `hi` its 64 bits, `lo` those below, of which the last may stand for more. */
export interface Wide {
  readonly hi: Local;
  readonly lo: Local;
}
export const wide = (m: Maker): Wide => ({ hi: m.i64(), lo: m.i64() });

/** v = `sig` shifted right by `by` >= 0 bits; what falls out at the end sets the last bit. */
export const shiftRight = (v: Wide, sig: Code, by: Code): Code => {
  const amount = I64.extend(by);
  const beyond = I64.sub(amount, I64.of(64));
  const rest = I64.and(sig, I64.sub(I64.shl(I64.of(1), beyond), I64.of(1)));
  return when(
    I32.below(by, I32.of(64)),
    // A count of 64 counts as none.
    sequence(v.hi.set(I64.shr(sig, amount)), v.lo.set(I64.shl(I64.shl(sig, I64.of(1)), I64.sub(I64.of(63), amount)))),
    sequence(
      v.hi.set(I64.of(0)),
      v.lo.set(I64.of(1)),
      when(I32.below(by, I32.of(128)), v.lo.set(I64.or(I64.shr(sig, beyond), I64.extend(I64.ne(rest, I64.of(0)))))),
    ),
  );
};

/**
 * Rounds v to a multiple of `unit` below which hi is clear, and notes #P and C1 in `status`, which is the status word to be. hi becomes zero if it
 * overflows. `negative` is an i32, zero or not.
 */
export const roundTo = (m: Maker, v: Wide, unit: Code, rounding: Code, negative: Code, status: Local): Code => {
  const up = m.i32();
  const odd = I64.ne(I64.and(v.hi.get, unit), I64.of(0));
  const aboveHalf = I64.ne(I64.shl(v.lo.get, I64.of(1)), I64.of(0));
  return when(
    I64.ne(v.lo.get, I64.of(0)),
    sequence(
      status.set(I32.or(status.get, I32.of(PE))),
      when(
        I32.eqz(rounding),
        up.set(I32.and(I64.less(v.lo.get, I64.of(0)), I32.or(aboveHalf, odd))),
        up.set(
          I32.and(I32.ne(rounding, I32.of(CHOP)), I32.eq(I32.eq(rounding, I32.of(DOWN)), I32.ne(negative, FALSE))),
        ),
      ),
      when(up.get, sequence(status.set(I32.or(status.get, I32.of(C1))), v.hi.set(I64.add(v.hi.get, unit)))),
    ),
  );
};

/** The end of an operation: sign * v, with hi normalized and of biased exponent `exp`, rounded as the control word says, to a register. */
export function finishRounded(m: Maker, register: Code, sign: Code, exp: Local, v: Wide): Code {
  const [status, precision, unit] = [m.i32(), m.i64(), m.i64()];
  const pc = I32.and(I32.shr(controlWord, I32.of(8)), I32.of(3));
  const narrow = sequence(
    // 24 or 53 bits: what lies below moves down.
    precision.set(choose(pc, I64.of(53), I64.of(24))),
    v.lo.set(I64.or(I64.shl(v.hi.get, precision.get), I64.extend(I64.ne(v.lo.get, I64.of(0))))),
    unit.set(I64.shl(I64.of(1), I64.sub(I64.of(64), precision.get))),
    v.hi.set(I64.and(v.hi.get, I64.sub(I64.of(0), unit.get))),
  );
  return sequence(
    unit.set(I64.of(1)),
    rarely(I32.eqz(I32.and(pc, TRUE)), narrow),
    status.set(I32.and(statusWord, I32.of(~C1))),
    roundTo(m, v, unit.get, roundingControl, sign, status),
    when(I64.eqz(v.hi.get), sequence(v.hi.set(INTEGER_BIT), exp.set(I32.add(exp.get, TRUE)))),
    rarely(I32.eqz(I32.below(I32.sub(exp.get, TRUE), I32.of(MOST))), give(FALSE)),
    setStatusWord(status.get),
    write(register, I32.or(sign, exp.get), v.hi.get),
    TRUE,
  );
}
/** The end of an operation whose result is exact. */
export const finishExact = (register: Code, se: Code, sig: Code): Code =>
  sequence(clearC1, write(register, se, sig), give(TRUE));

/** x87 loads, stores, comparisons and moves in WebAssembly. */
import * as A from "../arena.ts";
import { type FunctionBody, type FunctionType, I32 as TYPE_I32, I64 as TYPE_I64 } from "./assembler.ts";
import { type Code, choose, give, I32, I64, Maker, rarely, sequence, when } from "./code.ts";
import * as S from "./x87-state.ts";

/** f(c), f(c, operand), f(c, operand, its bits 79..64). */
const WITH_C: FunctionType = { params: [TYPE_I32], results: [TYPE_I32] };
const WITH_OPERAND: FunctionType = { params: [TYPE_I32, TYPE_I64], results: [TYPE_I32] };
const WITH_TEN_BYTES: FunctionType = { params: [TYPE_I32, TYPE_I64, TYPE_I64], results: [TYPE_I32] };

const bits = (c: Code, from: number, count: number): Code =>
  I32.and(I32.shr(c, I32.of(from)), I32.of((1 << count) - 1));

// ---- loads ----------------------------------------------------------------------------------------------------------------

/** `register` = that of ST(7), if it is empty. */
const room = (register: { get: Code; set(value: Code): Code }): Code =>
  sequence(
    S.unlessPending(),
    register.set(S.registerOf(I32.of(7))),
    rarely(I32.eqz(S.isEmpty(register.get)), give(S.FALSE)),
  );

/** load(format, operand). */
function load(): FunctionBody {
  const m = new Maker(WITH_OPERAND);
  const [register, a] = [m.i32(), S.operand(m)];
  return m.finish(
    "x87Load",
    room(register),
    S.fromMemory(m, a, m.parameter(0).get, m.parameter(1).get),
    S.push(register.get, a.se.get, a.sig.get),
    S.TRUE,
  );
}

/** load80(c, significand, sign and exponent): any value. */
function load80(): FunctionBody {
  const m = new Maker(WITH_TEN_BYTES);
  const register = m.i32();
  return m.finish(
    "x87Load80",
    room(register),
    S.push(register.get, I32.wrap(m.parameter(2).get), m.parameter(1).get),
    S.TRUE,
  );
}

/** loadST(i). */
function loadST(): FunctionBody {
  const m = new Maker(WITH_C);
  const [register, from] = [m.i32(), m.i32()];
  return m.finish(
    "x87LoadST",
    room(register),
    from.set(S.registerOf(m.parameter(0).get)),
    rarely(S.isEmpty(from.get), give(S.FALSE)),
    S.push(register.get, S.signExponent(from.get), S.significand(from.get)),
    S.TRUE,
  );
}

// ---- stores ---------------------------------------------------------------------------------------------------------------

/** store(c: format | pop << 3 | truncate << 4): the number is put at A.X87_RESULT. */
function store(): FunctionBody {
  const m = new Maker(WITH_C);
  const c = m.parameter(0).get;
  const [register, a, exp, status] = [m.i32(), S.operand(m), m.i32(), m.i32()];
  const [v, rounding] = [S.wide(m), m.i32()];
  const format = bits(c, 0, 3);
  const real = ({ precision, exponentBits, most, rebias }: S.Real): Code => {
    const unit = I64.shl(I64.of(1), I64.of(64 - precision));
    const sign = I64.shl(I64.extend(S.signOf(a)), I64.of(precision + exponentBits - 16));
    const number = sequence(
      v.lo.set(I64.shl(a.sig.get, I64.of(precision))),
      v.hi.set(I64.and(a.sig.get, I64.sub(I64.of(0), unit))),
      S.roundTo(m, v, unit, rounding.get, S.signOf(a), status),
      exp.set(I32.add(I32.sub(a.exp.get, I32.of(rebias)), I64.eqz(v.hi.get))),
      rarely(I32.eqz(I32.below(I32.sub(exp.get, S.TRUE), I32.of(most))), give(S.FALSE)),
      v.hi.set(
        I64.or(
          I64.shr(I64.shl(v.hi.get, I64.of(1)), I64.of(1 + exponentBits + 64 - precision - exponentBits)),
          I64.shl(I64.extend(exp.get), I64.of(precision - 1)),
        ),
      ),
    );
    return sequence(when(S.isZero(a), v.hi.set(I64.of(0)), number), v.hi.set(I64.or(v.hi.get, sign)));
  };
  const most = m.i64();
  const integer = sequence(
    most.set(
      choose(
        I32.eq(format, I32.of(S.FORMAT_I64)),
        I64.words(0x7fffffff, -1),
        choose(I32.eq(format, I32.of(S.FORMAT_I32)), I64.of(0x7fffffff), I64.of(0x7fff)),
      ),
    ),
    when(bits(c, 4, 1), rounding.set(I32.of(3))),
    // Not 2^63 and above; a zero is far away from that.
    exp.set(I32.sub(I32.of(S.BIAS + 63), a.exp.get)),
    rarely(I32.less(exp.get, S.TRUE), give(S.FALSE)),
    when(S.isZero(a), sequence(v.hi.set(I64.of(0)), v.lo.set(I64.of(0))), S.shiftRight(v, a.sig.get, exp.get)),
    S.roundTo(m, v, I64.of(1), rounding.get, S.signOf(a), status),
    rarely(I64.above(v.hi.get, I64.add(most.get, I64.extend(I32.shr(S.signOf(a), I32.of(15))))), give(S.FALSE)),
    when(S.signOf(a), v.hi.set(I64.sub(I64.of(0), v.hi.get))),
  );
  return m.finish(
    "x87Store",
    S.unlessMasked(),
    register.set(S.registerOf(S.FALSE)),
    rarely(S.isEmpty(register.get), give(S.FALSE)),
    S.readRegister(a, register.get),
    rarely(I32.eqz(S.isUsual(a)), give(S.FALSE)),
    status.set(I32.and(S.statusWord, I32.of(~S.C1))),
    rounding.set(S.roundingControl),
    when(
      I32.eq(format, I32.of(S.FORMAT_F64)),
      real(S.REALS[S.FORMAT_F64]),
      when(I32.eq(format, I32.of(S.FORMAT_F32)), real(S.REALS[S.FORMAT_F32]), integer),
    ),
    I64.store(A.X87_RESULT, v.hi.get),
    S.setStatusWord(status.get),
    when(bits(c, 3, 1), S.pop),
    S.TRUE,
  );
}

/** store80(c): FSTP m80; the number is put at A.X87_RESULT, the upper 16 bits behind it. */
function store80(): FunctionBody {
  const m = new Maker(WITH_C);
  const register = m.i32();
  return m.finish(
    "x87Store80",
    S.unlessPending(),
    register.set(S.registerOf(S.FALSE)),
    rarely(S.isEmpty(register.get), give(S.FALSE)),
    I64.store(A.X87_RESULT, S.significand(register.get)),
    I64.store(A.X87_RESULT + 8, I64.extend(S.signExponent(register.get))),
    S.clearC1,
    S.pop,
    S.TRUE,
  );
}

/** storeST(i | pop << 3). */
function storeST(): FunctionBody {
  const m = new Maker(WITH_C);
  const c = m.parameter(0).get;
  const [from, to] = [m.i32(), m.i32()];
  return m.finish(
    "x87StoreST",
    S.unlessPending(),
    from.set(S.registerOf(S.FALSE)),
    to.set(S.registerOf(bits(c, 0, 3))),
    rarely(S.isEmpty(from.get), give(S.FALSE)),
    S.clearC1,
    S.write(to.get, S.signExponent(from.get), S.significand(from.get)),
    when(bits(c, 3, 1), S.pop),
    S.TRUE,
  );
}

// ---- in place ---------------------------------------------------------------------------------------------------------------

/** exchange(i). */
function exchange(): FunctionBody {
  const m = new Maker(WITH_C);
  const [one, other, a] = [m.i32(), m.i32(), S.operand(m)];
  return m.finish(
    "x87Exchange",
    S.unlessPending(),
    one.set(S.registerOf(S.FALSE)),
    other.set(S.registerOf(m.parameter(0).get)),
    rarely(I32.or(S.isEmpty(one.get), S.isEmpty(other.get)), give(S.FALSE)),
    S.clearC1,
    S.readRegister(a, one.get),
    S.write(one.get, S.signExponent(other.get), S.significand(other.get)),
    S.write(other.get, a.se.get, a.sig.get),
    S.TRUE,
  );
}

/** sign(c): FCHS 0, FABS 1. */
function sign(): FunctionBody {
  const m = new Maker(WITH_C);
  const register = m.i32();
  const se = S.signExponent(register.get);
  return m.finish(
    "x87Sign",
    S.unlessPending(),
    register.set(S.registerOf(S.FALSE)),
    rarely(S.isEmpty(register.get), give(S.FALSE)),
    S.clearC1,
    I32.store16(
      A.FPR + 8,
      choose(m.parameter(0).get, I32.and(se, I32.of(S.SIGN - 1)), I32.xor(se, I32.of(S.SIGN))),
      register.get,
    ),
    S.TRUE,
  );
}

/** FRNDINT. */
function roundToIntegral(): FunctionBody {
  const m = new Maker(WITH_C);
  const [register, a, v, status, count] = [m.i32(), S.operand(m), S.wide(m), m.i32(), m.i64()];
  return m.finish(
    "x87RoundToIntegral",
    S.unlessMasked(),
    register.set(S.registerOf(S.FALSE)),
    rarely(S.isEmpty(register.get), give(S.FALSE)),
    S.readRegister(a, register.get),
    rarely(I32.eqz(S.isUsual(a)), give(S.FALSE)),
    when(
      I32.or(S.isZero(a), I32.above(a.exp.get, I32.of(S.BIAS + 62))),
      S.finishExact(register.get, a.se.get, a.sig.get),
    ),
    status.set(I32.and(S.statusWord, I32.of(~S.C1))),
    S.shiftRight(v, a.sig.get, I32.sub(I32.of(S.BIAS + 63), a.exp.get)),
    S.roundTo(m, v, I64.of(1), S.roundingControl, S.signOf(a), status),
    S.setStatusWord(status.get),
    count.set(I64.clz(v.hi.get)),
    S.write(
      register.get,
      I32.or(S.signOf(a), choose(I64.eqz(v.hi.get), S.FALSE, I32.sub(I32.of(S.BIAS + 63), I32.wrap(count.get)))),
      I64.shl(v.hi.get, count.get),
    ),
    S.TRUE,
  );
}

// ---- comparisons --------------------------------------------------------------------------------------------------------------

const NOT_COMPARED: Code = I32.of(-1);

/** Sets `relation` of a and b: 0 less, 1 equal, 2 greater. Both are zero or normal. */
function relate(m: Maker, a: S.Operand, b: S.Operand): { relation: Code; code: Code } {
  const relation = m.i32();
  const to = (n: number): Code => relation.set(I32.of(n));
  /** a's magnitude above b's gives `above`, below it the reverse. */
  const magnitudes = when(
    I32.eq(a.exp.get, b.exp.get),
    when(I64.eq(a.sig.get, b.sig.get), to(1), relation.set(I32.shl(I64.above(a.sig.get, b.sig.get), S.TRUE))),
    relation.set(I32.shl(I32.above(a.exp.get, b.exp.get), S.TRUE)),
  );
  const code = when(
    S.signOf(a),
    when(
      S.signOf(b),
      sequence(magnitudes, relation.set(I32.sub(I32.of(2), relation.get))),
      relation.set(I32.and(S.isZero(a), S.isZero(b))),
    ),
    when(S.signOf(b), relation.set(I32.sub(I32.of(2), I32.and(S.isZero(a), S.isZero(b)))), magnitudes),
  );
  return { relation: relation.get, code };
}

/** C3, C2, C0 of the relation; C1 is cleared. */
const setConditions = (relation: Code): Code =>
  S.setStatusWord(
    I32.or(
      I32.and(S.statusWord, I32.of(~(S.C0 | S.C1 | S.C2 | S.C3))),
      choose(I32.eqz(relation), I32.of(S.C0), I32.shl(I32.eq(relation, S.TRUE), I32.of(14))),
    ),
  );
const popTimes = (times: Code): Code => when(times, sequence(S.pop, when(I32.shr(times, S.TRUE), S.pop)));

/** compare(i | pops << 3 | conditions << 5): the relation, or -1. */
function compare(): FunctionBody {
  const m = new Maker(WITH_C);
  const c = m.parameter(0).get;
  const [one, other, a, b] = [m.i32(), m.i32(), S.operand(m), S.operand(m)];
  const { relation, code } = relate(m, a, b);
  return m.finish(
    "x87Compare",
    S.unlessMasked(NOT_COMPARED),
    one.set(S.registerOf(S.FALSE)),
    other.set(S.registerOf(bits(c, 0, 3))),
    rarely(I32.or(S.isEmpty(one.get), S.isEmpty(other.get)), give(NOT_COMPARED)),
    S.readRegister(a, one.get),
    S.readRegister(b, other.get),
    rarely(I32.eqz(I32.and(S.isUsual(a), S.isUsual(b))), give(NOT_COMPARED)),
    code,
    when(bits(c, 5, 1), setConditions(relation)),
    popTimes(bits(c, 3, 2)),
    relation,
  );
}

/** compareMemory(format | pops << 3, operand). */
function compareMemory(): FunctionBody {
  const m = new Maker(WITH_OPERAND);
  const c = m.parameter(0).get;
  const [register, a, b] = [m.i32(), S.operand(m), S.operand(m)];
  const { relation, code } = relate(m, a, b);
  return m.finish(
    "x87CompareMemory",
    S.unlessMasked(),
    register.set(S.registerOf(S.FALSE)),
    rarely(S.isEmpty(register.get), give(S.FALSE)),
    S.readRegister(a, register.get),
    rarely(I32.eqz(S.isUsual(a)), give(S.FALSE)),
    S.fromMemory(m, b, bits(c, 0, 3), m.parameter(1).get),
    code,
    setConditions(relation),
    popTimes(bits(c, 3, 2)),
    S.TRUE,
  );
}

// ---- control --------------------------------------------------------------------------------------------------------------------

/** CW bits that FLDCW can change; bit 6 always reads as one. */
const WRITABLE = 0x1f3f;
const ALWAYS = 0x40;
const SUMMARY = 0x8080;

/** loadControl(c, operand): FLDCW, unless it unmasks what has been raised. */
function loadControl(): FunctionBody {
  const m = new Maker(WITH_OPERAND);
  const word = m.i32();
  return m.finish(
    "x87LoadControl",
    S.unlessPending(),
    word.set(I32.or(I32.and(I32.wrap(m.parameter(1).get), I32.of(WRITABLE)), I32.of(ALWAYS))),
    rarely(I32.and(I32.and(S.statusWord, I32.xor(word.get, I32.of(-1))), I32.of(0x3f)), give(S.FALSE)),
    I32.store(A.FPU_CW, word.get),
    S.setStatusWord(I32.and(S.statusWord, I32.of(~SUMMARY))),
    S.TRUE,
  );
}

export const x87Moves = (): FunctionBody[] => [
  load(),
  load80(),
  loadST(),
  store(),
  store80(),
  storeST(),
  exchange(),
  sign(),
  roundToIntegral(),
  compare(),
  compareMemory(),
  loadControl(),
];

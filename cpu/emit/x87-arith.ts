/** x87 arithmetic in WebAssembly, on significands of 64 bits. Operations: c of the micro-ops of uops/uop.ts. */
import { type FunctionBody, type FunctionType, I32 as TYPE_I32, I64 as TYPE_I64 } from "./assembler.ts";
import {
  type Code,
  call,
  choose,
  give,
  I32,
  I64,
  type Local,
  Maker,
  rarely,
  repeatWhile,
  sequence,
  when,
} from "./code.ts";
import * as S from "./x87-state.ts";

/** (se, significand) of both operands, and the register that takes the result: 1 if it did. */
const BINARY: FunctionType = { params: [TYPE_I32, TYPE_I64, TYPE_I32, TYPE_I64, TYPE_I32], results: [TYPE_I32] };
const LOW_HALF: Code = I64.of(0xffffffff);
const high = (x: Code): Code => I64.shr(x, I64.of(32));
const low = (x: Code): Code => I64.and(x, LOW_HALF);
const upper = (x: Code): Code => I64.shl(x, I64.of(32));

interface Binary {
  readonly m: Maker;
  readonly a: S.Operand;
  readonly b: S.Operand;
  readonly register: Code;
  readonly sign: Local;
  readonly exp: Local;
  readonly v: S.Wide;
}
function binary(): Binary {
  const m = new Maker(BINARY);
  const of = (n: number): S.Operand => ({ se: m.parameter(n), sig: m.parameter(n + 1), exp: m.i32() });
  return { m, a: of(0), b: of(2), register: m.parameter(4).get, sign: m.i32(), exp: m.i32(), v: S.wide(m) };
}
const signs = ({ a, b }: Binary): Code => I32.and(I32.xor(a.se.get, b.se.get), I32.of(S.SIGN));
const exponents = ({ a, b }: Binary): Code => sequence(S.setExponent(a), S.setExponent(b));
const bothNormal = ({ a, b }: Binary): Code => I32.and(S.isNormal(a), S.isNormal(b));

/** v = x * y. */
function multiply(m: Maker, v: S.Wide, x: Code, y: Code): Code {
  const [x0, x1, y0, y1] = [m.i64(), m.i64(), m.i64(), m.i64()];
  const [p00, p01, p10, middle] = [m.i64(), m.i64(), m.i64(), m.i64()];
  return sequence(
    x0.set(low(x)),
    x1.set(high(x)),
    y0.set(low(y)),
    y1.set(high(y)),
    p00.set(I64.mul(x0.get, y0.get)),
    p01.set(I64.mul(x0.get, y1.get)),
    p10.set(I64.mul(x1.get, y0.get)),
    middle.set(I64.add(I64.add(high(p00.get), low(p01.get)), low(p10.get))),
    v.hi.set(I64.add(I64.add(I64.mul(x1.get, y1.get), high(p01.get)), I64.add(high(p10.get), high(middle.get)))),
    v.lo.set(I64.or(low(p00.get), upper(middle.get))),
  );
}

/** a + b. */
function add(): FunctionBody {
  const f = binary();
  const { m, a, b, register, sign, exp, v } = f;
  const [apart, count, part, other] = [m.i32(), m.i64(), S.wide(m), S.operand(m)];
  const zeroSum = (): Code => I32.shl(I32.eq(S.roundingControl, I32.of(S.DOWN)), I32.of(15));
  const exactly = (se: Code): Code => S.finishExact(register, se, I64.of(0));
  const take = (from: S.Operand): Code =>
    sequence(sign.set(S.signOf(from)), exp.set(from.exp.get), v.hi.set(from.sig.get), v.lo.set(I64.of(0)));
  const swap = sequence(
    ...(["se", "sig", "exp"] as const).flatMap((of) => [
      other[of].set(a[of].get),
      a[of].set(b[of].get),
      b[of].set(other[of].get),
    ]),
  );
  const withZero = sequence(
    rarely(I32.eqz(I32.and(S.isUsual(a), S.isUsual(b))), give(S.FALSE)),
    when(S.isZero(a), sequence(when(S.isZero(b), exactly(choose(signs(f), zeroSum(), S.signOf(a)))), take(b)), take(a)),
  );
  const sum = sequence(
    v.hi.set(I64.add(a.sig.get, part.hi.get)),
    v.lo.set(part.lo.get),
    when(
      I64.below(v.hi.get, a.sig.get),
      sequence(
        v.lo.set(
          I64.or(I64.or(I64.shr(v.lo.get, I64.of(1)), I64.and(v.lo.get, I64.of(1))), I64.shl(v.hi.get, I64.of(63))),
        ),
        v.hi.set(I64.or(I64.shr(v.hi.get, I64.of(1)), S.INTEGER_BIT)),
        exp.set(I32.add(exp.get, S.TRUE)),
      ),
    ),
  );
  const difference = sequence(
    v.lo.set(I64.sub(I64.of(0), part.lo.get)),
    v.hi.set(I64.sub(I64.sub(a.sig.get, part.hi.get), I64.extend(I64.ne(part.lo.get, I64.of(0))))),
    when(
      I32.eqz(apart.get),
      sequence(
        when(I64.eqz(v.hi.get), exactly(zeroSum())),
        when(
          I64.below(a.sig.get, b.sig.get),
          sequence(v.hi.set(I64.sub(I64.of(0), v.hi.get)), sign.set(I32.xor(sign.get, I32.of(S.SIGN)))),
        ),
      ),
    ),
    when(I64.eqz(v.hi.get), sequence(v.hi.set(v.lo.get), v.lo.set(I64.of(0)), exp.set(I32.sub(exp.get, I32.of(64))))),
    count.set(I64.clz(v.hi.get)),
    when(
      I32.wrap(count.get),
      sequence(
        v.hi.set(I64.or(I64.shl(v.hi.get, count.get), I64.shr(v.lo.get, I64.sub(I64.of(64), count.get)))),
        v.lo.set(I64.shl(v.lo.get, count.get)),
        exp.set(I32.sub(exp.get, I32.wrap(count.get))),
      ),
    ),
  );
  const normal = sequence(
    when(I32.less(a.exp.get, b.exp.get), swap),
    sign.set(S.signOf(a)),
    exp.set(a.exp.get),
    apart.set(I32.sub(a.exp.get, b.exp.get)),
    S.shiftRight(part, b.sig.get, apart.get),
    when(signs(f), difference, sum),
  );
  return m.finish(
    "x87Add",
    exponents(f),
    when(bothNormal(f), normal, withZero),
    S.finishRounded(m, register, sign.get, exp, v),
  );
}

function multiplication(): FunctionBody {
  const f = binary();
  const { m, a, b, register, sign, exp, v } = f;
  return m.finish(
    "x87Multiply",
    exponents(f),
    sign.set(signs(f)),
    rarely(
      I32.eqz(bothNormal(f)),
      sequence(
        rarely(I32.eqz(I32.and(S.isUsual(a), S.isUsual(b))), give(S.FALSE)),
        S.finishExact(register, sign.get, I64.of(0)),
      ),
    ),
    multiply(m, v, a.sig.get, b.sig.get),
    exp.set(I32.sub(I32.add(a.exp.get, b.exp.get), I32.of(S.BIAS - 1))),
    when(
      I32.eqz(I64.less(v.hi.get, I64.of(0))),
      sequence(
        v.hi.set(I64.or(I64.shl(v.hi.get, I64.of(1)), I64.shr(v.lo.get, I64.of(63)))),
        v.lo.set(I64.shl(v.lo.get, I64.of(1))),
        exp.set(I32.sub(exp.get, S.TRUE)),
      ),
    ),
    S.finishRounded(m, register, sign.get, exp, v),
  );
}

/** Half a quotient after Knuth's algorithm D in base 2^32: `q` = upper(rest) | next divided by d, and `rest` what is left of it. */
function divideStep(m: Maker, q: Local, rest: Local, next: Code, d: Code): Code {
  const [left, divisor, lower] = [m.i64(), m.i64(), m.i64()];
  const tooLarge = I32.and(
    I32.or(I64.above(q.get, LOW_HALF), I64.above(I64.mul(q.get, lower.get), I64.or(upper(left.get), next))),
    I64.eqz(high(left.get)),
  );
  const correct = when(tooLarge, sequence(q.set(I64.sub(q.get, I64.of(1))), left.set(I64.add(left.get, divisor.get))));
  return sequence(
    divisor.set(high(d)),
    lower.set(low(d)),
    q.set(I64.divide(rest.get, divisor.get)),
    left.set(I64.sub(rest.get, I64.mul(q.get, divisor.get))),
    correct,
    correct,
    rest.set(I64.sub(I64.or(upper(rest.get), next), I64.mul(q.get, d))),
  );
}

function division(): FunctionBody {
  const f = binary();
  const { m, a, b, register, sign, exp, v } = f;
  const [rest, last, first, second] = [m.i64(), m.i64(), m.i64(), m.i64()];
  return m.finish(
    "x87Divide",
    exponents(f),
    sign.set(signs(f)),
    rarely(
      I32.eqz(bothNormal(f)),
      sequence(
        // Only zero divided by a number.
        rarely(I32.eqz(I32.and(S.isZero(a), S.isNormal(b))), give(S.FALSE)),
        S.finishExact(register, sign.get, I64.of(0)),
      ),
    ),
    // The quotient of rest * 2^64 + last is to have 64 bits.
    exp.set(I32.add(I32.sub(a.exp.get, b.exp.get), I32.of(S.BIAS - 1))),
    rest.set(a.sig.get),
    last.set(I64.of(0)),
    when(
      I32.eqz(I64.below(a.sig.get, b.sig.get)),
      sequence(
        rest.set(I64.shr(a.sig.get, I64.of(1))),
        last.set(I64.shl(a.sig.get, I64.of(63))),
        exp.set(I32.add(exp.get, S.TRUE)),
      ),
    ),
    divideStep(m, first, rest, high(last.get), b.sig.get),
    divideStep(m, second, rest, low(last.get), b.sig.get),
    v.hi.set(I64.or(upper(first.get), second.get)),
    // What is left against half of the divisor.
    v.lo.set(I64.extend(I64.ne(rest.get, I64.of(0)))),
    last.set(I64.sub(b.sig.get, rest.get)),
    when(
      I32.eqz(I64.below(rest.get, last.get)),
      v.lo.set(I64.or(S.INTEGER_BIT, I64.extend(I64.ne(rest.get, last.get)))),
    ),
    S.finishRounded(m, register, sign.get, exp, v),
  );
}

// ---- square root ------------------------------------------------------------------------------------------------------------

const F64_OPS = { sqrt: 0x9f, add: 0xa0, mul: 0xa2, div: 0xa3, min: 0xa4 } as const;
const f64 = (op: keyof typeof F64_OPS, ...operands: Code[]): Code => sequence(...operands, (w) => w.op(F64_OPS[op]));
const number =
  (value: number): Code =>
  (w) =>
    w.f64(value);
const unsigned = (x: Code): Code => sequence(x, (w) => w.op(0xba));
const signed = (x: Code): Code => sequence(x, (w) => w.op(0xb9));
const toSigned = (x: Code): Code => sequence(x, (w) => w.op(0xb0));
const toUnsigned = (x: Code): Code => sequence(x, (w) => w.op(0xb1));

/** ST(0) = its root: that of a double, a step of Newton's, and then integers have the last word. */
function squareRoot(): FunctionBody {
  const m = new Maker({ params: [TYPE_I32], results: [TYPE_I32] });
  const [register, a, exp, root] = [m.i32(), S.operand(m), m.i32(), m.i64()];
  const [radicand, rest, v] = [S.wide(m), S.wide(m), S.wide(m)];
  const odd = m.i32();
  /** rest += 2 * root + 1, and -=. */
  const twice = I64.or(I64.shl(root.get, I64.of(1)), I64.of(1));
  const carry = m.i64();
  const enlarge = sequence(
    carry.set(rest.lo.get),
    rest.lo.set(I64.add(rest.lo.get, twice)),
    rest.hi.set(
      I64.add(I64.add(rest.hi.get, I64.shr(root.get, I64.of(63))), I64.extend(I64.below(rest.lo.get, carry.get))),
    ),
  );
  const diminish = sequence(
    rest.hi.set(
      I64.sub(I64.sub(rest.hi.get, I64.shr(root.get, I64.of(63))), I64.extend(I64.below(rest.lo.get, twice))),
    ),
    rest.lo.set(I64.sub(rest.lo.get, twice)),
  );
  const square = S.wide(m);
  const findRest = sequence(
    multiply(m, square, root.get, root.get),
    rest.lo.set(I64.sub(radicand.lo.get, square.lo.get)),
    rest.hi.set(
      I64.sub(I64.sub(radicand.hi.get, square.hi.get), I64.extend(I64.below(radicand.lo.get, square.lo.get))),
    ),
  );
  /** rest > 2 * root. The root has its top bit. */
  const tooSmall = I32.or(
    I64.less(I64.of(1), rest.hi.get),
    I32.and(I64.eq(rest.hi.get, I64.of(1)), I64.above(rest.lo.get, I64.shl(root.get, I64.of(1)))),
  );
  return m.finish(
    "x87Root",
    S.unlessMasked(),
    register.set(S.registerOf(S.FALSE)),
    rarely(S.isEmpty(register.get), give(S.FALSE)),
    S.readRegister(a, register.get),
    rarely(S.isZero(a), S.finishExact(register.get, a.se.get, a.sig.get)),
    rarely(I32.or(I32.eqz(S.isNormal(a)), S.signOf(a)), give(S.FALSE)),
    // radicand = significand * 2^63 or 2^64, the exponent then being even; its root has 64 bits.
    odd.set(I32.and(I32.sub(a.exp.get, I32.of(S.BIAS)), S.TRUE)),
    exp.set(
      I32.add(I32.shr(I32.sub(I32.add(a.exp.get, I32.of(0x10000 - S.BIAS)), odd.get), S.TRUE), I32.of(S.BIAS - 0x8000)),
    ),
    radicand.hi.set(choose(odd.get, a.sig.get, I64.shr(a.sig.get, I64.of(1)))),
    radicand.lo.set(choose(odd.get, I64.of(0), I64.shl(a.sig.get, I64.of(63)))),
    root.set(
      toUnsigned(
        f64("min", f64("mul", f64("sqrt", unsigned(radicand.hi.get)), number(2 ** 32)), number(2 ** 64 - 2 ** 11)),
      ),
    ),
    findRest,
    root.set(
      I64.add(
        root.get,
        toSigned(
          f64(
            "div",
            f64("add", f64("mul", signed(rest.hi.get), number(2 ** 64)), unsigned(rest.lo.get)),
            f64("mul", unsigned(root.get), number(2)),
          ),
        ),
      ),
    ),
    findRest,
    repeatWhile(I64.less(rest.hi.get, I64.of(0)), sequence(root.set(I64.sub(root.get, I64.of(1))), enlarge)),
    repeatWhile(tooSmall, sequence(diminish, root.set(I64.add(root.get, I64.of(1))))),
    v.hi.set(root.get),
    // The rest against root + 1/4: half of the root's last bit.
    v.lo.set(I64.extend(I64.ne(I64.or(rest.hi.get, rest.lo.get), I64.of(0)))),
    when(
      I32.or(I64.ne(rest.hi.get, I64.of(0)), I64.above(rest.lo.get, root.get)),
      v.lo.set(I64.or(S.INTEGER_BIT, I64.of(1))),
    ),
    S.finishRounded(m, register.get, S.FALSE, exp, v),
  );
}

// ---- instructions -----------------------------------------------------------------------------------------------------------

/** Numbers of the operations, in ModRM bits 5..3: FADD 0, FMUL 1, FSUB 4, FSUBR 5, FDIV 6, FDIVR 7. */
const REVERSED = 1;
const FMUL = 1;
const FSUB = 4;
const FDIV = 6;

/** a = a op b, in `register`, by internal functions numbered from `first` on: addition, multiplication, division. Pushes 1 or 0. */
function calculate(m: Maker, operation: Code, a: S.Operand, b: S.Operand, register: Code, first: number): Code {
  const other = S.operand(m);
  const done = m.i32();
  const swap = sequence(
    ...(["se", "sig"] as const).flatMap((of) => [
      other[of].set(a[of].get),
      a[of].set(b[of].get),
      b[of].set(other[of].get),
    ]),
  );
  const by = (n: number): Code => done.set(call(first + n, a.se.get, a.sig.get, b.se.get, b.sig.get, register));
  return sequence(
    when(
      I32.below(operation, I32.of(FSUB)),
      when(I32.eq(operation, I32.of(FMUL)), by(1), by(0)),
      sequence(
        when(I32.and(operation, I32.of(REVERSED)), swap),
        when(I32.below(operation, I32.of(FDIV)), sequence(b.se.set(I32.xor(b.se.get, I32.of(S.SIGN))), by(0)), by(2)),
      ),
    ),
    done.get,
  );
}
const bits = (c: Code, from: number, count: number): Code =>
  I32.and(I32.shr(c, I32.of(from)), I32.of((1 << count) - 1));

/** arith(c): registers. */
function arith(first: number): FunctionBody {
  const m = new Maker({ params: [TYPE_I32], results: [TYPE_I32] });
  const c = m.parameter(0).get;
  const [target, source, a, b] = [m.i32(), m.i32(), S.operand(m), S.operand(m)];
  const read = (to: S.Operand, from: Code): Code =>
    sequence(to.sig.set(S.significand(from)), to.se.set(S.signExponent(from)));
  return m.finish(
    "x87Arith",
    S.unlessMasked(),
    target.set(S.registerOf(S.FALSE)),
    source.set(S.registerOf(bits(c, 3, 3))),
    rarely(I32.or(S.isEmpty(target.get), S.isEmpty(source.get)), give(S.FALSE)),
    when(
      bits(c, 6, 1),
      sequence(read(a, source.get), read(b, target.get), target.set(source.get)),
      sequence(read(a, target.get), read(b, source.get)),
    ),
    rarely(I32.eqz(calculate(m, bits(c, 0, 3), a, b, target.get, first)), give(S.FALSE)),
    when(bits(c, 7, 1), S.pop),
    S.TRUE,
  );
}

/** arithMemory(c, operand). */
function arithMemory(first: number): FunctionBody {
  const m = new Maker({ params: [TYPE_I32, TYPE_I64], results: [TYPE_I32] });
  const c = m.parameter(0).get;
  const [target, a, b] = [m.i32(), S.operand(m), S.operand(m)];
  return m.finish(
    "x87ArithMemory",
    S.unlessMasked(),
    target.set(S.registerOf(S.FALSE)),
    rarely(S.isEmpty(target.get), give(S.FALSE)),
    S.fromMemory(m, b, bits(c, 3, 3), m.parameter(1).get),
    a.sig.set(S.significand(target.get)),
    a.se.set(S.signExponent(target.get)),
    calculate(m, bits(c, 0, 3), a, b, target.get, first),
  );
}

/** The functions; those that others call come first. @param first the index of the first in its module */
export const x87Arithmetic = (first: number): FunctionBody[] => [
  add(),
  multiplication(),
  division(),
  squareRoot(),
  arith(first),
  arithMemory(first),
];

/**
 * Integer arithmetic and logic. Flags as the SDM's instruction pages say; where it leaves a flag undefined, all engines
 * agree on one answer, which is named here.
 */
import * as A from "../arena.ts";
import { raise, VEC_DE, VEC_GP } from "../core.ts";
import * as U from "../uops/uop.ts";
import { bit, bitsOf, bytesOf, type EvaluateTable, family, low, type State, signed } from "./state.ts";

/** x op y in `bits` bits: sets the six flags and returns the result. */
function alu(m: State, op: number, bits: number, x: bigint, y: bigint): bigint {
  const carryIn = (op === U.ALU_ADC || op === U.ALU_SBB) && m.carry ? 1n : 0n;
  switch (op) {
    case U.ALU_ADD:
    case U.ALU_ADC: {
      const r = low(bits, x + y + carryIn);
      m.setResult(bits, r, {
        cf: x + y + carryIn >= 1n << BigInt(bits),
        of: signed(bits, x) + signed(bits, y) + carryIn !== signed(bits, r),
        af: (x & 15n) + (y & 15n) + carryIn > 15n,
      });
      return r;
    }
    case U.ALU_SUB:
    case U.ALU_SBB:
    case U.ALU_CMP: {
      const r = low(bits, x - y - carryIn);
      m.setResult(bits, r, {
        cf: x < y + carryIn,
        of: signed(bits, x) - signed(bits, y) - carryIn !== signed(bits, r),
        af: (x & 15n) < (y & 15n) + carryIn,
      });
      return r;
    }
    default: {
      const r = op === U.ALU_OR ? x | y : op === U.ALU_XOR ? x ^ y : x & y;
      m.setResult(bits, r, { cf: false, of: false, af: false });
      return r;
    }
  }
}

function installAlu(table: EvaluateTable): void {
  for (let op = 0; op <= U.ALU_TEST; op++) {
    const writes = op !== U.ALU_CMP && op !== U.ALU_TEST;
    const form = (number: number, evaluate: (m: State, u: number, sz: number) => number): void =>
      family(table, U.alu(op, number, 0), 0, evaluate);
    const intoRegister = (m: State, u: number, sz: number, y: bigint): number => {
      const r = alu(m, op, bitsOf(sz), m.get(m.d(u), sz), y);
      if (writes) m.set(m.d(u), sz, r);
      return U.H_OK;
    };
    form(U.FORM_RR, (m, u, sz) => intoRegister(m, u, sz, m.get(m.a(u), sz)));
    form(U.FORM_RI, (m, u, sz) => intoRegister(m, u, sz, low(bitsOf(sz), m.imm(u))));
    form(U.FORM_RM, (m, u, sz) => {
      const status = m.load(u, m.address(u), bytesOf(sz));
      return status === U.H_OK ? intoRegister(m, u, sz, m.loaded) : status;
    });
    const intoMemory = (m: State, u: number, sz: number, y: bigint): number => {
      const address = m.address(u);
      const status = m.load(u, address, bytesOf(sz), writes);
      if (status !== U.H_OK) return status;
      const x = m.loaded;
      const before = m.flags();
      const r = alu(m, op, bitsOf(sz), x, y);
      return writes ? storeOrUndo(m, u, address, sz, r, before) : U.H_OK;
    };
    form(U.FORM_MR, (m, u, sz) => intoMemory(m, u, sz, m.get(m.d(u), sz)));
    form(U.FORM_MI, (m, u, sz) => intoMemory(m, u, sz, low(bitsOf(sz), m.imm(u))));
  }
}

/** Stores a result whose flags are set already; if the store fails the flags are as they were `before`. */
function storeOrUndo(m: State, u: number, address: bigint, sz: number, r: bigint, before: number): number {
  const status = m.store(u, address, bytesOf(sz), r);
  if (status !== U.H_OK)
    m.setFlags({
      cf: (before & 1) !== 0,
      pf: (before & 4) !== 0,
      af: (before & 0x10) !== 0,
      zf: (before & 0x40) !== 0,
      sf: (before & 0x80) !== 0,
      of: (before & 0x800) !== 0,
    });
  return status;
}

type Unary = (m: State, bits: number, x: bigint) => bigint;

/** INC and DEC keep CF. */
const inc: Unary = (m, bits, x) => {
  const r = low(bits, x + 1n);
  m.setResult(bits, r, { of: signed(bits, x) + 1n !== signed(bits, r), af: (x & 15n) === 15n });
  return r;
};
const dec: Unary = (m, bits, x) => {
  const r = low(bits, x - 1n);
  m.setResult(bits, r, { of: signed(bits, x) - 1n !== signed(bits, r), af: (x & 15n) === 0n });
  return r;
};
const neg: Unary = (m, bits, x) => alu(m, U.ALU_SUB, bits, 0n, x);
const not: Unary = (_m, bits, x) => low(bits, ~x);

function installUnary(table: EvaluateTable): void {
  for (const [register, memory, op] of [
    [U.U_INC, U.U_INC_M, inc],
    [U.U_DEC, U.U_DEC_M, dec],
    [U.U_NEG, U.U_NEG_M, neg],
    [U.U_NOT, U.U_NOT_M, not],
  ] as const) {
    family(table, register, 0, (m, u, sz) => {
      m.set(m.d(u), sz, op(m, bitsOf(sz), m.get(m.d(u), sz)));
      return U.H_OK;
    });
    family(table, memory, 0, (m, u, sz) => {
      const address = m.address(u);
      const status = m.load(u, address, bytesOf(sz), true);
      if (status !== U.H_OK) return status;
      const before = m.flags();
      return storeOrUndo(m, u, address, sz, op(m, bitsOf(sz), m.loaded), before);
    });
  }
}

// ---- multiplication and division --------------------------------------------------------------------------------------

/** CF = OF = the product does not fit; AF clear, ZF, SF and PF (undefined) of the low half. */
function multiplyFlags(m: State, bits: number, product: bigint, overflow: boolean): void {
  m.setResult(bits, product, { cf: overflow, of: overflow, af: false });
}

function multiplyTwo(m: State, u: number, sz: number, x: bigint, y: bigint): number {
  const bits = bitsOf(sz);
  const product = signed(bits, x) * y;
  m.set(m.d(u), sz, product);
  multiplyFlags(m, bits, product, product !== signed(bits, product));
  return U.H_OK;
}

/** Writes a value of twice the size to rDX:rAX, or AX for 8 bits. */
function setWide(m: State, sz: number, value: bigint): void {
  if (sz === 0) m.set(A.S_RAX, 1, value);
  else {
    m.set(A.S_RAX, sz, value);
    m.set(A.S_RDX, sz, value >> BigInt(bitsOf(sz)));
  }
}

function multiplyWide(m: State, u: number, sz: number, isSigned: boolean): number {
  const bits = bitsOf(sz);
  const cut = isSigned ? signed : low;
  const product = cut(bits, m.get(A.S_RAX, sz)) * cut(bits, m.get(m.a(u), sz));
  setWide(m, sz, product);
  multiplyFlags(m, bits, product, product !== cut(bits, product));
  return U.H_OK;
}

/** Flags, all undefined, stay. BigInt division truncates toward zero and its remainder has the dividend's sign, as IDIV's. */
function divide(m: State, u: number, sz: number, isSigned: boolean): number {
  const bits = bitsOf(sz);
  const cut = isSigned ? signed : low;
  const wide = sz === 0 ? m.get(A.S_RAX, 1) : (m.get(A.S_RDX, sz) << BigInt(bits)) | m.get(A.S_RAX, sz);
  const dividend = cut(bits * 2, wide);
  const divisor = cut(bits, m.get(m.a(u), sz));
  if (divisor === 0n) return raise(m.core, VEC_DE);
  const quotient = dividend / divisor;
  if (quotient !== cut(bits, quotient)) return raise(m.core, VEC_DE);
  const remainder = dividend % divisor;
  setWide(m, sz, (low(bits, remainder) << BigInt(bits)) | low(bits, quotient));
  return U.H_OK;
}

function installMultiply(table: EvaluateTable): void {
  family(table, U.U_IMUL_RR, 1, (m, u, sz) =>
    multiplyTwo(m, u, sz, m.get(m.d(u), sz), signed(bitsOf(sz), m.get(m.a(u), sz))),
  );
  family(table, U.U_IMUL_RRI, 1, (m, u, sz) => multiplyTwo(m, u, sz, m.get(m.a(u), sz), m.imm(u)));
  family(table, U.U_MUL, 0, (m, u, sz) => multiplyWide(m, u, sz, false));
  family(table, U.U_IMUL, 0, (m, u, sz) => multiplyWide(m, u, sz, true));
  family(table, U.U_DIV, 0, (m, u, sz) => divide(m, u, sz, false));
  family(table, U.U_IDIV, 0, (m, u, sz) => divide(m, u, sz, true));
  family(table, U.U_CWD, 1, (m, _u, sz) => {
    m.set(A.S_RDX, sz, bit(m.get(A.S_RAX, sz), bitsOf(sz) - 1) ? -1n : 0n);
    return U.H_OK;
  });
}

function installExchange(table: EvaluateTable): void {
  // The sum is written last: XADD of a register with itself leaves the sum.
  family(table, U.U_XADD, 0, (m, u, sz) => {
    const d = m.get(m.d(u), sz);
    const sum = alu(m, U.ALU_ADD, bitsOf(sz), d, m.get(m.a(u), sz));
    m.set(m.a(u), sz, d);
    m.set(m.d(u), sz, sum);
    return U.H_OK;
  });
  family(table, U.U_CMPXCHG, 0, (m, u, sz) => {
    const accumulator = m.get(A.S_RAX, sz);
    const d = m.get(m.d(u), sz);
    alu(m, U.ALU_CMP, bitsOf(sz), accumulator, d);
    if (accumulator === d) m.set(m.d(u), sz, m.get(m.a(u), sz));
    else m.set(A.S_RAX, sz, d);
    return U.H_OK;
  });
  table[U.U_CMPXCHG16] = (m, u) => {
    const [d, a] = [m.get(m.d(u), 3), m.get(m.a(u), 3)];
    const equal = d === m.get(A.S_RAX, 3) && a === m.get(A.S_RDX, 3);
    m.setFlags({ zf: equal });
    m.set(equal ? m.d(u) : A.S_RAX, 3, equal ? m.get(A.S_RBX, 3) : d);
    m.set(equal ? m.a(u) : A.S_RDX, 3, equal ? m.get(A.S_RCX, 3) : a);
    return U.H_OK;
  };
  table[U.U_ALIGN16] = (m, u) => (m.address(u) % 16n === 0n ? U.H_OK : raise(m.core, VEC_GP));
}

export function installArithmetic(table: EvaluateTable): void {
  installAlu(table);
  installUnary(table);
  installMultiply(table);
  installExchange(table);
}

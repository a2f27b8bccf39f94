/** BMI1 and BMI2: sizes of 32 and 64 bits. */
import * as A from "../arena.ts";
import * as U from "../uops/uop.ts";
import { bitsOf, type EvaluateTable, family, low, type State, signed } from "./state.ts";

/** Defines d = op(a, b) with ZF, SF and PF of the result, CF by `carry`, OF and AF clear. */
function flagged(
  table: EvaluateTable,
  kind: number,
  op: (a: bigint, b: bigint, bits: number) => bigint,
  carry: (a: bigint, b: bigint, bits: number) => boolean,
): void {
  family(table, kind, 2, (m, u, sz) => {
    const bits = bitsOf(sz);
    const a = m.get(m.a(u), sz);
    const b = kind === U.U_ANDN || kind === U.U_BZHI ? m.get(m.b(u), sz) : 0n;
    const r = low(bits, op(a, b, bits));
    m.setResult(bits, r, { cf: carry(a, b, bits), of: false, af: false });
    m.set(m.d(u), sz, r);
    return U.H_OK;
  });
}

function shift(table: EvaluateTable, kind: number, op: (a: bigint, n: bigint, bits: number) => bigint): void {
  family(table, kind, 2, (m, u, sz) => {
    const bits = bitsOf(sz);
    m.set(m.d(u), sz, op(m.get(m.a(u), sz), m.get(m.b(u), 3) % BigInt(bits), bits));
    return U.H_OK;
  });
}

function multiply(m: State, u: number, sz: number): number {
  const product = m.get(A.S_RDX, sz) * m.get(m.b(u), sz);
  m.set(m.a(u), sz, product);
  m.set(m.d(u), sz, product >> BigInt(bitsOf(sz)));
  return U.H_OK;
}

export function installBmi(table: EvaluateTable): void {
  flagged(
    table,
    U.U_ANDN,
    (a, b) => ~a & b,
    () => false,
  );
  flagged(
    table,
    U.U_BLSR,
    (a) => a & (a - 1n),
    (a) => a === 0n,
  );
  flagged(
    table,
    U.U_BLSMSK,
    (a) => a ^ (a - 1n),
    (a) => a === 0n,
  );
  flagged(
    table,
    U.U_BLSI,
    (a) => a & -a,
    (a) => a !== 0n,
  );
  flagged(
    table,
    U.U_BZHI,
    (a, b) => low(Number(b & 0xffn), a),
    (_a, b, bits) => Number(b & 0xffn) >= bits,
  );
  shift(table, U.U_SHLX, (a, n) => a << n);
  shift(table, U.U_SHRX, (a, n) => a >> n);
  shift(table, U.U_SARX, (a, n, bits) => signed(bits, a) >> n);
  family(table, U.U_RORX, 2, (m, u, sz) => {
    const bits = BigInt(bitsOf(sz));
    const a = m.get(m.a(u), sz);
    m.set(m.d(u), sz, (a | (a << bits)) >> m.imm(u));
    return U.H_OK;
  });
  family(table, U.U_MULX, 2, multiply);
}

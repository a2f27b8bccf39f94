/** Shifts, rotates, bit tests, scans and counts. */
import * as A from "../arena.ts";
import * as U from "../uops/uop.ts";
import { bit, bitsOf, type EvaluateTable, family, low, type State, signed } from "./state.ts";

type Shift = (m: State, bits: number, x: bigint, count: number) => bigint;

/** OF is the SDM's for a count of one, and the same formula for every other; AF (undefined) is clear. */
const shl: Shift = (m, bits, x, count) => {
  const wide = x << BigInt(count);
  const r = low(bits, wide);
  const cf = bit(wide, bits);
  m.setResult(bits, r, { cf, of: bit(r, bits - 1) !== cf, af: false });
  return r;
};
/** OF: the operand's top bit for a count of one, clear for others. */
const shr: Shift = (m, bits, x, count) => {
  const r = x >> BigInt(count);
  m.setResult(bits, r, { cf: bit(x, count - 1), of: count === 1 && bit(x, bits - 1), af: false });
  return r;
};
const sar: Shift = (m, bits, x, count) => {
  const value = signed(bits, x);
  const r = low(bits, value >> BigInt(count));
  m.setResult(bits, r, { cf: bit(value, count - 1), of: false, af: false });
  return r;
};

/** Rotates change CF and OF only; OF by the formula for a count of one, whatever the count. */
const rol: Shift = (m, bits, x, count) => {
  const n = BigInt(count % bits);
  const r = low(bits, (x << n) | (x >> (BigInt(bits) - n)));
  m.setFlags({ cf: bit(r, 0), of: bit(r, bits - 1) !== bit(r, 0) });
  return r;
};
const ror: Shift = (m, bits, x, count) => {
  const n = BigInt(count % bits);
  const r = low(bits, (x >> n) | (x << (BigInt(bits) - n)));
  m.setFlags({ cf: bit(r, bits - 1), of: bit(r, bits - 1) !== bit(r, bits - 2) });
  return r;
};

function installShifts(table: EvaluateTable): void {
  for (const [immediate, byCl, op] of [
    [U.U_SHL_I, U.U_SHL_C, shl],
    [U.U_SHR_I, U.U_SHR_C, shr],
    [U.U_SAR_I, U.U_SAR_C, sar],
    [U.U_ROL_I, U.U_ROL_C, rol],
    [U.U_ROR_I, U.U_ROR_C, ror],
  ] as const) {
    const shift = (m: State, u: number, sz: number, count: number): number => {
      const x = m.get(m.d(u), sz);
      // A count of zero changes no flag, but a 32-bit destination is written: its upper half is cleared.
      m.set(m.d(u), sz, count === 0 ? x : op(m, bitsOf(sz), x, count));
      return U.H_OK;
    };
    family(table, immediate, 0, (m, u, sz) => shift(m, u, sz, Number(m.imm(u))));
    family(table, byCl, 0, (m, u, sz) => shift(m, u, sz, Number(m.get(A.S_RCX, 0)) & (sz === 3 ? 63 : 31)));
  }
}

/** SHLD and SHRD: the operands side by side. Flags as of SHL and of RCR. */
function installDoubleShifts(table: EvaluateTable): void {
  family(table, U.U_SHLD_I, 2, (m, u, sz) => {
    const [bits, count] = [bitsOf(sz), Number(m.imm(u))];
    const both = ((m.get(m.d(u), sz) << BigInt(bits)) | m.get(m.a(u), sz)) << BigInt(count);
    const r = low(bits, both >> BigInt(bits));
    const cf = bit(both, 2 * bits);
    m.setResult(bits, r, { cf, of: bit(r, bits - 1) !== cf, af: false });
    m.set(m.d(u), sz, r);
    return U.H_OK;
  });
  family(table, U.U_SHRD_I, 2, (m, u, sz) => {
    const [bits, count] = [bitsOf(sz), Number(m.imm(u))];
    const both = (m.get(m.a(u), sz) << BigInt(bits)) | m.get(m.d(u), sz);
    const r = low(bits, both >> BigInt(count));
    m.setResult(bits, r, { cf: bit(both, count - 1), of: bit(r, bits - 1) !== bit(r, bits - 2), af: false });
    m.set(m.d(u), sz, r);
    return U.H_OK;
  });
}

function installBitTests(table: EvaluateTable): void {
  const change: readonly (readonly [number, number, (x: bigint, mask: bigint) => bigint])[] = [
    [U.U_BT_R, U.U_BT_I, (x) => x],
    [U.U_BTS_R, U.U_BTS_I, (x, mask) => x | mask],
    [U.U_BTR_R, U.U_BTR_I, (x, mask) => x & ~mask],
    [U.U_BTC_R, U.U_BTC_I, (x, mask) => x ^ mask],
  ];
  for (const [register, immediate, op] of change) {
    const test = (m: State, u: number, sz: number, number: bigint): number => {
      const n = Number(low(32, number) % BigInt(bitsOf(sz)));
      const x = m.get(m.d(u), sz);
      m.setFlags({ cf: bit(x, n) });
      // BT writes nothing, so the upper half of a 32-bit register stays.
      if (register !== U.U_BT_R) m.set(m.d(u), sz, op(x, 1n << BigInt(n)));
      return U.H_OK;
    };
    family(table, register, 1, (m, u, sz) => test(m, u, sz, m.get(m.a(u), 3)));
    family(table, immediate, 1, (m, u, sz) => test(m, u, sz, m.imm(u)));
  }
}

/** Zero bits below the lowest one (`bits` if there is none), and above the highest. */
function trailingZeros(x: bigint, bits: number): number {
  let n = 0;
  while (n < bits && !bit(x, n)) n++;
  return n;
}
function leadingZeros(x: bigint, bits: number): number {
  let n = 0;
  while (n < bits && !bit(x, bits - 1 - n)) n++;
  return n;
}
function ones(x: bigint, bits: number): number {
  let n = 0;
  for (let k = 0; k < bits; k++) if (bit(x, k)) n++;
  return n;
}

function installCounts(table: EvaluateTable): void {
  // BSF, BSR: ZF tells a zero source; SF and PF (undefined) are the source's, CF, OF and AF clear.
  for (const [kind, find] of [
    [U.U_BSF, (x: bigint, bits: number) => trailingZeros(x, bits)],
    [U.U_BSR, (x: bigint, bits: number) => bits - 1 - leadingZeros(x, bits)],
  ] as const)
    family(table, kind, 1, (m, u, sz) => {
      const bits = bitsOf(sz);
      const x = m.get(m.a(u), sz);
      m.setResult(bits, x, { cf: false, of: false, af: false });
      if (x !== 0n) m.set(m.d(u), sz, BigInt(find(x, bits)));
      return U.H_OK;
    });
  // TZCNT, LZCNT: CF tells a zero source, ZF a zero result; SF and PF (undefined) are the result's, OF and AF clear.
  for (const [kind, count] of [
    [U.U_TZCNT, trailingZeros],
    [U.U_LZCNT, leadingZeros],
  ] as const)
    family(table, kind, 1, (m, u, sz) => {
      const bits = bitsOf(sz);
      const x = m.get(m.a(u), sz);
      const r = BigInt(count(x, bits));
      m.setResult(bits, r, { cf: x === 0n, of: false, af: false });
      m.set(m.d(u), sz, r);
      return U.H_OK;
    });
  family(table, U.U_POPCNT, 1, (m, u, sz) => {
    const x = m.get(m.a(u), sz);
    m.setFlags({ zf: x === 0n, cf: false, of: false, sf: false, af: false, pf: false });
    m.set(m.d(u), sz, BigInt(ones(x, bitsOf(sz))));
    return U.H_OK;
  });
  for (const [kind, sz] of [
    [U.U_BSWAP32, 2],
    [U.U_BSWAP64, 3],
  ] as const)
    table[kind] = (m, u) => {
      const x = m.get(m.d(u), sz);
      let r = 0n;
      for (let k = 0; k < bitsOf(sz); k += 8) r = (r << 8n) | ((x >> BigInt(k)) & 0xffn);
      m.set(m.d(u), sz, r);
      return U.H_OK;
    };
}

export function installBits(table: EvaluateTable): void {
  installShifts(table);
  installDoubleShifts(table);
  installBitTests(table);
  installCounts(table);
}

/** Vector micro-ops that move lanes about (emit/emit-lanes.ts). */
import { YMM_UPPER } from "../arena.ts";
import * as U from "../uops/uop.ts";
import { bit, bitsOf, type EvaluateTable, family, low, signed } from "./state.ts";
import { build, LANE_BITS, lane } from "./vector.ts";

/** The bits of `mask` (bytes, or the vector itself) choose b, else a. */
const select = (mask: bigint, a: bigint, b: bigint): bigint => (b & mask) | (a & low(128, ~mask));

export function installLanes(table: EvaluateTable): void {
  for (const name of U.V_WIDEN) {
    const [from, to] = [LANE_BITS[name[2]!]!, LANE_BITS[name[3]!]!];
    const extend = name.startsWith("s") ? signed : low;
    table[U.vwiden(name)] = (m, u) => {
      const a = m.vector(m.a(u));
      m.setVector(
        m.d(u),
        build(to, (i) => extend(from, lane(a, from, i))),
      );
      return U.H_OK;
    };
  }
  for (const sz of [0, 2, 3])
    table[U.U_VSIGNS + sz] = (m, u) => {
      const a = m.vector(m.a(u));
      const bits = bitsOf(sz);
      m.setVector(
        m.d(u),
        build(bits, (i) => (bit(a, bits * i + bits - 1) ? -1n : 0n)),
      );
      return U.H_OK;
    };
  table[U.U_VSELECT] = (m, u) => {
    m.setVector(m.d(u), select(m.vector(m.d(u)), m.vector(m.a(u)), m.vector(m.b(u))));
    return U.H_OK;
  };
  table[U.U_VBLEND] = (m, u) => {
    const mask = build(8, (i) => (bit(m.imm(u), i) ? -1n : 0n));
    m.setVector(m.d(u), select(mask, m.vector(m.a(u)), m.vector(m.b(u))));
    return U.H_OK;
  };
  table[U.U_VALIGN] = (m, u) => {
    const both = (m.vector(m.a(u)) << 128n) | m.vector(m.b(u));
    m.setVector(m.d(u), low(128, both >> (8n * m.imm(u))));
    return U.H_OK;
  };
  family(table, U.U_VINSERT, 0, (m, u, sz) => {
    const at = BigInt(m.c(u) * bitsOf(sz));
    const hole = low(128, ~(((1n << BigInt(bitsOf(sz))) - 1n) << at));
    m.setVector(m.d(u), (m.vector(m.a(u)) & hole) | (m.get(m.b(u), sz) << at));
    return U.H_OK;
  });
  family(table, U.U_VEXTRACT, 0, (m, u, sz) => {
    m.set(m.d(u), 3, lane(m.vector(m.a(u)), bitsOf(sz), m.c(u)));
    return U.H_OK;
  });
  for (const [kind, bits, halves] of [
    [U.U_VMSKD, 32, 1],
    [U.U_VMSKD256, 32, 2],
    [U.U_VMSKQ, 64, 1],
    [U.U_VMSKQ256, 64, 2],
  ] as const)
    table[kind] = (m, u) => {
      const a = m.vector(m.a(u)) | (halves === 2 ? m.vector(m.a(u) + YMM_UPPER) << 128n : 0n);
      let mask = 0n;
      for (let i = 0; i < (128 * halves) / bits; i++) if (bit(a, bits * i + bits - 1)) mask |= 1n << BigInt(i);
      m.set(m.d(u), 3, mask);
      return U.H_OK;
    };
  for (const [kind, long] of [
    [U.U_VTEST, false],
    [U.U_VTEST256, true],
  ] as const)
    table[kind] = (m, u) => {
      const whole = (n: number): bigint => (long ? m.vector256(n) : m.vector(n));
      const [a, b] = [whole(m.a(u)), whole(m.b(u))];
      m.setFlags({ zf: (a & b) === 0n, cf: (b & ~a) === 0n, of: false, sf: false, pf: false, af: false });
      return U.H_OK;
    };
}

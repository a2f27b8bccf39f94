/** Data movement, addresses, conditional writes, the 64-bit stack, flag bits, helpers inside a block. */
import * as A from "../arena.ts";
import { HELPERS } from "../uops/helpers.ts";
import * as U from "../uops/uop.ts";
import { bytesOf, type EvaluateTable, family, low, type State, signed } from "./state.ts";

/** 64-bit push of `value`. */
export function push(m: State, u: number, value: bigint): number {
  const address = low(64, m.get(A.S_RSP, 3) - 8n);
  const status = m.store(u, address, 8, value);
  if (status === U.H_OK) m.set(A.S_RSP, 3, address);
  return status;
}

function installMoves(table: EvaluateTable): void {
  family(table, U.U_MOV_RR, 0, (m, u, sz) => {
    m.set(m.d(u), sz, m.get(m.a(u), sz));
    return U.H_OK;
  });
  family(table, U.U_MOV_RI, 0, (m, u, sz) => {
    m.set(m.d(u), sz, sz === 3 ? m.imm64(u) : m.imm(u));
    return U.H_OK;
  });
  for (const [kind, write] of [
    [U.U_LOAD, false],
    [U.U_LOADW, true],
  ] as const)
    family(table, kind, 0, (m, u, sz) => {
      const status = m.load(u, m.address(u), bytesOf(sz), write);
      if (status === U.H_OK) m.set(m.d(u), sz, m.loaded);
      return status;
    });
  family(table, U.U_STORE, 0, (m, u, sz) => m.store(u, m.address(u), bytesOf(sz), m.get(m.d(u), sz)));
  family(table, U.U_STOREI, 0, (m, u, sz) => m.store(u, m.address(u), bytesOf(sz), m.imm(u)));
  family(table, U.U_XCHG_RR, 0, (m, u, sz) => {
    const d = m.get(m.d(u), sz);
    const a = m.get(m.a(u), sz);
    m.set(m.d(u), sz, a);
    m.set(m.a(u), sz, d);
    return U.H_OK;
  });
  family(table, U.U_XCHG_RM, 0, (m, u, sz) => {
    const address = m.address(u);
    let status = m.load(u, address, bytesOf(sz), true);
    if (status !== U.H_OK) return status;
    const old = m.loaded;
    status = m.store(u, address, bytesOf(sz), m.get(m.d(u), sz));
    if (status === U.H_OK) m.set(m.d(u), sz, old);
    return status;
  });
}

/** Register kind, memory kind, source and destination size index, sign extension. */
const EXTENSIONS = [
  [U.U_ZX8_32, U.U_LOAD_ZX8_32, 0, 2, false],
  [U.U_ZX16_32, U.U_LOAD_ZX16_32, 1, 2, false],
  [U.U_SX8_32, U.U_LOAD_SX8_32, 0, 2, true],
  [U.U_SX16_32, U.U_LOAD_SX16_32, 1, 2, true],
  [U.U_SX8_64, U.U_LOAD_SX8_64, 0, 3, true],
  [U.U_SX16_64, U.U_LOAD_SX16_64, 1, 3, true],
  [U.U_SX32_64, U.U_LOAD_SX32_64, 2, 3, true],
] as const;

function installExtensions(table: EvaluateTable): void {
  for (const [register, memory, from, to, sign] of EXTENSIONS) {
    const extend = (value: bigint): bigint => (sign ? signed(8 << from, value) : value);
    table[register] = (m, u) => {
      m.set(m.d(u), to, extend(m.get(m.a(u), from)));
      return U.H_OK;
    };
    table[memory] = (m, u) => {
      const status = m.load(u, m.address(u), bytesOf(from));
      if (status === U.H_OK) m.set(m.d(u), to, extend(m.loaded));
      return status;
    };
  }
  for (const [kind, bits] of [
    [U.U_LEA64, 64],
    [U.U_LEA32, 32],
    [U.U_EA16, 16],
  ] as const)
    table[kind] = (m, u) => {
      m.set(m.d(u), 3, low(bits, m.effective(u)));
      return U.H_OK;
    };
}

function installConditional(table: EvaluateTable): void {
  family(table, U.U_CMOV, 1, (m, u, sz) => {
    m.set(m.d(u), sz, m.get(m.condition(m.c(u)) ? m.a(u) : m.d(u), sz));
    return U.H_OK;
  });
  table[U.U_SETCC] = (m, u) => {
    m.set(m.d(u), 0, m.condition(m.c(u)) ? 1n : 0n);
    return U.H_OK;
  };
  table[U.U_CLC] = (m) => {
    m.setFlags({ cf: false });
    return U.H_OK;
  };
  table[U.U_STC] = (m) => {
    m.setFlags({ cf: true });
    return U.H_OK;
  };
  table[U.U_CMC] = (m) => {
    m.setFlags({ cf: !m.carry });
    return U.H_OK;
  };
}

function installStack(table: EvaluateTable): void {
  table[U.U_PUSH64] = (m, u) => push(m, u, m.get(m.a(u), 3));
  table[U.U_PUSHI64] = (m, u) => push(m, u, m.imm(u));
  table[U.U_POP64] = (m, u) => {
    const top = m.get(A.S_RSP, 3);
    const status = m.load(u, top, 8);
    if (status !== U.H_OK) return status;
    m.set(A.S_RSP, 3, top + 8n);
    // Last, so that POP RSP leaves what was read.
    m.set(m.d(u), 3, m.loaded);
    return U.H_OK;
  };
  table[U.U_LEAVE64] = (m, u) => {
    const frame = m.get(A.S_RBP, 3);
    const status = m.load(u, frame, 8);
    if (status !== U.H_OK) return status;
    m.set(A.S_RSP, 3, frame + 8n);
    m.set(A.S_RBP, 3, m.loaded);
    return U.H_OK;
  };
}

export function installMove(table: EvaluateTable): void {
  installMoves(table);
  installExtensions(table);
  installConditional(table);
  installStack(table);
  table[U.U_NOP] = () => U.H_OK;
  // What has a fast path in generated code is the helper's here: its judge.
  const withHelper = [
    U.U_HELPER,
    U.U_COMISD,
    U.U_CVTSI2SD32,
    U.U_CVTSI2SD64,
    U.U_CVTTSD2SI32,
    U.U_CVTTSD2SI64,
    U.U_FMA64,
    U.U_FMA32,
  ];
  for (let i = 0; i < U.FP_OPS.length; i++) withHelper.push(U.U_FP + i);
  for (let kind = U.U_CVTSI2SS32; kind <= U.U_CVTSD2SS; kind++) withHelper.push(kind);
  for (let i = 0; i < U.FLANES_OPS.length; i++) withHelper.push(U.U_FLANES + i);
  for (let i = 0; i < U.X87_OPS.length; i++) withHelper.push(U.U_X87 + i);
  for (const kind of withHelper) table[kind] = (m, u) => HELPERS[Number(m.imm(u))]!(m.core, u);
}

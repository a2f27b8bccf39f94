/** Vector moves and integer SIMD, element by element on 128-bit values. */
import { MXCSR, YMM_UPPER } from "../arena.ts";
import { type Core, raise, VEC_GP } from "../core.ts";
import { MXCSR_MM } from "../fpu/sse-state.ts";
import * as U from "../uops/uop.ts";
import { bit, type EvaluateTable, low, type State, signed } from "./state.ts";

/** Element `i` of `bits` bits. */
export const lane = (v: bigint, bits: number, i: number): bigint => low(bits, v >> BigInt(bits * i));

/** The vector of 128 / `bits` elements that `element` gives. */
export function build(bits: number, element: (i: number) => bigint): bigint {
  let v = 0n;
  for (let i = 128 / bits - 1; i >= 0; i--) v = (v << BigInt(bits)) | low(bits, element(i));
  return v;
}

/** What x becomes in the nearest of the values that `bits` bits, signed or not, can hold. */
function saturate(bits: number, isSigned: boolean, x: bigint): bigint {
  const top = (1n << BigInt(isSigned ? bits - 1 : bits)) - 1n;
  const bottom = isSigned ? -top - 1n : 0n;
  return x > top ? top : x < bottom ? bottom : x;
}

export const LANE_BITS: Readonly<Record<string, number>> = {
  b: 8,
  w: 16,
  d: 32,
  q: 64,
  bw: 8,
  wd: 16,
  dq: 32,
  qdq: 64,
};

type Binary = (d: bigint, a: bigint) => bigint;

const least = (x: bigint, y: bigint): bigint => (x - y < 0n ? x : y);
const most = (x: bigint, y: bigint): bigint => (x - y > 0n ? x : y);

/** Element-wise operations by stem; an element comes sign-extended if the stem is in SIGNED. */
const ELEMENTS: Readonly<Record<string, (x: bigint, y: bigint, bits: number) => bigint>> = {
  add: (x, y) => x + y,
  sub: (x, y) => x - y,
  adds: (x, y, bits) => saturate(bits, true, x + y),
  addus: (x, y, bits) => saturate(bits, false, x + y),
  subs: (x, y, bits) => saturate(bits, true, x - y),
  subus: (x, y, bits) => saturate(bits, false, x - y),
  cmpeq: (x, y) => (x === y ? -1n : 0n),
  cmpgt: (x, y) => (x > y ? -1n : 0n),
  minu: least,
  mins: least,
  maxu: most,
  maxs: most,
  avg: (x, y) => (x + y + 1n) >> 1n,
  mull: (x, y) => x * y,
  mulh: (x, y, bits) => (x * y) >> BigInt(bits),
  mulhu: (x, y, bits) => (x * y) >> BigInt(bits),
};
const SIGNED: ReadonlySet<string> = new Set(["adds", "subs", "cmpgt", "mins", "maxs", "mulh"]);

/** Interleaves the elements of the low (PUNPCKL..) or high halves: d's first. */
function unpack(bits: number, high: boolean): Binary {
  const first = high ? 64 / bits : 0;
  return (d, a) => build(bits, (i) => lane(i % 2 === 0 ? d : a, bits, first + (i >> 1)));
}

/** Halves the elements' size with saturation from signed values: d's are the low half. */
function pack(bits: number, isSigned: boolean): Binary {
  const half = 64 / bits;
  return (d, a) =>
    build(bits, (i) => {
      const wide = lane(i < half ? d : a, bits * 2, i % half);
      return saturate(bits, isSigned, signed(bits * 2, wide));
    });
}

function binary(name: U.VOp): Binary {
  switch (name) {
    case "and":
      return (d, a) => d & a;
    case "andnot":
      return (d, a) => low(128, ~d) & a;
    case "or":
      return (d, a) => d | a;
    case "xor":
      return (d, a) => d ^ a;
    case "maddwd":
      return (d, a) =>
        build(32, (i) => {
          const product = (k: number): bigint => signed(16, lane(d, 16, k)) * signed(16, lane(a, 16, k));
          return product(2 * i) + product(2 * i + 1);
        });
    case "muldq":
      return (d, a) => build(64, (i) => signed(32, lane(d, 64, i)) * signed(32, lane(a, 64, i)));
    case "muludq":
      return (d, a) => build(64, (i) => lane(d, 32, 2 * i) * lane(a, 32, 2 * i));
    case "packsswb":
      return pack(8, true);
    case "packssdw":
      return pack(16, true);
    case "packuswb":
      return pack(8, false);
    case "packusdw":
      return pack(16, false);
    case "absb":
    case "absw":
    case "absd": {
      const bits = LANE_BITS[name.slice(-1)]!;
      return (_, b) => build(bits, (i) => most(signed(bits, lane(b, bits, i)), -signed(bits, lane(b, bits, i))));
    }
    case "mulhrsw":
      return (a, b) =>
        build(16, (i) => (((signed(16, lane(a, 16, i)) * signed(16, lane(b, 16, i))) >> 14n) + 1n) >> 1n);
    case "maddubsw":
      return (a, b) =>
        build(16, (i) => {
          const product = (k: number): bigint => lane(a, 8, k) * signed(8, lane(b, 8, k));
          return saturate(16, true, product(2 * i) + product(2 * i + 1));
        });
    case "sadbw":
      return (a, b) =>
        build(64, (i) => {
          let sum = 0n;
          for (let k = 8 * i; k < 8 * i + 8; k++) {
            const difference = lane(a, 8, k) - lane(b, 8, k);
            sum += most(difference, -difference);
          }
          return sum;
        });
    case "shufb":
      return (a, b) => build(8, (i) => (bit(b, 8 * i + 7) ? 0n : lane(a, 8, Number(lane(b, 8, i) & 15n))));
  }
  const interleave = /^unpack([lh])(\w+)$/.exec(name);
  if (interleave !== null) return unpack(LANE_BITS[interleave[2]!]!, interleave[1] === "h");
  const stem = name.slice(0, -1);
  const bits = LANE_BITS[name.slice(-1)]!;
  const element = ELEMENTS[stem]!;
  const cut = SIGNED.has(stem) ? signed : low;
  return (d, a) => build(bits, (i) => element(cut(bits, lane(d, bits, i)), cut(bits, lane(a, bits, i)), bits));
}

function installBinary(table: EvaluateTable): void {
  for (const name of U.V_OPS) {
    const op = binary(name);
    table[U.vop(name)] = (m, u) => {
      m.setVector(m.d(u), op(m.vector(m.a(u)), m.vector(m.b(u))));
      return U.H_OK;
    };
  }
}

/** A count of the element's size or more gives zero, or the sign. */
const SHIFTS: Readonly<Record<string, (x: bigint, n: bigint, bits: number) => bigint>> = {
  sll: (x, n) => x << n,
  srl: (x, n) => x >> n,
  sra: (x, n, bits) => signed(bits, x) >> n,
};

function installShifts(table: EvaluateTable): void {
  U.V_SHIFTS.forEach((name, index) => {
    const [bits, op] = [LANE_BITS[name.slice(3)]!, SHIFTS[name.slice(0, 3)]!];
    const shift = (m: State, u: number, count: bigint): number => {
      const a = m.vector(m.a(u));
      const n = least(count, 64n);
      m.setVector(
        m.d(u),
        build(bits, (i) => op(lane(a, bits, i), n, bits)),
      );
      return U.H_OK;
    };
    table[U.U_VSHIFT_I + index] = (m, u) => shift(m, u, low(32, m.imm(u)));
    table[U.U_VSHIFT_R + index] = (m, u) => shift(m, u, low(64, m.vector(m.b(u))));
  });
  table[U.U_VBYTESHL] = (m, u) => {
    m.setVector(m.d(u), low(128, m.vector(m.a(u)) << (m.imm(u) * 8n)));
    return U.H_OK;
  };
  table[U.U_VBYTESHR] = (m, u) => {
    m.setVector(m.d(u), m.vector(m.a(u)) >> (m.imm(u) * 8n));
    return U.H_OK;
  };
  table[U.U_VSHUFPS] = (m, u) => {
    const [a, b] = [m.vector(m.a(u)), m.vector(m.b(u))];
    const order = Number(low(8, m.imm(u)));
    m.setVector(
      m.d(u),
      build(32, (i) => lane(i < 2 ? a : b, 32, (order >> (2 * i)) & 3)),
    );
    return U.H_OK;
  };
  for (const [kind, first] of [
    [U.U_VSHUFLW, 0],
    [U.U_VSHUFHW, 4],
  ] as const)
    table[kind] = (m, u) => {
      const a = m.vector(m.a(u));
      const order = Number(low(8, m.imm(u)));
      m.setVector(
        m.d(u),
        build(16, (i) => lane(a, 16, (i & 4) === first ? first + ((order >> (2 * (i & 3))) & 3) : i)),
      );
      return U.H_OK;
    };
  table[U.U_VSHUFD] = (m, u) => {
    const a = m.vector(m.a(u));
    const order = Number(low(8, m.imm(u)));
    m.setVector(
      m.d(u),
      build(32, (i) => lane(a, 32, (order >> (2 * i)) & 3)),
    );
    return U.H_OK;
  };
  for (const [kind, bytes] of [
    [U.U_VMOVMSKB, 16],
    [U.U_VMOVMSKB256, 32],
  ] as const)
    table[kind] = (m, u) => {
      const a = bytes === 32 ? m.vector256(m.a(u)) : m.vector(m.a(u));
      let mask = 0n;
      for (let i = 0; i < bytes; i++) if (bit(a, 8 * i + 7)) mask |= 1n << BigInt(i);
      m.set(m.d(u), 3, mask);
      return U.H_OK;
    };
}

/** Kind, bytes, alignment asked for. */
const LOADS = [
  [U.U_VLOAD, 16, 1],
  [U.U_VLOADA, 16, 16],
  [U.U_VLOAD256, 32, 1],
  [U.U_VLOADA256, 32, 32],
  [U.U_VLOAD64, 8, 1],
  [U.U_VLOAD32, 4, 1],
] as const;
const STORES = [
  [U.U_VSTORE, 16, 1],
  [U.U_VSTOREA, 16, 16],
  [U.U_VSTORE256, 32, 1],
  [U.U_VSTOREA256, 32, 32],
  [U.U_VSTORE64, 8, 1],
  [U.U_VSTORE32, 4, 1],
] as const;

const misaligned = (core: Core, u: number, address: bigint, alignment: number): boolean =>
  address % BigInt(alignment) !== 0n && !(core.u8[u + 7]! & U.C_FORGIVEN && core.i32[MXCSR >>> 2]! & MXCSR_MM);

function installMemory(table: EvaluateTable): void {
  for (const [kind, bytes, alignment] of LOADS)
    table[kind] = (m, u) => {
      const address = m.address(u);
      if (misaligned(m.core, u, address, alignment)) return raise(m.core, VEC_GP);
      const status = m.load(u, address, bytes);
      if (status !== U.H_OK) return status;
      m.setVector(m.d(u), low(128, m.loaded));
      if (bytes === 32) m.setVector(m.d(u) + YMM_UPPER, m.loaded >> 128n);
      return U.H_OK;
    };
  for (const [kind, bytes, alignment] of STORES)
    table[kind] = (m, u) => {
      const address = m.address(u);
      if (misaligned(m.core, u, address, alignment)) return raise(m.core, VEC_GP);
      return m.store(u, address, bytes, bytes === 32 ? m.vector256(m.d(u)) : m.vector(m.d(u)));
    };
}

function installMoves(table: EvaluateTable): void {
  const move = (kind: number, result: (a: bigint) => bigint): void => {
    table[kind] = (m, u) => {
      m.setVector(m.d(u), result(m.vector(m.a(u))));
      return U.H_OK;
    };
  };
  move(U.U_VMOV, (a) => a);
  move(U.U_VMOVZ64, (a) => low(64, a));
  for (const [kind, bits] of [
    [U.U_VMOVLO64, 64],
    [U.U_VMOVLO32, 32],
  ] as const)
    table[kind] = (m, u) => {
      const rest = (m.vector(m.a(u)) >> BigInt(bits)) << BigInt(bits);
      m.setVector(m.d(u), rest | low(bits, m.vector(m.b(u))));
      return U.H_OK;
    };
  table[U.U_VZERO] = (m, u) => {
    m.setVector(m.d(u), 0n);
    return U.H_OK;
  };
  for (const [kind, bits] of [
    [U.U_VSPLAT, 8],
    [U.U_VSPLAT + 1, 16],
    [U.U_VSPLAT + 2, 32],
    [U.U_VSPLAT + 3, 64],
  ] as const)
    move(kind, (a) => build(bits, () => a));
  table[U.U_VZEROUPPER] = (m) => {
    for (let n = 0; n < 16; n++) m.setVector(n + YMM_UPPER, 0n);
    return U.H_OK;
  };
  for (const [from, to, sz] of [
    [U.U_VFROM32, U.U_VTO32, 2],
    [U.U_VFROM64, U.U_VTO64, 3],
  ] as const) {
    table[from] = (m: State, u: number) => {
      m.setVector(m.d(u), m.get(m.a(u), sz));
      return U.H_OK;
    };
    table[to] = (m: State, u: number) => {
      m.set(m.d(u), sz, m.vector(m.a(u)));
      return U.H_OK;
    };
  }
}

export function installVector(table: EvaluateTable): void {
  installBinary(table);
  installShifts(table);
  installMemory(table);
  installMoves(table);
}

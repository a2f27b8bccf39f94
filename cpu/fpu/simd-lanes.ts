/**
 * Integer SIMD that WebAssembly has no instruction for, lane by lane: vector d = vector a op vector b, 16 bytes; d may be either
 * source. MMX instructions use the same helpers on vectors whose upper half is ignored.
 */
import { XMM, YMM_UPPER_BYTES } from "../arena.ts";
import type { Core } from "../core.ts";
import { FLAG_CF, FLAG_ZF, setArithmeticFlags } from "../flags.ts";
import { defineHelper, HELPER_SLOTS, type Helper } from "../uops/helpers.ts";
import { H_OK } from "../uops/uop.ts";

/** Byte address in the arena of the vector that byte `field` of micro-op `u` names. */
export function vectorAt(core: Core, u: number, field: number): number {
  return XMM + (core.u8[u + field]! << 4);
}

const D = 2;
const A = 3;
const B = 4;

/** A helper of vectors only: translated code need not put its registers in memory. */
export function defineVectorHelper(name: string, helper: Helper): number {
  const number = defineHelper(name, helper);
  HELPER_SLOTS.set(number, 0);
  return number;
}

const SIGN: number = 1 << 31;
const signed8 = (x: number): number => (x << 24) >> 24;
const signed16 = (x: number): number => (x << 16) >> 16;
const saturate16 = (x: number): number => Math.max(-32768, Math.min(x, 32767));

/** d[i] = f(a[i], b[i]) over eight words, arguments sign-extended. */
function words(name: string, f: (a: number, b: number) => number): number {
  return defineVectorHelper(name, (core, u) => {
    const d = vectorAt(core, u, D) >>> 1;
    const a = vectorAt(core, u, A) >>> 1;
    const b = vectorAt(core, u, B) >>> 1;
    for (let i = 0; i < 8; i++) core.u16[d + i] = f(signed16(core.u16[a + i]!), signed16(core.u16[b + i]!));
    return H_OK;
  });
}

function bytes(name: string, f: (a: number, b: number) => number): number {
  return defineVectorHelper(name, (core, u) => {
    const d = vectorAt(core, u, D);
    const a = vectorAt(core, u, A);
    const b = vectorAt(core, u, B);
    for (let i = 0; i < 16; i++) core.u8[d + i] = f(signed8(core.u8[a + i]!), signed8(core.u8[b + i]!));
    return H_OK;
  });
}

function dwords(name: string, f: (a: number, b: number) => number): number {
  return defineVectorHelper(name, (core, u) => {
    const d = vectorAt(core, u, D) >>> 2;
    const a = vectorAt(core, u, A) >>> 2;
    const b = vectorAt(core, u, B) >>> 2;
    for (let i = 0; i < 4; i++) core.i32[d + i] = f(core.i32[a + i]!, core.i32[b + i]!);
    return H_OK;
  });
}

const sign = (a: number, b: number): number => (b < 0 ? -a : b === 0 ? 0 : a);
export const HELPER_PSIGNB: number = bytes("PSIGNB", sign);
export const HELPER_PSIGNW: number = words("PSIGNW", sign);
export const HELPER_PSIGND: number = dwords("PSIGND", sign);

// ---- sums -----------------------------------------------------------------------------------------------------------

const lanes: Int32Array = new Int32Array(16);

/** d = f of neighbours: those of a in the lower half, those of b in the upper. */
function horizontalWords(name: string, f: (x: number, y: number) => number): number {
  return defineVectorHelper(name, (core, u) => {
    const { u16 } = core;
    const d = vectorAt(core, u, D) >>> 1;
    const a = vectorAt(core, u, A) >>> 1;
    const b = vectorAt(core, u, B) >>> 1;
    for (let i = 0; i < 4; i++) {
      lanes[i] = f(signed16(u16[a + 2 * i]!), signed16(u16[a + 2 * i + 1]!));
      lanes[i + 4] = f(signed16(u16[b + 2 * i]!), signed16(u16[b + 2 * i + 1]!));
    }
    for (let i = 0; i < 8; i++) u16[d + i] = lanes[i]!;
    return H_OK;
  });
}

function horizontalDwords(name: string, f: (x: number, y: number) => number): number {
  return defineVectorHelper(name, (core, u) => {
    const { i32 } = core;
    const d = vectorAt(core, u, D) >>> 2;
    const a = vectorAt(core, u, A) >>> 2;
    const b = vectorAt(core, u, B) >>> 2;
    for (let i = 0; i < 2; i++) {
      lanes[i] = f(i32[a + 2 * i]!, i32[a + 2 * i + 1]!);
      lanes[i + 2] = f(i32[b + 2 * i]!, i32[b + 2 * i + 1]!);
    }
    for (let i = 0; i < 4; i++) i32[d + i] = lanes[i]!;
    return H_OK;
  });
}
export const HELPER_PHADDW: number = horizontalWords("PHADDW", (x, y) => x + y);
export const HELPER_PHSUBW: number = horizontalWords("PHSUBW", (x, y) => x - y);
export const HELPER_PHADDSW: number = horizontalWords("PHADDSW", (x, y) => saturate16(x + y));
export const HELPER_PHSUBSW: number = horizontalWords("PHSUBSW", (x, y) => saturate16(x - y));
export const HELPER_PHADDD: number = horizontalDwords("PHADDD", (x, y) => x + y);
export const HELPER_PHSUBD: number = horizontalDwords("PHSUBD", (x, y) => x - y);

/** MPSADBW: eight sums of four absolute differences; c selects the block of b (bits 1-0) and the start in a (bit 2). */
export const HELPER_MPSADBW: number = defineVectorHelper("MPSADBW", (core, u) => {
  const { u8 } = core;
  const imm = u8[u + 7]!;
  const d = vectorAt(core, u, D);
  const from = vectorAt(core, u, A) + ((imm >> 2) & 1) * 4;
  const block = vectorAt(core, u, B) + (imm & 3) * 4;
  for (let i = 0; i < 8; i++) {
    let sum = 0;
    for (let k = 0; k < 4; k++) sum += Math.abs(u8[from + i + k]! - u8[block + k]!);
    lanes[i] = sum;
  }
  for (let i = 0; i < 8; i++) core.u16[(d >>> 1) + i] = lanes[i]!;
  return H_OK;
});

/** PHMINPOSUW: the least word of b and its index. */
export const HELPER_PHMINPOSUW: number = defineVectorHelper("PHMINPOSUW", (core, u) => {
  const d = vectorAt(core, u, D) >>> 2;
  const b = vectorAt(core, u, B) >>> 1;
  let at = 0;
  for (let i = 1; i < 8; i++) if (core.u16[b + i]! < core.u16[b + at]!) at = i;
  core.i32[d] = core.u16[b + at]! | (at << 16);
  core.i32.fill(0, d + 1, d + 4);
  return H_OK;
});

/** Bits of disp of HELPER_TEST. */
export const TEST_LONG = 1;
/**
 * PTEST, VTESTPS, VTESTPD: ZF = no common bits of a and b, CF = no bits of b outside a; the other flags are cleared. c: 0 all bits
 * count, 4 or 8 those of the signs of elements of so many bytes; disp: TEST_LONG if the vectors have 32 bytes.
 */
export const HELPER_TEST: number = defineHelper("PTEST", (core, u) => {
  const { i32, u8 } = core;
  const size = u8[u + 7]!;
  let common = 0;
  let outside = 0;
  for (let half = 0; half <= (i32[(u + 8) >>> 2]! & TEST_LONG); half++) {
    const a = (vectorAt(core, u, A) + half * YMM_UPPER_BYTES) >>> 2;
    const b = (vectorAt(core, u, B) + half * YMM_UPPER_BYTES) >>> 2;
    for (let i = size === 8 ? 1 : 0; i < 4; i += size === 8 ? 2 : 1) {
      common |= i32[a + i]! & i32[b + i]!;
      outside |= ~i32[a + i]! & i32[b + i]!;
    }
  }
  if (size !== 0) {
    common &= SIGN;
    outside &= SIGN;
  }
  setArithmeticFlags(core, (common === 0 ? FLAG_ZF : 0) | (outside === 0 ? FLAG_CF : 0));
  return H_OK;
});

// ---- shifts of each element by its own count -------------------------------------------------------------------------

export const SHIFT_LEFT = 0;
export const SHIFT_RIGHT = 1;
export const SHIFT_ARITHMETIC = 2;

function shiftDword(x: number, n: number, kind: number): number {
  if (kind === SHIFT_ARITHMETIC) return x >> Math.min(n, 31);
  if (n > 31) return 0;
  return kind === SHIFT_LEFT ? x << n : x >>> n;
}

/** The quadword at `from` (an index into i32) shifted by n, which is 64 or less, to `to`. */
function shiftQword(core: Core, to: number, from: number, n: number, left: boolean): void {
  const { i32 } = core;
  const lo = i32[from]!;
  const hi = i32[from + 1]!;
  if (n >= 64) i32[to] = i32[to + 1] = 0;
  else if (n >= 32) {
    i32[to] = left ? 0 : hi >>> (n - 32);
    i32[to + 1] = left ? lo << (n - 32) : 0;
  } else if (n > 0) {
    i32[to] = left ? lo << n : (lo >>> n) | (hi << (32 - n));
    i32[to + 1] = left ? (hi << n) | (lo >>> (32 - n)) : hi >>> n;
  } else {
    i32[to] = lo;
    i32[to + 1] = hi;
  }
}

// ---- shifts by each element -------------------------------------------------------------------------------------------

/** U_HELPER: d = dwords or qwords of a, each shifted by the count in its element of b; c = SHIFT_*: VPSLLVD and its like. */
export const HELPER_SHIFTV_DWORDS: number = defineVectorHelper("variable shift of dwords", (core, u) => {
  const d = vectorAt(core, u, D) >>> 2;
  const a = vectorAt(core, u, A) >>> 2;
  const b = vectorAt(core, u, B) >>> 2;
  const kind = core.u8[u + 7]!;
  for (let i = 0; i < 4; i++)
    core.i32[d + i] = shiftDword(core.i32[a + i]!, Math.min(core.i32[b + i]! >>> 0, 32), kind);
  return H_OK;
});

export const HELPER_SHIFTV_QWORDS: number = defineVectorHelper("variable shift of qwords", (core, u) => {
  const { i32 } = core;
  const d = vectorAt(core, u, D) >>> 2;
  const a = vectorAt(core, u, A) >>> 2;
  const b = vectorAt(core, u, B) >>> 2;
  for (let i = 0; i < 4; i += 2) {
    const n = i32[b + i + 1] !== 0 ? 64 : Math.min(i32[b + i]! >>> 0, 64);
    shiftQword(core, d + i, a + i, n, core.u8[u + 7] === SHIFT_LEFT);
  }
  return H_OK;
});

/**
 * Integer SIMD that WebAssembly has no instruction for, lane by lane: vector d = d op vector a, 16 bytes. The operand
 * names follow the SDM: destination and first source d, second source a. MMX instructions use the same helpers on
 * vectors whose upper half is ignored.
 */
import { XMM } from "../arena.ts";
import type { Core } from "../core.ts";
import { FLAG_CF, FLAG_ZF, setArithmeticFlags } from "../flags.ts";
import { defineHelper } from "../uops/helpers.ts";
import { H_OK } from "../uops/uop.ts";

/** Byte address in the arena of the vector that byte `field` of micro-op `u` names. */
export function vectorAt(core: Core, u: number, field: number): number {
  return XMM + (core.u8[u + field]! << 5);
}

const D = 2;
const A = 3;

const signed8 = (x: number): number => (x << 24) >> 24;
const signed16 = (x: number): number => (x << 16) >> 16;
const saturate16 = (x: number): number => Math.max(-32768, Math.min(x, 32767));

/** d[i] = f(d[i], a[i]) over eight words, arguments sign-extended. */
function words(name: string, f: (d: number, a: number) => number): number {
  return defineHelper(name, (core, u) => {
    const d = vectorAt(core, u, D) >>> 1;
    const a = vectorAt(core, u, A) >>> 1;
    for (let i = 0; i < 8; i++) core.u16[d + i] = f(signed16(core.u16[d + i]!), signed16(core.u16[a + i]!));
    return H_OK;
  });
}

function bytes(name: string, f: (d: number, a: number) => number): number {
  return defineHelper(name, (core, u) => {
    const d = vectorAt(core, u, D);
    const a = vectorAt(core, u, A);
    for (let i = 0; i < 16; i++) core.u8[d + i] = f(signed8(core.u8[d + i]!), signed8(core.u8[a + i]!));
    return H_OK;
  });
}

function dwords(name: string, f: (d: number, a: number) => number): number {
  return defineHelper(name, (core, u) => {
    const d = vectorAt(core, u, D) >>> 2;
    const a = vectorAt(core, u, A) >>> 2;
    for (let i = 0; i < 4; i++) core.i32[d + i] = f(core.i32[d + i]!, core.i32[a + i]!);
    return H_OK;
  });
}

export const HELPER_PMULHW: number = words("PMULHW", (d, a) => (d * a) >> 16);
export const HELPER_PMULHUW: number = words("PMULHUW", (d, a) => ((d & 0xffff) * (a & 0xffff)) / 65536);
export const HELPER_PMULHRSW: number = words("PMULHRSW", (d, a) => (((d * a) >> 14) + 1) >> 1);
export const HELPER_PABSB: number = bytes("PABSB", (_, a) => Math.abs(a));
export const HELPER_PABSW: number = words("PABSW", (_, a) => Math.abs(a));
export const HELPER_PABSD: number = dwords("PABSD", (_, a) => (a < 0 ? -a : a));
const sign = (d: number, a: number): number => (a < 0 ? -d : a === 0 ? 0 : d);
export const HELPER_PSIGNB: number = bytes("PSIGNB", sign);
export const HELPER_PSIGNW: number = words("PSIGNW", sign);
export const HELPER_PSIGND: number = dwords("PSIGND", sign);

// ---- multiplication of 32 by 32 bits ------------------------------------------------------------------------------

/** High 32 bits of the unsigned product. */
function mulHighUnsigned(a: number, b: number): number {
  const al = a & 0xffff;
  const ah = a >>> 16;
  const bl = b & 0xffff;
  const bh = b >>> 16;
  const middle = ah * bl + ((al * bl) >>> 16);
  const other = al * bh + (middle & 0xffff);
  return (ah * bh + Math.trunc(middle / 65536) + other / 65536) | 0;
}

/** d = products of the even dwords, 64 bits each. */
function widening(name: string, isSigned: boolean): number {
  return defineHelper(name, (core, u) => {
    const { i32 } = core;
    const d = vectorAt(core, u, D) >>> 2;
    const a = vectorAt(core, u, A) >>> 2;
    for (let i = 0; i < 4; i += 2) {
      const x = i32[d + i]!;
      const y = i32[a + i]!;
      let hi = mulHighUnsigned(x, y);
      if (isSigned) hi -= (x < 0 ? y : 0) + (y < 0 ? x : 0);
      i32[d + i] = Math.imul(x, y);
      i32[d + i + 1] = hi;
    }
    return H_OK;
  });
}
export const HELPER_PMULUDQ: number = widening("PMULUDQ", false);
export const HELPER_PMULDQ: number = widening("PMULDQ", true);

// ---- sums -----------------------------------------------------------------------------------------------------------

export const HELPER_PMADDUBSW: number = defineHelper("PMADDUBSW", (core, u) => {
  const { u8 } = core;
  const d = vectorAt(core, u, D);
  const a = vectorAt(core, u, A);
  for (let i = 0; i < 16; i += 2) {
    const sum = saturate16(u8[d + i]! * signed8(u8[a + i]!) + u8[d + i + 1]! * signed8(u8[a + i + 1]!));
    core.u16[(d + i) >>> 1] = sum;
  }
  return H_OK;
});

export const HELPER_PSADBW: number = defineHelper("PSADBW", (core, u) => {
  const { u8, i32 } = core;
  const d = vectorAt(core, u, D);
  const a = vectorAt(core, u, A);
  for (let half = 0; half < 16; half += 8) {
    let sum = 0;
    for (let i = half; i < half + 8; i++) sum += Math.abs(u8[d + i]! - u8[a + i]!);
    i32[(d + half) >>> 2] = sum;
    i32[(d + half + 4) >>> 2] = 0;
  }
  return H_OK;
});

const lanes: Int32Array = new Int32Array(16);

/** d = f of neighbours: those of d in the lower half, those of a in the upper. */
function horizontalWords(name: string, f: (x: number, y: number) => number): number {
  return defineHelper(name, (core, u) => {
    const { u16 } = core;
    const d = vectorAt(core, u, D) >>> 1;
    const a = vectorAt(core, u, A) >>> 1;
    for (let i = 0; i < 4; i++) {
      lanes[i] = f(signed16(u16[d + 2 * i]!), signed16(u16[d + 2 * i + 1]!));
      lanes[i + 4] = f(signed16(u16[a + 2 * i]!), signed16(u16[a + 2 * i + 1]!));
    }
    for (let i = 0; i < 8; i++) u16[d + i] = lanes[i]!;
    return H_OK;
  });
}

function horizontalDwords(name: string, f: (x: number, y: number) => number): number {
  return defineHelper(name, (core, u) => {
    const { i32 } = core;
    const d = vectorAt(core, u, D) >>> 2;
    const a = vectorAt(core, u, A) >>> 2;
    for (let i = 0; i < 2; i++) {
      lanes[i] = f(i32[d + 2 * i]!, i32[d + 2 * i + 1]!);
      lanes[i + 2] = f(i32[a + 2 * i]!, i32[a + 2 * i + 1]!);
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

/** MPSADBW: eight sums of four absolute differences; c selects the block of a (bits 1-0) and the start in d (bit 2). */
export const HELPER_MPSADBW: number = defineHelper("MPSADBW", (core, u) => {
  const { u8 } = core;
  const imm = u8[u + 7]!;
  const d = vectorAt(core, u, D);
  const from = d + ((imm >> 2) & 1) * 4;
  const block = vectorAt(core, u, A) + (imm & 3) * 4;
  for (let i = 0; i < 8; i++) {
    let sum = 0;
    for (let k = 0; k < 4; k++) sum += Math.abs(u8[from + i + k]! - u8[block + k]!);
    lanes[i] = sum;
  }
  for (let i = 0; i < 8; i++) core.u16[(d >>> 1) + i] = lanes[i]!;
  return H_OK;
});

/** PHMINPOSUW: the least word of a and its index. */
export const HELPER_PHMINPOSUW: number = defineHelper("PHMINPOSUW", (core, u) => {
  const d = vectorAt(core, u, D) >>> 2;
  const a = vectorAt(core, u, A) >>> 1;
  let at = 0;
  for (let i = 1; i < 8; i++) if (core.u16[a + i]! < core.u16[a + at]!) at = i;
  core.i32[d] = core.u16[a + at]! | (at << 16);
  core.i32.fill(0, d + 1, d + 4);
  return H_OK;
});

/** PTEST: ZF = no common bits, CF = no bits of a outside d; the other flags are cleared. */
export const HELPER_PTEST: number = defineHelper("PTEST", (core, u) => {
  const d = vectorAt(core, u, D) >>> 2;
  const a = vectorAt(core, u, A) >>> 2;
  let common = 0;
  let outside = 0;
  for (let i = 0; i < 4; i++) {
    common |= core.i32[d + i]! & core.i32[a + i]!;
    outside |= ~core.i32[d + i]! & core.i32[a + i]!;
  }
  setArithmeticFlags(core, (common === 0 ? FLAG_ZF : 0) | (outside === 0 ? FLAG_CF : 0));
  return H_OK;
});

// ---- shifts by a register ------------------------------------------------------------------------------------------

export const SHIFT_LEFT = 0;
export const SHIFT_RIGHT = 1;
export const SHIFT_ARITHMETIC = 2;

/** The count in the low 64 bits of vector a, cut to `most`. */
function countOf(core: Core, u: number, most: number): number {
  const a = vectorAt(core, u, A) >>> 2;
  return core.i32[a + 1] !== 0 ? most : Math.min(core.i32[a]! >>> 0, most);
}

function shiftWord(x: number, n: number, kind: number): number {
  if (kind === SHIFT_ARITHMETIC) return signed16(x) >> n;
  return kind === SHIFT_LEFT ? x << n : x >>> n;
}

function shiftDword(x: number, n: number, kind: number): number {
  if (kind === SHIFT_ARITHMETIC) return x >> Math.min(n, 31);
  if (n > 31) return 0;
  return kind === SHIFT_LEFT ? x << n : x >>> n;
}

/** U_HELPER: d = words, dwords or qwords of d shifted by the count in a; c = SHIFT_*. */
export const HELPER_SHIFT_WORDS: number = defineHelper("packed shift of words", (core, u) => {
  const d = vectorAt(core, u, D) >>> 1;
  const n = countOf(core, u, 16);
  const kind = core.u8[u + 7]!;
  for (let i = 0; i < 8; i++) core.u16[d + i] = shiftWord(core.u16[d + i]!, n, kind);
  return H_OK;
});

export const HELPER_SHIFT_DWORDS: number = defineHelper("packed shift of dwords", (core, u) => {
  const d = vectorAt(core, u, D) >>> 2;
  const n = countOf(core, u, 32);
  const kind = core.u8[u + 7]!;
  for (let i = 0; i < 4; i++) core.i32[d + i] = shiftDword(core.i32[d + i]!, n, kind);
  return H_OK;
});

export const HELPER_SHIFT_QWORDS: number = defineHelper("packed shift of qwords", (core, u) => {
  const { i32 } = core;
  const d = vectorAt(core, u, D) >>> 2;
  const n = countOf(core, u, 64);
  const left = core.u8[u + 7] === SHIFT_LEFT;
  for (let i = 0; i < 4; i += 2) {
    // From the word that bits leave to the word that they enter.
    const from = left ? d + i : d + i + 1;
    const to = left ? d + i + 1 : d + i;
    const x = i32[from]!;
    const y = i32[to]!;
    if (n >= 64) i32[from] = i32[to] = 0;
    else if (n >= 32) {
      i32[to] = left ? x << (n - 32) : x >>> (n - 32);
      i32[from] = 0;
    } else if (n > 0) {
      i32[to] = left ? (y << n) | (x >>> (32 - n)) : (y >>> n) | (x << (32 - n));
      i32[from] = left ? x << n : x >>> n;
    }
  }
  return H_OK;
});

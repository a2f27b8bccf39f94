/**
 * AES-NI (FIPS 197; SDM volume 2, AESENC and its relatives). A round works on 16 bytes in the arena: `dst` = round of the
 * state at `state` with the round key at `key`; `dst` may be either. VAES does the same for each 16 bytes of a wider register.
 */
import type { Core } from "../core.ts";
import { H_OK } from "../uops/uop.ts";
import { defineVectorHelper, vectorAt } from "./simd-lanes.ts";

/** A round of the cipher, or of the inverse one: byte addresses in the arena, 16-byte aligned. */
export type AesRound = (core: Core, dst: number, state: number, key: number) => void;

/** Multiplication by x in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1. */
const double = (b: number): number => ((b << 1) ^ (b & 0x80 ? 0x11b : 0)) & 0xff;

function product(a: number, b: number): number {
  let sum = 0;
  for (let factor = a, rest = b; rest !== 0; rest >>= 1, factor = double(factor)) if (rest & 1) sum ^= factor;
  return sum;
}

const SBOX: Uint8Array = new Uint8Array(256);
const INVERSE_SBOX: Uint8Array = new Uint8Array(256);
// 3 generates the field's multiplicative group: `power` goes through it, and `inverse` the other way (0xf6 * 3 = 1).
for (let k = 0, power = 1, inverse = 1; k < 256; k++, power ^= double(power), inverse = product(inverse, 0xf6)) {
  let b = inverse;
  for (let bit = 1; bit < 5; bit++) b ^= ((inverse << bit) | (inverse >> (8 - bit))) & 0xff;
  SBOX[power] = b ^ 0x63;
}
SBOX[0] = 0x63;
SBOX.forEach((to, from) => {
  INVERSE_SBOX[to] = from;
});

/** What a byte in row 0..3 of a column adds to the column after (Inv)SubBytes and (Inv)MixColumns: four tables in one. */
function mixTable(box: Uint8Array, factors: readonly number[]): Int32Array {
  const table = new Int32Array(1024);
  for (let b = 0; b < 256; b++)
    for (let row = 0; row < 4; row++)
      for (let to = 0; to < 4; to++) table[row * 256 + b]! |= product(box[b]!, factors[(row - to) & 3]!) << (to * 8);
  return table;
}

const IDENTITY: Uint8Array = Uint8Array.from({ length: 256 }, (_, b) => b);
const MIX: Int32Array = mixTable(SBOX, [2, 3, 1, 1]);
const INVERSE_MIX: Int32Array = mixTable(INVERSE_SBOX, [14, 11, 13, 9]);
/** InvMixColumns alone, for AESIMC. */
const INVERSE_COLUMN: Int32Array = mixTable(IDENTITY, [14, 11, 13, 9]);
/** SubBytes alone, for last rounds: the byte stays in its row. */
const LAST: Int32Array = mixTable(SBOX, [1, 0, 0, 0]);
const INVERSE_LAST: Int32Array = mixTable(INVERSE_SBOX, [1, 0, 0, 0]);

const s: Uint8Array = new Uint8Array(16);
const s32: Int32Array = new Int32Array(s.buffer);

/** Column c of a round takes row r from column c + r * step: ShiftRows with step 1, InvShiftRows with -1. */
function round(table: Int32Array, step: number): AesRound {
  return (core, dst, state, key) => {
    const { i32 } = core;
    for (let c = 0; c < 4; c++) s32[c] = i32[(state >>> 2) + c]!;
    for (let c = 0; c < 4; c++) {
      const r1 = s[(((c + step) & 3) << 2) + 1]!;
      const r2 = s[(((c + 2) & 3) << 2) + 2]!;
      const r3 = s[(((c - step) & 3) << 2) + 3]!;
      const column = table[s[c << 2]!]! ^ table[256 + r1]! ^ table[512 + r2]! ^ table[768 + r3]!;
      // The state was copied, so that the key may lie where the result goes.
      i32[(dst >>> 2) + c] = column ^ i32[(key >>> 2) + c]!;
    }
  };
}

export const aesEncrypt: AesRound = round(MIX, 1);
export const aesEncryptLast: AesRound = round(LAST, 1);
export const aesDecrypt: AesRound = round(INVERSE_MIX, -1);
export const aesDecryptLast: AesRound = round(INVERSE_LAST, -1);

/** InvMixColumns of the 16 bytes at `src`: AESIMC. */
export function aesInverseMix(core: Core, dst: number, src: number): void {
  for (let k = 0; k < 16; k += 4) {
    const w = core.i32[(src + k) >>> 2]!;
    core.i32[(dst + k) >>> 2] =
      INVERSE_COLUMN[w & 255]! ^
      INVERSE_COLUMN[256 + ((w >>> 8) & 255)]! ^
      INVERSE_COLUMN[512 + ((w >>> 16) & 255)]! ^
      INVERSE_COLUMN[768 + (w >>> 24)]!;
  }
}

function substitute(w: number): number {
  return SBOX[w & 255]! | (SBOX[(w >>> 8) & 255]! << 8) | (SBOX[(w >>> 16) & 255]! << 16) | (SBOX[w >>> 24]! << 24);
}

/** AESKEYGENASSIST: from dwords 1 and 3 of `src` each its SubWord, and that rotated, with `rcon` (a byte) added. */
export function aesKeyAssist(core: Core, dst: number, src: number, rcon: number): void {
  const low = substitute(core.i32[(src + 4) >>> 2]!);
  const high = substitute(core.i32[(src + 12) >>> 2]!);
  const d = dst >>> 2;
  core.i32[d] = low;
  core.i32[d + 1] = ((low >>> 8) | (low << 24)) ^ rcon;
  core.i32[d + 2] = high;
  core.i32[d + 3] = ((high >>> 8) | (high << 24)) ^ rcon;
}

/** U_HELPER: d = round of a with key b. */
function roundHelper(name: string, operation: AesRound): number {
  return defineVectorHelper(name, (core, u) => {
    operation(core, vectorAt(core, u, 2), vectorAt(core, u, 3), vectorAt(core, u, 4));
    return H_OK;
  });
}

export const HELPER_AESENC: number = roundHelper("AESENC", aesEncrypt);
export const HELPER_AESENCLAST: number = roundHelper("AESENCLAST", aesEncryptLast);
export const HELPER_AESDEC: number = roundHelper("AESDEC", aesDecrypt);
export const HELPER_AESDECLAST: number = roundHelper("AESDECLAST", aesDecryptLast);

/** U_HELPER: d = InvMixColumns of b. */
export const HELPER_AESIMC: number = defineVectorHelper("AESIMC", (core, u) => {
  aesInverseMix(core, vectorAt(core, u, 2), vectorAt(core, u, 4));
  return H_OK;
});

/** U_HELPER: d of b, c = round constant. */
export const HELPER_AESKEYGENASSIST: number = defineVectorHelper("AESKEYGENASSIST", (core, u) => {
  aesKeyAssist(core, vectorAt(core, u, 2), vectorAt(core, u, 4), core.u8[u + 7]!);
  return H_OK;
});

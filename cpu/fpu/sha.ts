/** The SHA extensions (FIPS 180-4; SDM volume 2, SHA1RNDS4 and its relatives). Helpers: d = operation of d and a, 16 bytes. */
import { XMM } from "../arena.ts";
import type { Core } from "../core.ts";
import { defineHelper } from "../uops/helpers.ts";
import { H_OK } from "../uops/uop.ts";
import { vectorAt } from "./simd-lanes.ts";

const rotateLeft = (x: number, by: number): number => (x << by) | (x >>> (32 - by));
const rotateRight = (x: number, by: number): number => (x >>> by) | (x << (32 - by));

const choose = (x: number, y: number, z: number): number => (x & y) ^ (~x & z);
const majority = (x: number, y: number, z: number): number => (x & y) ^ (x & z) ^ (y & z);
const parity = (x: number, y: number, z: number): number => x ^ y ^ z;

type Function3 = (x: number, y: number, z: number) => number;
/** Function and constant of each group of twenty rounds of SHA-1. */
const SHA1_ROUNDS: readonly (readonly [Function3, number])[] = [
  [choose, 0x5a827999],
  [parity, 0x6ed9eba1],
  [majority, 0x8f1bbcdc],
  [parity, 0xca62c1d6],
];

/** A helper on the arena's word indices of d and a. */
function words(name: string, operation: (core: Core, d: number, a: number, imm: number) => void): number {
  return defineHelper(name, (core, u) => {
    operation(core, vectorAt(core, u, 2) >>> 2, vectorAt(core, u, 3) >>> 2, core.u8[u + 7]!);
    return H_OK;
  });
}

/** Four rounds: d = A B C D from dword 3 down, a = W0 + E, W1, W2, W3 from dword 3 down; c = which twenty rounds. */
export const HELPER_SHA1RNDS4: number = words("SHA1RNDS4", ({ i32 }, at, from, imm) => {
  const [f, constant] = SHA1_ROUNDS[imm & 3]!;
  let a = i32[at + 3]!;
  let b = i32[at + 2]!;
  let c = i32[at + 1]!;
  let d = i32[at]!;
  let e = 0;
  for (let round = 0; round < 4; round++) {
    const next = (f(b, c, d) + rotateLeft(a, 5) + i32[from + 3 - round]! + e + constant) | 0;
    e = d;
    d = c;
    c = rotateLeft(b, 30);
    b = a;
    a = next;
  }
  i32[at + 3] = a;
  i32[at + 2] = b;
  i32[at + 1] = c;
  i32[at] = d;
});

export const HELPER_SHA1NEXTE: number = words("SHA1NEXTE", ({ i32 }, d, a) => {
  const e = rotateLeft(i32[d + 3]!, 30);
  for (let k = 0; k < 3; k++) i32[d + k] = i32[a + k]!;
  i32[d + 3] = i32[a + 3]! + e;
});

export const HELPER_SHA1MSG1: number = words("SHA1MSG1", ({ i32 }, d, a) => {
  const w4 = i32[a + 3]!;
  const w5 = i32[a + 2]!;
  i32[d + 3]! ^= i32[d + 1]!;
  i32[d + 2]! ^= i32[d]!;
  i32[d + 1]! ^= w4;
  i32[d]! ^= w5;
});

export const HELPER_SHA1MSG2: number = words("SHA1MSG2", ({ i32 }, d, a) => {
  const w13 = i32[a + 2]!;
  const w14 = i32[a + 1]!;
  const w15 = i32[a]!;
  const w16 = rotateLeft(i32[d + 3]! ^ w13, 1);
  i32[d + 3] = w16;
  i32[d + 2] = rotateLeft(i32[d + 2]! ^ w14, 1);
  i32[d + 1] = rotateLeft(i32[d + 1]! ^ w15, 1);
  i32[d] = rotateLeft(i32[d]! ^ w16, 1);
});

/** Two rounds: d = C D G H from dword 3 down, a = A B E F likewise; XMM0 holds the two sums of message and constant. */
export const HELPER_SHA256RNDS2: number = words("SHA256RNDS2", ({ i32 }, at, from) => {
  let a = i32[from + 3]!;
  let b = i32[from + 2]!;
  let e = i32[from + 1]!;
  let f = i32[from]!;
  let c = i32[at + 3]!;
  let d = i32[at + 2]!;
  let g = i32[at + 1]!;
  let h = i32[at]!;
  for (let round = 0; round < 2; round++) {
    const sum1 = rotateRight(e, 6) ^ rotateRight(e, 11) ^ rotateRight(e, 25);
    const t1 = (h + sum1 + choose(e, f, g) + i32[(XMM >>> 2) + round]!) | 0;
    const sum0 = rotateRight(a, 2) ^ rotateRight(a, 13) ^ rotateRight(a, 22);
    const t2 = (sum0 + majority(a, b, c)) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + t1) | 0;
    d = c;
    c = b;
    b = a;
    a = (t1 + t2) | 0;
  }
  i32[at + 3] = a;
  i32[at + 2] = b;
  i32[at + 1] = e;
  i32[at] = f;
});

const sigma0 = (x: number): number => rotateRight(x, 7) ^ rotateRight(x, 18) ^ (x >>> 3);
const sigma1 = (x: number): number => rotateRight(x, 17) ^ rotateRight(x, 19) ^ (x >>> 10);

export const HELPER_SHA256MSG1: number = words("SHA256MSG1", ({ i32 }, d, a) => {
  const w4 = i32[a]!;
  for (let k = 0; k < 3; k++) i32[d + k]! += sigma0(i32[d + k + 1]!);
  i32[d + 3]! += sigma0(w4);
});

export const HELPER_SHA256MSG2: number = words("SHA256MSG2", ({ i32 }, d, a) => {
  const w14 = i32[a + 2]!;
  const w15 = i32[a + 3]!;
  i32[d]! += sigma1(w14);
  i32[d + 1]! += sigma1(w15);
  i32[d + 2]! += sigma1(i32[d]!);
  i32[d + 3]! += sigma1(i32[d + 1]!);
});

// Byte strings for the decoder tests, the same in every run.

import type { Mode } from "./iced.ts";

/** A small deterministic generator (xorshift32). */
function generator(seed: number): () => number {
  let x = seed;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
}

const PREFIXES = [0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65, 0x48, 0x41, 0x44, 0x42, 0x4f, 0x40];
/** Bytes from one string to the next. */
export const STRIDE = 24;

/** `count` strings: some prefixes, an opcode map, random bytes. */
export function randomStrings(count: number, seed: number): Uint8Array {
  const random = generator(seed);
  const bytes = new Uint8Array(count * STRIDE + STRIDE);
  for (let i = 0; i < bytes.length; i++) bytes[i] = random() >>> 11;
  for (let i = 0; i < count; i++) {
    let p = i * STRIDE;
    for (let n = random() % 5; n > 1; n--) bytes[p++] = PREFIXES[random() % PREFIXES.length]!;
    const map = random() % 5;
    if (map >= 2) bytes[p++] = 0x0f;
    if (map === 4) bytes[p++] = random() % 2 === 0 ? 0x38 : 0x3a;
  }
  return bytes;
}

/** Every opcode of every map under every mandatory prefix, with and without REX.W and LOCK, for 32 ModRM bytes. */
export function everyOpcode(mode: Mode): Uint8Array {
  const random = generator(mode);
  const maps = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]];
  const prefixes = [[], [0x66], [0xf3], [0xf2]];
  const bytes = new Uint8Array(4 * 4 * 256 * 32 * STRIDE + STRIDE);
  for (let i = 0; i < bytes.length; i++) bytes[i] = random() >>> 9;
  let at = 0;
  for (const map of maps) {
    for (const prefix of prefixes) {
      for (let opcode = 0; opcode < 256; opcode++) {
        for (let modReg = 0; modReg < 32; modReg++) {
          const head = [...prefix];
          if (random() % 8 === 0) head.push(0xf0);
          if (mode === 64 && random() % 2 === 0) head.push(0x40 | (random() % 16));
          const rm = random() % 8;
          bytes.set([...head, ...map, opcode, (modReg << 3) | rm], at);
          at += STRIDE;
        }
      }
    }
  }
  return bytes;
}

/** Every opcode of the three VEX maps under every VEX.pp, W and L, for some ModRM bytes; vvvv is mostly 1111, prefixes before are rare. */
export function everyVex(mode: Mode): Uint8Array {
  const random = generator(mode + 7);
  const bytes = new Uint8Array(3 * 4 * 4 * 256 * 12 * STRIDE + STRIDE);
  for (let i = 0; i < bytes.length; i++) bytes[i] = random() >>> 9;
  let at = 0;
  for (let map = 1; map <= 3; map++)
    for (let fields = 0; fields < 16; fields++)
      for (let opcode = 0; opcode < 256; opcode++)
        for (let n = 0; n < 12; n++) {
          const head: number[] = [];
          if (random() % 16 === 0) head.push(PREFIXES[random() % PREFIXES.length]!);
          const vvvv = random() % 3 === 0 ? (random() % 16) << 3 : 0x78;
          const last = ((fields & 8) << 4) | vvvv | (fields & 7);
          const registers = (mode === 64 ? (random() % 8) << 5 : 0xe0 ^ ((random() % 2) << 5)) | map;
          if (map === 1 && fields < 8 && random() % 2 === 0)
            head.push(0xc5, mode === 64 ? last ^ ((random() % 2) << 7) : last | 0x80 | 0x40);
          else head.push(0xc4, registers, last);
          head.push(opcode, (n % 4 === 0 ? 0xc0 : 0) | (n % 8 === 1 ? random() % 256 : ((random() % 8) << 3) | 4));
          bytes.set(head, at);
          at += STRIDE;
        }
  return bytes;
}

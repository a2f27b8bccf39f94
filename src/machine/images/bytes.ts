// Little-endian reads. Callers check bounds first.

export function readU16(b: Uint8Array, at: number): number {
  return b[at]! | (b[at + 1]! << 8);
}

export function readU32(b: Uint8Array, at: number): number {
  return (b[at]! | (b[at + 1]! << 8) | (b[at + 2]! << 16) | (b[at + 3]! << 24)) >>> 0;
}

/** A 64-bit value as a number; exact below 2^53, above that only good for "too large" comparisons. */
export function readU64(b: Uint8Array, at: number): number {
  return readU32(b, at + 4) * 0x1_0000_0000 + readU32(b, at);
}

/** Does `b` hold the bytes `magic` at `at`? */
export function hasMagic(b: Uint8Array, at: number, magic: readonly number[]): boolean {
  if (at + magic.length > b.length) return false;
  for (let i = 0; i < magic.length; i++) if (b[at + i] !== magic[i]) return false;
  return true;
}

/** Does [offset, offset + size) lie within `limit` bytes? Safe for any non-negative numbers, also inexact large ones. */
export function inRange(offset: number, size: number, limit: number): boolean {
  return size <= limit && offset <= limit - size;
}

// The .xz container (The .xz File Format 1.1.0) with the filters that kernels use: LZMA2, and x86 BCJ before it.

import { hasMagic, readU32 } from "./bytes.ts";
import { SLACK } from "./copy-code.ts";
import { crc32, crc64 } from "./crc.ts";
import { allocateMemory, DECOMPRESS_MAX, ImageError, type ProgressCallback } from "./error.ts";
import { INPUT_SLACK, OUTPUT_FROM } from "./lzma-code.ts";
import { Lzma2Decoder } from "./lzma2.ts";

export const XZ_MAGIC: readonly number[] = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00];
const FOOTER_MAGIC: readonly number[] = [0x59, 0x5a];
const HEADER_SIZE = 12;
const FOOTER_SIZE = 12;

const FILTER_X86 = 0x04;
const FILTER_LZMA2 = 0x21;

/** Size in bytes of each check type (section 2.1.1.2); only the first, CRC32 and CRC64 are verified here. */
const CHECK_SIZES: readonly number[] = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];
const CHECK_NONE = 0;
const CHECK_CRC32 = 1;
const CHECK_CRC64 = 4;

interface Cursor {
  at: number;
}

function corrupted(what: string): ImageError {
  return new ImageError(`xz: corrupted ${what}`);
}

/** A variable-length integer (section 1.2). Values past 2^53 only ever fail the range checks that follow. */
function readVarint(b: Uint8Array, cursor: Cursor, end: number): number {
  let value = 0;
  let scale = 1;
  for (let i = 0; i < 9; i++) {
    if (cursor.at >= end) throw corrupted("variable-length integer");
    const byte = b[cursor.at++]!;
    value += (byte & 0x7f) * scale;
    if ((byte & 0x80) === 0) return value;
    scale *= 128;
  }
  throw corrupted("variable-length integer");
}

/** Finds the end of the only stream: skips stream padding, checks the footer, sums the index. */
function readIndex(b: Uint8Array): { end: number; uncompressed: number; flags: number } {
  let end = b.length;
  while (end >= HEADER_SIZE + FOOTER_SIZE + 4 && readU32(b, end - 4) === 0) end -= 4;
  if (end < HEADER_SIZE + FOOTER_SIZE || !hasMagic(b, end - 2, FOOTER_MAGIC)) throw new ImageError("xz: truncated");
  if (crc32(b, end - 8, end - 2) !== readU32(b, end - 12)) throw corrupted("footer (CRC32 differs)");
  const indexSize = (readU32(b, end - 8) + 1) * 4;
  const indexEnd = end - FOOTER_SIZE;
  const indexStart = indexEnd - indexSize;
  if (indexStart < HEADER_SIZE || indexSize < 8 || b[indexStart] !== 0) throw corrupted("index");
  if (crc32(b, indexStart, indexEnd - 4) !== readU32(b, indexEnd - 4)) throw corrupted("index (CRC32 differs)");
  const cursor = { at: indexStart + 1 };
  const records = readVarint(b, cursor, indexEnd - 4);
  if (records > indexSize) throw corrupted("index");
  let uncompressed = 0;
  for (let i = 0; i < records; i++) {
    readVarint(b, cursor, indexEnd - 4);
    uncompressed += readVarint(b, cursor, indexEnd - 4);
    if (uncompressed > DECOMPRESS_MAX) throw new ImageError("xz: uncompressed size is more than the limit of 1 GiB");
  }
  return { end: indexStart, uncompressed, flags: b[end - 3]! };
}

interface Block {
  dataStart: number;
  /** Start offsets of the x86 filters before LZMA2, in encoding order. */
  x86: number[];
}

function readBlockHeader(b: Uint8Array, at: number, limit: number): Block {
  const size = (b[at]! + 1) * 4;
  if (size > limit - at) throw corrupted("block header");
  if (crc32(b, at, at + size - 4) !== readU32(b, at + size - 4)) throw corrupted("block header (CRC32 differs)");
  const end = at + size - 4;
  const flags = b[at + 1]!;
  if (flags & 0x3c) throw new ImageError("xz: unknown block flags");
  const cursor = { at: at + 2 };
  if (flags & 0x40) readVarint(b, cursor, end); // compressed size: known from the data
  if (flags & 0x80) readVarint(b, cursor, end); // uncompressed size: the index has it
  const filters = (flags & 3) + 1;
  const x86: number[] = [];
  for (let i = 0; i < filters; i++) {
    const id = readVarint(b, cursor, end);
    const properties = readVarint(b, cursor, end);
    if (properties > end - cursor.at) throw corrupted("block header");
    const last = i === filters - 1;
    if (id === FILTER_X86 && !last && (properties === 0 || properties === 4)) {
      x86.push(properties === 4 ? readU32(b, cursor.at) : 0);
    } else if (!(id === FILTER_LZMA2 && last && properties === 1)) {
      throw new ImageError(`xz: filter 0x${id.toString(16)} is not supported (only LZMA2 and x86 BCJ)`);
    }
    cursor.at += properties;
  }
  return { dataStart: at + size, x86 };
}

/** Decompresses one .xz stream. Integrity checks of type none, CRC32 and CRC64. */
export function decodeXz(b: Uint8Array, onProgress?: ProgressCallback): Uint8Array {
  if (b.length < HEADER_SIZE) throw new ImageError("xz: truncated");
  if (crc32(b, 6, 8) !== readU32(b, 8)) throw corrupted("stream header (CRC32 differs)");
  const check = b[7]!;
  if (b[6] !== 0 || check > 15) throw new ImageError("xz: unknown stream flags");
  if (check !== CHECK_NONE && check !== CHECK_CRC32 && check !== CHECK_CRC64) {
    throw new ImageError(`xz: integrity check type ${check} is not supported (only none, CRC32, CRC64)`);
  }
  const index = readIndex(b);
  if (index.flags !== check) throw corrupted("footer (stream flags differ)");
  // The input lies behind the output, so what is written up to SLACK bytes too far is written anew, or read before.
  const input = OUTPUT_FROM + index.uncompressed + SLACK;
  const memory = allocateMemory(index.uncompressed, input + b.length + INPUT_SLACK, "xz");
  new Uint8Array(memory.buffer).set(b, input);
  const decoder = new Lzma2Decoder(memory);
  const out = new Uint8Array(memory.buffer, OUTPUT_FROM, index.uncompressed);
  const report = (done: number) => onProgress?.({ stage: "xz", done, total: out.length });
  let at = HEADER_SIZE;
  let written = 0;
  while (at < index.end && b[at] !== 0) {
    const block = readBlockHeader(b, at, index.end);
    const start = written;
    const end = decoder.decode(
      input + block.dataStart,
      input + index.end,
      OUTPUT_FROM + start,
      OUTPUT_FROM + out.length,
      (done) => report(done - OUTPUT_FROM),
    );
    written = end.output - OUTPUT_FROM;
    for (let i = block.x86.length - 1; i >= 0; i--) decodeX86(out, start, written, block.x86[i]!);
    at = block.dataStart + ((end.source - input - block.dataStart + 3) & ~3);
    if (at + CHECK_SIZES[check]! > index.end) throw new ImageError("xz: truncated");
    if (check === CHECK_CRC32 && crc32(out, start, written) !== readU32(b, at)) {
      throw corrupted("data (CRC32 differs)");
    }
    if (check === CHECK_CRC64) {
      const [high, low] = crc64(out, start, written);
      if (low !== readU32(b, at) || high !== readU32(b, at + 4)) throw corrupted("data (CRC64 differs)");
    }
    at += CHECK_SIZES[check]!;
  }
  if (at !== index.end) throw new ImageError("xz: several streams in one file are not supported");
  if (written !== out.length) throw corrupted("data (size differs from the index)");
  return out;
}

/** Whether a byte can be the top byte of a near displacement. */
function isSignByte(byte: number): boolean {
  return byte === 0x00 || byte === 0xff;
}

/** Which of the last three bytes being a candidate opcode (bit 0 the nearest) still allows a conversion. */
const ALLOWED: readonly boolean[] = [true, true, true, false, true, false, false, false];
/** The byte of the operand that such an earlier candidate overlaps, counted from the nearest one. */
const OVERLAP: readonly number[] = [0, 1, 2, 2, 3, 3, 3, 3];

/** The first position from `at` on whose byte is E8 or E9, or one past `limit`. Four bytes at a time: a thirtieth of them are. */
function nextBranch(b: Uint8Array, words: Int32Array, from: number, limit: number): number {
  for (let at = from; at <= limit; at++) {
    if ((at & 3) === 0) {
      let word = at >> 2;
      // A byte that is E8 or E9 becomes 0, and a byte that is 0 borrows.
      for (; word < words.length; word++) {
        const x = (words[word]! & 0xfefefefe) ^ 0xe8e8e8e8;
        if (((x - 0x01010101) & ~x & 0x80808080) !== 0) break;
      }
      at = word << 2;
    }
    if ((b[at]! & 0xfe) === 0xe8 || at > limit) return at;
  }
  return limit + 1;
}

/**
 * Undoes the x86 branch filter in place: the encoder made the operands of CALL (E8) and JMP (E9) absolute. It tracked
 * candidate opcodes within the previous bytes in a mask, to leave alone what is probably an operand of another one.
 */
function decodeX86(b: Uint8Array, from: number, to: number, startOffset: number): void {
  if (to - from < 5) return;
  const limit = to - 5;
  // Bits 0..: the bytes just before were candidates whose operand did not look like one.
  let mask = 0;
  let last = from - 5;
  let at = from;
  const words = new Int32Array(b.buffer, b.byteOffset, b.length >>> 2);
  for (;;) {
    at = nextBranch(b, words, at, limit);
    if (at > limit) return;
    const gap = at - last;
    last = at;
    if (gap > 5) mask = 0;
    else for (let i = 0; i < gap; i++) mask = (mask & 0x77) << 1;
    const earlier = mask >> 1;
    const top = b[at + 4]!;
    if (!isSignByte(top) || earlier >= 0x10 || !ALLOWED[earlier & 7]) {
      mask |= isSignByte(top) ? 0x11 : 0x01;
      at++;
      continue;
    }
    const next = (at - from + startOffset + 5) | 0;
    let value = (readU32(b, at + 1) - next) | 0;
    if (mask !== 0) {
      const shift = 24 - OVERLAP[earlier]! * 8;
      if (isSignByte((value >>> shift) & 0xff)) {
        value = ((value ^ ((1 << (shift + 8)) - 1)) - next) | 0;
      }
    }
    b[at + 1] = value;
    b[at + 2] = value >> 8;
    b[at + 3] = value >> 16;
    b[at + 4] = (value >> 24) & 1 ? 0xff : 0;
    at += 5;
    mask = 0;
  }
}

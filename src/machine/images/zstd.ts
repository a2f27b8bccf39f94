// Zstandard by the zstddec package (the reference decoder compiled to WebAssembly). That decoder neither reports errors
// nor bounds its output, so the frame is walked here first (RFC 8878, section 3.1.1).

import { ZSTDDecoder } from "zstddec";
import { readU16, readU32, readU64 } from "./bytes.ts";
import { DECOMPRESS_MAX, ImageError, type ProgressCallback } from "./error.ts";

export const ZSTD_MAGIC: readonly number[] = [0x28, 0xb5, 0x2f, 0xfd];
const BLOCK_OUTPUT_MAX = 128 << 10;
const BLOCK_RAW = 0;
const BLOCK_RLE = 1;
const BLOCK_COMPRESSED = 2;

interface Frame {
  /** Bytes of input that the frame takes. */
  length: number;
  /** Exact size of the output, or 0 if the frame does not say. */
  size: number;
  /** What the blocks can give at most. */
  bound: number;
}

function truncated(): ImageError {
  return new ImageError("zstd: truncated");
}

function walkFrame(b: Uint8Array): Frame {
  if (b.length < 6) throw truncated();
  const descriptor = b[4]!;
  const single = (descriptor & 0x20) !== 0;
  if (descriptor & 0x08) throw new ImageError("zstd: corrupted frame header");
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3]!;
  const sizeCode = descriptor >> 6;
  const sizeBytes = sizeCode === 0 ? (single ? 1 : 0) : 1 << sizeCode;
  let pos = 5 + (single ? 0 : 1) + dictionaryBytes;
  if (pos + sizeBytes > b.length) throw truncated();
  let size = 0;
  if (sizeBytes === 1) size = b[pos]!;
  else if (sizeBytes === 2) size = readU16(b, pos) + 256;
  else if (sizeBytes === 4) size = readU32(b, pos);
  else if (sizeBytes === 8) size = readU64(b, pos);
  pos += sizeBytes;
  let bound = 0;
  for (let last = false; !last; ) {
    if (pos + 3 > b.length) throw truncated();
    const header = b[pos]! | (b[pos + 1]! << 8) | (b[pos + 2]! << 16);
    pos += 3;
    last = (header & 1) !== 0;
    const kind = (header >> 1) & 3;
    const length = header >> 3;
    if (kind > BLOCK_COMPRESSED) throw new ImageError("zstd: corrupted block header");
    if (length > BLOCK_OUTPUT_MAX) throw new ImageError("zstd: corrupted block header");
    pos += kind === BLOCK_RLE ? 1 : length;
    bound += kind === BLOCK_RAW || kind === BLOCK_RLE ? length : BLOCK_OUTPUT_MAX;
    if (pos > b.length) throw truncated();
    if (bound > DECOMPRESS_MAX) throw new ImageError("zstd: more than the limit of 1 GiB uncompressed");
  }
  if (descriptor & 0x04) pos += 4;
  if (pos > b.length) throw truncated();
  return { length: pos, size, bound };
}

/** Decompresses one frame. `expectedSize` (0: unknown) is the size that the container promises. */
export async function decodeZstd(
  b: Uint8Array,
  expectedSize: number,
  onProgress?: ProgressCallback,
): Promise<Uint8Array> {
  const frame = walkFrame(b);
  const expected = expectedSize || frame.size;
  if (expected > frame.bound) throw new ImageError("zstd: corrupted (the blocks cannot give the size announced)");
  onProgress?.({ stage: "zstd", done: 0, total: expected });
  let out: Uint8Array;
  try {
    const decoder = new ZSTDDecoder();
    await decoder.init();
    // An exact size would let a longer output pass as an error only; one byte more never hurts a correct frame.
    out = decoder.decode(b.subarray(0, frame.length), (expected || frame.bound) + 1);
  } catch {
    throw new ImageError("zstd: decoder failed (corrupted data, or not enough memory)");
  }
  // The decoder's error codes are negative lengths, which come out as an empty array.
  if (out.length === 0 || (expected !== 0 && out.length !== expected)) throw new ImageError("zstd: corrupted data");
  onProgress?.({ stage: "zstd", done: out.length, total: out.length });
  return out;
}

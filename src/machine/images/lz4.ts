// LZ4 in its legacy frame, as `lz4 -l` and the Linux build make it: a magic, then blocks of up to 8 MiB of output, each
// after its compressed size. There is no checksum and no end mark (lz4 frame format description, "Legacy frame").

import { hasMagic, readU32 } from "./bytes.ts";
import { allocateOutput, DECOMPRESS_MAX, ImageError, type ProgressCallback } from "./error.ts";

export const LZ4_LEGACY_MAGIC: readonly number[] = [0x02, 0x21, 0x4c, 0x18];
const BLOCK_OUTPUT_MAX = 8 << 20;
const MATCH_MIN = 4;

function corrupted(): ImageError {
  return new ImageError("lz4: corrupted data");
}

/**
 * Decompresses a legacy frame. `expectedSize` (0: unknown) is the size that the container promises; a different result is
 * an error.
 */
export function decodeLz4Legacy(src: Uint8Array, expectedSize: number, onProgress?: ProgressCallback): Uint8Array {
  const end = src.length;
  // Without a promise, room for every block that the sizes announce; untouched memory costs nothing.
  const out = allocateOutput(expectedSize || countBlocks(src) * BLOCK_OUTPUT_MAX, "lz4");
  let pos = LZ4_LEGACY_MAGIC.length;
  let at = 0;
  while (pos < end) {
    if (hasMagic(src, pos, LZ4_LEGACY_MAGIC)) {
      pos += LZ4_LEGACY_MAGIC.length;
      continue;
    }
    const size = blockSize(src, pos);
    pos += 4;
    at = decodeBlock(src, pos, pos + size, out, at, Math.min(out.length, at + BLOCK_OUTPUT_MAX));
    pos += size;
    onProgress?.({ stage: "lz4", done: at, total: expectedSize });
  }
  if (expectedSize !== 0 && at !== expectedSize) {
    throw new ImageError(`lz4: corrupted or truncated (${at} bytes uncompressed, expected ${expectedSize})`);
  }
  return out.subarray(0, at);
}

function blockSize(src: Uint8Array, pos: number): number {
  if (pos + 4 > src.length) throw new ImageError("lz4: truncated");
  const size = readU32(src, pos);
  if (size === 0) throw corrupted();
  if (size > src.length - pos - 4) throw new ImageError("lz4: truncated");
  return size;
}

function countBlocks(src: Uint8Array): number {
  let blocks = 0;
  let pos = LZ4_LEGACY_MAGIC.length;
  while (pos < src.length) {
    if (hasMagic(src, pos, LZ4_LEGACY_MAGIC)) {
      pos += LZ4_LEGACY_MAGIC.length;
      continue;
    }
    pos += 4 + blockSize(src, pos);
    if (++blocks > DECOMPRESS_MAX / BLOCK_OUTPUT_MAX) throw new ImageError("lz4: more than the limit of 1 GiB");
  }
  return blocks;
}

/** One block (lz4 block format description): literals and matches by turns; the last sequence has literals only. */
function decodeBlock(
  src: Uint8Array,
  source: number,
  sourceEnd: number,
  out: Uint8Array,
  output: number,
  outputEnd: number,
): number {
  let pos = source;
  let at = output;
  for (;;) {
    if (pos >= sourceEnd) throw corrupted();
    const token = src[pos++]!;
    let literals = token >> 4;
    if (literals === 15) {
      let byte: number;
      do {
        if (pos >= sourceEnd) throw corrupted();
        byte = src[pos++]!;
        literals += byte;
      } while (byte === 255);
    }
    if (literals > sourceEnd - pos || literals > outputEnd - at) throw corrupted();
    if (literals > 32) {
      out.set(src.subarray(pos, pos + literals), at);
      pos += literals;
      at += literals;
    } else {
      for (let end = at + literals; at < end; ) out[at++] = src[pos++]!;
    }
    if (pos === sourceEnd) return at;
    if (pos + 2 > sourceEnd) throw corrupted();
    const distance = src[pos]! | (src[pos + 1]! << 8);
    pos += 2;
    let length = token & 15;
    if (length === 15) {
      let byte: number;
      do {
        if (pos >= sourceEnd) throw corrupted();
        byte = src[pos++]!;
        length += byte;
      } while (byte === 255);
    }
    length += MATCH_MIN;
    if (distance === 0 || distance > at - output || length > outputEnd - at) throw corrupted();
    for (let from = at - distance, end = at + length; at < end; ) out[at++] = out[from++]!;
  }
}

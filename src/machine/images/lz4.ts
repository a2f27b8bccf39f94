// LZ4 in its legacy frame, as `lz4 -l` and the Linux build make it: a magic, then blocks of up to 8 MiB of output, each
// after its compressed size. There is no checksum and no end mark (lz4 frame format description, "Legacy frame").

import { hasMagic, readU32 } from "./bytes.ts";
import { SLACK } from "./copy-code.ts";
import { allocateMemory, DECOMPRESS_MAX, ImageError, type ProgressCallback } from "./error.ts";
import { linkDecodeBlock } from "./lz4-code.ts";

export const LZ4_LEGACY_MAGIC: readonly number[] = [0x02, 0x21, 0x4c, 0x18];
const BLOCK_OUTPUT_MAX = 8 << 20;

function corrupted(): ImageError {
  return new ImageError("lz4: corrupted data");
}

/**
 * Decompresses a legacy frame. `expectedSize` (0: unknown) is the size that the container promises; a different result is
 * an error.
 */
export function decodeLz4Legacy(src: Uint8Array, expectedSize: number, onProgress?: ProgressCallback): Uint8Array {
  const end = src.length;
  // Without a promise, room for every block that the sizes announce; untouched memory costs nothing. The input lies behind.
  const room = expectedSize || countBlocks(src) * BLOCK_OUTPUT_MAX;
  const memory = allocateMemory(room, room + end + 2 * SLACK, "lz4");
  const input = room + SLACK;
  new Uint8Array(memory.buffer).set(src, input);
  const decodeBlock = linkDecodeBlock(memory);
  let pos = LZ4_LEGACY_MAGIC.length;
  let at = 0;
  while (pos < end) {
    if (hasMagic(src, pos, LZ4_LEGACY_MAGIC)) {
      pos += LZ4_LEGACY_MAGIC.length;
      continue;
    }
    const size = blockSize(src, pos);
    pos += 4;
    at = decodeBlock(input + pos, input + pos + size, at, Math.min(room, at + BLOCK_OUTPUT_MAX));
    if (at < 0) throw corrupted();
    pos += size;
    onProgress?.({ stage: "lz4", done: at, total: expectedSize });
  }
  if (expectedSize !== 0 && at !== expectedSize) {
    throw new ImageError(`lz4: corrupted or truncated (${at} bytes uncompressed, expected ${expectedSize})`);
  }
  return new Uint8Array(memory.buffer, 0, at);
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

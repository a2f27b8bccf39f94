// gzip by the platform's streams, present in browsers and in Node.

import { allocateOutput, DECOMPRESS_MAX, ImageError, type ProgressCallback } from "./error.ts";

export const GZIP_MAGIC: readonly number[] = [0x1f, 0x8b];

/** Input is handed over in pieces, so that a small file of huge output is stopped at the limit. */
const PIECE = 1 << 18;

/** Decompresses one gzip member; the platform verifies CRC32 and length. */
export async function gunzip(b: Uint8Array, onProgress?: ProgressCallback): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    const reader = source(b).pipeThrough(new DecompressionStream("gzip")).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      size += value.length;
      if (size > DECOMPRESS_MAX) {
        await reader.cancel();
        throw new ImageError("gzip: more than the limit of 1 GiB uncompressed");
      }
      onProgress?.({ stage: "gzip", done: size, total: 0 });
    }
  } catch (error) {
    if (error instanceof ImageError) throw error;
    throw new ImageError("gzip: corrupted or truncated");
  }
  return join(parts, size);
}

/** Compresses to one gzip member. */
export async function gzip(b: Uint8Array): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let size = 0;
  const reader = source(b).pipeThrough(new CompressionStream("gzip")).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    size += value.length;
  }
  return join(parts, size);
}

function source(b: Uint8Array): ReadableStream<Uint8Array<ArrayBuffer>> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= b.length) return controller.close();
      // A copy: streams do not take views of shared memory.
      controller.enqueue(b.slice(at, at + PIECE) as Uint8Array<ArrayBuffer>);
      at += PIECE;
    },
  });
}

function join(parts: readonly Uint8Array[], size: number): Uint8Array {
  const out = allocateOutput(size, "gzip");
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

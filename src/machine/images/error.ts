/** A file that cannot be used as a kernel or ramdisk. The message is one line, meant for the person who gave the file. */
export class ImageError extends Error {
  override name = "ImageError";
}

/** How far a long step has come, in bytes of its output; `total` is 0 when unknown. */
export interface ImageProgress {
  stage: string;
  done: number;
  total: number;
}

export type ProgressCallback = (progress: ImageProgress) => void;

/** Largest decompressed image accepted, bytes: XC_DOM_DECOMPRESS_MAX of Xen's libxenguest. */
export const DECOMPRESS_MAX = 0x4000_0000;

/** A zeroed buffer of `size` bytes; refuses what Xen's domain builder refuses, and what the host cannot give. */
export function allocateOutput(size: number, what: string): Uint8Array<ArrayBuffer> {
  if (size > DECOMPRESS_MAX) throw new ImageError(`${what}: ${size} bytes uncompressed, more than the limit of 1 GiB`);
  try {
    return new Uint8Array(size);
  } catch {
    throw new ImageError(`${what}: no memory for ${size} uncompressed bytes`);
  }
}

/** WebAssembly memory of at least `bytes`, which hold `size` bytes of output; refuses as `allocateOutput` does. */
export function allocateMemory(size: number, bytes: number, what: string): WebAssembly.Memory {
  if (size > DECOMPRESS_MAX) throw new ImageError(`${what}: ${size} bytes uncompressed, more than the limit of 1 GiB`);
  const pages = Math.ceil(bytes / 0x10000);
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages });
  } catch {
    throw new ImageError(`${what}: no memory for ${size} uncompressed bytes`);
  }
}

/**
 * The console ring, struct xencons_interface of io/console.h: bytes to the guest (`in`) and from it (`out`). The page is
 * the guest's: indices are read once, and a ring that is fuller than it can be is taken for empty or full, as xenconsoled does.
 */

/** Access to the shared page; offsets are bytes in it. */
export interface RingPage {
  read32(offset: number): number;
  write32(offset: number, value: number): void;
  /** A copy. */
  read(offset: number, length: number): Uint8Array;
  write(offset: number, bytes: Uint8Array): void;
}

const IN = 0;
const IN_BYTES = 1024;
const OUT = 1024;
const OUT_BYTES = 2048;
const IN_CONS = 3072;
const IN_PROD = 3076;
const OUT_CONS = 3080;
const OUT_PROD = 3084;

/** Takes what the guest has written; empty if there is nothing, or if the indices make no sense. */
export function takeOutput(page: RingPage): Uint8Array {
  const cons = page.read32(OUT_CONS);
  const prod = page.read32(OUT_PROD);
  const filled = (prod - cons) >>> 0;
  if (filled === 0 || filled > OUT_BYTES) return new Uint8Array(0);
  const bytes = new Uint8Array(filled);
  const start = cons % OUT_BYTES;
  const first = Math.min(filled, OUT_BYTES - start);
  bytes.set(page.read(OUT + start, first));
  if (filled > first) bytes.set(page.read(OUT, filled - first), first);
  page.write32(OUT_CONS, prod);
  return bytes;
}

/** Puts as much of `bytes` into the ring as fits. @returns how many bytes. */
export function putInput(page: RingPage, bytes: Uint8Array): number {
  const cons = page.read32(IN_CONS);
  const prod = page.read32(IN_PROD);
  const filled = (prod - cons) >>> 0;
  const count = filled > IN_BYTES ? 0 : Math.min(bytes.length, IN_BYTES - filled);
  if (count === 0) return 0;
  const start = prod % IN_BYTES;
  const first = Math.min(count, IN_BYTES - start);
  page.write(IN + start, bytes.subarray(0, first));
  if (count > first) page.write(IN, bytes.subarray(first, count));
  page.write32(IN_PROD, (prod + count) >>> 0);
  return count;
}

/** Reads vector files, JSON lines as they are or compressed by gzip, piece by piece. */
import { statSync } from "node:fs";
import { open } from "node:fs/promises";
import { pipeline, Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { systemReason } from "../toolstack/load.ts";
import { UserError } from "../toolstack/user-error.ts";

/** A line longer than this is no vector. */
const LONGEST_LINE = 1 << 20;
const PIECE = 1 << 18;
const NEWLINE = 0x0a;

export interface Progress {
  /** Bytes of the file read. */
  read: number;
}

/** Bytes of all `files`. Throws UserError for one that can't be read. */
export function totalBytes(files: readonly string[]): number {
  let total = 0;
  for (const file of files) {
    try {
      const found = statSync(file);
      if (found.isDirectory()) throw new UserError(`can't read ${file}: it is a directory`);
      total += found.size;
    } catch (error) {
      if (error instanceof UserError) throw error;
      throw new UserError(`can't read ${file}: ${systemReason(error)}`);
    }
  }
  return total;
}

async function* raw(file: string, progress: Progress): AsyncGenerator<Buffer> {
  const handle = await open(file);
  try {
    for (;;) {
      const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(PIECE), 0, PIECE);
      if (bytesRead === 0) return;
      progress.read += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await handle.close();
  }
}

async function* prepend(first: Buffer, rest: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  yield first;
  yield* rest;
}

/** The pieces of a file, decompressed if it begins as gzip does. */
async function* pieces(file: string, progress: Progress): AsyncGenerator<Buffer> {
  const source = raw(file, progress);
  const first = await source.next();
  if (first.done === true) return;
  const all = prepend(first.value, source);
  if (first.value[0] !== 0x1f || first.value[1] !== 0x8b) {
    yield* all;
    return;
  }
  // The callback has nothing to do: an error of the file reaches the reader below as an error of gunzip.
  const gunzip = pipeline(Readable.from(all), createGunzip({ chunkSize: PIECE }), () => {});
  for await (const piece of gunzip) yield piece as Buffer;
}

/** Calls `line` with every line that is not blank, and its number from 1. Throws UserError, with the file's name. */
export async function readLines(
  file: string,
  progress: Progress,
  line: (text: string, number: number) => void,
): Promise<void> {
  let rest: Buffer = Buffer.alloc(0);
  let number = 0;
  const take = (bytes: Buffer): void => {
    number++;
    const text = bytes.toString("utf8").trim();
    if (text !== "") line(text, number);
  };
  try {
    for await (const piece of pieces(file, progress)) {
      const bytes: Buffer = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
      let from = 0;
      for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, from)) {
        take(bytes.subarray(from, end));
        from = end + 1;
      }
      rest = bytes.subarray(from);
      if (rest.length > LONGEST_LINE)
        throw new UserError(`${file}:${number + 1}: the line does not end; not a vector file`);
    }
  } catch (error) {
    if (error instanceof UserError) throw error;
    const code = (error as NodeJS.ErrnoException).code ?? "";
    if (code.startsWith("Z_"))
      throw new UserError(`${file}: damaged gzip data after line ${number}: ${(error as Error).message}`);
    throw new UserError(`can't read ${file}: ${systemReason(error)}`);
  }
  if (rest.length > 0) take(rest);
}

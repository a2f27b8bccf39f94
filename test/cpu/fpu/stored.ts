// The stored vectors: cases with the answers of a real processor, for hosts that are none. Each case is the form it
// executes and two hexadecimal strings: the record that goes in, and its exclusive or with the one that came out.
import { gunzipSync, gzipSync } from "node:zlib";
import { type Case, RECORD } from "./oracle.ts";

export interface StoredX87 {
  readonly opcode: number;
  readonly modrm: number;
  readonly input: string;
  readonly change: string;
}

export interface StoredSse {
  readonly name: string;
  readonly wide: boolean;
  readonly imm: number;
  readonly input: string;
  readonly change: string;
}

export interface Vectors {
  readonly processor: string;
  readonly x87: readonly StoredX87[];
  readonly sse: readonly StoredSse[];
}

const bytesOf = (view: Case): Buffer => Buffer.from(view.buffer, view.byteOffset, RECORD);

export function encodeCase(input: Case, output: Case): { input: string; change: string } {
  const before = bytesOf(input);
  const change = Buffer.from(bytesOf(output));
  for (let i = 0; i < RECORD; i++) change[i] = (change[i] as number) ^ (before[i] as number);
  return { input: before.toString("hex"), change: change.toString("hex") };
}

export function decodeCase(stored: { input: string; change: string }): { input: Case; output: Case } {
  const before = Uint8Array.from(Buffer.from(stored.input, "hex"));
  const after = Uint8Array.from(Buffer.from(stored.change, "hex"), (byte, i) => byte ^ (before[i] as number));
  return { input: new DataView(before.buffer), output: new DataView(after.buffer) };
}

export function packVectors(vectors: Vectors): Uint8Array {
  return gzipSync(JSON.stringify(vectors), { level: 9 });
}

export function unpackVectors(bytes: Uint8Array): Vectors {
  return JSON.parse(gunzipSync(bytes).toString("utf8"));
}

// The host's processor as judge: builds test/oracle/fpu-oracle.c and runs records through it.
import { spawnSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Layout of `struct record` in fpu-oracle.c. */
export const RECORD = 256;
export const LENGTH = 0;
export const TRAPPED = 4;
export const CODE = 8;
export const IMAGE = 24;
export const RFLAGS = 136;
export const RAX = 144;
export const XMM0 = 152;
export const XMM1 = 168;
export const MXCSR_AT = 184;
export const MEMORY = 192;

/** One case: a view of its record. */
export type Case = DataView;

export function newCase(code: readonly number[]): Case {
  const view = new DataView(new ArrayBuffer(RECORD));
  view.setUint32(LENGTH, code.length, true);
  code.forEach((byte, i) => {
    view.setUint8(CODE + i, byte);
  });
  setControl(view, 0x37f, 0, 0xffff);
  view.setBigUint64(RFLAGS, 0x202n, true);
  view.setUint32(MXCSR_AT, 0x1f80, true);
  return view;
}

export function setControl(view: Case, cw: number, sw: number, tw: number): void {
  view.setUint32(IMAGE, 0xffff0000 | cw, true);
  view.setUint32(IMAGE + 4, 0xffff0000 | sw, true);
  view.setUint32(IMAGE + 8, 0xffff0000 | tw, true);
}

/** Puts an 80-bit value into ST(i) of the image. */
export function setST(view: Case, i: number, bits: bigint): void {
  view.setBigUint64(IMAGE + 28 + i * 10, BigInt.asUintN(64, bits), true);
  view.setUint16(IMAGE + 36 + i * 10, Number(bits >> 64n), true);
}

export function getST(view: Case, i: number): bigint {
  return view.getBigUint64(IMAGE + 28 + i * 10, true) | (BigInt(view.getUint16(IMAGE + 36 + i * 10, true)) << 64n);
}

let binary: string | null | undefined;

/** Path of the oracle, or null where it cannot be built or run (not x86-64 Linux, or no C compiler). */
function build(): string | null {
  if (process.arch !== "x64" || process.platform !== "linux") return null;
  const source = fileURLToPath(new URL("../../oracle/fpu-oracle.c", import.meta.url));
  const path = join(mkdtempSync(join(tmpdir(), "fpu-oracle-")), "fpu-oracle");
  const flags = ["-O1", "-mno-red-zone", "-fno-pie", "-no-pie", "-o", path, source];
  return spawnSync("gcc", flags).status === 0 ? path : null;
}

export function hasOracle(): boolean {
  binary ??= build();
  return binary !== null;
}

/** Runs every case natively; the results are in new views, in order. */
export function runNative(cases: readonly Case[]): Case[] {
  if (!hasOracle() || typeof binary !== "string") throw new Error("no oracle on this host");
  const input = new Uint8Array(cases.length * RECORD);
  cases.forEach((view, i) => {
    input.set(new Uint8Array(view.buffer), i * RECORD);
  });
  const result = spawnSync(binary, [], { input, maxBuffer: input.length + 1024 });
  if (result.status !== 0 || result.stdout.length !== input.length) {
    throw new Error(`oracle failed: status ${result.status}, ${result.stdout.length} of ${input.length} bytes`);
  }
  const output = new Uint8Array(result.stdout);
  return cases.map((_, i) => new DataView(output.buffer, i * RECORD, RECORD));
}

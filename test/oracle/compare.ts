/** Compares what the host and our core made of a vector. */
import type { Outcome, Vector } from "./vector.ts";

const NAMES = [
  "rax",
  "rcx",
  "rdx",
  "rbx",
  "rsp",
  "rbp",
  "rsi",
  "rdi",
  "r8",
  "r9",
  "r10",
  "r11",
  "r12",
  "r13",
  "r14",
  "r15",
];
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** @returns what differs, a line each; empty if the two agree. */
export function differences(v: Vector, want: Outcome, got: Outcome): string[] {
  const out: string[] = [];
  if (want.sig !== got.sig) out.push(`sig: host ${want.sig}, core ${got.sig}`);
  if (want.rip !== got.rip) out.push(`rip: host ${want.rip.toString(16)}, core ${got.rip.toString(16)}`);
  for (let i = 0; i < 16; i++)
    if (want.gpr[i] !== got.gpr[i])
      out.push(`${NAMES[i]}: host ${want.gpr[i]!.toString(16)}, core ${got.gpr[i]!.toString(16)}`);
  const flags = (want.rflags ^ got.rflags) & v.mask;
  if (flags !== 0)
    out.push(`flags ${flags.toString(16)}: host ${want.rflags.toString(16)}, core ${got.rflags.toString(16)}`);
  const firstMem = want.mem.findIndex((b, i) => b !== got.mem[i]);
  if (firstMem >= 0)
    out.push(
      `mem+${firstMem}: host ${hex(want.mem.subarray(firstMem, firstMem + 16))}, core ${hex(got.mem.subarray(firstMem, firstMem + 16))}`,
    );
  if (v.fx !== null) {
    for (const [name, from, to] of [
      ["fcw", 0, 2],
      ["fsw", 2, 4],
      ["ftw", 4, 5],
      ["mxcsr", 24, 28],
    ] as const)
      if (hex(want.fx.subarray(from, to)) !== hex(got.fx.subarray(from, to)))
        out.push(`${name}: host ${hex(want.fx.subarray(from, to))}, core ${hex(got.fx.subarray(from, to))}`);
    for (let n = 0; n < 8; n++) {
      const at = 32 + n * 16;
      if (hex(want.fx.subarray(at, at + 10)) !== hex(got.fx.subarray(at, at + 10)))
        out.push(`st${n}: host ${hex(want.fx.subarray(at, at + 10))}, core ${hex(got.fx.subarray(at, at + 10))}`);
    }
    for (let n = 0; n < 16; n++) {
      const at = 160 + n * 16;
      if (hex(want.fx.subarray(at, at + 16)) !== hex(got.fx.subarray(at, at + 16)))
        out.push(`xmm${n}: host ${hex(want.fx.subarray(at, at + 16))}, core ${hex(got.fx.subarray(at, at + 16))}`);
    }
  }
  if (v.ymmh !== null)
    for (let n = 0; n < 16; n++) {
      const [at, end] = [n * 16, n * 16 + 16];
      if (hex(want.ymmh.subarray(at, end)) !== hex(got.ymmh.subarray(at, end)))
        out.push(`ymm${n} upper: host ${hex(want.ymmh.subarray(at, end))}, core ${hex(got.ymmh.subarray(at, end))}`);
    }
  return out;
}

/** The state before, for a report. */
export function describe(v: Vector): string {
  const registers = v.gpr.map((value, i) => `${NAMES[i]}=${value.toString(16)}`).join(" ");
  return `${v.row}\n  code ${hex(v.code)} rflags ${v.rflags.toString(16)} ${registers}`;
}

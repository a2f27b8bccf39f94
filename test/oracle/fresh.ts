/** Fresh vectors for 64-bit user mode over the whole opcode table, encodings that are no instruction among them. */
import { decode } from "../../cpu/decode/decoder.ts";
import * as I from "../../cpu/decode/instruction.ts";
import { MNEMONIC_NAMES } from "../../cpu/decode/mnemonics.ts";
import { ROW_COUNT, ROW_FLAGS, ROW_MN, ROW_TEXT } from "../../cpu/decode/table.ts";
import { LIFTERS } from "../../cpu/uops/builder.ts";
import { FX_BYTES } from "../../src/conformance/vector.ts";
import { type Group, generate, groupOf, newWorld, type World } from "./generate.ts";
import { spoilVex } from "./generate-vex.ts";
import type { Random } from "./random.ts";
import { CODE_PAGE, type Outcome, type Vector, WINDOW, WINDOW_BYTES } from "./vector.ts";

/**
 * What user mode can't show of the processor alone: the answer is time, chance, the machine's identity, an emulation by the
 * kernel (UMIP), a way into it, or depends on which further state the host has (XSAVE).
 */
export const HOST_STATE: RegExp =
  /^(SYSCALL|SYSENTER|SYSRET|SYSEXIT|RDTSCP?|RDPMC|RDRAND|RDSEED|RDPID|CPUID|XGETBV|SGDT|SIDT|SMSW|STR|SLDT|VM(CALL|CLEAR|FUNC|LAUNCH|LOAD|MCALL|PTRLD|PTRST|READ|RESUME|RUN|SAVE|WRITE|XOFF|XON)|STGI|CLGI|SKINIT|INVLPGA|MONITOR|MWAIT|XSAVE.*|XRSTOR.*|GETSEC)$/;
/** Instructions that read selectors: which descriptors the host has must not matter. */
export const SELECTORS: RegExp = /^(LAR|LSL|VERR|VERW|RETF|IRET|JMPF|CALLF|LSS|LFS|LGS)$/;

/** Rows of the opcode table that `freshVectors` makes vectors of. */
export function rows64(group: Group | "all" = "all"): number[] {
  const rows: number[] = [];
  for (let row = 1; row < ROW_COUNT; row++) {
    const name = MNEMONIC_NAMES[ROW_MN[row]!]!;
    if (ROW_FLAGS[row]! & I.ROW_NO64 || LIFTERS[ROW_MN[row]!] === undefined || HOST_STATE.test(name)) continue;
    if (group !== "all" && groupOf(row) !== group) continue;
    rows.push(row);
  }
  return rows;
}

const TF_BYTE = 1;
const TF_BIT = 1;
const ID_BYTE = 2;
const ID_BIT = 0x20;

/** Selectors for user mode that every Linux has: 32-bit code, data, 64-bit code; null ones, and those of the kernel. */
const KNOWN = [0x20, 0x23, 0x28, 0x2b, 0x30, 0x33, 0, 3, 8, 0x10, 0x18, 0x40];
const GOOD_CODE = [0x33, 0x33, 0x33, 0x23];
/** Bits of RFLAGS that a return may load: neither TF nor ID, which the tracer would see or keep. */
const RETURN_FLAGS = 0x4cfd7;

/** Gives `v` selectors that lead somewhere. @returns false if it has no place for them */
function knownSelectors(r: Random, name: string, text: string, v: Vector): boolean {
  const word = (at: number, bytes: number, value: number): void => {
    for (let k = 0; k < bytes; k++) v.mem[at + k] = k < 6 ? Math.trunc(value / 2 ** (8 * k)) & 0xff : 0;
  };
  // SS loses the single step with which the host is traced.
  if (/ MOV S,/.test(text) && /\/2/.test(text)) return false;
  if (name === "LSS") return false;
  const inWindow = (at: number, bytes: number): boolean => at >= 0 && at + bytes <= WINDOW_BYTES;
  if (name === "RETF" || name === "IRET") {
    const bytes = v.code.some((byte) => (byte & 0xf8) === 0x48) ? 8 : v.code.includes(0x66) ? 2 : 4;
    const at = Number(v.gpr[4]!) - WINDOW;
    if (!inWindow(at, 5 * bytes)) return false;
    const near = bytes === 2 ? r.below(0x8000) : CODE_PAGE + r.below(0x200);
    const frame = [near, r.pick(r.chance(85) ? GOOD_CODE : KNOWN)];
    if (name === "IRET")
      frame.push((r.u32() & RETURN_FLAGS) | 2, WINDOW + r.below(200), r.chance(85) ? 0x2b : r.pick(KNOWN));
    for (const [n, value] of frame.entries()) word(at + n * bytes, bytes, value);
    return true;
  }
  if (text.includes("POP ")) {
    const at = Number(v.gpr[4]!) - WINDOW;
    if (!inWindow(at, 8)) return false;
    word(at, 2, r.pick(KNOWN));
    return true;
  }
  // Far pointers and selectors in memory: all of the window holds one at every second place.
  const selector = r.pick(KNOWN);
  if (v.code[v.code.length - 1]! >= 0xc0) for (let n = 0; n < 16; n++) if (n !== 4) v.gpr[n] = BigInt(selector);
  if (/MOV S,|LAR|LSL|VERR|VERW|LFS|LGS/.test(text)) for (let at = 0; at < WINDOW_BYTES; at += 2) word(at, 2, selector);
  else return false;
  return true;
}

/** Makes a vector safe for the host and independent of its tables. @returns false if it can't be. */
function adapt(r: Random, row: number, v: Vector): boolean {
  const name = MNEMONIC_NAMES[ROW_MN[row]!]!;
  const text = ROW_TEXT[row]!;
  const selector = SELECTORS.test(name) || / MOV S,|POP [FG]S/.test(text);
  if (selector && r.chance(40) && knownSelectors(r, name, text, v)) return true;
  if (selector) {
    if (r.chance(30)) {
      v.mem.fill(0);
      for (const n of [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]) if (r.chance(50)) v.gpr[n]! &= ~0xffffn;
    }
    // Selectors from 0x100 on are beyond the tables of Linux, and of the core.
    for (let k = 0; k < WINDOW_BYTES; k++) if (v.mem[k] !== 0 || !v.mem.includes(0) || r.chance(100)) v.mem[k]! |= 1;
    const direct = v.code[v.code.length - 1]! >= 0xc0;
    if (direct) for (let n = 0; n < 16; n++) if (n !== 4 && (v.gpr[n]! & 0xfffcn) !== 0n) v.gpr[n]! |= 0x100n;
  }
  // The host would be stepped no more, or a trap flag of the tracer seen.
  // ID, once set, would stay: the tracer can't clear it.
  if (name === "POPF") {
    const at = Number(v.gpr[4]!) - WINDOW;
    v.mem[at + TF_BYTE]! &= ~TF_BIT;
    v.mem[at + ID_BYTE]! &= ~ID_BIT;
  }
  if (name === "INT" && [3, 4, 0x80].includes(v.code[v.code.length - 1]!)) return false;
  if (name.startsWith("FXRSTOR")) v.mem.fill(0, 0, 64);
  return true;
}

/** Takes the trap flag, which the tracing of the host sets, out of what PUSHF stored. */
export function cleanse(v: Vector, out: Outcome): void {
  if (!/ PUSHF\b/.test(v.row) || out.sig !== 0) return;
  const at = Number(out.gpr[4]!) - WINDOW + TF_BYTE;
  if (at >= 0 && at < WINDOW_BYTES) out.mem[at]! &= ~TF_BIT;
}

/** Vectors that share a world, if they do, and if they do so thriftily. */
const SHARING = 128;
const THRIFTY = 1024;

export interface FreshOptions {
  /** Vectors of each row, and of each mnemonic, at least. */
  perRow: number;
  perInstruction: number;
  /** Share most of the state between neighbours, so that the file gets small; `thrift` as World has it. */
  shared: boolean;
  thrift?: number;
}

export function* freshVectors(r: Random, rows: readonly number[], options: FreshOptions): Generator<Vector> {
  let world: World | null = null;
  let made = 0;
  const wanted = rows.map((row) => {
    const alike = rows.filter((other) => ROW_MN[other] === ROW_MN[row]).length;
    return Math.max(options.perRow, Math.ceil(options.perInstruction / alike));
  });
  for (let round = 0; round < Math.max(...wanted, 0); round++)
    for (const [index, row] of rows.entries()) {
      if (round >= wanted[index]!) continue;
      if (options.shared && made++ % (options.thrift ? THRIFTY : SHARING) === 0) world = newWorld(r, options.thrift);
      for (let attempt = 0; attempt < 40; attempt++) {
        const v = generate(r, row, 64, world);
        if (v === null || !adapt(r, row, v)) continue;
        yield v;
        break;
      }
    }
}

const PREFIXES = [0x66, 0x67, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x40, 0x48, 0x4f];
/** Opcodes that mean something in extensions that this core leaves out: what the host makes of them is no matter. */
const EXTENSIONS =
  /^(c4|c5|62|8f|0f01|0f0f|0f2b|0f78|0f79|0fae|0fc7|0f38(c[8-f]|d[b-f]|f[0-9a-f]|8[0-9a-f])|0f3a(df|44|cc|ce|cf)|0f0[de]|0f1[ab e])/;
const ins = new I.Instruction();

function opcodeOf(code: readonly number[]): string {
  let at = 0;
  while (PREFIXES.includes(code[at]!) || (code[at]! & 0xf0) === 0x40) at++;
  return code
    .slice(at, at + 3)
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");
}

/** Code that is no instruction: undefined opcodes, LOCK where it may not stand, more than 15 bytes. */
function invalidCode(r: Random, rows: readonly number[]): { code: Uint8Array; kind: string } | null {
  const kind = r.below(4);
  if (kind === 0) {
    // Undefined opcodes.
    const code: number[] = [];
    for (let n = r.below(3); n > 0; n--) code.push(r.pick(PREFIXES));
    const map = r.below(4);
    if (map > 0) code.push(0x0f);
    if (map > 1) code.push(map === 2 ? 0x38 : 0x3a);
    while (code.length < 15) code.push(r.below(256));
    if (EXTENSIONS.test(opcodeOf(code))) return null;
    return decode(ins, Uint8Array.from(code), 0, 15, 64) === I.DECODE_UD
      ? { code: Uint8Array.from(code), kind: "undefined opcode" }
      : null;
  }
  const row = r.pick(rows);
  const v = generate(r, row, 64);
  // How long UD0 is differs from vendor to vendor. AMD's LOCK MOV CR0 is MOV CR8, its LOCK VERW reads memory first.
  if (v === null || /\bUD[0-2]\b|MOV (C,|Rn,C)|VERW/.test(v.row)) return null;
  if (kind === 3) {
    if (!v.row.startsWith("vex.")) return null;
    const spoiled = spoilVex(r, v.code);
    if (spoiled === null || spoiled.length > 15) return null;
    const code = new Uint8Array(15);
    for (let n = 0; n < 15; n++) code[n] = spoiled[n] ?? r.below(256);
    return decode(ins, code, 0, 15, 64) === I.DECODE_UD ? { code, kind: "VEX spoiled" } : null;
  }
  if (kind === 1) {
    // LOCK with a register destination, or on an instruction that does not take it.
    const code = Uint8Array.from([0xf0, ...v.code]);
    if (code.length > 15) return null;
    return decode(ins, code, 0, code.length, 64) === I.DECODE_UD ? { code, kind: "LOCK misused" } : null;
  }
  const prefix = r.pick([0x26, 0x2e, 0x36, 0x3e]);
  const bytes = 16 + r.below(3);
  const code = Uint8Array.from([...Array.from({ length: bytes - v.code.length }, () => prefix), ...v.code]);
  return { code, kind: "over 15 bytes" };
}

export function* invalidVectors(r: Random, rows: readonly number[], count: number): Generator<Vector> {
  let world = newWorld(r);
  for (let made = 0; made < count; ) {
    const found = invalidCode(r, rows);
    if (found === null) continue;
    if (made++ % SHARING === 0) world = newWorld(r);
    const { gpr, mem } = world;
    yield {
      size: 64,
      code: found.code,
      gpr: [...gpr],
      rflags: 0x202 | (r.u32() & 0x8d5),
      mem: mem.slice(),
      fx: null,
      ymmh: null,
      mask: 0x40ed5,
      row: found.kind,
    };
  }
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** The line of a vector file. */
export function toLine(id: string, v: Vector, out: Outcome): string {
  const gpr: Record<string, string> = {};
  out.gpr.forEach((value, n) => {
    if (value !== v.gpr[n]) gpr[n] = value.toString(16);
  });
  const mem = hex(out.mem);
  const line: Record<string, unknown> = {
    id,
    code: hex(v.code),
    gpr: v.gpr.map((value) => value.toString(16)),
    rflags: v.rflags.toString(16),
    mem: hex(v.mem),
    mask: v.mask.toString(16),
  };
  const after: Record<string, unknown> = {
    sig: out.sig,
    rip: out.rip.toString(16),
    rflags: out.rflags.toString(16),
    gpr,
  };
  if (mem !== line.mem) after.mem = mem;
  if (v.fx !== null) {
    line.fx = hex(v.fx.subarray(0, FX_BYTES));
    // The kernel writes pointers, masks and reserved bytes as it likes; they are not compared.
    const fx = out.fx.slice(0, FX_BYTES);
    fx.set(v.fx.subarray(5, 24), 5);
    fx.set(v.fx.subarray(28, 32), 28);
    if (hex(fx) !== line.fx) after.fx = hex(fx);
  }
  if (v.ymmh !== null) {
    line.ymmh = hex(v.ymmh);
    const ymmh = hex(out.ymmh);
    if (ymmh !== line.ymmh) after.ymmh = ymmh;
  }
  line.out = after;
  return JSON.stringify(line);
}

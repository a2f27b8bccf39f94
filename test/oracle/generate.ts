/** Random vectors from the opcode table: every row in every shape, operands steered into the window most of the time. */
import { decode } from "../../cpu/decode/decoder.ts";
import * as I from "../../cpu/decode/instruction.ts";
import { MNEMONIC_NAMES } from "../../cpu/decode/mnemonics.ts";
import { ROW_COUNT, ROW_FLAGS, ROW_MN, ROW_TEXT } from "../../cpu/decode/table.ts";
import { LIFTERS } from "../../cpu/uops/builder.ts";
import { type CodeSize, startOf, type Vector, WINDOW_BYTES, windowOf } from "./vector.ts";

/** xorshift128+ in 32-bit halves is more than a test needs: this is mulberry32. */
export class Random {
  private state: number;
  constructor(seed: number) {
    this.state = seed >>> 0;
  }
  u32(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }
  below(n: number): number {
    return this.u32() % n;
  }
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }
}

const SPECIAL = [
  0n,
  1n,
  2n,
  7n,
  8n,
  15n,
  16n,
  31n,
  32n,
  33n,
  63n,
  64n,
  65n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  0x100000000n,
  0x7fffffffffffffffn,
  0x8000000000000000n,
  0xffffffffffffffffn,
  0xfffffffffffffffen,
  0xffffffff80000000n,
];

function value(r: Random): bigint {
  if (r.chance(40)) return r.pick(SPECIAL);
  if (r.chance(40)) return BigInt(r.below(256));
  return r.u64();
}

const CF = 0x1;
const PF = 0x4;
const AF = 0x10;
const ZF = 0x40;
const SF = 0x80;
const OF = 0x800;
const ALL = CF | PF | AF | ZF | SF | OF;
/** DF, and RFLAGS bits that only privileged code changes, are compared as well. */
const SYSTEM = 0x400 | 0x200 | 0x40000;

/** Flags that the manual leaves undefined, by mnemonic. Shifts and rotates need their count: see `undefinedFlags`. */
const UNDEFINED: Readonly<Record<string, number>> = {
  AND: AF,
  OR: AF,
  XOR: AF,
  TEST: AF,
  MUL: SF | ZF | AF | PF,
  IMUL: SF | ZF | AF | PF,
  DIV: ALL,
  IDIV: ALL,
  BT: OF | SF | AF | PF,
  BTS: OF | SF | AF | PF,
  BTR: OF | SF | AF | PF,
  BTC: OF | SF | AF | PF,
  BSF: CF | OF | SF | AF | PF,
  BSR: CF | OF | SF | AF | PF,
  LZCNT: OF | SF | AF | PF,
  TZCNT: OF | SF | AF | PF,
  SHLD: AF,
  SHRD: AF,
  SHL: AF,
  SHR: AF,
  SAR: AF,
};

function undefinedFlags(ins: I.Instruction, gpr: readonly bigint[]): number {
  const name = MNEMONIC_NAMES[ins.mn]!;
  let mask = UNDEFINED[name] ?? 0;
  const shift = /^(SHL|SHR|SAR|ROL|ROR|RCL|RCR|SHLD|SHRD)$/.test(name);
  if (!shift) return mask;
  const last = name.length === 4 ? 2 : 1;
  const raw = ins.kind[last] === I.OP_IMM ? ins.immLo & 0xff : Number(gpr[1]! & 0xffn);
  const size = ins.size[0]! * 8;
  const count = raw & (size === 64 ? 63 : 31);
  if (count === 0) return 0;
  if (count !== 1) mask |= OF;
  if ((name === "SHL" || name === "SHR") && count > size) mask |= CF;
  if ((name === "SHL" || name === "SHR") && count === size) mask |= 0;
  if (name.length === 4 && count > size) mask |= ALL;
  return mask;
}

/** Instructions whose result depends on more than the vector says, or that enter the kernel. */
const EXCLUDED =
  /^(SYSCALL|SYSENTER|SYSRET|SYSEXIT|INT|INTO|RDTSC|RDTSCP|RDPMC|RDRAND|RDSEED|CPUID|XGETBV|XSETBV|(RD|WR)[FG]SBASE|S[GIL]DT|SMSW|STR|SLDT|LDS|LES|LFS|LGS|LSS|IRET|CALLF|JMPF|RETF|LAR|LSL|VERR|VERW|PUSHF|POPF|XSAVE.*|XRSTOR.*|FXSAVE.*|FXRSTOR.*|RDPID|RDPKRU|WRPKRU|MONITOR|MWAIT|VM.*|INV.*|STGI|CLGI|SKINIT|GETSEC|XABORT|ENQCMD|PUSH[A-Z]S|POP[A-Z]S|CLZERO|RSM|UD0|UD1|PTWRITE|SWAPGS|HLT|ICEBP|INT1)$/;

interface Shape {
  row: number;
  prefix: string;
  opcode: number[];
  range: boolean;
  digit: number;
  form: "" | "m" | "r";
  modrm: number;
}

function shapeOf(row: number): Shape {
  const tokens = ROW_TEXT[row]!.split(/\s+/);
  let prefix = "";
  if (/^(np|nx|66|f2|f3)$/.test(tokens[0]!)) prefix = tokens.shift()!;
  const opcode: number[] = [];
  let range = false;
  while (/^[0-9a-f]{2}(-[0-9a-f]{2})?$/.test(tokens[0]!)) {
    range = tokens[0]!.includes("-");
    opcode.push(Number.parseInt(tokens.shift()!, 16));
  }
  let digit = -1;
  let form: Shape["form"] = "";
  let modrm = -1;
  if (tokens[0]!.startsWith("/")) {
    const m = /^\/(\d?)([mr]?)$/.exec(tokens.shift()!)!;
    if (m[1] !== "") digit = Number(m[1]);
    form = m[2] as Shape["form"];
  } else if (tokens[0]!.startsWith("=")) modrm = Number.parseInt(tokens.shift()!.slice(1), 16);
  return { row, prefix, opcode, range, digit, form, modrm };
}

/** Rows for `group` in code of `size` bits: integer instructions, or those with x87, MMX and SSE state. */
export function rowsOf(group: "integer" | "fpu", size: CodeSize = 64): number[] {
  const rows: number[] = [];
  for (let row = 1; row < ROW_COUNT; row++) {
    const flags = ROW_FLAGS[row]!;
    const fpu = (flags & (I.ROW_X87 | I.ROW_MMX | I.ROW_SSE)) !== 0;
    if (fpu !== (group === "fpu") || flags & ((size === 64 ? I.ROW_NO64 : I.ROW_ONLY64) | I.ROW_PRIV)) continue;
    if (LIFTERS[ROW_MN[row]!] === undefined) continue;
    if (EXCLUDED.test(MNEMONIC_NAMES[ROW_MN[row]!]!)) continue;
    if (/\b[SCD][a-z]?\b,|,[SCD][wdqy]\b/.test(ROW_TEXT[row]!)) continue;
    rows.push(row);
  }
  return rows;
}

const shapes = new Map<number, Shape>();

function encode(r: Random, row: number, size: CodeSize): Uint8Array {
  let shape = shapes.get(row);
  if (shape === undefined) {
    shape = shapeOf(row);
    shapes.set(row, shape);
  }
  const bytes: number[] = [];
  const mandatory = /^(66|f2|f3)$/.test(shape.prefix);
  if (mandatory) bytes.push(Number.parseInt(shape.prefix, 16));
  else if (shape.prefix !== "np" && r.chance(20)) bytes.push(0x66);
  if (r.chance(5)) bytes.push(0x67);
  if (shape.prefix === "" && ROW_FLAGS[row]! & I.ROW_STRING && r.chance(60)) bytes.push(r.pick([0xf2, 0xf3]));
  if (ROW_FLAGS[row]! & I.ROW_LOCKABLE && r.chance(10)) bytes.push(0xf0);
  if (size === 64 && r.chance(65)) bytes.push(0x40 | r.below(16));
  bytes.push(...shape.opcode);
  if (shape.range) bytes[bytes.length - 1]! |= r.below(8);
  if (shape.modrm >= 0) bytes.push(shape.modrm);
  else if (ROW_FLAGS[row]! & I.ROW_MODRM) {
    let modrm = r.below(256);
    if (shape.digit >= 0) modrm = (modrm & 0xc7) | (shape.digit << 3);
    if (shape.form === "r" || (shape.form === "" && r.chance(35))) modrm |= 0xc0;
    else if (shape.form === "m" && modrm >= 0xc0) modrm &= 0x3f;
    bytes.push(modrm);
  }
  while (bytes.length < 15) bytes.push(r.chance(50) ? r.below(256) : r.below(40));
  return Uint8Array.from(bytes);
}

const ins = new I.Instruction();

/** Sets registers (or patches the displacement) so that the memory operand lies in the window. */
function steer(r: Random, code: Uint8Array, gpr: bigint[], codeSize: CodeSize): void {
  const memory = [0, 1, 2, 3].find((i) => ins.kind[i] === I.OP_MEM);
  if (memory === undefined) return;
  const size = ins.size[memory]!;
  const window = windowOf(codeSize);
  let target = BigInt(window + 16 + r.below(WINDOW_BYTES - 32 - Math.min(size, 128)));
  if (size >= 16 && r.chance(80)) target &= ~15n;
  if (r.chance(3))
    target = r.pick([BigInt(window) + 0x37fcn, 0x8000000000000000n, 0x60000000n, BigInt(window) + 0x37ffn]);
  const disp = BigInt(ins.disp);
  const { base, index } = ins;
  if (base < 16 && base !== index) {
    const part = index < 16 ? gpr[index]! << BigInt(ins.scale) : 0n;
    gpr[base] = BigInt.asUintN(Math.min(codeSize, ins.addrSize * 8), target - disp - part);
    // What is above the address size must not count.
    if (ins.addrSize * 8 < codeSize && r.chance(50)) gpr[base] = gpr[base]! ^ (BigInt(r.u32()) << 32n);
    if (ins.addrSize === 2 && r.chance(50)) gpr[base] = gpr[base]! ^ (BigInt(r.below(0x10000)) << 16n);
    return;
  }
  if (base >= 16) {
    const want = Number(base === I.REG_RIP ? target - startOf(codeSize) - BigInt(ins.length) : target) | 0;
    const bytes = Math.min(ins.addrSize, 4);
    const old = new Uint8Array(Int32Array.of(ins.disp).buffer, 0, bytes);
    for (let at = ins.length - bytes; at > 0; at--)
      if (old.every((b, k) => code[at + k] === b)) {
        code.set(new Uint8Array(Int32Array.of(want).buffer, 0, bytes), at);
        break;
      }
    if (index < 16) gpr[index] = 0n;
  }
}

/** One random vector for opcode-table row `row`, or null where the encoding came out invalid or as another instruction. */
export function generate(r: Random, row: number, size: CodeSize = 64): Vector | null {
  const bytes = encode(r, row, size);
  if (decode(ins, bytes, 0, 15, size) !== I.DECODE_OK || ins.row !== row) return null;
  // AMD's processors take 66 on a near branch as a 16-bit one, Intel's ignore it, and so do we.
  const flags = ROW_FLAGS[row]!;
  // In 32-bit code a conditional one that is not taken leaves EIP whole there, which ours cuts to 16 bits.
  if (size !== 16 && flags & I.ROW_BRANCH && bytes.subarray(0, ins.length).includes(0x66)) return null;
  // A branch to itself would be stepped for ever. The register forms of 0F 0D are #UD on AMD's processors only.
  if (ins.kind[0] === I.OP_REL && ins.immLo === -ins.length) return null;
  if (ins.map === 1 && ins.opcode === 0x0d && ins.kind[0] === I.OP_GPR) return null;
  const code = bytes.slice(0, ins.length);
  const window = windowOf(size);
  const gpr = Array.from({ length: 16 }, (_, n) =>
    size === 64 ? value(r) : n < 8 ? BigInt.asUintN(32, value(r)) : 0n,
  );
  gpr[4] = BigInt(window + 64 + r.below(16) * 8);
  // A 16-bit stack pointer leaves the upper half of ESP alone, and may wrap.
  if (size === 16 && r.chance(50)) gpr[4] |= 0x12340000n;
  if (size === 16 && r.chance(3)) gpr[4] = BigInt(r.below(20));
  if (flags & I.ROW_STRING) {
    gpr[6] = BigInt(window + 64 + r.below(100));
    gpr[7] = BigInt(window + 64 + r.below(100));
    gpr[1] = BigInt(r.below(7));
    if (r.chance(3)) gpr[7] = BigInt(window + 0x37f0);
    if (r.chance(3)) gpr[1] = 30n;
  }
  const name = MNEMONIC_NAMES[ins.mn]!;
  if (name === "XLAT") gpr[3] = BigInt(window);
  if (name.startsWith("MASKMOV")) gpr[7] = BigInt(window + r.below(200));
  if (name === "ENTER" || name === "LEAVE") gpr[5] = BigInt(window + 64 + r.below(100));
  if (/^BT/.test(name) && ins.kind[0] === I.OP_MEM && ins.kind[1] === I.OP_GPR && r.chance(90))
    gpr[ins.reg[1]!] = BigInt.asUintN(size === 64 ? 64 : 32, BigInt(r.below(512) - 256));
  steer(r, code, gpr, size);
  if (/^I?DIV$/.test(name) && r.chance(60)) gpr[2] = r.pick([0n, size === 64 ? 0xffffffffffffffffn : 0xffffffffn, 1n]);
  const mem = Uint8Array.from({ length: WINDOW_BYTES }, () =>
    r.chance(30) ? r.pick([0, 1, 0x7f, 0x80, 0xff]) : r.below(256),
  );
  const rflags = 0x202 | (r.u32() & (ALL | (r.chance(30) ? 0x400 : 0)));
  const fpu = (flags & (I.ROW_X87 | I.ROW_MMX | I.ROW_SSE)) !== 0;
  if (/^SH[LR]D$/.test(name) && ins.size[0] === 2) {
    // More than 16 bits of 16: the result differs between vendors.
    const count = ins.kind[2] === I.OP_IMM ? ins.immLo : Number(gpr[1]! & 0xffn);
    if ((count & 31) > 16) return null;
  }
  const mask = (ALL | SYSTEM) & ~undefinedFlags(ins, gpr);
  return { size, code, gpr, rflags, mem, fx: fpu ? fxImage(r) : null, mask, row: ROW_TEXT[row]! };
}

const F64 = [
  0n,
  1n << 63n,
  0x3ff0000000000000n,
  0xbff0000000000000n,
  0x7ff0000000000000n,
  0xfff0000000000000n,
  0x7ff8000000000000n,
  0x7ff4000000000000n,
  0x000fffffffffffffn,
  0x0010000000000000n,
  0x7fefffffffffffffn,
  1n,
  0x4000000000000000n,
  0x43e0000000000000n,
];

function lane64(r: Random): bigint {
  const kind = r.below(5);
  if (kind === 0) return r.pick(F64);
  if (kind === 1) return (r.u64() & 0x800fffffffffffffn) | (BigInt(1023 - 20 + r.below(60)) << 52n);
  if (kind === 2) return (BigInt(single(r)) << 32n) | BigInt(single(r));
  return r.u64();
}

function single(r: Random): number {
  if (r.chance(30))
    return r.pick([
      0, 0x80000000, 0x3f800000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7fa00000, 0x00800000, 0x7f7fffff, 1, 0x4f000000,
    ]);
  if (r.chance(60)) return ((r.u32() & 0x807fffff) | ((127 - 15 + r.below(40)) << 23)) >>> 0;
  return r.u32();
}

/** A random FXSAVE image (SDM table 10-2): x87 registers with their tags, MXCSR and control word with random rounding and masks. */
function fxImage(r: Random): Uint8Array {
  const fx = new Uint8Array(512);
  const view = new DataView(fx.buffer);
  const masked = r.chance(85);
  view.setUint16(0, 0x40 | (masked ? 0x3f : r.below(64)) | (r.pick([0, 2, 3]) << 8) | (r.below(4) << 10), true);
  view.setUint16(2, (r.below(8) << 11) | (r.u32() & 0x4700), true);
  fx[4] = r.chance(80) ? 0xff : r.below(256);
  view.setUint32(
    24,
    (masked ? 0x1f80 : r.below(64) << 7) |
      (r.below(4) << 13) |
      (r.chance(10) ? 0x8000 : 0) |
      (r.chance(10) ? 0x40 : 0) |
      (r.chance(50) ? 0x20 : 0),
    true,
  );
  view.setUint32(28, 0xffff, true);
  for (let n = 0; n < 8; n++) {
    const at = 32 + n * 16;
    view.setBigUint64(
      at,
      r.chance(80) ? r.u64() | (1n << 63n) : r.pick([0n, 1n << 63n, 0xc000000000000000n, r.u64()]),
      true,
    );
    view.setUint16(
      at + 8,
      (r.chance(70) ? 0x3fff - 30 + r.below(70) : r.pick([0, 0x7fff, 1, 0x7ffe, r.below(0x8000)])) |
        (r.chance(50) ? 0x8000 : 0),
      true,
    );
  }
  for (let n = 0; n < 32; n++) view.setBigUint64(160 + n * 8, lane64(r), true);
  return fx;
}

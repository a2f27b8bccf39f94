/** Random vectors from the opcode table: every row in every shape, operands steered into the window most of the time. */
import { decode } from "../../cpu/decode/decoder.ts";
import * as I from "../../cpu/decode/instruction.ts";
import { MNEMONIC_NAMES } from "../../cpu/decode/mnemonics.ts";
import { ROW_COUNT, ROW_FLAGS, ROW_MN, ROW_TEXT } from "../../cpu/decode/table.ts";
import { LIFTERS } from "../../cpu/uops/builder.ts";
import { ALL, SYSTEM, undefinedFlags } from "./flags.ts";
import { encodeVex, steerVex, upperHalves } from "./generate-vex.ts";
import { hostIsAmd } from "./host.ts";
import type { Random } from "./random.ts";
import { controls, fxImage, mediaControls, setNumbers, setST, setXmm } from "./state.ts";
import { type CodeSize, startOf, type Vector, WINDOW_BYTES, windowOf } from "./vector.ts";

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

/** Instructions whose result depends on more than the vector says, or that enter the kernel. */
const EXCLUDED =
  /^(SYSCALL|SYSENTER|SYSRET|SYSEXIT|INT|INTO|RDTSC|RDTSCP|RDPMC|RDRAND|RDSEED|CPUID|XGETBV|XSETBV|(RD|WR)[FG]SBASE|S[GIL]DT|SMSW|STR|SLDT|LDS|LES|LFS|LGS|LSS|IRET|CALLF|JMPF|RETF|LAR|LSL|VERR|VERW|PUSHF|POPF|XSAVE.*|XRSTOR.*|FXSAVE.*|FXRSTOR.*|RDPID|RDPKRU|WRPKRU|MONITOR|MWAIT|VM(CALL|CLEAR|FUNC|LAUNCH|LOAD|MCALL|PTRLD|PTRST|READ|RESUME|RUN|SAVE|WRITE|XOFF|XON)|INV.*|STGI|CLGI|SKINIT|GETSEC|XABORT|ENQCMD|PUSH[A-Z]S|POP[A-Z]S|CLZERO|RSM|UD0|UD1|PTWRITE|SWAPGS|HLT|ICEBP|INT1)$/;

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
  // One line stands for the sixteen conditions, whose opcodes and rows are consecutive.
  if (ROW_FLAGS[row]! & I.ROW_COND) opcode[opcode.length - 1]! += row - ROW_TEXT.indexOf(ROW_TEXT[row]!);
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

/** What a row is about: integer registers, x87, MMX and SSE state, or it is VEX-encoded. */
export type Group = "integer" | "fpu" | "vex";

export function groupOf(row: number): Group {
  const flags = ROW_FLAGS[row]!;
  if (flags & I.ROW_VEX) return "vex";
  return flags & (I.ROW_X87 | I.ROW_MMX | I.ROW_SSE) ? "fpu" : "integer";
}

/** Rows of `group` in code of `size` bits. */
export function rowsOf(group: Group, size: CodeSize = 64): number[] {
  const rows: number[] = [];
  for (let row = 1; row < ROW_COUNT; row++) {
    const flags = ROW_FLAGS[row]!;
    if (groupOf(row) !== group || flags & ((size === 64 ? I.ROW_NO64 : I.ROW_ONLY64) | I.ROW_PRIV)) continue;
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
ins.amd = hostIsAmd() ? 1 : 0;

/** Sets registers (or patches the displacement) so that the memory operand lies in the window. */
function steer(r: Random, code: Uint8Array, gpr: bigint[], codeSize: CodeSize): void {
  // The address stands in the instruction, all of it.
  if (ins.kind.includes(I.OP_MOFFS) && r.chance(90)) {
    const at = windowOf(codeSize) + r.below(WINDOW_BYTES - 8);
    for (let k = 0; k < ins.addrSize; k++) code[ins.length - ins.addrSize + k] = k < 4 ? (at >>> (8 * k)) & 0xff : 0;
    return;
  }
  const memory = [0, 1, 2, 3].find((i) => ins.kind[i] === I.OP_MEM);
  if (memory === undefined) return;
  const size = ins.size[memory]!;
  const window = windowOf(codeSize);
  let target = BigInt(window + 16 + r.below(WINDOW_BYTES - 32 - Math.min(size, 128)));
  if (size >= 16 && r.chance(80)) target &= size === 32 ? ~31n : ~15n;
  // The header of an FXSAVE image has the processor's MXCSR mask: only what follows lies in the window.
  if (size >= 512) target = BigInt(window - 32 - 16 * r.below(8));
  else if (r.chance(3))
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

/**
 * State that several vectors share but for what their instructions name: a compressed file of such vectors is small; and smaller still
 * with `thrift`, the share in percent of operands that stay as they are.
 */
export interface World {
  thrift: number;
  rflags: number;
  gpr: bigint[];
  mem: Uint8Array;
  fx: Uint8Array;
  ymmh: Uint8Array;
}

function randomMemory(r: Random): Uint8Array {
  return Uint8Array.from({ length: WINDOW_BYTES }, () =>
    r.chance(30) ? r.pick([0, 1, 0x7f, 0x80, 0xff]) : r.below(256),
  );
}

function registers(r: Random, size: CodeSize): bigint[] {
  return Array.from({ length: 16 }, (_, n) => (size === 64 ? value(r) : n < 8 ? BigInt.asUintN(32, value(r)) : 0n));
}

/** New bytes where the memory operand of the instruction lies. */
function refreshOperand(r: Random, mem: Uint8Array, gpr: readonly bigint[], numbers: boolean): void {
  const operand = [0, 1, 2, 3].find((i) => ins.kind[i] === I.OP_MEM);
  if (operand === undefined) return;
  const base = ins.base < 16 ? gpr[ins.base]! : ins.base === I.REG_RIP ? startOf(64) + BigInt(ins.length) : 0n;
  const index = ins.index < 16 ? gpr[ins.index]! << BigInt(ins.scale) : 0n;
  const at = Number(BigInt.asIntN(64, base + index + BigInt(ins.disp) - BigInt(windowOf(64))));
  const bytes = Math.min(ins.size[operand]!, 32);
  if (!(at >= 0 && at + bytes <= WINDOW_BYTES)) return;
  if (numbers && r.chance(80)) setNumbers(r, mem, at, bytes);
  else for (let k = at; k < at + bytes; k++) mem[k] = r.chance(30) ? r.pick([0, 1, 0x7f, 0x80, 0xff]) : r.below(256);
}

export function newWorld(r: Random, thrift = 0): World {
  const gpr = registers(r, 64);
  gpr[4] = BigInt(windowOf(64) + 128);
  return {
    thrift,
    rflags: r.u32() & ALL,
    gpr,
    mem: randomMemory(r),
    fx: fxImage(r),
    ymmh: upperHalves(r, () => fxImage(r)),
  };
}

/** The registers of `world` with new values where the instruction looks. */
function registersOf(r: Random, world: World): bigint[] {
  const gpr = [...world.gpr];
  if (!r.chance(world.thrift)) for (const n of [0, 1, 2]) if (r.chance(40)) gpr[n] = value(r);
  for (let i = 0; i < 4; i++)
    if (ins.kind[i] === I.OP_GPR) gpr[ins.reg[i]! & (ins.reg[i]! >= I.REG_AH ? 3 : 15)] = value(r);
  for (const n of [ins.base, ins.index]) if (n < 16) gpr[n] = value(r);
  return gpr;
}

function imageOf(r: Random, row: number, world: World | null): Uint8Array {
  if (world === null) return fxImage(r);
  const fx = world.fx.slice();
  if (ROW_FLAGS[row]! & (I.ROW_X87 | I.ROW_MMX)) controls(r, fx);
  else if (!r.chance(world.thrift)) mediaControls(r, fx);
  if (ROW_FLAGS[row]! & I.ROW_X87) for (const n of [0, 1]) setST(r, fx, n);
  for (let i = 0; i < 4; i++) {
    const n = ins.reg[i]!;
    if (ins.kind[i] === I.OP_XMM && !r.chance(world.thrift)) setXmm(r, fx, n & 15);
    else if (ins.kind[i] === I.OP_MMX || ins.kind[i] === I.OP_ST) setST(r, fx, n & 7);
  }
  return fx;
}

/** Upper halves, for all that touches them and for some of the instructions that must not. */
function upperHalvesOf(r: Random, row: number, world: World | null): Uint8Array | null {
  const flags = ROW_FLAGS[row]!;
  if (!(flags & I.ROW_AVX) && !(flags & I.ROW_SSE && r.chance(10))) return null;
  // Short vectors only clear the upper half.
  if (world !== null && !(flags & I.ROW_L256) && r.chance(world.thrift)) return null;
  if (world === null) return upperHalves(r, () => fxImage(r));
  const ymmh = world.ymmh.slice();
  const fresh = fxImage(r);
  for (let i = 0; i < 4; i++)
    if (ins.kind[i] === I.OP_XMM && !r.chance(world.thrift)) {
      const at = (ins.reg[i]! & 15) * 16;
      ymmh.set(fresh.subarray(160 + at, 176 + at), at);
    }
  return ymmh;
}

/** One random vector for opcode-table row `row`, or null where the encoding came out invalid or as another instruction. */
export function generate(r: Random, row: number, size: CodeSize = 64, world: World | null = null): Vector | null {
  const bytes = ROW_FLAGS[row]! & I.ROW_VEX ? encodeVex(r, row, size) : encode(r, row, size);
  if (decode(ins, bytes, 0, 15, size) !== I.DECODE_OK || ins.row !== row) return null;
  const flags = ROW_FLAGS[row]!;
  // A branch to itself would be stepped for ever.
  if (ins.kind[0] === I.OP_REL && ins.immLo === -ins.length) return null;
  const code = bytes.slice(0, ins.length);
  const window = windowOf(size);
  const kept = world !== null && r.chance(world.thrift);
  const gpr = world === null ? registers(r, size) : registersOf(r, world);
  gpr[4] = world !== null && kept ? world.gpr[4]! : BigInt(window + 64 + r.below(16) * 8);
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
  if (/^V?MASKMOV(Q|DQU)/.test(name)) gpr[7] = BigInt(window + r.below(200));
  if (name === "ENTER" || name === "LEAVE") gpr[5] = BigInt(window + 64 + r.below(100));
  if (/^BT/.test(name) && ins.kind[0] === I.OP_MEM && ins.kind[1] === I.OP_GPR && r.chance(90))
    gpr[ins.reg[1]!] = BigInt.asUintN(size === 64 ? 64 : 32, BigInt(r.below(512) - 256));
  steer(r, code, gpr, size);
  if (/^I?DIV$/.test(name) && r.chance(60)) gpr[2] = r.pick([0n, size === 64 ? 0xffffffffffffffffn : 0xffffffffn, 1n]);
  const mem = world === null ? randomMemory(r) : world.mem.slice();
  const rflags = 0x202 | (kept ? world.rflags : r.u32() & (ALL | (r.chance(30) ? 0x400 : 0)));
  const fpu = (flags & (I.ROW_X87 | I.ROW_MMX | I.ROW_SSE | I.ROW_AVX)) !== 0 || name.startsWith("FX");
  if (fpu && world === null) setNumbers(r, mem, 0, WINDOW_BYTES);
  if (world !== null && !r.chance(world.thrift)) refreshOperand(r, mem, gpr, fpu);
  if (name === "RET" && size === 64 && r.chance(70)) {
    const at = Number(gpr[4]! - BigInt(window));
    new DataView(mem.buffer).setBigUint64(at, startOf(size) + BigInt(r.below(256)), true);
  }
  // Most values of MXCSR are refused.
  if (/^V?LDMXCSR$/.test(name) && r.chance(80)) for (let at = 0; at < WINDOW_BYTES; at++) if (at % 4 > 1) mem[at] = 0;
  if (/^SH[LR]D$/.test(name) && ins.size[0] === 2) {
    // More than 16 bits of 16: the result differs between vendors.
    const count = ins.kind[2] === I.OP_IMM ? ins.immLo : Number(gpr[1]! & 0xffn);
    if ((count & 31) > 16) return null;
  }
  const mask = (ALL | SYSTEM) & ~undefinedFlags(ins, gpr);
  const fx = fpu ? imageOf(r, row, world) : null;
  const ymmh = fx === null ? null : upperHalvesOf(r, row, world);
  if (fx !== null && flags & I.ROW_AVX) steerVex(r, ins, gpr, fx, ymmh, size);
  return { size, code, gpr, rflags, mem, fx, ymmh, mask, row: ROW_TEXT[row]! };
}

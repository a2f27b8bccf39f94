/**
 * Vectors that no table made: bytes put together as a processor takes them apart, with prefixes in any order and number, REX where
 * it does not count, every opcode of every map, VEX with any fields; registers at the edges of what is mapped and of what is
 * canonical. What the generator of the opcode table can't think of.
 */
import { decode } from "../../cpu/decode/decoder.ts";
import * as I from "../../cpu/decode/instruction.ts";
import { MNEMONIC_NAMES } from "../../cpu/decode/mnemonics.ts";
import { ROW_FLAGS, ROW_TEXT } from "../../cpu/decode/table.ts";
import { LIFTERS } from "../../cpu/uops/builder.ts";
import { ALL, SYSTEM, undefinedFlags } from "./flags.ts";
import { HOST_STATE, SELECTORS } from "./fresh.ts";
import { steerVex, upperHalves, EXTENSIONS as VEX_EXTENSIONS } from "./generate-vex.ts";
import { hostIsAmd } from "./host.ts";
import type { Random } from "./random.ts";
import { fxImage, setNumbers } from "./state.ts";
import { DATA, DATA_BYTES, type Vector, WINDOW, WINDOW_BYTES } from "./vector.ts";

const CODE_START = 0x40000100n;
const LEGACY = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x66, 0x67, 0xf2, 0xf3];
/** Opcodes with extensions that this core leaves out: that the rest of their encodings is undefined here says nothing. */
const LEFT_OUT = /^(62|8f|c[45]|0f(0[01]|0[def]|1[89a-f]|2b|78|79|a[26]|ae|b9|c7|ff|38(8|c|d|f)|3a(44|cc|ce|cf|df)))/;

/** Byte of the FXSAVE image with MXCSR.MM. */
const MM_BYTE = 26;

const EDGES: readonly bigint[] = [
  BigInt(DATA),
  BigInt(DATA + DATA_BYTES),
  BigInt(DATA + 0x1000),
  BigInt(DATA + 0x2000),
  BigInt(WINDOW),
  BigInt(WINDOW + WINDOW_BYTES),
  0x40000000n,
  CODE_START,
  0x40001000n,
  0x800000000000n,
  0xffff800000000000n,
  0x100000000n,
  0x80000000n,
  0n,
  1n << 63n,
];

function register(r: Random): bigint {
  const kind = r.below(10);
  if (kind < 3) return BigInt(WINDOW + r.below(WINDOW_BYTES));
  if (kind < 5) return BigInt.asUintN(64, r.pick(EDGES) + BigInt(r.below(80) - 40));
  if (kind < 7) return BigInt.asUintN(64, BigInt(r.below(600) - 300));
  if (kind < 8) return BigInt.asUintN(64, (1n << BigInt(r.below(64))) - BigInt(r.below(3)));
  return kind < 9 ? BigInt(r.u32()) : r.u64();
}

function tail(r: Random, bytes: number[]): void {
  while (bytes.length < 15)
    bytes.push(
      r.chance(40) ? r.below(256) : r.pick([0, 1, 2, 3, 4, 5, 7, 8, 0x0f, 0x10, 0x7f, 0x80, 0xff, 0x24, 0x25, 0xc0]),
    );
}

function legacyCode(r: Random): number[] {
  const bytes: number[] = [];
  const wild = r.chance(25);
  for (let n = wild ? r.below(9) : r.below(3); n > 0; n--) {
    bytes.push(r.pick(LEGACY));
    // A REX prefix before another prefix does not count.
    if (wild && r.chance(15)) bytes.push(0x40 | r.below(16));
  }
  if (r.chance(6)) bytes.splice(r.below(bytes.length + 1), 0, 0xf0);
  if (r.chance(60)) bytes.push(0x40 | r.below(16));
  const map = r.below(20);
  if (map >= 7) bytes.push(0x0f);
  if (map >= 16) bytes.push(map >= 18 ? 0x3a : 0x38);
  bytes.push(r.below(256));
  return bytes;
}

function vexCode(r: Random): number[] {
  const bytes: number[] = [];
  for (let n = r.chance(10) ? 1 + r.below(3) : 0; n > 0; n--) bytes.push(r.pick([0x26, 0x2e, 0x36, 0x3e, 0x67]));
  if (r.chance(3)) bytes.push(r.pick([0x66, 0xf2, 0xf3, 0xf0, 0x40 | r.below(16)]));
  const vvvv = r.chance(50) ? 15 : r.below(16);
  const last = (r.chance(30) ? 0x80 : 0) | (vvvv << 3) | r.below(8);
  const map = r.pick([1, 1, 2, 2, 3, 3, r.below(32)]);
  const opcode = r.below(256);
  if (VEX_EXTENSIONS.test(map.toString(16) + opcode.toString(16).padStart(2, "0"))) return [];
  if (map === 1 && r.chance(50)) bytes.push(0xc5, last);
  else bytes.push(0xc4, (r.below(8) << 5) | map, last);
  bytes.push(opcode);
  return bytes;
}

const ins = new I.Instruction();
ins.amd = hostIsAmd() ? 1 : 0;

/** Where the memory operand shall lie: mostly in the window, else at an edge. */
function target(r: Random, size: number): bigint {
  if (r.chance(70)) {
    const room = Math.max(1, WINDOW_BYTES - 8 - size);
    const at = BigInt(WINDOW + r.below(room));
    return r.chance(50) ? at & ~31n : at;
  }
  return BigInt.asUintN(64, r.pick(EDGES) + BigInt(r.below(2 * size + 2) - size - 1));
}

function steer(r: Random, code: Uint8Array, gpr: bigint[]): void {
  const memory = [0, 1, 2, 3].find((n) => ins.kind[n] === I.OP_MEM);
  if (memory === undefined) return;
  const size = Math.min(ins.size[memory]!, 64);
  const want = target(r, size);
  const { base, index } = ins;
  const scaled = index < 16 ? BigInt.asIntN(64, gpr[index]!) << BigInt(ins.scale) : 0n;
  if (base < 16 && base !== index) {
    if (base === 4 && r.chance(80)) return;
    gpr[base] = BigInt.asUintN(ins.addrSize * 8, want - BigInt(ins.disp) - scaled);
    if (ins.addrSize === 4 && r.chance(50)) gpr[base]! ^= BigInt(r.u32()) << 32n;
  } else if (base === I.REG_RIP) {
    const disp = Number(BigInt.asIntN(32, want - CODE_START - BigInt(ins.length)));
    // The displacement stands before the immediate, whose size is what is left.
    const old = new Uint8Array(Int32Array.of(ins.disp).buffer);
    for (let at = ins.length - 4; at > 0; at--)
      if (old.every((byte, k) => code[at + k] === byte)) {
        code.set(new Uint8Array(Int32Array.of(disp).buffer), at);
        break;
      }
  } else if (index < 16 && base >= 16) gpr[index] = BigInt.asUintN(64, (want - BigInt(ins.disp)) >> BigInt(ins.scale));
}

function wildFx(r: Random): Uint8Array {
  const fx = fxImage(r);
  const view = new DataView(fx.buffer);
  if (r.chance(30)) view.setUint16(0, r.u32() & 0xf7f, true);
  if (r.chance(20)) view.setUint16(2, r.u32(), true);
  if (r.chance(20)) fx[4] = r.u32();
  if (r.chance(40)) view.setUint32(24, (r.u32() & 0xffff) | (r.chance(70) ? 0x1f80 : 0), true);
  if (hostIsAmd() && r.chance(10)) fx[MM_BYTE]! |= 2;
  return fx;
}

function skipped(name: string, text: string): boolean {
  return (
    HOST_STATE.test(name) || SELECTORS.test(name) || / MOV S,|POP [FG]S|MOV (C,|Rn,C)/.test(text) || name === "VERW"
  );
}

/** The opcode without its prefixes, in hex, and a byte behind it. */
function opcodeOf(code: Uint8Array): string {
  let at = 0;
  while (at < 14 && (LEGACY.includes(code[at]!) || code[at] === 0xf0 || (code[at]! & 0xf0) === 0x40)) at++;
  return Buffer.from(code.subarray(at, at + 3)).toString("hex");
}

/** `count` vectors, with VEX prefixes among them if the host knows those. */
export function* wildVectors(r: Random, count: number, withVex: boolean): Generator<Vector> {
  for (let made = 0; made < count; ) {
    const v = wildVector(r, withVex && r.chance(25));
    if (v === null) continue;
    made++;
    yield v;
  }
}

/** One vector, or null where the bytes are of no use. */
function wildVector(r: Random, vex: boolean): Vector | null {
  const bytes = vex ? vexCode(r) : legacyCode(r);
  if (bytes.length === 0) return null;
  tail(r, bytes);
  const whole = Uint8Array.from(bytes.slice(0, 15));
  const status = decode(ins, whole, 0, 15, 64);
  const known = status === I.DECODE_OK && LIFTERS[ins.mn] !== undefined;
  const name = known ? MNEMONIC_NAMES[ins.mn]! : "";
  const text = known ? ROW_TEXT[ins.row]! : "";
  if (known && skipped(name, text)) return null;
  if (!known && !vex && LEFT_OUT.test(opcodeOf(whole))) return null;
  if (known && name === "INT" && [3, 4, 0x80].includes(ins.immLo & 0xff)) return null;
  if (known && ins.kind[0] === I.OP_REL && ins.immLo === -ins.length) return null;
  const code = known ? whole.slice(0, ins.length) : whole;
  const gpr = Array.from({ length: 16 }, () => register(r));
  const string = known && (ROW_FLAGS[ins.row]! & I.ROW_STRING) !== 0;
  if (!r.chance(8)) gpr[4] = BigInt(WINDOW + 64 + r.below(128));
  if (string) {
    if (r.chance(80)) gpr[6] = BigInt(WINDOW + 64 + r.below(100));
    if (r.chance(80)) gpr[7] = BigInt(WINDOW + 64 + r.below(100));
    const high = ins.addrSize === 4 && r.chance(50) ? BigInt(r.u32()) << 32n : 0n;
    gpr[1] = BigInt(r.pick([0, 1, 2, 3, 5, 7, 20, 100, 3000])) | high;
    if (gpr[1] > 5000n && ins.addrSize === 8) gpr[1] = 3n;
  }
  if (/^MASKMOV|^VMASKMOVDQU/.test(name)) gpr[7] = BigInt(WINDOW + r.below(200));
  if (name === "XLAT" && r.chance(70)) gpr[3] = BigInt(WINDOW + r.below(100) - 50);
  if ((name === "ENTER" || name === "LEAVE") && r.chance(80)) gpr[5] = BigInt(WINDOW + 128 + r.below(100));
  if (known) steer(r, code, gpr);
  if (
    /^BT/.test(name) &&
    ins.kind[0] === I.OP_MEM &&
    ins.kind[1] === I.OP_GPR &&
    ins.reg[1] !== ins.base &&
    r.chance(80)
  )
    gpr[ins.reg[1]! & 15] = BigInt.asUintN(64, BigInt(r.below(2000) - 1000));
  const mem = Uint8Array.from({ length: WINDOW_BYTES }, () =>
    r.chance(30) ? r.pick([0, 1, 0x7f, 0x80, 0xff]) : r.below(256),
  );
  const fpu =
    vex ||
    (known && (ROW_FLAGS[ins.row]! & (I.ROW_X87 | I.ROW_MMX | I.ROW_SSE | I.ROW_AVX)) !== 0) ||
    name.startsWith("FX");
  if (fpu && r.chance(70)) setNumbers(r, mem, 0, WINDOW_BYTES);
  if (name.startsWith("FXRSTOR")) mem.fill(0, 0, 64);
  if (name === "POPF") {
    // Neither a trap flag nor ID: the tracer would see the one, and can't clear the other.
    const at = Number(BigInt.asIntN(64, gpr[4]! - BigInt(WINDOW)));
    if (at + 1 >= 0 && at + 1 < WINDOW_BYTES) mem[at + 1]! &= ~1;
    if (at + 2 >= 0 && at + 2 < WINDOW_BYTES) mem[at + 2]! &= ~0x20;
  }
  if (/^SH[LR]D$/.test(name) && ins.size[0] === 2) {
    const count = ins.kind[2] === I.OP_IMM ? ins.immLo : Number(gpr[1]! & 0xffn);
    if ((count & 31) > 16) return null;
  }
  let rflags = 0x202 | (r.u32() & ALL);
  if (r.chance(30)) rflags |= 0x400;
  if (r.chance(15)) rflags |= 0x40000;
  const fx = fpu || r.chance(3) ? wildFx(r) : null;
  // In misaligned SSE mode these read eight bytes of sixteen.
  if (fx !== null && /^(P?UNPCKL|PS[LR][LA])/.test(name)) fx[MM_BYTE]! &= ~2;
  const ymmh = fx !== null && (vex || r.chance(20)) ? upperHalves(r, () => fxImage(r)) : null;
  if (known && vex && fx !== null) steerVex(r, ins, gpr, fx, ymmh, 64);
  const mask = (ALL | SYSTEM) & ~(known ? undefinedFlags(ins, gpr) : 0);
  return { size: 64, code, gpr, rflags, mem, fx, ymmh, mask, row: known ? text : "undefined" };
}

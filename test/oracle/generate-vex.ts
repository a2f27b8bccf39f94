/** Encodings and operands of VEX-encoded instructions. */
import * as I from "../../cpu/decode/instruction.ts";
import { MNEMONIC_NAMES } from "../../cpu/decode/mnemonics.ts";
import { ROW_FLAGS, ROW_TEXT } from "../../cpu/decode/table.ts";
import type { Random } from "./random.ts";
import { type CodeSize, WINDOW_BYTES, windowOf, YMMH_BYTES } from "./vector.ts";

const MAPS: Readonly<Record<string, number>> = { "0f": 1, "0f38": 2, "0f3a": 3 };
const PREFIXES: Readonly<Record<string, number>> = { np: 0, "66": 1, f3: 2, f2: 3 };

/** A random encoding of `row`; most of those that are not of the row's form come out invalid, and are thrown away by the caller. */
export function encodeVex(r: Random, row: number, size: CodeSize): Uint8Array {
  const flags = ROW_FLAGS[row]!;
  const tokens = ROW_TEXT[row]!.split(/\s+/);
  const [, length, prefix, map, w] = tokens[0]!.split(".") as [string, string, string, string, string];
  const opcode = Number.parseInt(tokens[1]!, 16);
  const modrmToken = /^\/(\d?)([mr]?)$/.exec(tokens[2]!);
  const l = length === "lig" ? r.below(2) : flags & I.ROW_L256 ? 1 : 0;
  const wide = w === "w1" ? 1 : w === "w0" || w === "w0y" ? 0 : r.below(2);
  const vvvv = flags & I.ROW_NO_VVVV ? 15 : size === 64 ? r.below(16) : 8 | r.below(8);
  const last = (vvvv << 3) | (l << 2) | PREFIXES[prefix]!;
  const registers = size === 64 ? r.below(8) : 7;
  const bytes: number[] = [];
  if (r.chance(5)) bytes.push(0x67);
  // Elsewhere than in 64-bit mode CS holds what the host and the core fill differently.
  if (r.chance(3)) bytes.push(r.pick(size === 64 ? [0x26, 0x2e, 0x36, 0x3e] : [0x26, 0x36, 0x3e]));
  if (map === "0f" && wide === 0 && (registers & 3) === 3 && r.chance(70))
    bytes.push(0xc5, ((registers & 4) << 5) | last);
  else bytes.push(0xc4, (registers << 5) | MAPS[map]!, (wide << 7) | last);
  bytes.push(opcode);
  if (flags & I.ROW_MODRM) {
    let modrm = r.below(256);
    if (modrmToken !== null && modrmToken[1] !== "") modrm = (modrm & 0xc7) | (Number(modrmToken[1]) << 3);
    if (r.chance(40)) modrm |= 0xc0;
    if (flags & I.ROW_VSIB) modrm = (modrm & 0x38) | r.pick([0x04, 0x44, 0x84]);
    bytes.push(modrm);
  }
  while (bytes.length < 15) bytes.push(r.chance(50) ? r.below(256) : r.below(40));
  return Uint8Array.from(bytes);
}

/** Word `k` of vector register `n` of 32 bytes, as low and upper halves lie apart; without `ymmh` there are 16 bytes. */
function setWord(fx: Uint8Array, ymmh: Uint8Array | null, n: number, k: number, value: number): void {
  const half = k < 4 ? fx.subarray(160 + n * 16) : ymmh?.subarray(n * 16);
  if (half !== undefined) new DataView(half.buffer, half.byteOffset).setInt32((k & 3) * 4, value, true);
}

/** Signs of the elements of a mask register: about half are set, sometimes none or all. */
function setMask(r: Random, fx: Uint8Array, ymmh: Uint8Array | null, n: number): void {
  const share = r.pick([0, 30, 50, 50, 80, 100]);
  for (let k = 0; k < 8; k++) setWord(fx, ymmh, n, k, r.chance(share) ? r.u32() | 0x80000000 : r.u32() & 0x7fffffff);
}

/** Masks of masked moves, masks and indices of gathers: so that most elements, but not all, lie in the window. */
export function steerVex(
  r: Random,
  ins: I.Instruction,
  gpr: bigint[],
  fx: Uint8Array,
  ymmh: Uint8Array | null,
  size: CodeSize,
): void {
  const name = MNEMONIC_NAMES[ins.mn]!;
  if (/^VP?MASKMOV[PDQ]/.test(name)) setMask(r, fx, ymmh, ins.reg[1]!);
  if ((ROW_FLAGS[ins.row]! & I.ROW_VSIB) === 0) return;
  setMask(r, fx, ymmh, ins.reg[2]!);
  const wideIndex = /GATHERQ/.test(name);
  const wild = r.chance(25);
  const scale = 1 << ins.scale;
  for (let k = 0; k < 8; k++) {
    const high = wideIndex && (k & 1) === 1;
    let index = Math.trunc((r.below(WINDOW_BYTES - 96) - 32) / scale);
    if (wild && r.chance(20)) index = r.u32() | 0;
    setWord(fx, ymmh, ins.index, k, high ? (wild && r.chance(10) ? 1 : lastSign < 0 ? -1 : 0) : index);
    lastSign = index;
  }
  const target = BigInt(windowOf(size) + 48 + r.below(32)) - BigInt(ins.disp);
  if (ins.base < 16) gpr[ins.base] = BigInt.asUintN(Math.min(size, ins.addrSize * 8), target);
}
let lastSign = 0;

/** Random upper halves: what the instruction's kind of numbers is does not matter for most, so they come from `fx` images. */
export function upperHalves(r: Random, image: () => Uint8Array): Uint8Array {
  if (r.chance(10)) return new Uint8Array(YMMH_BYTES);
  return image().slice(160, 160 + YMMH_BYTES);
}

/** VEX opcodes, by map and opcode, of extensions that this core leaves out: what the host makes of them is no matter. */
export const EXTENSIONS: RegExp =
  /^(1(4[1-9ab]|9[0-389])|2(4[9b]|5[0-3ce]|72|b[0145]|c[b-f]|d[2-3a-f]|e.)|3(3[0-3]|4[489]|5[c-f]|6[89a-f]|7[89a-f]|c[ef]|de))/;

/**
 * A VEX-encoded instruction made invalid: LOCK, 66, F2, F3 or REX before it, or changed fields of the prefix, or another opcode. Most
 * come out valid: the caller throws those away. `code` is that of a valid one.
 */
export function spoilVex(r: Random, code: Uint8Array): Uint8Array | null {
  if (r.chance(30)) return Uint8Array.from([r.pick([0xf0, 0x66, 0xf2, 0xf3, 0x40 | r.below(16)]), ...code]);
  const spoiled = code.slice();
  const at = spoiled.findIndex((byte) => byte === 0xc4 || byte === 0xc5);
  const three = spoiled[at] === 0xc4;
  const opcode = at + (three ? 3 : 2);
  if (r.chance(70)) spoiled[opcode - 1]! ^= 1 << r.below(8);
  else if (three && r.chance(30)) spoiled[at + 1] = (spoiled[at + 1]! & 0xe0) | r.below(32);
  else spoiled[opcode] = r.below(256);
  const map = three ? spoiled[at + 1]! & 31 : 1;
  return EXTENSIONS.test(map.toString(16) + spoiled[opcode]!.toString(16).padStart(2, "0")) ? null : spoiled;
}

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
  if (r.chance(3)) bytes.push(r.pick([0x26, 0x2e, 0x36, 0x3e]));
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

/** Word `k` of vector register `n` of 32 bytes, as low and upper halves lie apart. */
function setWord(fx: Uint8Array, ymmh: Uint8Array, n: number, k: number, value: number): void {
  const to =
    k < 4 ? new DataView(fx.buffer, fx.byteOffset + 160 + n * 16) : new DataView(ymmh.buffer, ymmh.byteOffset + n * 16);
  to.setInt32((k & 3) * 4, value, true);
}

/** Signs of the elements of a mask register: about half are set, sometimes none or all. */
function setMask(r: Random, fx: Uint8Array, ymmh: Uint8Array, n: number): void {
  const share = r.pick([0, 30, 50, 50, 80, 100]);
  for (let k = 0; k < 8; k++) setWord(fx, ymmh, n, k, r.chance(share) ? r.u32() | 0x80000000 : r.u32() & 0x7fffffff);
}

/** Masks of masked moves, masks and indices of gathers: so that most elements, but not all, lie in the window. */
export function steerVex(
  r: Random,
  ins: I.Instruction,
  gpr: bigint[],
  fx: Uint8Array,
  ymmh: Uint8Array,
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

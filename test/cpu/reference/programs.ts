/** Random machine code for engines to agree on: fast-check arbitraries that shrink to short programs. */
import fc from "fast-check";
import { decode } from "../../../cpu/decode/decoder.ts";
import { format } from "../../../cpu/decode/disasm.ts";
import { DECODE_OK, Instruction, ROW_MODRM, ROW_NO_VVVV, ROW_PRIV, ROW_SOLO } from "../../../cpu/decode/instruction.ts";
import {
  DISPATCH,
  GROUPS,
  ROW_FEATURE,
  ROW_FLAGS,
  VEX_DISPATCH,
  VEX_L,
  VEX_LONG,
  VEX_W,
} from "../../../cpu/decode/table.ts";
import type { BareOptions } from "../../support/bare-core.ts";
import { CODE, DATA, DATA_BYTES } from "../../support/bare-core.ts";

type Bits = 16 | 32 | 64;

/** One instruction before its bytes are known. */
interface Recipe {
  opcode: number;
  prefix: number;
  rex: number;
  modrm: number;
  /** How the memory operand is addressed. */
  address: number;
  /** Where it points. */
  place: number;
  offset: number;
  tail: readonly number[];
}

/** An opcode, and a ModRM byte whose reg field it needs, or -1. */
interface Form {
  code: number;
  reg: number;
}

/**
 * All forms of a variant: (map << 10) | (prefix column << 8) | opcode. Opcodes of sixteen conditions or eight registers
 * count once or twice; integer forms several times.
 */
function forms(variant: number): Form[] {
  const list: Form[] = [];
  for (let at = 0; at < 0x1000; at++) {
    const row = DISPATCH[(variant << 12) | at]!;
    const map = at >> 10;
    const opcode = at & 255;
    if (row === 0 || (map === 0 && AVOIDED.has(opcode))) continue;
    // Escapes of x87, and columns that repeat the row without a prefix.
    if (
      (map === 0 && opcode >= 0xd8 && opcode <= 0xdf && opcode !== 0xd9) ||
      ((at >> 8) & 2 && map === 0 && opcode < 0xa0)
    )
      continue;
    if (row > 0) for (let n = 0; n < weight(map, opcode, row); n++) list.push({ code: at, reg: -1 });
    else
      for (let reg = 0; reg < 8; reg++) {
        const rows = [GROUPS[((-1 - row) << 8) | (reg << 3)]!, GROUPS[((-1 - row) << 8) | (reg << 3) | 0xc0]!];
        if (rows.some((r) => r !== 0))
          for (let n = 0; n < weight(map, opcode, Math.max(...rows)); n++) list.push({ code: at, reg });
      }
  }
  return list;
}

function weight(map: number, opcode: number, row: number): number {
  if (ROW_FEATURE[row] !== 0) return 1;
  if (
    map === 0 &&
    ((opcode >= 0x40 && opcode < 0x60) || (opcode >= 0x70 && opcode < 0x80) || (opcode >= 0x90 && opcode < 0x98))
  )
    return 1;
  if (map === 0 && (opcode === 0xc3 || opcode === 0xe8 || opcode === 0xe9)) return 1;
  if (map === 1 && ((opcode >= 0x40 && opcode < 0x50) || (opcode >= 0x80 && opcode < 0xa0) || opcode >= 0xc8)) return 1;
  return opcode < 0x40 && map === 0 ? 2 : 4;
}
/** Opcodes that lead nowhere useful: far transfers of control and returns to what the stack holds. */
const AVOIDED: ReadonlySet<number> = new Set([0xc2, 0xca, 0xcb, 0xcf, 0x9a, 0xea, 0xf4, 0xcc, 0xcd, 0xf1]);
const OPCODES = { 16: forms(0), 32: forms(0), 64: forms(1) } as const;
const PREFIXES = [[], [0x66], [0xf3], [0xf2]];

const recipe: fc.Arbitrary<Recipe> = fc.record({
  opcode: fc.nat(0xffff),
  prefix: fc.nat(63),
  /** 32 and up: REX.W. */
  rex: fc.nat(47),
  modrm: fc.nat(255),
  address: fc.nat(15),
  place: fc.nat(15),
  offset: fc.nat(0x3fff),
  tail: fc.array(fc.nat(255), { minLength: 8, maxLength: 8 }),
});

const ins = new Instruction();

/** Linear address of a memory operand: mostly plain data, sometimes a page end, a special page, or the code. */
function target(r: Recipe, codeBytes: number): number {
  const page = r.offset >> 12;
  switch (r.place) {
    case 0:
      return DATA + page * 0x1000 + 0x1000 - (r.offset & 15);
    case 1:
      return DATA + 3 * 0x1000 + 0x1000 - (r.offset & 15);
    case 2:
      return DATA + (4 + page) * 0x1000 + (r.offset & 0xfff);
    case 3:
      return DATA + 7 * 0x1000 + ((r.offset & 0xfff) % Math.max(codeBytes, 64));
    case 4:
      return CODE + (r.offset % Math.max(codeBytes, 64));
    case 5:
      return DATA + (r.offset & ~15);
    default:
      return DATA + r.offset;
  }
}

/** Forms of 64-bit code that need no helper, so that blocks of them can be translated. */
const PLAIN: readonly Form[] = OPCODES[64].filter(({ code, reg }) => {
  const [map, opcode] = [code >> 10, code & 255];
  if (map > 1 || ((code >> 8) & 2) !== 0) return false;
  if (map === 1) return (opcode & 0xf0) === 0x40 || (opcode & 0xe0) === 0x80 || (opcode >= 0xb6 && opcode <= 0xbf);
  if (opcode === 0xf6 || opcode === 0xf7) return reg < 6;
  if (opcode >= 0xc0 && opcode <= 0xd3) return (opcode <= 0xc1 || opcode >= 0xd0) && (reg < 2 || reg > 3);
  return opcode < 0x40 || (opcode & 0xf0) === 0x70 || (opcode >= 0x80 && opcode < 0x8c) || (opcode & 0xf0) === 0xb0;
});

/** VEX-encoded forms: (variant << 12) | (prefix column << 10) | (map << 8) | opcode, in 64-bit mode and outside. */
const VEX_FORMS = [0, VEX_LONG].map((long) =>
  Array.from({ length: VEX_LONG << 12 }, (_, n) => n | (long << 12)).filter((n) => VEX_DISPATCH[n] !== 0),
) as [number[], number[]];

/** A VEX prefix, opcode and ModRM: registers and vvvv by the recipe, memory as elsewhere. */
function encodeVex(r: Recipe, bits: Bits, at: number, codeBytes: number): number[] {
  const list = VEX_FORMS[bits === 64 ? 1 : 0];
  const form = list[r.opcode % list.length]!;
  const group = VEX_DISPATCH[form]!;
  const row = group > 0 ? group : GROUPS[((-1 - group) << 8) | r.modrm]!;
  const vvvv = ROW_FLAGS[row]! & ROW_NO_VVVV ? 15 : bits === 64 ? r.tail[7]! & 15 : 8 | (r.tail[7]! & 7);
  const w = (form >> 12) & VEX_W ? 0x80 : 0;
  const l = (form >> 12) & VEX_L ? 4 : 0;
  const registers = bits === 64 ? (r.rex & 7) << 5 : 0xe0;
  const out = [0xc4, registers | ((form >> 8) & 3), w | (vvvv << 3) | l | ((form >> 10) & 3), form & 255];
  return operand(r, out, r.modrm, bits, at, codeBytes);
}

function encode(r: Recipe, bits: Bits, at: number, codeBytes: number, plain: boolean): number[] {
  if (bits !== 16 && r.prefix >= 48 && r.prefix < 56) return encodeVex(r, bits, at, codeBytes);
  const list = plain ? PLAIN : OPCODES[bits];
  const { code, reg: digit } = list[r.opcode % list.length]!;
  const opcode = code & 255;
  const out: number[] = [];
  if (r.prefix === 60) out.push(0xf0);
  if (r.prefix === 61) out.push(0x67);
  if (r.prefix === 62) out.push(0x64);
  out.push(...PREFIXES[(code >> 8) & 3]!);
  if (bits === 64 && r.rex > 15) out.push(r.rex < 32 ? 0x40 | (r.rex & 15) : 0x48);
  const map = code >> 10;
  if (map > 0) out.push(0x0f);
  if (map === 2) out.push(0x38);
  if (map === 3) out.push(0x3a);
  out.push(opcode);
  // Branches go a few bytes on.
  if (map === 0 && ((opcode & 0xf0) === 0x70 || (opcode >= 0xe0 && opcode <= 0xe3) || opcode === 0xeb))
    return [...out, r.tail[0]! & 15];
  if ((map === 1 && (opcode & 0xf0) === 0x80) || (map === 0 && (opcode === 0xe8 || opcode === 0xe9)))
    return bits === 16 ? [...out, r.tail[0]! & 15, 0] : [...out, r.tail[0]! & 15, 0, 0, 0];
  const row = DISPATCH[((bits === 64 ? 1 : 0) << 12) | code]!;
  const hasModrm = row < 0 || (ROW_FLAGS[row]! & ROW_MODRM) !== 0;
  if (!hasModrm) return [...out, ...r.tail];
  let modrm = digit < 0 ? r.modrm : (r.modrm & 0xc7) | (digit << 3);
  // FF /2../5 are indirect calls and jumps.
  if (map === 0 && opcode === 0xff && digit >= 2 && digit < 6) modrm &= 0xc7;
  return operand(r, out, modrm, bits, at, codeBytes);
}

/** `out` with ModRM, and what follows it. */
function operand(r: Recipe, out: number[], modrm: number, bits: Bits, at: number, codeBytes: number): number[] {
  if ((r.modrm & 0xc0) === 0xc0) return [...out, modrm, ...r.tail];
  const reg = modrm & 0x38;
  const where = target(r, codeBytes);
  if (r.address < 11) {
    if (bits === 16) {
      const offset = (where - DATA) & 0xffff;
      return [...out, reg | 6, offset & 255, offset >> 8, ...r.tail];
    }
    const head = [...out, reg | 5];
    const full = Uint8Array.from([...head, 0, 0, 0, 0, ...r.tail]);
    const status = decode(ins, full, 0, full.length, bits);
    const length = status === DECODE_OK ? ins.length : full.length;
    const disp = bits === 64 ? where - (at + length) : where;
    return [...head, disp & 255, (disp >> 8) & 255, (disp >> 16) & 255, (disp >> 24) & 255, ...r.tail];
  }
  return [...out, modrm, ...r.tail];
}

/** Exact bytes of the instruction that `raw` begins with, or null if it may not be part of a program. */
function accept(raw: readonly number[], bits: Bits, privileged: boolean): number[] | null {
  const status = decode(ins, Uint8Array.from(raw), 0, raw.length, bits);
  if (status !== DECODE_OK) return raw.slice(0, 3);
  const flags = ROW_FLAGS[ins.row]!;
  if (privileged && flags & (ROW_PRIV | ROW_SOLO)) return null;
  return raw.slice(0, ins.length);
}

export interface Program {
  bits: Bits;
  code: Uint8Array;
  /** Offsets of the instructions in `code`; the last is its length. */
  starts: number[];
  options: BareOptions;
  slice: number;
  text: string;
}

const U64 = fc.oneof(
  fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  fc.constantFrom(0n, 1n, 0x7fn, 0x80n, 0xffn, 0x7fffn, 0x8000n, 0xffffn, 0x7fffffffn, 0x80000000n, 0xffffffffn),
  fc.constantFrom((1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n),
  fc.nat(DATA_BYTES - 1).map((n) => BigInt(DATA + n)),
  fc.nat(40).map((n) => BigInt(n)),
);

/** rSI, rDI point at data, rSP at the stack, the others anywhere. */
const registers = fc.tuple(fc.array(U64, { minLength: 16, maxLength: 16 }), fc.nat(0x3fff), fc.nat(0x3fff));

/** @param plain only instructions without helpers, on plain data: what the translator takes */
export function programs(bits: Bits, cpl: 0 | 3, maxLength: number, plain = false): fc.Arbitrary<Program> {
  return fc
    .record({
      recipes: fc.array(recipe, { minLength: 1, maxLength, size: "max" }),
      registers,
      flags: fc.nat(0xfff),
      vectors: fc.uint8Array({ minLength: 256, maxLength: 256 }),
      start: fc.constantFrom(0, 0, 200, 0xff0, 0xffb),
      slice: fc.constantFrom(1, 3, 17, 100_000),
    })
    .map(({ recipes, registers: [values, si, di], flags, vectors, start, slice }) => {
      const code: number[] = [];
      const starts: number[] = [];
      const base = (bits === 16 ? 0 : CODE) + start;
      for (const r of recipes) {
        const tame = plain ? { ...r, place: 5 + (r.place & 7), address: 0, prefix: 0 } : r;
        const raw = encode(tame, bits, CODE + start + code.length, start + recipes.length * 4, plain);
        const exact = accept(raw, bits, bits !== 64 || cpl === 0);
        if (exact === null) continue;
        starts.push(code.length);
        code.push(...exact);
      }
      // The end jumps back to the beginning, so that what is executed becomes warm.
      starts.push(code.length);
      const back = -(code.length + (bits === 16 ? 3 : 5));
      code.push(0xe9, back & 255, (back >> 8) & 255);
      if (bits !== 16) code.push((back >> 16) & 255, (back >> 24) & 255);
      code.push(0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x0f, 0x0b);
      const bytes = Uint8Array.from(code);
      const gpr = [...values];
      const top = bits === 16 ? 0x1000n : 0x31000n;
      gpr[4] = top;
      gpr[6] = BigInt((bits === 16 ? 0 : DATA) + si);
      gpr[7] = BigInt((bits === 16 ? 0 : DATA) + di);
      return {
        bits,
        code: bytes,
        starts,
        slice,
        options: {
          bits,
          cpl,
          registers: bits === 64 ? gpr : gpr.map((v) => v & 0xffffffffn),
          flags: flags & 0xcd5,
          vectors,
          avx: bits !== 16,
        },
        text: listing(bytes, starts, bits, base),
      };
    });
}

export function listing(code: Uint8Array, starts: readonly number[], bits: Bits, base: number): string {
  return starts
    .map((at) => {
      const status = decode(ins, code, at, code.length, bits);
      const text = status === DECODE_OK ? format(ins, BigInt(base + at)) : `(status ${status})`;
      const length = status === DECODE_OK ? ins.length : 3;
      const hex = [...code.subarray(at, at + length)].map((b) => b.toString(16).padStart(2, "0")).join(" ");
      return `${(base + at).toString(16)}  ${hex.padEnd(36)} ${text}`;
    })
    .join("\n");
}

// Compiles the opcode tables, at module start, into the typed arrays that the decoder and its readers index.

import * as I from "./instruction.ts";
import { MNEMONIC_NAMES } from "./mnemonics.ts";
import { INTEGER_ROWS } from "./table-integer.ts";
import { SSE_ROWS } from "./table-sse.ts";
import { SSE4_ROWS } from "./table-sse4.ts";
import { SYSTEM_ROWS } from "./table-system.ts";
import { TWO_BYTE_ROWS } from "./table-two-byte.ts";
import { VEX_ROWS } from "./table-vex.ts";
import { X87_ROWS } from "./table-x87.ts";

// How an operand is encoded (low five bits of ROW_OPERANDS; the size class is in the bits above).
export const ENC_NONE = 0;
export const ENC_E = 1;
export const ENC_G = 2;
export const ENC_Z = 3;
export const ENC_V = 4;
export const ENC_W = 5;
export const ENC_P = 6;
export const ENC_Q = 7;
export const ENC_S = 8;
export const ENC_C = 9;
export const ENC_D = 10;
export const ENC_T = 11;
export const ENC_I = 12;
export const ENC_IS = 13;
export const ENC_I2 = 14;
export const ENC_J = 15;
export const ENC_A = 16;
export const ENC_O = 17;
export const ENC_X = 18;
export const ENC_Y = 19;
/** A fixed general, segment, ST or XMM register, or the value 1: kind and register in ROW_FIXED. */
export const ENC_FIXED = 20;
export const ENC_ONE = 21;
/** VEX.vvvv: vector and general register; bits 7..4 of a byte behind the instruction: vector register. */
export const ENC_H = 22;
export const ENC_B = 23;
export const ENC_L = 24;
export const ENC_SHIFT = 5;
export const ENC_MASK = 31;

/** Operand size letters; a size class is an index here. */
const SIZE_NAMES = [
  "",
  "b",
  "w",
  "d",
  "q",
  "t",
  "x",
  "v",
  "z",
  "y",
  "n",
  "p",
  "s",
  "a",
  "vw",
  "dw",
  "db",
  "e",
  "f",
  "o",
  "qq",
];
/** Size class by its letters. */
export const SIZE_CLASS: ReadonlyMap<string, number> = new Map(SIZE_NAMES.map((name, i) => [name, i]));
const FIXED_BYTES: ReadonlyMap<string, number> = new Map([
  ["", 0],
  ["b", 1],
  ["w", 2],
  ["d", 4],
  ["q", 8],
  ["t", 10],
  ["x", 16],
  ["o", 512],
  ["qq", 32],
]);

/**
 * Bytes of an operand: index (class << 4) | (register form << 3) | (64-bit mode << 2) | log2(operand size).
 * An operand in memory has the register-form bit clear.
 */
export const SIZE_BYTES: Uint16Array = new Uint16Array(SIZE_NAMES.length << 4);

function bytesOf(name: string, register: boolean, long: boolean, opSize: number): number {
  switch (name) {
    case "v":
      return opSize;
    case "z":
      return Math.min(opSize, 4);
    case "y":
      return opSize === 8 ? 8 : 4;
    case "n":
      return long ? 8 : 4;
    case "p":
      return opSize + 2;
    case "s":
      return long ? 10 : 6;
    case "a":
      return opSize * 2;
    case "vw":
      return register ? opSize : 2;
    case "dw":
      return register ? 4 : 2;
    case "db":
      return register ? 4 : 1;
    case "e":
      return opSize === 2 ? 14 : 28;
    case "f":
      return opSize === 2 ? 94 : 108;
    default:
      return FIXED_BYTES.get(name)!;
  }
}

for (const [name, sizeClass] of SIZE_CLASS) {
  for (let i = 0; i < 16; i++) {
    SIZE_BYTES[(sizeClass << 4) | i] = bytesOf(name, (i & 8) !== 0, (i & 4) !== 0, 1 << (i & 3));
  }
}

const ENCODINGS: Readonly<Record<string, number>> = {
  E: ENC_E,
  M: ENC_E,
  R: ENC_E,
  G: ENC_G,
  Z: ENC_Z,
  V: ENC_V,
  W: ENC_W,
  U: ENC_W,
  P: ENC_P,
  Q: ENC_Q,
  N: ENC_Q,
  S: ENC_S,
  C: ENC_C,
  D: ENC_D,
  T: ENC_T,
  I: ENC_I,
  J: ENC_J,
  A: ENC_A,
  O: ENC_O,
  X: ENC_X,
  Y: ENC_Y,
  H: ENC_H,
  B: ENC_B,
  L: ENC_L,
};

/** Fixed operands: kind, register, size class name. */
const FIXED: Readonly<Record<string, readonly [number, number, string]>> = {
  AL: [I.OP_GPR, I.REG_AX, "b"],
  CL: [I.OP_GPR, I.REG_CX, "b"],
  AX: [I.OP_GPR, I.REG_AX, "w"],
  DX: [I.OP_GPR, I.REG_DX, "w"],
  rAX: [I.OP_GPR, I.REG_AX, "v"],
  eAX: [I.OP_GPR, I.REG_AX, "z"],
  ES: [I.OP_SREG, I.SEG_ES, "w"],
  CS: [I.OP_SREG, I.SEG_CS, "w"],
  SS: [I.OP_SREG, I.SEG_SS, "w"],
  DS: [I.OP_SREG, I.SEG_DS, "w"],
  FS: [I.OP_SREG, I.SEG_FS, "w"],
  GS: [I.OP_SREG, I.SEG_GS, "w"],
  ST0: [I.OP_ST, 0, "t"],
  XMM0: [I.OP_XMM, 0, "x"],
};

const ATTRIBUTES: Readonly<Record<string, number>> = {
  lock: I.ROW_LOCKABLE,
  wo: I.ROW_WRITE0,
  ro: 0,
  solo: I.ROW_SOLO,
  branch: I.ROW_BRANCH,
  priv: I.ROW_PRIV,
  iopl: I.ROW_IOPL,
  prot: I.ROW_PROT,
  string: I.ROW_STRING,
  repz: I.ROW_REPZ,
  shadow: I.ROW_SHADOW,
  d64: I.ROW_DEFAULT64,
  f64: I.ROW_FORCE64,
  no64: I.ROW_NO64,
  only64: I.ROW_ONLY64,
  w0: 0,
  w1: 0,
  unal: 0,
  rw: 0,
  al: I.ROW_ALIGN16,
  avx: I.ROW_AVX,
  vsib: I.ROW_VSIB,
  sse: I.ROW_SSE,
  nomod: I.ROW_NOMOD,
};

/** Name of each FEATURE_ number. */
export const FEATURE_NAMES: readonly string[] = Object.entries(I)
  .filter(([name]) => name.startsWith("FEATURE_"))
  .sort((a, b) => Number(a[1]) - Number(b[1]))
  .map(([name]) => name.slice("FEATURE_".length));
const FEATURE_NUMBER: ReadonlyMap<string, number> = new Map(FEATURE_NAMES.map((name, i) => [name, i]));

const MNEMONIC_NUMBER: ReadonlyMap<string, number> = new Map(MNEMONIC_NAMES.map((name, i) => [name, i]));

const CONDITIONS = ["O", "NO", "B", "AE", "E", "NE", "BE", "A", "S", "NS", "P", "NP", "L", "GE", "LE", "G"];

/** Variants of the dispatch table: outside 64-bit mode, in it without REX.W, in it with REX.W. */
export const VARIANT_LEGACY = 0;
export const VARIANT_LONG = 1;
export const VARIANT_LONG_W = 2;

/** Which prefix columns of the dispatch table a prefix token covers: 0 none, 1 66, 2 F3, 3 F2. */
const PREFIX_COLUMNS: Readonly<Record<string, readonly number[]>> = {
  np: [0],
  nx: [0, 1],
  "66": [1],
  f3: [2],
  f2: [3],
};
const ALL_COLUMNS = [0, 1, 2, 3];

/** One row while the tables are compiled. */
interface Row {
  readonly line: string;
  readonly mn: number;
  readonly map: number;
  readonly first: number;
  readonly last: number;
  readonly columns: readonly number[];
  /** True if a prefix is part of the opcode, so the row beats one that takes any prefix. */
  readonly explicit: boolean;
  readonly digit: number;
  /** 0 both forms, 1 memory only, 2 register only. */
  readonly form: number;
  readonly exactModrm: number;
  readonly flags: number;
  readonly feature: number;
  /** VARIANT_ numbers that the row is valid in; of a VEX row VEX_LONG, VEX_L and VEX_W, put together. */
  readonly variants: readonly number[];
  readonly operands: readonly string[];
}

function fail(line: string, why: string): never {
  throw new Error(`opcode table: ${why}: ${line}`);
}

/** Bits of a VEX row's variants, which are those of the index into VEX_DISPATCH. */
export const VEX_W = 1;
export const VEX_L = 2;
export const VEX_LONG = 4;

/** Sizes in VEX rows that depend on the length of vectors: for 16 and for 32 bytes. */
const VEX_SIZES: Readonly<Record<string, readonly [string, string]>> = {
  x: ["x", "qq"],
  h: ["q", "x"],
  h4: ["d", "q"],
  h8: ["w", "d"],
  dq: ["x", "x"],
};

/** The variants of a VEX row by its LENGTH and W, and whether it is for 64-bit mode only. */
function vexVariants(line: string, length: string, w: string, only64: boolean): number[] {
  const variants: number[] = [];
  for (let variant = 0; variant < 8; variant++) {
    const long = (variant & VEX_LONG) !== 0;
    const wide = (variant & VEX_W) !== 0;
    const l = (variant & VEX_L) !== 0;
    if (only64 && !long) continue;
    if ((length === "128" && l) || (length === "256" && !l)) continue;
    if (w === "w0" ? wide : w === "w1" ? !wide : w === "w0y" ? wide && long : w !== "wig" && w !== "wy") continue;
    variants.push(variant);
  }
  return variants.length === 0 ? fail(line, "bad VEX fields") : variants;
}

const VEX_MAPS: Readonly<Record<string, string>> = { "0f": "0f", "0f38": "0f 38", "0f3a": "0f 3a" };

/** A VEX line as the row that a line without VEX would make of the rest of it, one for each length. */
function parseVexLine(line: string, feature: number): Row[] {
  const [fields, ...rest] = line.split(/\s+/) as [string, ...string[]];
  const [, length, prefix, map, w] = fields.split(".") as [string, string, string, string, string];
  if (length === "x")
    return ["128", "256"].flatMap((each) => parseVexLine(line.replace("vex.x.", `vex.${each}.`), feature));
  const wide = length === "256" ? 1 : 0;
  const operandsAt = rest.findIndex((token) => /^[A-Z][a-z0-9]/.test(token));
  const operands = operandsAt < 0 ? [] : rest[operandsAt]!.split(",");
  const sized = operands.map((operand) => operand[0] + (VEX_SIZES[operand.slice(1)]?.[wide] ?? operand.slice(1)));
  if (operandsAt >= 0) rest[operandsAt] = sized.join(",");
  const rw = rest.includes("rw") || rest.includes("ro");
  const text = [prefix, VEX_MAPS[map] ?? fail(line, "bad VEX map"), ...rest, rw ? "" : "wo"].join(" ").trim();
  const [row] = parseLine(text, feature) as [Row];
  let flags = (row.flags & ~(I.ROW_SSE | I.ROW_ALIGN16 | I.ROW_MANDATORY66 | I.ROW_MANDATORY_REP)) | I.ROW_VEX;
  if (operands.some((operand) => "VWUHL".includes(operand[0]!))) flags |= I.ROW_AVX;
  if (rest.includes("al")) flags |= I.ROW_ALIGN16;
  if (wide) flags |= I.ROW_L256;
  if (!operands.some((operand) => "HB".includes(operand[0]!))) flags |= I.ROW_NO_VVVV;
  return [{ ...row, line, flags, variants: vexVariants(line, length, w, rest.includes("only64")) }];
}

function parseLine(line: string, feature: number): Row[] {
  if (line.startsWith("vex.")) return parseVexLine(line, feature);
  const tokens = line.split(/\s+/);
  let at = 0;
  const prefix = PREFIX_COLUMNS[tokens[at]!] === undefined ? undefined : tokens[at++]!;
  let map = 0;
  if (tokens[at] === "0f") {
    at++;
    map = 1;
    if (tokens[at] === "38" || tokens[at] === "3a") map = tokens[at++] === "38" ? 2 : 3;
  }
  const [first, last] = tokens[at++]!.split("-").map((byte) => Number.parseInt(byte, 16)) as [number, number?];
  let digit = -1;
  let form = 0;
  let exactModrm = -1;
  let modrm = false;
  if (tokens[at]!.startsWith("/")) {
    const match = /^\/([0-7]?)([mr]?)$/.exec(tokens[at++]!) ?? fail(line, "bad ModRM token");
    digit = match[1] === "" ? -1 : Number(match[1]);
    form = match[2] === "m" ? 1 : match[2] === "r" ? 2 : 0;
    modrm = true;
  } else if (tokens[at]!.startsWith("=")) {
    exactModrm = Number.parseInt(tokens[at++]!.slice(1), 16);
    modrm = true;
  }
  const name = tokens[at++]!;
  const operands: string[] = [];
  const attributes: string[] = [];
  for (const token of tokens.slice(at)) {
    if (ATTRIBUTES[token] === undefined) operands.push(...token.split(","));
    else attributes.push(token);
  }

  let flags = 0;
  for (const attribute of attributes) flags |= ATTRIBUTES[attribute]!;
  for (const operand of operands) {
    if (FIXED[operand] !== undefined || operand === "1") {
      if (operand === "AL") flags |= I.ROW_BYTE;
      if (operand === "XMM0") flags |= I.ROW_SSE;
      continue;
    }
    const letter = operand[0]!;
    if ("EGMRVWUPQNSCDT".includes(letter)) modrm = true;
    if (letter === "M") form = 1;
    if ("RUN".includes(letter) && !attributes.includes("nomod")) form = 2;
    if ("VWU".includes(letter)) flags |= I.ROW_SSE;
    if ("PQN".includes(letter)) flags |= I.ROW_MMX;
    if ("WM".includes(letter) && operand[1] === "x" && !attributes.includes("unal")) flags |= I.ROW_ALIGN16;
    if (operand === "Xb" || (operand === operands[0] && /^[EGZY]b$/.test(operand))) flags |= I.ROW_BYTE;
  }
  if ((flags & I.ROW_SSE) === 0) flags &= ~I.ROW_ALIGN16;
  if (modrm) flags |= I.ROW_MODRM;
  if (map === 0 && first >= 0xd8 && first <= 0xdf) flags |= I.ROW_X87;
  if (name === "EMMS") flags |= I.ROW_MMX;
  const destination = operands[0];
  const writable = destination !== undefined && (FIXED[destination] !== undefined || !"IJA1".includes(destination[0]!));
  if (writable && !attributes.includes("wo") && !attributes.includes("ro")) flags |= I.ROW_RW0;
  if (prefix === "66") flags |= I.ROW_MANDATORY66;
  if (prefix === "f2" || prefix === "f3") flags |= I.ROW_MANDATORY_REP;

  const variants: number[] = [];
  if (!attributes.includes("only64")) variants.push(VARIANT_LEGACY);
  if (!attributes.includes("no64")) {
    if (!attributes.includes("w1")) variants.push(VARIANT_LONG);
    if (!attributes.includes("w0")) variants.push(VARIANT_LONG_W);
  }
  if (attributes.includes("w1")) variants.splice(0, variants[0] === VARIANT_LEGACY ? 1 : 0);
  const make = (mnemonic: string, from: number, to: number, extra: number): Row => {
    const mn = MNEMONIC_NUMBER.get(mnemonic) ?? fail(line, `no mnemonic ${mnemonic}`);
    const columns = prefix === undefined ? ALL_COLUMNS : PREFIX_COLUMNS[prefix]!;
    return {
      line,
      mn,
      map,
      first: from,
      last: to,
      columns,
      explicit: prefix !== undefined,
      digit,
      form,
      exactModrm,
      flags: flags | extra,
      feature,
      variants,
      operands,
    };
  };
  if (name.endsWith("cc"))
    return CONDITIONS.map((cc, i) => make(name.slice(0, -2) + cc, first + i, first + i, I.ROW_COND));
  return [make(name, first, last ?? first, 0)];
}

/** Row 0 is no instruction: what invalid encodings decode to. */
const INVALID: Row = {
  line: "",
  mn: 0,
  map: 0,
  first: 0,
  last: -1,
  columns: [],
  explicit: false,
  digit: -1,
  form: 0,
  exactModrm: -1,
  flags: 0,
  feature: I.FEATURE_BASE,
  variants: [],
  operands: [],
};

function parseTables(): Row[] {
  const rows = [INVALID];
  let feature = I.FEATURE_BASE;
  const text = [INTEGER_ROWS, TWO_BYTE_ROWS, SYSTEM_ROWS, X87_ROWS, SSE_ROWS, SSE4_ROWS, VEX_ROWS].join("\n");
  for (const raw of text.split("\n")) {
    const line = raw.trim();
    if (line === "") continue;
    if (line.startsWith("@")) {
      feature = FEATURE_NUMBER.get(line.slice(1)) ?? fail(line, "no such feature");
      continue;
    }
    rows.push(...parseLine(line, feature));
  }
  return rows;
}

const rows: readonly Row[] = parseTables();
const NARROWNESS: Uint8Array = Uint8Array.from(rows, narrowness);

/** Rows in the table; rows are numbered 0 (invalid) .. ROW_COUNT - 1. */
export const ROW_COUNT: number = rows.length;
/** Mnemonic of each row. */
export const ROW_MN: Uint16Array = new Uint16Array(ROW_COUNT);
/** ROW_ bits of each row. */
export const ROW_FLAGS: Int32Array = new Int32Array(ROW_COUNT);
/** CPUID feature that each row needs, FEATURE_ number. */
export const ROW_FEATURE: Uint8Array = new Uint8Array(ROW_COUNT);
/** The table line of each row, for messages and tests. */
export const ROW_TEXT: readonly string[] = rows.map((row) => row.line);
/** Encoding | size class << ENC_SHIFT of operand i of a row, at row * 4 + i. */
export const ROW_OPERANDS: Uint16Array = new Uint16Array(ROW_COUNT * I.MAX_OPERANDS);
/** kind << 8 | register of an ENC_FIXED operand, at row * 4 + i. */
export const ROW_FIXED: Uint16Array = new Uint16Array(ROW_COUNT * I.MAX_OPERANDS);

function compileOperand(row: Row, text: string, at: number): void {
  const fixed = FIXED[text];
  let encoding: number;
  let sizeName: string;
  if (fixed !== undefined) {
    encoding = ENC_FIXED;
    ROW_FIXED[at] = (fixed[0] << 8) | fixed[1];
    sizeName = fixed[2];
  } else if (text === "1") {
    encoding = ENC_ONE;
    sizeName = "b";
  } else if (text === "Is" || text === "I2b") {
    encoding = text === "Is" ? ENC_IS : ENC_I2;
    sizeName = "b";
  } else {
    encoding = ENCODINGS[text[0]!] ?? fail(row.line, `bad operand ${text}`);
    sizeName = text.slice(1);
    if (encoding === ENC_S) sizeName = "w";
    if (encoding === ENC_C || encoding === ENC_D) sizeName = "n";
    if (encoding === ENC_T) sizeName = "t";
    if (encoding === ENC_P && sizeName === "") sizeName = "q";
  }
  const sizeClass = SIZE_CLASS.get(sizeName) ?? fail(row.line, `bad operand size ${text}`);
  ROW_OPERANDS[at] = encoding | (sizeClass << ENC_SHIFT);
}

rows.forEach((row, i) => {
  ROW_MN[i] = row.mn;
  ROW_FLAGS[i] = row.flags;
  ROW_FEATURE[i] = row.feature;
  if (row.operands.length > I.MAX_OPERANDS) fail(row.line, "too many operands");
  row.operands.forEach((operand, k) => {
    compileOperand(row, operand, i * I.MAX_OPERANDS + k);
  });
});

/**
 * (variant << 12) | (map << 10) | (prefix column << 8) | opcode -> a row, or -1 - group for a look at ModRM in GROUPS.
 * Prefix columns: 0 none, 1 66, 2 F3, 3 F2.
 */
export const DISPATCH: Int16Array = new Int16Array(3 << 12);
/**
 * The same of VEX prefixes: ((VEX_LONG | VEX_L | VEX_W) << 12) | (prefix column << 10) | (map << 8) | opcode. The columns, in the
 * order of VEX.pp: 0 none, 1 66, 2 F3, 3 F2.
 */
export const VEX_DISPATCH: Int16Array = new Int16Array(8 << 12);
/** How narrowly a row names its encoding; the narrowest match wins, and two equal ones are an error in the table. */
function narrowness(row: Row): number {
  return (
    (row.exactModrm >= 0 ? 4 : 0) +
    (row.digit >= 0 ? 2 : 0) +
    (row.form !== 0 ? 1 : 0) +
    (row.columns.length === 1 ? 16 : row.columns.length === 2 ? 8 : 0)
  );
}

/** The one row for an opcode that needs no look at ModRM. */
function narrowest(candidates: readonly number[]): number {
  const [best, next] = candidates.toSorted((a, b) => NARROWNESS[b]! - NARROWNESS[a]!);
  if (next !== undefined && NARROWNESS[best!] === NARROWNESS[next]) conflict(best!, next);
  return best!;
}

function conflict(a: number, b: number): never {
  fail(rows[a]!.line, `the same encoding as ${rows[b]!.line}`);
}

/** Writes the row into every ModRM value that it covers; wider rows have been written before. */
function cover(table: Uint16Array, i: number): void {
  const row = rows[i]!;
  const own = NARROWNESS[i]!;
  const write = (modrm: number): void => {
    if (table[modrm] !== 0 && NARROWNESS[table[modrm]!] === own) conflict(i, table[modrm]!);
    table[modrm] = i;
  };
  if (row.exactModrm >= 0) {
    write(row.exactModrm);
    return;
  }
  for (let mod = row.form === 2 ? 3 : 0; mod < (row.form === 1 ? 3 : 4); mod++) {
    for (let reg = Math.max(row.digit, 0); reg < (row.digit >= 0 ? row.digit + 1 : 8); reg++) {
      for (let rm = 0; rm < 8; rm++) write((mod << 6) | (reg << 3) | rm);
    }
  }
}

/** True if the row is one of several under its opcode byte, told apart by ModRM. */
function looksAtModrm(row: Row): boolean {
  return row.form !== 0 || row.digit >= 0 || row.exactModrm >= 0;
}

/** Fills DISPATCH and VEX_DISPATCH and returns GROUPS. */
function buildDispatch(): Uint16Array {
  const byOpcode: number[][] = [];
  const vexByOpcode: number[][] = [];
  for (let i = 1; i < rows.length; i++) {
    const row = rows[i]!;
    const list = row.flags & I.ROW_VEX ? vexByOpcode : byOpcode;
    for (let opcode = row.first; opcode <= row.last; opcode++) (list[(row.map << 8) | opcode] ??= []).push(i);
  }
  const groups = new Map<string, number>();
  const tables: Uint16Array[] = [];
  const cell = (candidates: readonly number[]): number => {
    if (candidates.length === 0) return 0;
    if (!candidates.some((i) => looksAtModrm(rows[i]!))) return narrowest(candidates);
    const name = candidates.join();
    let group = groups.get(name);
    if (group === undefined) {
      group = tables.length;
      groups.set(name, group);
      const table = new Uint16Array(256);
      for (const i of candidates.toSorted((a, b) => NARROWNESS[a]! - NARROWNESS[b]!)) cover(table, i);
      tables.push(table);
    }
    return -1 - group;
  };
  byOpcode.forEach((all, mapOpcode) => {
    const base = ((mapOpcode >> 8) << 10) | (mapOpcode & 255);
    const only = all.length === 1 ? rows[all[0]!]! : INVALID;
    if (only !== INVALID && !looksAtModrm(only)) {
      for (const variant of only.variants)
        for (const column of only.columns) DISPATCH[(variant << 12) | base | (column << 8)] = all[0]!;
      return;
    }
    for (let variant = 0; variant < 3; variant++) {
      const valid = all.filter((i) => rows[i]!.variants.includes(variant));
      if (valid.length === 0) continue;
      const anyPrefix = valid.every((i) => !rows[i]!.explicit);
      let value = anyPrefix ? cell(valid) : 0;
      for (let column = 0; column < 4; column++) {
        if (!anyPrefix) value = cell(valid.filter((i) => rows[i]!.columns.includes(column)));
        DISPATCH[(variant << 12) | base | (column << 8)] = value;
      }
    }
  });
  vexByOpcode.forEach((all, mapOpcode) => {
    for (let variant = 0; variant < 8; variant++)
      for (let column = 0; column < 4; column++) {
        const valid = all.filter((i) => rows[i]!.variants.includes(variant) && rows[i]!.columns.includes(column));
        VEX_DISPATCH[(variant << 12) | (column << 10) | mapOpcode] = cell(valid);
      }
  });
  const all = new Uint16Array(tables.length << 8);
  tables.forEach((table, group) => {
    all.set(table, group << 8);
  });
  return all;
}

/** Row by (group << 8) | ModRM. */
export const GROUPS: Uint16Array = buildDispatch();

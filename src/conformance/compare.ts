/** What is compared of a vector, and how exactly. */
import { bytesToHexArray, bytesToHexString } from "typed-array-utils";
import { decode } from "../../cpu/decode/decoder.ts";
import { DECODE_OK, Instruction, OP_ST, ROW_BRANCH } from "../../cpu/decode/instruction.ts";
import { MNEMONIC_NAMES } from "../../cpu/decode/mnemonics.ts";
import { ROW_FLAGS } from "../../cpu/decode/table.ts";
import { LIFTERS } from "../../cpu/uops/builder.ts";
import { FX_BYTES, type State, type Vector, YMMH_BYTES } from "./vector.ts";

export const REGISTERS: readonly string[] = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split(" ");

/** The mnemonics under which encodings that are no instruction here are counted. */
export const UNDEFINED = "(undefined)";
const VEX = "(VEX)";
const EVEX = "(EVEX)";

const FX_SKIP = 0;
const FX_EXACT = 1;
/** Bytes of an FXSAVE image that are compared: not the pointers (6..23), MXCSR_MASK, nor what is reserved. */
const FX_RULE: Uint8Array = new Uint8Array(FX_BYTES).fill(FX_EXACT);
FX_RULE.fill(FX_SKIP, 5, 24);
FX_RULE.fill(FX_SKIP, 28, 32);
for (let n = 0; n < 8; n++) FX_RULE.fill(FX_SKIP, 42 + n * 16, 48 + n * 16);

/** Results within one unit in the last place of the 64-bit significand; C1 says which way it was rounded. */
const TRANSCENDENTAL: ReadonlySet<string> = new Set([
  "F2XM1",
  "FYL2X",
  "FYL2XP1",
  "FPTAN",
  "FPATAN",
  "FSIN",
  "FCOS",
  "FSINCOS",
]);
const C1 = 0x02;
/** Approximations, with a relative error of 1.5 * 2^-12 at most. */
const APPROXIMATE: ReadonlySet<string> = new Set(
  ["RCPPS", "RCPSS", "RSQRTPS", "RSQRTSS"].flatMap((name) => [name, `V${name}`]),
);
const APPROXIMATE_ERROR = 1.5 * 2 ** -12;

const EXACT = 0;
const LAST_PLACE = 1;
const RELATIVE = 2;
/** How the result of each mnemonic is compared. */
const PRECISION: Uint8Array = Uint8Array.from(MNEMONIC_NAMES, (name) =>
  TRANSCENDENTAL.has(name) ? LAST_PLACE : APPROXIMATE.has(name) ? RELATIVE : EXACT,
);
const CALL: number = MNEMONIC_NAMES.indexOf("CALL");

export interface Difference {
  /** `rax`, `flags`, `st0`, ... */
  what: string;
  expected: string;
  found: string;
}

/** The instruction that the last `judge` was about. */
const ins = new Instruction();

function prefixed(code: Uint8Array): string {
  let at = 0;
  while (at < 15 && /^(26|2e|36|3e|64|65|66|67|f0|f2|f3)$/.test(code[at]!.toString(16))) at++;
  const opcode = code[at]!;
  return opcode === 0xc4 || opcode === 0xc5 ? VEX : opcode === 0x62 ? EVEX : UNDEFINED;
}

/** Decodes the code of `v`. @returns the instruction's mnemonic, or a name in brackets if this core has none. */
export function mnemonicOf(v: Vector): string {
  const known = decode(ins, v.code, 0, v.code.length, 64) === DECODE_OK && LIFTERS[ins.mn] !== undefined;
  if (known) return MNEMONIC_NAMES[ins.mn]!;
  ins.mn = 0;
  return prefixed(v.code);
}

/** 1-ulp equality of 80-bit values at `at`. */
function nearlyEqual(a: Uint8Array, b: Uint8Array, at: number): boolean {
  const ordinal = (bytes: Uint8Array): bigint => {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const top = view.getUint16(at + 8, true);
    // Consecutive numbers for consecutive values: the integer bit adds nothing to the exponent.
    const magnitude = (BigInt(top & 0x7fff) << 63n) | (view.getBigUint64(at, true) & 0x7fffffffffffffffn);
    return top & 0x8000 ? -magnitude : magnitude;
  };
  const distance = ordinal(a) - ordinal(b);
  return distance >= -1n && distance <= 1n;
}

/** Equality of the four single-precision lanes at `at` but for the error of an approximation. */
function roughlyEqual(a: Uint8Array, b: Uint8Array, at: number): boolean {
  const x = new DataView(a.buffer, a.byteOffset);
  const y = new DataView(b.buffer, b.byteOffset);
  for (let lane = at; lane < at + 16; lane += 4) {
    if (x.getUint32(lane, true) === y.getUint32(lane, true)) continue;
    const want = x.getFloat32(lane, true);
    const error = Math.abs(y.getFloat32(lane, true) - want);
    if (!(error <= Math.abs(want) * APPROXIMATE_ERROR)) return false;
  }
  return true;
}

/** Bits of the control and status words that a processor sets by the others: reserved ones of FCW, ES and B of FSW. */
const DERIVED: readonly number[] = [0xc0, 0xe0, 0x80, 0x80];

/**
 * True if byte `at` of the image may differ: the instruction's result is not exact, or the bits follow from others. A kernel that saves
 * only what was modified gives these back as they were in the image before.
 */
function excused(want: State, got: State, at: number): boolean {
  if (at < 4) {
    if (((want.fx[at]! ^ got.fx[at]!) & ~DERIVED[at]!) === 0) return true;
    if (at < 3) return false;
  }
  const precision = PRECISION[ins.mn];
  if (precision === LAST_PLACE) {
    if (at === 3) return ((want.fx[at]! ^ got.fx[at]!) & ~C1) === 0;
    return at >= 32 && at < 160 && nearlyEqual(want.fx, got.fx, at & ~15);
  }
  return precision === RELATIVE && at >= 160 && roughlyEqual(want.fx, got.fx, at & ~15);
}

function sameFx(want: State, got: State): boolean {
  for (let i = 0; i < FX_BYTES; i++)
    if (want.fx[i] !== got.fx[i] && FX_RULE[i] === FX_EXACT && !excused(want, got, i)) return false;
  return true;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Memory is not compared after a near call that faulted: whether the push came first differs between models. */
function comparesMemory(v: Vector): boolean {
  return v.after.sig === 0 || ins.mn !== CALL || !(ROW_FLAGS[ins.row]! & ROW_BRANCH);
}

/** True if `got` is what `v` expects. `mnemonicOf(v)` must have been called before. */
export function agrees(v: Vector, got: State): boolean {
  const want = v.after;
  if (want.sig !== got.sig || want.rip[0] !== got.rip[0] || want.rip[1] !== got.rip[1]) return false;
  if ((want.rflags ^ got.rflags) & v.mask) return false;
  for (let i = 0; i < 32; i++) if (want.gpr[i] !== got.gpr[i]) return false;
  if (!sameBytes(want.mem, got.mem) && comparesMemory(v)) return false;
  if (v.hasFx && !sameFx(want, got)) return false;
  return !v.hasYmmh || sameYmmh(want, got);
}

function sameYmmh(want: State, got: State): boolean {
  for (let i = 0; i < YMMH_BYTES; i++) {
    if (want.ymmh[i] === got.ymmh[i]) continue;
    if (PRECISION[ins.mn] !== RELATIVE || !roughlyEqual(want.ymmh, got.ymmh, i & ~15)) return false;
  }
  return true;
}

const hex = (value: number, digits: number): string => (value >>> 0).toString(16).padStart(digits, "0");
const quad = (words: Uint32Array, at: number): string => hex(words[at + 1]!, 8) + hex(words[at]!, 8);
/** Bytes as the number they are, highest first. */
const bytes = (from: Uint8Array, at: number, count: number): string =>
  bytesToHexString(from.slice(at, at + count).reverse());

/** Registers of the FXSAVE image: name, first byte, bytes. */
const FX_FIELDS: readonly (readonly [string, number, number])[] = [
  ["fcw", 0, 2],
  ["fsw", 2, 2],
  ["ftw", 4, 1],
  ["mxcsr", 24, 4],
  ...Array.from({ length: 8 }, (_, n) => [`st${n}`, 32 + n * 16, 10] as const),
  ...Array.from({ length: 16 }, (_, n) => [`xmm${n}`, 160 + n * 16, 16] as const),
];

/** All that differs, for the report. `mnemonicOf(v)` must have been called before. */
export function differences(v: Vector, got: State): Difference[] {
  const want = v.after;
  const found: Difference[] = [];
  const note = (what: string, a: string, b: string): void => {
    if (a !== b) found.push({ what, expected: a, found: b });
  };
  note("signal", String(want.sig), String(got.sig));
  note("rip", quad(want.rip, 0), quad(got.rip, 0));
  for (let n = 0; n < 16; n++) note(REGISTERS[n]!, quad(want.gpr, 2 * n), quad(got.gpr, 2 * n));
  note("flags", hex(want.rflags & v.mask, 6), hex(got.rflags & v.mask, 6));
  if (comparesMemory(v))
    for (let at = 0; at < want.mem.length; at += 16)
      note(`mem+${hex(at, 2)}`, bytes(want.mem, at, 16), bytes(got.mem, at, 16));
  if (v.hasFx)
    for (const [name, at, count] of FX_FIELDS) {
      let same = true;
      for (let i = at; i < at + count; i++) if (want.fx[i] !== got.fx[i] && !excused(want, got, i)) same = false;
      if (!same) note(name, bytes(want.fx, at, count), bytes(got.fx, at, count));
    }
  if (v.hasYmmh)
    for (let at = 0; at < YMMH_BYTES; at += 16)
      if (PRECISION[ins.mn] !== RELATIVE || !roughlyEqual(want.ymmh, got.ymmh, at))
        note(`ymm${at / 16} upper`, bytes(want.ymmh, at, 16), bytes(got.ymmh, at, 16));
  return found;
}

/** The state before the instruction, a line each. */
export function describe(v: Vector): string[] {
  const { before } = v;
  const code = bytesToHexArray(v.code.subarray(0, v.codeLength)).join(" ");
  const lines = [`code ${code}, flags ${hex(before.rflags, 6)}, compared ${hex(v.mask, 6)}`];
  for (let n = 0; n < 16; n += 4)
    lines.push([0, 1, 2, 3].map((k) => `${REGISTERS[n + k]!.padStart(3)} ${quad(before.gpr, 2 * (n + k))}`).join("  "));
  if (!v.hasFx) return lines;
  const usesStack = ins.kind.includes(OP_ST) || (v.code[0]! & 0xf8) === 0xd8;
  for (const [name, at, count] of FX_FIELDS) {
    if (name.startsWith("xmm") && usesStack) continue;
    const number = name.startsWith("xmm") && v.hasYmmh ? Number(name.slice(3)) : -1;
    const upper = number < 0 ? "" : `${bytes(before.ymmh, number * 16, 16)} `;
    lines.push(`${name.replace("x", upper === "" ? "x" : "y").padStart(5)} ${upper}${bytes(before.fx, at, count)}`);
  }
  return lines;
}

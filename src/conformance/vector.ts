/**
 * One vector of a conformance file: a single instruction, the state before it, and what a processor made of it. A file is JSON
 * lines; its fields are described in the help of `xenoscope conformance`. Vectors are parsed into buffers that are used again, because
 * a file has hundreds of thousands of them.
 */

/** Linear addresses and sizes of the surroundings that every vector runs in. */
export const CODE_PAGE = 0x40000000;
export const CODE_START = 0x40000100;
export const DATA = 0x50000000;
export const DATA_BYTES = 0x4000;
export const WINDOW = 0x50000800;
export const WINDOW_BYTES = 256;
/** What an FXSAVE image holds of registers. */
export const FX_BYTES = 416;
export const YMMH_BYTES = 256;
/** More than any instruction: over-long encodings are vectors too. */
export const MAX_CODE_BYTES = 64;

/** Flags compared where a vector has no mask: arithmetic flags, IF, DF, AC. */
const DEFAULT_MASK = 0x40ed5;

/** A line that is no vector; the message says what is wrong with it. */
export class VectorError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "VectorError";
  }
}

const NIBBLE: Int8Array = new Int8Array(128).fill(-1);
for (let digit = 0; digit < 16; digit++) {
  NIBBLE[digit.toString(16).charCodeAt(0)] = digit;
  NIBBLE[digit.toString(16).toUpperCase().charCodeAt(0)] = digit;
}

function nibble(text: string, at: number): number {
  const code = text.charCodeAt(at);
  return code < 128 ? NIBBLE[code]! : -1;
}

/** A value in words, for messages. */
function show(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 24 ? `${text.slice(0, 24)}...` : text;
}

/** Parses two hex digits a byte into `target`. @returns the number of bytes. */
function parseBytes(field: string, text: unknown, target: Uint8Array, least: number): number {
  if (typeof text !== "string") throw new VectorError(`${field} must be a string of hex digits, not ${show(text)}`);
  const bytes = text.length >> 1;
  if (text.length & 1 || bytes < least || bytes > target.length) {
    const range = least === target.length ? `${least}` : `${least} to ${target.length}`;
    throw new VectorError(`${field} must be ${range} bytes in hex, not ${text.length} digits`);
  }
  for (let i = 0; i < bytes; i++) {
    const byte = (nibble(text, 2 * i) << 4) | nibble(text, 2 * i + 1);
    if (byte < 0) throw new VectorError(`${field} has ${show(text.slice(2 * i, 2 * i + 2))} where hex digits must be`);
    target[i] = byte;
  }
  return bytes;
}

/** Parses a number of at most 64 bits into two words at `at`. */
function parseNumber(field: string, text: unknown, target: Uint32Array, at: number): void {
  if (typeof text !== "string" || text.length === 0 || text.length > 16)
    throw new VectorError(`${field} must be a string of 1 to 16 hex digits, not ${show(text)}`);
  let lo = 0;
  let hi = 0;
  for (let i = 0; i < text.length; i++) {
    const digit = nibble(text, i);
    if (digit < 0) throw new VectorError(`${field} must be a string of hex digits, not ${show(text)}`);
    hi = (hi << 4) | (lo >>> 28);
    lo = (lo << 4) | digit;
  }
  target[at] = lo;
  target[at + 1] = hi;
}

const word = new Uint32Array(2);

function parseWord(field: string, text: unknown): number {
  parseNumber(field, text, word, 0);
  return word[0]!;
}

/** JSON as it came, not looked at yet. */
type Fields = Readonly<Record<string, unknown>>;

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** State of the registers and the memory window at one moment. Values of 64 bits are two words, low first. */
export class State {
  readonly gpr: Uint32Array = new Uint32Array(32);
  readonly rip: Uint32Array = new Uint32Array(2);
  rflags = 0;
  readonly mem: Uint8Array = new Uint8Array(WINDOW_BYTES);
  /** The first bytes of an FXSAVE image (64-bit form). */
  readonly fx: Uint8Array = new Uint8Array(FX_BYTES);
  /** Upper halves of the YMM registers. */
  readonly ymmh: Uint8Array = new Uint8Array(YMMH_BYTES);
  /** Linux signal that the instruction's fault became; 0 none. */
  sig = 0;
}

export class Vector {
  id = "";
  readonly code: Uint8Array = new Uint8Array(MAX_CODE_BYTES);
  codeLength = 0;
  readonly before: State = new State();
  readonly after: State = new State();
  /** Flags to compare. */
  mask: number = DEFAULT_MASK;
  /** Whether the file says anything of x87 and SSE registers, and of the upper halves of YMM. */
  hasFx = false;
  hasYmmh = false;

  /** Reads one line. Throws VectorError. */
  parse(line: string): void {
    let fields: unknown;
    try {
      fields = JSON.parse(line);
    } catch (error) {
      throw new VectorError(`not JSON: ${(error as Error).message}`);
    }
    if (!isFields(fields)) throw new VectorError("a vector must be a JSON object");
    const { before } = this;
    this.id = typeof fields.id === "string" ? fields.id : typeof fields.id === "number" ? String(fields.id) : "";
    if (this.id === "") throw new VectorError(`id must be a string, not ${show(fields.id)}`);
    this.codeLength = parseBytes("code", fields.code, this.code, 1);
    const gpr = fields.gpr;
    if (!Array.isArray(gpr) || gpr.length !== 16) throw new VectorError("gpr must be an array of 16 registers");
    for (let n = 0; n < 16; n++) parseNumber("gpr", gpr[n], before.gpr, 2 * n);
    before.rflags = parseWord("rflags", fields.rflags);
    parseBytes("mem", fields.mem, before.mem, WINDOW_BYTES);
    this.mask = fields.mask === undefined ? DEFAULT_MASK : parseWord("mask", fields.mask);
    this.hasFx = fields.fx !== undefined;
    if (this.hasFx) parseBytes("fx", fields.fx, before.fx, FX_BYTES);
    this.hasYmmh = fields.ymmh !== undefined;
    if (this.hasYmmh) parseBytes("ymmh", fields.ymmh, before.ymmh, YMMH_BYTES);
    else before.ymmh.fill(0);
    if (!isFields(fields.out)) throw new VectorError("out must be an object: the state after the instruction");
    this.parseOut(fields.out);
  }

  private parseOut(out: Fields): void {
    const { before, after } = this;
    const { sig, gpr } = out;
    if (typeof sig !== "number" || !Number.isInteger(sig) || sig < 0 || sig > 64)
      throw new VectorError(`out.sig must be the number of a signal, not ${show(sig)}`);
    after.sig = sig;
    parseNumber("out.rip", out.rip, after.rip, 0);
    after.rflags = parseWord("out.rflags", out.rflags);
    after.gpr.set(before.gpr);
    if (gpr !== undefined) {
      if (!isFields(gpr)) throw new VectorError("out.gpr must be an object of the changed registers");
      for (const index in gpr) {
        const n = Number(index);
        if (!Number.isInteger(n) || n < 0 || n > 15)
          throw new VectorError(`out.gpr has no register ${show(index)}, only 0 to 15`);
        parseNumber("out.gpr", gpr[index], after.gpr, 2 * n);
      }
    }
    if (out.mem === undefined) after.mem.set(before.mem);
    else parseBytes("out.mem", out.mem, after.mem, WINDOW_BYTES);
    if (out.fx !== undefined) {
      if (!this.hasFx) throw new VectorError("out has fx, but there is none before");
      parseBytes("out.fx", out.fx, after.fx, FX_BYTES);
    } else if (this.hasFx) after.fx.set(before.fx);
    if (out.ymmh !== undefined) {
      if (!this.hasYmmh) throw new VectorError("out has ymmh, but there is none before");
      parseBytes("out.ymmh", out.ymmh, after.ymmh, YMMH_BYTES);
    } else after.ymmh.set(before.ymmh);
  }
}

/**
 * A small WebAssembly assembler: one growing Uint8Array, no intermediate objects per instruction. Structured control is
 * by label objects, so emitters never count branch depths. Opcodes from the WebAssembly core specification, section 5.4.
 */

export const I32 = 0x7f;
export const I64 = 0x7e;
export const V128 = 0x7b;
const VOID = 0x40;

/** Plain opcodes, by their names in the specification with dots as underscores. */
export const OP = {
  unreachable: 0x00,
  return: 0x0f,
  drop: 0x1a,
  select: 0x1b,
  i32_eqz: 0x45,
  i32_eq: 0x46,
  i32_ne: 0x47,
  i32_lt_s: 0x48,
  i32_lt_u: 0x49,
  i32_gt_s: 0x4a,
  i32_gt_u: 0x4b,
  i32_le_s: 0x4c,
  i32_le_u: 0x4d,
  i32_ge_s: 0x4e,
  i32_ge_u: 0x4f,
  i64_eqz: 0x50,
  i64_eq: 0x51,
  i64_ne: 0x52,
  i64_lt_s: 0x53,
  i64_lt_u: 0x54,
  i64_gt_s: 0x55,
  i64_gt_u: 0x56,
  i64_le_s: 0x57,
  i64_le_u: 0x58,
  i64_ge_s: 0x59,
  i64_ge_u: 0x5a,
  i32_add: 0x6a,
  i32_sub: 0x6b,
  i32_mul: 0x6c,
  i32_and: 0x71,
  i32_or: 0x72,
  i32_xor: 0x73,
  i32_shl: 0x74,
  i32_shr_s: 0x75,
  i32_shr_u: 0x76,
  i32_rotl: 0x77,
  i32_rotr: 0x78,
  i32_popcnt: 0x69,
  i64_clz: 0x79,
  i64_ctz: 0x7a,
  i64_popcnt: 0x7b,
  i64_add: 0x7c,
  i64_sub: 0x7d,
  i64_mul: 0x7e,
  i64_div_s: 0x7f,
  i64_div_u: 0x80,
  i64_rem_s: 0x81,
  i64_rem_u: 0x82,
  i64_and: 0x83,
  i64_or: 0x84,
  i64_xor: 0x85,
  i64_shl: 0x86,
  i64_shr_s: 0x87,
  i64_shr_u: 0x88,
  i64_rotl: 0x89,
  i64_rotr: 0x8a,
  f64_lt: 0x63,
  f64_gt: 0x64,
  f64_add: 0xa0,
  f64_sub: 0xa1,
  f64_convert_i32_s: 0xb7,
  f64_convert_i64_u: 0xba,
  i32_wrap_i64: 0xa7,
  i64_extend_i32_s: 0xac,
  i64_extend_i32_u: 0xad,
  i64_extend8_s: 0xc2,
  i64_extend16_s: 0xc3,
  i64_extend32_s: 0xc4,
} as const;

/** Memory opcodes: they take an alignment and an offset. */
export const MEM = {
  i32_load: 0x28,
  i64_load: 0x29,
  f64_load: 0x2b,
  i32_load8_u: 0x2d,
  i32_load16_u: 0x2f,
  i64_load8_s: 0x30,
  i64_load8_u: 0x31,
  i64_load16_s: 0x32,
  i64_load16_u: 0x33,
  i64_load32_s: 0x34,
  i64_load32_u: 0x35,
  i32_store: 0x36,
  i64_store: 0x37,
  f64_store: 0x39,
  i32_store8: 0x3a,
  i32_store16: 0x3b,
  i64_store8: 0x3c,
  i64_store16: 0x3d,
  i64_store32: 0x3e,
} as const;

/** A branch target. */
export class Label {
  depth = -1;
}

export class Assembler {
  bytes: Uint8Array;
  length = 0;
  /** Where an `if` or `br_if` stands that mostly goes one way, in ascending order: offset, 1 if its condition is mostly true. */
  readonly hints: number[] = [];
  private depth = 0;

  /** @param room bytes to begin with */
  constructor(room: number = 1 << 12) {
    this.bytes = new Uint8Array(room);
  }

  byte(value: number): void {
    if (this.length === this.bytes.length) {
      const grown = new Uint8Array(this.bytes.length * 2);
      grown.set(this.bytes);
      this.bytes = grown;
    }
    this.bytes[this.length++] = value;
  }

  /** Unsigned LEB128 of a uint32. */
  unsigned(value: number): void {
    let v = value >>> 0;
    while (v > 0x7f) {
      this.byte((v & 0x7f) | 0x80);
      v >>>= 7;
    }
    this.byte(v);
  }

  /** Signed LEB128 of an integer below 2^53 in size. */
  signed(value: number): void {
    if ((value | 0) === value) {
      let small = value;
      while (small < -64 || small > 63) {
        this.byte((small & 0x7f) | 0x80);
        small >>= 7;
      }
      this.byte(small & 0x7f);
      return;
    }
    let v = value;
    for (;;) {
      const low = ((v % 128) + 128) % 128;
      v = (v - low) / 128;
      if ((v === 0 && !(low & 0x40)) || (v === -1 && low & 0x40)) {
        this.byte(low);
        return;
      }
      this.byte(low | 0x80);
    }
  }

  op(...ops: number[]): void {
    for (const o of ops) this.byte(o);
  }
  /** SIMD instruction (prefix FD). */
  simd(op: number): void {
    this.byte(0xfd);
    this.unsigned(op);
  }
  /** Loads and stores with byte alignment: x86 has no other. */
  mem(op: number, offset: number): void {
    this.byte(op);
    this.byte(0);
    this.unsigned(offset);
  }
  simdMem(op: number, offset: number): void {
    this.simd(op);
    this.byte(0);
    this.unsigned(offset);
  }
  i32(value: number): void {
    this.byte(0x41);
    this.signed(value | 0);
  }
  i64(value: number): void {
    this.byte(0x42);
    this.signed(value);
  }
  f64(value: number): void {
    this.byte(0x44);
    this.raw(new Uint8Array(Float64Array.of(value).buffer));
  }
  /** An i64 constant from its two int32 words: signed LEB128 of 64 bits. */
  i64Words(low: number, high: number): void {
    this.byte(0x42);
    let lo = low | 0;
    let hi = high | 0;
    for (;;) {
      const bits = lo & 0x7f;
      lo = (lo >>> 7) | (hi << 25);
      hi >>= 7;
      const sign = bits & 0x40;
      if ((lo === 0 && hi === 0 && sign === 0) || (lo === -1 && hi === -1 && sign !== 0)) {
        this.byte(bits);
        return;
      }
      this.byte(bits | 0x80);
    }
  }
  get(local: number): void {
    this.byte(0x20);
    this.unsigned(local);
  }
  set(local: number): void {
    this.byte(0x21);
    this.unsigned(local);
  }
  tee(local: number): void {
    this.byte(0x22);
    this.unsigned(local);
  }
  call(index: number): void {
    this.byte(0x10);
    this.unsigned(index);
  }

  /** Calls the function of table 0 whose index is on the stack. */
  callIndirect(type: number): void {
    this.byte(0x11);
    this.unsigned(type);
    this.byte(0);
  }
  /** Appends what another assembler wrote; its branches must stay inside it. */
  append(part: Assembler): void {
    for (let i = 0; i < part.hints.length; i += 2) this.hints.push(this.length + part.hints[i]!, part.hints[i + 1]!);
    this.raw(part.bytes.subarray(0, part.length));
  }
  /** Appends bytes as they are. */
  raw(code: Uint8Array): void {
    let room = this.bytes.length;
    while (room < this.length + code.length) room *= 2;
    if (room > this.bytes.length) {
      const grown = new Uint8Array(room);
      grown.set(this.bytes);
      this.bytes = grown;
    }
    this.bytes.set(code, this.length);
    this.length += code.length;
  }
  clear(): void {
    this.length = 0;
    this.hints.length = 0;
    this.depth = 0;
  }

  /** The condition of the `if` or `br_if` that comes next is mostly true. */
  likely(): void {
    this.hints.push(this.length, 1);
  }
  /** The same: mostly false. */
  unlikely(): void {
    this.hints.push(this.length, 0);
  }

  block(type: number = VOID): Label {
    return this.open(0x02, type);
  }
  loop(): Label {
    return this.open(0x03, VOID);
  }
  if(type: number = VOID): Label {
    return this.open(0x04, type);
  }
  else(): void {
    this.byte(0x05);
  }
  end(): void {
    this.depth--;
    this.byte(0x0b);
  }
  br(label: Label): void {
    this.byte(0x0c);
    this.unsigned(this.depth - label.depth);
  }
  brIf(label: Label): void {
    this.byte(0x0d);
    this.unsigned(this.depth - label.depth);
  }
  /** Jumps to labels[i], or to `otherwise`. */
  brTable(labels: readonly Label[], otherwise: Label): void {
    this.byte(0x0e);
    this.unsigned(labels.length);
    for (const l of labels) this.unsigned(this.depth - l.depth);
    this.unsigned(this.depth - otherwise.depth);
  }

  private open(op: number, type: number): Label {
    this.byte(op);
    this.byte(type);
    const label = new Label();
    label.depth = ++this.depth;
    return label;
  }
}

export interface FunctionType {
  params: readonly number[];
  results: readonly number[];
}
export interface Import {
  name: string;
  type: FunctionType;
}
export interface FunctionBody {
  name: string;
  type: FunctionType;
  /** Types of the locals after the parameters. */
  locals: readonly number[];
  code: Uint8Array;
  /** As Assembler.hints. */
  hints?: readonly number[];
}

/**
 * A module that imports memory "env.memory" and functions "env.NAME", and exports its functions by name.
 * @param memoryPages least size of the memory in pages of 64 KiB
 * @param table imports the table "env.table" as well, for call_indirect with types of `extraTypes`, whose indices follow those
 *   of imports and functions
 */
export function buildModule(
  memoryPages: number,
  imports: readonly Import[],
  functions: readonly FunctionBody[],
  table = false,
  extraTypes: readonly FunctionType[] = [],
): Uint8Array {
  const out = new Assembler();
  out.op(0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
  const types = [...imports.map((i) => i.type), ...functions.map((f) => f.type), ...extraTypes];
  section(out, 1, (s) => {
    s.unsigned(types.length);
    for (const t of types) {
      s.byte(0x60);
      vector(s, t.params);
      vector(s, t.results);
    }
  });
  section(out, 2, (s) => {
    s.unsigned(imports.length + (table ? 2 : 1));
    if (table) {
      text(s, "env");
      text(s, "table");
      s.op(1, 0x70, 0, 1);
    }
    imports.forEach((i, n) => {
      text(s, "env");
      text(s, i.name);
      s.byte(0);
      s.unsigned(n);
    });
    text(s, "env");
    text(s, "memory");
    s.op(2, 0);
    s.unsigned(memoryPages);
  });
  section(out, 3, (s) => {
    s.unsigned(functions.length);
    for (let n = 0; n < functions.length; n++) s.unsigned(imports.length + n);
  });
  section(out, 7, (s) => {
    s.unsigned(functions.length);
    functions.forEach((f, n) => {
      text(s, f.name);
      s.byte(0);
      s.unsigned(imports.length + n);
    });
  });
  const bodies = functions.map(body);
  branchHints(out, imports.length, bodies);
  section(out, 10, (s) => {
    s.unsigned(bodies.length);
    for (const b of bodies) {
      s.unsigned(b.length);
      s.append(b);
    }
  });
  return out.bytes.slice(0, out.length);
}

/** A function's locals, in runs of one type, and its code. */
function body(f: FunctionBody): Assembler {
  const runs: { type: number; count: number }[] = [];
  for (const type of f.locals)
    if (runs.at(-1)?.type === type) runs.at(-1)!.count++;
    else runs.push({ type, count: 1 });
  const b = new Assembler();
  b.unsigned(runs.length);
  for (const { type, count } of runs) {
    b.unsigned(count);
    b.byte(type);
  }
  const start = b.length;
  b.raw(f.code);
  b.byte(0x0b);
  const hints = f.hints ?? [];
  for (let i = 0; i < hints.length; i += 2) b.hints.push(start + hints[i]!, hints[i + 1]!);
  return b;
}

/**
 * The custom section of the branch hinting proposal (github.com/WebAssembly/branch-hinting): offsets count from the declaration
 * of the locals. An engine that does not know it ignores it.
 */
function branchHints(out: Assembler, firstFunction: number, bodies: readonly Assembler[]): void {
  const hinted = bodies.map((b, n) => ({ b, n })).filter(({ b }) => b.hints.length > 0);
  section(out, 0, (s) => {
    text(s, "metadata.code.branch_hint");
    s.unsigned(hinted.length);
    for (const { b, n } of hinted) {
      s.unsigned(firstFunction + n);
      s.unsigned(b.hints.length / 2);
      for (let i = 0; i < b.hints.length; i += 2) {
        s.unsigned(b.hints[i]!);
        s.unsigned(1);
        s.byte(b.hints[i + 1]!);
      }
    }
  });
}

function section(out: Assembler, id: number, fill: (s: Assembler) => void): void {
  const s = new Assembler();
  fill(s);
  out.byte(id);
  out.unsigned(s.length);
  out.append(s);
}
function vector(out: Assembler, values: readonly number[]): void {
  out.unsigned(values.length);
  for (const v of values) out.byte(v);
}
function text(out: Assembler, value: string): void {
  out.unsigned(value.length);
  for (let i = 0; i < value.length; i++) out.byte(value.charCodeAt(i));
}

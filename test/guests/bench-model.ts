/**
 * What the benchmarks of guests/bench compute, computed again in TypeScript by other means where there are any (the
 * platform's SHA-256, JSON.parse, arrays instead of lists): the judge of their checksums.
 */
import { createHash } from "node:crypto";

class Random {
  state: number;
  constructor(seed: number) {
    this.state = seed;
  }
  next(): number {
    this.state = (Math.imul(this.state, 1664525) + 1013904223) >>> 0;
    return this.state;
  }
}

const GOLDEN = 0x9e3779b1;
const rotl = (value: number, by: number): number => ((value << by) | (value >>> (32 - by))) >>> 0;
const fold = (sum: number, value: number): number => rotl(Math.imul(sum ^ value, GOLDEN), 13);
const signed16 = (value: number): number => (value << 16) >> 16;
const bytesOf = (text: string): number[] => [...text].map((c) => c.charCodeAt(0));

function crc16(crc: number, value: number): number {
  for (let i = 0; i < 16; i++) crc = ((crc ^ (value >> i)) & 1) !== 0 ? (crc >> 1) ^ 0xa001 : crc >> 1;
  return crc;
}

const NUMBERS = "5012,-874,+122.5e3,.64,-9.7e-2,0x5f,7e,99+1,T0.3e-1F,+,-.5e+9,1234567,3.14159,--2,1e5e5,42";
const STATES = ["start", "sign", "integer", "point", "fraction", "exponent", "exponentSign", "power", "invalid"];
type Step = readonly [pattern: RegExp, to: string];
/** First match counts; no match is invalid. */
const STEPS: Readonly<Record<string, readonly Step[]>> = {
  start: [
    [/[0-9]/, "integer"],
    [/[+-]/, "sign"],
    [/\./, "point"],
  ],
  sign: [
    [/[0-9]/, "integer"],
    [/\./, "point"],
  ],
  integer: [
    [/[0-9]/, "integer"],
    [/\./, "fraction"],
    [/e/, "exponent"],
  ],
  point: [
    [/[0-9]/, "fraction"],
    [/e/, "exponent"],
  ],
  fraction: [
    [/[0-9]/, "fraction"],
    [/e/, "exponent"],
  ],
  exponent: [
    [/[0-9]/, "power"],
    [/[+-]/, "exponentSign"],
  ],
  exponentSign: [[/[0-9]/, "power"]],
  power: [[/[0-9]/, "power"]],
  invalid: [],
};

function mix(n: number): number {
  const random = new Random(1);
  let list = Array.from({ length: 200 }, (_, tag) => ({ tag, key: signed16(random.next() >>> 17) }));
  const a: number[][] = [];
  const b: number[][] = [];
  for (let i = 0; i < 10; i++) {
    a.push([]);
    b.push([]);
    for (let j = 0; j < 10; j++) {
      a[i]!.push(random.next() >>> 24);
      b[i]!.push(random.next() >>> 24);
    }
  }
  let sum = 0;
  let crc = 0;
  for (let round = 0; round < n; round++) {
    for (let i = 0; i < 8; i++) {
      const wanted = random.next() >>> 24;
      crc = crc16(crc, list.find(({ key }) => (key & 0xff) === wanted)?.tag ?? 0xffff);
      list.reverse();
    }
    list.sort((x, y) => x.key - y.key);
    for (const item of list) crc = crc16(crc, item.key);
    list = list.map(({ tag, key }) => ({ tag, key: signed16(key ^ (crc & 0x7f)) })).sort((x, y) => x.tag - y.tag);

    for (const row of a) for (let j = 0; j < 10; j++) row[j] = signed16(row[j]! + crc);
    let bits = 0;
    for (let i = 0; i < 10; i++)
      for (let j = 0; j < 10; j++) {
        const c = a[i]!.reduce((s, value, k) => (s + value * b[k]![j]!) | 0, 0);
        bits += ((c >> 2) & 0xf) * ((c >> 5) & 0x7f);
      }
    crc = crc16(crc, bits & 0xffff);

    const at = (round * 11) % NUMBERS.length;
    const changed = NUMBERS[at] === "," ? "," : String.fromCharCode(NUMBERS.charCodeAt(at) ^ 1);
    const seen = new Map(STATES.map((name) => [name, 0]));
    const ended = new Map(seen);
    for (const word of `${NUMBERS.slice(0, at)}${changed}${NUMBERS.slice(at + 1)}`.split(",")) {
      let state = "start";
      for (const c of word) {
        state = STEPS[state]!.find(([pattern]) => pattern.test(c))?.[1] ?? "invalid";
        seen.set(state, seen.get(state)! + 1);
      }
      ended.set(state, ended.get(state)! + 1);
    }
    for (const name of STATES) crc = crc16(crc16(crc, seen.get(name)!), ended.get(name)!);
    sum = fold(sum, crc);
  }
  return sum;
}

function sha256(n: number): number {
  const random = new Random(2);
  const data = Buffer.from(Array.from({ length: 8192 }, () => random.next() >>> 24));
  for (let round = 0; round < n; round++) createHash("sha256").update(data).digest().copy(data);
  return n === 0 ? 0 : data.readUInt32BE(0);
}

function memory(n: number): number {
  const HALF = 131072;
  const sizes = [3, 7, 8, 12, 16, 17, 31, 48, 64, 100, 200, 256, 777, 1500, 4096, 9000];
  const random = new Random(3);
  const data = Uint8Array.from({ length: 2 * HALF }, (_, i) => i * 7 + (i >> 8));
  let sum = 0;
  for (let round = 0; round < n * 256; round++) {
    const r = random.next();
    const size = sizes[r >>> 28]!;
    const half = (r >>> 27) & 1;
    const to = half * HALF + ((random.next() >>> 8) % (HALF - size));
    const from = (half ^ 1) * HALF + ((random.next() >>> 8) % (HALF - size));
    if (((r >>> 25) & 3) !== 0) data.copyWithin(to, from, from + size);
    else data.fill(r >>> 16, to, to + size);
    sum = fold(sum, data[to + size - 1]! + data[(round * 61) % (2 * HALF)]!);
  }
  return sum;
}

function chase(n: number): number {
  const random = new Random(4);
  const ring = (count: number): Uint32Array => {
    const follows = Uint32Array.from({ length: count }, (_, i) => i);
    for (let i = count - 1; i > 0; i--) {
      const j = (random.next() >>> 8) % i;
      [follows[i], follows[j]] = [follows[j]!, follows[i]!];
    }
    return follows;
  };
  if (n === 0) return 0;
  const [small, large] = [ring(4096), ring(131072)];
  let [s, l, sum] = [0, 0, 0];
  for (let round = 0; round < n; round++) {
    let seen = 0;
    for (let i = 0; i < 3072; i++) seen += s = small[s]!;
    for (let i = 0; i < 1024; i++) seen += l = large[l]!;
    sum = fold(sum, seen >>> 0);
  }
  return sum;
}

function jsonText(random: Random, depth: number): string {
  const pieces = [
    "alpha",
    'be\\"ta',
    "g",
    "delta\\n",
    "epsilon zeta",
    "\\\\eta",
    "\\u00e9t\\u00e9",
    "theta-iota-kappa",
  ];
  const r = random.next() >>> 24;
  if (depth > 0 && (r < 160 || depth > 4)) {
    const isObject = (r & 1) !== 0;
    const parts: string[] = [];
    const count = 2 + (random.next() >>> 29);
    for (let i = 0; i < count; i++) parts.push((isObject ? `"k${i}": ` : "") + jsonText(random, depth - 1));
    const inner = parts.join((r & 2) !== 0 ? ",\n  " : ",");
    return isObject ? `{${inner}}` : `[${inner}]`;
  }
  if ((r & 1) !== 0) {
    const v = random.next();
    const fraction = (v & 0x08000000) !== 0 ? `.${1 + ((v >>> 16) % 9)}${(v & 0x04000000) !== 0 ? "25" : ""}` : "";
    return `${(v & 0x10000000) !== 0 ? "-" : ""}${v >>> (v >>> 29)}${fraction}`;
  }
  if ((r & 2) !== 0) {
    let text = "";
    for (let i = 0; i <= ((r >> 2) & 3); i++) text += pieces[random.next() >>> 29];
    return `"${text}"`;
  }
  return ["null", "true", "false"][(r >> 2) % 3]!;
}

function foldJson(sum: number, value: unknown): number {
  const text = (from: number, s: string): number => bytesOf(s).reduce(fold, from);
  if (value === true) return fold(sum, 1);
  if (value === false) return fold(sum, 2);
  if (value === null) return fold(sum, 3);
  if (typeof value === "number") return fold(sum, Number(BigInt.asUintN(32, BigInt(Math.round(value * 1000)))));
  if (typeof value === "string") return text(sum, value);
  if (Array.isArray(value)) return fold(value.reduce(foldJson, sum), value.length);
  const entries = Object.entries(value as Record<string, unknown>);
  return fold(
    entries.reduce((s, [key, inner]) => foldJson(text(s, key), inner), sum),
    entries.length,
  );
}

function parse(n: number): number {
  const text = jsonText(new Random(5), 6);
  const value: unknown = JSON.parse(text);
  let sum = 0;
  for (let round = 0; round < n; round++) sum = foldJson(sum, value);
  return n === 0 ? 0 : fold(sum, text.length);
}

function muldiv(n: number): number {
  const u64 = (value: bigint): bigint => BigInt.asUintN(64, value);
  const s64 = (value: bigint): bigint => BigInt.asIntN(64, value);
  let x = 0x9e3779b97f4a7c15n;
  let acc = 0n;
  for (let i = 0; i < n * 256; i++) {
    x = u64(x ^ (x << 13n));
    x ^= x >> 7n;
    x = u64(x ^ (x << 17n));
    const divisor = (x >> BigInt(i & 31)) | 1n;
    const product = x * (acc ^ divisor);
    acc = u64(acc + (u64(product) ^ (product >> 64n)));
    acc = u64(acc * 6364136223846793005n + x / divisor + (x % 1000003n));
    acc ^= u64(s64(acc) / s64(divisor) + (s64(x) % 12347n));
    const dividend = ((divisor >> 1n) << 64n) | acc;
    acc = u64(acc + ((dividend / divisor) ^ (dividend % divisor)));
  }
  return fold(Number(acc & 0xffffffffn), Number(acc >> 32n));
}

const doubleBytes = new DataView(new ArrayBuffer(8));
function foldDouble(sum: number, value: number): number {
  doubleBytes.setFloat64(0, value);
  return fold(fold(sum, doubleBytes.getUint32(4)), doubleBytes.getUint32(0));
}

function matmul(n: number): number {
  const SIZE = 32;
  const random = new Random(6);
  let a: number[][] = [];
  const b: number[][] = [];
  for (let i = 0; i < SIZE; i++) {
    a.push([]);
    b.push([]);
    for (let j = 0; j < SIZE; j++) {
      a[i]!.push((random.next() >>> 8) / 16777216);
      b[i]!.push((random.next() >>> 8) / 16777216);
    }
  }
  let sum = 0;
  for (let round = 0; round < n; round++) {
    const c = a.map((row) => b[0]!.map((_, j) => row.reduce((s, value, k) => s + value * b[k]![j]!, 0)));
    a = c.map((_, i) => c.map((row) => row[i]! / SIZE + 0.125));
    sum = foldDouble(sum, c[round % SIZE]![Math.floor(round / 3) % SIZE]!);
  }
  return sum;
}

function nbody(n: number): number {
  const bodies = [
    { at: [0, 0, 0], v: [0, 0, 0], mass: 39.5 },
    { at: [4.8, -1.2, -0.1], v: [0.6, 2.8, -0.02], mass: 0.037 },
    { at: [8.3, 4.1, -0.4], v: [-1.0, 1.8, 0.008], mass: 0.011 },
    { at: [12.9, -15.1, -0.2], v: [1.1, 0.9, -0.01], mass: 0.0017 },
    { at: [15.4, -25.9, 0.2], v: [0.97, 0.6, -0.03], mass: 0.002 },
  ];
  const AXES = [0, 1, 2];
  let sum = 0;
  for (let round = 0; round < n; round++) {
    for (let step = 0; step < 100; step++) {
      bodies.forEach((p, i) => {
        for (const q of bodies.slice(i + 1)) {
          const d = AXES.map((axis) => p.at[axis]! - q.at[axis]!);
          const square = d[0]! * d[0]! + d[1]! * d[1]! + d[2]! * d[2]!;
          const pull = 0.01 / (square * Math.sqrt(square));
          for (const axis of AXES) {
            p.v[axis]! -= d[axis]! * (q.mass * pull);
            q.v[axis]! += d[axis]! * (p.mass * pull);
          }
        }
      });
      for (const p of bodies) for (const axis of AXES) p.at[axis]! += 0.01 * p.v[axis]!;
    }
    sum = foldDouble(sum, bodies[round % 5]!.at[0]!);
  }
  return sum;
}

function mandelbrot(n: number): number {
  let sum = 0;
  for (let round = 0; round < n; round++) {
    const cy = (round % 64) / 24 - 1.25;
    let steps = 0;
    for (let column = 0; column < 64; column++) {
      const cx = column / 24 - 2;
      let [x, y, i] = [0, 0, 0];
      for (; i < 100 && !(x * x + y * y > 4); i++) [x, y] = [x * x - y * y + cx, 2 * x * y + cy];
      steps = (Math.imul(steps, 31) + i) >>> 0;
    }
    sum = fold(sum, steps);
  }
  return sum;
}

function virtual(n: number): number {
  type Thing = { a: number; b: number };
  const measures: ((o: Thing) => number)[] = [
    (o) => o.a + o.b,
    (o) => Math.imul(o.a, o.b),
    (o) => o.a ^ (o.b << 3),
    (o) => Math.max(o.a, o.b),
  ];
  const grow = (o: Thing, by: number) => (o.a = (o.a + by) >>> 0);
  const turn = (o: Thing, by: number) => ([o.a, o.b] = [(o.b + (by & 1)) >>> 0, o.a]);
  const scale = (o: Thing, by: number) => (o.b = (Math.imul(o.b, 5) + by) >>> 0);
  const shift = (o: Thing, by: number) => (o.a = ((o.a >>> 1) ^ by) >>> 0);
  const changes = [grow, turn, scale, shift, shift, scale, turn, grow];
  const random = new Random(7);
  const objects = Array.from({ length: 256 }, () => {
    const kind = random.next() >>> 29;
    const a = random.next() >>> 12;
    return { kind, a, b: random.next() >>> 12 };
  });
  let sum = 0;
  for (let round = 0; round < n; round++)
    for (const o of objects) {
      sum = fold(sum, measures[o.kind & 3]!(o));
      changes[o.kind]!(o, sum);
    }
  return sum;
}

function bytecode(n: number): number {
  const steps = (start: number): number => {
    let count = 0;
    for (let x = start; x > 1; count++) x = x % 2 === 1 ? 3 * x + 1 : x / 2;
    return count;
  };
  let sum = 0;
  for (let round = 0; round < n; round++) {
    let total = 0;
    for (let start = 1; start < 100 + (round % 50); start++) total += steps(start);
    sum = fold(sum, total);
  }
  return sum;
}

function strings(n: number): number {
  const SIZE = 16384;
  const random = new Random(8);
  const from = Uint8Array.from({ length: SIZE + 4096 }, () => (random.next() >>> 24) | 1);
  const to = new Uint8Array(SIZE + 4096);
  let sum = 0;
  for (let round = 0; round < n * 64; round++) {
    const r = random.next();
    const at = r >>> 18;
    const source = at ^ 0x155;
    const size = [1, 9, 24, 80, 250, 700, 2048, 4000][(r >>> 15) & 7]!;
    const what = (r >>> 12) & 7;
    const whole = size - (size % 8);
    let [end, left] = [at + size, 0];
    if (what < 4) {
      end = at + (what < 2 ? size : whole);
      to.set(from.subarray(source, source + end - at), at);
    } else if (what === 4) {
      to.fill(r, at, end);
    } else if (what === 5) {
      end = at + whole;
      for (let i = at; i < end; i++) to[i] = r >>> (8 * ((i - at) & 3));
    } else if (what === 6) {
      to[at + size] = 0;
      const zero = to.subarray(at, at + size).indexOf(0);
      if (zero >= 0) [end, left] = [at + zero + 1, size - zero - 1];
    } else {
      to.set(from.subarray(source, source + size), at);
      const differs = Math.floor(size / 2);
      to[at + differs]! ^= 1;
      [end, left] = [at + differs + 1, size - differs - 1];
    }
    sum = fold(sum, end ^ (left << 16) ^ to[(round * 37) % SIZE]!);
  }
  return sum;
}

function jit(n: number): number {
  type Op = { op: number; operand: number };
  const run = (ops: readonly Op[], x: number, times: number): number => {
    let eax = x;
    for (let i = 0; i < times; i++)
      for (const { op, operand } of ops) {
        if (op === 0) eax = (eax + operand) | 0;
        else if (op === 1) eax ^= operand;
        else if (op === 2) eax = Math.imul(eax, operand | 1);
        else eax = rotl(eax, (operand >>> 8) & 31) ^ x;
      }
    return eax >>> 0;
  };
  const random = new Random(9);
  const places: Op[][] = [];
  let sum = 0;
  for (let round = 0; round < n; round++) {
    const fresh = Array.from({ length: 16 }, (_, i) => {
      const operand = random.next();
      return { op: i === 3 ? 0 : operand >>> 30, operand };
    });
    places[round % 16] = fresh;
    sum = fold(sum, run(fresh, sum, 256));
    const other = places[(round * 5) % 16];
    if (other === undefined) continue;
    other[3]!.operand = sum;
    sum = fold(sum, run(other, round, 64));
  }
  return sum;
}

function syscall(n: number): number {
  let sum = 0;
  let stored = 0;
  for (let i = 0; i < n * 100; i++) {
    sum = fold(sum, i + 1);
    const old = stored;
    stored = (i ^ sum) >>> 0;
    sum = fold(sum, old);
    sum = fold(sum, (sum + 3 * i + 35) % 2 ** 32);
  }
  return sum;
}

function fault(n: number): number {
  const frames = new Map<number, number>();
  let sum = 0;
  for (let round = 0; round < n; round++)
    for (let p = 0; p < 64; p++) {
      const where = (((round * 7) % 64) + p) * 4096 + ((round * 4 + p * 64) % 4096);
      const value = ((frames.get(where) ?? 0) + (round ^ p)) >>> 0;
      frames.set(where, value);
      sum = fold(sum, value);
    }
  return fold(sum, n * 64);
}

function contextSwitch(n: number): number {
  const pages = [new Array<number>(8).fill(0), new Array<number>(8).fill(0)];
  let message = 0;
  for (let round = 0; round < n * 100; round++)
    for (const own of pages) {
      for (let p = 0; p < 8; p++) own[p] = fold(own[p]!, (message + round) >>> 0);
      message = own[round % 8]!;
    }
  return message;
}

/** Xen 4.17, asked a hundred times a round. */
function hypercall(n: number): number {
  let sum = 0;
  for (let i = 0; i < n * 100; i++) sum = fold(sum, 0x40011);
  return sum;
}

/** Checksum of each benchmark after n rounds. */
export const MODELS: Readonly<Record<string, (n: number) => number>> = {
  mix,
  sha256,
  memory,
  chase,
  parse,
  muldiv,
  matmul,
  nbody,
  mandelbrot,
  virtual,
  bytecode,
  strings,
  jit,
  syscall,
  fault,
  switch: contextSwitch,
  hits: (n) => n * 1000,
  misses: (n) => n * 1000,
  hypercall,
};

/** Every micro-op by itself: the emitter's code against the reference, over operands at the edges. */
import { describe, expect, it } from "vitest";
import * as A from "../../../cpu/arena.ts";
import { emitTable } from "../../../cpu/emit/table.ts";
import { FLAGS_SYSTEM, getFlags, setArithmeticFlags } from "../../../cpu/flags.ts";
import { EVALUATE, makeReference } from "../../../cpu/reference/evaluator.ts";
import { type BlockRunner, makeInterpreter } from "../../../cpu/run.ts";
import { formatUop, UOP_NAMES } from "../../../cpu/uops/format.ts";
import { HELPER_NAMES } from "../../../cpu/uops/helpers.ts";
import * as U from "../../../cpu/uops/uop.ts";
import { BareCore, DATA } from "../../support/bare-core.ts";
import { Random } from "../../support/random.ts";

const interpreter = new BareCore(makeInterpreter);
const reference = new BareCore(makeReference);
const CORES: readonly (readonly [BareCore, BlockRunner])[] = [
  [reference, makeReference(null, reference.core)],
  [interpreter, makeInterpreter(null, interpreter.core)],
];

/** The record that is run, in the stream but beyond what these tests decode. */
const RECORD: number = A.STREAM + A.STREAM_BYTES - 0x1000;
const UOP: number = RECORD + U.BLOCK_HEADER_BYTES;
const EDGES: readonly bigint[] = [
  0n,
  1n,
  2n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x7fffffffn,
  0x80000000n,
].concat([0xffffffffn, 0x100000000n, (1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n, (1n << 64n) - 2n]);
const VECTOR_KINDS: ReadonlySet<number> = new Set(
  UOP_NAMES.flatMap((name, kind) => (name.startsWith("v") && kind < U.U_FIRST_TERMINAL ? [kind] : [])),
);

/** Helper that a floating-point micro-op names in imm, -1 for other kinds. */
const FLOAT_HELPERS: ReadonlyMap<number, number> = new Map(
  [
    ...U.FP_OPS.map((name, i) => [U.U_FP + i, name.replace(/Y$/, " (32 bytes)")] as const),
    ...(
      [
        [U.U_COMISD, "COMISD"],
        [U.U_COMISS, "UCOMISS"],
        [U.U_CVTSS2SD, "CVTSS2SD"],
        [U.U_CVTSD2SS, "CVTSD2SS"],
        [U.U_CVTSI2SD32, "CVTSI2SD"],
        [U.U_CVTSI2SS32, "CVTSI2SS"],
        [U.U_CVTTSD2SI32, "CVTTSD2SI"],
        [U.U_CVTTSS2SI32, "CVTTSS2SI"],
        [U.U_CVTSD2SI32, "CVTSD2SI"],
        [U.U_CVTSS2SI32, "CVTSS2SI"],
      ] as const
    ).flatMap(([kind, name]): [number, string][] =>
      /SI/.test(name) && !name.includes("COMI") && !name.startsWith("MIN")
        ? [
            [kind, name],
            [kind + 1, `${name} (64 bits)`],
          ]
        : [[kind, name]],
    ),
    ...U.FLANES_OPS.map(
      (name, i) =>
        [
          U.U_FLANES + i,
          name.replace("compare", "VCMP").toUpperCase().replace(/64$/, "PD").replace(/32$/, "PS"),
        ] as const,
    ),
  ].map(([kind, name]) => [kind, HELPER_NAMES.indexOf(name)]),
);

const helperOf = (kind: number): string | undefined => HELPER_NAMES[FLOAT_HELPERS.get(kind) ?? -1];

/** Words of 64 bits that all vectors have together. */
const WORDS: number = A.VECTORS * 2;

/** Two lanes of f32, or one f64: mostly of everyday size, sometimes anything. */
function floats(random: Random, double: boolean): bigint {
  const f32 = new Uint32Array(2);
  if (random.below(6) === 0) return random.below(2) ? 0n : random.bits(64);
  if (double) {
    const exponent = random.below(8) === 0 ? random.below(2048) : 1023 - 40 + random.below(80);
    return (BigInt(random.below(2)) << 63n) | (BigInt(exponent) << 52n) | random.bits(52);
  }
  for (let i = 0; i < 2; i++)
    f32[i] = (random.below(2) << 31) | ((127 - 20 + random.below(40)) << 23) | (random.next() & 0x7fffff);
  return (BigInt(f32[1]!) << 32n) | BigInt(f32[0]!);
}

/** Fills both cores with the same state and the same micro-op of `kind`. */
function prepare(kind: number, random: Random): void {
  const slots = Array.from({ length: 24 }, () => (random.below(3) === 0 ? random.pick(EDGES) : random.bits(64)));
  if (random.below(3) === 0) slots[1] = BigInt(random.below(70));
  // Small dividends let divisions succeed.
  if (random.below(2) === 0) slots[2] = random.pick([0n, (1n << 64n) - 1n, BigInt(random.below(9))]);
  if (random.below(3) === 0) slots[0] = BigInt.asUintN(64, -random.bits(random.below(63)));
  slots[4] = BigInt(DATA + 0x800 + random.below(0x700));
  slots[5] = BigInt(DATA + 0x800 + random.below(0x700));
  slots[23] = BigInt(DATA + random.below(0xff8));
  const vector = VECTOR_KINDS.has(kind);
  const register = (): number => random.below(23) * 8;
  let [d, a, b, c] = [register(), register(), A.S_ZERO, random.below(16)];
  let disp = random.below(8);
  let imm = random.below(2) ? random.next() | 0 : random.below(256) - 128;
  const name = UOP_NAMES[kind]!;
  const memory = /\.(rm|mr|mi)\d|^(load|store|xchg_rm|(inc|dec|neg|not)_m|vload|vstore|align16)/.test(name);
  if (memory) {
    a = A.S_T7;
    if (random.below(4) === 0) disp = -random.below(64);
    c &= 3;
  } else if (name.endsWith("8") && !vector) {
    if (random.below(4) === 0) d = random.below(4) * 8 + 1;
    if (random.below(4) === 0) a = random.below(4) * 8 + 1;
  }
  if (name === "setcc" && random.below(4) === 0) d = random.below(4) * 8 + 1;
  if (/^(lea|ea16)/.test(name)) [b, disp, c] = [register(), random.next() | 0, c & 3];
  if (/^(andn|bzhi|shlx|shrx|sarx|mulx)/.test(name)) b = register();
  if (/^rorx/.test(name)) imm = random.below(name.endsWith("64") ? 64 : 32);
  if (name === "cmpxchg16") [d, a] = [A.S_T0, A.S_T0 + 8];
  if (name === "cmpxchg16" && random.below(2)) [slots[16], slots[17]] = [slots[0]!, slots[2]!];
  if (/^sh[lr]d_i/.test(name)) imm = 1 + random.below(name.endsWith("64") ? 63 : 31);
  if (/^mov_ri64/.test(name)) disp = random.next() | 0;
  if (/^(shl|shr|sar|rol|ror)_i/.test(name)) imm = 1 + random.below(name.endsWith("64") ? 63 : 31);
  if (/^vps/.test(name) && random.below(2)) imm = random.below(70);
  if (/^v(insert|extract)/.test(name)) c = random.below(128 / Number(/\d+$/.exec(name)![0]));
  if (name === "valign") imm = random.below(16);
  if (/^vbyte/.test(name)) imm = random.below(17);
  // Micro-ops of 32 bytes name what has an upper half.
  const long = name.endsWith("256") || (helperOf(kind) ?? "").endsWith("(32 bytes)");
  const vectorNumber = (): number => random.below(long ? A.YMM_UPPER : A.VECTORS);
  const [vd, va, vb] = [vectorNumber(), vectorNumber(), vectorNumber()];
  const vectors = Array.from({ length: WORDS }, () => (random.below(3) === 0 ? random.pick(EDGES) : random.bits(64)));
  if (random.below(4) === 0) for (let n = 0; n < WORDS; n++) vectors[n] = lanes(random);
  const flags = random.next() & 0x8d5;
  if (vector) {
    if (!/^vto|^vmovmskb|^vmsk|^vextract/.test(name)) d = vd;
    if (!memory && !/^vfrom/.test(name)) [a, b] = [va, name.startsWith("vinsert") ? register() : vb];
    // Counts of shifts are mostly small.
    if (/^vps.*_r$/.test(name) && random.below(3) > 0) vectors[vb * 2] = BigInt(random.below(70));
  }
  const helper = FLOAT_HELPERS.get(kind);
  let mxcsr = 0x1f80;
  if (helper !== undefined) {
    imm = helper;
    disp = c = 0;
    const what = HELPER_NAMES[helper]!;
    if (!/2SI/.test(what)) d = vd;
    a = va;
    b = /SI2/.test(what) ? register() : vb;
    if (kind >= U.U_FLANES) c = (what.startsWith("VCMP") ? random.below(32) : 0) | (1 << 5);
    const double = /D( |$)|SD2/.test(what);
    for (let n = 0; n < WORDS; n++) vectors[n] = floats(random, double);
    mxcsr = random.pick([0x1fa0, 0x1fa0, 0x1fa1, 0x1f80, 0x3fa0, 0x9fa0, 0x1fe0]);
  }
  const data = Uint8Array.from({ length: 0x1100 }, () => random.next() & 255);
  const address = 0x1000 + random.below(2) * 0x1000;
  const terminal = kind >= U.U_FIRST_TERMINAL;
  if (terminal) c = random.pick(name.endsWith("_l") ? [2, 4] : [2, 4, 8]);
  if (terminal) b = random.below(16);
  // Instructions, cycles and bytes of the block, and the bytes of RIP.
  const tail = [random.below(100), random.below(100), random.below(256), random.pick([0, 2, 4])];
  if (name === "ret") imm = random.below(0x10000);
  if (name === "ret" && random.below(3) > 0)
    new DataView(data.buffer).setBigUint64(
      Number(slots[4]) - DATA,
      BigInt.asUintN(random.below(64), random.bits(64)),
      true,
    );
  const system = kind >= U.U_CPL0 && kind <= U.U_SWAPGS;
  const cpl = system && random.below(2) ? 0 : 3;
  const systemFlags = system ? random.next() & FLAGS_SYSTEM : 2;
  const gs = random.bits(64);
  if (kind === U.U_SELECTOR) c = random.below(6) * A.SEG_STRIDE;
  for (const [{ core, arena }] of CORES) {
    arena.i32[A.CPL >>> 2] = cpl;
    arena.i32[A.RFLAGS_SYS >>> 2] = systemFlags;
    arena.u64[A.MSR_KERNEL_GS_BASE >>> 3] = gs;
    arena.u8.set(data, arena.ram + DATA);
    for (let n = 0; n < 24; n++) core.setSlot(n * 8, slots[n]!);
    for (let n = 0; n < WORDS; n++) core.u64[(A.XMM >>> 3) + n] = vectors[n]!;
    setArithmeticFlags(core, flags);
    arena.i32[A.MXCSR >>> 2] = mxcsr;
    arena.u8.fill(0, RECORD, RECORD + 0x80);
    arena.u16[UOP >>> 1] = kind;
    arena.u8.set([d, a, b, A.S_ZERO, 0, c], UOP + 2);
    arena.i32[(UOP + 8) >>> 2] = disp;
    arena.i32[(UOP + 12) >>> 2] = imm;
    const end = UOP + (terminal ? 0 : U.UOP_BYTES);
    if (!terminal) arena.u16[end >>> 1] = U.U_END;
    arena.u16.set(tail, (end + U.UOP_BYTES + 8) >>> 1);
    arena.i32[A.INSNS >>> 2] = 0;
    arena.i32[A.REMAINING >>> 2] = 0;
    arena.i32[A.RIP >>> 2] = address;
    arena.i32[(A.RIP + 4) >>> 2] = 0;
  }
}

/** 64 bits of elements at their extremes. */
function lanes(random: Random): bigint {
  let value = 0n;
  for (let n = 0; n < 8; n++) value = (value << 8n) | BigInt(random.pick([0, 1, 0x7f, 0x80, 0xff, 0xfe]));
  return value;
}

interface Outcome {
  status: number;
  rip: string;
  instructions: number;
  remaining: number;
  vector: number;
  flags: string;
  gs: string;
  mxcsr: number;
  slots: string[];
  vectors: string[];
  data: Uint8Array;
}

function run([{ core, arena }, runner]: readonly [BareCore, BlockRunner]): Outcome {
  const status = runner.run(RECORD);
  return {
    status,
    rip: core.u64[A.RIP >>> 3]!.toString(16),
    instructions: arena.i32[A.INSNS >>> 2]!,
    remaining: arena.i32[A.REMAINING >>> 2]!,
    vector: status === U.H_FAULT ? arena.i32[A.FAULT_VECTOR >>> 2]! : -1,
    flags: getFlags(core).toString(16),
    gs: core.u64[A.MSR_KERNEL_GS_BASE >>> 3]!.toString(16),
    mxcsr: arena.i32[A.MXCSR >>> 2]!,
    slots: Array.from({ length: 32 }, (_, n) => core.slot(n * 8).toString(16)),
    vectors: Array.from({ length: WORDS }, (_, n) => core.u64[(A.XMM >>> 3) + n]!.toString(16)),
    data: arena.u8.slice(arena.ram + DATA, arena.ram + DATA + 0x1100),
  };
}

const TIMES = Number(process.env.XENOSCOPE_TIMES ?? 15);

describe("a micro-op", () => {
  it("has an emitter if and only if the reference knows it", () => {
    const emitters = emitTable();
    for (let kind = 0; kind < U.U_FIRST_TERMINAL; kind++)
      expect(EVALUATE[kind] !== undefined, UOP_NAMES[kind]).toBe(emitters[kind] !== undefined);
  });

  it("does the same to slots, vectors, flags, memory and RIP in the interpreter as in the reference", () => {
    const random = new Random(20240607);
    for (const [bare] of CORES) {
      bare.reset(Uint8Array.of(0x90), { cpl: 3 });
      bare.core.activate();
    }
    for (let kind = 0; kind < U.U_HELPER_END; kind++) {
      if ((EVALUATE[kind] === undefined && kind < U.U_FIRST_TERMINAL) || kind === U.U_HELPER) continue;
      // What their records say belongs together: x87-usual.test.ts and fma-usual.test.ts make them of instructions.
      if (kind >= U.U_FMA64 && kind < U.U_X87 + U.X87_OPS.length) continue;
      let succeeded = 0;
      for (let n = 0; n < TIMES || (succeeded === 0 && n < 400); n++) {
        prepare(kind, random);
        const before = Array.from({ length: 24 }, (_, slot) => reference.core.slot(slot * 8).toString(16)).join(" ");
        const [expected, found] = [run(CORES[0]!), run(CORES[1]!)];
        if (expected.status === U.H_OK) succeeded++;
        if (JSON.stringify({ ...expected, data: 0 }) !== JSON.stringify({ ...found, data: 0 }))
          expect(found, `${formatUop(reference.core, UOP)} from ${before}`).toEqual(expected);
        if (Buffer.compare(expected.data, found.data) !== 0)
          expect.fail(`${formatUop(reference.core, UOP)} from ${before}: different memory`);
      }
      expect(succeeded, `${UOP_NAMES[kind]} was never done without a fault`).toBeGreaterThan(0);
    }
  });
});

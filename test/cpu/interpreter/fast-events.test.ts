/**
 * Page faults through the IDT and IRETQ as the interpreter and translations do them in place, against system/exceptions.ts and system/far.ts,
 * which the reference runs: a little program faults and is sent back, with descriptors, stacks and flags that are mostly right.
 */
import { describe, expect, it } from "vitest";
import * as A from "../../../cpu/arena.ts";
import { EXIT_DEADLINE, VEC_PF } from "../../../cpu/core.ts";
import { FLAG_AC, FLAG_IF, FLAG_NT, FLAG_TF, getFlags, setFlags } from "../../../cpu/flags.ts";
import { linkInterpreter, makeEnvironment } from "../../../cpu/interpreter/link.ts";
import { KIND_CURRENT, KIND_SYSTEM, probeWrite } from "../../../cpu/mmu/access.ts";
import { newEpoch } from "../../../cpu/mmu/contexts.ts";
import { makeReference } from "../../../cpu/reference/evaluator.ts";
import * as B from "../../../cpu/system/bits.ts";
import { BLOCKED_NMI, loadSegmentRaw, loadTableRaw, updateMode } from "../../../cpu/system/mode.ts";
import { HELPER_NAMES } from "../../../cpu/uops/helpers.ts";
import { H_FAULT } from "../../../cpu/uops/uop.ts";
import {
  BareCore,
  bytes,
  CODE,
  DATA,
  PAGE_READ_ONLY,
  PAGE_SUPERVISOR,
  PAGE_UNMAPPED,
} from "../../support/bare-core.ts";
import { Random } from "../../support/random.ts";

/** Page faults and IRETs that went the slow way. */
const slow = { faults: 0, irets: 0 };
const interpreter = new BareCore((_engine, core) => {
  const environment = makeEnvironment(core);
  const { helper } = environment;
  environment.helper = (number, u) => {
    if (HELPER_NAMES[number] === "IRET") slow.irets++;
    return helper(number, u);
  };
  const run = linkInterpreter(core, environment);
  return {
    run(block) {
      const status = run(block);
      if (status === H_FAULT && core.i32[A.FAULT_VECTOR >>> 2] === VEC_PF) slow.faults++;
      return status;
    },
  };
});
const reference = new BareCore(makeReference);
/** inc eax; mov eax, [rdi]; inc ecx; mov [rsi], eax; inc edx; jmp back */
const PROGRAM = bytes("ff c0 8b 07 ff c1 89 06 ff c2 eb f4");
const HANDLER = CODE + 0x1100;
/** What a handler does: nothing, set NT, or take CS, flags, RSP or SS of the frame from a register. */
const HANDLERS = [
  "",
  "",
  "9c 81 0c 24 00 40 00 00 9d",
  "4c 89 44 24 10",
  "4c 89 4c 24 18",
  "4c 89 54 24 20",
  "4c 89 5c 24 28",
];
/** inc r12d; skip the instruction (all are of two bytes), or leave it where it is; add rsp, 8; iretq */
const SKIP = "48 83 44 24 08 02";
/** A page of the supervisor's: GDT, IDT, TSS, and stacks. */
const SYSTEM = DATA + PAGE_SUPERVISOR * 4096;
const [GDT, IDT, TSS, STACKS] = [SYSTEM, SYSTEM + 0x100, SYSTEM + 0x300, SYSTEM + 0x400];
/** What is used of the tables: address, bytes. The types of gate and segments most of all. */
const FIELDS: readonly (readonly [number, number])[] = [
  [GDT + 0x15, 1],
  [GDT + 0x1d, 1],
  [GDT + 0x25, 1],
  [GDT + 0x10, 32],
  [IDT + 16 * VEC_PF + 5, 1],
  [IDT + 16 * VEC_PF, 16],
  [TSS + 4, 8],
  [TSS + 0x24, 8],
];

/** A vector that arrives and waits until it is taken; -1 none. */
class OneInterrupt {
  vector: number;
  constructor(vector: number) {
    this.vector = vector;
  }
  pending(): number {
    return this.vector;
  }
  acknowledge(): void {
    this.vector = -1;
  }
}

const vary = <T>(random: Random, one: number, usual: T, rare: () => T): T => (random.below(one) === 0 ? rare() : usual);

function makeStart(random: Random) {
  const cpl = (random.below(2) * 3) as 0 | 3;
  const stack = (): bigint =>
    vary(random, 5, BigInt(STACKS + 0x400 + random.below(0x60) * 8), () =>
      random.pick([
        BigInt(DATA + 0x800),
        BigInt(SYSTEM + 0x10),
        BigInt(DATA + 8),
        1n << 47n,
        BigInt(STACKS + 0x403),
        BigInt(DATA + PAGE_UNMAPPED * 4096 + 64),
      ]),
    );
  const data = (): bigint =>
    BigInt(
      DATA +
        random.pick([0, PAGE_UNMAPPED, PAGE_UNMAPPED, PAGE_READ_ONLY, PAGE_SUPERVISOR]) * 4096 +
        random.below(4096),
    );
  const flags = (): number => (random.next() & 0x8d5) | 2 | (random.below(2) * FLAG_IF) | (random.below(4) << 12);
  return {
    cpl,
    flags: flags() | vary(random, 16, 0, () => random.pick([FLAG_AC, FLAG_NT, FLAG_TF])),
    rsp: stack(),
    rsp0: stack(),
    ist: stack(),
    rdi: data(),
    rsi: data(),
    handler: bytes(
      `41 ff c4 ${random.below(3) > 0 ? SKIP : ""} ${random.pick(HANDLERS)} ${random.below(8) === 0 ? "90" : ""} 48 83 c4 08 48 cf`,
    ),
    // What goes into the frame: CS, flags, RSP, SS.
    frame: [
      BigInt(random.pick([0x10 | cpl, 0x10 | cpl, 0x20, 0x23, 0x10, 0x13, 0x14, 0, 0x58])),
      BigInt(flags() | vary(random, 3, 0, () => random.pick([FLAG_AC, FLAG_TF, FLAG_NT, 0x10000, 0x20000, 0x200000]))),
      random.below(2) === 0 ? stack() : random.bits(64),
      BigInt(random.pick([0x18 | cpl, 0x18 | cpl, 0, 3, 0x28, 0x2b, 0x10])),
    ],
    gate: { type: 14 + random.below(2), ist: random.below(3) === 0 ? 1 : 0 },
    /** A bit of the tables that is not as it should be, by its number in the page; or -1. */
    odd: vary(random, 2, -1, () => {
      const [from, size] = random.pick(FIELDS);
      return ((from & 0xfff) + random.below(size)) * 8 + random.below(8);
    }),
    warm: random.below(8) > 0,
    nmis: vary(random, 10, 0, () => BLOCKED_NMI),
    vector: vary(random, 6, -1, () => 0x30),
    cr4: random.below(2) * B.CR4_SMAP,
    am: random.below(2) * B.CR0_AM,
    dr7: vary(random, 16, 0, () => random.pick([1, 0x10001, 0x20001, 0x30001])),
    limits: vary(random, 12, [0x2f, 0xff, 0x67], () =>
      random.pick([
        [0x26, 0xff, 0x67],
        [0x27, 0xff, 0x67],
        [0x2f, 0xee, 0x67],
        [0x2f, 0xff, 0x2a],
        [0x2f, 0xff, 10],
      ]),
    ),
    bitmap: vary(random, 16, ~(1 << VEC_PF), () => -1),
    segments: vary(random, 4, 0xc0f3, () => 0xc093),
    slices: Array.from({ length: 4 }, () => 1 + random.below(30)),
  };
}
type Start = ReturnType<typeof makeStart>;

function poke64(bare: BareCore, address: number, value: bigint): void {
  bare.core.u64[(bare.arena.ram + address) >>> 3] = BigInt.asUintN(64, value);
}

function describeTables(bare: BareCore, s: Start): void {
  const dpl = BigInt(s.cpl) << 45n;
  poke64(bare, GDT + 0x10, 0x00af9b000000ffffn | dpl);
  poke64(bare, GDT + 0x18, 0x00cf93000000ffffn | dpl);
  poke64(bare, GDT + 0x20, 0x00af9b000000ffffn);
  poke64(bare, GDT + 0x28, 0x00cf93000000ffffn);
  const gate = IDT + 16 * VEC_PF;
  poke64(
    bare,
    gate,
    BigInt((HANDLER & 0xffff) | (0x20 << 16)) |
      (BigInt(0x8000 | (s.gate.type << 8) | s.gate.ist) << 32n) |
      (BigInt(HANDLER >>> 16) << 48n),
  );
  // Fields of the TSS stand at odd multiples of four.
  const { i32, ram } = { i32: bare.core.i32, ram: bare.arena.ram };
  for (const [at, value] of [
    [TSS + 4, s.rsp0],
    [TSS + 0x24, s.ist],
  ] as const) {
    i32[(ram + at) >>> 2] = Number(value & 0xffffffffn) | 0;
    i32[(ram + at + 4) >>> 2] = Number(value >> 32n) | 0;
  }
  if (s.odd >= 0) bare.core.u8[ram + SYSTEM + (s.odd >>> 3)]! ^= 1 << (s.odd & 7);
}

function begin(bare: BareCore, s: Start): void {
  const program = new Uint8Array(0x2000);
  program.set(PROGRAM);
  program.set(s.handler, HANDLER - CODE);
  bare.reset(program, { cpl: s.cpl });
  const { core } = bare;
  const { i32 } = core;
  core.controls.exceptionBitmap = s.bitmap;
  describeTables(bare, s);
  const [gdt, idt, tss] = s.limits as [number, number, number];
  loadTableRaw(core, A.GDTR, 0, GDT, 0, gdt, 0);
  loadTableRaw(core, A.IDTR, 0, IDT, 0, idt, 0);
  loadTableRaw(core, A.TR, 0x30, TSS, 0, tss, 0x8b);
  for (const seg of [0, 3, 4, 5]) loadSegmentRaw(core, seg, 0x2b, 0, 0, -1, s.segments);
  setFlags(core, s.flags);
  core.setSlot(A.S_RSP, s.rsp);
  core.setSlot(A.S_RDI, s.rdi);
  core.setSlot(A.S_RSI, s.rsi);
  for (const [n, value] of s.frame.entries()) core.setSlot(A.S_R8 + 8 * n, value);
  i32[A.CR4 >>> 2]! |= s.cr4;
  i32[A.CR0 >>> 2]! |= s.am;
  i32[(A.DR + 56) >>> 2]! |= s.dr7;
  i32[A.DR >>> 2] = DATA + 0x700;
  updateMode(core);
  newEpoch(core);
  i32[A.INTERRUPTIBILITY >>> 2] = s.nmis;
  core.interrupts = new OneInterrupt(s.vector);
  // Mostly all is in the TLBs.
  if (s.warm)
    for (const kind of [KIND_SYSTEM, KIND_CURRENT])
      for (const page of [SYSTEM, DATA]) probeWrite(core, page, 0, 8, kind);
}

/** What can be seen, and all words of the core but for what engines leave there. */
function look(bare: BareCore, exit: number): { exit: number; now: number; parts: Buffer[] } {
  const { core } = bare;
  const { i32 } = core;
  setFlags(core, getFlags(core));
  for (const word of [A.BLOCK, A.UOP, A.FETCH_ARENA, A.EVENTS_WAIT, A.FETCH_PAGE, A.FETCH_PAGE + 4])
    i32[word >>> 2] = 0;
  for (let slot = A.S_T0; slot < A.S_ZERO; slot += 8) core.setSlot(slot, 0n);
  core.setSlot(A.S_RIPBASE, 0n);
  core.u8.fill(0, A.WALK_SHIFT, A.WALK_END);
  core.u8.fill(0, A.BUS_DATA, A.BUS_DATA + 64);
  const { u8, arena } = core;
  const part = (from: number, to: number): Buffer => Buffer.from(u8.buffer, from, to - from);
  return {
    exit,
    now: core.now(),
    parts: [part(A.CORE, A.ACCESS_LIN), part(A.DTLB, A.CONTEXT_LIVE), part(arena.ram, u8.length)],
  };
}

describe("a page fault and its return that are done in place", () => {
  it("leave the same state", () => {
    const random = new Random(1411);
    let faults = 0;
    let plain = 0;
    for (let round = 0; round < 1000; round++) {
      const s = makeStart(random);
      begin(interpreter, s);
      begin(reference, s);
      for (const slice of s.slices) {
        const deadline = reference.core.now() + slice;
        const [exit, expected] = [interpreter.run(deadline), reference.run(deadline)];
        const label = JSON.stringify(s, (_, v) => (typeof v === "bigint" ? `0x${v.toString(16)}` : v));
        const [one, other] = [look(interpreter, exit), look(reference, expected)];
        expect([one.exit, one.now], label).toEqual([other.exit, other.now]);
        one.parts.forEach((part, n) => {
          if (!part.equals(other.parts[n]!))
            expect(interpreter.state(), `${label} part ${n}`).toEqual(reference.state());
          expect(part.equals(other.parts[n]!), `${label} part ${n}`).toBe(true);
        });
        if (expected !== EXIT_DEADLINE) break;
        plain++;
      }
      faults += interpreter.core.i32[(A.FAULT_COUNTS >>> 2) + VEC_PF]!;
    }
    expect(plain).toBeGreaterThan(1500);
    expect(faults).toBeGreaterThan(3000);
    expect(slow.faults).toBeLessThan(faults / 3);
    expect(slow.irets).toBeLessThan(faults / 3);
  });
});

/** SYSCALL, SYSRET, STI, STAC and CLAC as the interpreter does them in place, against the helpers, which the reference runs. */
import { describe, expect, it } from "vitest";
import * as A from "../../../cpu/arena.ts";
import { FLAG_AC, FLAG_IF, FLAG_TF, getFlags, setFlags } from "../../../cpu/flags.ts";
import { makeReference } from "../../../cpu/reference/evaluator.ts";
import { makeInterpreter } from "../../../cpu/run.ts";
import * as B from "../../../cpu/system/bits.ts";
import { updateMode } from "../../../cpu/system/mode.ts";
import { BareCore, CODE, DATA } from "../../support/bare-core.ts";
import { Random } from "../../support/random.ts";

const interpreter = new BareCore(makeInterpreter);
const reference = new BareCore(makeReference);
const CASES: readonly (readonly [string, readonly number[]])[] = [
  ["SYSCALL", [0x0f, 0x05]],
  ["SYSRETQ", [0x48, 0x0f, 0x07]],
  ["STI", [0xfb]],
  ["STAC", [0x0f, 0x01, 0xcb]],
  ["CLAC", [0x0f, 0x01, 0xca]],
];
/** What stands behind the instruction, and where SYSCALL and SYSRET lead: INC EAX, so that it shows how far execution came. */
const NEXT: readonly number[] = [0xff, 0xc0, 0xff, 0xc0, 0xff, 0xc0, 0xff, 0xc0, 0xeb, 0xf6];
const LSTAR = CODE + 0x1100;
const RCX = CODE + 0x2200;
const STATE_BYTES = A.SYSTEM_WORDS + A.SYSTEM_WORDS_BYTES - A.CORE;

/** A vector that arrives and waits until it is taken; -1 none. */
class OneInterrupt {
  vector = -1;
  pending(): number {
    return this.vector;
  }
  acknowledge(): void {
    this.vector = -1;
  }
}

interface Start {
  cpl: 0 | 3;
  flags: number;
  r11: number;
  rcx: bigint;
  fmask: number;
  star: number;
  cr4: number;
  dr7: number;
  sce: boolean;
  vector: number;
  cycles: number;
}

const rarely = (random: Random, value: number): number => (random.below(12) === 0 ? value : 0);

function randomStart(random: Random): Start {
  const flags = (): number =>
    (random.next() & 0x8d5) | (random.below(2) * FLAG_IF) | rarely(random, FLAG_TF) | rarely(random, FLAG_AC) | 2;
  return {
    cpl: random.below(2) ? 3 : 0,
    flags: flags() | (random.below(4) << 12),
    r11: flags(),
    rcx: random.below(6) === 0 ? random.bits(64) : BigInt(RCX),
    fmask: random.below(2) ? 0x257fd5 : random.next(),
    star: random.next(),
    cr4: random.below(2) ? B.CR4_SMAP : 0,
    dr7: rarely(random, 1),
    sce: random.below(8) > 0,
    vector: random.below(3) === 0 ? 0x30 : -1,
    cycles: 1 + random.below(6),
  };
}

function run(bare: BareCore, code: readonly number[], s: Start): object {
  const program = new Uint8Array(0x3000);
  program.set([...code, ...NEXT]);
  program.set(NEXT, LSTAR - CODE);
  program.set(NEXT, RCX - CODE);
  bare.reset(program, { cpl: s.cpl });
  const { core } = bare;
  const { i32 } = core;
  const interrupt = new OneInterrupt();
  interrupt.vector = s.vector;
  core.interrupts = interrupt;
  setFlags(core, s.flags);
  core.setSlot(A.S_R8 + 24, BigInt(s.r11));
  core.setSlot(A.S_RCX, s.rcx);
  i32[A.MSR_FMASK >>> 2] = s.fmask;
  i32[(A.MSR_STAR + 4) >>> 2] = s.star;
  i32[A.MSR_LSTAR >>> 2] = LSTAR;
  i32[A.CR4 >>> 2]! |= s.cr4;
  i32[(A.DR + 56) >>> 2]! |= s.dr7;
  i32[A.DR >>> 2] = DATA;
  if (!s.sce) i32[A.EFER >>> 2]! &= ~B.EFER_SCE;
  updateMode(core);
  // The instruction itself stands alone in the first slice, or runs on.
  const exit = core.now() + s.cycles;
  const code1 = bare.run(exit);
  const flags = getFlags(core);
  // Lazy flag words, what walks leave, and which block and micro-op ran last, may differ; all else of the state may not.
  setFlags(core, flags);
  for (const word of [A.BLOCK, A.UOP, A.FETCH_ARENA, A.EVENTS_WAIT, A.FETCH_PAGE, A.FETCH_PAGE + 4])
    i32[word >>> 2] = 0;
  for (let slot = A.S_T0; slot < A.S_ZERO; slot += 8) core.setSlot(slot, 0n);
  core.setSlot(A.S_RIPBASE, 0n);
  core.u8.fill(0, A.WALK_SHIFT, A.WALK_END);
  return {
    exit: code1,
    cycle: core.now(),
    flags: flags.toString(16),
    rip: core.u64[A.RIP >>> 3]!.toString(16),
    words: Array.from(i32.subarray(A.CORE >>> 2, (A.CORE + STATE_BYTES) >>> 2)),
    waits: interrupt.vector,
  };
}

describe("a block's end that is done in place", () => {
  for (const [name, code] of CASES)
    it(`${name}: leaves the same state as its helper`, () => {
      const random = new Random(0x5ca11 + code[1]!);
      let fast = 0;
      for (let n = 0; n < 400; n++) {
        const start = randomStart(random);
        const expected = run(reference, code, start);
        expect(
          run(interpreter, code, start),
          JSON.stringify(start, (_, v) => (typeof v === "bigint" ? `${v}` : v)),
        ).toEqual(expected);
        if ((expected as { exit: number }).exit === 0) fast++;
      }
      expect(fast).toBeGreaterThan(20);
    });
});

/**
 * Repeated string instructions against the plain meaning of the manual: one element after another. What the host's
 * processor does with them test/oracle asks as well; here are overlaps, page ends, and what a chunk is.
 */
import { describe, expect, it } from "vitest";
import * as A from "../../../cpu/arena.ts";
import { Core, CoreGroup, EXIT_DEADLINE } from "../../../cpu/core.ts";
import { FLAG_DF, FLAG_ZF, getFlags, setFlags } from "../../../cpu/flags.ts";
import { writeBytes } from "../../../cpu/mmu/memory.ts";
import { Engine } from "../../../cpu/run.ts";
import { loadSegmentRaw, resetCore, updateMode } from "../../../cpu/system/mode.ts";
import { REP_CHUNK_CYCLES } from "../../../cpu/uops/helpers-string.ts";
import { Random } from "../../support/random.ts";

/** Flat 32-bit protected mode without paging: addresses are physical. */
function machine(): { core: Core; engine: Engine } {
  const core = new Core(new A.Arena(0x100000), 0, new CoreGroup());
  const engine = new Engine(core);
  core.activate();
  resetCore(core);
  for (let seg = 0; seg < 6; seg++)
    loadSegmentRaw(core, seg, seg === 1 ? 8 : 16, 0, 0, -1, seg === 1 ? 0xc09b : 0xc093);
  core.i32[A.CR0 >>> 2] = 0x11;
  updateMode(core);
  return { core, engine };
}

const CODE = 0x1000;
const { core, engine } = machine();
const ram = core.arena.ram;

interface Start {
  ecx: number;
  esi?: number;
  edi?: number;
  eax?: number;
  down?: boolean;
}

/** Runs `bytes` at CODE until EIP has left them. @returns chunks and cycles */
function run(bytes: number[], start: Start): { chunks: number; cycles: number } {
  writeBytes(core, ram + CODE, Uint8Array.from([...bytes, 0x90]));
  core.setSlot(A.S_RCX, BigInt(start.ecx));
  core.setSlot(A.S_RSI, BigInt(start.esi ?? 0));
  core.setSlot(A.S_RDI, BigInt(start.edi ?? 0));
  core.setSlot(A.S_RAX, BigInt(start.eax ?? 0));
  setFlags(core, start.down ? FLAG_DF : 0);
  core.setSlot(A.S_RIPBASE, 0n);
  core.i32[A.RIP >>> 2] = CODE;
  const before = core.now();
  const retired = core.f64[A.INSTRET >>> 3]!;
  for (let n = 0; n < 1000 && core.i32[A.RIP >>> 2] === CODE; n++)
    expect(engine.run(core, core.now() + 1)).toBe(EXIT_DEADLINE);
  return { chunks: core.f64[A.INSTRET >>> 3]! - retired, cycles: core.now() - before };
}

const byte = (at: number): number => core.u8[ram + at]!;
const slot = (s: number): number => Number(core.slot(s));

describe("REP MOVS", () => {
  const model = (memory: Uint8Array, from: number, to: number, n: number, size: number, down: boolean): void => {
    for (let k = 0; k < n; k++) {
      const at = (down ? -k : k) * size;
      memory.set(memory.slice(from + at, from + at + size), to + at);
    }
  };

  for (const [size, opcode] of [
    [1, [0xf3, 0xa4]],
    [2, [0xf3, 0x66, 0xa5]],
    [4, [0xf3, 0xa5]],
  ] as const)
    for (const down of [false, true])
      it(`copies ${size}-byte elements ${down ? "down" : "up"} one after another, however they overlap`, () => {
        for (const distance of [-300, -9, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 7, 8, 13, 64, 300]) {
          for (let i = 0; i < 0x6000; i++) core.u8[ram + 0x8000 + i] = (i * 37 + (i >> 8)) & 255;
          const expected = core.u8.slice(ram, ram + 0x10000);
          const from = 0xb000 - 101;
          const n = 700;
          model(expected, from, from + distance, n, size, down);
          run([...opcode], { ecx: n, esi: from, edi: from + distance, down });
          expect(slot(A.S_RCX)).toBe(0);
          expect(slot(A.S_RSI)).toBe(from + (down ? -n : n) * size);
          expect(slot(A.S_RDI)).toBe(from + distance + (down ? -n : n) * size);
          expect(Buffer.compare(core.u8.subarray(ram + 0x8000, ram + 0xe000), expected.subarray(0x8000, 0xe000))).toBe(
            0,
          );
        }
      });

  it("retires one instruction a chunk, and a chunk ends at the nearest page end of either pointer", () => {
    // 0x100 bytes to the source's page end, then 0x700 to the target's, then the rest.
    expect(run([0xf3, 0xa4], { ecx: 0x900, esi: 0x8f00, edi: 0xa800 })).toEqual({
      chunks: 3,
      cycles: 3 * (1 + REP_CHUNK_CYCLES) + 0x100 / 32 + 0x700 / 32 + 0x100 / 32,
    });
  });

  it("moves an element that straddles a page as a chunk of its own", () => {
    core.u32.fill(0x11223344, (ram + 0x8000) >>> 2, (ram + 0xa000) >>> 2);
    expect(run([0xf3, 0xa5], { ecx: 4, esi: 0x8ff6, edi: 0xb000 }).chunks).toBe(3);
    expect(core.u32[(ram + 0xb00c) >>> 2]).toBe(core.u32[(ram + 0xb000) >>> 2]);
  });

  it("does nothing, as one instruction, if the count is zero", () => {
    core.u8[ram + 0xb000] = 0x55;
    expect(run([0xf3, 0xa4], { ecx: 0, esi: 0x8000, edi: 0xb000 })).toEqual({ chunks: 1, cycles: 1 });
    expect(byte(0xb000)).toBe(0x55);
    expect(slot(A.S_RSI)).toBe(0x8000);
  });
});

describe("REP STOS", () => {
  it("fills with any value, up and down, over pages", () => {
    for (const down of [false, true])
      for (const eax of [0, 0x41414141, 0x12345678]) {
        core.u8.fill(0xee, ram + 0x8000, ram + 0xe000);
        run([0xf3, 0xab], { ecx: 1500, edi: 0xb002, eax, down });
        const first = down ? 0xb002 - 4 * 1499 : 0xb002;
        for (let k = 0; k < 1500; k++)
          for (let b = 0; b < 4; b++)
            if (byte(first + k * 4 + b) !== ((eax >> (b * 8)) & 255)) expect.fail(`element ${k} byte ${b}`);
        expect(byte(first - 1)).toBe(0xee);
        expect(byte(first + 6000)).toBe(0xee);
      }
  });
});

describe("REPE CMPS and REPNE SCAS", () => {
  it("stop behind the element that decides, with the flags of its comparison", () => {
    core.u8.fill(7, ram + 0x8000, ram + 0xe000);
    core.u8[ram + 0xb000 + 5000] = 8;
    run([0xf3, 0xa6], { ecx: 9000, esi: 0x8000, edi: 0xb000 });
    expect(slot(A.S_RCX)).toBe(9000 - 5001);
    expect(slot(A.S_RSI)).toBe(0x8000 + 5001);
    expect(getFlags(core) & (FLAG_ZF | 1)).toBe(1);

    run([0xf2, 0xae], { ecx: 0x3000, edi: 0xb000, eax: 8 });
    expect(slot(A.S_RDI)).toBe(0xb000 + 5001);
    expect(getFlags(core) & FLAG_ZF).toBe(FLAG_ZF);
  });

  it("find what they look for wherever it is, whatever the alignment", () => {
    const random = new Random(77);
    const [from, to] = [0x8000, 0xc000];
    for (let n = 0; n < 400; n++) {
      for (let k = 0; k < 100; k++) core.u8[ram + from + k] = core.u8[ram + to + k] = 1 + random.below(3);
      for (let k = random.below(3); k > 0; k--) core.u8[ram + from + random.below(100)] = random.below(4);
      const [size, prefix] = [random.pick([1, 2, 4]), random.pick([0xf2, 0xf3])];
      const scan = random.below(2) === 1;
      const down = random.below(4) === 0;
      const [a, b, count] = [random.below(16) + 48, random.below(16) + 48, random.below(48 / size)];
      const value = random.below(4) * 0x01010101;
      const element = (at: number): number => Buffer.from(core.u8.buffer).readUIntLE(ram + at, size);
      const cut = 2 ** (8 * size);
      let done = 0;
      let equal = false;
      while (done < count) {
        const step = (down ? -done : done) * size;
        const left = scan ? value % cut : element(from + a + step);
        equal = left === element(to + b + step);
        done++;
        if (equal === (prefix === 0xf2)) break;
      }
      const opcode = scan ? 0xaf : 0xa7;
      run([prefix, ...(size === 2 ? [0x66] : []), size === 1 ? opcode - 1 : opcode], {
        ecx: count,
        esi: from + a,
        edi: to + b,
        eax: value,
        down,
      });
      const moved = (down ? -done : done) * size;
      const what = `${scan ? "SCAS" : "CMPS"} ${prefix.toString(16)} size ${size} count ${count} down ${down}`;
      expect(slot(A.S_RCX), what).toBe(count - done);
      expect(slot(A.S_RDI), what).toBe(to + b + moved);
      expect(slot(A.S_RSI), what).toBe(from + a + (scan ? 0 : moved));
      if (count > 0) expect((getFlags(core) & FLAG_ZF) !== 0, what).toBe(equal);
    }
  });

  it("leave the flags alone if the count is zero", () => {
    run([0xf3, 0xa6], { ecx: 0, esi: 0x8000, edi: 0xb000 });
    expect(getFlags(core) & FLAG_ZF).toBe(0);
  });
});

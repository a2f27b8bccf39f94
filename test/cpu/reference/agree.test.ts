import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { makeReference } from "../../../cpu/reference/evaluator.ts";
import { makeInterpreter } from "../../../cpu/run.ts";
import type { Translator } from "../../../cpu/translator/translator.ts";
import { BareCore, type BareFault, CODE, DATA } from "../../support/bare-core.ts";
import { eagerTranslator } from "../../support/eager-translator.ts";
import { type Program, programs } from "./programs.ts";

const interpreter = new BareCore(makeInterpreter);
const translations: Translator[] = [];
const translate = eagerTranslator(translations);
const translator = new BareCore(translate);
/** The same with the host's time noted: some translations are called from outside. */
const timed = new BareCore(translate, () => performance.now());
const reference = new BareCore(makeReference);
const CYCLES = 400;

function describeProgram(program: Program): string {
  const registers = program.options.registers!.map((value, n) => `r${n}=${value.toString(16)}`).join(" ");
  return `${program.text}\n${registers}\nslice ${program.slice}`;
}

/** Runs a program, skipping instructions that fault, and tells everything that can be seen. */
function outcome(bare: BareCore, program: Program, slice: number): unknown {
  bare.reset(program.code, program.options);
  // Data begins as a pattern, so that loads differ.
  const { arena } = bare;
  for (let n = 0; n < 0x4000; n++) arena.u8[arena.ram + 0x20000 + n] = (n * 167 + (n >> 8)) & 255;
  const base = (program.bits === 16 ? 0 : CODE) + program.options.start!;
  const resume = (fault: BareFault): number => {
    const next = program.starts.find((at) => base + at > fault.rip);
    return next === undefined || fault.rip < base ? -1 : base + next;
  };
  try {
    return { ...bare.runThrough(CYCLES, slice, resume), state: bare.state() };
  } catch (error) {
    throw new Error(`${String(error)}\n${describeProgram(program)}`);
  }
}

/** The lines in which two outcomes differ. */
function difference(expected: unknown, found: unknown): string[] {
  const left = JSON.stringify(expected, null, 1).split("\n");
  const right = JSON.stringify(found, null, 1).split("\n");
  const lines: string[] = [];
  for (let n = 0; n < Math.max(left.length, right.length); n++)
    if (left[n] !== right[n]) lines.push(`${left[n] ?? ""}  <>  ${right[n] ?? ""}`);
  return lines;
}

/** Throws a readable report if the outcomes differ. */
function compare(program: Program, expected: unknown, found: unknown): void {
  const lines = difference(expected, found);
  if (lines.length === 0) return;
  throw new Error(`${describeProgram(program)}\n${lines.slice(0, 30).join("\n")}`);
}

function agree(program: Program): void {
  const expected = outcome(reference, program, program.slice);
  compare(program, expected, outcome(interpreter, program, program.slice));
  compare(program, expected, outcome(program.code.length % 2 === 0 ? translator : timed, program, program.slice));
}

/** Tells the shortest program that fails, and why; the values behind it are long. */
function reporter<T>(details: fc.RunDetails<T>): void {
  if (!details.failed) return;
  const cause = details.errorInstance instanceof Error ? details.errorInstance.message : String(details.errorInstance);
  throw new Error(`seed ${details.seed}, path ${details.counterexamplePath?.slice(0, 40)}\n${cause}`);
}

const RUNS = Number(process.env.XENOSCOPE_PROGRAMS ?? 60);

describe("interpreter, translator and reference", () => {
  for (const [name, bits, cpl] of [
    ["64-bit user code", 64, 3],
    ["64-bit kernel code", 64, 0],
    ["32-bit code", 32, 0],
    ["real-mode code", 16, 0],
  ] as const)
    it(`agree on registers, flags, memory, counts and faults of random ${name}`, () => {
      fc.assert(fc.property(programs(bits, cpl, 25), agree), { numRuns: RUNS, reporter });
    });

  it("agree on plain 64-bit code that repeats, which is translated", () => {
    fc.assert(fc.property(programs(64, 3, 25, true), agree), { numRuns: RUNS, reporter });
  });

  it("agree on bases of segments that a loop writes, exchanges and uses", () => {
    // CR4.FSGSBASE; then for ever: wrgsbase rsi; swapgs; wrgsbase rdi; rcx = gs:0; swapgs; rdx += gs:0; wrfsbase rdi; rbx += fs:0; rsi++, rdi++
    const instructions = [
      "0f 20 e0",
      "0d 00 00 01 00",
      "0f 22 e0",
      "f3 48 0f ae de",
      "0f 01 f8",
      "f3 48 0f ae df",
      "65 48 8b 0c 25 00 00 00 00",
      "0f 01 f8",
      "65 48 03 14 25 00 00 00 00",
      "f3 48 0f ae d7",
      "64 48 03 1c 25 00 00 00 00",
      "48 ff c6",
      "48 ff c7",
      "eb c8",
    ].map((text) => text.split(" ").map((byte) => Number.parseInt(byte, 16)));
    const starts = [0];
    for (const bytes of instructions) starts.push(starts.at(-1)! + bytes.length);
    const code = Uint8Array.from(instructions.flat());
    const registers = Array.from({ length: 16 }, (_, n) =>
      BigInt(n === 6 ? DATA : n === 7 ? DATA + 64 : n === 4 ? DATA + 0x3000 : 0),
    );
    agree({ bits: 64, code, starts, options: { bits: 64, cpl: 0, registers, start: 0 }, slice: CYCLES, text: "" });
  });

  it("did translate what the programs repeat", () => {
    expect(translations.reduce((sum, t) => sum + t.counts.functions, 0)).toBeGreaterThan(RUNS >> 2);
  });

  it("give the same run in slices of any length", () => {
    fc.assert(
      fc.property(programs(64, 3, 25), (program) => {
        const whole = outcome(interpreter, program, 100_000);
        for (const slice of [1, 5, 64]) {
          compare(program, whole, outcome(interpreter, program, slice));
          compare(program, whole, outcome(slice === 5 ? timed : translator, program, slice));
        }
      }),
      { numRuns: RUNS >> 1, reporter },
    );
  });
});

/**
 * Code in several pages that call one another, while their mappings and bytes change: translated code that goes from page to page
 * must see what the interpreter and the reference see, TLB misses included.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as A from "../../../cpu/arena.ts";
import { makeReference } from "../../../cpu/reference/evaluator.ts";
import { makeInterpreter } from "../../../cpu/run.ts";
import { updateMode } from "../../../cpu/system/mode.ts";
import type { Translator } from "../../../cpu/translator/translator.ts";
import { BareCore, CODE } from "../../support/bare-core.ts";
import { eagerTranslator } from "../../support/eager-translator.ts";

const translations: Translator[] = [];
const subjects = {
  reference: new BareCore(makeReference),
  interpreter: new BareCore(makeInterpreter),
  translator: new BareCore(eagerTranslator(translations)),
};

/** An instruction of H crosses into the page after. */
const [F, G, H] = [CODE + 0x1000, CODE + 0x2000, CODE + 0x3ff4];
const PAGES = [F, G, CODE + 0x3000, CODE + 0x4000] as const;
/** Where other versions of the three functions lie in RAM, in frames in the order of PAGES. */
const OTHER = { [F]: 0x28000, [G]: 0x29000, [H]: 0x2aff4 };
/** Page tables of BareCore, and a second set whose functions are the other ones. */
const [ROOT, LEAF, ROOT2, LEAF2] = [0x1000, 0x4000, 0x5000, 0x8000];
const CR4_PCIDE = 0x20000;

const word = (value: number): number[] => [value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >>> 24) & 255];
const pte = (leaf: number, page: number): number => leaf + (page >>> 12) * 8;

/** Bytes at `at` of a near call to `to`. */
const call = (at: number, to: number): number[] => [0xe8, ...word(to - at - 5)];

/** f: add edx, n; jumps over itself now and then. g: calls f, rotates. h: calls g through a register, xor edx, n (crosses), and calls f. */
function functions(version: number): Record<number, number[]> {
  const f = [0x83, 0xc2, version + 3, 0xf6, 0xc2, 0x04, 0x74, 0x03, 0x83, 0xf2, version + 0x11, 0xc3];
  const g = [0x6b, 0xd2, 5, ...call(G + 3, F), 0xc1, 0xc2, 3 + version, 0xc3];
  const xor = [0x81, 0xf2, ...word(0x11 + version * 0x1010100)];
  const h = [0x48, 0xc7, 0xc3, ...word(G), 0xff, 0xd3, ...xor, ...call(H + 15, F), 0x31, 0xd7, 0xc3];
  return { [F]: f, [G]: g, [H]: h };
}

type Step = { name: string; code: (at: number) => number[] };
const step = (name: string, code: (at: number) => number[]): Step => ({ name, code });
const FUNCTIONS = [F, G, H] as const;
const STEPS: Step[] = [
  ...FUNCTIONS.map((to) => step(`call ${to.toString(16)}`, (at) => call(at, to))),
  // mov rbx, F; test dl, 1; jz over; mov rbx, H; over: call rbx
  step("call one of two", () => [
    ...[0x48, 0xc7, 0xc3, ...word(F), 0xf6, 0xc2, 1, 0x74, 7, 0x48, 0xc7, 0xc3, ...word(H), 0xff, 0xd3],
  ]),
  ...PAGES.map((page) => step(`invlpg ${page.toString(16)}`, () => [0x0f, 0x01, 0x3c, 0x25, ...word(page)])),
  ...PAGES.map((page) =>
    // Swaps the entries of both sets: to the other frame, or back.
    step(`remap ${page.toString(16)}`, () => [
      ...[0x48, 0x8b, 0x04, 0x25, ...word(pte(LEAF, page)), 0x48, 0x8b, 0x0c, 0x25, ...word(pte(LEAF2, page))],
      ...[0x48, 0x89, 0x0c, 0x25, ...word(pte(LEAF, page)), 0x48, 0x89, 0x04, 0x25, ...word(pte(LEAF2, page))],
    ]),
  ),
  ...[ROOT, ROOT2].map((root) =>
    step(`cr3 ${root.toString(16)}`, () => [0x48, 0xc7, 0xc0, ...word(root), 0x0f, 0x22, 0xd8]),
  ),
  ...[ROOT, ROOT2].map((root, n) =>
    // With PCIDs: a number of its own, and its translations are kept.
    step(`cr3 ${root.toString(16)} pcid`, () => [0x48, 0xb8, ...word(root + 1 + n), 0, 0, 0, 0x80, 0x0f, 0x22, 0xd8]),
  ),
  // The constant of f, of g, and either end of that of h's instruction that crosses.
  ...[F + 2, G + 2, H + 11, H + 12].map((at) =>
    step(`modify ${at.toString(16)}`, () => [0x80, 0x34, 0x25, ...word(at), 6]),
  ),
];

interface Plan {
  steps: Step[];
  slice: number;
  pcid: boolean;
}

/** The steps in a loop. */
function program(steps: readonly Step[]): Uint8Array {
  const code: number[] = [];
  for (const { code: bytes } of steps) code.push(...bytes(CODE + code.length));
  code.push(0xe9, ...word(-code.length - 5));
  return Uint8Array.from(code);
}

const CYCLES = 2500;

function outcome(bare: BareCore, plan: Plan): unknown {
  bare.reset(program(plan.steps), { cpl: 0 });
  const { arena, core } = bare;
  const ram = arena.u8.subarray(arena.ram);
  for (const [at, code] of Object.entries(functions(0))) ram.set(code, Number(at));
  for (const [at, code] of Object.entries(functions(1))) ram.set(code, OTHER[Number(at)]!);
  ram.copyWithin(ROOT2, ROOT, LEAF + 0x1000);
  const words = arena.i32;
  for (let level = 0; level < 3; level++)
    words[(arena.ram + ROOT2 + level * 0x1000) >>> 2] = (ROOT2 + (level + 1) * 0x1000) | 7;
  PAGES.forEach((page, n) => {
    words[(arena.ram + pte(LEAF2, page)) >>> 2] = (0x28000 + n * 0x1000) | 3;
  });
  if (plan.pcid) {
    core.i32[A.CR4 >>> 2]! |= CR4_PCIDE;
    updateMode(core);
  }
  return { ...bare.runThrough(CYCLES, plan.slice, () => -1), state: bare.state() };
}

const plans: fc.Arbitrary<Plan> = fc
  .record({
    picks: fc.array(fc.nat(STEPS.length - 1), { minLength: 3, maxLength: 12 }),
    slice: fc.constantFrom(1, 3, 7, 64, 1000, CYCLES),
    pcid: fc.boolean(),
  })
  .map(({ picks, slice, pcid }) => ({
    // Bits 11..0 of CR3 are no PCID without CR4.PCIDE, and bit 63 is reserved then.
    steps: [STEPS[2]!, ...picks.map((n) => STEPS[n]!).filter((s) => pcid || !s.name.endsWith("pcid"))],
    slice,
    pcid,
  }));

describe("translated code that goes from page to page", () => {
  it("sees mappings and bytes change as the interpreter and the reference do, in slices of any length", () => {
    fc.assert(
      fc.property(plans, (plan) => {
        const expected = JSON.stringify(outcome(subjects.reference, plan), null, 1).split("\n");
        for (const name of ["interpreter", "translator"] as const) {
          const found = JSON.stringify(outcome(subjects[name], plan), null, 1).split("\n");
          const different = expected.flatMap((line, n) => (line === found[n] ? [] : [`${line} <> ${found[n]}`]));
          if (different.length > 0)
            throw new Error(
              `${name}: ${plan.steps.map((s) => s.name).join("; ")}, slice ${plan.slice}, pcid ${plan.pcid}\n${different.join("\n")}`,
            );
        }
      }),
      { numRuns: Number(process.env.XENOSCOPE_PROGRAMS ?? 40) },
    );
  });

  it("was translated, with regions of several pages", () => {
    const made = translations.reduce((sum, t) => sum + t.counts.functions, 0);
    const pages = translations.reduce((sum, t) => sum + t.counts.severalPages, 0);
    expect(made).toBeGreaterThan(50);
    expect(pages).toBeGreaterThan(10);
  });
});

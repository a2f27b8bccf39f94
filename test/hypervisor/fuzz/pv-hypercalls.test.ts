/** Whatever PV domains do: an errno where Xen gives one, never an exception, and the books of types and references stay right. */
import { expect, it } from "vitest";
import { makeReference } from "../../../cpu/reference/evaluator.ts";
import { makeInterpreter, makeTranslator } from "../../../cpu/run.ts";
import { operations } from "./coverage.ts";
import { NAMES, PvFuzzer } from "./pv-fuzzer.ts";

/** A short run by default; FUZZ_PV_CALLS=100000 for a long one, with another FUZZ_PV_SEED. */
const CALLS = Number(process.env.FUZZ_PV_CALLS ?? 3000);
const SEED = Number(process.env.FUZZ_PV_SEED ?? 4170);
const PIECE = 500;

it("PV kernels that do random things keep memory's books right, and every operation succeeds often", () => {
  const fuzzer = new PvFuzzer(SEED, SEED % 2 === 0 ? "intel" : "amd");
  const free = fuzzer.hv.heap.freeFrames;
  for (let done = 0; done < CALLS; done += PIECE) {
    fuzzer.run(PIECE);
    expect(fuzzer.audit()).toEqual([]);
  }
  expect(fuzzer.strange).toEqual([]);
  fuzzer.finish();
  expect(fuzzer.audit()).toEqual([]);
  // The machine-to-phys table stays.
  const { frames, compatFrames } = fuzzer.hv.m2p!;
  expect(fuzzer.hv.heap.freeFrames).toBe(free - frames.length - compatFrames.length);
  const wanted = CALLS >= 100_000 ? 100 : 1;
  const rare = (counts: Map<string, number>, keys: Iterable<string>): string[] =>
    [...keys]
      .map((key) => `${key}: ${counts.get(key) ?? 0}`)
      .filter((line) => Number(line.split(": ").at(-1)) < wanted);
  expect(rare(fuzzer.succeeded, NAMES)).toEqual([]);
  // Every hypercall and command that the hypervisor has, as it says itself.
  const known = new Set([...operations("pv"), ...operations("pv32")]);
  expect(rare(fuzzer.reached, known)).toEqual([]);
  expect([...fuzzer.reached.keys()].filter((key) => !known.has(key))).toEqual([]);
  // Most domains live until they are replaced or shut themselves down; few kernels lose their way.
  expect(fuzzer.hung).toBeLessThan(fuzzer.domains / 10);
}, 3_600_000);

/** Calls with every engine, compared after each few. */
const COMPARED = Number(process.env.FUZZ_PV_COMPARED ?? 200);

it.each(["intel", "amd"] as const)(
  "PV kernels on %s's processor do the same in all engines",
  (cpu) => {
    const all = [makeInterpreter, makeTranslator, makeReference].map((runner) => new PvFuzzer(SEED + 1, cpu, runner));
    for (let n = 0; n < COMPARED; n += 20) {
      for (const fuzzer of all) fuzzer.run(20);
      const [interpreted, translated, evaluated] = all.map((fuzzer) => fuzzer.state());
      expect(translated).toEqual(interpreted);
      expect(evaluated).toEqual(interpreted);
    }
  },
  3_600_000,
);

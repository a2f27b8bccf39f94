/** Two vcpus that change page tables, lists and descriptors while the other uses them: memory's books stay right, and nobody else is touched. */
import { expect, it } from "vitest";
import { makeReference } from "../../../cpu/reference/evaluator.ts";
import { makeInterpreter, makeTranslator } from "../../../cpu/run.ts";
import { Random } from "../../support/random.ts";
import { PvStorm } from "./pv-storm.ts";

/** A short run by default; STORM_ROUNDS=1000 for a long one, with another STORM_SEED. */
const ROUNDS = Number(process.env.STORM_ROUNDS ?? 25);
const SEED = Number(process.env.STORM_SEED ?? 77);
const CYCLES = 200_000;
/** Rounds that all engines do, and cycles of each. */
const COMPARED = { rounds: 6, cycles: 30_000 } as const;

it.each([
  ["intel", false],
  ["amd", false],
  ["intel", true],
  ["amd", true],
] as const)(
  "on %s's processor, 32 bits: %s",
  (cpu, is32) => {
    const storm = new PvStorm(new Random(SEED), cpu, undefined, is32);
    for (let n = 0; n < ROUNDS; n++) {
      storm.round(CYCLES);
      expect(storm.audit()).toEqual([]);
    }
    // Most rounds make hypercalls of many kinds before the kernel has destroyed itself.
    expect(storm.kinds).toBeGreaterThan(20);
    storm.finish();
    expect(storm.audit()).toEqual([]);
  },
  3_600_000,
);

it.each([false, true])(
  "in all engines alike, 32 bits: %s",
  (is32) => {
    const runners = [makeInterpreter, makeTranslator, makeReference];
    const all = runners.map((runner) => new PvStorm(new Random(SEED), "intel", runner, is32));
    for (let n = 0; n < COMPARED.rounds; n++) {
      for (const storm of all) storm.round(COMPARED.cycles);
      const [interpreted, translated, evaluated] = all.map((storm) => storm.state());
      expect(translated).toEqual(interpreted);
      expect(evaluated).toEqual(interpreted);
    }
  },
  600_000,
);

/** Random instructions in ring 0 of a guest end in a crash, a shutdown or at the cycle limit, and the engines agree on all of it. */
import { describe, expect, it, vi } from "vitest";
import { RegionCompiler } from "../../../cpu/translator/compile.ts";
import { TUNING } from "../../../cpu/translator/translator.ts";
import type { EngineName } from "../../../src/machine/api.ts";
import type { InspectableMachine } from "../../../src/machine/lockstep.ts";
import { Machine } from "../../../src/machine/machine.ts";
import { randomKernel } from "./random-kernel.ts";

const MEMORY = 8 << 20;
const CYCLES = 100_000;
const SEEDS = Number(process.env.FUZZ_RUNS ?? 5);

/** What has run twice is translated. */
Object.assign(TUNING, { warm: 2, batch: 4, patience: 1, calls: 3 });
const compile = vi.spyOn(RegionCompiler.prototype, "compile");

async function run(kernel: Uint8Array, engine: EngineName, cpu: "intel" | "amd"): Promise<Record<string, unknown>> {
  const domain = { name: "random", type: "pvh", kernel, memory: MEMORY, cmdline: "" } as const;
  const machine = (await Machine.create({ engine, cpu, domains: [domain] })) as InspectableMachine;
  const outcome = machine.run({ maxCycles: CYCLES });
  const { state, shutdownReason } = machine.domains[0]!;
  const { exits, faults, hypercalls, instructions, tlb } = machine.report().domains[0]!;
  return { outcome, state, shutdownReason, exits, faults, hypercalls, instructions, tlb, ...machine.inspect() };
}

describe("a kernel of random instructions", () => {
  for (const wide of [true, false])
    for (let seed = 1; seed <= SEEDS; seed++)
      it(`of seed ${seed} in ${wide ? 64 : 32}-bit mode runs the same in all engines`, async () => {
        const kernel = randomKernel(seed * 0x1000193, wide);
        const cpu = seed % 2 === 0 ? "amd" : "intel";
        const interpreted = await run(kernel, "interpreter", cpu);
        expect(["all-shutdown", "cycle-limit", "blocked"]).toContain(interpreted.outcome);
        expect(interpreted.instructions).toBeGreaterThan(20);
        expect(await run(kernel, "translator", cpu)).toEqual(interpreted);
        if (seed === 1) expect(await run(kernel, "reference", cpu)).toEqual(interpreted);
      }, 60_000);

  it("was translated in part", () => {
    const made = compile.mock.results.filter(({ value }) => value !== null).length;
    expect(made).toBeGreaterThan(2 * SEEDS);
  });
});

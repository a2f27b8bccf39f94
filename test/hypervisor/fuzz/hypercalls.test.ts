/** Whatever domains do, Xen answers with an errno or ends the domain: never an exception, never a frame lost or in two hands. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HostileMachine } from "./hostile-machine.ts";

const ROUNDS = 8;
const CYCLES = 1_000_000;

describe("domains that do anything at random", () => {
  it("get sane answers, keep the books of memory right, and leave nothing behind", () => {
    let calls = 0;
    let accepted = 0;
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const machine = new HostileMachine(seed);
        for (let round = 0; round < ROUNDS; round++) {
          machine.run(CYCLES);
          expect(machine.audit()).toEqual([]);
        }
        expect(machine.strange).toEqual([]);
        machine.removeAll();
        expect(machine.audit()).toEqual([]);
        expect(machine.hv.heap.freeFrames).toBe(machine.freeAtStart);
        calls += machine.calls;
        accepted += machine.accepted;
      }),
      { seed: 4170, numRuns: Number(process.env.FUZZ_RUNS ?? 8), endOnFailure: true },
    );
    // Random arguments that are refused at the door would prove little.
    expect(calls).toBeGreaterThan(8000);
    expect(accepted / calls).toBeGreaterThan(0.2);
  }, 600_000);
});

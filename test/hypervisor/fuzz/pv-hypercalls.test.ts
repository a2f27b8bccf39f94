/** Whatever PV domains ask for: an errno where Xen gives one, never an exception, and the books of types and references stay right. */
import { expect, it } from "vitest";
import { NAMES, PvFuzzer } from "./pv-fuzzer.ts";

/** 100,000 by default; FUZZ_PV_CALLS for more. */
const CALLS = Number(process.env.FUZZ_PV_CALLS ?? 100_000);
const PIECE = 500;

it("random hypercalls of PV guests keep memory's books right, and every operation succeeds often", () => {
  const fuzzer = new PvFuzzer(4170);
  const free = fuzzer.machine.hv.heap.freeFrames;
  for (let done = 0; done < CALLS; done += PIECE) {
    fuzzer.run(PIECE);
    expect(fuzzer.audit()).toEqual([]);
  }
  expect(fuzzer.strange).toEqual([]);
  fuzzer.finish();
  expect(fuzzer.audit()).toEqual([]);
  // The machine-to-phys table stays.
  const { frames, compatFrames } = fuzzer.machine.hv.m2p!;
  expect(fuzzer.machine.hv.heap.freeFrames).toBe(free - frames.length - compatFrames.length);
  const rare = NAMES.filter((name) => (fuzzer.succeeded.get(name) ?? 0) < CALLS / 1000);
  expect(rare.map((name) => `${name}: ${fuzzer.succeeded.get(name) ?? 0}`)).toEqual([]);
}, 600_000);

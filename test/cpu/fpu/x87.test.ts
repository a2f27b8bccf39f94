// Every x87 instruction against the processor that the tests run on, where that is an x86-64 with gcc.
import { describe, expect, it } from "vitest";
import { describeCase, differX87, isTranscendental, x87Case, x87Forms } from "./cases.ts";
import { newCore, runX87 } from "./model.ts";
import { hasOracle, runNative } from "./oracle.ts";
import { Random } from "./random.ts";

const EACH = 60;
const core = newCore();

describe.skipIf(!hasOracle())("x87 instructions on this processor", () => {
  for (const transcendental of [false, true]) {
    const what = transcendental
      ? "transcendental functions, to one unit in the last place"
      : "everything else, to the bit";
    it(`agree with the model: ${what}`, () => {
      const r = new Random(transcendental ? 4711 : 4712);
      const runs = x87Forms()
        .filter((form) => isTranscendental(form) === transcendental)
        .flatMap((form) =>
          Array.from({ length: transcendental ? EACH * 2 : EACH }, () => ({ form, view: x87Case(r, form) })),
        );
      const native = runNative(runs.map((run) => run.view));
      const failures: string[] = [];
      runs.forEach(({ form, view }, i) => {
        const model = runX87(core, view, form.opcode, form.modrm);
        const found = differX87(native[i] as DataView, model, transcendental ? 1 : 0);
        if (found.length > 0) failures.push(`${describeCase(view)}\n  ${found.join("\n  ")}`);
      });
      expect(failures.slice(0, 5)).toEqual([]);
      expect(runs.length).toBeGreaterThan(500);
    });
  }
});

/**
 * Vectors that nobody has seen before: random instructions, judged by the host's processor in the same run. The seed changes
 * from day to day and is named where something differs; XENOSCOPE_SEED=N runs that seed again.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import "../../cpu/uops/lift-all.ts";
import { checkFiles } from "../../src/conformance/check.ts";
import { cleanse, freshVectors, invalidVectors, rows64, toLine } from "../oracle/fresh.ts";
import { groupOf } from "../oracle/generate.ts";
import { askHost, hasHost, hasHostV3, hostIsAmd } from "../oracle/host.ts";
import { Random } from "../oracle/random.ts";
import type { Vector } from "../oracle/vector.ts";
import { wildVectors } from "../oracle/wild.ts";

const DAY = 86_400_000;
const SEED = Number(process.env.XENOSCOPE_SEED ?? Math.floor(Date.now() / DAY));
/** 100,000 vectors or so. */
const PER_ROW = 62;
const INVALID = 3000;
/** Of the generator that knows no table. */
const WILD = 12_000;
/** Vectors of one trip to the host. */
const BATCH = 5000;

function* vectors(): Generator<Vector> {
  const r = new Random(SEED);
  const rows = rows64().filter((row) => hasHostV3() || groupOf(row) !== "vex");
  yield* freshVectors(r, rows, { perRow: PER_ROW, perInstruction: 0, shared: true });
  yield* invalidVectors(r, rows, INVALID);
  yield* wildVectors(r, WILD, hasHostV3());
}

describe.skipIf(!hasHost())("the core agrees with the host's processor", () => {
  it(`on fresh random vectors of seed ${SEED}`, { timeout: 600_000 }, async () => {
    const folder = mkdtempSync(join(tmpdir(), "xenoscope-fresh-"));
    const file = join(folder, `seed-${SEED}.jsonl`);
    const options = { cpu: hostIsAmd() ? "amd" : "intel", engine: "interpreter", maxDifferences: 3 } as const;
    try {
      let count = 0;
      const check = async (batch: readonly Vector[]): Promise<void> => {
        const answers = askHost(batch);
        const lines = batch.map((v, n) => {
          cleanse(v, answers[n]!);
          return toLine(`${v.row} ${Buffer.from(v.code).toString("hex")}`, v, answers[n]!);
        });
        writeFileSync(file, lines.join("\n"));
        const result = await checkFiles([file], options);
        count += result.vectors;
        expect(result.failures).toEqual([]);
        expect(result.differing).toBe(0);
      };
      let batch: Vector[] = [];
      for (const v of vectors()) {
        batch.push(v);
        if (batch.length < BATCH) continue;
        await check(batch);
        batch = [];
      }
      await check(batch);
      expect(count).toBeGreaterThan(105_000);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

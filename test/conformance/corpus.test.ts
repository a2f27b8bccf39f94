/** The vectors that a real processor made, kept with the project: the command must agree with all of them, on any host. */
import { readdirSync, statSync } from "node:fs";
import { expect, it } from "vitest";
import { xenoscope } from "../support/command.ts";

const FOLDER = new URL(".", import.meta.url).pathname;
const CORPUS = readdirSync(FOLDER).filter((name) => name.endsWith(".jsonl.gz"));
const MOST_BYTES = 12 << 20;

it("the corpus is at most 12 MiB", () => {
  expect(CORPUS.length).toBeGreaterThan(0);
  expect(CORPUS.reduce((sum, name) => sum + statSync(FOLDER + name).size, 0)).toBeLessThanOrEqual(MOST_BYTES);
});

for (const name of CORPUS)
  it(`the interpreter agrees with the processor on every vector of ${name}`, { timeout: 300_000 }, async () => {
    const { code, stdout, stderr } = await xenoscope(["conformance", FOLDER + name, "--max-diffs", "3"]);
    expect(stderr).toBe("");
    expect(stdout).toMatch(/^\d{4,} vectors of \d+ instructions: all agree/m);
    expect(code).toBe(0);
  });

it.each(["integer", "vex"])(
  "the translator agrees with the processor on the vectors of corpus-%s",
  { timeout: 300_000 },
  async (group) => {
    const file = `${FOLDER}corpus-${group}.jsonl.gz`;
    const { code, stdout } = await xenoscope(["conformance", file, "--engine", "translator", "--json"]);
    const result = JSON.parse(stdout);
    expect(result.differences).toEqual([]);
    expect(result.translated).toBeGreaterThan(30_000);
    expect(code).toBe(0);
  },
);

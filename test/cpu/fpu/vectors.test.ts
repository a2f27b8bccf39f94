// The answers that a real processor gave, on any host.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { describeCase, differSse, differX87, isTranscendental } from "./cases.ts";
import { newCore, runSse, runX87 } from "./model.ts";
import { decodeCase, unpackVectors } from "./stored.ts";

const vectors = unpackVectors(readFileSync(new URL("./vectors.json.gz", import.meta.url)));
const core = newCore();

describe(`stored answers of a processor (${vectors.processor})`, () => {
  it("agree with the x87 of the model", () => {
    const failures: string[] = [];
    for (const stored of vectors.x87) {
      const { input, output } = decodeCase(stored);
      const model = runX87(core, input, stored.opcode, stored.modrm);
      const found = differX87(output, model, isTranscendental(stored) ? 1 : 0);
      if (found.length > 0) failures.push(`${describeCase(input)}\n  ${found.join("\n  ")}`);
    }
    expect(failures.slice(0, 5)).toEqual([]);
    expect(vectors.x87.length).toBeGreaterThan(500);
  });

  it("agree with the SSE floating point of the model", () => {
    const failures: string[] = [];
    for (const stored of vectors.sse) {
      if (/^R(CP|SQRT)[PS]S$/.test(stored.name)) continue;
      const { input, output } = decodeCase(stored);
      const found = differSse(output, runSse(core, input, stored.name, stored.wide, stored.imm));
      if (found.length > 0) failures.push(`${stored.name} ${describeCase(input)}\n  ${found.join("\n  ")}`);
    }
    expect(failures.slice(0, 5)).toEqual([]);
    expect(vectors.sse.length).toBeGreaterThan(500);
  });
});

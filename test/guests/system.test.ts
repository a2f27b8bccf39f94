/**
 * The system tests (guests/system) on the bare core: what user mode can't show, in 64-, 32- and 16-bit mode. The images judge
 * themselves; that they do so alike on other emulators is told in guests/system/README.md.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { makeReference } from "../../cpu/reference/evaluator.ts";
import { makeInterpreter, makeTranslator } from "../../cpu/run.ts";
import { runSystemGuest } from "../support/system-guest.ts";

const folder = fileURLToPath(new URL("../../guests/system", import.meta.url));
const IMAGES = ["system64.elf", "system32.elf", "system-pae.elf"];
const ENGINES = { interpreter: makeInterpreter, translator: makeTranslator, reference: makeReference };
/** The reference is slow: one image is enough for it. */
const enginesFor = (image: string): [string, typeof makeReference][] =>
  Object.entries(ENGINES).filter(([name]) => name !== "reference" || image === "system64.elf");

describe.each(IMAGES)("%s", (image) => {
  it("finds nothing wrong, in the same cycles in each engine", { timeout: 120_000 }, () => {
    const runs = enginesFor(image).map(([name, engine]) => ({
      name,
      ...runSystemGuest(join(folder, image), engine),
    }));
    for (const { name, text, end } of runs)
      expect(`${name}: ${text}${end}`).toMatch(/^\w+: \d+ checks, 0 failures\nexit$/);
    const cycles = runs.map((run) => run.cycles);
    expect(new Set(cycles).size, cycles.join(" ")).toBe(1);
  });
});

const version = (command: string): string =>
  (spawnSync(command, ["--version"], { encoding: "utf8" }).stdout ?? "").split("\n")[0]!;
const toolchain = `${version("gcc")}\n${version("ld")}`;
const same = readFileSync(join(folder, "system.toolchain"), "utf8").trim() === toolchain;

describe.skipIf(!same)("the images", () => {
  it("are what their sources give", { timeout: 60_000 }, () => {
    const out = mkdtempSync(join(tmpdir(), "system-"));
    const made = spawnSync("make", ["-C", folder, `OUT=${out}`], { encoding: "utf8" });
    expect(made.status, made.stderr).toBe(0);
    for (const image of IMAGES)
      expect(readFileSync(join(out, image)).equals(readFileSync(join(folder, image)))).toBe(true);
    rmSync(out, { recursive: true, force: true });
  });
});

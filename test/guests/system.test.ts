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
import type { Core } from "../../cpu/core.ts";
import { linkInterpreter, makeEnvironment } from "../../cpu/interpreter/link.ts";
import { makeReference } from "../../cpu/reference/evaluator.ts";
import { type BlockRunner, type Engine, makeInterpreter } from "../../cpu/run.ts";
import { findCpuModel } from "../../cpu/system/cpu-model.ts";
import { Translator } from "../../cpu/translator/translator.ts";
import { runSystemGuest } from "../support/system-guest.ts";

const folder = fileURLToPath(new URL("../../guests/system", import.meta.url));
const IMAGES = ["system64.elf", "system32.elf", "system-pae.elf"];

/** Translates whatever is entered a third time, at once. */
function makeEager(engine: Engine, core: Core): BlockRunner {
  const environment = makeEnvironment(core);
  const tuning = { warm: 2, batch: 1, patience: 1, calls: 3 };
  return {
    run: linkInterpreter(core, environment),
    translator: new Translator(core, engine.blocks, environment, tuning),
  };
}
const ENGINES = { interpreter: makeInterpreter, translator: makeEager, reference: makeReference };
const SUCCESS = /^\w+: \d+ checks, 0 failures\nexit$/;

describe.each(IMAGES)("%s", (image) => {
  it("finds nothing wrong, in the same cycles in each engine", { timeout: 240_000 }, () => {
    const runs = Object.entries(ENGINES).map(([name, engine]) => ({
      name,
      ...runSystemGuest(join(folder, image), engine),
    }));
    for (const { name, text, end } of runs) expect(`${name}: ${text}${end}`).toMatch(SUCCESS);
    const cycles = runs.map((run) => run.cycles);
    expect(new Set(cycles).size, cycles.join(" ")).toBe(1);
  });

  it("finds nothing wrong with AMD's processor", { timeout: 120_000 }, () => {
    const { text, end } = runSystemGuest(join(folder, image), makeEager, findCpuModel("amd", "x86-64-v3"));
    expect(`amd: ${text}${end}`).toMatch(SUCCESS);
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

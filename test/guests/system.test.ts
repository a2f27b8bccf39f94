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
import { makeInterpreter } from "../../cpu/run.ts";
import { findCpuModel } from "../../cpu/system/cpu-model.ts";
import { eagerTranslator } from "../support/eager-translator.ts";
import { runSystemGuest, type SystemRunOptions } from "../support/system-guest.ts";

const folder = fileURLToPath(new URL("../../guests/system", import.meta.url));
const IMAGES = ["system64.elf", "system32.elf", "system-pae.elf"];

const SUCCESS = /^\w+: \d+ checks, 0 failures\nexit$/;

/** The text of runs that must be good, and of the same cycles. */
function expectAlike(image: string, runs: Record<string, SystemRunOptions>): void {
  const cycles = Object.entries(runs).map(([name, options]) => {
    const { text, end, cycles } = runSystemGuest(join(folder, image), options);
    expect(`${name}: ${text}${end}`).toMatch(SUCCESS);
    return cycles;
  });
  expect(new Set(cycles).size, cycles.join(" ")).toBe(1);
}

describe.each(IMAGES)("%s", (image) => {
  it("finds nothing wrong in interpreter and translator", { timeout: 300_000 }, () => {
    expectAlike(image, { interpreter: { makeRunner: makeInterpreter }, translator: { makeRunner: eagerTranslator() } });
  });

  it("finds nothing wrong in the reference", { timeout: 300_000 }, () => {
    expectAlike(image, {
      interpreter: { makeRunner: makeInterpreter, quick: true },
      reference: { makeRunner: makeReference, quick: true },
    });
  });

  it("finds nothing wrong with AMD's processor", { timeout: 300_000 }, () => {
    const model = findCpuModel("amd", "x86-64-v3");
    expectAlike(image, { amd: { makeRunner: eagerTranslator(), model, quick: true } });
  });
});

const version = (command: string): string =>
  (spawnSync(command, ["--version"], { encoding: "utf8" }).stdout ?? "").split("\n")[0]!;
const toolchain = `${version("gcc")}\n${version("ld")}`;
const same = readFileSync(join(folder, "system.toolchain"), "utf8").trim() === toolchain;

describe.skipIf(!same)("the images", () => {
  it("are what their sources give", { timeout: 300_000 }, () => {
    const out = mkdtempSync(join(tmpdir(), "system-"));
    const made = spawnSync("make", ["-C", folder, `OUT=${out}`], { encoding: "utf8" });
    expect(made.status, made.stderr).toBe(0);
    for (const image of IMAGES)
      expect(readFileSync(join(out, image)).equals(readFileSync(join(folder, image)))).toBe(true);
    rmSync(out, { recursive: true, force: true });
  });
});

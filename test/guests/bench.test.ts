// The benchmark kernel as a test of the machine: what it computes must be what a model in TypeScript computes.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { type EngineName, Machine } from "../../src/index.ts";
import { MODELS } from "./bench-model.ts";

const folder = fileURLToPath(new URL("../../guests/bench", import.meta.url));
const kernel = new Uint8Array(readFileSync(join(folder, "bench.elf")));

/** Rounds for a few million instructions on the interpreter, and for the reference, which is a hundred times slower. */
const ROUNDS: Readonly<Record<string, readonly [interpreter: number, reference: number]>> = {
  mix: [40, 1],
  sha256: [12, 0],
  memory: [60, 1],
  chase: [400, 0],
  parse: [8, 0],
  muldiv: [150, 4],
  matmul: [40, 1],
  nbody: [70, 1],
  mandelbrot: [140, 3],
  virtual: [800, 10],
  bytecode: [14, 0],
  strings: [100, 1],
  jit: [300, 6],
  syscall: [120, 2],
  fault: [100, 6],
  switch: [60, 3],
  hits: [100, 1],
  misses: [100, 1],
  hypercall: [100, 1],
};

async function run(
  cmdline: string,
  engine: EngineName,
): Promise<{ text: string; cycles: number; instructions: number }> {
  const machine = await Machine.create({
    engine,
    domains: [{ name: "bench", type: "pvh", kernel, cmdline, memory: 64 << 20 }],
  });
  let text = "";
  machine.onLog((line) => (text += `${line}\n`));
  expect(machine.run({ maxCycles: 2_000_000_000 })).toBe("all-shutdown");
  const { cycles, instructions } = machine.report().totals;
  return { text, cycles, instructions };
}

function expected(name: string, n: number): string {
  return `bench ${name} n=${n} checksum=${MODELS[name]!(n).toString(16).padStart(8, "0")}\n`;
}

describe("the benchmark kernel", () => {
  it("knows the benchmarks that the model knows", async () => {
    const { text } = await run("bench=no-such n=1", "interpreter");
    expect(text).toContain(`NAME one of ${Object.keys(MODELS).join(" ")}\n`);
    expect(Object.keys(ROUNDS)).toEqual(Object.keys(MODELS));
  });

  it.each(Object.entries(ROUNDS))("computes what the model computes, translated or not: %s", async (name, [n]) => {
    const interpreted = await run(`bench=${name} n=${n}`, "interpreter");
    expect(interpreted.text).toContain(expected(name, n));
    expect(await run(`bench=${name} n=${n}`, "translator")).toEqual(interpreted);
  });

  it.each(Object.entries(ROUNDS).filter(([, [, n]]) => n > 0))("does so in the reference: %s", async (name, [, n]) => {
    const { text } = await run(`bench=${name} n=${n}`, "reference");
    expect(text).toContain(expected(name, n));
  });
});

const tool = (command: string, ...args: string[]): string =>
  spawnSync(command, args, { encoding: "utf8", timeout: 60_000 }).stdout ?? "";
const built = readFileSync(join(folder, "bench.toolchain"), "utf8").trim();
const here = [tool("gcc", "--version"), tool("ld", "--version")].map((text) => text.split("\n")[0]).join("\n");

describe.skipIf(built !== here)("the benchmark kernel built again by the same compiler", () => {
  it("is the same, byte for byte", () => {
    const out = mkdtempSync(join(tmpdir(), "bench-"));
    try {
      tool("make", "-C", folder, `OUT=${out}`);
      expect(readFileSync(join(out, "bench.elf")).equals(kernel)).toBe(true);
    } finally {
      rmSync(out, { recursive: true, force: true });
    }
  }, 60_000);
});

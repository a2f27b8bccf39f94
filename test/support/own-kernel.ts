/** Runs of our own kernel, as PVH or as PV, under our own hypervisor in this process. */
import { readFileSync } from "node:fs";
import { expect } from "vitest";
import type { CpuVendor, RunOutcome } from "../../src/machine/api.ts";
import { Machine } from "../../src/machine/machine.ts";

const MIB = 2 ** 20;

export interface OwnRun {
  outcome: RunOutcome;
  /** Xen's word for how the domain ended. */
  reason: string;
  /** Console and Xen's log. */
  text: string;
  log: string;
  cycle: number;
}

/** Boots the kernel with a command line, runs it to its end, and lets the audit of memory look at what is left. */
export async function runOwnKernel(
  type: "pvh" | "pv",
  cmdline: string,
  options: { vcpus?: number; pcpus?: number; cpu?: CpuVendor; input?: string } = {},
): Promise<OwnRun> {
  const { vcpus = 2, pcpus = 1, cpu = "intel", input } = options;
  const kernel = new Uint8Array(readFileSync(new URL(`../../guests/${type}/${type}.elf`, import.meta.url)));
  const machine = await Machine.create({
    pcpus,
    cpu,
    domains: [{ name: "own", type, kernel, memory: 64 * MIB, vcpus, cmdline }],
  });
  let text = "";
  let log = "";
  machine.onLog((line) => {
    log += `${line}\n`;
  });
  machine.console(1).onOutput((bytes) => {
    text += Buffer.from(bytes).toString("latin1");
  });
  if (input !== undefined) machine.console(1).input(new TextEncoder().encode(input));
  const outcome = machine.run({ maxCycles: 300e6 });
  expect((machine as Machine).audit()).toEqual([]);
  const reason = /d1 \(own\) (\w+)/.exec(log)?.[1] ?? "";
  return { outcome, reason, text, log, cycle: machine.cycle };
}

/** Lines by which a work says that something is wrong. */
export const failures = (text: string): string[] =>
  text.split("\n").filter((line) => line.startsWith("FAIL") || line.startsWith("panic"));

/** Loads the machine only when a run needs it, so that help and errors in a configuration come at once. */

import { readdirSync } from "node:fs";
import { setPriority } from "node:os";
import { setFlagsFromString } from "node:v8";
import type { MachineFactory } from "../machine/api.ts";

/**
 * V8's major versions that read branch hints behind a flag, which would write an error where it is unknown. Translated code says which
 * branches are rare: TLB misses, faults, the end of a slice. V8 keeps registers where they are on the others, if it is told to read
 * the hints; they change nothing else.
 */
const HINTING = { from: 11, to: 13 } as const;

/**
 * V8 optimises a WebAssembly function when it has run for so many bytes of code. Ten times V8's own number: a boot runs thousands of
 * functions a little, and optimising them costs more than they run for; a hot loop is there within a millisecond all the same.
 */
const TIERING_BUDGET = 20_000_000;
/** V8's major versions whose budget counts bytes. */
const BUDGET = { from: 11, to: 13 } as const;

const isV8From = ({ from, to }: { from: number; to: number }): boolean => {
  const major = Number.parseInt(process.versions.v8, 10);
  return major >= from && major <= to;
};

function setV8Flags(): void {
  if (isV8From(HINTING)) setFlagsFromString("--experimental-wasm-branch-hinting");
  if (isV8From(BUDGET)) setFlagsFromString(`--wasm-tiering-budget=${TIERING_BUDGET}`);
}

/** V8 compiles functions when they are called, and optimises them when they have run for a while. */
const LAZINESS: readonly string[] = ["wasm-lazy-compilation", "wasm-dynamic-tiering"];

/** What `compile` compiles is compiled and optimised at once, in V8's threads. */
function withoutLaziness(compile: () => void): void {
  if (!isV8From(BUDGET)) return;
  for (const flag of LAZINESS) setFlagsFromString(`--no-${flag}`);
  compile();
  for (const flag of LAZINESS) setFlagsFromString(`--${flag}`);
}

/** How much nicer V8's threads are than the one that runs the machine. */
const COMPILER_NICENESS = 6;

/**
 * V8 compiles in four threads. On two processors they take turns with the thread that runs the machine, which then waits for about a
 * seventh of a boot; nicer, they leave it its processor. (Linux alone has a niceness for each thread.)
 */
function letCompilersYield(): void {
  if (process.platform !== "linux") return;
  try {
    for (const thread of readdirSync("/proc/self/task"))
      if (Number(thread) !== process.pid) setPriority(Number(thread), COMPILER_NICENESS);
  } catch {
    // No /proc, or not allowed to: it is slower, not wrong.
  }
}

/** @param timed the machine's work will be timed */
export async function loadMachineFactory(timed: boolean): Promise<MachineFactory> {
  setV8Flags();
  letCompilersYield();
  const { Machine, interpreterModule } = await import("../machine/machine.ts");
  withoutLaziness(() => interpreterModule(timed));
  return Machine;
}

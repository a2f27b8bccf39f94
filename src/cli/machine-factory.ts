/** Loads the machine only when a run needs it, so that help and errors in a configuration come at once. */

import { setFlagsFromString } from "node:v8";
import type { MachineFactory } from "../machine/api.ts";

/** V8's major versions that have the flag, which would write an error where it is unknown. */
const HINTING = { from: 11, to: 13 } as const;

/**
 * Translated code says which branches are rare: TLB misses, faults, the end of a slice. V8 keeps registers where they are on the
 * others, if it is told to read the hints; they change nothing else.
 */
function readBranchHints(): void {
  const major = Number.parseInt(process.versions.v8, 10);
  if (major >= HINTING.from && major <= HINTING.to) setFlagsFromString("--experimental-wasm-branch-hinting");
}

export async function loadMachineFactory(): Promise<MachineFactory> {
  readBranchHints();
  return (await import("../machine/machine.ts")).Machine;
}

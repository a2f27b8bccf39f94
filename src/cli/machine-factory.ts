/** Loads the machine only when a run needs it, so that help and errors in a configuration come at once. */

import type { MachineFactory } from "../machine/api.ts";

export async function loadMachineFactory(): Promise<MachineFactory> {
  return (await import("../machine/machine.ts")).Machine;
}

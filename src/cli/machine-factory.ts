/** Loads the machine only when a run needs it, so that help and errors in a configuration come at once. */

import { setFlagsFromString } from "node:v8";
import type { MachineFactory } from "../machine/api.ts";

export async function loadMachineFactory(): Promise<MachineFactory> {
  // The generated interpreter is one large function that runs for long stretches: V8's baseline compiler makes it four
  // times slower, and it would be replaced only when the function is entered anew.
  setFlagsFromString("--no-liftoff");
  return (await import("../machine/machine.ts")).Machine;
}

/** `xenoscope demo`: our own small kernel under Xen, and the cycle table. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../toolstack/user-error.ts";
import type { Command, ParsedCommand } from "../command.ts";
import { loadMachineFactory } from "../machine-factory.ts";
import { runMachine } from "../machine-run.ts";
import { PACKAGE_ROOT } from "../package-files.ts";
import { runCommand, sharedOptions } from "./run.ts";

const KERNEL = "guests/pvh/pvh.elf";
const MEMORY = 64 * 2 ** 20;
const NAME = "pvh";

async function demo(parsed: ParsedCommand): Promise<number> {
  let kernel: Uint8Array;
  try {
    kernel = readFileSync(join(PACKAGE_ROOT, KERNEL));
  } catch {
    throw new UserError(`${KERNEL} is missing from the package: install xenoscope anew`);
  }
  return await runMachine(loadMachineFactory, {
    ...sharedOptions(parsed),
    table: true,
    noInput: true,
    domains: [
      { name: NAME, type: "pvh", kernel, kernelName: KERNEL, cmdline: "", memory: MEMORY, vcpus: 2, maxVcpus: 2 },
    ],
    sessionDomains: [
      {
        name: NAME,
        actions: {
          poweroff: "destroy",
          reboot: "destroy",
          watchdog: "destroy",
          crash: "destroy",
          softReset: "destroy",
        },
      },
    ],
  });
}

const SHARED = [
  "max-cycles",
  "timeout",
  "pcpus",
  "memory",
  "cpu",
  "cpu-model",
  "engine",
  "log",
  "report",
  "show-hypervisor-log",
];

export const demoCommand: Command = {
  name: "demo",
  description: "Run the embedded kernel under Xen and print where the cycles went",
  least: 0,
  most: 0,
  args: Object.fromEntries(SHARED.map((name) => [name, runCommand.args[name]!])),
  epilogue: `The kernel is in guests/pvh: it brings up paging, console, xenstore, events, timer and a second vcpu.

EXAMPLES
  xenoscope demo
  xenoscope demo --cpu amd --report demo.json`,
  run: demo,
};

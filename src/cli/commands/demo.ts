/** `xenoscope demo`: our own small kernel under Xen, and where its cycles went as PVH and as PV. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { DomainConfig } from "../../machine/api.ts";
import { type ComparedRun, compareRuns, formatComparison } from "../../report/comparison.ts";
import { UserError } from "../../toolstack/user-error.ts";
import type { Command, ParsedCommand } from "../command.ts";
import { loadMachineFactory } from "../machine-factory.ts";
import { runMachine } from "../machine-run.ts";
import { PACKAGE_ROOT } from "../package-files.ts";
import type { SessionDomain } from "../session.ts";
import { runContender } from "./compare.ts";
import { runCommand, sharedOptions } from "./run.ts";

const MEMORY = 64 * 2 ** 20;

/** The embedded kernel as a guest of one type. */
function guest(type: "pvh" | "pv"): { domain: DomainConfig; session: SessionDomain } {
  const file = `guests/${type}/${type}.elf`;
  let kernel: Uint8Array;
  try {
    kernel = readFileSync(join(PACKAGE_ROOT, file));
  } catch {
    throw new UserError(`${file} is missing from the package: install xenoscope anew`);
  }
  const domain = { name: type, type, kernel, kernelName: file, cmdline: "", memory: MEMORY, vcpus: 2, maxVcpus: 2 };
  const end = "destroy" as const;
  return {
    domain,
    session: { name: type, actions: { poweroff: end, reboot: end, watchdog: end, crash: end, softReset: end } },
  };
}

async function demo(parsed: ParsedCommand): Promise<number> {
  const options = sharedOptions(parsed);
  const pvh = guest("pvh");
  const pv = guest("pv");
  const runs: ComparedRun[] = [];
  const first = await runMachine(loadMachineFactory, {
    ...options,
    table: true,
    noInput: true,
    domains: [pvh.domain],
    sessionDomains: [pvh.session],
    onReport: (report) => runs.push({ label: "pvh", source: "guests/pvh", report }),
  });
  const contender = { label: "pv", source: "guests/pv", domains: [pv.domain], sessionDomains: [pv.session] };
  const second = await runContender(contender, options, (text) => void process.stderr.write(`${text}\n`));
  runs.push(second.run);
  process.stdout.write(
    `\nThe tour as PVH and as PV; each also checks what only its type has\n\n${formatComparison(compareRuns(runs))}\n`,
  );
  return Math.max(first, second.exitCode);
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
  description: "Run the embedded kernel under Xen and print where the cycles went, as PVH and as PV",
  least: 0,
  most: 0,
  args: Object.fromEntries(SHARED.map((name) => [name, runCommand.args[name]!])),
  epilogue: `The kernel is in guests/pvh and guests/pv: it brings up paging, console, xenstore, events, timer and a second vcpu.
--log and --report are of its run as PVH.

EXAMPLES
  xenoscope demo
  xenoscope demo --cpu amd --report demo.json`,
  run: demo,
};

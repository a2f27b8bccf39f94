/** The part of a report that depends on the host. */

import type { HostReport, MachineReport, Report } from "./schema.ts";

export interface HostFacts {
  command: string[];
  exitCode: number;
  version: string;
  wallSeconds: number;
  loadSeconds: number;
}

const round = (value: number, digits: number): number => Number(value.toFixed(digits));

/** Adds what only the host knows: time, speed, memory, versions. */
export function withHost(machine: MachineReport, facts: HostFacts): Report {
  const host: HostReport = {
    command: facts.command,
    exitCode: facts.exitCode,
    version: facts.version,
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    wallSeconds: round(facts.wallSeconds, 6),
    loadSeconds: round(facts.loadSeconds, 6),
    mips: facts.wallSeconds > 0 ? round(machine.totals.instructions / facts.wallSeconds / 1e6, 3) : 0,
    // libuv gives KiB on every platform.
    peakMemory: process.resourceUsage().maxRSS * 1024,
  };
  return { ...machine, host };
}

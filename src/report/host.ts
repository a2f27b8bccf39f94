/** The part of a report that depends on the host. */

import type { HostReport, HostSeconds, HostWork, MachineReport, Report } from "./schema.ts";

export interface HostFacts {
  command: string[];
  exitCode: number;
  version: string;
  wallSeconds: number;
  loadSeconds: number;
  /** Seconds from the start of the process until the command's modules were there, until the machine was made, and to the run's end. */
  startupSeconds: number;
  readySeconds: number;
  totalSeconds: number;
  /** Seconds that the run waited, for input or for real time. */
  waitingSeconds: number;
  garbageCollection: { count: number; seconds: number };
  /** What the machine itself did. */
  work: HostWork | null;
}

const round = (value: number, digits: number): number => Number(value.toFixed(digits));

/** Adds what only the host knows: time, speed, memory, versions. */
export function withHost(machine: MachineReport, facts: HostFacts): Report {
  const { user, system } = process.cpuUsage();
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
    ...(facts.work !== null && workOf(facts, facts.work)),
    processor: { user: round(user / 1e6, 6), system: round(system / 1e6, 6) },
    garbageCollection: {
      count: facts.garbageCollection.count,
      seconds: round(facts.garbageCollection.seconds, 6),
    },
  };
  return { ...machine, host };
}

function workOf(facts: HostFacts, { seconds, ...work }: HostWork): Pick<HostReport, "seconds" | "work"> {
  const { startupSeconds, readySeconds, totalSeconds, waitingSeconds } = facts;
  const sum = Object.values(seconds).reduce((total, part) => total + part, 0);
  // Loading is what comes before the run, less the parts of it that the machine timed.
  const load = Math.max(readySeconds - startupSeconds - seconds.unpack - seconds.build, 0);
  const all: HostSeconds = {
    total: totalSeconds,
    startup: startupSeconds,
    load,
    ...seconds,
    waiting: waitingSeconds,
    other: Math.max(totalSeconds - startupSeconds - load - sum - waitingSeconds, 0),
  };
  for (const part of Object.keys(all) as (keyof HostSeconds)[]) all[part] = round(all[part], 6);
  const perBlock = work.blocks > 0 ? (1e6 * (seconds.decode + seconds.lift)) / work.blocks : 0;
  return {
    seconds: all,
    work: { ...work, translatedShare: round(work.translatedShare, 4), microsecondsPerBlock: round(perBlock, 3) },
  };
}

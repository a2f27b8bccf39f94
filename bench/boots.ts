/** Debian's kernels from the start of the command to one line of the console, the same in all: the kernel starts /init. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder } from "../src/toolstack/guests/cache.ts";
import { rotated, type Spread, spread } from "./statistics.ts";
import type { Guest, Subject } from "./subjects.ts";

const LINE = /Run \/init as init process/;
const MEMORY_MIB = 512;
/** The same kernel as PV, against itself as PVH: QEMU has no such guests. */
const PV = "boot-cloud-pv";
export const BOOT_NAMES: readonly string[] = ["boot-cloud", PV, "boot-generic"];

export interface BootMeasurement {
  subject: string;
  /** Wall seconds to the line. */
  seconds: Spread;
  /** Million guest instructions a second over all of that time, start-up and unpacking included. */
  mips?: number;
  /** Most memory of the process beyond the guest's, MiB. */
  overheadMiB?: number;
  /** Times as fast as QEMU, each round by itself. */
  ratio?: Spread;
  /** Of the PV boot: how many times as long as the PVH boot of the same engine, each round by itself. */
  timesPvh?: Spread;
}

export interface BootResult {
  name: string;
  instructions?: number;
  measurements: BootMeasurement[];
}

function debian(flavour: string, type: "pvh" | "pv" = "pvh"): Guest | undefined {
  const folder = join(cacheFolder(), "debian");
  const [kernel, ramdisk] = [join(folder, flavour, "vmlinuz"), join(folder, "initramfs.cpio.gz")];
  if (!existsSync(kernel) || !existsSync(ramdisk)) return undefined;
  const console = { xen: "console=hvc0", qemu: "console=ttyS0" };
  return { name: `debian-${flavour}-${type}`, type, kernel, ramdisk, cmdline: "", console, memoryMiB: MEMORY_MIB };
}

/** Wall seconds of each round, and what was seen besides. */
interface Boots {
  walls: number[];
  instructions?: number;
  peakMemory: number;
}

async function boot(subject: Subject, guest: Guest, boots: Boots): Promise<void> {
  const run = await subject.run(guest, LINE);
  boots.walls.push(run.seconds);
  boots.peakMemory = Math.max(boots.peakMemory, run.peakMemory ?? 0);
  if (run.instructions !== undefined) boots.instructions ??= run.instructions;
}

const quotients = (above: readonly number[], below: readonly number[]): Spread =>
  spread(above.map((value, round) => value / below[round]!));

function measurement(subject: Subject, { walls, instructions, peakMemory }: Boots): BootMeasurement {
  const seconds = spread(walls);
  return {
    subject: subject.name,
    seconds,
    ...(instructions !== undefined && { mips: instructions / seconds.median / 1e6 }),
    ...(peakMemory > 0 && { overheadMiB: peakMemory / 2 ** 20 - MEMORY_MIB }),
  };
}

interface BootOptions {
  rounds: number;
  progress: (text: string) => void;
  /** Told what is not measured, and why. */
  skip: (what: string) => void;
}

async function againstQemu(
  name: string,
  guest: Guest,
  subjects: readonly Subject[],
  { rounds, progress }: BootOptions,
): Promise<BootResult> {
  const all = new Map<Subject, Boots>(subjects.map((subject) => [subject, { walls: [], peakMemory: 0 }]));
  for (let round = 0; round < rounds; round++) {
    progress(`round ${round + 1} of ${rounds}: ${name}`);
    for (const subject of rotated(subjects, round)) await boot(subject, guest, all.get(subject)!);
  }
  const reference = [...all].find(([subject]) => subject.name === "qemu")?.[1];
  const counted = [...all.values()].find(({ instructions }) => instructions !== undefined);
  return {
    name,
    ...(counted !== undefined && { instructions: counted.instructions! }),
    measurements: [...all].map(([subject, boots]) => ({
      ...measurement(subject, boots),
      ...(reference !== undefined && boots !== reference && { ratio: quotients(reference.walls, boots.walls) }),
    })),
  };
}

async function againstPvh(subject: Subject, { rounds, progress }: BootOptions): Promise<BootResult> {
  const [pv, pvh]: Boots[] = [
    { walls: [], peakMemory: 0 },
    { walls: [], peakMemory: 0 },
  ];
  for (let round = 0; round < rounds; round++) {
    progress(`round ${round + 1} of ${rounds}: ${PV}`);
    for (const type of rotated(["pv", "pvh"] as const, round))
      await boot(subject, debian("cloud", type)!, type === "pv" ? pv! : pvh!);
  }
  return {
    name: PV,
    ...(pv!.instructions !== undefined && { instructions: pv!.instructions }),
    measurements: [{ ...measurement(subject, pv!), timesPvh: quotients(pv!.walls, pvh!.walls) }],
  };
}

/** Boots of `names` for which there is a kernel in the cache. */
export async function measureBoots(
  names: readonly string[],
  subjects: readonly Subject[],
  options: BootOptions,
): Promise<BootResult[]> {
  const results: BootResult[] = [];
  for (const name of names) {
    const guest = debian(name.split("-")[1]!);
    const translator = subjects.find((subject) => subject.name === "translator");
    if (guest === undefined) options.skip(`${name}: no such kernel here; "xenoscope guests fetch debian" brings it`);
    else if (name !== PV) results.push(await againstQemu(name, guest, subjects, options));
    else if (translator !== undefined) results.push(await againstPvh(translator, options));
    else options.skip(`${name}: measured in the translator alone`);
  }
  return results;
}

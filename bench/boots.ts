/** Debian's kernels from the start of the command to one line of the console, the same in all: the kernel starts /init. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder } from "../src/toolstack/guests/cache.ts";
import { median, rotated } from "./statistics.ts";
import type { Guest, Subject } from "./subjects.ts";

const LINE = /Run \/init as init process/;
const MEMORY_MIB = 512;
export const BOOT_NAMES: readonly string[] = ["boot-cloud", "boot-generic"];

export interface BootMeasurement {
  subject: string;
  /** Wall seconds to the line: median and least. */
  seconds: number;
  least: number;
  /** Million guest instructions a second over all of that time, start-up and unpacking included. */
  mips?: number;
  /** Most memory of the process beyond the guest's, MiB. */
  overheadMiB?: number;
  ratio?: number;
}

export interface BootResult {
  name: string;
  instructions?: number;
  measurements: BootMeasurement[];
}

function debian(flavour: string): Guest | undefined {
  const folder = join(cacheFolder(), "debian");
  const [kernel, ramdisk] = [join(folder, flavour, "vmlinuz"), join(folder, "initramfs.cpio.gz")];
  if (!existsSync(kernel) || !existsSync(ramdisk)) return undefined;
  const console = { xen: "console=hvc0", qemu: "console=ttyS0" };
  return { name: `debian-${flavour}`, kernel, ramdisk, cmdline: "", console, memoryMiB: MEMORY_MIB };
}

/** Boots of `names` for which there is a kernel in the cache. */
export async function measureBoots(
  names: readonly string[],
  subjects: readonly Subject[],
  options: { rounds: number; progress: (text: string) => void },
): Promise<BootResult[]> {
  const results: BootResult[] = [];
  for (const name of names) {
    const guest = debian(name.slice("boot-".length));
    if (guest === undefined) {
      options.progress(`${name}: no such kernel here; "xenoscope guests fetch debian" brings it`);
      continue;
    }
    const walls = new Map<Subject, number[]>(subjects.map((subject) => [subject, []]));
    const peaks = new Map<Subject, number>();
    let instructions: number | undefined;
    for (let round = 0; round < options.rounds; round++) {
      options.progress(`round ${round + 1} of ${options.rounds}: ${name}`);
      for (const subject of rotated(subjects, round)) {
        const run = await subject.run(guest, LINE);
        walls.get(subject)!.push(run.seconds);
        if (run.peakMemory !== undefined) peaks.set(subject, Math.max(run.peakMemory, peaks.get(subject) ?? 0));
        instructions ??= run.instructions;
      }
    }
    const reference = subjects.find((subject) => subject.name === "qemu");
    const measurements = subjects.map((subject): BootMeasurement => {
      const own = walls.get(subject)!;
      const result: BootMeasurement = { subject: subject.name, seconds: median(own), least: Math.min(...own) };
      if (instructions !== undefined && subject !== reference) result.mips = instructions / result.seconds / 1e6;
      const peak = peaks.get(subject);
      if (peak !== undefined) result.overheadMiB = peak / 2 ** 20 - MEMORY_MIB;
      if (reference !== undefined && reference !== subject)
        result.ratio = median(walls.get(reference)!.map((theirs, round) => theirs / own[round]!));
      return result;
    });
    results.push({ name, measurements, ...(instructions !== undefined && { instructions }) });
  }
  return results;
}

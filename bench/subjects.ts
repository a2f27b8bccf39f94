/** What is measured: Xenoscope's engines and QEMU, each as a command that a user would type, with the host's clock around it. */
import { spawn, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";

/** One guest to start. */
export interface Guest {
  name: string;
  /** Default `pvh`; QEMU has no others. */
  type?: "pvh" | "pv";
  kernel: string;
  ramdisk?: string;
  /** Command line, and what stands before it because the console has another name there. */
  cmdline: string;
  console?: { xen: string; qemu: string };
  memoryMiB: number;
}

export interface Run {
  /** From the start of the command to its end, or to the line waited for. */
  seconds: number;
  /** Processor time of the command, all threads; undefined if it was ended early. Steadier than wall time on a busy host. */
  cpuSeconds?: number;
  output: string;
  /** As Xenoscope's report has them; undefined for QEMU. */
  instructions?: number;
  peakMemory?: number;
}

export interface Subject {
  name: string;
  /** Runs the guest to its end, or until its output has a line with `until`. Rejects if it fails or takes too long. */
  run(guest: Guest, until?: RegExp): Promise<Run>;
}

const TIMEOUT = 300_000;

/** Process groups that are running, to be ended with us. */
const groups = new Set<number>();
const end = (group: number): void => {
  try {
    process.kill(-group, "SIGKILL");
  } catch {
    // It ended meanwhile.
  }
};
process.on("exit", () => groups.forEach(end));
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(130));

/** Runs its arguments and prints the shell's times: those of the shell, then those of the command, user and system. */
const WITH_TIMES = '"$@"; code=$?; times; exit $code';
const CHILD_TIMES = /\n?\d+m[\d.]+s \d+m[\d.]+s\n(\d+)m([\d.]+)s (\d+)m([\d.]+)s\n$/;

interface Timed {
  seconds: number;
  cpuSeconds?: number;
  output: string;
  code: number | null;
}

/**
 * A command's output and times. With `until`, the wall time is that to a line that matches, and a command that would go on
 * (`endsItself` false) is ended there.
 */
function timed(
  command: string,
  args: readonly string[],
  until: RegExp | undefined,
  endsItself: boolean,
): Promise<Timed> {
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const child = spawn("sh", ["-c", WITH_TIMES, "sh", command, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    const group = child.pid;
    if (group !== undefined) groups.add(group);
    let output = "";
    let errors = "";
    let seconds = Number.NaN;
    const timer = setTimeout(() => group !== undefined && end(group), TIMEOUT);
    child.stdout.on("data", (bytes: Buffer) => {
      output += bytes.toString("latin1");
      if (until === undefined || !Number.isNaN(seconds) || !until.test(output)) return;
      seconds = (performance.now() - start) / 1000;
      if (!endsItself && group !== undefined) end(group);
    });
    child.stderr.on("data", (bytes: Buffer) => {
      errors += bytes.toString("latin1");
    });
    child.on("error", reject);
    child.on("exit", () => {
      if (until === undefined) seconds = (performance.now() - start) / 1000;
    });
    child.on("close", (code) => {
      clearTimeout(timer);
      if (group !== undefined) groups.delete(group);
      const all = output + errors;
      if (Number.isNaN(seconds)) {
        reject(new Error(`${command} ${args.join(" ")}: ended without ${until}\n${all.slice(-1000)}`));
        return;
      }
      const times = CHILD_TIMES.exec(output)?.slice(1).map(Number);
      resolve({
        seconds,
        output: all,
        code,
        ...(times !== undefined && { cpuSeconds: times[0]! * 60 + times[1]! + times[2]! * 60 + times[3]! }),
      });
    });
  });
}

const reportSchema = z.object({
  totals: z.object({ instructions: z.number() }),
  host: z.object({ peakMemory: z.number() }),
});

/** `xenoscope run --engine NAME`, by the built command `cli`; files go to `folder`. */
export function xenoscope(engine: string, cli: string, folder: string): Subject {
  return {
    name: engine,
    async run(guest, until) {
      const cfg = join(folder, `${guest.name}.cfg`);
      const report = join(folder, `${guest.name}-${engine}.json`);
      const extra = `${guest.console === undefined ? "" : `${guest.console.xen} `}${guest.cmdline}`;
      const ramdisk = guest.ramdisk === undefined ? "" : `ramdisk = "${guest.ramdisk}"\n`;
      writeFileSync(
        cfg,
        `name = "${guest.name}"\ntype = "${guest.type ?? "pvh"}"\nkernel = "${guest.kernel}"\n${ramdisk}` +
          `extra = "${extra}"\nmemory = ${guest.memoryMiB}\n`,
      );
      const args = [cli, "run", cfg, "--engine", engine, "--no-stdin", "--show-hypervisor-log", "--report", report];
      if (until !== undefined) args.push("--expect", until.source);
      const { code, ...run } = await timed(process.execPath, args, until, true);
      if (code !== 0) throw new Error(`${engine}: ${guest.name} ended with code ${code}\n${run.output.slice(-1000)}`);
      const { totals, host } = reportSchema.parse(JSON.parse(readFileSync(report, "utf8")));
      return { ...run, instructions: totals.instructions, peakMemory: host.peakMemory };
    },
  };
}

/** Does this build know the engine? The command refuses a word that it does not know with exit code 2. */
export function knowsEngine(engine: string, cli: string): boolean {
  const { status } = spawnSync(process.execPath, [cli, "run", "no-such.cfg", "--engine", engine], { stdio: "ignore" });
  return status === 1;
}

const QEMU = "qemu-system-x86_64";

/** First line of `--version`, or undefined where QEMU is missing. */
export function qemuVersion(): string | undefined {
  const { status, stdout } = spawnSync(QEMU, ["--version"], { encoding: "utf8" });
  return status === 0 ? stdout.split("\n")[0] : undefined;
}

/** QEMU with its translator. A Linux guest talks through the serial port, our own kernels through the debug port. */
export function qemu(): Subject {
  return {
    name: "qemu",
    async run(guest, until) {
      const args = ["-accel", "tcg", "-m", `${guest.memoryMiB}`, "-no-reboot", "-kernel", guest.kernel];
      if (guest.ramdisk !== undefined) args.push("-initrd", guest.ramdisk);
      const linux = guest.console !== undefined;
      args.push("-append", linux ? `${guest.console!.qemu} ${guest.cmdline}` : guest.cmdline);
      if (linux) args.push("-nographic");
      else args.push("-display", "none", "-debugcon", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=4");
      const { code, ...run } = await timed(QEMU, args, until, false);
      // isa-debug-exit makes 2 * value + 1 of the value written.
      if (until === undefined && code !== 1)
        throw new Error(`qemu: ${guest.name} ended with code ${code}\n${run.output}`);
      return run;
    },
  };
}

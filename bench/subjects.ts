/** What is measured: Xenoscope's engines and QEMU, each as a command that a user would type, with the host's clock around it. */
import { spawn, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";

/** One guest to start. */
export interface Guest {
  name: string;
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

/** A command's output and wall time; ends it by SIGKILL when `until` was seen and it does not end by itself (`waits` false). */
function timed(
  command: string,
  args: readonly string[],
  until: RegExp | undefined,
  waits: boolean,
): Promise<{ seconds: number; output: string; code: number | null }> {
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    let seconds = Number.NaN;
    const timer = setTimeout(() => child.kill("SIGKILL"), TIMEOUT);
    const take = (bytes: Buffer): void => {
      output += bytes.toString("latin1");
      if (until === undefined || !Number.isNaN(seconds) || !until.test(output)) return;
      seconds = (performance.now() - start) / 1000;
      if (!waits) child.kill("SIGKILL");
    };
    child.stdout.on("data", take);
    child.stderr.on("data", take);
    child.on("error", reject);
    child.on("exit", () => {
      if (until === undefined) seconds = (performance.now() - start) / 1000;
    });
    child.on("close", (code) => {
      clearTimeout(timer);
      if (Number.isNaN(seconds))
        reject(new Error(`${command} ${args.join(" ")}: ended without ${until}\n${output.slice(-1000)}`));
      else resolve({ seconds, output, code });
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
        `name = "${guest.name}"\ntype = "pvh"\nkernel = "${guest.kernel}"\n${ramdisk}` +
          `extra = "${extra}"\nmemory = ${guest.memoryMiB}\n`,
      );
      const args = [cli, "run", cfg, "--engine", engine, "--no-stdin", "--show-hypervisor-log", "--report", report];
      if (until !== undefined) args.push("--expect", until.source);
      const { seconds, output, code } = await timed(process.execPath, args, until, true);
      if (code !== 0) throw new Error(`${engine}: ${guest.name} ended with code ${code}\n${output.slice(-1000)}`);
      const { totals, host } = reportSchema.parse(JSON.parse(readFileSync(report, "utf8")));
      return { seconds, output, instructions: totals.instructions, peakMemory: host.peakMemory };
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
      const { seconds, output, code } = await timed(QEMU, args, until, false);
      // isa-debug-exit makes 2 * value + 1 of the value written.
      if (until === undefined && code !== 1) throw new Error(`qemu: ${guest.name} ended with code ${code}\n${output}`);
      return { seconds, output };
    },
  };
}

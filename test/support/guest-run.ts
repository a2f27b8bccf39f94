/** A scratch folder with configurations and scripts, and runs of the built command in it. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Report } from "../../src/report/schema.ts";
import { builtXenoscope, type CommandOptions, type CommandResult } from "./command.ts";

/** Our own PVH kernel; guests/README.md says what it does. */
export const OWN_KERNEL: string = fileURLToPath(new URL("../../guests/pvh/pvh.elf", import.meta.url));

/** What an xl.cfg says; `more` are further lines as they stand. */
export interface GuestConfig {
  name: string;
  /** Default pvh. */
  type?: "pv" | "pvh";
  kernel: string;
  ramdisk?: string;
  extra?: string;
  memory?: number;
  vcpus?: number;
  more?: readonly string[];
}

export interface GuestRun extends CommandResult {
  /** With `report`. */
  report?: Report;
  seconds: number;
}

export class RunFolder {
  readonly path: string = mkdtempSync(join(tmpdir(), "xenoscope-guests-"));
  private files = 0;

  write(name: string, content: string | Uint8Array): string {
    const file = join(this.path, name);
    writeFileSync(file, content);
    return file;
  }

  config(guest: GuestConfig): string {
    const lines = [
      `name = "${guest.name}"`,
      `type = "${guest.type ?? "pvh"}"`,
      `kernel = "${guest.kernel}"`,
      ...(guest.ramdisk === undefined ? [] : [`ramdisk = "${guest.ramdisk}"`]),
      ...(guest.extra === undefined ? [] : [`extra = "${guest.extra}"`]),
      `memory = ${guest.memory ?? 256}`,
      `vcpus = ${guest.vcpus ?? 1}`,
      ...(guest.more ?? []),
    ];
    return this.write(`${++this.files}-${guest.name}.cfg`, `${lines.join("\n")}\n`);
  }

  /** `xenoscope run` of these guests; `script` is the text of a script, `report` asks for one. */
  async run(
    guests: readonly GuestConfig[],
    args: readonly string[] = [],
    options: CommandOptions & { script?: string; report?: boolean } = {},
  ): Promise<GuestRun> {
    const configs = guests.map((guest) => this.config(guest));
    const files: string[] = [];
    if (options.script !== undefined) files.push("--script", this.write(`${++this.files}.script`, options.script));
    const report = join(this.path, `${++this.files}.json`);
    if (options.report === true) files.push("--report", report);
    const start = performance.now();
    const result = await builtXenoscope(["run", ...configs, ...files, ...args], options);
    return {
      ...result,
      seconds: (performance.now() - start) / 1000,
      ...(options.report === true && { report: JSON.parse(readFileSync(report, "utf8")) as Report }),
    };
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** A script: at each prompt of the initramfs' shell a command, and what it must show. */
export const shellSession = (...steps: readonly (readonly [command: string, shows?: string])[]): string =>
  steps
    .map(
      ([command, shows]) => `expect /root #\nsend "${command}\\n"\n${shows === undefined ? "" : `expect ${shows}\n`}`,
    )
    .join("");

/** What must not stand on a Linux console. */
export const LINUX_TROUBLE: RegExp =
  /BUG:|WARNING: (?!See http)|Call Trace|Oops:|general protection|segfault|\bstalls?\b|lockup|unchecked MSR|Unhandled|nobody cared|panic/i;

/**
 * `npm run bench`: our benchmark kernels and Debian's boots, in each engine and in QEMU, in the same run. A measurement, not a
 * test: nothing here fails because it is slow.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { arch, cpus, loadavg, release, tmpdir, totalmem, type } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { version } from "../src/cli/package-files.ts";
import { BOOT_NAMES, type BootResult, measureBoots } from "./boots.ts";
import { KERNEL_NAMES, type KernelResult, measureKernels } from "./kernels.ts";
import { knowsEngine, qemu, qemuVersion, type Subject, xenoscope } from "./subjects.ts";
import { bootTable, kernelTable, meanRatio, RATIO_CAP } from "./tables.ts";

const HELP = `npm run bench -- [OPTIONS]

  --quick          one round, half of the work, and of the boots the cloud kernel's alone
  --only A,B       these alone: ${[...KERNEL_NAMES, ...BOOT_NAMES].join(" ")}
                   (or "kernels", "boots")
  --engines A,B    these alone: translator interpreter reference qemu (default: all but reference)
  --rounds N       rounds of measuring (default 3)
  --json FILE      where the results go (default bench/results.json)
  --micro          instead: what single things cost (decoding, TLB misses, hypercalls)
  --cli FILE       the built command to measure (default: dist, built anew)
`;

const root = fileURLToPath(new URL("..", import.meta.url));
const { values: options } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string" },
    engines: { type: "string", default: "translator,interpreter,qemu" },
    rounds: { type: "string" },
    json: { type: "string", default: join(root, "bench/results.json") },
    cli: { type: "string" },
    micro: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

function fail(message: string): never {
  process.stderr.write(`bench: ${message}\n`);
  process.exit(2);
}

const progress = (text: string): void => {
  process.stderr.write(`bench: ${text}\n`);
};

function builtCommand(): string {
  if (options.cli !== undefined) return options.cli;
  progress("building");
  const { status } = spawnSync("npm", ["run", "--silent", "build"], { cwd: root, stdio: "inherit" });
  if (status !== 0) fail("the build failed");
  return join(root, "dist/src/cli/main.js");
}

function chosen(): { kernels: readonly string[]; boots: readonly string[] } {
  if (options.only === undefined)
    return { kernels: KERNEL_NAMES, boots: options.quick ? BOOT_NAMES.slice(0, 1) : BOOT_NAMES };
  const words = options.only
    .split(",")
    .flatMap((word) => (word === "kernels" ? KERNEL_NAMES : word === "boots" ? BOOT_NAMES : [word]));
  for (const word of words) if (![...KERNEL_NAMES, ...BOOT_NAMES].includes(word)) fail(`no benchmark is named ${word}`);
  return {
    kernels: KERNEL_NAMES.filter((name) => words.includes(name)),
    boots: BOOT_NAMES.filter((name) => words.includes(name)),
  };
}

/** What is not measured, and why. */
const skipped: string[] = [];
const skip = (what: string): void => {
  skipped.push(what);
  progress(what);
};

function subjectsOf(cli: string, folder: string): Subject[] {
  const subjects: Subject[] = [];
  for (const name of options.engines.split(",")) {
    if (name === "qemu") {
      if (qemuVersion() === undefined) skip("qemu: qemu-system-x86_64 is not installed, so there are no ratios");
      else subjects.push(qemu());
    } else if (knowsEngine(name, cli)) subjects.push(xenoscope(name, cli, folder));
    else skip(`${name}: this build has no such engine`);
  }
  if (subjects.length === 0) fail("there is nothing to measure");
  return subjects;
}

/** `load`: processes that ran or wanted to, over the minute before. */
function hostFacts(load: number): object {
  return {
    xenoscope: version(),
    node: process.version,
    v8: process.versions.v8,
    qemu: qemuVersion() ?? null,
    system: `${type()} ${release()} ${arch()}`,
    processor: cpus()[0]?.model ?? null,
    cpus: cpus().length,
    memoryMiB: Math.round(totalmem() / 2 ** 20),
    loadBefore: load,
    loadAfter: loadavg()[0]!,
  };
}

async function main(): Promise<void> {
  if (options.help) {
    process.stdout.write(HELP);
    return;
  }
  if (options.micro) {
    await (await import("./micro/suite.ts")).runMicro();
    return;
  }
  const rounds = options.rounds === undefined ? (options.quick ? 1 : 3) : Number(options.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) fail(`--rounds ${options.rounds}: no number of rounds`);
  const { kernels: kernelNames, boots: bootNames } = chosen();
  const load = loadavg()[0]!;
  const cli = builtCommand();
  const folder = mkdtempSync(join(tmpdir(), "xenoscope-bench-"));
  let kernels: KernelResult[] = [];
  let boots: BootResult[] = [];
  try {
    const subjects = subjectsOf(cli, folder);
    if (kernelNames.length > 0) {
      const elf = join(root, "guests/bench/bench.elf");
      kernels = await measureKernels(elf, kernelNames, subjects, { rounds, quick: options.quick, progress });
      process.stdout.write(`\n${kernelTable(kernels)}\n`);
    }
    boots = await measureBoots(bootNames, subjects, { rounds, progress, skip });
    if (boots.length > 0) process.stdout.write(`\n${bootTable(boots)}\n`);
    if (skipped.length > 0) process.stdout.write(`\nskipped:\n${skipped.map((what) => `  ${what}\n`).join("")}`);
    const results = {
      schemaVersion: 2,
      host: hostFacts(load),
      rounds,
      quick: options.quick,
      skipped,
      means: Object.fromEntries(
        subjects.flatMap(({ name }) => {
          const [wall, cpu] = [meanRatio(kernels, name), meanRatio(kernels, name, "cpuRatio")];
          return wall === undefined ? [] : [[name, { wall, cpu, cap: RATIO_CAP }]];
        }),
      ),
      kernels,
      boots,
    };
    writeFileSync(options.json, `${JSON.stringify(results, null, 2)}\n`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

await main();

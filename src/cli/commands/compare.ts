/** `xenoscope compare CFG...`: each configuration on a machine of its own, and where the cycles of each went, side by side. */

import { writeFileSync } from "node:fs";
import { basename } from "node:path";
import { type DomainConfig, MachineConfigError } from "../../machine/api.ts";
import { type ComparedRun, compareRuns, comparisonCsv, formatComparison } from "../../report/comparison.ts";
import { loadConfigs, loadDomain, systemReason } from "../../toolstack/load.ts";
import { UserError } from "../../toolstack/user-error.ts";
import { EXIT_OK, parseChoice } from "../arguments.ts";
import type { Command, ParsedCommand } from "../command.ts";
import { loadMachineFactory } from "../machine-factory.ts";
import { createMachine, readScript } from "../machine-run.ts";
import { Progress } from "../progress.ts";
import { Session, type SessionDomain, type SessionOptions } from "../session.ts";
import { placeConfigError, runCommand, sharedOptions } from "./run.ts";

const FORMATS = ["text", "json", "csv"] as const;

/** One machine to run: an xl configuration read, or an embedded guest. */
export interface Contender {
  readonly label: string;
  readonly source: string;
  readonly domains: readonly DomainConfig[];
  readonly sessionDomains: readonly SessionDomain[];
}

export type ContestOptions = ReturnType<typeof sharedOptions>;

/** Runs one machine to its end, without a terminal. @returns its run, and the exit code that `run` would give. */
export async function runContender(
  contender: Contender,
  options: ContestOptions,
  say: (text: string) => void,
): Promise<{ run: ComparedRun; exitCode: number }> {
  const script = options.scriptFile === undefined ? undefined : readScript(options.scriptFile);
  const { domains, label, source, sessionDomains } = contender;
  const machine = await createMachine(loadMachineFactory, { ...options, domains }, { label: `${label}: ` });
  const settings: SessionOptions = {
    domains: sessionDomains,
    expect: options.expect,
    maxCycles: options.maxCycles,
    timeout: options.timeout,
    script,
    realtime: false,
  };
  const progress = new Progress(options.quiet !== true);
  const limit = options.maxCycles;
  const session = new Session(machine, settings, {
    console: () => {},
    look: (cycle) => progress.update(`${label}: ${Math.floor(cycle / 1e6)} million cycles`, limit && cycle / limit),
    message: (text) => {
      progress.done();
      say(`${label}: ${text}`);
    },
  });
  const exitCode = await session.run();
  progress.done();
  return { run: { label, source, report: machine.report() }, exitCode };
}

/** File names without folder and `.cfg`; a second one of the same name gets a number. */
function labelsOf(files: readonly string[]): string[] {
  const seen = new Map<string, number>();
  return files.map((file) => {
    const name = basename(file).replace(/\.cfg$/, "");
    const times = (seen.get(name) ?? 0) + 1;
    seen.set(name, times);
    return times === 1 ? name : `${name}#${times}`;
  });
}

async function compare(parsed: ParsedCommand): Promise<number> {
  const options = sharedOptions(parsed);
  const format = parseChoice("--format", parsed.text("format") ?? "text", FORMATS);
  const output = parsed.text("output");
  const say = (text: string): void => {
    if (options.quiet !== true) process.stderr.write(`${text.trimEnd()}\n`);
  };
  const labels = labelsOf(parsed.words);
  // Everything is read and checked before anything runs.
  const contenders: Contender[] = [];
  const configs = await Promise.all(parsed.words.map((file) => loadConfigs([file])));
  for (const [i, { domains, warnings }] of configs.entries()) {
    for (const warning of warnings) say(`warning: ${warning}`);
    const loaded: DomainConfig[] = [];
    for (const domain of domains) loaded.push(await loadDomain(domain, options.pcpus ?? 1));
    const sessionDomains = domains.map((domain) => ({ name: domain.name.value, actions: domain.actions }));
    contenders.push({ label: labels[i]!, source: parsed.words[i]!, domains: loaded, sessionDomains });
  }
  const runs: ComparedRun[] = [];
  let exitCode = EXIT_OK;
  for (const [i, contender] of contenders.entries()) {
    try {
      const done = await runContender(contender, options, say);
      runs.push(done.run);
      exitCode = Math.max(exitCode, done.exitCode);
    } catch (error) {
      throw error instanceof MachineConfigError ? placeConfigError(error, configs[i]!.domains) : error;
    }
  }
  const comparison = compareRuns(runs);
  const text =
    format === "json"
      ? `${JSON.stringify(comparison, null, 2)}\n`
      : format === "csv"
        ? comparisonCsv(comparison)
        : `${formatComparison(comparison)}\n`;
  if (output === undefined) process.stdout.write(text);
  else
    try {
      writeFileSync(output, text);
    } catch (error) {
      throw new UserError(`--output: can't write ${output}: ${systemReason(error)}`);
    }
  return exitCode;
}

const SHARED = ["expect", "max-cycles", "timeout", "pcpus", "memory", "cpu", "cpu-model", "engine", "script", "quiet"];

export const compareCommand: Command = {
  name: "compare",
  description: "Run configurations, each on a machine of its own, and compare where the cycles went",
  least: 1,
  most: Number.POSITIVE_INFINITY,
  args: {
    cfg: { type: "positional", description: "xl.cfg files, one machine each (see xl.cfg(5))", required: true },
    format: { type: "string", description: "text (default), json or csv", valueHint: "FORMAT" },
    output: { type: "string", description: "write the comparison to a file", valueHint: "FILE" },
    ...Object.fromEntries(SHARED.map((name) => [name, runCommand.args[name]!])),
  },
  epilogue: `Every configuration runs to its own end: poweroff, --expect, the end of --script, or --max-cycles. Consoles are not
shown. Columns after the first also say how many times the first they are. The same input gives the same table.

JSON: { schemaVersion, metrics: [{ id, label, values: [one a run] }], runs: [{ label, source, report }] }, the report being
that of \`run --report\` without what depends on the host.

EXIT CODES  as those of \`run\`; the highest of all runs

EXAMPLES
  xenoscope compare debian-cloud-pv.cfg debian-cloud-pvh.cfg --script work.txt
  xenoscope compare pv.cfg pvh.cfg --expect '/root #' --format csv --output boot.csv`,
  run: compare,
};

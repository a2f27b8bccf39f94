/** `xenoscope run CFG...` */

import {
  type ConfigWarning,
  CPU_LEVELS,
  type DomainConfig,
  ENGINE_NAMES,
  MachineConfigError,
} from "../../machine/api.ts";
import { loadConfigs, loadDomain } from "../../toolstack/load.ts";
import { UserError } from "../../toolstack/user-error.ts";
import type { XlDomain } from "../../toolstack/xlcfg/domain.ts";
import { parseChoice, parseCycles, parseRegex, parseSeconds, parseSize, parseWhole, usageError } from "../arguments.ts";
import type { Command, ParsedCommand } from "../command.ts";
import { loadMachineFactory } from "../machine-factory.ts";
import { type MachineRunOptions, runMachine } from "../machine-run.ts";

const MIB = 2 ** 20;
/** More would exceed what one WebAssembly memory can hold beside CPU state. */
const MAX_PCPUS = 64;

function optional<T>(parsed: ParsedCommand, option: string, parse: (option: string, text: string) => T): T | undefined {
  const text = parsed.text(option);
  return text === undefined ? undefined : parse(`--${option}`, text);
}

/** The options that `run` and `demo` share, checked. */
export function sharedOptions(parsed: ParsedCommand): Omit<MachineRunOptions, "domains" | "sessionDomains"> {
  return {
    pcpus: optional(parsed, "pcpus", (option, text) => parseWhole(option, text, 1, MAX_PCPUS)),
    memory: optional(parsed, "memory", parseSize),
    engine: optional(parsed, "engine", (option, text) => parseChoice(option, text, ENGINE_NAMES)),
    cpu: optional(parsed, "cpu", (option, text) => parseChoice(option, text, ["intel", "amd"])),
    cpuModel: optional(parsed, "cpu-model", (option, text) => parseChoice(option, text, CPU_LEVELS)),
    expect: optional(parsed, "expect", parseRegex),
    maxCycles: optional(parsed, "max-cycles", parseCycles),
    timeout: optional(parsed, "timeout", parseSeconds),
    console: parsed.text("console"),
    logFile: parsed.text("log"),
    reportFile: parsed.text("report"),
    scriptFile: parsed.text("script"),
    recordFile: parsed.text("record"),
    realtime: parsed.flag("realtime") ? true : undefined,
    quiet: parsed.flag("quiet"),
    showHypervisorLog: parsed.flag("show-hypervisor-log"),
    table: parsed.flag("table"),
    noInput: parsed.flag("no-stdin"),
  };
}

async function run(parsed: ParsedCommand): Promise<number> {
  const options = sharedOptions(parsed);
  if (options.scriptFile !== undefined && options.recordFile !== undefined) {
    throw usageError("--script and --record exclude each other: a script is its own record");
  }
  const { domains, warnings } = await loadConfigs(parsed.words);
  if (options.quiet !== true)
    for (const warning of warnings) process.stderr.write(`${warning.replace(/^/, "warning: ")}\n`);
  if (options.console !== undefined) options.console = consoleName(options.console, domains);
  if (options.memory !== undefined) checkMemory(options.memory, domains);
  const loaded: DomainConfig[] = [];
  for (const domain of domains) loaded.push(await loadDomain(domain, options.pcpus ?? 1));
  try {
    return await runMachine(loadMachineFactory, {
      ...options,
      domains: loaded,
      onWarning: (warning) => {
        if (options.quiet !== true) process.stderr.write(`warning: ${placeWarning(warning, domains)}\n`);
      },
      sessionDomains: domains.map((domain) => ({ name: domain.name.value, actions: domain.actions })),
    });
  } catch (error) {
    throw error instanceof MachineConfigError ? placeConfigError(error, domains) : error;
  }
}

/** What the machine refused, at the line of the configuration that asked for it. */
export function placeConfigError(error: MachineConfigError, domains: readonly XlDomain[]): UserError {
  const domain = domains.find((candidate) => candidate.name.value === error.domain);
  if (domain === undefined) return new UserError(error.message);
  if (error.part === "cpuid" && domain.cpuidAt !== undefined)
    return new UserError(`${domain.cpuidAt.file}:${domain.cpuidAt.line}: ${error.message}`);
  const part =
    error.part === "kernel" || error.part === "ramdisk" || error.part === "memory" ? domain[error.part] : undefined;
  const { at } = part ?? domain.name;
  const file = typeof part?.value === "string" ? `${part.value}: ` : "";
  return new UserError(`${at.file}:${at.line}: ${file}${error.message}`);
}

/** What the machine did not honour, at the line of the configuration that asked for it. */
function placeWarning({ domain, message, rule }: ConfigWarning, domains: readonly XlDomain[]): string {
  const rules = domains.find((candidate) => candidate.name.value === domain)?.cpuid?.rules ?? [];
  const { at, text } = rules.find((placed) => placed.rule === rule)!;
  return `${at.file}:${at.line}: cpuid: ${text} is not honoured (${message})`;
}

/** `--console` takes a name or a domid; domids count from 1 in the order of the files. */
function consoleName(wanted: string, domains: readonly XlDomain[]): string {
  const names = domains.map((domain) => domain.name.value);
  if (names.includes(wanted)) return wanted;
  const byId = /^[0-9]+$/.test(wanted) ? names[Number(wanted) - 1] : undefined;
  if (byId === undefined) throw new UserError(`--console: there is no domain ${wanted}; there is ${names.join(", ")}`);
  return byId;
}

function checkMemory(memory: number, domains: readonly XlDomain[]): void {
  let sum = 0;
  for (const domain of domains) {
    sum += domain.memory.value;
    if (sum > memory) {
      const { at, value } = domain.memory;
      throw new UserError(
        `${at.file}:${at.line}: ${domain.name.value} wants ${value / MIB} MiB, but of the machine's ` +
          `${Math.floor(memory / MIB)} MiB only ${Math.floor((memory - sum + value) / MIB)} MiB are left`,
      );
    }
  }
}

export const runCommand: Command = {
  name: "run",
  description: "Boot Xen with the domains of xl configuration files",
  least: 1,
  most: Number.POSITIVE_INFINITY,
  args: {
    cfg: { type: "positional", description: "xl.cfg files, one domain each (see xl.cfg(5))", required: true },
    console: { type: "string", description: "show only this domain's console, and type into it", valueHint: "DOM" },
    expect: { type: "string", description: "end with 0 as soon as a console line matches", valueHint: "REGEX" },
    "max-cycles": {
      type: "string",
      description: "end at this cycle of the machine (5000000, 5M, 1.5G)",
      valueHint: "N",
    },
    timeout: { type: "string", description: "end with 3 after so many seconds of the host", valueHint: "SECONDS" },
    pcpus: { type: "string", description: "physical CPUs of the machine (default 1)", valueHint: "N" },
    memory: { type: "string", description: "machine memory (default: what the domains need)", valueHint: "SIZE" },
    cpu: { type: "string", description: "intel or amd (default intel)", valueHint: "VENDOR" },
    "cpu-model": {
      type: "string",
      description: "x86-64-v1, x86-64-v2 (default) or x86-64-v3 (with AVX2, AES, SHA)",
      valueHint: "MODEL",
    },
    engine: {
      type: "string",
      description: "translator (default), interpreter, reference or lockstep",
      valueHint: "ENGINE",
    },
    script: { type: "string", description: "type what this file says; stdin is off", valueHint: "FILE" },
    record: { type: "string", description: "write live input as a script that repeats the run", valueHint: "FILE" },
    log: { type: "string", description: "write the consoles to a file", valueHint: "FILE" },
    report: { type: "string", description: "write cycles and counts as JSON at the end", valueHint: "FILE" },
    table: { type: "boolean", description: "print the cycle table at the end" },
    "show-hypervisor-log": { type: "boolean", description: "show Xen's own log on stderr" },
    realtime: { type: "boolean", description: "don't let guest time run ahead of real time (default on a terminal)" },
    "no-stdin": { type: "boolean", description: "take no input" },
    quiet: { type: "boolean", alias: "q", description: "print nothing but errors" },
  },
  epilogue: `The terminal is the guest's console; Ctrl-] leaves. With several domains every line bears the domain's name,
and --console chooses one to type into.

SCRIPT, one statement a line: expect REGEX | send "text\\n" | wait CYCLES | console NAME | at CYCLE send "text" | end

EXIT CODES
  0  every domain shut down, --expect matched, the script ended, or --max-cycles was reached
  1  a file or a value is wrong            2  the command line is wrong
  3  --timeout, or what --expect or the script waited for did not come
  4  a domain crashed and on_crash (or on_watchdog) did not restart it
  70 a fault of Xenoscope itself

EXAMPLES
  xenoscope run debian.cfg
  xenoscope run debian.cfg --expect 'guest type PVH' --timeout 120 --report boot.json
  xenoscope run web.cfg db.cfg --pcpus 2 --console db --log consoles.txt
  xenoscope run debian.cfg --script poweroff.txt --table`,
  run,
};

/** What `run` and `demo` share: a machine from configurations, a session on the terminal, log, report and table. */

import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { PerformanceObserver } from "node:perf_hooks";
import type {
  ConfigWarning,
  CpuLevel,
  CpuVendor,
  DomainConfig,
  EngineName,
  MachineApi,
  MachineFactory,
} from "../machine/api.ts";
import { withHost } from "../report/host.ts";
import type { MachineReport } from "../report/schema.ts";
import { formatTable } from "../report/table.ts";
import { systemReason } from "../toolstack/load.ts";
import type { Script } from "../toolstack/script/parse.ts";
import { parseScript } from "../toolstack/script/parse.ts";
import { UserError } from "../toolstack/user-error.ts";
import { EXIT_OK } from "./arguments.ts";
import { version } from "./package-files.ts";
import { Progress } from "./progress.ts";
import { Session, type SessionDomain } from "./session.ts";
import { Terminal } from "./terminal.ts";

/** When Node and the command's modules had been loaded; milliseconds, as all times of performance.now, from the start of the process. */
const STARTED: number = performance.now();

/** Exit codes of a process that a signal ended, as shells count them. */
const SIGNAL_EXIT: Readonly<Record<string, number>> = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 };

export interface MachineRunOptions {
  domains: readonly DomainConfig[];
  sessionDomains: readonly SessionDomain[];
  pcpus?: number | undefined;
  memory?: number | undefined;
  engine?: EngineName | undefined;
  cpu?: CpuVendor | undefined;
  cpuModel?: CpuLevel | undefined;
  onWarning?: ((warning: ConfigWarning) => void) | undefined;
  console?: string | undefined;
  expect?: RegExp | undefined;
  maxCycles?: number | undefined;
  timeout?: number | undefined;
  logFile?: string | undefined;
  reportFile?: string | undefined;
  scriptFile?: string | undefined;
  recordFile?: string | undefined;
  realtime?: boolean | undefined;
  quiet?: boolean | undefined;
  showHypervisorLog?: boolean | undefined;
  table?: boolean | undefined;
  /** No input from stdin. */
  noInput?: boolean | undefined;
  /** Gets the machine's report at the end of the run. */
  onReport?: (report: MachineReport) => void;
}

/** Opens a file for writing now, so that a wrong path shows before the run and not after it. */
function openOutput(file: string, option: string): number {
  try {
    return openSync(file, "w");
  } catch (error) {
    throw new UserError(`${option}: can't write ${file}: ${systemReason(error)}`);
  }
}

function append(fd: number, file: string, data: string | Uint8Array): void {
  try {
    writeFileSync(fd, data);
  } catch (error) {
    throw new UserError(`can't write ${file}: ${systemReason(error)}`);
  }
}

export function readScript(file: string): Script {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new UserError(`--script: can't read ${file}: ${systemReason(error)}`);
  }
  return parseScript(text, file);
}

/** Makes the machine of `options`, with a line of progress; `label` stands before its steps. */
export async function createMachine(
  loadFactory: (timed: boolean) => Promise<MachineFactory>,
  options: Omit<MachineRunOptions, "sessionDomains">,
  { label = "", hostClock }: { label?: string; hostClock?: () => number } = {},
): Promise<MachineApi> {
  const progress = new Progress(options.quiet !== true);
  try {
    const factory = await loadFactory(hostClock !== undefined);
    return await factory.create({
      domains: options.domains,
      ...(options.pcpus !== undefined && { pcpus: options.pcpus }),
      ...(options.memory !== undefined && { memory: options.memory }),
      ...(options.engine !== undefined && { engine: options.engine }),
      ...(options.cpu !== undefined && { cpu: options.cpu }),
      ...(options.cpuModel !== undefined && { cpuModel: options.cpuModel }),
      ...(options.onWarning !== undefined && { onWarning: options.onWarning }),
      ...(hostClock !== undefined && { hostClock }),
      onProgress: (step, fraction) => progress.update(`${label}${step}`, fraction),
    });
  } finally {
    progress.done();
  }
}

/** Counts V8's garbage collections. */
class Collections {
  private readonly found = { count: 0, seconds: 0 };
  private readonly observer: PerformanceObserver = new PerformanceObserver((list) => this.note(list.getEntries()));

  constructor() {
    this.observer.observe({ entryTypes: ["gc"] });
  }

  end(): { count: number; seconds: number } {
    this.note(this.observer.takeRecords());
    this.observer.disconnect();
    return this.found;
  }

  private note(entries: readonly { duration: number }[]): void {
    this.found.count += entries.length;
    for (const { duration } of entries) this.found.seconds += duration / 1000;
  }
}

/** Builds the machine, runs it and gives the exit code. Throws UserError for input that is wrong. */
export async function runMachine(
  loadFactory: (timed: boolean) => Promise<MachineFactory>,
  options: MachineRunOptions,
): Promise<number> {
  const start = performance.now();
  const script = options.scriptFile === undefined ? undefined : readScript(options.scriptFile);
  for (const step of script?.steps ?? []) {
    if (step.console !== undefined && !options.sessionDomains.some((domain) => domain.name === step.console)) {
      throw new UserError(`${script!.file}:${step.line}: there is no domain ${step.console}`);
    }
  }
  const log = options.logFile === undefined ? undefined : openOutput(options.logFile, "--log");
  const report = options.reportFile === undefined ? undefined : openOutput(options.reportFile, "--report");
  const record = options.recordFile === undefined ? undefined : openOutput(options.recordFile, "--record");
  const reports = report !== undefined || options.table === true;
  const collections = reports ? new Collections() : undefined;
  const machine = await createMachine(loadFactory, options, reports ? { hostClock: () => performance.now() } : {});
  const ready = performance.now();

  let atLineStart = true;
  const say = (text: string): void => {
    if (options.quiet === true) return;
    if (!atLineStart && process.stdout.isTTY === true) process.stdout.write("\n");
    atLineStart = true;
    process.stderr.write(`${text.endsWith("\n") ? text.slice(0, -1) : text}\n`);
  };
  const session = new Session(
    machine,
    {
      domains: options.sessionDomains,
      console: options.console,
      expect: options.expect,
      maxCycles: options.maxCycles,
      timeout: options.timeout,
      script,
      realtime: options.realtime ?? (process.stdin.isTTY === true && script === undefined && options.noInput !== true),
    },
    {
      console: (bytes) => {
        if (options.quiet === true || bytes.length === 0) return;
        process.stdout.write(bytes);
        atLineStart = bytes[bytes.length - 1] === 0x0a;
      },
      ...(log !== undefined && { log: (bytes: Uint8Array) => append(log, options.logFile!, bytes) }),
      ...(record !== undefined && {
        record: (statement: string) => append(record, options.recordFile!, `${statement}\n`),
      }),
      message: (text) => say(text.includes("\n") ? text : `xenoscope: ${text}`),
    },
  );
  if (options.showHypervisorLog === true) machine.onLog((line) => say(line));

  const live = script === undefined && options.noInput !== true;
  const terminal = live
    ? new Terminal({
        input: (bytes) => session.input(bytes),
        leave: () => session.stop(EXIT_OK),
        end: () => {
          session.inputOpen = false;
        },
      })
    : undefined;
  const onSignal = (signal: NodeJS.Signals): void => session.stop(SIGNAL_EXIT[signal] ?? 1);
  const signals: NodeJS.Signals[] = ["SIGHUP", "SIGINT", "SIGTERM"];
  for (const signal of signals) process.on(signal, onSignal);
  // A reader that went away (`xenoscope run ... | head`) ends the run.
  const onPipeError = (): void => session.stop(EXIT_OK);
  process.stdout.on("error", onPipeError);

  const runStart = performance.now();
  let exitCode: number;
  try {
    session.inputOpen = live;
    terminal?.open();
    if (terminal?.isTTY === true) {
      const several = options.sessionDomains.length > 1 && options.console === undefined;
      const hint = several ? "--console NAME shows one console alone and types into it; " : "";
      say(`xenoscope: ${hint}Ctrl-] leaves`);
    }
    exitCode = await session.run();
    session.flush();
  } finally {
    terminal?.close();
    for (const signal of signals) process.off(signal, onSignal);
  }
  const end = performance.now();

  options.onReport?.(machine.report());
  if (reports) {
    const full = withHost(machine.report(), {
      command: ["xenoscope", ...process.argv.slice(2)],
      exitCode,
      version: version(),
      wallSeconds: (end - runStart) / 1000,
      loadSeconds: (ready - start) / 1000,
      startupSeconds: STARTED / 1000,
      readySeconds: ready / 1000,
      totalSeconds: end / 1000,
      waitingSeconds: session.waited / 1000,
      garbageCollection: collections!.end(),
      work: machine.hostWork(),
    });
    if (report !== undefined) append(report, options.reportFile!, `${JSON.stringify(full, null, 2)}\n`);
    if (options.table === true) process.stdout.write(`${atLineStart ? "" : "\n"}\n${formatTable(full)}\n`);
  }
  for (const file of [log, report, record]) if (file !== undefined) closeSync(file);
  return exitCode;
}

/**
 * From the settings of an xl configuration file to a checked description of one domain. Defaults and rules are those of
 * xl.cfg(5); a wrong value is a UserError with file and line, an option that changes nothing here is a warning.
 */

import type { DomainType } from "../../machine/api.ts";
import { didYouMean } from "../suggest.ts";
import { parseCpuid, type XlCpuid } from "./cpuid.ts";
import { errorAt, type Position } from "./lexer.ts";
import { XL_OPTIONS } from "./options.ts";
import { type AtomValue, parseXlCfg, type RawConfig, type Setting } from "./parser.ts";

/** What happens to a domain that stopped: xl.cfg(5), Event Actions. */
export const SHUTDOWN_ACTIONS = [
  "destroy",
  "restart",
  "rename-restart",
  "preserve",
  "coredump-destroy",
  "coredump-restart",
  "soft-reset",
] as const;
export type ShutdownAction = (typeof SHUTDOWN_ACTIONS)[number];

/** A value with the place that it came from, for errors that show later. */
export interface Placed<T> {
  readonly value: T;
  readonly at: Position;
}

export interface ShutdownActions {
  poweroff: ShutdownAction;
  reboot: ShutdownAction;
  watchdog: ShutdownAction;
  crash: ShutdownAction;
  softReset: ShutdownAction;
}

/** One domain as its file describes it; paths not yet opened, CPU lists not yet matched with the machine. */
export interface XlDomain {
  readonly file: string;
  readonly name: Placed<string>;
  readonly type: DomainType;
  readonly kernel: Placed<string>;
  readonly ramdisk?: Placed<string>;
  readonly cmdline: string;
  /** Bytes. */
  readonly memory: Placed<number>;
  readonly maxMemory: number;
  readonly vcpus: number;
  readonly maxVcpus: number;
  /** One list for all vcpus, or one per vcpu. */
  readonly cpus?: Placed<string> | readonly Placed<string>[];
  readonly weight: number;
  readonly cap: number;
  readonly uuid?: string;
  readonly actions: ShutdownActions;
  readonly maxGrantVersion?: number;
  readonly maxEventChannels?: number;
  readonly cpuid?: XlCpuid;
  /** Where `cpuid` stands, if it does. */
  readonly cpuidAt?: Position;
}

export interface XlDomainResult {
  readonly domain: XlDomain;
  /** Lines of the form `file:line: ...`. */
  readonly warnings: readonly string[];
}

const MIB = 1024 * 1024;
/** HVM_MAX_VCPUS of public/hvm/hvm_info_table.h. */
const MAX_VCPUS = 128;
/** What libxl gives a domain whose file does not say `memory`. */
const DEFAULT_MEMORY_MIB = 32;

const UUID = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i;

/** Reads options by name and type out of the raw settings. */
class Options {
  readonly #raw: RawConfig;

  constructor(raw: RawConfig) {
    this.#raw = raw;
  }

  setting(key: string): Setting | undefined {
    return this.#raw.get(key);
  }

  #atom(key: string): AtomValue | undefined {
    const setting = this.#raw.get(key);
    if (setting === undefined) return undefined;
    if (setting.value.kind !== "atom") throw errorAt(setting.value.at, `${key} takes one value, not a list`);
    return setting.value;
  }

  string(key: string): Placed<string> | undefined {
    const atom = this.#atom(key);
    return atom && { value: atom.text, at: atom.at };
  }

  choice<T extends string>(key: string, choices: readonly T[]): Placed<T> | undefined {
    const atom = this.#atom(key);
    if (atom === undefined) return undefined;
    const value = choices.find((choice) => choice === atom.text);
    if (value === undefined) {
      throw errorAt(atom.at, `${key} can't be "${atom.text}"${didYouMean(atom.text, choices)}: ${orList(choices)}`);
    }
    return { value, at: atom.at };
  }

  integer(key: string, least: number, most: number, unit = ""): Placed<number> | undefined {
    const atom = this.#atom(key);
    if (atom === undefined) return undefined;
    const value = parseInteger(atom.text);
    if (value === undefined) throw errorAt(atom.at, `${key} takes a whole number${unit}, not "${atom.text}"`);
    if (value < least || value > most) {
      throw errorAt(atom.at, `${key} is ${atom.text}, but must be from ${least} to ${most}${unit}`);
    }
    return { value, at: atom.at };
  }

  /** A string or number, or a list of them. */
  stringOrList(key: string): Placed<string> | Placed<string>[] | undefined {
    const setting = this.#raw.get(key);
    if (setting === undefined) return undefined;
    if (setting.value.kind === "atom") return { value: setting.value.text, at: setting.value.at };
    return setting.value.items.map((item) => {
      if (item.kind !== "atom") throw errorAt(item.at, `${key} takes a list of strings, not a list of lists`);
      return { value: item.text, at: item.at };
    });
  }
}

function orList(words: readonly string[]): string {
  return `it is one of ${words.join(", ")}`;
}

/** As strtol with base 0: decimal, 0x hexadecimal, 0 octal. */
function parseInteger(text: string): number | undefined {
  if (/^-?(0x[0-9a-f]+|[1-9][0-9]*|0)$/i.test(text)) {
    const negative = text.startsWith("-");
    const magnitude = Number(negative ? text.slice(1) : text);
    if (!Number.isSafeInteger(magnitude)) return undefined;
    return negative ? -magnitude : magnitude;
  }
  return /^0[0-7]+$/.test(text) ? Number.parseInt(text, 8) : undefined;
}

/** Checks the text of one xl configuration file. Throws UserError with file and line. */
export function parseDomain(source: string, file: string): XlDomainResult {
  const raw = parseXlCfg(source, file);
  const options = new Options(raw);
  const warnings = optionWarnings(raw);
  const warn = (at: Position, message: string): void => {
    warnings.push(`${at.file}:${at.line}: ${message}`);
  };
  const start: Position = { file, line: 1, column: 1 };

  const name = options.string("name");
  if (name === undefined) throw errorAt(start, 'name is missing: every domain needs name = "..."');
  if (!/^[^/\p{Cc}]+$/u.test(name.value))
    throw errorAt(name.at, `name can't be "${name.value}": not empty, no / and no control characters`);

  const type = domainType(options, start);
  const kernel = options.string("kernel");
  if (kernel === undefined || kernel.value === "") {
    throw errorAt(kernel?.at ?? start, `kernel is missing: Xenoscope boots a domain from kernel = "PATH"`);
  }
  const ramdisk = options.string("ramdisk");

  const memory = options.integer("memory", 1, 1 << 22, " MiB");
  const maxmem = options.integer("maxmem", 1, 1 << 22, " MiB");
  // libxl: either of the two defaults to the other.
  const memoryMib = memory ?? maxmem ?? { value: DEFAULT_MEMORY_MIB, at: start };
  if (memory === undefined && maxmem === undefined)
    warn(start, `memory is not set: ${DEFAULT_MEMORY_MIB} MiB, as xl gives`);
  if (maxmem !== undefined && maxmem.value < memoryMib.value) {
    throw errorAt(maxmem.at, `maxmem is ${maxmem.value} MiB, less than memory, which is ${memoryMib.value} MiB`);
  }

  const vcpus = options.integer("vcpus", 1, MAX_VCPUS);
  const maxvcpus = options.integer("maxvcpus", 1, MAX_VCPUS);
  const vcpuCount = vcpus?.value ?? 1;
  if (maxvcpus !== undefined && maxvcpus.value < vcpuCount) {
    throw errorAt(maxvcpus.at, `maxvcpus is ${maxvcpus.value}, less than vcpus, which is ${vcpuCount}`);
  }

  const uuid = options.string("uuid");
  if (uuid !== undefined && !UUID.test(uuid.value)) {
    throw errorAt(uuid.at, `uuid can't be "${uuid.value}": it has the form 01234567-89ab-cdef-0123-456789abcdef`);
  }

  const cpus = options.stringOrList("cpus");
  for (const list of cpus === undefined ? [] : Array.isArray(cpus) ? cpus : [cpus]) checkCpuList(list);
  const maxGrantVersion = options.integer("max_grant_version", 0, 2);
  const maxEventChannels = options.integer("max_event_channels", 1, 131072);

  const cpuid = options.setting("cpuid");

  const domain: XlDomain = {
    file,
    name,
    type,
    kernel,
    ...(ramdisk !== undefined && ramdisk.value !== "" && { ramdisk }),
    cmdline: commandLine(options, warn),
    memory: { value: memoryMib.value * MIB, at: memoryMib.at },
    maxMemory: (maxmem ?? memoryMib).value * MIB,
    vcpus: vcpuCount,
    maxVcpus: maxvcpus?.value ?? vcpuCount,
    ...(cpus !== undefined && { cpus }),
    weight: options.integer("cpu_weight", 1, 65535)?.value ?? 256,
    cap: options.integer("cap", 0, 100 * MAX_VCPUS, " percent")?.value ?? 0,
    ...(uuid !== undefined && { uuid: canonicalUuid(uuid.value) }),
    actions: {
      poweroff: action(options, "on_poweroff", "destroy"),
      reboot: action(options, "on_reboot", "restart"),
      watchdog: action(options, "on_watchdog", "destroy"),
      crash: action(options, "on_crash", "destroy"),
      softReset: action(options, "on_soft_reset", "soft-reset"),
    },
    ...(maxGrantVersion !== undefined && { maxGrantVersion: maxGrantVersion.value }),
    ...(maxEventChannels !== undefined && { maxEventChannels: maxEventChannels.value }),
    ...(cpuid !== undefined && { cpuid: parseCpuid(cpuid), cpuidAt: cpuid.value.at }),
  };
  return { domain, warnings };
}

function optionWarnings(raw: RawConfig): string[] {
  const warnings: string[] = [];
  for (const { key, value, at } of raw.values()) {
    if (value.kind === "list" && value.items.length === 0) continue; // `disk = []` asks for nothing
    const place = `${at.file}:${at.line}`;
    const option = XL_OPTIONS.get(key);
    if (option === undefined) {
      warnings.push(`${place}: option ${key} is unknown and ignored${didYouMean(key, XL_OPTIONS.keys())}`);
    } else if (option.status === "later") {
      warnings.push(`${place}: option ${key} is not yet honoured`);
    } else if (option.status === "moot") {
      warnings.push(`${place}: option ${key} is ignored: ${option.note}`);
    } else if (option.status === "deprecated") {
      warnings.push(`${place}: option ${key} is deprecated: ${option.note}`);
    }
  }
  return warnings;
}

/** `type`, or the older `builder`; xl takes a file with neither for a PV guest. */
function domainType(options: Options, start: Position): DomainType {
  const type = options.choice("type", ["pv", "pvh", "hvm"]);
  const builder = options.choice("builder", ["generic", "linux", "hvm"]);
  const chosen = type?.value ?? (builder?.value === "hvm" ? "hvm" : "pv");
  if (type !== undefined && builder !== undefined && (builder.value === "hvm") !== (chosen === "hvm")) {
    throw errorAt(builder.at, `builder = "${builder.value}" contradicts type = "${chosen}" of line ${type.at.line}`);
  }
  if (chosen === "hvm")
    throw errorAt((type ?? builder)?.at ?? start, `type "hvm": Xenoscope runs type = "pv" and type = "pvh" so far`);
  return chosen;
}

/** `cmdline`, else `root=ROOT EXTRA`: xl.cfg(5), Direct Kernel Boot. */
function commandLine(options: Options, warn: (at: Position, message: string) => void): string {
  const cmdline = options.string("cmdline");
  const root = options.string("root");
  const extra = options.string("extra");
  if (cmdline !== undefined) {
    for (const key of ["root", "extra"]) {
      const setting = options.setting(key);
      if (setting !== undefined) warn(setting.at, `option ${key} is ignored, because cmdline is set`);
    }
    return cmdline.value;
  }
  return [root && `root=${root.value}`, extra?.value].filter((part) => part !== undefined && part !== "").join(" ");
}

function action(options: Options, key: string, otherwise: ShutdownAction): ShutdownAction {
  return options.choice(key, SHUTDOWN_ACTIONS)?.value ?? otherwise;
}

function canonicalUuid(text: string): string {
  const hex = text.replaceAll("-", "").toLowerCase();
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

const CPU_LIST_PART = /^(\^?)(?:(all)|(nodes?:)?([0-9]+)(?:-([0-9]+))?)$/;

function checkCpuList(list: Placed<string>): void {
  for (const part of list.value.split(",")) {
    const match = CPU_LIST_PART.exec(part.trim());
    if (match === null)
      throw errorAt(list.at, `cpus: "${part.trim()}" is no CPU list: write "all", "0-3,5,^1" or "node:0"`);
    if (match[5] !== undefined && Number(match[5]) < Number(match[4])) {
      throw errorAt(list.at, `cpus: the range ${match[4]}-${match[5]} runs backwards`);
    }
  }
}

/**
 * The physical CPUs that a CPU list of xl.cfg(5) names, on a machine with `pcpus` of them, all on node 0. Throws UserError
 * where none is left.
 */
export function resolveCpuList(list: Placed<string>, pcpus: number): number[] {
  const chosen = new Set<number>();
  for (const part of list.value.split(",")) {
    const match = CPU_LIST_PART.exec(part.trim());
    if (match === null) throw errorAt(list.at, `cpus: "${part.trim()}" is no CPU list`);
    const [, negated, all, nodes, first, last] = match;
    let from = 0;
    let to = pcpus - 1;
    if (all === undefined) {
      from = Number(first);
      to = Math.min(Number(last ?? first), pcpus - 1);
      if (nodes !== undefined) {
        to = from === 0 ? pcpus - 1 : -1;
        from = 0;
      }
    }
    for (let cpu = from; cpu <= to; cpu++) {
      if (negated) chosen.delete(cpu);
      else chosen.add(cpu);
    }
  }
  if (chosen.size === 0) {
    throw errorAt(list.at, `cpus = "${list.value}" leaves no CPU: the machine has ${pcpus} (0 to ${pcpus - 1})`);
  }
  return [...chosen].sort((a, b) => a - b);
}

/**
 * The shape of `--report FILE.json`, as zod schemas and as types.
 *
 * Stable: fields are only ever added while `schemaVersion` stays; a reader ignores what it does not know. Two runs of the
 * same input give the same bytes outside `host`; whatever depends on the host (time, speed, memory, paths) stands there.
 * All counts are plain integers; cycles count the machine's clock.
 */

import { z } from "zod";
import { REPORT_SCHEMA_VERSION } from "./version.ts";

const count: z.ZodNumber = z.number().int().nonnegative();

/** Cycles by the privilege they were spent in. */
export interface CycleSplit {
  /** CPL 3 of the guest. */
  user: number;
  /** CPL 0 to 2 of the guest. */
  kernel: number;
  /** Xen, working for this domain or vcpu. */
  hypervisor: number;
}

export interface HypercallCount {
  /** `__HYPERVISOR_*` of public/xen.h. */
  number: number;
  /** Its name there, without the prefix; `unknown` for a number that Xen does not define. */
  name: string;
  count: number;
}

export interface FaultCount {
  /** Vector 0 to 31. */
  vector: number;
  /** The manual's mnemonic: `#PF`, `#GP`, ... */
  name: string;
  count: number;
}

export interface ExitCount {
  /** Name of the exit reason: `vmcall`, `hlt`, `cpuid`, ... */
  reason: string;
  count: number;
}

export interface VcpuReport {
  vcpu: number;
  online: boolean;
  cycles: CycleSplit;
  instructions: number;
}

export interface DomainReport {
  domid: number;
  name: string;
  type: "pvh" | "pv" | "hvm";
  /** Bytes at the end of the run. */
  memory: number;
  state: "running" | "shutdown";
  /** Only when `state` is `shutdown`. */
  shutdownReason?: string | undefined;
  cycles: CycleSplit;
  instructions: number;
  vcpus: VcpuReport[];
  /** By number, ascending; only those that were called. */
  hypercalls: HypercallCount[];
  /** Event channel notifications that were delivered to the domain. */
  events: number;
  /** Exceptions delivered in the guest, by vector, ascending; only those that happened. */
  faults: FaultCount[];
  /** Exits to the hypervisor by reason, most frequent first. */
  exits: ExitCount[];
  /** Page-table entries that Xen wrote for the guest (PV; 0 for a guest that owns its page tables). */
  pageTableUpdates: number;
  tlb: TlbCount;
}

export interface TlbCount {
  /** Data accesses and fetches whose translation had to be looked up. */
  misses: number;
  /** Times that all translations of an address space were dropped. */
  flushes: number;
  /** Walks of page tables, by accesses that no TLB could translate and by Xen on a guest's behalf. */
  walks: number;
}

export interface MachineReport {
  schemaVersion: number;
  machine: {
    pcpus: number;
    /** Bytes. */
    memory: number;
    engine: "translator" | "interpreter" | "reference" | "lockstep";
    cpu: "intel" | "amd";
    /** `x86-64-v1`, `x86-64-v2` or `x86-64-v3`. */
    cpuModel: string;
    timing: "fast" | "block" | "full";
  };
  domains: DomainReport[];
  totals: {
    /** The machine's clock at the end of the run. */
    cycles: number;
    /** Cycles of all physical CPUs: user + kernel + hypervisor + idle = `cycles` x `pcpus`, a quantum aside. */
    user: number;
    kernel: number;
    hypervisor: number;
    /** Nobody had anything to run. */
    idle: number;
    instructions: number;
  };
}

/** Seconds of the host by what was done while a machine was made and ran. None is negative. */
export interface WorkSeconds {
  /** Unpacking kernels and ramdisks; making engine and domains. */
  unpack: number;
  build: number;
  /** Bytes to instructions, and instructions to micro-ops in the cache of blocks. */
  decode: number;
  lift: number;
  /** Micro-ops to WebAssembly; V8's compiler, as far as it keeps the machine waiting. */
  translate: number;
  compile: number;
  /** In interpreted and in translated code. */
  interpret: number;
  translated: number;
  /** What either calls: accesses that miss the TLB, with their page walks; instructions that are TypeScript. */
  memory: number;
  helpers: number;
  /** Exceptions, interrupts, single steps, looking up blocks. */
  engine: number;
  hypervisor: number;
  /** In those who listen to the guests' consoles. */
  console: number;
}

/** What the host did for a machine. Depends on host and clock: no guest sees it, and no two runs are alike. */
export interface HostWork {
  seconds: WorkSeconds;
  /** Blocks that were decoded and lifted. */
  blocks: number;
  /** Functions that were translated, modules they came in, bytes of their WebAssembly, and of what is still there. */
  regions: number;
  modules: number;
  codeBytes: number;
  liveCodeBytes: number;
  /** Regions dropped because their code changed or there was too much, and times that all were. */
  regionsDropped: number;
  codeFlushes: number;
  /** Share of the instructions that translated code executed, 0 to 1; an estimate. */
  translatedShare: number;
}

/** All of the command's wall time, in seconds; the parts add up to `total`. docs/command-line.md tells how each is had. */
export interface HostSeconds extends WorkSeconds {
  /** From the start of the process to the end of the run. */
  total: number;
  /** Node and the command's modules. */
  startup: number;
  /** Configuration, files, the machine's modules. */
  load: number;
  /** For input, for real time, for the terminal. */
  waiting: number;
  /** What is left. */
  other: number;
}

export interface HostReport {
  /** The command, word by word. */
  command: string[];
  /** Exit code of the command. */
  exitCode: number;
  version: string;
  node: string;
  platform: string;
  /** Seconds of the run itself, loading aside, and of loading. */
  wallSeconds: number;
  loadSeconds: number;
  /** Guest instructions a second of `wallSeconds`, millions. */
  mips: number;
  /** Peak resident set of the process, bytes. */
  peakMemory: number;
  /** Absent where the machine was given no clock. */
  seconds?: HostSeconds | undefined;
  work?: (Omit<HostWork, "seconds"> & { microsecondsPerBlock: number }) | undefined;
  /** Seconds of processor time of all threads; V8 compiles in several. */
  processor: { user: number; system: number };
  /** Garbage collections: how many, and the seconds that they took within the other parts. */
  garbageCollection: { count: number; seconds: number };
}

export interface Report extends MachineReport {
  host: HostReport;
}

const cycleSplit: z.ZodType<CycleSplit> = z.object({ user: count, kernel: count, hypervisor: count });

const domain: z.ZodType<DomainReport> = z.object({
  domid: count,
  name: z.string(),
  type: z.enum(["pvh", "pv", "hvm"]),
  memory: count,
  state: z.enum(["running", "shutdown"]),
  shutdownReason: z.string().optional(),
  cycles: cycleSplit,
  instructions: count,
  vcpus: z.array(z.object({ vcpu: count, online: z.boolean(), cycles: cycleSplit, instructions: count })),
  hypercalls: z.array(z.object({ number: count, name: z.string(), count })),
  events: count,
  faults: z.array(z.object({ vector: z.number().int().min(0).max(31), name: z.string(), count })),
  exits: z.array(z.object({ reason: z.string(), count })),
  pageTableUpdates: count,
  tlb: z.object({ misses: count, flushes: count, walks: count }),
});

const seconds: z.ZodNumber = z.number().nonnegative();

const workSeconds = {
  unpack: seconds,
  build: seconds,
  decode: seconds,
  lift: seconds,
  translate: seconds,
  compile: seconds,
  interpret: seconds,
  translated: seconds,
  memory: seconds,
  helpers: seconds,
  engine: seconds,
  hypervisor: seconds,
  console: seconds,
};

const hostSeconds: z.ZodType<HostSeconds> = z.object({
  total: seconds,
  startup: seconds,
  load: seconds,
  ...workSeconds,
  waiting: seconds,
  other: seconds,
});

const machineShape = {
  schemaVersion: z.literal(REPORT_SCHEMA_VERSION),
  machine: z.object({
    pcpus: z.number().int().positive(),
    memory: count,
    engine: z.enum(["translator", "interpreter", "reference", "lockstep"]),
    cpu: z.enum(["intel", "amd"]),
    cpuModel: z.string(),
    timing: z.enum(["fast", "block", "full"]),
  }),
  domains: z.array(domain),
  totals: z.object({ cycles: count, user: count, kernel: count, hypervisor: count, idle: count, instructions: count }),
};

/** Validates what `Machine.report()` gives. */
export const machineReportSchema: z.ZodType<MachineReport> = z.object(machineShape);

/** Validates what `--report` writes. */
export const reportSchema: z.ZodType<Report> = z.object({
  ...machineShape,
  host: z.object({
    command: z.array(z.string()),
    exitCode: z.number().int(),
    version: z.string(),
    node: z.string(),
    platform: z.string(),
    wallSeconds: seconds,
    loadSeconds: seconds,
    mips: z.number().nonnegative(),
    peakMemory: count,
    seconds: hostSeconds.optional(),
    work: z
      .object({
        blocks: count,
        microsecondsPerBlock: seconds,
        regions: count,
        modules: count,
        codeBytes: count,
        liveCodeBytes: count,
        regionsDropped: count,
        codeFlushes: count,
        translatedShare: z.number().min(0).max(1),
      })
      .optional(),
    processor: z.object({ user: seconds, system: seconds }),
    garbageCollection: z.object({ count, seconds }),
  }),
});

/**
 * The public face of a Xenoscope machine: what `import { Machine } from "xenoscope"` promises.
 *
 * Everything here is plain data and synchronous calls, so that it works in Node, in a worker and in a browser page
 * alike. Sizes are bytes, times are cycles of the machine's clock (never host time), addresses and registers are
 * `bigint` where they appear. Files are given as their bytes: reading them is the caller's business.
 */

import type { CpuLevel } from "../../cpu/system/cpu-model.ts";
import type { CpuidRule } from "../../hypervisor/hvm/cpu-policy.ts";
import type { HostWork, MachineReport } from "../report/schema.ts";

/**
 * What executes the guests: the generated interpreter with translation of warm code (the default), the interpreter alone, its
 * plain TypeScript judge, or two of them compared. The run is the same in all, cycle for cycle.
 */
export const ENGINE_NAMES = ["translator", "interpreter", "reference", "lockstep"] as const;
export type EngineName = (typeof ENGINE_NAMES)[number];

/** Vendor of the modelled processor: decides CPUID, and VT-x or SVM underneath HVM and PVH. */
export type CpuVendor = "intel" | "amd";

/** How much of the instruction set there is, by the names of the x86-64 psABI, and what a domain's CPUID shows. */
export { CPU_LEVELS, type CpuLevel, DEFAULT_CPU_LEVEL } from "../../cpu/system/cpu-model.ts";
export type { CpuidRegister, CpuidRule } from "../../hypervisor/hvm/cpu-policy.ts";

/** Guest type as in xl.cfg(5) `type=`. */
export type DomainType = "pvh" | "pv" | "hvm";

/** Why a domain stopped: SHUTDOWN_* of public/sched.h. */
export type ShutdownReason = "poweroff" | "reboot" | "suspend" | "crash" | "watchdog" | "soft-reset";

/** What one domain is made of. */
export interface DomainConfig {
  /** Unique on the machine. */
  name: string;
  type: DomainType;
  /** ELF with a PVH entry note, or bzImage. */
  kernel: Uint8Array;
  /** Name of the kernel for messages, usually its path. */
  kernelName?: string;
  /** Handed over as the first module of the PVH start info, as it is. */
  ramdisk?: Uint8Array;
  /** The kernel's whole command line. */
  cmdline: string;
  /** Memory at start, bytes; a multiple of 1 MiB. */
  memory: number;
  /** Ceiling for the balloon, bytes; at least `memory`. Default: `memory`. */
  maxMemory?: number;
  /** Vcpus online at start (default 1), and the most there can be (default `vcpus`). */
  vcpus?: number;
  maxVcpus?: number;
  /** Hard affinity: for vcpu `i` the physical CPUs of `affinity[i]`; vcpus beyond the list may run anywhere. */
  affinity?: readonly (readonly number[])[];
  /** Weight in credit2 (1..65535). Default 256. */
  weight?: number;
  /** Most of one physical CPU that the domain may use, percent; 0 (default) is no cap. */
  cap?: number;
  /** As `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`. Default: derived from the name and the domid, never random. */
  uuid?: string;
  /** Highest grant table version offered, 0 (no grant tables), 1 or 2. Default 2. */
  maxGrantVersion?: number;
  /** Most event channel ports. Default 1023, as xl has it. */
  maxEventChannels?: number;
  /**
   * The model that the guest's CPUID shows, at most the machine's `cpuModel`, which it is by default. As on hardware, the
   * instructions of a feature that CPUID hides still work; CR4, XCR0 and EFER refuse its bits.
   */
  cpuModel?: CpuLevel;
  /** What else CPUID shows, as xl.cfg's `cpuid` says it. Later rules win. */
  cpuid?: readonly CpuidRule[];
}

/** What a domain asks for and does not get. */
export interface ConfigWarning {
  /** Name of the domain. */
  readonly domain: string;
  /** One clear line without the name. */
  readonly message: string;
  /** The rule, the same object. */
  readonly rule: CpuidRule;
}

/** What a machine is made of. */
export interface MachineConfig {
  /** Physical CPUs. Default 1. */
  pcpus?: number;
  /** Machine memory, bytes. Default: enough for the domains. */
  memory?: number;
  /** Default `translator`. */
  engine?: EngineName;
  /** Default `intel`. */
  cpu?: CpuVendor;
  /** Default `x86-64-v2`. Instructions that the model lacks are undefined. */
  cpuModel?: CpuLevel;
  /** Built in order, as domid 1, 2, ... */
  domains: readonly DomainConfig[];
  /** Called, while the machine is made, for each rule of a domain's `cpuid` that is not honoured, wholly or in part. */
  onWarning?: (warning: ConfigWarning) => void;
  /**
   * The host's clock in milliseconds, such as `() => performance.now()`: with it the machine notes where the host's time goes
   * (`hostWork`). The run is the same with it and without.
   */
  hostClock?: () => number;
  /** Called during long loads: what is being done, and how far it is (0..1). */
  onProgress?: (step: string, fraction: number) => void;
}

/** How far to run, and until when. */
export interface RunLimits {
  /** Most cycles to run from now on; the run ends at the first cut at or after that. Default: no limit. */
  maxCycles?: number;
  /**
   * Asked at the end of every quantum; true ends the run there. Quanta end at the same cycles however the run is cut into
   * calls, so a run that ends on `until` is as repeatable as the machine itself. Not asked where `maxCycles` cuts a quantum.
   */
  until?: () => boolean;
}

/**
 * Why `run` came back: no domain is left that could run; `maxCycles` are over; `until` said so; or every vcpu sleeps and no
 * timer is armed, so that only outside input can wake the machine.
 */
export type RunOutcome = "all-shutdown" | "cycle-limit" | "stopped" | "blocked";

/** The console of one domain, as bytes. */
export interface DomainConsole {
  /** `cycle` is the machine's cycle at which the guest wrote. Every listener gets every byte; the bytes may be kept. */
  onOutput(listener: (bytes: Uint8Array, cycle: number) => void): void;
  /**
   * Types into the console. The bytes arrive at `atCycle` (default, and at the earliest: now) and wait in a queue until the
   * guest makes room in its ring.
   */
  input(bytes: Uint8Array, atCycle?: number): void;
}

/** State of one domain. */
export interface DomainStatus {
  readonly domid: number;
  readonly name: string;
  readonly state: "running" | "shutdown";
  /** Present once `state` is "shutdown". */
  readonly shutdownReason?: ShutdownReason;
  /** Present after a crash: what happened, and the registers in Xen's form. */
  readonly registersText?: string;
}

/** A running machine. `Machine` of "xenoscope" implements it. */
export interface MachineApi {
  /** Cycles since power-on. */
  readonly cycle: number;
  /** Cycles per second of the modelled processor: what the guests take their TSC frequency to be. */
  readonly frequency: number;
  /** Machine memory, bytes. */
  readonly memory: number;
  readonly domains: readonly DomainStatus[];
  /** Runs synchronously, deterministically. Never throws for anything a guest does. */
  run(limits?: RunLimits): RunOutcome;
  /** Throws RangeError for a domid that does not exist. */
  console(domid: number): DomainConsole;
  /** Lines of the hypervisor's own log (`xl dmesg`), without line ends. */
  onLog(listener: (line: string, cycle: number) => void): void;
  /**
   * Builds a domain that was shut down anew from its configuration, under the next free domid, which is returned. The
   * machine's clock stands still meanwhile. The old domain stays listed as shut down.
   */
  restart(domid: number): Promise<number>;
  /** Everything counted so far; no host-dependent value in it. */
  report(): MachineReport;
  /** Where the host's time went so far; null without `hostClock`. */
  hostWork(): HostWork | null;
}

/**
 * What is wrong with a MachineConfig. The message is one clear line without the name of domain or file; `domain` and `part` say
 * where to look. `Machine.create` rejects with this, and with nothing else, for anything that its caller hands over.
 */
export class MachineConfigError extends Error {
  override name = "MachineConfigError";
  /** Name of the domain concerned; undefined where the machine itself is meant. */
  readonly domain: string | undefined;
  readonly part: "kernel" | "ramdisk" | "memory" | "vcpus" | "cpuid" | "machine" | "config";

  constructor(message: string, part: MachineConfigError["part"], domain?: string) {
    super(message);
    this.part = part;
    this.domain = domain;
  }
}

/** The static side: `Machine.create(...)`. Rejects with MachineConfigError for bad input. */
export interface MachineFactory {
  create(config: MachineConfig): Promise<MachineApi>;
}

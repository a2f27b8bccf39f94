/**
 * The processors that can be modelled: a vendor, and how much of the instruction set there is. The levels are those of the
 * x86-64 psABI for what user code sees; what only an operating system sees is the same in all of them.
 */
import type { Core } from "../core.ts";

export const VENDOR_INTEL = 0;
export const VENDOR_AMD = 1;

/** Levels of the instruction set by name; the level is the index + 1. */
export const CPU_LEVELS = ["x86-64-v1", "x86-64-v2", "x86-64-v3"] as const;
export type CpuLevel = (typeof CPU_LEVELS)[number];
export const LEVEL_V1 = 1;
export const LEVEL_V2 = 2;
export const LEVEL_V3 = 3;
export const DEFAULT_CPU_LEVEL: CpuLevel = "x86-64-v2";

export interface CpuModel {
  /** Unique, for messages. */
  readonly name: string;
  readonly vendor: number;
  /** LEVEL_*. */
  readonly level: number;
  /** Leaf 0: EBX, EDX, ECX in this order, 12 characters. */
  readonly vendorString: string;
  /** Leaf 1 EAX. */
  readonly signature: number;
  readonly brand: string;
  /** Frequency of core and TSC in Hz, for leaves 15H and 16H: who makes the core knows its own. */
  readonly hz: number;
  /** Value of MSR_ARCH_CAPABILITIES; 0: not reported. */
  readonly archCapabilities: number;
}

/** RDCL_NO, SKIP_L1DFL_VMENTRY, MDS_NO, IF_PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, GDS_NO, RFDS_NO. */
const NOT_VULNERABLE = 0x0c00e169;

function intel(level: number): CpuModel {
  return {
    name: `intel ${CPU_LEVELS[level - 1]}`,
    vendor: VENDOR_INTEL,
    level,
    vendorString: "GenuineIntel",
    signature: 0x000306c3,
    brand: `Xenoscope Intel-compatible core (v${level})`,
    hz: 1_000_000_000,
    archCapabilities: NOT_VULNERABLE,
  };
}

function amd(level: number): CpuModel {
  return {
    name: `amd ${CPU_LEVELS[level - 1]}`,
    vendor: VENDOR_AMD,
    level,
    vendorString: "AuthenticAMD",
    signature: 0x00800f12,
    brand: `Xenoscope AMD-compatible core (v${level})`,
    hz: 1_000_000_000,
    archCapabilities: 0,
  };
}

/** Every model, the levels of Intel's before those of AMD's. */
export const CPU_MODELS: readonly CpuModel[] = [
  ...CPU_LEVELS.map((_, k) => intel(k + 1)),
  ...CPU_LEVELS.map((_, k) => amd(k + 1)),
];

export function findCpuModel(vendor: "intel" | "amd", level: CpuLevel): CpuModel {
  const k = CPU_LEVELS.indexOf(level);
  return CPU_MODELS[vendor === "intel" ? k : CPU_LEVELS.length + k]!;
}

export const MODEL_INTEL: CpuModel = findCpuModel("intel", DEFAULT_CPU_LEVEL);
export const MODEL_AMD: CpuModel = findCpuModel("amd", DEFAULT_CPU_LEVEL);

const KEY = "cpuid";

/** Gives a core its model. */
export function setCpuModel(core: Core, model: CpuModel): void {
  core.attachments.set(KEY, model);
}

/** The model of a core, MODEL_INTEL unless another was set. */
export function cpuModel(core: Core): CpuModel {
  return (core.attachments.get(KEY) as CpuModel | undefined) ?? MODEL_INTEL;
}

/** Whether the active core, or `core` if none is, has an AMD model: what lifters ask where the vendors differ. */
export function isAmd(core: Core): boolean {
  return cpuModel(core.shared.active ?? core).vendor === VENDOR_AMD;
}

/** Bits that MOV to CR4, XSETBV and WRMSR to EFER may set, of those that the core knows. */
export interface CpuLimits {
  readonly cr4: number;
  readonly xcr0: number;
  readonly efer: number;
}

const LIMITS_KEY = "cpu limits";

/** Narrows what a core's registers accept to what a hypervisor lets its CPUID show. */
export function setCpuLimits(core: Core, limits: CpuLimits): void {
  core.attachments.set(LIMITS_KEY, limits);
}

/** Undefined: all that the model has. */
export function cpuLimits(core: Core): CpuLimits | undefined {
  return core.attachments.get(LIMITS_KEY) as CpuLimits | undefined;
}

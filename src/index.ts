/** The public interface of Xenoscope. See README.md for an example and src/machine/api.ts for every type. */
export {
  type ConfigWarning,
  CPU_LEVELS,
  type CpuidRegister,
  type CpuidRule,
  type CpuLevel,
  type CpuVendor,
  DEFAULT_CPU_LEVEL,
  type DomainConfig,
  type DomainConsole,
  type DomainStatus,
  type DomainType,
  ENGINE_NAMES,
  type EngineName,
  type MachineConfig,
  MachineConfigError,
  type RunLimits,
  type RunOutcome,
  type ShutdownReason,
} from "./machine/api.ts";
export { Machine } from "./machine/machine.ts";
export type { DomainReport, MachineReport, VcpuReport } from "./report/schema.ts";

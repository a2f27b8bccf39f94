/**
 * Time as guests see it: vcpu_time_info (public/xen.h) and the wall clock of shared_info. The TSC is the cycle counter and
 * runs at CPU_FREQUENCY; system time is the ns since power-on. Both are the same linear function of the cycle on every
 * pCPU, so one reading per vcpu would last forever; it is renewed when the vcpu is scheduled and every second while it runs on, as
 * Xen does: there are kernels that wait for a new one.
 */
import {
  PVCLOCK_TSC_STABLE,
  TIME_FLAGS,
  TIME_INFO_BYTES,
  TIME_SYSTEM_TIME,
  TIME_TSC_SHIFT,
  TIME_TSC_TIMESTAMP,
  TIME_TSC_TO_SYSTEM_MUL,
  TIME_VERSION,
  VCPU_INFO_TIME,
} from "../abi/layout.ts";
import type { Domain } from "../domain/domain.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { copyToGuest } from "../memory/guest-access.ts";
import { CPU_FREQUENCY, cyclesToNs, nsToCycles } from "./frequency.ts";

/** EPOCH of arch/x86/time.c: how often a running vcpu's time is calibrated. */
export const CALIBRATION_CYCLES: number = nsToCycles(1_000_000_000);

export interface TimeScale {
  /** tsc_to_system_mul: a fraction of 2^32. */
  readonly mul: number;
  /** tsc_shift. */
  readonly shift: number;
}

/** set_time_scale of Xen: ns = ((ticks << shift) * mul) >> 32 for a counter of `frequency` Hz. */
export function timeScale(frequency: number): TimeScale {
  let shift = 0;
  let f = frequency;
  while (f > 2e9) {
    f = Math.floor(f / 2);
    shift--;
  }
  while (f <= 1e9) {
    f *= 2;
    shift++;
  }
  return { mul: Number((1_000_000_000n << 32n) / BigInt(f)), shift };
}

/** Ns of `ticks`, as a guest computes it. */
export function scaleDelta(ticks: bigint, scale: TimeScale): bigint {
  const shifted = scale.shift < 0 ? ticks >> BigInt(-scale.shift) : ticks << BigInt(scale.shift);
  return (shifted * BigInt(scale.mul)) >> 32n;
}

export const TSC_SCALE: TimeScale = timeScale(CPU_FREQUENCY);

/** Renews the vcpu's time in its vcpu_info, and in the secondary area if it has one. The vcpu must not be executing. */
export function updateVcpuTime(vcpu: Vcpu, cycle: number): void {
  const memory = vcpu.domain.hypervisor.memory;
  const at = vcpu.info + VCPU_INFO_TIME;
  const version = memory.read32(at + TIME_VERSION);
  // Odd while it changes (XENFEAT_hvm_safe_pvclock): a reader on another vcpu tries again.
  memory.write32(at + TIME_VERSION, (version | 1) >>> 0);
  memory.write64(at + TIME_TSC_TIMESTAMP, BigInt(cycle));
  memory.write64(at + TIME_SYSTEM_TIME, BigInt(cyclesToNs(cycle)));
  memory.write32(at + TIME_TSC_TO_SYSTEM_MUL, TSC_SCALE.mul);
  memory.write8(at + TIME_TSC_SHIFT, TSC_SCALE.shift & 0xff);
  memory.write8(at + TIME_FLAGS, PVCLOCK_TSC_STABLE);
  memory.write32(at + TIME_VERSION, ((version | 1) + 1) >>> 0);
  vcpu.timeRenewed = cycle;
  if (vcpu.timeArea !== null) updateTimeArea(vcpu);
}

/** Copies the vcpu's time to the secondary area that it has registered, which a PV vcpu has in its kernel's memory. */
export function updateTimeArea(vcpu: Vcpu): void {
  if (vcpu.timeArea === null) return;
  if (vcpu.pv !== null && !vcpu.pv.kernelMode) {
    vcpu.pv.timeAreaStale = true;
    return;
  }
  const at = vcpu.info + VCPU_INFO_TIME;
  copyToGuest(vcpu, vcpu.timeArea, vcpu.domain.hypervisor.memory.read(at, TIME_INFO_BYTES));
}

/** The wall clock at system time zero: wc_version, wc_sec, wc_nsec of shared_info. */
export function updateWallclock(domain: Domain): void {
  const { memory, wallclock } = domain.hypervisor;
  const l = domain.layout;
  const at = domain.sharedInfo;
  const version = memory.read32(at + l.wcVersion);
  memory.write32(at + l.wcVersion, (version | 1) >>> 0);
  memory.write32(at + l.wcSec, wallclock >>> 0);
  memory.write32(at + l.wcNsec, 0);
  memory.write32(at + l.wcSecHi, Math.floor(wallclock / 2 ** 32));
  memory.write32(at + l.wcVersion, ((version | 1) + 1) >>> 0);
}

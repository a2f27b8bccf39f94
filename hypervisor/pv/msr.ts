/**
 * MSRs of PV guests (guest_rdmsr and guest_wrmsr of x86/msr.c, read_msr and write_msr of pv/emul-priv-op.c): segment bases and a few
 * more; no APIC, no MTRRs, no performance counters.
 */

import * as A from "../../cpu/arena.ts";
import { APIC_DEFAULT_BASE } from "../../cpu/system/apic.ts";
import { EFER_LMA, EFER_LME, EFER_SCE } from "../../cpu/system/bits.ts";
import { cpuModel, VENDOR_AMD } from "../../cpu/system/cpu-model.ts";
import { MsrValue, readMsr } from "../../cpu/system/msr.ts";
import { highWord, lowWord, readTsc } from "../../cpu/system/tsc.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { MSR_XEN_HYPERCALL_PAGE } from "../hvm/hypercall-page.ts";
import { PGT_writable_page } from "../memory/page-types.ts";
import { pvHypercallPage } from "./hypercall-page.ts";

const MSR_PLATFORM_ID = 0x17;
const MSR_APIC_BASE = 0x1b;
const MSR_TSC = 0x10;
const MSR_FEATURE_CONTROL = 0x3a;
const MSR_MICROCODE = 0x8b;
const MSR_PLATFORM_INFO = 0xce;
const MSR_MPERF = 0xe7;
const MSR_APERF = 0xe8;
const MSR_ARCH_CAPABILITIES = 0x10a;
const MSR_MISC_FEATURES_ENABLES = 0x140;
const MSR_MCG_CAP = 0x179;
const MSR_MCG_STATUS = 0x17a;
const MSR_PERF_STATUS = 0x198;
const MSR_PERF_CTL = 0x199;
const MSR_THERM_CONTROL = 0x19a;
const MSR_THERM_STATUS = 0x19c;
const MSR_MISC_ENABLE = 0x1a0;
const MSR_ENERGY_PERF_BIAS = 0x1b0;
const MSR_PAT = 0x277;
const MSR_PERF_CAPABILITIES = 0x345;
const MSR_EFER = 0xc0000080;
const MSR_FS_BASE = 0xc0000100;
const MSR_GS_BASE = 0xc0000101;
const MSR_SHADOW_GS_BASE = 0xc0000102;
const MSR_TSC_AUX = 0xc0000103;
const MSR_HWCR = 0xc0010015;
const MSR_NB_CFG = 0xc001001f;
const MSR_FID_VID_CTL = 0xc0010041;
const MSR_FID_VID_STATUS = 0xc0010042;
const MSR_PSTATE_LIMIT = 0xc0010061;
const MSR_PSTATE7 = 0xc001006b;
const MSR_DE_CFG = 0xc0011029;

/** XEN_MSR_PAT: what Xen has set up, and PV guests live with. */
const XEN_MSR_PAT = 0x050100070406n;
const APIC_ENABLE = 0x800n;
const APIC_BSP = 0x100n;
const LOCK = 1n;
const CPUID_FAULTING_AVAILABLE = 1n << 31n;
const CPUID_FAULTING = 1n;
/** guest_misc_enable: performance monitoring and MONITOR hidden; BTS, PEBS unavailable, xTPR disabled. */
const MISC_ENABLE_CLEAR = (1n << 7n) | (1n << 18n);
const MISC_ENABLE_SET = (1n << 11n) | (1n << 12n) | (1n << 23n);
const LFENCE_SERIALISE = 2n;

const isAmd = (vcpu: Vcpu): boolean => cpuModel(vcpu.core).vendor === VENDOR_AMD;
const isCanonical = (value: bigint): boolean => BigInt.asUintN(64, BigInt.asIntN(48, value)) === value;
const isPstate = (msr: number): boolean =>
  (msr >= MSR_PSTATE_LIMIT && msr <= MSR_PSTATE7) || msr === MSR_FID_VID_CTL || msr === MSR_FID_VID_STATUS;

/** Arena address of the base that `msr` names, or -1. */
function baseOf(msr: number): number {
  if (msr === MSR_FS_BASE) return A.SLOTS + A.S_FSBASE;
  if (msr === MSR_GS_BASE) return A.SLOTS + A.S_GSBASE;
  return msr === MSR_SHADOW_GS_BASE ? A.MSR_KERNEL_GS_BASE : -1;
}

function guestEfer(vcpu: Vcpu): bigint {
  const hidden = vcpu.domain.pv!.is32bit ? EFER_LME | EFER_LMA | (isAmd(vcpu) ? 0 : EFER_SCE) : 0;
  return BigInt((vcpu.core.i32[A.EFER >>> 2]! & ~hidden) >>> 0);
}

const value = new MsrValue();
function fromCore(vcpu: Vcpu, msr: number): bigint | null {
  if (!readMsr(vcpu.core, msr, value)) return null;
  return (BigInt(value.hi >>> 0) << 32n) | BigInt(value.lo >>> 0);
}

const guestMiscEnable = (real: bigint): bigint => (real & ~MISC_ENABLE_CLEAR) | MISC_ENABLE_SET;

/** What the guest's kernel reads, or null: #GP. */
export function readPvMsr(vcpu: Vcpu, msr: number): bigint | null {
  const { core } = vcpu;
  const amd = isAmd(vcpu);
  const base = baseOf(msr);
  if (base >= 0) return vcpu.domain.pv!.is32bit ? null : core.u64[base >>> 3]!;
  if (isPstate(msr)) return amd ? 0n : null;
  switch (msr) {
    case MSR_XEN_HYPERCALL_PAGE:
    case MSR_NB_CFG:
    case MSR_PERF_CAPABILITIES:
      return 0n;
    case MSR_TSC: {
      const tsc = readTsc(core);
      return (BigInt(highWord(tsc) >>> 0) << 32n) | BigInt(lowWord(tsc) >>> 0);
    }
    case MSR_APIC_BASE:
      return BigInt(APIC_DEFAULT_BASE) | APIC_ENABLE | (vcpu.id === 0 ? APIC_BSP : 0n);
    case MSR_FEATURE_CONTROL:
      return amd ? null : LOCK;
    case MSR_PLATFORM_ID:
    case MSR_PERF_STATUS:
    case MSR_PERF_CTL:
    case MSR_THERM_STATUS:
      return amd ? null : 0n;
    case MSR_MICROCODE:
    case MSR_MCG_CAP:
    case MSR_MCG_STATUS:
      return 0n;
    case MSR_PLATFORM_INFO:
      return CPUID_FAULTING_AVAILABLE;
    case MSR_MISC_FEATURES_ENABLES:
      return vcpu.pv!.cpuidFaulting ? CPUID_FAULTING : 0n;
    case MSR_ARCH_CAPABILITIES:
      return fromCore(vcpu, msr);
    case MSR_EFER:
      return guestEfer(vcpu);
    case MSR_PAT:
      return XEN_MSR_PAT;
    case MSR_MISC_ENABLE: {
      const real = fromCore(vcpu, msr);
      return real === null ? null : guestMiscEnable(real);
    }
    case MSR_TSC_AUX:
      return core.u64[A.MSR_TSC_AUX >>> 3]!;
    case MSR_HWCR:
      return amd ? 0n : null;
    case MSR_DE_CFG:
      return amd ? LFENCE_SERIALISE : null;
    default:
      return unhandledRead(vcpu, msr);
  }
}

/** A guest that has no handler for #GP yet reads 0 from what the processor has (read_msr, at "done"). */
function unhandledRead(vcpu: Vcpu, msr: number): bigint | null {
  const trap = vcpu.pv!.traps[13]!;
  const who = `d${vcpu.domain.domid}v${vcpu.id}`;
  const { log } = vcpu.domain.hypervisor;
  const name = msr.toString(16).padStart(8, "0");
  if ((trap.eipLo | trap.eipHi) === 0 && fromCore(vcpu, msr) !== null) {
    log.xen(`${who} faking RDMSR 0x${name}`);
    return 0n;
  }
  return null;
}

/** @returns false for #GP */
export function writePvMsr(vcpu: Vcpu, msr: number, written: bigint): boolean {
  const { core } = vcpu;
  const amd = isAmd(vcpu);
  const base = baseOf(msr);
  if (base >= 0) {
    if (vcpu.domain.pv!.is32bit || !isCanonical(written)) return false;
    core.u64[base >>> 3] = written;
    return true;
  }
  if (isPstate(msr)) return amd;
  switch (msr) {
    case MSR_XEN_HYPERCALL_PAGE:
      return writeHypercallPage(vcpu, written);
    case MSR_NB_CFG:
    case MSR_MPERF:
    case MSR_APERF:
      return true;
    case MSR_MICROCODE:
      return !amd && written === 0n;
    case MSR_PERF_CTL:
    case MSR_THERM_CONTROL:
    case MSR_ENERGY_PERF_BIAS:
      return !amd;
    case MSR_MISC_FEATURES_ENABLES:
      if ((written & ~CPUID_FAULTING) !== 0n) return false;
      vcpu.pv!.cpuidFaulting = (written & CPUID_FAULTING) !== 0n;
      return true;
    case MSR_EFER:
      // Linux writes back what it has read.
      return written === guestEfer(vcpu);
    case MSR_MISC_ENABLE: {
      const real = fromCore(vcpu, msr);
      if (real === null) return false;
      // A change is ignored.
      return true;
    }
    case MSR_TSC_AUX:
      if (written >> 32n !== 0n) return false;
      core.u64[A.MSR_TSC_AUX >>> 3] = written;
      return true;
    case MSR_HWCR:
    case MSR_DE_CFG:
      return amd;
    default:
      return false;
  }
}

/** Fills a writable page of the guest with the stubs of hypercalls. */
function writeHypercallPage(vcpu: Vcpu, written: bigint): boolean {
  const { domain } = vcpu;
  const hv = domain.hypervisor;
  if ((written & 0xfffn) !== 0n) return false;
  const gfn = written >> 12n;
  const mfn = gfn < BigInt(hv.heap.frames) ? Number(gfn) : -1;
  if (mfn < 0 || hv.pageTypes.getPageAndType(mfn, domain.domid, PGT_writable_page) !== 0) {
    return false;
  }
  hv.memory.write(hv.memory.frame(mfn), pvHypercallPage(domain.pv!.is32bit));
  hv.pageTypes.putPageAndType(mfn);
  return true;
}

/**
 * The CPUID policy of a PVH domain: the core's own model, less what a guest of Xen doesn't get, plus Xen's leaves
 * (public/arch-x86/cpuid.h) and the topology that Xen 4.17 gives HVM guests: APIC id = 2 * vcpu, no threads.
 */
import { CR4 } from "../../cpu/arena.ts";
import { CR4_OSXSAVE } from "../../cpu/system/bits.ts";
import { type CpuModel, MODEL_AMD, MODEL_INTEL, setCpuModel } from "../../cpu/system/cpu-model.ts";
import { type CpuidLeaf, cpuid } from "../../cpu/system/cpuid.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { XEN_MAJOR, XEN_MINOR } from "../hypercalls/xen-version.ts";
import { CPU_FREQUENCY, CPU_KHZ } from "../time/frequency.ts";
import { TSC_SCALE } from "../time/pv-clock.ts";
import { MSR_XEN_HYPERCALL_PAGE } from "./hypercall-page.ts";

/** EAX, EBX, ECX, EDX, uint32. */
export interface GuestLeaf {
  a: number;
  b: number;
  c: number;
  d: number;
}

const XEN_BASE = 0x40000000;
const XEN_LEAVES = 5;
/** "XenVMMXenVMM". */
const SIGNATURE = [0x566e6558, 0x65584d4d, 0x4d4d566e] as const;
/** Highest leaves of an HVM policy. */
const MAX_BASIC = 0xd;
const MAX_EXTENDED = 0x80000008;
const CPUID_MONITOR = 1 << 3;
const CPUID_OSXSAVE = 1 << 27;
const CPUID_HYPERVISOR = 0x80000000;
const CPUID_HTT = 1 << 28;
const APIC_ID_STEP = 2;

/** Features of leaf 0x40000003: TSC is reliable, RDTSCP exists. */
const TSC_RELIABLE = 2;
const TSC_RDTSCP = 4;
/** Leaf 0x40000004: IOMMU mappings, EBX is the vcpu id, ECX the domid, upcall vectors work. */
const HVM_FEATURES: number = (1 << 2) | (1 << 3) | (1 << 4) | (1 << 6);

/** The models at the clock that the hypervisor's time goes by. */
const INTEL: CpuModel = { ...MODEL_INTEL, hz: CPU_FREQUENCY };
const AMD: CpuModel = { ...MODEL_AMD, hz: CPU_FREQUENCY };

export const apicIdOf = (vcpu: number): number => vcpu * APIC_ID_STEP;

/** Gives the vcpu's core the machine's model. */
export function attachCpuid(vcpu: Vcpu): void {
  setCpuModel(vcpu.core, vcpu.domain.hypervisor.cpu === "intel" ? INTEL : AMD);
}

const none = (): GuestLeaf => ({ a: 0, b: 0, c: 0, d: 0 });

function model(vcpu: Vcpu, leaf: number, subleaf: number): GuestLeaf {
  const l: CpuidLeaf = cpuid(vcpu.core, leaf, subleaf);
  return { a: l.eax, b: l.ebx, c: l.ecx, d: l.edx };
}

/** APIC ids that the domain's vcpus take, rounded up to a power of two: what topology leaves count as "logical processors". */
function logicalProcessors(vcpu: Vcpu): number {
  let n = APIC_ID_STEP;
  while (n < vcpu.domain.vcpus.length * APIC_ID_STEP && n < 128) n *= 2;
  return n;
}

/** What the guest reads. The core must be active. */
export function guestCpuid(vcpu: Vcpu, leaf: number, subleaf: number): GuestLeaf {
  if (leaf >= XEN_BASE && leaf < XEN_BASE + 0x100) return xenLeaf(vcpu, leaf - XEN_BASE, subleaf);
  if (leaf < 0x80000000 ? leaf > MAX_BASIC : leaf > MAX_EXTENDED) return none();
  const r = model(vcpu, leaf, subleaf);
  const apicId = apicIdOf(vcpu.id);
  switch (leaf) {
    case 0:
      r.a = Math.min(r.a, MAX_BASIC);
      break;
    case 1: {
      r.b = (((apicId & 0xff) << 24) | (logicalProcessors(vcpu) << 16) | (r.b & 0xffff)) >>> 0;
      const osxsave = (vcpu.core.u32[CR4 >>> 2]! & CR4_OSXSAVE) !== 0 ? CPUID_OSXSAVE : 0;
      r.c = ((r.c & ~(CPUID_MONITOR | CPUID_OSXSAVE)) | osxsave | CPUID_HYPERVISOR) >>> 0;
      r.d = (r.d | CPUID_HTT) >>> 0;
      break;
    }
    case 4:
      // Cores of the package in bits 31..26, no threads that share a cache.
      if ((r.a & 0x1f) !== 0) r.a = (((logicalProcessors(vcpu) - 1) << 26) | (r.a & 0x3fff)) >>> 0;
      break;
    // MONITOR, thermal, performance monitoring: not for guests.
    case 5:
    case 6:
    case 0xa:
      return none();
    case 0xb:
      return { a: 0, b: 0, c: subleaf & 0xff, d: apicId };
    case 0x80000000:
      r.a = Math.min(r.a, MAX_EXTENDED);
      break;
    // An invariant TSC is not promised to a guest that might be migrated.
    case 0x80000007:
      r.d = 0;
      break;
    case 0x80000008:
      if (vcpu.domain.hypervisor.cpu === "amd") r.c = logicalProcessors(vcpu) - 1;
      break;
  }
  return r;
}

function xenLeaf(vcpu: Vcpu, index: number, subleaf: number): GuestLeaf {
  switch (index) {
    case 0:
      return { a: XEN_BASE + XEN_LEAVES, b: SIGNATURE[0], c: SIGNATURE[1], d: SIGNATURE[2] };
    case 1:
      return { a: (XEN_MAJOR << 16) | XEN_MINOR, b: 0, c: 0, d: 0 };
    case 2:
      return { a: 1, b: MSR_XEN_HYPERCALL_PAGE, c: 0, d: 0 };
    case 3:
      if (subleaf === 0) return { a: TSC_RELIABLE | TSC_RDTSCP, b: 0, c: CPU_KHZ, d: 0 };
      if (subleaf === 1) return { a: 0, b: 0, c: TSC_SCALE.mul, d: TSC_SCALE.shift & 0xff };
      return subleaf === 2 ? { a: CPU_KHZ, b: 0, c: 0, d: 0 } : none();
    case 4:
      return subleaf === 0 ? { a: HVM_FEATURES, b: vcpu.id, c: vcpu.domain.domid, d: 0 } : none();
    default:
      return none();
  }
}

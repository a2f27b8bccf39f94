/**
 * CPUID of a guest: the policy of its domain (cpu-policy.ts), the topology that Xen 4.17 gives HVM guests (APIC id = 2 * vcpu, no
 * threads), and Xen's own leaves (public/arch-x86/cpuid.h).
 */
import { CR4, MSR_APIC_BASE } from "../../cpu/arena.ts";
import { APIC_BASE_ENABLE } from "../../cpu/system/apic.ts";
import { CR4_OSXSAVE } from "../../cpu/system/bits.ts";
import { setCpuLimits, setCpuModel } from "../../cpu/system/cpu-model.ts";
import { CpuidLeaf, cpuid } from "../../cpu/system/cpuid.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { XEN_MAJOR, XEN_MINOR } from "../hypercalls/xen-version.ts";
import { CPU_KHZ } from "../time/frequency.ts";
import { TSC_SCALE } from "../time/pv-clock.ts";
import { HIDDEN_LEAVES, XEN_BASE } from "./cpu-policy.ts";
import { MSR_XEN_HYPERCALL_PAGE } from "./hypercall-page.ts";

/** "XenVMMXenVMM". */
const SIGNATURE = [0x566e6558, 0x65584d4d, 0x4d4d566e] as const;
const CPUID_OSXSAVE = 1 << 27;
const CPUID_APIC = 1 << 9;
const APIC_ID_STEP = 2;

/** Leaf 0x40000002 ECX: MMU_PT_UPDATE_PRESERVE_AD works. */
const PT_UPDATE_PRESERVE_AD = 1;
/** Features of leaf 0x40000003: TSC is reliable, RDTSCP exists. */
const TSC_RELIABLE = 2;
const TSC_RDTSCP = 4;
/** Leaf 0x40000004: IOMMU mappings, EBX is the vcpu id, ECX the domid, upcall vectors work. */
const HVM_UPCALL_VECTOR: number = 1 << 6;
const HVM_FEATURES: number = (1 << 2) | (1 << 3) | (1 << 4) | HVM_UPCALL_VECTOR;

export const apicIdOf = (vcpu: number): number => vcpu * APIC_ID_STEP;

/** Gives the vcpu's core the machine's model, and the limits of the domain's policy. */
export function attachCpuid(vcpu: Vcpu): void {
  setCpuModel(vcpu.core, vcpu.domain.hypervisor.model);
  setCpuLimits(vcpu.core, vcpu.domain.cpuPolicy.limits());
}

const out = new CpuidLeaf();

function answer(eax: number, ebx: number, ecx: number, edx: number): CpuidLeaf {
  out.eax = eax >>> 0;
  out.ebx = ebx >>> 0;
  out.ecx = ecx >>> 0;
  out.edx = edx >>> 0;
  return out;
}

/** APIC ids that the domain's vcpus take, rounded up to a power of two: what topology leaves count as "logical processors". */
function logicalProcessors(vcpu: Vcpu): number {
  let n = APIC_ID_STEP;
  while (n < vcpu.domain.vcpus.length * APIC_ID_STEP && n < 128) n *= 2;
  return n;
}

/** What the guest reads, reused by the next call. The core must be active. */
export function guestCpuid(vcpu: Vcpu, leaf: number, subleaf: number): CpuidLeaf {
  const policy = vcpu.domain.cpuPolicy;
  if (leaf >= XEN_BASE && leaf < XEN_BASE + 0x100) return xenLeaf(vcpu, leaf - XEN_BASE, subleaf);
  if (leaf < 0x80000000 ? leaf > policy.maxBasic : leaf > policy.maxExtended) return answer(0, 0, 0, 0);
  if (HIDDEN_LEAVES.includes(leaf)) return answer(0, 0, 0, 0);
  const r = cpuid(vcpu.core, leaf, subleaf, policy.model, policy.components);
  setTopology(vcpu, leaf, subleaf, r);
  policy.apply(leaf, subleaf, r);
  if (leaf === 0) r.eax = policy.maxBasic;
  else if (leaf === 0x80000000) r.eax = policy.maxExtended;
  else if (leaf === 1) {
    r.ebx = (((apicIdOf(vcpu.id) & 0xff) << 24) | (r.ebx & 0xffffff)) >>> 0;
    if ((vcpu.core.u32[CR4 >>> 2]! & CR4_OSXSAVE) !== 0) r.ecx = (r.ecx | CPUID_OSXSAVE) >>> 0;
    if ((vcpu.core.u32[MSR_APIC_BASE >>> 2]! & APIC_BASE_ENABLE) === 0) r.edx = (r.edx & ~CPUID_APIC) >>> 0;
  } else if (leaf === 0xd && policy.components === 0) return answer(0, 0, 0, 0);
  return r;
}

/** One package of cores without threads; a vcpu is a core, and every second APIC id is taken. */
function setTopology(vcpu: Vcpu, leaf: number, subleaf: number, r: CpuidLeaf): void {
  const logical = logicalProcessors(vcpu);
  if (leaf === 1) r.ebx = (r.ebx & ~0xff0000) | (logical << 16);
  // Cores of the package in bits 31..26, no threads that share a cache.
  else if (leaf === 4 && (r.eax & 0x1f) !== 0) r.eax = (((logical - 1) << 26) | (r.eax & 0x3fff)) >>> 0;
  else if (leaf === 0xb) {
    r.eax = 0;
    r.ebx = 0;
    r.ecx = subleaf & 0xff;
    r.edx = apicIdOf(vcpu.id);
  } else if (leaf === 0x80000008 && vcpu.domain.hypervisor.cpu === "amd") r.ecx = logical - 1;
}

/**
 * A guest without ACPI may leave its local APIC off, and then upcalls through it never come: Linux built without MP tables
 * does so. It is not told of them, and takes the domain's callback vector, as under Xen before 4.17.
 */
function hvmFeatures(vcpu: Vcpu): number {
  return vcpu.domain.pcTimer === null ? HVM_FEATURES : HVM_FEATURES & ~HVM_UPCALL_VECTOR;
}

/** Leaf 0x40000000 + `index` of any guest (cpuid_hypervisor_leaves). */
export function xenLeaf(vcpu: Vcpu, index: number, subleaf: number): CpuidLeaf {
  const leaves = vcpu.domain.cpuPolicy.xenLeaves;
  if (index > leaves) return answer(0, 0, 0, 0);
  switch (index) {
    case 0:
      return answer(XEN_BASE + leaves, SIGNATURE[0], SIGNATURE[1], SIGNATURE[2]);
    case 1:
      return answer((XEN_MAJOR << 16) | XEN_MINOR, 0, 0, 0);
    case 2:
      return answer(1, MSR_XEN_HYPERCALL_PAGE, vcpu.pv === null ? 0 : PT_UPDATE_PRESERVE_AD, 0);
    case 3:
      if (subleaf === 0) return answer(TSC_RELIABLE | TSC_RDTSCP, 0, CPU_KHZ, 0);
      if (subleaf === 1) return answer(0, 0, TSC_SCALE.mul, TSC_SCALE.shift & 0xff);
      return subleaf === 2 ? answer(CPU_KHZ, 0, 0, 0) : answer(0, 0, 0, 0);
    case 4:
      if (vcpu.pv !== null) return answer(0, 0, 0, 0);
      return subleaf === 0 ? answer(hvmFeatures(vcpu), vcpu.id, vcpu.domain.domid, 0) : answer(0, 0, 0, 0);
    case 5:
      // Width of machine addresses that a PV guest may see.
      if (vcpu.pv === null || subleaf !== 0) return answer(0, 0, 0, 0);
      return answer(0, 32 - Math.clz32(vcpu.domain.hypervisor.heap.frames) + 12, 0, 0);
    default:
      return answer(0, 0, 0, 0);
  }
}

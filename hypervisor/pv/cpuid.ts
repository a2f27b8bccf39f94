/** CPUID of PV domains (x86/cpuid.c, cpu-policy.c): the core's model less what a PV guest can't use, and Xen's leaves. */
import { CR4_OSXSAVE } from "../../cpu/system/bits.ts";
import { CpuidLeaf, cpuid } from "../../cpu/system/cpuid.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { HIDDEN_LEAVES, XEN_BASE } from "../hvm/cpu-policy.ts";
import { xenLeaf } from "../hvm/cpuid.ts";
import { inKernel } from "./guest-mode.ts";
import * as R from "./registers.ts";

const bits = (...numbers: number[]): number => numbers.reduce((mask, n) => mask | (1 << n), 0);

/** Bits that public/arch-x86/cpufeatureset.h gives to HVM guests only, by leaf and register. PSE, MTRR, PGE, PSE36. */
const HIDDEN_1_EDX = bits(3, 12, 13, 17);
/** MONITOR, PCID, x2APIC, TSC deadline, OSXSAVE (which is dynamic). */
const HIDDEN_1_ECX = bits(3, 17, 21, 24, 27);
/** TSC_ADJUST, SMEP, INVPCID, SMAP. */
const HIDDEN_7_EBX = bits(1, 7, 10, 20);
/** UMIP, PKU, OSPKE. */
const HIDDEN_7_ECX = bits(2, 3, 4);
/** 1 GiB pages. */
const HIDDEN_EXT1_EDX = bits(26);
/** SVM, CR8 in legacy modes. */
const HIDDEN_EXT1_ECX = bits(2, 4);
/** XSAVES. */
const HIDDEN_D1_EAX = bits(3);
const OSXSAVE = 1 << 27;
const XSAVE = 1 << 26;
const SEP = 1 << 11;
const SYSCALL = 1 << 11;
const LONG_MODE = 1 << 29;

function zero(): CpuidLeaf {
  return Object.assign(nothing, { eax: 0, ebx: 0, ecx: 0, edx: 0 });
}
const nothing = new CpuidLeaf();

/** What the guest reads, reused by the next call. @param forced by the emulation prefix, not by CPUID itself */
export function pvCpuid(vcpu: Vcpu, leaf: number, subleaf: number, forced: boolean): CpuidLeaf {
  const { cpuPolicy: policy, hypervisor, pv } = vcpu.domain;
  if (leaf >= XEN_BASE && leaf < XEN_BASE + 0x200) return xenLeaf(vcpu, leaf - XEN_BASE, subleaf);
  if (leaf < 0x80000000 ? leaf > policy.maxBasic : leaf > policy.maxExtended) return zero();
  // No topology: a PV guest has no APIC ids.
  if (HIDDEN_LEAVES.includes(leaf) || leaf === 0xb) return zero();
  const r = cpuid(vcpu.core, leaf, subleaf, policy.model, policy.components);
  policy.apply(leaf, subleaf, r);
  const isAmd = hypervisor.cpu === "amd";
  switch (leaf) {
    case 0:
      r.eax = policy.maxBasic;
      break;
    case 1:
      r.ebx &= 0x00ffffff;
      r.ecx = ((r.ecx & ~HIDDEN_1_ECX) | osxsave(vcpu, (r.ecx & XSAVE) !== 0, forced)) >>> 0;
      // AMD's SYSENTER does not exist in long mode, where Xen runs.
      r.edx = (r.edx & ~(HIDDEN_1_EDX | (isAmd ? SEP : 0))) >>> 0;
      break;
    case 7:
      if (subleaf !== 0) break;
      r.ebx = (r.ebx & ~HIDDEN_7_EBX) >>> 0;
      r.ecx = (r.ecx & ~HIDDEN_7_ECX) >>> 0;
      break;
    case 0xd:
      if (policy.components === 0) return zero();
      if (subleaf === 1) r.eax = (r.eax & ~HIDDEN_D1_EAX) >>> 0;
      break;
    case 0x80000000:
      r.eax = policy.maxExtended;
      break;
    case 0x80000001:
      r.ecx = (r.ecx & ~HIDDEN_EXT1_ECX) >>> 0;
      r.edx = (r.edx & ~(HIDDEN_EXT1_EDX | (isAmd ? HIDDEN_1_EDX : 0))) >>> 0;
      if (pv!.is32bit) r.edx = (r.edx & ~(LONG_MODE | (isAmd ? 0 : SYSCALL))) >>> 0;
      break;
  }
  return r;
}

/**
 * OSXSAVE by the guest's CR4; its kernel sees Xen's through the prefix all the same, which Linux has come to need (the comment in
 * guest_cpuid tells the story).
 */
function osxsave(vcpu: Vcpu, hasXsave: boolean, forced: boolean): number {
  const own = (vcpu.pv!.cr4 & CR4_OSXSAVE) !== 0;
  const leaked = hasXsave && forced && inKernel(vcpu) && (vcpu.core.i32[R.CR4]! & CR4_OSXSAVE) !== 0;
  return own || leaked ? OSXSAVE : 0;
}

/**
 * Translations of PV vcpus, and which flushes can be left out (asm-x86/flushtlb.h). Every flush moves a clock on; a frame is stamped with
 * it when its last use as some type ends. Who has flushed since has no translation of that use any more.
 */
import { FETCH_PAGE } from "../../cpu/arena.ts";
import { coreWord, newEpoch } from "../../cpu/mmu/contexts.ts";
import { invalidatePage } from "../../cpu/mmu/tlb.ts";
import type { Domain } from "../domain/domain.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { COST_FLUSH_IPI, COST_FLUSH_LOCAL, COST_INVLPG } from "../hypercalls/costs.ts";
import type { Hypervisor } from "../hypervisor.ts";

/** The vcpu in whose name Xen works, null outside of any. */
const currentVcpu = (hv: Hypervisor): Vcpu | null => (hv.inGuest ? hv.turn.current : null);

function charge(hv: Hypervisor, cycles: number): void {
  const current = currentVcpu(hv);
  if (current !== null) hv.charge(current, "tlb", cycles);
  else hv.chargeXen("tlb", cycles);
}

/** Flushing on a processor that is not ours takes an interrupt and waiting for it. */
function chargeFor(hv: Hypervisor, vcpu: Vcpu, local: number): number {
  return vcpu === currentVcpu(hv) ? local : vcpu.isRunning ? COST_FLUSH_IPI : 0;
}

function flush(hv: Hypervisor, vcpu: Vcpu): void {
  newEpoch(vcpu.core);
  vcpu.pv!.tlbStamp = hv.pageTypes.clock;
}

/** flush_tlb_local: all translations of one vcpu, user and kernel. */
export function flushVcpu(vcpu: Vcpu): void {
  const hv = vcpu.domain.hypervisor;
  hv.pageTypes.clock++;
  flush(hv, vcpu);
  charge(hv, chargeFor(hv, vcpu, COST_FLUSH_LOCAL));
}

/** flush_tlb_mask. @param mask bit n for vcpu n; null all */
export function flushVcpus(domain: Domain, mask: Uint32Array | null): void {
  const hv = domain.hypervisor;
  hv.pageTypes.clock++;
  let cost = 0;
  for (const vcpu of domain.vcpus) {
    if (mask !== null && !inMask(mask, vcpu.id)) continue;
    flush(hv, vcpu);
    cost = Math.max(cost, chargeFor(hv, vcpu, COST_FLUSH_LOCAL));
  }
  if (cost !== 0) charge(hv, cost);
}

/** Translations of the page at hi:lo, on the vcpus of `mask` (null all). */
export function invalidateOn(domain: Domain, mask: Uint32Array | null, lo: number, hi: number): void {
  const hv = domain.hypervisor;
  let cost = 0;
  for (const vcpu of domain.vcpus) {
    if (mask !== null && !inMask(mask, vcpu.id)) continue;
    invalidate(vcpu, lo, hi);
    cost = Math.max(cost, chargeFor(hv, vcpu, COST_INVLPG));
  }
  if (cost !== 0) charge(hv, cost);
}

/** paging_invlpg on one vcpu. */
export function invalidateVcpu(vcpu: Vcpu, lo: number, hi: number): void {
  const hv = vcpu.domain.hypervisor;
  invalidate(vcpu, lo, hi);
  charge(hv, chargeFor(hv, vcpu, COST_INVLPG));
}

/** The TLBs are shared by all cores, so that one sweep drops the page everywhere; what a core fetches from is its own. */
function invalidate(vcpu: Vcpu, lo: number, hi: number): void {
  const { core } = vcpu;
  invalidatePage(core, lo, hi);
  core.i32[coreWord(core, FETCH_PAGE) >>> 2] = -1;
  core.i32[coreWord(core, FETCH_PAGE + 4) >>> 2] = -1;
}

export const inMask = (mask: Uint32Array, id: number): boolean => ((mask[id >>> 5]! >>> (id & 31)) & 1) !== 0;

/** tlbflush_filter: the domain's vcpus that have not flushed since `stamp`. */
export function flushDomainSince(domain: Domain, stamp: number): void {
  if (domain.isDying) return;
  const hv = domain.hypervisor;
  let cost = 0;
  for (const vcpu of domain.vcpus) {
    const pv = vcpu.pv;
    if (pv === null || pv.tlbStamp > stamp) continue;
    if (cost === 0) hv.pageTypes.clock++;
    flush(hv, vcpu);
    cost = Math.max(cost, 1, chargeFor(hv, vcpu, COST_FLUSH_LOCAL));
  }
  if (cost > 1) charge(hv, cost);
}

export function flushAllPvSince(hv: Hypervisor, stamp: number): void {
  for (const domain of hv.domains.values()) if (domain.isPv) flushDomainSince(domain, stamp);
}

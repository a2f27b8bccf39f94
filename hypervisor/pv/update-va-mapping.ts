/** HYPERVISOR_update_va_mapping and _otherdomain (__do_update_va_mapping of xen/arch/x86/mm.c): one L1 entry by linear address, and a flush. */
import { EFAULT, EINVAL, EPERM } from "../abi/errno.ts";
import { HYPERVISOR_update_va_mapping, HYPERVISOR_update_va_mapping_otherdomain } from "../abi/hypercall.ts";
import { UVMF_ALL, UVMF_FLUSHTYPE_MASK, UVMF_INVLPG, UVMF_LOCAL, UVMF_TLB_FLUSH } from "../abi/mmu.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { PGT_l1_page_table } from "../memory/page-types.ts";
import { flushVcpu, flushVcpus, invalidateOn, invalidateVcpu } from "./flush.ts";
import { addressOk } from "./guest-words.ts";
import { definePvHypercall } from "./hypercall-table.ts";
import { chargeTables, mayAct, pageOwner, translateFrame } from "./mmu-update.ts";
import { PTE_FRAME_HI, PTE_P, PTE_PSE } from "./pte.ts";
import { readVcpuMask } from "./vcpu-mask.ts";

/**
 * map_guest_l1e: word index of the L1 entry that maps hi:lo in the kernel's address space of `vcpu`.
 * @returns -1 if a table is missing, or the address is Xen's
 */
export function guestL1Entry(vcpu: Vcpu, lo: number, hi: number): number {
  if (!addressOk(vcpu, lo, hi)) return -1;
  const { pageTables: tables, heap, arena } = vcpu.domain.hypervisor;
  const { i32 } = arena;
  let mfn = vcpu.pv!.guestTable;
  for (let level = 4; level > 1; level--) {
    if (mfn < 0) return -1;
    const slot = level === 4 ? (hi >>> 7) & 511 : level === 3 ? ((hi << 2) | (lo >>> 30)) & 511 : (lo >>> 21) & 511;
    const at = tables.table(mfn) + 2 * slot;
    if ((i32[at]! & (PTE_P | PTE_PSE)) !== PTE_P || (i32[at + 1]! & PTE_FRAME_HI) !== 0) return -1;
    mfn = i32[at]! >>> 12;
    if (mfn >= heap.frames) return -1;
  }
  return tables.table(mfn) + 2 * ((lo >>> 12) & 511);
}

/** The same in a validated L1 of the vcpu's own domain, in which an entry may be changed; -1 if it isn't. */
export function ownL1Entry(vcpu: Vcpu, lo: number, hi: number): number {
  const at = guestL1Entry(vcpu, lo, hi);
  if (at < 0) return -1;
  const { pageTypes, arena } = vcpu.domain.hypervisor;
  const mfn = arena.frameOf(at * 4);
  return pageTypes.ownerOf(mfn) === vcpu.domain.domid && pageTypes.is(mfn, PGT_l1_page_table) ? at : -1;
}

/** The new entry. */
const entry = new Int32Array(2);

function updateVaMapping(
  vcpu: Vcpu,
  lo: number,
  hi: number,
  valueLo: number,
  valueHi: number,
  flagsLo: number,
  flagsHi: number,
  pgOwner: number,
): number {
  const { domain } = vcpu;
  if (!mayAct(domain, pgOwner)) return -EPERM;
  const at = ownL1Entry(vcpu, lo, hi);
  entry[0] = valueLo;
  entry[1] = valueHi;
  const rc =
    at < 0 || !translateFrame(domain, pgOwner, entry, 0)
      ? -EINVAL
      : domain.hypervisor.pageTables.modL1(at, entry[0]!, entry[1]!, false, domain, pgOwner);
  chargeTables(vcpu, 1);
  if (rc !== 0) return rc;
  const kind = flagsLo & UVMF_FLUSHTYPE_MASK;
  if (kind !== UVMF_TLB_FLUSH && kind !== UVMF_INVLPG) return 0;
  const where = flagsLo & ~UVMF_FLUSHTYPE_MASK;
  if (where === UVMF_LOCAL && flagsHi === 0) {
    if (kind === UVMF_TLB_FLUSH) flushVcpu(vcpu);
    else invalidateVcpu(vcpu, lo, hi);
    return 0;
  }
  // Anything else is the address of a bitmap of vcpus; if it can't be read, nobody flushes.
  let mask: Uint32Array | null = null;
  if (where !== UVMF_ALL || flagsHi !== 0) {
    mask = readVcpuMask(vcpu, where, flagsHi);
    if (mask === null) return -EFAULT;
  }
  if (kind === UVMF_TLB_FLUSH) flushVcpus(domain, mask);
  else invalidateOn(domain, mask, lo, hi);
  return 0;
}

// A 32-bit guest passes the entry as two arguments.
definePvHypercall(HYPERVISOR_update_va_mapping, (vcpu, args, compat) =>
  compat
    ? updateVaMapping(vcpu, args[0]!, 0, args[2]!, args[4]!, args[6]!, 0, vcpu.domain.domid)
    : updateVaMapping(vcpu, args[0]!, args[1]!, args[2]!, args[3]!, args[4]!, args[5]!, vcpu.domain.domid),
);

definePvHypercall(HYPERVISOR_update_va_mapping_otherdomain, (vcpu, args, compat) => {
  const owner = pageOwner(vcpu.domain, args[compat ? 8 : 6]! & 0xffff);
  if (owner < 0) return owner;
  return compat
    ? updateVaMapping(vcpu, args[0]!, 0, args[2]!, args[4]!, args[6]!, 0, owner)
    : updateVaMapping(vcpu, args[0]!, args[1]!, args[2]!, args[3]!, args[4]!, args[5]!, owner);
});

/** The top-level page tables of a PV vcpu (new_guest_cr3, MMUEXT_NEW_USER_BASEPTR, vcpu_destroy_pagetables of xen/arch/x86/mm.c). */
import { CR3 } from "../../cpu/arena.ts";
import { EINVAL } from "../abi/errno.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { PGT_l3_page_table, PGT_l4_page_table, PGT_pinned } from "../memory/page-types.ts";
import { flushVcpu } from "./flush.ts";
import { destroyLdt } from "./ldt.ts";
import { isM2pStrict } from "./m2p.ts";
import { PTE_A, PTE_P, PTE_RW, PTE_US } from "./pte.ts";

/**
 * Makes `mfn` the table of the vcpu's kernel (a 32-bit guest's L3) and gives up the one before. The caller has seen to it that the vcpu is
 * in kernel mode if it is active. @returns 0 or -errno
 */
export function installBase(vcpu: Vcpu, mfn: number): number {
  const { domain } = vcpu;
  const { pageTypes: types } = domain.hypervisor;
  const pv = vcpu.pv!;
  if (domain.pv!.is32bit) return installCompatBase(vcpu, mfn);
  const old = pv.guestTable;
  if (old === mfn) {
    flushVcpu(vcpu);
    return 0;
  }
  const rc = types.getPageAndType(mfn, domain.domid, PGT_l4_page_table);
  if (rc !== 0) return rc;
  destroyLdt(vcpu);
  if (!isM2pStrict(domain)) domain.pv!.addressSpace.fillM2pSlot(mfn);
  pv.guestTable = mfn;
  loadBase(vcpu);
  flushVcpu(vcpu);
  if (old >= 0) types.putPageAndType(old);
  return 0;
}

/** A 32-bit guest's L3 is entry 0 of the vcpu's own L4, which is Xen's. */
function installCompatBase(vcpu: Vcpu, mfn: number): number {
  const { hypervisor: hv, domid } = vcpu.domain;
  const at = hv.pageTables.table(vcpu.pv!.guestTable);
  const old = hv.arena.i32[at]!;
  if ((old & PTE_P) === 0 || old >>> 12 !== mfn) {
    const rc = hv.pageTypes.getPageAndType(mfn, domid, PGT_l3_page_table);
    if (rc !== 0) return rc;
    hv.pageTables.store(at, (mfn << 12) | PTE_P | PTE_RW | PTE_US | PTE_A, 0);
    if ((old & PTE_P) !== 0) hv.pageTypes.putPageAndType(old >>> 12);
  }
  destroyLdt(vcpu);
  flushVcpu(vcpu);
  return 0;
}

/** Makes `mfn` the table of user mode, 0 none. @returns 0 or -errno */
export function installUserBase(vcpu: Vcpu, mfn: number): number {
  const { domain } = vcpu;
  const { pageTypes: types } = domain.hypervisor;
  const pv = vcpu.pv!;
  if (domain.pv!.is32bit) return -EINVAL;
  const old = pv.guestTableUser;
  if (mfn === Math.max(old, 0)) return 0;
  if (mfn !== 0) {
    const rc = types.getPageAndType(mfn, domain.domid, PGT_l4_page_table);
    if (rc !== 0) return rc;
    if (isM2pStrict(domain)) domain.pv!.addressSpace.zapM2pSlot(mfn);
  }
  pv.guestTableUser = mfn === 0 ? -1 : mfn;
  // Nothing of the old user space may be found under the new one.
  flushVcpu(vcpu);
  if (old >= 0) types.putPageAndType(old);
  return 0;
}

/**
 * What the domain builder does at last (xc_dom_x86.c, pin_table; arch_set_info_guest): pins the top table `mfn`, a 32-bit guest's L3, and makes
 * it the vcpu's. Throws RangeError if the tables are none that a guest may have.
 */
export function startOnTable(vcpu: Vcpu, mfn: number): void {
  const { domain } = vcpu;
  const { hypervisor: hv } = domain;
  const type = domain.pv!.is32bit ? PGT_l3_page_table : PGT_l4_page_table;
  let rc = hv.pageTypes.getPageAndType(mfn, domain.domid, type);
  if (rc === 0) {
    hv.pageTypes.flags[mfn]! |= PGT_pinned;
    giveOwnTop(vcpu);
    rc = installBase(vcpu, mfn);
  }
  hv.pageTables.takeWork();
  if (rc !== 0) throw new RangeError(`the page tables of domain ${domain.name} can't be used: error ${-rc}`);
}

/** A vcpu of a 32-bit guest runs under a top table of Xen's (setup_compat_l4), for as long as the domain lives. */
export function giveOwnTop(vcpu: Vcpu): void {
  const { domain } = vcpu;
  if (!domain.pv!.is32bit || vcpu.pv!.guestTable >= 0) return;
  const top = domain.allocXenPage();
  domain.pv!.addressSpace.fillXenSlots(top, true);
  vcpu.pv!.guestTable = top;
  loadBase(vcpu);
}

/** CR3 as the mode of the vcpu, which must be active or not yet running, wants it. */
function loadBase(vcpu: Vcpu): void {
  const { core, pv } = vcpu;
  const before = core.shared.active;
  core.activate();
  if (pv!.kernelMode) {
    core.i32[CR3 >>> 2] = pv!.guestTable << 12;
    core.i32[(CR3 + 4) >>> 2] = 0;
  }
  before?.activate();
}

/** vcpu_destroy_pagetables: gives up what the vcpu uses; it does not run again before it gets a new table. */
export function dropBases(vcpu: Vcpu): void {
  const { hypervisor: hv } = vcpu.domain;
  const pv = vcpu.pv!;
  if (vcpu.domain.pv!.is32bit) {
    if (pv.guestTable < 0) return;
    const at = hv.pageTables.table(pv.guestTable);
    const entry = hv.arena.i32[at]!;
    if ((entry & PTE_P) === 0) return;
    hv.pageTables.store(at, 0, 0);
    hv.pageTypes.putPageAndType(entry >>> 12);
    return;
  }
  const [kernel, user] = [pv.guestTable, pv.guestTableUser];
  pv.guestTable = -1;
  pv.guestTableUser = -1;
  if (kernel >= 0) hv.pageTypes.putPageAndType(kernel);
  if (user >= 0) hv.pageTypes.putPageAndType(user);
}

/**
 * Changes to a guest's physical memory (guest_remove_page, guest_physmap_add_page, xenmem_add_to_physmap_one): what keeps p2m,
 * owners and references in step.
 *
 * A frame of the domain, and a page of Xen's, is mapped at most once. An own frame without a mapping still belongs to the domain and
 * goes with it. Entries of type grant are changed by grant operations only.
 */
import { EINVAL, ENOENT, ENOMEM, ENXIO } from "../abi/errno.ts";
import { DOMID_XEN } from "../abi/xen.ts";
import type { Domain } from "../domain/domain.ts";
import { crashDomain } from "../domain/lifecycle.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { COST_P2M_CHANGE } from "../hypercalls/costs.ts";
import { isGrant, isRam, P2M_INVALID, P2M_MAP_FOREIGN, P2M_RAM_RW } from "./p2m.ts";

const isXenPage = (domain: Domain, mfn: number): boolean => domain.hypervisor.heap.ownerOf(mfn) === DOMID_XEN;

/** Takes an entry away without giving the frame back. @returns 0 or -errno. */
export function unhook(domain: Domain, gfn: number): number {
  // A PV guest's frame has no place to be taken out of.
  const mfn = domain.physmap === null ? domain.p2m.lookup(gfn) : domain.physmap.unmap(gfn);
  if (mfn < 0) return -ENOMEM;
  domain.xenPageGfns.delete(mfn);
  return 0;
}

/** guest_remove_page: takes the frame out and frees it; a page of Xen's is only taken out. @returns 0 or -errno. */
export function removePage(domain: Domain, gfn: number): number {
  const type = domain.p2m.typeOf(gfn);
  if (type === P2M_INVALID) return -ENOENT;
  // A page of another domain (or of this one, by grant) is not its own to give away.
  if (!isRam(type)) return -ENXIO;
  const mfn = domain.p2m.lookup(gfn);
  const rc = unhook(domain, gfn);
  if (rc === 0 && !isXenPage(domain, mfn)) domain.hypervisor.heap.putAllocation(mfn);
  return rc;
}

/**
 * guest_physmap_add_page: puts a frame at `gfn` in place of what is there. RAM there loses its mapping and stays with the domain;
 * unmapping another domain's page this way crashes the caller, as in Xen. @returns 0 or -errno.
 */
export function addPage(vcpu: Vcpu, domain: Domain, gfn: number, mfn: number, type: number): number {
  const old = domain.p2m.typeOf(gfn);
  if (isGrant(old) || old === P2M_MAP_FOREIGN) {
    crashDomain(vcpu, `gfn 0x${gfn.toString(16)} holds a page of another domain and can't be mapped over`);
    return -EINVAL;
  }
  const oldMfn = domain.p2m.lookup(gfn);
  if (!domain.physmap?.map(gfn, mfn, type)) return -ENOMEM;
  if (oldMfn >= 0) domain.xenPageGfns.delete(oldMfn);
  return 0;
}

/** Puts a page of Xen's, or a frame that has just lost its place `oldGfn`, at `gfn`; RAM there is freed. */
function place(vcpu: Vcpu, domain: Domain, gfn: number, mfn: number, oldGfn: number | undefined): number {
  vcpu.charge("p2m", 2 * COST_P2M_CHANGE);
  if (domain.p2m.lookup(gfn) >= 0) {
    const rc = removePage(domain, gfn);
    if (rc !== 0) return rc;
  }
  if (oldGfn !== undefined && oldGfn !== gfn) {
    const rc = unhook(domain, oldGfn);
    if (rc !== 0) return rc;
  }
  return addPage(vcpu, domain, gfn, mfn, P2M_RAM_RW);
}

/** Shows the guest a page of Xen's at `gfn`, and no longer where it was before. @returns 0 or -errno. */
export function placeXenPage(vcpu: Vcpu, domain: Domain, gfn: number, mfn: number): number {
  const old = domain.xenPageGfns.get(mfn);
  if (old === gfn) return 0;
  const rc = place(vcpu, domain, gfn, mfn, old);
  if (rc === 0) domain.xenPageGfns.set(mfn, gfn);
  return rc;
}

/** XENMAPSPACE_gmfn: moves the domain's own page from one guest frame to another. @returns 0 or -errno. */
export function movePage(vcpu: Vcpu, domain: Domain, from: number, to: number): number {
  if (!isRam(domain.p2m.typeOf(from))) return -EINVAL;
  if (from === to) return 0;
  const mfn = domain.p2m.lookup(from);
  if (isXenPage(domain, mfn)) return placeXenPage(vcpu, domain, to, mfn);
  return place(vcpu, domain, to, mfn, from);
}

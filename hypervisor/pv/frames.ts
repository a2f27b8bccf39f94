/**
 * "Guest frames" of a PV domain: they are machine frames (paging_mode_translate is off). A frame is there if the domain owns
 * it, or if it is a page of Xen's that is shared with the domain. What maps frames where is the guest's own page tables.
 */
import type { Domain } from "../domain/domain.ts";
import { type GuestFrames, P2M_INVALID, P2M_RAM_RW } from "../memory/p2m.ts";

export class PvFrames implements GuestFrames {
  private readonly domain: Domain;

  constructor(domain: Domain) {
    this.domain = domain;
  }

  /** XENMEM_maximum_gpfn: arch_set_info's max_pfn of the shared info is the guest's own; Xen knows no better for PV. */
  get maxMapped(): number {
    return this.domain.hypervisor.heap.frames - 1;
  }

  lookup(gfn: number): number {
    const { heap } = this.domain.hypervisor;
    if (heap.ownerOf(gfn) === this.domain.domid) return gfn;
    return this.domain.hypervisor.pageTypes.isSharedWith(gfn, this.domain.domid) ? gfn : -1;
  }

  typeOf(gfn: number): number {
    return this.lookup(gfn) < 0 ? P2M_INVALID : P2M_RAM_RW;
  }
}

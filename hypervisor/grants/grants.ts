/** The grants of a domain: its own table, and what it has mapped of others (maptrack). */
import {
  GNTMAP_application_map,
  GNTMAP_contains_pte,
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_dev_addr,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_bad_handle,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_no_space,
  GNTST_okay,
  GTF_PAT,
  GTF_PCD,
  GTF_PWT,
} from "../abi/grant.ts";
import type { Domain } from "../domain/domain.ts";
import { isAbsentControl } from "../domain/privilege.ts";
import type { DomainGrants } from "../domain/services.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { COST_P2M_CHANGE, COST_PTE_UPDATE } from "../hypercalls/costs.ts";
import { isGrant, isRam, isReadOnly, P2M_GRANT_MAP_RO, P2M_GRANT_MAP_RW, P2M_RAM_RW } from "../memory/p2m.ts";
import { addPage, unhook } from "../memory/physmap.ts";
import { flushVcpus } from "../pv/flush.ts";
import { createGrantMapping, replaceGrantMapping } from "../pv/grant-mapping.ts";
import { type ActiveEntry, SharedTable } from "./table.ts";

/** Frames of entries that a domain may have (gnttab_max_frames). */
export const DEFAULT_MAX_GRANT_FRAMES = 64;
/** gnttab_max_maptrack_frames, 256 mappings each. */
const MAX_MAPTRACK = 1024 * 256;
const FRAME = 4096;
/** Entries of version 1 in one frame. */
const CONTROL_ENTRIES: number = FRAME / 8;

/** One mapping of another domain's grant (struct grant_mapping). */
export interface Mapping {
  readonly table: SharedTable;
  readonly ref: number;
  readonly readOnly: boolean;
  readonly mfn: number;
  /** GNTMAP_* it was made with; GNTMAP_host_map and GNTMAP_device_map go as they are unmapped, each a pin of the entry. */
  flags: number;
}

/** What GNTTABOP_map_grant_ref answers. */
export interface MapResult {
  /** GNTST_*. */
  readonly status: number;
  readonly handle: number;
  readonly mfn: number;
}

const failed = (status: number): MapResult => ({ status, handle: 0, mfn: 0 });

export class Grants implements DomainGrants {
  readonly domain: Domain;
  readonly table: SharedTable;
  readonly maxMappings: number;
  /** By handle; a hole is a free handle. */
  private readonly maptrack: (Mapping | null)[] = [];
  private readonly freeHandles: number[] = [];
  /** Entries of a PV guest's tables have gone: its vcpus have to flush. */
  unmappedEntries = false;

  constructor(domain: Domain, maxVersion: number, maxFrames: number = DEFAULT_MAX_GRANT_FRAMES) {
    this.domain = domain;
    this.table = new SharedTable(domain, maxVersion, maxFrames);
    this.maxMappings = MAX_MAPTRACK;
  }

  mappings(): Mapping[] {
    return this.maptrack.filter((m) => m !== null);
  }

  /**
   * map_grant_ref. @param hostAddress guest-physical for an HVM guest; for a PV guest linear, or the machine address of a page-table entry
   * (GNTMAP_contains_pte)
   */
  map(vcpu: Vcpu, hostAddress: bigint, flags: number, ref: number, domid: number): MapResult {
    const { isPv } = this.domain;
    if ((flags & (GNTMAP_device_map | GNTMAP_host_map)) === 0) return failed(GNTST_bad_gntref);
    if (!isPv && (flags & (GNTMAP_device_map | GNTMAP_application_map | GNTMAP_contains_pte)) !== 0)
      return failed(GNTST_general_error);
    const granter = grantsOfId(this.domain, domid);
    if (granter === null) {
      if (!isAbsentControl(this.domain, domid)) return failed(GNTST_bad_domain);
      // The control domain has the one frame of entries that every domain has, and grants nothing.
      return failed(ref < CONTROL_ENTRIES ? GNTST_general_error : GNTST_bad_gntref);
    }
    if (this.freeHandles.length === 0 && this.maptrack.length >= this.maxMappings) return failed(GNTST_no_space);
    const { table } = granter;
    if (ref >= table.entries) return failed(GNTST_bad_gntref);
    const readOnly = (flags & GNTMAP_readonly) !== 0;
    const entry = table.read(ref);
    const active = table.pin(ref, this.domain.domid, readOnly, true, entry);
    if (typeof active === "number") return failed(active);
    // Of both kinds at once it takes a pin for each.
    const both = GNTMAP_host_map | GNTMAP_device_map;
    let status: number = GNTST_okay;
    if ((flags & both) === both) {
      const second = table.pin(ref, this.domain.domid, readOnly, true, entry);
      if (typeof second === "number") {
        table.unpin(ref, readOnly);
        return failed(second);
      }
    }
    if ((flags & GNTMAP_host_map) !== 0)
      status = isPv
        ? this.mapEntry(vcpu, hostAddress, flags, entry.flags, active.mfn)
        : this.mapFrame(vcpu, hostAddress, flags, entry.flags, active.mfn);
    if (status === GNTST_okay && granter === this && !isPv) this.leaveOldPlace(active);
    if (status !== GNTST_okay) {
      table.unpin(ref, readOnly);
      if ((flags & both) === both) table.unpin(ref, readOnly);
      return failed(status);
    }
    const handle = this.freeHandles.pop() ?? this.maptrack.length;
    this.maptrack[handle] = { table, ref, readOnly, mfn: active.mfn, flags };
    return { status: GNTST_okay, handle, mfn: active.mfn };
  }

  /** create_grant_pv_mapping; memory with other cache attributes is for devices only. */
  private mapEntry(vcpu: Vcpu, address: bigint, flags: number, entryFlags: number, mfn: number): number {
    if ((entryFlags & (GTF_PAT | GTF_PWT | GTF_PCD)) !== 0) return GNTST_general_error;
    vcpu.charge("mmu", COST_PTE_UPDATE);
    return createGrantMapping(vcpu, address, mfn, flags);
  }

  /** A frame of the domain has one place in its memory: mapping its own grant takes the frame from where it was (m2p). */
  private leaveOldPlace({ gfn, mfn }: ActiveEntry): void {
    const { p2m } = this.domain;
    if (isRam(p2m.typeOf(gfn)) && p2m.lookup(gfn) === mfn) unhook(this.domain, gfn);
  }

  /** create_grant_p2m_mapping. */
  private mapFrame(vcpu: Vcpu, hostAddress: bigint, flags: number, entryFlags: number, mfn: number): number {
    const cache = entryFlags & (GTF_PAT | GTF_PWT | GTF_PCD);
    if (cache !== 0 || (flags & ~GNTMAP_readonly) >>> 0 !== GNTMAP_host_map) return GNTST_general_error;
    vcpu.charge("p2m", COST_P2M_CHANGE);
    const type = (flags & GNTMAP_readonly) !== 0 ? P2M_GRANT_MAP_RO : P2M_GRANT_MAP_RW;
    const gfn = Number(hostAddress / BigInt(FRAME));
    return addPage(vcpu, this.domain, gfn, mfn, type) === 0 ? GNTST_okay : GNTST_general_error;
  }

  /**
   * unmap_grant_ref and unmap_and_replace (unmap_common): ends what of the mapping has an address, all of it if both kinds are ended.
   * @param newAddress where a PV guest's replacement comes from; must be 0 of an HVM guest
   * @returns GNTST_*
   */
  unmap(vcpu: Vcpu, hostAddress: bigint, busAddress: bigint, newAddress: bigint, handle: number): number {
    const mapping = this.maptrack[handle] ?? null;
    if (mapping === null) return GNTST_bad_handle;
    const hasBus = busAddress !== 0n && (mapping.flags & GNTMAP_device_map) !== 0;
    if (hasBus && busAddress !== BigInt(mapping.mfn) * BigInt(FRAME)) return GNTST_bad_dev_addr;
    if (hostAddress !== 0n && (mapping.flags & GNTMAP_host_map) !== 0) {
      const status = this.unmapHost(vcpu, hostAddress, newAddress, mapping);
      if (status !== GNTST_okay) return status;
      mapping.flags &= ~GNTMAP_host_map;
      mapping.table.unpin(mapping.ref, mapping.readOnly);
    }
    if (hasBus) {
      mapping.flags &= ~GNTMAP_device_map;
      mapping.table.unpin(mapping.ref, mapping.readOnly);
    }
    if ((mapping.flags & (GNTMAP_host_map | GNTMAP_device_map)) === 0) this.freeHandle(handle);
    return GNTST_okay;
  }

  /** replace_grant_host_mapping. */
  private unmapHost(vcpu: Vcpu, hostAddress: bigint, newAddress: bigint, mapping: Mapping): number {
    if (this.domain.isPv) {
      vcpu.charge("mmu", COST_PTE_UPDATE);
      this.unmappedEntries = true;
      return replaceGrantMapping(vcpu, hostAddress, mapping.mfn, newAddress, mapping.flags);
    }
    if (newAddress !== 0n) return GNTST_general_error;
    const gfn = Number(hostAddress / BigInt(FRAME));
    const { p2m } = this.domain;
    const type = p2m.typeOf(gfn);
    if (!isGrant(type) || p2m.lookup(gfn) !== mapping.mfn || isReadOnly(type) !== mapping.readOnly)
      return GNTST_general_error;
    vcpu.charge("p2m", COST_P2M_CHANGE);
    return unhook(this.domain, gfn) === 0 ? GNTST_okay : GNTST_general_error;
  }

  private freeHandle(handle: number): void {
    this.maptrack[handle] = null;
    this.freeHandles.push(handle);
  }

  /** gnttab_transfer of one frame: gives it away to `domid`, which has an entry for it. @returns GNTST_* */
  transfer(vcpu: Vcpu, mfn: number, domid: number, ref: number): number {
    const { domain } = this;
    const { heap, pageTypes } = domain.hypervisor;
    if (!domain.isPv || heap.ownerOf(mfn) !== domain.domid) return GNTST_bad_page;
    if (heap.referencesOf(mfn) !== 1 || !heap.isAllocated(mfn)) return GNTST_bad_page;
    flushVcpus(domain, null);
    // From here on the frame is lost to its owner, whatever becomes of it.
    const taker = domain.hypervisor.domain(domid);
    const status =
      taker === null ? (isAbsentControl(domain, domid) ? GNTST_general_error : GNTST_bad_domain) : GNTST_okay;
    const table = taker === null ? null : (grantsOf(taker)?.table ?? null);
    const owned = taker === domain ? domain.totalPages - 1 : (taker?.totalPages ?? 0);
    if (taker === null || table === null || owned >= taker.maxPages || !table.commitTransfer(ref, domain.domid)) {
      heap.putAllocation(mfn);
      return status === GNTST_okay ? GNTST_general_error : status;
    }
    pageTypes.forget(mfn);
    heap.steal(mfn, domain.domid, taker.domid);
    const gfn = table.completeTransfer(ref, mfn);
    if (taker.isPv) domain.hypervisor.m2p!.set(mfn, gfn | 0);
    else if (addPage(vcpu, taker, gfn, mfn, P2M_RAM_RW) !== 0) return GNTST_general_error;
    return GNTST_okay;
  }

  /** The domain goes: its mappings of others end; what others have mapped of it stays until they let go. */
  destroy(): void {
    this.maptrack.forEach((mapping, handle) => {
      if (mapping === null) return;
      for (const kind of [GNTMAP_host_map, GNTMAP_device_map])
        if ((mapping.flags & kind) !== 0) mapping.table.unpin(mapping.ref, mapping.readOnly);
      this.freeHandle(handle);
    });
    this.table.close();
  }
}

/** The grants of a domain, null if it may have none. */
export function grantsOf(domain: Domain): Grants | null {
  return domain.grants instanceof Grants ? domain.grants : null;
}

/** Those of a live domain by its number (DOMID_SELF is none), as `caller` sees it. */
export function grantsOfId(caller: Domain, domid: number): Grants | null {
  const domain = caller.hypervisor.domain(domid);
  return domain === null ? null : grantsOf(domain);
}

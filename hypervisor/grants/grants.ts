/** The grants of a domain: its own table, and what it has mapped of others (maptrack). */
import {
  GNTMAP_application_map,
  GNTMAP_contains_pte,
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_bad_handle,
  GNTST_general_error,
  GNTST_no_space,
  GNTST_okay,
  GTF_PAT,
  GTF_PCD,
  GTF_PWT,
} from "../abi/grant.ts";
import type { Domain } from "../domain/domain.ts";
import type { DomainGrants } from "../domain/services.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { COST_P2M_CHANGE } from "../hypercalls/costs.ts";
import { isGrant, isRam, isReadOnly, P2M_GRANT_MAP_RO, P2M_GRANT_MAP_RW } from "../memory/p2m.ts";
import { addPage, unhook } from "../memory/physmap.ts";
import { type ActiveEntry, SharedTable } from "./table.ts";

/** Frames of entries that a domain may have (gnttab_max_frames). */
export const DEFAULT_MAX_GRANT_FRAMES = 64;
/** gnttab_max_maptrack_frames, 256 mappings each. */
const MAX_MAPTRACK = 1024 * 256;
const FRAME = 4096;

/** One mapping of another domain's grant. */
export interface Mapping {
  readonly table: SharedTable;
  readonly ref: number;
  readonly readOnly: boolean;
  readonly mfn: number;
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

  constructor(domain: Domain, maxVersion: number, maxFrames: number = DEFAULT_MAX_GRANT_FRAMES) {
    this.domain = domain;
    this.table = new SharedTable(domain, maxVersion, maxFrames);
    this.maxMappings = MAX_MAPTRACK;
  }

  mappings(): Mapping[] {
    return this.maptrack.filter((m) => m !== null);
  }

  /** map_grant_ref for an HVM guest: `hostAddress` is a guest-physical address. */
  map(vcpu: Vcpu, hostAddress: bigint, flags: number, ref: number, domid: number): MapResult {
    if ((flags & (GNTMAP_device_map | GNTMAP_host_map)) === 0) return failed(GNTST_bad_gntref);
    if ((flags & (GNTMAP_device_map | GNTMAP_application_map | GNTMAP_contains_pte)) !== 0)
      return failed(GNTST_general_error);
    const granter = grantsOfId(this.domain, domid);
    if (granter === null) return failed(GNTST_bad_domain);
    if (this.freeHandles.length === 0 && this.maptrack.length >= this.maxMappings) return failed(GNTST_no_space);
    const { table } = granter;
    if (ref >= table.entries) return failed(GNTST_bad_gntref);
    const readOnly = (flags & GNTMAP_readonly) !== 0;
    const entry = table.read(ref);
    const active = table.pin(ref, this.domain.domid, readOnly, true, entry);
    if (typeof active === "number") return failed(active);
    const status = this.mapFrame(vcpu, hostAddress, flags, entry.flags, active.mfn);
    if (status === GNTST_okay && granter === this) this.leaveOldPlace(active);
    if (status !== GNTST_okay) {
      table.unpin(ref, readOnly);
      return failed(status);
    }
    const handle = this.freeHandles.pop() ?? this.maptrack.length;
    this.maptrack[handle] = { table, ref, readOnly, mfn: active.mfn };
    return { status: GNTST_okay, handle, mfn: active.mfn };
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
   * unmap_grant_ref and unmap_and_replace for an HVM guest; `newAddress` must be 0 there. Address 0 unmaps nothing and leaves the handle.
   * @returns GNTST_*
   */
  unmap(vcpu: Vcpu, hostAddress: bigint, busAddress: bigint, newAddress: bigint, handle: number): number {
    const mapping = this.maptrack[handle] ?? null;
    if (mapping === null) return GNTST_bad_handle;
    if (busAddress !== 0n && busAddress !== BigInt(mapping.mfn) * BigInt(FRAME)) return GNTST_general_error;
    if (hostAddress === 0n) return GNTST_okay;
    if (newAddress !== 0n) return GNTST_general_error;
    const gfn = Number(hostAddress / BigInt(FRAME));
    const { p2m } = this.domain;
    const type = p2m.typeOf(gfn);
    if (!isGrant(type) || p2m.lookup(gfn) !== mapping.mfn || isReadOnly(type) !== mapping.readOnly)
      return GNTST_general_error;
    vcpu.charge("p2m", COST_P2M_CHANGE);
    if (unhook(this.domain, gfn) !== 0) return GNTST_general_error;
    this.release(handle, mapping);
    return GNTST_okay;
  }

  private release(handle: number, mapping: Mapping): void {
    this.maptrack[handle] = null;
    this.freeHandles.push(handle);
    mapping.table.unpin(mapping.ref, mapping.readOnly);
  }

  /** The domain goes: its mappings of others end; what others have mapped of it stays until they let go. */
  destroy(): void {
    this.maptrack.forEach((mapping, handle) => {
      if (mapping !== null) this.release(handle, mapping);
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

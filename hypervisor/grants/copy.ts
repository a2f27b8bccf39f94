/** GNTTABOP_copy: bytes between two pages, each named by a grant or, of the caller itself, by its frame. */
import {
  GNTCOPY_dest_gref,
  GNTCOPY_source_gref,
  GNTST_bad_copy_arg,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_okay,
  GNTST_permission_denied,
  GTF_transitive,
  GTF_type_mask,
} from "../abi/grant.ts";
import { DOMID_SELF } from "../abi/xen.ts";
import type { Domain } from "../domain/domain.ts";
import { domainByAnyId } from "../domain/privilege.ts";
import { isRam, isReadOnly } from "../memory/p2m.ts";
import { PGT_writable_page } from "../memory/page-types.ts";
import { grantsOf, grantsOfId } from "./grants.ts";
import type { ActiveEntry, SharedTable } from "./table.ts";

const FRAME = 4096;

/** One side: struct gnttab_copy_ptr. */
export interface CopyPointer {
  /** Grant reference or guest frame. */
  readonly frame: number;
  readonly domid: number;
  readonly offset: number;
}

/** A page that may be used for one copy: bytes [start, start + length) of it. */
interface Claim {
  readonly mfn: number;
  readonly start: number;
  readonly length: number;
  readonly release: () => void;
}

const NOTHING = (): void => {};

/** Copies `length` bytes. @returns GNTST_*. */
export function grantCopy(
  caller: Domain,
  source: CopyPointer,
  dest: CopyPointer,
  length: number,
  flags: number,
): number {
  const sourceIsRef = (flags & GNTCOPY_source_gref) !== 0;
  const destIsRef = (flags & GNTCOPY_dest_gref) !== 0;
  for (const [{ domid }, isRef] of [
    [source, sourceIsRef],
    [dest, destIsRef],
  ] as const) {
    if (domid !== DOMID_SELF && !isRef) return GNTST_permission_denied;
    if (domainByAnyId(caller, domid) === null) return GNTST_bad_domain;
  }
  const from = claim(caller, source, sourceIsRef, true);
  if (typeof from === "number") return from;
  const to = claim(caller, dest, destIsRef, false);
  if (typeof to === "number") {
    from.release();
    return to;
  }
  const status = copyBytes(caller, source, from, dest, to, length);
  to.release();
  from.release();
  return status;
}

function copyBytes(
  caller: Domain,
  source: CopyPointer,
  from: Claim,
  dest: CopyPointer,
  to: Claim,
  length: number,
): number {
  if (source.offset + length > FRAME || dest.offset + length > FRAME) return GNTST_bad_copy_arg;
  if (!covers(from, source.offset, length) || !covers(to, dest.offset, length)) return GNTST_general_error;
  const { memory } = caller.hypervisor;
  if (length > 0)
    memory.write(memory.frame(to.mfn) + dest.offset, memory.read(memory.frame(from.mfn) + source.offset, length));
  return GNTST_okay;
}

function covers({ start, length }: Claim, offset: number, bytes: number): boolean {
  return offset >= start && offset + bytes <= start + length;
}

function claim(caller: Domain, pointer: CopyPointer, isRef: boolean, readOnly: boolean): Claim | number {
  const owner = domainByAnyId(caller, pointer.domid)!;
  if (!isRef) return claimFrame(owner, pointer.frame, readOnly);
  const table = grantsOf(owner)?.table;
  if (table === undefined) return GNTST_bad_gntref;
  return acquire(table, pointer.frame, caller.domid, readOnly, true);
}

/** The caller's own page. It is in use for as long as the hypercall only, and no vcpu runs meanwhile: no reference needed. */
function claimFrame(owner: Domain, gfn: number, readOnly: boolean): Claim | number {
  const type = owner.p2m.typeOf(gfn);
  if (!isRam(type) || (!readOnly && isReadOnly(type))) return GNTST_bad_page;
  const mfn = owner.p2m.lookup(gfn);
  if (owner.hypervisor.heap.ownerOf(mfn) !== owner.domid) return GNTST_bad_page;
  if (owner.isPv && !readOnly) {
    // Not into a page table or a page of descriptors.
    const { pageTypes } = owner.hypervisor;
    if (pageTypes.getType(mfn, PGT_writable_page) !== 0) return GNTST_general_error;
    return { mfn, start: 0, length: FRAME, release: () => pageTypes.putType(mfn) };
  }
  return { mfn, start: 0, length: FRAME, release: NOTHING };
}

/** acquire_grant_for_copy: pins the grant, and behind a transitive one that which it leads to, one step only. */
function acquire(
  table: SharedTable,
  ref: number,
  user: number,
  readOnly: boolean,
  mayBeTransitive: boolean,
): Claim | number {
  if (ref >= table.entries) return GNTST_bad_gntref;
  const entry = table.read(ref);
  const isTransitive = table.version === 2 && (entry.flags & GTF_type_mask) === GTF_transitive;
  if (!isTransitive) {
    const active = table.pin(ref, user, readOnly, false, entry);
    return typeof active === "number" ? active : claimOf(active, () => table.unpin(ref, readOnly));
  }
  const bad = table.checkTransitive(ref, user, readOnly, entry);
  if (bad !== GNTST_okay) return bad;
  if (!mayBeTransitive || entry.transDomid === table.domain.domid) return GNTST_general_error;
  const next = grantsOfId(table.domain, entry.transDomid);
  if (next === null) return GNTST_general_error;
  const target = acquire(next.table, entry.transRef, table.domain.domid, readOnly, false);
  if (typeof target === "number") return target;
  const pinned = next.table.activeOf(entry.transRef)!;
  const active = table.pinTransitive(ref, user, readOnly, entry, pinned);
  if (typeof active === "number") {
    target.release();
    return active;
  }
  return claimOf(active, () => {
    table.unpin(ref, readOnly);
    target.release();
  });
}

function claimOf({ mfn, start, length }: ActiveEntry, release: () => void): Claim {
  return { mfn, start, length, release };
}

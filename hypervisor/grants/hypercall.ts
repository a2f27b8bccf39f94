/** HYPERVISOR_grant_table_op: arrays of the structures of public/grant_table.h, in their 64-bit and 32-bit layouts. */
import { EFAULT, EINVAL, ENOSYS, EOPNOTSUPP, EPERM } from "../abi/errno.ts";
import {
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_eagain,
  GNTST_general_error,
  GNTST_okay,
  GNTST_permission_denied,
  GNTTAB_CACHE_CLEAN,
  GNTTAB_CACHE_INVAL,
  GNTTAB_CACHE_SOURCE_GREF,
  GNTTABOP_cache_flush,
  GNTTABOP_copy,
  GNTTABOP_get_status_frames,
  GNTTABOP_get_version,
  GNTTABOP_map_grant_ref,
  GNTTABOP_query_size,
  GNTTABOP_set_version,
  GNTTABOP_setup_table,
  GNTTABOP_swap_grant_ref,
  GNTTABOP_transfer,
  GNTTABOP_unmap_and_replace,
  GNTTABOP_unmap_grant_ref,
} from "../abi/grant.ts";
import { HYPERVISOR_grant_table_op } from "../abi/hypercall.ts";
import { domainByAnyId, isAbsentControl, mayTarget, targetDomain } from "../domain/privilege.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { COPY_BYTES_PER_CYCLE, COST_COPY_PAGE, COST_GRANT } from "../hypercalls/costs.ts";
import { defineHypercall, restart } from "../hypercalls/dispatch.ts";
import { readGuest, writeGuest, writeGuest32, writeGuest64 } from "../memory/guest-access.ts";
import { flushVcpus } from "../pv/flush.ts";
import { type CopyPointer, grantCopy } from "./copy.ts";
import { type Grants, grantsOf } from "./grants.ts";

const FRAME = 4096;
/** xen_pfn_t of a page that is not in the guest's memory. */
const INVALID_PFN = 0xffff_ffff_ffff_ffffn;

const u16 = (s: DataView, at: number): number => s.getUint16(at, true);
const u32 = (s: DataView, at: number): number => s.getUint32(at, true);
const u64 = (s: DataView, at: number): bigint => s.getBigUint64(at, true);
/** A frame number of the guest's word size; what is beyond any p2m stays beyond it. */
const word = (s: DataView, at: number, compat: boolean): number => (compat ? u32(s, at) : Number(u64(s, at)));
const handle = (s: DataView, at: number, compat: boolean): bigint => (compat ? BigInt(u32(s, at)) : u64(s, at));

/** The operation on one structure, which is written back afterwards unless the answer is an errno. 0 or -errno. */
type Run = (vcpu: Vcpu, own: Grants, s: DataView, compat: boolean) => number;

interface Operation {
  /** Bytes of the structure: 64-bit, 32-bit. */
  readonly bytes: readonly [number, number];
  /** Exactly one structure a call. */
  readonly single?: true;
  /** The structure is written back even if the answer is this errno. */
  readonly out: boolean;
  readonly run: Run;
}

function mapGrantRef(vcpu: Vcpu, own: Grants, s: DataView): number {
  const { status, handle: mapped, mfn } = own.map(vcpu, u64(s, 0), u32(s, 8), u32(s, 12), u16(s, 16));
  s.setInt16(18, status, true);
  if (status !== GNTST_okay) return 0;
  s.setUint32(20, mapped, true);
  s.setBigUint64(24, BigInt(mfn) * BigInt(FRAME), true);
  return 0;
}

function unmapGrantRef(vcpu: Vcpu, own: Grants, s: DataView): number {
  s.setInt16(20, own.unmap(vcpu, u64(s, 0), u64(s, 8), 0n, u32(s, 16)), true);
  return 0;
}

function unmapAndReplace(vcpu: Vcpu, own: Grants, s: DataView): number {
  s.setInt16(20, own.unmap(vcpu, u64(s, 0), 0n, u64(s, 8), u32(s, 16)), true);
  return 0;
}

/** The table that `domid` names for set-up and queries, or GNTST_*. */
function tableFor(vcpu: Vcpu, domid: number): Grants | number {
  const caller = vcpu.domain;
  const target = domainByAnyId(caller, domid);
  if (target === null) return isAbsentControl(caller, domid) ? GNTST_permission_denied : GNTST_bad_domain;
  if (!mayTarget(caller, target)) return GNTST_permission_denied;
  return grantsOf(target) ?? GNTST_general_error;
}

function gfnOf(grants: Grants, mfn: number): bigint {
  if (grants.domain.isPv) return BigInt(mfn);
  const gfn = grants.domain.xenPageGfns.get(mfn);
  return gfn === undefined ? INVALID_PFN : BigInt(gfn);
}

function setupTable(vcpu: Vcpu, _own: Grants, s: DataView, compat: boolean): number {
  const status = (value: number): number => {
    s.setInt16(8, value, true);
    return 0;
  };
  const grants = tableFor(vcpu, u16(s, 0));
  if (typeof grants === "number") return status(grants);
  const count = u32(s, 4);
  if (count > grants.table.maxFrames || !grants.table.grow(count)) return status(GNTST_general_error);
  const list = handle(s, compat ? 12 : 16, compat);
  for (let i = 0; i < count; i++) {
    const gfn = gfnOf(grants, grants.table.frames[i]!);
    const done = compat
      ? writeGuest32(vcpu, list + BigInt(4 * i), Number(gfn & 0xffff_ffffn))
      : writeGuest64(vcpu, list + BigInt(8 * i), gfn);
    if (!done) return -EFAULT;
  }
  return status(GNTST_okay);
}

function querySize(vcpu: Vcpu, _own: Grants, s: DataView): number {
  const grants = tableFor(vcpu, u16(s, 0));
  if (typeof grants !== "number") {
    s.setUint32(4, grants.table.frames.length, true);
    s.setUint32(8, grants.table.maxFrames, true);
  }
  s.setInt16(12, typeof grants === "number" ? grants : GNTST_okay, true);
  return 0;
}

function getStatusFrames(vcpu: Vcpu, _own: Grants, s: DataView, compat: boolean): number {
  const status = (value: number): number => {
    s.setInt16(6, value, true);
    return 0;
  };
  const grants = tableFor(vcpu, u16(s, 4));
  if (typeof grants === "number") return status(grants);
  const count = u32(s, 0);
  if (count > grants.table.statusFrames.length) return status(GNTST_general_error);
  const list = handle(s, 8, compat);
  for (let i = 0; i < count; i++) {
    if (!writeGuest64(vcpu, list + BigInt(8 * i), gfnOf(grants, grants.table.statusFrames[i]!))) return -EFAULT;
  }
  return status(GNTST_okay);
}

function setVersion(_vcpu: Vcpu, own: Grants, s: DataView): number {
  const rc = own.table.setVersion(u32(s, 0));
  s.setUint32(0, own.table.version, true);
  return rc;
}

function getVersion(vcpu: Vcpu, _own: Grants, s: DataView): number {
  const target = targetDomain(vcpu.domain, u16(s, 0));
  if (typeof target === "number") return target;
  s.setUint32(4, grantsOf(target)?.table.version ?? 0, true);
  return 0;
}

function copy(vcpu: Vcpu, own: Grants, s: DataView, compat: boolean): number {
  const pointerBytes = compat ? 8 : 16;
  const flagsAt = 2 * pointerBytes + 2;
  const flags = u16(s, flagsAt);
  const pointer = (at: number, isRef: boolean): CopyPointer => ({
    frame: isRef ? u32(s, at) : word(s, at, compat),
    domid: u16(s, at + pointerBytes / 2),
    offset: u16(s, at + pointerBytes / 2 + 2),
  });
  const length = u16(s, 2 * pointerBytes);
  const source = pointer(0, (flags & 1) !== 0);
  const dest = pointer(pointerBytes, (flags & 2) !== 0);
  vcpu.charge("grant", Math.ceil(length / COPY_BYTES_PER_CYCLE));
  s.setInt16(flagsAt + 2, grantCopy(own.domain, source, dest, length, flags), true);
  return 0;
}

/** struct gnttab_transfer: a frame of a PV guest for another domain, which has said where it wants it. */
function transfer(vcpu: Vcpu, own: Grants, s: DataView, compat: boolean): number {
  const at = compat ? 4 : 8;
  s.setInt16(compat ? 12 : 16, own.transfer(vcpu, word(s, 0, compat), u16(s, at), u32(s, at + 4)), true);
  return 0;
}

function swap(_vcpu: Vcpu, own: Grants, s: DataView): number {
  const [a, b] = [u32(s, 0), u32(s, 4)];
  const { table } = own;
  let status: number = GNTST_okay;
  if (a >= table.entries || b >= table.entries) status = GNTST_bad_gntref;
  else if (a !== b && (table.activeOf(a) !== null || table.activeOf(b) !== null)) status = GNTST_eagain;
  else if (a !== b) table.swap(a, b);
  s.setInt16(8, status, true);
  return 0;
}

/** Caches are coherent here: there is nothing to write back, and x86 has no way to invalidate without. */
function cacheFlush(vcpu: Vcpu, own: Grants, s: DataView): number {
  const [offset, length, op] = [u16(s, 8), u16(s, 10), u32(s, 12)];
  const known = GNTTAB_CACHE_SOURCE_GREF | GNTTAB_CACHE_INVAL | GNTTAB_CACHE_CLEAN;
  if (offset >= FRAME || length > FRAME || offset + length > FRAME || (op & ~known) !== 0) return -EINVAL;
  if (length === 0 || op === 0) return 0;
  if ((op & GNTTAB_CACHE_SOURCE_GREF) !== 0) return -EOPNOTSUPP;
  const { heap } = vcpu.domain.hypervisor;
  const mfn = Number(u64(s, 0) / BigInt(FRAME));
  if (mfn >= heap.frames) return -EINVAL;
  const mine = heap.ownerOf(mfn) === vcpu.domain.domid || own.mappings().some((m) => m.mfn === mfn);
  if (!mine) return -EPERM;
  return (op & GNTTAB_CACHE_INVAL) !== 0 ? -EOPNOTSUPP : 0;
}

const OPERATIONS: Readonly<Record<number, Operation>> = {
  [GNTTABOP_map_grant_ref]: { bytes: [32, 32], out: true, run: mapGrantRef },
  [GNTTABOP_unmap_grant_ref]: { bytes: [24, 24], out: true, run: unmapGrantRef },
  [GNTTABOP_unmap_and_replace]: { bytes: [24, 24], out: true, run: unmapAndReplace },
  [GNTTABOP_setup_table]: { bytes: [24, 16], single: true, out: true, run: setupTable },
  [GNTTABOP_transfer]: { bytes: [24, 16], out: true, run: transfer },
  [GNTTABOP_copy]: { bytes: [40, 24], out: true, run: copy },
  [GNTTABOP_query_size]: { bytes: [16, 16], single: true, out: true, run: querySize },
  [GNTTABOP_set_version]: { bytes: [4, 4], single: true, out: true, run: setVersion },
  [GNTTABOP_get_status_frames]: { bytes: [16, 12], single: true, out: true, run: getStatusFrames },
  [GNTTABOP_get_version]: { bytes: [8, 8], single: true, out: true, run: getVersion },
  [GNTTABOP_swap_grant_ref]: { bytes: [12, 12], out: true, run: swap },
  [GNTTABOP_cache_flush]: { bytes: [16, 16], out: false, run: cacheFlush },
};

/** Operations of one call between two looks at pending events. */
const PIECE = 64;

/** do_grant_table_op, whatever the kind of guest. The bits of the command above its low 12 are Xen's own, for continued cache flushes. */
export function grantTableOp(vcpu: Vcpu, command: number, arg: bigint, count: number, compat: boolean): number {
  const own = grantsOf(vcpu.domain);
  if (own === null) return -ENOSYS;
  if (count > 0x7fff_ffff) return -EINVAL;
  const operation = OPERATIONS[command];
  if (operation === undefined) return command > 0xfff ? -EINVAL : -ENOSYS;
  if (operation.single === true && count !== 1) return -EINVAL;
  const rc = eachOperation(vcpu, own, operation, command, arg, count, compat);
  // gnttab_flush_tlb: nobody of the domain has a translation of what has been unmapped.
  if (own.unmappedEntries) {
    own.unmappedEntries = false;
    flushVcpus(vcpu.domain, null);
  }
  return rc;
}

function eachOperation(
  vcpu: Vcpu,
  own: Grants,
  operation: Operation,
  command: number,
  arg: bigint,
  count: number,
  compat: boolean,
): number {
  const bytes = operation.bytes[compat ? 1 : 0];
  for (let i = 0; i < count; i++) {
    const at = arg + BigInt(i * bytes);
    if (i === PIECE) return restart(BigInt(command), at, BigInt(count - i));
    vcpu.charge("copy", COST_COPY_PAGE);
    const s = readGuest(vcpu, at, bytes);
    if (s === null) return -EFAULT;
    vcpu.charge("grant", COST_GRANT);
    const rc = operation.run(vcpu, own, s, compat);
    // set_version says in any case which version there is.
    if (rc !== 0 && command !== GNTTABOP_set_version) return rc;
    if (operation.out && !writeGuest(vcpu, at, s)) return -EFAULT;
    if (rc !== 0) return rc;
  }
  return 0;
}

/** What an HVM guest may ask for (hvm_grant_table_op); everything else is -ENOSYS to it. */
const HVM_COMMANDS: readonly number[] = [
  GNTTABOP_query_size,
  GNTTABOP_setup_table,
  GNTTABOP_set_version,
  GNTTABOP_get_version,
  GNTTABOP_copy,
  GNTTABOP_map_grant_ref,
  GNTTABOP_unmap_grant_ref,
  GNTTABOP_swap_grant_ref,
];

defineHypercall(HYPERVISOR_grant_table_op, (vcpu, args, compat) => {
  const command = Number(args[0]! & 0xffff_ffffn);
  if (!vcpu.domain.isPv && !HVM_COMMANDS.includes(command)) return -ENOSYS;
  return grantTableOp(vcpu, command, args[1]!, Number(args[2]! & 0xffff_ffffn), compat);
});

/**
 * HYPERVISOR_memory_op for HVM and PVH guests (xen/common/memory.c, arch/x86/mm.c, arch/x86/hvm/hypercall.c): the structures of
 * public/memory.h in their 64-bit and 32-bit layouts. What Xen refuses to a guest without privilege, or to one that is not PV, is
 * refused here with the same errno.
 */
import { EACCES, EFAULT, EILSEQ, EINVAL, ENOENT, ENOSYS, EOPNOTSUPP, EOVERFLOW, EPERM, ESRCH } from "../abi/errno.ts";
import { HYPERVISOR_memory_op } from "../abi/hypercall.ts";
import {
  XENMAPIDX_grant_table_status,
  XENMAPSPACE_dev_mmio,
  XENMAPSPACE_gmfn,
  XENMAPSPACE_gmfn_foreign,
  XENMAPSPACE_gmfn_range,
  XENMAPSPACE_grant_table,
  XENMAPSPACE_shared_info,
  XENMEM_access_op,
  XENMEM_acquire_resource,
  XENMEM_add_to_physmap,
  XENMEM_add_to_physmap_batch,
  XENMEM_claim_pages,
  XENMEM_current_reservation,
  XENMEM_decrease_reservation,
  XENMEM_exchange,
  XENMEM_get_pod_target,
  XENMEM_get_sharing_freed_pages,
  XENMEM_get_sharing_shared_pages,
  XENMEM_get_vnumainfo,
  XENMEM_increase_reservation,
  XENMEM_maximum_gpfn,
  XENMEM_maximum_ram_page,
  XENMEM_maximum_reservation,
  XENMEM_memory_map,
  XENMEM_populate_physmap,
  XENMEM_RDM_ALL,
  XENMEM_remove_from_physmap,
  XENMEM_reserved_device_memory_map,
  XENMEM_set_memory_map,
  XENMEM_set_pod_target,
  XENMEMF_exact_node_request,
  XENMEMF_populate_on_demand,
  XENMEMF_vnode,
} from "../abi/memory.ts";
import { DOMID_SELF } from "../abi/xen.ts";
import type { Domain, MemoryRegion } from "../domain/domain.ts";
import { isAbsentControl, targetDomain } from "../domain/privilege.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { grantsOf } from "../grants/grants.ts";
import { copyToGuest, readGuest, writeGuest, writeGuest32 } from "../memory/guest-access.ts";
import { SUPERPAGE_FRAMES } from "../memory/heap.ts";
import { isRam, MAX_GFN, P2M_RAM_RW } from "../memory/p2m.ts";
import { addPage, movePage, placeXenPage, removePage, unhook } from "../memory/physmap.ts";
import { COST_COPY_PAGE, COST_P2M_CHANGE, COST_PAGE_ALLOC } from "./costs.ts";
import { defineHypercall, restart } from "./dispatch.ts";

/** MEMOP_EXTENT_SHIFT: bits of the command; above them a continued call has the extent to go on with. */
export const COMMAND_BITS = 6;
const COMMAND_MASK = (1 << COMMAND_BITS) - 1;
export const MAX_EXTENTS: number = 0xffff_ffff >>> COMMAND_BITS;
/** Frames between two looks at pending events. */
export const PIECE = 1024;
/** CONFIG_DOMU_MAX_ORDER: extents of 2 MiB. */
export const MAX_ORDER = 9;
const PAGE_SHIFT = 12;
const MAX_NUMNODES = 64;
const NUMA_NO_NODE = 0xff;
/** E820MAX of a domain. */
const E820_MAX = 1024;
const E820_ENTRY_BYTES = 20;
const U64_MAX = 0xffff_ffff_ffff_ffffn;

export const u16 = (s: DataView, at: number): number => s.getUint16(at, true);
export const u32 = (s: DataView, at: number): number => s.getUint32(at, true);
export const u64 = (s: DataView, at: number): bigint => s.getBigUint64(at, true);
/** A xen_ulong_t or xen_pfn_t; beyond 2^53 it is no frame number anyhow. */
export const word = (s: DataView, at: number, compat: boolean): number => (compat ? u32(s, at) : Number(u64(s, at)));
export const handle = (s: DataView, at: number, compat: boolean): bigint => (compat ? BigInt(u32(s, at)) : u64(s, at));

/** The guest's call; `start` is where a continued one goes on. */
export interface Call {
  readonly vcpu: Vcpu;
  readonly caller: Domain;
  readonly command: number;
  readonly arg: bigint;
  readonly compat: boolean;
  readonly start: number;
}

export const goOn = (call: Call, done: number): number =>
  restart((BigInt(done) << BigInt(COMMAND_BITS)) | BigInt(call.command), call.arg);

export function readStructure(call: Call, bytes: number, compatBytes: number): DataView | null {
  call.vcpu.charge("copy", COST_COPY_PAGE);
  return readGuest(call.vcpu, call.arg, call.compat ? compatBytes : bytes);
}

// --- reservations ------------------------------------------------------------------------------

/** struct xen_memory_reservation. */
export interface Reservation {
  readonly extents: bigint;
  readonly count: number;
  readonly order: number;
  readonly flags: number;
  readonly domid: number;
}

export function reservationOf(s: DataView, compat: boolean): Reservation {
  const at = compat ? 8 : 16;
  return {
    extents: handle(s, 0, compat),
    count: word(s, compat ? 4 : 8, compat),
    order: u32(s, at),
    flags: u32(s, at + 4),
    domid: u16(s, at + 8),
  };
}

/** construct_memop_from_reservation: whether the flags can be honoured. */
export function flagsAreGood(call: Call, flags: number): boolean {
  const bits = flags & 0xff;
  const machineBits = Math.ceil(Math.log2(call.caller.hypervisor.heap.frames)) + PAGE_SHIFT;
  if (bits !== 0 && bits < machineBits && bits <= PAGE_SHIFT) return false;
  if ((flags & XENMEMF_vnode) !== 0) return true;
  const node = ((flags >>> 8) - 1) & 0xff;
  return node === NUMA_NO_NODE ? (flags & XENMEMF_exact_node_request) === 0 : node < MAX_NUMNODES;
}

/** Does one extent; false ends the call with the number done so far. */
type ExtentOp = (call: Call, domain: Domain, gfn: number, order: number) => boolean;

/** The three operations on a list of extents: @returns how many were done, never an errno. */
function changeReservation(call: Call, one: ExtentOp, needsList: boolean): number {
  const { start, vcpu, compat } = call;
  const s = readStructure(call, 32, 20);
  if (s === null) return start;
  const r = reservationOf(s, compat);
  if (r.count > MAX_EXTENTS || start >= r.count) return start;
  const target = targetDomain(call.caller, r.domid);
  if (typeof target === "number" || !flagsAreGood(call, r.flags) || r.order > MAX_ORDER) return start;
  if (call.command === XENMEM_populate_physmap && (r.flags & XENMEMF_populate_on_demand) !== 0) return start;
  const bytes = compat ? 4 : 8;
  const piece = Math.max(1, PIECE >>> r.order);
  for (let i = start; i < r.count; i++) {
    if (i - start === piece) return goOn(call, i);
    let gfn = 0;
    if (needsList) {
      const entry = readGuest(vcpu, r.extents + BigInt(i * bytes), bytes);
      if (entry === null) return i;
      gfn = word(entry, 0, compat);
    }
    if (!one(call, target, gfn, r.order) || target.isShutDown) return i;
  }
  return r.count;
}

/** Room for 2^order frames under d->max_pages. */
function allocate(call: Call, domain: Domain, order: number): number[] | null {
  const { heap } = domain.hypervisor;
  const count = 1 << order;
  if (domain.totalPages + count > domain.maxPages || heap.freeFrames < count) return null;
  call.vcpu.charge("memory", count * COST_PAGE_ALLOC);
  if (count === SUPERPAGE_FRAMES) {
    const first = heap.allocSuperpage(domain.domid);
    if (first >= 0) return Array.from({ length: count }, (_, i) => first + i);
  }
  return Array.from({ length: count }, () => heap.alloc(domain.domid));
}

/** The frames belong to the domain; an HVM guest does not see them until they are mapped, which it has no means to do. */
const increase: ExtentOp = (call, domain, _gfn, order) => allocate(call, domain, order) !== null;

const populate: ExtentOp = (call, domain, gfn, order) => {
  const { physmap, hypervisor } = domain;
  const frames = allocate(call, domain, order);
  if (frames === null) return false;
  call.vcpu.charge("p2m", frames.length * COST_P2M_CHANGE);
  if (frames.length === SUPERPAGE_FRAMES && frames[0]! % SUPERPAGE_FRAMES === 0 && physmap?.isEmptyBlock(gfn)) {
    if (physmap.mapSuperpage(gfn, frames[0]!, P2M_RAM_RW)) return true;
  }
  for (const [i, mfn] of frames.entries()) {
    if (addPage(call.vcpu, domain, gfn + i, mfn, P2M_RAM_RW) === 0) continue;
    for (const rest of frames.slice(i)) hypervisor.heap.putAllocation(rest);
    return false;
  }
  return true;
};

const decrease: ExtentOp = (call, domain, gfn, order) => {
  for (let i = 0; i < 1 << order; i++) {
    call.vcpu.charge("p2m", COST_P2M_CHANGE);
    if (removePage(domain, gfn + i) !== 0) return false;
  }
  return true;
};

/** XENMEM_claim_pages is for who builds domains. */
function claimPages(call: Call): number {
  const s = readStructure(call, 32, 20);
  if (s === null) return -EFAULT;
  const r = reservationOf(s, call.compat);
  if (r.extents !== 0n || r.order !== 0 || r.flags !== 0) return -EINVAL;
  const known = call.caller.hypervisor.domain(r.domid) !== null || isAbsentControl(call.caller, r.domid);
  return known ? -EPERM : -EINVAL;
}

// --- questions ---------------------------------------------------------------------------------

/** struct xen_memory_domain. */
function ask(answer: (domain: Domain) => number): (call: Call) => number {
  return (call) => {
    const s = readStructure(call, 2, 2);
    if (s === null) return -EFAULT;
    const target = targetDomain(call.caller, u16(s, 0));
    return typeof target === "number" ? target : answer(target);
  };
}

/** Operations that need privilege: EFAULT, ESRCH or EPERM by the domain id at `at`. */
function privileged(bytes: number, at: number): (call: Call) => number {
  return (call) => {
    const s = readStructure(call, bytes, bytes);
    if (s === null) return -EFAULT;
    const domid = u16(s, at);
    if (domid === DOMID_SELF || isAbsentControl(call.caller, domid)) return -EPERM;
    return call.caller.hypervisor.domain(domid) === null ? -ESRCH : -EPERM;
  };
}

/** struct xen_memory_map: the domain's e820. */
function memoryMap(call: Call): number {
  const { caller, compat, vcpu } = call;
  if (caller.memoryMap.length === 0) return -ENOSYS;
  const s = readStructure(call, 16, 8);
  if (s === null) return -EFAULT;
  const count = Math.min(u32(s, 0), caller.memoryMap.length);
  const entries = new DataView(new ArrayBuffer(count * E820_ENTRY_BYTES));
  for (const [i, { address, size, type }] of caller.memoryMap.slice(0, count).entries()) {
    entries.setBigUint64(i * E820_ENTRY_BYTES, BigInt(address), true);
    entries.setBigUint64(i * E820_ENTRY_BYTES + 8, BigInt(size), true);
    entries.setUint32(i * E820_ENTRY_BYTES + 16, type, true);
  }
  if (!copyToGuest(vcpu, handle(s, compat ? 4 : 8, compat), new Uint8Array(entries.buffer))) return -EFAULT;
  s.setUint32(0, count, true);
  return writeGuest(vcpu, call.arg, s) ? 0 : -EFAULT;
}

/** struct xen_foreign_memory_map: a domain may change its own. */
function setMemoryMap(call: Call): number {
  const { compat, vcpu } = call;
  const s = readStructure(call, 24, 12);
  if (s === null) return -EFAULT;
  const count = u32(s, compat ? 4 : 8);
  if (count > E820_MAX) return -EINVAL;
  const target = targetDomain(call.caller, u16(s, 0));
  if (typeof target === "number") return target;
  const entries = readGuest(vcpu, handle(s, compat ? 8 : 16, compat), count * E820_ENTRY_BYTES);
  if (entries === null) return -EFAULT;
  target.memoryMap = Array.from({ length: count }, (_, i): MemoryRegion => {
    const at = i * E820_ENTRY_BYTES;
    return { address: Number(u64(entries, at)), size: Number(u64(entries, at + 8)), type: u32(entries, at + 16) };
  });
  return 0;
}

/** struct xen_vnuma_topology_info: no domain has virtual NUMA. */
function vnumaInfo(call: Call): number {
  const s = readStructure(call, 56, 32);
  if (s === null) return -EFAULT;
  if (u16(s, 2) !== 0) return -EINVAL;
  const target = targetDomain(call.caller, u16(s, 0));
  return typeof target === "number" ? target : -EOPNOTSUPP;
}

/** struct xen_reserved_device_memory_map: there are no devices, so there is no such memory. */
function reservedDeviceMemory(call: Call): number {
  const s = readStructure(call, 24, 20);
  if (s === null) return -EFAULT;
  if ((u32(s, 0) & ~XENMEM_RDM_ALL) !== 0) return -EINVAL;
  return writeGuest32(call.vcpu, call.arg + 4n, 0) ? 0 : -EFAULT;
}

// --- the physical memory map -------------------------------------------------------------------

/** The domain whose map may be changed so (xatp_permission_check), or -errno. */
function physmapTarget(call: Call, domid: number, space: number): Domain | number {
  const target = targetDomain(call.caller, domid);
  // Device memory is for the hardware domain; that comes before the question of privilege.
  return target !== -ESRCH && space === XENMAPSPACE_dev_mmio ? -EACCES : target;
}

/** xenmem_add_to_physmap_one. */
function addOne(vcpu: Vcpu, domain: Domain, space: number, index: number, gfn: number): number {
  if (gfn > MAX_GFN) return -EINVAL;
  switch (space) {
    case XENMAPSPACE_shared_info:
      return index === 0 ? placeXenPage(vcpu, domain, gfn, domain.sharedInfoMfn) : -EINVAL;
    case XENMAPSPACE_grant_table: {
      const table = grantsOf(domain)?.table;
      if (table === undefined) return -EINVAL;
      const wantsStatus = table.version === 2 && index < 2 ** 32 && (index & XENMAPIDX_grant_table_status) !== 0;
      const mfn = wantsStatus ? table.statusFrame(index - XENMAPIDX_grant_table_status) : table.sharedFrame(index);
      return mfn < 0 ? -EINVAL : placeXenPage(vcpu, domain, gfn, mfn);
    }
    case XENMAPSPACE_gmfn:
    case XENMAPSPACE_gmfn_range:
      return movePage(vcpu, domain, index, gfn);
    case XENMAPSPACE_gmfn_foreign:
      // Only the hardware domain may map others' pages without a grant.
      return -EPERM;
    default:
      return -EINVAL;
  }
}

/** struct xen_add_to_physmap. */
function addToPhysmap(call: Call): number {
  const { compat, vcpu, start } = call;
  const s = readStructure(call, 24, 16);
  if (s === null) return -EFAULT;
  const space = u32(s, 4);
  if (space === XENMAPSPACE_gmfn_foreign) return -ENOSYS;
  const target = physmapTarget(call, u16(s, 0), space);
  if (typeof target === "number") return target;
  const index = word(s, 8, compat);
  const gfn = word(s, compat ? 12 : 16, compat);
  if (space !== XENMAPSPACE_gmfn_range) return addOne(vcpu, target, space, index, gfn);
  const size = u16(s, 2);
  if (size < start) return -EILSEQ;
  const last = U64_MAX - BigInt(size);
  if (handle(s, 8, compat) > last || handle(s, compat ? 12 : 16, compat) > last) return -EOVERFLOW;
  for (let i = start; i < size; i++) {
    if (i - start === PIECE) return goOn(call, i);
    const rc = addOne(vcpu, target, space, index + i, gfn + i);
    if (rc < 0) return rc;
  }
  return 0;
}

/** struct xen_add_to_physmap_batch. */
function addToPhysmapBatch(call: Call): number {
  const { compat, vcpu, start } = call;
  const s = readStructure(call, 32, 20);
  if (s === null) return -EFAULT;
  const space = u16(s, 2);
  if (space === XENMAPSPACE_gmfn_range) return -EOPNOTSUPP;
  const target = physmapTarget(call, u16(s, 0), space);
  if (typeof target === "number") return target;
  const size = u16(s, 4);
  const bytes = compat ? 4 : 8;
  const [indexes, gfns, errors] = [0, 1, 2].map((i) => handle(s, 8 + i * bytes, compat)) as [bigint, bigint, bigint];
  for (let i = start; i < size; i++) {
    if (i - start === PIECE) return goOn(call, i);
    const index = readGuest(vcpu, indexes + BigInt(i * bytes), bytes);
    const gfn = readGuest(vcpu, gfns + BigInt(i * bytes), bytes);
    if (index === null || gfn === null) return -EFAULT;
    const rc = addOne(vcpu, target, space, word(index, 0, compat), word(gfn, 0, compat));
    if (!writeGuest32(vcpu, errors + BigInt(i * 4), rc >>> 0)) return -EFAULT;
  }
  return 0;
}

/** struct xen_remove_from_physmap: the mapping goes, the page stays with the domain. */
function removeFromPhysmap(call: Call): number {
  const s = readStructure(call, 16, 8);
  if (s === null) return -EFAULT;
  const target = targetDomain(call.caller, u16(s, 0));
  if (typeof target === "number") return target;
  const gfn = word(s, call.compat ? 4 : 8, call.compat);
  call.vcpu.charge("p2m", COST_P2M_CHANGE);
  return isRam(target.p2m.typeOf(gfn)) ? unhook(target, gfn) : -ENOENT;
}

// --- the table ---------------------------------------------------------------------------------

export interface Operation {
  readonly run: (call: Call) => number;
  /** May be continued: any other answers -EINVAL if the command has an extent. */
  readonly continues?: true;
}

export const answers =
  (value: number): ((call: Call) => number) =>
  () =>
    value;

/** Whatever is missing answers -ENOSYS: machine_memory_map, machphys_*, paging and sharing among them, as for any HVM guest. */
export const OPERATIONS: Readonly<Record<number, Operation>> = {
  [XENMEM_increase_reservation]: { run: (call) => changeReservation(call, increase, false), continues: true },
  [XENMEM_decrease_reservation]: { run: (call) => changeReservation(call, decrease, true), continues: true },
  [XENMEM_populate_physmap]: { run: (call) => changeReservation(call, populate, true), continues: true },
  [XENMEM_exchange]: { run: answers(-EOPNOTSUPP) },
  [XENMEM_maximum_ram_page]: { run: (call) => call.caller.hypervisor.heap.frames },
  [XENMEM_current_reservation]: { run: ask((domain) => domain.totalPages) },
  [XENMEM_maximum_reservation]: { run: ask((domain) => domain.maxPages) },
  [XENMEM_maximum_gpfn]: { run: ask((domain) => domain.p2m.maxMapped) },
  [XENMEM_add_to_physmap]: { run: addToPhysmap, continues: true },
  [XENMEM_add_to_physmap_batch]: { run: addToPhysmapBatch, continues: true },
  [XENMEM_remove_from_physmap]: { run: removeFromPhysmap },
  [XENMEM_memory_map]: { run: memoryMap },
  [XENMEM_set_memory_map]: { run: setMemoryMap },
  [XENMEM_set_pod_target]: { run: privileged(40, 32) },
  [XENMEM_get_pod_target]: { run: privileged(40, 32) },
  [XENMEM_get_sharing_freed_pages]: { run: answers(0) },
  [XENMEM_get_sharing_shared_pages]: { run: answers(0) },
  [XENMEM_access_op]: { run: privileged(32, 2) },
  [XENMEM_claim_pages]: { run: claimPages },
  [XENMEM_get_vnumainfo]: { run: vnumaInfo },
  [XENMEM_reserved_device_memory_map]: { run: reservedDeviceMemory },
  [XENMEM_acquire_resource]: { run: answers(-EACCES) },
};

/** do_memory_op. @param operations those of the caller's kind of guest, by command */
export function memoryOp(
  vcpu: Vcpu,
  command: number,
  arg: bigint,
  compat: boolean,
  operations: Readonly<Record<number, Operation>> = OPERATIONS,
): number {
  const start = command >>> COMMAND_BITS;
  const operation = operations[command & COMMAND_MASK];
  if (operation === undefined) return -ENOSYS;
  if (start !== 0 && operation.continues !== true) return -EINVAL;
  return operation.run({ vcpu, caller: vcpu.domain, command: command & COMMAND_MASK, arg, compat, start });
}

defineHypercall(HYPERVISOR_memory_op, (vcpu, args, compat) =>
  memoryOp(vcpu, Number(args[0]! & 0xffff_ffffn), args[1]!, compat),
);

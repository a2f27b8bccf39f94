/**
 * HYPERVISOR_memory_op of PV guests (xen/common/memory.c, arch/x86/x86_64/mm.c, x86_64/compat/mm.c): a guest's frames are machine frames, which
 * it gets, gives back and exchanges by number, and what it calls them by stands in the machine-to-phys table.
 */
import { EACCES, EFAULT, EINVAL, ENOMEM, ENOSYS, EOPNOTSUPP, EPERM, ESRCH } from "../abi/errno.ts";
import { HYPERVISOR_memory_op } from "../abi/hypercall.ts";
import * as M from "../abi/memory.ts";
import { DOMID_SELF, DOMID_XEN } from "../abi/xen.ts";
import type { Domain } from "../domain/domain.ts";
import { isAbsentControl, targetDomain } from "../domain/privilege.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { COST_COPY_PAGE, COST_PAGE_ALLOC } from "../hypercalls/costs.ts";
import { RESTART, takeRestart } from "../hypercalls/dispatch.ts";
import {
  answers,
  type Call,
  flagsAreGood,
  goOn,
  handle,
  MAX_EXTENTS,
  MAX_ORDER,
  memoryOp,
  OPERATIONS,
  type Operation,
  PIECE,
  readStructure,
  reservationOf,
  u16,
  u32,
  u64,
  word,
} from "../hypercalls/memory-op.ts";
import { readGuest, writeGuest, writeGuest32, writeGuest64 } from "../memory/guest-access.ts";
import { COMPAT_M2P_START } from "./address-space.ts";
import { addressOk } from "./guest-words.ts";
import { argument, definePvHypercall, setArgument } from "./hypercall-table.ts";

/** __MACH2PHYS_VIRT_START and _END, and of the compat table (public/arch-x86/xen-x86_64.h, asm-x86/config.h). */
const M2P_START = 0xffff_8000_0000_0000n;
const M2P_END = 0xffff_8040_0000_0000n;
const M2P_ENTRIES = 0x8_0000_0000n;
const COMPAT_M2P_END = 0xffe0_0000;
/** Pages of the table that an entry of machphys_mfn_list stands for: 2 MiB. */
const M2P_STEP = 512;

/** guest_handle_okay of the beginning of a list. */
function listOk(vcpu: Vcpu, address: bigint): boolean {
  return addressOk(vcpu, Number(BigInt.asIntN(32, address)), Number(BigInt.asIntN(32, address >> 32n)));
}

function readFrame(call: Call, list: bigint, index: number): number | null {
  const bytes = call.compat ? 4 : 8;
  const s = readGuest(call.vcpu, list + BigInt(index * bytes), bytes);
  return s === null ? null : word(s, 0, call.compat);
}

/** A pfn is what the guest says, all 64 bits of it. */
function readPfn(call: Call, list: bigint, index: number): bigint | null {
  const bytes = call.compat ? 4 : 8;
  const s = readGuest(call.vcpu, list + BigInt(index * bytes), bytes);
  return s === null ? null : handle(s, 0, call.compat);
}

function writeFrame(call: Call, list: bigint, index: number, mfn: number): boolean {
  return call.compat
    ? writeGuest32(call.vcpu, list + BigInt(index * 4), mfn)
    : writeGuest64(call.vcpu, list + BigInt(index * 8), BigInt(mfn));
}

// --- reservations ------------------------------------------------------------------------------

/** Does one extent of a list. @returns false to end the call */
type ExtentOp = (call: Call, domain: Domain, list: bigint, index: number, order: number) => boolean;

/** @returns how many extents were done, never an errno */
function changeReservation(call: Call, one: ExtentOp): number {
  const { start } = call;
  const s = readStructure(call, 32, 20);
  if (s === null) return start;
  const r = reservationOf(s, call.compat);
  if (r.count > MAX_EXTENTS || start >= r.count) return start;
  const target = targetDomain(call.caller, r.domid);
  if (typeof target === "number" || !target.isPv || !flagsAreGood(call, r.flags)) return start;
  const mayLackList = call.command === M.XENMEM_increase_reservation && r.extents === 0n;
  if (!mayLackList && !listOk(call.vcpu, r.extents)) return start;
  if (call.command === M.XENMEM_populate_physmap && (r.flags & M.XENMEMF_populate_on_demand) !== 0) return start;
  if (r.order > MAX_ORDER) return start;
  const piece = Math.max(1, PIECE >>> r.order);
  for (let i = start; i < r.count; i++) {
    if (i - start === piece) return goOn(call, i);
    if (!one(call, target, r.extents, i, r.order)) return i;
  }
  return r.count;
}

/** The first of 2^order frames, -1 if the domain may not have so many or there are none. */
function allocate(call: Call, domain: Domain, order: number): number {
  if (domain.totalPages + (1 << order) > domain.maxPages) return -1;
  call.vcpu.charge("memory", (1 << order) * COST_PAGE_ALLOC);
  return domain.hypervisor.heap.allocBlock(domain.domid, order);
}

const increase: ExtentOp = (call, domain, list, index, order) => {
  const mfn = allocate(call, domain, order);
  if (mfn < 0) return false;
  return list === 0n || writeFrame(call, list, index, mfn);
};

/** guest_physmap_add_page: tells the machine-to-phys table. */
function setPfns(domain: Domain, mfn: number, pfn: bigint, order: number): void {
  for (let n = 0; n < 1 << order; n++) {
    const value = pfn + BigInt(n);
    domain.hypervisor.m2p!.setWords(mfn + n, Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)));
  }
}

const populate: ExtentOp = (call, domain, list, index, order) => {
  const pfn = readPfn(call, list, index);
  if (pfn === null) return false;
  const mfn = allocate(call, domain, order);
  if (mfn < 0) return false;
  setPfns(domain, mfn, pfn, order);
  return writeFrame(call, list, index, mfn);
};

/** guest_remove_page. */
const decrease: ExtentOp = (call, domain, list, index, order) => {
  const { heap, pageTypes } = domain.hypervisor;
  const first = readFrame(call, list, index);
  if (first === null) return false;
  for (let n = 0; n < 1 << order; n++) {
    const mfn = first + n;
    if (pageTypes.ownerOf(mfn) !== domain.domid) return false;
    call.vcpu.charge("memory", COST_COPY_PAGE);
    // A page of Xen's stays Xen's; the domain has lost the right to it.
    if (heap.ownerOf(mfn) === DOMID_XEN) pageTypes.unshare(mfn);
    else heap.putAllocation(mfn);
  }
  return true;
};

/** struct xen_memory_exchange: frames against others, chunk by chunk of the larger order. */
function exchange(call: Call): number {
  const { vcpu, compat, caller } = call;
  const s = readStructure(call, 72, 44);
  if (s === null) return -EFAULT;
  const half = compat ? 20 : 32;
  const input = reservationOf(s, compat);
  const output = reservationOf(new DataView(s.buffer, half), compat);
  const done = word(s, 2 * half, compat);
  /** Ends the call: nr_exchanged is told in any case. */
  const end = (rc: number, exchanged: number): number => {
    const told = compat
      ? writeGuest32(vcpu, call.arg + 40n, exchanged)
      : writeGuest64(vcpu, call.arg + 64n, BigInt(exchanged));
    return told ? rc : -EFAULT;
  };
  if (Math.max(input.order, output.order) > MAX_ORDER) return end(-EPERM, done);
  if (
    done > input.count ||
    input.domid !== output.domid ||
    input.count * 2 ** input.order !== output.count * 2 ** output.order ||
    input.count * 2 ** input.order >= 2 ** 53
  )
    return end(-EINVAL, done);
  if (done === input.count) return 0;
  if (!listOk(vcpu, input.extents) || !listOk(vcpu, output.extents)) return end(-EFAULT, done);
  if (!flagsAreGood(call, output.flags)) return end(-EINVAL, done);
  const target = targetDomain(caller, input.domid);
  if (typeof target === "number") return end(target, done);
  const inOrder = Math.max(0, output.order - input.order);
  const outOrder = Math.max(0, input.order - output.order);
  const chunks = Math.floor(input.count / 2 ** inOrder);
  const first = Math.floor(done / 2 ** inOrder);
  const piece = Math.max(1, PIECE >>> Math.max(input.order, output.order));
  for (let chunk = first; chunk < chunks; chunk++) {
    if (chunk - first === piece) {
      const rc = end(RESTART, chunk * 2 ** inOrder);
      return rc === RESTART ? goOn(call, 0) : rc;
    }
    const stolen = steal(call, target, input.extents, chunk << inOrder, 1 << inOrder, input.order);
    if (typeof stolen === "number") return end(stolen, chunk * 2 ** inOrder);
    const { heap } = target.hypervisor;
    const fresh: number[] = [];
    for (let j = 0; j < 1 << outOrder; j++) {
      const mfn = heap.allocBlock(target.domid, output.order);
      if (mfn >= 0) fresh.push(mfn);
    }
    vcpu.charge("memory", (stolen.length + (fresh.length << output.order)) * COST_PAGE_ALLOC);
    if (fresh.length < 1 << outOrder) {
      for (const mfn of fresh) for (let n = 0; n < 1 << output.order; n++) heap.putAllocation(mfn + n);
      return end(-ENOMEM, chunk * 2 ** inOrder);
    }
    for (const mfn of stolen) heap.putAllocation(mfn);
    // From here on the chunk is done, though the guest may not learn of all of it.
    let rc = 0;
    for (const [j, mfn] of fresh.entries()) {
      const index = (chunk << outOrder) + j;
      const pfn = readPfn(call, output.extents, index);
      if (pfn === null) rc = -EFAULT;
      else {
        setPfns(target, mfn, pfn, output.order);
        if (!writeFrame(call, output.extents, index, mfn)) rc = -EFAULT;
      }
    }
    if (rc !== 0) return end(rc, chunk * 2 ** inOrder);
  }
  return end(0, input.count);
}

/** steal_page of a chunk: frames that nothing but their allocation refers to. @returns them, or -errno */
function steal(
  call: Call,
  domain: Domain,
  list: bigint,
  index: number,
  count: number,
  order: number,
): number[] | number {
  const { heap } = domain.hypervisor;
  const frames: number[] = [];
  const seen = new Set<number>();
  for (let j = 0; j < count; j++) {
    const first = readFrame(call, list, index + j);
    if (first === null) return -EFAULT;
    for (let n = 0; n < 1 << order; n++) {
      const mfn = first + n;
      if (heap.ownerOf(mfn) !== domain.domid || heap.referencesOf(mfn) !== 1 || !heap.isAllocated(mfn)) return -EINVAL;
      if (seen.has(mfn)) return -EINVAL;
      seen.add(mfn);
      frames.push(mfn);
    }
  }
  return frames;
}

// --- the machine-to-phys table -----------------------------------------------------------------

/** struct xen_machphys_mapping. */
function machphysMapping(call: Call): number {
  const { vcpu, arg, compat } = call;
  if (compat) {
    const s = new DataView(new ArrayBuffer(12));
    s.setUint32(0, COMPAT_M2P_START, true);
    s.setUint32(4, COMPAT_M2P_END, true);
    s.setUint32(8, (COMPAT_M2P_END - COMPAT_M2P_START) / 4 - 1, true);
    return writeGuest(vcpu, arg, s) ? 0 : -EFAULT;
  }
  const s = new DataView(new ArrayBuffer(24));
  s.setBigUint64(0, M2P_START, true);
  s.setBigUint64(8, M2P_END, true);
  s.setBigUint64(16, M2P_ENTRIES - 1n, true);
  return writeGuest(vcpu, arg, s) ? 0 : -EFAULT;
}

/** struct xen_machphys_mfn_list: a frame for every 2 MiB of the table. */
function machphysList(compatTable: boolean): (call: Call) => number {
  return (call) => {
    const { vcpu, compat } = call;
    const s = readStructure(call, 24, 12);
    if (s === null) return -EFAULT;
    const { frames, compatFrames } = vcpu.domain.hypervisor.m2p!;
    const all = compatTable || compat ? compatFrames : frames;
    const list = handle(s, compat ? 4 : 8, compat);
    const count = Math.min(u32(s, 0), Math.ceil(all.length / M2P_STEP));
    for (let i = 0; i < count; i++) if (!writeFrame(call, list, i, all[i * M2P_STEP]!)) return -EFAULT;
    s.setUint32(compat ? 8 : 16, count, true);
    return writeGuest(vcpu, call.arg, s) ? 0 : -EFAULT;
  };
}

// --- what is not for PV guests -----------------------------------------------------------------

/** There is no physical map to change: EFAULT, ESRCH or EACCES. @param at where the structure has the domain id */
function noPhysmap(bytes: number, compatBytes: number, check: (s: DataView) => number): (call: Call) => number {
  return (call) => {
    const s = readStructure(call, bytes, compatBytes);
    if (s === null) return -EFAULT;
    const rc = check(s);
    if (rc !== 0) return rc;
    const domid = u16(s, 0);
    const known =
      domid === DOMID_SELF || call.caller.hypervisor.domain(domid) !== null || isAbsentControl(call.caller, domid);
    return known ? -EACCES : -ESRCH;
  };
}

/** struct xen_pod_target: only HVM domains have one. */
function podTarget(call: Call): number {
  const s = readStructure(call, 40, 40);
  if (s === null) return -EFAULT;
  const domid = u16(s, 32);
  const { caller } = call;
  const domain = domid === DOMID_SELF ? caller : caller.hypervisor.domain(domid);
  if (domain === null) return isAbsentControl(caller, domid) ? -EINVAL : -ESRCH;
  return domain.isPv ? -EINVAL : -EPERM;
}

/** struct xen_mem_acquire_resource: of another domain, with privilege. */
function acquireResource(call: Call): number {
  const s = readStructure(call, 32, 28);
  if (s === null) return -EFAULT;
  const frame = u64(s, 16);
  if (u32(s, 12) !== 0 || frame + BigInt(u32(s, 8)) >= 2n ** 32n) return -EINVAL;
  const domid = u16(s, 0);
  if (domid === DOMID_SELF || domid === call.caller.domid) return -EPERM;
  const known = call.caller.hypervisor.domain(domid) !== null || isAbsentControl(call.caller, domid);
  return known ? -EPERM : -ESRCH;
}

const PV_OPERATIONS: Readonly<Record<number, Operation>> = {
  ...OPERATIONS,
  [M.XENMEM_increase_reservation]: { run: (call) => changeReservation(call, increase), continues: true },
  [M.XENMEM_decrease_reservation]: { run: (call) => changeReservation(call, decrease), continues: true },
  [M.XENMEM_populate_physmap]: { run: (call) => changeReservation(call, populate), continues: true },
  [M.XENMEM_exchange]: { run: exchange },
  [M.XENMEM_machphys_mapping]: { run: machphysMapping },
  [M.XENMEM_machphys_mfn_list]: { run: machphysList(false) },
  [M.XENMEM_machphys_compat_mfn_list]: { run: machphysList(true) },
  [M.XENMEM_machine_memory_map]: { run: answers(-EPERM) },
  [M.XENMEM_add_to_physmap]: {
    run: noPhysmap(24, 16, (s) => (u32(s, 4) === M.XENMAPSPACE_gmfn_foreign ? -ENOSYS : 0)),
    continues: true,
  },
  [M.XENMEM_add_to_physmap_batch]: {
    run: noPhysmap(32, 20, (s) => (u16(s, 2) === M.XENMAPSPACE_gmfn_range ? -EOPNOTSUPP : 0)),
    continues: true,
  },
  [M.XENMEM_remove_from_physmap]: { run: noPhysmap(16, 8, () => 0) },
  [M.XENMEM_set_pod_target]: { run: podTarget },
  [M.XENMEM_get_pod_target]: { run: podTarget },
  [M.XENMEM_acquire_resource]: { run: acquireResource },
};

definePvHypercall(HYPERVISOR_memory_op, (vcpu, args, compat) => {
  const rc = memoryOp(vcpu, args[0]! >>> 0, argument(args, 1), compat, PV_OPERATIONS);
  if (rc === RESTART)
    takeRestart().forEach((value, n) => {
      setArgument(args, n, value);
    });
  return rc;
});

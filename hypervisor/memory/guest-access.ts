/**
 * Copies between the hypervisor and a guest: by guest-linear address, as hypercall arguments come (honouring the
 * guest's page tables in the mode it is in), and by guest frame. Nothing here throws for what a guest does: a copy
 * that touches an address that isn't there says false, and the hypercall answers -EFAULT.
 *
 * Copy once: what was read from a guest is used from the copy, never read again, since another vcpu may change it.
 */
import { PAGE_SIZE } from "../../cpu/arena.ts";
import type { Domain } from "../domain/domain.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { linearToArena } from "./linear.ts";
import { isRam, isReadOnly, P2M_INVALID } from "./p2m.ts";
import { PGT_writable_page } from "./page-types.ts";

const U64 = 0xffff_ffff_ffff_ffffn;
const U32 = 0xffff_ffffn;

/** Arena address of the byte at guest-physical `address`, or -1: not RAM, or not writable when it should be. */
function physicalToArena(domain: Domain, address: number, write: boolean): number {
  const gfn = Math.floor(address / PAGE_SIZE);
  const mfn = domain.p2m.lookup(gfn);
  if (mfn < 0) return -1;
  if (write && isReadOnly(domain.p2m.typeOf(gfn))) return -1;
  return domain.hypervisor.memory.frame(mfn) + (address % PAGE_SIZE);
}

function wrap(vcpu: Vcpu, address: bigint): bigint {
  return address & (vcpu.longMode() ? U64 : U32);
}

/** Fills `into` from guest-linear `address`. @returns false on a fault; `into` may then be partly written. */
export function copyFromGuest(vcpu: Vcpu, address: bigint, into: Uint8Array): boolean {
  const u8 = vcpu.core.u8;
  for (let done = 0; done < into.length; ) {
    const from = wrap(vcpu, address + BigInt(done));
    const chunk = Math.min(into.length - done, PAGE_SIZE - Number(from & 0xfffn));
    const at = linearToArena(vcpu, from, false);
    if (at < 0) return false;
    into.set(u8.subarray(at, at + chunk), done);
    done += chunk;
  }
  return true;
}

/** Writes `bytes` at guest-linear `address`. @returns false on a fault; earlier pages are then written. */
export function copyToGuest(vcpu: Vcpu, address: bigint, bytes: Uint8Array): boolean {
  const memory = vcpu.domain.hypervisor.memory;
  for (let done = 0; done < bytes.length; ) {
    const to = wrap(vcpu, address + BigInt(done));
    const chunk = Math.min(bytes.length - done, PAGE_SIZE - Number(to & 0xfffn));
    const at = linearToArena(vcpu, to, true);
    if (at < 0) return false;
    memory.write(at, bytes.subarray(done, done + chunk));
    done += chunk;
  }
  return true;
}

/** A copy of `length` bytes (small: a structure) at guest-linear `address`, or null on a fault. */
export function readGuest(vcpu: Vcpu, address: bigint, length: number): DataView | null {
  const bytes = new Uint8Array(length);
  return copyFromGuest(vcpu, address, bytes) ? new DataView(bytes.buffer) : null;
}

/** Writes a structure back. */
export function writeGuest(vcpu: Vcpu, address: bigint, view: DataView): boolean {
  return copyToGuest(vcpu, address, new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
}

export function writeGuest32(vcpu: Vcpu, address: bigint, value: number): boolean {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, value, true);
  return writeGuest(vcpu, address, view);
}

export function writeGuest64(vcpu: Vcpu, address: bigint, value: bigint): boolean {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, value, true);
  return writeGuest(vcpu, address, view);
}

/** Reads from guest-physical `address` (bytes, below 2^52). For the builder, rings and the toolstack. */
export function copyFromPhysical(domain: Domain, address: number, into: Uint8Array): boolean {
  const u8 = domain.hypervisor.memory.arena.u8;
  for (let done = 0; done < into.length; ) {
    const chunk = Math.min(into.length - done, PAGE_SIZE - ((address + done) % PAGE_SIZE));
    const at = physicalToArena(domain, address + done, false);
    if (at < 0) return false;
    into.set(u8.subarray(at, at + chunk), done);
    done += chunk;
  }
  return true;
}

/** Writes at guest-physical `address`. */
export function copyToPhysical(domain: Domain, address: number, bytes: Uint8Array): boolean {
  const memory = domain.hypervisor.memory;
  for (let done = 0; done < bytes.length; ) {
    const chunk = Math.min(bytes.length - done, PAGE_SIZE - ((address + done) % PAGE_SIZE));
    const at = physicalToArena(domain, address + done, true);
    if (at < 0) return false;
    memory.write(at, bytes.subarray(done, done + chunk));
    done += chunk;
  }
  return true;
}

/**
 * Machine frame of `gfn` with a reference taken, for pages that Xen keeps using (vcpu_info, event words): the domain's
 * own writable RAM only; of a PV domain nothing that is a page table. @returns -1 otherwise. Give it back with putOwnFrame.
 */
export function getOwnFrame(domain: Domain, gfn: number): number {
  const type = domain.p2m.typeOf(gfn);
  if (type === P2M_INVALID || !isRam(type) || isReadOnly(type)) return -1;
  const mfn = domain.p2m.lookup(gfn);
  const { heap, pageTypes } = domain.hypervisor;
  if (domain.isPv) return pageTypes.getPageAndType(mfn, domain.domid, PGT_writable_page) === 0 ? mfn : -1;
  return heap.getPage(mfn, domain.domid) ? mfn : -1;
}

/** Lets a frame of getOwnFrame go. */
export function putOwnFrame(domain: Domain, mfn: number): void {
  if (domain.isPv) domain.hypervisor.pageTypes.putType(mfn);
  domain.hypervisor.heap.putPage(mfn);
}

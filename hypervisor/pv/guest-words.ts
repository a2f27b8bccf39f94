/**
 * The hypervisor's accesses to a PV guest's memory by linear address, as 32-bit words and without BigInt: what hypercalls, bounce
 * frames and the emulator use. The vcpu must be active; its current page tables count. Nothing here throws for what a guest does.
 */
import { VIEW_SUPERVISOR, VIEW_USER } from "../../cpu/arena.ts";
import { locate } from "../../cpu/mmu/access.ts";
import { noteWrite } from "../../cpu/mmu/memory.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { COMPAT_M2P_START } from "./address-space.ts";

/** High words of the end of the lower half, and of HYPERVISOR_VIRT_END, behind which the guest's upper half begins. */
const LOWER_END_HI = 0x8000;
const XEN_END_HI = 0xffff8800;
const PAGE = 4096;

/** __addr_ok: an address with this high word is canonical and not in Xen's part of a 64-bit address space. */
export const isGuestHalf = (hi: number): boolean => hi >>> 0 < LOWER_END_HI || hi >>> 0 >= XEN_END_HI;

/** access_ok: the address is canonical and not in Xen's part of the address space. */
export function addressOk(vcpu: Vcpu, lo: number, hi: number): boolean {
  if (vcpu.domain.pv!.is32bit) return hi === 0 && lo >>> 0 < COMPAT_M2P_START;
  return isGuestHalf(hi);
}

/** A 64-bit guest's pages are all its user's as well; a 32-bit guest's kernel has its own in ring 1. */
const viewOf = (vcpu: Vcpu): number => (vcpu.domain.pv!.is32bit ? VIEW_SUPERVISOR : VIEW_USER);

/**
 * Arena address of the byte at guest-linear hi:lo, or -1: Xen's, not mapped, or not writable. Accessed and dirty bits are set as by
 * the processor.
 */
export function guestByte(vcpu: Vcpu, lo: number, hi: number, write: boolean): number {
  return addressOk(vcpu, lo, hi) ? locate(vcpu.core, lo, hi, write, viewOf(vcpu)) : -1;
}

/** Where the last access that failed did so: a guest-linear address. */
export class FaultAddress {
  lo = 0;
  hi = 0;
}
export const failed: FaultAddress = new FaultAddress();

function fail(lo: number, hi: number): false {
  failed.lo = lo;
  failed.hi = hi;
  return false;
}

/** High word of the page after that of hi:lo. */
const hiOfNextPage = (lo: number, hi: number): number => (lo >>> 12 === 0xfffff ? (hi + 1) | 0 : hi);

/** Reads `count` 32-bit words at hi:lo into the beginning of `into`. @returns false on a fault (`failed`). */
export function readGuestWords(vcpu: Vcpu, lo: number, hi: number, into: Int32Array, count: number): boolean {
  if (lo & 3) return readGuestBytes(vcpu, lo, hi, bytesOf(into), count * 4);
  const { i32 } = vcpu.core;
  for (let n = 0; ; ) {
    const at = guestByte(vcpu, lo, hi, false);
    if (at < 0) return fail(lo, hi);
    const end = Math.min(count, n + ((PAGE - (lo & (PAGE - 1))) >>> 2));
    for (let from = at >>> 2; n < end; ) into[n++] = i32[from++]!;
    if (n >= count) return true;
    hi = hiOfNextPage(lo, hi);
    lo = ((lo | (PAGE - 1)) + 1) | 0;
  }
}

/** Writes the first `count` words of `from` at hi:lo. @returns false on a fault (`failed`); earlier pages are then written. */
export function writeGuestWords(vcpu: Vcpu, lo: number, hi: number, from: Int32Array, count: number): boolean {
  if (lo & 3) return writeGuestBytes(vcpu, lo, hi, bytesOf(from), count * 4);
  const core = vcpu.core;
  const { i32 } = core;
  for (let n = 0; ; ) {
    const at = guestByte(vcpu, lo, hi, true);
    if (at < 0) return fail(lo, hi);
    const end = Math.min(count, n + ((PAGE - (lo & (PAGE - 1))) >>> 2));
    noteWrite(core, at, (end - n) * 4);
    for (let to = at >>> 2; n < end; ) i32[to++] = from[n++]!;
    if (n >= count) return true;
    hi = hiOfNextPage(lo, hi);
    lo = ((lo | (PAGE - 1)) + 1) | 0;
  }
}

const bytesOf = (words: Int32Array): Uint8Array => new Uint8Array(words.buffer, words.byteOffset, words.byteLength);

/** Reads `count` bytes, at least 1, at hi:lo. @returns false on a fault (`failed`). */
export function readGuestBytes(vcpu: Vcpu, lo: number, hi: number, into: Uint8Array, count: number): boolean {
  const { u8 } = vcpu.core;
  for (let n = 0; ; ) {
    const at = guestByte(vcpu, lo, hi, false);
    if (at < 0) return fail(lo, hi);
    const end = Math.min(count, n + PAGE - (lo & (PAGE - 1)));
    for (let from = at; n < end; ) into[n++] = u8[from++]!;
    if (n >= count) return true;
    hi = hiOfNextPage(lo, hi);
    lo = ((lo | (PAGE - 1)) + 1) | 0;
  }
}

/** Writes `count` bytes, at least 1, at hi:lo. @returns as `writeGuestWords`. */
export function writeGuestBytes(vcpu: Vcpu, lo: number, hi: number, from: Uint8Array, count: number): boolean {
  const core = vcpu.core;
  const { u8 } = core;
  for (let n = 0; ; ) {
    const at = guestByte(vcpu, lo, hi, true);
    if (at < 0) return fail(lo, hi);
    const end = Math.min(count, n + PAGE - (lo & (PAGE - 1)));
    noteWrite(core, at, end - n);
    for (let to = at; n < end; ) u8[to++] = from[n++]!;
    if (n >= count) return true;
    hi = hiOfNextPage(lo, hi);
    lo = ((lo | (PAGE - 1)) + 1) | 0;
  }
}

/**
 * What a PV guest may have in its descriptor tables (check_descriptor of pv/descriptor-tables.c): code and data of its own rings, and call
 * gates that only Xen's emulation can go through. A descriptor that is fixed up is written back as such.
 */
import type { Domain } from "../domain/domain.ts";
import { COMPAT_M2P_START } from "./address-space.ts";
import { FLAT_COMPAT_KERNEL_CS, FLAT_CS64 } from "./registers.ts";

/** FIRST_RESERVED_GDT_ENTRY: selectors from here on are Xen's. */
export const FIRST_RESERVED_GDT_ENTRY = 7168;
const DESCRIPTORS_PER_PAGE = 512;

/** Bits of a descriptor's high word (asm-x86/desc.h). */
const SEGMENT_TYPE = 0xf00;
const SEGMENT_S = 0x1000;
const SEGMENT_DPL = 0x6000;
const SEGMENT_P = 0x8000;
const SEGMENT_L = 0x200000;
const SEGMENT_G = 0x800000;
const CALL_GATE = 0xc00;

/** The ring of the guest's kernel (GUEST_KERNEL_RPL). */
export const kernelRing = (domain: Domain): number => (domain.pv!.is32bit ? 1 : 3);

/** fixup_guest_code_selector, fixup_guest_stack_selector: the RPL is at least the kernel's ring. */
export function fixSelector(domain: Domain, selector: number): number {
  const ring = kernelRing(domain);
  return (selector & 3) >= ring ? selector & 0xffff : (selector & 0xfffc) | ring;
}

/** guest_gate_selector_okay: a call gate doesn't lead to a segment of Xen's. */
function gateSelectorOk(domain: Domain, selector: number): boolean {
  if (selector >>> 3 < FIRST_RESERVED_GDT_ENTRY || (selector & 4) !== 0) return true;
  return selector === (domain.pv!.is32bit ? FLAT_COMPAT_KERNEL_CS : FLAT_CS64);
}

/** A descriptor under examination: its words may be changed. */
export class CheckedDescriptor {
  lo = 0;
  hi = 0;
}

/** @returns false if the guest may not have `d`; otherwise `d` is as it may have it. */
export function checkDescriptor(domain: Domain, d: CheckedDescriptor): boolean {
  // What is not present always faults.
  if ((d.hi & SEGMENT_P) === 0) return true;
  const dpl = Math.max((d.hi >>> 13) & 3, kernelRing(domain));
  const hi = (d.hi & ~SEGMENT_DPL) | (dpl << 13);
  if ((hi & SEGMENT_S) !== 0) {
    if (domain.pv!.is32bit && !extend32(d.lo, hi, d)) return false;
    if (!domain.pv!.is32bit) d.hi = hi;
    return true;
  }
  // Type 0 is the second half of a 64-bit call gate.
  if ((hi & SEGMENT_TYPE) === 0) return true;
  if ((hi & SEGMENT_TYPE) !== CALL_GATE) return false;
  const selector = d.lo >>> 16;
  if (!gateSelectorOk(domain, selector)) return false;
  if ((hi & (domain.pv!.is32bit ? 0xe0 : 0xff)) !== 0) return false;
  // DPL 0, so that its use is #GP and can be emulated; the guest's DPL waits in the selector's RPL.
  d.hi = hi & ~SEGMENT_DPL;
  d.lo = (d.lo & 0xffff) | (((selector & 0xfffc) | dpl) << 16);
  return true;
}

/** A 32-bit guest's segment: not 64-bit; one that ends in the machine-to-phys table is extended to 4 GiB, as old kernels need it. */
function extend32(lo: number, hi: number, d: CheckedDescriptor): boolean {
  if ((hi & SEGMENT_L) !== 0) return false;
  const base = (hi & 0xff000000) | ((hi & 0xff) << 16) | (lo >>> 16);
  const limit = ((hi & 0xf0000) | (lo & 0xffff)) + 1;
  const bytes = (hi & SEGMENT_G) !== 0 ? limit * 4096 : limit;
  const extended = base === 0 && bytes > COMPAT_M2P_START;
  d.lo = extended ? lo | 0xffff : lo;
  d.hi = extended ? hi | 0xf0000 : hi;
  return true;
}

const descriptor = new CheckedDescriptor();

/** validate_segdesc_page: all descriptors of a frame are fit for the guest, or fixed up. @returns false if one is not */
export function checkDescriptorPage(domain: Domain, mfn: number): boolean {
  const { i32 } = domain.hypervisor.arena;
  const first = domain.hypervisor.memory.frame(mfn) >>> 2;
  for (let at = first; at < first + DESCRIPTORS_PER_PAGE * 2; at += 2) {
    descriptor.lo = i32[at]!;
    descriptor.hi = i32[at + 1]!;
    if (!checkDescriptor(domain, descriptor)) return false;
    i32[at] = descriptor.lo;
    i32[at + 1] = descriptor.hi;
  }
  return true;
}

/** Descriptors of a PV vcpu, read from the frames of its tables: what Xen needs to return into the guest, and to emulate. */
import { write8 } from "../../cpu/mmu/memory.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { RESERVED_GDT_PAGE } from "./address-space.ts";
import { mapLdtPage } from "./ldt.ts";

/** The selector leads to no descriptor: #GP with it. */
export const NO_DESCRIPTOR = -1;
/** It lies in a page of the LDT that the guest has not mapped: #PF there. */
export const LDT_FAULT = -2;

/** Arena address of the descriptor that `selector` (not null) names; NO_DESCRIPTOR or LDT_FAULT. */
export function descriptorAt(vcpu: Vcpu, selector: number): number {
  const pv = vcpu.pv!;
  const { memory } = vcpu.domain.hypervisor;
  const page = (selector & 0xfff8) >>> 12;
  if (selector & 4) {
    if (selector >>> 3 >= pv.ldtEntries) return NO_DESCRIPTOR;
    if (pv.ldtFrames[page]! < 0 && !mapLdtPage(vcpu, selector & 0xfff8)) return LDT_FAULT;
    return memory.frame(pv.ldtFrames[page]!) + (selector & 0xff8);
  }
  if (page < pv.gdtFrames.length) return memory.frame(pv.gdtFrames[page]!) + (selector & 0xff8);
  return page === RESERVED_GDT_PAGE
    ? memory.frame(vcpu.domain.pv!.addressSpace.reservedGdtMfn) + (selector & 0xff8)
    : NO_DESCRIPTOR;
}

/** A segment as its descriptor has it. Attributes in the format of segcheck.ts; base and limit in bytes, unsigned. */
export class SegmentView {
  private lo = 0;
  private hi = 0;
  base = 0;
  limit = 0;
  attr = 0;
  dpl = 0;
  present = false;
  isCode = false;
  isConforming = false;
  /** Data: writable; code: readable. */
  isWritable = false;
  isLong = false;
  isBig = false;
  /** No system segment. */
  isSegment = false;

  /** @param at arena address of a descriptor */
  read(i32: Int32Array, at: number): void {
    const lo = i32[at >>> 2]!;
    const hi = i32[(at >>> 2) + 1]!;
    if (lo === this.lo && hi === this.hi) return;
    this.lo = lo;
    this.hi = hi;
    const limit = (lo & 0xffff) | (hi & 0xf0000);
    this.base = ((lo >>> 16) | ((hi & 0xff) << 16) | (hi & 0xff000000)) >>> 0;
    this.limit = hi & 0x800000 ? ((limit << 12) | 0xfff) >>> 0 : limit;
    this.attr = (hi >>> 8) & 0xf0ff;
    this.dpl = (hi >>> 13) & 3;
    this.present = (hi & 0x8000) !== 0;
    this.isSegment = (hi & 0x1000) !== 0;
    this.isCode = (hi & 0x1800) === 0x1800;
    this.isConforming = (hi & 0x1c00) === 0x1c00;
    this.isWritable = (hi & 0x200) !== 0;
    this.isLong = (hi & 0x200000) !== 0;
    this.isBig = (hi & 0x400000) !== 0;
  }
}

/** The processor's mark that the descriptor at `at` is in use. */
export function markAccessed(vcpu: Vcpu, at: number): void {
  const { core } = vcpu;
  if ((core.u8[at + 5]! & 1) === 0) write8(core, at + 5, core.u8[at + 5]! | 1);
}

const view = new SegmentView();

/** Reads the descriptor of `selector` without any check of rights; null if there is none. The same object every time. */
export function readSegment(vcpu: Vcpu, selector: number): SegmentView | null {
  if ((selector & 0xfffc) === 0) return null;
  const at = descriptorAt(vcpu, selector);
  if (at < 0) return null;
  view.read(vcpu.core.i32, at);
  return view;
}

/**
 * The LDT of a PV vcpu (MMUEXT_SET_LDT, pv_destroy_ldt, pv_map_ldt_shadow_page of xen/arch/x86/pv/mm.c): the guest names a linear address; Xen
 * shows the processor a page of it, once something is looked up there, in the vcpu's part of its own address space.
 */
import { LDTR } from "../../cpu/arena.ts";
import { loadTableRaw } from "../../cpu/system/mode.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { PGT_seg_desc_page } from "../memory/page-types.ts";
import { PERDOMAIN_HI } from "./address-space.ts";
import { flushVcpu } from "./flush.ts";
import { PTE_P } from "./pte.ts";
import { guestL1Entry } from "./update-va-mapping.ts";

export const LDT_PAGES = 16;
/** Xen's selector for it: LDT_ENTRY << 3. */
const LDT_SELECTOR = 0xe048;
const ATTR_LDT = 0x82;
const DESCRIPTOR_BYTES = 8;

/** load_LDT: LDTR of the (active) core as the vcpu has its LDT. */
function loadLdt(vcpu: Vcpu): void {
  const { ldtEntries } = vcpu.pv!;
  if (ldtEntries === 0) loadTableRaw(vcpu.core, LDTR, 0, 0, 0, 0, 0);
  else
    loadTableRaw(
      vcpu.core,
      LDTR,
      LDT_SELECTOR,
      vcpu.domain.pv!.addressSpace.ldtLo(vcpu),
      PERDOMAIN_HI,
      ldtEntries * DESCRIPTOR_BYTES - 1,
      ATTR_LDT,
    );
}

/** Sets base and size; pages of the old one are let go. The vcpu must be active. */
export function setLdt(vcpu: Vcpu, lo: number, hi: number, entries: number): void {
  const pv = vcpu.pv!;
  if (pv.ldtEntries === entries && pv.ldtLo === lo && pv.ldtHi === hi) return;
  if (destroyLdt(vcpu)) flushVcpu(vcpu);
  pv.ldtLo = entries === 0 ? 0 : lo;
  pv.ldtHi = entries === 0 ? 0 : hi;
  pv.ldtEntries = entries;
  loadLdt(vcpu);
}

/** Takes the pages away that the processor sees. @returns true if there were any: the caller flushes */
export function destroyLdt(vcpu: Vcpu): boolean {
  const { ldtFrames } = vcpu.pv!;
  let any = false;
  for (let page = 0; page < LDT_PAGES; page++) {
    const mfn = ldtFrames[page]!;
    if (mfn < 0) continue;
    any = true;
    ldtFrames[page] = -1;
    vcpu.domain.pv!.addressSpace.mapLdtPage(vcpu, page, -1);
    vcpu.domain.hypervisor.pageTypes.putPageAndType(mfn);
  }
  return any;
}

/**
 * Shows the processor the page of the LDT that holds byte `offset` of it, if the guest has a page of descriptors there.
 * @returns false if not: the fault is the guest's
 */
export function mapLdtPage(vcpu: Vcpu, offset: number): boolean {
  const pv = vcpu.pv!;
  const { hypervisor: hv, domid } = vcpu.domain;
  const page = offset >>> 12;
  if (offset >>> 3 >= pv.ldtEntries || pv.ldtFrames[page]! >= 0) return false;
  const lo = (pv.ldtLo >>> 0) + offset;
  const at = guestL1Entry(vcpu, lo | 0, lo > 0xffff_ffff ? (pv.ldtHi + 1) | 0 : pv.ldtHi);
  if (at < 0) return false;
  const entry = hv.arena.i32[at]!;
  if ((entry & PTE_P) === 0) return false;
  const mfn = entry >>> 12;
  if (hv.pageTypes.getPageAndType(mfn, domid, PGT_seg_desc_page) !== 0) return false;
  pv.ldtFrames[page] = mfn;
  vcpu.domain.pv!.addressSpace.mapLdtPage(vcpu, page, mfn);
  return true;
}

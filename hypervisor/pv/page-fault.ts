/** #PF of PV guests (do_page_fault, fixup_page_fault of x86/traps.c): Xen's own affairs first, then the guest's handler. */
import { VEC_GP } from "../../cpu/core.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { PERDOMAIN_HI } from "./address-space.ts";
import { inKernel } from "./guest-mode.ts";
import { injectPageFault, injectTrap } from "./inject.ts";
import { mapLdtPage } from "./ldt.ts";

const PFEC_page_present = 1;
const PFEC_write_access = 2;
const PFEC_user_mode = 4;
const PFEC_reserved_bit = 8;
const PFEC_insn_fetch = 16;

/** Bytes of a vcpu's area for GDT and LDT, and of one of the two (GDT_LDT_VCPU_VA_SHIFT). */
const AREA_SHIFT = 17;
const HALF_SHIFT = 16;
/** GDT_LDT_MBYTES: 1 GiB of the domain's area. */
const AREAS_END = 0x4000_0000;
const XEC_TI = 4;
const XEN_START_HI = 0xffff8000;
const XEN_END_HI = 0xffff8800;

/** What emulates a kernel's write to a page that it may only read (pv_ro_page_fault): true if that was done. */
export type ReadOnlyFault = (vcpu: Vcpu, lo: number, hi: number) => boolean;
let readOnlyFault: ReadOnlyFault | null = null;

/** Called once, when the emulator of page-table writes is loaded. */
export function setReadOnlyFault(handler: ReadOnlyFault): void {
  readOnlyFault = handler;
}

/** A fault at hi:lo with the processor's error code. */
export function pageFault(vcpu: Vcpu, lo: number, hi: number, error: number): void {
  if (!fixed(vcpu, lo, hi, error)) injectPageFault(vcpu, lo, hi, error);
}

/** @returns true if the guest is not to see it (any more) as it is */
function fixed(vcpu: Vcpu, lo: number, hi: number, error: number): boolean {
  if (hi >>> 0 >= XEN_START_HI && hi >>> 0 < XEN_END_HI) {
    const isTable = (error & (PFEC_user_mode | PFEC_reserved_bit)) === 0 && hi === PERDOMAIN_HI;
    return isTable && lo >>> 0 < AREAS_END && tableFault(vcpu, lo, error);
  }
  if (!inKernel(vcpu) || (error & (PFEC_reserved_bit | PFEC_insn_fetch)) !== 0) return false;
  return (
    (error & (PFEC_write_access | PFEC_page_present)) === (PFEC_write_access | PFEC_page_present) &&
    readOnlyFault !== null &&
    readOnlyFault(vcpu, lo, hi)
  );
}

/** handle_gdt_ldt_mapping_fault: the processor looked for a descriptor where no page of the guest's table is, or not yet. */
function tableFault(vcpu: Vcpu, lo: number, error: number): boolean {
  if (lo >>> AREA_SHIFT !== vcpu.id) return false;
  const offset = lo & ((1 << HALF_SHIFT) - 1);
  if (((lo >>> HALF_SHIFT) & 1) === 0) {
    injectTrap(vcpu, VEC_GP, offset & 0xfff8);
    return true;
  }
  if (mapLdtPage(vcpu, offset)) return true;
  const pv = vcpu.pv!;
  const at = (pv.ldtLo + offset) | 0;
  const atHi = at >>> 0 < offset ? (pv.ldtHi + 1) | 0 : pv.ldtHi;
  // An address that is not canonical can't be the guest's #PF.
  if ((atHi << 16) >> 16 !== atHi) injectTrap(vcpu, VEC_GP, (offset & 0xfffc) | XEC_TI);
  else injectPageFault(vcpu, at, atHi, error);
  return true;
}

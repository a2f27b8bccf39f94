/**
 * Grants in a PV guest's address space (pv/grant_table.c): a mapping is an L1 entry that the guest names, by linear address or
 * (GNTMAP_contains_pte) by machine address. Such an entry holds references like any other; who overwrites it without unmapping
 * the grant loses the mapping, not the grant.
 */
import {
  GNTMAP_application_map,
  GNTMAP_contains_pte,
  GNTMAP_readonly,
  GNTST_general_error,
  GNTST_okay,
} from "../abi/grant.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { PGT_l1_page_table } from "../memory/page-types.ts";
import { PTE_A, PTE_AVAIL, PTE_AVAIL_SHIFT, PTE_D, PTE_FRAME_HI, PTE_NX_HI, PTE_P, PTE_RW, PTE_US } from "./pte.ts";
import { ownL1Entry } from "./update-va-mapping.ts";

const GNTMAP_guest_avail0_SHIFT = 16;
const U32 = 0x1_0000_0000n;

/** grant_to_pte_flags: low word of the entry, without the frame. */
function flagsOf(flags: number): number {
  return (
    PTE_P |
    PTE_A |
    PTE_D |
    ((flags & GNTMAP_application_map) !== 0 ? PTE_US : 0) |
    ((flags & GNTMAP_readonly) !== 0 ? 0 : PTE_RW) |
    (((flags >>> GNTMAP_guest_avail0_SHIFT) << PTE_AVAIL_SHIFT) & PTE_AVAIL)
  );
}

/** Word index of the entry that `address` names, -1 if it is none of an L1 of the caller's. */
function entryAt(vcpu: Vcpu, address: bigint, flags: number): number {
  const { hypervisor: hv, domid, pv } = vcpu.domain;
  if ((flags & GNTMAP_contains_pte) !== 0) {
    if (address >= U32 || (address & 7n) !== 0n) return -1;
    const mfn = Number(address >> 12n);
    if (hv.pageTypes.ownerOf(mfn) !== domid || !hv.pageTypes.is(mfn, PGT_l1_page_table)) return -1;
    return hv.pageTables.table(mfn) + (Number(address & 0xfffn) >>> 2);
  }
  if (pv!.is32bit && address >= U32) return -1;
  return ownL1Entry(vcpu, Number(BigInt.asIntN(32, address)), Number(BigInt.asIntN(32, address >> 32n)));
}

/** create_grant_pv_mapping: maps `mfn`, which the caller has pinned. @returns GNTST_* */
export function createGrantMapping(vcpu: Vcpu, address: bigint, mfn: number, flags: number): number {
  const { hypervisor: hv, domid, pv } = vcpu.domain;
  const tables = hv.pageTables;
  const at = entryAt(vcpu, address, flags);
  if (at < 0) return GNTST_general_error;
  const lo = (mfn << 12) | flagsOf(flags);
  if (tables.getL1(lo, 0, domid, hv.pageTypes.ownerOf(mfn)) !== 0) return GNTST_general_error;
  const old = hv.arena.i32[at]!;
  tables.store(at, tables.adjustL1Lo(lo, PTE_NX_HI, pv!.is32bit), tables.adjustL1Hi(lo, PTE_NX_HI, pv!.is32bit));
  tables.putL1(old, domid);
  return GNTST_okay;
}

/**
 * replace_grant_pv_mapping: ends the mapping of `mfn` at `address`; what `newAddress` maps, if it is not 0, moves there.
 * @param flags those that the mapping was made with
 * @returns GNTST_*
 */
export function replaceGrantMapping(
  vcpu: Vcpu,
  address: bigint,
  mfn: number,
  newAddress: bigint,
  flags: number,
): number {
  const { hypervisor: hv, domid } = vcpu.domain;
  const tables = hv.pageTables;
  const { i32 } = hv.arena;
  let newLo = 0;
  let newHi = 0;
  if (newAddress !== 0n) {
    if ((flags & GNTMAP_contains_pte) !== 0) return GNTST_general_error;
    const from = entryAt(vcpu, newAddress, flags);
    if (from < 0) return GNTST_general_error;
    newLo = i32[from]!;
    newHi = i32[from + 1]!;
    tables.store(from, 0, 0);
  }
  const at = entryAt(vcpu, address, flags);
  const matches =
    at >= 0 &&
    i32[at]! >>> 12 === mfn &&
    (i32[at + 1]! & PTE_FRAME_HI) === 0 &&
    ((i32[at]! ^ flagsOf(flags)) & (PTE_P | PTE_RW)) === 0;
  if (!matches) {
    // The entry that was taken is lost to the guest, as in Xen.
    tables.putL1(newLo, domid);
    return GNTST_general_error;
  }
  const old = i32[at]!;
  tables.store(at, newLo, newHi);
  tables.putL1(old, domid);
  return GNTST_okay;
}

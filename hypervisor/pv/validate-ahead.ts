/**
 * Validating a tree of page tables in pieces, with events in between (in Xen: PGT_partial, nr_validated_ptes). A table is validated at
 * once; but before a hypercall does that it validates those below it, from the bottom, as many as it may at once, and is continued. Until the top
 * is done, or is refused, each of them is held by a use of its own: at every moment each table is validated or it is not.
 */
import type { Domain } from "../domain/domain.ts";
import { PGT_l2_page_table, PGT_l3_page_table, PGT_pae_xen_l2 } from "../memory/page-types.ts";
import { ENTRIES } from "./page-tables.ts";
import { PTE_FRAME_HI, PTE_P } from "./pte.ts";

/** All below is validated; something will be refused; the hypercall has done enough. */
const DONE = 0;
const REFUSED = 1;
const TIRED = 2;
/** Entries of a PAE L3, the last of which leads to an L2 that may have no other use. */
const PAE_ENTRIES = 4;

/**
 * Validates what is below table `mfn` of the domain, which is to become a table of level `type`; whether it can is found out by validating it.
 * @returns false: the hypercall is to be continued, and to ask again
 */
export function validateAhead(domain: Domain, mfn: number, type: number): boolean {
  const { pageTypes: types } = domain.hypervisor;
  if (type < PGT_l2_page_table || types.ownerOf(mfn) !== domain.domid || types.counts[mfn] !== 0) return true;
  const { ahead } = domain.pv!;
  const held = ahead.get(mfn) ?? [];
  ahead.set(mfn, held);
  return validateBelow(domain, mfn, type, 0, held) !== TIRED;
}

/** Table `mfn` has been validated, or refused: it keeps by itself what is below it. */
export function forgetAhead(domain: Domain, mfn: number): void {
  const held = domain.pv!.ahead.get(mfn);
  if (held === undefined) return;
  domain.pv!.ahead.delete(mfn);
  for (const table of held) domain.hypervisor.pageTypes.putPageAndType(table);
}

function validateBelow(domain: Domain, mfn: number, type: number, pae: number, held: number[]): number {
  const { pageTables: tables, pageTypes: types, arena } = domain.hypervisor;
  const { is32bit } = domain.pv!;
  const isPaeL3 = is32bit && type === PGT_l3_page_table;
  const first = tables.table(mfn);
  for (let i = 0; i < (isPaeL3 ? PAE_ENTRIES : ENTRIES); i++) {
    const lo = arena.i32[first + 2 * i]!;
    if ((lo & PTE_P) === 0 || !tables.isGuestSlot(is32bit, type, i, pae)) continue;
    const child = lo >>> 12;
    if ((arena.i32[first + 2 * i + 1]! & PTE_FRAME_HI) !== 0 || types.ownerOf(child) !== domain.domid) return REFUSED;
    // What has a use is validated, or will be refused, or is a linear page table.
    if (child === mfn || types.counts[child] !== 0) continue;
    const isLast = isPaeL3 && i === PAE_ENTRIES - 1;
    if (type > PGT_l2_page_table) {
      const state = validateBelow(domain, child, type - 1, isLast ? PGT_pae_xen_l2 : 0, held);
      if (state !== DONE) return state;
    }
    if (isLast) continue;
    if (tables.isTired) return TIRED;
    if (types.getPageAndType(child, domain.domid, type - 1) !== 0) return REFUSED;
    held.push(child);
  }
  return DONE;
}

/** The page tables of a PV domain that dies (domain_relinquish_resources, relinquish_memory of xen/arch/x86/domain.c). */
import type { Domain } from "../domain/domain.ts";
import {
  PGT_l2_page_table,
  PGT_l3_page_table,
  PGT_l4_page_table,
  PGT_pinned,
  PGT_validated,
} from "../memory/page-types.ts";
import { dropBases } from "./base-table.ts";
import { destroyLdt } from "./ldt.ts";
import { ENTRIES } from "./page-tables.ts";
import { forgetAhead } from "./validate-ahead.ts";

/** Gives up all references that the domain's vcpus and tables hold. None of its vcpus runs again. */
export function relinquishTables(domain: Domain): void {
  const { heap, pageTypes: types, pageTables } = domain.hypervisor;
  for (const vcpu of domain.vcpus) {
    destroyLdt(vcpu);
    for (const mfn of vcpu.pv!.gdtFrames.splice(0)) types.putPageAndType(mfn);
    dropBases(vcpu);
  }
  const { pirqEoiMfn } = domain.pv!;
  if (pirqEoiMfn >= 0) types.putPageAndType(pirqEoiMfn);
  domain.pv!.pirqEoiMfn = -1;
  const frames = [...heap.framesOf(domain.domid)];
  for (const mfn of frames) {
    if ((types.flags[mfn]! & PGT_pinned) === 0) continue;
    types.flags[mfn]! &= ~PGT_pinned;
    types.putPageAndType(mfn);
  }
  for (const mfn of [...domain.pv!.ahead.keys()]) forgetAhead(domain, mfn);
  pageTables.takeApart(domain, true);
  // Tables of one level that lead to each other keep each other: they are taken apart from the top.
  for (const type of [PGT_l4_page_table, PGT_l3_page_table, PGT_l2_page_table]) {
    for (const mfn of frames) {
      if (!types.is(mfn, type)) continue;
      types.flags[mfn]! &= ~PGT_validated;
      types.left[mfn] = ENTRIES;
      while (types.left[mfn] > 0) {
        pageTables.giveUp(domain, mfn);
        pageTables.takeApart(domain, true);
      }
    }
  }
  pageTables.takeWork();
}

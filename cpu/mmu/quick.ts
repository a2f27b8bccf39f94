/**
 * What walks in generated code (interpreter/walk.ts) have to know, in words of the core: under which rules they are, or that there
 * are to be none. Those walks do the usual: 4-level paging over known second-level translations, to RAM. All else, and all walks of the
 * reference, are walker.ts's.
 */
import { WALK, WALK_NESTED_AT, WALK_RESERVED } from "../arena.ts";
import { type Core, DELIVERY_NATIVE, DELIVERY_NONROOT, NESTED_EPT, NESTED_NONE, VEC_PF } from "../core.ts";
import { claimCaches } from "./nested.ts";
import { PAGING_LONG } from "./state.ts";
import { reservedHigh } from "./walker.ts";

/** Walks may be done. */
export const WALK_ON = 1;
export const WALK_WP = 2;
export const WALK_SMEP = 4;
export const WALK_NESTED = 8;
/** Accesses to paging structures count as writes in the second level. */
export const WALK_NESTED_AD = 16;
/** Page faults go through the guest's IDT (interpreter/fast-events.ts). */
export const WALK_FAULTS = 32;

/** To be called where the active core's paging, its debug registers, its checks for alignment or its controls may have changed. */
export function describeWalks(core: Core): void {
  const m = core.mmu;
  const i = core.i32;
  const { nestedFormat, nestedAccessedDirty, delivery, exceptionBitmap } = core.controls;
  if (m.paging !== PAGING_LONG || m.watching || m.alignCheck) {
    i[WALK >>> 2] = 0;
    return;
  }
  let walk = WALK_ON;
  if (m.wp) walk |= WALK_WP;
  if (m.smep) walk |= WALK_SMEP;
  if (delivery === DELIVERY_NATIVE || (delivery === DELIVERY_NONROOT && !((exceptionBitmap >>> VEC_PF) & 1)))
    walk |= WALK_FAULTS;
  if (nestedFormat !== NESTED_NONE) {
    claimCaches(core);
    walk |= WALK_NESTED;
    if (nestedFormat !== NESTED_EPT || nestedAccessedDirty) walk |= WALK_NESTED_AD;
  }
  i[WALK >>> 2] = walk;
  i[WALK_NESTED_AT >>> 2] = core.arena.nestedCaches(core.index);
  i[WALK_RESERVED >>> 2] = 0;
  i[(WALK_RESERVED + 4) >>> 2] = reservedHigh(m);
}

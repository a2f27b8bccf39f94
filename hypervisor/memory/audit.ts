/**
 * Recounts what the allocator, the p2m tables and the grants say of each other; for tests, which call it between hypercalls. It changes
 * nothing and costs no cycles.
 */
import { DOMID_XEN } from "../abi/xen.ts";
import type { Domain } from "../domain/domain.ts";
import { EventChannels } from "../events/channels.ts";
import { grantsOf } from "../grants/grants.ts";
import type { Hypervisor } from "../hypervisor.ts";
import { PvRecount } from "../pv/audit.ts";
import { isGrant, isRam, isReadOnly, type P2m } from "./p2m.ts";

/**
 * @param held frames that others than domains hold a reference to (Daemons.frames())
 * @param domains which to look at, default all; those that are gone too, if anything of theirs may still be pinned
 * @returns a line for every disagreement; none if all is well
 */
export function auditMemory(
  hv: Hypervisor,
  held: readonly number[] = [],
  domains: Iterable<Domain> = hv.domains.values(),
): string[] {
  const { heap } = hv;
  const found: string[] = [];
  const expected = new Map<number, number>();
  const reference = (mfn: number): void => void expected.set(mfn, (expected.get(mfn) ?? 0) + 1);
  for (const mfn of held) reference(mfn);
  for (const domain of domains) {
    for (const [, { mfn }] of grantsOf(domain)?.table.pinned() ?? []) reference(mfn);
    if (domain.isDying) continue;
    for (const vcpu of domain.vcpus) if (vcpu.infoMfn >= 0) reference(vcpu.infoMfn);
    if (domain.events instanceof EventChannels) for (const mfn of domain.events.frames()) reference(mfn);
    if (domain.physmap !== null) found.push(...auditP2m(domain, domain.physmap));
    found.push(...auditPins(domain));
  }
  const recount = new PvRecount(hv, held);
  found.push(...recount.differences());
  for (let mfn = 0; mfn < heap.frames; mfn++) {
    const owner = heap.ownerOf(mfn);
    // Of Xen's own frames those count that are shared with a domain, which maps them itself if it is a PV domain.
    if (owner === DOMID_XEN && hv.pageTypes.ownerOf(mfn) === DOMID_XEN) continue;
    const wanted = (expected.get(mfn) ?? 0) + (heap.isAllocated(mfn) ? 1 : 0) + recount.referencesTo(mfn);
    const count = heap.referencesOf(mfn);
    if (count !== wanted) found.push(`frame ${mfn} of d${owner} has ${count} references, accounted for ${wanted}`);
  }
  return found;
}

/** Every entry is of a frame that its type allows, and no frame of the domain or of Xen's has two. */
function auditP2m(domain: Domain, physmap: P2m): string[] {
  const { heap } = domain.hypervisor;
  const found: string[] = [];
  const seen = new Map<number, number>();
  const granted = new Map<string, number>();
  for (const { mfn, readOnly } of grantsOf(domain)?.mappings() ?? []) {
    granted.set(`${mfn} ${readOnly}`, (granted.get(`${mfn} ${readOnly}`) ?? 0) + 1);
  }
  for (const [gfn, mfn, type] of physmap.entries()) {
    if (physmap.lookup(gfn) !== mfn || physmap.typeOf(gfn) !== type)
      found.push(`gfn ${gfn} of d${domain.domid}: a lookup and a walk of the tables disagree`);
    const where = `gfn ${gfn} of d${domain.domid}`;
    if (isRam(type)) {
      const owner = heap.ownerOf(mfn);
      if (owner === DOMID_XEN) {
        if (domain.xenPageGfns.get(mfn) !== gfn) found.push(`${where} shows Xen's frame ${mfn} without record`);
      } else if (owner !== domain.domid) found.push(`${where} maps frame ${mfn} of d${owner}`);
      if (seen.has(mfn)) found.push(`${where} maps frame ${mfn}, as gfn ${seen.get(mfn)} does`);
      seen.set(mfn, gfn);
    } else if (isGrant(type)) {
      const key = `${mfn} ${isReadOnly(type)}`;
      const left = granted.get(key) ?? 0;
      if (left === 0) found.push(`${where} maps frame ${mfn} without a grant`);
      else granted.set(key, left - 1);
    }
  }
  for (const [key, left] of granted)
    if (left !== 0) found.push(`d${domain.domid} tracks ${left} mappings too many: ${key}`);
  return found;
}

/** The mappings that a domain tracks are pinned by those who granted them. */
function auditPins(domain: Domain): string[] {
  const found: string[] = [];
  for (const { table, ref, mfn } of grantsOf(domain)?.mappings() ?? []) {
    const active = table.activeOf(ref);
    if (active?.mfn !== mfn || active.domid !== domain.domid)
      found.push(`d${domain.domid} maps reference ${ref} of d${table.domain.domid}, which is not pinned for it`);
  }
  return found;
}

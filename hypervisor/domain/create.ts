/** How domains come and go. */
import { MAX_CORES } from "../../cpu/arena.ts";
import { EventChannels } from "../events/channels.ts";
import { Grants } from "../grants/grants.ts";
import "../hypercalls/all.ts";
import { DOMID_FIRST_RESERVED } from "../abi/xen.ts";
import { initVcpu } from "../hvm/vcpu-init.ts";
import type { Hypervisor } from "../hypervisor.ts";
import { putOwnFrame } from "../memory/guest-access.ts";
import "../pv/all.ts";
import { M2p } from "../pv/m2p.ts";
import { relinquishTables } from "../pv/teardown.ts";
import { initPvVcpu } from "../pv/vcpu-init.ts";
import { updateWallclock } from "../time/pv-clock.ts";
import { Domain, type DomainOptions } from "./domain.ts";
import type { Vcpu } from "./vcpu.ts";

/** Xen's pages of a domain: the root of its p2m, shared info, and vcpu_info of those beyond it. */
const MIN_DOMAIN_FRAMES = 3;
const NEWEST_GRANT_VERSION = 2;

/** Creates a domain, paused and without memory; the builder fills it and calls `unpause`. Throws RangeError. */
export function createDomain(hv: Hypervisor, options: DomainOptions): Domain {
  const domid = takeDomid(hv);
  if (hv.heap.freeFrames < MIN_DOMAIN_FRAMES) throw new RangeError("no machine memory for another domain");
  if (hv.coresLeft < options.maxVcpus) throw new RangeError(`a machine can't have more than ${MAX_CORES - 1} vcpus`);
  if (options.type !== undefined && options.type !== "pvh") {
    hv.m2p ??= new M2p(hv.memory, hv.heap);
    hv.pageTypes.rules = hv.pageTables;
  }
  const domain = new Domain(hv, domid, options);
  hv.domains.set(domid, domain);
  hv.pageTables.addDomain(domain);
  for (const vcpu of domain.vcpus) {
    if (domain.isPv) initPvVcpu(vcpu);
    else initVcpu(vcpu);
    hv.scheduler.insert(vcpu);
  }
  updateWallclock(domain);
  domain.events = new EventChannels(domain);
  const grantVersion = options.maxGrantVersion ?? NEWEST_GRANT_VERSION;
  if (grantVersion > 0) domain.grants = new Grants(domain, grantVersion);
  return domain;
}

/** The next number that no domain has, nor one that is gone and of which frames are left; behind the last comes 1 again. */
function takeDomid(hv: Hypervisor): number {
  for (let tries = 1; tries < DOMID_FIRST_RESERVED; tries++) {
    const domid = hv.nextDomid;
    hv.nextDomid = domid + 1 < DOMID_FIRST_RESERVED ? domid + 1 : 1;
    const before = hv.domains.get(domid);
    if (before === undefined || (before.isDying && hv.heap.ownedBy(domid) === 0)) return domid;
  }
  throw new RangeError("a machine can't have more domains");
}

/** Takes a domain that is shut down apart: its memory and cores are free afterwards. */
export function destroyDomain(domain: Domain): void {
  if (domain.isDying) return;
  domain.isDying = true;
  const hv = domain.hypervisor;
  for (const p of hv.pcpus) {
    if (p.current?.domain !== domain) continue;
    p.current = null;
    p.needsSchedule = true;
  }
  for (const handle of domain.watchdogs) hv.queue.cancel(handle);
  for (const vcpu of domain.vcpus) stopForGood(vcpu);
  domain.pcTimer?.stop();
  domain.events?.destroy();
  domain.grants?.destroy();
  if (domain.isPv) relinquishTables(domain);
  domain.physmap?.destroy();
  for (const mfn of hv.heap.framesOf(domain.domid)) hv.heap.putAllocation(mfn);
  for (const mfn of domain.xenPages) hv.heap.putPage(mfn);
  for (const vcpu of domain.vcpus) hv.freeCore(vcpu.core);
}

function stopForGood(vcpu: Vcpu): void {
  const hv = vcpu.domain.hypervisor;
  vcpu.sleep();
  hv.scheduler.remove(vcpu);
  hv.queue.cancel(vcpu.singleshotTimer);
  hv.queue.cancel(vcpu.periodicTimer);
  hv.queue.cancel(vcpu.pollTimer);
  hv.interrupts.stop(vcpu);
  if (vcpu.infoMfn >= 0) putOwnFrame(vcpu.domain, vcpu.infoMfn);
  vcpu.resetInfo();
}

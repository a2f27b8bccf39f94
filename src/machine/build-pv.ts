/** From the plan of a PV domain to its memory: machine frames, their pfns, and what the builder writes into them. */
import {
  HVM_PARAM_CONSOLE_EVTCHN,
  HVM_PARAM_CONSOLE_PFN,
  HVM_PARAM_STORE_EVTCHN,
  HVM_PARAM_STORE_PFN,
} from "../../hypervisor/abi/hvm.ts";
import { loadPv, type PvPlan, type PvWriter, startInfoAddress, startInfoOf } from "../../hypervisor/builder/pv.ts";
import type { Domain } from "../../hypervisor/domain/domain.ts";
import { SUPERPAGE_FRAMES } from "../../hypervisor/memory/heap.ts";
import { pvHypercallPage } from "../../hypervisor/pv/hypercall-page.ts";
import { startPv } from "../../hypervisor/pv/vcpu-init.ts";

const FRAME = 4096;

/** Machine frames for the domain's pfns, in blocks of 2 MiB where there are any; null if the machine has too few. */
function populate(domain: Domain, pages: number): Int32Array | null {
  const { heap, m2p } = domain.hypervisor;
  const mfns = new Int32Array(pages);
  for (let pfn = 0; pfn < pages; ) {
    const first = pages - pfn >= SUPERPAGE_FRAMES ? heap.allocSuperpage(domain.domid) : -1;
    const run = first >= 0 ? SUPERPAGE_FRAMES : 1;
    const mfn = first >= 0 ? first : heap.alloc(domain.domid);
    if (mfn < 0) return null;
    for (let i = 0; i < run; i++, pfn++) {
      mfns[pfn] = mfn + i;
      m2p!.set(mfn + i, pfn);
    }
  }
  return mfns;
}

/**
 * Fills a PV domain that was just created. @returns what is to be done when the daemons have given it its event channels, or null if
 * the machine has too little memory.
 */
export function fillPvDomain(domain: Domain, plan: PvPlan): (() => void) | null {
  const { memory } = domain.hypervisor;
  const mfns = populate(domain, plan.pages);
  if (mfns === null) return null;
  const write: PvWriter = (offset, bytes) => {
    for (let done = 0; done < bytes.length; ) {
      const at = offset + done;
      const chunk = Math.min(bytes.length - done, FRAME - (at % FRAME));
      memory.write(memory.frame(mfns[Math.floor(at / FRAME)]!) + (at % FRAME), bytes.subarray(done, done + chunk));
      done += chunk;
    }
  };
  loadPv(plan, mfns, write);
  if (plan.hypercallPfn >= 0) write(plan.hypercallPfn * FRAME, pvHypercallPage(plan.is32bit));
  domain.params[HVM_PARAM_STORE_PFN] = BigInt(mfns[plan.xenstorePfn]!);
  domain.params[HVM_PARAM_CONSOLE_PFN] = BigInt(mfns[plan.consolePfn]!);
  return () => {
    write(
      plan.startInfoPfn * FRAME,
      startInfoOf(plan, {
        mfns,
        sharedInfoMfn: domain.sharedInfoMfn,
        storePort: Number(domain.params[HVM_PARAM_STORE_EVTCHN]!),
        consolePort: Number(domain.params[HVM_PARAM_CONSOLE_EVTCHN]!),
      }),
    );
    startPv(domain.vcpus[0]!, {
      rip: plan.entry,
      rsp: plan.stackTop,
      rsi: startInfoAddress(plan),
      top: mfns[plan.tables.topPfn]!,
    });
  };
}

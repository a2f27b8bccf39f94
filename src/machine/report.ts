/** What the machine counted, in the shape of report/schema.ts. */
import {
  ACCOUNT_KERNEL,
  ACCOUNT_USER,
  COUNT_DTLB_MISS,
  COUNT_FETCH_MISS,
  COUNT_FLUSH,
  COUNT_WALK,
  FAULT_COUNTS,
  INSTRET,
} from "../../cpu/arena.ts";
import { EXIT_NAMES } from "../../cpu/core.ts";
import type { Domain } from "../../hypervisor/domain/domain.ts";
import { SHUTDOWN_NAMES } from "../../hypervisor/domain/lifecycle.ts";
import type { Vcpu } from "../../hypervisor/domain/vcpu.ts";
import type { Hypervisor } from "../../hypervisor/hypervisor.ts";
import { faultName, hypercallName } from "../report/names.ts";
import type { CycleSplit, DomainReport, MachineReport, VcpuReport } from "../report/schema.ts";
import { REPORT_SCHEMA_VERSION } from "../report/version.ts";
import type { CpuLevel, CpuVendor, EngineName } from "./api.ts";

const FRAME = 4096;
const EXCEPTIONS = 32;

/** An f64 of a core's state, wherever it waits. */
function word(vcpu: Vcpu, address: number): number {
  return vcpu.core.f64[coreAddress(vcpu, address) >>> 3]!;
}

function coreAddress(vcpu: Vcpu, address: number): number {
  const { core } = vcpu;
  return core.shared.active === core ? address : core.arena.saveSlot(core.index) + (address & 0xfff);
}

function splitOf(vcpu: Vcpu): CycleSplit {
  return { user: word(vcpu, ACCOUNT_USER), kernel: word(vcpu, ACCOUNT_KERNEL), hypervisor: vcpu.hypervisorCycles };
}

const add = (a: CycleSplit, b: CycleSplit): CycleSplit => ({
  user: a.user + b.user,
  kernel: a.kernel + b.kernel,
  hypervisor: a.hypervisor + b.hypervisor,
});

/** A counter of the cores, over all vcpus. */
function counted(domain: Domain, address: number): number {
  return domain.vcpus.reduce((sum, vcpu) => sum + vcpu.core.u32[coreAddress(vcpu, address) >>> 2]!, 0);
}

export function domainReport(domain: Domain): DomainReport {
  const vcpus: VcpuReport[] = domain.vcpus.map((vcpu) => ({
    vcpu: vcpu.id,
    online: vcpu.isUp,
    cycles: splitOf(vcpu),
    instructions: word(vcpu, INSTRET),
  }));
  const faults: DomainReport["faults"] = [];
  for (let vector = 0; vector < EXCEPTIONS; vector++) {
    const count = counted(domain, FAULT_COUNTS + 4 * vector);
    if (count > 0) faults.push({ vector, name: faultName(vector), count });
  }
  const hypercalls: DomainReport["hypercalls"] = [];
  domain.hypercallCounts.forEach((count, number) => {
    if (count > 0) hypercalls.push({ number, name: hypercallName(number), count });
  });
  const exits: DomainReport["exits"] = [];
  domain.exitCounts.forEach((count, code) => {
    if (count > 0) exits.push({ reason: EXIT_NAMES[code] ?? `exit ${code}`, count });
  });
  exits.sort((a, b) => b.count - a.count || (a.reason < b.reason ? -1 : 1));
  return {
    domid: domain.domid,
    name: domain.name,
    type: domain.isPv ? "pv" : "pvh",
    memory: domain.totalPages * FRAME,
    state: domain.isShutDown ? "shutdown" : "running",
    ...(domain.isShutDown && {
      shutdownReason: SHUTDOWN_NAMES[domain.shutdownCode] ?? `reason ${domain.shutdownCode}`,
    }),
    cycles: vcpus.reduce((sum, v) => add(sum, v.cycles), { user: 0, kernel: 0, hypervisor: 0 }),
    instructions: vcpus.reduce((sum, v) => sum + v.instructions, 0),
    vcpus,
    hypercalls,
    events: domain.eventsDelivered,
    faults,
    exits,
    pageTableUpdates: domain.pv?.pageTableUpdates ?? 0,
    tlb: {
      misses: counted(domain, COUNT_DTLB_MISS) + counted(domain, COUNT_FETCH_MISS),
      flushes: counted(domain, COUNT_FLUSH),
      walks: counted(domain, COUNT_WALK),
    },
  };
}

/** `destroyed` are the reports of domains that have been taken apart. */
export function machineReport(
  hv: Hypervisor,
  config: { engine: EngineName; cpu: CpuVendor; cpuModel: CpuLevel; memory: number; cycle: number },
  destroyed: readonly DomainReport[],
): MachineReport {
  const domains = [...destroyed, ...[...hv.domains.values()].filter((d) => !d.isDying).map(domainReport)];
  domains.sort((a, b) => a.domid - b.domid);
  const sum = domains.reduce((total, d) => add(total, d.cycles), { user: 0, kernel: 0, hypervisor: 0 });
  return {
    schemaVersion: REPORT_SCHEMA_VERSION,
    machine: {
      pcpus: hv.pcpus.length,
      memory: config.memory,
      engine: config.engine,
      cpu: config.cpu,
      cpuModel: config.cpuModel,
      timing: "fast",
    },
    domains,
    totals: {
      cycles: config.cycle,
      user: sum.user,
      kernel: sum.kernel,
      hypervisor: sum.hypervisor + hv.pcpus.reduce((total, p) => total + p.hypervisorCycles, 0),
      // A pCPU that never caught up with the machine's clock has idled for the rest.
      idle: hv.pcpus.reduce((total, p) => total + p.idleCycles + Math.max(0, config.cycle - p.cycle), 0),
      instructions: domains.reduce((total, d) => total + d.instructions, 0),
    },
  };
}

/** How domains end: shutdown with a reason, and crashes. Nothing here throws. */
import {
  SHUTDOWN_crash,
  SHUTDOWN_poweroff,
  SHUTDOWN_reboot,
  SHUTDOWN_soft_reset,
  SHUTDOWN_suspend,
  SHUTDOWN_watchdog,
} from "../abi/sched.ts";
import { dumpVcpu } from "./crash-dump.ts";
import type { Domain } from "./domain.ts";
import { type Vcpu, VPF_DOWN } from "./vcpu.ts";

/** Names of SHUTDOWN_* as the machine's interface has them. */
export const SHUTDOWN_NAMES = ["poweroff", "reboot", "suspend", "crash", "watchdog", "soft-reset"] as const;

const MESSAGES: Readonly<Record<number, string>> = {
  [SHUTDOWN_poweroff]: "halted",
  [SHUTDOWN_reboot]: "rebooted",
  [SHUTDOWN_suspend]: "suspended",
  [SHUTDOWN_crash]: "crashed",
  [SHUTDOWN_watchdog]: "hit its watchdog",
  [SHUTDOWN_soft_reset]: "asked for a soft reset",
};

/** All vcpus stop; the toolstack sees the reason. A second shutdown changes nothing. */
export function shutdownDomain(domain: Domain, reason: number): void {
  if (domain.isShutDown || domain.isDying) return;
  const hv = domain.hypervisor;
  const code = domain.presetShutdownCode >= 0 ? domain.presetShutdownCode : reason;
  if (domain.consoleLine !== "") {
    hv.log.print(`(d${domain.domid}) ${domain.consoleLine}`);
    domain.consoleLine = "";
  }
  domain.shutdownCode = code;
  for (const vcpu of domain.vcpus) vcpu.sleep();
  hv.log.xen(`d${domain.domid} (${domain.name}) ${MESSAGES[code] ?? `shut down for reason ${code}`}`);
  hv.onShutdown(domain);
  hv.endSlice();
}

/**
 * domain_crash: `vcpu` (its core active if it was running) did what a domain may not do. Prints why and the registers in
 * Xen's form and stops the domain.
 */
export function crashDomain(vcpu: Vcpu, why: string): void {
  const domain = vcpu.domain;
  if (domain.isShutDown || domain.isDying) return;
  const hv = domain.hypervisor;
  const lines = [why, `Domain ${domain.domid} (vcpu#${vcpu.id}) crashed on cpu#${vcpu.processor}:`, ...dumpVcpu(vcpu)];
  domain.crashText = lines;
  for (const line of lines) hv.log.xen(line);
  domain.presetShutdownCode = -1;
  shutdownDomain(domain, SHUTDOWN_crash);
}

/** hvm_vcpu_down: the vcpu goes away (VCPUOP_down, HLT with IF clear). The last one to go powers the domain off. */
export function vcpuDown(vcpu: Vcpu): void {
  const domain = vcpu.domain;
  vcpu.pauseFlags |= VPF_DOWN;
  vcpu.sleep();
  domain.hypervisor.endSlice();
  if (domain.vcpus.some((v) => v.isUp)) return;
  domain.hypervisor.log.xen(`d${domain.domid}v${vcpu.id} All CPUs offline -- powering off.`);
  shutdownDomain(domain, SHUTDOWN_poweroff);
}

/** What Xen does when a PV vcpu leaves its engine: one function an EXIT_* code. */
import { EXIT_DEADLINE, EXIT_NAMES } from "../../cpu/core.ts";
import { crashDomain } from "../domain/lifecycle.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { COST_EXIT } from "../hypercalls/costs.ts";

/** Handles the exit `code` of `vcpu`, whose core is active. Never throws for what a guest does. */
export function handlePvExit(vcpu: Vcpu, code: number): void {
  if (code === EXIT_DEADLINE) return;
  vcpu.pv!.checkEvents = true;
  vcpu.domain.exitCounts[code]!++;
  vcpu.charge("exit", COST_EXIT);
  crashDomain(vcpu, `d${vcpu.domain.domid}v${vcpu.id} unexpected exit: ${EXIT_NAMES[code]}`);
}

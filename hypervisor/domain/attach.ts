/** Gives a new domain its event channels and grant tables. */
import { EventChannels } from "../events/channels.ts";
import "../events/hypercall.ts";
import type { Domain } from "./domain.ts";

/** Called once by the constructor of the hypervisor's domains, before any vcpu runs. */
export function attachServices(domain: Domain): void {
  domain.events = new EventChannels(domain);
}

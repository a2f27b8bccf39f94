/** Gives a new domain its event channels and grant tables, and loads the hypercalls on them. */
import { EventChannels } from "../events/channels.ts";
import "../events/hypercall.ts";
import { Grants } from "../grants/grants.ts";
import "../grants/hypercall.ts";
import "../hypercalls/memory-op.ts";
import type { Domain } from "./domain.ts";

const NEWEST_GRANT_VERSION = 2;

/** Called once by the constructor of the hypervisor's domains, before any vcpu runs. */
export function attachServices(domain: Domain): void {
  domain.events = new EventChannels(domain);
  const version = domain.options.maxGrantVersion ?? NEWEST_GRANT_VERSION;
  if (version > 0) domain.grants = new Grants(domain, version);
}

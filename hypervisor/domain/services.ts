/** What a domain needs of event channels and grant tables; events/ and grants/ implement it, create.ts puts it together. */
import type { Vcpu } from "./vcpu.ts";

export interface DomainEvents {
  /** Sends virtual interrupt `virq` (VIRQ_*) to the port that this vcpu has bound to it, if any. */
  sendVirq(vcpu: Vcpu, virq: number): void;
  /** Sends to one of the domain's own ports, as the other end of an interdomain channel would. False: no such open port. */
  notify(port: number): boolean;
  /** Allocates a port, unbound, that `remote` may bind; for the toolstack (console, xenstore). Throws RangeError if none is free. */
  allocateUnbound(remote: number): number;
  /** True if one of `ports` is pending, or does not need to be waited for (SCHEDOP_poll). -errno if a port is bad. */
  pollState(ports: readonly number[]): boolean | number;
  /** The vcpu's vcpu_info has moved: every selector bit that its ABI uses must be set, since bits may have been lost. */
  vcpuInfoMoved(vcpu: Vcpu): void;
  /** Lowest pending and unmasked port, or -1: what SCHEDOP_poll and dumps look at. */
  anyPending(vcpu: Vcpu): boolean;
  /** Closes all ports. */
  destroy(): void;
}

export interface DomainGrants {
  /** Releases every mapping and every frame of the tables. */
  destroy(): void;
}

/** A domain's console, as bytes. Listeners get every byte and may keep them; typed bytes arrive at `atCycle`, at the earliest now. */
export interface DomainConsole {
  onOutput(listener: (bytes: Uint8Array, cycle: number) => void): void;
  input(bytes: Uint8Array, atCycle?: number): void;
}

/** The console as those see it who own its ring. */
export interface ConsoleDaemon extends DomainConsole {
  /** Moves what the guest has written and what waits for it. */
  serve(): void;
  close(): void;
}

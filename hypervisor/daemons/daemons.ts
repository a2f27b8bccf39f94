/**
 * The daemons of the control domain that run outside of any guest: xenstored and xenconsoled, and what the toolstack writes into
 * the store when it makes a domain. One per machine.
 */

import { GNTTAB_RESERVED_CONSOLE, GNTTAB_RESERVED_XENSTORE } from "../abi/grant.ts";
import {
  HVM_PARAM_CONSOLE_EVTCHN,
  HVM_PARAM_CONSOLE_PFN,
  HVM_PARAM_STORE_EVTCHN,
  HVM_PARAM_STORE_PFN,
} from "../abi/hvm.ts";
import { GuestConsole } from "../console/console.ts";
import type { Domain } from "../domain/domain.ts";
import { CONTROL_DOMID } from "../domain/privilege.ts";
import { grantsOf } from "../grants/grants.ts";
import { COPY_BYTES_PER_CYCLE } from "../hypercalls/costs.ts";
import type { Hypervisor } from "../hypervisor.ts";
import type { Client } from "../xenstore/client.ts";
import { removeDomain, writeControlDomain, writeDomain } from "../xenstore/domain-entries.ts";
import { RING_SIZE } from "../xenstore/wire.ts";
import { Xenstore } from "../xenstore/xenstore.ts";
import { BackendEnd } from "./backend-end.ts";

/** What the toolstack knows of a domain besides what the hypervisor does. */
export interface DomainDescription {
  readonly type: "pvh" | "pv" | "hvm";
  /** KiB. */
  readonly memory: number;
  /** KiB. */
  readonly maxMemory: number;
  /** Vcpus online at start. */
  readonly vcpus: number;
}

export class Daemons {
  readonly hypervisor: Hypervisor;
  readonly store: Xenstore;
  /** The toolstack's own connection. */
  readonly client: Client;
  private readonly ends: Map<number, readonly BackendEnd[]> = new Map();
  /** Ports that the control domain has given to its daemons so far. */
  private lastPort = 0;

  constructor(hypervisor: Hypervisor) {
    this.hypervisor = hypervisor;
    this.store = new Xenstore({
      domainExists: (domid) => domid === CONTROL_DOMID || hypervisor.domain(domid) !== null,
      log: (line) => hypervisor.log.print(`xenstored: ${line}`),
    });
    this.client = this.store.client({ name: "toolstack" });
    writeControlDomain(this.client);
  }

  /**
   * Gives a built domain, whose params STORE_PFN and CONSOLE_PFN are set, its event channels, its entries in the store, its ring there and
   * its console. Throws RangeError if it lacks pages or ports.
   */
  introduce(domain: Domain, description: DomainDescription): void {
    const { domid, params } = domain;
    const storeGfn = Number(params[HVM_PARAM_STORE_PFN]!);
    const consoleGfn = Number(params[HVM_PARAM_CONSOLE_PFN]!);
    const store = new BackendEnd(domain, storeGfn, CONTROL_DOMID, ++this.lastPort, "io", () => {
      store.charge(Math.ceil(RING_SIZE / COPY_BYTES_PER_CYCLE));
      this.store.ringOf(domid)?.kick();
    });
    const console = new BackendEnd(domain, consoleGfn, CONTROL_DOMID, ++this.lastPort, "console", () =>
      domain.console?.serve(),
    );
    this.ends.set(domid, [store, console]);
    params[HVM_PARAM_STORE_EVTCHN] = BigInt(store.port);
    params[HVM_PARAM_CONSOLE_EVTCHN] = BigInt(console.port);
    // xc_dom_gnttab_seed: the daemons map the rings by grant, which the guest can see.
    const table = grantsOf(domain)?.table;
    table?.seed(GNTTAB_RESERVED_CONSOLE, CONTROL_DOMID, consoleGfn);
    table?.seed(GNTTAB_RESERVED_XENSTORE, CONTROL_DOMID, storeGfn);
    domain.console = new GuestConsole(this.hypervisor.queue, console);
    writeDomain(this.client, {
      domid,
      name: domain.name,
      uuid: domain.uuid,
      type: description.type,
      memory: description.memory,
      maxMemory: description.maxMemory,
      maxVcpus: domain.options.maxVcpus,
      vcpus: description.vcpus,
      startTime: this.hypervisor.wallclock + this.hypervisor.systemTime() / 1e9,
      store: { port: store.port, gfn: storeGfn },
      console: { port: console.port, gfn: consoleGfn },
    });
    this.store.connect(domid, store);
  }

  /** The domain has shut down or crashed: what it wrote last comes out, watchers of @releaseDomain are told. */
  shutdown(domain: Domain): void {
    domain.console?.serve();
    this.store.domainShutdown(domain.domid);
  }

  /** Before the domain is destroyed: its rings close, its entries go. */
  release(domain: Domain): void {
    domain.console?.close();
    for (const end of this.ends.get(domain.domid) ?? []) end.close();
    this.ends.delete(domain.domid);
    removeDomain(this.client, domain.domid, domain.uuid);
    this.store.domainDestroyed(domain.domid);
  }

  /** Frames of guests that the daemons hold, a reference each; for the audit. */
  frames(): number[] {
    return [...this.ends.values()].flat().flatMap((end) => (end.frame >= 0 ? [end.frame] : []));
  }
}

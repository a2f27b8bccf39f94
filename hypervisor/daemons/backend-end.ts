/**
 * What a daemon of the control domain (xenstored, xenconsoled) holds of a guest's ring: the shared page, kept alive by a
 * reference, and the other end of the guest's event channel.
 *
 * A daemon does not run inside the guest's hypercall. A kick makes it due BACKEND_DELAY cycles later through the machine's
 * event queue, whatever number of kicks come until then: about what waking a process of dom0 takes, the same in every
 * run, and the guest goes on meanwhile. Its work is charged to the hypervisor.
 */
import { noteWrite } from "../../cpu/mmu/memory.ts";
import type { Domain } from "../domain/domain.ts";
import { eventsOf } from "../events/channels.ts";
import { COST_EVENT_SEND } from "../hypercalls/costs.ts";
import type { ChargePath } from "../hypervisor.ts";
import { getOwnFrame, putOwnFrame } from "../memory/guest-access.ts";

/** Cycles between a guest's event and the daemon's work. */
export const BACKEND_DELAY = 5000;
/** Cycles of a daemon's turn besides what it moves. */
export const COST_BACKEND_TURN = 1000;

const PAGE_BYTES = 4096;

export class BackendEnd {
  readonly domain: Domain;
  /** The guest's port. */
  readonly port: number;
  private readonly mfn: number;
  private readonly path: ChargePath;
  private readonly work: () => void;
  /** Handle of the turn that is due, 0 none. */
  private due = 0;
  private isOpen = true;

  /**
   * Opens a port of the guest that leads here and takes a reference to the ring's page. Throws RangeError if the domain has no such
   * page or no free port.
   * @param remotePort number of the other end, as the guest sees it
   */
  constructor(
    domain: Domain,
    gfn: number,
    remoteDomid: number,
    remotePort: number,
    path: ChargePath,
    work: () => void,
  ) {
    this.domain = domain;
    this.path = path;
    this.work = work;
    this.mfn = getOwnFrame(domain, gfn);
    if (this.mfn < 0) throw new RangeError(`domain ${domain.name} has no page at frame ${gfn} for a ring`);
    const events = eventsOf(domain);
    this.port = events.allocateUnbound(remoteDomid);
    events.bindBackend(this.port, remotePort, () => this.wake());
  }

  private get base(): number {
    return this.domain.hypervisor.memory.frame(this.mfn);
  }

  /** Makes the daemon's turn due, if it is not. */
  wake(): void {
    if (this.due !== 0 || !this.isOpen) return;
    const { queue } = this.domain.hypervisor;
    this.due = queue.schedule(queue.now() + BACKEND_DELAY, () => {
      this.due = 0;
      this.charge(COST_BACKEND_TURN);
      this.work();
    });
  }

  charge(cycles: number): void {
    this.domain.hypervisor.chargeXen(this.path, cycles);
  }

  /** Signals the guest; false once it has closed its port. */
  notify(): void {
    if (!this.isOpen) return;
    this.charge(COST_EVENT_SEND);
    eventsOf(this.domain).notify(this.port);
  }

  /** A view of the page. Who writes through it calls `written`. */
  page(): Uint8Array {
    return this.domain.hypervisor.memory.arena.u8.subarray(this.base, this.base + PAGE_BYTES);
  }

  /** Tells the core that bytes of the page have changed. */
  written(offset: number, length: number): void {
    noteWrite(this.domain.hypervisor.xenCore, this.base + offset, length);
  }

  read32(offset: number): number {
    return this.domain.hypervisor.memory.read32(this.base + offset);
  }

  write32(offset: number, value: number): void {
    this.domain.hypervisor.memory.write32(this.base + offset, value);
  }

  read(offset: number, length: number): Uint8Array {
    return this.domain.hypervisor.memory.read(this.base + offset, length);
  }

  write(offset: number, bytes: Uint8Array): void {
    this.domain.hypervisor.memory.write(this.base + offset, bytes);
  }

  /** The frame that is held; for the audit. */
  get frame(): number {
    return this.isOpen ? this.mfn : -1;
  }

  /** The domain goes: gives the page back. */
  close(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.domain.hypervisor.queue.cancel(this.due);
    this.due = 0;
    eventsOf(this.domain).close(this.port, false);
    putOwnFrame(this.domain, this.mfn);
  }
}

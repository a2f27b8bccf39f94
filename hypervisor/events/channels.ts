/**
 * The event channels of a domain (xen/common/event_channel.c): its ports, what binds them together, and the operations on them.
 * Methods that stand for a hypercall of the domain answer a port or 0, or a negated errno; they never throw.
 */
import { EEXIST, EINVAL, ENOENT, ENOSPC, EOPNOTSUPP, EPERM } from "../abi/errno.ts";
import { EVTCHN_FIFO_PRIORITY_DEFAULT } from "../abi/evtchn.ts";
import { NR_VIRQS, VIRQ_DEBUG, VIRQ_TIMER, VIRQ_XENPMU } from "../abi/xen.ts";
import type { Domain } from "../domain/domain.ts";
import type { DomainEvents } from "../domain/services.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import type { EventAbi } from "./abi.ts";
import {
  Channel,
  ECS_FREE,
  ECS_INTERDOMAIN,
  ECS_IPI,
  ECS_PIRQ,
  ECS_RESERVED,
  ECS_UNBOUND,
  ECS_VIRQ,
  type EventConsumer,
} from "./channel.ts";
import { Fifo } from "./fifo.ts";
import { TwoLevel } from "./two-level.ts";

/** Ports come into being in groups of this size; a port of a group that exists is free, any other invalid. */
const EVTCHNS_PER_BUCKET = 64;
/** Event channels of a domain that xl was not told about. */
const DEFAULT_MAX_PORT = 1023;
/** Physical IRQs that a domain may name: the I/O APIC's, and 32 more. */
const NR_PIRQS = 80;
const VIRQ_XENOPROF = 7;
const PER_VCPU_VIRQS: readonly number[] = [VIRQ_TIMER, VIRQ_DEBUG, VIRQ_XENOPROF, VIRQ_XENPMU];

/** virq_is_global: bound once a domain, at first to vcpu 0. */
export const virqIsGlobal = (virq: number): boolean => !PER_VCPU_VIRQS.includes(virq);

export class EventChannels implements DomainEvents {
  readonly domain: Domain;
  readonly maxPort: number;
  /** By port. */
  private readonly channels: Channel[] = [];
  /** Port by vcpu and virq, 0 none. */
  private readonly virqs: Uint32Array;
  private abi: EventAbi;
  private fifo: Fifo | null = null;

  constructor(domain: Domain) {
    this.domain = domain;
    this.maxPort = domain.options.maxEventChannels ?? DEFAULT_MAX_PORT;
    this.virqs = new Uint32Array(domain.vcpus.length * NR_VIRQS);
    this.abi = new TwoLevel(domain);
    this.grow();
    this.channels[0]!.state = ECS_RESERVED;
  }

  /** The channel of a valid port, or null. */
  channel(port: number): Channel | null {
    return this.channels[port] ?? null;
  }

  /** Number of valid ports: those beyond it answer -EINVAL. */
  get validPorts(): number {
    return this.channels.length;
  }

  get usesFifo(): boolean {
    return this.fifo !== null;
  }

  /** Machine frames of the guest that Xen keeps using, a reference each; for the audit. */
  frames(): number[] {
    return this.fifo === null ? [] : [...this.fifo.frames()];
  }

  // --- allocation and binding ------------------------------------------------------------------

  private grow(): void {
    const first = this.channels.length;
    for (let port = first; port < first + EVTCHNS_PER_BUCKET; port++) this.channels.push(new Channel(port));
  }

  /** A free port, or -errno. */
  private freePort(): Channel | number {
    if (this.domain.isDying) return -EINVAL;
    for (let port = 1; port <= this.maxPort && port < this.abi.maxPorts; port++) {
      if (port >= this.channels.length) this.grow();
      const channel = this.channels[port]!;
      if (channel.state === ECS_FREE && !this.abi.isBusy(channel)) return channel;
    }
    return -ENOSPC;
  }

  /** `xsm` says whether the caller may; asked, as in Xen, when a port was found. */
  allocUnbound(remoteDomid: number, xsm: boolean = true): number {
    const channel = this.freePort();
    if (typeof channel === "number") return channel;
    if (!xsm) return -EPERM;
    channel.remoteDomid = remoteDomid;
    return this.open(channel, ECS_UNBOUND);
  }

  private open(channel: Channel, state: number): number {
    channel.state = state;
    this.abi.init(channel);
    return channel.port;
  }

  /** Binds a new port of this domain to `remotePort` of `remote`. */
  bindInterdomain(remote: EventChannels, remotePort: number): number {
    const local = this.freePort();
    if (typeof local === "number") return local;
    const other = remote.channel(remotePort);
    if (other === null || other.state !== ECS_UNBOUND || other.remoteDomid !== this.domain.domid) return -EINVAL;
    // Binding a port to itself: the port found free above is another one, so both ends differ.
    local.remote = remote;
    local.remoteDomid = remote.domain.domid;
    local.remotePort = remotePort;
    other.remote = this;
    other.remoteDomid = this.domain.domid;
    other.remotePort = local.port;
    other.state = ECS_INTERDOMAIN;
    this.open(local, ECS_INTERDOMAIN);
    // What was sent while the remote port was unbound is lost: the new end looks once.
    this.setPending(local);
    return local.port;
  }

  /** Binds a back end of ours, seen by the guest as port `remotePort` of `remoteDomid`, to an unbound port. */
  bindBackend(port: number, remotePort: number, backend: EventConsumer): number {
    const channel = this.channel(port);
    if (channel === null || channel.state !== ECS_UNBOUND) return -EINVAL;
    channel.remotePort = remotePort;
    channel.backend = backend;
    channel.state = ECS_INTERDOMAIN;
    return 0;
  }

  /**
   * alloc_unbound_xen_event_channel: a port of this domain that Xen listens on, for `remote` to bind and send to. The domain
   * itself can neither send, close nor ask for it. @returns the port or -errno.
   */
  allocXen(vcpuId: number, remoteDomid: number, consumer: EventConsumer): number {
    const channel = this.freePort();
    if (typeof channel === "number") return channel;
    channel.xenConsumer = consumer;
    channel.notifyVcpu = vcpuId;
    channel.remoteDomid = remoteDomid;
    return this.open(channel, ECS_UNBOUND);
  }

  bindVirq(virq: number, vcpuId: number): number {
    if (virq >= NR_VIRQS) return -EINVAL;
    if (virqIsGlobal(virq) && vcpuId !== 0) return -EINVAL;
    if (this.domain.vcpu(vcpuId) === null) return -ENOENT;
    if (this.virqs[vcpuId * NR_VIRQS + virq] !== 0) return -EEXIST;
    const channel = this.freePort();
    if (typeof channel === "number") return channel;
    channel.notifyVcpu = vcpuId;
    channel.irq = virq;
    this.virqs[vcpuId * NR_VIRQS + virq] = channel.port;
    return this.open(channel, ECS_VIRQ);
  }

  bindIpi(vcpuId: number): number {
    if (this.domain.vcpu(vcpuId) === null) return -ENOENT;
    const channel = this.freePort();
    if (typeof channel === "number") return channel;
    channel.notifyVcpu = vcpuId;
    return this.open(channel, ECS_IPI);
  }

  /** A physical IRQ: there is no device behind it here, so it never fires. */
  bindPirq(pirq: number): number {
    if (pirq >= NR_PIRQS) return -EINVAL;
    if (this.channels.some((c) => c.state === ECS_PIRQ && c.irq === pirq)) return -EEXIST;
    const channel = this.freePort();
    if (typeof channel === "number") return channel;
    channel.irq = pirq;
    return this.open(channel, ECS_PIRQ);
  }

  bindVcpu(port: number, vcpuId: number): number {
    if (this.domain.vcpu(vcpuId) === null) return -ENOENT;
    const channel = this.channel(port);
    if (channel === null || channel.xenConsumer !== null) return -EINVAL;
    const movable =
      channel.state === ECS_UNBOUND ||
      channel.state === ECS_INTERDOMAIN ||
      channel.state === ECS_PIRQ ||
      (channel.state === ECS_VIRQ && virqIsGlobal(channel.irq));
    if (!movable) return -EINVAL;
    channel.notifyVcpu = vcpuId;
    return 0;
  }

  /** `byGuest`: the domain asks, which may not touch ports of Xen's. */
  close(port: number, byGuest: boolean = true): number {
    const channel = this.channel(port);
    if (channel === null || (channel.xenConsumer !== null && byGuest)) return -EINVAL;
    if (channel.state <= ECS_RESERVED) return -EINVAL;
    if (channel.state === ECS_VIRQ) {
      for (let i = channel.irq; i < this.virqs.length; i += NR_VIRQS) if (this.virqs[i] === port) this.virqs[i] = 0;
    }
    const other = channel.state === ECS_INTERDOMAIN ? channel.remote?.channel(channel.remotePort) : null;
    if (other) {
      other.state = ECS_UNBOUND;
      other.remote = null;
    }
    this.abi.clearPending(channel);
    channel.state = ECS_FREE;
    channel.notifyVcpu = 0;
    channel.remote = null;
    channel.backend = null;
    channel.xenConsumer = null;
    channel.pending = false;
    return 0;
  }

  /** Closes all ports, and goes back to the 2-level ABI (EVTCHNOP_reset). */
  reset(): number {
    for (let port = 1; port < this.channels.length; port++) this.close(port, true);
    if (this.fifo !== null) {
      this.fifo.destroy();
      this.fifo = null;
      this.abi = new TwoLevel(this.domain);
    }
    return 0;
  }

  // --- sending ---------------------------------------------------------------------------------

  /** The domain sends through one of its ports. */
  send(port: number): number {
    const channel = this.channel(port);
    if (channel === null || channel.xenConsumer !== null) return -EINVAL;
    if (channel.state === ECS_IPI) this.setPending(channel);
    else if (channel.state === ECS_INTERDOMAIN) {
      if (channel.backend !== null) channel.backend();
      else channel.remote?.receive(channel.remotePort);
    } else if (channel.state !== ECS_UNBOUND) return -EINVAL;
    return 0;
  }

  /** The other end of `port` has sent. */
  private receive(port: number): void {
    const channel = this.channels[port]!;
    if (channel.xenConsumer !== null) channel.xenConsumer();
    else this.setPending(channel);
  }

  private setPending(channel: Channel): void {
    if (channel.isUsable) this.abi.setPending(this.domain.vcpus[channel.notifyVcpu]!, channel);
  }

  notify(port: number): boolean {
    const channel = this.channel(port);
    if (channel === null || channel.state !== ECS_INTERDOMAIN) return false;
    this.receive(port);
    return true;
  }

  sendVirq(vcpu: Vcpu, virq: number): void {
    const port = this.virqs[(virqIsGlobal(virq) ? 0 : vcpu.id) * NR_VIRQS + virq]!;
    if (port !== 0) this.setPending(this.channels[port]!);
  }

  allocateUnbound(remote: number): number {
    const port = this.allocUnbound(remote);
    if (port < 0) throw new RangeError(`domain ${this.domain.name} has no free event channel`);
    return port;
  }

  // --- the guest's side ------------------------------------------------------------------------

  unmask(port: number): number {
    const channel = this.channel(port);
    if (channel === null) return -EINVAL;
    if (channel.isUsable) this.abi.unmask(this.domain.vcpus[channel.notifyVcpu]!, channel);
    return 0;
  }

  isPending(port: number): boolean {
    const channel = this.channel(port);
    return channel?.isUsable === true && this.abi.isPending(channel);
  }

  isMasked(port: number): boolean {
    const channel = this.channel(port);
    return channel?.isUsable !== true || this.abi.isMasked(channel);
  }

  pollState(ports: readonly number[]): boolean | number {
    for (const port of ports) {
      if (this.channel(port) === null) return -EINVAL;
      if (this.isPending(port)) return true;
    }
    return false;
  }

  anyPending(vcpu: Vcpu): boolean {
    return this.channels.some(
      (c) => c.notifyVcpu === vcpu.id && c.isUsable && this.abi.isPending(c) && !this.abi.isMasked(c),
    );
  }

  /** Everything may be pending now, so that nothing gets lost (map_vcpu_info); the caller raises the upcall. */
  vcpuInfoMoved(vcpu: Vcpu): void {
    const { memory } = this.domain.hypervisor;
    const { pendingSel, wordBytes } = this.domain.layout;
    for (let i = 0; i < wordBytes; i++) memory.write8(vcpu.info + pendingSel + i, 0xff);
  }

  // --- the FIFO ABI ----------------------------------------------------------------------------

  /** EVTCHNOP_init_control: the first one switches the domain to the FIFO ABI. */
  initControl(vcpuId: number, gfn: number, offset: number): number {
    const vcpu = this.domain.vcpu(vcpuId);
    if (vcpu === null) return -ENOENT;
    const bad = Fifo.checkOffset(offset);
    if (bad !== 0) return bad;
    if (this.fifo !== null) return this.fifo.mapControlBlock(vcpu, gfn, offset);
    const fifo = new Fifo(this.domain);
    const rc = fifo.mapControlBlock(vcpu, gfn, offset);
    if (rc !== 0) return rc;
    for (const channel of this.channels) {
      channel.pending = this.abi.isPending(channel);
      channel.priority = EVTCHN_FIFO_PRIORITY_DEFAULT;
      channel.lastVcpu = 0;
      channel.lastPriority = EVTCHN_FIFO_PRIORITY_DEFAULT;
    }
    this.fifo = fifo;
    this.abi = fifo;
    return 0;
  }

  /** EVTCHNOP_expand_array. */
  expandArray(gfn: number): number {
    const { fifo } = this;
    if (fifo === null) return -EOPNOTSUPP;
    const first = fifo.words;
    const rc = fifo.addPage(gfn);
    if (rc !== 0) return rc;
    for (let port = first; port < fifo.words && port < this.channels.length; port++) {
      const channel = this.channels[port]!;
      if (!channel.pending) continue;
      channel.pending = false;
      this.setPending(channel);
    }
    return 0;
  }

  setPriority(port: number, priority: number): number {
    const channel = this.channel(port);
    return channel === null ? -EINVAL : this.abi.setPriority(channel, priority);
  }

  destroy(): void {
    for (let port = 1; port < this.channels.length; port++) this.close(port, false);
    this.abi.destroy();
  }
}

/** The event channels of a domain; every domain that runs has them. */
export function eventsOf(domain: Domain): EventChannels {
  const { events } = domain;
  if (!(events instanceof EventChannels)) throw new Error(`domain ${domain.name} was made without event channels`);
  return events;
}

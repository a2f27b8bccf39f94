/** One event channel: a port of a domain, and what is at its other end (struct evtchn of xen/sched.h). */
import { EVTCHN_FIFO_PRIORITY_DEFAULT } from "../abi/evtchn.ts";
import type { EventChannels } from "./channels.ts";

export const ECS_FREE = 0;
/** Port 0: never used. */
export const ECS_RESERVED = 1;
/** Waits for a domain to bind it. */
export const ECS_UNBOUND = 2;
export const ECS_INTERDOMAIN = 3;
export const ECS_PIRQ = 4;
export const ECS_VIRQ = 5;
export const ECS_IPI = 6;

/** What happens when the other side sends. Must not throw. */
export type EventConsumer = () => void;

export class Channel {
  readonly port: number;
  /** ECS_*. */
  state: number = ECS_FREE;
  /** Vcpu that is told. */
  notifyVcpu = 0;
  /** The domain that may bind (ECS_UNBOUND) or that has bound (ECS_INTERDOMAIN). */
  remoteDomid = 0;
  remotePort = 0;
  /** The remote domain's channels; null while the other end is a back end of the toolstack. */
  remote: EventChannels | null = null;
  /** Back end in TypeScript in place of a remote domain: hears what the guest sends. */
  backend: EventConsumer | null = null;
  /** Set for a port that Xen itself listens on (consumer_is_xen): the guest can't touch it. */
  xenConsumer: EventConsumer | null = null;
  /** VIRQ_* or the number of a physical IRQ. */
  irq = 0;
  /** Pending while its event word is missing (FIFO). */
  pending = false;
  priority: number = EVTCHN_FIFO_PRIORITY_DEFAULT;
  /** Queue that it was linked on last (FIFO). */
  lastVcpu = 0;
  lastPriority: number = EVTCHN_FIFO_PRIORITY_DEFAULT;

  constructor(port: number) {
    this.port = port;
  }

  /** evtchn_usable: in use, and by the guest. */
  get isUsable(): boolean {
    return this.xenConsumer === null && this.state > ECS_RESERVED;
  }
}

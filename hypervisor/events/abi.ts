/** How pending events are told to a guest: the 2-level bitmaps or the FIFO queues (struct evtchn_port_ops of Xen). */
import type { Vcpu } from "../domain/vcpu.ts";
import type { Channel } from "./channel.ts";

export interface EventAbi {
  /** Ports are below this number. */
  readonly maxPorts: number;
  /** A port has come into use. */
  init(channel: Channel): void;
  setPending(vcpu: Vcpu, channel: Channel): void;
  clearPending(channel: Channel): void;
  unmask(vcpu: Vcpu, channel: Channel): void;
  isPending(channel: Channel): boolean;
  isMasked(channel: Channel): boolean;
  /** A free port that can't be used again yet: its event word is still linked. */
  isBusy(channel: Channel): boolean;
  /** @returns 0 or -errno. */
  setPriority(channel: Channel, priority: number): number;
  /** Gives back everything that the ABI holds. */
  destroy(): void;
}

/** Wakes the vcpus that SCHEDOP_poll for `port` (evtchn_check_pollers): those with several ports wake for any. */
export function checkPollers(vcpus: readonly Vcpu[], port: number): void {
  for (const vcpu of vcpus) {
    const ports = vcpu.polling;
    if (ports !== null && (ports.length !== 1 || ports[0] === port)) vcpu.unblock();
  }
}

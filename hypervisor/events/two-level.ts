/**
 * The 2-level ABI (xen/common/event_2l.c): a bit per port in shared_info's pending and mask bitmaps, and in each vcpu_info a
 * selector with a bit per word of the bitmap. Bit n is bit n % 8 of byte n / 8, whatever the guest's word size.
 */
import { ENOSYS } from "../abi/errno.ts";
import type { Domain } from "../domain/domain.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { checkPollers, type EventAbi } from "./abi.ts";
import type { Channel } from "./channel.ts";

export class TwoLevel implements EventAbi {
  private readonly domain: Domain;

  constructor(domain: Domain) {
    this.domain = domain;
  }

  /** 4096 ports, or 1024 for a 32-bit guest. */
  get maxPorts(): number {
    const { wordBytes } = this.domain.layout;
    return wordBytes * wordBytes * 64;
  }

  init(_channel: Channel): void {}

  setPending(vcpu: Vcpu, { port }: Channel): void {
    if (port >= this.maxPorts || this.setBit(this.pendingBits, port)) return;
    if (!this.testBit(this.maskBits, port)) this.select(vcpu, port);
    checkPollers(this.domain.vcpus, port);
  }

  clearPending({ port }: Channel): void {
    if (port < this.maxPorts) this.clearBit(this.pendingBits, port);
  }

  unmask(vcpu: Vcpu, { port }: Channel): void {
    if (port >= this.maxPorts) return;
    if (this.clearBit(this.maskBits, port) && this.testBit(this.pendingBits, port)) this.select(vcpu, port);
  }

  isPending({ port }: Channel): boolean {
    return port < this.maxPorts && this.testBit(this.pendingBits, port);
  }

  isMasked({ port }: Channel): boolean {
    return port >= this.maxPorts || this.testBit(this.maskBits, port);
  }

  isBusy(_channel: Channel): boolean {
    return false;
  }

  setPriority(_channel: Channel, _priority: number): number {
    return -ENOSYS;
  }

  destroy(): void {}

  private get pendingBits(): number {
    return this.domain.sharedInfo + this.domain.layout.evtchnPending;
  }

  private get maskBits(): number {
    return this.domain.sharedInfo + this.domain.layout.evtchnMask;
  }

  private select(vcpu: Vcpu, port: number): void {
    const { pendingSel, wordBytes } = this.domain.layout;
    if (!this.setBit(vcpu.info + pendingSel, Math.floor(port / (wordBytes * 8)))) vcpu.markEventsPending();
  }

  private testBit(at: number, bit: number): boolean {
    return (this.domain.hypervisor.memory.read8(at + (bit >>> 3)) & (1 << (bit & 7))) !== 0;
  }

  /** @returns whether it was set before. */
  private setBit(at: number, bit: number): boolean {
    const { memory } = this.domain.hypervisor;
    const byte = memory.read8(at + (bit >>> 3));
    const mask = 1 << (bit & 7);
    if ((byte & mask) !== 0) return true;
    memory.write8(at + (bit >>> 3), byte | mask);
    return false;
  }

  /** @returns whether it was set before. */
  private clearBit(at: number, bit: number): boolean {
    const { memory } = this.domain.hypervisor;
    const byte = memory.read8(at + (bit >>> 3));
    const mask = 1 << (bit & 7);
    if ((byte & mask) === 0) return false;
    memory.write8(at + (bit >>> 3), byte & ~mask);
    return true;
  }
}

/**
 * The FIFO ABI (xen/common/event_fifo.c): an event word per port in pages of the guest, and in each vcpu's control block the heads
 * of 16 queues, one a priority. Linked words form the queues; Xen adds at the tail, the guest takes from the head.
 *
 * The guest can write all of it at any time. Xen trusts nothing but its own tails: a word is read once, a link is only written
 * to a word that is LINKED at that moment, and the links themselves are never followed. No vcpu runs while the
 * hypervisor works, so what Xen does with compare-and-exchange is a read and a write here.
 */
import { EINVAL, ENOSPC } from "../abi/errno.ts";
import {
  EVTCHN_FIFO_BUSY,
  EVTCHN_FIFO_LINK_MASK,
  EVTCHN_FIFO_LINKED,
  EVTCHN_FIFO_MASKED,
  EVTCHN_FIFO_MAX_QUEUES,
  EVTCHN_FIFO_NR_CHANNELS,
  EVTCHN_FIFO_PENDING,
  EVTCHN_FIFO_PRIORITY_DEFAULT,
  EVTCHN_FIFO_PRIORITY_MIN,
} from "../abi/evtchn.ts";
import type { Domain } from "../domain/domain.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { getOwnFrame, putOwnFrame } from "../memory/guest-access.ts";
import { checkPollers, type EventAbi } from "./abi.ts";
import type { Channel } from "./channel.ts";

const PENDING = (1 << EVTCHN_FIFO_PENDING) >>> 0;
const MASKED = 1 << EVTCHN_FIFO_MASKED;
const LINKED = 1 << EVTCHN_FIFO_LINKED;
const BUSY = 1 << EVTCHN_FIFO_BUSY;
const PAGE_BYTES = 4096;
const WORDS_PER_PAGE = PAGE_BYTES / 4;
const MAX_ARRAY_PAGES = EVTCHN_FIFO_NR_CHANNELS / WORDS_PER_PAGE;
/** evtchn_fifo_control_block: ready, reserved, head[16]. */
const CONTROL_BLOCK_BYTES = 8 + 4 * EVTCHN_FIFO_MAX_QUEUES;
const CONTROL_READY = 0;
const CONTROL_HEAD = 8;

export class Fifo implements EventAbi {
  readonly maxPorts: number = EVTCHN_FIFO_NR_CHANNELS;
  private readonly domain: Domain;
  /** Machine frames of the event array, each with a reference. */
  private readonly arrayMfns: number[] = [];
  /** By vcpu: machine frame of the control block (-1 none yet) and arena address of the block. */
  private readonly controlMfns: Int32Array;
  private readonly controls: Float64Array;
  /** Last port of each queue, by vcpu and priority; 0 none. */
  private readonly tails: Uint32Array;

  constructor(domain: Domain) {
    this.domain = domain;
    this.controlMfns = new Int32Array(domain.vcpus.length).fill(-1);
    this.controls = new Float64Array(domain.vcpus.length);
    this.tails = new Uint32Array(domain.vcpus.length * EVTCHN_FIFO_MAX_QUEUES);
  }

  /** Frames that this ABI holds a reference to. */
  *frames(): Generator<number> {
    yield* this.arrayMfns;
    for (const mfn of this.controlMfns) if (mfn >= 0) yield mfn;
  }

  /** Whether a control block may lie at `offset` of a page: -EINVAL or 0. */
  static checkOffset(offset: number): number {
    return offset > PAGE_BYTES - CONTROL_BLOCK_BYTES || offset % 8 !== 0 ? -EINVAL : 0;
  }

  /** Takes the guest's page as the vcpu's control block; once a vcpu. @returns 0 or -errno. */
  mapControlBlock(vcpu: Vcpu, gfn: number, offset: number): number {
    if (this.controlMfns[vcpu.id] !== -1) return -EINVAL;
    const mfn = getOwnFrame(this.domain, gfn);
    if (mfn < 0) return -EINVAL;
    this.controlMfns[vcpu.id] = mfn;
    this.controls[vcpu.id] = this.domain.hypervisor.memory.frame(mfn) + offset;
    return 0;
  }

  /** Another page for the event array (EVTCHNOP_expand_array). @returns 0 or -errno. */
  addPage(gfn: number): number {
    if (this.arrayMfns.length >= MAX_ARRAY_PAGES) return -ENOSPC;
    const mfn = getOwnFrame(this.domain, gfn);
    if (mfn < 0) return -EINVAL;
    this.arrayMfns.push(mfn);
    return 0;
  }

  /** Ports that have an event word. */
  get words(): number {
    return this.arrayMfns.length * WORDS_PER_PAGE;
  }

  init(channel: Channel): void {
    channel.priority = EVTCHN_FIFO_PRIORITY_DEFAULT;
  }

  setPending(vcpu: Vcpu, channel: Channel): void {
    const { memory } = this.domain.hypervisor;
    const { port } = channel;
    const at = this.wordOf(port);
    if (at < 0) {
      channel.pending = true;
      return;
    }
    const word = memory.read32(at);
    let next = (word | PENDING) >>> 0;
    // Without a control block the guest can't have unmasked anything of value: it is told nothing.
    const link = this.controlMfns[vcpu.id] !== -1 && (word & (MASKED | LINKED)) === 0;
    if (link) next = (next | LINKED) >>> 0;
    memory.write32(at, next);
    if (link) this.append(vcpu, channel);
    if ((word & PENDING) === 0) checkPollers(this.domain.vcpus, port);
  }

  /** Puts a port, LINKED just now, at the end of its queue. */
  private append(vcpu: Vcpu, channel: Channel): void {
    const { memory } = this.domain.hypervisor;
    const { port, priority } = channel;
    const oldQueue = channel.lastVcpu * EVTCHN_FIFO_MAX_QUEUES + channel.lastPriority;
    const queue = vcpu.id * EVTCHN_FIFO_MAX_QUEUES + priority;
    // It was the tail and has been taken: that queue is empty, and appending to its tail would join two queues.
    if (this.tails[oldQueue] === port) this.tails[oldQueue] = 0;
    channel.lastVcpu = vcpu.id;
    channel.lastPriority = priority;
    const tail = this.tails[queue]!;
    this.tails[queue] = port;
    if (tail !== 0 && this.setLink(tail, port)) return;
    const control = this.controls[vcpu.id]!;
    memory.write32(control + CONTROL_HEAD + 4 * priority, port);
    const ready = memory.read32(control + CONTROL_READY);
    if ((ready & (1 << priority)) !== 0) return;
    memory.write32(control + CONTROL_READY, (ready | (1 << priority)) >>> 0);
    vcpu.markEventsPending();
  }

  /** Links `port` behind `tail` unless the guest has taken that one already. */
  private setLink(tail: number, port: number): boolean {
    const { memory } = this.domain.hypervisor;
    const at = this.wordOf(tail);
    if (at < 0) return false;
    const word = memory.read32(at);
    if ((word & LINKED) === 0) return false;
    memory.write32(at, ((word & ~(BUSY | EVTCHN_FIFO_LINK_MASK)) | port) >>> 0);
    return true;
  }

  clearPending({ port }: Channel): void {
    const { memory } = this.domain.hypervisor;
    const at = this.wordOf(port);
    if (at >= 0) memory.write32(at, (memory.read32(at) & ~PENDING) >>> 0);
  }

  unmask(vcpu: Vcpu, channel: Channel): void {
    const { memory } = this.domain.hypervisor;
    const at = this.wordOf(channel.port);
    if (at < 0) return;
    const word = memory.read32(at);
    memory.write32(at, (word & ~MASKED) >>> 0);
    if ((word & PENDING) !== 0) this.setPending(vcpu, channel);
  }

  isPending({ port }: Channel): boolean {
    return this.test(port, PENDING, false);
  }

  isMasked({ port }: Channel): boolean {
    return this.test(port, MASKED, true);
  }

  isBusy({ port }: Channel): boolean {
    return this.test(port, LINKED, false);
  }

  setPriority(channel: Channel, priority: number): number {
    if (priority > EVTCHN_FIFO_PRIORITY_MIN) return -EINVAL;
    channel.priority = priority;
    return 0;
  }

  destroy(): void {
    for (const mfn of this.frames()) putOwnFrame(this.domain, mfn);
    this.arrayMfns.length = 0;
    this.controlMfns.fill(-1);
  }

  private test(port: number, bit: number, absent: boolean): boolean {
    const at = this.wordOf(port);
    return at < 0 ? absent : (this.domain.hypervisor.memory.read32(at) & bit) !== 0;
  }

  /** Arena address of a port's event word, -1 if the array does not reach so far. */
  private wordOf(port: number): number {
    if (port >= this.words) return -1;
    const mfn = this.arrayMfns[Math.floor(port / WORDS_PER_PAGE)]!;
    return this.domain.hypervisor.memory.frame(mfn) + 4 * (port % WORDS_PER_PAGE);
  }
}

// The guest's side of a xenstore ring, for tests: a page, and what Linux' xenbus does with it.
import type { RingConnection, Transport } from "../../../hypervisor/xenstore/ring.ts";
import {
  bytesOf,
  decodeHeader,
  encodeMessage,
  HEADER_SIZE,
  latin1,
  RING_REQ_CONS,
  RING_REQ_PROD,
  RING_RSP_CONS,
  RING_RSP_PROD,
  RING_SIZE,
} from "../../../hypervisor/xenstore/wire.ts";
import type { Xenstore } from "../../../hypervisor/xenstore/xenstore.ts";

export interface Received {
  type: number;
  requestId: number;
  transactionId: number;
  text: string;
}

export class Guest implements Transport {
  readonly bytes: Uint8Array = new Uint8Array(4096);
  readonly view: DataView = new DataView(this.bytes.buffer);
  notified = 0;
  #stream: number[] = [];
  connection!: RingConnection;

  static connect(store: Xenstore, domid: number): Guest {
    const guest = new Guest();
    guest.connection = store.connect(domid, guest);
    return guest;
  }

  page(): Uint8Array {
    return this.bytes;
  }

  notify(): void {
    this.notified++;
  }

  /** Puts as many bytes into the request ring as fit; returns how many. */
  put(bytes: Uint8Array): number {
    const cons = this.view.getUint32(RING_REQ_CONS, true);
    const prod = this.view.getUint32(RING_REQ_PROD, true);
    const count = Math.min(bytes.length, RING_SIZE - ((prod - cons) >>> 0));
    for (let i = 0; i < count; i++) this.bytes[(prod + i) & (RING_SIZE - 1)] = bytes[i]!;
    this.view.setUint32(RING_REQ_PROD, prod + count, true);
    return count;
  }

  /** Takes everything from the response ring into the stream. */
  drain(): number {
    const cons = this.view.getUint32(RING_RSP_CONS, true);
    const prod = this.view.getUint32(RING_RSP_PROD, true);
    const count = (prod - cons) >>> 0;
    for (let i = 0; i < count; i++) this.#stream.push(this.bytes[RING_SIZE + ((cons + i) & (RING_SIZE - 1))]!);
    this.view.setUint32(RING_RSP_CONS, prod, true);
    return count;
  }

  /** Whole messages received so far; fetches until nothing more comes. */
  receive(): Received[] {
    this.drain();
    for (this.connection.kick(); this.drain() > 0; ) this.connection.kick();
    const found: Received[] = [];
    while (this.#stream.length >= HEADER_SIZE) {
      const header = decodeHeader(Uint8Array.from(this.#stream.slice(0, HEADER_SIZE)));
      if (this.#stream.length < HEADER_SIZE + header.length) break;
      const payload = this.#stream.splice(0, HEADER_SIZE + header.length).slice(HEADER_SIZE);
      const { type, requestId, transactionId } = header;
      found.push({ type, requestId, transactionId, text: latin1(Uint8Array.from(payload)) });
    }
    return found;
  }

  /** Sends one message, in pieces if the ring is smaller, and returns all that came back. */
  send(type: number, payload: string, transactionId = 0, requestId = 7): Received[] {
    let rest = encodeMessage(type, requestId, transactionId, bytesOf(payload));
    const found: Received[] = [];
    while (rest.length > 0) {
      rest = rest.subarray(this.put(rest));
      found.push(...this.receive());
    }
    return found;
  }

  /** Payload of the only reply; throws if there are events besides. */
  ask(type: number, payload: string, transactionId = 0): string {
    const found = this.send(type, payload, transactionId);
    if (found.length !== 1) throw new Error(`expected one message, got ${JSON.stringify(found)}`);
    return found[0]!.text;
  }
}

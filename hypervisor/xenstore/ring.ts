// A domain's end of the store: the shared page, struct xenstore_domain_interface of
// io/xs_wire.h. The page belongs to the guest, so every index is read once, checked and
// only then used; whatever it holds, the worst a guest can do is lose its own connection.
import { type Account, Connection } from "./connection.ts";
import { handleRequest } from "./requests.ts";
import * as wire from "./wire.ts";
import type { Xenstore } from "./xenstore.ts";

export interface Transport {
  /** A fresh view of the shared 4 KiB frame (memory may move between calls). */
  page(): Uint8Array;
  /** Signals the domain's event channel. */
  notify(): void;
  /** Told after bytes of the page were changed, so that the owner of memory can honour its bookkeeping. */
  written?(offset: number, length: number): void;
}

/** A privileged domain has no request quota; its requests wait while this many bytes wait for it. */
const PRIVILEGED_BACKLOG = 1 << 20;

/** A request as far as it has arrived. */
export interface PartialRequest {
  header: Uint8Array;
  /** Bytes of the header so far. */
  headerUsed: number;
  payload: Uint8Array | null;
  payloadUsed: number;
}

function emptyRequest(): PartialRequest {
  return { header: new Uint8Array(wire.HEADER_SIZE), headerUsed: 0, payload: null, payloadUsed: 0 };
}

export class RingConnection extends Connection {
  transport: Transport;
  incoming: PartialRequest = emptyRequest();
  readonly #store: Xenstore;
  /** The guest has signalled and its request ring has not been seen empty since. */
  signalled = false;

  constructor(store: Xenstore, account: Account, transport: Transport) {
    super(account);
    this.#store = store;
    this.transport = transport;
  }

  /** The guest has signalled its event channel: takes requests, delivers replies and events as far as the rings allow. */
  kick(): void {
    if (this.ignored) return;
    this.signalled = true;
    this.#store.run();
  }

  /** Starts afresh: no watches, transactions or messages, both rings empty (as INTRODUCE does). */
  reset(): void {
    this.dropWatchesAndTransactions();
    this.dropQueue();
    this.incoming = emptyRequest();
    this.ignored = false;
    this.signalled = false;
    const view = this.#view();
    for (const offset of [wire.RING_REQ_CONS, wire.RING_REQ_PROD, wire.RING_RSP_CONS, wire.RING_RSP_PROD]) {
      view.setUint32(offset, 0, true);
    }
    this.transport.written?.(wire.RING_REQ_CONS, 16);
    if (view.getUint32(wire.RING_CONNECTION, true) === wire.CONNECTION_RECONNECT) {
      view.setUint32(wire.RING_CONNECTION, wire.CONNECTION_CONNECTED, true);
      this.transport.written?.(wire.RING_CONNECTION, 4);
      this.transport.notify();
    }
  }

  override service(): boolean {
    let moved = false;
    for (let more = true; more && !this.ignored; ) {
      more = this.signalled && this.#mayRead() && this.#receive();
      if (!this.ignored && this.queue.length > 0 && this.#transmit()) more = true;
      if (more) moved = true;
    }
    if (moved) this.transport.notify();
    return moved;
  }

  #mayRead(): boolean {
    if (this.privileged) {
      return this.queue.reduce((sum, message) => sum + message.bytes.length, 0) < PRIVILEGED_BACKLOG;
    }
    const { outstanding, memory } = this.#store.database.quotas;
    return this.account.outstanding < outstanding && this.account.memory < memory;
  }

  #view(): DataView {
    const page = this.transport.page();
    return new DataView(page.buffer, page.byteOffset, page.byteLength);
  }

  /** The connection is beyond use: says why in the page and forgets it (xenstored's ignore_connection). */
  #fail(error: number): void {
    this.#view().setUint32(wire.RING_ERROR, error, true);
    this.transport.written?.(wire.RING_ERROR, 4);
    this.incoming = emptyRequest();
    this.#store.ignore(this);
  }

  /** Takes what the request ring offers of the current message and carries it out when whole. False: nothing there. */
  #receive(): boolean {
    const request = this.incoming;
    let took = false;
    if (request.payload === null) {
      const count = this.#take(request.header, request.headerUsed);
      if (count < 0) return true;
      request.headerUsed += count;
      if (request.headerUsed < wire.HEADER_SIZE) return count > 0;
      took = count > 0;
      const { length } = wire.decodeHeader(request.header);
      if (length > wire.PAYLOAD_MAX) {
        this.#fail(wire.RING_ERROR_PROTO);
        return true;
      }
      request.payload = new Uint8Array(length);
    }
    const count = this.#take(request.payload, request.payloadUsed);
    if (count < 0) return true;
    request.payloadUsed += count;
    if (request.payloadUsed < request.payload.length) return took || count > 0;
    this.incoming = emptyRequest();
    handleRequest(this.#store, this, wire.decodeHeader(request.header), request.payload);
    return true;
  }

  /** Moves bytes from the request ring to the rest of `into`. -1: the ring is broken and so is the connection. */
  #take(into: Uint8Array, from: number): number {
    if (from === into.length) return 0;
    const page = this.transport.page();
    const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
    const cons = view.getUint32(wire.RING_REQ_CONS, true);
    const prod = view.getUint32(wire.RING_REQ_PROD, true);
    const filled = (prod - cons) >>> 0;
    if (filled > wire.RING_SIZE) {
      this.#fail(wire.RING_ERROR_RINGIDX);
      return -1;
    }
    if (filled === 0) this.signalled = false;
    const count = Math.min(filled, into.length - from);
    for (let i = 0; i < count; i++) into[from + i] = page[wire.RING_REQ + ((cons + i) & (wire.RING_SIZE - 1))]!;
    if (count > 0) {
      view.setUint32(wire.RING_REQ_CONS, cons + count, true);
      this.transport.written?.(wire.RING_REQ_CONS, 4);
    }
    return count;
  }

  /** Puts what fits of the oldest message into the response ring. False: full. */
  #transmit(): boolean {
    const page = this.transport.page();
    const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
    const cons = view.getUint32(wire.RING_RSP_CONS, true);
    const prod = view.getUint32(wire.RING_RSP_PROD, true);
    const filled = (prod - cons) >>> 0;
    if (filled > wire.RING_SIZE) {
      this.#fail(wire.RING_ERROR_RINGIDX);
      return true;
    }
    const message = this.queue[0]!;
    const count = Math.min(wire.RING_SIZE - filled, message.bytes.length - message.sent);
    if (count === 0) return false;
    for (let i = 0; i < count; i++) {
      page[wire.RING_RSP + ((prod + i) & (wire.RING_SIZE - 1))] = message.bytes[message.sent + i]!;
    }
    message.sent += count;
    this.transport.written?.(wire.RING_RSP, wire.RING_SIZE);
    view.setUint32(wire.RING_RSP_PROD, prod + count, true);
    this.transport.written?.(wire.RING_RSP_PROD, 4);
    if (message.sent === message.bytes.length) this.delivered();
    return true;
  }
}

// One party that talks to the store: a domain through its ring, or the toolstack in
// this process. It holds watches, transactions and the queue of messages to it.
import type { Subject } from "./permissions.ts";
import type { Transaction } from "./transaction.ts";
import { bytesOf, encodeMessage, PAYLOAD_MAX, XS_WATCH_EVENT } from "./wire.ts";

/** What the store keeps of a domain, introduced or merely mentioned in permissions. */
export interface Account {
  readonly domid: number;
  /** Store generation when the domain became known: permissions older than that are not meant for it. */
  generation: number;
  introduced: boolean;
  shutdown: boolean;
  nodes: number;
  watches: number;
  outstanding: number;
  /** Bytes. */
  memory: number;
}

export interface Watch {
  /** Absolute path, or a special event's name. */
  readonly path: string;
  readonly token: string;
  /** Characters of the base to strip from events: 0, or the length of "/local/domain/<domid>". */
  readonly base: number;
}

/** A request whose reply and watch events are on their way; done when all are delivered. */
export interface Request {
  readonly account: Account;
  pending: number;
}

export interface Message {
  readonly bytes: Uint8Array;
  /** Bytes already in the ring. */
  sent: number;
  readonly request: Request | null;
  /** The event, if it is one. */
  readonly event: { readonly path: string; readonly token: string } | null;
}

export abstract class Connection implements Subject {
  readonly domid: number;
  readonly account: Account;
  target: Connection | null = null;
  watches: Watch[] = [];
  readonly transactions: Map<number, Transaction> = new Map();
  nextTransactionId = 1;
  /** Messages not yet delivered, oldest first. */
  queue: Message[] = [];
  /** Broken or closed: takes and gets nothing more. */
  ignored = false;

  constructor(account: Account) {
    this.domid = account.domid;
    this.account = account;
  }

  get privileged(): boolean {
    return this.domid === 0;
  }

  /** Does what can be done now; true if anything moved. Called by the store's own loop only. */
  abstract service(): boolean;

  send(message: Message): void {
    if (this.ignored) return;
    this.account.memory += message.bytes.length;
    if (message.request !== null) message.request.pending++;
    this.queue.push(message);
  }

  /** Takes the oldest message off the queue: it is delivered. */
  delivered(): void {
    const message = this.queue.shift();
    if (message !== undefined) this.#settle(message);
  }

  /** Queues a watch event; one that waits already is not repeated, and a domain over its memory quota gets none. */
  sendEvent(request: Request | null, path: string, token: string, memoryQuota: number): void {
    const length = path.length + token.length + 2;
    if (length > PAYLOAD_MAX) return;
    if (!path.startsWith("@") && this.queue.some((m) => m.event?.path === path && m.event.token === token)) return;
    if (!this.privileged && this.account.memory + length + 16 >= memoryQuota) return;
    const bytes = encodeMessage(XS_WATCH_EVENT, 0, 0, bytesOf(`${path}\0${token}\0`));
    this.send({ bytes, sent: 0, request, event: { path, token } });
  }

  addWatch(watch: Watch): void {
    this.watches.push(watch);
    this.account.watches++;
    this.account.memory += watch.path.length + watch.token.length;
  }

  removeWatch(path: string, token: string): boolean {
    const index = this.watches.findIndex((w) => w.path === path && w.token === token);
    if (index < 0) return false;
    const [watch] = this.watches.splice(index, 1);
    this.account.watches--;
    this.account.memory -= watch!.path.length + watch!.token.length;
    return true;
  }

  dropWatchesAndTransactions(): void {
    for (const watch of this.watches) {
      this.account.watches--;
      this.account.memory -= watch.path.length + watch.token.length;
    }
    this.watches = [];
    this.transactions.clear();
  }

  dropQueue(): void {
    for (const message of this.queue) this.#settle(message);
    this.queue = [];
  }

  #settle(message: Message): void {
    this.account.memory -= message.bytes.length;
    const request = message.request;
    if (request !== null && --request.pending === 0) request.account.outstanding--;
  }
}

// The store daemon: connections, watches and domains around the tree.
//
// Semantics follow C xenstored of Xen 4.17 (a plain `xl` system runs that one). Two of its limits
// are absent because they need a clock of their own: the write rate limit and the 20 s timeout of
// undelivered watch events. Neither changes what a request answers. Connections are served in the
// order they were made and nothing depends on time, so a run repeats exactly.
import { Client, type ClientOptions } from "./client.ts";
import type { Account, Connection, Request, Watch } from "./connection.ts";
import { type Context, Database } from "./database.ts";
import { dumpStore } from "./dump.ts";
import { Operations } from "./operations.ts";
import { canonical, domainPath, isBelow, validPath } from "./path.ts";
import { accessFor, PERM_OWNER, PERM_READ, PERM_WRITE, type Permissions } from "./permissions.ts";
import { DEFAULT_QUOTAS, type Quotas } from "./quotas.ts";
import { RingConnection, type Transport } from "./ring.ts";
import { restoreStore, type StoreState, saveStore } from "./state.ts";
import { Transaction } from "./transaction.ts";
import * as wire from "./wire.ts";
import { EACCES, EEXIST, EINVAL, ENOENT, ENOSPC, type Errno, REL_PATH_MAX } from "./wire.ts";

export interface XenstoreOptions {
  /** Overrides of single quotas. */
  quotas?: Partial<Quotas>;
  /** Whether the hypervisor knows a domain. Without it every real domid (below 0x7ff0) counts as existing. */
  domainExists?: (domid: number) => boolean;
  /** Answers an INTRODUCE from domain 0: the ring of that domain, or null to refuse (EINVAL). */
  introduce?: (domid: number, gfn: number, port: number) => Transport | null;
  /** Told of CONTROL print and of internal inconsistencies. */
  log?: (line: string) => void;
}

const DOMID_FIRST_RESERVED = 0x7ff0;
const NOBODY: Permissions = [{ domid: 0, access: 0, stale: false }];

export class Xenstore {
  readonly database: Database;
  readonly operations: Operations;
  /** In the order they were made, which is the order in which watchers hear of an event. */
  connections: Connection[] = [];
  /** Who hears of @introduceDomain and @releaseDomain. */
  readonly special: Map<string, Permissions> = new Map([
    ["@introduceDomain", NOBODY],
    ["@releaseDomain", NOBODY],
  ]);
  readonly log: (line: string) => void;
  readonly introduceHook: ((domid: number, gfn: number, port: number) => Transport | null) | null;
  /** The request being carried out: events it causes count against its sender until delivered. */
  request: Request | null = null;
  #running = false;

  constructor(options: XenstoreOptions = {}) {
    const exists = options.domainExists ?? ((domid: number): boolean => domid < DOMID_FIRST_RESERVED);
    this.database = new Database({ ...DEFAULT_QUOTAS, ...options.quotas }, exists);
    this.operations = new Operations(this.database, (context, path, exact, now, before) => {
      if (context.transaction !== null) context.transaction.queueEvent(path, exact);
      else this.fire(path, exact, now, before);
    });
    this.log = options.log ?? ((): void => {});
    this.introduceHook = options.introduce ?? null;
    this.database.initialise();
  }

  /**
   * Connects a domain's ring (the effect of INTRODUCE): clears its indices, fires @introduceDomain on the first
   * time. Again for a connected domain: the new transport replaces the old and the connection starts afresh.
   * Throws RangeError for a domid that does not exist.
   */
  connect(domid: number, transport: Transport): RingConnection {
    const account = this.database.account(domid);
    if (account === null) throw new RangeError(`xenstore: domain ${domid} does not exist`);
    let connection = this.ringOf(domid);
    if (connection === null) {
      connection = new RingConnection(this, account, transport);
      this.connections.push(connection);
      account.introduced = true;
      account.shutdown = false;
      if (domid !== 0) this.fire("@introduceDomain", true, null, null);
    } else {
      connection.transport = transport;
    }
    connection.reset();
    this.run();
    return connection;
  }

  /** A connection of the toolstack (domid 0), or of some domain without a ring, inside this process. */
  client(options: ClientOptions = {}): Client {
    const name = options.name ?? null;
    if (name !== null) {
      const known = this.connections.find((c): c is Client => c instanceof Client && c.name === name);
      if (known !== undefined) {
        known.onWatch = options.onWatch ?? known.onWatch;
        this.run();
        return known;
      }
    }
    const account = this.database.account(options.domid ?? 0);
    if (account === null) throw new RangeError(`xenstore: domain ${options.domid} does not exist`);
    const client = new Client(this, account, name, options.onWatch ?? null);
    this.connections.push(client);
    return client;
  }

  /** The domain has shut down or crashed but still exists: @releaseDomain, once. */
  domainShutdown(domid: number): void {
    const account = this.database.accounts.get(domid);
    if (account === undefined || !account.introduced || account.shutdown) return;
    account.shutdown = true;
    this.fire("@releaseDomain", true, null, null);
    this.run();
  }

  /** The domain runs again (after a suspend that was cancelled); its next shutdown is announced again. */
  domainResumed(domid: number): void {
    const account = this.database.accounts.get(domid);
    if (account !== undefined) account.shutdown = false;
  }

  /** The domain is gone (or RELEASEd): its connections end, nodes it owned go, @releaseDomain fires. */
  domainDestroyed(domid: number): void {
    const account = this.database.accounts.get(domid);
    if (account === undefined || domid === 0) return;
    for (const connection of this.connections) if (connection.domid === domid) this.#end(connection);
    this.connections = this.connections.filter((c) => c.domid !== domid);
    for (const other of this.connections) if (other.target?.domid === domid) other.target = null;
    this.operations.removeOwnedBy(domid);
    for (const [name, permissions] of this.special) {
      const rest = permissions.filter((p, i) => i === 0 || p.domid !== domid);
      const owner = rest[0]!;
      this.special.set(name, owner.domid === domid ? [{ ...owner, domid: 0 }, ...rest.slice(1)] : rest);
    }
    this.database.accounts.delete(domid);
    // Nothing written so far is meant for a successor of the same number.
    this.database.generation++;
    if (account.introduced) this.fire("@releaseDomain", true, null, null);
    this.run();
  }

  /** The store as `xenstore-ls -fp` prints it: a line per node, without the root. */
  dump(): string {
    return dumpStore(this.database);
  }

  /** Everything, as a value that JSON can carry. */
  save(): StoreState {
    return saveStore(this);
  }

  /**
   * Replaces everything with a saved state. Rings are found again through transportFor (null: that connection
   * is dropped); clients by their name, when the toolstack asks for them with client({name}).
   */
  restore(state: StoreState, transportFor: (domid: number) => Transport | null): void {
    restoreStore(this, state, transportFor);
  }

  ringOf(domid: number): RingConnection | null {
    return this.connections.find((c): c is RingConnection => c instanceof RingConnection && c.domid === domid) ?? null;
  }

  /** Serves connections until nothing moves. Does nothing if it is already at it further up the stack. */
  run(): void {
    if (this.#running) return;
    this.#running = true;
    try {
      for (let moved = true; moved; ) {
        moved = false;
        for (const connection of [...this.connections]) if (connection.service()) moved = true;
      }
    } finally {
      this.#running = false;
    }
  }

  /** Ends a connection's dealings but leaves its entry, as for a client that broke the protocol. */
  ignore(connection: Connection): void {
    this.#end(connection);
  }

  close(connection: Connection): void {
    this.#end(connection);
    this.connections = this.connections.filter((c) => c !== connection);
    this.run();
  }

  #end(connection: Connection): void {
    connection.ignored = true;
    connection.dropWatchesAndTransactions();
    connection.dropQueue();
  }

  // --- watches ---------------------------------------------------------------------------

  /** Sends an event to every watch that matches and whose holder may know. */
  fire(path: string, exact: boolean, now: Permissions | null, before: Permissions | null): void {
    const special = path.startsWith("@") ? (this.special.get(path) ?? null) : null;
    for (const connection of this.connections) {
      if (connection.watches.length === 0) continue;
      const hears =
        special !== null
          ? (accessFor(connection, special) & PERM_READ) !== 0
          : this.operations.hears({ subject: connection, transaction: null }, path, now, before);
      if (!hears) continue;
      for (const watch of connection.watches) {
        if (exact ? path === watch.path : isBelow(path, watch.path)) this.#send(this.request, connection, watch, path);
      }
    }
  }

  #send(request: Request | null, connection: Connection, watch: Watch, path: string): void {
    let shown = path.slice(watch.base);
    if (watch.base > 0 && shown.startsWith("/")) shown = shown.slice(1);
    connection.sendEvent(request, shown, watch.token, this.database.quotas.memory);
  }

  /** Registers a watch; its first event is sent by firstEvent(), after the reply. */
  watch(connection: Connection, wpath: string, token: string): Watch | Errno {
    let path = wpath;
    let base = 0;
    if (wpath.startsWith("@")) {
      if (wpath.length > REL_PATH_MAX) return EINVAL;
    } else {
      path = canonical(wpath, connection.domid);
      if (!wpath.startsWith("/")) base = domainPath(connection.domid).length;
      if (!validPath(path)) return EINVAL;
    }
    if (connection.watches.some((w) => w.path === path && w.token === token)) return EEXIST;
    const { account } = connection;
    const { watches, memory } = this.database.quotas;
    if (!connection.privileged) {
      if (account.watches > watches) return wire.E2BIG;
      if (account.memory + path.length + token.length >= memory) return wire.ENOMEM;
    }
    const watch: Watch = { path, token, base };
    connection.addWatch(watch);
    return watch;
  }

  firstEvent(connection: Connection, watch: Watch): void {
    this.#send(null, connection, watch, watch.path);
  }

  unwatch(connection: Connection, wpath: string, token: string): Errno {
    return connection.removeWatch(canonical(wpath, connection.domid), token) ? 0 : ENOENT;
  }

  /** Permissions of the special events. */
  setSpecialPermissions(connection: Connection, name: string, permissions: Permissions): Errno {
    const current = this.special.get(name);
    if (current === undefined) return EINVAL;
    const wanted = PERM_WRITE | PERM_OWNER;
    if ((accessFor(connection, current) & wanted) !== wanted) return EACCES;
    this.special.set(name, permissions);
    return 0;
  }

  /** Marks entries of domains that do not exist; ENOENT if the owner is one. */
  checkNewPermissions(permissions: Permissions): Permissions | Errno {
    const checked = permissions.map((p) => (this.database.account(p.domid) === null ? { ...p, stale: true } : p));
    return checked[0]!.stale ? ENOENT : checked;
  }

  // --- transactions ----------------------------------------------------------------------

  /** A new transaction's id, or a negative errno. */
  startTransaction(connection: Connection): number {
    const open = connection.transactions;
    if (!connection.privileged && open.size > this.database.quotas.transactions) return -ENOSPC;
    while (connection.nextTransactionId === 0 || open.has(connection.nextTransactionId)) {
      connection.nextTransactionId = (connection.nextTransactionId + 1) >>> 0;
    }
    const id = connection.nextTransactionId;
    connection.nextTransactionId = (id + 1) >>> 0;
    this.database.generation++;
    open.set(id, new Transaction(id));
    return id;
  }

  /** Ends a transaction, whatever the outcome. */
  endTransaction(connection: Connection, transaction: Transaction, commit: boolean): Errno {
    connection.transactions.delete(transaction.id);
    if (!commit) return 0;
    return this.database.commit(connection, transaction, (path, exact, before) => this.fire(path, exact, null, before));
  }

  context(connection: Connection, transaction: Transaction | null): Context {
    return { subject: connection, transaction };
  }

  /** The account a request of this connection is charged to, null for domain 0, which has no limits. */
  beginRequest(account: Account, privileged: boolean): Request | null {
    return privileged ? null : { account, pending: 0 };
  }
}

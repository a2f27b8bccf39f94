// The store from inside this process, for the toolstack. Errors of the protocol are
// thrown as XenstoreError: here the caller is our own code, not a guest.
import { type Account, Connection } from "./connection.ts";
import { canonical } from "./path.ts";
import { formatPermission, PERM_READ, type Permission, parsePermission } from "./permissions.ts";
import type { Transaction } from "./transaction.ts";
import { bytesOf, EAGAIN, EINVAL, ENOENT, type Errno, errorName, latin1, PAYLOAD_MAX } from "./wire.ts";
import type { Xenstore } from "./xenstore.ts";

/** Called with the path that changed (relative if the watch was) and the watch's token. */
export type WatchListener = (path: string, token: string) => void;

export interface ClientOptions {
  /** Whose rights the connection has; 0 if absent. */
  domid?: number;
  /** A name makes the connection findable again after restore. */
  name?: string;
  /** Gets events of watches that have no listener of their own. */
  onWatch?: WatchListener;
}

export class XenstoreError extends Error {
  /** "ENOENT" and the like. */
  readonly code: string;
  readonly errno: Errno;

  constructor(errno: Errno, operation: string, path: string) {
    super(`xenstore ${operation} ${path}: ${errorName(errno)}`);
    this.name = "XenstoreError";
    this.code = errorName(errno);
    this.errno = errno;
  }
}

/** Reads and writes, directly or inside a transaction. Paths are absolute or relative to /local/domain/<domid>. */
export class StoreView {
  readonly #store: Xenstore;
  readonly #connection: Connection;
  readonly #transaction: Transaction | null;

  constructor(store: Xenstore, connection: Connection, transaction: Transaction | null) {
    this.#store = store;
    this.#connection = connection;
    this.#transaction = transaction;
  }

  /** The value's bytes, or null if there is no such node. */
  readBytes(path: string): Uint8Array | null {
    const value = this.#do((p) => this.#store.operations.read(this.#context(), p), path);
    if (typeof value !== "number") return value.slice();
    if (value === ENOENT) return null;
    throw new XenstoreError(value, "read", path);
  }

  /** The value as a string, one character a byte, or null if there is no such node. */
  read(path: string): string | null {
    const value = this.readBytes(path);
    return value === null ? null : latin1(value);
  }

  write(path: string, value: string | Uint8Array | number): void {
    const bytes = value instanceof Uint8Array ? value.slice() : bytesOf(`${value}`);
    if (path.length + 1 + bytes.length > PAYLOAD_MAX) throw new XenstoreError(EINVAL, "write", path);
    this.#must("write", path, (p) => this.#store.operations.write(this.#context(), p, bytes));
  }

  mkdir(path: string): void {
    this.#must("mkdir", path, (p) => this.#store.operations.mkdir(this.#context(), p));
  }

  /** Removes the node and all below; nothing there is fine if its parent exists. */
  rm(path: string): void {
    this.#must("rm", path, (p) => this.#store.operations.remove(this.#context(), p));
  }

  /** Names of the children, oldest first, or null if there is no such node. */
  ls(path: string): string[] | null {
    const node = this.#do((p) => this.#store.operations.lookup(this.#context(), p, PERM_READ), path);
    if (typeof node !== "number") return [...node.children];
    if (node === ENOENT) return null;
    throw new XenstoreError(node, "ls", path);
  }

  /** "n0", "r3", ... or null if there is no such node. */
  getPerms(path: string): string[] | null {
    const node = this.#do((p) => this.#store.operations.lookup(this.#context(), p, PERM_READ), path);
    if (typeof node !== "number") return node.permissions.map(formatPermission);
    if (node === ENOENT) return null;
    throw new XenstoreError(node, "getPerms", path);
  }

  /** First the owner with everybody's access, then single domains: setPerms(path, ["n0", "r3"]). */
  setPerms(path: string, permissions: readonly string[]): void {
    const parsed: Permission[] = [];
    for (const text of permissions) {
      const permission = parsePermission(text);
      if (permission === null) throw new XenstoreError(EINVAL, "setPerms", path);
      parsed.push(permission);
    }
    if (parsed.length === 0) throw new XenstoreError(EINVAL, "setPerms", path);
    const checked = this.#store.checkNewPermissions(parsed);
    if (typeof checked === "number") throw new XenstoreError(checked, "setPerms", path);
    this.#must("setPerms", path, (p) =>
      p.startsWith("@")
        ? this.#store.setSpecialPermissions(this.#connection, p, checked)
        : this.#store.operations.setPermissions(this.#context(), p, checked),
    );
  }

  #context(): { subject: Connection; transaction: Transaction | null } {
    return { subject: this.#connection, transaction: this.#transaction };
  }

  #do<T>(run: (path: string) => T, path: string): T {
    const result = run(canonical(path, this.#connection.domid));
    this.#store.run();
    return result;
  }

  #must(operation: string, path: string, run: (path: string) => Errno): void {
    const errno = this.#do(run, path);
    if (errno !== 0) throw new XenstoreError(errno, operation, path);
  }
}

/** An open transaction. */
export class ClientTransaction extends StoreView {
  readonly #store: Xenstore;
  readonly #connection: Connection;
  readonly #transaction: Transaction;

  constructor(store: Xenstore, connection: Connection, transaction: Transaction) {
    super(store, connection, transaction);
    this.#store = store;
    this.#connection = connection;
    this.#transaction = transaction;
  }

  get id(): number {
    return this.#transaction.id;
  }

  /** True: done. False: something it had read has changed meanwhile (EAGAIN); start over. */
  commit(): boolean {
    const errno = this.#end(true);
    if (errno !== 0 && errno !== EAGAIN) throw new XenstoreError(errno, "commit", "");
    return errno === 0;
  }

  abort(): void {
    this.#end(false);
  }

  #end(commit: boolean): Errno {
    if (this.#connection.transactions.get(this.id) !== this.#transaction) return ENOENT;
    const errno = this.#store.endTransaction(this.#connection, this.#transaction, commit);
    this.#store.run();
    return errno;
  }
}

/** Tries of Client.transact() before it gives up with EAGAIN. */
const TRIES = 32;

export class Client extends Connection {
  readonly name: string | null;
  onWatch: WatchListener | null;
  readonly view: StoreView;
  readonly #store: Xenstore;
  /** Listeners by token. */
  readonly #listeners: Map<string, WatchListener> = new Map();

  constructor(store: Xenstore, account: Account, name: string | null, onWatch: WatchListener | null) {
    super(account);
    this.#store = store;
    this.name = name;
    this.onWatch = onWatch;
    this.view = new StoreView(store, this, null);
  }

  read(path: string): string | null {
    return this.view.read(path);
  }

  readBytes(path: string): Uint8Array | null {
    return this.view.readBytes(path);
  }

  write(path: string, value: string | Uint8Array | number): void {
    this.view.write(path, value);
  }

  mkdir(path: string): void {
    this.view.mkdir(path);
  }

  rm(path: string): void {
    this.view.rm(path);
  }

  ls(path: string): string[] | null {
    return this.view.ls(path);
  }

  getPerms(path: string): string[] | null {
    return this.view.getPerms(path);
  }

  setPerms(path: string, permissions: readonly string[]): void {
    this.view.setPerms(path, permissions);
  }

  /** Watches a path or special event; fires once at once. Events come after the operation that caused them. */
  watch(path: string, token: string, listener?: WatchListener): void {
    const watch = this.#store.watch(this, path, token);
    if (typeof watch === "number") throw new XenstoreError(watch, "watch", path);
    if (listener !== undefined) this.#listeners.set(token, listener);
    this.#store.firstEvent(this, watch);
    this.#store.run();
  }

  /** Gives the watches with this token a listener, say after restore. */
  listen(token: string, listener: WatchListener): void {
    this.#listeners.set(token, listener);
    this.#store.run();
  }

  unwatch(path: string, token: string): void {
    const errno = this.#store.unwatch(this, path, token);
    if (errno !== 0) throw new XenstoreError(errno, "unwatch", path);
    if (!this.watches.some((w) => w.token === token)) this.#listeners.delete(token);
  }

  transaction(): ClientTransaction {
    const id = this.#store.startTransaction(this);
    if (id < 0) throw new XenstoreError(-id, "transaction", "");
    return new ClientTransaction(this.#store, this, this.transactions.get(id)!);
  }

  /** Runs `body` in a transaction, again if it conflicts. An exception aborts it. */
  transact<T>(body: (transaction: ClientTransaction) => T): T {
    for (let i = 0; i < TRIES; i++) {
      const transaction = this.transaction();
      let result: T;
      try {
        result = body(transaction);
      } catch (error) {
        transaction.abort();
        throw error;
      }
      if (transaction.commit()) return result;
    }
    throw new XenstoreError(EAGAIN, "transact", "");
  }

  close(): void {
    this.#store.close(this);
  }

  /** Hands queued events to their listeners. Without a listener they wait (a restored client not yet asked for). */
  override service(): boolean {
    let moved = false;
    while (this.queue.length > 0 && !this.ignored) {
      const event = this.queue[0]!.event!;
      const listener = this.#listeners.get(event.token) ?? this.onWatch;
      if (listener === null) return moved;
      this.delivered();
      moved = true;
      listener(event.path, event.token);
    }
    return moved;
  }
}

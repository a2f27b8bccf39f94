// The tree, seen through a transaction or directly, and what each domain owns in it.
// Nothing here knows of paths' syntax, rings or watches.
import type { Account } from "./connection.ts";
import { EMPTY, NO_GENERATION, type Node, recordSize } from "./node.ts";
import type { Permission, Permissions, Subject } from "./permissions.ts";
import type { Quotas } from "./quotas.ts";
import type { Access, Transaction } from "./transaction.ts";
import { EAGAIN, ENOENT, ENOMEM, ENOSPC, type Errno } from "./wire.ts";

/** Who asks, and in which transaction; subject null is the store itself. */
export interface Context {
  readonly subject: Subject | null;
  readonly transaction: Transaction | null;
}

export const STORE_ITSELF: Context = { subject: null, transaction: null };

function limited(context: Context): boolean {
  return context.subject !== null && !context.subject.privileged;
}

export class Database {
  readonly nodes: Map<string, Node> = new Map();
  readonly accounts: Map<number, Account> = new Map();
  generation = 0;
  readonly quotas: Quotas;
  readonly #domainExists: (domid: number) => boolean;

  constructor(quotas: Quotas, domainExists: (domid: number) => boolean) {
    this.quotas = quotas;
    this.#domainExists = domainExists;
  }

  /** The nodes that a freshly started xenstored has, all of domain 0. */
  initialise(): void {
    const permissions: Permissions = [{ domid: 0, access: 0, stale: false }];
    const add = (path: string, children: readonly string[]): void => {
      this.#put(path, { generation: ++this.generation, value: EMPTY, permissions, children });
      this.countEntry(STORE_ITSELF, 0, 1);
    };
    this.account(0);
    add("/", ["tool"]);
    add("/tool", ["xenstored"]);
    add("/tool/xenstored", []);
  }

  /** The account of a domain, made on first mention; null if there is no such domain. */
  account(domid: number): Account | null {
    let account = this.accounts.get(domid);
    if (account === undefined) {
      if (domid !== 0 && !this.#domainExists(domid)) return null;
      const generation = domid === 0 ? 0 : this.generation;
      account = {
        domid,
        generation,
        introduced: false,
        shutdown: false,
        nodes: 0,
        watches: 0,
        outstanding: 0,
        memory: 0,
      };
      this.accounts.set(domid, account);
    }
    return account;
  }

  /** Entries for domains that do not exist (any more, or not yet when the node was written) become stale. */
  checked(permissions: Permissions, generation: number): Permissions {
    const valid = (p: Permission): boolean => {
      if (p.stale) return true;
      const account = this.accounts.get(p.domid);
      return account !== undefined && account.generation <= generation;
    };
    if (permissions.every((p, i) => i === 0 || valid(p))) return permissions;
    return permissions.map((p, i) => (i === 0 || valid(p) ? p : { ...p, stale: true }));
  }

  /** The node, or ENOENT; ENOSPC when a transaction may not touch more nodes. */
  read(context: Context, path: string): Node | Errno {
    const { transaction } = context;
    if (transaction === null) return this.#shared(path) ?? ENOENT;
    const access = this.#access(context, transaction, path);
    return typeof access === "number" ? access : (access.node ?? ENOENT);
  }

  /** Writes a node as the transaction's version or for all to see; it gets a new generation. */
  write(context: Context, path: string, changed: Omit<Node, "generation">, unlimited: boolean): Errno {
    const { transaction } = context;
    const generation = ++this.generation;
    const node: Node = { ...changed, permissions: this.checked(changed.permissions, generation), generation };
    let failure: Errno = 0;
    if (!unlimited && limited(context) && recordSize(node) >= this.quotas.nodeSize) failure = ENOSPC;
    if (transaction !== null) {
      const access = this.#access(context, transaction, path);
      if (typeof access === "number") return access;
      access.modified = true;
      if (failure === 0) access.node = node;
      else transaction.failed = true;
      return failure;
    }
    if (failure === 0 && !unlimited && !this.#memoryAllows(path, node)) failure = ENOMEM;
    if (failure === 0) this.#put(path, node);
    return failure;
  }

  /** Removes the record of a node; its parent's list of children is the caller's business. */
  remove(context: Context, path: string): Errno {
    const { transaction } = context;
    this.generation++;
    if (transaction === null) {
      this.#delete(path);
      return 0;
    }
    const access = this.#access(context, transaction, path);
    if (typeof access === "number") return access;
    access.modified = true;
    access.node = null;
    return 0;
  }

  /** One node more or less in a domain's account; ENOMEM if there is no such domain. */
  countEntry(context: Context, domid: number, by: number): Errno {
    if (context.transaction !== null) {
      context.transaction.countEntry(domid, by);
      return 0;
    }
    const account = this.account(domid);
    if (account === null) return ENOMEM;
    account.nodes += by;
    return 0;
  }

  /** Nodes counted against the caller; what a transaction adds counts at its commit. */
  entriesOf(context: Context): number {
    return limited(context) ? (this.accounts.get(context.subject!.domid)?.nodes ?? 0) : 0;
  }

  /**
   * Commits: checks quotas, then that every node taken is unchanged, then makes the changes visible in
   * order of first access, calling changed() after each that wants an event.
   */
  commit(
    subject: Subject,
    transaction: Transaction,
    changed: (path: string, exact: boolean, before: Permissions | null) => void,
  ): Errno {
    if (transaction.failed) return ENOMEM;
    const checkQuota = transaction.createdNode && !subject.privileged;
    for (const [domid, delta] of transaction.entryDelta) {
      const account = this.account(domid);
      if (account === null) return ENOMEM;
      if (checkQuota && domid !== 0 && account.nodes + delta >= this.quotas.nodes) return ENOSPC;
    }
    for (const [path, access] of transaction.accessed) {
      if ((this.nodes.get(path)?.generation ?? NO_GENERATION) !== access.generation) return EAGAIN;
    }
    for (const [domid, delta] of transaction.entryDelta) this.accounts.get(domid)!.nodes += delta;
    for (const [path, access] of transaction.accessed) {
      if (!access.modified) continue;
      if (access.node !== null) this.#put(path, { ...access.node, generation: ++this.generation });
      else if (access.generation !== NO_GENERATION) this.#delete(path);
      if (access.event !== "none") changed(path, access.event === "exact", access.permissions);
    }
    return 0;
  }

  /** Puts back a node of a saved store, generation and all. */
  load(path: string, node: Node): void {
    this.#put(path, node);
  }

  #shared(path: string): Node | null {
    const node = this.nodes.get(path);
    if (node === undefined) return null;
    const permissions = this.checked(node.permissions, node.generation);
    return permissions === node.permissions ? node : { ...node, permissions };
  }

  #access(context: Context, transaction: Transaction, path: string): Access | Errno {
    const known = transaction.accessed.get(path);
    if (known !== undefined) return known;
    if (limited(context) && transaction.accessed.size >= this.quotas.transactionNodes) {
      transaction.failed = true;
      return ENOSPC;
    }
    return transaction.take(path, this.#shared(path));
  }

  #weight(path: string, node: Node): number {
    return path.length + recordSize(node);
  }

  #memoryAllows(path: string, node: Node): boolean {
    const owner = node.permissions[0]!.domid;
    const account = this.accounts.get(owner);
    if (owner === 0 || account === undefined) return true;
    const old = this.nodes.get(path);
    const freed = old !== undefined && old.permissions[0]!.domid === owner ? this.#weight(path, old) : 0;
    return account.memory + this.#weight(path, node) - freed < this.quotas.memory;
  }

  #put(path: string, node: Node): void {
    this.#forget(path);
    this.nodes.set(path, node);
    const account = this.accounts.get(node.permissions[0]!.domid);
    if (account !== undefined) account.memory += this.#weight(path, node);
  }

  #delete(path: string): void {
    this.#forget(path);
    this.nodes.delete(path);
  }

  #forget(path: string): void {
    const old = this.nodes.get(path);
    if (old === undefined) return;
    const account = this.accounts.get(old.permissions[0]!.domid);
    if (account !== undefined) account.memory -= this.#weight(path, old);
  }
}

// A transaction: the nodes it has touched, in order of first touch. A node is taken
// into the transaction when first read, with its generation; commit fails with
// EAGAIN if any of them has changed since. Transactions over different nodes merge.
// (C xenstored 4.17 does the same; every modification reads its node first, so two
// transactions that create children of one directory conflict, as they do there.)
import { NO_GENERATION, type Node } from "./node.ts";
import type { Permissions } from "./permissions.ts";

export interface Access {
  /** Generation when first read, NO_GENERATION if there was no such node. */
  readonly generation: number;
  /** Permissions when first read: a watcher who could read the node then learns of its end. */
  readonly permissions: Permissions | null;
  /** The transaction's own version; null: no such node. */
  node: Node | null;
  modified: boolean;
  /** Event due at commit: only for watches on this very node, or for those above it too. */
  event: "none" | "exact" | "subtree";
}

export class Transaction {
  readonly id: number;
  readonly accessed: Map<string, Access> = new Map();
  /** Change of each domain's node count at commit. */
  readonly entryDelta: Map<number, number> = new Map();
  createdNode = false;
  /** An operation inside failed half-way: commit answers ENOMEM. */
  failed = false;

  constructor(id: number) {
    this.id = id;
  }

  /** Takes a node of the shared tree into the transaction. */
  take(path: string, node: Node | null): Access {
    const access: Access = {
      generation: node === null ? NO_GENERATION : node.generation,
      permissions: node === null ? null : node.permissions,
      node,
      modified: false,
      event: "none",
    };
    this.accessed.set(path, access);
    return access;
  }

  /** Notes an event for commit; one that also reaches watches above replaces an exact one, never the reverse. */
  queueEvent(path: string, exact: boolean): void {
    const access = this.accessed.get(path);
    if (access === undefined) this.failed = true;
    else if (!exact) access.event = "subtree";
    else if (access.event === "none") access.event = "exact";
  }

  countEntry(domid: number, by: number): void {
    this.entryDelta.set(domid, (this.entryDelta.get(domid) ?? 0) + by);
  }
}

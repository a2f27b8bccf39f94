// Save and restore. The state is made of strings, numbers, booleans, arrays and plain
// objects only; bytes are strings of one character a byte.
import { Client } from "./client.ts";
import type { Account, Connection, Request, Watch } from "./connection.ts";
import type { Node } from "./node.ts";
import type { Permission } from "./permissions.ts";
import type { Quotas } from "./quotas.ts";
import { RingConnection, type Transport } from "./ring.ts";
import { type Access, Transaction } from "./transaction.ts";
import { bytesOf, latin1 } from "./wire.ts";
import type { Xenstore } from "./xenstore.ts";

export interface NodeState {
  generation: number;
  value: string;
  permissions: Permission[];
  children: string[];
}

export interface ConnectionState {
  kind: "ring" | "client";
  domid: number;
  name: string | null;
  /** Domid whose rights it has besides its own, or null. */
  target: number | null;
  ignored: boolean;
  watches: Watch[];
  nextTransactionId: number;
  transactions: {
    id: number;
    createdNode: boolean;
    failed: boolean;
    entryDelta: [number, number][];
    accessed: [
      string,
      Omit<Access, "node" | "permissions"> & { node: NodeState | null; permissions: Permission[] | null },
    ][];
  }[];
  /** Messages to it; request is an index into StoreState.requests. */
  queue: { bytes: string; sent: number; request: number | null; event: { path: string; token: string } | null }[];
  incoming: { header: string; headerUsed: number; payload: string | null; payloadUsed: number } | null;
  signalled: boolean;
}

export interface StoreState {
  version: 1;
  generation: number;
  quotas: Quotas;
  nodes: [string, NodeState][];
  accounts: Account[];
  special: [string, Permission[]][];
  /** Senders (domids) of the requests that messages still wait for. */
  requests: number[];
  connections: ConnectionState[];
}

function saveNode(node: Node): NodeState {
  const { generation, value, permissions, children } = node;
  return { generation, value: latin1(value), permissions: permissions.map((p) => ({ ...p })), children: [...children] };
}

function loadNode(state: NodeState): Node {
  const { generation, value, permissions, children } = state;
  return {
    generation,
    value: bytesOf(value),
    permissions: permissions.map((p) => ({ ...p })),
    children: [...children],
  };
}

function saveTransaction(transaction: Transaction): ConnectionState["transactions"][number] {
  return {
    id: transaction.id,
    createdNode: transaction.createdNode,
    failed: transaction.failed,
    entryDelta: [...transaction.entryDelta],
    accessed: [...transaction.accessed].map(([path, access]) => [
      path,
      {
        generation: access.generation,
        modified: access.modified,
        event: access.event,
        permissions: access.permissions === null ? null : access.permissions.map((p) => ({ ...p })),
        node: access.node === null ? null : saveNode(access.node),
      },
    ]),
  };
}

function loadTransaction(state: ConnectionState["transactions"][number]): Transaction {
  const transaction = new Transaction(state.id);
  transaction.createdNode = state.createdNode;
  transaction.failed = state.failed;
  for (const [domid, delta] of state.entryDelta) transaction.entryDelta.set(domid, delta);
  for (const [path, { node, ...access }] of state.accessed) {
    transaction.accessed.set(path, { ...access, node: node === null ? null : loadNode(node) });
  }
  return transaction;
}

export function saveStore(store: Xenstore): StoreState {
  const { database } = store;
  const requests: Request[] = [];
  const requestIndex = (request: Request | null): number | null => {
    if (request === null) return null;
    const known = requests.indexOf(request);
    return known >= 0 ? known : requests.push(request) - 1;
  };
  const connections = store.connections
    .filter((c) => c instanceof RingConnection || (c instanceof Client && c.name !== null))
    .map((connection): ConnectionState => {
      const ring = connection instanceof RingConnection ? connection : null;
      const incoming = ring?.incoming ?? null;
      return {
        kind: ring === null ? "client" : "ring",
        domid: connection.domid,
        name: connection instanceof Client ? connection.name : null,
        target: connection.target?.domid ?? null,
        ignored: connection.ignored,
        watches: connection.watches.map((w) => ({ ...w })),
        nextTransactionId: connection.nextTransactionId,
        transactions: [...connection.transactions.values()].map(saveTransaction),
        queue: connection.queue.map((m) => ({
          bytes: latin1(m.bytes),
          sent: m.sent,
          request: requestIndex(m.request),
          event: m.event === null ? null : { ...m.event },
        })),
        incoming:
          incoming === null
            ? null
            : {
                header: latin1(incoming.header),
                headerUsed: incoming.headerUsed,
                payload: incoming.payload === null ? null : latin1(incoming.payload),
                payloadUsed: incoming.payloadUsed,
              },
        signalled: ring?.signalled ?? false,
      };
    });
  return {
    version: 1,
    generation: database.generation,
    quotas: { ...database.quotas },
    nodes: [...database.nodes].map(([path, node]) => [path, saveNode(node)]),
    accounts: [...database.accounts.values()].map((a) => ({ ...a })),
    special: [...store.special].map(([name, permissions]) => [name, permissions.map((p) => ({ ...p }))]),
    requests: requests.map((r) => r.account.domid),
    connections,
  };
}

export function restoreStore(
  store: Xenstore,
  state: StoreState,
  transportFor: (domid: number) => Transport | null,
): void {
  if (state.version !== 1) throw new RangeError(`xenstore: unknown state version ${state.version}`);
  const { database } = store;
  database.generation = state.generation;
  Object.assign(database.quotas, state.quotas);
  database.nodes.clear();
  database.accounts.clear();
  for (const account of state.accounts) {
    // What is held is counted again below: connections that were not saved hold nothing any more.
    database.accounts.set(account.domid, { ...account, watches: 0, outstanding: 0, memory: 0 });
  }
  for (const [path, node] of state.nodes) database.load(path, loadNode(node));
  store.special.clear();
  for (const [name, permissions] of state.special) store.special.set(name, permissions);
  const requests = state.requests.map((domid): Request | null => {
    const account = database.accounts.get(domid);
    return account === undefined ? null : { account, pending: 0 };
  });

  store.connections = [];
  for (const saved of state.connections) {
    const account = database.accounts.get(saved.domid);
    if (account === undefined)
      throw new RangeError(`xenstore: state has a connection of unknown domain ${saved.domid}`);
    let connection: Connection;
    if (saved.kind === "ring") {
      const transport = transportFor(saved.domid);
      if (transport === null) {
        account.introduced = false;
        continue;
      }
      const ring = new RingConnection(store, account, transport);
      if (saved.incoming !== null) {
        const { header, payload, ...used } = saved.incoming;
        ring.incoming = { ...used, header: bytesOf(header), payload: payload === null ? null : bytesOf(payload) };
      }
      ring.signalled = saved.signalled;
      connection = ring;
    } else {
      connection = new Client(store, account, saved.name, null);
    }
    for (const watch of saved.watches) connection.addWatch({ ...watch });
    connection.nextTransactionId = saved.nextTransactionId;
    for (const t of saved.transactions) connection.transactions.set(t.id, loadTransaction(t));
    for (const { bytes, sent, request, event } of saved.queue) {
      const waited = request === null ? null : (requests[request] ?? null);
      if (waited !== null && waited.pending === 0) waited.account.outstanding++;
      connection.send({ bytes: bytesOf(bytes), sent, request: waited, event });
    }
    connection.ignored = saved.ignored;
    store.connections.push(connection);
  }
  for (const { kind, domid, target } of state.connections) {
    const ring = kind === "ring" && target !== null ? store.ringOf(domid) : null;
    if (ring !== null && target !== null) ring.target = store.ringOf(target);
  }
}

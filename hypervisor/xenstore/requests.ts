// The operations of the wire protocol: from a request's payload to its reply.
import type { Connection } from "./connection.ts";
import { control } from "./control.ts";
import type { Context } from "./database.ts";
import { childrenLength } from "./node.ts";
import { canonical, domainPath } from "./path.ts";
import { formatPermission, PERM_READ, type Permission, parsePermission } from "./permissions.ts";
import type { Transaction } from "./transaction.ts";
import * as wire from "./wire.ts";
import { bytesOf, EACCES, EBUSY, EINVAL, ENOENT, ENOSPC, ENOSYS, type Errno, onlyString, strings } from "./wire.ts";
import type { Xenstore } from "./xenstore.ts";

export interface Call {
  readonly store: Xenstore;
  readonly connection: Connection;
  readonly transaction: Transaction | null;
  readonly context: Context;
  readonly payload: Uint8Array;
  /** Set by an operation that has something to do after its reply is queued. */
  after: (() => void) | null;
}

/** A reply's payload, or an errno. */
export type Reply = Uint8Array | Errno;

interface Operation {
  run(call: Call): Reply;
  /** Only domain 0. */
  privileged?: true;
  /** The header's tx_id is not looked at. */
  ignoresTransaction?: true;
}

const OK: Uint8Array = bytesOf("OK\0");

function acknowledge(errno: Errno): Reply {
  return errno === 0 ? OK : errno;
}

/** An operation that cannot fail. */
function always<T extends unknown[]>(run: (call: Call, ...rest: T) => void): (call: Call, ...rest: T) => Reply {
  return (call, ...rest) => {
    run(call, ...rest);
    return OK;
  };
}

/** Runs an operation on the payload's only string as a path. */
function onPath(run: (call: Call, path: string) => Reply): (call: Call) => Reply {
  return (call) => {
    const path = onlyString(call.payload);
    return path === null ? EINVAL : run(call, canonical(path, call.connection.domid));
  };
}

/** Runs an operation on the payload's only string as a domid other than 0 with a connection. */
function onDomain(run: (call: Call, domid: number) => Reply): (call: Call) => Reply {
  return (call) => {
    const text = onlyString(call.payload);
    const domid = text === null ? 0 : wire.atoi(text) >>> 0;
    if (domid === 0) return EINVAL;
    return call.store.ringOf(domid) === null ? ENOENT : run(call, domid);
  };
}

function directory(call: Call, path: string): Reply {
  const node = call.store.operations.lookup(call.context, path, PERM_READ);
  return typeof node === "number" ? node : bytesOf(node.children.map((name) => `${name}\0`).join(""));
}

/** <path>|<offset>| -> <gencnt>|<names>, closed by an empty name when the list ends here. */
function directoryPart(call: Call): Reply {
  const args = strings(call.payload);
  if (args.length !== 2) return EINVAL;
  const path = canonical(args[0]!, call.connection.domid);
  const node = call.store.operations.lookup(call.context, path, PERM_READ);
  if (typeof node === "number") return node;
  const offset = wire.atoi(args[1]!) >>> 0;
  const generation = `${node.generation}\0`;
  const total = childrenLength(node);
  if (offset >= total) return bytesOf(`${generation}\0`);
  // An offset inside a name is answered from there, as the byte offset that it is.
  const list = node.children
    .map((name) => `${name}\0`)
    .join("")
    .slice(offset);
  const room = wire.PAYLOAD_MAX - generation.length - 1;
  let end = 0;
  for (let next = list.indexOf("\0"); next >= 0 && next < room; next = list.indexOf("\0", end)) end = next + 1;
  return bytesOf(generation + list.slice(0, end) + (end === list.length ? "\0" : ""));
}

function write(call: Call): Reply {
  const end = call.payload.indexOf(0);
  if (end < 0) return EINVAL;
  const path = canonical(wire.latin1(call.payload.subarray(0, end)), call.connection.domid);
  return acknowledge(call.store.operations.write(call.context, path, call.payload.slice(end + 1)));
}

function getPermissions(call: Call, path: string): Reply {
  const node = call.store.operations.lookup(call.context, path, PERM_READ);
  if (typeof node === "number") return node;
  return bytesOf(node.permissions.map((p) => `${formatPermission(p)}\0`).join(""));
}

function setPermissions(call: Call): Reply {
  const { store, connection } = call;
  const args = strings(call.payload);
  if (args.length < 2) return EINVAL;
  if (!connection.privileged && args.length - 1 > store.database.quotas.permissionsPerNode) return ENOSPC;
  const parsed: Permission[] = [];
  for (const text of args.slice(1)) {
    const permission = parsePermission(text);
    if (permission === null) return EINVAL;
    parsed.push(permission);
  }
  const permissions = store.checkNewPermissions(parsed);
  if (typeof permissions === "number") return permissions;
  const name = args[0]!;
  if (name.startsWith("@")) return acknowledge(store.setSpecialPermissions(connection, name, permissions));
  return acknowledge(store.operations.setPermissions(call.context, canonical(name, connection.domid), permissions));
}

function watch(call: Call): Reply {
  const args = strings(call.payload);
  if (args.length !== 2) return EINVAL;
  const added = call.store.watch(call.connection, args[0]!, args[1]!);
  if (typeof added === "number") return added;
  call.after = () => call.store.firstEvent(call.connection, added);
  return OK;
}

function unwatch(call: Call): Reply {
  const args = strings(call.payload);
  if (args.length !== 2) return EINVAL;
  return acknowledge(call.store.unwatch(call.connection, args[0]!, args[1]!));
}

function transactionStart(call: Call): Reply {
  if (call.transaction !== null) return EBUSY;
  const id = call.store.startTransaction(call.connection);
  return id < 0 ? -id : bytesOf(`${id}\0`);
}

function transactionEnd(call: Call): Reply {
  const how = onlyString(call.payload);
  if (how !== "T" && how !== "F") return EINVAL;
  if (call.transaction === null) return ENOENT;
  return acknowledge(call.store.endTransaction(call.connection, call.transaction, how === "T"));
}

function introduce(call: Call): Reply {
  const args = strings(call.payload);
  if (args.length < 3) return EINVAL;
  const domid = wire.atoi(args[0]!) >>> 0;
  const port = wire.atoi(args[2]!);
  if (port <= 0 || call.store.database.account(domid) === null) return EINVAL;
  const transport = call.store.introduceHook?.(domid, wire.atoi(args[1]!), port) ?? null;
  if (transport === null) return EINVAL;
  call.store.connect(domid, transport);
  return OK;
}

function setTarget(call: Call): Reply {
  const args = strings(call.payload);
  if (args.length < 2) return EINVAL;
  const domain = call.store.ringOf(wire.atoi(args[0]!) >>> 0);
  const target = call.store.ringOf(wire.atoi(args[1]!) >>> 0);
  if (domain === null || target === null) return ENOENT;
  domain.target = target;
  return OK;
}

const DOMID_SELF = 0x7ff0;

function isDomainIntroduced(call: Call): Reply {
  const text = onlyString(call.payload);
  if (text === null) return EINVAL;
  const domid = wire.atoi(text) >>> 0;
  return bytesOf(domid === DOMID_SELF || call.store.database.accounts.get(domid)?.introduced ? "T\0" : "F\0");
}

const OPERATIONS: ReadonlyMap<number, Operation> = new Map<number, Operation>([
  [wire.XS_CONTROL, { run: control, privileged: true }],
  [wire.XS_DIRECTORY, { run: onPath(directory) }],
  [wire.XS_READ, { run: onPath((call, path) => call.store.operations.read(call.context, path)) }],
  [wire.XS_GET_PERMS, { run: onPath(getPermissions) }],
  [wire.XS_WATCH, { run: watch, ignoresTransaction: true }],
  [wire.XS_UNWATCH, { run: unwatch, ignoresTransaction: true }],
  [wire.XS_TRANSACTION_START, { run: transactionStart }],
  [wire.XS_TRANSACTION_END, { run: transactionEnd }],
  [wire.XS_INTRODUCE, { run: introduce, privileged: true }],
  [wire.XS_RELEASE, { run: onDomain(always((call, domid) => call.store.domainDestroyed(domid))), privileged: true }],
  [
    wire.XS_GET_DOMAIN_PATH,
    {
      run: (call): Reply => {
        const text = onlyString(call.payload);
        return text === null ? EINVAL : bytesOf(`${domainPath(wire.atoi(text))}\0`);
      },
    },
  ],
  [wire.XS_WRITE, { run: write }],
  [wire.XS_MKDIR, { run: onPath((call, path) => acknowledge(call.store.operations.mkdir(call.context, path))) }],
  [wire.XS_RM, { run: onPath((call, path) => acknowledge(call.store.operations.remove(call.context, path))) }],
  [wire.XS_SET_PERMS, { run: setPermissions }],
  [wire.XS_IS_DOMAIN_INTRODUCED, { run: isDomainIntroduced, privileged: true }],
  [wire.XS_RESUME, { run: onDomain(always((call, domid) => call.store.domainResumed(domid))), privileged: true }],
  [wire.XS_SET_TARGET, { run: setTarget, privileged: true }],
  [wire.XS_RESET_WATCHES, { run: always((call) => call.connection.dropWatchesAndTransactions()) }],
  [wire.XS_DIRECTORY_PART, { run: directoryPart }],
]);

/** Carries out one request and queues its reply. */
export function handleRequest(store: Xenstore, connection: Connection, header: wire.Header, payload: Uint8Array): void {
  const request = store.beginRequest(connection.account, connection.privileged);
  const previous = store.request;
  store.request = request;
  let after: (() => void) | null = null;
  let reply: Reply;
  const operation = OPERATIONS.get(header.type);
  const ignoresTransaction = operation?.ignoresTransaction === true || header.transactionId === 0;
  const transaction = ignoresTransaction ? null : (connection.transactions.get(header.transactionId) ?? null);
  if (operation === undefined) reply = ENOSYS;
  else if (operation.privileged && !connection.privileged) reply = EACCES;
  else if (!ignoresTransaction && transaction === null) reply = ENOENT;
  else {
    const context = store.context(connection, transaction);
    const call: Call = { store, connection, transaction, context, payload, after: null };
    reply = operation.run(call);
    after = call.after;
  }
  store.request = previous;
  if (connection.ignored) return;

  if (typeof reply !== "number" && reply.length > wire.PAYLOAD_MAX) reply = wire.E2BIG;
  const failed = typeof reply === "number";
  const body = typeof reply === "number" ? bytesOf(`${wire.errorName(reply)}\0`) : reply;
  const type = failed ? wire.XS_ERROR : header.type;
  const bytes = wire.encodeMessage(type, header.requestId, header.transactionId, body);
  if (request !== null) request.account.outstanding++;
  connection.send({ bytes, sent: 0, request, event: null });
  after?.();
}

// CONTROL: what `xenstore-control` asks for, of the commands that make sense here.
import { childPath } from "./path.ts";
import type { Quotas } from "./quotas.ts";
import type { Call, Reply } from "./requests.ts";
import { atoi, bytesOf, EINVAL, ENOENT, strings } from "./wire.ts";
import type { Xenstore } from "./xenstore.ts";

const OK: Uint8Array = bytesOf("OK\0");

const QUOTA_NAMES: readonly (readonly [name: string, key: keyof Quotas, description: string])[] = [
  ["nodes", "nodes", "Nodes per domain"],
  ["watches", "watches", "Watches per domain"],
  ["transactions", "transactions", "Transactions per domain"],
  ["outstanding", "outstanding", "Outstanding requests per domain"],
  ["transaction-nodes", "transactionNodes", "Accessed nodes per transaction"],
  ["memory", "memory", "Bytes per domain"],
  ["node-size", "nodeSize", "Bytes of a node's record"],
  ["permissions", "permissionsPerNode", "Permissions per node"],
];

function quota(store: Xenstore, args: readonly string[]): Reply {
  const { quotas, accounts } = store.database;
  if (args.length === 0) {
    const lines = QUOTA_NAMES.map(([name, key, text]) => `${name.padEnd(17)}: ${`${quotas[key]}`.padStart(8)} ${text}`);
    return bytesOf(`Quota settings:\n${lines.join("\n")}\n\0`);
  }
  if (args[0] === "set") {
    const known = QUOTA_NAMES.find(([name]) => name === args[1]);
    const value = atoi(args[2] ?? "");
    if (args.length !== 3 || known === undefined || value < 1) return EINVAL;
    quotas[known[1]] = value;
    return OK;
  }
  if (args.length !== 1) return EINVAL;
  const domid = atoi(args[0]!) >>> 0;
  const account = accounts.get(domid);
  if (account === undefined) return ENOENT;
  const rows: [string, number][] = [
    ["nodes", account.nodes],
    ["watches", account.watches],
    ["transactions", store.ringOf(domid)?.transactions.size ?? 0],
    ["outstanding", account.outstanding],
    ["memory", account.memory],
  ];
  const lines = rows.map(([name, value]) => `${name.padEnd(16)}: ${`${value}`.padStart(8)}`);
  return bytesOf(`Domain ${domid}:\n${lines.join("\n")}\n\0`);
}

/** Every listed child has a node, every node but the root is listed, and owners' counts are right. */
export function inconsistencies(store: Xenstore): string[] {
  const { nodes, accounts } = store.database;
  const found: string[] = [];
  const counts = new Map<number, number>();
  const seen = new Set<string>();
  const visit = (path: string): void => {
    const node = nodes.get(path);
    if (node === undefined) {
      found.push(`${path} is listed by its parent and missing`);
      return;
    }
    seen.add(path);
    const owner = node.permissions[0]!.domid;
    counts.set(owner, (counts.get(owner) ?? 0) + 1);
    for (const name of node.children) visit(childPath(path, name));
  };
  visit("/");
  for (const path of nodes.keys()) if (!seen.has(path)) found.push(`${path} is listed by no parent`);
  for (const [domid, account] of accounts) {
    const count = counts.get(domid) ?? 0;
    if (account.nodes !== count) found.push(`domain ${domid} owns ${count} nodes, accounted ${account.nodes}`);
  }
  return found;
}

const COMMANDS: ReadonlyMap<string, { parameters: string; run: (store: Xenstore, args: readonly string[]) => Reply }> =
  new Map([
    [
      "check",
      {
        parameters: "",
        run: (store: Xenstore, args: readonly string[]): Reply => {
          if (args.length > 0) return EINVAL;
          for (const line of inconsistencies(store)) store.log(line);
          return OK;
        },
      },
    ],
    [
      "print",
      {
        parameters: "<string>",
        run: (store: Xenstore, args: readonly string[]): Reply => {
          if (args.length !== 1) return EINVAL;
          store.log(args[0]!);
          return OK;
        },
      },
    ],
    ["quota", { parameters: "[set <name> <val>|<domid>]", run: quota }],
    [
      "help",
      {
        parameters: "",
        run: (_store: Xenstore, args: readonly string[]): Reply => {
          if (args.length > 0) return EINVAL;
          return bytesOf(`${[...COMMANDS].map(([name, { parameters }]) => `${name}\t${parameters}\n`).join("")}\0`);
        },
      },
    ],
  ]);

export function control(call: Call): Reply {
  const [name, ...args] = strings(call.payload);
  const command = name === undefined ? undefined : COMMANDS.get(name);
  return command === undefined ? EINVAL : command.run(call.store, args);
}

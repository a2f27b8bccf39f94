// Limits on what an unprivileged domain may hold; the defaults of C xenstored 4.17.
// Like there, "transactions" and "watches" are compared with > and so admit one more.

export interface Quotas {
  /** Nodes a domain may own. */
  nodes: number;
  watches: number;
  transactions: number;
  /** A node's record (header, permissions, value, children list) stays below this many bytes. */
  nodeSize: number;
  permissionsPerNode: number;
  /** Different nodes one transaction may touch. */
  transactionNodes: number;
  /** Replies (with the watch events they caused) not yet fetched; more requests wait in the ring. */
  outstanding: number;
  /** Bytes of nodes, watches and queued messages. */
  memory: number;
}

export const DEFAULT_QUOTAS: Readonly<Quotas> = {
  nodes: 1000,
  watches: 128,
  transactions: 10,
  nodeSize: 2048,
  permissionsPerNode: 5,
  transactionNodes: 1024,
  outstanding: 20,
  memory: 2560 * 1024,
};

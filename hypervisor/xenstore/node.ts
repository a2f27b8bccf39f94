// A node as stored: an immutable record; every change makes a new one.
import type { Permissions } from "./permissions.ts";

/** Generation of a node that does not exist. */
export const NO_GENERATION = -1;

export interface Node {
  /** Value of the store-wide counter at the last change; unique per change. */
  readonly generation: number;
  readonly value: Uint8Array;
  readonly permissions: Permissions;
  /** Names of the children, oldest first: the order in which C xenstored lists a directory. */
  readonly children: readonly string[];
}

export const EMPTY: Uint8Array = new Uint8Array(0);

/** Bytes of the children list as DIRECTORY sends it. */
export function childrenLength(node: Node): number {
  let length = 0;
  for (const name of node.children) length += name.length + 1;
  return length;
}

/** Bytes of the record xenstored keeps: a 24-byte header, 8 a permission, value and children list. */
export function recordSize(node: Node): number {
  return 24 + 8 * node.permissions.length + node.value.length + childrenLength(node);
}

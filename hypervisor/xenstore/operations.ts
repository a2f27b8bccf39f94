// What can be done with nodes: lookup under permissions, write, mkdir, rm, permissions.
// Results are a value or an errno (a number); events go to the `changed` callback.
import { type Context, type Database, STORE_ITSELF } from "./database.ts";
import { EMPTY, type Node } from "./node.ts";
import { baseName, childPath, parentOf, validPath } from "./path.ts";
import { accessFor, PERM_OWNER, PERM_READ, PERM_WRITE, type Permissions } from "./permissions.ts";
import { EACCES, EINVAL, EIO, ENOENT, ENOMEM, ENOSPC, EPERM, type Errno } from "./wire.ts";

/**
 * Called for every change of a node.
 * exact: only watches on this very path match, not those above it (an inner node of a removed tree).
 * now: permissions of the node as it is or was; before: what they were if they changed.
 */
export type Changed = (
  context: Context,
  path: string,
  exact: boolean,
  now: Permissions | null,
  before: Permissions | null,
) => void;

/** Errors that say nothing about the node and so are always told. */
function tellable(error: Errno): boolean {
  return error === ENOMEM || error === ENOSPC;
}

export class Operations {
  readonly #db: Database;
  readonly #changed: Changed;

  constructor(db: Database, changed: Changed) {
    this.#db = db;
    this.#changed = changed;
  }

  /** The node if the caller has all of `wanted` there. Else an errno that reveals nothing the caller may not know. */
  lookup(context: Context, path: string, wanted: number): Node | Errno {
    if (!validPath(path)) return EINVAL;
    const node = this.#db.read(context, path);
    let error: Errno;
    if (typeof node === "number") error = node;
    else if ((accessFor(context.subject, node.permissions) & wanted) === wanted) return node;
    else error = EACCES;
    return tellable(error) ? error : this.#tactful(context, path, error, wanted);
  }

  /** The error itself if the nearest existing ancestor grants any of `wanted`, else EACCES. */
  #tactful(context: Context, path: string, error: Errno, wanted: number): Errno {
    for (let above = parentOf(path); ; above = parentOf(above)) {
      const node = this.#db.read(context, above);
      if (typeof node !== "number") return accessFor(context.subject, node.permissions) & wanted ? error : EACCES;
      if (tellable(node)) return node;
      if (above === "/") return EACCES;
    }
  }

  read(context: Context, path: string): Uint8Array | Errno {
    const node = this.lookup(context, path, PERM_READ);
    return typeof node === "number" ? node : node.value;
  }

  /** Sets the value, creating the node and its missing parents. */
  write(context: Context, path: string, value: Uint8Array): Errno {
    const node = this.lookup(context, path, PERM_WRITE);
    let permissions: Permissions;
    if (typeof node === "number") {
      if (node !== ENOENT) return node;
      const created = this.#create(context, path, value);
      if (typeof created === "number") return created;
      permissions = created;
    } else {
      const error = this.#db.write(context, path, { ...node, value }, false);
      if (error !== 0) return error;
      permissions = node.permissions;
    }
    this.#changed(context, path, false, permissions, null);
    return 0;
  }

  /** Creates the node and its missing parents; one that exists stays as it is. */
  mkdir(context: Context, path: string): Errno {
    const node = this.lookup(context, path, PERM_WRITE);
    if (typeof node !== "number") return 0;
    if (node !== ENOENT) return node;
    const created = this.#create(context, path, EMPTY);
    if (typeof created === "number") return created;
    this.#changed(context, path, false, created, null);
    return 0;
  }

  /** Removes a node and all below it. Nothing there is fine if the parent exists. */
  remove(context: Context, path: string): Errno {
    const node = this.lookup(context, path, PERM_WRITE);
    if (typeof node === "number") {
      if (node !== ENOENT) return node;
      const parent = this.#db.read(context, parentOf(path));
      return typeof parent !== "number" ? 0 : tellable(parent) ? parent : ENOENT;
    }
    if (path === "/") return EINVAL;
    return this.removeTree(context, path);
  }

  /** Removes an existing tree without asking for permission. Events: children before parents, the top last. */
  removeTree(context: Context, top: string): Errno {
    const parentPath = parentOf(top);
    const parent = this.#db.read(context, parentPath);
    if (typeof parent === "number") return tellable(parent) ? parent : EINVAL;

    const stack: { path: string; node: Node; next: number }[] = [];
    const enter = (path: string): Errno => {
      const node = this.#db.read(context, path);
      if (typeof node === "number") return tellable(node) ? node : EIO;
      stack.push({ path, node, next: 0 });
      return 0;
    };
    let error = enter(top);
    while (error === 0 && stack.length > 0) {
      const frame = stack[stack.length - 1]!;
      if (frame.next < frame.node.children.length) {
        error = enter(childPath(frame.path, frame.node.children[frame.next++]!));
        continue;
      }
      stack.pop();
      error = this.#db.remove(context, frame.path);
      if (error !== 0) break;
      this.#changed(context, frame.path, frame.path !== top, frame.node.permissions, null);
      this.#db.countEntry(context, frame.node.permissions[0]!.domid, -1);
    }
    if (error !== 0) return error;
    const name = baseName(top);
    const children = parent.children.filter((child) => child !== name);
    return this.#db.write(context, parentPath, { ...parent, children }, true);
  }

  setPermissions(context: Context, path: string, permissions: Permissions): Errno {
    const node = this.lookup(context, path, PERM_WRITE | PERM_OWNER);
    if (typeof node === "number") return node;
    const before = node.permissions;
    const oldOwner = before[0]!.domid;
    const newOwner = permissions[0]!.domid;
    if (context.subject !== null && !context.subject.privileged && newOwner !== oldOwner) return EPERM;
    if (newOwner !== oldOwner && context.transaction === null && this.#db.account(newOwner) === null) return ENOMEM;
    const error = this.#db.write(context, path, { ...node, permissions }, false);
    if (error !== 0) return error;
    this.#db.countEntry(context, oldOwner, -1);
    this.#db.countEntry(context, newOwner, 1);
    this.#changed(context, path, false, permissions, before);
    return 0;
  }

  /** Removes what a domain that is gone has owned, wherever it lies. */
  removeOwnedBy(domid: number): void {
    const walk = (path: string, node: Node): void => {
      if (node.permissions[0]!.domid === domid) {
        this.removeTree(STORE_ITSELF, path);
        return;
      }
      for (const name of node.children) {
        const child = childPath(path, name);
        const below = this.#db.read(STORE_ITSELF, child);
        if (typeof below !== "number") walk(child, below);
      }
    };
    const root = this.#db.read(STORE_ITSELF, "/");
    if (typeof root !== "number") walk("/", root);
  }

  /** Whether a watcher hears of a change at path: it could or can read the node, or can read its parent. */
  hears(watcher: Context, path: string, now: Permissions | null, before: Permissions | null): boolean {
    const { subject } = watcher;
    if (before !== null && accessFor(subject, before) & PERM_READ) return true;
    let permissions = now;
    if (permissions === null) {
      const node = this.#db.read(watcher, path);
      if (typeof node === "number") return false;
      permissions = node.permissions;
    }
    if (accessFor(subject, permissions) & PERM_READ) return true;
    const parent = this.#db.read(watcher, parentOf(path));
    return typeof parent !== "number" && (accessFor(subject, parent.permissions) & PERM_READ) !== 0;
  }

  /**
   * Makes a missing node and its missing parents, with empty values. Each inherits its parent's permissions;
   * an unprivileged creator becomes the owner. Written leaf first, and undone if a quota stops it half-way.
   */
  #create(context: Context, path: string, value: Uint8Array): Permissions | Errno {
    const missing = [path];
    let above = parentOf(path);
    let parent = this.#db.read(context, above);
    while (typeof parent === "number") {
      if (parent !== ENOENT || above === "/") return parent;
      missing.push(above);
      above = parentOf(above);
      parent = this.#db.read(context, above);
    }
    const { subject, transaction } = context;
    if (transaction !== null) transaction.createdNode = true;
    let permissions = parent.permissions;
    if (subject !== null && !subject.privileged) {
      permissions = [{ ...permissions[0]!, domid: subject.domid }, ...permissions.slice(1)];
    }
    const owner = permissions[0]!.domid;
    const made: string[] = [];
    let error: Errno = 0;
    for (const each of missing) {
      const leaf = made.length === 0;
      const children = leaf ? [] : [baseName(missing[made.length - 1]!)];
      if (this.#db.entriesOf(context) >= this.#db.quotas.nodes) error = ENOSPC;
      else error = this.#db.write(context, each, { value: leaf ? value : EMPTY, permissions, children }, false);
      if (error !== 0) break;
      made.push(each);
      this.#db.countEntry(context, owner, 1);
    }
    if (error === 0) {
      const children = [...parent.children, baseName(missing[missing.length - 1]!)];
      error = this.#db.write(context, above, { ...parent, children }, false);
    }
    if (error === 0) return permissions;
    for (const each of made) {
      this.#db.remove(context, each);
      this.#db.countEntry(context, owner, -1);
    }
    if (transaction !== null && made.length > 0) transaction.failed = true;
    return error;
  }
}

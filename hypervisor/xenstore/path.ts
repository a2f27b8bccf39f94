// Names of nodes: which are legal, and how relative ones become absolute.
// Rules of xenstored 4.17 (and docs/misc/xenstore.txt): letters, digits and -/_@; no
// empty component; no trailing slash. A path may have 2048 characters, and below
// /local/domain/<domid>/ 2048 after that prefix, which keeps every path below the
// header's absolute limit of 3072.
import { REL_PATH_MAX } from "./wire.ts";

const LEGAL = /^[A-Za-z0-9\-/_@]*$/;
const DOMAIN_PREFIX = /^\/local\/domain\/(?:\d{1,5}|-\d{1,4})\//;

/** Whether an absolute path may name a node. */
export function validPath(path: string): boolean {
  if (!path.startsWith("/")) return false;
  if (path !== "/" && path.endsWith("/")) return false;
  if (path.includes("//")) return false;
  const prefix = DOMAIN_PREFIX.exec(path);
  if (path.length > (prefix === null ? 0 : prefix[0].length) + REL_PATH_MAX) return false;
  return LEGAL.test(path);
}

/** /local/domain/<domid>, the base of a connection's relative paths. */
export function domainPath(domid: number): string {
  return `/local/domain/${domid >>> 0}`;
}

/** Makes a relative path absolute; special names (@introduceDomain) and absolute paths stay. Does not validate. */
export function canonical(path: string, domid: number): string {
  return path.startsWith("/") || path.startsWith("@") ? path : `${domainPath(domid)}/${path}`;
}

/** The parent of an absolute path; the root is its own parent. */
export function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash <= 0 ? "/" : path.slice(0, slash);
}

/** The last component of an absolute path. */
export function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

export function childPath(parent: string, name: string): string {
  return parent === "/" ? `/${name}` : `${parent}/${name}`;
}

/** Whether path lies at or below ancestor; everything (special events too) lies below "/". */
export function isBelow(path: string, ancestor: string): boolean {
  if (ancestor === "/" || path === ancestor) return true;
  return path.startsWith(ancestor) && path.charCodeAt(ancestor.length) === 0x2f;
}

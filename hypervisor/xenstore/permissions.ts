// Permission lists. The first entry names the owner and what everybody else may do;
// each further entry says what one domain may do. Owner and privileged domains may do all.

export const PERM_NONE = 0;
export const PERM_READ = 1;
export const PERM_WRITE = 2;
export const PERM_OWNER = 8;
export const PERM_ALL: number = PERM_READ | PERM_WRITE | PERM_OWNER;

export interface Permission {
  readonly domid: number;
  /** PERM_READ | PERM_WRITE. */
  readonly access: number;
  /** The domain was gone when this entry was checked: shown, but grants nothing (no successor inherits it). */
  readonly stale: boolean;
}
export type Permissions = readonly Permission[];

const LETTERS = "nrwb";

/** "r3" and the like; null if it is not a permission. The number is read as strtol(.., 0) does. */
export function parsePermission(text: string): Permission | null {
  const access = text.length > 0 ? LETTERS.indexOf(text[0]!) : -1;
  const match = /^[ \t\n\v\f\r]*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)$/.exec(text.slice(1));
  if (access < 0 || match === null) return null;
  const digits = match[2]!;
  const octal = digits.length > 1 && digits[0] === "0" && digits[1] !== "x" && digits[1] !== "X";
  const magnitude = octal ? Number.parseInt(digits, 8) : Number(digits);
  // strtol saturates at LONG_MAX/LONG_MIN; the low 32 bits of those are -1 and 0.
  const wide = magnitude >= 2 ** 63 ? (match[1] === "-" ? 0 : -1) : match[1] === "-" ? -magnitude : magnitude;
  return { domid: wide >>> 0, access, stale: false };
}

export function formatPermission(permission: Permission): string {
  return `${LETTERS[permission.access & 3]}${permission.domid | 0}`;
}

export interface Subject {
  readonly domid: number;
  readonly privileged: boolean;
  /** The domain this one acts for (SET_TARGET). */
  readonly target: Subject | null;
}

/** What a connection may do under a list: PERM_* bits. */
export function accessFor(subject: Subject | null, permissions: Permissions): number {
  const owner = permissions[0]!;
  if (subject === null || subject.privileged || owner.domid === subject.domid) return PERM_ALL;
  const target = subject.target;
  if (target !== null && owner.domid === target.domid) return PERM_ALL;
  for (let i = 1; i < permissions.length; i++) {
    const entry = permissions[i]!;
    if (!entry.stale && (entry.domid === subject.domid || (target !== null && entry.domid === target.domid))) {
      return entry.access;
    }
  }
  return owner.access;
}

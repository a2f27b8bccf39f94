// Initial ramdisks: a cpio archive in the "new ASCII" format (070701) that Linux unpacks (Documentation/driver-api/
// early-userspace/buffer-format.rst), compressed with gzip.

import { ImageError } from "./error.ts";
import { gzip } from "./gzip.ts";

/** One entry; paths are relative to the root of the ramdisk, without a leading slash. Modes are permission bits. */
export type InitramfsEntry =
  | { kind: "file"; path: string; data: Uint8Array; mode?: number }
  | { kind: "directory"; path: string; mode?: number }
  | { kind: "symlink"; path: string; target: string }
  | { kind: "device"; path: string; device: "c" | "b"; major: number; minor: number; mode?: number };

const MAGIC = "070701";
const HEADER_SIZE = 110;
const TRAILER = "TRAILER!!!";
/** Linux refuses longer names (PATH_MAX), and the size field holds 32 bits. */
const PATH_MAX = 4096;
const FILE_MAX = 0xffffffff;

// File type bits of st_mode.
const S_IFCHR = 0o020000;
const S_IFDIR = 0o040000;
const S_IFBLK = 0o060000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;

interface Member {
  name: Uint8Array;
  mode: number;
  links: number;
  data: Uint8Array;
  major: number;
  minor: number;
}

const align4 = (n: number): number => (n + 3) & ~3;
const EMPTY: Uint8Array = new Uint8Array(0);
const utf8 = new TextEncoder();

/** st_mode of an entry, with the usual permissions where it gives none. */
function modeOf(entry: InitramfsEntry): number {
  switch (entry.kind) {
    case "file":
      return S_IFREG | (entry.mode ?? 0o644);
    case "directory":
      return S_IFDIR | (entry.mode ?? 0o755);
    case "symlink":
      return S_IFLNK | 0o777;
    case "device":
      return (entry.device === "c" ? S_IFCHR : S_IFBLK) | (entry.mode ?? 0o600);
  }
}

function member(entry: InitramfsEntry): Member {
  const name = utf8.encode(entry.path);
  if (name.length === 0 || name.length >= PATH_MAX || entry.path.startsWith("/") || name.includes(0)) {
    throw new ImageError(`initramfs: not a usable path: "${entry.path}"`);
  }
  const data = entry.kind === "file" ? entry.data : entry.kind === "symlink" ? utf8.encode(entry.target) : EMPTY;
  if (data.length > FILE_MAX) throw new ImageError(`initramfs: ${entry.path} is 4 GiB or larger`);
  return {
    name,
    mode: modeOf(entry),
    links: entry.kind === "directory" ? 2 : 1,
    data,
    major: entry.kind === "device" ? entry.major : 0,
    minor: entry.kind === "device" ? entry.minor : 0,
  };
}

/** The archive. Owner root, time zero: the same entries always give the same bytes. Parents must come before children. */
export function buildCpio(entries: readonly InitramfsEntry[]): Uint8Array {
  const members = entries.map(member);
  members.push({ name: utf8.encode(TRAILER), mode: 0, links: 1, data: EMPTY, major: 0, minor: 0 });
  const size = members.reduce((sum, m) => sum + align4(HEADER_SIZE + m.name.length + 1) + align4(m.data.length), 0);
  const out = new Uint8Array(size);
  let at = 0;
  for (const [i, m] of members.entries()) {
    const inode = i < entries.length ? i + 1 : 0;
    // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
    const fields = [inode, m.mode, 0, 0, m.links, 0, m.data.length, 0, 0, m.major, m.minor, m.name.length + 1, 0];
    utf8.encodeInto(
      MAGIC + fields.map((f) => f.toString(16).toUpperCase().padStart(8, "0")).join(""),
      out.subarray(at),
    );
    out.set(m.name, at + HEADER_SIZE);
    at += align4(HEADER_SIZE + m.name.length + 1);
    out.set(m.data, at);
    at += align4(m.data.length);
  }
  return out;
}

/** The archive, compressed. */
export function buildInitramfs(entries: readonly InitramfsEntry[]): Promise<Uint8Array> {
  return gzip(buildCpio(entries));
}

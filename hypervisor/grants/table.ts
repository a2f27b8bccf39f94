/**
 * The grant table of a domain, as granter: the pages that it shares with Xen, and for every entry what Xen knows of its use
 * (struct active_grant_entry of xen/common/grant_table.c).
 *
 * Entries are the guest's and change at any time, so each is read once, checked, and what was checked is used. Whoever
 * uses an entry pins it; from the first pin to the last the granted frame has one reference, so that it stays what it is
 * even if the granter gives it back or goes. Status flags tell the granter what is in use; Xen never relies on them.
 */
import { EBUSY, EINVAL, ENOMEM, ENOSYS, ERANGE } from "../abi/errno.ts";
import {
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_okay,
  GNTTAB_NR_RESERVED_ENTRIES,
  GTF_accept_transfer,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_sub_page,
  GTF_transfer_committed,
  GTF_transfer_completed,
  GTF_transitive,
  GTF_type_mask,
  GTF_writing,
} from "../abi/grant.ts";
import { DOMID_XEN } from "../abi/xen.ts";
import type { Domain } from "../domain/domain.ts";
import { isRam, isReadOnly } from "../memory/p2m.ts";
import { PGT_writable_page } from "../memory/page-types.ts";
import { unhook } from "../memory/physmap.ts";

const PAGE_BYTES = 4096;
const V1_BYTES = 8;
const V2_BYTES = 16;
const STATUS_BYTES = 2;
const STATUS_PER_FRAME = PAGE_BYTES / STATUS_BYTES;
/** Counts of pins have room for this many; the next one is refused. */
export const PIN_MAX = 0x80;

/** Mapping into a guest's memory, or a copy in progress. */
export interface ActiveEntry {
  reads: number;
  writes: number;
  /** Who uses it. */
  domid: number;
  mfn: number;
  /** Where the granter had it when it was pinned first; -1 behind a transitive entry. */
  gfn: number;
  /** Only a part may be used, and that only for copies. */
  isSubPage: boolean;
  /** Writers hold the frame of a PV domain as writable. */
  holdsType: boolean;
  start: number;
  length: number;
}

/** One look at an entry. */
export interface EntrySnapshot {
  readonly flags: number;
  readonly domid: number;
  /** Guest frame; of a transitive entry 0. */
  readonly frame: number;
  readonly pageOffset: number;
  readonly length: number;
  readonly transDomid: number;
  readonly transRef: number;
}

export class SharedTable {
  readonly domain: Domain;
  /** Highest version that the domain may choose. */
  readonly maxVersion: number;
  readonly maxFrames: number;
  version = 1;
  /** Machine frames of entries and (version 2) of their status. */
  readonly frames: number[] = [];
  readonly statusFrames: number[] = [];
  private readonly active: Map<number, ActiveEntry> = new Map();
  /** The domain is gone: its pages are, what others have pinned is not. */
  isGone = false;

  constructor(domain: Domain, maxVersion: number, maxFrames: number) {
    this.domain = domain;
    this.maxVersion = maxVersion;
    this.maxFrames = maxFrames;
  }

  /** Number of entries there are. */
  get entries(): number {
    return this.frames.length * this.perFrame;
  }

  private get perFrame(): number {
    return PAGE_BYTES / (this.version === 1 ? V1_BYTES : V2_BYTES);
  }

  // --- pages -----------------------------------------------------------------------------------

  private newPage(): number {
    const mfn = this.domain.hypervisor.heap.alloc(DOMID_XEN);
    if (mfn < 0) return mfn;
    this.domain.xenPages.push(mfn);
    this.domain.hypervisor.pageTypes.share(mfn, this.domain.domid);
    return mfn;
  }

  private freePage(mfn: number): void {
    const { domain } = this;
    const gfn = domain.xenPageGfns.get(mfn);
    if (gfn !== undefined && unhook(domain, gfn) !== 0) return;
    domain.xenPages.splice(domain.xenPages.indexOf(mfn), 1);
    domain.hypervisor.pageTypes.unshare(mfn);
    domain.hypervisor.heap.putPage(mfn);
  }

  /** A PV guest maps Xen's pages by its own tables: this one still. */
  private isMapped(mfn: number): boolean {
    return this.domain.hypervisor.heap.referencesOf(mfn) > 1;
  }

  /** Status frames that `frames` frames of version 2 entries need. */
  private static statusFor(frames: number): number {
    return Math.ceil((frames * (PAGE_BYTES / V2_BYTES)) / STATUS_PER_FRAME);
  }

  /** Makes the table at least so large. @returns false beyond the limit or without memory. */
  grow(frames: number): boolean {
    if (frames > this.maxFrames) return false;
    while (this.frames.length < frames) {
      if (this.version === 2 && !this.growStatus(this.frames.length + 1)) return false;
      const mfn = this.newPage();
      if (mfn < 0) return false;
      this.frames.push(mfn);
    }
    return true;
  }

  private growStatus(frames: number): boolean {
    while (this.statusFrames.length < SharedTable.statusFor(frames)) {
      const mfn = this.newPage();
      if (mfn < 0) return false;
      this.statusFrames.push(mfn);
    }
    return true;
  }

  /** Frame `index` of the table for XENMAPSPACE_grant_table, which grows it; -1 if there can't be one. */
  sharedFrame(index: number): number {
    if (index >= this.frames.length && index < this.maxFrames) this.grow(index + 1);
    return this.frames[index] ?? -1;
  }

  statusFrame(index: number): number {
    const needed = (index + 1) * (STATUS_PER_FRAME / (PAGE_BYTES / V2_BYTES));
    if (index >= this.statusFrames.length && needed <= this.maxFrames) this.grow(needed);
    return this.statusFrames[index] ?? -1;
  }

  // --- entries ---------------------------------------------------------------------------------

  private at(ref: number): number {
    const mfn = this.frames[Math.floor(ref / this.perFrame)]!;
    return (
      this.domain.hypervisor.memory.frame(mfn) + (ref % this.perFrame) * (this.version === 1 ? V1_BYTES : V2_BYTES)
    );
  }

  /** Address of the 16 bits with GTF_reading and GTF_writing. */
  private statusAt(ref: number): number {
    if (this.version === 1) return this.at(ref);
    const mfn = this.statusFrames[Math.floor(ref / STATUS_PER_FRAME)]!;
    return this.domain.hypervisor.memory.frame(mfn) + (ref % STATUS_PER_FRAME) * STATUS_BYTES;
  }

  /** Reads an entry once. `ref` must be below `entries`. */
  read(ref: number): EntrySnapshot {
    const bytes = this.domain.hypervisor.memory.read(this.at(ref), this.version === 1 ? V1_BYTES : V2_BYTES);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const flags = view.getUint16(0, true);
    const head = { flags, domid: view.getUint16(2, true) };
    if (this.version === 1) {
      const frame = view.getUint32(4, true);
      return { ...head, frame, pageOffset: 0, length: PAGE_BYTES, transDomid: 0, transRef: 0 };
    }
    if ((flags & GTF_type_mask) === GTF_transitive) {
      const transDomid = view.getUint16(4, true);
      return { ...head, frame: 0, pageOffset: 0, length: 0, transDomid, transRef: view.getUint32(8, true) };
    }
    const frame = Number(view.getBigUint64(8, true));
    if ((flags & GTF_sub_page) === 0)
      return { ...head, frame, pageOffset: 0, length: PAGE_BYTES, transDomid: 0, transRef: 0 };
    const pageOffset = view.getUint16(4, true);
    return { ...head, frame, pageOffset, length: view.getUint16(6, true), transDomid: 0, transRef: 0 };
  }

  activeOf(ref: number): ActiveEntry | null {
    return this.active.get(ref) ?? null;
  }

  /** Everything pinned, by reference number. */
  pinned(): IterableIterator<[number, ActiveEntry]> {
    return this.active.entries();
  }

  private setStatus(ref: number, set: number, clear: number): void {
    if (this.isGone) return;
    const { memory } = this.domain.hypervisor;
    const at = this.statusAt(ref);
    memory.write16(at, (memory.read16(at) & ~clear) | set);
  }

  /** The frame of the domain at `gfn` with a reference; -1 if it is not its own RAM, or may not be written. */
  private getFrame(gfn: number, readOnly: boolean): number {
    const { p2m, hypervisor, domid } = this.domain;
    const type = p2m.typeOf(gfn);
    if (!isRam(type) || (!readOnly && isReadOnly(type))) return -1;
    const mfn = p2m.lookup(gfn);
    return hypervisor.heap.getPage(mfn, domid) ? mfn : -1;
  }

  /**
   * Pins an entry that is not transitive for `user` (_set_status and the counts).
   * @param forMap a mapping, which must be of a whole page
   * @returns the entry, or GNTST_*
   */
  pin(ref: number, user: number, readOnly: boolean, forMap: boolean, entry: EntrySnapshot): ActiveEntry | number {
    let active = this.active.get(ref);
    if (active !== undefined && (active.domid !== user || !hasRoom(active) || (forMap && active.isSubPage)))
      return GNTST_general_error;
    if (active === undefined || (!readOnly && active.writes === 0)) {
      if (active === undefined && !permits(entry, user, GTF_permit_access, forMap)) return GNTST_general_error;
      if (!readOnly && (entry.flags & GTF_readonly) !== 0) return GNTST_general_error;
    }
    if (active === undefined) {
      const mfn = this.getFrame(entry.frame, readOnly);
      if (mfn < 0) return GNTST_bad_page;
      const isSubPage = this.version === 2 && (entry.flags & GTF_sub_page) !== 0;
      active = {
        reads: 0,
        writes: 0,
        domid: user,
        mfn,
        gfn: entry.frame,
        isSubPage,
        holdsType: false,
        start: entry.pageOffset,
        length: entry.length,
      };
      this.active.set(ref, active);
    }
    if (!readOnly && !this.holdWritable(ref, active)) return GNTST_general_error;
    this.count(ref, active, readOnly);
    return active;
  }

  /** The first writer makes sure that the frame is no page table; false if it is. */
  private holdWritable(ref: number, active: ActiveEntry): boolean {
    if (active.holdsType || !this.domain.isPv) return true;
    const { pageTypes, heap } = this.domain.hypervisor;
    if (pageTypes.getType(active.mfn, PGT_writable_page) === 0) {
      active.holdsType = true;
      return true;
    }
    if (active.reads + active.writes === 0) {
      this.active.delete(ref);
      heap.putPage(active.mfn);
    }
    return false;
  }

  /** Pins a transitive entry to the part of a frame that it leads to; the caller holds that with a pin of its own. */
  pinTransitive(
    ref: number,
    user: number,
    readOnly: boolean,
    entry: EntrySnapshot,
    target: ActiveEntry,
  ): ActiveEntry | number {
    const bad = this.checkTransitive(ref, user, readOnly, entry);
    if (bad !== GNTST_okay) return bad;
    let active = this.active.get(ref);
    if (active === undefined) {
      if (!this.domain.hypervisor.heap.getPage(target.mfn, this.domain.hypervisor.heap.ownerOf(target.mfn)))
        return GNTST_general_error;
      active = { ...target, reads: 0, writes: 0, domid: user, gfn: -1, isSubPage: true, holdsType: false };
      this.active.set(ref, active);
    }
    this.count(ref, active, readOnly);
    return active;
  }

  /** Whether `user` may use a transitive entry at all: GNTST_*. */
  checkTransitive(ref: number, user: number, readOnly: boolean, entry: EntrySnapshot): number {
    const active = this.active.get(ref);
    if (active !== undefined && (active.domid !== user || !hasRoom(active))) return GNTST_general_error;
    if (active === undefined && !permits(entry, user, GTF_transitive, false)) return GNTST_general_error;
    return !readOnly && (entry.flags & GTF_readonly) !== 0 ? GNTST_general_error : GNTST_okay;
  }

  private count(ref: number, active: ActiveEntry, readOnly: boolean): void {
    if (readOnly) active.reads++;
    else active.writes++;
    this.setStatus(ref, readOnly ? GTF_reading : GTF_reading | GTF_writing, 0);
  }

  /** Takes a pin back; with the last one the frame's reference goes. */
  unpin(ref: number, readOnly: boolean): void {
    const active = this.active.get(ref);
    if (active === undefined) return;
    if (readOnly) active.reads--;
    else active.writes--;
    if (active.writes === 0 && !readOnly) this.setStatus(ref, 0, GTF_writing);
    if (active.writes === 0 && active.holdsType) {
      active.holdsType = false;
      this.domain.hypervisor.pageTypes.putType(active.mfn);
    }
    if (active.reads + active.writes > 0) return;
    this.setStatus(ref, 0, GTF_reading);
    this.active.delete(ref);
    this.domain.hypervisor.heap.putPage(active.mfn);
  }

  // --- whole-table operations ------------------------------------------------------------------

  /** gnttab_prepare_for_transfer: an entry that takes a frame from `giver`. @returns false if it is none */
  commitTransfer(ref: number, giver: number): boolean {
    if (ref >= this.entries) return false;
    const { memory } = this.domain.hypervisor;
    const at = this.at(ref);
    if (memory.read16(at) !== GTF_accept_transfer || memory.read16(at + 2) !== giver) return false;
    memory.write16(at, GTF_accept_transfer | GTF_transfer_committed);
    return true;
  }

  /** The frame has come: says so, and to a PV guest which it is. @returns where the domain wants it */
  completeTransfer(ref: number, mfn: number): number {
    const { memory } = this.domain.hypervisor;
    const at = this.at(ref);
    const { frame } = this.read(ref);
    if (this.domain.isPv) {
      if (this.version === 1) memory.write32(at + 4, mfn);
      else memory.write64(at + 8, BigInt(mfn));
    }
    memory.write16(at, memory.read16(at) | GTF_transfer_completed);
    return frame;
  }

  /** What the toolstack grants a daemon at start: the ring at `gfn`, in a reserved entry. */
  seed(ref: number, domid: number, gfn: number): void {
    if (!this.grow(1)) return;
    const { memory } = this.domain.hypervisor;
    const at = this.at(ref);
    memory.write16(at + 2, domid);
    memory.write32(at + 4, gfn);
    memory.write16(at, GTF_permit_access);
  }

  /** GNTTABOP_swap_grant_ref, for references that exist and are not pinned. */
  swap(a: number, b: number): void {
    const { memory } = this.domain.hypervisor;
    const bytes = this.version === 1 ? V1_BYTES : V2_BYTES;
    const [first, second] = [memory.read(this.at(a), bytes), memory.read(this.at(b), bytes)];
    memory.write(this.at(a), second);
    memory.write(this.at(b), first);
    if (this.version === 1) return;
    const [x, y] = [memory.read16(this.statusAt(a)), memory.read16(this.statusAt(b))];
    memory.write16(this.statusAt(a), y);
    memory.write16(this.statusAt(b), x);
  }

  /** GNTTABOP_set_version: 0 or -errno. All entries but the reserved ones are lost. */
  setVersion(version: number): number {
    if (version !== 1 && version !== 2) return -EINVAL;
    if (version > this.maxVersion) return -ENOSYS;
    if (version === this.version) return 0;
    for (const ref of this.active.keys()) if (ref >= GNTTAB_NR_RESERVED_ENTRIES) return -EBUSY;
    if (this.frames.length === 0) {
      this.version = version;
      return 0;
    }
    const reserved = Array.from({ length: GNTTAB_NR_RESERVED_ENTRIES }, (_, ref) => this.read(ref));
    const status = reserved.map((_, ref) => this.domain.hypervisor.memory.read16(this.statusAt(ref)));
    if (version === 1 && this.domain.isPv && this.statusFrames.some((mfn) => this.isMapped(mfn))) return -EBUSY;
    if (version === 1) {
      for (const { flags, frame } of reserved) {
        const type = flags & GTF_type_mask;
        if (type === GTF_transitive || (type === GTF_permit_access && frame >= 2 ** 32)) return -ERANGE;
      }
      for (const mfn of this.statusFrames.splice(0)) this.freePage(mfn);
    } else if (!this.growStatus(this.frames.length)) {
      for (const mfn of this.statusFrames.splice(0)) this.freePage(mfn);
      return -ENOMEM;
    }
    this.version = version;
    const { memory } = this.domain.hypervisor;
    for (const mfn of this.frames) memory.zeroFrame(mfn);
    const inUse = GTF_reading | GTF_writing;
    reserved.forEach((entry, ref) => {
      const at = this.at(ref);
      const use = status[ref]! & inUse;
      memory.write16(at + 2, entry.domid);
      if (version === 1) {
        if ((entry.flags & GTF_type_mask) !== GTF_permit_access) return;
        memory.write32(at + 4, entry.frame);
        memory.write16(at, entry.flags | use);
      } else {
        memory.write64(at + 8, BigInt(entry.frame));
        memory.write16(at, entry.flags & ~inUse);
        memory.write16(this.statusAt(ref), use);
      }
    });
    return 0;
  }

  /** The domain goes; its pages are freed with it. */
  close(): void {
    this.isGone = true;
    this.frames.length = 0;
    this.statusFrames.length = 0;
  }
}

function hasRoom(active: ActiveEntry): boolean {
  return active.reads < PIN_MAX && active.writes < PIN_MAX;
}

/** An entry not yet in use grants `user` something of this type. */
function permits(entry: EntrySnapshot, user: number, type: number, wholePage: boolean): boolean {
  const mask = wholePage ? GTF_type_mask | GTF_sub_page : GTF_type_mask;
  return (entry.flags & mask) === type && entry.domid === user;
}

/**
 * What each machine frame is used as, and how often (struct page_info of asm-x86/mm.h: type_info beside the count of references that
 * the heap keeps). A frame has one type at a time: page table of level 1 to 4, page of segment descriptors, or writable. Each
 * use as such is a type reference; the type changes only while there is none. So no page table is ever mapped writable, and what
 * was validated stays valid until its last use ends.
 *
 * So that one hypercall does not hold up a processor, Xen validates and takes apart in pieces (PGT_partial, old_guest_table), with events
 * in between. Here a table is validated at once, but those below it before it (pv/validate-ahead.ts); and a table that loses its last use is
 * abandoned: it keeps its type, that use and a reference, until its entries have been given up, a few at a time (PageTables.takeApart).
 */
import { EINVAL } from "../abi/errno.ts";
import { DOMID_XEN } from "../abi/xen.ts";
import type { Heap } from "./heap.ts";

export const PGT_none = 0;
export const PGT_l1_page_table = 1;
export const PGT_l2_page_table = 2;
export const PGT_l3_page_table = 3;
export const PGT_l4_page_table = 4;
export const PGT_seg_desc_page = 5;
export const PGT_writable_page = 7;

/** Flags beside the type. */
export const PGT_validated = 1;
export const PGT_pinned = 2;
/** An L2 that a 32-bit guest uses for its fourth gigabyte, with Xen's entries in it. */
export const PGT_pae_xen_l2 = 4;

const ENTRIES = 512;
/** Most type references of a frame; the next one is refused. */
export const MAX_TYPE_REFERENCES = 0x7fff_ffff;
/** Most entries of, or uses as, a linear page table (linear_pt_count is 16 bits). */
const MAX_LINEAR = 0x7fff;

/** What validates tables and takes them apart again: pv/page-tables.ts. Frames are the owner's. */
export interface TableRules {
  /** @returns 0, or -errno with nothing left behind. */
  promote(domid: number, mfn: number, type: number, pae: number): number;
  /** The table has lost its last use; `left` of its entries are to be given up, and then `dismantled` is to be called. */
  abandon(domid: number, mfn: number): void;
  /** Translations of writable mappings of `domid` may be left from before `stamp`. */
  flushSince(domid: number, stamp: number): void;
  /** The same of any PV domain, before a frame finds another owner. */
  flushAllSince(stamp: number): void;
  /** The frame has become nobody's. */
  freed(mfn: number): void;
}

export class PageTypes {
  readonly heap: Heap;
  readonly types: Uint8Array;
  /** PGT_validated, PGT_pinned, PGT_pae_xen_l2. */
  readonly flags: Uint8Array;
  readonly counts: Int32Array;
  /** Entries of this table that lead to one of its own level (> 0), or uses of it in such entries (< 0). */
  readonly linear: Int16Array;
  /** Of an abandoned table: how many of its entries, from the first, still hold what they lead to (nr_validated_ptes). */
  readonly left: Uint16Array;
  /** Clock of TLB flushes when the last type reference went (tlbflush_timestamp); 0 never. */
  private readonly stamps: Int32Array;
  /** Domain (+ 1) that a page of Xen's is shared with: counted as its own, never freed by it. */
  private readonly sharedWith: Uint16Array;
  /** Counts flushes of PV vcpus: see flush.ts. */
  clock = 1;
  rules: TableRules | null = null;

  constructor(heap: Heap) {
    this.heap = heap;
    this.types = new Uint8Array(heap.frames);
    this.flags = new Uint8Array(heap.frames);
    this.counts = new Int32Array(heap.frames);
    this.linear = new Int16Array(heap.frames);
    this.left = new Uint16Array(heap.frames);
    this.stamps = new Int32Array(heap.frames);
    this.sharedWith = new Uint16Array(heap.frames);
    heap.onFree = (mfn) => this.freed(mfn);
    heap.onTake = (mfn) => this.taken(mfn);
  }

  // --- owners ------------------------------------------------------------------------------------

  /** share_xen_page_with_guest: the domain may map this page of Xen's; the type never changes. */
  share(mfn: number, domid: number, readOnly = false): void {
    this.sharedWith[mfn] = domid + 1;
    this.types[mfn] = readOnly ? PGT_none : PGT_writable_page;
    this.flags[mfn] = PGT_validated;
    this.counts[mfn] = 1;
  }

  /** The domain loses a page of Xen's; mappings that it still has keep it. */
  unshare(mfn: number): void {
    this.counts[mfn]!--;
    this.sharedWith[mfn] = 0;
  }

  isSharedWith(mfn: number, domid: number): boolean {
    return this.sharedWith[mfn] === domid + 1;
  }

  /** Domain that the frame counts as the page of: its owner, or the one that a page of Xen's is shared with. */
  ownerOf(mfn: number): number {
    const owner = this.heap.ownerOf(mfn);
    if (owner !== DOMID_XEN) return owner;
    const shared = this.sharedWith[mfn]!;
    return shared === 0 ? DOMID_XEN : shared - 1;
  }

  /** get_page_from_mfn: takes a reference to a page of `domid`. @returns false if it isn't, or has too many. */
  getPage(mfn: number, domid: number): boolean {
    const owner = this.heap.ownerOf(mfn);
    if (owner === domid) return this.heap.getPage(mfn, owner);
    return owner === DOMID_XEN && this.sharedWith[mfn] === domid + 1 && this.heap.getPage(mfn, DOMID_XEN);
  }

  putPage(mfn: number): void {
    this.heap.putPage(mfn);
  }

  /** The frame goes to another owner, with nothing but its allocation. */
  forget(mfn: number): void {
    this.types[mfn] = PGT_none;
    this.flags[mfn] = 0;
  }

  private freed(mfn: number): void {
    this.types[mfn] = PGT_none;
    this.flags[mfn] = 0;
    this.counts[mfn] = 0;
    this.linear[mfn] = 0;
    this.sharedWith[mfn] = 0;
    if (this.rules === null) return;
    this.stamps[mfn] = this.clock;
    this.rules.freed(mfn);
  }

  private taken(mfn: number): void {
    const stamp = this.stamps[mfn]!;
    if (stamp === 0) return;
    this.stamps[mfn] = 0;
    this.rules!.flushAllSince(stamp);
  }

  // --- type references ---------------------------------------------------------------------------

  /** The frame is in use as `type`, validated. */
  is(mfn: number, type: number): boolean {
    return this.types[mfn] === type && this.counts[mfn] !== 0 && (this.flags[mfn]! & PGT_validated) !== 0;
  }

  /**
   * get_page_type: one more use of a frame, to which the caller has a reference, as `type`; the first one validates it.
   * @param pae PGT_pae_xen_l2 or 0: part of the type
   * @returns 0 or -errno
   */
  getType(mfn: number, type: number, pae = 0): number {
    const count = this.counts[mfn]!;
    if (count !== 0) {
      if (count >= MAX_TYPE_REFERENCES) return -EINVAL;
      // Not validated: it is just being validated, and leads to itself, or it is being taken apart.
      if (this.types[mfn] !== type || (this.flags[mfn]! & (PGT_validated | PGT_pae_xen_l2)) !== (PGT_validated | pae))
        return -EINVAL;
      this.counts[mfn] = count + 1;
      return 0;
    }
    const old = this.types[mfn]!;
    if (old !== type && old !== PGT_none) this.rules!.flushSince(this.ownerOf(mfn), this.stamps[mfn]!);
    this.counts[mfn] = 1;
    this.types[mfn] = type;
    if (type === PGT_writable_page) {
      this.flags[mfn] = PGT_validated;
      return 0;
    }
    if (old === type && (this.flags[mfn]! & PGT_validated) !== 0) return 0;
    this.flags[mfn] = pae;
    this.linear[mfn] = 0;
    const rc = this.rules!.promote(this.ownerOf(mfn), mfn, type, pae);
    if (rc === 0) this.flags[mfn]! |= PGT_validated;
    else {
      this.types[mfn] = PGT_none;
      this.flags[mfn] = 0;
      this.counts[mfn] = 0;
    }
    return rc;
  }

  /**
   * put_page_type: one use less; a page table whose last one it was is abandoned.
   * @param table the table whose entry is given up, -1 if it is no entry (of a linear page table it is one of the same level)
   * @returns true if the caller's reference has become that of the abandoned table (never of what is no table)
   */
  putType(mfn: number, table = -1): boolean {
    const type = this.types[mfn]!;
    if (table >= 0 && this.types[table] === type) {
      this.linear[mfn]!++;
      this.linear[table]!--;
    }
    if (this.counts[mfn] !== 1) this.counts[mfn]!--;
    else if (type === PGT_none || type > PGT_l4_page_table || (this.flags[mfn]! & PGT_validated) === 0) {
      this.counts[mfn] = 0;
      this.stamps[mfn] = this.clock;
    } else {
      this.flags[mfn]! &= ~PGT_validated;
      this.left[mfn] = ENTRIES;
      this.rules!.abandon(this.ownerOf(mfn), mfn);
      return true;
    }
    return false;
  }

  /** An abandoned table has given up its entries: its last use and its reference go. */
  dismantled(mfn: number): void {
    this.flags[mfn] = 0;
    this.counts[mfn] = 0;
    this.stamps[mfn] = this.clock;
    this.putPage(mfn);
  }

  /** get_page_and_type of a frame of `domid`. @returns 0 or -errno */
  getPageAndType(mfn: number, domid: number, type: number, pae = 0): number {
    if (!this.getPage(mfn, domid)) return -EINVAL;
    const rc = this.getType(mfn, type, pae);
    if (rc !== 0) this.putPage(mfn);
    return rc;
  }

  putPageAndType(mfn: number, table = -1): void {
    if (!this.putType(mfn, table)) this.putPage(mfn);
  }

  /**
   * get_l*_linear_pagetable: `table` gets an entry that leads to `mfn`, a validated table of its own level `type`. Chains are
   * refused: what has such entries is not used in one. @returns false if that can't be
   */
  getLinear(mfn: number, table: number, domid: number, type: number): boolean {
    if (this.linear[table]! < 0 || this.linear[table] === MAX_LINEAR) return false;
    if (!this.getPage(mfn, domid)) return false;
    if (
      this.linear[mfn]! > 0 ||
      this.linear[mfn] === -MAX_LINEAR - 1 ||
      this.counts[mfn] === MAX_TYPE_REFERENCES ||
      !this.is(mfn, type)
    ) {
      this.putPage(mfn);
      return false;
    }
    this.linear[table]!++;
    this.linear[mfn]!--;
    this.counts[mfn]!++;
    return true;
  }
}

/**
 * Page tables of PV guests: which entries a guest may have, and the references that they hold (get_page_from_l*e, put_page_from_l*e,
 * promote_l*_table, demote_l*_table and adjust_guest_l*e of xen/arch/x86/mm.c and pv/mm.h).
 *
 * A present L1 entry holds a reference to its frame and, if it allows writing, a use of it as writable. A present entry above holds
 * a reference and a use as a table of the level below, or, read-only, a use as a table of its own level (a linear page table).
 *
 * Entries are two 32-bit words; tables are read and written in the arena, without objects.
 */
import { write64 } from "../../cpu/mmu/memory.ts";
import { EBUSY, EINVAL, EPERM } from "../abi/errno.ts";
import { DOMID_XEN } from "../abi/xen.ts";
import type { Domain } from "../domain/domain.ts";
import { CONTROL_DOMID } from "../domain/privilege.ts";
import type { Hypervisor } from "../hypervisor.ts";
import type { Heap } from "../memory/heap.ts";
import {
  type PageTypes,
  PGT_l1_page_table,
  PGT_l2_page_table,
  PGT_l3_page_table,
  PGT_l4_page_table,
  PGT_pae_xen_l2,
  PGT_seg_desc_page,
  PGT_writable_page,
  type TableRules,
} from "../memory/page-types.ts";
import { COMPAT_L2_FIRST_XEN_SLOT, FIRST_XEN_SLOT, LAST_XEN_SLOT } from "./address-space.ts";
import { checkDescriptorPage } from "./check-descriptor.ts";
import { flushAllPvSince, flushDomainSince } from "./flush.ts";
import { INVALID_M2P, isM2pStrict } from "./m2p.ts";
import {
  L1_DISALLOW,
  L3_DISALLOW_HI_32,
  L234_DISALLOW,
  PTE_A,
  PTE_D,
  PTE_FRAME_HI,
  PTE_G,
  PTE_GUEST_KERNEL_HI,
  PTE_P,
  PTE_RW,
  PTE_US,
  SLOW_HI,
  SLOW_LO,
} from "./pte.ts";

export const ENTRIES = 512;
/** Entries that a hypercall validates or gives up before it lets events in. */
const ENTRIES_AT_ONCE: number = 16 * ENTRIES;
/** The frame of an entry whose address bits are all ones: INVALID_MFN, which is refused in another way than a device's. */
const INVALID_FRAME = 0xfffff;

export class PageTables implements TableRules {
  private readonly hv: Hypervisor;
  private readonly heap: Heap;
  private readonly types: PageTypes;
  private readonly i32: Int32Array;
  /** Domains whose pages have types (not paging_mode_external), also when they are gone. */
  private readonly pvDomids: Set<number> = new Set();
  /** Entries looked at since somebody last asked: what validating and taking apart costs. */
  private entriesDone = 0;

  constructor(hv: Hypervisor) {
    this.hv = hv;
    this.heap = hv.heap;
    this.types = hv.pageTypes;
    this.i32 = hv.arena.i32;
  }

  /** Told of every domain. */
  addDomain(domain: Domain): void {
    if (domain.isPv) this.pvDomids.add(domain.domid);
    else this.pvDomids.delete(domain.domid);
  }

  /** Number of entries that promote and demote have gone over since the last call. */
  takeWork(): number {
    const done = this.entriesDone;
    this.entriesDone = 0;
    return done;
  }

  flushSince(domid: number, stamp: number): void {
    const domain = this.hv.domains.get(domid);
    if (domain !== undefined) flushDomainSince(domain, stamp);
  }

  flushAllSince(stamp: number): void {
    flushAllPvSince(this.hv, stamp);
  }

  freed(mfn: number): void {
    this.hv.m2p!.set(mfn, INVALID_M2P);
  }

  /** Index in words of the first entry of table `mfn`. */
  table(mfn: number): number {
    return this.hv.memory.frame(mfn) >>> 2;
  }

  /** Writes an entry at word index `at`. */
  store(at: number, lo: number, hi: number): void {
    write64(this.hv.xenCore, at * 4, lo, hi);
  }

  // --- entries: references -----------------------------------------------------------------------

  /** Writable mappings of this frame by `user` count as uses: not those of pages of HVM domains by others. */
  private countsWrites(mfn: number, user: number): boolean {
    const owner = this.heap.ownerOf(mfn);
    return owner === user || owner === DOMID_XEN || this.pvDomids.has(owner);
  }

  /**
   * get_page_from_l1e for a present entry.
   * @param user domain whose table it stands in
   * @param pgOwner domain whose page it should be, as the guest says (DOMID_IO: none's)
   * @returns 0 or -errno
   */
  getL1(lo: number, hi: number, user: number, pgOwner: number): number {
    if ((lo & L1_DISALLOW) !== 0) return -EINVAL;
    const mfn = lo >>> 12;
    const frameHi = hi & PTE_FRAME_HI;
    // No guest here may map device memory.
    if (frameHi !== 0 || mfn >= this.heap.frames)
      return frameHi === PTE_FRAME_HI && mfn === INVALID_FRAME ? -EINVAL : -EPERM;
    if (!this.types.getPage(mfn, pgOwner)) {
      // Its target's pages a privileged domain may name as its own, and hand on.
      const owner = this.types.ownerOf(mfn);
      if (pgOwner === user || pgOwner !== CONTROL_DOMID || owner < 0 || owner === DOMID_XEN) return -EBUSY;
      if (!this.types.getPage(mfn, owner)) return -EBUSY;
    }
    if ((lo & PTE_RW) !== 0 && this.countsWrites(mfn, user)) {
      if (this.types.getType(mfn, PGT_writable_page) !== 0) {
        this.heap.putPage(mfn);
        return -EBUSY;
      }
    }
    return 0;
  }

  /** put_page_from_l1e. */
  putL1(lo: number, user: number): void {
    if ((lo & PTE_P) === 0) return;
    const mfn = lo >>> 12;
    if ((lo & PTE_RW) !== 0 && this.countsWrites(mfn, user)) this.types.putType(mfn);
    this.heap.putPage(mfn);
  }

  /** get_page_from_l2e, _l3e and _l4e for a present entry of `table`, a table of level `type` (PGT_l2.. l4). @returns 0 or -errno */
  private getAbove(lo: number, hi: number, table: number, type: number, domain: Domain): number {
    const is32 = domain.pv!.is32bit;
    if ((lo & L234_DISALLOW) !== 0) return -EINVAL;
    if (is32 && type === PGT_l3_page_table && (hi & L3_DISALLOW_HI_32) !== 0) return -EINVAL;
    const mfn = lo >>> 12;
    if ((hi & PTE_FRAME_HI) !== 0 || mfn >= this.heap.frames) return -EINVAL;
    const rc = this.types.getPageAndType(mfn, domain.domid, type - 1);
    if (rc !== -EINVAL || (is32 && type === PGT_l3_page_table)) return rc;
    // A linear page table: the entry must be read-only, or the guest could write the tables that it reaches through it.
    if ((lo & PTE_RW) !== 0) return -EINVAL;
    if (mfn === table) return 0;
    if (this.types.ownerOf(table) !== domain.domid) return -EINVAL;
    return this.types.getLinear(mfn, table, domain.domid, type) ? 0 : -EINVAL;
  }

  /** put_page_from_l2e, _l3e and _l4e. */
  private putAbove(lo: number, table: number): void {
    if ((lo & PTE_P) === 0) return;
    const mfn = lo >>> 12;
    if (mfn !== table) this.types.putPageAndType(mfn, table);
  }

  // --- entries: what Xen makes of them -----------------------------------------------------------

  /** adjust_guest_l1e, of the two words: in 64-bit guests kernel and user both run in ring 3. */
  adjustL1Lo(lo: number, hi: number, is32: boolean): number {
    if (is32 || (lo & PTE_P) === 0) return lo;
    if ((lo & PTE_US) !== 0 && (hi & PTE_GUEST_KERNEL_HI) === 0) return lo | PTE_G;
    return lo | PTE_US;
  }
  adjustL1Hi(lo: number, hi: number, is32: boolean): number {
    return is32 || (lo & PTE_P) === 0 || (lo & PTE_US) !== 0 ? hi : hi | PTE_GUEST_KERNEL_HI;
  }

  /** adjust_guest_l2e, _l3e and _l4e: of the low word; the high one stays. */
  private adjustAbove(lo: number, type: number, is32: boolean): number {
    if ((lo & PTE_P) === 0) return lo;
    if (type === PGT_l4_page_table) return lo | PTE_A | (is32 ? 0 : PTE_US);
    if (!is32) return lo | PTE_US;
    return type === PGT_l3_page_table ? lo | PTE_US | PTE_RW : lo;
  }

  // --- whole tables ------------------------------------------------------------------------------

  promote(domid: number, mfn: number, type: number, pae: number): number {
    const domain = this.hv.domains.get(domid);
    if (domain === undefined || domain.pv === null) return -EINVAL;
    this.entriesDone += ENTRIES;
    switch (type) {
      case PGT_l1_page_table:
        return this.promoteL1(domain, mfn);
      case PGT_seg_desc_page:
        return checkDescriptorPage(domain, mfn) ? 0 : -EINVAL;
      default:
        return this.promoteAbove(domain, mfn, type, pae);
    }
  }

  /** The hypercall that runs has done as much as it may at once: it is to be continued. */
  get isTired(): boolean {
    return this.entriesDone >= ENTRIES_AT_ONCE;
  }

  abandon(domid: number, mfn: number): void {
    this.hv.domains.get(domid)!.pv!.abandoned.push(mfn);
  }

  /**
   * Goes on taking the domain's abandoned tables apart (put_old_guest_table).
   * @param all not just as long as the running hypercall may
   * @returns true if none is left
   */
  takeApart(domain: Domain, all = false): boolean {
    if (domain.pv === null) return true;
    const { abandoned } = domain.pv;
    while (abandoned.length > 0) {
      if (!all && this.isTired) return false;
      const mfn = abandoned.at(-1)!;
      this.giveUp(domain, mfn);
      if (abandoned.at(-1) !== mfn) continue;
      abandoned.pop();
      this.types.dismantled(mfn);
    }
    return true;
  }

  /** Gives up the entries that a table has left, from the last one on, until one of them abandons a table in its turn. */
  giveUp(domain: Domain, mfn: number): void {
    const { left, types, flags } = this.types;
    const type = types[mfn]!;
    const before = left[mfn]!;
    if (type === PGT_l1_page_table) {
      this.putL1Entries(mfn, before, domain.domid);
      left[mfn] = 0;
    } else left[mfn] = this.putEntriesAbove(domain, mfn, type, before, flags[mfn]! & PGT_pae_xen_l2);
    this.entriesDone += before - left[mfn]!;
  }

  private promoteL1(domain: Domain, mfn: number): number {
    const { i32 } = this;
    const { domid } = domain;
    const is32 = domain.pv!.is32bit;
    const first = this.table(mfn);
    for (let i = 0; i < ENTRIES; i++) {
      const at = first + 2 * i;
      const lo = i32[at]!;
      if ((lo & PTE_P) === 0) continue;
      const hi = i32[at + 1]!;
      const rc = this.getL1(lo, hi, domid, domid);
      if (rc !== 0) {
        this.putL1Entries(mfn, i, domid);
        return rc;
      }
      const newLo = this.adjustL1Lo(lo, hi, is32);
      const newHi = this.adjustL1Hi(lo, hi, is32);
      if (newLo !== lo || newHi !== hi) this.store(at, newLo, newHi);
    }
    return 0;
  }

  private putL1Entries(mfn: number, count: number, domid: number): void {
    const first = this.table(mfn);
    for (let i = 0; i < count; i++) this.putL1(this.i32[first + 2 * i]!, domid);
  }

  /** A slot of the table that is the guest's (is_guest_l2_slot, is_guest_l4_slot). */
  isGuestSlot(is32: boolean, type: number, slot: number, pae: number): boolean {
    if (type === PGT_l4_page_table) return is32 ? slot === 0 : slot < FIRST_XEN_SLOT || slot > LAST_XEN_SLOT;
    return type !== PGT_l2_page_table || pae === 0 || slot < COMPAT_L2_FIRST_XEN_SLOT;
  }

  private promoteAbove(domain: Domain, mfn: number, type: number, pae: number): number {
    const { i32 } = this;
    const is32 = domain.pv!.is32bit;
    const first = this.table(mfn);
    // A PAE guest has four entries; the processor, in compatibility mode, sees all 512.
    if (is32 && type === PGT_l3_page_table) for (let i = 4; i < ENTRIES; i++) this.store(first + 2 * i, 0, 0);
    for (let i = 0; i < ENTRIES; i++) {
      if (!this.isGuestSlot(is32, type, i, pae)) continue;
      const at = first + 2 * i;
      const lo = i32[at]!;
      let rc = 0;
      if (is32 && type === PGT_l3_page_table && i === 3) rc = this.getPaeSlot3(domain, lo, i32[at + 1]!);
      else if ((lo & PTE_P) === 0) continue;
      else rc = this.getAbove(lo, i32[at + 1]!, mfn, type, domain);
      if (rc !== 0) {
        for (let n = i; n > 0; ) n = this.putEntriesAbove(domain, mfn, type, n, pae);
        return rc;
      }
      const newLo = this.adjustAbove(lo, type, is32);
      if (newLo !== lo) this.store(at, newLo, i32[at + 1]!);
    }
    if (pae !== 0) domain.pv!.addressSpace.fillCompatL2Slots(mfn);
    // Without m2p_strict a table shows the machine-to-phys table once it has been a kernel's (fill_ro_mpt).
    if (type === PGT_l4_page_table) domain.pv!.addressSpace.fillXenSlots(mfn, isM2pStrict(domain));
    return 0;
  }

  /** The L2 of a 32-bit guest's fourth gigabyte holds Xen's mappings: it must be there, and in no other L3. */
  private getPaeSlot3(domain: Domain, lo: number, hi: number): number {
    if ((lo & PTE_P) === 0 || (lo & L234_DISALLOW) !== 0 || (hi & (L3_DISALLOW_HI_32 | PTE_FRAME_HI)) !== 0)
      return -EINVAL;
    const mfn = lo >>> 12;
    const rc = this.types.getPageAndType(mfn, domain.domid, PGT_l2_page_table, PGT_pae_xen_l2);
    if (rc !== 0 || this.types.counts[mfn] === 1) return rc;
    this.types.putPageAndType(mfn);
    return -EINVAL;
  }

  /**
   * Gives up the first `count` entries of a table, from the last of them on, until one abandons a table; those of a PAE L3 get back the
   * form that the guest knows (unadjust_guest_l3e). @returns how many are left
   */
  private putEntriesAbove(domain: Domain, mfn: number, type: number, count: number, pae: number): number {
    const { i32 } = this;
    const { is32bit: is32, abandoned } = domain.pv!;
    const before = abandoned.length;
    const isPaeL3 = is32 && type === PGT_l3_page_table;
    const first = this.table(mfn);
    for (let i = count - 1; i >= 0; i--) {
      if (!this.isGuestSlot(is32, type, i, pae)) continue;
      const at = first + 2 * i;
      const lo = i32[at]!;
      if ((lo & PTE_P) === 0) continue;
      this.putAbove(lo, mfn);
      if (isPaeL3) this.store(at, lo & ~(PTE_US | PTE_RW | PTE_A), i32[at + 1]!);
      if (abandoned.length !== before) return i;
    }
    return 0;
  }

  // --- changes -----------------------------------------------------------------------------------

  /** UPDATE_ENTRY. */
  private replace(at: number, lo: number, hi: number, preserveAd: boolean): void {
    const old = this.i32[at]!;
    this.store(at, preserveAd ? lo | (old & (PTE_A | PTE_D)) : lo, hi);
  }

  /**
   * mod_l1_entry: writes the entry at word index `at` of a validated L1 of `user`.
   * @param pgOwner domain whose frame it is
   * @returns 0 or -errno, then nothing has changed
   */
  modL1(at: number, lo: number, hi: number, preserveAd: boolean, user: Domain, pgOwner: number): number {
    const { i32 } = this;
    const oldLo = i32[at]!;
    if ((lo & PTE_P) !== 0) {
      if ((lo & L1_DISALLOW) !== 0) return -EINVAL;
      const { is32bit } = user.pv!;
      const newLo = this.adjustL1Lo(lo, hi, is32bit);
      const newHi = this.adjustL1Hi(lo, hi, is32bit);
      if (((newLo ^ oldLo) & SLOW_LO) === 0 && ((newHi ^ i32[at + 1]!) & SLOW_HI) === 0) {
        this.replace(at, newLo, newHi, preserveAd);
        return 0;
      }
      const rc = this.getL1(newLo, newHi, user.domid, pgOwner);
      if (rc !== 0) return rc;
      this.replace(at, newLo, newHi, preserveAd);
    } else this.replace(at, lo, hi, preserveAd);
    this.putL1(oldLo, user.domid);
    return 0;
  }

  /** mod_l2_entry, mod_l3_entry and mod_l4_entry: the same of a table of level `type`. */
  modAbove(mfn: number, slot: number, lo: number, hi: number, preserveAd: boolean, user: Domain): number {
    const type = this.types.types[mfn]!;
    const { is32bit } = user.pv!;
    if (!this.isGuestSlot(is32bit, type, slot, this.types.flags[mfn]! & PGT_pae_xen_l2))
      return type === PGT_l2_page_table ? -EPERM : -EINVAL;
    if (is32bit && type === PGT_l3_page_table && slot >= 3) return -EINVAL;
    const at = this.table(mfn) + 2 * slot;
    const oldLo = this.i32[at]!;
    if ((lo & PTE_P) !== 0) {
      if ((lo & L234_DISALLOW) !== 0) return -EINVAL;
      if (is32bit && type === PGT_l3_page_table && (hi & L3_DISALLOW_HI_32) !== 0) return -EINVAL;
      const newLo = this.adjustAbove(lo, type, is32bit);
      if (((newLo ^ oldLo) & SLOW_LO) === 0 && ((hi ^ this.i32[at + 1]!) & SLOW_HI) === 0) {
        this.replace(at, newLo, hi, preserveAd);
        return 0;
      }
      const rc = this.getAbove(newLo, hi, mfn, type, user);
      if (rc !== 0) return rc;
      this.replace(at, newLo, hi, preserveAd);
    } else this.replace(at, lo, hi, preserveAd);
    this.putAbove(oldLo, mfn);
    return 0;
  }
}

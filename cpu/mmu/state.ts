/**
 * What the memory management unit of one core keeps outside the arena: the paging mode that CR0, CR4 and EFER imply
 * (recomputed by system/mode.ts), the context numbers of its address spaces, a cache of second-level translations,
 * and the result of the last walk. All of it can be rebuilt from the registers by `updateMode`; who saves the TLBs, so that a
 * restored machine misses as the original would, saves `contexts`, `epoch` and the group's TlbState with them.
 */

import {
  type Arena,
  NESTED_ENTRIES,
  NESTED_ENTRY,
  NESTED_LARGE_ENTRY,
  NESTED_LARGE_TAG,
  NESTED_TAG,
} from "../arena.ts";

export const PAGING_NONE = 0;
/** 32-bit paging (SDM 4.3). */
export const PAGING_32 = 1;
/** PAE paging (SDM 4.4). */
export const PAGING_PAE = 2;
/** 4-level paging (SDM 4.5). */
export const PAGING_LONG = 3;

export const ACCESS_READ = 0;
export const ACCESS_WRITE = 1;
export const ACCESS_FETCH = 2;

/** Physical-address width that CPUID reports and reserved-bit checks use. */
export const PHYSICAL_BITS = 40;

export class MmuState {
  // ---- derived from the control registers (system/mode.ts) ----
  paging: number = PAGING_NONE;
  /** The bits of MODE that follow from them. */
  controlMode = 0;
  wp = false;
  nxe = false;
  smep = false;
  pse = false;
  /** CR0.AM, RFLAGS.AC and CPL 3 together: data accesses of the user view are checked for alignment. */
  alignCheck = false;
  /** A data breakpoint is enabled in DR7: pages with one stay out of the TLB. */
  watching = false;

  /** The register bits whose change starts a new epoch, as of the last `updateMode`. */
  epoch = 0;

  /** The core stands in its group's list. */
  registered = false;

  // ---- contexts (mmu/contexts.ts) ----
  /** Context number by PCID (index 0 without PCIDs), 0 = none given. */
  readonly contexts: Int32Array = new Int32Array(4096);
  /** No PCID above has had one in this epoch. */
  highestPcid = 0;

  // ---- result of a walk ----
  /** Arena address of the 4 KiB page, or -1: not RAM, `physical` goes to the bus. */
  page = -1;
  /** Physical address of the page, for the bus (guest-physical under second-level paging). */
  physical = 0;
  /** Log2 of the size of the first-level page. */
  shift = 12;
  /** A write would need neither a further check nor a change of a D bit. */
  writable = false;
  /** Arena address of the byte asked for, or -1 as for `page`. */
  at = 0;

  // ---- a walk in progress ----
  /** The linear address under translation. */
  lo = 0;
  hi = 0;
  /** EXIT_GLA is meaningful for this walk. */
  linearValid = true;
  /** No A or D bit is set: debuggers and dumps look without a trace. */
  peek = false;
  /** By level - 1: guest frame of the tables that the walk used, byte offset of the entry in it, its low word. */
  readonly entryFrame: Int32Array = new Int32Array(4);
  readonly entryOffset: Int32Array = new Int32Array(4);
  readonly entryLo: Int32Array = new Int32Array(4);

  // ---- second level ----
  /** Result of the last second-level translation: a write needs no further check or D bit. */
  nestedWritable = true;
  readonly nestedEntryAt: Uint32Array = new Uint32Array(4);
  readonly nestedEntryLo: Int32Array = new Int32Array(4);
  /** The root and format that the caches are for. */
  cacheRoot = -1;
  cacheFormat = 0;
  /** In the arena (NESTED_TAG and so on): rights R W X (bits 0-2), D (3). */
  readonly cacheTag: Int32Array;
  readonly cacheEntry: Int32Array;
  readonly largeTag: Int32Array;
  readonly largeEntry: Int32Array;

  /** @param index of the core in `arena` */
  constructor(arena: Arena, index: number) {
    const at = arena.nestedCaches(index);
    const table = (offset: number): Int32Array => new Int32Array(arena.memory.buffer, at + offset, NESTED_ENTRIES);
    this.cacheTag = table(NESTED_TAG);
    this.cacheEntry = table(NESTED_ENTRY);
    this.largeTag = table(NESTED_LARGE_TAG);
    this.largeEntry = table(NESTED_LARGE_ENTRY);
  }
}

/** Of all cores that share the TLBs. */
export class TlbState {
  /** The context number to give out next. */
  next = 1;
  /** A 1 GiB page was filled. */
  huge = false;
}

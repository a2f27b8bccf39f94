/**
 * The p2m of a domain: guest frames to machine frames, kept as the second-level tables that the processor walks (EPT,
 * SDM 29.3.2; or NPT, APM 15.25.5) in machine frames of Xen's own. The type of an entry lies in bits 57..52, which both
 * formats leave to software. Accessed and dirty are set from the start, so the walker never writes here.
 *
 * A guest frame number is a number below 2^36 (four levels). Lookups accept any number.
 */
import { NESTED_EPT } from "../../cpu/core.ts";
import { DOMID_XEN } from "../abi/xen.ts";
import { type Heap, SUPERPAGE_FRAMES } from "./heap.ts";
import type { MachineMemory } from "./machine-memory.ts";

/** Nothing there: reads give all ones, writes vanish (p2m_mmio_dm of a domain without a device model). */
export const P2M_INVALID = 0;
export const P2M_RAM_RW = 1;
export const P2M_RAM_RO = 2;
/** Page of another domain, by grant. */
export const P2M_GRANT_MAP_RW = 3;
export const P2M_GRANT_MAP_RO = 4;
/** Page of another domain, by privilege (XENMAPSPACE_gmfn_foreign). */
export const P2M_MAP_FOREIGN = 5;

/** Types whose frame belongs to the domain or is Xen's page shared with it. */
export const isRam = (type: number): boolean => type === P2M_RAM_RW || type === P2M_RAM_RO;
export const isGrant = (type: number): boolean => type === P2M_GRANT_MAP_RW || type === P2M_GRANT_MAP_RO;
export const isReadOnly = (type: number): boolean => type === P2M_RAM_RO || type === P2M_GRANT_MAP_RO;

export const MAX_GFN: number = 2 ** 36 - 1;

interface TableFormat {
  /** Low bits of an entry that points to a table. */
  readonly table: number;
  /** Low bits of a leaf that may only be read: memory type write-back, accessed, dirty. */
  readonly leaf: number;
  readonly writable: number;
  /** Bits of the low and of the high word for a leaf that may, and that may not, be executed. */
  readonly execute: number;
  readonly noExecute: number;
  readonly present: number;
  /** Leaf of 2 MiB. */
  readonly large: number;
}

const EPT: TableFormat = {
  table: 0x107,
  leaf: 0x331,
  writable: 2,
  execute: 4,
  noExecute: 0,
  present: 7,
  large: 0x80,
};
const NPT: TableFormat = {
  table: 0x27,
  leaf: 0x65,
  writable: 2,
  execute: 0,
  noExecute: 0x80000000,
  present: 1,
  large: 0x80,
};
const TYPE_SHIFT = 20;
const TYPE_MASK = 0x3f;

/** What a domain's guest frames are: in a P2m, or for a PV domain machine frames (pv/frames.ts). P2m documents the members. */
export interface GuestFrames {
  readonly maxMapped: number;
  lookup(gfn: number): number;
  typeOf(gfn: number): number;
}

export class P2m implements GuestFrames {
  private readonly memory: MachineMemory;
  private readonly heap: Heap;
  private readonly format: TableFormat;
  private readonly u32: Uint32Array;
  /** Machine frame of the root table. */
  readonly rootMfn: number;
  /** Told after a present entry changed or went away: translations may be cached. */
  private readonly flush: () => void;
  /** Highest guest frame that was ever mapped. */
  maxMapped = 0;
  /** Frames that the tables take, and may take: a guest that scatters its pages must not use up the machine's memory. */
  private tables = 0;
  private readonly maxTables: number;

  /**
   * Throws RangeError if there is no frame for the root.
   * @param nested NESTED_EPT or NESTED_NPT
   * @param maxTables size of the pool for tables, frames (shadow_memory of xl.cfg)
   */
  constructor(memory: MachineMemory, heap: Heap, nested: number, flush: () => void, maxTables: number = Infinity) {
    this.memory = memory;
    this.heap = heap;
    this.format = nested === NESTED_EPT ? EPT : NPT;
    this.u32 = memory.arena.u32;
    this.flush = flush;
    this.maxTables = maxTables;
    this.rootMfn = this.newTable();
    if (this.rootMfn < 0) throw new RangeError("no machine memory for a p2m");
  }

  /** A zeroed frame for a table, or -1. */
  private newTable(): number {
    if (this.tables >= this.maxTables) return -1;
    const mfn = this.heap.alloc(DOMID_XEN);
    if (mfn >= 0) this.tables++;
    return mfn;
  }

  /** Index into u32 of the entry of `gfn` at `level` (3 the root .. 0), -1 if a table is missing or a large leaf is above. */
  private entry(gfn: number, level: number, create: boolean): number {
    let table = this.rootMfn;
    for (let l = 3; ; l--) {
      const at = (this.memory.frame(table) >>> 2) + (Math.floor(gfn / 2 ** (9 * l)) % SUPERPAGE_FRAMES) * 2;
      if (l === level) return at;
      const low = this.u32[at]!;
      if ((low & this.format.present) === 0) {
        if (!create) return -1;
        const next = this.newTable();
        if (next < 0) return -1;
        this.u32[at] = next * 4096 + this.format.table;
        this.u32[at + 1] = 0;
        table = next;
      } else if (l === 1 && (low & this.format.large) !== 0) {
        if (!create || !this.split(at)) return -1;
        table = this.u32[at]! >>> 12;
      } else table = low >>> 12;
    }
  }

  /** Replaces a 2 MiB leaf by a table of 512 leaves that say the same. */
  private split(at: number): boolean {
    const table = this.newTable();
    if (table < 0) return false;
    const low = this.u32[at]!;
    const high = this.u32[at + 1]!;
    const first = this.memory.frame(table) >>> 2;
    for (let i = 0; i < SUPERPAGE_FRAMES; i++) {
      this.u32[first + 2 * i] = (low & ~this.format.large) + i * 4096;
      this.u32[first + 2 * i + 1] = high;
    }
    this.u32[at] = table * 4096 + this.format.table;
    this.u32[at + 1] = 0;
    return true;
  }

  private leafIndex(gfn: number): number {
    if (!(gfn >= 0 && gfn <= MAX_GFN)) return -1;
    const at2 = this.entry(gfn, 1, false);
    if (at2 < 0) return -1;
    const low = this.u32[at2]!;
    if ((low & this.format.present) === 0) return -1;
    if ((low & this.format.large) !== 0) return at2;
    return this.entry(gfn, 0, false);
  }

  /** Machine frame behind `gfn`, whatever its type, or -1. */
  lookup(gfn: number): number {
    const at = this.leafIndex(gfn);
    if (at < 0) return -1;
    const low = this.u32[at]!;
    if ((low & this.format.present) === 0) return -1;
    return (low & this.format.large) !== 0 ? (low >>> 12) + (gfn % SUPERPAGE_FRAMES) : low >>> 12;
  }

  /** Type of `gfn`, P2M_INVALID if nothing is mapped. */
  typeOf(gfn: number): number {
    const at = this.leafIndex(gfn);
    if (at < 0 || (this.u32[at]! & this.format.present) === 0) return P2M_INVALID;
    return (this.u32[at + 1]! >>> TYPE_SHIFT) & TYPE_MASK;
  }

  /** Maps one frame in place of whatever was there. @returns false without memory for tables, or beyond MAX_GFN. */
  map(gfn: number, mfn: number, type: number): boolean {
    if (!(gfn >= 0 && gfn <= MAX_GFN)) return false;
    const at = this.entry(gfn, 0, true);
    if (at < 0) return false;
    this.put(at, mfn * 4096 + this.leafBits(type), type);
    if (gfn > this.maxMapped) this.maxMapped = gfn;
    return true;
  }

  /** Maps 512 frames; both numbers are multiples of 512 and nothing may be mapped there. @returns false if that can't be. */
  mapSuperpage(gfn: number, mfn: number, type: number): boolean {
    if (!(gfn >= 0 && gfn <= MAX_GFN) || gfn % SUPERPAGE_FRAMES !== 0 || mfn % SUPERPAGE_FRAMES !== 0) return false;
    const at = this.entry(gfn, 1, true);
    if (at < 0 || (this.u32[at]! & this.format.present) !== 0) return false;
    this.put(at, mfn * 4096 + this.leafBits(type) + this.format.large, type);
    if (gfn + SUPERPAGE_FRAMES - 1 > this.maxMapped) this.maxMapped = gfn + SUPERPAGE_FRAMES - 1;
    return true;
  }

  /** True if `gfn` begins a 2 MiB block in which no table exists yet, so that `mapSuperpage` can work. */
  isEmptyBlock(gfn: number): boolean {
    if (!(gfn >= 0 && gfn <= MAX_GFN) || gfn % SUPERPAGE_FRAMES !== 0) return false;
    const at = this.entry(gfn, 1, false);
    return at < 0 || (this.u32[at]! & this.format.present) === 0;
  }

  /** Takes the entry away. @returns the machine frame that was there, -1 none (or no memory to split a superpage). */
  unmap(gfn: number): number {
    const mfn = this.lookup(gfn);
    if (mfn < 0) return -1;
    const at = this.entry(gfn, 0, true);
    if (at < 0) return -1;
    this.put(at, 0, P2M_INVALID);
    return mfn;
  }

  private leafBits(type: number): number {
    const f = this.format;
    return f.leaf + (isReadOnly(type) ? 0 : f.writable) + (isRam(type) ? f.execute : 0);
  }

  private put(at: number, low: number, type: number): void {
    const present = (this.u32[at]! & this.format.present) !== 0;
    this.u32[at] = low;
    this.u32[at + 1] = (type << TYPE_SHIFT) | (low === 0 || isRam(type) ? 0 : this.format.noExecute);
    if (present) this.flush();
  }

  /** Every guest frame that is mapped, ascending, with its machine frame and type. */
  *entries(): Generator<readonly [gfn: number, mfn: number, type: number]> {
    yield* this.entriesBelow(this.rootMfn, 3, 0);
  }

  private *entriesBelow(table: number, level: number, firstGfn: number): Generator<readonly [number, number, number]> {
    const first = this.memory.frame(table) >>> 2;
    for (let i = 0; i < SUPERPAGE_FRAMES; i++) {
      const low = this.u32[first + 2 * i]!;
      if ((low & this.format.present) === 0) continue;
      const gfn = firstGfn + i * SUPERPAGE_FRAMES ** level;
      const type = (this.u32[first + 2 * i + 1]! >>> TYPE_SHIFT) & TYPE_MASK;
      if (level === 0) yield [gfn, low >>> 12, type];
      else if ((low & this.format.large) === 0) yield* this.entriesBelow(low >>> 12, level - 1, gfn);
      else for (let n = 0; n < SUPERPAGE_FRAMES; n++) yield [gfn + n, (low >>> 12) + n, type];
    }
  }

  /** Gives the tables back. The p2m must not be used, nor be any core's nested root, afterwards. */
  destroy(): void {
    this.release(this.rootMfn, 3);
    this.flush();
  }

  private release(table: number, level: number): void {
    if (level > 0) {
      const first = this.memory.frame(table) >>> 2;
      for (let i = 0; i < SUPERPAGE_FRAMES; i++) {
        const low = this.u32[first + 2 * i]!;
        if ((low & this.format.present) !== 0 && (low & this.format.large) === 0) this.release(low >>> 12, level - 1);
      }
    }
    this.heap.putPage(table);
  }
}

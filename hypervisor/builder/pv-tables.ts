/**
 * The initial page tables of a PV domain (setup_pgtables_pv of xc_dom_x86.c): which tables a mapping needs, where they lie among
 * the domain's frames, and their bytes. The page tables are themselves mapped, read-only.
 */
import type { PvWriter } from "./pv.ts";

const PTE_P = 1;
const PTE_RW = 2;
const PTE_US = 4;
const PTE_A = 0x20;
const PTE_D = 0x40;
const PAGE = 4096;
const ENTRIES = 512;

/** Page tables and the width of words of one kind of PV guest. */
export interface TableGeometry {
  readonly magic: string;
  readonly levels: number;
  /** Flags of an entry in a table of level 1 (leaf), 2, ... */
  readonly flags: readonly number[];
  readonly wordBytes: 4 | 8;
  /** Address bits that tables translate. */
  readonly mask: bigint;
}

const TABLE = PTE_P | PTE_RW | PTE_US | PTE_A | PTE_D;

export const GEOMETRY_64: TableGeometry = {
  magic: "xen-3.0-x86_64",
  levels: 4,
  flags: [PTE_P | PTE_RW | PTE_A, TABLE, TABLE, TABLE],
  wordBytes: 8,
  mask: (1n << 48n) - 1n,
};

/** PAE: entries of the top table have no rights. */
export const GEOMETRY_32: TableGeometry = {
  magic: "xen-3.0-x86_32p",
  levels: 3,
  flags: [PTE_P | PTE_RW | PTE_A, TABLE, PTE_P],
  wordBytes: 4,
  mask: (1n << 32n) - 1n,
};

interface Table {
  readonly level: number;
  pfn: number;
  /** By index: pfn of what the entry names. */
  readonly entries: Map<number, number>;
}

export class PvTables {
  readonly geometry: TableGeometry;
  /** Frames of the tables of the first mapping: what start_info calls nr_pt_frames. */
  count = 0;
  /** Where they begin; the top one is the first. */
  firstPfn = 0;
  /** By level (from 1) and the index of the region that a table covers. */
  private readonly tables: Map<string, Table> = new Map();

  constructor(geometry: TableGeometry) {
    this.geometry = geometry;
  }

  /** Index, among all tables of `level`, of the one that covers page number `vpn`. */
  private static region(vpn: bigint, level: number): bigint {
    return vpn >> BigInt(9 * level);
  }

  private vpn(address: bigint): bigint {
    return (address & this.geometry.mask) >> 12n;
  }

  /** Keys of the tables, top first, that a mapping of `pages` pages at `address` needs beyond those there are. */
  private missing(address: bigint, pages: number): { level: number; index: bigint }[] {
    const first = this.vpn(address);
    const last = first + BigInt(pages) - 1n;
    const found: { level: number; index: bigint }[] = [];
    for (let level = this.geometry.levels; level >= 1; level--) {
      const top = level === this.geometry.levels;
      const from = top ? 0n : PvTables.region(first, level);
      const to = top ? 0n : PvTables.region(last, level);
      for (let index = from; index <= to; index++)
        if (!this.tables.has(`${level} ${index}`)) found.push({ level, index });
      // Xen wants a second-level table for the last gigabyte of a 32-bit guest.
      if (this.geometry.levels === 3 && level === 2 && to < 3n && !this.tables.has("2 3"))
        found.push({ level, index: 3n });
    }
    return found;
  }

  /** Tables that such a mapping takes. */
  countFor(address: bigint, pages: number): number {
    return this.missing(address, pages).length;
  }

  /** Maps `pages` frames from `pfn` on at `address`; new tables lie from `tablePfn` on. */
  mapRegion(address: bigint, pfn: number, pages: number, tablePfn: number): void {
    const { levels } = this.geometry;
    if (this.tables.size === 0) this.firstPfn = tablePfn;
    this.missing(address, pages).forEach(({ level, index }, i) => {
      const table: Table = { level, pfn: tablePfn + i, entries: new Map() };
      this.tables.set(`${level} ${index}`, table);
      if (level < levels) {
        const above = this.tables.get(`${level + 1} ${level + 1 === levels ? 0n : index >> 9n}`)!;
        above.entries.set(Number(index % BigInt(ENTRIES)), table.pfn);
      }
    });
    const first = this.vpn(address);
    for (let n = 0; n < pages; n++) {
      const vpn = first + BigInt(n);
      const leaf = this.tables.get(`1 ${PvTables.region(vpn, 1)}`)!;
      leaf.entries.set(Number(vpn % BigInt(ENTRIES)), pfn + n);
    }
  }

  /** Frame of the top table. */
  get topPfn(): number {
    return this.firstPfn;
  }

  /** Writes the tables' bytes. `mfns`: machine frame by pfn. */
  write(mfns: Int32Array, write: PvWriter): void {
    const own = new Set([...this.tables.values()].map((t) => t.pfn));
    for (const table of this.tables.values()) {
      const words = new BigUint64Array(ENTRIES);
      const flags = this.geometry.flags[table.level - 1]!;
      for (const [index, pfn] of table.entries) {
        // Page tables may only be read.
        const rights = table.level === 1 && own.has(pfn) ? flags & ~PTE_RW : flags;
        words[index] = BigInt(mfns[pfn]!) * BigInt(PAGE) + BigInt(rights);
      }
      write(table.pfn * PAGE, new Uint8Array(words.buffer));
    }
  }
}

/**
 * Recounts what PV domains use frames for from their page tables alone, and compares it with what Xen counts; for tests. It shares no code with
 * page-tables.ts and page-types.ts, changes nothing and costs no cycles.
 */
import {
  DTLB,
  FRAME_CODE,
  TLB_ADDEND,
  TLB_ENTRIES,
  TLB_ENTRY_SHIFT,
  TLB_READ,
  TLB_VIEWS,
  TLB_WRITE,
} from "../../cpu/arena.ts";
import { DOMID_XEN } from "../abi/xen.ts";
import type { Domain } from "../domain/domain.ts";
import { CONTROL_DOMID } from "../domain/privilege.ts";
import { EventChannels } from "../events/channels.ts";
import { grantsOf } from "../grants/grants.ts";
import type { Hypervisor } from "../hypervisor.ts";

/** Names of what a frame can be used for, by number of type. */
const NAMES = ["no", "l1", "l2", "l3", "l4", "descriptor", "shared", "writable"] as const;
const DESCRIPTORS = 5;
const WRITABLE = 7;
const ENTRIES = 512;
const ENTRY_BYTES = 8n;
/** Address bits of an entry. */
const FRAME_MASK = 0xf_ffff_ffff_f000n;
const PRESENT = 1n;
const WRITE = 2n;
const USER = 4n;
const ACCESSED_DIRTY = 0x60n;
/** PWT, PCD, PAT: for domains with devices. */
const L1_FORBIDDEN = 0x98n;
const TABLE_FORBIDDEN = 0x198n;
const XEN_SLOTS = { first: 256, last: 271, m2p: 256, area: 260 } as const;
const COMPAT_FIRST_XEN_SLOT = 428;
const PINNED = 2;
/** High words of addresses of Xen's slots. */
const XEN_START_HI = 0xffff8000;
const XEN_END_HI = 0xffff8800;

/** What one frame is used for, and by how many. */
class Uses {
  /** By type. */
  readonly counts: number[] = new Array<number>(8).fill(0);
  references = 0;
}

export class PvRecount {
  private readonly hv: Hypervisor;
  private readonly uses: Map<number, Uses> = new Map();
  private readonly found: string[] = [];
  /** Tables that are being taken apart. */
  private readonly abandoned: Set<number> = new Set();

  /** @param held frames of PV domains that daemons use */
  constructor(hv: Hypervisor, held: readonly number[]) {
    this.hv = hv;
    const domains = [...hv.domains.values()];
    for (const mfn of held) if (this.isPvOwned(mfn)) this.use(mfn, WRITABLE, false);
    // What somebody writes to by a grant, its owner may be gone.
    for (const domain of domains)
      if (domain.isPv)
        for (const [, active] of grantsOf(domain)?.table.pinned() ?? [])
          if (active.writes > 0 && active.gfn >= 0) this.use(active.mfn, WRITABLE, false);
    for (const domain of domains) {
      if (!domain.isPv || domain.isDying) continue;
      for (const mfn of domain.pv!.abandoned) this.abandoned.add(mfn);
      this.count(domain);
    }
  }

  /** References that PV domains hold to `mfn` by tables, pins and vcpus; not those that all kinds of domains have. */
  referencesTo(mfn: number): number {
    return this.uses.get(mfn)?.references ?? 0;
  }

  /** A line for every disagreement. */
  differences(): string[] {
    const { pageTypes: types, heap } = this.hv;
    for (let mfn = 0; mfn < heap.frames; mfn++) {
      const owner = heap.ownerOf(mfn);
      const isShared = owner === DOMID_XEN && types.ownerOf(mfn) !== DOMID_XEN;
      if (!isShared && !this.isPvOwned(mfn)) continue;
      const { counts } = this.uses.get(mfn) ?? new Uses();
      // A page of Xen's that is shared is used by Xen.
      if (isShared) counts[WRITABLE]!++;
      const kinds = NAMES.map((name, type) => (counts[type]! > 0 ? `${name} ${counts[type]}` : "")).filter((s) => s);
      if (kinds.length > 1) this.found.push(`frame ${mfn} of d${owner} is in use as ${kinds.join(" and ")}`);
      const type = counts.findIndex((n) => n > 0);
      const total = type < 0 ? 0 : counts[type]!;
      if (types.counts[mfn] !== total || (total > 0 && types.types[mfn] !== type))
        this.found.push(
          `frame ${mfn} of d${owner} counts as ${NAMES[types.types[mfn]!]} ${types.counts[mfn]}, the tables say ${kinds.join(" and ") || "nothing"}`,
        );
      if (total > 0 && (types.flags[mfn]! & 1) === 0 && !this.abandoned.has(mfn))
        this.found.push(`frame ${mfn} is in use and not validated`);
      if (total === 0 && (types.flags[mfn]! & PINNED) !== 0) this.found.push(`frame ${mfn} is pinned without a use`);
    }
    this.checkTlbs();
    return this.found;
  }

  private isPvOwned(mfn: number): boolean {
    return this.hv.domains.get(this.hv.heap.ownerOf(mfn))?.isPv === true;
  }

  private use(mfn: number, type: number, withReference = true): void {
    let uses = this.uses.get(mfn);
    if (uses === undefined) {
      uses = new Uses();
      this.uses.set(mfn, uses);
    }
    if (type > 0) uses.counts[type]!++;
    if (withReference) uses.references++;
  }

  private entry(table: number, index: number): bigint {
    return this.hv.memory.read64(this.hv.memory.frame(table) + index * Number(ENTRY_BYTES));
  }

  // --- a domain ----------------------------------------------------------------------------------

  private count(domain: Domain): void {
    const { hv } = this;
    const { is32bit } = domain.pv!;
    /** Tables seen, and those to look at: frame, level and how many of their entries count. */
    const seen = new Map<number, number>();
    const queue: [mfn: number, level: number, entries: number][] = [];
    const table = (mfn: number, level: number, entries = ENTRIES): void => {
      this.use(mfn, level);
      const before = seen.get(mfn);
      if (before !== undefined) {
        if (before !== level)
          this.found.push(`frame ${mfn} of d${domain.domid} is reached as L${before} and as L${level}`);
        return;
      }
      seen.set(mfn, level);
      queue.push([mfn, level, entries]);
    };
    for (const vcpu of domain.vcpus) {
      const pv = vcpu.pv!;
      if (is32bit) {
        if (pv.guestTable >= 0) {
          const top = this.entry(pv.guestTable, 0);
          if ((top & PRESENT) !== 0n) table(this.frameOf(top), 3);
          this.checkXenSlots(domain, pv.guestTable);
        }
      } else {
        if (pv.guestTable >= 0) table(pv.guestTable, 4);
        if (pv.guestTableUser >= 0) table(pv.guestTableUser, 4);
      }
      for (const mfn of pv.gdtFrames) this.use(mfn, DESCRIPTORS);
      for (const mfn of pv.ldtFrames) if (mfn >= 0) this.use(mfn, DESCRIPTORS);
      if (vcpu.infoMfn >= 0) this.use(vcpu.infoMfn, WRITABLE, false);
    }
    if (domain.pv!.pirqEoiMfn >= 0) this.use(domain.pv!.pirqEoiMfn, WRITABLE);
    if (domain.events instanceof EventChannels)
      for (const mfn of domain.events.frames()) this.use(mfn, WRITABLE, false);
    for (let mfn = 0; mfn < hv.heap.frames; mfn++) {
      if (hv.heap.ownerOf(mfn) !== domain.domid || (hv.pageTypes.flags[mfn]! & PINNED) === 0) continue;
      table(mfn, hv.pageTypes.types[mfn]!);
    }
    for (const held of domain.pv!.ahead.values()) for (const mfn of held) table(mfn, hv.pageTypes.types[mfn]!);
    for (const mfn of domain.pv!.abandoned) table(mfn, hv.pageTypes.types[mfn]!, hv.pageTypes.left[mfn]!);
    /** Entries that show another domain's page: [read-only, writable] by frame. */
    const foreign = new Map<number, [number, number]>();
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
      const [mfn, level, entries] = next;
      if (hv.heap.ownerOf(mfn) !== domain.domid) this.found.push(`L${level} ${mfn} of d${domain.domid} is not its own`);
      for (let i = 0; i < entries; i++) this.countEntry(domain, mfn, level, i, table, foreign);
      if (level === 4) this.checkXenSlots(domain, mfn);
    }
    this.checkForeign(domain, foreign);
  }

  private frameOf(entry: bigint): number {
    return Number((entry & FRAME_MASK) >> 12n);
  }

  private countEntry(
    domain: Domain,
    mfn: number,
    level: number,
    index: number,
    table: (mfn: number, level: number) => void,
    foreign: Map<number, [number, number]>,
  ): void {
    const { hv } = this;
    const { is32bit } = domain.pv!;
    if (level === 4 && index >= XEN_SLOTS.first && index <= XEN_SLOTS.last) return;
    const isFourthGigabyte = (hv.pageTypes.flags[mfn]! & 4) !== 0;
    if (level === 2 && isFourthGigabyte && index >= COMPAT_FIRST_XEN_SLOT) return;
    const entry = this.entry(mfn, index);
    if ((entry & PRESENT) === 0n) return;
    const where = `entry ${index} of L${level} ${mfn} of d${domain.domid}`;
    const target = this.frameOf(entry);
    if (target >= hv.heap.frames) {
      this.found.push(`${where} leads beyond memory`);
      return;
    }
    if ((entry & (level === 1 ? L1_FORBIDDEN : TABLE_FORBIDDEN)) !== 0n) this.found.push(`${where} has forbidden bits`);
    if (!is32bit && (entry & USER) === 0n) this.found.push(`${where} is not the user's`);
    if (level > 1) {
      const type = hv.pageTypes.types[target]!;
      if (type !== level) table(target, level - 1);
      else {
        // Linear: read-only, of a table of its own level; to itself it counts nothing.
        if ((entry & WRITE) !== 0n) this.found.push(`${where} is linear and writable`);
        if (target !== mfn) table(target, level);
      }
      return;
    }
    const owner = hv.heap.ownerOf(target);
    const isWritable = (entry & WRITE) !== 0n;
    const isMine = owner === domain.domid || (owner === DOMID_XEN && hv.pageTypes.isSharedWith(target, domain.domid));
    // Of what HVM domains own, writers are not counted.
    const isCounted = isWritable && (isMine || this.isPvOwned(target));
    this.use(target, isCounted ? WRITABLE : 0);
    // A page that was shared may still be mapped after the domain has lost it.
    if (isMine || owner === DOMID_XEN) {
      if (owner === DOMID_XEN && !isMine && hv.pageTypes.ownerOf(target) !== DOMID_XEN)
        this.found.push(`${where} shows Xen's page ${target} of another domain`);
      return;
    }
    const counts = foreign.get(target) ?? [0, 0];
    counts[isWritable ? 1 : 0]++;
    foreign.set(target, counts);
  }

  /** Another domain's page is there by grant only, as often as the grant was mapped, and as it allows. */
  private checkForeign(domain: Domain, foreign: Map<number, [number, number]>): void {
    // The control domain may map anybody's.
    if (domain.domid === CONTROL_DOMID) return;
    const allowed = new Map<number, [number, number]>();
    for (const mapping of grantsOf(domain)?.mappings() ?? []) {
      if ((mapping.flags & 2) === 0) continue;
      const counts = allowed.get(mapping.mfn) ?? [0, 0];
      counts[mapping.readOnly ? 0 : 1]++;
      allowed.set(mapping.mfn, counts);
    }
    for (const [mfn, [reads, writes]] of foreign) {
      const [mayRead, mayWrite] = allowed.get(mfn) ?? [0, 0];
      if (reads > mayRead || writes > mayWrite)
        this.found.push(
          `d${domain.domid} maps frame ${mfn} of d${this.hv.heap.ownerOf(mfn)} ${reads} times to read and ${writes} to write, granted are ${mayRead} and ${mayWrite}`,
        );
    }
  }

  /** Xen's part of a top table is Xen's. */
  private checkXenSlots(domain: Domain, mfn: number): void {
    const { m2pL3, areaL3 } = domain.pv!.addressSpace;
    for (let slot = XEN_SLOTS.first; slot <= XEN_SLOTS.last; slot++) {
      const entry = this.entry(mfn, slot) & ~ACCESSED_DIRTY;
      const target = (entry & PRESENT) === 0n ? -1 : this.frameOf(entry);
      const isGood =
        slot === XEN_SLOTS.m2p
          ? target === m2pL3 || target < 0
          : slot === XEN_SLOTS.area
            ? target === areaL3
            : entry === 0n;
      if (!isGood) this.found.push(`Xen's slot ${slot} of L4 ${mfn} of d${domain.domid} is 0x${entry.toString(16)}`);
    }
  }

  // --- translations ------------------------------------------------------------------------------

  /** No PV vcpu has a cached translation that its tables could not give: to write to a table, or to what is not its domain's. */
  private checkTlbs(): void {
    const { hv } = this;
    const { i32, ram, u8, frameAttr } = hv.arena;
    const owners = new Map<number, Domain>();
    for (const domain of hv.domains.values())
      if (domain.isPv && !domain.isDying)
        for (const { core } of domain.vcpus)
          for (const context of core.mmu.contexts) if (context !== 0) owners.set(context, domain);
    const words = 1 << (TLB_ENTRY_SHIFT - 2);
    const end = (DTLB >>> 2) + TLB_VIEWS * TLB_ENTRIES * words;
    for (let at = DTLB >>> 2; at < end; at += words) {
      const tag = i32[at + (TLB_READ >>> 2)]!;
      const domain = owners.get(tag & 0xfff);
      if (tag === 0 || domain === undefined) continue;
      // In Xen's part of the address space the processor itself marks descriptors as accessed.
      const hi = i32[at + (TLB_READ >>> 2) + 1]! >>> 0;
      if (hi >= XEN_START_HI && hi < XEN_END_HI) continue;
      const mfn = (((tag & ~0xfff) + i32[at + (TLB_ADDEND >>> 2)]! - ram) >>> 0) >>> 12;
      const mayWrite = i32[at + (TLB_WRITE >>> 2)] !== 0;
      const uses = this.uses.get(mfn);
      const isTable = uses?.counts.some((n, type) => n > 0 && type !== WRITABLE) === true;
      if (mayWrite && isTable) this.found.push(`d${domain.domid} has frame ${mfn}, a table, in a TLB as writable`);
      if (mayWrite && (u8[frameAttr + mfn]! & FRAME_CODE) !== 0)
        this.found.push(`d${domain.domid} has frame ${mfn}, with decoded code, in a TLB as writable`);
      const owner = hv.heap.ownerOf(mfn);
      const isKnown = owner === domain.domid || owner === DOMID_XEN || (uses?.references ?? 0) > 0;
      if (!isKnown) this.found.push(`d${domain.domid} has frame ${mfn} of d${owner} in a TLB`);
    }
  }
}

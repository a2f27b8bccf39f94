/**
 * Second-level translation: guest-physical to machine, in the EPT format (SDM 29.3) or the NPT format, which is that of
 * long-mode page tables with U/S set at every level (APM volume 2, 15.25). Without a second level a
 * guest-physical address is a machine-physical one.
 */
import { EXIT_GLA, EXIT_GPA, EXIT_QUAL, EXIT_REASON, NESTED_ENTRIES } from "../arena.ts";
import {
  type Core,
  DELIVERY_NONROOT,
  EXIT_NESTED_FAULT,
  EXIT_NESTED_MISCONFIG,
  NESTED_EPT,
  NESTED_NONE,
} from "../core.ts";
import { write32 } from "./memory.ts";
import { ACCESS_FETCH, ACCESS_WRITE, type MmuState, PHYSICAL_BITS } from "./state.ts";

/** Results of `toMachine` that are not an arena address. */
export const MACHINE_EXIT = -1;
/** Not RAM: the address belongs to the bus. */
export const MACHINE_BUS = -2;

/** Rights of a cached translation, in the low bits of its entry. */
export const RIGHT_READ = 1;
export const RIGHT_WRITE = 2;
export const RIGHT_FETCH = 4;
export const RIGHT_DIRTY = 8;

const TWO32 = 0x100000000;
/** Bits of the high word of an entry between the physical-address width and bit 51. */
const RESERVED_HI: number = (0xfffff << (PHYSICAL_BITS - 32)) & 0xfffff;
const ENTRY_ACCESSED = 0x20;
const ENTRY_DIRTY = 0x40;
const ENTRY_LARGE = 0x80;
const EPT_ACCESSED = 0x100;
const EPT_DIRTY = 0x200;

/** EXIT_QUAL: bits of EXIT_NESTED_FAULT (core.ts). */
const QUAL_LINEAR_VALID = 0x80;
const QUAL_FINAL = 0x100;

function fillExit(core: Core, reason: number, gpa: number, access: number, rights: number, final: boolean): number {
  const m = core.mmu;
  const i = core.i32;
  i[EXIT_REASON >>> 2] = reason;
  i[EXIT_QUAL >>> 2] =
    (1 << access) | ((rights & 7) << 3) | (m.linearValid ? QUAL_LINEAR_VALID : 0) | (final ? QUAL_FINAL : 0);
  i[(EXIT_QUAL + 4) >>> 2] = 0;
  i[EXIT_GPA >>> 2] = gpa | 0;
  i[(EXIT_GPA + 4) >>> 2] = Math.floor(gpa / TWO32);
  i[EXIT_GLA >>> 2] = m.lo;
  i[(EXIT_GLA + 4) >>> 2] = m.hi;
  return MACHINE_EXIT;
}

/** Forgets all second-level translations of the core. */
export function flushNestedCache(m: MmuState): void {
  m.cacheTag.fill(0);
  m.largeTag.fill(0);
  m.cacheRoot = -1;
}

/** Makes the caches of the core be about its present second level, which there is. */
export function claimCaches(core: Core): void {
  const m = core.mmu;
  const { nestedRoot, nestedFormat } = core.controls;
  if (m.cacheRoot === nestedRoot && m.cacheFormat === nestedFormat) return;
  flushNestedCache(m);
  m.cacheRoot = nestedRoot;
  m.cacheFormat = nestedFormat;
}

/** True if the hypervisor declared `gpa` to be a device's (core.mmio). */
export function isDeclaredMmio(core: Core, gpa: number): boolean {
  const ranges = core.mmio;
  for (let i = 0; i < ranges.length; i += 2) if (gpa >= ranges[i]! && gpa < ranges[i + 1]!) return true;
  return false;
}

/** Rights that an access (ACCESS_*) asks of a cached translation. */
const NEEDED: Uint8Array = Uint8Array.of(RIGHT_READ, RIGHT_WRITE | RIGHT_DIRTY, RIGHT_FETCH);
const WRITABLE = RIGHT_WRITE | RIGHT_DIRTY;
/** Guest frames that the cache can hold: those of PHYSICAL_BITS. */
const CACHED_FRAMES: number = 2 ** (PHYSICAL_BITS - 12);

/**
 * Translates the guest-physical page of `gpa` for `access` (ACCESS_*).
 * @param final false for an access to a first-level paging structure, true for the access itself
 * @returns arena address of the 4 KiB page (mmu.nestedWritable says whether a write needs nothing more), MACHINE_EXIT
 *   with EXIT_REASON and its details filled, or MACHINE_BUS
 */
export function toMachine(core: Core, gpa: number, access: number, final: boolean): number {
  return frameToMachine(core, Math.floor(gpa / 4096), gpa % 4096, access, final);
}

/** The same for guest frame `gfn`; `offset` is that of the access in it, for the details of an exit. */
export function frameToMachine(core: Core, gfn: number, offset: number, access: number, final: boolean): number {
  const m = core.mmu;
  const controls = core.controls;
  const format = controls.nestedFormat;
  if (format === NESTED_NONE) {
    m.nestedWritable = true;
    return gfn < core.arena.frames ? core.arena.ram + gfn * 4096 : MACHINE_BUS;
  }
  const ad = format !== NESTED_EPT || controls.nestedAccessedDirty;
  // Accesses to paging structures count as writes under NPT, and under EPT with A and D bits (APM 15.25.5, SDM 29.3.2).
  if (ad && !final && !m.peek) access = ACCESS_WRITE;
  claimCaches(core);
  const needed = NEEDED[access]!;
  const block = gfn >>> 9;
  let entry = m.largeEntry[block & (NESTED_ENTRIES - 1)]!;
  if (m.largeTag[block & (NESTED_ENTRIES - 1)] === block + 1 && (entry & needed) === needed) {
    m.nestedWritable = (entry & WRITABLE) === WRITABLE;
    return ((entry & ~0xfff) + ((gfn & 511) << 12)) >>> 0;
  }
  const slot = gfn & (NESTED_ENTRIES - 1);
  entry = m.cacheEntry[slot]!;
  if (m.cacheTag[slot] === gfn + 1 && (entry & needed) === needed) {
    m.nestedWritable = (entry & WRITABLE) === WRITABLE;
    return (entry & ~0xfff) >>> 0;
  }
  return walkNested(core, gfn * 4096 + offset, access, final, format === NESTED_EPT, ad);
}

function walkNested(core: Core, gpa: number, access: number, final: boolean, ept: boolean, ad: boolean): number {
  const m = core.mmu;
  const i = core.i32;
  const arena = core.arena;
  const gfn = Math.floor(gpa / 4096);
  let rights = RIGHT_READ | RIGHT_WRITE | RIGHT_FETCH;
  if (gfn >= 2 ** 36) return absent(core, gpa, access, final, 0);
  let table = core.controls.nestedRoot;
  // Guest frames have 36 bits: the root's index apart, they are int32s.
  const low = (gfn % 0x8000000) | 0;
  let shift = 27;
  let level = 0;
  let lo = 0;
  let hi = 0;
  for (; ; level++, shift -= 9) {
    const index = level === 0 ? Math.floor(gfn / 0x8000000) : (low >>> shift) & 511;
    const at = arena.ofPhysical(table + index * 8);
    if (at < 0) return fillExit(core, EXIT_NESTED_MISCONFIG, gpa, access, 0, final);
    lo = i[at >>> 2]!;
    hi = i[(at >>> 2) + 1]!;
    m.nestedEntryAt[level] = at;
    m.nestedEntryLo[level] = lo;
    const leaf = level === 3 || (level > 0 && (lo & ENTRY_LARGE) !== 0);
    if (ept) {
      if (!(lo & 7)) return absent(core, gpa, access, final, 0);
      if (eptMisconfigured(lo, hi, level, leaf)) return fillExit(core, EXIT_NESTED_MISCONFIG, gpa, access, 0, final);
      rights &= lo;
    } else {
      if (!(lo & 1)) return absent(core, gpa, access, final, 0);
      if (hi & RESERVED_HI || (level === 0 && lo & ENTRY_LARGE) || (leaf && reservedLarge(lo, level)))
        return fillExit(core, EXIT_NESTED_MISCONFIG, gpa, access, 0, final);
      if (!(lo & 2)) rights &= ~RIGHT_WRITE;
      // The guest's accesses are user accesses to the second level.
      if (!(lo & 4)) rights = 0;
      if (hi < 0) rights &= ~RIGHT_FETCH;
    }
    if (leaf) break;
    table = (hi & 0xfffff) * TWO32 + ((lo & ~0xfff) >>> 0);
  }
  if (!(rights & (1 << access))) {
    if (final && access === ACCESS_WRITE && rights & RIGHT_READ && core.controls.readOnlyToBus) {
      m.nestedWritable = false;
      return MACHINE_BUS;
    }
    return fillExit(core, EXIT_NESTED_FAULT, gpa, access, rights, final);
  }

  const dirty = ept ? EPT_DIRTY : ENTRY_DIRTY;
  if (ad && !m.peek) {
    const accessed = ept ? EPT_ACCESSED : ENTRY_ACCESSED;
    for (let l = 0; l <= level; l++) {
      const old = m.nestedEntryLo[l]!;
      const now = old | accessed | (l === level && access === ACCESS_WRITE ? dirty : 0);
      if (now !== old) write32(core, m.nestedEntryAt[l]!, now);
      lo = now;
    }
  }
  const within = (1 << shift) - 1;
  const machine = (hi & 0xfffff) * TWO32 + ((lo & ~0xfff & ~(within << 12)) >>> 0) + (low & within) * 4096;
  const at = arena.ofPhysical(machine);
  if (at < 0) return fillExit(core, EXIT_NESTED_MISCONFIG, gpa, access, rights, final);
  if (!ad || lo & dirty) rights |= RIGHT_DIRTY;
  m.nestedWritable = (rights & WRITABLE) === WRITABLE;
  if (m.peek || gfn >= CACHED_FRAMES) return at;
  if (level < 3) {
    // All of the leaf's 2 MiB lies in RAM, or none of it is kept.
    const block = gfn >>> 9;
    const first = at - ((gfn & 511) << 12);
    if (first >= arena.ram && arena.ofPhysical(machine - (gfn & 511) * 4096 + 511 * 4096) >= 0) {
      m.largeTag[block & (NESTED_ENTRIES - 1)] = block + 1;
      m.largeEntry[block & (NESTED_ENTRIES - 1)] = first | rights;
      return at;
    }
  }
  const slot = gfn & (NESTED_ENTRIES - 1);
  m.cacheTag[slot] = gfn + 1;
  m.cacheEntry[slot] = at | rights;
  return at;
}

/** No second-level mapping: a declared device's page goes to the bus, anything else to the hypervisor. */
function absent(core: Core, gpa: number, access: number, final: boolean, rights: number): number {
  if (final && access !== ACCESS_FETCH && core.controls.delivery === DELIVERY_NONROOT && isDeclaredMmio(core, gpa)) {
    core.mmu.nestedWritable = true;
    return MACHINE_BUS;
  }
  return fillExit(core, EXIT_NESTED_FAULT, gpa, access, rights, final);
}

/** Address bits below the page size, except PAT (bit 12). */
function reservedLarge(lo: number, level: number): boolean {
  return level === 1 ? (lo & 0x3fffe000) !== 0 : level === 2 ? (lo & 0x1fe000) !== 0 : false;
}

/** SDM 29.3.3.1: what makes an EPT entry a misconfiguration. */
function eptMisconfigured(lo: number, hi: number, level: number, leaf: boolean): boolean {
  if ((lo & 3) === 2) return true;
  if (hi & RESERVED_HI) return true;
  if (!leaf) return (lo & (level === 0 ? 0xf8 : 0x78)) !== 0;
  const type = (lo >>> 3) & 7;
  if (type === 2 || type === 3 || type === 7) return true;
  return level === 1 ? (lo & 0x3ffff000) !== 0 : level === 2 ? (lo & 0x1ff000) !== 0 : false;
}

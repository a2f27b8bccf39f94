/**
 * First-level page walks: 32-bit, PAE and 4-level paging (SDM chapter 4), over any second level. The result stands in
 * `core.mmu`: page, physical, shift, writable. A failed walk has recorded a #PF (its address in EXIT_GLA, from where
 * delivery moves it to CR2) or filled the details of an exit.
 */
import { COUNT_WALK, CR3, EXIT_GLA } from "../arena.ts";
import { type Core, raise, VEC_PF } from "../core.ts";
import { PDPTES } from "../system/words.ts";
import { H_EXIT_AT, H_OK } from "../uops/uop.ts";
import { write32 } from "./memory.ts";
import { frameToMachine, MACHINE_BUS, MACHINE_EXIT } from "./nested.ts";
import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  type MmuState,
  PAGING_32,
  PAGING_NONE,
  PAGING_PAE,
  PHYSICAL_BITS,
} from "./state.ts";

export const PTE_P = 0x1;
export const PTE_W = 0x2;
export const PTE_U = 0x4;
export const PTE_A = 0x20;
export const PTE_D = 0x40;
export const PTE_PS = 0x80;
export const PTE_G = 0x100;

/** Page-fault error code (SDM 4.7). */
export const PF_P = 1;
export const PF_W = 2;
export const PF_U = 4;
export const PF_RSVD = 8;
export const PF_I = 16;

/** Reserved bits 51..PHYSICAL_BITS in the high word of an entry; PAE paging also reserves 62..52. */
const RESERVED_HI: number = (0xfffff << (PHYSICAL_BITS - 32)) & 0xfffff;
const RESERVED_HI_PAE: number = RESERVED_HI | 0x7ff00000;
/** Address bits in the high word of an entry. */
const FRAME_HI: number = (1 << (PHYSICAL_BITS - 32)) - 1;

/** Bits that the high word of an entry may not have, in PAE and 4-level paging. */
export function reservedHigh(m: MmuState): number {
  const reserved = m.paging === PAGING_PAE ? RESERVED_HI_PAE : RESERVED_HI;
  return m.nxe ? reserved : reserved | 0x80000000;
}

function pageFault(core: Core, lo: number, hi: number, access: number, user: boolean, bits: number): number {
  const m = core.mmu;
  core.i32[EXIT_GLA >>> 2] = lo;
  core.i32[(EXIT_GLA + 4) >>> 2] = hi;
  let error = bits | (user ? PF_U : 0);
  if (access === ACCESS_WRITE) error |= PF_W;
  // The I bit exists with SMEP, or with NXE and PAE or 4-level paging.
  if (access === ACCESS_FETCH && (m.smep || (m.nxe && m.paging !== PAGING_32))) error |= PF_I;
  return raise(core, VEC_PF, error);
}

/** Arena address of the paging-structure entry at `offset` of guest frame `frame`; MACHINE_EXIT or MACHINE_BUS. */
function entryAddress(core: Core, frame: number, offset: number): number {
  const page = frameToMachine(core, frame, offset, ACCESS_READ, false);
  return page < 0 ? page : page + offset;
}

/** Changes the low word of the entry that the walk used at `level`. */
function writeEntry(core: Core, level: number, value: number): number {
  const { entryFrame, entryOffset } = core.mmu;
  const offset = entryOffset[level]!;
  const page = frameToMachine(core, entryFrame[level]!, offset, ACCESS_WRITE, false);
  if (page < 0) return H_EXIT_AT;
  write32(core, page + offset, value);
  return H_OK;
}

/** Frame number in bits 51..12 of a CR3. */
const frameOf = (lo: number, hi: number): number => (hi & 0xfffff) * 0x100000 + (lo >>> 12);

/**
 * Translates linear address hi:lo (canonical).
 * @param access ACCESS_READ, ACCESS_WRITE or ACCESS_FETCH
 * @param user a user-mode access (CPL 3 and not an implicit supervisor access)
 * @param smap supervisor access with SMAP in force
 * @returns H_OK, H_FAULT (#PF recorded) or H_EXIT_AT (EXIT_REASON filled)
 */
export function walk(core: Core, lo: number, hi: number, access: number, user: boolean, smap: boolean): number {
  const m = core.mmu;
  core.i32[COUNT_WALK >>> 2]!++;
  m.lo = lo;
  m.hi = hi;
  m.linearValid = true;
  switch (m.paging) {
    case PAGING_NONE:
      m.shift = 12;
      return finish(core, lo >>> 12, lo, access, true);
    case PAGING_32:
      return walk32(core, lo, access, user, smap);
    default:
      return walk64(core, lo, hi, access, user, smap);
  }
}

function walk64(core: Core, lo: number, hi: number, access: number, user: boolean, smap: boolean): number {
  const m = core.mmu;
  const i = core.i32;
  const { entryFrame, entryOffset, entryLo } = m;
  const pae = m.paging === PAGING_PAE;
  let rights = PTE_W | PTE_U;
  let executable = true;
  let frame: number;
  let level: number;
  if (pae) {
    // The PDPTEs are registers, loaded with CR3 (SDM 4.4.1); they carry no rights.
    const at = (PDPTES >>> 2) + (lo >>> 30) * 2;
    if (!(i[at]! & PTE_P)) return pageFault(core, lo, hi, access, user, 0);
    frame = frameOf(i[at]!, i[at + 1]!);
    level = 2;
  } else {
    frame = frameOf(i[CR3 >>> 2]!, i[(CR3 + 4) >>> 2]!);
    level = 4;
  }
  const top = level;
  const badHi = reservedHigh(m);
  let elo = 0;
  let ehi = 0;
  for (; ; level--) {
    const offset = indexOf(lo, hi, level) << 3;
    const at = entryAddress(core, frame, offset);
    if (at < 0) {
      if (at === MACHINE_EXIT) return H_EXIT_AT;
      // A paging structure outside RAM reads as all ones.
      return pageFault(core, lo, hi, access, user, PF_P | PF_RSVD);
    }
    elo = i[at >>> 2]!;
    ehi = i[(at >>> 2) + 1]!;
    entryFrame[level - 1] = frame;
    entryOffset[level - 1] = offset;
    entryLo[level - 1] = elo;
    if (!(elo & PTE_P)) return pageFault(core, lo, hi, access, user, 0);
    if (ehi & badHi) return pageFault(core, lo, hi, access, user, PF_P | PF_RSVD);
    rights &= elo;
    if (ehi < 0) executable = false;
    frame = ((ehi & FRAME_HI) << 20) | (elo >>> 12);
    if (level === 1) break;
    if (elo & PTE_PS) {
      if (level === 4 || (level === 3 && elo & 0x3fffe000) || (level === 2 && elo & 0x1fe000))
        return pageFault(core, lo, hi, access, user, PF_P | PF_RSVD);
      break;
    }
  }
  if (!allowed(m, rights, executable, access, user, smap)) return pageFault(core, lo, hi, access, user, PF_P);
  if (!m.peek) {
    const r = markUsed(core, level, top, access);
    if (r !== H_OK) return r;
  }
  m.shift = 3 + 9 * level;
  // Of a large page, the frame within it comes from the address; PAT (bit 12) is no address bit.
  const within = (1 << (m.shift - 12)) - 1;
  const dirty = access === ACCESS_WRITE || (elo & PTE_D) !== 0;
  return finish(
    core,
    (frame & ~within) | ((lo >>> 12) & within),
    lo,
    access,
    dirty && ((rights & PTE_W) !== 0 || (!user && !m.wp)),
  );
}

function indexOf(lo: number, hi: number, level: number): number {
  switch (level) {
    case 1:
      return (lo >>> 12) & 511;
    case 2:
      return (lo >>> 21) & 511;
    case 3:
      return ((hi << 2) | (lo >>> 30)) & 511;
    default:
      return (hi >>> 7) & 511;
  }
}

function walk32(core: Core, lo: number, access: number, user: boolean, smap: boolean): number {
  const m = core.mmu;
  const i = core.i32;
  let rights = PTE_W | PTE_U;
  let frame = i[CR3 >>> 2]! >>> 12;
  let level = 2;
  let e = 0;
  for (; ; level--) {
    const offset = (level === 2 ? lo >>> 22 : (lo >>> 12) & 1023) << 2;
    const at = entryAddress(core, frame, offset);
    if (at === MACHINE_EXIT) return H_EXIT_AT;
    // A paging structure outside RAM reads as all ones.
    e = at === MACHINE_BUS ? -1 : i[at >>> 2]!;
    m.entryFrame[level - 1] = frame;
    m.entryOffset[level - 1] = offset;
    m.entryLo[level - 1] = e;
    if (!(e & PTE_P)) return pageFault(core, lo, 0, access, user, 0);
    rights &= e;
    frame = e >>> 12;
    if (level === 1) {
      if (at === MACHINE_BUS) return pageFault(core, lo, 0, access, user, PF_P | PF_RSVD);
      break;
    }
    if (e & PTE_PS && m.pse) {
      // PSE-36: bits 20..13 are address bits 39..32, bit 21 is reserved (SDM table 4-4).
      if (e & 0x200000) return pageFault(core, lo, 0, access, user, PF_P | PF_RSVD);
      frame = (((e >>> 13) & 0xff) << 20) | ((e >>> 12) & 0xffc00) | ((lo >>> 12) & 0x3ff);
      break;
    }
  }
  if (!allowed(m, rights, true, access, user, smap)) return pageFault(core, lo, 0, access, user, PF_P);
  if (!m.peek) {
    const r = markUsed(core, level, 2, access);
    if (r !== H_OK) return r;
  }
  m.shift = level === 2 ? 22 : 12;
  const dirty = access === ACCESS_WRITE || (e & PTE_D) !== 0;
  return finish(core, frame, lo, access, dirty && ((rights & PTE_W) !== 0 || (!user && !m.wp)));
}

/** SDM 4.6.1: the access rights of a translation. `rights` is the AND of W and U of all levels. */
function allowed(
  m: MmuState,
  rights: number,
  executable: boolean,
  access: number,
  user: boolean,
  smap: boolean,
): boolean {
  if (access === ACCESS_FETCH && !executable) return false;
  if (user) {
    if (!(rights & PTE_U)) return false;
    return access !== ACCESS_WRITE || (rights & PTE_W) !== 0;
  }
  if (rights & PTE_U) {
    if (access === ACCESS_FETCH) return !m.smep;
    if (smap) return false;
  }
  return access !== ACCESS_WRITE || (rights & PTE_W) !== 0 || !m.wp;
}

/** Sets the A bits of the entries from level `top` down to `leaf`, and the leaf's D bit for a write. */
function markUsed(core: Core, leaf: number, top: number, access: number): number {
  const m = core.mmu;
  for (let level = top; level >= leaf; level--) {
    const old = m.entryLo[level - 1]!;
    const now = old | PTE_A | (level === leaf && access === ACCESS_WRITE ? PTE_D : 0);
    if (now === old) continue;
    const r = writeEntry(core, level - 1, now);
    if (r !== H_OK) return r;
  }
  return H_OK;
}

/** The second level of the access itself, to guest frame `gfn`; `lo` has its offset. */
function finish(core: Core, gfn: number, lo: number, access: number, writable: boolean): number {
  const m = core.mmu;
  const page = frameToMachine(core, gfn, lo & 0xfff, access, true);
  if (page === MACHINE_EXIT) return H_EXIT_AT;
  m.physical = gfn * 4096;
  m.page = page < 0 ? -1 : page;
  m.writable = writable && m.nestedWritable;
  return H_OK;
}

/**
 * Loads the four PDPTE registers from CR3 (PAE paging: MOV CR3, and changes of CR0 and CR4 that SDM 4.4.1 names).
 * @returns H_OK, H_FAULT (#GP recorded: a reserved bit is set; nothing changed) or H_EXIT_AT
 */
export function loadPdptes(core: Core, cr3: number): number {
  const m = core.mmu;
  const i = core.i32;
  m.linearValid = false;
  const at = entryAddress(core, cr3 >>> 12, cr3 & 0xfe0);
  if (at === MACHINE_EXIT) return H_EXIT_AT;
  if (at === MACHINE_BUS) return raise(core, 13, 0);
  for (let n = 0; n < 4; n++) {
    const lo = i[(at >>> 2) + n * 2]!;
    const hi = i[(at >>> 2) + n * 2 + 1]!;
    if (lo & PTE_P && (lo & 0x1e6 || hi & (RESERVED_HI_PAE | 0x80000000))) return raise(core, 13, 0);
  }
  for (let n = 0; n < 8; n++) i[(PDPTES >>> 2) + n] = i[(at >>> 2) + n]!;
  return H_OK;
}

/** True when `hi:lo` is canonical for 48-bit linear addresses. */
export const isCanonical = (hi: number): boolean => (hi << 16) >> 16 === hi;

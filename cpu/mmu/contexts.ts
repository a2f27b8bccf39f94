/**
 * Context numbers: the low 12 bits of every TLB tag name an address space of one core - one (core, PCID) pair, from one
 * epoch to the next. So a CR3 load changes a number and nothing else; without PCIDs it takes a new one, which drops the
 * old space's translations, global ones too (SDM 4.10.2.4 allows that: a global page costs a miss more). An epoch ends when
 * CR0.PG or WP, CR4.PSE, PAE, PGE, PCIDE, SMEP or EFER.NXE change, when INVPCID flushes, and when the second level changes.
 * The user and supervisor views have tables of their own (TLB_BASE), so CPL and AC need no number.
 * When the numbers run out, all TLBs are emptied and counting starts anew.
 */
import { CONTEXT_LIVE, CORE, COUNT_FLUSH, CR3, CR4, FETCH_PAGE, TLB_CTX } from "../arena.ts";
import type { Core, CoreGroup } from "../core.ts";
import { flushNestedCache } from "./nested.ts";
import { clearTlbs } from "./tlb.ts";

/** Never filled: alignment-checked user code, whose every access must take the slow path. */
export const CTX_NONE = 4095;
const LAST = 4094;
const CR4_PCIDE = 0x20000;

/** Arena address of the word `address` of CORE for `core`, active or waiting. */
export function coreWord(core: Core, address: number): number {
  return core.shared.active === core ? address : core.arena.saveSlot(core.index) + (address - CORE);
}

/** PCID of the core's current address space, 0 without CR4.PCIDE. */
export function currentPcid(core: Core): number {
  return core.i32[coreWord(core, CR4) >>> 2]! & CR4_PCIDE ? core.i32[coreWord(core, CR3) >>> 2]! & 0xfff : 0;
}

/** Makes the TLB words of the core name its current address space, with a new number if it has none. */
export function selectContext(core: Core): void {
  const m = core.mmu;
  const pcid = currentPcid(core);
  if (m.contexts[pcid] === 0) {
    if (core.shared.tlb.next > LAST) recycle(core);
    if (m.contexts[pcid] === 0) m.contexts[pcid] = takeNumber(core);
    if (pcid > m.highestPcid) m.highestPcid = pcid;
  }
  const i = core.i32;
  i[coreWord(core, TLB_CTX) >>> 2] = m.alignCheck ? CTX_NONE : m.contexts[pcid]!;
  i[coreWord(core, FETCH_PAGE) >>> 2] = -1;
  i[coreWord(core, FETCH_PAGE + 4) >>> 2] = -1;
}

function takeNumber(core: Core): number {
  const number = core.shared.tlb.next++;
  core.u8[CONTEXT_LIVE + number] = 1;
  return number;
}

function recycle(core: Core): void {
  const group = core.shared;
  clearTlbs(core);
  group.tlb.next = 1;
  for (const other of group.cores) other.mmu.contexts.fill(0);
  core.mmu.contexts.fill(0);
  for (const other of group.cores) if (other !== core) selectContext(other);
}

/** Drops the translations of one PCID of the core. If it is the present one, `selectContext` has to follow. */
export function forgetContext(core: Core, pcid: number): void {
  const { contexts } = core.mmu;
  core.u8[CONTEXT_LIVE + contexts[pcid]!] = 0;
  contexts[pcid] = 0;
  core.i32[coreWord(core, COUNT_FLUSH) >>> 2]!++;
}

/** The same, and the core goes on in what is then its present address space. */
export function dropContext(core: Core, pcid: number): void {
  forgetContext(core, pcid);
  if (pcid === currentPcid(core)) selectContext(core);
}

/** Drops all translations of the core. */
export function newEpoch(core: Core): void {
  const m = core.mmu;
  for (let pcid = 0; pcid <= m.highestPcid; pcid++) {
    core.u8[CONTEXT_LIVE + m.contexts[pcid]!] = 0;
    m.contexts[pcid] = 0;
  }
  m.highestPcid = 0;
  core.i32[coreWord(core, COUNT_FLUSH) >>> 2]!++;
  selectContext(core);
}

/** Drops all translations of `cores`: their second level (p2m) changed. */
export function flushCores(cores: readonly Core[]): void {
  for (const core of cores) {
    flushNestedCache(core.mmu);
    newEpoch(core);
  }
}

/** The same for all cores of the group. */
export function flushAll(group: CoreGroup): void {
  flushCores(group.cores);
}

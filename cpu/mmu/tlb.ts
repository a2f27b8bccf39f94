/**
 * The soft TLBs that generated code probes (layout in arena.ts): filling, INVLPG, sweeps for frame attributes. The index
 * is linear bits 23..12 (data) and 21..12 (fetch, in the half that CPL 3 selects).
 */
import {
  type Arena,
  CONTEXT_LIVE,
  DTLB,
  FETCH_ENTRIES,
  FETCH_ENTRY_SHIFT,
  FETCH_EPOCH,
  FETCH_EPOCH_SHIFT,
  FETCH_HALF_BYTES,
  FETCH_PAGE,
  FETCH_TLB,
  FRAME_CODE,
  FRAME_DIRTY_LOG,
  FRAME_MMIO,
  FRAME_WATCH,
  forgetLargePages,
  JUMP_ENTRIES,
  JUMP_SHIFT,
  JUMPS,
  LARGE_HIGH_MAX,
  LARGE_HIGH_MIN,
  LARGE_LOW_MAX,
  LARGE_LOW_MIN,
  TLB_ADDEND,
  TLB_ATTR,
  TLB_CTX,
  TLB_ENTRIES,
  TLB_ENTRY_SHIFT,
  TLB_READ,
  TLB_VIEW_BYTES,
  TLB_VIEWS,
  TLB_WRITE,
} from "../arena.ts";
import type { Core } from "../core.ts";
import { CTX_NONE, coreWord } from "./contexts.ts";

/** TLB_ATTR: log2 of the size of the first-level page, and this: page tables allow a write as it stands. */
export const TLB_ATTR_WRITABLE = 0x100;
const TLB_ATTR_SHIFT = 0xff;
/** Of a tag: the context number. */
const CTX_MASK = 0xfff;
/** In Arena.writeTagged: more than two. */
export const SEVERAL = 1;

const READ = TLB_READ >>> 2;
const WRITE = TLB_WRITE >>> 2;
const ADDEND = TLB_ADDEND >>> 2;
const ATTR = TLB_ATTR >>> 2;
/** 32-bit words of an entry. */
const DATA_WORDS: number = 1 << (TLB_ENTRY_SHIFT - 2);
const FETCH_WORDS: number = 1 << (FETCH_ENTRY_SHIFT - 2);

/** Index (in 32-bit words) of the data TLB entry of linear address `lo` in `view`. */
export function dataEntry(view: number, lo: number): number {
  return (DTLB + view * TLB_VIEW_BYTES + (((lo >>> 12) & (TLB_ENTRIES - 1)) << TLB_ENTRY_SHIFT)) >>> 2;
}

/** Index (in 32-bit words) of the fetch TLB entry of linear address `lo`. */
export function fetchEntry(user: boolean, lo: number): number {
  return (FETCH_TLB + (user ? FETCH_HALF_BYTES : 0) + (((lo >>> 12) & (FETCH_ENTRIES - 1)) << FETCH_ENTRY_SHIFT)) >>> 2;
}

/** True if data entry `e`, which is not empty, leads to the page at arena address `page`. */
const leadsTo = (i: Int32Array, e: number, page: number): boolean =>
  (((i[e + READ]! & ~0xfff) + i[e + ADDEND]!) | 0) === page;

const isWriteTag = (i: Int32Array, e: number, page: number): boolean =>
  e !== 0 && i[e + WRITE] !== 0 && leadsTo(i, e, page);

/** Data entry `e` is to have a write tag for `frame`: takes the place of one that has none any more. */
function noteWriteTag(arena: Arena, i: Int32Array, frame: number, e: number): void {
  const { writeTagged } = arena;
  const at = frame << 1;
  const first = writeTagged[at]!;
  const second = writeTagged[at + 1]!;
  if (first === e || second === e || first === SEVERAL) return;
  const page = (arena.ram + frame * 4096) | 0;
  if (!isWriteTag(i, first, page)) writeTagged[at] = e;
  else if (!isWriteTag(i, second, page)) writeTagged[at + 1] = e;
  else writeTagged[at] = SEVERAL;
}

/** Takes the tags that `all` or else FRAME_CODE forbids from data entry `e`, if it leads to `page`. */
function untag(i: Int32Array, e: number, page: number, all: boolean): void {
  if (i[e + WRITE] === 0 && (!all || i[e + READ] === 0)) return;
  if (!leadsTo(i, e, page)) return;
  i[e + WRITE] = 0;
  if (all) i[e + READ] = 0;
}

/** Fills the data TLB entry of `view` with the translation that the last walk left in `core.mmu` (RAM only). */
export function fillData(core: Core, view: number, lo: number, hi: number): void {
  const i = core.i32;
  const m = core.mmu;
  const ctx = i[TLB_CTX >>> 2]!;
  if (ctx === CTX_NONE) return;
  const arena = core.arena;
  const frame = (m.page - arena.ram) >>> 12;
  const attr = core.u8[arena.frameAttr + frame]!;
  const e = dataEntry(view, lo);
  if (attr & (FRAME_MMIO | FRAME_WATCH)) {
    i[e + READ] = 0;
    i[e + WRITE] = 0;
    return;
  }
  const tag = (lo & ~0xfff) | ctx;
  i[e + READ] = tag;
  i[e + READ + 1] = hi;
  if (m.writable && attr === 0) {
    noteWriteTag(arena, i, frame, e);
    i[e + WRITE] = tag;
    i[e + WRITE + 1] = hi;
  } else {
    i[e + WRITE] = 0;
    i[e + WRITE + 1] = 0;
  }
  i[e + ADDEND] = (m.page - ((lo & ~0xfff) >>> 0)) | 0;
  i[e + ATTR] = m.shift | (m.writable ? TLB_ATTR_WRITABLE : 0);
  if (m.shift > 12) noteLarge(core, m.shift, lo, hi);
}

/** Fills the fetch TLB from the last walk. */
export function fillFetch(core: Core, user: boolean, lo: number, hi: number): void {
  const i = core.i32;
  const m = core.mmu;
  const ctx = i[TLB_CTX >>> 2]!;
  if (ctx === CTX_NONE) return;
  const e = fetchEntry(user, lo);
  // What is remembered carries the number of its context: of one that no core has any more nothing can be taken for valid.
  const old = i[e]!;
  if (old !== 0 && core.u8[CONTEXT_LIVE + (old & CTX_MASK)] !== 0) newFetchEpoch(core);
  i[e] = (lo & ~0xfff) | ctx;
  i[e + 1] = hi;
  i[e + 2] = m.page;
  i[e + 3] = m.shift;
  if (m.shift > 12) noteLarge(core, m.shift, lo, hi);
}

/** An epoch more, in the upper word of FETCH_EPOCH. */
const EPOCH_STEP: number = 1 << (FETCH_EPOCH_SHIFT - 32);

/**
 * A translation leaves the fetch TLB, or translated code goes away: whatever the dispatcher and translated code remember about it
 * is void.
 */
export function newFetchEpoch(core: Core): void {
  const at = (FETCH_EPOCH + 4) >>> 2;
  core.i32[at] = (core.i32[at]! + EPOCH_STEP) | 0;
  if (core.i32[at] === 0) {
    // Numbers come again: nothing may be left that knows the old ones.
    core.u8.fill(0, JUMPS, JUMPS + (JUMP_ENTRIES << JUMP_SHIFT));
    core.shared.forgetStamps();
  }
}

const region = (lo: number, hi: number): number => (hi >>> 0) * 2048 + (lo >>> 21);

function noteLarge(core: Core, shift: number, lo: number, hi: number): void {
  const { f64 } = core;
  const span = 2 ** (shift - 21);
  const first = Math.floor(region(lo, hi) / span) * span;
  const last = first + span - 1;
  if (shift === 30) core.shared.tlb.huge = true;
  const min = (hi >= 0 ? LARGE_LOW_MIN : LARGE_HIGH_MIN) >>> 3;
  const max = (hi >= 0 ? LARGE_LOW_MAX : LARGE_HIGH_MAX) >>> 3;
  if (first < f64[min]!) f64[min] = first;
  if (last > f64[max]!) f64[max] = last;
}

/** True if `a` and `b` lie in one page of 2^shift bytes (shift 12..30). */
function samePage(aLo: number, aHi: number, bLo: number, bHi: number, shift: number): boolean {
  return aHi === bHi && (aLo ^ bLo) >>> shift === 0;
}

/**
 * INVLPG: drops the translations of the page of hi:lo in all views and contexts (more than the manual asks for); a
 * large page goes with all its parts, which is why its size stands in the entry.
 */
export function invalidatePage(core: Core, lo: number, hi: number): void {
  const i = core.i32;
  i[FETCH_PAGE >>> 2] = -1;
  i[(FETCH_PAGE + 4) >>> 2] = -1;
  const r = region(lo, hi);
  const min = (hi >= 0 ? LARGE_LOW_MIN : LARGE_HIGH_MIN) >>> 3;
  const max = (hi >= 0 ? LARGE_LOW_MAX : LARGE_HIGH_MAX) >>> 3;
  const large = r >= core.f64[min]! && r <= core.f64[max]!;
  // Parts of a page of at most 4 MiB have neighbouring indices; parts of a 1 GiB page lie everywhere.
  const span = !large ? 1 : core.shared.tlb.huge ? TLB_ENTRIES : 1024;
  const first = (lo >>> 12) & (TLB_ENTRIES - 1) & ~(span - 1);
  for (let view = 0; view < TLB_VIEWS; view++) {
    for (let n = first; n < first + span; n++) {
      const e = dataEntry(view, n << 12);
      if (i[e + READ] !== 0 && samePage(i[e + READ]!, i[e + READ + 1]!, lo, hi, i[e + ATTR]! & TLB_ATTR_SHIFT)) {
        i[e + READ] = 0;
        i[e + WRITE] = 0;
      }
    }
  }
  const fetchSpan = Math.min(span, FETCH_ENTRIES);
  const fetchFirst = (lo >>> 12) & (FETCH_ENTRIES - 1) & ~(fetchSpan - 1);
  let removed = false;
  for (let half = 0; half < 2; half++) {
    for (let n = fetchFirst; n < fetchFirst + fetchSpan; n++) {
      const e = fetchEntry(half === 1, n << 12);
      if (i[e] === 0 || !samePage(i[e]!, i[e + 1]!, lo, hi, i[e + 3]!)) continue;
      i[e] = 0;
      removed = true;
    }
  }
  if (removed) newFetchEpoch(core);
}

/** Empties all TLBs. */
export function clearTlbs(core: Core): void {
  const i = core.i32;
  newFetchEpoch(core);
  i.fill(0, DTLB >>> 2, (DTLB + TLB_VIEWS * TLB_VIEW_BYTES) >>> 2);
  i.fill(0, FETCH_TLB >>> 2, (FETCH_TLB + 2 * FETCH_HALF_BYTES) >>> 2);
  forgetLargePages(core.f64);
  core.shared.tlb.huge = false;
}

/**
 * Sets attribute bits (FRAME_*) of machine frame `frame`, and takes the frame out of every tag that the bits forbid: the
 * write tags for FRAME_CODE and FRAME_DIRTY_LOG, all for FRAME_MMIO and FRAME_WATCH.
 */
export function setFrameAttribute(core: Core, frame: number, bits: number): void {
  const arena = core.arena;
  const at = arena.frameAttr + frame;
  const added = bits & ~core.u8[at]!;
  core.u8[at]! |= bits;
  if (added === 0) return;
  const page = (arena.ram + frame * 4096) | 0;
  const i = core.i32;
  const all = (added & (FRAME_MMIO | FRAME_WATCH)) !== 0;
  if (!all && !(added & (FRAME_CODE | FRAME_DIRTY_LOG))) return;
  const first = arena.writeTagged[frame << 1]!;
  const second = arena.writeTagged[(frame << 1) + 1]!;
  arena.writeTagged.fill(0, frame << 1, (frame << 1) + 2);
  if (all || first === SEVERAL) {
    const end = (DTLB + TLB_VIEWS * TLB_VIEW_BYTES) >>> 2;
    for (let e = DTLB >>> 2; e < end; e += DATA_WORDS) untag(i, e, page, all);
  } else {
    if (first !== 0) untag(i, first, page, false);
    if (second !== 0) untag(i, second, page, false);
  }
  if (!all) return;
  newFetchEpoch(core);
  const fetchEnd = (FETCH_TLB + 2 * FETCH_HALF_BYTES) >>> 2;
  for (let e = FETCH_TLB >>> 2; e < fetchEnd; e += FETCH_WORDS) if (i[e] !== 0 && i[e + 2] === page) i[e] = 0;
  for (const other of core.shared.cores) {
    i[coreWord(other, FETCH_PAGE) >>> 2] = -1;
    i[coreWord(other, FETCH_PAGE + 4) >>> 2] = -1;
  }
}

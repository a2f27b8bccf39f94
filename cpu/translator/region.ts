/**
 * Regions: blocks that hang together, found from a warm block by following the branches that were taken; one region becomes one
 * WebAssembly function with one entry, its first block. Calls are followed into the callee, also in other pages: a block stands in the
 * region once for each chain of calls that leads to it (its `Frame`), so a return has one place where it is expected to go.
 */
import * as A from "../arena.ts";
import type { Core } from "../core.ts";
import { emitTable } from "../emit/table.ts";
import { fetchEntry } from "../mmu/tlb.ts";
import type { BlockCache } from "../uops/block.ts";
import * as U from "../uops/uop.ts";

/** How large a region may become. */
export interface Limits {
  readonly blocks: number;
  readonly uops: number;
  /** Calls inside calls that are followed. */
  readonly depth: number;
}
/** What a block gets that has become warm. */
export const SMALL: Limits = { blocks: 48, uops: 600, depth: 0 };
/** What a region gets that the dispatcher calls all the time. */
export const LARGE: Limits = { blocks: 96, uops: 600, depth: 4 };
const MAX_PAGES = 12;
/** Furthest that a page of the region may lie from the first, bytes. */
const MAX_DISTANCE = 0x70000000;
/** Calls that lead back to one function of the region, at most. */
const MAX_RECURSIONS = 8;
/** A computed jump has at most this many places to go to inside the region. */
const MAX_TARGETS = 32;

/** Where a terminal leads: a block of the region, or out of it. */
export interface Edge {
  /** Index into Region.blocks, -1 out of the region. */
  to: number;
  /** Offset of the target from the start of the first page; may lie outside of the page. */
  offset: number;
}

/** A call that was followed: where it returns to, in which frame. */
interface Frame {
  readonly number: number;
  readonly depth: number;
  readonly returns: number;
  readonly caller: Frame | null;
  /** Offset of the callee. */
  readonly callee: number;
  /** The block that calls. */
  readonly call: RegionBlock;
  /** The return address was overwritten: RET jumps to where the `call` of the caller was to go. */
  readonly overwritten: boolean;
}

export interface RegionBlock {
  readonly record: number;
  /** Offset of its first byte from the start of the first page. */
  readonly offset: number;
  /** Index into Region.pages. */
  readonly page: number;
  readonly terminal: number;
  readonly instructions: number;
  readonly bytes: number;
  /** Its only instruction crosses into another page of the region. */
  readonly crossing: boolean;
  /** Edges of direct terminals; null where the target is computed. */
  taken: Edge | null;
  straight: Edge | null;
  /** Of a computed terminal: where it may go inside the region. */
  targets: Edge[];
  /** Of the RET of a retpoline: the block that called the thunk, whose terminal keeps where it went. */
  retpoline: RegionBlock | null;
}

export interface Page {
  /** Distance of its linear address from that of the first page. */
  readonly delta: number;
  /** Arena address. */
  readonly arena: number;
}

export interface Region {
  readonly blocks: RegionBlock[];
  /** Those of its blocks; the first is that of the entry. */
  readonly pages: Page[];
}

/** Offset in the terminal of a call, which has no link there: the distance from its block to where the retpoline that it calls went last, or 0. */
export const RETPOLINE_NOTE = 20;

const TAKEN_ONLY = new Set([U.U_JMP, U.U_CALL]);
const COMPUTED = new Set([U.U_JMP_R, U.U_CALL_R, U.U_RET]);
const isConditional = (kind: number): boolean =>
  (kind >= U.U_JCC && kind < U.U_JCC + 16) || kind === U.U_JNZ_R || kind === U.U_JZ_R;

/** True if every micro-op of the record can be translated: 64-bit code whose terminal is no helper. */
function translatable(core: Core, record: number): boolean {
  const { u16, u32 } = core;
  const mode = u32[(record + 4) >>> 2]!;
  if ((mode & U.MODE_CODE_MASK) !== U.MODE_64 || mode & U.MODE_STEP) return false;
  const terminal = u32[(record + 20) >>> 2]!;
  const kind = u16[terminal >>> 1]!;
  if (!(kind === U.U_END || TAKEN_ONLY.has(kind) || COMPUTED.has(kind) || isConditional(kind))) return false;
  const table = emitTable();
  for (let u = record + U.BLOCK_HEADER_BYTES; u < terminal; u += U.UOP_BYTES) {
    const k = u16[u >>> 1]!;
    if (table[k] === undefined) return false;
  }
  return true;
}

/** The region that begins with `record`, which RIP is at, or null if that block can't be translated. */
export function formRegion(core: Core, cache: BlockCache, record: number, limits: Limits): Region | null {
  return translatable(core, record) ? new Former(core, cache, record, limits).form() : null;
}

class Former {
  private readonly core: Core;
  private readonly cache: BlockCache;
  private readonly limits: Limits;
  private readonly mode: number;
  private readonly blocks: RegionBlock[] = [];
  private readonly frames: (Frame | null)[] = [];
  /** Block by frame number and record. */
  private readonly index: Map<number, number> = new Map();
  private readonly pages: Page[] = [];
  /** Blocks to be looked at, by depth of their frames: what is near comes first. */
  private readonly waiting: number[][] = [];
  /** By frame number: what RET leads to besides the frame's caller, where its function was entered by calls that are not frames of their own. */
  private readonly returns: Map<number, Edge[]> = new Map();
  private lastFrame = 0;
  private uops = 0;

  constructor(core: Core, cache: BlockCache, record: number, limits: Limits) {
    this.core = core;
    this.cache = cache;
    this.limits = limits;
    this.mode = core.u32[(record + 4) >>> 2]!;
    const start = core.u32[record >>> 2]!;
    this.pages.push({ delta: 0, arena: (start & ~(A.PAGE_SIZE - 1)) >>> 0 });
    this.add(record, start & (A.PAGE_SIZE - 1), 0, null);
  }

  form(): Region {
    for (;;) {
      const queue = this.waiting.find((q) => q !== undefined && q.length > 0);
      if (queue === undefined) break;
      this.follow(queue.shift()!);
      if (this.waiting.every((q) => q.length === 0)) this.recursion();
    }
    this.blocks.forEach((b, n) => {
      if (this.kind(b) === U.U_RET) b.targets = this.inside([...b.targets, ...this.returnsOf(this.frames[n]!)]);
    });
    return { blocks: this.blocks, pages: this.pages };
  }

  private add(record: number, offset: number, page: number, frame: Frame | null): number {
    const { u16, u32 } = this.core;
    const terminal = u32[(record + 20) >>> 2]!;
    this.uops += uopsOf(this.core, record);
    const at = this.blocks.length;
    this.index.set(key(record, frame), at);
    this.frames.push(frame);
    this.blocks.push({
      record,
      offset,
      page,
      terminal,
      instructions: u16[(record + 8) >>> 1]!,
      bytes: u16[(record + 10) >>> 1]!,
      crossing: u32[(record + U.BLOCK_SECOND) >>> 2] !== 0,
      taken: null,
      straight: null,
      targets: [],
      retpoline: null,
    });
    const depth = frame?.depth ?? 0;
    this.waiting[depth] ??= [];
    this.waiting[depth]!.push(at);
    return at;
  }

  /** Index of the page at distance `delta`, as the fetch TLB has it, or -1. */
  private page(delta: number): number {
    const known = this.pages.findIndex((p) => p.delta === delta);
    if (known >= 0) return known;
    if (this.pages.length === MAX_PAGES) return -1;
    const arena = this.arenaOf(delta);
    return arena < 0 ? -1 : this.pages.push({ delta, arena }) - 1;
  }

  /** Arena address of the page at distance `delta`, as the fetch TLB has it, or -1. */
  private arenaOf(delta: number): number {
    if (Math.abs(delta) > MAX_DISTANCE) return -1;
    const { i32, u32 } = this.core;
    const from = (u32[A.RIP >>> 2]! & ~(A.PAGE_SIZE - 1)) >>> 0;
    const sum = from + delta;
    const lo = sum | 0;
    const hi = (i32[(A.RIP + 4) >>> 2]! + (sum < 0 ? -1 : sum >= 2 ** 32 ? 1 : 0)) | 0;
    const e = fetchEntry(i32[A.CPL >>> 2] === 3, lo);
    if (i32[e] !== (lo | i32[A.TLB_CTX >>> 2]!) || i32[e + 1] !== hi) return -1;
    return u32[e + 2]!;
  }

  /** The block at `offset` in `frame`, taken into the region if it is worth it. */
  private edge(offset: number, frame: Frame | null): Edge {
    const out = { to: -1, offset };
    const inPage = offset & (A.PAGE_SIZE - 1);
    const page = this.page(offset - inPage);
    if (page < 0) return out;
    const record = this.recordAt(offset, page);
    if (record < 0) return out;
    const known = this.index.get(key(record, frame));
    if (known !== undefined && this.blocks[known]!.offset === offset) return { to: known, offset };
    if (known !== undefined || this.blocks.length >= this.limits.blocks || this.uops >= this.limits.uops) return out;
    if (!this.visited(record) || !translatable(this.core, record)) return out;
    return { to: this.add(record, offset, page, frame), offset };
  }

  /** The record at `offset`, or -1. */
  private at(offset: number): number {
    const inPage = offset & (A.PAGE_SIZE - 1);
    const arena = this.arenaOf(offset - inPage);
    return arena < 0 ? -1 : this.cache.known(arena + inPage, this.mode);
  }

  /** The record at `offset` in page number `page`, or -1. An instruction that crosses a page is known with its second page. */
  private recordAt(offset: number, page: number): number {
    const { arena, delta } = this.pages[page]!;
    const from = arena + offset - delta;
    const record = this.cache.known(from, this.mode);
    if (record >= 0) return record;
    const crossing = this.cache.knownCrossing(from, this.mode);
    if (crossing === undefined) return -1;
    const second = this.page(delta + A.PAGE_SIZE);
    return second >= 0 && this.pages[second]!.arena === crossing.secondPage ? crossing.record : -1;
  }

  /** Was the block entered an eighth as often as makes warm? 0 is that of one that waits to be compiled. */
  private visited(record: number): boolean {
    const heat = this.core.i32[(record + U.BLOCK_HEAT) >>> 2]!;
    return heat <= this.cache.initialHeat - (this.cache.initialHeat >>> 3);
  }

  /** The frame of a call to `callee`, or undefined if it is not followed: it calls itself, or the chain is long. */
  private call(call: RegionBlock, caller: Frame | null, callee: number, returns: number): Frame | undefined {
    // The frame of the call inside a retpoline does not last.
    const inside = this.isThunk(call.record);
    const depth = (caller?.depth ?? 0) + (inside ? 0 : 1);
    if (depth > this.limits.depth && !inside && !this.isThunk(this.at(callee))) return undefined;
    for (let f = caller; f !== null; f = f.caller) if (f.callee === callee) return undefined;
    return { number: ++this.lastFrame, depth, returns, caller, callee, call, overwritten: false };
  }

  /** The block is a call and nothing else, as at the beginning of a retpoline: CALL 1f; ...; 1: MOV [RSP], reg; RET. */
  private isThunk(record: number): boolean {
    const { u16, u32 } = this.core;
    if (record < 0) return false;
    const terminal = u32[(record + 20) >>> 2]!;
    return terminal === record + U.BLOCK_HEADER_BYTES && u16[terminal >>> 1] === U.U_CALL;
  }

  /** The block's last micro-op overwrites the return address. */
  private overwrites({ record, terminal }: RegionBlock): boolean {
    const { u8, u16, i32 } = this.core;
    const u = terminal - U.UOP_BYTES;
    if (u < record + U.BLOCK_HEADER_BYTES || u16[u >>> 1] !== U.U_STORE + 3) return false;
    return u8[u + 3] === A.S_RSP && u8[u + 4] === A.S_ZERO && u8[u + 5] === A.S_ZERO && i32[(u + 8) >>> 2] === 0;
  }

  private follow(n: number): void {
    const { u16, i32 } = this.core;
    const b = this.blocks[n]!;
    let frame = this.frames[n]!;
    if (frame !== null && this.overwrites(b)) frame = { ...frame, number: ++this.lastFrame, overwritten: true };
    const kind = u16[b.terminal >>> 1]!;
    const target = b.offset + i32[(b.terminal + 8) >>> 2]!;
    const next = b.offset + b.bytes;
    if (kind === U.U_END) b.straight = this.edge(next, frame);
    else if (kind === U.U_JMP) b.taken = this.edge(target, frame);
    else if (isConditional(kind)) {
      b.straight = this.edge(next, frame);
      b.taken = this.edge(target, frame);
    } else if (kind === U.U_CALL) b.taken = this.callEdge(b, frame, target, next);
    else if (kind === U.U_CALL_R)
      b.targets = this.inside(this.noted(b).map((offset) => this.callEdge(b, frame, offset, next)));
    else if (kind === U.U_RET) b.targets = this.inside(this.return(b, frame));
    else b.targets = this.inside([...new Set([...this.noted(b), ...this.cases(b)])].map((o) => this.edge(o, frame)));
  }

  private callEdge(b: RegionBlock, frame: Frame | null, target: number, next: number): Edge {
    const callee = this.recursive(frame, target) < 0 ? this.call(b, frame, target, next) : undefined;
    return callee === undefined ? { to: -1, offset: target } : this.edge(target, callee);
  }

  /** Where RET leads: behind the call, or out of a retpoline to where it went last, which then returns as the thunk would have. */
  private return(b: RegionBlock, frame: Frame | null): Edge[] {
    if (frame === null) return [];
    const { caller } = frame;
    if (!frame.overwritten) return [this.edge(frame.returns, caller)];
    if (caller === null) return [];
    b.retpoline = caller.call;
    const distance = this.core.i32[(caller.call.terminal + RETPOLINE_NOTE) >>> 2]!;
    if (distance === 0 || caller.depth > this.limits.depth) return [];
    const callee = caller.call.offset + distance;
    return [this.edge(callee, { ...caller, number: ++this.lastFrame, callee })];
  }

  private kind(b: RegionBlock): number {
    return this.core.u16[b.terminal >>> 1]!;
  }

  private returnsOf(frame: Frame | null): Edge[] {
    const number = frame?.number ?? 0;
    let list = this.returns.get(number);
    if (list === undefined) this.returns.set(number, (list = []));
    return list;
  }

  /**
   * Direct calls of a function that is in the region already, by nobody known or by a chain that the call is part of: they go there, and
   * what follows the call is where its RET may lead.
   */
  private recursion(): void {
    this.blocks.forEach((b, n) => {
      if (this.kind(b) !== U.U_CALL || b.taken === null || b.taken.to >= 0) return;
      const { offset } = b.taken;
      const to = this.recursive(this.frames[n]!, offset);
      if (to < 0) return;
      const returns = this.returnsOf(this.frames[to]!);
      if (returns.length === MAX_RECURSIONS) return;
      b.taken = { to, offset };
      returns.push(this.edge(b.offset + b.bytes, this.frames[n]!));
    });
  }
  /** The block at `offset` in `frame` or in the frames that led to it, or -1. */
  private recursive(frame: Frame | null, offset: number): number {
    for (let f = frame; ; f = f.caller) {
      const at = this.blocks.findIndex((b, n) => b.offset === offset && this.frames[n] === f);
      if (at >= 0 || f === null) return at;
    }
  }

  /** Those to blocks of the region. An address stands once: calls of the same place in two frames return to it in both. */
  private inside(edges: Edge[]): Edge[] {
    const within = edges.filter((e) => e.to >= 0);
    return within.filter(({ offset }, n) => within.findIndex((e) => e.offset === offset) === n).slice(0, MAX_TARGETS);
  }

  /** The last two targets that the interpreter noted of a computed jump or call (interpreter/terminals.ts). */
  private noted(b: RegionBlock): number[] {
    const { i32 } = this.core;
    return [i32[(b.terminal + 16) >>> 2]!, i32[(b.terminal + 20) >>> 2]!]
      .filter((distance) => distance !== 0)
      .map((distance) => b.offset + distance);
  }

  /**
   * Blocks of the page of a computed jump that are likely its targets, because they are executed and no direct branch of
   * the page leads to them: the cases of a switch.
   */
  private cases(b: RegionBlock): number[] {
    const { u16, u32, i32 } = this.core;
    const page = this.pages[b.page]!;
    const from = new Set<number>();
    const direct = new Set<number>();
    for (const record of this.cache.recordsIn(page.arena)) {
      if (u32[(record + 4) >>> 2] !== this.mode || !this.visited(record)) continue;
      const terminal = u32[(record + 20) >>> 2]!;
      const kind = u16[terminal >>> 1]!;
      const offset = page.delta + (u32[record >>> 2]! - page.arena);
      from.add(offset);
      if (kind !== U.U_JMP && kind !== U.U_JMP_R && kind !== U.U_RET) direct.add(offset + u16[(record + 10) >>> 1]!);
      if (TAKEN_ONLY.has(kind) || isConditional(kind)) direct.add(offset + i32[(terminal + 8) >>> 2]!);
    }
    return [...from].filter((offset) => !direct.has(offset));
  }
}

const key = (record: number, frame: Frame | null): number => record * 4096 + (frame?.number ?? 0);

const uopsOf = (core: Core, record: number): number =>
  (core.u32[(record + 20) >>> 2]! - record - U.BLOCK_HEADER_BYTES) / U.UOP_BYTES + 1;

/**
 * Regions: the blocks of one page that hang together by direct branches, found from a warm block by following the
 * branches that were taken. A region has one entry, its first block; it becomes one WebAssembly function. Its returns and
 * computed jumps come together in one more node, which compares the target with the places in the region where they may go:
 * after its calls and, if it has a computed jump, any other block of the page that has been executed.
 */
import { PAGE_SIZE } from "../arena.ts";
import type { Core } from "../core.ts";
import { emitTable } from "../emit/table.ts";
import type { BlockCache } from "../uops/block.ts";
import * as U from "../uops/uop.ts";

const MAX_BLOCKS = 48;
const MAX_UOPS = 600;

/** Where a terminal leads: a block of the region, or out of it. */
export interface Edge {
  /** Index into Region.blocks, -1 out of the region. */
  to: number;
  /** Offset of the target from the start of the page; may lie outside of the page. */
  offset: number;
}

export interface RegionBlock {
  /** -1: the dispatch node, which has no code of the guest. */
  readonly record: number;
  /** Offset of its first byte in the page. */
  readonly offset: number;
  readonly terminal: number;
  readonly instructions: number;
  readonly bytes: number;
  /** Edges of direct terminals; null where the target is computed. */
  taken: Edge | null;
  straight: Edge | null;
  /** Of a computed terminal: to the dispatch node, if the region has one. */
  dispatch: Edge | null;
  /** Of the dispatch node: where computed jumps may go inside the region. */
  targets: Edge[];
}

export interface Region {
  readonly blocks: RegionBlock[];
}

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

/** The region that begins with `record`, or null if that block can't be translated. */
export function formRegion(core: Core, cache: BlockCache, record: number): Region | null {
  if (!translatable(core, record)) return null;
  const { u16, u32, i32 } = core;
  const start = u32[record >>> 2]!;
  const page = (start & ~(PAGE_SIZE - 1)) >>> 0;
  const mode = u32[(record + 4) >>> 2]!;
  const blocks: RegionBlock[] = [];
  const index = new Map<number, number>();
  let uops = 0;
  const add = (r: number): number => {
    const terminal = u32[(r + 20) >>> 2]!;
    uops += (terminal - r - U.BLOCK_HEADER_BYTES) / U.UOP_BYTES + 1;
    index.set(r, blocks.length);
    blocks.push({
      record: r,
      offset: u32[r >>> 2]! - page,
      terminal,
      instructions: u16[(r + 8) >>> 1]!,
      bytes: u16[(r + 10) >>> 1]!,
      taken: null,
      straight: null,
      dispatch: null,
      targets: [],
    });
    return blocks.length - 1;
  };
  /** Page offsets where computed jumps of the region may lead. */
  const places = new Set<number>();
  let jumps = false;
  /** The block at page offset `offset`, taken into the region if it is worth it. */
  const edge = (offset: number): Edge => {
    if (offset < 0 || offset >= PAGE_SIZE) return { to: -1, offset };
    const r = cache.known(page + offset, mode);
    if (r < 0) return { to: -1, offset };
    const known = index.get(r);
    if (known !== undefined) return { to: known, offset };
    const heat = i32[(r + U.BLOCK_HEAT) >>> 2]!;
    const visited = heat < 0 || (heat > 0 && heat <= cache.initialHeat - (cache.initialHeat >>> 3));
    if (!visited || blocks.length >= MAX_BLOCKS || uops >= MAX_UOPS || !translatable(core, r))
      return { to: -1, offset };
    return { to: add(r), offset };
  };
  add(record);
  let computed = false;
  for (let n = 0; n < blocks.length; n++) {
    const b = blocks[n]!;
    const kind = u16[b.terminal >>> 1]!;
    const target = b.offset + i32[(b.terminal + 8) >>> 2]!;
    const next = b.offset + b.bytes;
    // A block that crosses its page is not in the cache by address, so none is here.
    if (kind === U.U_END) b.straight = edge(next);
    else if (TAKEN_ONLY.has(kind)) b.taken = edge(target);
    else if (isConditional(kind)) {
      b.straight = edge(next);
      b.taken = edge(target);
    } else computed = true;
    if (kind === U.U_JMP_R && !jumps) {
      jumps = true;
      for (const r of cache.recordsIn(page)) places.add(u32[r >>> 2]! - page);
    }
    if (kind === U.U_CALL || kind === U.U_CALL_R) places.add(next);
    // Returns are followed once the rest of the region is known.
    if (computed && n === blocks.length - 1) for (const offset of places) edge(offset);
  }
  if (computed) {
    const targets = [...places].map(edge).filter((e) => e.to >= 0);
    if (targets.length > 0) {
      const dispatch = { to: blocks.length, offset: -1 };
      for (const b of blocks) if (COMPUTED.has(u16[b.terminal >>> 1]!)) b.dispatch = { ...dispatch };
      blocks.push({
        record: -1,
        offset: -1,
        terminal: -1,
        instructions: 0,
        bytes: 0,
        taken: null,
        straight: null,
        dispatch: null,
        targets,
      });
    }
  }
  return { blocks };
}

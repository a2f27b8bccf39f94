/**
 * Blocks: decoding and lifting of straight-line code into a record of micro-ops, and the cache of those records.
 *
 * A block ends at a cut (ARCHITECTURE.md): after a control transfer, before and after a solo instruction, after a REP
 * chunk, where straight-line code enters a new 256-byte-aligned chunk of its page, and before an instruction
 * that crosses a page, which is a block of its own. Chunks are counted in physical addresses, because blocks are
 * keyed by them.
 */
import * as A from "../arena.ts";
import { type Core, raise, VEC_GP, VEC_UD } from "../core.ts";
import { decode } from "../decode/decoder.ts";
import {
  DECODE_GP,
  DECODE_MORE,
  DECODE_OK,
  FEATURE_AVX,
  Instruction,
  ROW_AVX,
  ROW_SOLO,
} from "../decode/instruction.ts";
import { MN_BSF, MN_BSR, MN_LZCNT, MN_NOP, MN_PREFETCHW, MN_TZCNT } from "../decode/mnemonics.ts";
import { ROW_FEATURE, ROW_FLAGS } from "../decode/table.ts";
import type { HostProfile } from "../host-profile.ts";
import { cpuModel, VENDOR_AMD } from "../system/cpu-model.ts";
import { featureSet } from "../system/features.ts";
import { BlockBuilder, LIFTERS, type Lifter } from "./builder.ts";
import { defineHelper } from "./helpers.ts";
import {
  BLOCK_HEADER_BYTES,
  BLOCK_HEAT,
  BLOCK_SECOND,
  H_OK,
  H_RESTART,
  MODE_16,
  MODE_64,
  MODE_CODE_MASK,
  MODE_FLAT,
  MODE_STEP,
  U_END,
  UOP_BYTES,
} from "./uop.ts";

/** Offset of disp in a micro-op. */
const UOP_DISP = 8;

/** Code chunks are this many bytes, aligned. */
export const CHUNK_BYTES = 256;
/** More than any block can take: 256 instructions of at most 16 micro-ops each, and its tables. */
const BLOCK_ROOM = CHUNK_BYTES * 17 * UOP_BYTES;

const HELPER_UD: number = defineHelper("undefined opcode", (core) => raise(core, VEC_UD));
/**
 * The first micro-op of a block where CS may have a limit: disp bytes from RIPBASE must lie within it. Where they don't, the
 * instructions are executed one by one, up to the one that has the fault.
 */
const HELPER_CODE_LIMIT: number = defineHelper("limit of CS", (core, u) => {
  const last = core.u32[(A.SLOTS + A.S_RIPBASE) >>> 2]! + core.i32[(u + UOP_DISP) >>> 2]! - 1;
  if (last <= core.u32[(A.SEG + A.SEG_STRIDE + A.SEG_LIMIT) >>> 2]!) return H_OK;
  return core.i32[A.MODE >>> 2]! & MODE_STEP ? raise(core, VEC_GP) : H_RESTART;
});
const HELPER_TOO_LONG: number = defineHelper("over 15 bytes", (core) => raise(core, VEC_GP));

/** What a processor without the feature makes of an encoding: an older instruction with a prefix that has no meaning, or a hint. */
const OLDER: ReadonlyMap<number, number> = new Map([
  [MN_TZCNT, MN_BSF],
  [MN_LZCNT, MN_BSR],
  [MN_PREFETCHW, MN_NOP],
]);

/** What is known by (arena address, MODE). Maps of int32s, one a MODE, since V8 hashes no other numbers without a call. */
class ByAddress<T> {
  private readonly maps: Map<number, Map<number, T>> = new Map();
  private mode = -1;
  private map: Map<number, T> = new Map();

  get(from: number, mode: number): T | undefined {
    return this.of(mode).get(from | 0);
  }
  set(from: number, mode: number, value: T): void {
    this.of(mode).set(from | 0, value);
  }
  delete(from: number, mode: number): void {
    this.of(mode).delete(from | 0);
  }
  clear(): void {
    this.maps.clear();
    this.mode = -1;
  }

  private of(mode: number): Map<number, T> {
    if (mode === this.mode) return this.map;
    let map = this.maps.get(mode);
    if (map === undefined) {
      map = new Map();
      this.maps.set(mode, map);
    }
    this.mode = mode;
    this.map = map;
    return map;
  }
}

/** True if an instruction, of 15 bytes at most, may cross a page when it begins at `from`. */
const mayCross = (from: number): boolean => (from & (A.PAGE_SIZE - 1)) > A.PAGE_SIZE - 15;

/** A block whose only instruction crosses a page: valid while its second page is still the same. */
export interface CrossingBlock {
  record: number;
  secondPage: number;
}

export class BlockCache {
  private readonly core: Core;
  private readonly builder: BlockBuilder;
  private readonly profile: HostProfile | null;
  private readonly ins: Instruction = new Instruction();
  private at: number = A.STREAM;
  /** Block records. */
  private readonly blocks: ByAddress<number> = new ByAddress();
  private readonly crossing: ByAddress<CrossingBlock> = new ByAddress();
  /** Records with bytes in a frame, by frame number. */
  private readonly byFrame: Map<number, number[]> = new Map();
  /** Killed records that may still be running. */
  private readonly dying: number[] = [];
  private readonly seam: Uint8Array = new Uint8Array(32);
  /** Entries after which a new block is warm (RUN_HOT); 0: entries are not counted. Set by the translator. */
  initialHeat = 0;
  /** Told before a record is forgotten (its bytes changed), and before all are (`flush`: -1). Set by the translator. */
  onForget: (record: number) => void = () => {};
  /** Instructions that a block has at most. Less than a chunk holds only where single instructions are looked at. */
  longest: number = CHUNK_BYTES;
  /** Blocks decoded since the machine began. */
  decoded = 0;

  constructor(core: Core) {
    this.core = core;
    this.builder = new BlockBuilder(core);
    this.profile = core.shared.profile;
  }

  /**
   * The block at arena address `from` (the byte that FETCH_ARENA and RIP name) for the current MODE.
   * `secondPage` gives the arena address of the next linear page, or -1 after recording a fault, when an instruction
   * crosses into it. @returns the record, or -1 if `secondPage` faulted.
   */
  get(from: number, secondPage: () => number): number {
    const mode = this.core.i32[A.MODE >>> 2]!;
    const { i32 } = this.core;
    // Most of what is asked for is known, and only its page was not in the fetch TLB.
    const slot = (A.BLOCK_TABLE + this.slot(from)) >>> 2;
    if (i32[slot] === (from | 0) && i32[slot + 1] === mode) {
      const record = i32[slot + 2]!;
      if (i32[(record + BLOCK_SECOND) >>> 2] === 0) return record;
    }
    const known = this.blocks.get(from, mode);
    if (known !== undefined) {
      this.install(from, mode, known);
      return known;
    }
    const seam = mayCross(from) ? this.crossing.get(from, mode) : undefined;
    if (seam !== undefined) {
      const second = secondPage();
      if (second < 0) return -1;
      if (second === seam.secondPage) {
        this.install(from, mode, seam.record);
        return seam.record;
      }
      this.crossing.delete(from, mode);
    }
    const { profile } = this;
    if (profile === null) return this.build(from, mode, secondPage);
    profile.beginBlock();
    const record = this.build(from, mode, secondPage);
    profile.endBlock();
    return record;
  }

  /** Forgets every block and reuses the stream. */
  flush(): void {
    const { u8 } = this.core;
    this.onForget(-1);
    u8.fill(0, A.BLOCK_TABLE, A.BLOCK_TABLE + (A.BLOCK_TABLE_ENTRIES << A.BLOCK_TABLE_SHIFT));
    const arena = this.core.arena;
    for (const frame of this.byFrame.keys()) {
      u8.fill(0, arena.codeBitmap + frame * 8, arena.codeBitmap + frame * 8 + 8);
      u8[arena.frameAttr + frame]! &= ~A.FRAME_CODE;
    }
    this.blocks.clear();
    this.crossing.clear();
    this.byFrame.clear();
    this.dying.length = 0;
    this.at = A.STREAM;
  }

  /** Drops the blocks that have bytes in the 64-byte lines that [address, address + bytes) touches. */
  invalidate(address: number, bytes: number): void {
    const arena = this.core.arena;
    const first = arena.frameOf(address);
    const last = arena.frameOf(address + bytes - 1);
    for (let frame = first; frame <= last; frame++) {
      const records = this.byFrame.get(frame);
      if (records === undefined) continue;
      const page = arena.ram + frame * A.PAGE_SIZE;
      const lo = Math.max(address, page) & ~63;
      const hi = (Math.min(address + bytes, page + A.PAGE_SIZE) + 63) & ~63;
      const kept: number[] = [];
      for (const record of records) {
        if (this.overlaps(record, frame, lo >>> 0, hi >>> 0)) this.kill(record);
        else kept.push(record);
      }
      this.recountLines(frame, kept);
    }
  }

  /** The record of the block at arena address `from` for `mode`, if one is known, else -1. */
  known(from: number, mode: number): number {
    return this.blocks.get(from, mode) ?? -1;
  }

  /** The same of an instruction that crosses into another page, as it was last executed. */
  knownCrossing(from: number, mode: number): CrossingBlock | undefined {
    return this.crossing.get(from, mode);
  }

  /** Records of the blocks that begin in the page at arena address `page`. */
  *recordsIn(page: number): Generator<number> {
    const { u32 } = this.core;
    for (const record of this.byFrame.get(this.core.arena.frameOf(page)) ?? [])
      if ((u32[record >>> 2]! & ~(A.PAGE_SIZE - 1)) >>> 0 === page) yield record;
  }

  /** The code page attribute of `frame` is set iff some block has bytes there. */
  hasCode(frame: number): boolean {
    return this.byFrame.has(frame);
  }

  private overlaps(record: number, frame: number, lo: number, hi: number): boolean {
    const { u32, u16, arena } = this.core;
    const start = u32[record >>> 2]!;
    const end = start + u16[(record + 10) >>> 1]!;
    if (arena.frameOf(start) === frame) return start < hi && end > lo;
    // The tail of a crossing instruction, which lies at the start of this frame.
    const tail = end & 0xfff;
    return lo < arena.ram + frame * A.PAGE_SIZE + tail;
  }

  /** Forgets a record. The one that runs is still needed until it is left, so it waits for `settle`. */
  private kill(record: number): void {
    const { u32, i32, u8 } = this.core;
    const start = u32[record >>> 2]!;
    const mode = u32[(record + 4) >>> 2]!;
    if (this.blocks.get(start, mode) === record) this.blocks.delete(start, mode);
    if (mayCross(start) && this.crossing.get(start, mode)?.record === record) this.crossing.delete(start, mode);
    const slot = A.BLOCK_TABLE + this.slot(start);
    if (i32[(slot + 8) >>> 2] === record) u8.fill(0, slot, slot + 16);
    this.onForget(record);
    if (i32[A.BLOCK >>> 2] === record) {
      this.dying.push(record);
      this.core.shared.active?.breakSlice();
    } else this.bury(record);
  }

  /** Called before every run of blocks from TypeScript: nothing stands in a block that was killed. */
  settle(): void {
    while (this.dying.length > 0) this.bury(this.dying.pop()!);
  }

  /** Turns a record into a jump to itself through the look-up, so that links to it find the new block. */
  private bury(record: number): void {
    const { u8, u16 } = this.core;
    const uop = record + BLOCK_HEADER_BYTES;
    this.core.i32[(record + BLOCK_HEAT) >>> 2] = 0;
    u8.fill(0, uop, uop + 2 * UOP_BYTES);
    u16[uop >>> 1] = U_END;
  }

  private recountLines(frame: number, records: number[]): void {
    const { u8, u32, u16, arena } = this.core;
    const bitmap = arena.codeBitmap + frame * 8;
    u8.fill(0, bitmap, bitmap + 8);
    if (records.length === 0) {
      this.byFrame.delete(frame);
      u8[arena.frameAttr + frame]! &= ~A.FRAME_CODE;
      return;
    }
    this.byFrame.set(frame, records);
    for (const record of records) {
      const start = u32[record >>> 2]!;
      const end = start + u16[(record + 10) >>> 1]!;
      if (arena.frameOf(start) === frame)
        this.mark(frame, start & 0xfff, Math.min((start & 0xfff) + end - start, A.PAGE_SIZE));
      else this.mark(frame, 0, end & 0xfff);
    }
  }

  /** Marks the lines of page bytes [from, to) as code. */
  private mark(frame: number, from: number, to: number): void {
    const bitmap = this.core.arena.codeBitmap + frame * 8;
    for (let line = from >>> 6; line <= (to - 1) >>> 6; line++) this.core.u8[bitmap + (line >>> 3)]! |= 1 << (line & 7);
  }

  private slot(from: number): number {
    return ((from ^ (from >>> 14)) & (A.BLOCK_TABLE_ENTRIES - 1)) << A.BLOCK_TABLE_SHIFT;
  }

  private install(from: number, mode: number, record: number): void {
    const { i32 } = this.core;
    const slot = (A.BLOCK_TABLE + this.slot(from)) >>> 2;
    i32[slot] = from;
    i32[slot + 1] = mode;
    i32[slot + 2] = record;
  }

  private build(from: number, mode: number, secondPage: () => number): number {
    if (this.at + BLOCK_ROOM > A.STREAM + A.STREAM_BYTES) this.flush();
    const { core, builder: b, ins } = this;
    const record = this.at;
    const codeSize = (mode & MODE_CODE_MASK) === MODE_64 ? 64 : (mode & MODE_CODE_MASK) === MODE_16 ? 16 : 32;
    const pageEnd = ((from & ~0xfff) >>> 0) + A.PAGE_SIZE;
    const chunkEnd = Math.min(((from & ~(CHUNK_BYTES - 1)) >>> 0) + CHUNK_BYTES, pageEnd);
    if (this.amd < 0) {
      this.amd = cpuModel(core.shared.active ?? core).vendor === VENDOR_AMD ? 1 : 0;
      ins.amd = this.amd;
    }
    b.at = record + BLOCK_HEADER_BYTES;
    b.mode = mode;
    b.ended = false;
    let at = from;
    let count = 0;
    let second = -1;
    // Where CS may end: a check before the first instruction, whose bytes `finish` fills in.
    const limited = codeSize !== 64 && (mode & MODE_FLAT) === 0;
    if (limited) {
      b.off = 0;
      b.helper(HELPER_CODE_LIMIT);
    }
    const offsets = this.offsets;
    const timed = this.profile?.splits === true ? this.profile : null;
    while (!b.ended) {
      timed?.beginDecode();
      let status = decode(ins, core.u8, at, pageEnd, codeSize);
      timed?.endDecode();
      if (status === DECODE_MORE) {
        if (count > 0) break;
        // The instruction may cross the page: decode it from a copy of the bytes on both sides.
        const head = pageEnd - at;
        second = secondPage();
        if (second < 0) return -1;
        this.seam.set(core.u8.subarray(at, pageEnd));
        this.seam.set(core.u8.subarray(second, second + 16), head);
        status = decode(ins, this.seam, 0, head + 16, codeSize);
      }
      const solo = status !== DECODE_OK || (ROW_FLAGS[ins.row]! & ROW_SOLO) !== 0;
      if (solo && count > 0) break;
      b.off = at - from;
      b.length = status === DECODE_OK ? ins.length : 1;
      offsets[count++] = b.off;
      const lifter = status === DECODE_OK ? this.lifter(ins) : undefined;
      if (status === DECODE_GP) b.helperEnd(HELPER_TOO_LONG);
      else if (lifter === undefined) b.helperEnd(HELPER_UD);
      else lifter(b, ins);
      at += b.length;
      if (b.ended) break;
      if (solo || at >= chunkEnd || mode & MODE_STEP || count >= this.longest) break;
    }
    if (!b.ended) b.terminal(U_END, 0, 0, 0, 0, 0, 0);
    this.finish(record, from, mode, at - from, count);
    if (second >= 0 && at > pageEnd) {
      this.crossing.set(from, mode, { record, secondPage: second });
      core.i32[(record + BLOCK_SECOND) >>> 2] = second;
      this.install(from, mode, record);
      this.own(record, core.arena.frameOf(from), from & 0xfff, A.PAGE_SIZE);
      this.own(record, core.arena.frameOf(second), 0, at - pageEnd);
    } else {
      this.blocks.set(from, mode, record);
      this.install(from, mode, record);
      this.own(record, core.arena.frameOf(from), from & 0xfff, Math.min((from & 0xfff) + at - from, A.PAGE_SIZE));
    }
    this.decoded++;
    return record;
  }

  /**
   * A byte a FEATURE_ number: 1 if the processor has it. Of the core that runs when the first block is built, for all cores
   * of a group are of one model; a test may set it.
   */
  features: Uint8Array | null = null;

  /** 1 if the processor is AMD's, where vendors differ; -1: no block was built yet. */
  private amd: number = -1;

  /** The meaning of a decoded instruction, or undefined: #UD. */
  private lifter(ins: Instruction): Lifter | undefined {
    this.features ??= featureSet(this.core.shared.active ?? this.core);
    // 0F 0D are hints about memory; AMD's processors have no register forms, Intel's take them as NOP.
    if (this.amd === 1 && ins.opcode === 0x0d && ins.map === 1 && ins.modrm >= 0xc0) return undefined;
    // The VEX forms of other features (AES) need AVX too.
    if (ROW_FLAGS[ins.row]! & ROW_AVX && this.features[FEATURE_AVX] === 0) return undefined;
    if (this.features[ROW_FEATURE[ins.row]!] !== 0) return LIFTERS[ins.mn];
    const older = OLDER.get(ins.mn);
    return older === undefined ? undefined : LIFTERS[older];
  }

  private readonly offsets: Uint8Array = new Uint8Array(CHUNK_BYTES + 1);

  /** Fills the header, the terminal's second record, and the offsets table. */
  private finish(record: number, from: number, mode: number, bytes: number, count: number): void {
    const { i32, u16, u8 } = this.core;
    const b = this.builder;
    const table = b.at;
    i32[record >>> 2] = from;
    i32[(record + 4) >>> 2] = mode;
    u16[(record + 8) >>> 1] = count;
    u16[(record + 10) >>> 1] = bytes;
    i32[(record + 12) >>> 2] = table;
    const last = table - UOP_BYTES;
    i32[(record + BLOCK_HEAT) >>> 2] = mode & MODE_STEP ? 0 : this.initialHeat;
    i32[(record + 20) >>> 2] = last - UOP_BYTES;
    i32[(record + BLOCK_SECOND) >>> 2] = 0;
    // No links yet: `emit` left the instruction's offset there.
    i32[last >>> 2] = 0;
    i32[(last + 4) >>> 2] = 0;
    if ((mode & MODE_CODE_MASK) !== MODE_64 && (mode & MODE_FLAT) === 0)
      i32[(record + BLOCK_HEADER_BYTES + UOP_DISP) >>> 2] = bytes;
    u16[(last + 8) >>> 1] = count;
    u16[(last + 10) >>> 1] = count;
    u16[(last + 12) >>> 1] = bytes;
    // 16-bit code that goes straight on past 64 KiB does not wrap: it meets the limit of its segment.
    u16[(last + 14) >>> 1] = (mode & MODE_CODE_MASK) === MODE_64 ? 0 : 4;
    for (let i = 0; i < count; i++) u8[table + i] = this.offsets[i]!;
    this.at = (table + count + 15) & ~15;
  }

  /** Notes that `record` has the bytes [from, to) of `frame`. */
  private own(record: number, frame: number, from: number, to: number): void {
    const records = this.byFrame.get(frame);
    if (records === undefined) {
      this.byFrame.set(frame, [record]);
      this.onCodePage(frame);
    } else records.push(record);
    this.mark(frame, from, to);
  }

  /** Called when `frame` gets its first block: sets the attribute and sweeps write tags. Set by the engine. */
  onCodePage: (frame: number) => void = (frame) => {
    this.core.u8[this.core.arena.frameAttr + frame]! |= A.FRAME_CODE;
  };
}

/** Number of instructions of block `record` that come before the one at offset `off`. */
export function instructionsBefore(core: Core, record: number, off: number): number {
  const table = core.u32[(record + 12) >>> 2]!;
  let n = 0;
  while (core.u8[table + n]! < off) n++;
  return n;
}

/**
 * The allocator of machine frames. A frame has an owner (a domid, DOMID_XEN for Xen's own, FREE) and a count of references:
 * one for the allocation itself, one for every mapping by another domain. It is scrubbed and free when the count reaches
 * zero, so a page that somebody has mapped never reaches another owner. The reference of the allocation can be dropped once
 * only (PGC_allocated), however often the owner gives the page back. The order of allocation is a pure
 * function of the calls: lowest frame of the fullest-first 2 MiB blocks.
 */
import { DOMID_XEN } from "../abi/xen.ts";
import type { MachineMemory } from "./machine-memory.ts";

export const FREE: number = -1;
/** Most references that a frame can have; the next one is refused. */
export const MAX_REFERENCES = 0x7fff_ffff;
/** Frames of a 2 MiB superpage. */
export const SUPERPAGE_FRAMES = 512;

export class Heap {
  private readonly memory: MachineMemory;
  /** Owner of each frame. */
  private readonly owners: Int16Array;
  private readonly references: Int32Array;
  /** 1 while the reference of the allocation is held. */
  private readonly allocated: Uint8Array;
  /** Free frames in each aligned block of SUPERPAGE_FRAMES. */
  private readonly freeInBlock: Uint16Array;
  /** No block below has a free frame / a partly free block. */
  private firstPartial = 0;
  private firstFull = 0;
  /** Frames in use by a domain, by domid. */
  private readonly owned: Map<number, number> = new Map();
  freeFrames = 0;
  readonly frames: number;
  /** Told of a frame that is about to be handed out, and of one that has just become free (page types, stale translations). */
  onTake: (mfn: number) => void = () => {};
  onFree: (mfn: number) => void = () => {};

  constructor(memory: MachineMemory) {
    this.memory = memory;
    this.frames = memory.arena.frames;
    this.owners = new Int16Array(this.frames).fill(FREE);
    this.references = new Int32Array(this.frames);
    this.allocated = new Uint8Array(this.frames);
    this.freeInBlock = new Uint16Array(Math.ceil(this.frames / SUPERPAGE_FRAMES));
    for (let mfn = 0; mfn < this.frames; mfn++) this.freeInBlock[mfn >>> 9]!++;
    this.freeFrames = this.frames;
    // Frame 0 is never handed out, so that 0 can stand for "none" where the architecture wants it so.
    this.take(0, DOMID_XEN);
  }

  /** One zeroed frame for `owner`, or -1 when there is none. */
  alloc(owner: number): number {
    const blocks = this.freeInBlock;
    let block = this.firstPartial;
    while (block < blocks.length && (blocks[block] === 0 || blocks[block] === SUPERPAGE_FRAMES)) block++;
    this.firstPartial = block;
    if (block === blocks.length) {
      block = this.firstFull;
      while (block < blocks.length && blocks[block] !== SUPERPAGE_FRAMES) block++;
      this.firstFull = block;
      if (block === blocks.length) return -1;
      this.firstPartial = Math.min(this.firstPartial, block);
    }
    let mfn = block * SUPERPAGE_FRAMES;
    while (this.owners[mfn] !== FREE) mfn++;
    this.take(mfn, owner);
    return mfn;
  }

  /** The first of 512 aligned, zeroed frames for `owner`, or -1. */
  allocSuperpage(owner: number): number {
    const blocks = this.freeInBlock;
    let block = this.firstFull;
    while (block < blocks.length && blocks[block] !== SUPERPAGE_FRAMES) block++;
    this.firstFull = block;
    if (block === blocks.length) return -1;
    const first = block * SUPERPAGE_FRAMES;
    for (let mfn = first; mfn < first + SUPERPAGE_FRAMES; mfn++) this.take(mfn, owner);
    return first;
  }

  /** The first of 2^order aligned, zeroed frames for `owner` (order 0..9), or -1. */
  allocBlock(owner: number, order: number): number {
    if (order === 0) return this.alloc(owner);
    const size = 1 << order;
    if (size === SUPERPAGE_FRAMES) return this.allocSuperpage(owner);
    for (let mfn = 0; mfn + size <= this.frames; mfn += size) {
      if (this.freeInBlock[mfn >>> 9]! < size) {
        mfn |= SUPERPAGE_FRAMES - size;
        continue;
      }
      if (!this.isFree(mfn, size)) continue;
      for (let n = 0; n < size; n++) this.take(mfn + n, owner);
      return mfn;
    }
    return -1;
  }

  private isFree(mfn: number, count: number): boolean {
    for (let n = 0; n < count; n++) if (this.owners[mfn + n] !== FREE) return false;
    return true;
  }

  private take(mfn: number, owner: number): void {
    this.onTake(mfn);
    this.owners[mfn] = owner;
    this.references[mfn] = 1;
    this.allocated[mfn] = 1;
    this.freeInBlock[mfn >>> 9]!--;
    this.freeFrames--;
    this.owned.set(owner, (this.owned.get(owner) ?? 0) + 1);
  }

  /** Owner of a frame, FREE if it has none or doesn't exist. */
  ownerOf(mfn: number): number {
    return mfn >= 0 && mfn < this.frames ? this.owners[mfn]! : FREE;
  }

  /** Frames that `owner` has, those only kept alive by others' mappings included. */
  ownedBy(owner: number): number {
    return this.owned.get(owner) ?? 0;
  }

  /** Takes a reference if the frame belongs to `owner`. @returns false if it does not, or has MAX_REFERENCES. */
  getPage(mfn: number, owner: number): boolean {
    if (this.ownerOf(mfn) !== owner || this.references[mfn]! >= MAX_REFERENCES) return false;
    this.references[mfn]!++;
    return true;
  }

  /** Drops a reference; the last one scrubs and frees the frame. */
  putPage(mfn: number): void {
    if (this.ownerOf(mfn) === FREE) throw new RangeError(`frame ${mfn} has no reference to drop`);
    if (--this.references[mfn]! > 0) return;
    const owner = this.owners[mfn]!;
    const left = this.owned.get(owner)! - 1;
    if (left === 0) this.owned.delete(owner);
    else this.owned.set(owner, left);
    this.memory.zeroFrame(mfn);
    this.allocated[mfn] = 0;
    this.owners[mfn] = FREE;
    this.onFree(mfn);
    const block = mfn >>> 9;
    this.freeInBlock[block]!++;
    this.freeFrames++;
    this.firstPartial = Math.min(this.firstPartial, block);
    this.firstFull = Math.min(this.firstFull, block);
  }

  /** Drops the reference of the allocation, if it is still held (put_page_alloc_ref). */
  putAllocation(mfn: number): void {
    if (this.allocated[mfn] === 0) return;
    this.allocated[mfn] = 0;
    this.putPage(mfn);
  }

  isAllocated(mfn: number): boolean {
    return this.allocated[mfn] === 1;
  }

  referencesOf(mfn: number): number {
    return this.references[mfn]!;
  }

  /** Gives a frame with only its allocation reference to another owner. @returns false if somebody still maps it. */
  steal(mfn: number, from: number, to: number): boolean {
    if (this.ownerOf(mfn) !== from || this.references[mfn] !== 1 || this.allocated[mfn] === 0) return false;
    this.owners[mfn] = to;
    this.owned.set(from, this.owned.get(from)! - 1);
    this.owned.set(to, (this.owned.get(to) ?? 0) + 1);
    return true;
  }

  /** Every frame of `owner` that it has not given back, ascending; not those that only others' mappings keep. */
  *framesOf(owner: number): Generator<number> {
    for (let mfn = 0; mfn < this.frames; mfn++) if (this.owners[mfn] === owner && this.allocated[mfn] === 1) yield mfn;
  }
}

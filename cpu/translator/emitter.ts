/**
 * The translator's side of the micro-op emitters: operands are known, slots and flags live in WebAssembly locals over the
 * whole region, and conditions right after a comparison become comparisons.
 */
import * as A from "../arena.ts";
import { type Assembler, type Label, MEM, OP } from "../emit/assembler.ts";
import {
  type Access,
  type Field,
  I32,
  I64,
  IMPORT_FAULT,
  IMPORT_HELPER,
  IMPORT_SHARED,
  type Scratch,
  V128,
} from "../emit/emitter.ts";
import { add, put, put64, word } from "../emit/words.ts";
import { fetchEntry, stamp } from "../interpreter/fetch-tlb.ts";
import { BASE_HELPERS, HELPER_SLOTS } from "../uops/helpers.ts";
import * as U from "../uops/uop.ts";
import { FlagEmitter, type FlagLocals, type KnownFlags, NOTHING } from "./flags.ts";
import type { Page } from "./region.ts";

// Locals: the parameter (linear RIP), then those of LOCAL_TYPES.
const PAGE = 0;
const ENT = 1;
/** What the function answers if not zero: where a slow path or helper said so. */
const ST = 2;
const I = 3;
export const REM = 4;
/** What a slow path or helper answered. */
const STATUS = 5;
const TLB = 6;
/** The other pages of the region are in the fetch TLB, where they were when it was formed. */
export const VALID = 7;
const CTX = 9;
export const RIPL = 10;
const X = 11;
export const Y = 12;
const R = 13;
export const T = 14;
const LIN = 15;
const FLAG: FlagLocals = { kind: 8, one: 16, two: 17, ownC: 18, ownO: 19, ownZ: 20, x: 21 };
/** Slot n of the slot file is local SLOT + n. */
const SLOT = 22;
const V: number = SLOT + 32;
export const LOCAL_TYPES: readonly number[] = [
  ...new Array<number>(8).fill(I32),
  ...new Array<number>(V - CTX).fill(I64),
  V128,
];
const SCRATCH: Scratch = { x: X, y: Y, r: R, t: T, lin: LIN, v: V, ent: ENT, st: ST, i: I };

const FIRST_TEMP = A.S_T0 >>> 3;
const ZERO = A.S_ZERO >>> 3;
const RIPBASE = A.S_RIPBASE >>> 3;
const GPRS = 16;
/** General registers, temporaries and RIPBASE, by slot number. */
const ALL_SLOTS: number = 0x00ffffff | (1 << RIPBASE);
/** Kinds that set slot d and nothing else. */
const PREPARES: ReadonlySet<number> = new Set([
  ...[0, 1, 2, 3].flatMap((sz) => [U.U_MOV_RR + sz, U.U_MOV_RI + sz, U.U_LOAD + sz, U.U_LOADW + sz]),
  ...[U.U_LOAD_ZX8_32, U.U_LOAD_ZX16_32, U.U_LEA64, U.U_LEA32, U.U_EA16],
]);
const isTemp = (n: number): boolean => n >= FIRST_TEMP && n < ZERO;

interface Place {
  readonly at: number;
  readonly first: number;
  readonly unchanged: boolean;
  readonly blockOffset: number;
  readonly faults: Label | null;
  readonly mayLeave: boolean;
  readonly calledOut: boolean;
  readonly known: KnownFlags;
}

function countInstructions(w: Assembler, op: number): void {
  w.i32(0);
  w.i32(0);
  w.mem(MEM.i32_load, A.INSNS);
  w.get(REM);
  w.op(op);
  w.mem(MEM.i32_store, A.INSNS);
}

export class TranslatorEmitter extends FlagEmitter {
  private readonly u8: Uint8Array;
  private readonly i32: Int32Array;
  /** Record of the micro-op, and of the first one of its instruction. */
  private at = 0;
  private first = 0;
  /** No micro-op of the instruction before this one has changed what can be seen. */
  private unchanged = true;
  /** Misses of the TLB are handled by calls, not by leaving. */
  private callsOnMiss = false;
  /** Offset of the block in its page. */
  private blockOffset = 0;
  /** Where status in local ST leaves the function. */
  exit: Label | null = null;
  /** Where a status other than zero leaves the block; and: there was such a place. */
  private faults: Label | null = null;
  mayLeave = false;
  /** The block has called something that may have ended the slice. */
  calledOut = false;
  /** Bits by slot number: read or written, written. */
  private slotsUsed = 0;
  private slotsDirty = 0;

  constructor(w: Assembler, u8: Uint8Array, i32: Int32Array) {
    super(w, SCRATCH, FLAG);
    this.u8 = u8;
    this.i32 = i32;
  }

  /** @param callsOnMiss see U.BLOCK_MISSES */
  beginFunction(callsOnMiss: boolean): void {
    this.callsOnMiss = callsOnMiss;
    this.slotsUsed = this.slotsDirty = 0;
    this.flagsUsed = false;
    this.known = NOTHING;
  }
  beginBlock(offset: number, faults: Label): void {
    this.blockOffset = offset;
    this.faults = faults;
    this.mayLeave = this.calledOut = false;
    this.at = 0;
  }
  /** Where in the region code is being emitted, to come back to after other blocks. */
  place(): Place {
    const { at, first, unchanged, blockOffset, faults, mayLeave, calledOut, known } = this;
    return { at, first, unchanged, blockOffset, faults, mayLeave, calledOut, known };
  }
  goBack(place: Place): void {
    Object.assign(this, place);
  }
  /** @param dead the flags that it sets are never seen */
  beginUop(at: number, dead: boolean): void {
    const { u8 } = this;
    if (this.at === 0 || u8[this.at + 6] !== u8[at + 6]) {
      this.first = at;
      this.unchanged = true;
    } else this.unchanged &&= this.isPreparation();
    this.at = at;
    this.dead = dead;
  }
  /** The micro-op only sets a temporary. */
  private isPreparation(): boolean {
    const kind = this.i32[this.at >>> 2]! & 0xffff;
    const d = this.u8[this.at + 2]! >>> 3;
    return d >= FIRST_TEMP && d < ZERO && PREPARES.has(kind);
  }

  // ---- slots --------------------------------------------------------------------------------------------------------
  private slotOf(field: Field): number {
    return this.u8[this.at + (field === "d" ? 2 : field === "a" ? 3 : field === "b" ? 4 : 5)]!;
  }
  private read(slot: number, sz: number): void {
    const { w } = this;
    const n = slot >>> 3;
    if (n === ZERO) {
      w.i64(0);
      return;
    }
    if (n === RIPBASE) {
      this.pageAddress(this.blockOffset);
    } else {
      this.slotsUsed |= 1 << n;
      w.get(SLOT + n);
    }
    if (slot & 7) {
      w.i64(8);
      w.op(OP.i64_shr_u);
    }
    this.zeroExtend(sz);
  }
  private write(slot: number, sz: number, clean: boolean): void {
    const { w } = this;
    const n = slot >>> 3;
    this.slotsUsed |= 1 << n;
    this.slotsDirty |= 1 << n;
    if (sz === 2 && !clean) this.zeroExtend(2);
    else if (sz < 2) {
      const high = (slot & 7) !== 0;
      w.i64(sz === 0 ? 0xff : 0xffff);
      w.op(OP.i64_and);
      if (high) {
        w.i64(8);
        w.op(OP.i64_shl);
      }
      w.get(SLOT + n);
      w.i64(high ? -0xff01 : sz === 0 ? -0x100 : -0x10000);
      w.op(OP.i64_and, OP.i64_or);
    }
    w.set(SLOT + n);
    // Bases of segments are not stored at the end: they are in memory as well, always.
    if (n > ZERO) {
      w.i32(0);
      w.get(SLOT + n);
      w.mem(MEM.i64_store, A.SLOTS + n * 8);
    }
  }
  get(field: Field, sz: number): void {
    this.read(this.slotOf(field), sz);
  }
  getFixed(slot: number, sz: number): void {
    this.read(slot, sz);
  }
  open(): void {}
  close(field: Field, sz: number, clean = false): void {
    this.write(this.slotOf(field), sz, clean);
  }
  openFixed(): void {}
  closeFixed(slot: number, sz: number): void {
    this.write(slot, sz, false);
  }

  conditionOfC(): void {
    this.condition(this.u8[this.at + 7]! & 15);
  }

  // ---- constants ------------------------------------------------------------------------------------------------------
  imm(): void {
    this.w.i64(this.i32[(this.at + 12) >>> 2]!);
  }
  override knownImm(): number {
    return this.i32[(this.at + 12) >>> 2]!;
  }
  imm64(): void {
    const low = this.i32[(this.at + 8) >>> 2]! >>> 0;
    const high = this.i32[(this.at + 12) >>> 2]!;
    if (high === low >> 31) this.w.i64(low | 0);
    else this.w.i64Words(low, high);
  }
  disp(): void {
    this.w.i64(this.i32[(this.at + 8) >>> 2]!);
  }
  c(): void {
    this.w.i32(this.u8[this.at + 7]!);
  }
  scale(): void {
    this.w.i64(this.u8[this.at + 7]! & U.C_SCALE_MASK);
  }
  offset(): void {
    this.w.i64(this.u8[this.at + 6]!);
  }
  vectorAddress(field: "d" | "a" | "b"): void {
    this.w.i32(this.slotOf(field) * A.XMM_STRIDE);
  }
  override sameVector(one: "d" | "a" | "b", other: "d" | "a" | "b"): boolean {
    return this.slotOf(one) === this.slotOf(other);
  }
  uop(): void {
    this.w.i32(this.at);
  }
  tlbBase(): void {
    this.w.i32(0);
    this.w.mem(MEM.i32_load, A.TLB_BASE);
  }
  context(): void {
    this.w.i32(0);
    this.w.mem(MEM.i64_load, A.REGION_CTX);
  }

  /** As the general one, without the terms that are zero. */
  override address(): void {
    const { w, l } = this;
    const scale = this.u8[this.at + 7]! & U.C_SCALE_MASK;
    const disp = this.i32[(this.at + 8) >>> 2]!;
    this.get("a", 3);
    if (this.slotOf("b") >>> 3 !== ZERO) {
      this.get("b", 3);
      if (scale !== 0) {
        w.i64(scale);
        w.op(OP.i64_shl);
      }
      w.op(OP.i64_add);
    }
    if (disp !== 0) {
      w.i64(disp);
      w.op(OP.i64_add);
    }
    if (this.slotOf("s") >>> 3 !== ZERO) {
      this.get("s", 3);
      w.op(OP.i64_add);
    }
    w.set(l.lin);
  }

  // ---- leaving ----------------------------------------------------------------------------------------------------------
  /** With a status on the stack: to the block's exit for faults, with it. The micro-op has been told to what was called. */
  leaveIf(): void {
    const { w } = this;
    w.tee(STATUS);
    w.get(STATUS);
    w.unlikely();
    w.brIf(this.faults!);
    w.op(OP.drop);
    this.mayLeave = true;
  }
  /** Where `faults` ends, with the status on the stack: leaves the function for what happened in the block of this record. */
  leaveBlock(record: number, offset: number): void {
    const { w } = this;
    w.set(ST);
    put(w, A.BLOCK, () => w.i32(record));
    put64(w, A.SLOTS + A.S_RIPBASE, () => this.pageAddress(offset));
    w.br(this.exit!);
  }
  /** Where the offset on the stack is what the function is left for: sets RIP. */
  leaveFor(): void {
    const { w } = this;
    w.set(I);
    w.i32(0);
    w.get(I);
    w.op(OP.i64_extend_i32_s);
    w.i32(0);
    w.mem(MEM.i64_load, A.REGION_PAGE);
    w.op(OP.i64_add);
    w.mem(MEM.i64_store, A.RIP);
  }
  override fault(vector: number): void {
    const { w } = this;
    w.i32(vector);
    w.i32(0);
    this.uop();
    w.call(IMPORT_FAULT);
    this.leaveIf();
  }

  slow(access: Access, bytes: number): void {
    const { w, l } = this;
    if (this.unchanged && !this.callsOnMiss) {
      // The interpreter does this instruction: a call here would cost V8's compiler as much time as all else does.
      w.i32(this.first);
      w.br(this.faults!);
      this.mayLeave = true;
      return;
    }
    w.i32(0);
    w.get(l.lin);
    w.mem(MEM.i64_store, A.ACCESS_LIN);
    w.i32(bytes);
    this.callOut(access);
  }
  /** Calls an import with what is on the stack, the micro-op and REMAINING, which it may change; leaves if it says so. */
  private callOut(index: number): void {
    const { w } = this;
    this.uop();
    w.get(REM);
    w.call(index);
    word(w, A.REMAINING);
    w.set(REM);
    this.leaveIf();
    this.calledOut = true;
  }

  /** Only divisions of 128 bits call helpers here: they read rAX, rDX and slot a, and write rAX and rDX. */
  callHelper(number: number): void {
    const { w } = this;
    const slots = [A.S_RAX, A.S_RDX];
    for (const slot of [...slots, this.slotOf("a")]) {
      w.i32(0);
      this.read(slot & ~7, 3);
      w.mem(MEM.i64_store, A.SLOTS + (slot & ~7));
    }
    w.i32(number);
    this.callOut(IMPORT_HELPER);
    for (const slot of slots) {
      w.i32(0);
      w.mem(MEM.i64_load, A.SLOTS + slot);
      this.write(slot, 3, true);
    }
  }
  callShared(number: number): void {
    this.w.call(IMPORT_SHARED + number);
  }
  /** The helper of the record: everything that it may look at is put in memory, and taken from there again. */
  callImmHelper(): void {
    const { w } = this;
    const number = this.i32[(this.at + 12) >>> 2]!;
    const flags = !HELPER_SLOTS.has(number);
    const slots = HELPER_SLOTS.get(number) ?? ALL_SLOTS;
    for (let n = 0; n < 32; n++)
      if (slots & (1 << n)) {
        w.i32(0);
        this.read(n << 3, 3);
        w.mem(MEM.i64_store, A.SLOTS + n * 8);
      }
    if (flags) this.wordsToMemory();
    w.i32(number);
    this.callOut(IMPORT_HELPER);
    for (let n = 0; n < 32; n++)
      if (slots & (1 << n) && n !== RIPBASE) {
        w.i32(0);
        w.mem(MEM.i64_load, A.SLOTS + n * 8);
        this.write(n << 3, 3, true);
      }
    if (BASE_HELPERS.has(number)) {
      const slot = this.slotOf("a");
      w.i32(0);
      w.mem(MEM.i64_load, A.SLOTS + slot);
      this.write(slot, 3, true);
    }
    if (flags) this.wordsFromMemory();
  }

  // ---- the ends of the function -------------------------------------------------------------------------------------------
  /**
   * Loads what the body uses; to be called after it was emitted. `w` is where the function begins.
   * @param least if not more than so many instructions are left of the slice, the interpreter does the first block
   */
  prologue(w: Assembler, record: number, pages: readonly Page[], least: number): void {
    word(w, A.REMAINING);
    w.set(REM);
    if (least > 0) this.refuse(w, record, least);
    w.i32(0);
    w.get(PAGE);
    w.i64(-4096);
    w.op(OP.i64_and);
    w.tee(PAGE);
    w.mem(MEM.i64_store, A.REGION_PAGE);
    const load = (op: number, address: number, local: number): void => {
      w.i32(0);
      w.mem(op, address);
      w.set(local);
    };
    // INSNS += REM, and at the end -= what is left of it.
    countInstructions(w, OP.i32_add);
    load(MEM.i32_load, A.TLB_BASE, TLB);
    w.i32(0);
    w.i32(0);
    w.mem(MEM.i64_load32_u, A.TLB_CTX);
    w.tee(CTX);
    w.mem(MEM.i64_store, A.REGION_CTX);
    for (let n = 0; n < 32; n++)
      if (this.slotsUsed & (1 << n) && !isTemp(n)) load(MEM.i64_load, A.SLOTS + n * 8, SLOT + n);
    if (this.flagsUsed) this.loadLazy(w);
    if (pages.length > 1) this.validate(w, record, pages.slice(1));
  }

  private refuse(w: Assembler, record: number, least: number): void {
    w.get(REM);
    w.i32(least);
    w.op(OP.i32_le_s);
    w.unlikely();
    w.if();
    put(w, A.BLOCK, () => w.i32(record));
    put64(w, A.SLOTS + A.S_RIPBASE, () => w.get(PAGE));
    // It is answered as a miss of the TLB, and is none.
    add(w, record + U.BLOCK_MISSES, 1);
    w.i32(record + U.BLOCK_HEADER_BYTES);
    w.op(OP.return);
    w.end();
  }

  /**
   * Sets VALID if the fetch TLB holds `pages`. The stamp under which it did stands in the header of the region's first block;
   * while that is the present one, nothing needs to be looked up.
   */
  private validate(w: Assembler, record: number, pages: readonly Page[]): void {
    const cell = record + U.BLOCK_STAMP;
    stamp(w, TLB, CTX);
    w.tee(X);
    w.i32(0);
    w.mem(MEM.i64_load, cell);
    w.op(OP.i64_eq);
    w.tee(VALID);
    w.op(OP.i32_eqz);
    w.unlikely();
    w.if();
    w.i32(1);
    w.set(VALID);
    for (const { delta, arena } of pages) {
      w.get(PAGE);
      w.i64(delta);
      w.op(OP.i64_add);
      w.set(LIN);
      fetchEntry(w, LIN);
      w.tee(ENT);
      w.mem(MEM.i64_load, A.FETCH_TLB);
      w.get(LIN);
      w.get(CTX);
      w.op(OP.i64_or, OP.i64_eq);
      w.get(ENT);
      w.mem(MEM.i32_load, A.FETCH_TLB + 8);
      w.i32(arena);
      w.op(OP.i32_eq, OP.i32_and);
      w.get(VALID);
      w.op(OP.i32_and);
      w.set(VALID);
    }
    w.get(VALID);
    w.if();
    w.i32(0);
    w.get(X);
    w.mem(MEM.i64_store, cell);
    w.end();
    w.end();
  }

  /** Stores what the body changed, and pushes the answer: ST, or if that is zero, whether the slice has ended. */
  epilogue(w: Assembler): void {
    const store = (op: number, address: number, local: number): void => {
      w.i32(0);
      w.get(local);
      w.mem(op, address);
    };
    for (let n = 0; n < GPRS; n++) if (this.slotsDirty & (1 << n)) store(MEM.i64_store, A.SLOTS + n * 8, SLOT + n);
    if (this.flagsUsed) this.storeLazy(w);
    store(MEM.i32_store, A.REMAINING, REM);
    countInstructions(w, OP.i32_sub);
    // ST, or else 0 if the slice has ended, -1 (TRANSLATED_GOES_ON) if not.
    w.get(ST);
    w.i32(0);
    w.get(REM);
    w.i32(0);
    w.op(OP.i32_gt_s, OP.i32_sub);
    w.get(ST);
    w.op(OP.select);
  }

  /**
   * Pushes page + offset. The page comes from memory: of a local, V8 would compute all such sums ahead of a loop and keep them on the stack.
   */
  pageAddress(offset: number): void {
    this.w.i32(0);
    this.w.mem(MEM.i64_load, A.REGION_PAGE);
    this.w.i64(offset);
    this.w.op(OP.i64_add);
  }
  /** Pushes the distance of local `rip` from the first page, as an i32. */
  pageDistance(rip: number): void {
    this.w.get(rip);
    this.w.i32(0);
    this.w.mem(MEM.i64_load, A.REGION_PAGE);
    this.w.op(OP.i64_sub, OP.i32_wrap_i64);
  }
}

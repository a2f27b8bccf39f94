/**
 * Flags in translated code: kept in the lazy form of emit/flags.ts in locals over the whole region, as constants and values that are there
 * anyway. Where the operation is known, as it is but at entries, loops and where paths meet, conditions and words are computed from
 * it, or are one comparison; elsewhere `settle` makes words of the form. Nothing is kept that is overwritten before it could be seen.
 */
import * as A from "../arena.ts";
import { Assembler, MEM, OP } from "../emit/assembler.ts";
import { condition } from "../emit/emit-move.ts";
import { Emitter, IMPORT_SETTLE, type Scratch } from "../emit/emitter.ts";
import * as F from "../emit/flags.ts";
import { emitTable } from "../emit/table.ts";
import * as U from "../uops/uop.ts";

/** Locals: i32 kind, then i64. `x` is the first operand of an addition or subtraction, the result of a comparison: known paths only. */
export interface FlagLocals {
  readonly kind: number;
  readonly one: number;
  readonly two: number;
  readonly ownC: number;
  readonly ownO: number;
  readonly ownZ: number;
  readonly x: number;
}

/** What is known of the flags at a place in the code. */
export interface KnownFlags {
  /** K_*, or UNKNOWN. */
  readonly kind: number;
  readonly sz: number;
  /** K_OWN_* that are set for certain. */
  readonly own: number;
}
const UNKNOWN = -1;
export const NOTHING: KnownFlags = { kind: UNKNOWN, sz: 0, own: 0 };
const WORDS: KnownFlags = { kind: F.K_WORDS, sz: 3, own: F.K_OWN_C | F.K_OWN_O | F.K_OWN_Z };

/** Conditions by number as a comparison, of 32 and of 64 bits: of the operands of a subtraction. */
const OF_OPERANDS: Readonly<Record<number, readonly [number, number]>> = {
  2: [OP.i32_lt_u, OP.i64_lt_u],
  3: [OP.i32_ge_u, OP.i64_ge_u],
  4: [OP.i32_eq, OP.i64_eq],
  5: [OP.i32_ne, OP.i64_ne],
  6: [OP.i32_le_u, OP.i64_le_u],
  7: [OP.i32_gt_u, OP.i64_gt_u],
  12: [OP.i32_lt_s, OP.i64_lt_s],
  13: [OP.i32_ge_s, OP.i64_ge_s],
  14: [OP.i32_le_s, OP.i64_le_s],
  15: [OP.i32_gt_s, OP.i64_gt_s],
};
/** Of a result with zero. The last four hold for logic operations only: OF and CF are clear, so L is S, and LE is S or Z. */
const OF_RESULT: Readonly<Record<number, readonly [number, number]>> = {
  4: [OP.i32_eq, OP.i64_eq],
  5: [OP.i32_ne, OP.i64_ne],
  8: [OP.i32_lt_s, OP.i64_lt_s],
  9: [OP.i32_ge_s, OP.i64_ge_s],
  12: [OP.i32_lt_s, OP.i64_lt_s],
  13: [OP.i32_ge_s, OP.i64_ge_s],
  14: [OP.i32_le_s, OP.i64_le_s],
  15: [OP.i32_gt_s, OP.i64_gt_s],
};
const OWN: Readonly<Record<number, number>> = { [A.CC_C]: F.K_OWN_C, [A.CC_O]: F.K_OWN_O, [A.CC_Z]: F.K_OWN_Z };
const KEEPS_C = new Set([F.K_INC, F.K_DEC]);
/** The words are computed at once: nothing that could be kept gives them back. */
const AT_ONCE = new Set([F.K_ADC, F.K_SBB]);

export abstract class FlagEmitter extends Emitter {
  private readonly f: FlagLocals;
  /** The code uses the locals: they are to be loaded before and stored behind it. */
  flagsUsed = false;
  known: KnownFlags = NOTHING;
  /** The flags that the micro-op sets are never seen. */
  protected dead = false;
  private opened = 0;

  constructor(w: Assembler, scratch: Scratch, locals: FlagLocals) {
    super(w, scratch);
    this.f = locals;
  }

  private own(word: number): number {
    return word === A.CC_C ? this.f.ownC : word === A.CC_O ? this.f.ownO : this.f.ownZ;
  }
  private setKind(kind: number, sz: number, own: number): void {
    const { w } = this;
    this.flagsUsed = true;
    this.known = { kind, sz, own };
    w.i32((kind << 2) | sz | own);
    w.set(this.f.kind);
  }
  private copy(from: number, to: number): void {
    this.w.get(from);
    this.w.set(to);
  }

  // ---- setting --------------------------------------------------------------------------------------------------------
  override flagsOf(kind: number, sz: number): void {
    if (this.dead) return;
    const { l, f } = this;
    if (AT_ONCE.has(kind)) {
      F.storeFlags(this, kind, sz, l);
      return;
    }
    if (KEEPS_C.has(kind)) this.keepCarry();
    if (kind === F.K_CMP) {
      this.copy(l.x, f.one);
      this.copy(l.y, f.two);
      this.copy(l.r, f.x);
    } else {
      if (kind === F.K_ADD || kind === F.K_SUB) this.copy(l.y, f.one);
      if (kind !== F.K_LOGIC) this.copy(l.x, f.x);
      this.copy(l.r, f.two);
    }
    this.setKind(kind, sz, KEEPS_C.has(kind) ? F.K_OWN_C : 0);
  }

  /** Makes CF a word of its own. */
  private keepCarry(): void {
    const { w, f, known } = this;
    if (known.own & F.K_OWN_C) return;
    if (known.kind !== UNKNOWN) {
      this.getFlag(A.CC_C);
      w.set(f.ownC);
      return;
    }
    this.flagsUsed = true;
    w.get(f.kind);
    w.i32(F.K_OWN_C);
    w.op(OP.i32_and, OP.i32_eqz);
    w.if();
    this.storeLazy();
    w.call(IMPORT_SETTLE);
    w.i32(0);
    w.mem(MEM.i64_load, A.CC_C);
    w.set(f.ownC);
    w.i32(0);
    w.set(f.kind);
    w.end();
  }

  openFlag(): void {
    this.opened = this.w.length;
  }
  closeFlag(word: number): void {
    const { w, f, known } = this;
    if (this.dead) {
      w.length = this.opened;
      return;
    }
    const bit = OWN[word];
    if (bit !== undefined) w.set(this.own(word));
    else w.set(word === A.CC_A ? f.one : f.two);
    if (bit !== undefined && word !== A.CC_Z) {
      // Others may stay what they are.
      if (known.kind !== UNKNOWN) this.setKind(known.kind, known.sz, known.own | bit);
      else {
        this.flagsUsed = true;
        this.known = { ...known, own: known.own | bit };
        w.get(f.kind);
        w.i32(bit);
        w.op(OP.i32_or);
        w.set(f.kind);
      }
    } else this.setKind(F.K_WORDS, 3, known.own | F.K_OWN_C | F.K_OWN_O | (bit ?? 0));
  }
  override flagsOfResult(r: number, sz: number): void {
    if (this.dead) return;
    const { w } = this;
    w.get(r);
    this.signExtend(sz);
    w.set(this.f.two);
    this.setKind(F.K_WORDS, 3, F.K_OWN_C | F.K_OWN_O);
  }
  override flagsUncertain(): void {
    if (!this.dead) this.known = NOTHING;
  }

  // ---- reading --------------------------------------------------------------------------------------------------------
  private operands(): F.Operands {
    const { f, known } = this;
    if (known.kind === F.K_CMP) return { x: f.one, y: f.two, r: f.x };
    return { x: f.x, y: f.one, r: f.two };
  }
  getFlag(word: number): void {
    const { w, f } = this;
    const bit = OWN[word] ?? 0;
    if (!(this.known.own & bit) && this.known.kind === UNKNOWN) this.settle();
    const { known } = this;
    if (known.own & bit) w.get(this.own(word));
    else if (known.kind === F.K_WORDS) w.get(word === A.CC_A ? f.one : f.two);
    else F.pushFlag(this, word, known.kind, known.sz, this.operands());
  }
  /** Sees to it that `condition(cc)` can be pushed on several paths: from there on, all do the same. */
  makeKnown(cc: number): void {
    const needed = cc >> 1 === 0 ? F.K_OWN_O : cc >> 1 === 1 ? F.K_OWN_C : 0;
    if (this.known.kind === UNKNOWN && !(this.known.own & needed)) this.settle();
  }
  condition(cc: number): void {
    if (!this.comparison(cc)) condition(this, cc);
  }

  /** The condition as a comparison of the operands or the result, where there is one. */
  private comparison(cc: number): boolean {
    const { w } = this;
    const { kind, sz, own } = this.known;
    if (kind === UNKNOWN) return false;
    const { x, y, r } = this.operands();
    const subtraction = kind === F.K_CMP || kind === F.K_SUB;
    const ofOperands = subtraction && own === 0 ? OF_OPERANDS[cc] : undefined;
    const logic = kind === F.K_LOGIC && own === 0;
    const ofResult = logic || (cc < 12 && (cc > 5 || !(own & F.K_OWN_Z))) ? OF_RESULT[cc] : undefined;
    const op = ofOperands ?? ofResult;
    if (op === undefined) return false;
    const signed = ofOperands === undefined || cc >= 12;
    for (const operand of ofOperands === undefined ? [r] : [x, y]) {
      w.get(operand);
      if (sz === 2) w.op(OP.i32_wrap_i64);
      else if (signed) this.signExtend(sz);
    }
    if (ofOperands === undefined) {
      if (sz === 2) w.i32(0);
      else w.i64(0);
    }
    w.op(op[sz === 2 ? 0 : 1]);
    return true;
  }

  // ---- memory ---------------------------------------------------------------------------------------------------------
  private cells(): readonly (readonly [number, number])[] {
    const { f } = this;
    return [
      [f.one, A.CC_1],
      [f.two, A.CC_2],
      [f.ownC, A.CC_OWN_C],
      [f.ownO, A.CC_OWN_O],
      [f.ownZ, A.CC_OWN_Z],
    ];
  }
  /** Stores the lazy form. */
  storeLazy(w: Assembler = this.w): void {
    w.i32(0);
    w.get(this.f.kind);
    w.mem(MEM.i32_store, A.CC_K);
    for (const [local, cell] of this.cells()) {
      w.i32(0);
      w.get(local);
      w.mem(MEM.i64_store, cell);
    }
  }
  loadLazy(w: Assembler = this.w): void {
    w.i32(0);
    w.mem(MEM.i32_load, A.CC_K);
    w.set(this.f.kind);
    for (const [local, cell] of this.cells()) {
      w.i32(0);
      w.mem(MEM.i64_load, cell);
      w.set(local);
    }
  }
  /** The words to memory, for what may look at flags there. */
  protected wordsToMemory(): void {
    const { w, known } = this;
    if (known.kind === WORDS.kind && known.own === WORDS.own) {
      for (const word of [A.CC_Z, A.CC_S, A.CC_C, A.CC_O, A.CC_A]) {
        w.i32(0);
        this.getFlag(word);
        w.mem(MEM.i64_store, word);
      }
      return;
    }
    this.flagsUsed = true;
    this.storeLazy();
    w.call(IMPORT_SETTLE);
  }
  protected wordsFromMemory(): void {
    const { w, f } = this;
    for (const [word, local] of [
      [A.CC_A, f.one],
      [A.CC_S, f.two],
      [A.CC_C, f.ownC],
      [A.CC_O, f.ownO],
      [A.CC_Z, f.ownZ],
    ] as const) {
      w.i32(0);
      w.mem(MEM.i64_load, word);
      w.set(local);
    }
    this.setKind(WORDS.kind, WORDS.sz, WORDS.own);
  }
  private settle(): void {
    this.wordsToMemory();
    this.wordsFromMemory();
  }
}

// ---- what is never seen ---------------------------------------------------------------------------------------------------
const SEES = 1;
const OVERWRITES = 2;
const PASSES = 0;

/** Looks at what an emitter does with flags. What may leave the block sees them. */
class Observer extends FlagEmitter {
  sees = false;
  private written = 0;
  private certain = true;
  private readonly nothing: () => void = () => {};

  constructor() {
    const scratch = { x: 0, y: 0, r: 0, t: 0, lin: 0, v: 0, ent: 0, st: 0, i: 0 };
    super(new Assembler(), scratch, { kind: 0, one: 0, two: 0, ownC: 0, ownO: 0, ownZ: 0, x: 0 });
  }
  get overwrites(): boolean {
    return this.certain && this.written === 31;
  }
  private note(word: number): void {
    this.written |= 1 << ((word - A.CC_Z) >>> 3);
  }
  override flagsOf(kind: number): void {
    if (AT_ONCE.has(kind)) this.sees = true;
    this.written = KEEPS_C.has(kind) ? this.written : 31;
  }
  override openFlag(): void {}
  override closeFlag(word: number): void {
    this.note(word);
  }
  override flagsOfResult(): void {
    this.note(A.CC_Z);
    this.note(A.CC_S);
  }
  override flagsUncertain(): void {
    this.certain = false;
  }
  override getFlag(word: number): void {
    if (!(this.written & (1 << ((word - A.CC_Z) >>> 3)))) this.sees = true;
  }
  override condition(): void {
    this.sees = true;
  }
  conditionOfC(): void {
    this.sees = true;
  }
  slow(): void {
    this.sees = true;
  }
  leaveIf(): void {
    this.sees = true;
  }
  callHelper(): void {
    this.sees = true;
  }
  callImmHelper(): void {
    this.sees = true;
  }
  callShared = this.nothing;
  offset = this.nothing;
  get = this.nothing;
  getFixed = this.nothing;
  open = this.nothing;
  close = this.nothing;
  openFixed = this.nothing;
  closeFixed = this.nothing;
  imm = this.nothing;
  imm64 = this.nothing;
  disp = this.nothing;
  c = this.nothing;
  scale = this.nothing;
  vectorAddress = this.nothing;
  uop = this.nothing;
  tlbBase = this.nothing;
  context = this.nothing;
}

const effects: number[] = [];
function effect(kind: number): number {
  return (effects[kind] ??= observe(kind));
}
function observe(kind: number): number {
  const emit = emitTable()[kind];
  if (emit === undefined) return SEES;
  const e = new Observer();
  emit(e);
  return e.sees ? SEES : e.overwrites ? OVERWRITES : PASSES;
}

/** True if what micro-op `at` sets of flags is overwritten inside its block, which ends at `terminal`, before anything could see it. */
export function flagsDead(u16: Uint16Array, at: number, terminal: number): boolean {
  for (let u = at + U.UOP_BYTES; u < terminal; u += U.UOP_BYTES) {
    const what = effect(u16[u >>> 1]!);
    if (what !== PASSES) return what === OVERWRITES;
  }
  return false;
}

/**
 * The translator: warm blocks become regions, regions become WebAssembly functions, several to a module. Blocks count their
 * entries down in the interpreter; the one that reaches zero is the entry of a new region. A translation is dropped when
 * the bytes of any of its blocks change, and all are when what they hold has grown past a bound.
 */
import * as A from "../arena.ts";
import type { Core } from "../core.ts";
import { buildModule, type FunctionBody } from "../emit/assembler.ts";
import { TRANSLATION_IMPORTS } from "../emit/emitter.ts";
import type { HostProfile } from "../host-profile.ts";
import { TRANSLATED_TYPE } from "../interpreter/generate.ts";
import { type Environment, sampledImports, type TranslationImports, translationImports } from "../interpreter/link.ts";
import { fetchEntry, newFetchEpoch } from "../mmu/tlb.ts";
import type { BlockCache } from "../uops/block.ts";
import { BLOCK_CALLS, BLOCK_HEAT, BLOCK_MISSES, BLOCK_NEXT, BLOCK_STACK, BLOCK_STAMP } from "../uops/uop.ts";
import { RegionCompiler } from "./compile.ts";
import { LOCAL_TYPES } from "./emitter.ts";
import { formRegion, LARGE, type Region, SMALL } from "./region.ts";

/** Entries of a block before it is translated. */
const WARM = 6000;
/** Regions to a module, and how many calls of the engine the first of them waits for others. */
const BATCH = 16;
const PATIENCE = 160;
/** Entries of a block that waits to be compiled before it is not let wait any more. */
const URGENT = 1500;
/** Calls of a translation by the dispatcher before it is made anew, with calls followed: that costs milliseconds, a call some nanoseconds. */
const CALLS = 100_000;
/**
 * TLB misses that may leave a translation before it is made anew, to handle misses itself: a miss that leaves costs some 50 ns more, but the
 * code takes V8's compiler half the time.
 */
const MISSES = 20_000;
/** Translations that are followed from one to the next to find the loop that calls one of them. */
const LONGEST_LOOP = 64;
/** Most that translations may keep alive at once, bytes: WebAssembly code, and MODULE_BYTES for each module. */
const CODE_BOUND: number = 64 << 20;
/** What V8 holds for a module of one small function, measured: more than most functions' code. */
export const MODULE_BYTES: number = 32 << 10;

/** How eager the translator is. Tests make it translate what has run twice; no run depends on these numbers. */
export interface Tuning {
  readonly warm: number;
  readonly batch: number;
  readonly patience: number;
  readonly calls: number;
  readonly misses: number;
  /** As CODE_BOUND. */
  readonly bound: number;
}
export const TUNING: Tuning = {
  warm: WARM,
  batch: BATCH,
  patience: PATIENCE,
  calls: CALLS,
  misses: MISSES,
  bound: CODE_BOUND,
};

export interface TranslationCounts {
  functions: number;
  bytes: number;
  severalPages: number;
  modules: number;
  dropped: number;
  flushes: number;
}

/** A compiled module: all of it stays in memory as long as one of its functions may be called. */
interface Module {
  readonly bytes: number;
  live: number;
}

interface Translation {
  readonly records: readonly number[];
  readonly bytes: number;
  /** Formed with the limits LARGE. */
  large: boolean;
  /** The large one that is to take its place waits to be compiled. */
  replaced: boolean;
  /** Handles TLB misses itself. */
  readonly callsOnMiss: boolean;
  /** Null while it waits to be compiled; its index in the table is then -1. */
  module: Module | null;
  index: number;
  dropped: boolean;
}

export class Translator {
  private readonly core: Core;
  private readonly cache: BlockCache;
  private readonly environment: Environment;
  private linked: TranslationImports | null = null;
  private readonly profile: HostProfile | null;
  private readonly compiler: RegionCompiler;
  private readonly tuning: Tuning;
  private readonly waiting: { translation: Translation; code: Uint8Array; hints: number[] }[] = [];
  private waited = 0;
  /** By record: the translations that it is part of. */
  private readonly byRecord: Map<number, Translation[]> = new Map();
  /** By the record of its first block: the translation that is called, or that waits to be the first. */
  private readonly entries: Map<number, Translation> = new Map();
  private readonly live: Set<Translation> = new Set();
  private readonly freeIndices: number[] = [];
  /** Bytes of WebAssembly code that is held: of modules that are not dropped as a whole, and of what waits. */
  codeBytes = 0;
  /** Modules that are held. */
  private modules = 0;
  /** Counters for reports: functions made, bytes of their code, modules, functions of several pages, translations dropped, times that everything was. */
  readonly counts: TranslationCounts = {
    functions: 0,
    bytes: 0,
    severalPages: 0,
    modules: 0,
    dropped: 0,
    flushes: 0,
  };

  constructor(core: Core, cache: BlockCache, environment: Environment, tuning: Partial<Tuning> = {}) {
    this.tuning = { ...TUNING, ...tuning };
    this.core = core;
    this.cache = cache;
    this.environment = environment;
    const { profile } = core.shared;
    this.profile = profile;
    this.compiler = new RegionCompiler(core);
    cache.initialHeat = this.tuning.warm;
    cache.onForget = (record) => this.forget(record);
    core.shared.forgetStamps = () => this.flush();
  }

  /**
   * `record` has become warm (its heat is zero), or its translation is called all the time. Its heat must not be zero afterwards unless
   * it is not to be counted any more.
   */
  warm(record: number): void {
    const known = this.entries.get(record);
    const misses = known !== undefined && !known.callsOnMiss && this.core.i32[(record + BLOCK_MISSES) >>> 2]! <= 0;
    if (known !== undefined && ((known.large && !misses) || known.replaced || known.index < 0)) {
      this.install();
      return;
    }
    const large = known !== undefined && (known.large || !misses);
    if (large && !misses && this.deferred(record)) return;
    const from = this.profile?.now() ?? 0;
    const region = formRegion(this.core, this.cache, record, large ? LARGE : SMALL);
    const callsOnMiss = misses || known?.callsOnMiss === true;
    const function_ = region === null ? null : this.compiler.compile(region, callsOnMiss);
    this.profile?.note("translate", from);
    if (region === null || function_ === null) return;
    const { code, hints } = function_;
    if (
      known !== undefined &&
      !misses &&
      known.bytes === code.length &&
      known.records.length === recordsOf(region).length
    ) {
      // There was nothing to add.
      known.large = true;
      return;
    }
    if (this.held + code.length + MODULE_BYTES > this.tuning.bound) this.flush();
    this.remember(region, code, hints, large, callsOnMiss);
    if (this.waiting.length >= this.tuning.batch) this.install();
  }

  /**
   * The dispatcher calls the translations of a loop equally often, so that each of them would be made anew, as a region that holds the loop,
   * turned. The one with the outermost frame is the one that holds the others' calls: if that is not the one of `record`, which RIP is at,
   * it is called next for being made anew, and the calls of `record` are counted once more.
   */
  private deferred(record: number): boolean {
    const { i32 } = this.core;
    const outermost = this.outermost(record);
    if (outermost === record) return false;
    i32[(outermost + BLOCK_CALLS) >>> 2] = 1;
    i32[(record + BLOCK_CALLS) >>> 2] = this.tuning.calls;
    return true;
  }

  /** Of the translations that were called one after another until that of `record` again: the one with the highest RSP that is not large. */
  private outermost(record: number): number {
    const { i32, u32 } = this.core;
    let best = record;
    let highest = -1;
    let at = record;
    let rsp = u32[(A.SLOTS + A.S_RSP) >>> 2]!;
    for (let n = 0; n < LONGEST_LOOP; n++) {
      const known = this.entries.get(at);
      if (known === undefined || known.index < 0) return record;
      if (rsp > highest && !known.large && !known.replaced) {
        best = at;
        highest = rsp;
      }
      rsp = u32[(at + BLOCK_STACK) >>> 2]!;
      at = this.recordAt(i32[(at + BLOCK_NEXT) >>> 2]!);
      if (at === record) return best;
    }
    return record;
  }

  /** The block at the address with this low word, near RIP, or -1. */
  private recordAt(lo: number): number {
    const { i32, u32 } = this.core;
    const e = fetchEntry(i32[A.CPL >>> 2] === 3, lo);
    const page = lo & ~(A.PAGE_SIZE - 1);
    if (i32[e] !== (page | i32[A.TLB_CTX >>> 2]!) || i32[e + 1] !== i32[(A.RIP + 4) >>> 2]) return -1;
    return this.cache.known(u32[e + 2]! + (lo - page), i32[A.MODE >>> 2]!);
  }

  /** Called whenever the engine is entered: compiles what has waited long enough. */
  poll(): void {
    if (this.waiting.length > 0 && ++this.waited >= this.tuning.patience) this.install();
  }

  /** Bytes that count against the bound. */
  get held(): number {
    return this.codeBytes + this.modules * MODULE_BYTES;
  }

  private remember(region: Region, code: Uint8Array, hints: number[], large: boolean, callsOnMiss: boolean): void {
    const translation: Translation = {
      records: recordsOf(region),
      bytes: code.length,
      large,
      replaced: false,
      callsOnMiss,
      module: null,
      index: -1,
      dropped: false,
    };
    for (const record of translation.records) {
      const list = this.byRecord.get(record);
      if (list === undefined) this.byRecord.set(record, [translation]);
      else list.push(translation);
    }
    const entry = translation.records[0]!;
    // The small one goes on until the large one is compiled.
    const before = this.entries.get(entry);
    if (before === undefined) {
      this.core.i32[(entry + BLOCK_HEAT) >>> 2] = Math.min(URGENT, this.tuning.warm);
      this.entries.set(entry, translation);
    } else {
      this.core.i32[(entry + BLOCK_CALLS) >>> 2] = Math.min(URGENT, this.tuning.calls);
      before.replaced = true;
    }
    this.postpone(translation);
    if (region.pages.length > 1) this.counts.severalPages++;
    this.live.add(translation);
    this.codeBytes += code.length;
    this.counts.bytes += code.length;
    this.waiting.push({ translation, code, hints });
  }

  /**
   * The blocks of a loop become warm together. Those that are in a region now are entered within it, so they are to show that they
   * are entered otherwise too before they begin one of their own, or a large one.
   */
  private postpone({ records, large }: Translation): void {
    const { i32 } = this.core;
    const again = this.tuning.warm - (this.tuning.warm >>> 3);
    for (const record of records.slice(1)) {
      const heat = (record + BLOCK_HEAT) >>> 2;
      const known = this.entries.get(record);
      if (i32[heat]! > 0 && known === undefined) i32[heat] = Math.max(i32[heat]!, again);
      if (large && known !== undefined && known.index >= 0 && !known.large && !known.replaced)
        i32[(record + BLOCK_CALLS) >>> 2] = this.tuning.calls;
    }
  }

  /** Of the modules: from the environment, or from one that times some of the calls. */
  private imports(): TranslationImports {
    const { core, environment, profile } = this;
    const called = profile === null ? environment : sampledImports(core, environment, profile.fromTranslated);
    this.linked ??= translationImports({
      ...called,
      settle: environment.settle,
      shared: environment.shared,
      access: environment.access,
    });
    return this.linked;
  }

  /** Compiles the waiting regions as one module and enters them into the table. */
  private install(): void {
    this.waited = 0;
    const batch = this.waiting.splice(0).filter((w) => !w.translation.dropped);
    if (batch.length === 0) return;
    const from = this.profile?.now() ?? 0;
    const functions: FunctionBody[] = batch.map((w, n) => ({
      name: `f${n}`,
      type: TRANSLATED_TYPE,
      locals: LOCAL_TYPES,
      code: w.code,
      hints: w.hints,
    }));
    const module = new WebAssembly.Module(buildModule(A.FIXED_PAGES, TRANSLATION_IMPORTS, functions));
    const instance = new WebAssembly.Instance(module, {
      env: { ...this.imports() },
    });
    const { table } = this.environment;
    const held: Module = { bytes: batch.reduce((sum, { code }) => sum + code.length, 0), live: batch.length };
    this.modules++;
    batch.forEach(({ translation }, n) => {
      const entry = translation.records[0]!;
      const before = this.entries.get(entry);
      if (before !== undefined && before !== translation) this.drop(before);
      this.entries.set(entry, translation);
      const index = this.freeIndices.pop() ?? table.grow(1);
      table.set(index, instance.exports[`f${n}`]);
      translation.index = index;
      translation.module = held;
      const { i32, f64 } = this.core;
      i32[(entry + BLOCK_HEAT) >>> 2] = -1 - index;
      i32[(entry + BLOCK_CALLS) >>> 2] = translation.large ? 0 : this.tuning.calls;
      i32[(entry + BLOCK_MISSES) >>> 2] = translation.callsOnMiss ? 0 : this.tuning.misses;
      f64[(entry + BLOCK_STAMP) >>> 3] = 0;
    });
    this.counts.functions += batch.length;
    this.counts.modules++;
    this.profile?.note("compile", from);
  }

  /** The bytes of `record` have changed, or (-1) all records go away. */
  private forget(record: number): void {
    if (record < 0) {
      this.flush();
      return;
    }
    for (const translation of this.byRecord.get(record)?.slice() ?? []) this.drop(translation);
  }

  private drop(translation: Translation): void {
    if (translation.dropped) return;
    translation.dropped = true;
    this.live.delete(translation);
    this.release(translation);
    this.counts.dropped++;
    if (translation.index >= 0) {
      // The dispatcher must not find it any more, nor run on in it.
      newFetchEpoch(this.core);
      this.core.shared.active?.breakSlice();
      this.environment.table.set(translation.index, null);
      this.freeIndices.push(translation.index);
    }
    const entry = translation.records[0]!;
    if (this.entries.get(entry) === translation) {
      this.entries.delete(entry);
      this.core.i32[(entry + BLOCK_HEAT) >>> 2] = this.tuning.warm;
    } else {
      this.core.i32[(entry + BLOCK_CALLS) >>> 2] = this.tuning.calls;
      const other = this.entries.get(entry);
      if (other !== undefined) other.replaced = false;
    }
    for (const record of translation.records) {
      const list = this.byRecord.get(record)!;
      list.splice(list.indexOf(translation), 1);
      if (list.length === 0) this.byRecord.delete(record);
    }
  }

  private release({ module, bytes }: Translation): void {
    if (module === null) this.codeBytes -= bytes;
    else if (--module.live === 0) {
      this.codeBytes -= module.bytes;
      this.modules--;
    }
  }

  /** Drops every translation. */
  private flush(): void {
    this.counts.flushes++;
    for (const translation of [...this.live]) this.drop(translation);
    this.waiting.length = 0;
  }
}

const recordsOf = (region: Region): number[] => [...new Set(region.blocks.map((b) => b.record))];

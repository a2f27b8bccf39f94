/**
 * The core that vectors are checked on: user mode with a code page and a few data pages mapped and nothing else, every fault
 * an exit. The vectors of a batch lie in code frames of their own, so that an engine may prepare them together.
 */
import * as A from "../../cpu/arena.ts";
import {
  Core,
  CoreGroup,
  DELIVERY_NONROOT,
  EXIT_EXCEPTION,
  EXIT_VMX,
  VEC_AC,
  VEC_BP,
  VEC_BR,
  VEC_DB,
  VEC_DE,
  VEC_GP,
  VEC_MF,
  VEC_NP,
  VEC_OF,
  VEC_PF,
  VEC_SS,
  VEC_TS,
  VEC_UD,
  VEC_XM,
} from "../../cpu/core.ts";
import { FEATURE_NAMES } from "../../cpu/decode/table.ts";
import { FLAG_AC, getFlags, setFlags } from "../../cpu/flags.ts";
import { fillBytes, noteWrite } from "../../cpu/mmu/memory.ts";
import { invalidatePage } from "../../cpu/mmu/tlb.ts";
import { Engine } from "../../cpu/run.ts";
import * as B from "../../cpu/system/bits.ts";
import { type CpuModel, setCpuModel } from "../../cpu/system/cpu-model.ts";
import { loadSegmentRaw, loadTableRaw, resetCore, updateMode } from "../../cpu/system/mode.ts";
import type { Translator } from "../../cpu/translator/translator.ts";
import { type ConformanceEngine, RUNNERS } from "./engines.ts";
import { loadFx, storeFx } from "./fx-image.ts";
import {
  CODE_PAGE,
  CODE_START,
  DATA,
  DATA_BYTES,
  MAX_CODE_BYTES,
  State,
  type Vector,
  WINDOW,
  WINDOW_BYTES,
} from "./vector.ts";

/** Vectors that can be placed at a time. */
export const BATCH = 64;

const MEMORY = 4 << 20;
/** Frames: page tables from 1, data at 32, code from 64. */
const DATA_FRAME = 32;
const CODE_FRAME = 64;
const PTE_USER_RW = 7;
const PTE_DIRTY = 0x40;
/** A busy task-state segment. */
const ATTR_TSS_BUSY = 0x8b;
const INT3 = 0xcc;
const CODE_OFFSET = CODE_START - CODE_PAGE;

/** The Linux signal that each exception becomes (arch/x86/kernel/traps.c). */
const SIGNALS: Uint8Array = new Uint8Array(32).fill(11);
SIGNALS.set([8], VEC_DE);
SIGNALS.set([5], VEC_DB);
SIGNALS.set([5], VEC_BP);
SIGNALS.set([11], VEC_OF);
SIGNALS.set([11], VEC_BR);
SIGNALS.set([4], VEC_UD);
SIGNALS.set([11], VEC_TS);
SIGNALS.set([7], VEC_NP);
SIGNALS.set([7], VEC_SS);
SIGNALS.set([11], VEC_GP);
SIGNALS.set([11], VEC_PF);
SIGNALS.set([8], VEC_MF);
SIGNALS.set([7], VEC_AC);
SIGNALS.set([8], VEC_XM);

/** `sig` of an exit that is no exception: the exit code stands above. */
export const SIG_EXIT = 1000;
/** REP string instructions end a chunk at a page end at the latest, and come back for the rest. */
const MAX_CHUNKS = 100_000;

/** User selectors of Linux. */
const USER_CS = 0x33;
const USER_DS = 0x2b;
/**
 * What user mode can see in Linux's GDT (arch/x86/include/asm/segment.h), by selector: 32-bit code, data, 64-bit code, the number of the
 * processor. All other selectors are as good as none.
 */
const GDT: readonly (readonly [selector: number, lo: number, hi: number])[] = [
  [0x20, 0xffff, 0x00cffb00],
  [0x28, 0xffff, 0x00cff300],
  [0x30, 0xffff, 0x00affb00],
  [0x78, 0, 0x0040f500],
];
const GDT_BYTES = 128;
/** It lies where user mode sees nothing: the first page of the last 2 MiB. */
const GDT_LINEAR_LO: number = 0xffe00000 | 0;
const GDT_FRAME = 9;
const PTE_SUPERVISOR = 3;

export class Subject {
  readonly core: Core;
  private readonly engine: Engine;
  /** The translator, if the engine has one. */
  translator: Translator | null = null;
  /** The core's state before a vector is loaded. */
  private readonly idle: Uint8Array;
  /** State after the last `run`. */
  readonly result: State = new State();

  constructor(model: CpuModel, engine: ConformanceEngine) {
    const core = new Core(new A.Arena(MEMORY), 0, new CoreGroup());
    this.core = core;
    setCpuModel(core, model);
    this.engine = new Engine(core, (made, first) => {
      const runner = RUNNERS[engine](made, first);
      this.translator = runner.translator ?? null;
      return runner;
    });
    // Code that goes straight on would meet the INT3 behind it: the deadline is met before.
    this.engine.blocks.longest = 1;
    // All that the core knows is checked, whatever the model's CPUID says of it.
    this.engine.blocks.features = new Uint8Array(FEATURE_NAMES.length).fill(1);
    // A code frame has no write tags to sweep when it gets a block: `load` has dropped them.
    this.engine.blocks.onCodePage = (frame) => {
      core.u8[core.arena.frameAttr + frame]! |= A.FRAME_CODE;
    };
    resetCore(core);
    core.activate();
    this.map();
    const { i32 } = core;
    i32[A.CR0 >>> 2] = B.CR0_PE | B.CR0_PG | B.CR0_WP | B.CR0_NE | B.CR0_MP | B.CR0_ET | B.CR0_AM;
    i32[A.CR3 >>> 2] = 0x1000;
    i32[A.CR4 >>> 2] = B.CR4_PAE | B.CR4_OSFXSR | B.CR4_OSXMMEXCPT | B.CR4_UMIP | B.CR4_FSGSBASE | B.CR4_OSXSAVE;
    i32[A.XCR0 >>> 2] = 7;
    i32[A.EFER >>> 2] = B.EFER_LMA | B.EFER_LME | B.EFER_SCE | B.EFER_NXE;
    i32[A.CPL >>> 2] = 3;
    // Of selectors, those of Linux's GDT for user mode; every INT n is #GP.
    loadTableRaw(core, A.GDTR, 0, GDT_LINEAR_LO, -1, GDT_BYTES - 1, 0);
    loadTableRaw(core, A.IDTR, 0, 0, 0, 0, 0);
    // A task without an I/O permission map: every port is #GP.
    loadTableRaw(core, A.TR, 0, 0, 0, 0x67, ATTR_TSS_BUSY);
    core.controls.delivery = DELIVERY_NONROOT;
    core.controls.exceptionBitmap = -1;
    for (let seg = 0; seg < 6; seg++) loadSegmentRaw(core, seg, 0, 0, 0, -1, 0xc0f3);
    loadSegmentRaw(core, 1, USER_CS, 0, 0, -1, 0xa0fb);
    loadSegmentRaw(core, 2, USER_DS, 0, 0, -1, 0xc0f3);
    updateMode(core);
    i32[A.FETCH_PAGE >>> 2] = -1;
    i32[(A.FETCH_PAGE + 4) >>> 2] = -1;
    i32[A.FPU_CW >>> 2] = 0x37f;
    i32[A.FPU_SW >>> 2] = 0;
    i32[A.FPU_TW >>> 2] = 0xffff;
    i32[A.MXCSR >>> 2] = 0x1f80;
    this.idle = core.u8.slice(A.CORE, A.CORE + A.CORE_BYTES);
    for (let n = 0; n < BATCH; n++) core.u8.fill(INT3, this.codeAt(n), this.codeAt(n) + A.PAGE_SIZE);
  }

  private codeAt(n: number): number {
    return this.core.arena.ram + (CODE_FRAME + n) * A.PAGE_SIZE;
  }

  /** Index in u32 of the low word of entry `index` of the table in `frame`. */
  private entry(frame: number, index: number): number {
    return (this.core.arena.ram + frame * A.PAGE_SIZE + index * 8) >>> 2;
  }

  private map(): void {
    const { u32 } = this.core;
    const set = (frame: number, index: number, target: number): void => {
      u32[this.entry(frame, index)] = (target * A.PAGE_SIZE) | PTE_USER_RW;
    };
    set(1, 0, 2);
    set(2, 1, 3);
    set(3, (CODE_PAGE >>> 21) & 511, 4);
    set(3, (DATA >>> 21) & 511, 5);
    for (let page = 0; page < DATA_BYTES / A.PAGE_SIZE; page++) set(5, page, DATA_FRAME + page);
    for (const [table, index] of [
      [1, 511],
      [6, 511],
      [7, 511],
      [8, 0],
    ] as const)
      u32[this.entry(table, index)] = ((table === 1 ? 6 : table + 1) * A.PAGE_SIZE) | PTE_SUPERVISOR;
    for (const [selector, lo, hi] of GDT) {
      u32[this.entry(GDT_FRAME, selector >>> 3)] = lo;
      u32[this.entry(GDT_FRAME, selector >>> 3) + 1] = hi;
    }
  }

  /** Puts the code of `v` into code frame `n` (below BATCH). */
  place(n: number, v: Vector): void {
    const at = this.codeAt(n) + CODE_OFFSET;
    noteWrite(this.core, at, MAX_CODE_BYTES);
    this.core.u8.fill(INT3, at, at + MAX_CODE_BYTES);
    for (let k = 0; k < v.codeLength; k++) this.core.u8[at + k] = v.code[k]!;
  }

  /** Has the code of the frames below `count` translated; what the translator leaves alone is interpreted. */
  prepare(count: number): void {
    const { core, translator } = this;
    if (translator === null) return;
    core.u8.set(this.idle, A.CORE);
    for (let n = 0; n < count; n++) translator.warm(this.engine.blocks.get(this.codeAt(n) + CODE_OFFSET, () => -1));
  }

  private load(n: number, v: Vector): void {
    const { core } = this;
    const { u8, u32, i32 } = core;
    u8.set(this.idle, A.CORE);
    u32[this.entry(4, 0)] = ((CODE_FRAME + n) * A.PAGE_SIZE) | PTE_USER_RW;
    invalidatePage(core, CODE_PAGE, 0);
    const data = core.arena.ram + DATA_FRAME * A.PAGE_SIZE;
    u8.fill(0, data, data + DATA_BYTES);
    u8.set(v.before.mem, data + (WINDOW - DATA));
    u32.set(v.before.gpr, A.SLOTS >>> 2);
    setFlags(core, v.before.rflags);
    // Whether alignment is checked is not in the arena alone.
    if (core.mmu.alignCheck || v.before.rflags & FLAG_AC) updateMode(core);
    if (v.hasFx) loadFx(core, v.before.fx);
    if (v.hasYmmh)
      for (let r = 0; r < 16; r++)
        u8.set(v.before.ymmh.subarray(r * 16, r * 16 + 16), A.XMM + r * A.XMM_STRIDE + A.YMM_UPPER_BYTES);
    i32[A.RIP >>> 2] = CODE_START;
    i32[(A.RIP + 4) >>> 2] = 0;
  }

  /** Executes `v`, placed in code frame `n`; the state after it is in `result`. */
  run(n: number, v: Vector): void {
    this.load(n, v);
    const sig = this.execute(v);
    this.store(v, sig);
    const { u32 } = this.core;
    if (u32[this.entry(4, 0)]! & PTE_DIRTY) fillBytes(this.core, this.codeAt(n), A.PAGE_SIZE, INT3);
  }

  /** @returns the signal. The deadline is the first cut, and a block has one instruction. */
  private execute(v: Vector): number {
    const { core } = this;
    const { i32 } = core;
    const rip = A.RIP >>> 2;
    for (let chunk = 0; chunk < MAX_CHUNKS; chunk++) {
      const exit = this.engine.run(core, core.now() + 1);
      const passed = i32[rip]! - CODE_START;
      if (exit === EXIT_EXCEPTION) {
        const vector = i32[A.EXIT_INTR_INFO >>> 2]! & 0xff;
        // A trap, which Linux reports after the instruction.
        if (vector === VEC_BP) i32[rip]! += i32[A.EXIT_LENGTH >>> 2] || v.codeLength;
        return SIGNALS[vector & 31]!;
      }
      // Without the virtualization extensions their instructions are undefined.
      if (exit === EXIT_VMX) return SIGNALS[VEC_UD]!;
      if (exit !== 0) return SIG_EXIT + exit;
      if (passed !== 0 || i32[rip + 1] !== 0) return 0;
    }
    return 0;
  }

  private store(v: Vector, sig: number): void {
    const { core, result } = this;
    const { u8, u32 } = core;
    result.sig = sig;
    const slots = A.SLOTS >>> 2;
    for (let k = 0; k < 32; k++) result.gpr[k] = u32[slots + k]!;
    result.rip[0] = u32[A.RIP >>> 2]!;
    result.rip[1] = u32[(A.RIP + 4) >>> 2]!;
    result.rflags = getFlags(core);
    const window = core.arena.ram + DATA_FRAME * A.PAGE_SIZE + (WINDOW - DATA);
    result.mem.set(u8.subarray(window, window + WINDOW_BYTES));
    if (v.hasFx) storeFx(core, result.fx);
    if (!v.hasYmmh) return;
    for (let r = 0; r < 16; r++) {
      const upper = A.XMM + r * A.XMM_STRIDE + A.YMM_UPPER_BYTES;
      result.ymmh.set(u8.subarray(upper, upper + 16), r * 16);
    }
  }
}

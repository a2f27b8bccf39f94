/**
 * A core alone in an arena, for tests of engines: a little memory, page tables, machine code, and a look at the state.
 * Linear addresses equal physical ones, but for the pages named below. No IDT: every exception exits and is recorded.
 */
import * as A from "../../cpu/arena.ts";
import { type Core, CoreGroup, Core as CpuCore, DELIVERY_NONROOT, EXIT_EXCEPTION, EXIT_NAMES } from "../../cpu/core.ts";
import { getFlags } from "../../cpu/flags.ts";
import { type HostClock, HostProfile } from "../../cpu/host-profile.ts";
import { newEpoch } from "../../cpu/mmu/contexts.ts";
import { clearTlbs } from "../../cpu/mmu/tlb.ts";
import { type BlockRunner, Engine } from "../../cpu/run.ts";
import * as B from "../../cpu/system/bits.ts";
import { findCpuModel, setCpuModel } from "../../cpu/system/cpu-model.ts";
import { loadSegmentRaw, resetCore, updateMode } from "../../cpu/system/mode.ts";

export const RAM_BYTES = 0x100000;
const TABLES = 0x1000;
export const CODE = 0x10000;
export const CODE_BYTES = 0x4000;
export const DATA = 0x20000;
/** Pages of the data window, by number; 0..3 are plain, and 8..15 as well. Without paging they are all plain. */
export const PAGE_UNMAPPED = 4;
export const PAGE_READ_ONLY = 5;
export const PAGE_SUPERVISOR = 6;
/** Maps the first page of CODE again. */
export const PAGE_CODE_ALIAS = 7;
export const DATA_BYTES = 0x10000;
export const STACK = 0x30000;
export const STACK_BYTES = 0x2000;

export interface BareOptions {
  /** Code size. 64: long mode with paging; 32 and 16: protected mode and real mode without. Default 64. */
  bits?: 16 | 32 | 64;
  /** Privilege of 64-bit code, 0 or 3. Default 3. */
  cpl?: 0 | 3;
  /** Offset from CODE of the program and its first instruction. Default 0. */
  start?: number;
  /** General registers to begin with, rAX first; rSP is the middle of the stack if absent. */
  registers?: readonly bigint[];
  /** RFLAGS to begin with, arithmetic and DF bits. */
  flags?: number;
  /** Bytes of the XMM registers, 16 each. */
  vectors?: Uint8Array;
  /** CR4.OSXSAVE is set, and XCR0 has x87, SSE and AVX. Default: neither. */
  avx?: boolean;
}

/** What can be seen of a core: two engines that agree have equal ones. */
export interface BareState {
  gpr: string[];
  rip: string;
  flags: string;
  xmm: string[];
  /** Upper halves of the YMM registers. */
  ymm: string[];
  cr2: string;
  cycle: number;
  instructions: number;
  counters: Record<string, number>;
  ram: string;
}

/** An exception that left the engine. */
export interface BareFault {
  vector: number;
  error: number;
  rip: number;
  cr2: string;
  cycle: number;
}

const hex = (value: bigint): string => value.toString(16);

export class BareCore {
  readonly arena: A.Arena = new A.Arena(RAM_BYTES);
  readonly group: CoreGroup = new CoreGroup();
  readonly core: Core = new CpuCore(this.arena, 0, this.group);
  readonly engine: Engine;

  /** @param clock of the host: where its time goes is noted in `group.profile` */
  constructor(makeRunner?: (engine: Engine, core: Core) => BlockRunner, clock?: HostClock) {
    if (clock !== undefined) this.group.profile = new HostProfile(clock);
    // All the instructions that there are.
    setCpuModel(this.core, findCpuModel("intel", "x86-64-v3"));
    resetCore(this.core);
    this.engine = new Engine(this.core, makeRunner);
  }

  /** Begins anew: zeroed memory, empty TLBs and code cache, counters at zero, `code` at CODE. */
  reset(code: Uint8Array, options: BareOptions = {}): void {
    const { arena, core } = this;
    this.engine.blocks.flush();
    arena.u8.fill(0, arena.ram, arena.ram + RAM_BYTES);
    arena.u8.fill(0, A.CORE, A.CORE + A.CORE_BYTES);
    clearTlbs(core);
    this.group.tlb.next = 1;
    this.group.lastTsc = 0;
    resetCore(core);
    const start = options.start ?? 0;
    arena.u8.set(code, arena.ram + CODE + start);
    core.controls.delivery = DELIVERY_NONROOT;
    core.controls.exceptionBitmap = -1;
    const bits = options.bits ?? 64;
    if (bits === 64) this.longMode(options.cpl ?? 3);
    else this.legacyMode(bits);
    if (options.avx) {
      core.i32[A.CR4 >>> 2]! |= B.CR4_OSXSAVE;
      core.i32[A.XCR0 >>> 2] = 7;
    }
    const registers = options.registers ?? [];
    core.setSlot(A.S_RSP, BigInt((bits === 16 ? 0 : STACK) + STACK_BYTES / 2));
    for (let n = 0; n < registers.length; n++) core.setSlot(n * 8, registers[n]!);
    B.setRip(core, (bits === 16 ? 0 : CODE) + start, 0);
    const flags = options.flags ?? 2;
    this.setFlags(flags);
    if (options.vectors !== undefined)
      for (let n = 0; n < options.vectors.length >> 4; n++)
        arena.u8.set(options.vectors.subarray(n * 16, n * 16 + 16), A.XMM + n * A.XMM_STRIDE);
    updateMode(core);
    newEpoch(core);
    arena.u8.fill(0, A.FAULT_COUNTS, A.COUNT_INTERRUPTS + 4);
  }

  private setFlags(flags: number): void {
    const { i32 } = this.core;
    i32[A.CC_Z >>> 2] = flags & 0x40 ? 0 : 1;
    i32[A.CC_S >>> 2] = flags & 4 ? 0 : 1;
    i32[(A.CC_S + 4) >>> 2] = flags & 0x80 ? -0x80000000 : 0;
    i32[(A.CC_C + 4) >>> 2] = flags & 1 ? -0x80000000 : 0;
    i32[(A.CC_O + 4) >>> 2] = flags & 0x800 ? -0x80000000 : 0;
    i32[A.CC_A >>> 2] = flags & 0x10;
    i32[A.RFLAGS_SYS >>> 2] = (flags & 0x400) | 2;
  }

  private longMode(cpl: 0 | 3): void {
    const { core, arena } = this;
    const i = core.i32;
    const entry = (table: number, index: number, value: number): void => {
      i[(arena.ram + table + index * 8) >>> 2] = value;
    };
    const [pdpt, directory, leaf] = [TABLES + 0x1000, TABLES + 0x2000, TABLES + 0x3000];
    entry(TABLES, 0, pdpt | 7);
    entry(pdpt, 0, directory | 7);
    entry(directory, 0, leaf | 7);
    for (let page = 1; page < RAM_BYTES / 4096; page++) {
      // The tables themselves are the supervisor's.
      const user = page * 4096 >= CODE ? 4 : 0;
      entry(leaf, page, (page * 4096) | user | 3);
    }
    const data = DATA / 4096;
    entry(leaf, data + PAGE_UNMAPPED, 0);
    entry(leaf, data + PAGE_READ_ONLY, (DATA + PAGE_READ_ONLY * 4096) | 5);
    entry(leaf, data + PAGE_SUPERVISOR, (DATA + PAGE_SUPERVISOR * 4096) | 3);
    entry(leaf, data + PAGE_CODE_ALIAS, CODE | 7);
    i[A.CR3 >>> 2] = TABLES;
    i[A.CR4 >>> 2] = B.CR4_PAE | B.CR4_OSFXSR | B.CR4_OSXMMEXCPT;
    i[A.EFER >>> 2] = B.EFER_LME | B.EFER_LMA | B.EFER_SCE | B.EFER_NXE;
    i[A.CR0 >>> 2] = B.CR0_PE | B.CR0_PG | B.CR0_WP | B.CR0_ET | B.CR0_NE | B.CR0_MP;
    const dpl = cpl << 5;
    for (let seg = 0; seg < 6; seg++) loadSegmentRaw(core, seg, 0x18 | cpl, 0, 0, -1, 0xc093 | dpl);
    loadSegmentRaw(core, 1, 0x10 | cpl, 0, 0, -1, 0xa09b | dpl);
    i[A.CPL >>> 2] = cpl;
  }

  private legacyMode(bits: 16 | 32): void {
    const { core } = this;
    const i = core.i32;
    i[A.CR4 >>> 2] = B.CR4_OSFXSR | B.CR4_OSXMMEXCPT;
    i[A.CR0 >>> 2] = (bits === 32 ? B.CR0_PE : 0) | B.CR0_ET | B.CR0_NE | B.CR0_MP;
    if (bits === 32) {
      for (let seg = 0; seg < 6; seg++) loadSegmentRaw(core, seg, 0x18, 0, 0, -1, 0xc093);
      loadSegmentRaw(core, 1, 0x10, 0, 0, -1, 0xc09b);
      // One segment that is not flat, for overrides.
      loadSegmentRaw(core, 4, 0x20, DATA, 0, DATA_BYTES - 1, 0x4093);
    } else {
      for (let seg = 0; seg < 6; seg++) loadSegmentRaw(core, seg, DATA >>> 4, DATA, 0, 0xffff, 0x93);
      loadSegmentRaw(core, 1, CODE >>> 4, CODE, 0, 0xffff, 0x9b);
      loadSegmentRaw(core, 2, STACK >>> 4, STACK, 0, 0xffff, 0x93);
    }
    i[A.CPL >>> 2] = 0;
  }

  /** Runs to absolute cycle `deadline` or the next exit. @returns the EXIT_* code */
  run(deadline: number): number {
    return this.engine.run(this.core, deadline);
  }

  /**
   * Runs to cycle `deadline` in slices of `slice` cycles; after each exception `resume` is asked for the RIP (offset in CS)
   * to go on at. @returns what was raised, and the name of the exit that ended it all
   */
  runThrough(
    deadline: number,
    slice: number,
    resume: (fault: BareFault) => number,
  ): { faults: BareFault[]; end: string } {
    const faults: BareFault[] = [];
    const { i32 } = this.core;
    for (;;) {
      const exit = this.run(Math.min(this.core.now() + slice, deadline));
      if (exit === EXIT_EXCEPTION) {
        const fault = {
          vector: i32[A.EXIT_INTR_INFO >>> 2]! & 0xff,
          error: i32[A.EXIT_INTR_INFO >>> 2]! & 0x800 ? i32[A.EXIT_INTR_ERROR >>> 2]! : -1,
          rip: i32[A.RIP >>> 2]! >>> 0,
          cr2: (i32[A.EXIT_INTR_INFO >>> 2]! & 0xff) === 14 ? hex(this.core.u64[A.EXIT_QUAL >>> 3]!) : "",
          cycle: this.core.now(),
        };
        faults.push(fault);
        const rip = resume(fault);
        if (rip < 0 || faults.length > 200) return { faults, end: "resume" };
        B.setRip(this.core, rip, 0);
      } else if (exit !== 0 || this.core.now() >= deadline) return { faults, end: EXIT_NAMES[exit] ?? `exit ${exit}` };
    }
  }

  state(): BareState {
    const { core, arena } = this;
    const { i32, f64, u64 } = core;
    const vector = (n: number): string => {
      const at = (A.XMM + n * A.XMM_STRIDE) >>> 3;
      return hex((u64[at + 1]! << 64n) | u64[at]!);
    };
    const counters: Record<string, number> = {
      dtlbMisses: i32[A.COUNT_DTLB_MISS >>> 2]!,
      fetchMisses: i32[A.COUNT_FETCH_MISS >>> 2]!,
      walks: i32[A.COUNT_WALK >>> 2]!,
      codeWrites: i32[A.COUNT_SMC >>> 2]!,
      cpl: i32[A.CPL >>> 2]!,
      mode: i32[A.MODE >>> 2]!,
    };
    return {
      gpr: Array.from({ length: 16 }, (_, n) => hex(core.slot(n * 8))),
      rip: hex(u64[A.RIP >>> 3]!),
      flags: getFlags(core).toString(16),
      xmm: Array.from({ length: 16 }, (_, n) => vector(n)),
      ymm: Array.from({ length: 16 }, (_, n) => vector(n + A.YMM_UPPER)),
      cr2: hex(u64[A.CR2 >>> 3]!),
      cycle: core.now(),
      instructions: f64[A.INSTRET >>> 3]!,
      counters,
      ram: digest(arena.i32.subarray(arena.ram >>> 2, (arena.ram + RAM_BYTES) >>> 2)),
    };
  }
}

/** FNV-1a over words. */
export function digest(words: Int32Array): string {
  let hash = 0x811c9dc5;
  for (let n = 0; n < words.length; n++) {
    const word = words[n]!;
    if (word !== 0) hash = Math.imul(hash ^ word ^ n, 0x01000193) ^ (hash >>> 15);
  }
  return (hash >>> 0).toString(16);
}

/** Bytes from text: "48 89 c3". */
export const bytes = (text: string): Uint8Array =>
  Uint8Array.from(text.trim().split(/\s+/), (byte) => Number.parseInt(byte, 16));

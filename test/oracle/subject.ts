/** Runs vectors on our core, in the surroundings that the oracle gives the host's processor. */
import * as A from "../../cpu/arena.ts";
import {
  Core,
  CoreGroup,
  DELIVERY_NONROOT,
  EXIT_EXCEPTION,
  VEC_AC,
  VEC_BP,
  VEC_BR,
  VEC_DB,
  VEC_DE,
  VEC_GP,
  VEC_MF,
  VEC_PF,
  VEC_SS,
  VEC_UD,
  VEC_XM,
} from "../../cpu/core.ts";
import { FEATURE_NAMES } from "../../cpu/decode/table.ts";
import { getFlags, setFlags } from "../../cpu/flags.ts";
import { writeBytes } from "../../cpu/mmu/memory.ts";
import { type BlockRunner, Engine } from "../../cpu/run.ts";
import * as B from "../../cpu/system/bits.ts";
import { MODEL_AMD, MODEL_INTEL, setCpuModel } from "../../cpu/system/cpu-model.ts";
import { loadSegmentRaw, resetCore, updateMode } from "../../cpu/system/mode.ts";
import { loadFx, storeFx } from "../../src/conformance/fx-image.ts";
import { hostIsAmd } from "./host.ts";
import {
  CODE_PAGE,
  type CodeSize,
  DATA,
  DATA_BYTES,
  FX_BYTES,
  type Outcome,
  SEGMENTS_16,
  startOf,
  type Vector,
  WINDOW,
  WINDOW_BYTES,
  YMMH_BYTES,
} from "./vector.ts";

const MEMORY = 4 << 20;
/** Frames: tables from 1, code at 16, data at 32. */
const CODE_FRAME = 16;
const DATA_FRAME = 32;
const PTE_USER_RW = 7;

const SIGNALS: Readonly<Record<number, number>> = {
  [VEC_DE]: 8,
  [VEC_DB]: 5,
  [VEC_BP]: 5,
  [VEC_BR]: 11,
  [VEC_UD]: 4,
  [VEC_SS]: 7,
  [VEC_GP]: 11,
  [VEC_PF]: 11,
  [VEC_MF]: 8,
  [VEC_AC]: 7,
  [VEC_XM]: 8,
};
const MAX_CHUNKS = 10_000;

export class Subject {
  readonly core: Core;
  private readonly engine: Engine;

  constructor(makeRunner?: (engine: Engine, core: Core) => BlockRunner) {
    const arena = new A.Arena(MEMORY);
    const group = new CoreGroup();
    const core = new Core(arena, 0, group);
    this.core = core;
    setCpuModel(core, hostIsAmd() ? MODEL_AMD : MODEL_INTEL);
    this.engine = new Engine(core, makeRunner);
    // What the host is asked about may be more than our models report.
    this.engine.blocks.features = new Uint8Array(FEATURE_NAMES.length).fill(1);
    resetCore(core);
    this.map();
    const { i32 } = core;
    i32[A.CR0 >>> 2] = B.CR0_PE | B.CR0_PG | B.CR0_WP | B.CR0_NE | B.CR0_MP | B.CR0_ET | B.CR0_AM;
    i32[A.CR3 >>> 2] = 0x1000;
    i32[A.CR4 >>> 2] = B.CR4_PAE | B.CR4_OSFXSR | B.CR4_OSXMMEXCPT | B.CR4_OSXSAVE;
    i32[A.XCR0 >>> 2] = 7;
    i32[A.EFER >>> 2] = B.EFER_LMA | B.EFER_LME | B.EFER_SCE | B.EFER_NXE;
    i32[A.CPL >>> 2] = 3;
    core.controls.delivery = DELIVERY_NONROOT;
    core.controls.exceptionBitmap = -1;
    updateMode(core);
  }

  /** Four levels that map the code page and the data pages for user mode, read, write and execute. */
  private map(): void {
    const { core } = this;
    const at = (frame: number, index: number): number => core.arena.ram + frame * 4096 + index * 8;
    const set = (frame: number, index: number, target: number): void => {
      core.u32[at(frame, index) >>> 2] = (target * 4096) | PTE_USER_RW;
    };
    set(1, 0, 2);
    set(2, 1, 3);
    set(3, (CODE_PAGE >>> 21) & 511, 4);
    set(3, (DATA >>> 21) & 511, 5);
    set(4, 0, CODE_FRAME);
    for (let page = 0; page < DATA_BYTES / 4096; page++) set(5, page, DATA_FRAME + page);
  }

  /** The segment registers that the oracle sets up for code of `size` bits. */
  private loadSegments(size: CodeSize): void {
    const { core } = this;
    const flat = size === 64 ? 0 : 0x2b;
    for (let seg = 0; seg < 6; seg++) {
      if (seg < 4 || size === 64) loadSegmentRaw(core, seg, flat, 0, 0, -1, 0xc0f3);
      else loadSegmentRaw(core, seg, 0, 0, 0, 0, 0x10000);
    }
    loadSegmentRaw(core, 2, 0x2b, 0, 0, -1, 0xc0f3);
    if (size === 64) loadSegmentRaw(core, 1, 0x33, 0, 0, -1, 0xa0fb);
    else if (size === 32) loadSegmentRaw(core, 1, 0x23, 0, 0, -1, 0xc0fb);
    else {
      const { cs, ds, es, ss } = SEGMENTS_16;
      loadSegmentRaw(core, 1, 0x07, cs.base, 0, cs.limit, 0xfb);
      loadSegmentRaw(core, 3, 0x0f, ds.base, 0, ds.limit, 0xf3);
      loadSegmentRaw(core, 0, 0x17, es.base, 0, es.limit, 0xf3);
      loadSegmentRaw(core, 2, 0x1f, ss.base, 0, ss.limit, 0xf3);
    }
    updateMode(core);
  }

  run(v: Vector): Outcome {
    const { core } = this;
    const { u8, i32, f64 } = core;
    const code = core.arena.ram + CODE_FRAME * 4096;
    const data = core.arena.ram + DATA_FRAME * 4096;
    const page = new Uint8Array(32).fill(0xcc);
    page.set(v.code);
    writeBytes(core, code + 0x100, page);
    u8.fill(0, data, data + DATA_BYTES);
    u8.set(v.mem, data + (WINDOW - DATA));
    this.loadSegments(v.size);
    const start = Number(startOf(v.size));
    for (let n = 0; n < 16; n++) core.setSlot(n * 8, v.gpr[n]!);
    setFlags(core, v.rflags);
    if (v.fx !== null) loadFx(core, v.fx);
    const uppers = A.XMM + A.YMM_UPPER_BYTES;
    if (v.ymmh === null) u8.fill(0, uppers, uppers + YMMH_BYTES);
    else u8.set(v.ymmh, uppers);
    i32[A.RIP >>> 2] = start;
    i32[(A.RIP + 4) >>> 2] = 0;
    i32[A.EXIT_REASON >>> 2] = 0;
    let sig = 0;
    // Deadline "now": the engine runs to the next cut. One instruction a block: the rest of the page is INT3.
    for (let chunk = 0; chunk < MAX_CHUNKS; chunk++) {
      i32[A.MODE >>> 2]! |= 0x400;
      const exit = this.engine.run(core, f64[A.SLICE_END >>> 3]! - i32[A.REMAINING >>> 2]! + 1);
      if (exit === EXIT_EXCEPTION) {
        const vector = i32[A.EXIT_INTR_INFO >>> 2]! & 0xff;
        sig = SIGNALS[vector] ?? 1000 + vector;
        if (vector === VEC_BP) this.advance(v.code.length);
        break;
      }
      if (exit !== 0) {
        sig = 2000 + exit;
        break;
      }
      if (i32[A.RIP >>> 2] !== start || i32[(A.RIP + 4) >>> 2] !== 0) break;
    }
    const fx = new Uint8Array(FX_BYTES);
    storeFx(core, fx);
    const gpr = Array.from({ length: 16 }, (_, n) => BigInt.asUintN(v.size === 64 ? 64 : 32, core.slot(n * 8)));
    return {
      sig,
      rip: core.u64[A.RIP >>> 3]!,
      gpr,
      rflags: getFlags(core),
      mem: u8.slice(data + (WINDOW - DATA), data + (WINDOW - DATA) + WINDOW_BYTES),
      fx,
      ymmh: u8.slice(uppers, uppers + YMMH_BYTES),
    };
  }

  private advance(bytes: number): void {
    this.core.i32[A.RIP >>> 2]! += bytes;
  }
}

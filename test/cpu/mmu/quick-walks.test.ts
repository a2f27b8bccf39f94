/**
 * Walks, TLB fills and faults of generated code (interpreter/walk.ts, misses.ts) against those of mmu/, which the reference runs: twins whose tables
 * change at random, mostly without a flush, go through the same accesses and must be the same in all of memory.
 */
import { describe, expect, it } from "vitest";
import * as A from "../../../cpu/arena.ts";
import {
  type Core,
  DELIVERY_NATIVE,
  DELIVERY_NONROOT,
  NESTED_EPT,
  NESTED_NONE,
  NESTED_NPT,
} from "../../../cpu/core.ts";
import { IMPORT_READ, IMPORT_RMW, IMPORT_WRITE } from "../../../cpu/emit/emitter.ts";
import { linkInterpreter, makeEnvironment } from "../../../cpu/interpreter/link.ts";
import { NOT_DONE } from "../../../cpu/interpreter/misses.ts";
import { fetchSlow, readSlow, rmwSlow, writeSlow } from "../../../cpu/mmu/access.ts";
import { dropContext, flushAll } from "../../../cpu/mmu/contexts.ts";
import { describeWalks } from "../../../cpu/mmu/quick.ts";
import { invalidatePage, newFetchEpoch, setFrameAttribute } from "../../../cpu/mmu/tlb.ts";
import * as B from "../../../cpu/system/bits.ts";
import { setCpl, updateMode } from "../../../cpu/system/mode.ts";
import { H_FAULT } from "../../../cpu/uops/uop.ts";
import { Random } from "../../support/random.ts";
import { enterLong, makeMachine, poke64, setWord } from "./machine.ts";

const SLOW = [readSlow, writeSlow, rmwSlow];
/** Frames of the guest's tables and data. */
const TABLES = 16;
const TABLE_COUNT = 8;
const DATA = 64;
const DATA_COUNT = 64;
/** Of the second level: root and the three tables below, and how far guest frames lie from the machine's. */
const SECOND = 1024;
const DISTANCE = 256;
const FRAMES = 4096;

/** A core that does all in TypeScript, or what can be done there in generated code. */
class Twin {
  readonly core: Core = makeMachine().core;
  private readonly environment = makeEnvironment(this.core);
  private readonly fetchQuick: ((linear: bigint) => number) | null;
  done = 0;
  faults = 0;
  /** Writes that dirty logging and the block cache were told of. */
  readonly told: number[] = [];

  constructor(generated: boolean) {
    linkInterpreter(this.core, this.environment);
    this.core.shared.noteDirty = (frame) => this.told.push(frame);
    this.core.shared.invalidateCode = (at, bytes) => this.told.push(at, bytes);
    this.core.u8.fill(0x55, this.core.arena.codeBitmap, this.core.arena.codeBitmap + FRAMES * 8);
    this.fetchQuick = generated ? this.environment.fetch : null;
    enterLong(this.core, TABLES * 4096, 0, B.CR4_PCIDE);
    for (let g = 0; g < 512; g++) this.second(g, 7n);
    for (let n = 0; n < 3; n++) poke64(this.core, (SECOND + n) * 4096, BigInt((SECOND + n + 1) * 4096) | 7n);
  }
  /** Entry `g` of the second level's last table. */
  second(g: number, flags: bigint): void {
    poke64(this.core, (SECOND + 3) * 4096 + g * 8, BigInt((g + DISTANCE) * 4096) | flags);
  }

  access(kind: number, lo: number, hi: number, size: number): number {
    const { core } = this;
    if (this.fetchQuick !== null) {
      setWord(core, A.ACCESS_LIN, lo, hi);
      const status = this.environment.access!(kind, size);
      if (status !== NOT_DONE) {
        this.done++;
        if (status === H_FAULT) this.faults++;
        return status;
      }
    }
    return SLOW[kind]!(core, lo, hi, size, 0);
  }
  fetch(lo: number, hi: number): number {
    const { core } = this;
    const { i32 } = core;
    const entry = (A.FETCH_TLB + (i32[A.CPL >>> 2] === 3 ? A.FETCH_HALF_BYTES : 0) + (((lo >>> 12) & 4095) << 4)) >>> 2;
    const known = i32[entry] === ((lo & ~0xfff) | i32[A.TLB_CTX >>> 2]!) && i32[entry + 1] === hi;
    if (this.fetchQuick !== null && !known) {
      const status = this.fetchQuick((BigInt(hi) << 32n) | BigInt(lo >>> 0));
      if (status !== NOT_DONE) {
        this.done++;
        return status;
      }
    }
    return fetchSlow(core, lo, hi);
  }
  /** What there is to compare. */
  parts(): Buffer[] {
    const { u8, arena } = this.core;
    const part = (from: number, to: number): Buffer => Buffer.from(u8.buffer, from, to - from);
    return [
      part(A.FETCH_EPOCH, A.LARGE_HIGH_MAX + 8),
      part(A.CORE, A.WALK_SHIFT),
      part(A.WALK_END, A.ACCESS_LIN),
      part(A.DTLB, A.CONTEXT_LIVE + 4096),
      part(arena.nestedCaches(0), arena.nestedCaches(1)),
      part(A.FRAMES, u8.length),
    ];
  }
}

const P = 1n;
const W = 2n;
const U = 4n;
const NX = 1n << 63n;

/** Indices of a level that are used; addresses of both halves, and some that are not canonical. */
const INDICES = [0, 1, 2, 511];
const TOPS = [0, 1, 255, 256, 511];

describe("walks in generated code", () => {
  it("do what those of mmu/ do", () => {
    const random = new Random(20261126);
    const plain = new Twin(false);
    const quick = new Twin(true);
    const both = (change: (core: Core, twin: Twin) => void): void => {
      change(plain.core, plain);
      change(quick.core, quick);
    };
    const flags = (leaf: boolean): bigint => {
      let entry = random.below(20) === 0 ? 0n : P;
      if (random.below(8) !== 0) entry |= W;
      if (random.below(leaf ? 2 : 12) !== 0) entry |= U;
      if (random.below(2) === 0) entry |= 0x20n;
      if (random.below(2) === 0) entry |= 0x40n;
      if (random.below(12) === 0) entry |= NX;
      if (random.below(60) === 0) entry |= 1n << BigInt(40 + random.below(23));
      if (random.below(4) === 0) entry |= BigInt(random.next() & 0xf18);
      return entry;
    };
    /** An entry of `table`: leads to one of the next level, to data, to a large page (now and then a misaligned one), or anywhere. */
    const entry = (table: number): bigint => {
      const level = 4 - (table >>> 1);
      const kind = random.below(24);
      if (kind === 0) return (BigInt(FRAMES + random.below(1 << 20)) * 4096n) | flags(true);
      if (kind === 1) return BigInt((TABLES + random.below(TABLE_COUNT)) * 4096) | flags(false);
      if (kind < 8 && level === 2)
        return BigInt(random.below(3) * 0x200000 + random.pick([0, 0, 0, 0, 0x1000, 0x4000])) | flags(true) | 0x80n;
      if (level > 1) return BigInt((TABLES + 2 * (5 - level) + random.below(2)) * 4096) | flags(false);
      return BigInt((DATA + random.below(DATA_COUNT)) * 4096) | flags(true);
    };
    const address = (): { lo: number; hi: number } => {
      const top = random.pick(TOPS);
      const [l3, l2, l1] = [random.pick(INDICES), random.pick(INDICES), random.pick(INDICES)];
      const hi = (top << 7) | (l3 >>> 2);
      const offset = random.below(3) === 0 ? 4096 - random.below(40) : random.below(4096);
      return {
        hi: top >= 256 && random.below(30) !== 0 ? hi | (0xffff << 16) : hi,
        lo: (l3 << 30) | (l2 << 21) | (l1 << 12) | (offset & 0xfff),
      };
    };
    const toggle = (register: number, bit: number): void =>
      both((core) => {
        core.i32[register >>> 2]! ^= bit;
        updateMode(core);
      });
    let oddPart = -1;
    const compare = (): boolean => {
      const others = quick.parts();
      oddPart = plain.parts().findIndex((part, n) => !part.equals(others[n]!));
      return oddPart < 0;
    };
    for (let table = 0; table < TABLE_COUNT; table++)
      for (const index of new Set([...INDICES, ...TOPS])) {
        const value = entry(table);
        both((core) => poke64(core, (TABLES + table) * 4096 + index * 8, value));
        both((core) => poke64(core, (TABLES + DISTANCE + table) * 4096 + index * 8, value));
      }
    const changes: (() => void)[] = [
      () => both((core) => dropContext(core, 0)),
      () => both((core) => flushAll(core.shared)),
      () => {
        const root = TABLES + random.below(2);
        const pcid = random.below(3);
        both((core) => {
          setWord(core, A.CR3, (root << 12) | pcid);
          updateMode(core);
        });
      },
      () => toggle(A.CR0, B.CR0_WP),
      () => toggle(A.CR4, B.CR4_SMEP),
      () => toggle(A.CR4, B.CR4_SMAP),
      () => toggle(A.EFER, B.EFER_NXE),
      () => toggle(A.RFLAGS_SYS, 0x40000),
      () => {
        const frame = DATA + random.below(DATA_COUNT + 8);
        const attribute = random.pick([A.FRAME_CODE, A.FRAME_CODE, A.FRAME_DIRTY_LOG, A.FRAME_MMIO, A.FRAME_WATCH]);
        both((core) => setFrameAttribute(core, frame, attribute));
      },
      () => {
        const frame = TABLES + random.below(TABLE_COUNT);
        const attribute = random.pick([A.FRAME_CODE, A.FRAME_DIRTY_LOG]);
        both((core) => setFrameAttribute(core, frame, attribute));
      },
      () => both((core) => core.u8.fill(0, A.FRAMES, A.FRAMES + FRAMES)),
      () => both((core) => core.u8.fill(0, A.FRAMES, A.FRAMES + FRAMES)),
      () => both((core) => core.u8.fill(0, A.FRAMES, A.FRAMES + FRAMES)),
      () => {
        const format = random.pick([NESTED_NONE, NESTED_NONE, NESTED_EPT, NESTED_NPT]);
        const dirty = random.below(2) === 0;
        both((core) => {
          core.controls.delivery = format === NESTED_NONE ? DELIVERY_NATIVE : DELIVERY_NONROOT;
          core.controls.nestedFormat = format;
          core.controls.nestedRoot = SECOND * 4096;
          core.controls.nestedAccessedDirty = dirty;
          flushAll(core.shared);
          updateMode(core);
        });
      },
      () => {
        const g = random.pick([TABLES + random.below(TABLE_COUNT), DATA + random.below(DATA_COUNT)]);
        const rights = BigInt(random.pick([7, 7, 5, 3, 1, 0]));
        both((core, twin) => {
          twin.second(g, rights);
          if (rights !== 7n) flushAll(core.shared);
        });
      },
      () => {
        // Debug registers and checks for alignment: nothing is to be quick.
        const on = random.below(5) === 0;
        both((core) => {
          setWord(core, A.DR + 56, on ? 0x00030001 : 0);
          setWord(core, A.DR, 0x1010);
          setWord(core, A.CR0, (core.i32[A.CR0 >>> 2]! & ~B.CR0_AM) | (on ? B.CR0_AM : 0));
          updateMode(core);
          flushAll(core.shared);
        });
      },
      // The last of the epochs.
      () =>
        both((core) => {
          core.i32[(A.FETCH_EPOCH + 4) >>> 2] = -16;
          newFetchEpoch(core);
          core.i32[(A.FETCH_EPOCH + 4) >>> 2] = -16;
        }),
    ];
    let last = address();
    for (let n = 0; n < 25_000; n++) {
      const what = random.below(64);
      if (what < 12) {
        const table = random.below(TABLE_COUNT);
        const frame = TABLES + table + (random.below(2) === 0 ? 0 : DISTANCE);
        const index = random.pick(table < 2 ? TOPS : INDICES);
        const value = entry(table);
        both((core) => poke64(core, frame * 4096 + index * 8, value));
      } else if (what < 15) {
        const { lo, hi } = random.below(2) === 0 ? last : address();
        both((core) => invalidatePage(core, lo, hi));
      } else if (what < 17) {
        const cpl = random.below(2) * 3;
        both((core) => {
          setCpl(core, cpl);
          updateMode(core);
        });
      } else if (what < 20) {
        random.pick(changes)();
        both((core) => describeWalks(core));
      } else if (what < 32) {
        const { lo, hi } = address();
        const status = [plain.fetch(lo, hi), quick.fetch(lo, hi)];
        expect(status[1], `fetch ${n}`).toBe(status[0]);
      } else {
        if (random.below(3) !== 0) last = address();
        const { lo, hi } = last;
        const kind = random.pick([IMPORT_READ, IMPORT_READ, IMPORT_WRITE, IMPORT_RMW]);
        const size = random.pick([1, 2, 4, 8, 8, 16, 32]);
        const value = random.next();
        both((core) => core.i32.fill(value, A.BUS_DATA >>> 2, (A.BUS_DATA >>> 2) + 8));
        const status = [plain.access(kind, lo, hi, size), quick.access(kind, lo, hi, size)];
        expect(status[1], `access ${n}`).toBe(status[0]);
      }
      if (n % 1000 === 0) expect(compare(), `memory after ${n}, part ${oddPart}`).toBe(true);
    }
    expect(compare()).toBe(true);
    expect(quick.told).toEqual(plain.told);
    expect(quick.done).toBeGreaterThan(3000);
    expect(quick.faults).toBeGreaterThan(700);
    expect(quick.done - quick.faults).toBeGreaterThan(900);
  });
});

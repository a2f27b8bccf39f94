import fc from "fast-check";
import { beforeEach, describe, expect, it } from "vitest";
import * as A from "../../../cpu/arena.ts";
import { type Core, VEC_GP, VEC_PF } from "../../../cpu/core.ts";
import { fetchSlow, peekLinear, readSlow, rmwSlow, translateWrite, writeSlow } from "../../../cpu/mmu/access.ts";
import { invalidatePage, setFrameAttribute } from "../../../cpu/mmu/tlb.ts";
import { loadPdptes } from "../../../cpu/mmu/walker.ts";
import * as B from "../../../cpu/system/bits.ts";
import { writeCr3 } from "../../../cpu/system/cr.ts";
import { updateMode } from "../../../cpu/system/mode.ts";
import { H_EXIT_AT, H_FAULT, H_OK, H_RESTART, MODE_STEP } from "../../../cpu/uops/uop.ts";
import {
  enterLong,
  enterProtected,
  faultOf,
  makeMachine,
  peek32,
  peek64,
  poke32,
  poke64,
  setWord,
  Tables,
} from "./machine.ts";

const P = 1n;
const W = 2n;
const U = 4n;
const NX = 1n << 63n;
const ROOT = 0x10000;
const DATA = A.BUS_DATA >>> 2;

const read = (core: Core, address: bigint, size = 4): number =>
  readSlow(core, Number(address & 0xffffffffn) | 0, Number(address >> 32n) | 0, size, 0);
const write = (core: Core, address: bigint, size = 4): number =>
  writeSlow(core, Number(address & 0xffffffffn) | 0, Number(address >> 32n) | 0, size, 0);
const fetch = (core: Core, address: bigint): number =>
  fetchSlow(core, Number(address & 0xffffffffn) | 0, Number(address >> 32n) | 0);

let core: Core;
let tables: Tables;
beforeEach(() => {
  core = makeMachine().core;
  tables = new Tables(core, ROOT);
});

describe("4-level paging", () => {
  it("translates 4 KiB, 2 MiB and 1 GiB pages and sets A and D bits as they are used", () => {
    const pte = tables.map(0x7fff_1234_5000n, 0x300000, P | W | U);
    const pde = tables.map(0xffff_8000_0020_0000n, 0x400000, P | W, 2);
    const pdpte = tables.map(0x40000000n, 0, P, 3);
    poke32(core, 0x300008, 0x11111111);
    poke32(core, 0x5ffff8, 0x22222222);
    poke32(core, 0xabcde8, 0x33333333);
    enterLong(core, ROOT);
    expect(read(core, 0x7fff_1234_5008n)).toBe(H_OK);
    expect(core.i32[DATA]).toBe(0x11111111);
    expect(peek64(core, pte) & 0x60n).toBe(0x20n);
    expect(write(core, 0x7fff_1234_5008n)).toBe(H_OK);
    expect(peek64(core, pte) & 0x60n).toBe(0x60n);
    expect(read(core, 0xffff_8000_003f_fff8n)).toBe(H_OK);
    expect(core.i32[DATA]).toBe(0x22222222);
    expect(peek64(core, pde) & 0x60n).toBe(0x20n);
    expect(read(core, 0x40ab_cde8n)).toBe(H_OK);
    expect(core.i32[DATA]).toBe(0x33333333);
    expect(peek64(core, pdpte) & 0x60n).toBe(0x20n);
  });

  it("fills the write tag only once the D bit is set", () => {
    tables.map(0x5000n, 0x300000, P | W | U);
    enterLong(core, ROOT);
    const entry = (core.i32[A.TLB_BASE >>> 2]! + (5 << A.TLB_ENTRY_SHIFT)) >>> 2;
    read(core, 0x5000n);
    expect(core.i32[entry]).toBe(0x5000 | core.i32[A.TLB_CTX >>> 2]!);
    expect(core.i32[entry + 2]).toBe(0);
    write(core, 0x5000n);
    expect(core.i32[entry + 2]).toBe(0x5000 | core.i32[A.TLB_CTX >>> 2]!);
    expect((0x5000 + core.i32[entry + 4]!) >>> 0).toBe(core.arena.ofPhysical(0x300000));
  });

  const cases: [string, bigint, bigint, number, number, number | null][] = [
    // name, leaf flags, upper flags, cpl, CR4, [read, write, fetch error codes follow below]
    ["absent", 0n, 7n, 0, 0, 0],
    ["present", P | W | U, 7n, 3, 0, null],
    ["supervisor page from user", P | W, 7n, 3, 0, 5],
    ["supervisor directory from user", P | W | U, 3n, 3, 0, 5],
    ["reserved bit", P | W | U | (1n << 45n), 7n, 0, 0, 9],
    ["SMAP", P | W | U, 7n, 0, B.CR4_SMAP, 1],
  ];
  for (const [name, flags, upper, cpl, cr4, error] of cases)
    it(`reads with the right error code: ${name}`, () => {
      tables.map(0x5000n, 0x300000, flags, 1, upper);
      enterLong(core, ROOT, cpl, cr4);
      const r = read(core, 0x5abcn);
      if (error === null) expect(r).toBe(H_OK);
      else {
        expect(r).toBe(H_FAULT);
        expect(faultOf(core)).toEqual({ vector: VEC_PF, error, address: 0x5abcn });
      }
    });

  it("refuses writes to read-only pages: from user always, from supervisor under WP", () => {
    tables.map(0x5000n, 0x300000, P | U);
    enterLong(core, ROOT, 3);
    expect(write(core, 0x5000n)).toBe(H_FAULT);
    expect(faultOf(core).error).toBe(7);
    enterLong(core, ROOT, 0);
    expect(write(core, 0x5000n)).toBe(H_FAULT);
    expect(faultOf(core).error).toBe(3);
    core.i32[A.CR0 >>> 2]! &= ~B.CR0_WP;
    updateMode(core);
    expect(write(core, 0x5000n)).toBe(H_OK);
    expect(rmwSlow(core, 0x5000, 0, 4, 0)).toBe(H_OK);
  });

  it("refuses fetches by NX and SMEP, with the I bit where it exists", () => {
    tables.map(0x5000n, 0x300000, P | W | U | NX);
    tables.map(0x6000n, 0x301000, P | W | U);
    enterLong(core, ROOT, 3);
    expect(fetch(core, 0x5000n)).toBe(H_FAULT);
    expect(faultOf(core).error).toBe(0x15);
    expect(fetch(core, 0x6000n)).toBe(H_OK);
    expect(core.i32[A.FETCH_PAGE >>> 2]).toBe(0x6000);
    expect(core.u32[A.FETCH_ARENA >>> 2]).toBe(core.arena.ofPhysical(0x301000));
    enterLong(core, ROOT, 0, B.CR4_SMEP);
    expect(fetch(core, 0x6000n)).toBe(H_FAULT);
    expect(faultOf(core).error).toBe(0x11);
    // Without NXE the bit is reserved, and without SMEP there is no I bit.
    enterLong(core, ROOT, 0, 0, 0);
    expect(fetch(core, 0x5000n)).toBe(H_FAULT);
    expect(faultOf(core).error).toBe(9);
  });

  it("lets STAC through SMAP, and gives each view its own table", () => {
    tables.map(0x5000n, 0x300000, P | W | U);
    enterLong(core, ROOT, 0, B.CR4_SMAP);
    core.i32[A.RFLAGS_SYS >>> 2]! |= 0x40000;
    updateMode(core);
    expect(read(core, 0x5000n)).toBe(H_OK);
    core.i32[A.RFLAGS_SYS >>> 2]! &= ~0x40000;
    updateMode(core);
    expect(read(core, 0x5000n)).toBe(H_FAULT);
  });

  it("refuses non-canonical addresses with #GP", () => {
    enterLong(core, ROOT);
    expect(read(core, 0x8000_0000_0000n)).toBe(H_FAULT);
    expect(faultOf(core).vector).toBe(VEC_GP);
  });

  it("writes nothing of a page-crossing store whose second half faults", () => {
    tables.map(0x5000n, 0x300000, P | W | U);
    enterLong(core, ROOT);
    poke32(core, 0x300ffc, 0x55555555);
    core.i32[DATA] = -1;
    core.i32[DATA + 1] = -1;
    expect(write(core, 0x5ffcn, 8)).toBe(H_FAULT);
    expect(faultOf(core)).toEqual({ vector: VEC_PF, error: 2, address: 0x6000n });
    expect(peek32(core, 0x300ffc)).toBe(0x55555555);
    tables.map(0x6000n, 0x308000, P | W | U);
    core.i32[DATA] = 0x01020304;
    core.i32[DATA + 1] = 0x05060708;
    expect(write(core, 0x5ffen, 8)).toBe(H_OK);
    expect(peek32(core, 0x308000)).toBe(0x07080102);
    expect(read(core, 0x5ffen, 8)).toBe(H_OK);
    expect([core.i32[DATA], core.i32[DATA + 1]]).toEqual([0x01020304, 0x05060708]);
  });

  it("peeks without a trace", () => {
    const pte = tables.map(0x5000n, 0x300000, P | W | U);
    poke32(core, 0x300000, 0x04030201);
    enterLong(core, ROOT);
    const before = core.u8.slice(A.CORE, A.CORE + A.CORE_BYTES);
    expect([...peekLinear(core, 0x5000n, 4)]).toEqual([1, 2, 3, 4]);
    expect(peekLinear(core, 0x5ffen, 16).length).toBe(2);
    expect(peek64(core, pte) & 0x60n).toBe(0n);
    expect(core.u8.slice(A.CORE, A.CORE + A.CORE_BYTES)).toEqual(before);
  });
});

describe("32-bit paging", () => {
  it("translates 4 KiB and 4 MiB pages", () => {
    poke32(core, ROOT + 4, 0x11000 | 7);
    poke32(core, 0x11000 + 5 * 4, 0x300000 | 7);
    poke32(core, ROOT + 8, 0x400000 | 0x87);
    poke32(core, 0x300010, 77);
    poke32(core, 0x7ffff0, 88);
    enterProtected(core, ROOT, 3, B.CR4_PSE);
    expect(read(core, 0x405010n)).toBe(H_OK);
    expect(core.i32[DATA]).toBe(77);
    expect(read(core, 0xbffff0n)).toBe(H_OK);
    expect(core.i32[DATA]).toBe(88);
    expect(peek32(core, ROOT + 8) & 0x60).toBe(0x20);
    expect(read(core, 0xc00000n)).toBe(H_FAULT);
    expect(faultOf(core).error).toBe(4);
  });
});

describe("PAE paging", () => {
  it("walks from the PDPTE registers, and refuses reserved bits in them", () => {
    poke64(core, ROOT, 0x11001n);
    poke64(core, 0x11000 + 8, 0x12007n);
    poke64(core, 0x12000, 0x300007n | NX);
    poke32(core, 0x300020, 99);
    expect(loadPdptes(core, ROOT)).toBe(H_OK);
    enterProtected(core, ROOT, 0, B.CR4_PAE, B.EFER_NXE);
    expect(read(core, 0x200020n)).toBe(H_OK);
    expect(core.i32[DATA]).toBe(99);
    expect(fetch(core, 0x200020n)).toBe(H_FAULT);
    expect(faultOf(core).error).toBe(0x11);
    poke64(core, ROOT, 0x11003n);
    expect(loadPdptes(core, ROOT)).toBe(H_FAULT);
    expect(faultOf(core).vector).toBe(VEC_GP);
  });
});

describe("the bare machine", () => {
  it("sends physical addresses outside RAM to the bus", () => {
    const seen: number[][] = [];
    core.bus = {
      portRead: () => 0,
      portWrite: () => 0,
      memoryRead(c, address, size) {
        seen.push([address, size]);
        c.i32[DATA] = 0x1234;
        return 0;
      },
      memoryWrite(c, address, size) {
        seen.push([address, size, c.i32[DATA]!]);
        return 0;
      },
    };
    tables.map(0x5000n, 0xfee00000, P | W | U);
    enterLong(core, ROOT);
    expect(read(core, 0x5020n)).toBe(H_OK);
    expect(core.i32[DATA]).toBe(0x1234);
    core.i32[DATA] = 7;
    expect(write(core, 0x50b0n)).toBe(H_OK);
    expect(seen).toEqual([
      [0xfee00020, 4],
      [0xfee000b0, 4, 7],
    ]);
    expect(translateWrite(core, 0x5020, 0, 4)).toBe(-2);
  });

  it("rolls back when the bus has no answer yet", () => {
    core.bus = { portRead: () => 1, portWrite: () => 1, memoryRead: () => 1, memoryWrite: () => 1 };
    tables.map(0x5000n, 0xfee00000, P | W | U);
    enterLong(core, ROOT);
    expect(read(core, 0x5020n)).toBe(H_EXIT_AT);
    expect(core.i32[A.EXIT_REASON >>> 2]).toBe(22);
  });
});

describe("random paging structures", () => {
  it("never throw and never give an address outside RAM", () => {
    const arenaEnd = core.arena.ram + core.arena.frames * 4096;
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 2047 }), fc.bigInt({ min: 0n, max: (1n << 64n) - 1n })), {
          maxLength: 64,
        }),
        fc.array(fc.bigInt({ min: 0n, max: (1n << 48n) - 1n }), { minLength: 1, maxLength: 8 }),
        fc.integer({ min: 0, max: 3 }),
        fc.integer(),
        (entries, addresses, cpl, noise) => {
          for (const [slot, value] of entries) {
            // Half of the entries lead to other tables of the four pages.
            const entry = value & 1n ? (value & 0x3000n) | BigInt(ROOT) | 7n : value;
            poke64(core, ROOT + slot * 8, entry);
          }
          if (noise & 1) enterLong(core, ROOT, cpl, noise & 2 ? B.CR4_SMAP : 0);
          else enterProtected(core, ROOT, cpl, noise & 2 ? B.CR4_PSE : 0);
          for (const address of addresses) {
            const hi = noise & 1 ? Number(BigInt.asIntN(48, address) >> 32n) : 0;
            const lo = Number(address & 0xffffffffn) | 0;
            for (const access of [readSlow, writeSlow, rmwSlow]) {
              const r = access(core, lo, hi, 8, 0);
              expect([H_OK, H_FAULT]).toContain(r);
            }
            const at = translateWrite(core, lo, hi, 1);
            if (at >= 0) expect(at >= core.arena.ram && at < arenaEnd).toBe(true);
          }
        },
      ),
      { numRuns: 300, seed: 1 },
    );
  });
});

it("a context number per address space: CR3 loads and epochs change it", () => {
  enterLong(core, ROOT);
  const first = core.i32[A.TLB_CTX >>> 2]!;
  updateMode(core);
  expect(core.i32[A.TLB_CTX >>> 2]).toBe(first);
  setWord(core, A.CR0, core.i32[A.CR0 >>> 2]! & ~B.CR0_WP);
  updateMode(core);
  expect(core.i32[A.TLB_CTX >>> 2]).not.toBe(first);
});

describe("flushes", () => {
  it("INVLPG of one part of a large page drops its other parts", () => {
    tables.map(0x400000n, 0x400000, P | W, 2);
    enterLong(core, ROOT);
    read(core, 0x400000n);
    read(core, 0x5ff000n);
    fetch(core, 0x455000n);
    invalidatePage(core, 0x433000, 0);
    const ctx = core.i32[A.TLB_CTX >>> 2]!;
    for (const page of [0x400000, 0x5ff000]) {
      const entry = (core.i32[A.TLB_BASE >>> 2]! + (((page >>> 12) & 4095) << A.TLB_ENTRY_SHIFT)) >>> 2;
      expect(core.i32[entry]).not.toBe(page | ctx);
    }
    expect(core.i32[A.FETCH_PAGE >>> 2]).toBe(-1);
    const fetches = core.i32[A.COUNT_FETCH_MISS >>> 2]!;
    fetch(core, 0x455000n);
    expect(core.i32[A.COUNT_FETCH_MISS >>> 2]).toBe(fetches + 1);
  });

  it("a CR3 load without PCIDs never sees old translations, also when the numbers run out", () => {
    tables.map(0x5000n, 0x300000, P | W | U);
    const other = new Tables(core, 0x80000);
    other.map(0x5000n, 0x301000, P | W | U);
    poke32(core, 0x300000, 1);
    poke32(core, 0x301000, 2);
    enterLong(core, ROOT);
    for (let n = 0; n < 9000; n++) {
      const even = (n & 1) === 0;
      expect(writeCr3(core, even ? ROOT : 0x80000, 0)).toBe(H_OK);
      read(core, 0x5000n);
      if (core.i32[DATA] !== (even ? 1 : 2)) throw new Error(`stale translation after ${n} loads`);
    }
  });

  it("PCIDs keep translations over loads with bit 63 set, and drop them without", () => {
    tables.map(0x5000n, 0x300000, P | W | U);
    enterLong(core, ROOT, 0, B.CR4_PCIDE);
    writeCr3(core, ROOT | 1, 0);
    read(core, 0x5000n);
    const misses = (): number => core.i32[A.COUNT_DTLB_MISS >>> 2]!;
    const before = misses();
    writeCr3(core, ROOT | 2, 0x80000000 | 0);
    writeCr3(core, ROOT | 1, 0x80000000 | 0);
    read(core, 0x5000n);
    expect(misses()).toBe(before);
    writeCr3(core, ROOT | 1, 0);
    read(core, 0x5000n);
    expect(misses()).toBe(before + 1);
  });

  it("setting FRAME_CODE takes the write tag away, and a store to a translated line asks for a restart", () => {
    tables.map(0x5000n, 0x300000, P | W | U);
    enterLong(core, ROOT);
    write(core, 0x5000n);
    const entry = (core.i32[A.TLB_BASE >>> 2]! + (5 << A.TLB_ENTRY_SHIFT)) >>> 2;
    expect(core.i32[entry + 2]).not.toBe(0);
    const frame = 0x300;
    setFrameAttribute(core, frame, A.FRAME_CODE);
    expect(core.i32[entry + 2]).toBe(0);
    expect(core.i32[entry]).not.toBe(0);
    core.u8[core.arena.codeBitmap + frame * 8] = 2;
    const dropped: number[] = [];
    core.shared.invalidateCode = (at) => dropped.push(at - core.arena.ram);
    expect(write(core, 0x5000n)).toBe(H_OK);
    expect(write(core, 0x5044n)).toBe(H_RESTART);
    expect(dropped).toEqual([0x300044]);
    core.i32[A.MODE >>> 2]! |= MODE_STEP;
    expect(write(core, 0x5044n)).toBe(H_OK);
  });

  it.each([1, 2, 3, 4])(
    "FRAME_CODE takes all write tags of a frame that has %d, also where others were before",
    (count) => {
      const pages = [0x5000n, 0x6000n, 0x7000n, 0x8000n];
      // What lies 16 MiB apart has the same entry.
      for (const page of pages) {
        tables.map(page, 0x300000, P | W | U);
        tables.map(page + 0x1000000n, 0x400000, P | W | U);
      }
      enterLong(core, ROOT);
      const tag = (page: bigint): number =>
        core.i32[(core.i32[A.TLB_BASE >>> 2]! + (Number(page >> 12n) << A.TLB_ENTRY_SHIFT) + A.TLB_WRITE) >>> 2]!;
      // Every entry leads to the frame, then every one elsewhere, then `count` of them to the frame again.
      for (const page of [...pages, ...pages.map((page) => page + 0x1000000n), ...pages.slice(0, count)])
        expect(write(core, page)).toBe(H_OK);
      setFrameAttribute(core, 0x300, A.FRAME_CODE);
      expect(pages.map((page) => tag(page) !== 0)).toEqual(pages.map((_, n) => n >= count));
    },
  );
});

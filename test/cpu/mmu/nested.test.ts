import { beforeEach, describe, expect, it } from "vitest";
import * as A from "../../../cpu/arena.ts";
import {
  type Core,
  DELIVERY_NONROOT,
  EXIT_NESTED_FAULT,
  EXIT_NESTED_MISCONFIG,
  NESTED_EPT,
  NESTED_NPT,
} from "../../../cpu/core.ts";
import { fetchSlow, physicalToArena, readSlow, writeSlow } from "../../../cpu/mmu/access.ts";
import { flushAll } from "../../../cpu/mmu/contexts.ts";
import { updateMode } from "../../../cpu/system/mode.ts";
import { H_EXIT_AT, H_FAULT, H_OK } from "../../../cpu/uops/uop.ts";
import { enterLong, makeMachine, peek64, poke32, poke64, Tables } from "./machine.ts";

const EPT_ROOT = 0x800000;
const DATA = A.BUS_DATA >>> 2;
let core: Core;
let second: Tables;

/** Guest-physical page g is machine page g + 1 MiB. */
const SHIFT = 0x100000;
function mapGuest(gpa: number, flags: bigint): number {
  return second.map(BigInt(gpa), gpa + SHIFT, flags);
}

beforeEach(() => {
  core = makeMachine().core;
  second = new Tables(core, EPT_ROOT);
  core.controls.delivery = DELIVERY_NONROOT;
  core.controls.nestedFormat = NESTED_EPT;
  core.controls.nestedRoot = EPT_ROOT;
});

const qualification = (): number => core.i32[A.EXIT_QUAL >>> 2]!;
const gpa = (): number => core.u32[A.EXIT_GPA >>> 2]!;

describe("EPT under an unpaged guest", () => {
  beforeEach(() => updateMode(core));

  it("translates, and exits with gpa, gla and qualification where nothing is mapped", () => {
    mapGuest(0x5000, 0x37n);
    poke32(core, 0x5010 + SHIFT, 1234);
    expect(readSlow(core, 0x5010, 0, 4, 0)).toBe(H_OK);
    expect(core.i32[DATA]).toBe(1234);
    expect(readSlow(core, 0x6010, 0, 4, 0)).toBe(H_EXIT_AT);
    expect(core.i32[A.EXIT_REASON >>> 2]).toBe(EXIT_NESTED_FAULT);
    expect(gpa()).toBe(0x6010);
    expect(core.u32[A.EXIT_GLA >>> 2]).toBe(0x6010);
    expect(qualification()).toBe(0x181);
  });

  it("refuses writes and fetches that the leaf does not allow", () => {
    mapGuest(0x5000, 0x31n);
    expect(readSlow(core, 0x5000, 0, 4, 0)).toBe(H_OK);
    expect(writeSlow(core, 0x5000, 0, 4, 0)).toBe(H_EXIT_AT);
    expect(qualification()).toBe(0x2 | (1 << 3) | 0x180);
    expect(fetchSlow(core, 0x5000, 0)).toBe(H_EXIT_AT);
    expect(qualification()).toBe(0x4 | (1 << 3) | 0x180);
  });

  it("reports misconfigured entries: write without read, bad memory type, reserved bits", () => {
    for (const flags of [0x32n, 0x17n, 0x37n | (1n << 45n)]) {
      mapGuest(0x5000, flags);
      flushAll(core.shared);
      expect(readSlow(core, 0x5000, 0, 4, 0)).toBe(H_EXIT_AT);
      expect(core.i32[A.EXIT_REASON >>> 2]).toBe(EXIT_NESTED_MISCONFIG);
    }
  });

  it("keeps A and D bits only if asked to, and the write tag waits for D", () => {
    const entry = mapGuest(0x5000, 0x37n);
    readSlow(core, 0x5000, 0, 4, 0);
    expect(peek64(core, entry) & 0x300n).toBe(0n);
    core.controls.nestedAccessedDirty = true;
    flushAll(core.shared);
    readSlow(core, 0x5000, 0, 4, 0);
    expect(peek64(core, entry) & 0x300n).toBe(0x100n);
    writeSlow(core, 0x5000, 0, 4, 0);
    expect(peek64(core, entry) & 0x300n).toBe(0x300n);
  });

  it("gives declared device pages to the bus with guest-physical addresses", () => {
    const seen: number[] = [];
    core.mmio.push(0xfee00000, 0xfee01000);
    core.bus = {
      portRead: () => 0,
      portWrite: () => 0,
      memoryRead: (_c, address) => {
        seen.push(address);
        return 0;
      },
      memoryWrite: () => 0,
    };
    expect(readSlow(core, 0xfee00030 | 0, 0, 4, 0)).toBe(H_OK);
    expect(seen).toEqual([0xfee00030]);
    expect(readSlow(core, 0xfee01030 | 0, 0, 4, 0)).toBe(H_EXIT_AT);
  });

  it("sees a changed p2m after flushAll", () => {
    mapGuest(0x5000, 0x37n);
    poke32(core, 0x5000 + SHIFT, 1);
    poke32(core, 0x300000, 2);
    readSlow(core, 0x5000, 0, 4, 0);
    second.map(0x5000n, 0x300000, 0x37n);
    flushAll(core.shared);
    readSlow(core, 0x5000, 0, 4, 0);
    expect(core.i32[DATA]).toBe(2);
    expect(physicalToArena(core, 0x5008)).toBe(core.arena.ofPhysical(0x300008));
  });
});

describe("both levels", () => {
  /** Guest tables at guest-physical 0x10000.., as bytes at + SHIFT; linear 0x400000 -> gpa 0x20000. */
  beforeEach(() => {
    const table = (at: number, index: number, value: bigint): void => poke64(core, at + SHIFT + index * 8, value);
    table(0x10000, 0, 0x11007n);
    table(0x11000, 0, 0x12007n);
    table(0x12000, 2, 0x13007n);
    table(0x13000, 0, 0x20007n);
    for (const page of [0x11000, 0x12000, 0x13000, 0x20000]) mapGuest(page, 0x37n);
    mapGuest(0x10000, 0x37n);
    poke32(core, 0x20000 + SHIFT, 4321);
    enterLong(core, 0x10000);
  });

  it("compose, under EPT and NPT", () => {
    expect(readSlow(core, 0x400000, 0, 4, 0)).toBe(H_OK);
    expect(core.i32[DATA]).toBe(4321);
    expect(peek64(core, 0x13000 + SHIFT) & 0x60n).toBe(0x20n);
    core.controls.nestedFormat = NESTED_NPT;
    flushAll(core.shared);
    expect(readSlow(core, 0x400000, 0, 4, 0)).toBe(H_OK);
    expect(core.i32[DATA]).toBe(4321);
  });

  it("exit for a page-table page that the second level lacks, not as the final access", () => {
    mapGuest(0x13000, 0n);
    flushAll(core.shared);
    expect(readSlow(core, 0x400123, 0, 4, 0)).toBe(H_EXIT_AT);
    expect(gpa()).toBe(0x13000);
    expect(core.u32[A.EXIT_GLA >>> 2]).toBe(0x400123);
    expect(qualification() & 0x187).toBe(0x81);
  });

  it("exit as a write when the A bit of a read-only table page must be set", () => {
    mapGuest(0x13000, 0x35n);
    flushAll(core.shared);
    expect(readSlow(core, 0x400000, 0, 4, 0)).toBe(H_EXIT_AT);
    expect(qualification() & 0x107).toBe(2);
  });

  it("let the first level fault first", () => {
    expect(readSlow(core, 0x401000, 0, 4, 0)).toBe(H_FAULT);
  });
});

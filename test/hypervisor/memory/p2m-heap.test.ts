import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { NESTED_EPT, NESTED_NPT } from "../../../cpu/core.ts";
import { FREE } from "../../../hypervisor/memory/heap.ts";
import {
  P2M_GRANT_MAP_RO,
  P2M_GRANT_MAP_RW,
  P2M_INVALID,
  P2M_RAM_RO,
  P2M_RAM_RW,
  P2m,
} from "../../../hypervisor/memory/p2m.ts";
import { FakeMachine, MIB } from "../fake-machine.ts";

describe("the heap", () => {
  it("hands out zeroed frames in a fixed order and never frame 0", () => {
    const { hv } = new FakeMachine();
    const a = hv.heap.alloc(1);
    hv.memory.write32(hv.memory.frame(a) + 100, 0xdeadbeef);
    hv.heap.putPage(a);
    expect(hv.heap.ownerOf(a)).toBe(FREE);
    expect(hv.heap.alloc(2)).toBe(a);
    expect(hv.memory.read32(hv.memory.frame(a) + 100)).toBe(0);
    expect(a).not.toBe(0);
  });

  it("keeps a frame alive, owned and unscrubbed while somebody refers to it", () => {
    const { hv } = new FakeMachine();
    const mfn = hv.heap.alloc(1);
    hv.memory.write8(hv.memory.frame(mfn), 7);
    expect(hv.heap.getPage(mfn, 2)).toBe(false);
    expect(hv.heap.getPage(mfn, 1)).toBe(true);
    hv.heap.putPage(mfn);
    expect(hv.heap.ownerOf(mfn)).toBe(1);
    expect(hv.memory.read8(hv.memory.frame(mfn))).toBe(7);
    hv.heap.putPage(mfn);
    expect(hv.heap.ownerOf(mfn)).toBe(FREE);
    expect(hv.heap.ownedBy(1)).toBe(0);
  });

  it("gives aligned superpages, and none when memory is too fragmented, but single frames still", () => {
    const { hv } = new FakeMachine({}, 8 * MIB);
    const got: number[] = [];
    for (let mfn = hv.heap.allocSuperpage(1); mfn >= 0; mfn = hv.heap.allocSuperpage(1)) got.push(mfn);
    expect(got).toEqual([512, 1024, 1536]);
    expect(hv.heap.alloc(1)).toBeGreaterThan(0);
    let singles = 0;
    while (hv.heap.alloc(1) >= 0) singles++;
    expect(singles).toBeGreaterThan(400);
    expect(hv.heap.freeFrames).toBe(0);
  });
});

for (const [name, format] of [
  ["EPT", NESTED_EPT],
  ["NPT", NESTED_NPT],
] as const)
  describe(`the p2m as ${name}`, () => {
    it("gives back what was mapped, with its type", () => {
      const { hv } = new FakeMachine();
      const p2m = new P2m(hv.memory, hv.heap, format, () => {});
      const types = [P2M_RAM_RW, P2M_RAM_RO, P2M_GRANT_MAP_RW, P2M_GRANT_MAP_RO];
      types.forEach((type, i) => {
        expect(p2m.map(0xfee00 + i * 1000, 100 + i, type)).toBe(true);
      });
      types.forEach((type, i) => {
        expect([p2m.lookup(0xfee00 + i * 1000), p2m.typeOf(0xfee00 + i * 1000)]).toEqual([100 + i, type]);
      });
      expect(p2m.typeOf(5)).toBe(P2M_INVALID);
    });

    it("refuses guest frames that four levels can't hold, whatever number it is", () => {
      const { hv } = new FakeMachine();
      const p2m = new P2m(hv.memory, hv.heap, format, () => {});
      for (const gfn of [2 ** 36, 2 ** 52, -1, Number.NaN, Infinity]) {
        expect(p2m.map(gfn, 1, P2M_RAM_RW)).toBe(false);
        expect(p2m.lookup(gfn)).toBe(-1);
        expect(p2m.typeOf(gfn)).toBe(P2M_INVALID);
        expect(p2m.unmap(gfn)).toBe(-1);
      }
    });

    it("splits a superpage when a frame of it changes", () => {
      const { hv } = new FakeMachine();
      let flushes = 0;
      const p2m = new P2m(hv.memory, hv.heap, format, () => flushes++);
      expect(p2m.mapSuperpage(1024, 512, P2M_RAM_RW)).toBe(true);
      expect(p2m.lookup(1024 + 77)).toBe(512 + 77);
      expect(flushes).toBe(0);
      expect(p2m.unmap(1024 + 77)).toBe(512 + 77);
      expect(flushes).toBe(1);
      expect(p2m.lookup(1024 + 77)).toBe(-1);
      expect(p2m.lookup(1024 + 76)).toBe(512 + 76);
      expect(p2m.typeOf(1024 + 511)).toBe(P2M_RAM_RW);
    });

    it("agrees with a plain map, and gives all its tables back", () => {
      const { hv } = new FakeMachine();
      const before = hv.heap.freeFrames;
      fc.assert(
        fc.property(
          fc.array(
            fc.tuple(
              fc.constantFrom(0, 511, 512, 0x40000, 2 ** 27, 2 ** 36 - 1),
              fc.nat(3),
              fc.integer({ min: 1, max: 4000 }),
            ),
          ),
          (steps) => {
            const p2m = new P2m(hv.memory, hv.heap, format, () => {});
            const model = new Map<number, number>();
            for (const [gfn, type, mfn] of steps) {
              if (type === 0) {
                expect(p2m.unmap(gfn)).toBe(model.get(gfn) ?? -1);
                model.delete(gfn);
              } else {
                p2m.map(gfn, mfn, type);
                model.set(gfn, mfn);
              }
            }
            for (const [gfn] of steps) expect(p2m.lookup(gfn)).toBe(model.get(gfn) ?? -1);
            p2m.destroy();
          },
        ),
        { numRuns: 50 },
      );
      expect(hv.heap.freeFrames).toBe(before);
    });
  });

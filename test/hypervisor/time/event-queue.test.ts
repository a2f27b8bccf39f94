import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EventQueue } from "../../../hypervisor/time/event-queue.ts";

describe("the machine's event queue", () => {
  it("fires in the order of cycles, and of scheduling where cycles are equal", () => {
    const seen: string[] = [];
    const q = new EventQueue(() => 0);
    for (const [cycle, name] of [
      [30, "c"],
      [10, "a1"],
      [10, "a2"],
      [20, "b"],
      [10, "a3"],
    ] as const)
      q.schedule(cycle, () => seen.push(name));
    expect(q.next).toBe(10);
    expect(q.run(20)).toBe(4);
    expect(seen).toEqual(["a1", "a2", "a3", "b"]);
    expect(q.next).toBe(30);
  });

  it("fires what an event schedules for the same cycle", () => {
    const seen: number[] = [];
    const q = new EventQueue(() => 0);
    q.schedule(5, () => {
      seen.push(1);
      q.schedule(5, () => seen.push(2));
    });
    q.run(5);
    expect(seen).toEqual([1, 2]);
    expect(q.next).toBe(Infinity);
  });

  it("does not fire what was cancelled, and ignores handles of the past", () => {
    const seen: number[] = [];
    const q = new EventQueue(() => 0);
    const first = q.schedule(1, () => seen.push(1));
    q.cancel(first);
    const second = q.schedule(2, () => seen.push(2));
    q.cancel(first);
    q.cancel(0);
    q.run(10);
    expect(seen).toEqual([2]);
    q.cancel(second);
    expect(q.length).toBe(0);
  });

  it("tells when the first event becomes earlier, and only then", () => {
    let told = 0;
    const q = new EventQueue(
      () => 0,
      () => told++,
    );
    q.schedule(10, () => {});
    q.schedule(20, () => {});
    expect(told).toBe(1);
    q.schedule(5, () => {});
    expect(told).toBe(2);
  });

  it("agrees with a sorted list under any mix of scheduling and cancelling", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(50), fc.boolean(), fc.nat(200)), { maxLength: 300 }), (steps) => {
        const q = new EventQueue(() => 0);
        const fired: number[] = [];
        const model: { cycle: number; id: number; handle: number }[] = [];
        steps.forEach(([cycle, cancel, which], id) => {
          if (cancel && model.length > 0) {
            const [gone] = model.splice(which % model.length, 1);
            q.cancel(gone!.handle);
          } else model.push({ cycle, id, handle: q.schedule(cycle, () => fired.push(id)) });
        });
        q.run(25);
        q.run(100);
        const expected = model.sort((a, b) => a.cycle - b.cycle || a.id - b.id).map((m) => m.id);
        expect(fired).toEqual(expected);
      }),
    );
  });
});

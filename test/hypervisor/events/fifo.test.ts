import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EINVAL } from "../../../hypervisor/abi/errno.ts";
import { EVTCHNOP_init_control } from "../../../hypervisor/abi/evtchn.ts";
import { auditMemory } from "../../../hypervisor/memory/audit.ts";
import { Caller, SCRATCH } from "../calls.ts";
import { FakeMachine } from "../fake-machine.ts";

const CONTROL = 0x10000;
const ARRAY = 0x12000;
const PENDING = 0x80000000;
const MASKED = 0x40000000;
const LINKED = 0x20000000;

/** A guest with the FIFO ABI, that takes events as Linux does. */
class FifoGuest extends Caller {
  static make(): FifoGuest {
    const guest = new FifoGuest(new FakeMachine().domain({ maxVcpus: 2 }));
    expect(guest.evtchn(EVTCHNOP_init_control, [8, CONTROL >> 12], [4, 0], [4, 0], [8, 0])).toBe(0);
    expect(guest.get(SCRATCH + 16, 1)).toBe(17);
    expect(guest.events.initControl(1, CONTROL >> 12, 512)).toBe(0);
    expect(guest.events.expandArray(ARRAY >> 12)).toBe(0);
    return guest;
  }

  word(port: number): number {
    return this.get(ARRAY + 4 * port, 4);
  }

  setWord(port: number, value: number): void {
    this.put(ARRAY + 4 * port, [4, value]);
  }

  /** Takes every event of a vcpu, highest priority first, and clears PENDING: ports in the order of delivery. */
  take(vcpu = 0): number[] {
    const control = CONTROL + 512 * vcpu;
    const taken: number[] = [];
    const heads = new Array<number>(16).fill(0);
    let ready = this.get(control, 4);
    this.put(control, [4, 0]);
    while (ready !== 0) {
      const priority = 31 - Math.clz32(ready & -ready);
      let head = heads[priority]!;
      if (head === 0) head = this.get(control + 8 + 4 * priority, 4);
      const word = this.word(head);
      this.setWord(head, (word & ~(LINKED | 0x1ffff)) >>> 0);
      heads[priority] = word & 0x1ffff;
      if (heads[priority] === 0) ready &= ~(1 << priority);
      if ((word & PENDING) !== 0 && (word & MASKED) === 0) {
        taken.push(head);
        this.setWord(head, (this.word(head) & ~PENDING) >>> 0);
      }
    }
    this.domain.hypervisor.memory.write8(this.domain.vcpus[vcpu]!.info, 0);
    return taken;
  }
}

const ports = (guest: FifoGuest, n: number, vcpu = 0): number[] =>
  Array.from({ length: n }, () => guest.events.bindIpi(vcpu));

describe("the FIFO ABI", () => {
  it("delivers in the order of sending, each port once, and raises the upcall with the first", () => {
    const guest = FifoGuest.make();
    const [a, b, c] = ports(guest, 3) as [number, number, number];
    for (const port of [b, a, b, c, a]) expect(guest.events.send(port)).toBe(0);
    expect(guest.vcpu.upcallPending).toBe(true);
    expect(guest.take()).toEqual([b, a, c]);
    guest.events.send(c);
    expect(guest.take()).toEqual([c]);
  });

  it("delivers by priority first", () => {
    const guest = FifoGuest.make();
    const [a, b, c] = ports(guest, 3) as [number, number, number];
    expect(guest.events.setPriority(c, 0)).toBe(0);
    expect(guest.events.setPriority(b, 15)).toBe(0);
    expect(guest.events.setPriority(b, 16)).toBe(-EINVAL);
    for (const port of [a, b, c]) guest.events.send(port);
    expect(guest.take()).toEqual([c, a, b]);
  });

  it("gives each vcpu queues of its own, and a moved port the new one", () => {
    const guest = FifoGuest.make();
    const port = guest.events.allocUnbound(guest.domain.domid);
    const sender = guest.events.bindInterdomain(guest.events, port);
    guest.take();
    guest.events.send(sender);
    expect(guest.take(1)).toEqual([]);
    expect(guest.take(0)).toEqual([port]);
    guest.events.bindVcpu(port, 1);
    guest.events.send(sender);
    expect([guest.take(0), guest.take(1)]).toEqual([[], [port]]);
  });

  it("does not corrupt a queue when its tail is moved to another after being taken", () => {
    const guest = FifoGuest.make();
    const [a, b] = ports(guest, 2) as [number, number];
    guest.events.send(a);
    guest.take();
    guest.events.setPriority(a, 3);
    guest.events.send(a);
    guest.events.send(b);
    expect(guest.take()).toEqual([a, b]);
  });

  it("links a masked event when it is unmasked", () => {
    const guest = FifoGuest.make();
    const [port] = ports(guest, 1) as [number];
    guest.setWord(port, MASKED);
    guest.events.send(port);
    expect(guest.word(port)).toBe((PENDING | MASKED) >>> 0);
    expect(guest.take()).toEqual([]);
    guest.events.unmask(port);
    expect(guest.take()).toEqual([port]);
  });

  it("keeps events that were pending before the switch, and those whose word is not there yet", () => {
    const guest = new FifoGuest(new FakeMachine().domain());
    const [early, late] = ports(guest, 2) as [number, number];
    guest.events.send(early);
    expect(guest.events.initControl(0, CONTROL >> 12, 0)).toBe(0);
    expect(guest.events.initControl(0, CONTROL >> 12, 0)).toBe(-EINVAL);
    guest.events.send(late);
    expect(guest.take()).toEqual([]);
    expect(guest.events.expandArray(ARRAY >> 12)).toBe(0);
    expect(guest.take()).toEqual([early, late]);
  });

  it("does not use a free port again while its word is linked", () => {
    const guest = FifoGuest.make();
    const [port] = ports(guest, 1) as [number];
    guest.events.send(port);
    guest.events.close(port);
    expect(guest.events.bindIpi(0)).not.toBe(port);
    guest.take();
    expect(guest.events.bindIpi(0)).toBe(port);
  });

  it("gives its pages back with EVTCHNOP_reset", () => {
    const guest = FifoGuest.make();
    expect(auditMemory(guest.domain.hypervisor)).toEqual([]);
    expect(guest.events.frames()).toHaveLength(3);
    guest.events.reset();
    expect(guest.events.usesFifo).toBe(false);
    expect(auditMemory(guest.domain.hypervisor)).toEqual([]);
  });

  it("survives any garbage in event words and control blocks", () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("send" as const), port: fc.integer({ min: 1, max: 6 }) }),
      fc.record({ kind: fc.constant("unmask" as const), port: fc.integer({ min: 0, max: 8 }) }),
      fc.record({ kind: fc.constant("move" as const), port: fc.integer({ min: 1, max: 6 }), to: fc.nat(15) }),
      fc.record({
        kind: fc.constant("word" as const),
        port: fc.nat(8),
        value: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      }),
      fc.record({
        kind: fc.constant("control" as const),
        at: fc.nat(17),
        value: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const guest = FifoGuest.make();
        ports(guest, 6);
        const outside = guest.domain.hypervisor.memory.read(guest.domain.hypervisor.memory.frame(1), 4096);
        for (const s of steps) {
          if (s.kind === "send") guest.events.send(s.port);
          else if (s.kind === "unmask") guest.events.unmask(s.port);
          else if (s.kind === "move") guest.events.setPriority(s.port, s.to);
          else if (s.kind === "word") guest.setWord(s.port, s.value);
          else guest.put(CONTROL + 4 * s.at, [4, s.value]);
        }
        expect(guest.domain.hypervisor.memory.read(guest.domain.hypervisor.memory.frame(1), 4096)).toEqual(outside);
        // Put right again, everything is delivered once more.
        for (let port = 1; port <= 6; port++) guest.setWord(port, 0);
        guest.put(CONTROL, [4, 0]);
        for (let port = 1; port <= 6; port++) guest.events.setPriority(port, 7);
        for (let port = 1; port <= 6; port++) guest.events.send(port);
        expect(guest.take().sort()).toEqual([1, 2, 3, 4, 5, 6]);
      }),
      { numRuns: 60, seed: 1 },
    );
  });
});

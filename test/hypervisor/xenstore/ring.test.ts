import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { inconsistencies } from "../../../hypervisor/xenstore/control.ts";
import * as xs from "../../../hypervisor/xenstore/wire.ts";
import { Xenstore } from "../../../hypervisor/xenstore/xenstore.ts";
import { Guest } from "./guest.ts";

function setUp(): { store: Xenstore; guest: Guest } {
  const store = new Xenstore();
  store.client().mkdir("/local/domain/1");
  store.client().setPerms("/local/domain/1", ["n1"]);
  return { store, guest: Guest.connect(store, 1) };
}

describe("the ring", () => {
  it("puts a reply into the page byte for byte and moves the indices", () => {
    const { store, guest } = setUp();
    store.client().write("/local/domain/1/name", "pvh");
    guest.put(xs.encodeMessage(xs.XS_READ, 0x11223344, 0, xs.bytesOf("name\0")));
    guest.connection.kick();
    expect([...guest.bytes.subarray(1024, 1024 + 19)]).toEqual([
      2, 0, 0, 0, 0x44, 0x33, 0x22, 0x11, 0, 0, 0, 0, 3, 0, 0, 0, 0x70, 0x76, 0x68,
    ]);
    const index = (offset: number): number => guest.view.getUint32(offset, true);
    expect([2048, 2052, 2056, 2060].map(index)).toEqual([21, 21, 0, 19]);
    expect(guest.notified).toBe(1);
  });

  it("takes messages in any pieces, across the wrap of ring and of index", () => {
    const { guest } = setUp();
    guest.view.setUint32(xs.RING_REQ_CONS, 0xfffffff0, true);
    guest.view.setUint32(xs.RING_REQ_PROD, 0xfffffff0, true);
    guest.view.setUint32(xs.RING_RSP_CONS, 0xffffffff, true);
    guest.view.setUint32(xs.RING_RSP_PROD, 0xffffffff, true);
    const value = "v".repeat(700);
    for (const piece of [1, 3, 16, 17, 500]) {
      const bytes = xs.encodeMessage(xs.XS_WRITE, piece, 0, xs.bytesOf(`k${piece}\0${value}`));
      for (let at = 0; at < bytes.length; at += piece) {
        guest.put(bytes.subarray(at, at + piece));
        guest.connection.kick();
      }
      expect(guest.receive().map((m) => [m.requestId, m.text])).toEqual([[piece, "OK\0"]]);
      expect(guest.ask(xs.XS_READ, `k${piece}\0`)).toBe(value);
    }
  });

  it("waits while the response ring is full and never passes the consumer", () => {
    const { guest } = setUp();
    guest.ask(xs.XS_WRITE, `k\0${"0123456789".repeat(80)}`);
    for (let i = 0; i < 40; i++) {
      guest.put(xs.encodeMessage(xs.XS_READ, i, 0, xs.bytesOf("k\0")));
      guest.connection.kick();
    }
    const filled = guest.view.getUint32(xs.RING_RSP_PROD, true) - guest.view.getUint32(xs.RING_RSP_CONS, true);
    expect(filled).toBe(xs.RING_SIZE);
    // 20 replies may wait; the rest of the requests stays in the ring.
    expect(guest.connection.queue.length).toBeLessThanOrEqual(20);
    const found = guest.receive();
    expect(found.map((m) => m.requestId)).toEqual(Array.from({ length: 40 }, (_, i) => i));
    expect(new Set(found.map((m) => m.text.length))).toEqual(new Set([800]));
  });

  it("counts events that another domain has not fetched against the one that caused them", () => {
    const { store, guest } = setUp();
    const slow = Guest.connect(store, 2);
    store.client().setPerms("/local/domain/1", ["n1", "r2"]);
    slow.put(xs.encodeMessage(xs.XS_WATCH, 0, 0, xs.bytesOf("/local/domain/1\0t\0")));
    slow.connection.kick();
    let answered = 0;
    for (let i = 0; i < 200; i++) {
      guest.put(xs.encodeMessage(xs.XS_WRITE, i, 0, xs.bytesOf(`some-long-name-${i}\0v`)));
      answered += guest.receive().length;
    }
    expect(answered).toBeLessThan(60);
    expect(slow.connection.queue.length).toBeLessThanOrEqual(21);
    slow.receive();
    expect(guest.receive().length).toBeGreaterThan(0);
  });

  it("gives up a connection with impossible indices or an oversized message, and says why", () => {
    for (const [offset, value, error] of [
      [xs.RING_REQ_PROD, 1025, xs.RING_ERROR_RINGIDX],
      [xs.RING_REQ_PROD, 0xffffffff, xs.RING_ERROR_RINGIDX],
      [xs.RING_RSP_CONS, 1, xs.RING_ERROR_RINGIDX],
    ] as const) {
      const { store, guest } = setUp();
      guest.send(xs.XS_WATCH, "a\0t\0");
      guest.view.setUint32(xs.RING_RSP_CONS, guest.view.getUint32(xs.RING_RSP_PROD, true), true);
      guest.view.setUint32(offset, (guest.view.getUint32(offset, true) + value) >>> 0, true);
      store.client().write("/local/domain/1/a", "x");
      guest.connection.kick();
      expect(guest.view.getUint32(xs.RING_ERROR, true)).toBe(error);
      expect([guest.connection.ignored, guest.connection.watches, guest.connection.queue]).toEqual([true, [], []]);
      expect(store.client().read("/local/domain/1/a")).toBe("x");
    }
    const { store, guest } = setUp();
    const huge = new Uint8Array(16);
    new DataView(huge.buffer).setUint32(12, xs.PAYLOAD_MAX + 1, true);
    guest.put(huge);
    guest.connection.kick();
    expect(guest.view.getUint32(xs.RING_ERROR, true)).toBe(xs.RING_ERROR_PROTO);
    // Introduced again, it works again.
    guest.connection = store.connect(1, guest);
    expect(guest.ask(xs.XS_GET_DOMAIN_PATH, "1\0")).toBe("/local/domain/1\0");
  });

  it("takes a payload of exactly 4096 bytes and an empty one", () => {
    const { guest } = setUp();
    expect(guest.ask(xs.XS_READ, "x".repeat(4096))).toBe("EINVAL\0");
    expect(guest.ask(xs.XS_READ, "")).toBe("EINVAL\0");
  });

  it("survives any page and any signals without harm to the store or to others (fuzz)", () => {
    const poke = fc.oneof(
      fc.record({ offset: fc.constantFrom(2048, 2052, 2056, 2060, 2068, 2072), value: fc.integer() }),
      fc.record({ offset: fc.integer({ min: 0, max: 4092 }), value: fc.integer() }),
    );
    const message = fc.record({
      type: fc.integer({ min: 0, max: 24 }),
      tx: fc.integer({ min: 0, max: 3 }),
      text: fc.oneof(
        fc.constantFrom("a\0", "a/b\0v", "a\0t\0", "T\0", "a\0n1\0r2\0", "@releaseDomain\0x\0", "/\0", "1\0", "\0"),
        fc.string({ maxLength: 40 }),
      ),
    });
    const action = fc.oneof(
      { weight: 6, arbitrary: fc.record({ message }) },
      { weight: 1, arbitrary: fc.record({ poke }) },
      { weight: 2, arbitrary: fc.record({ raw: fc.uint8Array({ maxLength: 64 }) }) },
      { weight: 1, arbitrary: fc.constant({ reconnect: true as const }) },
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
        const { store, guest } = setUp();
        const other = Guest.connect(store, 2);
        store.client().write("/private", "secret");
        for (const each of actions) {
          if ("message" in each) {
            const { type, tx, text } = each.message;
            guest.put(xs.encodeMessage(type, 1, tx, xs.bytesOf(text)));
          } else if ("poke" in each) guest.view.setInt32(each.poke.offset, each.poke.value, true);
          else if ("raw" in each) guest.put(each.raw.subarray(0, Math.min(each.raw.length, 64)));
          else guest.connection = store.connect(1, guest);
          guest.connection.kick();
          if (
            (guest.view.getInt32(xs.RING_RSP_PROD, true) - guest.view.getInt32(xs.RING_RSP_CONS, true)) >>> 0 <=
            1024
          ) {
            guest.drain();
          }
          guest.connection.kick();
        }
        expect(other.ask(xs.XS_GET_DOMAIN_PATH, "2\0")).toBe("/local/domain/2\0");
        expect(store.client().read("/private")).toBe("secret");
        expect(inconsistencies(store)).toEqual([]);
        const { account, queue, watches } = guest.connection;
        expect(account.watches).toBe(watches.length);
        expect(queue.length).toBeLessThan(64);
        expect(account.outstanding).toBe(new Set(queue.flatMap((m) => m.request ?? [])).size);
        store.domainDestroyed(1);
        expect(inconsistencies(store)).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });
});

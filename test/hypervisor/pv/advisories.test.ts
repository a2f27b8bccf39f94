/** What PV guests have once been able to do to Xen, by the number of the advisory: each is refused, and the books stay right. */

import { afterEach, describe, expect, it } from "vitest";
import { EFAULT, EINVAL } from "../../../hypervisor/abi/errno.ts";
import { destroyDomain } from "../../../hypervisor/domain/create.ts";
import { grantsOf } from "../../../hypervisor/grants/grants.ts";
import { auditMemory } from "../../../hypervisor/memory/audit.ts";
import { KEEP_REGISTERS } from "../../../hypervisor/pv/hypercall-table.ts";
import type { Field } from "../calls.ts";
import { A, D, FREE, L1, L2, L3, L4, LIST, P, PvCaller, pvMachine, RO, RW, RWX, SCRATCH, US } from "./pv-caller.ts";
import { CODE, OWN, PvGuest, USER_STACK } from "./pv-guest.ts";

const XEN_AREA = 0xffff_8300_0000_0000n;
const NON_CANONICAL = 0x8000_0000_0000n;
const PSE = 0x80;
/** The last page of a PvCaller's domain. */
const LAST = 127;

let c: PvCaller;
const machine = (type: "pv" | "pv32" = "pv"): PvCaller => {
  c = pvMachine({ type });
  return c;
};
afterEach(() => {
  expect(auditMemory(c.hv)).toEqual([]);
});

const memory = (command: number, ...fields: Field[]): number => {
  c.write(SCRATCH, ...fields);
  return c.call(12, command, c.at(SCRATCH));
};
const reservation = (list: bigint, count: bigint | number, order: number): Field[] => [
  [8, list],
  [8, count],
  [4, order],
  [4, 0],
  [2, 0x7ff0],
  [6, 0],
];

describe("page tables", () => {
  it("148: an L2 entry that is there does not become a superpage by a change of its flags", () => {
    machine();
    const entry = c.get(L2, 0);
    for (const flags of [PSE, PSE | D]) expect(c.set(L2, 0, entry | BigInt(flags))).toBe(-EINVAL);
    expect(c.set(L2, 0, entry | BigInt(PSE), 2)).toBe(-EINVAL);
    expect(c.get(L2, 0)).toBe(entry);
  });

  it.each([
    ["L4", L4],
    ["L3", L3],
    ["L2", L2],
  ])("182: a linear entry of an %s does not become writable by a change of its flags", (_name, table) => {
    machine();
    expect(c.set(table, 300, c.entry(table, RO))).toBe(0);
    for (const command of [0, 2]) expect(c.set(table, 300, c.entry(table, RWX), command)).toBe(-EINVAL);
    expect(c.get(table, 300) & BigInt(RW)).toBe(0n);
  });

  it("185: the L3 of a 32-bit guest does not lead to itself, nor to another L3", () => {
    machine("pv32");
    for (const flags of [P, P | RW]) expect(c.set(L3, 0, c.entry(L3, flags))).toBe(-EINVAL);
  });

  it("240, 299: tables that lead to each other go one after the other, and leave nothing", () => {
    machine();
    const tables = [FREE, FREE + 1, FREE + 2];
    for (const t of tables) c.protect(t);
    for (const t of tables) expect(c.ext(3, c.mfn(t))).toBe(0);
    expect(c.set(FREE, 5, c.entry(FREE + 1, RO))).toBe(0);
    // A chain, a circle, and a writable way in.
    expect(c.set(FREE + 1, 5, c.entry(FREE + 2, RO))).toBe(-EINVAL);
    expect(c.set(FREE + 1, 5, c.entry(FREE, RO))).toBe(-EINVAL);
    expect(c.set(FREE + 2, 5, c.entry(FREE + 1, RWX))).toBe(-EINVAL);
    expect(c.ext(4, c.mfn(FREE + 1))).toBe(0);
    // It is still led to: it can't be anything else.
    expect(c.protect(FREE + 1, RWX)).toBe(-16);
    expect(c.ext(4, c.mfn(FREE))).toBe(0);
    expect(c.protect(FREE + 1, RWX)).toBe(0);
  });

  it("242: a table that is given up in many ways at once counts to nothing", () => {
    machine();
    c.protect(FREE);
    expect(c.set(L2, 7, c.entry(FREE, RWX))).toBe(0);
    expect(c.set(L2, 8, c.entry(FREE, RWX))).toBe(0);
    expect(c.ext(0, c.mfn(FREE))).toBe(0);
    expect(c.set(FREE, 0, c.entry(FREE + 1, RWX))).toBe(0);
    expect(c.ext(4, c.mfn(FREE))).toBe(0);
    expect(c.set(L2, 7, 0n)).toBe(0);
    expect(c.set(L2, 8, 0n)).toBe(0);
    expect(c.hv.pageTypes.counts[c.mfn(FREE)]).toBe(0);
    expect(c.hv.pageTypes.counts[c.mfn(FREE + 1)]).toBe(1);
    expect(c.protect(FREE, RWX)).toBe(0);
  });

  it("402: no caching attribute of the guest's choice", () => {
    machine();
    for (const flag of [0x08, 0x10, PSE]) expect(c.set(L1, FREE, c.entry(FREE, P | US | A | flag))).toBe(-EINVAL);
    for (const flag of [PSE]) expect(c.set(L3, 1, c.entry(L2, RWX | flag))).toBe(-EINVAL);
  });

  it("45, 348: many levels of tables are pinned and given up in one call", () => {
    machine();
    const [top, middle, low, leaf] = [FREE, FREE + 1, FREE + 2, FREE + 3];
    for (let n = 0; n < 512; n++) {
      c.put(leaf, n, c.entry(FREE + 4, RWX));
      c.put(low, n, c.entry(leaf, RWX));
      c.put(middle, n, c.entry(low, RWX));
      if (n < 256) c.put(top, n, c.entry(middle, RWX));
    }
    for (const t of [top, middle, low, leaf]) c.protect(t);
    expect(c.ext(3, c.mfn(top))).toBe(0);
    expect(c.hv.pageTypes.counts[c.mfn(leaf)]).toBe(512);
    expect(auditMemory(c.hv)).toEqual([]);
    expect(c.ext(4, c.mfn(top))).toBe(0);
    expect(c.hv.pageTypes.counts[c.mfn(leaf)]).toBe(0);
  });
});

describe("addresses", () => {
  it("279: flushes of addresses that can't be do nothing", () => {
    machine();
    for (const address of [NON_CANONICAL, XEN_AREA, 0xffff_ffff_ffff_ffffn]) {
      for (const command of [7, 9, 11]) {
        c.put(SCRATCH, 0, 3n);
        expect(c.ext(command, address, c.at(SCRATCH))).toBe(0);
      }
      for (const flags of [2n, 6n]) expect(c.call(14, address, 0n, flags)).toBe(-EINVAL);
    }
  });

  it.each([XEN_AREA, NON_CANONICAL, 0xffff_8000_0000_0000n, 0xffff_8200_0000_0000n])(
    "29, 212: no list and no structure lies at 0x%s",
    (address) => {
      machine();
      const mine = reservation(c.at(LIST), 1, 0);
      c.put(LIST, 0, BigInt(c.mfn(FREE)));
      expect(memory(11, ...reservation(address, 1, 0), ...mine, [8, 0])).toBe(-EFAULT);
      expect(memory(11, ...mine, ...reservation(address, 1, 0), [8, 0])).toBe(-EFAULT);
      // Far into a list that begins in the guest's half.
      const far = (2n ** 61n - 1n) & ((address - c.at(LIST)) >> 3n);
      expect(
        memory(11, ...reservation(c.at(LIST), far + 1n, 0), ...reservation(c.at(LIST), far + 1n, 0), [8, far]),
      ).not.toBe(0);
      for (const [number, ...args] of [
        [1, address, 1, 0, 0x7ff0],
        [26, address, 1, 0, 0x7ff0],
        [13, address, 1],
        [2, address, 512],
        [0, address],
        [12, 11, address],
        [20, 0, address, 1],
        [32, 4, address],
        [24, 4, 0, address],
        [29, 3, address],
        [33, 7, address],
        [17, 1, address],
        [30, 0, address],
      ] as const)
        expect(c.call(number, ...args), `hypercall ${number}`).toBe(-EFAULT);
      expect(c.hv.heap.ownerOf(c.mfn(FREE))).toBe(c.domain.domid);
    },
  );

  it("192: segment bases and callbacks are canonical", () => {
    machine();
    for (const which of [0, 1, 2]) expect(c.call(25, which, NON_CANONICAL)).toBe(-EINVAL);
    c.write(LIST, [2, 0], [2, 0], [4, 0], [8, NON_CANONICAL]);
    expect(c.call(30, 0, c.at(LIST))).toBe(-EINVAL);
  });
});

describe("sizes", () => {
  it.each([10, 18, 30, 52, 63, 64, 0x7fff_ffff, 0xffff_ffff])("31: extents of order %i are none", (order) => {
    machine();
    const before = c.hv.heap.freeFrames;
    for (const command of [0, 1, 6]) {
      c.put(LIST, 0, BigInt(c.mfn(FREE)));
      const rc = memory(command, ...reservation(c.at(LIST), 1, order));
      expect(rc <= 0).toBe(true);
    }
    expect(c.hv.heap.freeFrames).toBe(before);
  });

  it("as many extents, requests and entries as there can be end at the first that is not there", () => {
    machine();
    for (const count of [0x7fff_ffffn, 0xffff_ffffn, 2n ** 63n])
      expect(memory(6, ...reservation(c.at(LIST), count, 0))).not.toBe(count);
    expect(c.call(2, c.at(LIST), 8192)).toBe(-EINVAL);
    expect(c.call(13, c.at(LAST, 4096 - 64), 0xffff_ffff)).toBe(-EFAULT);
  });
});
describe("the rest", () => {
  it("213: what follows an iret in a multicall is not done", () => {
    const g = new PvGuest();
    c = g.p;
    const entry = (op: number, ...args: (bigint | number)[]): Field[] =>
      [op, 0, ...args, 0, 0, 0, 0, 0, 0].slice(0, 8).map((value): Field => [8, value]);
    c.write(LIST, ...entry(23), ...entry(14, c.at(OWN), 0, 0));
    g.iret(c.at(CODE), c.at(USER_STACK, 4096));
    expect(c.call(13, c.at(LIST), 2)).toBe(KEEP_REGISTERS);
    expect(c.vcpu.pv!.kernelMode).toBe(false);
    expect(c.get(L1, OWN) & 1n).toBe(1n);
  });

  it("227: a grant is not mapped into half of two entries", () => {
    machine();
    const other = new PvCaller({ hv: c.hv });
    grantsOf(other.domain)!.table.grow(1);
    const { frames } = grantsOf(other.domain)!.table;
    const at = c.hv.memory.frame(frames[0]!) + 8 * 8;
    c.hv.memory.write16(at + 2, c.domain.domid);
    c.hv.memory.write32(at + 4, other.mfn(FREE));
    c.hv.memory.write16(at, 1);
    for (const offset of [1n, 2n, 4n, 7n]) {
      const pte = (BigInt(c.mfn(L1)) << 12n) + BigInt(FREE * 8) + offset;
      c.write(SCRATCH, [8, pte], [4, 18], [4, 8], [2, other.domain.domid], [2, 0], [4, 0], [8, 0]);
      expect(c.call(20, 0, c.at(SCRATCH), 1)).toBe(0);
      expect(c.get32(SCRATCH, 16) >> 16).toBeLessThan(0);
    }
  });

  it("188: a FIFO control block that was refused leaves the channels as they were", () => {
    machine();
    const init = (mfn: number, offset: number): number => {
      c.write(SCRATCH, [8, mfn], [4, offset], [4, 0], [8, 0]);
      return c.call(32, 11, c.at(SCRATCH));
    };
    expect(init(c.mfn(FREE), 4096 - 64)).toBe(-EINVAL);
    expect(init(c.mfn(FREE), 3)).toBe(-EINVAL);
    expect(init(c.mfn(L1), 0)).toBe(-EINVAL);
    expect(init(c.mfn(FREE), 0)).toBe(0);
    expect(init(c.mfn(FREE + 1), 0)).not.toBe(0);
    c.write(SCRATCH, [2, 0x7ff0], [2, 0]);
    expect(c.call(32, 10, c.at(SCRATCH))).toBe(0);
  });

  it("296: a vcpu is initialised once, and another vcpu's table goes with it", () => {
    machine();
    c.put(FREE, 512 / 8, 4n);
    c.put(FREE + 1, (5008 - 4096) / 8, BigInt(c.mfn(L4)) << 12n);
    expect(c.call(24, 0, 1, c.at(FREE))).toBe(0);
    expect(c.call(24, 0, 1, c.at(FREE))).toBe(-17);
    expect(c.hv.pageTypes.counts[c.mfn(L4)]).toBeGreaterThan(1);
    destroyDomain(c.domain);
  });
});

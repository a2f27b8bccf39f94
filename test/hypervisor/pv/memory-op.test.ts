import { describe, expect, it } from "vitest";
import { EACCES, EFAULT, EINVAL, ENOSYS, EPERM, ESRCH } from "../../../hypervisor/abi/errno.ts";
import * as M from "../../../hypervisor/abi/memory.ts";
import { DOMID_SELF } from "../../../hypervisor/abi/xen.ts";
import type { Field } from "../calls.ts";
import { FREE, L1, type PvCaller, pvMachine, RWX, SCRATCH } from "./pv-caller.ts";

const HYPERVISOR_memory_op = 12;
/** A page for lists of frames, beside that of structures. */
const FRAMES = 10;

function memory(c: PvCaller, command: number, ...fields: Field[]): number {
  c.write(SCRATCH, ...fields);
  return c.call(HYPERVISOR_memory_op, command, c.at(SCRATCH));
}
const reservation = (c: PvCaller, count: number, order = 0, domid = DOMID_SELF): Field[] =>
  c.domain.pv!.is32bit
    ? [
        [4, c.at(FRAMES)],
        [4, count],
        [4, order],
        [4, 0],
        [4, domid],
      ]
    : [
        [8, c.at(FRAMES)],
        [8, count],
        [4, order],
        [4, 0],
        [8, domid],
      ];
const list = (c: PvCaller, ...frames: (number | bigint)[]): void =>
  c.write(FRAMES, ...frames.map((f): Field => [c.domain.pv!.is32bit ? 4 : 8, f]));

describe("reservations of PV guests", () => {
  it("populating gives machine frames, and tells the machine-to-phys table", () => {
    const c = pvMachine();
    list(c, 500, 2n ** 64n - 1n);
    expect(memory(c, M.XENMEM_populate_physmap, ...reservation(c, 2))).toBe(2);
    const [a, b] = [Number(c.get(FRAMES, 0)), Number(c.get(FRAMES, 1))];
    expect(c.hv.heap.ownerOf(a)).toBe(c.domain.domid);
    expect([c.hv.m2p!.get(a), c.hv.m2p!.get(b)]).toEqual([500, -1]);
    expect(c.set(L1, 300, (BigInt(a) << 12n) | BigInt(RWX))).toBe(0);
  });

  it("extents are contiguous and aligned", () => {
    const c = pvMachine();
    list(c, 512);
    expect(memory(c, M.XENMEM_populate_physmap, ...reservation(c, 1, 4))).toBe(1);
    const first = Number(c.get(FRAMES, 0));
    expect(first % 16).toBe(0);
    for (let n = 0; n < 16; n++)
      expect([c.hv.heap.ownerOf(first + n), c.hv.m2p!.get(first + n)]).toEqual([c.domain.domid, 512 + n]);
  });

  it("increasing gives frames without pfns, with or without a list", () => {
    const c = pvMachine();
    expect(memory(c, M.XENMEM_increase_reservation, ...reservation(c, 2))).toBe(2);
    expect(c.hv.m2p!.get(Number(c.get(FRAMES, 1)))).toBe(-1);
    const before = c.domain.totalPages;
    expect(memory(c, M.XENMEM_increase_reservation, [8, 0], [8, 3], [8, 0], [8, DOMID_SELF])).toBe(3);
    expect(c.domain.totalPages).toBe(before + 3);
  });

  it("a frame that is given back while it is mapped stays until the mapping goes", () => {
    const c = pvMachine();
    const mfn = c.mfn(FREE);
    list(c, mfn, mfn);
    expect(memory(c, M.XENMEM_decrease_reservation, ...reservation(c, 2))).toBe(2);
    expect(c.hv.heap.ownerOf(mfn)).toBe(c.domain.domid);
    expect(c.call(14, c.at(FREE), 0n, 0)).toBe(0);
    expect(c.hv.heap.ownerOf(mfn)).toBe(-1);
    expect(c.hv.m2p!.get(mfn)).toBe(-1);
    expect(memory(c, M.XENMEM_decrease_reservation, ...reservation(c, 1))).toBe(0);
  });

  it("stop at frames that are not the domain's, and at the domain's maximum", () => {
    const c = pvMachine();
    list(c, c.mfn(FREE), 0, c.mfn(FREE + 1));
    expect(memory(c, M.XENMEM_decrease_reservation, ...reservation(c, 3))).toBe(1);
    list(c, 2n ** 60n);
    expect(memory(c, M.XENMEM_decrease_reservation, ...reservation(c, 1))).toBe(0);
    expect(memory(c, M.XENMEM_populate_physmap, ...reservation(c, 1, 10))).toBe(0);
    c.domain.maxPages = c.domain.totalPages;
    expect(memory(c, M.XENMEM_increase_reservation, ...reservation(c, 1))).toBe(0);
  });

  it("a freed frame is given to nobody before all translations of it are gone", () => {
    const c = pvMachine();
    c.domain.maxPages = 10_000;
    list(c, c.mfn(FREE));
    expect(c.call(14, c.at(FREE), 0n, 0)).toBe(0);
    expect(memory(c, M.XENMEM_decrease_reservation, ...reservation(c, 1))).toBe(1);
    const before = c.vcpu.pv!.tlbStamp;
    list(c, 77);
    expect(memory(c, M.XENMEM_populate_physmap, ...reservation(c, 1))).toBe(1);
    expect(Number(c.get(FRAMES, 0))).toBe(c.mfn(FREE));
    expect(c.vcpu.pv!.tlbStamp).toBeGreaterThan(before);
  });

  it("in the 32-bit layout", () => {
    const c = pvMachine({ type: "pv32" });
    list(c, 500);
    expect(memory(c, M.XENMEM_populate_physmap, ...reservation(c, 1))).toBe(1);
    expect(c.hv.m2p!.get(c.get32(FRAMES, 0))).toBe(500);
  });
});

describe("exchanging frames", () => {
  const OUT = 11;
  const exchange = (c: PvCaller, ins: number[], inOrder: number, outs: number[], outOrder: number): number => {
    list(c, ...ins);
    c.write(OUT, ...outs.map((f): Field => [8, f]));
    return memory(
      c,
      M.XENMEM_exchange,
      ...reservation(c, ins.length, inOrder),
      [8, c.at(OUT)],
      [8, outs.length],
      [4, outOrder],
      [4, 0],
      [8, DOMID_SELF],
      [8, 0],
    );
  };
  const unmap = (c: PvCaller, ...pages: number[]): void => {
    for (const page of pages) expect(c.call(14, c.at(page), 0n, 0)).toBe(0);
  };
  const exchanged = (c: PvCaller): number => c.get32(SCRATCH, 64);

  it("four single ones against a block", () => {
    const c = pvMachine();
    const pages = [0, 1, 2, 3].map((n) => FREE + n);
    unmap(c, ...pages);
    const before = c.domain.totalPages;
    expect(
      exchange(
        c,
        pages.map((p) => c.mfn(p)),
        0,
        [900],
        2,
      ),
    ).toBe(0);
    const block = Number(c.get(OUT, 0));
    expect([block % 4, exchanged(c), c.hv.m2p!.get(block + 3)]).toEqual([0, 4, 903]);
    expect(c.domain.totalPages).toBe(before);
    expect(exchange(c, [block], 2, [900, 901, 902, 903], 0)).toBe(0);
    expect(c.hv.m2p!.get(Number(c.get(OUT, 3)))).toBe(903);
  });

  it("not those that are mapped, pinned, named twice or another's", () => {
    const c = pvMachine();
    unmap(c, FREE);
    const mfn = c.mfn(FREE);
    expect(exchange(c, [c.mfn(FREE + 1)], 0, [1], 0)).toBe(-EINVAL);
    expect(exchange(c, [0], 0, [1], 0)).toBe(-EINVAL);
    expect(exchange(c, [mfn, mfn], 0, [1], 1)).toBe(-EINVAL);
    expect(exchange(c, [c.domain.sharedInfoMfn], 0, [1], 0)).toBe(-EINVAL);
    expect(exchange(c, [mfn], 0, [1], 1)).toBe(-EINVAL);
    expect(exchange(c, [mfn], 10, [1], 10)).toBe(-EPERM);
    expect(exchanged(c)).toBe(0);
    expect(c.hv.heap.ownerOf(mfn)).toBe(c.domain.domid);
  });
});

describe("questions", () => {
  it("where the machine-to-phys table is", () => {
    const c = pvMachine();
    expect(memory(c, M.XENMEM_machphys_mapping)).toBe(0);
    expect([c.get(SCRATCH, 0), c.get(SCRATCH, 1), c.get(SCRATCH, 2)]).toEqual([
      0xffff800000000000n,
      0xffff804000000000n,
      0x7ffffffffn,
    ]);
    expect(memory(c, M.XENMEM_machphys_mfn_list, [8, 8], [8, c.at(FRAMES)], [8, 0])).toBe(0);
    expect(c.get32(SCRATCH, 16)).toBe(Math.ceil(c.hv.m2p!.frames.length / 512));
    expect(Number(c.get(FRAMES, 0))).toBe(c.hv.m2p!.frames[0]);
  });

  it("what has no sense for PV guests answers as Xen does", () => {
    const c = pvMachine();
    expect(memory(c, M.XENMEM_machine_memory_map)).toBe(-EPERM);
    expect(memory(c, M.XENMEM_memory_map, [8, 1], [8, c.at(FRAMES)])).toBe(-ENOSYS);
    expect(memory(c, M.XENMEM_add_to_physmap, [2, DOMID_SELF], [2, 0], [4, 0], [8, 0], [8, 5])).toBe(-EACCES);
    expect(memory(c, M.XENMEM_add_to_physmap, [2, 99], [2, 0], [4, 0], [8, 0], [8, 5])).toBe(-ESRCH);
    expect(memory(c, M.XENMEM_add_to_physmap_batch, [2, DOMID_SELF], [2, 0], [4, 1])).toBe(-EACCES);
    expect(memory(c, M.XENMEM_remove_from_physmap, [8, DOMID_SELF], [8, 5])).toBe(-EACCES);
    expect(memory(c, M.XENMEM_set_pod_target, [8, 0], [8, 0], [8, 0], [8, 0], [8, DOMID_SELF])).toBe(-EINVAL);
    expect(memory(c, M.XENMEM_acquire_resource, [2, DOMID_SELF], [2, 1], [4, 0], [4, 1], [4, 0], [8, 0])).toBe(-EPERM);
    expect(c.call(HYPERVISOR_memory_op, M.XENMEM_machphys_mfn_list, 0xffff800000000000n)).toBe(-EFAULT);
  });
});

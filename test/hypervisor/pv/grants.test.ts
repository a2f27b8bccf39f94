import { describe, expect, it } from "vitest";
import * as G from "../../../hypervisor/abi/grant.ts";
import { destroyDomain } from "../../../hypervisor/domain/create.ts";
import { type Grants, grantsOf } from "../../../hypervisor/grants/grants.ts";
import { PGT_writable_page } from "../../../hypervisor/memory/page-types.ts";
import type { Field } from "../calls.ts";
import { FakeMachine, MIB } from "../fake-machine.ts";
import { FREE, L1, P, PvCaller, pvMachine, RW, RWX, SCRATCH, US } from "./pv-caller.ts";

const HYPERVISOR_grant_table_op = 20;
const HOST = G.GNTMAP_host_map;
const DEVICE = G.GNTMAP_device_map;
const RO = G.GNTMAP_readonly;
/** Entries of the L1 that nothing is in. */
const WINDOW = 300;

const grants = (c: PvCaller): Grants => grantsOf(c.domain)!;

class Pair {
  readonly machine = new FakeMachine({}, 64 * MIB);
  readonly a: PvCaller = new PvCaller(this.machine);
  readonly b: PvCaller = new PvCaller(this.machine);

  /** `a` grants page `page` to `b` by reference `ref`. */
  offer(ref: number, page: number, flags = G.GTF_permit_access): void {
    const { table } = grants(this.a);
    table.grow(1);
    const at = this.machine.hv.memory.frame(table.frames[0]!) + ref * 8;
    this.machine.hv.memory.write16(at + 2, this.b.domain.domid);
    this.machine.hv.memory.write32(at + 4, this.a.mfn(page));
    this.machine.hv.memory.write16(at, flags);
  }

  map(ref: number, address: bigint, flags: number): [status: number, handle: number] {
    op(
      this.b,
      G.GNTTABOP_map_grant_ref,
      [8, address],
      [4, flags],
      [4, ref],
      [2, this.a.domain.domid],
      [2, 0],
      [4, 0],
      [8, 0],
    );
    return [status(this.b, 18), this.b.get32(SCRATCH, 20)];
  }

  unmap(handle: number, address: bigint, bus = 0n): number {
    op(this.b, G.GNTTABOP_unmap_grant_ref, [8, address], [8, bus], [4, handle], [4, 0]);
    return status(this.b, 20);
  }
}

function op(c: PvCaller, command: number, ...fields: Field[]): void {
  c.write(SCRATCH, ...fields);
  expect(c.call(HYPERVISOR_grant_table_op, command, c.at(SCRATCH), 1)).toBe(0);
}
const status = (c: PvCaller, offset: number): number => (c.get32(SCRATCH, offset) << 16) >> 16;
const references = (p: Pair, page: number): number[] => {
  const mfn = p.a.mfn(page);
  const { counts } = p.machine.hv.pageTypes;
  return [p.machine.hv.heap.referencesOf(mfn), counts[mfn]!];
};

describe("grants of PV guests", () => {
  it("are mapped at a linear address, with rights and references as the grant says", () => {
    const p = new Pair();
    p.offer(8, FREE);
    expect(references(p, FREE)).toEqual([2, 1]);
    const [rc, handle] = p.map(8, p.b.at(WINDOW), HOST);
    expect(rc).toBe(0);
    const entry = p.b.get(L1, WINDOW);
    expect(entry & 0xffffffffffn).toBe((BigInt(p.a.mfn(FREE)) << 12n) | BigInt(RWX));
    expect(entry >> 52n).toBe(0x801n);
    expect(references(p, FREE)).toEqual([4, 3]);
    expect(p.unmap(handle, p.b.at(WINDOW))).toBe(0);
    expect(references(p, FREE)).toEqual([2, 1]);
    expect(p.b.get(L1, WINDOW)).toBe(0n);
    expect(p.unmap(handle, p.b.at(WINDOW))).toBe(G.GNTST_bad_handle);
  });

  it("by the machine address of an entry of an own L1, and nowhere else", () => {
    const p = new Pair();
    p.offer(8, FREE);
    const pte = (page: number, index: number): bigint => (BigInt(p.b.mfn(page)) << 12n) + BigInt(index * 8);
    const how = HOST | G.GNTMAP_contains_pte | G.GNTMAP_application_map;
    const [rc, handle] = p.map(8, pte(L1, WINDOW), how);
    expect([rc, p.b.get(L1, WINDOW) & 0x107n]).toEqual([0, BigInt(P | RW | US | 0x100)]);
    expect(p.unmap(handle, pte(L1, WINDOW))).toBe(0);
    for (const bad of [pte(L1, WINDOW) + 4n, pte(FREE, 0), pte(3, 0), BigInt(p.a.mfn(L1)) << 12n, 2n ** 60n])
      expect(p.map(8, bad, how)[0]).toBe(G.GNTST_general_error);
    expect(p.map(8, 0xffff800000000000n, HOST)[0]).toBe(G.GNTST_general_error);
    expect(references(p, FREE)).toEqual([2, 1]);
  });

  it("of a page table are read-only or nothing", () => {
    const p = new Pair();
    p.offer(8, L1);
    expect(p.map(8, p.b.at(WINDOW), HOST)[0]).toBe(G.GNTST_general_error);
    const [rc, handle] = p.map(8, p.b.at(WINDOW), HOST | RO);
    expect(rc).toBe(0);
    expect(p.unmap(handle, p.b.at(WINDOW))).toBe(0);
    // And a page that another domain writes to can't become a table.
    p.offer(9, FREE);
    p.map(9, p.b.at(WINDOW), HOST);
    expect(p.a.protect(FREE)).toBe(0);
    expect(p.a.ext(0, p.a.mfn(FREE))).toBe(-22);
  });

  it("bad references, read-only grants and flags are refused as Xen does", () => {
    const p = new Pair();
    p.offer(8, FREE, G.GTF_permit_access | G.GTF_readonly);
    expect(p.map(8, p.b.at(WINDOW), HOST)[0]).toBe(G.GNTST_general_error);
    expect(p.map(9, p.b.at(WINDOW), HOST)[0]).toBe(G.GNTST_general_error);
    expect(p.map(100_000, p.b.at(WINDOW), HOST)[0]).toBe(G.GNTST_bad_gntref);
    expect(p.map(8, p.b.at(WINDOW), RO)[0]).toBe(G.GNTST_bad_gntref);
    expect(references(p, FREE)).toEqual([2, 1]);
  });

  it("for devices have a pin of their own", () => {
    const p = new Pair();
    p.offer(8, FREE);
    const bus = BigInt(p.a.mfn(FREE)) << 12n;
    const [rc, handle] = p.map(8, p.b.at(WINDOW), HOST | DEVICE);
    expect(rc).toBe(0);
    expect(grants(p.a).table.activeOf(8)!.writes).toBe(2);
    expect(p.unmap(handle, 0n, bus + 4096n)).toBe(G.GNTST_bad_dev_addr);
    expect(p.unmap(handle, 0n, bus)).toBe(0);
    expect(grants(p.a).table.activeOf(8)!.writes).toBe(1);
    expect(p.unmap(handle, p.b.at(WINDOW))).toBe(0);
    expect(grants(p.a).table.activeOf(8)).toBeNull();
    expect(references(p, FREE)).toEqual([2, 1]);
  });

  it("unmap_and_replace moves another entry into the place", () => {
    const p = new Pair();
    p.offer(8, FREE);
    const [, handle] = p.map(8, p.b.at(WINDOW), HOST);
    expect(p.b.set(L1, WINDOW + 1, p.b.entry(FREE + 1, RWX))).toBe(0);
    const entry = p.b.get(L1, WINDOW + 1);
    op(p.b, G.GNTTABOP_unmap_and_replace, [8, p.b.at(WINDOW)], [8, p.b.at(WINDOW + 1)], [4, handle], [4, 0]);
    expect(status(p.b, 20)).toBe(0);
    expect([p.b.get(L1, WINDOW), p.b.get(L1, WINDOW + 1)]).toEqual([entry, 0n]);
    expect(references(p, FREE)).toEqual([2, 1]);
  });

  it("an entry that is overwritten is lost, the grant is not", () => {
    const p = new Pair();
    p.offer(8, FREE);
    const [, handle] = p.map(8, p.b.at(WINDOW), HOST);
    expect(p.b.set(L1, WINDOW, 0n)).toBe(0);
    expect(references(p, FREE)).toEqual([3, 2]);
    expect(p.unmap(handle, p.b.at(WINDOW))).toBe(G.GNTST_general_error);
    destroyDomain(p.b.domain);
    expect(references(p, FREE)).toEqual([2, 1]);
  });

  it("a frame outlives its domain for as long as another has it mapped", () => {
    const p = new Pair();
    p.offer(8, FREE);
    p.map(8, p.b.at(WINDOW), HOST);
    destroyDomain(p.a.domain);
    expect(p.machine.hv.heap.ownedBy(p.a.domain.domid)).toBe(1);
    destroyDomain(p.b.domain);
    expect(p.machine.hv.heap.ownedBy(p.a.domain.domid)).toBe(0);
  });

  it("are not copied into a page table", () => {
    const p = new Pair();
    p.offer(8, FREE);
    p.a.put(FREE, 0, 0x1234n);
    const copy = (page: number): number => {
      op(
        p.b,
        G.GNTTABOP_copy,
        [8, 8],
        [2, p.a.domain.domid],
        [2, 0],
        [4, 0],
        [8, p.b.mfn(page)],
        [2, 0x7ff0],
        [2, 0],
        [4, 0],
        [2, 8],
        [2, G.GNTCOPY_source_gref],
        [4, 0],
      );
      return status(p.b, 36);
    };
    expect(copy(L1)).toBe(G.GNTST_general_error);
    expect(copy(FREE)).toBe(0);
    expect(p.b.get(FREE, 0)).toBe(0x1234n);
    expect(references(p, FREE)).toEqual([2, 1]);
  });
});

describe("transfers", () => {
  const transfer = (p: Pair, mfn: number, ref: number, domid = p.b.domain.domid): number => {
    op(p.a, G.GNTTABOP_transfer, [8, mfn], [2, domid], [2, 0], [4, ref], [8, 0]);
    return status(p.a, 16);
  };
  const accept = (p: Pair, ref: number): void => {
    const { table } = grants(p.b);
    table.grow(1);
    const at = p.machine.hv.memory.frame(table.frames[0]!) + ref * 8;
    p.machine.hv.memory.write16(at + 2, p.a.domain.domid);
    p.machine.hv.memory.write32(at + 4, 777);
    p.machine.hv.memory.write16(at, G.GTF_accept_transfer);
  };

  it("move a frame that nothing maps, with what is in it", () => {
    const p = new Pair();
    accept(p, 8);
    p.a.put(FREE, 0, 0x55n);
    const mfn = p.a.mfn(FREE);
    expect(transfer(p, mfn, 8)).toBe(G.GNTST_bad_page);
    p.a.call(14, p.a.at(FREE), 0n, 0);
    expect(transfer(p, mfn, 8)).toBe(0);
    const { hv } = p.machine;
    expect([hv.heap.ownerOf(mfn), hv.m2p!.get(mfn)]).toEqual([p.b.domain.domid, 777]);
    const at = hv.memory.frame(grants(p.b).table.frames[0]!) + 64;
    expect([hv.memory.read16(at), hv.memory.read32(at + 4)]).toEqual([0xe, mfn]);
    expect(p.b.set(L1, WINDOW, (BigInt(mfn) << 12n) | BigInt(RWX))).toBe(0);
  });

  it("that nobody takes lose the frame", () => {
    const p = new Pair();
    p.a.call(14, p.a.at(FREE), 0n, 0);
    p.a.call(14, p.a.at(FREE + 1), 0n, 0);
    const before = p.a.domain.totalPages;
    expect(transfer(p, p.a.mfn(FREE), 8)).toBe(G.GNTST_general_error);
    expect(transfer(p, p.a.mfn(FREE + 1), 8, 99)).toBe(G.GNTST_bad_domain);
    expect(p.a.domain.totalPages).toBe(before - 2);
    expect(transfer(p, p.b.mfn(FREE), 8)).toBe(G.GNTST_bad_page);
    expect(transfer(p, 2 ** 40, 8)).toBe(G.GNTST_bad_page);
  });
});

describe("the grant table of a PV guest", () => {
  it("is told as machine frames, which the guest maps itself", () => {
    const c = pvMachine();
    c.write(9, [8, 0], [8, 0]);
    op(c, G.GNTTABOP_setup_table, [2, 0x7ff0], [2, 0], [4, 2], [8, 0], [8, c.at(9)]);
    expect(status(c, 8)).toBe(0);
    const frames = [Number(c.get(9, 0)), Number(c.get(9, 1))];
    expect(frames).toEqual(grants(c).table.frames);
    expect(c.set(L1, WINDOW, (BigInt(frames[0]!) << 12n) | BigInt(RWX))).toBe(0);
    expect(c.hv.pageTypes.types[frames[0]!]).toBe(PGT_writable_page);
  });

  it("status frames can't go while they are mapped", () => {
    const c = pvMachine();
    const { table } = grants(c);
    table.grow(1);
    expect(table.setVersion(2)).toBe(0);
    const frame = table.statusFrames[0]!;
    expect(c.set(L1, WINDOW, (BigInt(frame) << 12n) | BigInt(P | US))).toBe(0);
    expect(table.setVersion(1)).toBe(-16);
    expect(c.set(L1, WINDOW, 0n)).toBe(0);
    expect(table.setVersion(1)).toBe(0);
    expect(c.hv.heap.ownerOf(frame)).toBe(-1);
  });
});

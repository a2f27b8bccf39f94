/** What a PV control domain may do with other domains' frames and tables, and what nobody may. */
import { describe, expect, it } from "vitest";
import { EBUSY, EINVAL, ESRCH } from "../../../hypervisor/abi/errno.ts";
import { createDomain, destroyDomain } from "../../../hypervisor/domain/create.ts";
import type { Domain } from "../../../hypervisor/domain/domain.ts";
import { auditMemory } from "../../../hypervisor/memory/audit.ts";
import { P2M_RAM_RW } from "../../../hypervisor/memory/p2m.ts";
import { PGT_l1_page_table, PGT_pinned, PGT_writable_page } from "../../../hypervisor/memory/page-types.ts";
import { FakeMachine, MIB } from "../fake-machine.ts";
import { FREE, L1, L2, L4, PvCaller, RO, RWX } from "./pv-caller.ts";

const PIN_L1 = 0;
const UNPIN = 4;
const CLEAR_PAGE = 16;
const WINDOW = 300;
const SELF = 0x7ff0;

/** The control domain, and a target. */
function machine(type: "pv" | "pv32" = "pv"): { dom0: PvCaller; target: PvCaller; audit: () => string[] } {
  const m = new FakeMachine({}, 64 * MIB);
  m.hv.nextDomid = 0;
  const dom0 = new PvCaller(m);
  const target = new PvCaller(m, { type });
  expect([dom0.domain.domid, target.domain.domid]).toEqual([0, 1]);
  return { dom0, target, audit: () => auditMemory(m.hv) };
}
const frame = (mfn: number, flags: number): bigint => (BigInt(mfn) << 12n) | BigInt(flags);

describe.each(["pv", "pv32"] as const)("frames of a %s domain", (type) => {
  it("are mapped, counted as written to, and given back", () => {
    const { dom0, target, audit } = machine(type);
    const mfn = target.mfn(FREE);
    const { pageTypes: types, heap } = dom0.hv;
    target.mapAt(FREE, 0n);
    expect(dom0.set(L1, WINDOW, frame(mfn, RWX), 0, 1)).toBe(0);
    expect([types.types[mfn], types.counts[mfn], heap.referencesOf(mfn)]).toEqual([PGT_writable_page, 1, 2]);
    expect(dom0.mapAt(WINDOW + 1, frame(mfn, RO), 0n, 1)).toBe(0);
    expect([types.counts[mfn], heap.referencesOf(mfn)]).toEqual([1, 3]);
    expect(audit()).toEqual([]);
    // No table as long as somebody writes to it, whoever.
    expect(target.ext(PIN_L1, mfn)).toBe(-EINVAL);
    expect(dom0.set(L1, WINDOW, 0n, 0, SELF)).toBe(0);
    expect(target.ext(PIN_L1, mfn)).toBe(0);
    expect(dom0.set(L1, WINDOW, frame(mfn, RWX), 0, 1)).toBe(-EBUSY);
    expect(audit()).toEqual([]);
    dom0.mapAt(WINDOW + 1, 0n);
    expect(heap.referencesOf(mfn)).toBe(2);
  });

  it("stay when their domain ends, until they are given back", () => {
    const { dom0, target, audit } = machine(type);
    const mfn = target.mfn(FREE);
    const { heap } = dom0.hv;
    dom0.set(L1, WINDOW, frame(mfn, RWX), 0, 1);
    destroyDomain(target.domain);
    expect([heap.ownedBy(1), heap.ownerOf(mfn)]).toEqual([1, 1]);
    expect(dom0.set(L1, WINDOW, 0n)).toBe(0);
    expect(heap.ownedBy(1)).toBe(0);
    expect(audit()).toEqual([]);
  });

  it("are pinned, changed as tables, and cleared for it", () => {
    const { dom0, target, audit } = machine(type);
    const { pageTypes: types } = dom0.hv;
    const mfn = target.mfn(FREE);
    target.mapAt(FREE, 0n);
    expect(dom0.ext(CLEAR_PAGE, mfn, 0, 1)).toBe(0);
    expect(dom0.ext(PIN_L1, mfn, 0, 1)).toBe(0);
    expect([types.types[mfn], types.flags[mfn]! & PGT_pinned]).toEqual([PGT_l1_page_table, PGT_pinned]);
    // Of the target's tables, with the target's pages; not with its own.
    const ofTarget = (1 + 1) << 16;
    const request = (value: bigint): (readonly [bigint, bigint])[] => [[frame(mfn, 0) + 8n, value]];
    expect(dom0.update(request(frame(target.mfn(FREE + 1), RWX)), ofTarget | 1)).toBe(0);
    expect(dom0.update(request(frame(dom0.mfn(FREE), RWX)), ofTarget | 1)).toBe(-EBUSY);
    expect(audit()).toEqual([]);
    expect(dom0.ext(UNPIN, mfn, 0, 1)).toBe(0);
    expect(types.counts[mfn]).toBe(0);
    expect(dom0.ext(UNPIN, target.mfn(L2), 0, 1)).toBe(-EINVAL);
    expect(dom0.ext(PIN_L1, dom0.mfn(FREE), 0, 1)).toBe(-EINVAL);
    expect(dom0.ext(PIN_L1, mfn, 0, 9)).toBe(-ESRCH);
    expect(audit()).toEqual([]);
  });
});

describe("frames of an HVM domain", () => {
  const GFN = 5;
  const withHvm = (): { dom0: PvCaller; hvm: Domain; mfn: number; audit: () => string[] } => {
    const { dom0, audit } = machine();
    const hvm = createDomain(dom0.hv, { name: "hvm", maxVcpus: 1, maxPages: 64 });
    const mfn = dom0.hv.heap.alloc(hvm.domid);
    hvm.p2m.map(GFN, mfn, P2M_RAM_RW);
    return { dom0, hvm, mfn, audit };
  };

  it("are named by their guest frames", () => {
    const { dom0, hvm, mfn, audit } = withHvm();
    const { heap, pageTypes: types } = dom0.hv;
    expect(dom0.set(L1, WINDOW, frame(GFN, RWX), 0, hvm.domid)).toBe(0);
    expect(dom0.mapAt(WINDOW + 1, frame(GFN, RO), 0n, hvm.domid)).toBe(0);
    expect(Number(dom0.get(L1, WINDOW) >> 12n)).toBe(mfn);
    expect(Number((dom0.get(L1, WINDOW + 1) & 0xfffffffffn) >> 12n)).toBe(mfn);
    // Who writes to them is not counted.
    expect([heap.referencesOf(mfn), types.counts[mfn]]).toEqual([3, 0]);
    expect(audit()).toEqual([]);
    expect(dom0.set(L1, WINDOW + 2, frame(GFN + 1, RWX), 0, hvm.domid)).toBe(-EINVAL);
    expect(dom0.mapAt(WINDOW + 2, frame(GFN + 1, RWX), 0n, hvm.domid)).toBe(-EINVAL);
    // MMU_PT_UPDATE_NO_TRANSLATE: as they are.
    expect(dom0.set(L1, WINDOW + 2, frame(mfn, RWX), 3, hvm.domid)).toBe(0);
    expect(dom0.ext(PIN_L1, mfn, 0, hvm.domid)).toBe(-EINVAL);
    for (let n = 0; n < 3; n++) dom0.mapAt(WINDOW + n, 0n);
    expect(heap.referencesOf(mfn)).toBe(1);
    expect(audit()).toEqual([]);
  });

  it("are nothing for tables", () => {
    const { dom0, hvm } = withHvm();
    expect(dom0.set(L4, 3, frame(GFN, RWX), 0, hvm.domid)).toBe(-EINVAL);
  });
});

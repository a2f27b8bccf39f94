import { describe, expect, it } from "vitest";
import { EBUSY, EINVAL, EOPNOTSUPP, EPERM, ESRCH } from "../../../hypervisor/abi/errno.ts";
import { EVTCHNOP_init_control } from "../../../hypervisor/abi/evtchn.ts";
import * as M from "../../../hypervisor/abi/mmu.ts";
import { VCPUOP_register_vcpu_info } from "../../../hypervisor/abi/vcpu-op.ts";
import { createDomain, destroyDomain } from "../../../hypervisor/domain/create.ts";
import {
  MAX_TYPE_REFERENCES,
  PGT_l1_page_table,
  PGT_l2_page_table,
  PGT_l4_page_table,
  PGT_none,
  PGT_writable_page,
} from "../../../hypervisor/memory/page-types.ts";
import { FakeMachine, MIB } from "../fake-machine.ts";
import { A, BASE, FREE, L1, L2, L3, L4, LIST, P, PvCaller, pvMachine, RO, RW, RWX, SCRATCH, US } from "./pv-caller.ts";

const GUEST_KERNEL = 1n << 52n;
const NX = 1n << 63n;
const GLOBAL = 0x100n;

const typeOf = (c: PvCaller, page: number): number[] => {
  const { types, counts } = c.hv.pageTypes;
  return [types[c.mfn(page)]!, counts[c.mfn(page)]!];
};
/** Makes `page` a table without entries of the level that `command` pins. */
function pinned(c: PvCaller, page: number, command: number): number {
  expect(c.protect(page)).toBe(0);
  for (let i = 0; i < 512; i++) c.put(page, i, 0n);
  expect(c.ext(command, c.mfn(page))).toBe(0);
  return page;
}

describe("a frame has one use at a time", () => {
  it("a table can't be mapped writable, and a page that is mapped writable can't become a table", () => {
    const c = pvMachine();
    expect(c.set(L1, L4, c.entry(L4, RWX))).toBe(-EBUSY);
    expect(c.ext(M.MMUEXT_PIN_L1_TABLE, c.mfn(FREE))).toBe(-EINVAL);
    expect(c.set(L2, 5, c.entry(FREE, RWX))).toBe(-EINVAL);
    expect(typeOf(c, FREE)).toEqual([PGT_writable_page, 1]);
    expect(c.protect(FREE)).toBe(0);
    expect(c.ext(M.MMUEXT_PIN_L1_TABLE, c.mfn(FREE))).toBe(0);
    expect(c.protect(FREE, RWX)).toBe(-EBUSY);
    expect(c.ext(M.MMUEXT_UNPIN_TABLE, c.mfn(FREE))).toBe(0);
    expect(c.protect(FREE, RWX)).toBe(0);
  });

  it("a page that Xen writes for the guest, vcpu_info or FIFO control block, can't be a table, nor a table become one", () => {
    const EVTCHN_OP = 32;
    const VCPU_OP = 24;
    const uses: [name: string, use: (c: PvCaller, page: number) => number][] = [
      [
        "vcpu_info",
        (c, page) => {
          c.write(SCRATCH, [8, c.mfn(page)], [4, 0], [4, 0]);
          return c.call(VCPU_OP, VCPUOP_register_vcpu_info, 0, c.at(SCRATCH));
        },
      ],
      [
        "control block",
        (c, page) => {
          c.write(SCRATCH, [8, c.mfn(page)], [4, 0], [4, 0], [8, 0]);
          return c.call(EVTCHN_OP, EVTCHNOP_init_control, c.at(SCRATCH));
        },
      ],
    ];
    for (const [name, use] of uses) {
      const c = pvMachine();
      expect(c.protect(FREE), name).toBe(0);
      expect(use(c, L1), name).toBe(-EINVAL);
      expect(use(c, FREE), name).toBe(0);
      expect(typeOf(c, FREE), name).toEqual([PGT_writable_page, 1]);
      expect(c.ext(M.MMUEXT_PIN_L1_TABLE, c.mfn(FREE)), name).toBe(-EINVAL);
      expect(c.set(L2, 5, c.entry(FREE, RWX)), name).toBe(-EINVAL);
    }
  });

  it("a table is of one level", () => {
    const c = pvMachine();
    for (const [table, pins] of [
      [L1, [1, 2, 3]],
      [L2, [0, 2, 3]],
      [L3, [0, 1, 3]],
      [L4, [0, 1, 2]],
    ] as const)
      for (const pin of pins) expect(c.ext(pin, c.mfn(table))).toBe(-EINVAL);
    expect(c.set(L3, 2, c.entry(L1, RWX))).toBe(-EINVAL);
    expect(c.set(L4, 2, c.entry(L2, RWX))).toBe(-EINVAL);
    expect(c.set(L2, 2, c.entry(L4, RWX))).toBe(-EINVAL);
  });

  it("refuses the reference that would wrap the count", () => {
    const c = pvMachine();
    const { counts } = c.hv.pageTypes;
    counts[c.mfn(FREE)] = MAX_TYPE_REFERENCES;
    expect(c.set(L1, 200, c.entry(FREE, RWX))).toBe(-EBUSY);
    counts[c.mfn(L1)] = MAX_TYPE_REFERENCES;
    expect(c.set(L2, 9, c.entry(L1, RWX))).toBe(-EINVAL);
    // As they were, for the audit.
    counts[c.mfn(FREE)] = counts[c.mfn(L1)] = 1;
  });
});

describe("entries", () => {
  it.each([
    ["write-through", 0x08],
    ["uncached", 0x10],
    ["PAT", 0x80],
  ])("%s is not for domains without devices", (_name, flag) => {
    expect(pvMachine().set(L1, 200, pvMachine().entry(FREE, RWX | flag))).toBe(-EINVAL);
  });

  it("a superpage is refused at every level", () => {
    const c = pvMachine();
    for (const table of [L2, L3, L4]) expect(c.set(table, 9, c.entry(0, RWX | 0x80))).toBe(-EINVAL);
    expect(c.set(L2, 9, c.entry(0, RWX | 0x100))).toBe(-EINVAL);
  });

  it("frames of nobody, of Xen and of another domain are refused", () => {
    const c = pvMachine();
    const other = createDomain(c.hv, { name: "other", maxVcpus: 1, maxPages: 16 });
    const foreign = c.hv.heap.alloc(other.domid);
    const to = (mfn: number): bigint => (BigInt(mfn) << 12n) | BigInt(RWX);
    expect(c.set(L1, 200, to(foreign))).toBe(-EBUSY);
    expect(c.set(L1, 200, to(c.hv.m2p!.frames[0]!))).toBe(-EBUSY);
    expect(c.set(L1, 200, to(c.hv.heap.frames - 1))).toBe(-EBUSY);
    expect(c.set(L1, 200, to(c.hv.heap.frames))).toBe(-EPERM);
    expect(c.set(L1, 200, to(2 ** 39))).toBe(-EPERM);
    expect(c.set(L1, 200, (0xfffffffffn << 16n) | 0xf000n | BigInt(RWX))).toBe(-EINVAL);
    expect(c.set(L2, 200, to(foreign))).toBe(-EINVAL);
    expect(c.set(L2, 200, to(2 ** 39))).toBe(-EINVAL);
  });

  it("a page of Xen's that is shared with the domain can be mapped, and is no table", () => {
    const c = pvMachine();
    const shared = BigInt(c.domain.sharedInfoMfn) << 12n;
    expect(c.set(L1, 200, shared | BigInt(RWX))).toBe(0);
    expect(c.set(L2, 200, shared | BigInt(RWX))).toBe(-EINVAL);
    expect(c.set(L1, 200, 0n)).toBe(0);
  });

  it("64-bit guests' entries become the user's, and remember whose they were", () => {
    const c = pvMachine();
    expect(c.set(L1, 200, c.entry(FREE, P | RW))).toBe(0);
    expect(c.get(L1, 200)).toBe(c.entry(FREE, P | RW | US) | GUEST_KERNEL);
    expect(c.set(L1, 201, c.entry(FREE, P | RW | US) | NX)).toBe(0);
    expect(c.get(L1, 201)).toBe(c.entry(FREE, P | RW | US) | GLOBAL | NX);
    expect(c.protect(FREE + 1)).toBe(0);
    expect(c.set(L2, 9, c.entry(FREE + 1, P | RW))).toBe(0);
    expect(c.get(L2, 9)).toBe(c.entry(FREE + 1, P | RW | US));
  });

  it("what needs no second look changes without", () => {
    const c = pvMachine();
    expect(c.set(L1, FREE, c.entry(FREE, P | RW | US | 0x200))).toBe(0);
    expect(typeOf(c, FREE)).toEqual([PGT_writable_page, 1]);
    expect(c.set(L1, FREE, c.entry(FREE, P | RW | US), M.MMU_PT_UPDATE_PRESERVE_AD)).toBe(0);
    expect(c.get(L1, FREE) & 0x60n).toBe(0n);
    expect(c.set(L1, FREE, c.entry(FREE, RWX))).toBe(0);
    expect(c.set(L1, FREE, c.entry(FREE, P | RW | US), M.MMU_PT_UPDATE_PRESERVE_AD)).toBe(0);
    expect(c.get(L1, FREE) & 0x60n).toBe(0x60n);
  });

  it("Xen's slots of the L4 are filled and not to be changed", () => {
    const c = pvMachine();
    expect(c.set(L4, 256, 0n)).toBe(-EINVAL);
    expect(c.set(L4, 271, c.entry(L3, RWX))).toBe(-EINVAL);
    expect(c.set(L4, 272, c.entry(L3, RWX))).toBe(0);
    expect(c.get(L4, 256)).not.toBe(0n);
    expect(c.get(L4, 260)).not.toBe(0n);
    expect(c.get(L4, 258)).toBe(0n);
  });
});

describe("linear page tables", () => {
  it("a table may show itself, read-only, without a reference", () => {
    const c = pvMachine();
    expect(c.set(L4, 300, c.entry(L4, RWX))).toBe(-EINVAL);
    expect(c.set(L4, 300, c.entry(L4, P | A))).toBe(0);
    expect(typeOf(c, L4)).toEqual([PGT_l4_page_table, 2]);
    expect(c.set(L2, 300, c.entry(L2, P | A))).toBe(0);
    destroyDomain(c.domain);
    expect(c.hv.heap.ownedBy(c.domain.domid)).toBe(0);
  });

  it("one table may lead to another of its level, but no chain and no circle comes of it", () => {
    const c = pvMachine();
    const [a, b, d] = [FREE, FREE + 1, FREE + 2].map((page) => pinned(c, page, M.MMUEXT_PIN_L2_TABLE)) as [
      number,
      number,
      number,
    ];
    expect(c.set(a, 0, c.entry(b, P | A))).toBe(0);
    expect(typeOf(c, b)).toEqual([PGT_l2_page_table, 2]);
    expect(c.set(b, 0, c.entry(a, P | A))).toBe(-EINVAL);
    expect(c.set(b, 0, c.entry(d, P | A))).toBe(-EINVAL);
    expect(c.set(d, 0, c.entry(a, P | A))).toBe(-EINVAL);
    expect(c.set(a, 0, 0n)).toBe(0);
    expect(typeOf(c, b)).toEqual([PGT_l2_page_table, 1]);
    expect(c.set(b, 0, c.entry(a, P | A))).toBe(0);
    expect(c.ext(M.MMUEXT_UNPIN_TABLE, c.mfn(b))).toBe(0);
    expect(typeOf(c, a)).toEqual([PGT_l2_page_table, 1]);
    expect(c.hv.pageTypes.linear[c.mfn(a)]).toBe(0);
  });

  it("what is not validated yet can't be led to", () => {
    const c = pvMachine();
    for (const page of [FREE, FREE + 1]) c.protect(page);
    c.put(FREE, 0, c.entry(FREE + 1, P | A));
    c.put(FREE + 1, 0, c.entry(FREE, P | A));
    expect(c.ext(M.MMUEXT_PIN_L3_TABLE, c.mfn(FREE))).toBe(-EINVAL);
    expect(typeOf(c, FREE)[1]).toBe(0);
    expect(typeOf(c, FREE + 1)[1]).toBe(0);
  });
});

describe("validation", () => {
  it("that fails leaves nothing behind", () => {
    const c = pvMachine();
    c.protect(FREE);
    const before = c.hv.heap.referencesOf(c.mfn(FREE + 1));
    c.put(FREE, 0, c.entry(FREE + 1, RWX));
    c.put(FREE, 1, c.entry(FREE + 2, RWX));
    c.put(FREE, 2, c.entry(L1, RWX));
    expect(c.ext(M.MMUEXT_PIN_L1_TABLE, c.mfn(FREE))).toBe(-EBUSY);
    expect(typeOf(c, FREE)).toEqual([PGT_none, 0]);
    expect(typeOf(c, FREE + 1)).toEqual([PGT_writable_page, 1]);
    expect(c.hv.heap.referencesOf(c.mfn(FREE + 1))).toBe(before);
    c.put(FREE, 2, 0n);
    expect(c.ext(M.MMUEXT_PIN_L1_TABLE, c.mfn(FREE))).toBe(0);
    expect(typeOf(c, FREE + 1)).toEqual([PGT_writable_page, 2]);
    expect(c.ext(M.MMUEXT_UNPIN_TABLE, c.mfn(FREE))).toBe(0);
    expect(typeOf(c, FREE + 1)).toEqual([PGT_writable_page, 1]);
  });

  it("a table that allows writing to itself or to what is above is refused", () => {
    const c = pvMachine();
    c.protect(FREE);
    c.put(FREE, 0, c.entry(FREE, RWX));
    expect(c.ext(M.MMUEXT_PIN_L1_TABLE, c.mfn(FREE))).toBe(-EBUSY);
    c.put(FREE, 0, c.entry(FREE, RO));
    expect(c.ext(M.MMUEXT_PIN_L1_TABLE, c.mfn(FREE))).toBe(0);
  });
});

describe("pinning and base pointers", () => {
  it("a table is pinned once", () => {
    const c = pvMachine();
    const page = pinned(c, FREE, M.MMUEXT_PIN_L4_TABLE);
    expect(c.ext(M.MMUEXT_PIN_L4_TABLE, c.mfn(page))).toBe(-EINVAL);
    expect(c.ext(M.MMUEXT_UNPIN_TABLE, c.mfn(page))).toBe(0);
    expect(c.ext(M.MMUEXT_UNPIN_TABLE, c.mfn(page))).toBe(-EINVAL);
    expect(c.ext(M.MMUEXT_UNPIN_TABLE, c.hv.heap.frames + 5)).toBe(-EINVAL);
    expect(typeOf(c, page)[1]).toBe(0);
  });

  it("the table in use stays validated when it is unpinned", () => {
    const c = pvMachine();
    expect(c.ext(M.MMUEXT_UNPIN_TABLE, c.mfn(L4))).toBe(0);
    expect(typeOf(c, L4)).toEqual([PGT_l4_page_table, 1]);
    expect(typeOf(c, L1)).toEqual([PGT_l1_page_table, 1]);
  });

  it("kernel and user tables hold references for as long as they are in use", () => {
    const c = pvMachine();
    c.protect(FREE);
    c.put(FREE, 0, c.entry(L3, RWX));
    expect(c.ext(M.MMUEXT_NEW_USER_BASEPTR, c.mfn(FREE))).toBe(0);
    expect(c.ext(M.MMUEXT_NEW_BASEPTR, c.mfn(FREE))).toBe(0);
    expect(typeOf(c, FREE)).toEqual([PGT_l4_page_table, 2]);
    expect(typeOf(c, L4)).toEqual([PGT_l4_page_table, 1]);
    expect(c.ext(M.MMUEXT_NEW_USER_BASEPTR, 0)).toBe(0);
    expect(c.ext(M.MMUEXT_NEW_BASEPTR, c.mfn(L4))).toBe(0);
    expect(typeOf(c, FREE)[1]).toBe(0);
    expect(c.ext(M.MMUEXT_NEW_BASEPTR, c.mfn(L3))).toBe(-EINVAL);
    expect(c.ext(M.MMUEXT_NEW_BASEPTR, 0)).toBe(-EINVAL);
  });

  it("caches, superpage marks and unknown commands answer as Xen does", () => {
    const c = pvMachine();
    expect(c.ext(M.MMUEXT_FLUSH_CACHE)).toBe(-13);
    expect(c.ext(M.MMUEXT_FLUSH_CACHE_GLOBAL)).toBe(-EINVAL);
    expect(c.ext(M.MMUEXT_MARK_SUPER)).toBe(-EOPNOTSUPP);
    expect(c.ext(14)).toBe(-38);
    expect(c.ext(M.MMUEXT_TLB_FLUSH_ALL, 0, 0, 77)).toBe(-ESRCH);
    expect(c.ext(M.MMUEXT_TLB_FLUSH_ALL, 0, 0, c.domain.domid)).toBe(-ESRCH);
    expect(c.ext(M.MMUEXT_TLB_FLUSH_ALL, 0, 0, 0x7ff1)).toBe(-EPERM);
  });

  it("clears and copies pages, but no tables", () => {
    const c = pvMachine();
    c.put(FREE, 5, 0x1234n);
    expect(c.ext(M.MMUEXT_COPY_PAGE, c.mfn(FREE + 1), c.mfn(FREE))).toBe(0);
    expect(c.get(FREE + 1, 5)).toBe(0x1234n);
    expect(c.ext(M.MMUEXT_CLEAR_PAGE, c.mfn(FREE + 1))).toBe(0);
    expect(c.get(FREE + 1, 5)).toBe(0n);
    expect(c.ext(M.MMUEXT_CLEAR_PAGE, c.mfn(L1))).toBe(-EINVAL);
    expect(c.ext(M.MMUEXT_COPY_PAGE, c.mfn(L2), c.mfn(FREE))).toBe(-EINVAL);
  });
});

describe("requests", () => {
  it("a long list goes on after a pause, and says how far it has come", () => {
    const c = pvMachine();
    const list: [bigint, bigint][] = Array.from({ length: 600 }, (_, n) => [
      (BigInt(c.mfn(L1)) << 12n) + BigInt((200 + (n % 300)) * 8),
      n < 300 ? c.entry(FREE, RWX) : 0n,
    ]);
    const done = c.at(FREE + 5);
    // The list takes three pages.
    const [a, b, d] = [0, 1, 2].map((n) => list.slice(n * 256, n * 256 + 256));
    for (const [n, part] of [a!, b!, d!].entries())
      c.write(
        10 + n,
        ...part.flatMap(
          ([p, v]) =>
            [
              [8, p],
              [8, v],
            ] as const,
        ),
      );
    expect(c.call(1, c.at(10), 600, done, 0x7ff0)).toBe(0);
    expect(c.pieces).toBe(3);
    expect(c.get32(FREE + 5, 0)).toBe(600);
    expect(typeOf(c, FREE)).toEqual([PGT_writable_page, 1]);
  });

  it("stops at the first that fails", () => {
    const c = pvMachine();
    const at = (n: number): bigint => (BigInt(c.mfn(L1)) << 12n) + BigInt(n * 8);
    const done = c.at(FREE + 5);
    const good = c.entry(FREE, RWX);
    expect(
      c.update(
        [
          [at(200), good],
          [at(201), c.entry(L4, RWX)],
          [at(202), good],
        ],
        0x7ff0,
        done,
      ),
    ).toBe(-EBUSY);
    expect(c.get32(FREE + 5, 0)).toBe(1);
    expect(c.get(L1, 202)).toBe(0n);
    expect(c.update([[at(200) + 4n, good]])).toBe(-38);
  });

  it("more than there can be end at the first that can't be read, whatever the count says", () => {
    const c = pvMachine();
    const done = c.at(FREE + 5);
    // The last page of the domain is followed by nothing.
    for (const count of [0x7fffffff, 0xffffffff]) {
      for (let n = 0; n < 6; n++) c.put(127, 500 + 2 * n, BigInt(c.mfn(FREE)) << 12n);
      expect(c.call(1, c.at(127, 4000), count, done, 0x7ff0)).toBe(-14);
      for (let n = 0; n < 12; n++) c.put(127, 500 + n, n % 3 === 0 ? BigInt(M.MMUEXT_TLB_FLUSH_LOCAL) : 0n);
      expect(c.call(26, c.at(127, 4000), count, done, 0x7ff0)).toBe(-14);
    }
    // A count of what has been done that is the guest's own is added to, no more.
    c.write(FREE + 5, [4, 0xfffffff0]);
    expect(c.call(1, c.at(LIST), 0x80000000 | 0, done, 0x7ff0)).toBe(0);
    expect(c.get32(FREE + 5, 0)).toBe(0xfffffff0);
    // Without a list it is Xen's own way to go on, and answers its last argument.
    for (const number of [1, 26]) expect(c.call(number, 0, 0x80000000 | 0, done, 0x7ff0)).toBe(0x7ff0);
    expect(c.call(1, 0, 0x80000001 | 0, done, 0x7ff0)).toBe(-14);
  });

  it("of a page that is no table are stores, if it may be written", () => {
    const c = pvMachine();
    expect(c.set(FREE, 3, 0x1234567890abcdefn)).toBe(0);
    expect(c.get(FREE, 3)).toBe(0x1234567890abcdefn);
    expect(c.call(1, c.at(300), 1, 0, 0x7ff0)).toBe(-14);
    expect(c.call(1, 0xffff800000000000n, 1, 0, 0x7ff0)).toBe(-14);
  });

  it("change the machine-to-phys table for own frames", () => {
    const c = pvMachine();
    const request = (mfn: number, pfn: bigint): number => c.update([[(BigInt(mfn) << 12n) + 1n, pfn]]);
    expect(request(c.mfn(FREE), 99n)).toBe(0);
    expect(c.hv.m2p!.get(c.mfn(FREE))).toBe(99);
    expect(request(c.mfn(FREE), 2n ** 64n - 1n)).toBe(0);
    expect(c.hv.m2p!.get(c.mfn(FREE))).toBe(-1);
    expect(request(0, 99n)).toBe(-EINVAL);
    expect(request(c.hv.heap.frames, 99n)).toBe(-EINVAL);
  });

  it("for another domain need privilege", () => {
    const c = pvMachine();
    const other = new PvCaller(new FakeMachine({}, 64 * MIB)).domain;
    expect(other.domid).toBe(1);
    const second = createDomain(c.hv, { name: "second", maxVcpus: 1, maxPages: 16 });
    expect(c.set(L1, 200, c.entry(FREE, RWX), 0, second.domid)).toBe(-EPERM);
    expect(c.set(L1, 200, c.entry(FREE, RWX), 0, 99)).toBe(-ESRCH);
    expect(c.set(L1, 200, c.entry(FREE, RWX), 0, c.domain.domid)).toBe(-ESRCH);
    expect(c.set(L1, 200, c.entry(FREE, RWX), 0, 0x7ff1)).toBe(-EBUSY);
    expect(c.set(L1, 200, c.entry(FREE, RWX), 0, 0x7ff0 | ((second.domid + 1) << 16))).toBe(-EPERM);
    expect(c.set(L1, 200, c.entry(FREE, RWX), 0, 0x7ff0 | (1000 << 16))).toBe(-ESRCH);
    expect(c.call(22, c.at(FREE), c.entry(FREE, RWX), 0, second.domid)).toBe(-EPERM);
    // By address not even of DOMID_IO, whatever the entry (xsm_update_va_mapping).
    for (const entry of [c.entry(FREE, RWX), 0n]) expect(c.call(22, c.at(FREE), entry, 0, 0x7ff1)).toBe(-EPERM);
  });
});

describe("update_va_mapping", () => {
  it("changes the entry of an address, and refuses addresses of Xen and without a table", () => {
    const c = pvMachine();
    expect(c.call(14, c.at(FREE), c.entry(FREE + 1, RWX), 0)).toBe(0);
    expect(c.get(L1, FREE) >> 12n).toBe(BigInt(c.mfn(FREE + 1)));
    expect(c.call(14, BASE * 4n, c.entry(FREE, RWX), 0)).toBe(-EINVAL);
    expect(c.call(14, 0xffff800000000000n, c.entry(FREE, RWX), 0)).toBe(-EINVAL);
    expect(c.call(14, 0x800000000000n, c.entry(FREE, RWX), 0)).toBe(-EINVAL);
  });

  it("flushes the vcpus of a bitmap", () => {
    const c = pvMachine();
    const [a, b] = c.domain.vcpus.map((v) => v.pv!);
    c.put(FREE + 2, 0, 2n);
    const before = a!.tlbStamp;
    expect(c.call(14, c.at(FREE), c.entry(FREE, RWX), c.at(FREE + 2) | 1n)).toBe(0);
    expect([a!.tlbStamp, b!.tlbStamp]).toEqual([before, c.hv.pageTypes.clock]);
    expect(c.call(14, c.at(FREE), c.entry(FREE, RWX), c.at(300) | 1n)).toBe(-14);
    expect(c.call(14, c.at(FREE), c.entry(FREE, RWX), 5)).toBe(0);
    expect([a!.tlbStamp, b!.tlbStamp]).toEqual([c.hv.pageTypes.clock, c.hv.pageTypes.clock]);
  });
});

describe("translations", () => {
  it("are flushed before a frame that was writable becomes a table, unless that has happened since", () => {
    const c = pvMachine();
    c.protect(FREE);
    c.protect(FREE + 1);
    const { pv } = c.vcpu;
    const before = pv!.tlbStamp;
    expect(c.ext(M.MMUEXT_PIN_L1_TABLE, c.mfn(FREE))).toBe(0);
    expect(pv!.tlbStamp).toBeGreaterThan(before);
    const after = pv!.tlbStamp;
    expect(c.ext(M.MMUEXT_PIN_L1_TABLE, c.mfn(FREE + 1))).toBe(0);
    expect(pv!.tlbStamp).toBe(after);
  });
});

describe("32-bit guests", () => {
  it("have an L3 of four entries, whose last names an L2 with Xen's mappings", () => {
    const c = pvMachine({ type: "pv32" });
    expect(typeOf(c, L3)).toEqual([3, 2]);
    expect(c.get(L1 + 1, 428)).not.toBe(0n);
    expect(c.set(L3, 3, 0n)).toBe(-EINVAL);
    expect(c.set(L1 + 1, 500, 0n)).toBe(-EPERM);
    expect(c.set(L3, 2, c.entry(L1 + 1, P))).toBe(-EINVAL);
    expect(c.get(L3, 1) & ~BigInt(A)).toBe(c.entry(L2, P | RW | US));
    destroyDomain(c.domain);
    expect(c.hv.heap.ownedBy(c.domain.domid)).toBe(0);
  });

  it("pass entries and operations as 32-bit words", () => {
    const c = pvMachine({ type: "pv32" });
    const entry = c.entry(FREE, P | RW | A);
    expect(c.call(14, c.at(FREE), entry & 0xffffffffn, entry >> 32n, 0)).toBe(0);
    expect(c.get(L1, FREE)).toBe(entry);
    expect(c.ext(M.MMUEXT_PIN_L4_TABLE, c.mfn(FREE))).toBe(0);
    expect(c.ext(M.MMUEXT_NEW_USER_BASEPTR, c.mfn(L3))).toBe(-EINVAL);
    expect(c.ext(M.MMUEXT_NEW_BASEPTR, c.mfn(L3))).toBe(0);
  });
});

describe("a domain that goes", () => {
  it("leaves no frame, whatever its tables refer to", () => {
    const machine = new FakeMachine({}, 64 * MIB);
    const keep = new PvCaller(machine);
    const free = machine.hv.heap.freeFrames;
    const c = new PvCaller(machine);
    c.protect(FREE);
    c.put(FREE, 0, c.entry(L3, RWX));
    c.ext(M.MMUEXT_NEW_USER_BASEPTR, c.mfn(FREE));
    c.set(L4, 400, c.entry(L4, P | A));
    c.set(FREE, 400, c.entry(L4, P | A));
    c.set(L1, 300, (BigInt(c.domain.sharedInfoMfn) << 12n) | BigInt(RWX));
    destroyDomain(c.domain);
    expect(machine.hv.heap.freeFrames).toBe(free);
    expect(keep.set(L1, 300, keep.entry(FREE, RWX))).toBe(0);
  });
});

import { describe, expect, it } from "vitest";
import {
  EACCES,
  EFAULT,
  EINVAL,
  ENOENT,
  ENOSYS,
  EOPNOTSUPP,
  EOVERFLOW,
  EPERM,
  ESRCH,
} from "../../../hypervisor/abi/errno.ts";
import * as M from "../../../hypervisor/abi/memory.ts";
import { DOMID_SELF } from "../../../hypervisor/abi/xen.ts";
import { destroyDomain } from "../../../hypervisor/domain/create.ts";
import { auditMemory } from "../../../hypervisor/memory/audit.ts";
import { P2M_RAM_RO } from "../../../hypervisor/memory/p2m.ts";
import { Caller, type Field, LIST, NOWHERE, SCRATCH } from "../calls.ts";
import { FakeMachine } from "../fake-machine.ts";

const NO_DOMAIN = 77;
const PAGES = 64;

function guest(options = {}): Caller {
  const machine = new FakeMachine({}, 64 * 2 ** 20);
  const caller = new Caller(machine.domain(options, PAGES));
  machine.domain();
  return caller;
}

const audit = (c: Caller): string[] => auditMemory(c.domain.hypervisor);

/** struct xen_memory_reservation, 64 bits. */
const reservation = (count: number, order = 0, flags = 0, domid = DOMID_SELF, list = LIST): Field[] => [
  [8, list],
  [8, count],
  [4, order],
  [4, flags],
  [8, domid],
];
const physmap = (space: number, index: number, gfn: number, size = 0, domid = DOMID_SELF): Field[] => [
  [2, domid],
  [2, size],
  [4, space],
  [8, index],
  [8, gfn],
];

function list(c: Caller, ...values: number[]): void {
  c.put(LIST, ...values.map((v): Field => [8, v]));
}

describe("memory_op answers wrong and privileged requests as Xen does", () => {
  const domain = (domid: number): Field[] => [[2, domid]];
  const cases: readonly [name: string, command: number, fields: readonly Field[], errno: number][] = [
    ["an unknown command", 63, [], ENOSYS],
    ["machine_memory_map, from an HVM guest", M.XENMEM_machine_memory_map, [], ENOSYS],
    ["machphys_mapping, from an HVM guest", M.XENMEM_machphys_mapping, [], ENOSYS],
    ["paging_op", M.XENMEM_paging_op, [], ENOSYS],
    ["exchange, from an HVM guest", M.XENMEM_exchange, [], EOPNOTSUPP],
    ["acquire_resource, from an HVM guest", M.XENMEM_acquire_resource, [], EACCES],
    ["current_reservation of an unknown domain", M.XENMEM_current_reservation, domain(NO_DOMAIN), ESRCH],
    ["current_reservation of another domain", M.XENMEM_current_reservation, domain(2), EPERM],
    ["maximum_gpfn of domain 0", M.XENMEM_maximum_gpfn, domain(0), EPERM],
    ["a question with an extent in the command", M.XENMEM_current_reservation | 64, domain(DOMID_SELF), EINVAL],
    [
      "memory_map where there is none",
      M.XENMEM_memory_map,
      [
        [8, 1],
        [8, LIST],
      ],
      ENOSYS,
    ],
    [
      "set_memory_map with too many entries",
      M.XENMEM_set_memory_map,
      [
        [8, DOMID_SELF],
        [8, 1025],
        [8, LIST],
      ],
      EINVAL,
    ],
    [
      "set_memory_map of another domain",
      M.XENMEM_set_memory_map,
      [
        [8, 2],
        [8, 1],
        [8, LIST],
      ],
      EPERM,
    ],
    [
      "set_pod_target",
      M.XENMEM_set_pod_target,
      [
        [0, 32],
        [8, DOMID_SELF],
      ],
      EPERM,
    ],
    [
      "get_pod_target of an unknown domain",
      M.XENMEM_get_pod_target,
      [
        [0, 32],
        [8, NO_DOMAIN],
      ],
      ESRCH,
    ],
    [
      "access_op on oneself",
      M.XENMEM_access_op,
      [
        [2, 0],
        [2, DOMID_SELF],
        [0, 28],
      ],
      EPERM,
    ],
    ["claim_pages with an order", M.XENMEM_claim_pages, reservation(5, 1, 0, DOMID_SELF, 0), EINVAL],
    ["claim_pages for oneself", M.XENMEM_claim_pages, reservation(5, 0, 0, DOMID_SELF, 0), EINVAL],
    ["claim_pages for a domain", M.XENMEM_claim_pages, reservation(5, 0, 0, 1, 0), EPERM],
    [
      "get_vnumainfo",
      M.XENMEM_get_vnumainfo,
      [
        [2, DOMID_SELF],
        [2, 0],
        [0, 52],
      ],
      EOPNOTSUPP,
      EOVERFLOW,
    ],
    [
      "get_vnumainfo with padding",
      M.XENMEM_get_vnumainfo,
      [
        [2, DOMID_SELF],
        [2, 1],
        [0, 52],
      ],
      EINVAL,
    ],
    ["add_to_physmap of a foreign page", M.XENMEM_add_to_physmap, physmap(M.XENMAPSPACE_gmfn_foreign, 0, 70), ENOSYS],
    ["add_to_physmap of device memory", M.XENMEM_add_to_physmap, physmap(M.XENMAPSPACE_dev_mmio, 0, 70), EACCES],
    [
      "add_to_physmap of a second shared_info",
      M.XENMEM_add_to_physmap,
      physmap(M.XENMAPSPACE_shared_info, 1, 70),
      EINVAL,
    ],
    [
      "add_to_physmap beyond the grant table",
      M.XENMEM_add_to_physmap,
      physmap(M.XENMAPSPACE_grant_table, 64, 70),
      EINVAL,
    ],
    ["add_to_physmap of a status frame in version 1", M.XENMEM_add_to_physmap, physmap(1, 0x80000000, 70), EINVAL],
    [
      "add_to_physmap of a page that is not there",
      M.XENMEM_add_to_physmap,
      physmap(M.XENMAPSPACE_gmfn, 999, 70),
      EINVAL,
    ],
    ["add_to_physmap for another domain", M.XENMEM_add_to_physmap, physmap(0, 0, 70, 0, 2), EPERM],
    ["add_to_physmap for an unknown domain", M.XENMEM_add_to_physmap, physmap(0, 0, 70, 0, NO_DOMAIN), ESRCH],
    [
      "add_to_physmap beyond all guest frames",
      M.XENMEM_add_to_physmap,
      physmap(M.XENMAPSPACE_gmfn, 20, 2 ** 40),
      EINVAL,
    ],
    [
      "a range that wraps",
      M.XENMEM_add_to_physmap,
      [
        [2, DOMID_SELF],
        [2, 5],
        [4, 3],
        [8, 20],
        [8, 2n ** 64n - 2n],
      ],
      EOVERFLOW,
    ],
    [
      "a batch of gmfn_range",
      M.XENMEM_add_to_physmap_batch,
      [
        [2, DOMID_SELF],
        [2, 3],
        [0, 28],
      ],
      EOPNOTSUPP,
    ],
    [
      "remove_from_physmap of nothing",
      M.XENMEM_remove_from_physmap,
      [
        [8, DOMID_SELF],
        [8, 999],
      ],
      ENOENT,
    ],
    [
      "remove_from_physmap for another domain",
      M.XENMEM_remove_from_physmap,
      [
        [8, 2],
        [8, 1],
      ],
      EPERM,
    ],
  ];
  it.each(cases)("%s", (_name, command, fields, errno) => {
    expect(guest().memory(command, fields)).toBe(-errno);
  });

  it.each([
    M.XENMEM_current_reservation,
    M.XENMEM_add_to_physmap,
    M.XENMEM_add_to_physmap_batch,
    M.XENMEM_remove_from_physmap,
    M.XENMEM_claim_pages,
    M.XENMEM_get_vnumainfo,
    M.XENMEM_set_memory_map,
    M.XENMEM_reserved_device_memory_map,
  ])("command %i with its structure nowhere is -EFAULT", (command) => {
    expect(guest().memory(command, [], false, NOWHERE)).toBe(-EFAULT);
  });
});

describe("reservations", () => {
  it("populates up to the domain's maximum and says how far it came", () => {
    const c = guest({ maxPages: PAGES + 2 });
    list(c, 100, 101, 102);
    expect(c.memory(M.XENMEM_populate_physmap, reservation(3))).toBe(2);
    expect(c.domain.p2m.lookup(101)).toBeGreaterThan(0);
    expect(c.domain.p2m.lookup(102)).toBe(-1);
    expect(c.memory(M.XENMEM_current_reservation, [[2, DOMID_SELF]])).toBe(PAGES + 2);
    expect(c.memory(M.XENMEM_maximum_reservation, [[2, DOMID_SELF]])).toBe(PAGES + 2);
    expect(c.memory(M.XENMEM_maximum_gpfn, [[2, DOMID_SELF]])).toBe(101);
    expect(audit(c)).toEqual([]);
  });

  it("gives back what it removes, and stops at what is not there", () => {
    const c = guest();
    list(c, 50, 51, 999, 52);
    const { heap } = c.domain.hypervisor;
    const free = heap.freeFrames;
    expect(c.memory(M.XENMEM_decrease_reservation, reservation(4))).toBe(2);
    expect(heap.freeFrames).toBe(free + 2);
    expect(c.domain.totalPages).toBe(PAGES - 2);
    expect(c.domain.p2m.lookup(52)).toBeGreaterThan(0);
    expect(audit(c)).toEqual([]);
  });

  it("populates whole superpages, and splits one to take a page out", () => {
    const c = guest({ maxPages: 2048 });
    list(c, 1024);
    expect(c.memory(M.XENMEM_populate_physmap, reservation(1, 9))).toBe(1);
    list(c, 1025);
    expect(c.memory(M.XENMEM_decrease_reservation, reservation(1))).toBe(1);
    expect(c.domain.p2m.lookup(1025)).toBe(-1);
    expect(c.domain.p2m.lookup(1024 + 511)).toBeGreaterThan(0);
    expect(audit(c)).toEqual([]);
  });

  it("goes on after a pause in a long list", () => {
    const c = guest({ maxPages: 4096 });
    const start = 0x8000;
    for (let i = 0; i < 1500; i++) c.put(start + 8 * i, [8, 2000 + i]);
    expect(c.memory(M.XENMEM_populate_physmap, reservation(1500, 0, 0, DOMID_SELF, start))).toBe(1500);
    expect(c.domain.totalPages).toBe(PAGES + 1500);
  });

  it("does nothing for orders, flags, domains and counts that Xen refuses", () => {
    const c = guest();
    list(c, 100);
    const refused: Field[][] = [
      reservation(1, 10),
      reservation(1, 0, 12),
      reservation(1, 0, M.XENMEMF_exact_node_request),
      reservation(1, 0, M.XENMEMF_populate_on_demand),
      reservation(1, 0, 0, 2),
      reservation(1, 0, 0, NO_DOMAIN),
      reservation(2 ** 26),
      reservation(1, 0, 0, DOMID_SELF, NOWHERE),
    ];
    for (const fields of refused) expect(c.memory(M.XENMEM_populate_physmap, fields)).toBe(0);
    expect(c.domain.totalPages).toBe(PAGES);
  });

  it("keeps the page that another one is populated over, without a place", () => {
    const c = guest();
    list(c, 20);
    expect(c.memory(M.XENMEM_populate_physmap, reservation(1))).toBe(1);
    expect(c.domain.totalPages).toBe(PAGES + 1);
    expect(audit(c)).toEqual([]);
  });

  it("reads 32-bit structures", () => {
    const c = guest();
    c.put(LIST, [4, 100], [4, 101]);
    expect(
      c.memory(
        M.XENMEM_populate_physmap,
        [
          [4, LIST],
          [4, 2],
          [4, 0],
          [4, 0],
          [4, DOMID_SELF],
        ],
        true,
      ),
    ).toBe(2);
    expect(c.domain.p2m.lookup(101)).toBeGreaterThan(0);
    expect(
      c.memory(
        M.XENMEM_add_to_physmap,
        [
          [2, DOMID_SELF],
          [2, 0],
          [4, 0],
          [4, 0],
          [4, 102],
        ],
        true,
      ),
    ).toBe(0);
    expect(c.domain.p2m.lookup(102)).toBe(c.domain.sharedInfoMfn);
  });
});

describe("add_to_physmap", () => {
  it("shows shared_info where it is asked for, freeing the RAM there, and moves it", () => {
    const c = guest();
    expect(c.memory(M.XENMEM_add_to_physmap, physmap(M.XENMAPSPACE_shared_info, 0, 20))).toBe(0);
    expect(c.domain.p2m.lookup(20)).toBe(c.domain.sharedInfoMfn);
    expect(c.domain.totalPages).toBe(PAGES - 1);
    expect(c.memory(M.XENMEM_add_to_physmap, physmap(M.XENMAPSPACE_shared_info, 0, 100))).toBe(0);
    expect(c.domain.p2m.lookup(20)).toBe(-1);
    expect(c.domain.p2m.lookup(100)).toBe(c.domain.sharedInfoMfn);
    expect(audit(c)).toEqual([]);
  });

  it("only unhooks a page of Xen's that is mapped over or ballooned out", () => {
    const c = guest();
    c.memory(M.XENMEM_add_to_physmap, physmap(M.XENMAPSPACE_shared_info, 0, 100));
    expect(c.memory(M.XENMEM_add_to_physmap, physmap(M.XENMAPSPACE_gmfn, 30, 100))).toBe(0);
    c.memory(M.XENMEM_add_to_physmap, physmap(M.XENMAPSPACE_shared_info, 0, 101));
    list(c, 101);
    expect(c.memory(M.XENMEM_decrease_reservation, reservation(1))).toBe(1);
    expect(c.domain.totalPages).toBe(PAGES);
    expect(c.memory(M.XENMEM_add_to_physmap, physmap(M.XENMAPSPACE_shared_info, 0, 102))).toBe(0);
    expect(audit(c)).toEqual([]);
  });

  it("moves a page of the domain with its contents, and a range of them", () => {
    const c = guest();
    c.put(0x1e000, [4, 0x12345678]);
    const mfn = c.domain.p2m.lookup(30);
    expect(c.memory(M.XENMEM_add_to_physmap, physmap(M.XENMAPSPACE_gmfn, 30, 100))).toBe(0);
    expect([c.domain.p2m.lookup(30), c.domain.p2m.lookup(100)]).toEqual([-1, mfn]);
    expect(c.get(0x64000, 4)).toBe(0x12345678);
    expect(c.memory(M.XENMEM_add_to_physmap, physmap(M.XENMAPSPACE_gmfn_range, 40, 200, 3))).toBe(0);
    expect([c.domain.p2m.lookup(42), c.domain.p2m.lookup(202) > 0]).toEqual([-1, true]);
    expect(c.memory(M.XENMEM_add_to_physmap, physmap(M.XENMAPSPACE_gmfn, 100, 100))).toBe(0);
    expect(c.domain.totalPages).toBe(PAGES);
    expect(audit(c)).toEqual([]);
  });

  it("grows the grant table by mapping it, and maps status frames of version 2", () => {
    const c = guest();
    expect(c.memory(M.XENMEM_add_to_physmap, physmap(M.XENMAPSPACE_grant_table, 2, 100))).toBe(0);
    expect(c.grants.table.frames).toHaveLength(3);
    expect(c.grants.table.setVersion(2)).toBe(0);
    expect(c.memory(M.XENMEM_add_to_physmap, physmap(M.XENMAPSPACE_grant_table, 0x80000000, 101))).toBe(0);
    expect(c.domain.p2m.lookup(101)).toBe(c.grants.table.statusFrames[0]);
    expect(c.grants.table.setVersion(1)).toBe(0);
    expect(c.domain.p2m.lookup(101)).toBe(-1);
    expect(audit(c)).toEqual([]);
  });

  it("answers for each element of a batch", () => {
    const c = guest();
    const [indexes, gfns, errors] = [LIST, LIST + 64, LIST + 128];
    c.put(indexes, [8, 0], [8, 1]);
    c.put(gfns, [8, 100], [8, 101]);
    const batch: Field[] = [
      [2, DOMID_SELF],
      [2, 0],
      [2, 2],
      [2, 0],
      [8, indexes],
      [8, gfns],
      [8, errors],
    ];
    expect(c.memory(M.XENMEM_add_to_physmap_batch, batch)).toBe(0);
    expect([c.get(errors, 4) | 0, c.get(errors + 4, 4) | 0]).toEqual([0, -EINVAL]);
    c.put(SCRATCH, ...batch);
    expect(c.memory(M.XENMEM_add_to_physmap_batch, [[2, DOMID_SELF], [2, 4], ...batch.slice(2)])).toBe(0);
    expect(c.get(errors, 4) | 0).toBe(-EPERM);
  });

  it("takes a mapping away and leaves the page with the domain", () => {
    const c = guest();
    expect(
      c.memory(M.XENMEM_remove_from_physmap, [
        [8, DOMID_SELF],
        [8, 30],
      ]),
    ).toBe(0);
    expect(c.domain.p2m.lookup(30)).toBe(-1);
    expect(c.domain.totalPages).toBe(PAGES);
    destroyDomain(c.domain);
    expect(c.domain.totalPages).toBe(0);
  });
});

describe("memory maps", () => {
  it("gives as many entries as there is room for", () => {
    const c = guest({
      memoryMap: [
        { address: 0, size: 0xa0000, type: 1 },
        { address: 0xfc000000, size: 0x1000, type: 2 },
      ],
    });
    expect(
      c.memory(M.XENMEM_memory_map, [
        [8, 1],
        [8, LIST],
      ]),
    ).toBe(0);
    expect([c.get(SCRATCH, 4), c.get(LIST + 8, 4), c.get(LIST + 16, 4)]).toEqual([1, 0xa0000, 1]);
    expect(
      c.memory(
        M.XENMEM_memory_map,
        [
          [4, 9],
          [4, LIST],
        ],
        true,
      ),
    ).toBe(0);
    expect([c.get(SCRATCH, 4), c.get(LIST + 20, 4), c.get(LIST + 36, 4)]).toEqual([2, 0xfc000000, 2]);
  });

  it("says that no memory is reserved for devices", () => {
    const c = guest();
    expect(
      c.memory(M.XENMEM_reserved_device_memory_map, [
        [4, 1],
        [4, 5],
        [8, LIST],
        [8, 0],
      ]),
    ).toBe(0);
    expect(c.get(SCRATCH + 4, 4)).toBe(0);
  });

  it("writes through nothing that is read-only", () => {
    const c = guest();
    c.domain.physmap!.map(10, c.domain.p2m.lookup(10), P2M_RAM_RO);
    c.domain.memoryMap = [{ address: 0, size: 0x1000, type: 1 }];
    expect(
      c.memory(M.XENMEM_memory_map, [
        [8, 1],
        [8, 0xa000],
      ]),
    ).toBe(-EFAULT);
  });
});

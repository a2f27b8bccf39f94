import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EBUSY, EFAULT, EINVAL, ENOSYS, EOPNOTSUPP, EPERM, ERANGE, ESRCH } from "../../../hypervisor/abi/errno.ts";
import * as G from "../../../hypervisor/abi/grant.ts";
import { HYPERVISOR_grant_table_op } from "../../../hypervisor/abi/hypercall.ts";
import { XENMEM_add_to_physmap, XENMEM_decrease_reservation } from "../../../hypervisor/abi/memory.ts";
import { DOMID_SELF } from "../../../hypervisor/abi/xen.ts";
import { destroyDomain } from "../../../hypervisor/domain/create.ts";
import { grantTableOp } from "../../../hypervisor/grants/hypercall.ts";
import { callHypercall } from "../../../hypervisor/hypercalls/dispatch.ts";
import { auditMemory } from "../../../hypervisor/memory/audit.ts";
import { P2M_GRANT_MAP_RO, P2M_GRANT_MAP_RW } from "../../../hypervisor/memory/p2m.ts";
import { Caller, type Field, LIST, NOWHERE, SCRATCH } from "../calls.ts";
import { FakeMachine } from "../fake-machine.ts";

const PAGES = 64;
const NO_DOMAIN = 77;
/** Guest frame where a domain sees the first frame of its grant table. */
const TABLE_GFN = 200;
const TABLE = TABLE_GFN * 4096;
const STATUS_GFN = 201;
/** Where mappings go. */
const WINDOW_GFN = 300;

class GrantGuest extends Caller {
  constructor(machine: FakeMachine, version = 1, options = {}) {
    super(machine.domain(options, PAGES));
    if (options && "maxGrantVersion" in options) return;
    if (version === 2) expect(this.grant(G.GNTTABOP_set_version, [[4, 2]])).toBe(0);
    this.place(0, TABLE_GFN);
    if (version === 2) this.place(0x80000000, STATUS_GFN);
  }

  place(index: number, gfn: number): void {
    expect(
      this.memory(XENMEM_add_to_physmap, [
        [2, DOMID_SELF],
        [2, 0],
        [4, 1],
        [8, index],
        [8, gfn],
      ]),
    ).toBe(0);
  }

  offer(ref: number, to: Caller, gfn: number, flags = 0): void {
    const head: Field[] = [
      [2, G.GTF_permit_access | flags],
      [2, to.domain.domid],
    ];
    if (this.grants.table.version === 1) this.put(TABLE + 8 * ref, ...head, [4, gfn]);
    else this.put(TABLE + 16 * ref, ...head, [4, 0], [8, gfn]);
  }

  /** @returns status and handle. */
  map(from: Caller, ref: number, gfn: number, flags = G.GNTMAP_host_map): [number, number] {
    const domid = from.domain.domid;
    const fields: Field[] = [
      [8, gfn * 4096],
      [4, flags],
      [4, ref],
      [2, domid],
      [2, 0],
      [4, 0xdead],
      [8, 0],
    ];
    expect(this.grant(G.GNTTABOP_map_grant_ref, fields)).toBe(0);
    return [this.status(SCRATCH + 18), this.get(SCRATCH + 20, 4)];
  }

  unmap(handle: number, gfn: number): number {
    expect(
      this.grant(G.GNTTABOP_unmap_grant_ref, [
        [8, gfn * 4096],
        [8, 0],
        [4, handle],
        [4, 0],
      ]),
    ).toBe(0);
    return this.status(SCRATCH + 20);
  }

  /** GTF_reading and GTF_writing of an entry. */
  use(ref: number): number {
    const at = this.grants.table.version === 1 ? TABLE + 8 * ref : STATUS_GFN * 4096 + 2 * ref;
    return this.get(at, 2) & (G.GTF_reading | G.GTF_writing);
  }

  copy(
    source: { frame: number; domid: number; offset?: number; isRef?: boolean },
    dest: { frame: number; domid: number; offset?: number; isRef?: boolean },
    length: number,
  ): number {
    const flags = (source.isRef ? G.GNTCOPY_source_gref : 0) | (dest.isRef ? G.GNTCOPY_dest_gref : 0);
    const side = (s: typeof source): Field[] => [
      [8, s.frame],
      [2, s.domid],
      [2, s.offset ?? 0],
      [4, 0],
    ];
    const fields: Field[] = [...side(source), ...side(dest), [2, length], [2, flags], [4, 0]];
    expect(this.grant(G.GNTTABOP_copy, fields)).toBe(0);
    return this.status(SCRATCH + 36);
  }
}

function pair(version = 1): { a: GrantGuest; b: GrantGuest; machine: FakeMachine; audit: () => string[] } {
  const machine = new FakeMachine();
  const a = new GrantGuest(machine, version);
  const b = new GrantGuest(machine);
  return { a, b, machine, audit: () => auditMemory(machine.hv) };
}

describe("mapping", () => {
  it.each([1, 2])("shares a page through an entry of version %i, and says so while it lasts", (version) => {
    const { a, b, audit } = pair(version);
    a.offer(9, b, 20);
    const [status, handle] = b.map(a, 9, WINDOW_GFN);
    expect(status).toBe(G.GNTST_okay);
    expect(b.domain.p2m.typeOf(WINDOW_GFN)).toBe(P2M_GRANT_MAP_RW);
    expect(a.use(9)).toBe(G.GTF_reading | G.GTF_writing);
    b.put(WINDOW_GFN * 4096 + 8, [4, 0xcafe]);
    expect(a.get(20 * 4096 + 8, 4)).toBe(0xcafe);
    expect(audit()).toEqual([]);
    expect(b.unmap(handle, WINDOW_GFN)).toBe(G.GNTST_okay);
    expect(b.domain.p2m.lookup(WINDOW_GFN)).toBe(-1);
    expect(a.use(9)).toBe(0);
    expect(b.unmap(handle, WINDOW_GFN)).toBe(G.GNTST_bad_handle);
    expect(audit()).toEqual([]);
  });

  it("refuses to write what is granted read-only, and maps it read-only", () => {
    const { a, b } = pair();
    a.offer(9, b, 20, G.GTF_readonly);
    expect(b.map(a, 9, WINDOW_GFN)[0]).toBe(G.GNTST_general_error);
    expect(b.map(a, 9, WINDOW_GFN, G.GNTMAP_host_map | G.GNTMAP_readonly)[0]).toBe(G.GNTST_okay);
    expect(b.domain.p2m.typeOf(WINDOW_GFN)).toBe(P2M_GRANT_MAP_RO);
    expect(() => b.put(WINDOW_GFN * 4096, [4, 1])).toThrow();
    expect(a.use(9)).toBe(G.GTF_reading);
  });

  it("counts mappings: the last writer clears GTF_writing, the last user GTF_reading", () => {
    const { a, b, audit } = pair();
    a.offer(9, b, 20);
    const [, writer] = b.map(a, 9, WINDOW_GFN);
    const [, reader] = b.map(a, 9, WINDOW_GFN + 1, G.GNTMAP_host_map | G.GNTMAP_readonly);
    expect(a.grants.table.activeOf(9)).toMatchObject({ reads: 1, writes: 1 });
    expect(b.unmap(writer, WINDOW_GFN)).toBe(0);
    expect(a.use(9)).toBe(G.GTF_reading);
    expect(audit()).toEqual([]);
    expect(b.unmap(reader, WINDOW_GFN + 1)).toBe(0);
    expect(a.use(9)).toBe(0);
    expect(a.grants.table.activeOf(9)).toBeNull();
  });

  it("does not let one entry be pinned more often than its counts can hold", () => {
    const { a, b } = pair();
    a.offer(9, b, 20);
    for (let i = 0; i < 128; i++) expect(b.map(a, 9, WINDOW_GFN + i)[0]).toBe(G.GNTST_okay);
    expect(b.map(a, 9, WINDOW_GFN + 128)[0]).toBe(G.GNTST_general_error);
  });

  const refused: readonly [name: string, flags: number, ref: number, domid: number, status: number][] = [
    ["no mapping asked for", G.GNTMAP_readonly, 9, 1, G.GNTST_bad_gntref],
    ["a device mapping", G.GNTMAP_device_map | G.GNTMAP_host_map, 9, 1, G.GNTST_general_error],
    ["a PTE", G.GNTMAP_host_map | G.GNTMAP_contains_pte, 9, 1, G.GNTST_general_error],
    ["flags without a meaning here", G.GNTMAP_host_map | 0x10000, 9, 1, G.GNTST_general_error],
    ["an unknown domain", G.GNTMAP_host_map, 9, NO_DOMAIN, G.GNTST_bad_domain],
    ["the control domain, which grants nothing", G.GNTMAP_host_map, 9, 0, G.GNTST_general_error],
    ["a reference beyond the control domain's table", G.GNTMAP_host_map, 512, 0, G.GNTST_bad_gntref],
    ["DOMID_SELF", G.GNTMAP_host_map, 9, DOMID_SELF, G.GNTST_bad_domain],
    ["a reference beyond the table", G.GNTMAP_host_map, 512, 1, G.GNTST_bad_gntref],
    ["the highest reference", G.GNTMAP_host_map, 0xffffffff, 1, G.GNTST_bad_gntref],
    ["an entry without a grant", G.GNTMAP_host_map, 10, 1, G.GNTST_general_error],
    ["an entry for another domain", G.GNTMAP_host_map, 11, 1, G.GNTST_general_error],
    ["a frame that is not there", G.GNTMAP_host_map, 12, 1, G.GNTST_bad_page],
    ["a frame of Xen's", G.GNTMAP_host_map, 13, 1, G.GNTST_bad_page],
    ["a cache attribute", G.GNTMAP_host_map, 14, 1, G.GNTST_general_error],
  ];
  it.each(refused)("refuses %s and leaves nothing pinned", (_name, flags, ref, domid, status) => {
    const { a, b, audit } = pair();
    a.offer(9, b, 20);
    a.offer(11, a, 20);
    a.offer(12, b, 999);
    a.offer(13, b, TABLE_GFN);
    a.offer(14, b, 20, G.GTF_PCD);
    const fields: Field[] = [
      [8, WINDOW_GFN * 4096],
      [4, flags],
      [4, ref],
      [2, domid],
      [2, 0],
      [12, 0],
    ];
    expect(b.grant(G.GNTTABOP_map_grant_ref, fields)).toBe(0);
    expect(b.status(SCRATCH + 18)).toBe(status);
    expect([...a.grants.table.pinned()]).toEqual([]);
    expect(audit()).toEqual([]);
  });

  it("unmaps only what the handle has mapped", () => {
    const { a, b, audit } = pair();
    a.offer(9, b, 20);
    a.offer(10, b, 21);
    const [, one] = b.map(a, 9, WINDOW_GFN);
    b.map(a, 10, WINDOW_GFN + 1);
    expect(b.unmap(one, WINDOW_GFN + 1)).toBe(G.GNTST_general_error);
    expect(b.unmap(one, 20)).toBe(G.GNTST_general_error);
    expect(b.unmap(99, WINDOW_GFN)).toBe(G.GNTST_bad_handle);
    expect(b.unmap(one, 0)).toBe(G.GNTST_okay);
    expect(b.grants.mappings()).toHaveLength(2);
    b.grant(G.GNTTABOP_unmap_and_replace, [
      [8, WINDOW_GFN * 4096],
      [8, 0x5000],
      [4, one],
      [4, 0],
    ]);
    expect(b.status(SCRATCH + 20)).toBe(G.GNTST_general_error);
    b.grant(G.GNTTABOP_unmap_grant_ref, [
      [8, WINDOW_GFN * 4096],
      [8, 0x123000],
      [4, one],
      [4, 0],
    ]);
    // The bus address is looked at for mappings for devices only.
    expect(b.status(SCRATCH + 20)).toBe(G.GNTST_okay);
    expect(b.grants.mappings()).toHaveLength(1);
    expect(audit()).toEqual([]);
  });

  it("takes a domain's own page from its old place when it maps its own grant", () => {
    const { a, audit } = pair();
    a.offer(9, a, 20);
    const [status, handle] = a.map(a, 9, WINDOW_GFN);
    expect([status, a.domain.p2m.lookup(20)]).toEqual([G.GNTST_okay, -1]);
    expect(audit()).toEqual([]);
    expect(a.unmap(handle, WINDOW_GFN)).toBe(G.GNTST_okay);
    expect(a.domain.totalPages).toBe(PAGES);
    expect(audit()).toEqual([]);
  });

  it("does not take a read-only mapping for a writable one", () => {
    const { a, b, audit } = pair();
    a.offer(9, b, 20);
    const [, reader] = b.map(a, 9, WINDOW_GFN, G.GNTMAP_host_map | G.GNTMAP_readonly);
    b.map(a, 9, WINDOW_GFN + 1);
    expect(b.unmap(reader, WINDOW_GFN + 1)).toBe(G.GNTST_general_error);
    expect(audit()).toEqual([]);
  });

  it("keeps a page that its owner gives back for as long as it is mapped, and from everybody else", () => {
    const { a, b, machine, audit } = pair();
    a.offer(9, b, 20);
    const mfn = a.domain.p2m.lookup(20);
    const [, handle] = b.map(a, 9, WINDOW_GFN);
    b.put(WINDOW_GFN * 4096, [4, 7]);
    a.put(LIST, [8, 20]);
    const balloon: Field[] = [
      [8, LIST],
      [8, 1],
      [4, 0],
      [4, 0],
      [8, DOMID_SELF],
    ];
    expect(a.memory(XENMEM_decrease_reservation, balloon)).toBe(1);
    expect(machine.hv.heap.ownerOf(mfn)).toBe(a.domain.domid);
    expect(audit()).toEqual([]);
    destroyDomain(a.domain);
    expect(b.get(WINDOW_GFN * 4096, 4)).toBe(7);
    expect(machine.hv.heap.ownedBy(a.domain.domid)).toBe(1);
    expect(audit()).toEqual([]);
    expect(b.unmap(handle, WINDOW_GFN)).toBe(G.GNTST_okay);
    expect(machine.hv.heap.ownedBy(a.domain.domid)).toBe(0);
    expect(audit()).toEqual([]);
  });

  it("ends the mappings of a domain that goes", () => {
    const { a, b, audit } = pair();
    a.offer(9, b, 20);
    b.map(a, 9, WINDOW_GFN);
    destroyDomain(b.domain);
    expect(a.use(9)).toBe(0);
    expect(audit()).toEqual([]);
  });

  it("does not give away, move or overwrite a mapping by other means than unmapping", () => {
    const { a, b, audit } = pair();
    a.offer(9, b, 20);
    b.map(a, 9, WINDOW_GFN);
    b.put(LIST, [8, WINDOW_GFN]);
    expect(
      b.memory(XENMEM_decrease_reservation, [
        [8, LIST],
        [8, 1],
        [4, 0],
        [4, 0],
        [8, DOMID_SELF],
      ]),
    ).toBe(0);
    const physmap = (space: number, index: number, gfn: number): Field[] => [
      [2, DOMID_SELF],
      [2, 0],
      [4, space],
      [8, index],
      [8, gfn],
    ];
    expect(b.memory(XENMEM_add_to_physmap, physmap(2, WINDOW_GFN, 400))).toBe(-EINVAL);
    expect(b.memory(XENMEM_add_to_physmap, physmap(0, 0, WINDOW_GFN))).toBeLessThan(0);
    expect(audit()).toEqual([]);
    expect(b.map(a, 9, WINDOW_GFN)[0]).toBe(G.GNTST_general_error);
    expect(b.domain.isShutDown).toBe(true);
    expect(audit()).toEqual([]);
  });
});

describe("grant copy", () => {
  it("copies between a granted page and one's own, in both directions", () => {
    const { a, b, audit } = pair();
    a.offer(9, b, 20);
    a.put(20 * 4096 + 100, [4, 0x11223344]);
    const mine = { frame: 30, domid: DOMID_SELF };
    const theirs = { frame: 9, domid: a.domain.domid, isRef: true };
    expect(b.copy({ ...theirs, offset: 100 }, { ...mine, offset: 8 }, 4)).toBe(G.GNTST_okay);
    expect(b.get(30 * 4096 + 8, 4)).toBe(0x11223344);
    expect(b.copy({ ...mine, offset: 8 }, { ...theirs, offset: 4092 }, 4)).toBe(G.GNTST_okay);
    expect(a.get(20 * 4096 + 4092, 4)).toBe(0x11223344);
    expect(a.use(9)).toBe(0);
    expect(audit()).toEqual([]);
  });

  it("answers wrong copies as Xen does", () => {
    const { a, b, audit } = pair();
    a.offer(9, b, 20, G.GTF_readonly);
    const mine = { frame: 30, domid: DOMID_SELF };
    const theirs = { frame: 9, domid: a.domain.domid, isRef: true };
    expect(b.copy(mine, theirs, 4)).toBe(G.GNTST_general_error);
    expect(b.copy({ ...theirs, offset: 4093 }, mine, 4)).toBe(G.GNTST_bad_copy_arg);
    expect(b.copy({ ...theirs, isRef: false }, mine, 4)).toBe(G.GNTST_permission_denied);
    expect(b.copy({ ...theirs, domid: NO_DOMAIN }, mine, 4)).toBe(G.GNTST_bad_domain);
    expect(b.copy({ ...theirs, frame: 5000 }, mine, 4)).toBe(G.GNTST_bad_gntref);
    expect(b.copy(theirs, { ...mine, frame: 999 }, 4)).toBe(G.GNTST_bad_page);
    expect(b.copy(theirs, { ...mine, frame: TABLE_GFN }, 4)).toBe(G.GNTST_bad_page);
    expect(audit()).toEqual([]);
  });

  it("keeps to the part of a page that is granted, which can't be mapped", () => {
    const { a, b } = pair(2);
    const entry = TABLE + 16 * 9;
    a.put(entry, [2, G.GTF_permit_access | G.GTF_sub_page], [2, b.domain.domid], [2, 64], [2, 32], [8, 20]);
    const mine = { frame: 30, domid: DOMID_SELF };
    const theirs = { frame: 9, domid: a.domain.domid, isRef: true };
    expect(b.copy({ ...theirs, offset: 64 }, mine, 32)).toBe(G.GNTST_okay);
    expect(b.copy({ ...theirs, offset: 63 }, mine, 4)).toBe(G.GNTST_general_error);
    expect(b.copy({ ...theirs, offset: 80 }, mine, 17)).toBe(G.GNTST_general_error);
    expect(b.map(a, 9, WINDOW_GFN)[0]).toBe(G.GNTST_general_error);
  });

  it("follows a transitive grant one step, with the rights of both", () => {
    const machine = new FakeMachine();
    const [a, b, c] = [new GrantGuest(machine, 2), new GrantGuest(machine), new GrantGuest(machine)];
    c.offer(8, a, 25);
    c.put(25 * 4096, [4, 0x5eed]);
    const transitive = (flags: number, domid: number, ref: number): void =>
      a.put(TABLE + 16 * 9, [2, G.GTF_transitive | flags], [2, b.domain.domid], [2, domid], [2, 0], [4, ref], [4, 0]);
    const mine = { frame: 30, domid: DOMID_SELF };
    const theirs = { frame: 9, domid: a.domain.domid, isRef: true };
    transitive(0, c.domain.domid, 8);
    expect(b.copy(theirs, mine, 4)).toBe(G.GNTST_okay);
    expect(b.get(30 * 4096, 4)).toBe(0x5eed);
    expect(b.map(a, 9, WINDOW_GFN)[0]).toBe(G.GNTST_general_error);
    transitive(G.GTF_readonly, c.domain.domid, 8);
    expect(b.copy(mine, theirs, 4)).toBe(G.GNTST_general_error);
    transitive(0, a.domain.domid, 8);
    expect(b.copy(theirs, mine, 4)).toBe(G.GNTST_general_error);
    transitive(0, NO_DOMAIN, 8);
    expect(b.copy(theirs, mine, 4)).toBe(G.GNTST_general_error);
    for (const guest of [a, c]) expect([...guest.grants.table.pinned()]).toEqual([]);
    expect(auditMemory(machine.hv)).toEqual([]);
  });
});

describe("the table", () => {
  it("answers size, version, set-up and status frames", () => {
    const { a } = pair();
    expect(
      a.grant(G.GNTTABOP_query_size, [
        [4, DOMID_SELF],
        [12, 0],
      ]),
    ).toBe(0);
    expect([a.get(SCRATCH + 4, 4), a.get(SCRATCH + 8, 4), a.status(SCRATCH + 12)]).toEqual([1, 64, 0]);
    expect(
      a.grant(G.GNTTABOP_setup_table, [
        [4, DOMID_SELF],
        [4, 2],
        [8, 0],
        [8, LIST],
      ]),
    ).toBe(0);
    expect([a.get(LIST, 4), a.get(LIST + 8, 4)]).toEqual([TABLE_GFN, 0xffffffff]);
    expect(
      a.grant(
        G.GNTTABOP_setup_table,
        [
          [4, DOMID_SELF],
          [4, 1],
          [4, 0],
          [4, LIST],
        ],
        1,
        true,
      ),
    ).toBe(0);
    expect(
      a.grant(G.GNTTABOP_get_version, [
        [4, DOMID_SELF],
        [4, 9],
      ]),
    ).toBe(0);
    expect(a.get(SCRATCH + 4, 4)).toBe(1);
    expect(
      a.grant(G.GNTTABOP_get_status_frames, [
        [4, 1],
        [2, DOMID_SELF],
        [2, 0],
        [8, LIST],
      ]),
    ).toBe(0);
    expect(a.status(SCRATCH + 6)).toBe(G.GNTST_general_error);
  });

  it("refuses what Xen refuses", () => {
    const { a, b } = pair();
    const at = (op: number, fields: Field[], where: number): number => {
      expect(a.grant(op, fields)).toBe(0);
      return a.status(SCRATCH + where);
    };
    expect(
      at(
        G.GNTTABOP_setup_table,
        [
          [4, DOMID_SELF],
          [4, 65],
          [8, 0],
          [8, LIST],
        ],
        8,
      ),
    ).toBe(G.GNTST_general_error);
    expect(
      at(
        G.GNTTABOP_setup_table,
        [
          [4, NO_DOMAIN],
          [4, 1],
          [8, 0],
          [8, LIST],
        ],
        8,
      ),
    ).toBe(G.GNTST_bad_domain);
    expect(
      at(
        G.GNTTABOP_query_size,
        [
          [4, b.domain.domid],
          [12, 0],
        ],
        12,
      ),
    ).toBe(G.GNTST_permission_denied);
    expect(
      at(
        G.GNTTABOP_transfer,
        [
          [8, 20],
          [4, 2],
          [4, 9],
          [8, 0],
        ],
        16,
      ),
    ).toBe(G.GNTST_bad_page);
    expect(
      a.grant(G.GNTTABOP_setup_table, [
        [4, DOMID_SELF],
        [4, 1],
        [8, 0],
        [8, NOWHERE],
      ]),
    ).toBe(-EFAULT);
    expect(
      a.grant(
        G.GNTTABOP_query_size,
        [
          [4, DOMID_SELF],
          [12, 0],
        ],
        2,
      ),
    ).toBe(-EINVAL);
    expect(
      a.grant(G.GNTTABOP_get_version, [
        [4, NO_DOMAIN],
        [4, 0],
      ]),
    ).toBe(-ESRCH);
    expect(
      a.grant(G.GNTTABOP_get_version, [
        [4, b.domain.domid],
        [4, 0],
      ]),
    ).toBe(-EPERM);
    expect(a.grant(G.GNTTABOP_dump_table, [[4, DOMID_SELF]])).toBe(-ENOSYS);
    expect(a.grant(0x1000, [])).toBe(-EINVAL);
    expect(a.grant(G.GNTTABOP_map_grant_ref, [[8, 0]], 0x80000000)).toBe(-EINVAL);
    expect(
      a.grant(G.GNTTABOP_cache_flush, [
        [8, 0],
        [2, 4000],
        [2, 100],
        [4, 1],
      ]),
    ).toBe(-EINVAL);
    expect(
      a.grant(G.GNTTABOP_cache_flush, [
        [8, 0],
        [2, 0],
        [2, 100],
        [4, G.GNTTAB_CACHE_SOURCE_GREF],
      ]),
    ).toBe(-EOPNOTSUPP);
    expect(grantTableOp(a.vcpu, G.GNTTABOP_map_grant_ref, BigInt(NOWHERE), 1, false)).toBe(-EFAULT);
  });

  it("changes its version unless entries are in use or can't be kept, and keeps the reserved ones", () => {
    const { a, b, audit } = pair();
    a.offer(1, b, 25);
    a.offer(9, b, 20);
    const [, handle] = b.map(a, 9, WINDOW_GFN);
    expect(a.grant(G.GNTTABOP_set_version, [[4, 2]])).toBe(-EBUSY);
    b.unmap(handle, WINDOW_GFN);
    b.map(a, 1, WINDOW_GFN);
    expect(a.grant(G.GNTTABOP_set_version, [[4, 2]])).toBe(0);
    a.place(0x80000000, STATUS_GFN);
    expect(a.get(TABLE + 16 + 8, 4)).toBe(25);
    expect(a.get(TABLE + 16 * 9, 2)).toBe(0);
    expect(a.use(1)).toBe(G.GTF_reading | G.GTF_writing);
    a.put(TABLE + 2 * 16, [2, G.GTF_transitive], [2, 1], [12, 0]);
    expect(a.grant(G.GNTTABOP_set_version, [[4, 1]])).toBe(-ERANGE);
    a.put(TABLE + 2 * 16, [16, 0]);
    expect(a.grant(G.GNTTABOP_set_version, [[4, 1]])).toBe(0);
    expect(a.get(TABLE + 8 + 4, 4)).toBe(25);
    expect(a.use(1)).toBe(G.GTF_reading | G.GTF_writing);
    expect(a.grant(G.GNTTABOP_set_version, [[4, 3]])).toBe(-EINVAL);
    expect(a.get(SCRATCH, 4)).toBe(1);
    expect(audit()).toEqual([]);
  });

  it("swaps entries that are not in use", () => {
    const { a, b } = pair();
    a.offer(9, b, 20);
    a.offer(10, b, 21, G.GTF_readonly);
    const swap = (x: number, y: number): number => {
      expect(
        a.grant(G.GNTTABOP_swap_grant_ref, [
          [4, x],
          [4, y],
          [4, 0],
        ]),
      ).toBe(0);
      return a.status(SCRATCH + 8);
    };
    expect(swap(9, 10)).toBe(G.GNTST_okay);
    expect([a.get(TABLE + 8 * 9 + 4, 4), a.get(TABLE + 8 * 10 + 4, 4)]).toEqual([21, 20]);
    expect(swap(9, 5000)).toBe(G.GNTST_bad_gntref);
    b.map(a, 10, WINDOW_GFN);
    expect(swap(9, 10)).toBe(G.GNTST_eagain);
  });

  it("has only some operations for HVM guests", () => {
    const { a } = pair();
    a.vcpu.core.activate();
    const call = (op: number): number =>
      callHypercall(a.vcpu, HYPERVISOR_grant_table_op, [op, SCRATCH, 0, 0, 0, 0].map(BigInt), false);
    expect(call(G.GNTTABOP_map_grant_ref)).toBe(0);
    for (const op of [
      G.GNTTABOP_transfer,
      G.GNTTABOP_unmap_and_replace,
      G.GNTTABOP_get_status_frames,
      G.GNTTABOP_cache_flush,
    ])
      expect(call(op)).toBe(-ENOSYS);
  });

  it("is limited to version 1, or absent, as the domain was made", () => {
    const machine = new FakeMachine();
    const old = new GrantGuest(machine, 1, { maxGrantVersion: 1 });
    expect(old.grant(G.GNTTABOP_set_version, [[4, 2]])).toBe(-ENOSYS);
    const none = new GrantGuest(machine, 1, { maxGrantVersion: 0 });
    expect(
      none.grant(G.GNTTABOP_query_size, [
        [4, DOMID_SELF],
        [12, 0],
      ]),
    ).toBe(-ENOSYS);
  });
});

it("no sequence of grants, mappings, copies, balloons and deaths loses or doubles a reference", () => {
  const ref = fc.integer({ min: 8, max: 11 });
  const who = fc.nat(1);
  const flags = fc.constantFrom(0, G.GTF_readonly, G.GTF_sub_page, G.GTF_PCD, G.GTF_reading, 0xffff);
  const step = fc.oneof(
    fc.record({ kind: fc.constant("offer" as const), who, ref, gfn: fc.integer({ min: 16, max: 20 }), flags }),
    fc.record({ kind: fc.constant("garbage" as const), who, ref, value: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }) }),
    fc.record({ kind: fc.constant("map" as const), who, ref, slot: fc.nat(5), readOnly: fc.boolean() }),
    fc.record({ kind: fc.constant("unmap" as const), who, handle: fc.nat(6), slot: fc.nat(5) }),
    fc.record({ kind: fc.constant("copy" as const), who, ref, gfn: fc.integer({ min: 16, max: 20 }) }),
    fc.record({ kind: fc.constant("balloon" as const), who, gfn: fc.constantFrom(16, 17, 18, WINDOW_GFN, TABLE_GFN) }),
    fc.record({ kind: fc.constant("version" as const), who, version: fc.constantFrom(1, 2) }),
    fc.record({ kind: fc.constant("die" as const), who }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const { a, b, machine } = pair();
      const guests = [a, b];
      for (const s of steps) {
        const [me, other] = s.who === 0 ? [a, b] : [b, a];
        if (me.domain.isDying) continue;
        const table = me.domain.p2m.lookup(TABLE_GFN) >= 0;
        if (s.kind === "offer" && table) me.offer(s.ref, other, s.gfn, s.flags);
        else if (s.kind === "garbage" && table) me.put(TABLE + 8 * s.ref, [8, s.value]);
        else if (s.kind === "map") {
          const flags = G.GNTMAP_host_map | (s.readOnly ? G.GNTMAP_readonly : 0);
          me.map(other, s.ref, WINDOW_GFN + s.slot, flags);
        } else if (s.kind === "unmap") me.unmap(s.handle, WINDOW_GFN + s.slot);
        else if (s.kind === "copy")
          me.copy({ frame: s.ref, domid: other.domain.domid, isRef: true }, { frame: s.gfn, domid: DOMID_SELF }, 64);
        else if (s.kind === "balloon") {
          me.put(LIST, [8, s.gfn]);
          me.memory(XENMEM_decrease_reservation, [
            [8, LIST],
            [8, 1],
            [4, 0],
            [4, 0],
            [8, DOMID_SELF],
          ]);
        } else if (s.kind === "version") me.grant(G.GNTTABOP_set_version, [[4, s.version]]);
        else if (s.kind === "die") destroyDomain(me.domain);
        expect(auditMemory(machine.hv)).toEqual([]);
      }
      for (const guest of guests) destroyDomain(guest.domain);
      expect(auditMemory(machine.hv)).toEqual([]);
      for (const guest of guests) expect(machine.hv.heap.ownedBy(guest.domain.domid)).toBe(0);
    }),
    { numRuns: 50, seed: 1 },
  );
}, 20_000);

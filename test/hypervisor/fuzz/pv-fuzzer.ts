/**
 * PV domains that make hypercalls at random, drawn from what is there: frames that they own, tables that are pinned, ports, grant references,
 * handles. Now and then an argument is garbage. The domains have no code: their hypercalls are called as the guest's instruction would.
 */
import * as G from "../../../hypervisor/abi/grant.ts";
import * as M from "../../../hypervisor/abi/memory.ts";
import { DOMID_SELF } from "../../../hypervisor/abi/xen.ts";
import { grantsOf } from "../../../hypervisor/grants/grants.ts";
import { auditMemory } from "../../../hypervisor/memory/audit.ts";
import { PGT_pinned } from "../../../hypervisor/memory/page-types.ts";
import { Random } from "../../support/random.ts";
import type { Field } from "../calls.ts";
import { FakeMachine, MIB } from "../fake-machine.ts";
import { A, FREE, L1, L3, L4, P, PvCaller, RO, RW, RWX, SCRATCH, US } from "../pv/pv-caller.ts";

const PAGES = 112;
/** Pages for lists, bitmaps and structures that stay as they are. */
const LISTS = 10;
const AREA = 12;
/** Pages FREE.. that become tables, and those that stay data. */
const TABLES = { first: FREE, count: 24 } as const;
const DATA = { first: FREE + 24, count: 60 } as const;
/** Entries of the first L1 beyond the domain's own pages. */
const WINDOW = 200;
const WINDOWS = 200;
/** Calls of a generation of domains; some operations can be done once in a domain's life. */
const GENERATION = 400;
const SELF = DOMID_SELF;
/** What a hypercall answers: an errno, or a number that no errno is. */
const MAX_ERRNO = 4095;

interface Operation {
  readonly name: string;
  readonly run: (f: PvFuzzer, c: PvCaller) => number;
}

export class PvFuzzer {
  readonly random: Random;
  readonly machine: FakeMachine = new FakeMachine({}, 48 * MIB);
  guests: PvCaller[] = [];
  calls = 0;
  readonly succeeded: Map<string, number> = new Map();
  readonly strange: string[] = [];
  private left = 0;

  constructor(seed: number) {
    this.random = new Random(seed);
  }

  private renew(): void {
    for (const c of this.guests) this.machine.hv.destroyDomain(c.domain);
    for (const [domid, domain] of this.machine.hv.domains) if (domain.isDying) this.machine.hv.domains.delete(domid);
    this.guests = [0, 1].map((n) => {
      const type = n === 1 && this.random.below(2) === 0 ? "pv32" : "pv";
      const memoryMap = [{ address: 0, size: PAGES * 4096, type: 1 }];
      const c = new PvCaller(this.machine, { type, maxPages: 200, memoryMap }, PAGES);
      c.domain.pauseCount = 0;
      grantsOf(c.domain)!.table.grow(2);
      return c;
    });
    this.left = GENERATION;
  }

  /** Makes `count` calls. */
  run(count: number): void {
    for (let n = 0; n < count; n++) {
      if (this.left-- <= 0 || this.guests.some((c) => c.domain.isShutDown)) this.renew();
      const c = this.random.pick(this.guests);
      const op = this.random.pick(OPERATIONS);
      c.garbage = this.random.below(8) === 0 ? this.random : null;
      const rc = op.run(this, c);
      c.garbage = null;
      this.calls++;
      // Nobody schedules here: whoever sleeps wakes up.
      for (const vcpu of c.domain.vcpus) {
        vcpu.pauseFlags = vcpu === c.vcpu ? 0 : vcpu.pauseFlags & 2;
        vcpu.polling = null;
      }
      if (rc >= 0) this.succeeded.set(op.name, (this.succeeded.get(op.name) ?? 0) + 1);
      if (!Number.isInteger(rc) || rc < -MAX_ERRNO) this.strange.push(`${op.name} answers ${rc}`);
    }
  }

  audit(): string[] {
    return auditMemory(this.machine.hv);
  }

  finish(): void {
    for (const c of this.guests) this.machine.hv.destroyDomain(c.domain);
    this.guests = [];
  }

  /** The other domain. */
  peer(c: PvCaller): PvCaller {
    return this.guests[0] === c ? this.guests[1]! : this.guests[0]!;
  }
  below(n: number): number {
    return this.random.below(n);
  }
  data(): number {
    return DATA.first + this.below(DATA.count);
  }
  table(): number {
    return TABLES.first + this.below(TABLES.count);
  }
}

const HOW = [RWX, RWX | 0xa00, RO | 0x200, P | US | A, P | RW, P] as const;
const ptr = (c: PvCaller, page: number, index: number, command = 0): bigint =>
  (BigInt(c.mfn(page)) << 12n) + BigInt(index * 8 + command);

/** A structure at SCRATCH and a hypercall with a command and its address. */
function structured(c: PvCaller, number: number, command: number, fields: readonly Field[], ...more: number[]): number {
  c.write(SCRATCH, ...fields);
  return c.call(number, command, c.at(SCRATCH), ...more);
}
const word = (c: PvCaller, value: bigint | number): Field => [
  c.domain.pv!.is32bit ? 4 : 8,
  BigInt.asUintN(c.domain.pv!.is32bit ? 32 : 64, BigInt(value)),
];

/** Makes the page read-only everywhere and a pinned, empty table of `level`. */
function makeTable(c: PvCaller, page: number, level: number): number {
  const { types, flags } = c.hv.pageTypes;
  if ((flags[c.mfn(page)]! & PGT_pinned) !== 0) return types[c.mfn(page)] === level ? 0 : -22;
  for (let i = WINDOW; i < WINDOW + WINDOWS; i++)
    if (Number((c.get(L1, i) >> 12n) & 0xfffffn) === c.mfn(page)) c.set(L1, i, 0n);
  c.protectAny(page);
  return c.ext(level - 1, c.mfn(page));
}

/** A pinned table of `level`, or one that becomes it. */
function aTable(f: PvFuzzer, c: PvCaller, level: number): number {
  const { types, flags } = c.hv.pageTypes;
  for (let n = 0; n < 8; n++) {
    const page = f.table();
    const mfn = c.mfn(page);
    if ((flags[mfn]! & PGT_pinned) !== 0 && types[mfn] === level) return page;
  }
  const page = f.table();
  makeTable(c, page, level);
  return page;
}

const is32 = (c: PvCaller): boolean => c.domain.pv!.is32bit;

const reservation = (c: PvCaller, count: number, order: number): Field[] => [
  word(c, c.at(LISTS)),
  word(c, count),
  [4, order],
  [4, 0],
  word(c, SELF),
];
const memory = (c: PvCaller, command: number, ...fields: Field[]): number => structured(c, 12, command, fields);
/** A data page that nothing maps any more; it comes back by `restorePage`. */
function unmapped(f: PvFuzzer, c: PvCaller): number {
  const page = f.data();
  c.map(page, 0n);
  return page;
}
/** The page has a new frame: the guest maps it in place of the old one. */
function restorePage(c: PvCaller, page: number, mfn: number): void {
  c.mfns[page] = mfn;
  c.map(page, c.entry(page, RWX));
}

function grantEntry(c: PvCaller, ref: number, flags: number, domid: number, frame: number): void {
  const { table } = grantsOf(c.domain)!;
  const { memory: ram } = c.hv;
  const perFrame = table.version === 1 ? 512 : 256;
  const at = ram.frame(table.frames[Math.floor(ref / perFrame)]!) + (ref % perFrame) * (table.version === 1 ? 8 : 16);
  ram.write16(at + 2, domid);
  if (table.version === 1) ram.write32(at + 4, frame);
  else ram.write64(at + 8, BigInt(frame));
  ram.write16(at, flags);
}
const status = (c: PvCaller, rc: number, offset: number): number =>
  rc < 0 ? rc : (c.get32(SCRATCH, offset) << 16) >> 16;
const grant = (c: PvCaller, command: number, offset: number, ...fields: Field[]): number =>
  status(c, structured(c, 20, command, fields, 1), offset);

function mapGrant(f: PvFuzzer, c: PvCaller, flags: number): number {
  const p = f.peer(c);
  const ref = 8 + f.below(24);
  if (grantsOf(p.domain)!.table.activeOf(ref) === null)
    grantEntry(p, ref, G.GTF_permit_access, c.domain.domid, p.mfn(f.data()));
  const at = WINDOW + f.below(WINDOWS);
  const where = (flags & G.GNTMAP_contains_pte) !== 0 ? ptr(c, L1, at) : c.at(at);
  const rc = grant(
    c,
    G.GNTTABOP_map_grant_ref,
    18,
    [8, where],
    [4, flags],
    [4, ref],
    [2, p.domain.domid],
    [2, 0],
    [4, 0],
    [8, 0],
  );
  if (rc === 0) c.handles.push([c.get32(SCRATCH, 20), where, p.mfn(f.data())]);
  return rc;
}

const evtchn = (c: PvCaller, command: number, ...fields: Field[]): number => structured(c, 32, command, fields);
const port = (f: PvFuzzer, c: PvCaller): number => (c.ports.length > 0 ? f.random.pick(c.ports) : f.below(20));
function newPort(c: PvCaller, rc: number, offset: number): number {
  if (rc === 0) c.ports.push(c.get32(SCRATCH, offset));
  if (c.ports.length > 200) c.ports.length = 0;
  return rc;
}

const vcpuOp = (c: PvCaller, command: number, id: number, ...fields: Field[]): number => {
  c.write(SCRATCH, ...fields);
  return c.call(24, command, id, fields.length > 0 ? c.at(SCRATCH) : 0);
};

/** vcpu_guest_context for vcpu 1 on the first tables. @returns where it is */
function context(c: PvCaller): bigint {
  for (const page of [AREA, AREA + 1]) c.hv.memory.zeroFrame(c.mfn(page));
  const { memory: ram } = c.hv;
  const at = (offset: number): number => ram.frame(c.mfn(AREA + (offset >>> 12))) + (offset & 0xfff);
  ram.write32(at(512), 1 << 2);
  if (is32(c)) {
    const cr3 = c.mfn(L3);
    ram.write32(at(2716 + 12), ((cr3 << 12) | (cr3 >>> 20)) >>> 0);
  } else ram.write64(at(4984 + 24), BigInt(c.mfn(L4)) << 12n);
  return c.at(AREA);
}

const many = (names: readonly string[], run: (n: number) => Operation["run"]): Operation[] =>
  names.map((name, n) => ({ name, run: run(n) }));

const OPERATIONS: readonly Operation[] = [
  // --- mmu_update
  {
    name: "mmu_update: map",
    run: (f, c) => c.set(L1, WINDOW + f.below(WINDOWS), c.entry(f.data(), f.random.pick(HOW)), f.below(4) & 2),
  },
  {
    name: "mmu_update: map, no translation",
    run: (f, c) => c.set(L1, WINDOW + f.below(WINDOWS), c.entry(f.data(), RO), 3),
  },
  {
    name: "mmu_update: unmap",
    run: (f, c) => c.set(L1, WINDOW + f.below(WINDOWS), f.random.bits(64) & ~1n, f.random.pick([0, 2])),
  },
  {
    name: "mmu_update: any frame",
    run: (f, c) =>
      c.set(L1, WINDOW + f.below(WINDOWS), (BigInt(f.below(c.hv.heap.frames)) << 12n) | BigInt(f.random.pick(HOW))),
  },
  { name: "mmu_update: machphys", run: (f, c) => c.update([[ptr(c, f.data(), 0, 1), f.random.bits(64)]]) },
  { name: "mmu_update: store", run: (f, c) => c.set(f.data(), f.below(512), f.random.bits(64)) },
  ...many(["mmu_update: L1", "mmu_update: L2", "mmu_update: L3", "mmu_update: L4"], (n) => (f, c) => {
    if (n === 0) return c.set(aTable(f, c, 1), f.below(512), c.entry(f.data(), f.random.pick(HOW)));
    const level = n + 1;
    const target = f.below(6) === 0 ? aTable(f, c, level) : aTable(f, c, level - 1);
    const index =
      level === 3 && is32(c) ? f.below(3) : level === 4 ? f.random.pick([5, 100, 255, 256, 272, 511]) : f.below(512);
    return c.set(
      aTable(f, c, level),
      index,
      c.entry(target, f.below(4) === 0 ? P | A : is32(c) && level === 3 ? P : RWX),
    );
  }),
  {
    name: "mmu_update: batch",
    run: (f, c) =>
      c.update(
        Array.from(
          { length: 1 + f.below(200) },
          () => [ptr(c, L1, WINDOW + f.below(WINDOWS)), f.below(2) === 0 ? 0n : c.entry(f.data(), RWX)] as const,
        ),
      ),
  },
  // --- update_va_mapping
  ...many(
    ["no flush", "flush here", "flush all", "flush some", "invlpg here", "invlpg all", "invlpg some"],
    (n) => (f, c) => {
      c.put(LISTS, 0, BigInt(f.below(4)));
      return c.mapAt(
        WINDOW + f.below(WINDOWS),
        f.below(2) === 0 ? 0n : c.entry(f.data(), RWX),
        [0n, 1n, 5n, c.at(LISTS) | 1n, 2n, 6n, c.at(LISTS) | 2n][n]!,
      );
    },
  ).map((o): Operation => ({ name: `update_va_mapping: ${o.name}`, run: o.run })),
  {
    name: "update_va_mapping_otherdomain",
    run: (f, c) =>
      c.mapAt(WINDOW + f.below(WINDOWS), c.entry(f.data(), RWX), 0n, f.below(8) === 0 ? f.peer(c).domain.domid : SELF),
  },
  // --- mmuext_op
  ...many(["pin L1", "pin L2", "pin L3", "pin L4"], (n) => (f, c) => {
    const page = f.table();
    if ((c.hv.pageTypes.flags[c.mfn(page)]! & PGT_pinned) !== 0) c.ext(4, c.mfn(page));
    return makeTable(c, page, n + 1);
  }),
  { name: "unpin", run: (f, c) => c.ext(4, c.mfn(aTable(f, c, 1 + f.below(3)))) },
  {
    name: "new_baseptr",
    run: (f, c) => {
      if (is32(c)) return c.ext(5, c.mfn(L3));
      const page = aTable(f, c, 4);
      // It must map what the test needs.
      c.set(page, 0, c.entry(L3, RWX));
      return c.ext(5, c.mfn(c.get(page, 0) === 0n || f.below(3) === 0 ? L4 : page)) + Math.min(0, c.ext(5, c.mfn(L4)));
    },
  },
  { name: "new_user_baseptr", run: (f, c) => c.ext(15, f.below(4) === 0 ? 0 : c.mfn(aTable(f, c, 4))) },
  ...many(
    ["tlb_flush_local", "invlpg_local", "tlb_flush_multi", "invlpg_multi", "tlb_flush_all", "invlpg_all"],
    (n) => (f, c) => {
      c.put(LISTS, 0, BigInt(f.below(4)));
      return c.ext(6 + n, c.at(f.data()), c.at(LISTS));
    },
  ),
  { name: "set_ldt", run: (f, c) => c.ext(13, c.at(f.data()), f.random.pick([0, 1, 512, 8192])) },
  { name: "clear_page", run: (f, c) => c.ext(16, c.mfn(f.data())) },
  { name: "copy_page", run: (f, c) => c.ext(17, c.mfn(f.data()), c.mfn(f.data())) },
  {
    name: "mmuext: anything",
    run: (f, c) =>
      c.ext(
        f.below(24),
        f.below(c.hv.heap.frames),
        f.random.next(),
        f.random.pick([SELF, SELF, 0, 0x7ff1, f.peer(c).domain.domid]),
      ) * 0,
  },
  // --- memory_op
  {
    name: "increase_reservation",
    run: (_f, c) => {
      const rc = memory(c, M.XENMEM_increase_reservation, ...reservation(c, 1, 0));
      return rc > 0 ? giveBack(c) : rc - 1;
    },
  },
  {
    name: "decrease and populate",
    run: (f, c) => {
      const page = unmapped(f, c);
      c.write(LISTS, word(c, c.mfn(page)));
      if (memory(c, M.XENMEM_decrease_reservation, ...reservation(c, 1, 0)) !== 1) return -1;
      c.write(LISTS, word(c, page));
      if (memory(c, M.XENMEM_populate_physmap, ...reservation(c, 1, 0)) !== 1) return -1;
      restorePage(c, page, c.get32(LISTS, 0));
      return 0;
    },
  },
  {
    name: "exchange",
    run: (f, c) => {
      const page = unmapped(f, c);
      c.write(LISTS, word(c, c.mfn(page)));
      c.write(LISTS + 1, word(c, page));
      const side = (list: number): Field[] => [word(c, c.at(list)), word(c, 1), [4, 0], [4, 0], word(c, SELF)];
      const rc = memory(c, M.XENMEM_exchange, ...side(LISTS), ...side(LISTS + 1), word(c, 0));
      restorePage(c, page, rc === 0 ? c.get32(LISTS + 1, 0) : c.mfn(page));
      return rc;
    },
  },
  { name: "maximum_ram_page", run: (_f, c) => c.call(12, M.XENMEM_maximum_ram_page, 0) },
  ...many(["current_reservation", "maximum_reservation"], (n) => (_f, c) => memory(c, 3 + n, [2, SELF])),
  { name: "maximum_gpfn", run: (_f, c) => memory(c, M.XENMEM_maximum_gpfn, [2, SELF]) },
  { name: "machphys_mapping", run: (_f, c) => memory(c, M.XENMEM_machphys_mapping) },
  {
    name: "machphys_mfn_list",
    run: (f, c) => memory(c, f.random.pick([5, 25]), word(c, 4), word(c, c.at(LISTS)), [8, 0]),
  },
  { name: "memory_map", run: (_f, c) => memory(c, M.XENMEM_memory_map, word(c, 3), word(c, c.at(LISTS))) },
  {
    name: "set_memory_map",
    run: (_f, c) => memory(c, M.XENMEM_set_memory_map, word(c, SELF), word(c, 1), word(c, c.at(LISTS))),
  },
  {
    name: "reserved_device_memory_map",
    run: (_f, c) => memory(c, M.XENMEM_reserved_device_memory_map, [4, 0], [4, 1], word(c, c.at(LISTS)), [8, 0]),
  },
  { name: "sharing", run: (f, c) => c.call(12, f.random.pick([18, 19]), 0) },
  {
    name: "memory_op: anything",
    run: (f, c) =>
      memory(
        c,
        f.below(30),
        ...Array.from({ length: 10 }, (): Field => word(c, f.below(3) === 0 ? f.random.bits(64) : f.below(500))),
      ) * 0,
  },
  // --- grant_table_op
  { name: "map_grant_ref", run: (f, c) => mapGrant(f, c, f.random.pick([2, 6])) },
  { name: "map_grant_ref by pte", run: (f, c) => mapGrant(f, c, f.random.pick([18, 22, 26])) },
  {
    name: "map_grant_ref for devices",
    run: (f, c) => {
      const rc = mapGrant(f, c, 3);
      const bus = [...grantsOf(c.domain)!.mappings()].at(-1);
      const last = c.handles.pop();
      if (rc === 0 && bus !== undefined)
        grant(c, 1, 20, [8, last![1]], [8, BigInt(bus.mfn) << 12n], [4, last![0]], [4, 0]);
      return rc;
    },
  },
  {
    name: "unmap_grant_ref",
    run: (f, c) => {
      const [handle, where] = c.handles.splice(f.below(Math.max(1, c.handles.length)), 1)[0] ?? [f.below(9), 0n];
      return grant(c, G.GNTTABOP_unmap_grant_ref, 20, [8, where], [8, 0], [4, handle], [4, 0]);
    },
  },
  {
    name: "unmap_and_replace",
    run: (f, c) => {
      if (mapGrant(f, c, 2) !== 0) return -1;
      const [handle, where] = c.handles.pop()!;
      const from = WINDOW + f.below(WINDOWS);
      return grant(c, G.GNTTABOP_unmap_and_replace, 20, [8, where], [8, c.at(from)], [4, handle], [4, 0]);
    },
  },
  {
    name: "setup_table",
    run: (f, c) =>
      grant(
        c,
        G.GNTTABOP_setup_table,
        is32(c) ? 8 : 8,
        [2, SELF],
        [2, 0],
        [4, 1 + f.below(4)],
        [2, 0],
        ...(is32(c) ? [[2, 0] as Field] : [[6, 0] as Field]),
        word(c, c.at(LISTS)),
      ),
  },
  {
    name: "transfer",
    run: (f, c) => {
      const p = f.peer(c);
      const ref = 40 + f.below(10);
      const page = unmapped(f, c);
      const taken = unmapped(f, p);
      // The taker makes room by giving a frame back, and the giver gets one for what it has given.
      p.write(LISTS, word(p, p.mfn(taken)));
      const gave = memory(p, M.XENMEM_decrease_reservation, ...reservation(p, 1, 0));
      grantEntry(p, ref, G.GTF_accept_transfer, c.domain.domid, taken);
      const mfn = c.mfn(page);
      const rc = grant(
        c,
        G.GNTTABOP_transfer,
        is32(c) ? 12 : 16,
        word(c, mfn),
        [2, p.domain.domid],
        [2, 0],
        [4, ref],
        [8, 0],
      );
      refill(c, page);
      if (rc === 0) restorePage(p, taken, mfn);
      else if (gave === 1) refill(p, taken);
      else p.map(taken, p.entry(taken, RWX));
      return rc;
    },
  },
  {
    name: "copy",
    run: (f, c) => {
      const p = f.peer(c);
      const ref = 60 + f.below(10);
      grantEntry(p, ref, G.GTF_permit_access, c.domain.domid, p.mfn(f.data()));
      const pad: Field[] = is32(c) ? [] : [[4, 0]];
      const flags = f.below(2) === 0 ? 1 : 2;
      const theirs: Field[] = [word(c, ref), [2, p.domain.domid], [2, f.below(2000)], ...pad];
      const mine: Field[] = [word(c, c.mfn(f.data())), [2, SELF], [2, f.below(2000)], ...pad];
      return grant(
        c,
        G.GNTTABOP_copy,
        is32(c) ? 20 : 36,
        ...(flags === 1 ? [...theirs, ...mine] : [...mine, ...theirs]),
        [2, f.below(2096)],
        [2, flags],
        [4, 0],
      );
    },
  },
  { name: "query_size", run: (_f, c) => grant(c, G.GNTTABOP_query_size, 12, [2, SELF], [2, 0], [4, 0], [8, 0]) },
  { name: "set_version", run: (f, c) => structured(c, 20, G.GNTTABOP_set_version, [[4, f.random.pick([1, 2])]], 1) },
  {
    name: "get_version",
    run: (_f, c) =>
      structured(
        c,
        20,
        G.GNTTABOP_get_version,
        [
          [2, SELF],
          [6, 0],
        ],
        1,
      ),
  },
  {
    name: "get_status_frames",
    run: (f, c) => grant(c, G.GNTTABOP_get_status_frames, 6, [4, f.below(2)], [2, SELF], [2, 0], word(c, c.at(LISTS))),
  },
  {
    name: "swap_grant_ref",
    run: (f, c) => grant(c, G.GNTTABOP_swap_grant_ref, 8, [4, 80 + f.below(10)], [4, 80 + f.below(10)], [4, 0]),
  },
  {
    name: "cache_flush",
    run: (f, c) =>
      structured(
        c,
        20,
        G.GNTTABOP_cache_flush,
        [
          [8, BigInt(c.mfn(f.data())) << 12n],
          [2, 0],
          [2, 64],
          [4, 1],
        ],
        1,
      ),
  },
  // --- event_channel_op
  { name: "alloc_unbound", run: (f, c) => newPort(c, evtchn(c, 6, [2, SELF], [2, f.peer(c).domain.domid], [4, 0]), 4) },
  {
    name: "bind_interdomain",
    run: (f, c) => {
      const p = f.peer(c);
      if (newPort(p, evtchn(p, 6, [2, SELF], [2, c.domain.domid], [4, 0]), 4) !== 0) return -1;
      return newPort(c, evtchn(c, 0, [2, p.domain.domid], [2, 0], [4, p.ports.at(-1) ?? 0], [4, 0]), 8);
    },
  },
  { name: "bind_virq", run: (f, c) => newPort(c, evtchn(c, 1, [4, f.below(2)], [4, f.below(2)], [4, 0]), 8) },
  { name: "bind_ipi", run: (f, c) => newPort(c, evtchn(c, 7, [4, f.below(2)], [4, 0]), 4) },
  { name: "close", run: (f, c) => evtchn(c, 3, [4, port(f, c)]) },
  { name: "send", run: (f, c) => evtchn(c, 4, [4, port(f, c)]) },
  { name: "status", run: (f, c) => evtchn(c, 5, [2, SELF], [2, 0], [4, port(f, c)], [8, 0], [8, 0]) },
  { name: "bind_vcpu", run: (f, c) => evtchn(c, 8, [4, port(f, c)], [4, f.below(2)]) },
  { name: "unmask", run: (f, c) => evtchn(c, 9, [4, port(f, c)]) },
  { name: "evtchn reset", run: (f, c) => (f.below(4) === 0 ? evtchn(c, 10, [2, SELF]) : -1) },
  { name: "init_control", run: (f, c) => evtchn(c, 11, [8, c.mfn(f.data())], [4, 0], [4, f.below(2)], [8, 0]) },
  { name: "expand_array", run: (f, c) => evtchn(c, 12, [8, c.mfn(f.data())]) },
  { name: "set_priority", run: (f, c) => evtchn(c, 13, [4, port(f, c)], [4, f.below(17)]) },
  // --- vcpu_op and sched_op
  {
    name: "vcpu initialise",
    run: (_f, c) => (c.domain.vcpus[1]!.isInitialised ? -17 : c.call(24, 0, 1, context(c))),
  },
  { name: "vcpu up", run: (_f, c) => vcpuOp(c, 1, 1) },
  { name: "vcpu down", run: (_f, c) => vcpuOp(c, 2, 1) },
  { name: "vcpu is_up", run: (f, c) => vcpuOp(c, 3, f.below(3)) },
  { name: "get_runstate_info", run: (f, c) => vcpuOp(c, 4, f.below(2), [8, 0]) },
  {
    name: "register_runstate_memory_area",
    run: (f, c) => vcpuOp(c, 5, f.below(2), [8, f.below(3) === 0 ? 0 : c.at(AREA + 2)]),
  },
  { name: "set_periodic_timer", run: (f, c) => vcpuOp(c, 6, f.below(2), [8, 1_000_000 + f.below(1_000_000)]) },
  { name: "stop_periodic_timer", run: (f, c) => vcpuOp(c, 7, f.below(2)) },
  { name: "set_singleshot_timer", run: (f, c) => vcpuOp(c, 8, 0, [8, f.random.bits(40)], [8, 0]) },
  { name: "stop_singleshot_timer", run: (_f, c) => vcpuOp(c, 9, 0) },
  {
    name: "register_vcpu_info",
    run: (f, c) => vcpuOp(c, 10, f.below(2), [8, c.mfn(f.data())], [4, f.below(60) * 64], [4, 0]),
  },
  { name: "send_nmi", run: (f, c) => c.call(24, 11, f.below(2), 0) },
  {
    name: "register_vcpu_time_memory_area",
    run: (f, c) => vcpuOp(c, 13, f.below(2), [8, f.below(3) === 0 ? 0 : c.at(AREA + 2, 256)]),
  },
  { name: "yield", run: (_f, c) => c.call(29, 0, 0) },
  { name: "block", run: (_f, c) => c.call(29, 1, 0) },
  { name: "shutdown", run: (f, c) => (f.below(3) === 0 ? structured(c, 29, 2, [[4, f.below(5)]]) : -1) },
  {
    name: "poll",
    run: (f, c) => {
      c.write(LISTS, [4, port(f, c)]);
      return structured(c, 29, 3, [word(c, c.at(LISTS)), word(c, f.below(2)), [8, 1000]]);
    },
  },
  { name: "shutdown_code", run: (f, c) => structured(c, 29, 5, [[4, f.below(5)]]) },
  {
    name: "watchdog",
    run: (f, c) =>
      structured(c, 29, 6, [
        [4, f.below(3)],
        [4, f.below(2) * 1000],
      ]),
  },
  // --- traps, descriptors, the rest
  {
    name: "set_trap_table",
    run: (f, c) => {
      c.write(LISTS, ...trapTable(f, c));
      return c.call(0, f.below(4) === 0 ? 0 : c.at(LISTS));
    },
  },
  {
    name: "set_gdt",
    run: (f, c) => {
      const page = f.data();
      c.hv.memory.zeroFrame(c.mfn(page));
      c.map(page, c.entry(page, RO));
      c.write(LISTS, word(c, c.mfn(page)));
      const rc = c.call(2, c.at(LISTS), 512);
      // And back, so that data stays data.
      if (f.below(4) !== 0) c.call(2, 0, 0);
      c.map(page, c.entry(page, RWX));
      return rc;
    },
  },
  {
    name: "update_descriptor",
    run: (f, c) => {
      const at = ptr(c, f.data(), f.below(512));
      const value = f.random.pick([0n, 0x00cffb000000ffffn, 0x00cff3000000ffffn]);
      return is32(c) ? c.call(10, at, at >> 32n, value & 0xffffffffn, value >> 32n) : c.call(10, at, value);
    },
  },
  { name: "stack_switch", run: (f, c) => c.call(3, f.random.pick([0xe02b, 0xe021]), c.at(f.data())) },
  { name: "set_callbacks", run: (f, c) => c.call(4, c.at(f.data()), c.at(f.data()), c.at(f.data()), 0) },
  {
    name: "callback_op: register",
    run: (f, c) =>
      structured(c, 30, 0, [
        [2, f.random.pick([0, 1, 2, 5, 7])],
        [2, f.below(2)],
        ...(is32(c) ? [] : [[4, 0] as Field]),
        word(c, c.at(f.data())),
        word(c, c.at(f.data())),
      ]),
  },
  {
    name: "callback_op: unregister nmi",
    run: (_f, c) =>
      structured(c, 30, 1, [
        [2, 4],
        [2, 0],
      ]),
  },
  { name: "nmi_op", run: (f, c) => structured(c, 28, f.below(2), [word(c, c.at(f.data())), word(c, 0)]) },
  { name: "fpu_taskswitch", run: (f, c) => c.call(5, f.below(2)) },
  {
    name: "set_debugreg",
    run: (f, c) => c.call(8, f.random.pick([0, 1, 2, 3, 6]), f.below(2) === 0 ? c.at(f.data()) : 0),
  },
  { name: "get_debugreg", run: (f, c) => c.call(9, f.random.pick([0, 1, 2, 3])) },
  {
    name: "set_segment_base",
    run: (f, c) =>
      is32(c) ? -38 : c.call(25, f.below(4), f.below(2) === 0 ? 0 : c.at(f.data()) & 0xffffffff_ffffffffn),
  },
  { name: "vm_assist", run: (f, c) => c.call(21, f.below(2), f.random.pick([0, 1, 2, 3, 4, 5, 32])) },
  { name: "physdev_op: set_iopl", run: (f, c) => structured(c, 33, 6, [[4, f.below(4)]]) },
  {
    name: "physdev_op: set_iobitmap",
    run: (f, c) => structured(c, 33, 7, [word(c, c.at(LISTS)), [4, f.below(65537)], [4, 0]]),
  },
  { name: "set_timer_op", run: (f, c) => c.call(15, f.below(2) === 0 ? 0 : f.below(2 ** 30)) },
  ...many(
    [
      "xen_version",
      "extraversion",
      "compile_info",
      "capabilities",
      "changeset",
      "platform_parameters",
      "get_features",
      "pagesize",
      "guest_handle",
      "commandline",
    ],
    (n) => (_f, c) =>
      n === 6
        ? structured(c, 17, 6, [
            [4, 0],
            [4, 0],
          ])
        : c.call(17, n, n === 7 ? 0 : c.at(LISTS)),
  ),
  { name: "console_io", run: (f, c) => c.call(18, 0, f.below(100), c.at(LISTS)) },
  {
    name: "multicall",
    run: (f, c) => {
      const call = (number: number, ...args: (bigint | number)[]): Field[] =>
        [0, 1, 2, 3, 4, 5, 6, 7].map((n) => word(c, n === 0 ? number : n === 1 ? 0 : (args[n - 2] ?? 0)));
      c.write(LISTS, ...call(17, 0, 0), ...call(14, c.at(WINDOW), 0, 0), ...call(29, 0, 0), ...call(13, 0, 0));
      return c.call(13, c.at(LISTS), 1 + f.below(4));
    },
  },
  {
    name: "anything",
    run: (f, c) => {
      const number = f.below(64);
      // iret is no call that comes back.
      if (number === 23) return 0;
      return (
        c.call(
          number,
          ...Array.from({ length: 6 }, () =>
            f.random.pick([0, 1, f.below(64), c.at(SCRATCH), c.at(f.data()), f.random.bits(64), SELF]),
          ),
        ) * 0
      );
    },
  },
];

/** Operations that succeed if they are asked well; "any..." ones need not. */
export const NAMES: readonly string[] = OPERATIONS.map((o) => o.name).filter((name) => !/any/.test(name));

/** Gives the frame of the list back that increase_reservation has put there. */
const giveBack = (c: PvCaller): number => memory(c, M.XENMEM_decrease_reservation, ...reservation(c, 1, 0)) - 1;

/** A new frame for a page that has lost its own. */
function refill(c: PvCaller, page: number): void {
  c.write(LISTS, word(c, page));
  if (memory(c, M.XENMEM_populate_physmap, ...reservation(c, 1, 0)) === 1) restorePage(c, page, c.get32(LISTS, 0));
}

function trapTable(f: PvFuzzer, c: PvCaller): Field[] {
  const entries: Field[] = [];
  for (let n = f.below(5); n >= 0; n--)
    entries.push(
      [1, f.below(256)],
      [1, f.below(8)],
      [2, 0xe033],
      ...(is32(c) ? [] : [[4, 0] as Field]),
      word(c, c.at(f.data())),
    );
  return [...entries, [8, 0], [8, 0]];
}

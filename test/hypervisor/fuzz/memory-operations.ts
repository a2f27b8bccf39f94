/** Hypercalls of the PV fuzzer on memory: page tables, mmuext_op, memory_op. */
import * as M from "../../../hypervisor/abi/memory.ts";
import { PGT_pinned } from "../../../hypervisor/memory/page-types.ts";
import type { Field } from "../calls.ts";
import { A, L1, L3, L4, P, RO, RWX } from "../pv/pv-caller.ts";
import {
  aTable,
  dataPage,
  giveBack,
  HOW,
  is32,
  LISTS,
  makeTable,
  many,
  memory,
  type Operation,
  peer,
  ptr,
  reservation,
  restorePage,
  SELF,
  tablePage,
  unmapped,
  WINDOW,
  WINDOWS,
  word,
} from "./operations.ts";

export const MEMORY_OPERATIONS: readonly Operation[] = [
  // --- mmu_update
  {
    name: "mmu_update: map",
    run: (f, c) =>
      c.set(L1, WINDOW + f.random.below(WINDOWS), c.entry(dataPage(f), f.random.pick(HOW)), f.random.below(4) & 2),
  },
  {
    name: "mmu_update: map, no translation",
    run: (f, c) => c.set(L1, WINDOW + f.random.below(WINDOWS), c.entry(dataPage(f), RO), 3),
  },
  {
    name: "mmu_update: unmap",
    run: (f, c) => c.set(L1, WINDOW + f.random.below(WINDOWS), f.random.bits(64) & ~1n, f.random.pick([0, 2])),
  },
  {
    name: "mmu_update: any frame",
    run: (f, c) =>
      c.set(
        L1,
        WINDOW + f.random.below(WINDOWS),
        (BigInt(f.random.below(c.hv.heap.frames)) << 12n) | BigInt(f.random.pick(HOW)),
      ),
  },
  { name: "mmu_update: machphys", run: (f, c) => c.update([[ptr(c, dataPage(f), 0, 1), f.random.bits(64)]]) },
  { name: "mmu_update: store", run: (f, c) => c.set(dataPage(f), f.random.below(512), f.random.bits(64)) },
  ...many(["mmu_update: L1", "mmu_update: L2", "mmu_update: L3", "mmu_update: L4"], (n) => (f, c) => {
    if (n === 0) return c.set(aTable(f, c, 1), f.random.below(512), c.entry(dataPage(f), f.random.pick(HOW)));
    const level = n + 1;
    const target = f.random.below(6) === 0 ? aTable(f, c, level) : aTable(f, c, level - 1);
    const index =
      level === 3 && is32(c)
        ? f.random.below(3)
        : level === 4
          ? f.random.pick([5, 100, 255, 256, 272, 511])
          : f.random.below(512);
    return c.set(
      aTable(f, c, level),
      index,
      c.entry(target, f.random.below(4) === 0 ? P | A : is32(c) && level === 3 ? P : RWX),
    );
  }),
  {
    name: "mmu_update: batch",
    run: (f, c) =>
      c.update(
        Array.from(
          { length: 1 + f.random.below(200) },
          () =>
            [
              ptr(c, L1, WINDOW + f.random.below(WINDOWS)),
              f.random.below(2) === 0 ? 0n : c.entry(dataPage(f), RWX),
            ] as const,
        ),
      ),
  },
  // --- update_va_mapping
  ...many(
    ["no flush", "flush here", "flush all", "flush some", "invlpg here", "invlpg all", "invlpg some"],
    (n) => (f, c) => {
      c.put(LISTS, 0, BigInt(f.random.below(4)));
      return c.mapAt(
        WINDOW + f.random.below(WINDOWS),
        f.random.below(2) === 0 ? 0n : c.entry(dataPage(f), RWX),
        [0n, 1n, 5n, c.at(LISTS) | 1n, 2n, 6n, c.at(LISTS) | 2n][n]!,
      );
    },
  ).map((o): Operation => ({ name: `update_va_mapping: ${o.name}`, run: o.run })),
  {
    name: "update_va_mapping_otherdomain",
    run: (f, c) =>
      c.mapAt(
        WINDOW + f.random.below(WINDOWS),
        c.entry(dataPage(f), RWX),
        0n,
        f.random.below(8) === 0 ? peer(f, c).domain.domid : SELF,
      ),
  },
  // --- mmuext_op
  ...many(["pin L1", "pin L2", "pin L3", "pin L4"], (n) => (f, c) => {
    const page = tablePage(f);
    if ((c.hv.pageTypes.flags[c.mfn(page)]! & PGT_pinned) !== 0) c.ext(4, c.mfn(page));
    return makeTable(c, page, n + 1);
  }),
  { name: "unpin", run: (f, c) => c.ext(4, c.mfn(aTable(f, c, 1 + f.random.below(3)))) },
  {
    name: "new_baseptr",
    run: (f, c) => {
      if (is32(c)) return c.ext(5, c.mfn(L3));
      const page = aTable(f, c, 4);
      // It must map what the test needs.
      c.set(page, 0, c.entry(L3, RWX));
      return (
        c.ext(5, c.mfn(c.get(page, 0) === 0n || f.random.below(3) === 0 ? L4 : page)) + Math.min(0, c.ext(5, c.mfn(L4)))
      );
    },
  },
  { name: "new_user_baseptr", run: (f, c) => c.ext(15, f.random.below(4) === 0 ? 0 : c.mfn(aTable(f, c, 4))) },
  ...many(
    ["tlb_flush_local", "invlpg_local", "tlb_flush_multi", "invlpg_multi", "tlb_flush_all", "invlpg_all"],
    (n) => (f, c) => {
      c.put(LISTS, 0, BigInt(f.random.below(4)));
      return c.ext(6 + n, c.at(dataPage(f)), c.at(LISTS));
    },
  ),
  { name: "set_ldt", run: (f, c) => c.ext(13, c.at(dataPage(f)), f.random.pick([0, 1, 512, 8192])) },
  { name: "clear_page", run: (f, c) => c.ext(16, c.mfn(dataPage(f))) },
  { name: "copy_page", run: (f, c) => c.ext(17, c.mfn(dataPage(f)), c.mfn(dataPage(f))) },
  {
    name: "mmuext: anything",
    run: (f, c) =>
      c.ext(
        f.random.below(24),
        f.random.below(c.hv.heap.frames),
        f.random.next(),
        f.random.pick([SELF, SELF, 0, 0x7ff1, peer(f, c).domain.domid]),
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
        f.random.below(30),
        ...Array.from(
          { length: 10 },
          (): Field => word(c, f.random.below(3) === 0 ? f.random.bits(64) : f.random.below(500)),
        ),
      ) * 0,
  },
];

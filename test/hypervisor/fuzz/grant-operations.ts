/** Hypercalls of the PV fuzzer on grants and event channels. */
import * as G from "../../../hypervisor/abi/grant.ts";
import { XENMEM_decrease_reservation } from "../../../hypervisor/abi/memory.ts";
import { grantsOf } from "../../../hypervisor/grants/grants.ts";
import type { Field } from "../calls.ts";
import { L1, RWX, SCRATCH } from "../pv/pv-caller.ts";
import type { GuestCaller } from "./guest-caller.ts";
import {
  dataPage,
  evtchn,
  type Fuzzer,
  is32,
  LISTS,
  memory,
  newPort,
  type Operation,
  peer,
  port,
  ptr,
  refill,
  reservation,
  restorePage,
  SELF,
  structured,
  unmapped,
  WINDOW,
  WINDOWS,
  word,
} from "./operations.ts";

function grantEntry(c: GuestCaller, ref: number, flags: number, domid: number, frame: number): void {
  const { table } = grantsOf(c.domain)!;
  const { memory: ram } = c.hv;
  const perFrame = table.version === 1 ? 512 : 256;
  const at = ram.frame(table.frames[Math.floor(ref / perFrame)]!) + (ref % perFrame) * (table.version === 1 ? 8 : 16);
  ram.write16(at + 2, domid);
  if (table.version === 1) ram.write32(at + 4, frame);
  else ram.write64(at + 8, BigInt(frame));
  ram.write16(at, flags);
}
/** grant_table_op of one structure without a status. */
function plain(c: GuestCaller, command: number, ...fields: Field[]): number {
  const rc = structured(c, 20, command, fields, 1);
  if (rc >= 0) c.reach(20, command);
  return rc;
}
/** The same with the status at `offset`. */
function grant(c: GuestCaller, command: number, offset: number, ...fields: Field[]): number {
  const rc = structured(c, 20, command, fields, 1);
  const status = rc < 0 ? rc : (c.get32(SCRATCH, offset) << 16) >> 16;
  if (status >= 0) c.reach(20, command);
  return status;
}

function mapGrant(f: Fuzzer, c: GuestCaller, flags: number): number {
  const p = peer(f, c);
  const ref = 8 + f.random.below(24);
  if (grantsOf(p.domain)!.table.activeOf(ref) === null)
    grantEntry(p, ref, G.GTF_permit_access, c.domain.domid, p.mfn(dataPage(f)));
  const at = WINDOW + f.random.below(WINDOWS);
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
  if (rc === 0) c.handles.push([c.get32(SCRATCH, 20), where, p.mfn(dataPage(f))]);
  return rc;
}

/** Most domains change to FIFO channels before they use what only those have. */
function fifo(f: Fuzzer, c: GuestCaller): void {
  if (f.random.below(3) === 0) evtchn(c, 11, [8, c.mfn(dataPage(f))], [4, 0], [4, 0], [8, 0]);
}

export const GRANT_OPERATIONS: readonly Operation[] = [
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
      const [handle, where] = c.handles.splice(f.random.below(Math.max(1, c.handles.length)), 1)[0] ?? [
        f.random.below(9),
        0n,
      ];
      return grant(c, G.GNTTABOP_unmap_grant_ref, 20, [8, where], [8, 0], [4, handle], [4, 0]);
    },
  },
  {
    name: "unmap_and_replace",
    run: (f, c) => {
      if (mapGrant(f, c, 2) !== 0) return -1;
      const [handle, where] = c.handles.pop()!;
      const from = WINDOW + f.random.below(WINDOWS);
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
        [4, 1 + f.random.below(4)],
        [2, 0],
        ...(is32(c) ? [[2, 0] as Field] : [[6, 0] as Field]),
        word(c, c.at(LISTS)),
      ),
  },
  {
    name: "transfer",
    run: (f, c) => {
      const p = peer(f, c);
      const ref = 40 + f.random.below(10);
      const page = unmapped(f, c);
      const taken = unmapped(f, p);
      // The taker makes room by giving a frame back, and the giver gets one for what it has given.
      p.write(LISTS, word(p, p.mfn(taken)));
      const gave = memory(p, XENMEM_decrease_reservation, ...reservation(p, 1, 0));
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
      const p = peer(f, c);
      const ref = 60 + f.random.below(10);
      grantEntry(p, ref, G.GTF_permit_access, c.domain.domid, p.mfn(dataPage(f)));
      const pad: Field[] = is32(c) ? [] : [[4, 0]];
      const flags = f.random.below(2) === 0 ? 1 : 2;
      const theirs: Field[] = [word(c, ref), [2, p.domain.domid], [2, f.random.below(2000)], ...pad];
      const mine: Field[] = [word(c, c.mfn(dataPage(f))), [2, SELF], [2, f.random.below(2000)], ...pad];
      return grant(
        c,
        G.GNTTABOP_copy,
        is32(c) ? 20 : 36,
        ...(flags === 1 ? [...theirs, ...mine] : [...mine, ...theirs]),
        [2, f.random.below(2096)],
        [2, flags],
        [4, 0],
      );
    },
  },
  { name: "query_size", run: (_f, c) => grant(c, G.GNTTABOP_query_size, 12, [2, SELF], [2, 0], [4, 0], [8, 0]) },
  { name: "set_version", run: (f, c) => plain(c, G.GNTTABOP_set_version, [4, f.random.pick([1, 2])]) },
  {
    name: "get_version",
    run: (_f, c) => plain(c, G.GNTTABOP_get_version, [2, SELF], [6, 0]),
  },
  {
    name: "get_status_frames",
    run: (f, c) =>
      grant(c, G.GNTTABOP_get_status_frames, 6, [4, f.random.below(2)], [2, SELF], [2, 0], word(c, c.at(LISTS))),
  },
  {
    name: "swap_grant_ref",
    run: (f, c) =>
      grant(c, G.GNTTABOP_swap_grant_ref, 8, [4, 80 + f.random.below(10)], [4, 80 + f.random.below(10)], [4, 0]),
  },
  {
    name: "cache_flush",
    run: (f, c) => plain(c, G.GNTTABOP_cache_flush, [8, BigInt(c.mfn(dataPage(f))) << 12n], [2, 0], [2, 64], [4, 1]),
  },
  // --- event_channel_op
  {
    name: "alloc_unbound",
    run: (f, c) => newPort(c, evtchn(c, 6, [2, SELF], [2, peer(f, c).domain.domid], [4, 0]), 4),
  },
  {
    name: "bind_interdomain",
    run: (f, c) => {
      const p = peer(f, c);
      if (newPort(p, evtchn(p, 6, [2, SELF], [2, c.domain.domid], [4, 0]), 4) !== 0) return -1;
      return newPort(c, evtchn(c, 0, [2, p.domain.domid], [2, 0], [4, p.ports.at(-1) ?? 0], [4, 0]), 8);
    },
  },
  {
    name: "bind_virq",
    run: (f, c) => newPort(c, evtchn(c, 1, [4, f.random.below(2)], [4, f.random.below(2)], [4, 0]), 8),
  },
  { name: "bind_ipi", run: (f, c) => newPort(c, evtchn(c, 7, [4, f.random.below(2)], [4, 0]), 4) },
  { name: "close", run: (f, c) => evtchn(c, 3, [4, port(f, c)]) },
  { name: "send", run: (f, c) => evtchn(c, 4, [4, port(f, c)]) },
  { name: "status", run: (f, c) => evtchn(c, 5, [2, SELF], [2, 0], [4, port(f, c)], [8, 0], [8, 0]) },
  { name: "bind_vcpu", run: (f, c) => evtchn(c, 8, [4, port(f, c)], [4, f.random.below(2)]) },
  { name: "unmask", run: (f, c) => evtchn(c, 9, [4, port(f, c)]) },
  { name: "evtchn reset", run: (f, c) => (f.random.below(4) === 0 ? evtchn(c, 10, [2, SELF]) : -1) },
  {
    name: "init_control",
    run: (f, c) => evtchn(c, 11, [8, c.mfn(dataPage(f))], [4, 0], [4, f.random.below(2)], [8, 0]),
  },
  {
    name: "expand_array",
    run: (f, c) => {
      fifo(f, c);
      return evtchn(c, 12, [8, c.mfn(dataPage(f))]);
    },
  },
  {
    name: "set_priority",
    run: (f, c) => {
      fifo(f, c);
      return evtchn(c, 13, [4, port(f, c)], [4, f.random.below(17)]);
    },
  },
];

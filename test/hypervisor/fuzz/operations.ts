/** What the operations of the PV fuzzer share: where things are in its domains, and hypercalls with structures. */
import { XENMEM_decrease_reservation, XENMEM_populate_physmap } from "../../../hypervisor/abi/memory.ts";
import { DOMID_SELF } from "../../../hypervisor/abi/xen.ts";
import { PGT_pinned } from "../../../hypervisor/memory/page-types.ts";
import type { Random } from "../../support/random.ts";
import type { Field } from "../calls.ts";
import { A, FREE, L1, P, RO, RW, RWX, SCRATCH, US } from "../pv/pv-caller.ts";
import type { GuestCaller } from "./guest-caller.ts";

export const PAGES = 112;
/** Pages for lists, bitmaps and structures that stay as they are. */
export const LISTS = 10;
export const AREA = 12;
/** Pages FREE.. that become tables, and those that stay data. */
const TABLES = { first: FREE, count: 24 } as const;
const DATA = { first: FREE + 24, count: 60 } as const;
/** Entries of the first L1 beyond the domain's own pages. */
export const WINDOW = 200;
export const WINDOWS = 200;
export const SELF: number = DOMID_SELF;

/** Whoever calls: two domains and the random numbers. */
export interface Fuzzer {
  readonly random: Random;
  readonly guests: readonly GuestCaller[];
  /** Answers that no hypercall may give. */
  readonly strange: string[];
}

/** Answers below 0 if it has not succeeded. */
export interface Operation {
  readonly name: string;
  readonly run: (f: Fuzzer, c: GuestCaller) => number;
}

/** The other domain. */
export const peer = (f: Fuzzer, c: GuestCaller): GuestCaller => (f.guests[0] === c ? f.guests[1]! : f.guests[0]!);
export const dataPage = (f: Fuzzer): number => DATA.first + f.random.below(DATA.count);
export const tablePage = (f: Fuzzer): number => TABLES.first + f.random.below(TABLES.count);

export const HOW = [RWX, RWX | 0xa00, RO | 0x200, P | US | A, P | RW, P] as const;
export const ptr = (c: GuestCaller, page: number, index: number, command = 0): bigint =>
  (BigInt(c.mfn(page)) << 12n) + BigInt(index * 8 + command);

/** A structure at SCRATCH and a hypercall with a command and its address. */
export function structured(
  c: GuestCaller,
  number: number,
  command: number,
  fields: readonly Field[],
  ...more: number[]
): number {
  c.write(SCRATCH, ...fields);
  return c.call(number, command, c.at(SCRATCH), ...more);
}
export const word = (c: GuestCaller, value: bigint | number): Field => [
  c.domain.pv!.is32bit ? 4 : 8,
  BigInt.asUintN(c.domain.pv!.is32bit ? 32 : 64, BigInt(value)),
];

/** Makes the page read-only everywhere and a pinned, empty table of `level`. */
export function makeTable(c: GuestCaller, page: number, level: number): number {
  const { types, flags } = c.hv.pageTypes;
  if ((flags[c.mfn(page)]! & PGT_pinned) !== 0) return types[c.mfn(page)] === level ? 0 : -22;
  for (let i = WINDOW; i < WINDOW + WINDOWS; i++)
    if (Number((c.get(L1, i) >> 12n) & 0xfffffn) === c.mfn(page)) c.set(L1, i, 0n);
  c.protectAny(page);
  return c.ext(level - 1, c.mfn(page));
}

/** A pinned table of `level`, or one that becomes it. */
export function aTable(f: Fuzzer, c: GuestCaller, level: number): number {
  const { types, flags } = c.hv.pageTypes;
  for (let n = 0; n < 8; n++) {
    const page = tablePage(f);
    const mfn = c.mfn(page);
    if ((flags[mfn]! & PGT_pinned) !== 0 && types[mfn] === level) return page;
  }
  const page = tablePage(f);
  makeTable(c, page, level);
  return page;
}

export const is32 = (c: GuestCaller): boolean => c.domain.pv!.is32bit;

export const reservation = (c: GuestCaller, count: number, order: number): Field[] => [
  word(c, c.at(LISTS)),
  word(c, count),
  [4, order],
  [4, 0],
  word(c, SELF),
];
export const memory = (c: GuestCaller, command: number, ...fields: Field[]): number =>
  structured(c, 12, command, fields);
/** A data page that nothing maps any more; it comes back by `restorePage`. */
export function unmapped(f: Fuzzer, c: GuestCaller): number {
  const page = dataPage(f);
  c.map(page, 0n);
  return page;
}
/** The page has a new frame: the guest maps it in place of the old one. */
export function restorePage(c: GuestCaller, page: number, mfn: number): void {
  c.mfns[page] = mfn;
  c.map(page, c.entry(page, RWX));
}

export const many = (names: readonly string[], run: (n: number) => Operation["run"]): Operation[] =>
  names.map((name, n) => ({ name, run: run(n) }));

/** Gives the frame of the list back that increase_reservation has put there. */
export const giveBack = (c: GuestCaller): number => memory(c, XENMEM_decrease_reservation, ...reservation(c, 1, 0)) - 1;

/** A new frame for a page that has lost its own. */
export function refill(c: GuestCaller, page: number): void {
  c.write(LISTS, word(c, page));
  if (memory(c, XENMEM_populate_physmap, ...reservation(c, 1, 0)) === 1) restorePage(c, page, c.get32(LISTS, 0));
}

export const evtchn = (c: GuestCaller, command: number, ...fields: Field[]): number =>
  structured(c, 32, command, fields);
export const port = (f: Fuzzer, c: GuestCaller): number =>
  c.ports.length > 0 ? f.random.pick(c.ports) : f.random.below(20);
export function newPort(c: GuestCaller, rc: number, offset: number): number {
  if (rc === 0) c.ports.push(c.get32(SCRATCH, offset));
  if (c.ports.length > 200) c.ports.length = 0;
  return rc;
}

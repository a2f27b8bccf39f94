/** What a PV guest's kernel and user do besides hypercalls: instructions that Xen emulates or that fault, and bad returns. */
import type { Random } from "../../support/random.ts";
import { FREE, L1, type PvCaller, RO, RWX } from "../pv/pv-caller.ts";
import type { Step } from "./guest-caller.ts";

const DATA = FREE + 24;
const DATA_PAGES = 60;
/** Entries of the first L1 beyond the domain's own pages. */
const WINDOW = 200;
const WINDOWS = 200;

const dword = (n: number): number[] => [n & 0xff, (n >>> 8) & 0xff, (n >>> 16) & 0xff, n >>> 24];
const bytes = (r: Random, n: number): number[] => Array.from({ length: n }, () => r.below(256));
const MSRS = [0x10, 0x1b, 0x8b, 0x140, 0x174, 0x1a0, 0x1d9, 0x277, 0xc0000080, 0xc0000081, 0xc0000100, 0xc0000102];

/** Selectors that a step may load or return to. */
const SELECTORS = [
  0, 3, 8, 0x0b, 0x0f, 0x17, 0x1f, 0xe008, 0xe010, 0xe019, 0xe021, 0xe023, 0xe02b, 0xe033, 0xe038, 0xfff8,
];
/** Instructions that trap, or that Xen does for the kernel. */
const TRAPPING: readonly ((r: Random) => number[])[] = [
  (r) => bytes(r, 1 + r.below(15)),
  (r) => [0xcd, r.below(256)],
  (r) => [r.pick([0xcc, 0xce, 0xf1, 0xf4, 0xfa, 0xfb, 0xcf, 0xcb, 0x9d, 0x9c, 0x6c, 0x6d, 0x6e, 0x6f])],
  (r) => [r.pick([0xe4, 0xe5, 0xe6, 0xe7]), r.below(256)],
  (r) => [0xba, ...dword(r.pick([0x70, 0x71, 0xcf8, 0xcfc, r.below(65536)])), r.pick([0xec, 0xed, 0xee, 0xef])],
  (r) => [0xb9, ...dword(r.below(200)), r.pick([0xf2, 0xf3]), r.pick([0x6c, 0x6d, 0x6e, 0x6f])],
  (r) => [0x0f, r.pick([0x20, 0x21, 0x22, 0x23]), 0xc0 | r.below(64)],
  (r) => [0xb9, ...dword(r.pick(MSRS)), 0x0f, 0x32],
  (r) => [0xb9, ...dword(r.pick(MSRS)), 0x0f, 0x30],
  (r) => [0x0f, r.pick([0x05, 0x07, 0x34, 0x35, 0x06, 0x08, 0x09, 0x0b, 0x31, 0x33, 0xa2, 0xaa, 0x77])],
  (r) => [0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, r.pick([0xa2, 0xa2, 0x31])],
  (r) => [0x0f, 0x01, r.below(256)],
  (r) => [0x0f, 0x00, r.below(256)],
  (r) => [0x0f, 0xae, r.below(256)],
  (r) => [0x8e, 0xc0 | r.below(64)],
  (r) => [0xf3, 0x0f, 0xae, 0xc0 | r.below(32)],
  (r) => [r.pick([0x66, 0xf0, 0x67, 0x64, 0x65]), ...bytes(r, 6)],
  // Far calls and jumps, through call gates if the selector is one of theirs.
  (r) => [r.pick([0x9a, 0xea]), ...dword(r.below(64)), r.pick(SELECTORS) & 0xff, 0],
  // Division by nothing, and jumps and calls to anywhere.
  (r) => [0x31, 0xc9, 0xf7, r.pick([0xf1, 0xf9])],
  (r) => [0xff, r.pick([0xe0, 0xd0, 0x10, 0x20, 0x18, 0x28, 0x30])],
  (r) => [0x8b, r.pick([0x00, 0x03, 0x06, 0x07])],
  (r) => [r.pick([0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xad])],
];

/** Stores into memory at RDI of what is in EAX and other registers, among them some that can't be to a page table. */
const STORES: readonly ((r: Random) => number[])[] = [
  () => [0x89, 0x07],
  () => [0x48, 0x89, 0x07],
  () => [0x48, 0x87, 0x07],
  () => [0xf0, 0x48, 0x0f, 0xb1, 0x17],
  () => [0xf0, 0x48, 0x0f, 0xc1, 0x07],
  () => [0xf0, 0x0f, 0xc7, 0x0f],
  () => [0x48, 0x0f, 0xc7, 0x0f],
  (r) => [r.pick([0x00, 0x08, 0x10, 0x18, 0x20, 0x28, 0x30]) + r.below(2), 0x07],
  (r) => [0x48, r.pick([0x01, 0x09, 0x11, 0x19, 0x21, 0x29, 0x31]), 0x07],
  (r) => [0x48, 0x83, 0x07 | (r.below(7) << 3), r.below(256)],
  (r) => [0xf0, 0x48, 0x0f, 0xba, 0x2f + 8 * r.below(3), r.pick([0, 1, 5, 6, 63])],
  (r) => [0x48, 0x0f, r.pick([0xab, 0xb3, 0xbb]), 0x07],
  (r) => [0x48, r.pick([0xc1, 0xd1]), 0x07 | (r.below(8) << 3), r.below(64)],
  (r) => [0x48, r.pick([0xff, 0xf7, 0xfe]), 0x07 | (r.below(4) << 3)],
  (r) => [0x0f, 0x90 + r.below(16), 0x07],
  () => [0x48, 0x0f, 0x38, 0xf1, 0x07],
  (r) => [0x48, 0x0f, r.pick([0xa4, 0xac]), 0x07, r.below(64)],
  () => [0x8f, 0x07],
  () => [0xff, 0x37],
  () => [0x48, 0x0f, 0xc3, 0x07],
  () => [0x66, 0x0f, 0xd6, 0x07],
  () => [0x0f, 0x7f, 0x07],
  () => [0x0f, 0x11, 0x07],
  () => [0xdd, 0x1f],
  () => [0x48, 0xab],
  () => [0xa4],
  () => [0x48, 0xa5],
  (r) => [0xc6, 0x07, r.below(256)],
  (r) => [0x48, 0xc7, 0x07, ...bytes(r, 4)],
  () => [0x88, 0x07],
  (r) => [0x8c, 0x07 | (r.below(6) << 3)],
];

const FLAGS = [0x202, 0x2, 0x202, 0x302, 0x40202, 0x3202, 0x602, 0x4202, 0x20202, 0x10202];

/** A value that a register may have. */
function value(c: PvCaller, r: Random): bigint {
  switch (r.below(8)) {
    case 0:
      return r.bits(64);
    case 1:
      return BigInt(r.pick(SELECTORS));
    case 2:
      return c.at(L1, (WINDOW + r.below(WINDOWS)) * 8);
    case 3:
      return r.pick([0n, 0x8000_0000_0000n, 0xffff_8000_0000_0000n, 0xffff_8200_0000_0000n, 0xffff_ffff_ffff_fff8n]);
    case 4:
      return BigInt(r.below(64));
    default:
      return c.at(DATA + r.below(DATA_PAGES), r.below(4096));
  }
}

const values = (c: PvCaller, r: Random, n: number): bigint[] => Array.from({ length: n }, () => value(c, r));

function trapping(c: PvCaller, r: Random): Step {
  return {
    code: r.pick(TRAPPING)(r),
    user: r.below(2) === 0,
    rflags: r.pick(FLAGS),
    rax: value(c, r),
    args: values(c, r, 6),
  };
}

/** A store into the entries of the window: an entry that may be, or not. */
function store(c: PvCaller, r: Random): Step {
  const entry =
    r.below(4) === 0 ? r.bits(64) : r.below(3) === 0 ? 0n : c.entry(DATA + r.below(DATA_PAGES), r.pick([RWX, RO]));
  const at = c.at(L1, (WINDOW + r.below(WINDOWS)) * 8 + r.pick([0, 0, 0, 4, r.below(8)]));
  return {
    code: r.pick(STORES)(r),
    user: r.below(16) === 0,
    rflags: r.pick(FLAGS),
    rax: entry,
    // RDI, RSI (EBX and ECX of a 32-bit guest), RDX, RCX, R8 (EDI), R9.
    args: [at, c.at(DATA + r.below(DATA_PAGES), 8 * r.below(500)), entry, r.bits(8), at, 0n],
  };
}

/** A return to where no guest can be. */
function badReturn(c: PvCaller, r: Random): Step {
  return {
    code: [],
    user: r.below(2) === 0,
    // A 32-bit kernel that returns to ring 0 is crashed.
    cs: r.pick(SELECTORS) | (r.below(16) === 0 ? 0 : r.pick([1, 3, 3])),
    ss: r.pick(SELECTORS),
    rflags: r.pick(FLAGS),
    flags: r.pick([0n, 0x100n]),
    ...(r.below(3) === 0 ? { rip: value(c, r) | 1n } : {}),
    ...(r.below(4) === 0 ? { rsp: value(c, r) } : {}),
  };
}

const KINDS = [trapping, trapping, trapping, store, store, store, badReturn] as const;

/** One to three such steps. */
export function besides(c: PvCaller, r: Random): Step[] {
  return Array.from({ length: 1 + r.below(3) }, () => r.pick(KINDS)(c, r));
}

/**
 * A PVH kernel of random instructions in ring 0. Every exception leads to a stub that goes on with the next of its snippets, so
 * that one run executes hundreds; what breaks the tables that this needs ends the run earlier, as it may.
 */

import { ascii, concat, sampleElf, u32, u64 } from "../../src/machine/images/sample-kernel.ts";
import { Random } from "../../support/random.ts";

const ENTRY = 0x100000;
const STUB = 0x101000;
/** Where 64-bit code begins: it loads TR, for the stack of exceptions. */
const FIRST = STUB + 0x80;
const TSS = 0x10e000;
const COUNTER = 0x10f000;
const GDT = 0x110000;
const IDT = 0x111000;
const TABLES = 0x112000;
const SNIPPETS = 0x120000;
const DATA = 0x140000;
const STACK = 0x180000;
const SNIPPET_BYTES = 64;
const COUNT = 512;
const XEN_ELFNOTE_PHYS32_ENTRY = 18;

const MSRS = [
  0x10, 0x1b, 0x174, 0x175, 0x176, 0x1a0, 0x1d9, 0x277, 0x2ff, 0x200, 0x6e0, 0x800, 0x830, 0x832, 0x838, 0x83f,
];
const MSRS_HIGH = [0xc0000080, 0xc0000081, 0xc0000082, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102, 0x40000000];

type Piece = (r: Random) => number[];
const dword = (n: number): number[] => [n & 0xff, (n >>> 8) & 0xff, (n >>> 16) & 0xff, n >>> 24];
const bytes = (r: Random, n: number): number[] => Array.from({ length: n }, () => r.below(256));
/** ModRM, mostly of a register or of memory at DATA. */
const modrm = (r: Random): number[] => [r.pick([0xc0, 0xc0, 0x00, 0x40, 0x80]) | r.below(64), ...bytes(r, 2)];

const PIECES: readonly Piece[] = [
  (r) => bytes(r, 1 + r.below(15)),
  (r) => bytes(r, 1 + r.below(15)),
  (r) => [r.below(0x40) & ~4, ...modrm(r)],
  (r) => [0x0f, r.below(256), ...modrm(r)],
  (r) => [r.pick([0x66, 0xf2, 0xf3, 0x48, 0x4d]), 0x0f, r.below(256), ...modrm(r)],
  (r) => [0x66, 0x0f, 0x38, r.below(256), ...modrm(r)],
  (r) => [0xd8 + r.below(8), ...modrm(r)],
  (r) => [r.pick([0xf0, 0x66, 0x67, 0x64, 0x65, 0x48]), ...bytes(r, 6)],
  (r) => [0x0f, 0x20 + r.below(2), 0xc0 | r.below(64)],
  // MOV to DRn, and rarely to CRn, which mostly ends everything.
  (r) => (r.below(4) === 0 ? [0x0f, 0x22, 0xc0 | r.below(64)] : [0x0f, 0x23, 0xc0 | r.below(64)]),
  // CR4 and CR0 bit by bit.
  (r) => [0x0f, 0x20, 0xe0, 0x0f, 0xba, 0xf8, r.below(22), 0x0f, 0x22, 0xe0],
  (r) => [0x0f, 0x20, 0xc0, 0x0f, 0xba, 0xf8, r.pick([1, 2, 3, 5, 16, 18]), 0x0f, 0x22, 0xc0],
  (r) => [0xb9, ...dword(r.pick(r.below(2) === 0 ? MSRS : MSRS_HIGH)), 0x0f, 0x32],
  (r) => [0xb9, ...dword(r.pick(r.below(2) === 0 ? MSRS : MSRS_HIGH)), 0x31, 0xd2, 0x0f, 0x30],
  (r) => [0xba, ...dword(r.below(0x10000)), r.pick([0xec, 0xed, 0xee, 0xef, 0x6c, 0x6d, 0x6e, 0x6f])],
  (r) => [0x0f, 0x01, 0xc0 | r.below(64)],
  (r) => [0x0f, r.below(2), ...modrm(r)],
  (r) => [0x0f, 0xae, ...modrm(r)],
  (r) => [0x0f, 0xc7, ...modrm(r)],
  (r) => [0xb8, ...dword(r.below(45)), 0x0f, 0x01, r.pick([0xc1, 0xd9])],
  (r) => [0xb8, ...dword(r.pick([0, 1, 4, 7, 0xb, 0xd, 0x40000003, 0x80000001])), 0x0f, 0xa2],
  (r) => [r.pick([0xfa, 0xfb, 0x9c, 0x9d, 0xcf, 0xcb, 0xcc, 0xf1, 0xce, 0x9b, 0xf5, 0xfc, 0xfd])],
  (r) => [0xcd, r.below(256)],
  (r) => [0x8e, ...modrm(r)],
  (r) => [
    0xb9,
    ...dword(r.below(3000)),
    r.pick([0xf2, 0xf3]),
    r.pick([0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xae]),
  ],
  // Stores into what runs next, and into the APIC.
  (r) => [0xbf, ...dword(SNIPPETS + r.below(COUNT * SNIPPET_BYTES)), r.pick([0xaa, 0xab])],
  (r) => [0xbf, ...dword(0xfee00000 + r.below(64) * 16), 0xb8, ...dword(r.next() >>> r.below(32)), 0xab],
  (r) => [0x0f, r.pick([0x05, 0x07, 0x34, 0x35, 0x0b, 0x08, 0x09, 0x06, 0x31, 0x33, 0xaa, 0x77])],
  (r) => [0xe8 + r.below(2), ...dword((r.below(256) - 128) >>> 0)],
  (r) => [0x70 + r.below(16), r.below(256)],
  (r) => [0xff, ...modrm(r)],
];

function snippets(r: Random): Uint8Array {
  const all = new Uint8Array(COUNT * SNIPPET_BYTES).fill(0xcc);
  for (let n = 0; n < COUNT; n++) {
    const code: number[] = [];
    while (code.length < SNIPPET_BYTES - 16) code.push(...r.pick(PIECES)(r));
    all.set(code.slice(0, SNIPPET_BYTES - 1), n * SNIPPET_BYTES);
  }
  return all;
}

function stub(wide: boolean): number[] {
  const counter = wide ? [0x04, 0x25, ...dword(COUNTER)] : [0x05, ...dword(COUNTER)];
  return [
    ...[0xbc, ...dword(STACK), 0xbe, ...dword(DATA), 0xbf, ...dword(DATA + 0x800), 0xbb, ...dword(DATA + 0x1000)],
    ...[0xbd, ...dword(DATA + 0x1800), 0xfc, 0x8b, ...counter, 0x83, ...counter, 1],
    // Each four times in a row, which makes it warm.
    ...[0x25, ...dword((COUNT - 1) << 2), 0xc1, 0xe0, 4, 0x05, ...dword(SNIPPETS), 0xff, 0xe0],
  ];
}

function entry(wide: boolean): number[] {
  const table = (base: number): number[] => [0xff, 0xff, ...dword(base)];
  const load = [
    0x0f,
    0x01,
    0x15,
    ...dword(ENTRY + 0x100),
    0x0f,
    0x01,
    0x1d,
    ...dword(ENTRY + 0x108),
    0xbc,
    ...dword(STACK),
  ];
  const cr4 = [0xb8, ...dword(wide ? 0x620 : 0x600), 0x0f, 0x22, 0xe0];
  const long = [
    ...[0xb8, ...dword(TABLES), 0x0f, 0x22, 0xd8],
    ...[0xb9, ...dword(0xc0000080), 0xb8, ...dword(0x901), 0x31, 0xd2, 0x0f, 0x30],
    ...[0xb8, ...dword(0x80000011), 0x0f, 0x22, 0xc0],
  ];
  const code = [...load, ...cr4, ...(wide ? long : []), 0xea, ...dword(wide ? FIRST : STUB), 8, 0];
  while (code.length < 0x100) code.push(0x90);
  return [...code, ...table(GDT), 0, 0, ...table(IDT)];
}

function tables(): Uint8Array {
  const all = new DataView(new ArrayBuffer(4 * 4096));
  const put = (at: number, value: number): void => all.setBigUint64(at, BigInt(value), true);
  put(0, TABLES + 0x1000 + 7);
  put(0x1000, TABLES + 0x2000 + 7);
  put(0x1000 + 3 * 8, TABLES + 0x3000 + 7);
  for (let n = 0; n < 8; n++) put(0x2000 + 8 * n, n * 0x200000 + 0x87);
  put(0x3000 + 503 * 8, 0xfee00000 + 0x87);
  return new Uint8Array(all.buffer);
}

function gates(wide: boolean): Uint8Array {
  const gate = concat(
    u32((8 << 16) | (STUB & 0xffff)),
    u32((STUB & 0xffff0000) | (wide ? 0x8e01 : 0x8e00)),
    ...(wide ? [u64(0n)] : []),
  );
  return concat(...Array.from({ length: 256 }, () => gate));
}

/** 64-bit TSS, available. */
const TSS_DESCRIPTOR = 0x0000890000000067n | (BigInt(TSS & 0xffffff) << 16n);

/** The ELF. @param wide 64-bit mode, else 32-bit mode without paging. */
export function randomKernel(seed: number, wide: boolean): Uint8Array {
  const descriptors = [
    0n,
    wide ? 0x00af9b000000ffffn : 0x00cf9b000000ffffn,
    0x00cf93000000ffffn,
    0x00cffb000000ffffn,
    0x00cff3000000ffffn,
    TSS_DESCRIPTOR,
    0n,
  ];
  return sampleElf({
    notes: [{ type: XEN_ELFNOTE_PHYS32_ENTRY, descriptor: u32(ENTRY) }],
    segments: [
      { paddr: ENTRY, data: Uint8Array.from(entry(wide)) },
      { paddr: STUB, data: Uint8Array.from(stub(wide)) },
      {
        paddr: FIRST,
        data: Uint8Array.from([0x66, 0xb8, 0x28, 0, 0x0f, 0, 0xd8, 0xe9, ...dword((STUB - FIRST - 12) >>> 0)]),
      },
      { paddr: TSS, data: concat(new Uint8Array(0x24), u64(BigInt(STACK)), new Uint8Array(0x3c)) },
      { paddr: COUNTER, data: u32(0) },
      { paddr: GDT, data: concat(...descriptors.map(u64)) },
      { paddr: IDT, data: gates(wide) },
      { paddr: TABLES, data: tables() },
      { paddr: SNIPPETS, data: snippets(new Random(seed)) },
      { paddr: DATA, data: ascii("data ".repeat(2000)) },
    ],
  });
}

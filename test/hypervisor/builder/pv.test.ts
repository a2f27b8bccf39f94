/** What the PV builder lays out, looked at as the processor and the kernel would: through the page tables it made. */
import { describe, expect, it } from "vitest";
import { BuilderError } from "../../../hypervisor/builder/error.ts";
import * as N from "../../../hypervisor/builder/image.ts";
import { loadPv, type PvConfig, planPv, startInfoAddress, startInfoOf } from "../../../hypervisor/builder/pv.ts";

const MIB = 2 ** 20;
const PAGE = 4096;
const PTE_RW = 2n;

function note(type: number, value: bigint | string): N.XenNote {
  if (typeof value === "string") return { type, descriptor: new TextEncoder().encode(`${value}\0`) };
  const descriptor = new Uint8Array(8);
  new DataView(descriptor.buffer).setBigUint64(0, value, true);
  return { type, descriptor };
}

function kernel(machine: "x86-64" | "i386", notes: N.XenNote[]): N.KernelImage {
  const bytes = Uint8Array.from({ length: 3 * PAGE }, (_, i) => (i * 7) & 0xff);
  return {
    description: "test",
    machine,
    segments: [{ paddr: MIB, bytes, memorySize: 5 * PAGE }],
    base: 0n,
    start: MIB,
    end: MIB + 5 * PAGE,
    entry: BigInt(MIB),
    phys32Entry: undefined,
    notes: new Map(notes.map((n) => [n.type, n])),
  };
}

/** Machine memory with the domain's frames scattered over it. */
class Loaded {
  readonly plan;
  readonly mfns: Int32Array;
  readonly memory: Uint8Array;
  private readonly view: DataView;

  constructor(config: PvConfig) {
    this.plan = planPv(config);
    const n = this.plan.pages;
    // 7 and the number of frames have no common divisor.
    this.mfns = Int32Array.from({ length: n }, (_, pfn) => 16 + ((pfn * 7) % n));
    this.memory = new Uint8Array((n + 16) * PAGE);
    this.view = new DataView(this.memory.buffer);
    loadPv(this.plan, this.mfns, (offset, bytes) => {
      for (let i = 0; i < bytes.length; i++)
        this.memory[this.mfns[Math.floor((offset + i) / PAGE)]! * PAGE + ((offset + i) % PAGE)] = bytes[i]!;
    });
  }

  /** The leaf entry for a linear address, 0 if nothing is mapped. */
  leaf(address: bigint): bigint {
    const { levels, mask } = this.plan.tables.geometry;
    let table = this.mfns[this.plan.tables.topPfn]!;
    for (let level = levels; ; level--) {
      const index = Number(((address & mask) >> BigInt(12 + 9 * (level - 1))) & 511n);
      const entry = this.view.getBigUint64(table * PAGE + index * 8, true);
      if ((entry & 1n) === 0n) return 0n;
      if (level === 1) return entry;
      table = Number(entry >> 12n);
    }
  }

  pfnAt(address: bigint): number {
    const leaf = this.leaf(address);
    return leaf === 0n ? -1 : this.mfns.indexOf(Number(leaf >> 12n));
  }
}

const BASE_64 = 0xffffffff80000000n;
const NOTES_64 = [note(N.XEN_ELFNOTE_VIRT_BASE, BASE_64), note(N.XEN_ELFNOTE_ENTRY, BASE_64 + BigInt(MIB))];
const NOTES_LINUX = [
  ...NOTES_64,
  note(N.XEN_ELFNOTE_INIT_P2M, 0x8000000000n),
  note(N.XEN_ELFNOTE_MOD_START_PFN, 1n),
  note(N.XEN_ELFNOTE_HYPERCALL_PAGE, BASE_64 + BigInt(MIB + 2 * PAGE)),
];
const NOTES_32 = [
  note(N.XEN_ELFNOTE_VIRT_BASE, 0xc0000000n),
  note(N.XEN_ELFNOTE_ENTRY, 0xc0000000n + BigInt(MIB)),
  note(N.XEN_ELFNOTE_PAE_MODE, "yes"),
];
const RAMDISK = Uint8Array.from({ length: 2 * PAGE + 5 }, (_, i) => (i * 3) & 0xff);

describe.each([
  ["64-bit", kernel("x86-64", NOTES_64)],
  ["64-bit, p2m list and ramdisk outside", kernel("x86-64", NOTES_LINUX)],
  ["32-bit", kernel("i386", NOTES_32)],
] as const)("%s", (name, image) => {
  const m = new Loaded({ memory: 16 * MIB, kernel: image, ramdisk: RAMDISK, commandLine: "a=1" });
  const { plan } = m;
  const outside = name.includes("outside");

  it("maps the region from the virtual base on, one to one, to a multiple of 4 MiB", () => {
    let pages = 0;
    while (m.pfnAt(plan.virtBase + BigInt(pages * PAGE)) === pages) pages++;
    expect(pages).toBe(1024);
    expect(m.leaf(plan.virtBase + BigInt(pages * PAGE))).toBe(0n);
    expect(plan.stackTop - plan.virtBase).toBeLessThanOrEqual(BigInt(pages * PAGE - 512 * 1024));
  });

  it("maps page tables for reading only, all else for writing", () => {
    const tables = new Set<number>();
    const collect = (table: number, level: number): void => {
      tables.add(m.mfns.indexOf(table));
      if (level === 1) return;
      const view = new DataView(m.memory.buffer, table * PAGE, PAGE);
      for (let i = 0; i < 512; i++) {
        const entry = view.getBigUint64(i * 8, true);
        if ((entry & 1n) !== 0n) collect(Number(entry >> 12n), level - 1);
      }
    };
    collect(m.mfns[plan.tables.topPfn]!, plan.tables.geometry.levels);
    for (let pfn = 0; pfn < 1024; pfn++)
      expect((m.leaf(plan.virtBase + BigInt(pfn * PAGE)) & PTE_RW) === 0n, `pfn ${pfn}`).toBe(tables.has(pfn));
    for (let i = 0; i < plan.tables.count; i++) expect(tables.has(plan.tables.firstPfn + i)).toBe(true);
  });

  it("loads the kernel and the ramdisk", () => {
    const at = (pfn: number): Uint8Array => m.memory.subarray(m.mfns[pfn]! * PAGE, (m.mfns[pfn]! + 1) * PAGE);
    expect([...at(MIB / PAGE).subarray(0, 4)]).toEqual([0, 7, 14, 21]);
    const { ramdisk } = plan;
    expect(ramdisk?.mapped).toBe(!outside);
    expect([...at(ramdisk!.pfn + 2).subarray(0, 6)]).toEqual([0, 3, 6, 9, 12, 0]);
  });

  it("lists all machine frames where start_info says", () => {
    const { wordBytes } = plan.tables.geometry;
    const bytes = startInfoOf(plan, { mfns: m.mfns, sharedInfoMfn: 77, storePort: 1, consolePort: 2 });
    const view = new DataView(bytes.buffer);
    const word = (n: number): bigint =>
      wordBytes === 8 ? view.getBigUint64(32 + n * 8, true) : BigInt(view.getUint32(32 + n * 4, true));
    expect(new TextDecoder().decode(bytes.subarray(0, 7))).toBe("xen-3.0");
    expect([word(0), word(1)]).toEqual([BigInt(plan.pages), 77n * 4096n]);
    expect(word(2)).toBe(outside ? 8n : 0n);
    expect([word(3), word(5)]).toEqual([BigInt(m.mfns[plan.xenstorePfn]!), BigInt(m.mfns[plan.consolePfn]!)]);
    expect(m.pfnAt(word(7))).toBe(plan.tables.firstPfn);
    const list = word(9);
    for (const pfn of [0, 511, 512, plan.pages - 1]) {
      const entry = list + BigInt(pfn * wordBytes);
      const leaf = m.leaf(entry);
      const at = Number(leaf >> 12n) * PAGE + Number(entry % 4096n);
      const mfn = new DataView(m.memory.buffer).getUint32(at, true);
      expect(mfn).toBe(m.mfns[pfn]);
    }
    expect(m.pfnAt(startInfoAddress(plan))).toBe(plan.startInfoPfn);
    expect(word(10)).toBe(outside ? BigInt(plan.ramdisk!.pfn) : plan.virtBase + BigInt(plan.ramdisk!.pfn * PAGE));
    const commandLine = 32 + wordBytes * 12;
    expect(new TextDecoder().decode(bytes.subarray(commandLine, commandLine + 4))).toBe("a=1\0");
  });
});

it("puts the hypercall page where the note says", () => {
  const plan = planPv({ memory: 16 * MIB, kernel: kernel("x86-64", NOTES_LINUX), commandLine: "" });
  expect(plan.hypercallPfn).toBe(MIB / PAGE + 2);
});

it("takes a kernel that is for 32 bits with and without PAE", () => {
  const notes = [...NOTES_32.slice(0, 2), note(N.XEN_ELFNOTE_PAE_MODE, "no,bimodal")];
  expect(planPv({ memory: 16 * MIB, kernel: kernel("i386", notes), commandLine: "" }).tables.geometry.wordBytes).toBe(
    4,
  );
});

it.each([
  ["too little memory", { memory: 3 * MIB, kernel: kernel("x86-64", NOTES_64), commandLine: "" }, /too little/],
  [
    "a long command line",
    { memory: 16 * MIB, kernel: kernel("x86-64", NOTES_64), commandLine: "x".repeat(1024) },
    /1023/,
  ],
  ["32 bits without PAE", { memory: 16 * MIB, kernel: kernel("i386", [NOTES_32[0]!]), commandLine: "" }, /without PAE/],
  [
    "a hypercall page outside",
    {
      memory: 16 * MIB,
      kernel: kernel("x86-64", [...NOTES_64, note(N.XEN_ELFNOTE_HYPERCALL_PAGE, 0n)]),
      commandLine: "",
    },
    /HYPERCALL_PAGE/,
  ],
  [
    "an entry outside",
    { memory: 16 * MIB, kernel: kernel("x86-64", [NOTES_64[0]!]), commandLine: "" },
    /entry 0x100000/,
  ],
  [
    "a p2m list inside the kernel",
    {
      memory: 16 * MIB,
      kernel: kernel("x86-64", [...NOTES_64, note(N.XEN_ELFNOTE_INIT_P2M, BASE_64 + BigInt(MIB))]),
      commandLine: "",
    },
    /INIT_P2M/,
  ],
  [
    "a PADDR_OFFSET without VIRT_BASE",
    { memory: 16 * MIB, kernel: kernel("x86-64", [note(N.XEN_ELFNOTE_PADDR_OFFSET, 0n)]), commandLine: "" },
    /VIRT_BASE/,
  ],
])("refuses %s", (_name, config, message) => {
  expect(() => planPv(config)).toThrow(BuilderError);
  expect(() => planPv(config)).toThrow(message);
});

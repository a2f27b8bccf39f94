import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as N from "../../../../hypervisor/builder/image.ts";
import { noteNumber, noteString } from "../../../../hypervisor/builder/image.ts";
import { planPv } from "../../../../hypervisor/builder/pv.ts";
import { ImageError } from "../../../../src/machine/images/error.ts";
import { loadKernel, loadRamdisk } from "../../../../src/machine/images/kernel.ts";
import { LZ4_LEGACY, XZ_BLOCKS, XZ_CRC64, XZ_X86_CRC32, ZSTD } from "./fixtures.ts";
import { ascii, concat, sampleBzImage, sampleCode, sampleElf, u32, u64 } from "./sample-kernel.ts";

const decode = (base64: string): Uint8Array => new Uint8Array(Buffer.from(base64, "base64"));
const PVH = { type: "pvh" } as const;

const ELF = sampleElf();
/** Every form in which the sample kernel can come, by what loadKernel calls it. */
const FORMS: readonly [string, Uint8Array][] = [
  ["ELF64", ELF],
  ["gzip, ELF64", new Uint8Array(gzipSync(ELF))],
  ["xz, ELF64", decode(XZ_X86_CRC32)],
  ["xz, ELF64", decode(XZ_CRC64)],
  ["xz, ELF64", decode(XZ_BLOCKS)],
  ["lz4, ELF64", decode(LZ4_LEGACY)],
  ["zstd, ELF64", decode(ZSTD)],
  ["bzImage, ELF64", sampleBzImage(ELF)],
  ["bzImage, gzip, ELF64", sampleBzImage(new Uint8Array(gzipSync(ELF)))],
  ["bzImage, xz, ELF64", sampleBzImage(concat(decode(XZ_X86_CRC32), u32(ELF.length)))],
  ["bzImage, lz4, ELF64", sampleBzImage(concat(decode(LZ4_LEGACY), u32(ELF.length)))],
  ["bzImage, zstd, ELF64", sampleBzImage(concat(decode(ZSTD), u32(ELF.length)))],
];

async function failure(bytes: Uint8Array, type: "pvh" | "pv" = "pvh"): Promise<string> {
  try {
    await loadKernel(bytes, { type });
  } catch (error) {
    expect(error).toBeInstanceOf(ImageError);
    const { message } = error as ImageError;
    expect(message).not.toContain("\n");
    return message;
  }
  throw new Error("the kernel was accepted");
}

describe("loadKernel", () => {
  it.each(FORMS)("loads %s (form %#)", async (description, bytes) => {
    const steps: number[] = [];
    const kernel = await loadKernel(bytes, { type: "pvh", onProgress: ({ done }) => steps.push(done) });
    expect(kernel.description).toBe(description);
    expect(kernel.phys32Entry).toBe(0x100040);
    expect([kernel.start, kernel.end]).toEqual([0x100000, 0x100000 + 5000]);
    expect(kernel.segments).toHaveLength(1);
    expect(kernel.segments[0]!.memorySize).toBe(5000);
    expect(Buffer.compare(kernel.segments[0]!.bytes, sampleCode(3000))).toBe(0);
    if (/gzip|xz|lz4|zstd/.test(description)) expect(steps.at(-1)).toBe(ELF.length);
  });

  it.each(FORMS)("says that %s (form %#) is broken wherever it is cut off", async (_description, bytes) => {
    // What follows the payload of a bzImage, and the section headers of an ELF, may be missing only in part.
    for (const fraction of [0.001, 0.1, 0.5, 0.9]) {
      expect(await failure(bytes.subarray(0, Math.floor(bytes.length * fraction)))).not.toBe("");
    }
  });

  it.each(FORMS.filter(([name]) => /gzip|xz/.test(name)))(
    "finds any flipped bit in %s (form %#)",
    async (name, bytes) => {
      const start = name.startsWith("bzImage") ? 1024 + 64 + 12 : 12;
      for (let at = start; at < bytes.length - 90; at += 37) {
        const damaged = bytes.slice();
        damaged[at]! ^= 0x10;
        expect(await failure(damaged)).toMatch(/gzip|xz|bzImage/);
      }
    },
  );

  it("refuses what is no x86 kernel, saying what it is", async () => {
    const at = (offset: number, text: string) => concat(new Uint8Array(offset), ascii(text), new Uint8Array(600));
    expect(await failure(new Uint8Array(0))).toBe("the kernel file is empty");
    expect(await failure(ascii("hello"))).toMatch(/not a kernel/);
    expect(await failure(new Uint8Array(10_000))).toMatch(/not a kernel/);
    expect(await failure(at(0, "070701"))).toMatch(/cpio archive/);
    expect(await failure(at(0, "BZh9"))).toMatch(/bzip2/);
    expect(await failure(at(56, "ARMd"))).toMatch(/ARM64 kernel/);
    expect(await failure(at(0, "!<arch>\n"))).toMatch(/package/);
    expect(await failure(sampleElf({ machine: 183 }))).toBe("ELF: built for ARM64, not for x86");
    expect(await failure(sampleElf({ machine: 40, bits: 32 }))).toBe("ELF: built for ARM, not for x86");
  });

  it("refuses a kernel whose notes do not offer the domain type", async () => {
    expect(await failure(sampleElf({ notes: [] }))).toMatch(/cannot start as PVH: it has no Xen notes/);
    expect(await failure(sampleElf({ notes: [{ type: 6, descriptor: ascii("linux\0") }] }))).toMatch(/no PHYS32_ENTRY/);
    expect(await failure(sampleElf({ notes: [{ name: "GNU", type: 18, descriptor: u32(0x100040) }] }))).toMatch(
      /no Xen/,
    );
    expect(await failure(ELF, "pv")).toMatch(/cannot start as PV/);
    const notes = [
      { type: 5, descriptor: ascii("xen-3.0\0") },
      { type: 8, descriptor: ascii("generic\0") },
    ];
    const pv = await loadKernel(sampleElf({ notes }), { type: "pv" });
    expect([...pv.notes.keys()]).toEqual([5, 8]);
  });

  it("refuses a bzImage that is too old, cut off, or whose payload lies elsewhere", async () => {
    const change = (edit: (view: DataView) => void) => {
      const bytes = sampleBzImage(ELF);
      edit(new DataView(bytes.buffer));
      return bytes;
    };
    expect(await failure(change((v) => v.setUint16(0x206, 0x0207, true)))).toMatch(/boot protocol 2.07 is too old/);
    expect(await failure(change((v) => v.setUint32(0x1f4, 1 << 20, true)))).toMatch(/bzImage: truncated/);
    expect(await failure(change((v) => v.setUint32(0x248, 0xfffffff0, true)))).toMatch(/outside the image/);
    expect(await failure(change((v) => v.setUint32(0x24c, 0xfffffff0, true)))).toMatch(/outside the image/);
    expect(await failure(sampleBzImage(concat(decode(LZ4_LEGACY), u32(ELF.length + 1))))).toMatch(/expected|promised/);
    expect(await failure(sampleBzImage(concat(decode(ZSTD), u32(0xffffffff))))).toMatch(/limit of 1 GiB/);
  });

  it("finds damage where neither a checksum nor a size would show it", async () => {
    const lz4 = (...block: number[]) =>
      concat(Uint8Array.of(2, 0x21, 0x4c, 0x18), u32(block.length), Uint8Array.from(block));
    // One literal, then a match of four bytes from nine bytes back; the same from distance zero.
    expect(await failure(lz4(0x10, 0x7f, 9, 0, 0))).toBe("lz4: corrupted data");
    expect(await failure(lz4(0x10, 0x7f, 0, 0, 0))).toBe("lz4: corrupted data");
    // A frame without content size and checksum, with one compressed block of garbage.
    const garbage = concat(
      decode(ZSTD).subarray(0, 4),
      Uint8Array.of(0, 0x58, 0x45, 0, 0),
      new Uint8Array(8).fill(0xff),
    );
    expect(await failure(garbage)).toBe("zstd: corrupted data");
  });

  it("gives ImageError or a kernel for any damage to any form", async () => {
    const edits = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...FORMS), edits, fc.boolean(), async ([, bytes], changes, low) => {
        const damaged = bytes.slice();
        // Headers are where the offsets are: half of the runs change only those.
        for (const [at, value] of changes) damaged[at % (low ? Math.min(700, damaged.length) : damaged.length)] = value;
        try {
          const kernel = await loadKernel(damaged, PVH);
          expect(kernel.end).toBeLessThanOrEqual(2 ** 32);
          for (const { paddr, bytes: data, memorySize } of kernel.segments) {
            expect(data.length).toBeLessThanOrEqual(memorySize);
            expect(paddr).toBeGreaterThanOrEqual(kernel.start);
            expect(paddr + memorySize).toBeLessThanOrEqual(kernel.end);
          }
        } catch (error) {
          if (!(error instanceof ImageError)) throw error;
        }
      }),
      { numRuns: 1500 },
    );
  }, 20_000);

  it("gives ImageError for random bytes behind any magic", async () => {
    const magics = FORMS.map(([, bytes]) => bytes.subarray(0, 6));
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...magics), fc.uint8Array({ maxLength: 400 }), async (magic, rest) => {
        await expect(loadKernel(concat(magic, rest), PVH)).rejects.toBeInstanceOf(ImageError);
      }),
      { numRuns: 500 },
    );
  });
});

describe("ELF", () => {
  it("reads PHYS32_ENTRY of four and of eight bytes", async () => {
    for (const descriptor of [u32(0x100123), u64(0x100123n)]) {
      const kernel = await loadKernel(sampleElf({ notes: [{ type: 18, descriptor }] }), PVH);
      expect(kernel.phys32Entry).toBe(0x100123);
    }
    expect(await failure(sampleElf({ notes: [{ type: 18, descriptor: u64(0x1_0010_0000n) }] }))).toMatch(/32 bits/);
    expect(await failure(sampleElf({ notes: [{ type: 18, descriptor: u32(0x200000) }] }))).toMatch(
      /outside the kernel/,
    );
  });

  it("takes what an old kernel says in its section __xen_guest for notes", async () => {
    const guestInfo =
      "GUEST_OS=Mini-OS,XEN_VER=xen-3.0,VIRT_BASE=0x400000,HYPERCALL_PAGE=0x2,LOADER=generic,PAE=yes,NEW=1";
    const { notes } = await loadKernel(sampleElf({ guestInfo }), { type: "pv" });
    const number = (type: number): bigint => noteNumber(notes.get(type)!);
    expect(noteString(notes.get(N.XEN_ELFNOTE_GUEST_OS)!)).toBe("Mini-OS");
    expect(noteString(notes.get(N.XEN_ELFNOTE_PAE_MODE)!)).toBe("yes");
    expect(number(N.XEN_ELFNOTE_VIRT_BASE)).toBe(0x400000n);
    expect(number(N.XEN_ELFNOTE_PADDR_OFFSET)).toBe(0x400000n);
    expect(number(N.XEN_ELFNOTE_HYPERCALL_PAGE)).toBe(0x402000n);
    expect(notes.size).toBe(7);
  });

  it.each(["pvh", "pv"] as const)(
    "refuses a %s kernel that can't do without a feature Xen does not know",
    async (type) => {
      const kernel = (features: string): Promise<unknown> =>
        loadKernel(
          sampleElf({
            notes: [
              { type: 18, descriptor: u32(0x100040) },
              { type: N.XEN_ELFNOTE_XEN_VERSION, descriptor: ascii("xen-3.0\0") },
              { type: N.XEN_ELFNOTE_LOADER, descriptor: ascii("generic\0") },
              { type: N.XEN_ELFNOTE_FEATURES, descriptor: ascii(`${features}\0`) },
            ],
          }),
          { type },
        );
      await expect(kernel("!writable_page_tables|other|pae_pgdir_above_4gb")).resolves.toBeDefined();
      await expect(kernel("!writable_page_tables|!other")).rejects.toThrow(/"other"/);
    },
  );

  it("takes an old kernel that has virtual addresses for physical ones, above 4 GiB", async () => {
    const base = 0xffffffff80000000n;
    const segments = [
      { paddr: base + 0x43a500n, data: sampleCode(10), memorySize: 20 },
      { paddr: base + 0x100000n, data: sampleCode(100) },
    ];
    const guestInfo =
      "GUEST_OS=NetBSD,XEN_VER=xen-3.0,LOADER=generic,VIRT_ENTRY=0xffffffff80100000,VIRT_BASE=0xffffffff80000000,ELF_PADDR_OFFSET=0xffffffff80000000,BSD_SYMTAB=yes";
    const symbols = { symtab: sampleCode(30), strtab: ascii("\0x\0") };
    const kernel = await loadKernel(sampleElf({ segments, guestInfo, symbols }), { type: "pv" });
    const bytes = (n: number): bigint => kernel.base + BigInt(n);
    expect(kernel.segments.slice(0, 2).map((s) => bytes(s.paddr))).toEqual(segments.map((s) => s.paddr));
    expect(bytes(kernel.start)).toBe(base + 0x100000n);
    expect(bytes(kernel.segments[2]!.paddr)).toBe(base + 0x43a518n);
    const plan = planPv({ memory: 16 * 2 ** 20, kernel, commandLine: "" });
    expect(kernel.start - plan.paddrOffset).toBe(0x100000);
  });

  it("takes a note whose descriptor says that it is longer than its segment", async () => {
    const notesOfFile = [
      { type: N.XEN_ELFNOTE_XEN_VERSION, descriptor: ascii("xen-3.0\0") },
      { type: N.XEN_ELFNOTE_LOADER, descriptor: ascii("generic\0") },
      { type: N.XEN_ELFNOTE_PAE_MODE, descriptor: ascii("yes\0") },
    ];
    const file = sampleElf({ notes: notesOfFile });
    const at = Buffer.from(file).indexOf("Xen\0yes\0");
    expect(at).toBeGreaterThan(0);
    file.set(u32(file.length), at - 8);
    const { notes } = await loadKernel(file, { type: "pv" });
    expect(noteString(notes.get(N.XEN_ELFNOTE_PAE_MODE)!)).toBe("yes");
  });

  it("takes 32-bit kernels, and notes that are only in a section", async () => {
    const kernel = await loadKernel(sampleElf({ bits: 32, notesIn: "section" }), PVH);
    expect([kernel.machine, kernel.phys32Entry, kernel.description]).toEqual(["i386", 0x100040, "ELF32"]);
    expect(kernel.segments[0]!.memorySize).toBe(5000);
  });

  it("refuses segments that end outside the file, above 4 GiB, or overlap without end", async () => {
    const data = new Uint8Array(16);
    expect(await failure(sampleElf({ segments: [{ paddr: 0xfffffff8, data }] }))).toMatch(/above 4 GiB/);
    expect(await failure(sampleElf({ segments: [{ paddr: 0x1000, data, memorySize: 4 }] }))).toMatch(
      /more in the file/,
    );
    const segments = Array.from({ length: 3 }, () => ({ paddr: 0x1000, data, memorySize: 0x1000 }));
    expect(await failure(sampleElf({ segments }))).toMatch(/overlap/);
    const beyond = sampleElf();
    new DataView(beyond.buffer).setBigUint64(64 + 8, 2n ** 64n - 8n, true);
    expect(await failure(beyond)).toMatch(/truncated/);
  });

  it.each([64, 32] as const)(
    "puts the symbol table behind an ELF%i kernel that asks for it, as libelf does",
    async (bits) => {
      const symtab = sampleCode(37);
      const strtab = ascii("\0start\0end\0");
      const notes = [
        { type: 18, descriptor: u32(0x100040) },
        { type: 11, descriptor: ascii("yes\0") },
      ];
      const segments = [{ paddr: 0x100000, data: sampleCode(100), memorySize: 1001 }];
      const kernel = await loadKernel(sampleElf({ bits, notes, segments, symbols: { symtab, strtab } }), PVH);
      const wide = bits === 64;
      const { paddr, bytes, memorySize } = kernel.segments[1]!;
      // 1001 rounded up to 8 or 4; the header takes 4 + 64 + 3 * 64 bytes, rounded up likewise.
      expect(paddr).toBe(0x100000 + (wide ? 1008 : 1004));
      const symbolsAt = wide ? 264 : 260;
      const stringsAt = symbolsAt + 40;
      expect(memorySize).toBe(wide ? stringsAt + 16 : stringsAt + 12);
      expect(kernel.end).toBe(paddr + memorySize);
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      expect(view.getUint32(0, true)).toBe(stringsAt + strtab.length - 4);
      expect([...bytes.subarray(4, 8)]).toEqual([0x7f, 0x45, 0x4c, 0x46]);
      expect(view.getUint32(4 + (wide ? 40 : 32), true)).toBe(64);
      expect(view.getUint16(4 + (wide ? 60 : 48), true)).toBe(3);
      expect(view.getUint16(4 + (wide ? 56 : 44), true)).toBe(0);
      const shdr = wide ? 64 : 40;
      const offsetField = wide ? 24 : 16;
      const linkField = wide ? 40 : 24;
      const header = (index: number) => 68 + index * shdr;
      expect(view.getUint32(header(1) + 4, true)).toBe(2);
      expect(view.getUint32(header(1) + offsetField, true)).toBe(symbolsAt - 4);
      expect(view.getUint32(header(1) + linkField, true)).toBe(2);
      expect(view.getUint32(header(2) + offsetField, true)).toBe(stringsAt - 4);
      expect(bytes.subarray(symbolsAt, symbolsAt + 37)).toEqual(symtab);
      expect(bytes.subarray(stringsAt, stringsAt + strtab.length)).toEqual(strtab);
    },
  );
});

describe("loadRamdisk", () => {
  it("unpacks one gzip member and leaves everything else alone", async () => {
    const data = sampleCode(5000);
    const packed = new Uint8Array(gzipSync(data));
    expect(Buffer.compare(await loadRamdisk(packed), data)).toBe(0);
    const twice = concat(packed, ascii("070701"));
    expect(await loadRamdisk(twice)).toBe(twice);
    const plain = ascii("070701...");
    expect(await loadRamdisk(plain)).toBe(plain);
    await expect(loadRamdisk(new Uint8Array(0))).rejects.toBeInstanceOf(ImageError);
  });
});

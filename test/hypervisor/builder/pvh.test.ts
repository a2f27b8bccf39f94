import { describe, expect, it } from "vitest";
import { HVM_PARAM_CONSOLE_PFN, HVM_PARAM_STORE_PFN } from "../../../hypervisor/abi/hvm.ts";
import { apicId, buildAcpiTables } from "../../../hypervisor/builder/acpi.ts";
import { E820_ACPI, E820_RAM, E820_RESERVED } from "../../../hypervisor/builder/e820.ts";
import { BuilderError } from "../../../hypervisor/builder/error.ts";
import type { KernelImage, XenNote } from "../../../hypervisor/builder/image.ts";
import type { GuestMemoryWriter } from "../../../hypervisor/builder/memory-writer.ts";
import { type PvhConfig, type PvhPlan, planPvh } from "../../../hypervisor/builder/pvh.ts";

const MIB = 0x10_0000;

/** Sparse guest memory that refuses to be touched outside the plan's regions, and is dirty before. */
class Memory implements GuestMemoryWriter {
  private readonly pages = new Map<number, Uint8Array>();
  private readonly plan: PvhPlan;

  constructor(plan: PvhPlan) {
    this.plan = plan;
    plan.load(this);
  }

  private page(gpa: number): Uint8Array {
    const number = Math.floor(gpa / 4096);
    if (!this.plan.regions.some((r) => gpa >= r.gpa && gpa < r.gpa + r.length)) {
      throw new Error(`0x${gpa.toString(16)} is not populated`);
    }
    let page = this.pages.get(number);
    if (!page) {
      page = new Uint8Array(4096).fill(0xa5);
      this.pages.set(number, page);
    }
    return page;
  }

  write(gpa: number, bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) this.page(gpa + i)[(gpa + i) % 4096] = bytes[i]!;
  }

  zero(gpa: number, length: number): void {
    for (let i = 0; i < length; i++) this.page(gpa + i)[(gpa + i) % 4096] = 0;
  }

  bytes(gpa: number, length: number): Uint8Array {
    return Uint8Array.from({ length }, (_, i) => this.page(gpa + i)[(gpa + i) % 4096]!);
  }

  u32(gpa: number): number {
    return new DataView(this.bytes(gpa, 4).buffer).getUint32(0, true);
  }

  u64(gpa: number): number {
    return this.u32(gpa) + this.u32(gpa + 4) * 2 ** 32;
  }

  text(gpa: number): string {
    let text = "";
    for (let at = gpa; ; at++) {
      const byte = this.bytes(at, 1)[0]!;
      if (byte === 0) return text;
      text += String.fromCharCode(byte);
    }
  }
}

function u32Note(type: number, value: number): XenNote {
  const descriptor = new Uint8Array(4);
  new DataView(descriptor.buffer).setUint32(0, value, true);
  return { type, descriptor };
}

function kernel(notes: XenNote[] = [], start: number = 16 * MIB): KernelImage {
  return {
    description: "test",
    machine: "x86-64",
    segments: [
      { paddr: start, bytes: Uint8Array.of(1, 2, 3), memorySize: 5000 },
      { paddr: start + 0x2000, bytes: Uint8Array.of(9), memorySize: 1 },
    ],
    base: 0n,
    start,
    end: start + 0x2001,
    entry: 0n,
    phys32Entry: start + 0x10,
    notes: new Map(notes.map((note) => [note.type, note])),
  };
}

const GUEST_OS: XenNote = { type: 6, descriptor: new TextEncoder().encode("linux\0") };
const LINUX: XenNote[] = [GUEST_OS, u32Note(16, 1), u32Note(17, 0x8801)];

function plan(changes: Partial<PvhConfig> = {}): PvhPlan {
  return planPvh({ memory: 256 * MIB, vcpus: 1, kernel: kernel(LINUX), commandLine: "console=hvc0", ...changes });
}

function sum(bytes: Uint8Array): number {
  return bytes.reduce((total, byte) => (total + byte) & 0xff, 0);
}

describe("memory map", () => {
  it("is that of real Xen for 256 MiB, in libxl's order", () => {
    const map = plan().memoryMap;
    expect(map.map(({ address, type }) => [address, type])).toEqual([
      [0, E820_RAM],
      [0xfeff8000, E820_RESERVED],
      [0xfc002000, E820_ACPI],
      [0xfc000000, E820_ACPI],
      [0xfc001000, E820_ACPI],
    ]);
    expect(map.map(({ size }) => size)).toEqual([0x10000000, 0x8000, 0x40, 0x1000, 0x1000]);
  });

  it("puts RAM beyond the MMIO hole above 4 GiB", () => {
    const large = plan({ memory: 8 * 1024 * MIB });
    expect(large.memoryMap[0]).toEqual({ address: 0, size: 0xfc000000, type: E820_RAM });
    expect(large.memoryMap.at(-1)).toEqual({ address: 2 ** 32, size: 2 ** 33 - 0xfc000000, type: E820_RAM });
    expect(large.regions.at(-1)).toEqual({ gpa: 2 ** 32, length: 2 ** 33 - 0xfc000000 });
  });

  it("lists disjoint whole pages to populate, in ascending order", () => {
    for (const { regions } of [plan(), plan({ memory: 2 ** 33 }), plan({ kernel: kernel([GUEST_OS]) })]) {
      let end = 0;
      for (const { gpa, length } of regions) {
        expect(gpa).toBeGreaterThanOrEqual(end);
        expect([gpa % 4096, length % 4096]).toEqual([0, 0]);
        end = gpa + length;
      }
    }
  });
});

describe("placement", () => {
  it("puts start info behind the kernel and then the ramdisk if the kernel has MOD_START_PFN", () => {
    const p = plan({ ramdisk: new Uint8Array(5000) });
    expect(p.startInfo).toBe(0x1003000);
    expect(p.ramdisk).toEqual({ gpa: 0x1004000, length: 0x2000 });
  });

  it("puts the ramdisk before start info otherwise", () => {
    const p = plan({ kernel: kernel(), ramdisk: new Uint8Array(5000) });
    expect(p.ramdisk).toEqual({ gpa: 0x1003000, length: 0x2000 });
    expect(p.startInfo).toBe(0x1005000);
  });

  it("loads segments with their BSS zeroed, and the ramdisk with the rest of its last page zeroed", () => {
    const p = plan({ ramdisk: new Uint8Array(5000).fill(7) });
    const memory = new Memory(p);
    expect(memory.bytes(0x1000000, 4)).toEqual(Uint8Array.of(1, 2, 3, 0));
    expect(memory.bytes(0x1000000 + 4996, 4)).toEqual(new Uint8Array(4));
    expect(memory.bytes(0x1002000, 1)[0]).toBe(9);
    expect(memory.bytes(0x1004000 + 4999, 2)).toEqual(Uint8Array.of(7, 0));
    expect(memory.bytes(0x1005fff, 1)[0]).toBe(0);
  });

  it("refuses a kernel or ramdisk that does not fit, saying which", () => {
    expect(() => plan({ memory: 8 * MIB })).toThrow(/not enough memory: the kernel/);
    expect(() => plan({ memory: 17 * MIB, ramdisk: new Uint8Array(MIB) })).toThrow(/not enough memory: the ramdisk/);
  });

  it("refuses bad memory sizes, vcpu counts and command lines with BuilderError", () => {
    for (const bad of [{ memory: 1000 }, { memory: 0 }, { memory: Number.NaN }, { vcpus: 0 }, { vcpus: 1.5 }]) {
      expect(() => plan(bad)).toThrow(BuilderError);
    }
    expect(() => plan({ commandLine: "a\0b" })).toThrow(BuilderError);
    expect(() => plan({ kernel: { ...kernel(), phys32Entry: undefined } })).toThrow(BuilderError);
    expect(() => plan({ kernel: { ...kernel(), base: 1n << 32n } })).toThrow(/above 4 GiB/);
    expect(() => plan({ kernel: kernel([], 0x1000800) })).toThrow(/start of a page/);
  });
});

describe("start info", () => {
  it("has the layout of public start_info.h version 1", () => {
    const p = plan({ ramdisk: new Uint8Array(5000), commandLine: "console=hvc0 quiet" });
    const memory = new Memory(p);
    const si = p.startInfo;
    expect(memory.u32(si)).toBe(0x336ec578);
    expect(memory.u32(si + 4)).toBe(1);
    expect(memory.u32(si + 8)).toBe(0);
    expect(memory.u32(si + 12)).toBe(1);
    const modlist = memory.u64(si + 16);
    expect(memory.u64(modlist)).toBe(p.ramdisk!.gpa);
    expect(memory.u64(modlist + 8)).toBe(0x2000);
    expect(memory.u64(modlist + 16)).toBe(0);
    expect(memory.text(memory.u64(si + 24))).toBe("console=hvc0 quiet");
    expect(memory.u64(si + 32)).toBe(0xfc002000);
    expect(memory.u32(si + 48)).toBe(p.memoryMap.length);
    const memmap = memory.u64(si + 40);
    const read = p.memoryMap.map((_, i) => ({
      address: memory.u64(memmap + i * 24),
      size: memory.u64(memmap + i * 24 + 8),
      type: memory.u32(memmap + i * 24 + 16),
    }));
    expect(read).toEqual(p.memoryMap);
  });

  it("has no module list, command line or RSDP where there is none", () => {
    const p = plan({ commandLine: "", acpi: false });
    const memory = new Memory(p);
    expect(memory.u32(p.startInfo + 12)).toBe(0);
    expect([16, 24, 32].map((field) => memory.u64(p.startInfo + field))).toEqual([0, 0, 0]);
    expect(p.memoryMap.some(({ type }) => type === E820_ACPI)).toBe(false);
  });

  it("grows over several pages for a long command line", () => {
    const commandLine = "x".repeat(10_000);
    const p = plan({ commandLine, ramdisk: new Uint8Array(1) });
    const memory = new Memory(p);
    expect(memory.text(memory.u64(p.startInfo + 24))).toBe(commandLine);
    expect(p.ramdisk!.gpa).toBe(p.startInfo + 0x4000);
  });
});

describe("special pages and vcpu state", () => {
  it("have Xen's positions, as observed by xenstore-ls and dmesg", () => {
    const p = plan();
    // /local/domain/2/store/ring-ref of the reference run.
    expect(p.xenstorePfn).toBe(1044476);
    expect(p.consolePfn).toBe(0xfefff);
    const param = (index: number) => p.params.find((entry) => entry.index === index)?.value;
    expect(param(HVM_PARAM_STORE_PFN)).toBe(0xfeffcn);
    expect(param(HVM_PARAM_CONSOLE_PFN)).toBe(0xfefffn);
    const memory = new Memory(p);
    expect(memory.bytes(0xfeffc000, 4096).every((byte) => byte === 0)).toBe(true);
    expect([memory.u32(0xfeffe000), memory.u32(0xfeffeffc)]).toEqual([0xe7, 0xffc000e7]);
  });

  it("starts in flat 32-bit protected mode with EBX at start info", () => {
    const { vcpu, startInfo } = plan();
    expect(vcpu).toMatchObject({ rip: 0x1000010, rbx: startInfo, rflags: 2, cr0: 0x11, cr4: 0, efer: 0 });
    expect(vcpu.cs).toEqual({ selector: 0, base: 0, limit: 0xffffffff, attributes: 0xc9b });
    for (const segment of [vcpu.ds, vcpu.es, vcpu.ss]) {
      expect(segment).toEqual({ selector: 0, base: 0, limit: 0xffffffff, attributes: 0xc93 });
    }
    expect(vcpu.tr).toEqual({ selector: 0, base: 0, limit: 0x67, attributes: 0x8b });
  });
});

describe("ACPI tables", () => {
  /** Follows RSDP and XSDT as a guest does and checks every checksum on the way. */
  function tables(vcpus: number, online: (vcpu: number) => boolean = () => true): Map<string, Uint8Array> {
    const memory = new Memory(plan({ vcpus, online }));
    const rsdp = memory.u64(plan({ vcpus, online }).startInfo + 32);
    expect(memory.text(rsdp).slice(0, 8)).toBe("RSD PTR ");
    expect([sum(memory.bytes(rsdp, 20)), sum(memory.bytes(rsdp, 36))]).toEqual([0, 0]);
    const found = new Map<string, Uint8Array>();
    const read = (gpa: number, checked = true) => {
      const bytes = memory.bytes(gpa, memory.u32(gpa + 4));
      if (checked) expect(sum(bytes)).toBe(0);
      found.set(String.fromCharCode(...bytes.subarray(0, 4)), bytes);
      return bytes;
    };
    const xsdtAt = memory.u64(rsdp + 24);
    const xsdt = read(xsdtAt);
    for (let at = 36; at < xsdt.length; at += 8) read(memory.u64(xsdtAt + at));
    const fadt = new DataView(found.get("FACP")!.buffer);
    read(fadt.getUint32(140, true));
    read(fadt.getUint32(132, true), false);
    return found;
  }

  it("lie where Xen has them, with sound checksums", () => {
    const found = tables(1);
    expect([...found.keys()].sort()).toEqual(["APIC", "DSDT", "FACP", "FACS", "XSDT"]);
    const fadt = new DataView(found.get("FACP")!.buffer);
    expect(found.get("FACP")!.length).toBe(0x10c);
    expect(fadt.getUint8(8)).toBe(5);
    expect([fadt.getUint32(36, true), fadt.getUint32(40, true)]).toEqual([0xfc001000, 0xfc001040]);
    expect(fadt.getUint16(109, true)).toBe(0x24);
    expect(found.get("APIC")!.length).toBe(0x34);
    expect(found.get("FACS")!.length).toBe(0x40);
  });

  it("have a local APIC for each vcpu with id twice the vcpu, disabled where not online", () => {
    const madt = tables(3, (vcpu) => vcpu !== 1).get("APIC")!;
    expect([...madt.subarray(44)]).toEqual([
      ...[0, 8, 0, 0, 1, 0, 0, 0],
      ...[0, 8, 1, 2, 0, 0, 0, 0],
      ...[0, 8, 2, 4, 1, 0, 0, 0],
    ]);
    expect(apicId(5)).toBe(10);
  });

  it("have x2APIC entries once the id passes 254", () => {
    const madt = tables(129).get("APIC")!;
    expect(madt.length).toBe(44 + 128 * 8 + 16);
    expect([...madt.subarray(44 + 127 * 8)]).toEqual([
      ...[0, 8, 127, 254, 1, 0, 0, 0],
      ...[9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 128, 0, 0, 0],
    ]);
  });

  it("have a DSDT that names each processor under _SB with its vcpu as UID", () => {
    const dsdt = tables(2).get("DSDT")!;
    const text = String.fromCharCode(...dsdt);
    expect(dsdt[36]).toBe(0x10);
    expect(text.indexOf("\\_SB_")).toBeGreaterThan(36);
    expect(text).toContain("[\x82");
    expect(text).toContain("PR00");
    expect(text).toContain("PR01\x08_HID\x0dACPI0007\0\x08_UID\x01");
    expect(text).not.toContain("PR02");
  });

  it("have packages in the DSDT whose lengths cover exactly their content", () => {
    const dsdt = tables(200).get("DSDT")!;
    /** End of the package whose PkgLength starts at `at`, and where its content starts (ACPI 20.2.4). */
    const extent = (at: number) => {
      const extra = dsdt[at]! >> 6;
      let length = extra === 0 ? dsdt[at]! & 0x3f : dsdt[at]! & 0x0f;
      for (let i = 1; i <= extra; i++) length |= dsdt[at + i]! << (8 * i - 4);
      return { content: at + 1 + extra, end: at + length };
    };
    const scope = extent(37);
    expect(scope.end).toBe(dsdt.length);
    let devices = 0;
    for (let at = scope.content + 5; at < scope.end; devices++) {
      expect([dsdt[at], dsdt[at + 1]]).toEqual([0x5b, 0x82]);
      at = extent(at + 2).end;
      if (devices === 199) expect(at).toBe(scope.end);
    }
    expect(devices).toBe(200);
  });

  it("put the RSDP in the BIOS area for a Linux that does not take it from elsewhere", () => {
    const p = plan({ kernel: kernel([GUEST_OS]) });
    const memory = new Memory(p);
    expect(memory.u64(p.startInfo + 32)).toBe(0xfffc0);
    expect(memory.text(0xfffc0).slice(0, 8)).toBe("RSD PTR ");
    expect(buildAcpiTables({ vcpus: 1, online: () => true, rsdpInBios: false }).rsdp).toBe(0xfc002000);
  });

  it("name processors beyond 255 with a third digit", () => {
    const found = tables(300);
    expect(String.fromCharCode(...found.get("DSDT")!)).toContain("P12B");
  });
});

// Builds a PVH domain: what libxl and libxenguest do from a kernel, a ramdisk and a command line (xg_dom_x86.c, xg_dom_core.c),
// to the boot ABI of docs/misc/pvh.pandoc and public arch-x86/hvm/start_info.h.

import {
  HVM_PARAM_BUFIOREQ_PFN,
  HVM_PARAM_CONSOLE_PFN,
  HVM_PARAM_IDENT_PT,
  HVM_PARAM_IOREQ_PFN,
  HVM_PARAM_MONITOR_RING_PFN,
  HVM_PARAM_PAGING_RING_PFN,
  HVM_PARAM_SHARING_RING_PFN,
  HVM_PARAM_STORE_PFN,
} from "../abi/hvm.ts";
import { type AcpiTables, buildAcpiTables } from "./acpi.ts";
import {
  BUFIOREQ_PFN,
  CONSOLE_PFN,
  type E820Entry,
  type GuestRegion,
  IDENT_PT_PFN,
  IOREQ_PFN,
  MMIO_START,
  MONITOR_RING_PFN,
  NR_SPECIAL_PAGES,
  PAGE_SIZE,
  PAGING_RING_PFN,
  pvhMemoryMap,
  ramLayout,
  SHARING_RING_PFN,
  SPECIAL_REGION,
  XENSTORE_PFN,
} from "./e820.ts";
import { BuilderError } from "./error.ts";
import {
  type KernelImage,
  noteNumber,
  noteString,
  XEN_ELFNOTE_FEATURES,
  XEN_ELFNOTE_GUEST_OS,
  XEN_ELFNOTE_MOD_START_PFN,
  XEN_ELFNOTE_SUPPORTED_FEATURES,
} from "./image.ts";
import { type GuestMemoryWriter, Struct } from "./memory-writer.ts";

export const XEN_HVM_START_MAGIC_VALUE = 0x336ec578;
const START_INFO_VERSION = 1;
const START_INFO_SIZE = 56;
const MODLIST_ENTRY_SIZE = 32;
const MEMMAP_ENTRY_SIZE = 24;
/** HVMLOADER_MODULE_MAX_COUNT and HVMLOADER_MODULE_CMDLINE_SIZE: libxenguest leaves room for these. */
const MODULES_MAX = 2;
const MODULE_CMDLINE_SIZE = 1024;
/** End of the area where a BIOS would be, in which old Linux searches the RSDP. */
const BIOS_END = 0x100000;
/** XENFEAT_linux_rsdp_unrestricted of public features.h. */
const XENFEAT_LINUX_RSDP_UNRESTRICTED = 15;
/** The vcpu ids of public vcpu calls and the two-word x2APIC ids would allow more; Xen 4.17 itself stops at 128. */
const VCPUS_MAX = 4096;

export interface PvhConfig {
  /** RAM of the domain, bytes, whole pages. */
  memory: number;
  vcpus: number;
  /** Which vcpus are available from the start; all if absent. */
  online?: (vcpu: number) => boolean;
  kernel: KernelImage;
  /** As it shall lie in memory (Xen unpacks gzip first). */
  ramdisk?: Uint8Array;
  /** "" or absent: start_info has none. */
  commandLine?: string;
  /** Build ACPI tables; true if absent. Without, the guest knows of one vcpu only. */
  acpi?: boolean;
}

/** Hidden part of a segment register: `attributes` are VMCB style, 12 bits (type, S, DPL, P, then AVL, L, D/B, G). */
export interface SegmentState {
  selector: number;
  base: number;
  /** In bytes. */
  limit: number;
  attributes: number;
}

/** Registers of vcpu 0 at its first instruction. General registers that are not named are zero, as are GDTR and IDTR. */
export interface PvhVcpuState {
  rip: number;
  rbx: number;
  rflags: number;
  cr0: number;
  cr3: number;
  cr4: number;
  efer: number;
  dr6: number;
  dr7: number;
  cs: SegmentState;
  ds: SegmentState;
  es: SegmentState;
  ss: SegmentState;
  fs: SegmentState;
  gs: SegmentState;
  ldtr: SegmentState;
  tr: SegmentState;
  /** IA32_MTRR_DEF_TYPE of every vcpu: enabled, write-back. */
  mtrrDefType: number;
}

export interface PvhPlan {
  /** Guest-physical memory to populate: RAM, special pages, ACPI pages. Whole pages, ascending, disjoint. */
  regions: readonly GuestRegion[];
  /** XENMEM_memory_map, and the map in start_info. */
  memoryMap: readonly E820Entry[];
  /** HVM_PARAM_* and their initial values. */
  params: readonly { index: number; value: bigint }[];
  consolePfn: number;
  xenstorePfn: number;
  /** Guest-physical address of hvm_start_info. */
  startInfo: number;
  /** Where the ramdisk lies; its length is in whole pages, as the guest sees it. */
  ramdisk: GuestRegion | undefined;
  vcpu: PvhVcpuState;
  /** Writes the initial memory. The regions must be there; the writer need not have zeroed them. */
  load(memory: GuestMemoryWriter): void;
}

const pageUp = (n: number): number => Math.ceil(n / PAGE_SIZE) * PAGE_SIZE;

function mib(bytes: number): string {
  return `${Math.ceil(bytes / 0x10_0000)} MiB`;
}

/** UTF-8 with its terminating zero, rounded up to 8 bytes; nothing for an empty one. */
function encodeCommandLine(text: string | undefined): Uint8Array {
  if (!text) return new Uint8Array(0);
  if (text.includes("\0")) throw new BuilderError("the kernel command line contains a NUL character");
  const utf8 = new TextEncoder().encode(text);
  const bytes = new Uint8Array(Math.ceil((utf8.length + 1) / 8) * 8);
  bytes.set(utf8);
  return bytes;
}

/** Whether Linux says that it takes the RSDP from start_info wherever it is; any other system does. */
function rsdpInBios(kernel: KernelImage): boolean {
  const os = kernel.notes.get(XEN_ELFNOTE_GUEST_OS);
  if (!os || noteString(os) !== "linux") return false;
  const features = kernel.notes.get(XEN_ELFNOTE_SUPPORTED_FEATURES);
  if (features && (noteNumber(features) >> BigInt(XENFEAT_LINUX_RSDP_UNRESTRICTED)) & 1n) return false;
  const named = kernel.notes.get(XEN_ELFNOTE_FEATURES);
  return !(named && noteString(named).split("|").includes("linux_rsdp_unrestricted"));
}

/** One allocation after the other from the end of the kernel, within low RAM (xc_dom_alloc_segment). */
class Allocator {
  next: number;
  private readonly limit: number;

  constructor(start: number, limit: number) {
    this.next = start;
    this.limit = limit;
  }

  take(size: number, what: string): GuestRegion {
    const length = pageUp(size);
    if (length > this.limit - this.next) {
      throw new BuilderError(
        `not enough memory: ${what} (${mib(size)} at ${mib(this.next)}) does not fit in ${mib(this.limit)} of low RAM`,
      );
    }
    const gpa = this.next;
    this.next += length;
    return { gpa, length };
  }
}

/** Lays out the domain. Throws BuilderError if it cannot be built. */
export function planPvh(config: PvhConfig): PvhPlan {
  const { kernel } = config;
  if (kernel.phys32Entry === undefined) throw new BuilderError("the kernel has no PVH entry point");
  if (kernel.base !== 0n) throw new BuilderError("the kernel's program headers load it above 4 GiB");
  if (!Number.isInteger(config.vcpus) || config.vcpus < 1 || config.vcpus > VCPUS_MAX) {
    throw new BuilderError(`vcpus must be 1 to ${VCPUS_MAX}, not ${config.vcpus}`);
  }
  const ram = ramLayout(config.memory);
  if (kernel.start % PAGE_SIZE !== 0) {
    throw new BuilderError(`the kernel's first address 0x${kernel.start.toString(16)} is not at the start of a page`);
  }
  const commandLine = encodeCommandLine(config.commandLine);
  const acpi =
    config.acpi === false
      ? undefined
      : buildAcpiTables({
          vcpus: config.vcpus,
          online: config.online ?? (() => true),
          rsdpInBios: ram.lowEnd >= BIOS_END && rsdpInBios(kernel),
        });
  const memoryMap = pvhMemoryMap(
    ram,
    acpi ? acpi.regions.map(({ gpa, bytes }) => ({ gpa, length: bytes.length })) : [],
  );

  const allocator = new Allocator(kernel.start, ram.lowEnd);
  allocator.take(kernel.end - kernel.start, "the kernel");
  const modules = config.ramdisk?.length ? [config.ramdisk] : [];
  const placeRamdisk = () => modules.map((bytes) => allocator.take(bytes.length, "the ramdisk"));
  // A kernel that needs no mapping of its ramdisk gets it behind everything else.
  const note = kernel.notes.get(XEN_ELFNOTE_MOD_START_PFN);
  const ramdiskLast = note !== undefined && noteNumber(note) !== 0n;
  let placed = ramdiskLast ? [] : placeRamdisk();
  const startInfo = allocator.take(startInfoSize(commandLine, memoryMap), "the start info");
  if (ramdiskLast) placed = placeRamdisk();

  const info = buildStartInfo(startInfo.gpa, commandLine, placed, memoryMap, acpi?.rsdp ?? 0);
  return {
    regions: populated(ram, acpi),
    memoryMap,
    params: [
      { index: HVM_PARAM_STORE_PFN, value: BigInt(XENSTORE_PFN) },
      { index: HVM_PARAM_BUFIOREQ_PFN, value: BigInt(BUFIOREQ_PFN) },
      { index: HVM_PARAM_IOREQ_PFN, value: BigInt(IOREQ_PFN) },
      { index: HVM_PARAM_CONSOLE_PFN, value: BigInt(CONSOLE_PFN) },
      { index: HVM_PARAM_PAGING_RING_PFN, value: BigInt(PAGING_RING_PFN) },
      { index: HVM_PARAM_MONITOR_RING_PFN, value: BigInt(MONITOR_RING_PFN) },
      { index: HVM_PARAM_SHARING_RING_PFN, value: BigInt(SHARING_RING_PFN) },
      { index: HVM_PARAM_IDENT_PT, value: BigInt(IDENT_PT_PFN * PAGE_SIZE) },
    ],
    consolePfn: CONSOLE_PFN,
    xenstorePfn: XENSTORE_PFN,
    startInfo: startInfo.gpa,
    ramdisk: placed[0],
    vcpu: pvhVcpuState(kernel.phys32Entry, startInfo.gpa),
    load(memory) {
      for (const { paddr, bytes, memorySize } of kernel.segments) {
        memory.write(paddr, bytes);
        if (memorySize > bytes.length) memory.zero(paddr + bytes.length, memorySize - bytes.length);
      }
      memory.zero(startInfo.gpa, startInfo.length);
      memory.write(startInfo.gpa, info);
      for (const [i, bytes] of modules.entries()) {
        const { gpa, length } = placed[i]!;
        memory.write(gpa, bytes);
        if (length > bytes.length) memory.zero(gpa + bytes.length, length - bytes.length);
      }
      for (const { gpa, bytes } of acpi?.regions ?? []) memory.write(gpa, bytes);
      memory.zero(SPECIAL_REGION, NR_SPECIAL_PAGES * PAGE_SIZE);
      memory.write(IDENT_PT_PFN * PAGE_SIZE, identityPageDirectory());
    },
  };
}

/** RAM, ACPI pages and special pages, ascending. An RSDP in the BIOS area lies in RAM already. */
function populated(ram: { lowEnd: number; highEnd: number }, acpi: AcpiTables | undefined): GuestRegion[] {
  const regions: GuestRegion[] = [{ gpa: 0, length: ram.lowEnd }];
  if (acpi) {
    const high = acpi.regions.filter(({ gpa }) => gpa >= MMIO_START);
    const start = Math.min(...high.map(({ gpa }) => gpa));
    const end = Math.max(...high.map(({ gpa, bytes }) => pageUp(gpa + bytes.length)));
    regions.push({ gpa: start, length: end - start });
  }
  regions.push({ gpa: SPECIAL_REGION, length: NR_SPECIAL_PAGES * PAGE_SIZE });
  if (ram.highEnd !== 0) regions.push({ gpa: 0x1_0000_0000, length: ram.highEnd - 0x1_0000_0000 });
  return regions;
}

function startInfoSize(commandLine: Uint8Array, memoryMap: readonly E820Entry[]): number {
  const modules = MODULES_MAX * (MODLIST_ENTRY_SIZE + MODULE_CMDLINE_SIZE);
  return START_INFO_SIZE + commandLine.length + modules + memoryMap.length * MEMMAP_ENTRY_SIZE;
}

/** hvm_start_info, the command line, the module list with room for the modules' command lines, the memory map. */
function buildStartInfo(
  gpa: number,
  commandLine: Uint8Array,
  modules: readonly GuestRegion[],
  memoryMap: readonly E820Entry[],
  rsdp: number,
): Uint8Array {
  const modlist = START_INFO_SIZE + commandLine.length;
  const memmap = modlist + MODULES_MAX * (MODLIST_ENTRY_SIZE + MODULE_CMDLINE_SIZE);
  const s = new Struct(startInfoSize(commandLine, memoryMap))
    .u32(0, XEN_HVM_START_MAGIC_VALUE)
    .u32(4, START_INFO_VERSION)
    .u32(12, modules.length)
    .u64(16, modules.length > 0 ? gpa + modlist : 0)
    .u64(24, commandLine.length > 0 ? gpa + START_INFO_SIZE : 0)
    .u64(32, rsdp)
    .u64(40, gpa + memmap)
    .u32(48, memoryMap.length);
  s.bytes.set(commandLine, START_INFO_SIZE);
  for (const [i, module] of modules.entries()) {
    s.u64(modlist + i * MODLIST_ENTRY_SIZE, module.gpa).u64(modlist + i * MODLIST_ENTRY_SIZE + 8, module.length);
  }
  for (const [i, { address, size, type }] of memoryMap.entries()) {
    const at = memmap + i * MEMMAP_ENTRY_SIZE;
    s.u64(at, address)
      .u64(at + 8, size)
      .u32(at + 16, type);
  }
  return s.bytes;
}

/** A 32-bit page directory that maps 4 GiB one to one with 4 MiB pages, for processors that cannot run a guest unpaged. */
function identityPageDirectory(): Uint8Array {
  // Present, writable, user, accessed, dirty, page size.
  const flags = 0x01 | 0x02 | 0x04 | 0x20 | 0x40 | 0x80;
  const page = new Struct(PAGE_SIZE);
  for (let i = 0; i < PAGE_SIZE / 4; i++) page.u32(i * 4, ((i << 22) | flags) >>> 0);
  return page.bytes;
}

const CR0_PE = 0x01;
const CR0_ET = 0x10;
const RFLAGS_MBS = 0x02;
const DR6_DEFAULT = 0xffff0ff0;
const DR7_DEFAULT = 0x400;
const FLAT_LIMIT = 0xffffffff;
/** Present 32-bit code, executable, readable, accessed; granularity in pages. */
const FLAT_CODE = 0xc9b;
const FLAT_DATA = 0xc93;
const BUSY_TSS32 = 0x8b;
const TSS_LIMIT = 0x67;
const MTRR_WRITE_BACK = 6;
const MTRR_ENABLE = 1 << 11;

/** IA32_MTRR_DEF_TYPE that libxenguest gives every vcpu of a PVH domain: enabled, write-back, no fixed ranges. */
export const PVH_MTRR_DEF_TYPE: number = MTRR_WRITE_BACK | MTRR_ENABLE;

/** The machine state that docs/misc/pvh.pandoc promises, with the values that libxenguest chooses. */
export function pvhVcpuState(entry: number, startInfo: number): PvhVcpuState {
  const segment = (limit: number, attributes: number): SegmentState => ({ selector: 0, base: 0, limit, attributes });
  return {
    rip: entry,
    rbx: startInfo,
    rflags: RFLAGS_MBS,
    cr0: CR0_PE | CR0_ET,
    cr3: 0,
    cr4: 0,
    efer: 0,
    dr6: DR6_DEFAULT,
    dr7: DR7_DEFAULT,
    cs: segment(FLAT_LIMIT, FLAT_CODE),
    ds: segment(FLAT_LIMIT, FLAT_DATA),
    es: segment(FLAT_LIMIT, FLAT_DATA),
    ss: segment(FLAT_LIMIT, FLAT_DATA),
    fs: segment(0, 0),
    gs: segment(0, 0),
    ldtr: segment(0, 0),
    tr: segment(TSS_LIMIT, BUSY_TSS32),
    mtrrDefType: PVH_MTRR_DEF_TYPE,
  };
}

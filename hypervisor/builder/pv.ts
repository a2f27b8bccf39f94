/**
 * Lays a PV domain out as libxenguest does (xc_dom_core.c, xc_dom_x86.c), by the rules of public/xen.h ("start-of-day memory
 * layout"): kernel, ramdisk, p2m list, start info, xenstore and console pages, page tables, boot stack, one after another from
 * the kernel's virtual base on, all mapped; a kernel may ask for its ramdisk unmapped and its p2m list at an address of its own.
 *
 * The plan counts in pfns, the domain's own frame numbers from 0 on; which machine frames they are is known when it is loaded.
 */
import { BuilderError } from "./error.ts";
import {
  type KernelImage,
  noteNumber,
  noteString,
  XEN_ELFNOTE_ENTRY,
  XEN_ELFNOTE_HYPERCALL_PAGE,
  XEN_ELFNOTE_INIT_P2M,
  XEN_ELFNOTE_MOD_START_PFN,
  XEN_ELFNOTE_PADDR_OFFSET,
  XEN_ELFNOTE_PAE_MODE,
  XEN_ELFNOTE_VIRT_BASE,
} from "./image.ts";
import { GEOMETRY_32, GEOMETRY_64, PvTables } from "./pv-tables.ts";

const PAGE = 4096n;
/** The mapped region ends at a multiple of 4 MiB, with at least 512 KiB behind the boot stack. */
const REGION_ALIGN = 1n << 22n;
const PADDING_PAGES = 128n;

export interface PvConfig {
  /** Bytes; a whole number of pages. */
  readonly memory: number;
  readonly kernel: KernelImage;
  readonly ramdisk?: Uint8Array;
  readonly commandLine: string;
}

/** A piece of the domain's memory, in its own frames. */
export interface PvPiece {
  readonly pfn: number;
  readonly pages: number;
}

export interface PvPlan {
  readonly is32bit: boolean;
  /** Frames of the domain. */
  readonly pages: number;
  readonly virtBase: bigint;
  readonly entry: bigint;
  readonly stackTop: bigint;
  readonly kernel: KernelImage;
  /** Address, as the kernel's segments count it, of the domain's byte 0. */
  readonly paddrOffset: number;
  /** Frame of the hypercall page, -1 if the kernel has none. */
  readonly hypercallPfn: number;
  readonly ramdisk: (PvPiece & { readonly bytes: Uint8Array; readonly mapped: boolean }) | null;
  readonly p2m: PvPiece & { readonly virtual: bigint; readonly isOutside: boolean };
  readonly startInfoPfn: number;
  readonly xenstorePfn: number;
  readonly consolePfn: number;
  readonly tables: PvTables;
  readonly commandLine: Uint8Array;
}

const pageUp = (n: bigint): bigint => (n + PAGE - 1n) & ~(PAGE - 1n);
const pagesOf = (bytes: number): number => Math.ceil(bytes / Number(PAGE));

/** Hands out the domain's frames one after another, each at virtBase + pfn pages. */
class Layout {
  end = 0;
  private readonly limit: number;

  constructor(limit: number) {
    this.limit = limit;
  }

  take(pages: number, what: string): PvPiece {
    const pfn = this.end;
    this.end += pages;
    if (this.end > this.limit)
      throw new BuilderError(
        `${(this.limit * 4) / 1024} MiB of memory are too little: ${what} would end at ${Math.ceil((this.end * 4) / 1024)} MiB`,
      );
    return { pfn, pages };
  }
}

/** MAX_GUEST_CMDLINE of start_info, without the terminating zero. */
const COMMAND_LINE_MAX = 1023;

/** Throws BuilderError if the domain can't be laid out. */
export function planPv(config: PvConfig): PvPlan {
  const { kernel } = config;
  const is32bit = kernel.machine === "i386";
  const geometry = is32bit ? GEOMETRY_32 : GEOMETRY_64;
  checkPae(kernel);
  const commandLine = new TextEncoder().encode(config.commandLine);
  if (commandLine.length > COMMAND_LINE_MAX)
    throw new BuilderError(`the command line has ${commandLine.length} bytes, a PV kernel takes ${COMMAND_LINE_MAX}`);
  const note = (type: number): bigint | undefined => {
    const n = kernel.notes.get(type);
    return n === undefined ? undefined : noteNumber(n);
  };
  const virtBase = note(XEN_ELFNOTE_VIRT_BASE) ?? 0n;
  const paddrOffset = Number((note(XEN_ELFNOTE_PADDR_OFFSET) ?? 0n) - kernel.base);
  if (virtBase % PAGE !== 0n) throw new BuilderError("the kernel's VIRT_BASE note is not the address of a page");
  if (kernel.start < paddrOffset) throw new BuilderError("the kernel's PADDR_OFFSET note is beyond its first segment");
  const entry = note(XEN_ELFNOTE_ENTRY) ?? kernel.entry;
  const p2mBase = note(XEN_ELFNOTE_INIT_P2M);
  checkAddresses(kernel, virtBase - BigInt(paddrOffset), entry, p2mBase);
  const pages = Math.floor(config.memory / Number(PAGE));
  const layout = new Layout(pages);
  layout.take(pagesOf(kernel.end - paddrOffset), "the kernel");
  const virtual = (pfn: number): bigint => virtBase + BigInt(pfn) * PAGE;

  const bytes = config.ramdisk !== undefined && config.ramdisk.length > 0 ? config.ramdisk : null;
  const unmapped = (note(XEN_ELFNOTE_MOD_START_PFN) ?? 0n) !== 0n;
  let ramdisk: PvPlan["ramdisk"] = null;
  if (bytes !== null && !unmapped)
    ramdisk = { ...layout.take(pagesOf(bytes.length), "the ramdisk"), bytes, mapped: true };

  const p2mPages = pagesOf(pages * geometry.wordBytes);
  const isOutside = !is32bit && p2mBase !== undefined && p2mBase < virtBase && p2mBase % PAGE === 0n;
  let p2m: PvPlan["p2m"] | null = null;
  if (!isOutside) {
    const piece = layout.take(p2mPages, "the p2m list");
    p2m = { ...piece, virtual: virtual(piece.pfn), isOutside };
  }
  const startInfo = layout.take(1, "the start info");
  const xenstore = layout.take(1, "the xenstore page");
  const console = layout.take(1, "the console page");

  const tables = new PvTables(geometry);
  const regionEnd = sizeOfRegion(tables, virtBase, virtual(layout.end));
  const tablePages = layout.take(tables.count, "the page tables");
  const stack = layout.take(1, "the boot stack");
  // All that the initial tables map is there.
  const mapped = Number((regionEnd - virtBase) / PAGE);
  if (mapped > layout.end) layout.take(mapped - layout.end, "the initial mapping");
  tables.mapRegion(virtBase, 0, mapped, tablePages.pfn);
  if (bytes !== null && unmapped)
    ramdisk = { ...layout.take(pagesOf(bytes.length), "the ramdisk"), bytes, mapped: false };
  if (p2m === null) {
    const list = layout.take(p2mPages, "the p2m list");
    const extra = tables.countFor(p2mBase!, p2mPages);
    const below = layout.take(extra, "the page tables of the p2m list");
    tables.mapRegion(p2mBase!, list.pfn, p2mPages, below.pfn);
    // The piece that start_info names has the tables in it (first_p2m_pfn, nr_p2m_frames).
    p2m = { pfn: list.pfn, pages: p2mPages + extra, virtual: p2mBase!, isOutside };
  }
  const hypercall = note(XEN_ELFNOTE_HYPERCALL_PAGE);
  return {
    is32bit,
    pages,
    virtBase,
    entry,
    stackTop: virtual(stack.pfn + 1),
    kernel,
    paddrOffset,
    hypercallPfn: hypercall === undefined ? -1 : hypercallFrame(hypercall, virtBase, layout.end),
    ramdisk,
    p2m,
    startInfoPfn: startInfo.pfn,
    xenstorePfn: xenstore.pfn,
    consolePfn: console.pfn,
    tables,
    commandLine,
  };
}

function hypercallFrame(address: bigint, virtBase: bigint, end: number): number {
  const pfn = (address - virtBase) / PAGE;
  if (address < virtBase || address % PAGE !== 0n || pfn >= BigInt(end))
    throw new BuilderError(`the kernel's HYPERCALL_PAGE note points outside of it (0x${address.toString(16)})`);
  return Number(pfn);
}

/** elf_xen_addr_calc_check. @param virtOffset what a segment's address is short of its virtual address */
function checkAddresses(kernel: KernelImage, virtOffset: bigint, entry: bigint, p2mBase: bigint | undefined): void {
  const { notes } = kernel;
  if (notes.has(XEN_ELFNOTE_PADDR_OFFSET) && !notes.has(XEN_ELFNOTE_VIRT_BASE))
    throw new BuilderError("the kernel has a PADDR_OFFSET note, but no VIRT_BASE note");
  const start = BigInt(kernel.start) + virtOffset;
  const end = BigInt(kernel.end) + virtOffset;
  const range = `0x${start.toString(16)} to 0x${end.toString(16)}`;
  if (entry < start || entry > end)
    throw new BuilderError(`the kernel's entry 0x${entry.toString(16)} lies outside of it (${range})`);
  if (p2mBase !== undefined && p2mBase >= start && p2mBase < end)
    throw new BuilderError(`the kernel's INIT_P2M note 0x${p2mBase.toString(16)} lies inside of it (${range})`);
}

/** A 32-bit kernel runs with PAE or not at all. */
function checkPae(kernel: KernelImage): void {
  if (kernel.machine !== "i386") return;
  const note = kernel.notes.get(XEN_ELFNOTE_PAE_MODE);
  const mode = note === undefined ? "" : noteString(note);
  if (!mode.startsWith("yes") && !mode.includes("bimodal"))
    throw new BuilderError("the kernel is a 32-bit one without PAE, which Xen does not run as PV");
}

/** count_pgtables_pv: how far the initial mapping reaches, with its own tables, the boot stack and the padding inside. */
function sizeOfRegion(tables: PvTables, virtBase: bigint, allocated: bigint): bigint {
  let extra = PADDING_PAGES + 1n;
  for (;;) {
    const end = (pageUp(allocated) + extra * PAGE + REGION_ALIGN - 1n) & ~(REGION_ALIGN - 1n);
    const count = tables.countFor(virtBase, Number((end - virtBase) / PAGE));
    extra = BigInt(count) + PADDING_PAGES + 1n;
    if (pageUp(allocated) + extra * PAGE <= end) {
      tables.count = count;
      return end;
    }
  }
}

// ---- loading ----------------------------------------------------------------------------------------------------------

/** What start_info says of things that are known only now. */
export interface PvStartOfDay {
  /** Machine frame of each pfn. */
  readonly mfns: Int32Array;
  readonly sharedInfoMfn: number;
  readonly storePort: number;
  readonly consolePort: number;
}

/** Writes `bytes` at byte `offset` of the domain's memory, counted in pfns; both by the domain's builder. */
export type PvWriter = (offset: number, bytes: Uint8Array) => void;

/** Kernel, ramdisk, p2m list and page tables. The frames are zero before. */
export function loadPv(plan: PvPlan, mfns: Int32Array, write: PvWriter): void {
  const page = Number(PAGE);
  for (const { paddr, bytes } of plan.kernel.segments) write(paddr - plan.paddrOffset, bytes);
  if (plan.ramdisk !== null) write(plan.ramdisk.pfn * page, plan.ramdisk.bytes);
  const { wordBytes } = plan.tables.geometry;
  const step = wordBytes / 4;
  const list = new Uint32Array(plan.pages * step);
  for (let pfn = 0; pfn < plan.pages; pfn++) list[pfn * step] = mfns[pfn]!;
  write(plan.p2m.pfn * page, new Uint8Array(list.buffer));
  plan.tables.write(mfns, write);
}

const SIF_MOD_START_PFN = 1 << 3;

/** struct start_info (public/xen.h), once the domain has its event channels. */
export function startInfoOf(plan: PvPlan, day: PvStartOfDay): Uint8Array {
  const { wordBytes, magic } = plan.tables.geometry;
  const bytes = new Uint8Array(Number(PAGE));
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode(magic));
  let at = 32;
  const word = (value: bigint | number): void => {
    if (wordBytes === 8) view.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), true);
    else view.setUint32(at, Number(BigInt.asUintN(32, BigInt(value))), true);
    at += wordBytes;
  };
  const int = (value: number): void => {
    view.setUint32(at, value, true);
    at += wordBytes;
  };
  const { ramdisk, p2m } = plan;
  word(plan.pages);
  word(day.sharedInfoMfn * Number(PAGE));
  int(ramdisk !== null && !ramdisk.mapped ? SIF_MOD_START_PFN : 0);
  word(day.mfns[plan.xenstorePfn]!);
  int(day.storePort);
  word(day.mfns[plan.consolePfn]!);
  int(day.consolePort);
  word(plan.virtBase + BigInt(plan.tables.firstPfn) * PAGE);
  word(plan.tables.count);
  word(p2m.virtual);
  word(ramdisk === null ? 0 : ramdisk.mapped ? plan.virtBase + BigInt(ramdisk.pfn) * PAGE : ramdisk.pfn);
  word(ramdisk === null ? 0 : ramdisk.bytes.length);
  bytes.set(plan.commandLine, at);
  at += COMMAND_LINE_MAX + 1;
  word(p2m.isOutside ? p2m.pfn : 0);
  word(p2m.isOutside ? p2m.pages : 0);
  return bytes;
}

/** Linear address of the start info. */
export const startInfoAddress = (plan: PvPlan): bigint => plan.virtBase + BigInt(plan.startInfoPfn) * PAGE;

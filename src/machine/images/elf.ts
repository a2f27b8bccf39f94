// ELF executables as Xen's libelf reads them: program headers by p_paddr, Xen's notes from PT_NOTE segments or else from
// SHT_NOTE sections, and the symbol table that BSD kernels ask for behind their image.

import {
  type KernelSegment,
  noteNumber,
  noteString,
  XEN_ELFNOTE_BSD_SYMTAB,
  XEN_ELFNOTE_PHYS32_ENTRY,
  type XenNote,
} from "../../../hypervisor/builder/image.ts";
import { hasMagic, inRange, readU16, readU32, readU64 } from "./bytes.ts";
import { ImageError } from "./error.ts";
import { notesOfGuestInfo } from "./guest-info.ts";

export const ELF_MAGIC: readonly number[] = [0x7f, 0x45, 0x4c, 0x46];

const EI_CLASS = 4;
const EI_DATA = 5;
const ELFCLASS32 = 1;
const ELFCLASS64 = 2;
const ELFDATA2LSB = 1;
const ET_EXEC = 2;
const ET_DYN = 3;
const EM_386 = 3;
const EM_X86_64 = 62;
const EV_CURRENT = 1;
const PT_LOAD = 1;
const PT_NOTE = 4;
/** PF_X | PF_W | PF_R: libelf loads only segments that have any of them. */
const PF_ANY = 7;
const SHT_SYMTAB = 2;
const SHT_STRTAB = 3;
const SHT_NOTE = 7;

/** e_machine values worth a name in an error message. */
const MACHINE_NAMES: Readonly<Record<number, string>> = {
  8: "MIPS",
  20: "PowerPC",
  21: "PowerPC64",
  22: "S/390",
  40: "ARM",
  43: "SPARC64",
  183: "ARM64",
  243: "RISC-V",
  258: "LoongArch",
};

/** libelf's ELF_MAX_TOTAL_NOTE_COUNT. */
const NOTES_MAX = 65536;
/** Guest-physical addresses of a kernel stay below 4 GiB: its entry is in 32-bit mode. */
const PADDR_LIMIT = 0x1_0000_0000;
/** e_entry. */
const ENTRY = 24;

/** Field offsets of one ELF class. */
interface Layout {
  bits: 32 | 64;
  ehdr: number;
  phdr: number;
  shdr: number;
  phoff: number;
  shoff: number;
  phentsize: number;
  phnum: number;
  shentsize: number;
  shnum: number;
  ehsize: number;
  shstrndx: number;
  pFlags: number;
  pOffset: number;
  pPaddr: number;
  pFilesz: number;
  pMemsz: number;
  shOffset: number;
  shSize: number;
  shLink: number;
}

const LAYOUT64: Layout = {
  bits: 64,
  ehdr: 64,
  phdr: 56,
  shdr: 64,
  phoff: 32,
  shoff: 40,
  ehsize: 52,
  phentsize: 54,
  phnum: 56,
  shentsize: 58,
  shnum: 60,
  shstrndx: 62,
  pFlags: 4,
  pOffset: 8,
  pPaddr: 24,
  pFilesz: 32,
  pMemsz: 40,
  shOffset: 24,
  shSize: 32,
  shLink: 40,
};

const LAYOUT32: Layout = {
  bits: 32,
  ehdr: 52,
  phdr: 32,
  shdr: 40,
  phoff: 28,
  shoff: 32,
  ehsize: 40,
  phentsize: 42,
  phnum: 44,
  shentsize: 46,
  shnum: 48,
  shstrndx: 50,
  pFlags: 24,
  pOffset: 4,
  pPaddr: 12,
  pFilesz: 16,
  pMemsz: 20,
  shOffset: 16,
  shSize: 20,
  shLink: 24,
};

interface ProgramHeader {
  type: number;
  flags: number;
  offset: number;
  paddr: bigint;
  fileSize: number;
  memorySize: number;
}

interface SectionHeader {
  /** Position of the header itself in the file. */
  at: number;
  /** Position of its name among the section names. */
  name: number;
  type: number;
  offset: number;
  size: number;
  link: number;
}

export interface ElfKernel {
  bits: 32 | 64;
  machine: "x86-64" | "i386";
  entry: bigint;
  segments: KernelSegment[];
  /** What the segments' addresses count from. */
  base: bigint;
  start: number;
  end: number;
  notes: Map<number, XenNote>;
  phys32Entry: number | undefined;
}

class ElfFile {
  readonly b: Uint8Array;
  readonly layout: Layout;

  constructor(b: Uint8Array) {
    this.b = b;
    if (b.length < LAYOUT32.ehdr) throw new ImageError("ELF: truncated in the header");
    const elfClass = b[EI_CLASS];
    if (elfClass !== ELFCLASS32 && elfClass !== ELFCLASS64) throw new ImageError("ELF: corrupted header (class)");
    this.layout = elfClass === ELFCLASS64 ? LAYOUT64 : LAYOUT32;
    if (b.length < this.layout.ehdr) throw new ImageError("ELF: truncated in the header");
    if (b[EI_DATA] !== ELFDATA2LSB) throw new ImageError("ELF: big-endian, not an x86 kernel");
  }

  /** An address or size: 32 or 64 bits by class. */
  word(at: number): number {
    return this.layout.bits === 64 ? readU64(this.b, at) : readU32(this.b, at);
  }

  /** The same, whole. */
  bigWord(at: number): bigint {
    const low = BigInt(readU32(this.b, at));
    return this.layout.bits === 64 ? low | (BigInt(readU32(this.b, at + 4)) << 32n) : low;
  }

  machine(): "x86-64" | "i386" {
    const type = readU16(this.b, 16);
    const machine = readU16(this.b, 18);
    if (machine !== EM_386 && machine !== EM_X86_64) {
      throw new ImageError(`ELF: built for ${MACHINE_NAMES[machine] ?? `machine ${machine}`}, not for x86`);
    }
    if (type !== ET_EXEC && type !== ET_DYN) throw new ImageError("ELF: not an executable (an object or core file?)");
    return machine === EM_386 ? "i386" : "x86-64";
  }

  programHeaders(): ProgramHeader[] {
    const { b, layout: l } = this;
    const offset = this.word(l.phoff);
    const entrySize = readU16(b, l.phentsize);
    const count = readU16(b, l.phnum);
    if (count === 0) throw new ImageError("ELF: no program headers (an object file?)");
    if (entrySize < l.phdr) throw new ImageError("ELF: corrupted header (program header size)");
    if (!inRange(offset, entrySize * count, b.length)) throw new ImageError("ELF: truncated in the program headers");
    const headers: ProgramHeader[] = [];
    for (let i = 0; i < count; i++) {
      const at = offset + i * entrySize;
      headers.push({
        type: readU32(b, at),
        flags: readU32(b, at + l.pFlags),
        offset: this.word(at + l.pOffset),
        paddr: this.bigWord(at + l.pPaddr),
        fileSize: this.word(at + l.pFilesz),
        memorySize: this.word(at + l.pMemsz),
      });
    }
    return headers;
  }

  sectionHeaders(): SectionHeader[] {
    const { b, layout: l } = this;
    const offset = this.word(l.shoff);
    const entrySize = readU16(b, l.shentsize);
    const count = readU16(b, l.shnum);
    if (count === 0) return [];
    if (entrySize < l.shdr) throw new ImageError("ELF: corrupted header (section header size)");
    if (!inRange(offset, entrySize * count, b.length)) throw new ImageError("ELF: truncated in the section headers");
    const headers: SectionHeader[] = [];
    for (let i = 0; i < count; i++) {
      const at = offset + i * entrySize;
      headers.push({
        at,
        name: readU32(b, at),
        type: readU32(b, at + 4),
        offset: this.word(at + l.shOffset),
        size: this.word(at + l.shSize),
        link: readU32(b, at + l.shLink),
      });
    }
    return headers;
  }

  /** The section of that name; undefined where there is none, or the names can't be read. */
  section(sections: readonly SectionHeader[], name: string): SectionHeader | undefined {
    const names = sections[readU16(this.b, this.layout.shstrndx)];
    if (names === undefined || !inRange(names.offset, names.size, this.b.length)) return undefined;
    const wanted = [...name].map((c) => c.charCodeAt(0)).concat(0);
    return sections.find(
      (s) => inRange(s.name, wanted.length, names.size) && hasMagic(this.b, names.offset + s.name, wanted),
    );
  }

  slice(offset: number, size: number, what: string): Uint8Array {
    if (!inRange(offset, size, this.b.length)) throw new ImageError(`ELF: truncated (${what} ends beyond the file)`);
    return this.b.subarray(offset, offset + size);
  }

  /** The same with what the file has behind it. */
  from(offset: number, size: number, what: string): Uint8Array {
    this.slice(offset, size, what);
    return this.b.subarray(offset);
  }
}

/** Reads an ELF kernel. Segment bytes are views of `b`. */
export function parseElf(b: Uint8Array): ElfKernel {
  if (!hasMagic(b, 0, ELF_MAGIC)) throw new ImageError("not an ELF file");
  const file = new ElfFile(b);
  const machine = file.machine();
  const headers = file.programHeaders();
  const sections = file.sectionHeaders();
  const segments: KernelSegment[] = [];
  const base = baseOf(headers);
  let start = Number.POSITIVE_INFINITY;
  let end = 0;
  let total = 0;
  for (const [i, h] of headers.entries()) {
    if (!isLoadable(h)) continue;
    if (h.fileSize > h.memorySize) throw new ImageError(`ELF: program header ${i} has more in the file than in memory`);
    const paddr = Number(h.paddr - base);
    if (!inRange(paddr, h.memorySize, PADDR_LIMIT)) {
      const limit = base === 0n ? "4 GiB" : `0x${(base + BigInt(PADDR_LIMIT)).toString(16)}`;
      throw new ImageError(
        `ELF: program header ${i} loads above ${limit} (physical address 0x${h.paddr.toString(16)})`,
      );
    }
    const bytes = file.slice(h.offset, h.fileSize, `program header ${i}`);
    if (h.memorySize === 0) continue;
    segments.push({ paddr, bytes, memorySize: h.memorySize });
    start = Math.min(start, paddr);
    end = Math.max(end, paddr + h.memorySize);
    total += h.memorySize;
  }
  if (segments.length === 0) throw new ImageError("ELF: no segment to load");
  // As libelf: overlapping segments may cost no more than writing the image twice.
  if (total > 2 * (end - start)) throw new ImageError("ELF: segments overlap too much");

  const notes = readNotes(file, headers, sections);
  const entry = file.bigWord(ENTRY);
  let phys32Entry: number | undefined;
  const phys32 = notes.get(XEN_ELFNOTE_PHYS32_ENTRY);
  if (phys32) {
    const value = noteNumber(phys32);
    if (value >= BigInt(PADDR_LIMIT)) throw new ImageError("ELF: the PHYS32_ENTRY note does not fit in 32 bits");
    phys32Entry = Number(value);
    if (phys32Entry < start || phys32Entry >= end) {
      throw new ImageError(`ELF: the PHYS32_ENTRY note points outside the kernel (0x${phys32Entry.toString(16)})`);
    }
  }
  const bsd = notes.get(XEN_ELFNOTE_BSD_SYMTAB);
  if (bsd && noteString(bsd) === "yes") {
    const symbols = bsdSymbols(file, sections, end);
    if (symbols) {
      segments.push(symbols);
      end = symbols.paddr + symbols.memorySize;
      if (end > PADDR_LIMIT) throw new ImageError("ELF: the symbol table would be loaded above 4 GiB");
    }
  }
  return { bits: file.layout.bits, machine, entry, segments, base, start, end, notes, phys32Entry };
}

const isLoadable = (h: ProgramHeader): boolean => h.type === PT_LOAD && (h.flags & PF_ANY) !== 0;

/** The lowest segment's address without its low 32 bits: 0, but for a PV kernel that has virtual addresses for physical ones. */
function baseOf(headers: readonly ProgramHeader[]): bigint {
  const bases = headers.filter(isLoadable).map((h) => Number(h.paddr >> 32n));
  return BigInt(Math.min(...bases, 0xffff_ffff)) << 32n;
}

function readNotes(
  file: ElfFile,
  headers: readonly ProgramHeader[],
  sections: readonly SectionHeader[],
): Map<number, XenNote> {
  const notes = new Map<number, XenNote>();
  const budget = { left: NOTES_MAX };
  for (const h of headers) {
    // Some binutils leave p_offset of a note segment zero.
    if (h.type === PT_NOTE && h.offset !== 0) {
      scanNotes(file.from(h.offset, h.fileSize, "a note segment"), h.fileSize, notes, budget);
    }
  }
  if (notes.size > 0) return notes;
  for (const s of sections) {
    if (s.type === SHT_NOTE) scanNotes(file.from(s.offset, s.size, "a note section"), s.size, notes, budget);
  }
  if (notes.size > 0) return notes;
  const legacy = file.section(sections, "__xen_guest");
  return legacy === undefined ? notes : notesOfGuestInfo(file.slice(legacy.offset, legacy.size, "a section"));
}

/**
 * Collects the notes of owner "Xen" that begin in the first `end` bytes of `b`. As for libelf, a descriptor may end behind them, at
 * the file's end at the latest: the last one of grub-i386-xen.bin says that it is longer than there are bytes. Stops quietly at a
 * descriptor that would begin behind them, as a segment may carry padding.
 */
function scanNotes(b: Uint8Array, end: number, notes: Map<number, XenNote>, budget: { left: number }): void {
  let at = 0;
  while (at + 12 <= end) {
    if (budget.left-- === 0) throw new ImageError("ELF: too many notes");
    const nameSize = readU32(b, at);
    const size = readU32(b, at + 4);
    const type = readU32(b, at + 8);
    const descriptor = at + 12 + Math.ceil(nameSize / 4) * 4;
    if (descriptor > end) return;
    if (nameSize === 4 && hasMagic(b, at + 12, [0x58, 0x65, 0x6e, 0])) {
      notes.set(type, { type, descriptor: b.slice(descriptor, descriptor + size) });
    }
    at = descriptor + Math.ceil(size / 4) * 4;
  }
}

/** Sections in the header made for the symbol table: the undefined one, SYMTAB, STRTAB. */
const BSDSYM_SECTIONS = 3;
const BSDSYM_SYMTAB = 1;
const BSDSYM_STRTAB = 2;
/** libelf's struct elf_sym_header: a size word, then a union of ELF headers, then a union of section headers three times. */
const BSDSYM_EHDR = 4;
const BSDSYM_SHDRS: number = BSDSYM_EHDR + LAYOUT64.ehdr;
const BSDSYM_HEADER: number = BSDSYM_SHDRS + BSDSYM_SECTIONS * LAYOUT64.shdr;

/**
 * The symbol table as libelf's elf_load_bsdsyms puts it behind the kernel: size, ELF header, three section headers, symbols,
 * strings. Undefined if the kernel has no usable symbol table, which libelf lets pass too.
 */
function bsdSymbols(file: ElfFile, sections: readonly SectionHeader[], kernelEnd: number): KernelSegment | undefined {
  const { layout: l } = file;
  const symtab = sections.find(
    (s) => s.type === SHT_SYMTAB && s.link !== 0 && sections[s.link] !== undefined && s !== sections[0],
  );
  const strtab = symtab && sections[symtab.link];
  if (!symtab || !strtab || strtab.type !== SHT_STRTAB) return undefined;
  const symbols = file.slice(symtab.offset, symtab.size, "the symbol table");
  const strings = file.slice(strtab.offset, strtab.size, "the string table");
  const align = l.bits === 64 ? 8 : 4;
  const roundUp = (n: number) => Math.ceil(n / align) * align;
  const paddr = roundUp(kernelEnd);
  const symbolsAt = roundUp(BSDSYM_HEADER);
  const stringsAt = roundUp(symbolsAt + symbols.length);
  const memorySize = roundUp(stringsAt + strings.length);
  const bytes = new Uint8Array(memorySize);
  const view = new DataView(bytes.buffer);
  const setWord = (at: number, value: number) => {
    view.setUint32(at, value, true);
    if (l.bits === 64) view.setUint32(at + 4, 0, true);
  };

  view.setUint32(0, stringsAt + strings.length - BSDSYM_EHDR, true);
  bytes.set(file.b.subarray(0, l.ehdr), BSDSYM_EHDR);
  view.setUint32(BSDSYM_EHDR + 20, EV_CURRENT, true);
  setWord(BSDSYM_EHDR + l.phoff, 0);
  setWord(BSDSYM_EHDR + l.shoff, BSDSYM_SHDRS - BSDSYM_EHDR);
  view.setUint16(BSDSYM_EHDR + l.ehsize, l.ehdr, true);
  view.setUint16(BSDSYM_EHDR + l.phentsize, 0, true);
  view.setUint16(BSDSYM_EHDR + l.phnum, 0, true);
  view.setUint16(BSDSYM_EHDR + l.shentsize, l.shdr, true);
  view.setUint16(BSDSYM_EHDR + l.shnum, BSDSYM_SECTIONS, true);
  view.setUint16(BSDSYM_EHDR + l.shstrndx, 0, true);

  // Section headers follow each other at their true size, so that the guest can index them.
  const symtabHeader = BSDSYM_SHDRS + BSDSYM_SYMTAB * l.shdr;
  bytes.set(file.b.subarray(symtab.at, symtab.at + l.shdr), symtabHeader);
  setWord(symtabHeader + l.shOffset, symbolsAt - BSDSYM_EHDR);
  view.setUint32(symtabHeader + l.shLink, BSDSYM_STRTAB, true);
  const strtabHeader = BSDSYM_SHDRS + BSDSYM_STRTAB * l.shdr;
  bytes.set(file.b.subarray(strtab.at, strtab.at + l.shdr), strtabHeader);
  setWord(strtabHeader + l.shOffset, stringsAt - BSDSYM_EHDR);

  bytes.set(symbols, symbolsAt);
  bytes.set(strings, stringsAt);
  return { paddr, bytes, memorySize };
}

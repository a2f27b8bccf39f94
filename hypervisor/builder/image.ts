// A kernel as the domain builder takes it: what to place where, and what the kernel's ELF notes say.

/** A piece of the kernel. Bytes of memory after `bytes` up to `memorySize` are zero. */
export interface KernelSegment {
  /** Guest-physical address, counted from the image's `base`. */
  paddr: number;
  bytes: Uint8Array;
  /** Size in memory, bytes; at least `bytes.length`. */
  memorySize: number;
}

/** An ELF note of owner "Xen" (public elfnote.h). */
export interface XenNote {
  type: number;
  descriptor: Uint8Array;
}

export interface KernelImage {
  /** What the file was, outermost first, for display: "bzImage, xz, ELF64". */
  description: string;
  machine: "x86-64" | "i386";
  /** In loading order; a later one overwrites an earlier one. Includes the BSD symbol table where the kernel asks for it. */
  segments: readonly KernelSegment[];
  /**
   * A multiple of 4 GiB that the segments' addresses count from: 0, but for an old PV kernel whose program headers have virtual
   * addresses for physical ones (its PADDR_OFFSET note says so).
   */
  base: bigint;
  /** First byte and end of all segments, guest-physical, counted from `base`. */
  start: number;
  end: number;
  /** e_entry. */
  entry: bigint;
  /** XEN_ELFNOTE_PHYS32_ENTRY: where a PVH domain starts. */
  phys32Entry: number | undefined;
  /** By type; the last of a type wins. */
  notes: ReadonlyMap<number, XenNote>;
}

// Public elfnote.h.
export const XEN_ELFNOTE_ENTRY = 1;
export const XEN_ELFNOTE_HYPERCALL_PAGE = 2;
export const XEN_ELFNOTE_VIRT_BASE = 3;
export const XEN_ELFNOTE_PADDR_OFFSET = 4;
export const XEN_ELFNOTE_XEN_VERSION = 5;
export const XEN_ELFNOTE_GUEST_OS = 6;
export const XEN_ELFNOTE_GUEST_VERSION = 7;
export const XEN_ELFNOTE_LOADER = 8;
export const XEN_ELFNOTE_PAE_MODE = 9;
export const XEN_ELFNOTE_FEATURES = 10;
export const XEN_ELFNOTE_BSD_SYMTAB = 11;
export const XEN_ELFNOTE_HV_START_LOW = 12;
export const XEN_ELFNOTE_L1_MFN_VALID = 13;
export const XEN_ELFNOTE_SUSPEND_CANCEL = 14;
export const XEN_ELFNOTE_INIT_P2M = 15;
export const XEN_ELFNOTE_MOD_START_PFN = 16;
export const XEN_ELFNOTE_SUPPORTED_FEATURES = 17;
export const XEN_ELFNOTE_PHYS32_ENTRY = 18;

/** The number in a note of 1, 2, 4 or 8 bytes; 0 for any other size, as libelf's elf_note_numeric. */
export function noteNumber(note: XenNote): bigint {
  const d = note.descriptor;
  if (d.length !== 1 && d.length !== 2 && d.length !== 4 && d.length !== 8) return 0n;
  let value = 0n;
  for (let i = d.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(d[i]!);
  return value;
}

/** The string in a note, up to its terminating zero. */
export function noteString(note: XenNote): string {
  let text = "";
  for (const byte of note.descriptor) {
    if (byte === 0) break;
    text += String.fromCharCode(byte);
  }
  return text;
}

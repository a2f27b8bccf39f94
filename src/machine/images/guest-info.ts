// What a kernel older than Xen's ELF notes says of itself: one string "KEY=value,KEY=value" in a section __xen_guest, as
// libelf's elf_xen_parse_guest_info reads it. It becomes notes of the same meaning.

import {
  XEN_ELFNOTE_BSD_SYMTAB,
  XEN_ELFNOTE_ENTRY,
  XEN_ELFNOTE_FEATURES,
  XEN_ELFNOTE_GUEST_OS,
  XEN_ELFNOTE_GUEST_VERSION,
  XEN_ELFNOTE_HYPERCALL_PAGE,
  XEN_ELFNOTE_LOADER,
  XEN_ELFNOTE_PADDR_OFFSET,
  XEN_ELFNOTE_PAE_MODE,
  XEN_ELFNOTE_VIRT_BASE,
  XEN_ELFNOTE_XEN_VERSION,
  type XenNote,
} from "../../../hypervisor/builder/image.ts";

const STRINGS: Readonly<Record<string, number>> = {
  LOADER: XEN_ELFNOTE_LOADER,
  GUEST_OS: XEN_ELFNOTE_GUEST_OS,
  GUEST_VER: XEN_ELFNOTE_GUEST_VERSION,
  XEN_VER: XEN_ELFNOTE_XEN_VERSION,
  PAE: XEN_ELFNOTE_PAE_MODE,
  FEATURES: XEN_ELFNOTE_FEATURES,
  BSD_SYMTAB: XEN_ELFNOTE_BSD_SYMTAB,
};
const NUMBERS: Readonly<Record<string, number>> = {
  VIRT_BASE: XEN_ELFNOTE_VIRT_BASE,
  VIRT_ENTRY: XEN_ELFNOTE_ENTRY,
  ELF_PADDR_OFFSET: XEN_ELFNOTE_PADDR_OFFSET,
  HYPERCALL_PAGE: XEN_ELFNOTE_HYPERCALL_PAGE,
};
/** Numbers as strtoull with base 0 takes them; anything else is 0 there. */
const numberOf = (text: string): bigint =>
  /^(0x[0-9a-f]+|[1-9][0-9]*|0[0-7]*)$/i.test(text)
    ? BigInt.asUintN(64, /^0[0-7]+$/.test(text) ? BigInt(`0o${text.slice(1)}`) : BigInt(text))
    : 0n;

function numberNote(type: number, value: bigint): XenNote {
  const descriptor = new Uint8Array(8);
  new DataView(descriptor.buffer).setBigUint64(0, BigInt.asUintN(64, value), true);
  return { type, descriptor };
}

/** The notes that the section's bytes stand for; keys that libelf does not know are passed over. */
export function notesOfGuestInfo(section: Uint8Array): Map<number, XenNote> {
  const end = section.indexOf(0);
  const text = new TextDecoder("latin1").decode(end < 0 ? section : section.subarray(0, end));
  const notes = new Map<number, XenNote>();
  const numbers = new Map<number, bigint>();
  for (const part of text.split(",")) {
    const equals = part.indexOf("=");
    const key = (equals < 0 ? part : part.slice(0, equals)).trim();
    const value = equals < 0 ? "" : part.slice(equals + 1);
    if (Object.hasOwn(STRINGS, key)) {
      const type = STRINGS[key]!;
      notes.set(type, { type, descriptor: new TextEncoder().encode(`${key === "BSD_SYMTAB" ? "yes" : value}\0`) });
    } else if (Object.hasOwn(NUMBERS, key)) numbers.set(NUMBERS[key]!, numberOf(value));
  }
  const virtBase = numbers.get(XEN_ELFNOTE_VIRT_BASE) ?? 0n;
  // Such kernels have virtual addresses for physical ones, unless they say otherwise; their hypercall page is a page's number.
  if (virtBase !== 0n && !numbers.has(XEN_ELFNOTE_PADDR_OFFSET)) numbers.set(XEN_ELFNOTE_PADDR_OFFSET, virtBase);
  const page = numbers.get(XEN_ELFNOTE_HYPERCALL_PAGE);
  if (page !== undefined) numbers.set(XEN_ELFNOTE_HYPERCALL_PAGE, (page << 12n) + virtBase);
  for (const [type, value] of numbers) notes.set(type, numberNote(type, value));
  return notes;
}

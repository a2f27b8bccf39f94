// The guest-physical memory map of a PVH domain, as libxl makes it (libxl_dom.c, domain_construct_memmap).

import { APIC_DEFAULT_BASE } from "../../cpu/system/apic.ts";
import { BuilderError } from "./error.ts";

/** Types of memory ranges: the same in E820 and in hvm_memmap_table_entry (public arch-x86/hvm/start_info.h). */
export const E820_RAM = 1;
export const E820_RESERVED = 2;
export const E820_ACPI = 3;
export const E820_NVS = 4;
export const E820_UNUSABLE = 5;

export const PAGE_SIZE = 4096;
const FOUR_GIB = 0x1_0000_0000;

/** X86_HVM_END_SPECIAL_REGION and X86_HVM_NR_SPECIAL_PAGES, as frame numbers. */
const END_SPECIAL_REGION = 0xff000;
export const NR_SPECIAL_PAGES = 8;
const FIRST_SPECIAL_PFN: number = END_SPECIAL_REGION - NR_SPECIAL_PAGES;

// The special pages, in order (libxenguest, xg_dom_x86.c).
export const PAGING_RING_PFN: number = FIRST_SPECIAL_PFN;
export const MONITOR_RING_PFN: number = FIRST_SPECIAL_PFN + 1;
export const SHARING_RING_PFN: number = FIRST_SPECIAL_PFN + 2;
export const BUFIOREQ_PFN: number = FIRST_SPECIAL_PFN + 3;
export const XENSTORE_PFN: number = FIRST_SPECIAL_PFN + 4;
export const IOREQ_PFN: number = FIRST_SPECIAL_PFN + 5;
export const IDENT_PT_PFN: number = FIRST_SPECIAL_PFN + 6;
export const CONSOLE_PFN: number = FIRST_SPECIAL_PFN + 7;

export const SPECIAL_REGION: number = FIRST_SPECIAL_PFN * PAGE_SIZE;
/** ACPI_INFO_PHYSICAL_ADDRESS. */
export const ACPI_INFO_ADDRESS = 0xfc000000;

/** RAM ends here below 4 GiB: what must lie in the MMIO hole of a domain without device model is the ACPI tables, the
 * local APIC and the special pages. */
export const MMIO_START: number = Math.min(ACPI_INFO_ADDRESS, APIC_DEFAULT_BASE, SPECIAL_REGION);

export interface E820Entry {
  address: number;
  size: number;
  type: number;
}

/** A range of guest-physical memory, bytes. */
export interface GuestRegion {
  gpa: number;
  length: number;
}

export interface RamLayout {
  /** RAM is [0, lowEnd) and, if `highEnd` is not 0, [4 GiB, highEnd). */
  lowEnd: number;
  highEnd: number;
}

/** Splits `memory` bytes (whole pages) around the MMIO hole. */
export function ramLayout(memory: number): RamLayout {
  if (!Number.isSafeInteger(memory) || memory <= 0 || memory % PAGE_SIZE !== 0) {
    throw new BuilderError(`memory must be a positive number of 4 KiB pages, not ${memory} bytes`);
  }
  if (memory <= MMIO_START) return { lowEnd: memory, highEnd: 0 };
  return { lowEnd: MMIO_START, highEnd: FOUR_GIB + memory - MMIO_START };
}

/** The memory map, in libxl's order: RAM, special pages, ACPI regions, RAM above 4 GiB. */
export function pvhMemoryMap(ram: RamLayout, acpi: readonly GuestRegion[]): E820Entry[] {
  const map: E820Entry[] = [
    { address: 0, size: ram.lowEnd, type: E820_RAM },
    { address: SPECIAL_REGION, size: NR_SPECIAL_PAGES * PAGE_SIZE, type: E820_RESERVED },
  ];
  for (const region of acpi) {
    const offset = region.gpa % PAGE_SIZE;
    map.push({ address: region.gpa - offset, size: region.length + offset, type: E820_ACPI });
  }
  if (ram.highEnd !== 0) map.push({ address: FOUR_GIB, size: ram.highEnd - FOUR_GIB, type: E820_RAM });
  return map;
}

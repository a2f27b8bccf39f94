/** Bits of page-table entries as Xen looks at them (asm-x86/page.h, x86_64/page.h): an entry is a low and a high word. */

export const PTE_P = 0x1;
export const PTE_RW = 0x2;
export const PTE_US = 0x4;
export const PTE_A = 0x20;
export const PTE_D = 0x40;
export const PTE_PSE = 0x80;
export const PTE_G = 0x100;
/** _PAGE_AVAIL: left to the guest. */
export const PTE_AVAIL = 0xe00;
export const PTE_AVAIL_SHIFT = 9;
export const PTE_NX_HI: number = 0x80000000 | 0;
/** _PAGE_GUEST_KERNEL, bit 52: Xen has added PTE_US to a page that the guest wants for its kernel only. */
export const PTE_GUEST_KERNEL_HI = 0x100000;

/** Bits of the high word that belong to the frame: none may be set, since no machine here has memory beyond 4 GiB. */
export const PTE_FRAME_HI = 0xfffff;

/**
 * Bits of the low word that a guest may not set: PWT, PCD and PAT of an L1 entry (L1_DISALLOW_MASK of a domain without devices);
 * PWT, PCD, PSE and G above: no superpages.
 */
export const L1_DISALLOW = 0x98;
export const L234_DISALLOW = 0x198;
/** The L3 of a 32-bit guest has no bits above the frame. */
export const L3_DISALLOW_HI_32: number = 0xfff00000 | 0;

/** What may change in a present entry without looking at its frame again: all but these (FASTPATH_FLAG_WHITELIST). */
export const SLOW_LO: number = ~(PTE_AVAIL | PTE_G | PTE_D | PTE_A | PTE_US);
export const SLOW_HI: number = PTE_FRAME_HI;

/**
 * Xen's part of a PV guest's address space (asm-x86/config.h), as page tables in Xen's frames: L4 slot 256 the read-only
 * machine-to-phys table, slot 260 the area of the domain, in which each vcpu has 16 pages for its GDT and 16 for its LDT. All other
 * slots of 256..271 are empty: there is no Xen text here that anybody could look at.
 *
 * A 32-bit guest runs under an L4 of Xen's whose slot 0 is the guest's L3; Xen's part of its upper gigabyte lies in the L2 that the
 * guest's L3[3] names, of which Xen owns the entries from the compat machine-to-phys table on.
 */
import { PAGE_SIZE } from "../../cpu/arena.ts";
import type { Domain } from "../domain/domain.ts";
import type { Vcpu } from "../domain/vcpu.ts";

/** ROOT_PAGETABLE_FIRST/LAST_XEN_SLOT. */
export const FIRST_XEN_SLOT = 256;
export const LAST_XEN_SLOT = 271;
const SLOT_M2P = 256;
const SLOT_PERDOMAIN = 260;
/** High word of an address of L4 slot 260; the low word counts from 0. */
export const PERDOMAIN_HI: number = 0xffff8200 | 0;
/** HYPERVISOR_COMPAT_VIRT_START: where a 32-bit guest sees the machine-to-phys table. */
export const COMPAT_M2P_START = 0xf5800000;
/** First entry of the compat L2 (of the fourth gigabyte) that is Xen's. */
export const COMPAT_L2_FIRST_XEN_SLOT: number = (COMPAT_M2P_START & 0x3fffffff) >>> 21;

/** Pages of a vcpu in the area: GDT_LDT_VCPU_SHIFT is 5. */
const VCPU_PAGES = 32;
const LDT_PAGE = 16;
/** FIRST_RESERVED_GDT_PAGE: selectors from 0xe000 on are Xen's. */
export const RESERVED_GDT_PAGE = 14;

/**
 * Xen's own descriptors, by entry of the reserved page (boot_gdt and boot_compat_gdt of x86/desc.c): ring 0 code and data, and the flat
 * segments of guests: 0xe023, 0xe02b, 0xe033, and for 32-bit guests 0xe019, 0xe021, 0xe02b, 0xe033.
 */
const RESERVED_64: readonly (readonly [entry: number, high: number])[] = [
  [1, 0x00af9b00],
  [2, 0x00cf9300],
  [4, 0x00cffb00],
  [5, 0x00cff300],
  [6, 0x00affb00],
  [7, 0x00cf9b00],
];
const RESERVED_32: readonly (readonly [entry: number, high: number])[] = [
  [1, 0x00af9b00],
  [2, 0x00cf9300],
  [3, 0x00cfbb00],
  [4, 0x00cfb300],
  [5, 0x00cffb00],
  [6, 0x00cff300],
  [7, 0x00cf9b00],
];

const PTE_P = 1;
const PTE_RW = 2;
const PTE_US = 4;
const PTE_A = 0x20;
const PTE_D = 0x40;
const PTE_NX_HI = 0x80000000 | 0;
/** Tables above a leaf allow everything; what counts is the leaf. */
const TABLE = PTE_P | PTE_RW | PTE_US | PTE_A | PTE_D;

export class PvAddressSpace {
  private readonly domain: Domain;
  private readonly i32: Int32Array;
  /** L3 tables of slots 256 and 260, 0 while there is none. */
  readonly m2pL3: number;
  readonly areaL3: number;
  /** L1 tables of the domain's area, 512 pages each: 16 vcpus. */
  private readonly areaL1: number[] = [];
  /** L1 tables with the 4-byte machine-to-phys table. */
  private readonly compatL1: number[] = [];
  /** Machine frame of Xen's part of every vcpu's GDT. */
  readonly reservedGdtMfn: number;

  constructor(domain: Domain, is32bit: boolean) {
    this.domain = domain;
    this.i32 = domain.hypervisor.arena.i32;
    const { m2p } = domain.hypervisor;
    this.m2pL3 = this.#tree(m2p!.frames);
    this.areaL3 = domain.allocXenPage();
    const l2 = domain.allocXenPage();
    this.#put(this.areaL3, 0, l2, TABLE);
    for (let first = 0; first * 16 < domain.options.maxVcpus; first++) {
      const l1 = domain.allocXenPage();
      this.#put(l2, first, l1, TABLE);
      this.areaL1.push(l1);
    }
    const reserved = domain.allocXenPage();
    this.reservedGdtMfn = reserved;
    const page = domain.hypervisor.memory.frame(reserved) >>> 2;
    for (const [entry, high] of is32bit ? RESERVED_32 : RESERVED_64) {
      this.i32[page + entry * 2] = 0xffff;
      this.i32[page + entry * 2 + 1] = high;
    }
    for (let id = 0; id < domain.options.maxVcpus; id++)
      this.#put(this.areaL1[id >>> 4]!, (id & 15) * VCPU_PAGES + RESERVED_GDT_PAGE, reserved, PTE_P | PTE_A, PTE_NX_HI);
    for (let at = 0; at < m2p!.compatFrames.length; at += 512) {
      const l1 = domain.allocXenPage();
      this.compatL1.push(l1);
      m2p!.compatFrames.slice(at, at + 512).forEach((mfn, i) => {
        this.#put(l1, i, mfn, PTE_P | PTE_US | PTE_A, PTE_NX_HI);
      });
    }
  }

  /** Read-only, user-visible L3/L2/L1 tables over `frames`. @returns the L3. */
  #tree(frames: readonly number[]): number {
    const l3 = this.domain.allocXenPage();
    let l2 = 0;
    let l1 = 0;
    frames.forEach((mfn, i) => {
      if (i % (512 * 512) === 0) {
        l2 = this.domain.allocXenPage();
        this.#put(l3, i / (512 * 512), l2, TABLE);
      }
      if (i % 512 === 0) {
        l1 = this.domain.allocXenPage();
        this.#put(l2, (i / 512) % 512, l1, TABLE);
      }
      this.#put(l1, i % 512, mfn, PTE_P | PTE_US | PTE_A, PTE_NX_HI);
    });
    return l3;
  }

  #put(table: number, index: number, mfn: number, flags: number, hi = 0): void {
    const at = (this.domain.hypervisor.memory.frame(table) + index * 8) >>> 2;
    this.i32[at] = (mfn * PAGE_SIZE) | flags;
    this.i32[at + 1] = hi | Math.floor((mfn * PAGE_SIZE) / 2 ** 32);
  }

  /** init_xen_l4_slots: writes Xen's slots into a guest's (or, for a 32-bit guest, Xen's own) L4; with the machine-to-phys table? */
  fillXenSlots(l4: number, showM2p: boolean): void {
    const first = this.domain.hypervisor.memory.frame(l4) >>> 2;
    this.i32.fill(0, first + FIRST_XEN_SLOT * 2, first + (LAST_XEN_SLOT + 1) * 2);
    if (showM2p) this.fillM2pSlot(l4);
    this.#put(l4, SLOT_PERDOMAIN, this.areaL3, TABLE);
  }

  /** fill_ro_mpt, zap_ro_mpt: shows the machine-to-phys table in an L4, or hides it. */
  fillM2pSlot(l4: number): void {
    this.#put(l4, SLOT_M2P, this.m2pL3, TABLE);
  }
  zapM2pSlot(l4: number): void {
    this.#put(l4, SLOT_M2P, 0, 0);
  }

  /** init_xen_pae_l2_slots: Xen's entries of the L2 of a 32-bit guest's fourth gigabyte. */
  fillCompatL2Slots(l2: number): void {
    const first = this.domain.hypervisor.memory.frame(l2) >>> 2;
    this.i32.fill(0, first + COMPAT_L2_FIRST_XEN_SLOT * 2, first + 512 * 2);
    this.compatL1.forEach((l1, i) => {
      if (COMPAT_L2_FIRST_XEN_SLOT + i < 512) this.#put(l2, COMPAT_L2_FIRST_XEN_SLOT + i, l1, TABLE);
    });
  }

  #mapArea(vcpu: Vcpu, page: number, mfn: number): void {
    const index = vcpu.id * VCPU_PAGES + page;
    const l1 = this.areaL1[index >>> 9]!;
    if (mfn < 0) this.#put(l1, index & 511, 0, 0);
    else this.#put(l1, index & 511, mfn, PTE_P | PTE_RW | PTE_A | PTE_D, PTE_NX_HI);
  }

  /** Shows `mfn` (-1: nothing) as page 0..13 of the vcpu's GDT. The caller flushes the vcpu's translations of it. */
  mapGdtPage(vcpu: Vcpu, page: number, mfn: number): void {
    this.#mapArea(vcpu, page, mfn);
  }

  /** Shows `mfn` (-1: nothing) as page 0..15 of the vcpu's LDT. */
  mapLdtPage(vcpu: Vcpu, page: number, mfn: number): void {
    this.#mapArea(vcpu, LDT_PAGE + page, mfn);
  }

  /** Low word of the linear address of the vcpu's GDT; the high word is PERDOMAIN_HI. */
  gdtLo(vcpu: Vcpu): number {
    return vcpu.id * VCPU_PAGES * PAGE_SIZE;
  }
  ldtLo(vcpu: Vcpu): number {
    return this.gdtLo(vcpu) + LDT_PAGE * PAGE_SIZE;
  }
}

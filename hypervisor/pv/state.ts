/** What a PV domain and its vcpus have beyond the state that all guests share (struct pv_domain, struct pv_vcpu of asm-x86/domain.h). */

import type { Domain } from "../domain/domain.ts";
import { PvAddressSpace } from "./address-space.ts";

/** struct trap_info, by vector: where the guest wants it. */
export interface TrapEntry {
  /** TI_GET_DPL, and TI_GET_IF: mask events on entry. */
  flags: number;
  cs: number;
  eipLo: number;
  eipHi: number;
}

export class PvDomain {
  readonly domain: Domain;
  /** 32-bit PAE guest: compat hypercalls, kernel in ring 1 (is_pv_32bit_domain). */
  readonly is32bit: boolean;
  readonly addressSpace: PvAddressSpace;
  /** Entries of page tables that Xen has checked and written for the guest: by hypercalls, and by emulated writes. */
  pageTableUpdates = 0;

  /** Throws RangeError without machine memory for Xen's tables of the domain. */
  constructor(domain: Domain, is32bit: boolean) {
    this.domain = domain;
    this.is32bit = is32bit;
    this.addressSpace = new PvAddressSpace(domain, is32bit);
  }
}

/** One object a vcpu, fields never change shape. */
export class PvVcpu {
  /** Something may have to be injected before the guest goes on: set by exits, kicks and the scheduler. */
  checkEvents = true;
  /** TF_kernel_mode: the guest's kernel runs, with its address space. */
  kernelMode = true;
  /** Machine frames of the top-level tables for kernel and user mode; -1 none (guest_table, guest_table_user). */
  guestTable = -1;
  guestTableUser = -1;
  /** Stack for bounce frames (kernel_ss, kernel_sp). */
  kernelSs = 0;
  kernelSpLo = 0;
  kernelSpHi = 0;
  /** CR4 and CR0.TS as the guest sees them. */
  cr4 = 0;
  /** Guest's I/O privilege level (VMASST architectural_iopl aside). */
  iopl = 0;
  readonly traps: TrapEntry[] = Array.from({ length: 256 }, () => ({ flags: 0, cs: 0, eipLo: 0, eipHi: 0 }));
  /** Callback addresses by CALLBACKTYPE_*: low and high words; CS for 32-bit guests. */
  readonly callbackLo: Int32Array = new Int32Array(8);
  readonly callbackHi: Int32Array = new Int32Array(8);
  readonly callbackCs: Int32Array = new Int32Array(8);
  /** Bit n: CALLBACKF_mask_events for CALLBACKTYPE n. */
  callbackMasks = 0;
  /** Machine frames of the guest's GDT, and entries in it. */
  readonly gdtFrames: number[] = [];
  gdtEntries = 0;
  /** Guest-linear address of the LDT, and entries in it. */
  ldtLo = 0;
  ldtHi = 0;
  ldtEntries = 0;
  /** Machine frames of the pages of the LDT that the processor sees, -1 none. */
  readonly ldtFrames: Int32Array = new Int32Array(16).fill(-1);
  /** Clock of TLB flushes (PageTypes.clock) at the last flush of this vcpu. */
  tlbStamp = 0;
}

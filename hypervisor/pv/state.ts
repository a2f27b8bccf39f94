/** What a PV domain and its vcpus have beyond the state that all guests share (struct pv_domain, struct pv_vcpu of asm-x86/domain.h). */

import { PV_KERNEL } from "../../cpu/arena.ts";
import type { Core } from "../../cpu/core.ts";
import { coreWord } from "../../cpu/mmu/contexts.ts";
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
  /** Latches of ports 0xcf8 and 0x70, behind which there is nothing. */
  pciConfigAddress = 0;
  rtcIndex = 0;
  /** Page that PHYSDEVOP_pirq_eoi_gmfn has named, with a reference; -1 none. */
  pirqEoiMfn = -1;
  /** Page tables that have lost their last use and still hold what their entries lead to; the last one is taken apart first. */
  readonly abandoned: number[] = [];
  /** Tables that have been validated for one that is to be (validate-ahead.ts), with a use and a reference each: by that one's frame. */
  readonly ahead: Map<number, number[]> = new Map();
  /** Numbers that PHYSDEVOP_get_free_pirq has given out. */
  readonly pirqs: Set<number> = new Set();

  /** Throws RangeError without machine memory for Xen's tables of the domain. */
  constructor(domain: Domain, is32bit: boolean) {
    this.domain = domain;
    this.is32bit = is32bit;
    this.addressSpace = new PvAddressSpace(domain, is32bit);
  }
}

/** One object a vcpu, fields never change shape. */
export class PvVcpu {
  private readonly core: Core;
  private readonly is32bit: boolean;
  /** Something may have to be injected before the guest goes on: set by exits, kicks and the scheduler. */
  checkEvents = true;
  /** Machine frames of the top-level tables for kernel and user mode; -1 none (guest_table, guest_table_user). */
  guestTable = -1;
  guestTableUser = -1;
  /** Stack for bounce frames (kernel_ss, kernel_sp). */
  kernelSs = 0;
  kernelSpLo = 0;
  kernelSpHi = 0;
  /** CR4 as the guest sees it. Its CR0 and CR2 are the core's. */
  cr4 = 0;
  /** The guest's I/O privilege level, in the place of RFLAGS.IOPL. */
  iopl = 0;
  /** trap_bounce: TBF_* of bounce.ts, the error code, and where the next frame leads to (the selector for 32-bit guests). */
  bounceFlags = 0;
  bounceError = 0;
  bounceEipLo = 0;
  bounceEipHi = 0;
  bounceCs = 0;
  /** An NMI waits; one is being handled, until IRET (async_exception_mask). */
  nmiPending = false;
  nmiBlocked = false;
  /** The vcpu has been switched to: its segment registers are loaded again from their tables (load_segments). */
  segmentsStale = false;
  /** CS and SS are selectors only: the vcpu's first entry is by IRET, which loads them. */
  mustIret = false;
  /** Time and runstate areas that could not be written while the user's tables were loaded. */
  timeAreaStale = false;
  runstateAreaStale = false;
  /** MSR_MISC_FEATURES_ENABLES.cpuid_faulting: CPUID in user mode is #GP. */
  cpuidFaulting = false;
  /** DR7's enable bits of I/O breakpoints, which Xen matches itself. */
  dr7Emul = 0;
  /** PHYSDEVOP_set_iobitmap: guest-linear address, and ports that it covers. */
  ioBitmapLo = 0;
  ioBitmapHi = 0;
  ioBitmapPorts = 0;
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
  /** System calls and irets that the engine has done in place (fast-path.ts). */
  inPlace = 0;
  /** INs of the kernel likewise. */
  inPlaceIns = 0;

  constructor(core: Core, is32bit: boolean) {
    this.core = core;
    this.is32bit = is32bit;
  }

  /** TF_kernel_mode: the guest's kernel runs, with its address space. Kept where the engine can toggle it; a 32-bit guest never does. */
  get kernelMode(): boolean {
    return this.is32bit || this.core.i32[coreWord(this.core, PV_KERNEL) >>> 2] !== 0;
  }
  set kernelMode(value: boolean) {
    this.core.i32[coreWord(this.core, PV_KERNEL) >>> 2] = value && !this.is32bit ? 1 : 0;
  }
}

/** What controls a PV vcpu, and the state in which it starts (arch_set_info_guest; xc_dom_x86.c's vcpu_x86_64 and vcpu_x86_32). */
import * as A from "../../cpu/arena.ts";
import { DELIVERY_PV, INTERCEPT_CPUID, NESTED_NONE } from "../../cpu/core.ts";
import { FLAG_IF, setFlags } from "../../cpu/flags.ts";
import { XSTATE_SSE, XSTATE_X87 } from "../../cpu/fpu/xsave.ts";
import * as B from "../../cpu/system/bits.ts";
import { loadSegmentRaw, loadTableRaw, resetCore, updateMode } from "../../cpu/system/mode.ts";
import { VCPU_INFO_UPCALL_MASK } from "../abi/layout.ts";
import { type Vcpu, VPF_DOWN } from "../domain/vcpu.ts";
import { attachCpuid } from "../hvm/cpuid.ts";
import { PERDOMAIN_HI } from "./address-space.ts";
import { startOnTable } from "./base-table.ts";
import { setGuestCr4 } from "./control-registers.ts";
import { faultInEngine, syscallInEngine } from "./exits.ts";

/** LAST_RESERVED_GDT_BYTE: the limit of every PV vcpu's GDT. */
export const GDT_LIMIT = 0xefff;
/** FLAT_KERNEL_CS64, FLAT_KERNEL_SS64 and the 32-bit flat selectors (public/arch-x86/xen-x86_64.h, xen-x86_32.h). */
export const FLAT_CS64 = 0xe033;
export const FLAT_SS64 = 0xe02b;
export const FLAT_CS32 = 0xe019;
export const FLAT_DS32 = 0xe021;

/** Segments in the format of segcheck.ts: present, DPL 3 or 1, accessed. */
const CODE64_R3 = 0xa0fb;
const DATA_R3 = 0xc0f3;
const CODE32_R1 = 0xc0bb;
const DATA_R1 = 0xc0b3;

const CR0_PV = B.CR0_PE | B.CR0_MP | B.CR0_ET | B.CR0_NE | B.CR0_WP | B.CR0_AM | B.CR0_PG;
/** With PCIDE, by which kernel and user mode of a vcpu keep their translations apart. */
const CR4_PV = B.CR4_PAE | B.CR4_MCE | B.CR4_PGE | B.CR4_OSFXSR | B.CR4_OSXMMEXCPT | B.CR4_FSGSBASE | B.CR4_PCIDE;
const EFER_PV = B.EFER_SCE | B.EFER_LME | B.EFER_LMA | B.EFER_NXE;
/** Ends before the offset of the I/O bitmap. */
const TSS_LIMIT = 0x65;

/** Once, when the vcpu is made: it is down and has no tables. */
export function initPvVcpu(vcpu: Vcpu): void {
  const { core, domain } = vcpu;
  const c = core.controls;
  c.delivery = DELIVERY_PV;
  c.intercepts = INTERCEPT_CPUID;
  c.nestedFormat = NESTED_NONE;
  c.vpid = core.index + 1;
  core.pvSyscall = () => syscallInEngine(vcpu);
  core.pvFault = () => faultInEngine(vcpu);
  attachCpuid(vcpu);
  const before = domain.hypervisor.group.active;
  resetPvVcpu(vcpu);
  before?.activate();
}

/** The processor's own state of a PV vcpu; the core is active afterwards. */
export function resetPvVcpu(vcpu: Vcpu): void {
  const { core, domain } = vcpu;
  resetCore(core);
  vcpu.pv!.kernelMode = true;
  const { i32 } = core;
  i32[A.CR0 >>> 2] = CR0_PV | 0;
  i32[A.CR4 >>> 2] = CR4_PV;
  // OSXSAVE is Xen's choice, and XCR0 starts as Xen's context switch leaves it: x87 and SSE.
  if (domain.cpuPolicy.components !== 0) {
    i32[A.CR4 >>> 2]! |= B.CR4_OSXSAVE;
    i32[A.XCR0 >>> 2] = XSTATE_X87 | XSTATE_SSE;
  }
  i32[A.EFER >>> 2] = EFER_PV;
  i32[A.CPL >>> 2] = domain.pv!.is32bit ? 1 : 3;
  i32[A.FPU_CW >>> 2] = 0x37f;
  i32[A.FPU_TW >>> 2] = 0xffff;
  loadTableRaw(core, A.GDTR, 0, domain.pv!.addressSpace.gdtLo(vcpu), PERDOMAIN_HI, GDT_LIMIT, 0);
  loadTableRaw(core, A.LDTR, 0, 0, 0, 0, 0);
  // No I/O bitmap within the TSS: every port is #GP.
  loadTableRaw(core, A.TR, 0, 0, 0, TSS_LIMIT, 0x8b);
  core.setSlot(A.S_RDX, 0n);
  // A guest that has chosen nothing yet has no FSGSBASE instructions (pv_fixup_guest_cr4 of 0).
  setGuestCr4(vcpu, 0);
  setFlags(core, FLAG_IF | 2);
}

/** Where a PV domain starts. */
export interface PvStart {
  readonly rip: bigint;
  readonly rsp: bigint;
  /** Linear address of start_info. */
  readonly rsi: bigint;
  /** Machine frame of the guest's top-level page table: a 32-bit guest's is its L3. */
  readonly top: number;
}

/** Gives vcpu 0 of a built PV domain its registers; it is up afterwards. */
export function startPv(vcpu: Vcpu, start: PvStart): void {
  const { core, domain } = vcpu;
  const before = core.shared.active;
  core.activate();
  const { is32bit } = domain.pv!;
  const [cs, ss, code, data] = is32bit
    ? [FLAT_CS32, FLAT_DS32, CODE32_R1, DATA_R1]
    : [FLAT_CS64, FLAT_SS64, CODE64_R3, DATA_R3];
  for (const seg of [0, 3, 4, 5])
    loadSegmentRaw(core, seg, is32bit ? ss : 0, 0, 0, is32bit ? -1 : 0, is32bit ? data : 0);
  loadSegmentRaw(core, 1, cs, 0, 0, -1, code);
  loadSegmentRaw(core, 2, ss, 0, 0, -1, data);
  core.setSlot(A.S_RSP, start.rsp);
  core.setSlot(A.S_RSI, start.rsi);
  core.u64[A.RIP >>> 3] = start.rip;
  startOnTable(vcpu, start.top);
  updateMode(core);
  before?.activate();
  // As the toolstack leaves shared_info (shared_info_x86_64 of xc_dom_x86.c): no event before the guest is ready for it.
  for (const { info } of domain.vcpus) domain.hypervisor.memory.write8(info + VCPU_INFO_UPCALL_MASK, 1);
  vcpu.isInitialised = true;
  vcpu.pauseFlags &= ~VPF_DOWN;
}

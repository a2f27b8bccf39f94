/** What controls a PVH vcpu, and the states in which it starts. */
import { MSR_APIC_BASE, S_RDX, SLOTS } from "../../cpu/arena.ts";
import {
  DELIVERY_NONROOT,
  INTERCEPT_CPUID,
  INTERCEPT_HLT,
  INTERCEPT_MSR,
  INTERCEPT_MWAIT,
  INTERCEPT_RDPMC,
  INTERCEPT_VMCALL,
  INTERCEPT_WBINVD,
  INTERCEPT_XSETBV,
} from "../../cpu/core.ts";
import { APIC_BASE_BSP, APIC_BASE_ENABLE, APIC_DEFAULT_BASE } from "../../cpu/system/apic.ts";
import { setRip } from "../../cpu/system/bits.ts";
import { loadSegmentRaw, resetCore, setPvhState, updateMode } from "../../cpu/system/mode.ts";
import { MTRR_DEF_TYPE } from "../../cpu/system/words.ts";
import { PVH_MTRR_DEF_TYPE } from "../builder/pvh.ts";
import { type Vcpu, VPF_DOWN } from "../domain/vcpu.ts";
import { PvhBus } from "./bus.ts";
import { attachCpuid } from "./cpuid.ts";
import { createMsrBitmap } from "./msr.ts";

/**
 * Intercepts of every HVM vcpu. INVLPG, CR and RDTSC are the guest's own: nested paging, and a TSC that Xen
 * does not move. Ports go to the bus.
 */
const INTERCEPTS: number =
  INTERCEPT_HLT |
  INTERCEPT_CPUID |
  INTERCEPT_MSR |
  INTERCEPT_MWAIT |
  INTERCEPT_RDPMC |
  INTERCEPT_VMCALL |
  INTERCEPT_WBINVD |
  INTERCEPT_XSETBV;

/** Once, when the vcpu is made. */
export function initVcpu(vcpu: Vcpu): void {
  const { core, domain } = vcpu;
  const hv = domain.hypervisor;
  const c = core.controls;
  c.delivery = DELIVERY_NONROOT;
  c.intercepts = INTERCEPTS;
  c.msrBitmap = createMsrBitmap();
  c.nestedFormat = hv.nestedFormat;
  c.nestedRoot = domain.physmap!.rootMfn * 4096;
  c.readOnlyToBus = true;
  c.vpid = core.index + 1;
  core.bus = new PvhBus(vcpu);
  // Whatever the p2m doesn't map is a device that isn't there: the bus answers all ones.
  core.mmio.push(0, 2 ** 52);
  attachCpuid(vcpu);
  hv.interrupts.attach(vcpu);
  const before = hv.group.active;
  resetVcpu(vcpu);
  before?.activate();
}

/** What the toolstack gives every vcpu: a local APIC in xAPIC mode, memory of type write-back. */
function setPlatform(vcpu: Vcpu): void {
  const { i32 } = vcpu.core;
  i32[MSR_APIC_BASE >>> 2] = APIC_DEFAULT_BASE | APIC_BASE_ENABLE | (vcpu.id === 0 ? APIC_BASE_BSP : 0) | 0;
  i32[MTRR_DEF_TYPE >>> 2] = PVH_MTRR_DEF_TYPE;
}

/** The state after RESET, the core being active afterwards. */
export function resetVcpu(vcpu: Vcpu): void {
  resetCore(vcpu.core);
  setPlatform(vcpu);
}

/** vcpu 0 of a PVH domain starts at `entry` with EBX = `startInfo` (docs/misc/pvh.pandoc); it is up afterwards. */
export function startPvh(vcpu: Vcpu, entry: number, startInfo: number): void {
  const before = vcpu.core.shared.active;
  setPvhState(vcpu.core, entry | 0, startInfo | 0);
  setPlatform(vcpu);
  before?.activate();
  vcpu.isInitialised = true;
  vcpu.pauseFlags &= ~VPF_DOWN;
}

const REAL_MODE_DATA = 0x93;
const REAL_MODE_CODE = 0x9b;

/** INIT of a vcpu by its local APIC (vlapic_init): it waits for a SIPI. */
export function initByApic(vcpu: Vcpu): void {
  vcpu.pauseFlags |= VPF_DOWN;
  vcpu.unblock();
  vcpu.isInitialised = false;
  vcpu.sleep();
}

/** Startup IPI: real mode at `vector` << 12, if it waits for one. */
export function startByApic(vcpu: Vcpu, vector: number): void {
  if (vcpu.isInitialised) return;
  const core = vcpu.core;
  const before = core.shared.active;
  core.activate();
  // INIT leaves the APIC's mode alone.
  const apicBase = core.i32[MSR_APIC_BASE >>> 2]!;
  resetVcpu(vcpu);
  core.i32[MSR_APIC_BASE >>> 2] = apicBase;
  loadSegmentRaw(core, 1, vector << 8, vector << 12, 0, 0xffff, REAL_MODE_CODE);
  for (const seg of [0, 2, 3, 4, 5]) loadSegmentRaw(core, seg, 0, 0, 0, 0xffff, REAL_MODE_DATA);
  setRip(core, 0, 0);
  core.i32[(SLOTS + S_RDX) >>> 2] = 0;
  updateMode(core);
  before?.activate();
  vcpu.isInitialised = true;
  vcpu.pauseFlags &= ~VPF_DOWN;
  vcpu.wake();
}

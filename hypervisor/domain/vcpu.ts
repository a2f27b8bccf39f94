/**
 * A virtual CPU: a core, why it does not run, its vcpu_info, its timers and its interrupts. The names follow xen/sched.h.
 */
import { CPL, EFER, S_RAX, SEG, SEG_ATTR, SEG_STRIDE } from "../../cpu/arena.ts";
import type { Core } from "../../cpu/core.ts";
import { VCPU_INFO_BYTES, VCPU_INFO_UPCALL_PENDING } from "../abi/layout.ts";
import { RUNSTATE_offline, RUNSTATE_runnable } from "../abi/vcpu-op.ts";
import { XEN_LEGACY_MAX_VCPUS } from "../abi/xen.ts";
import type { ChargePath } from "../hypervisor.ts";
import { PvVcpu } from "../pv/state.ts";
import type { Domain } from "./domain.ts";
import { setRunstate, stoppedState } from "./runstate.ts";

/** Reasons in `pauseFlags` not to run (_VPF_*). */
export const VPF_BLOCKED = 1;
/** Not brought up, or taken down (VCPUOP_up/down, INIT). */
export const VPF_DOWN = 2;

const EFER_LMA = 0x400;
const ATTR_L = 0x2000;
const SEG_CS = 1;

export class Vcpu {
  readonly domain: Domain;
  readonly id: number;
  readonly core: Core;
  /** What only vcpus of PV domains have. */
  readonly pv: PvVcpu | null;
  /** Has a register state to start from: vcpu 0 from the builder, others by VCPUOP_initialise or INIT-SIPI. */
  isInitialised = false;
  pauseFlags: number = VPF_DOWN;
  pauseCount = 0;
  /** Ports of SCHEDOP_poll while it waits, null otherwise. */
  polling: readonly number[] | null = null;
  /** Arena address of vcpu_info; in shared_info until VCPUOP_register_vcpu_info. */
  info = 0;
  /** Machine frame with a reference if vcpu_info was registered, -1 otherwise. */
  infoMfn = -1;
  /** HVMOP_set_evtchn_upcall_vector; 0 none. */
  upcallVector = 0;

  /** RUNSTATE_*, the system time (ns) at which it began, and the ns spent in each. */
  runstate: number = RUNSTATE_offline;
  runstateEntered = 0;
  readonly runstateTime: Float64Array = new Float64Array(4);
  /** Guest-linear address of the registered runstate area, or null. */
  runstateArea: bigint | null = null;
  /** Guest-linear address of the registered secondary vcpu_time_info, or null. */
  timeArea: bigint | null = null;
  /** Cycle at which vcpu_time_info was last renewed. */
  timeRenewed = 0;

  /** Handle of the armed event of the machine's queue, 0 none. */
  singleshotTimer = 0;
  periodicTimer = 0;
  /** ns, 0 off. */
  periodicPeriod = 0;
  pollTimer = 0;

  /** pCPU that it runs on, or ran on last. */
  processor = 0;
  /** True while a pCPU is running it. */
  isRunning = false;
  /** Cycles spent by Xen for this vcpu. */
  hypervisorCycles = 0;
  /** Scheduler's own data. */
  readonly unit: Record<string, number> = {};

  constructor(domain: Domain, id: number) {
    this.domain = domain;
    this.id = id;
    this.core = domain.hypervisor.newCore();
    this.pv = domain.pv === null ? null : new PvVcpu(this.core, domain.pv.is32bit);
    this.resetInfo();
  }

  /** Back to the place in shared_info; vcpus that have none there use Xen's dummy until they register one. */
  resetInfo(): void {
    const d = this.domain;
    this.info =
      this.id < XEN_LEGACY_MAX_VCPUS ? d.sharedInfo + this.id * VCPU_INFO_BYTES : d.hypervisor.dummyVcpuInfo(d);
    this.infoMfn = -1;
  }

  get usesDummyInfo(): boolean {
    return this.infoMfn < 0 && this.id >= XEN_LEGACY_MAX_VCPUS;
  }

  /** EFER.LMA of the (active) core. */
  longMode(): boolean {
    return (this.core.i32[EFER >>> 2]! & EFER_LMA) !== 0;
  }

  /** The (active) core executes 64-bit code: how its hypercalls pass arguments. */
  in64BitCode(): boolean {
    return this.longMode() && (this.core.i32[(SEG + SEG_CS * SEG_STRIDE + SEG_ATTR) >>> 2]! & ATTR_L) !== 0;
  }

  cpl(): number {
    return this.core.i32[CPL >>> 2]!;
  }

  /** Result of the last hypercall, for completions that come later (SCHEDOP_poll). The core must be active. */
  setResult(value: number): void {
    this.core.setSlot(S_RAX, BigInt(value));
  }

  isRunnable(): boolean {
    const d = this.domain;
    return this.pauseFlags === 0 && this.pauseCount === 0 && d.pauseCount === 0 && !d.isShutDown && !d.isDying;
  }

  get isUp(): boolean {
    return (this.pauseFlags & VPF_DOWN) === 0;
  }

  /** Tells the scheduler that the vcpu may have become runnable. */
  wake(): void {
    if (!this.isRunnable()) return;
    const hv = this.domain.hypervisor;
    if (!this.isRunning) setRunstate(this, RUNSTATE_runnable, hv.now());
    hv.scheduler.wake(this);
  }

  /** Tells the scheduler that the vcpu is not runnable any more. */
  sleep(): void {
    const hv = this.domain.hypervisor;
    hv.scheduler.sleep(this);
    if (!this.isRunning && this.runstate === RUNSTATE_runnable) setRunstate(this, stoppedState(this), hv.now());
  }

  /** Ends SCHEDOP_block, SCHEDOP_poll or HLT. */
  unblock(): void {
    if ((this.pauseFlags & VPF_BLOCKED) === 0) return;
    if (this.polling !== null) {
      this.polling = null;
      this.domain.hypervisor.queue.cancel(this.pollTimer);
      this.pollTimer = 0;
    }
    this.pauseFlags &= ~VPF_BLOCKED;
    this.wake();
  }

  /** Something has become deliverable: wake it, or make the core that runs it look. */
  kick(): void {
    if (this.pv !== null) this.pv.checkEvents = true;
    this.unblock();
    if (this.isRunning) this.domain.hypervisor.reconsider(this);
  }

  /** Work for this vcpu by the hypervisor: moves the clock of the pCPU and is counted. */
  charge(path: ChargePath, cycles: number): void {
    this.domain.hypervisor.charge(this, path, cycles);
  }

  get upcallPending(): boolean {
    return this.domain.hypervisor.memory.read8(this.info + VCPU_INFO_UPCALL_PENDING) !== 0;
  }

  /** vcpu_mark_events_pending: the guest has an event to look at; raises the upcall unless it is already pending. */
  markEventsPending(): void {
    const memory = this.domain.hypervisor.memory;
    const at = this.info + VCPU_INFO_UPCALL_PENDING;
    if (memory.read8(at) !== 0) return;
    memory.write8(at, 1);
    this.assertUpcall();
  }

  /** hvm_assert_evtchn_irq: by the vcpu's own vector through its local APIC, or by the domain's callback vector. */
  assertUpcall(): void {
    if (this.upcallVector !== 0) this.domain.hypervisor.interrupts.setIrq(this, this.upcallVector);
    this.kick();
  }
}

/**
 * Interrupts of a PVH vcpu: its virtual local APIC, and before it the domain's callback vector, which is injected as
 * long as vcpu_info says that an upcall is pending and needs no EOI (hvm_vcpu_has_pending_irq of Xen; the upcall mask
 * is a PV guest's affair and is not looked at).
 */
import { INTERRUPTIBILITY, MSR_APIC_BASE, NMI_PENDING, RFLAGS_SYS } from "../../cpu/arena.ts";
import { FLAG_IF } from "../../cpu/flags.ts";
import { coreWord } from "../../cpu/mmu/contexts.ts";
import { APIC_LVT_LINT0, APIC_SVR, ApicBus, LocalApic } from "../../cpu/system/apic.ts";
import { SHADOW_MOV_SS, SHADOW_STI } from "../../cpu/system/mode.ts";
import type { Domain } from "../domain/domain.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { COST_INJECT } from "../hypercalls/costs.ts";
import { upcallDue } from "../pv/upcall.ts";
import { CPU_FREQUENCY, nsToCycles } from "../time/frequency.ts";
import { apicIdOf } from "./cpuid.ts";
import type { Pic } from "./pic.ts";
import { initByApic, startByApic } from "./vcpu-init.ts";

/** The timer of Xen's virtual APIC counts every 10 ns (APIC_BUS_CYCLE_NS). */
const TIMER_FREQUENCY = 100_000_000;
/** No period of a virtual timer is shorter (create_periodic_time: 0.1 ms). */
const MINIMUM_PERIOD = nsToCycles(100_000);
const SVR_ENABLED = 0x100;
/** LINT0 as a BIOS leaves it: ExtINT, not masked. */
const LINT0_EXTINT = 0x700;
const LINT0_MODE_AND_MASK = 0x10700;

/** The APIC of a vcpu, with Xen's two ways of upcall in it. */
export class VirtualApic extends LocalApic {
  private readonly vcpu: Vcpu;
  /** An upcall vector that came while the APIC was disabled by software, 0 none; Xen sets IRR all the same. */
  private latched = 0;

  constructor(vcpu: Vcpu, bus: ApicBus) {
    super(vcpu.core, vcpu.domain.hypervisor.queue, bus, {
      id: apicIdOf(vcpu.id),
      cyclesPerTick: CPU_FREQUENCY / TIMER_FREQUENCY,
      minimumPeriod: MINIMUM_PERIOD,
      wake: () => vcpu.kick(),
      onInit: () => initByApic(vcpu),
      onSipi: (_core, page) => startByApic(vcpu, page),
    });
    this.vcpu = vcpu;
  }

  private get softwareEnabled(): boolean {
    return (this.read(APIC_SVR) & SVR_ENABLED) !== 0;
  }

  /** vlapic_set_irq of an edge-triggered vector. */
  setIrq(vector: number): void {
    if (this.softwareEnabled) this.raise(vector);
    else this.latched = vector;
  }

  override write(offset: number, value: number): void {
    super.write(offset, value);
    if (this.latched !== 0 && this.softwareEnabled) {
      const vector = this.latched;
      this.latched = 0;
      this.raise(vector);
    }
  }

  /** The PIC that asks vcpu 0 for service, in a domain that has one and where LINT0 lets it (vlapic_accept_pic_intr). */
  private get external(): Pic | null {
    const { pcTimer } = this.vcpu.domain;
    if (pcTimer === null || this.vcpu.id !== 0 || !pcTimer.pic.output) return null;
    const open = !this.isEnabled || (this.read(APIC_LVT_LINT0) & LINT0_MODE_AND_MASK) === LINT0_EXTINT;
    return open ? pcTimer.pic : null;
  }

  picRaised(): void {
    this.notify();
  }

  /** As a BIOS leaves it: enabled, the PIC at LINT0 (MP specification, 3.6.2.2). */
  setVirtualWire(): void {
    super.write(APIC_SVR, SVR_ENABLED | 0xff);
    super.write(APIC_LVT_LINT0, LINT0_EXTINT);
  }

  override pending(): number {
    const { callbackVector } = this.vcpu.domain;
    if (callbackVector !== 0 && this.vcpu.upcallPending) return callbackVector;
    return this.external?.vector ?? super.pending();
  }

  override acknowledge(vector: number): void {
    const { domain } = this.vcpu;
    this.vcpu.charge("inject", COST_INJECT);
    const byCallback = vector === domain.callbackVector && this.vcpu.upcallPending;
    if (byCallback || vector === this.vcpu.upcallVector) domain.eventsDelivered++;
    if (byCallback) return;
    const { external } = this;
    if (external !== null) external.acknowledge();
    else super.acknowledge(vector);
  }
}

/** What the rest of the hypervisor asks of interrupts. */
export interface GuestInterrupts {
  /** A new vcpu gets its APIC. */
  attach(vcpu: Vcpu): void;
  /** The vcpu is going away: no timer of it fires any more. */
  stop(vcpu: Vcpu): void;
  setIrq(vcpu: Vcpu, vector: number): void;
  /** The domain has a PIC: it is wired to this vcpu, and now asks for service. */
  setVirtualWire(vcpu: Vcpu): void;
  picRaised(vcpu: Vcpu): void;
  /** The xAPIC page: the value (size 1, 2, 4 bytes; 8 reads the low half), or null if `address` isn't in it. */
  apicPageRead(vcpu: Vcpu, address: number, size: number): number | null;
  apicPageWrite(vcpu: Vcpu, address: number, size: number, value: number): void;
}

export class HvmInterrupts implements GuestInterrupts {
  private readonly buses: Map<Domain, ApicBus> = new Map();

  private apic(vcpu: Vcpu): VirtualApic | null {
    return vcpu.core.interrupts instanceof VirtualApic ? vcpu.core.interrupts : null;
  }

  attach(vcpu: Vcpu): void {
    let bus = this.buses.get(vcpu.domain);
    if (bus === undefined) {
      bus = new ApicBus();
      this.buses.set(vcpu.domain, bus);
    }
    vcpu.core.interrupts = new VirtualApic(vcpu, bus);
  }

  stop(vcpu: Vcpu): void {
    this.apic(vcpu)?.reset();
    vcpu.core.interrupts = null;
    this.buses.delete(vcpu.domain);
  }

  setIrq(vcpu: Vcpu, vector: number): void {
    this.apic(vcpu)?.setIrq(vector);
  }

  setVirtualWire(vcpu: Vcpu): void {
    this.apic(vcpu)?.setVirtualWire();
  }

  picRaised(vcpu: Vcpu): void {
    this.apic(vcpu)?.picRaised();
  }

  private pageOffset(vcpu: Vcpu, address: number): number {
    const apic = this.apic(vcpu);
    if (apic === null || !apic.isEnabled || apic.isX2) return -1;
    const base = (vcpu.core.u32[coreWord(vcpu.core, MSR_APIC_BASE) >>> 2]! & ~0xfff) >>> 0;
    return address >= base && address < base + 4096 ? address - base : -1;
  }

  apicPageRead(vcpu: Vcpu, address: number, size: number): number | null {
    const offset = this.pageOffset(vcpu, address);
    if (offset < 0) return null;
    // Registers are 32 bits wide at 16-byte distances; what lies between reads as zero.
    const value = (offset & 0xf) < 4 ? this.apic(vcpu)!.read(offset & 0xff0) : 0;
    const shifted = value >>> (8 * (offset & 3));
    return size >= 4 ? shifted : shifted & ((1 << (8 * size)) - 1);
  }

  apicPageWrite(vcpu: Vcpu, address: number, size: number, value: number): void {
    const offset = this.pageOffset(vcpu, address);
    // Only aligned writes of whole registers have an effect (vlapic_mmio_write).
    if (offset < 0 || size !== 4 || (offset & 0xf) !== 0) return;
    this.apic(vcpu)!.write(offset, value);
  }
}

/** hvm_local_events_need_delivery: an interrupt or NMI would be taken now, if the vcpu ran. Its core must be active. */
export function eventsNeedDelivery(vcpu: Vcpu): boolean {
  if (vcpu.pv !== null) return upcallDue(vcpu);
  const { i32 } = vcpu.core;
  if (i32[NMI_PENDING >>> 2] !== 0) return true;
  if ((i32[INTERRUPTIBILITY >>> 2]! & (SHADOW_STI | SHADOW_MOV_SS)) !== 0) return false;
  if ((i32[RFLAGS_SYS >>> 2]! & FLAG_IF) === 0) return false;
  return (vcpu.core.interrupts?.pending() ?? -1) >= 0;
}

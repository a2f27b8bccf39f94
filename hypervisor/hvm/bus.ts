/**
 * Ports and memory-mapped devices of a PVH domain: the debug port, and each vcpu's local APIC. Everything else is
 * absent: reads give all ones, writes vanish. Writes to pages that the guest may only read come here too, and vanish
 * (p2m_is_discard_write). An access costs what its exit would.
 */
import { BUS_DATA, PAGE_SIZE } from "../../cpu/arena.ts";
import { BUS_DONE, type Bus, type Core, EXIT_IO, EXIT_NESTED_FAULT } from "../../cpu/core.ts";
import type { Vcpu } from "../domain/vcpu.ts";
import { printGuestChar } from "../hypercalls/console-io.ts";
import { COST_EXIT, COST_IO, COST_MMIO } from "../hypercalls/costs.ts";
import { copyFromPhysical } from "../memory/guest-access.ts";
import { isReadOnly } from "../memory/p2m.ts";

/** XEN_HVM_DEBUGCONS_IOPORT. */
const DEBUG_PORT = 0xe9;
const DATA = BUS_DATA >>> 2;

function allOnes(core: Core): number {
  core.i32[DATA] = -1;
  core.i32[DATA + 1] = -1;
  return BUS_DONE;
}

export class PvhBus implements Bus {
  private readonly vcpu: Vcpu;

  constructor(vcpu: Vcpu) {
    this.vcpu = vcpu;
  }

  private chargePort(): void {
    this.vcpu.domain.exitCounts[EXIT_IO]!++;
    this.vcpu.charge("exit", COST_EXIT);
    this.vcpu.charge("io", COST_IO);
  }

  portRead(core: Core, port: number, size: number): number {
    this.chargePort();
    allOnes(core);
    this.vcpu.domain.pcTimer?.portRead(core, port, size);
    return BUS_DONE;
  }

  portWrite(core: Core, port: number, size: number): number {
    this.chargePort();
    this.vcpu.domain.pcTimer?.portWrite(core, port, size);
    if (port === DEBUG_PORT && size === 1) printGuestChar(this.vcpu.domain, core.i32[DATA]! & 0xff);
    return BUS_DONE;
  }

  private chargeMemory(): void {
    this.vcpu.domain.exitCounts[EXIT_NESTED_FAULT]!++;
    this.vcpu.charge("exit", COST_EXIT);
    this.vcpu.charge("io", COST_MMIO);
  }

  memoryRead(core: Core, address: number, size: number): number {
    this.chargeMemory();
    const { domain } = this.vcpu;
    // What a read-modify-write of a read-only page finds there.
    if (isReadOnly(domain.p2m.typeOf(Math.floor(address / PAGE_SIZE)))) {
      core.i32[DATA] = 0;
      core.i32[DATA + 1] = 0;
      copyFromPhysical(domain, address, core.u8.subarray(BUS_DATA, BUS_DATA + size));
      return BUS_DONE;
    }
    const { interrupts } = domain.hypervisor;
    const value = interrupts.apicPageRead(this.vcpu, address, size);
    if (value === null) return allOnes(core);
    core.i32[DATA] = value | 0;
    core.i32[DATA + 1] = 0;
    return BUS_DONE;
  }

  memoryWrite(core: Core, address: number, size: number): number {
    this.chargeMemory();
    const { p2m, hypervisor } = this.vcpu.domain;
    if (!isReadOnly(p2m.typeOf(Math.floor(address / PAGE_SIZE))))
      hypervisor.interrupts.apicPageWrite(this.vcpu, address, size, core.u32[DATA]!);
    return BUS_DONE;
  }
}

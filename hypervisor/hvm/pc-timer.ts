/**
 * A PC's timer and interrupt controllers for a PVH domain, which has neither in Xen: with `acpi=off` Linux 6.1 takes its
 * clock from them and from nothing else (apic_needs_pit; smpboot.c sets the Xen clock up only beside an APIC that MADT or
 * an MP table names), and under Xen 4.17 such a domain stops for want of a tick. An extension: only a domain whose command
 * line says `acpi=off` gets it. The controllers reach vcpu 0 through LINT0 of its local APIC in virtual wire mode, or past an
 * APIC that is switched off (vlapic_accept_pic_intr).
 */
import { BUS_DATA } from "../../cpu/arena.ts";
import type { Core } from "../../cpu/core.ts";
import type { Domain } from "../domain/domain.ts";
import { PIC_PORTS, Pic } from "./pic.ts";
import { PIT_PORTS, Pit } from "./pit.ts";

const TIMER_LINE = 0;

export class PcTimer {
  readonly pic: Pic;
  readonly pit: Pit;

  constructor(domain: Domain) {
    this.pic = new Pic(() => domain.hypervisor.interrupts.picRaised(domain.vcpus[0]!));
    this.pit = new Pit(domain.hypervisor.queue, (level) => this.pic.setLine(TIMER_LINE, level));
  }

  private deviceAt(port: number): Pic | Pit | null {
    if (PIC_PORTS.includes(port)) return this.pic;
    return PIT_PORTS.includes(port) ? this.pit : null;
  }

  /** An access of several bytes goes to neighbouring ports, as the ISA bus splits it. What is nobody's is left as it is. */
  portRead(core: Core, port: number, size: number): void {
    for (let n = 0; n < size; n++) {
      const device = this.deviceAt(port + n);
      if (device !== null) core.u8[BUS_DATA + n] = device.read(port + n);
    }
  }

  /** The domain is going away. */
  stop(): void {
    this.pit.stop();
  }

  portWrite(core: Core, port: number, size: number): void {
    for (let n = 0; n < size; n++) this.deviceAt(port + n)?.write(port + n, core.u8[BUS_DATA + n]!);
  }
}

/** Whether a kernel command line has the word that asks for it. */
export function wantsPcTimer(commandLine: string | undefined): boolean {
  return commandLine?.split(/\s+/).includes("acpi=off") ?? false;
}

import { beforeEach, describe, expect, it } from "vitest";
import * as A from "../../../cpu/arena.ts";
import { type Clock, Core } from "../../../cpu/core.ts";
import * as APIC from "../../../cpu/system/apic.ts";
import { MODEL_AMD, setCpuModel } from "../../../cpu/system/cpu-model.ts";
import { cpuid } from "../../../cpu/system/cpuid.ts";
import { resetCore, WAIT_SIPI } from "../../../cpu/system/mode.ts";
import { MsrValue, readMsr, writeMsr } from "../../../cpu/system/msr.ts";
import { H_FAULT, H_OK } from "../../../cpu/uops/uop.ts";
import "../../../cpu/uops/lift-all.ts";
import { makeMachine } from "../mmu/machine.ts";

class Cycles implements Clock {
  cycle = 0;
  private events: { at: number; handle: number; fire: () => void }[] = [];
  private handles = 0;
  now(): number {
    return this.cycle;
  }
  schedule(at: number, fire: () => void): number {
    this.events.push({ at, handle: ++this.handles, fire });
    return this.handles;
  }
  cancel(handle: number): void {
    this.events = this.events.filter((e) => e.handle !== handle);
  }
  to(cycle: number): void {
    for (;;) {
      const next = this.events.filter((e) => e.at <= cycle).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.cancel(next.handle);
      this.cycle = next.at;
      next.fire();
    }
    this.cycle = cycle;
  }
}

let core: Core;
let second: Core;
let clock: Cycles;
let apic: APIC.LocalApic;
let other: APIC.LocalApic;
beforeEach(() => {
  const machine = makeMachine();
  core = machine.core;
  second = new Core(machine.arena, 1, machine.group);
  resetCore(second);
  core.activate();
  clock = new Cycles();
  const bus = new APIC.ApicBus();
  apic = new APIC.LocalApic(core, clock, bus, { id: 0, cyclesPerTick: 10 });
  other = new APIC.LocalApic(second, clock, bus, { id: 1, cyclesPerTick: 10 });
  core.interrupts = apic;
  second.interrupts = other;
  for (const a of [apic, other]) a.write(APIC.APIC_SVR, 0x1ff);
});

describe("priorities", () => {
  it("give the highest class first, nest by class, and end with EOI", () => {
    apic.raise(0x41);
    apic.raise(0x52);
    expect(apic.pending()).toBe(0x52);
    apic.acknowledge(0x52);
    expect(apic.pending()).toBe(-1);
    apic.raise(0x61);
    expect(apic.pending()).toBe(0x61);
    apic.write(APIC.APIC_TPR, 0x60);
    expect(apic.pending()).toBe(-1);
    apic.write(APIC.APIC_TPR, 0);
    apic.acknowledge(0x61);
    apic.write(APIC.APIC_EOI, 0);
    apic.write(APIC.APIC_EOI, 0);
    expect(apic.pending()).toBe(0x41);
  });

  it("hold nothing of vectors below 16, and say so in ESR", () => {
    apic.raise(3);
    expect(apic.pending()).toBe(-1);
    apic.write(APIC.APIC_ESR, 0);
    expect(apic.read(APIC.APIC_ESR)).toBe(0x40);
  });

  it("name an error vector below 16 as an error of its own, and stop there", () => {
    apic.write(APIC.APIC_LVT_ERROR, 0xf);
    apic.illegalSend();
    expect(apic.pending()).toBe(-1);
    apic.write(APIC.APIC_ESR, 0);
    expect(apic.read(APIC.APIC_ESR)).toBe(0x60);
  });
});

describe("the timer", () => {
  it("counts down once, and periodically", () => {
    apic.write(APIC.APIC_TIMER_DIVIDE, 0xb);
    apic.write(APIC.APIC_LVT_TIMER, 0x40);
    apic.write(APIC.APIC_TIMER_INITIAL, 100);
    clock.to(500);
    expect(apic.read(APIC.APIC_TIMER_CURRENT)).toBe(50);
    clock.to(1000);
    expect(apic.pending()).toBe(0x40);
    expect(apic.read(APIC.APIC_TIMER_CURRENT)).toBe(0);
    apic.acknowledge(0x40);
    apic.endOfInterrupt();
    apic.write(APIC.APIC_LVT_TIMER, 0x20041);
    apic.write(APIC.APIC_TIMER_INITIAL, 100);
    for (const cycle of [2000, 3000]) {
      clock.to(cycle - 1);
      expect(apic.pending()).toBe(-1);
      clock.to(cycle);
      expect(apic.pending()).toBe(0x41);
      apic.acknowledge(0x41);
      apic.endOfInterrupt();
    }
  });

  it("fires at the TSC deadline and then disarms", () => {
    apic.write(APIC.APIC_LVT_TIMER, 0x40042);
    expect(writeMsr(core, 0x6e0, 12345, 0)).toBe(H_OK);
    clock.to(12344);
    expect(apic.pending()).toBe(-1);
    clock.to(12345);
    expect(apic.pending()).toBe(0x42);
    const value = new MsrValue();
    expect(readMsr(core, 0x6e0, value)).toBe(true);
    expect(value.lo).toBe(0);
  });
});

describe("interprocessor interrupts", () => {
  it("reach one, all, and all but the sender", () => {
    apic.write(APIC.APIC_ICR_HIGH, 1 << 24);
    apic.write(APIC.APIC_ICR, 0x4050);
    expect([apic.pending(), other.pending()]).toEqual([-1, 0x50]);
    apic.write(APIC.APIC_ICR, 0x84051);
    expect([apic.pending(), other.pending()]).toEqual([0x51, 0x51]);
    apic.write(APIC.APIC_ICR, 0xc4062);
    expect([apic.pending(), other.pending()]).toEqual([0x51, 0x62]);
  });

  it("INIT and SIPI start the other core in real mode; an NMI waits", () => {
    apic.write(APIC.APIC_ICR_HIGH, 1 << 24);
    apic.write(APIC.APIC_ICR, 0x4500);
    const slot = core.arena.saveSlot(1) - A.CORE;
    expect(core.i32[(A.ACTIVITY + slot) >>> 2]).toBe(WAIT_SIPI);
    apic.write(APIC.APIC_ICR, 0x4699);
    expect(core.i32[(A.ACTIVITY + slot) >>> 2]).toBe(0);
    expect(core.i32[(A.SLOTS + A.S_CSBASE + slot) >>> 2]).toBe(0x99000);
    expect(core.shared.active).toBe(core);
    apic.write(APIC.APIC_ICR, 0x4400);
    expect(core.i32[(A.NMI_PENDING + slot) >>> 2]).toBe(1);
  });

  it("x2APIC: registers by MSR, 32-bit destinations, no writes to read-only ones", () => {
    expect(writeMsr(core, 0x1b, 0xfee00c00 | 0, 0)).toBe(H_OK);
    const value = new MsrValue();
    expect(readMsr(core, 0x802, value)).toBe(true);
    expect(value.lo).toBe(0);
    expect(writeMsr(core, 0x830, 0x4055, 1)).toBe(H_OK);
    expect(other.pending()).toBe(0x55);
    expect(writeMsr(core, 0x802, 0, 0)).toBe(H_FAULT);
    expect(writeMsr(core, 0x83f, 0x33, 0)).toBe(H_OK);
    expect(apic.pending()).toBe(0x33);
    // x2APIC cannot go back to xAPIC without being disabled.
    expect(writeMsr(core, 0x1b, 0xfee00800 | 0, 0)).toBe(H_FAULT);
  });
});

describe("MSRs and CPUID", () => {
  it("unknown MSRs are #GP, addresses must be canonical, PAT must be made of types", () => {
    expect(readMsr(core, 0x12345, new MsrValue())).toBe(false);
    expect(writeMsr(core, 0xc0000082, 0, 0x8000)).toBe(H_FAULT);
    expect(writeMsr(core, 0x277, 0x02000000, 0)).toBe(H_FAULT);
    expect(writeMsr(core, 0x277, 0x00070406, 0x00070106)).toBe(H_OK);
  });

  it("report the x86-64-v2 level, and x2APIC, on both models", () => {
    for (const amd of [false, true]) {
      if (amd) setCpuModel(core, MODEL_AMD);
      // SSE3, SSSE3, CX16, SSE4.1, SSE4.2, x2APIC, POPCNT.
      const v2 = 0x00b82201;
      expect(cpuid(core, 1, 0).ecx & v2).toBe(v2);
      expect(cpuid(core, 0x80000001, 0).ecx & 1).toBe(1);
      expect(cpuid(core, 0x80000001, 0).edx & 0x20100800).toBe(0x20100800);
      const leaf = cpuid(core, 0, 0);
      expect(leaf.ebx).toBe(amd ? 0x68747541 : 0x756e6547);
    }
  });
});

import { beforeEach, describe, expect, it } from "vitest";
import * as A from "../../../cpu/arena.ts";
import {
  type Core,
  DELIVERY_NONROOT,
  DELIVERY_PV,
  EXIT_EXCEPTION,
  EXIT_PV,
  EXIT_TRIPLE_FAULT,
  raise,
  VEC_DE,
  VEC_GP,
  VEC_PF,
  VEC_UD,
} from "../../../cpu/core.ts";
import { getFlags, setFlags } from "../../../cpu/flags.ts";
import * as B from "../../../cpu/system/bits.ts";
import {
  deliverInjected,
  deliverInterrupt,
  deliverNmi,
  deliverPendingFault,
  deliverSoftware,
  EVENT_SOFTWARE_INTERRUPT,
} from "../../../cpu/system/exceptions.ts";
import { iret } from "../../../cpu/system/far.ts";
import { loadSegmentRaw, loadTableRaw, resetCore, setCpl, updateMode } from "../../../cpu/system/mode.ts";
import { H_FAULT, H_OK } from "../../../cpu/uops/uop.ts";
import { enterLong, makeMachine, peek32, peek64, poke32, poke64, Tables } from "../mmu/machine.ts";

const GDT = 0x2000;
const IDT = 0x3000;
const TSS = 0x4000;
const RSP = (A.SLOTS + A.S_RSP) >>> 2;

let core: Core;
beforeEach(() => {
  core = makeMachine().core;
});

const rip = (): number => core.u32[A.RIP >>> 2]!;
const rsp = (): number => core.u32[RSP]!;

describe("long mode", () => {
  function gate64(vector: number, type: number, ist = 0, dpl = 0, selector = 8): void {
    const offset = 0x100000 + vector * 16;
    const lo = (offset & 0xffff) | (selector << 16);
    const hi = (offset & 0xffff0000) | 0x8000 | (dpl << 13) | (type << 8) | ist;
    poke64(core, IDT + vector * 16, BigInt(lo >>> 0) | (BigInt(hi >>> 0) << 32n));
    poke64(core, IDT + vector * 16 + 8, 0xffff8000n);
  }

  beforeEach(() => {
    const tables = new Tables(core, 0x10000);
    for (let page = 0; page < 16; page++) tables.map(BigInt(page * 0x1000), page * 0x1000, 7n);
    tables.map(0x200000n, 0x200000, 7n, 2);
    poke64(core, GDT + 8, 0x00af9b000000ffffn);
    poke64(core, GDT + 0x10, 0x00cf93000000ffffn);
    poke64(core, GDT + 0x18, 0x00cff3000000ffffn);
    poke64(core, GDT + 0x20, 0x00affb000000ffffn);
    loadTableRaw(core, A.GDTR, 0, GDT, 0, 0x7f, 0);
    loadTableRaw(core, A.IDTR, 0, IDT, 0, 0xfff, 0);
    loadTableRaw(core, A.TR, 0x40, TSS, 0, 0x67, 0x8b);
    poke64(core, TSS + 4, 0x7008n);
    poke64(core, TSS + 0x24, 0x9008n);
    core.i32[RSP] = 0x200808;
    core.i32[A.RIP >>> 2] = 0x1234;
    setFlags(core, 0x302);
    for (let v = 0; v < 32; v++) gate64(v, 14);
  });

  it("pushes SS, RSP, RFLAGS, CS, RIP and an error code on the RSP0 stack, aligned to 16", () => {
    enterLong(core, 0x10000, 3);
    core.i32[(A.SEG + 16) >>> 2] = 0x23;
    core.i32[(A.SEG + 32) >>> 2] = 0x1b;
    raise(core, VEC_GP, 0x18);
    expect(deliverPendingFault(core)).toBe(0);
    expect(rsp()).toBe(0x7000 - 48);
    const frame = [0, 1, 2, 3, 4, 5].map((n) => peek64(core, 0x7000 - 48 + n * 8));
    // RF is set in the image of a fault.
    expect(frame).toEqual([0x18n, 0x1234n, 0x23n, 0x10302n, 0x200808n, 0x1bn]);
    expect(core.i32[A.CPL >>> 2]).toBe(0);
    expect(core.i32[(A.SEG + 32) >>> 2]).toBe(0);
    expect(core.i32[(A.SEG + 16) >>> 2]).toBe(8);
    expect([rip(), core.u32[(A.RIP + 4) >>> 2]]).toEqual([0x100000 + 13 * 16, 0xffff8000]);
    expect(getFlags(core) & 0x10300).toBe(0);
    // And back again.
    core.i32[RSP]! += 8;
    expect(iret(core, 8, 2)).toBe(H_OK);
    expect([rip(), rsp(), core.i32[A.CPL >>> 2], getFlags(core)]).toEqual([0x1234, 0x200808, 3, 0x302]);
  });

  it("stays on the stack without a change of level, and takes the IST stack if the gate names one", () => {
    enterLong(core, 0x10000, 0);
    raise(core, VEC_UD);
    expect(deliverPendingFault(core)).toBe(0);
    expect(rsp()).toBe(0x200800 - 40);
    gate64(2, 14, 1);
    expect(deliverNmi(core)).toBe(0);
    expect(rsp()).toBe(0x9000 - 40);
    expect(core.i32[A.INTERRUPTIBILITY >>> 2]).toBe(8);
    expect(iret(core, 8, 2)).toBe(H_OK);
    expect(core.i32[A.INTERRUPTIBILITY >>> 2]).toBe(0);
  });

  it("moves the address of a page fault to CR2 with the delivery", () => {
    enterLong(core, 0x10000, 0);
    core.i32[A.EXIT_GLA >>> 2] = 0x7777;
    core.i32[(A.EXIT_GLA + 4) >>> 2] = 0;
    raise(core, VEC_PF, 2);
    expect(deliverPendingFault(core)).toBe(0);
    expect(core.i32[A.CR2 >>> 2]).toBe(0x7777);
    expect(peek64(core, rsp())).toBe(2n);
  });

  it("checks the gate's DPL for INT n, with the vector and no EXT bit in the error code", () => {
    enterLong(core, 0x10000, 3);
    expect(deliverSoftware(core, 5, EVENT_SOFTWARE_INTERRUPT, 2)).toBe(H_FAULT);
    expect([core.i32[A.FAULT_VECTOR >>> 2], core.i32[A.FAULT_ERROR >>> 2]]).toEqual([VEC_GP, 5 * 8 + 2]);
    gate64(5, 15, 0, 3);
    expect(deliverSoftware(core, 5, EVENT_SOFTWARE_INTERRUPT, 2)).toBe(H_OK);
    expect(getFlags(core) & 0x200).toBe(0x200);
  });

  it("makes a double fault of a contributory pair, and a triple fault of the third", () => {
    enterLong(core, 0x10000, 0);
    gate64(0, 14, 0, 0, 0x10); // not a code segment: #GP
    raise(core, VEC_DE);
    expect(deliverPendingFault(core)).toBe(0);
    expect(rip()).toBe(0x100000 + 8 * 16);
    expect(peek64(core, rsp())).toBe(0n);
    gate64(8, 14, 0, 0, 0x10);
    raise(core, VEC_DE);
    expect(deliverPendingFault(core)).toBe(EXIT_TRIPLE_FAULT);
  });

  it("delivers the #GP of a benign event serially, with EXT set", () => {
    enterLong(core, 0x10000, 0);
    gate64(6, 5);
    raise(core, VEC_UD);
    expect(deliverPendingFault(core)).toBe(0);
    expect(rip()).toBe(0x100000 + 13 * 16);
    expect(peek64(core, rsp())).toBe(6n * 8n + 3n);
  });

  it("exits instead: intercepted exceptions in NONROOT, everything under PV", () => {
    core.controls.delivery = DELIVERY_NONROOT;
    core.controls.exceptionBitmap = 1 << VEC_UD;
    enterLong(core, 0x10000, 0);
    raise(core, VEC_UD);
    expect(deliverPendingFault(core)).toBe(EXIT_EXCEPTION);
    expect(core.i32[A.EXIT_INTR_INFO >>> 2]).toBe(0x80000306 | 0);
    expect(rip()).toBe(0x1234);
    core.controls.delivery = DELIVERY_PV;
    raise(core, VEC_GP, 0x18);
    expect(deliverPendingFault(core)).toBe(EXIT_PV);
    expect([core.i32[A.EXIT_INTR_INFO >>> 2], core.i32[A.EXIT_INTR_ERROR >>> 2]]).toEqual([0x80000b0d | 0, 0x18]);
  });

  it("wakes a halted core for an interrupt, and injects with the instruction length", () => {
    enterLong(core, 0x10000, 0);
    core.i32[A.ACTIVITY >>> 2] = 1;
    gate64(0x41, 14);
    expect(deliverInterrupt(core, 0x41)).toBe(0);
    expect(core.i32[A.ACTIVITY >>> 2]).toBe(0);
    expect(peek64(core, rsp())).toBe(0x1234n);
    B.setRip(core, 0x1234, 0);
    core.i32[A.INJECT_INFO >>> 2] = 0x80000603 | 0;
    core.i32[A.INJECT_LENGTH >>> 2] = 1;
    expect(deliverInjected(core)).toBe(0);
    expect(core.i32[A.INJECT_INFO >>> 2]).toBe(0);
    expect(peek64(core, rsp())).toBe(0x1235n);
  });
});

describe("legacy modes", () => {
  it("pushes FLAGS, CS, IP in real mode and clears IF", () => {
    resetCore(core);
    loadSegmentRaw(core, 1, 0x100, 0x1000, 0, 0xffff, 0x9b);
    loadSegmentRaw(core, 2, 0x200, 0x2000, 0, 0xffff, 0x93);
    core.i32[RSP] = 0x100;
    core.i32[A.RIP >>> 2] = 0x55;
    setFlags(core, 0x202);
    poke32(core, 0x21 * 4, 0x12345678);
    expect(deliverSoftware(core, 0x21, EVENT_SOFTWARE_INTERRUPT, 2)).toBe(H_OK);
    expect([rip(), core.i32[(A.SEG + 16) >>> 2], rsp()]).toEqual([0x5678, 0x1234, 0xfa]);
    const frame = [0, 1, 2].map((n) => core.u16[(core.arena.ofPhysical(0x20fa) >>> 1) + n]);
    expect(frame).toEqual([0x55, 0x100, 0x202]);
    expect(getFlags(core) & 0x200).toBe(0);
  });

  it("switches to the stack of a 32-bit TSS, and pushes the data segments of VM86", () => {
    poke64(core, GDT + 8, 0x00cf9b000000ffffn);
    poke64(core, GDT + 0x10, 0x00cf93000000ffffn);
    poke64(core, IDT + 13 * 8, 0x0000_8e00_0008_9000n);
    loadTableRaw(core, A.GDTR, 0, GDT, 0, 0x7f, 0);
    loadTableRaw(core, A.IDTR, 0, IDT, 0, 0x7ff, 0);
    loadTableRaw(core, A.TR, 0x40, TSS, 0, 0x67, 0x8b);
    poke32(core, TSS + 4, 0x7000);
    poke32(core, TSS + 8, 0x10);
    core.i32[A.CR0 >>> 2] = B.CR0_PE;
    setFlags(core, 0x20202);
    setCpl(core, 3);
    for (let seg = 0; seg < 6; seg++) loadSegmentRaw(core, seg, 0x50 + seg, (0x50 + seg) << 4, 0, 0xffff, 0xf3);
    core.i32[RSP] = 0x300;
    core.i32[A.RIP >>> 2] = 0x77;
    updateMode(core);
    raise(core, VEC_GP, 0);
    expect(deliverPendingFault(core)).toBe(0);
    const frame = Array.from({ length: 10 }, (_, n) => peek32(core, 0x7000 - 40 + n * 4));
    // Error, EIP, CS, EFLAGS, ESP, SS, ES, DS, FS, GS.
    expect(frame).toEqual([0, 0x77, 0x51, 0x30202, 0x300, 0x52, 0x50, 0x53, 0x54, 0x55]);
    expect([rip(), core.i32[A.CPL >>> 2], core.i32[(A.SEG + 32) >>> 2]]).toEqual([0x9000, 0, 0x10]);
    core.i32[RSP]! += 4;
    expect(iret(core, 4, 2)).toBe(H_OK);
    expect([rip(), rsp(), getFlags(core) & 0x20000, core.i32[(A.SEG + 3 * 16) >>> 2]]).toEqual([
      0x77, 0x300, 0x20000, 0x53,
    ]);
  });
});

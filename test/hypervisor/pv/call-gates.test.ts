/** Call gates of a 32-bit PV guest: its user (ring 3) goes into its kernel (ring 1) through Xen's emulation. */
import { expect, it } from "vitest";
import { RIP, S_RSP } from "../../../cpu/arena.ts";
import { runMachine } from "../../../hypervisor/run.ts";
import { PvCaller, SCRATCH } from "./pv-caller.ts";
import * as G from "./pv-guest.ts";

const TS = 10;
const NP = 11;
const GP = 13;
const PF = 14;
const KERNEL_CS = 0xe019;
const KERNEL_SS = 0xe021;
const USER_CS = 0xe02b;
const USER_SS = 0xe033;
/** Entries of the guest's GDT: gates, and a code segment of ring 3. */
const GATE = 0x18;
const KERNEL_GATE = 0x20;
const ABSENT_GATE = 0x28;
const TO_USER = 0x30;
const CODE_3 = 0x38;
/** Where gates lead to. */
const TARGET = G.SYSENTER;
const PARAMETERS = 2;

class Guest32 {
  readonly p = new PvCaller({ hv: G.realMachine() }, { type: "pv32" });

  constructor() {
    const { p } = this;
    for (let n = 0; n < 4096 / 2; n++) this.bytes(G.HANDLERS, n * 2, G.STOP);
    for (const vector of [TS, NP, 12, GP, PF]) {
      p.write(SCRATCH, [1, vector], [1, 0], [2, KERNEL_CS], [4, this.handler(vector)], [8, 0]);
      expect(p.call(0, p.at(SCRATCH))).toBe(0);
    }
    expect(p.call(3, KERNEL_SS, p.at(G.KERNEL_STACK, 4096))).toBe(0);
    const gate = (dpl: number, present: boolean, parameters: number, selector: number): bigint => {
      const to = this.handler(TARGET);
      const hi = (to & 0xffff_0000n) | (present ? 0x8000n : 0n) | BigInt(dpl << 13) | 0xc00n | BigInt(parameters);
      return (hi << 32n) | BigInt(selector * 0x10000) | (to & 0xffffn);
    };
    p.put(G.GDT, GATE / 8, gate(3, true, PARAMETERS, KERNEL_CS));
    p.put(G.GDT, KERNEL_GATE / 8, gate(1, true, 0, KERNEL_CS));
    p.put(G.GDT, ABSENT_GATE / 8, gate(3, false, 0, KERNEL_CS));
    p.put(G.GDT, TO_USER / 8, gate(3, true, PARAMETERS, CODE_3));
    p.put(G.GDT, CODE_3 / 8, 0x00cf_fb00_0000_ffffn);
    p.protect(G.GDT);
    p.write(SCRATCH, [4, p.mfn(G.GDT)]);
    expect(p.call(2, p.at(SCRATCH), 512)).toBe(0);
    p.domain.unpause();
  }

  bytes(page: number, offset: number, bytes: readonly number[]): void {
    const { memory } = this.p.hv;
    memory.write(memory.frame(this.p.mfn(page)) + offset, Uint8Array.from(bytes));
  }

  handler(n: number): bigint {
    return this.p.at(G.HANDLERS, n * 16);
  }

  /** Runs `code` in ring 3, with 1 and 2 on its stack. */
  user(code: readonly number[], cs = USER_CS): this {
    const { p } = this;
    const esp = p.at(G.USER_STACK, 4096 - 8);
    p.write(G.USER_STACK, [0, 4096 - 8], [4, 2], [4, 1]);
    this.bytes(G.CODE, 0, [...code, ...G.STOP]);
    const frame = [0n, p.at(G.CODE), BigInt(cs), 0x202n, esp, BigInt(USER_SS)];
    p.write(G.KERNEL_STACK, [0, 4096 - 24], ...frame.map((word): [number, bigint] => [4, word]));
    // mov $23, %eax; int $0x82
    this.bytes(G.HYPERCALLS, 0, [0xb8, 23, 0, 0, 0, 0xcd, 0x82]);
    p.vcpu.core.activate();
    p.vcpu.core.setSlot(S_RSP, p.at(G.KERNEL_STACK, 4096 - 24));
    p.vcpu.core.u64[RIP >>> 3] = p.at(G.HYPERCALLS);
    runMachine(p.hv, p.hv.turn.cycle + 20_000);
    return this;
  }

  get at(): number {
    this.p.vcpu.core.activate();
    return Number(this.p.vcpu.core.u64[RIP >>> 3]! - this.handler(0)) / 16;
  }

  /** Dwords at ESP, relative to the end of the stack's page. */
  stack(count: number, page = G.KERNEL_STACK): number[] {
    const esp = this.p.vcpu.core.slot(S_RSP);
    const offset = Number(esp - this.p.at(page));
    return Array.from({ length: count }, (_, n) => this.p.get32(page, offset + n * 4));
  }
}

const callFar = (selector: number): number[] => [0x9a, 0, 0, 0, 0, selector, 0];
const jumpFar = (selector: number): number[] => [0xea, 0, 0, 0, 0, selector, 0];

it("a call leads into the kernel, with the parameters and the way back on its stack", () => {
  const g = new Guest32();
  const esp = Number(g.p.at(G.USER_STACK, 4096 - 8));
  expect(g.user(callFar(GATE)).at).toBe(TARGET);
  const code = Number(g.p.at(G.CODE));
  expect(g.stack(6)).toEqual([code + 7, USER_CS, 2, 1, esp, USER_SS]);
  expect(g.p.vcpu.cpl()).toBe(1);
});

it("returns with RETF, and reads the selector of an indirect call from memory", () => {
  const g = new Guest32();
  // lret $8
  g.bytes(G.HANDLERS, TARGET * 16, [0xca, 8, 0]);
  g.p.write(G.OWN, [4, 0x12345678], [2, GATE | 3]);
  const at = Number(g.p.at(G.OWN));
  const call = [0xff, 0x1d, at & 0xff, (at >>> 8) & 0xff, (at >>> 16) & 0xff, at >>> 24];
  g.user(call);
  expect(g.p.vcpu.core.u64[RIP >>> 3]).toBe(g.p.at(G.CODE, 6));
  expect(g.p.vcpu.cpl()).toBe(3);
  expect(g.p.vcpu.core.slot(S_RSP)).toBe(g.p.at(G.USER_STACK, 4096));
});

it("a call within ring 3 pushes onto the user's own stack, a jump nothing", () => {
  const g = new Guest32();
  expect(g.user(callFar(TO_USER)).at).toBe(TARGET);
  expect(g.stack(4, G.USER_STACK)).toEqual([Number(g.p.at(G.CODE)) + 7, USER_CS, 2, 1]);
  const j = new Guest32().user(jumpFar(TO_USER));
  expect(j.at).toBe(TARGET);
  expect(j.p.vcpu.core.slot(S_RSP)).toBe(j.p.at(G.USER_STACK, 4096 - 8));
  expect(j.p.vcpu.cpl()).toBe(3);
});

it.each([
  ["a gate of the kernel's", callFar(KERNEL_GATE), GP, KERNEL_GATE],
  ["a gate that is not present", callFar(ABSENT_GATE), NP, ABSENT_GATE],
  ["a jump into the kernel", jumpFar(GATE), GP, KERNEL_CS & 0xfffc],
  ["a segment that is no gate", [0x66, 0xb8, CODE_3 | 3, 0, 0x8e, 0xd0], GP, CODE_3],
] as const)("%s is the guest's fault", (_, code, vector, error) => {
  const g = new Guest32();
  expect(g.user(code).at).toBe(vector);
  expect(g.stack(1)).toEqual([error]);
});

it("a kernel without a stack crashes: the page fault of the call finds none either", () => {
  const g = new Guest32();
  g.p.call(3, KERNEL_SS, 0x1000);
  g.user(callFar(GATE));
  expect(g.p.domain.isShutDown).toBe(true);
  expect(g.p.hv.log.lines.some((line) => line.text.includes("compat_create_bounce_frame"))).toBe(true);
});

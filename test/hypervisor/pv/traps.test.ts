/** Entries into Xen from PV guests and the way back: system calls, exceptions, bounce frames, iret, events. */
import { describe, expect, it } from "vitest";
import {
  ACCOUNT_USER,
  CR0,
  PENDING_DEBUG,
  RFLAGS_SYS,
  RIP,
  S_GSBASE,
  S_R8,
  S_RAX,
  S_RBX,
  S_RCX,
  S_RDX,
  S_RSP,
} from "../../../cpu/arena.ts";
import { SHUTDOWN_crash } from "../../../hypervisor/abi/sched.ts";
import * as G from "./pv-guest.ts";

const { PvGuest } = G;
const S_R11 = S_R8 + 24;
const CS = 1;
const SS = 2;
const DE = 0;
const DB = 1;
const NMI = 2;
const BP = 3;
const UD = 6;
const NM = 7;
const GP = 13;
const PF = 14;
/** div %edi, after xor */
const DIVIDE = [0x31, 0xff, 0xf7, 0xf7];
const UNMAPPED = 0x7000_0000;
const dword = (n: number): number[] => [n & 0xff, (n >>> 8) & 0xff, (n >>> 16) & 0xff, n >>> 24];
/** mov %eax, UNMAPPED */
const STORE_UNMAPPED = [0x89, 0x04, 0x25, ...dword(UNMAPPED)];
const mask = (g: InstanceType<typeof PvGuest>, value?: number): number => {
  const { memory } = g.p.hv;
  if (value !== undefined) memory.write8(g.p.vcpu.info + 1, value);
  return memory.read8(g.p.vcpu.info + 1);
};

describe("a PV kernel", () => {
  it("gets its own exception on its own stack, with CS saying that it was the kernel", () => {
    const g = new PvGuest().kernel(DIVIDE);
    expect(g.at).toBe(DE);
    const [, , rip, cs, flags, rsp, ss] = g.stack(7);
    expect(rip).toBe(g.p.at(G.CODE, 2));
    // Events were masked: so they are in the frame, and RFLAGS.IF is clear.
    expect(cs).toBe(0x1_0000_e030n);
    expect(flags! & 0x200n).toBe(0n);
    expect([rsp, ss]).toEqual([g.p.at(G.KERNEL_STACK, 4096), 0xe02bn]);
    expect(g.reg(S_RSP)).toBe(g.p.at(G.KERNEL_STACK, 4096 - 56));
    // SYSRET: RCX is RIP, R11 is RFLAGS.
    expect(g.reg(S_RCX)).toBe(g.rip);
    expect(g.reg(S_R11) & 0x200n).toBe(0x200n);
  });

  it("has events masked by a handler that asks for it, and only by that", () => {
    for (const [flags, after] of [
      [0, 0],
      [4, 1],
    ] as const) {
      const g = new PvGuest();
      mask(g, 0);
      g.trap(DE, g.handler(DE), flags);
      g.kernel(DIVIDE);
      expect(mask(g)).toBe(after);
      expect(g.stack(4)[3]).toBe(0xe030n);
      expect(g.stack(5)[4]! & 0x200n).toBe(0x200n);
    }
  });

  it("finds the address of a page fault in its vcpu_info, and no user bit in the error code", () => {
    const g = new PvGuest().kernel(STORE_UNMAPPED);
    expect(g.at).toBe(PF);
    expect(g.stack(3)[2]).toBe(2n);
    expect(g.p.hv.memory.read64(g.p.vcpu.info + 0x10)).toBe(BigInt(UNMAPPED));
  });

  it("uses INT n of vectors with DPL 1 and more; others are #GP", () => {
    const g = new PvGuest();
    g.trap(0x21, g.handler(G.USER), 1);
    expect(g.kernel([0xcd, 0x21]).at).toBe(G.USER);
    expect(g.stack(3)[2]).toBe(g.p.at(G.CODE, 2));
    const h = new PvGuest();
    h.trap(0x21, h.handler(G.USER), 0);
    expect(h.kernel([0xcd, 0x21]).at).toBe(GP);
    expect(h.stack(3)[2]).toBe(0x21n * 8n + 2n);
  });

  it("is told of INT3 behind it, whatever its DPL", () => {
    const g = new PvGuest();
    g.trap(BP, g.handler(BP), 0);
    expect(g.kernel([0xcc]).at).toBe(BP);
    expect(g.stack(3)[2]).toBe(g.p.at(G.CODE, 1));
  });

  it("makes hypercalls, which clobber RCX and R11 only", () => {
    const g = new PvGuest();
    g.reg(S_RBX, 77n);
    // mov $17, %eax; xor %edi, %edi; syscall
    g.kernel([0xb8, 17, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05]);
    expect(g.reg(S_RAX)).toBe(0x40011n);
    expect(g.reg(S_RBX)).toBe(77n);
    expect(g.rip).toBe(g.p.at(G.CODE, 9));
    expect(g.reg(S_RCX)).toBe(g.rip);
    g.kernel([0xb8, 63, 0, 0, 0, 0x0f, 0x05]);
    expect(BigInt.asIntN(64, g.reg(S_RAX))).toBe(-38n);
  });

  it("gets a pending event when it unmasks and enters Xen, once", () => {
    const g = new PvGuest();
    g.p.hv.memory.write8(g.p.vcpu.info, 1);
    expect(g.kernel([0x90]).at).toBe(-1);
    mask(g, 0);
    // Nothing tells Xen of a change of the mask.
    expect(g.kernel([0x90]).at).toBe(-1);
    g.kernel([0xb8, 17, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05]);
    expect(g.at).toBe(G.EVENT);
    expect(mask(g)).toBe(1);
    expect(g.stack(4)[3]).toBe(0xe030n);
  });

  it("gets an NMI whatever the mask, and no other before iret", () => {
    const g = new PvGuest();
    expect(g.p.call(24, 11, 0, 0)).toBe(0);
    expect(g.kernel([0x90]).at).toBe(NMI);
    expect(g.p.call(24, 11, 0, 0)).toBe(0);
    const sp = g.reg(S_RSP);
    g.run();
    expect([g.at, g.reg(S_RSP)]).toEqual([NMI, sp]);
    g.iret(g.p.at(G.CODE), g.p.at(G.KERNEL_STACK, 2048), 0xe030);
    expect(g.run().at).toBe(NMI);
    expect(g.stack(3)[2]).toBe(g.p.at(G.CODE));
  });

  it("takes #NM once: Xen clears TS for it", () => {
    const g = new PvGuest();
    expect(g.p.call(5, 1)).toBe(0);
    // fldz
    expect(g.kernel([0xd9, 0xee]).at).toBe(NM);
    expect(g.p.vcpu.core.i32[CR0 >>> 2]! & 8).toBe(0);
  });

  it("steps singly, and Xen leaves nothing pending", () => {
    const g = new PvGuest();
    g.iret(g.p.at(G.CODE), g.p.at(G.KERNEL_STACK, 2048), 0xe030, 0xe02b, 0x302);
    g.bytes(G.CODE, 0, [0x90, ...G.STOP]);
    expect(g.run().at).toBe(DB);
    expect(g.stack(3)[2]).toBe(g.p.at(G.CODE, 1));
    expect(g.p.vcpu.core.i32[PENDING_DEBUG >>> 2]).toBe(0);
    expect(g.p.call(9, 6)).toBe(0xffff4ff0);
  });

  it("is crashed when its stack is not there, Xen's, or the handler is missing", () => {
    const cases: [string, (g: InstanceType<typeof PvGuest>) => void][] = [
      ["fault on the guest's stack", (g) => g.reg(S_RSP, BigInt(UNMAPPED))],
      ["bad stack pointer", (g) => g.reg(S_RSP, 0xffff_8200_0000_0000n)],
      ["fault on the guest's stack", (g) => g.reg(S_RSP, 0x1234_5678_0000_0000n)],
      ["no handler", (g) => g.p.call(0, 0)],
    ];
    for (const [why, prepare] of cases) {
      const g = new PvGuest();
      prepare(g);
      g.kernel(DIVIDE);
      expect(g.p.domain.shutdownCode, why).toBe(SHUTDOWN_crash);
      expect(g.log).toContain(why);
    }
  });

  it("ends by its handlers that fault at once, on its own time", () => {
    const g = new PvGuest();
    g.trap(UD, 0x7000_0000n);
    g.trap(PF, 0x7000_0000n);
    g.kernel([0x0f, 0x0b], 5_000_000);
    expect(g.p.domain.shutdownCode).toBe(SHUTDOWN_crash);
    expect(g.log).toContain("Pagetable walk from");
    expect(g.log).toContain("EM: 1   CONTEXT: pv guest (d1v0)");
  });
});

describe("a PV user", () => {
  it("enters its kernel by SYSCALL at the callback, on the kernel's stack, with its segments guessed", () => {
    const g = new PvGuest();
    g.iret(g.p.at(G.CODE), g.p.at(G.USER_STACK, 4096), 0xe033, 0xe02b, 0x602);
    g.bytes(G.CODE, 0, [...G.SYSCALL_INSTRUCTION, ...G.STOP]);
    expect(g.run().at).toBe(G.SYSCALL);
    const [rcx, r11, rip, cs, flags, rsp, ss] = g.stack(7);
    expect([rcx, rip]).toEqual([g.p.at(G.CODE, 2), g.p.at(G.CODE, 2)]);
    expect([cs! & 0xffffn, rsp, ss]).toEqual([0xe033n, g.p.at(G.USER_STACK, 4096), 0xe02bn]);
    // DF is cleared for the kernel, and kept in the frame.
    expect([flags! & 0x400n, r11! & 0x400n, g.reg(S_R11) & 0x400n]).toEqual([0x400n, 0x400n, 0n]);
    expect(g.p.vcpu.pv!.kernelMode).toBe(true);
    expect(g.reg(S_RSP)).toBe(g.p.at(G.KERNEL_STACK, 4096 - 56));
  });

  it("gets #UD at SYSCALL from a kernel without callback", () => {
    const g = new PvGuest();
    g.p.vcpu.pv!.callbackLo[2] = 0;
    expect(g.user(G.SYSCALL_INSTRUCTION).at).toBe(UD);
    expect(g.stack(3)[2]).toBe(g.p.at(G.CODE));
  });

  it("gets its registers back by iret, RCX and R11 too unless the frame says that it was a system call", () => {
    const g = new PvGuest().user([]);
    expect(g.rip).toBe(g.p.at(G.CODE));
    expect([g.reg(S_RAX), g.reg(S_R11), g.reg(S_RCX)]).toEqual([0x1111n, 0x2222n, 0x3333n]);
    expect(g.p.vcpu.pv!.kernelMode).toBe(false);
    const h = new PvGuest();
    h.bytes(G.CODE, 0, G.STOP);
    h.iret(h.p.at(G.CODE), h.p.at(G.USER_STACK, 4096), 0xe033, 0xe02b, 0x246, 0x100);
    h.run();
    expect([h.reg(S_RCX), h.reg(S_R11)]).toEqual([h.p.at(G.CODE), 0x246n]);
  });

  it("can't be given I/O privileges or virtual-8086 mode by a frame, nor have interrupts taken", () => {
    const g = new PvGuest();
    g.bytes(G.CODE, 0, G.STOP);
    g.iret(g.p.at(G.CODE), g.p.at(G.USER_STACK, 4096), 0xe033, 0xe02b, 0x2_3002);
    g.run();
    expect(g.p.vcpu.core.i32[RFLAGS_SYS >>> 2]! & 0x2_3200).toBe(0x200);
    expect(mask(g)).toBe(1);
  });

  it("faults where the frame's segments are no good: told with the frame as it was", () => {
    const cases: [cs: number, ss: number, rip: bigint | null, vector: number, error: bigint][] = [
      [0xe013, 0xe02b, null, GP, 0xe010n],
      [0x3, 0xe02b, null, GP, 0n],
      [0xe033, 0x3, null, GP, 0n],
      [0xe033, 0xe033, null, GP, 0xe030n],
      [0xe033, 0x13, null, GP, 0x10n],
      [0xe00b, 0xe02b, null, GP, 0xe008n],
      [0xfff3, 0xe02b, null, GP, 0xfff0n],
      [0x37, 0xe02b, null, GP, 0x34n],
      [0xe033, 0xe02b, 0x1234_5678_9abc_def0n, GP, 0n],
    ];
    for (const [cs, ss, rip, vector, error] of cases) {
      const g = new PvGuest();
      const to = rip ?? g.p.at(G.CODE);
      g.iret(to, g.p.at(G.USER_STACK, 4096), cs, ss);
      expect(g.run().at, `${cs.toString(16)}:${ss.toString(16)}`).toBe(vector);
      const [, , code, at, where, , sp, stackSegment] = g.stack(8);
      expect([code, at, where! & 0xffffn, sp]).toEqual([error, to, BigInt(cs), g.p.at(G.USER_STACK, 4096)]);
      expect(stackSegment).toBe(BigInt(ss | 3));
    }
  });

  it("gets #GP, no page fault, where a system call at the end of the canonical addresses would go on (XSA-7)", () => {
    // The kernel makes the call: the last instruction below 0x800000000000 is the SYSCALL.
    const g = new PvGuest();
    g.p.vcpu.core.u64[RIP >>> 3] = 0x8000_0000_0000n;
    expect(g.run().at).toBe(GP);
    expect(g.stack(4).slice(2)).toEqual([0n, 0x8000_0000_0000n]);
  });

  it("makes no hypercall, may not use its kernel's vectors, and its faults bear the user bit", () => {
    const g = new PvGuest();
    g.trap(0x21, g.handler(G.USER), 1);
    expect(g.user([0xcd, 0x21]).at).toBe(GP);
    const h = new PvGuest().user(STORE_UNMAPPED);
    expect(h.at).toBe(PF);
    expect(h.stack(3)[2]).toBe(6n);
    expect(h.stack(5)[4]! & 0xffffn).toBe(0xe033n);
  });

  it("calls INT 0x80 whatever its DPL, and nothing without a handler", () => {
    const g = new PvGuest();
    g.trap(0x80, g.handler(G.INT_80), 0);
    expect(g.user([0xcd, 0x80]).at).toBe(G.INT_80);
    expect(g.stack(3)[2]).toBe(g.p.at(G.CODE, 2));
    const h = new PvGuest().user([0xcd, 0x80]);
    expect(h.at).toBe(GP);
    expect(h.stack(4).slice(2)).toEqual([0x402n, h.p.at(G.CODE)]);
  });

  it("enters by SYSENTER without address or stack, on Intel's processors", () => {
    const g = new PvGuest();
    g.p.write(8, [2, 5], [2, 1], [4, 0], [8, g.handler(G.SYSENTER)]);
    expect(g.p.call(30, 0, g.p.at(8))).toBe(0);
    expect(g.user([0x0f, 0x34]).at).toBe(G.SYSENTER);
    const [, , rip, cs, , rsp, ss] = g.stack(7);
    expect([rip, cs! & 0xffffn, rsp, ss]).toEqual([0n, 3n, 0n, 0xe02bn]);
    expect(new PvGuest().user([0x0f, 0x34]).at).toBe(GP);
    expect(new PvGuest(G.realMachine("amd")).user([0x0f, 0x34]).at).toBe(UD);
  });

  it("has a GS base of its own, and time of its own in the accounts", () => {
    const g = new PvGuest();
    expect(g.p.call(25, 2, 0x1111000n)).toBe(0);
    expect(g.p.call(25, 1, 0x2222000n)).toBe(0);
    expect(g.p.call(25, 2, 0x1234_5678_9abc_def0n)).toBe(-22);
    g.user([0x90]);
    expect(g.reg(S_GSBASE)).toBe(0x2222000n);
    expect(g.p.vcpu.core.f64[ACCOUNT_USER >>> 3]).toBeGreaterThan(1000);
    g.rip = g.p.at(G.CODE, 0x100);
    g.bytes(G.CODE, 0x100, DIVIDE);
    expect(g.run().at).toBe(DE);
    expect(g.reg(S_GSBASE)).toBe(0x1111000n);
  });

  it("crashes the domain whose kernel has no tables for it, or whose frame can't be read", () => {
    const g = new PvGuest();
    expect(g.p.ext(15, 0)).toBe(0);
    g.user([0x90]);
    expect(g.log).toContain("no user page tables");
    const h = new PvGuest();
    h.iret(h.p.at(G.CODE), 0n);
    h.reg(S_RSP, BigInt(UNMAPPED));
    h.run();
    expect(h.log).toContain("Fault while reading IRET context");
  });
});

it("selectors of the kernel after an entry are Xen's flat ones", () => {
  const g = new PvGuest().user(G.SYSCALL_INSTRUCTION);
  expect([g.selector(CS), g.selector(SS)]).toEqual([0xe033, 0xe02b]);
  expect(g.reg(S_RDX)).toBe(0n);
});

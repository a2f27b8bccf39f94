/** What a PV kernel may do of what is privileged, and what it is refused: emulated instructions, descriptors, callbacks, registers. */
import { describe, expect, it } from "vitest";
import { CR4, DR, RIP, S_RAX, S_RBX, S_RCX, S_RDX, S_RSI, S_RSP, SEG, SEG_STRIDE } from "../../../cpu/arena.ts";
import * as G from "./pv-guest.ts";

const { PvGuest } = G;
type Guest = InstanceType<typeof PvGuest>;
const UD = 6;
const GP = 13;
const PF = 14;
const EINVAL = -22;
const ENOSYS = -38;
const EFAULT = -14;
const EBUSY = -16;
const EPERM = -1;
const ENODEV = -19;
/** Behind the instruction of `length` bytes. */
const behind = (g: Guest, length: number): bigint => g.p.at(G.CODE, length);
const CODE64 = 0x00af_fb00_0000_ffffn;

describe("instructions of a PV kernel", () => {
  it("CPUID by the prefix shows Xen's leaves and hides what a PV guest can't use; without it OSXSAVE is the guest's own", () => {
    const g = new PvGuest();
    g.reg(S_RAX, 0x40000000n);
    g.kernel(G.XEN_CPUID);
    expect(g.rip).toBe(behind(g, 7));
    expect([g.reg(S_RBX), g.reg(S_RCX)]).toEqual([0x566e6558n, 0x65584d4dn]);
    g.reg(S_RAX, 0x40000002n);
    g.kernel(G.XEN_CPUID);
    expect(g.reg(S_RCX)).toBe(1n);
    g.reg(S_RAX, 1n);
    g.kernel(G.XEN_CPUID);
    const forced = g.reg(S_RCX);
    // PSE, MTRR, PGE; PCID, x2APIC.
    expect(g.reg(S_RDX) & 0x3008n).toBe(0n);
    expect(forced & ((1n << 17n) | (1n << 21n))).toBe(0n);
    expect(forced & (1n << 31n)).toBe(1n << 31n);
    g.reg(S_RAX, 1n);
    g.kernel([0x0f, 0xa2]);
    expect(forced ^ g.reg(S_RCX)).toBe(1n << 27n);
    expect(g.rip).toBe(behind(g, 2));
  });

  it("CPUID faults in user mode if the kernel wants it", () => {
    const g = new PvGuest();
    // mov $0x140, %ecx; mov $1, %eax; xor %edx, %edx; wrmsr
    g.kernel([0xb9, 0x40, 1, 0, 0, 0xb8, 1, 0, 0, 0, 0x31, 0xd2, 0x0f, 0x30]);
    expect(g.rip).toBe(behind(g, 14));
    expect(g.user([0x0f, 0xa2]).at).toBe(GP);
    expect(new PvGuest().user([0x0f, 0xa2]).at).toBe(-1);
  });

  it("a prefix that leads nowhere is #UD, or a page fault where it ends", () => {
    expect(new PvGuest().kernel([0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x90]).at).toBe(UD);
    const g = new PvGuest();
    // The last page that is mapped, without the end of the prefix.
    g.bytes(127, 4094, [0x0f, 0x0b]);
    g.rip = g.p.at(127, 4094);
    expect(g.run().at).toBe(PF);
    expect(g.p.hv.memory.read64(g.p.vcpu.info + 0x10)).toBe(g.p.at(128));
  });

  it("control registers: CR0 but for TS as it is, CR3 in Xen's form, CR4 of its own", () => {
    const g = new PvGuest();
    g.kernel([0x0f, 0x20, 0xc0]);
    expect(g.reg(S_RAX)).toBe(0x80050033n);
    g.kernel([0x0f, 0x20, 0xd8]);
    expect(g.reg(S_RAX)).toBe(BigInt(g.p.mfn(1)) << 12n);
    // or $8, %eax; mov %rax, %cr0; and so with another bit
    g.kernel([0x0f, 0x20, 0xc0, 0x83, 0xc8, 0x08, 0x0f, 0x22, 0xc0]);
    expect(g.rip).toBe(behind(g, 9));
    expect(g.kernel([0x0f, 0x06]).rip).toBe(behind(g, 2));
    g.kernel([0x0f, 0x20, 0xc0, 0x0d, 0, 0, 0, 0x40, 0x0f, 0x22, 0xc0]);
    expect(g.at).toBe(GP);
    const h = new PvGuest();
    h.reg(S_RAX, 0x3ffffffn);
    h.kernel([0x0f, 0x22, 0xe0, 0x0f, 0x20, 0xe0]);
    // TSD, DE, FSGSBASE, OSXSAVE of its choice; PAE, MCE, OSFXSR, OSXMMEXCPT as they are; PCIDE is Xen's affair.
    expect(h.reg(S_RAX)).toBe(0x5066cn);
    expect(h.p.vcpu.core.i32[CR4 >>> 2]! & 0x20000).toBe(0x20000);
    h.reg(S_RAX, 0n);
    expect(h.kernel([0x0f, 0x22, 0xd8]).at).toBe(GP);
  });

  it("MSRs: segment bases, EFER as it is; the APIC's, MTRRs and system call entries are not there", () => {
    const rdmsr = (g: Guest, msr: number): Guest => {
      g.reg(S_RCX, BigInt(msr));
      return g.kernel([0x0f, 0x32]);
    };
    const g = new PvGuest();
    expect(rdmsr(g, 0xc0000080).reg(S_RAX)).toBe(0xd01n);
    expect(g.kernel([0x0f, 0x30]).rip).toBe(behind(g, 2));
    g.reg(S_RCX, 0xc0000100n);
    g.reg(S_RAX, 0x5000n);
    g.reg(S_RDX, 0n);
    expect(g.kernel([0x0f, 0x30]).reg(0xe8)).toBe(0x5000n);
    g.reg(S_RDX, 0x8000n);
    expect(g.kernel([0x0f, 0x30]).at).toBe(GP);
    for (const msr of [0x800, 0x2ff, 0xc0000082, 0xc0000081, 0x40000001]) expect(rdmsr(new PvGuest(), msr).at).toBe(GP);
    // Without a handler the guest reads 0, but for what no processor has.
    const h = new PvGuest();
    h.trap(GP, 0n);
    h.p.vcpu.pv!.traps[GP]!.eipLo = 0;
    expect(rdmsr(h, 0x2ff).reg(S_RAX)).toBe(0n);
    expect(h.log).toContain("faking RDMSR 0x000002ff");
  });

  it("privileged instructions are #GP in user mode, and those that Xen does not emulate for the kernel too", () => {
    for (const code of [[0x0f, 0x20, 0xc0], [0x0f, 0x06], [0x0f, 0x09], [0x0f, 0x32], [0xfa], [0xe4, 0x42], [0xf4]])
      expect(new PvGuest().user(code).at, code.join()).toBe(GP);
    for (const code of [[0xf4], [0x0f, 0x01, 0x38], [0x0f, 0x01, 0xf8], [0x0f, 0x08], [0x0f, 0x00, 0xd8]])
      expect(new PvGuest().kernel(code).at, code.join()).toBe(GP);
    expect(new PvGuest().kernel([0x0f, 0x09]).at).toBe(-1);
  });

  it("ports and CLI by the I/O privilege level that it asks for, or its bitmap; there is nothing behind them", () => {
    const g = new PvGuest();
    expect(g.kernel([0xfa]).at).toBe(GP);
    g.p.write(8, [4, 4]);
    expect(g.p.call(33, 6, g.p.at(8))).toBe(EINVAL);
    g.p.write(8, [4, 1]);
    expect(g.p.call(33, 6, g.p.at(8))).toBe(0);
    expect(g.kernel([0xfa, 0xfb, 0xe4, 0x60]).rip).toBe(behind(g, 4));
    expect(g.reg(S_RAX) & 0xffn).toBe(0xffn);
    // out %al, $0x70; in $0x70, %al
    expect(g.kernel([0xb0, 0x0f, 0xe6, 0x70, 0xe4, 0x70]).reg(S_RAX) & 0xffn).toBe(0x0fn);
    expect(g.user([0xe4, 0x60]).at).toBe(GP);
    const h = new PvGuest();
    h.p.write(G.OWN, [0, 13], [1, 0xfe], [0, 4082]);
    h.p.write(8, [8, h.p.at(G.OWN)], [4, 4096]);
    expect(h.p.call(33, 7, h.p.at(8))).toBe(0);
    expect(h.user([0xe4, 0x68]).at).toBe(-1);
    h.p.write(8, [8, 0xffff_8000_0000_0000n], [4, 4096]);
    expect(h.p.call(33, 7, h.p.at(8))).toBe(EINVAL);
  });

  it("OUTS in pieces, with the page fault where the string ends", () => {
    const g = new PvGuest();
    g.p.write(8, [4, 1]);
    g.p.call(33, 6, g.p.at(8));
    g.reg(S_RDX, 0x80n);
    g.reg(S_RCX, 200n);
    g.reg(S_RSI, g.p.at(127, 4096 - 150));
    expect(g.kernel([0xf3, 0x6e], 2_000_000).at).toBe(PF);
    expect([g.stack(2)[0], g.reg(S_RSI)]).toEqual([50n, g.p.at(128)]);
    expect(g.stack(4)[3]).toBe(g.p.at(G.CODE));
  });
});

describe("descriptors", () => {
  /** A GDT of one page with these descriptors. */
  const setGdt = (g: Guest, ...descriptors: bigint[]): number => {
    g.p.write(G.GDT, ...descriptors.map((d) => [8, d] as const));
    expect(g.p.protect(G.GDT)).toBe(0);
    g.p.write(8, [8, g.p.mfn(G.GDT)]);
    return g.p.call(2, g.p.at(8), 512);
  };

  it("of ring 0 become the kernel's own; gates other than call gates are refused", () => {
    const g = new PvGuest();
    expect(setGdt(g, 0n, 0n, 0x00af_9b00_0000_ffffn)).toBe(0);
    expect(g.p.get(G.GDT, 2)).toBe(CODE64);
    const refused = [
      0x0000_8900_0000_0067n, // TSS
      0x0000_8200_0000_ffffn, // LDT
      0x0000_8e00_0008_0000n, // interrupt gate
      0x0000_8c00_e008_0000n, // call gate into Xen
      0x0000_8c05_0010_0000n, // with parameters
    ];
    for (const d of refused) expect(setGdt(new PvGuest(), 0n, d), d.toString(16)).toBe(EINVAL);
    const h = new PvGuest();
    expect(setGdt(h, 0n, 0x0000_ec00_0010_0000n, 0n)).toBe(0);
    // DPL 0, and the guest's in the selector.
    expect(h.p.get(G.GDT, 1)).toBe(0x0000_8c00_0013_0000n);
  });

  it("are refused in frames that are writable, tables, foreign or not there, and in too many", () => {
    const g = new PvGuest();
    const set = (mfn: number, entries = 512): number => {
      g.p.write(8, [8, mfn]);
      return g.p.call(2, g.p.at(8), entries);
    };
    expect(set(g.p.mfn(G.GDT))).toBe(EINVAL);
    expect(set(g.p.mfn(1))).toBe(EINVAL);
    expect(set(0)).toBe(EINVAL);
    expect(set(0x7fffffff)).toBe(EINVAL);
    expect(set(g.p.mfn(G.GDT), 7169)).toBe(EINVAL);
    expect(g.p.call(2, 0x7000_0000, 512)).toBe(EFAULT);
    expect(g.p.call(2, 0, 0)).toBe(0);
  });

  it("a page of them can't be written, only by update_descriptor, which checks", () => {
    const g = new PvGuest();
    expect(setGdt(g, 0n)).toBe(0);
    // mov %rax, GDT page
    const address = Number(g.p.at(G.GDT));
    const store = [0x48, 0x89, 0x04, 0x25, ...[0, 8, 16, 24].map((shift) => (address >>> shift) & 0xff)];
    expect(g.kernel(store).at).toBe(PF);
    expect(g.p.call(14, g.p.at(G.GDT), g.p.entry(G.GDT, 0x67), 0)).toBe(EBUSY);
    const machine = BigInt(g.p.mfn(G.GDT)) << 12n;
    expect(g.p.call(10, machine + 16n, CODE64)).toBe(0);
    expect(g.p.get(G.GDT, 2)).toBe(CODE64);
    expect(g.p.call(10, machine + 4n, CODE64)).toBe(EINVAL);
    expect(g.p.call(10, machine + 16n, 0x0000_8900_0000_0067n)).toBe(EINVAL);
    expect(g.p.call(10, BigInt(g.p.mfn(1)) << 12n, CODE64)).toBe(EINVAL);
    expect(g.p.call(10, 0n, CODE64)).toBe(EINVAL);
  });

  it("are loaded by iret, and from an LDT whose pages come when they are needed", () => {
    const g = new PvGuest();
    expect(setGdt(g, 0n, 0n, CODE64, 0x00cf_f300_0000_ffffn)).toBe(0);
    g.bytes(G.CODE, 0, G.STOP);
    g.iret(g.p.at(G.CODE), g.p.at(G.USER_STACK, 4096), 0x13, 0x1b);
    g.run();
    expect([g.at, g.selector(1), g.selector(2)]).toEqual([-1, 0x13, 0x1b]);
    const h = new PvGuest();
    h.p.write(G.LDT, [8, 0], [8, 0x00cf_f300_0000_ffffn]);
    expect(h.p.protect(G.LDT)).toBe(0);
    expect(h.p.ext(13, h.p.at(G.LDT), 2)).toBe(0);
    // mov $0xf, %eax; mov %eax, %ds; mov $0x17, %eax; mov %eax, %ds
    h.kernel([0xb8, 0x0f, 0, 0, 0, 0x8e, 0xd8, 0xb8, 0x17, 0, 0, 0, 0x8e, 0xd8]);
    expect([h.selector(3), h.at, h.stack(3)[2]]).toEqual([0x0f, GP, 0x14n]);
    const k = new PvGuest();
    expect(k.p.ext(13, 0x7000_0000, 2)).toBe(0);
    expect(k.kernel([0xb8, 0x0f, 0, 0, 0, 0x8e, 0xd8]).at).toBe(PF);
    expect(k.p.hv.memory.read64(k.p.vcpu.info + 0x10)).toBe(0x7000_0008n);
  });

  it("that have gone when the vcpu is switched to make its selector null, and call the failsafe", () => {
    const g = new PvGuest();
    expect(setGdt(g, 0n, 0n, 0n, 0x00cf_f300_0000_ffffn)).toBe(0);
    g.kernel([0xb8, 0x1b, 0, 0, 0, 0x8e, 0xd8]);
    expect(g.selector(3)).toBe(0x1b);
    expect(g.p.call(10, (BigInt(g.p.mfn(G.GDT)) << 12n) + 24n, 0n)).toBe(0);
    // As when another vcpu has run on the same processor.
    g.p.vcpu.pv!.segmentsStale = true;
    g.p.vcpu.pv!.checkEvents = true;
    expect(g.run().at).toBe(G.FAILSAFE);
    expect(g.selector(3)).toBe(0);
    const [, , ds, es, , , rip] = g.stack(7);
    expect([ds, es, rip]).toEqual([0x1bn, 0n, behind(g, 7)]);
  });
});

describe("registers by hypercall", () => {
  it("callbacks and traps at addresses that are not canonical are refused", () => {
    const g = new PvGuest();
    const bad = 0x8000_0000_0000_0000n;
    const register = (type: number, address: bigint): number => {
      g.p.write(8, [2, type], [2, 0], [4, 0], [8, address]);
      return g.p.call(30, 0, g.p.at(8));
    };
    expect(g.trap(0x30, bad)).toBe(EINVAL);
    for (const type of [0, 1, 2, 4, 5, 7]) expect(register(type, bad)).toBe(EINVAL);
    expect(register(3, 0n)).toBe(ENOSYS);
    expect(g.p.call(30, 0, 0x7000_0000)).toBe(EFAULT);
    expect(g.p.call(30, 2, 0)).toBe(ENOSYS);
    // set_callbacks never says so, and keeps what was.
    expect(g.p.call(4, bad, bad, bad)).toBe(0);
    expect(g.user(G.SYSCALL_INSTRUCTION).at).toBe(G.SYSCALL);
  });

  it("a selector of ring 0 in the trap table becomes one of the kernel's", () => {
    const g = new PvGuest();
    g.trap(0x30, g.handler(0), 0, 0xe008);
    expect(g.p.vcpu.pv!.traps[0x30]!.cs).toBe(0xe00b);
  });

  it("FSGSBASE: not before the guest asks for it in CR4", () => {
    // rdfsbase %rax
    const code = [0xf3, 0x48, 0x0f, 0xae, 0xc0];
    expect(new PvGuest().kernel(code).at).toBe(6);
    // mov %cr4, %rax; or $0x10000, %eax; mov %rax, %cr4
    const on = [0x0f, 0x20, 0xe0, 0x0d, 0, 0, 1, 0, 0x0f, 0x22, 0xe0];
    expect(new PvGuest().kernel([...on, ...code, 0x0f, 0x0b]).stack(3)[2]).toBe(new PvGuest().p.at(G.CODE, 16));
  });

  it("debug registers: not at Xen, not with general detect, I/O breakpoints with CR4.DE only", () => {
    const g = new PvGuest();
    expect(g.p.call(8, 0, 0xffff_8200_0000_0000n)).toBe(EPERM);
    expect(g.p.call(8, 0, g.p.at(G.CODE, 1))).toBe(0);
    expect(g.p.call(8, 7, 0x2000)).toBe(EPERM);
    expect(g.p.call(8, 7, 0x1_0000_0000n)).toBe(EINVAL);
    expect(g.p.call(8, 7, 0x20001)).toBe(EPERM);
    expect(g.p.call(8, 8, 0)).toBe(ENODEV);
    expect(g.p.call(9, 8)).toBe(ENODEV);
    expect(g.p.call(8, 7, 1)).toBe(0);
    expect(g.p.call(9, 7)).toBe(0x401);
    expect(g.kernel([0x90, 0x90]).at).toBe(1);
    expect([g.stack(3)[2], g.p.call(9, 6)]).toEqual([g.p.at(G.CODE, 1), 0xffff0ff1]);
    const h = new PvGuest();
    h.reg(S_RAX, 8n);
    h.kernel([0x0f, 0x22, 0xe0]);
    expect(h.p.call(8, 1, 0x80)).toBe(0);
    expect(h.p.call(8, 7, 0x200004)).toBe(0);
    expect(h.p.vcpu.core.i32[(DR + 56) >>> 2]! & 0xff).toBe(0);
    expect(h.p.call(9, 7)).toBe(0x200404);
    h.p.write(8, [4, 1]);
    h.p.call(33, 6, h.p.at(8));
    expect(h.kernel([0xe6, 0x80]).at).toBe(1);
    expect(h.p.call(9, 6) & 0xf).toBe(2);
  });

  it("a breakpoint that MOV SS holds back over an entry into Xen is Xen's affair (XSA-260, XSA-265)", () => {
    const watched = (...code: number[]): Guest => {
      const g = new PvGuest();
      const word = g.p.at(G.OWN);
      g.p.write(G.OWN, [2, 0xe02b]);
      expect(g.p.call(8, 0, word)).toBe(0);
      // DR0 of 2 bytes, read or write
      expect(g.p.call(8, 7, 0x70003)).toBe(0);
      // mov word, %ss
      const load = [0x8e, 0x14, 0x25, ...[0n, 8n, 16n, 24n].map((shift) => Number((word >> shift) & 0xffn))];
      return g.kernel([...load, ...code]);
    };
    const nop = watched(0x90);
    expect([nop.at, nop.stack(3)[2]]).toEqual([1, behind(nop, 8)]);
    // int3; int $4; syscall
    expect(watched(0xcc).at).toBe(3);
    expect(watched(0xcd, 4).at).toBe(4);
    const call = watched(0x0f, 0x05);
    expect([call.at, call.rip]).toEqual([-1, behind(call, 9)]);
    expect(call.p.call(9, 6) & 0xf).toBe(0);
  });

  it("a second vcpu starts from a context, and no bad one", () => {
    const g = new PvGuest();
    const context = (changes: readonly (readonly [number, bigint])[] = []): number => {
      const fields = new Map<number, bigint>([
        [512, 4n], // in kernel
        [520 + 80, 0x77n], // rax
        [520 + 128, g.handler(G.USER)],
        [520 + 136, 0xe030n],
        [520 + 144, 0x202n],
        [520 + 152, g.p.at(G.USER_STACK, 4096)],
        [520 + 160, 0xe028n],
        [4984 + 24, BigInt(g.p.mfn(1)) << 12n],
        ...changes,
      ]);
      for (let at = 0; at < 5168; at += 8) g.p.put(G.OWN + (at >>> 12), (at & 0xfff) / 8, fields.get(at) ?? 0n);
      return g.p.call(24, 0, 1, g.p.at(G.OWN));
    };
    for (const bad of [
      [[520 + 128, 1n << 63n]],
      [[5112, 1n << 63n]],
      [[720 + 8, 1n << 63n]],
      [
        [4816, 0x1001n],
        [4824, 1n],
      ],
      [[4824, 8193n]],
      [[4984 + 24, 0n]],
      [[4984 + 24, BigInt(g.p.mfn(G.OWN)) << 12n]],
      [
        [4960, 512n],
        [4832, BigInt(g.p.mfn(1))],
      ],
      [[512, 0n]],
      [[4984 + 8, BigInt(g.p.mfn(G.OWN)) << 12n]],
    ] as [number, bigint][][])
      expect(context(bad), bad.join(" ")).toBe(EINVAL);
    expect(g.p.call(24, 1, 1, 0)).toBe(EINVAL);
    expect(context()).toBe(0);
    expect(context()).toBe(-17);
    expect(g.p.call(24, 3, 1, 0)).toBe(0);
    expect(g.p.call(24, 1, 1, 0)).toBe(0);
    g.kernel([], 3_000_000);
    const other = g.p.domain.vcpus[1]!.core;
    g.p.domain.pause();
    other.activate();
    expect([other.slot(S_RAX), other.slot(S_RSP)]).toEqual([0x77n, g.p.at(G.USER_STACK, 4096)]);
    expect([other.u64[RIP >>> 3], other.i32[(SEG + SEG_STRIDE) >>> 2]! & 0xffff]).toEqual([g.handler(G.USER), 0xe033]);
  });
});

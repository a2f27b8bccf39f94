/** VCPUOP_initialise with a vcpu_guest_context: what is taken from it, and what is refused. */
import { describe, expect, it } from "vitest";
import * as A from "../../../cpu/arena.ts";
import { EEXIST, EFAULT, EINVAL } from "../../../hypervisor/abi/errno.ts";
import { auditMemory } from "../../../hypervisor/memory/audit.ts";
import { CS, SS } from "../../../hypervisor/pv/registers.ts";
import { FREE, L1, L4, type PvCaller, pvMachine } from "./pv-caller.ts";

/** Pages of the structure. */
const CONTEXT = FREE;
/** Offsets in the 64-bit structure. */
const FLAGS = 512;
const USER_RIP = 648;
const USER_CS = 656;
const RFLAGS = 664;
const USER_SS = 680;
const TRAP_ADDRESS = 720 + 14 * 16 + 8;
const LDT = 4816;
const GDT_FRAMES = 4832;
const GDT_ENTRIES = 4960;
const CR3 = 5008;
const CR1 = 4992;
const DR7 = 5048 + 56;
const EVENT = 5112;
const GS_KERNEL = 5152;
const IN_KERNEL = 4;

function context(c: PvCaller, fields: Record<number, bigint> = {}): bigint {
  const all = { [FLAGS]: BigInt(IN_KERNEL), [CR3]: BigInt(c.mfn(L4)) << 12n, ...fields };
  for (const [offset, value] of Object.entries(all)) {
    const at = Number(offset);
    c.put(CONTEXT + (at >>> 12), (at & 0xfff) >>> 3, value);
  }
  return c.at(CONTEXT);
}
const initialise = (c: PvCaller, fields: Record<number, bigint> = {}): number => c.call(24, 0, 1, context(c, fields));

describe("VCPUOP_initialise", () => {
  it("makes a vcpu with the kernel's selectors, no privilege, and the FPU of the context", () => {
    const c = pvMachine();
    const fpu: Record<number, bigint> = { 0: 0x27fn, 24: 0x1fa0n, 160: 0x1122334455667788n };
    const rc = initialise(c, {
      ...fpu,
      [FLAGS]: 5n,
      [USER_CS]: 8n,
      [USER_SS]: 0n,
      [RFLAGS]: 0x3002n,
      [USER_RIP]: c.at(20),
    });
    expect(rc).toBe(0);
    const { core } = c.domain.vcpus[1]!;
    core.activate();
    expect([core.i32[CS]! & 0xffff, core.i32[SS]! & 0xffff]).toEqual([8 | 3, 3]);
    expect([core.i32[A.FPU_CW >>> 2]! & 0xffff, core.i32[A.MXCSR >>> 2], core.u64[A.XMM >>> 3]]).toEqual([
      0x27f,
      0x1fa0,
      0x1122334455667788n,
    ]);
    expect(core.u64[A.RIP >>> 3]).toBe(c.at(20));
    // The IOPL is Xen's; interrupts stay on.
    expect(core.i32[A.RFLAGS_SYS >>> 2]! & 0x3200).toBe(0x200);
    expect(c.domain.vcpus[1]!.pv!.iopl).toBe(0x3000);
    expect(initialise(c)).toBe(-EEXIST);
    expect(auditMemory(c.hv)).toEqual([]);
  });

  it("starts with a fresh FPU without the flag", () => {
    const c = pvMachine();
    expect(initialise(c, { 0: 0x27fn, 24: 0x1fa0n, 160: 1n })).toBe(0);
    const { core } = c.domain.vcpus[1]!;
    core.activate();
    expect([core.i32[A.FPU_CW >>> 2]! & 0xffff, core.i32[A.MXCSR >>> 2], core.u64[A.XMM >>> 3]]).toEqual([
      0x37f,
      0x1f80,
      0n,
    ]);
  });

  const NON_CANONICAL = 0x8000_0000_0000n;
  const bad: [string, (c: PvCaller) => Record<number, bigint>][] = [
    ["RIP", () => ({ [USER_RIP]: NON_CANONICAL })],
    ["a trap's address", () => ({ [TRAP_ADDRESS]: NON_CANONICAL })],
    ["the event callback", () => ({ [EVENT]: NON_CANONICAL })],
    ["the kernel's GS base", () => ({ [GS_KERNEL]: NON_CANONICAL })],
    ["an LDT in Xen's part", () => ({ [LDT]: 0xffff_8200_0000_0000n, [LDT + 8]: 1n })],
    ["an LDT that is not aligned", (c) => ({ [LDT]: c.at(FREE) + 8n, [LDT + 8]: 1n })],
    ["an LDT of too many entries", (c) => ({ [LDT]: c.at(FREE), [LDT + 8]: 8193n })],
    ["a GDT frame that is writable", (c) => ({ [GDT_FRAMES]: BigInt(c.mfn(FREE + 5)), [GDT_ENTRIES]: 512n })],
    ["a GDT frame of nobody", () => ({ [GDT_FRAMES]: 0x7fff_ffffn, [GDT_ENTRIES]: 512n })],
    ["a GDT with Xen's entries", (c) => ({ [GDT_FRAMES]: BigInt(c.mfn(FREE + 5)), [GDT_ENTRIES]: 8192n })],
    ["CR3 of a writable page", (c) => ({ [CR3]: BigInt(c.mfn(FREE + 5)) << 12n })],
    ["CR3 of an L1", (c) => ({ [CR3]: BigInt(c.mfn(L1)) << 12n })],
    ["CR3 of Xen's frame", (c) => ({ [CR3]: BigInt(c.hv.m2p!.frames[0]!) << 12n })],
    ["no CR3", () => ({ [CR3]: 0x7fff_ffff_f000n })],
    ["a user's table that is a page", (c) => ({ [CR1]: BigInt(c.mfn(FREE + 5)) << 12n })],
    ["user mode without tables", () => ({ [FLAGS]: 0n })],
  ];
  it.each(bad)("refuses %s, and leaves nothing behind", (_name, fields) => {
    const c = pvMachine();
    expect(initialise(c, fields(c))).toBe(-EINVAL);
    expect(auditMemory(c.hv)).toEqual([]);
    expect(c.call(24, 1, 1, 0)).toBe(-EINVAL);
    // It can be done right afterwards.
    const all = Object.fromEntries(Object.keys(fields(c)).map((key) => [key, 0n]));
    expect(initialise(c, { ...all, [FLAGS]: BigInt(IN_KERNEL), [CR3]: BigInt(c.mfn(L4)) << 12n })).toBe(0);
  });

  it("can't set breakpoints on Xen, nor general detect", () => {
    const c = pvMachine();
    expect(initialise(c, { [DR7 - 56]: 0xffff_8300_0000_0000n, [DR7]: 0x2001n })).toBe(0);
    const vcpu = c.domain.vcpus[1]!;
    vcpu.core.activate();
    expect(c.call(24, 0, 1, 0x7000)).toBe(-EFAULT);
    expect(vcpu.pv!.dr7Emul).toBe(0);
  });
});

import { describe, expect, it } from "vitest";
import { CR2, RFLAGS_SYS, RIP } from "../../../cpu/arena.ts";
import { FLAGS_ARITHMETIC, getFlags, setArithmeticFlags } from "../../../cpu/flags.ts";
import { Engine } from "../../../cpu/run.ts";
import { auditMemory } from "../../../hypervisor/memory/audit.ts";
import { TBF_EXCEPTION } from "../../../hypervisor/pv/inject.ts";
import { pageFault } from "../../../hypervisor/pv/page-fault.ts";
import { Random } from "../../support/random.ts";
import { FakeMachine, MIB } from "../fake-machine.ts";
import { FREE, L1, P, PvCaller, pvMachine, RO, RWX } from "./pv-caller.ts";

const CODE = FREE;
/** The same instruction is executed on this page by the engine. */
const DATA = FREE + 1;
/** An L1 that is used for nothing. */
const TABLE = FREE + 2;
const INDEX = 7;
const PRESENT_WRITE = 3;

/** Registers by number; RDI is the address. */
const RAX = 0;
const RCX = 1;
const RDI = 7;
const slot = (n: number): number => n * 8;

function machine(): PvCaller {
  const c = new PvCaller(new FakeMachine({ cpuLevel: "x86-64-v3" }, 64 * MIB));
  c.protect(TABLE);
  expect(c.ext(0, c.mfn(TABLE))).toBe(0);
  return c;
}

function load(c: PvCaller, code: number[], registers: Record<number, bigint>, flags = 2): void {
  const { core } = c.vcpu;
  core.activate();
  // With UD2 behind it, so that it is the only one.
  c.write(CODE, ...[...code, 0x0f, 0x0b].map((b): [number, number] => [1, b]));
  core.u64[RIP >>> 3] = c.at(CODE);
  for (const [n, value] of Object.entries(registers)) core.setSlot(slot(Number(n)), value);
  setArithmeticFlags(core, flags & FLAGS_ARITHMETIC);
  core.i32[RFLAGS_SYS >>> 2] = 0x202;
}

/** The fault that a write at `address` is. @returns false if the guest gets it */
function fault(c: PvCaller, address: bigint): boolean {
  pageFault(c.vcpu, Number(BigInt.asIntN(32, address)), Number(BigInt.asIntN(32, address >> 32n)), PRESENT_WRITE);
  const refused = (c.vcpu.pv!.bounceFlags & TBF_EXCEPTION) !== 0;
  c.vcpu.pv!.bounceFlags = 0;
  return !refused;
}

const word = (n: number): number[] => [0, 8, 16, 24].map((s) => (n >>> s) & 0xff);

/** Instructions whose memory operand is [rdi]: bytes of the operand, code. */
const FORMS: readonly [name: string, bytes: number, code: number[]][] = [
  ["mov [rdi], rax", 8, [0x48, 0x89, 0x07]],
  ["mov [rdi], eax", 4, [0x89, 0x07]],
  ["mov [rdi], ax", 2, [0x66, 0x89, 0x07]],
  ["mov [rdi], ah", 1, [0x88, 0x27]],
  ["mov qword [rdi], imm", 8, [0x48, 0xc7, 0x07, ...word(0x12345670)]],
  ["movnti [rdi], rcx", 8, [0x48, 0x0f, 0xc3, 0x0f]],
  ["xchg [rdi], rax", 8, [0x48, 0x87, 0x07]],
  ["xchg [rdi], cl", 1, [0x86, 0x0f]],
  ["lock cmpxchg [rdi], rcx", 8, [0xf0, 0x48, 0x0f, 0xb1, 0x0f]],
  ["cmpxchg [rdi], ecx", 4, [0x0f, 0xb1, 0x0f]],
  ["lock cmpxchg8b [rdi]", 8, [0xf0, 0x0f, 0xc7, 0x0f]],
  ["lock and byte [rdi], 0xfc", 1, [0xf0, 0x80, 0x27, 0xfc]],
  ["or [rdi], ecx", 4, [0x09, 0x0f]],
  ["xor [rdi], rcx", 8, [0x48, 0x31, 0x0f]],
  ["lock btr qword [rdi], 1", 8, [0xf0, 0x48, 0x0f, 0xba, 0x37, 1]],
  ["bts qword [rdi], 61", 8, [0x48, 0x0f, 0xba, 0x2f, 61]],
  ["btc dword [rdi], 9", 4, [0x0f, 0xba, 0x3f, 9]],
  ["add [rdi], rcx", 8, [0x48, 0x01, 0x0f]],
  ["adc [rdi], ecx", 4, [0x11, 0x0f]],
  ["sub [rdi], cx", 2, [0x66, 0x29, 0x0f]],
  ["sbb [rdi], cl", 1, [0x18, 0x0f]],
  ["lock xadd [rdi], rcx", 8, [0xf0, 0x48, 0x0f, 0xc1, 0x0f]],
  ["inc dword [rdi]", 4, [0xff, 0x07]],
  ["dec word [rdi]", 2, [0x66, 0xff, 0x0f]],
  ["neg qword [rdi]", 8, [0x48, 0xf7, 0x1f]],
  ["not byte [rdi]", 1, [0xf6, 0x17]],
  ["lock adc qword [rdi], imm", 8, [0xf0, 0x48, 0x83, 0x17, 0x7e]],
  ["shl dword [rdi], 3", 4, [0xc1, 0x27, 3]],
  ["shr qword [rdi], cl", 8, [0x48, 0xd3, 0x2f]],
  ["sar word [rdi], 1", 2, [0x66, 0xd1, 0x3f]],
  ["rol byte [rdi], cl", 1, [0xd2, 0x07]],
  ["ror qword [rdi], 9", 8, [0x48, 0xc1, 0x0f, 9]],
  ["rcl dword [rdi], cl", 4, [0xd3, 0x17]],
  ["rcr qword [rdi], 17", 8, [0x48, 0xc1, 0x1f, 17]],
  ["shld [rdi], rcx, 7", 8, [0x48, 0x0f, 0xa4, 0x0f, 7]],
  ["shrd [rdi], ebx, cl", 4, [0x0f, 0xad, 0x1f]],
  ["setc [rdi]", 1, [0x0f, 0x92, 0x07]],
  ["setng [rdi]", 1, [0x0f, 0x9e, 0x07]],
  ["cmpxchg [rdi], bh", 1, [0x0f, 0xb0, 0x3f]],
  ["movbe [rdi], rcx", 8, [0x48, 0x0f, 0x38, 0xf1, 0x0f]],
  ["movbe [rdi], ecx", 4, [0x0f, 0x38, 0xf1, 0x0f]],
  ["movbe [rdi], cx", 2, [0x66, 0x0f, 0x38, 0xf1, 0x0f]],
  ["stosq", 8, [0x48, 0xab]],
  ["mov [rdi+rcx*0+disp]", 4, [0x89, 0x87, ...word(0)]],
];

describe("a write to a page table by an ordinary instruction", () => {
  // Linking an engine takes long: one for all.
  const c = machine();
  const engine = new Engine(c.vcpu.core);
  // Which is to come back at the UD2.
  c.hv.pvInEngine = false;

  it.each(FORMS)("%s does what the processor does", (_name, bytes, code) => {
    const { core } = c.vcpu;
    const random = new Random(bytes * 7 + code.length);
    // Narrow operands in the upper half, so that no entry becomes present.
    const offset = bytes === 8 ? 0 : 4;
    let compared = 0;
    for (let n = 0; n < 40; n++) {
      const even = (): bigint => random.bits(64) & ~1n;
      const old = offset === 0 ? even() : random.bits(32) << 32n;
      const rax = n % 3 === 0 ? (offset === 0 ? old : old >> 32n) : even();
      const registers = { [RAX]: rax, [RCX]: even(), 2: old >> 32n, 3: even() };
      const flags = Number(random.bits(12));
      c.put(DATA, INDEX, old);
      load(c, code, { ...registers, [RDI]: c.at(DATA, INDEX * 8 + offset) }, flags);
      engine.run(core, core.now() + 1);
      const wanted = [0, 1, 2, 3].map((r) => core.slot(slot(r)));
      const wantedFlags = getFlags(core) & FLAGS_ARITHMETIC;
      const wantedRip = core.u64[RIP >>> 3];
      const stored = c.get(DATA, INDEX);
      // Random entries may not be there.
      if ((stored & 1n) !== 0n) continue;
      compared++;

      expect(c.set(TABLE, INDEX, old)).toBe(0);
      const address = c.at(TABLE, INDEX * 8 + offset);
      load(c, code, { ...registers, [RDI]: address }, flags);
      expect(fault(c, address)).toBe(true);
      expect(c.get(TABLE, INDEX)).toBe(stored);
      expect([0, 1, 2, 3].map((r) => core.slot(slot(r)))).toEqual(wanted);
      expect(getFlags(core) & FLAGS_ARITHMETIC).toBe(wantedFlags);
      expect(core.u64[RIP >>> 3]).toBe(wantedRip);
    }
    expect(compared).toBeGreaterThan(10);
  });

  it("makes and ends mappings with their references", () => {
    const c = machine();
    const address = c.at(TABLE, INDEX * 8);
    const { counts } = c.hv.pageTypes;
    load(c, [0x48, 0x89, 0x07], { [RAX]: c.entry(FREE + 5, RWX), [RDI]: address });
    expect(fault(c, address)).toBe(true);
    expect(counts[c.mfn(FREE + 5)]).toBe(2);
    expect(auditMemory(c.hv)).toEqual([]);
    load(c, [0x48, 0x87, 0x07], { [RAX]: 0n, [RDI]: address });
    expect(fault(c, address)).toBe(true);
    expect(counts[c.mfn(FREE + 5)]).toBe(1);
    expect(c.vcpu.core.slot(slot(RAX)) & ~0x100n).toBe(c.entry(FREE + 5, RWX));
    expect(auditMemory(c.hv)).toEqual([]);
  });

  it("is the guest's fault if the entry may not be, and changes nothing then", () => {
    const c = machine();
    const address = c.at(TABLE, INDEX * 8);
    load(c, [0x48, 0x87, 0x07], { [RAX]: c.entry(L1, RWX), [RDI]: address });
    expect(fault(c, address)).toBe(false);
    expect([c.get(TABLE, INDEX), c.vcpu.core.slot(slot(RAX))]).toEqual([0n, c.entry(L1, RWX)]);
    load(c, [0x48, 0x89, 0x07], { [RAX]: (BigInt(c.hv.m2p!.frames[0]!) << 12n) | BigInt(P), [RDI]: address });
    expect(fault(c, address)).toBe(false);
    expect(c.vcpu.core.u64[RIP >>> 3]).toBe(c.at(CODE));
  });

  it("by PUSH and POP moves the stack pointer, which may point into the table", () => {
    const c = machine();
    const { core } = c.vcpu;
    const address = c.at(TABLE, INDEX * 8);
    const value = c.entry(FREE + 5, RO);
    const RSP = 4;
    for (const code of [[0x50], [0x68, ...word(0x1234)], [0x9c]]) {
      expect(c.set(TABLE, INDEX, 0n)).toBe(0);
      load(c, code, { [RAX]: value, [RSP]: address + 8n });
      expect(fault(c, address)).toBe(true);
      expect(core.slot(slot(RSP))).toBe(address);
      expect(core.u64[RIP >>> 3]).toBe(c.at(CODE, code.length));
      const wanted = code[0] === 0x50 ? value : code[0] === 0x68 ? 0x1234n : 0x202n;
      expect(c.get(TABLE, INDEX) & ~0x100n).toBe(wanted);
    }
    // pop qword [rdi]
    c.put(DATA, 3, value);
    load(c, [0x8f, 0x07], { [RDI]: address, [RSP]: c.at(DATA, 24) });
    expect(fault(c, address)).toBe(true);
    expect([core.slot(slot(RSP)), c.get(TABLE, INDEX) & ~0x100n]).toEqual([c.at(DATA, 32), value]);
    expect(auditMemory(c.hv)).toEqual([]);
  });

  it("reads from elsewhere byte by byte, and faults there", () => {
    const c = machine();
    const address = c.at(TABLE, INDEX * 8);
    c.put(DATA, 511, 0x5a00n << 48n);
    // movsw, whose source ends with the page.
    load(c, [0x66, 0xa5], { [RDI]: address + 4n, 6: c.at(DATA, 4094) });
    expect(fault(c, address + 4n)).toBe(true);
    expect(c.get(TABLE, INDEX)).toBe(0x5a00n << 32n);
    load(c, [0x48, 0xa5], { [RDI]: address, 6: 0x7000n });
    expect(fault(c, address)).toBe(false);
    expect(c.vcpu.core.u64[CR2 >>> 3]).toBe(0x7000n);
    expect(c.vcpu.core.u64[RIP >>> 3]).toBe(c.at(CODE));
  });

  it.each([
    ["lock cmpxchg16b [rdi]", [0xf0, 0x48, 0x0f, 0xc7, 0x0f]],
    ["movq [rdi], xmm0", [0x66, 0x0f, 0xd6, 0x07]],
    ["movq [rdi], mm0", [0x0f, 0x7f, 0x07]],
    ["movups [rdi], xmm0", [0x0f, 0x11, 0x07]],
    ["fstp qword [rdi]", [0xdd, 0x1f]],
    ["mov [rdi], ds", [0x8c, 0x1f]],
    ["push qword [rdi]", [0xff, 0x37]],
    ["cmp [rdi], eax", [0x39, 0x07]],
    ["fxsave [rdi]", [0x0f, 0xae, 0x07]],
  ] as const)("%s is none that Xen emulates", (_name, code) => {
    const c = machine();
    const address = c.at(TABLE, 16 * INDEX);
    load(c, [...code], { [RDI]: address });
    expect(fault(c, address)).toBe(false);
    expect(c.vcpu.core.u64[RIP >>> 3]).toBe(c.at(CODE));
  });

  it("of a refused result leaves flags and registers as they were", () => {
    const c = machine();
    const address = c.at(TABLE, INDEX * 8);
    expect(c.set(TABLE, INDEX, c.entry(FREE + 5, RO))).toBe(0);
    const before = c.get(TABLE, INDEX);
    const add = c.entry(L1, RWX) - before;
    load(c, [0xf0, 0x48, 0x0f, 0xc1, 0x0f], { [RCX]: BigInt.asUintN(64, add), [RDI]: address }, 0xd5);
    expect(fault(c, address)).toBe(false);
    expect([c.get(TABLE, INDEX), c.vcpu.core.slot(slot(RCX))]).toEqual([before, BigInt.asUintN(64, add)]);
    expect(getFlags(c.vcpu.core) & FLAGS_ARITHMETIC).toBe(0xd5 & FLAGS_ARITHMETIC);
  });

  it("of two elements by REP STOS is done one after the other", () => {
    const c = machine();
    const address = c.at(TABLE, INDEX * 8);
    load(c, [0xf3, 0x48, 0xab], { [RAX]: c.entry(FREE + 5, RO), [RCX]: 2n, [RDI]: address });
    expect(fault(c, address)).toBe(true);
    expect([c.vcpu.core.slot(slot(RCX)), c.vcpu.core.u64[RIP >>> 3]]).toEqual([1n, c.at(CODE)]);
    expect(fault(c, address + 8n)).toBe(true);
    expect([c.vcpu.core.slot(slot(RCX)), c.vcpu.core.u64[RIP >>> 3]]).toEqual([0n, c.at(CODE, 3)]);
    expect(c.get(TABLE, INDEX + 1) & ~0x100n).toBe(c.entry(FREE + 5, RO));
  });

  it("is emulated for L1 tables, aligned, in the page of the fault, and by known instructions only", () => {
    const c = machine();
    const address = c.at(TABLE, INDEX * 8);
    const mov = [0x48, 0x89, 0x07];
    load(c, mov, { [RAX]: 0n, [RDI]: address + 4n });
    expect(fault(c, address + 4n)).toBe(false);
    load(c, mov, { [RAX]: 0n, [RDI]: c.at(DATA) });
    expect(fault(c, address)).toBe(false);
    load(c, mov, { [RAX]: 0n, [RDI]: c.at(3) });
    expect(fault(c, c.at(3))).toBe(false);
    // fistp qword [rdi]
    load(c, [0xdf, 0x3f], { [RDI]: address });
    expect(fault(c, address)).toBe(false);
    // A page that is just read-only.
    c.protect(DATA);
    load(c, mov, { [RAX]: 0n, [RDI]: c.at(DATA) });
    expect(fault(c, c.at(DATA))).toBe(false);
  });

  it("finds the operand by base, index, displacement, RIP and segment, and bits beyond the operand", () => {
    const c = machine();
    const address = c.at(TABLE, INDEX * 8);
    const value = c.entry(FREE + 5, RO);
    const forms: [number[], Record<number, bigint>][] = [
      [[0x48, 0x89, 0x44, 0xcf, 0xf8], { [RDI]: address - 16n, [RCX]: 3n }],
      [[0x48, 0x89, 0x05, ...word(Number(address - c.at(CODE, 7)))], {}],
      [[0x48, 0xa3, ...word(Number(address)), 0, 0, 0, 0], {}],
      [[0x67, 0x48, 0x89, 0x07], { [RDI]: address | (5n << 32n) }],
    ];
    for (const [code, registers] of forms) {
      expect(c.set(TABLE, INDEX, 0n)).toBe(0);
      load(c, code, { [RAX]: value, ...registers });
      expect(fault(c, address)).toBe(true);
      expect(c.get(TABLE, INDEX) & ~0x100n).toBe(value);
    }
    // btr [rdi], rcx with a bit number of the entry before.
    load(c, [0x48, 0x0f, 0xb3, 0x0f], { [RDI]: address + 8n, [RCX]: -64n & (2n ** 64n - 1n) });
    expect(fault(c, address)).toBe(true);
    expect(c.get(TABLE, INDEX) & 1n).toBe(0n);
  });
});

describe("32-bit guests", () => {
  it("may write the upper half of an entry first", () => {
    const c = pvMachine({ type: "pv32" });
    c.call(14, c.at(TABLE), c.entry(TABLE, P), 0, 0);
    expect(c.ext(0, c.mfn(TABLE))).toBe(0);
    const address = c.at(TABLE, INDEX * 8);
    expect(c.set(TABLE, INDEX, c.entry(FREE + 5, P))).toBe(0);
    // mov [edi+4], eax: the frame is beyond memory for a moment.
    load(c, [0x89, 0x47, 0x04], { [RAX]: 0xffn, [RDI]: address });
    expect(fault(c, address + 4n)).toBe(true);
    expect(c.get(TABLE, INDEX)).toBe((c.entry(FREE + 5, 0) & 0xffffffffn) | (0xffn << 32n));
    expect(auditMemory(c.hv)).toEqual([]);
  });
});

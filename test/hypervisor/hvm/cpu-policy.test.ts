/** What a domain's CPU policy shows and refuses, and what the machine's model has. */
import { describe, expect, it } from "vitest";
import { CPU_LEVELS } from "../../../cpu/system/cpu-model.ts";
import { SHUTDOWN_crash, SHUTDOWN_poweroff } from "../../../hypervisor/abi/sched.ts";
import { type CpuidRegister, type CpuidRule, ruleError } from "../../../hypervisor/hvm/cpu-policy.ts";
import { guestCpuid } from "../../../hypervisor/hvm/cpuid.ts";
import { HLT, type Ran, run } from "./code-guest.ts";

/** A rule for one bit. */
function bit(leaf: number, register: CpuidRegister, at: number, value: string, subleaf?: number): CpuidRule {
  const bits = "x".repeat(31 - at) + value + "x".repeat(at);
  return { leaf, ...(subleaf !== undefined && { subleaf }), register, bits };
}

const guest = (options: Parameters<typeof run>[1] = {}): Ran => run([HLT], options);

/** A register of CPUID as the guest reads it. */
function read({ domain }: Ran, leaf: number, register: CpuidRegister, subleaf = 0): number {
  return guestCpuid(domain.vcpus[0]!, leaf, subleaf)[register];
}

const POPCNT = [0xf3, 0x0f, 0xb8, 0xc0];
const SSE2_BIT = 26;
const SSE4_2_BIT = 20;
const POPCNT_BIT = 23;
const XSAVE_BIT = 26;
/** mov eax, cr4; or eax, bits; mov cr4, eax */
const setCr4 = (bits: number): number[] => [
  ...[0x0f, 0x20, 0xe0, 0x0d, bits & 255, (bits >> 8) & 255, (bits >> 16) & 255, 0, 0x0f, 0x22, 0xe0],
];
const CR4_OSXSAVE = 0x40000;
const CR4_SMEP = 0x100000;
/** mov eax, value; xor edx, edx; xor ecx, ecx; xsetbv */
const setXcr0 = (value: number): number[] => [0xb8, value, 0, 0, 0, 0x31, 0xd2, 0x31, 0xc9, 0x0f, 0x01, 0xd1];

describe("the machine's model", () => {
  it.each(["intel", "amd"] as const)("has features by level on %s", (cpu) => {
    const [v1, v2, v3] = CPU_LEVELS.map((cpuLevel) => guest({ cpu, cpuLevel })) as [Ran, Ran, Ran];
    const ecx = [v1, v2, v3].map((r) => read(r, 1, "ecx"));
    // SSE3, SSSE3, CX16, SSE4.1, SSE4.2, POPCNT come with v2; PCLMULQDQ, MOVBE, AES with v3.
    const second = 0x00982201;
    const third = 0x02400002;
    expect(ecx.map((word) => word & second)).toEqual([0, second, second]);
    expect(ecx.map((word) => word & third)).toEqual([0, 0, third]);
    // ADX, SHA; LZCNT.
    const third7 = 0x20080000;
    expect([v1, v2, v3].map((r) => read(r, 7, "ebx") & third7)).toEqual([0, 0, third7]);
    expect([v1, v2, v3].map((r) => read(r, 0x80000001, "ecx") & 0x20)).toEqual([0, 0, 0x20]);
    expect(read(v1, 1, "edx") & (1 << SSE2_BIT)).not.toBe(0);
  });

  it("makes instructions that it lacks undefined", () => {
    expect(run([...POPCNT, HLT], { cpuLevel: "x86-64-v1" }).domain.shutdownCode).toBe(SHUTDOWN_crash);
    expect(run([...POPCNT, HLT], { cpuLevel: "x86-64-v2" }).domain.shutdownCode).toBe(SHUTDOWN_poweroff);
  });
});

describe("a domain's policy", () => {
  it("shows less than the machine has, and hidden instructions work as on hardware", () => {
    const shown = run([...POPCNT, HLT], { cpuLevel: "x86-64-v2", domain: { cpuLevel: "x86-64-v1" } });
    expect(shown.domain.shutdownCode).toBe(SHUTDOWN_poweroff);
    expect(read(shown, 1, "ecx") & (1 << POPCNT_BIT)).toBe(0);
    const one = run([...POPCNT, HLT], { domain: { cpuid: [bit(1, "ecx", POPCNT_BIT, "0")] } });
    expect(one.domain.shutdownCode).toBe(SHUTDOWN_poweroff);
    expect(read(one, 1, "ecx") & (1 << POPCNT_BIT)).toBe(0);
    expect(read(one, 1, "ecx") & (1 << SSE4_2_BIT)).not.toBe(0);
    expect(one.domain.cpuPolicy.refused).toEqual([]);
  });

  it("takes away what builds on what is taken away", () => {
    const r = guest({ domain: { cpuid: [bit(1, "edx", SSE2_BIT, "0")] } });
    // SSE3, SSSE3, SSE4.1, SSE4.2; CX16 and LAHF with long mode; POPCNT stays.
    expect(read(r, 1, "ecx") & 0x00982201).toBe(1 << POPCNT_BIT);
    expect(read(r, 0x80000001, "edx") & (1 << 29)).toBe(0);
    expect(read(r, 0x80000001, "ecx") & 1).toBe(0);
  });

  it("gives nothing that the model has not, and says so", () => {
    const rule = bit(1, "ecx", 5, "1");
    const r = guest({ domain: { cpuid: [rule] } });
    expect(read(r, 1, "ecx") & 0x20).toBe(0);
    expect(r.domain.cpuPolicy.refused).toEqual([{ rule, mask: 0x20 }]);
    // A later rule that takes the wish back.
    expect(guest({ domain: { cpuid: [rule, bit(1, "ecx", 5, "0")] } }).domain.cpuPolicy.refused).toEqual([]);
  });

  it("may promise an invariant TSC and hide the hypervisor, but not MONITOR or OSXSAVE", () => {
    const rules = [
      bit(0x80000007, "edx", 8, "1"),
      bit(1, "ecx", 31, "0"),
      bit(1, "ecx", 3, "k"),
      bit(1, "ecx", 27, "1"),
    ];
    const r = guest({ domain: { cpuid: rules } });
    expect(read(guest(), 0x80000007, "edx")).toBe(0);
    expect(read(r, 0x80000007, "edx")).toBe(0x100);
    expect(read(guest(), 1, "ecx") >>> 31).toBe(1);
    expect(read(r, 1, "ecx") & 0x88000008).toBe(0);
    expect(r.domain.cpuPolicy.refused).toEqual([{ rule: rules[3], mask: 1 << 27 }]);
  });

  it("sets family, model, logical processors, and the highest leaves", () => {
    const bits = "xxxx000000001010xxxx011010011111";
    const rules: CpuidRule[] = [
      { leaf: 1, register: "eax", bits },
      { leaf: 1, register: "ebx", bits: "00000001000000111111111111111111" },
      { leaf: 0, register: "eax", bits: `${"0".repeat(29)}111` },
      { leaf: 0x40000000, register: "eax", bits: `${"x".repeat(24)}00000010` },
      { leaf: 0x80000000, register: "eax", bits: `${"x".repeat(28)}0100` },
    ];
    const r = guest({ domain: { cpuid: rules } });
    expect(read(r, 1, "eax")).toBe(0x000a069f);
    // The APIC id is Xen's to give.
    expect(read(r, 1, "ebx")).toBe(0x0003ffff);
    expect(read(r, 0, "eax")).toBe(7);
    expect(read(r, 0xd, "eax")).toBe(0);
    expect(read(r, 0x40000000, "eax")).toBe(0x40000002);
    expect(read(r, 0x40000003, "eax")).toBe(0);
    expect(read(r, 0x80000000, "eax")).toBe(0x80000004);
    expect(read(r, 0x80000008, "eax")).toBe(0);
    expect(r.domain.cpuPolicy.refused).toEqual([{ rule: rules[1], mask: 1 << 24 }]);
  });

  it("makes control registers refuse the bits of hidden features", () => {
    const ends = (code: number[], cpuid: CpuidRule[]): number =>
      run([...code, HLT], { domain: { cpuid } }).domain.shutdownCode;
    expect(ends(setCr4(CR4_SMEP), [])).toBe(SHUTDOWN_poweroff);
    expect(ends(setCr4(CR4_SMEP), [bit(7, "ebx", 7, "0", 0)])).toBe(SHUTDOWN_crash);
    expect(ends([...setCr4(CR4_OSXSAVE), ...setXcr0(3)], [])).toBe(SHUTDOWN_poweroff);
    expect(ends([...setCr4(CR4_OSXSAVE), ...setXcr0(7)], [])).toBe(SHUTDOWN_crash);
    expect(ends(setCr4(CR4_OSXSAVE), [bit(1, "ecx", XSAVE_BIT, "0")])).toBe(SHUTDOWN_crash);
    // WRMSR EFER: NX.
    const nx = [0xb9, 0x80, 0, 0, 0xc0, 0x0f, 0x32, 0x80, 0xcc, 0x08, 0x0f, 0x30];
    expect(ends(nx, [])).toBe(SHUTDOWN_poweroff);
    expect(ends(nx, [bit(0x80000001, "edx", 20, "0")])).toBe(SHUTDOWN_crash);
  });

  it("hides the leaf of XSAVE with XSAVE", () => {
    const r = guest({ domain: { cpuid: [bit(1, "ecx", XSAVE_BIT, "0")] } });
    expect([read(guest(), 0xd, "eax"), read(guest(), 0xd, "ecx")]).toEqual([3, 576]);
    expect([read(r, 0xd, "eax"), read(r, 0xd, "ecx"), read(r, 0xd, "eax", 1)]).toEqual([0, 0, 0]);
  });
});

it("a rule has 32 characters, and a leaf with or without a subleaf, as there are", () => {
  const bits = "x".repeat(32);
  expect(ruleError({ leaf: 1, register: "eax", bits })).toBeNull();
  expect(ruleError({ leaf: 7, subleaf: 0, register: "eax", bits })).toBeNull();
  expect(ruleError({ leaf: 1, register: "eax", bits: "x".repeat(31) })).toContain("32 characters");
  expect(ruleError({ leaf: 1, subleaf: 0, register: "eax", bits })).toContain("no subleaves");
  expect(ruleError({ leaf: 7, register: "eax", bits })).toContain("name one");
  expect(ruleError({ leaf: 0x20, register: "eax", bits })).toContain("no CPUID leaf 0x20");
});

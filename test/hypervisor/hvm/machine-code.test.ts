/** Guests of a few instructions: exits, devices that aren't there, and starting a second vcpu. */
import { describe, expect, it } from "vitest";
import { S_RAX, S_RBX, S_RCX } from "../../../cpu/arena.ts";
import { EXIT_NAMES } from "../../../cpu/core.ts";
import { SHUTDOWN_crash, SHUTDOWN_poweroff } from "../../../hypervisor/abi/sched.ts";
import { dword, HLT, out, run } from "./code-guest.ts";

for (const cpu of ["intel", "amd"] as const)
  describe(`a guest on a processor of ${cpu}`, () => {
    it("writes to the debug port and powers off by halting with interrupts off", () => {
      const r = run([...out("H"), ...out("i"), ...out("\n"), HLT], { cpu });
      expect(r.log).toContain("(d1) Hi");
      expect(r.domain.shutdownCode).toBe(SHUTDOWN_poweroff);
    });

    it("finds Xen by CPUID and calls it through the hypercall page", () => {
      // cpuid 40000000; save EBX; wrmsr 40000000 = 2000; mov $0,%ebx; call 2000 + 17 * 32 (xen_version); hlt
      const r = run(
        [
          ...[0xb8, ...dword(0x40000000), 0x0f, 0xa2, 0x89, 0x1d, ...dword(0x3000)],
          ...[0xb9, ...dword(0x40000000), 0xb8, ...dword(0x2000), 0x31, 0xd2, 0x0f, 0x30],
          ...[0xbc, ...dword(0x8000), 0xbb, ...dword(0), 0xb8, ...dword(0x2000 + 17 * 32), 0xff, 0xd0, HLT],
        ],
        { cpu },
      );
      expect(r.memory(0x3000)).toBe(0x566e6558);
      expect(r.slot(S_RAX)).toBe((4 << 16) | 17);
      const exits = [...r.domain.exitCounts].flatMap((count, code) => (count > 0 ? [[EXIT_NAMES[code], count]] : []));
      expect(Object.fromEntries(exits)).toEqual({ hlt: 1, cpuid: 1, wrmsr: 1, vmcall: 1 });
    });

    it("reads all ones where nothing is, and its writes there vanish", () => {
      // mov 0xf0000000,%ecx; mov %esp,0xf0000000; in $0x42,%al; hlt
      const r = run([0x8b, 0x0d, ...dword(0xf0000000), 0x89, 0x25, ...dword(0xf0000000), 0x31, 0xc0, 0xe4, 0x42, HLT], {
        cpu,
      });
      expect(r.slot(S_RCX)).toBe(0xffffffff);
      expect(r.slot(S_RAX)).toBe(0xff);
      expect(r.domain.shutdownCode).toBe(SHUTDOWN_poweroff);
    });
  });

describe("a page that the guest may only read", () => {
  const page = 50 * 4096;
  const held: [number, number[]] = [page, [...dword(0x600dcafe), ...dword(41)]];

  it("drops writes, also those that cross into it, and lets read-modify-writes see what is there", () => {
    const r = run(
      [
        ...[0x89, 0x05, ...dword(page)], // mov %eax,page
        ...[0xff, 0x05, ...dword(page + 4)], // incl page+4
        ...[0xb8, ...dword(1), 0x0f, 0xc1, 0x05, ...dword(page + 4)], // mov $1,%eax; xadd %eax,page+4
        ...[0xc7, 0x05, ...dword(page - 2), ...dword(0x12345678)], // movl $0x12345678,page-2
        ...[0x8b, 0x0d, ...dword(page), 0x8b, 0x1d, ...dword(page + 4), HLT], // mov page,%ecx; mov page+4,%ebx
      ],
      { more: [held] },
    );
    expect(r.domain.shutdownCode).toBe(SHUTDOWN_poweroff);
    expect([r.slot(S_RAX), r.slot(S_RBX), r.slot(S_RCX)]).toEqual([41, 41, 0x600dcafe]);
    expect(r.memory(page - 4) >>> 16).toBe(0x5678);
  });

  it("keeps its bytes from string instructions and exceptions' frames too", () => {
    // mov $page,%edi; mov $4,%ecx; rep stosb; mov $page+8,%esp; push %eax; hlt
    const r = run([0xbf, ...dword(page), 0xb9, ...dword(4), 0xf3, 0xaa, 0xbc, ...dword(page + 8), 0x50, HLT], {
      more: [held],
    });
    expect(r.domain.shutdownCode).toBe(SHUTDOWN_poweroff);
    expect([r.memory(page), r.memory(page + 4)]).toEqual([0x600dcafe, 41]);
  });
});

describe("a guest whose handler of exceptions faults at once", () => {
  it("makes time pass, so that others get their turn", () => {
    // lgdt 0x2010; lidt 0x2000; ud2, whose handler at ENTRY + 32 begins with another one. The stack has no end.
    const code = [0x0f, 0x01, 0x15, ...dword(0x2010), 0x0f, 0x01, 0x1d, ...dword(0x2000), 0x0f, 0x0b];
    const r = run([...code, ...new Array<number>(32 - code.length).fill(0x90), 0x0f, 0x0b], {
      more: [
        [0x2000, [0xff, 0x07, ...dword(0x3000)]],
        [0x2010, [0x0f, 0, ...dword(0x2800)]],
        [0x2808, [0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0]],
        [0x3000 + 6 * 8, [0x20, 0x10, 8, 0, 0, 0x8e, 0, 0]],
      ],
      outcome: "cycle-limit",
      cycles: 100_000,
    });
    expect(r.hv.now()).toBeGreaterThanOrEqual(100_000);
  });
});

describe("VCPUOP_send_nmi", () => {
  it("reaches the vcpu at its next instruction, interrupts off or not", () => {
    const vmcall = (number: number, ...args: number[]): number[] => [
      ...[0xb8, ...dword(number), 0xbb, ...dword(args[0]!), 0xb9, ...dword(args[1]!), 0xba, ...dword(args[2] ?? 0)],
      ...[0x0f, 0x01, 0xc1],
    ];
    const [vcpuOp, sendNmi] = [24, 11];
    const r = run(
      [
        ...[0x0f, 0x01, 0x15, ...dword(0x2010), 0x0f, 0x01, 0x1d, ...dword(0x2000), 0xbc, ...dword(0x8000)],
        // CS from the new table, since IRET loads it.
        ...[0xea, ...dword(0x101a), 8, 0],
        ...vmcall(vcpuOp, sendNmi, 0),
        ...out("a"),
        ...vmcall(vcpuOp, sendNmi, 0),
        ...[...out("b"), ...out("\n"), HLT],
      ],
      {
        more: [
          [0x2000, [0xff, 0x07, ...dword(0x3000)]],
          [0x2010, [0x0f, 0, ...dword(0x2800)]],
          [0x2808, [0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0]],
          [0x3000 + 2 * 8, [0x00, 0x40, 8, 0, 0, 0x8e, 0, 0]],
          [0x4000, [...out("N"), 0xcf]],
        ],
      },
    );
    expect(r.log).toContain("(d1) NaNb");
  });
});

describe("a guest without an IDT", () => {
  for (const [what, code] of [
    ["reads an MSR that doesn't exist", [0xb9, ...dword(0x12345), 0x0f, 0x32]],
    ["jumps into nowhere", [0xb8, ...dword(0xf0000000), 0xff, 0xe0]],
    ["executes VMXON's kind", [0x0f, 0x01, 0xc2]],
  ] as const)
    it(`that ${what} triple-faults, with a dump of its registers`, () => {
      const r = run([...code, HLT]);
      expect(r.domain.shutdownCode).toBe(SHUTDOWN_crash);
      expect(r.log).toContain("Triple fault - invoking HVM shutdown action 3");
      expect(r.log).toContain(
        what.startsWith("jumps") ? "RIP:    0000:[<00000000f0000000>]" : "RIP:    0000:[<000000000000100",
      );
      expect(r.domain.crashText.length).toBeGreaterThan(10);
    });
});

describe("two vcpus", () => {
  it("start by INIT and SIPI through the local APIC's page, the second in real mode at the page named", () => {
    const icr = (value: number): number[] => [0xc7, 0x05, ...dword(0xfee00300), ...dword(value)];
    const r = run(
      [
        // ICR high: APIC id 2 is vcpu 1.
        ...[0xc7, 0x05, ...dword(0xfee00310), ...dword(2 << 24)],
        ...icr(0x4500),
        ...icr(0x4605),
        // Wait until the other one has set the byte at 0x3000.
        ...[0x80, 0x3d, ...dword(0x3000), 0x01, 0x75, 0xf7],
        ...out("B"),
        ...out("\n"),
        HLT,
      ],
      // mov al,'A'; out; movb $1, ds:0x3000; hlt
      { vcpus: 2, more: [[0x5000, [...out("A"), 0xc6, 0x06, 0x00, 0x30, 0x01, HLT]]] },
    );
    expect(r.log).toContain("(d1) AB");
    expect(r.domain.vcpus[1]!.core.index).not.toBe(r.domain.vcpus[0]!.core.index);
    expect(r.domain.shutdownCode).toBe(SHUTDOWN_poweroff);
  });
});

describe("CPUID of a guest", () => {
  it("has the APIC id 2 * vcpu, the hypervisor bit, and the vcpu id and domid in Xen's leaf 4", () => {
    const store = (at: number): number[] => [
      0x89,
      0x1d,
      ...dword(at),
      0x89,
      0x0d,
      ...dword(at + 4),
      0x89,
      0x15,
      ...dword(at + 8),
    ];
    const cpuid = (leaf: number): number[] => [0xb8, ...dword(leaf), 0x31, 0xc9, 0x0f, 0xa2];
    const r = run([
      ...cpuid(1),
      ...store(0x3000),
      ...cpuid(0x40000004),
      ...store(0x3010),
      ...cpuid(0xb),
      ...store(0x3020),
      HLT,
    ]);
    expect(r.memory(0x3000) >>> 24).toBe(0);
    expect(r.memory(0x3004) >>> 31).toBe(1);
    expect(r.memory(0x3010)).toBe(0);
    expect(r.memory(0x3014)).toBe(r.domain.domid);
    expect(r.memory(0x3028)).toBe(0);
    expect(r.slot(S_RBX)).toBe(0);
  });
});

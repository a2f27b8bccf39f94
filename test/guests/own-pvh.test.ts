// Our own kernels as files: that the prebuilt ELFs are what their sources give, that their notes are what a
// loader looks for, and, where QEMU is at hand, that the part of the PVH kernel which needs no Xen works on a PC.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const guests = fileURLToPath(new URL("../../guests", import.meta.url));
const prebuilt = join(guests, "pvh/pvh.elf");
const prebuiltPv = join(guests, "pv/pv.elf");

function run(command: string, args: string[], timeout = 60_000): { status: number | null; text: string } {
  const done = spawnSync(command, args, { encoding: "utf8", timeout, killSignal: "SIGKILL" });
  return { status: done.error === undefined ? done.status : null, text: (done.stdout ?? "") + (done.stderr ?? "") };
}

const toolchain = [run("gcc", ["--version"]), run("ld", ["--version"])].map((r) => r.text.split("\n")[0]).join("\n");
const canBuild = run("gcc", ["--version"]).status === 0 && run("make", ["--version"]).status === 0;
const canBoot = run("qemu-system-x86_64", ["--version"]).status === 0;

/** Boots an ELF on QEMU's PC; the text of the debug port and the value given to isa-debug-exit. */
function boot(elf: string, commandLine: string, ...more: string[]): { status: number | null; text: string } {
  const machine = ["-accel", "tcg", "-M", "pc", "-m", "64", "-display", "none", "-no-reboot", "-debugcon", "stdio"];
  const exit = ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"];
  return run("qemu-system-x86_64", [...machine, ...exit, ...more, "-kernel", elf, "-append", commandLine], 25_000);
}

// QEMU's own processor deviates from the SDM here: it gives #GP for a non-canonical access through SS
// (volume 3, 6.15, #SS) and vector * 16 + 2 as the error code of a missing gate (6.13: vector * 8 + 3).
const QEMU_DEVIATIONS = ["FAIL trap.stack: got 13 want 12", "FAIL trap.gate-absent-error: got 98 want 51"];

describe("the prebuilt PVH kernel", () => {
  const elf = readFileSync(prebuilt);

  it("has the Xen note with a 32-bit entry inside its text, and no build identity", () => {
    const at = elf.indexOf(Buffer.from([4, 0, 0, 0, 8, 0, 0, 0, 18, 0, 0, 0, 0x58, 0x65, 0x6e, 0]));
    expect(at).toBeGreaterThan(0);
    const entry = elf.readBigUInt64LE(at + 16);
    expect(entry).toBe(elf.readBigUInt64LE(24));
    expect(entry).toBe(0x100000n);
    expect(elf.includes("GNU\0")).toBe(false);
    expect(elf.includes("GCC: ")).toBe(false);
  });

  it("maps nothing both writable and executable", () => {
    for (const file of [elf, readFileSync(prebuiltPv)]) expectNothingWritableAndExecutable(file);
  });
});

function expectNothingWritableAndExecutable(elf: Buffer): void {
  const [offset, size, count] = [Number(elf.readBigUInt64LE(32)), elf.readUInt16LE(54), elf.readUInt16LE(56)];
  for (let i = 0; i < count; i++) expect(elf.readUInt32LE(offset + i * size + 4) & 3).not.toBe(3);
}

describe("the prebuilt PV kernel", () => {
  it("has the notes of a 64-bit PV kernel with virtual base 0, and no build identity", () => {
    const elf = readFileSync(prebuiltPv);
    const notes = new Map<number, Buffer>();
    for (
      let at = elf.indexOf("Xen\0") - 12;
      elf.readUInt32LE(at) === 4 && elf.toString("latin1", at + 12, at + 15) === "Xen";
    ) {
      const size = elf.readUInt32LE(at + 4);
      notes.set(elf.readUInt32LE(at + 8), elf.subarray(at + 16, at + 16 + size));
      at += 16 + ((size + 3) & ~3);
    }
    const text = (type: number) => notes.get(type)?.toString("latin1").replace("\0", "");
    expect([text(5), text(6), text(8), text(9)]).toEqual(["xen-3.0", "Xenoscope guest", "generic", "yes"]);
    expect(notes.get(1)?.readBigUInt64LE()).toBe(elf.readBigUInt64LE(24));
    expect(notes.get(3)?.readBigUInt64LE()).toBe(0n);
    expect(elf.includes("GNU\0")).toBe(false);
    expect(elf.includes("GCC: ")).toBe(false);
  });
});

describe.skipIf(!canBuild)("the kernels built again", () => {
  let out = "";
  beforeAll(() => {
    out = mkdtempSync(join(tmpdir(), "pvh-"));
    const made = run("make", ["-C", guests, `OUT=${out}`]);
    expect(made.status, made.text).toBe(0);
  }, 120_000);
  afterAll(() => rmSync(out, { recursive: true, force: true }));

  const same = readFileSync(join(guests, "pvh/pvh.toolchain"), "utf8").trim() === toolchain;
  it.skipIf(!same)("by the same compiler are the same, byte for byte", () => {
    expect(readFileSync(join(out, "pvh.elf")).equals(readFileSync(prebuilt))).toBe(true);
    expect(readFileSync(join(out, "pv.elf")).equals(readFileSync(prebuiltPv))).toBe(true);
  });

  // Another compiler gives other bytes; what the kernel says must not change.
  it.skipIf(same || !canBoot)("the PVH kernel by another compiler behaves the same", () => {
    const [ours, theirs] = [prebuilt, join(out, "pvh.elf")].map((elf) => boot(elf, "work=hello").text);
    expect(theirs).toBe(ours);
  });
});

describe.skipIf(!canBoot)("the PVH kernel on a PC without Xen", () => {
  it("sees that, tests the processor and powers off", () => {
    const { status, text } = boot(prebuilt, "quiet work=hello");
    expect(status).toBe(1);
    expect(text).toContain("no Xen: only what the processor can do alone\n");
    expect(text.split("\n").filter((line) => line.startsWith("FAIL"))).toEqual(QEMU_DEVIATIONS);
    expect(text).toMatch(/^hello: \d\d passed, 2 failed$/m);
  });

  it("starts other processors by INIT-SIPI-SIPI", () => {
    const { text } = boot(prebuilt, "work=smp:3", "-smp", "3");
    expect(text).toContain("ok smp.vcpu2-apic-ipi\n");
    expect(text).toMatch(/^smp: \d+ passed, 0 failed$/m);
  });

  it("dumps its registers when it runs into nowhere, and skips what needs Xen", () => {
    const { status, text } = boot(prebuilt, "work=memory,nowhere");
    expect(text).toContain("memory: skipped, there is no Xen here\n");
    expect(text).toContain("trap 14 #PF error 0x10 cr2 0x123456789000 vcpu 0\nrip 0008:0000123456789000 ");
    expect(status).toBe(7);
  });
});

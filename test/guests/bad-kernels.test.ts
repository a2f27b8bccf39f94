/** Files that are no kernel, or a broken one: one clear line, exit code 1, no stack trace. */

import { readFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { debianGuests } from "../support/debian.ts";
import { type GuestConfig, OWN_KERNEL, RunFolder } from "../support/guest-run.ts";

const debian = await debianGuests();
const missing = "missing" in debian ? debian.missing : undefined;
const folder = new RunFolder();
afterAll(() => folder.remove());

/** Runs to the error and gives its line without the name of the configuration; checks that it is one line. */
async function complaint(guest: Partial<GuestConfig>, ...args: string[]): Promise<string> {
  const run = await folder.run(
    [{ name: "bad", kernel: OWN_KERNEL, memory: 64, ...guest }],
    ["--timeout", "20", ...args],
  );
  expect(run.stdout).toBe("");
  expect(run.stderr).toMatch(/^xenoscope: [^\n]+\n$/);
  expect(run.stderr).not.toMatch(/ {4}at |\.[jt]s:\d/);
  expect(run.code).toBe(1);
  return run.stderr
    .trim()
    .replace(/^xenoscope: \S*\//, "")
    .replaceAll(`${folder.path}/`, "");
}

/** Our kernel's ELF with bytes changed. */
function elf(name: string, change: (bytes: Buffer) => void): string {
  const bytes = Buffer.from(readFileSync(OWN_KERNEL));
  change(bytes);
  return folder.write(name, bytes);
}

const E_TYPE = 16;
const E_MACHINE = 18;

describe.concurrent("what is no kernel", () => {
  it("is named: no such file, a directory, an empty file, text", async ({ expect }) => {
    expect(await complaint({ kernel: "/absent/vmlinuz" })).toContain(
      "can't read the kernel /absent/vmlinuz: no such file",
    );
    expect(await complaint({ kernel: folder.path })).toContain("directory");
    expect(await complaint({ kernel: folder.write("empty", "") })).toMatch(/empty/);
    expect(await complaint({ kernel: folder.write("text", "#!/bin/sh\necho hello\n".repeat(100)) })).toMatch(
      /text: .*(neither|not|no) .*(ELF|kernel)/i,
    );
  });

  it("is named: an ELF for ARM, an object file, an ELF without the PVH note, a truncated ELF", async ({ expect }) => {
    expect(await complaint({ kernel: elf("arm", (b) => b.writeUInt16LE(183, E_MACHINE)) })).toMatch(
      /arm: .*(AArch64|ARM)/i,
    );
    expect(await complaint({ kernel: elf("arm32", (b) => b.writeUInt16LE(40, E_MACHINE)) })).toMatch(/arm32: .*ARM/i);
    expect(await complaint({ kernel: elf("object", (b) => b.writeUInt16LE(1, E_TYPE)) })).toMatch(/object: /);
    // The note's type is made another one.
    const noNote = elf("no-note", (b) => {
      const at = b.indexOf(Buffer.from("\x04\0\0\0\x08\0\0\0\x12\0\0\0Xen\0", "latin1"));
      expect(at).toBeGreaterThan(0);
      b.writeUInt32LE(0x7f, at + 8);
    });
    expect(await complaint({ kernel: noNote })).toMatch(/no-note: .*PVH/);
    expect(await complaint({ kernel: process.execPath, memory: 512 })).toMatch(/PVH/);
    for (const bytes of [3, 40, 80, 5000])
      expect(
        await complaint({ kernel: folder.write(`cut-${bytes}`, readFileSync(OWN_KERNEL).subarray(0, bytes)) }),
      ).toContain(`cut-${bytes}: `);
  });

  it("is named: a ramdisk that is absent, a directory, or larger than the domain", async ({ expect }) => {
    expect(await complaint({ ramdisk: "/absent/initrd" })).toContain(
      "can't read the ramdisk /absent/initrd: no such file",
    );
    expect(await complaint({ ramdisk: folder.path })).toContain("directory");
    const large = folder.write("large", Buffer.alloc(70 << 20, 1));
    expect(await complaint({ ramdisk: large })).toMatch(/memory|room|fit|large/);
  });

  it("is named: more memory than the machine has, or too little for the kernel", async ({ expect }) => {
    expect(await complaint({ memory: 200_000 })).toMatch(/:\d+: .*MiB/);
    expect(await complaint({ memory: 512 }, "--memory", "256M")).toMatch(/:4: .*512 MiB/);
    expect(await complaint({ memory: 1 })).toMatch(/:4: /);
  });

  it("is named with its line: syntax and values of the configuration", async ({ expect }) => {
    expect(await complaint({ more: ["vcpus = = 2"] })).toMatch(/bad\.cfg:6:\d+: /);
    expect(await complaint({ more: ['on_crash = "explode"'] })).toMatch(/bad\.cfg:6:\d+: on_crash can't be "explode"/);
    expect(await complaint({ vcpus: 0 })).toMatch(/bad\.cfg:5:\d+: vcpus/);
    expect(await complaint({ more: ['extra = "not ended'] })).toMatch(/bad\.cfg:6:\d+: /);
    expect(await complaint({ more: ["memory = -5"] })).toMatch(/bad\.cfg:6:\d+: /);
  });
}, 120_000);

describe.skipIf(missing !== undefined)(`a bzImage${missing === undefined ? "" : ` (${missing})`}`, () => {
  it("that is truncated or corrupted is no kernel any more", async () => {
    const { cloud } = debian as { cloud: string };
    const good = readFileSync(cloud);
    for (const part of [0.0001, 0.002, 0.5, 0.999])
      expect(
        await complaint({ kernel: folder.write("cut", good.subarray(0, good.length * part)), memory: 256 }),
      ).toMatch(/cut: /);
    for (const at of [0.1, 0.5, 0.9]) {
      const corrupted = Buffer.from(good);
      corrupted.fill(0xa5, Math.floor(good.length * at), Math.floor(good.length * at) + 4096);
      expect(await complaint({ kernel: folder.write("corrupted", corrupted), memory: 256 })).toMatch(/corrupted: /);
    }
    expect(await complaint({ kernel: cloud, memory: 16 })).toMatch(/:4: /);
  }, 120_000);
});

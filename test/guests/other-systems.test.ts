/** Kernels of other systems than Linux, from Debian's packages. */

import { afterAll, describe, expect, it } from "vitest";
import { debianGuests } from "../support/debian.ts";
import { fileOfPackage } from "../support/debian-package.ts";
import { RunFolder } from "../support/guest-run.ts";

const folder = new RunFolder();
afterAll(() => folder.remove());
const BOOT = 180_000;
const LIMIT = ["--timeout", "150"];

const grub = await fileOfPackage("grub-xen-host", "usr/lib/grub-xen/grub-i386-xen_pvh.bin");
const pvGrubs = [
  { bits: 32, cpu: "i386", ...(await fileOfPackage("grub-xen-host", "usr/lib/grub-xen/grub-i386-xen.bin")) },
  { bits: 64, cpu: "x86_64", ...(await fileOfPackage("grub-xen-host", "usr/lib/grub-xen/grub-x86_64-xen.bin")) },
];
const shim = await fileOfPackage("xen-utils-4.17", "usr/lib/xen-4.17/boot/xen-shim");
const debian = await debianGuests();
const why = (found: object): string => ("missing" in found ? ` (${found.missing})` : "");

describe.skipIf("missing" in grub)(`GRUB for PVH, 32 bits${why(grub)}`, () => {
  it(
    "comes to its prompt, computes and powers off",
    async () => {
      const run = await folder.run([{ name: "grub", kernel: (grub as { file: string }).file }], LIMIT, {
        script: [
          "expect grub>",
          'send "echo this is $grub_cpu-$grub_platform\\n"',
          "expect this is i386-xen_pvh",
          "expect grub>",
          'send "halt\\n"\n',
        ].join("\n"),
      });
      expect(run.stderr).toMatch(/grub \(domain 1\): poweroff at cycle \d+/);
      expect(run.code).toBe(0);
    },
    BOOT,
  );
});

describe.each(pvGrubs)("GRUB for PV, $bits bits", (pvGrub) => {
  it.skipIf("missing" in pvGrub)(
    `comes to its prompt, computes and powers off${why(pvGrub)}`,
    async () => {
      const { file } = pvGrub as { file: string };
      const run = await folder.run([{ name: "grub", type: "pv", kernel: file }], LIMIT, {
        script: [
          "expect grub>",
          'send "echo this is $grub_cpu-$grub_platform\\n"',
          `expect this is ${pvGrub.cpu}-xen`,
          "expect grub>",
          'send "halt\\n"\n',
        ].join("\n"),
      });
      expect(run.stderr).toMatch(/grub \(domain 1\): poweroff at cycle \d+/);
      expect(run.code).toBe(0);
    },
    BOOT,
  );
});

// Xen 4.17 itself as the guest's kernel: it finds ours by CPUID, lives on its event channels, timers and grants, and runs a PV
// Linux with its own page tables, exceptions and system calls in rings 0 and 3.
describe.skipIf("missing" in shim || "missing" in debian)(`Xen as a PVH shim${why(shim)}`, () => {
  it(
    "boots, and starts a PV Linux of its own",
    async () => {
      const guest = {
        name: "shim",
        kernel: (shim as { file: string }).file,
        ramdisk: (debian as { cloud: string }).cloud,
        extra: "pv-shim console=xen,pv loglvl=all",
      };
      const run = await folder.run([guest], ["--expect", "Run /init|Unable to mount root", ...LIMIT]);
      expect(run.stdout).toContain("Running on Xen");
      expect(run.stdout).toContain("*** Building a PV Dom1 ***");
      expect(run.stdout).toMatch(/Booting (paravirtualized )?kernel on Xen/i);
      expect(run.stdout).not.toMatch(/BUG:|Oops:|general protection/);
      expect(run.code).toBe(0);
    },
    BOOT,
  );
});

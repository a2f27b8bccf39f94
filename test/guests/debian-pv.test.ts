/** Debian's 6.1 kernels as PV domains under the built command: in ring 3, on page tables that Xen checks. */

import { createHash } from "node:crypto";
import { afterAll, describe, expect, it } from "vitest";
import { debianGuests } from "../support/debian.ts";
import { type GuestConfig, LINUX_TROUBLE, RunFolder, shellSession } from "../support/guest-run.ts";

const debian = await debianGuests();
const missing = "missing" in debian ? debian.missing : undefined;
const files = "missing" in debian ? { cloud: "", generic: "", initramfs: "" } : debian;
const folder = new RunFolder();
afterAll(() => folder.remove());

const BOOT = 240_000;
const LIMIT = ["--timeout", "200"];

const linux = (flavour: "cloud" | "generic", more: Partial<GuestConfig> = {}, extra = ""): GuestConfig => ({
  name: flavour,
  type: "pv",
  kernel: files[flavour],
  ramdisk: files.initramfs,
  extra: `console=hvc0 xen_legacy_crash ${extra}`,
  ...more,
});

const POWEROFF = ["poweroff -f"] as const;

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const NUMBERS = Array.from({ length: 5000 }, (_, i) => `${i + 1}\n`).join("");

/** Work like that of a build: processes, pipes, copies of address spaces, files in memory. Each has one right answer. */
const WORK: readonly (readonly [string, string?])[] = [
  ["seq 1 5000 > n; sha256sum < n", `^${sha256(NUMBERS)}`],
  ["gzip -c n | gunzip -c | sha256sum", `^${sha256(NUMBERS)}`],
  ["i=0; while [ \\$i -lt 120 ]; do /bin/busybox true && i=\\$((i+1)); done; echo forks \\$i", "^forks 120"],
  ["for i in 1 2 3 4; do (sort -rn n | sha256sum > s\\$i) & done; wait; cat s? | sort -u | wc -l", "^1\\s"],
  [
    "mkdir t; cp n t/a; cp n t/b; tar c t | tar t | wc -l; tar c t | tar xO | sha256sum",
    `^${sha256(NUMBERS + NUMBERS)}`,
  ],
  ["find /proc/self/ /sys/kernel -maxdepth 2 2>/dev/null | wc -l > f; [ \\$(cat f) -gt 50 ] && echo found", "^found"],
];

describe.skipIf(missing !== undefined)(`Debian's kernels as PV${missing === undefined ? "" : ` (${missing})`}`, () => {
  for (const [flavour, vcpus, pcpus] of [
    ["cloud", 1, 1],
    ["cloud", 4, 2],
    ["generic", 2, 1],
  ] as const)
    it(
      `${flavour}: ${vcpus} vcpus on ${pcpus} physical CPUs come to a shell, work, and power off`,
      async () => {
        const run = await folder.run([linux(flavour, { vcpus })], ["--pcpus", String(pcpus), ...LIMIT], {
          script: shellSession(
            ["cat /sys/hypervisor/guest_type", "^PV\\s"],
            ["nproc", `^${vcpus}\\s`],
            ...WORK,
            POWEROFF,
          ),
          report: true,
        });
        expect(run.stderr).toMatch(new RegExp(`${flavour} \\(domain 1\\): poweroff at cycle \\d+`));
        expect(run.code).toBe(0);
        expect(run.stdout).not.toMatch(LINUX_TROUBLE);
        const [domain] = run.report!.domains;
        expect(domain!.type).toBe("pv");
        expect(domain!.pageTableUpdates).toBeGreaterThan(50_000);
        expect(domain!.cycles.user).toBeGreaterThan(5_000_000);
        expect(domain!.vcpus.map((v) => v.instructions > 1_000_000)).toEqual(Array(vcpus).fill(true));
      },
      BOOT,
    );

  it(
    "reboot, and end in a crash at a panic",
    async () => {
      const run = await folder.run([linux("cloud", { more: ['on_reboot = "restart"'] })], LIMIT, {
        script: shellSession(["reboot -f"], ["uptime", "up 0 min"], ["echo c > /proc/sysrq-trigger", "Kernel panic"]),
      });
      expect(run.stderr).toContain("restarted as domain 2");
      expect(run.stderr).toMatch(/cloud \(domain 2\): crash at cycle/);
      expect(run.code).toBe(4);
    },
    BOOT,
  );
});

/** A PV Linux at work beside a PVH domain: no frame of one is ever the other's, and Xen's counts are what the page tables say. */
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { node } from "../support/command.ts";
import { debianGuests } from "../support/debian.ts";
import { OWN_KERNEL } from "../support/guest-run.ts";

const debian = await debianGuests();

const WORK = [
  "seq 1 5000 > n; i=0; while [ $i -lt 40 ]; do /bin/busybox true && i=$((i+1)); done; echo forks $i",
  "for i in 1 2 3; do (sort -rn n | sha256sum > s$i) & done; wait; cat s? | sort -u | wc -l",
  "poweroff -f",
];

it.skipIf("missing" in debian)(
  "every audit finds nothing",
  async () => {
    if ("missing" in debian) return;
    const program = fileURLToPath(new URL("run-audited.ts", import.meta.url));
    const run = await node([
      "--import",
      import.meta.resolve("tsx"),
      program,
      debian.cloud,
      debian.initramfs,
      OWN_KERNEL,
      WORK.join("\n"),
    ]);
    expect(run.stderr).toBe("");
    const { text, found, audits } = JSON.parse(run.stdout);
    expect(found).toEqual([]);
    expect(audits).toBeGreaterThan(10);
    expect(text).toMatch(/^forks 40\r?$/m);
    expect(text).toMatch(/^1\r?$/m);
    expect(text).toContain("guest type PV");
  },
  300_000,
);

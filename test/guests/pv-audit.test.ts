/** Linux at work as PV beside itself as PVH: no frame of one is ever the other's, and Xen's counts are what the page tables say. */
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { node } from "../support/command.ts";
import { debianGuests } from "../support/debian.ts";

const debian = await debianGuests();

const WORK = [
  "seq 1 5000 > n; i=0; while [ $i -lt 40 ]; do /bin/busybox true && i=$((i+1)); done; echo forks $i",
  "for i in 1 2 3; do (sort -rn n | sha256sum > s$i) & done; wait; cat s? | sort -u",
  "poweroff -f",
];

/** Of `seq 1 5000 | sort -rn`. */
const SUM = "2950d21f5a89edee14ea4716d8926a29e1f432b6f982c54d2e87cfeef73dca05";

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
      WORK.join("\n"),
    ]);
    expect(run.stderr).toBe("");
    const { texts, found, audits } = JSON.parse(run.stdout);
    expect(found).toEqual([]);
    expect(audits).toBeGreaterThan(10);
    texts.forEach((text: string, n: number) => {
      expect(text).toMatch(/^forks 40\r?$/m);
      expect(text).toContain(SUM);
      expect(text).toContain(`guest type ${["PV", "PVH"][n]}`);
    });
  },
  300_000,
);

/** Several domains on one machine: shares of the processors, and a bad one that goes down alone. Our own kernel does the work. */

import { afterAll, describe, expect, it } from "vitest";
import type { DomainReport } from "../../src/report/schema.ts";
import { type GuestConfig, type GuestRun, OWN_KERNEL, RunFolder } from "../support/guest-run.ts";

const folder = new RunFolder();
afterAll(() => folder.remove());
const SLOW = 120_000;

const own = (name: string, work: string, ...more: string[]): GuestConfig => ({
  name,
  kernel: OWN_KERNEL,
  extra: `work=${work}`,
  memory: 32,
  more,
});
const weight = (value: number): string => `cpu_weight = ${value}`;
/** Longer than any run here. */
const FOREVER = "spin:1000000000000:1000";

const guestCycles = (d: DomainReport): number => d.cycles.user + d.cycles.kernel;
const shares = (run: GuestRun): number[] => {
  const cycles = run.report!.domains.map(guestCycles);
  const sum = cycles.reduce((a, b) => a + b, 0);
  return cycles.map((c) => c / sum);
};

describe("busy domains", () => {
  it(
    "of weights 256 and 512 get cycles 1:2",
    async () => {
      const run = await folder.run(
        [own("light", FOREVER, weight(256)), own("heavy", FOREVER, weight(512))],
        ["--max-cycles", "1500M"],
        { report: true },
      );
      const [light, heavy] = run.report!.domains.map(guestCycles) as [number, number];
      expect(heavy / light).toBeGreaterThan(2 * 0.95);
      expect(heavy / light).toBeLessThan(2 * 1.05);
      // Nobody idles, and Xen takes little.
      expect(run.report!.totals.idle).toBeLessThan(1500e6 * 0.01);
      expect(run.report!.totals.hypervisor).toBeLessThan(1500e6 * 0.01);
    },
    SLOW,
  );

  it(
    "of weights 256, 256 and 512 on two physical CPUs: the heavy one has one, the others share the other",
    async () => {
      const guests = [own("a", FOREVER, weight(256)), own("b", FOREVER, weight(256)), own("c", FOREVER, weight(512))];
      const run = await folder.run(guests, ["--max-cycles", "1000M", "--pcpus", "2"], { report: true });
      const [a, b, c] = shares(run) as [number, number, number];
      expect(a).toBeCloseTo(0.25, 1);
      expect(b).toBeCloseTo(0.25, 1);
      expect(c).toBeCloseTo(0.5, 1);
      expect(Math.abs(a / b - 1)).toBeLessThan(0.15);
      expect(run.report!.totals.idle).toBeLessThan(2000e6 * 0.02);
    },
    SLOW,
  );

  it(
    "with a cap get no more than that, and the CPU idles",
    async () => {
      const run = await folder.run([own("capped", FOREVER, "cap = 25")], ["--max-cycles", "800M"], { report: true });
      expect(guestCycles(run.report!.domains[0]!) / 800e6).toBeCloseTo(0.25, 1);
    },
    SLOW,
  );

  it(
    "stay on the CPUs that cpus names",
    async () => {
      const guests = [own("a", FOREVER, 'cpus = "0"'), own("b", FOREVER, 'cpus = "0"')];
      const run = await folder.run(guests, ["--max-cycles", "400M", "--pcpus", "2"], { report: true });
      expect(shares(run)[0]).toBeCloseTo(0.5, 1);
      expect(run.report!.totals.idle / 400e6).toBeCloseTo(1, 1);
    },
    SLOW,
  );
});

describe("a domain that goes wrong", () => {
  for (const [work, reason] of [
    ["triple", /bad \(domain 1\): crash at cycle \d+\nd1v0 Triple fault/],
    ["nowhere", /bad \(domain 1\): crash at cycle \d+/],
    ["crash", /bad \(domain 1\): crash at cycle \d+/],
  ] as const)
    it(
      `by work=${work} crashes alone: exit code 4, and the other one goes on`,
      async () => {
        const run = await folder.run([own("bad", work), own("good", "spin:50000000,xs-perms")], ["--timeout", "100"]);
        expect(run.stderr).toMatch(reason);
        expect(run.stderr).toMatch(/good \(domain 2\): poweroff at cycle \d+/);
        expect(run.stdout).toMatch(/good\| xs-perms: \d+ passed, 0 failed/);
        expect(run.code).toBe(4);
      },
      SLOW,
    );

  it(
    "shows its registers",
    async () => {
      const triple = await folder.run([own("bad", "triple")]);
      expect(triple.stderr).toMatch(/^RIP: {4}0008:\[<[0-9a-f]{16}>\]$/m);
      expect(triple.stderr).toMatch(/^cr3: [0-9a-f]{16} {3}cr2: [0-9a-f]{16}$/m);
      // Jumps into nowhere are page faults, which our kernel handles by saying where it was.
      const nowhere = await folder.run([own("bad", "nowhere")]);
      expect(nowhere.stdout).toMatch(/trap 14 #PF error 0x10 cr2 0x123456789000/);
      expect([triple.code, nowhere.code]).toEqual([4, 4]);
    },
    SLOW,
  );

  it(
    "is restarted where on_crash says so, as long as it crashes",
    async () => {
      const guest = own("bad", "crash", 'on_crash = "restart"');
      const run = await folder.run([guest], ["--max-cycles", "2M"]);
      expect(run.stderr).toMatch(/restarted as domain 2\n(.*\n)*.*restarted as domain 3/);
      expect(run.code).toBe(0);
    },
    SLOW,
  );

  it(
    "is not stopped by hypercalls that do not exist: they get ENOSYS",
    async () => {
      const run = await folder.run([own("odd", "badcall")]);
      expect(run.stdout).toMatch(/^ok .*(nosys|unknown|number)/im);
      expect(run.code).toBe(0);
    },
    SLOW,
  );
});

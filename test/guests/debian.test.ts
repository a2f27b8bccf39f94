/** Debian's 6.1 kernels as PVH domains under the built command: what somebody sees who types it. */

import { afterAll, describe, expect, it } from "vitest";
import { debianGuests } from "../support/debian.ts";
import { type GuestConfig, LINUX_TROUBLE, RunFolder, shellSession } from "../support/guest-run.ts";

const debian = await debianGuests();
const missing = "missing" in debian ? debian.missing : undefined;
const files = "missing" in debian ? { cloud: "", generic: "", initramfs: "" } : debian;
const folder = new RunFolder();
afterAll(() => folder.remove());

/** A boot takes five to ten seconds alone, more beside other tests. */
const BOOT = 180_000;
const LIMIT = ["--timeout", "150"];

const linux = (flavour: "cloud" | "generic", more: Partial<GuestConfig> = {}, extra = ""): GuestConfig => ({
  name: flavour,
  kernel: files[flavour],
  ramdisk: files.initramfs,
  extra: `console=hvc0 xen_legacy_crash ${extra}`,
  ...more,
});

const POWEROFF = ["poweroff -f"] as const;

describe.skipIf(missing !== undefined)(`Debian's kernels${missing === undefined ? "" : ` (${missing})`}`, () => {
  for (const [flavour, vcpus, pcpus] of [
    ["cloud", 1, 1],
    ["cloud", 2, 1],
    ["generic", 1, 1],
    ["generic", 2, 2],
  ] as const)
    it(
      `${flavour}: ${vcpus} vcpus on ${pcpus} physical CPUs come to a shell, answer, and power off`,
      async () => {
        const run = await folder.run([linux(flavour, { vcpus })], ["--pcpus", String(pcpus), ...LIMIT], {
          script: shellSession(
            ["cat /sys/hypervisor/guest_type", "^PVH"],
            ["nproc", `^${vcpus}\\s`],
            ["dmesg | grep -c FIFO-based", "^1\\s"],
            ["echo $((6 * 7))", "^42"],
            POWEROFF,
          ),
          report: true,
        });
        expect(run.stderr).toMatch(new RegExp(`${flavour} \\(domain 1\\): poweroff at cycle \\d+`));
        expect(run.code).toBe(0);
        expect(run.stdout).not.toMatch(LINUX_TROUBLE);
        const { totals, domains, host } = run.report!;
        expect(totals.user + totals.kernel + totals.hypervisor + totals.idle).toBe(pcpus * totals.cycles);
        expect(domains[0]!.vcpus.map((v) => v.instructions > 1_000_000)).toEqual(Array(vcpus).fill(true));
        // The guest's RAM and 400 MiB.
        expect(host.peakMemory).toBeLessThan((256 + 400) * 2 ** 20);
      },
      BOOT,
    );

  it(
    "answer what is typed into the terminal",
    async () => {
      let typed = 0;
      const lines = ["echo $((6 * 7))\n", "poweroff -f\n"];
      const run = await folder.run([linux("cloud")], LIMIT, {
        onOutput: (stdout, stdin) => {
          const prompts = stdout.split("/root #").length - 1;
          if (prompts > typed && typed < lines.length) stdin.write(lines[typed++]!);
        },
      });
      expect(run.stdout).toMatch(/^42\r?$/m);
      expect(run.code).toBe(0);
    },
    BOOT,
  );

  it(
    "use the 2-level event channels with xen.fifo_events=0, and restart when on_reboot says so, on x86-64-v3",
    async () => {
      const guest = linux("cloud", { more: ['on_reboot = "restart"'] }, "xen.fifo_events=0");
      const run = await folder.run([guest], ["--cpu-model", "x86-64-v3", ...LIMIT], {
        script: shellSession(
          ["dmesg | grep ABI", "Using 2-level ABI"],
          ["grep -c ' avx2 ' /proc/cpuinfo", "^1"],
          ["reboot -f"],
          ["uptime", "up 0 min"],
          POWEROFF,
        ),
      });
      expect(run.stderr).toContain("restarted as domain 2");
      expect(run.stderr).toMatch(/cloud \(domain 2\): poweroff at cycle/);
      expect(run.code).toBe(0);
      expect(run.stdout).not.toMatch(LINUX_TROUBLE);
    },
    BOOT,
  );

  it(
    "balloon between nothing and maxmem, and end at a reboot when on_reboot says destroy",
    async () => {
      const memory = "/sys/devices/system/xen_memory/xen_memory0";
      const guest = linux("cloud", { more: ["maxmem = 320", 'on_reboot = "destroy"'] });
      const run = await folder.run([guest], LIMIT, {
        script: shellSession(
          // What memory says, less the page at 0 and the hole below 1 MiB.
          [`cat ${memory}/info/current_kb`, "^261756\\s"],
          [`echo 150000 > ${memory}/target_kb; sleep 2; cat ${memory}/info/current_kb`, "^150000\\s"],
          [`echo 300000 > ${memory}/target_kb; sleep 2; cat ${memory}/info/current_kb`, "^300000\\s"],
          ["reboot -f"],
        ),
      });
      expect(run.stderr).toMatch(/cloud \(domain 1\): reboot at cycle/);
      expect(run.stderr).not.toContain("restarted");
      expect(run.code).toBe(0);
      expect(run.stdout).not.toMatch(LINUX_TROUBLE);
    },
    BOOT,
  );

  // Xen 4.17 leaves such a guest without a timer: the generic kernel hangs at its prompt, the cloud one after "io scheduler". Here
  // a domain whose command line says so has a PC's timer (hypervisor/hvm/pc-timer.ts).
  for (const flavour of ["cloud", "generic"] as const)
    it(
      `${flavour}: come to a shell without ACPI, answer, keep time, and power off`,
      async () => {
        const run = await folder.run([linux(flavour, {}, "acpi=off")], LIMIT, {
          script: shellSession(
            ["cat /sys/hypervisor/guest_type", "^PVH"],
            ["cat /sys/devices/system/clockevents/clockevent0/current_device", "^pit"],
            ["grep -q 'XT-PIC *timer' /proc/interrupts && echo ticks", "^ticks"],
            [
              "a=$(cut -d. -f1 /proc/uptime); sleep 2; b=$(cut -d. -f1 /proc/uptime); echo slept $((b - a))",
              "^slept 2",
            ],
            POWEROFF,
          ),
        });
        expect(run.stderr).toMatch(new RegExp(`${flavour} \\(domain 1\\): poweroff at cycle \\d+`));
        expect(run.code).toBe(0);
        expect(run.stdout).toContain("ACPI: Interpreter disabled");
        expect(run.stdout).not.toMatch(LINUX_TROUBLE);
      },
      BOOT,
    );

  it(
    "two at once on one physical CPU both make progress; one powers off, the other's panic is a crash",
    async () => {
      const run = await folder.run([linux("cloud", { name: "one" }), linux("cloud", { name: "two" })], LIMIT, {
        script: [
          "console one\nexpect /root #\nconsole two\nexpect /root #\n",
          'console one\nsend "poweroff -f\\n"\nexpect reboot: System halted\n',
          'console two\nsend "cat /proc/uptime\\n"\nexpect ^[0-9.]+ [0-9.]+\n',
          'send "echo c > /proc/sysrq-trigger\\n"\nexpect Kernel panic\n',
        ].join(""),
        report: true,
      });
      expect(run.stderr).toMatch(/one \(domain 1\): poweroff at cycle \d+/);
      expect(run.stderr).toMatch(/two \(domain 2\): crash at cycle \d+/);
      expect(run.code).toBe(4);
      // Both booted while both ran: of the first's life each had its share.
      const [one, two] = run.report!.domains;
      const used = (d: typeof one): number => d!.cycles.user + d!.cycles.kernel;
      expect(used(two) / used(one)).toBeGreaterThan(0.8);
      expect(used(two) / used(one)).toBeLessThan(1.5);
    },
    BOOT,
  );

  it(
    "two at once on one physical CPU, an AMD one, both shut down",
    async () => {
      const typed = (name: string): string => `console ${name}\nexpect /root #\nsend "poweroff -f\\n"\n`;
      const run = await folder.run(
        [linux("cloud", { name: "one" }), linux("cloud", { name: "two", vcpus: 2 })],
        ["--cpu", "amd", ...LIMIT],
        {
          script: typed("one") + typed("two"),
        },
      );
      expect(run.stderr).toMatch(/one \(domain 1\): poweroff at cycle \d+/);
      expect(run.stderr).toMatch(/two \(domain 2\): poweroff at cycle \d+/);
      expect(run.code).toBe(0);
      expect(run.stdout).not.toMatch(LINUX_TROUBLE);
    },
    BOOT,
  );

  it(
    "end with 0 at the line that --expect waits for, and with 3 at --timeout",
    async () => {
      const found = await folder.run([linux("cloud")], ["--expect", "Linux version [0-9.]+.*Debian", ...LIMIT]);
      expect([found.code, found.stderr]).toEqual([0, ""]);
      const late = await folder.run([linux("cloud")], ["--expect", "never said", "--timeout", "1"]);
      expect(late.code).toBe(3);
      expect(late.stderr).toMatch(/stopped at cycle \d+: --timeout 1 s\n.*no console line matched --expect never said/);
    },
    BOOT,
  );
});

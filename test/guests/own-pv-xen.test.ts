// Our own PV kernel under our own hypervisor. What its works expect is what a real Xen 4.17.7 answered the same kernel as a
// domU; a work is right when nothing of it failed.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { CpuVendor, RunOutcome } from "../../src/machine/api.ts";
import { Machine } from "../../src/machine/machine.ts";

const kernel = new Uint8Array(readFileSync(new URL("../../guests/pv/pv.elf", import.meta.url)));
const MIB = 2 ** 20;

interface Run {
  outcome: RunOutcome;
  reason: string;
  text: string;
  cycle: number;
}

async function run(
  cmdline: string,
  options: { vcpus?: number; pcpus?: number; cpu?: CpuVendor; input?: string } = {},
): Promise<Run> {
  const { vcpus = 2, pcpus = 1, cpu = "intel", input } = options;
  const machine = await Machine.create({
    pcpus,
    cpu,
    domains: [{ name: "own", type: "pv", kernel, memory: 64 * MIB, vcpus, cmdline }],
  });
  let text = "";
  let reason = "";
  machine.onLog((line) => {
    reason ||= /d1 \(own\) (\w+)/.exec(line)?.[1] ?? "";
  });
  machine.console(1).onOutput((bytes) => {
    text += Buffer.from(bytes).toString("latin1");
  });
  if (input !== undefined) machine.console(1).input(new TextEncoder().encode(input));
  const outcome = machine.run({ maxCycles: 300e6 });
  expect((machine as Machine).audit()).toEqual([]);
  return { outcome, reason, text, cycle: machine.cycle };
}

const failures = (text: string): string[] =>
  text.split("\n").filter((line) => line.startsWith("FAIL") || line.startsWith("panic"));

describe("the PV kernel under Xen", () => {
  for (const cpu of ["intel", "amd"] as const)
    it(`tours an ${cpu} machine and powers off`, async () => {
      const { text, reason, outcome } = await run("work=hello", { cpu });
      expect(failures(text)).toEqual([]);
      expect(text).toMatch(/^hello: \d\d passed, 0 failed\r?$/m);
      expect([outcome, reason]).toEqual(["all-shutdown", "halted"]);
    });

  for (const work of ["evtchn", "xs-conflict", "xs-perms", "xs-watch", "badcall", "mmu", "traps", "syscall"])
    it(`finds nothing wrong with ${work}`, async () => {
      const { text } = await run(`work=${work}`);
      expect(failures(text)).toEqual([]);
      expect(text).toMatch(new RegExp(`^${work}: \\d+ passed, 0 failed\\r?$`, "m"));
    });

  for (const [vcpus, pcpus] of [
    [5, 1],
    [4, 2],
  ] as const)
    it(`runs ${vcpus} vcpus on ${pcpus} physical CPUs`, async () => {
      const { text } = await run("work=smp", { vcpus, pcpus });
      expect(failures(text)).toEqual([]);
      expect(text).toContain(`smp: ${vcpus} vcpus`);
      expect(text).toMatch(/^smp: \d+ passed, 0 failed\r?$/m);
    });

  it("echoes its console until told to quit", async () => {
    const { text, reason } = await run("work=echo", { vcpus: 1, input: "one\ntwo words\nquit\nignored\n" });
    expect(text.replaceAll("\r", "")).toBe('echo: type, "quit" ends\none\ntwo words\necho: done\n');
    expect(reason).toBe("halted");
  });

  for (const [work, reason] of [
    ["crash", "crashed"],
    ["reboot", "rebooted"],
    ["nowhere", "crashed"],
  ] as const)
    it(`ends as ${reason} after work=${work}`, async () => {
      const end = await run(`work=${work}`, { vcpus: 1 });
      expect([end.outcome, end.reason]).toEqual(["all-shutdown", reason]);
    });

  it("repeats to the cycle", async () => {
    const [a, b] = [await run("work=hello,smp,evtchn"), await run("work=hello,smp,evtchn")];
    expect(b).toEqual(a);
  });
});

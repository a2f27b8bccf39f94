// Our own PV kernel under our own hypervisor. What its works expect is what a real Xen 4.17.7 answered the same kernel as a
// domU; a work is right when nothing of it failed.
import { describe, expect, it } from "vitest";
import { failures, type OwnRun, runOwnKernel } from "../support/own-kernel.ts";

const run = (cmdline: string, options?: Parameters<typeof runOwnKernel>[2]): Promise<OwnRun> =>
  runOwnKernel("pv", cmdline, options);

describe("the PV kernel under Xen", () => {
  for (const cpu of ["intel", "amd"] as const)
    it(`tours an ${cpu} machine and powers off`, async () => {
      const { text, reason, outcome } = await run("work=hello", { cpu });
      expect(failures(text)).toEqual([]);
      expect(text).toMatch(/^hello: \d\d passed, 0 failed\r?$/m);
      expect([outcome, reason]).toEqual(["all-shutdown", "halted"]);
    });

  for (const work of ["evtchn", "xs-conflict", "xs-perms", "xs-watch", "badcall", "mmu", "traps", "syscall", "legacy"])
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

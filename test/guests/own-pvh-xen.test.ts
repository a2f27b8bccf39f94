// Our own PVH kernel under our own hypervisor: each work checks itself against what Xen 4.17 answers, and a
// work is right when nothing of it failed. What a work proves stands in guests/README.md and at the top of its source.
import { describe, expect, it } from "vitest";
import { failures, type OwnRun, runOwnKernel } from "../support/own-kernel.ts";

const run = (cmdline: string, options?: Parameters<typeof runOwnKernel>[2]): Promise<OwnRun> =>
  runOwnKernel("pvh", cmdline, options);

describe("the PVH kernel under Xen", () => {
  for (const cpu of ["intel", "amd"] as const) {
    it(`tours an ${cpu} machine and powers off`, async () => {
      const { text, reason, outcome } = await run("work=hello", { cpu });
      expect(failures(text)).toEqual([]);
      expect(text).toMatch(/^hello: \d\d passed, 0 failed\r?$/m);
      expect([outcome, reason]).toEqual(["all-shutdown", "halted"]);
    });
  }

  for (const work of ["evtchn", "xs-conflict", "xs-perms", "xs-watch", "memory", "badcall", "grantv2"]) {
    it(`finds nothing wrong with ${work}`, async () => {
      const { text } = await run(`work=${work}`);
      expect(failures(text)).toEqual([]);
      expect(text).toMatch(new RegExp(`^${work}: \\d+ passed, 0 failed\\r?$`, "m"));
    });
  }

  for (const [vcpus, pcpus] of [
    [2, 1],
    [5, 1],
    [4, 2],
  ] as const) {
    it(`runs ${vcpus} vcpus on ${pcpus} physical CPUs`, async () => {
      const { text } = await run("work=smp", { vcpus, pcpus });
      expect(failures(text)).toEqual([]);
      expect(text).toContain(`smp: ${vcpus} vcpus`);
      expect(text).toMatch(/^smp: \d+ passed, 0 failed\r?$/m);
    });
  }

  it("echoes its console until told to quit", async () => {
    const { text, reason } = await run("work=echo", { vcpus: 1, input: "one\ntwo words\nquit\nignored\n" });
    expect(text.replaceAll("\r", "")).toBe('echo: type, "quit" ends\none\ntwo words\necho: done\n');
    expect(reason).toBe("halted");
  });

  for (const [work, reason] of [
    ["crash", "crashed"],
    ["reboot", "rebooted"],
    ["triple", "crashed"],
    ["nowhere", "crashed"],
  ] as const) {
    it(`ends as ${reason} after work=${work}`, async () => {
      const end = await run(`work=${work}`, { vcpus: 1 });
      expect([end.outcome, end.reason]).toEqual(["all-shutdown", reason]);
    });
  }

  it("repeats to the cycle", async () => {
    const [a, b] = [await run("work=hello,smp,evtchn"), await run("work=hello,smp,evtchn")];
    expect(b).toEqual(a);
  });

  it("says at every period of Xen time how far its loop is", async () => {
    const { text } = await run("work=spin:35000000:10", { vcpus: 1 });
    const at = [...text.matchAll(/^spin at (\d+) ms: (\d+) rounds/gm)].map((m) => [Number(m[1]), Number(m[2])]);
    expect(at.map(([ms]) => ms)).toEqual([10, 20, 30]);
    const steps = [at[1]![1]! - at[0]![1]!, at[2]![1]! - at[1]![1]!];
    expect(Math.abs(steps[0]! - steps[1]!)).toBeLessThan(steps[0]! / 50);
  });
});

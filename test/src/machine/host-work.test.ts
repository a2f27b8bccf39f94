/** Where the host's time goes while a machine runs: complete, and of no influence. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import type { MachineApi } from "../../../src/machine/api.ts";
import { Machine } from "../../../src/machine/machine.ts";

const file = (path: string): Uint8Array =>
  new Uint8Array(readFileSync(new URL(`../../../guests/${path}`, import.meta.url)));

/**
 * Runs a guest to its end.
 * @returns the machine, its console, and the milliseconds between the first and the last reading of the clock in each call of `run`.
 *   (The calls as the test sees them are longer on a host that lets others run in between.)
 */
async function run(
  type: "pvh" | "pv",
  kernel: string,
  cmdline: string,
  timed: boolean,
): Promise<{ machine: MachineApi; text: string; wall: number }> {
  let readings: number[] = [];
  const hostClock = (): number => {
    const now = performance.now();
    readings[readings.length > 0 ? 1 : 0] = now;
    return now;
  };
  const machine = await Machine.create({
    domains: [{ name: "guest", type, kernel: file(kernel), cmdline, memory: 64 << 20, vcpus: 2 }],
    ...(timed && { hostClock }),
  });
  let text = "";
  machine.console(1).onOutput((bytes) => {
    text += Buffer.from(bytes).toString("latin1");
  });
  let wall = 0;
  for (let ran = "cycle-limit"; ran === "cycle-limit"; ) {
    readings = [];
    const from = performance.now();
    ran = machine.run({ maxCycles: 20_000_000 });
    const whole = performance.now() - from;
    const [first = 0, last = 0] = readings;
    if (timed) expect(last - first).toBeGreaterThan(0.5 * whole - 50);
    wall += last - first;
  }
  return { machine, text, wall };
}

it.each([
  ["our own kernel as PVH", "pvh", "pvh/pvh.elf", "work=hello,evtchn"],
  ["our own kernel as PV", "pv", "pv/pv.elf", "work=hello,traps,mmu"],
  ["a benchmark in translated code", "pvh", "bench/bench.elf", "bench=sha256 n=300"],
] as const)(
  "%s: the parts are the whole run, and the run is the same as without a clock",
  async (_, type, kernel, cmdline) => {
    const plain = await run(type, kernel, cmdline, false);
    const timed = await run(type, kernel, cmdline, true);
    expect(plain.machine.hostWork()).toBeNull();
    expect(timed.text).toBe(plain.text);
    expect(timed.machine.report()).toEqual(plain.machine.report());

    const { seconds, ...work } = timed.machine.hostWork()!;
    for (const part of Object.values(seconds)) expect(part).toBeGreaterThanOrEqual(0);
    const { unpack: _unpack, build: _build, ...running } = seconds;
    const sum = Object.values(running).reduce((total, part) => total + part, 0);
    expect(sum * 1000).toBeCloseTo(timed.wall, 3);
    expect(seconds.decode + seconds.lift).toBeGreaterThan(0);
    // What generated code calls was sampled by itself: in a run this short the estimate may leave nothing for the code.
    expect(seconds.interpret + seconds.translated + seconds.memory + seconds.helpers).toBeGreaterThan(0);
    expect(work.blocks).toBeGreaterThan(100);
    if (kernel.startsWith("bench")) {
      expect(Math.min(seconds.translate, seconds.compile)).toBeGreaterThan(0);
      expect(work.regions).toBeGreaterThan(0);
      expect(work.liveCodeBytes).toBeGreaterThan(0);
      expect(work.codeBytes).toBeGreaterThanOrEqual(work.liveCodeBytes);
      expect(work.translatedShare).toBeGreaterThan(0.7);
    }
  },
);

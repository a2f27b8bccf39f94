/**
 * The machine in a worker against the machine in this thread. Workers need compiled JavaScript, so the module is taken from
 * dist, which `npm test` builds first; the machine of this thread is the one of the sources, so a stale dist shows.
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { nodeEndpoint } from "../../../dist/src/machine/node-endpoint.js";
import {
  createRemoteMachine,
  MachineConfigError,
  type RemoteConfig,
  type RemoteMachine,
  type RemoteRun,
} from "../../../dist/src/machine/remote.js";
import type { MachineApi } from "../../../src/machine/api.ts";
import { Machine } from "../../../src/machine/machine.ts";

const kernel = new Uint8Array(readFileSync(fileURLToPath(new URL("../../../guests/pvh/pvh.elf", import.meta.url))));
const WORKER = new URL("../../../dist/src/machine/worker.js", import.meta.url);
const ENOUGH = 500_000_000;

const config = (cmdline: string): RemoteConfig => ({
  domains: [{ name: "guest", type: "pvh", kernel, cmdline, memory: 16 << 20 }],
});

/** All that can be seen of a run in this thread, in the form that the worker gives. */
async function here(
  cmdline: string,
  pieces: readonly number[] = [ENOUGH],
): Promise<RemoteRun & { machine: MachineApi }> {
  const machine = await Machine.create(config(cmdline));
  const run: RemoteRun = { outcome: "blocked", cycle: 0, console: [], log: [] };
  machine.onLog((line, cycle) => run.log.push({ line, cycle }));
  machine.console(1).onOutput((bytes, cycle) => run.console.push({ domid: 1, cycle, bytes }));
  for (const maxCycles of pieces) run.outcome = machine.run({ maxCycles });
  run.cycle = machine.cycle;
  return { ...run, machine };
}

const text = (run: RemoteRun): string =>
  Buffer.concat(run.console.map(({ bytes }) => Buffer.from(bytes))).toString("latin1");

describe("a machine in a worker", () => {
  const workers: Worker[] = [];
  const machines: RemoteMachine[] = [];
  const seen = (worker: Worker): unknown => workers.push(worker);
  const create = async (...args: Parameters<typeof createRemoteMachine>): Promise<RemoteMachine> => {
    const machine = await createRemoteMachine(...args);
    machines.push(machine);
    return machine;
  };
  /** Node gives a worker that has ended the thread id -1. */
  const alive = (): number => workers.filter((worker) => worker.threadId !== -1).length;

  beforeEach(() => {
    process.on("worker", seen);
  });
  afterEach(async () => {
    process.off("worker", seen);
    for (const machine of machines.splice(0)) await machine.dispose();
    workers.length = 0;
  });

  it("makes the same run as in this thread: cycle, console, log, domains and report", async () => {
    const { machine, ...expected } = await here("work=hello");
    const remote = await create(config("work=hello"));
    const run = await remote.run({ maxCycles: ENOUGH });
    expect(text(run)).toMatch(/hello: \d+ passed, 0 failed/);
    expect(run).toEqual(expected);
    expect(await remote.report()).toEqual(machine.report());
    expect(await remote.domains()).toEqual(machine.domains);
  });

  it("gives each piece of a run what was written during it", async () => {
    const { machine: _, ...expected } = await here("work=hello", [1_000_000, ENOUGH]);
    const remote = await create(config("work=hello"));
    const first = await remote.run({ maxCycles: 1_000_000 });
    const rest = await remote.run({ maxCycles: ENOUGH });
    expect(first.outcome).toBe("cycle-limit");
    expect(first.console.every(({ cycle }) => cycle <= first.cycle)).toBe(true);
    expect({ ...rest, console: [...first.console, ...rest.console], log: [...first.log, ...rest.log] }).toEqual(
      expected,
    );
  });

  it("runs beside another one", async () => {
    const works = ["work=hello", "work=memory"];
    const expected = [await here(works[0]!), await here(works[1]!)];
    const remotes = await Promise.all(works.map((work) => create(config(work))));
    expect(alive()).toBe(2);
    const runs = await Promise.all(remotes.map((remote) => remote.run({ maxCycles: ENOUGH })));
    expect(runs.map((run) => run.cycle)).toEqual(expected.map((run) => run.cycle));
    expect(runs.map(text)).toEqual(expected.map(text));
    expect(text(runs[0]!)).not.toBe(text(runs[1]!));
  });

  it("rejects what the machine refuses, and restarts a domain, whose console is heard under the new domid", async () => {
    const remote = await create(config("work=hello"));
    await expect(remote.input(7, new Uint8Array([10]))).rejects.toThrow(new RangeError("there is no domain 7"));
    await expect(remote.restart(1)).rejects.toThrow(new RangeError("domain 1 is still running"));
    const first = await remote.run({ maxCycles: ENOUGH });
    expect(await remote.restart(1)).toBe(2);
    const second = await remote.run({ maxCycles: ENOUGH });
    expect(new Set(second.console.map(({ domid }) => domid))).toEqual(new Set([2]));
    expect(text(second)).toMatch(/hello: \d+ passed, 0 failed/);
    expect(second.cycle).toBeGreaterThan(first.cycle);
  });

  it("rejects a bad kernel as MachineConfigError with its fields, and ends the worker", async () => {
    const bad = { name: "bad", type: "pvh" as const, kernel: new Uint8Array(4096), cmdline: "", memory: 64 << 20 };
    const expected = await Machine.create({ domains: [bad] }).catch((error: unknown) => error as Error);
    const error = await create({ domains: [bad] }).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(MachineConfigError);
    expect(error).toMatchObject({ part: "kernel", domain: "bad", message: (expected as Error).message });
    expect(workers).toHaveLength(1);
    expect(alive()).toBe(0);
  });

  it("types into a console at a given cycle", async () => {
    const typed = new TextEncoder().encode("a word\nquit\n");
    const at = 40_000_000;
    const machine = await Machine.create(config("work=echo"));
    machine.console(1).input(typed, at);
    expect(machine.run({ maxCycles: ENOUGH })).toBe("all-shutdown");

    const remote = await create(config("work=echo"));
    await remote.input(1, typed, at);
    const run = await remote.run({ maxCycles: ENOUGH });
    expect(run.outcome).toBe("all-shutdown");
    expect(run.cycle).toBe(machine.cycle);
    expect(text({ ...run, console: run.console.filter(({ cycle }) => cycle >= at) })).toContain("a word");
  });

  it("ends its worker on dispose, in the middle of a run", async () => {
    const remote = await create(config("work=hello"));
    expect(alive()).toBe(1);
    const run = expect(remote.run()).rejects.toThrow("the machine was disposed of");
    await remote.dispose();
    await run;
    expect(alive()).toBe(0);
    await expect(remote.report()).rejects.toThrow("the machine was disposed of");
    await remote.dispose();
  });

  it("rejects what is under way if the worker ends by itself", async () => {
    const remote = await create(config("work=hello"));
    const run = expect(remote.run()).rejects.toThrow(/the worker ended/);
    await workers[0]!.terminate();
    await run;
    await expect(remote.domains()).rejects.toThrow(/the worker ended/);
  });

  it("takes a worker that is handed over, as a browser has them", async () => {
    const worker = new Worker(WORKER);
    const remote = await create(config("work=hello"), { ...nodeEndpoint(worker), terminate: () => worker.terminate() });
    expect(text(await remote.run({ maxCycles: ENOUGH }))).toMatch(/hello: \d+ passed, 0 failed/);
    expect(workers).toEqual([worker]);
    await remote.dispose();
    expect(alive()).toBe(0);
  });
});

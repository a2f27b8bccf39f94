/**
 * The worker's side of remote.ts: one machine, and few calls that do much each, since a call between threads costs about
 * 100 us, in which guests run thousands of instructions. It runs in node:worker_threads and as a module worker of a browser.
 */
import { type Endpoint, expose, transfer } from "comlink";
import type { MachineReport } from "../report/schema.ts";
import {
  type DomainStatus,
  type MachineApi,
  type MachineConfig,
  MachineConfigError,
  type RunLimits,
  type RunOutcome,
} from "./api.ts";
import { Machine } from "./machine.ts";
import { type NodePort, nodeEndpoint } from "./node-endpoint.ts";

/** What a guest wrote to its console at one cycle. */
export interface ConsolePiece {
  domid: number;
  cycle: number;
  bytes: Uint8Array;
}

/** A line of the hypervisor's log. */
export interface LogLine {
  line: string;
  cycle: number;
}

/** What a run came to, and everything that was written during it, in order. */
export interface RemoteRun {
  outcome: RunOutcome;
  /** The machine's cycle after the run. */
  cycle: number;
  console: ConsolePiece[];
  log: LogLine[];
}

/** An error as data: comlink itself keeps no more than an error's name, message and stack. */
export interface Fault {
  name: string;
  message: string;
  /** Present for a MachineConfigError. */
  config?: { part: MachineConfigError["part"]; domain: string | undefined };
}

export type Answer<T> = { value: T } | { fault: Fault };

function faultOf(error: unknown): Fault {
  const { name, message } = error instanceof Error ? error : new Error(String(error));
  if (!(error instanceof MachineConfigError)) return { name, message };
  return { name, message, config: { part: error.part, domain: error.domain } };
}

async function answer<T>(work: () => T | Promise<T>): Promise<Answer<T>> {
  try {
    return { value: await work() };
  } catch (error) {
    return { fault: faultOf(error) };
  }
}

/** What the worker offers; every method answers, none throws. */
export class WorkerMachine {
  #machine: MachineApi | undefined;
  #console: ConsolePiece[] = [];
  #log: LogLine[] = [];

  /** Answers the machine's frequency. */
  create(config: MachineConfig): Promise<Answer<number>> {
    return answer(async () => {
      const machine = await Machine.create(config);
      machine.onLog((line, cycle) => this.#log.push({ line, cycle }));
      this.#machine = machine;
      for (const { domid } of machine.domains) this.#listen(domid);
      return machine.frequency;
    });
  }

  async run(limits: RunLimits): Promise<Answer<RemoteRun>> {
    const result = await answer(() => {
      const outcome = this.#running.run(limits);
      const run: RemoteRun = { outcome, cycle: this.#running.cycle, console: pack(this.#console), log: this.#log };
      this.#console = [];
      this.#log = [];
      return run;
    });
    const first = "value" in result ? result.value.console[0] : undefined;
    // All pieces are views of one buffer.
    return first === undefined ? result : transfer(result, [first.bytes.buffer as ArrayBuffer]);
  }

  input(domid: number, bytes: Uint8Array, atCycle?: number): Promise<Answer<void>> {
    return answer(() => this.#running.console(domid).input(bytes, atCycle));
  }

  report(): Promise<Answer<MachineReport>> {
    return answer(() => this.#running.report());
  }

  domains(): Promise<Answer<readonly DomainStatus[]>> {
    return answer(() => this.#running.domains);
  }

  restart(domid: number): Promise<Answer<number>> {
    return answer(async () => {
      const next = await this.#running.restart(domid);
      this.#listen(next);
      return next;
    });
  }

  get #running(): MachineApi {
    if (this.#machine === undefined) throw new Error("the worker has no machine yet");
    return this.#machine;
  }

  #listen(domid: number): void {
    this.#machine!.console(domid).onOutput((bytes, cycle) => this.#console.push({ domid, cycle, bytes }));
  }
}

/** The same pieces in one buffer, which is handed over at once: guests write a few bytes at a time. */
function pack(pieces: readonly ConsolePiece[]): ConsolePiece[] {
  const all = new Uint8Array(pieces.reduce((sum, { bytes }) => sum + bytes.length, 0));
  let at = 0;
  return pieces.map(({ domid, cycle, bytes }) => {
    all.set(bytes, at);
    at += bytes.length;
    return { domid, cycle, bytes: all.subarray(at - bytes.length, at) };
  });
}

// A browser delivers messages as soon as the script has run, so there must be no wait on its way to `expose`.
const endpoint: Endpoint =
  typeof process !== "undefined" && process.versions?.node !== undefined
    ? nodeEndpoint((await import("node:worker_threads")).parentPort as NodePort)
    : (globalThis as unknown as Endpoint);
expose(new WorkerMachine(), endpoint);

/**
 * A machine in a worker: the thread that asks for it stays responsive while guests run, and several machines run at once.
 * The machine is the same as in the thread itself, cycle for cycle.
 */
import { type Endpoint, type Remote, wrap } from "comlink";
import type { MachineReport } from "../report/schema.ts";
import { type DomainStatus, type MachineConfig, MachineConfigError, type RunLimits } from "./api.ts";
import { nodeEndpoint } from "./node-endpoint.ts";
import type { Answer, Fault, RemoteRun, WorkerMachine } from "./worker.ts";

export { MachineConfigError } from "./api.ts";
export type { ConsolePiece, LogLine, RemoteRun } from "./worker.ts";

/** Functions do not cross to the worker. */
export type RemoteConfig = Omit<MachineConfig, "onProgress" | "onWarning"> & { onProgress?: never; onWarning?: never };
export type RemoteLimits = Omit<RunLimits, "until"> & { until?: never };

/** A worker of the web that runs "xenoscope/worker" as a module. */
export type WebWorker = Endpoint & { terminate(): void };

/**
 * A machine elsewhere. Calls are done in the order they are made; each costs about 100 us besides its work. A call rejects
 * with what the machine threw (MachineConfigError as such), or because the worker ended.
 */
export interface RemoteMachine {
  /** As `MachineApi.frequency`. */
  readonly frequency: number;
  /**
   * Nothing is heard of the machine while it runs: run it in pieces by `maxCycles` to see its output as it comes. The pieces
   * make the same run as one long call.
   */
  run(limits?: RemoteLimits): Promise<RemoteRun>;
  /** As `DomainConsole.input`; the bytes are copied. */
  input(domid: number, bytes: Uint8Array, atCycle?: number): Promise<void>;
  report(): Promise<MachineReport>;
  domains(): Promise<readonly DomainStatus[]>;
  /** As `MachineApi.restart`. */
  restart(domid: number): Promise<number>;
  /** Ends the worker, even in the middle of a run; what is under way rejects. A worker that is not ended keeps Node alive. */
  dispose(): Promise<void>;
}

/** A worker, whatever it runs on. */
interface Place {
  readonly endpoint: Endpoint;
  terminate(): unknown;
  /** Called when the worker ends by itself, at least once. */
  onEnd(listener: (reason: Error) => void): void;
}

function nodePlace({ Worker }: typeof import("node:worker_threads")): Place {
  // Without the options of this process: --input-type, for one, is an error in a worker of a file.
  const worker = new Worker(new URL("./worker.js", import.meta.url), { execArgv: [] });
  return {
    endpoint: nodeEndpoint(worker),
    terminate: () => worker.terminate(),
    onEnd: (listener) => {
      worker.on("error", listener);
      worker.on("exit", (code) => listener(new Error(`the worker ended with code ${code}`)));
    },
  };
}

/** A worker of the script beside this one, in a browser; Node has workers of its own kind. */
function ownWebWorker(): WebWorker {
  const { Worker } = globalThis as unknown as { Worker?: new (url: URL, options: { type: "module" }) => WebWorker };
  if (Worker === undefined) throw new Error("there are no workers here: give createRemoteMachine one, or use Machine");
  return new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
}

/** In the bundle for browsers `process` is undefined, and what is Node's goes with it (scripts/bundle.mjs). */
async function ownPlace(): Promise<Place> {
  if (typeof process !== "undefined" && process.versions?.node !== undefined)
    return nodePlace(await import("node:worker_threads"));
  return webPlace(ownWebWorker());
}

function webPlace(worker: WebWorker): Place {
  return {
    endpoint: worker,
    terminate: () => worker.terminate(),
    onEnd: (listener) =>
      worker.addEventListener("error", (event: { message?: string }) =>
        listener(new Error(event.message ?? "the worker could not be loaded")),
      ),
  };
}

function errorOf({ name, message, config }: Fault): Error {
  if (config !== undefined) return new MachineConfigError(message, config.part, config.domain);
  if (name === "RangeError") return new RangeError(message);
  return Object.assign(new Error(message), { name });
}

class Connection implements RemoteMachine {
  readonly #place: Place;
  readonly #machine: Remote<WorkerMachine>;
  /** How to reject each call that is under way: comlink never answers for a worker that is gone. */
  readonly #waiting: Set<(reason: Error) => void> = new Set();
  frequency = 0;
  #ended: Error | undefined;

  constructor(place: Place) {
    this.#place = place;
    this.#machine = wrap<WorkerMachine>(place.endpoint);
    place.onEnd((reason) => this.#end(reason));
  }

  async create(config: RemoteConfig): Promise<void> {
    this.frequency = await this.#call(() => this.#machine.create(config));
  }

  run(limits: RemoteLimits = {}): Promise<RemoteRun> {
    return this.#call(() => this.#machine.run(limits));
  }

  input(domid: number, bytes: Uint8Array, atCycle?: number): Promise<void> {
    return this.#call(() => this.#machine.input(domid, bytes, atCycle));
  }

  report(): Promise<MachineReport> {
    return this.#call(() => this.#machine.report());
  }

  domains(): Promise<readonly DomainStatus[]> {
    return this.#call(() => this.#machine.domains());
  }

  restart(domid: number): Promise<number> {
    return this.#call(() => this.#machine.restart(domid));
  }

  async dispose(): Promise<void> {
    this.#end(new Error("the machine was disposed of"));
    await this.#place.terminate();
  }

  #end(reason: Error): void {
    this.#ended ??= reason;
    for (const reject of this.#waiting) reject(this.#ended);
    this.#waiting.clear();
  }

  async #call<T>(ask: () => Promise<Answer<T>>): Promise<T> {
    if (this.#ended !== undefined) throw this.#ended;
    let giveUp!: (reason: Error) => void;
    try {
      const answer = await new Promise<Answer<T>>((resolve, reject) => {
        giveUp = reject;
        this.#waiting.add(giveUp);
        ask().then(resolve, reject);
      });
      if ("fault" in answer) throw errorOf(answer.fault);
      return answer.value;
    } finally {
      this.#waiting.delete(giveUp);
    }
  }
}

/**
 * Builds a machine in a worker of its own, of node:worker_threads or of the web; or in `worker`, which the machine then owns.
 * Rejects as `Machine.create` does, or because the worker could not be loaded; the worker has ended then.
 */
export async function createRemoteMachine(config: RemoteConfig, worker?: WebWorker): Promise<RemoteMachine> {
  const machine = new Connection(worker === undefined ? await ownPlace() : webPlace(worker));
  try {
    await machine.create(config);
  } catch (error) {
    await machine.dispose();
    throw error;
  }
  return machine;
}

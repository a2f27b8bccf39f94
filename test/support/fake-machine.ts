/**
 * A machine whose guests are small programs over (cycle, console): for tests of what stands around the machine. It keeps
 * the promises of src/machine/api.ts: same input, same cycles, whatever the slices.
 */

import type {
  DomainConsole,
  DomainStatus,
  MachineApi,
  RunLimits,
  RunOutcome,
  ShutdownReason,
} from "../../src/machine/api.ts";
import type { DomainReport, MachineReport } from "../../src/report/schema.ts";

export interface FakeGuest {
  name: string;
  /** Called at start and for every input; talks back through `guest`. */
  boot(guest: GuestPort): void;
  typed?(guest: GuestPort, text: string): void;
}

export interface GuestPort {
  /** Writes `text` so many cycles from now. */
  print(after: number, text: string): void;
  shutdown(after: number, reason: ShutdownReason): void;
}

interface Pending {
  cycle: number;
  sequence: number;
  act(): void;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export class FakeMachine implements MachineApi {
  cycle = 0;
  readonly frequency = 1_000_000_000;
  readonly memory = 1 << 30;
  readonly domains: Mutable<DomainStatus>[] = [];
  /** What was typed: [cycle, domid, text]. */
  readonly typed: [number, number, string][] = [];
  readonly #guests: FakeGuest[] = [];
  readonly #listeners: ((bytes: Uint8Array, cycle: number) => void)[][] = [];
  readonly #events: Pending[] = [];
  readonly #quantum: number;
  #sequence = 0;

  constructor(guests: readonly FakeGuest[], quantum = 10_000) {
    this.#quantum = quantum;
    for (const guest of guests) this.#add(guest);
  }

  #add(guest: FakeGuest): number {
    const domid = this.domains.length + 1;
    this.domains.push({ domid, name: guest.name, state: "running" });
    this.#guests.push(guest);
    this.#listeners.push([]);
    guest.boot(this.#port(domid));
    return domid;
  }

  #at(cycle: number, act: () => void): void {
    this.#events.push({ cycle, sequence: this.#sequence++, act });
    this.#events.sort((a, b) => a.cycle - b.cycle || a.sequence - b.sequence);
  }

  #port(domid: number): GuestPort {
    const domain = this.domains[domid - 1]!;
    const whileRunning = (after: number, act: () => void): void =>
      this.#at(this.cycle + after, () => {
        if (domain.state === "running") act();
      });
    return {
      print: (after, text) =>
        whileRunning(after, () => {
          const bytes = new TextEncoder().encode(text);
          for (const listener of this.#listeners[domid - 1]!) listener(bytes, this.cycle);
        }),
      shutdown: (after, reason) =>
        whileRunning(after, () => {
          domain.state = "shutdown";
          domain.shutdownReason = reason;
          if (reason === "crash") domain.registersText = "RIP: 0010:[<ffffffff81000000>]";
        }),
    };
  }

  run({ maxCycles = Number.POSITIVE_INFINITY, until }: RunLimits = {}): RunOutcome {
    const end = this.cycle + maxCycles;
    for (;;) {
      if (this.domains.every((domain) => domain.state === "shutdown")) return "all-shutdown";
      const next = this.#events[0];
      if (next === undefined) return "blocked";
      const quantumEnd = Math.min((Math.floor(this.cycle / this.#quantum) + 1) * this.#quantum, end);
      if (next.cycle > quantumEnd) {
        this.cycle = quantumEnd;
      } else {
        this.#events.shift();
        this.cycle = Math.max(this.cycle, next.cycle);
        next.act();
      }
      if (until?.() === true) return "stopped";
      if (this.cycle >= end) return "cycle-limit";
    }
  }

  console(domid: number): DomainConsole {
    const listeners = this.#listeners[domid - 1];
    if (listeners === undefined) throw new RangeError(`no domain ${domid}`);
    return {
      onOutput: (listener) => void listeners.push(listener),
      input: (bytes, atCycle = this.cycle) =>
        this.#at(Math.max(atCycle, this.cycle), () => {
          const text = new TextDecoder().decode(bytes);
          this.typed.push([this.cycle, domid, text]);
          this.#guests[domid - 1]!.typed?.(this.#port(domid), text);
        }),
    };
  }

  onLog(): void {}

  async restart(domid: number): Promise<number> {
    return this.#add(this.#guests[domid - 1]!);
  }

  hostWork(): null {
    return null;
  }

  report(): MachineReport {
    const zero = { user: 0, kernel: 0, hypervisor: 0 };
    return {
      schemaVersion: 1,
      machine: {
        pcpus: 1,
        memory: this.memory,
        engine: "interpreter",
        cpu: "intel",
        cpuModel: "x86-64-v2",
        timing: "fast",
      },
      domains: this.domains.map(
        (domain): DomainReport => ({
          domid: domain.domid,
          name: domain.name,
          type: "pvh",
          memory: 64 << 20,
          state: domain.state,
          ...(domain.shutdownReason !== undefined && { shutdownReason: domain.shutdownReason }),
          cycles: { user: 10, kernel: this.cycle, hypervisor: 5 },
          instructions: this.cycle,
          vcpus: [{ vcpu: 0, online: true, cycles: zero, instructions: this.cycle }],
          hypercalls: [{ number: 29, name: "sched_op", count: 2 }],
          events: 3,
          faults: [{ vector: 14, name: "#PF", count: 7 }],
          exits: [{ reason: "vmcall", count: 2 }],
          pageTableUpdates: 0,
          tlb: { misses: 5, flushes: 1, walks: 4 },
        }),
      ),
      totals: {
        cycles: this.cycle,
        user: 10 * this.domains.length,
        kernel: this.cycle * this.domains.length,
        hypervisor: 5 * this.domains.length,
        idle: 1000,
        instructions: this.cycle * this.domains.length,
      },
    };
  }
}

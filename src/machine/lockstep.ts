/**
 * A machine that is run twice, on the translator (which interprets what is cold) and on the reference evaluator, and compared at every stride: all
 * vcpus, their counters, and all of memory. The first difference ends the run with a LockstepError whose message names
 * the block, its instructions and micro-ops, and what differs. To get there both runs are repeated, with their inputs,
 * in smaller strides (cpu/reference/lockstep.ts). Costs twice the memory and the reference's time.
 */
import { describeDifference, differences, narrow, type Side } from "../../cpu/reference/lockstep.ts";
import type { HostWork, MachineReport } from "../report/schema.ts";
import type { DomainConsole, DomainStatus, MachineApi, RunLimits, RunOutcome } from "./api.ts";

/** Cycles between comparisons. */
export const LOCKSTEP_STRIDE = 1_000_000;
const NAMES = ["translator", "reference"] as const;

/** A machine whose inside can be compared with another's. */
export interface InspectableMachine extends MachineApi {
  /** Everything that two engines must agree on, by name. Costs a pass over all of memory. */
  inspect(): Readonly<Record<string, string>>;
  /** Disassembly of what the vcpu that ran last is about to execute. */
  ahead(): string[];
  /** Micro-ops of the block that was executed last. */
  behind(): string[];
  /** Recounts what frames are used for, by p2m and page tables alone; a line for every disagreement with Xen's books. Between runs only. */
  audit(): string[];
}

/** The engines differ: a bug of Xenoscope. */
export class LockstepError extends Error {
  override name = "LockstepError";
}

/** Something that was done to the machine from outside, to be repeated at the same cycle. */
interface Operation {
  cycle: number;
  apply(machine: MachineApi): void;
}

export class LockstepMachine implements MachineApi {
  private readonly build: (engine: (typeof NAMES)[number]) => InspectableMachine;
  private readonly stride: number;
  private readonly first: InspectableMachine;
  private readonly second: InspectableMachine;
  private readonly operations: Operation[] = [];

  /** @param build makes the machine in its initial state, as often as asked */
  constructor(build: (engine: (typeof NAMES)[number]) => InspectableMachine, stride: number = LOCKSTEP_STRIDE) {
    this.build = build;
    this.stride = stride;
    this.first = build(NAMES[0]);
    this.second = build(NAMES[1]);
  }

  get cycle(): number {
    return this.first.cycle;
  }
  get frequency(): number {
    return this.first.frequency;
  }
  get memory(): number {
    return this.first.memory;
  }
  get domains(): readonly DomainStatus[] {
    return this.first.domains;
  }

  /** Throws LockstepError on the first difference. */
  run(limits: RunLimits = {}): RunOutcome {
    const end = limits.maxCycles === undefined ? Infinity : this.cycle + limits.maxCycles;
    for (;;) {
      const equalAt = this.cycle;
      const outcome = this.first.run({ ...limits, maxCycles: Math.min(this.stride, end - equalAt) });
      advance(this.second, this.first.cycle);
      const fields = differences(this.side(this.first, []), this.side(this.second, []));
      if (fields.length > 0) throw new LockstepError(this.explain(equalAt, fields).join("\n"));
      if (outcome !== "cycle-limit" || this.cycle >= end) return outcome;
    }
  }

  private explain(equalAt: number, fields: readonly (readonly [string, string, string])[]): string[] {
    const make = (): readonly [Side, Side] => [
      this.side(this.build(NAMES[0]), [...this.operations]),
      this.side(this.build(NAMES[1]), [...this.operations]),
    ];
    const found = narrow(make, equalAt, this.cycle - equalAt);
    if (found !== null) return describeDifference(found, NAMES);
    return [
      `${NAMES.join(" and ")} differ between cycles ${equalAt} and ${this.cycle}, but not when run again`,
      ...fields.map(([name, first, second]) => `  ${name}  ${first}  ${second}`),
    ];
  }

  /** `machine` as one side; `operations` are done to it on the way. */
  private side(machine: InspectableMachine, operations: Operation[]): Side {
    return {
      get cycle(): number {
        return machine.cycle;
      },
      advance(cycle: number): boolean {
        while (operations.length > 0 && operations[0]!.cycle <= cycle) {
          const operation = operations.shift()!;
          advance(machine, operation.cycle);
          operation.apply(machine);
        }
        return advance(machine, cycle);
      },
      state: () => machine.inspect(),
      ahead: () => machine.ahead(),
      behind: () => machine.behind(),
    };
  }

  private both(apply: (machine: MachineApi) => void): void {
    this.operations.push({ cycle: this.cycle, apply });
    apply(this.first);
    apply(this.second);
  }

  console(domid: number): DomainConsole {
    const console = this.first.console(domid);
    return {
      onOutput: (listener) => console.onOutput(listener),
      input: (bytes, atCycle = this.cycle) => {
        const kept = bytes.slice();
        this.both((machine) => machine.console(domid).input(kept, atCycle));
      },
    };
  }

  onLog(listener: (line: string, cycle: number) => void): void {
    this.first.onLog(listener);
  }

  async restart(domid: number): Promise<number> {
    const cycle = this.cycle;
    const next = await this.first.restart(domid);
    await this.second.restart(domid);
    this.operations.push({ cycle, apply: (machine) => void machine.restart(domid) });
    return next;
  }

  /** Of both machines; the counts are the translator's. */
  hostWork(): HostWork | null {
    return this.first.hostWork();
  }

  report(): MachineReport {
    const report = this.first.report();
    return { ...report, machine: { ...report.machine, engine: "lockstep" } };
  }
}

/** Runs to the first cut at or after `cycle`. @returns false if the machine stopped for another reason */
function advance(machine: MachineApi, cycle: number): boolean {
  if (machine.cycle >= cycle) return true;
  return machine.run({ maxCycles: cycle - machine.cycle }) === "cycle-limit";
}

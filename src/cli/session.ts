/**
 * One run of a machine from the command line: slices of the machine, consoles on the terminal and in the log, input from
 * keyboard or script, and the rules that end the run.
 *
 * Slices and pauses only decide when the host looks at the machine. Nothing that the guests see depends on them: live input
 * is stamped with a cycle on arrival (and can be recorded), and everything else follows from cycles alone.
 */

import type { MachineApi } from "../machine/api.ts";
import { LineMatcher, LineSplitter } from "../toolstack/console-text.ts";
import { fateOf } from "../toolstack/lifecycle.ts";
import type { Script } from "../toolstack/script/parse.ts";
import { formatAtSend } from "../toolstack/script/parse.ts";
import { ScriptPlayer } from "../toolstack/script/player.ts";
import type { ShutdownActions } from "../toolstack/xlcfg/domain.ts";
import { EXIT_CRASH, EXIT_LIMIT, EXIT_OK } from "./arguments.ts";

export interface SessionDomain {
  readonly name: string;
  readonly actions: ShutdownActions;
}

export interface SessionOptions {
  /** In the order in which the machine built them. */
  readonly domains: readonly SessionDomain[];
  /** Name of the domain whose console is shown alone and typed into. */
  readonly console?: string | undefined;
  readonly expect?: RegExp | undefined;
  /** Cycle of the machine at which the run ends. */
  readonly maxCycles?: number | undefined;
  /** Host seconds. */
  readonly timeout?: number | undefined;
  readonly script?: Script | undefined;
  /** Never let the guests' clock run ahead of the host's. */
  readonly realtime: boolean;
}

/** Where a session's words go. */
export interface SessionOutput {
  /** What the terminal shows of the guests' consoles. */
  console(bytes: Uint8Array): void;
  /** The same for the log, where there is one: all consoles, whatever the terminal shows. */
  log?(bytes: Uint8Array): void;
  /** One line of live input, as a script statement. */
  record?(statement: string): void;
  /** The host looks at the machine, some fifty times a second. */
  look?(cycle: number): void;
  /** What Xenoscope itself says, a line or several. */
  message(text: string): void;
}

/** First slice, and the bounds between which slices adapt; cycles. */
const FIRST_SLICE = 1_000_000;
const LEAST_SLICE = 100_000;
const MOST_SLICE = 2_000_000_000;
/** How often the host wants to look: seconds. */
const LOOK_EVERY = 0.02;

const encoder = new TextEncoder();

export class Session {
  readonly #machine: MachineApi;
  readonly #options: SessionOptions;
  readonly #output: SessionOutput;
  readonly #player: ScriptPlayer | undefined;
  readonly #matchers = new Map<string, LineMatcher>();
  readonly #splitters = new Map<string, LineSplitter>();
  /** Domid that now bears a name. */
  readonly #domids = new Map<string, number>();
  readonly #seenShutdown = new Set<number>();
  /** Console that live input goes to: the chosen one, or the only one. */
  readonly #inputName: string | undefined;
  /** Milliseconds that the host has waited: for input, for real time, or just to let input and output have their turn. */
  waited = 0;
  #matched = false;
  #crashed = false;
  #stopCode: number | undefined;
  #inputOpen = false;
  #wake: (() => void) | undefined;

  constructor(machine: MachineApi, options: SessionOptions, output: SessionOutput) {
    this.#machine = machine;
    this.#options = options;
    this.#output = output;
    const first = options.domains[0]!.name;
    this.#inputName = options.console ?? (options.domains.length === 1 ? first : undefined);
    if (options.script !== undefined) {
      this.#player = new ScriptPlayer(options.script, options.console ?? first, (name, bytes, atCycle) => {
        const domid = this.#domids.get(name);
        if (domid !== undefined) this.#machine.console(domid).input(bytes, atCycle);
      });
    }
    for (const { domid, name } of machine.domains) this.#attach(domid, name);
    this.#player?.start();
  }

  /** Types live input into the guest's console. Ignored while a script plays, and where no console is chosen. */
  input(bytes: Uint8Array): void {
    if (this.#player !== undefined || this.#inputName === undefined) return;
    const domid = this.#domids.get(this.#inputName);
    if (domid === undefined) return;
    // The machine stands between slices: the next cycle is the first at which it can take anything.
    const atCycle = this.#machine.cycle + 1;
    this.#machine.console(domid).input(bytes, atCycle);
    this.#output.record?.(formatAtSend(atCycle, bytes));
    this.#wake?.();
  }

  /** Says whether live input can still come; while it can, a machine that waits for nothing else is not finished. */
  set inputOpen(open: boolean) {
    this.#inputOpen = open && this.#player === undefined && this.#inputName !== undefined;
    if (!open) this.#wake?.();
  }

  /** Ends the run at the end of the current slice. */
  stop(exitCode: number): void {
    this.#stopCode ??= exitCode;
    this.#wake?.();
  }

  /** Runs to the end and gives the exit code. */
  async run(): Promise<number> {
    const start = performance.now();
    const deadline =
      this.#options.timeout === undefined ? Number.POSITIVE_INFINITY : start + this.#options.timeout * 1000;
    const limit = this.#options.maxCycles ?? Number.POSITIVE_INFINITY;
    const until = (): boolean => this.#mustLook();
    let slice = FIRST_SLICE;
    for (;;) {
      const startCycle = this.#machine.cycle;
      const sliceStart = performance.now();
      const outcome = this.#machine.run({ maxCycles: Math.max(1, Math.min(slice, limit - startCycle)), until });
      const atLimit = this.#machine.cycle >= limit;
      this.#output.look?.(this.#machine.cycle);
      // Where a slice ends depends on the host, so nothing is decided there: `until` decides, at the end of a quantum.
      if (outcome !== "cycle-limit" || atLimit) {
        if (this.#matched) return EXIT_OK;
        const ended = this.#endReached() || (outcome === "blocked" && this.#player?.endCycle !== undefined);
        await this.#handleShutdowns();
        if (ended) return this.#crashed ? EXIT_CRASH : EXIT_OK;
        if (this.#machine.domains.every((domain) => domain.state === "shutdown")) return this.#finalCode();
        if (atLimit) {
          this.#output.message(`stopped at cycle ${this.#machine.cycle}: --max-cycles`);
          return this.#finalCode();
        }
      }
      if (this.#stopCode !== undefined) {
        this.#output.message(`left at cycle ${this.#machine.cycle}`);
        return this.#stopCode;
      }
      if (performance.now() >= deadline) {
        this.#output.message(`stopped at cycle ${this.#machine.cycle}: --timeout ${this.#options.timeout} s`);
        this.#sayUnmet();
        return EXIT_LIMIT;
      }
      if (outcome === "blocked") {
        await this.#wait(turn());
        if (!this.#inputOpen) {
          this.#output.message(
            `stopped at cycle ${this.#machine.cycle}: every vcpu sleeps and nothing is left to wake one`,
          );
          this.#sayUnmet();
          return this.#crashed ? EXIT_CRASH : EXIT_LIMIT;
        }
        await this.#wait(this.#pause(Math.min(deadline - performance.now(), 1000)));
        continue;
      }
      const cycles = this.#machine.cycle - startCycle;
      if (this.#options.realtime) {
        const ahead = (cycles / this.#machine.frequency) * 1000 - (performance.now() - sliceStart);
        if (ahead > 1) await this.#wait(this.#pause(ahead));
        else await this.#wait(turn());
      } else {
        await this.#wait(turn());
      }
      const seconds = (performance.now() - sliceStart) / 1000;
      const wanted = seconds > 0 ? (cycles * LOOK_EVERY) / seconds : slice * 2;
      slice = Math.round(Math.min(Math.max(wanted, slice / 4, LEAST_SLICE), slice * 2, MOST_SLICE));
    }
  }

  /** Writes out what the consoles hold of unfinished lines. */
  flush(): void {
    for (const [name, splitter] of this.#splitters) {
      if (splitter.partial !== "") this.#line(name, splitter.partial);
    }
    this.#splitters.clear();
  }

  #finalCode(): number {
    const unmet = this.#sayUnmet();
    return this.#crashed ? EXIT_CRASH : unmet ? EXIT_LIMIT : EXIT_OK;
  }

  /** Says what --expect or the script still waits for. */
  #sayUnmet(): boolean {
    let unmet = false;
    if (this.#options.expect !== undefined && !this.#matched) {
      this.#output.message(`no console line matched --expect ${this.#options.expect.source}`);
      unmet = true;
    }
    const waiting = this.#player?.waitingFor;
    if (waiting !== undefined) {
      this.#output.message(
        `${this.#options.script!.file}:${waiting.line}: expect ${waiting.pattern.source} was not seen`,
      );
      unmet = true;
    }
    return unmet;
  }

  #endReached(): boolean {
    const end = this.#player?.endCycle;
    return end !== undefined && this.#machine.cycle >= end;
  }

  /** Whether something happened that the session must act on at this very cycle. */
  #mustLook(): boolean {
    return this.#matched || this.#endReached() || this.#machine.domains.some((domain) => this.#isNewShutdown(domain));
  }

  #isNewShutdown(domain: { readonly state: string; readonly domid: number }): boolean {
    return domain.state === "shutdown" && !this.#seenShutdown.has(domain.domid);
  }

  async #handleShutdowns(): Promise<void> {
    for (const domain of [...this.#machine.domains]) {
      if (!this.#isNewShutdown(domain)) continue;
      this.#seenShutdown.add(domain.domid);
      const reason = domain.shutdownReason ?? "crash";
      const config = this.#options.domains.find((candidate) => candidate.name === domain.name);
      const fate = config === undefined ? { restart: false } : fateOf(config.actions, reason);
      this.#output.message(`${domain.name} (domain ${domain.domid}): ${reason} at cycle ${this.#machine.cycle}`);
      if (domain.registersText !== undefined) this.#output.message(domain.registersText);
      if ("note" in fate && fate.note !== undefined) this.#output.message(`${domain.name}: ${fate.note}`);
      if (fate.restart) {
        const domid = await this.#machine.restart(domain.domid);
        this.#output.message(`${domain.name}: restarted as domain ${domid}`);
        this.#attach(domid, domain.name);
      } else if (reason === "crash" || reason === "watchdog") {
        this.#crashed = true;
      }
    }
  }

  #attach(domid: number, name: string): void {
    this.#domids.set(name, domid);
    if (this.#options.expect !== undefined && (this.#options.console ?? name) === name) {
      this.#matchers.set(name, new LineMatcher(this.#options.expect));
    }
    this.#machine.console(domid).onOutput((bytes, cycle) => this.#consoleOutput(name, bytes, cycle));
  }

  #consoleOutput(name: string, bytes: Uint8Array, cycle: number): void {
    if (this.#options.domains.length === 1) {
      this.#output.console(bytes);
      this.#output.log?.(bytes);
    } else {
      if (this.#options.console === name) this.#output.console(bytes);
      let splitter = this.#splitters.get(name);
      if (splitter === undefined) {
        splitter = new LineSplitter();
        this.#splitters.set(name, splitter);
      }
      for (const line of splitter.push(bytes)) this.#line(name, line);
    }
    if (this.#matchers.get(name)?.push(bytes) === true) this.#matched = true;
    this.#player?.output(name, bytes, cycle);
  }

  /** One line of a console among several: with the domain's name in front. */
  #line(name: string, line: string): void {
    const bytes = encoder.encode(`${name}| ${line}\n`);
    if (this.#options.console === undefined) this.#output.console(bytes);
    this.#output.log?.(bytes);
  }

  async #wait(until: Promise<void>): Promise<void> {
    const from = performance.now();
    await until;
    this.waited += performance.now() - from;
  }

  async #pause(milliseconds: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.max(0, milliseconds));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
  }
}

/** Lets the host's input and output have their turn. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

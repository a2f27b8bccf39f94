/**
 * Plays a script against a machine's consoles. Everything is stamped in cycles: text that shows at cycle C lets the
 * next `send` arrive at C + SEND_DELAY, however the host runs the machine, so a run with a script repeats bit for bit.
 */

import { stripControl } from "../console-text.ts";
import type { Script, Step } from "./parse.ts";

/** From a step to the input that follows it, cycles: well above any quantum, well below what a person notices. */
export const SEND_DELAY = 1_000_000;

/** Unmatched text that is kept per console. */
const MAX_PENDING = 1 << 16;

/** Where the player types; `atCycle` is a cycle of the machine's clock. */
export type TypeInto = (console: string, bytes: Uint8Array, atCycle: number) => void;

export class ScriptPlayer {
  readonly #script: Script;
  readonly #defaultConsole: string;
  readonly #type: TypeInto;
  readonly #pending = new Map<string, { decoder: InstanceType<typeof TextDecoder>; text: string }>();
  /** The next step, and the cycle that the steps before it have reached. */
  #next = 0;
  #cycle = 0;
  #endCycle: number | undefined;

  constructor(script: Script, defaultConsole: string, type: TypeInto) {
    this.#script = script;
    this.#defaultConsole = defaultConsole;
    this.#type = type;
  }

  /** Types what the first steps ask for. Call once, before the machine runs. */
  start(): void {
    for (const step of this.#script.steps) {
      if (step.kind === "at") this.#type(this.#consoleOf(step), step.bytes, step.cycle);
    }
    this.#advance(0);
  }

  /** Takes what `console` showed at `cycle`. */
  output(console: string, bytes: Uint8Array, cycle: number): void {
    let pending = this.#pending.get(console);
    if (pending === undefined) {
      pending = { decoder: new TextDecoder("utf-8"), text: "" };
      this.#pending.set(console, pending);
    }
    pending.text = (pending.text + pending.decoder.decode(bytes, { stream: true })).slice(-MAX_PENDING);
    this.#advance(cycle);
  }

  /** The cycle at which `end` ends the run, once that is known. */
  get endCycle(): number | undefined {
    return this.#endCycle;
  }

  /** The `expect` that still waits, if any. */
  get waitingFor(): (Step & { kind: "expect" }) | undefined {
    const step = this.#script.steps[this.#next];
    return step?.kind === "expect" ? step : undefined;
  }

  #consoleOf(step: Step): string {
    return step.console ?? this.#defaultConsole;
  }

  #advance(now: number): void {
    for (; this.#endCycle === undefined; this.#next++) {
      const step = this.#script.steps[this.#next];
      if (step === undefined) return;
      switch (step.kind) {
        case "expect":
          if (!this.#match(step)) return;
          this.#cycle = Math.max(this.#cycle, now);
          break;
        case "send":
          this.#cycle += SEND_DELAY;
          this.#type(this.#consoleOf(step), step.bytes, this.#cycle);
          break;
        case "wait":
          this.#cycle += step.cycles;
          break;
        case "end":
          this.#endCycle = this.#cycle;
          break;
        case "at":
          break;
      }
    }
  }

  /** Matches and, on success, consumes the console's text up to the end of the match. */
  #match(step: Step & { kind: "expect" }): boolean {
    const pending = this.#pending.get(this.#consoleOf(step));
    if (pending === undefined) return false;
    const text = stripControl(pending.text);
    const match = step.pattern.exec(text);
    if (match === null) return false;
    pending.text = text.slice(match.index + match[0].length);
    return true;
  }
}

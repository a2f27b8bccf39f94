/**
 * Lockstep: two runs of the same deterministic machine on different engines, advanced to the same cuts and compared. On a
 * difference both are run again from the beginning to the last cut at which they were equal, and on in smaller and
 * smaller strides, until one block is left: the one that an engine gets wrong.
 */

/** One run. */
export interface Side {
  readonly cycle: number;
  /** Runs to the first cut at or after `cycle`; does nothing if that is past. @returns false if it can't go on */
  advance(cycle: number): boolean;
  /** Everything that must be equal, by name. */
  state(): Readonly<Record<string, string>>;
  /** What the next block would execute: disassembly, for the report. */
  ahead(): string[];
  /** What the last block executed: micro-ops. */
  behind(): string[];
}

/** Two sides at their beginning, in the same state. */
export type MakeSides = () => readonly [Side, Side];

export interface Difference {
  /** The last cut, in cycles, at which both sides were equal. */
  equalAt: number;
  /** Cycles of both sides after the block in question. */
  cycles: readonly [number, number];
  /** Names of what differs, with both values. */
  fields: readonly (readonly [name: string, first: string, second: string])[];
  instructions: readonly string[];
  microOps: readonly string[];
}

/** How much shorter the next round's strides are. */
const NARROWING = 100;

export function differences(first: Side, second: Side): [string, string, string][] {
  const a = first.state();
  const b = second.state();
  const names = new Set([...Object.keys(a), ...Object.keys(b)]);
  const fields: [string, string, string][] = [];
  for (const name of names) if (a[name] !== b[name]) fields.push([name, a[name] ?? "absent", b[name] ?? "absent"]);
  return fields;
}

/** Advances the second side to the cut where the first one stands, and compares. */
export function follow(first: Side, second: Side): [string, string, string][] {
  second.advance(first.cycle);
  return differences(first, second);
}

/**
 * Finds the block after which the sides that `make` makes differ, knowing that they are equal at cycle `equalAt` (0: the
 * beginning) and differ `stride` cycles later at the latest. @returns null if they do not differ again
 */
export function narrow(make: MakeSides, equalAt: number, stride: number): Difference | null {
  for (let step = Math.max(1, Math.floor(stride / NARROWING)); ; step = Math.max(1, Math.floor(step / NARROWING))) {
    const [first, second] = make();
    first.advance(equalAt);
    if (follow(first, second).length > 0 && equalAt > 0) return null;
    const end = first.cycle + stride + 1;
    let instructions = first.ahead();
    let fields: [string, string, string][] = [];
    while (fields.length === 0) {
      if (first.cycle > end) return null;
      equalAt = first.cycle;
      if (step === 1) instructions = first.ahead();
      const alive = first.advance(equalAt + step);
      fields = follow(first, second);
      if (!alive && fields.length === 0) return null;
    }
    if (step === 1)
      return { equalAt, cycles: [first.cycle, second.cycle], fields, instructions, microOps: first.behind() };
    stride = step;
  }
}

/** The report as lines of text. `names` are what the two sides are called. */
export function describeDifference(d: Difference, names: readonly [string, string]): string[] {
  const indent = (lines: readonly string[]): string[] => lines.map((line) => `  ${line}`);
  const width = Math.max(...d.fields.map(([name]) => name.length), 1);
  return [
    `${names[0]} and ${names[1]} differ after the block at cycle ${d.equalAt}`,
    "instructions:",
    ...indent(d.instructions),
    "micro-ops of the last block:",
    ...indent(d.microOps),
    `differences (${names[0]}, ${names[1]}):`,
    ...indent(d.fields.map(([name, first, second]) => `${name.padEnd(width)}  ${first}  ${second}`)),
  ];
}

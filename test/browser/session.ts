/** The same session with a machine in a worker, here and in a page: this function is also sent there as text, so it stands alone. */

import type { RemoteConfig, RemoteMachine } from "../../src/machine/remote.ts";
import type { MachineReport } from "../../src/report/schema.ts";

/** All that can be seen of it. */
export interface Seen {
  outcome: string;
  cycle: number;
  /** What was written: domid, cycle, bytes as characters. */
  console: [number, number, string][];
  log: [number, string][];
  report: MachineReport;
}

/** At each prompt that comes, types the next line; ends with the machine, or at the cycle `most`. */
export async function session(
  create: (config: RemoteConfig) => Promise<RemoteMachine>,
  config: RemoteConfig,
  prompt: string,
  lines: readonly string[],
  most: number,
): Promise<Seen> {
  const machine = await create(config);
  const seen = { outcome: "", cycle: 0, console: [], log: [] } as unknown as Seen;
  let [text, typed] = ["", 0];
  for (;;) {
    const run = await machine.run({ maxCycles: Math.min(10_000_000, most - seen.cycle) });
    [seen.outcome, seen.cycle] = [run.outcome, run.cycle];
    for (const { domid, cycle, bytes } of run.console) {
      const part = String.fromCharCode(...bytes);
      seen.console.push([domid, cycle, part]);
      text += part;
    }
    for (const { line, cycle } of run.log) seen.log.push([cycle, line]);
    if (typed < lines.length && text.split(prompt).length - 1 > typed)
      await machine.input(1, new TextEncoder().encode(lines[typed++]));
    else if (run.outcome !== "cycle-limit" || run.cycle >= most) break;
  }
  seen.report = await machine.report();
  await machine.dispose();
  return seen;
}

export const written = (seen: Seen): string => seen.console.map(([, , text]) => text).join("");

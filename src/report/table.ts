/** The cycle table that a person reads at the end of a run. */

import { layOut } from "./layout.ts";
import type { HostReport, HostSeconds, Report } from "./schema.ts";

const count = (value: number): string => value.toLocaleString("en-US");

function share(part: number, whole: number): string {
  return whole === 0 ? "-" : `${((100 * part) / whole).toFixed(1)}%`;
}

/** Most rows of hypercalls and exits that are shown. */
const MOST_ROWS = 6;

function topCounts(entries: readonly { readonly label: string; readonly count: number }[]): string {
  const sorted = [...entries].sort((a, b) => b.count - a.count);
  const shown = sorted.slice(0, MOST_ROWS).map(({ label, count: n }) => `${label} ${count(n)}`);
  const rest = sorted.slice(MOST_ROWS).reduce((sum, entry) => sum + entry.count, 0);
  if (rest > 0) shown.push(`others ${count(rest)}`);
  return shown.length > 0 ? shown.join(", ") : "none";
}

/** Parts of the wall time, a group a column: before the run, guest code, around it. */
const HOST_PARTS: readonly (readonly (readonly [label: string, part: keyof HostSeconds])[])[] = [
  [
    ["start-up", "startup"],
    ["loading", "load"],
    ["unpacking", "unpack"],
    ["building", "build"],
    ["waiting", "waiting"],
    ["other", "other"],
  ],
  [
    ["decode", "decode"],
    ["lift", "lift"],
    ["translate", "translate"],
    ["compile", "compile"],
    ["interpreted", "interpret"],
    ["translated", "translated"],
  ],
  [
    ["TLB misses", "memory"],
    ["helpers", "helpers"],
    ["engine", "engine"],
    ["hypervisor", "hypervisor"],
    ["consoles", "console"],
  ],
];

/** Where the wall time went. */
function hostLines(host: HostReport, seconds: HostSeconds): string[] {
  const { work, processor, garbageCollection } = host;
  const rows = HOST_PARTS[0]!.map((_, row) =>
    HOST_PARTS.flatMap((group) => {
      const [label, part] = group[row] ?? ["", undefined];
      if (part === undefined) return ["", "", "", ""];
      return [label, seconds[part].toFixed(3), share(seconds[part], seconds.total), ""];
    }),
  );
  const aligned = layOut(rows, (column) => column % 4 === 0);
  const lines = [
    `The host's ${seconds.total.toFixed(3)} s from the start of the command, garbage collection of ` +
      `${garbageCollection.seconds.toFixed(3)} s included; ${(processor.user + processor.system).toFixed(2)} s of processor time`,
    "",
    ...aligned.map((line) => `  ${line}`),
  ];
  if (work !== undefined)
    lines.push(
      "",
      `${count(work.blocks)} blocks, ${work.microsecondsPerBlock.toFixed(2)} us each to decode and lift; ` +
        `${count(work.regions)} regions translated, ${count(Math.round(work.codeBytes / 1024))} KiB in ${count(work.modules)} modules, ` +
        `for ${(100 * work.translatedShare).toFixed(1)}% of the instructions`,
    );
  return lines;
}

/** The table as lines of text, without a line end after the last. */
export function formatTable(report: Report): string {
  const { totals, machine, host } = report;
  const all = totals.user + totals.kernel + totals.hypervisor + totals.idle;
  const rows = [["", "user", "kernel", "hypervisor", "cycles", "share", "instructions", "hypercalls", "events"]];
  for (const domain of report.domains) {
    const { user, kernel, hypervisor } = domain.cycles;
    rows.push([
      `${domain.domid} ${domain.name}`,
      count(user),
      count(kernel),
      count(hypervisor),
      count(user + kernel + hypervisor),
      share(user + kernel + hypervisor, all),
      count(domain.instructions),
      count(domain.hypercalls.reduce((sum, call) => sum + call.count, 0)),
      count(domain.events),
    ]);
  }
  rows.push(["idle", "", "", "", count(totals.idle), share(totals.idle, all), "", "", ""]);
  rows.push([
    "all",
    count(totals.user),
    count(totals.kernel),
    count(totals.hypervisor),
    count(all),
    share(all, all),
    count(totals.instructions),
    "",
    "",
  ]);
  const lines = [
    `Cycles on ${machine.pcpus} ${machine.cpu} CPU${machine.pcpus === 1 ? "" : "s"}`,
    "",
    ...layOut(rows),
    "",
  ];
  for (const domain of report.domains) {
    const calls = domain.hypercalls.map((call) => ({ label: call.name, count: call.count }));
    const exits = domain.exits.map((exit) => ({ label: exit.reason, count: exit.count }));
    const faults = domain.faults.map((fault) => ({ label: fault.name, count: fault.count }));
    lines.push(`${domain.name}: hypercalls ${topCounts(calls)}`);
    lines.push(`${" ".repeat(domain.name.length)}  exits ${topCounts(exits)}`);
    if (faults.length > 0) lines.push(`${" ".repeat(domain.name.length)}  faults ${topCounts(faults)}`);
  }
  if (host.seconds !== undefined) lines.push("", ...hostLines(host, host.seconds));
  lines.push(
    "",
    `${count(totals.cycles)} cycles in ${host.wallSeconds.toFixed(2)} s after ${host.loadSeconds.toFixed(2)} s of loading: ` +
      `${host.mips.toFixed(1)} million instructions a second`,
  );
  return lines.join("\n");
}

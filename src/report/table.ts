/** The cycle table that a person reads at the end of a run. */

import { layOut } from "./layout.ts";
import type { Report } from "./schema.ts";

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
  lines.push(
    "",
    `${count(totals.cycles)} cycles in ${host.wallSeconds.toFixed(2)} s after ${host.loadSeconds.toFixed(2)} s of loading: ` +
      `${host.mips.toFixed(1)} million instructions a second`,
  );
  return lines.join("\n");
}

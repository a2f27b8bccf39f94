/** Runs of several configurations side by side: `xenoscope compare`. */
import { layOut } from "./layout.ts";
import type { DomainReport, MachineReport } from "./schema.ts";

/** Raised when a field of the JSON form changes its meaning or goes away. */
export const COMPARISON_SCHEMA_VERSION = 1;

/** One run. */
export interface ComparedRun {
  /** Short name of the configuration, unique among those compared. */
  readonly label: string;
  /** Path of the configuration file; of an embedded guest its name. */
  readonly source: string;
  readonly report: MachineReport;
}

export interface ComparedMetric {
  /** Stable: `cycles.user`, `hypercalls`, ... */
  readonly id: string;
  readonly label: string;
  /** One a run, in the order of the runs. */
  readonly values: readonly number[];
}

export interface Comparison {
  readonly schemaVersion: number;
  readonly metrics: readonly ComparedMetric[];
  readonly runs: readonly ComparedRun[];
}

const over = (report: MachineReport, value: (domain: DomainReport) => number): number =>
  report.domains.reduce((sum, domain) => sum + value(domain), 0);
const total = (counts: readonly { readonly count: number }[]): number => counts.reduce((sum, c) => sum + c.count, 0);

/** What is compared: whole runs, all their domains together. */
const METRICS: readonly (readonly [id: string, label: string, value: (report: MachineReport) => number])[] = [
  ["cycles.user", "cycles, guest user", (r) => r.totals.user],
  ["cycles.kernel", "cycles, guest kernel", (r) => r.totals.kernel],
  ["cycles.hypervisor", "cycles, hypervisor", (r) => r.totals.hypervisor],
  ["cycles.idle", "cycles, idle", (r) => r.totals.idle],
  ["cycles.busy", "cycles, all but idle", (r) => r.totals.user + r.totals.kernel + r.totals.hypervisor],
  ["cycles.clock", "clock at the end", (r) => r.totals.cycles],
  ["instructions", "instructions", (r) => r.totals.instructions],
  ["hypercalls", "hypercalls", (r) => over(r, (d) => total(d.hypercalls))],
  ["exits", "exits to Xen", (r) => over(r, (d) => total(d.exits))],
  ["pageTableUpdates", "page-table updates", (r) => over(r, (d) => d.pageTableUpdates)],
  ["faults", "faults", (r) => over(r, (d) => total(d.faults))],
  ["faults.page", "  page faults", (r) => over(r, (d) => total(d.faults.filter((f) => f.name === "#PF")))],
  ["tlb.misses", "TLB misses", (r) => over(r, (d) => d.tlb.misses)],
  ["tlb.flushes", "TLB flushes", (r) => over(r, (d) => d.tlb.flushes)],
  ["events", "events", (r) => over(r, (d) => d.events)],
];

export function compareRuns(runs: readonly ComparedRun[]): Comparison {
  const metrics = METRICS.map(([id, label, value]) => ({ id, label, values: runs.map((run) => value(run.report)) }));
  return { schemaVersion: COMPARISON_SCHEMA_VERSION, metrics, runs };
}

function ratio(value: number, first: number): string {
  if (first === 0) return value === 0 ? "" : "-";
  const quotient = value / first;
  return `x ${quotient.toFixed(quotient < 10 ? 2 : quotient < 100 ? 1 : 0)}`;
}

const titleOf = ({ label, report }: ComparedRun): string => {
  const types = [...new Set(report.domains.map((d) => d.type))].join("+");
  return label === types ? label : `${label} (${types})`;
};

/** A table for people: a column a run, and how many times the first it is. */
export function formatComparison({ metrics, runs }: Comparison): string {
  const head = ["", ...runs.flatMap((run, i) => (i === 0 ? [titleOf(run)] : [titleOf(run), ""]))];
  const rows = metrics.map(({ label, values }) => [
    label,
    ...values.flatMap((value, i) => {
      const text = value.toLocaleString("en-US");
      return i === 0 ? [text] : [text, ratio(value, values[0]!)];
    }),
  ]);
  return layOut([head, ...rows]).join("\n");
}

const csvCell = (text: string): string => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** A row a run, a column a metric (by its id), for spreadsheets and plots. */
export function comparisonCsv({ metrics, runs }: Comparison): string {
  const head = ["configuration", "type", ...metrics.map((m) => m.id)];
  const rows = runs.map((run, i) => [
    run.label,
    run.report.domains[0]?.type ?? "",
    ...metrics.map((m) => String(m.values[i]!)),
  ]);
  return [head, ...rows].map((row) => `${row.map(csvCell).join(",")}\n`).join("");
}

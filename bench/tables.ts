/** Results as text. */
import type { BootResult } from "./boots.ts";
import type { KernelResult } from "./kernels.ts";
import { cappedGeometricMean } from "./statistics.ts";

/** No benchmark counts for more than this in the mean. */
export const RATIO_CAP = 2;

function layOut(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows
    .map((row) => row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join("  "))
    .join("\n");
}

const number = (value: number | undefined, digits: number): string =>
  value === undefined ? "-" : value.toFixed(digits);

/** Geometric mean of an engine's ratios to QEMU, capped; undefined without QEMU. */
export function meanRatio(
  results: readonly KernelResult[],
  subject: string,
  by: "ratio" | "cpuRatio" = "ratio",
): number | undefined {
  const ratios = results.flatMap(({ measurements }) => measurements.find((m) => m.subject === subject)?.[by] ?? []);
  return ratios.length === 0 ? undefined : cappedGeometricMean(ratios, RATIO_CAP);
}

export function kernelTable(results: readonly KernelResult[]): string {
  const subjects = results[0]!.measurements.map(({ subject }) => subject);
  const header = ["benchmark", "checksum"];
  for (const subject of subjects) {
    header.push(`${subject} MIPS`, "s");
    if (subject !== "qemu") header.push("x qemu", "by cpu");
  }
  const rows = results.map(({ name, checksum, measurements }) => [
    name,
    checksum,
    ...measurements.flatMap((m) => [
      number(m.mips, 0),
      `${m.tooShort ? "~" : ""}${number(m.seconds, 2)}`,
      ...(m.subject === "qemu" ? [] : [number(m.ratio, 2), number(m.cpuRatio, 2)]),
    ]),
  ]);
  const mean = [
    `geometric mean, each at most ${RATIO_CAP}`,
    "",
    ...subjects.flatMap((s) => [
      "",
      "",
      ...(s === "qemu" ? [] : [number(meanRatio(results, s), 2), number(meanRatio(results, s, "cpuRatio"), 2)]),
    ]),
  ];
  const short = results.some(({ measurements }) => measurements.some(({ tooShort }) => tooShort));
  return `${layOut([header, ...rows, mean])}${short ? "\n~ too short beside the start-up: no basis for a ratio" : ""}`;
}

export function bootTable(results: readonly BootResult[]): string {
  const rows = [["boot to /init", "subject", "s", "least", "MIPS", "x qemu", "MiB beyond the guest's"]];
  for (const { name, measurements } of results)
    for (const m of measurements)
      rows.push([
        name,
        m.subject,
        number(m.seconds, 2),
        number(m.least, 2),
        number(m.mips, 0),
        number(m.ratio, 2),
        number(m.overheadMiB, 0),
      ]);
  return layOut(rows);
}

/** Results as text. */
import { layOut } from "../src/report/layout.ts";
import type { BootResult } from "./boots.ts";
import type { KernelResult, Measurement } from "./kernels.ts";
import { cappedGeometricMean, type Spread } from "./statistics.ts";

/** No benchmark counts for more than this in the mean. */
export const RATIO_CAP = 2;

const number = (value: number | undefined, digits: number): string =>
  value === undefined ? "-" : value.toFixed(digits);

/** Median, and what it was in the worst and the best round. */
const ratioCells = (ratio: Spread | undefined): string[] =>
  ratio === undefined
    ? ["-", ""]
    : [ratio.median.toFixed(2), ratio.least === ratio.most ? "" : `${ratio.least.toFixed(2)}-${ratio.most.toFixed(2)}`];

/** Geometric mean of an engine's ratios to QEMU, capped; undefined without QEMU. */
export function meanRatio(
  results: readonly KernelResult[],
  subject: string,
  by: "ratio" | "cpuRatio" = "ratio",
): Spread | undefined {
  const ratios = results.flatMap(({ measurements }) => measurements.find((m) => m.subject === subject)?.[by] ?? []);
  if (ratios.length === 0) return undefined;
  const mean = (value: (ratio: Spread) => number): number => cappedGeometricMean(ratios.map(value), RATIO_CAP);
  return { median: mean((r) => r.median), least: mean((r) => r.least), most: mean((r) => r.most) };
}

/** Columns of one subject: those of ratios only where there is QEMU. */
const HEAD = ["s", "MIPS", "x qemu", "worst-best", "by cpu"];

export function kernelTable(results: readonly KernelResult[]): string {
  const subjects = results[0]!.measurements.map(({ subject }) => subject);
  const withQemu = subjects.includes("qemu");
  const columns = (subject: string): number => (withQemu && subject !== "qemu" ? HEAD.length : 2);
  const titles = subjects.flatMap((subject) => HEAD.slice(0, columns(subject)).map((_, i) => (i === 0 ? subject : "")));
  const heads = subjects.flatMap((subject) => HEAD.slice(0, columns(subject)));
  const cells = (m: Measurement): string[] =>
    [
      `${m.tooShort ? "~" : ""}${number(m.seconds.median, 2)}`,
      number(m.mips, 0),
      ...ratioCells(m.ratio),
      number(m.cpuRatio?.median, 2),
    ].slice(0, columns(m.subject));
  const rows = results.map(({ name, measurements }) => [name, ...measurements.flatMap(cells)]);
  const mean = subjects.flatMap((subject) =>
    [
      "",
      "",
      ...ratioCells(meanRatio(results, subject)),
      number(meanRatio(results, subject, "cpuRatio")?.median, 2),
    ].slice(0, columns(subject)),
  );
  const lines = layOut([
    ["", ...titles],
    ["benchmark", ...heads],
    ...rows,
    ...(withQemu ? [["geometric mean", ...mean]] : []),
  ]);
  if (withQemu)
    lines.push(
      `x qemu: times as fast by wall time, median of the rounds; in the mean each counts ${RATIO_CAP} at most`,
    );
  if (results.some(({ measurements }) => measurements.some(({ tooShort }) => tooShort)))
    lines.push("~ too short beside the start-up: no basis for a ratio");
  return lines.join("\n");
}

export function bootTable(results: readonly BootResult[]): string {
  const rows = [
    [
      "boot to /init",
      "subject",
      "s",
      "least",
      "MIPS",
      "x qemu",
      "worst-best",
      "x PVH's time",
      "MiB beyond the guest's",
    ],
  ];
  for (const { name, measurements } of results)
    for (const m of measurements)
      rows.push([
        name,
        m.subject,
        number(m.seconds.median, 2),
        number(m.seconds.least, 2),
        number(m.mips, 0),
        ...(m.timesPvh === undefined ? ratioCells(m.ratio) : ["-", ""]),
        number(m.timesPvh?.median, 2),
        number(m.overheadMiB, 0),
      ]);
  return layOut(rows).join("\n");
}

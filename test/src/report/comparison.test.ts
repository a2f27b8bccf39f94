/** `xenoscope compare`: its table, its CSV and JSON, over runs that were counted elsewhere. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { type ComparedRun, compareRuns, comparisonCsv, formatComparison } from "../../../src/report/comparison.ts";
import { machineReportSchema } from "../../../src/report/schema.ts";
import { xenoscope } from "../../support/command.ts";
import { FakeMachine } from "../../support/fake-machine.ts";

function run(label: string, cycles: number): ComparedRun {
  const machine = new FakeMachine([{ name: "d", boot: (guest) => guest.shutdown(cycles, "poweroff") }]);
  machine.run();
  return { label, source: `${label}.cfg`, report: machine.report() };
}

test("metrics have a value a run, and the table says how many times the first each is", () => {
  const comparison = compareRuns([run("one", 1_000_000), run("two", 2_500_000)]);
  const clock = comparison.metrics.find((metric) => metric.id === "cycles.clock")!;
  expect(clock.values).toEqual(comparison.runs.map(({ report }) => report.totals.cycles));
  const lines = formatComparison(comparison).split("\n");
  expect(lines[0]).toMatch(/^ +one \(pvh\) +two \(pvh\)/);
  const line = lines.find((text) => text.startsWith("clock at the end"))!;
  expect(line).toContain(clock.values[1]!.toLocaleString("en-US"));
  expect(line).toContain(`x ${(clock.values[1]! / clock.values[0]!).toFixed(2)}`);
  expect(new Set(lines.slice(1).map((text) => text.length > 0)).size).toBe(1);
});

test("CSV has a row a run and quotes what needs it", () => {
  const comparison = compareRuns([run('a,"b"', 1000), run("c", 2000)]);
  const lines = comparisonCsv(comparison).trimEnd().split("\n");
  expect(lines).toHaveLength(3);
  expect(lines[0]).toContain("configuration,type,cycles.user");
  expect(lines[1]).toMatch(/^"a,""b""",pvh,/);
  expect(lines[2]!.split(",")).toHaveLength(comparison.metrics.length + 2);
});

describe("the command", () => {
  const folder = mkdtempSync(join(tmpdir(), "xenoscope-compare-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const elf = fileURLToPath(new URL("../../../guests/pvh/pvh.elf", import.meta.url));
  const config = (work: string): string =>
    `name = "own"\ntype = "pvh"\nkernel = "${elf}"\nextra = "work=${work}"\nmemory = 64\nvcpus = 2\n`;
  writeFileSync(join(folder, "hello.cfg"), config("hello"));
  writeFileSync(join(folder, "crash.cfg"), config("crash"));

  test("runs each configuration by itself, the same each time", async () => {
    const args = ["compare", "hello.cfg", "hello.cfg", "--format", "json", "-q"];
    const { code, stdout } = await xenoscope(args, { cwd: folder });
    expect(code).toBe(0);
    const { schemaVersion, runs, metrics } = JSON.parse(stdout);
    expect(schemaVersion).toBe(1);
    expect(runs.map((r: ComparedRun) => r.label)).toEqual(["hello", "hello#2"]);
    expect(runs[1].report).toEqual(runs[0].report);
    expect(machineReportSchema.parse(runs[0].report)).toEqual(runs[0].report);
    expect(metrics.find((m: { id: string }) => m.id === "hypercalls").values[0]).toBeGreaterThan(100);
  });

  test("a crash of one is the exit code of all", async () => {
    const { code, stdout, stderr } = await xenoscope(["compare", "hello.cfg", "crash.cfg"], { cwd: folder });
    expect(code).toBe(4);
    expect(stderr).toContain("crash: own (domain 1): crash at cycle");
    expect(stdout).toMatch(/^ +hello \(pvh\) +crash \(pvh\)/);
  });

  test.each([
    [["compare"], 2, "an argument is missing"],
    [["compare", "absent.cfg"], 1, "absent.cfg: can't read the configuration: no such file"],
    [["compare", "hello.cfg", "--format", "xml"], 2, '"xml" is not one of text, json, csv'],
    [["compare", "hello.cfg", "--output", "absent/x"], 1, "--output: can't write absent/x: no such file"],
  ])("%j: exit code %i", async (args, expected, message) => {
    const { code, stderr } = await xenoscope(args, { cwd: folder });
    expect(stderr).toContain(message);
    expect(code).toBe(expected);
  });
});

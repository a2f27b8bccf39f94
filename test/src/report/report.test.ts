import { expect, test } from "vitest";
import { withHost } from "../../../src/report/host.ts";
import { hypercallName } from "../../../src/report/names.ts";
import { machineReportSchema, type Report, reportSchema } from "../../../src/report/schema.ts";
import { formatTable } from "../../../src/report/table.ts";
import { FakeMachine } from "../../support/fake-machine.ts";

/** Each a sixteenth of a tenth of a second: exact sums. */
const PART = 1 / 160;
const parts = {
  unpack: PART,
  build: PART,
  decode: PART,
  lift: PART,
  translate: PART,
  compile: PART,
  interpret: PART,
  translated: PART,
  memory: PART,
  helpers: PART,
  engine: PART,
  hypervisor: PART,
  console: PART,
};

function sample(): Report {
  const machine = new FakeMachine([
    { name: "web", boot: (guest) => guest.shutdown(2_000_000, "poweroff") },
    { name: "database", boot: (guest) => guest.shutdown(1_000_000, "crash") },
  ]);
  machine.run();
  return withHost(machine.report(), {
    command: ["xenoscope"],
    exitCode: 0,
    version: "1.2.3",
    wallSeconds: 0.5,
    loadSeconds: 0.25,
    startupSeconds: 0.125,
    readySeconds: 0.375,
    totalSeconds: 0.875,
    waitingSeconds: 0.0625,
    garbageCollection: { count: 3, seconds: 0.01 },
    work: {
      seconds: { ...parts, translated: 0.25 },
      blocks: 1000,
      regions: 10,
      modules: 2,
      codeBytes: 4096,
      liveCodeBytes: 2048,
      regionsDropped: 5,
      codeFlushes: 0,
      translatedShare: 0.875,
    },
  });
}

test("a report satisfies its schema, also after a trip through JSON", () => {
  const report = sample();
  expect(reportSchema.parse(JSON.parse(JSON.stringify(report)))).toEqual(report);
  expect(report.host).toMatchObject({ mips: 8, version: "1.2.3", node: process.version });
  expect(report.host.peakMemory).toBeGreaterThan(2 ** 20);
});

test("without its host part a report satisfies the machine's schema and holds nothing of the host", () => {
  const { host: _, ...machine } = sample();
  expect(machineReportSchema.parse(machine)).toEqual(machine);
  expect(JSON.stringify(machine)).not.toContain(process.version);
});

test.each([
  ["negative cycles", (report: Report) => (report.totals.idle = -1)],
  ["fractional counts", (report: Report) => (report.domains[0]!.instructions = 0.5)],
  ["another schema version", (report: Report) => (report.schemaVersion = 99)],
  ["a vector that is no exception", (report: Report) => (report.domains[0]!.faults[0]!.vector = 32)],
])("the schema refuses %s", (_, spoil) => {
  const report = sample();
  spoil(report);
  expect(reportSchema.safeParse(report).success).toBe(false);
});

test("the table lists domains, idle and totals in aligned columns", () => {
  const lines = formatTable(sample()).split("\n");
  const header = lines.find((line) => line.includes("hypervisor"))!;
  const web = lines.find((line) => line.startsWith("1 web"))!;
  const database = lines.find((line) => line.startsWith("2 database"))!;
  expect(web).toContain("2,000,000");
  expect(web.length).toBe(header.length);
  expect(database.length).toBe(header.length);
  expect(lines.some((line) => /^idle +1,000 /.test(line))).toBe(true);
  expect(lines.some((line) => line.startsWith("web: hypercalls sched_op 2"))).toBe(true);
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(120);
});

test("the parts of the host's time add up to the whole, and blocks have their price", () => {
  const { seconds, work } = sample().host;
  const { total, ...rest } = seconds!;
  expect(Object.values(rest).reduce((sum, part) => sum + part, 0)).toBeCloseTo(total, 6);
  expect(seconds!.load).toBeCloseTo(0.25 - 2 * PART, 6);
  expect(work!.microsecondsPerBlock).toBeCloseTo(2 * PART * 1000, 3);
});

test("the table shows where the host's time went, and nothing where that is not known", () => {
  const report = sample();
  const lines = formatTable(report).split("\n");
  const first = lines.findIndex((line) => line.startsWith("The host's 0.875 s from the start of the command"));
  const block = lines.slice(first + 2, first + 8);
  expect(block[0]).toMatch(/^ {2}start-up +0\.125 +14\.3% +decode +0\.006 +0\.7% +TLB misses +0\.006 +0\.7%$/);
  expect(block.find((line) => line.includes("translated"))).toContain("0.250  28.6%");
  expect(new Set(block.map((line) => line.indexOf("%"))).size).toBe(1);
  delete report.host.seconds;
  expect(formatTable(report)).not.toContain("start-up");
});

test("hypercalls have the names of public/xen.h", () => {
  expect(hypercallName(29)).toBe("sched_op");
  expect(hypercallName(32)).toBe("event_channel_op");
  expect(hypercallName(63)).toBe("unknown");
});

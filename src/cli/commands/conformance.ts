/** `xenoscope conformance FILE...`: the core against what a processor did. */

import { performance } from "node:perf_hooks";
import { setFlagsFromString } from "node:v8";
import type { CheckResult, Failure } from "../../conformance/check.ts";
import type { ConformanceEngine } from "../../conformance/engines.ts";
import { totalBytes } from "../../conformance/reader.ts";
import { UserError } from "../../toolstack/user-error.ts";
import { EXIT_DIFFERENCE, EXIT_OK, parseChoice, parseWhole } from "../arguments.ts";
import type { Command } from "../command.ts";
import { Progress } from "../progress.ts";

/** As src/conformance/engines.ts has them, which is loaded when it is needed. */
const ENGINES = ["interpreter", "translator", "reference"] as const satisfies readonly ConformanceEngine[];
const MOST_DIFFERENCES = 100_000;
const DEFAULT_DIFFERENCES = 5;

function failureText(failure: Failure): string {
  const width = Math.max(...failure.differences.map(({ what }) => what.length));
  const lines = failure.differences.map(
    ({ what, expected, found }) =>
      `  ${what.padEnd(width)}  expected ${expected}\n  ${" ".repeat(width)}     found ${found}`,
  );
  const before = failure.before.map((line) => `    ${line}`);
  return [`${failure.file}:${failure.line}: ${failure.id}: ${failure.mnemonic}`, ...before, ...lines].join("\n");
}

const COLUMNS = 110;

/** The instructions that agree with the number of their vectors, in lines of words. */
function agreeing(result: CheckResult): string[] {
  const lines: string[] = [];
  let line = "agree:";
  for (const [name, { vectors, differing }] of [...result.instructions].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (differing > 0) continue;
    const word = ` ${name} ${vectors},`;
    if (line.length + word.length > COLUMNS) {
      lines.push(line);
      line = " ";
    }
    line += word;
  }
  if (line !== "agree:") lines.push(line.slice(0, -1));
  return lines;
}

/** By instruction: those that agree, those that differ one a line, and how many there are in all. */
function summaryText(result: CheckResult, seconds: number): string {
  const rows = [...result.instructions].sort(([a], [b]) => (a < b ? -1 : 1));
  const shown = rows.filter(([, count]) => count.differing > 0);
  const width = Math.max(11, ...shown.map(([name]) => name.length));
  const lines = agreeing(result);
  if (shown.length > 0) lines.push(`${"instruction".padEnd(width)}    vectors  differing`);
  for (const [name, { vectors, differing, unsupported }] of shown) {
    const note = unsupported === 0 ? "" : `  (${unsupported} not in this core: #UD)`;
    lines.push(`${name.padEnd(width)} ${String(vectors).padStart(10)} ${String(differing).padStart(10)}${note}`);
  }
  const rate = Math.round(result.vectors / Math.max(seconds, 1e-3));
  const verdict = result.differing === 0 ? "all agree" : `${result.differing} differ`;
  lines.push(`${result.vectors} vectors of ${rows.length} instructions: ${verdict} (${rate} vectors/s)`);
  if (result.translated > 0) lines.push(`${result.translated} of them translated, the others interpreted`);
  return `${lines.join("\n")}\n`;
}

function jsonText(result: CheckResult, engine: string, cpu: string, seconds: number): string {
  const instructions = Object.fromEntries([...result.instructions].sort(([a], [b]) => (a < b ? -1 : 1)));
  const { files, vectors, differing, unsupported, translated, failures } = result;
  return `${JSON.stringify(
    {
      files,
      engine,
      cpu,
      vectors,
      differing,
      unsupported,
      translated,
      instructions,
      differences: failures,
      host: { seconds },
    },
    null,
    2,
  )}\n`;
}

async function check(
  files: readonly string[],
  engine: ConformanceEngine,
  cpu: "intel" | "amd",
  maxDifferences: number,
  quiet: boolean,
): Promise<CheckResult> {
  const total = totalBytes(files);
  const progress = new Progress(!quiet);
  // As for machines: V8's baseline compiler makes the generated interpreter slower. Translations of one instruction run once,
  // so there the time goes into compiling.
  if (engine === "interpreter") setFlagsFromString("--no-liftoff");
  const { checkFiles } = await import("../../conformance/check.ts");
  try {
    return await checkFiles(files, {
      cpu,
      engine,
      maxDifferences,
      onProgress: (read, checked) => progress.update(`${checked} vectors`, total === 0 ? 0 : read / total),
    });
  } finally {
    progress.done();
  }
}

export const conformanceCommand: Command = {
  name: "conformance",
  description: "Check the core against vector files: what a processor made of single instructions",
  least: 1,
  most: Number.MAX_SAFE_INTEGER,
  args: {
    files: { type: "positional", description: "vector files, JSON lines, gzip allowed", required: true },
    engine: { type: "string", valueHint: "NAME", description: `${ENGINES.join(", ")} (default: interpreter)` },
    cpu: { type: "string", valueHint: "VENDOR", description: "where vendors differ: amd or intel (default: amd)" },
    "max-diffs": {
      type: "string",
      valueHint: "N",
      description: `differences shown in full (default: ${DEFAULT_DIFFERENCES})`,
    },
    json: { type: "boolean", description: "print the result as JSON" },
    quiet: { type: "boolean", alias: "q", description: "print nothing but errors; the exit code tells" },
  },
  epilogue: `A file has one vector a line:
  {"id": text, "code": hex, "gpr": [16 hex: rax rcx rdx rbx rsp rbp rsi rdi r8..r15], "rflags": hex,
   "mem": hex of 256 bytes, "mask": hex of the flags to compare, "fx": hex of the first 416 bytes of an FXSAVE image,
   "ymmh": hex of the upper halves of the YMM registers,
   "out": {"sig", "rip", "rflags", "gpr": {index: hex, the changed ones}, "mem" if changed, "fx", "ymmh"}}
mask, fx and ymmh may be absent. The code lies at 0x40000100 in a page of 0xCC, in 64-bit user mode; mem at 0x50000800 in a
mapping 0x50000000-0x50003fff; nothing else is mapped. sig is the Linux signal of a fault, 0 none.

Exact, but for F2XM1, FYL2X, FYL2XP1, FPTAN, FPATAN, FSIN, FCOS and FSINCOS (one unit in the last place) and RCP and RSQRT
(relative error 1.5 * 2^-12); memory after a near call that faults; instruction and data pointers of the FPU.

Exit codes: 0 all agree, 1 a file can't be read or has a line that is no vector, 5 something differs.

EXAMPLES
  xenoscope conformance test/conformance/corpus-*.jsonl.gz
  xenoscope conformance vectors.jsonl --max-diffs 1 --engine reference`,
  run: async (parsed) => {
    const engine = parseChoice("--engine", parsed.text("engine") ?? "interpreter", ENGINES);
    const cpu = parseChoice("--cpu", parsed.text("cpu") ?? "amd", ["intel", "amd"] as const);
    const most = parseWhole("--max-diffs", parsed.text("max-diffs") ?? `${DEFAULT_DIFFERENCES}`, 0, MOST_DIFFERENCES);
    const quiet = parsed.flag("quiet");
    const start = performance.now();
    const result = await check(parsed.words, engine, cpu, most, quiet);
    const seconds = (performance.now() - start) / 1000;
    if (result.vectors === 0) throw new UserError(`no vectors in ${parsed.words.join(", ")}`);
    if (parsed.flag("json")) process.stdout.write(jsonText(result, engine, cpu, seconds));
    else if (!quiet) {
      for (const failure of result.failures) process.stdout.write(`${failureText(failure)}\n\n`);
      process.stdout.write(summaryText(result, seconds));
    }
    return result.differing === 0 ? EXIT_OK : EXIT_DIFFERENCE;
  },
};

/**
 * Writes a vector file with the answers of the host's processor, for `xenoscope conformance`:
 * npx tsx test/oracle/make-vectors.ts FILE [--seed N] [--per-row N] [--per-instruction N] [--invalid N]
 *   [--group integer|fpu|vex] [--only REGEXP] [--shared]
 * FILE is compressed if its name ends in .gz. --only takes rows of the opcode table; --shared makes a small file.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { parseArgs } from "node:util";
import { constants, createGzip } from "node:zlib";
import { ROW_TEXT } from "../../cpu/decode/table.ts";
import "../../cpu/uops/lift-all.ts";
import { cleanse, freshVectors, invalidVectors, rows64, toLine } from "./fresh.ts";
import { askHost, hasHost } from "./host.ts";
import { Random } from "./random.ts";
import type { Vector } from "./vector.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seed: { type: "string", default: "1" },
    "per-row": { type: "string", default: "50" },
    "per-instruction": { type: "string", default: "0" },
    group: { type: "string", default: "all" },
    invalid: { type: "string", default: "2000" },
    only: { type: "string", default: "" },
    shared: { type: "boolean", default: false },
  },
});
const [file] = positionals;
if (file === undefined || !hasHost()) {
  console.error("usage: make-vectors.ts FILE, on an x86-64 host with gcc");
  process.exit(2);
}

const BATCH = 5000;
/** Percent of the operands in a small file that are those of the vector before. */
const THRIFT = 80;
const pattern = new RegExp(values.only);
const { group } = values;
if (group !== "all" && group !== "integer" && group !== "fpu" && group !== "vex") throw new Error(`no group ${group}`);
const rows = rows64(group).filter((row) => pattern.test(ROW_TEXT[row]!));
const r = new Random(Number(values.seed));
const out = openSync(file, "w");
const pieces: string[] = [];
let count = 0;

function answer(batch: readonly Vector[]): void {
  askHost(batch).forEach((outcome, n) => {
    const v = batch[n]!;
    cleanse(v, outcome);
    count++;
    pieces.push(toLine(String(count), v, outcome), "\n");
  });
}

function* all(): Generator<Vector> {
  yield* freshVectors(r, rows, {
    perRow: Number(values["per-row"]),
    perInstruction: Number(values["per-instruction"]),
    shared: values.shared,
    thrift: values.shared ? THRIFT : 0,
  });
  if (rows.length > 0) yield* invalidVectors(r, rows, Number(values.invalid));
}

const compressed = file.endsWith(".gz");
/** One gzip member a piece would do, but one stream compresses better across the pieces. */
const gzip = createGzip({ level: constants.Z_BEST_COMPRESSION, memLevel: 9 });
gzip.on("data", (piece: Buffer) => writeSync(out, piece));
const ended = new Promise((resolve) => gzip.on("end", resolve));

async function flush(): Promise<void> {
  const text = pieces.join("");
  pieces.length = 0;
  if (!compressed) writeSync(out, text);
  else if (!gzip.write(text)) await new Promise((resolve) => gzip.once("drain", resolve));
}

let batch: Vector[] = [];
for (const v of all()) {
  batch.push(v);
  if (batch.length < BATCH) continue;
  answer(batch);
  batch = [];
  await flush();
}
answer(batch);
await flush();
if (compressed) {
  gzip.end();
  await ended;
}
closeSync(out);
console.log(`${count} vectors of ${rows.length} rows in ${file}`);

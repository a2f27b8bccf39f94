// Writes test/cpu/fpu/vectors.json.gz with the answers of this host's processor: npx tsx test/oracle/fpu-vectors.ts
import { readFileSync, writeFileSync } from "node:fs";
import { sseCase, sseForms, x87Case, x87Forms } from "../cpu/fpu/cases.ts";
import { IMAGE, runNative, setST } from "../cpu/fpu/oracle.ts";
import { Random } from "../cpu/fpu/random.ts";
import { encodeCase, packVectors } from "../cpu/fpu/stored.ts";

const EACH_X87 = 6;
const EACH_SSE = 10;
const ONE = 0x3fff_8000_0000_0000_0000n;

const r = new Random(20);
const x87 = x87Forms().flatMap((form) =>
  Array.from({ length: EACH_X87 }, () => {
    const view = x87Case(r, form);
    // Registers that no instruction here looks at need not differ.
    for (let i = 2; i < 8; i++) setST(view, i, ONE);
    return { form, view };
  }),
);
const sse = sseForms().flatMap((form) =>
  Array.from({ length: EACH_SSE }, () => {
    const { view, imm } = sseCase(r, form);
    for (let i = 2; i < 8; i++) setST(view, i, ONE);
    return { form, view, imm };
  }),
);
const x87Out = runNative(x87.map((run) => run.view));
const sseOut = runNative(sse.map((run) => run.view));
for (const view of x87Out) for (let i = 12; i < 28; i++) view.setUint8(IMAGE + i, 0);
for (const view of sseOut) for (let i = 12; i < 28; i++) view.setUint8(IMAGE + i, 0);
const processor = /^model name\s*: (.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1] ?? "unknown";
const bytes = packVectors({
  processor,
  x87: x87.map(({ form, view }, i) => ({ ...form, ...encodeCase(view, x87Out[i] as DataView) })),
  sse: sse.map(({ form, view, imm }, i) => ({ ...form, imm, ...encodeCase(view, sseOut[i] as DataView) })),
});
writeFileSync(new URL("../cpu/fpu/vectors.json.gz", import.meta.url), bytes);
console.log(`${x87.length} x87 and ${sse.length} SSE cases, ${bytes.length} bytes`);

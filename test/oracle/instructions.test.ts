/**
 * Random instructions on our core and on the host's processor must agree bit for bit: registers, memory, flags that the manual
 * defines, RIP, and the signal that a fault becomes. Every row of the opcode table that user code can run, in 64-bit
 * mode and as flat 32-bit and segmented 16-bit code of compatibility mode.
 */
import { describe, expect, it } from "vitest";
import { MNEMONIC_NAMES } from "../../cpu/decode/mnemonics.ts";
import { ROW_MN } from "../../cpu/decode/table.ts";
import { differences, describe as explain } from "./compare.ts";
import { type Group, generate, rowsOf } from "./generate.ts";
import { askHost, hasHost, hasHostV3 } from "./host.ts";
import { Random } from "./random.ts";
import { Subject } from "./subject.ts";
import type { CodeSize, Outcome, Vector } from "./vector.ts";

const SEED = 20;
const PER_ROW = 12;
/** Attempts a vector: encodings that come out invalid are thrown away. */
const ATTEMPTS = 4;
/** Vectors of one trip to the host. */
const BATCH = 5000;

const SIGBUS = 7;
const SIGSEGV = 11;

/** Depend on the host's descriptor tables and I/O rights. */
const HOST_STATE = /^(INS|OUTS)$/;
const SEGMENT_POP = /POP [DEFGS]S/;
/** Packed integers, logic, moves and shuffles; floating-point arithmetic has its own judge (test/cpu/fpu). */
const PACKED = /^(AES|SHA|P(?!REFETCH)|MOV|SHUF|UNPCK|BLEND|INSERTPS|EXTRACTPS|AND|OR|XOR|EMMS|MASKMOV|LDDQU)/;

/** Of VEX-encoded instructions 32- and 16-bit code has few of its own. */
const VEX_PER_ROW = 4;

function vectorsOf(group: Group, size: CodeSize): Vector[] {
  const perRow = group === "vex" ? VEX_PER_ROW : PER_ROW;
  const r = new Random(SEED + size);
  const vectors: Vector[] = [];
  for (const row of rowsOf(group, size)) {
    const name = MNEMONIC_NAMES[ROW_MN[row]!]!;
    if (HOST_STATE.test(name) || APPROXIMATE.test(name) || (group === "fpu" && !PACKED.test(name))) continue;
    for (let attempt = 0, made = 0; attempt < perRow * ATTEMPTS && made < perRow; attempt++) {
      const v = generate(r, row, size);
      if (v === null || SEGMENT_POP.test(v.row)) continue;
      vectors.push(v);
      made++;
    }
  }
  return vectors;
}

/** What processors approximate, each in its own way. */
const APPROXIMATE = /^V?R(CP|SQRT)[PS]S$/;

/** A misaligned operand beyond the limit of SS has two faults; which comes first differs from model to model. */
function isTwofold(v: Vector, want: Outcome, got: Outcome): boolean {
  return v.size === 16 && /\b[WM]x\b/.test(v.row) && want.sig === SIGSEGV && got.sig === SIGBUS;
}

const TITLES = { integer: "integer instructions", fpu: "packed integers", vex: "VEX-encoded instructions" } as const;

describe.skipIf(!hasHost())("our core agrees with the host's processor", () => {
  const subject = new Subject();
  for (const size of [64, 32, 16] as const)
    for (const group of ["integer", "fpu", "vex"] as const)
      it.skipIf(group === "vex" && !hasHostV3())(`on ${TITLES[group]} in ${size}-bit code`, () => {
        const vectors = vectorsOf(group, size);
        expect(vectors.length).toBeGreaterThan(2000);
        const wrong: string[] = [];
        for (let from = 0; from < vectors.length; from += BATCH) {
          const batch = vectors.slice(from, from + BATCH);
          askHost(batch).forEach((want, n) => {
            const v = batch[n]!;
            const got = subject.run(v);
            if (isTwofold(v, want, got)) return;
            const found = differences(v, want, got);
            if (found.length > 0) wrong.push(`${explain(v)}\n  ${found.join("\n  ")}`);
          });
        }
        expect(wrong.slice(0, 3).join("\n")).toBe("");
      });
});

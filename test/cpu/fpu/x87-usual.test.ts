/** x87 in WebAssembly (cpu/emit/x87-*.ts) against the exact code, which is all that the reference has: results, flags, tags, pointers. */
import { describe, expect, it } from "vitest";
import * as A from "../../../cpu/arena.ts";
import { getFlags } from "../../../cpu/flags.ts";
import { makeReference } from "../../../cpu/reference/evaluator.ts";
import { makeInterpreter } from "../../../cpu/run.ts";
import { setRip } from "../../../cpu/system/bits.ts";
import type { Translator } from "../../../cpu/translator/translator.ts";
import { X87_OPS } from "../../../cpu/uops/uop.ts";
import { x87Form } from "../../../cpu/uops/x87-forms.ts";
import { BareCore, CODE, DATA } from "../../support/bare-core.ts";
import { eagerTranslator } from "../../support/eager-translator.ts";
import { type X87Form, x87Forms } from "./cases.ts";
import { Random, randomF32, randomF64, randomF80 } from "./random.ts";

const reference = new BareCore(makeReference);
const interpreter = new BareCore(makeInterpreter);
const translators: Translator[] = [];
const translator = new BareCore(eagerTranslator(translators));
const registers = [0x1234567890abcdefn, 0n, 0n, 0n, 0n, 0n, 0n, BigInt(DATA)];

const FORMS = x87Forms().filter(({ opcode, modrm }) => x87Form(opcode, modrm) !== undefined);
const SLOT = 4;
const CODE_OF_FORMS = Uint8Array.from(FORMS.flatMap(({ opcode, modrm }) => [opcode, modrm, 0xeb, 0xfe]));

const hex = (x: number | bigint): string => x.toString(16);

/** A number whose exponent is near that of `like`, or any. */
function operand(r: Random, like: bigint): bigint {
  if (r.below(3) === 0) return randomF80(r);
  const spread = r.pick([2, 66, 130, 1100]);
  const exponent = (Number((like >> 64n) & 0x7fffn) + r.below(2 * spread) - spread) & 0x7fff;
  // Halfway cases of all three precisions, and their neighbours.
  const unit = 1n << BigInt(r.pick([0, 11, 40]) + r.below(2));
  const tail = (r.below(2) === 0 ? r.bits(64) & ~(unit - 1n) : r.bits(64)) + BigInt(r.below(3) - 1);
  const integer = exponent === 0 ? 0n : 1n << 63n;
  return (BigInt((r.below(2) << 15) | exponent) << 64n) | integer | BigInt.asUintN(63, tail);
}

/** The x87 state and memory operand before one instruction; mostly usual. */
interface Start {
  readonly words: readonly [cw: number, sw: number, tw: number];
  readonly st: readonly bigint[];
  readonly memory: readonly [bigint, number];
}
function start(r: Random, { opcode, modrm }: X87Form): Start {
  const cw = 0x40 | (r.below(2) ? 0x300 : r.below(16) << 8) | (r.below(10) ? 0x3f : r.below(64));
  const top = r.below(8);
  let tw = 0;
  const loads = ["load", "load80", "loadST", "loadConstant"].includes(x87Form(opcode, modrm)!.op);
  if (loads && r.below(8)) tw |= 3 << (((top + 7) & 7) * 2);
  if (r.below(8) === 0) tw |= 3 << (r.below(8) * 2);
  const sw = (top << 11) | (r.next() & 0x473f & ((cw & 0x3f) | 0x4700)) | (r.below(20) ? 0 : 0x8080);
  const one = randomF80(r);
  const st = Array.from({ length: 8 }, () => operand(r, one));
  if (r.below(4) === 0) st[1] = BigInt.asUintN(80, st[0]! ^ (BigInt(r.below(2)) << 79n)) + BigInt(r.below(2));
  if (modrm < 0xc0 && r.below(2)) {
    // Near the range of what it may be stored as.
    const exponent = 16383 + (r.below(2) ? r.below(66) : r.pick([-1022, 1023, -126, 127, 0]) + r.below(3) - 1);
    st[0] = (BigInt((r.below(2) << 15) | exponent) << 64n) | (1n << 63n) | (st[0]! & 0x7fff_ffff_ffff_ffffn);
  }
  const wide = opcode === 0xdc || opcode === 0xdd;
  const low = wide ? randomF64(r) : opcode === 0xd8 || opcode === 0xd9 ? BigInt(randomF32(r)) : r.bits(64);
  const signed = BigInt.asUintN(64, BigInt.asIntN(64, low) >> BigInt(wide ? 0 : r.below(64)));
  return { words: [cw, sw, tw], st, memory: [r.below(2) ? low : signed, r.next() & 0xffff] };
}

function load({ core, arena }: BareCore, { words, st, memory }: Start): void {
  const { i32, u64, u16 } = core;
  [i32[A.FPU_CW >>> 2], i32[A.FPU_SW >>> 2], i32[A.FPU_TW >>> 2]] = words;
  st.forEach((bits, i) => {
    const at = A.FPR + ((((words[1] >> 11) & 7) + i) & 7) * 16;
    u64[at >>> 3] = BigInt.asUintN(64, bits);
    u16[(at + 8) >>> 1] = Number(bits >> 64n);
  });
  u64[(arena.ram + DATA) >>> 3] = memory[0];
  u16[(arena.ram + DATA + 8) >>> 1] = memory[1];
}

/** All that an x87 instruction may change. */
function outcome(bare: BareCore): string {
  const { u64, i32 } = bare.core;
  const words = Array.from({ length: 16 }, (_, n) => u64[(A.FPR >>> 3) + n]!.toString(16));
  const state = [A.FPU_CW, A.FPU_SW, A.FPU_TW, A.FPU_OP].map((at) => i32[at >>> 2]!.toString(16));
  const pointers = [A.FPU_IP, A.FPU_DP, (bare.arena.ram + DATA) & ~7].map((at) => u64[at >>> 3]!.toString(16));
  const rest = [bare.core.slot(A.S_RAX).toString(16), getFlags(bare.core).toString(16), i32[A.RIP >>> 2]!];
  return [...words, ...state, ...pointers, ...rest].join(" ");
}

describe("x87 instructions in WebAssembly", () => {
  it("have forms of every kind", () => {
    const kinds = new Set(FORMS.map(({ opcode, modrm }) => x87Form(opcode, modrm)!.op));
    expect(X87_OPS.filter((op) => op !== "wait" && !kinds.has(op))).toEqual([]);
  });

  it("do what the exact code does, to the bit", () => {
    const r = new Random(80);
    for (const bare of [reference, interpreter]) bare.reset(CODE_OF_FORMS, { registers });
    FORMS.forEach((form, n) => {
      for (let k = 0; k < 60; k++) {
        const from = start(r, form);
        const [expected, found] = [reference, interpreter].map((bare) => {
          load(bare, from);
          bare.core.setSlot(A.S_RAX, registers[0]!);
          setRip(bare.core, CODE + n * SLOT, 0);
          bare.run(bare.core.now() + 1);
          return outcome(bare);
        });
        const shown = (): string =>
          `${form.opcode.toString(16)} ${form.modrm.toString(16)} of ${from.words.map(hex)} ${from.st.map(hex)} ${from.memory.map(hex)}`;
        if (expected !== found) expect(found, shown()).toBe(expected);
      }
    });
    expect(FORMS.length).toBeGreaterThan(100);
  });

  it("do the same in translated code", () => {
    const r = new Random(81);
    const modrm = (reg: number): number => 0x40 | (reg << 3) | 7;
    for (let run = 0; run < 12; run++) {
      // Loads of everything, operations, stores of everything: the stack is where it was.
      const code: number[] = [];
      for (let unit = 0; unit < 8; unit++) {
        const at = (): number => r.below(8) * 8;
        code.push(
          ...r.pick([
            [0xdd, modrm(0)],
            [0xdb, modrm(5)],
            [0xdf, modrm(5)],
            [0xd9, modrm(0)],
          ]),
          at(),
        );
        code.push(
          ...r.pick([
            [0xd9, 0xe8],
            [0xd9, 0xee],
            [0xd9, 0xc0],
          ]),
        );
        for (let n = 0; n < 3; n++) {
          code.push(r.pick([0xd8, 0xdc]), 0xc1 | (r.pick([0, 1, 4, 5, 6, 7]) << 3));
          code.push(
            ...r.pick([
              [0xd9, 0xc9],
              [0xd9, 0xe0],
              [0xd9, 0xe1],
              [0xd9, 0xfa],
              [0xd9, 0xfc],
              [0xdf, 0xe0],
            ]),
          );
          code.push(r.pick([0xd8, 0xda, 0xdc, 0xde]), modrm(r.pick([0, 1, 4, 6])), at());
        }
        // FUCOMI, ADC EBX, 1: its CF.
        code.push(0xdb, 0xe9, 0x83, 0xd3, 1);
        code.push(
          ...r.pick([
            [0xdd, modrm(3)],
            [0xdb, modrm(7)],
            [0xdf, modrm(7)],
            [0xd9, modrm(3)],
          ]),
          at(),
        );
        code.push(
          ...r.pick([
            [0xdd, modrm(3)],
            [0xdb, modrm(3)],
          ]),
          at(),
        );
      }
      // The loop is longer than a short jump reaches.
      const program = Uint8Array.from([...code, 0xe9, ...new Uint8Array(Int32Array.of(-code.length - 5).buffer)]);
      const from = start(r, { opcode: 0xd8, modrm: 0xc0 });
      const control = 0x7f | (r.pick([0, 2, 3]) << 8) | (r.below(4) << 10);
      const words = Array.from({ length: 10 }, () => r.pick([randomF64(r), r.bits(64), 0x3ff8000000000000n]));
      const [expected, found] = [reference, translator].map((bare) => {
        bare.reset(program, { registers });
        load(bare, { ...from, words: [control, 0, 0xffff] });
        words.forEach((word, n) => {
          bare.core.u64[((bare.arena.ram + DATA) >>> 3) + n] = word;
        });
        bare.run(3000);
        return `${outcome(bare)} ${JSON.stringify(bare.state())}`;
      });
      expect(found).toBe(expected);
    }
    expect(translators[0]!.counts.functions).toBeGreaterThan(5);
  });
});

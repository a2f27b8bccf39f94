/** Calls through a retpoline, CALL 1f; ...; 1: MOV [RSP], reg; RET: regions follow them to where they went last, in another page here. */
import { describe, expect, it } from "vitest";
import { makeReference } from "../../../cpu/reference/evaluator.ts";
import type { Translator } from "../../../cpu/translator/translator.ts";
import { BareCore, CODE } from "../../support/bare-core.ts";
import { eagerTranslator } from "../../support/eager-translator.ts";

const translators: Translator[] = [];
const reference = new BareCore(makeReference);
const translator = new BareCore(eagerTranslator(translators));

const [THUNK, F, G] = [0x80, 0x1000, 0x1040];
const word = (value: number): number[] => [value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >>> 24) & 255];
/** CALL (e8) or JMP (e9) at `at` of `to`, offsets in the program. */
const near = (opcode: number, at: number, to: number): number[] => [opcode, ...word(to - at - 5)];

/** @param jump the thunk's RET is reached by a JMP, as where returns have a thunk of their own */
function program(jump: boolean): Uint8Array {
  const code = new Uint8Array(0x1080).fill(0x90);
  // mov rax, F; inc ecx; test ecx, 0x40; jz over; mov rax, G; over: call thunk; add edx, ecx; mov rax, F; call thunk; jmp back
  code.set([0x48, 0xc7, 0xc0, ...word(CODE + F), 0xff, 0xc1, 0xf6, 0xc1, 0x40, 0x74, 7]);
  code.set([0x48, 0xc7, 0xc0, ...word(CODE + G)], 14);
  code.set([...near(0xe8, 21, THUNK), 0x01, 0xca, 0x48, 0xc7, 0xc0, ...word(CODE + F), ...near(0xe8, 35, THUNK)], 21);
  code.set(near(0xe9, 40, 0), 40);
  // call 1f; pause; jmp back; 1: mov [rsp], rax; ret or jmp to a ret
  code.set([...near(0xe8, THUNK, THUNK + 9), 0xf3, 0x90, 0xeb, 0xfc, 0x48, 0x89, 0x04, 0x24], THUNK);
  code.set(jump ? near(0xe9, THUNK + 13, THUNK + 0x20) : [0xc3], THUNK + 13);
  code[THUNK + 0x20] = 0xc3;
  // f: add edx, 3; ret. g: rol edx, 3; ret
  code.set([0x83, 0xc2, 3, 0xc3], F);
  code.set([0xc1, 0xc2, 3, 0xc3], G);
  return code;
}

function outcome(bare: BareCore, jump: boolean, slice: number): unknown {
  bare.reset(program(jump), { cpl: 0 });
  return { ...bare.runThrough(30_000, slice, () => -1), state: bare.state() };
}

describe("retpolines", () => {
  for (const jump of [false, true])
    it(`are followed${jump ? " over a return thunk" : ""}, and do what the reference does in slices of any length`, () => {
      const before = translators[0]!.counts.severalPages;
      for (const slice of [3, 50, 30_000])
        expect(outcome(translator, jump, slice)).toEqual(outcome(reference, jump, slice));
      expect(translators[0]!.counts.severalPages).toBeGreaterThan(before);
    });
});

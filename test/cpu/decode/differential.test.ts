import { describe, expect, test } from "vitest";
import { Judge, type Mode } from "./iced.ts";
import { everyOpcode, everyVex, randomStrings, STRIDE } from "./strings.ts";

function judge(bytes: Uint8Array, mode: Mode): { judge: Judge; differences: string[] } {
  const judge = new Judge(bytes, mode);
  const differences: string[] = [];
  for (let at = 0; at + STRIDE < bytes.length; at += STRIDE) {
    const difference = judge.disagreement(at);
    if (difference !== "") differences.push(difference);
  }
  return { judge, differences };
}

describe.each([16, 32, 64] as const)("in %i-bit mode the decoder and iced-x86", (mode) => {
  test("agree on random byte strings: validity, length, mnemonic, prefixes, operands", () => {
    const { judge: j, differences } = judge(randomStrings(20_000, 0x1234567 + mode), mode);
    expect(differences.slice(0, 20)).toEqual([]);
    expect(j.valid).toBeGreaterThan(10_000);
  });

  test("agree on every opcode of every map under every mandatory prefix", () => {
    const { judge: j, differences } = judge(everyOpcode(mode), mode);
    expect(differences.slice(0, 20)).toEqual([]);
    expect(j.seen.size).toBeGreaterThan(500);
  });

  test("agree on every VEX opcode", () => {
    const { judge: j, differences } = judge(everyVex(mode), mode);
    expect(differences.slice(0, 20)).toEqual([]);
    expect(j.seen.size).toBeGreaterThan(340);
  });
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { formatAtSend, parseScript } from "../../../../src/toolstack/script/parse.ts";
import { UserError } from "../../../../src/toolstack/user-error.ts";

const parse = (text: string) => parseScript(text, "s.txt").steps;

test("each statement is read with its line", () => {
  const steps = parse('# a\n\nexpect login: .\nsend "a\\n\\x01é"\nwait 1.5M\nconsole b\nat 5_000 send \'x"\'\nend\n');
  expect(steps).toEqual([
    { line: 3, console: undefined, kind: "expect", pattern: /login: ./m },
    { line: 4, console: undefined, kind: "send", bytes: Uint8Array.of(0x61, 0x0a, 0x01, 0xc3, 0xa9) },
    { line: 5, console: undefined, kind: "wait", cycles: 1_500_000 },
    { line: 7, console: "b", kind: "at", cycle: 5000, bytes: Uint8Array.of(0x78, 0x22) },
    { line: 8, console: "b", kind: "end" },
  ]);
});

test.each([
  ["expect", "s.txt:1: expect needs a regular expression"],
  ["expect (", "is no regular expression"],
  ["send hello", "send needs a string in quotes"],
  ['send "a', 'no closing "'],
  ['send "a\\', 'no closing "'],
  ['send "a" b', 'unexpected "b" after the string'],
  ["\nwait soon", 's.txt:2: "soon" is no number of cycles'],
  ["at 5 expect x", "expected at CYCLE send"],
  ["console", "console needs the name"],
  ["end now", "end takes nothing"],
  ["sedn 'x'", "unknown statement sedn (did you mean send?)"],
])("%j is an error", (text, message) => {
  expect(() => parse(text)).toThrow(UserError);
  expect(() => parse(text)).toThrow(message);
});

test("what is recorded is read back byte for byte", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), fc.nat(), (bytes, cycle) => {
      expect(parse(formatAtSend(cycle, bytes))).toEqual([{ line: 1, console: undefined, kind: "at", cycle, bytes }]);
    }),
    { seed: 3 },
  );
});

import { describe, expect, test } from "vitest";
import {
  checkArguments,
  parseChoice,
  parseCycles,
  parseRegex,
  parseSeconds,
  parseSize,
  parseWhole,
} from "../../../src/cli/arguments.ts";
import { UserError } from "../../../src/toolstack/user-error.ts";

const ARGS = {
  file: { type: "positional" },
  timeout: { type: "string" },
  expect: { type: "string" },
  quiet: { type: "boolean", alias: "q" },
} as const;
const check = (...args: string[]) => checkArguments(args, ARGS, 1, 2);

test("options stand anywhere, with = or without, and -- ends them", () => {
  expect(check("a", "--timeout", "3", "-q", "b")).toEqual(["--timeout=3", "--quiet", "--", "a", "b"]);
  expect(check("--expect=a=b", "x")).toEqual(["--expect=a=b", "--", "x"]);
  expect(check("--expect", "--dashes", "--", "--x")).toEqual(["--expect=--dashes", "--", "--x"]);
});

test.each([
  [["a", "--tiemout", "3"], "unknown option --tiemout (did you mean --timeout?)"],
  [["a", "-x"], "unknown option -x"],
  [["a", "--timeout"], "option --timeout needs a value"],
  [["a", "--timeout="], "option --timeout needs a value"],
  [["a", "--quiet=yes"], "option --quiet takes no value"],
  [[], "an argument is missing"],
  [["a", "b", "c"], "unexpected argument c"],
])("%j is an error of usage", (args, message) => {
  expect(() => check(...args)).toThrow(message);
  try {
    check(...args);
  } catch (error) {
    expect(error instanceof UserError && error.exitCode).toBe(2);
  }
});

describe("values", () => {
  test("cycles take decimal units and underscores", () => {
    expect(["5", "5_000", "2k", "5M", "1.5G"].map((text) => parseCycles("--o", text))).toEqual([
      5, 5000, 2000, 5e6, 1.5e9,
    ]);
    for (const bad of ["", "-1", "0", "1.5", "5X", "1e9", "_1"]) {
      expect(() => parseCycles("--o", bad), bad).toThrow("is no number of cycles");
    }
  });
  test("sizes are MiB, or take binary units", () => {
    expect(["512", "512M", "1G", "1GiB", "64kb", "100b"].map((text) => parseSize("--o", text))).toEqual([
      2 ** 29,
      2 ** 29,
      2 ** 30,
      2 ** 30,
      2 ** 16,
      100,
    ]);
    for (const bad of ["", "0", "lots", "-5M", "5Q"]) {
      expect(() => parseSize("--o", bad), bad).toThrow("is no amount of memory");
    }
  });
  test("seconds, whole numbers, choices and regular expressions are checked", () => {
    expect(parseSeconds("--o", "0.5")).toBe(0.5);
    for (const bad of ["soon", "0", "-1", ""])
      expect(() => parseSeconds("--o", bad)).toThrow("is no number of seconds");
    expect(parseWhole("--o", "4", 1, 4)).toBe(4);
    for (const bad of ["0", "5", "1.5", "x"])
      expect(() => parseWhole("--o", bad, 1, 4)).toThrow("whole number from 1 to 4");
    expect(parseChoice("--o", "b", ["a", "b"])).toBe("b");
    expect(() => parseChoice("--o", "c", ["a", "b"])).toThrow("is not one of a, b");
    expect(parseRegex("--o", "a+").source).toBe("a+");
    expect(() => parseRegex("--o", "(")).toThrow("is no regular expression");
  });
});

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ruleError } from "../../../../hypervisor/hvm/cpu-policy.ts";
import { UserError } from "../../../../src/toolstack/user-error.ts";
import type { XlCpuid } from "../../../../src/toolstack/xlcfg/cpuid.ts";
import { CPUID_FIELDS } from "../../../../src/toolstack/xlcfg/cpuid-names.ts";
import { parseDomain } from "../../../../src/toolstack/xlcfg/domain.ts";

const parse = (value: string): XlCpuid =>
  parseDomain(`name="d"\ntype="pvh"\nkernel="k"\nmemory=64\ncpuid=${value}\n`, "d.cfg").domain.cpuid!;
const rules = (value: string) => parse(value).rules.map(({ rule }) => rule);
const X = (n: number): string => "x".repeat(n);

describe("libxl's form", () => {
  test("one bit of a register for each key", () => {
    expect(rules('"host,sse3=0,avx2=1,tm=x,syscall=k"')).toEqual([
      { leaf: 1, register: "ecx", bits: `${X(31)}0` },
      { leaf: 7, subleaf: 0, register: "ebx", bits: `${X(26)}1${X(5)}` },
      { leaf: 1, register: "edx", bits: X(32) },
      { leaf: 0x80000001, register: "edx", bits: `${X(20)}k${X(11)}` },
    ]);
  });

  test("fields of several bits take a number", () => {
    expect(rules('"host,proccount=0x12,maxleaf=13,procpkg=3,stepping=k"')).toEqual([
      { leaf: 1, register: "ebx", bits: `${X(8)}00010010${X(16)}` },
      { leaf: 0, register: "eax", bits: `${"0".repeat(28)}1101` },
      { leaf: 4, subleaf: 0, register: "eax", bits: `000011${X(26)}` },
      { leaf: 1, register: "eax", bits: `${X(28)}kkkk` },
    ]);
  });

  test("family and model are spread over two fields", () => {
    expect(rules('"host,family=6,model=158"').map((r) => r.bits)).toEqual([
      `${X(4)}00000000${X(8)}0110${X(8)}`,
      `${X(12)}1001${X(8)}1110${X(4)}`,
    ]);
    expect(rules('"host,family=0x19"')[0]!.bits).toBe(`${X(4)}00001010${X(8)}1111${X(8)}`);
  });

  test("a model's name stands in place of host", () => {
    expect(parse('"x86-64-v1"')).toEqual({ model: "x86-64-v1", rules: [] });
    expect(parse('"x86-64-v3,aes=0"')).toMatchObject({ model: "x86-64-v3", rules: [{ text: "aes=0" }] });
    expect(parse('""')).toEqual({ rules: [] });
  });

  test.each([
    ['"sse3=0"', 'cpuid must begin with "host" or a model (x86-64-v1, x86-64-v2, x86-64-v3), not with "sse3=0"'],
    ['"x86-64-v4"', 'not with "x86-64-v4"'],
    ['"host,sse3"', '"sse3" is not of the form KEY=VALUE'],
    ['"host,sse33=0"', 'there is no CPUID field "sse33" (did you mean sse3?)'],
    ['"host,avx=2"', 'avx can\'t be "2": it is 0, 1, x, k or s'],
    ['"host,avx="', 'avx can\'t be "": it is 0, 1, x, k or s'],
    ['"host,model=256"', "it is a number from 0 to 255"],
    ['"host,family=271"', "it is a number from 0 to 270"],
    ['"host,stepping=-1"', "it is a number from 0 to 15"],
  ])("%s is an error at its line", (value, message) => {
    expect(() => parse(value)).toThrow(UserError);
    expect(() => parse(value)).toThrow(/^d\.cfg:5:/);
    expect(() => parse(value)).toThrow(message);
  });
});

describe("xend's form", () => {
  test("registers of leaves, bit by bit", () => {
    expect(rules(`["0x1:ecx=${X(31)}0,eax=${"k".repeat(32)}", "7,0:ebx=${"0".repeat(32)}"]`)).toEqual([
      { leaf: 1, register: "ecx", bits: `${X(31)}0` },
      { leaf: 1, register: "eax", bits: "k".repeat(32) },
      { leaf: 7, subleaf: 0, register: "ebx", bits: "0".repeat(32) },
    ]);
  });

  test.each([
    [`["ecx=${X(32)}"]`, "is not of the form LEAF:REGISTER=BITS"],
    [`["0x1:efx=${X(32)}"]`, "with a register eax, ebx, ecx or edx"],
    [`["0x1:eax=${X(31)}"]`, "is not 32 characters of 0, 1, x, k and s"],
    [`["0x1:eax=${X(31)}y"]`, "is not 32 characters of 0, 1, x, k and s"],
    [`["0x7:ebx=${X(32)}"]`, "CPUID leaf 0x7 has subleaves: name one"],
    [`["0x99:ebx=${X(32)}"]`, "there is no CPUID leaf 0x99 in a policy"],
    ['[["0x1"]]', "not a list of lists"],
  ])("%s is an error at its line", (value, message) => {
    expect(() => parse(value)).toThrow(/^d\.cfg:5:/);
    expect(() => parse(value)).toThrow(message);
  });
});

test("every field of libxl's table makes a rule without error", () => {
  for (const [name] of CPUID_FIELDS) expect(ruleError(rules(`"host,${name}=x"`)[0]!), name).toBeNull();
  expect(CPUID_FIELDS.size).toBeGreaterThan(180);
});

test("whatever stands there makes rules without error, or an error with a line", () => {
  const word = fc.constantFrom(
    "host",
    "family",
    "model",
    "maxleaf",
    "avx",
    "=",
    "0",
    "x",
    "0x1",
    ":",
    ",",
    "eax",
    X(32),
  );
  const text = fc.array(word, { maxLength: 12 }).map((words) => words.join(""));
  fc.assert(
    fc.property(text, fc.boolean(), (value, isList) => {
      try {
        for (const rule of rules(isList ? `["${value}"]` : `"${value}"`)) expect(ruleError(rule)).toBeNull();
      } catch (error) {
        expect(error).toBeInstanceOf(UserError);
        expect((error as Error).message).toMatch(/^d\.cfg:5:/);
      }
    }),
    { numRuns: 500 },
  );
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { UserError } from "../../../../src/toolstack/user-error.ts";
import { parseXlCfg, type Value } from "../../../../src/toolstack/xlcfg/parser.ts";

type Plain = string | Plain[];
const plain = (value: Value): Plain => (value.kind === "atom" ? value.text : value.items.map(plain));
const parse = (text: string): Record<string, Plain> =>
  Object.fromEntries([...parseXlCfg(text, "f.cfg")].map(([key, setting]) => [key, plain(setting.value)]));

test("strings in either quote, numbers and lists are read", () => {
  expect(parse(`name = "a 'b'"\nextra='c "d"'\nmemory = 0x100 # MiB\nvif = [ 'x', 7 ]`)).toEqual({
    name: "a 'b'",
    extra: 'c "d"',
    memory: "0x100",
    vif: ["x", "7"],
  });
});

test("lists go over lines, nest, hold comments and end with a comma or without", () => {
  expect(parse('disk = [\n  "a", # first\n\n  [ "b",\n "c" ],\n]\nvif=[]\nusb=[\n]')).toEqual({
    disk: ["a", ["b", "c"]],
    vif: [],
    usb: [],
  });
});

test("a semicolon separates pairs, and a # in a string is text", () => {
  expect(parse('name="h#0"; type="hvm";\n;')).toEqual({ name: "h#0", type: "hvm" });
});

test("a backslash at the end of a line continues it", () => {
  expect(parse("vcpus = \\\n 2\r\nmemory \\\r\n = 3")).toEqual({ vcpus: "2", memory: "3" });
});

test("escapes in strings are those of C", () => {
  expect(parse(String.raw`extra = "a\tb\"c\\\x41\102\n"`)).toEqual({ extra: 'a\tb"c\\AB\n' });
});

test("+= joins strings, chains lists and sets what was not set", () => {
  expect(parse('extra="a"\nextra+=" b"\nvif=["x"]\nvif += ["y"]\nroot += "r"')).toEqual({
    extra: "a b",
    vif: ["x", "y"],
    root: "r",
  });
});

test("the last assignment of a key counts", () => {
  expect(parse("memory=1\nmemory=2")).toEqual({ memory: "2" });
});

test("a byte order mark and Windows line ends are harmless", () => {
  expect(parse('\uFEFFname="a"\r\nvcpus=1\r\n')).toEqual({ name: "a", vcpus: "1" });
});

test.each([
  ['name = "a', 1, 8, 'no closing "'],
  ["vcpus = 1\nname = 'a\nb'", 2, 8, "no closing '"],
  ["vif = [ 'a'\nvcpus = 1", 2, 1, "expected , or ] in a list, found 'vcpus'"],
  ["vif = [ 'a',", 1, 7, "no closing ]"],
  ["vcpus 1", 1, 7, "expected = or += after 'vcpus', found '1'"],
  ["vcpus =\nname='a'", 1, 8, "expected a value, found the end of line"],
  ["vcpus = 1 2", 1, 11, "expected the end of the line after the value of 'vcpus'"],
  ["type = pvh", 1, 8, "strings stand in quotes"],
  ["\n\n  Memory = 3", 3, 3, "'Memory' is no key"],
  ["name='a'\nmemory = (1)", 2, 10, "unexpected '('"],
  ["extra='a'\nextra += ['b']", 2, 10, "is a string or number since line 1"],
  ["= 3", 1, 1, "expected key = value"],
  [`vif = ${"[".repeat(40)}`, 1, 24, "nested too deeply"],
])("%j is an error at %i:%i", (text, line, column, message) => {
  expect(() => parse(text)).toThrow(UserError);
  expect(() => parse(text)).toThrow(`f.cfg:${line}:${column}: `);
  expect(() => parse(text)).toThrow(message);
});

test("whatever the text, it parses or it is a UserError", () => {
  const piece = fc.oneof(
    fc.constantFrom("name", "vcpus", "=", "+=", "[", "]", ",", ";", "\n", "#", '"', "'", "\\", "0x", "9", " "),
    fc.string({ maxLength: 4 }),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
      try {
        parse(pieces.join(""));
      } catch (error) {
        expect(error).toBeInstanceOf(UserError);
      }
    }),
    { seed: 7, numRuns: 2000 },
  );
});

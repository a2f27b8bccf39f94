import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { UserError } from "../../../../src/toolstack/user-error.ts";
import { parseDomain, resolveCpuList } from "../../../../src/toolstack/xlcfg/domain.ts";
import { XL_OPTIONS } from "../../../../src/toolstack/xlcfg/options.ts";

const BASE = 'name="d"\ntype="pvh"\nkernel="k"\nmemory=64\n';
const parse = (text: string) => parseDomain(text, "d.cfg");
const at = { file: "d.cfg", line: 1, column: 1 };

test("a short file gets the defaults of xl", () => {
  const { domain, warnings } = parse(BASE);
  expect(warnings).toEqual([]);
  expect(domain).toMatchObject({
    type: "pvh",
    cmdline: "",
    maxMemory: 64 << 20,
    vcpus: 1,
    maxVcpus: 1,
    weight: 256,
    cap: 0,
    actions: { poweroff: "destroy", reboot: "restart", watchdog: "destroy", crash: "destroy", softReset: "soft-reset" },
  });
  expect(domain.name.value).toBe("d");
  expect(domain.memory.value).toBe(64 << 20);
  expect(domain.ramdisk).toBeUndefined();
});

test("numbers are decimal, hexadecimal, octal, or any of these in quotes", () => {
  expect(parse(`${BASE}vcpus=010\nmaxvcpus=0x10\ncpu_weight="512"`).domain).toMatchObject({
    vcpus: 8,
    maxVcpus: 16,
    weight: 512,
  });
});

test("maxmem alone is the memory too, and neither is xl's 32 MiB with a warning", () => {
  expect(parse(BASE.replace("memory", "maxmem")).domain.memory.value).toBe(64 << 20);
  const result = parse(BASE.replace("memory=64", ""));
  expect(result.domain.memory.value).toBe(32 << 20);
  expect(result.warnings).toEqual(["d.cfg:1: memory is not set: 32 MiB, as xl gives"]);
});

describe("the kernel command line", () => {
  test("is root= and extra", () => {
    expect(parse(`${BASE}root="/dev/xvda1"\nextra="quiet"`).domain.cmdline).toBe("root=/dev/xvda1 quiet");
    expect(parse(`${BASE}extra="quiet"`).domain.cmdline).toBe("quiet");
  });
  test("is cmdline where that is set, and what it hides is named", () => {
    const { domain, warnings } = parse(`${BASE}cmdline="c"\nextra="quiet"`);
    expect(domain.cmdline).toBe("c");
    expect(warnings).toEqual(["d.cfg:6: option extra is ignored, because cmdline is set"]);
  });
});

test("warnings name file, line and option: unknown, not yet honoured, moot, deprecated", () => {
  const { warnings } = parse(`${BASE}memroy=1\ndisk=["a"]\nvnc=1\nextratime=1\nvif=[]`);
  expect(warnings).toEqual([
    "d.cfg:5: option memroy is unknown and ignored (did you mean memory?)",
    "d.cfg:6: option disk is not yet honoured",
    "d.cfg:7: option vnc is ignored: there is no display",
    "d.cfg:8: option extratime is deprecated: it belonged to the SEDF scheduler, which Xen 4.6 removed",
  ]);
});

test("every option of the table stands in it once and has its note where one is due", () => {
  for (const [name, option] of XL_OPTIONS) {
    expect(name).toMatch(/^[a-z][._0-9a-z]*$/);
    expect(option.note !== undefined, name).toBe(option.status === "moot" || option.status === "deprecated");
  }
  expect(XL_OPTIONS.size).toBeGreaterThan(170);
});

test.each([...XL_OPTIONS].filter(([, option]) => option.status === "honoured").map(([name]) => name))(
  "the honoured option %s is read: a value of the wrong kind is an error at its line",
  (name) => {
    expect(() => parse(`${BASE}${name} = [["x"]]`)).toThrow(/^d\.cfg:5:/);
  },
);

test("whatever value an option gets, it is taken or it is a UserError", () => {
  const value = fc.oneof(
    fc.string({ maxLength: 8 }).map((text) => JSON.stringify(text)),
    fc.integer({ min: 0 }).map(String),
    fc.constantFrom("[]", '["a", "0-3"]', '"all,^0"', "0x10", "010", '"-1"', '"1e3"'),
  );
  fc.assert(
    fc.property(fc.constantFrom(...XL_OPTIONS.keys()), value, (name, text) => {
      try {
        parse(`${BASE}${name} = ${text}`);
      } catch (error) {
        expect(error).toBeInstanceOf(UserError);
      }
    }),
    { seed: 11, numRuns: 2000 },
  );
});

test.each([
  [BASE.replace('name="d"', ""), 1, "name is missing"],
  [BASE.replace('"d"', '""'), 1, 'name can\'t be ""'],
  [BASE.replace('"d"', '"a/b"'), 1, 'name can\'t be "a/b"'],
  [BASE.replace('kernel="k"', ""), 1, "kernel is missing"],
  [BASE.replace("pvh", "hvm"), 2, 'runs type = "pv" and type = "pvh" so far'],
  [BASE.replace("pvh", "pvhm"), 2, 'type can\'t be "pvhm" (did you mean pvh?)'],
  [`${BASE}builder="hvm"`, 5, 'contradicts type = "pvh" of line 2'],
  [`${BASE}vcpus=0`, 5, "vcpus is 0, but must be from 1 to 128"],
  [`${BASE}vcpus="two"`, 5, 'vcpus takes a whole number, not "two"'],
  [`${BASE}vcpus=08`, 5, 'vcpus takes a whole number, not "08"'],
  [`${BASE}vcpus=[1]`, 5, "vcpus takes one value, not a list"],
  [`${BASE}vcpus=4\nmaxvcpus=2`, 6, "maxvcpus is 2, less than vcpus"],
  [`${BASE}maxmem=32`, 5, "maxmem is 32 MiB, less than memory"],
  [`${BASE}memory="64M"`, 5, 'memory takes a whole number MiB, not "64M"'],
  [`${BASE}on_crash="explode"`, 5, 'on_crash can\'t be "explode"'],
  [`${BASE}on_reboot="restrat"`, 5, "did you mean restart?"],
  [`${BASE}uuid="1234"`, 5, 'uuid can\'t be "1234"'],
  [`${BASE}cpus="0-x"`, 5, '"0-x" is no CPU list'],
  [`${BASE}cpus="3-1"`, 5, "runs backwards"],
  [`${BASE}cpus=[["1"]]`, 5, "list of strings"],
  [`${BASE}cpu_weight=70000`, 5, "cpu_weight is 70000"],
])("%j is an error in line %i", (text, line, message) => {
  expect(() => parse(text)).toThrow(new RegExp(`^d\\.cfg:${line}:`));
  expect(() => parse(text)).toThrow(message);
});

test.each([
  ["all", [0, 1, 2, 3]],
  ["1", [1]],
  ["0-2,^1", [0, 2]],
  ["all,^3", [0, 1, 2]],
  ["nodes:0,^node:1", [0, 1, 2, 3]],
  ["2-99", [2, 3]],
])("the CPU list %s on four CPUs", (list, cpus) => {
  expect(resolveCpuList({ value: list, at }, 4)).toEqual(cpus);
});

test("a CPU list that leaves no CPU is an error", () => {
  expect(() => resolveCpuList({ value: "4", at }, 4)).toThrow('d.cfg:1:1: cpus = "4" leaves no CPU');
});

test("a uuid is taken with or without hyphens", () => {
  const uuid = "01234567-89ab-cdef-0123-456789abcdef";
  expect(parse(`${BASE}uuid="${uuid.toUpperCase()}"`).domain.uuid).toBe(uuid);
  expect(parse(`${BASE}uuid="${uuid.replaceAll("-", "")}"`).domain.uuid).toBe(uuid);
});

test.each([
  [BASE, "pvh"],
  [BASE.replace("pvh", "pv"), "pv"],
  [BASE.replace('type="pvh"', ""), "pv"],
  [BASE.replace('type="pvh"', 'builder="linux"'), "pv"],
])("%j is a domain of type %s", (text, type) => {
  expect(parse(text).domain.type).toBe(type);
});

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { xenoscope } from "../../support/command.ts";

let folder: string;
const GOOD = 'name = "d"\ntype = "pvh"\nkernel = "kernel"\nmemory = 64\n';

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "xenoscope-cli-"));
  const files: Record<string, string | Uint8Array> = {
    kernel: "not a kernel",
    "good.cfg": GOOD,
    "syntax.cfg": 'name = "d"\ntype = pvh\n',
    "value.cfg": `${GOOD}on_crash = "explode"\n`,
    "number.cfg": `${GOOD}vcpus = "many"\n`,
    "nokernel.cfg": GOOD.replace('"kernel"', '"absent"'),
    "kerneldir.cfg": GOOD.replace('"kernel"', '"folder"'),
    "noramdisk.cfg": `${GOOD}ramdisk = "absent.gz"\n`,
    "emptyramdisk.cfg": `${GOOD}ramdisk = "empty"\n`,
    "large.cfg": GOOD.replace("64", "512"),
    "warned.cfg": GOOD.replace('"kernel"', '"absent"').concat("memroy = 1\ndisk = ['a']\n"),
    "cpus.cfg": `${GOOD}cpus = "3"\n`,
    "binary.cfg": Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 0, 1),
    "bad.script": "expect a\nsned 'x'\n",
    "other.script": "console nobody\nexpect a\n",
    empty: "",
  };
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  mkdirSync(join(folder, "folder"));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** `[arguments, exit code, what the one line says]`. */
const ERRORS: [string, number, string][] = [
  ["run absent.cfg", 1, "absent.cfg: can't read the configuration: no such file"],
  ["run binary.cfg", 1, "binary.cfg: not a text file"],
  ["run syntax.cfg", 1, "syntax.cfg:2:8: expected a value, found 'pvh' (strings stand in quotes)"],
  ["run value.cfg", 1, 'value.cfg:5:12: on_crash can\'t be "explode"'],
  ["run nokernel.cfg", 1, "nokernel.cfg:3: can't read the kernel absent: no such file"],
  ["run noramdisk.cfg", 1, "noramdisk.cfg:5: can't read the ramdisk absent.gz: no such file"],
  ["run emptyramdisk.cfg", 1, "emptyramdisk.cfg:5: the ramdisk empty is empty"],
  ["run cpus.cfg --pcpus 2", 1, 'cpus.cfg:5:8: cpus = "3" leaves no CPU: the machine has 2'],
  ["run large.cfg --memory 256M", 1, "large.cfg:4: d wants 512 MiB"],
  ["run good.cfg good.cfg", 1, 'good.cfg:1: name "d" is taken by the domain of good.cfg'],
  ["run good.cfg --script absent", 1, "--script: can't read absent: no such file"],
  ["run good.cfg --script bad.script", 1, "bad.script:2: unknown statement sned (did you mean send?)"],
  ["run good.cfg --log absent/log", 1, "--log: can't write absent/log: no such file"],
  ["run good.cfg --report folder", 1, "--report: can't write folder: it is a directory"],
  ["run", 2, "an argument is missing"],
  ["run good.cfg --tiemout 3", 2, "unknown option --tiemout (did you mean --timeout?)"],
  ["rnu good.cfg", 2, "unknown command rnu (did you mean run?)"],
  ["--versoin", 2, "unknown option --versoin (did you mean --version?)"],
  ["guests", 2, "guests needs one of: fetch, list"],
  ["guests fetch debain", 2, "guests fetch knows no debain (did you mean debian?)"],
];

describe.concurrent("wrong input gets one line and no stack trace", () => {
  test.each(ERRORS)("xenoscope %s: exit code %i", async (args, code, message) => {
    const result = await xenoscope(args.split(" "), { cwd: folder });
    expect(result.stderr).toContain(message);
    expect(result.stderr).toMatch(/^xenoscope: [^\n]*\n$/);
    expect(result.stdout).toBe("");
    expect(result.code).toBe(code);
  });
});

test("warnings name file, line and option, come before anything else, and --quiet silences them", async () => {
  const { stderr } = await xenoscope(["run", "warned.cfg"], { cwd: folder });
  expect(stderr.split("\n").slice(0, 2)).toEqual([
    "warning: warned.cfg:5: option memroy is unknown and ignored (did you mean memory?)",
    "warning: warned.cfg:6: option disk is not yet honoured",
  ]);
  expect((await xenoscope(["run", "warned.cfg", "-q"], { cwd: folder })).stderr).toMatch(/^xenoscope: [^\n]*\n$/);
});

test("--version is the package's", async () => {
  const { version } = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8"));
  expect(await xenoscope(["--version"])).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
});

describe.concurrent("--help", () => {
  test.each(["", "run ", "compare ", "demo ", "guests fetch ", "guests "])(
    "xenoscope %s--help explains with examples",
    async (words) => {
      const { code, stdout } = await xenoscope([...words.trim().split(" ").filter(Boolean), "--help"]);
      expect(code).toBe(0);
      expect(stdout).toContain("EXAMPLES\n  xenoscope ");
    },
  );

  test("run --help names every option and every exit code", async () => {
    const { stdout } = await xenoscope(["run", "--help"]);
    for (const option of ["console", "expect", "max-cycles", "timeout", "pcpus", "memory", "script", "log", "report"]) {
      expect(stdout).toContain(`--${option}=`);
    }
    expect(stdout).toContain("EXIT CODES");
  });
});

describe.concurrent("guests", () => {
  test("list says how to get what is not there", async () => {
    const { code, stdout } = await xenoscope(["guests", "list"], { env: { XENOSCOPE_CACHE: join(folder, "cache") } });
    expect(code).toBe(0);
    expect(stdout).toContain("debian: not here yet\n  xenoscope guests fetch debian\n");
  });

  test("fetch without apt says how to use a kernel of one's own", async () => {
    const env = { XENOSCOPE_CACHE: join(folder, "cache"), PATH: join(folder, "folder") };
    const { code, stderr } = await xenoscope(["guests", "fetch", "debian"], { env });
    expect(code).toBe(1);
    expect(stderr).toContain("is not here: guests fetch debian needs apt");
    expect(stderr).toContain('kernel = "/path/to/vmlinuz"');
    expect(stderr).not.toContain("    at ");
  });
});

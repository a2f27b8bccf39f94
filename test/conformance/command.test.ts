/** What `xenoscope conformance` says of files of every kind. The vectors here are written by hand from the manuals. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkFiles } from "../../src/conformance/check.ts";
import { UserError } from "../../src/toolstack/user-error.ts";
import { xenoscope } from "../support/command.ts";

let folder: string;
const path = (name: string): string => join(folder, name);

const MEM = "11".repeat(256);
const GPR = Array.from({ length: 16 }, (_, n) => (n === 4 ? "50000880" : n.toString(16)));
interface Line {
  [field: string]: unknown;
  out: Record<string, unknown>;
}
/** INC rAX: 0 becomes 1. */
const INC: Line = {
  id: "inc",
  code: "48ffc0",
  gpr: GPR,
  rflags: "202",
  mem: MEM,
  mask: "8d5",
  out: { sig: 0, rip: "40000103", rflags: "202", gpr: { "0": "1" } },
};
/** ADD [0x50000800], RCX, and a fault of a load beside the mapping. */
const ADD: Line = {
  ...INC,
  id: "add",
  code: "48010c2500080050",
  out: { sig: 0, rip: "40000108", rflags: "206", gpr: {}, mem: `12${MEM.slice(2)}` },
};
const FAULT: Line = {
  ...INC,
  id: "fault",
  code: "8a042500400050",
  out: { sig: 11, rip: "40000100", rflags: "202", gpr: {} },
};
const FX = Buffer.alloc(416);
FX.writeUInt16LE(0x37f, 0);
FX.writeUInt32LE(0x1f80, 24);
/** VADDPS zmm0, zmm1, zmm2: there is no AVX-512. */
const EVEX: Line = {
  ...INC,
  id: "evex",
  code: "62f1744858c2",
  fx: FX.toString("hex"),
  ymmh: "00".repeat(256),
  out: { sig: 0, rip: "40000106", rflags: "202", gpr: {}, fx: FX.toString("hex"), ymmh: "00".repeat(256) },
};
const text = (...lines: Line[]): string => lines.map((line) => `${JSON.stringify(line)}\n`).join("");
const without = (field: string): Line => {
  const { [field]: _, ...rest } = INC;
  return rest as Line;
};

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "xenoscope-conformance-"));
  const files: Record<string, string | Uint8Array> = {
    "good.jsonl": `${text(INC, ADD)}\n${text(FAULT)}`,
    "good.jsonl.gz": gzipSync(text(INC, ADD, FAULT)),
    "members.gz": Buffer.concat([gzipSync(text(INC)), gzipSync(text(ADD))]),
    "noend.jsonl": text(INC).trimEnd(),
    "wrong.jsonl": text(ADD, { ...INC, out: { ...INC.out, gpr: { "0": "2", "3": "7" } } }),
    "masked.jsonl": text({ ...INC, out: { ...INC.out, rflags: "ad7" }, mask: "0" }),
    "evex.jsonl": text(EVEX, INC),
    "json.jsonl": `${text(INC)}{"id": \n`,
    "field.jsonl": `\n${text(without("mem"))}`,
    "short.jsonl": text({ ...INC, mem: "00" }),
    "digit.jsonl": text({ ...INC, code: "4x" }),
    "register.jsonl": text({ ...INC, out: { ...INC.out, gpr: { "16": "0" } } }),
    "seventeen.jsonl": text({ ...INC, gpr: [...GPR, "0"] }),
    "out.jsonl": text(without("out")),
    "empty.jsonl": "",
    "cut.gz": gzipSync(text(INC, ADD, FAULT)).subarray(0, 60),
    binary: Uint8Array.of(0x7f, 0x45, 0x4c, 0x46),
    "endless.jsonl": Buffer.alloc(3 << 20, 0x20),
  };
  for (const [name, content] of Object.entries(files)) writeFileSync(path(name), content);
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.concurrent("vectors that agree", () => {
  for (const [files, vectors] of [
    [["good.jsonl"], 3],
    [["good.jsonl.gz"], 3],
    [["members.gz"], 2],
    [["noend.jsonl"], 1],
    [["masked.jsonl"], 1],
    [["good.jsonl", "good.jsonl.gz"], 6],
  ] as const)
    it(`are counted: ${files.join(" and ")}`, async () => {
      const { code, stdout, stderr } = await xenoscope(["conformance", ...files.map(path)]);
      expect(stderr).toBe("");
      expect(stdout).toContain(`${vectors} vectors of`);
      expect(stdout).toContain("all agree");
      expect(stdout).toMatch(/^agree: (ADD \d, )?INC \d/);
      expect(code).toBe(0);
    });

  for (const engine of ["translator", "reference"])
    it(`agree on the ${engine} too`, async () => {
      const { code, stdout } = await xenoscope(["conformance", path("good.jsonl"), "--engine", engine]);
      expect(stdout).toContain("3 vectors of 3 instructions: all agree");
      expect(code).toBe(0);
    });
});

describe.concurrent("vectors that differ", () => {
  it("are shown in full, with file and line", async () => {
    const { code, stdout } = await xenoscope(["conformance", path("wrong.jsonl")]);
    expect(stdout).toContain("wrong.jsonl:2: inc: INC");
    expect(stdout).toMatch(/rax {2}expected 0000000000000002\n +found 0000000000000001/);
    expect(stdout).toMatch(/rbx {2}expected 0000000000000007\n +found 0000000000000003/);
    expect(stdout).toContain("2 vectors of 2 instructions: 1 differ");
    expect(code).toBe(5);
  });

  it("are only counted with --max-diffs 0", async () => {
    const { code, stdout } = await xenoscope(["conformance", path("wrong.jsonl"), "--max-diffs", "0"]);
    expect(stdout).not.toContain("expected");
    expect(code).toBe(5);
  });

  it("can be had as JSON", async () => {
    const { code, stdout } = await xenoscope(["conformance", path("wrong.jsonl"), "--json"]);
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({ vectors: 2, differing: 1, engine: "interpreter" });
    expect(result.instructions).toMatchObject({ INC: { vectors: 1, differing: 1 }, ADD: { vectors: 1, differing: 0 } });
    expect(result.differences[0]).toMatchObject({
      line: 2,
      id: "inc",
      differences: [{ what: "rax", expected: "0000000000000002", found: "0000000000000001" }, { what: "rbx" }],
    });
    expect(code).toBe(5);
  });

  it("say so where the core has no such instruction", async () => {
    const { code, stdout } = await xenoscope(["conformance", path("evex.jsonl"), "--max-diffs", "0"]);
    expect(stdout).toMatch(/\(EVEX\) +1 +1 {2}\(1 not in this core: #UD\)/);
    expect(stdout).toContain("2 vectors of 2 instructions: 1 differ");
    expect(code).toBe(5);
  });
});

describe.concurrent("files that are wrong get one line", () => {
  for (const [name, message] of [
    ["json.jsonl", "json.jsonl:2: not JSON: "],
    ["field.jsonl", "field.jsonl:2: mem must be a string of hex digits, not nothing"],
    ["short.jsonl", "short.jsonl:1: mem must be 256 bytes in hex, not 2 digits"],
    ["digit.jsonl", 'digit.jsonl:1: code has "4x" where hex digits must be'],
    ["register.jsonl", 'register.jsonl:1: out.gpr has no register "16", only 0 to 15'],
    ["seventeen.jsonl", "seventeen.jsonl:1: gpr must be an array of 16 registers"],
    ["out.jsonl", "out.jsonl:1: out must be an object"],
    ["cut.gz", "cut.gz: damaged gzip data after line 0: unexpected end of file"],
    ["binary", "binary:1: not JSON: "],
    ["endless.jsonl", "endless.jsonl:1: the line does not end; not a vector file"],
  ] as const)
    it(name, async () => {
      const options = { cpu: "amd", engine: "interpreter", maxDifferences: 1 } as const;
      await expect(checkFiles([path(name)], options)).rejects.toThrow(message);
      await expect(checkFiles([path(name)], options)).rejects.toBeInstanceOf(UserError);
    });

  it("and exit code 1", async () => {
    const { code, stdout, stderr } = await xenoscope(["conformance", path("json.jsonl")]);
    expect(stdout).toBe("");
    expect(stderr).toMatch(/^xenoscope: .*json\.jsonl:2: not JSON: .*\n$/);
    expect(code).toBe(1);
  });

  it("also where there is no vector at all, or no file", async () => {
    for (const [name, message] of [
      ["empty.jsonl", "no vectors in "],
      ["absent.jsonl", "can't read "],
    ] as const) {
      const { code, stderr } = await xenoscope(["conformance", path(name)]);
      expect(stderr).toContain(message);
      expect(stderr.trim().split("\n")).toHaveLength(1);
      expect(code).toBe(1);
    }
  });
});

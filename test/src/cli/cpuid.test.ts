/** `cpuid` and `--cpu-model` as the command takes them. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { xenoscope } from "../../support/command.ts";

const folder = mkdtempSync(join(tmpdir(), "xenoscope-cpuid-"));
afterAll(() => rmSync(folder, { recursive: true }));
const KERNEL = new URL("../../../guests/pvh/pvh.elf", import.meta.url).pathname;

function config(cpuid: string): string {
  const file = join(folder, "g.cfg");
  const lines = [
    'name="g"',
    'type="pvh"',
    `kernel="${KERNEL}"`,
    "memory=32",
    'cmdline="work=hello"',
    `cpuid="${cpuid}"`,
  ];
  writeFileSync(file, `${lines.join("\n")}\n`);
  return file;
}

test("what a domain is not given is a warning with file and line", async () => {
  const file = config("host,aes=1,sse3=0,vmx=1");
  const { code, stderr } = await xenoscope(["run", file, "--no-stdin"]);
  expect(code).toBe(0);
  expect(stderr.split("\n").filter((line) => line.startsWith("warning"))).toEqual([
    `warning: ${file}:6: cpuid: aes=1 is not honoured (CPUID 0x1:ecx, bit 25 stays as in x86-64-v2 under Xen)`,
    `warning: ${file}:6: cpuid: vmx=1 is not honoured (CPUID 0x1:ecx, bit 5 stays as in x86-64-v2 under Xen)`,
  ]);
  const v3 = await xenoscope(["run", config("host,aes=1"), "--no-stdin", "--cpu-model", "x86-64-v3"]);
  expect([v3.code, v3.stderr]).toEqual([0, expect.not.stringContaining("warning")]);
});

test("a model beyond the machine's is an error with file and line", async () => {
  const file = config("x86-64-v3");
  const { code, stderr } = await xenoscope(["run", file, "--no-stdin"]);
  expect(code).toBe(1);
  expect(stderr).toContain(`${file}:6: cpuid: the model x86-64-v3 is more than the machine's, which is x86-64-v2`);
});

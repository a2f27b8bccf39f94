/** README.md and docs/ do not drift: the example runs as it stands there, options and links exist. */
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { compareCommand } from "../../src/cli/commands/compare.ts";
import { conformanceCommand } from "../../src/cli/commands/conformance.ts";
import { demoCommand } from "../../src/cli/commands/demo.ts";
import { guestsFetchCommand, guestsListCommand } from "../../src/cli/commands/guests.ts";
import { runCommand } from "../../src/cli/commands/run.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const README = readFileSync(join(ROOT, "README.md"), "utf8");
const PAGES = [
  "README.md",
  "ARCHITECTURE.md",
  "SUPPORT.md",
  ...readdirSync(join(ROOT, "docs")).map((name) => join("docs", name)),
];
const run = promisify(execFile);

const EXAMPLES: readonly { subject: string; code: string }[] = [...README.matchAll(/```ts\n([\s\S]*?)```/g)].map(
  (match) => ({ subject: /from "(xenoscope[\w/]*)"/.exec(match[1]!)?.[1] ?? "", code: match[1]! }),
);

test("README.md has an example of the machine and one of the machine in a worker", () => {
  expect(EXAMPLES.map(({ subject }) => subject)).toEqual(["xenoscope", "xenoscope/remote"]);
});

describe.each(EXAMPLES)("the example of $subject in README.md", ({ code }) => {
  test("runs as it stands there, in the built package", async () => {
    if (!existsSync(join(ROOT, "dist/src/index.js"))) throw new Error("dist is not there: npm run build");
    // In the project's folder "xenoscope" is the package itself, through the exports of package.json.
    const { stdout, stderr } = await run(process.execPath, ["--input-type=module", "--eval", code], { cwd: ROOT });
    expect(stderr).toBe("");
    expect(stdout).toMatch(/^hello: \d+ passed, 0 failed\r?$/m);
    expect(stdout).toMatch(/^all-shutdown \d+ poweroff \{/m);
    expect(stdout).not.toMatch(/^FAIL/m);
  });

  test("is right in its types", async () => {
    const folder = mkdtempSync(join(tmpdir(), "xenoscope-readme-"));
    try {
      writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
      writeFileSync(join(folder, "example.ts"), code);
      const compilerOptions = {
        noEmit: true,
        rootDir: "/",
        paths: {
          xenoscope: [join(ROOT, "dist/src/index.d.ts")],
          "xenoscope/remote": [join(ROOT, "dist/src/machine/remote.d.ts")],
        },
        typeRoots: [join(ROOT, "node_modules/@types")],
      };
      const config = { extends: join(ROOT, "tsconfig.json"), compilerOptions, include: ["example.ts"] };
      writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
      const compiler = join(ROOT, "node_modules/typescript/bin/tsc");
      const { stdout } = await run(process.execPath, [compiler, "-p", folder]);
      expect(stdout).toBe("");
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe("what the pages say", () => {
  const commands = [runCommand, compareCommand, demoCommand, conformanceCommand, guestsFetchCommand, guestsListCommand];
  const known = new Set(["help", "version", ...commands.flatMap((command) => Object.keys(command.args))]);

  test.each(["README.md", "docs/command-line.md"])("%s names only options that exist", (page) => {
    const text = readFileSync(join(ROOT, page), "utf8");
    const named = [...text.matchAll(/(?<![\w-])--([a-z][a-z-]*)/g)].map((match) => match[1]!);
    expect(named.length).toBeGreaterThan(3);
    expect(named.filter((name) => !known.has(name))).toEqual([]);
  });

  test("docs/command-line.md names every option of run", () => {
    const text = readFileSync(join(ROOT, "docs/command-line.md"), "utf8");
    const options = Object.entries(runCommand.args).filter(([, arg]) => arg.type !== "positional");
    expect(options.map(([name]) => name).filter((name) => !text.includes(`--${name}`))).toEqual([]);
  });

  test.each(PAGES)("%s links only to files that exist", (page) => {
    const text = readFileSync(join(ROOT, page), "utf8");
    const links = [...text.matchAll(/\]\(([^)#]+)[^)]*\)/g)].map((match) => match[1]!);
    const local = links.filter((link) => !/^[a-z]+:/.test(link));
    expect(local.filter((link) => !existsSync(join(ROOT, dirname(page), link)))).toEqual([]);
  });

  test.each(["ARCHITECTURE.md", "SUPPORT.md"])("%s names only files that exist", (page) => {
    const text = readFileSync(join(ROOT, page), "utf8");
    const files = [...text.matchAll(/`((?:bench|cpu|docs|guests|hypervisor|src|test)\/[\w./-]*)`/g)].map((m) => m[1]!);
    expect(files.length).toBeGreaterThan(10);
    expect(files.filter((file) => !existsSync(join(ROOT, file)))).toEqual([]);
  });
});

/** Runs the real command in a process of its own. */

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const ROOT: string = fileURLToPath(new URL("../..", import.meta.url));

export interface CommandResult {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface CommandOptions {
  cwd?: string;
  env?: Record<string, string>;
  /** Given to stdin, which then ends. */
  input?: string;
  /** Called with all that stdout has shown so far, whenever there is more; may write to `stdin`. Stdin then stays open. */
  onOutput?: (stdout: string, stdin: NonNullable<ChildProcess["stdin"]>) => void;
}

/** `xenoscope ARGS...` from the sources. */
export function xenoscope(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  return node(["--import", import.meta.resolve("tsx"), `${ROOT}src/cli/main.ts`, ...args], options);
}

/** `xenoscope ARGS...` as it is built and installed: what runs kernels at full speed. */
export function builtXenoscope(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const main = `${ROOT}dist/src/cli/main.js`;
  if (!existsSync(main)) throw new Error("dist is not there: npm run build");
  return node([main, ...args], options);
}

/** Node with `args`, to its end. */
export function node(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, {
      cwd: options.cwd,
      env: { ...process.env, NO_COLOR: "1", ...options.env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk) => {
      stdout += chunk;
      options.onOutput?.(stdout, child.stdin);
    });
    child.stderr.on("data", (chunk) => {
      stderr += chunk;
    });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, stdout, stderr }));
    child.stdin.on("error", () => {});
    if (options.onOutput === undefined) child.stdin.end(options.input ?? "");
  });
}

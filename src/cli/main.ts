#!/usr/bin/env node
/** The command `xenoscope`. */

import { didYouMean } from "../toolstack/suggest.ts";
import { UserError } from "../toolstack/user-error.ts";
import { EXIT_INTERNAL, EXIT_OK, EXIT_USAGE } from "./arguments.ts";
import { type Command, runStrictly } from "./command.ts";
import { version } from "./package-files.ts";

/** Commands by their words; each is loaded when it is asked for. */
const COMMANDS: ReadonlyMap<string, { readonly summary: string; readonly load: () => Promise<Command> }> = new Map([
  [
    "run",
    {
      summary: "boot Xen with the domains of xl configuration files",
      load: async () => (await import("./commands/run.ts")).runCommand,
    },
  ],
  [
    "compare",
    {
      summary: "run configurations and compare where their cycles went (PV, PVH, ...)",
      load: async () => (await import("./commands/compare.ts")).compareCommand,
    },
  ],
  [
    "demo",
    {
      summary: "run the embedded kernel and print where the cycles went",
      load: async () => (await import("./commands/demo.ts")).demoCommand,
    },
  ],
  [
    "conformance",
    {
      summary: "check the core against vectors that a processor made",
      load: async () => (await import("./commands/conformance.ts")).conformanceCommand,
    },
  ],
  [
    "guests fetch",
    {
      summary: "bring in real kernels: guests fetch debian",
      load: async () => (await import("./commands/guests.ts")).guestsFetchCommand,
    },
  ],
  [
    "guests list",
    {
      summary: "show the guests that are ready to run",
      load: async () => (await import("./commands/guests.ts")).guestsListCommand,
    },
  ],
]);

function help(): string {
  const width = Math.max(...[...COMMANDS.keys()].map((name) => name.length));
  const commands = [...COMMANDS].map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`);
  return `A cycle-level Xen machine: an x86-64 core, the Xen hypervisor, and unmodified guest kernels (xenoscope ${version()})

USAGE  xenoscope COMMAND [OPTIONS]

COMMANDS
${commands.join("\n")}

  --help     this text; after a command, its options and examples
  --version  the version

EXAMPLES
  xenoscope demo
  xenoscope guests fetch debian
  xenoscope guests list
  xenoscope run debian.cfg --expect 'guest type PVH'
`;
}

/** Runs the command line `args`; gives the exit code. */
async function main(args: readonly string[]): Promise<number> {
  const [first, second] = args;
  if (first === undefined || first === "--help" || first === "-h" || first === "help") {
    process.stdout.write(help());
    return first === undefined ? EXIT_USAGE : EXIT_OK;
  }
  if (first === "--version" || first === "-V") {
    process.stdout.write(`${version()}\n`);
    return EXIT_OK;
  }
  const one = COMMANDS.get(first);
  if (one !== undefined) return await runStrictly(await one.load(), args.slice(1));
  const two = COMMANDS.get(`${first} ${second}`);
  if (two !== undefined) return await runStrictly(await two.load(), args.slice(2));
  const below = [...COMMANDS.keys()].filter((name) => name.startsWith(`${first} `));
  if (below.length > 0) {
    const words = below.map((name) => name.slice(first.length + 1));
    if (second === "--help" || second === "-h") {
      process.stdout.write(help());
      return EXIT_OK;
    }
    throw new UserError(
      `${first} needs one of: ${words.join(", ")}${second === undefined ? "" : didYouMean(second, words)}`,
      EXIT_USAGE,
    );
  }
  const what = first.startsWith("-") ? "option" : "command";
  throw new UserError(
    `unknown ${what} ${first}${didYouMean(first, [...COMMANDS.keys(), "--help", "--version"])}`,
    EXIT_USAGE,
  );
}

/** Errors that name what is wrong with the user's files; they come from parts that know nothing of the command line. */
const INPUT_ERRORS: ReadonlySet<string> = new Set(["ImageError", "BuilderError", "MachineConfigError"]);

function reportError(error: unknown): number {
  if (error instanceof UserError) {
    process.stderr.write(`xenoscope: ${error.message}${error.exitCode === EXIT_USAGE ? "; see --help" : ""}\n`);
    return error.exitCode;
  }
  if (error instanceof Error && INPUT_ERRORS.has(error.name)) {
    process.stderr.write(`xenoscope: ${error.message}\n`);
    return 1;
  }
  const summary = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  process.stderr.write(
    `xenoscope: internal error: ${summary}\n` +
      `This is a fault of Xenoscope ${version()} (node ${process.version}), not of your input. Please report it with the command and ` +
      "its files; XENOSCOPE_DEBUG=1 shows where it happened.\n",
  );
  if (process.env.XENOSCOPE_DEBUG !== undefined && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  return EXIT_INTERNAL;
}

const onUnexpected = (error: unknown): void => {
  // From outside the command's own flow: there is nothing to go on with.
  process.exit(reportError(error));
};
process.on("uncaughtException", onUnexpected);
process.on("unhandledRejection", onUnexpected);

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.exitCode = reportError(error);
}

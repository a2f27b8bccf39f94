/** How a command of the command line is described, checked, explained and run. */

import { type ArgsDef, type CommandDef, defineCommand, renderUsage, runCommand } from "citty";
import { checkArguments, EXIT_OK } from "./arguments.ts";

/** What a command gets: option values by name (strings, or true), and its words. */
export interface ParsedCommand {
  text(option: string): string | undefined;
  flag(option: string): boolean;
  readonly words: readonly string[];
}

export interface Command {
  /** As typed: `run`, `guests fetch`. */
  readonly name: string;
  readonly description: string;
  readonly args: ArgsDef;
  /** Fewest and most positional words. */
  readonly least: number;
  readonly most: number;
  /** Printed under the options by --help. */
  readonly epilogue: string;
  /** Gives the exit code. Throws UserError for what the user can mend. */
  readonly run: (parsed: ParsedCommand) => Promise<number>;
}

function definition(command: Command, run: (parsed: ParsedCommand) => Promise<void>): CommandDef {
  return defineCommand({
    meta: { name: `xenoscope ${command.name}`, description: command.description },
    args: command.args,
    run: async ({ args }) => {
      await run({
        text: (option) => (typeof args[option] === "string" ? args[option] : undefined),
        flag: (option) => args[option] === true,
        words: args._,
      });
    },
  });
}

/** The help of one command. */
export async function commandHelp(command: Command): Promise<string> {
  const usage = await renderUsage(definition(command, async () => {}));
  return `${usage.trimEnd()}\n\n${command.epilogue.trimEnd()}\n`;
}

/** Checks the words after the command's name, and runs it. */
export async function runStrictly(command: Command, rawArgs: readonly string[]): Promise<number> {
  if (rawArgs.includes("--help") || rawArgs.includes("-h")) {
    process.stdout.write(await commandHelp(command));
    return EXIT_OK;
  }
  const checked = checkArguments(rawArgs, command.args, command.least, command.most);
  let exitCode = EXIT_OK;
  const cmd = definition(command, async (parsed) => {
    exitCode = await command.run(parsed);
  });
  await runCommand(cmd, { rawArgs: checked });
  return exitCode;
}

/** Strict reading of command-line arguments: citty takes whatever it gets, a command that people type should not. */

import type { ArgsDef } from "citty";
import { didYouMean } from "../toolstack/suggest.ts";
import { UserError } from "../toolstack/user-error.ts";

/** Exit codes of the command; the manual in `--help` lists them. */
export const EXIT_OK = 0;
export const EXIT_INPUT = 1;
export const EXIT_USAGE = 2;
export const EXIT_LIMIT = 3;
export const EXIT_CRASH = 4;
/** The core and a processor differ. */
export const EXIT_DIFFERENCE = 5;
export const EXIT_INTERNAL = 70;

/** A wrong command line. */
export function usageError(message: string): UserError {
  return new UserError(message, EXIT_USAGE);
}

/**
 * Checks the words after the command's name against its definition and gives them back with every option in the form
 * `--name` or `--name=value`. `most` is the number of positional words allowed. Throws UserError with exit code 2.
 */
export function checkArguments(rawArgs: readonly string[], definition: ArgsDef, least: number, most: number): string[] {
  const byName = new Map<string, { name: string; takesValue: boolean }>();
  for (const [name, arg] of Object.entries(definition)) {
    if (arg.type === "positional") continue;
    const entry = { name, takesValue: arg.type !== "boolean" };
    byName.set(`--${name}`, entry);
    const aliases = "alias" in arg ? arg.alias : undefined;
    for (const alias of typeof aliases === "string" ? [aliases] : (aliases ?? [])) byName.set(`-${alias}`, entry);
  }
  const checked: string[] = [];
  const words: string[] = [];
  for (let i = 0; i < rawArgs.length; i++) {
    const arg = rawArgs[i]!;
    if (arg === "--") {
      words.push(...rawArgs.slice(i + 1));
      break;
    }
    if (!arg.startsWith("-") || arg === "-") {
      words.push(arg);
      continue;
    }
    const equals = arg.indexOf("=");
    const given = equals < 0 ? arg : arg.slice(0, equals);
    const option = byName.get(given);
    if (option === undefined) throw usageError(`unknown option ${given}${didYouMean(given, byName.keys())}`);
    if (!option.takesValue) {
      if (equals >= 0) throw usageError(`option ${given} takes no value`);
      checked.push(`--${option.name}`);
      continue;
    }
    const value = equals >= 0 ? arg.slice(equals + 1) : rawArgs[++i];
    if (value === undefined || value === "") throw usageError(`option ${given} needs a value`);
    checked.push(`--${option.name}=${value}`);
  }
  if (words.length < least) throw usageError("an argument is missing");
  if (words.length > most) throw usageError(`unexpected argument ${words[most]}`);
  return words.length > 0 ? [...checked, "--", ...words] : checked;
}

const DECIMAL_UNITS: Readonly<Record<string, number>> = { "": 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12 };
const BINARY_UNITS: Readonly<Record<string, number>> = {
  "": 2 ** 20,
  b: 1,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
};

/** A count of cycles: `5000000`, `5_000_000`, `5M`, `1.5G`. */
export function parseCycles(option: string, text: string): number {
  const match = /^([0-9][0-9_]*(?:\.[0-9]+)?)([kmgt]?)$/i.exec(text);
  const value =
    match === null ? Number.NaN : Number(match[1]!.replaceAll("_", "")) * DECIMAL_UNITS[match[2]!.toLowerCase()]!;
  if (!Number.isSafeInteger(value) || value < 1) {
    throw usageError(`option ${option}: "${text}" is no number of cycles (5000000, 5M, 1.5G)`);
  }
  return value;
}

/** An amount of memory in bytes: `512` and `512M` are MiB, `1G` and `1GiB` are GiB. */
export function parseSize(option: string, text: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)(?:(b)|([kmgt])(?:i?b)?)?$/i.exec(text);
  const unit = match === null ? "" : (match[2] ?? match[3] ?? "").toLowerCase();
  const value = match === null ? Number.NaN : Number(match[1]) * BINARY_UNITS[unit]!;
  if (!Number.isSafeInteger(value) || value < 1) {
    throw usageError(`option ${option}: "${text}" is no amount of memory (512M, 2G)`);
  }
  return value;
}

/** A number of host seconds, fractions allowed. */
export function parseSeconds(option: string, text: string): number {
  const value = /^[0-9]+(\.[0-9]+)?s?$/.test(text) ? Number.parseFloat(text) : Number.NaN;
  if (!(value > 0)) throw usageError(`option ${option}: "${text}" is no number of seconds`);
  return value;
}

/** A whole number from `least` to `most`. */
export function parseWhole(option: string, text: string, least: number, most: number): number {
  const value = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most)) {
    throw usageError(`option ${option}: "${text}" is no whole number from ${least} to ${most}`);
  }
  return value;
}

/** A regular expression in JavaScript's syntax. */
export function parseRegex(option: string, text: string): RegExp {
  try {
    return new RegExp(text);
  } catch {
    throw usageError(`option ${option}: "${text}" is no regular expression`);
  }
}

/** One of the words of `choices`. */
export function parseChoice<T extends string>(option: string, text: string, choices: readonly T[]): T {
  const choice = choices.find((word) => word === text);
  if (choice === undefined) throw usageError(`option ${option}: "${text}" is not one of ${choices.join(", ")}`);
  return choice;
}

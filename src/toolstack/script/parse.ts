/**
 * The language of `--script FILE`: what to type into consoles, and when. One statement a line:
 *
 *     # comment
 *     expect REGEX            wait for text on the console (rest of the line; ^ and $ match at line ends)
 *     send "text\n"           type, a fixed delay after the step before
 *     wait CYCLES             let time pass
 *     console NAME            the lines that follow talk to this domain (default: the first, or --console)
 *     at CYCLE send "text"    type at that cycle of the machine, whatever the other lines do
 *     end                     end the run here, with exit code 0
 *
 * Strings take the escapes \n \r \t \e \\ \" \' \xHH. Cycles may be written 5000000, 5_000_000, 5M or 1.5G.
 */

import { byteToHex } from "typed-array-utils";
import { didYouMean } from "../suggest.ts";
import { UserError } from "../user-error.ts";

export type Step = { readonly line: number; readonly console: string | undefined } & (
  | { readonly kind: "expect"; readonly pattern: RegExp }
  | { readonly kind: "send"; readonly bytes: Uint8Array }
  | { readonly kind: "wait"; readonly cycles: number }
  | { readonly kind: "at"; readonly cycle: number; readonly bytes: Uint8Array }
  | { readonly kind: "end" }
);

export interface Script {
  readonly file: string;
  readonly steps: readonly Step[];
}

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", e: "\u001b", "0": "\0" };
const UNITS: Readonly<Record<string, number>> = { "": 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12 };
const STATEMENTS = ["expect", "send", "wait", "console", "at", "end"];

/** Parses the text of a script. Throws UserError with `file:line`. */
export function parseScript(source: string, file: string): Script {
  const steps: Step[] = [];
  let console: string | undefined;
  for (const [index, raw] of source.split(/\r?\n/).entries()) {
    const line = index + 1;
    const text = raw.trim();
    if (text === "" || text.startsWith("#")) continue;
    const fail = (message: string): UserError => new UserError(`${file}:${line}: ${message}`);
    const space = text.search(/\s/);
    const word = space < 0 ? text : text.slice(0, space);
    const rest = space < 0 ? "" : text.slice(space).trim();
    const place = { line, console };
    switch (word) {
      case "expect":
        if (rest === "") throw fail("expect needs a regular expression");
        try {
          steps.push({ ...place, kind: "expect", pattern: new RegExp(rest, "m") });
        } catch {
          throw fail(`"${rest}" is no regular expression`);
        }
        break;
      case "send":
        steps.push({ ...place, kind: "send", bytes: parseString(rest, fail) });
        break;
      case "wait":
        steps.push({ ...place, kind: "wait", cycles: parseCount(rest, fail) });
        break;
      case "console":
        if (rest === "") throw fail("console needs the name of a domain");
        console = rest;
        break;
      case "at": {
        const match = /^(\S+)\s+send\s+(.*)$/.exec(rest);
        if (match === null) throw fail('expected at CYCLE send "text"');
        steps.push({ ...place, kind: "at", cycle: parseCount(match[1]!, fail), bytes: parseString(match[2]!, fail) });
        break;
      }
      case "end":
        if (rest !== "") throw fail("end takes nothing");
        steps.push({ ...place, kind: "end" });
        break;
      default:
        throw fail(`unknown statement ${word}${didYouMean(word, STATEMENTS)}`);
    }
  }
  return { file, steps };
}

function parseCount(text: string, fail: (message: string) => UserError): number {
  const match = /^([0-9][0-9_]*(?:\.[0-9]+)?)([kmgt]?)$/i.exec(text);
  const value = match === null ? Number.NaN : Number(match[1]!.replaceAll("_", "")) * UNITS[match[2]!.toLowerCase()]!;
  if (!Number.isSafeInteger(value)) throw fail(`"${text}" is no number of cycles (5000000, 5M, 1.5G)`);
  return value;
}

function parseString(text: string, fail: (message: string) => UserError): Uint8Array {
  const quote = text[0];
  if (quote !== '"' && quote !== "'") throw fail('send needs a string in quotes: send "text\\n"');
  const bytes: number[] = [];
  const encoder = new TextEncoder();
  for (let i = 1; ; i++) {
    const c = text[i];
    if (c === undefined) throw fail(`string has no closing ${quote}`);
    if (c === quote) {
      if (text.slice(i + 1).trim() !== "") throw fail(`unexpected "${text.slice(i + 1).trim()}" after the string`);
      break;
    }
    if (c !== "\\") {
      const character = String.fromCodePoint(text.codePointAt(i)!);
      bytes.push(...encoder.encode(character));
      i += character.length - 1;
      continue;
    }
    const hex = /^x([0-9a-fA-F]{2})/.exec(text.slice(i + 1));
    if (hex !== null) {
      bytes.push(Number.parseInt(hex[1]!, 16));
      i += 3;
      continue;
    }
    const escaped = text[++i];
    if (escaped === undefined) throw fail(`string has no closing ${quote}`);
    bytes.push(...encoder.encode(ESCAPES[escaped] ?? escaped));
  }
  return Uint8Array.from(bytes);
}

/** The statement that types `bytes` at `cycle`: what `--record` writes. */
export function formatAtSend(cycle: number, bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) {
    if (byte === 0x0a) text += "\\n";
    else if (byte === 0x0d) text += "\\r";
    else if (byte === 0x22 || byte === 0x5c) text += `\\${String.fromCharCode(byte)}`;
    else if (byte >= 0x20 && byte < 0x7f) text += String.fromCharCode(byte);
    else text += `\\x${byteToHex(byte)}`;
  }
  return `at ${cycle} send "${text}"`;
}

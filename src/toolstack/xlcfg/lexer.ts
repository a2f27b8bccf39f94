/**
 * Words of an xl configuration file, as xl.cfg(5) SYNTAX describes them: lower-case keys, strings in single or double
 * quotes with C escapes, numbers, `=`, `+=`, brackets, commas; a pair ends at a line's end or at a semicolon; `#` starts a
 * comment. A backslash as the last character of a line joins it with the next.
 */

import { UserError } from "../user-error.ts";

/** A place in a file; line and column count from 1. */
export interface Position {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

export type TokenKind = "key" | "string" | "number" | "=" | "+=" | "[" | "]" | "," | "end" | "eof";

export interface Token {
  readonly kind: TokenKind;
  /** Key, number as written, or a string without quotes and escapes. */
  readonly text: string;
  readonly at: Position;
}

/** One line that names the place: `file:line:column: message`. */
export function errorAt(at: Position, message: string): UserError {
  return new UserError(`${at.file}:${at.line}:${at.column}: ${message}`);
}

const SIMPLE_ESCAPES: Readonly<Record<string, string>> = {
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};

const KEY = /[a-z][._0-9a-z]*/y;
const NUMBER = /[0-9][0-9A-Za-z]*/y;
const HEX_ESCAPE = /x[0-9a-fA-F]{1,2}/y;
const OCTAL_ESCAPE = /[0-7]{1,3}/y;

function matchAt(pattern: RegExp, source: string, index: number): string | undefined {
  pattern.lastIndex = index;
  return pattern.exec(source)?.[0];
}

/** Splits `source` into tokens; every line end outside a comment's line is one `end` token. Throws UserError with the place. */
export function tokenize(source: string, file: string): Token[] {
  const tokens: Token[] = [];
  let index = source.startsWith("\uFEFF") ? 1 : 0;
  let line = 1;
  let lineStart = index;

  const here = (): Position => ({ file, line, column: index - lineStart + 1 });
  const push = (kind: TokenKind, text: string, length: number): void => {
    tokens.push({ kind, text, at: here() });
    index += length;
  };
  const newLine = (length: number): void => {
    index += length;
    line++;
    lineStart = index;
  };

  const readString = (quote: string): void => {
    const at = here();
    let text = "";
    let i = index + 1;
    for (;;) {
      const c = source[i];
      if (c === undefined || c === "\n" || c === "\r")
        throw errorAt(at, `string starts here and has no closing ${quote}`);
      if (c === quote) break;
      if (c !== "\\") {
        text += c;
        i++;
        continue;
      }
      const escaped = source[i + 1];
      if (escaped === undefined || escaped === "\n" || escaped === "\r") {
        throw errorAt(at, `string starts here and has no closing ${quote}`);
      }
      const hex = matchAt(HEX_ESCAPE, source, i + 1);
      const octal = matchAt(OCTAL_ESCAPE, source, i + 1);
      if (hex !== undefined) {
        text += String.fromCharCode(Number.parseInt(hex.slice(1), 16));
        i += 1 + hex.length;
      } else if (octal !== undefined) {
        text += String.fromCharCode(Number.parseInt(octal, 8) & 0xff);
        i += 1 + octal.length;
      } else {
        text += SIMPLE_ESCAPES[escaped] ?? escaped;
        i += 2;
      }
    }
    tokens.push({ kind: "string", text, at });
    index = i + 1;
  };

  while (index < source.length) {
    const c = source[index]!;
    const lineEnd = c === "\n" ? 1 : c === "\r" && source[index + 1] === "\n" ? 2 : 0;
    if (lineEnd > 0) {
      tokens.push({ kind: "end", text: "end of line", at: here() });
      newLine(lineEnd);
    } else if (c === " " || c === "\t") {
      index++;
    } else if (c === "#") {
      const end = source.indexOf("\n", index);
      index = end < 0 ? source.length : source[end - 1] === "\r" ? end - 1 : end;
    } else if (c === "\\" && source[index + 1] === "\n") {
      newLine(2);
    } else if (c === "\\" && source.startsWith("\r\n", index + 1)) {
      newLine(3);
    } else if (c === "+" && source[index + 1] === "=") {
      push("+=", "+=", 2);
    } else if (c === "=" || c === "[" || c === "]" || c === ",") {
      push(c, c, 1);
    } else if (c === ";") {
      push("end", ";", 1);
    } else if (c === '"' || c === "'") {
      readString(c);
    } else {
      const key = matchAt(KEY, source, index);
      const number = key === undefined ? matchAt(NUMBER, source, index) : undefined;
      if (key !== undefined) push("key", key, key.length);
      else if (number !== undefined) push("number", number, number.length);
      else throw errorAt(here(), unexpectedCharacter(source, index));
    }
  }
  tokens.push({ kind: "eof", text: "end of file", at: here() });
  return tokens;
}

function unexpectedCharacter(source: string, index: number): string {
  const word = matchAt(/[A-Za-z_][._0-9A-Za-z]*/y, source, index);
  if (word !== undefined) return `'${word}' is no key: keys are lower-case letters, digits, _ and .`;
  const code = source.codePointAt(index)!;
  const shown = code >= 0x20 && code !== 0x7f ? `'${String.fromCodePoint(code)}'` : `byte 0x${code.toString(16)}`;
  return `unexpected ${shown} (xl.cfg values are quoted strings, numbers and lists in brackets)`;
}

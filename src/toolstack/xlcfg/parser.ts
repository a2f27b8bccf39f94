/**
 * Parser of xl configuration files: `key = value` and `key += value`, where a value is a string, a number or a list. As in
 * xl, numbers stay text until an option asks for them, so that `memory = "256"` and `memory = 256` are the same.
 */

import { errorAt, type Position, type Token, tokenize } from "./lexer.ts";

export interface AtomValue {
  readonly kind: "atom";
  readonly text: string;
  readonly quoted: boolean;
  readonly at: Position;
}

export interface ListValue {
  readonly kind: "list";
  readonly items: readonly Value[];
  readonly at: Position;
}

export type Value = AtomValue | ListValue;

/** The last value that the file gives a key. */
export interface Setting {
  readonly key: string;
  readonly value: Value;
  /** Where the key stands. */
  readonly at: Position;
}

export type RawConfig = ReadonlyMap<string, Setting>;

const MAX_NESTING = 16;

function describe(token: Token): string {
  if (token.kind === "end" || token.kind === "eof") return token.text === ";" ? "';'" : `the ${token.text}`;
  return token.kind === "string" ? `string "${token.text}"` : `'${token.text}'`;
}

/** Parses the text of one file. Throws UserError (`file:line:column: message`) at the first error. */
export function parseXlCfg(source: string, file: string): RawConfig {
  const tokens = tokenize(source, file);
  const settings = new Map<string, Setting>();
  let next = 0;

  const peek = (): Token => tokens[next]!;
  const take = (): Token => tokens[next++]!;
  const skipLineEnds = (): void => {
    while (peek().kind === "end" && peek().text !== ";") next++;
  };

  const parseList = (open: Token, depth: number): ListValue => {
    if (depth > MAX_NESTING) throw errorAt(open.at, "list is nested too deeply");
    const items: Value[] = [];
    skipLineEnds();
    while (peek().kind !== "]") {
      if (peek().kind === "eof") throw errorAt(open.at, "list starts here and has no closing ]");
      items.push(parseValue(depth + 1));
      skipLineEnds();
      const separator = peek();
      if (separator.kind === ",") {
        next++;
        skipLineEnds();
      } else if (separator.kind !== "]" && separator.kind !== "eof") {
        throw errorAt(separator.at, `expected , or ] in a list, found ${describe(separator)}`);
      }
    }
    next++;
    return { kind: "list", items, at: open.at };
  };

  const parseValue = (depth: number): Value => {
    const token = take();
    if (token.kind === "[") return parseList(token, depth);
    if (token.kind === "string" || token.kind === "number") {
      return { kind: "atom", text: token.text, quoted: token.kind === "string", at: token.at };
    }
    if (token.kind === "key")
      throw errorAt(token.at, `expected a value, found '${token.text}' (strings stand in quotes)`);
    throw errorAt(token.at, `expected a value, found ${describe(token)}`);
  };

  while (peek().kind !== "eof") {
    if (peek().kind === "end") {
      next++;
      continue;
    }
    const key = take();
    if (key.kind !== "key") throw errorAt(key.at, `expected key = value, found ${describe(key)}`);
    const operator = take();
    if (operator.kind !== "=" && operator.kind !== "+=") {
      throw errorAt(operator.at, `expected = or += after '${key.text}', found ${describe(operator)}`);
    }
    const value = parseValue(0);
    const end = peek();
    if (end.kind !== "end" && end.kind !== "eof") {
      throw errorAt(end.at, `expected the end of the line after the value of '${key.text}', found ${describe(end)}`);
    }
    const before = settings.get(key.text);
    const merged = operator.kind === "+=" && before !== undefined ? append(before, value, key) : value;
    settings.set(key.text, { key: key.text, value: merged, at: key.at });
  }
  return settings;
}

/** `+=`: strings are joined, lists are chained, and the two don't mix. */
function append(before: Setting, value: Value, key: Token): Value {
  if (before.value.kind === "list" && value.kind === "list") {
    return { kind: "list", items: [...before.value.items, ...value.items], at: value.at };
  }
  if (before.value.kind === "atom" && value.kind === "atom") {
    return { kind: "atom", text: before.value.text + value.text, quoted: true, at: value.at };
  }
  const kinds = { atom: "a string or number", list: "a list" };
  throw errorAt(
    value.at,
    `'${key.text}' is ${kinds[before.value.kind]} since line ${before.at.line}; += can't add ${kinds[value.kind]} to it`,
  );
}

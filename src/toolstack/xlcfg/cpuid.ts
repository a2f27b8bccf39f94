/**
 * `cpuid` of xl.cfg(5): `"host,avx=0,family=6"` as libxl writes it, with a model's name in place of `host` where the domain is to
 * be shown that one, or xend's list of registers, `["0x1:ecx=xxxx...,edx=...", "0x7,0:ebx=..."]`.
 */
import { ruleError } from "../../../hypervisor/hvm/cpu-policy.ts";
import { CPU_LEVELS, type CpuidRegister, type CpuidRule, type CpuLevel } from "../../machine/api.ts";
import { didYouMean } from "../suggest.ts";
import { CPUID_FIELDS } from "./cpuid-names.ts";
import { errorAt, type Position } from "./lexer.ts";
import type { Setting } from "./parser.ts";

/** A rule, and what the file says for it. */
export interface PlacedRule {
  readonly rule: CpuidRule;
  readonly text: string;
  readonly at: Position;
}

export interface XlCpuid {
  readonly model?: CpuLevel;
  readonly rules: readonly PlacedRule[];
}

const UNCHANGED = "x".repeat(32);

/** Bits of a register of which `length` from `bit` up are `letters`. */
function rule(
  leaf: number,
  subleaf: number | undefined,
  register: CpuidRegister,
  parts: readonly (readonly [bit: number, letters: string])[],
): CpuidRule {
  let bits = UNCHANGED;
  for (const [bit, letters] of parts)
    bits = bits.slice(0, 32 - bit - letters.length) + letters + bits.slice(32 - bit, 32);
  return { leaf, ...(subleaf !== undefined && { subleaf }), register, bits };
}

const binary = (value: number, length: number): string => value.toString(2).padStart(length, "0");

/** A number below 2 ** length in `length` digits, or x, k or s for all of them; undefined if it is neither. */
function letters(value: string, length: number): string | undefined {
  if (/^[xks]$/.test(value)) return value.repeat(length);
  if (!/^(0x[0-9a-f]+|[0-9]+)$/i.test(value)) return undefined;
  const number = /^0[0-9]/.test(value) ? Number.parseInt(value, 8) : Number(value);
  return number < 2 ** length ? binary(number, length) : undefined;
}

const LEAF_1_EAX = [1, undefined, "eax"] as const;
/** The largest family: 15 and an extended family of 255. */
const MOST_FAMILY = 15 + 255;

/** `key=value` of libxl's form. */
function parseKey(key: string, value: string, at: Position): CpuidRule {
  const wrong = (what: string): never => {
    throw errorAt(at, `cpuid: ${key} can't be "${value}": ${what}`);
  };
  if (key === "family") {
    // Families above 15 are 15 and an extended family.
    const spread = letters(value, 9);
    if (spread === undefined) return wrong(`it is a number from 0 to ${MOST_FAMILY}, x, k or s`);
    if (/[xks]/.test(spread))
      return rule(...LEAF_1_EAX, [
        [8, spread.slice(0, 4)],
        [20, spread.slice(0, 8)],
      ]);
    const family = Number.parseInt(spread, 2);
    if (family > MOST_FAMILY) return wrong(`it is a number from 0 to ${MOST_FAMILY}, x, k or s`);
    return rule(...LEAF_1_EAX, [
      [8, binary(Math.min(family, 15), 4)],
      [20, binary(Math.max(family - 15, 0), 8)],
    ]);
  }
  if (key === "model") {
    const model = letters(value, 8);
    if (model === undefined) return wrong("it is a number from 0 to 255, x, k or s");
    return rule(...LEAF_1_EAX, [
      [4, model.slice(4)],
      [16, model.slice(0, 4)],
    ]);
  }
  const field = CPUID_FIELDS.get(key);
  if (field === undefined) {
    const known = [...CPUID_FIELDS.keys(), "family", "model"];
    throw errorAt(at, `cpuid: there is no CPUID field "${key}"${didYouMean(key, known)}`);
  }
  const digits = letters(value, field.length);
  if (digits === undefined)
    return wrong(
      field.length === 1 ? "it is 0, 1, x, k or s" : `it is a number from 0 to ${2 ** field.length - 1}, x, k or s`,
    );
  return rule(field.leaf, field.subleaf, field.register, [[field.bit, digits]]);
}

/** libxl's form: one string. */
function parseString(text: string, at: Position): XlCpuid {
  if (text === "") return { rules: [] };
  const [first, ...items] = text.split(",");
  const model = CPU_LEVELS.find((level) => level === first);
  if (first !== "host" && model === undefined)
    throw errorAt(at, `cpuid must begin with "host" or a model (${CPU_LEVELS.join(", ")}), not with "${first}"`);
  const rules = items.map((item): PlacedRule => {
    const match = /^([^=]+)=(.*)$/.exec(item);
    if (match === null) throw errorAt(at, `cpuid: "${item}" is not of the form KEY=VALUE`);
    return { rule: parseKey(match[1]!, match[2]!, at), text: item, at };
  });
  return { ...(model !== undefined && { model }), rules };
}

/** One element of xend's form: LEAF[,SUBLEAF]:REGISTER=BITS,... */
function parseElement(text: string, at: Position): PlacedRule[] {
  const match = /^\s*(0x[0-9a-f]+|[0-9]+)\s*(?:,\s*(0x[0-9a-f]+|[0-9]+)\s*)?:\s*(.*)$/is.exec(text);
  if (match === null)
    throw errorAt(at, `cpuid: "${text}" is not of the form LEAF:REGISTER=BITS or LEAF,SUBLEAF:REGISTER=BITS`);
  const leaf = Number(match[1]);
  const subleaf = match[2] === undefined ? undefined : Number(match[2]);
  return match[3]!.split(",").map((part): PlacedRule => {
    const given = /^\s*(e[abcd]x)=(\S*)\s*$/.exec(part);
    if (given === null)
      throw errorAt(
        at,
        `cpuid: "${part.trim()}" is not of the form REGISTER=BITS, with a register eax, ebx, ecx or edx`,
      );
    const made: CpuidRule = {
      leaf,
      ...(subleaf !== undefined && { subleaf }),
      register: given[1] as CpuidRegister,
      bits: given[2]!,
    };
    const error = ruleError(made);
    if (error !== null) throw errorAt(at, `cpuid: ${error}`);
    return { rule: made, text: `${match[1]}${match[2] === undefined ? "" : `,${match[2]}`}:${given[1]}`, at };
  });
}

/** Reads the setting `cpuid`. Throws UserError with file and line. */
export function parseCpuid(setting: Setting): XlCpuid {
  const { value } = setting;
  if (value.kind === "atom") return parseString(value.text, value.at);
  return {
    rules: value.items.flatMap((item) => {
      if (item.kind !== "atom")
        throw errorAt(item.at, "cpuid takes a string or a list of strings, not a list of lists");
      return parseElement(item.text, item.at);
    }),
  };
}

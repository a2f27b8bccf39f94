// The SSE floating-point instructions by mnemonic: the operation, where its operands are, and how many bytes it reads
// when the second is in memory.

import { F32, F64 } from "./softfloat.ts";
import {
  addSubtract,
  approximate,
  arithmetic,
  comparePredicate,
  compareToFlags,
  dotProduct,
  horizontal,
  round,
  SSE_ADD,
  SSE_DIV,
  SSE_MAX,
  SSE_MIN,
  SSE_MUL,
  SSE_SQRT,
  SSE_SUB,
  type SseOperation,
} from "./sse-arith.ts";
import { betweenFormats, fromIntegers, scalarBetween, toIntegers } from "./sse-convert.ts";

/** Where an operand is. */
export const IN_XMM = 0;
export const IN_MMX = 1;
export const IN_GPR = 2;

export interface SseEntry {
  readonly operation: SseOperation;
  /** The form with a 64-bit general register (REX.W), where there is one. */
  readonly wide: SseOperation | null;
  readonly destination: number;
  readonly source: number;
  /** Bytes of a memory source; 0: the size of the general register. */
  readonly bytes: number;
}

export const SSE_TABLE: Map<string, SseEntry> = new Map();

function define(
  name: string,
  bytes: number,
  operation: SseOperation,
  destination: number = IN_XMM,
  source: number = IN_XMM,
  wide: SseOperation | null = null,
): void {
  SSE_TABLE.set(name, { operation, wide, destination, source, bytes });
}

const SUFFIXES = [
  ["PS", F32, 4, 16],
  ["PD", F64, 2, 16],
  ["SS", F32, 1, 4],
  ["SD", F64, 1, 8],
] as const;
const ARITHMETIC = [
  ["ADD", SSE_ADD],
  ["SUB", SSE_SUB],
  ["MUL", SSE_MUL],
  ["DIV", SSE_DIV],
  ["SQRT", SSE_SQRT],
  ["MIN", SSE_MIN],
  ["MAX", SSE_MAX],
] as const;
for (const [suffix, fmt, lanes, bytes] of SUFFIXES) {
  for (const [name, operation] of ARITHMETIC) define(name + suffix, bytes, arithmetic(operation, fmt, lanes));
  define(`CMP${suffix}`, bytes, comparePredicate(fmt, lanes));
  define(`ROUND${suffix}`, bytes, round(fmt, lanes));
  if (fmt === F32) {
    define(`RCP${suffix}`, bytes, approximate(false, lanes));
    define(`RSQRT${suffix}`, bytes, approximate(true, lanes));
  }
  if (lanes > 1) {
    define(`HADD${suffix}`, bytes, horizontal(fmt, lanes, 0));
    define(`HSUB${suffix}`, bytes, horizontal(fmt, lanes, 1));
    define(`ADDSUB${suffix}`, bytes, addSubtract(fmt, lanes));
    define(`DP${suffix}`, bytes, dotProduct(fmt, lanes));
  } else {
    define(`COMI${suffix}`, bytes, compareToFlags(fmt, true));
    define(`UCOMI${suffix}`, bytes, compareToFlags(fmt, false));
    define(`CVTSI2${suffix}`, 0, fromIntegers(fmt, 1, false), IN_XMM, IN_GPR, fromIntegers(fmt, 1, true));
    for (const [name, truncate] of [
      [`CVT${suffix}2SI`, false],
      [`CVTT${suffix}2SI`, true],
    ] as const) {
      // A 32-bit result clears the upper half of the register.
      const wide = toIntegers(fmt, 1, true, truncate, 8);
      define(name, bytes, toIntegers(fmt, 1, false, truncate, 8), IN_GPR, IN_XMM, wide);
    }
  }
}

define("CVTDQ2PS", 16, fromIntegers(F32, 4, false));
define("CVTDQ2PD", 8, fromIntegers(F64, 2, false));
define("CVTPI2PS", 8, fromIntegers(F32, 2, false), IN_XMM, IN_MMX);
define("CVTPI2PD", 8, fromIntegers(F64, 2, false), IN_XMM, IN_MMX);
for (const [prefix, truncate] of [
  ["CVT", false],
  ["CVTT", true],
] as const) {
  define(`${prefix}PS2DQ`, 16, toIntegers(F32, 4, false, truncate, 16));
  define(`${prefix}PD2DQ`, 16, toIntegers(F64, 2, false, truncate, 16));
  define(`${prefix}PS2PI`, 8, toIntegers(F32, 2, false, truncate, 8), IN_MMX, IN_XMM);
  define(`${prefix}PD2PI`, 16, toIntegers(F64, 2, false, truncate, 8), IN_MMX, IN_XMM);
}
define("CVTPS2PD", 8, betweenFormats(F32, F64, 2, 16));
define("CVTPD2PS", 16, betweenFormats(F64, F32, 2, 16));
define("CVTSS2SD", 4, scalarBetween(F32, F64));
define("CVTSD2SS", 8, scalarBetween(F64, F32));

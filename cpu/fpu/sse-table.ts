// The SSE and AVX floating-point instructions by mnemonic: the operation, where its operands are, and how many bytes the SSE
// form reads when the second is in memory.

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
import { betweenFormats, fromIntegers, scalarBetween, scalarFromInteger, toIntegers } from "./sse-convert.ts";

/** Where an operand is. */
export const IN_XMM = 0;
export const IN_MMX = 1;
export const IN_GPR = 2;

export interface SseEntry {
  readonly operation: SseOperation;
  /** The form with a 64-bit general register (REX.W, VEX.W), where there is one. */
  readonly wide: SseOperation | null;
  /** The form of 32-byte vectors (VEX.L), where there is one. */
  readonly long: SseOperation | null;
  readonly destination: number;
  readonly source: number;
  /** Bytes of a memory source; 0: the size of the general register. */
  readonly bytes: number;
}

/** By mnemonic of SSE. What VEX-encoded instructions do otherwise stands under their own. */
export const SSE_TABLE: Map<string, SseEntry> = new Map();

interface Forms {
  destination?: number;
  source?: number;
  wide?: SseOperation;
  long?: SseOperation;
}

function define(name: string, bytes: number, operation: SseOperation, forms: Forms = {}): void {
  const { destination = IN_XMM, source = IN_XMM, wide = null, long = null } = forms;
  SSE_TABLE.set(name, { operation, wide, long, destination, source, bytes });
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
/** Bits of the immediate that choose the predicate of CMPPS and VCMPPS. */
const PREDICATES = 7;
const VEX_PREDICATES = 31;
for (const [suffix, fmt, lanes, bytes] of SUFFIXES) {
  /** Defines the operation that `make` makes for a number of lanes. */
  const forLanes = (name: string, make: (lanes: number) => SseOperation): void =>
    define(name + suffix, bytes, make(lanes), lanes > 1 ? { long: make(lanes * 2) } : {});
  for (const [name, operation] of ARITHMETIC) forLanes(name, (n) => arithmetic(operation, fmt, n));
  forLanes("CMP", (n) => comparePredicate(fmt, n, PREDICATES));
  forLanes("VCMP", (n) => comparePredicate(fmt, n, VEX_PREDICATES));
  forLanes("ROUND", (n) => round(fmt, n));
  if (fmt === F32) {
    forLanes("RCP", (n) => approximate(false, n));
    forLanes("RSQRT", (n) => approximate(true, n));
  }
  if (lanes > 1) {
    forLanes("HADD", (n) => horizontal(fmt, n, 0));
    forLanes("HSUB", (n) => horizontal(fmt, n, 1));
    forLanes("ADDSUB", (n) => addSubtract(fmt, n));
    forLanes("DP", (n) => dotProduct(fmt, n));
  } else {
    define(`COMI${suffix}`, bytes, compareToFlags(fmt, true));
    define(`UCOMI${suffix}`, bytes, compareToFlags(fmt, false));
    define(`CVTSI2${suffix}`, 0, scalarFromInteger(fmt, false), {
      source: IN_GPR,
      wide: scalarFromInteger(fmt, true),
    });
    for (const [name, truncate] of [
      [`CVT${suffix}2SI`, false],
      [`CVTT${suffix}2SI`, true],
    ] as const) {
      // A 32-bit result clears the upper half of the register.
      const wide = toIntegers(fmt, 1, true, truncate, 8);
      define(name, bytes, toIntegers(fmt, 1, false, truncate, 8), { destination: IN_GPR, wide });
    }
  }
}

define("CVTDQ2PS", 16, fromIntegers(F32, 4), { long: fromIntegers(F32, 8) });
define("CVTDQ2PD", 8, fromIntegers(F64, 2), { long: fromIntegers(F64, 4) });
define("CVTPI2PS", 8, fromIntegers(F32, 2), { source: IN_MMX });
define("CVTPI2PD", 8, fromIntegers(F64, 2), { source: IN_MMX });
for (const [prefix, truncate] of [
  ["CVT", false],
  ["CVTT", true],
] as const) {
  define(`${prefix}PS2DQ`, 16, toIntegers(F32, 4, false, truncate, 16), {
    long: toIntegers(F32, 8, false, truncate, 16),
  });
  define(`${prefix}PD2DQ`, 16, toIntegers(F64, 2, false, truncate, 16), {
    long: toIntegers(F64, 4, false, truncate, 16),
  });
  define(`${prefix}PS2PI`, 8, toIntegers(F32, 2, false, truncate, 8), { destination: IN_MMX });
  define(`${prefix}PD2PI`, 16, toIntegers(F64, 2, false, truncate, 8), { destination: IN_MMX });
}
define("CVTPS2PD", 8, betweenFormats(F32, F64, 2, 16), { long: betweenFormats(F32, F64, 4, 16) });
define("CVTPD2PS", 16, betweenFormats(F64, F32, 2, 16), { long: betweenFormats(F64, F32, 4, 16) });
define("CVTSS2SD", 4, scalarBetween(F32, F64));
define("CVTSD2SS", 8, scalarBetween(F64, F32));

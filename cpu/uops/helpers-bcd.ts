/** Decimal adjustments (SDM: AAA, AAD, AAM, AAS, DAA, DAS) and SALC. */
import { S_RAX, SLOTS } from "../arena.ts";
import { type Core, raise, VEC_DE } from "../core.ts";
import { FLAG_AF, FLAG_CF, getFlags } from "../flags.ts";
import { defineHelper } from "./helpers.ts";
import { carry, FIELD_C, setAdjust, setCarry, setOverflow, setResultFlags } from "./helpers-integer.ts";
import { H_OK } from "./uop.ts";

const AL = SLOTS + S_RAX;
const AH = AL + 1;
const AX = AL >>> 1;

/**
 * AL = AL + delta, in eight bits. SF, ZF, PF and OF are those of the addition, or of the subtraction if delta is
 * negative, as AMD's processors leave them where the manual calls them undefined.
 */
function adjust(core: Core, delta: number, cf: boolean, af: boolean): void {
  const al = core.u8[AL]!;
  const sum = (al + delta) & 255;
  core.u8[AL] = sum;
  setResultFlags(core, 1, sum, 0);
  setCarry(core, cf ? 1 : 0);
  setAdjust(core, af ? 1 : 0);
  // Overflow: the operands' signs agree (differ, for a subtraction) and the result's is another.
  const operand = delta < 0 ? ~-delta : delta;
  setOverflow(core, ((~(al ^ operand) & (al ^ sum)) >> 7) & 1);
}

/** DAA (sign 1) and DAS (sign -1). */
function decimalAdjust(core: Core, sign: number): number {
  const flags = getFlags(core);
  const al = core.u8[AL]!;
  const af = (al & 15) > 9 || (flags & FLAG_AF) !== 0;
  const cf = al > 0x99 || (flags & FLAG_CF) !== 0;
  // DAS also keeps the borrow of its first step.
  adjust(core, sign * ((af ? 6 : 0) + (cf ? 0x60 : 0)), cf || (sign < 0 && af && al < 6), af);
  return H_OK;
}

export const HELPER_DAA: number = defineHelper("DAA", (core) => decimalAdjust(core, 1));
export const HELPER_DAS: number = defineHelper("DAS", (core) => decimalAdjust(core, -1));

/** AAA (sign 1) and AAS (sign -1): AX +- 106h, whose flags the undefined ones are, then AL keeps its low digit. */
function asciiAdjust(core: Core, sign: number): number {
  const needed = (core.u8[AL]! & 15) > 9 || (getFlags(core) & FLAG_AF) !== 0;
  const ax = core.u16[AX]!;
  const sum = (ax + (needed ? sign * 0x106 : 0)) & 0xffff;
  setResultFlags(core, 2, sum, 0);
  setCarry(core, needed ? 1 : 0);
  setAdjust(core, needed ? 1 : 0);
  setOverflow(core, needed ? ((sign > 0 ? ~ax & sum : ax & ~sum) >> 15) & 1 : 0);
  core.u16[AX] = sum & 0xff0f;
  return H_OK;
}

export const HELPER_AAA: number = defineHelper("AAA", (core) => asciiAdjust(core, 1));
export const HELPER_AAS: number = defineHelper("AAS", (core) => asciiAdjust(core, -1));

/** U_HELPER: c = base; zero is #DE. */
export const HELPER_AAM: number = defineHelper("AAM", (core, u) => {
  const base = core.u8[u + FIELD_C]!;
  if (base === 0) return raise(core, VEC_DE);
  const al = core.u8[AL]!;
  core.u8[AH] = al / base;
  core.u8[AL] = al % base;
  adjust(core, 0, false, false);
  return H_OK;
});

/** U_HELPER: c = base. */
export const HELPER_AAD: number = defineHelper("AAD", (core, u) => {
  const al = core.u8[AL]!;
  const high = (core.u8[AH]! * core.u8[u + FIELD_C]!) & 255;
  adjust(core, high, al + high > 255, (al & 15) + (high & 15) > 15);
  core.u8[AH] = 0;
  return H_OK;
});

/** SALC: AL = CF ? FF : 00, no flags (D6, in every processor and in AMD's opcode map only). */
export const HELPER_SALC: number = defineHelper("SALC", (core) => {
  core.u8[AL] = -carry(core);
  return H_OK;
});

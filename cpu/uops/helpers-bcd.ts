/** Decimal adjustments (SDM: AAA, AAD, AAM, AAS, DAA, DAS) and SALC. Undefined flags: OF is cleared. */
import { S_RAX, SLOTS } from "../arena.ts";
import { type Core, raise, VEC_DE } from "../core.ts";
import { FLAG_AF, FLAG_CF, getFlags } from "../flags.ts";
import { defineHelper } from "./helpers.ts";
import { carry, FIELD_C, setAdjust, setCarry, setOverflow, setResultFlags } from "./helpers-integer.ts";
import { H_OK } from "./uop.ts";

const AL = SLOTS + S_RAX;
const AH = AL + 1;
const AX = AL >>> 1;

function finish(core: Core, cf: boolean, af: boolean): number {
  setResultFlags(core, 1, core.u8[AL]!, 0);
  setCarry(core, cf ? 1 : 0);
  setAdjust(core, af ? 1 : 0);
  setOverflow(core, 0);
  return H_OK;
}

/** DAA (sign 1) and DAS (sign -1). */
function decimalAdjust(core: Core, sign: number): number {
  const flags = getFlags(core);
  const al = core.u8[AL]!;
  const af = (al & 15) > 9 || (flags & FLAG_AF) !== 0;
  const cf = al > 0x99 || (flags & FLAG_CF) !== 0;
  core.u8[AL] = al + sign * ((af ? 6 : 0) + (cf ? 0x60 : 0));
  // DAS also keeps the borrow of its first step.
  return finish(core, cf || (sign < 0 && af && al < 6), af);
}

export const HELPER_DAA: number = defineHelper("DAA", (core) => decimalAdjust(core, 1));
export const HELPER_DAS: number = defineHelper("DAS", (core) => decimalAdjust(core, -1));

/** AAA (sign 1) and AAS (sign -1). */
function asciiAdjust(core: Core, sign: number): number {
  const adjust = (core.u8[AL]! & 15) > 9 || (getFlags(core) & FLAG_AF) !== 0;
  if (adjust) core.u16[AX]! += sign * 0x106;
  core.u8[AL]! &= 15;
  return finish(core, adjust, adjust);
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
  return finish(core, false, false);
});

/** U_HELPER: c = base. */
export const HELPER_AAD: number = defineHelper("AAD", (core, u) => {
  const al = core.u8[AL]! + core.u8[AH]! * core.u8[u + FIELD_C]!;
  core.u16[AX] = al & 255;
  return finish(core, false, false);
});

/** SALC: AL = CF ? FF : 00, no flags (D6, in every processor and in AMD's opcode map only). */
export const HELPER_SALC: number = defineHelper("SALC", (core) => {
  core.u8[AL] = -carry(core);
  return H_OK;
});

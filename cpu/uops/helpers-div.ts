/**
 * IDIV r/m64 with a dividend of more than 64 bits (SDM vol. 2, IDIV). The emitters divide in i64 when rDX only extends
 * rAX; what comes here is rare, so BigInt will do.
 */
import { S_RAX, S_RDX, SLOTS } from "../arena.ts";
import { type Core, raise, VEC_DE } from "../core.ts";
import { setDivHelper } from "../emit/emit-muldiv.ts";
import { defineHelper } from "./helpers.ts";
import { H_OK } from "./uop.ts";

/** U_IDIV records: a = divisor slot. #DE for a zero divisor or a quotient over 64 bits; nothing changes then. */
function divide(core: Core, u: number): number {
  const { u64 } = core;
  const divisorBits = u64[(SLOTS + core.u8[u + 3]!) >>> 3]!;
  const bits = (u64[(SLOTS + S_RDX) >>> 3]! << 64n) | u64[(SLOTS + S_RAX) >>> 3]!;
  const dividend = BigInt.asIntN(128, bits);
  const divisor = BigInt.asIntN(64, divisorBits);
  if (divisor === 0n) return raise(core, VEC_DE);
  const quotient = dividend / divisor;
  if (quotient !== BigInt.asIntN(64, quotient)) return raise(core, VEC_DE);
  u64[(SLOTS + S_RDX) >>> 3] = BigInt.asUintN(64, dividend % divisor);
  u64[(SLOTS + S_RAX) >>> 3] = BigInt.asUintN(64, quotient);
  return H_OK;
}

setDivHelper(defineHelper("idiv 128", divide));

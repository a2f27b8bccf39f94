/** Helpers of the flag instructions, BOUND and the random numbers. */
import { RANDOM_STATE, RFLAGS_SYS, RIP, S_RAX, S_RIPBASE, SEG, SEG_LIMIT, SEG_STRIDE, SLOTS } from "../arena.ts";
import { type Core, raise, VEC_BR, VEC_GP } from "../core.ts";
import { SEG_CS } from "../decode/instruction.ts";
import {
  FLAG_AF,
  FLAG_CF,
  FLAG_DF,
  FLAG_OF,
  FLAG_PF,
  FLAG_SF,
  FLAG_ZF,
  getFlags,
  setArithmeticFlags,
} from "../flags.ts";
import { defineHelper } from "./helpers.ts";
import { DISP, FIELD_A, FIELD_B, FIELD_C, FIELD_D, slotWord, writeSlot } from "./helpers-integer.ts";
import { H_OK } from "./uop.ts";

const AH = SLOTS + S_RAX + 1;
const FLAGS_AH = FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF | FLAG_CF;

/** U_HELPER: DF = c. */
export const HELPER_DF: number = defineHelper("direction flag", (core, u) => {
  if (core.u8[u + FIELD_C]) core.i32[RFLAGS_SYS >>> 2]! |= FLAG_DF;
  else core.i32[RFLAGS_SYS >>> 2]! &= ~FLAG_DF;
  return H_OK;
});

export const HELPER_LAHF: number = defineHelper("LAHF", (core) => {
  core.u8[AH] = (getFlags(core) & FLAGS_AH) | 2;
  return H_OK;
});

export const HELPER_SAHF: number = defineHelper("SAHF", (core) => {
  setArithmeticFlags(core, (core.u8[AH]! & FLAGS_AH) | (getFlags(core) & FLAG_OF));
  return H_OK;
});

/** U_HELPER: #BR unless S[a] <= S[d] <= S[b], signed, c = 2 or 4 bytes. */
export const HELPER_BOUND: number = defineHelper("BOUND", (core, u) => {
  const shift = core.u8[u + FIELD_C] === 2 ? 16 : 0;
  const index = core.i32[slotWord(core, u, FIELD_D)]! << shift;
  const lower = core.i32[slotWord(core, u, FIELD_A)]! << shift;
  const upper = core.i32[slotWord(core, u, FIELD_B)]! << shift;
  return index < lower || index > upper ? raise(core, VEC_BR) : H_OK;
});

/** When HELPER_NEAR_TARGET checks: always, or depending on slot b. */
export const GATE_ALWAYS = 0;
export const GATE_NONZERO = 1;
export const GATE_ZERO = 2;

const CS_LIMIT = (SEG + SEG_CS * SEG_STRIDE + SEG_LIMIT) >>> 2;

/** U_HELPER: #GP(0) if S[a] + disp, cut to d = 2 or 4 bytes, is beyond the limit of CS; c = GATE_* about S[b]. */
export const HELPER_NEAR_TARGET: number = defineHelper("near branch target", (core, u) => {
  const gate = core.u8[u + FIELD_C]!;
  if (gate !== GATE_ALWAYS) {
    const b = slotWord(core, u, FIELD_B);
    const zero = (core.i32[b]! | core.i32[b + 1]!) === 0;
    if (zero !== (gate === GATE_ZERO)) return H_OK;
  }
  const target = core.i32[slotWord(core, u, FIELD_A)]! + core.i32[(u + DISP) >>> 2]!;
  const offset = core.u8[u + FIELD_D] === 2 ? target & 0xffff : target >>> 0;
  return offset > core.u32[CS_LIMIT]! ? raise(core, VEC_GP, 0) : H_OK;
});

/**
 * U_HELPER_END: a conditional branch of 16-bit operand size in 32- or 64-bit code: c = GATE_* about S[b] says if it is taken, to
 * RIPBASE + disp cut to 16 bits; if not, RIP stays whole.
 */
export const HELPER_BRANCH16: number = defineHelper("16-bit branch", (core, u) => {
  const b = slotWord(core, u, FIELD_B);
  const zero = (core.i32[b]! | core.i32[b + 1]!) === 0;
  if (zero !== (core.u8[u + FIELD_C] === GATE_ZERO)) return H_OK;
  core.i32[RIP >>> 2] = (core.i32[(SLOTS + S_RIPBASE) >>> 2]! + core.i32[(u + DISP) >>> 2]!) & 0xffff;
  core.i32[(RIP + 4) >>> 2] = 0;
  return H_OK;
});

const RANDOM = RANDOM_STATE >>> 2;

/** One step of the murmur3 finalizer: spreads a small seed over a word. */
function mix(word: number): number {
  word = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
  return word ^ (word >>> 16);
}

const rotate = (word: number, by: number): number => (word << by) | (word >>> (32 - by));

/** The next 32 bits of the core's generator, xoshiro128++ (Blackman, Vigna); a fresh core seeds it with its number. */
function nextRandom(core: Core): number {
  const i = core.i32;
  if ((i[RANDOM]! | i[RANDOM + 1]! | i[RANDOM + 2]! | i[RANDOM + 3]!) === 0)
    for (let n = 0; n < 4; n++) i[RANDOM + n] = mix(0x9e3779b9 * (core.index * 4 + n + 1));
  const s0 = i[RANDOM]!;
  const s1 = i[RANDOM + 1]!;
  const s2 = i[RANDOM + 2]! ^ s0;
  const s3 = i[RANDOM + 3]! ^ s1;
  const result = (rotate((s0 + i[RANDOM + 3]!) | 0, 7) + s0) | 0;
  i[RANDOM + 1] = s1 ^ s2;
  i[RANDOM] = s0 ^ s3;
  i[RANDOM + 2] = s2 ^ (s1 << 9);
  i[RANDOM + 3] = rotate(s3, 11);
  return result;
}

/**
 * U_HELPER: RDRAND and RDSEED of c bytes to S[d], always with CF = 1. The numbers are reproducible, as every run of the
 * machine is: they are a function of the core's number and of how many were drawn.
 */
export const HELPER_RANDOM: number = defineHelper("random number", (core, u) => {
  const size = core.u8[u + FIELD_C]!;
  const lo = nextRandom(core);
  writeSlot(core, core.u8[u + FIELD_D]!, size, lo, size === 8 ? nextRandom(core) : 0);
  setArithmeticFlags(core, FLAG_CF);
  return H_OK;
});

/** Helpers of BEXTR, PDEP and PEXT, in int32 pairs. d, a, b are slots, c the operand size in bytes. */
import type { Core } from "../core.ts";
import { FLAG_ZF, setArithmeticFlags } from "../flags.ts";
import { defineHelper } from "./helpers.ts";
import { FIELD_A, FIELD_B, FIELD_C, FIELD_D, slotWord, writeSlot } from "./helpers-integer.ts";
import { H_OK } from "./uop.ts";

/** S[d] = the bits of S[a] from bit S[b][7:0] on, S[b][15:8] of them. ZF by the result; CF and OF clear, and so are the undefined flags. */
export const HELPER_BEXTR: number = defineHelper("BEXTR", (core, u) => {
  const { i32 } = core;
  const size = core.u8[u + FIELD_C]!;
  const a = slotWord(core, u, FIELD_A);
  const control = i32[slotWord(core, u, FIELD_B)]!;
  const start = control & 255;
  const count = (control >> 8) & 255;
  let lo = i32[a]!;
  let hi = size === 8 ? i32[a + 1]! : 0;
  if (start >= size * 8) lo = hi = 0;
  else if (start >= 32) {
    lo = hi >>> (start - 32);
    hi = 0;
  } else if (start > 0) {
    lo = (lo >>> start) | (hi << (32 - start));
    hi >>>= start;
  }
  if (count < 32) {
    lo &= (1 << count) - 1;
    hi = 0;
  } else if (count < 64) hi &= (1 << (count - 32)) - 1;
  writeSlot(core, core.u8[u + FIELD_D]!, size, lo, hi);
  setArithmeticFlags(core, (lo | hi) === 0 ? FLAG_ZF : 0);
  return H_OK;
});

/** Bits of the source that `deposit` has taken. */
let used = 0;

/** Bits of hi:lo from bit `from` on, scattered to the places of the bits of `mask`, a word. */
function deposit(lo: number, hi: number, from: number, mask: number): number {
  let result = 0;
  let n = from;
  for (let rest = mask; rest !== 0; rest &= rest - 1, n++) {
    const bit = n < 32 ? (lo >>> n) & 1 : (hi >>> (n - 32)) & 1;
    if (bit) result |= rest & -rest;
  }
  used = n;
  return result;
}

/** PDEP: low bits of S[a] at the places of the bits of S[b]. */
export const HELPER_PDEP: number = defineHelper("PDEP", (core: Core, u) => {
  const { i32 } = core;
  const size = core.u8[u + FIELD_C]!;
  const a = slotWord(core, u, FIELD_A);
  const b = slotWord(core, u, FIELD_B);
  const [lo, hi, mask, maskHi] = [i32[a]!, i32[a + 1]!, i32[b]!, i32[b + 1]!];
  const low = deposit(lo, hi, 0, mask);
  writeSlot(core, core.u8[u + FIELD_D]!, size, low, size === 8 ? deposit(lo, hi, used, maskHi) : 0);
  return H_OK;
});

/** PEXT: the bits of S[a] at the places of the bits of S[b], gathered in the low bits. */
export const HELPER_PEXT: number = defineHelper("PEXT", (core: Core, u) => {
  const { i32 } = core;
  const size = core.u8[u + FIELD_C]!;
  const a = slotWord(core, u, FIELD_A);
  const b = slotWord(core, u, FIELD_B);
  const result = [0, 0];
  let n = 0;
  for (let word = 0; word < size >> 2; word++)
    for (let rest = i32[b + word]!; rest !== 0; rest &= rest - 1, n++)
      if (i32[a + word]! & rest & -rest) result[n >> 5]! |= 1 << (n & 31);
  writeSlot(core, core.u8[u + FIELD_D]!, size, result[0]!, result[1]!);
  return H_OK;
});

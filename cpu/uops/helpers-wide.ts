/** Helpers of CMPXCHG8B, CMPXCHG16B, ADCX and ADOX, in int32 pairs. */
import { CC_O, CC_Z, S_RAX, S_RBX, S_RCX, S_RDX, SLOTS } from "../arena.ts";
import { type Core, raise, VEC_GP } from "../core.ts";
import { defineHelper } from "./helpers.ts";
import {
  carry,
  DISP,
  FIELD_A,
  FIELD_B,
  FIELD_C,
  FIELD_D,
  FIELD_S,
  readSlot,
  setCarry,
  setOverflow,
  slotWord,
} from "./helpers-integer.ts";
import { C_SCALE_MASK, H_OK } from "./uop.ts";

const RAX = (SLOTS + S_RAX) >>> 2;
const RBX = (SLOTS + S_RBX) >>> 2;
const RCX = (SLOTS + S_RCX) >>> 2;
const RDX = (SLOTS + S_RDX) >>> 2;

function setZero(core: Core, equal: boolean): void {
  core.i32[CC_Z >>> 2] = equal ? 0 : 1;
  core.i32[(CC_Z + 4) >>> 2] = 0;
}

/** U_HELPER in the memory form: #GP(0) unless the linear address is 16-byte aligned. */
export const HELPER_ALIGN16: number = defineHelper("16-byte alignment", (core, u) => {
  const address =
    readSlot(core, core.u8[u + FIELD_A]!, 4) +
    (readSlot(core, core.u8[u + FIELD_B]!, 4) << (core.u8[u + FIELD_C]! & C_SCALE_MASK)) +
    readSlot(core, core.u8[u + FIELD_S]!, 4) +
    core.i32[(u + DISP) >>> 2]!;
  return (address & 15) === 0 ? H_OK : raise(core, VEC_GP, 0);
});

/**
 * U_HELPER: EDX:EAX == S[d]: ZF = 1, S[d] = ECX:EBX; else ZF = 0, EDX:EAX = S[d]. SF, PF, CF, OF and AF stay. A
 * comparison that succeeds leaves rAX and rDX alone, upper halves too.
 */
export const HELPER_CMPXCHG8B: number = defineHelper("CMPXCHG8B", (core, u) => {
  const i = core.i32;
  const d = slotWord(core, u, FIELD_D);
  const equal = i[d] === i[RAX] && i[d + 1] === i[RDX];
  if (equal) {
    i[d] = i[RBX]!;
    i[d + 1] = i[RCX]!;
  } else {
    i[RAX] = i[d]!;
    i[RAX + 1] = 0;
    i[RDX] = i[d + 1]!;
    i[RDX + 1] = 0;
  }
  setZero(core, equal);
  return H_OK;
});

/** U_HELPER: the same for RDX:RAX, RCX:RBX and S[a]:S[d]. */
export const HELPER_CMPXCHG16B: number = defineHelper("CMPXCHG16B", (core, u) => {
  const i = core.i32;
  const lo = slotWord(core, u, FIELD_D);
  const hi = slotWord(core, u, FIELD_A);
  const equal = i[lo] === i[RAX] && i[lo + 1] === i[RAX + 1] && i[hi] === i[RDX] && i[hi + 1] === i[RDX + 1];
  if (equal) {
    i[lo] = i[RBX]!;
    i[lo + 1] = i[RBX + 1]!;
    i[hi] = i[RCX]!;
    i[hi + 1] = i[RCX + 1]!;
  } else {
    i[RAX] = i[lo]!;
    i[RAX + 1] = i[lo + 1]!;
    i[RDX] = i[hi]!;
    i[RDX + 1] = i[hi + 1]!;
  }
  setZero(core, equal);
  return H_OK;
});

/** S[d] += S[a] + carryIn in c = 4 or 8 bytes. @returns the carry out. */
function addWithCarry(core: Core, u: number, carryIn: number): number {
  const i = core.i32;
  const d = slotWord(core, u, FIELD_D);
  const a = slotWord(core, u, FIELD_A);
  const lo = (i[d]! >>> 0) + (i[a]! >>> 0) + carryIn;
  const carryLo = lo > 0xffffffff ? 1 : 0;
  if (core.u8[u + FIELD_C] === 4) {
    i[d] = lo;
    i[d + 1] = 0;
    return carryLo;
  }
  const hi = (i[d + 1]! >>> 0) + (i[a + 1]! >>> 0) + carryLo;
  i[d] = lo;
  i[d + 1] = hi;
  return hi > 0xffffffff ? 1 : 0;
}

/** U_HELPER: d, a, c = bytes. Carry in and out through CF only. */
export const HELPER_ADCX: number = defineHelper("ADCX", (core, u) => {
  setCarry(core, addWithCarry(core, u, carry(core)));
  return H_OK;
});

/** U_HELPER: d, a, c = bytes. Carry in and out through OF only. */
export const HELPER_ADOX: number = defineHelper("ADOX", (core, u) => {
  setOverflow(core, addWithCarry(core, u, core.i32[(CC_O + 4) >>> 2]! >>> 31));
  return H_OK;
});

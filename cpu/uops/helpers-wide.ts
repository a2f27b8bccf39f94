/** Helpers of CMPXCHG8B, ADCX and ADOX, in int32 pairs. */
import { CC_O, CC_Z, S_RAX, S_RBX, S_RCX, S_RDX, SLOTS } from "../arena.ts";
import type { Core } from "../core.ts";
import { defineHelper } from "./helpers.ts";
import { carry, FIELD_A, FIELD_C, FIELD_D, setCarry, setOverflow, slotWord } from "./helpers-integer.ts";
import { H_OK } from "./uop.ts";

const RAX = (SLOTS + S_RAX) >>> 2;
const RBX = (SLOTS + S_RBX) >>> 2;
const RCX = (SLOTS + S_RCX) >>> 2;
const RDX = (SLOTS + S_RDX) >>> 2;

function setZero(core: Core, equal: boolean): void {
  core.i32[CC_Z >>> 2] = equal ? 0 : 1;
  core.i32[(CC_Z + 4) >>> 2] = 0;
}

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

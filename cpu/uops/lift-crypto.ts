/** AES-NI, PCLMULQDQ and the SHA extensions: one helper each. */
import { type Instruction, OP_MEM } from "../decode/instruction.ts";
import * as MN from "../decode/mnemonics.ts";
import * as AES from "../fpu/aes.ts";
import { HELPER_PCLMULQDQ } from "../fpu/clmul.ts";
import * as SHA from "../fpu/sha.ts";
import { isAmd } from "../system/cpu-model.ts";
import { type BlockBuilder, defineLifter } from "./builder.ts";
import { HELPER_SLOTS } from "./helpers.ts";
import { clearUpper, defineVectorLifter, firstSource, guarded, lastSource, V_T0, vectorSource } from "./lift-vector.ts";
import { U_VLOAD } from "./uop.ts";

const INSTRUCTIONS: readonly (readonly [mnemonic: number, helper: number])[] = [
  [MN.MN_AESENC, AES.HELPER_AESENC],
  [MN.MN_AESENCLAST, AES.HELPER_AESENCLAST],
  [MN.MN_AESDEC, AES.HELPER_AESDEC],
  [MN.MN_AESDECLAST, AES.HELPER_AESDECLAST],
  [MN.MN_AESIMC, AES.HELPER_AESIMC],
  [MN.MN_AESKEYGENASSIST, AES.HELPER_AESKEYGENASSIST],
  [MN.MN_PCLMULQDQ, HELPER_PCLMULQDQ],
];
const SHA_INSTRUCTIONS: readonly (readonly [mnemonic: number, helper: number])[] = [
  [MN.MN_SHA1RNDS4, SHA.HELPER_SHA1RNDS4],
  [MN.MN_SHA1NEXTE, SHA.HELPER_SHA1NEXTE],
  [MN.MN_SHA1MSG1, SHA.HELPER_SHA1MSG1],
  [MN.MN_SHA1MSG2, SHA.HELPER_SHA1MSG2],
  [MN.MN_SHA256RNDS2, SHA.HELPER_SHA256RNDS2],
  [MN.MN_SHA256MSG1, SHA.HELPER_SHA256MSG1],
  [MN.MN_SHA256MSG2, SHA.HELPER_SHA256MSG2],
];

/** AMD's processors take an operand of the SHA extensions from any address; Intel's want it aligned. */
function shaSource(b: BlockBuilder, ins: Instruction): number {
  if (ins.kind[1] !== OP_MEM || !isAmd(b.core)) return vectorSource(b, ins, 1, V_T0);
  b.mem(ins, 16, false);
  b.m(U_VLOAD, V_T0);
  return V_T0;
}

for (const [mnemonic, helper] of INSTRUCTIONS)
  defineVectorLifter(
    guarded((b, ins) => {
      const y = vectorSource(b, ins, lastSource(ins), V_T0);
      b.helper(helper, ins.reg[0]!, firstSource(ins), y, ins.immLo & 0xff);
      clearUpper(b, ins);
    }),
    mnemonic,
  );
for (const [mnemonic, helper] of SHA_INSTRUCTIONS) {
  HELPER_SLOTS.set(helper, 0);
  defineLifter(
    guarded((b, ins) => b.helper(helper, ins.reg[0]!, shaSource(b, ins), 0, ins.immLo & 0xff)),
    mnemonic,
  );
}

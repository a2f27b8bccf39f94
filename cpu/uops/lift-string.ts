/** String instructions: single ones as micro-ops, repeated ones a chunk at a time (helpers-string.ts). */
import { S_RAX, S_T0, S_ZERO } from "../arena.ts";
import { type Instruction, OP_STR_DST, OP_STR_SRC } from "../decode/instruction.ts";
import * as MN from "../decode/mnemonics.ts";
import { type BlockBuilder, defineLifter, type Lifter, sizeIndex } from "./builder.ts";
import {
  HELPER_REP_CMPS,
  HELPER_REP_LODS,
  HELPER_REP_MOVS,
  HELPER_REP_SCAS,
  HELPER_REP_STOS,
  HELPER_STRING_ADVANCE,
  USES_SOURCE,
  USES_TARGET,
} from "./helpers-string.ts";
import * as U from "./uop.ts";

/** `single` emits one element's accesses; rSI and rDI move afterwards. */
function stringLifter(
  repeated: number,
  uses: number,
  single: (b: BlockBuilder, ins: Instruction, size: number, sz: number) => void,
): Lifter {
  return (b, ins) => {
    const size = ins.size[0]!;
    if (ins.rep !== 0) b.helperEnd(repeated, ins.seg, ins.addrSize, ins.rep, size);
    else {
      single(b, ins, size, sizeIndex(size));
      b.helper(HELPER_STRING_ADVANCE, S_ZERO, ins.addrSize, uses, size);
    }
  };
}

defineLifter(
  stringLifter(HELPER_REP_MOVS, USES_SOURCE | USES_TARGET, (b, ins, size, sz) => {
    b.stringOperand(ins, OP_STR_SRC, size, false);
    b.m(U.U_LOAD + sz, S_T0);
    b.stringOperand(ins, OP_STR_DST, size, true);
    b.m(U.U_STORE + sz, S_T0);
  }),
  MN.MN_MOVS,
);

defineLifter(
  stringLifter(HELPER_REP_STOS, USES_TARGET, (b, ins, size, sz) => {
    b.stringOperand(ins, OP_STR_DST, size, true);
    b.m(U.U_STORE + sz, S_RAX);
  }),
  MN.MN_STOS,
);

defineLifter(
  stringLifter(HELPER_REP_LODS, USES_SOURCE, (b, ins, size, sz) => {
    b.stringOperand(ins, OP_STR_SRC, size, false);
    b.m(U.U_LOAD + sz, S_RAX);
  }),
  MN.MN_LODS,
);

defineLifter(
  stringLifter(HELPER_REP_SCAS, USES_TARGET, (b, ins, size, sz) => {
    b.stringOperand(ins, OP_STR_DST, size, false);
    b.m(U.alu(U.ALU_CMP, U.FORM_RM, sz), S_RAX);
  }),
  MN.MN_SCAS,
);

defineLifter(
  stringLifter(HELPER_REP_CMPS, USES_SOURCE | USES_TARGET, (b, ins, size, sz) => {
    // The second operand first, as an AMD EPYC does it: so its fault goes before that of the first.
    b.stringOperand(ins, OP_STR_DST, size, false);
    b.m(U.U_LOAD + sz, S_T0);
    b.stringOperand(ins, OP_STR_SRC, size, false);
    b.m(U.alu(U.ALU_CMP, U.FORM_MR, sz), S_T0);
  }),
  MN.MN_CMPS,
);

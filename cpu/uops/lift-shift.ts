/** Shifts, rotates, rotates through carry, double shifts. */
import { S_RCX, S_ZERO } from "../arena.ts";
import { OP_IMM } from "../decode/instruction.ts";
import * as MN from "../decode/mnemonics.ts";
import { defineLifter, type Lifter, sizeIndex } from "./builder.ts";
import { HELPER_RCL, HELPER_RCR, HELPER_SHLD, HELPER_SHRD } from "./helpers-shift.ts";
import { keepRegister, readModify, slotOf, writeBack } from "./lift-common.ts";
import * as U from "./uop.ts";

/** Shift counts are taken modulo 32, or 64 with 64-bit operands (SDM, SHL). */
const countMask = (size: number): number => (size === 8 ? 63 : 31);

function shiftLifter(immediate: number, byCl: number): Lifter {
  return (b, ins) => {
    const size = ins.size[0]!;
    const sz = sizeIndex(size);
    if (ins.kind[1] !== OP_IMM) {
      const d = readModify(b, ins);
      b.rr(byCl + sz, d, S_RCX);
    } else {
      const count = ins.immLo & countMask(size);
      const d = readModify(b, ins);
      if (count !== 0) b.ri(immediate + sz, d, count);
      else keepRegister(b, ins);
    }
    writeBack(b, ins);
  };
}
defineLifter(shiftLifter(U.U_SHL_I, U.U_SHL_C), MN.MN_SHL);
defineLifter(shiftLifter(U.U_SHR_I, U.U_SHR_C), MN.MN_SHR);
defineLifter(shiftLifter(U.U_SAR_I, U.U_SAR_C), MN.MN_SAR);
defineLifter(shiftLifter(U.U_ROL_I, U.U_ROL_C), MN.MN_ROL);
defineLifter(shiftLifter(U.U_ROR_I, U.U_ROR_C), MN.MN_ROR);

/** The count of a helper: disp = immediate, or -1 for CL. */
function rotateCarryLifter(helper: number): Lifter {
  return (b, ins) => {
    const size = ins.size[0]!;
    const d = readModify(b, ins);
    b.helper(helper, d, S_ZERO, S_ZERO, size, ins.kind[1] === OP_IMM ? ins.immLo & countMask(size) : -1);
    writeBack(b, ins);
  };
}
defineLifter(rotateCarryLifter(HELPER_RCL), MN.MN_RCL);
defineLifter(rotateCarryLifter(HELPER_RCR), MN.MN_RCR);

function doubleShiftLifter(helper: number, immediate: number): Lifter {
  return (b, ins) => {
    const size = ins.size[0]!;
    const d = readModify(b, ins);
    const count = ins.kind[2] === OP_IMM ? ins.immLo & countMask(size) : -1;
    if (count > 0 && size > 2) b.emit(immediate + sizeIndex(size), d, slotOf(ins, 1), S_ZERO, S_ZERO, 0, 0, count);
    else b.helper(helper, d, slotOf(ins, 1), S_ZERO, size, count);
    writeBack(b, ins);
  };
}
defineLifter(doubleShiftLifter(HELPER_SHLD, U.U_SHLD_I), MN.MN_SHLD);
defineLifter(doubleShiftLifter(HELPER_SHRD, U.U_SHRD_I), MN.MN_SHRD);

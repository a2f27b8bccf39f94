/** Bit tests, bit scans and counts, CRC32. */
import { S_RIPBASE, S_T0, S_T1, S_T6, S_ZERO } from "../arena.ts";
import { type Instruction, OP_IMM, REG_NONE, REG_RIP } from "../decode/instruction.ts";
import * as MN from "../decode/mnemonics.ts";
import { type BlockBuilder, defineLifter, gprSlot, type Lifter, sizeIndex } from "./builder.ts";
import { HELPER_CRC32 } from "./helpers-bits.ts";
import { isMemory, slotOf, source, writeBack } from "./lift-common.ts";
import * as U from "./uop.ts";

/**
 * Prepares the memory operand of a bit test by register: the bit number is signed and reaches the whole address
 * space, so the operand is that many whole operands away (SDM, BT). Uses S_T1, S_T6 and S_T7.
 */
function bitAddress(b: BlockBuilder, ins: Instruction, write: boolean): void {
  const size = ins.size[0]!;
  const base = ins.base === REG_NONE ? S_ZERO : ins.base === REG_RIP ? S_RIPBASE : gprSlot(ins.base);
  const index = ins.index === REG_NONE ? S_ZERO : gprSlot(ins.index);
  const disp = ins.base === REG_RIP ? (ins.disp + b.next) | 0 : ins.disp;
  b.rr(U.U_BIT_OFFSET + sizeIndex(size), S_T1, slotOf(ins, 1));
  if (index === S_ZERO) {
    b.address(base, S_T1, 0, disp, ins.seg, ins.addrSize, size, write);
    return;
  }
  b.emit(U.U_LEA64, S_T6, base, index, S_ZERO, ins.scale, disp, 0);
  b.address(S_T6, S_T1, 0, 0, ins.seg, ins.addrSize, size, write);
}

function bitLifter(byRegister: number, byImmediate: number, writes: boolean): Lifter {
  return (b, ins) => {
    const size = ins.size[0]!;
    const sz = sizeIndex(size);
    const immediate = ins.kind[1] === OP_IMM;
    let d = slotOf(ins, 0);
    if (isMemory(ins, 0)) {
      d = S_T0;
      if (immediate) b.mem(ins, size, writes);
      else bitAddress(b, ins, writes);
      b.m((writes ? U.U_LOADW : U.U_LOAD) + sz, d);
    }
    if (immediate) b.ri(byImmediate + sz, d, ins.immLo & ((size << 3) - 1));
    else b.rr(byRegister + sz, d, slotOf(ins, 1));
    if (writes) writeBack(b, ins);
  };
}
defineLifter(bitLifter(U.U_BT_R, U.U_BT_I, false), MN.MN_BT);
defineLifter(bitLifter(U.U_BTS_R, U.U_BTS_I, true), MN.MN_BTS);
defineLifter(bitLifter(U.U_BTR_R, U.U_BTR_I, true), MN.MN_BTR);
defineLifter(bitLifter(U.U_BTC_R, U.U_BTC_I, true), MN.MN_BTC);

function scanLifter(kind: number): Lifter {
  return (b, ins) => b.rr(kind + sizeIndex(ins.size[0]!), slotOf(ins, 0), source(b, ins, 1, S_T0));
}
defineLifter(scanLifter(U.U_BSF), MN.MN_BSF);
defineLifter(scanLifter(U.U_BSR), MN.MN_BSR);
defineLifter(scanLifter(U.U_TZCNT), MN.MN_TZCNT);
defineLifter(scanLifter(U.U_LZCNT), MN.MN_LZCNT);
defineLifter(scanLifter(U.U_POPCNT), MN.MN_POPCNT);

defineLifter((b, ins) => b.helper(HELPER_CRC32, slotOf(ins, 0), source(b, ins, 1, S_T0), 0, ins.size[1]!), MN.MN_CRC32);

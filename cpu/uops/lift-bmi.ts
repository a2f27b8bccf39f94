/** BMI1 and BMI2 (SDM volume 2). Operands of 4 or 8 bytes; LZCNT, TZCNT and POPCNT are in lift-bits.ts. */
import { S_T0 } from "../arena.ts";
import { type Instruction, OP_MEM } from "../decode/instruction.ts";
import { mnemonic } from "../decode/mnemonics.ts";
import { type BlockBuilder, defineLifter, type Lifter, sizeIndex } from "./builder.ts";
import { HELPER_BEXTR, HELPER_PDEP, HELPER_PEXT } from "./helpers-bmi.ts";
import { slotOf, source } from "./lift-common.ts";
import { guarded } from "./lift-vector.ts";
import * as U from "./uop.ts";

function define(name: string, lifter: Lifter): void {
  defineLifter(guarded(lifter), mnemonic(name));
}

/** Slots of the two sources: one of them, the r/m operand, may be in memory. */
function sources(b: BlockBuilder, ins: Instruction): readonly [number, number] {
  const memory = ins.kind[1] === OP_MEM ? 1 : 2;
  const loaded = source(b, ins, memory, S_T0);
  return memory === 1 ? [loaded, slotOf(ins, 2)] : [slotOf(ins, 1), loaded];
}

for (const [name, kind] of [
  ["ANDN", U.U_ANDN],
  ["BZHI", U.U_BZHI],
  ["SHLX", U.U_SHLX],
  ["SHRX", U.U_SHRX],
  ["SARX", U.U_SARX],
] as const)
  define(name, (b, ins) => {
    const [x, y] = sources(b, ins);
    b.vector(kind + sizeIndex(ins.size[0]!), slotOf(ins, 0), x, y);
  });

for (const [name, helper] of [
  ["BEXTR", HELPER_BEXTR],
  ["PDEP", HELPER_PDEP],
  ["PEXT", HELPER_PEXT],
] as const)
  define(name, (b, ins) => {
    const [x, y] = sources(b, ins);
    b.helper(helper, slotOf(ins, 0), x, y, ins.size[0]!);
  });

for (const [name, kind] of [
  ["BLSR", U.U_BLSR],
  ["BLSMSK", U.U_BLSMSK],
  ["BLSI", U.U_BLSI],
] as const)
  define(name, (b, ins) => b.rr(kind + sizeIndex(ins.size[0]!), slotOf(ins, 0), source(b, ins, 1, S_T0)));

define("RORX", (b, ins) => {
  const size = ins.size[0]!;
  const a = source(b, ins, 1, S_T0);
  b.vectorImm(U.U_RORX + sizeIndex(size), slotOf(ins, 0), a, ins.immLo & (size * 8 - 1));
});

define("MULX", (b, ins) => {
  const y = source(b, ins, 2, S_T0);
  b.vector(U.U_MULX + sizeIndex(ins.size[0]!), slotOf(ins, 0), slotOf(ins, 1), y);
});

/** Flag instructions, BCD arithmetic, BOUND, undefined opcodes, hints, fences, cache lines, random numbers. */
import { S_RAX, S_T0, S_T1, S_ZERO } from "../arena.ts";
import * as MN from "../decode/mnemonics.ts";
import { defineLifter, type Lifter, sizeIndex } from "./builder.ts";
import { HELPER_AAA, HELPER_AAD, HELPER_AAM, HELPER_AAS, HELPER_DAA, HELPER_DAS, HELPER_SALC } from "./helpers-bcd.ts";
import { HELPER_UNDEFINED } from "./helpers-integer.ts";
import { HELPER_BOUND, HELPER_DF, HELPER_LAHF, HELPER_RANDOM, HELPER_SAHF } from "./helpers-misc.ts";
import { slotOf } from "./lift-common.ts";
import * as U from "./uop.ts";

/** An instruction that is one micro-op or one helper without operands. */
const plain =
  (kind: number): Lifter =>
  (b) =>
    b.rr(kind, S_ZERO, S_ZERO);
const plainHelper =
  (helper: number, c = 0): Lifter =>
  (b) =>
    b.helper(helper, S_RAX, 0, 0, c);

defineLifter(plain(U.U_CLC), MN.MN_CLC);
defineLifter(plain(U.U_STC), MN.MN_STC);
defineLifter(plain(U.U_CMC), MN.MN_CMC);
defineLifter(plainHelper(HELPER_DF, 0), MN.MN_CLD);
defineLifter(plainHelper(HELPER_DF, 1), MN.MN_STD);
defineLifter(plainHelper(HELPER_LAHF), MN.MN_LAHF);
defineLifter(plainHelper(HELPER_SAHF), MN.MN_SAHF);
defineLifter(plainHelper(HELPER_SALC), MN.MN_SALC);

defineLifter(plainHelper(HELPER_DAA), MN.MN_DAA);
defineLifter(plainHelper(HELPER_DAS), MN.MN_DAS);
defineLifter(plainHelper(HELPER_AAA), MN.MN_AAA);
defineLifter(plainHelper(HELPER_AAS), MN.MN_AAS);
defineLifter((b, ins) => b.helper(HELPER_AAM, S_RAX, 0, 0, ins.immLo & 255), MN.MN_AAM);
defineLifter((b, ins) => b.helper(HELPER_AAD, S_RAX, 0, 0, ins.immLo & 255), MN.MN_AAD);

defineLifter((b, ins) => {
  const size = ins.opSize;
  b.mem(ins, size * 2, false);
  b.m(U.U_LOAD + sizeIndex(size), S_T0);
  b.m(U.U_LOAD + sizeIndex(size), S_T1, 0, size);
  b.helper(HELPER_BOUND, slotOf(ins, 0), S_T0, S_T1, size);
}, MN.MN_BOUND);

defineLifter((b) => b.helperEnd(HELPER_UNDEFINED), MN.MN_UD0, MN.MN_UD1, MN.MN_UD2);

// Memory is in order on the one thread that runs all cores, so fences have nothing to do; neither have hints.
defineLifter(
  () => {},
  MN.MN_NOP,
  MN.MN_LFENCE,
  MN.MN_MFENCE,
  MN.MN_SFENCE,
  MN.MN_PREFETCHNTA,
  MN.MN_PREFETCHT0,
  MN.MN_PREFETCHT1,
  MN.MN_PREFETCHT2,
  MN.MN_PREFETCHW,
  MN.MN_PREFETCHWT1,
);

// Flushing a line needs its translation and faults as a load of one byte (SDM, CLFLUSH).
defineLifter(
  (b, ins) => {
    b.mem(ins, 1, false);
    b.m(U.U_LOAD, S_T0);
  },
  MN.MN_CLFLUSH,
  MN.MN_CLFLUSHOPT,
  MN.MN_CLWB,
);

defineLifter((b, ins) => b.helper(HELPER_RANDOM, slotOf(ins, 0), 0, 0, ins.size[0]!), MN.MN_RDRAND, MN.MN_RDSEED);

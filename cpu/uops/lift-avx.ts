/** AVX and AVX2 instructions that SSE has no form of: broadcasts, permutations, parts of 32 bytes, masked moves, gathers. */
import { S_T5, S_ZERO } from "../arena.ts";
import { type Instruction, OP_MEM, REG_NONE, SEG_SS } from "../decode/instruction.ts";
import { mnemonic } from "../decode/mnemonics.ts";
import { gatherForm, HELPER_GATHER, HELPER_MASK_LOAD, HELPER_MASK_STORE } from "../fpu/avx-memory.ts";
import * as H from "../fpu/simd-shuffle.ts";
import { isAmd } from "../system/cpu-model.ts";
import { defineLifter, type Lifter } from "./builder.ts";
import { HELPER_UNDEFINED } from "./helpers-integer.ts";
import {
  clearUpper,
  firstSource,
  guarded,
  isLong,
  lastSource,
  qwordOrder,
  upper,
  V_T0,
  V_T1,
  vectorSource,
} from "./lift-vector.ts";
import * as U from "./uop.ts";

const REX_W = 8;

function define(lifter: Lifter, ...names: string[]): void {
  defineLifter(guarded(lifter), ...names.map(mnemonic));
}

define((b) => {
  if (b.is64) b.rr(U.U_VZEROUPPER, 0, 0);
  else for (let n = 0; n < 8; n++) b.vector(U.U_VZERO, upper(n), 0, 0);
}, "VZEROUPPER");
define((b) => {
  const registers = b.is64 ? 16 : 8;
  for (let n = 0; n < registers; n++) b.vector(U.U_VZERO, n, 0, 0);
  for (let n = 0; n < registers; n++) b.vector(U.U_VZERO, upper(n), 0, 0);
}, "VZEROALL");

// ---- broadcasts ---------------------------------------------------------------------------------------------------------

/** The first element of `8 << sz` bits, everywhere. */
function splat(sz: number): Lifter {
  return (b, ins) => {
    const d = ins.reg[0]!;
    b.rr(U.U_VSPLAT + sz, d, vectorSource(b, ins, 1, V_T0));
    if (isLong(ins)) b.rr(U.U_VMOV, upper(d), d);
    else clearUpper(b, ins);
  };
}
define(splat(0), "VPBROADCASTB");
define(splat(1), "VPBROADCASTW");
define(splat(2), "VPBROADCASTD", "VBROADCASTSS");
define(splat(3), "VPBROADCASTQ", "VBROADCASTSD");
define(
  (b, ins) => {
    const d = ins.reg[0]!;
    b.mem(ins, 16, false);
    b.m(U.U_VLOAD, d);
    b.rr(U.U_VMOV, upper(d), d);
  },
  "VBROADCASTF128",
  "VBROADCASTI128",
);

// ---- halves -------------------------------------------------------------------------------------------------------------

define(
  (b, ins) => {
    const d = ins.reg[0]!;
    const x = firstSource(ins);
    const y = vectorSource(b, ins, lastSource(ins), V_T0);
    // The upper half first: d may be the second source.
    b.rr(U.U_VMOV, upper(d), ins.immLo & 1 ? y : upper(x));
    b.rr(U.U_VMOV, d, ins.immLo & 1 ? x : y);
  },
  "VINSERTF128",
  "VINSERTI128",
);
define(
  (b, ins) => {
    const a = ins.immLo & 1 ? upper(ins.reg[1]!) : ins.reg[1]!;
    if (ins.kind[0] === OP_MEM) {
      b.mem(ins, 16, true);
      b.m(U.U_VSTORE, a);
    } else b.rr(U.U_VMOV, ins.reg[0]!, a);
    clearUpper(b, ins);
  },
  "VEXTRACTF128",
  "VEXTRACTI128",
);

// ---- permutations -------------------------------------------------------------------------------------------------------

/** One helper for all 32 bytes. */
function permute(helper: number): Lifter {
  return (b, ins) => {
    const y = vectorSource(b, ins, lastSource(ins), V_T0);
    b.helper(helper, ins.reg[0]!, firstSource(ins), y, ins.immLo & 255);
  };
}
define(permute(H.HELPER_VPERMD), "VPERMD", "VPERMPS");
/** VPERMQ: two SHUFPDs of the halves. */
const permuteQwords: Lifter = (b, ins) => {
  const d = ins.reg[0]!;
  const y = vectorSource(b, ins, 1, V_T0);
  const qword = (n: number): number => (ins.immLo >> (2 * n)) & 3;
  const half = (n: number): number => (qword(n) & 2 ? upper(y) : y);
  const pair = (to: number, n: number): void =>
    b.emit(U.U_VSHUFPS, to, half(n), half(n + 1), 0, 0, 0, qwordOrder(qword(n) & 1, qword(n + 1) & 1));
  pair(V_T1, 0);
  pair(upper(d), 2);
  b.rr(U.U_VMOV, d, V_T1);
};
/** AMD's processors ignore VEX.W here; Intel's want it set (SDM volume 2, VPERMQ). */
define(
  (b, ins) => {
    if (ins.rex & REX_W || isAmd(b.core)) permuteQwords(b, ins);
    else b.helperEnd(HELPER_UNDEFINED);
  },
  "VPERMQ",
  "VPERMPD",
);
/** Each half of the result is one of four, or zero. */
define(
  (b, ins) => {
    const d = ins.reg[0]!;
    const x = firstSource(ins);
    const y = vectorSource(b, ins, lastSource(ins), V_T0);
    const half = (to: number, choice: number): void => {
      const from = choice & 2 ? y : x;
      if (choice & 8) b.vector(U.U_VZERO, to, 0, 0);
      else b.rr(U.U_VMOV, to, choice & 1 ? upper(from) : from);
    };
    half(V_T1, ins.immLo & 15);
    half(upper(d), (ins.immLo >> 4) & 15);
    b.rr(U.U_VMOV, d, V_T1);
  },
  "VPERM2F128",
  "VPERM2I128",
);

/** Inside 16 bytes: by a vector, or by an immediate as VPSHUFD and VSHUFPD do. */
function permuteInLane(size: number): Lifter {
  return (b, ins) => {
    const d = ins.reg[0]!;
    const x = firstSource(ins);
    const last = lastSource(ins);
    const y = vectorSource(b, ins, last, V_T0);
    for (let half = 0; half <= (isLong(ins) ? 1 : 0); half++) {
      const part = (n: number): number => (half === 0 ? n : upper(n));
      if (last === 2) b.helper(H.HELPER_VPERMILV, part(d), part(x), part(y), 0, size);
      else if (size === 4) b.vectorImm(U.U_VSHUFD, part(d), part(y), ins.immLo & 255);
      else {
        const imm = ins.immLo >> (half * 2);
        b.emit(U.U_VSHUFPS, part(d), part(y), part(y), 0, 0, 0, qwordOrder(imm & 1, (imm >> 1) & 1));
      }
    }
    clearUpper(b, ins);
  };
}
define(permuteInLane(4), "VPERMILPS");
define(permuteInLane(8), "VPERMILPD");

// ---- masked moves -------------------------------------------------------------------------------------------------------

function maskMove(element: number): Lifter {
  return (b, ins) => {
    const store = ins.kind[0] === OP_MEM;
    const bytes = isLong(ins) ? 32 : 16;
    const mask = ins.reg[1]!;
    // Only the address: elements that the mask leaves out are not checked.
    b.mem(ins, 0, store);
    b.emit(U.U_LEA64, S_T5, b.ma, b.mb, S_ZERO, b.mc & U.C_SCALE_MASK, b.mdisp, 0);
    const stack = b.mc & U.C_STACK;
    const move = (d: number, helper: number): void =>
      b.emit(U.U_HELPER, d, mask, element, ins.seg, stack, bytes, helper);
    if (store) {
      move(ins.reg[2]!, HELPER_MASK_STORE);
      return;
    }
    move(V_T0, HELPER_MASK_LOAD);
    b.rr(U.U_VMOV, ins.reg[0]!, V_T0);
    if (isLong(ins)) b.rr(U.U_VMOV, upper(ins.reg[0]!), upper(V_T0));
    else clearUpper(b, ins);
  };
}
define(maskMove(4), "VMASKMOVPS", "VPMASKMOVD");
define(maskMove(8), "VMASKMOVPD", "VPMASKMOVQ");

// ---- gathers ------------------------------------------------------------------------------------------------------------

/** `element` and `index`: bytes of an element and of an index; the wider of both fills the vectors. */
function gather(element: number, index: number): Lifter {
  return (b, ins: Instruction) => {
    const count = (isLong(ins) ? 32 : 16) / Math.max(element, index);
    const base = ins.base === REG_NONE ? S_ZERO : ins.base << 3;
    b.emit(U.U_LEA64, S_T5, base, S_ZERO, S_ZERO, 0, ins.disp, 0);
    const c = ins.scale | (ins.seg === SEG_SS ? U.C_STACK : 0);
    const form = gatherForm(element, index, count, ins.addrSize);
    b.emit(U.U_HELPER, ins.reg[0]!, ins.index, ins.reg[2]!, ins.seg, c, form, HELPER_GATHER);
  };
}
define(gather(4, 4), "VPGATHERDD", "VGATHERDPS");
define(gather(4, 8), "VPGATHERQD", "VGATHERQPS");
define(gather(8, 4), "VPGATHERDQ", "VGATHERDPD");
define(gather(8, 8), "VPGATHERQQ", "VGATHERQPD");

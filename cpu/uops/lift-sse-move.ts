/** Moves, widening moves, insertions and extractions of XMM and YMM registers, and their MMX forms. */
import { S_RDI, S_T0, S_T1, S_ZERO } from "../arena.ts";
import { type Instruction, OP_GPR, OP_MEM, OP_MMX, OP_XMM, ROW_ALIGN16 } from "../decode/instruction.ts";
import * as MN from "../decode/mnemonics.ts";
import { ROW_FLAGS } from "../decode/table.ts";
import { HELPER_MMX_CHECK, HELPER_MMX_ENTER, HELPER_MMX_READ } from "../fpu/mmx.ts";
import * as H from "../fpu/simd-shuffle.ts";
import { type BlockBuilder, defineLifter, type Lifter, sizeIndex } from "./builder.ts";
import { slotOf } from "./lift-common.ts";
import { isMmx, mmxMove, mmxSource, mmxWrite } from "./lift-mmx.ts";
import {
  clearUpper,
  defineVectorLifter,
  firstSource,
  guarded,
  isLong,
  isVex,
  lastSource,
  upper,
  V_T0,
  V_T1,
  vectorSource,
} from "./lift-vector.ts";
import * as U from "./uop.ts";

const SHUFFLE_HIGH_TO_LOW = 0xee;
/** PSHUFD orders that repeat the odd or the even dwords, or the low qword. */
const SHUFFLE_ODD = 0xf5;
const SHUFFLE_EVEN = 0xa0;
const SHUFFLE_LOW = 0x44;

// ---- whole registers ------------------------------------------------------------------------------------------------

/** By long, aligned: the micro-op. */
const LOADS = [U.U_VLOAD, U.U_VLOADA, U.U_VLOAD256, U.U_VLOADA256];
const STORES = [U.U_VSTORE, U.U_VSTOREA, U.U_VSTORE256, U.U_VSTOREA256];

defineVectorLifter(
  guarded((b, ins) => {
    const long = isLong(ins);
    const form = (long ? 2 : 0) | (ROW_FLAGS[ins.row]! & ROW_ALIGN16 ? 1 : 0);
    const d = ins.reg[0]!;
    const a = ins.reg[1]!;
    if (ins.kind[0] === OP_MEM) {
      b.mem(ins, ins.size[0]!, true);
      b.m(STORES[form]!, a);
      return;
    }
    if (ins.kind[1] === OP_MEM) {
      b.mem(ins, ins.size[1]!, false);
      b.m(LOADS[form]!, d);
    } else {
      b.rr(U.U_VMOV, d, a);
      if (long) b.rr(U.U_VMOV, upper(d), upper(a));
    }
    clearUpper(b, ins);
  }),
  MN.MN_MOVAPS,
  MN.MN_MOVAPD,
  MN.MN_MOVDQA,
  MN.MN_MOVUPS,
  MN.MN_MOVUPD,
  MN.MN_MOVDQU,
  MN.MN_MOVNTPS,
  MN.MN_MOVNTPD,
  MN.MN_MOVNTDQ,
  MN.MN_MOVNTDQA,
  MN.MN_LDDQU,
);

// ---- parts of registers -----------------------------------------------------------------------------------------------

/** MOVD, MOVQ between XMM registers, general registers and memory. */
defineVectorLifter(
  guarded((b, ins) => {
    if (isMmx(ins)) {
      mmxMove(b, ins);
      return;
    }
    if (ins.kind[0] === OP_XMM) {
      if (ins.kind[1] === OP_XMM) b.rr(U.U_VMOVZ64, ins.reg[0]!, ins.reg[1]!);
      else if (ins.kind[1] === OP_GPR) b.rr(ins.size[1] === 8 ? U.U_VFROM64 : U.U_VFROM32, ins.reg[0]!, slotOf(ins, 1));
      else {
        b.mem(ins, ins.size[1]!, false);
        b.m(ins.size[1] === 8 ? U.U_VLOAD64 : U.U_VLOAD32, ins.reg[0]!);
      }
    } else if (ins.kind[0] === OP_GPR) b.rr(ins.size[0] === 8 ? U.U_VTO64 : U.U_VTO32, slotOf(ins, 0), ins.reg[1]!);
    else {
      b.mem(ins, ins.size[0]!, true);
      b.m(ins.size[0] === 8 ? U.U_VSTORE64 : U.U_VSTORE32, ins.reg[1]!);
    }
    clearUpper(b, ins);
  }),
  MN.MN_MOVD,
  MN.MN_MOVQ,
);

/** MOVSS, MOVSD: loads clear the rest of the register, moves between registers keep it, or take it from the first source. */
function scalarMove(load: number, store: number, move: number, size: number): Lifter {
  return guarded((b, ins) => {
    if (ins.kind[0] === OP_MEM) {
      b.mem(ins, size, true);
      b.m(store, ins.reg[1]!);
    } else if (ins.kind[1] === OP_MEM) {
      b.mem(ins, size, false);
      b.m(load, ins.reg[0]!);
    } else b.vector(move, ins.reg[0]!, firstSource(ins), ins.reg[lastSource(ins)]!);
    clearUpper(b, ins);
  });
}
defineVectorLifter(scalarMove(U.U_VLOAD32, U.U_VSTORE32, U.U_VMOVLO32, 4), MN.MN_MOVSS);
defineVectorLifter(scalarMove(U.U_VLOAD64, U.U_VSTORE64, U.U_VMOVLO64, 8), MN.MN_MOVSD);

/** Emits the load of a 64-bit memory operand into V_T0. */
function loadHalf(b: BlockBuilder, ins: Instruction): void {
  b.mem(ins, 8, false);
  b.m(U.U_VLOAD64, V_T0);
}

defineVectorLifter(
  guarded((b, ins) => {
    if (ins.kind[0] === OP_MEM) {
      b.mem(ins, 8, true);
      b.m(U.U_VSTORE64, ins.reg[1]!);
    } else {
      loadHalf(b, ins);
      b.vector(U.U_VMOVLO64, ins.reg[0]!, firstSource(ins), V_T0);
    }
    clearUpper(b, ins);
  }),
  MN.MN_MOVLPS,
  MN.MN_MOVLPD,
);
defineVectorLifter(
  guarded((b, ins) => {
    if (ins.kind[0] === OP_MEM) {
      b.vectorImm(U.U_VSHUFD, V_T0, ins.reg[1]!, SHUFFLE_HIGH_TO_LOW);
      b.mem(ins, 8, true);
      b.m(U.U_VSTORE64, V_T0);
    } else {
      loadHalf(b, ins);
      b.vector(U.vop("unpacklqdq"), ins.reg[0]!, firstSource(ins), V_T0);
    }
    clearUpper(b, ins);
  }),
  MN.MN_MOVHPS,
  MN.MN_MOVHPD,
);
defineVectorLifter(
  guarded((b, ins) => {
    b.vectorImm(U.U_VSHUFD, V_T0, ins.reg[lastSource(ins)]!, SHUFFLE_HIGH_TO_LOW);
    b.vector(U.U_VMOVLO64, ins.reg[0]!, firstSource(ins), V_T0);
    clearUpper(b, ins);
  }),
  MN.MN_MOVHLPS,
);
defineVectorLifter(
  guarded((b, ins) => {
    b.vector(U.vop("unpacklqdq"), ins.reg[0]!, firstSource(ins), ins.reg[lastSource(ins)]!);
    clearUpper(b, ins);
  }),
  MN.MN_MOVLHPS,
);

/** A PSHUFD with a fixed order, or with the instruction's immediate. */
function shuffleLifter(order: number): Lifter {
  return guarded((b, ins) => {
    const d = ins.reg[0]!;
    const a = vectorSource(b, ins, 1, V_T0);
    const imm = order < 0 ? ins.immLo & 255 : order;
    b.vectorImm(U.U_VSHUFD, d, a, imm);
    if (isLong(ins)) b.vectorImm(U.U_VSHUFD, upper(d), upper(a), imm);
    else clearUpper(b, ins);
  });
}
defineVectorLifter(shuffleLifter(-1), MN.MN_PSHUFD);
defineVectorLifter(shuffleLifter(SHUFFLE_ODD), MN.MN_MOVSHDUP);
defineVectorLifter(shuffleLifter(SHUFFLE_EVEN), MN.MN_MOVSLDUP);
defineVectorLifter(shuffleLifter(SHUFFLE_LOW), MN.MN_MOVDDUP);

// ---- helpers with an immediate in c, a constant in disp ------------------------------------------------------------------

/** Blends by a mask: XMM0, or the fourth operand of the VEX forms. `size` of lanes in bytes. */
function maskBlend(size: number): Lifter {
  return guarded((b, ins) => {
    const d = ins.reg[0]!;
    const x = firstSource(ins);
    const y = vectorSource(b, ins, lastSource(ins), V_T0);
    const mask = isVex(ins) ? ins.reg[3]! : 0;
    const half = (part: (n: number) => number): void => {
      b.rr(U.U_VSIGNS + sizeIndex(size), V_T1, part(mask));
      b.vector(U.U_VSELECT, V_T1, part(x), part(y));
      b.rr(U.U_VMOV, part(d), V_T1);
    };
    half((n) => n);
    if (isLong(ins)) half(upper);
    else clearUpper(b, ins);
  });
}
defineVectorLifter(maskBlend(1), MN.MN_PBLENDVB);
defineVectorLifter(maskBlend(4), MN.MN_BLENDVPS);
defineVectorLifter(maskBlend(8), MN.MN_BLENDVPD);

defineLifter(
  guarded((b, ins) => {
    b.helper(HELPER_MMX_CHECK);
    mmxSource(b, ins, 1, V_T0);
    b.vectorImm(U.U_VSHUFLW, V_T0, V_T0, ins.immLo & 255);
    mmxWrite(b, ins.reg[0]!, V_T0);
  }),
  MN.MN_PSHUFW,
);

defineVectorLifter(
  guarded((b, ins) => {
    const memory = ins.kind[lastSource(ins)] === OP_MEM;
    const y = vectorSource(b, ins, lastSource(ins), V_T0);
    // The source lane of a memory operand is the only one that there is.
    b.helper(H.HELPER_INSERTPS, ins.reg[0]!, firstSource(ins), y, ins.immLo & (memory ? 0x3f : 0xff));
    clearUpper(b, ins);
  }),
  MN.MN_INSERTPS,
);

/** By steps of twice the size; the upper 16 bytes of the result come from elements further up. */
for (const sign of ["s", "z"] as const)
  for (const [suffix, steps] of [
    ["BW", ["bw"]],
    ["BD", ["bw", "wd"]],
    ["BQ", ["bw", "wd", "dq"]],
    ["WD", ["wd"]],
    ["WQ", ["wd", "dq"]],
    ["DQ", ["dq"]],
  ] as const) {
    const widen = (b: BlockBuilder, d: number, a: number): void => {
      for (const step of steps) b.rr(U.vwiden(`${sign}x${step}`), d, step === steps[0] ? a : d);
    };
    defineVectorLifter(
      guarded((b, ins) => {
        const d = ins.reg[0]!;
        const y = vectorSource(b, ins, 1, V_T0);
        if (isLong(ins)) {
          b.vectorImm(U.U_VBYTESHR, V_T1, y, 16 >> steps.length);
          widen(b, upper(d), V_T1);
        }
        widen(b, d, y);
        clearUpper(b, ins);
      }),
      MN.mnemonic(`PMOV${sign.toUpperCase()}X${suffix}`),
    );
  }

// ---- masks, lanes and general registers ------------------------------------------------------------------------------------

defineVectorLifter(
  guarded((b, ins) => {
    if (!isMmx(ins)) {
      b.rr(isLong(ins) ? U.U_VMOVMSKB256 : U.U_VMOVMSKB, slotOf(ins, 0), ins.reg[1]!);
      return;
    }
    b.helper(HELPER_MMX_READ, V_T0, ins.reg[1]!);
    b.rr(U.U_VMOVMSKB, slotOf(ins, 0), V_T0);
    b.helper(HELPER_MMX_ENTER);
  }),
  MN.MN_PMOVMSKB,
);
for (const [mnemonic, short, long] of [
  [MN.MN_MOVMSKPS, U.U_VMSKD, U.U_VMSKD256],
  [MN.MN_MOVMSKPD, U.U_VMSKQ, U.U_VMSKQ256],
] as const)
  defineVectorLifter(
    guarded((b, ins) => b.rr(ins.size[1] === 32 ? long : short, slotOf(ins, 0), ins.reg[1]!)),
    mnemonic,
  );

/** Lane `size` bytes wide from a register or memory into a vector register, or an MMX one. */
function insertLifter(size: number): Lifter {
  return guarded((b, ins) => {
    const mmx = ins.kind[0] === OP_MMX;
    const lane = ins.immLo & ((mmx ? 8 : 16) / size - 1);
    if (mmx) b.helper(HELPER_MMX_READ, V_T1, ins.reg[0]!);
    const last = lastSource(ins);
    let source = S_T0;
    if (ins.kind[last] === OP_MEM) {
      b.mem(ins, size, false);
      b.m(U.U_LOAD + sizeIndex(size), S_T0);
    } else source = slotOf(ins, last);
    if (mmx) {
      b.emit(U.U_VINSERT + sizeIndex(size), V_T1, V_T1, source, 0, lane, 0, 0);
      mmxWrite(b, ins.reg[0]!, V_T1);
      return;
    }
    b.emit(U.U_VINSERT + sizeIndex(size), ins.reg[0]!, firstSource(ins), source, 0, lane, 0, 0);
    clearUpper(b, ins);
  });
}
defineVectorLifter(insertLifter(1), MN.MN_PINSRB);
defineVectorLifter(insertLifter(2), MN.MN_PINSRW);
defineVectorLifter(insertLifter(4), MN.MN_PINSRD);
defineVectorLifter(insertLifter(8), MN.MN_PINSRQ);

/** The reverse: to memory exactly `size` bytes, to a register zero-extended. */
function extractLifter(size: number): Lifter {
  return guarded((b, ins) => {
    const mmx = ins.kind[1] === OP_MMX;
    const lane = ins.immLo & ((mmx ? 8 : 16) / size - 1);
    const a = mmx ? V_T0 : ins.reg[1]!;
    if (mmx) b.helper(HELPER_MMX_READ, V_T0, ins.reg[1]!);
    if (ins.kind[0] === OP_MEM) {
      b.rr(U.U_VEXTRACT + sizeIndex(size), S_T0, a, lane);
      b.mem(ins, size, true);
      b.m(U.U_STORE + sizeIndex(size), S_T0);
    } else b.rr(U.U_VEXTRACT + sizeIndex(size), slotOf(ins, 0), a, lane);
    if (mmx) b.helper(HELPER_MMX_ENTER);
  });
}
defineVectorLifter(extractLifter(1), MN.MN_PEXTRB);
defineVectorLifter(extractLifter(2), MN.MN_PEXTRW);
defineVectorLifter(extractLifter(4), MN.MN_PEXTRD, MN.MN_EXTRACTPS);
defineVectorLifter(extractLifter(8), MN.MN_PEXTRQ);

defineVectorLifter(
  guarded((b, ins) => {
    b.address(S_RDI, S_ZERO, 0, 0, ins.seg, ins.addrSize, 16, true);
    b.m(U.U_LOADW + 3, S_T0);
    b.m(U.U_LOADW + 3, S_T1, 0, 8);
    b.helper(H.HELPER_MASKMOV, ins.reg[0]!, ins.reg[1]!, 0, 16);
    b.m(U.U_STORE + 3, S_T0);
    b.m(U.U_STORE + 3, S_T1, 0, 8);
  }),
  MN.MN_MASKMOVDQU,
);

/** Moves, shuffles, blends, insertions and extractions of XMM registers, and their MMX forms. */
import { S_RDI, S_T0, S_T1, S_ZERO } from "../arena.ts";
import { type Instruction, OP_GPR, OP_MEM, OP_MMX, OP_XMM, ROW_ALIGN16 } from "../decode/instruction.ts";
import * as MN from "../decode/mnemonics.ts";
import { ROW_FLAGS } from "../decode/table.ts";
import { HELPER_MMX_CHECK, HELPER_MMX_ENTER, HELPER_MMX_READ } from "../fpu/mmx.ts";
import * as H from "../fpu/simd-shuffle.ts";
import { type BlockBuilder, defineLifter, type Lifter, sizeIndex } from "./builder.ts";
import { slotOf } from "./lift-common.ts";
import { isMmx, mmxMove, mmxSource, mmxWrite } from "./lift-mmx.ts";
import { guarded, V_T0, V_T1, vectorSource } from "./lift-vector.ts";
import * as U from "./uop.ts";

const SHUFFLE_HIGH_TO_LOW = 0xee;
/** PSHUFD orders that repeat the odd or the even dwords. */
const SHUFFLE_ODD = 0xf5;
const SHUFFLE_EVEN = 0xa0;

function shuffleDwords(b: BlockBuilder, d: number, a: number, order: number): void {
  b.emit(U.U_VSHUFD, d, a, S_ZERO, S_ZERO, 0, 0, order);
}

// ---- whole registers ------------------------------------------------------------------------------------------------

defineLifter(
  guarded((b, ins) => {
    const aligned = (ROW_FLAGS[ins.row]! & ROW_ALIGN16) !== 0;
    if (ins.kind[0] === OP_MEM) {
      b.mem(ins, 16, true);
      b.m(aligned ? U.U_VSTOREA : U.U_VSTORE, ins.reg[1]!);
    } else if (ins.kind[1] === OP_MEM) {
      b.mem(ins, 16, false);
      b.m(aligned ? U.U_VLOADA : U.U_VLOAD, ins.reg[0]!);
    } else b.rr(U.U_VMOV, ins.reg[0]!, ins.reg[1]!);
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
defineLifter(
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
  }),
  MN.MN_MOVD,
  MN.MN_MOVQ,
);

/** MOVSS, MOVSD: loads clear the rest of the register, moves between registers keep it. */
function scalarMove(load: number, store: number, move: number, size: number): Lifter {
  return guarded((b, ins) => {
    if (ins.kind[0] === OP_MEM) {
      b.mem(ins, size, true);
      b.m(store, ins.reg[1]!);
    } else if (ins.kind[1] === OP_MEM) {
      b.mem(ins, size, false);
      b.m(load, ins.reg[0]!);
    } else b.rr(move, ins.reg[0]!, ins.reg[1]!);
  });
}
defineLifter(scalarMove(U.U_VLOAD32, U.U_VSTORE32, U.U_VMOVLO32, 4), MN.MN_MOVSS);
defineLifter(scalarMove(U.U_VLOAD64, U.U_VSTORE64, U.U_VMOVLO64, 8), MN.MN_MOVSD);

/** Emits the load of a 64-bit memory operand into V_T0. */
function loadHalf(b: BlockBuilder, ins: Instruction): void {
  b.mem(ins, 8, false);
  b.m(U.U_VLOAD64, V_T0);
}

defineLifter(
  guarded((b, ins) => {
    if (ins.kind[0] === OP_MEM) {
      b.mem(ins, 8, true);
      b.m(U.U_VSTORE64, ins.reg[1]!);
    } else {
      loadHalf(b, ins);
      b.rr(U.U_VMOVLO64, ins.reg[0]!, V_T0);
    }
  }),
  MN.MN_MOVLPS,
  MN.MN_MOVLPD,
);
defineLifter(
  guarded((b, ins) => {
    if (ins.kind[0] === OP_MEM) {
      shuffleDwords(b, V_T0, ins.reg[1]!, SHUFFLE_HIGH_TO_LOW);
      b.mem(ins, 8, true);
      b.m(U.U_VSTORE64, V_T0);
    } else {
      loadHalf(b, ins);
      b.rr(U.vop("unpacklqdq"), ins.reg[0]!, V_T0);
    }
  }),
  MN.MN_MOVHPS,
  MN.MN_MOVHPD,
);
defineLifter(
  guarded((b, ins) => {
    shuffleDwords(b, V_T0, ins.reg[1]!, SHUFFLE_HIGH_TO_LOW);
    b.rr(U.U_VMOVLO64, ins.reg[0]!, V_T0);
  }),
  MN.MN_MOVHLPS,
);
defineLifter(
  guarded((b, ins) => b.rr(U.vop("unpacklqdq"), ins.reg[0]!, ins.reg[1]!)),
  MN.MN_MOVLHPS,
);
defineLifter(
  guarded((b, ins) => {
    const d = ins.reg[0]!;
    const a = vectorSource(b, ins, 1, V_T0);
    if (a !== d) b.rr(U.U_VMOV, d, a);
    b.rr(U.vop("unpacklqdq"), d, d);
  }),
  MN.MN_MOVDDUP,
);

/** A PSHUFD with a fixed order, or with the instruction's immediate. */
function shuffleLifter(order: number): Lifter {
  return guarded((b, ins) => {
    const a = vectorSource(b, ins, 1, V_T0);
    shuffleDwords(b, ins.reg[0]!, a, order < 0 ? ins.immLo & 255 : order);
  });
}
defineLifter(shuffleLifter(-1), MN.MN_PSHUFD);
defineLifter(shuffleLifter(SHUFFLE_ODD), MN.MN_MOVSHDUP);
defineLifter(shuffleLifter(SHUFFLE_EVEN), MN.MN_MOVSLDUP);

// ---- helpers with an immediate in c, a constant in disp ------------------------------------------------------------------

function helperLifter(helper: number, disp = 0): Lifter {
  return guarded((b, ins) => {
    const a = vectorSource(b, ins, 1, V_T0);
    b.helper(helper, ins.reg[0]!, a, 0, ins.immLo & 255, disp);
  });
}
defineLifter(helperLifter(H.HELPER_PSHUFW, 0), MN.MN_PSHUFLW);
defineLifter(helperLifter(H.HELPER_PSHUFW, 4), MN.MN_PSHUFHW);
defineLifter(helperLifter(H.HELPER_SHUFPS), MN.MN_SHUFPS);
defineLifter(helperLifter(H.HELPER_SHUFPD), MN.MN_SHUFPD);
defineLifter(helperLifter(H.HELPER_BLEND, 2), MN.MN_PBLENDW);
defineLifter(helperLifter(H.HELPER_BLEND, 4), MN.MN_BLENDPS);
defineLifter(helperLifter(H.HELPER_BLEND, 8), MN.MN_BLENDPD);
defineLifter(helperLifter(H.HELPER_BLENDV, 1), MN.MN_PBLENDVB);
defineLifter(helperLifter(H.HELPER_BLENDV, 4), MN.MN_BLENDVPS);
defineLifter(helperLifter(H.HELPER_BLENDV, 8), MN.MN_BLENDVPD);

defineLifter(
  guarded((b, ins) => {
    b.helper(HELPER_MMX_CHECK);
    mmxSource(b, ins, 1, V_T0);
    b.helper(H.HELPER_PSHUFW, V_T0, V_T0, 0, ins.immLo & 255, 0);
    mmxWrite(b, ins.reg[0]!, V_T0);
  }),
  MN.MN_PSHUFW,
);

defineLifter(
  guarded((b, ins) => {
    const memory = ins.kind[1] === OP_MEM;
    const a = vectorSource(b, ins, 1, V_T0);
    // The source lane of a memory operand is the only one that there is.
    b.helper(H.HELPER_INSERTPS, ins.reg[0]!, a, 0, ins.immLo & (memory ? 0x3f : 0xff));
  }),
  MN.MN_INSERTPS,
);

for (const [mnemonic, from, to] of [
  [MN.MN_PMOVSXBW, 1, 2],
  [MN.MN_PMOVSXBD, 1, 4],
  [MN.MN_PMOVSXBQ, 1, 8],
  [MN.MN_PMOVSXWD, 2, 4],
  [MN.MN_PMOVSXWQ, 2, 8],
  [MN.MN_PMOVSXDQ, 4, 8],
  [MN.MN_PMOVZXBW, 1, 2],
  [MN.MN_PMOVZXBD, 1, 4],
  [MN.MN_PMOVZXBQ, 1, 8],
  [MN.MN_PMOVZXWD, 2, 4],
  [MN.MN_PMOVZXWQ, 2, 8],
  [MN.MN_PMOVZXDQ, 4, 8],
] as const) {
  const disp = to | (MN.MNEMONIC_NAMES[mnemonic]!.startsWith("PMOVSX") ? H.WIDEN_SIGNED : 0);
  defineLifter(
    guarded((b, ins) => {
      const a = vectorSource(b, ins, 1, V_T0);
      b.helper(H.HELPER_WIDEN, ins.reg[0]!, a, 0, from, disp);
    }),
    mnemonic,
  );
}

// ---- masks, lanes and general registers ------------------------------------------------------------------------------------

defineLifter(
  guarded((b, ins) => {
    if (!isMmx(ins)) {
      b.rr(U.U_VMOVMSKB, slotOf(ins, 0), ins.reg[1]!);
      return;
    }
    b.helper(HELPER_MMX_READ, V_T0, ins.reg[1]!);
    b.rr(U.U_VMOVMSKB, slotOf(ins, 0), V_T0);
    b.helper(HELPER_MMX_ENTER);
  }),
  MN.MN_PMOVMSKB,
);
for (const [mnemonic, size] of [
  [MN.MN_MOVMSKPS, 4],
  [MN.MN_MOVMSKPD, 8],
] as const)
  defineLifter(
    guarded((b, ins) => b.helper(H.HELPER_MOVMSK, slotOf(ins, 0), ins.reg[1]!, 0, size)),
    mnemonic,
  );

/** Lane `size` bytes wide from a register or memory into a vector register, or an MMX one. */
function insertLifter(size: number): Lifter {
  return guarded((b, ins) => {
    const mmx = ins.kind[0] === OP_MMX;
    const lane = ins.immLo & ((mmx ? 8 : 16) / size - 1);
    if (mmx) b.helper(HELPER_MMX_READ, V_T1, ins.reg[0]!);
    let a = S_T0;
    if (ins.kind[1] === OP_MEM) {
      b.mem(ins, size, false);
      b.m(U.U_LOAD + sizeIndex(size), S_T0);
    } else a = slotOf(ins, 1);
    b.helper(H.HELPER_PINSR, mmx ? V_T1 : ins.reg[0]!, a, 0, lane, size);
    if (mmx) mmxWrite(b, ins.reg[0]!, V_T1);
  });
}
defineLifter(insertLifter(1), MN.MN_PINSRB);
defineLifter(insertLifter(2), MN.MN_PINSRW);
defineLifter(insertLifter(4), MN.MN_PINSRD);
defineLifter(insertLifter(8), MN.MN_PINSRQ);

/** The reverse: to memory exactly `size` bytes, to a register zero-extended. */
function extractLifter(size: number): Lifter {
  return guarded((b, ins) => {
    const mmx = ins.kind[1] === OP_MMX;
    const lane = ins.immLo & ((mmx ? 8 : 16) / size - 1);
    const a = mmx ? V_T0 : ins.reg[1]!;
    if (mmx) b.helper(HELPER_MMX_READ, V_T0, ins.reg[1]!);
    if (ins.kind[0] === OP_MEM) {
      b.helper(H.HELPER_PEXTR, S_T0, a, 0, lane, size);
      b.mem(ins, size, true);
      b.m(U.U_STORE + sizeIndex(size), S_T0);
    } else b.helper(H.HELPER_PEXTR, slotOf(ins, 0), a, 0, lane, size);
    if (mmx) b.helper(HELPER_MMX_ENTER);
  });
}
defineLifter(extractLifter(1), MN.MN_PEXTRB);
defineLifter(extractLifter(2), MN.MN_PEXTRW);
defineLifter(extractLifter(4), MN.MN_PEXTRD, MN.MN_EXTRACTPS);
defineLifter(extractLifter(8), MN.MN_PEXTRQ);

defineLifter(
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

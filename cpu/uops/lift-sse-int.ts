/** Packed integer arithmetic, logic, comparison and shifts, of XMM and MMX registers. */
import { type Instruction, OP_IMM, OP_MMX } from "../decode/instruction.ts";
import * as MN from "../decode/mnemonics.ts";
import * as H from "../fpu/simd-lanes.ts";
import { HELPER_PALIGNR, HELPER_PSHUFB } from "../fpu/simd-shuffle.ts";
import { HELPER_PCMPSTR, PCMPSTR_EXPLICIT, PCMPSTR_MASK, PCMPSTR_WIDE } from "../fpu/simd-string.ts";
import { type BlockBuilder, defineLifter, type Lifter } from "./builder.ts";
import {
  isMmx,
  MMX_BESIDE,
  MMX_HIGH,
  MMX_LANES,
  mmxAlign,
  mmxBinary,
  mmxShift,
  type VectorOperation,
} from "./lift-mmx.ts";
import { guarded, V_T0, vectorSource } from "./lift-vector.ts";
import * as U from "./uop.ts";

/** xmm = xmm op xmm/m128, or the same of MMX registers. */
function packed(operation: VectorOperation, shape: number): Lifter {
  return guarded((b, ins) => {
    if (ins.kind[0] === OP_MMX) mmxBinary(b, ins, operation, shape);
    else operation(b, ins.reg[0]!, vectorSource(b, ins, 1, V_T0), ins);
  });
}

const one =
  (kind: number): VectorOperation =>
  (b, d, a) =>
    b.rr(kind, d, a);

const call =
  (helper: number): VectorOperation =>
  (b, d, a) =>
    b.helper(helper, d, a);

/** Instructions that are one vector micro-op. */
const MICRO_OPS: readonly (readonly [mnemonic: number, operation: U.VOp, shape?: number])[] = [
  [MN.MN_PAND, "and"],
  [MN.MN_ANDPS, "and"],
  [MN.MN_ANDPD, "and"],
  [MN.MN_PANDN, "andnot"],
  [MN.MN_ANDNPS, "andnot"],
  [MN.MN_ANDNPD, "andnot"],
  [MN.MN_POR, "or"],
  [MN.MN_ORPS, "or"],
  [MN.MN_ORPD, "or"],
  [MN.MN_PXOR, "xor"],
  [MN.MN_XORPS, "xor"],
  [MN.MN_XORPD, "xor"],
  [MN.MN_PADDB, "addb"],
  [MN.MN_PADDW, "addw"],
  [MN.MN_PADDD, "addd"],
  [MN.MN_PADDQ, "addq"],
  [MN.MN_PSUBB, "subb"],
  [MN.MN_PSUBW, "subw"],
  [MN.MN_PSUBD, "subd"],
  [MN.MN_PSUBQ, "subq"],
  [MN.MN_PADDSB, "addsb"],
  [MN.MN_PADDSW, "addsw"],
  [MN.MN_PADDUSB, "addusb"],
  [MN.MN_PADDUSW, "addusw"],
  [MN.MN_PSUBSB, "subsb"],
  [MN.MN_PSUBSW, "subsw"],
  [MN.MN_PSUBUSB, "subusb"],
  [MN.MN_PSUBUSW, "subusw"],
  [MN.MN_PCMPEQB, "cmpeqb"],
  [MN.MN_PCMPEQW, "cmpeqw"],
  [MN.MN_PCMPEQD, "cmpeqd"],
  [MN.MN_PCMPEQQ, "cmpeqq"],
  [MN.MN_PCMPGTB, "cmpgtb"],
  [MN.MN_PCMPGTW, "cmpgtw"],
  [MN.MN_PCMPGTD, "cmpgtd"],
  [MN.MN_PCMPGTQ, "cmpgtq"],
  [MN.MN_PMINUB, "minub"],
  [MN.MN_PMINSW, "minsw"],
  [MN.MN_PMAXUB, "maxub"],
  [MN.MN_PMAXSW, "maxsw"],
  [MN.MN_PMINSB, "minsb"],
  [MN.MN_PMINUW, "minuw"],
  [MN.MN_PMINSD, "minsd"],
  [MN.MN_PMINUD, "minud"],
  [MN.MN_PMAXSB, "maxsb"],
  [MN.MN_PMAXUW, "maxuw"],
  [MN.MN_PMAXSD, "maxsd"],
  [MN.MN_PMAXUD, "maxud"],
  [MN.MN_PAVGB, "avgb"],
  [MN.MN_PAVGW, "avgw"],
  [MN.MN_PMULLW, "mullw"],
  [MN.MN_PMULLD, "mulld"],
  [MN.MN_PMADDWD, "maddwd"],
  [MN.MN_PUNPCKLBW, "unpacklbw"],
  [MN.MN_PUNPCKLWD, "unpacklwd"],
  [MN.MN_PUNPCKLDQ, "unpackldq"],
  [MN.MN_UNPCKLPS, "unpackldq"],
  [MN.MN_PUNPCKLQDQ, "unpacklqdq"],
  [MN.MN_UNPCKLPD, "unpacklqdq"],
  [MN.MN_UNPCKHPS, "unpackhdq"],
  [MN.MN_PUNPCKHQDQ, "unpackhqdq"],
  [MN.MN_UNPCKHPD, "unpackhqdq"],
  [MN.MN_PACKSSWB, "packsswb", MMX_BESIDE],
  [MN.MN_PACKSSDW, "packssdw", MMX_BESIDE],
  [MN.MN_PACKUSWB, "packuswb", MMX_BESIDE],
  [MN.MN_PACKUSDW, "packusdw"],
];
for (const [mnemonic, operation, shape] of MICRO_OPS)
  defineLifter(packed(one(U.vop(operation)), shape ?? MMX_LANES), mnemonic);

for (const [mnemonic, high, low] of [
  [MN.MN_PUNPCKHBW, "unpackhbw", "unpacklbw"],
  [MN.MN_PUNPCKHWD, "unpackhwd", "unpacklwd"],
  [MN.MN_PUNPCKHDQ, "unpackhdq", "unpackldq"],
] as const) {
  const wide = packed(one(U.vop(high)), MMX_LANES);
  const narrow = packed(one(U.vop(low)), MMX_HIGH);
  defineLifter((b, ins) => (isMmx(ins) ? narrow : wide)(b, ins), mnemonic);
}

/** Instructions that are one helper. */
const HELPERS: readonly (readonly [mnemonic: number, helper: number, shape?: number])[] = [
  [MN.MN_PMULHW, H.HELPER_PMULHW],
  [MN.MN_PMULHUW, H.HELPER_PMULHUW],
  [MN.MN_PMULHRSW, H.HELPER_PMULHRSW],
  [MN.MN_PMULUDQ, H.HELPER_PMULUDQ],
  [MN.MN_PMULDQ, H.HELPER_PMULDQ],
  [MN.MN_PMADDUBSW, H.HELPER_PMADDUBSW],
  [MN.MN_PSADBW, H.HELPER_PSADBW],
  [MN.MN_PABSB, H.HELPER_PABSB],
  [MN.MN_PABSW, H.HELPER_PABSW],
  [MN.MN_PABSD, H.HELPER_PABSD],
  [MN.MN_PSIGNB, H.HELPER_PSIGNB],
  [MN.MN_PSIGNW, H.HELPER_PSIGNW],
  [MN.MN_PSIGND, H.HELPER_PSIGND],
  [MN.MN_PHADDW, H.HELPER_PHADDW, MMX_BESIDE],
  [MN.MN_PHADDD, H.HELPER_PHADDD, MMX_BESIDE],
  [MN.MN_PHADDSW, H.HELPER_PHADDSW, MMX_BESIDE],
  [MN.MN_PHSUBW, H.HELPER_PHSUBW, MMX_BESIDE],
  [MN.MN_PHSUBD, H.HELPER_PHSUBD, MMX_BESIDE],
  [MN.MN_PHSUBSW, H.HELPER_PHSUBSW, MMX_BESIDE],
  [MN.MN_PHMINPOSUW, H.HELPER_PHMINPOSUW],
  [MN.MN_PTEST, H.HELPER_PTEST],
];
for (const [mnemonic, helper, shape] of HELPERS) defineLifter(packed(call(helper), shape ?? MMX_LANES), mnemonic);

defineLifter(
  packed((b, d, a, ins) => b.helper(HELPER_PSHUFB, d, a, 0, 0, ins.kind[0] === OP_MMX ? 8 : 16), MMX_LANES),
  MN.MN_PSHUFB,
);
const alignXmm = packed((b, d, a, ins) => b.helper(HELPER_PALIGNR, d, a, 0, ins.immLo & 255), MMX_LANES);
const alignMmx = guarded(mmxAlign);
defineLifter((b, ins) => (isMmx(ins) ? alignMmx : alignXmm)(b, ins), MN.MN_PALIGNR);
defineLifter(
  packed((b, d, a, ins) => b.helper(H.HELPER_MPSADBW, d, a, 0, ins.immLo & 7), MMX_LANES),
  MN.MN_MPSADBW,
);

/** Shifts: by an immediate a micro-op, by a register or memory a helper. */
function shiftLifter(immediate: number, helper: number, direction: number): Lifter {
  const byRegister = packed((b, d, a) => b.helper(helper, d, a, 0, direction), MMX_LANES);
  const byImmediate = guarded((b, ins) => {
    if (isMmx(ins)) mmxShift(b, ins, immediate);
    else b.ri(immediate, ins.reg[0]!, ins.immLo & 255);
  });
  return (b, ins) => (ins.kind[1] === OP_IMM ? byImmediate : byRegister)(b, ins);
}
for (const [mnemonic, immediate, helper, direction] of [
  [MN.MN_PSLLW, U.U_VSHLW_I, H.HELPER_SHIFT_WORDS, H.SHIFT_LEFT],
  [MN.MN_PSLLD, U.U_VSHLD_I, H.HELPER_SHIFT_DWORDS, H.SHIFT_LEFT],
  [MN.MN_PSLLQ, U.U_VSHLQ_I, H.HELPER_SHIFT_QWORDS, H.SHIFT_LEFT],
  [MN.MN_PSRLW, U.U_VSHRW_I, H.HELPER_SHIFT_WORDS, H.SHIFT_RIGHT],
  [MN.MN_PSRLD, U.U_VSHRD_I, H.HELPER_SHIFT_DWORDS, H.SHIFT_RIGHT],
  [MN.MN_PSRLQ, U.U_VSHRQ_I, H.HELPER_SHIFT_QWORDS, H.SHIFT_RIGHT],
  [MN.MN_PSRAW, U.U_VSARW_I, H.HELPER_SHIFT_WORDS, H.SHIFT_ARITHMETIC],
  [MN.MN_PSRAD, U.U_VSARD_I, H.HELPER_SHIFT_DWORDS, H.SHIFT_ARITHMETIC],
] as const)
  defineLifter(shiftLifter(immediate, helper, direction), mnemonic);

for (const [mnemonic, kind] of [
  [MN.MN_PSLLDQ, U.U_VBYTESHL],
  [MN.MN_PSRLDQ, U.U_VBYTESHR],
] as const)
  defineLifter(
    guarded((b, ins) => b.ri(kind, ins.reg[0]!, Math.min(ins.immLo & 255, 16))),
    mnemonic,
  );

/** PCMPESTRI and its three relatives. */
function stringCompare(form: number): Lifter {
  return guarded((b: BlockBuilder, ins: Instruction) => {
    const a = vectorSource(b, ins, 1, V_T0);
    b.helper(HELPER_PCMPSTR, ins.reg[0]!, a, 0, ins.immLo & 255, form | (ins.opSize === 8 ? PCMPSTR_WIDE : 0));
  });
}
defineLifter(stringCompare(PCMPSTR_EXPLICIT), MN.MN_PCMPESTRI);
defineLifter(stringCompare(PCMPSTR_EXPLICIT | PCMPSTR_MASK), MN.MN_PCMPESTRM);
defineLifter(stringCompare(0), MN.MN_PCMPISTRI);
defineLifter(stringCompare(PCMPSTR_MASK), MN.MN_PCMPISTRM);

/** Packed integer arithmetic, logic, comparison, shifts and shuffles inside 16 bytes, of XMM, YMM and MMX registers. */
import { type Instruction, OP_IMM, OP_MMX } from "../decode/instruction.ts";
import * as MN from "../decode/mnemonics.ts";
import * as H from "../fpu/simd-lanes.ts";
import * as S from "../fpu/simd-shuffle.ts";
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
import {
  clearUpper,
  defineVectorLifter,
  firstSource,
  guarded,
  isLong,
  isVex,
  lastSource,
  qwordOrder,
  upper,
  V_T0,
  vectorSource,
} from "./lift-vector.ts";
import * as U from "./uop.ts";

/**
 * xmm = xmm op xmm/m128, or the same of MMX registers, or the VEX forms: three operands, and the upper halves as well.
 * The immediate of the upper half is the instruction's, shifted right by `upperImm`.
 */
function packed(operation: VectorOperation, shape: number = MMX_LANES, upperImm = 0): Lifter {
  return guarded((b, ins) => {
    if (ins.kind[0] === OP_MMX) {
      mmxBinary(b, ins, operation, shape);
      return;
    }
    const d = ins.reg[0]!;
    const imm = ins.immLo & 255;
    const y = vectorSource(b, ins, lastSource(ins), V_T0);
    const x = firstSource(ins);
    operation(b, d, x, y, imm);
    if (isLong(ins)) operation(b, upper(d), upper(x), upper(y), imm >> upperImm);
    else clearUpper(b, ins);
  });
}

const one =
  (kind: number): VectorOperation =>
  (b, d, x, y) =>
    b.vector(kind, d, x, y);

const call =
  (helper: number, disp = 0): VectorOperation =>
  (b, d, x, y, imm) =>
    b.helper(helper, d, x, y, imm, disp);

/** SHUFPD: a qword of x and one of y, by bits 0 and 1 of the immediate; as SHUFPS takes dwords. */
const shuffleQwords: VectorOperation = (b, d, x, y, imm) =>
  b.emit(U.U_VSHUFPS, d, x, y, 0, 0, 0, qwordOrder(imm & 1, (imm >> 1) & 1));

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
  [MN.MN_PMULHW, "mulhw"],
  [MN.MN_PMULHUW, "mulhuw"],
  [MN.MN_PMULDQ, "muldq"],
  [MN.MN_PMULUDQ, "muludq"],
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
  [MN.MN_PABSB, "absb"],
  [MN.MN_PABSW, "absw"],
  [MN.MN_PABSD, "absd"],
  [MN.MN_PMULHRSW, "mulhrsw"],
  [MN.MN_PMADDUBSW, "maddubsw"],
  [MN.MN_PSADBW, "sadbw"],
];
for (const [mnemonic, operation, shape] of MICRO_OPS)
  defineVectorLifter(packed(one(U.vop(operation)), shape), mnemonic);

for (const [mnemonic, high, low] of [
  [MN.MN_PUNPCKHBW, "unpackhbw", "unpacklbw"],
  [MN.MN_PUNPCKHWD, "unpackhwd", "unpacklwd"],
  [MN.MN_PUNPCKHDQ, "unpackhdq", "unpackldq"],
] as const) {
  const wide = packed(one(U.vop(high)));
  const narrow = packed(one(U.vop(low)), MMX_HIGH);
  defineVectorLifter((b, ins) => (isMmx(ins) ? narrow : wide)(b, ins), mnemonic);
}

/** Instructions that are one helper. */
const HELPERS: readonly (readonly [mnemonic: number, helper: number, shape?: number])[] = [
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
  [MN.MN_MPSADBW, H.HELPER_MPSADBW],
];
for (const [mnemonic, helper, shape] of HELPERS)
  defineVectorLifter(packed(call(helper), shape, mnemonic === MN.MN_MPSADBW ? 3 : 0), mnemonic);
defineVectorLifter(
  packed((b, d, x, y, imm) => b.emit(U.U_VSHUFPS, d, x, y, 0, 0, 0, imm)),
  MN.MN_SHUFPS,
);

/** The immediate has a bit for each lane of `size` bytes of the vector, or of 16 bytes if there are eight: instruction, size, bits. */
function blend(size: number): VectorOperation {
  return (b, d, x, y, imm) => {
    let mask = 0;
    for (let i = 0; i < 16; i++) mask |= ((imm >> Math.trunc(i / size)) & 1) << i;
    b.emit(U.U_VBLEND, d, x, y, 0, 0, 0, mask);
  };
}
for (const [mnemonic, size, bits] of [
  [MN.MN_PBLENDW, 2, 0],
  [MN.MN_BLENDPS, 4, 4],
  [MN.MN_BLENDPD, 8, 2],
] as const)
  defineVectorLifter(packed(blend(size), MMX_LANES, bits), mnemonic);
defineVectorLifter(packed(shuffleQwords, MMX_LANES, 2), MN.MN_SHUFPD);
for (const [mnemonic, kind] of [
  [MN.MN_PSHUFLW, U.U_VSHUFLW],
  [MN.MN_PSHUFHW, U.U_VSHUFHW],
] as const)
  defineVectorLifter(
    packed((b, d, _, y, imm) => b.vectorImm(kind, d, y, imm)),
    mnemonic,
  );
defineLifter(packed(blend(4), MMX_LANES, 4), MN.mnemonic("VPBLENDD"));

const shuffleBytes = packed(one(U.vop("shufb")));
const shuffleMmx = packed(call(S.HELPER_PSHUFB_MMX));
defineVectorLifter((b, ins) => (isMmx(ins) ? shuffleMmx : shuffleBytes)(b, ins), MN.MN_PSHUFB);
const alignXmm = packed((b, d, x, y, imm) => {
  if (imm < 16) b.emit(U.U_VALIGN, d, x, y, 0, 0, 0, imm);
  else b.vectorImm(U.U_VBYTESHR, d, x, Math.min(imm - 16, 16));
});
const alignMmx = guarded(mmxAlign);
defineVectorLifter((b, ins) => (isMmx(ins) ? alignMmx : alignXmm)(b, ins), MN.MN_PALIGNR);

/** VTESTPS, VTESTPD: `size` as the helper wants it. */
function testLifter(size: number): Lifter {
  return guarded((b, ins) => {
    const y = vectorSource(b, ins, 1, V_T0);
    b.helper(H.HELPER_TEST, 0, ins.reg[0]!, y, size, isLong(ins) ? H.TEST_LONG : 0);
  });
}
defineVectorLifter(
  guarded((b, ins) => {
    const y = vectorSource(b, ins, 1, V_T0);
    b.vector(isLong(ins) ? U.U_VTEST256 : U.U_VTEST, 0, ins.reg[0]!, y);
  }),
  MN.MN_PTEST,
);
defineLifter(testLifter(4), MN.mnemonic("VTESTPS"));
defineLifter(testLifter(8), MN.mnemonic("VTESTPD"));

/** Shifts by an immediate: destination and source may be one operand. */
function byImmediate(kind: number, most: number): Lifter {
  return guarded((b, ins) => {
    if (isMmx(ins)) {
      mmxShift(b, ins, kind);
      return;
    }
    const d = ins.reg[0]!;
    const x = isVex(ins) ? ins.reg[1]! : d;
    const imm = Math.min(ins.immLo & 255, most);
    b.vectorImm(kind, d, x, imm);
    if (isLong(ins)) b.vectorImm(kind, upper(d), upper(x), imm);
    else clearUpper(b, ins);
  });
}

/** Shifts by a register or memory: the count is the same for both halves. */
function byRegister(kind: number): Lifter {
  return guarded((b, ins) => {
    if (isMmx(ins)) {
      mmxBinary(b, ins, (builder, d, x, y) => builder.vector(kind, d, x, y), MMX_LANES);
      return;
    }
    const d = ins.reg[0]!;
    const x = firstSource(ins);
    let y = vectorSource(b, ins, lastSource(ins), V_T0);
    if (isLong(ins)) {
      // The lower half may hold the count.
      if (y === d) b.rr(U.U_VMOV, (y = V_T0), d);
      b.vector(kind, upper(d), upper(x), y);
    } else clearUpper(b, ins);
    b.vector(kind, d, x, y);
  });
}

U.V_SHIFTS.forEach((name, index) => {
  const immediate = byImmediate(U.U_VSHIFT_I + index, 255);
  const register = byRegister(U.U_VSHIFT_R + index);
  defineVectorLifter(
    (b, ins) => (ins.kind[1] === OP_IMM || ins.kind[2] === OP_IMM ? immediate : register)(b, ins),
    MN.mnemonic(`P${name.toUpperCase()}`),
  );
});
defineVectorLifter(byImmediate(U.U_VBYTESHL, 16), MN.MN_PSLLDQ);
defineVectorLifter(byImmediate(U.U_VBYTESHR, 16), MN.MN_PSRLDQ);

for (const [name, helper, direction] of [
  ["VPSLLVD", H.HELPER_SHIFTV_DWORDS, H.SHIFT_LEFT],
  ["VPSLLVQ", H.HELPER_SHIFTV_QWORDS, H.SHIFT_LEFT],
  ["VPSRLVD", H.HELPER_SHIFTV_DWORDS, H.SHIFT_RIGHT],
  ["VPSRLVQ", H.HELPER_SHIFTV_QWORDS, H.SHIFT_RIGHT],
  ["VPSRAVD", H.HELPER_SHIFTV_DWORDS, H.SHIFT_ARITHMETIC],
] as const)
  defineLifter(
    packed((b, d, x, y) => b.helper(helper, d, x, y, direction)),
    MN.mnemonic(name),
  );

/** PCMPESTRI and its three relatives. */
function stringCompare(form: number): Lifter {
  return guarded((b: BlockBuilder, ins: Instruction) => {
    const a = vectorSource(b, ins, 1, V_T0);
    b.helper(HELPER_PCMPSTR, ins.reg[0]!, a, 0, ins.immLo & 255, form | (ins.opSize === 8 ? PCMPSTR_WIDE : 0));
    if (form & PCMPSTR_MASK && isVex(ins)) b.vector(U.U_VZERO, upper(0), 0, 0);
  });
}
defineVectorLifter(stringCompare(PCMPSTR_EXPLICIT), MN.MN_PCMPESTRI);
defineVectorLifter(stringCompare(PCMPSTR_EXPLICIT | PCMPSTR_MASK), MN.MN_PCMPESTRM);
defineVectorLifter(stringCompare(0), MN.MN_PCMPISTRI);
defineVectorLifter(stringCompare(PCMPSTR_MASK), MN.MN_PCMPISTRM);

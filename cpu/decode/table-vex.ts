// VEX-encoded opcodes: AVX, AVX2, FMA, F16C, BMI1, BMI2, and the 128-bit VEX forms of AES and PCLMULQDQ. The line format stands
// in table-integer.ts; a VEX line begins with   vex.LENGTH.PREFIX.MAP.W   (SDM volume 2, 3.1.1.2).
//
// LENGTH  128, 256; x: both, a row each; lig: VEX.L is ignored.
// W       w0, w1; wig: ignored; wy: the size of a general register, 4 bytes outside 64-bit mode; w0y: 0, and ignored outside
//         64-bit mode.
// Operands, besides those of table-integer.ts: H  vvvv: XMM or YMM;  B  vvvv: general register;  L  bits 7..4 of a byte behind the
// instruction: XMM or YMM. Sizes: x is 16 or 32 bytes as LENGTH says; h, h4, h8 its half, quarter, eighth; dq 16, qq 32.
// The first operand is only written, unless `rw` or `ro` says otherwise. Memory needs no alignment, unless `al` says so.
// `avx`: touches AVX state though no operand shows it. `vsib`: the index register is an XMM or YMM register.

import { FLOATING, FLOATING_PACKED, PACKED } from "./table-sse.ts";
import { SSSE3 } from "./table-sse4.ts";

/** AVX has the 128-bit form of packed integers, AVX2 the 256-bit one. `fields` is what follows vex.LENGTH. */
const integer = (fields: string, rest: string): string => `
@AVX
vex.128.${fields} ${rest}
@AVX2
vex.256.${fields} ${rest}`;

/** Map 0F 38: three vector operands. */
const INTEGER_38 = [
  "28 VPMULDQ",
  "29 VPCMPEQQ",
  "2b VPACKUSDW",
  "37 VPCMPGTQ",
  "38 VPMINSB",
  "39 VPMINSD",
  "3a VPMINUW",
  "3b VPMINUD",
  "3c VPMAXSB",
  "3d VPMAXSD",
  "3e VPMAXUW",
  "3f VPMAXUD",
  "40 VPMULLD",
];
const UNPACK = ["60 VPUNPCKLBW", "61 VPUNPCKLWD", "62 VPUNPCKLDQ", "6c VPUNPCKLQDQ", "6d VPUNPCKHQDQ"];
/** Counts of shifts by a register are 16 bytes, however long the vectors are. */
const SHIFTS = /^PS(LL|RL|RA)[WDQ]$/;
const SHIFTS_BY_IMMEDIATE = [
  "71 /2 VPSRLW",
  "71 /4 VPSRAW",
  "71 /6 VPSLLW",
  "72 /2 VPSRLD",
  "72 /4 VPSRAD",
  "72 /6 VPSLLD",
  "73 /2 VPSRLQ",
  "73 /3 VPSRLDQ",
  "73 /6 VPSLLQ",
  "73 /7 VPSLLDQ",
];
/** Widening moves of map 0F 38 and the part of the vector that they read; PMOVZX are 10 further on. */
const WIDEN = ["20 BW h", "21 BD h4", "22 BQ h8", "23 WD h", "24 WQ h4", "25 DQ h"];

const integerRows: string = [
  ...PACKED.map(([opcode, name]) =>
    integer("66.0f.wig", `${opcode} V${name} Vx,Hx,${SHIFTS.test(name) ? "Wdq" : "Wx"}`),
  ),
  ...SSSE3.map(([opcode, name, access]) =>
    integer("66.0f38.wig", `${opcode} V${name} ${access === undefined ? "Vx,Hx,Wx" : "Vx,Wx"}`),
  ),
  ...UNPACK.map((line) => integer("66.0f.wig", `${line} Vx,Hx,Wx`)),
  ...INTEGER_38.map((line) => integer("66.0f38.wig", `${line} Vx,Hx,Wx`)),
  ...SHIFTS_BY_IMMEDIATE.map((line) => integer("66.0f.wig", `${line} Hx,Ux,Ib`)),
  ...WIDEN.map((line) => {
    const [opcode, name, part] = line.split(" ") as [string, string, string];
    const zero = (Number.parseInt(opcode, 16) + 0x10).toString(16);
    return (
      integer("66.0f38.wig", `${opcode} VPMOVSX${name} Vx,W${part}`) +
      integer("66.0f38.wig", `${zero} VPMOVZX${name} Vx,W${part}`)
    );
  }),
  integer("66.0f.wig", "70 VPSHUFD Vx,Wx,Ib"),
  integer("f3.0f.wig", "70 VPSHUFHW Vx,Wx,Ib"),
  integer("f2.0f.wig", "70 VPSHUFLW Vx,Wx,Ib"),
  integer("66.0f.wig", "d7 VPMOVMSKB Gd,Ux"),
  integer("66.0f38.wig", "2a VMOVNTDQA Vx,Mx al"),
  integer("66.0f3a.wig", "0e VPBLENDW Vx,Hx,Wx,Ib"),
  integer("66.0f3a.wig", "0f VPALIGNR Vx,Hx,Wx,Ib"),
  integer("66.0f3a.wig", "42 VMPSADBW Vx,Hx,Wx,Ib"),
  integer("66.0f3a.w0", "4c VPBLENDVB Vx,Hx,Wx,Lx"),
].join("\n");

const floatingRows: string = FLOATING.map(
  ([opcode, name]) => `
vex.x.np.0f.wig ${opcode} V${name}PS ${name === "SQRT" ? "Vx,Wx" : "Vx,Hx,Wx"}
vex.x.66.0f.wig ${opcode} V${name}PD ${name === "SQRT" ? "Vx,Wx" : "Vx,Hx,Wx"}
vex.lig.f3.0f.wig ${opcode} V${name}SS Vdq,Hdq,Wd
vex.lig.f2.0f.wig ${opcode} V${name}SD Vdq,Hdq,Wq`,
).join("\n");

const floatingPackedRows: string = FLOATING_PACKED.map(
  ([opcode, name]) => `
vex.x.np.0f.wig ${opcode} V${name}PS Vx,Hx,Wx
vex.x.66.0f.wig ${opcode} V${name}PD Vx,Hx,Wx`,
).join("\n");

const AVX_ROWS = `
@AVX
${floatingRows}
${floatingPackedRows}
vex.x.np.0f.wig 10 VMOVUPS Vx,Wx
vex.x.66.0f.wig 10 VMOVUPD Vx,Wx
vex.lig.f3.0f.wig 10 VMOVSS Vdq,Md
vex.lig.f3.0f.wig 10 VMOVSS Vdq,Hdq,Ud
vex.lig.f2.0f.wig 10 VMOVSD Vdq,Mq
vex.lig.f2.0f.wig 10 VMOVSD Vdq,Hdq,Uq
vex.x.np.0f.wig 11 VMOVUPS Wx,Vx
vex.x.66.0f.wig 11 VMOVUPD Wx,Vx
vex.lig.f3.0f.wig 11 VMOVSS Md,Vd
vex.lig.f3.0f.wig 11 VMOVSS Udq,Hdq,Vd
vex.lig.f2.0f.wig 11 VMOVSD Mq,Vq
vex.lig.f2.0f.wig 11 VMOVSD Udq,Hdq,Vq
vex.128.np.0f.wig 12 VMOVLPS Vdq,Hdq,Mq
vex.128.np.0f.wig 12 VMOVHLPS Vdq,Hdq,Udq
vex.128.66.0f.wig 12 VMOVLPD Vdq,Hdq,Mq
vex.x.f3.0f.wig 12 VMOVSLDUP Vx,Wx
vex.128.f2.0f.wig 12 VMOVDDUP Vdq,Wq
vex.256.f2.0f.wig 12 VMOVDDUP Vqq,Wqq
vex.128.np.0f.wig 13 VMOVLPS Mq,Vq
vex.128.66.0f.wig 13 VMOVLPD Mq,Vq
vex.128.np.0f.wig 16 VMOVHPS Vdq,Hdq,Mq
vex.128.np.0f.wig 16 VMOVLHPS Vdq,Hdq,Uq
vex.128.66.0f.wig 16 VMOVHPD Vdq,Hdq,Mq
vex.x.f3.0f.wig 16 VMOVSHDUP Vx,Wx
vex.128.np.0f.wig 17 VMOVHPS Mq,Vdq
vex.128.66.0f.wig 17 VMOVHPD Mq,Vdq
vex.x.np.0f.wig 28 VMOVAPS Vx,Wx al
vex.x.66.0f.wig 28 VMOVAPD Vx,Wx al
vex.x.np.0f.wig 29 VMOVAPS Wx,Vx al
vex.x.66.0f.wig 29 VMOVAPD Wx,Vx al
vex.lig.f3.0f.wy 2a VCVTSI2SS Vdq,Hdq,Ey
vex.lig.f2.0f.wy 2a VCVTSI2SD Vdq,Hdq,Ey
vex.x.np.0f.wig 2b VMOVNTPS Mx,Vx al
vex.x.66.0f.wig 2b VMOVNTPD Mx,Vx al
vex.lig.f3.0f.wy 2c VCVTTSS2SI Gy,Wd
vex.lig.f2.0f.wy 2c VCVTTSD2SI Gy,Wq
vex.lig.f3.0f.wy 2d VCVTSS2SI Gy,Wd
vex.lig.f2.0f.wy 2d VCVTSD2SI Gy,Wq
vex.lig.np.0f.wig 2e VUCOMISS Vd,Wd ro
vex.lig.66.0f.wig 2e VUCOMISD Vq,Wq ro
vex.lig.np.0f.wig 2f VCOMISS Vd,Wd ro
vex.lig.66.0f.wig 2f VCOMISD Vq,Wq ro
vex.x.np.0f.wig 50 VMOVMSKPS Gd,Ux
vex.x.66.0f.wig 50 VMOVMSKPD Gd,Ux
vex.x.np.0f.wig 52 VRSQRTPS Vx,Wx
vex.lig.f3.0f.wig 52 VRSQRTSS Vdq,Hdq,Wd
vex.x.np.0f.wig 53 VRCPPS Vx,Wx
vex.lig.f3.0f.wig 53 VRCPSS Vdq,Hdq,Wd
vex.x.np.0f.wig 5a VCVTPS2PD Vx,Wh
vex.x.66.0f.wig 5a VCVTPD2PS Vdq,Wx
vex.lig.f3.0f.wig 5a VCVTSS2SD Vdq,Hdq,Wd
vex.lig.f2.0f.wig 5a VCVTSD2SS Vdq,Hdq,Wq
vex.x.np.0f.wig 5b VCVTDQ2PS Vx,Wx
vex.x.66.0f.wig 5b VCVTPS2DQ Vx,Wx
vex.x.f3.0f.wig 5b VCVTTPS2DQ Vx,Wx
vex.128.66.0f.w0y 6e VMOVD Vdq,Ed
vex.128.66.0f.w1 6e VMOVQ Vdq,Eq only64
vex.x.66.0f.wig 6f VMOVDQA Vx,Wx al
vex.x.f3.0f.wig 6f VMOVDQU Vx,Wx
vex.128.np.0f.wig 77 VZEROUPPER avx
vex.256.np.0f.wig 77 VZEROALL avx
vex.x.66.0f.wig 7c VHADDPD Vx,Hx,Wx
vex.x.f2.0f.wig 7c VHADDPS Vx,Hx,Wx
vex.x.66.0f.wig 7d VHSUBPD Vx,Hx,Wx
vex.x.f2.0f.wig 7d VHSUBPS Vx,Hx,Wx
vex.128.66.0f.w0y 7e VMOVD Ed,Vd
vex.128.66.0f.w1 7e VMOVQ Eq,Vq only64
vex.128.f3.0f.wig 7e VMOVQ Vdq,Wq
vex.x.66.0f.wig 7f VMOVDQA Wx,Vx al
vex.x.f3.0f.wig 7f VMOVDQU Wx,Vx
vex.128.np.0f.wig ae /2m VLDMXCSR Md ro avx
vex.128.np.0f.wig ae /3m VSTMXCSR Md avx
vex.x.np.0f.wig c2 VCMPPS Vx,Hx,Wx,Ib
vex.x.66.0f.wig c2 VCMPPD Vx,Hx,Wx,Ib
vex.lig.f3.0f.wig c2 VCMPSS Vdq,Hdq,Wd,Ib
vex.lig.f2.0f.wig c2 VCMPSD Vdq,Hdq,Wq,Ib
vex.128.66.0f.wig c4 VPINSRW Vdq,Hdq,Edw,Ib
vex.128.66.0f.wig c5 VPEXTRW Gd,Udq,Ib
vex.x.np.0f.wig c6 VSHUFPS Vx,Hx,Wx,Ib
vex.x.66.0f.wig c6 VSHUFPD Vx,Hx,Wx,Ib
vex.x.66.0f.wig d0 VADDSUBPD Vx,Hx,Wx
vex.x.f2.0f.wig d0 VADDSUBPS Vx,Hx,Wx
vex.128.66.0f.wig d6 VMOVQ Mq,Vq
vex.128.66.0f.wig d6 VMOVQ Udq,Vq
vex.x.66.0f.wig e6 VCVTTPD2DQ Vdq,Wx
vex.x.f3.0f.wig e6 VCVTDQ2PD Vx,Wh
vex.x.f2.0f.wig e6 VCVTPD2DQ Vdq,Wx
vex.x.66.0f.wig e7 VMOVNTDQ Mx,Vx al
vex.x.f2.0f.wig f0 VLDDQU Vx,Mx
vex.128.66.0f.wig f7 VMASKMOVDQU Vdq,Udq ro
vex.x.66.0f38.w0 0c VPERMILPS Vx,Hx,Wx
vex.x.66.0f38.w0 0d VPERMILPD Vx,Hx,Wx
vex.x.66.0f38.w0 0e VTESTPS Vx,Wx ro
vex.x.66.0f38.w0 0f VTESTPD Vx,Wx ro
vex.x.66.0f38.wig 17 VPTEST Vx,Wx ro
vex.x.66.0f38.w0 18 VBROADCASTSS Vx,Md
vex.256.66.0f38.w0 19 VBROADCASTSD Vqq,Mq
vex.256.66.0f38.w0 1a VBROADCASTF128 Vqq,Mdq
vex.x.66.0f38.w0 2c VMASKMOVPS Vx,Hx,Mx
vex.x.66.0f38.w0 2d VMASKMOVPD Vx,Hx,Mx
vex.x.66.0f38.w0 2e VMASKMOVPS Mx,Hx,Vx
vex.x.66.0f38.w0 2f VMASKMOVPD Mx,Hx,Vx
vex.128.66.0f38.wig 41 VPHMINPOSUW Vdq,Wdq
vex.x.66.0f3a.w0 04 VPERMILPS Vx,Wx,Ib
vex.x.66.0f3a.w0 05 VPERMILPD Vx,Wx,Ib
vex.256.66.0f3a.w0 06 VPERM2F128 Vqq,Hqq,Wqq,Ib
vex.x.66.0f3a.wig 08 VROUNDPS Vx,Wx,Ib
vex.x.66.0f3a.wig 09 VROUNDPD Vx,Wx,Ib
vex.lig.66.0f3a.wig 0a VROUNDSS Vdq,Hdq,Wd,Ib
vex.lig.66.0f3a.wig 0b VROUNDSD Vdq,Hdq,Wq,Ib
vex.x.66.0f3a.wig 0c VBLENDPS Vx,Hx,Wx,Ib
vex.x.66.0f3a.wig 0d VBLENDPD Vx,Hx,Wx,Ib
vex.128.66.0f3a.wig 14 VPEXTRB Edb,Vdq,Ib
vex.128.66.0f3a.wig 15 VPEXTRW Edw,Vdq,Ib
vex.128.66.0f3a.w0y 16 VPEXTRD Ed,Vdq,Ib
vex.128.66.0f3a.w1 16 VPEXTRQ Eq,Vdq,Ib only64
vex.128.66.0f3a.wig 17 VEXTRACTPS Ed,Vdq,Ib
vex.256.66.0f3a.w0 18 VINSERTF128 Vqq,Hqq,Wdq,Ib
vex.256.66.0f3a.w0 19 VEXTRACTF128 Wdq,Vqq,Ib
vex.128.66.0f3a.wig 20 VPINSRB Vdq,Hdq,Edb,Ib
vex.128.66.0f3a.wig 21 VINSERTPS Vdq,Hdq,Md,Ib
vex.128.66.0f3a.wig 21 VINSERTPS Vdq,Hdq,Udq,Ib
vex.128.66.0f3a.w0y 22 VPINSRD Vdq,Hdq,Ed,Ib
vex.128.66.0f3a.w1 22 VPINSRQ Vdq,Hdq,Eq,Ib only64
vex.x.66.0f3a.wig 40 VDPPS Vx,Hx,Wx,Ib
vex.128.66.0f3a.wig 41 VDPPD Vdq,Hdq,Wdq,Ib
vex.x.66.0f3a.w0 4a VBLENDVPS Vx,Hx,Wx,Lx
vex.x.66.0f3a.w0 4b VBLENDVPD Vx,Hx,Wx,Lx
vex.128.66.0f3a.wig 60 VPCMPESTRM Vdq,Wdq,Ib ro
vex.128.66.0f3a.wig 61 VPCMPESTRI Vdq,Wdq,Ib ro
vex.128.66.0f3a.wig 62 VPCMPISTRM Vdq,Wdq,Ib ro
vex.128.66.0f3a.wig 63 VPCMPISTRI Vdq,Wdq,Ib ro
@AES
vex.128.66.0f38.wig db VAESIMC Vdq,Wdq
vex.128.66.0f38.wig dc VAESENC Vdq,Hdq,Wdq
vex.128.66.0f38.wig dd VAESENCLAST Vdq,Hdq,Wdq
vex.128.66.0f38.wig de VAESDEC Vdq,Hdq,Wdq
vex.128.66.0f38.wig df VAESDECLAST Vdq,Hdq,Wdq
vex.128.66.0f3a.wig df VAESKEYGENASSIST Vdq,Wdq,Ib
@PCLMULQDQ
vex.128.66.0f3a.wig 44 VPCLMULQDQ Vdq,Hdq,Wdq,Ib
@F16C
vex.x.66.0f38.w0 13 VCVTPH2PS Vx,Wh
vex.x.66.0f3a.w0 1d VCVTPS2PH Wh,Vx,Ib
`;

const AVX2_ROWS = `
@AVX2
vex.x.66.0f38.w0 18 VBROADCASTSS Vx,Udq
vex.256.66.0f38.w0 19 VBROADCASTSD Vqq,Udq
vex.256.66.0f38.w0 16 VPERMPS Vqq,Hqq,Wqq
vex.256.66.0f38.w0 36 VPERMD Vqq,Hqq,Wqq
vex.x.66.0f38.w0 45 VPSRLVD Vx,Hx,Wx
vex.x.66.0f38.w1 45 VPSRLVQ Vx,Hx,Wx
vex.x.66.0f38.w0 46 VPSRAVD Vx,Hx,Wx
vex.x.66.0f38.w0 47 VPSLLVD Vx,Hx,Wx
vex.x.66.0f38.w1 47 VPSLLVQ Vx,Hx,Wx
vex.x.66.0f38.w0 58 VPBROADCASTD Vx,Wd
vex.x.66.0f38.w0 59 VPBROADCASTQ Vx,Wq
vex.256.66.0f38.w0 5a VBROADCASTI128 Vqq,Mdq
vex.x.66.0f38.w0 78 VPBROADCASTB Vx,Wb
vex.x.66.0f38.w0 79 VPBROADCASTW Vx,Ww
vex.x.66.0f38.w0 8c VPMASKMOVD Vx,Hx,Mx
vex.x.66.0f38.w1 8c VPMASKMOVQ Vx,Hx,Mx
vex.x.66.0f38.w0 8e VPMASKMOVD Mx,Hx,Vx
vex.x.66.0f38.w1 8e VPMASKMOVQ Mx,Hx,Vx
vex.x.66.0f38.w0 90 VPGATHERDD Vx,Md,Hx rw vsib
vex.x.66.0f38.w1 90 VPGATHERDQ Vx,Mq,Hx rw vsib
vex.x.66.0f38.w0 91 VPGATHERQD Vdq,Md,Hdq rw vsib
vex.x.66.0f38.w1 91 VPGATHERQQ Vx,Mq,Hx rw vsib
vex.x.66.0f38.w0 92 VGATHERDPS Vx,Md,Hx rw vsib
vex.x.66.0f38.w1 92 VGATHERDPD Vx,Mq,Hx rw vsib
vex.x.66.0f38.w0 93 VGATHERQPS Vdq,Md,Hdq rw vsib
vex.x.66.0f38.w1 93 VGATHERQPD Vx,Mq,Hx rw vsib
vex.256.66.0f3a.wig 00 VPERMQ Vqq,Wqq,Ib
vex.256.66.0f3a.wig 01 VPERMPD Vqq,Wqq,Ib
vex.x.66.0f3a.w0 02 VPBLENDD Vx,Hx,Wx,Ib
vex.256.66.0f3a.w0 38 VINSERTI128 Vqq,Hqq,Wdq,Ib
vex.256.66.0f3a.w0 39 VEXTRACTI128 Wdq,Vqq,Ib
vex.256.66.0f3a.w0 46 VPERM2I128 Vqq,Hqq,Wqq,Ib
`;

/** FMA: the low digit of the opcode, the operation, and whether it has scalar forms (of the opcode that follows). */
const FMA: readonly (readonly [number, string, boolean])[] = [
  [6, "FMADDSUB", false],
  [7, "FMSUBADD", false],
  [8, "FMADD", true],
  [10, "FMSUB", true],
  [12, "FNMADD", true],
  [14, "FNMSUB", true],
];
const FMA_ORDERS: readonly (readonly [number, string])[] = [
  [0x90, "132"],
  [0xa0, "213"],
  [0xb0, "231"],
];
const fmaRows: string = FMA_ORDERS.flatMap(([row, order]) =>
  FMA.map(([column, name, hasScalar]) => {
    const packed = (row + column).toString(16);
    const scalar = (row + column + 1).toString(16);
    return `
vex.x.66.0f38.w0 ${packed} V${name}${order}PS Vx,Hx,Wx rw
vex.x.66.0f38.w1 ${packed} V${name}${order}PD Vx,Hx,Wx rw${
      hasScalar
        ? `
vex.lig.66.0f38.w0 ${scalar} V${name}${order}SS Vdq,Hdq,Wd rw
vex.lig.66.0f38.w1 ${scalar} V${name}${order}SD Vdq,Hdq,Wq rw`
        : ""
    }`;
  }),
).join("\n");

const BMI_ROWS = `
@BMI1
vex.128.np.0f38.wy f2 ANDN Gy,By,Ey
vex.128.np.0f38.wy f3 /1 BLSR By,Ey
vex.128.np.0f38.wy f3 /2 BLSMSK By,Ey
vex.128.np.0f38.wy f3 /3 BLSI By,Ey
vex.128.np.0f38.wy f7 BEXTR Gy,Ey,By
@BMI2
vex.128.np.0f38.wy f5 BZHI Gy,Ey,By
vex.128.f3.0f38.wy f5 PEXT Gy,By,Ey
vex.128.f2.0f38.wy f5 PDEP Gy,By,Ey
vex.128.f2.0f38.wy f6 MULX Gy,By,Ey
vex.128.66.0f38.wy f7 SHLX Gy,Ey,By
vex.128.f3.0f38.wy f7 SARX Gy,Ey,By
vex.128.f2.0f38.wy f7 SHRX Gy,Ey,By
vex.128.f2.0f3a.wy f0 RORX Gy,Ey,Ib
`;

export const VEX_ROWS: string = [integerRows, AVX_ROWS, AVX2_ROWS, "@FMA", fmaRows, BMI_ROWS].join("\n");

/** The mnemonics of these rows, which are those of no other table. */
export const VEX_MNEMONICS: readonly string[] = [
  ...new Set(Array.from(VEX_ROWS.matchAll(/^vex\S+ [0-9a-f]{2} (?:\/\S+ )?([A-Z0-9]+)/gm), (match) => match[1]!)),
].toSorted();

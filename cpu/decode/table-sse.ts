// MMX, SSE, SSE2 and SSE3 opcodes. The line format stands in table-integer.ts.

/** Opcodes of map 0F with an MMX form (no prefix) and an XMM form (66, SSE2); third: the feature of the MMX form. */
export const PACKED: readonly (readonly [string, string, string?])[] = [
  ["63", "PACKSSWB"],
  ["64", "PCMPGTB"],
  ["65", "PCMPGTW"],
  ["66", "PCMPGTD"],
  ["67", "PACKUSWB"],
  ["68", "PUNPCKHBW"],
  ["69", "PUNPCKHWD"],
  ["6a", "PUNPCKHDQ"],
  ["6b", "PACKSSDW"],
  ["74", "PCMPEQB"],
  ["75", "PCMPEQW"],
  ["76", "PCMPEQD"],
  ["d1", "PSRLW"],
  ["d2", "PSRLD"],
  ["d3", "PSRLQ"],
  ["d4", "PADDQ", "SSE2"],
  ["d5", "PMULLW"],
  ["d8", "PSUBUSB"],
  ["d9", "PSUBUSW"],
  ["da", "PMINUB", "SSE"],
  ["db", "PAND"],
  ["dc", "PADDUSB"],
  ["dd", "PADDUSW"],
  ["de", "PMAXUB", "SSE"],
  ["df", "PANDN"],
  ["e0", "PAVGB", "SSE"],
  ["e1", "PSRAW"],
  ["e2", "PSRAD"],
  ["e3", "PAVGW", "SSE"],
  ["e4", "PMULHUW", "SSE"],
  ["e5", "PMULHW"],
  ["e8", "PSUBSB"],
  ["e9", "PSUBSW"],
  ["ea", "PMINSW", "SSE"],
  ["eb", "POR"],
  ["ec", "PADDSB"],
  ["ed", "PADDSW"],
  ["ee", "PMAXSW", "SSE"],
  ["ef", "PXOR"],
  ["f1", "PSLLW"],
  ["f2", "PSLLD"],
  ["f3", "PSLLQ"],
  ["f4", "PMULUDQ", "SSE2"],
  ["f5", "PMADDWD"],
  ["f6", "PSADBW", "SSE"],
  ["f8", "PSUBB"],
  ["f9", "PSUBW"],
  ["fa", "PSUBD"],
  ["fb", "PSUBQ", "SSE2"],
  ["fc", "PADDB"],
  ["fd", "PADDW"],
  ["fe", "PADDD"],
];

/** Opcodes of map 0F with PS, PD, SS and SD forms. */
export const FLOATING: readonly (readonly [string, string, string?])[] = [
  ["51", "SQRT", "wo"],
  ["58", "ADD"],
  ["59", "MUL"],
  ["5c", "SUB"],
  ["5d", "MIN"],
  ["5e", "DIV"],
  ["5f", "MAX"],
];

/** Opcodes of map 0F with PS and PD forms. */
export const FLOATING_PACKED: readonly (readonly [string, string])[] = [
  ["14", "UNPCKL"],
  ["15", "UNPCKH"],
  ["54", "AND"],
  ["55", "ANDN"],
  ["56", "OR"],
  ["57", "XOR"],
];

const packedRows: string = PACKED.map(
  ([opcode, name, feature]) => `
@${feature ?? "MMX"}
np 0f ${opcode} ${name} Pq,Qq
@SSE2
66 0f ${opcode} ${name} Vx,Wx`,
).join("\n");

const floatingRows: string = FLOATING.map(
  ([opcode, name, access]) => `
@SSE
np 0f ${opcode} ${name}PS Vx,Wx ${access ?? ""}
f3 0f ${opcode} ${name}SS Vd,Wd
@SSE2
66 0f ${opcode} ${name}PD Vx,Wx ${access ?? ""}
f2 0f ${opcode} ${name}SD Vq,Wq`,
).join("\n");

const floatingPackedRows: string = FLOATING_PACKED.map(
  ([opcode, name]) => `
@SSE
np 0f ${opcode} ${name}PS Vx,Wx
@SSE2
66 0f ${opcode} ${name}PD Vx,Wx`,
).join("\n");

export const SSE_ROWS: string = `
${packedRows}
${floatingRows}
${floatingPackedRows}
@MMX
np 0f 60 PUNPCKLBW Pq,Qd
np 0f 61 PUNPCKLWD Pq,Qd
np 0f 62 PUNPCKLDQ Pq,Qd
np 0f 6e MOVD Pq,Ed wo w0
np 0f 6e MOVQ Pq,Eq wo w1
np 0f 6f MOVQ Pq,Qq wo
np 0f 71 /2 PSRLW Nq,Ib
np 0f 71 /4 PSRAW Nq,Ib
np 0f 71 /6 PSLLW Nq,Ib
np 0f 72 /2 PSRLD Nq,Ib
np 0f 72 /4 PSRAD Nq,Ib
np 0f 72 /6 PSLLD Nq,Ib
np 0f 73 /2 PSRLQ Nq,Ib
np 0f 73 /6 PSLLQ Nq,Ib
np 0f 77 EMMS
np 0f 7e MOVD Ed,Pd wo w0
np 0f 7e MOVQ Eq,Pq wo w1
np 0f 7f MOVQ Qq,Pq wo
@SSE
np 0f 10 MOVUPS Vx,Wx wo unal
f3 0f 10 MOVSS Vx,Md wo
f3 0f 10 MOVSS Vd,Ud
np 0f 11 MOVUPS Wx,Vx wo unal
f3 0f 11 MOVSS Md,Vd wo
f3 0f 11 MOVSS Ud,Vd
np 0f 12 MOVLPS Vq,Mq
np 0f 12 MOVHLPS Vq,Ux
np 0f 13 MOVLPS Mq,Vq wo
np 0f 16 MOVHPS Vx,Mq
np 0f 16 MOVLHPS Vx,Uq
np 0f 17 MOVHPS Mq,Vx wo
np 0f 28 MOVAPS Vx,Wx wo
np 0f 29 MOVAPS Wx,Vx wo
np 0f 2a CVTPI2PS Vq,Qq
f3 0f 2a CVTSI2SS Vd,Ey
np 0f 2b MOVNTPS Mx,Vx wo
np 0f 2c CVTTPS2PI Pq,Wq wo
f3 0f 2c CVTTSS2SI Gy,Wd wo
np 0f 2d CVTPS2PI Pq,Wq wo
f3 0f 2d CVTSS2SI Gy,Wd wo
np 0f 2e UCOMISS Vd,Wd ro
np 0f 2f COMISS Vd,Wd ro
np 0f 50 MOVMSKPS Gd,Ux wo
np 0f 52 RSQRTPS Vx,Wx wo
f3 0f 52 RSQRTSS Vd,Wd
np 0f 53 RCPPS Vx,Wx wo
f3 0f 53 RCPSS Vd,Wd
np 0f 70 PSHUFW Pq,Qq,Ib wo
np 0f c2 CMPPS Vx,Wx,Ib
f3 0f c2 CMPSS Vd,Wd,Ib
np 0f c4 PINSRW Pq,Edw,Ib
np 0f c5 PEXTRW Gd,Nq,Ib wo
np 0f c6 SHUFPS Vx,Wx,Ib
np 0f d7 PMOVMSKB Gd,Nq wo
np 0f e7 MOVNTQ Mq,Pq wo
np 0f f7 MASKMOVQ Pq,Nq ro
@SSE2
66 0f 10 MOVUPD Vx,Wx wo unal
f2 0f 10 MOVSD Vx,Mq wo
f2 0f 10 MOVSD Vq,Uq
66 0f 11 MOVUPD Wx,Vx wo unal
f2 0f 11 MOVSD Mq,Vq wo
f2 0f 11 MOVSD Uq,Vq
66 0f 12 MOVLPD Vq,Mq
66 0f 13 MOVLPD Mq,Vq wo
66 0f 16 MOVHPD Vx,Mq
66 0f 17 MOVHPD Mq,Vx wo
66 0f 28 MOVAPD Vx,Wx wo
66 0f 29 MOVAPD Wx,Vx wo
66 0f 2a CVTPI2PD Vx,Qq wo
f2 0f 2a CVTSI2SD Vq,Ey
66 0f 2b MOVNTPD Mx,Vx wo
66 0f 2c CVTTPD2PI Pq,Wx wo
f2 0f 2c CVTTSD2SI Gy,Wq wo
66 0f 2d CVTPD2PI Pq,Wx wo
f2 0f 2d CVTSD2SI Gy,Wq wo
66 0f 2e UCOMISD Vq,Wq ro
66 0f 2f COMISD Vq,Wq ro
66 0f 50 MOVMSKPD Gd,Ux wo
np 0f 5a CVTPS2PD Vx,Wq wo
66 0f 5a CVTPD2PS Vx,Wx wo
f3 0f 5a CVTSS2SD Vq,Wd
f2 0f 5a CVTSD2SS Vd,Wq
np 0f 5b CVTDQ2PS Vx,Wx wo
66 0f 5b CVTPS2DQ Vx,Wx wo
f3 0f 5b CVTTPS2DQ Vx,Wx wo
66 0f 60 PUNPCKLBW Vx,Wx
66 0f 61 PUNPCKLWD Vx,Wx
66 0f 62 PUNPCKLDQ Vx,Wx
66 0f 6c PUNPCKLQDQ Vx,Wx
66 0f 6d PUNPCKHQDQ Vx,Wx
66 0f 6e MOVD Vx,Ed wo w0
66 0f 6e MOVQ Vx,Eq wo w1
66 0f 6f MOVDQA Vx,Wx wo
f3 0f 6f MOVDQU Vx,Wx wo unal
66 0f 70 PSHUFD Vx,Wx,Ib wo
f3 0f 70 PSHUFHW Vx,Wx,Ib wo
f2 0f 70 PSHUFLW Vx,Wx,Ib wo
66 0f 71 /2 PSRLW Ux,Ib
66 0f 71 /4 PSRAW Ux,Ib
66 0f 71 /6 PSLLW Ux,Ib
66 0f 72 /2 PSRLD Ux,Ib
66 0f 72 /4 PSRAD Ux,Ib
66 0f 72 /6 PSLLD Ux,Ib
66 0f 73 /2 PSRLQ Ux,Ib
66 0f 73 /3 PSRLDQ Ux,Ib
66 0f 73 /6 PSLLQ Ux,Ib
66 0f 73 /7 PSLLDQ Ux,Ib
66 0f 7e MOVD Ed,Vd wo w0
66 0f 7e MOVQ Eq,Vq wo w1
f3 0f 7e MOVQ Vx,Wq wo
66 0f 7f MOVDQA Wx,Vx wo
f3 0f 7f MOVDQU Wx,Vx wo unal
66 0f c2 CMPPD Vx,Wx,Ib
f2 0f c2 CMPSD Vq,Wq,Ib
np 0f c3 MOVNTI My,Gy wo
66 0f c4 PINSRW Vx,Edw,Ib
66 0f c5 PEXTRW Gd,Ux,Ib wo
66 0f c6 SHUFPD Vx,Wx,Ib
66 0f d6 MOVQ Mq,Vq wo
66 0f d6 MOVQ Ux,Vq wo
f3 0f d6 MOVQ2DQ Vx,Nq wo
f2 0f d6 MOVDQ2Q Pq,Uq wo
66 0f d7 PMOVMSKB Gd,Ux wo
66 0f e6 CVTTPD2DQ Vx,Wx wo
f3 0f e6 CVTDQ2PD Vx,Wq wo
f2 0f e6 CVTPD2DQ Vx,Wx wo
66 0f e7 MOVNTDQ Mx,Vx wo
66 0f f7 MASKMOVDQU Vx,Ux ro
@SSE3
f3 0f 12 MOVSLDUP Vx,Wx wo
f2 0f 12 MOVDDUP Vx,Wq wo
f3 0f 16 MOVSHDUP Vx,Wx wo
66 0f 7c HADDPD Vx,Wx
f2 0f 7c HADDPS Vx,Wx
66 0f 7d HSUBPD Vx,Wx
f2 0f 7d HSUBPS Vx,Wx
66 0f d0 ADDSUBPD Vx,Wx
f2 0f d0 ADDSUBPS Vx,Wx
f2 0f f0 LDDQU Vx,Mx wo unal
`;

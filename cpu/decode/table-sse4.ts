// SSSE3, SSE4.1, SSE4.2, AES, PCLMULQDQ and SHA opcodes (maps 0F 38 and 0F 3A). The line format stands in
// table-integer.ts.

/** Opcodes of map 0F 38 with an MMX form (no prefix) and an XMM form (66). */
export const SSSE3: readonly (readonly [string, string, string?])[] = [
  ["00", "PSHUFB"],
  ["01", "PHADDW"],
  ["02", "PHADDD"],
  ["03", "PHADDSW"],
  ["04", "PMADDUBSW"],
  ["05", "PHSUBW"],
  ["06", "PHSUBD"],
  ["07", "PHSUBSW"],
  ["08", "PSIGNB"],
  ["09", "PSIGNW"],
  ["0a", "PSIGND"],
  ["0b", "PMULHRSW"],
  ["1c", "PABSB", "wo"],
  ["1d", "PABSW", "wo"],
  ["1e", "PABSD", "wo"],
];

const ssse3Rows: string = SSSE3.map(
  ([opcode, name, access]) => `
np 0f 38 ${opcode} ${name} Pq,Qq ${access ?? ""}
66 0f 38 ${opcode} ${name} Vx,Wx ${access ?? ""}`,
).join("\n");

export const SSE4_ROWS: string = `
@SSSE3
${ssse3Rows}
np 0f 3a 0f PALIGNR Pq,Qq,Ib
66 0f 3a 0f PALIGNR Vx,Wx,Ib
@SSE41
66 0f 38 10 PBLENDVB Vx,Wx,XMM0
66 0f 38 14 BLENDVPS Vx,Wx,XMM0
66 0f 38 15 BLENDVPD Vx,Wx,XMM0
66 0f 38 17 PTEST Vx,Wx ro
66 0f 38 20 PMOVSXBW Vx,Wq wo
66 0f 38 21 PMOVSXBD Vx,Wd wo
66 0f 38 22 PMOVSXBQ Vx,Ww wo
66 0f 38 23 PMOVSXWD Vx,Wq wo
66 0f 38 24 PMOVSXWQ Vx,Wd wo
66 0f 38 25 PMOVSXDQ Vx,Wq wo
66 0f 38 28 PMULDQ Vx,Wx
66 0f 38 29 PCMPEQQ Vx,Wx
66 0f 38 2a MOVNTDQA Vx,Mx wo
66 0f 38 2b PACKUSDW Vx,Wx
66 0f 38 30 PMOVZXBW Vx,Wq wo
66 0f 38 31 PMOVZXBD Vx,Wd wo
66 0f 38 32 PMOVZXBQ Vx,Ww wo
66 0f 38 33 PMOVZXWD Vx,Wq wo
66 0f 38 34 PMOVZXWQ Vx,Wd wo
66 0f 38 35 PMOVZXDQ Vx,Wq wo
66 0f 38 38 PMINSB Vx,Wx
66 0f 38 39 PMINSD Vx,Wx
66 0f 38 3a PMINUW Vx,Wx
66 0f 38 3b PMINUD Vx,Wx
66 0f 38 3c PMAXSB Vx,Wx
66 0f 38 3d PMAXSD Vx,Wx
66 0f 38 3e PMAXUW Vx,Wx
66 0f 38 3f PMAXUD Vx,Wx
66 0f 38 40 PMULLD Vx,Wx
66 0f 38 41 PHMINPOSUW Vx,Wx wo
66 0f 3a 08 ROUNDPS Vx,Wx,Ib wo
66 0f 3a 09 ROUNDPD Vx,Wx,Ib wo
66 0f 3a 0a ROUNDSS Vd,Wd,Ib
66 0f 3a 0b ROUNDSD Vq,Wq,Ib
66 0f 3a 0c BLENDPS Vx,Wx,Ib
66 0f 3a 0d BLENDPD Vx,Wx,Ib
66 0f 3a 0e PBLENDW Vx,Wx,Ib
66 0f 3a 14 PEXTRB Edb,Vx,Ib wo
66 0f 3a 15 PEXTRW Edw,Vx,Ib wo
66 0f 3a 16 PEXTRD Ed,Vx,Ib wo w0
66 0f 3a 16 PEXTRQ Eq,Vx,Ib wo w1
66 0f 3a 17 EXTRACTPS Ed,Vx,Ib wo
66 0f 3a 20 PINSRB Vx,Edb,Ib
66 0f 3a 21 INSERTPS Vx,Md,Ib
66 0f 3a 21 INSERTPS Vx,Ux,Ib
66 0f 3a 22 PINSRD Vx,Ed,Ib w0
66 0f 3a 22 PINSRQ Vx,Eq,Ib w1
66 0f 3a 40 DPPS Vx,Wx,Ib
66 0f 3a 41 DPPD Vx,Wx,Ib
66 0f 3a 42 MPSADBW Vx,Wx,Ib
@SSE42
66 0f 38 37 PCMPGTQ Vx,Wx
66 0f 3a 60 PCMPESTRM Vx,Wx,Ib ro unal
66 0f 3a 61 PCMPESTRI Vx,Wx,Ib ro unal
66 0f 3a 62 PCMPISTRM Vx,Wx,Ib ro unal
66 0f 3a 63 PCMPISTRI Vx,Wx,Ib ro unal
@AES
66 0f 38 db AESIMC Vx,Wx wo
66 0f 38 dc AESENC Vx,Wx
66 0f 38 dd AESENCLAST Vx,Wx
66 0f 38 de AESDEC Vx,Wx
66 0f 38 df AESDECLAST Vx,Wx
66 0f 3a df AESKEYGENASSIST Vx,Wx,Ib wo
@PCLMULQDQ
66 0f 3a 44 PCLMULQDQ Vx,Wx,Ib
@SHA
np 0f 38 c8 SHA1NEXTE Vx,Wx
np 0f 38 c9 SHA1MSG1 Vx,Wx
np 0f 38 ca SHA1MSG2 Vx,Wx
np 0f 38 cb SHA256RNDS2 Vx,Wx,XMM0
np 0f 38 cc SHA256MSG1 Vx,Wx
np 0f 38 cd SHA256MSG2 Vx,Wx
np 0f 3a cc SHA1RNDS4 Vx,Wx,Ib
`;

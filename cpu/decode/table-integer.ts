// One-byte integer opcodes, and the line format of all opcode tables.
//
// A line is   [prefix] [map] opcode [/digit | =modrm] MNEMONIC [operands] [attributes]   and `@FEATURE` sets the
// CPUID feature of the lines below it (SDM volume 2, appendix A is the model for operand codes).
//
// prefix      np: none of 66 F2 F3;  nx: not F2 F3 (66 is the operand size);  66, f2, f3: that one (F2, F3 win over
//             66);  nothing: any, so 66 is the operand size and F2/F3 are repeat prefixes or have no meaning.
// map         nothing, 0f, 0f 38, 0f 3a. (VEX rows begin with `vex.`: table-vex.ts.)
// opcode      one byte, or a range `50-57` that leaves the low three bits to a Z operand.
// `cc`        at the end of a mnemonic: sixteen rows, one per condition code.
// /digit      ModRM.reg; with m or r behind it (also alone: /m, /r) only memory or only register forms.
// =modrm      the whole ModRM byte.
//
// Operands: a letter for where it stands, and letters for the size.
//   E  r/m: general register or memory        G  reg: general register        Z  general register in opcode
//   M  r/m: memory only                       R  r/m: general register only
//   V  reg: XMM   W  r/m: XMM or memory   U  r/m: XMM only     P  reg: MMX   Q  r/m: MMX or memory   N  r/m: MMX only
//   S  reg: segment register   C  reg: control register   D  reg: debug register   T  r/m: ST(i)
//   I  immediate, zero-extended if b or w, else sign-extended   Is  sign-extended byte   I2  ENTER's level
//   J  relative target   A  far pointer   O  absolute offset   X  string source   Y  string destination
//   AL CL AX DX rAX(v) eAX(z) ES CS SS DS FS GS ST0 XMM0 1   that register or value
//   Sizes: b w d q 1,2,4,8;  t 10;  x 16;  v operand size;  z operand size, at most 4;  y 4, or 8 with REX.W;
//   n 8 in 64-bit mode, else 4;  p far pointer (2 + operand size);  s pseudo-descriptor (6 or 10);  a BOUND's pair;
//   vw dw db  the first for a register, the second for memory;  e x87 environment;  f x87 state;  o 512 bytes;
//   nothing: an address without a fixed size.
//
// Attributes: lock (LOCK allowed), wo/ro (first operand only written / only read; default: both), solo, branch, priv,
// iopl, prot, string, repz, shadow (holds off interrupts for one instruction), d64/f64 (64-bit operand size by
// default / always), no64, only64, w0, w1 (REX.W), unal (16-byte memory operand needs no alignment), nomod (mod ignored).

const ALU = ["ADD", "OR", "ADC", "SBB", "AND", "SUB", "XOR", "CMP"];
const SHIFT = ["ROL", "ROR", "RCL", "RCR", "SHL", "SHR", "SHL", "SAR"];

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}

function aluRows(): string {
  return ALU.map((name, i) => {
    const memory = name === "CMP" ? "ro" : "lock";
    const register = name === "CMP" ? "ro" : "";
    return `
${hex(i * 8)} ${name} Eb,Gb ${memory}
${hex(i * 8 + 1)} ${name} Ev,Gv ${memory}
${hex(i * 8 + 2)} ${name} Gb,Eb ${register}
${hex(i * 8 + 3)} ${name} Gv,Ev ${register}
${hex(i * 8 + 4)} ${name} AL,Ib ${register}
${hex(i * 8 + 5)} ${name} rAX,Iz ${register}
80 /${i} ${name} Eb,Ib ${memory}
81 /${i} ${name} Ev,Iz ${memory}
82 /${i} ${name} Eb,Ib no64 ${memory}
83 /${i} ${name} Ev,Is ${memory}`;
  }).join("\n");
}

function shiftRows(): string {
  return SHIFT.map(
    (name, i) => `
c0 /${i} ${name} Eb,Ib
c1 /${i} ${name} Ev,Ib
d0 /${i} ${name} Eb,1
d1 /${i} ${name} Ev,1
d2 /${i} ${name} Eb,CL
d3 /${i} ${name} Ev,CL`,
  ).join("\n");
}

export const INTEGER_ROWS: string = `
@BASE
${aluRows()}
${shiftRows()}
06 PUSH ES no64 ro
07 POP ES no64 wo
0e PUSH CS no64 ro
16 PUSH SS no64 ro
17 POP SS no64 wo shadow
1e PUSH DS no64 ro
1f POP DS no64 wo
27 DAA no64
2f DAS no64
37 AAA no64
3f AAS no64
40-47 INC Zv no64
48-4f DEC Zv no64
50-57 PUSH Zv d64 ro
58-5f POP Zv d64 wo
60 PUSHA no64
61 POPA no64
62 BOUND Gv,Ma no64 ro
63 ARPL Ew,Gw no64 prot
63 MOVSXD Gv,Ez only64 wo
68 PUSH Iz d64
69 IMUL Gv,Ev,Iz wo
6a PUSH Is d64
6b IMUL Gv,Ev,Is wo
6c INS Yb,DX string solo iopl wo
6d INS Yz,DX string solo iopl wo
6e OUTS DX,Xb string solo iopl ro
6f OUTS DX,Xz string solo iopl ro
70 Jcc Jb f64 branch
84 TEST Eb,Gb ro
85 TEST Ev,Gv ro
86 XCHG Eb,Gb lock
87 XCHG Ev,Gv lock
88 MOV Eb,Gb wo
89 MOV Ev,Gv wo
8a MOV Gb,Eb wo
8b MOV Gv,Ev wo
8c /0 MOV Evw,S wo
8c /1 MOV Evw,S wo
8c /2 MOV Evw,S wo
8c /3 MOV Evw,S wo
8c /4 MOV Evw,S wo
8c /5 MOV Evw,S wo
8d LEA Gv,M wo
8e /0 MOV S,Ew wo
8e /2 MOV S,Ew wo shadow
8e /3 MOV S,Ew wo
8e /4 MOV S,Ew wo
8e /5 MOV S,Ew wo
8f /0 POP Ev d64 wo
90 NOP
f3 90 PAUSE solo
91-97 XCHG Zv,rAX
98 CBW
99 CWD
9a CALLF Ap no64 solo branch
9c PUSHF d64 iopl
9d POPF d64 iopl solo
9e SAHF
9f LAHF
a0 MOV AL,Ob wo
a1 MOV rAX,Ov wo
a2 MOV Ob,AL wo
a3 MOV Ov,rAX wo
a4 MOVS Yb,Xb string wo
a5 MOVS Yv,Xv string wo
a6 CMPS Xb,Yb string repz ro
a7 CMPS Xv,Yv string repz ro
a8 TEST AL,Ib ro
a9 TEST rAX,Iz ro
aa STOS Yb,AL string wo
ab STOS Yv,rAX string wo
ac LODS AL,Xb string wo
ad LODS rAX,Xv string wo
ae SCAS AL,Yb string repz ro
af SCAS rAX,Yv string repz ro
b0-b7 MOV Zb,Ib wo
b8-bf MOV Zv,Iv wo
c2 RET Iw f64 branch
c3 RET f64 branch
c4 LES Gz,Mp no64 wo
c5 LDS Gz,Mp no64 wo
c6 /0 MOV Eb,Ib wo
c7 /0 MOV Ev,Iz wo
c8 ENTER Iw,I2b d64
c9 LEAVE d64
ca RETF Iw solo branch
cb RETF solo branch
cc INT3 branch
cd INT Ib iopl branch
ce INTO no64 branch
cf IRET iopl solo branch
d4 AAM Ib no64
d5 AAD Ib no64
d6 SALC no64
d7 XLAT
e0 LOOPNE Jb f64 branch
e1 LOOPE Jb f64 branch
e2 LOOP Jb f64 branch
e3 JRCXZ Jb f64 branch
e4 IN AL,Ib iopl solo wo
e5 IN eAX,Ib iopl solo wo
e6 OUT Ib,AL iopl solo
e7 OUT Ib,eAX iopl solo
e8 CALL Jz f64 branch
e9 JMP Jz f64 branch
ea JMPF Ap no64 solo branch
eb JMP Jb f64 branch
ec IN AL,DX iopl solo wo
ed IN eAX,DX iopl solo wo
ee OUT DX,AL iopl solo ro
ef OUT DX,eAX iopl solo ro
f1 INT1 branch
f4 HLT priv solo branch
f5 CMC
f6 /0 TEST Eb,Ib ro
f6 /1 TEST Eb,Ib ro
f6 /2 NOT Eb lock
f6 /3 NEG Eb lock
f6 /4 MUL Eb ro
f6 /5 IMUL Eb ro
f6 /6 DIV Eb ro
f6 /7 IDIV Eb ro
f7 /0 TEST Ev,Iz ro
f7 /1 TEST Ev,Iz ro
f7 /2 NOT Ev lock
f7 /3 NEG Ev lock
f7 /4 MUL Ev ro
f7 /5 IMUL Ev ro
f7 /6 DIV Ev ro
f7 /7 IDIV Ev ro
f8 CLC
f9 STC
fa CLI iopl
fb STI iopl solo shadow
fc CLD
fd STD
fe /0 INC Eb lock
fe /1 DEC Eb lock
ff /0 INC Ev lock
ff /1 DEC Ev lock
ff /2 CALL Ev f64 branch ro
ff /3 CALLF Mp solo branch ro
ff /4 JMP Ev f64 branch ro
ff /5 JMPF Mp solo branch ro
ff /6 PUSH Ev d64 ro
`;

// The decoded form of one x86 instruction: what the decoder fills in and what lifter, disassembler and
// timing read. One object is reused for every instruction, so its shape and its field types never change.

/** Operand kinds (`Instruction.kind[i]`). The operand list ends at the first OP_NONE. */
export const OP_NONE = 0;
/** General register `reg[i]`: 0..15 are rAX..r15; with `size[i]` = 1, 20..23 are AH, CH, DH, BH. */
export const OP_GPR = 1;
/** Memory at `seg`:[`base` + (`index` << `scale`) + `disp`]; `size[i]` bytes (0: address only, as LEA or INVLPG). */
export const OP_MEM = 2;
/** Immediate `immLo`:`immHi`, already extended to 64 bits as the instruction defines; also the implied 1 of D0/D1 shifts. */
export const OP_IMM = 3;
/** Second immediate, `imm2`: the nesting level of ENTER. */
export const OP_IMM2 = 4;
/** Relative branch target: signed displacement `immLo`:`immHi` from the end of the instruction. */
export const OP_REL = 5;
/** XMM or YMM register `reg[i]` 0..15; `size[i]` is the part that the instruction uses, 32 for a YMM register. */
export const OP_XMM = 6;
/** MMX register `reg[i]` 0..7. */
export const OP_MMX = 7;
/** x87 stack register ST(`reg[i]`). */
export const OP_ST = 8;
/** Segment register `reg[i]`, SEG_ES..SEG_GS. */
export const OP_SREG = 9;
/** Control register `reg[i]`: 0, 2, 3, 4 or 8. */
export const OP_CR = 10;
/** Debug register `reg[i]` 0..7. */
export const OP_DR = 11;
/** Far pointer in the instruction: selector `imm2`, offset `immLo`; `size[i]` is 4 (16:16) or 6 (16:32). */
export const OP_FAR = 12;
/** Memory at `seg`:[`dispHi`:`disp`], an absolute offset of `addrSize` bytes (MOV A0..A3). */
export const OP_MOFFS = 13;
/** String source, `seg`:[rSI] with an `addrSize`-byte rSI. */
export const OP_STR_SRC = 14;
/** String destination, ES:[rDI] with an `addrSize`-byte rDI; ES cannot be overridden. */
export const OP_STR_DST = 15;

/** Segment registers, in the numbering of ModRM.reg. */
export const SEG_ES = 0;
export const SEG_CS = 1;
export const SEG_SS = 2;
export const SEG_DS = 3;
export const SEG_FS = 4;
export const SEG_GS = 5;

/** `base`, `index`: absent. */
export const REG_NONE = 255;
/** `base`: relative to the end of this instruction (64-bit mode only). */
export const REG_RIP = 16;

export const REG_AX = 0;
export const REG_CX = 1;
export const REG_DX = 2;
export const REG_BX = 3;
export const REG_SP = 4;
export const REG_BP = 5;
export const REG_SI = 6;
export const REG_DI = 7;
/** Byte registers AH, CH, DH, BH: bits 15..8 of register `reg - REG_AH`. */
export const REG_AH = 20;
export const REG_CH = 21;
export const REG_DH = 22;
export const REG_BH = 23;

/** Results of `decode`. */
export const DECODE_OK = 0;
/** Undefined in this mode, or LOCK where it is not allowed: #UD. */
export const DECODE_UD = 1;
/** Longer than 15 bytes: #GP(0). */
export const DECODE_GP = 2;
/** The bytes given end before the instruction does: supply those of the next page. */
export const DECODE_MORE = 3;

/** Row attributes, `ROW_FLAGS[row]`. */
/** A cut lies before and after the instruction (ARCHITECTURE.md, cut points). */
export const ROW_SOLO = 0x1;
/** Ends a block: every control transfer, and what changes the mode. */
export const ROW_BRANCH = 0x2;
/** LOCK is allowed when the first operand is memory. */
export const ROW_LOCKABLE = 0x4;
/** #GP(0) unless CPL is 0; but #UD for CLAC, STAC, MONITOR and MWAIT. */
export const ROW_PRIV = 0x8;
/** A string instruction: REP forms repeat it. */
export const ROW_STRING = 0x10;
/** Operand size is 64 by default in 64-bit mode (66 still gives 16). */
export const ROW_DEFAULT64 = 0x20;
/** Operand size is always 64 in 64-bit mode (66 is ignored). */
export const ROW_FORCE64 = 0x40;
/** Not valid in 64-bit mode (the decoder already refuses it). */
export const ROW_NO64 = 0x80;
/** Valid in 64-bit mode only (the decoder already refuses it elsewhere). */
export const ROW_ONLY64 = 0x100;
/** REPNE (F2) and REPE (F3) end on ZF: CMPS, SCAS. */
export const ROW_REPZ = 0x200;
/** Checks IOPL, always or in virtual-8086 mode: CLI, STI, IN, OUT, INS, OUTS, PUSHF, POPF, INT n, IRET. */
export const ROW_IOPL = 0x400;
/** Has a ModRM byte. */
export const ROW_MODRM = 0x800;
/** #UD in real-address and virtual-8086 mode. */
export const ROW_PROT = 0x1000;
/** Writes the first operand without reading it. */
export const ROW_WRITE0 = 0x2000;
/** Reads and writes the first operand. */
export const ROW_RW0 = 0x4000;
/** Conditional on a condition code: bits 3..0 of the opcode (Jcc, SETcc, CMOVcc). */
export const ROW_COND = 0x8000;
/** An x87 instruction: #NM if CR0.EM or CR0.TS. */
export const ROW_X87 = 0x10000;
/** An MMX instruction: #UD if CR0.EM, #NM if CR0.TS. */
export const ROW_MMX = 0x20000;
/** An SSE instruction (XMM state or MXCSR): #UD if CR0.EM or not CR4.OSFXSR, #NM if CR0.TS. */
export const ROW_SSE = 0x40000;
/** A 16-byte memory operand must be aligned: #GP(0) otherwise. */
export const ROW_ALIGN16 = 0x80000;

/** Interrupts stay blocked until after the next instruction: STI, MOV SS, POP SS. */
export const ROW_SHADOW = 0x100000;
/** The byte form of an opcode: `opSize` is 1. */
export const ROW_BYTE = 0x200000;
/** ModRM.mod is ignored, r/m is always a register (MOV CR, MOV DR). */
export const ROW_NOMOD = 0x400000;
/** A 66, F2 or F3 prefix is part of the opcode (66 is then no operand size). */
export const ROW_MANDATORY66 = 0x800000;
export const ROW_MANDATORY_REP = 0x1000000;
/** Encoded with a VEX prefix: #UD in real-address and virtual-8086 mode. */
export const ROW_VEX = 0x2000000;
/** Touches AVX state: #UD without CR4.OSXSAVE and XCR0[2:1], #NM if CR0.TS. With ROW_ALIGN16 memory must be aligned to its size. */
export const ROW_AVX = 0x4000000;
/** The index of the memory operand is an XMM or YMM register. */
export const ROW_VSIB = 0x8000000;
/** VEX.L: the vectors have 32 bytes. */
export const ROW_L256 = 0x10000000;
/** VEX.vvvv names nothing and must be 1111. */
export const ROW_NO_VVVV = 0x20000000;

/** CPUID features, `ROW_FEATURE[row]`. FEATURE_BASE is present on every x86-64 processor's integer core. */
export const FEATURE_BASE = 0;
export const FEATURE_FPU = 1;
export const FEATURE_MMX = 2;
export const FEATURE_SSE = 3;
export const FEATURE_SSE2 = 4;
export const FEATURE_SSE3 = 5;
export const FEATURE_SSSE3 = 6;
export const FEATURE_SSE41 = 7;
export const FEATURE_SSE42 = 8;
export const FEATURE_POPCNT = 9;
export const FEATURE_LZCNT = 10;
export const FEATURE_BMI1 = 11;
export const FEATURE_MOVBE = 12;
export const FEATURE_CX16 = 13;
export const FEATURE_FXSR = 14;
export const FEATURE_XSAVE = 15;
export const FEATURE_XSAVEOPT = 16;
export const FEATURE_XSAVEC = 17;
export const FEATURE_XSAVES = 18;
export const FEATURE_FSGSBASE = 19;
export const FEATURE_RDTSCP = 20;
export const FEATURE_INVPCID = 21;
export const FEATURE_SMAP = 22;
export const FEATURE_RDRAND = 23;
export const FEATURE_RDSEED = 24;
export const FEATURE_SYSCALL = 25;
export const FEATURE_SEP = 26;
export const FEATURE_CLFSH = 27;
export const FEATURE_CLFLUSHOPT = 28;
export const FEATURE_CLWB = 29;
export const FEATURE_MONITOR = 30;
export const FEATURE_VMX = 31;
export const FEATURE_SVM = 32;
export const FEATURE_AES = 33;
export const FEATURE_PCLMULQDQ = 34;
export const FEATURE_ADX = 35;
export const FEATURE_SHA = 36;
export const FEATURE_PKU = 37;
export const FEATURE_RDPID = 38;
export const FEATURE_CLZERO = 39;
export const FEATURE_SSE4A = 40;
export const FEATURE_SMX = 41;
export const FEATURE_PREFETCHW = 42;
export const FEATURE_AVX = 43;
export const FEATURE_AVX2 = 44;
export const FEATURE_FMA = 45;
export const FEATURE_F16C = 46;
export const FEATURE_BMI2 = 47;

/** At most this many operands. */
export const MAX_OPERANDS = 4;

/** One decoded instruction. Make one, and let `decode` fill it again and again. */
export class Instruction {
  /**
   * Set by who decodes, not by `decode`: 1 for what AMD's processors have otherwise. A 66 prefix makes a near branch in 64-bit mode a
   * 16-bit one (APM volume 3, 1.2.2), which Intel's ignore there (SDM volume 2, JMP); and LOCK MOV CR0 is MOV CR8.
   */
  amd: number = 0;
  /** Index into the opcode table (`ROW_FLAGS`, `ROW_FEATURE`, ...). */
  row: number = 0;
  /** Mnemonic, one of the MN_ constants. */
  mn: number = 0;
  /** Bytes, 1..15. */
  length: number = 0;
  /** Operand size in bytes: 2, 4 or 8; 1 for the byte form of an opcode. */
  opSize: number = 4;
  /** Address size in bytes: 2, 4 or 8. */
  addrSize: number = 8;
  /** Code size it was decoded for: 16, 32 or 64. */
  mode: number = 64;
  /** 1 with a LOCK prefix. */
  lock: number = 0;
  /** Last of F2 and F3 if it is not part of the opcode: repeat, lock elision or nothing, as the row says. */
  rep: number = 0;
  /** REX prefix byte, or 0. */
  rex: number = 0;
  /** Segment of the memory operand, override applied (SEG_ES..SEG_GS). */
  seg: number = SEG_DS;
  /** 1 if `seg` comes from a prefix. */
  segOverride: number = 0;
  /** OP_ constants, one per operand. */
  readonly kind: Uint8Array = new Uint8Array(MAX_OPERANDS);
  readonly reg: Uint8Array = new Uint8Array(MAX_OPERANDS);
  /** Operand sizes in bytes. */
  readonly size: Uint16Array = new Uint16Array(MAX_OPERANDS);
  /** 0..15, REG_RIP or REG_NONE. */
  base: number = REG_NONE;
  /** 0..15 or REG_NONE; a vector register if the row is ROW_VSIB. */
  index: number = REG_NONE;
  /** Shift of the index, 0..3. */
  scale: number = 0;
  /** Sign-extended displacement (int32); low half of an OP_MOFFS. */
  disp: number = 0;
  /** High half of an OP_MOFFS; the sign of `disp` otherwise. */
  dispHi: number = 0;
  /** Immediate or branch displacement, low and high int32. */
  immLo: number = 0;
  immHi: number = 0;
  /** ENTER's nesting level, a far pointer's selector. */
  imm2: number = 0;
  /** Raw ModRM byte (0 if the row has none). */
  modrm: number = 0;
  /** Last opcode byte. */
  opcode: number = 0;
  /** Opcode map: 0 one-byte, 1 0F, 2 0F38, 3 0F3A. */
  map: number = 0;
}

// Bytes -> Instruction. One pass, no allocation: prefixes, opcode through DISPATCH (and GROUPS for ModRM), ModRM with SIB
// and displacement, then the operands of the row (SDM volume 2, chapter 2).

import {
  DECODE_GP,
  DECODE_MORE,
  DECODE_OK,
  DECODE_UD,
  type Instruction,
  OP_CR,
  OP_DR,
  OP_FAR,
  OP_GPR,
  OP_IMM,
  OP_IMM2,
  OP_MEM,
  OP_MMX,
  OP_MOFFS,
  OP_NONE,
  OP_REL,
  OP_SREG,
  OP_ST,
  OP_STR_DST,
  OP_STR_SRC,
  OP_XMM,
  REG_NONE,
  REG_RIP,
  ROW_BYTE,
  ROW_DEFAULT64,
  ROW_FORCE64,
  ROW_LOCKABLE,
  ROW_MANDATORY_REP,
  ROW_MANDATORY66,
  ROW_MODRM,
  ROW_NO_VVVV,
  ROW_NOMOD,
  ROW_VSIB,
  SEG_CS,
  SEG_DS,
  SEG_ES,
  SEG_FS,
  SEG_GS,
  SEG_SS,
} from "./instruction.ts";
import {
  DISPATCH,
  ENC_A,
  ENC_B,
  ENC_C,
  ENC_D,
  ENC_E,
  ENC_FIXED,
  ENC_G,
  ENC_H,
  ENC_I,
  ENC_I2,
  ENC_IS,
  ENC_J,
  ENC_L,
  ENC_MASK,
  ENC_NONE,
  ENC_O,
  ENC_ONE,
  ENC_P,
  ENC_Q,
  ENC_S,
  ENC_SHIFT,
  ENC_T,
  ENC_V,
  ENC_W,
  ENC_X,
  ENC_Y,
  ENC_Z,
  GROUPS,
  ROW_FIXED,
  ROW_FLAGS,
  ROW_MN,
  ROW_OPERANDS,
  SIZE_BYTES,
  SIZE_CLASS,
  VEX_DISPATCH,
  VEX_L,
  VEX_LONG,
} from "./table.ts";

/** The longest instruction (SDM volume 2, 2.3.11). */
const MAX_LENGTH = 15;

// Byte classes of the prefix scan.
const P_NONE = 0;
const P_REX = 1;
const P_66 = 2;
const P_67 = 3;
const P_F2 = 4;
const P_F3 = 5;
const P_LOCK = 6;
/** And above: P_SEG + segment number. */
const P_SEG = 8;

function prefixClasses(long: boolean): Uint8Array {
  const classes = new Uint8Array(256);
  if (long) classes.fill(P_REX, 0x40, 0x50);
  classes[0x66] = P_66;
  classes[0x67] = P_67;
  classes[0xf2] = P_F2;
  classes[0xf3] = P_F3;
  classes[0xf0] = P_LOCK;
  classes[0x26] = P_SEG + SEG_ES;
  classes[0x2e] = P_SEG + SEG_CS;
  classes[0x36] = P_SEG + SEG_SS;
  classes[0x3e] = P_SEG + SEG_DS;
  classes[0x64] = P_SEG + SEG_FS;
  classes[0x65] = P_SEG + SEG_GS;
  return classes;
}

const PREFIXES_LEGACY: Uint8Array = prefixClasses(false);
const PREFIXES_LONG: Uint8Array = prefixClasses(true);

// 16-bit addressing (SDM volume 2, table 2-1), by r/m.
const BASE16: Uint8Array = Uint8Array.of(3, 3, 5, 5, 6, 7, 5, 3);
const INDEX16: Uint8Array = Uint8Array.of(6, 7, 6, 7, REG_NONE, REG_NONE, REG_NONE, REG_NONE);

/** Control registers that exist: 0, 2, 3, 4, 8. */
const CONTROL_REGISTERS = 0x11d;

/** log2 of an operand size of 1, 2, 4 or 8. */
const LOG2: Uint8Array = Uint8Array.of(0, 0, 1, 0, 2, 0, 0, 0, 3);

/** Iw is zero-extended; every other two-byte immediate is sign-extended. */
const SIZE_CLASS_W: number = SIZE_CLASS.get("w")! << 4;

/** The row of 91..97, which 90 with REX.B is too. */
const ROW_XCHG_AX: number = DISPATCH[0x91]!;

/** Opcodes of map 1 with a byte of immediate. */
const IMMEDIATE_1: ReadonlySet<number> = new Set([0x70, 0x71, 0x72, 0x73, 0xa4, 0xac, 0xba, 0xc2, 0xc4, 0xc5, 0xc6]);
/** Groups of map 0 with a byte of immediate; 81 and C7 have four, or two. */
const IMMEDIATE_0: ReadonlySet<number> = new Set([0x80, 0x82, 0x83, 0xc0, 0xc1, 0xc6]);

/** Bytes of immediate that an opcode has although there is no such instruction. */
function undefinedImmediate(map: number, opcode: number, small: number): number {
  if (map === 0 && (opcode === 0x81 || opcode === 0xc7)) return small !== 0 ? 2 : 4;
  const one = map === 0 ? IMMEDIATE_0.has(opcode) : map === 1 ? IMMEDIATE_1.has(opcode) : map === 3;
  return one ? 1 : 0;
}

/** True if an opcode has ModRM, with whatever mandatory prefix. */
function hasModrm(variant: number, map: number, opcode: number): boolean {
  if (map > 1) return true;
  for (let column = 0; column < 4; column++) {
    const row = DISPATCH[(variant << 12) | (map << 10) | (column << 8) | opcode]!;
    if (row < 0 || (ROW_FLAGS[row]! & ROW_MODRM) !== 0) return true;
  }
  return false;
}

/**
 * What an undefined opcode with ModRM at `bytes[p]` is: DECODE_UD, or DECODE_GP where its operands make it longer than 15 bytes, which
 * processors find before they know that it is undefined.
 */
function undefinedOpcode(bytes: Uint8Array, p: number, limit: number, addrSize: number, immediate: number): number {
  if (p >= limit) return DECODE_GP;
  const modrm = bytes[p]!;
  const mod = modrm >> 6;
  let rm = modrm & 7;
  let end = p + 1 + immediate;
  if (mod !== 3) {
    if (addrSize !== 2 && rm === 4) {
      end++;
      if (p + 1 >= limit) return DECODE_GP;
      rm = bytes[p + 1]! & 7;
    }
    const wide = addrSize === 2 ? 2 : 4;
    if (mod === 1) end++;
    else if (mod === 2 || rm === (addrSize === 2 ? 6 : 5)) end += wide;
  }
  return end > limit ? DECODE_GP : DECODE_UD;
}

/**
 * Decodes the instruction at `bytes[at]`, of which bytes up to `end` (exclusive) may be read, for code of size `mode`
 * (16, 32, or 64 in 64-bit mode), into `ins`.
 *
 * @returns DECODE_OK; DECODE_UD and DECODE_GP if the processor would raise #UD or #GP(0); DECODE_MORE if the instruction
 * goes on past `end`. The fields of `ins` are meaningful after DECODE_OK only.
 */
export function decode(ins: Instruction, bytes: Uint8Array, at: number, end: number, mode: 16 | 32 | 64): number {
  const long = mode === 64;
  const classes = long ? PREFIXES_LONG : PREFIXES_LEGACY;
  const limit = end - at > MAX_LENGTH ? at + MAX_LENGTH : end;
  const overrun = end - at >= MAX_LENGTH ? DECODE_GP : DECODE_MORE;
  let p = at;
  let rex = 0;
  let size66 = 0;
  let addr67 = 0;
  let rep = 0;
  let lock = 0;
  let segment = -1;
  let opcode = 0;
  for (;;) {
    if (p >= limit) return overrun;
    opcode = bytes[p++]!;
    const prefix = classes[opcode]!;
    if (prefix === P_NONE) break;
    if (prefix === P_REX) {
      rex = opcode;
      continue;
    }
    rex = 0; // REX counts only directly before the opcode.
    if (prefix === P_66) size66 = 1;
    else if (prefix === P_67) addr67 = 1;
    else if (prefix === P_LOCK) lock = 1;
    else if (prefix === P_F2) rep = 0xf2;
    else if (prefix === P_F3) rep = 0xf3;
    else if (!long || prefix >= P_SEG + SEG_FS) segment = prefix - P_SEG;
  }

  let map = 0;
  /** VEX: the variant, or -1 without it. */
  let vex = -1;
  let vvvv = 0;
  let column = 0;
  /** Found undefined: said once its length is known. */
  let bad = false;
  let row: number;
  if (opcode === 0x0f) {
    if (p >= limit) return overrun;
    opcode = bytes[p++]!;
    map = 1;
    if (opcode === 0x38 || opcode === 0x3a) {
      map = opcode === 0x38 ? 2 : 3;
      if (p >= limit) return overrun;
      opcode = bytes[p++]!;
    }
  } else if ((opcode & 0xfe) === 0xc4) {
    if (p >= limit) return overrun;
    // Outside 64-bit mode LES and LDS, unless ModRM named a register.
    if (long || bytes[p]! >= 0xc0) {
      bad = (rex | size66 | rep | lock) !== 0;
      if (p + (opcode === 0xc4 ? 2 : 1) >= limit) return overrun;
      let fields = bytes[p++]!;
      if (opcode === 0xc4) {
        // Inverted R, X, B: as in a REX prefix.
        rex = long ? ((fields >> 5) ^ 7) | 0x40 : 0;
        map = fields & 31;
        fields = bytes[p++]!;
        rex |= long ? (fields >> 4) & 8 : 0;
      } else {
        rex = long ? ((fields >> 5) & 4) ^ 0x44 : 0;
        map = 1;
        fields &= 0x7f;
      }
      opcode = bytes[p++]!;
      if (map === 0 || map > 3)
        return overrun === DECODE_GP ? undefinedOpcode(bytes, p, limit, long ? 8 >> addr67 : 4, 0) : DECODE_UD;
      vex = (long ? VEX_LONG : 0) | ((fields >> 1) & VEX_L) | (fields >> 7);
      vvvv = ((fields >> 3) & 15) ^ 15;
      column = fields & 3;
    }
  }

  if (vex >= 0) row = VEX_DISPATCH[(vex << 12) | (column << 10) | (map << 8) | opcode]!;
  else {
    column = rep === 0 ? size66 : rep === 0xf3 ? 2 : 3;
    const variant = long ? 1 + ((rex >> 3) & 1) : 0;
    row = DISPATCH[(variant << 12) | (map << 10) | (column << 8) | opcode]!;
  }
  if (row < 0) {
    if (p >= limit) return overrun;
    row = GROUPS[((-1 - row) << 8) | bytes[p]!]!;
  }
  if (row === 0) {
    if (overrun !== DECODE_GP) return DECODE_UD;
    // CALL and JMP far with an immediate.
    if (map === 0 && (opcode === 0x9a || opcode === 0xea))
      return p + (size66 !== 0 && (rex & 8) === 0 ? 4 : 6) > limit ? DECODE_GP : DECODE_UD;
    if (!hasModrm(long ? 1 : 0, map, opcode) && !(map === 0 && opcode === 0x82)) return DECODE_UD;
    const size = long ? 8 >> addr67 : (mode === 16) === (addr67 !== 0) ? 4 : 2;
    const small = (mode === 16) === (size66 !== 0) ? 0 : 1;
    return undefinedOpcode(bytes, p, limit, size, undefinedImmediate(map, opcode, (rex & 8) !== 0 ? 0 : small));
  }
  if (opcode === 0x90 && map === 0 && (rex & 1) !== 0) row = ROW_XCHG_AX; // XCHG r8, rAX; also with F3.
  const flags = ROW_FLAGS[row]!;
  bad ||= (flags & ROW_NO_VVVV) !== 0 && vvvv !== 0;

  // Operand and address size.
  let opSize: number;
  if ((flags & ROW_BYTE) !== 0) opSize = 1;
  else {
    const small = (flags & ROW_MANDATORY66) !== 0 ? 0 : size66;
    if (long) {
      const force64 = (flags & ROW_FORCE64) !== 0 && (small & ins.amd) === 0;
      if ((rex & 8) !== 0 || force64) opSize = 8;
      else if (small !== 0) opSize = 2;
      else opSize = (flags & ROW_DEFAULT64) !== 0 ? 8 : 4;
    } else opSize = (mode === 16) === (small !== 0) ? 4 : 2;
  }
  const addrSize = long ? 8 >> addr67 : (mode === 16) === (addr67 !== 0) ? 4 : 2;

  // ModRM, SIB, displacement.
  let modrm = 0;
  let memory = false;
  let base = REG_NONE;
  let index = REG_NONE;
  let scale = 0;
  let disp = 0;
  let stack = false; // SS is the default segment
  if ((flags & ROW_MODRM) !== 0) {
    if (p >= limit) return overrun;
    modrm = bytes[p++]!;
    const mod = modrm >> 6;
    if (mod !== 3 && (flags & ROW_NOMOD) === 0) {
      memory = true;
      let dispSize = mod === 2 ? (addrSize === 2 ? 2 : 4) : mod;
      let rm = modrm & 7;
      bad ||= (flags & ROW_VSIB) !== 0 && (rm !== 4 || addrSize === 2);
      if (addrSize === 2) {
        if (rm === 6 && mod === 0) dispSize = 2;
        else {
          base = BASE16[rm]!;
          index = INDEX16[rm]!;
          stack = base === 5;
        }
      } else {
        if (rm === 4) {
          if (p >= limit) return overrun;
          const sib = bytes[p++]!;
          rm = sib & 7;
          index = ((sib >> 3) & 7) | ((rex & 2) << 2);
          if (index === 4 && (flags & ROW_VSIB) === 0) index = REG_NONE;
          else scale = sib >> 6;
          if (rm === 5 && mod === 0) dispSize = 4;
          else base = rm | ((rex & 1) << 3);
        } else if (rm === 5 && mod === 0) {
          dispSize = 4;
          if (long) base = REG_RIP;
        } else base = rm | ((rex & 1) << 3);
        stack = base === 4 || base === 5;
      }
      if (dispSize !== 0) {
        if (p + dispSize > limit) return overrun;
        if (dispSize === 1) disp = (bytes[p]! << 24) >> 24;
        else if (dispSize === 2) disp = ((bytes[p]! | (bytes[p + 1]! << 8)) << 16) >> 16;
        else disp = bytes[p]! | (bytes[p + 1]! << 8) | (bytes[p + 2]! << 16) | (bytes[p + 3]! << 24);
        p += dispSize;
      }
    }
  }
  let dispHi = disp >> 31;

  // Operands.
  const kind = ins.kind;
  const reg = ins.reg;
  const size = ins.size;
  const sizeIndex = (long ? 4 : 0) | LOG2[opSize]!;
  let immLo = 0;
  let immHi = 0;
  let imm2 = 0;
  kind[0] = OP_NONE;
  for (let i = 0; i < 4; i++) {
    const code = ROW_OPERANDS[(row << 2) + i]!;
    const encoding = code & ENC_MASK;
    if (encoding === ENC_NONE) {
      kind[i] = OP_NONE;
      break;
    }
    const sizeClass = (code >> ENC_SHIFT) << 4;
    let bytesOf = SIZE_BYTES[sizeClass | sizeIndex]!;
    let operandKind = OP_GPR;
    let register = 0;
    switch (encoding) {
      case ENC_E:
        if (memory) operandKind = OP_MEM;
        else {
          bytesOf = SIZE_BYTES[sizeClass | 8 | sizeIndex]!;
          register = (modrm & 7) | ((rex & 1) << 3);
          if (bytesOf === 1 && rex === 0 && register >= 4) register += 16;
        }
        break;
      case ENC_G:
        register = ((modrm >> 3) & 7) | ((rex & 4) << 1);
        if (bytesOf === 1 && rex === 0 && register >= 4) register += 16;
        break;
      case ENC_Z:
        register = (opcode & 7) | ((rex & 1) << 3);
        if (bytesOf === 1 && rex === 0 && register >= 4) register += 16;
        break;
      case ENC_V:
        operandKind = OP_XMM;
        register = ((modrm >> 3) & 7) | ((rex & 4) << 1);
        break;
      case ENC_W:
        if (memory) operandKind = OP_MEM;
        else {
          operandKind = OP_XMM;
          register = (modrm & 7) | ((rex & 1) << 3);
        }
        break;
      case ENC_P:
        operandKind = OP_MMX;
        register = (modrm >> 3) & 7;
        break;
      case ENC_Q:
        if (memory) operandKind = OP_MEM;
        else {
          operandKind = OP_MMX;
          register = modrm & 7;
        }
        break;
      case ENC_S:
        operandKind = OP_SREG;
        register = (modrm >> 3) & 7;
        break;
      case ENC_C:
        operandKind = OP_CR;
        register = ((modrm >> 3) & 7) | ((rex & 4) << 1);
        // On AMD's processors LOCK makes CR8 of CR0 (APM volume 3, MOV CRn).
        if (lock !== 0 && register === 0 && ins.amd !== 0) {
          register = 8;
          lock = 0;
        }
        if (((CONTROL_REGISTERS >> register) & 1) === 0) return DECODE_UD;
        break;
      case ENC_D:
        operandKind = OP_DR;
        register = ((modrm >> 3) & 7) | ((rex & 4) << 1);
        if (register > 7) return DECODE_UD;
        break;
      case ENC_T:
        operandKind = OP_ST;
        register = modrm & 7;
        break;
      case ENC_FIXED: {
        const fixed = ROW_FIXED[(row << 2) + i]!;
        operandKind = fixed >> 8;
        register = fixed & 255;
        break;
      }
      case ENC_ONE:
        operandKind = OP_IMM;
        immLo = 1;
        break;
      case ENC_I:
      case ENC_J: {
        operandKind = encoding === ENC_J ? OP_REL : OP_IMM;
        // Only MOV r64, imm64 has eight bytes of immediate; a Jz is 2 bytes with a 16-bit operand size.
        if (p + bytesOf > limit) return overrun;
        if (bytesOf === 1) {
          immLo = encoding === ENC_J ? (bytes[p]! << 24) >> 24 : bytes[p]!;
        } else if (bytesOf === 2) {
          immLo = bytes[p]! | (bytes[p + 1]! << 8);
          if (sizeClass !== SIZE_CLASS_W) immLo = (immLo << 16) >> 16;
        } else {
          immLo = bytes[p]! | (bytes[p + 1]! << 8) | (bytes[p + 2]! << 16) | (bytes[p + 3]! << 24);
        }
        immHi = immLo >> 31;
        if (bytesOf === 8) {
          immHi = bytes[p + 4]! | (bytes[p + 5]! << 8) | (bytes[p + 6]! << 16) | (bytes[p + 7]! << 24);
        }
        p += bytesOf;
        break;
      }
      case ENC_H:
        operandKind = OP_XMM;
        register = long ? vvvv : vvvv & 7;
        break;
      case ENC_B:
        register = long ? vvvv : vvvv & 7;
        break;
      case ENC_L:
        operandKind = OP_XMM;
        if (p >= limit) return overrun;
        register = bytes[p++]! >> 4;
        if (!long) register &= 7;
        break;
      case ENC_IS:
        operandKind = OP_IMM;
        if (p >= limit) return overrun;
        immLo = (bytes[p++]! << 24) >> 24;
        immHi = immLo >> 31;
        bytesOf = opSize;
        break;
      case ENC_I2:
        operandKind = OP_IMM2;
        if (p >= limit) return overrun;
        imm2 = bytes[p++]!;
        break;
      case ENC_A:
        operandKind = OP_FAR;
        if (p + bytesOf > limit) return overrun;
        immLo = bytes[p]! | (bytes[p + 1]! << 8);
        if (bytesOf === 6) immLo |= (bytes[p + 2]! << 16) | (bytes[p + 3]! << 24);
        imm2 = bytes[p + bytesOf - 2]! | (bytes[p + bytesOf - 1]! << 8);
        p += bytesOf;
        break;
      case ENC_O:
        operandKind = OP_MOFFS;
        if (p + addrSize > limit) return overrun;
        disp = bytes[p]! | (bytes[p + 1]! << 8);
        if (addrSize >= 4) disp |= (bytes[p + 2]! << 16) | (bytes[p + 3]! << 24);
        dispHi =
          addrSize === 8 ? bytes[p + 4]! | (bytes[p + 5]! << 8) | (bytes[p + 6]! << 16) | (bytes[p + 7]! << 24) : 0;
        p += addrSize;
        break;
      case ENC_X:
        operandKind = OP_STR_SRC;
        break;
      case ENC_Y:
        operandKind = OP_STR_DST;
        break;
      default:
        return DECODE_UD; // not reached: the table compiler makes no other encoding
    }
    kind[i] = operandKind;
    reg[i] = register;
    size[i] = bytesOf;
  }

  // Destination, index and mask of a gather must all differ.
  if ((flags & ROW_VSIB) !== 0 && (reg[0] === index || reg[2] === index || reg[0] === reg[2])) return DECODE_UD;
  if (bad) return DECODE_UD;
  if (lock !== 0 && ((flags & ROW_LOCKABLE) === 0 || kind[0] !== OP_MEM)) return DECODE_UD;

  ins.row = row;
  ins.mn = ROW_MN[row]!;
  ins.length = p - at;
  ins.opSize = opSize;
  ins.addrSize = addrSize;
  ins.mode = mode;
  ins.lock = lock;
  ins.rep = (flags & ROW_MANDATORY_REP) !== 0 ? 0 : rep;
  ins.rex = rex;
  ins.segOverride = segment < 0 ? 0 : 1;
  ins.seg = segment >= 0 ? segment : stack ? SEG_SS : SEG_DS;
  ins.base = base;
  ins.index = index;
  ins.scale = scale;
  ins.disp = disp;
  ins.dispHi = dispHi;
  ins.immLo = immLo;
  ins.immHi = immHi;
  ins.imm2 = imm2;
  ins.modrm = modrm;
  ins.opcode = opcode;
  ins.map = map;
  return DECODE_OK;
}

/**
 * The micro-op set. A micro-op is a 16-byte record in the arena:
 *
 *   0  u16 kind     U_* below; families of four sizes are `U_X + sz`, sz = 0,1,2,3 for 8,16,32,64 bits
 *   2  u8  d        destination (and first source) slot
 *   3  u8  a        source slot, or base register of a memory operand
 *   4  u8  b        second source slot, or index register of a memory operand
 *   5  u8  s        segment-base slot of a memory operand (S_ZERO if flat)
 *   6  u8  off      offset of the instruction's first byte from the block's first byte
 *   7  u8  c        memory operand: bits 0-1 scale, bit 2 C_STACK (address faults are #SS, not #GP), C_FORGIVEN;
 *                   otherwise condition code or a small constant
 *   8  i32 disp     displacement, branch displacement, or low word of a 64-bit immediate
 *  12  i32 imm      immediate (sign-extended to 64 bits), or high word
 *
 * Slots are byte offsets into the slot file (arena.ts SLOTS). 8-bit micro-ops may name AH..BH as slot+1. Writes: 8 and
 * 16 bits merge into the slot, 32 bits zero-extend, 64 bits replace. A memory operand's linear address is
 * `S[a] + (S[b] << scale) + disp + S[s]` modulo 2^64: 16- and 32-bit addressing first computes the address into S_T7
 * with LEA32 / EA16 (adding a segment base with another LEA32 where it is not flat) and then uses a = S_T7.
 *
 * Vector operands d, a, b are vector numbers as in arena.ts: 0..15 XMM, 16..23 temporaries, 24.. the upper halves of both.
 *
 * Order within one instruction: everything that can fault before anything that changes architectural state (slots
 * S_T0..S_T7 and vector temporaries are not architectural). A store may end the block for a restart of its
 * instruction (self-modifying code), so it too precedes any change - or follows a LOADW of the same bytes,
 * which makes it safe.
 *
 * Terminal micro-ops (kind >= U_FIRST_TERMINAL) take two records; the second is
 *   0 u32 link for taken, 4 u32 link for not taken (engine-private, 0 = none), 8 u16 instructions, 10 u16 cycles,
 *   12 u16 bytes of the block, 14 u16 unused.
 *
 * A block record is a 64-byte header { u32 arena address of first byte, u32 MODE, u16 instructions, u16 bytes,
 * u32 address of the offsets table, i32 heat, u32 address of the terminal, i64 stamp, i32 calls left, u32 second page,
 * u32 next, u32 stack, i32 misses left, three words unused }, then the micro-ops, then one byte per instruction: its offset (the offsets table).
 */

export const UOP_BYTES = 16;
export const BLOCK_HEADER_BYTES = 64;
/** Offset in the header of the i32 heat: > 0 entries left until the block is warm, < 0 translated as function -1 - heat, 0 not counted. */
export const BLOCK_HEAT = 16;
/** Offset of the i64 under which the translation that begins with the block last found its pages in the fetch TLB (interpreter/generate.ts `stamp`). */
export const BLOCK_STAMP = 24;
/** Offset of the i32 number of calls by the dispatcher until the translation that begins with the block is made anew, larger. */
export const BLOCK_CALLS = 32;
/** Offset of the u32 arena address of the page that the block's only instruction ends in, if it crosses a page, else 0. */
export const BLOCK_SECOND = 36;
/**
 * Offsets of the low words of RIP and RSP when the translation that begins with the block was left last for another one: the dispatcher's
 * note for the translator.
 */
export const BLOCK_NEXT = 40;
export const BLOCK_STACK = 44;
/** Offset of the i32 number of TLB misses that may leave the translation that begins with the block before it is made anew, to handle them itself. */
export const BLOCK_MISSES = 48;
export const C_SCALE_MASK = 3;
export const C_STACK = 4;
/** Of a U_VLOADA: MXCSR.MM forgives an address that is not aligned. */
export const C_FORGIVEN = 8;

// ---- kinds --------------------------------------------------------------------------------------------------------
let next = 0;
/** Takes `n` consecutive numbers. */
const take = (n: number): number => {
  const at = next;
  next += n;
  return at;
};

/**
 * Integer ALU operations, each in five forms of four sizes, laid out so that
 * kind = U_ALU + op*20 + form*4 + sz. All set all six flags as the manual says (AF cleared by logic operations).
 */
export const U_ALU: number = take(9 * 20);
export const ALU_ADD = 0;
export const ALU_OR = 1;
export const ALU_ADC = 2;
export const ALU_SBB = 3;
export const ALU_AND = 4;
export const ALU_SUB = 5;
export const ALU_XOR = 6;
/** Writes flags only. */
export const ALU_CMP = 7;
/** Writes flags only. */
export const ALU_TEST = 8;
/** d = d op a. */
export const FORM_RR = 0;
/** d = d op imm. */
export const FORM_RI = 1;
/** d = d op [mem]. */
export const FORM_RM = 2;
/** [mem] = [mem] op d. */
export const FORM_MR = 3;
/** [mem] = [mem] op imm. */
export const FORM_MI = 4;
export const alu = (op: number, form: number, sz: number): number => U_ALU + op * 20 + form * 4 + sz;

/** d = a. */
export const U_MOV_RR: number = take(4);
/** d = imm; the 64-bit form takes disp as the low and imm as the high word, the others imm. */
export const U_MOV_RI: number = take(4);
/** d = [mem]. */
export const U_LOAD: number = take(4);
/** d = [mem], with write permission checked (and self-modification handled) first: the load of a read-modify-write. */
export const U_LOADW: number = take(4);
/** [mem] = d. */
export const U_STORE: number = take(4);
/** [mem] = imm. */
export const U_STOREI: number = take(4);
/** Exchange d and a; exchange d and [mem]. */
export const U_XCHG_RR: number = take(4);
export const U_XCHG_RM: number = take(4);
/** Extensions: d = extend(a), then d = extend([mem]). Destination 32 bits (zero-extended to 64) or 64 bits. */
export const U_ZX8_32: number = take(1);
export const U_ZX16_32: number = take(1);
export const U_SX8_32: number = take(1);
export const U_SX16_32: number = take(1);
export const U_SX8_64: number = take(1);
export const U_SX16_64: number = take(1);
export const U_SX32_64: number = take(1);
export const U_LOAD_ZX8_32: number = take(1);
export const U_LOAD_ZX16_32: number = take(1);
export const U_LOAD_SX8_32: number = take(1);
export const U_LOAD_SX16_32: number = take(1);
export const U_LOAD_SX8_64: number = take(1);
export const U_LOAD_SX16_64: number = take(1);
export const U_LOAD_SX32_64: number = take(1);
/** d = S[a] + (S[b] << scale) + disp, no segment base; 64 bits, 32 (zero-extended), 16 (zero-extended to 64). */
export const U_LEA64: number = take(1);
export const U_LEA32: number = take(1);
export const U_EA16: number = take(1);

/** d = op d, register and memory form ([mem] = op [mem]). INC and DEC keep CF; NOT sets no flags. */
export const U_INC: number = take(4);
export const U_DEC: number = take(4);
export const U_NEG: number = take(4);
export const U_NOT: number = take(4);
export const U_INC_M: number = take(4);
export const U_DEC_M: number = take(4);
export const U_NEG_M: number = take(4);
export const U_NOT_M: number = take(4);

/** Shifts of d by imm: already masked to 5 or 6 bits and not zero (the lifter emits nothing for zero). */
export const U_SHL_I: number = take(4);
export const U_SHR_I: number = take(4);
export const U_SAR_I: number = take(4);
export const U_ROL_I: number = take(4);
export const U_ROR_I: number = take(4);
/** The same by CL (masked here to 5 bits, 6 for 64-bit operands; a zero count changes no flag). */
export const U_SHL_C: number = take(4);
export const U_SHR_C: number = take(4);
export const U_SAR_C: number = take(4);
export const U_ROL_C: number = take(4);
export const U_ROR_C: number = take(4);

/** Bit tests of d, bit number S[a] (or imm) modulo the operand size; CF only (other flags kept). sz 1..3. */
export const U_BT_R: number = take(4);
export const U_BTS_R: number = take(4);
export const U_BTR_R: number = take(4);
export const U_BTC_R: number = take(4);
export const U_BT_I: number = take(4);
export const U_BTS_I: number = take(4);
export const U_BTR_I: number = take(4);
export const U_BTC_I: number = take(4);
/** d = op a. BSF/BSR leave d alone if a is zero (32-bit: also its upper half). sz 1..3. */
export const U_BSF: number = take(4);
export const U_BSR: number = take(4);
export const U_TZCNT: number = take(4);
export const U_LZCNT: number = take(4);
export const U_POPCNT: number = take(4);
/** BMI, sz 2 and 3: d = ~a & b; d = a & (a-1), a ^ (a-1), a & -a; d = a without the bits from b[7:0] on. All set flags. */
export const U_ANDN: number = take(4);
export const U_BLSR: number = take(4);
export const U_BLSMSK: number = take(4);
export const U_BLSI: number = take(4);
export const U_BZHI: number = take(4);
/** d = a shifted by b (modulo the size); d = a rotated right by imm (below the size). No flags. sz 2 and 3. */
export const U_SHLX: number = take(4);
export const U_SHRX: number = take(4);
export const U_SARX: number = take(4);
export const U_RORX: number = take(4);
/** a = low half, then d = high half of rDX * b; no flags. sz 2 and 3. */
export const U_MULX: number = take(4);
/** d = byte swap d, 32 and 64 bits. */
export const U_BSWAP32: number = take(1);
export const U_BSWAP64: number = take(1);

/** d = d * a, signed, CF=OF=overflow; sz 1..3. */
export const U_IMUL_RR: number = take(4);
/** d = a * imm. */
export const U_IMUL_RRI: number = take(4);
/** rDX:rAX = rAX * a (AX = AL * a for 8 bits), unsigned and signed. */
export const U_MUL: number = take(4);
export const U_IMUL: number = take(4);
/** rDX:rAX / a; #DE leaves everything unchanged. */
export const U_DIV: number = take(4);
export const U_IDIV: number = take(4);
/** rDX = sign of rAX; sz 1..3 (CWD, CDQ, CQO). */
export const U_CWD: number = take(4);
/** if condition c: d = a (32-bit: the upper half is cleared either way). sz 1..3. */
export const U_CMOV: number = take(4);
/** d (8 bits) = condition c. */
export const U_SETCC: number = take(1);
/** d, a: t = d + a; a = d; d = t; flags of ADD. */
export const U_XADD: number = take(4);
/** compare rAX with d (flags of CMP): equal -> d = a, else rAX = d (and d keeps its value). */
export const U_CMPXCHG: number = take(4);

/** d:a shifted left, a:d right, by imm (1 to the size less one); d takes its part. sz 2 and 3. */
export const U_SHLD_I: number = take(4);
export const U_SHRD_I: number = take(4);
/** compare rDX:rAX with a:d: equal -> ZF, a:d = rCX:rBX, else rDX:rAX = a:d; all 64 bits. #GP(0) unless [mem] is 16-byte aligned. */
export const U_CMPXCHG16: number = take(1);
export const U_ALIGN16: number = take(1);

/** 64-bit stack: push a; push imm; pop into d (POP RSP gives the value read); LEAVE. */
export const U_PUSH64: number = take(1);
export const U_PUSHI64: number = take(1);
export const U_POP64: number = take(1);
export const U_LEAVE64: number = take(1);

export const U_CLC: number = take(1);
export const U_STC: number = take(1);
export const U_CMC: number = take(1);
export const U_NOP: number = take(1);

/** Vectors: d = [mem] 16 bytes; the A forms fault with #GP(0) if not 16-byte aligned. */
export const U_VLOAD: number = take(1);
export const U_VLOADA: number = take(1);
export const U_VSTORE: number = take(1);
export const U_VSTOREA: number = take(1);
/** d = [mem] 8 or 4 bytes, zero-extended to 128 bits; [mem] = low 8 or 4 bytes of d. */
export const U_VLOAD64: number = take(1);
export const U_VLOAD32: number = take(1);
export const U_VSTORE64: number = take(1);
export const U_VSTORE32: number = take(1);
/** d = a (128 bits); d = b in the low 64 bits, a in the rest; d = low 64 bits of a, zero above; d = b in the low 32 bits, a in the rest. */
export const U_VMOV: number = take(1);
export const U_VMOVLO64: number = take(1);
export const U_VMOVZ64: number = take(1);
export const U_VMOVLO32: number = take(1);
/** Between slots and vectors: d(vector) = zero-extended S[a] 32 / 64; S[d] = low 32 (zero-extended) / 64 of vector a. */
export const U_VFROM32: number = take(1);
export const U_VFROM64: number = take(1);
export const U_VTO32: number = take(1);
export const U_VTO64: number = take(1);
/** d = a op b, 128 bits: one kind for each name below, kind = U_V + its place. */
export const V_OPS = [
  "and",
  "andnot",
  "or",
  "xor",
  "addb",
  "addw",
  "addd",
  "addq",
  "subb",
  "subw",
  "subd",
  "subq",
  "addsb",
  "addsw",
  "addusb",
  "addusw",
  "subsb",
  "subsw",
  "subusb",
  "subusw",
  "cmpeqb",
  "cmpeqw",
  "cmpeqd",
  "cmpeqq",
  "cmpgtb",
  "cmpgtw",
  "cmpgtd",
  "cmpgtq",
  "minub",
  "minsw",
  "maxub",
  "maxsw",
  "minsb",
  "minuw",
  "minsd",
  "minud",
  "maxsb",
  "maxuw",
  "maxsd",
  "maxud",
  "avgb",
  "avgw",
  "mullw",
  "mulld",
  "maddwd",
  "mulhw",
  "mulhuw",
  "muldq",
  "muludq",
  "unpacklbw",
  "unpacklwd",
  "unpackldq",
  "unpacklqdq",
  "unpackhbw",
  "unpackhwd",
  "unpackhdq",
  "unpackhqdq",
  "packsswb",
  "packssdw",
  "packuswb",
  "packusdw",
  "shufb",
  "absb",
  "absw",
  "absd",
  "mulhrsw",
  "maddubsw",
  "sadbw",
] as const;
export type VOp = (typeof V_OPS)[number];
export const U_V: number = take(V_OPS.length);
/** Kind of d = a op b. `andnot` is PANDN: ~a & b; `shufb` is PSHUFB of 16 bytes; `abs` is of b. */
export const vop = (name: VOp): number => U_V + V_OPS.indexOf(name);
/** d = a shifted by imm bits, or by the low 64 bits of b: too large a count gives zero or the sign. In this order: PSLLW .. PSRAD. */
export const V_SHIFTS = ["sllw", "slld", "sllq", "srlw", "srld", "srlq", "sraw", "srad"] as const;
export const U_VSHIFT_I: number = take(V_SHIFTS.length);
export const U_VSHIFT_R: number = take(V_SHIFTS.length);
/** d = a shifted by imm bytes (0..16): PSLLDQ, PSRLDQ. */
export const U_VBYTESHL: number = take(1);
export const U_VBYTESHR: number = take(1);
/** PSHUFD: d = shuffle of a by the low 8 bits of imm. */
export const U_VSHUFD: number = take(1);
/** SHUFPS: d = two dwords of a and two of b, by the low 8 bits of imm. */
export const U_VSHUFPS: number = take(1);
/** PSHUFLW and PSHUFHW: d = a with the four low or high words shuffled by the low 8 bits of imm. */
export const U_VSHUFLW: number = take(1);
export const U_VSHUFHW: number = take(1);
/** S[d] = PMOVMSKB a, of 16 bytes and of 32. */
export const U_VMOVMSKB: number = take(1);
export const U_VMOVMSKB256: number = take(1);
/** d = 0 (128 bits); all upper halves of YMM registers = 0 (VZEROUPPER). */
export const U_VZERO: number = take(1);
export const U_VZEROUPPER: number = take(1);
/** d = the first element of a, repeated: 8, 16, 32, 64 bits. */
export const U_VSPLAT: number = take(4);
/** d and its upper half = [mem] 32 bytes; the A forms fault with #GP(0) if not 32-byte aligned. */
export const U_VLOAD256: number = take(1);
export const U_VLOADA256: number = take(1);
export const U_VSTORE256: number = take(1);
export const U_VSTOREA256: number = take(1);

/** d = the low elements of a, each extended to twice its size, with its sign (s) or zeros (z). */
export const V_WIDEN = ["sxbw", "zxbw", "sxwd", "zxwd", "sxdq", "zxdq"] as const;
export type VWiden = (typeof V_WIDEN)[number];
export const U_VWIDEN: number = take(V_WIDEN.length);
export const vwiden = (name: VWiden): number => U_VWIDEN + V_WIDEN.indexOf(name);
/** d = the sign of each element of a in all its bits: 8, 32 and 64 bits. */
export const U_VSIGNS: number = take(4);
/** d = by bits, b where d is set, else a; d = by bytes, b where the bit of imm is set, else a. */
export const U_VSELECT: number = take(1);
export const U_VBLEND: number = take(1);
/** d = a:b shifted right by imm bytes (0..15): PALIGNR. */
export const U_VALIGN: number = take(1);
/** d = a with S[b] as element c; S[d] = element c of a, zero-extended to 64 bits. */
export const U_VINSERT: number = take(4);
export const U_VEXTRACT: number = take(4);
/** S[d] = the signs of a's dwords or qwords, of 16 or 32 bytes: MOVMSKPS, MOVMSKPD. */
export const U_VMSKD: number = take(1);
export const U_VMSKD256: number = take(1);
export const U_VMSKQ: number = take(1);
export const U_VMSKQ256: number = take(1);
/** PTEST of a with b: all flags. */
export const U_VTEST: number = take(1);
export const U_VTEST256: number = take(1);

/**
 * SSE floating point on WebAssembly's floats, where that is exact to the flags: rounding to nearest, all exceptions masked,
 * PE already set, neither DAZ nor FTZ, operands zero or of middling exponent. Elsewhere helper number imm does it, on the same
 * record: d = a op b (SQRT: d = sqrt b); scalar forms take the rest of d from a, Y forms work on 32 bytes. c is the helper's.
 */
export const FP_OPS = [
  "ADDSD",
  "SUBSD",
  "MULSD",
  "DIVSD",
  "SQRTSD",
  "ADDPD",
  "SUBPD",
  "MULPD",
  "DIVPD",
  "ADDSS",
  "SUBSS",
  "MULSS",
  "DIVSS",
  "SQRTSS",
  "ADDPS",
  "SUBPS",
  "MULPS",
  "DIVPS",
  "ADDPDY",
  "SUBPDY",
  "MULPDY",
  "DIVPDY",
  "ADDPSY",
  "SUBPSY",
  "MULPSY",
  "DIVPSY",
] as const;
export const U_FP: number = take(FP_OPS.length);
/** COMISD and UCOMISD of a with b; CVTSI2SD d = S[b], the rest a's (32 and 64 bits); CVTTSD2SI S[d] = b (32 and 64 bits). imm as above. */
export const U_COMISD: number = take(1);
export const U_CVTSI2SD32: number = take(1);
export const U_CVTSI2SD64: number = take(1);
export const U_CVTTSD2SI32: number = take(1);
export const U_CVTTSD2SI64: number = take(1);

/** CVTSI2SS, CVTTSS2SI; with rounding CVTSD2SI and CVTSS2SI; COMISS and UCOMISS; CVTSS2SD and CVTSD2SS: as the above. */
export const U_CVTSI2SS32: number = take(1);
export const U_CVTSI2SS64: number = take(1);
export const U_CVTTSS2SI32: number = take(1);
export const U_CVTTSS2SI64: number = take(1);
export const U_CVTSD2SI32: number = take(1);
export const U_CVTSD2SI64: number = take(1);
export const U_CVTSS2SI32: number = take(1);
export const U_CVTSS2SI64: number = take(1);
export const U_COMISS: number = take(1);
export const U_CVTSS2SD: number = take(1);
export const U_CVTSD2SS: number = take(1);
/** Likewise d = a op b, or f(b), lane by lane (emit/float-lanes.ts). c: predicate of a comparison | 1 16 bytes, 2 32 bytes, 0 scalar << 5. */
export const FLANES_OPS = [
  "compare64",
  "min64",
  "max64",
  "compare32",
  "min32",
  "max32",
  "cvtdq2ps",
  "cvttps2dq",
  "cvtps2dq",
  "sqrtps",
  "sqrtpd",
] as const;
export type FLanesOp = (typeof FLANES_OPS)[number];
export const U_FLANES: number = take(FLANES_OPS.length);
export const flanes = (name: FLanesOp): number => U_FLANES + FLANES_OPS.indexOf(name);
/**
 * VFMADD and its relatives, of doubles and of singles; helper number imm does what is not usual (emit/fma.ts), on the same record. c: order of the
 * operands (cpu/fpu/fma.ts FMA_*) | invert the product << 2, the addends of even lanes << 3, of odd ones << 4 | 1 16 bytes, 2 32 bytes, 0 scalar << 5.
 */
export const U_FMA64: number = take(1);
export const U_FMA32: number = take(1);
/**
 * x87: what emit/x87-*.ts do in WebAssembly; the rest, and what is not usual there, is helper number imm's on the same record (disp is its).
 * Memory operands come in S_T0 and S_T1 and go there, their address is in S_T5. By what c says:
 */
export const X87_OPS = [
  /** Operation (ModRM bits 5..3) | i << 3 | ST(i) is the destination << 6 | pop << 7; operation | format << 3. */
  "arith",
  "arithMemory",
  /** i | pops << 3 | X87_CONDITIONS; format | pops << 3. */
  "compare",
  "compareMemory",
  /** COMI: as compare, to RFLAGS. */
  "compareFlags",
  /** Format; unused; i; 0 FLDZ, 1 FLD1. */
  "load",
  "load80",
  "loadST",
  "loadConstant",
  /** Format | pop << 3 | truncate << 4; unused; i | pop << 3. */
  "store",
  "store80",
  "storeST",
  /** i; 0 FCHS, 1 FABS. */
  "exchange",
  "sign",
  "sqrt",
  "roundToIntegral",
  "loadControl",
  "storeControl",
  "storeStatus",
  /** FNSTSW AX. */
  "statusToAX",
  /** #MF if an unmasked exception is pending. */
  "wait",
] as const;
export type X87Op = (typeof X87_OPS)[number];
export const X87_CONDITIONS = 0x20;
export const U_X87: number = take(X87_OPS.length);
export const x87op = (name: X87Op): number => U_X87 + X87_OPS.indexOf(name);

/** #GP(0) unless CPL is 0. CLI: #GP(0) if CPL is above IOPL. */
export const U_CPL0: number = take(1);
export const U_CLI: number = take(1);
/** d = RFLAGS with VM and RF clear; d = selector of the segment register at SEG + c, zero-extended. */
export const U_RFLAGS: number = take(1);
export const U_SELECTOR: number = take(1);
/** #GP(0) unless CPL is 0; exchanges the base of GS and MSR_KERNEL_GS_BASE. */
export const U_SWAPGS: number = take(1);
/** d = bytes from a bit test's operand to the one of its size, sz 1..3, that holds bit number a (signed, of that size). */
export const U_BIT_OFFSET: number = take(4);

/** Calls helper number imm (uops/helpers.ts) with the address of this micro-op; nonzero leaves the block. */
export const U_HELPER: number = take(1);

// ---- terminals: two records ---------------------------------------------------------------------------------------
export const U_FIRST_TERMINAL: number = next;
/** Straight on: RIP = RIPBASE + bytes of the block. */
export const U_END: number = take(1);
/** 64-bit mode: RIP = RIPBASE + disp (disp counts from the block's first byte). */
export const U_JMP: number = take(1);
/** The same, RIP masked to c bytes (2 or 4): legacy modes. */
export const U_JMP_L: number = take(1);
/** 64-bit mode: condition cc taken -> RIPBASE + disp, else straight on. kind = U_JCC + cc (cc as in opcode 70+cc). */
export const U_JCC: number = take(16);
/** Legacy modes: condition in b, RIP masked to c bytes. */
export const U_JCC_L: number = take(1);
/** If S[a] != 0 (all 64 bits): RIPBASE + disp masked to c bytes (2, 4 or 8), else straight on. JRCXZ, LOOP. */
export const U_JNZ_R: number = take(1);
export const U_JZ_R: number = take(1);
/** RIP = S[a] (in 64-bit mode a non-canonical target is #GP(0) on this instruction). */
export const U_JMP_R: number = take(1);
/** 64-bit mode: push RIPBASE + bytes; RIP = RIPBASE + disp / S[a]. */
export const U_CALL: number = take(1);
export const U_CALL_R: number = take(1);
/** 64-bit mode: pop RIP, then RSP += imm. */
export const U_RET: number = take(1);
/**
 * Calls helper imm, which may change anything (mode, RIP, CPL, TLB). Before the call RIP is stored as RIPBASE + bytes
 * (the next instruction, masked to the code size); afterwards execution goes on at RIP as the helper left it.
 * The helper returns H_OK, H_FAULT (RIP rolls back to this instruction, which does not count as executed),
 * H_EXIT (leave the engine after this instruction) or H_EXIT_AT (leave the engine, RIP rolled back to this
 * instruction, not counted: intercepts).
 */
export const U_HELPER_END: number = take(1);
/** The same for helpers whose usual case the interpreter does in place (interpreter/fast-ends.ts); 64-bit NONROOT code but for STI. */
export const U_SYSCALL_END: number = take(1);
export const U_SYSRET_END: number = take(1);
/** IRETQ: interpreter/fast-events.ts. */
export const U_IRET_END: number = take(1);
export const U_STI_END: number = take(1);
export const U_STAC_END: number = take(1);
export const U_CLAC_END: number = take(1);
/** SYSCALL of 64-bit code that is not NONROOT: a PV guest's is done in place (interpreter/pv-ends.ts). */
export const U_PV_SYSCALL_END: number = take(1);
/** IN and IRETQ of such code likewise (interpreter/pv-ports.ts, pv-iretq.ts). */
export const U_PV_IN_END: number = take(1);
export const U_PV_IRETQ_END: number = take(1);
export const U_KINDS: number = next;

/** What a helper returns. */
export const H_OK = 0;
export const H_FAULT = 1;
export const H_EXIT = 2;
export const H_EXIT_AT = 3;
/** Internal to the memory path: the store hit translated code; restart this instruction alone. */
export const H_RESTART = 4;

// ---- conditions ----------------------------------------------------------------------------------------------------
/** Condition numbers as in opcodes 70..7f: O NO B NB Z NZ BE NBE S NS P NP L NL LE NLE. */
export const CONDITION_NAMES: readonly string[] = [
  "o",
  "no",
  "b",
  "ae",
  "e",
  "ne",
  "be",
  "a",
  "s",
  "ns",
  "p",
  "np",
  "l",
  "ge",
  "le",
  "g",
];

// ---- MODE: the mode part of a block's key ---------------------------------------------------------------------------
/** Code size: 0 = 16, 1 = 32, 2 = 64 bits. */
export const MODE_CODE_MASK = 3;
export const MODE_16 = 0;
export const MODE_32 = 1;
export const MODE_64 = 2;
/** SS.B: ESP is the stack pointer in legacy modes. */
export const MODE_SS32 = 4;
/** CS, DS, ES, SS have base 0 and cover 4 GiB. Always set in 64-bit mode. */
export const MODE_FLAT = 8;
/** CR0.PE. */
export const MODE_PE = 0x10;
/** RFLAGS.VM. */
export const MODE_VM = 0x20;
export const MODE_TS = 0x40;
export const MODE_EM = 0x80;
export const MODE_OSFXSR = 0x100;
export const MODE_OSXSAVE = 0x200;
/** One instruction a block: TF, interrupt shadow, code breakpoints, restarts after self-modification. */
export const MODE_STEP = 0x400;
export const MODE_NONROOT = 0x800;
/** EFER.LMA outside 64-bit code (compatibility mode): SYSENTER/SYSCALL and LAR/far rules differ. */
export const MODE_LMA = 0x1000;
/** CR0.MP (WAIT with TS). */
export const MODE_MP = 0x2000;
/** CR4.OSXSAVE, and XCR0 has SSE and AVX: VEX-encoded vector instructions are there. */
export const MODE_AVX = 0x4000;

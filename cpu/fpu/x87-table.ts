// The x87 instructions by opcode: one operation for every pair of opcode D8..DF and ModRM, and how its memory operand
// travels. FLDENV, FNSTENV, FRSTOR and FNSAVE are in x87-image.ts.

import {
  arithMemory,
  arithST0,
  arithSTi,
  compareFlags,
  compareMemory,
  compareST,
  FADD,
  FDIV,
  FDIVR,
  FMUL,
  FSUB,
  FSUBR,
  fprem,
  fprem1,
  frndint,
  fscale,
  fsqrt,
  ftst,
  fxtract,
  M16_INT,
  M32_INT,
  M32_REAL,
  M64_REAL,
  type MemoryOperand,
} from "./x87-arith.ts";
import { f2xm1, fcos, fpatan, fptan, fsin, fsincos, fyl2x, fyl2xp1 } from "./x87-transcendental.ts";
import type { X87Operation } from "./x87-transfer.ts";
import * as t from "./x87-transfer.ts";

/** Does not check for pending exceptions first (FNINIT, FNCLEX, FNSTCW, FNSTSW and old no-ops). */
export const X87_NO_WAIT = 1;
/** A control instruction: leaves the last instruction's opcode and pointers alone. */
export const X87_CONTROL = 2;
/** Writes its memory operand. */
export const X87_STORE = 4;

export interface X87Entry {
  readonly operation: X87Operation;
  /** X87_* bits. */
  readonly flags: number;
  /** Bytes of the memory operand, 0 for register forms. */
  readonly size: number;
}

/** Register forms by (opcode - D8) << 6 | ModRM & 3F. */
const REGISTER: (X87Entry | undefined)[] = [];
/** Memory forms by (opcode - D8) << 3 | ModRM.reg. */
const MEMORY: (X87Entry | undefined)[] = [];

function register(opcode: number, modrm: number, operation: X87Operation, flags = 0): void {
  REGISTER[((opcode - 0xd8) << 6) | (modrm & 0x3f)] = { operation, flags, size: 0 };
}

/** All eight ST(i) of a row. */
function registers(opcode: number, modrm: number, operation: X87Operation, flags = 0): void {
  for (let i = 0; i < 8; i++) register(opcode, modrm + i, operation, flags);
}

function memory(opcode: number, reg: number, size: number, operation: X87Operation, flags = 0): void {
  MEMORY[((opcode - 0xd8) << 3) | reg] = { operation, flags, size };
}

const OPERATIONS: readonly number[] = [FADD, FMUL, FSUB, FSUBR, FDIV, FDIVR];
const MEMORY_KINDS: readonly (readonly [opcode: number, size: number, operand: MemoryOperand])[] = [
  [0xd8, 4, M32_REAL],
  [0xda, 4, M32_INT],
  [0xdc, 8, M64_REAL],
  [0xde, 2, M16_INT],
];
for (const [opcode, size, operand] of MEMORY_KINDS) {
  for (const operation of OPERATIONS) memory(opcode, operation, size, arithMemory(operation, operand));
  memory(opcode, 2, size, compareMemory(operand, 0));
  memory(opcode, 3, size, compareMemory(operand, 1));
}
for (const operation of OPERATIONS) {
  // DC and DE hold FSUBR where D8 holds FSUB, and so on: their destination is the other operand.
  const modrm = 0xc0 + operation * 8;
  const swapped = operation >= FSUB ? modrm ^ 8 : modrm;
  registers(0xd8, modrm, arithST0(operation));
  registers(0xdc, swapped, arithSTi(operation, false));
  registers(0xde, swapped, arithSTi(operation, true));
}
for (const opcode of [0xd8, 0xdc]) {
  registers(opcode, 0xd0, compareST(true, 0));
  registers(opcode, 0xd8, compareST(true, 1));
}
registers(0xde, 0xd0, compareST(true, 1));
register(0xde, 0xd9, compareST(true, 2));
register(0xda, 0xe9, compareST(false, 2));
registers(0xdd, 0xe0, compareST(false, 0));
registers(0xdd, 0xe8, compareST(false, 1));
registers(0xdb, 0xe8, compareFlags(false, false));
registers(0xdb, 0xf0, compareFlags(true, false));
registers(0xdf, 0xe8, compareFlags(false, true));
registers(0xdf, 0xf0, compareFlags(true, true));
for (let which = 0; which < 4; which++) {
  registers(0xda, 0xc0 + which * 8, t.fcmov(which, false));
  registers(0xdb, 0xc0 + which * 8, t.fcmov(which, true));
}

memory(0xd9, 0, 4, t.fldM32);
memory(0xd9, 2, 4, t.fstM32, X87_STORE);
memory(0xd9, 3, 4, t.fstpM32, X87_STORE);
memory(0xd9, 5, 2, t.fldcw, X87_CONTROL);
memory(0xd9, 7, 2, t.fnstcw, X87_CONTROL | X87_NO_WAIT | X87_STORE);
memory(0xdb, 0, 4, t.fildM32);
memory(0xdb, 1, 4, t.fisttpM32, X87_STORE);
memory(0xdb, 2, 4, t.fistM32, X87_STORE);
memory(0xdb, 3, 4, t.fistpM32, X87_STORE);
memory(0xdb, 5, 10, t.fldM80);
memory(0xdb, 7, 10, t.fstpM80, X87_STORE);
memory(0xdd, 0, 8, t.fldM64);
memory(0xdd, 1, 8, t.fisttpM64, X87_STORE);
memory(0xdd, 2, 8, t.fstM64, X87_STORE);
memory(0xdd, 3, 8, t.fstpM64, X87_STORE);
memory(0xdd, 7, 2, t.fnstsw, X87_CONTROL | X87_NO_WAIT | X87_STORE);
memory(0xdf, 0, 2, t.fildM16);
memory(0xdf, 1, 2, t.fisttpM16, X87_STORE);
memory(0xdf, 2, 2, t.fistM16, X87_STORE);
memory(0xdf, 3, 2, t.fistpM16, X87_STORE);
memory(0xdf, 4, 10, t.fbld);
memory(0xdf, 5, 8, t.fildM64);
memory(0xdf, 6, 10, t.fbstp, X87_STORE);
memory(0xdf, 7, 8, t.fistpM64, X87_STORE);

registers(0xd9, 0xc0, t.fldST);
for (const opcode of [0xd9, 0xdd, 0xdf]) registers(opcode, 0xc8, t.fxch);
registers(0xd9, 0xd8, t.fstpnce);
registers(0xdd, 0xc0, t.ffree);
registers(0xdd, 0xd0, t.fstST);
registers(0xdd, 0xd8, t.fstpST);
registers(0xdf, 0xc0, t.ffreep);
registers(0xdf, 0xd0, t.fstpST);
registers(0xdf, 0xd8, t.fstpST);

register(0xd9, 0xd0, t.fnop);
register(0xd9, 0xe0, t.fchs);
register(0xd9, 0xe1, t.fabs);
register(0xd9, 0xe4, ftst);
register(0xd9, 0xe5, t.fxam);
for (let i = 0; i < 7; i++) register(0xd9, 0xe8 + i, (m) => t.loadConstant(m, i));
register(0xd9, 0xf0, f2xm1);
register(0xd9, 0xf1, fyl2x);
register(0xd9, 0xf2, fptan);
register(0xd9, 0xf3, fpatan);
register(0xd9, 0xf4, fxtract);
register(0xd9, 0xf5, fprem1);
register(0xd9, 0xf6, t.fdecstp);
register(0xd9, 0xf7, t.fincstp);
register(0xd9, 0xf8, fprem);
register(0xd9, 0xf9, fyl2xp1);
register(0xd9, 0xfa, fsqrt);
register(0xd9, 0xfb, fsincos);
register(0xd9, 0xfc, frndint);
register(0xd9, 0xfd, fscale);
register(0xd9, 0xfe, fsin);
register(0xd9, 0xff, fcos);
register(0xdb, 0xe0, t.fnop, X87_CONTROL | X87_NO_WAIT);
register(0xdb, 0xe1, t.fnop, X87_CONTROL | X87_NO_WAIT);
register(0xdb, 0xe2, t.fnclex, X87_CONTROL | X87_NO_WAIT);
register(0xdb, 0xe3, t.fninit, X87_CONTROL | X87_NO_WAIT);
register(0xdb, 0xe4, t.fnop, X87_CONTROL | X87_NO_WAIT);
register(0xdf, 0xe0, t.fnstswAX, X87_CONTROL | X87_NO_WAIT);

/** The operation of `opcode` (D8..DF) with `modrm`, or undefined if there is none. */
export function x87Entry(opcode: number, modrm: number): X87Entry | undefined {
  const row = opcode - 0xd8;
  return modrm >= 0xc0 ? REGISTER[(row << 6) | (modrm & 0x3f)] : MEMORY[(row << 3) | ((modrm >> 3) & 7)];
}

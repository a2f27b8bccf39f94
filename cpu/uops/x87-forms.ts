/** Which x87 instructions have a micro-op of their own (uop.ts X87_OPS), and its c. Opcodes: SDM volume 2, appendix B.17 and A.5. */
import { X87_CONDITIONS, type X87Op } from "./uop.ts";

export interface X87Form {
  readonly op: X87Op;
  readonly c: number;
}

/** Register forms by (opcode - D8) << 6 | ModRM & 3F, memory forms by (opcode - D8) << 3 | ModRM.reg. */
const REGISTER: (X87Form | undefined)[] = [];
const MEMORY: (X87Form | undefined)[] = [];

const register = (opcode: number, modrm: number, op: X87Op, c = 0): void => {
  REGISTER[((opcode - 0xd8) << 6) | (modrm & 0x3f)] = { op, c };
};
/** All eight ST(i) of a row. */
const registers = (opcode: number, modrm: number, op: X87Op, c = 0): void => {
  for (let i = 0; i < 8; i++) register(opcode, modrm + i, op, c | i);
};
const memory = (opcode: number, reg: number, op: X87Op, c = 0): void => {
  MEMORY[((opcode - 0xd8) << 3) | reg] = { op, c };
};

const ONE_POP = 1 << 3;
const TWO_POPS = 2 << 3;
/** Of "store". */
const POP = 1 << 3;
const TRUNCATE = 1 << 4;
const [F32, I32, F64, I16, I64] = [0, 1, 2, 3, 4];

// FADD 0, FMUL 1, FSUB 4, FSUBR 5, FDIV 6, FDIVR 7. Where ST(i) is the destination, D8's FSUB stands for FSUBR and so on.
for (const operation of [0, 1, 4, 5, 6, 7]) {
  const [modrm, swapped] = [0xc0 + operation * 8, operation >= 4 ? operation ^ 1 : operation];
  for (let i = 0; i < 8; i++) {
    register(0xd8, modrm + i, "arith", operation | (i << 3));
    register(0xdc, modrm + i, "arith", swapped | (i << 3) | 0x40);
    register(0xde, modrm + i, "arith", swapped | (i << 3) | 0xc0);
  }
  for (const format of [F32, I32, F64, I16])
    memory(0xd8 + format * 2, operation, "arithMemory", operation | (format << 3));
}
for (const opcode of [0xd8, 0xdc]) {
  registers(opcode, 0xd0, "compare", X87_CONDITIONS);
  registers(opcode, 0xd8, "compare", X87_CONDITIONS | ONE_POP);
}
registers(0xde, 0xd0, "compare", X87_CONDITIONS | ONE_POP);
register(0xde, 0xd9, "compare", X87_CONDITIONS | TWO_POPS | 1);
register(0xda, 0xe9, "compare", X87_CONDITIONS | TWO_POPS | 1);
registers(0xdd, 0xe0, "compare", X87_CONDITIONS);
registers(0xdd, 0xe8, "compare", X87_CONDITIONS | ONE_POP);
for (const modrm of [0xe8, 0xf0]) {
  registers(0xdb, modrm, "compareFlags");
  registers(0xdf, modrm, "compareFlags", ONE_POP);
}
for (const format of [F32, I32, F64, I16])
  for (const [reg, pops] of [
    [2, 0],
    [3, ONE_POP],
  ] as const)
    memory(0xd8 + format * 2, reg, "compareMemory", format | pops);

for (const format of [F32, I32, F64, I16]) {
  const opcode = 0xd9 + format * 2;
  memory(opcode, 0, "load", format);
  if (format !== F32) memory(opcode, 1, "store", (format === F64 ? I64 : format) | POP | TRUNCATE);
  memory(opcode, 2, "store", format);
  memory(opcode, 3, "store", format | POP);
}
memory(0xdf, 5, "load", I64);
memory(0xdf, 7, "store", I64 | POP);
memory(0xdb, 5, "load80");
memory(0xdb, 7, "store80");
memory(0xd9, 5, "loadControl");
memory(0xd9, 7, "storeControl");
memory(0xdd, 7, "storeStatus");

registers(0xd9, 0xc0, "loadST");
for (const opcode of [0xd9, 0xdd, 0xdf]) registers(opcode, 0xc8, "exchange");
registers(0xdd, 0xd0, "storeST");
for (const [opcode, modrm] of [
  [0xdd, 0xd8],
  [0xdf, 0xd0],
  [0xdf, 0xd8],
] as const)
  registers(opcode, modrm, "storeST", POP);
register(0xd9, 0xe0, "sign", 0);
register(0xd9, 0xe1, "sign", 1);
register(0xd9, 0xe8, "loadConstant", 1);
register(0xd9, 0xee, "loadConstant", 0);
register(0xd9, 0xfa, "sqrt");
register(0xd9, 0xfc, "roundToIntegral");
register(0xdf, 0xe0, "statusToAX");

/** The form of `opcode` (D8..DF) with `modrm`, or undefined if it is the helper's alone. */
export function x87Form(opcode: number, modrm: number): X87Form | undefined {
  const row = opcode - 0xd8;
  return modrm >= 0xc0 ? REGISTER[(row << 6) | (modrm & 0x3f)] : MEMORY[(row << 3) | ((modrm >> 3) & 7)];
}

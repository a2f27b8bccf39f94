/**
 * Instructions that change one operand in memory, executed on a value: the memory operand is taken to be a register that the instruction
 * does not use, and the micro-ops of that form are evaluated (cpu/uops, cpu/reference). So the emulator needs no arithmetic of its own.
 */
import { LOOSE_STREAM, MODE } from "../../cpu/arena.ts";
import type { Core } from "../../cpu/core.ts";
import {
  type Instruction,
  OP_GPR,
  OP_IMM,
  OP_MEM,
  OP_NONE,
  REG_AH,
  REG_BP,
  REG_BX,
} from "../../cpu/decode/instruction.ts";
import * as MN from "../../cpu/decode/mnemonics.ts";
import { FLAGS_ARITHMETIC, getFlags, setArithmeticFlags } from "../../cpu/flags.ts";
import { EVALUATE } from "../../cpu/reference/evaluator.ts";
import { State } from "../../cpu/reference/state.ts";
import { BlockBuilder, LIFTERS } from "../../cpu/uops/builder.ts";
import { H_OK, UOP_BYTES } from "../../cpu/uops/uop.ts";
import { RAX } from "./registers.ts";

/** What means the same with a register as with memory. */
const FORMS: ReadonlySet<number> = new Set([
  ...[MN.MN_ADD, MN.MN_OR, MN.MN_ADC, MN.MN_SBB, MN.MN_AND, MN.MN_SUB, MN.MN_XOR, MN.MN_XADD],
  MN.MN_CMPXCHG,
  ...[MN.MN_INC, MN.MN_DEC, MN.MN_NEG, MN.MN_NOT],
  ...[MN.MN_ROL, MN.MN_ROR, MN.MN_RCL, MN.MN_RCR, MN.MN_SHL, MN.MN_SHR, MN.MN_SAR, MN.MN_SHLD, MN.MN_SHRD],
  ...Array.from({ length: 16 }, (_, n) => MN.MN_SETO + n),
]);

/** General registers of the processor in words. */
const WORDS = 32;
const saved: Int32Array = new Int32Array(WORDS);
let savedFlags = 0;

/** The two words of a value. */
interface Pair {
  lo: number;
  hi: number;
}

/** The first operand is in memory, the others are not, and the same exists for a register. */
export function hasRegisterForm(ins: Instruction): boolean {
  if (!FORMS.has(ins.mn) || ins.kind[0] !== OP_MEM) return false;
  for (let n = 1; n < ins.kind.length; n++) {
    const kind = ins.kind[n]!;
    if (kind !== OP_NONE && kind !== OP_GPR && kind !== OP_IMM) return false;
  }
  return true;
}

/** Executes `ins` on `from`. Flags and other registers change as it says; `ins` stays as it is. @param into what it leaves */
export function executeInRegister(core: Core, ins: Instruction, from: Readonly<Pair>, into: Pair): void {
  const { i32, u16 } = core;
  const register = freeRegister(ins);
  const at = RAX + 2 * register;
  const [lo, hi] = [i32[at]!, i32[at + 1]!];
  const { lock } = ins;
  const memory = ins.reg[0]!;
  ins.kind[0] = OP_GPR;
  ins.reg[0] = register;
  ins.lock = 0;
  const end = lift(core, ins);
  ins.kind[0] = OP_MEM;
  ins.reg[0] = memory;
  ins.lock = lock;
  i32[at] = from.lo;
  i32[at + 1] = from.hi;
  const state = new State(core);
  for (let u = LOOSE_STREAM; u < end; u += UOP_BYTES)
    if (EVALUATE[u16[u >>> 1]!]!(state, u) !== H_OK) throw new Error("an instruction on registers alone has faulted");
  into.lo = i32[at]!;
  into.hi = i32[at + 1]!;
  i32[at] = lo;
  i32[at + 1] = hi;
}

function lift(core: Core, ins: Instruction): number {
  const builder = new BlockBuilder(core);
  builder.at = LOOSE_STREAM;
  builder.mode = core.i32[MODE >>> 2]!;
  builder.length = ins.length;
  LIFTERS[ins.mn]!(builder, ins);
  return builder.at;
}

/** One of them is always free: an instruction of FORMS names one register beside its operand in memory, and uses AX or CX by itself. */
const CANDIDATES = [REG_BX, REG_BP] as const;

function freeRegister(ins: Instruction): number {
  return CANDIDATES.find((register) => {
    for (let n = 1; n < ins.kind.length; n++) {
      const used = ins.reg[n]!;
      if (ins.kind[n] === OP_GPR && (used >= REG_AH ? used - REG_AH : used) === register) return false;
    }
    return true;
  })!;
}

/** For an instruction whose result is then refused. */
export function saveRegisters(core: Core): void {
  saved.set(core.i32.subarray(RAX, RAX + WORDS));
  savedFlags = getFlags(core) & FLAGS_ARITHMETIC;
}
export function restoreRegisters(core: Core): void {
  core.i32.set(saved, RAX);
  setArithmeticFlags(core, savedFlags);
}

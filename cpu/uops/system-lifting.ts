/** Guards, operands and the fields of micro-ops: what the lifters of system instructions (lift-system.ts, lift-segment.ts) share. */
import * as A from "../arena.ts";
import { type Core, raise, VEC_UD } from "../core.ts";
import { type Instruction, ROW_PRIV, ROW_PROT, SEG_FS } from "../decode/instruction.ts";
import { ROW_FLAGS } from "../decode/table.ts";
import * as B from "../system/bits.ts";
import { type BlockBuilder, defineLifter, gprSlot, type Lifter, sizeIndex } from "./builder.ts";
import { defineHelper } from "./helpers.ts";
import { isMemory } from "./lift-common.ts";
import * as U from "./uop.ts";

// ---- fields of the micro-op, slots ------------------------------------------------------------------------------------

export const fieldD = (core: Core, u: number): number => core.u8[u + 2]!;
export const fieldA = (core: Core, u: number): number => core.u8[u + 3]!;
export const fieldB = (core: Core, u: number): number => core.u8[u + 4]!;
/** Length of the instruction. */
export const lengthOf = (core: Core, u: number): number => core.u8[u + 7]!;
export const disp = (core: Core, u: number): number => core.i32[(u + 8) >>> 2]!;

export const lo = (core: Core, slot: number): number => core.i32[(A.SLOTS + slot) >>> 2]!;
export const hi = (core: Core, slot: number): number => core.i32[(A.SLOTS + slot + 4) >>> 2]!;
/** High word of an operand that has one in 64-bit mode only. */
export const hi64 = (core: Core, slot: number): number => (B.is64(core) ? hi(core, slot) : 0);
export const cpl = (core: Core): number => core.i32[A.CPL >>> 2]!;

export function setSlot(core: Core, slot: number, low: number, high: number): void {
  core.i32[(A.SLOTS + slot) >>> 2] = low;
  core.i32[(A.SLOTS + slot + 4) >>> 2] = high;
}

// ---- guards ---------------------------------------------------------------------------------------------------------------

export const HELPER_UNDEFINED_SYSTEM: number = defineHelper("undefined system instruction", (core) =>
  raise(core, VEC_UD),
);

/** #UD outside protected mode for rows that say so, then #GP(0) unless CPL is 0 where the row asks for it. */
export function guarded(lifter: Lifter): Lifter {
  return (b, ins) => {
    const flags = ROW_FLAGS[ins.row]!;
    if (flags & ROW_PROT && (!(b.mode & U.MODE_PE) || b.mode & U.MODE_VM)) {
      b.helperEnd(HELPER_UNDEFINED_SYSTEM);
      return;
    }
    if (flags & ROW_PRIV) b.rr(U.U_CPL0, 0, 0);
    lifter(b, ins);
  };
}

export const define = (lifter: Lifter, ...mnemonics: number[]): void => defineLifter(guarded(lifter), ...mnemonics);

/** The fast ends of blocks are for 64-bit code whose events go through its own IDT. */
export const mayBeFast = (b: BlockBuilder): boolean =>
  b.is64 && (b.mode & (U.MODE_NONROOT | U.MODE_STEP)) === U.MODE_NONROOT;

/** 64-bit code that may be a PV guest's. */
export const mayBePv = (b: BlockBuilder): boolean => b.is64 && (b.mode & (U.MODE_NONROOT | U.MODE_STEP)) === 0;

/** An instruction without operands that `run` executes. */
export function simple(
  mnemonic: number,
  name: string,
  run: (core: Core, length: number, opSize: number) => number,
): void {
  const helper = defineHelper(name, (core, u) => run(core, lengthOf(core, u), fieldD(core, u)));
  define((b, ins) => b.helperEnd(helper, ins.opSize, 0, 0, ins.length), mnemonic);
}

/** S_T0 = linear address of the memory operand. */
export function linearAddress(b: BlockBuilder, ins: Instruction): void {
  b.mem(ins, 0, false);
  b.emit(U.U_LEA64, A.S_T0, b.ma, b.mb, A.S_ZERO, b.mc & U.C_SCALE_MASK, b.mdisp, 0);
  if (b.ms !== A.S_ZERO) b.emit(U.U_LEA64, A.S_T0, A.S_T0, b.ms, A.S_ZERO, 0, 0, 0);
  else if (!b.is64) {
    const seg = ins.seg;
    if (seg >= SEG_FS || !(b.mode & U.MODE_FLAT))
      b.emit(U.U_LEA32, A.S_T0, A.S_T0, A.S_SEGBASE + (seg << 3), A.S_ZERO, 0, 0, 0);
  }
}

/** Slot with the 16-bit operand `i`. */
export function source16(b: BlockBuilder, ins: Instruction, i: number): number {
  if (!isMemory(ins, i)) return gprSlot(ins.reg[i]!);
  b.mem(ins, 2, false);
  b.m(U.U_LOAD_ZX16_32, A.S_T0);
  return A.S_T0;
}

/** Stores S_T0: a register of the operand's size, or two bytes of memory. */
export function storeWord(b: BlockBuilder, ins: Instruction): void {
  if (isMemory(ins, 0)) {
    b.mem(ins, 2, true);
    b.m(U.U_STORE + 1, A.S_T0);
  } else b.rr(U.U_MOV_RR + sizeIndex(ins.opSize), gprSlot(ins.reg[0]!), A.S_T0);
}

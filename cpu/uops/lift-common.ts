/** What the lift-*.ts files of the integer instructions share: operand access, and the stack of legacy modes. */
import { S_RSP, S_T0, S_T6, S_T7, S_ZERO } from "../arena.ts";
import { type Instruction, OP_MEM, OP_MOFFS, SEG_SS } from "../decode/instruction.ts";
import { type BlockBuilder, gprSlot, sizeIndex } from "./builder.ts";
import {
  C_SCALE_MASK,
  C_STACK,
  MODE_SS32,
  U_EA16,
  U_LEA32,
  U_LEA64,
  U_LOAD,
  U_LOAD_ZX16_32,
  U_LOADW,
  U_MOV_RI,
  U_MOV_RR,
  U_STORE,
  U_ZX16_32,
} from "./uop.ts";

/** True if operand `i` is in memory. */
export function isMemory(ins: Instruction, i: number): boolean {
  const kind = ins.kind[i]!;
  return kind === OP_MEM || kind === OP_MOFFS;
}

/** Slot of the register operand `i`. */
export function slotOf(ins: Instruction, i: number): number {
  return gprSlot(ins.reg[i]!);
}

/** Slot that holds operand `i`, register or memory: a memory operand is loaded into `temp` first. */
export function source(b: BlockBuilder, ins: Instruction, i: number, temp: number): number {
  if (!isMemory(ins, i)) return slotOf(ins, i);
  const size = ins.size[i]!;
  b.mem(ins, size, false);
  b.m(U_LOAD + sizeIndex(size), temp);
  return temp;
}

/**
 * The read half of a read-modify-write of operand 0: the slot that holds it (S_T0 if it is in memory, write access
 * already checked). `writeBack` with the same arguments is the other half; in between S_T7 must live.
 */
export function readModify(b: BlockBuilder, ins: Instruction): number {
  if (!isMemory(ins, 0)) return slotOf(ins, 0);
  b.mem(ins, ins.size[0]!, true);
  b.m(U_LOADW + sizeIndex(ins.size[0]!), S_T0);
  return S_T0;
}

/**
 * Between `readModify` (or a LOADW) and the store: the operation is about to change these slots, so an address made of
 * them is computed once, into S_T7.
 */
export function freezeAddress(b: BlockBuilder, ...slots: number[]): void {
  if (!slots.includes(b.ma) && !slots.includes(b.mb)) return;
  b.emit(U_LEA64, S_T7, b.ma, b.mb, S_ZERO, b.mc & C_SCALE_MASK, b.mdisp, 0);
  b.ma = S_T7;
  b.mb = S_ZERO;
  b.mc &= C_STACK;
  b.mdisp = 0;
}

export function writeBack(b: BlockBuilder, ins: Instruction): void {
  if (isMemory(ins, 0)) b.m(U_STORE + sizeIndex(ins.size[0]!), S_T0);
}

/** A register operand of 32 bits that is left as it is still loses its upper half (64-bit mode). */
export function keepRegister(b: BlockBuilder, ins: Instruction): void {
  if (b.is64 && ins.size[0] === 4 && !isMemory(ins, 0)) b.rr(U_MOV_RR + 2, slotOf(ins, 0), slotOf(ins, 0));
}

/** d = immediate, sign-extended to 64 bits as far as `size` bytes ask for. */
export function moveImmediate(b: BlockBuilder, size: number, d: number, lo: number, hi: number): void {
  if (size < 8) b.ri(U_MOV_RI + sizeIndex(size), d, lo);
  else if (hi === 0) b.ri(U_MOV_RI + 2, d, lo);
  else b.movImm64(d, lo, hi);
}

/** d = S[a] zero-extended from `size` bytes (2, 4 or 8). */
export function zeroExtend(b: BlockBuilder, size: number, d: number, a: number): void {
  if (size === 2) b.rr(U_ZX16_32, d, a);
  else b.rr(U_MOV_RR + sizeIndex(size), d, a);
}

// ---- address-size arithmetic, which sets no flags -------------------------------------------------------------------

/** S[d] += delta in a register of `size` bytes: 2 keeps the upper bits, 4 clears the upper half. Uses S_T6. */
export function addTo(b: BlockBuilder, size: number, d: number, delta: number): void {
  setSum(b, size, d, d, delta);
}

/** S[d] = S[a] + delta in a register of `size` bytes (2 keeps the upper bits of d). Uses S_T6. */
export function setSum(b: BlockBuilder, size: number, d: number, a: number, delta: number): void {
  if (size === 8) b.emit(U_LEA64, d, a, S_ZERO, S_ZERO, 0, delta, 0);
  else if (size === 4) b.emit(U_LEA32, d, a, S_ZERO, S_ZERO, 0, delta, 0);
  else {
    b.emit(U_EA16, S_T6, a, S_ZERO, S_ZERO, 0, delta, 0);
    b.rr(U_MOV_RR + 1, d, S_T6);
  }
}

// ---- the stack outside the fused 64-bit micro-ops ---------------------------------------------------------------------

/** Bytes of the stack pointer: 8 in 64-bit mode, else by SS.B. */
export function stackSize(b: BlockBuilder): number {
  if (b.is64) return 8;
  return b.mode & MODE_SS32 ? 4 : 2;
}

/** Prepares `size` bytes at SS:[S[base] + disp] as the memory operand. */
export function stackAddress(b: BlockBuilder, base: number, disp: number, size: number, write: boolean): void {
  b.address(base, S_ZERO, 0, disp, SEG_SS, stackSize(b), size, write);
}

/** Pushes S[a] of `size` bytes (2, 4 or 8). */
export function push(b: BlockBuilder, size: number, a: number): void {
  stackAddress(b, S_RSP, -size, size, true);
  b.m(U_STORE + sizeIndex(size), a);
  addTo(b, stackSize(b), S_RSP, -size);
}

/** Checks the stack segment for a push of `size` bytes to come, where its fault goes before another. */
export function checkPush(b: BlockBuilder, size: number): void {
  stackAddress(b, S_RSP, -size, size, true);
}

/** d = the `size` bytes at the top of the stack, zero-extended; rSP stays. */
export function loadTop(b: BlockBuilder, size: number, d: number): void {
  stackAddress(b, S_RSP, 0, size, false);
  if (size === 2) b.m(U_LOAD_ZX16_32, d);
  else b.m(U_LOAD + sizeIndex(size), d);
}

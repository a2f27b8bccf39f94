/** SSE and AVX floating-point arithmetic, comparisons and conversions: one helper each. */
import { FPR, S_T0, SLOTS, XMM, XMM_STRIDE } from "../arena.ts";
import { type Instruction, OP_MEM } from "../decode/instruction.ts";
import { MNEMONIC_NAMES, mnemonic } from "../decode/mnemonics.ts";
import type { SseOperation } from "../fpu/sse-arith.ts";
import { IN_GPR, IN_MMX, IN_XMM, SSE_TABLE, type SseEntry } from "../fpu/sse-table.ts";
import { enterMmx } from "../fpu/x87-transfer.ts";
import { isAmd } from "../system/cpu-model.ts";
import { type BlockBuilder, defineLifter, gprSlot, type Lifter, sizeIndex } from "./builder.ts";
import { defineHelper, HELPER_SLOTS } from "./helpers.ts";
import { DISP } from "./helpers-integer.ts";
import { clearUpper, firstSource, guarded, isLong, lastSource, loadVector, V_T0 } from "./lift-vector.ts";
import { HELPER_WAIT } from "./lift-x87.ts";
import * as U from "./uop.ts";

/**
 * Fields of these helpers: d, a and b are the numbers of the destination, the first and the second source in the register files
 * that the instruction names (for general registers: the slot; IN_T0: an MMX memory operand in S_T0), c the immediate.
 */
const IN_T0 = 255;
/** disp: the x87 registers become MMX registers. */
const TRANSITION = 1;

/** Bits of HELPER_SLOTS: the general registers and S_T0. */
const GENERAL_OR_T0 = 0x1ffff;

function addressOf(place: number, field: number): number {
  if (place === IN_XMM) return XMM + field * XMM_STRIDE;
  if (place === IN_GPR) return SLOTS + field;
  return field === IN_T0 ? SLOTS + S_T0 : FPR + field * 16;
}

function defineSseHelper(name: string, entry: SseEntry, operation: SseOperation): number {
  const { destination, source } = entry;
  return defineHelper(name, (core, u) => {
    const d = core.u8[u + 2] as number;
    const r = operation(
      core,
      addressOf(destination, d),
      addressOf(IN_XMM, core.u8[u + 3] as number),
      addressOf(source, core.u8[u + 4] as number),
      core.u8[u + 7] as number,
    );
    if (core.i32[(u + DISP) >>> 2] === TRANSITION) {
      // Also before #XM.
      enterMmx(core);
      if (r === U.H_OK && destination === IN_MMX) core.u16[(FPR + d * 16 + 8) >>> 1] = 0xffff;
    }
    return r;
  });
}

/** Loads a memory source; returns the field that names the source. */
function sourceField(b: BlockBuilder, ins: Instruction, entry: SseEntry): number {
  const last = lastSource(ins);
  if (ins.kind[last] !== OP_MEM) return entry.source === IN_GPR ? gprSlot(ins.reg[last]!) : ins.reg[last]!;
  if (entry.source === IN_XMM) {
    loadVector(b, ins, last, V_T0);
    return V_T0;
  }
  const size = ins.size[last]!;
  b.mem(ins, size, false);
  b.m(U.U_LOAD + sizeIndex(size), S_T0);
  return entry.source === IN_GPR ? S_T0 : IN_T0;
}

/** Micro-ops that do the usual case in WebAssembly: [32-bit or only form, 64-bit form]. A Y stands behind names for 32-byte vectors. */
const FAST: Readonly<Record<string, readonly [number, number]>> = {
  ...Object.fromEntries(U.FP_OPS.map((name, i) => [name, [U.U_FP + i, U.U_FP + i]])),
  COMISD: [U.U_COMISD, U.U_COMISD],
  UCOMISD: [U.U_COMISD, U.U_COMISD],
  CVTSI2SD: [U.U_CVTSI2SD32, U.U_CVTSI2SD64],
  CVTTSD2SI: [U.U_CVTTSD2SI32, U.U_CVTTSD2SI64],
  COMISS: [U.U_COMISS, U.U_COMISS],
  UCOMISS: [U.U_COMISS, U.U_COMISS],
  CVTSI2SS: [U.U_CVTSI2SS32, U.U_CVTSI2SS64],
  CVTTSS2SI: [U.U_CVTTSS2SI32, U.U_CVTTSS2SI64],
  CVTSD2SI: [U.U_CVTSD2SI32, U.U_CVTSD2SI64],
  CVTSS2SI: [U.U_CVTSS2SI32, U.U_CVTSS2SI64],
  CVTSS2SD: [U.U_CVTSS2SD, U.U_CVTSS2SD],
  CVTSD2SS: [U.U_CVTSD2SS, U.U_CVTSD2SS],
};

/** Those that tell in c how long their vectors are: the micro-op, and the bits of the immediate that count. */
function lanesOf(name: string): { kind: number; imm: number; length: number } | null {
  const unary = U.FLANES_OPS.find((op) => op === name.toLowerCase());
  if (unary !== undefined) return { kind: U.flanes(unary), imm: 0, length: 1 };
  const found = /^(V?CMP|MIN|MAX)([PS])([SD])$/.exec(name);
  if (found === null) return null;
  const [, operation, form, precision] = found as unknown as [string, string, string, string];
  const op = operation.endsWith("CMP") ? "compare" : operation.toLowerCase();
  const kind = U.flanes(`${op}${precision === "D" ? "64" : "32"}` as U.FLanesOp);
  return { kind, imm: operation === "VCMP" ? 31 : operation === "CMP" ? 7 : 0, length: form === "S" ? 0 : 1 };
}

/** The instruction `name` of SSE, or its VEX-encoded form, with the meaning `entry`. */
function lifterOf(name: string, entry: SseEntry): Lifter {
  const narrow = defineSseHelper(name, entry, entry.operation);
  const wide = entry.wide === null ? narrow : defineSseHelper(`${name} (64 bits)`, entry, entry.wide);
  const long = entry.long === null ? narrow : defineSseHelper(`${name} (32 bytes)`, entry, entry.long);
  const usesMmx = entry.source === IN_MMX || entry.destination === IN_MMX;
  const lanes = lanesOf(name);
  const [fastNarrow, fastWide] = FAST[name] ?? [U.U_HELPER, U.U_HELPER];
  const [fastLong] = FAST[`${name}Y`] ?? [U.U_HELPER];
  if (!name.includes("COMIS")) {
    const slots = entry.destination === IN_XMM && entry.source === IN_XMM ? 0 : GENERAL_OR_T0;
    for (const helper of [narrow, wide, long]) HELPER_SLOTS.set(helper, slots);
  }
  return guarded((b, ins) => {
    // From memory CVTPI2PD does not touch the x87 state; on AMD's processors neither does CVTPI2PS, nor do they wait.
    const fromMemory = name.startsWith("CVTPI2") && ins.kind[1] === OP_MEM;
    const free = fromMemory && isAmd(b.core);
    // An x87 exception that waits comes before a fault of the load.
    if (usesMmx && !free) b.helper(HELPER_WAIT);
    const second = sourceField(b, ins, entry);
    const first = entry.destination === IN_XMM && !usesMmx ? firstSource(ins) : 0;
    const d = entry.destination === IN_GPR ? gprSlot(ins.reg[0]!) : ins.reg[0]!;
    const transition = usesMmx && !free && !(fromMemory && name === "CVTPI2PD") ? TRANSITION : 0;
    const emit = (kind: number, helper: number): void =>
      b.emit(kind, d, first, second, 0, ins.immLo & 0xff, transition, helper);
    const general = ins.size[entry.source === IN_GPR ? lastSource(ins) : 0];
    if (lanes !== null) {
      const c = (ins.immLo & lanes.imm) | ((isLong(ins) ? 2 : lanes.length) << 5);
      b.emit(lanes.kind, d, first, second, 0, c, 0, isLong(ins) ? long : narrow);
    } else if (entry.wide !== null && general === 8) emit(fastWide, wide);
    else if (isLong(ins)) emit(fastLong, long);
    else emit(fastNarrow, narrow);
    clearUpper(b, ins);
  });
}

for (const [name, entry] of SSE_TABLE) {
  const number = mnemonic(name);
  defineLifter(lifterOf(name, entry), number);
  const vex = `V${name}`;
  if (MNEMONIC_NAMES.includes(vex) && !SSE_TABLE.has(vex)) defineLifter(lifterOf(name, entry), mnemonic(vex));
}

/** SSE, SSE2, SSE3 and SSE4.1 floating-point arithmetic, comparisons and conversions: one helper each. */
import { FPR, S_T0, SLOTS, XMM, XMM_STRIDE } from "../arena.ts";
import { type Instruction, OP_IMM, OP_MEM } from "../decode/instruction.ts";
import { MNEMONIC_NAMES } from "../decode/mnemonics.ts";
import type { SseOperation } from "../fpu/sse-arith.ts";
import { IN_GPR, IN_MMX, IN_XMM, SSE_TABLE, type SseEntry } from "../fpu/sse-table.ts";
import { enterMmx } from "../fpu/x87-transfer.ts";
import { isAmd } from "../system/cpu-model.ts";
import { type BlockBuilder, defineLifter, gprSlot, sizeIndex } from "./builder.ts";
import { defineHelper, SLOTLESS_HELPERS } from "./helpers.ts";
import { DISP } from "./helpers-integer.ts";
import { guarded, loadVector, V_T0 } from "./lift-vector.ts";
import { HELPER_WAIT } from "./lift-x87.ts";
import {
  FP_OPS,
  H_OK,
  U_COMISD,
  U_CVTSI2SD32,
  U_CVTSI2SD64,
  U_CVTTSD2SI32,
  U_CVTTSD2SI64,
  U_FP,
  U_HELPER,
  U_LOAD,
} from "./uop.ts";

/**
 * Fields of these helpers: d and a are the numbers of the destination and the source in the register files that the
 * instruction names (for general registers: the slot; IN_T0: an MMX memory operand in S_T0), c the immediate.
 */
const IN_T0 = 255;
/** disp: the x87 registers become MMX registers. */
const TRANSITION = 1;

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
      addressOf(source, core.u8[u + 3] as number),
      core.u8[u + 7] as number,
    );
    if (core.i32[(u + DISP) >>> 2] === TRANSITION) {
      // Also before #XM.
      enterMmx(core);
      if (r === H_OK && destination === IN_MMX) core.u16[(FPR + d * 16 + 8) >>> 1] = 0xffff;
    }
    return r;
  });
}

/** Loads a memory source; returns the field that names the source. */
function sourceField(b: BlockBuilder, ins: Instruction, entry: SseEntry): number {
  if (ins.kind[1] !== OP_MEM) return entry.source === IN_GPR ? gprSlot(ins.reg[1]!) : ins.reg[1]!;
  if (entry.source === IN_XMM) {
    loadVector(b, ins, 1, V_T0);
    return V_T0;
  }
  const size = ins.size[1]!;
  b.mem(ins, size, false);
  b.m(U_LOAD + sizeIndex(size), S_T0);
  return entry.source === IN_GPR ? S_T0 : IN_T0;
}

/** Micro-ops that do the usual case in WebAssembly: [32-bit or only form, 64-bit form]. */
const FAST: Readonly<Record<string, readonly [number, number]>> = {
  ...Object.fromEntries(FP_OPS.map((name, i) => [name, [U_FP + i, U_FP + i]])),
  COMISD: [U_COMISD, U_COMISD],
  UCOMISD: [U_COMISD, U_COMISD],
  CVTSI2SD: [U_CVTSI2SD32, U_CVTSI2SD64],
  CVTTSD2SI: [U_CVTTSD2SI32, U_CVTTSD2SI64],
};

for (const [name, entry] of SSE_TABLE) {
  const mnemonic = MNEMONIC_NAMES.indexOf(name);
  if (mnemonic < 0) throw new Error(`the decoder does not know ${name}`);
  const narrow = defineSseHelper(name, entry, entry.operation);
  const wide = entry.wide === null ? narrow : defineSseHelper(`${name} (64 bits)`, entry, entry.wide);
  const usesMmx = entry.source === IN_MMX || entry.destination === IN_MMX;
  const general = entry.source === IN_GPR ? 1 : 0;
  const fast = FAST[name] ?? [U_HELPER, U_HELPER];
  if (entry.destination === IN_XMM && entry.source === IN_XMM && !name.includes("COMIS"))
    for (const helper of [narrow, wide]) SLOTLESS_HELPERS.add(helper);
  defineLifter(
    guarded((b, ins) => {
      // From memory CVTPI2PD does not touch the x87 state; on AMD's processors neither does CVTPI2PS, nor do they wait.
      const fromMemory = name.startsWith("CVTPI2") && ins.kind[1] === OP_MEM;
      const free = fromMemory && isAmd(b.core);
      // An x87 exception that waits comes before a fault of the load.
      if (usesMmx && !free) b.helper(HELPER_WAIT);
      const a = sourceField(b, ins, entry);
      const d = entry.destination === IN_GPR ? gprSlot(ins.reg[0]!) : ins.reg[0]!;
      const transition = usesMmx && !free && !(fromMemory && name === "CVTPI2PD") ? TRANSITION : 0;
      const imm = ins.kind[2] === OP_IMM ? ins.immLo & 0xff : 0;
      const isWide = entry.wide !== null && ins.size[general] === 8;
      b.emit(fast[isWide ? 1 : 0]!, d, a, 0, 0, imm, transition, isWide ? wide : narrow);
    }),
    mnemonic,
  );
}

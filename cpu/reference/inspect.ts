/**
 * A look at cores and memory that changes nothing, for comparing engines: everything that a guest could tell, and
 * everything that decides how the machine goes on, but not what is an engine's own (lazy flag words, temporaries,
 * the running block).
 */
import * as A from "../arena.ts";
import type { Core } from "../core.ts";
import { decode } from "../decode/decoder.ts";
import { format } from "../decode/disasm.ts";
import { DECODE_OK, Instruction } from "../decode/instruction.ts";
import { getFlags } from "../flags.ts";
import { peekLinear } from "../mmu/access.ts";
import { formatUops } from "../uops/format.ts";
import { BLOCK_HEADER_BYTES, MODE_16, MODE_64, MODE_CODE_MASK } from "../uops/uop.ts";

/** Registers and counters by name, as text: hexadecimal, counters decimal. */
export type CoreState = Readonly<Record<string, string>>;

const GPR = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split(" ");
const WORDS: readonly (readonly [string, number])[] = [
  ["cr0", A.CR0],
  ["cr2", A.CR2],
  ["cr3", A.CR3],
  ["cr4", A.CR4],
  ["cr8", A.CR8],
  ["efer", A.EFER],
];
const COUNTERS: readonly (readonly [string, number])[] = [
  ["cpl", A.CPL],
  ["mode", A.MODE],
  ["data TLB misses", A.COUNT_DTLB_MISS],
  ["fetch TLB misses", A.COUNT_FETCH_MISS],
  ["page walks", A.COUNT_WALK],
  ["TLB flushes", A.COUNT_FLUSH],
  ["code writes", A.COUNT_SMC],
  ["interrupts", A.COUNT_INTERRUPTS],
];

/** Parts of the core page that engines may differ in, or that stand in the state by name: from, to (exclusive). */
const APART: readonly (readonly [number, number])[] = [
  [A.SLOTS, A.SLOTS + A.S_ZERO],
  [A.SLOTS + A.S_RIPBASE, A.MODE],
  [A.SLICE_END, A.INSTRET + 8],
  // What generated code leaves there between its parts.
  [A.ACCESS_LIN, A.CC_OWN_Z + 8],
  // The page of the last look-up in the fetch TLB: translated code that goes on to another page makes none.
  [A.FETCH_PAGE, A.FETCH_ARENA + 4],
  [A.BLOCK, A.UOP + 4],
  [A.EVENTS_WAIT, A.EVENTS_WAIT + 4],
  [A.PV_MAY, A.WALK_END],
  [A.BUS_DATA, A.BUS_DATA + 64],
  [A.XMM + A.XMM_T0 * A.XMM_STRIDE, A.XMM + A.YMM_UPPER_BYTES],
  [A.XMM + A.XMM_T0 * A.XMM_STRIDE + A.YMM_UPPER_BYTES, A.INTERRUPTIBILITY],
  [A.COUNT_DTLB_MISS, A.COUNT_INTERRUPTS + 4],
];

/** FNV-1a over the words of `words` that are not zero, with their places. */
function digest(words: Int32Array): string {
  let hash = 0x811c9dc5;
  for (let n = 0; n < words.length; n++) {
    const word = words[n]!;
    if (word !== 0) hash = Math.imul(hash ^ word ^ Math.imul(n, 0x9e3779b1), 0x01000193) ^ (hash >>> 15);
  }
  return (hash >>> 0).toString(16).padStart(8, "0");
}

/** Runs `look` with `core` active, and leaves the core active that was. */
function whileActive<T>(core: Core, look: () => T): T {
  const before = core.shared.active;
  core.activate();
  const result = look();
  before?.activate();
  return result;
}

/** The state of a core at a cut. */
export function coreState(core: Core): CoreState {
  return whileActive(core, () => {
    const { i32, f64, u64, u8 } = core;
    const state: Record<string, string> = {};
    GPR.forEach((name, n) => {
      state[name] = core.slot(n * 8).toString(16);
    });
    state.rip = u64[A.RIP >>> 3]!.toString(16);
    state.rflags = getFlags(core).toString(16);
    for (const [name, at] of WORDS) state[name] = u64[at >>> 3]!.toString(16);
    for (let n = 0; n < 16; n++) {
      const at = (A.XMM + n * A.XMM_STRIDE) >>> 3;
      const upper = at + (A.YMM_UPPER_BYTES >>> 3);
      state[`xmm${n}`] = ((u64[at + 1]! << 64n) | u64[at]!).toString(16);
      state[`ymm${n} upper`] = ((u64[upper + 1]! << 64n) | u64[upper]!).toString(16);
    }
    for (const [name, at] of COUNTERS) state[name] = String(i32[at >>> 2]!);
    state.cycle = String(core.now());
    state.instructions = String(f64[A.INSTRET >>> 3]! + i32[A.INSNS >>> 2]!);
    const rest = u8.slice(A.CORE, A.CORE + A.CORE_BYTES);
    for (const [from, to] of APART) rest.fill(0, from - A.CORE, to - A.CORE);
    state["other registers"] = digest(new Int32Array(rest.buffer));
    return state;
  });
}

/** A digest of all RAM: as much work as reading it once. */
export function memoryState(arena: A.Arena): string {
  return digest(arena.i32.subarray(arena.ram >>> 2, (arena.ram + arena.frames * A.PAGE_SIZE) >>> 2));
}

/** The next `count` instructions at the core's RIP, one a line. */
export function disassembleAhead(core: Core, count: number): string[] {
  return whileActive(core, () => {
    const mode = core.i32[A.MODE >>> 2]! & MODE_CODE_MASK;
    const rip = core.u64[A.RIP >>> 3]!;
    const linear = rip + core.slot(A.S_CSBASE);
    const bytes = peekLinear(core, BigInt.asUintN(mode === MODE_64 ? 64 : 32, linear), count * 15);
    const ins = new Instruction();
    const lines: string[] = [];
    for (let at = 0, n = 0; n < count && at < bytes.length; n++) {
      const where = rip + BigInt(at);
      const status = decode(ins, bytes, at, bytes.length, mode === MODE_64 ? 64 : mode === MODE_16 ? 16 : 32);
      if (status !== DECODE_OK) {
        lines.push(`${where.toString(16)}  (no instruction)`);
        break;
      }
      const hex = [...bytes.subarray(at, at + ins.length)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
      lines.push(`${where.toString(16)}  ${hex.padEnd(30)} ${format(ins, where)}`);
      at += ins.length;
    }
    return lines;
  });
}

/** The micro-ops of the block that the core executed last, one a line. */
export function lastMicroOps(core: Core): string[] {
  return whileActive(core, () => {
    const record = core.u32[A.BLOCK >>> 2]!;
    if (record < A.STREAM || record >= A.STREAM + A.STREAM_BYTES) return [];
    return formatUops(core, record + BLOCK_HEADER_BYTES, core.u32[(record + 12) >>> 2]!);
  });
}

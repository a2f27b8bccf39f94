/** Writes micro-ops of one block into the arena's stream. One builder per machine, reused for every block. */
import { S_RIPBASE, S_SEGBASE, S_T7, S_ZERO } from "../arena.ts";
import type { Core } from "../core.ts";
import {
  type Instruction,
  OP_MEM,
  OP_MOFFS,
  type OP_STR_DST,
  OP_STR_SRC,
  REG_AH,
  REG_DI,
  REG_NONE,
  REG_RIP,
  REG_SI,
  SEG_CS,
  SEG_DS,
  SEG_ES,
  SEG_FS,
  SEG_SS,
} from "../decode/instruction.ts";
import { HELPER_SEGCHECK, SEGCHECK_WRITE } from "../system/segcheck.ts";
import {
  C_STACK,
  MODE_64,
  MODE_CODE_MASK,
  MODE_FLAT,
  MODE_PE,
  MODE_VM,
  U_EA16,
  U_HELPER,
  U_HELPER_END,
  U_LEA32,
  U_MOV_RI,
  UOP_BYTES,
} from "./uop.ts";

/** Micro-ops lift one instruction by calling the builder's emitters. */
export type Lifter = (b: BlockBuilder, ins: Instruction) => void;

/** Slot of general register operand `reg` as the decoder numbers it (20..23: AH..BH). */
export function gprSlot(reg: number): number {
  return reg >= REG_AH ? ((reg - REG_AH) << 3) | 1 : reg << 3;
}

/** 0..3 for 1, 2, 4, 8 bytes. */
export function sizeIndex(bytes: number): number {
  return bytes === 8 ? 3 : bytes >> 1;
}

export class BlockBuilder {
  readonly core: Core;
  private readonly u8: Uint8Array;
  private readonly u16: Uint16Array;
  private readonly i32: Int32Array;
  /** Arena address where the next micro-op goes. */
  at = 0;
  /** MODE_* bits that the block is for. */
  mode = 0;
  /** Offset of the instruction being lifted from the block's first byte, and its length. */
  off = 0;
  length = 0;
  /** Set by every terminal emitter: the block ends here. */
  ended = false;
  /** The memory operand that `mem` prepared. */
  ma = 0;
  mb = 0;
  mc = 0;
  ms = 0;
  mdisp = 0;

  constructor(core: Core) {
    this.core = core;
    this.u8 = core.u8;
    this.u16 = core.u16;
    this.i32 = core.i32;
  }

  get is64(): boolean {
    return (this.mode & MODE_CODE_MASK) === MODE_64;
  }

  /** Offset of the next instruction from the block's first byte: RIPBASE + next is the address of what follows. */
  get next(): number {
    return this.off + this.length;
  }

  emit(kind: number, d: number, a: number, b: number, s: number, c: number, disp: number, imm: number): void {
    const at = this.at;
    this.u16[at >>> 1] = kind;
    this.u8[at + 2] = d;
    this.u8[at + 3] = a;
    this.u8[at + 4] = b;
    this.u8[at + 5] = s;
    this.u8[at + 6] = this.off;
    this.u8[at + 7] = c;
    this.i32[(at + 8) >>> 2] = disp;
    this.i32[(at + 12) >>> 2] = imm;
    this.at = at + UOP_BYTES;
  }

  /** Register form: d op a, with a small constant c (condition code). */
  rr(kind: number, d: number, a: number, c = 0): void {
    this.emit(kind, d, a, S_ZERO, S_ZERO, c, 0, 0);
  }

  /** Vector form: d = a op b. */
  vector(kind: number, d: number, a: number, b: number): void {
    this.emit(kind, d, a, b, S_ZERO, 0, 0, 0);
  }

  /** Vector form with an immediate: d = a op imm. */
  vectorImm(kind: number, d: number, a: number, imm: number): void {
    this.emit(kind, d, a, S_ZERO, S_ZERO, 0, 0, imm);
  }

  /** Immediate form. */
  ri(kind: number, d: number, imm: number): void {
    this.emit(kind, d, S_ZERO, S_ZERO, S_ZERO, 0, 0, imm);
  }

  /** d = 64-bit immediate. */
  movImm64(d: number, lo: number, hi: number): void {
    this.emit(U_MOV_RI + 3, d, S_ZERO, S_ZERO, S_ZERO, 0, lo, hi);
  }

  /**
   * Prepares the memory operand of `ins` (at most one exists) for `m`: emits what 16- and 32-bit addressing and segments
   * that are not flat need. `size` bytes are accessed (0: address only, no segment checks), `write` if stored to.
   * `extra` (int32) is added to the effective address. Uses S_T7 when it emits anything.
   */
  mem(ins: Instruction, size: number, write: boolean, extra = 0): void {
    let operand = 0;
    while (operand < 3 && ins.kind[operand] !== OP_MEM && ins.kind[operand] !== OP_MOFFS) operand++;
    if (ins.kind[operand] === OP_MOFFS) {
      if (ins.addrSize === 8) {
        this.movImm64(S_T7, ins.disp, ins.dispHi);
        this.address(S_T7, S_ZERO, 0, extra, ins.seg, 8, size, write);
      } else this.address(S_ZERO, S_ZERO, 0, ins.disp + extra, ins.seg, ins.addrSize, size, write);
      return;
    }
    const base = ins.base;
    let disp = (ins.disp + extra) | 0;
    let a = S_ZERO;
    if (base === REG_RIP) {
      a = S_RIPBASE;
      disp = (disp + this.next) | 0;
    } else if (base !== REG_NONE) a = base << 3;
    const b = ins.index === REG_NONE ? S_ZERO : ins.index << 3;
    this.address(a, b, ins.scale, disp, ins.seg, ins.addrSize, size, write);
  }

  /** Prepares seg:[S[a] + (S[b] << scale) + disp] as the memory operand; as `mem` but from slots. */
  address(
    a: number,
    b: number,
    scale: number,
    disp: number,
    seg: number,
    addrSize: number,
    size: number,
    write: boolean,
  ): void {
    this.ma = a;
    this.mb = b;
    this.mc = scale | (seg === SEG_SS ? C_STACK : 0);
    this.ms = S_ZERO;
    this.mdisp = disp;
    if (this.is64) {
      if (addrSize === 4) this.toT7(U_LEA32, a, b, scale, disp);
      if (seg >= SEG_FS) this.ms = S_SEGBASE + (seg << 3);
      return;
    }
    this.toT7(addrSize === 2 ? U_EA16 : U_LEA32, a, b, scale, disp);
    // Flat segments need no check, but for stores through CS: code can't be written in protected mode.
    const toCode = seg === SEG_CS && write && (this.mode & (MODE_PE | MODE_VM)) === MODE_PE;
    if (seg < SEG_FS && this.mode & MODE_FLAT && !toCode) return;
    if (size === 0) return;
    this.emit(U_HELPER, seg, S_T7, S_ZERO, S_ZERO, 0, size | (write ? SEGCHECK_WRITE : 0), HELPER_SEGCHECK);
    this.emit(U_LEA32, S_T7, S_T7, S_SEGBASE + (seg << 3), S_ZERO, 0, 0, 0);
    // A mark that a base is in the address: DS has none in flat mode (`overruns` in mmu/access.ts asks).
    if (this.mode & MODE_FLAT) this.ms = S_SEGBASE + (SEG_DS << 3);
  }

  private toT7(kind: number, a: number, b: number, scale: number, disp: number): void {
    this.emit(kind, S_T7, a, b, S_ZERO, scale, disp, 0);
    this.ma = S_T7;
    this.mb = S_ZERO;
    this.mc &= C_STACK;
    this.mdisp = 0;
  }

  /** Prepares the source or destination of a string instruction (operand kind OP_STR_SRC or OP_STR_DST). */
  stringOperand(ins: Instruction, kind: typeof OP_STR_SRC | typeof OP_STR_DST, size: number, write: boolean): void {
    if (kind === OP_STR_SRC) this.address(REG_SI << 3, S_ZERO, 0, 0, ins.seg, ins.addrSize, size, write);
    else this.address(REG_DI << 3, S_ZERO, 0, 0, SEG_ES, ins.addrSize, size, write);
  }

  /** Memory form: d and the operand that `mem` or `address` prepared; `extra` is added to its displacement. */
  m(kind: number, d: number, imm = 0, extra = 0): void {
    this.emit(kind, d, this.ma, this.mb, this.ms, this.mc, (this.mdisp + extra) | 0, imm);
  }

  /** Calls a helper inside the block. The helper reads d, a, b, s, c, disp as it likes. */
  helper(number: number, d = 0, a = 0, b = 0, c = 0, disp = 0): void {
    this.emit(U_HELPER, d, a, b, 0, c, disp, number);
  }

  /** Calls a helper that ends the block and may change anything (solo instructions, far transfers, REP). */
  helperEnd(number: number, d = 0, a = 0, b = 0, c = 0, disp = 0): void {
    this.terminal(U_HELPER_END, d, a, b, c, disp, number);
  }

  /** Emits a terminal micro-op; the second record is filled by `finish` in block.ts. */
  terminal(kind: number, d: number, a: number, b: number, c: number, disp: number, imm: number): void {
    this.emit(kind, d, a, b, 0, c, disp, imm);
    this.emit(0, 0, 0, 0, 0, 0, 0, 0);
    this.ended = true;
  }
}

/** Lifters by mnemonic; filled at module load by the lift-*.ts files. */
export const LIFTERS: (Lifter | undefined)[] = [];

/** Names `lifter` as the meaning of these mnemonics. Throws if one has a meaning already (a mistake in the tables). */
export function defineLifter(lifter: Lifter, ...mnemonics: number[]): void {
  for (const mn of mnemonics) {
    if (LIFTERS[mn] !== undefined) throw new Error(`mnemonic ${mn} is lifted twice`);
    LIFTERS[mn] = lifter;
  }
}

/**
 * The reference: a plain evaluator of micro-ops, slow and readable, that judges the generated engines in lockstep and
 * that teaching mode steps through. It runs blocks as the interpreter does (interpreter/generate.ts): the same look-up,
 * the same accounting, the same test of the deadline at every cut - but it never follows links between blocks.
 * Page walks, devices and helpers are the shared ones; what it evaluates itself are the micro-ops.
 */
import * as A from "../arena.ts";
import { type Core, raise, VEC_GP } from "../core.ts";
import { RUN_MISS } from "../interpreter/generate.ts";
import type { BlockRunner, Engine } from "../run.ts";
import { HELPERS } from "../uops/helpers.ts";
import * as U from "../uops/uop.ts";
import { installArithmetic } from "./arithmetic.ts";
import { installBits } from "./bits.ts";
import { installBmi } from "./bmi.ts";
import { installLanes } from "./lanes.ts";
import { installMove, push } from "./move.ts";
import { type EvaluateTable, low, State, signed } from "./state.ts";
import { installSystem } from "./system.ts";
import { installVector } from "./vector.ts";

function buildTable(): EvaluateTable {
  const table: EvaluateTable = new Array(U.U_FIRST_TERMINAL).fill(undefined);
  installArithmetic(table);
  installBits(table);
  installBmi(table);
  installMove(table);
  installVector(table);
  installLanes(table);
  installSystem(table);
  return table;
}

/** Micro-ops by kind, terminals aside. */
export const EVALUATE: EvaluateTable = buildTable();

/** What a terminal micro-op decides. */
interface Ending {
  /** An H_* code. */
  status: number;
  /** Where execution goes on, if the status is H_OK. */
  rip: bigint;
}

const isCanonical = (address: bigint): boolean => low(64, signed(48, address)) === address;

export class Reference implements BlockRunner {
  private readonly group: Core["shared"];
  private state: State;

  /** @param core any core of the group whose blocks are run; the active one is used */
  constructor(core: Core) {
    this.group = core.shared;
    this.state = new State(core);
  }

  /** As interpreter/generate.ts documents. */
  run(block: number): number {
    const core = this.group.active!;
    if (this.state.core !== core) this.state = new State(core);
    let record = block;
    for (;;) {
      if (record === 0) record = this.lookUp(core);
      if (record < 0) return RUN_MISS;
      const status = this.block(core, record);
      if (status !== U.H_OK) return status;
      if (core.i32[A.REMAINING >>> 2]! <= 0) return U.H_OK;
      record = 0;
    }
  }

  /** The record of the block at RIP, or -1 if its page is not in the fetch TLB or the block not in the table. */
  private lookUp(core: Core): number {
    const { i32, u64 } = core;
    const linear = low(64, u64[A.RIP >>> 3]! + this.state.get(A.S_CSBASE, 3));
    const page = linear & ~0xfffn;
    if (u64[A.FETCH_PAGE >>> 3] !== page) {
      const half = i32[A.CPL >>> 2] === 3 ? A.FETCH_HALF_BYTES : 0;
      const index = Number((linear >> 12n) % BigInt(A.FETCH_ENTRIES));
      const entry = A.FETCH_TLB + half + (index << A.FETCH_ENTRY_SHIFT);
      if (u64[entry >>> 3] !== (page | BigInt(i32[A.TLB_CTX >>> 2]!))) return -1;
      u64[A.FETCH_PAGE >>> 3] = page;
      i32[A.FETCH_ARENA >>> 2] = i32[(entry + 8) >>> 2]!;
    }
    const from = (i32[A.FETCH_ARENA >>> 2]! | Number(linear & 0xfffn)) >>> 0;
    const index = ((from ^ (from >>> 14)) >>> 0) % A.BLOCK_TABLE_ENTRIES;
    const entry = (A.BLOCK_TABLE + (index << A.BLOCK_TABLE_SHIFT)) >>> 2;
    if (i32[entry]! >>> 0 !== from || i32[entry + 1] !== i32[A.MODE >>> 2]) return -1;
    const record = i32[entry + 2]! >>> 0;
    // An instruction that crosses a page: the engine looks at its second page.
    return i32[(record + U.BLOCK_SECOND) >>> 2] === 0 ? record : -1;
  }

  /** Executes the block `record`. RIP is at its first instruction, and afterwards, if the result is H_OK, at the next block. */
  private block(core: Core, record: number): number {
    const { i32, u16, u64 } = core;
    i32[A.BLOCK >>> 2] = record;
    u64[(A.SLOTS + A.S_RIPBASE) >>> 3] = u64[A.RIP >>> 3]!;
    let u = record + U.BLOCK_HEADER_BYTES;
    for (; u16[u >>> 1]! < U.U_FIRST_TERMINAL; u += U.UOP_BYTES) {
      const status = EVALUATE[u16[u >>> 1]!]!(this.state, u);
      if (status !== U.H_OK) {
        i32[A.UOP >>> 2] = u;
        return status;
      }
    }
    if (u16[u >>> 1]! >= U.U_HELPER_END) return this.helperEnd(core, u);
    const { status, rip } = this.terminal(u);
    if (status !== U.H_OK) {
      i32[A.UOP >>> 2] = u;
      return status;
    }
    u64[A.RIP >>> 3] = rip;
    this.account(core, u);
    return U.H_OK;
  }

  /** Counts the block's instructions and cycles, from the second record of its terminal. */
  private account(core: Core, u: number): void {
    core.i32[A.INSNS >>> 2]! += core.u16[(u + 24) >>> 1]!;
    core.i32[A.REMAINING >>> 2]! -= core.u16[(u + 26) >>> 1]!;
  }

  private helperEnd(core: Core, u: number): number {
    const { i32, u64 } = core;
    u64[A.RIP >>> 3] = this.straightOn(u, this.codeBytes(u));
    i32[A.UOP >>> 2] = u;
    const status = HELPERS[Number(this.state.imm(u))]!(core, u);
    if (status === U.H_OK || status === U.H_EXIT) this.account(core, u);
    return status;
  }

  private ripBase(): bigint {
    return this.state.get(A.S_RIPBASE, 3);
  }

  /** Bytes of RIP in the block's mode: 2, 4, or 0 for all. */
  private codeBytes(u: number): number {
    return this.state.core.u16[(u + 30) >>> 1]!;
  }

  /** RIP after the block, cut to `bytes` (2, 4; 0 and 8: all 64 bits). */
  private straightOn(u: number, bytes: number): bigint {
    return cut(bytes, this.ripBase() + BigInt(this.state.core.u16[(u + 28) >>> 1]!));
  }

  private relative(u: number, bytes: number): bigint {
    return cut(bytes, this.ripBase() + this.state.disp(u));
  }

  private branch(u: number, taken: boolean, bytes: number): Ending {
    return { status: U.H_OK, rip: taken ? this.relative(u, bytes) : this.straightOn(u, bytes) };
  }

  private terminal(u: number): Ending {
    const m = this.state;
    const kind = m.core.u16[u >>> 1]!;
    if (kind >= U.U_JCC && kind < U.U_JCC + 16) return this.branch(u, m.condition(kind - U.U_JCC), 8);
    switch (kind) {
      case U.U_END:
        return this.branch(u, false, this.codeBytes(u));
      case U.U_JMP:
        return this.branch(u, true, 8);
      case U.U_JMP_L:
        return this.branch(u, true, m.c(u));
      case U.U_JCC_L:
        return this.branch(u, m.condition(m.b(u)), m.c(u));
      case U.U_JNZ_R:
        return this.branch(u, m.get(m.a(u), 3) !== 0n, m.c(u));
      case U.U_JZ_R:
        return this.branch(u, m.get(m.a(u), 3) === 0n, m.c(u));
      case U.U_JMP_R:
        return this.indirect(m.get(m.a(u), 3));
      case U.U_CALL:
        return { status: push(m, u, this.straightOn(u, 8)), rip: this.relative(u, 8) };
      case U.U_CALL_R: {
        const target = this.indirect(m.get(m.a(u), 3));
        if (target.status === U.H_OK) target.status = push(m, u, this.straightOn(u, 8));
        return target;
      }
      case U.U_RET: {
        const top = m.get(A.S_RSP, 3);
        const status = m.load(u, top, 8);
        if (status !== U.H_OK) return { status, rip: 0n };
        const target = this.indirect(m.loaded);
        if (target.status === U.H_OK) m.set(A.S_RSP, 3, top + 8n + m.imm(u));
        return target;
      }
      default:
        throw new Error(`micro-op kind ${kind} ends no block`);
    }
  }

  /** A jump to an absolute address. */
  private indirect(rip: bigint): Ending {
    return { status: isCanonical(rip) ? U.H_OK : raise(this.state.core, VEC_GP), rip };
  }
}

function cut(bytes: number, rip: bigint): bigint {
  return low(bytes === 2 ? 16 : bytes === 4 ? 32 : 64, rip);
}

/** For the constructor of Engine: blocks are run by the reference evaluator. */
export function makeReference(_engine: Engine | null, core: Core): BlockRunner {
  return new Reference(core);
}

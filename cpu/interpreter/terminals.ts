/** The terminal micro-ops of the interpreter: accounting, the test of the deadline, and where to go on. */

import * as A from "../arena.ts";
import { VEC_GP } from "../core.ts";
import { type Assembler, type Label, MEM, OP } from "../emit/assembler.ts";
import { condition, conditionByNumber, push } from "../emit/emit-move.ts";
import { type Emitter, IMPORT_HELPER, IMPORTS } from "../emit/emitter.ts";
import { notCanonical } from "../emit/words.ts";
import * as U from "../uops/uop.ts";
import { BLOCK, CTX, I, type InterpreterEmitter, IRET, LIN, LINK, PC, RIPL, ST, T, TLB, Y } from "./emitter.ts";
import { fastAc, fastSti, fastSyscall, fastSysret } from "./fast-ends.ts";

/** Indices of the module's own functions behind `run`. */
export const CHAIN: number = IMPORTS.length + 1;
export const PV_SYSCALL: number = IMPORTS.length + 2;
export const PV_IN: number = IMPORTS.length + 3;
export const PV_IRETQ: number = IMPORTS.length + 4;

/** Reloads the locals that a helper may have changed. */
export function reload(w: Assembler): void {
  w.i32(0);
  w.mem(MEM.i32_load, A.TLB_BASE);
  w.set(TLB);
  w.i32(0);
  w.mem(MEM.i64_load32_u, A.TLB_CTX);
  w.set(CTX);
}

/** Adds the terminal's second record to the counters: instructions to INSNS, cycles from REMAINING. */
function account(w: Assembler): void {
  w.i32(0);
  w.i32(0);
  w.mem(MEM.i32_load, A.INSNS);
  w.get(PC);
  w.mem(MEM.i32_load16_u, 16 + 8);
  w.op(OP.i32_add);
  w.mem(MEM.i32_store, A.INSNS);
  w.i32(0);
  w.i32(0);
  w.mem(MEM.i32_load, A.REMAINING);
  w.get(PC);
  w.mem(MEM.i32_load16_u, 16 + 10);
  w.op(OP.i32_sub);
  w.tee(I);
  w.mem(MEM.i32_store, A.REMAINING);
}

/** Ends the slice if REMAINING (local I) is used up: RIP is stored and the function returns 0. */
function testDeadline(w: Assembler): void {
  w.get(I);
  w.i32(0);
  w.op(OP.i32_le_s);
  w.unlikely();
  w.if();
  storeRip(w);
  w.i32(0);
  w.op(OP.return);
  w.end();
}

export function storeRip(w: Assembler): void {
  w.i32(0);
  w.get(RIPL);
  w.mem(MEM.i64_store, A.RIP);
}

function ripBase(w: Assembler): void {
  w.i32(0);
  w.mem(MEM.i64_load, A.SLOTS + A.S_RIPBASE);
}

/** RIPL = RIPBASE + bytes of the block. */
function straightOn(w: Assembler): void {
  ripBase(w);
  w.get(PC);
  w.mem(MEM.i64_load16_u, 16 + 12);
  w.op(OP.i64_add);
  w.set(RIPL);
}

/** RIPL = RIPBASE + disp. */
function relative(w: Assembler): void {
  ripBase(w);
  w.get(PC);
  w.mem(MEM.i64_load32_s, 8);
  w.op(OP.i64_add);
  w.set(RIPL);
}

/** RIPL &= mask of the i32 number of bytes that `bytes` pushes (2, 4; 8 or 0: all). */
function maskRip(w: Assembler, bytes: () => void): void {
  bytes();
  w.i32(4);
  w.op(OP.i32_eq);
  w.if();
  w.get(RIPL);
  w.op(OP.i32_wrap_i64, OP.i64_extend_i32_u);
  w.set(RIPL);
  w.else();
  bytes();
  w.i32(2);
  w.op(OP.i32_eq);
  w.if();
  w.get(RIPL);
  w.i64(0xffff);
  w.op(OP.i64_and);
  w.set(RIPL);
  w.end();
  w.end();
}

/** Goes to RIPL through the link at PC + `link`, or, if it is not set, by looking the block up, which then sets it. */
function follow(w: Assembler, enter: Label, link: number): void {
  account(w);
  testDeadline(w);
  w.get(PC);
  w.i32(link);
  w.op(OP.i32_add);
  w.tee(LINK);
  w.mem(MEM.i32_load, 0);
  w.set(BLOCK);
  w.br(enter);
}

/** Goes to RIPL, which no link can tell in advance. */
function goTo(w: Assembler, enter: Label): void {
  account(w);
  testDeadline(w);
  w.i32(0);
  w.set(LINK);
  w.i32(0);
  w.set(BLOCK);
  w.br(enter);
}

const LINK_TAKEN = 16;
const LINK_NOT_TAKEN = 20;

/**
 * Notes where a computed jump or call goes, for the translator: where its links would be stand the last two different targets, as
 * distances from the block (0: none).
 */
function noteTarget(w: Assembler): void {
  w.get(PC);
  w.mem(MEM.i32_load, LINK_TAKEN);
  w.get(RIPL);
  ripBase(w);
  w.op(OP.i64_sub, OP.i32_wrap_i64);
  w.tee(I);
  w.op(OP.i32_ne);
  w.if();
  w.get(PC);
  w.get(PC);
  w.mem(MEM.i32_load, LINK_TAKEN);
  w.mem(MEM.i32_store, LINK_NOT_TAKEN);
  w.get(PC);
  w.get(I);
  w.mem(MEM.i32_store, LINK_TAKEN);
  w.end();
}

/** Faults with #GP(0) if local Y is not canonical (48 bits). */
function checkCanonical(e: Emitter): void {
  const { w } = e;
  notCanonical(w, Y);
  w.unlikely();
  w.if();
  e.fault(VEC_GP);
  w.end();
}

export type EmitTerminal = (e: InterpreterEmitter, enter: Label) => void;

export function terminals(): Map<number, EmitTerminal> {
  const table = new Map<number, EmitTerminal>();
  const blockMask = (w: Assembler) => (): void => {
    w.get(PC);
    w.mem(MEM.i32_load16_u, 16 + 14);
  };
  table.set(U.U_END, ({ w }, enter) => {
    straightOn(w);
    maskRip(w, blockMask(w));
    follow(w, enter, LINK_NOT_TAKEN);
  });
  table.set(U.U_JMP, ({ w }, enter) => {
    relative(w);
    follow(w, enter, LINK_TAKEN);
  });
  table.set(U.U_JMP_L, (e, enter) => {
    relative(e.w);
    maskRip(e.w, () => e.c());
    follow(e.w, enter, LINK_TAKEN);
  });
  for (let cc = 0; cc < 16; cc++)
    table.set(U.U_JCC + cc, (e, enter) => {
      const { w } = e;
      condition(e, cc);
      w.if();
      relative(w);
      follow(w, enter, LINK_TAKEN);
      w.end();
      straightOn(w);
      follow(w, enter, LINK_NOT_TAKEN);
    });
  table.set(U.U_JCC_L, (e, enter) => {
    const { w } = e;
    conditionByNumber(e, () => {
      w.get(PC);
      w.mem(MEM.i32_load8_u, 4);
    });
    w.if();
    relative(w);
    maskRip(w, () => e.c());
    follow(w, enter, LINK_TAKEN);
    w.end();
    straightOn(w);
    maskRip(w, () => e.c());
    follow(w, enter, LINK_NOT_TAKEN);
  });
  for (const [kind, zero] of [
    [U.U_JNZ_R, false],
    [U.U_JZ_R, true],
  ] as const)
    table.set(kind, (e, enter) => {
      const { w } = e;
      e.get("a", 3);
      w.op(OP.i64_eqz);
      if (!zero) w.op(OP.i32_eqz);
      w.if();
      relative(w);
      maskRip(w, () => e.c());
      follow(w, enter, LINK_TAKEN);
      w.end();
      straightOn(w);
      maskRip(w, () => e.c());
      follow(w, enter, LINK_NOT_TAKEN);
    });
  table.set(U.U_JMP_R, (e, enter) => {
    e.get("a", 3);
    e.w.set(Y);
    checkCanonical(e);
    e.w.get(Y);
    e.w.set(RIPL);
    noteTarget(e.w);
    goTo(e.w, enter);
  });
  table.set(U.U_CALL, (e, enter) => {
    const { w } = e;
    straightOn(w);
    w.get(RIPL);
    w.set(Y);
    push(e);
    relative(w);
    follow(w, enter, LINK_TAKEN);
  });
  table.set(U.U_CALL_R, (e, enter) => {
    const { w } = e;
    e.get("a", 3);
    w.tee(T);
    w.set(Y);
    checkCanonical(e);
    straightOn(w);
    w.get(RIPL);
    w.set(Y);
    push(e);
    w.get(T);
    w.set(RIPL);
    noteTarget(w);
    goTo(w, enter);
  });
  table.set(U.U_RET, (e, enter) => {
    const { w } = e;
    e.getFixed(A.S_RSP, 3);
    w.set(LIN);
    e.loadAt(3);
    w.set(Y);
    checkCanonical(e);
    e.openFixed();
    w.get(LIN);
    w.i64(8);
    w.op(OP.i64_add);
    e.imm();
    w.op(OP.i64_add);
    e.closeFixed(A.S_RSP, 3);
    w.get(Y);
    w.set(RIPL);
    goTo(w, enter);
  });
  const helperEnd: EmitTerminal = (e, enter) => {
    const { w } = e;
    straightOn(w);
    maskRip(w, blockMask(w));
    storeRip(w);
    w.i32(0);
    w.get(PC);
    w.mem(MEM.i32_store, A.UOP);
    w.get(PC);
    w.mem(MEM.i32_load, 12);
    w.get(PC);
    w.call(IMPORT_HELPER);
    w.tee(ST);
    w.i32(U.H_EXIT);
    w.op(OP.i32_eq);
    w.if();
    account(w);
    w.get(ST);
    w.op(OP.return);
    w.end();
    w.get(ST);
    w.if();
    w.get(ST);
    w.op(OP.return);
    w.end();
    account(w);
    reload(w);
    w.i32(0);
    w.mem(MEM.i64_load, A.RIP);
    w.set(RIPL);
    testDeadline(w);
    w.i32(0);
    w.set(LINK);
    w.i32(0);
    w.set(BLOCK);
    w.br(enter);
  };
  table.set(U.U_HELPER_END, helperEnd);
  /** `emit` leaves RIPL where execution goes on; `straight`: that is behind the block, and a link may be there. */
  const fast = (emit: (e: InterpreterEmitter, slow: Label) => void, straight: boolean): EmitTerminal => {
    return (e, enter) => {
      const { w } = e;
      const slow = w.block();
      straightOn(w);
      maskRip(w, blockMask(w));
      emit(e, slow);
      reload(w);
      if (straight) follow(w, enter, LINK_NOT_TAKEN);
      else goTo(w, enter);
      w.end();
      helperEnd(e, enter);
    };
  };
  table.set(U.U_SYSCALL_END, fast(fastSyscall, false));
  /** `target`: a function of the module that does it and says where RIP is, or does nothing. */
  const called = (target: number): EmitTerminal => {
    return (e, enter) => {
      const { w } = e;
      straightOn(w);
      storeRip(w);
      w.i32(0);
      w.call(target);
      w.if();
      reload(w);
      w.i32(0);
      w.mem(MEM.i64_load, A.RIP);
      w.set(RIPL);
      goTo(w, enter);
      w.end();
      helperEnd(e, enter);
    };
  };
  table.set(U.U_PV_SYSCALL_END, called(PV_SYSCALL));
  table.set(U.U_PV_IN_END, called(PV_IN));
  table.set(U.U_PV_IRETQ_END, called(PV_IRETQ));
  table.set(U.U_IRET_END, called(IRET));
  table.set(U.U_SYSRET_END, fast(fastSysret, false));
  table.set(U.U_STI_END, fast(fastSti, true));
  table.set(
    U.U_STAC_END,
    fast((e, slow) => fastAc(e, slow, true), true),
  );
  table.set(
    U.U_CLAC_END,
    fast((e, slow) => fastAc(e, slow, false), true),
  );
  return table;
}

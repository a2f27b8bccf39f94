/**
 * IN of a 64-bit PV guest's kernel without TypeScript. Its kernel runs at CPL 3, so that IN is #GP, which its hypervisor takes, decodes
 * and emulates; of a guest without hardware most ports read as ones. A kernel that times itself by one does so 100,000 times in a boot.
 * All of that, what the exception leaves behind and what Xen charges, is done here for IN of one byte. What is rare changes nothing here
 * and goes to the helper: hypervisor/pv/emulate.ts and ports.ts say what it means.
 */

import * as A from "../arena.ts";
import { EXIT_PV, FAULT_HAS_ERROR, VEC_GP } from "../core.ts";
import { Assembler, MEM, OP } from "../emit/assembler.ts";
import { add, put, put64, word } from "../emit/words.ts";
import { EVENT_EXCEPTION, INFO_ERROR_VALID, INFO_VALID } from "../system/exceptions.ts";
import { ENT, I, InterpreterEmitter, LIN, SCRATCH, ST } from "./emitter.ts";
import { BREAKPOINTS, unless } from "./fast-ends.ts";
import { byteAt, chargeXen, MASK, PV_MAY_IN, RARE, slowIf } from "./pv-ends.ts";
import { reload } from "./terminals.ts";

/** IN AL, imm8 and IN AL, DX; and the most bytes of an instruction, which are to lie in one page. */
const IN_AL_IMM = 0xe4;
const IN_AL_DX = 0xec;
const IMM_BYTES = 2;
const DX_BYTES = 1;
const LONGEST = 15;
/** Cycles of an instruction that faults. */
const INSTRUCTION = 1;
/** The port of the RTC's index, which Xen remembers. */
const RTC_INDEX = 0x70;

/** The body of `pvIn(0) -> i32`: 1 if the IN in front of RIP has been done and Xen would go back to RIP, 0 if nothing has changed. */
export function pvInCode(): { code: Uint8Array; hints: number[] } {
  const w = new Assembler();
  const e = new InterpreterEmitter(w, SCRATCH);
  const slow = w.block();
  word(w, A.PV_MAY);
  w.i32(PV_MAY_IN);
  w.op(OP.i32_and, OP.i32_eqz);
  slowIf(w, slow);
  word(w, A.PV_KERNEL);
  w.op(OP.i32_eqz);
  slowIf(w, slow);
  unless(e, slow, A.RFLAGS_SYS, RARE);
  unless(e, slow, A.DR + 56, BREAKPOINTS);
  word(w, A.PENDING_DEBUG);
  slowIf(w, slow);
  // An event that would come in right behind.
  byteAt(e, A.PV_INFO, MASK);
  w.op(OP.i32_eqz);
  w.if();
  byteAt(e, A.PV_INFO);
  slowIf(w, slow);
  w.end();
  word(w, A.REMAINING);
  word(w, A.PV_COST_IN);
  w.i32(INSTRUCTION);
  w.op(OP.i32_add, OP.i32_le_s);
  slowIf(w, slow);
  // Xen reads the instruction as the kernel could read it.
  reload(w);
  e.getFixed(A.S_RIPBASE, 3);
  w.tee(LIN);
  w.op(OP.i32_wrap_i64);
  w.i32(A.PAGE_SIZE - 1);
  w.op(OP.i32_and);
  w.i32(A.PAGE_SIZE - LONGEST);
  w.op(OP.i32_gt_u);
  slowIf(w, slow);
  e.probe(A.TLB_READ, 1);
  w.op(OP.i32_eqz);
  slowIf(w, slow);
  e.hitAddress();
  w.tee(ENT);
  w.mem(MEM.i32_load8_u, 0);
  w.tee(I);
  w.i32(IN_AL_IMM);
  w.op(OP.i32_eq);
  w.if();
  w.get(ENT);
  w.mem(MEM.i32_load8_u, 1);
  w.set(ST);
  w.else();
  w.get(I);
  w.i32(IN_AL_DX);
  w.op(OP.i32_ne);
  slowIf(w, slow);
  e.getFixed(A.S_RDX, 1);
  w.op(OP.i32_wrap_i64);
  w.set(ST);
  w.end();
  w.get(ST);
  w.i32(RTC_INDEX);
  w.op(OP.i32_eq);
  slowIf(w, slow);
  // RIP is behind the instruction as it was decoded to be executed: that is the one which Xen finds there.
  w.i32(0);
  w.mem(MEM.i64_load, A.RIP);
  w.get(LIN);
  w.op(OP.i64_sub, OP.i32_wrap_i64);
  w.i32(IMM_BYTES);
  w.i32(DX_BYTES);
  w.get(I);
  w.i32(IN_AL_IMM);
  w.op(OP.i32_eq, OP.select, OP.i32_ne);
  slowIf(w, slow);
  // Nothing can fail any more. What #GP(0) leaves behind: system/exceptions.ts `deliverPendingFault`.
  put(w, A.FAULT_VECTOR, () => w.i32(VEC_GP));
  put(w, A.FAULT_ERROR, () => w.i32(0));
  put(w, A.FAULT_FLAGS, () => w.i32(FAULT_HAS_ERROR));
  put(w, A.EXIT_REASON, () => w.i32(EXIT_PV));
  put(w, A.EXIT_LENGTH, () => w.i32(0));
  put64(w, A.EXIT_QUAL, () => w.i64(0));
  put(w, A.EXIT_INTR_INFO, () => w.i32(INFO_VALID | INFO_ERROR_VALID | (EVENT_EXCEPTION << 8) | VEC_GP));
  put(w, A.EXIT_INTR_ERROR, () => w.i32(0));
  add(w, A.FAULT_COUNTS + 4 * VEC_GP, 1);
  // Who has the exception does not count as executed; the terminal will count it.
  add(w, A.INSNS, -1);
  chargeXen(w, A.PV_COST_IN, A.PV_INS);
  w.i32(0);
  w.i32(0xff);
  w.mem(MEM.i32_store8, A.SLOTS + A.S_RAX);
  w.i32(1);
  w.op(OP.return);
  w.end();
  w.i32(0);
  return { code: w.bytes.slice(0, w.length), hints: w.hints };
}

/**
 * IRETQ of a 64-bit PV guest without TypeScript: from level 3 to level 3, by which a Linux kernel serializes itself after each change of its
 * text (sync_core), some 10,000 times in a boot. What it looks at in the GDT lies where the hypervisor says (pv-ends.ts); the TLB is asked
 * and filled all the same, so that misses count as they do in system/far.ts, which says what the instruction means and does what is rare.
 */

import * as A from "../arena.ts";
import { Assembler, MEM, OP } from "../emit/assembler.ts";
import { IMPORT_READ } from "../emit/emitter.ts";
import { notCanonical, put, put64, word } from "../emit/words.ts";
import { FLAG_AC, FLAG_DF, FLAG_ID, FLAG_IOPL, FLAG_NT, FLAG_TF, FLAGS_ARITHMETIC } from "../flags.ts";
import { CTX, ENT, I, InterpreterEmitter, LIN, RIPL, SCRATCH, ST } from "./emitter.ts";
import { BREAKPOINTS, forgetFetchPage, setFlags, unless } from "./fast-ends.ts";
import { ACCESS } from "./misses.ts";
import { CODE64_HIGH, checkSelector, DATA_HIGH, frame32, frame64, RARE, setSegments, slowIf } from "./pv-ends.ts";
import { reload } from "./terminals.ts";

/** Its frame. */
const FRAME = { rip: 0, cs: 8, rflags: 16, rsp: 24, ss: 32, bytes: 40 } as const;
const DESCRIPTOR_BYTES = 8;
/** What it takes from the image at level 3, where it may not change IF. */
const TAKEN: number = FLAGS_ARITHMETIC | FLAG_DF | FLAG_NT | FLAG_ID;
const SYSTEM_TLB: number = A.DTLB + A.VIEW_SUPERVISOR * A.TLB_VIEW_BYTES;
const USER_TLB: number = A.DTLB + A.VIEW_USER * A.TLB_VIEW_BYTES;

/** The body of `pvIretq(0) -> i32`: 1 if the IRETQ in front of RIP has been done and RIP is where it leads, 0 if it is to be done by the helper. */
export function pvIretqCode(): { code: Uint8Array; hints: number[] } {
  const w = new Assembler();
  const e = new InterpreterEmitter(w, SCRATCH);
  const slow = w.block();
  word(w, A.PV_MAY);
  w.op(OP.i32_eqz);
  word(w, A.EVENTS_WAIT);
  w.op(OP.i32_or);
  word(w, A.INTERRUPTIBILITY);
  w.op(OP.i32_or);
  slowIf(w, slow);
  unless(e, slow, A.RFLAGS_SYS, RARE | FLAG_NT | FLAG_IOPL);
  unless(e, slow, A.DR + 56, BREAKPOINTS);
  reload(w);
  e.getFixed(A.S_RSP, 3);
  w.tee(LIN);
  w.op(OP.i32_wrap_i64);
  w.i32(3);
  w.op(OP.i32_and);
  slowIf(w, slow);
  e.probe(A.TLB_READ, FRAME.bytes);
  w.op(OP.i32_eqz);
  slowIf(w, slow);
  e.hitAddress();
  w.set(ENT);
  frame64(w, FRAME.rip);
  w.set(RIPL);
  notCanonical(w, RIPL);
  slowIf(w, slow);
  frame32(w, FRAME.rflags);
  w.i32(FLAG_TF | FLAG_AC);
  w.op(OP.i32_and);
  slowIf(w, slow);
  const selector = (offset: number): void => {
    w.get(ENT);
    w.mem(MEM.i32_load16_u, offset);
  };
  for (const [offset, high] of [
    [FRAME.cs, CODE64_HIGH],
    [FRAME.ss, DATA_HIGH],
  ] as const) {
    selector(offset);
    w.tee(I);
    w.i32(3);
    w.op(OP.i32_and);
    w.i32(3);
    w.op(OP.i32_ne);
    slowIf(w, slow);
    checkSelector(e, slow, high);
  }
  for (const offset of [FRAME.cs, FRAME.ss]) {
    selector(offset);
    w.set(I);
    askTlb(e);
    slowIf(w, slow);
  }
  // Nothing can fail any more.
  frame32(w, FRAME.rflags);
  w.i32(TAKEN);
  w.op(OP.i32_and);
  word(w, A.RFLAGS_SYS);
  w.i32(~TAKEN);
  w.op(OP.i32_and, OP.i32_or);
  w.set(I);
  setFlags(w);
  setSegments(
    w,
    () => selector(FRAME.cs),
    () => selector(FRAME.ss),
  );
  put64(w, A.SLOTS + A.S_RSP, () => frame64(w, FRAME.rsp));
  forgetFetchPage(w);
  put64(w, A.RIP, () => w.get(RIPL));
  w.i32(1);
  w.op(OP.return);
  w.end();
  w.i32(0);
  return { code: w.bytes.slice(0, w.length), hints: w.hints };
}

/** The descriptor of the selector in local I is read as by the processor. Pushes 0 if that has been done. */
function askTlb(e: InterpreterEmitter): void {
  const { w } = e;
  w.i32(0);
  w.mem(MEM.i64_load, A.GDTR + A.TABLE_BASE);
  w.get(I);
  w.i32(0xfff8);
  w.op(OP.i32_and, OP.i64_extend_i32_u, OP.i64_add);
  w.tee(LIN);
  w.i64(12 - A.TLB_ENTRY_SHIFT);
  w.op(OP.i64_shr_u, OP.i32_wrap_i64);
  w.i32((A.TLB_ENTRIES - 1) << A.TLB_ENTRY_SHIFT);
  w.op(OP.i32_and);
  w.mem(MEM.i64_load, SYSTEM_TLB + A.TLB_READ);
  w.get(LIN);
  w.i64(-4096);
  w.op(OP.i64_and);
  w.get(CTX);
  w.op(OP.i64_or, OP.i64_ne);
  w.tee(ST);
  w.if();
  put64(w, A.ACCESS_LIN, () => w.get(LIN));
  put(w, A.TLB_BASE, () => w.i32(SYSTEM_TLB));
  w.i32(IMPORT_READ);
  w.i32(DESCRIPTOR_BYTES);
  w.call(ACCESS);
  w.set(ST);
  put(w, A.TLB_BASE, () => w.i32(USER_TLB));
  w.end();
  w.get(ST);
}

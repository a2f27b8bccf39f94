/**
 * SYSCALL of a 64-bit PV guest without TypeScript: the user's system call, which becomes a bounce frame on the kernel's stack, and the
 * kernel's HYPERVISOR_iret back to the user or to itself. What is rare (events that wait, a page that is not in the TLB, other segments
 * than flat ones, TF, AC, a slice that ends) changes nothing here and goes to the helper, whose hypervisor says what all of this means
 * (hypervisor/pv/syscall.ts, bounce.ts, iret.ts). The hypervisor keeps the words A.PV_* and takes the counters over (pv/fast-path.ts).
 */

import * as A from "../arena.ts";
import { Assembler, type Label, MEM, OP } from "../emit/assembler.ts";
import { flagsImage } from "../emit/emit-system.ts";
import { notCanonical, put, put64, word } from "../emit/words.ts";
import { FLAG_AC, FLAG_DF, FLAG_IF, FLAG_IOPL, FLAG_NT, FLAG_RF, FLAG_TF, FLAG_VM } from "../flags.ts";
import { CTX, ENT, I, InterpreterEmitter, LIN, PC, RIPL, SCRATCH, ST, X } from "./emitter.ts";
import {
  BREAKPOINTS,
  charge,
  forgetFetchPage,
  R_R11,
  R_RCX,
  S_SSBASE,
  SEG_CS,
  SEG_SS,
  setFlags,
  unless,
} from "./fast-ends.ts";
import { reload } from "./terminals.ts";

/** A.PV_MAY: the user's system calls, the kernel's iret, the kernel's IN (pv-ports.ts). */
export const PV_MAY_CALL = 1;
export const PV_MAY_IRET = 2;
export const PV_MAY_IN = 4;

/** What the frames are: a call's RCX, R11, RIP, CS, RFLAGS, RSP, SS; iret_context's rax, r11, rcx, flags, rip, cs, rflags, rsp, ss. */
export const PV_FRAME_BYTES = 56;
const CONTEXT = {
  rax: 0,
  r11: 8,
  rcx: 16,
  flags: 24,
  rip: 32,
  cs: 40,
  rflags: 48,
  rsp: 56,
  ss: 64,
  bytes: 72,
} as const;
const VGCF_in_syscall = 0x100;
const HYPERVISOR_iret = 23;
/** From here on, as a signed number, an address in the upper half is the guest's own. */
const UPPER_HALF = -0x780000000000;
/** evtchn_upcall_mask lies behind evtchn_upcall_pending. */
export const MASK = 1;

/** FLAT_RING3_CS64, FLAT_RING3_CS32 and FLAT_RING3_SS64; the descriptors that mean flat 64-bit code and data of level 3, accessed. */
const FLAT_CS64 = 0xe033;
const FLAT_CS32 = 0xe023;
const FLAT_SS64 = 0xe02b;
const CODE64_LOW = 0x0000ffff;
export const CODE64_HIGH = 0x00affb00;
export const DATA_HIGH = 0x00cff300;
const CODE64_ATTR = 0xa0fb;
const DATA_ATTR = 0xc0f3;
/** RFLAGS bits that SYSRET takes from R11 besides the arithmetic ones, and all that exist. */
const SYSRET_FLAGS = 0x3c4700;
const FLAGS_DEFINED = 0x3f7fd5;
/** Flags with which nothing is done in place. */
export const RARE: number = FLAG_TF | FLAG_AC | FLAG_RF | FLAG_VM;

export function slowIf(w: Assembler, slow: Label): void {
  w.unlikely();
  w.brIf(slow);
}

/** Pushes the byte at what the i32 at `address` names, plus `offset`. */
export function byteAt(e: InterpreterEmitter, address: number, offset = 0): void {
  word(e.w, address);
  e.w.mem(MEM.i32_load8_u, offset);
}

/** Pushes `offset` of the frame at ENT, 64 and 32 bits. */
export function frame64(w: Assembler, offset: number): void {
  w.get(ENT);
  w.mem(MEM.i64_load, offset);
}
export function frame32(w: Assembler, offset: number): void {
  w.get(ENT);
  w.mem(MEM.i32_load, offset);
}

/** Charges what the word at `cost` says, to nobody's account in the guest, and counts. */
export function chargeXen(w: Assembler, cost: number, counter: number): void {
  const pushCost = (): void => {
    w.i32(0);
    w.mem(MEM.i32_load, cost);
  };
  put(w, A.REMAINING, () => {
    w.i32(0);
    w.mem(MEM.i32_load, A.REMAINING);
    pushCost();
    w.op(OP.i32_sub);
  });
  w.i32(0);
  w.i32(0);
  w.mem(MEM.f64_load, A.ACCOUNTED);
  pushCost();
  w.op(OP.f64_convert_i32_s, OP.f64_add);
  w.mem(MEM.f64_store, A.ACCOUNTED);
  put(w, counter, () => {
    w.i32(0);
    w.mem(MEM.i32_load, counter);
    w.i32(1);
    w.op(OP.i32_add);
  });
}

/** Goes to `slow` where the slice would end within Xen. */
function slowAtEnd(e: InterpreterEmitter, slow: Label, cost: number): void {
  word(e.w, A.REMAINING);
  word(e.w, cost);
  e.w.op(OP.i32_le_s);
  slowIf(e.w, slow);
}

/** The other half of the guest: GS base and address space. */
function toggle(w: Assembler, account: number, kernel: number, cr3: number, ctx: number): void {
  charge(w, account);
  w.i32(0);
  w.mem(MEM.i64_load, A.SLOTS + A.S_GSBASE);
  w.set(X);
  put64(w, A.SLOTS + A.S_GSBASE, () => {
    w.i32(0);
    w.mem(MEM.i64_load, A.MSR_KERNEL_GS_BASE);
  });
  put64(w, A.MSR_KERNEL_GS_BASE, () => w.get(X));
  put(w, A.PV_KERNEL, () => w.i32(kernel));
  put64(w, A.CR3, () => {
    w.i32(0);
    w.mem(MEM.i64_load, cr3);
  });
  put(w, A.TLB_CTX, () => {
    w.i32(0);
    w.mem(MEM.i32_load, ctx);
  });
  forgetFetchPage(w);
}

/** Flat 64-bit CS and SS of level 3 with the selectors that are pushed. */
export function setSegments(w: Assembler, cs: () => void, ss: () => void): void {
  for (const [seg, base, attr, selector] of [
    [SEG_CS, A.S_CSBASE, CODE64_ATTR, cs],
    [SEG_SS, S_SSBASE, DATA_ATTR, ss],
  ] as const) {
    put(w, seg + A.SEG_SELECTOR, selector);
    put(w, seg + A.SEG_ATTR, () => w.i32(attr));
    put(w, seg + A.SEG_LIMIT, () => w.i32(-1));
    put64(w, A.SLOTS + base, () => w.i64(0));
  }
}

/** The user's system call: createBounceFrame for the syscall callback. */
function bounce(e: InterpreterEmitter, slow: Label): void {
  const { w } = e;
  word(w, A.PV_MAY);
  w.i32(PV_MAY_CALL);
  w.op(OP.i32_and, OP.i32_eqz);
  slowIf(w, slow);
  slowAtEnd(e, slow, A.PV_COST_CALL);
  // An event that would come in right behind.
  byteAt(e, A.PV_INFO, MASK);
  w.tee(I);
  word(w, A.PV_MASKS);
  w.op(OP.i32_or, OP.i32_eqz);
  w.if();
  byteAt(e, A.PV_INFO);
  slowIf(w, slow);
  w.end();
  // The kernel's stack, in the kernel's address space.
  w.i32(0);
  w.mem(MEM.i64_load, A.PV_FRAME);
  w.set(LIN);
  w.i32(0);
  w.mem(MEM.i64_load32_u, A.PV_CTX_KERNEL);
  w.set(CTX);
  e.probe(A.TLB_WRITE, 1);
  w.op(OP.i32_eqz);
  slowIf(w, slow);
  e.hitAddress();
  w.tee(ENT);
  word(w, A.PV_INFO);
  w.op(OP.i32_xor);
  w.i32(12);
  w.op(OP.i32_shr_u, OP.i32_eqz);
  slowIf(w, slow);
  // Nothing can fail any more. Events are masked, and the frame shows how it was.
  flagsImage(e);
  w.set(ST);
  word(w, A.PV_INFO);
  w.get(I);
  word(w, A.PV_MASKS);
  w.op(OP.i32_or);
  w.mem(MEM.i32_store8, MASK);
  const store = (offset: number, value: () => void): void => {
    w.get(ENT);
    value();
    w.mem(MEM.i64_store, offset);
  };
  store(0, () => w.get(RIPL));
  store(8, () => {
    w.get(ST);
    w.op(OP.i64_extend_i32_u);
  });
  store(16, () => w.get(RIPL));
  store(24, () => {
    w.get(I);
    w.op(OP.i64_extend_i32_u);
    w.i64(32);
    w.op(OP.i64_shl);
    w.i64(FLAT_CS64);
    w.op(OP.i64_or);
  });
  store(32, () => {
    w.get(ST);
    w.i32(~(FLAG_IF | FLAG_IOPL));
    w.op(OP.i32_and);
    w.i32(FLAG_IF);
    w.i32(0);
    w.get(I);
    w.op(OP.i32_eqz, OP.select, OP.i32_or);
    word(e.w, A.PV_IOPL);
    w.op(OP.i32_or, OP.i64_extend_i32_u);
  });
  store(40, () => e.getFixed(A.S_RSP, 3));
  store(48, () => w.i64(FLAT_SS64));
  toggle(w, A.ACCOUNT_USER, 1, A.PV_CR3_KERNEL, A.PV_CTX_KERNEL);
  chargeXen(w, A.PV_COST_CALL, A.PV_CALLS);
  // SYSRET to the callback.
  put64(w, A.SLOTS + A.S_RSP, () => w.get(LIN));
  w.i32(0);
  w.mem(MEM.i64_load, A.PV_CALLBACK);
  w.set(RIPL);
  put64(w, A.SLOTS + R_RCX, () => w.get(RIPL));
  w.get(ST);
  w.i32(~(FLAG_NT | FLAG_DF | FLAG_IOPL));
  w.op(OP.i32_and);
  w.i32(FLAG_IF);
  w.op(OP.i32_or);
  w.set(ST);
  put64(w, A.SLOTS + R_R11, () => {
    w.get(ST);
    w.op(OP.i64_extend_i32_u);
  });
  put(w, A.RFLAGS_SYS, () => {
    w.get(ST);
    w.i32(SYSRET_FLAGS);
    w.op(OP.i32_and);
    w.i32(2);
    w.op(OP.i32_or);
  });
  setSegments(
    w,
    () => w.i32(FLAT_CS64),
    () => w.i32(FLAT_SS64),
  );
}

/** Goes to `slow` unless the selector in local I (of level 3) leads to the descriptor `high`:0000ffff in the GDT. */
export function checkSelector(e: InterpreterEmitter, slow: Label, high: number): void {
  const { w } = e;
  w.get(I);
  w.i32(4);
  w.op(OP.i32_and);
  slowIf(w, slow);
  w.get(I);
  w.i32(0xfff8);
  w.op(OP.i32_and, OP.i32_eqz);
  slowIf(w, slow);
  // Its page: the guest's first, or Xen's.
  const page = (): void => {
    w.get(I);
    w.i32(12);
    w.op(OP.i32_shr_u);
  };
  page();
  w.op(OP.i32_eqz);
  w.if();
  word(w, A.PV_GDT);
  w.set(PC);
  w.else();
  page();
  w.i32(FLAT_CS64 >>> 12);
  w.op(OP.i32_ne);
  slowIf(w, slow);
  word(w, A.PV_GDT_RESERVED);
  w.set(PC);
  w.end();
  w.get(PC);
  w.op(OP.i32_eqz);
  slowIf(w, slow);
  w.get(PC);
  w.get(I);
  w.i32(0xff8);
  w.op(OP.i32_and, OP.i32_add);
  w.mem(MEM.i64_load, 0);
  w.i64Words(CODE64_LOW, high);
  w.op(OP.i64_ne);
  slowIf(w, slow);
}

/** HYPERVISOR_iret: pvIret. */
function iret(e: InterpreterEmitter, slow: Label): void {
  const { w } = e;
  word(w, A.PV_MAY);
  w.i32(PV_MAY_IRET);
  w.op(OP.i32_and, OP.i32_eqz);
  slowIf(w, slow);
  // The context, on the kernel's stack.
  e.getFixed(A.S_RSP, 3);
  w.tee(LIN);
  w.i64(UPPER_HALF);
  w.op(OP.i64_lt_s);
  slowIf(w, slow);
  e.probe(A.TLB_READ, CONTEXT.bytes);
  w.op(OP.i32_eqz);
  slowIf(w, slow);
  e.hitAddress();
  w.set(ENT);
  frame32(w, CONTEXT.rflags);
  w.i32(RARE);
  w.op(OP.i32_and);
  slowIf(w, slow);
  frame32(w, CONTEXT.rflags);
  word(w, A.PV_IOPL_MASK);
  w.op(OP.i32_and);
  word(w, A.PV_IOPL);
  w.op(OP.i32_ne);
  slowIf(w, slow);
  // An event that would come in right behind.
  frame32(w, CONTEXT.rflags);
  w.i32(FLAG_IF);
  w.op(OP.i32_and);
  w.if();
  byteAt(e, A.PV_INFO);
  slowIf(w, slow);
  w.end();
  // A canonical address.
  frame64(w, CONTEXT.rip);
  w.set(RIPL);
  notCanonical(w, RIPL);
  slowIf(w, slow);
  // To whom.
  frame32(w, CONTEXT.cs);
  w.i32(3);
  w.op(OP.i32_and);
  w.i32(3);
  w.op(OP.i32_eq);
  w.if();
  slowAtEnd(e, slow, A.PV_COST_IRET_USER);
  word(w, A.PV_CTX_USER);
  w.op(OP.i32_eqz);
  slowIf(w, slow);
  w.else();
  slowAtEnd(e, slow, A.PV_COST_IRET);
  w.end();
  const selector = (offset: number): void => {
    frame32(w, offset);
    w.i32(0xffff);
    w.op(OP.i32_and);
    w.i32(3);
    w.op(OP.i32_or);
  };
  const inSyscall = (): void => {
    frame32(w, CONTEXT.flags);
    w.i32(VGCF_in_syscall);
    w.op(OP.i32_and);
  };
  inSyscall();
  w.if();
  selector(CONTEXT.cs);
  w.i32(FLAT_CS32);
  w.op(OP.i32_eq);
  slowIf(w, slow);
  w.else();
  selector(CONTEXT.cs);
  w.set(I);
  checkSelector(e, slow, CODE64_HIGH);
  selector(CONTEXT.ss);
  w.set(I);
  checkSelector(e, slow, DATA_HIGH);
  w.end();
  // Nothing can fail any more.
  frame32(w, CONTEXT.rflags);
  w.i32(~(FLAG_IOPL | FLAG_VM));
  w.op(OP.i32_and);
  w.i32(FLAG_IF | 2);
  w.op(OP.i32_or);
  w.set(ST);
  put64(w, A.SLOTS + A.S_RAX, () => frame64(w, CONTEXT.rax));
  inSyscall();
  w.if();
  put64(w, A.SLOTS + R_RCX, () => w.get(RIPL));
  put64(w, A.SLOTS + R_R11, () => {
    w.get(ST);
    w.op(OP.i64_extend_i32_u);
  });
  setSegments(
    w,
    () => w.i32(FLAT_CS64),
    () => w.i32(FLAT_SS64),
  );
  w.else();
  put64(w, A.SLOTS + R_RCX, () => frame64(w, CONTEXT.rcx));
  put64(w, A.SLOTS + R_R11, () => frame64(w, CONTEXT.r11));
  setSegments(
    w,
    () => selector(CONTEXT.cs),
    () => selector(CONTEXT.ss),
  );
  w.end();
  put64(w, A.SLOTS + A.S_RSP, () => frame64(w, CONTEXT.rsp));
  w.get(ST);
  w.i32(FLAGS_DEFINED | 2);
  w.op(OP.i32_and);
  w.set(I);
  setFlags(w);
  frame32(w, CONTEXT.cs);
  w.i32(3);
  w.op(OP.i32_and);
  w.i32(3);
  w.op(OP.i32_eq);
  w.if();
  toggle(w, A.ACCOUNT_KERNEL, 0, A.PV_CR3_USER, A.PV_CTX_USER);
  chargeXen(w, A.PV_COST_IRET_USER, A.PV_IRETS_USER);
  w.else();
  chargeXen(w, A.PV_COST_IRET, A.PV_IRETS);
  w.end();
  // Events are masked unless the frame's IF is set. Last, since the byte may lie in the frame.
  word(e.w, A.PV_INFO);
  frame32(w, CONTEXT.rflags);
  w.i32(FLAG_IF);
  w.op(OP.i32_and, OP.i32_eqz);
  w.mem(MEM.i32_store8, MASK);
}

/** The body of `pvSyscall(0) -> i32`: 1 if the SYSCALL in front of RIP has been done and RIP is where it leads, 0 if nothing has changed. */
export function pvSyscallCode(): { code: Uint8Array; hints: number[] } {
  const w = new Assembler();
  const e = new InterpreterEmitter(w, SCRATCH);
  const slow = w.block();
  word(w, A.PV_MAY);
  w.op(OP.i32_eqz);
  slowIf(w, slow);
  unless(e, slow, A.RFLAGS_SYS, RARE);
  unless(e, slow, A.DR + 56, BREAKPOINTS);
  word(w, A.PENDING_DEBUG);
  slowIf(w, slow);
  byteAt(e, A.PV_INFO_ATTR);
  slowIf(w, slow);
  reload(w);
  w.i32(0);
  w.mem(MEM.i64_load, A.RIP);
  w.set(RIPL);
  word(w, A.PV_KERNEL);
  w.if();
  e.getFixed(A.S_RAX, 3);
  w.i64(HYPERVISOR_iret);
  w.op(OP.i64_ne);
  w.brIf(slow);
  iret(e, slow);
  w.else();
  bounce(e, slow);
  w.end();
  put64(w, A.RIP, () => w.get(RIPL));
  w.i32(1);
  w.op(OP.return);
  w.end();
  w.i32(0);
  return { code: w.bytes.slice(0, w.length), hints: w.hints };
}

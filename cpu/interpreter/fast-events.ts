/**
 * Page faults through the IDT and their IRETQ without TypeScript, for 64-bit code in long mode: what is looked at (gate, descriptors, stacks) is in
 * the TLBs, segments are flat and marked accessed, the handler's level is 0. All else changes nothing here and goes to
 * system/exceptions.ts and system/far.ts, which say what all of this means; the reference knows those alone.
 */

import * as A from "../arena.ts";
import { VEC_PF } from "../core.ts";
import { Assembler, type FunctionBody, type Label, MEM, OP } from "../emit/assembler.ts";
import { flagsImage } from "../emit/emit-system.ts";
import { add, notCanonical, put, put64, word } from "../emit/words.ts";
import {
  FLAG_AC,
  FLAG_DF,
  FLAG_ID,
  FLAG_IF,
  FLAG_IOPL,
  FLAG_NT,
  FLAG_RF,
  FLAG_TF,
  FLAG_VIF,
  FLAG_VIP,
  FLAG_VM,
  FLAGS_ARITHMETIC,
} from "../flags.ts";
import { WALK_FAULTS } from "../mmu/quick.ts";
import { CR4_SMAP } from "../system/bits.ts";
import { ATTR_DB, ATTR_UNUSABLE } from "../system/segcheck.ts";
import * as U from "../uops/uop.ts";
import {
  CTX,
  ENT,
  I,
  InterpreterEmitter,
  LIN,
  LINK,
  LOCAL_TYPES,
  PC,
  RIPL,
  RUN_TYPE,
  SCRATCH,
  ST,
  T,
  TLB,
  X,
  Y,
} from "./emitter.ts";
import { BREAKPOINTS, charge, forgetFetchPage, S_SSBASE, SEG_CS, SEG_SS, setFlags, unless } from "./fast-ends.ts";

/** A frame: error code, RIP, CS, RFLAGS, RSP, SS. */
const FRAME_BYTES = 48;
const IRET_BYTES = 40;
const GATE_BYTES = 16;
/** Upper words of descriptors: the bits that must be as they are here, and how (SDM figures 3-8, 6-8): present, flat, accessed. */
const GATE_MASK = 0x9e00;
const GATE = 0x8e00;
const GATE_TRAP = 0x100;
const CODE_MASK = 0xff60fdff;
const CODE = 0x00209900;
const STACK_MASK = 0xff00fbff;
const STACK = 0x00009300;
const DPL_SHIFT = 13;
/** What IRET at level 0 takes from the image; RF matters to breakpoints alone. */
const IRET_FLAGS: number =
  FLAGS_ARITHMETIC | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_AC | FLAG_VIF | FLAG_VIP | FLAG_ID;
/** Where the TSS has RSP0 and IST1 less eight. */
const TSS_RSP0 = 4;
const TSS_IST = 0x1c;

class EventEmitter {
  readonly w: Assembler = new Assembler();
  readonly e: InterpreterEmitter = new InterpreterEmitter(this.w, SCRATCH);
  readonly slow: Label = this.w.block();

  slowIf(): void {
    this.w.unlikely();
    this.w.brIf(this.slow);
  }
  load64(address: number): void {
    this.w.i32(0);
    this.w.mem(MEM.i64_load, address);
  }

  /** Pushes the TLB of accesses to system structures. */
  systemView(): void {
    const { w } = this;
    w.i32(A.DTLB + A.VIEW_SUPERVISOR_SMAP * A.TLB_VIEW_BYTES);
    w.i32(A.DTLB + A.VIEW_SUPERVISOR * A.TLB_VIEW_BYTES);
    word(w, A.CR4);
    w.i32(CR4_SMAP);
    w.op(OP.i32_and, OP.select);
  }

  /** Local `place` = arena address of `bytes` at LIN, a multiple of 4, by the TLB that `view` pushes. Takes ENT. */
  find(view: () => void, tag: number, bytes: number, place: number): void {
    const { w } = this;
    w.get(LIN);
    w.op(OP.i32_wrap_i64);
    w.i32(3);
    w.op(OP.i32_and);
    this.slowIf();
    view();
    w.get(LIN);
    w.i64(12 - A.TLB_ENTRY_SHIFT);
    w.op(OP.i64_shr_u, OP.i32_wrap_i64);
    w.i32((A.TLB_ENTRIES - 1) << A.TLB_ENTRY_SHIFT);
    w.op(OP.i32_and, OP.i32_add);
    w.tee(ENT);
    w.mem(MEM.i64_load, tag);
    w.get(LIN);
    w.i64(bytes - 1);
    w.op(OP.i64_add);
    w.i64(-4096);
    w.op(OP.i64_and);
    w.get(CTX);
    w.op(OP.i64_or, OP.i64_ne);
    this.slowIf();
    w.get(LIN);
    w.op(OP.i32_wrap_i64);
    w.get(ENT);
    w.mem(MEM.i32_load, A.TLB_ADDEND);
    w.op(OP.i32_add);
    w.set(place);
  }

  /** Local `place` = where the descriptor of the selector in local `selector` lies: in the GDT, and not null. */
  findDescriptor(selector: number, place: number): void {
    const { w } = this;
    w.get(selector);
    w.i32(4);
    w.op(OP.i32_and);
    w.get(selector);
    w.i32(0xfff8);
    w.op(OP.i32_and, OP.i32_eqz, OP.i32_or);
    w.get(selector);
    w.i32(7);
    w.op(OP.i32_or);
    word(w, A.GDTR + A.SEG_LIMIT);
    w.op(OP.i32_gt_u, OP.i32_or);
    this.slowIf();
    this.load64(A.GDTR + A.TABLE_BASE);
    w.get(selector);
    w.i32(0xfff8);
    w.op(OP.i32_and, OP.i64_extend_i32_u, OP.i64_add);
    w.set(LIN);
    this.find(() => this.systemView(), A.TLB_READ, 8, place);
  }

  /** Goes on if the descriptor at local `place` is `like` under `mask`, with the DPL that `level` pushes, and its base is 0. */
  checkDescriptor(place: number, mask: number, like: number, level: () => void): void {
    const { w } = this;
    w.get(place);
    w.mem(MEM.i32_load, 4);
    w.i32(mask);
    w.op(OP.i32_and);
    level();
    w.i32(DPL_SHIFT);
    w.op(OP.i32_shl);
    w.i32(like);
    w.op(OP.i32_or, OP.i32_ne);
    w.get(place);
    w.mem(MEM.i32_load16_u, 2);
    w.op(OP.i32_or);
    this.slowIf();
  }

  /** Puts the descriptor at local `place` into segment register `seg`. */
  setSegment(seg: number, base: number, place: number, selector: () => void): void {
    const { w } = this;
    put(w, seg + A.SEG_SELECTOR, selector);
    put(w, seg + A.SEG_ATTR, () => {
      w.get(place);
      w.mem(MEM.i32_load, 4);
      w.i32(8);
      w.op(OP.i32_shr_u);
      w.i32(0xf0ff);
      w.op(OP.i32_and);
    });
    const limit = (): void => {
      w.get(place);
      w.mem(MEM.i32_load16_u, 0);
      w.get(place);
      w.mem(MEM.i32_load, 4);
      w.i32(0xf0000);
      w.op(OP.i32_and, OP.i32_or);
    };
    put(w, seg + A.SEG_LIMIT, () => {
      limit();
      w.i32(12);
      w.op(OP.i32_shl);
      w.i32(0xfff);
      w.op(OP.i32_or);
      limit();
      w.get(place);
      w.mem(MEM.i32_load, 4);
      w.i32(0x800000);
      w.op(OP.i32_and, OP.select);
    });
    put64(w, A.SLOTS + base, () => w.i64(0));
  }
  setNullStack(selector: () => void): void {
    const { w } = this;
    put(w, SEG_SS + A.SEG_SELECTOR, selector);
    put(w, SEG_SS + A.SEG_ATTR, () => w.i32(ATTR_UNUSABLE | ATTR_DB));
    put(w, SEG_SS + A.SEG_LIMIT, () => w.i32(0));
    put64(w, A.SLOTS + S_SSBASE, () => w.i64(0));
  }

  /** TLB_BASE of level 0 with the present RFLAGS.AC. */
  supervise(): void {
    const { w } = this;
    put(w, A.TLB_BASE, () => {
      w.i32(A.DTLB + A.VIEW_SUPERVISOR * A.TLB_VIEW_BYTES);
      this.systemView();
      word(w, A.RFLAGS_SYS);
      w.i32(FLAG_AC);
      w.op(OP.i32_and, OP.select);
    });
  }

  /** Goes on if the i64 in local `address` is canonical. */
  checkCanonical(address: number): void {
    const { w } = this;
    notCanonical(w, address);
    this.slowIf();
  }

  loadContext(): void {
    const { w } = this;
    w.i32(0);
    w.mem(MEM.i64_load32_u, A.TLB_CTX);
    w.set(CTX);
  }

  /** The function: 1 where the code comes to its end, with RIP from RIPL, 0 from `slow`. */
  finish(name: string): FunctionBody {
    const { w } = this;
    forgetFetchPage(w);
    put64(w, A.RIP, () => w.get(RIPL));
    w.i32(1);
    w.op(OP.return);
    w.end();
    w.i32(0);
    return { name, type: RUN_TYPE, locals: LOCAL_TYPES, code: w.bytes.slice(0, w.length), hints: w.hints };
  }
}

/** faulted(0) -> 1 if done. The micro-op UOP of the block BLOCK has a page fault: what run.ts `rollBack` and `fault` do, and deliverPendingFault. */
function faultedCode(): FunctionBody {
  const m = new EventEmitter();
  const { w, e } = m;
  const [gate, code, stack, selector, gateHigh] = [PC, TLB, ST, LINK, I];
  const gateAt = VEC_PF * GATE_BYTES;
  word(w, A.WALK);
  w.i32(WALK_FAULTS);
  w.op(OP.i32_and, OP.i32_eqz);
  word(w, A.FAULT_VECTOR);
  w.i32(VEC_PF);
  w.op(OP.i32_ne, OP.i32_or);
  word(w, A.MODE);
  w.i32(U.MODE_CODE_MASK | U.MODE_STEP);
  w.op(OP.i32_and);
  w.i32(U.MODE_64);
  w.op(OP.i32_ne, OP.i32_or);
  word(w, A.INJECT_INFO);
  w.op(OP.i32_or);
  m.slowIf();
  unless(e, m.slow, A.DR + 56, BREAKPOINTS);
  m.loadContext();
  // The gate, for an interrupt or a trap.
  word(w, A.IDTR + A.SEG_LIMIT);
  w.i32(gateAt + GATE_BYTES - 1);
  w.op(OP.i32_lt_u);
  m.slowIf();
  m.load64(A.IDTR + A.TABLE_BASE);
  w.i64(gateAt);
  w.op(OP.i64_add);
  w.set(LIN);
  m.find(() => m.systemView(), A.TLB_READ, GATE_BYTES, gate);
  w.get(gate);
  w.mem(MEM.i32_load, 4);
  w.tee(gateHigh);
  w.i32(GATE_MASK);
  w.op(OP.i32_and);
  w.i32(GATE);
  w.op(OP.i32_ne);
  m.slowIf();
  w.get(gate);
  w.mem(MEM.i64_load16_u, 0);
  w.get(gateHigh);
  w.i32(-0x10000);
  w.op(OP.i32_and, OP.i64_extend_i32_u, OP.i64_or);
  w.get(gate);
  w.mem(MEM.i64_load32_u, 8);
  w.i64(32);
  w.op(OP.i64_shl, OP.i64_or);
  w.set(RIPL);
  m.checkCanonical(RIPL);
  w.get(gate);
  w.mem(MEM.i32_load16_u, 2);
  w.set(selector);
  m.findDescriptor(selector, code);
  m.checkDescriptor(code, CODE_MASK, CODE, () => w.i32(0));
  // The stack: RSP0 from level 3, an IST entry if the gate names one, or the present one. Y is where its pushes begin.
  w.get(gateHigh);
  w.i32(7);
  w.op(OP.i32_and);
  w.tee(stack);
  word(w, A.CPL);
  w.op(OP.i32_or);
  w.if();
  w.get(stack);
  w.i32(8);
  w.op(OP.i32_mul);
  w.i32(TSS_IST);
  w.op(OP.i32_add);
  w.i32(TSS_RSP0);
  w.get(stack);
  w.op(OP.select);
  w.tee(stack);
  w.i32(7);
  w.op(OP.i32_add);
  word(w, A.TR + A.SEG_LIMIT);
  w.op(OP.i32_gt_u);
  m.slowIf();
  m.load64(A.TR + A.TABLE_BASE);
  w.get(stack);
  w.op(OP.i64_extend_i32_u, OP.i64_add);
  w.set(LIN);
  m.find(() => m.systemView(), A.TLB_READ, 8, stack);
  w.get(stack);
  w.mem(MEM.i64_load, 0);
  w.set(Y);
  m.checkCanonical(Y);
  w.else();
  m.load64(A.SLOTS + A.S_RSP);
  w.set(Y);
  w.end();
  w.get(Y);
  w.i64(-16);
  w.op(OP.i64_and);
  w.i64(FRAME_BYTES);
  w.op(OP.i64_sub);
  w.set(LIN);
  const view = (): void => {
    m.systemView();
    word(w, A.TLB_BASE);
    word(w, A.CPL);
    w.op(OP.select);
  };
  m.find(view, A.TLB_WRITE, FRAME_BYTES, stack);
  // Nothing can fail any more. The block has been executed up to the instruction; the fault costs a cycle.
  const [count, offset] = [gate, ENT];
  word(w, A.UOP);
  w.mem(MEM.i32_load8_u, 6);
  w.set(offset);
  m.load64(A.SLOTS + A.S_RIPBASE);
  w.get(offset);
  w.op(OP.i64_extend_i32_u, OP.i64_add);
  w.set(T);
  w.i32(0);
  w.set(count);
  const counted = w.block();
  const next = w.loop();
  word(w, A.BLOCK);
  w.mem(MEM.i32_load, 12);
  w.get(count);
  w.op(OP.i32_add);
  w.mem(MEM.i32_load8_u, 0);
  w.get(offset);
  w.op(OP.i32_ge_u);
  w.brIf(counted);
  w.get(count);
  w.i32(1);
  w.op(OP.i32_add);
  w.set(count);
  w.br(next);
  w.end();
  w.end();
  put(w, A.INSNS, () => {
    word(w, A.INSNS);
    w.get(count);
    w.op(OP.i32_add);
  });
  put(w, A.REMAINING, () => {
    word(w, A.REMAINING);
    w.get(count);
    w.i32(1);
    w.op(OP.i32_add, OP.i32_sub);
  });
  add(w, A.FAULT_COUNTS + 4 * VEC_PF, 1);
  put(w, A.PENDING_DEBUG, () => w.i32(0));
  put64(w, A.CR2, () => m.load64(A.EXIT_GLA));
  const store = (at: number, value: () => void): void => {
    w.get(stack);
    value();
    w.mem(MEM.i64_store, at);
  };
  const selectorIn = (seg: number): void => {
    w.i32(0);
    w.mem(MEM.i64_load16_u, seg + A.SEG_SELECTOR);
  };
  store(0, () => {
    w.i32(0);
    w.mem(MEM.i64_load32_u, A.FAULT_ERROR);
  });
  store(8, () => w.get(T));
  store(16, () => selectorIn(SEG_CS));
  store(24, () => {
    flagsImage(e);
    w.i32(FLAG_RF);
    w.op(OP.i32_or, OP.i64_extend_i32_u);
  });
  store(32, () => m.load64(A.SLOTS + A.S_RSP));
  store(40, () => selectorIn(SEG_SS));
  put64(w, A.SLOTS + A.S_RSP, () => w.get(LIN));
  word(w, A.CPL);
  w.if();
  word(w, A.CPL);
  w.i32(3);
  w.op(OP.i32_eq);
  w.if();
  charge(w, A.ACCOUNT_USER);
  w.end();
  m.setNullStack(() => w.i32(0));
  put(w, A.CPL, () => w.i32(0));
  w.end();
  m.setSegment(SEG_CS, A.S_CSBASE, code, () => {
    w.get(selector);
    w.i32(~3);
    w.op(OP.i32_and);
  });
  put(w, A.RFLAGS_SYS, () => {
    word(w, A.RFLAGS_SYS);
    w.i32(~(FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM));
    w.i32(~(FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM | FLAG_IF));
    w.get(gateHigh);
    w.i32(GATE_TRAP);
    w.op(OP.i32_and, OP.select, OP.i32_and);
  });
  m.supervise();
  return m.finish("faulted");
}

/** iret(0) -> 1 if done. IRETQ at level 0, to level 0 or 3: iret of system/far.ts. RIP is past it. */
function iretCode(): FunctionBody {
  const m = new EventEmitter();
  const { w, e } = m;
  const [frame, code, stack, selector] = [PC, TLB, ST, LINK];
  word(w, A.WALK);
  w.op(OP.i32_eqz);
  for (const address of [A.CPL, A.EVENTS_WAIT, A.INTERRUPTIBILITY]) {
    word(w, address);
    w.op(OP.i32_or);
  }
  m.slowIf();
  unless(e, m.slow, A.RFLAGS_SYS, FLAG_NT | FLAG_VM);
  unless(e, m.slow, A.DR + 56, BREAKPOINTS);
  m.loadContext();
  m.load64(A.SLOTS + A.S_RSP);
  w.set(LIN);
  m.find(() => word(w, A.TLB_BASE), A.TLB_READ, IRET_BYTES, frame);
  w.get(frame);
  w.mem(MEM.i64_load, 0);
  w.set(RIPL);
  m.checkCanonical(RIPL);
  // Levels 1 and 2 go the other way.
  w.get(frame);
  w.mem(MEM.i32_load16_u, 8);
  w.set(selector);
  const level = (): void => {
    w.get(selector);
    w.i32(3);
    w.op(OP.i32_and);
  };
  level();
  w.i32(1);
  w.op(OP.i32_sub);
  w.i32(2);
  w.op(OP.i32_lt_u);
  m.slowIf();
  m.findDescriptor(selector, code);
  m.checkDescriptor(code, CODE_MASK, CODE, level);
  // No single step, and no checks for alignment.
  w.get(frame);
  w.mem(MEM.i32_load, 16);
  w.tee(I);
  w.i32(FLAG_TF | FLAG_AC);
  w.i32(FLAG_TF);
  level();
  w.op(OP.select, OP.i32_and);
  m.slowIf();
  // SS, which may be null at level 0.
  const isNull = (): void => {
    w.get(frame);
    w.mem(MEM.i32_load16_u, 32);
    w.i32(0xfffc);
    w.op(OP.i32_and, OP.i32_eqz);
  };
  isNull();
  w.if();
  level();
  m.slowIf();
  w.else();
  w.get(frame);
  w.mem(MEM.i32_load16_u, 32);
  w.set(stack);
  w.get(stack);
  w.i32(3);
  w.op(OP.i32_and);
  level();
  w.op(OP.i32_ne);
  m.slowIf();
  m.findDescriptor(stack, stack);
  m.checkDescriptor(stack, STACK_MASK, STACK, level);
  w.end();
  // Data segments that level 3 may not have would become null.
  level();
  w.if();
  for (const seg of [0, 3, 4, 5]) {
    const attr = A.SEG + seg * A.SEG_STRIDE + A.SEG_ATTR;
    word(w, attr);
    w.i32(0x60);
    w.op(OP.i32_and);
    w.i32(0x60);
    w.op(OP.i32_ne);
    word(w, attr);
    w.i32(ATTR_UNUSABLE);
    w.op(OP.i32_and, OP.i32_eqz, OP.i32_and);
    m.slowIf();
  }
  w.end();
  // Nothing can fail any more.
  w.get(frame);
  w.mem(MEM.i64_load, 24);
  w.set(X);
  w.get(I);
  w.i32(IRET_FLAGS);
  w.op(OP.i32_and);
  w.set(I);
  setFlags(w);
  put64(w, A.SLOTS + A.S_RSP, () => w.get(X));
  isNull();
  w.if();
  m.setNullStack(() => {
    w.get(frame);
    w.mem(MEM.i32_load16_u, 32);
  });
  w.else();
  m.setSegment(SEG_SS, S_SSBASE, stack, () => {
    w.get(frame);
    w.mem(MEM.i32_load16_u, 32);
  });
  w.end();
  m.setSegment(SEG_CS, A.S_CSBASE, code, () => w.get(selector));
  level();
  w.if();
  charge(w, A.ACCOUNT_KERNEL);
  put(w, A.CPL, () => w.i32(3));
  put(w, A.TLB_BASE, () => w.i32(A.DTLB + A.VIEW_USER * A.TLB_VIEW_BYTES));
  w.else();
  m.supervise();
  w.end();
  return m.finish("iret");
}

/** FAULTED and IRET. */
export function eventFunctions(): FunctionBody[] {
  return [faultedCode(), iretCode()];
}

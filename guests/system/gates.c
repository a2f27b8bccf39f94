/* Interrupt, trap and call gates, stack switching, far returns, IRET. */
#include "system.h"

#define AX LONG_AX
SNIPPET(int30, "", "int $0x30", "nop");
SNIPPET(int30_again, "", "int $0x30", "nop");
/* A handler that ends at once: the state at its first instruction is in `out`. */
SNIPPET(handler, "", "nop", "");

static void set_gate(word offset, u32 selector, u32 type) { gate(0x30, offset, selector, type, 0); }
#define OPEN (INT32 | PRESENT | DPL3)

TESTS(gate_checks) {
  section("gates of the IDT");
  for (int cpl = 0; cpl <= 3; cpl += 3) {
    fresh();
    set_gate((word)handler, SEL_CODE, INT32 | PRESENT);
    run(cpl, int30);
    if (cpl) ended("DPL 0 from ring 3", GP, 0x30 * 8 + 2, int30_x);
    else ended("DPL 0 from ring 0", DONE, 0, handler_end);
  }
  fresh();
  set_gate((word)handler, SEL_CODE, INT32 | DPL3);
  run(3, int30);
  ended("not present", NP, 0x30 * 8 + 2, int30_x);
  fresh();
  set_gate((word)handler, SEL_CODE, INT32);
  run(3, int30);
  ended("DPL goes before P", GP, 0x30 * 8 + 2, int30_x);
  for (u32 type = 0; type < 32; type++) {
    const int real = type == INT32 || type == TRAP32 || (!LONG && (type == INT16 || type == TRAP16 || type == TASK_GATE));
    if (real) continue;
    fresh();
    set_gate((word)handler, SEL_CODE, type | PRESENT | DPL3);
    run(3, int30);
    ended("types that are no gate", GP, 0x30 * 8 + 2, int30_x);
  }
  fresh();
  set_gate((word)handler, 3, OPEN);
  run(3, int30);
  ended("null code segment", GP, 0, int30_x);
  fresh();
  set_gate((word)handler, SEL_LAST + 8, OPEN);
  run(3, int30);
  ended("code segment beyond the GDT", GP, SEL_LAST + 8, int30_x);
  fresh();
  set_gate((word)handler, SEL_CODE | 4, OPEN);
  run(3, int30);
  ended("code segment in no LDT", GP, SEL_CODE | 4, int30_x);
  fresh();
  set_gate((word)handler, SEL_DATA, OPEN);
  run(3, int30);
  ended("data segment", GP, SEL_DATA, int30_x);
  fresh();
  set_gate((word)handler, SEL_UCODE, OPEN);
  run(0, int30);
  ended("outer code segment", GP, SEL_UCODE & ~3, int30_x);
  fresh();
  gdt[SEL_FREE >> 3] = descriptor(0, 0xfffff, CODE_NATIVE & ~PRESENT);
  set_gate((word)handler, SEL_FREE, OPEN);
  run(3, int30);
  ended("code segment not present", NP, SEL_FREE, int30_x);
#if LONG
  fresh();
  set_gate((word)handler, SEL_CODE32, OPEN);
  run(3, int30);
  ended("32-bit code segment", GP, SEL_CODE32, int30_x);
  fresh();
  set_gate(0x800000000000, SEL_CODE, OPEN);
  run(3, int30);
  ended("non-canonical offset", GP, 0, int30_x);
#else
  fresh();
  gdt[SEL_FREE >> 3] = descriptor(0, 0xfff, CODE32 & ~0x8000);
  set_gate(0x1000, SEL_FREE, OPEN);
  run(3, int30);
  ended("offset beyond the code segment", GP, 0, int30_x);
#endif
}

TESTS(idt_limit) {
  section("IDT limit");
  struct {
    u16 limit;
    word base;
  } __attribute__((packed)) t = {0x31 * (LONG ? 16 : 8) - 2, (word)idt};
  fresh();
  /* INT 30H is beyond the limit; what it raises is not. The end comes by #BP. */
  asm volatile("lidt %0" ::"m"(t));
  run(3, int30);
  ended("vector beyond the limit", GP, 0x30 * 8 + 2, int30_x);
}

static struct frame seen;
static word seen_at;
static int note(struct frame *f) {
  seen = *f;
  seen_at = (word)f;
  return 0;
}

TESTS(frames_pushed) {
  section("what a gate pushes");
  for (int ring = 0; ring < 4; ring++) {
    fresh();
    gdt[SEL_FREE >> 3] = descriptor(0, 0xfffff, CODE_NATIVE | ring << 5);
    gdt[(SEL_FREE >> 3) + 1] = descriptor(0, 0xfffff, DATA32 | ring << 5);
    set_gate(stubs[0x30], SEL_CODE, OPEN);
    hook = note;
    in.flags = FIXED | CF | DFLAG | 0x800;
    in.ds = in.es = 0;
    run_in(SEL_FREE | ring, (SEL_FREE + 8) | ring, int30);
    check("CS", out.cs, SEL_FREE | ring);
    check("IP", out.ip, (word)int30_y);
    check("flags", out.flags, FIXED | CF | DFLAG | 0x800);
    if (LONG || ring) check("SS", out.ss, (SEL_FREE + 8) | ring);
    if (LONG || ring) check("stack pointer", out.gpr[RSP], in.gpr[RSP]);
    if (ring)
      check("where it lies", (word)(&seen.vector - (word *)&seen) * sizeof(word) + seen_at,
            TOP(LONG ? stack0 : trap_stack) - 7 * sizeof(word));
  }
}

SNIPPET(flags_in_handler, "pushf; pop %" AX, "nop", "");
TESTS(gate_flags) {
  section("flags behind a gate");
  for (int trap = 0; trap < 2; trap++) {
    fresh();
    set_gate((word)flags_in_handler, SEL_CODE, (trap ? TRAP32 : INT32) | PRESENT | DPL3);
    in.flags = FIXED | IF | NT | ACF | IOPL3 | CF;
    run(3, int30);
    ended("entered", DONE, 0, flags_in_handler_end);
    check(trap ? "trap gate" : "interrupt gate", out.gpr[RAX], FIXED | ACF | IOPL3 | CF | (trap ? IF : 0));
  }
}

TESTS(conforming_handler) {
  section("conforming code segment behind a gate");
  fresh();
  gdt[SEL_FREE >> 3] = descriptor(0, 0xfffff, CODE_NATIVE | CONFORMING);
  set_gate((word)handler, SEL_FREE, OPEN);
  run(3, int30);
  ended("entered", DONE, 0, handler_end);
  check("CPL stays", out.cs, SEL_FREE | 3);
  check("so does the stack", out.gpr[RSP], TOP(stack3) - (LONG ? 40 : 12));
}

TESTS(inner_stacks) {
  section("stacks of inner rings");
  for (int ring = 0; ring < 3; ring++) {
    u8 *const stacks[] = {stack0, stack1, stack2};
    fresh();
    gdt[SEL_FREE >> 3] = descriptor(0, 0xfffff, CODE_NATIVE | ring << 5);
    gdt[(SEL_FREE >> 3) + 1] = descriptor(0, 0xfffff, DATA32 | ring << 5);
#if !LONG
    tss.esp1 = TOP(stack1);
    tss.ss1 = SEL_FREE + 8 + 1;
    tss.esp2 = TOP(stack2);
    tss.ss2 = SEL_FREE + 8 + 2;
    if (ring == 0) tss.esp0 = TOP(stack0);
#endif
    set_gate((word)handler, SEL_FREE, OPEN);
    run(3, int30);
    ended("entered", DONE, 0, handler_end);
    check("CPL", out.cs, SEL_FREE | ring);
    if (LONG || ring) {
      check("stack", out.gpr[RSP], TOP(stacks[ring]) - 5 * sizeof(word));
      check("SS", out.ss, LONG ? ring : (SEL_FREE + 8) | ring);
    }
    const word *const pushed = (word *)(TOP(stacks[ring]) - 5 * sizeof(word));
    check("IP", pushed[0], (word)int30_y);
    check("CS", pushed[1], SEL_UCODE);
    check("stack pointer", pushed[3], TOP(stack3));
    check("SS of the outer", pushed[4], SEL_UDATA);
#if !LONG
    tss.esp0 = TOP(trap_stack);
#endif
  }
}

#if LONG
SNIPPET(misaligned, "sub $5, %rsp", "int $0x30", "");
TESTS(long_stacks) {
  section("stacks in long mode");
  fresh();
  gate(0x30, (word)handler, SEL_CODE, OPEN, 3);
  tss.ist[2] = TOP(stack1);
  run(0, int30);
  ended("IST in ring 0", DONE, 0, handler_end);
  check("its stack", out.gpr[RSP], TOP(stack1) - 40);
  check("SS stays", out.ss, SEL_DATA);
  fresh();
  set_gate((word)handler, SEL_CODE, OPEN);
  run(0, misaligned);
  check("aligned to 16 before the pushes", out.gpr[RSP], ((TOP(stack0) - 5) & ~15ul) - 40);
  fresh();
  tss.rsp[0] = 0x800000000000;
  run(3, int30);
  ended("non-canonical RSP0", SS, 0, int30_x);
  fresh();
  tss.rsp[0] = TEST + 0x800;
  run(3, int30);
  ended("RSP0 not mapped", PF, 2, int30_x);
  check("CR2", out.cr2, TEST + 0x7f8);
}
#else
TESTS(legacy_stacks) {
  section("stacks from a TSS");
  static const struct {
    const char *name;
    u32 selector, attributes, vector, error;
  } cases[] = {
    {"null SS", 1, DATA32 | DPL1, TS, 0},
    {"SS beyond the GDT", SEL_LAST + 8 + 1, DATA32 | DPL1, TS, SEL_LAST + 8},
    {"RPL of SS", SEL_FREE + 8, DATA32 | DPL1, TS, SEL_FREE + 8},
    {"DPL of SS", SEL_FREE + 8 + 1, DATA32, TS, SEL_FREE + 8},
    {"SS is code", SEL_FREE + 8 + 1, CODE32 | DPL1, TS, SEL_FREE + 8},
    {"SS not writable", SEL_FREE + 8 + 1, (DATA32 | DPL1) & ~2, TS, SEL_FREE + 8},
    {"SS not present", SEL_FREE + 8 + 1, (DATA32 | DPL1) & ~PRESENT, SS, SEL_FREE + 8},
  };
  for (u32 n = 0; n < sizeof cases / sizeof *cases; n++) {
    fresh();
    gdt[SEL_FREE >> 3] = descriptor(0, 0xfffff, CODE32 | DPL1);
    gdt[(SEL_FREE >> 3) + 1] = descriptor(0, 0xfffff, cases[n].attributes);
    tss.esp1 = TOP(stack1);
    tss.ss1 = cases[n].selector;
    set_gate((word)handler, SEL_FREE, OPEN);
    run(3, int30);
    ended(cases[n].name, cases[n].vector, cases[n].error, int30_x);
  }
  fresh();
  gdt[(SEL_FREE >> 3) + 1] = descriptor(0, 0xf, (DATA32 | DPL1) & ~0x8000);
  tss.ss1 = SEL_FREE + 8 + 1;
  run(3, int30);
  ended("no room on the new stack", SS, SEL_FREE + 8, int30_x);
  fresh();
  gdt[SEL_TSS >> 3] = descriptor((word)&tss, 11, TSS32 | PRESENT);
  asm volatile("ltr %w0" ::"r"(SEL_TSS));
  gdt[SEL_FREE >> 3] = descriptor(0, 0xfffff, CODE32 | DPL1);
  run(3, int30);
  /* The handler of #TS finds its stack in the 12 bytes. */
  ended("TSS too small", TS, SEL_TSS, int30_x);
}

SNIPPET(in_16, "", "nop", "");
TESTS(small_gates) {
  section("16-bit gates of the IDT");
  /* The handler is reached through a code segment based at it. */
  for (int trap = 0; trap < 2; trap++) {
    fresh();
    gdt[SEL_FREE >> 3] = descriptor((word)in_16, 0xffff, CODE32 & ~0x8000);
    set_gate(0xdead0000, SEL_FREE, (trap ? TRAP16 : INT16) | PRESENT | DPL3);
    tss.esp0 = TOP(stack0);
    run(3, int30);
    ended("entered", DONE, 0, (void *)(in_16_end - in_16));
    const u16 *const pushed = (u16 *)(TOP(stack0) - 10);
    check("IP", pushed[0], (u16)(word)int30_y);
    check("CS", pushed[1], SEL_UCODE);
    check("FLAGS", pushed[2], FIXED);
    check("SP", pushed[3], (u16)TOP(stack3));
    check("SS", pushed[4], SEL_UDATA);
  }
  tss.esp0 = TOP(trap_stack);
}
#endif

/* ---- call gates -------------------------------------------------------------------------------------------------------- */
static struct {
  u32 offset;
  u16 selector;
} __attribute__((packed)) far;
SNIPPET(call_far, "", "lcall *(%" AX ")", "nop");
SNIPPET(jump_far, "", "ljmp *(%" AX ")", "nop");

static void call(int cpl, const void *code) {
  in.gpr[RAX] = (word)&far;
  run(cpl, code);
}

TESTS(call_gates) {
  section("call gates");
  const u32 g = SEL_FREE, type = CALL32 | PRESENT | DPL3;
  far.selector = g | 3;
  fresh();
  gdt_gate(g, (word)handler, SEL_CODE, type, 0);
  call(0, call_far);
  ended("same level", DONE, 0, handler_end);
  check("stack", out.gpr[RSP], TOP(stack0) - (LONG ? 16 : 8));
#if !LONG
  tss.esp0 = TOP(stack0);
  fresh();
  gdt_gate(g, (word)handler, SEL_CODE, type, 3);
  in.gpr[RSP] = TOP(stack3) - 12;
  for (u32 n = 0; n < 3; n++) ((u32 *)(TOP(stack3) - 12))[n] = 0x11111111 * (n + 1);
  call(3, call_far);
  ended("inner level with parameters", DONE, 0, handler_end);
  const u32 *const pushed = (u32 *)(TOP(stack0) - 7 * 4);
  check("IP", pushed[0], (word)call_far_y);
  check("CS", pushed[1], SEL_UCODE);
  for (u32 n = 0; n < 3; n++) check("parameter", pushed[2 + n], 0x11111111 * (n + 1));
  check("ESP", pushed[5], TOP(stack3) - 12);
  check("SS", pushed[6], SEL_UDATA);
  fresh();
  gdt[(g >> 3) + 1] = descriptor((word)in_16, 0xffff, CODE32 & ~0x8000);
  gdt_gate(g, 0x50000, g + 8, CALL16 | PRESENT | DPL3, 2);
  ((u32 *)(TOP(stack3) - 4))[0] = 0x22221111;
  in.gpr[RSP] = TOP(stack3) - 4;
  call(3, call_far);
  ended("16-bit, inner level with parameters", DONE, 0, (void *)(in_16_end - in_16));
  const u16 *const small = (u16 *)(TOP(stack0) - 12);
  check("IP of 16 bits", small[0], (u16)(word)call_far_y);
  check("CS of 16 bits", small[1], SEL_UCODE);
  check("parameter of 16 bits", small[2], 0x1111);
  check("second parameter of 16 bits", small[3], 0x2222);
  check("SP of 16 bits", small[4], (u16)(TOP(stack3) - 4));
  check("SS of 16 bits", small[5], SEL_UDATA);
  tss.esp0 = TOP(trap_stack);
#else
  fresh();
  gdt_gate(g, (word)handler, SEL_CODE, type, 3);
  call(3, call_far);
  ended("inner level", DONE, 0, handler_end);
  const u64 *const pushed = (u64 *)(TOP(stack0) - 32);
  check("RSP is where the TSS says", out.gpr[RSP], (word)pushed);
  check("SS is null", out.ss, 0);
  check("RIP", pushed[0], (word)call_far_y);
  check("CS", pushed[1], SEL_UCODE);
  check("RSP", pushed[2], TOP(stack3));
  check("SS of the outer", pushed[3], SEL_UDATA);
  fresh();
  gdt_gate(g, (word)handler, SEL_CODE, type, 0);
  gdt[(g >> 3) + 1] |= 1ull << 40;
  call(3, call_far);
  ended("upper half has a type", GP, g, call_far_x);
  fresh();
  gdt_gate(g, (word)handler, SEL_CODE32, type, 0);
  call(3, call_far);
  ended("32-bit code", GP, SEL_CODE32, call_far_x);
  fresh();
  gdt_gate(g, 0x800000000000, SEL_CODE, type, 0);
  call(3, call_far);
  ended("non-canonical offset", GP, 0, call_far_x);
  fresh();
  gdt_gate(g, (word)handler, SEL_CODE, CALL16 | PRESENT | DPL3, 0);
  call(3, call_far);
  ended("16-bit gate", GP, g, call_far_x);
#endif
  fresh();
  gdt_gate(g, (word)handler, SEL_CODE, CALL32 | PRESENT, 0);
  call(3, call_far);
  ended("DPL of the gate", GP, g, call_far_x);
  fresh();
  far.selector = g | 3;
  call(0, call_far);
  ended("RPL against the gate's DPL", GP, g, call_far_x);
  fresh();
  gdt_gate(g, (word)handler, SEL_CODE, CALL32 | DPL3, 0);
  call(3, call_far);
  ended("gate not present", NP, g, call_far_x);
  fresh();
  gdt_gate(g, (word)handler, 0, type, 0);
  call(3, call_far);
  ended("null target", GP, 0, call_far_x);
  fresh();
  gdt_gate(g, (word)handler, SEL_DATA, type, 0);
  call(3, call_far);
  ended("target is data", GP, SEL_DATA, call_far_x);
  fresh();
  gdt_gate(g, (word)handler, SEL_UCODE, type, 0);
  call(0, call_far);
  ended("target is outer", GP, SEL_UCODE & ~3, call_far_x);
  fresh();
  gdt[SEL_LAST >> 3] = descriptor(0, 0xfffff, CODE_NATIVE & ~PRESENT);
  gdt_gate(g, (word)handler, SEL_LAST, type, 0);
  call(3, call_far);
  ended("target not present", NP, SEL_LAST, call_far_x);
  fresh();
  gdt_gate(g, (word)handler, SEL_CODE, type, 0);
  call(3, jump_far);
  ended("JMP to an inner level", GP, SEL_CODE, jump_far_x);
  fresh();
  gdt_gate(g, (word)handler, SEL_UCODE, type, 0);
  call(3, jump_far);
  ended("JMP in the same level", DONE, 0, handler_end);
  fresh();
  gdt[SEL_LAST >> 3] = descriptor(0, 0xfffff, CODE_NATIVE | CONFORMING);
  gdt_gate(g, (word)handler, SEL_LAST, type, 0);
  call(3, jump_far);
  ended("JMP to conforming code", DONE, 0, handler_end);
  check("CPL stays", out.cs, SEL_LAST | 3);
}

TESTS(direct_far) {
  section("direct far transfers");
  static const struct {
    const char *name;
    u32 cpl, selector, attributes, vector, error;
  } cases[] = {
    {"null selector", 3, 3, 0, GP, 0},
    {"beyond the GDT", 3, SEL_LAST + 8, 0, GP, SEL_LAST + 8},
    {"same level", 3, SEL_FREE | 3, CODE_NATIVE | DPL3, DONE, 0},
    {"smaller RPL", 3, SEL_FREE, CODE_NATIVE | DPL3, DONE, 0},
    {"inner level", 3, SEL_FREE, CODE_NATIVE, GP, SEL_FREE},
    {"outer level", 0, SEL_FREE | 3, CODE_NATIVE | DPL3, GP, SEL_FREE},
    {"greater RPL", 0, SEL_FREE | 3, CODE_NATIVE, GP, SEL_FREE},
    {"conforming, inner", 3, SEL_FREE, CODE_NATIVE | CONFORMING, DONE, 0},
    {"conforming, outer", 0, SEL_FREE, CODE_NATIVE | CONFORMING | DPL3, GP, SEL_FREE},
    {"conforming, greater RPL", 0, SEL_FREE | 3, CODE_NATIVE | CONFORMING, DONE, 0},
    {"data", 3, SEL_FREE | 3, DATA32 | DPL3, GP, SEL_FREE},
    {"not present", 3, SEL_FREE | 3, (CODE_NATIVE | DPL3) & ~PRESENT, NP, SEL_FREE},
    {"LDT descriptor", 3, SEL_FREE | 3, LDT | PRESENT | DPL3, GP, SEL_FREE},
#if LONG
    {"L and D", 3, SEL_FREE | 3, CODE64 | CODE32 | DPL3, GP, SEL_FREE},
    {"task gate", 3, SEL_FREE | 3, TASK_GATE | PRESENT | DPL3, GP, SEL_FREE},
    {"TSS", 0, SEL_FREE, TSS32 | PRESENT, GP, SEL_FREE},
#endif
  };
  far.offset = (u32)(word)handler;
  for (u32 n = 0; n < sizeof cases / sizeof *cases; n++) {
    for (int jump = 0; jump < 2; jump++) {
      fresh();
      gdt[SEL_FREE >> 3] = descriptor(0, 0xfffff, cases[n].attributes);
      gdt[(SEL_FREE >> 3) + 1] = 0;
      far.selector = cases[n].selector;
      call(cases[n].cpl, jump ? jump_far : call_far);
      ended(cases[n].name, cases[n].vector, cases[n].error,
            cases[n].vector == DONE ? handler_end : jump ? jump_far_x : call_far_x);
      if (cases[n].vector == DONE) check("CS", out.cs, SEL_FREE | cases[n].cpl);
    }
  }
  fresh();
  gdt[SEL_FREE >> 3] = descriptor(0, 0xfff, CODE32 & ~0x8000);
  far.selector = SEL_FREE;
  far.offset = 0x1000;
  call(0, call_far);
  ended("offset beyond the segment", GP, 0, call_far_x);
}

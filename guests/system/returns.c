/* Far returns and IRET. */
#include "system.h"

#define AX LONG_AX
#if LONG
#define LRET "lretq"
#define LRET8 "lretq $8"
#define IRET "iretq"
#else
#define LRET "lretl"
#define LRET8 "lretl $8"
#define IRET "iretl"
#endif
SNIPPET(ret_far, "", LRET, "");
SNIPPET(ret_far_8, "", LRET8, "");
SNIPPET(ret_far_32, "", ".byte 0xcb", "");
SNIPPET(iret_, "", IRET, "");
SNIPPET(iret_32, "", ".byte 0xcf", "");
SNIPPET(iret_16, "", ".byte 0x66, 0xcf", "");
SNIPPET(target, "", "nop", "");
SNIPPET32(target32, "", "nop", "");
SNIPPET(uses_ds, "", "mov (%" LONG_SI "), %cl", "");
SNIPPET32(uses_ds_32, "", "mov (%esi), %cl", "");

#define F SEL_FREE
/* Puts words on the stack of ring `cpl` for a snippet that pops them. */
static word *stack_of(int cpl) { return (word *)(TOP(cpl ? stack3 : stack0) - 128); }
static void frame5(int cpl, word ip, word cs, word flags, word sp, word ss) {
  word *s = stack_of(cpl);
  s[0] = ip;
  s[1] = cs;
  s[2] = flags;
  s[3] = sp;
  s[4] = ss;
  in.gpr[RSP] = (word)s;
}
/* RETF has no flags. */
static void frame4(int cpl, word ip, word cs, word sp, word ss) {
  word *s = stack_of(cpl);
  s[0] = ip;
  s[1] = cs;
  s[2] = sp;
  s[3] = ss;
  in.gpr[RSP] = (word)s;
}

struct code_case {
  const char *name;
  u32 cpl, selector, attributes, vector, error;
};
static const struct code_case code_cases[] = {
  {"same level", 0, F, CODE_NATIVE, DONE, 0},
  {"null", 0, 0, 0, GP, 0},
  {"beyond the GDT", 0, SEL_LAST + 8, 0, GP, SEL_LAST + 8},
  {"inner level", 3, F, CODE_NATIVE, GP, F},
  {"inner RPL", 3, F, CODE_NATIVE | DPL3, GP, F},
  {"RPL is not DPL", 0, F | 3, CODE_NATIVE, GP, F},
  {"conforming, DPL above RPL", 0, F, CODE_NATIVE | CONFORMING | DPL3, GP, F},
  {"conforming", 0, F, CODE_NATIVE | CONFORMING, DONE, 0},
  {"data", 0, F, DATA32, GP, F},
  {"not present", 0, F, CODE_NATIVE & ~PRESENT, NP, F},
  {"call gate", 0, F, CALL32 | PRESENT, GP, F},
#if LONG
  {"L and D", 0, F, CODE64 | CODE32, GP, F},
#endif
};

TESTS(far_returns) {
  section("RETF");
  for (u32 n = 0; n < sizeof code_cases / sizeof *code_cases; n++) {
    const struct code_case *c = &code_cases[n];
    fresh();
    gdt[F >> 3] = descriptor(0, 0xfffff, c->attributes);
    gdt[(F >> 3) + 1] = 0;
    frame4(c->cpl, (word)target, c->selector, 0, 0);
    run(c->cpl, ret_far);
    ended(c->name, c->vector, c->error, c->vector == DONE ? target_end : ret_far_x);
    if (c->vector == DONE) check("stack", out.gpr[RSP], (word)(stack_of(0) + 2));
  }
  fresh();
  in.ds = SEL_DATA;
  in.es = SEL_UDATA;
  in.fs = SEL_UCODE;
  gdt[F >> 3] = descriptor(0, 0xfffff, CODE_NATIVE | CONFORMING);
  in.gs = F;
  frame4(0, (word)target, SEL_UCODE, TOP(stack3), SEL_UDATA);
  run(0, ret_far);
  ended("to ring 3", DONE, 0, target_end);
  check("CS", out.cs, SEL_UCODE);
  check("SS", out.ss, SEL_UDATA);
  check("stack of ring 3", out.gpr[RSP], TOP(stack3));
  check("DS of ring 0 is gone", out.ds, 0);
  check("ES of ring 3 stays", out.es, SEL_UDATA);
  check("FS stays", out.fs, SEL_UCODE);
  check("GS stays, conforming code", out.gs, F);
#if LONG
  /* What is dropped loses its selector; the bases of FS and GS stay, as in Bochs and QEMU. */
  fresh();
  gdt[F >> 3] = descriptor(0x12345678, 0xfffff, DATA32);
  in.fs = in.gs = F;
  frame4(0, (word)target, SEL_UCODE, TOP(stack3), SEL_UDATA);
  run(0, ret_far);
  check("FS of ring 0 is gone", out.fs, 0);
  check("GS of ring 0 is gone", out.gs, 0);
  check("base of FS", rdmsr(0xc0000100), 0x12345678);
  check("base of GS", rdmsr(0xc0000101), 0x12345678);
  fresh();
  in.fs = in.gs = F;
  frame5(0, (word)target, SEL_UCODE, FIXED, TOP(stack3), SEL_UDATA);
  run(0, iret_);
  check("FS of ring 0 is gone by IRET", out.fs, 0);
  check("base of FS", rdmsr(0xc0000100), 0x12345678);
#endif
  fresh();
  in.ds = SEL_DATA;
  in.gpr[RSI] = (word)stack3;
  frame4(0, (word)(LONG ? uses_ds_32 : uses_ds), LONG ? SEL_UCODE32 : SEL_UCODE, TOP(stack3), SEL_UDATA);
  run(0, ret_far);
  ended("what is dropped can't be used", GP, 0, LONG ? uses_ds_32_x : uses_ds_x);
  fresh();
  word *s = stack_of(0);
  s[0] = (word)target;
  s[1] = SEL_UCODE;
  s[2 + 8 / sizeof(word)] = TOP(stack3) - 64;
  s[3 + 8 / sizeof(word)] = SEL_UDATA;
  in.gpr[RSP] = (word)s;
  run(0, ret_far_8);
  ended("to ring 3, releasing 8 bytes", DONE, 0, target_end);
  check("released on the outer stack", out.gpr[RSP], TOP(stack3) - 64 + 8);
  static const struct {
    const char *name;
    u32 selector, attributes, vector, error;
  } stacks[] = {
    {"null SS", 0, 0, GP, 0},
    {"null SS, RPL 3", 3, 0, GP, 0},
    {"SS beyond the GDT", SEL_LAST + 8 + 3, 0, GP, SEL_LAST + 8},
    {"RPL of SS", F, DATA32 | DPL3, GP, F},
    {"DPL of SS", F | 3, DATA32, GP, F},
    {"SS not writable", F | 3, (DATA32 | DPL3) & ~2, GP, F},
    {"SS not present", F | 3, (DATA32 | DPL3) & ~PRESENT, SS, F},
  };
  for (u32 n = 0; n < sizeof stacks / sizeof *stacks; n++) {
    fresh();
    gdt[F >> 3] = descriptor(0, 0xfffff, stacks[n].attributes);
    frame4(0, (word)target, SEL_UCODE, TOP(stack3), stacks[n].selector);
    run(0, ret_far);
    ended(stacks[n].name, stacks[n].vector, stacks[n].error, ret_far_x);
    check("nothing is popped", out.gpr[RSP], (word)stack_of(0));
    fresh();
    frame5(0, (word)target, SEL_UCODE, FIXED, TOP(stack3), stacks[n].selector);
    run(0, iret_);
    ended(stacks[n].name, stacks[n].vector, stacks[n].error, iret__x);
  }
#if LONG
  fresh();
  frame4(0, 0x800000000000, SEL_CODE, 0, 0);
  run(0, ret_far);
  ended("non-canonical target", GP, 0, ret_far_x);
  fresh();
  u32 *half = (u32 *)stack_of(0);
  half[0] = (u32)(word)target;
  half[1] = SEL_CODE;
  in.gpr[RSP] = (word)half;
  run(0, ret_far_32);
  ended("32-bit operands", DONE, 0, target_end);
  check("stack of 32-bit operands", out.gpr[RSP], (word)(half + 2));
  fresh();
  frame4(0, (word)target32, SEL_UCODE32, TOP(stack3), SEL_UDATA);
  run(0, ret_far);
  ended("to 32-bit code", DONE, 0, target32_end);
  check("its CS", out.cs, SEL_UCODE32);
#else
  fresh();
  gdt[F >> 3] = descriptor(0, 0xff, CODE32 & ~0x8000);
  frame4(0, 0x100, F, 0, 0);
  run(0, ret_far);
  ended("target beyond the segment", GP, 0, ret_far_x);
#endif
}

TESTS(interrupt_returns) {
  section("IRET");
  for (u32 n = 0; n < sizeof code_cases / sizeof *code_cases; n++) {
    const struct code_case *c = &code_cases[n];
    fresh();
    gdt[F >> 3] = descriptor(0, 0xfffff, c->attributes);
    gdt[(F >> 3) + 1] = 0;
    frame5(c->cpl, (word)target, c->selector, FIXED, TOP(stack0), SEL_DATA);
    run(c->cpl, iret_);
    ended(c->name, c->vector, c->error, c->vector == DONE ? target_end : iret__x);
  }
  /* Which flags come back: all in ring 0; in ring 3 not IOPL, and IF only with IOPL 3. */
  const u32 all = CF | 4 | 0x10 | 0x40 | 0x80 | DFLAG | 0x800 | IOPL3 | ACF | 1 << 21 | FIXED;
  fresh();
  frame5(0, (word)target, SEL_CODE, all | IF, TOP(stack0), SEL_DATA);
  run(0, iret_);
  check("flags in ring 0", out.flags, all | IF);
  fresh();
  frame5(3, (word)target, SEL_UCODE, all | IF, TOP(stack3), SEL_UDATA);
  run(3, iret_);
  check("flags in ring 3", out.flags, all & ~IOPL3);
  fresh();
  in.flags = FIXED | IOPL3;
  frame5(3, (word)target, SEL_UCODE, IF, TOP(stack3), SEL_UDATA);
  run(3, iret_);
  check("flags in ring 3 with IOPL 3", out.flags, FIXED | IOPL3 | IF);
  fresh();
  in.ds = SEL_DATA;
  in.es = SEL_UDATA;
  frame5(0, (word)target, SEL_UCODE, FIXED, TOP(stack3), SEL_UDATA);
  run(0, iret_);
  ended("to ring 3", DONE, 0, target_end);
  check("DS of ring 0 is gone", out.ds, 0);
  check("ES of ring 3 stays", out.es, SEL_UDATA);
  /* 16-bit operands: the upper halves of what is popped are zero. */
  fresh();
  gdt[F >> 3] = descriptor((word)target, 0xffff, (CODE_NATIVE & ~0xa000) | (LONG ? CODE32 & 0x4000 : 0));
  u16 *half = (u16 *)stack_of(0);
  half[0] = 0;
  half[1] = F;
  half[2] = FIXED | CF;
  half[3] = (u16)TOP(stack0);
  half[4] = SEL_DATA;
  in.gpr[RSP] = (word)half;
  in.flags = FIXED | ACF;
  run(0, iret_16);
  ended("16-bit operands", DONE, 0, (void *)(target_end - target));
  check("upper flags stay", out.flags, FIXED | CF | ACF);
  /* NT. */
#if LONG
  fresh();
  in.flags = FIXED | NT;
  frame5(0, (word)target, SEL_CODE, FIXED, TOP(stack0), SEL_DATA);
  run(0, iret_);
  ended("NT in long mode", GP, 0, iret__x);
  fresh();
  frame5(0, 0x800000000000, SEL_CODE, FIXED, TOP(stack0), SEL_DATA);
  run(0, iret_);
  ended("non-canonical target", GP, 0, iret__x);
  fresh();
  frame5(0, (word)target, SEL_CODE, FIXED, TOP(stack0), 0);
  run(0, iret_);
  ended("null SS in ring 0", DONE, 0, target_end);
  check("SS", out.ss, 0);
  fresh();
  frame5(0, (word)target, SEL_CODE, FIXED, 0x800000000000, SEL_DATA);
  run(0, iret_);
  ended("non-canonical RSP is loaded", DONE, 0, target_end);
  check("RSP", out.gpr[RSP], 0x800000000000);
  fresh();
  u32 *words = (u32 *)stack_of(0);
  words[0] = (u32)(word)target32;
  words[1] = SEL_UCODE32;
  words[2] = FIXED;
  words[3] = (u32)TOP(stack3);
  words[4] = SEL_UDATA;
  in.gpr[RSP] = (word)words;
  run(0, iret_32);
  ended("32-bit operands", DONE, 0, target32_end);
  check("CS", out.cs, SEL_UCODE32);
  fresh();
  frame5(0, (word)target32, SEL_UCODE32, FIXED | VM, TOP(stack3), SEL_UDATA);
  run(0, iret_);
  ended("VM is ignored in long mode", DONE, 0, target32_end);
  check("VM", out.flags & VM, 0);
#else
  fresh();
  frame5(3, (word)target, SEL_UCODE, FIXED | VM, TOP(stack3), SEL_UDATA);
  run(3, iret_);
  ended("VM is ignored in ring 3", DONE, 0, target_end);
  check("VM", out.flags & VM, 0);
#endif
}

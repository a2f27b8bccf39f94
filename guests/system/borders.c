/* Where addresses end: at 4 GiB outside of 64-bit mode, at 64 KiB on a 16-bit stack. What reaches over the end of a segment of
 * 4 GiB, "may or may not" fault (SDM volume 3, 6.3); an AMD EPYC does so in 32-bit user code, and so does the core here. */
#include "system.h"

SNIPPET32(load2, "", "movw (%esi), %ax", "");
SNIPPET32(load4, "", "movl (%esi), %eax", "");
SNIPPET32(load8, "", "movq (%esi), %xmm0", "");
SNIPPET32(load16, "", "movups (%esi), %xmm0", "");
SNIPPET32(store2, "", "movw %ax, (%esi)", "");
SNIPPET32(store4, "", "movl %eax, (%esi)", "");
SNIPPET32(store16, "", "movups %xmm0, (%esi)", "");
SNIPPET32(add4, "", "addl %eax, (%esi)", "");
SNIPPET32(string4, "cld", "lodsl", "");
SNIPPET32(repeat4, "cld", "rep movsl", "");
SNIPPET32(by_stack, "mov %esi, %ebp", "movl (%ebp), %eax", "");
SNIPPET32(pop4, "", "pop %eax", "");
SNIPPET32(push4, "", "push %eax", "");
SNIPPET16(load4_16, "", "movl (%esi), %eax", "");
SNIPPET16(store2_16, "", "movw %ax, (%esi)", "");
SNIPPET32(load32, "", "vmovups (%esi), %ymm0", "");

TESTS(four_gib) {
  section("the end of 4 GiB");
  static const struct {
    const char *name;
    const u8 *code, *at;
    u32 bytes, vector, selector;
  } cases[] = {
    {"2 bytes", load2, load2_x, 2, GP, SEL_UCODE32}, {"4 bytes", load4, load4_x, 4, GP, SEL_UCODE32},
    {"8 bytes", load8, load8_x, 8, GP, SEL_UCODE32},
    {"16 bytes", load16, load16_x, 16, GP, SEL_UCODE32}, {"a store of 2", store2, store2_x, 2, GP, SEL_UCODE32},
    {"a store of 4", store4, store4_x, 4, GP, SEL_UCODE32}, {"a store of 16", store16, store16_x, 16, GP, SEL_UCODE32},
    {"ADD", add4, add4_x, 4, GP, SEL_UCODE32}, {"LODS", string4, string4_x, 4, GP, SEL_UCODE32},
    {"REP MOVS", repeat4, repeat4_x, 4, GP, SEL_UCODE32}, {"by SS", by_stack, by_stack_x, 4, SS, SEL_UCODE32},
    {"4 bytes, 16-bit code", load4_16, load4_16_x, 4, GP, SEL_UCODE16},
    {"a store of 2, 16-bit code", store2_16, store2_16_x, 2, GP, SEL_UCODE16},
    {"32 bytes", load32, load32_x, 32, GP, SEL_UCODE32},
  };
  const word c4 = cr4();
  set_cr4(c4 | 0x200);
  const int avx = has(1, 2, 28);
  if (avx) {
    set_cr4(cr4() | CR4_OSXSAVE);
    asm volatile("xsetbv" ::"a"(7), "d"(0), "c"(0));
  }
  for (u32 n = 0; n < sizeof cases / sizeof *cases - !avx; n++)
    for (u32 first = 1; first <= cases[n].bytes; first++) {
      fresh();
      in.gpr[RSI] = (u32)-first;
      in.gpr[RDI] = (word)frames[1];
      in.gpr[RCX] = 1;
      run_in(cases[n].selector, SEL_UDATA, cases[n].code);
      if (first == cases[n].bytes) ran(cases[n].name);
      else ended(cases[n].name, cases[n].vector, 0, cases[n].at);
    }
  if (avx) asm volatile("vzeroall; xsetbv" ::"a"(1), "d"(0), "c"(0));
  set_cr4(c4);
  for (u32 first = 1; first < 4; first++) {
    fresh();
    in.gpr[RSP] = (u32)-first;
    run_in(SEL_UCODE32, SEL_UDATA, pop4);
    ended("POP", SS, 0, pop4_x);
    fresh();
    in.gpr[RSP] = first;
    run_in(SEL_UCODE32, SEL_UDATA, push4);
    ended("PUSH", SS, 0, push4_x);
    check("stack pointer", out.gpr[RSP], first);
  }
  /* A base moves the border of the segment, and linear addresses wrap. */
  fresh();
  gdt[SEL_FREE >> 3] = descriptor((u32)-0x1000 + 2, 0xfffff, DATA32 | DPL3);
  *(u32 *)frames[2] = 0x12345678;
  in.ds = in.es = SEL_FREE | 3;
  in.gpr[RSI] = (u32)((word)frames[2] + 0x1000 - 2);
  run_in(SEL_UCODE32, SEL_UDATA, load4);
  ran("a base wraps");
  check("what is read", (u32)out.gpr[RAX], 0x12345678);
}

/* A stack of 64 KiB: SP wraps, ESP keeps its upper half. */
SNIPPET32(pushes_16, "", "push %eax", "pop %ecx; push %eax");
SNIPPET32(calls_16, "", "call 1f; 1:", "");
SNIPPET16(pushes_w, "", "push %ax", "push %ax");
TESTS(small_stack) {
  section("16-bit stacks");
  static u8 room[0x10000] __attribute__((aligned(65536)));
  const u32 ss = SEL_FREE | 3;
  gdt[SEL_FREE >> 3] = descriptor((word)room, 0xffff, DATA16 | DPL3);
  fresh();
  in.gpr[RSP] = 0x56780100;
  in.gpr[RAX] = 0xabcdef01;
  run_in(SEL_UCODE32, ss, pushes_16);
  ran("PUSH and POP");
  check("what is pushed", *(u32 *)(room + 0xfc), 0xabcdef01);
  check("what is popped", (u32)out.gpr[RCX], 0xabcdef01);
  check("SP", out.gpr[RSP] & 0xffff, 0xfc);
  fresh();
  in.gpr[RSP] = 0x56780000;
  in.gpr[RAX] = 0x11223344;
  run_in(SEL_UCODE32, ss, pushes_16);
  ran("SP wraps");
  check("at its end", *(u32 *)(room + 0xfffc), 0x11223344);
  check("SP", out.gpr[RSP] & 0xffff, 0xfffc);
  fresh();
  in.gpr[RSP] = 2;
  run_in(SEL_UCODE32, ss, pushes_16);
  ended("4 bytes over its end", SS, 0, pushes_16_x);
  run_in(SEL_UCODE32, ss, calls_16);
  ended("CALL over its end", SS, 0, calls_16_x);
  fresh();
  in.gpr[RSP] = 1;
  run_in(SEL_UCODE16, ss, pushes_w);
  ended("2 bytes over its end", SS, 0, pushes_w_x);
  fresh();
  in.gpr[RSP] = 0x10002;
  in.gpr[RAX] = 0x55aa;
  run_in(SEL_UCODE16, ss, pushes_w);
  ran("16-bit PUSHes");
  check("the first", *(u16 *)room, 0x55aa);
  check("the second", *(u16 *)(room + 0xfffe), 0x55aa);
}

#if LONG
SNIPPET(short_load, "", "movl (%esi), %eax", "");
SNIPPET(short_wide, "", "movups (%esi), %xmm0", "");
SNIPPET(short_sum, "mov $4, %edi", "movl (%esi,%edi), %eax", "");
SNIPPET(by_ss, "", ".byte 0x36; mov (%rax), %bl", "");
SNIPPET(lods_ss, "", ".byte 0x36; lodsb", "");
SNIPPET(movs_ss, "", ".byte 0x36; rep movsb", "");
SNIPPET(xlat_ss, "", ".byte 0x36; xlat", "");
SNIPPET(by_ds_rbp, "", ".byte 0x3e; mov (%rbp), %bl", "");
SNIPPET(by_fs_rbp, "", "mov %fs:(%rbp), %bl", "");

TESTS(long_borders) {
  section("addresses in 64-bit mode");
  /* 32-bit addresses wrap before the access, not in it. */
  const word c4 = cr4();
  set_cr4(c4 | 0x200);
  for (u32 first = 1; first < 4; first++) {
    fresh();
    in.gpr[RSI] = (u32)-first;
    run(3, short_load);
    ended("4 bytes go on above 4 GiB", PF, 4, short_load_x);
    check("CR2", out.cr2, 1ul << 32);
  }
  for (u32 first = 1; first < 16; first++) {
    fresh();
    in.gpr[RSI] = (u32)-first;
    run(3, short_wide);
    ended("16 bytes go on above 4 GiB", PF, 4, short_wide_x);
    check("CR2", out.cr2, 1ul << 32);
  }
  set_cr4(c4);
  fresh();
  in.gpr[RSI] = (u32)((word)frames[1] - 4);
  in.gpr[RSI] |= 0xdead00000000;
  *(u32 *)frames[1] = 0x1234;
  run(3, short_sum);
  ran("the sum has 32 bits");
  check("what is read", out.gpr[RAX], 0x1234);
  /* The prefix SS counts for nothing; a base of RBP or RSP makes #SS, unless FS or GS is named. An AMD EPYC does so. */
  const u64 hole = 0x0000800000001000;
#define HOLE(s, reg, want)            \
  fresh();                            \
  in.gpr[reg] = hole;                 \
  in.gpr[RCX] = 3;                    \
  if (reg != RDI) in.gpr[RDI] = (word)frames[1]; \
  run(3, s);                          \
  ended(#s, want, 0, s##_x);
  HOLE(by_ss, RAX, GP)
  HOLE(lods_ss, RSI, GP)
  HOLE(movs_ss, RSI, GP)
  HOLE(xlat_ss, RBX, GP)
  HOLE(by_ds_rbp, RBP, SS)
  HOLE(by_fs_rbp, RBP, GP)
}
#endif

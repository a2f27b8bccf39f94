/* Real-address mode (SDM volume 3, chapter 20): the interrupt table, limits, far transfers, and the ways into it and out of it. */
#include "system.h"
#include "real.h"
#if !LONG

extern u8 real_image[], real_image_end[];
extern u16 real_stubs[34];
extern struct real_state real_in, real_out;
extern struct {
  u16 limit;
  u32 base;
} __attribute__((packed)) real_idt;
void real_go(void);
#define COPY(object) (*(__typeof__(object) *)(REAL_BASE + (word)&(object)))

void real_copy(void) {
  const u8 *from = real_image;
  word to = REAL_BASE, bytes = real_image_end - real_image;
  asm volatile("cld; rep movsb" : "+S"(from), "+D"(to), "+c"(bytes)::"memory");
}

void real_run(const u8 *code, u32 idt_limit) {
  real_copy();
  struct real_state *s = &COPY(real_in);
  u32 table = 0;
  /* Address 0 is a good one here, whatever C says. */
  asm("" : "+r"(table));
  for (u32 n = 0; n < 256; n++)
    *(volatile u32 *)(table + n * 4) = REAL_BASE >> 4 << 16 | COPY(real_stubs)[n == 0x80 ? 33 : n < 32 ? n : 32];
  gdt[SEL_REAL_CODE >> 3] = descriptor(REAL_BASE, 0xffff, CODE16);
  gdt[SEL_REAL_DATA >> 3] = descriptor(0, 0xffff, DATA16);
  for (u32 n = 0; n < 8; n++) s->gpr[n] = in.gpr[n];
  if (!s->gpr[RSP]) s->gpr[RSP] = 0x1000;
  s->ip = OFFSET(code);
  s->flags = in.flags;
  s->cs = REAL_BASE >> 4;
  s->ss = in.ss ? in.ss : REAL_STACK;
  s->ds = in.ds == SEL_DATA ? REAL_DATA : in.ds;
  s->es = in.es == SEL_DATA ? REAL_DATA : in.es;
  s->fs = in.fs;
  s->gs = in.gs;
  COPY(real_idt).limit = idt_limit;
  COPY(real_idt).base = table;
  real_go();
  s = &COPY(real_out);
  for (u32 n = 0; n < 8; n++) out.gpr[n] = s->gpr[n];
  out.ip = s->ip;
  out.flags = s->flags;
  out.cs = s->cs;
  out.ss = s->ss;
  out.ds = s->ds;
  out.es = s->es;
  out.fs = s->fs;
  out.gs = s->gs;
  out.vector = s->vector;
  out.error = 0;
  inner_flags = s->inner;
}
u16 inner_flags;

static void real(const u8 *code) { real_run(code, 0x3ff); }
#define ENDED(name, vector, at) ended(name, vector, 0, (void *)(word)OFFSET(at))

REAL(int_3, "", "int3", "nop");
REAL(int_40, "", "int $0x40", "nop");
REAL(int_o, "mov $0x7f, %al; inc %al", "into", "nop");
REAL(divides, "xor %cx, %cx", "div %cx", "nop");
REAL(bounds, "", "bound %ax, %ds:(0x20)", "nop");
REAL(undefined, "", "ud2", "nop");
REAL(steps, "pushfw; orb $1, %ss:1(%bp); popfw", "nop", "nop");

TESTS(real_vectors) {
  section("real mode: the interrupt table");
  fresh();
  in.flags = FIXED | CF | IF | 0x800;
  real(int_3);
  ENDED("INT3", BP, int_3_y);
  check("CS", out.cs, REAL_BASE >> 4);
  check("FLAGS", out.flags, FIXED | CF | IF | 0x800);
  check("FLAGS in the handler", inner_flags, FIXED | CF | 0x800);
  check("SP", out.gpr[RSP], 0x1000 - 6);
  fresh();
  real(int_40);
  ENDED("INT n", 32, int_40_y);
  fresh();
  real(int_o);
  ENDED("INTO", OF, int_o_y);
  fresh();
  real(divides);
  ENDED("#DE", DE, divides_x);
  fresh();
  *(u32 *)(REAL_DATA * 16 + 0x20) = 0x00050001;
  in.gpr[RAX] = 6;
  real(bounds);
  ENDED("#BR", BR, bounds_x);
  in.gpr[RAX] = 5;
  real(bounds);
  ENDED("BOUND", DONE, bounds_end);
  fresh();
  real(undefined);
  ENDED("#UD", UD, undefined_x);
  fresh();
  in.gpr[RSP] = 0x1000;
  in.gpr[RBP] = 0x1000 - 2;
  real(steps);
  ENDED("single step", DB, steps_y);
  fresh();
  real_run(int_40, 0x40 * 4 + 2);
  ENDED("INT n beyond the table", GP, int_40_x);
  fresh();
  real_run(int_40, 0x40 * 4 + 3);
  ENDED("INT n at its end", 32, int_40_y);
}

REAL(word_at, "", "mov %ds:(%bx), %ax", "nop");
REAL(byte_at, "", "mov %ds:(%bx), %al", "nop");
REAL(store_at, "", "movl %eax, %ds:(%bx)", "nop");
REAL(add_at, "", "addw %ax, %es:(%bx)", "nop");
REAL(wide_address, "", "addr32 movb %ds:(%ebx), %al", "nop");
REAL(stack_word, "", "mov %ss:(%bx), %ax", "nop");
REAL(pops, "", "pop %ax", "nop");
REAL(xmm_at, "", "movups %ds:(%bx), %xmm0", "nop");
REAL(moves, "cld", "rep movsb", "nop");
REAL(moves_words, "cld", "rep movsw", "nop");

TESTS(real_limits) {
  section("real mode: limits");
  static const struct {
    const char *name;
    const u8 *code, *at, *end;
    u32 offset, vector;
  } cases[] = {
    {"last word", word_at, word_at_x, word_at_end, 0xfffe, DONE},
    {"word at FFFF", word_at, word_at_x, word_at_end, 0xffff, GP},
    {"byte at FFFF", byte_at, byte_at_x, byte_at_end, 0xffff, DONE},
    {"dword at FFFC", store_at, store_at_x, store_at_end, 0xfffc, DONE},
    {"dword at FFFD", store_at, store_at_x, store_at_end, 0xfffd, GP},
    {"ADD at FFFF", add_at, add_at_x, add_at_end, 0xffff, GP},
    {"FFFF by a wide address", wide_address, wide_address_x, wide_address_end, 0xffff, DONE},
    {"10000 by a wide address", wide_address, wide_address_x, wide_address_end, 0x10000, GP},
    {"word of the stack at FFFF", stack_word, stack_word_x, stack_word_end, 0xffff, SS},
  };
  for (u32 n = 0; n < sizeof cases / sizeof *cases; n++) {
    fresh();
    in.gpr[RBX] = cases[n].offset;
    real(cases[n].code);
    ENDED(cases[n].name, cases[n].vector, cases[n].vector == DONE ? cases[n].end : cases[n].at);
  }
  fresh();
  in.gpr[RSP] = 0xffff;
  real(pops);
  /* The three words of its way in lie below. */
  ENDED("POP at FFFF", SS, pops_x);
  fresh();
  in.gpr[RSI] = 0xfffe;
  in.gpr[RDI] = 0x100;
  in.gpr[RCX] = 4;
  for (u32 n = 0; n < 8; n++) *(u8 *)(REAL_DATA * 16 + (u16)(0xfffc + n)) = 0xa0 + n;
  real(moves);
  ENDED("REP MOVSB", DONE, moves_end);
  check("SI wraps", out.gpr[RSI], 2);
  check("what it read", *(u32 *)(REAL_DATA * 16 + 0x100), 0xa5a4a3a2);
  fresh();
  in.gpr[RSI] = 0xfffb;
  in.gpr[RDI] = 0x100;
  in.gpr[RCX] = 4;
  real(moves_words);
  ENDED("REP MOVSW over the end", GP, moves_words_x);
  check("CX", out.gpr[RCX], 2);
  check("SI", out.gpr[RSI], 0xffff);
}

REAL(past_end, "movw $0x9090, %ds:(0xfffe)", "ljmp $0x2000, $0xfffe", "nop");
REAL(split_end, "movb $0xb8, %ds:(0xffff)", "ljmp $0x2000, $0xffff", "nop");
REAL(jumps_wide, "", "jmpl *%ebx", "nop");
REAL(calls_far, "", "lcall *%ds:(0x40)", "nop");
REAL(calls_far_wide, "", "lcalll *%ds:(0x40)", "nop");
REAL(returns_far, "push %cs; pushw $0; mov %sp, %bp; mov %bx, %ss:(%bp)", "lretw $6", "nop");
REAL(reached, "", "nop", "nop");
REAL(returns, "pushw %dx; push %cs; push %bx", "iretw", "nop");
REAL(returns_wide, "pushl %edx; pushl $(0x12340000 + (0x8000 >> 4)); pushl %ebx", "iretl", "nop");

TESTS(real_transfers) {
  section("real mode: far transfers");
  fresh();
  in.ds = 0x2000;
  real(past_end);
  check("code up to the limit, then", out.vector, GP);
  check("CS", out.cs, 0x2000);
  check("IP", out.ip & 0xffff, 0);
  fresh();
  in.ds = 0x2000;
  real(split_end);
  check("an instruction over the limit", out.vector, GP);
  check("CS", out.cs, 0x2000);
  check("IP", out.ip, 0xffff);
  fresh();
  in.gpr[RBX] = 0x10000 + OFFSET(reached);
  real(jumps_wide);
  ENDED("JMP beyond 64 KiB", GP, jumps_wide_x);
  fresh();
  *(u32 *)(REAL_DATA * 16 + 0x40) = (REAL_BASE >> 4) << 16 | OFFSET(reached);
  real(calls_far);
  ENDED("CALL", DONE, reached_end);
  check("SP", out.gpr[RSP], 0x1000 - 4 - 6);
  check("what it pushed", *(u32 *)(REAL_STACK * 16 + 0x1000 - 4), (REAL_BASE >> 4) << 16 | OFFSET(calls_far_y));
  fresh();
  *(u32 *)(REAL_DATA * 16 + 0x40) = OFFSET(reached);
  *(u16 *)(REAL_DATA * 16 + 0x44) = REAL_BASE >> 4;
  real(calls_far_wide);
  ENDED("CALL with 32 bits", DONE, reached_end);
  check("SP", out.gpr[RSP], 0x1000 - 8 - 6);
  *(u32 *)(REAL_DATA * 16 + 0x40) = 0x10000 + OFFSET(reached);
  fresh();
  real(calls_far_wide);
  ENDED("CALL beyond 64 KiB", GP, calls_far_wide_x);
  fresh();
  in.gpr[RBX] = OFFSET(reached);
  real(returns_far);
  ENDED("RETF", DONE, reached_end);
  check("SP", out.gpr[RSP], 0x1000 + 6 - 6);
  fresh();
  in.gpr[RBX] = OFFSET(reached);
  in.gpr[RDX] = FIXED | CF | NT | IOPL3;
  real(returns);
  ENDED("IRET", DONE, reached_end);
  check("all FLAGS come back", out.flags, FIXED | CF | NT | IOPL3);
  fresh();
  in.gpr[RBX] = OFFSET(reached);
  in.gpr[RDX] = FIXED | CF | VM;
  real(returns_wide);
  ENDED("IRETD", DONE, reached_end);
  check("CS", out.cs, REAL_BASE >> 4);
  in.gpr[RBX] |= 0x10000;
  real(returns_wide);
  ENDED("IRETD beyond 64 KiB", GP, returns_wide_x);
}

REAL(r_lldt, "", "lldt %ax", "nop");
REAL(r_ltr, "", "ltr %ax", "nop");
REAL(r_sldt, "", "sldt %ax", "nop");
REAL(r_str, "", "str %ax", "nop");
REAL(r_lar, "", "lar %ax, %bx", "nop");
REAL(r_lsl, "", "lsl %ax, %bx", "nop");
REAL(r_verr, "", "verr %ax", "nop");
REAL(r_verw, "", "verw %ax", "nop");
REAL(r_arpl, "", "arpl %ax, %bx", "nop");
REAL(r_sysexit, "", "sysexit", "nop");
REAL(r_sgdt, "", "sgdtl %ds:(0x60)", "nop");
REAL(r_smsw, "", "smsw %ax", "nop");
REAL(r_clts, "", "clts", "nop");
REAL(r_lock, "", ".byte 0xf0, 0x90", "nop");
REAL(r_mov_cs, "", ".byte 0x8e, 0xc8", "nop");
REAL(r_invlpg, "", "invlpg %ds:(0)", "nop");

TESTS(real_instructions) {
  section("real mode: instructions");
#define REAL_UNDEFINED(s) \
  fresh();                \
  real(s);                \
  ENDED(#s, UD, s##_x);
  REAL_UNDEFINED(r_lldt)
  REAL_UNDEFINED(r_ltr)
  REAL_UNDEFINED(r_sldt)
  REAL_UNDEFINED(r_str)
  REAL_UNDEFINED(r_lar)
  REAL_UNDEFINED(r_lsl)
  REAL_UNDEFINED(r_verr)
  REAL_UNDEFINED(r_verw)
  REAL_UNDEFINED(r_arpl)
  REAL_UNDEFINED(r_lock)
  REAL_UNDEFINED(r_mov_cs)
  fresh();
  real(r_sysexit);
  ENDED("SYSEXIT", GP, r_sysexit_x);
#define REAL_RUNS(s) \
  fresh();           \
  real(s);           \
  ENDED(#s, DONE, s##_end);
  REAL_RUNS(r_sgdt)
  check("limit of the GDT", *(u16 *)(REAL_DATA * 16 + 0x60), sizeof gdt - 1);
  check("base of the GDT", *(u32 *)(REAL_DATA * 16 + 0x62), (word)gdt);
  REAL_RUNS(r_smsw)
  check("PE", out.gpr[RAX] & 1, 0);
  REAL_RUNS(r_clts)
  REAL_RUNS(r_invlpg)
}

/* To protected mode and back, with a large limit left in DS; then the same with the selector loaded again. */
#define TO_PROTECTED "mov %cr0, %eax; or $1, %al; mov %eax, %cr0; "
#define TO_REAL "mov %cr0, %eax; and $~1, %al; mov %eax, %cr0; "
REAL(unreal, TO_PROTECTED "mov $0x10, %cx; mov %cx, %ds; " TO_REAL, "addr32 movl %ds:(%ebx), %edx", "nop");
REAL(unreal_again, TO_PROTECTED "mov $0x10, %cx; mov %cx, %ds; " TO_REAL "mov $0x100, %cx; mov %cx, %ds",
     "addr32 movl %ds:(%ebx), %edx", "nop");
REAL(small_again, TO_PROTECTED "mov $0xf0, %cx; mov %cx, %ds; " TO_REAL, "addr32 movl %ds:(%ebx), %edx", "nop");
/* In protected mode at once, still with the code segment of real mode. */
REAL(no_jump, TO_PROTECTED, "mov %cs, %dx; str %bx; " TO_REAL, "nop");
REAL(by_lmsw, "smsw %ax; or $1, %al; lmsw %ax; and $~1, %al; lmsw %ax", "smsw %dx; " TO_REAL, "nop");
REAL(through_32, "mov %cr0, %eax; or $1, %al; mov %eax, %cr0; ljmp $0xe8, $1f; 1: nop; " TO_REAL,
     "ljmp $(0x8000 >> 4), $2f", "2: mov %cs, %dx");

TESTS(mode_switches) {
  section("real mode: ways in and out");
  static u32 far_data = 0x12345678;
  fresh();
  in.gpr[RBX] = (word)&far_data;
  real(unreal);
  ENDED("a limit of 4 GiB stays", DONE, unreal_end);
  check("what it read", out.gpr[RDX], 0x12345678);
  fresh();
  in.gpr[RBX] = (word)&far_data - 0x1000;
  real(unreal_again);
  ENDED("also when DS is loaded", DONE, unreal_again_end);
  check("what it read", out.gpr[RDX], 0x12345678);
  fresh();
  in.gpr[RBX] = (word)&far_data;
  real(small_again);
  ENDED("as does one of 64 KiB", GP, small_again_x);
  fresh();
  real(no_jump);
  ENDED("PE without a jump", DONE, no_jump_end);
  check("CS is as it was", out.gpr[RDX] & 0xffff, REAL_BASE >> 4);
  check("STR works", out.gpr[RBX] & 0xffff, SEL_TSS);
  fresh();
  real(by_lmsw);
  ENDED("LMSW", DONE, by_lmsw_end);
  check("does not clear PE", out.gpr[RDX] & 1, 1);
  fresh();
  real(through_32);
  ENDED("far jumps", DONE, through_32_end);
  check("CS", out.gpr[RDX] & 0xffff, REAL_BASE >> 4);
}
#endif

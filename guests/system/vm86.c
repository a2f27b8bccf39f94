/* Virtual-8086 mode (SDM volume 3, chapter 21): the way in by IRET, what depends on IOPL, limits, and the frame on the way out. */
#include "system.h"
#include "real.h"
#if !LONG

REAL(v_nop, "", "nop", "nop");
REAL(v_segments, "mov %ds:(0), %eax; mov %es:(0), %ebx; mov %fs:(0), %ecx", "mov %gs:(0), %edx", "nop");
REAL(v_load, "", "mov %ax, %ds; mov %ds, %bx", "mov %ds:(0), %ecx");
REAL(v_cli, "", "cli", "nop");
REAL(v_sti, "", "sti", "nop");
REAL(v_pushf, "", "pushfw", "nop");
REAL(v_pushfd, "", "pushfl", "nop");
REAL(v_popf, "push %bx", "popfw", "nop");
REAL(v_popfd, "push %ebx", "popfl", "nop");
REAL(v_iret, "push %bx; push %cs; pushw $v_iret_y", "iretw", "nop");
REAL(v_iretd, "push %ebx; pushl $(0x8000 >> 4); pushl $v_iretd_y", "iretl", "nop");
REAL(v_int, "", "int $0x30", "nop");
REAL(v_int3, "", "int3", "nop");
REAL(v_into, "mov $0x7f, %al; inc %al", "into", "nop");
REAL(v_hlt, "", "hlt", "nop");
REAL(v_mov_cr, "", "mov %cr0, %eax", "nop");
REAL(v_lmsw, "", "lmsw %ax", "nop");
REAL(v_smsw, "", "smsw %ax", "nop");
REAL(v_lgdt, "", "lgdtl %ds:(0)", "nop");
REAL(v_lldt, "", "lldt %ax", "nop");
REAL(v_str, "", "str %ax", "nop");
REAL(v_lar, "", "lar %ax, %bx", "nop");
REAL(v_verr, "", "verr %ax", "nop");
REAL(v_arpl, "", "arpl %ax, %bx", "nop");
REAL(v_rdmsr, "", "rdmsr", "nop");
REAL(v_invd, "", "invd", "nop");
REAL(v_word_at, "", "mov %ds:(%bx), %ax", "nop");
REAL(v_wide_at, "", "addr32 movb %ds:(%ebx), %al", "nop");
REAL(v_store, "", "movl %eax, %es:(%bx)", "nop");
REAL(v_code_store, "", "movb %al, %cs:v_code_store_end + 16", "nop");
REAL(v_stack_at, "", "mov %ss:(%bx), %ax", "nop");
REAL(v_jump, "", "ljmp *%ds:(0x40)", "nop");
REAL(v_jump_wide, "", "ljmpl *%ds:(0x40)", "nop");
REAL(v_reached, "", "nop", "nop");
REAL(v_fault, "", "mov %ds:(0x80), %eax", "nop");

void vm86(const u8 *code) {
  real_copy();
  in.flags |= VM;
  if (in.ds == SEL_DATA) in.ds = in.es = REAL_DATA;
  if (!in.gpr[RSP]) in.gpr[RSP] = 0x1000;
  run_in(REAL_BASE >> 4, in.ss ? in.ss : REAL_STACK, (void *)(word)OFFSET(code));
  /* The INT 80H at the end is refused below IOPL 3. */
  if (out.vector == GP && *(u16 *)(REAL_BASE + out.ip) == 0x80cd) {
    out.vector = DONE;
    out.ip += 2;
    out.flags &= ~(word)RF;
  }
}
#define ENDED(name, vector, error, at) ended(name, vector, error, (void *)(word)OFFSET(at))
#define DATA_AT(segment, offset) (*(volatile u32 *)((segment) * 16 + (offset)))

TESTS(vm86_entry) {
  section("virtual-8086 mode: entry and frame");
  fresh();
  in.flags = FIXED | CF | IF | 0x800;
  in.es = 0x3100;
  in.ds = 0x3000;
  in.fs = 0x3200;
  in.gs = 0x3300;
  for (u32 n = 0; n < 4; n++) DATA_AT(0x3000 + n * 0x100, 0) = 0x11111111 * (n + 1);
  vm86(v_segments);
  ENDED("runs", DONE, 0, v_segments_end);
  check("CS", out.cs, REAL_BASE >> 4);
  check("SS", out.ss, REAL_STACK);
  check("ESP", out.gpr[RSP], 0x1000);
  check("VM is in the frame", out.flags, FIXED | CF | IF | 0x800 | VM);
  check("DS", out.gpr[RAX], 0x11111111);
  check("ES", out.gpr[RBX], 0x22222222);
  check("FS", out.gpr[RCX], 0x33333333);
  check("GS", out.gpr[RDX], 0x44444444);
  check("DS in the frame", out.ds, 0x3000);
  check("ES in the frame", out.es, 0x3100);
  check("FS in the frame", out.fs, 0x3200);
  check("GS in the frame", out.gs, 0x3300);
  /* The stub pushed the segment registers of its own. */
  check("data segments are null in the handler", last_frame->ds | last_frame->es | last_frame->fs | last_frame->gs, 0);
  fresh();
  in.gpr[RAX] = 0x3100;
  vm86(v_load);
  ENDED("MOV DS", DONE, 0, v_load_end);
  check("what lies there", out.gpr[RCX], 0x22222222);
  check("it reads back", out.gpr[RBX] & 0xffff, 0x3100);
}

TESTS(vm86_sensitive) {
  section("virtual-8086 mode: what IOPL decides");
  static const struct {
    const char *name;
    const u8 *code, *at, *end;
  } cases[] = {
    {"CLI", v_cli, v_cli_x, v_cli_end},       {"STI", v_sti, v_sti_x, v_sti_end},
    {"PUSHF", v_pushf, v_pushf_x, v_pushf_end}, {"PUSHFD", v_pushfd, v_pushfd_x, v_pushfd_end},
    {"POPF", v_popf, v_popf_x, v_popf_end},   {"POPFD", v_popfd, v_popfd_x, v_popfd_end},
    {"IRET", v_iret, v_iret_x, v_iret_end},   {"IRETD", v_iretd, v_iretd_x, v_iretd_end},
  };
  for (u32 level = 0; level < 4; level++)
    for (u32 n = 0; n < sizeof cases / sizeof *cases; n++) {
      fresh();
      in.flags = FIXED | level << 12 | IF;
      in.gpr[RBX] = FIXED | IF;
      vm86(cases[n].code);
      if (level == 3) ENDED(cases[n].name, DONE, 0, cases[n].end);
      else ENDED(cases[n].name, GP, 0, cases[n].at);
      check("VM stays", out.flags & VM, VM);
      check("IOPL stays", out.flags >> 12 & 3, level);
    }
  fresh();
  in.flags = FIXED | IOPL3 | IF;
  vm86(v_cli);
  check("CLI clears IF", out.flags, FIXED | IOPL3 | VM);
  fresh();
  in.flags = FIXED | IOPL3;
  vm86(v_sti);
  check("STI sets IF", out.flags, FIXED | IOPL3 | VM | IF);
  fresh();
  in.flags = FIXED | IOPL3 | CF | ACF;
  vm86(v_pushf);
  check("PUSHF", DATA_AT(REAL_STACK, 0x1000 - 2) & 0xffff, FIXED | IOPL3 | CF);
  fresh();
  in.flags = FIXED | IOPL3 | CF | ACF;
  vm86(v_pushfd);
  check("PUSHFD shows no VM", DATA_AT(REAL_STACK, 0x1000 - 4), FIXED | IOPL3 | CF | ACF);
  fresh();
  in.flags = FIXED | IOPL3;
  in.gpr[RBX] = FIXED | CF | NT | IF;
  vm86(v_popf);
  check("POPF keeps IOPL", out.flags, FIXED | CF | NT | IF | IOPL3 | VM);
  fresh();
  in.flags = FIXED | IOPL3;
  in.gpr[RBX] = CF | ACF;
  vm86(v_popfd);
  check("POPFD keeps VM", out.flags, FIXED | CF | ACF | IOPL3 | VM);
  fresh();
  in.flags = FIXED | IOPL3;
  in.gpr[RBX] = CF | IF;
  vm86(v_iret);
  check("IRET keeps IOPL", out.flags, FIXED | CF | IF | IOPL3 | VM);
  fresh();
  in.flags = FIXED | IOPL3;
  in.gpr[RBX] = CF | ACF;
  vm86(v_iretd);
  check("IRETD keeps VM", out.flags, FIXED | CF | ACF | IOPL3 | VM);
}

TESTS(vm86_interrupts) {
  section("virtual-8086 mode: interrupts");
  for (u32 level = 0; level < 4; level++) {
    fresh();
    in.flags = FIXED | level << 12;
    gate(0x30, stubs[0x30], SEL_CODE, INT32 | PRESENT | DPL3, 0);
    vm86(v_int);
    if (level == 3) ENDED("INT n", 0x30, 0, v_int_y);
    else ENDED("INT n", GP, 0, v_int_x);
    fresh();
    in.flags = FIXED | level << 12;
    vm86(v_int3);
    ENDED("INT3 whatever IOPL", BP, 0, v_int3_y);
    fresh();
    in.flags = FIXED | level << 12;
    vm86(v_into);
    ENDED("INTO whatever IOPL", OF, 0, v_into_y);
  }
  fresh();
  in.flags = FIXED | IOPL3;
  gate(0x30, stubs[0x30], SEL_CODE, INT32 | PRESENT, 0);
  vm86(v_int);
  ENDED("DPL of the gate", GP, 0x30 * 8 + 2, v_int_x);
  fresh();
  in.flags = FIXED | IOPL3;
  gdt[SEL_FREE >> 3] = descriptor(0, 0xfffff, CODE32 | CONFORMING);
  gate(0x30, stubs[0x30], SEL_FREE, INT32 | PRESENT | DPL3, 0);
  vm86(v_int);
  ENDED("a handler in conforming code", GP, SEL_FREE, v_int_x);
  fresh();
  in.flags = FIXED | IOPL3;
  gdt[SEL_FREE >> 3] = descriptor(0, 0xfffff, CODE32 | DPL1);
  gate(0x30, stubs[0x30], SEL_FREE, INT32 | PRESENT | DPL3, 0);
  vm86(v_int);
  ENDED("a handler in ring 1", GP, SEL_FREE, v_int_x);
  fresh();
  in.flags = FIXED | IOPL3;
  gate(0x30, stubs[0x30], SEL_CODE, TRAP32 | PRESENT | DPL3, 0);
  vm86(v_int);
  ENDED("through a trap gate", 0x30, 0, v_int_y);
  fresh();
  in.flags = FIXED | TF;
  vm86(v_nop);
  ENDED("single step", DB, 0, v_nop_y);
  check("BS", out.dr6 & 0x4000, 0x4000);
}

TESTS(vm86_refused) {
  section("virtual-8086 mode: instructions");
#define REFUSED(s, vector)         \
  fresh();                         \
  in.flags = FIXED | IOPL3;        \
  vm86(s);                         \
  ENDED(#s, vector, 0, s##_x);
  REFUSED(v_hlt, GP)
  REFUSED(v_mov_cr, GP)
  REFUSED(v_lmsw, GP)
  REFUSED(v_lgdt, GP)
  REFUSED(v_rdmsr, GP)
  REFUSED(v_invd, GP)
  REFUSED(v_lldt, UD)
  REFUSED(v_str, UD)
  REFUSED(v_lar, UD)
  REFUSED(v_verr, UD)
  REFUSED(v_arpl, UD)
  fresh();
  vm86(v_smsw);
  ENDED("SMSW", DONE, 0, v_smsw_end);
  check("PE", out.gpr[RAX] & 1, 1);
}

TESTS(vm86_limits) {
  section("virtual-8086 mode: limits");
#define LIMITED(name, s, offset, vector)                           \
  fresh();                                                         \
  in.gpr[RBX] = offset;                                            \
  vm86(s);                                                         \
  ENDED(name, vector, 0, (vector) == DONE ? s##_end : s##_x);
  LIMITED("last word", v_word_at, 0xfffe, DONE)
  LIMITED("word at FFFF", v_word_at, 0xffff, GP)
  LIMITED("10000 by a wide address", v_wide_at, 0x10000, GP)
  LIMITED("dword at FFFD", v_store, 0xfffd, GP)
  LIMITED("stack at FFFF", v_stack_at, 0xffff, SS)
  LIMITED("a store through CS", v_code_store, 0, DONE)
  fresh();
  DATA_AT(REAL_DATA, 0x40) = REAL_BASE >> 4 << 16 | OFFSET(v_reached);
  vm86(v_jump);
  ENDED("JMP far", DONE, 0, v_reached_end);
  fresh();
  DATA_AT(REAL_DATA, 0x40) = OFFSET(v_reached) + 0x10000;
  DATA_AT(REAL_DATA, 0x44) = REAL_BASE >> 4;
  vm86(v_jump_wide);
  ENDED("JMP far beyond 64 KiB", GP, 0, v_jump_wide_x);
}

TESTS(vm86_pages) {
  section("virtual-8086 mode: pages");
  /* Ring 3 to the page tables: a page of the first 4 MiB that is the supervisor's. */
  entry *const directory = above(0);
  const entry before = *directory;
  static entry table[PAGE / ENTRY_BYTES] __attribute__((aligned(4096)));
  for (u32 n = 0; n < PAGE / ENTRY_BYTES; n++) table[n] = n * PAGE | P | W | U;
  table[0x30] = 0x30000 | P | W;
  *directory = (word)table | P | W | U;
  flush();
  fresh();
  vm86(v_fault);
  ENDED("a page of the supervisor", PF, 5, v_fault_x);
  check("CR2", out.cr2, 0x30080);
  *directory = before;
  flush();
}
#endif

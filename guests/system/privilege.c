/* Which instructions ring 3 may not execute, and what is undefined; UMIP. */
#include "system.h"

#define AX LONG_AX
SNIPPET(hlt_, "", "hlt", "");
SNIPPET(clts_, "", "clts", "");
SNIPPET(lgdt_, "", "lgdt (%" AX ")", "");
SNIPPET(lidt_, "", "lidt (%" AX ")", "");
SNIPPET(lldt_, "", "lldt %ax", "");
SNIPPET(ltr_, "", "ltr %ax", "");
SNIPPET(lmsw_, "", "lmsw %ax", "");
SNIPPET(invlpg_, "", "invlpg (%" AX ")", "");
SNIPPET(invd_, "", "invd", "");
SNIPPET(wbinvd_, "", "wbinvd", "");
SNIPPET(rdmsr_, "", "rdmsr", "");
SNIPPET(wrmsr_, "", "wrmsr", "");
SNIPPET(from_cr0, "", "mov %cr0, %" AX, "");
SNIPPET(to_cr0, "", "mov %" AX ", %cr0", "");
SNIPPET(from_cr3, "", "mov %cr3, %" AX, "");
SNIPPET(to_cr4, "", "mov %" AX ", %cr4", "");
SNIPPET(from_dr0, "", "mov %dr0, %" AX, "");
SNIPPET(to_dr7, "", "mov %" AX ", %dr7", "");
SNIPPET(cli_, "", "cli", "");
SNIPPET(sti_, "", "sti", "");
SNIPPET(in_, "", "in %dx, %al", "");
SNIPPET(out_, "", "out %al, %dx", "");
SNIPPET(ins_, "", "insb", "");
SNIPPET(outs_, "", "outsb", "");
SNIPPET(rdpmc_, "", "rdpmc", "");
SNIPPET(rdtsc_, "", "rdtsc", "");

TESTS(privileged_instructions) {
  section("privileged instructions in ring 3");
#define PRIVILEGED(s)           \
  fresh();                      \
  in.gpr[RCX] = 0x174;          \
  in.gpr[RDX] = 0x80;           \
  run(3, s);                    \
  ended(#s, GP, 0, s##_x);
  PRIVILEGED(hlt_)
  PRIVILEGED(clts_)
  PRIVILEGED(lgdt_)
  PRIVILEGED(lidt_)
  PRIVILEGED(lldt_)
  PRIVILEGED(ltr_)
  PRIVILEGED(lmsw_)
  PRIVILEGED(invlpg_)
  PRIVILEGED(invd_)
  PRIVILEGED(wbinvd_)
  PRIVILEGED(rdmsr_)
  PRIVILEGED(wrmsr_)
  PRIVILEGED(from_cr0)
  PRIVILEGED(to_cr0)
  PRIVILEGED(from_cr3)
  PRIVILEGED(to_cr4)
  PRIVILEGED(from_dr0)
  PRIVILEGED(to_dr7)
  PRIVILEGED(cli_)
  PRIVILEGED(sti_)
  PRIVILEGED(in_)
  PRIVILEGED(out_)
  PRIVILEGED(ins_)
  PRIVILEGED(outs_)
  PRIVILEGED(rdpmc_)
  const word c4 = cr4();
  fresh();
  run(3, rdtsc_);
  ran("RDTSC");
  set_cr4(c4 | CR4_TSD);
  fresh();
  run(3, rdtsc_);
  ended("RDTSC with CR4.TSD", GP, 0, rdtsc__x);
  fresh();
  run(0, rdtsc_);
  ran("RDTSC with CR4.TSD in ring 0");
  set_cr4(c4);
}

TESTS(iopl) {
  section("IOPL");
  for (u32 level = 0; level < 4; level++) {
    fresh();
    in.flags = FIXED | level << 12;
    run(3, cli_);
    if (level == 3) ran("CLI with IOPL 3");
    else ended("CLI below IOPL 3", GP, 0, cli__x);
    fresh();
    in.flags = FIXED | level << 12;
    in.gpr[RDX] = 0x80;
    run(3, in_);
    if (level == 3) ran("IN with IOPL 3");
    else ended("IN below IOPL 3", GP, 0, in__x);
  }
}

/* ---- undefined in any ring ------------------------------------------------------------------------------------------- */
SNIPPET(ud2_, "", "ud2", "");
SNIPPET(ud1_, "", "ud1 %eax, %eax", "");
SNIPPET(rsm_, "", "rsm", "");
SNIPPET(lock_register, "", ".byte 0xf0, 0x01, 0xc0", "");
SNIPPET(lock_nop, "", ".byte 0xf0, 0x90", "");
SNIPPET(lock_mov, "", ".byte 0xf0, 0x89, 0x00", "");
SNIPPET(lgdt_register, "", ".byte 0x0f, 0x01, 0xd6", "");
SNIPPET(mov_cs, "", ".byte 0x8e, 0xc8", "");
SNIPPET(mov_segment_6, "", ".byte 0x8c, 0xf0", "");
SNIPPET(mov_cr1, "", ".byte 0x0f, 0x20, 0xc8", "");
SNIPPET(mov_cr5, "", ".byte 0x0f, 0x22, 0xe8", "");
SNIPPET(les_register, "", ".byte 0x0f, 0xb2, 0xc0", "");
SNIPPET(long_instruction, "", ".byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90", "");
SNIPPET(longest_instruction, "", ".byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90", "");
#if LONG
SNIPPET(push_es, "", ".byte 0x06", "");
SNIPPET(aaa_, "", ".byte 0x37", "");
SNIPPET(into_, "", ".byte 0xce", "");
SNIPPET(pusha_, "", ".byte 0x60", "");
SNIPPET(far_immediate, "", ".byte 0x9a, 0, 0, 0, 0, 8, 0", "");
#endif

TESTS(undefined_instructions) {
  section("undefined instructions");
#define UNDEFINED(s)                     \
  for (int cpl = 0; cpl <= 3; cpl += 3) { \
    fresh();                             \
    run(cpl, s);                         \
    ended(#s, UD, 0, s##_x);             \
  }
  UNDEFINED(ud2_)
  UNDEFINED(ud1_)
  UNDEFINED(rsm_)
  UNDEFINED(lock_register)
  UNDEFINED(lock_nop)
  UNDEFINED(lock_mov)
  UNDEFINED(lgdt_register)
  UNDEFINED(mov_cs)
  UNDEFINED(mov_segment_6)
  UNDEFINED(les_register)
  fresh();
  run(0, mov_cr1);
  ended("MOV from CR1", UD, 0, mov_cr1_x);
  fresh();
  run(0, mov_cr5);
  ended("MOV to CR5", UD, 0, mov_cr5_x);
#if LONG
  UNDEFINED(push_es)
  UNDEFINED(aaa_)
  UNDEFINED(into_)
  UNDEFINED(pusha_)
  UNDEFINED(far_immediate)
#endif
  fresh();
  run(3, long_instruction);
  ended("16 bytes", GP, 0, long_instruction_x);
  fresh();
  run(3, longest_instruction);
  ran("15 bytes");
}

/* ---- UMIP -------------------------------------------------------------------------------------------------------------- */
SNIPPET(sgdt_, "", "sgdt (%" AX ")", "");
SNIPPET(sidt_, "", "sidt (%" AX ")", "");
SNIPPET(sldt_, "", "sldt %ax", "");
SNIPPET(str_, "", "str %ax", "");
SNIPPET(smsw_, "", "smsw %ax", "");

TESTS(umip) {
  section("UMIP");
  const word c4 = cr4();
  const int exists = HAS_UMIP;
  static u8 room[16];
  for (int on = 0; on <= exists; on++) {
    set_cr4(c4 | (on ? CR4_UMIP : 0));
#define USER_MODE(s)               \
  for (int cpl = 0; cpl <= 3; cpl += 3) { \
    fresh();                       \
    in.gpr[RAX] = (word)room;      \
    run(cpl, s);                   \
    if (cpl && on) ended(#s, GP, 0, s##_x); \
    else ran(#s);                  \
  }
    USER_MODE(sgdt_)
    USER_MODE(sidt_)
    USER_MODE(sldt_)
    USER_MODE(str_)
    USER_MODE(smsw_)
  }
  set_cr4(c4);
}

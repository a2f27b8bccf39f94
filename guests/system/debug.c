/* Debug registers and single steps (SDM volume 3, chapter 18). */
#include "system.h"

#define AX LONG_AX
/* Where #DB came, with DR6 and RF, in the order of coming. */
static struct {
  word ip, dr6, rf;
} hits[16];
static u32 count;
/* Go on after #DB, setting RF for faults. */
static word resume_rf;
static int collect(struct frame *f) {
  if (f->vector != DB) return 0;
  if (count < 16) {
    hits[count].ip = f->ip;
    hits[count].dr6 = dr6();
    hits[count].rf = f->flags & RF;
  }
  count++;
  set_dr6(0xffff0ff0);
  f->flags |= resume_rf;
  return count < 32;
}

static void start(word dr7_bits) {
  fresh();
  hook = collect;
  count = 0;
  resume_rf = 0;
  set_dr7(0x400 | dr7_bits);
}
static void stop(void) {
  set_dr7(0x400);
  hook = 0;
}
static void hit(const char *name, u32 n, const void *ip, word bits, word rf) {
  check(name, hits[n].ip, (word)ip);
  check(name, hits[n].dr6, 0xffff0ff0 | bits);
  check(name, hits[n].rf, rf);
}
/* DR7: breakpoint n, local. */
#define BREAK(n, rw, len) (1u << (n) * 2 | (u32)(rw) << (16 + (n) * 4) | (u32)(len) << (18 + (n) * 4))
enum { EXECUTE, WRITES, PORTS, ACCESSES };
enum { BYTE, WORD2, QUAD, DWORD };
enum { BS = 0x4000, BD = 0x2000 };

static u32 data[16] __attribute__((aligned(64)));

SNIPPET(four, "nop", "nop", "nop");
TESTS(code_breakpoints) {
  section("code breakpoints");
  for (int cpl = 0; cpl <= 3; cpl += 3) {
    start(BREAK(1, EXECUTE, 0));
    set_dr1((word)four_x);
    resume_rf = RF;
    run(cpl, four);
    ran("goes on with RF");
    check("hits", count, 1);
    hit("hit", 0, four_x, 2, 0);
    start(BREAK(1, EXECUTE, 0));
    run(cpl, four);
    check("hits again without RF", count, 32);
    start(BREAK(0, EXECUTE, 0) | BREAK(3, EXECUTE, 0));
    set_dr0((word)four_x);
    set_dr3((word)four_x);
    resume_rf = RF;
    run(cpl, four);
    hit("two at once", 0, four_x, 9, 0);
    start(0);
    set_dr1((word)four_x);
    run(cpl, four);
    check("not enabled", count, 0);
    start(2 << 2);
    resume_rf = RF;
    run(cpl, four);
    check("global", count, 1);
    start(BREAK(1, EXECUTE, 0));
    set_dr1((word)four);
    in.flags = FIXED | RF;
    run(cpl, four);
    check("IRET with RF", count, 0);
  }
  stop();
}

SNIPPET(store4, "", "movl %eax, (%" LONG_SI ")", "nop");
SNIPPET(load4, "", "movl (%" LONG_SI "), %eax", "nop");
SNIPPET(add4, "", "addl %eax, (%" LONG_SI ")", "nop");
SNIPPET(push_it, "", "push %" AX, "nop");
SNIPPET(faults_after_hit, "", "push (%" LONG_SI ")", "nop");
SNIPPET(copy, "cld", "rep movsb", "nop");
SNIPPET(store_step, "", "movl %eax, (%" LONG_SI ")", "nop");

TESTS(data_breakpoints) {
  section("data breakpoints");
  /* Which accesses of 4 bytes at `data` + 8 a breakpoint of a length at an offset sees. */
  for (int kind = WRITES; kind <= ACCESSES; kind += 2)
    for (u32 length = BYTE; length <= DWORD; length++)
      for (int offset = 0; offset < 20; offset++) {
        static const u32 bytes[] = {1, 2, 8, 4};
        const u32 from = offset & ~(bytes[length] - 1);
        if (length == QUAD && !LONG) continue;
        if (offset % bytes[length]) continue;
        const int sees = from < 12 && from + bytes[length] > 8;
        set_dr2((word)data + offset);
        start(BREAK(2, kind, length));
        in.gpr[RSI] = (word)(data + 2);
        run(3, store4);
        check("store", count, sees);
        if (sees) hit("store", 0, store4_y, 4, 0);
        start(BREAK(2, kind, length));
        in.gpr[RSI] = (word)(data + 2);
        run(3, load4);
        check("load", count, sees && kind == ACCESSES);
      }
  set_dr2((word)(data + 2));
  data[2] = 1;
  start(BREAK(2, WRITES, DWORD));
  in.gpr[RSI] = (word)(data + 2);
  in.gpr[RAX] = 1;
  run(0, add4);
  check("read-modify-write", count, 1);
  hit("read-modify-write", 0, add4_y, 4, 0);
  check("done once", data[2], 2);
  start(BREAK(2, ACCESSES, DWORD));
  set_dr2(TOP(stack3) - sizeof(word));
  run(3, push_it);
  check("PUSH", count, 1);
  hit("PUSH", 0, push_it_y, 4, 0);
  /* An instruction that faults behind the access. */
  start(BREAK(2, ACCESSES, DWORD));
  set_dr2((word)(data + 2));
  in.gpr[RSI] = (word)(data + 2);
  in.gpr[RSP] = TEST + 0x10;
  run(3, faults_after_hit);
  ended("fault after a hit", PF, 6, faults_after_hit_x);
  check("no hit with it", count, 0);
  /* Two breakpoints in one instruction, a third not enabled. */
  start(BREAK(0, WRITES, BYTE) | BREAK(1, WRITES, BYTE));
  set_dr0((word)(data + 2));
  set_dr1((word)(data + 2) + 3);
  in.gpr[RSI] = (word)(data + 2);
  run(3, store4);
  check("both", count, 1);
  hit("both", 0, store4_y, 3, 0);
  /* Together with a single step. */
  start(BREAK(2, WRITES, DWORD));
  set_dr2((word)(data + 2));
  in.gpr[RSI] = (word)(data + 2);
  in.flags = FIXED | TF;
  run(3, store_step);
  hit("with a single step", 0, store_step_y, 4 | BS, 0);
  stop();
}

TESTS(repeated) {
  section("REP and #DB");
  u8 *const bytes = (u8 *)data;
  start(BREAK(0, WRITES, BYTE));
  set_dr0((word)bytes + 34);
  in.gpr[RSI] = (word)bytes;
  in.gpr[RDI] = (word)bytes + 32;
  in.gpr[RCX] = 4;
  run(3, copy);
  check("one hit", count, 1);
  hit("after the third element", 0, copy_x, 1, RF);
  start(BREAK(0, WRITES, BYTE));
  set_dr0((word)bytes + 35);
  in.gpr[RSI] = (word)bytes;
  in.gpr[RDI] = (word)bytes + 32;
  in.gpr[RCX] = 4;
  run(3, copy);
  hit("after the last element", 0, copy_y, 1, 0);
  start(0);
  in.gpr[RSI] = (word)bytes;
  in.gpr[RDI] = (word)bytes + 32;
  in.gpr[RCX] = 3;
  in.flags = FIXED | TF;
  run(3, copy);
  check("steps", count, 5);
  hit("CLD", 0, copy_x, BS, 0);
  hit("first element", 1, copy_x, BS, RF);
  hit("second element", 2, copy_x, BS, RF);
  hit("third element", 3, copy_y, BS, 0);
  hit("NOP", 4, copy_y + 1, BS, 0);
  start(0);
  in.flags = FIXED | TF;
  run(3, copy);
  check("no element: steps", count, 3);
  hit("no element", 1, copy_y, BS, 0);
  start(BREAK(0, EXECUTE, 0));
  set_dr0((word)copy_x);
  resume_rf = RF;
  in.gpr[RSI] = (word)bytes;
  in.gpr[RDI] = (word)bytes + 32;
  in.gpr[RCX] = 3;
  run(3, copy);
  check("a breakpoint at REP hits once", count, 1);
  stop();
}

SNIPPET(write_port, "", "out %al, %dx", "nop");
SNIPPET(read_port, "", "inl %dx, %eax", "nop");
TESTS(port_breakpoints) {
  section("I/O breakpoints");
  start(BREAK(3, PORTS, BYTE));
  set_dr3(0x80);
  in.gpr[RDX] = 0x80;
  run(0, write_port);
  check("OUT", count, 1);
  hit("OUT", 0, write_port_y, 8, 0);
  start(BREAK(3, PORTS, BYTE));
  in.gpr[RDX] = 0x81;
  run(0, write_port);
  check("the next port", count, 0);
  start(BREAK(3, PORTS, WORD2));
  set_dr3(0x82);
  in.gpr[RDX] = 0x80;
  run(0, read_port);
  check("IN of four bytes", count, 1);
  start(BREAK(3, PORTS, BYTE));
  set_dr3(0x80);
  in.gpr[RDX] = 0x80;
  run(3, write_port);
  ended("no permission", GP, 0, write_port_x);
  check("no hit then", count, 0);
  stop();
}

/* ---- single steps -------------------------------------------------------------------------------------------------------- */
#if LONG
#define PUSHF "pushfq; "
#define POPF "popfq"
#define SET_TF "orq $0x100, (%rsp); "
#define CLEAR_TF "andq $~0x100, (%rsp); "
#else
#define PUSHF "pushfl; "
#define POPF "popfl"
#define SET_TF "orl $0x100, (%esp); "
#define CLEAR_TF "andl $~0x100, (%esp); "
#endif
SNIPPET(popf_sets, PUSHF SET_TF POPF, "nop", "nop");
SNIPPET(popf_clears, PUSHF CLEAR_TF, POPF, "nop");
SNIPPET(mov_ss, "mov %ss, %eax", "mov %eax, %ss", "nop; nop");
SNIPPET(two, "", "nop", "");
SNIPPET(step_int, "", "int $0x30", "nop");
SNIPPET(step_int3, "", "int3", "nop");
SNIPPET(handler_of_step, "", "nop", "");
SNIPPET(step_jump, "", "jmp 1f; nop; 1:", "nop");
SNIPPET(step_fault, "", "mov (%" LONG_SI "), %al", "nop");
SNIPPET(step_pushf, "", PUSHF "pop %" AX, "nop");
SNIPPET(step_icebp, "", ".byte 0xf1", "nop");
SNIPPET(bp_after_mov_ss, "mov %ss, %eax", "mov %eax, %ss", "nop; nop");

TESTS(single_steps) {
  section("single steps");
  start(0);
  in.flags = FIXED | TF;
  run(3, two);
  check("steps", count, 1);
  hit("NOP", 0, two_y, BS, 0);
  start(0);
  run(3, popf_sets);
  check("POPF sets TF: steps", count, 2);
  hit("first step after the instruction behind POPF", 0, popf_sets_y, BS, 0);
  start(0);
  in.flags = FIXED | TF;
  run(3, popf_clears);
  hit("POPF that clears TF still traps", 2, popf_clears_y, BS, 0);
  check("the last step", count, 3);
  start(0);
  in.flags = FIXED | TF;
  run(0, mov_ss);
  check("MOV SS: steps", count, 3);
  hit("before MOV SS", 0, mov_ss_x, BS, 0);
  hit("after the instruction behind MOV SS", 1, mov_ss_y + 1, BS, 0);
  start(0);
  in.flags = FIXED | TF;

  gdt[SEL_FREE >> 3] = descriptor(0, 0xfffff, CODE_NATIVE | CONFORMING);
  gate(0x30, (word)handler_of_step, SEL_FREE, INT32 | PRESENT | DPL3, 0);
  run(3, step_int);
  ended("INT n", DONE, 0, handler_of_step_end);
  check("no step over INT n", count, 0);
  start(0);
  in.flags = FIXED | TF;
  run(3, step_int3);
  ended("INT3", BP, 0, step_int3_y);
  check("no step over INT3", count, 0);
  start(0);
  in.flags = FIXED | TF;
  run(3, step_jump);
  hit("a jump", 0, step_jump_y, BS, 0);
  start(0);
  in.flags = FIXED | TF;
  in.gpr[RSI] = TEST;
  run(3, step_fault);
  ended("a fault", PF, 4, step_fault_x);
  check("no step over a fault", count, 0);
  check("the fault's RF", out.flags & RF, RF);
  start(0);
  in.flags = FIXED | TF;
  run(3, step_pushf);
  check("PUSHF shows TF", out.gpr[RAX] & TF, TF);
  start(0);
  set_dr6(0xffff0ff0);
  run(3, step_icebp);
  check("INT1", count, 1);
  hit("INT1 sets nothing in DR6", 0, step_icebp_y, 0, 0);
  stop();
}

SNIPPET(int_after_mov_ss, "mov %ss, %eax", "mov %eax, %ss", "int $0x30");
SNIPPET(load_ss, "", "mov (%" LONG_SI "), %ss", "nop; nop");
TESTS(held_back) {
  section("MOV SS and breakpoints");
  /* A data breakpoint of MOV SS waits for the instruction behind it. */
  static word place;
  place = SEL_DATA;
  start(BREAK(0, ACCESSES, WORD2));
  set_dr0((word)&place);
  in.gpr[RSI] = (word)&place;
  run(0, load_ss);
  check("one hit", count, 1);
  hit("data breakpoint of MOV SS", 0, load_ss_y + 1, 1, 0);
  /* A code breakpoint behind MOV SS is lost on Intel's processors; an AMD EPYC takes it. Its own single step is lost on all. */
  for (int step = 0; step < 2; step++) {
    const u32 others = step ? 3 : 0;
    start(BREAK(0, EXECUTE, 0));
    set_dr0((word)bp_after_mov_ss_y);
    resume_rf = RF;
    in.flags = FIXED | (step ? TF : 0);
    run(0, bp_after_mov_ss);
    check("code breakpoint behind MOV SS", count, others + !intel());
    if (!intel()) hit("code breakpoint behind MOV SS", step, bp_after_mov_ss_y, 1, 0);
    if (step) hit("the step behind it", 1 + !intel(), bp_after_mov_ss_y + 1, BS, 0);
  }
  start(0);
  gdt[SEL_FREE >> 3] = descriptor(0, 0xfffff, CODE_NATIVE | CONFORMING);
  gate(0x30, (word)handler_of_step, SEL_FREE, INT32 | PRESENT | DPL3, 0);
  in.flags = FIXED | TF;
  run(3, int_after_mov_ss);
  ended("INT n behind MOV SS", DONE, 0, handler_of_step_end);
  check("no step of MOV SS comes later", count, 1);
  stop();
}

SNIPPET(halt, "", "hlt", "");
SNIPPET(halt_after_mov_ss, "mov (%" LONG_SI "), %ss", "hlt", "");
TESTS(halted) {
  section("HLT and #DB");
  /* A trap wakes the processor at once. */
  start(0);
  in.flags = FIXED | TF;
  run(0, halt);
  ended("HLT under TF", DONE, 0, halt_end);
  check("one step", count, 1);
  hit("behind it", 0, halt_y, BS, 0);
  static word place;
  place = SEL_DATA;
  start(BREAK(0, ACCESSES, WORD2));
  set_dr0((word)&place);
  in.gpr[RSI] = (word)&place;
  run(0, halt_after_mov_ss);
  ended("HLT with a data breakpoint held back", DONE, 0, halt_after_mov_ss_end);
  hit("behind it", 0, halt_after_mov_ss_y, 1, 0);
  stop();
}

/* ---- MOV DR ------------------------------------------------------------------------------------------------------------ */
SNIPPET(read_dr4, "", "mov %dr4, %" AX, "");
SNIPPET(read_dr6, "", "mov %dr6, %" AX, "");
SNIPPET(write_dr6, "", "mov %" AX ", %dr6", "");
SNIPPET(write_dr7, "", "mov %" AX ", %dr7", "");
SNIPPET(write_dr0, "", "mov %" AX ", %dr0", "");

TESTS(debug_registers) {
  section("MOV to and from debug registers");
  const word c4 = cr4();
  fresh();
  run(0, read_dr4);
  ended("DR4 with CR4.DE", UD, 0, read_dr4_x);
  set_cr4(c4 & ~CR4_DE);
  fresh();
  run(0, read_dr4);
  ran("DR4 without CR4.DE");
  check("is DR6", out.gpr[RAX], 0xffff0ff0);
  set_cr4(c4);
  set_dr6(0);
  check("fixed bits of DR6", dr6() & ~0x10000ul, 0xfffe0ff0);
  set_dr6(0xffffffff);
  check("writable bits of DR6", dr6() & 0xeeff, 0xeeff);
  set_dr6(0xffff0ff0);
  set_dr7(0);
  check("fixed bits of DR7", dr7(), 0x400);
  start(0x2000);
  run(0, read_dr6);
  hit("general detect, DR6", 0, read_dr6_x, BD, RF);
  check("GD is cleared for the handler", out.gpr[RAX] & 0xfff, 0xff0);
  check("one hit", count, 1);
  start(0x2000);
  run(0, write_dr7);
  hit("general detect, write DR7", 0, write_dr7_x, BD, RF);
  start(0x2000);
  run(3, read_dr6);
  ended("privilege goes before", GP, 0, read_dr6_x);
  stop();
#if LONG
  fresh();
  in.gpr[RAX] = 1ul << 32;
  run(0, write_dr6);
  ended("upper half of DR6", GP, 0, write_dr6_x);
  fresh();
  in.gpr[RAX] = 1ul << 32 | 0x400;
  run(0, write_dr7);
  ended("upper half of DR7", GP, 0, write_dr7_x);
  fresh();
  in.gpr[RAX] = 0x800000000000;
  run(0, write_dr0);
  ran("DR0 takes any address");
#endif
  set_dr6(0xffff0ff0);
}

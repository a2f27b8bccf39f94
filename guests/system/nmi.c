/* Non-maskable interrupts: blocked until the next IRET, even one that faults (SDM volume 3, 6.7.1). They come from the local APIC. */
#include "system.h"

#define AX LONG_AX
/* Interrupt command: NMI, to APIC 0. */
enum { COMMAND = 0xfee00300, COMMAND_HIGH = 0xfee00310, SEND_NMI = 0x4400 };
/* A message takes its time: the core here looks for it at the jump. */
SNIPPET(sends, "", "movl $0x4400, (%" AX "); jmp 1f; 1:", "nop; nop; nop");
SNIPPET(sends_twice, "", "movl $0x4400, (%" AX "); jmp 1f; 1:", "movl $0x4400, (%" AX "); jmp 1f; 1: nop; nop");

static void send(void) {
  *(volatile u32 *)COMMAND_HIGH = 0;
  *(volatile u32 *)COMMAND = SEND_NMI;
  for (u32 n = 0; n < 4; n++) asm volatile("jmp 1f; 1:");
}

static struct {
  word vector, ip;
} events[16];
static u32 count, depth, deepest;
/* What the first NMI does before its IRET. */
static void (*act)(struct frame *);

static int note(struct frame *f) {
  if (f->vector == DONE) return 0;
  if (count < 16) {
    events[count].vector = f->vector;
    events[count].ip = f->ip;
  }
  count++;
  if (f->vector != NMI) return f->vector == BP;
  depth++;
  if (depth > deepest) deepest = depth;
  if (count == 1 && act) act(f);
  depth--;
  return 1;
}

static void start(void (*what)(struct frame *)) {
  fresh();
  hook = note;
  act = what;
  count = depth = deepest = 0;
  in.gpr[RAX] = COMMAND;
#if LONG
  /* A stack of its own, for what comes in its handler. */
  gate(NMI, stubs[NMI], SEL_CODE, INT32 | PRESENT, 2);
  tss.ist[1] = TOP(stack1);
#endif
}

static void sends_once(struct frame *f) { send(), (void)f; }
static void sends_three(struct frame *f) { send(), send(), send(), (void)f; }
static void breakpoint(struct frame *f) {
  (void)f;
#if LONG
  tss.ist[1] = TOP(stack2);
#endif
  send();
  asm volatile("int3");
}
static void bad_return(struct frame *f) {
  send();
  f->cs = SEL_LAST + 8;
}

TESTS(nmi_blocking) {
  section("NMI");
  for (int cpl = 0; cpl <= 3; cpl += 3) {
    start(0);
    run(cpl, sends);
    ran("goes on");
    check("one comes", count, 1);
    check("its vector", events[0].vector, NMI);
    check("after the instruction", events[0].ip, (word)sends_y);
    start(sends_once);
    run(cpl, sends);
    ran("goes on");
    check("two come", count, 2);
    check("not one in the other", deepest, 1);
    check("the second right behind IRET", events[1].ip, events[0].ip);
    start(sends_three);
    run(cpl, sends);
    check("one waits, the others are lost", count, 2);
    check("not one in the other", deepest, 1);
    start(0);
    run(cpl, sends_twice);
    check("one after the other", count, 2);
  }
  start(breakpoint);
  run(0, sends);
  ran("goes on");
  check("NMI, #BP, NMI", count, 3);
  check("#BP", events[1].vector, BP);
  check("NMI", events[2].vector, NMI);
  check("any IRET unblocks", deepest, 2);
}

TESTS(nmi_and_faulting_iret) {
  section("NMI and an IRET that faults");
  for (int cpl = 0; cpl <= 3; cpl += 3) {
    start(bad_return);
    run(cpl, sends);
    check("#GP ends it", out.vector, GP);
    check("its error code", out.error, SEL_LAST + 8);
    check("NMI, NMI, #GP", count, 3);
    check("the second is an NMI", events[1].vector, NMI);
    check("before the handler's first instruction", events[1].ip, stubs[GP]);
    check("the third is #GP", events[2].vector, GP);
    start(0);
    run(cpl, sends);
    check("nothing is blocked then", count, 1);
  }
}

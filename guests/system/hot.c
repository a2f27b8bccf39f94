/* Loops that have run for so long that an engine may have translated them: what changes their course comes at the same instruction
 * and with the same registers as in cold code. */
#include "system.h"

#if LONG
#define STEP "8"
#else
#define STEP "4"
#endif
#define SI LONG_SI
SNIPPET(fills, "1:", "mov %" LONG_AX ", (%" SI ")", "add $" STEP ", %" SI "; add $3, %" LONG_AX "; dec %ecx; jnz 1b");
SNIPPET(sums, "1:", "add (%" SI "), %" LONG_AX, "add $" STEP ", %" SI "; dec %ecx; jnz 1b");
SNIPPET(adds, "1:", "add %" LONG_AX ", (%" SI ")", "dec %ecx; jnz 1b");
SNIPPET(calls, "jmp 2f; 3: add $1, %edx; ret; 2:", "call 3b", "dec %ecx; jnz 2b");
SNIPPET(counts, "1: mov $1, %ebx; add %ebx, %edx; dec %ecx", "jnz 1b", "");

enum { WORDS = PAGE / sizeof(word) };
/* Entries after which a block counts as hot, and more. */
#define OFTEN (quick ? 100 : 7000)

static struct {
  word ip, dr6, rcx, rax, rsi;
} hits[4];
static u32 count;
static int collect(struct frame *f) {
  if (f->vector != DB) return 0;
  if (count < 4) {
    hits[count].ip = f->ip;
    hits[count].dr6 = dr6();
#if LONG
    hits[count].rcx = f->gpr[RCX];
    hits[count].rax = f->gpr[RAX];
    hits[count].rsi = f->gpr[RSI];
#else
    hits[count].rcx = f->ecx;
    hits[count].rax = f->eax;
    hits[count].rsi = f->esi;
#endif
  }
  count++;
  set_dr6(0xffff0ff0);
  f->flags |= RF;
  return 1;
}
#define BREAK(n, rw, len) (1u << (n) * 2 | (u32)(rw) << (16 + (n) * 4) | (u32)(len) << (18 + (n) * 4))
enum { EXECUTE, WRITES, ACCESSES = 3 };
#define WORD_LENGTH (LONG ? 2 : 3)

static void begin(word rsi, word rax, word rcx) {
  fresh();
  in.gpr[RSI] = rsi;
  in.gpr[RAX] = rax;
  in.gpr[RCX] = rcx;
  hook = collect;
  count = 0;
}
static void warm(int cpl, const u8 *code) {
  for (u32 n = 0; n * WORDS * 8 < OFTEN; n++) {
    begin((word)frames, 0, WORDS * 8);
    run(cpl, code);
  }
}

TESTS(hot_breakpoints) {
  section("hot loops: breakpoints");
  for (int cpl = 0; cpl <= 3; cpl += 3) {
    warm(cpl, fills);
    word *const data = (word *)frames;
    /* A store is seen right behind the instruction that made it, and the loop goes on. */
    const word at = 5 * WORDS + 77;
    begin((word)data, 1000, WORDS * 8);
    set_dr0((word)(data + at));
    set_dr7(0x400 | BREAK(0, WRITES, WORD_LENGTH));
    run(cpl, fills);
    ended("fills", DONE, 0, fills_end);
    check("one hit", count, 1);
    check("behind the store", hits[0].ip, (word)fills_y);
    check("DR6", hits[0].dr6, 0xffff0ff1);
    check("RCX", hits[0].rcx, WORDS * 8 - at);
    check("RAX", hits[0].rax, 1000 + 3 * at);
    check("RSI", hits[0].rsi, (word)(data + at));
    check("the word", data[at], 1000 + 3 * at);
    check("the next", data[at + 1], 1000 + 3 * (at + 1));
    check("the last", data[WORDS * 8 - 1], 1000 + 3 * (WORDS * 8 - 1));
    /* A load, and a breakpoint that is switched off again. */
    set_dr7(0x400);
    warm(cpl, sums);
    word sum = 0;
    for (word n = 0; n < WORDS * 8; n++) sum += data[n];
    begin((word)data, 0, WORDS * 8);
    set_dr1((word)(data + at));
    set_dr7(0x400 | BREAK(1, ACCESSES, WORD_LENGTH));
    run(cpl, sums);
    check("a load", count, 1);
    check("behind it", hits[0].ip, (word)sums_y);
    check("RCX", hits[0].rcx, WORDS * 8 - at);
    check("the sum", out.gpr[RAX], sum);
    set_dr7(0x400);
    begin((word)data, 0, WORDS * 8);
    run(cpl, sums);
    check("switched off", count, 0);
    check("the sum", out.gpr[RAX], sum);
    /* A read-modify-write is done once. */
    warm(cpl, adds);
    data[0] = 5;
    begin((word)data, 2, 3);
    set_dr1((word)data);
    set_dr7(0x400 | BREAK(1, WRITES, WORD_LENGTH));
    run(cpl, adds);
    check("read-modify-write: each time", count, 3);
    check("behind it", hits[2].ip, (word)adds_y);
    check("done once each", data[0], 11);
    /* The stack of a call. */
    set_dr7(0x400);
    begin(0, 0, OFTEN);
    run(cpl, calls);
    check("calls", (u32)out.gpr[RDX], OFTEN);
    begin(0, 0, 2);
    set_dr2(TOP(cpl ? stack3 : stack0) - sizeof(word));
    set_dr7(0x400 | BREAK(2, WRITES, WORD_LENGTH));
    run(cpl, calls);
    /* INT 80H pushes there too in ring 0 of a 32-bit image. */
    check("the stack of a call", count >= 2, 1);
    check("behind the call", hits[0].ip != (word)calls_x && hits[0].ip != (word)calls_y, 1);
    check("calls", (u32)out.gpr[RDX], 2);
    /* An instruction of the loop. */
    set_dr7(0x400);
    begin(0, 0, OFTEN);
    run(cpl, counts);
    begin(0, 0, 4);
    set_dr3((word)counts_x);
    set_dr7(0x400 | BREAK(3, EXECUTE, 0));
    run(cpl, counts);
    check("an instruction of the loop", count, 4);
    check("RCX", hits[2].rcx, 1);
    check("the loop's work", (u32)out.gpr[RDX], 4);
    set_dr7(0x400);
    /* Single steps through it. */
    begin(0, 0, 2);
    in.flags = FIXED | TF;
    run(cpl, counts);
    check("steps", count, 8);
  }
}

TESTS(hot_pages) {
  section("hot loops: pages");
  const word window = TEST;
  word *const data = (word *)frames;
  for (int cpl = 0; cpl <= 3; cpl += 3) {
    for (u32 n = 0; n < 8; n++) map(window + n * PAGE, (word)frames[n], P | W | U);
    for (u32 n = 0; n < WORDS * 8; n++) data[n] = n;
    for (u32 n = 0; n * WORDS * 8 < OFTEN; n++) {
      begin(window, 0, WORDS * 8);
      run(cpl, sums);
    }
    check("the sum", out.gpr[RAX], (word)(WORDS * 8) * (WORDS * 8 - 1) / 2);
    /* A page goes away: the fault is at its first word, with all before it done. */
    map(window + 3 * PAGE, 0, 0);
    begin(window, 0, WORDS * 8);
    run(cpl, sums);
    ended("a missing page", PF, cpl ? 4 : 0, sums_x);
    check("CR2", out.cr2, window + 3 * PAGE);
    check("RCX", out.gpr[RCX], WORDS * 5);
    check("the sum so far", out.gpr[RAX], (word)(WORDS * 3) * (WORDS * 3 - 1) / 2);
    check("RF", out.flags & RF, RF);
    /* Another frame in its place. */
    map(window + 3 * PAGE, (word)frames[9], P | U);
    for (u32 n = 0; n < WORDS; n++) ((word *)frames[9])[n] = 0;
    begin(window, 0, WORDS * 8);
    run(cpl, sums);
    check("another frame", out.gpr[RAX],
          (word)(WORDS * 8) * (WORDS * 8 - 1) / 2 - ((word)(WORDS * 4) * (WORDS * 4 - 1) - (word)(WORDS * 3) * (WORDS * 3 - 1)) / 2);
    /* Stores: a page becomes read-only, then is written. */
    warm(cpl, fills);
    set_cr0(cr0() | CR0_WP);
    map(window + 6 * PAGE, (word)frames[6], P | U | A);
    begin(window + 4 * PAGE, 0, WORDS * 4);
    run(cpl, fills);
    ended("a read-only page", PF, cpl ? 7 : 3, fills_x);
    check("CR2", out.cr2, window + 6 * PAGE);
    check("RAX", out.gpr[RAX], 3 * WORDS * 2);
    entry *const e = map(window + 6 * PAGE, (word)frames[6], P | W | U);
    begin(window + 4 * PAGE, 0, WORDS * 4);
    run(cpl, fills);
    ended("writable again", DONE, 0, fills_end);
    check("D", *e & D, D);
    set_cr0(cr0() & ~(word)CR0_WP);
    /* The code itself: a page of it changes under the loop's feet. */
    for (u32 n = 0; n < 32; n++) frames[10][n] = counts[n];
    map(window + 9 * PAGE, (word)frames[10], P | W | U);
    for (u32 turn = 0; turn < 3; turn++) {
      frames[10][1] = 1 + turn;
      begin(0, 0, OFTEN);
      run(cpl, (void *)(window + 9 * PAGE));
      check("changed code", (u32)out.gpr[RDX], OFTEN * (1 + turn));
    }
    for (u32 n = 0; n < 32; n++) frames[11][n] = frames[10][n];
    frames[11][1] = 9;
    map(window + 9 * PAGE, (word)frames[11], P | W | U);
    begin(0, 0, OFTEN);
    run(cpl, (void *)(window + 9 * PAGE));
    check("code in another frame", (u32)out.gpr[RDX], OFTEN * 9);
    map(window + 9 * PAGE, 0, 0);
    begin(0, 0, 1);
    run(cpl, (void *)(window + 9 * PAGE));
    check("code that is gone", out.vector, PF);
    check("CR2", out.cr2, window + 9 * PAGE);
  }
}

/* ---- interrupts -------------------------------------------------------------------------------------------------------------- */
enum { APIC_EOI = 0xfee000b0, APIC_SPURIOUS = 0xfee000f0, APIC_TIMER = 0xfee00320, APIC_START = 0xfee00380, APIC_DIVIDE = 0xfee003e0 };
static u32 ticks, strange;
static int tick(struct frame *f) {
  if (f->vector != 0x40) return 0;
  ticks++;
  if (f->ip < (word)counts || f->ip > (word)counts_end) strange++;
  *(volatile u32 *)APIC_EOI = 0;
  return 1;
}
TESTS(hot_interrupts) {
  section("hot loops: interrupts");
  *(volatile u32 *)APIC_SPURIOUS = 0x1ff;
  *(volatile u32 *)APIC_DIVIDE = 0xb;
  *(volatile u32 *)APIC_TIMER = 0x20040;
  for (int cpl = 0; cpl <= 3; cpl += 3) {
    fresh();
    hook = tick;
    ticks = strange = 0;
    const u32 turns = quick ? 8000 : 40000;
    in.gpr[RCX] = turns;
    in.flags = FIXED | IF;
    *(volatile u32 *)APIC_START = 3001;
    run(cpl, counts);
    *(volatile u32 *)APIC_START = 0;
    ended("the loop ends", DONE, 0, counts_end);
    check("its work", (u32)out.gpr[RDX], turns);
    check("interrupts came", ticks > (quick ? 3 : 20), 1);
    check("each in the loop", strange, 0);
  }
  *(volatile u32 *)APIC_TIMER = 0x10000;
  /* One may have come since. */
  in.gpr[RCX] = 10;
  run(0, counts);
}

/* Accesses that cross pages or are not aligned, instructions that cross pages, and code that changes itself. */
#include "system.h"

#define AX LONG_AX
SNIPPET(load, "", "mov (%" LONG_SI "), %" AX, "");
SNIPPET(store, "", "mov %" AX ", (%" LONG_SI ")", "");
SNIPPET(add, "", "add %" AX ", (%" LONG_SI ")", "");
SNIPPET(exchange, "", "xchg %" AX ", (%" LONG_SI ")", "");
SNIPPET(push_, "", "push %" AX, "");
SNIPPET(pop_to, "", "pop (%" LONG_SI ")", "");
SNIPPET(far_pointer, "", "lss (%" LONG_SI "), %eax", "");
SNIPPET(copies, "cld", "rep movsb", "");

#define BORDER (TEST + PAGE)
static void pages(entry low, entry high) {
  map(TEST, (word)frames[1], low);
  map(TEST + PAGE, (word)frames[2], high);
  for (u32 n = 0; n < 16; n++) frames[1][PAGE - 16 + n] = frames[2][n] = 0x5a;
}
static void untouched(const char *name) {
  for (u32 n = 0; n < 16; n++) {
    if (frames[1][PAGE - 16 + n] == 0x5a && frames[2][n] == 0x5a) continue;
    check(name, n, 99);
    return;
  }
  check(name, 0, 0);
}

TESTS(page_borders) {
  section("accesses across pages");
  static const entry rights[] = {P | W | U, P | U, P | W, 0};
  for (u32 low = 0; low < 4; low++)
    for (u32 high = 0; high < 4; high++)
      for (u32 first = 1; first < sizeof(word); first++)
        for (int kind = 0; kind < 4; kind++) {
          static const u8 *const codes[] = {load, store, add, exchange};
          const u8 *const at[] = {load_x, store_x, add_x, exchange_x};
          const int writes = kind > 0;
          pages(rights[low], rights[high]);
          fresh();
          in.gpr[RSI] = BORDER - first;
          in.gpr[RAX] = (word)0x0101010101010101;
          run(3, codes[kind]);
          const int bad_low = low > 1 || (low == 1 && writes), bad_high = high > 1 || (high == 1 && writes);
          const entry leaf = rights[bad_low ? low : high];
          if (!bad_low && !bad_high) {
            ran("both pages allow it");
            if (kind == 1) check("low part", frames[1][PAGE - 1], 1);
            if (kind == 1) check("high part", frames[2][sizeof(word) - first - 1], 1);
            if (kind == 1) check("behind", frames[2][sizeof(word) - first], 0x5a);
          } else {
            ended(bad_low ? "low page" : "high page", PF, 4 | (writes ? 2 : 0) | (leaf & P ? 1 : 0), at[kind]);
            check("CR2", out.cr2, bad_low ? BORDER - first : BORDER);
            untouched("nothing is written");
          }
        }
  pages(P | W | U, 0);
  fresh();
  in.gpr[RSP] = BORDER - 2 + sizeof(word);
  run(3, push_);
  ended("PUSH", PF, 6, push__x);
  check("CR2 of PUSH", out.cr2, BORDER);
  check("stack pointer", out.gpr[RSP], in.gpr[RSP]);
  untouched("PUSH writes nothing");
  fresh();
  in.gpr[RSI] = BORDER - 2;
  in.gpr[RSP] = TOP(stack3);
  run(3, pop_to);
  ended("POP to memory", PF, 6, pop_to_x);
  check("stack pointer of POP", out.gpr[RSP], TOP(stack3));
  untouched("POP writes nothing");
  fresh();
  in.gpr[RSI] = BORDER - 4;
  run(0, far_pointer);
  ended("LSS", PF, 0, far_pointer_x);
  check("CR2 of LSS", out.cr2, BORDER);
  /* A string stops in the midst, its registers at the element that faults. */
  pages(P | W | U, 0);
  fresh();
  in.gpr[RSI] = (word)frames[3];
  in.gpr[RDI] = BORDER - 5;
  in.gpr[RCX] = 9;
  run(3, copies);
  ended("REP MOVS", PF, 6, copies_x);
  check("CR2 of REP MOVS", out.cr2, BORDER);
  check("RCX", out.gpr[RCX], 4);
  check("RDI", out.gpr[RDI], BORDER);
  check("RF", out.flags & RF, RF);
}

/* ---- wide operands --------------------------------------------------------------------------------------------------------- */
SNIPPET(load16, "", "movups (%" LONG_SI "), %xmm0", "");
SNIPPET(store16, "", "movups %xmm0, (%" LONG_SI ")", "");
SNIPPET(save512, "", "fxsave (%" LONG_SI ")", "");
SNIPPET(restore512, "", "fxrstor (%" LONG_SI ")", "");
SNIPPET(save_environment, "", "fnstenv (%" LONG_SI ")", "");
SNIPPET(save_x87, "", "fnsave (%" LONG_SI ")", "");
SNIPPET(store10, "", "fstpt (%" LONG_SI ")", "");
SNIPPET(exchange8, "", "lock cmpxchg8b (%" LONG_SI ")", "");
SNIPPET(load32, "", "vmovups (%" LONG_SI "), %ymm0", "");
SNIPPET(store32, "", "vmovups %ymm0, (%" LONG_SI ")", "");
SNIPPET(xsave_, "", "xsave (%" LONG_SI ")", "");
SNIPPET(xrstor_, "", "xrstor (%" LONG_SI ")", "");
SNIPPET(masked, "", "vmaskmovps (%" LONG_SI "), %xmm1, %xmm0", "");
SNIPPET(enters, "", "enter $8, $0", "");
SNIPPET(pushes, "", "pushf", "");
SNIPPET(calls, "", "call 1f; 1:", "");
#if LONG
SNIPPET(exchange16, "", "lock cmpxchg16b (%rsi)", "");
#else
SNIPPET(pusha_, "", "pusha", "");
SNIPPET(popa_, "", "popa", "");
#endif

/* One access of `bytes` at every place over the border that `step` allows, each half forbidden in turn. */
static void across(const char *name, const u8 *code, const u8 *at, u32 bytes, u32 step, int writes) {
  static const entry rights[] = {P | W | U, P | U, P | W, 0};
  for (u32 low = 0; low < 4; low++)
    for (u32 high = 0; high < 4; high++)
      for (u32 first = step; first < bytes; first += step) {
        /* Every place for one pair of pages, three for the others. */
        if ((quick || low + high != 3) && first != step && first != bytes / 2 && first != bytes - step) continue;
        pages(rights[low], rights[high]);
        fresh();
        in.gpr[RSI] = BORDER - first;
        in.gpr[RAX] = 7;
        run(3, code);
        const int bad_low = low > 1 || (low == 1 && writes), bad_high = high > 1 || (high == 1 && writes);
        if (!bad_low && !bad_high) {
          ran(name);
          continue;
        }
        const entry leaf = rights[bad_low ? low : high];
        ended(name, PF, 4 | (writes ? 2 : 0) | (leaf & P ? 1 : 0), at);
        check("CR2", out.cr2, bad_low ? BORDER - first : BORDER);
        untouched(name);
      }
}
#define ACROSS(s, bytes, step, writes) across(#s, s, s##_x, bytes, step, writes)

/* Pushes of `bytes` in all, at every place over the border: the page below is missing. */
static void pushes_across(const char *name, const u8 *code, const u8 *at, u32 bytes) {
  for (u32 above = 1; above < bytes; above++) {
    pages(0, P | W | U);
    fresh();
    in.gpr[RSP] = BORDER + above;
    in.gpr[RBP] = 0x1234;
    run(3, code);
    ended(name, PF, 6, at);
    check("stack pointer", out.gpr[RSP], in.gpr[RSP]);
    check("frame pointer", out.gpr[RBP], 0x1234);
  }
}

TESTS(wide_borders) {
  section("wide operands across pages");
  const word c4 = cr4();
  set_cr4(c4 | 0x600);
  asm volatile("fninit; fldz");
  ACROSS(load16, 16, 1, 0);
  ACROSS(store16, 16, 1, 1);
  ACROSS(exchange8, 8, 1, 1);
  ACROSS(save512, 512, 16, 1);
  ACROSS(save_environment, 28, 1, 1);
  /* Later than the rest, which leave no x87 stack. */
  for (u32 first = 1; first < 10; first++) {
    asm volatile("fninit; fldz");
    pages(P | W | U, 0);
    fresh();
    in.gpr[RSI] = BORDER - first;
    run(3, store10);
    ended("FSTP of 80 bits", PF, 6, store10_x);
    check("CR2", out.cr2, BORDER);
    untouched("FSTP");
    u16 status;
    asm volatile("fnstsw %0" : "=m"(status));
    check("nothing is popped", status >> 11 & 7, 7);
    pages(P | W | U, 0);
    run(3, save_x87);
    ended("FNSAVE", PF, 6, save_x87_x);
    asm volatile("fnstsw %0" : "=m"(status));
    check("nothing is initialized", status >> 11 & 7, 7);
  }
  asm volatile("fninit");
  /* An image of zeros is a good one. */
  for (u32 n = 0; n < PAGE; n++) frames[1][n] = frames[2][n] = 0;
  map(TEST, (word)frames[1], P | W | U);
  map(BORDER, 0, 0);
  for (u32 first = 16; first < 512; first += 16) {
    fresh();
    in.gpr[RSI] = BORDER - first;
    run(3, restore512);
    ended("FXRSTOR", PF, 4, restore512_x);
    check("CR2", out.cr2, BORDER);
  }
  if (has(1, 2, 28)) {
    set_cr4(cr4() | CR4_OSXSAVE);
    asm volatile("xsetbv" ::"a"(7), "d"(0), "c"(0));
    ACROSS(load32, 32, 1, 0);
    ACROSS(store32, 32, 1, 1);
    ACROSS(xsave_, 576, 64, 1);
    for (u32 n = 0; n < PAGE; n++) frames[1][n] = frames[2][n] = 0;
    map(TEST, (word)frames[1], P | W | U);
    map(BORDER, 0, 0);
    for (u32 first = 64; first < 576; first += 64) {
      fresh();
      in.gpr[RSI] = BORDER - first;
      in.gpr[RAX] = 7;
      run(3, xrstor_);
      ended("XRSTOR", PF, 4, xrstor__x);
      check("CR2", out.cr2, BORDER);
    }
    /* What the mask leaves out is not looked at. */
    static u32 mask[4];
    for (u32 first = 4; first < 16; first += 4)
      for (u32 last = 1; last <= 4; last++) {
        for (u32 n = 0; n < 4; n++) mask[n] = n < last ? 0x80000000 : 0;
        asm volatile("vmovups %0, %%xmm1" ::"m"(mask));
        fresh();
        in.gpr[RSI] = BORDER - first;
        run(3, masked);
        if (last * 4 <= first) ran("VMASKMOVPS short of the border");
        else {
          ended("VMASKMOVPS", PF, 4, masked_x);
          check("CR2", out.cr2, BORDER);
        }
      }
    asm volatile("vzeroall; xsetbv" ::"a"(1), "d"(0), "c"(0));
  }
#if LONG
  pages(P | W | U, 0);
  fresh();
  in.gpr[RSI] = BORDER - 16;
  run(3, exchange16);
  ran("CMPXCHG16B before the border");
  for (u32 offset = 1; offset < 16; offset++) {
    fresh();
    in.gpr[RSI] = BORDER - offset;
    run(3, exchange16);
    ended("CMPXCHG16B, not aligned", GP, 0, exchange16_x);
  }
  pages(P | U, 0);
  fresh();
  in.gpr[RSI] = BORDER - 16;
  in.gpr[RAX] = 1;
  run(3, exchange16);
  ended("CMPXCHG16B that stores nothing new", PF, 7, exchange16_x);
#endif
  pushes_across("PUSHF", pushes, pushes_x, sizeof(word));
  pushes_across("CALL", calls, calls_x, sizeof(word));
  pushes_across("ENTER", enters, enters_x, sizeof(word));
#if !LONG
  pushes_across("PUSHA", pusha_, pusha__x, 32);
  pages(P | W | U, 0);
  for (u32 first = 1; first < 32; first++) {
    fresh();
    in.gpr[RSP] = BORDER - first;
    in.gpr[RDI] = 0x77;
    run(3, popa_);
    ended("POPA", PF, 4, popa__x);
    /* It skips what PUSHA stored of ESP, the fourth. */
    check("CR2", out.cr2, first >= 12 && first < 16 ? BORDER + 16 - first : BORDER);
    check("stack pointer", out.gpr[RSP], BORDER - first);
    check("EDI", out.gpr[RDI], 0x77);
  }
#endif
  set_cr4(c4);
}

/* ---- code that changes itself across pages ------------------------------------------------------------------------------- */
static const u8 long_move[] = {0xb8, 0x11, 0x22, 0x33, 0x44, 0xcd, 0x80};
SNIPPET(stores, "", "mov %cl, (%" LONG_SI ")", "");
TESTS(modified_borders) {
  section("self-modifying code across pages");
  for (u32 first = 1; first < 5; first++)
    for (u32 which = 1; which < 5; which++) {
      pages(P | W | U, P | W | U);
      for (u32 n = 0; n < sizeof long_move; n++) *(u8 *)(BORDER - first + n) = long_move[n];
      fresh();
      run(3, (void *)(BORDER - first));
      check("before", out.gpr[RAX], 0x44332211);
      fresh();
      in.gpr[RSI] = BORDER - first + which;
      in.gpr[RCX] = 0x99;
      run(3, stores);
      fresh();
      run(3, (void *)(BORDER - first));
      const u32 shift = (which - 1) * 8;
      check("after", out.gpr[RAX], (0x44332211 & ~(0xffu << shift)) | 0x99u << shift);
      /* By way of the frame. */
      u8 *const byte = which < first ? &frames[1][PAGE - first + which] : &frames[2][which - first];
      *byte = 0x66;
      fresh();
      run(3, (void *)(BORDER - first));
      check("through another mapping", out.gpr[RAX], (0x44332211 & ~(0xffu << shift)) | 0x66u << shift);
    }
  /* A store over the border into the instruction behind it. */
  for (u32 first = 1; first < 4; first++) {
    pages(P | W | U, P | W | U);
    /* movl $0x55667788, BORDER - first; then what lies there: the store fills the last bytes of one page and the first of the next. */
    u8 *const code = (u8 *)(BORDER - first - 12);
    const u32 target = BORDER - first + 1;
    code[0] = 0xb9;
    *(u32 *)(code + 1) = 0x55667788;
    code[5] = 0xbe;
    *(u32 *)(code + 6) = target;
    code[10] = 0x89;
    code[11] = 0x0e;
    for (u32 n = 0; n < sizeof long_move; n++) code[12 + n] = long_move[n];
    fresh();
    run(3, code);
    check("the next instruction, over the border", out.gpr[RAX], 0x55667788);
  }
}

/* ---- instructions across pages -------------------------------------------------------------------------------------------- */
static const u8 immediate[] = {0xb8, 0x11, 0x22, 0x33, 0x44, 0xcd, 0x80};
TESTS(code_borders) {
  section("instructions across pages");
  for (u32 first = 1; first < 5; first++) {
    pages(P | W | U, P | W | U);
    for (u32 n = 0; n < sizeof immediate; n++) *(first > n ? &frames[1][PAGE - first + n] : &frames[2][n - first]) = immediate[n];
    fresh();
    run(3, (void *)(BORDER - first));
    ended("MOV", DONE, 0, (void *)(BORDER - first + sizeof immediate));
    check("its immediate", out.gpr[RAX], 0x44332211);
    /* Another page behind the same first one. */
    map(BORDER, (word)frames[4], P | W | U);
    for (u32 n = 0; n < 8; n++) frames[4][n] = frames[2][n];
    frames[4][4 - first] = 0x77;
    fresh();
    run(3, (void *)(BORDER - first));
    check("another second page", out.gpr[RAX], 0x77332211);
    map(BORDER, (word)frames[4], P | W);
    fresh();
    run(3, (void *)(BORDER - first));
    ended("second page of ring 0", PF, ENTRY_BYTES == 8 && (rdmsr(MSR_EFER) & EFER_NXE) ? 0x15 : 5, (void *)(BORDER - first));
    check("CR2", out.cr2, BORDER);
    map(BORDER, 0, 0);
    fresh();
    run(3, (void *)(BORDER - first));
    ended("second page missing", PF, ENTRY_BYTES == 8 && (rdmsr(MSR_EFER) & EFER_NXE) ? 0x14 : 4, (void *)(BORDER - first));
  }
}

/* ---- self-modifying code ---------------------------------------------------------------------------------------------------- */
SNIPPET(next_instruction, "mov $1f + 1, %esi", "movb $0x22, (%" LONG_SI ")", "1: mov $0x11, %eax");
SNIPPET(same_block, "mov $1f + 1, %esi; mov $2, %ecx; xor %eax, %eax; 2:", "movb $0x20, (%" LONG_SI ")",
        "1: mov $0x10, %edx; add %edx, %eax; movb $0x30, 1b + 1; dec %ecx; jnz 2b");
SNIPPET(by_string, "cld; mov $1f + 1, %edi; mov $0x55, %eax; mov $4, %ecx", "rep stosb", "1: mov $0x11111111, %eax");
TESTS(self_modification) {
  section("self-modifying code");
  for (u32 turn = 0; turn < 20; turn++) {
    fresh();
    run(turn & 1 ? 3 : 0, next_instruction);
    check("the next instruction", out.gpr[RAX], 0x22);
    *(u8 *)(next_instruction_y + 1) = 0x11;
    fresh();
    run(3, same_block);
    check("in a loop", out.gpr[RAX], 0x40);
    fresh();
    run(3, by_string);
    check("by REP STOS", out.gpr[RAX], 0x55555555);
    for (u32 n = 0; n < 4; n++) by_string_y[1 + n] = 0x11;
  }
  /* Through another mapping. */
  map(TEST, (word)frames[5], P | W | U);
  for (u32 n = 0; n < sizeof immediate; n++) frames[5][n] = immediate[n];
  for (u32 turn = 0; turn < 20; turn++) {
    frames[5][1] = turn;
    fresh();
    run(3, (void *)TEST);
    check("through another mapping", out.gpr[RAX], 0x44332200 | turn);
  }
}

/* ---- alignment checks ------------------------------------------------------------------------------------------------------- */
SNIPPET(load2, "", "movw (%" LONG_SI "), %ax", "");
SNIPPET(load1, "", "movb (%" LONG_SI "), %al", "");
TESTS(alignment) {
  section("alignment checks");
  static u8 room[64] __attribute__((aligned(64)));
  const word c0 = cr0();
  for (int am = 0; am < 2; am++)
    for (int ac = 0; ac < 2; ac++)
      for (int cpl = 0; cpl < 4; cpl += 3)
        for (u32 offset = 0; offset < 16; offset++) {
          const int on = am && ac && cpl == 3;
          set_cr0(am ? c0 | CR0_AM : c0);
#define ALIGNED(s, size)                                                   \
  fresh();                                                                 \
  in.flags = FIXED | (ac ? ACF : 0);                                       \
  in.gpr[RSI] = (word)room + offset;                                       \
  run(cpl, s);                                                             \
  if (on && offset % (size)) ended(#s, AC, 0, s##_x);                      \
  else ran(#s);
          ALIGNED(load1, 1)
          ALIGNED(load2, 2)
          ALIGNED(load, sizeof(word))
          ALIGNED(store, sizeof(word))
          ALIGNED(add, sizeof(word))
        }
  set_cr0(c0 | CR0_AM);
  fresh();
  in.flags = FIXED | ACF;
  in.gpr[RSP] = TOP(stack3) - 2;
  run(3, push_);
  ended("PUSH", AC, 0, push__x);
  fresh();
  in.flags = FIXED | ACF;
  in.gpr[RSI] = TEST + 1;
  run(3, load);
  /* An AMD EPYC does it so, and Bochs. */
  ended("goes before a page fault", AC, 0, load_x);
  in.gpr[RSI] = (word)room + 1;
  run(3, save_environment);
  ended("FNSTENV", AC, 0, save_environment_x);
#if LONG
  /* The EPYC again. */
  in.gpr[RSI] = 0x7ffffffffffffff5;
  run(3, load);
  ended("not before an address that is not canonical", GP, 0, load_x);
  run(3, save_environment);
  ended("FNSTENV there", GP, 0, save_environment_x);
#endif
  set_cr0(c0);
}

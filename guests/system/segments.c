/* Segment registers, and the instructions that look at descriptors. */
#include "system.h"

#define AX LONG_AX
SNIPPET(to_ds, "", "mov %eax, %ds", "");
SNIPPET(to_ss, "", "mov %eax, %ss", "nop");
SNIPPET(pop_fs, "push %" AX, "pop %fs", "");
SNIPPET(lss_, "", "lss (%" LONG_SI "), %ebx", "nop");
SNIPPET(lldt_, "", "lldt %ax", "");
SNIPPET(ltr_, "", "ltr %ax", "");
SNIPPET(lar_, "", "lar %eax, %ebx", "pushf; pop %" LONG_SI "");
SNIPPET(lsl_, "", "lsl %eax, %ebx", "pushf; pop %" LONG_SI "");
SNIPPET(verr_, "", "verr %ax", "pushf; pop %" LONG_SI "");
SNIPPET(verw_, "", "verw %ax", "pushf; pop %" LONG_SI "");

struct load {
  const char *name;
  u32 cpl, rpl, attributes, vector, error;
};
#define F SEL_FREE

TESTS(data_loads) {
  section("loads of data segments");
  static const struct load cases[] = {
    {"data", 3, 3, DATA32 | DPL3, DONE, 0},
    {"RPL below CPL", 3, 0, DATA32 | DPL3, DONE, 0},
    {"DPL below CPL", 3, 3, DATA32, GP, F},
    {"RPL above DPL", 0, 3, DATA32, GP, F},
    {"read-only", 3, 3, (DATA32 | DPL3) & ~2, DONE, 0},
    {"readable code", 3, 3, CODE_NATIVE | DPL3, DONE, 0},
    {"code that can't be read", 3, 3, (CODE_NATIVE | DPL3) & ~2, GP, F},
    {"conforming code of an inner ring", 3, 3, CODE_NATIVE | CONFORMING, DONE, 0},
    {"not present", 3, 3, (DATA32 | DPL3) & ~PRESENT, NP, F},
    {"privilege before presence", 3, 3, DATA32 & ~PRESENT, GP, F},
    {"LDT", 0, 0, LDT | PRESENT, GP, F},
    {"TSS", 0, 0, TSS32 | PRESENT, GP, F},
    {"call gate", 0, 0, CALL32 | PRESENT, GP, F},
  };
  for (u32 n = 0; n < sizeof cases / sizeof *cases; n++) {
    fresh();
    gdt[F >> 3] = descriptor(0, 0xfffff, cases[n].attributes & ~1);
    if (!(cases[n].attributes & 0x10)) gdt[F >> 3] = descriptor(0, 0xfffff, cases[n].attributes);
    in.gpr[RAX] = F | cases[n].rpl;
    run(cases[n].cpl, to_ds);
    ended(cases[n].name, cases[n].vector, cases[n].error, cases[n].vector == DONE ? to_ds_end : to_ds_x);
    if (cases[n].vector == DONE) check("accessed", gdt[F >> 3] >> 40 & 1, 1);
    fresh();
    in.gpr[RAX] = F | cases[n].rpl;
    run(cases[n].cpl, pop_fs);
    ended(cases[n].name, cases[n].vector, cases[n].error, cases[n].vector == DONE ? pop_fs_end : pop_fs_x);
  }
  for (u32 null = 0; null < 4; null++) {
    fresh();
    in.gpr[RAX] = null;
    run(3, to_ds);
    ran("null selector");
  }
  fresh();
  in.gpr[RAX] = SEL_LAST + 8;
  run(3, to_ds);
  ended("beyond the GDT", GP, SEL_LAST + 8, to_ds_x);
  fresh();
  in.gpr[RAX] = 0xf | 4;
  run(3, to_ds);
  ended("in no LDT", GP, 0xc, to_ds_x);
}

TESTS(stack_loads) {
  section("loads of SS");
  static const struct load cases[] = {
    {"data", 3, 3, DATA32 | DPL3, DONE, 0},
    {"RPL", 3, 0, DATA32 | DPL3, GP, F},
    {"DPL", 3, 3, DATA32, GP, F},
    {"RPL above CPL", 0, 3, DATA32, GP, F},
    {"read-only", 3, 3, (DATA32 | DPL3) & ~2, GP, F},
    {"code", 3, 3, CODE_NATIVE | DPL3, GP, F},
    {"not present", 3, 3, (DATA32 | DPL3) & ~PRESENT, SS, F},
    {"system", 0, 0, LDT | PRESENT, GP, F},
  };
  for (u32 n = 0; n < sizeof cases / sizeof *cases; n++) {
    fresh();
    gdt[F >> 3] = descriptor(0, 0xfffff, cases[n].attributes);
    in.gpr[RAX] = F | cases[n].rpl;
    run(cases[n].cpl, to_ss);
    ended(cases[n].name, cases[n].vector, cases[n].error, cases[n].vector == DONE ? to_ss_end : to_ss_x);
    struct {
      u32 offset;
      u16 selector;
    } __attribute__((packed)) pointer = {0x1234, F | cases[n].rpl};
    fresh();
    in.gpr[RSI] = (word)&pointer;
    in.gpr[RBX] = 7;
    run(cases[n].cpl, lss_);
    ended(cases[n].name, cases[n].vector, cases[n].error, cases[n].vector == DONE ? lss__end : lss__x);
    check("EBX", out.gpr[RBX], cases[n].vector == DONE ? 0x1234 : 7);
  }
  for (u32 cpl = 0; cpl < 4; cpl += 3)
    for (u32 null = 0; null < 4; null++) {
      fresh();
      in.gpr[RAX] = null;
      run(cpl, to_ss);
      /* Null is for 64-bit code below ring 3, with RPL = CPL. */
      if (LONG && cpl == 0 && null == 0) ran("null");
      else ended("null", GP, 0, to_ss_x);
    }
}

TESTS(system_loads) {
  section("LLDT and LTR");
  fresh();
  gdt[F >> 3] = descriptor((word)ldt, sizeof ldt - 1, LDT | PRESENT);
  gdt[(F >> 3) + 1] = 0;
  in.gpr[RAX] = F;
  run(0, lldt_);
  ran("LLDT");
  ldt[1] = descriptor(0, 0xfffff, DATA32 | DPL3);
  ldt[7] = ldt[1];
  fresh();
  in.gpr[RAX] = 0xf;
  run(3, to_ds);
  ran("a segment of the LDT");
  fresh();
  in.gpr[RAX] = sizeof ldt | 7;
  run(3, to_ds);
  ended("beyond the LDT", GP, (sizeof ldt | 7) & ~3, to_ds_x);
  fresh();
  run(0, lldt_);
  ran("null LDT");
#define REFUSED(name, s, selector, attributes, vector)           \
  fresh();                                                       \
  gdt[F >> 3] = descriptor((word)&tss, 0x67, attributes);        \
  in.gpr[RAX] = selector;                                        \
  run(0, s);                                                     \
  ended(name, vector, (selector) & 0xfffc, s##_x);
  REFUSED("LLDT of a TSS", lldt_, F, TSS32 | PRESENT, GP)
  REFUSED("LLDT of data", lldt_, F, DATA32, GP)
  REFUSED("LLDT in the LDT", lldt_, F | 4, LDT | PRESENT, GP)
  REFUSED("LLDT not present", lldt_, F, LDT, NP)
  REFUSED("LLDT beyond the GDT", lldt_, SEL_LAST + 8, LDT, GP)
  REFUSED("LTR of null", ltr_, 0, TSS32 | PRESENT, GP)
  REFUSED("LTR of a busy TSS", ltr_, F, TSS32 | 2 | PRESENT, GP)
  REFUSED("LTR of an LDT", ltr_, F, LDT | PRESENT, GP)
  REFUSED("LTR not present", ltr_, F, TSS32, NP)
  REFUSED("LTR in the LDT", ltr_, F | 4, TSS32 | PRESENT, GP)
#if LONG
  REFUSED("LTR of a 16-bit TSS", ltr_, F, TSS16 | PRESENT, GP)
  gdt[(F >> 3) + 1] = 1ull << 40;
  REFUSED("LTR, type in the upper half", ltr_, F, TSS32 | PRESENT, GP)
  gdt[(F >> 3) + 1] = 0x00008000;
  REFUSED("LTR, base not canonical", ltr_, F, TSS32 | PRESENT, GP)
  REFUSED("LTR, upper half beyond the GDT", ltr_, SEL_LAST, TSS32 | PRESENT, GP)
#endif
  fresh();
  gdt[F >> 3] = descriptor((word)&tss, sizeof tss - 1, TSS32 | PRESENT);
  gdt[(F >> 3) + 1] = 0;
  in.gpr[RAX] = F;
  run(0, ltr_);
  ran("LTR");
  check("busy", gdt[F >> 3] >> 40 & 0x1f, TSS32 | 2);
}

TESTS(looks) {
  section("LAR, LSL, VERR, VERW");
  /* Types that LAR and LSL know: of system segments in legacy modes, and in long mode. */
  static const u32 lar_types = LONG ? 0x1a04 : 0x1a3e, lsl_types = LONG ? 0x0a04 : 0x0a0e;
  for (u32 cpl = 0; cpl < 4; cpl += 3)
    for (u32 rpl = 0; rpl < 4; rpl += 3)
      for (u32 dpl = 0; dpl < 4; dpl += 3)
        for (u32 type = 0; type < 32; type += quick ? 5 : 1) {
          const u32 attributes = type | dpl << 5 | PRESENT | 0x8000;
          const int conforming = (type & 0x1c) == 0x1c, segment = type >> 4;
          const int visible = conforming || (dpl >= cpl && dpl >= rpl);
          gdt[F >> 3] = descriptor(0x12345678, 0xfedcb, attributes);
          gdt[(F >> 3) + 1] = 0;
          const u32 right = (u32)(gdt[F >> 3] >> 32) & 0xffff00;
#define LOOK(s, good, value)                             \
  fresh();                                               \
  in.gpr[RAX] = F | rpl;                                 \
  in.gpr[RBX] = 0x5555;                                  \
  run(cpl, s);                                           \
  ran(#s);                                               \
  check(#s, out.gpr[RSI] >> 6 & 1, good);                \
  check(#s, out.gpr[RBX], (good) ? (value) : 0x5555);
          LOOK(lar_, visible && (segment || (lar_types >> type & 1)), right)
          LOOK(lsl_, visible && (segment || (lsl_types >> type & 1)), 0xfedcbfff)
          LOOK(verr_, visible && segment && (type & 10) != 8, 0x5555)
          LOOK(verw_, visible && segment && (type & 10) == 2, 0x5555)
        }
  /* Presence does not matter to LAR; a null selector and one beyond the table clear ZF. */
  for (u32 n = 0; n < 3; n++) {
    static const u32 selectors[] = {0, 3, SEL_LAST + 8};
    fresh();
    in.gpr[RAX] = selectors[n];
    run(3, lar_);
    check("LAR of nothing", out.gpr[RSI] >> 6 & 1, 0);
  }
  gdt[F >> 3] = descriptor(0, 0, DATA32 & ~PRESENT);
  fresh();
  in.gpr[RAX] = F;
  run(0, lar_);
  check("LAR of a segment that is not present", out.gpr[RSI] >> 6 & 1, 1);
}

/* ---- limits ------------------------------------------------------------------------------------------------------------ */
SNIPPET32(load4, "", "movl %ds:(%esi), %eax", "");
SNIPPET32(store1, "", "movb %al, %ds:(%esi)", "");
SNIPPET32(load_es, "", "movl %es:(%esi), %eax", "");
SNIPPET32(load_stack, "", "movl %ss:(%esi), %eax", "");
SNIPPET32(store_cs, "", "movl %eax, %cs:(%esi)", "");

static void run32(const void *code) {
  in.gpr[RSP] = TOP(stack3);
  run_in(SEL_UCODE32, SEL_UDATA, code);
}

TESTS(segment_limits) {
  section("segment limits");
  static u8 room[64] __attribute__((aligned(64)));
#define LIMIT(name, s, attributes, limit, offset, want)                          \
  fresh();                                                                       \
  gdt[F >> 3] = descriptor((word)room, limit, attributes);                       \
  in.ds = in.es = F | 3;                                                         \
  in.gpr[RSI] = (u32)(offset);                                                   \
  run32(s);                                                                      \
  ended(name, want, 0, want == DONE ? s##_end : s##_x);
  LIMIT("last dword", load4, DATA16 | DPL3 | 0x4000, 19, 16, DONE)
  LIMIT("one byte over", load4, DATA16 | DPL3 | 0x4000, 18, 16, GP)
  LIMIT("last byte", store1, DATA16 | DPL3 | 0x4000, 16, 16, DONE)
  LIMIT("byte over", store1, DATA16 | DPL3 | 0x4000, 16, 17, GP)
  LIMIT("read-only", store1, (DATA16 | DPL3) & ~2, 63, 0, GP)
  LIMIT("code", store1, CODE16 | DPL3, 63, 0, GP)
  LIMIT("code read", load4, CODE16 | DPL3, 63, 0, DONE)
  LIMIT("expand-down, at the limit", load4, DATA16 | DPL3 | 4, 15, 12, GP)
  LIMIT("expand-down, above", load4, DATA16 | DPL3 | 4, 15, 16, DONE)
  LIMIT("expand-down, beyond 64 KiB", load4, DATA16 | DPL3 | 4, 15, 0xfffd, GP)
  LIMIT("wraps at 4 GiB", load4, DATA32 | DPL3, 0xfffff, 0xfffffffe, GP)
  LIMIT("ES", load_es, DATA16 | DPL3, 18, 16, GP)
  fresh();
  in.ds = in.es = 0;
  run32(load4);
  ended("null DS", GP, 0, load4_x);
  fresh();
  in.gpr[RSI] = (word)room;
  run32(store_cs);
  ended("store through CS", GP, 0, store_cs_x);
  fresh();
  gdt[F >> 3] = descriptor(0, 0xff, (DATA32 & ~0x8000) | DPL3);
  in.gpr[RSI] = 0x100;
  in.gpr[RSP] = 0x80;
  run_in(SEL_UCODE32, F | 3, load_stack);
  ended("SS", SS, 0, load_stack_x);
}

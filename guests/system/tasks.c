/* Hardware task switches (SDM volume 3, chapter 8). */
#include "system.h"
#if !LONG

struct tss16 {
  u16 link, sp0, ss0, sp1, ss1, sp2, ss2, ip, flags, gpr[8], seg[4], ldt;
} __attribute__((packed));
static struct tss32 other __attribute__((aligned(16)));
static struct tss16 small __attribute__((aligned(16)));
static struct {
  u32 offset;
  u16 selector;
} __attribute__((packed)) far;

enum { SEL_OTHER = SEL_FREE, SEL_SMALL = SEL_FREE + 8, SEL_TASK_GATE = SEL_FREE + 16, SEL_LDT = SEL_FREE + 24 };
#define TSS_TYPE(selector) ((u32)(gdt[(selector) >> 3] >> 40) & 0x1f)
enum { AVAILABLE = 9, BUSY = 11, AVAILABLE16 = 1, BUSY16 = 3 };

SNIPPET(call_task, "", "lcall *(%eax)", "nop");
SNIPPET(jump_task, "", "ljmp *(%eax)", "nop");
SNIPPET(int_task, "", "int $0x30", "nop");
SNIPPET(fault_task, "mov $0x77, %ebx", "hlt", "nop");
/* The new task ends at once; or goes back by IRET, and ends when it is called again. */
SNIPPET(task, "", "nop", "");
SNIPPET(task_returns, "", "iret", "nop");
SNIPPET(clear_nt, "", "iret", "");


static void prepare(void) {
  reset_tables();
  other = (struct tss32){.esp0 = TOP(trap_stack), .ss0 = SEL_DATA, .cr3 = cr3(), .eip = (word)task, .eflags = FIXED | CF,
                         .seg = {SEL_DATA, SEL_CODE, SEL_DATA, SEL_DATA, SEL_DATA, 0}, .iomap = sizeof other};
  for (u32 n = 0; n < 8; n++) other.gpr[n] = 0x10101010 * (n + 1);
  other.gpr[4] = TOP(stack1);
  small = (struct tss16){.ip = 0, .flags = FIXED | CF, .seg = {SEL_UDATA, SEL_LAST | 3, SEL_UDATA, SEL_UDATA},
                         .sp0 = 0x7f00, .ss0 = SEL_DATA};
  for (u32 n = 0; n < 8; n++) small.gpr[n] = 0x1010 * (n + 1);
  gdt[SEL_OTHER >> 3] = descriptor((word)&other, 0x67, TSS32 | PRESENT | DPL3);
  gdt[SEL_SMALL >> 3] = descriptor((word)&small, 0x2b, TSS16 | PRESENT | DPL3);
  gdt[SEL_TASK_GATE >> 3] = 0;
  gdt_gate(SEL_TASK_GATE, 0, SEL_OTHER, TASK_GATE | PRESENT | DPL3, 0);
  gate(0x30, 0, SEL_OTHER, TASK_GATE | PRESENT | DPL3, 0);
  fresh();
  far.selector = SEL_OTHER;
  in.gpr[RAX] = (word)&far;
}

static word tr(void) {
  u16 v;
  asm volatile("str %0" : "=r"(v));
  return v;
}

TESTS(task_jump) {
  section("JMP to a TSS");
  prepare();
  in.gpr[RBX] = 0xb0b0b0b0;
  in.gpr[RDI] = 0xd0d0d0d0;
  in.fs = SEL_DATA;
  in.flags = FIXED | 0x800;
  run(0, jump_task);
  ended("the task runs", DONE, 0, task_end);
  check("TR", tr(), SEL_OTHER);
  check("new is busy", TSS_TYPE(SEL_OTHER), BUSY);
  check("old is available", TSS_TYPE(SEL_TSS), AVAILABLE);
  check("no link", other.link, 0);
  check("flags", out.flags, FIXED | CF);
  check("EBX", out.gpr[RBX], 0x40404040);
  check("EDI", out.gpr[RDI], 0x80808080);
  check("FS", out.fs, SEL_DATA);
  check("GS", out.gs, 0);
  check("CR0.TS", cr0() & CR0_TS, CR0_TS);
  asm volatile("clts");
  check("saved EIP", tss.eip, (word)jump_task_y);
  check("saved flags", tss.eflags, FIXED | 0x800);
  check("saved EBX", tss.gpr[RBX], 0xb0b0b0b0);
  check("saved EDI", tss.gpr[RDI], 0xd0d0d0d0);
  check("saved ESP", tss.gpr[RSP], TOP(stack0));
  check("saved CS", (u16)tss.seg[1], SEL_CODE);
  check("saved SS", (u16)tss.seg[2], SEL_DATA);
  check("saved FS", (u16)tss.seg[4], SEL_DATA);
  /* And back. */
  far.selector = SEL_TSS;
  in.gpr[RAX] = (word)&far;
  run(0, jump_task);
  ended("back in the first task", DONE, 0, jump_task_end);
  check("its EBX", out.gpr[RBX], 0xb0b0b0b0);
  check("its flags", out.flags, FIXED | 0x800);
  check("the other is saved", other.eip, (word)jump_task_y);
  asm volatile("clts");
}

TESTS(task_call) {
  section("CALL to a TSS");
  prepare();
  run(0, call_task);
  ended("the task runs", DONE, 0, task_end);
  check("NT", out.flags, FIXED | CF | NT);
  check("link", other.link, SEL_TSS);
  check("both are busy", TSS_TYPE(SEL_OTHER) << 8 | TSS_TYPE(SEL_TSS), BUSY << 8 | BUSY);
  prepare();
  other.eip = (word)task_returns;
  in.gpr[RBX] = 0xb0b0b0b0;
  run(0, call_task);
  ended("IRET returns", DONE, 0, call_task_end);
  check("EBX came back", out.gpr[RBX], 0xb0b0b0b0);
  check("TR", tr(), SEL_TSS);
  check("other is available", TSS_TYPE(SEL_OTHER), AVAILABLE);
  check("own is busy", TSS_TYPE(SEL_TSS), BUSY);
  check("NT was cleared in what IRET saved", other.eflags, FIXED | CF);
  check("saved EIP of IRET", other.eip, (word)task_returns_y);
  prepare();
  other.eip = (word)task_returns;
  run(3, call_task);
  ended("from ring 3 and back", DONE, 0, call_task_end);
  check("CS", out.cs, SEL_UCODE);
  asm volatile("clts");
}

TESTS(task_gates) {
  section("task gates");
  prepare();
  far.selector = SEL_TASK_GATE;
  gdt[SEL_OTHER >> 3] &= ~((u64)DPL3 << 40);
  other.eip = (word)task_returns;
  run(3, call_task);
  ended("CALL from ring 3, the TSS of ring 0", DONE, 0, call_task_end);
  prepare();
  other.eip = (word)task_returns;
  run(3, int_task);
  ended("INT and IRET", DONE, 0, int_task_end);
  prepare();
  run(3, int_task);
  ended("INT", DONE, 0, task_end);
  check("link", other.link, SEL_TSS);
  check("NT", out.flags & NT, NT);
  check("no error code", out.gpr[RSP], TOP(stack1));
  check("saved EIP is past INT", tss.eip, (word)int_task_y);
  prepare();
  gate(GP, 0, SEL_OTHER, TASK_GATE | PRESENT, 0);
  run(3, fault_task);
  ended("#GP", DONE, 0, task_end);
  check("error code on the new stack", out.gpr[RSP], TOP(stack1) - 4);
  check("the error code", *(u32 *)(TOP(stack1) - 4), 0);
  check("saved EIP is at the fault", tss.eip, (word)fault_task_x);
  check("saved RF", tss.eflags & RF, RF);
  asm volatile("clts");
}

TESTS(task_16) {
  section("16-bit TSS");
  prepare();
  far.selector = SEL_SMALL;
  /* In ring 3, because the upper half of its ESP is undefined; the stack of ring 0 lies below 64 KiB. */
  gdt[SEL_LAST >> 3] = descriptor((word)task, 0xffff, (CODE32 & ~0x8000) | DPL3);
  in.flags = FIXED | ACF;
  run(0, jump_task);
  ended("the task runs", DONE, 0, (void *)(task_end - task));
  check("type", TSS_TYPE(SEL_SMALL), BUSY16);
  check("BX", (u16)out.gpr[RBX], 0x4040);
  check("flags", out.flags, FIXED | CF);
  check("FS", out.fs, 0);
  /* From the 16-bit task: what it saves. */
  far.selector = SEL_OTHER;
  gdt[SEL_OTHER >> 3] = descriptor((word)&other, 0x67, TSS32 | PRESENT);
  in.gpr[RAX] = (word)&far;
  in.gpr[RBX] = 0x12345678;
  in.flags = FIXED;
  run(0, jump_task);
  ended("and to a 32-bit one", DONE, 0, task_end);
  check("saved BX", small.gpr[3], 0x5678);
  check("saved IP", small.ip, (u16)(word)jump_task_y);
  check("16-bit is available", TSS_TYPE(SEL_SMALL), AVAILABLE16);
  asm volatile("clts");
}

TESTS(task_checks) {
  section("checks of a TSS");
  static const struct {
    const char *name;
    u32 type, limit, selector, vector, error;
  } cases[] = {
    {"busy", TSS32 | 2 | PRESENT, 0x67, SEL_OTHER, GP, SEL_OTHER},
    {"not present", TSS32, 0x67, SEL_OTHER, NP, SEL_OTHER},
    {"too small", TSS32 | PRESENT, 0x66, SEL_OTHER, TS, SEL_OTHER},
    {"16 bits, too small", TSS16 | PRESENT, 0x2a, SEL_OTHER, TS, SEL_OTHER},
    {"in an LDT", TSS32 | PRESENT, 0x67, SEL_OTHER | 4, GP, SEL_OTHER | 4},
    {"DPL", TSS32 | PRESENT, 0x67, SEL_OTHER | 3, GP, SEL_OTHER},
  };
  for (u32 n = 0; n < sizeof cases / sizeof *cases; n++) {
    prepare();
    gdt[SEL_OTHER >> 3] = descriptor((word)&other, cases[n].limit, cases[n].type);
    far.selector = cases[n].selector;
    run(0, jump_task);
    ended(cases[n].name, cases[n].vector, cases[n].error, jump_task_x);
    check("no switch", tr(), SEL_TSS);
  }
  static const struct {
    const char *name;
    u32 selector, vector, error;
  } gates[] = {
    {"gate to null", 0, GP, 0},
    {"gate to a data segment", SEL_DATA, GP, SEL_DATA},
    {"gate to a busy TSS", SEL_TSS, GP, SEL_TSS},
    {"gate beyond the GDT", SEL_LAST + 8, GP, SEL_LAST + 8},
  };
  for (u32 n = 0; n < sizeof gates / sizeof *gates; n++) {
    prepare();
    gdt_gate(SEL_TASK_GATE, 0, gates[n].selector, TASK_GATE | PRESENT | DPL3, 0);
    far.selector = SEL_TASK_GATE;
    run(3, call_task);
    ended(gates[n].name, gates[n].vector, gates[n].error, call_task_x);
    gate(0x30, 0, gates[n].selector, TASK_GATE | PRESENT | DPL3, 0);
    fresh();
    run(3, int_task);
    ended(gates[n].name, gates[n].vector, gates[n].error, int_task_x);
  }
  prepare();
  gdt_gate(SEL_TASK_GATE, 0, SEL_OTHER, TASK_GATE | PRESENT, 0);
  far.selector = SEL_TASK_GATE;
  run(3, call_task);
  ended("DPL of a gate", GP, SEL_TASK_GATE, call_task_x);
  prepare();
  gdt_gate(SEL_TASK_GATE, 0, SEL_OTHER, TASK_GATE | DPL3, 0);
  far.selector = SEL_TASK_GATE;
  run(3, call_task);
  ended("gate not present", NP, SEL_TASK_GATE, call_task_x);
  /* IRET with NT: the link must name a busy TSS. */
  static const u16 links[] = {0, SEL_OTHER, SEL_DATA, SEL_OTHER | 4, SEL_LAST + 8};
  for (u32 n = 0; n < 5; n++) {
    prepare();
    tss.link = links[n];
    in.flags = FIXED | NT;
    run(0, clear_nt);
    ended("IRET through a bad link", TS, links[n], clear_nt_x);
  }
  prepare();
  tss.link = SEL_OTHER;
  gdt[SEL_OTHER >> 3] = descriptor((word)&other, 0x67, TSS32 | 2);
  in.flags = FIXED | NT;
  run(0, clear_nt);
  ended("IRET to a TSS that is not present", NP, SEL_OTHER, clear_nt_x);
}

TESTS(task_segments) {
  section("segments of a new task");
  static const struct {
    const char *name;
    u32 segment, selector, attributes, vector, error;
  } cases[] = {
    {"null CS", 1, 0, 0, TS, 0},
    {"CS is data", 1, SEL_DATA, 0, TS, SEL_DATA},
    {"CS: RPL is not DPL", 1, SEL_CODE | 3, 0, TS, SEL_CODE},
    {"CS not present", 1, SEL_LAST, CODE32 & ~PRESENT, NP, SEL_LAST},
    {"null SS", 2, 0, 0, TS, 0},
    {"SS: RPL", 2, SEL_DATA | 3, 0, TS, SEL_DATA},
    {"SS: DPL", 2, SEL_UDATA & ~3, 0, TS, SEL_UDATA & ~3},
    {"SS not writable", 2, SEL_LAST, DATA32 & ~2, TS, SEL_LAST},
    {"SS not present", 2, SEL_LAST, DATA32 & ~PRESENT, SS, SEL_LAST},
    {"DS beyond the GDT", 3, SEL_LAST + 8, 0, TS, SEL_LAST + 8},
    {"ES: RPL above DPL", 0, SEL_DATA | 3, 0, TS, SEL_DATA},
    {"FS not readable", 4, SEL_LAST, CODE32 & ~2, TS, SEL_LAST},
    {"GS not present", 5, SEL_LAST, DATA32 & ~PRESENT, NP, SEL_LAST},
    {"GS is a TSS", 5, SEL_TSS, 0, TS, SEL_TSS},
  };
  for (u32 n = 0; n < sizeof cases / sizeof *cases; n++) {
    prepare();
    gdt[SEL_LAST >> 3] = descriptor(0, 0xfffff, cases[n].attributes);
    other.seg[cases[n].segment] = cases[n].selector;
    if (cases[n].selector == (SEL_CODE | 3)) other.seg[2] = SEL_UDATA;
    /* #SS and #TS of a task without a stack need a task of their own. */
    if (cases[n].segment == 1 || cases[n].segment == 2) {
      small = (struct tss16){0};
      static struct tss32 rescue __attribute__((aligned(16)));
      rescue = other;
      rescue.seg[1] = SEL_CODE;
      rescue.seg[2] = SEL_DATA;
      rescue.eip = (word)task;
      gdt[SEL_SMALL >> 3] = descriptor((word)&rescue, 0x67, TSS32 | PRESENT);
      gate(cases[n].vector, 0, SEL_SMALL, TASK_GATE | PRESENT, 0);
      run(0, jump_task);
      ended(cases[n].name, DONE, 0, task_end);
      check(cases[n].name, *(u32 *)(TOP(stack1) - 4), cases[n].error);
      check("in the new task", rescue.link, SEL_OTHER);
      check("saved EIP", other.eip, (word)task);
    } else {
      run(0, jump_task);
      ended(cases[n].name, cases[n].vector, cases[n].error, task);
      check("in the new task", tr(), SEL_OTHER);
    }
  }
  asm volatile("clts");
}

TESTS(task_debug) {
  section("debug registers and tasks");
  prepare();
  other.trap = 1;
  set_dr7(0x400 | 0x155 | 0xaa | 0x200);
  run(0, jump_task);
  ended("T bit", DB, 0, task);
  check("DR6.BT", out.dr6, 0xffff8ff0);
  check("local breakpoints are off", dr7(), 0x400 | 0xaa | 0x200);
  set_dr7(0x400);
  asm volatile("clts");
}

TESTS(task_cr3) {
  section("CR3 of a task");
  prepare();
  const word c3 = cr3();
  other.cr3 = c3 | 0x18;
  tss.cr3 = 0x1000;
  run(0, jump_task);
  ended("the task runs", DONE, 0, task_end);
  check("CR3", cr3(), c3 | 0x18);
  check("the old one is not saved", tss.cr3, 0x1000);
  set_cr3(c3);
  asm volatile("clts");
}
#endif

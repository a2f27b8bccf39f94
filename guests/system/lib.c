/* The harness: tables, traps, printing, and the loop over all tests. */
#include "system.h"
#include "offsets.h"

struct state in, out;
int (*hook)(struct frame *);
struct frame *last_frame;
u64 gdt[32] __attribute__((aligned(16))), ldt[8];
#if LONG
u64 idt[512] __attribute__((aligned(16)));
struct tss64 tss;
#else
u64 idt[256] __attribute__((aligned(16)));
struct tss32 tss __attribute__((aligned(16)));
#endif
#define STACK __attribute__((aligned(4096)))
u8 stack0[STACK_BYTES] STACK, stack1[STACK_BYTES] STACK, stack2[STACK_BYTES] STACK, stack3[STACK_BYTES] STACK,
    trap_stack[STACK_BYTES] STACK;

_Static_assert(__builtin_offsetof(struct state, gs) == IN_GS, "offsets.h");

/* ---- output: the debug port ------------------------------------------------------------------------------------------ */
static const char *title;
static u32 checks, failures;

void print(const char *text) {
  while (*text) out8(0xe9, *text++);
}

void print_hex(u64 value) {
  int shift = 60;
  while (shift > 0 && value >> shift == 0) shift -= 4;
  for (; shift >= 0; shift -= 4) out8(0xe9, "0123456789abcdef"[value >> shift & 15]);
}

static void print_decimal(u32 value) {
  if (value >= 10) print_decimal(value / 10);
  out8(0xe9, '0' + value % 10);
}

void section(const char *name) { title = name; }

static int passes(const char *name, int ok) {
  checks++;
  if (ok) return 1;
  failures++;
  print("FAIL ");
  print(title);
  print(": ");
  print(name);
  return 0;
}

void check(const char *name, u64 got, u64 want) {
  if (passes(name, got == want)) return;
  print(": got ");
  print_hex(got);
  print(" want ");
  print_hex(want);
  print("\n");
}

void ended(const char *name, u32 vector, u32 error, const void *at) {
  if (passes(name, out.vector == vector && out.error == error && out.ip == (word)at)) return;
  print(": got vector ");
  print_decimal(out.vector);
  print(" error ");
  print_hex(out.error);
  print(" at ");
  print_hex(out.ip);
  print(", want vector ");
  print_decimal(vector);
  print(" error ");
  print_hex(error);
  print(" at ");
  print_hex((word)at);
  print("\n");
}

void ran(const char *name) {
  if (passes(name, out.vector == DONE)) return;
  print(": vector ");
  print_decimal(out.vector);
  print(" error ");
  print_hex(out.error);
  print(" at ");
  print_hex(out.ip);
  print("\n");
}

/* ---- tables ---------------------------------------------------------------------------------------------------------- */
u64 descriptor(u32 base, u32 limit, u32 attributes) {
  return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)(attributes & 0xff) << 40 | (u64)(limit >> 16 & 15) << 48 |
         (u64)(attributes >> 12 & 15) << 52 | (u64)(base >> 24) << 56;
}

void gate(u32 vector, word offset, u32 selector, u32 type, u32 ist) {
  u64 low = (offset & 0xffff) | (u64)selector << 16 | (u64)ist << 32 | (u64)type << 40 | (u64)(offset >> 16 & 0xffff) << 48;
#if LONG
  idt[vector * 2] = low;
  idt[vector * 2 + 1] = offset >> 32;
#else
  idt[vector] = low;
#endif
}

void gdt_gate(u32 selector, word offset, u32 target, u32 type, u32 count) {
  gdt[selector >> 3] =
      (offset & 0xffff) | (u64)target << 16 | (u64)count << 32 | (u64)type << 40 | (u64)(offset >> 16 & 0xffff) << 48;
#if LONG
  gdt[(selector >> 3) + 1] = offset >> 32;
#endif
}

struct table {
  u16 limit;
  word base;
} __attribute__((packed));

void reset_tables(void) {
  struct table g = {sizeof gdt - 1, (word)gdt}, i = {sizeof idt - 1, (word)idt};
  for (u32 n = 0; n < 32; n++) gdt[n] = 0;
  gdt[SEL_CODE >> 3] = descriptor(0, 0xfffff, CODE_NATIVE);
  gdt[SEL_DATA >> 3] = descriptor(0, 0xfffff, DATA32);
  gdt[SEL_CODE32 >> 3] = descriptor(0, 0xfffff, CODE32);
  gdt[SEL_CODE16 >> 3] = descriptor(0, 0xfffff, CODE16 | 0x8000);
  gdt[SEL_DATA16 >> 3] = descriptor(0, 0xffff, DATA16);
  gdt[SEL_UCODE >> 3] = descriptor(0, 0xfffff, CODE_NATIVE | DPL3);
  gdt[SEL_UDATA >> 3] = descriptor(0, 0xfffff, DATA32 | DPL3);
  gdt[SEL_UCODE32 >> 3] = descriptor(0, 0xfffff, CODE32 | DPL3);
  gdt[SEL_UCODE16 >> 3] = descriptor(0, 0xfffff, CODE16 | 0x8000 | DPL3);
  gdt[SEL_TSS >> 3] = descriptor((word)&tss, sizeof tss - 1, TSS32 | PRESENT);
#if LONG
  gdt[(SEL_TSS >> 3) + 1] = (word)&tss >> 32;
  tss = (struct tss64){.rsp = {TOP(stack0), TOP(stack1), TOP(stack2)}, .iomap = sizeof tss};
  for (u32 n = 0; n < 8; n++) tss.ist[n] = TOP(trap_stack);
#else
  tss = (struct tss32){.esp0 = TOP(trap_stack), .ss0 = SEL_DATA, .cr3 = cr3(), .iomap = sizeof tss};
#endif
  for (u32 n = 0; n < 256; n++)
    gate(n, stubs[n], SEL_CODE, INT32 | PRESENT | (n == BP || n == OF || n >= 32 ? DPL3 : 0), LONG);
  asm volatile("lgdt %0; lidt %1" ::"m"(g), "m"(i));
  asm volatile("lldt %w0; ltr %w1" ::"r"(0), "r"(SEL_TSS));
}

/* ---- running ----------------------------------------------------------------------------------------------------------- */
int trap(struct frame *f) {
  const int outer = LONG || (f->cs & 3) != 0 || (f->flags & VM) != 0;
  u32 k = 0;
  last_frame = f;
  if (hook && hook(f)) return 1;
#if LONG
  for (; k < 16; k++) out.gpr[k] = f->gpr[k];
#else
  out.gpr[k++] = f->eax;
  out.gpr[k++] = f->ecx;
  out.gpr[k++] = f->edx;
  out.gpr[k++] = f->ebx;
  out.gpr[k++] = 0;
  out.gpr[k++] = f->ebp;
  out.gpr[k++] = f->esi;
  out.gpr[k] = f->edi;
#endif
  out.gpr[RSP] = outer ? f->sp : (word)&f->sp;
  out.ss = outer ? f->ss & 0xffff : SEL_DATA;
  out.ip = f->ip;
  out.flags = f->flags;
  out.cs = f->cs & 0xffff;
  out.ds = f->ds & 0xffff;
  out.es = f->es & 0xffff;
  out.fs = f->fs & 0xffff;
  out.gs = f->gs & 0xffff;
#if !LONG
  if (f->flags & VM) {
    out.ds = f->vds;
    out.es = f->ves;
    out.fs = f->vfs;
    out.gs = f->vgs;
  }
#endif
  out.vector = f->vector;
  out.error = f->error;
  out.cr2 = cr2();
  out.dr6 = dr6();
  return 0;
}

void fresh(void) {
  in = (struct state){.flags = FIXED, .ds = SEL_DATA, .es = SEL_DATA};
  hook = 0;
  set_dr6(0xffff0ff0);
}

void run_in(word cs, word ss, const void *code) {
  static u8 *const stacks[] = {stack0, stack1, stack2, stack3};
  in.cs = cs;
  in.ss = ss;
  in.ip = (word)code;
  if (!in.gpr[RSP]) in.gpr[RSP] = TOP(stacks[cs & 3]);
  if ((cs & 3) == 3 && in.ds == SEL_DATA) in.ds = in.es = SEL_UDATA;
  go();
}

void run(int cpl, const void *code) {
  run_in(cpl ? SEL_UCODE : SEL_CODE, cpl ? SEL_UDATA : SEL_DATA, code);
}

int has(u32 leaf, u32 reg, u32 bit) {
  u32 r[4];
  asm volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(0), "c"(0));
  if (leaf > r[0]) return 0;
  asm volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(0));
  return r[reg] >> bit & 1;
}

int intel(void) {
  u32 b;
  asm volatile("cpuid" : "=b"(b) : "a"(0), "c"(0) : "edx");
  return b == 0x756e6547;
}

extern void (*const tests_start[])(void), (*const tests_end[])(void);

void main(void) {
  const word c4 = (LONG || ENTRY_BYTES == 8 ? CR4_PAE : CR4_PSE) | CR4_DE;
  /* Caches on, no x87 traps, write protection off unless a test wants it. */
  const word c0 = CR0_PE | CR0_NE | 0x10 | CR0_PG;
  /* No interrupts of a PC's. */
  out8(0x21, 0xff);
  out8(0xa1, 0xff);
  for (void (*const *test)(void) = tests_start; test < tests_end; test++) {
    if (!LONG) set_cr0(c0 & ~CR0_PG);
    set_cr4(c4);
    reset_pages();
    identity_user(1);
    set_cr0(c0);
    flush();
    reset_tables();
    set_dr7(0x400);
    fresh();
    (*test)();
  }
  print_decimal(checks);
  print(" checks, ");
  print_decimal(failures);
  print(" failures\n");
  for (;;) asm volatile("outl %0,%1; cli; hlt" ::"a"(failures ? 1 : 0), "Nd"((u16)0xf4));
}

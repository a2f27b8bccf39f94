/* Control registers, MSRs, and the addresses that must be canonical. */
#include "system.h"

#define AX LONG_AX
SNIPPET(put_cr0, "", "mov %" AX ", %cr0", "");
SNIPPET(put_cr3, "", "mov %" AX ", %cr3", "");
SNIPPET(put_cr4, "", "mov %" AX ", %cr4", "");
SNIPPET(get_msr, "", "rdmsr", "");
SNIPPET(put_msr, "", "wrmsr", "");

static void put(const void *code, word value) {
  fresh();
  in.gpr[RAX] = value;
  run(0, code);
}

TESTS(writes_of_cr0) {
  section("MOV to CR0");
  const word c0 = cr0();
  put(put_cr0, CR0_PG | 0x30);
  ended("PG without PE", GP, 0, put_cr0_x);
  put(put_cr0, c0 | CR0_NW);
  ended("NW without CD", GP, 0, put_cr0_x);
  check("CR0 is as it was", cr0(), c0);
  put(put_cr0, c0 | CR0_CD | CR0_NW);
  ran("NW with CD");
  put(put_cr0, c0 & ~0x10ul);
  ran("ET");
  check("ET is fixed", cr0() & 0x10, 0x10);
  for (u32 bit = 6; bit < 29; bit++) {
    if (bit == 16 || bit == 18) continue;
    put(put_cr0, c0 | 1ul << bit);
    ran("reserved bit in the lower half");
    check("reads as zero", cr0(), c0);
  }
#if LONG
  for (u32 bit = 32; bit < 64; bit++) {
    put(put_cr0, c0 | 1ul << bit);
    ended("upper half", GP, 0, put_cr0_x);
  }
  put(put_cr0, c0 & ~(word)CR0_PG);
  ended("paging off in 64-bit code", GP, 0, put_cr0_x);
  if (HAS_PCID) {
    set_cr4(cr4() | CR4_PCIDE);
    put(put_cr0, c0 & ~(word)CR0_PG);
    ended("paging off with PCIDE", GP, 0, put_cr0_x);
    set_cr4(cr4() & ~(word)CR4_PCIDE);
  }
#else
  /* Long mode wants PAE. */
  const u64 efer = rdmsr(MSR_EFER);
  const word c4 = cr4();
  set_cr0(c0 & ~CR0_PG);
  set_cr4(c4 & ~CR4_PAE);
  wrmsr(MSR_EFER, efer | EFER_LME);
  put(put_cr0, c0);
  ended("long mode without PAE", GP, 0, put_cr0_x);
  wrmsr(MSR_EFER, efer);
  set_cr4(c4);
#endif
  set_cr0(c0);
}

TESTS(writes_of_cr4) {
  section("MOV to CR4");
  const word c4 = cr4();
  /* Bits 12 to 15 and above 21 belong to features that these tests don't expect. */
  for (u32 bit = 23; bit < (LONG ? 64 : 32); bit++) {
    if (bit == 24) continue;
    put(put_cr4, c4 | (word)1 << bit);
    ended("reserved bit", GP, 0, put_cr4_x);
  }
  put(put_cr4, c4 | 1 << 15);
  ended("bit 15", GP, 0, put_cr4_x);
  check("CR4 is as it was", cr4(), c4);
  if (!HAS_SMEP) {
    put(put_cr4, c4 | CR4_SMEP);
    ended("SMEP that CPUID denies", GP, 0, put_cr4_x);
  }
  if (!HAS_VME) {
    put(put_cr4, c4 | CR4_VME);
    ended("VME that CPUID denies", GP, 0, put_cr4_x);
    put(put_cr4, c4 | CR4_PVI);
    ended("PVI that CPUID denies", GP, 0, put_cr4_x);
  }
#if LONG
  put(put_cr4, c4 & ~(word)CR4_PAE);
  ended("PAE off in long mode", GP, 0, put_cr4_x);
  if (HAS_PCID) {
    const word c3 = cr3();
    set_cr3(c3 | 8);
    put(put_cr4, c4 | CR4_PCIDE);
    ended("PCIDE with a PCID in CR3", GP, 0, put_cr4_x);
    set_cr3(c3);
    put(put_cr4, c4 | CR4_PCIDE);
    ran("PCIDE");
  }
#else
  put(put_cr4, c4 | CR4_PCIDE);
  ended("PCIDE outside long mode", GP, 0, put_cr4_x);
#endif
  set_cr4(c4);
}

TESTS(writes_of_cr3) {
  section("MOV to CR3");
  const word c3 = cr3();
#if LONG
  for (u32 bit = 52; bit < 64; bit++) {
    put(put_cr3, c3 | 1ul << bit);
    ended("reserved bit", GP, 0, put_cr3_x);
  }
  if (HAS_PCID) {
    set_cr4(cr4() | CR4_PCIDE);
    put(put_cr3, c3 | 1ul << 63 | 5);
    ran("no flush with PCIDE");
    check("bit 63 reads as zero", cr3(), c3 | 5);
    put(put_cr3, c3 | 1ul << 62);
    ended("bit 62 with PCIDE", GP, 0, put_cr3_x);
    set_cr3(c3);
    set_cr4(cr4() & ~(word)CR4_PCIDE);
  }
#elif defined PAE
  /* PAE paging loads the four top entries, and refuses reserved bits in those that are present. */
  static u64 roots[8] __attribute__((aligned(32)));
  for (u32 bit = 1; bit < 64; bit++) {
    if (bit == 3 || bit == 4 || (bit >= 9 && bit < 52)) continue;
    for (u32 n = 0; n < 4; n++) roots[n] = ((u64 *)c3)[n];
    roots[2] |= 1ull << bit;
    put(put_cr3, (word)roots);
    ended("reserved bit of a PDPTE", GP, 0, put_cr3_x);
    roots[2] &= ~1ull;
    put(put_cr3, (word)roots);
    ran("reserved bit of a PDPTE that is not present");
    set_cr3(c3);
  }
#endif
  set_cr3(c3);
}

static void write_msr(const char *name, u32 msr, u64 value, u32 vector) {
  fresh();
  in.gpr[RCX] = msr;
  in.gpr[RAX] = (u32)value;
  in.gpr[RDX] = value >> 32;
  run(0, put_msr);
  ended(name, vector, 0, vector == DONE ? put_msr_end : put_msr_x);
}

TESTS(model_specific) {
  section("MSRs");
  static const u32 absent[] = {0x2, 0x1234, 0x1b0f, 0x40000123, 0x80000000, 0xc0000fff, 0xdeadbeef, 0xffffffff};
  for (u32 n = 0; n < sizeof absent / 4; n++) {
    fresh();
    in.gpr[RCX] = absent[n];
    run(0, get_msr);
    ended("RDMSR of none", GP, 0, get_msr_x);
    fresh();
    in.gpr[RCX] = absent[n];
    run(0, put_msr);
    ended("WRMSR to none", GP, 0, put_msr_x);
  }
  const u64 efer = rdmsr(MSR_EFER);
  for (u32 bit = 1; bit < 64; bit++) {
    if (bit == 8 || (bit >= 10 && bit <= 15) || bit == 17 || bit == 18 || bit == 20 || bit == 21) continue;
    write_msr("reserved bit of EFER", MSR_EFER, efer | 1ull << bit, GP);
  }
  if (LONG) write_msr("LME while paging", MSR_EFER, efer & ~(u64)EFER_LME, GP);
  else write_msr("LME while paging", MSR_EFER, efer | EFER_LME, GP);
  write_msr("LMA is read-only", MSR_EFER, efer ^ EFER_LMA, DONE);
  check("EFER", rdmsr(MSR_EFER), efer);
  write_msr("PAT with type 2", 0x277, 0x0007040600070402, GP);
  write_msr("PAT with type 8", 0x277, 0x0807040600070406, GP);
  write_msr("PAT", 0x277, 0x0007040600070406, DONE);
  write_msr("SYSENTER_CS", 0x174, 0x08, DONE);
#if LONG
  static const u32 addresses[] = {0x175, 0x176, 0xc0000082, 0xc0000083, 0xc0000100, 0xc0000101, 0xc0000102};
  for (u32 n = 0; n < sizeof addresses / 4; n++) {
    const u64 before = rdmsr(addresses[n]);
    write_msr("canonical, low", addresses[n], 0x00007fffffffffff, DONE);
    check("stored", rdmsr(addresses[n]), 0x00007fffffffffff);
    write_msr("canonical, high", addresses[n], 0xffff800000000000, DONE);
    check("stored", rdmsr(addresses[n]), 0xffff800000000000);
    write_msr("not canonical", addresses[n], 0x0000800000000000, GP);
    write_msr("not canonical", addresses[n], 0xffff7fffffffffff, GP);
    /* The way into the snippet loads FS and GS, whose bases these are. */
    if ((addresses[n] | 1) != 0xc0000101) check("kept", rdmsr(addresses[n]), 0xffff800000000000);
    wrmsr(addresses[n], before);
  }
#endif
}

TESTS(apic_base) {
  section("APIC_BASE");
  enum { APIC_BASE = 0x1b, ENABLE = 0x800, X2 = 0x400 };
  const u64 base = rdmsr(APIC_BASE);
  check("CPUID shows the APIC", has(1, 3, 9), 1);
  write_msr("switched off", APIC_BASE, base & ~(u64)ENABLE, DONE);
  check("CPUID shows none (SDM volume 3, 11.4.3)", has(1, 3, 9), 0);
  write_msr("x2APIC from there", APIC_BASE, base | X2, GP);
  write_msr("x2APIC without the APIC", APIC_BASE, (base & ~(u64)ENABLE) | X2, GP);
  write_msr("reserved bit 0", APIC_BASE, base | 1, GP);
  write_msr("reserved bit 9", APIC_BASE, base | 0x200, GP);
  write_msr("reserved bit 63", APIC_BASE, base | 1ull << 63, GP);
  write_msr("switched on", APIC_BASE, base, DONE);
  check("CPUID shows it again", has(1, 3, 9), 1);
}

TESTS(speculation) {
  section("MSRs of features that CPUID denies");
  if (has(7, 3, 26)) return;
  for (u32 msr = 0x48; msr <= 0x49; msr++) {
    fresh();
    in.gpr[RCX] = msr;
    run(0, get_msr);
    ended("SPEC_CTRL, PRED_CMD", GP, 0, get_msr_x);
    write_msr("SPEC_CTRL, PRED_CMD", msr, 0, GP);
  }
}

#if LONG
/* ---- canonical addresses ------------------------------------------------------------------------------------------------- */
SNIPPET(load_, "", "mov (%rax), %bl", "");
SNIPPET(store_, "", "mov %bl, (%rax)", "");
SNIPPET(load_ss, "", "mov (%rbp), %bl", "");
SNIPPET(load_sp, "", "mov (%rsp), %bl", "");
SNIPPET(push_, "", "push %rbx", "");
SNIPPET(pop_, "", "pop %rbx", "");
SNIPPET(call_, "", "call 1f; 1:", "");
SNIPPET(ret_, "", "ret", "");
SNIPPET(jump_register, "", "jmp *%rax", "");
SNIPPET(call_register, "", "call *%rax", "");
SNIPPET(ret_to, "push %rax", "ret", "");
SNIPPET(lgdt_, "", "lgdt (%rax)", "");
SNIPPET(lidt_, "", "lidt (%rax)", "");
SNIPPET(invlpg_, "", "invlpg (%rax)", "");
SNIPPET(straddle, "", "mov (%rax), %rbx", "");
SNIPPET(movs_, "", "movsb", "");
SNIPPET(wrgsbase_, "", "wrgsbase %rax", "");

TESTS(canonical) {
  section("canonical addresses");
  static const u64 holes[] = {0x0000800000001000, 0xffff7fffffffffff, 0x1000000000000000, 0x8000000000000000};
  for (u32 n = 0; n < 4; n++) {
    const u64 a = holes[n];
#define ADDRESS(s, reg, want)    \
  fresh();                       \
  in.gpr[reg] = a;               \
  run(3, s);                     \
  ended(#s, want, 0, s##_x);
    ADDRESS(load_, RAX, GP)
    ADDRESS(store_, RAX, GP)
    ADDRESS(load_ss, RBP, SS)
    ADDRESS(load_sp, RSP, SS)
    ADDRESS(push_, RSP, SS)
    ADDRESS(pop_, RSP, SS)
    ADDRESS(call_, RSP, SS)
    ADDRESS(ret_, RSP, SS)
    ADDRESS(jump_register, RAX, GP)
    ADDRESS(call_register, RAX, GP)
    ADDRESS(ret_to, RAX, GP)
    ADDRESS(movs_, RSI, GP)
    ADDRESS(movs_, RDI, GP)
    fresh();
    in.gpr[RAX] = a;
    run(0, invlpg_);
    ran("INVLPG does nothing");
    struct {
      u16 limit;
      u64 base;
    } __attribute__((packed)) t = {0xff, a};
    fresh();
    in.gpr[RAX] = (word)&t;
    run(0, lgdt_);
    ended("LGDT", GP, 0, lgdt__x);
    run(0, lidt_);
    ended("LIDT", GP, 0, lidt__x);
    if (HAS_FSGSBASE) {
      set_cr4(cr4() | CR4_FSGSBASE);
      fresh();
      in.gpr[RAX] = a;
      run(0, wrgsbase_);
      ended("WRGSBASE", GP, 0, wrgsbase__x);
      set_cr4(cr4() & ~(word)CR4_FSGSBASE);
    }
  }
  fresh();
  in.gpr[RAX] = 0x00007ffffffffffc;
  run(3, straddle);
  ended("an operand that reaches into the hole", GP, 0, straddle_x);
  fresh();
  in.gpr[RAX] = 0xffffffffffffffff;
  run(3, load_);
  ended("the last byte", PF, 4, load__x);
}
#endif

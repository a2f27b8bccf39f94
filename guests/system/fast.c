/* SYSCALL, SYSRET, SYSENTER, SYSEXIT. AMD's SYSENTER is for legacy mode only, its SYSCALL for 32-bit code too (APM volume 3). */
#include "system.h"

enum { STAR = 0xc0000081, LSTAR, CSTAR, FMASK, SYSENTER_CS = 0x174, SYSENTER_ESP, SYSENTER_EIP };
SNIPPET(syscall_, "", "syscall", "");
SNIPPET(sysret_, "", "sysretl", "");
SNIPPET(sysenter_, "", "sysenter", "");
SNIPPET(sysexit_, "", "sysexit", "");
SNIPPET(kernel, "", "nop", "");
SNIPPET(user, "", "nop", "");
SNIPPET32(user32, "", "nop", "");
SNIPPET32(sysenter_32, "", "sysenter", "");
#if LONG
SNIPPET(sysexit_64, "", "sysexitq", "");
SNIPPET(sysret_64, "", "sysretq", "");
#endif
SNIPPET32(syscall_32, "", "syscall", "");

/* The order that the instructions want: code, data for ring 0; code 32, data, code 64 for ring 3. */
enum { KERNEL_BASE = SEL_FREE, USER_BASE = SEL_FREE + 16 };
static void prepare(void) {
  fresh();
  gdt[SEL_FREE >> 3] = descriptor(0, 0xfffff, CODE_NATIVE);
  gdt[(SEL_FREE >> 3) + 1] = descriptor(0, 0xfffff, DATA32);
  gdt[(SEL_FREE >> 3) + 2] = descriptor(0, 0xfffff, CODE32 | DPL3);
  gdt[(SEL_FREE >> 3) + 3] = descriptor(0, 0xfffff, DATA32 | DPL3);
  gdt[(SEL_FREE >> 3) + 4] = descriptor(0, 0xfffff, CODE_NATIVE | DPL3);
  gdt[(SEL_FREE >> 3) + 5] = descriptor(0, 0xfffff, DATA32 | DPL3);
  wrmsr(SYSENTER_CS, KERNEL_BASE);
  wrmsr(SYSENTER_ESP, TOP(stack0));
  wrmsr(SYSENTER_EIP, (word)kernel);
}

TESTS(sysenter_tests) {
  section("SYSENTER and SYSEXIT");
  if (!has(1, 3, 11)) return;
  if (LONG && !intel()) {
    for (int cpl = 0; cpl < 4; cpl += 3) {
      prepare();
      run(cpl, sysenter_);
      ended("SYSENTER in long mode", UD, 0, sysenter__x);
      run(cpl, sysexit_);
      /* Its privilege is looked at first; an AMD EPYC does so. */
      ended("SYSEXIT in long mode", cpl ? GP : UD, 0, sysexit__x);
    }
    return;
  }
  for (int cpl = 0; cpl < 4; cpl += 3) {
    prepare();
    in.flags = FIXED | IF | NT | CF | IOPL3;
    run(cpl, sysenter_);
    ended("SYSENTER", DONE, 0, kernel_end);
    check("CS", out.cs, KERNEL_BASE);
    check("stack", out.gpr[RSP], TOP(stack0));
    check("flags", out.flags, FIXED | NT | CF | IOPL3);
  }
  for (u32 rpl = 0; rpl < 4; rpl++) {
    prepare();
    wrmsr(SYSENTER_CS, rpl);
    run(3, sysenter_);
    ended("SYSENTER without CS", GP, 0, sysenter__x);
    run(0, sysexit_);
    ended("SYSEXIT without CS", GP, 0, sysexit__x);
  }
  prepare();
  wrmsr(SYSENTER_CS, KERNEL_BASE | 3);
  run(3, sysenter_);
  check("RPL of SYSENTER_CS is ignored", out.cs, KERNEL_BASE);
  prepare();
  in.gpr[RDX] = (word)(LONG ? user32 : user);
  in.gpr[RCX] = TOP(stack3);
  run(0, sysexit_);
  ended("SYSEXIT", DONE, 0, LONG ? user32_end : user_end);
  check("CS of ring 3", out.cs, KERNEL_BASE + 16 + 3);
  check("SS of ring 3", out.ss, KERNEL_BASE + 24 + 3);
  check("stack of ring 3", out.gpr[RSP], TOP(stack3));
  prepare();
  run(3, sysexit_);
  ended("SYSEXIT in ring 3", GP, 0, sysexit__x);
#if LONG
  prepare();
  in.gpr[RDX] = (word)user;
  in.gpr[RCX] = TOP(stack3);
  run(0, sysexit_64);
  ended("SYSEXIT to 64-bit code", DONE, 0, user_end);
  check("CS of 64-bit code", out.cs, KERNEL_BASE + 32 + 3);
  check("SS of 64-bit code", out.ss, KERNEL_BASE + 40 + 3);
  for (int which = 0; which < 2; which++) {
    prepare();
    in.gpr[RDX] = which ? (word)user : 0x800000000000;
    in.gpr[RCX] = which ? 0x800000000000 : TOP(stack3);
    run(0, sysexit_64);
    ended("SYSEXIT, not canonical", GP, 0, sysexit_64_x);
  }
  prepare();
  in.gpr[RSP] = TOP(stack3);
  run_in(SEL_UCODE32, SEL_UDATA, sysenter_32);
  ended("SYSENTER from 32-bit code", DONE, 0, kernel_end);
#endif
}

#if LONG
static u32 stepped;
static word step_at, step_cs;
/* Ends the steps at the first one. */
static int note_step(struct frame *f) {
  if (f->vector != DB) return 0;
  if (stepped++ == 0) {
    step_at = f->ip;
    step_cs = f->cs;
  }
  f->flags &= ~(word)TF;
  return 1;
}
#endif

TESTS(syscall_tests) {
  section("SYSCALL and SYSRET");
  const u64 efer = rdmsr(MSR_EFER);
#if LONG
  wrmsr(STAR, (u64)(USER_BASE | 3) << 48 | (u64)KERNEL_BASE << 32);
  wrmsr(LSTAR, (word)kernel);
  wrmsr(FMASK, IF | CF | NT);
  for (int cpl = 0; cpl < 4; cpl += 3) {
    prepare();
    in.flags = FIXED | IF | NT | CF | DFLAG | ACF;
    run(cpl, syscall_);
    ended("SYSCALL", DONE, 0, kernel_end);
    check("CS", out.cs, KERNEL_BASE);
    check("SS", out.ss, KERNEL_BASE + 8);
    check("RCX", out.gpr[RCX], (word)syscall__y);
    check("R11", out.gpr[R11], FIXED | IF | NT | CF | DFLAG | ACF);
    check("flags", out.flags, FIXED | DFLAG | ACF);
    check("the stack stays", out.gpr[RSP], TOP(cpl ? stack3 : stack0));
  }
  wrmsr(FMASK, 0);
  prepare();
  in.gpr[RCX] = (word)user;
  in.gpr[R11] = 0xffffffffffffffff & ~(u64)(IF | TF);
  in.gpr[RSP] = TOP(stack3);
  run(0, sysret_64);
  ended("SYSRET", DONE, 0, user_end);
  check("CS", out.cs, USER_BASE + 16 + 3);
  check("SS", out.ss, USER_BASE + 8 + 3);
  check("flags from R11", out.flags & ~0x10000, 0x3c7cd7 & ~0x10000);
  prepare();
  in.gpr[RCX] = 0xdead00000000 + (word)user32;
  in.gpr[R11] = FIXED;
  in.gpr[RSP] = TOP(stack3);
  run(0, sysret_);
  ended("SYSRET to 32-bit code", DONE, 0, user32_end);
  check("CS of 32-bit code", out.cs, USER_BASE + 3);
  check("SS of 32-bit code", out.ss, USER_BASE + 8 + 3);
  prepare();
  in.gpr[RCX] = 0x800000000000;
  in.gpr[R11] = FIXED;
  in.gpr[RSP] = TOP(stack3);
  run(0, sysret_64);
  /* Intel's processors check the target, AMD's let the fetch do it. */
  ended("SYSRET, not canonical", GP, 0, intel() ? (void *)sysret_64_x : (void *)0x800000000000);
  check("in ring", out.cs, intel() ? SEL_CODE : USER_BASE + 16 + 3);
  prepare();
  run(3, sysret_64);
  ended("SYSRET in ring 3", GP, 0, sysret_64_x);
  prepare();
  in.gpr[RSP] = TOP(stack3);
  in.flags = FIXED | CF;
  wrmsr(CSTAR, (word)kernel);
  run_in(SEL_UCODE32, SEL_UDATA, syscall_32);
  if (intel()) ended("SYSCALL in 32-bit code", UD, 0, syscall_32_x);
  else {
    ended("SYSCALL in 32-bit code", DONE, 0, kernel_end);
    check("CS", out.cs, KERNEL_BASE);
    check("RCX", out.gpr[RCX], (word)syscall_32_y);
    check("R11", out.gpr[R11], FIXED | CF);
  }
  /* TF counts as the instruction leaves it: SYSCALL steps by what FMASK leaves of it, and SYSRET's trap comes at once. */
  wrmsr(FMASK, TF);
  stepped = 0;
  prepare();
  hook = note_step;
  in.flags = FIXED | TF;
  run(3, syscall_);
  ended("SYSCALL with TF in FMASK", DONE, 0, kernel_end);
  check("no step", stepped, 0);
  check("R11 has TF", out.gpr[R11] & TF, TF);
  wrmsr(FMASK, 0);
  prepare();
  hook = note_step;
  in.flags = FIXED | TF;
  run(3, syscall_);
  check("SYSCALL without", stepped, 1);
  check("a step at its target", step_at, (word)kernel);
  stepped = 0;
  prepare();
  hook = note_step;
  in.gpr[RCX] = (word)user;
  in.gpr[R11] = FIXED | TF;
  in.gpr[RSP] = TOP(stack3);
  run(0, sysret_64);
  ended("SYSRET that sets TF", DONE, 0, user_end);
  check("one step", stepped, 1);
  check("at its target", step_at, (word)user);
  check("in ring 3", step_cs, USER_BASE + 16 + 3);
  stepped = 0;
  prepare();
  hook = note_step;
  in.flags = FIXED | TF;
  in.gpr[RCX] = (word)user;
  in.gpr[R11] = FIXED;
  in.gpr[RSP] = TOP(stack3);
  run(0, sysret_64);
  ended("SYSRET that clears TF", DONE, 0, user_end);
  check("no step", stepped, 0);
  wrmsr(MSR_EFER, efer & ~(u64)EFER_SCE);
  prepare();
  run(3, syscall_);
  ended("SYSCALL without SCE", UD, 0, syscall__x);
  prepare();
  run(0, sysret_64);
  ended("SYSRET without SCE", UD, 0, sysret_64_x);
#else
  wrmsr(MSR_EFER, efer | EFER_SCE);
  wrmsr(STAR, (u64)(USER_BASE | 3) << 48 | (u64)KERNEL_BASE << 32 | (word)kernel);
  prepare();
  in.flags = FIXED | IF | CF;
  run(3, syscall_);
  if (intel()) ended("SYSCALL in legacy mode", UD, 0, syscall__x);
  else {
    ended("SYSCALL in legacy mode", DONE, 0, kernel_end);
    check("CS", out.cs, KERNEL_BASE);
    check("ECX", out.gpr[RCX], (word)syscall__y);
    check("flags", out.flags, FIXED | CF);
  }
  prepare();
  in.gpr[RCX] = (word)user;
  run(0, sysret_);
  if (intel()) ended("SYSRET in legacy mode", UD, 0, sysret__x);
  else {
    ended("SYSRET in legacy mode", DONE, 0, user_end);
    check("CS", out.cs, USER_BASE + 3);
    check("IF", out.flags & IF, IF);
  }
#endif
  wrmsr(MSR_EFER, efer);
}

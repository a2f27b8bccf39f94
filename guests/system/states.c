/* Extended state and task priority: XSETBV and XGETBV, CR8, and what CR0 and CR4 make of SSE, AVX and x87 instructions. */
#include "system.h"

#define AX LONG_AX
enum { CR4_OSFXSR = 0x200, CR4_OSXMMEXCPT = 0x400 };
#define HAS_XSAVE has(1, 2, 26)
#define HAS_AVX has(1, 2, 28)
SNIPPET(xsetbv_, "", "xsetbv", "");
SNIPPET(xgetbv_, "", "xgetbv", "");
SNIPPET(xsave_, "", "xsave (%" LONG_SI ")", "");
SNIPPET(xrstor_, "", "xrstor (%" LONG_SI ")", "");
SNIPPET(vaddps_, "", "vaddps %xmm0, %xmm0, %xmm0", "");
SNIPPET(addps_, "", "addps %xmm0, %xmm0", "");
SNIPPET(fld_, "", "fldz", "");
SNIPPET(fwait_, "", "fwait", "");
SNIPPET(mmx_, "", "paddb %mm0, %mm0", "");
SNIPPET(fxsave_, "", "fxsave (%" LONG_SI ")", "");
SNIPPET(emms_, "", "emms", "");
static u8 area[1024] __attribute__((aligned(64)));

static void set_xcr(int cpl, u32 index, u32 low, u32 high) {
  fresh();
  in.gpr[RCX] = index;
  in.gpr[RAX] = low;
  in.gpr[RDX] = high;
  run(cpl, xsetbv_);
}
static u32 xcr0(void) {
  fresh();
  run(3, xgetbv_);
  return out.gpr[RAX];
}
#define REFUSED(name, cpl, index, low, high) set_xcr(cpl, index, low, high), ended(name, GP, 0, xsetbv__x)

TESTS(xcr0_tests) {
  section("XSETBV and XGETBV");
  if (!HAS_XSAVE) return;
  const word c4 = cr4();
  set_xcr(0, 0, 1, 0);
  ended("XSETBV without OSXSAVE", UD, 0, xsetbv__x);
  set_xcr(3, 0, 1, 0);
  ended("in ring 3 too", UD, 0, xsetbv__x);
  fresh();
  run(0, xgetbv_);
  ended("XGETBV without OSXSAVE", UD, 0, xgetbv__x);
  fresh();
  in.gpr[RSI] = (word)area;
  run(0, xsave_);
  ended("XSAVE without OSXSAVE", UD, 0, xsave__x);
  set_cr4(c4 | CR4_OSXSAVE | CR4_OSFXSR);
  u32 ecx;
  asm volatile("cpuid" : "=c"(ecx) : "a"(1), "c"(0) : "ebx", "edx");
  check("CPUID shows OSXSAVE", ecx >> 27 & 1, 1);
  REFUSED("ring 3", 3, 0, 3, 0);
  REFUSED("register 1", 0, 1, 3, 0);
  REFUSED("register -1", 0, 0xffffffff, 3, 0);
  REFUSED("no x87", 0, 0, 2, 0);
  REFUSED("nothing", 0, 0, 0, 0);
  REFUSED("bit 32", 0, 0, 3, 1);
  REFUSED("bit 63", 0, 0, 3, 1u << 31);
  REFUSED("AVX without SSE", 0, 0, 5, 0);
  REFUSED("a component that there is not", 0, 0, 3 | 1 << 30, 0);
  if (!HAS_AVX) REFUSED("AVX that CPUID denies", 0, 0, 7, 0);
  set_xcr(0, 0, 3, 0);
  ran("x87 and SSE");
  check("XCR0", xcr0(), 3);
  fresh();
  in.gpr[RCX] = 2;
  run(0, xgetbv_);
  ended("XGETBV of none", GP, 0, xgetbv__x);
  for (u32 offset = 1; offset < 64; offset *= 2) {
    fresh();
    in.gpr[RSI] = (word)area + offset;
    in.gpr[RAX] = 3;
    run(0, xsave_);
    ended("XSAVE, not aligned", GP, 0, xsave__x);
    run(0, xrstor_);
    ended("XRSTOR, not aligned", GP, 0, xrstor__x);
  }
  fresh();
  in.gpr[RSI] = (word)area;
  in.gpr[RAX] = 3;
  run(3, xsave_);
  ran("XSAVE");
  /* The header: what is not in XCR0, what must be zero. */
  static const u32 bad[] = {512 + 3, 512 + 7, 520 + 3, 528, 535};
  for (u32 n = 0; n < sizeof bad / 4; n++) {
    area[bad[n]] ^= 0x40;
    fresh();
    in.gpr[RSI] = (word)area;
    in.gpr[RAX] = 3;
    run(3, xrstor_);
    ended("XRSTOR of a bad header", GP, 0, xrstor__x);
    area[bad[n]] ^= 0x40;
  }
  area[27] = 1;
  run(3, xrstor_);
  ended("XRSTOR of a bad MXCSR", GP, 0, xrstor__x);
  area[27] = 0;
  run(3, xrstor_);
  ran("XRSTOR");
  if (HAS_AVX) {
    fresh();
    run(3, vaddps_);
    ended("AVX without its bit in XCR0", UD, 0, vaddps__x);
    set_xcr(0, 0, 7, 0);
    ran("x87, SSE and AVX");
    fresh();
    run(3, vaddps_);
    ran("AVX");
    set_cr4(cr4() & ~(word)CR4_OSXSAVE);
    fresh();
    run(3, vaddps_);
    ended("AVX without OSXSAVE", UD, 0, vaddps__x);
    set_cr4(cr4() | CR4_OSXSAVE);
  }
  set_xcr(0, 0, 1, 0);
  ran("x87 alone");
  check("XCR0", xcr0(), 1);
  set_cr4(c4);
}

TESTS(availability) {
  section("CR0 and CR4 against x87, MMX and SSE");
  const word c0 = cr0(), c4 = cr4();
  set_cr0(c0 & ~(word)(CR0_MP | CR0_EM | CR0_TS));
  asm volatile("fninit");
  for (u32 bits = 0; bits < 8; bits++) {
    const int mp = bits & 1, em = bits >> 1 & 1, ts = bits >> 2;
    for (int fx = 0; fx < 2; fx++) {
      set_cr0((c0 & ~(word)(CR0_MP | CR0_EM | CR0_TS)) | (mp ? CR0_MP : 0) | (em ? CR0_EM : 0) | (ts ? CR0_TS : 0));
      set_cr4(fx ? c4 | CR4_OSFXSR : c4 & ~(word)CR4_OSFXSR);
#define AVAILABLE(s, bad, vector)           \
  fresh();                                  \
  in.gpr[RSI] = (word)area;                 \
  run(3, s);                                \
  if (bad) ended(#s, vector, 0, s##_x);     \
  else ran(#s);
      AVAILABLE(fld_, em || ts, NM)
      AVAILABLE(fwait_, mp && ts, NM)
      AVAILABLE(mmx_, em || ts, em ? UD : NM)
      AVAILABLE(emms_, em || ts, em ? UD : NM)
      AVAILABLE(fxsave_, em || ts, NM)
      AVAILABLE(addps_, em || ts || !fx, em || !fx ? UD : NM)
    }
  }
  set_cr0(c0 & ~(word)(CR0_MP | CR0_EM | CR0_TS));
  asm volatile("emms");
  set_cr4(c4);
  set_cr0(c0);
}

#if LONG
SNIPPET(put_cr8, "", "mov %rax, %cr8", "");
SNIPPET(get_cr8, "", "mov %cr8, %rbx", "");
TESTS(task_priority) {
  section("CR8");
  volatile u32 *const tpr = (u32 *)0xfee00080;
  for (u32 n = 0; n < 16; n++) {
    fresh();
    in.gpr[RAX] = n;
    run(0, put_cr8);
    ran("MOV to CR8");
    check("the APIC's task priority", *tpr, n << 4);
    fresh();
    in.gpr[RBX] = -1;
    run(0, get_cr8);
    check("reads back", out.gpr[RBX], n);
  }
  *tpr = 0x57;
  fresh();
  run(0, get_cr8);
  check("bits 7 to 4 of the task priority", out.gpr[RBX], 5);
  for (u32 bit = 4; bit < 64; bit++) {
    fresh();
    in.gpr[RAX] = 1ul << bit;
    run(0, put_cr8);
    ended("reserved bit", GP, 0, put_cr8_x);
  }
  check("it is as it was", *tpr, 0x57);
  fresh();
  run(3, put_cr8);
  ended("ring 3", GP, 0, put_cr8_x);
  run(3, get_cr8);
  ended("ring 3 reads", GP, 0, get_cr8_x);
  *tpr = 0;
}
#endif

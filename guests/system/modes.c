/* The same checks in 64-, 32- and 16-bit code: privilege, faults and their error codes, accesses and instructions across pages, code
 * that changes itself, debug exceptions, and returns with 16- and 32-bit operands from each kind of code to each. */
#include "system.h"

/* A snippet for each size of code, with 32-bit registers. The native one of 32-bit images is 32-bit code itself. */
enum { OWN, CODE_32, CODE_16, MODES };
struct code {
  const u8 *start, *at, *behind, *end;
};
#define EVERY(name, before, instruction, after)                  \
  SNIPPET(name##_own, before, instruction, after);               \
  SNIPPET32(name##_32, before, instruction, after);              \
  SNIPPET16(name##_16, before, instruction, after);              \
  static const struct code name[MODES] = {                       \
    {name##_own, name##_own_x, name##_own_y, name##_own_end},    \
    {name##_32, name##_32_x, name##_32_y, name##_32_end},        \
    {name##_16, name##_16_x, name##_16_y, name##_16_end},        \
  }

static const u16 selectors[2][MODES] = {{SEL_CODE, SEL_CODE32, SEL_CODE16}, {SEL_UCODE, SEL_UCODE32, SEL_UCODE16}};
static int mode;
#define EACH_MODE for (mode = OWN; mode < MODES; mode++) if (LONG || mode != CODE_32)
static void run_code(int cpl, const struct code *code) {
  run_in(selectors[cpl == 3][mode], cpl ? SEL_UDATA : SEL_DATA, code[mode].start);
}
static void ended_at(const char *name, const struct code *code, u32 vector, u32 error) {
  ended(name, vector, error, vector == DONE ? code[mode].end : code[mode].at);
}

/* ---- privilege ----------------------------------------------------------------------------------------------------------- */
EVERY(m_hlt, "", "hlt", "");
EVERY(m_clts, "", "clts", "");
EVERY(m_lgdt, "", "lgdt (%eax)", "");
EVERY(m_lidt, "", "lidt (%eax)", "");
EVERY(m_lldt, "", "lldt %ax", "");
EVERY(m_ltr, "", "ltr %ax", "");
EVERY(m_lmsw, "", "lmsw %ax", "");
EVERY(m_invlpg, "", "invlpg (%eax)", "");
EVERY(m_invd, "", "invd", "");
EVERY(m_wbinvd, "", "wbinvd", "");
EVERY(m_rdmsr, "", "rdmsr", "");
EVERY(m_wrmsr, "", "wrmsr", "");
EVERY(m_from_cr0, "", ".byte 0x0f, 0x20, 0xc0", "");
EVERY(m_to_cr3, "", ".byte 0x0f, 0x22, 0xd8", "");
EVERY(m_to_cr4, "", ".byte 0x0f, 0x22, 0xe0", "");
EVERY(m_from_dr7, "", ".byte 0x0f, 0x21, 0xf8", "");
EVERY(m_to_dr0, "", ".byte 0x0f, 0x23, 0xc0", "");
EVERY(m_cli, "", "cli", "");
EVERY(m_sti, "", "sti", "");
EVERY(m_in, "", "in %dx, %al", "");
EVERY(m_out, "", "outl %eax, $0x80", "");
EVERY(m_ins, "", "insb", "");
EVERY(m_outs, "", "outsl", "");
EVERY(m_rdpmc, "", "rdpmc", "");
EVERY(m_ud2, "", "ud2", "");
EVERY(m_rsm, "", "rsm", "");
EVERY(m_lock, "", ".byte 0xf0, 0x90", "");
EVERY(m_lock_register, "", ".byte 0xf0, 0x01, 0xc0", "");
EVERY(m_mov_cs, "", ".byte 0x8e, 0xc8", "");
EVERY(m_mov_cr1, "", ".byte 0x0f, 0x20, 0xc8", "");
EVERY(m_vmcall, "", "vmcall", "");
EVERY(m_vmxon, "", ".byte 0xf3, 0x0f, 0xc7, 0x30", "");
EVERY(m_vmrun, "", "vmrun", "");
EVERY(m_stgi, "", "stgi", "");
EVERY(m_getsec, "", ".byte 0x0f, 0x37", "");
EVERY(m_monitor, "", ".byte 0x0f, 0x01, 0xc8", "");
EVERY(m_sixteen, "", ".byte 0x26,0x26,0x26,0x26,0x26,0x26,0x26,0x26,0x26,0x26,0x26,0x26,0x26,0x26,0x26,0x90", "");

TESTS(modes_privilege) {
  section("every mode: privilege");
  static const struct {
    const char *name;
    const struct code *code;
  } privileged[] = {
    {"HLT", m_hlt}, {"CLTS", m_clts}, {"LGDT", m_lgdt}, {"LIDT", m_lidt}, {"LLDT", m_lldt}, {"LTR", m_ltr}, {"LMSW", m_lmsw},
    {"INVLPG", m_invlpg}, {"INVD", m_invd}, {"WBINVD", m_wbinvd}, {"RDMSR", m_rdmsr}, {"WRMSR", m_wrmsr},
    {"MOV from CR0", m_from_cr0}, {"MOV to CR3", m_to_cr3}, {"MOV to CR4", m_to_cr4}, {"MOV from DR7", m_from_dr7},
    {"MOV to DR0", m_to_dr0}, {"CLI", m_cli}, {"STI", m_sti}, {"IN", m_in}, {"OUT", m_out}, {"INS", m_ins}, {"OUTS", m_outs},
    {"RDPMC", m_rdpmc}, {"16 bytes", m_sixteen},
  };
  /* No SMM, no VMX or SVM to be used, no SMX: those are undefined, as are wrong LOCKs. */
  static const struct {
    const char *name;
    const struct code *code;
  } undefined[] = {
    {"UD2", m_ud2}, {"RSM", m_rsm}, {"LOCK NOP", m_lock}, {"LOCK, register", m_lock_register}, {"MOV to CS", m_mov_cs},
    {"VMCALL", m_vmcall}, {"VMXON", m_vmxon}, {"VMRUN", m_vmrun}, {"STGI", m_stgi}, {"GETSEC", m_getsec},
    {"MOV from CR1", m_mov_cr1},
  };
  EACH_MODE {
    for (u32 n = 0; n < sizeof privileged / sizeof *privileged; n++) {
      fresh();
      in.gpr[RCX] = 0x174;
      in.gpr[RDX] = 0x80;
      run_code(3, privileged[n].code);
      ended_at(privileged[n].name, privileged[n].code, GP, 0);
    }
    for (int cpl = 0; cpl <= 3; cpl += 3)
      for (u32 n = 0; n < sizeof undefined / sizeof *undefined; n++) {
        fresh();
        in.gpr[RAX] = in.gpr[RCX] = (word)frames[1];
        run_code(cpl, undefined[n].code);
        ended_at(undefined[n].name, undefined[n].code, UD, 0);
      }
    fresh();
    run_code(3, m_monitor);
    ended_at("MONITOR", m_monitor, UD, 0);
    static const u32 absent[] = {0x2, 0x48, 0x49, 0x1234, 0x40000123, 0xdeadbeef};
    for (u32 n = 0; n < sizeof absent / 4; n++) {
      fresh();
      in.gpr[RCX] = absent[n];
      run_code(0, m_rdmsr);
      ended_at("RDMSR of none", m_rdmsr, GP, 0);
      run_code(0, m_wrmsr);
      ended_at("WRMSR to none", m_wrmsr, GP, 0);
    }
  }
}

EVERY(m_in_immediate, "", "inb $0x80, %al", "");
EVERY(m_in_wide, "", "inl $0x80, %eax", "");
EVERY(m_in_dx_wide, "", "inw %dx, %ax", "");
EVERY(m_out_dx_wide, "", "outl %eax, %dx", "");
EVERY(m_ins_wide, "cld", "insl %dx, %es:(%edi)", "");
EVERY(m_clac, "", "clac", "");
EVERY(m_stac, "", "stac", "");
EVERY(m_swapgs, "", ".byte 0x0f, 0x01, 0xf8", "");

struct table {
  u16 limit;
  word base;
} __attribute__((packed));

/* What the same instructions do in ring 0. */
TESTS(modes_ring0) {
  section("every mode: ring 0");
  const word c0 = cr0();
  const int smap = HAS_SMAP;
  EACH_MODE {
    set_cr0(c0 | CR0_TS);
    fresh();
    run_code(0, m_clts);
    ended_at("CLTS", m_clts, DONE, 0);
    check("CR0.TS", cr0() & CR0_TS, 0);
    fresh();
    in.gpr[RAX] = CR0_TS | CR0_MP;
    run_code(0, m_lmsw);
    ended_at("LMSW", m_lmsw, DONE, 0);
    check("it sets TS and MP, and PE stays", cr0(), c0 | CR0_TS | CR0_MP);
    in.gpr[RAX] = 0xfff0;
    run_code(0, m_lmsw);
    check("it clears them, and changes no more", cr0(), c0);
    fresh();
    run_code(0, m_invd);
    ended_at("INVD", m_invd, DONE, 0);
    run_code(0, m_wbinvd);
    ended_at("WBINVD", m_wbinvd, DONE, 0);
    in.gpr[RAX] = (word)frames;
    run_code(0, m_invlpg);
    ended_at("INVLPG", m_invlpg, DONE, 0);
    /* A limit more than the one in force; 16-bit operands take 24 bits of the base. */
    struct table t, more;
    asm volatile("sgdt %0" : "=m"(t));
    more = t;
    more.limit += 8;
    fresh();
    in.gpr[RAX] = (word)&more;
    run_code(0, m_lgdt);
    ended_at("LGDT", m_lgdt, DONE, 0);
    asm volatile("sgdt %0" : "=m"(more));
    check("GDTR, limit", more.limit, t.limit + 8);
    check("GDTR, base", more.base, t.base);
    asm volatile("lgdt %0" ::"m"(t));
    asm volatile("sidt %0" : "=m"(t));
    more = t;
    more.limit += 8;
    run_code(0, m_lidt);
    ended_at("LIDT", m_lidt, DONE, 0);
    asm volatile("sidt %0" : "=m"(more));
    check("IDTR, limit", more.limit, t.limit + 8);
    check("IDTR, base", more.base, t.base);
    asm volatile("lidt %0" ::"m"(t));
    fresh();
    run_code(0, m_from_cr0);
    check("MOV from CR0", (u32)out.gpr[RAX], (u32)c0);
    in.gpr[RAX] = 0x12345678;
    run_code(0, m_to_dr0);
    check("MOV to DR0", dr0(), 0x12345678);
    run_code(0, m_from_dr7);
    check("MOV from DR7", out.gpr[RAX], 0x400);
    in.gpr[RAX] = cr3();
    run_code(0, m_to_cr3);
    ended_at("MOV to CR3", m_to_cr3, DONE, 0);
    in.gpr[RAX] = cr4();
    run_code(0, m_to_cr4);
    ended_at("MOV to CR4", m_to_cr4, DONE, 0);
    fresh();
    run_code(0, m_sti);
    check("STI", out.flags & IF, IF);
    in.flags = FIXED | IF;
    run_code(0, m_cli);
    check("CLI", out.flags & IF, 0);
    fresh();
    in.gpr[RCX] = 0x174;
    in.gpr[RAX] = 0x1230 + mode;
    run_code(0, m_wrmsr);
    ended_at("WRMSR", m_wrmsr, DONE, 0);
    in.gpr[RAX] = 0;
    run_code(0, m_rdmsr);
    check("RDMSR", out.gpr[RAX], 0x1230 + mode);
    fresh();
    in.gpr[RDX] = 0x80;
    run_code(0, m_in);
    check("IN", out.gpr[RAX], 0xff);
    run_code(0, m_out);
    ended_at("OUT", m_out, DONE, 0);
    run_code(0, m_in_immediate);
    check("IN, immediate", out.gpr[RAX], 0xff);
    run_code(0, m_in_wide);
    check("IN, 4 bytes", out.gpr[RAX], 0xffffffff);
    run_code(0, m_in_dx_wide);
    check("IN, 2 bytes", out.gpr[RAX], 0xffff);
    run_code(0, m_out_dx_wide);
    ended_at("OUT, 4 bytes", m_out_dx_wide, DONE, 0);
    in.gpr[RDI] = (word)frames[1];
    *(u32 *)frames[1] = 0;
    run_code(0, m_ins_wide);
    check("INS, 4 bytes", *(u32 *)frames[1], 0xffffffff);
    check("EDI", out.gpr[RDI], (word)frames[1] + 4);
    fresh();
    run_code(0, m_stac);
    if (smap) check("STAC", out.flags & ACF, ACF);
    else ended_at("STAC without SMAP", m_stac, UD, 0);
    in.flags = FIXED | ACF;
    run_code(0, m_clac);
    if (smap) check("CLAC", out.flags & ACF, 0);
    else ended_at("CLAC without SMAP", m_clac, UD, 0);
    fresh();
    run_code(3, m_stac);
    ended_at("STAC in ring 3", m_stac, UD, 0);
#if LONG
    wrmsr(0xc0000102, 0x123456789000);
    fresh();
    run_code(0, m_swapgs);
    if (mode == OWN) {
      ended_at("SWAPGS", m_swapgs, DONE, 0);
      check("GS base", rdmsr(0xc0000101), 0x123456789000);
      check("the other", rdmsr(0xc0000102), 0);
    } else ended_at("SWAPGS", m_swapgs, UD, 0);
    run_code(3, m_swapgs);
    ended_at("SWAPGS in ring 3", m_swapgs, mode == OWN ? GP : UD, 0);
#else
    run_code(0, m_swapgs);
    ended_at("SWAPGS", m_swapgs, UD, 0);
#endif
  }
}

/* ---- faults ---------------------------------------------------------------------------------------------------------------- */
EVERY(load1, "", "movb (%esi), %al", "");
EVERY(load2, "", "movw (%esi), %ax", "");
EVERY(load4, "", "movl (%esi), %eax", "");
EVERY(load16, "", "movups (%esi), %xmm0", "");
EVERY(store1, "", "movb %al, (%esi)", "");
EVERY(store2, "", "movw %ax, (%esi)", "");
EVERY(store4, "", "movl %eax, (%esi)", "");
EVERY(store16, "", "movups %xmm0, (%esi)", "");
EVERY(add4, "", "addl %eax, (%esi)", "");
EVERY(exchange4, "", "xchgl %eax, (%esi)", "");
EVERY(divide, "", "divl %ecx", "");
EVERY(breakpoint, "", "int3", "");
EVERY(interrupt, "", "int $0x30", "");
EVERY(load_ds, "", "mov %eax, %ds", "");
EVERY(load_gs, "", "mov %eax, %gs", "");

#define BORDER (TEST + PAGE)
TESTS(modes_faults) {
  section("every mode: faults");
  set_cr4(cr4() | 0x200);
  static const entry rights[] = {P | W | U, P | U, P | W, W | U};
  static const struct {
    const char *name;
    const struct code *code;
    u32 bytes;
    int writes;
  } accesses[] = {
    {"MOV from memory, 1 byte", load1, 1, 0}, {"2 bytes", load2, 2, 0}, {"4 bytes", load4, 4, 0}, {"16 bytes", load16, 16, 0},
    {"MOV to memory, 1 byte", store1, 1, 1}, {"2 bytes", store2, 2, 1}, {"4 bytes", store4, 4, 1}, {"16 bytes", store16, 16, 1},
    {"ADD", add4, 4, 1}, {"XCHG", exchange4, 4, 1},
  };
  EACH_MODE {
    for (u32 n = 0; n < sizeof accesses / sizeof *accesses; n++)
      for (u32 low = 0; low < 4; low++)
        for (u32 high = 0; high < 4; high++)
          for (u32 first = 1; first <= accesses[n].bytes; first++) {
            const u32 bytes = accesses[n].bytes;
            const int writes = accesses[n].writes, crosses = first < bytes;
            const int bad_low = low > 1 || (low == 1 && writes), bad_high = crosses && (high > 1 || (high == 1 && writes));
            if (!crosses && high) continue;
            if (quick && low + high != 3 && first != 1) continue;
            if (bytes == 16 && first != 1 && first != 7 && first < 15) continue;
            const entry *e = map(TEST, (word)frames[1], rights[low]), *e2 = map(BORDER, (word)frames[2], rights[high]);
            for (u32 b = 0; b < 16; b++) frames[1][PAGE - 16 + b] = frames[2][b] = 0x5a;
            fresh();
            in.gpr[RSI] = BORDER - first;
            in.gpr[RAX] = 0x01010101;
            run_code(3, accesses[n].code);
            const entry leaf = rights[bad_low ? low : high];
            const int good = !bad_low && !bad_high;
            ended_at(accesses[n].name, accesses[n].code, good ? DONE : PF,
                     good ? 0 : 4u | (writes ? 2 : 0) | (leaf & P ? 1 : 0));
            if (!good) check("CR2", out.cr2, bad_low ? BORDER - first : BORDER);
            if (!good) check("nothing is written", frames[1][PAGE - 1] == 0x5a && frames[2][0] == 0x5a, 1);
            if (good) check("A and D", *e & (A | D), writes ? A | D : A);
            if (good && crosses) check("A and D of the second page", *e2 & (A | D), writes ? A | D : A);
          }
    for (int cpl = 0; cpl <= 3; cpl += 3) {
      fresh();
      in.gpr[RAX] = 1;
      run_code(cpl, divide);
      ended_at("#DE", divide, DE, 0);
      fresh();
      run_code(cpl, breakpoint);
      ended("#BP", BP, 0, breakpoint[mode].behind);
      fresh();
      in.flags = FIXED | CF | DFLAG;
      run_code(cpl, interrupt);
      ended("INT n", 0x30, 0, interrupt[mode].behind);
      check("CS", out.cs, selectors[cpl == 3][mode]);
      check("flags", out.flags, FIXED | CF | DFLAG);
      fresh();
      in.gpr[RAX] = SEL_LAST + 8;
      run_code(cpl, load_ds);
      ended_at("DS beyond the GDT", load_ds, GP, SEL_LAST + 8);
      fresh();
      gdt[SEL_FREE >> 3] = descriptor(0, 0xfffff, (DATA32 | DPL3) & ~PRESENT);
      in.gpr[RAX] = SEL_FREE;
      run_code(cpl, load_gs);
      ended_at("GS not present", load_gs, NP, SEL_FREE);
    }
    fresh();
    in.gpr[RAX] = SEL_DATA;
    run_code(3, load_ds);
    ended_at("DS of ring 0", load_ds, GP, SEL_DATA);
    fresh();
    gate(0x30, stubs[0x30], SEL_CODE, INT32 | PRESENT, LONG);
    run_code(3, interrupt);
    ended_at("gate of ring 0", interrupt, GP, 0x30 * 8 + 2);
    gate(0x30, stubs[0x30], SEL_CODE, INT32 | PRESENT | DPL3, LONG);
  }
}

/* ---- alignment, code --------------------------------------------------------------------------------------------------------- */
EVERY(changes, "movl $1f + 1, %esi", "movb $0x22, (%esi)", "1: movb $0x11, %al");
EVERY(changes_far, "", "movb %cl, (%esi)", "");

TESTS(modes_code) {
  section("every mode: code");
  static const u8 wide[] = {0xb8, 0x11, 0x22, 0x33, 0x44, 0xcd, 0x80}, narrow[] = {0x66, 0xb8, 0x11, 0x22, 0x33, 0x44, 0xcd, 0x80};
  const word c0 = cr0();
  EACH_MODE {
    const u8 *const bytes = mode == CODE_16 ? narrow : wide;
    const u32 length = mode == CODE_16 ? 6 : 5;
    for (u32 turn = 0; turn < 4; turn++) {
      fresh();
      run_code(turn & 1 ? 3 : 0, changes);
      check("the next instruction", out.gpr[RAX] & 0xff, 0x22);
      *(u8 *)(changes[mode].behind + 1) = 0x11;
    }
    for (u32 first = 1; first < length; first++) {
      map(TEST, (word)frames[1], P | W | U);
      map(BORDER, (word)frames[2], P | W | U);
      for (u32 n = 0; n < length + 2; n++) *(u8 *)(BORDER - first + n) = bytes[n];
      const struct code there[MODES] = {[0 ... MODES - 1] = {.start = (u8 *)(BORDER - first)}};
      fresh();
      run_code(3, there);
      ended("MOV across pages", DONE, 0, (void *)(BORDER - first + length + 2));
      check("its immediate", (u32)out.gpr[RAX], 0x44332211);
      /* Its last byte changes, by a store in the same mode. */
      fresh();
      in.gpr[RSI] = BORDER - first + length - 1;
      in.gpr[RCX] = 0x77;
      run_code(3, changes_far);
      fresh();
      run_code(3, there);
      check("its immediate, changed", (u32)out.gpr[RAX], 0x77332211);
      const u32 fetch = ENTRY_BYTES == 8 && (rdmsr(MSR_EFER) & EFER_NXE) ? 0x14 : 4;
      map(BORDER, 0, 0);
      fresh();
      run_code(3, there);
      ended("second page missing", PF, fetch, (void *)(BORDER - first));
      check("CR2", out.cr2, BORDER);
      map(BORDER, (word)frames[2], P | U);
      map(TEST, (word)frames[1], P);
      fresh();
      run_code(3, there);
      ended("first page of ring 0", PF, fetch | 1, (void *)(BORDER - first));
      check("CR2", out.cr2, BORDER - first);
    }
    set_cr0(c0 | CR0_AM);
    fresh();
    in.flags = FIXED | ACF;
    in.gpr[RSI] = (word)frames[3] + 2;
    run_code(3, load4);
    ended_at("#AC", load4, AC, 0);
    run_code(0, load4);
    ended_at("#AC not in ring 0", load4, DONE, 0);
    set_cr0(c0);
  }
}

/* ---- debug exceptions ------------------------------------------------------------------------------------------------------ */
static struct {
  word ip, dr6;
} hits[8];
static u32 count;
static int collect(struct frame *f) {
  if (f->vector != DB) return 0;
  if (count < 8) {
    hits[count].ip = f->ip;
    hits[count].dr6 = dr6();
  }
  count++;
  set_dr6(0xffff0ff0);
  f->flags |= RF;
  return count < 16;
}
static void watch(word bits) {
  fresh();
  hook = collect;
  count = 0;
  set_dr7(0x400 | bits);
}
#define BREAK(n, rw, len) (1u << (n) * 2 | (u32)(rw) << (16 + (n) * 4) | (u32)(len) << (18 + (n) * 4))
enum { EXECUTE, WRITES, ACCESSES = 3, DWORD = 3 };
EVERY(moves, "cld", "rep movsb (%esi), %es:(%edi)", "nop");
EVERY(shadow, "mov %ss, %eax", "mov %eax, %ss", "nop; nop");

TESTS(modes_debug) {
  section("every mode: debug exceptions");
  u32 *const data = (u32 *)frames[4];
  EACH_MODE
    for (int cpl = 0; cpl <= 3; cpl += 3) {
      watch(0);
      in.flags = FIXED | TF;
      in.gpr[RSI] = (word)data;
      run_code(cpl, load4);
      check("single steps", count, 1);
      check("IP", hits[0].ip, (word)load4[mode].behind);
      check("DR6", hits[0].dr6, 0xffff4ff0);
      watch(BREAK(1, EXECUTE, 0));
      set_dr1((word)store4[mode].at);
      in.gpr[RSI] = (word)data;
      run_code(cpl, store4);
      check("code breakpoint", count, 1);
      check("IP", hits[0].ip, (word)store4[mode].at);
      check("DR6", hits[0].dr6, 0xffff0ff2);
      watch(BREAK(2, WRITES, DWORD));
      set_dr2((word)data);
      in.gpr[RSI] = (word)data + 2;
      run_code(cpl, store4);
      check("data breakpoint", count, 1);
      check("IP", hits[0].ip, (word)store4[mode].behind);
      check("DR6", hits[0].dr6, 0xffff0ff4);
      watch(BREAK(2, WRITES, DWORD));
      in.gpr[RSI] = (word)data + 2;
      run_code(cpl, load4);
      check("a load is no write", count, 0);
      watch(BREAK(2, ACCESSES, DWORD));
      in.gpr[RSI] = (word)data;
      in.gpr[RDI] = (word)data + 64;
      in.gpr[RCX] = 8;
      run_code(cpl, moves);
      check("REP MOVS: the first four elements", count, 4);
      check("IP", hits[3].ip, (word)moves[mode].at);
      watch(0);
      in.flags = FIXED | TF;
      run_code(cpl, shadow);
      check("steps around MOV SS", count, 3);
      check("before it", hits[0].ip, (word)shadow[mode].at);
      check("behind the next", hits[1].ip, (word)shadow[mode].behind + 1);
      set_dr7(0x400);
    }
}

/* ---- returns ----------------------------------------------------------------------------------------------------------------- */
EVERY(retf_16, "", "lretw", "");
EVERY(retf_32, "", "lretl", "");
EVERY(iret_16, "", "iretw", "");
EVERY(iret_32, "", "iretl", "");
EVERY(target, "", "nop", "");

/* From ring 0 in each mode to rings 0 and 3 in each mode. A 16-bit offset does not reach 64-bit code, whose segments have no base. */
TESTS(modes_returns) {
  section("every mode: returns");
  static const struct code *const codes[2][2] = {{retf_16, retf_32}, {iret_16, iret_32}};
  static const u32 kinds[MODES] = {CODE_NATIVE, CODE32, CODE16};
  EACH_MODE
    for (u32 is_iret = 0; is_iret < 2; is_iret++)
      for (u32 wide = 0; wide < 2; wide++)
        for (u32 to = OWN; to < MODES; to++)
          for (u32 ring = 0; ring <= 3; ring += 3) {
            if (LONG && to == OWN && !wide) continue;
            if (!LONG && to == CODE_32) continue;
            const int based = !(LONG && to == OWN);
            const word start = (word)target[to].start, stack = TOP(stack0) - 256;
            gdt[SEL_FREE >> 3] = descriptor(based ? start : 0, 0xffff, kinds[to] | ring << 5);
            const word values[] = {
              based ? 0 : start, SEL_FREE | ring, FIXED | CF, TOP(stack3), ring ? SEL_UDATA : SEL_DATA,
            };
            u32 place = 0;
            const int all = ring || (LONG && is_iret && mode == OWN);
            for (u32 n = 0; n < (all ? 5 : 3); n++) {
              if (n == 2 && !is_iret) continue;
              if (wide) ((u32 *)stack)[place++] = values[n];
              else ((u16 *)stack)[place++] = values[n];
            }
            fresh();
            in.gpr[RSP] = stack;
            run_code(0, codes[is_iret][wide]);
            ended(is_iret ? "IRET" : "RETF", DONE, 0, based ? (void *)(target[to].end - target[to].start) : target[to].end);
            check("CS", out.cs, SEL_FREE | ring);
            if (ring) check("SS", out.ss, SEL_UDATA);
            if (is_iret) check("flags", out.flags & 0xfd7, FIXED | CF);
            check("stack", out.gpr[RSP], !all ? stack + place * (wide ? 4 : 2) : wide ? TOP(stack3) : (u16)TOP(stack3));
          }
}

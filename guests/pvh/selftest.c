/* What the processor must do by itself: paging and exceptions. Runs with and without Xen. */
#include "pvh.h"

static uint8_t scratch[4][PAGE_SIZE] __attribute__((aligned(4096)));
static const uint64_t read_only = 0x1234;
static struct catch c;

/* Runs code that must trap, and checks with what. */
#define TRAPS(name, code, want_vector, want_error)      \
    do {                                                \
        c.vector = ~0ull;                               \
        if (!catch_fault(&c)) {                         \
            code;                                       \
            catch_end();                                \
        }                                               \
        check(name, (int64_t)c.vector, want_vector);    \
        if (c.vector == (want_vector))                  \
            check(name "-error", (int64_t)c.error, want_error); \
    } while (0)

static void paging(void)
{
    volatile uint64_t *here = (uint64_t *)scratch[0], *alias = map_frame(frame_of(scratch[0]), MAP_WRITE);
    uint64_t *pte = pte_of((uintptr_t)alias);
    check("page.mapped", (int64_t)(*pte & PTE_DIRTY), 0);
    check("page.not-accessed", (int64_t)(*pte & PTE_ACCESSED), 0);
    *here = 0xfeedface;
    check("page.alias-reads", (int64_t)*alias, 0xfeedface);
    check("page.accessed", (int64_t)(*pte & (PTE_ACCESSED | PTE_DIRTY)), (int64_t)PTE_ACCESSED);
    *alias = 1;
    check("page.dirty", (int64_t)(*pte & PTE_DIRTY), (int64_t)PTE_DIRTY);
    check("page.alias-writes", (int64_t)*here, 1);
    *(uint64_t *)scratch[1] = 2;
    map_at((uintptr_t)alias, (uintptr_t)scratch[1], MAP_WRITE);
    check("page.invlpg", (int64_t)*alias, 2);
    check("page.large", (int64_t)(*pte_of(0x600000) & PTE_LARGE), (int64_t)PTE_LARGE);
    /* Eight bytes over the border of two pages that are no neighbours in memory. */
    uint64_t va = (uintptr_t)map_frame(frame_of(scratch[3]), MAP_WRITE);
    map_frame(frame_of(scratch[0]), MAP_WRITE);
    *(volatile uint64_t *)(va + PAGE_SIZE - 3) = 0x1122334455667788;
    check("page.crossing-low", scratch[3][PAGE_SIZE - 1], 0x66);
    check("page.crossing-high", scratch[0][0], 0x55);
    check("page.crossing", *(volatile int64_t *)(va + PAGE_SIZE - 3), 0x1122334455667788);
}

static void traps(void)
{
    volatile uint64_t *nowhere = (uint64_t *)UNMAPPED;
    TRAPS("trap.divide", __asm__ volatile("div %b0" :: "r"(0), "a"(1) : "rdx"), 0, 0);
    TRAPS("trap.breakpoint", __asm__ volatile("int3"), 3, 0);
    TRAPS("trap.step", __asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq; nop" ::: "memory", "cc"), 1, 0);
    TRAPS("trap.undefined", __asm__ volatile("ud2"), 6, 0);
    TRAPS("trap.general", (void)*(volatile uint64_t *)0x8000000000000000ull, 13, 0);
    TRAPS("trap.stack", __asm__ volatile("mov %0, %%rbp; mov (%%rbp), %%rax" :: "r"(0x8000000000000000ull) : "rax"), 12, 0);
    /* A stack that cannot even take the frame of its own fault. */
    TRAPS("trap.stack-lost", __asm__ volatile("mov %0, %%rsp; push %%rax" :: "r"(0x8000000000000000ull)), 8, 0);
    TRAPS("trap.selector", __asm__ volatile("mov %0, %%es" :: "r"(0x48)), 13, 0x48);
    TRAPS("trap.absent-read", (void)*nowhere, 14, 0);
    check("trap.absent-address", (int64_t)c.cr2, (int64_t)UNMAPPED);
    TRAPS("trap.absent-write", *nowhere = 1, 14, 2);
    TRAPS("trap.protected", *(volatile uint64_t *)&read_only = 1, 14, 3);
    TRAPS("trap.no-execute", ((void (*)(void))scratch[0])(), 14, 0x11);
    check("trap.no-execute-address", (int64_t)c.cr2, (int64_t)(uintptr_t)scratch[0]);
    TRAPS("trap.null", __asm__ volatile("mov 8, %%rax" ::: "rax"), 14, 0);
    TRAPS("trap.user-hlt", enter_user((uintptr_t)user_privileged, 0), 13, 0);
    TRAPS("trap.user-read", enter_user((uintptr_t)image_start, 0), 14, 0x15);
    idt_present(6, false);
    TRAPS("trap.gate-absent", __asm__ volatile("ud2"), 11, 6 << 3 | 3); /* index 6, in the IDT, while an earlier event was delivered */
    idt_present(11, false);
    TRAPS("trap.double", __asm__ volatile("ud2"), 8, 0);
    idt_present(6, true);
    idt_present(11, true);
}

void cpu_self_test(void)
{
    uint32_t r[4];
    cpuid(0x80000001, 0, r);
    check("cpu.long-mode", (int64_t)(rdmsr(MSR_EFER) >> 8 & 0xd), 0xd); /* LME, LMA, NXE */
    uint64_t before = tsc();
    check_true("cpu.tsc", tsc() >= before);
    paging();
    traps();
    if (machine.xen)
        TRAPS("trap.unknown-msr", rdmsr(0x12345678), 13, 0);
}

/* A hypercall from user mode: the answer Xen gave, from RAX at the trap that brings us back. */
long user_mode_hypercall(void)
{
    uint8_t *stack = scratch[2];
    uint64_t va = (uintptr_t)map_frame(frame_of(stack), MAP_WRITE | MAP_USER) + PAGE_SIZE;
    if (!catch_fault(&c))
        enter_user((uintptr_t)user_hypercall, va);
    return c.vector == 6 ? (long)c.rax : -1000 - (long)c.vector;
}

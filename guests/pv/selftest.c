/* What the processor and Xen's traps must do for a PV kernel: its page tables and exceptions. */
#include "pv.h"

static uint8_t scratch[4][PAGE_SIZE] __attribute__((aligned(4096)));
static const uint64_t read_only = 0x1234;
static struct catch c;

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
    map_at((uintptr_t)alias, frame_of(scratch[1]) << 12, MAP_WRITE);
    check("page.invlpg", (int64_t)*alias, 2);
    check("page.m2p", (int64_t)MACH2PHYS[frame_of(scratch[0])], (int64_t)((uintptr_t)scratch[0] >> 12));
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
    TRAPS(&c, "trap.divide", __asm__ volatile("div %b0" :: "r"(0), "a"(1) : "rdx"), 0, 0);
    TRAPS(&c, "trap.breakpoint", __asm__ volatile("int3"), 3, 0);
    TRAPS(&c, "trap.step", __asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq; nop" ::: "memory", "cc"), 1, 0);
    TRAPS(&c, "trap.undefined", __asm__ volatile("ud2"), 6, 0);
    TRAPS(&c, "trap.general", (void)*(volatile uint64_t *)0x8000000000000000ull, 13, 0);
    TRAPS(&c, "trap.selector", __asm__ volatile("mov %0, %%es" :: "r"(0x48)), 13, 0x48);
    TRAPS(&c, "trap.int-0x21", __asm__ volatile("int $0x21"), 13, 0x21 << 3 | 2);
    /* The kernel is ring 3 to the processor; Xen takes the user bit out of the error code. */
    TRAPS(&c, "trap.absent-read", (void)*nowhere, 14, 0);
    check("trap.absent-address", (int64_t)c.cr2, (int64_t)UNMAPPED);
    TRAPS(&c, "trap.absent-write", *nowhere = 1, 14, 2);
    TRAPS(&c, "trap.protected", *(volatile uint64_t *)&read_only = 1, 14, 3);
    TRAPS(&c, "trap.no-execute", ((void (*)(void))scratch[0])(), 14, 0x11);
    check("trap.no-execute-address", (int64_t)c.cr2, (int64_t)(uintptr_t)scratch[0]);
    TRAPS(&c, "trap.null", __asm__ volatile("mov 8, %%rax" ::: "rax"), 14, 0);
    TRAPS(&c, "trap.user-hlt", enter_user(user_code(user_privileged), USER_STACK, 0, 2), 13, 0);
    check("trap.user-frame-cs", (int64_t)c.frame.cs & 0xffff, FLAT_USER_CS);
    TRAPS(&c, "trap.user-read", enter_user(user_code(user_read), USER_STACK, (uintptr_t)image_start, 2), 14, 4);
    TRAPS(&c, "trap.user-fetch", enter_user((uintptr_t)image_start, USER_STACK, 0, 2), 14, 0x14);
}

void cpu_self_test(void)
{
    uint64_t before = tsc();
    check_true("cpu.tsc", tsc() >= before);
    paging();
    traps();
}

void apic_test(void) {} /* a PV guest has none */
void apic_send(unsigned vcpu, unsigned vector)
{
    (void)vcpu, (void)vector;
    panic("a PV guest has no local APIC");
}

/* SYSCALL from user mode is a call to the kernel, not to Xen: the number it was made with, as the kernel finds it in RAX. */
long user_mode_hypercall(void)
{
    if (!catch_fault(&c))
        enter_user(user_code(user_syscall), USER_STACK, 0, 2);
    return c.vector == VECTOR_SYSCALL ? (long)c.rax : -1000 - (long)c.vector;
}

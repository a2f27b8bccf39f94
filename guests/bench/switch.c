/* Context switches: two threads, each in its address space, hand over to each other and work on pages of their own. */
#include "bench.h"

#define PAGES 8
static uint32_t frames[2][PAGES][PAGE_SIZE / 4] __attribute__((aligned(PAGE_SIZE)));
static uint8_t second_stack[8192] __attribute__((aligned(16)));
static struct context contexts[2];
static volatile uint32_t message;

static void touch(uint32_t round)
{
    for (uint32_t p = 0; p < PAGES; p++) {
        volatile uint32_t *word = (volatile uint32_t *)(WINDOW + p * PAGE_SIZE + p * 64);
        *word = fold(*word, message + round);
    }
    message = *(volatile uint32_t *)(WINDOW + round % PAGES * PAGE_SIZE + round % PAGES * 64);
}

static void second_thread(void)
{
    for (uint32_t round = 0;; round++) {
        touch(round);
        context_switch(&contexts[1], &contexts[0]);
    }
}

uint32_t bench_switch(uint32_t n)
{
    for (unsigned space = 0; space < 2; space++)
        for (unsigned p = 0; p < PAGES; p++)
            window_tables[space][p] = (uintptr_t)frames[space][p] | PTE_PRESENT | PTE_WRITE | PTE_USER;
    uint64_t *top = (uint64_t *)(second_stack + sizeof(second_stack)) - 2;
    *top = (uintptr_t)second_thread;
    contexts[0].cr3 = space_root(0);
    contexts[1].cr3 = space_root(1);
    contexts[1].rsp = (uintptr_t)(top - 6);
    for (uint32_t round = 0; round < n * 100; round++) {
        touch(round);
        context_switch(&contexts[0], &contexts[1]);
    }
    return message;
}

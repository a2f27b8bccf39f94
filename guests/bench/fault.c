/* Page faults: touch pages that are not there, have them mapped by the handler, unmap them, INVLPG. */
#include "bench.h"

#define PAGES 64

uint32_t bench_fault(uint32_t n)
{
    static uint32_t frames[PAGES * 2][PAGE_SIZE / 4] __attribute__((aligned(PAGE_SIZE)));
    uint32_t sum = 0;
    for (uint32_t round = 0; round < n; round++) {
        window_backing = (uintptr_t)frames[round * 7 % PAGES];
        for (uint32_t p = 0; p < PAGES; p++) {
            volatile uint32_t *word = (volatile uint32_t *)(WINDOW + p * PAGE_SIZE + (round * 4 + p * 64) % PAGE_SIZE);
            *word += round ^ p; /* faults here */
            sum = fold(sum, *word);
        }
        for (uint32_t p = 0; p < PAGES; p++) {
            window_tables[0][p] = 0;
            __asm__ volatile("invlpg (%0)" :: "r"(WINDOW + p * PAGE_SIZE) : "memory");
        }
    }
    return fold(sum, page_faults);
}

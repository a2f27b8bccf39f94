/*
 * Single costs, for bench/micro: loads that hit a TLB of 4,096 entries indexed by page number and loads that don't, and
 * Xen's cheapest hypercall. Four instructions a round of the loops of loads, two of them loads.
 */
#include "bench.h"
#include "xen.h"

#define TLB_REACH 0x1000000ul /* pages so far apart have the same index */

static uint32_t load_pairs(uint64_t n, uint64_t apart)
{
    static uint8_t first[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
    uint64_t count = n * 1000;
    if (count)
        __asm__ volatile("1: mov (%1), %%rax; mov (%1,%2), %%rax; dec %0; jnz 1b"
                         : "+r"(count) : "r"(first), "r"(apart) : "rax", "cc", "memory");
    return (uint32_t)(n * 1000);
}

uint32_t bench_hits(uint32_t n)
{
    return load_pairs(n, TLB_REACH + PAGE_SIZE);
}

uint32_t bench_misses(uint32_t n)
{
    return load_pairs(n, TLB_REACH);
}

uint32_t bench_hypercall(uint32_t n)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; on_xen && i < n * 100; i++)
        sum = fold(sum, (uint32_t)hypercall(HC_xen_version, XENVER_version, NULL));
    return sum;
}

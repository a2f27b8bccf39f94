/* What the benchmarks share: each does n rounds of its work and gives a checksum of what it computed. */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <stdint.h>

#define PAGE_SIZE 4096
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

typedef uint32_t benchmark(uint32_t n);
benchmark bench_mix, bench_sha256, bench_memory, bench_chase, bench_parse, bench_muldiv, bench_matmul, bench_nbody,
    bench_mandelbrot, bench_virtual, bench_bytecode, bench_strings, bench_jit, bench_syscall, bench_fault, bench_switch,
    bench_hits, bench_misses, bench_hypercall;

/* Numerical Recipes' generator; its low bits are poor, so users take the high ones. */
static inline uint32_t next(uint32_t *state)
{
    return *state = *state * 1664525u + 1013904223u;
}

/* One more value into a checksum. */
static inline uint32_t fold(uint32_t sum, uint32_t value)
{
    sum = (sum ^ value) * 0x9e3779b1u;
    return sum << 13 | sum >> 19;
}

void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);

/* kernel.c */
extern int on_xen;
long hypercall(long number, long a, void *b);
extern volatile uint32_t page_faults;
extern uint64_t window_tables[2][512]; /* page table of WINDOW in address space 0 and 1 */
#define WINDOW 0x8000000000ul          /* 2 MiB in 4 KiB pages, apart in each address space */
#define PTE_PRESENT 1ul
#define PTE_WRITE 2ul
#define PTE_USER 4ul
extern uint64_t window_backing; /* where the page-fault handler finds frames: frame p for page p of the window */
uint64_t space_root(unsigned space);

/* head.S */
uint64_t run_in_user_mode(void (*entry)(uint64_t), uint64_t argument, void *stack_top);
struct context { uint64_t rsp, cr3; };
void context_switch(struct context *from, const struct context *to);

#endif

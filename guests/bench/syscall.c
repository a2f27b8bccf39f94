/* System calls: a loop in ring 3 that enters the kernel by SYSCALL and comes back by SYSRET, through a table of calls. */
#include "bench.h"

static uint64_t calls_made, stored;

static uint64_t sys_count(uint64_t a, uint64_t b, uint64_t c)
{
    (void)a, (void)b, (void)c;
    return ++calls_made;
}

static uint64_t sys_exchange(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t old = stored;
    (void)b, (void)c;
    stored = a;
    return old;
}

static uint64_t sys_sum(uint64_t a, uint64_t b, uint64_t c)
{
    return a + 3 * b + 5 * c;
}

static uint64_t (*const calls[])(uint64_t, uint64_t, uint64_t) = { NULL, sys_count, sys_exchange, sys_sum };

uint64_t system_call(uint64_t a, uint64_t b, uint64_t c, uint64_t number);
uint64_t system_call(uint64_t a, uint64_t b, uint64_t c, uint64_t number)
{
    return number && number < ARRAY_SIZE(calls) ? calls[number](a, b, c) : ~0ul;
}

static inline uint64_t syscall3(uint64_t number, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

static void user_main(uint64_t n)
{
    uint32_t sum = 0;
    for (uint64_t i = 0; i < n * 100; i++) {
        sum = fold(sum, (uint32_t)syscall3(1, 0, 0, 0));
        sum = fold(sum, (uint32_t)syscall3(2, i ^ sum, 0, 0));
        sum = fold(sum, (uint32_t)syscall3(3, sum, i, 7));
    }
    syscall3(0, sum, 0, 0);
}

uint32_t bench_syscall(uint32_t n)
{
    static uint8_t user_stack[8192] __attribute__((aligned(16)));
    return (uint32_t)run_in_user_mode(user_main, n, user_stack + sizeof(user_stack));
}

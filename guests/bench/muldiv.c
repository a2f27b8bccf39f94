/* 64-bit multiplication and division: signed and unsigned, with 128-bit products and dividends. */
#include "bench.h"

uint32_t bench_muldiv(uint32_t n)
{
    uint64_t x = 0x9e3779b97f4a7c15, acc = 0;
    for (uint32_t i = 0; i < n * 256; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        uint64_t divisor = (x >> (i & 31)) | 1, low, high, quotient, rest;
        __asm__("mulq %3" : "=a"(low), "=d"(high) : "a"(x), "r"(acc ^ divisor) : "cc");
        acc += low ^ high;
        acc = acc * 6364136223846793005u + x / divisor + x % 1000003;
        acc ^= (uint64_t)((int64_t)acc / (int64_t)divisor) + (uint64_t)((int64_t)x % 12347);
        __asm__("divq %4" : "=a"(quotient), "=d"(rest) : "a"(acc), "d"(divisor >> 1), "r"(divisor) : "cc");
        acc += quotient ^ rest;
    }
    return fold((uint32_t)acc, (uint32_t)(acc >> 32));
}

/* String instructions: REP MOVS and STOS in bytes and quadwords, REPNE SCASB, REPE CMPSB. */
#include "bench.h"

#define SIZE 16384u

uint32_t bench_strings(uint32_t n)
{
    static uint8_t from[SIZE + 4096] __attribute__((aligned(64))), to[SIZE + 4096] __attribute__((aligned(64)));
    static const uint16_t sizes[8] = { 1, 9, 24, 80, 250, 700, 2048, 4000 };
    uint32_t seed = 8, sum = 0;
    for (uint32_t i = 0; i < sizeof(from); i++)
        from[i] = (uint8_t)(next(&seed) >> 24 | 1); /* no zeros, for SCASB to find its end */
    for (uint32_t round = 0; round < n * 64; round++) {
        uint32_t r = next(&seed), at = r >> 18, size = sizes[r >> 15 & 7];
        uint8_t *d = to + at;
        const uint8_t *s = from + (at ^ 0x155);
        uint64_t count = size;
        switch (r >> 12 & 7) {
        case 0:
        case 1:
            __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(count) :: "memory");
            break;
        case 2:
        case 3:
            count /= 8;
            __asm__ volatile("rep movsq" : "+D"(d), "+S"(s), "+c"(count) :: "memory");
            break;
        case 4:
            __asm__ volatile("rep stosb" : "+D"(d), "+c"(count) : "a"(r) : "memory");
            break;
        case 5:
            count /= 8;
            __asm__ volatile("rep stosq" : "+D"(d), "+c"(count) : "a"(r * 0x100000001ul) : "memory");
            break;
        case 6:
            d[size] = 0;
            __asm__ volatile("repne scasb" : "+D"(d), "+c"(count) : "a"(0) : "memory", "cc");
            break;
        default:
            __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(count) :: "memory");
            d = to + at;
            s = from + (at ^ 0x155);
            to[at + size / 2] ^= 1;
            count = size;
            __asm__ volatile("repe cmpsb" : "+D"(d), "+S"(s), "+c"(count) :: "memory", "cc");
        }
        sum = fold(sum, (uint32_t)(d - to) ^ (uint32_t)count << 16 ^ to[round * 37 % SIZE]);
    }
    return sum;
}

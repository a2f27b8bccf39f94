/*
 * A just-in-time compiler: writes a routine into one of sixteen places, runs it, changes an operand in the routine of
 * another place, and runs that.
 */
#include "bench.h"

#define PLACES 16
#define OPS 16
#define PATCHED 3 /* the operation whose operand is changed; it is always an addition */

static uint8_t code[PLACES][256] __attribute__((aligned(4096)));

static uint8_t *put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        *p++ = (uint8_t)(v >> 8 * i);
    return p;
}

typedef uint32_t routine(uint32_t x, uint32_t times);

/* mov eax, edi; then, ESI times: OPS operations on EAX. Each operation takes 6 bytes. */
static void compile(uint8_t *p, uint32_t *seed)
{
    *p++ = 0x89, *p++ = 0xf8;
    uint8_t *top = p;
    for (int i = 0; i < OPS; i++) {
        uint32_t r = next(seed), op = i == PATCHED ? 0 : r >> 30;
        switch (op) {
        case 0: /* add eax, imm32; nop */
            *p++ = 0x05, p = put32(p, r), *p++ = 0x90;
            break;
        case 1: /* xor eax, imm32; nop */
            *p++ = 0x35, p = put32(p, r), *p++ = 0x90;
            break;
        case 2: /* imul eax, eax, imm32 */
            *p++ = 0x69, *p++ = 0xc0, p = put32(p, r | 1);
            break;
        default: /* rol eax, imm8; xor eax, edi; nop */
            *p++ = 0xc1, *p++ = 0xc0, *p++ = r >> 8 & 31, *p++ = 0x31, *p++ = 0xf8, *p++ = 0x90;
        }
    }
    *p++ = 0xff, *p++ = 0xce; /* dec esi; jnz top; ret */
    *p++ = 0x0f, *p++ = 0x85, p = put32(p, (uint32_t)(top - (p + 4)));
    *p = 0xc3;
}

uint32_t bench_jit(uint32_t n)
{
    uint32_t seed = 9, sum = 0;
    for (uint32_t round = 0; round < n; round++) {
        uint8_t *fresh = code[round % PLACES], *other = code[round * 5 % PLACES];
        compile(fresh, &seed);
        sum = fold(sum, ((routine *)fresh)(sum, 256));
        if (*other) {
            put32(other + 2 + PATCHED * 6 + 1, sum);
            sum = fold(sum, ((routine *)other)(round, 64));
        }
    }
    return sum;
}

/* memcpy and memset as a C library has them for any x86-64 processor (16 bytes at a time), with sizes mixed. */
#include <emmintrin.h>
#include "bench.h"

static inline uint64_t load8(const void *p) { uint64_t v; __builtin_memcpy(&v, p, 8); return v; }
static inline void store8(void *p, uint64_t v) { __builtin_memcpy(p, &v, 8); }
static inline __m128i load16(const void *p) { return _mm_loadu_si128(p); }
static inline void store16(void *p, __m128i v) { _mm_storeu_si128(p, v); }

void *memcpy(void *to, const void *from, size_t n)
{
    uint8_t *t = to;
    const uint8_t *f = from;
    if (n >= 16) {
        __m128i last = load16(f + n - 16);
        uint8_t *end = t + n - 16;
        for (; t + 64 <= end; t += 64, f += 64) {
            __m128i a = load16(f), b = load16(f + 16), c = load16(f + 32), d = load16(f + 48);
            store16(t, a), store16(t + 16, b), store16(t + 32, c), store16(t + 48, d);
        }
        for (; t < end; t += 16, f += 16)
            store16(t, load16(f));
        store16(end, last);
    } else if (n >= 8) {
        uint64_t first = load8(f), last = load8(f + n - 8);
        store8(t, first), store8(t + n - 8, last);
    } else {
        for (; n; n--)
            *t++ = *f++;
    }
    return to;
}

void *memset(void *to, int byte, size_t n)
{
    uint8_t *t = to;
    if (n >= 16) {
        __m128i v = _mm_set1_epi8((char)byte);
        uint8_t *end = t + n - 16;
        for (; t + 64 <= end; t += 64)
            store16(t, v), store16(t + 16, v), store16(t + 32, v), store16(t + 48, v);
        for (; t < end; t += 16)
            store16(t, v);
        store16(end, v);
    } else {
        for (; n; n--)
            *t++ = (uint8_t)byte;
    }
    return to;
}

#define HALF 131072u

uint32_t bench_memory(uint32_t n)
{
    static uint8_t data[2 * HALF] __attribute__((aligned(64)));
    static const uint16_t sizes[16] = { 3, 7, 8, 12, 16, 17, 31, 48, 64, 100, 200, 256, 777, 1500, 4096, 9000 };
    uint32_t seed = 3, sum = 0;
    for (uint32_t i = 0; i < 2 * HALF; i++)
        data[i] = (uint8_t)(i * 7 + (i >> 8));
    for (uint32_t round = 0; round < n * 256; round++) {
        uint32_t r = next(&seed), size = sizes[r >> 28], half = r >> 27 & 1;
        uint32_t to = (next(&seed) >> 8) % (HALF - size), from = (next(&seed) >> 8) % (HALF - size);
        if (r >> 25 & 3)
            memcpy(data + half * HALF + to, data + (half ^ 1) * HALF + from, size);
        else
            memset(data + half * HALF + to, (int)(r >> 16 & 0xff), size);
        sum = fold(sum, data[half * HALF + to + size - 1] + data[round * 61 % (2 * HALF)]);
    }
    return sum;
}

/* Pointer chasing: one ring of nodes within 256 KiB, one over 8 MiB, both in random order. */
#include "bench.h"

struct node {
    struct node *next;
    uint32_t value, pad[13];
};
#define SMALL 4096u
#define LARGE 131072u
static struct node small[SMALL], large[LARGE];

/* Sattolo: one cycle through all nodes. */
static void ring(struct node *nodes, uint32_t count, uint32_t *seed)
{
    for (uint32_t i = 0; i < count; i++)
        nodes[i] = (struct node){ .next = &nodes[i], .value = i };
    for (uint32_t i = count - 1; i > 0; i--) {
        uint32_t j = (next(seed) >> 8) % i;
        struct node *kept = nodes[i].next;
        nodes[i].next = nodes[j].next;
        nodes[j].next = kept;
    }
}

uint32_t bench_chase(uint32_t n)
{
    uint32_t seed = 4, sum = 0;
    ring(small, SMALL, &seed);
    ring(large, LARGE, &seed);
    struct node *s = small, *l = large;
    for (uint32_t round = 0; round < n; round++) {
        uint32_t seen = 0;
        for (uint32_t i = 0; i < 3072; i++)
            s = s->next, seen += s->value;
        for (uint32_t i = 0; i < 1024; i++)
            l = l->next, seen += l->value;
        sum = fold(sum, seen);
    }
    return sum;
}

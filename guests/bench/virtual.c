/* Virtual dispatch: objects of eight classes in random order, each call through a table of methods. */
#include "bench.h"

struct object;
struct methods {
    uint32_t (*measure)(const struct object *);
    void (*change)(struct object *, uint32_t);
};
struct object {
    const struct methods *methods;
    uint32_t a, b;
};

static uint32_t sum_of(const struct object *o) { return o->a + o->b; }
static uint32_t product(const struct object *o) { return o->a * o->b; }
static uint32_t both(const struct object *o) { return o->a ^ o->b << 3; }
static uint32_t larger(const struct object *o) { return o->a > o->b ? o->a : o->b; }
static void grow(struct object *o, uint32_t by) { o->a += by; }
static void turn(struct object *o, uint32_t by) { uint32_t t = o->a; o->a = o->b + (by & 1); o->b = t; }
static void scale(struct object *o, uint32_t by) { o->b = o->b * 5 + by; }
static void shift(struct object *o, uint32_t by) { o->a = o->a >> 1 ^ by; }

static const struct methods classes[8] = {
    { sum_of, grow }, { product, turn }, { both, scale }, { larger, shift },
    { sum_of, shift }, { product, scale }, { both, turn }, { larger, grow },
};

#define OBJECTS 256

uint32_t bench_virtual(uint32_t n)
{
    static struct object objects[OBJECTS];
    uint32_t seed = 7, sum = 0;
    for (int i = 0; i < OBJECTS; i++) {
        objects[i].methods = &classes[next(&seed) >> 29];
        objects[i].a = next(&seed) >> 12;
        objects[i].b = next(&seed) >> 12;
    }
    for (uint32_t round = 0; round < n; round++)
        for (int i = 0; i < OBJECTS; i++) {
            struct object *o = &objects[i];
            sum = fold(sum, o->methods->measure(o));
            o->methods->change(o, sum);
        }
    return sum;
}

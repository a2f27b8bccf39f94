/* Integer mix: a linked list (find, reverse, merge sort), a small matrix of 16-bit numbers, a state machine, CRC-16. */
#include "bench.h"

#define ITEMS 200
#define N 10

struct item {
    struct item *next;
    int16_t key, tag;
};
static struct item items[ITEMS];
static int16_t a[N][N], b[N][N];
static int32_t c[N][N];
static char text[] = "5012,-874,+122.5e3,.64,-9.7e-2,0x5f,7e,99+1,T0.3e-1F,+,-.5e+9,1234567,3.14159,--2,1e5e5,42";

static uint16_t crc16(uint16_t crc, uint16_t value)
{
    for (int i = 0; i < 16; i++, value >>= 1)
        crc = (uint16_t)((crc ^ value) & 1 ? crc >> 1 ^ 0xa001 : crc >> 1);
    return crc;
}

static int by_key(const struct item *x, const struct item *y) { return x->key - y->key; }
static int by_tag(const struct item *x, const struct item *y) { return x->tag - y->tag; }

/* Stable, bottom up, as everybody does it. */
static struct item *sort(struct item *list, int (*compare)(const struct item *, const struct item *))
{
    for (int size = 1;; size *= 2) {
        struct item *p = list, *tail = NULL;
        int merges = 0;
        list = NULL;
        while (p) {
            struct item *q = p;
            int p_left = 0, q_left = size;
            merges++;
            for (; p_left < size && q; p_left++)
                q = q->next;
            while (p_left > 0 || (q_left > 0 && q)) {
                struct item *e;
                if (p_left > 0 && (q_left == 0 || !q || compare(p, q) <= 0))
                    e = p, p = p->next, p_left--;
                else
                    e = q, q = q->next, q_left--;
                if (tail)
                    tail->next = e;
                else
                    list = e;
                tail = e;
            }
            p = q;
        }
        tail->next = NULL;
        if (merges <= 1)
            return list;
    }
}

static struct item *reverse(struct item *list)
{
    struct item *done = NULL;
    while (list) {
        struct item *rest = list->next;
        list->next = done;
        done = list;
        list = rest;
    }
    return done;
}

static struct item *do_list(struct item *list, uint32_t *seed, uint16_t *crc)
{
    for (int i = 0; i < 8; i++) {
        int16_t wanted = (int16_t)(next(seed) >> 24);
        struct item *found = list;
        while (found && (found->key & 0xff) != wanted)
            found = found->next;
        *crc = crc16(*crc, found ? (uint16_t)found->tag : 0xffff);
        list = reverse(list);
    }
    list = sort(list, by_key);
    for (struct item *e = list; e; e = e->next)
        *crc = crc16(*crc, (uint16_t)e->key);
    for (struct item *e = list; e; e = e->next)
        e->key = (int16_t)(e->key ^ (*crc & 0x7f));
    return sort(list, by_tag);
}

static uint16_t do_matrix(uint16_t crc)
{
    int32_t sum = 0;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            a[i][j] = (int16_t)(a[i][j] + crc);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            int32_t s = 0;
            for (int k = 0; k < N; k++)
                s += a[i][k] * b[k][j];
            c[i][j] = s;
        }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            sum += (c[i][j] >> 2 & 0xf) * (c[i][j] >> 5 & 0x7f);
    return crc16(crc, (uint16_t)sum);
}

enum state { START, SIGN, INTEGER, POINT, FRACTION, EXPONENT, EXPONENT_SIGN, POWER, INVALID, STATES };

static enum state step(enum state state, char ch)
{
    int digit = ch >= '0' && ch <= '9', sign = ch == '+' || ch == '-';
    switch (state) {
    case START:
        return digit ? INTEGER : sign ? SIGN : ch == '.' ? POINT : INVALID;
    case SIGN:
        return digit ? INTEGER : ch == '.' ? POINT : INVALID;
    case INTEGER:
        return digit ? INTEGER : ch == '.' ? FRACTION : ch == 'e' ? EXPONENT : INVALID;
    case POINT:
    case FRACTION:
        return digit ? FRACTION : ch == 'e' ? EXPONENT : INVALID;
    case EXPONENT:
        return digit ? POWER : sign ? EXPONENT_SIGN : INVALID;
    case EXPONENT_SIGN:
    case POWER:
        return digit ? POWER : INVALID;
    default:
        return INVALID;
    }
}

static uint16_t do_states(uint16_t crc, uint32_t round)
{
    uint16_t seen[STATES] = { 0 }, ended[STATES] = { 0 };
    char *changed = &text[round * 11 % (sizeof(text) - 1)], kept = *changed;
    if (kept != ',')
        *changed = (char)(kept ^ 1);
    enum state state = START;
    for (const char *p = text;; p++) {
        if (*p && *p != ',') {
            state = step(state, *p);
            seen[state]++;
            continue;
        }
        ended[state]++;
        state = START;
        if (!*p)
            break;
    }
    *changed = kept;
    for (int i = 0; i < STATES; i++)
        crc = crc16(crc16(crc, seen[i]), ended[i]);
    return crc;
}

uint32_t bench_mix(uint32_t n)
{
    uint32_t seed = 1, sum = 0;
    uint16_t crc = 0;
    for (int i = 0; i < ITEMS; i++)
        items[i] = (struct item){ i + 1 < ITEMS ? &items[i + 1] : NULL, (int16_t)(next(&seed) >> 17), (int16_t)i };
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = (int16_t)(next(&seed) >> 24);
            b[i][j] = (int16_t)(next(&seed) >> 24);
        }
    struct item *list = items;
    for (uint32_t round = 0; round < n; round++) {
        list = do_list(list, &seed, &crc);
        crc = do_matrix(crc);
        crc = do_states(crc, round);
        sum = fold(sum, crc);
    }
    return sum;
}

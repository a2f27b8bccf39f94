/* Branchy parsing: recursive descent through a JSON text that a generator wrote. */
#include "bench.h"

static char text[65536];
static uint32_t length;

static void put(const char *s)
{
    while (*s)
        text[length++] = *s++;
}

static void put_decimal(uint32_t value)
{
    char digits[12];
    int n = 0;
    do
        digits[n++] = (char)('0' + value % 10);
    while (value /= 10);
    while (n)
        text[length++] = digits[--n];
}

static void generate(uint32_t *seed, int depth)
{
    static const char *const words[] = { "null", "true", "false" };
    static const char *const pieces[] = { "alpha", "be\\\"ta", "g", "delta\\n", "epsilon zeta", "\\\\eta", "\\u00e9t\\u00e9", "theta-iota-kappa" };
    uint32_t r = next(seed) >> 24;
    if (depth > 0 && (r < 160 || depth > 4)) {
        uint32_t count = 2 + (next(seed) >> 29), object = r & 1;
        put(object ? "{" : "[");
        for (uint32_t i = 0; i < count; i++) {
            if (i)
                put(r & 2 ? ",\n  " : ",");
            if (object) {
                put("\"k");
                put_decimal(i);
                put("\": ");
            }
            generate(seed, depth - 1);
        }
        put(object ? "}" : "]");
    } else if (r & 1) {
        uint32_t v = next(seed);
        if (v & 0x10000000)
            put("-");
        put_decimal(v >> (v >> 29));
        if (v & 0x08000000) {
            put(".");
            put_decimal(1 + (v >> 16) % 9);
            if (v & 0x04000000)
                put("25");
        }
    } else if (r & 2) {
        put("\"");
        for (uint32_t i = 0; i <= (r >> 2 & 3); i++)
            put(pieces[next(seed) >> 29]);
        put("\"");
    } else {
        put(words[(r >> 2) % 3]);
    }
}

static const char *at;
static uint32_t sum;

static void blank(void)
{
    while (*at == ' ' || *at == '\n' || *at == '\t')
        at++;
}

static uint32_t hex(char c)
{
    return (uint32_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
}

/* Folds the characters of a string, escapes resolved. */
static void string(void)
{
    for (at++; *at != '"'; at++) {
        uint32_t c = (uint8_t)*at;
        if (c == '\\') {
            switch (*++at) {
            case 'n':
                c = '\n';
                break;
            case 't':
                c = '\t';
                break;
            case 'u':
                c = hex(at[1]) << 12 | hex(at[2]) << 8 | hex(at[3]) << 4 | hex(at[4]);
                at += 4;
                break;
            default:
                c = (uint8_t)*at;
            }
        }
        sum = fold(sum, c);
    }
    at++;
}

/* Folds a number in thousandths, modulo 2^32. */
static void number(void)
{
    int negative = *at == '-';
    uint64_t value = 0, scale = 1000;
    at += negative;
    for (; *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (uint64_t)(*at - '0');
    value *= 1000;
    if (*at == '.')
        for (at++; *at >= '0' && *at <= '9'; at++)
            value += (uint64_t)(*at - '0') * (scale /= 10);
    sum = fold(sum, (uint32_t)(negative ? -value : value));
}

static void value(void)
{
    blank();
    switch (*at) {
    case '{':
    case '[': {
        char end = *at == '{' ? '}' : ']';
        uint32_t count = 0;
        do {
            at++;
            blank();
            if (end == '}') {
                string();
                blank();
                at++; /* the colon */
            }
            value();
            blank();
            count++;
        } while (*at == ',');
        at++;
        sum = fold(sum, count);
        break;
    }
    case '"':
        string();
        break;
    case 't':
        at += 4;
        sum = fold(sum, 1);
        break;
    case 'f':
        at += 5;
        sum = fold(sum, 2);
        break;
    case 'n':
        at += 4;
        sum = fold(sum, 3);
        break;
    default:
        number();
    }
}

uint32_t bench_parse(uint32_t n)
{
    uint32_t seed = 5;
    generate(&seed, 6);
    for (uint32_t round = 0; round < n; round++) {
        at = text;
        value();
    }
    return n ? fold(sum, length) : 0;
}

/* Memory and text, and the bookkeeping of checks. */
#include <stdarg.h>
#include "guest.h"

void *memcpy(void *to, const void *from, size_t n)
{
    void *start = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) :: "memory");
    return start;
}

void *memset(void *to, int byte, size_t n)
{
    void *start = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(byte) : "memory");
    return start;
}

void *memmove(void *to, const void *from, size_t n)
{
    char *t = to;
    const char *f = from;
    if (t <= f || t >= f + n)
        return memcpy(to, from, n);
    while (n--)
        t[n] = f[n];
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a, *y = b;
    for (; n; n--, x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}

size_t strlen(const char *s)
{
    size_t n = 0;
    while (s[n])
        n++;
    return n;
}

int strncmp(const char *a, const char *b, size_t n)
{
    for (; n && *a && *a == *b; n--, a++, b++)
        ;
    return n ? (uint8_t)*a - (uint8_t)*b : 0;
}

int strcmp(const char *a, const char *b)
{
    return strncmp(a, b, ~(size_t)0);
}

uint64_t parse_number(const char *s)
{
    uint64_t value = 0;
    for (; *s >= '0' && *s <= '9'; s++)
        value = value * 10 + (uint64_t)(*s - '0');
    return value;
}

struct sink {
    char *buffer;
    size_t size, used;
};

static void put(struct sink *sink, char c)
{
    if (sink->used + 1 < sink->size)
        sink->buffer[sink->used] = c;
    sink->used++;
}

static void put_field(struct sink *sink, const char *text, size_t length, int width, bool left, char pad)
{
    for (int i = (int)length; !left && i < width; i++)
        put(sink, pad);
    for (size_t i = 0; i < length; i++)
        put(sink, text[i]);
    for (int i = (int)length; left && i < width; i++)
        put(sink, ' ');
}

static void vformat(struct sink *sink, const char *f, va_list args)
{
    for (; *f; f++) {
        if (*f != '%') {
            put(sink, *f);
            continue;
        }
        bool left = false;
        char pad = ' ';
        int width = 0, longs = 0;
        for (f++; *f == '-' || *f == '0'; f++)
            *f == '-' ? (left = true) : (pad = '0');
        for (; *f >= '0' && *f <= '9'; f++)
            width = width * 10 + (*f - '0');
        for (; *f == 'l' || *f == 'z'; f++)
            longs++;
        char digits[24];
        size_t n = 0;
        uint64_t value;
        bool negative = false;
        unsigned base = 10;
        switch (*f) {
        case 's': {
            const char *s = va_arg(args, const char *);
            put_field(sink, s, strlen(s), width, left, ' ');
            continue;
        }
        case 'c':
            put(sink, (char)va_arg(args, int));
            continue;
        case 'd': {
            int64_t d = longs ? va_arg(args, long) : va_arg(args, int);
            negative = d < 0;
            value = negative ? -(uint64_t)d : (uint64_t)d;
            break;
        }
        case 'p':
        case 'x':
            base = 16;
            value = longs || *f == 'p' ? va_arg(args, unsigned long) : va_arg(args, unsigned);
            break;
        case 'u':
            value = longs ? va_arg(args, unsigned long) : va_arg(args, unsigned);
            break;
        default:
            put(sink, *f);
            continue;
        }
        do
            digits[sizeof(digits) - ++n] = "0123456789abcdef"[value % base];
        while (value /= base);
        if (negative)
            digits[sizeof(digits) - ++n] = '-';
        put_field(sink, digits + sizeof(digits) - n, n, width, left, pad);
    }
}

int vformat_into(char *buffer, size_t size, const char *f, va_list args)
{
    struct sink sink = { buffer, size, 0 };
    vformat(&sink, f, args);
    buffer[sink.used < size ? sink.used : size - 1] = 0;
    return (int)sink.used;
}

int format_into(char *buffer, size_t size, const char *f, ...)
{
    va_list args;
    va_start(args, f);
    int used = vformat_into(buffer, size, f, args);
    va_end(args);
    return used;
}

void print(const char *f, ...)
{
    char buffer[512];
    struct sink sink = { buffer, sizeof(buffer), 0 };
    va_list args;
    va_start(args, f);
    vformat(&sink, f, args);
    va_end(args);
    console_write(buffer, sink.used < sizeof(buffer) ? sink.used : sizeof(buffer) - 1);
}

static unsigned passed, failed;

void check_either(const char *name, int64_t got, int64_t want, int64_t or_want)
{
    if (got == want || got == or_want) {
        passed++;
        print("ok %s\n", name);
        return;
    }
    failed++;
    /* Errnos and counts read best in decimal, addresses and masks in hexadecimal. */
    bool small = got > -4096 && got < 65536 && want > -4096 && want < 65536;
    if (small && want == or_want)
        print("FAIL %s: got %ld want %ld\n", name, got, want);
    else if (small)
        print("FAIL %s: got %ld want %ld or %ld\n", name, got, want, or_want);
    else
        print("FAIL %s: got 0x%lx want 0x%lx\n", name, got, want);
}

void check(const char *name, int64_t got, int64_t want)
{
    check_either(name, got, want, want);
}

void check_true(const char *name, bool holds)
{
    check(name, holds, 1);
}

void check_range(const char *name, int64_t got, int64_t low, int64_t high)
{
    if (got >= low && got <= high) {
        passed++;
        print("ok %s\n", name);
    } else {
        failed++;
        print("FAIL %s: got %ld want %ld..%ld\n", name, got, low, high);
    }
}

void check_text(const char *name, const char *got, const char *want)
{
    if (!strcmp(got, want)) {
        passed++;
        print("ok %s\n", name);
    } else {
        failed++;
        print("FAIL %s: got \"%s\" want \"%s\"\n", name, got, want);
    }
}

int summary(const char *work)
{
    int failures = (int)failed;
    print("%s: %u passed, %u failed\n", work, passed, failed);
    passed = failed = 0;
    return failures;
}

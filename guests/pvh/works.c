/* The works that only a translated guest can do. */
#include "pvh.h"

static void work_triple(const char *arg)
{
    struct __attribute__((packed)) { uint16_t limit; uint64_t base; } none = { 0, 0 };
    (void)arg;
    print("triple: no interrupt table, and a breakpoint\n");
    console_flush();
    __asm__ volatile("lidt %0; int3" :: "m"(none));
    panic("still here after a triple fault");
}

const struct work machine_works[] = {
    { "grantv2", work_grantv2, true, true },
    { "memory", work_memory, true, true },
    { "triple", work_triple, false, false },
    { NULL, NULL, false, false },
};

/* The works that only a PV guest can do. */
#include "pv.h"

const struct work machine_works[] = {
    { "mmu", work_mmu, true, true },
    { "traps", work_traps, true, true },
    { "syscall", work_syscall, true, true },
    { "legacy", work_legacy, true, true },
    { NULL, NULL, false, false },
};

/* The works that only a PV guest can do. */
#include "pv.h"

const struct work machine_works[] = {
    { NULL, NULL, false, false },
};

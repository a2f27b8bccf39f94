/*
 * work=legacy: hypercalls 6, 16 and 19, which Xen keeps for kernels of before Xen 3.2. work=legacy:time: also the time that a vcpu is told
 * again while it runs on, which takes a second.
 */
#include "pv.h"

#define HC_sched_op_compat 6
#define HC_event_channel_op_compat 16
#define HC_physdev_op_compat 19

static struct evtchn_op { uint32_t cmd, u[6]; } event;
static struct physdev_op { uint64_t cmd, u[2]; } physdev;

static long event_op(uint32_t cmd, uint32_t a, uint32_t b)
{
    event = (struct evtchn_op){ cmd, { a, b } };
    return HYPERCALL(HC_event_channel_op_compat, &event, 0, 0);
}

static long physdev_op(uint64_t cmd, uint64_t a, uint64_t b)
{
    physdev = (struct physdev_op){ cmd, { a, b } };
    return HYPERCALL(HC_physdev_op_compat, &physdev, 0, 0);
}

static void events(void)
{
    check("event.ipi", event_op(EVTCHNOP_bind_ipi, 0, 0), 0);
    uint32_t port = event.u[1];
    check("event.port", port != 0, 1);
    check("event.send", event_op(EVTCHNOP_send, port, 0), 0);
    check("event.status", event_op(EVTCHNOP_status, DOMID_SELF, port), 0);
    check("event.is-ipi", event.u[2], EVTCHNSTAT_ipi);
    check("event.unmask", event_op(EVTCHNOP_unmask, port, 0), 0);
    check("event.close", event_op(EVTCHNOP_close, port, 0), 0);
    check("event.closed", event_op(EVTCHNOP_send, port, 0), -XEN_EINVAL);
    check("event.ipi-nobody", event_op(EVTCHNOP_bind_ipi, 1000, 0), -XEN_ENOENT);
    check("event.reset", event_op(10, DOMID_SELF, 0), -XEN_ENOSYS);
    check("event.init-control", event_op(EVTCHNOP_init_control, 0, 0), -XEN_ENOSYS);
    check("event.unknown", event_op(99, 0, 0), -XEN_ENOSYS);
    check("event.bad-pointer", HYPERCALL(HC_event_channel_op_compat, UNMAPPED, 0, 0), -XEN_EFAULT);
}

static void devices(void)
{
    check("physdev.iopl", physdev_op(6, 1, 0), 0);
    check("physdev.iopl-4", physdev_op(6, 4, 0), -XEN_EINVAL);
    check("physdev.iobitmap", physdev_op(7, (uintptr_t)&physdev, 65536), 0);
    check("physdev.iobitmap-ports", physdev_op(7, (uintptr_t)&physdev, 65537), -XEN_EINVAL);
    check("physdev.iobitmap-none", physdev_op(7, 0, 0), 0);
    check("physdev.unknown", physdev_op(99, 0, 0), -XEN_ENOSYS);
    check("physdev.bad-pointer", HYPERCALL(HC_physdev_op_compat, UNMAPPED, 0, 0), -XEN_EFAULT);
}

/* Waits without a hypercall; a kernel may measure its clock so. Xen calibrates once a second. */
static void time_renewed(void)
{
    volatile uint32_t *version = &this_cpu()->vcpu_info->time.version;
    uint32_t first = *version;
    uint64_t begin = now();
    while (*version == first && now() - begin < 3000 * MS)
        __asm__ volatile("pause");
    check("time.renewed", *version != first, 1);
}

void work_legacy(const char *arg)
{
    check("sched.yield", HYPERCALL(HC_sched_op_compat, SCHEDOP_yield, 0, 0), 0);
    check("sched.poll", HYPERCALL(HC_sched_op_compat, SCHEDOP_poll, UNMAPPED, 0), -XEN_ENOSYS);
    check("sched.unknown", HYPERCALL(HC_sched_op_compat, 99, 0, 0), -XEN_ENOSYS);
    events();
    devices();
    if (*arg)
        time_renewed();
}

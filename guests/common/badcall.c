/* work=badcall: calls a guest has no business making, and the errno Xen gives to each. */
#include "guest.h"

#define BAD ((void *)UNMAPPED)
#define NON_CANONICAL ((void *)0x8000000000000000ul)

static const char constant[16] = "read only";

static void numbers(void)
{
    static const struct { const char *name; unsigned number; } absent[] = {
        { "badcall.set_trap_table", 0 }, { "badcall.mmu_update", 1 }, { "badcall.stack_switch", 3 },
        { "badcall.set_callbacks", 4 }, { "badcall.fpu_taskswitch", 5 }, { "badcall.set_debugreg", 8 },
        { "badcall.hole-11", 11 }, { "badcall.update_va_mapping", 14 }, { "badcall.set_segment_base", 25 },
        { "badcall.nmi_op", 28 }, { "badcall.callback_op", 30 }, { "badcall.tmem_op", 38 },
        { "badcall.hole-47", 47 }, { "badcall.last", HC_LAST }, { "badcall.beyond", 100 }, { "badcall.far", 127 },
    };
    struct catch c;
    for (unsigned i = 0; i < ARRAY_SIZE(absent); i++)
        check(absent[i].name, HYPERCALL(absent[i].number, 0, 0, 0), -XEN_ENOSYS);
    /* Its entry in the hypercall page is UD2 for HVM guests. */
    c.vector = ~0ull;
    if (!catch_fault(&c)) {
        HYPERCALL(HC_iret, 0, 0, 0);
        catch_end();
    }
    check("badcall.iret", (int64_t)c.vector, 6);
    check("badcall.from-user-mode", user_mode_hypercall(), -XEN_EPERM);
}

static void version(void)
{
    struct xen_feature_info features = { 99, 0 };
    char *edge = (char *)map_frame(frame_of(page_alloc()), MAP_WRITE) + PAGE_SIZE;
    unmap_at((uintptr_t)edge);
    check("version.unknown", HYPERCALL(HC_xen_version, 99, 0, 0), -XEN_ENOSYS);
    check("version.bad-pointer", HYPERCALL(HC_xen_version, XENVER_extraversion, BAD, 0), -XEN_EFAULT);
    check("version.non-canonical", HYPERCALL(HC_xen_version, XENVER_extraversion, NON_CANONICAL, 0), -XEN_EFAULT);
    check("version.null", HYPERCALL(HC_xen_version, XENVER_extraversion, 0, 0), -XEN_EFAULT);
    check("version.read-only", HYPERCALL(HC_xen_version, XENVER_extraversion, constant, 0), -XEN_EFAULT);
    check_text("version.read-only-kept", constant, "read only");
    check("version.fits", HYPERCALL(HC_xen_version, XENVER_extraversion, edge - 16, 0), 0);
    check("version.straddles", HYPERCALL(HC_xen_version, XENVER_extraversion, edge - 15, 0), -XEN_EFAULT);
    check("version.features-99", HYPERCALL(HC_xen_version, XENVER_get_features, &features, 0), -XEN_EINVAL);
    check("version.pagesize", HYPERCALL(HC_xen_version, XENVER_pagesize, 0, 0), PAGE_SIZE);
    check("version.pagesize-pointer", HYPERCALL(HC_xen_version, XENVER_pagesize, edge - 8, 0), -XEN_EINVAL);
}

static void sched(void)
{
    evtchn_port_t far = 1000000;
    struct sched_poll poll = { &far, 129, 0 };
    struct sched_watchdog watchdog = { 3, 10 };
    struct sched_remote_shutdown remote = { DOMID_NOBODY, SHUTDOWN_crash };
    check("sched.unknown", HYPERCALL(HC_sched_op, 99, 0, 0), -XEN_ENOSYS);
    check("sched.yield", HYPERCALL(HC_sched_op, SCHEDOP_yield, 0, 0), 0);
    check("sched.shutdown-bad-pointer", HYPERCALL(HC_sched_op, SCHEDOP_shutdown, BAD, 0), -XEN_EFAULT);
    check("sched.poll-too-many", HYPERCALL(HC_sched_op, SCHEDOP_poll, &poll, 0), -XEN_EINVAL);
    poll.nr_ports = 1;
    check("sched.poll-bad-port", HYPERCALL(HC_sched_op, SCHEDOP_poll, &poll, 0), -XEN_EINVAL);
    poll.ports = BAD;
    check("sched.poll-bad-ports", HYPERCALL(HC_sched_op, SCHEDOP_poll, &poll, 0), -XEN_EFAULT);
    check("sched.poll-bad-pointer", HYPERCALL(HC_sched_op, SCHEDOP_poll, BAD, 0), -XEN_EFAULT);
    check("sched.watchdog-3", HYPERCALL(HC_sched_op, SCHEDOP_watchdog, &watchdog, 0), -XEN_EINVAL);
    check("sched.shut-nobody", HYPERCALL(HC_sched_op, SCHEDOP_remote_shutdown, &remote, 0), -XEN_ESRCH);
    check("sched.pin-override", HYPERCALL(HC_sched_op, SCHEDOP_pin_override, BAD, 0), -XEN_EPERM);
}

static void vcpu(void)
{
    struct vcpu_set_periodic_timer fast = { 1000 };
    struct vcpu_register_vcpu_info info = { frame_of(page_alloc()), 0, 0 };
    static struct vcpu_hvm_context context;
    check("vcpu.unknown-vcpu", HYPERCALL(HC_vcpu_op, VCPUOP_is_up, 1000, 0), -XEN_ENOENT);
    check("vcpu.unknown-op", HYPERCALL(HC_vcpu_op, 99, 0, 0), -XEN_ENOSYS);
    check("vcpu.is-up", HYPERCALL(HC_vcpu_op, VCPUOP_is_up, 0, 0), 1);
    check("vcpu.timer-bad-pointer", HYPERCALL(HC_vcpu_op, VCPUOP_set_singleshot_timer, 0, BAD), -XEN_EFAULT);
    check("vcpu.period-too-short", HYPERCALL(HC_vcpu_op, VCPUOP_set_periodic_timer, 0, &fast), -XEN_EINVAL);
    check("vcpu.info-again", HYPERCALL(HC_vcpu_op, VCPUOP_register_vcpu_info, 0, &info), -XEN_EINVAL);
    info.offset = 4;
    check("vcpu.info-misaligned", HYPERCALL(HC_vcpu_op, VCPUOP_register_vcpu_info, 0, &info), -XEN_ENXIO);
    info.offset = 4096 - 56;
    check("vcpu.info-crosses", HYPERCALL(HC_vcpu_op, VCPUOP_register_vcpu_info, 0, &info), -XEN_ENXIO);
    check("vcpu.initialise-again", HYPERCALL(HC_vcpu_op, VCPUOP_initialise, 0, &context), -XEN_EEXIST);
    check("vcpu.initialise-bad-pointer", HYPERCALL(HC_vcpu_op, VCPUOP_initialise, 0, BAD), -XEN_EFAULT);
    check("vcpu.runstate-bad-pointer", HYPERCALL(HC_vcpu_op, VCPUOP_get_runstate_info, 0, BAD), -XEN_EFAULT);
    check("vcpu.nmi-argument", HYPERCALL(HC_vcpu_op, VCPUOP_send_nmi, 0, &info), -XEN_EINVAL);
    check("vcpu.physid", HYPERCALL(HC_vcpu_op, VCPUOP_get_physid, 0, &context), -XEN_EINVAL);
    if (machine.vcpus > 1 && !percpus[1].started) {
        check("vcpu.up-too-early", HYPERCALL(HC_vcpu_op, VCPUOP_up, 1, 0), -XEN_EINVAL);
        check("vcpu.is-down", HYPERCALL(HC_vcpu_op, VCPUOP_is_up, 1, 0), 0);
        check("vcpu.timer-of-another", HYPERCALL(HC_vcpu_op, VCPUOP_set_singleshot_timer, 1, &context), -XEN_EINVAL);
        context.mode = 7;
        check("vcpu.bad-mode", HYPERCALL(HC_vcpu_op, VCPUOP_initialise, 1, &context), -XEN_EINVAL);
        context.mode = VCPU_HVM_MODE_64B;
        check("vcpu.no-paging", HYPERCALL(HC_vcpu_op, VCPUOP_initialise, 1, &context), -XEN_EINVAL);
        context.pad = 1;
        check("vcpu.bad-pad", HYPERCALL(HC_vcpu_op, VCPUOP_initialise, 1, &context), -XEN_EINVAL);
    }
}

static void hvm(void)
{
    const struct { const char *name; unsigned op; struct xen_hvm_param param; long want; } params[] = {
        { "hvm.param-1000", HVMOP_get_param, { DOMID_SELF, 1000, 0 }, -XEN_EINVAL },
        { "hvm.param-private", HVMOP_get_param, { DOMID_SELF, HVM_PARAM_IOREQ_PFN, 0 }, -XEN_EPERM },
        { "hvm.param-deprecated", HVMOP_get_param, { DOMID_SELF, HVM_PARAM_PAE_ENABLED, 0 }, -XEN_EINVAL },
        { "hvm.param-of-nobody", HVMOP_get_param, { DOMID_NOBODY, HVM_PARAM_STORE_PFN, 0 }, -XEN_ESRCH },
        { "hvm.set-console", HVMOP_set_param, { DOMID_SELF, HVM_PARAM_CONSOLE_PFN, 0 }, -XEN_EPERM },
        { "hvm.set-1000", HVMOP_set_param, { DOMID_SELF, 1000, 0 }, -XEN_EINVAL },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(params); i++) {
        struct xen_hvm_param param = params[i].param;
        check(params[i].name, HYPERCALL(HC_hvm_op, params[i].op, &param, 0), params[i].want);
    }
    struct xen_hvm_evtchn_upcall_vector vector = { 0, 5 };
    check("hvm.unknown", HYPERCALL(HC_hvm_op, 99, 0, 0), -XEN_ENOSYS);
    check("hvm.bad-pointer", HYPERCALL(HC_hvm_op, HVMOP_get_param, BAD, 0), -XEN_EFAULT);
    check("hvm.vector-5", HYPERCALL(HC_hvm_op, HVMOP_set_evtchn_upcall_vector, &vector, 0), -XEN_EINVAL);
    vector = (struct xen_hvm_evtchn_upcall_vector){ 1000, 0x80 };
    check("hvm.vector-of-1000", HYPERCALL(HC_hvm_op, HVMOP_set_evtchn_upcall_vector, &vector, 0), -XEN_ENOENT);
    check("hvm.flush-argument", HYPERCALL(HC_hvm_op, HVMOP_flush_tlbs, &vector, 0), -XEN_EINVAL);
    check("hvm.flush", HYPERCALL(HC_hvm_op, HVMOP_flush_tlbs, 0, 0), 0);
}

static void others(void)
{
    static uint8_t zeros[4096];
    check("domctl.bad-pointer", HYPERCALL(HC_domctl, BAD, 0, 0), -XEN_EFAULT);
    check("domctl.version", HYPERCALL(HC_domctl, zeros, 0, 0), -XEN_EACCES);
    check("sysctl.version", HYPERCALL(HC_sysctl, zeros, 0, 0), -XEN_EACCES);
    check("platform.version", HYPERCALL(HC_platform_op, zeros, 0, 0), -XEN_EACCES);
    check("physdev.irq-status", HYPERCALL(HC_physdev_op, 5, zeros, 0), machine.paravirtual ? 0 : -XEN_ENOSYS);
    check("physdev.unknown", HYPERCALL(HC_physdev_op, 99, zeros, 0), -XEN_ENOSYS);
    check("vm-assist.unknown", HYPERCALL(HC_vm_assist, 0, 63, 0), -XEN_EINVAL);

    struct multicall_entry calls[3] = {
        { .op = HC_xen_version, .args = { XENVER_version } },
        { .op = HC_LAST },
        { .op = HC_multicall, .args = { (uintptr_t)zeros, 1 } },
    };
    check("multicall.runs", HYPERCALL(HC_multicall, calls, 3, 0), 0);
    check("multicall.first", (int64_t)calls[0].result, machine.xen_version);
    check("multicall.unknown", (int64_t)calls[1].result, -XEN_ENOSYS);
    check("multicall.nested", (int64_t)calls[2].result, -XEN_EINVAL);
    check("multicall.empty", HYPERCALL(HC_multicall, calls, 0, 0), 0);
    check("multicall.bad-pointer", HYPERCALL(HC_multicall, BAD, 1, 0), -XEN_EFAULT);
}

void work_badcall(const char *arg)
{
    (void)arg;
    if (!machine.paravirtual)
        numbers();
    version();
    sched();
    vcpu();
    if (!machine.paravirtual)
        hvm();
    others();
}

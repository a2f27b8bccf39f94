/* work=hello: a short tour of the machine: what is there, and whether it works. */
#include <stdarg.h>
#include "guest.h"

static void row(const char *what, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void row(const char *what, const char *format, ...)
{
    char text[240];
    va_list args;
    va_start(args, format);
    vformat_into(text, sizeof(text), format, args);
    va_end(args);
    print("%-10s %s\n", what, text);
}

static void show_processor(void)
{
    uint32_t r[4];
    char name[49];
    cpuid(0x80000000, 0, r);
    if (r[0] >= 0x80000004) {
        for (unsigned i = 0; i < 3; i++) {
            cpuid(0x80000002 + i, 0, r);
            memcpy(name + 16 * i, r, 16);
        }
        name[48] = 0;
        const char *start = name;
        while (*start == ' ')
            start++;
        row("processor", "%s", start);
    }
}

static void show_xen(void)
{
    uint32_t r[4];
    char extra[16] = "", caps[1024] = "";
    struct xen_feature_info features = { 0, 0 };
    long version = HYPERCALL(HC_xen_version, XENVER_version, 0, 0);
    HYPERCALL(HC_xen_version, XENVER_extraversion, extra, 0);
    HYPERCALL(HC_xen_version, XENVER_capabilities, caps, 0);
    HYPERCALL(HC_xen_version, XENVER_get_features, &features, 0);
    cpuid(machine.cpuid_base + 4, 0, r);
    uint32_t top[4];
    cpuid(machine.cpuid_base, 0, top);
    row("xen", "%ld.%ld%s, cpuid at 0x%x, %u leaves", version >> 16, version & 0xffff, extra, machine.cpuid_base,
        top[0] - machine.cpuid_base);
    row("features", "0x%x, cpuid flags 0x%x", features.submap, r[0]);
    row("supports", "%s", caps);
    check("hello.version-agrees", version, machine.xen_version);
    uint32_t translated = 1u << XENFEAT_auto_translated_physmap | 1u << XENFEAT_hvm_callback_vector | 1u << XENFEAT_hvm_safe_pvclock;
    uint32_t direct = 1u << XENFEAT_mmu_pt_update_preserve_ad | 1u << XENFEAT_highmem_assist | 1u << XENFEAT_gnttab_map_avail_bits;
    uint32_t want = (machine.paravirtual ? direct : translated) | 1u << XENFEAT_memory_op_vnode_supported;
    uint32_t not = machine.paravirtual ? translated : direct;
    check("hello.features", features.submap & (want | not), want);
}

static void show_domain(void)
{
    static const char *const kinds[] = { "none", "ram", "reserved", "acpi", "nvs", "bad" };
    row("domain", "%u, %s, %u vcpu%s, %lu KiB", machine.domid, machine.kind, machine.vcpus, machine.vcpus == 1 ? "" : "s",
        machine.ram >> 10);
    for (unsigned i = 0; i < machine.memmap_entries; i++) {
        const struct memmap_entry *e = &machine.memmap[i];
        row("memory", "0x%09lx-0x%09lx %s", e->addr, e->addr + e->size - 1, e->type < 6 ? kinds[e->type] : "other");
    }
}

static void tour_memory(void)
{
    static struct e820_entry map[32];
    struct xen_memory_map op = { ARRAY_SIZE(map), map };
    domid_t self = DOMID_SELF;
    check("hello.memory-map", HYPERCALL(HC_memory_op, XENMEM_memory_map, &op, 0), 0);
    uint64_t ram = 0;
    for (unsigned i = 0; i < op.nr_entries; i++)
        if (map[i].type == MEMMAP_RAM)
            ram += map[i].size;
    check("hello.memory-map-is-start-info's", (int64_t)ram, (int64_t)machine.ram);
    check_range("hello.reservation", HYPERCALL(HC_memory_op, XENMEM_current_reservation, &self, 0),
                (int64_t)(machine.ram >> 12) - 64, (int64_t)(machine.ram >> 12) + 1024);
}

static void tour_events(void)
{
    struct percpu *cpu = this_cpu();
    uint32_t before = cpu->upcalls;
    check("hello.shared-info", machine.shared != NULL, 1);
    uint64_t t0 = now(), c0 = tsc();
    check_true("hello.timer-fires", sleep_until(t0 + 2 * MS));
    uint64_t t1 = now();
    check_true("hello.timer-not-early", t1 >= t0 + 2 * MS);
    check_true("hello.tsc-runs", tsc() > c0);
    check_true("hello.upcall-came", cpu->upcalls != before);
    row("clock", "%lu s since 1970, up %lu ms", wallclock(), t1 / MS);
    check_true("hello.wall-clock-set", wallclock() > 1000000000);
}

static void tour_xenstore(void)
{
    char name[64] = "", value[64], path[64];
    uint32_t tx;
    check_true("hello.xenstore-name", xs_read(0, "name", name, sizeof(name)) > 0);
    long target = xs_read(0, "memory/target", value, sizeof(value));
    row("xenstore", "name \"%s\", memory/target %s KiB", name, target > 0 ? value : "?");
    format_into(path, sizeof(path), "/local/domain/%u", machine.domid);
    char home[64] = "", number[16];
    int n = format_into(number, sizeof(number), "%u", machine.domid);
    xs_request(XS_GET_DOMAIN_PATH, 0, number, (size_t)n + 1, home, sizeof(home));
    check_text("hello.domain-path", home, path);
    check("hello.transaction-start", xs_start(&tx), 0);
    check("hello.transaction-write", xs_write(tx, "data/hello", "from the guest"), 0);
    check("hello.not-yet-visible", xs_read(0, "data/hello", value, sizeof(value)), -XEN_ENOENT);
    check("hello.transaction-commit", xs_end(tx, true), 0);
    value[0] = 0;
    xs_read(0, "data/hello", value, sizeof(value));
    check_text("hello.visible", value, "from the guest");
    check("hello.removed", xs_path(XS_RM, 0, "data/hello"), 0);
}

static void second_vcpu(struct percpu *cpu)
{
    irq_disable();
    while (!cpu->stop)
        irq_wait();
    irq_enable();
}

static void tour_vcpus(void)
{
    if (machine.vcpus < 2)
        return;
    check("hello.vcpu1-starts", start_vcpu(1, START_BY_VCPUOP, second_vcpu), 0);
    struct percpu *cpu = &percpus[1];
    uint64_t deadline = now() + 100 * MS;
    while (!cpu->online && now() < deadline)
        HYPERCALL(HC_sched_op, SCHEDOP_yield, 0, 0);
    check_true("hello.vcpu1-online", cpu->online);
    check("hello.vcpu1-is-up", HYPERCALL(HC_vcpu_op, VCPUOP_is_up, 1, 0), 1);
    event_send(cpu->ipi_port);
    while (!cpu->ipis && now() < deadline)
        HYPERCALL(HC_sched_op, SCHEDOP_yield, 0, 0);
    check_true("hello.ipi-arrives", cpu->ipis != 0);
    cpu->stop = true;
    event_send(cpu->ipi_port);
    while (HYPERCALL(HC_vcpu_op, VCPUOP_is_up, 1, 0) == 1 && now() < deadline)
        HYPERCALL(HC_sched_op, SCHEDOP_yield, 0, 0);
    check("hello.vcpu1-down", HYPERCALL(HC_vcpu_op, VCPUOP_is_up, 1, 0), 0);
}

void work_hello(const char *arg)
{
    (void)arg;
    print("Xenoscope guest kernel, %s\n", machine.kind);
    show_processor();
    if (machine.xen) {
        show_xen();
        show_domain();
    } else {
        print("no Xen: only what the processor can do alone\n");
        show_domain();
    }
    cpu_self_test();
    apic_test();
    if (machine.xen) {
        tour_memory();
        tour_events();
        tour_xenstore();
        tour_vcpus();
    }
}

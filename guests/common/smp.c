/*
 * work=smp[:vcpus]: starts the other vcpus (odd ones, and all of a PV guest, by VCPUOP_initialise, the others by INIT-SIPI-SIPI),
 * lets them count together and send each other interrupts, takes them down and up again.
 */
#include "guest.h"

#define COUNTS 2000

static volatile uint64_t counter;
static volatile unsigned go;

/* A PV guest has no local APIC, a machine without Xen has nothing else. */
static enum start_how how_to_start(unsigned id)
{
    return machine.paravirtual || (machine.xen && id & 1) ? START_BY_VCPUOP : START_BY_SIPI;
}

static void give_way(void)
{
    if (machine.xen)
        HYPERCALL(HC_sched_op, SCHEDOP_yield, 0, 0);
    else
        relax();
}

static bool wait_for(volatile uint32_t *value, uint32_t want)
{
    uint64_t deadline = machine.xen ? now() + 500 * MS : tsc() + 2000000000ul;
    while (*value != want && (machine.xen ? now() : tsc()) < deadline)
        give_way();
    return *value == want;
}

static bool wait_online(struct percpu *cpu, bool want)
{
    uint64_t deadline = machine.xen ? now() + 500 * MS : tsc() + 2000000000ul;
    while (cpu->online != want && (machine.xen ? now() : tsc()) < deadline)
        give_way();
    return cpu->online == want;
}

static void count_and_wait(struct percpu *cpu)
{
    while (!go)
        relax();
    for (unsigned i = 0; i < COUNTS; i++)
        __atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&go, 1, __ATOMIC_SEQ_CST);
    irq_disable();
    while (!cpu->stop)
        irq_wait();
    irq_enable();
}

static void only_wait(struct percpu *cpu)
{
    irq_disable();
    while (!cpu->stop)
        irq_wait();
    irq_enable();
}

static void nudge(struct percpu *cpu)
{
    if (machine.xen)
        event_send(cpu->ipi_port);
    else
        apic_send(cpu->id, TEST_VECTOR);
}

/* check() with the vcpu's number in the name. */
static void check_vcpu(const char *what, unsigned id, int64_t got, int64_t want)
{
    char name[48];
    format_into(name, sizeof(name), "smp.vcpu%u-%s", id, what);
    check(name, got, want);
}

void work_smp(const char *arg)
{
    unsigned n = machine.vcpus;
    if (!machine.xen && *arg)
        n = (unsigned)parse_number(arg);
    if (n > MAX_VCPUS)
        n = MAX_VCPUS;
    print("smp: %u vcpus\n", n);
    if (machine.xen && machine.vcpus < MAX_VCPUS)
        check("smp.no-such-vcpu", HYPERCALL(HC_vcpu_op, VCPUOP_up, machine.vcpus, 0), -XEN_ENOENT);
    for (unsigned id = 1; id < n; id++) {
        enum start_how how = how_to_start(id);
        check_vcpu(how == START_BY_VCPUOP ? "start-by-vcpuop" : "start-by-sipi", id, start_vcpu(id, how, count_and_wait), 0);
        check_vcpu("online", id, wait_online(&percpus[id], true), 1);
        if (machine.xen)
            check_vcpu("is-up", id, HYPERCALL(HC_vcpu_op, VCPUOP_is_up, id, 0), 1);
    }
    go = 1;
    check_true("smp.all-counted", wait_for((volatile uint32_t *)&go, n));
    check("smp.count", (int64_t)counter, (int64_t)(n - 1) * COUNTS);

    for (unsigned id = 1; id < n; id++) {
        struct percpu *cpu = &percpus[id];
        uint32_t before;
        if (!machine.paravirtual) {
            before = cpu->interrupts[TEST_VECTOR];
            apic_send(id, TEST_VECTOR);
            check_vcpu("apic-ipi", id, wait_for(&cpu->interrupts[TEST_VECTOR], before + 1), 1);
        }
        if (!machine.xen)
            continue;
        bool all = true;
        for (unsigned i = 0; i < 20 && all; i++) {
            before = cpu->ipis;
            event_send(cpu->ipi_port);
            all = wait_for(&cpu->ipis, before + 1);
        }
        check_vcpu("event-ipis", id, all, 1);
    }

    for (unsigned id = 1; id < n; id++) {
        struct percpu *cpu = &percpus[id];
        cpu->stop = true;
        nudge(cpu);
        check_vcpu("stops", id, wait_online(cpu, false), 1);
        if (!machine.xen)
            continue;
        uint64_t deadline = now() + 500 * MS;
        while (HYPERCALL(HC_vcpu_op, VCPUOP_is_up, id, 0) == 1 && now() < deadline)
            give_way();
        check_vcpu("is-down", id, HYPERCALL(HC_vcpu_op, VCPUOP_is_up, id, 0), 0);
        /* Up again: by VCPUOP_up it goes on where it was, by INIT-SIPI-SIPI it begins anew. */
        check_vcpu("again", id, start_vcpu(id, how_to_start(id), only_wait), 0);
        check_vcpu("online-again", id, wait_online(cpu, true), 1);
        uint32_t before = cpu->ipis;
        event_send(cpu->ipi_port);
        check_vcpu("ipi-again", id, wait_for(&cpu->ipis, before + 1), 1);
    }
}

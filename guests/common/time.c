/* Xen's clocks: system time from the TSC by vcpu_time_info, wall clock from shared_info, the single-shot timer. */
#include "guest.h"

uint64_t now(void)
{
    struct percpu *cpu = this_cpu();
    volatile struct vcpu_time_info *t;
    uint32_t version;
    uint64_t delta, result;
    if (cpu->vcpu_info)
        t = &cpu->vcpu_info->time;
    else if (machine.shared)
        t = &machine.shared->vcpu[cpu->id].time;
    else
        return tsc(); /* no Xen: any clock that runs will do */
    do {
        version = __atomic_load_n(&t->version, __ATOMIC_ACQUIRE);
        delta = tsc() - t->tsc_timestamp;
        delta = t->tsc_shift < 0 ? delta >> -t->tsc_shift : delta << t->tsc_shift;
        result = t->system_time + (uint64_t)((unsigned __int128)delta * t->tsc_to_system_mul >> 32);
        barrier();
    } while (version & 1 || version != t->version);
    return result;
}

uint64_t wallclock(void)
{
    volatile struct shared_info *s = machine.shared;
    uint32_t version;
    uint64_t ns;
    do {
        version = __atomic_load_n(&s->wc_version, __ATOMIC_ACQUIRE);
        ns = ((uint64_t)s->wc_sec_hi << 32 | s->wc_sec) * 1000000000ull + s->wc_nsec;
        barrier();
    } while (version & 1 || version != s->wc_version);
    return (ns + now()) / 1000000000ull;
}

static void tick(evtchn_port_t port, struct percpu *cpu)
{
    (void)port;
    cpu->ticks++;
}

void timer_init(struct percpu *cpu)
{
    HYPERCALL(HC_vcpu_op, VCPUOP_stop_periodic_timer, cpu->id, 0);
    if (event_bind_virq(VIRQ_TIMER, cpu->id, &cpu->timer_port) == 0)
        event_bind(cpu->timer_port, cpu->id, tick);
}

bool sleep_until(uint64_t when)
{
    struct percpu *cpu = this_cpu();
    uint32_t before = cpu->ticks;
    struct vcpu_set_singleshot_timer op = { when, 0 };
    irq_disable();
    if (HYPERCALL(HC_vcpu_op, VCPUOP_set_singleshot_timer, cpu->id, &op) == 0)
        while (cpu->ticks == before && now() < when + 1000 * MS)
            irq_wait();
    irq_enable();
    return cpu->ticks != before;
}

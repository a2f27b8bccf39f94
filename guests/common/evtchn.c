/*
 * work=evtchn: event channels. First in the two-level form: states, errors, masks, loopback;
 * then the same domain changes to FIFO queues: order within a priority, priorities, masks.
 */
#include "guest.h"

static unsigned order[16], order_length;

static void note(evtchn_port_t port, struct percpu *cpu)
{
    (void)cpu;
    if (order_length < ARRAY_SIZE(order))
        order[order_length++] = port;
}

static long event_op(unsigned op, void *arg)
{
    return HYPERCALL(HC_event_channel_op, op, arg, 0);
}

static int64_t status(evtchn_port_t port)
{
    struct evtchn_status s = { .dom = DOMID_SELF, .port = port };
    long error = event_op(EVTCHNOP_status, &s);
    return error ? error : s.status;
}

static void errors(void)
{
    struct percpu *cpu = this_cpu();
    evtchn_port_t port;
    struct evtchn_status s = { .dom = DOMID_NOBODY, .port = 1 };
    struct evtchn_alloc_unbound unbound = { .dom = DOMID_NOBODY, .remote_dom = 0 };
    struct evtchn_bind_interdomain inter = { .remote_dom = DOMID_NOBODY, .remote_port = 1 };
    struct evtchn_bind_vcpu to = { cpu->timer_port, 0 };
    struct evtchn_set_priority priority = { cpu->timer_port, 0 };
    struct evtchn_expand_array expand = { frame_of(page_alloc()) };
    check("evtchn.unknown", event_op(99, &s), -XEN_ENOSYS);
    check("evtchn.bad-pointer", event_op(EVTCHNOP_send, (void *)UNMAPPED), -XEN_EFAULT);
    check("evtchn.send-0", event_send(0), -XEN_EINVAL);
    check("evtchn.send-far", event_send(100000), -XEN_EINVAL);
    check("evtchn.send-virq", event_send(cpu->timer_port), -XEN_EINVAL);
    check("evtchn.close-far", event_close(100000), -XEN_EINVAL);
    check("evtchn.virq-99", event_bind_virq(99, 0, &port), -XEN_EINVAL);
    check("evtchn.virq-twice", event_bind_virq(VIRQ_TIMER, 0, &port), -XEN_EEXIST);
    check("evtchn.virq-global", event_bind_virq(VIRQ_CONSOLE, 1, &port), -XEN_EINVAL);
    check("evtchn.virq-no-vcpu", event_bind_virq(VIRQ_DEBUG, 1000, &port), -XEN_ENOENT);
    check("evtchn.ipi-no-vcpu", event_bind_ipi(1000, &port), -XEN_ENOENT);
    check("evtchn.status-nobody", event_op(EVTCHNOP_status, &s), -XEN_ESRCH);
    check("evtchn.status-far", status(100000), -XEN_EINVAL);
    check("evtchn.status-virq", status(cpu->timer_port), EVTCHNSTAT_virq);
    check_either("evtchn.status-console", status(machine.console_port), EVTCHNSTAT_interdomain, EVTCHNSTAT_unbound);
    check("evtchn.unbound-nobody", event_op(EVTCHNOP_alloc_unbound, &unbound), -XEN_ESRCH);
    check("evtchn.interdomain-nobody", event_op(EVTCHNOP_bind_interdomain, &inter), -XEN_ESRCH);
    inter = (struct evtchn_bind_interdomain){ .remote_dom = DOMID_SELF, .remote_port = cpu->timer_port };
    check("evtchn.interdomain-virq", event_op(EVTCHNOP_bind_interdomain, &inter), -XEN_EINVAL);
    check("evtchn.move-virq", event_op(EVTCHNOP_bind_vcpu, &to), -XEN_EINVAL);
    to.vcpu = 1000;
    check("evtchn.move-no-vcpu", event_op(EVTCHNOP_bind_vcpu, &to), -XEN_ENOENT);
    check_true("evtchn.unmask-far", !event_unmask(100000));
    check("evtchn.no-priorities", event_op(EVTCHNOP_set_priority, &priority), -XEN_ENOSYS);
    check("evtchn.no-array", event_op(EVTCHNOP_expand_array, &expand), -XEN_EOPNOTSUPP);
}

static void two_level(void)
{
    evtchn_port_t a, again;
    check("evtchn.bind-ipi", event_bind_ipi(0, &a), 0);
    check("evtchn.status-ipi", status(a), EVTCHNSTAT_ipi);
    check("evtchn.close", event_close(a), 0);
    check("evtchn.status-closed", status(a), EVTCHNSTAT_closed);
    check("evtchn.send-closed", event_send(a), -XEN_EINVAL);
    check("evtchn.close-twice", event_close(a), -XEN_EINVAL);
    event_bind_ipi(0, &again);
    check("evtchn.lowest-free-port", again, a);

    event_bind(a, 0, note);
    order_length = 0;
    event_send(a);
    check("evtchn.upcall", order_length, 1);
    event_mask(a);
    event_send(a);
    event_send(a);
    check("evtchn.masked", order_length, 1);
    check_true("evtchn.masked-pending", event_test(a));
    event_unmask(a);
    check("evtchn.unmasked", order_length, 2);
    check_true("evtchn.once", !event_test(a));
    irq_disable();
    event_send(a);
    check("evtchn.held-back", order_length, 2);
    check("evtchn.upcall-pending", this_cpu()->vcpu_info->upcall_pending, 1);
    irq_enable();
    __asm__ volatile("nop");
    check("evtchn.delivered", order_length, 3);
    event_mask(a);
    event_send(a);
    check("evtchn.poll-pending", event_poll(a, 0), 0);
    event_clear(a);
    uint64_t until = now() + MS;
    check("evtchn.poll-timeout", event_poll(a, until), 0);
    check_true("evtchn.poll-waited", now() >= until);
    event_close(a);
}

static void loopback(void)
{
    struct evtchn_alloc_unbound one = { .dom = DOMID_SELF, .remote_dom = DOMID_SELF };
    check("loop.alloc", event_op(EVTCHNOP_alloc_unbound, &one), 0);
    check("loop.unbound", status(one.port), EVTCHNSTAT_unbound);
    check("loop.send-unbound", event_send(one.port), 0);
    struct evtchn_bind_interdomain two = { .remote_dom = DOMID_SELF, .remote_port = one.port };
    check("loop.bind", event_op(EVTCHNOP_bind_interdomain, &two), 0);
    check("loop.status", status(one.port), EVTCHNSTAT_interdomain);
    check_true("loop.pending-at-once", event_clear(two.local_port));
    struct evtchn_bind_interdomain third = { .remote_dom = DOMID_SELF, .remote_port = one.port };
    check("loop.bind-taken", event_op(EVTCHNOP_bind_interdomain, &third), -XEN_EINVAL);
    event_send(two.local_port);
    check_true("loop.other-end", event_clear(one.port) && !event_test(two.local_port));
    event_send(one.port);
    check_true("loop.this-end", event_clear(two.local_port) && !event_test(one.port));
    check("loop.close", event_close(two.local_port), 0);
    check("loop.unbound-again", status(one.port), EVTCHNSTAT_unbound);
    check("loop.close-unbound", event_close(one.port), 0);
}

/*
 * The upcall as an interrupt of the local APIC, with EOI. It comes besides the domain's own vector, which is
 * injected first as long as upcall_pending is set, and which a PVH domain cannot take back once it is set
 * (hvm_vcpu_has_pending_irq, hvm_set_callback_via).
 */
static void through_apic(void)
{
    struct percpu *cpu = this_cpu();
    struct xen_hvm_evtchn_upcall_vector op = { 0, UPCALL_APIC_VECTOR };
    evtchn_port_t a;
    event_bind_ipi(0, &a);
    event_bind(a, 0, note);
    check("upcall.set-vector", HYPERCALL(HC_hvm_op, HVMOP_set_evtchn_upcall_vector, &op, 0), 0);
    uint32_t direct = cpu->interrupts[UPCALL_VECTOR], apic = cpu->interrupts[UPCALL_APIC_VECTOR];
    order_length = 0;
    event_send(a);
    check("upcall.delivered", order_length, 1);
    check("upcall.by-apic", (int64_t)cpu->interrupts[UPCALL_APIC_VECTOR] - apic, 1);
    check("upcall.direct-too", (int64_t)cpu->interrupts[UPCALL_VECTOR] - direct, 1);
    event_close(a);
}

static void check_order(const char *name, evtchn_port_t a, evtchn_port_t b, evtchn_port_t c)
{
    uint64_t got = 0, want = (uint64_t)a << 32 | b << 16 | c;
    for (unsigned i = 0; i < order_length; i++)
        got = got << 16 | order[i];
    check(name, (int64_t)got, (int64_t)want);
    order_length = 0;
}

static void fifo(void)
{
    struct evtchn_init_control bad = { frame_of(page_alloc()), 0, 1000, 0, { 0 } };
    check("fifo.no-vcpu", event_op(EVTCHNOP_init_control, &bad), -XEN_ENOENT);
    bad.vcpu = 0;
    bad.offset = PAGE_SIZE - 64;
    check("fifo.crosses", event_op(EVTCHNOP_init_control, &bad), -XEN_EINVAL);
    bad.offset = 4;
    check("fifo.misaligned", event_op(EVTCHNOP_init_control, &bad), -XEN_EINVAL);
    check("fifo.start", event_fifo_start(), 0);
    check("fifo.link-bits", event_link_bits, 17);
    bad.offset = 0;
    check("fifo.twice", event_op(EVTCHNOP_init_control, &bad), -XEN_EINVAL);

    check_true("fifo.timer-still-works", sleep_until(now() + MS));

    struct evtchn_expand_array expand = { machine.hole >> 12 };
    check("fifo.array-of-hole", event_op(EVTCHNOP_expand_array, &expand), -XEN_EINVAL);
    expand.array_gfn = frame_of(page_alloc());
    check("fifo.second-page", event_op(EVTCHNOP_expand_array, &expand), 0);

    evtchn_port_t a, b, c;
    event_bind_ipi(0, &a);
    event_bind_ipi(0, &b);
    event_bind_ipi(0, &c);
    event_bind(a, 0, note);
    event_bind(b, 0, note);
    event_bind(c, 0, note);
    order_length = 0;

    irq_disable();
    event_send(c);
    event_send(a);
    event_send(b);
    event_send(a);
    check("fifo.ready", fifo_control[0]->ready, 1u << FIFO_PRIORITY_DEFAULT);
    check("fifo.head", fifo_control[0]->head[FIFO_PRIORITY_DEFAULT], c);
    check("fifo.linked", fifo_words[c] & (FIFO_PENDING | FIFO_MASKED | FIFO_LINKED | FIFO_LINK_MASK),
          FIFO_PENDING | FIFO_LINKED | a);
    check("fifo.tail", fifo_words[b] & (FIFO_LINKED | FIFO_LINK_MASK), FIFO_LINKED);
    irq_enable();
    __asm__ volatile("nop");
    check_order("fifo.order-of-arrival", c, a, b);

    struct evtchn_set_priority p = { a, 0 };
    check("fifo.priority-0", event_op(EVTCHNOP_set_priority, &p), 0);
    p = (struct evtchn_set_priority){ b, FIFO_PRIORITY_MIN };
    check("fifo.priority-15", event_op(EVTCHNOP_set_priority, &p), 0);
    p.priority = 16;
    check("fifo.priority-16", event_op(EVTCHNOP_set_priority, &p), -XEN_EINVAL);
    p.port = 100000;
    check("fifo.priority-no-port", event_op(EVTCHNOP_set_priority, &p), -XEN_EINVAL);
    irq_disable();
    event_send(b);
    event_send(c);
    event_send(a);
    check("fifo.ready-three", fifo_control[0]->ready, 1 | 1 << FIFO_PRIORITY_DEFAULT | 1 << FIFO_PRIORITY_MIN);
    irq_enable();
    __asm__ volatile("nop");
    check_order("fifo.order-of-priority", a, c, b);

    event_mask(a);
    event_send(a);
    check("fifo.masked", order_length, 0);
    check("fifo.masked-not-linked", fifo_words[a] & (FIFO_PENDING | FIFO_LINKED), FIFO_PENDING);
    event_unmask(a);
    check_order("fifo.unmasked", 0, 0, a);
    /* Masked while in the queue: it stays linked, the consumer drops it, unmasking brings it again. */
    irq_disable();
    event_send(a);
    event_mask(a);
    irq_enable();
    __asm__ volatile("nop");
    check("fifo.masked-late", order_length, 0);
    event_unmask(a);
    check_order("fifo.unmasked-late", 0, 0, a);
    check("fifo.close", event_close(c), 0);
    event_close(a);
    event_close(b);
}

void work_evtchn(const char *arg)
{
    (void)arg;
    errors();
    two_level();
    loopback();
    if (!machine.paravirtual)
        through_apic();
    fifo();
}

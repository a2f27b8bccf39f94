/*
 * Event channels, in both forms: two-level bitmaps in shared_info, and after
 * event_fifo_start() the FIFO queues. Ports of the console and of xenstore stay
 * masked and are polled; everything else comes by upcall to the vcpu it is bound to.
 */
#include "guest.h"

bool event_is_fifo;
uint8_t event_link_bits;
uint32_t *fifo_words;
struct evtchn_fifo_control *fifo_control[MAX_VCPUS];
static uint32_t fifo_head[MAX_VCPUS][FIFO_QUEUES];

#define PORTS 1024 /* one page of FIFO event words */
static struct {
    event_handler *handler;
    unsigned vcpu;
} bindings[PORTS];

static bool bit_set(uint64_t *map, unsigned bit)
{
    return __atomic_fetch_or(&map[bit / 64], 1ull << bit % 64, __ATOMIC_SEQ_CST) >> bit % 64 & 1;
}

static bool bit_clear(uint64_t *map, unsigned bit)
{
    return __atomic_fetch_and(&map[bit / 64], ~(1ull << bit % 64), __ATOMIC_SEQ_CST) >> bit % 64 & 1;
}

void event_mask(evtchn_port_t port)
{
    if (event_is_fifo)
        __atomic_fetch_or(&fifo_words[port], FIFO_MASKED, __ATOMIC_SEQ_CST);
    else
        bit_set(machine.shared->mask, port);
}

/* By hypercall, so that Xen looks whether the event is pending. */
bool event_unmask(evtchn_port_t port)
{
    struct evtchn_port_op op = { port };
    return HYPERCALL(HC_event_channel_op, EVTCHNOP_unmask, &op, 0) == 0;
}

bool event_test(evtchn_port_t port)
{
    if (event_is_fifo)
        return __atomic_load_n(&fifo_words[port], __ATOMIC_ACQUIRE) & FIFO_PENDING;
    return __atomic_load_n(&machine.shared->pending[port / 64], __ATOMIC_ACQUIRE) >> port % 64 & 1;
}

bool event_clear(evtchn_port_t port)
{
    if (event_is_fifo)
        return __atomic_fetch_and(&fifo_words[port], ~FIFO_PENDING, __ATOMIC_SEQ_CST) & FIFO_PENDING;
    return bit_clear(machine.shared->pending, port);
}

long event_send(evtchn_port_t port)
{
    struct evtchn_port_op op = { port };
    return HYPERCALL(HC_event_channel_op, EVTCHNOP_send, &op, 0);
}

long event_close(evtchn_port_t port)
{
    struct evtchn_port_op op = { port };
    if (port < PORTS)
        bindings[port].handler = NULL;
    return HYPERCALL(HC_event_channel_op, EVTCHNOP_close, &op, 0);
}

long event_bind_ipi(unsigned vcpu, evtchn_port_t *port)
{
    struct evtchn_bind_ipi op = { .vcpu = vcpu };
    long error = HYPERCALL(HC_event_channel_op, EVTCHNOP_bind_ipi, &op, 0);
    *port = op.port;
    return error;
}

long event_bind_virq(unsigned virq, unsigned vcpu, evtchn_port_t *port)
{
    struct evtchn_bind_virq op = { .virq = virq, .vcpu = vcpu };
    long error = HYPERCALL(HC_event_channel_op, EVTCHNOP_bind_virq, &op, 0);
    *port = op.port;
    return error;
}

long event_poll(evtchn_port_t port, uint64_t timeout_ns)
{
    struct sched_poll op = { &port, 1, timeout_ns };
    return HYPERCALL(HC_sched_op, SCHEDOP_poll, &op, 0);
}

void event_bind(evtchn_port_t port, unsigned vcpu, event_handler *handler)
{
    if (port >= PORTS)
        panic("event port out of range");
    bindings[port].handler = handler;
    bindings[port].vcpu = vcpu;
    event_unmask(port);
}

static void deliver(evtchn_port_t port, struct percpu *cpu)
{
    if (port < PORTS && bindings[port].handler)
        bindings[port].handler(port, cpu);
}

static void upcall_2level(struct percpu *cpu)
{
    struct shared_info *shared = machine.shared;
    uint64_t words = __atomic_exchange_n(&cpu->vcpu_info->pending_sel, 0, __ATOMIC_SEQ_CST);
    for (; words; words &= words - 1) {
        unsigned word = (unsigned)__builtin_ctzll(words);
        uint64_t ready = __atomic_load_n(&shared->pending[word], __ATOMIC_ACQUIRE) & ~shared->mask[word];
        for (; ready; ready &= ready - 1) {
            evtchn_port_t port = word * 64 + (unsigned)__builtin_ctzll(ready);
            /* The word may hold events of other vcpus: they have been told themselves. */
            if (port < PORTS && bindings[port].handler && bindings[port].vcpu != cpu->id)
                continue;
            bit_clear(shared->pending, port);
            deliver(port, cpu);
        }
    }
}

/* Takes the first event off a queue, as the ABI prescribes; returns its port, 0 if the queue is empty. */
static evtchn_port_t fifo_take(struct evtchn_fifo_control *control, uint32_t *head_cache, unsigned queue, uint32_t *ready)
{
    uint32_t head = *head_cache;
    if (!head) {
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        head = control->head[queue];
        if (!head) {
            *ready &= ~(1u << queue);
            return 0;
        }
    }
    uint32_t *word = &fifo_words[head];
    uint32_t old = __atomic_load_n(word, __ATOMIC_ACQUIRE);
    /* LINKED and the link go in one step; Xen may be appending behind us meanwhile. */
    while (!__atomic_compare_exchange_n(word, &old, old & ~(FIFO_LINKED | FIFO_LINK_MASK), false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_ACQUIRE))
        ;
    *head_cache = old & FIFO_LINK_MASK;
    if (!*head_cache)
        *ready &= ~(1u << queue);
    return old & FIFO_PENDING && !(old & FIFO_MASKED) ? head : 0;
}

static void upcall_fifo(struct percpu *cpu)
{
    struct evtchn_fifo_control *control = fifo_control[cpu->id];
    uint32_t ready = __atomic_exchange_n(&control->ready, 0, __ATOMIC_SEQ_CST);
    while (ready) {
        unsigned queue = (unsigned)__builtin_ctz(ready);
        evtchn_port_t port = fifo_take(control, &fifo_head[cpu->id][queue], queue, &ready);
        if (port) {
            event_clear(port);
            deliver(port, cpu);
        }
        ready |= __atomic_exchange_n(&control->ready, 0, __ATOMIC_SEQ_CST);
    }
}

void event_upcall(struct percpu *cpu)
{
    if (!cpu->vcpu_info)
        return;
    cpu->upcalls++;
    while (__atomic_exchange_n(&cpu->vcpu_info->upcall_pending, 0, __ATOMIC_SEQ_CST))
        event_is_fifo ? upcall_fifo(cpu) : upcall_2level(cpu);
}

void event_init(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(machine.shared->mask); i++)
        machine.shared->mask[i] = ~0ull;
}

/* Gives a vcpu its vcpu_info in memory of our own. */
void event_cpu_init(struct percpu *cpu)
{
    static struct vcpu_info *infos;
    if (!infos)
        infos = page_alloc();
    struct vcpu_info *info = &infos[cpu->id];
    struct vcpu_register_vcpu_info op = { frame_of(infos), (uint32_t)((uintptr_t)info % PAGE_SIZE), 0 };
    if (HYPERCALL(HC_vcpu_op, VCPUOP_register_vcpu_info, cpu->id, &op) == 0)
        cpu->vcpu_info = info;
    else
        cpu->vcpu_info = &machine.shared->vcpu[cpu->id];
}

/* Changes to the FIFO form, for all vcpus. What is bound stays bound, and masked as it was. */
long event_fifo_start(void)
{
    uint32_t *words = page_alloc();
    for (unsigned i = 0; i < PORTS; i++)
        words[i] = machine.shared->mask[i / 64] >> i % 64 & 1 ? FIFO_MASKED : 0;
    for (unsigned id = 0; id < machine.vcpus; id++) {
        fifo_control[id] = page_alloc();
        struct evtchn_init_control op = { .control_gfn = frame_of(fifo_control[id]), .vcpu = id };
        long error = HYPERCALL(HC_event_channel_op, EVTCHNOP_init_control, &op, 0);
        if (error)
            return error;
        event_link_bits = op.link_bits;
        if (id == 0) {
            fifo_words = words;
            event_is_fifo = true;
            struct evtchn_expand_array expand = { frame_of(words) };
            error = HYPERCALL(HC_event_channel_op, EVTCHNOP_expand_array, &expand, 0);
            if (error)
                return error;
        }
    }
    return 0;
}

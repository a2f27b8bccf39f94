/* The console: Xen's ring [io/console.h] when there is one, else what the machine offers. */
#include "guest.h"

static volatile int lock;

/* How long a full ring may stay full before output is dropped: a back end that is gone must not hang the kernel. */
#define PATIENCE (1000 * MS)

static void ring_write(struct xencons_interface *ring, const char *text, size_t length)
{
    uint64_t deadline = 0;
    while (length) {
        uint32_t cons = __atomic_load_n(&ring->out_cons, __ATOMIC_ACQUIRE), prod = ring->out_prod;
        uint32_t room = sizeof(ring->out) - (prod - cons);
        if (room > sizeof(ring->out))
            return;
        for (; room && length; room--, length--)
            ring->out[prod++ % sizeof(ring->out)] = *text++;
        __atomic_store_n(&ring->out_prod, prod, __ATOMIC_RELEASE);
        event_send(machine.console_port);
        if (!length)
            break;
        if (!deadline)
            deadline = now() + PATIENCE;
        else if (now() >= deadline)
            break;
        event_clear(machine.console_port);
        if (ring->out_cons == cons)
            event_poll(machine.console_port, deadline);
    }
}

void console_write(const char *text, size_t length)
{
    while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
        relax();
    if (machine.console && machine.shared)
        ring_write(machine.console, text, length);
    else
        raw_write(text, length);
    __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
}

void console_break(void)
{
    __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
}

int console_read(void)
{
    struct xencons_interface *ring = machine.console;
    if (!ring)
        return -1;
    for (;;) {
        uint32_t cons = ring->in_cons, prod = __atomic_load_n(&ring->in_prod, __ATOMIC_ACQUIRE);
        if (prod != cons) {
            uint8_t byte = (uint8_t)ring->in[cons % sizeof(ring->in)];
            __atomic_store_n(&ring->in_cons, cons + 1, __ATOMIC_RELEASE);
            event_send(machine.console_port);
            return byte;
        }
        event_clear(machine.console_port);
        if (__atomic_load_n(&ring->in_prod, __ATOMIC_ACQUIRE) == cons)
            event_poll(machine.console_port, 0);
    }
}

/* Waits until the back end has taken everything, for a while. */
void console_flush(void)
{
    struct xencons_interface *ring = machine.console;
    if (!ring || !machine.shared)
        return;
    uint64_t deadline = now() + PATIENCE / 10;
    while (ring->out_cons != ring->out_prod && now() < deadline) {
        event_clear(machine.console_port);
        if (ring->out_cons != ring->out_prod)
            event_poll(machine.console_port, deadline);
    }
}

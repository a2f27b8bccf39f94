/* A xenstore client: one request at a time, watch events kept in a queue meanwhile. */
#include "guest.h"

static struct xs_event events[32];
static unsigned event_first, event_count;
static uint32_t next_id = 1;

static const struct { const char *name; int errno; } errors[] = {
    { "EINVAL", XEN_EINVAL }, { "EACCES", XEN_EACCES }, { "EEXIST", XEN_EEXIST }, { "ENOENT", XEN_ENOENT },
    { "ENOMEM", XEN_ENOMEM }, { "ENOSPC", XEN_ENOSPC }, { "EIO", XEN_EIO }, { "ENOSYS", XEN_ENOSYS },
    { "EBUSY", XEN_EBUSY }, { "EAGAIN", XEN_EAGAIN }, { "E2BIG", XEN_E2BIG }, { "EPERM", XEN_EPERM },
};

static void send(const void *data, size_t length)
{
    struct xenstore_interface *ring = machine.store;
    const char *from = data;
    while (length) {
        uint32_t cons = __atomic_load_n(&ring->req_cons, __ATOMIC_ACQUIRE), prod = ring->req_prod;
        uint32_t room = sizeof(ring->req) - (prod - cons);
        if (!room || room > sizeof(ring->req)) {
            event_clear(machine.store_port);
            if (ring->req_cons == cons)
                event_poll(machine.store_port, now() + 1000 * MS);
            continue;
        }
        for (; room && length; room--, length--)
            ring->req[prod++ % sizeof(ring->req)] = *from++;
        __atomic_store_n(&ring->req_prod, prod, __ATOMIC_RELEASE);
        event_send(machine.store_port);
    }
}

static void receive(void *data, size_t length)
{
    struct xenstore_interface *ring = machine.store;
    char *to = data;
    while (length) {
        uint32_t cons = ring->rsp_cons, prod = __atomic_load_n(&ring->rsp_prod, __ATOMIC_ACQUIRE);
        uint32_t ready = prod - cons;
        if (!ready || ready > sizeof(ring->rsp)) {
            event_clear(machine.store_port);
            if (__atomic_load_n(&ring->rsp_prod, __ATOMIC_ACQUIRE) == prod)
                event_poll(machine.store_port, now() + 1000 * MS);
            continue;
        }
        for (; ready && length; ready--, length--)
            *to++ = ring->rsp[cons++ % sizeof(ring->rsp)];
        __atomic_store_n(&ring->rsp_cons, cons, __ATOMIC_RELEASE);
        event_send(machine.store_port);
    }
}

static char body[XS_PAYLOAD_MAX + 1];

static void take_event(size_t length)
{
    const char *token = body + strlen(body) + 1;
    if (event_count == ARRAY_SIZE(events) || token >= body + length)
        return;
    struct xs_event *event = &events[(event_first + event_count++) % ARRAY_SIZE(events)];
    format_into(event->path, sizeof(event->path), "%s", body);
    format_into(event->token, sizeof(event->token), "%s", token);
}

/* The next message, into `body`; events go to the queue. */
static void next_message(struct xs_header *header)
{
    receive(header, sizeof(*header));
    if (header->len > XS_PAYLOAD_MAX)
        panic("xenstore answered more than 4096 bytes");
    receive(body, header->len);
    body[header->len] = 0;
    if (header->type == XS_WATCH_EVENT)
        take_event(header->len);
}

/* Sends a request and waits for its reply; returns the reply's length. */
long xs_request(enum xs_type type, uint32_t tx, const void *payload, size_t length, char *reply, size_t size)
{
    struct xs_header header = { type, next_id++, tx, (uint32_t)length };
    if (!machine.store)
        return -XEN_ENOSYS;
    uint32_t id = header.req_id;
    send(&header, sizeof(header));
    send(payload, length);
    do
        next_message(&header);
    while (header.type == XS_WATCH_EVENT || header.req_id != id);
    if (header.type == XS_ERROR) {
        for (unsigned i = 0; i < ARRAY_SIZE(errors); i++)
            if (!strcmp(errors[i].name, body))
                return -errors[i].errno;
        return -XEN_EIO;
    }
    if (size) {
        size_t n = header.len < size - 1 ? header.len : size - 1;
        memcpy(reply, body, n);
        reply[n] = 0;
    }
    return header.len;
}

long xs_read(uint32_t tx, const char *path, char *value, size_t size)
{
    return xs_request(XS_READ, tx, path, strlen(path) + 1, value, size);
}

/* 0, or an error. */
long xs_path(enum xs_type type, uint32_t tx, const char *path)
{
    long result = xs_request(type, tx, path, strlen(path) + 1, NULL, 0);
    return result < 0 ? result : 0;
}

long xs_write(uint32_t tx, const char *path, const char *value)
{
    char payload[256];
    int n = format_into(payload, sizeof(payload), "%s%c%s", path, 0, value);
    long result = xs_request(XS_WRITE, tx, payload, (size_t)n, NULL, 0);
    return result < 0 ? result : 0;
}

long xs_start(uint32_t *tx)
{
    char id[16];
    long result = xs_request(XS_TRANSACTION_START, 0, "", 1, id, sizeof(id));
    *tx = result < 0 ? 0 : (uint32_t)parse_number(id);
    return result < 0 ? result : 0;
}

long xs_end(uint32_t tx, bool commit)
{
    long result = xs_request(XS_TRANSACTION_END, tx, commit ? "T" : "F", 2, NULL, 0);
    return result < 0 ? result : 0;
}

bool xs_event_next(struct xs_event *event, bool wait)
{
    struct xs_header header;
    while (!event_count) {
        if (!wait && machine.store->rsp_prod == machine.store->rsp_cons)
            return false;
        next_message(&header);
    }
    *event = events[event_first];
    event_first = (event_first + 1) % ARRAY_SIZE(events);
    event_count--;
    return true;
}

unsigned xs_events_waiting(void)
{
    return event_count;
}

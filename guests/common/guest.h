/* What the works see: printing, checks, and the services of the kernel beneath them. */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "xen.h"

#define PAGE_SIZE 4096
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define barrier() __asm__ volatile("" ::: "memory")
#define UNMAPPED 0xffff900000123000ul /* nothing is ever mapped here */
#define MS 1000000ul /* nanoseconds */

/* lib.c */
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
void *memmove(void *to, const void *from, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
uint64_t parse_number(const char *s);
/* %s %c %d %u %x %p with l or ll, widths, - and 0; %d and %u are 64 bits with l. */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
int vformat_into(char *buffer, size_t size, const char *format, __builtin_va_list args);
int format_into(char *buffer, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Results of a work: one line per check, a summary at the end. */
void check(const char *name, int64_t got, int64_t want);
void check_either(const char *name, int64_t got, int64_t want, int64_t or_want);
void check_true(const char *name, bool holds);
void check_range(const char *name, int64_t got, int64_t low, int64_t high);
void check_text(const char *name, const char *got, const char *want);
int summary(const char *work); /* returns the failures */

/* The machine beneath, by kind of guest (pvh/, pv/). */
struct machine {
    bool xen, paravirtual;
    uint32_t cpuid_base, xen_version;
    unsigned domid, vcpus;
    const char *kind; /* "PVH", "PV" */
    struct shared_info *shared;
    struct xencons_interface *console;
    struct xenstore_interface *store;
    evtchn_port_t console_port, store_port;
    uint64_t hole; /* a guest-physical range without memory, for mappings: first address */
    uint64_t ram;  /* bytes */
    const struct memmap_entry *memmap;
    unsigned memmap_entries;
};
extern struct machine machine;

#define MAX_VCPUS 8

struct frame { /* what a trap leaves on the stack */
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    uint64_t vector, error, rip, cs, rflags, rsp, ss;
};
struct catch { /* a place to continue at after an expected fault */
    uint64_t rbx, rbp, r12, r13, r14, r15, rsp, rip;
    uint64_t vector, error, cr2, fault_rip, rax;
    struct frame frame; /* all of it, from a PV kernel */
};
struct percpu {
    struct percpu *self; /* at %gs:0 */
    unsigned id;
    struct catch *catch;
    struct vcpu_info *vcpu_info;
    volatile uint32_t upcalls, ipis, ticks, nmis, interrupts[256];
    volatile bool online, stop, started;
    evtchn_port_t ipi_port, timer_port;
    void (*run)(struct percpu *);
    uint8_t *stack_top;
};
extern struct percpu percpus[MAX_VCPUS];
static inline struct percpu *this_cpu(void)
{
    struct percpu *cpu;
    __asm__("mov %%gs:0, %0" : "=r"(cpu));
    return cpu;
}

/* Continues behind catch_fault() with 1 when the code run after it faults; catch_end() when it did not. */
int catch_fault(struct catch *c) __attribute__((returns_twice));
void catch_end(void);

long hypercall(unsigned op, long a, long b, long c, long d, long e);
#define HYPERCALL(op, a, b, c) hypercall(op, (long)(a), (long)(b), (long)(c), 0, 0)

void *page_alloc(void); /* a zeroed page from the kernel's own pool */
uint64_t frame_of(const void *page);
#define MAP_WRITE 1
#define MAP_EXEC 2
#define MAP_USER 4
void *map_frame(uint64_t gfn, unsigned flags); /* at an address of its own */
void map_at(uint64_t va, uint64_t pa, unsigned flags);
void unmap_at(uint64_t va);

#ifdef GUEST_PV /* Xen's event mask instead of IF */
void irq_disable(void);
void irq_enable(void);
void irq_wait(void);
#else
static inline void irq_disable(void) { __asm__ volatile("cli" ::: "memory"); }
static inline void irq_enable(void) { __asm__ volatile("sti" ::: "memory"); }
static inline void irq_wait(void) { __asm__ volatile("sti; hlt; cli" ::: "memory"); } /* with interrupts off before and after */
#endif
static inline void relax(void) { __asm__ volatile("pause" ::: "memory"); }
static inline uint64_t tsc(void)
{
    uint32_t lo, hi;
    __asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi) :: "memory");
    return lo | (uint64_t)hi << 32;
}
void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4]);

enum start_how { START_BY_VCPUOP, START_BY_SIPI };
/* Brings a vcpu up to run(); 0, or an error. The other side sets online. */
long start_vcpu(unsigned id, enum start_how how, void (*run)(struct percpu *));
long user_mode_hypercall(void); /* xen_version from ring 3: what Xen answered */
void cpu_self_test(void);
void apic_test(void);
void apic_send(unsigned vcpu, unsigned vector);
#define TEST_VECTOR 0x41 /* an interrupt that only counts */
#define UPCALL_VECTOR 0xf3
#define UPCALL_APIC_VECTOR 0xf2 /* the upcall through the local APIC, with EOI */
void power_off(unsigned reason) __attribute__((noreturn)); /* SHUTDOWN_* */
void panic(const char *why) __attribute__((noreturn));

/* console.c */
void console_write(const char *text, size_t length);
int console_read(void); /* next byte, waits */
void console_flush(void);
void console_break(void); /* takes the console from whoever has it: the kernel is going down */
void raw_write(const char *text, size_t length); /* machine's fallback, before the ring */

/* event.c */
typedef void event_handler(evtchn_port_t port, struct percpu *cpu);
void event_init(void);
void event_cpu_init(struct percpu *cpu);
void event_upcall(struct percpu *cpu);
void event_bind(evtchn_port_t port, unsigned vcpu, event_handler *handler); /* and unmasks */
void event_mask(evtchn_port_t port);
bool event_unmask(evtchn_port_t port);
bool event_test(evtchn_port_t port);
bool event_clear(evtchn_port_t port); /* what it was */
long event_send(evtchn_port_t port);
long event_close(evtchn_port_t port);
long event_bind_ipi(unsigned vcpu, evtchn_port_t *port);
long event_bind_virq(unsigned virq, unsigned vcpu, evtchn_port_t *port);
long event_poll(evtchn_port_t port, uint64_t timeout_ns); /* absolute, 0: for ever */
long event_fifo_start(void);
extern bool event_is_fifo;
extern uint8_t event_link_bits;
extern uint32_t *fifo_words;
extern struct evtchn_fifo_control *fifo_control[MAX_VCPUS];

/* time.c */
uint64_t now(void); /* Xen system time, ns */
uint64_t wallclock(void); /* seconds since 1970 */
bool sleep_until(uint64_t when); /* by the single-shot timer; false: the event did not come */
void timer_init(struct percpu *cpu);

/* xenstore.c; errors are negative XEN_E* */
struct xs_event { char path[96], token[32]; };
long xs_request(enum xs_type type, uint32_t tx, const void *payload, size_t length, char *reply, size_t size);
long xs_read(uint32_t tx, const char *path, char *value, size_t size);
long xs_write(uint32_t tx, const char *path, const char *value);
long xs_path(enum xs_type type, uint32_t tx, const char *path);
long xs_start(uint32_t *tx);
long xs_end(uint32_t tx, bool commit);
bool xs_event_next(struct xs_event *event, bool wait);
unsigned xs_events_waiting(void);

/* works */
struct work {
    const char *name;
    void (*run)(const char *arg);
    bool needs_xen, counts;
};
extern const struct work machine_works[]; /* those of one kind of guest only; a name of NULL ends them */
void work_hello(const char *arg);
void work_spin(const char *arg);
void work_grantv2(const char *arg);
void work_xs_conflict(const char *arg);
void work_xs_perms(const char *arg);
void work_xs_watch(const char *arg);
void work_evtchn(const char *arg);
void work_smp(const char *arg);
void work_memory(const char *arg);
void work_badcall(const char *arg);
void work_run(const char *cmdline) __attribute__((noreturn));

#endif

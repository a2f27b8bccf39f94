/* Set-up, output, traps, and the choice of the benchmark: "bench=NAME n=ROUNDS" on the command line. */
#include "bench.h"
#include "xen.h"

volatile uint32_t page_faults;
uint64_t window_backing;
extern char roots[], trap_entries[], trap_page_fault[], syscall_entry[], hypercall_page[];

static const struct { const char *name; benchmark *run; } benchmarks[] = {
    { "mix", bench_mix }, { "sha256", bench_sha256 }, { "memory", bench_memory }, { "chase", bench_chase },
    { "parse", bench_parse }, { "muldiv", bench_muldiv }, { "matmul", bench_matmul }, { "nbody", bench_nbody },
    { "mandelbrot", bench_mandelbrot }, { "virtual", bench_virtual }, { "bytecode", bench_bytecode },
    { "strings", bench_strings }, { "jit", bench_jit }, { "syscall", bench_syscall }, { "fault", bench_fault },
    { "switch", bench_switch }, { "hits", bench_hits }, { "misses", bench_misses }, { "hypercall", bench_hypercall },
};

static inline void outb(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" :: "a"(value), "Nd"(port)); }
static inline void outl(uint16_t port, uint32_t value) { __asm__ volatile("outl %0, %1" :: "a"(value), "Nd"(port)); }
static inline void wrmsr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" :: "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}
static inline void cpuid(uint32_t leaf, uint32_t out[4])
{
    __asm__ volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3]) : "a"(leaf), "c"(0));
}

/* --- output and end: port 0xe9 is Xen's debug port (its log) and QEMU's -debugcon --- */

int on_xen;

long hypercall(long number, long a, void *b)
{
    long result;
    __asm__ volatile("call *%3" : "=a"(result), "+D"(a), "+S"(b) : "r"(hypercall_page + 32 * number)
                     : "memory", "rcx", "rdx", "r8", "r9", "r10", "r11");
    return result;
}

static void put(const char *text)
{
    for (; *text; text++)
        outb(0xe9, (uint8_t)*text);
}

static void put_number(uint64_t value, unsigned base, unsigned digits)
{
    char text[24];
    unsigned at = sizeof(text) - 1;
    text[at] = 0;
    do
        text[--at] = "0123456789abcdef"[value % base];
    while ((value /= base) || sizeof(text) - 1 - at < digits);
    put(text + at);
}

static void __attribute__((noreturn)) power_off(uint32_t reason)
{
    if (on_xen) {
        uint32_t argument = reason;
        hypercall(HC_sched_op, SCHEDOP_shutdown, &argument);
    }
    outl(0xf4, reason); /* QEMU's isa-debug-exit: exit code 2 * reason + 1 */
    for (;;)
        __asm__ volatile("cli; hlt");
}

static void find_xen(void)
{
    for (uint32_t base = 0x40000000; base < 0x40010000; base += 0x100) {
        uint32_t r[4];
        cpuid(base, r);
        if (r[1] != XEN_CPUID_SIGNATURE_EBX || r[2] != XEN_CPUID_SIGNATURE_ECX || r[3] != XEN_CPUID_SIGNATURE_EDX)
            continue;
        cpuid(base + 2, r);
        wrmsr(r[1], (uintptr_t)hypercall_page);
        on_xen = 1;
        return;
    }
}

/* --- traps --- */

void bad_trap(uint64_t vector, uint64_t top, uint64_t second);
void bad_trap(uint64_t vector, uint64_t top, uint64_t second)
{
    put("bench: trap ");
    put_number(vector, 10, 1);
    put(" stack ");
    put_number(top, 16, 16);
    put(" ");
    put_number(second, 16, 16);
    put("\n");
    power_off(SHUTDOWN_crash);
}

/* A page of the window that is not there gets the frame of the same number behind window_backing. */
void page_fault(uint64_t address, uint64_t error, uint64_t rip);
void page_fault(uint64_t address, uint64_t error, uint64_t rip)
{
    uint64_t page = (address - WINDOW) / PAGE_SIZE;
    if (address < WINDOW || page >= 512 || error & 1 || !window_backing)
        bad_trap(14, error, rip);
    window_tables[0][page] = (window_backing + page * PAGE_SIZE) | PTE_PRESENT | PTE_WRITE | PTE_USER;
    page_faults++;
}

static struct { uint64_t low, high; } idt[32] __attribute__((aligned(16)));
static uint8_t syscall_stack[8192] __attribute__((aligned(16)));
static uint64_t kernel_gs[2]; /* stack of system calls; the user's RSP meanwhile */

static void traps_init(void)
{
    struct __attribute__((packed)) { uint16_t limit; uint64_t base; } idtr = { sizeof(idt) - 1, (uintptr_t)idt };
    for (unsigned v = 0; v < ARRAY_SIZE(idt); v++) {
        uint64_t to = v == 14 ? (uintptr_t)trap_page_fault : (uintptr_t)trap_entries + 32 * v;
        idt[v].low = (to & 0xffff) | 0x08ul << 16 | 0x8e00ul << 32 | (to >> 16 & 0xffff) << 48;
        idt[v].high = to >> 32;
    }
    __asm__ volatile("lidt %0" :: "m"(idtr));
    kernel_gs[0] = (uintptr_t)syscall_stack + sizeof(syscall_stack) - 8; /* 9 pushes, then aligned for the call */
    wrmsr(0xc0000101, (uintptr_t)kernel_gs);
    wrmsr(0xc0000102, 0);
    wrmsr(0xc0000081, 0x001b0008ul << 32);
    wrmsr(0xc0000082, (uintptr_t)syscall_entry);
    wrmsr(0xc0000084, 0x700);
}

uint64_t space_root(unsigned space)
{
    return (uintptr_t)roots + space * PAGE_SIZE;
}

/* --- the command line --- */

/* What follows "key" at the beginning of a word of text, or NULL. */
static const char *value_of(const char *text, const char *key)
{
    for (const char *p = text; *p; p++) {
        const char *at = p, *k = key;
        if (p != text && p[-1] != ' ')
            continue;
        for (; *k && *at == *k; at++, k++)
            ;
        if (!*k)
            return at;
    }
    return NULL;
}

static int is_word(const char *at, const char *word)
{
    for (; *word && *at == *word; at++, word++)
        ;
    return !*word && (!*at || *at == ' ');
}

void main(const struct start_info *info);
void main(const struct start_info *info)
{
    traps_init();
    find_xen();
    const char *cmdline = info->magic == START_INFO_MAGIC && info->cmdline ? (const char *)info->cmdline : "";
    const char *name = value_of(cmdline, "bench="), *count = value_of(cmdline, "n=");
    uint32_t n = 0;
    for (; count && *count >= '0' && *count <= '9'; count++)
        n = n * 10 + (uint32_t)(*count - '0');
    for (unsigned i = 0; name && i < ARRAY_SIZE(benchmarks); i++) {
        if (!is_word(name, benchmarks[i].name))
            continue;
        uint32_t sum = benchmarks[i].run(n);
        put("bench ");
        put(benchmarks[i].name);
        put(" n=");
        put_number(n, 10, 1);
        put(" checksum=");
        put_number(sum, 16, 8);
        put("\n");
        power_off(SHUTDOWN_poweroff);
    }
    put("bench: say bench=NAME n=ROUNDS, NAME one of");
    for (unsigned i = 0; i < ARRAY_SIZE(benchmarks); i++) {
        put(" ");
        put(benchmarks[i].name);
    }
    put("\n");
    power_off(SHUTDOWN_crash);
}

/* From start_info to a running kernel: what machine is this, and where are its services. */
#include "pvh.h"

struct machine machine;
static struct memmap_entry memmap[48];
static char cmdline[1024];

static void find_memory(const struct start_info *info)
{
    const struct memmap_entry *from = (const void *)info->memmap;
    unsigned n = info->version >= 1 ? info->memmap_entries : 0;
    if (n > ARRAY_SIZE(memmap))
        n = ARRAY_SIZE(memmap);
    memcpy(memmap, from, n * sizeof(*from));
    machine.memmap = memmap;
    machine.memmap_entries = n;
    for (unsigned i = 0; i < n; i++) {
        uint64_t end = memmap[i].addr + memmap[i].size;
        if (memmap[i].type != MEMMAP_RAM)
            continue;
        machine.ram += memmap[i].size;
        if (end <= 0xf0000000 && end > machine.hole)
            machine.hole = end;
    }
    /* Behind the memory below 4 GiB nothing lives until the special pages near its end. */
    machine.hole = (machine.hole + 0x3fffff) & ~0x1fffffull;
}

static bool find_xen(void)
{
    for (uint32_t base = 0x40000000; base < 0x40010000; base += 0x100) {
        uint32_t r[4];
        cpuid(base, 0, r);
        if (r[1] != XEN_CPUID_SIGNATURE_EBX || r[2] != XEN_CPUID_SIGNATURE_ECX || r[3] != XEN_CPUID_SIGNATURE_EDX)
            continue;
        machine.xen = true;
        machine.cpuid_base = base;
        cpuid(base + 1, 0, r);
        machine.xen_version = r[0];
        cpuid(base + 2, 0, r);
        wrmsr(r[1], (uintptr_t)hypercall_page);
        cpuid(base + 4, 0, r);
        machine.domid = r[0] & XEN_HVM_CPUID_DOMID_PRESENT ? r[2] : DOMID_SELF;
        return true;
    }
    return false;
}

static uint64_t hvm_param(uint32_t index)
{
    struct xen_hvm_param op = { DOMID_SELF, index, 0 };
    return HYPERCALL(HC_hvm_op, HVMOP_get_param, &op, 0) == 0 ? op.value : 0;
}

static void connect_xen(void)
{
    struct xen_add_to_physmap op = { .domid = DOMID_SELF, .space = XENMAPSPACE_shared_info, .gpfn = machine.hole >> 12 };
    if (HYPERCALL(HC_memory_op, XENMEM_add_to_physmap, &op, 0))
        panic("no shared_info");
    struct shared_info *shared = map_frame(machine.hole >> 12, MAP_WRITE);
    machine.hole += PAGE_SIZE;

    uint64_t pfn = hvm_param(HVM_PARAM_CONSOLE_PFN);
    machine.console_port = (evtchn_port_t)hvm_param(HVM_PARAM_CONSOLE_EVTCHN);
    if (pfn && machine.console_port)
        machine.console = map_frame(pfn, MAP_WRITE);
    pfn = hvm_param(HVM_PARAM_STORE_PFN);
    machine.store_port = (evtchn_port_t)hvm_param(HVM_PARAM_STORE_EVTCHN);
    if (pfn && machine.store_port)
        machine.store = map_frame(pfn, MAP_WRITE);

    machine.shared = shared;
    event_init();
    struct xen_hvm_param via = { DOMID_SELF, HVM_PARAM_CALLBACK_IRQ, CALLBACK_VIA_VECTOR | UPCALL_VECTOR };
    if (HYPERCALL(HC_hvm_op, HVMOP_set_param, &via, 0))
        panic("no callback vector");
    struct percpu *cpu = this_cpu();
    event_cpu_init(cpu);
    while (machine.vcpus < MAX_VCPUS && HYPERCALL(HC_vcpu_op, VCPUOP_is_up, machine.vcpus, 0) >= 0)
        machine.vcpus++;
    timer_init(cpu);
}

/* A PC without Xen: its old interrupt controllers would raise what looks like exceptions. */
static void alone(void)
{
    machine.vcpus = 1;
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
}

/* --- before and without Xen: the debug port, else the serial port --- */

void raw_write(const char *text, size_t length)
{
    static bool known, debug_port;
    if (machine.xen) {
        /* Xen takes console_io from us only if built for debugging; port 0xe9 always. */
        if (hypercall(HC_console_io, 0, (long)length, (long)text, 0, 0) >= 0)
            return;
        debug_port = known = true;
    }
    if (!known) {
        outb(0x3ff, 0x5a); /* the scratch register tells a serial port from nothing */
        debug_port = inb(0xe9) == 0xe9 || inb(0x3ff) != 0x5a;
        known = true;
    }
    for (size_t i = 0; i < length; i++) {
        if (debug_port) {
            outb(0xe9, (uint8_t)text[i]);
            continue;
        }
        for (unsigned wait = 0; wait < 100000 && !(inb(0x3fd) & 0x20); wait++)
            relax();
        outb(0x3f8, (uint8_t)text[i]);
    }
}

void power_off(unsigned reason)
{
    console_flush();
    if (machine.xen) {
        struct sched_shutdown op = { reason };
        HYPERCALL(HC_sched_op, SCHEDOP_shutdown, &op, 0);
    }
    outl(0xf4, reason); /* QEMU's isa-debug-exit, where it is */
    for (irq_disable();;)
        __asm__ volatile("hlt");
}

void panic(const char *why)
{
    static bool again;
    if (!again) {
        again = true;
        print("panic: %s\n", why);
    }
    power_off(SHUTDOWN_crash);
}

static bool has_word(const char *text, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = text; *p; p++)
        if ((p == text || p[-1] == ' ') && !strncmp(p, word, n) && (!p[n] || p[n] == ' '))
            return true;
    return false;
}

void main(const struct start_info *info);
void main(const struct start_info *info)
{
    cpu_init(&percpus[0]);
    percpus[0].online = percpus[0].started = true;
    machine.kind = "PVH";
    machine.vcpus = 0;
    if (info->magic != START_INFO_MAGIC)
        panic("no start_info");
    if (info->cmdline)
        format_into(cmdline, sizeof(cmdline), "%s", (const char *)info->cmdline);
    find_memory(info);
    paging_init(memmap, machine.memmap_entries);
    if (!has_word(cmdline, "xen=off") && find_xen())
        connect_xen();
    else
        alone();
    apic_init();
    irq_enable();
    work_run(cmdline);
}

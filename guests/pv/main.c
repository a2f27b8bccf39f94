/* From start_info to a running kernel: what machine is this, and where are its services. */
#include "pv.h"

struct machine machine;
const struct pv_start_info *start_info;
static char cmdline[1024];
static uint8_t shared_page[PAGE_SIZE] __attribute__((aligned(4096)));
static struct memmap_entry memmap[1];

static void find_xen(void)
{
    for (uint32_t base = 0x40000000; base < 0x40010000; base += 0x100) {
        uint32_t r[4];
        cpuid(base, 0, r);
        if (r[1] != XEN_CPUID_SIGNATURE_EBX || r[2] != XEN_CPUID_SIGNATURE_ECX || r[3] != XEN_CPUID_SIGNATURE_EDX)
            continue;
        machine.cpuid_base = base;
        cpuid(base + 1, 0, r);
        machine.xen_version = r[0];
        return;
    }
    panic("no Xen");
}

static void find_memory(void)
{
    memmap[0] = (struct memmap_entry){ 0, start_info->nr_pages * PAGE_SIZE, MEMMAP_RAM, 0 };
    machine.memmap = memmap;
    machine.memmap_entries = 1;
    machine.ram = memmap[0].size;
    machine.hole = 0xfffffff000000ull; /* no machine frame of anybody */
}

static void connect_xen(void)
{
    machine.console_port = start_info->console_evtchn;
    machine.store_port = start_info->store_evtchn;
    if (start_info->flags & SIF_INITDOMAIN) {
        machine.console_port = machine.store_port = 0; /* the first domain has Xen's console, and is the store */
    } else {
        machine.console = map_frame(start_info->console_mfn, MAP_WRITE);
        machine.store = map_frame(start_info->store_mfn, MAP_WRITE);
    }
    event_init();
    struct percpu *cpu = this_cpu();
    event_cpu_init(cpu);
    while (machine.vcpus < MAX_VCPUS && HYPERCALL(HC_vcpu_op, VCPUOP_is_up, machine.vcpus, 0) >= 0)
        machine.vcpus++;
    timer_init(cpu);
    irq_enable();
    char number[16];
    if (machine.store && xs_read(0, "domid", number, sizeof(number)) > 0)
        machine.domid = (unsigned)parse_number(number);
}

void raw_write(const char *text, size_t length)
{
    hypercall(HC_console_io, 0, (long)length, (long)text, 0, 0);
}

void power_off(unsigned reason)
{
    console_flush();
    struct sched_shutdown op = { reason };
    for (;;)
        HYPERCALL(HC_sched_op, SCHEDOP_shutdown, &op, 0);
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

void main(const struct pv_start_info *info);
void main(const struct pv_start_info *info)
{
    start_info = info;
    machine.xen = machine.paravirtual = true;
    machine.kind = "PV";
    cpu_init(&percpus[0]);
    percpus[0].online = percpus[0].started = true;
    format_into(cmdline, sizeof(cmdline), "%s", info->cmdline);
    paging_init();
    if (set_pte((uintptr_t)shared_page, info->shared_info | PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_NX))
        panic("no shared_info");
    machine.shared = (struct shared_info *)shared_page;
    percpus[0].vcpu_info = &machine.shared->vcpu[0];
    irq_disable();
    find_xen();
    find_memory();
    connect_xen();
    work_run(cmdline);
}

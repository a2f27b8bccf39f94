/* Descriptor tables, traps, the local APIC. */
#include "pvh.h"

struct percpu percpus[MAX_VCPUS];

struct __attribute__((packed)) tss {
    uint32_t pad0;
    uint64_t rsp[3], pad1, ist[7], pad2;
    uint16_t pad3, iomap;
};
struct __attribute__((packed)) pointer {
    uint16_t limit;
    uint64_t base;
};

static struct {
    uint64_t gdt[8];
    struct tss tss;
} cpu_tables[MAX_VCPUS] __attribute__((aligned(64)));
static uint8_t trap_stack[MAX_VCPUS][2][8192] __attribute__((aligned(16)));
static struct { uint64_t low, high; } idt[256] __attribute__((aligned(16)));

void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    __asm__ volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3]) : "a"(leaf), "c"(subleaf));
}

static void idt_build(void)
{
    for (unsigned v = 0; v < 256; v++) {
        uint64_t to = (uintptr_t)trap_entries + 16 * v;
        uint64_t ist = v == 8 ? 1 : 0, dpl = v == 3 ? 3 : 0;
        idt[v].low = (to & 0xffff) | SEL_CODE << 16 | ist << 32 | 0x8e00ull << 32 | dpl << 45 | (to >> 16 & 0xffff) << 48;
        idt[v].high = to >> 32;
    }
}

void idt_present(unsigned vector, bool present)
{
    idt[vector].low = present ? idt[vector].low | 1ull << 47 : idt[vector].low & ~(1ull << 47);
}

void cpu_init(struct percpu *cpu)
{
    unsigned id = (unsigned)(cpu - percpus);
    uint64_t *gdt = cpu_tables[id].gdt;
    struct tss *tss = &cpu_tables[id].tss;
    uint64_t base = (uintptr_t)tss, limit = sizeof(*tss) - 1;
    if (!idt[0].low)
        idt_build();
    tss->rsp[0] = (uintptr_t)(trap_stack[id][0] + sizeof(trap_stack[id][0]));
    tss->ist[0] = (uintptr_t)(trap_stack[id][1] + sizeof(trap_stack[id][1]));
    tss->iomap = sizeof(*tss);
    gdt[1] = 0x00af9b000000ffff; /* kernel code, data; 32-bit code; user data, code */
    gdt[2] = 0x00cf93000000ffff;
    gdt[3] = 0x00cf9b000000ffff;
    gdt[4] = 0x00cff3000000ffff;
    gdt[5] = 0x00affb000000ffff;
    gdt[6] = limit | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    gdt[7] = base >> 32;
    struct pointer gdtr = { sizeof(cpu_tables[id].gdt) - 1, (uintptr_t)gdt }, idtr = { sizeof(idt) - 1, (uintptr_t)idt };
    __asm__ volatile("lgdt %0; lidt %1; pushq %2; leaq 1f(%%rip), %%rax; pushq %%rax; lretq\n"
                     "1: mov %3, %%ds; mov %3, %%es; mov %3, %%ss; ltr %w4"
                     :: "m"(gdtr), "m"(idtr), "i"(SEL_CODE), "r"(SEL_DATA), "r"(SEL_TSS) : "rax", "memory");
    cpu->self = cpu;
    cpu->id = id;
    wrmsr(MSR_GS_BASE, (uintptr_t)cpu);
}

void catch_end(void)
{
    this_cpu()->catch = NULL;
}

/* --- local APIC: as MSRs if it can, else at its address --- */

static volatile uint32_t *xapic;
static bool x2apic;

static uint32_t apic_read(unsigned reg)
{
    return x2apic ? (uint32_t)rdmsr(MSR_X2APIC + reg) : xapic[reg * 4];
}

static void apic_write(unsigned reg, uint32_t value)
{
    if (x2apic)
        wrmsr(MSR_X2APIC + reg, value);
    else
        xapic[reg * 4] = value;
}

enum { APIC_ID = 0x02, APIC_EOI = 0x0b, APIC_SPURIOUS = 0x0f, APIC_ICR = 0x30, APIC_ICR_HIGH = 0x31,
       APIC_TIMER = 0x32, APIC_TIMER_COUNT = 0x38, APIC_TIMER_NOW = 0x39, APIC_TIMER_DIVIDE = 0x3e };

void apic_init(void)
{
    uint32_t r[4];
    uint64_t base = rdmsr(MSR_APIC_BASE);
    cpuid(1, 0, r);
    x2apic = r[2] >> 21 & 1;
    if (x2apic)
        wrmsr(MSR_APIC_BASE, base | 0xc00);
    else if (!xapic)
        xapic = map_frame(base >> 12 & 0xfffffffff, MAP_WRITE);
    apic_write(APIC_SPURIOUS, 0x1ff);
}

static uint32_t apic_id(void)
{
    return x2apic ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
}

/* The ids of HVM vcpus are twice their number; on another machine they count up. */
static void apic_command(unsigned vcpu, uint32_t command)
{
    uint32_t id = machine.xen ? vcpu * 2 : vcpu;
    if (x2apic) {
        wrmsr(MSR_X2APIC + APIC_ICR, (uint64_t)id << 32 | command);
    } else {
        xapic[APIC_ICR_HIGH * 4] = id << 24;
        xapic[APIC_ICR * 4] = command;
        while (xapic[APIC_ICR * 4] & 0x1000)
            relax();
    }
}

void apic_send(unsigned vcpu, unsigned vector)
{
    apic_command(vcpu, 0x4000 | vector);
}

static bool wait_interrupt(unsigned vector, uint32_t before)
{
    struct percpu *cpu = this_cpu();
    for (unsigned i = 0; i < 3000000 && cpu->interrupts[vector] == before; i++)
        relax();
    return cpu->interrupts[vector] != before;
}

#define TIMER_VECTOR 0x42

void apic_test(void)
{
    struct percpu *cpu = this_cpu();
    check("apic.id", apic_id(), 0);
    irq_disable();
    uint32_t before = cpu->interrupts[TEST_VECTOR];
    apic_send(0, TEST_VECTOR);
    check("apic.held-back", cpu->interrupts[TEST_VECTOR], before);
    irq_enable();
    check_true("apic.self-ipi", wait_interrupt(TEST_VECTOR, before));
    before = cpu->interrupts[TIMER_VECTOR];
    apic_write(APIC_TIMER_DIVIDE, 0xb);
    apic_write(APIC_TIMER, TIMER_VECTOR);
    apic_write(APIC_TIMER_COUNT, 20000);
    check_true("apic.timer", wait_interrupt(TIMER_VECTOR, before));
    check("apic.timer-once", apic_read(APIC_TIMER_NOW), 0);
}

/* --- traps --- */

static const char *const names[] = {
    "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "?", "#TS", "#NP", "#SS", "#GP", "#PF", "?", "#MF", "#AC", "#MC",
    "#XM", "#VE", "#CP",
};

static void dump(const struct frame *f)
{
    print("trap %lu %s error 0x%lx cr2 0x%lx vcpu %u\n", f->vector, f->vector < ARRAY_SIZE(names) ? names[f->vector] : "?",
          f->error, read_cr2(), this_cpu()->id);
    print("rip %04lx:%016lx rsp %04lx:%016lx flags %08lx\n", f->cs, f->rip, f->ss, f->rsp, f->rflags);
    print("rax %016lx rbx %016lx rcx %016lx rdx %016lx\n", f->rax, f->rbx, f->rcx, f->rdx);
    print("rsi %016lx rdi %016lx rbp %016lx r8  %016lx\n", f->rsi, f->rdi, f->rbp, f->r8);
    print("r9  %016lx r10 %016lx r11 %016lx r12 %016lx\n", f->r9, f->r10, f->r11, f->r12);
    print("r13 %016lx r14 %016lx r15 %016lx\n", f->r13, f->r14, f->r15);
}

void trap(struct frame *f);
void trap(struct frame *f)
{
    struct percpu *cpu = this_cpu();
    if (f->vector >= 32) {
        cpu->interrupts[f->vector]++;
        if (f->vector == UPCALL_VECTOR) {
            event_upcall(cpu);
        } else {
            apic_write(APIC_EOI, 0);
            if (f->vector == UPCALL_APIC_VECTOR)
                event_upcall(cpu);
        }
        return;
    }
    struct catch *c = cpu->catch;
    if (!c) {
        console_break();
        dump(f);
        panic("unexpected trap");
    }
    cpu->catch = NULL;
    c->vector = f->vector;
    c->error = f->error;
    c->cr2 = read_cr2();
    c->fault_rip = f->rip;
    c->rax = f->rax;
    f->rbx = c->rbx;
    f->rbp = c->rbp;
    f->r12 = c->r12;
    f->r13 = c->r13;
    f->r14 = c->r14;
    f->r15 = c->r15;
    f->rsp = c->rsp;
    f->rip = c->rip;
    f->rflags &= ~0x100ull; /* TF */
    if (f->cs != SEL_CODE)
        f->rflags |= 0x200; /* user mode runs with interrupts off, we do not */
    f->cs = SEL_CODE;
    f->ss = SEL_DATA;
    f->rax = 1;
}

/* --- further vcpus --- */

static uint8_t stacks[MAX_VCPUS][16384] __attribute__((aligned(16)));
#define SIPI_PAGE 0x8000ul

void vcpu_main(struct percpu *cpu)
{
    cpu_init(cpu);
    apic_init();
    irq_enable();
    for (;;) {
        __atomic_store_n(&cpu->online, true, __ATOMIC_SEQ_CST);
        cpu->run(cpu);
        cpu->stop = false;
        __atomic_store_n(&cpu->online, false, __ATOMIC_SEQ_CST);
        if (machine.xen)
            HYPERCALL(HC_vcpu_op, VCPUOP_down, cpu->id, 0);
        else
            for (irq_disable();;)
                __asm__ volatile("hlt");
    }
}

static void ipi(evtchn_port_t port, struct percpu *cpu)
{
    (void)port;
    cpu->ipis++;
}

static long start_by_vcpuop(struct percpu *cpu)
{
    if (!cpu->started) {
        static struct vcpu_hvm_context context;
        memset(&context, 0, sizeof(context));
        context.mode = VCPU_HVM_MODE_64B;
        context.rdi = (uintptr_t)cpu;
        context.rsp = (uintptr_t)cpu->stack_top;
        context.rip = (uintptr_t)vcpu_start64;
        context.rflags = 2;
        __asm__("mov %%cr0, %0" : "=r"(context.cr0));
        __asm__("mov %%cr4, %0" : "=r"(context.cr4));
        context.cr3 = read_cr3();
        context.efer = rdmsr(MSR_EFER);
        long error = HYPERCALL(HC_vcpu_op, VCPUOP_initialise, cpu->id, &context);
        if (error)
            return error;
    }
    return HYPERCALL(HC_vcpu_op, VCPUOP_up, cpu->id, 0);
}

static long start_by_sipi(struct percpu *cpu)
{
    char *page = (char *)SIPI_PAGE;
    map_at(SIPI_PAGE, SIPI_PAGE, MAP_WRITE);
    memcpy(page, sipi_begin, (size_t)(sipi_end - sipi_begin));
    *(uint32_t *)(page + (sipi_cr3 - sipi_begin)) = (uint32_t)read_cr3();
    *(uint32_t *)(page + (sipi_percpu - sipi_begin)) = (uint32_t)(uintptr_t)cpu;
    *(uint32_t *)(page + (sipi_stack - sipi_begin)) = (uint32_t)(uintptr_t)cpu->stack_top;
    map_at(SIPI_PAGE, SIPI_PAGE, MAP_EXEC);
    apic_command(cpu->id, 0x0000c500); /* INIT, level, assert */
    if (!x2apic)
        apic_command(cpu->id, 0x00008500); /* INIT, level, deassert: only the old interface knows it */
    for (unsigned i = 0; i < 2; i++) {
        apic_command(cpu->id, 0x00004600 | SIPI_PAGE >> 12);
        for (unsigned spin = 0; spin < 100000 && !cpu->online; spin++)
            relax();
    }
    return 0;
}

long start_vcpu(unsigned id, enum start_how how, void (*run)(struct percpu *))
{
    struct percpu *cpu = &percpus[id];
    cpu->run = run;
    cpu->stop = false;
    if (!cpu->started) {
        cpu->id = id;
        cpu->stack_top = stacks[id] + sizeof(stacks[id]);
        if (machine.xen) {
            event_cpu_init(cpu);
            long error = event_bind_ipi(id, &cpu->ipi_port);
            if (error)
                return error;
            event_bind(cpu->ipi_port, id, ipi);
        }
    }
    long error = how == START_BY_VCPUOP ? start_by_vcpuop(cpu) : start_by_sipi(cpu);
    if (!error)
        cpu->started = true;
    return error;
}

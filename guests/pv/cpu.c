/* Traps and callbacks, interrupts as Xen's event mask, further vcpus. */
#include "pv.h"

struct percpu percpus[MAX_VCPUS];
uint64_t failsafe_selectors[4];
static struct trap_info trap_table[257];

/* By Xen's forced emulation: the plain instruction would ask the processor itself. */
void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    __asm__ volatile(".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e; cpuid"
                     : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3]) : "a"(leaf), "c"(subleaf));
}

/* All vectors like interrupt gates; INT3 and INTO from user mode too. */
static void fill_trap_table(struct trap_info *table)
{
    for (unsigned v = 0; v < 256; v++)
        table[v] = (struct trap_info){ (uint8_t)v, TI_MASK_EVENTS | (v == 3 || v == 4 ? 3 : 0), FLAT_KERNEL_CS | 3,
                                       (uintptr_t)trap_entries + 16 * v };
}

static long callback(unsigned type, const void *entry, unsigned flags)
{
    struct callback_register op = { (uint16_t)type, (uint16_t)flags, (uintptr_t)entry };
    return HYPERCALL(HC_callback_op, CALLBACKOP_register, &op, 0);
}

void set_syscall_entry(const void *entry)
{
    callback(CALLBACKTYPE_syscall, entry, CALLBACKF_mask_events);
}

static void callbacks(void)
{
    callback(CALLBACKTYPE_event, trap_entries + 16 * UPCALL_VECTOR, 0);
    callback(CALLBACKTYPE_failsafe, failsafe_entry, CALLBACKF_mask_events);
    callback(CALLBACKTYPE_syscall, syscall_entry, CALLBACKF_mask_events);
    callback(CALLBACKTYPE_syscall32, syscall32_entry, CALLBACKF_mask_events);
    callback(CALLBACKTYPE_sysenter, sysenter_entry, CALLBACKF_mask_events);
    callback(CALLBACKTYPE_nmi, nmi_entry, 0);
}

static uint8_t trap_stack[MAX_VCPUS][8192] __attribute__((aligned(16)));

static uint64_t stack_for_traps(const struct percpu *cpu)
{
    return (uintptr_t)(trap_stack[cpu->id] + sizeof(trap_stack[0]));
}

void cpu_init(struct percpu *cpu)
{
    cpu->self = cpu;
    cpu->id = (unsigned)(cpu - percpus);
    HYPERCALL(HC_set_segment_base, SEGBASE_GS_KERNEL, cpu, 0);
    fill_trap_table(trap_table);
    HYPERCALL(HC_set_trap_table, trap_table, 0, 0);
    callbacks();
    HYPERCALL(HC_stack_switch, FLAT_KERNEL_SS, stack_for_traps(cpu), 0);
}

void catch_end(void)
{
    this_cpu()->catch = NULL;
}

/* --- interrupts: what the mask holds back, any hypercall brings on its way out --- */

void irq_disable(void)
{
    this_cpu()->vcpu_info->upcall_mask = 1;
    barrier();
}

void irq_enable(void)
{
    struct vcpu_info *info = this_cpu()->vcpu_info;
    barrier();
    info->upcall_mask = 0;
    barrier();
    if (info->upcall_pending)
        HYPERCALL(HC_xen_version, XENVER_version, 0, 0);
}

void irq_wait(void)
{
    HYPERCALL(HC_sched_op, SCHEDOP_block, 0, 0); /* unmasks, and sleeps if nothing is pending */
    irq_disable();
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
    if (f->vector == UPCALL_VECTOR) {
        cpu->interrupts[UPCALL_VECTOR]++;
        event_upcall(cpu);
        return;
    }
    if (f->vector == VECTOR_NMI) {
        cpu->nmis++;
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
    c->frame = *f;
    f->rbx = c->rbx;
    f->rbp = c->rbp;
    f->r12 = c->r12;
    f->r13 = c->r13;
    f->r14 = c->r14;
    f->r15 = c->r15;
    f->rsp = c->rsp;
    f->rip = c->rip;
    f->rflags &= ~0x100ull; /* TF */
    if ((uint16_t)f->cs != FLAT_KERNEL_CS)
        f->rflags |= 0x200; /* user mode runs with events masked, we do not */
    f->cs = FLAT_KERNEL_CS;
    f->ss = FLAT_KERNEL_SS;
    f->rax = 1;
}

/* --- further vcpus --- */

static uint8_t stacks[MAX_VCPUS][16384] __attribute__((aligned(16)));

void vcpu_main(struct percpu *cpu)
{
    callbacks();
    irq_enable();
    for (;;) {
        __atomic_store_n(&cpu->online, true, __ATOMIC_SEQ_CST);
        cpu->run(cpu);
        cpu->stop = false;
        __atomic_store_n(&cpu->online, false, __ATOMIC_SEQ_CST);
        HYPERCALL(HC_vcpu_op, VCPUOP_down, cpu->id, 0);
    }
}

static void ipi(evtchn_port_t port, struct percpu *cpu)
{
    (void)port;
    cpu->ipis++;
}

/* Xen's form of CR3: the frame's bits above 52 rotated to the bottom, which 64-bit frames never have here. */
static uint64_t as_cr3(uint64_t mfn)
{
    return mfn << 12;
}

static long initialise(struct percpu *cpu)
{
    static struct vcpu_guest_context context;
    memset(&context, 0, sizeof(context));
    context.flags = VGCF_in_kernel;
    context.user_regs.rip = (uintptr_t)vcpu_start;
    context.user_regs.cs = FLAT_KERNEL_CS | 3;
    context.user_regs.ss = FLAT_KERNEL_SS;
    context.user_regs.rsp = (uintptr_t)cpu->stack_top;
    context.user_regs.rdi = (uintptr_t)cpu;
    context.user_regs.rflags = 0x200;
    fill_trap_table(context.trap_ctxt);
    context.kernel_ss = FLAT_KERNEL_SS;
    context.kernel_sp = stack_for_traps(cpu);
    context.event_callback_eip = (uintptr_t)trap_entries + 16 * UPCALL_VECTOR;
    context.failsafe_callback_eip = (uintptr_t)failsafe_entry;
    context.syscall_callback_eip = (uintptr_t)syscall_entry;
    context.ctrlreg[3] = as_cr3(root_frame());
    context.ctrlreg[1] = as_cr3(user_root_frame());
    context.gs_base_kernel = (uintptr_t)cpu;
    return HYPERCALL(HC_vcpu_op, VCPUOP_initialise, cpu->id, &context);
}

long start_vcpu(unsigned id, enum start_how how, void (*run)(struct percpu *))
{
    struct percpu *cpu = &percpus[id];
    cpu->run = run;
    cpu->stop = false;
    if (how != START_BY_VCPUOP)
        return -XEN_EOPNOTSUPP;
    if (!cpu->started) {
        cpu->self = cpu;
        cpu->id = id;
        cpu->stack_top = stacks[id] + sizeof(stacks[id]);
        event_cpu_init(cpu);
        long error = event_bind_ipi(id, &cpu->ipi_port);
        if (error)
            return error;
        event_bind(cpu->ipi_port, id, ipi);
        error = initialise(cpu);
        if (error)
            return error;
    }
    long error = HYPERCALL(HC_vcpu_op, VCPUOP_up, id, 0);
    if (!error)
        cpu->started = true;
    return error;
}

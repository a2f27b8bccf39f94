/*
 * work=traps: the processor state that Xen keeps for a PV guest: callbacks, segment bases, debug registers, privileged
 * instructions that it emulates or refuses, events and NMIs held back. work=syscall:N: N round trips of a system call, timed.
 */
#include "pv.h"

#define NON_CANONICAL 0x8000000000000000ull

static struct catch c;

static long callback(unsigned op, unsigned type, uint64_t address)
{
    struct callback_register r = { (uint16_t)type, CALLBACKF_mask_events, address };
    return HYPERCALL(HC_callback_op, op, &r, 0);
}

static void registrations(void)
{
    static struct trap_info odd[2] = { { 0x80, 3, FLAT_KERNEL_CS | 3, NON_CANONICAL } };
    check("callback.non-canonical", callback(CALLBACKOP_register, CALLBACKTYPE_event, NON_CANONICAL), -XEN_EINVAL);
    check("callback.type-6", callback(CALLBACKOP_register, 6, 0x1000), -XEN_ENOSYS);
    check("callback.type-99", callback(CALLBACKOP_register, 99, 0x1000), -XEN_ENOSYS);
    check("callback.unregister-event", callback(CALLBACKOP_unregister, CALLBACKTYPE_event, 0), -XEN_EINVAL);
    check("callback.unregister-nmi", callback(CALLBACKOP_unregister, CALLBACKTYPE_nmi, 0), 0);
    check("callback.nmi", callback(CALLBACKOP_register, CALLBACKTYPE_nmi, (uintptr_t)nmi_entry), 0);
    check("callback.op-2", callback(2, 0, 0), -XEN_ENOSYS);
    check("callback.bad-pointer", HYPERCALL(HC_callback_op, CALLBACKOP_register, UNMAPPED, 0), -XEN_EFAULT);
    check("trap-table.non-canonical", HYPERCALL(HC_set_trap_table, odd, 0, 0), -XEN_EINVAL);
    check("trap-table.bad-pointer", HYPERCALL(HC_set_trap_table, UNMAPPED, 0, 0), -XEN_EFAULT);
    check("segment-base.fs", HYPERCALL(HC_set_segment_base, SEGBASE_FS, &c, 0), 0);
    uint64_t read;
    __asm__ volatile("movq %%fs:0, %0" : "=r"(read));
    check("segment-base.fs-works", (int64_t)read, (int64_t)c.rbx);
    check("segment-base.fs-non-canonical", HYPERCALL(HC_set_segment_base, SEGBASE_FS, NON_CANONICAL, 0), -XEN_EINVAL);
    check("segment-base.gs-user", HYPERCALL(HC_set_segment_base, SEGBASE_GS_USER, 0x1000, 0), 0);
    check("segment-base.gs-user-selector", HYPERCALL(HC_set_segment_base, SEGBASE_GS_USER_SEL, 0, 0), 0);
    check("segment-base.unknown", HYPERCALL(HC_set_segment_base, 4, 0, 0), -XEN_EINVAL);
    check("vm-assist.enable-4", HYPERCALL(HC_vm_assist, VMASST_CMD_enable, 4, 0), 0);
    check("vm-assist.disable-4", HYPERCALL(HC_vm_assist, VMASST_CMD_disable, 4, 0), 0);
    check("vm-assist.enable-5", HYPERCALL(HC_vm_assist, VMASST_CMD_enable, 5, 0), 0);
    check("vm-assist.m2p-strict", HYPERCALL(HC_vm_assist, VMASST_CMD_enable, 32, 0), 0);
    check("vm-assist.command-2", HYPERCALL(HC_vm_assist, 2, 0, 0), -XEN_ENOSYS);
}

static void debug_registers(void)
{
    check("debug.dr0", HYPERCALL(HC_set_debugreg, 0, 0x123456, 0), 0);
    check("debug.dr0-read", HYPERCALL(HC_get_debugreg, 0, 0, 0), 0x123456);
    check("debug.dr0-xen", HYPERCALL(HC_set_debugreg, 0, XEN_VIRT_START, 0), -XEN_EPERM);
    check("debug.dr6-high", HYPERCALL(HC_set_debugreg, 6, 1ull << 32, 0), -XEN_EINVAL);
    check("debug.dr6", HYPERCALL(HC_set_debugreg, 6, 0, 0), 0);
    check("debug.dr6-read", HYPERCALL(HC_get_debugreg, 6, 0, 0), 0xffff0ff0);
    check("debug.dr7-general-detect", HYPERCALL(HC_set_debugreg, 7, 0x2000, 0), -XEN_EPERM);
    check("debug.dr7-io", HYPERCALL(HC_set_debugreg, 7, 0x20001, 0), -XEN_EPERM);
    check("debug.dr7-read", HYPERCALL(HC_get_debugreg, 7, 0, 0), 0x400);
    check("debug.dr4", HYPERCALL(HC_set_debugreg, 4, 0, 0), 0);
    check("debug.dr8", HYPERCALL(HC_set_debugreg, 8, 0, 0), -XEN_ENODEV);
    check("debug.dr8-read", HYPERCALL(HC_get_debugreg, 8, 0, 0), -XEN_ENODEV);
    HYPERCALL(HC_set_debugreg, 0, 0, 0);
}

/* Runs one instruction; the vector it trapped with, -1 for none. */
#define OUTCOME(name, want, ...)                        \
    do {                                                \
        c.vector = ~0ull;                               \
        if (!catch_fault(&c)) {                         \
            __asm__ volatile(__VA_ARGS__);              \
            catch_end();                                \
        }                                               \
        check(name, (int64_t)c.vector, want);           \
    } while (0)

static void privileged(void)
{
    static uint64_t value; /* in memory: registers are not what they were after a trap */
    static const struct __attribute__((packed)) { uint16_t limit; uint64_t base; } none;
    OUTCOME("emulate.hlt", 13, "hlt");
    OUTCOME("emulate.cli", 13, "cli");
    OUTCOME("emulate.sti", 13, "sti");
    OUTCOME("emulate.read-cr0", -1, "mov %%cr0, %0" : "=r"(value));
    check("emulate.cr0-paging", (int64_t)(value & 0x80000001), 0x80000001);
    OUTCOME("emulate.write-cr0-same", -1, "mov %0, %%cr0" :: "r"(value));
    OUTCOME("emulate.write-cr0-no-paging", 13, "mov %0, %%cr0" :: "r"(value & ~0x80000000ull));
    OUTCOME("emulate.read-cr2", -1, "mov %%cr2, %0" : "=r"(value));
    OUTCOME("emulate.read-cr3", -1, "mov %%cr3, %0" : "=r"(value));
    check("emulate.cr3-is-root", (int64_t)(value >> 12), (int64_t)root_frame());
    OUTCOME("emulate.write-cr3-same", -1, "mov %0, %%cr3" :: "r"(value));
    OUTCOME("emulate.write-cr3-bad", 13, "mov %0, %%cr3" :: "r"(0xfffffffffull << 12));
    OUTCOME("emulate.read-cr4", -1, "mov %%cr4, %0" : "=r"(value));
    OUTCOME("emulate.write-cr4-same", -1, "mov %0, %%cr4" :: "r"(value));
    OUTCOME("emulate.read-cr8", 13, "mov %%cr8, %0" : "=r"(value));
    OUTCOME("emulate.read-dr7", -1, "mov %%dr7, %0" : "=r"(value));
    OUTCOME("emulate.clts", -1, "clts");
    OUTCOME("emulate.rdmsr-efer", -1, "rdmsr" : "=a"(value) : "c"(0xc0000080) : "rdx");
    check("emulate.efer", (int64_t)(value & 0xd01), 0xd01);
    OUTCOME("emulate.rdmsr-unknown", 13, "rdmsr" : "=a"(value) : "c"(0x12345678) : "rdx");
    OUTCOME("emulate.wrmsr-unknown", 13, "wrmsr" :: "a"(0), "d"(0), "c"(0x12345678));
    OUTCOME("emulate.wrmsr-efer", 13, "wrmsr" :: "a"(0), "d"(0), "c"(0xc0000080));
    OUTCOME("emulate.wrmsr-lstar", 13, "wrmsr" :: "a"(0), "d"(0), "c"(0xc0000082));
    OUTCOME("emulate.rdmsr-apic-base", -1, "rdmsr" : "=a"(value) : "c"(0x1b) : "rdx");
    OUTCOME("emulate.in", 13, "inb $0x71, %%al" : "=a"(value));
    OUTCOME("emulate.out", 13, "outb %%al, $0x80" :: "a"(0));
    OUTCOME("emulate.lgdt", 13, "lgdt %0" :: "m"(none));
    OUTCOME("emulate.lidt", 13, "lidt %0" :: "m"(none));
    OUTCOME("emulate.ltr", 13, "ltr %w0" :: "r"(0));
    OUTCOME("emulate.lldt", 13, "lldt %w0" :: "r"(0));
    OUTCOME("emulate.invlpg", 13, "invlpg (%0)" :: "r"(&c));
    OUTCOME("emulate.wbinvd", -1, "wbinvd");
    OUTCOME("emulate.invd", 13, "invd");
    OUTCOME("emulate.swapgs", 13, "swapgs");
    OUTCOME("emulate.sysret", 13, "sysretq");
    OUTCOME("emulate.rdtsc", -1, "rdtsc" : "=a"(value) :: "rdx");
    OUTCOME("emulate.rdpmc", 13, "rdpmc" : "=a"(value) : "c"(0) : "rdx");
    OUTCOME("emulate.lmsw", 13, "lmsw %w0" :: "r"(1));
    HYPERCALL(HC_fpu_taskswitch, 1, 0, 0);
    OUTCOME("fpu.not-available", 7, "fnop");
    HYPERCALL(HC_fpu_taskswitch, 0, 0, 0);
    OUTCOME("fpu.available", -1, "fnop");
    HYPERCALL(HC_fpu_taskswitch, 1, 0, 0);
    OUTCOME("fpu.after-clts", -1, "clts; fnop");
    uint32_t r[4];
    cpuid(0x40000000, 0, r);
    check("emulate.cpuid-signature", r[1], XEN_CPUID_SIGNATURE_EBX);
}

static void events(void)
{
    struct percpu *cpu = this_cpu();
    uint32_t before = cpu->nmis;
    check("nmi.send", HYPERCALL(HC_vcpu_op, VCPUOP_send_nmi, 0, 0), 0);
    check("nmi.came", cpu->nmis - before, 1);
    irq_disable();
    before = cpu->nmis;
    HYPERCALL(HC_vcpu_op, VCPUOP_send_nmi, 0, 0);
    check("nmi.despite-mask", cpu->nmis - before, 1);
    irq_enable();
    check("user.syscall", user_mode_hypercall(), 17);

    uint64_t vcpu_flags;
    __asm__ volatile("pushfq; pop %0" : "=r"(vcpu_flags));
    check("flags.if", (int64_t)(vcpu_flags & 0x3200), 0x200); /* IF is always on, IOPL 0, to the kernel that looks */
    if (!catch_fault(&c))
        enter_user(user_code(user_syscall), USER_STACK, 0, 0x202);
    check("user.flags", (int64_t)(c.frame.rflags & 0x3202), 0x202);
    check("user.mask-saved", (int64_t)(c.frame.cs >> 32 & 0xff), 0);
    check("user.rcx-is-rip", (int64_t)(c.frame.rcx - c.frame.rip), 0);
    check("user.r11-is-flags", (int64_t)(c.frame.r11 & 0x3202), 0x202);
}

void work_traps(const char *arg)
{
    (void)arg;
    registrations();
    debug_registers();
    privileged();
    events();
}

void work_syscall(const char *arg)
{
    uint64_t n = *arg ? parse_number(arg) : 1000, start = tsc();
    set_syscall_entry(syscall_back_entry);
    if (!catch_fault(&c))
        enter_user(user_code(user_loop), USER_STACK, n, 2);
    uint64_t cycles = tsc() - start;
    set_syscall_entry(syscall_entry);
    check("syscall.all-done", (int64_t)c.vector, 6);
    check("syscall.none-left", (int64_t)c.frame.rbx, 0);
    print("syscall: %lu round trips, %lu cycles each\n", n, cycles / n);
}

/** Hypercall numbers (public/xen.h). */
export const HYPERVISOR_set_trap_table = 0;
export const HYPERVISOR_mmu_update = 1;
export const HYPERVISOR_set_gdt = 2;
export const HYPERVISOR_stack_switch = 3;
export const HYPERVISOR_set_callbacks = 4;
export const HYPERVISOR_fpu_taskswitch = 5;
export const HYPERVISOR_sched_op_compat = 6;
export const HYPERVISOR_platform_op = 7;
export const HYPERVISOR_set_debugreg = 8;
export const HYPERVISOR_get_debugreg = 9;
export const HYPERVISOR_update_descriptor = 10;
export const HYPERVISOR_memory_op = 12;
export const HYPERVISOR_multicall = 13;
export const HYPERVISOR_update_va_mapping = 14;
export const HYPERVISOR_set_timer_op = 15;
export const HYPERVISOR_event_channel_op_compat = 16;
export const HYPERVISOR_xen_version = 17;
export const HYPERVISOR_console_io = 18;
export const HYPERVISOR_physdev_op_compat = 19;
export const HYPERVISOR_grant_table_op = 20;
export const HYPERVISOR_vm_assist = 21;
export const HYPERVISOR_update_va_mapping_otherdomain = 22;
export const HYPERVISOR_iret = 23;
export const HYPERVISOR_vcpu_op = 24;
export const HYPERVISOR_set_segment_base = 25;
export const HYPERVISOR_mmuext_op = 26;
export const HYPERVISOR_xsm_op = 27;
export const HYPERVISOR_nmi_op = 28;
export const HYPERVISOR_sched_op = 29;
export const HYPERVISOR_callback_op = 30;
export const HYPERVISOR_xenoprof_op = 31;
export const HYPERVISOR_event_channel_op = 32;
export const HYPERVISOR_physdev_op = 33;
export const HYPERVISOR_hvm_op = 34;
export const HYPERVISOR_sysctl = 35;
export const HYPERVISOR_domctl = 36;
export const HYPERVISOR_kexec_op = 37;
export const HYPERVISOR_tmem_op = 38;
export const HYPERVISOR_argo_op = 39;
export const HYPERVISOR_xenpmu_op = 40;
export const HYPERVISOR_dm_op = 41;
export const HYPERVISOR_hypfs_op = 42;
/** __HYPERVISOR_arch_0 and _1 of x86; the second is Xen's own continuation of a domctl. */
export const HYPERVISOR_mca = 48;
export const HYPERVISOR_paging_domctl_cont = 49;

/** One more than the highest number that Xen defines. */
export const NR_HYPERCALLS = 64;

/** Names by number, as public/xen.h has them without the prefix. */
export const HYPERCALL_NAMES: Readonly<Record<number, string>> = {
  0: "set_trap_table",
  1: "mmu_update",
  2: "set_gdt",
  3: "stack_switch",
  4: "set_callbacks",
  5: "fpu_taskswitch",
  6: "sched_op_compat",
  7: "platform_op",
  8: "set_debugreg",
  9: "get_debugreg",
  10: "update_descriptor",
  12: "memory_op",
  13: "multicall",
  14: "update_va_mapping",
  15: "set_timer_op",
  16: "event_channel_op_compat",
  17: "xen_version",
  18: "console_io",
  19: "physdev_op_compat",
  20: "grant_table_op",
  21: "vm_assist",
  22: "update_va_mapping_otherdomain",
  23: "iret",
  24: "vcpu_op",
  25: "set_segment_base",
  26: "mmuext_op",
  27: "xsm_op",
  28: "nmi_op",
  29: "sched_op",
  30: "callback_op",
  31: "xenoprof_op",
  32: "event_channel_op",
  33: "physdev_op",
  34: "hvm_op",
  35: "sysctl",
  36: "domctl",
  37: "kexec_op",
  38: "tmem_op",
  39: "argo_op",
  40: "xenpmu_op",
  41: "dm_op",
  42: "hypfs_op",
  48: "mca",
  49: "arch_1",
};

export const hypercallName = (number: number): string => HYPERCALL_NAMES[number] ?? "unknown";

/** Names for the numbers of a report. */

/** `__HYPERVISOR_*` of public/xen.h, without the prefix, by number. */
export const HYPERCALL_NAMES: ReadonlyMap<number, string> = new Map([
  [0, "set_trap_table"],
  [1, "mmu_update"],
  [2, "set_gdt"],
  [3, "stack_switch"],
  [4, "set_callbacks"],
  [5, "fpu_taskswitch"],
  [6, "sched_op_compat"],
  [7, "platform_op"],
  [8, "set_debugreg"],
  [9, "get_debugreg"],
  [10, "update_descriptor"],
  [12, "memory_op"],
  [13, "multicall"],
  [14, "update_va_mapping"],
  [15, "set_timer_op"],
  [16, "event_channel_op_compat"],
  [17, "xen_version"],
  [18, "console_io"],
  [19, "physdev_op_compat"],
  [20, "grant_table_op"],
  [21, "vm_assist"],
  [22, "update_va_mapping_otherdomain"],
  [23, "iret"],
  [24, "vcpu_op"],
  [25, "set_segment_base"],
  [26, "mmuext_op"],
  [27, "xsm_op"],
  [28, "nmi_op"],
  [29, "sched_op"],
  [30, "callback_op"],
  [31, "xenoprof_op"],
  [32, "event_channel_op"],
  [33, "physdev_op"],
  [34, "hvm_op"],
  [35, "sysctl"],
  [36, "domctl"],
  [37, "kexec_op"],
  [38, "tmem_op"],
  [39, "argo_op"],
  [40, "xenpmu_op"],
  [41, "dm_op"],
  [42, "hypfs_op"],
  [48, "arch_0"],
  [49, "arch_1"],
]);

/** Mnemonics of the exception vectors, SDM volume 3, table 7-1. */
export const FAULT_NAMES: ReadonlyMap<number, string> = new Map([
  [0, "#DE"],
  [1, "#DB"],
  [2, "NMI"],
  [3, "#BP"],
  [4, "#OF"],
  [5, "#BR"],
  [6, "#UD"],
  [7, "#NM"],
  [8, "#DF"],
  [9, "coprocessor segment overrun"],
  [10, "#TS"],
  [11, "#NP"],
  [12, "#SS"],
  [13, "#GP"],
  [14, "#PF"],
  [16, "#MF"],
  [17, "#AC"],
  [18, "#MC"],
  [19, "#XM"],
  [20, "#VE"],
  [21, "#CP"],
]);

export function hypercallName(number: number): string {
  return HYPERCALL_NAMES.get(number) ?? "unknown";
}

export function faultName(vector: number): string {
  return FAULT_NAMES.get(vector) ?? `vector ${vector}`;
}

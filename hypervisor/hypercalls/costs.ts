/**
 * What the hypervisor's own work costs, in cycles: one table for all paths. The figures are those of a processor of the
 * last years with hardware virtualization, rounded; they are charged to the account "hypervisor" of the vcpu that causes
 * the work, and move its clock.
 */
/** VM exit and entry: the hardware's share and saving the registers. */
export const COST_EXIT = 1000;
/** PV: SYSCALL into Xen and SYSRET out of it; an exception through Xen's IDT and IRET. */
export const COST_PV_SYSCALL = 150;
export const COST_PV_TRAP = 500;
/** Writing a bounce frame; reading an IRET frame; loading CR3 for the other half of the guest. */
export const COST_PV_BOUNCE = 100;
export const COST_PV_IRET = 100;
export const COST_PV_TOGGLE = 100;
/** Decoding and emulating a privileged instruction. */
export const COST_PV_EMULATE = 700;
/** From the exit to the handler of a hypercall, and back. */
export const COST_HYPERCALL = 150;
/** One call of a multicall. */
export const COST_MULTICALL_ENTRY = 40;
/** Copying between guest and hypervisor: a walk of the guest's tables for each page, and the bytes. */
export const COST_COPY_PAGE = 60;
/** Choosing another vcpu and switching to it. */
export const COST_SCHEDULE = 700;
export const COST_CONTEXT_SWITCH = 1200;
/** Taking an event out of the timer queue. */
export const COST_TIMER = 300;
/** Setting an event pending and looking at its vcpu. */
export const COST_EVENT_SEND = 150;
/** Delivering an interrupt into a guest. */
export const COST_INJECT = 100;
/** CPUID, RDMSR, WRMSR, port and memory-mapped I/O after the exit. */
export const COST_CPUID = 120;
export const COST_MSR = 100;
export const COST_IO = 200;
export const COST_MMIO = 900;
/** Changing one p2m entry. */
export const COST_P2M_CHANGE = 120;
/** Flushing TLBs on all processors. */
export const COST_TLB_FLUSH = 1500;
/** Allocating and scrubbing a frame. */
export const COST_PAGE_ALLOC = 250;
/** Grant operations, per entry, without the p2m change. */
export const COST_GRANT = 250;
/** Bytes copied by the hypervisor per cycle (grant copy, console). */
export const COPY_BYTES_PER_CYCLE = 8;
/** Dropping all translations of the running vcpu; one page of them; and those of a vcpu on another processor, with the interrupt. */
export const COST_FLUSH_LOCAL = 300;
export const COST_INVLPG = 120;
export const COST_FLUSH_IPI = 2000;
/** One update of a page-table entry by hypercall or emulated write, with its checks. */
export const COST_PTE_UPDATE = 120;
/** Validating a page table, or taking it apart, per entry. */
export const COST_PTE_CHECK = 4;
/** An operation of mmuext_op, without what it validates or flushes. */
export const COST_MMUEXT = 100;

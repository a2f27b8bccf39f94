/*
 * Xen's public ABI for x86-64 guests, as far as our kernels use it: numbers and
 * structure layouts, after the public headers of Xen 4.17 (named in brackets).
 */
#ifndef XEN_H
#define XEN_H

#define DOMID_SELF       0x7ff0
#define DOMID_NOBODY     0x7ffe /* a number no domain has */

/* Hypercall numbers [xen.h]. */
#define HC_set_trap_table   0
#define HC_mmu_update       1
#define HC_set_gdt          2
#define HC_stack_switch     3
#define HC_set_callbacks    4
#define HC_fpu_taskswitch   5
#define HC_platform_op      7
#define HC_set_debugreg     8
#define HC_get_debugreg     9
#define HC_update_descriptor 10
#define HC_memory_op       12
#define HC_multicall       13
#define HC_update_va_mapping 14
#define HC_set_timer_op    15
#define HC_xen_version     17
#define HC_console_io      18
#define HC_grant_table_op  20
#define HC_vm_assist       21
#define HC_update_va_mapping_otherdomain 22
#define HC_iret            23
#define HC_vcpu_op         24
#define HC_set_segment_base 25
#define HC_mmuext_op       26
#define HC_nmi_op          28
#define HC_sched_op        29
#define HC_callback_op     30
#define HC_event_channel_op 32
#define HC_physdev_op      33
#define HC_hvm_op          34
#define HC_sysctl          35
#define HC_domctl          36
#define HC_LAST            63

/* Errors come back negated [errno.h]. */
#define XEN_EPERM 1
#define XEN_ENOENT 2
#define XEN_ESRCH 3
#define XEN_EINTR 4
#define XEN_EIO 5
#define XEN_ENXIO 6
#define XEN_E2BIG 7
#define XEN_EAGAIN 11
#define XEN_ENOMEM 12
#define XEN_EACCES 13
#define XEN_EFAULT 14
#define XEN_EBUSY 16
#define XEN_EEXIST 17
#define XEN_EXDEV 18
#define XEN_ENODEV 19
#define XEN_EINVAL 22
#define XEN_ENOSPC 28
#define XEN_ERANGE 34
#define XEN_ENOSYS 38
#define XEN_EOVERFLOW 75
#define XEN_EOPNOTSUPP 95

/* CPUID leaves, relative to the base at which the signature stands [arch-x86/cpuid.h]. */
#define XEN_CPUID_SIGNATURE_EBX 0x566e6558 /* "XenV" */
#define XEN_CPUID_SIGNATURE_ECX 0x65584d4d /* "MMXe" */
#define XEN_CPUID_SIGNATURE_EDX 0x4d4d566e /* "nVMM" */
#define XEN_HVM_CPUID_APIC_ACCESS_VIRT  (1u << 0)
#define XEN_HVM_CPUID_X2APIC_VIRT       (1u << 1)
#define XEN_HVM_CPUID_IOMMU_MAPPINGS    (1u << 2)
#define XEN_HVM_CPUID_VCPU_ID_PRESENT   (1u << 3) /* EBX */
#define XEN_HVM_CPUID_DOMID_PRESENT     (1u << 4) /* ECX */

/* ELF notes of a PV kernel [elfnote.h]. */
#define XEN_ELFNOTE_ENTRY 1
#define XEN_ELFNOTE_HYPERCALL_PAGE 2
#define XEN_ELFNOTE_VIRT_BASE 3
#define XEN_ELFNOTE_PADDR_OFFSET 4
#define XEN_ELFNOTE_XEN_VERSION 5
#define XEN_ELFNOTE_GUEST_OS 6
#define XEN_ELFNOTE_LOADER 8
#define XEN_ELFNOTE_PAE_MODE 9
#define XEN_ELFNOTE_SUPPORTED_FEATURES 17

/* PV: selectors of Xen's part of the GDT, flags of contexts and of the iret frame [arch-x86/xen-x86_64.h, arch-x86/xen.h]. */
#define FLAT_KERNEL_CS 0xe030 /* as a bounce frame has it: RPL 0 stands for the kernel */
#define FLAT_KERNEL_SS 0xe02b
#define FLAT_USER_CS 0xe033
#define FLAT_USER_SS 0xe02b
#define FLAT_CS32 0xe023
#define FIRST_RESERVED_GDT_ENTRY 3584
#define VGCF_i387_valid 1
#define VGCF_in_kernel 4
#define VGCF_failsafe_disables_events 8
#define VGCF_syscall_disables_events 16
#define VGCF_in_syscall 0x100
#define TI_MASK_EVENTS 4 /* trap_info.flags: events are masked on entry; the low two bits are the DPL */
#define SIF_PRIVILEGED 1
#define SIF_INITDOMAIN 2
#define SIF_MOD_START_PFN 8
#define MACH2PHYS ((uint64_t *)0xffff800000000000ul)
#define XEN_VIRT_START 0xffff800000000000ul
#define XEN_VIRT_END 0xffff880000000000ul

/* PV memory [xen.h]. */
#define MMU_NORMAL_PT_UPDATE 0
#define MMU_MACHPHYS_UPDATE 1
#define MMU_PT_UPDATE_PRESERVE_AD 2
#define MMU_PT_UPDATE_NO_TRANSLATE 3
#define MMUEXT_PIN_L1_TABLE 0
#define MMUEXT_PIN_L2_TABLE 1
#define MMUEXT_PIN_L3_TABLE 2
#define MMUEXT_PIN_L4_TABLE 3
#define MMUEXT_UNPIN_TABLE 4
#define MMUEXT_NEW_BASEPTR 5
#define MMUEXT_TLB_FLUSH_LOCAL 6
#define MMUEXT_INVLPG_LOCAL 7
#define MMUEXT_TLB_FLUSH_MULTI 8
#define MMUEXT_INVLPG_MULTI 9
#define MMUEXT_TLB_FLUSH_ALL 10
#define MMUEXT_INVLPG_ALL 11
#define MMUEXT_FLUSH_CACHE 12
#define MMUEXT_SET_LDT 13
#define MMUEXT_NEW_USER_BASEPTR 15
#define MMUEXT_CLEAR_PAGE 16
#define MMUEXT_COPY_PAGE 17
#define MMUEXT_FLUSH_CACHE_GLOBAL 18
#define MMUEXT_MARK_SUPER 19
#define MMUEXT_UNMARK_SUPER 20
#define UVMF_NONE 0
#define UVMF_TLB_FLUSH 1
#define UVMF_INVLPG 2
#define UVMF_LOCAL 0
#define UVMF_ALL 4

/* PV processor state [arch-x86/xen-x86_64.h, callback.h, xen.h]. */
#define SEGBASE_FS 0
#define SEGBASE_GS_USER 1
#define SEGBASE_GS_KERNEL 2
#define SEGBASE_GS_USER_SEL 3
#define CALLBACKOP_register 0
#define CALLBACKOP_unregister 1
#define CALLBACKTYPE_event 0
#define CALLBACKTYPE_failsafe 1
#define CALLBACKTYPE_syscall 2
#define CALLBACKTYPE_nmi 4
#define CALLBACKTYPE_sysenter 5
#define CALLBACKTYPE_syscall32 7
#define CALLBACKF_mask_events 1
#define VMASST_CMD_enable 0
#define VMASST_CMD_disable 1

/* Our own numbers for what comes through callbacks, behind the 256 vectors. */
#define VECTOR_SYSCALL 0x100
#define VECTOR_SYSCALL32 0x101
#define VECTOR_SYSENTER 0x102
#define VECTOR_NMI 0x103
#define VECTOR_FAILSAFE 0x104

/* PVH entry [arch-x86/hvm/start_info.h, elfnote.h]. */
#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define START_INFO_MAGIC 0x336ec578
#define MEMMAP_RAM 1

/* xen_version [version.h, features.h]. */
#define XENVER_version 0
#define XENVER_extraversion 1
#define XENVER_compile_info 2
#define XENVER_capabilities 3
#define XENVER_changeset 4
#define XENVER_platform_parameters 5
#define XENVER_get_features 6
#define XENVER_pagesize 7
#define XENVER_guest_handle 8
#define XENFEAT_writable_page_tables 0
#define XENFEAT_auto_translated_physmap 2
#define XENFEAT_mmu_pt_update_preserve_ad 5
#define XENFEAT_highmem_assist 6
#define XENFEAT_gnttab_map_avail_bits 7
#define XENFEAT_hvm_callback_vector 8
#define XENFEAT_hvm_safe_pvclock 9
#define XENFEAT_hvm_pirqs 10
#define XENFEAT_dom0 11
#define XENFEAT_memory_op_vnode_supported 13
#define XENFEAT_not_direct_mapped 16

/* memory_op [memory.h]. */
#define XENMEM_increase_reservation 0
#define XENMEM_decrease_reservation 1
#define XENMEM_current_reservation 3
#define XENMEM_maximum_reservation 4
#define XENMEM_populate_physmap 6
#define XENMEM_add_to_physmap 7
#define XENMEM_memory_map 9
#define XENMEM_machine_memory_map 10
#define XENMEM_exchange 11
#define XENMEM_machphys_mapping 12
#define XENMEM_maximum_gpfn 14
#define XENMEM_remove_from_physmap 15
#define XENMEM_claim_pages 24
#define XENMEM_add_to_physmap_batch 23
#define XENMAPSPACE_shared_info 0
#define XENMAPSPACE_grant_table 1
#define XENMAPSPACE_gmfn 2
#define XENMAPSPACE_gmfn_range 3
#define XENMAPSPACE_gmfn_foreign 4
#define XENMAPSPACE_dev_mmio 5
#define XENMAPIDX_grant_table_status 0x80000000u

/* sched_op [sched.h]. */
#define SCHEDOP_yield 0
#define SCHEDOP_block 1
#define SCHEDOP_shutdown 2
#define SCHEDOP_poll 3
#define SCHEDOP_remote_shutdown 4
#define SCHEDOP_watchdog 6
#define SCHEDOP_pin_override 7
#define SHUTDOWN_poweroff 0
#define SHUTDOWN_reboot 1
#define SHUTDOWN_suspend 2
#define SHUTDOWN_crash 3

/* vcpu_op [vcpu.h, hvm/hvm_vcpu.h]. */
#define VCPUOP_initialise 0
#define VCPUOP_up 1
#define VCPUOP_down 2
#define VCPUOP_is_up 3
#define VCPUOP_get_runstate_info 4
#define VCPUOP_register_runstate_memory_area 5
#define VCPUOP_set_periodic_timer 6
#define VCPUOP_stop_periodic_timer 7
#define VCPUOP_set_singleshot_timer 8
#define VCPUOP_stop_singleshot_timer 9
#define VCPUOP_register_vcpu_info 10
#define VCPUOP_send_nmi 11
#define VCPUOP_get_physid 12
#define VCPU_HVM_MODE_64B 1

/* event_channel_op [event_channel.h]. */
#define EVTCHNOP_bind_interdomain 0
#define EVTCHNOP_bind_virq 1
#define EVTCHNOP_close 3
#define EVTCHNOP_send 4
#define EVTCHNOP_status 5
#define EVTCHNOP_alloc_unbound 6
#define EVTCHNOP_bind_ipi 7
#define EVTCHNOP_bind_vcpu 8
#define EVTCHNOP_unmask 9
#define EVTCHNOP_init_control 11
#define EVTCHNOP_expand_array 12
#define EVTCHNOP_set_priority 13
#define VIRQ_TIMER 0
#define VIRQ_DEBUG 1
#define VIRQ_CONSOLE 2
#define EVTCHNSTAT_closed 0
#define EVTCHNSTAT_unbound 1
#define EVTCHNSTAT_interdomain 2
#define EVTCHNSTAT_virq 4
#define EVTCHNSTAT_ipi 5
#define EVTCHN_2L_PORTS 4096
#define FIFO_PENDING (1u << 31)
#define FIFO_MASKED (1u << 30)
#define FIFO_LINKED (1u << 29)
#define FIFO_LINK_MASK ((1u << 17) - 1)
#define FIFO_PRIORITY_DEFAULT 7
#define FIFO_PRIORITY_MIN 15
#define FIFO_QUEUES 16

/* hvm_op [hvm/hvm_op.h, hvm/params.h]. */
#define HVMOP_set_param 0
#define HVMOP_get_param 1
#define HVMOP_flush_tlbs 5
#define HVMOP_set_evtchn_upcall_vector 23
#define HVM_PARAM_CALLBACK_IRQ 0
#define HVM_PARAM_STORE_PFN 1
#define HVM_PARAM_STORE_EVTCHN 2
#define HVM_PARAM_PAE_ENABLED 4
#define HVM_PARAM_IOREQ_PFN 5
#define HVM_PARAM_CONSOLE_PFN 17
#define HVM_PARAM_CONSOLE_EVTCHN 18
#define CALLBACK_VIA_VECTOR (2ull << 56)

/* grant_table_op [grant_table.h]. */
#define GNTTABOP_map_grant_ref 0
#define GNTTABOP_unmap_grant_ref 1
#define GNTTABOP_setup_table 2
#define GNTTABOP_transfer 4
#define GNTTABOP_copy 5
#define GNTTABOP_query_size 6
#define GNTTABOP_unmap_and_replace 7
#define GNTTABOP_set_version 8
#define GNTTABOP_get_status_frames 9
#define GNTTABOP_get_version 10
#define GNTTABOP_swap_grant_ref 11
#define GNTTABOP_cache_flush 12
#define GNTMAP_device_map 1
#define GNTMAP_host_map 2
#define GNTMAP_readonly 4
#define GNTCOPY_source_gref 1
#define GNTCOPY_dest_gref 2
#define GNTST_okay 0
#define GNTST_general_error (-1)
#define GNTST_bad_domain (-2)
#define GNTST_bad_gntref (-3)
#define GNTST_bad_handle (-4)
#define GNTST_bad_copy_arg (-10)
#define GNTST_eagain (-12)
#define GTF_invalid 0
#define GTF_permit_access 1
#define GTF_accept_transfer 2
#define GTF_transitive 3
#define GTF_readonly 4
#define GTF_reading 8
#define GTF_writing 16
#define GTF_sub_page 256
#define GNTTAB_RESERVED 8

#ifndef __ASSEMBLER__
#include <stdint.h>

typedef uint16_t domid_t;
typedef uint32_t evtchn_port_t;

struct start_info {
    uint32_t magic, version, flags, nr_modules;
    uint64_t modules, cmdline, rsdp;
    uint64_t memmap; /* version 1 and later */
    uint32_t memmap_entries, reserved;
};
struct memmap_entry {
    uint64_t addr, size;
    uint32_t type, reserved;
};
struct e820_entry {
    uint64_t addr, size;
    uint32_t type;
} __attribute__((packed));

struct vcpu_time_info {
    uint32_t version, pad;
    uint64_t tsc_timestamp, system_time;
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags, pad1[2];
};
struct vcpu_info {
    uint8_t upcall_pending, upcall_mask, pad[6];
    uint64_t pending_sel;
    uint64_t cr2, pad2;
    struct vcpu_time_info time;
};
struct shared_info {
    struct vcpu_info vcpu[32];
    uint64_t pending[64], mask[64];
    uint32_t wc_version, wc_sec, wc_nsec, wc_sec_hi;
};
_Static_assert(sizeof(struct vcpu_info) == 64, "vcpu_info");
_Static_assert(__builtin_offsetof(struct shared_info, wc_version) == 3072, "shared_info");

struct xen_feature_info { uint32_t submap_idx, submap; };
struct xen_memory_reservation {
    uint64_t *extent_start;
    uint64_t nr_extents;
    uint32_t extent_order, mem_flags;
    domid_t domid;
};
struct xen_add_to_physmap {
    domid_t domid;
    uint16_t size;
    uint32_t space;
    uint64_t idx, gpfn;
};
struct xen_add_to_physmap_batch {
    domid_t domid;
    uint16_t space, size, extra;
    uint64_t *idxs, *gpfns;
    int32_t *errs;
};
struct xen_remove_from_physmap { domid_t domid; uint64_t gpfn; };
struct xen_memory_map { uint32_t nr_entries; void *buffer; };
_Static_assert(sizeof(struct xen_add_to_physmap_batch) == 32, "add_to_physmap_batch");

struct sched_shutdown { uint32_t reason; };
struct sched_poll { evtchn_port_t *ports; uint32_t nr_ports; uint64_t timeout; };
struct sched_watchdog { uint32_t id, timeout; };
struct sched_remote_shutdown { domid_t domid; uint32_t reason; };

struct vcpu_runstate_info { int32_t state; uint64_t entry_time, time[4]; };
struct vcpu_register_vcpu_info { uint64_t gfn; uint32_t offset, rsvd; };
struct vcpu_set_singleshot_timer { uint64_t timeout_abs_ns; uint32_t flags; };
struct vcpu_set_periodic_timer { uint64_t period_ns; };
struct vcpu_hvm_context {
    uint32_t mode, pad;
    union {
        struct {
            uint64_t rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, rip, rflags, cr0, cr3, cr4, efer;
        };
        uint8_t space[152]; /* the 32-bit form is the larger one */
    };
};

struct evtchn_bind_interdomain { domid_t remote_dom; evtchn_port_t remote_port, local_port; };
struct evtchn_bind_virq { uint32_t virq, vcpu; evtchn_port_t port; };
struct evtchn_bind_ipi { uint32_t vcpu; evtchn_port_t port; };
struct evtchn_bind_vcpu { evtchn_port_t port; uint32_t vcpu; };
struct evtchn_alloc_unbound { domid_t dom, remote_dom; evtchn_port_t port; };
struct evtchn_port_op { evtchn_port_t port; }; /* close, send, unmask */
struct evtchn_status {
    domid_t dom;
    evtchn_port_t port;
    uint32_t status, vcpu;
    union {
        struct { domid_t dom; } unbound;
        struct { domid_t dom; evtchn_port_t port; } interdomain;
        uint32_t virq;
    };
};
struct evtchn_init_control { uint64_t control_gfn; uint32_t offset, vcpu; uint8_t link_bits, pad[7]; };
struct evtchn_expand_array { uint64_t array_gfn; };
struct evtchn_set_priority { evtchn_port_t port; uint32_t priority; };
struct evtchn_fifo_control { uint32_t ready, rsvd, head[FIFO_QUEUES]; };

struct xen_hvm_param { domid_t domid; uint32_t index; uint64_t value; };
struct xen_hvm_evtchn_upcall_vector { uint32_t vcpu; uint8_t vector; };

struct grant_entry_v1 { uint16_t flags; domid_t domid; uint32_t frame; };
union grant_entry_v2 {
    struct { uint16_t flags; domid_t domid; } hdr;
    struct { uint16_t flags; domid_t domid; uint32_t pad; uint64_t frame; } full;
    struct { uint16_t flags; domid_t domid; uint16_t offset, length; uint64_t frame; } sub;
    struct { uint16_t flags; domid_t domid, trans_domid; uint16_t pad; uint32_t ref; } trans;
};
_Static_assert(sizeof(union grant_entry_v2) == 16, "grant_entry_v2");
struct gnttab_map {
    uint64_t host_addr;
    uint32_t flags, ref;
    domid_t dom;
    int16_t status;
    uint32_t handle;
    uint64_t dev_bus_addr;
};
struct gnttab_unmap { uint64_t host_addr, dev_bus_addr; uint32_t handle; int16_t status; };
struct gnttab_setup { domid_t dom; uint32_t nr_frames; int16_t status; uint64_t *frame_list; };
struct gnttab_query { domid_t dom; uint32_t nr_frames, max_nr_frames; int16_t status; };
struct gnttab_copy_end { union { uint32_t ref; uint64_t gfn; }; domid_t domid; uint16_t offset; };
struct gnttab_copy { struct gnttab_copy_end source, dest; uint16_t len, flags; int16_t status; };
struct gnttab_version { uint32_t version; };
struct gnttab_get_version { domid_t dom; uint16_t pad; uint32_t version; };
struct gnttab_status_frames { uint32_t nr_frames; domid_t dom; int16_t status; uint64_t *frame_list; };
struct gnttab_swap { uint32_t a, b; int16_t status; };
struct gnttab_transfer { uint64_t gfn; domid_t domid; uint32_t ref; int16_t status; };
_Static_assert(sizeof(struct gnttab_copy) == 40 && sizeof(struct gnttab_map) == 32, "gnttab");

/* PV [xen.h, arch-x86/xen.h] */
struct pv_start_info {
    char magic[32];
    uint64_t nr_pages, shared_info; /* machine address */
    uint32_t flags;
    uint64_t store_mfn;
    uint32_t store_evtchn;
    uint64_t console_mfn;
    uint32_t console_evtchn;
    uint64_t pt_base, nr_pt_frames, mfn_list, mod_start, mod_len;
    char cmdline[1024];
    uint64_t first_p2m_pfn, nr_p2m_frames;
};
_Static_assert(__builtin_offsetof(struct pv_start_info, cmdline) == 128, "start_info");
struct trap_info { uint8_t vector, flags; uint16_t cs; uint64_t address; };
struct mmu_update { uint64_t ptr, val; };
struct mmuext_op {
    uint32_t cmd;
    union { uint64_t mfn, linear_addr; };
    union { uint32_t nr_ents; const void *vcpumask; uint64_t src_mfn; };
};
struct callback_register { uint16_t type, flags; uint64_t address; };
struct iret_context { uint64_t rax, r11, rcx, flags, rip, cs, rflags, rsp, ss; };
struct pv_user_regs {
    uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
    uint32_t error_code, entry_vector;
    uint64_t rip;
    uint16_t cs, pad0;
    uint8_t saved_upcall_mask, pad1[3];
    uint64_t rflags, rsp, ss, es, ds, fs, gs;
};
struct vcpu_guest_context {
    uint8_t fpu[512];
    uint64_t flags;
    struct pv_user_regs user_regs;
    struct trap_info trap_ctxt[256];
    uint64_t ldt_base, ldt_ents, gdt_frames[16], gdt_ents;
    uint64_t kernel_ss, kernel_sp, ctrlreg[8], debugreg[8];
    uint64_t event_callback_eip, failsafe_callback_eip, syscall_callback_eip, vm_assist;
    uint64_t fs_base, gs_base_kernel, gs_base_user;
};
_Static_assert(sizeof(struct pv_user_regs) == 200 && sizeof(struct vcpu_guest_context) == 5168, "vcpu_guest_context");

struct multicall_entry { uint64_t op, result, args[6]; };

/* [io/console.h] */
struct xencons_interface {
    char in[1024], out[2048];
    uint32_t in_cons, in_prod, out_cons, out_prod;
};

/* [io/xs_wire.h] */
struct xenstore_interface {
    char req[1024], rsp[1024];
    uint32_t req_cons, req_prod, rsp_cons, rsp_prod;
    uint32_t server_features, connection, error;
};
struct xs_header { uint32_t type, req_id, tx_id, len; };
enum xs_type {
    XS_DIRECTORY = 1, XS_READ, XS_GET_PERMS, XS_WATCH, XS_UNWATCH, XS_TRANSACTION_START, XS_TRANSACTION_END,
    XS_INTRODUCE, XS_RELEASE, XS_GET_DOMAIN_PATH, XS_WRITE, XS_MKDIR, XS_RM, XS_SET_PERMS, XS_WATCH_EVENT, XS_ERROR, XS_RESET_WATCHES = 21,
};
#define XS_PAYLOAD_MAX 4096

#endif
#endif

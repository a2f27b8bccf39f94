/* Entry of the PV kernel: 64-bit mode, ring 3, on Xen's page tables and boot stack; RSI = start_info [xen.h]. */
#include "xen.h"

.macro note type, text
        .balign 4
        .long 4, 2f - 1f, \type
        .asciz "Xen"
1:      .asciz "\text"
2:      .balign 4
.endm
.macro note_quad type, value
        .balign 4
        .long 4, 8, \type
        .asciz "Xen"
        .quad \value
.endm

        .section .note.Xen, "a", @note
        note XEN_ELFNOTE_GUEST_OS, "Xenoscope guest"
        note XEN_ELFNOTE_XEN_VERSION, "xen-3.0"
        note XEN_ELFNOTE_LOADER, "generic"
        note XEN_ELFNOTE_PAE_MODE, "yes"
        note_quad XEN_ELFNOTE_VIRT_BASE, 0
        note_quad XEN_ELFNOTE_PADDR_OFFSET, 0
        note_quad XEN_ELFNOTE_ENTRY, start
        note_quad XEN_ELFNOTE_HYPERCALL_PAGE, hypercall_page
        note_quad XEN_ELFNOTE_SUPPORTED_FEATURES, 1 << XENFEAT_dom0

        .text
        .globl  start
start:
        cld
        movq    $boot_stack_top, %rsp
        movq    %rsi, %rdi
        xorl    %ebp, %ebp
        call    main
        ud2

/* Where a vcpu begins that VCPUOP_initialise set up: its own stack, RDI = its percpu. */
        .globl  vcpu_start
vcpu_start:
        xorl    %ebp, %ebp
        call    vcpu_main
        ud2

        .bss
        .balign 4096
boot_stack:     .skip 4096 * 8
        .globl  boot_stack_top
boot_stack_top:
        .section .note.GNU-stack, "", @progbits

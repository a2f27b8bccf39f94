/*
 * Entry of the PVH kernel: 32-bit protected mode, no paging, EBX = start_info
 * (public header arch-x86/hvm/start_info.h). Goes to long mode on tables that map
 * the first 4 GiB onto themselves in 2 MiB pages; main() makes the final ones.
 */
#include "xen.h"

        .section .note.Xen, "a", @note
        .balign 4
        .long 4, 8, XEN_ELFNOTE_PHYS32_ENTRY
        .asciz "Xen"
        .balign 4
        .quad start32

#define CR0_PE          0x00000001
#define CR0_MP          0x00000002
#define CR0_ET          0x00000010
#define CR0_NE          0x00000020
#define CR0_WP          0x00010000
#define CR0_PG          0x80000000
#define CR0_BITS        (CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG)
#define CR4_PAE         0x20
#define MSR_EFER        0xc0000080
#define EFER_LME_NXE    0x900

        .text
        .code32
        .globl start32
start32:
        cld
        movl    $boot_stack_top, %esp
        movl    %ebx, %ebp

        movl    $boot_pdpt + 3, boot_pml4
        movl    $boot_pd + 3, %eax
        xorl    %ecx, %ecx
1:      movl    %eax, boot_pdpt(,%ecx,8)
        addl    $4096, %eax
        incl    %ecx
        cmpl    $4, %ecx
        jne     1b
        movl    $0x83, %eax             /* present, writable, 2 MiB */
        xorl    %ecx, %ecx
1:      movl    %eax, boot_pd(,%ecx,8)
        addl    $0x200000, %eax
        incl    %ecx
        cmpl    $2048, %ecx
        jne     1b

        movl    $CR4_PAE, %eax
        movl    %eax, %cr4
        movl    $boot_pml4, %eax
        movl    %eax, %cr3
        movl    $MSR_EFER, %ecx
        movl    $EFER_LME_NXE, %eax
        xorl    %edx, %edx
        wrmsr
        movl    $CR0_BITS, %eax
        movl    %eax, %cr0
        lgdt    boot_gdtr
        ljmp    $0x08, $start64

        .code64
start64:
        movl    $0x10, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        xorl    %eax, %eax
        movl    %eax, %fs
        movl    %eax, %gs
        movl    %ebp, %edi
        xorl    %ebp, %ebp
        call    main
        hlt

/*
 * Where a vcpu begins that VCPUOP_initialise set up: long mode, tables and stack in
 * place, RDI = its percpu, but Xen's flat segments and no GDT of ours yet.
 */
        .globl  vcpu_start64
vcpu_start64:
        xorl    %ebp, %ebp
        call    vcpu_main
        hlt

/*
 * Where a vcpu begins after INIT-SIPI-SIPI: copied to a page below 1 MiB, real mode,
 * CS = that page. Long mode in one step: PE and PG together, with LME set before.
 */
        .globl  sipi_begin, sipi_end, sipi_cr3, sipi_percpu, sipi_stack
        .balign 16
sipi_begin:
        .code16
        cli
        cld
        movw    %cs, %ax
        movw    %ax, %ds
        movl    $CR4_PAE, %eax
        movl    %eax, %cr4
        movl    sipi_cr3 - sipi_begin, %eax
        movl    %eax, %cr3
        movl    $MSR_EFER, %ecx
        movl    $EFER_LME_NXE, %eax
        xorl    %edx, %edx
        wrmsr
        lgdtl   sipi_gdtr - sipi_begin
        movl    sipi_percpu - sipi_begin, %edi
        movl    sipi_stack - sipi_begin, %esp
        movl    $CR0_BITS, %eax
        movl    %eax, %cr0
        ljmpl   $0x08, $sipi_start64
        .balign 8
sipi_cr3:       .long 0
sipi_percpu:    .long 0
sipi_stack:     .long 0
sipi_gdtr:      .word 23
                .long boot_gdt
sipi_end:

        .code64
sipi_start64:
        movl    $0x10, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        movl    %edi, %edi
        movl    %esp, %esp
        jmp     vcpu_start64

        .section .rodata
        .balign 8
boot_gdt:
        .quad   0
        .quad   0x00af9b000000ffff      /* 0x08: 64-bit code */
        .quad   0x00cf93000000ffff      /* 0x10: data */
boot_gdtr:
        .word   23
        .long   boot_gdt, 0

        .bss
        .balign 4096
        .globl  boot_pml4
boot_pml4:      .skip 4096
boot_pdpt:      .skip 4096
boot_pd:        .skip 4096 * 4
boot_stack:     .skip 4096 * 4
        .globl  boot_stack_top
boot_stack_top:
        .section .note.GNU-stack, "", @progbits

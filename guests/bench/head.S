/*
 * Entry of the benchmark kernel (PVH: 32-bit protected mode, no paging, EBX = start_info), and what can't be said in C:
 * traps, system calls, user mode and the context switch.
 */
#include "xen.h"

        .section .note.Xen, "a", @note
        .balign 4
        .long 4, 8, XEN_ELFNOTE_PHYS32_ENTRY
        .asciz "Xen"
        .balign 4
        .quad start32

#define CR0_BITS        0x80010033      /* PG WP NE ET MP PE */
#define CR4_BITS        0x6a0           /* OSXMMEXCPT OSFXSR PGE PAE */
#define MSR_EFER        0xc0000080
#define EFER_BITS       0x101           /* LME SCE */
#define SEL_CODE        0x08
#define SEL_DATA        0x10
#define SEL_USER_DATA   0x23
#define SEL_USER_CODE   0x2b
#define TABLE           7               /* present, writable, user */
#define LARGE           0x187           /* the same, 2 MiB, global */

        .text
        .code32
        .globl start32
start32:
        cld
        movl    $stack_top, %esp
        movl    %ebx, %ebp

        /* The first 4 GiB onto themselves, and the window of each address space behind 512 GiB. */
        movl    $identity_pdpt + TABLE, roots
        movl    $identity_pdpt + TABLE, roots + 4096
        movl    $window_pdpts + TABLE, roots + 8
        movl    $window_pdpts + 4096 + TABLE, roots + 4096 + 8
        movl    $window_pds + TABLE, window_pdpts
        movl    $window_pds + 4096 + TABLE, window_pdpts + 4096
        movl    $window_tables + TABLE, window_pds
        movl    $window_tables + 4096 + TABLE, window_pds + 4096
        movl    $identity_pd + TABLE, %eax
        xorl    %ecx, %ecx
1:      movl    %eax, identity_pdpt(,%ecx,8)
        addl    $4096, %eax
        incl    %ecx
        cmpl    $4, %ecx
        jne     1b
        movl    $LARGE, %eax
        xorl    %ecx, %ecx
1:      movl    %eax, identity_pd(,%ecx,8)
        addl    $0x200000, %eax
        incl    %ecx
        cmpl    $2048, %ecx
        jne     1b

        movl    $CR4_BITS, %eax
        movl    %eax, %cr4
        movl    $roots, %eax
        movl    %eax, %cr3
        movl    $MSR_EFER, %ecx
        movl    $EFER_BITS, %eax
        xorl    %edx, %edx
        wrmsr
        movl    $CR0_BITS, %eax
        movl    %eax, %cr0
        lgdt    gdtr
        ljmp    $SEL_CODE, $start64

        .code64
start64:
        movl    $SEL_DATA, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        xorl    %eax, %eax
        movl    %eax, %fs
        movl    %eax, %gs
        fninit
        movl    %ebp, %edi
        xorl    %ebp, %ebp
        call    main
        hlt

/* --- traps: the page fault is served, any other is the end --- */

        .globl  trap_page_fault
trap_page_fault:
        pushq   %rax
        pushq   %rcx
        pushq   %rdx
        pushq   %rbx
        pushq   %rbp
        pushq   %rsi
        pushq   %rdi
        pushq   %r8
        pushq   %r9
        pushq   %r10
        pushq   %r11
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movq    %cr2, %rdi
        movq    120(%rsp), %rsi         /* error code */
        movq    128(%rsp), %rdx         /* RIP */
        call    page_fault
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %r11
        popq    %r10
        popq    %r9
        popq    %r8
        popq    %rdi
        popq    %rsi
        popq    %rbp
        popq    %rbx
        popq    %rdx
        popq    %rcx
        popq    %rax
        addq    $8, %rsp
        iretq

/* 32 bytes each, so that the table is computed. */
        .globl  trap_entries
        .balign 32
trap_entries:
        vector = 0
        .rept 32
        .balign 32
        movl    $vector, %edi
        movq    (%rsp), %rsi
        movq    8(%rsp), %rdx
        jmp     bad_trap
        vector = vector + 1
        .endr

/* --- system calls --- */

/* run_in_user_mode(entry, argument, stack): entry(argument) in ring 3, until its exit call. */
        .globl  run_in_user_mode
run_in_user_mode:
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movq    %rsp, resume_rsp
        movq    %rdi, %rcx
        movq    %rsi, %rdi
        subq    $8, %rdx                /* as after a CALL */
        swapgs
        pushq   $SEL_USER_DATA
        pushq   %rdx
        pushq   $0x002
        pushq   $SEL_USER_CODE
        pushq   %rcx
        iretq

/* Number in RAX, arguments in RDI, RSI, RDX, as Linux has it. Call 0 leaves user mode with RDI as the result. */
        .globl  syscall_entry
        .balign 16
syscall_entry:
        swapgs
        movq    %rsp, %gs:8
        movq    %gs:0, %rsp
        pushq   %gs:8
        pushq   %r11
        pushq   %rcx
        pushq   %rdi
        pushq   %rsi
        pushq   %rdx
        pushq   %r10
        pushq   %r8
        pushq   %r9
        testq   %rax, %rax
        jz      1f
        movq    %rax, %rcx
        call    system_call             /* (a, b, c, number) */
        popq    %r9
        popq    %r8
        popq    %r10
        popq    %rdx
        popq    %rsi
        popq    %rdi
        popq    %rcx
        popq    %r11
        popq    %rsp
        swapgs
        sysretq
1:      movq    %rdi, %rax
        movq    resume_rsp, %rsp
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        ret

/* --- context_switch(from, to) --- */

        .globl  context_switch
        .balign 16
context_switch:
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movq    %rsp, (%rdi)
        movq    8(%rsi), %rax
        movq    %rax, %cr3
        movq    (%rsi), %rsp
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        ret

        .section .hypercall, "ax", @progbits
        .globl  hypercall_page
        .balign 4096
hypercall_page:
        .skip   4096, 0xcc

        .section .rodata
        .balign 8
gdt:
        .quad   0
        .quad   0x00af9b000000ffff      /* 0x08: 64-bit code */
        .quad   0x00cf93000000ffff      /* 0x10: data */
        .quad   0x00cffb000000ffff      /* 0x18: user, 32-bit code; SYSRET counts from here */
        .quad   0x00cff3000000ffff      /* 0x20: user data */
        .quad   0x00affb000000ffff      /* 0x28: user, 64-bit code */
gdtr:
        .word   47
        .long   gdt, 0

        .bss
        .balign 4096
roots:          .skip 4096 * 2
identity_pdpt:  .skip 4096
identity_pd:    .skip 4096 * 4
window_pdpts:   .skip 4096 * 2
window_pds:     .skip 4096 * 2
        .globl  window_tables, roots
window_tables:  .skip 4096 * 2
stack:          .skip 4096 * 8
stack_top:
resume_rsp:     .skip 8
        .section .note.GNU-stack, "", @progbits

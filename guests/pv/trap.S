/* What Xen bounces into this kernel: 256 vectors, events, SYSCALL; the way back by HYPERVISOR_iret; the catcher of faults. */
#include "xen.h"
        .text

/*
 * 16 bytes each, so that the table is computed: trap_entries + 16 * vector. Xen has pushed SS, RSP, RFLAGS, CS, RIP,
 * the error code of those that have one, R11 and RCX [arch-x86/xen.h, struct trap_info].
 */
        .globl  trap_entries
        .balign 16
trap_entries:
        vector = 0
        .rept 256
        .balign 16
        popq    %rcx
        popq    %r11
        .if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
        .else
        pushq   $0
        .endif
        pushq   $vector
        jmp     trap_common
        vector = vector + 1
        .endr

/* Callbacks look like exceptions without an error code; RCX and R11 are as SYSCALL left them. */
.macro callback name, number
        .balign 16
        .globl  \name
\name:  popq    %rcx
        popq    %r11
        pushq   $0
        pushq   $\number
        jmp     trap_common
.endm
        callback syscall_entry, VECTOR_SYSCALL
        callback syscall32_entry, VECTOR_SYSCALL32
        callback sysenter_entry, VECTOR_SYSENTER
        callback nmi_entry, VECTOR_NMI

/* The failsafe callback has the four data selectors besides, and no error code: DS, ES, FS, GS lie above RCX and R11. */
        .balign 16
        .globl  failsafe_entry
failsafe_entry:
        popq    %rcx
        popq    %r11
        popq    failsafe_selectors
        popq    failsafe_selectors + 8
        popq    failsafe_selectors + 16
        popq    failsafe_selectors + 24
        pushq   $0
        pushq   $VECTOR_FAILSAFE
        jmp     trap_common

        .balign 16
trap_common:
        cld
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
        movq    %rsp, %rdi
        movq    %rsp, %rbp
        andq    $-16, %rsp
        call    trap
        movq    %rbp, %rsp
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
        movq    $0, (%rsp)              /* struct iret_context.flags where the error code was */
        jmp     hypercall_page + HC_iret * 32

/* The shortest system call there is, for timing: straight back to user mode, RCX and R11 as SYSCALL made them. */
        .balign 16
        .globl  syscall_back_entry
syscall_back_entry:
        movq    $VGCF_in_syscall, 8(%rsp)
        addq    $8, %rsp
        jmp     hypercall_page + HC_iret * 32

/* int catch_fault(struct catch *): fills it in, arms it, returns 0; 1 after a fault. */
        .globl  catch_fault
catch_fault:
        movq    %rbx, 0(%rdi)
        movq    %rbp, 8(%rdi)
        movq    %r12, 16(%rdi)
        movq    %r13, 24(%rdi)
        movq    %r14, 32(%rdi)
        movq    %r15, 40(%rdi)
        leaq    8(%rsp), %rax
        movq    %rax, 48(%rdi)
        movq    (%rsp), %rax
        movq    %rax, 56(%rdi)
        movq    %gs:0, %rax
        movq    %rdi, 16(%rax)          /* percpu.catch */
        xorl    %eax, %eax
        ret

/* long hypercall(op, a, b, c, d, e): op in RDI and the rest one register later than the ABI wants. */
        .globl  hypercall
hypercall:
        movl    %edi, %eax
        shlq    $5, %rax
        addq    $hypercall_page, %rax
        movq    %rsi, %rdi
        movq    %rdx, %rsi
        movq    %rcx, %rdx
        movq    %r8, %r10
        movq    %r9, %r8
        jmp     *%rax

/* enter_user(rip, rsp, rax, rflags): the way back is a trap or a system call that is caught. */
        .globl  enter_user
enter_user:
        movq    %rdx, %rax
        pushq   $FLAT_USER_SS
        pushq   %rsi
        pushq   %rcx
        pushq   $FLAT_USER_CS
        pushq   %rdi
        pushq   $0
        jmp     hypercall_page + HC_iret * 32

/* HYPERVISOR_iret with a frame of the caller's own: rip, cs, rflags, rsp, ss at RDI, RSI = flags. */
        .globl  iret_frame
iret_frame:
        pushq   32(%rdi)
        pushq   24(%rdi)
        pushq   16(%rdi)
        pushq   8(%rdi)
        pushq   (%rdi)
        pushq   %rsi
        jmp     hypercall_page + HC_iret * 32

        .globl  user_begin, user_privileged, user_syscall, user_loop, user_read, user_end
        .balign 4096
user_begin:
user_privileged:
        hlt
        .balign 16
user_syscall:                           /* what would be xen_version in the kernel: from user mode it is the kernel's system call */
        movl    $17, %eax
        xorl    %edi, %edi
        xorl    %esi, %esi
        syscall
        ud2
        .balign 16
user_loop:                              /* RAX system calls, and #UD */
        movq    %rax, %rbx
1:      movl    $1, %eax
        syscall
        decq    %rbx
        jnz     1b
        ud2
        .balign 16
user_read:                              /* reads from the address in RAX */
        movq    (%rax), %rax
        ud2
        .balign 4096
user_end:

        .section .hypercall, "ax", @progbits
        .balign 4096
        .globl  hypercall_page
hypercall_page:
        .rept 4096 / 16
        ud2
        .balign 16, 0xcc
        .endr
        .section .note.GNU-stack, "", @progbits

/* Entries of all 256 vectors, the hypercall page, and the catcher of expected faults. */
        .text

/* 16 bytes each, so that the table is computed: trap_entries + 16 * vector. */
        .globl  trap_entries
        .balign 16
trap_entries:
        vector = 0
        .rept 256
        .balign 16
        /* 8, 10-14, 17, 21, 29 and 30 push an error code themselves. */
        .if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
        .else
        pushq   $0
        .endif
        pushq   $vector
        jmp     trap_common
        vector = vector + 1
        .endr

        .balign 16
trap_common:                            /* GS base is the kernel's in user mode too */
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
        addq    $16, %rsp
        iretq

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

/* Enters user mode at RDI with stack RSI; the way back is a trap that is caught. */
        .globl  enter_user
enter_user:
        pushq   $0x23                   /* SS: user data */
        pushq   %rsi
        pushq   $0x002                  /* interrupts stay off */
        pushq   $0x2b                   /* CS: user code */
        pushq   %rdi
        iretq

        .globl  user_begin, user_privileged, user_hypercall, user_end
        .balign 4096
user_begin:
user_privileged:
        hlt
        .balign 16
user_hypercall:                         /* xen_version from ring 3; the answer is left in RAX for the trap */
        movl    $17, %eax
        xorl    %edi, %edi
        xorl    %esi, %esi
        movq    $hypercall_page + 17 * 32, %rcx
        call    *%rcx
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

/*
 * The guest of the PV fuzzer (test/hypervisor/fuzz), 64 bit: executes a program that the test puts into a page, a step of 128 bytes after
 * the other, and then sleeps. A step is a place in memory, a mode and registers; the way there is HYPERVISOR_iret. It ends with an
 * exception, which is noted, or in the kernel by a jump to `done`.
 */
#include "fuzz.h"

        .text
        .org    START
        movq    current, %rbx
        jmp     next
        .org    DONE
        jmp     done
        .org    EVENT
        jmp     event
        .org    FAILSAFE
        jmp     failsafe
        .org    SYSCALL
        jmp     system_call
        .org    NMI
        jmp     interrupted
/* A step's hypercall: RAX and the arguments are loaded. */
        .org    CALL
        syscall
        jmp     done
        .org    CALL_PAGE
        movl    %eax, %ecx
        shlq    $5, %rcx
        addq    $BASE + HYPERCALLS, %rcx
        call    *%rcx
        jmp     done
        .org    CALL_USER
        syscall
        ud2

        .org    VECTORS
        vector = 0
        .rept 32
        .balign 32
        movq    %rax, saved
        movq    $vector, number
        .if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
        jmp     with_error
        .else
        jmp     without_error
        .endif
        vector = vector + 1
        .endr

next:   cmpq    $0, STEP_RIP(%rbx)
        je      sleep
        movq    $BASE + STACK_TOP, %rsp
        pushq   STEP_SS(%rbx)
        pushq   STEP_RSP(%rbx)
        pushq   STEP_RFLAGS(%rbx)
        pushq   STEP_CS(%rbx)
        pushq   STEP_RIP(%rbx)
        pushq   STEP_FLAGS(%rbx)
        pushq   STEP_ARG3(%rbx)         /* RCX */
        pushq   $0
        pushq   STEP_RAX(%rbx)
        movq    STEP_ARG0(%rbx), %rdi
        movq    STEP_ARG1(%rbx), %rsi
        movq    STEP_ARG2(%rbx), %rdx
        movq    STEP_ARG3(%rbx), %r10
        movq    STEP_ARG4(%rbx), %r8
        movq    STEP_ARG5(%rbx), %r9
        movl    $__HYPERVISOR_iret, %eax
        syscall
        ud2

done:   movq    current, %rbx
        movq    %rax, STEP_RESULT(%rbx)
        movq    $NO_VECTOR, STEP_VECTOR(%rbx)
        movq    info, %rcx
        movb    $1, UPCALL_MASK(%rcx)
advance:
        addq    $STEP_BYTES, %rbx
        movq    %rbx, current
        jmp     next

sleep:  movl    $__HYPERVISOR_sched_op, %eax
        movl    $SCHEDOP_block, %edi
        syscall
        jmp     sleep

/* Exceptions: RCX, R11, perhaps an error code, and the frame of IRET lie on the stack. */
without_error:
        movq    $0, error
        jmp     noted
with_error:
        movq    16(%rsp), %rax
        movq    %rax, error
noted:  movq    current, %rbx
        movq    saved, %rax
        movq    %rax, STEP_RESULT(%rbx)
        movq    number, %rax
        movq    %rax, STEP_VECTOR(%rbx)
        movq    error, %rax
        movq    %rax, STEP_ERROR(%rbx)
        jmp     advance

/* The upcall is taken note of, and further ones wait for the next step. */
event:  popq    %rcx
        popq    %r11
        pushq   $0
        pushq   %rcx
        pushq   %r11
        pushq   %rax
        movq    info, %rax
        movb    $0, (%rax)
        movq    $0, UPCALL_SELECTOR(%rax)
        andq    $~FLAG_IF, 48(%rsp)
        jmp     return
failsafe:
        popq    %rcx
        popq    %r11
        addq    $32, %rsp
        jmp     resume
interrupted:
        popq    %rcx
        popq    %r11
resume: pushq   $0
        pushq   %rcx
        pushq   %r11
        pushq   %rax
return: movl    $__HYPERVISOR_iret, %eax
        syscall
        ud2

/* The user's system call is the hypercall that it names. */
system_call:
        syscall
        popq    %rcx
        popq    %r11
        pushq   return_flags
        pushq   %rcx
        pushq   %r11
        pushq   %rax
        jmp     return

        .org    DATA
current:        .quad 0
info:           .quad 0
return_flags:   .quad 0
saved:          .quad 0
number:         .quad 0
error:          .quad 0

.macro trap vector, flags, address
        .byte   \vector, \flags
        .word   0xe033
        .long   0
        .quad   BASE + \address
.endm
        .org    TRAPS
        vector = 0
        .rept 32
        .if vector == 2
        trap    2, 4, NMI
        .elseif (vector == 3) || (vector == 4)
        trap    vector, 7, (VECTORS+32*vector)
        .else
        trap    vector, 4, (VECTORS+32*vector)
        .endif
        vector = vector + 1
        .endr
        trap    0x80, 7, SYSCALL
        .quad   0, 0
        .section .note.GNU-stack, "", @progbits

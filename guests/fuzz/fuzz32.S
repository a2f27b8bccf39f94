/* The same guest for 32-bit PAE domains: the kernel in ring 1, its user in ring 3 with the same page tables. See fuzz64.S. */
#include "fuzz.h"

        .text
        .code32
        .org    START
        movl    current, %ebx
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
        .org    CALL
        int     $0x82
        jmp     done
        .org    CALL_PAGE
        pushl   %eax
        shll    $5, (%esp)
        addl    $BASE + HYPERCALLS, (%esp)
        call    *(%esp)
        jmp     done
        .org    CALL_USER
        int     $0x80
        ud2

        .org    VECTORS
        vector = 0
        .rept 32
        .balign 32
        pushl   $vector
        .if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
        jmp     with_error
        .else
        jmp     without_error
        .endif
        vector = vector + 1
        .endr

next:   cmpl    $0, STEP_RIP(%ebx)
        je      sleep
        movl    $BASE + STACK_TOP, %esp
        pushl   STEP_SS(%ebx)
        pushl   STEP_RSP(%ebx)
        pushl   STEP_RFLAGS(%ebx)
        pushl   STEP_CS(%ebx)
        pushl   STEP_RIP(%ebx)
        pushl   STEP_RAX(%ebx)
        movl    STEP_ARG1(%ebx), %ecx
        movl    STEP_ARG2(%ebx), %edx
        movl    STEP_ARG3(%ebx), %esi
        movl    STEP_ARG4(%ebx), %edi
        movl    STEP_ARG5(%ebx), %ebp
        movl    STEP_ARG0(%ebx), %ebx
        movl    $__HYPERVISOR_iret, %eax
        int     $0x82
        ud2

done:   movl    current, %ebx
        movl    %eax, STEP_RESULT(%ebx)
        sarl    $31, %eax
        movl    %eax, STEP_RESULT + 4(%ebx)
        movl    $NO_VECTOR, STEP_VECTOR(%ebx)
        movl    info, %ecx
        movb    $1, UPCALL_MASK(%ecx)
advance:
        addl    $STEP_BYTES, %ebx
        movl    %ebx, current
        jmp     next

sleep:  movl    $__HYPERVISOR_sched_op, %eax
        movl    $SCHEDOP_block, %ebx
        int     $0x82
        jmp     sleep

/* Exceptions: the number, perhaps an error code, and the frame of IRET lie on the stack. The step may have left any data segments. */
without_error:
        pushl   $0
        xchgl   %eax, (%esp)            /* an error code of 0, and EAX kept */
        movl    %eax, %ss:error
        jmp     noted
with_error:
        pushl   4(%esp)
        xchgl   %eax, (%esp)
        movl    %eax, %ss:error
noted:  popl    %ss:saved
        popl    %ss:number
        movl    $KERNEL_DS, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    current, %ebx
        movl    saved, %eax
        movl    %eax, STEP_RESULT(%ebx)
        sarl    $31, %eax
        movl    %eax, STEP_RESULT + 4(%ebx)
        movl    number, %eax
        movl    %eax, STEP_VECTOR(%ebx)
        movl    error, %eax
        movl    %eax, STEP_ERROR(%ebx)
        jmp     advance

event:  pushl   %eax
        movl    %ss:info, %eax
        movb    $0, %ss:(%eax)
        movl    $0, %ss:UPCALL_SELECTOR32(%eax)
        andl    $~FLAG_IF, 12(%esp)
        jmp     return
failsafe:
        addl    $16, %esp
interrupted:
        pushl   %eax
return: movl    $__HYPERVISOR_iret, %eax
        int     $0x82
        ud2

system_call:
        int     $0x82
        pushl   %eax
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
        .word   KERNEL_CS
        .long   BASE + \address
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
        .quad   0
        .section .note.GNU-stack, "", @progbits

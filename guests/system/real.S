/*
 * Real-address mode for 32-bit images. What runs there lies in the section .real, which counts from 0 and which real.c copies to
 * REAL_BASE, so that its symbols are offsets in segment REAL_BASE >> 4. The interrupt table leads to stubs that note the state in real_out and
 * go back to protected mode.
 */
#include "offsets.h"
#ifndef __x86_64__

  .macro STATE
  .fill 8, 4, 0     /* general registers */
  .long 0           /* IP */
  .long 0           /* FLAGS */
  .fill 6, 2, 0     /* CS SS DS ES FS GS */
  .long 0           /* vector */
  .long 0           /* FLAGS in the handler */
  .endm
  .set S_IP, 32
  .set S_FLAGS, 36
  .set S_CS, 40
  .set S_SS, 42
  .set S_DS, 44
  .set S_ES, 46
  .set S_FS, 48
  .set S_GS, 50
  .set S_VECTOR, 52
  .set S_INNER, 56

  .section .real, "awx"
  .globl real_in, real_out, real_idt, real_stubs
real_in: STATE
real_out: STATE
/* Limit and base of the interrupt table. */
real_idt: .word 0
  .long 0

  .code16
/* In 16-bit protected mode, CS based at REAL_BASE. */
enter_real:
  mov $SEL_REAL_DATA, %ax
  mov %ax, %ds
  mov %ax, %es
  mov %ax, %ss
  mov %ax, %fs
  mov %ax, %gs
  mov %cr0, %eax
  and $~1, %al
  mov %eax, %cr0
  ljmp $(REAL_BASE >> 4), $1f
1: mov %cs, %ax
  mov %ax, %ds
  lidtl %ds:real_idt
  mov real_in + S_SS, %ss
  mov real_in + 16, %esp
  pushw real_in + S_FLAGS
  pushw real_in + S_CS
  pushw real_in + S_IP
  mov real_in, %eax
  mov real_in + 4, %ecx
  mov real_in + 8, %edx
  mov real_in + 12, %ebx
  mov real_in + 20, %ebp
  mov real_in + 24, %esi
  mov real_in + 28, %edi
  mov real_in + S_ES, %es
  mov real_in + S_FS, %fs
  mov real_in + S_GS, %gs
  mov real_in + S_DS, %ds
  iretw

  .macro REAL_STUB vector
  .pushsection .real_stubs, "a"
  .word 9f
  .popsection
9: movl $\vector, %cs:real_out + S_VECTOR
  jmp leave_real
  .endm
  .section .real_stubs, "a"
real_stubs:
  .section .real, "awx"
  .altmacro
  .set n, 0
  .rept 33
  REAL_STUB %n
  .set n, n + 1
  .endr
  REAL_STUB 0x80
  .noaltmacro

leave_real:
  mov %eax, %cs:real_out
  mov %ecx, %cs:real_out + 4
  mov %edx, %cs:real_out + 8
  mov %ebx, %cs:real_out + 12
  mov %esp, %cs:real_out + 16
  mov %ebp, %cs:real_out + 20
  mov %esi, %cs:real_out + 24
  mov %edi, %cs:real_out + 28
  mov %ss, %cs:real_out + S_SS
  mov %ds, %cs:real_out + S_DS
  mov %es, %cs:real_out + S_ES
  mov %fs, %cs:real_out + S_FS
  mov %gs, %cs:real_out + S_GS
  pushfw
  popw %cs:real_out + S_INNER
  mov %sp, %bp
  mov (%bp), %ax
  mov %ax, %cs:real_out + S_IP
  mov 2(%bp), %ax
  mov %ax, %cs:real_out + S_CS
  mov 4(%bp), %ax
  mov %ax, %cs:real_out + S_FLAGS
  cli
  mov %cr0, %eax
  or $1, %al
  mov %eax, %cr0
  ljmpl $0x08, $leave_real_32

  .text
  .code32
leave_real_32:
  mov $0x10, %eax
  mov %eax, %ss
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %fs
  mov %eax, %gs
  mov real_sp, %esp
  lidt real_saved_idt
  mov real_saved_cr0, %eax
  mov %eax, %cr0
  pop %edi
  pop %esi
  pop %ebp
  pop %ebx
  ret

  .globl real_go
/* Runs what real_in says until the first interrupt. Paging is off on the way. */
real_go:
  push %ebx
  push %ebp
  push %esi
  push %edi
  mov %esp, real_sp
  sidt real_saved_idt
  mov %cr0, %eax
  mov %eax, real_saved_cr0
  and $0x7fffffff, %eax
  mov %eax, %cr0
  ljmp $SEL_REAL_CODE, $enter_real

  .bss
  .align 4
real_sp: .skip 4
real_saved_cr0: .skip 4
real_saved_idt: .skip 8
#endif
  .section .note.GNU-stack

/* Entry (multiboot, 32-bit protected mode), trap stubs, and the way into a snippet and back. */
#include "offsets.h"
  .section .multiboot, "a"
  .align 4
  .long 0x1badb002, 0, -0x1badb002

  .text
  .code32
  .globl start
start:
  cli
  cld
  mov $main_stack + 16384, %esp
  cmp $1, %ebx
  sete quick
#ifdef __x86_64__
  /* Identity map of 4 GiB in 2 MiB pages, for everybody. */
  mov $pdpt + 7, %eax
  mov %eax, pml4
  mov $4, %ecx
  mov $pdpt, %edi
  mov $directories + 7, %eax
1: mov %eax, (%edi)
  add $4096, %eax
  add $8, %edi
  loop 1b
  mov $2048, %ecx
  mov $directories, %edi
  mov $0x87, %eax
2: mov %eax, (%edi)
  add $0x200000, %eax
  add $8, %edi
  loop 2b
  mov $0x20, %eax
  mov %eax, %cr4
  mov $pml4, %eax
  mov %eax, %cr3
  mov $0xc0000080, %ecx
  rdmsr
  or $0x901, %eax
  wrmsr
  mov $0x80010031, %eax
  mov %eax, %cr0
  lgdt boot_gdtr
  ljmp $8, $start64
  .code64
start64:
  mov $0x10, %eax
  mov %eax, %ss
  mov %eax, %ds
  mov %eax, %es
  call main
#else
  lgdt boot_gdtr
  ljmp $8, $1f
1: mov $0x10, %eax
  mov %eax, %ss
  mov %eax, %ds
  mov %eax, %es
  call main
#endif
  /* main does not return. */
  ud2

  .section .rodata
  .align 8
boot_gdt:
  .quad 0
#ifdef __x86_64__
  .quad 0x00af9b000000ffff
#else
  .quad 0x00cf9b000000ffff
#endif
  .quad 0x00cf93000000ffff
boot_gdtr:
  .word 0x17
  .long boot_gdt, 0

  .text
  .macro STUB vector
  .pushsection .stubs, "a"
#ifdef __x86_64__
  .quad 9f
#else
  .long 9f
#endif
  .popsection
9:
  .if !(\vector == 8 || (\vector >= 10 && \vector <= 14) || \vector == 17)
  push $0
  .endif
  push $\vector
  jmp common
  .endm
  .section .stubs, "a"
  .globl stubs
stubs:
  .text
  .altmacro
  .set n, 0
  .rept 256
  STUB %n
  .set n, n + 1
  .endr
  .noaltmacro

#ifdef __x86_64__
common:
  push %r15
  push %r14
  push %r13
  push %r12
  push %r11
  push %r10
  push %r9
  push %r8
  push %rdi
  push %rsi
  push %rbp
  push %rsp
  push %rbx
  push %rdx
  push %rcx
  push %rax
  mov %ds, %eax
  push %rax
  mov %es, %eax
  push %rax
  mov %fs, %eax
  push %rax
  mov %gs, %eax
  push %rax
  cld
  mov %rsp, %rdi
  mov %rsp, %rbx
  and $-16, %rsp
  call trap
  test %eax, %eax
  jz 1f
  mov %rbx, %rsp
  add $32, %rsp
  pop %rax
  pop %rcx
  pop %rdx
  pop %rbx
  add $8, %rsp
  pop %rbp
  pop %rsi
  pop %rdi
  pop %r8
  pop %r9
  pop %r10
  pop %r11
  pop %r12
  pop %r13
  pop %r14
  pop %r15
  add $16, %rsp
  iretq
1: mov $0x10, %eax
  mov %eax, %ss
  mov %eax, %ds
  mov %eax, %es
  mov saved_sp, %rsp
  pushq $2
  popfq
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbp
  pop %rbx
  ret

  .globl go
go:
  push %rbx
  push %rbp
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, saved_sp
  mov in + IN_DS, %eax
  mov %eax, %ds
  mov in + IN_ES, %eax
  mov %eax, %es
  mov in + IN_FS, %eax
  mov %eax, %fs
  mov in + IN_GS, %eax
  mov %eax, %gs
  pushq in + IN_SS
  pushq in + IN_SP
  pushq in + IN_FLAGS
  pushq in + IN_CS
  pushq in + IN_IP
  mov in, %rax
  mov in + 8, %rcx
  mov in + 16, %rdx
  mov in + 24, %rbx
  mov in + 40, %rbp
  mov in + 48, %rsi
  mov in + 56, %rdi
  mov in + 64, %r8
  mov in + 72, %r9
  mov in + 80, %r10
  mov in + 88, %r11
  mov in + 96, %r12
  mov in + 104, %r13
  mov in + 112, %r14
  mov in + 120, %r15
  .globl go_iret
go_iret:
  iretq
#else
common:
  pusha
  push %ds
  push %es
  push %fs
  push %gs
  mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  cld
  mov %esp, %ebx
  push %ebx
  call trap
  mov %ebx, %esp
  test %eax, %eax
  jz 1f
  pop %gs
  pop %fs
  pop %es
  pop %ds
  popa
  add $8, %esp
  iret
1: mov $0x10, %eax
  mov %eax, %ss
  mov saved_sp, %esp
  mov %eax, %fs
  mov %eax, %gs
  pushl $2
  popf
  pop %edi
  pop %esi
  pop %ebp
  pop %ebx
  ret

  .globl go
go:
  push %ebx
  push %ebp
  push %esi
  push %edi
  mov %esp, saved_sp
  testl $0x20000, in + IN_FLAGS
  jnz 2f
  testl $3, in + IN_CS
  jnz 3f
  mov in + IN_SS, %eax
  mov %eax, %ss
  mov in + IN_SP, %esp
  jmp 4f
2: push in + IN_GS
  push in + IN_FS
  push in + IN_DS
  push in + IN_ES
3: push in + IN_SS
  push in + IN_SP
4: push in + IN_FLAGS
  push in + IN_CS
  push in + IN_IP
  testl $0x20000, in + IN_FLAGS
  jnz 5f
  mov in + IN_ES, %eax
  mov %eax, %es
  mov in + IN_FS, %eax
  mov %eax, %fs
  mov in + IN_GS, %eax
  mov %eax, %gs
  mov in + IN_DS, %eax
  mov %eax, %ds
5: mov %cs:in, %eax
  mov %cs:in + 4, %ecx
  mov %cs:in + 8, %edx
  mov %cs:in + 12, %ebx
  mov %cs:in + 20, %ebp
  mov %cs:in + 24, %esi
  mov %cs:in + 28, %edi
  iret
#endif

  .bss
  .align 8
saved_sp: .skip 8
  .globl quick
quick: .skip 1
  .align 4096
#ifdef __x86_64__
  .globl pml4, pdpt
pml4: .skip 4096
pdpt: .skip 4096
directories: .skip 16384
#endif
main_stack: .skip 16384
  .section .note.GNU-stack

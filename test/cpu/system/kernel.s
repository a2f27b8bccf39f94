# The kernel of kernel.test.ts: see there.
.code32
.org 0
start:
  cli
  lgdt gdtr
  mov %cr4, %eax
  or $0x20, %eax
  mov %eax, %cr4
  mov $0x10000, %eax
  mov %eax, %cr3
  mov $0xc0000080, %ecx
  rdmsr
  or $0x901, %eax
  wrmsr
  mov %cr0, %eax
  or $0x80010000, %eax
  mov %eax, %cr0
  ljmp $8, $long
.code64
long:
  mov $0x10, %eax
  mov %eax, %ss
  mov %eax, %ds
  mov %eax, %es
  mov $0x9000, %esp
  lidt idtr
  mov $0x28, %eax
  ltr %ax
  mov $0xc0000081, %ecx
  xor %eax, %eax
  mov $0x00130008, %edx
  wrmsr
  mov $0xc0000082, %ecx
  mov $sysentry, %eax
  xor %edx, %edx
  wrmsr
  mov $0xc0000084, %ecx
  mov $0x200, %eax
  wrmsr
  # APIC: x2APIC, timer one-shot vector 0x40
  mov $0x1b, %ecx
  rdmsr
  or $0xc00, %eax
  wrmsr
  mov $0x80f, %ecx
  mov $0x1ff, %eax
  xor %edx,%edx
  wrmsr
  mov $0x832, %ecx
  mov $0x40, %eax
  wrmsr
  mov $0x838, %ecx
  mov $5000, %eax
  wrmsr
  xor %r15, %r15
  sti
  hlt
  cmp $1, %r15
  jne fail
  # to user
  push $0x1b
  push $0x8800
  push $0x202
  push $0x23
  push $user
  iretq
user:
  mov %cs, %ebx
  mov $7, %eax
  syscall
  cmp $49, %rax
  jne fail
  int $0x80
  cmp $0x1b, %rbx
  jne fail
  mov $0x12345678, %r12
  mov (%r12), %rax      # page fault: handler skips 4 bytes
  pushfq
  popq %r14
  cli                   # #GP: handler ends
fail:
  ud2
sysentry:
  mov %rsp, %r10
  mov $0x7f00, %esp
  imul %rax, %rax
  mov %r10, %rsp
  sysretq
int80:
  mov 24(%rsp), %rdx
  mov 32(%rsp), %rbx
  iretq
pf:
  pop %r13
  mov %cr2, %r11
  mov %r11, %rbp
  addq $4, (%rsp)
  iretq
timer:
  inc %r15
  push %rcx
  push %rax
  push %rdx
  mov $0x80b, %ecx
  xor %eax, %eax
  xor %edx, %edx
  wrmsr
  pop %rdx
  pop %rax
  pop %rcx
  iretq
gp:
  mov $0x600d, %eax
1: hlt
  jmp 1b
ud:
  mov $0xbad, %eax
1: hlt
  jmp 1b
.align 16
gdt:
  .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff
  .quad 0x0000890060000067, 0
gdtr: .word gdtr-gdt-1
  .long gdt
idtr: .word 0xfff
  .quad 0x5000
.balign 8
syms: .quad timer, int80, pf, gp, ud

/* Where things are in the guest of the PV fuzzer; test/hypervisor/fuzz/guest-caller.ts has the same numbers. Offsets from BASE. */
#define BASE 0x40064000
#define START 0x000
#define DONE 0x010
#define EVENT 0x020
#define FAILSAFE 0x030
#define SYSCALL 0x040
#define NMI 0x050
#define CALL 0x060
#define CALL_PAGE 0x070
#define CALL_USER 0x090
#define VECTORS 0x0a0
#define HYPERCALLS 0x1000
#define DATA 0x2000
#define TRAPS 0x2100
#define STACK_TOP 0x4000

/* A step: 16 words of 8 bytes. */
#define STEP_RIP 0
#define STEP_CS 8
#define STEP_RFLAGS 16
#define STEP_RSP 24
#define STEP_SS 32
#define STEP_FLAGS 40
#define STEP_RAX 48
#define STEP_ARG0 56
#define STEP_ARG1 64
#define STEP_ARG2 72
#define STEP_ARG3 80
#define STEP_ARG4 88
#define STEP_ARG5 96
#define STEP_RESULT 104
#define STEP_VECTOR 112
#define STEP_ERROR 120
#define STEP_BYTES 128
#define NO_VECTOR 256

#define __HYPERVISOR_iret 23
#define __HYPERVISOR_sched_op 29
#define SCHEDOP_block 1
#define UPCALL_MASK 1
#define UPCALL_SELECTOR 8
#define UPCALL_SELECTOR32 4
#define FLAG_IF 0x200
#define KERNEL_CS 0xe019
#define KERNEL_DS 0xe021

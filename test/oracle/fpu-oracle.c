/*
 * Executes single floating-point instructions on the processor it runs on. Reads records (struct record) from standard
 * input, runs `code` with the state given, and writes the record back with the state that came out.
 *
 * The instruction finds its memory operand at [rdi] and may use rax, xmm0 and xmm1, the x87 and MMX registers and flags.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

struct record {
  uint32_t length;
  uint32_t trapped; /* out: signal number, or 0 */
  uint8_t code[16];
  uint8_t image[112]; /* FRSTOR image, 32-bit protected mode form */
  uint64_t rflags;
  uint64_t rax;
  uint8_t xmm[2][16];
  uint32_t mxcsr;
  uint32_t unused;
  uint8_t memory[64];
};

static struct record r __attribute__((aligned(64)));
static uint8_t *page;
static uint8_t *after;
static volatile sig_atomic_t trapped;

static void handler(int number, siginfo_t *info, void *context) {
  (void)info;
  ucontext_t *u = context;
  trapped = number;
  u->uc_mcontext.gregs[REG_RIP] = (greg_t)after;
}

static void run(void) {
  static const uint8_t end[] = {0xc3};
  memcpy(page, r.code, r.length);
  memcpy(page + r.length, end, 1);
  after = page + r.length;
  trapped = 0;
  __asm__ volatile(
      "frstor %[image]\n\t"
      "ldmxcsr %[mxcsr]\n\t"
      "movups %[x0], %%xmm0\n\t"
      "movups %[x1], %%xmm1\n\t"
      "movq %[rax], %%rax\n\t"
      "pushq %[flags]\n\t"
      "popfq\n\t"
      "call *%[page]\n\t"
      "pushfq\n\t"
      "popq %[flags]\n\t"
      "movq %%rax, %[rax]\n\t"
      "movups %%xmm0, %[x0]\n\t"
      "movups %%xmm1, %[x1]\n\t"
      "stmxcsr %[mxcsr]\n\t"
      "fnsave %[image]\n\t"
      "cld\n\t"
      : [image] "+m"(r.image), [mxcsr] "+m"(r.mxcsr), [x0] "+m"(r.xmm[0]), [x1] "+m"(r.xmm[1]), [rax] "+m"(r.rax),
        [flags] "+m"(r.rflags)
      : [page] "r"(page), "D"(r.memory)
      : "rax", "rcx", "rdx", "rsi", "xmm0", "xmm1", "memory", "cc");
  r.trapped = (uint32_t)trapped;
  static const uint32_t mxcsr = 0x1f80;
  __asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
}

int main(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGFPE, &action, NULL);
  sigaction(SIGILL, &action, NULL);
  sigaction(SIGSEGV, &action, NULL);
  page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return 1;
  while (fread(&r, sizeof r, 1, stdin) == 1) {
    run();
    if (fwrite(&r, sizeof r, 1, stdout) != 1) return 1;
  }
  return 0;
}

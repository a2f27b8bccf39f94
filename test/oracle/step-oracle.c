/*
 * The judge of instructions: executes one instruction natively, under ptrace, from a given state and returns the state after it
 * or the signal that its fault became. Reads `struct request` records from standard input until it ends and writes one
 * `struct response` for each. Little-endian; registers in the order rax rcx rdx rbx rsp rbp rsi rdi r8..r15.
 *
 * In the subject process only two things are mapped: a code page at CODE filled with 0xCC, and DATA, 16 KiB, zero
 * but for the 256 bytes at WINDOW. A REP string instruction is stepped to its end.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define CODE 0x40000000ul
#define DATA 0x50000000ul
#define DATA_BYTES 0x4000
#define WINDOW 0x50000800ul
#define MAX_STEPS 200000

struct request {
  uint64_t gpr[16];
  uint64_t rflags;
  uint8_t code[32];
  uint32_t code_length;
  uint32_t what; /* bit 0: fx counts; bit 1: ymmh counts (else zeros); bits 15..8: code size 16, 32 or 64 */
  uint8_t mem[256];
  uint8_t fx[512];
  uint8_t ymmh[256]; /* upper halves of the YMM registers */
};

struct response {
  uint32_t sig;
  uint32_t steps;
  uint64_t gpr[16];
  uint64_t rip;
  uint64_t rflags;
  uint8_t mem[256];
  uint8_t fx[512];
  uint8_t ymmh[256];
};

/* The XSAVE image in the standard format (SDM volume 1, 13.4), as far as this program knows it. */
#define XSTATE_BYTES 16384
#define XSTATE_BV 512
#define XSTATE_AVX 576
#define NT_X86_XSTATE 0x202
static uint8_t xstate[XSTATE_BYTES] __attribute__((aligned(64)));
static size_t xstate_bytes;

static void die(const char *what) {
  fprintf(stderr, "step-oracle: %s: %s\n", what, strerror(errno));
  exit(1);
}

/* The subject unmaps all but the two areas by a stub in the code page, which then traps. */
static void subject(void) {
  uint8_t *code = mmap((void *)CODE, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  void *data = mmap((void *)DATA, DATA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (code == MAP_FAILED || data == MAP_FAILED) die("mmap");
  static const uint64_t holes[][2] = {
      {0, CODE}, {CODE + 0x1000, DATA}, {DATA + DATA_BYTES, 0x7ffffffff000ul}};
  uint8_t *at = code;
  for (int i = 0; i < 3; i++) {
    uint64_t length = holes[i][1] - holes[i][0];
    static const uint8_t rdi[] = {0x48, 0xbf}, rsi[] = {0x48, 0xbe}, call[] = {0xb8, 11, 0, 0, 0, 0x0f, 0x05};
    memcpy(at, rdi, 2), memcpy(at + 2, &holes[i][0], 8), at += 10;
    memcpy(at, rsi, 2), memcpy(at + 2, &length, 8), at += 10;
    memcpy(at, call, sizeof call), at += sizeof call;
  }
  *at = 0xcc;
  /* Segments of 16-bit vectors (SEGMENTS_16 of vector.ts). Without them only 16-bit vectors fail. */
  static const struct user_desc ldt[4] = {{.entry_number = 0, .base_addr = CODE, .limit = 0xfff, .contents = 2},
                                          {.entry_number = 1, .base_addr = DATA, .limit = 0x3fff},
                                          {.entry_number = 2, .base_addr = DATA + 0x10, .limit = 0x3bff},
                                          {.entry_number = 3, .base_addr = DATA + 0x20, .limit = 0x3cff}};
  for (int i = 0; i < 4; i++) syscall(SYS_modify_ldt, 1, &ldt[i], sizeof ldt[i]);
  /* The kernel writes to a registered rseq area whenever it likes; it must not find that unmapped. */
  if (__rseq_size) syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset, 32, RSEQ_FLAG_UNREGISTER, RSEQ_SIG);
  if (ptrace(PTRACE_TRACEME, 0, 0, 0)) die("traceme");
  ((void (*)(void))code)();
}

/* Gives the subject x87, SSE and AVX state; what else the processor has stays as it is. */
static void set_state(pid_t pid, const uint8_t *fx, const uint8_t *ymmh) {
  struct iovec v = {xstate, xstate_bytes};
  memcpy(xstate, fx, 464); /* the rest of the legacy area is the kernel's */
  memcpy(xstate + XSTATE_AVX, ymmh, 256);
  xstate[XSTATE_BV] |= 7;
  if (ptrace(PTRACE_SETREGSET, pid, NT_X86_XSTATE, &v)) die("setregset");
}

static void get_state(pid_t pid, uint8_t *fx, uint8_t *ymmh) {
  struct iovec v = {xstate, sizeof xstate};
  if (ptrace(PTRACE_GETREGSET, pid, NT_X86_XSTATE, &v)) die("getregset");
  memcpy(fx, xstate, 512);
  if (xstate[XSTATE_BV] & 4) memcpy(ymmh, xstate + XSTATE_AVX, 256);
  else memset(ymmh, 0, 256);
}

static void transfer(pid_t pid, int out, void *local, uint64_t remote, size_t bytes) {
  struct iovec l = {local, bytes}, r = {(void *)remote, bytes};
  ssize_t n = out ? process_vm_writev(pid, &l, 1, &r, 1, 0) : process_vm_readv(pid, &l, 1, &r, 1, 0);
  if (n != (ssize_t)bytes) die("process_vm");
}

int main(void) {
  pid_t pid = fork();
  if (pid < 0) die("fork");
  if (pid == 0) subject();
  int status;
  if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP) die("subject did not start");
  struct user_regs_struct idle;
  if (ptrace(PTRACE_GETREGS, pid, 0, &idle)) die("getregs");
  struct iovec whole = {xstate, sizeof xstate};
  const int avx = __builtin_cpu_supports("avx") && ptrace(PTRACE_GETREGSET, pid, NT_X86_XSTATE, &whole) == 0;
  xstate_bytes = whole.iov_len;
  static const uint8_t no_ymmh[256];

  static struct request q;
  static struct response p;
  /* As after FNINIT, with MXCSR as after reset. */
  static const uint8_t initial[512] = {[0] = 0x7f, [1] = 3, [24] = 0x80, [25] = 0x1f};
  static uint8_t page[4096], data[DATA_BYTES];
  while (fread(&q, sizeof q, 1, stdin) == 1) {
    memset(page, 0xcc, sizeof page);
    memcpy(page + 0x100, q.code, q.code_length);
    transfer(pid, 1, page, CODE, sizeof page);
    memset(data, 0, sizeof data);
    memcpy(data + (WINDOW - DATA), q.mem, 256);
    transfer(pid, 1, data, DATA, sizeof data);
    struct user_regs_struct r = idle;
    const uint32_t size = q.what >> 8;
    const uint64_t start = size == 16 ? 0x100 : CODE + 0x100;
    if (size == 32) r.cs = 0x23, r.ss = r.ds = r.es = 0x2b, r.fs = r.gs = 0;
    if (size == 16) r.cs = 7, r.ds = 0xf, r.es = 0x17, r.ss = 0x1f, r.fs = r.gs = 0;
    r.rax = q.gpr[0], r.rcx = q.gpr[1], r.rdx = q.gpr[2], r.rbx = q.gpr[3];
    r.rsp = q.gpr[4], r.rbp = q.gpr[5], r.rsi = q.gpr[6], r.rdi = q.gpr[7];
    r.r8 = q.gpr[8], r.r9 = q.gpr[9], r.r10 = q.gpr[10], r.r11 = q.gpr[11];
    r.r12 = q.gpr[12], r.r13 = q.gpr[13], r.r14 = q.gpr[14], r.r15 = q.gpr[15];
    r.rip = start, r.eflags = q.rflags, r.orig_rax = -1, r.fs_base = 0, r.gs_base = 0;
    if (ptrace(PTRACE_SETREGS, pid, 0, &r)) die("setregs");
    const uint8_t *fx = q.what & 1 ? q.fx : initial;
    if (avx) set_state(pid, fx, q.what & 2 ? q.ymmh : no_ymmh);
    else if (ptrace(PTRACE_SETFPREGS, pid, 0, (void *)fx)) die("setfpregs");
    p.sig = 0;
    for (p.steps = 1;; p.steps++) {
      if (ptrace(PTRACE_SINGLESTEP, pid, 0, 0)) die("singlestep");
      if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) die("the subject has ended");
      if (WSTOPSIG(status) != SIGTRAP) {
        p.sig = WSTOPSIG(status);
        break;
      }
      siginfo_t info;
      if (ptrace(PTRACE_GETSIGINFO, pid, 0, &info)) die("getsiginfo");
      if (info.si_code != TRAP_TRACE) {
        p.sig = SIGTRAP;
        break;
      }
      if (ptrace(PTRACE_GETREGS, pid, 0, &r)) die("getregs");
      if (r.rip != start || p.steps >= MAX_STEPS) break;
    }
    if (ptrace(PTRACE_GETREGS, pid, 0, &r)) die("getregs");
    const uint64_t out[16] = {r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi,
                              r.r8,  r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15};
    memcpy(p.gpr, out, sizeof out);
    p.rip = r.rip, p.rflags = r.eflags;
    transfer(pid, 0, p.mem, WINDOW, 256);
    if (avx) get_state(pid, p.fx, p.ymmh);
    else if (ptrace(PTRACE_GETFPREGS, pid, 0, p.fx)) die("getfpregs");
    if (fwrite(&p, sizeof p, 1, stdout) != 1) die("write");
  }
  ptrace(PTRACE_KILL, pid, 0, 0);
  return 0;
}

/*
 * The harness of the system tests. A check runs a snippet of machine code from a given state (`in`) up to the first event that
 * does not resume, and looks at the state there (`out`). A snippet ends with INT 80H, so vector 0x80 means that it ran through.
 */
#ifndef SYSTEM_H
#define SYSTEM_H
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
/* A general register; its names in snippets. */
typedef unsigned long word;

#ifdef __x86_64__
#define LONG 1
#define NATIVE ".code64; "
#define LONG_AX "rax"
#define LONG_SI "rsi"
#define REGISTERS 16
typedef u64 entry;
#define ENTRY_BYTES 8
#define LEVELS 4
#else
#define LONG 0
#define NATIVE ".code32; "
#define LONG_AX "eax"
#define LONG_SI "esi"
#define REGISTERS 8
#ifdef PAE
typedef u64 entry;
#define ENTRY_BYTES 8
#define LEVELS 2
#else
typedef u32 entry;
#define ENTRY_BYTES 4
#define LEVELS 2
#endif
#endif

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

/* Segments of the GDT; those of ring 3 with their RPL. From SEL_FREE on, tests put what they like. */
enum {
  SEL_CODE = 0x08, /* of the image's own size */
  SEL_DATA = 0x10,
  SEL_CODE32 = 0x18,
  SEL_CODE16 = 0x20,
  SEL_DATA16 = 0x28,
  SEL_UCODE = 0x33,
  SEL_UDATA = 0x3b,
  SEL_UCODE32 = 0x43,
  SEL_UCODE16 = 0x4b,
  SEL_TSS = 0x50,
  SEL_FREE = 0x60,
  SEL_LAST = 0xf8,
};

enum { DE, DB, NMI, BP, OF, BR, UD, NM, DF, TS = 10, NP, SS, GP, PF, MF = 16, AC, DONE = 0x80 };
enum {
  CF = 1, TF = 0x100, IF = 0x200, DFLAG = 0x400, NT = 0x4000, RF = 0x10000, VM = 0x20000, ACF = 0x40000,
  IOPL3 = 0x3000, FIXED = 2,
};
enum { CR0_PE = 1, CR0_MP = 2, CR0_EM = 4, CR0_TS = 8, CR0_NE = 0x20, CR0_WP = 0x10000, CR0_AM = 0x40000 };
#define CR0_NW 0x20000000u
#define CR0_CD 0x40000000u
#define CR0_PG 0x80000000u
enum {
  CR4_VME = 1, CR4_PVI = 2, CR4_TSD = 4, CR4_DE = 8, CR4_PSE = 0x10, CR4_PAE = 0x20, CR4_PGE = 0x80, CR4_PCE = 0x100,
  CR4_UMIP = 0x800, CR4_FSGSBASE = 0x10000, CR4_PCIDE = 0x20000, CR4_OSXSAVE = 0x40000, CR4_SMEP = 0x100000,
  CR4_SMAP = 0x200000,
};

struct state {
  word gpr[REGISTERS];
  word ip, flags, cs, ss, ds, es, fs, gs;
  word vector, error, cr2, dr6;
};
extern struct state in, out;

/* What the trap stubs leave on the stack. */
struct frame {
#if LONG
  word gs, fs, es, ds, gpr[16];
  word vector, error, ip, cs, flags, sp, ss;
#else
  word gs, fs, es, ds, edi, esi, ebp, skipped, ebx, edx, ecx, eax;
  word vector, error, ip, cs, flags, sp, ss, ves, vds, vfs, vgs;
#endif
};

/* Sees every event first; nonzero resumes the interrupted code with the frame as it is then. */
extern int (*hook)(struct frame *);
/* The frame of the last event, where it lay, for checks of what is pushed. */
extern struct frame *last_frame;

void go(void);
void fresh(void);
void run(int cpl, const void *code);
void run_in(word cs, word ss, const void *code);

/* The loader gave 1 in EBX (a multiboot loader gives an address): fewer of the same, for engines that are slow. */
extern u8 quick;

/* ---- checks ---------------------------------------------------------------------------------------------------------- */
void section(const char *name);
void check(const char *name, u64 got, u64 want);
/* The snippet ended with this vector, error code (0 if there is none) and instruction pointer. */
void ended(const char *name, u32 vector, u32 error, const void *at);
/* The snippet ran to its end. */
void ran(const char *name);
void print(const char *text);
void print_hex(u64 value);

/*
 * SNIPPET(name, before, instruction, after): `name` is where it begins, name_x the instruction that matters, name_y the byte
 * behind that.
 */
#define SNIPPET_AS(mode, name, before, instruction, after)                                                        \
  extern u8 name[], name##_x[], name##_y[], name##_end[];                                                        \
  asm(".pushsection .snippets,\"awx\"; " mode #name ": " before "; " #name "_x: " instruction "; " #name "_y: " after \
      "; int $0x80; " #name "_end: " NATIVE ".popsection")
#define SNIPPET(name, before, instruction, after) SNIPPET_AS(NATIVE, name, before, instruction, after)
#define SNIPPET32(name, before, instruction, after) SNIPPET_AS(".code32; ", name, before, instruction, after)
#define SNIPPET16(name, before, instruction, after) SNIPPET_AS(".code16; ", name, before, instruction, after)

/* ---- tables ------------------------------------------------------------------------------------------------------------ */
extern u64 gdt[32], ldt[8];
#if LONG
extern u64 idt[512];
#else
extern u64 idt[256];
#endif
struct tss32 {
  u16 link, r0;
  u32 esp0;
  u16 ss0, r1;
  u32 esp1;
  u16 ss1, r2;
  u32 esp2;
  u16 ss2, r3;
  u32 cr3, eip, eflags, gpr[8];
  u32 seg[6];
  u16 ldt, r4, trap, iomap;
  u8 bitmap[64];
} __attribute__((packed));
struct tss64 {
  u32 r0;
  u64 rsp[3], r1, ist[8];
  u16 r2, iomap;
  u8 bitmap[64];
} __attribute__((packed, aligned(16)));
#if LONG
extern struct tss64 tss;
#else
extern struct tss32 tss;
#endif
#define STACK_BYTES 4096
extern u8 stack0[STACK_BYTES], stack1[STACK_BYTES], stack2[STACK_BYTES], stack3[STACK_BYTES], trap_stack[STACK_BYTES];
#define TOP(stack) ((word)(stack) + STACK_BYTES - 64)

u64 descriptor(u32 base, u32 limit, u32 attributes);
/* Attributes of descriptors: access byte, and G D L AVL in bits 15..12. */
enum {
  CODE64 = 0xa09b, CODE32 = 0xc09b, CODE16 = 0x009b, DATA32 = 0xc093, DATA16 = 0x0093, CONFORMING = 4, DPL3 = 0x60, DPL1 = 0x20,
  DPL2 = 0x40, PRESENT = 0x80,
};
#define CODE_NATIVE (LONG ? CODE64 : CODE32)
enum { CALL16 = 4, TASK_GATE = 5, INT16 = 6, TRAP16 = 7, TSS16 = 1, LDT = 2, TSS32 = 9, CALL32 = 12, INT32 = 14, TRAP32 = 15 };
/* An entry of the IDT; `type` with DPL and P as in the access byte. Call gates take the same form in the GDT. */
void gate(u32 vector, word offset, u32 selector, u32 type, u32 ist);
void gdt_gate(u32 selector, word offset, u32 target, u32 type, u32 count);
void reset_tables(void);
extern const word stubs[256];

/* ---- registers ------------------------------------------------------------------------------------------------------- */
#define CONTROL(n)                                                                  \
  static inline word cr##n(void) {                                                 \
    word v;                                                                        \
    asm volatile("mov %%cr" #n ",%0" : "=r"(v));                                   \
    return v;                                                                      \
  }                                                                                \
  static inline void set_cr##n(word v) { asm volatile("mov %0,%%cr" #n ::"r"(v) : "memory"); }
CONTROL(0)
CONTROL(2)
CONTROL(3)
CONTROL(4)
#define DEBUG(n)                                                                    \
  static inline word dr##n(void) {                                                 \
    word v;                                                                        \
    asm volatile("mov %%dr" #n ",%0" : "=r"(v));                                   \
    return v;                                                                      \
  }                                                                                \
  static inline void set_dr##n(word v) { asm volatile("mov %0,%%dr" #n ::"r"(v) : "memory"); }
DEBUG(0)
DEBUG(1)
DEBUG(2)
DEBUG(3)
DEBUG(6)
DEBUG(7)
static inline u64 rdmsr(u32 msr) {
  u32 lo, hi;
  asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
  return lo | (u64)hi << 32;
}
static inline void wrmsr(u32 msr, u64 value) {
  asm volatile("wrmsr" ::"c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}
static inline void out8(u16 port, u8 value) { asm volatile("outb %0,%1" ::"a"(value), "Nd"(port)); }
static inline void invlpg(word linear) { asm volatile("invlpg (%0)" ::"r"(linear) : "memory"); }
/* Bit `bit` of register `reg` (0 EAX .. 3 EDX) of a CPUID leaf. */
int has(u32 leaf, u32 reg, u32 bit);
#define HAS_SMEP has(7, 1, 7)
#define HAS_SMAP has(7, 1, 20)
#define HAS_UMIP has(7, 2, 2)
#define HAS_PCID has(1, 2, 17)
#define HAS_INVPCID has(7, 1, 10)
#define HAS_FSGSBASE has(7, 1, 0)
#define HAS_VME has(1, 3, 1)
int intel(void);
enum { MSR_EFER = 0xc0000080, EFER_SCE = 1, EFER_LME = 0x100, EFER_LMA = 0x400, EFER_NXE = 0x800 };

/* ---- pages ----------------------------------------------------------------------------------------------------------- */
enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80, G = 0x100 };
#define NX (1ull << 63)
#define PAGE 4096
/* Bytes of a large page. */
#define LARGE_PAGE ((word)(PAGE / ENTRY_BYTES) * PAGE)
/* Linear addresses of tests: nothing is there until `map`. */
#define TEST ((word)0x40000000)
#define TEST2 ((word)0x80000000)
#define FRAMES 16
extern u8 frames[FRAMES][PAGE];
/* Maps a 4 KiB page; the upper entries get P W U. Returns its entry. */
entry *map(word linear, word physical, entry flags);
/* The entry one level above `map`'s. */
entry *above(word linear);
/* Takes all pages of TEST and TEST2 away, and gives the identity map to ring 3, or not. */
void reset_pages(void);
void identity_user(int user);
void flush(void);

/* ---- tests ------------------------------------------------------------------------------------------------------------- */
#define TESTS(name)                                                                            \
  static void name(void);                                                                     \
  static void (*const name##_entry)(void) __attribute__((used, section(".tests"))) = name;    \
  static void name(void)
#endif

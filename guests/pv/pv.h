/* What the files of the PV kernel share with each other. */
#ifndef PV_H
#define PV_H

#include "guest.h"

#define PTE_PRESENT 1ull
#define PTE_WRITE 2ull
#define PTE_USER 4ull
#define PTE_ACCESSED 0x20ull
#define PTE_DIRTY 0x40ull
#define PTE_LARGE 0x80ull
#define PTE_GLOBAL 0x100ull
#define PTE_NX (1ull << 63)
#define PTE_FRAME 0x000ffffffffff000ull

#define WINDOW 0x0000010000000000ull /* where map_frame() maps */
#define USER 0x0000020000000000ull   /* what user mode sees, the same in both root tables */
#define USER_STACK (USER + 0x20000ull) /* its top */

extern const struct pv_start_info *start_info;
extern uint64_t failsafe_selectors[4];

/* paging.c; frames are machine frames. */
void paging_init(void);
uint64_t *pte_of(uint64_t va); /* read it there; writing needs Xen. NULL if there is none */
uint64_t pte_address(uint64_t va); /* the machine address of the lowest entry for va, making the tables above it */
uint64_t table_address(uint64_t va, int level); /* of the entry at a level, 3 is the root's; 0 if there is no such table */
long set_pte(uint64_t va, uint64_t value); /* by update_va_mapping, with INVLPG */
long mmu_update_one(uint64_t ptr, uint64_t value);
long mmuext(unsigned cmd, uint64_t arg1, uint64_t arg2);
uint64_t root_frame(void), user_root_frame(void);
uint64_t *virtual_of(uint64_t mfn); /* where a frame of the boot region is mapped */
void *user_page(uint64_t va); /* a new page that user mode may write; where the kernel sees it */
uint64_t user_code(const void *code); /* where user mode sees code between user_begin and user_end */

/* cpu.c */
void cpu_init(struct percpu *cpu); /* traps, callbacks, GS */
void set_syscall_entry(const void *entry);
void enter_user(uint64_t rip, uint64_t rsp, uint64_t rax, uint64_t rflags) __attribute__((noreturn));
void iret_frame(const uint64_t frame[5], uint64_t flags) __attribute__((noreturn));
void vcpu_main(struct percpu *cpu) __attribute__((noreturn));

void work_mmu(const char *arg);
void work_traps(const char *arg);
void work_syscall(const char *arg);
void work_legacy(const char *arg);

extern char image_start[], text_end[], rodata_end[], image_end[], hypercall_page[];
extern char user_begin[], user_privileged[], user_syscall[], user_loop[], user_read[], user_end[];
extern char trap_entries[], vcpu_start[];
extern char syscall_entry[], syscall32_entry[], sysenter_entry[], nmi_entry[], failsafe_entry[], syscall_back_entry[];

static inline uint64_t read_cr2(void) { return this_cpu()->vcpu_info->cr2; }

/* Runs code that must trap, and checks with what. */
#define TRAPS(c, name, code, want_vector, want_error)   \
    do {                                                \
        (c)->vector = ~0ull;                            \
        if (!catch_fault(c)) {                          \
            code;                                       \
            catch_end();                                \
        }                                               \
        check(name, (int64_t)(c)->vector, want_vector); \
        if ((c)->vector == (want_vector))               \
            check(name "-error", (int64_t)(c)->error, want_error); \
    } while (0)

#endif

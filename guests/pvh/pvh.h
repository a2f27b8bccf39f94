/* What the files of the PVH kernel share with each other. */
#ifndef PVH_H
#define PVH_H

#include "guest.h"

#define SEL_CODE 0x08
#define SEL_DATA 0x10
#define SEL_USER_DATA 0x23
#define SEL_USER_CODE 0x2b
#define SEL_TSS 0x30

#define MSR_APIC_BASE 0x1b
#define MSR_X2APIC 0x800
#define MSR_EFER 0xc0000080
#define MSR_GS_BASE 0xc0000101

#define PTE_PRESENT 1ull
#define PTE_WRITE 2ull
#define PTE_USER 4ull
#define PTE_ACCESSED 0x20ull
#define PTE_DIRTY 0x40ull
#define PTE_LARGE 0x80ull
#define PTE_NX (1ull << 63)

static inline uint64_t rdmsr(uint32_t msr)
{
    uint32_t lo, hi;
    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
    return lo | (uint64_t)hi << 32;
}
static inline void wrmsr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" :: "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}
static inline void outb(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" :: "a"(value), "Nd"(port)); }
static inline void outl(uint16_t port, uint32_t value) { __asm__ volatile("outl %0, %1" :: "a"(value), "Nd"(port)); }
static inline uint8_t inb(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static inline uint64_t read_cr2(void) { uint64_t v; __asm__ volatile("mov %%cr2, %0" : "=r"(v)); return v; }
static inline uint64_t read_cr3(void) { uint64_t v; __asm__ volatile("mov %%cr3, %0" : "=r"(v)); return v; }

void paging_init(const struct memmap_entry *map, unsigned entries);
uint64_t *pte_of(uint64_t va); /* the lowest entry that maps va, NULL if none */
void cpu_init(struct percpu *cpu); /* GDT, TSS, IDT, GS */
void idt_present(unsigned vector, bool present);
void apic_init(void);
void enter_user(uint64_t rip, uint64_t rsp) __attribute__((noreturn));
void vcpu_main(struct percpu *cpu) __attribute__((noreturn));
extern char image_start[], text_end[], rodata_end[], image_end[], hypercall_page[];
extern char user_begin[], user_privileged[], user_hypercall[], user_end[];
extern char trap_entries[], vcpu_start64[];
extern char sipi_begin[], sipi_end[], sipi_cr3[], sipi_percpu[], sipi_stack[], boot_stack_top[];

#endif

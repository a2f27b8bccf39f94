/* The kernel's page tables: memory onto itself (2 MiB pages, the image in 4 KiB pages by kind), and a window for frames. */
#include "pvh.h"

#define WINDOW 0xffff800000000000ull
#define LARGE 0x200000ull

static uint64_t tables[40][512] __attribute__((aligned(4096)));
static unsigned tables_used;
static uint64_t *root;
static uint64_t window_next = WINDOW;

static uint8_t pool[224][PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned pool_used;

void *page_alloc(void)
{
    if (pool_used == ARRAY_SIZE(pool))
        panic("out of pages");
    return memset(pool[pool_used++], 0, PAGE_SIZE);
}

uint64_t frame_of(const void *page)
{
    return (uintptr_t)page / PAGE_SIZE;
}

static uint64_t *table_new(void)
{
    if (tables_used == ARRAY_SIZE(tables))
        panic("out of page tables");
    return tables[tables_used++];
}

/* The entry for va at a level (0: 4 KiB, 1: 2 MiB), making the tables above it. */
static uint64_t *entry(uint64_t va, int level)
{
    uint64_t *table = root;
    for (int l = 3; l > level; l--) {
        uint64_t *e = &table[va >> (12 + 9 * l) & 511];
        if (!*e)
            *e = (uintptr_t)table_new() | PTE_PRESENT | PTE_WRITE | PTE_USER;
        table = (uint64_t *)(*e & 0x000ffffffffff000ull);
    }
    return &table[va >> (12 + 9 * level) & 511];
}

uint64_t *pte_of(uint64_t va)
{
    uint64_t *table = root;
    for (int l = 3;; l--) {
        uint64_t *e = &table[va >> (12 + 9 * l) & 511];
        if (!(*e & PTE_PRESENT))
            return NULL;
        if (!l || *e & PTE_LARGE)
            return e;
        table = (uint64_t *)(*e & 0x000ffffffffff000ull);
    }
}

static uint64_t bits(unsigned flags)
{
    return PTE_PRESENT | (flags & MAP_WRITE ? PTE_WRITE : 0) | (flags & MAP_USER ? PTE_USER : 0) |
           (flags & MAP_EXEC ? 0 : PTE_NX);
}

static void invalidate(uint64_t va)
{
    __asm__ volatile("invlpg (%0)" :: "r"(va) : "memory");
}

void map_at(uint64_t va, uint64_t pa, unsigned flags)
{
    *entry(va, 0) = pa | bits(flags);
    invalidate(va);
}

void unmap_at(uint64_t va)
{
    *entry(va, 0) = 0;
    invalidate(va);
}

void *map_frame(uint64_t gfn, unsigned flags)
{
    uint64_t va = window_next;
    window_next += PAGE_SIZE;
    map_at(va, gfn * PAGE_SIZE, flags);
    return (void *)va;
}

static unsigned kind(uint64_t pa)
{
    if (pa < (uintptr_t)image_start || pa >= (uintptr_t)image_end)
        return MAP_WRITE;
    if (pa < (uintptr_t)text_end) {
        bool user = (pa >= (uintptr_t)user_begin && pa < (uintptr_t)user_end) || pa == (uintptr_t)hypercall_page;
        return MAP_EXEC | (user ? MAP_USER : 0);
    }
    return pa < (uintptr_t)rodata_end ? 0 : MAP_WRITE;
}

/* Memory at its own address, the page at 0 left out. Above 4 GiB nothing is mapped: nothing here needs it. */
void paging_init(const struct memmap_entry *map, unsigned entries)
{
    root = table_new();
    for (unsigned i = 0; i < entries; i++) {
        if (map[i].type != MEMMAP_RAM || map[i].addr >= 1ull << 32)
            continue;
        uint64_t end = map[i].addr + map[i].size;
        if (end > 1ull << 32)
            end = 1ull << 32;
        end &= ~(PAGE_SIZE - 1ull);
        uint64_t pa = (map[i].addr + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1ull);
        while (pa < end) {
            bool image = pa + LARGE > (uintptr_t)image_start && pa < (uintptr_t)image_end;
            if (!(pa % LARGE) && end - pa >= LARGE && !image && pa) {
                *entry(pa, 1) = pa | bits(MAP_WRITE) | PTE_LARGE;
                pa += LARGE;
            } else {
                if (pa)
                    *entry(pa, 0) = pa | bits(kind(pa));
                pa += PAGE_SIZE;
            }
        }
    }
    __asm__ volatile("mov %0, %%cr3" :: "r"(root) : "memory");
}

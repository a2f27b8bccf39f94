/* Direct paging: Xen's boot tables are kept; entries are changed by hypercall, new tables are made read-only before they are used. */
#include "pv.h"

static uint64_t tables[40][512] __attribute__((aligned(4096)));
static unsigned tables_used;
static uint64_t *user_root;
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
    return ((const uint64_t *)start_info->mfn_list)[(uintptr_t)page / PAGE_SIZE];
}

uint64_t *virtual_of(uint64_t mfn)
{
    return (uint64_t *)(MACH2PHYS[mfn] * PAGE_SIZE);
}

static uint64_t *root(void)
{
    return (uint64_t *)start_info->pt_base;
}

uint64_t root_frame(void)
{
    return frame_of(root());
}

uint64_t user_root_frame(void)
{
    return frame_of(user_root);
}

long mmu_update_one(uint64_t ptr, uint64_t value)
{
    struct mmu_update op = { ptr, value };
    return hypercall(HC_mmu_update, (long)&op, 1, 0, DOMID_SELF, 0);
}

long mmuext(unsigned cmd, uint64_t arg1, uint64_t arg2)
{
    struct mmuext_op op = { .cmd = cmd, .mfn = arg1, .src_mfn = arg2 };
    return hypercall(HC_mmuext_op, (long)&op, 1, 0, DOMID_SELF, 0);
}

long set_pte(uint64_t va, uint64_t value)
{
    return HYPERCALL(HC_update_va_mapping, va, value, UVMF_INVLPG | UVMF_ALL);
}

static void must(long error, const char *what)
{
    if (error)
        panic(what);
}

static uint64_t *table_new(void)
{
    if (tables_used == ARRAY_SIZE(tables))
        panic("out of page tables");
    uint64_t *table = tables[tables_used++];
    must(set_pte((uintptr_t)table, frame_of(table) << 12 | PTE_PRESENT | PTE_USER | PTE_NX), "a table stays writable");
    return table;
}

static uint64_t maddr(const uint64_t *entry)
{
    return frame_of(entry) << 12 | ((uintptr_t)entry & (PAGE_SIZE - 1));
}

/* The entry for va at a level, making the tables above it if asked to; NULL if one lacks. */
static uint64_t *entry(uint64_t va, int level, bool make)
{
    uint64_t *table = root();
    for (int l = 3; l > level; l--) {
        uint64_t *e = &table[va >> (12 + 9 * l) & 511];
        if (!(*e & PTE_PRESENT)) {
            if (!make)
                return NULL;
            must(mmu_update_one(maddr(e), frame_of(table_new()) << 12 | PTE_PRESENT | PTE_WRITE | PTE_USER), "no new table");
        }
        table = virtual_of((*e & PTE_FRAME) >> 12);
    }
    return &table[va >> (12 + 9 * level) & 511];
}

uint64_t *pte_of(uint64_t va)
{
    uint64_t *e = entry(va, 0, false);
    return e && *e & PTE_PRESENT ? e : NULL;
}

uint64_t pte_address(uint64_t va)
{
    return maddr(entry(va, 0, true));
}

uint64_t table_address(uint64_t va, int level)
{
    uint64_t *e = entry(va, level, false);
    return e ? maddr(e) : 0;
}

static uint64_t bits(unsigned flags)
{
    return PTE_PRESENT | PTE_USER | (flags & MAP_WRITE ? PTE_WRITE : 0) | (flags & MAP_EXEC ? 0 : PTE_NX);
}

void map_at(uint64_t va, uint64_t pa, unsigned flags)
{
    must(mmu_update_one(pte_address(va), pa | bits(flags)), "map_at");
    mmuext(MMUEXT_INVLPG_ALL, va, 0);
}

void unmap_at(uint64_t va)
{
    must(set_pte(va, 0), "unmap_at");
}

void *map_frame(uint64_t mfn, unsigned flags)
{
    uint64_t va = window_next;
    window_next += PAGE_SIZE;
    map_at(va, mfn << 12, flags);
    return (void *)va;
}

void *user_page(uint64_t va)
{
    void *page = page_alloc();
    map_at(va, frame_of(page) << 12, MAP_WRITE);
    return page;
}

uint64_t user_code(const void *code)
{
    return USER + (uintptr_t)code - (uintptr_t)user_begin;
}

/* The image's pages by kind; the user part of the address space, and a root table for user mode that has nothing else. */
void paging_init(void)
{
    must(set_pte(0, 0), "page 0");
    for (char *page = image_start; page < image_end; page += PAGE_SIZE) {
        unsigned kind = page < text_end ? MAP_EXEC : page < rodata_end ? 0 : MAP_WRITE;
        must(set_pte((uintptr_t)page, frame_of(page) << 12 | bits(kind)), "an image page");
    }
    for (char *page = user_begin; page < user_end; page += PAGE_SIZE)
        map_at(user_code(page), frame_of(page) << 12, MAP_EXEC);
    user_page(USER_STACK - PAGE_SIZE);
    uint64_t slot = root()[USER >> 39 & 511];
    user_root = tables[tables_used++];
    user_root[USER >> 39 & 511] = slot;
    must(set_pte((uintptr_t)user_root, frame_of(user_root) << 12 | PTE_PRESENT | PTE_USER | PTE_NX), "the user root stays writable");
    must(mmuext(MMUEXT_PIN_L4_TABLE, user_root_frame(), 0), "the user root is no root");
    must(mmuext(MMUEXT_NEW_USER_BASEPTR, user_root_frame(), 0), "no user root");
}

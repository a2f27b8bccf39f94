/*
 * work=mmu: direct paging as Xen guards it: page-table updates, pins, base pointers and descriptor frames, with the answer to
 * each right and wrong request. Expected values are what a real Xen 4.17.7 answered a domU.
 */
#include "pv.h"

#define BAD ((void *)UNMAPPED)
#define BEYOND 0xfffffffffull /* no machine frame */

static struct catch c;
static uint64_t *table; /* an empty page that is mapped read-only: fit to become a page table */
static uint64_t *data;  /* a page that is mapped writable */

static long updates(const struct mmu_update *ops, long count, unsigned domid, uint32_t *done)
{
    return hypercall(HC_mmu_update, (long)ops, count, (long)done, domid, 0);
}

static long map_as(const void *page, uint64_t flags)
{
    return set_pte((uintptr_t)page, frame_of(page) << 12 | PTE_PRESENT | PTE_USER | flags);
}

/* An update of an entry, and back to what it was. */
static long try_entry(uint64_t va, int level, uint64_t value)
{
    uint64_t at = table_address(va, level), before = virtual_of(at >> 12)[at % PAGE_SIZE / 8];
    long result = mmu_update_one(at, value);
    if (!result)
        mmu_update_one(at, before);
    return result;
}

static void calls(void)
{
    struct mmu_update two[2] = { { frame_of(data) << 12, 0x1111 }, { frame_of(data) << 12 | 8, 0x2222 } };
    uint32_t done = 99;
    check("mmu.none", updates(two, 0, DOMID_SELF, NULL), 0);
    check("mmu.data-page", updates(two, 2, DOMID_SELF, &done), 0);
    check("mmu.done", done, 2);
    check("mmu.data-written", (int64_t)(data[0] << 16 | data[1]), 0x11112222);
    check("mmu.bad-pointer", updates(BAD, 1, DOMID_SELF, NULL), -XEN_EFAULT);
    check("mmu.of-nobody", updates(two, 1, DOMID_NOBODY, NULL), -XEN_ESRCH);
    two[1].ptr = BEYOND << 12;
    check("mmu.second-fails", updates(two, 2, DOMID_SELF, &done), -XEN_EINVAL);
    check("mmu.one-done", done, 1);
    two[0].ptr = frame_of(data) << 12 | MMU_PT_UPDATE_NO_TRANSLATE;
    check("mmu.no-translate", updates(two, 1, DOMID_SELF, NULL), 0);
    check("mmu.machphys", mmu_update_one(frame_of(data) << 12 | MMU_MACHPHYS_UPDATE, (uintptr_t)data >> 12), 0);
    check("mmu.machphys-beyond", mmu_update_one(BEYOND << 12 | MMU_MACHPHYS_UPDATE, 1), -XEN_EINVAL);
}

static void entries(void)
{
    uint64_t va = (uintptr_t)data, own = frame_of(data) << 12, rw = PTE_PRESENT | PTE_WRITE | PTE_USER;
    check("entry.same", try_entry(va, 0, own | rw | PTE_NX), 0);
    check("entry.absent", try_entry(va, 0, 0x123456ull << 12), 0);
    check("entry.beyond", try_entry(va, 0, BEYOND << 12 | rw), -XEN_EPERM);
    check("entry.available-bits", try_entry(va, 0, own | rw | 0xe00), 0);
    check("entry.bit-52", try_entry(va, 0, own | rw | 1ull << 52), 0);
    check("entry.global", try_entry(va, 0, own | rw | PTE_GLOBAL), 0);
    check("entry.pat", try_entry(va, 0, own | rw | PTE_LARGE), -XEN_EINVAL);
    check("entry.root-writable", try_entry(va, 0, root_frame() << 12 | rw), -XEN_EBUSY);
    check("entry.root-read-only", try_entry(va, 0, root_frame() << 12 | PTE_PRESENT | PTE_USER), 0);
    check("va.m2p-of-xen", set_pte(XEN_VIRT_START, own | rw), -XEN_EINVAL);
    check("entry.l2-large", try_entry(va, 1, own | rw | PTE_LARGE), -XEN_EINVAL);
    check("entry.l2-data", try_entry(va, 1, own | rw), -XEN_EINVAL);
    check("entry.l2-root", try_entry(va, 1, root_frame() << 12 | rw), -XEN_EINVAL);
    check("entry.l3-data", try_entry(va, 2, own | rw), -XEN_EINVAL);
    check("entry.l3-large", try_entry(va, 2, own | rw | PTE_LARGE), -XEN_EINVAL);
    check("entry.l4-data", mmu_update_one(root_frame() << 12 | 300 * 8, own | rw), -XEN_EINVAL);
    check("entry.l4-of-xen", mmu_update_one(root_frame() << 12 | 256 * 8, own | rw), -XEN_EINVAL);
    check("entry.l4-itself-writable", mmu_update_one(root_frame() << 12 | 300 * 8, root_frame() << 12 | rw), -XEN_EINVAL);
    check("entry.l4-itself", mmu_update_one(root_frame() << 12 | 300 * 8, root_frame() << 12 | PTE_PRESENT | PTE_USER), 0);
    mmu_update_one(root_frame() << 12 | 300 * 8, 0);
    check("entry.misaligned", mmu_update_one((table_address(va, 0) & ~7ull) | 4, own | rw), -XEN_ENOSYS);
    check("va.no-table", set_pte(UNMAPPED, own | rw), -XEN_EINVAL);
    check("va.flags-3", HYPERCALL(HC_update_va_mapping, va, own | rw | PTE_NX, 3), 0);
    check("va.flags-high", HYPERCALL(HC_update_va_mapping, va, own | rw | PTE_NX, 0xff00), 0);
    check("va.mask-bad", HYPERCALL(HC_update_va_mapping, va, own | rw | PTE_NX, UNMAPPED | UVMF_INVLPG), -XEN_EFAULT);
    check("va.other-nobody", hypercall(HC_update_va_mapping_otherdomain, (long)va, (long)(own | rw), 0, DOMID_NOBODY, 0), -XEN_ESRCH);
    check("va.other-self", hypercall(HC_update_va_mapping_otherdomain, (long)va, (long)(own | rw | PTE_NX), 0, DOMID_SELF, 0), 0);
}

static void pins(void)
{
    uint64_t frame = frame_of(table);
    check("pin.writable", mmuext(MMUEXT_PIN_L1_TABLE, frame_of(data), 0), -XEN_EINVAL);
    check("pin.beyond", mmuext(MMUEXT_PIN_L1_TABLE, BEYOND, 0), -XEN_EINVAL);
    check("pin.l1", mmuext(MMUEXT_PIN_L1_TABLE, frame, 0), 0);
    check("pin.l1-again", mmuext(MMUEXT_PIN_L1_TABLE, frame, 0), -XEN_EINVAL);
    check("pin.l1-as-l2", mmuext(MMUEXT_PIN_L2_TABLE, frame, 0), -XEN_EINVAL);
    check("pin.l1-writable", map_as(table, PTE_WRITE | PTE_NX), -XEN_EBUSY);
    check("pin.clear-table", mmuext(MMUEXT_CLEAR_PAGE, frame, 0), -XEN_EINVAL);
    TRAPS(&c, "pin.l1-write", *(volatile uint64_t *)table = 1, 14, 3);
    check("pin.l1-write-entry-kept", (int64_t)table[0], 0);
    check("pin.unpin", mmuext(MMUEXT_UNPIN_TABLE, frame, 0), 0);
    check("pin.unpin-again", mmuext(MMUEXT_UNPIN_TABLE, frame, 0), -XEN_EINVAL);
    check("pin.unpin-beyond", mmuext(MMUEXT_UNPIN_TABLE, BEYOND, 0), -XEN_EINVAL);
    check("pin.l4", mmuext(MMUEXT_PIN_L4_TABLE, frame, 0), 0);
    check("pin.l4-has-xen", table[256] != 0, 0);
    check("pin.l4-unpin", mmuext(MMUEXT_UNPIN_TABLE, frame, 0), 0);
    check("pin.free-again", map_as(table, PTE_WRITE | PTE_NX), 0);
    memset(table, 0, PAGE_SIZE);
    table[0] = frame_of(data) << 12 | PTE_PRESENT | PTE_WRITE | PTE_USER;
    table[1] = BEYOND << 12 | PTE_PRESENT;
    map_as(table, PTE_NX);
    check("pin.bad-entry", mmuext(MMUEXT_PIN_L1_TABLE, frame, 0), -XEN_EPERM);
    check("pin.data-as-l2-entry", mmuext(MMUEXT_PIN_L2_TABLE, frame, 0), -XEN_EINVAL);
    check("base.no-root", mmuext(MMUEXT_NEW_BASEPTR, frame_of(data), 0), -XEN_EINVAL);
    check("base.beyond", mmuext(MMUEXT_NEW_BASEPTR, BEYOND, 0), -XEN_EINVAL);
    check("base.same", mmuext(MMUEXT_NEW_BASEPTR, root_frame(), 0), 0);
    check("user-base.no-root", mmuext(MMUEXT_NEW_USER_BASEPTR, frame_of(data), 0), -XEN_EINVAL);
    check("user-base.none", mmuext(MMUEXT_NEW_USER_BASEPTR, 0, 0), 0);
    check("user-base.back", mmuext(MMUEXT_NEW_USER_BASEPTR, user_root_frame(), 0), 0);
}

static void others(void)
{
    uint64_t mask = 1;
    static const struct { const char *name; unsigned cmd; uint64_t arg1, arg2; long want; } ops[] = {
        { "ext.flush-local", MMUEXT_TLB_FLUSH_LOCAL, 0, 0, 0 },
        { "ext.flush-all", MMUEXT_TLB_FLUSH_ALL, 0, 0, 0 },
        { "ext.flush-multi-bad", MMUEXT_TLB_FLUSH_MULTI, 0, UNMAPPED, -XEN_EINVAL },
        { "ext.invlpg-local", MMUEXT_INVLPG_LOCAL, 0x100000, 0, 0 },
        { "ext.invlpg-non-canonical", MMUEXT_INVLPG_LOCAL, 0x8000000000000000ull, 0, 0 },
        { "ext.invlpg-xen", MMUEXT_INVLPG_ALL, XEN_VIRT_START, 0, 0 },
        { "ext.flush-cache", MMUEXT_FLUSH_CACHE, 0, 0, -XEN_EACCES },
        { "ext.flush-cache-global", MMUEXT_FLUSH_CACHE_GLOBAL, 0, 0, -XEN_EINVAL },
        { "ext.ldt-none", MMUEXT_SET_LDT, 0, 0, 0 },
        { "ext.ldt-misaligned", MMUEXT_SET_LDT, 0x100008, 1, -XEN_EINVAL },
        { "ext.ldt-too-long", MMUEXT_SET_LDT, 0x100000, 8193, -XEN_EINVAL },
        { "ext.clear-beyond", MMUEXT_CLEAR_PAGE, BEYOND, 0, -XEN_EINVAL },
        { "ext.copy-beyond", MMUEXT_COPY_PAGE, BEYOND, 0, -XEN_EINVAL },
        { "ext.mark-super", MMUEXT_MARK_SUPER, 0, 0, -XEN_EOPNOTSUPP },
        { "ext.unmark-super", MMUEXT_UNMARK_SUPER, 0, 0, -XEN_EOPNOTSUPP },
        { "ext.hole-14", 14, 0, 0, -XEN_ENOSYS },
        { "ext.unknown", 99, 0, 0, -XEN_ENOSYS },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
        check(ops[i].name, mmuext(ops[i].cmd, ops[i].arg1, ops[i].arg2), ops[i].want);
    check("ext.flush-multi", mmuext(MMUEXT_TLB_FLUSH_MULTI, 0, (uintptr_t)&mask), 0);
    check("ext.invlpg-multi", mmuext(MMUEXT_INVLPG_MULTI, 0x100000, (uintptr_t)&mask), 0);
    check("ext.bad-pointer", hypercall(HC_mmuext_op, (long)UNMAPPED, 1, 0, DOMID_SELF, 0), -XEN_EFAULT);
    uint64_t *other = page_alloc();
    data[7] = 0x77;
    check("ext.copy", mmuext(MMUEXT_COPY_PAGE, frame_of(other), frame_of(data)), 0);
    check("ext.copied", (int64_t)other[7], 0x77);
    check("ext.clear", mmuext(MMUEXT_CLEAR_PAGE, frame_of(other), 0), 0);
    check("ext.cleared", (int64_t)other[7], 0);
}

static long gdt(uint64_t frame, unsigned entries)
{
    return HYPERCALL(HC_set_gdt, &frame, entries, 0);
}

static void descriptors(void)
{
    uint64_t *page = page_alloc();
    uint64_t at = frame_of(page) << 12;
    check("gdt.writable", gdt(frame_of(page), 512), -XEN_EINVAL);
    map_as(page, PTE_NX);
    check("gdt.too-many", gdt(frame_of(page), FIRST_RESERVED_GDT_ENTRY + 1), -XEN_EINVAL);
    check("gdt.bad-pointer", HYPERCALL(HC_set_gdt, BAD, 512, 0), -XEN_EFAULT);
    check("gdt.set", gdt(frame_of(page), 512), 0);
    check("gdt.now-not-writable", map_as(page, PTE_WRITE | PTE_NX), -XEN_EBUSY);
    check("descriptor.code-ring-3", HYPERCALL(HC_update_descriptor, at | 8, 0x00affb000000ffffull, 0), 0);
    check("descriptor.code-ring-0", HYPERCALL(HC_update_descriptor, at | 16, 0x00af9b000000ffffull, 0), 0);
    check("descriptor.ring-0-became", (int64_t)page[2], 0xaffb000000ffff);
    check("descriptor.tss", HYPERCALL(HC_update_descriptor, at | 24, 0x00008b0000000067ull, 0), -XEN_EINVAL);
    check("descriptor.call-gate", HYPERCALL(HC_update_descriptor, at | 24, 0x0000ec0000080000ull, 0), 0);
    check("descriptor.interrupt-gate", HYPERCALL(HC_update_descriptor, at | 24, 0x0000ee0000080000ull, 0), -XEN_EINVAL);
    check("descriptor.absent", HYPERCALL(HC_update_descriptor, at | 24, 0x0000000012345678ull, 0), 0);
    check("descriptor.misaligned", HYPERCALL(HC_update_descriptor, at | 4, 0, 0), -XEN_EINVAL);
    check("descriptor.beyond", HYPERCALL(HC_update_descriptor, BEYOND << 12, 0, 0), -XEN_EINVAL);
    check("descriptor.in-table", HYPERCALL(HC_update_descriptor, root_frame() << 12, 0, 0), -XEN_EINVAL);
    TRAPS(&c, "gdt.load-missing", __asm__ volatile("mov %0, %%es" :: "r"(0x2b)), 13, 0x28);
    c.vector = ~0ull;
    if (!catch_fault(&c)) {
        HYPERCALL(HC_update_descriptor, at | 32, 0x00cff3000000ffffull, 0);
        __asm__ volatile("mov %0, %%es; mov %1, %%es" :: "r"(0x23), "r"(0));
        catch_end();
    }
    check("gdt.load", (int64_t)c.vector, -1);
    check("gdt.none", gdt(0, 0), 0);
    check("gdt.writable-again", map_as(page, PTE_WRITE | PTE_NX), 0);
}

void work_mmu(const char *arg)
{
    (void)arg;
    data = page_alloc();
    table = page_alloc();
    calls();
    entries();
    map_as(table, PTE_NX);
    pins();
    others();
    descriptors();
}

/*
 * work=memory: what a translated guest may do with its own memory: give pages back and take them
 * again, move them about its physical address space; and the exact answers to what it may not.
 */
#include "guest.h"

static domid_t self = DOMID_SELF;

static long memory_op(unsigned op, void *arg)
{
    return HYPERCALL(HC_memory_op, op, arg, 0);
}

static long current_pages(void)
{
    return memory_op(XENMEM_current_reservation, &self);
}

static long reservation(unsigned op, uint64_t *frames, uint64_t count, unsigned order)
{
    struct xen_memory_reservation r = { frames, count, order, 0, DOMID_SELF };
    return memory_op(op, &r);
}

static long move(uint64_t from, uint64_t to)
{
    struct xen_add_to_physmap op = { .domid = DOMID_SELF, .space = XENMAPSPACE_gmfn, .idx = from, .gpfn = to };
    return memory_op(XENMEM_add_to_physmap, &op);
}

static uint64_t take_hole(void)
{
    uint64_t gfn = machine.hole >> 12;
    machine.hole += PAGE_SIZE;
    return gfn;
}

static void sizes(void)
{
    domid_t nobody = DOMID_NOBODY, zero = 0;
    long pages = current_pages();
    check_range("memory.current", pages, 1, 1 << 30);
    check_range("memory.maximum", memory_op(XENMEM_maximum_reservation, &self), pages, 1l << 40);
    check_range("memory.maximum-gpfn", memory_op(XENMEM_maximum_gpfn, &self), (int64_t)(machine.hole >> 12) - 1, 1l << 40);
    check("memory.of-nobody", memory_op(XENMEM_current_reservation, &nobody), -XEN_ESRCH);
    check_either("memory.of-domain-0", memory_op(XENMEM_current_reservation, &zero), -XEN_EPERM, -XEN_ESRCH);
    check("memory.bad-pointer", memory_op(XENMEM_current_reservation, (void *)UNMAPPED), -XEN_EFAULT);
    check("memory.unknown-op", memory_op(62, &self), -XEN_ENOSYS);
    check("memory.machine-map", memory_op(XENMEM_machine_memory_map, &self), -XEN_ENOSYS);
    check("memory.machphys", memory_op(XENMEM_machphys_mapping, &self), -XEN_ENOSYS);
    struct e820_entry one;
    struct xen_memory_map map = { 1, &one };
    check("memory.map-short", memory_op(XENMEM_memory_map, &map), 0);
    check("memory.map-short-entries", map.nr_entries, 1);
    map.buffer = (void *)UNMAPPED;
    check("memory.map-bad-buffer", memory_op(XENMEM_memory_map, &map), -XEN_EFAULT);
    struct xen_memory_reservation claim = { NULL, 1, 0, 0, DOMID_SELF };
    check("memory.claim", memory_op(XENMEM_claim_pages, &claim), -XEN_EINVAL);
}

static void balloon(void)
{
    uint64_t frames[4];
    volatile uint64_t *pages[4];
    for (unsigned i = 0; i < 4; i++) {
        pages[i] = page_alloc();
        *pages[i] = 0x1111 * i;
        frames[i] = frame_of((void *)pages[i]);
    }
    long before = current_pages();
    check("balloon.give", reservation(XENMEM_decrease_reservation, frames, 4, 0), 4);
    check("balloon.given", current_pages(), before - 4);
    check("balloon.hole-reads-ones", (int64_t)*pages[2], -1);
    *pages[2] = 5;
    check("balloon.hole-drops-writes", (int64_t)*pages[2], -1);
    check("balloon.give-again", reservation(XENMEM_decrease_reservation, frames, 4, 0), 0);
    check("balloon.take", reservation(XENMEM_populate_physmap, frames, 4, 0), 4);
    check("balloon.taken", current_pages(), before);
    *pages[2] = 7;
    check("balloon.usable", (int64_t)*pages[2], 7);

    /* The count of what was done, up to the first that fails. */
    uint64_t mixed[3] = { frames[0], machine.hole >> 12, frames[1] };
    check("balloon.stops-at-hole", reservation(XENMEM_decrease_reservation, mixed, 3, 0), 1);
    check("balloon.bad-list", reservation(XENMEM_decrease_reservation, (void *)UNMAPPED, 2, 0), 0);
    check("balloon.bad-order", reservation(XENMEM_decrease_reservation, frames, 1, 30), 0);
    check("balloon.bad-pointer", memory_op(XENMEM_populate_physmap, (void *)UNMAPPED), 0);
    struct xen_memory_reservation other = { frames, 1, 0, 0, DOMID_NOBODY };
    check("balloon.of-nobody", memory_op(XENMEM_decrease_reservation, &other), 0);
    /* Accounted, but without a place in the physical address space. */
    check("balloon.increase", reservation(XENMEM_increase_reservation, NULL, 1, 0), 1);
    check("balloon.increased", current_pages(), before);
    if (memory_op(XENMEM_maximum_reservation, &self) - current_pages() < 512)
        check("balloon.over-maximum", reservation(XENMEM_increase_reservation, NULL, 1, 9), 0);
}

static void physmap(void)
{
    volatile uint64_t *page = page_alloc(), *second = page_alloc();
    uint64_t home = frame_of((void *)page), there = take_hole(), there2 = take_hole();
    volatile uint64_t *alias = map_frame(there, MAP_WRITE);
    *page = 0xabcdef;
    long before = current_pages();
    check("physmap.hole", (int64_t)*alias, -1);
    check("physmap.move", move(home, there), 0);
    check("physmap.moved", (int64_t)*alias, 0xabcdef);
    check("physmap.old-place-empty", (int64_t)*page, -1);
    check("physmap.move-empty", move(home, there2), -XEN_EINVAL);
    check("physmap.move-back", move(there, home), 0);
    check("physmap.back", (int64_t)*page, 0xabcdef);
    check("physmap.same-size", current_pages(), before);

    struct xen_add_to_physmap op = { .domid = DOMID_SELF, .space = XENMAPSPACE_gmfn_range, .size = 2 };
    op.idx = home;
    op.gpfn = there;
    *second = 0x22;
    check("physmap.neighbours", (int64_t)frame_of((void *)second), (int64_t)home + 1);
    check("physmap.range", memory_op(XENMEM_add_to_physmap, &op), 0);
    check("physmap.range-moved", (int64_t)*(volatile uint64_t *)map_frame(there2, 0), 0x22);
    op = (struct xen_add_to_physmap){ .domid = DOMID_SELF, .space = XENMAPSPACE_gmfn_range, .size = 2, .idx = there, .gpfn = home };
    check("physmap.range-back", memory_op(XENMEM_add_to_physmap, &op), 0);
    op.size = 5;
    op.gpfn = ~1ull;
    check("physmap.range-overflow", memory_op(XENMEM_add_to_physmap, &op), -XEN_EOVERFLOW);

    const struct { const char *name; struct xen_add_to_physmap op; long want; } bad[] = {
        { "physmap.foreign", { DOMID_SELF, 0, XENMAPSPACE_gmfn_foreign, home, there }, -XEN_ENOSYS },
        { "physmap.device", { DOMID_SELF, 0, XENMAPSPACE_dev_mmio, 0, there }, -XEN_EACCES },
        { "physmap.unknown-space", { DOMID_SELF, 0, 99, 0, there }, -XEN_EINVAL },
        { "physmap.shared-info-1", { DOMID_SELF, 0, XENMAPSPACE_shared_info, 1, there }, -XEN_EINVAL },
        { "physmap.no-gfn", { DOMID_SELF, 0, XENMAPSPACE_gmfn, home, ~0ull }, -XEN_EINVAL },
        { "physmap.of-nobody", { DOMID_NOBODY, 0, XENMAPSPACE_gmfn, home, there }, -XEN_ESRCH },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        op = bad[i].op;
        check(bad[i].name, memory_op(XENMEM_add_to_physmap, &op), bad[i].want);
    }
    op = (struct xen_add_to_physmap){ 0, 0, XENMAPSPACE_gmfn, home, there };
    check_either("physmap.of-domain-0", memory_op(XENMEM_add_to_physmap, &op), -XEN_EPERM, -XEN_ESRCH);
    check("physmap.bad-pointer", memory_op(XENMEM_add_to_physmap, (void *)UNMAPPED), -XEN_EFAULT);
    check("physmap.undamaged", (int64_t)*page, 0xabcdef);

    uint64_t from[2] = { home, there2 }, to[2] = { there, there2 + 1 };
    int32_t errors[2] = { 1, 1 };
    struct xen_add_to_physmap_batch batch = { DOMID_SELF, XENMAPSPACE_gmfn, 2, 0, from, to, errors };
    check("batch.done", memory_op(XENMEM_add_to_physmap_batch, &batch), 0);
    check("batch.first", errors[0], 0);
    check("batch.second", errors[1], -XEN_EINVAL);
    batch.space = XENMAPSPACE_gmfn_range;
    check("batch.range", memory_op(XENMEM_add_to_physmap_batch, &batch), -XEN_EOPNOTSUPP);
    batch.space = XENMAPSPACE_gmfn;
    batch.size = 0;
    check("batch.empty", memory_op(XENMEM_add_to_physmap_batch, &batch), 0);
    batch.size = 1;
    batch.idxs = (void *)UNMAPPED;
    check("batch.bad-list", memory_op(XENMEM_add_to_physmap_batch, &batch), -XEN_EFAULT);

    struct xen_remove_from_physmap out = { DOMID_SELF, there };
    check("physmap.remove", memory_op(XENMEM_remove_from_physmap, &out), 0);
    check("physmap.removed", (int64_t)*alias, -1);
    check("physmap.remove-again", memory_op(XENMEM_remove_from_physmap, &out), -XEN_ENOENT);
}

void work_memory(const char *arg)
{
    (void)arg;
    sizes();
    balloon();
    physmap();
}

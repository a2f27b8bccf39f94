/*
 * work=grantv2: grant tables, as far as one domain can go alone. It grants pages to itself: version 1,
 * the change to version 2 and its status frames, mapping, copying, sub-page and transitive entries,
 * and back; with the exact answer to each bad request. What Xen keeps from HVM guests is checked too.
 */
#include "guest.h"

static volatile union grant_entry_v2 *v2;
static volatile uint16_t *status;
static domid_t me;

static long gnttab(unsigned op, void *arg, long count)
{
    return HYPERCALL(HC_grant_table_op, op, arg, count);
}

static long set_version(uint32_t version, uint32_t *now_version)
{
    struct gnttab_version op = { version };
    long error = gnttab(GNTTABOP_set_version, &op, 1);
    if (now_version)
        *now_version = op.version;
    return error;
}

static long get_version(domid_t dom)
{
    struct gnttab_get_version op = { .dom = dom };
    long error = gnttab(GNTTABOP_get_version, &op, 1);
    return error ? error : (long)op.version;
}

static long add_frame(uint64_t index, uint64_t gfn)
{
    struct xen_add_to_physmap op = { .domid = DOMID_SELF, .space = XENMAPSPACE_grant_table, .idx = index, .gpfn = gfn };
    return HYPERCALL(HC_memory_op, XENMEM_add_to_physmap, &op, 0);
}

static uint64_t take_hole(void)
{
    uint64_t gfn = machine.hole >> 12;
    machine.hole += PAGE_SIZE;
    return gfn;
}

static long map(uint32_t ref, domid_t dom, uint32_t flags, uint64_t gfn, uint32_t *handle)
{
    struct gnttab_map op = { .host_addr = gfn << 12, .flags = flags, .ref = ref, .dom = dom, .status = 99 };
    long error = gnttab(GNTTABOP_map_grant_ref, &op, 1);
    *handle = op.handle;
    return error ? error - 1000 : op.status;
}

static long unmap(uint64_t gfn, uint32_t handle)
{
    struct gnttab_unmap op = { .host_addr = gfn << 12, .handle = handle, .status = 99 };
    long error = gnttab(GNTTABOP_unmap_grant_ref, &op, 1);
    return error ? error - 1000 : op.status;
}

static void grant(uint32_t ref, uint64_t gfn, uint16_t flags)
{
    v2[ref].full.frame = gfn;
    v2[ref].full.domid = me;
    __atomic_store_n(&v2[ref].full.flags, flags, __ATOMIC_RELEASE);
}

static void refused(void)
{
    static uint8_t zeros[128];
    struct gnttab_query query = { .dom = DOMID_NOBODY, .status = 99 };
    check("grant.transfer", gnttab(GNTTABOP_transfer, zeros, 1), -XEN_ENOSYS);
    check("grant.unmap-and-replace", gnttab(GNTTABOP_unmap_and_replace, zeros, 1), -XEN_ENOSYS);
    check("grant.get-status-frames", gnttab(GNTTABOP_get_status_frames, zeros, 1), -XEN_ENOSYS);
    check("grant.cache-flush", gnttab(GNTTABOP_cache_flush, zeros, 1), -XEN_ENOSYS);
    check("grant.unknown", gnttab(99, zeros, 1), -XEN_ENOSYS);
    check("grant.negative-count", gnttab(GNTTABOP_map_grant_ref, zeros, -1), -XEN_EINVAL);
    check("grant.no-count", gnttab(GNTTABOP_map_grant_ref, zeros, 0), 0);
    check("grant.bad-pointer", gnttab(GNTTABOP_map_grant_ref, (void *)UNMAPPED, 1), -XEN_EFAULT);
    check("grant.query-two", gnttab(GNTTABOP_query_size, &query, 2), -XEN_EINVAL);
    check("grant.query-nobody", gnttab(GNTTABOP_query_size, &query, 1), 0);
    check("grant.query-nobody-status", query.status, GNTST_bad_domain);
    check("grant.version-of-nobody", get_version(DOMID_NOBODY), -XEN_ESRCH);
    check("grant.set-bad-pointer", gnttab(GNTTABOP_set_version, (void *)UNMAPPED, 1), -XEN_EFAULT);
}

static bool change_version(uint64_t frame)
{
    struct gnttab_query query = { .dom = DOMID_SELF };
    check("grant.query", gnttab(GNTTABOP_query_size, &query, 1), 0);
    check("grant.query-status", query.status, GNTST_okay);
    check_range("grant.frames", query.nr_frames, 1, query.max_nr_frames);
    check("grant.starts-with-1", get_version(DOMID_SELF), 1);

    check("grant.map-frame", add_frame(0, frame), 0);
    check("grant.frame-too-far", add_frame(query.max_nr_frames, take_hole()), -XEN_EINVAL);
    check("grant.no-status-in-1", add_frame(XENMAPIDX_grant_table_status, take_hole()), -XEN_EINVAL);
    volatile struct grant_entry_v1 *v1 = map_frame(frame, MAP_WRITE);
    v2 = (volatile union grant_entry_v2 *)v1;
    struct grant_entry_v1 console = v1[0], store = v1[1];
    check_true("grant.console-granted", (console.flags & 3) == GTF_permit_access);
    check_true("grant.store-granted", (store.flags & 3) == GTF_permit_access);
    v1[GNTTAB_RESERVED].frame = 0x77;
    v1[GNTTAB_RESERVED].domid = 5;

    uint32_t version;
    check("grant.version-3", set_version(3, &version), -XEN_EINVAL);
    check("grant.version-3-stays", version, 1);
    long error = set_version(2, &version);
    if (error == -XEN_ENOSYS) {
        print("grantv2: this machine forbids version 2\n");
        check("grant.forbidden", get_version(DOMID_SELF), 1);
        return false;
    }
    check("grant.version-2", error, 0);
    check("grant.version-is-2", version, 2);
    check("grant.get-version", get_version(DOMID_SELF), 2);
    check("grant.version-2-again", set_version(2, NULL), 0);
    check("grant.reserved-frame", (int64_t)v2[0].full.frame, console.frame);
    check("grant.reserved-domid", v2[0].full.domid, console.domid);
    check("grant.reserved-flags", v2[0].full.flags, console.flags & ~(GTF_reading | GTF_writing));
    check("grant.reserved-store", (int64_t)v2[1].full.frame, store.frame);
    bool clear = true;
    for (unsigned i = GNTTAB_RESERVED; i < PAGE_SIZE / sizeof(*v2); i++)
        clear &= !v2[i].full.flags && !v2[i].full.domid && !v2[i].full.frame;
    check_true("grant.others-cleared", clear);

    uint64_t gfn = take_hole();
    check("grant.map-status", add_frame(XENMAPIDX_grant_table_status, gfn), 0);
    status = map_frame(gfn, MAP_WRITE);
    check("grant.status-of-console", status[0] & ~(GTF_reading | GTF_writing), 0);
    return true;
}

static void mapping(void)
{
    volatile uint64_t *page = page_alloc();
    uint64_t own = frame_of((void *)page), there = take_hole();
    volatile uint64_t *window = map_frame(there, MAP_WRITE);
    uint32_t handle, other;
    *page = 0x600d;
    grant(8, own, GTF_permit_access | GTF_readonly);
    check("map.no-kind", map(8, me, 0, there, &handle), GNTST_bad_gntref);
    check("map.device", map(8, me, GNTMAP_host_map | GNTMAP_device_map, there, &handle), GNTST_general_error);
    check("map.nobody", map(8, DOMID_NOBODY, GNTMAP_host_map, there, &handle), GNTST_bad_domain);
    check("map.self", map(8, DOMID_SELF, GNTMAP_host_map, there, &handle), GNTST_bad_domain);
    check("map.far", map(1 << 20, me, GNTMAP_host_map, there, &handle), GNTST_bad_gntref);
    check("map.not-granted", map(9, me, GNTMAP_host_map, there, &handle), GNTST_general_error);
    check("map.read-only-entry", map(8, me, GNTMAP_host_map, there, &handle), GNTST_general_error);
    check("map.not-status", status[8], 0);

    check("map.read", map(8, me, GNTMAP_host_map | GNTMAP_readonly, there, &handle), GNTST_okay);
    check("map.read-status", status[8], GTF_reading);
    check("map.read-sees", (int64_t)*window, 0x600d);
    /* The page has one place in the guest's address space: the mapping took it from the old one. */
    check("map.old-place-empty", (int64_t)*page, -1);
    /* A write through a read-only mapping is dropped, without a fault (p2m_is_discard_write). */
    static struct catch c;
    c.vector = ~0ull;
    if (!catch_fault(&c)) {
        *window = 1;
        catch_end();
    }
    check("map.read-only-write-silent", (int64_t)c.vector, -1);
    check("map.read-only-write-dropped", (int64_t)*window, 0x600d);
    check("map.busy", set_version(1, NULL), -XEN_EBUSY);
    struct gnttab_swap swap = { 8, 9, 99 };
    check("map.swap", gnttab(GNTTABOP_swap_grant_ref, &swap, 1), 0);
    check("map.swap-busy", swap.status, GNTST_eagain);
    check("map.wrong-place", unmap(there + 1, handle), GNTST_general_error);
    check("map.unmap", unmap(there, handle), GNTST_okay);
    check("map.unmapped-status", status[8], 0);
    check("map.unmapped", (int64_t)*window, -1);
    check("map.unmap-again", unmap(there, handle), GNTST_bad_handle);
    check("map.bad-handle", unmap(there, 100000), GNTST_bad_handle);

    volatile uint64_t *second = page_alloc();
    *second = 2;
    grant(8, frame_of((void *)second), GTF_permit_access);
    check("map.write", map(8, me, GNTMAP_host_map, there, &handle), GNTST_okay);
    check("map.write-status", status[8], GTF_reading | GTF_writing);
    *window = 3;
    check("map.write-works", (int64_t)*window, 3);
    v2[8].full.flags = 0;
    check("map.revoked-still-there", (int64_t)*window, 3);
    check("map.write-unmap", unmap(there, handle), GNTST_okay);
    check("map.write-unmapped", status[8], 0);
    check("map.revoked", map(8, me, GNTMAP_host_map, there, &other), GNTST_general_error);
}

static long copy(uint32_t ref, unsigned source_offset, void *to, unsigned to_offset, unsigned length)
{
    struct gnttab_copy op = { .len = (uint16_t)length, .flags = GNTCOPY_source_gref, .status = 99 };
    op.source.gfn = 0;
    op.source.ref = ref;
    op.source.domid = me;
    op.source.offset = (uint16_t)source_offset;
    op.dest.gfn = frame_of(to);
    op.dest.domid = DOMID_SELF;
    op.dest.offset = (uint16_t)to_offset;
    long error = gnttab(GNTTABOP_copy, &op, 1);
    return error ? error - 1000 : op.status;
}

static void copying(void)
{
    uint8_t *from = page_alloc(), *to = page_alloc();
    for (unsigned i = 0; i < PAGE_SIZE; i++)
        from[i] = (uint8_t)(i * 7);
    grant(10, frame_of(from), GTF_permit_access | GTF_readonly);
    check("copy.done", copy(10, 100, to, 200, 300), GNTST_okay);
    check("copy.right", memcmp(to + 200, from + 100, 300), 0);
    check("copy.no-less", to[199] | to[500], 0);
    check("copy.leaves-status", status[10], 0);
    check("copy.over-the-end", copy(10, 4000, to, 0, 200), GNTST_bad_copy_arg);
    check("copy.not-granted", copy(12, 0, to, 0, 8), GNTST_general_error);

    v2[11].sub.offset = 64;
    v2[11].sub.length = 32;
    v2[11].sub.domid = me;
    v2[11].sub.frame = frame_of(from);
    v2[11].sub.flags = GTF_permit_access | GTF_sub_page;
    uint32_t handle;
    check("sub-page.not-mappable", map(11, me, GNTMAP_host_map, take_hole(), &handle), GNTST_general_error);
    memset(to, 0, PAGE_SIZE);
    check("sub-page.copy", copy(11, 64, to, 0, 32), GNTST_okay);
    check("sub-page.right", memcmp(to, from + 64, 32), 0);
    check("sub-page.before", copy(11, 63, to, 0, 2), GNTST_general_error);
    check("sub-page.behind", copy(11, 95, to, 0, 2), GNTST_general_error);

    v2[12].trans.trans_domid = me;
    v2[12].trans.ref = 10;
    v2[12].trans.domid = me;
    v2[12].trans.flags = GTF_transitive;
    check("transitive.to-itself", copy(12, 0, to, 0, 8), GNTST_general_error);
    check("transitive.not-mappable", map(12, me, GNTMAP_host_map, take_hole(), &handle), GNTST_general_error);
    v2[12].trans.trans_domid = DOMID_NOBODY;
    check("transitive.to-nobody", copy(12, 0, to, 0, 8), GNTST_general_error);

    struct gnttab_copy op = { .len = 8, .status = 99 };
    op.source.gfn = frame_of(from);
    op.source.domid = me; /* by number instead of DOMID_SELF, and without a grant */
    op.dest.gfn = frame_of(to);
    op.dest.domid = DOMID_SELF;
    gnttab(GNTTABOP_copy, &op, 1);
    check("copy.by-frame-of-domid", op.status, -8 /* GNTST_permission_denied */);

    struct gnttab_swap swap = { 10, 13, 99 };
    check("swap.done", gnttab(GNTTABOP_swap_grant_ref, &swap, 1), 0);
    check("swap.status", swap.status, GNTST_okay);
    check("swap.moved", (int64_t)v2[13].full.frame, (int64_t)frame_of(from));
    check("swap.from-empty", v2[10].full.flags, 0);
    swap = (struct gnttab_swap){ 1 << 20, 13, 99 };
    gnttab(GNTTABOP_swap_grant_ref, &swap, 1);
    check("swap.far", swap.status, GNTST_bad_gntref);
}

static void growing(uint64_t frame)
{
    struct gnttab_query query = { .dom = DOMID_SELF };
    uint64_t frames[2] = { 0, 0 };
    struct gnttab_setup setup = { DOMID_SELF, 2, 99, frames };
    check("grow.setup", gnttab(GNTTABOP_setup_table, &setup, 1), 0);
    check("grow.status", setup.status, GNTST_okay);
    check("grow.first-frame", (int64_t)frames[0], (int64_t)frame);
    gnttab(GNTTABOP_query_size, &query, 1);
    check("grow.frames", query.nr_frames, 2);
    setup = (struct gnttab_setup){ DOMID_SELF, query.max_nr_frames + 1, 99, frames };
    check("grow.too-many", gnttab(GNTTABOP_setup_table, &setup, 1), 0);
    check("grow.too-many-status", setup.status, GNTST_general_error);
    uint64_t gfn = take_hole();
    check("grow.map-second", add_frame(1, gfn), 0);
    volatile union grant_entry_v2 *second = map_frame(gfn, MAP_WRITE);
    check("grow.second-empty", second[0].full.flags, 0);
    uint8_t *from = page_alloc(), *to = page_alloc();
    memset(from, 0x5a, PAGE_SIZE);
    second[3].full.frame = frame_of(from);
    second[3].full.domid = me;
    second[3].full.flags = GTF_permit_access;
    check("grow.use-second", copy(256 + 3, 0, to, 0, 16), GNTST_okay);
    check("grow.used", to[15], 0x5a);
}

void work_grantv2(const char *arg)
{
    uint64_t frame = take_hole();
    uint32_t version;
    (void)arg;
    me = (domid_t)machine.domid;
    refused();
    if (!change_version(frame))
        return;
    mapping();
    copying();
    growing(frame);
    uint32_t console = (uint32_t)v2[0].full.frame;
    check("grant.back-to-1", set_version(1, &version), 0);
    check("grant.is-1", version, 1);
    check("grant.kept", ((volatile struct grant_entry_v1 *)v2)[0].frame, console);
    check("grant.status-gone", *(volatile int16_t *)status, -1);
    check("grant.cleared", ((volatile struct grant_entry_v1 *)v2)[GNTTAB_RESERVED].flags, 0);
}

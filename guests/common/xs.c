/* work=xs-conflict, xs-perms, xs-watch: xenstore as another domain's business sees it. */
#include "guest.h"

static long read_into(uint32_t tx, const char *path, char *value, size_t size)
{
    value[0] = 0;
    return xs_read(tx, path, value, size);
}

void work_xs_conflict(const char *arg)
{
    uint32_t one, two;
    char value[32];
    (void)arg;
    check("conflict.prepare", xs_write(0, "data/c/n", "0"), 0);
    check("conflict.start-one", xs_start(&one), 0);
    check("conflict.start-two", xs_start(&two), 0);
    check_true("conflict.two-ids", one != two && one && two);
    read_into(one, "data/c/n", value, sizeof(value));
    check_text("conflict.read-one", value, "0");
    read_into(two, "data/c/n", value, sizeof(value));
    check("conflict.write-one", xs_write(one, "data/c/n", "1"), 0);
    check("conflict.write-two", xs_write(two, "data/c/n", "2"), 0);
    read_into(one, "data/c/n", value, sizeof(value));
    check_text("conflict.own-view-one", value, "1");
    read_into(two, "data/c/n", value, sizeof(value));
    check_text("conflict.own-view-two", value, "2");
    read_into(0, "data/c/n", value, sizeof(value));
    check_text("conflict.outside-view", value, "0");
    check("conflict.first-wins", xs_end(one, true), 0);
    check("conflict.second-again", xs_end(two, true), -XEN_EAGAIN);
    read_into(0, "data/c/n", value, sizeof(value));
    check_text("conflict.result", value, "1");
    check("conflict.ended", xs_end(two, true), -XEN_ENOENT);

    /* A write outside, between a transaction's read and its end. */
    xs_start(&one);
    read_into(one, "data/c/n", value, sizeof(value));
    xs_write(0, "data/c/n", "5");
    xs_write(one, "data/c/other", "6");
    check("conflict.outside-write", xs_end(one, true), -XEN_EAGAIN);
    check("conflict.nothing-done", xs_read(0, "data/c/other", value, sizeof(value)), -XEN_ENOENT);

    /* Different directories do not disturb each other. */
    xs_write(0, "data/c/left/x", "");
    xs_write(0, "data/c/right/x", "");
    xs_start(&one);
    xs_start(&two);
    xs_write(one, "data/c/left/new", "1");
    xs_write(two, "data/c/right/new", "2");
    check("conflict.left", xs_end(one, true), 0);
    check("conflict.right", xs_end(two, true), 0);

    xs_start(&one);
    xs_write(one, "data/c/n", "9");
    check("conflict.abort", xs_end(one, false), 0);
    read_into(0, "data/c/n", value, sizeof(value));
    check_text("conflict.aborted", value, "5");
    check("conflict.unknown", xs_read(4711, "data/c/n", value, sizeof(value)), -XEN_ENOENT);
    check("conflict.clean-up", xs_path(XS_RM, 0, "data/c"), 0);
}

static long set_perms(const char *path, const char *perms)
{
    char payload[128];
    int n = format_into(payload, sizeof(payload), "%s%c%s%c", path, 0, perms, 0);
    long result = xs_request(XS_SET_PERMS, 0, payload, (size_t)n, NULL, 0);
    return result < 0 ? result : 0;
}

void work_xs_perms(const char *arg)
{
    char value[64], mine[16];
    (void)arg;
    format_into(mine, sizeof(mine), "n%u", machine.domid);
    check_true("perms.own-name", xs_read(0, "name", value, sizeof(value)) > 0);
    check("perms.write-name", xs_write(0, "name", "other"), -XEN_EACCES);
    check("perms.write-home", xs_write(0, "new", "x"), -XEN_EACCES);
    check("perms.remove-name", xs_path(XS_RM, 0, "name"), -XEN_EACCES);
    check("perms.read-domain-0", xs_read(0, "/local/domain/0/name", value, sizeof(value)), -XEN_EACCES);
    check("perms.read-nothing-there", xs_read(0, "/local/domain/0/no-such", value, sizeof(value)), -XEN_EACCES);
    check("perms.write-domain-0", xs_write(0, "/local/domain/0/name", "mine"), -XEN_EACCES);
    check("perms.write-root", xs_write(0, "/mine", "x"), -XEN_EACCES);
    check("perms.list-root", xs_path(XS_DIRECTORY, 0, "/"), -XEN_EACCES);
    check("perms.own-missing", xs_read(0, "no-such", value, sizeof(value)), -XEN_ENOENT);
    check("perms.bad-path", xs_read(0, "data//x", value, sizeof(value)), -XEN_EINVAL);
    check("perms.trailing-slash", xs_read(0, "data/", value, sizeof(value)), -XEN_EINVAL);
    check("perms.bad-character", xs_write(0, "data/a b", ""), -XEN_EINVAL);

    check("perms.write-data", xs_write(0, "data/p/q", "v"), 0);
    xs_request(XS_GET_PERMS, 0, "data/p/q", 9, value, sizeof(value));
    check_text("perms.creator-owns", value, mine);
    check("perms.grant", set_perms("data/p/q", mine), 0);
    check("perms.give-away", set_perms("data/p/q", "n0"), -XEN_EPERM);
    check("perms.of-name", set_perms("name", mine), -XEN_EACCES);
    check("perms.malformed", set_perms("data/p/q", "z9"), -XEN_EINVAL);
    check("perms.remove-missing", xs_path(XS_RM, 0, "data/p/none"), 0);
    check("perms.remove-below-missing", xs_path(XS_RM, 0, "data/p/none/x"), -XEN_ENOENT);
    check("perms.remove", xs_path(XS_RM, 0, "data/p"), 0);
    check("perms.introduce", xs_request(XS_INTRODUCE, 0, "9\0001\0001", 6, NULL, 0), -XEN_EACCES);
    check("perms.unknown-operation", xs_request((enum xs_type)99, 0, "", 1, NULL, 0), -XEN_ENOSYS);
}

static long watch(enum xs_type type, const char *path, const char *token)
{
    char payload[128];
    int n = format_into(payload, sizeof(payload), "%s%c%s%c", path, 0, token, 0);
    long result = xs_request(type, 0, payload, (size_t)n, NULL, 0);
    return result < 0 ? result : 0;
}

static void expect(const char *name, const char *path, const char *token)
{
    struct xs_event event;
    char got[160], want[160];
    xs_event_next(&event, true);
    format_into(got, sizeof(got), "%s %s", event.path, event.token);
    format_into(want, sizeof(want), "%s %s", path, token);
    check_text(name, got, want);
}

void work_xs_watch(const char *arg)
{
    char home[64], below[96];
    struct xs_event event;
    uint32_t tx;
    (void)arg;
    format_into(home, sizeof(home), "/local/domain/%u/data/w", machine.domid);
    xs_path(XS_MKDIR, 0, "data/w");
    check("watch.relative", watch(XS_WATCH, "data/w", "rel"), 0);
    expect("watch.fires-at-once", "data/w", "rel");
    check("watch.absolute", watch(XS_WATCH, home, "abs"), 0);
    expect("watch.fires-at-once-too", home, "abs");
    check("watch.twice", watch(XS_WATCH, "data/w", "rel"), -XEN_EEXIST);

    xs_write(0, "data/w/a", "1");
    format_into(below, sizeof(below), "%s/a", home);
    expect("watch.create-relative", "data/w/a", "rel");
    expect("watch.create-absolute", below, "abs");
    check("watch.drop-absolute", watch(XS_UNWATCH, home, "abs"), 0);
    check("watch.drop-unknown", watch(XS_UNWATCH, home, "abs"), -XEN_ENOENT);

    xs_write(0, "data/w/b", "1");
    xs_write(0, "data/w/a", "2");
    expect("watch.first", "data/w/b", "rel");
    expect("watch.second", "data/w/a", "rel");

    xs_start(&tx);
    xs_write(tx, "data/w/z", "1");
    xs_write(tx, "data/w/y", "1");
    check_true("watch.quiet-in-transaction", !xs_event_next(&event, false));
    xs_end(tx, true);
    expect("watch.commit-first", "data/w/z", "rel");
    expect("watch.commit-second", "data/w/y", "rel");
    xs_start(&tx);
    xs_write(tx, "data/w/x", "1");
    xs_end(tx, false);
    check_true("watch.quiet-after-abort", !xs_event_next(&event, false));

    check("watch.inner", watch(XS_WATCH, "data/w/a", "in"), 0);
    expect("watch.inner-fires", "data/w/a", "in");
    xs_path(XS_RM, 0, "data/w");
    expect("watch.removed-inner", "data/w/a", "in");
    expect("watch.removed-top", "data/w", "rel");
    check_true("watch.no-more", !xs_event_next(&event, false));
    check("watch.reset", xs_request(XS_RESET_WATCHES, 0, "", 1, NULL, 0) < 0, 0);
    xs_write(0, "data/w", "again");
    check_true("watch.quiet-after-reset", !xs_event_next(&event, false));
    xs_path(XS_RM, 0, "data/w");
}

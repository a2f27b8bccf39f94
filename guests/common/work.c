/* The works: what `work=` on the command line selects, one or several with commas between, each `name` or `name:argument`. */
#include "guest.h"

static void work_nowhere(const char *arg)
{
    (void)arg;
    print("nowhere: jumping to 0x%lx\n", 0x123456789000ul);
    console_flush();
    __asm__ volatile("jmp *%0" :: "r"(0x123456789000ul));
}

static void work_crash(const char *arg)
{
    (void)arg;
    print("crash: on request\n");
    power_off(SHUTDOWN_crash);
}

static void work_reboot(const char *arg)
{
    (void)arg;
    print("reboot: on request\n");
    power_off(SHUTDOWN_reboot);
}

static void work_echo(const char *arg)
{
    char line[128];
    size_t n = 0;
    (void)arg;
    print("echo: type, \"quit\" ends\n");
    for (;;) {
        int c = console_read();
        if (c < 0)
            break;
        if (c != '\r' && c != '\n') {
            if (n + 1 < sizeof(line))
                line[n++] = (char)c;
            continue;
        }
        line[n] = 0;
        n = 0;
        if (!strcmp(line, "quit"))
            break;
        print("%s\n", line);
    }
    print("echo: done\n");
}

/*
 * spin:<cycles>[:<milliseconds>]: computes for so many TSC cycles and says at every multiple of the
 * period (default 10 ms of Xen system time) how many rounds of the loop are done. Rounds have a fixed
 * length, so their number tells how much of the processor the vcpu had.
 */
void work_spin(const char *arg)
{
    const char *colon = arg;
    while (*colon && *colon != ':')
        colon++;
    uint64_t cycles = *arg ? parse_number(arg) : 20000000, period = (*colon ? parse_number(colon + 1) : 10) * MS;
    uint64_t start = tsc(), begin = now(), rounds = 0;
    if (!period)
        period = 10 * MS;
    uint64_t next = (begin / period + 1) * period;
    struct vcpu_runstate_info state;
    while (tsc() - start < cycles) {
        uint32_t n = 500;
        __asm__ volatile("1: dec %0; jnz 1b" : "+r"(n) :: "cc");
        rounds++;
        uint64_t t = now();
        if (t >= next) {
            print("spin at %lu ms: %lu rounds\n", t / MS, rounds);
            next = (t / period + 1) * period;
        }
    }
    print("spin took %lu us: %lu rounds\n", (now() - begin) / 1000, rounds);
    if (machine.xen && HYPERCALL(HC_vcpu_op, VCPUOP_get_runstate_info, 0, &state) == 0)
        print("spin vcpu: running %lu us, runnable %lu us, blocked %lu us\n", state.time[0] / 1000,
              state.time[1] / 1000, state.time[2] / 1000);
}

static const struct work works[] = {
    { "hello", work_hello, false, true },
    { "spin", work_spin, false, false },
    { "xs-conflict", work_xs_conflict, true, true },
    { "xs-perms", work_xs_perms, true, true },
    { "xs-watch", work_xs_watch, true, true },
    { "evtchn", work_evtchn, true, true },
    { "smp", work_smp, false, true },
    { "badcall", work_badcall, true, true },
    { "nowhere", work_nowhere, false, false },
    { "echo", work_echo, true, false },
    { "crash", work_crash, true, false },
    { "reboot", work_reboot, true, false },
    { NULL, NULL, false, false },
};

/* The value of `name=` in a command line, up to white space; empty if absent. */
static void option(const char *cmdline, const char *name, char *value, size_t size)
{
    size_t length = strlen(name), n = 0;
    for (const char *p = cmdline; *p; p++) {
        if ((p == cmdline || p[-1] == ' ') && !strncmp(p, name, length) && p[length] == '=') {
            for (p += length + 1; *p && *p != ' ' && n + 1 < size; p++)
                value[n++] = *p;
            break;
        }
    }
    value[n] = 0;
}

static const struct work *find(const struct work *list, const char *name)
{
    while (list->name && strcmp(list->name, name))
        list++;
    return list->name ? list : NULL;
}

static int run_one(char *request)
{
    char *arg = request;
    while (*arg && *arg != ':')
        arg++;
    if (*arg)
        *arg++ = 0;
    const struct work *work = find(works, request);
    if (!work)
        work = find(machine_works, request);
    if (work && work->needs_xen && !machine.xen) {
        print("%s: skipped, there is no Xen here\n", request);
        return 0;
    }
    if (work) {
        work->run(arg);
        return work->counts ? summary(request) : 0;
    }
    print("FAIL work: there is none called \"%s\"\n", request);
    return 1;
}

void work_run(const char *cmdline)
{
    char list[256];
    int failures = 0;
    option(cmdline, "work", list, sizeof(list));
    if (!list[0])
        memcpy(list, "hello", 6);
    for (char *at = list; *at;) {
        char *end = at;
        while (*end && *end != ',')
            end++;
        bool more = *end;
        *end = 0;
        failures += run_one(at);
        at = more ? end + 1 : end;
    }
    (void)failures; /* the console says it; the shutdown reason does not */
    power_off(SHUTDOWN_poweroff);
}

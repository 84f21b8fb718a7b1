/* The load of the CPU: parsers with odd bytes, and samples of made-up files. */
#include "io/cpu.h"
#include "test/support/scratch.h"
#include "test/support/tap.h"

#include <math.h>

#define SEC INT64_C(1000000000)
#define T0 (1000 * SEC)

/* ---- Parsers ------------------------------------------------------------- */

static const char *group_of(const char *text)
{
    static char out[32];

    return skl_cpu_parse_group(text, strlen(text), out, sizeof(out)) ? out
                                                                     : NULL;
}

TEST(cpu_group_is_the_line_of_cgroup_v2)
{
    CHECK_STR("/a/b", group_of("0::/a/b\n"));
    CHECK_STR("/", group_of("0::/\n"));
    CHECK_STR("/x", group_of("1:cpu:/y\n0::/x"));
    CHECK_STR("/a..b", group_of("0::/a..b\n"));
    CHECK_STR("/...", group_of("0::/...\n"));
    CHECK_STR("/12345678901234567890123456789_",
              group_of("0::/12345678901234567890123456789_"));
    CHECK_STR(NULL, group_of("0::/123456789012345678901234567890_"));
    CHECK_STR(NULL, group_of(""));
    CHECK_STR(NULL, group_of("\n\n\n"));
    CHECK_STR(NULL, group_of("0::"));
    CHECK_STR(NULL, group_of("0::a/b\n"));
    CHECK_STR(NULL, group_of("0::/../other\n"));
    CHECK_STR(NULL, group_of("0::/a/..\n"));
    CHECK_STR(NULL, group_of("1:cpu:/y\n10::/x\n"));
    CHECK_INT(0, skl_cpu_parse_group("0::/a\0b\n", 8, (char[32]){0}, 32));
}

static uint64_t quota_of(const char *text)
{
    skl_cpu_quota_t q;

    return skl_cpu_parse_max(text, strlen(text), &q) ? q.quota * 1000 / q.period
                                                     : 999999;
}

TEST(cpu_quota_is_read)
{
    enum { WRONG = 999999 };

    CHECK_INT(0, quota_of("max 100000\n"));
    CHECK_INT(500, quota_of("50000 100000\n"));
    CHECK_INT(4000, quota_of("400000 100000"));
    CHECK_INT(WRONG, quota_of(""));
    CHECK_INT(WRONG, quota_of("max\n"));
    CHECK_INT(WRONG, quota_of("max 0\n"));
    CHECK_INT(WRONG, quota_of("0 100000\n"));
    CHECK_INT(WRONG, quota_of("-1 100000\n"));
    CHECK_INT(WRONG, quota_of("50000\n"));
    CHECK_INT(WRONG, quota_of("50000 1e5\n"));
    CHECK_INT(WRONG, quota_of("99999999999999999999 100000\n"));
    CHECK_INT(WRONG, quota_of("\n50000 100000\n"));
}

static int64_t usage_of(const char *text)
{
    uint64_t usec;

    return skl_cpu_parse_usage(text, strlen(text), &usec) ? (int64_t)usec : -1;
}

TEST(cpu_usage_is_read)
{
    CHECK_INT(123, usage_of("usage_usec 123\nuser_usec 100\n"));
    CHECK_INT(7, usage_of("nr_periods 1\nusage_usec 7"));
    CHECK_INT(-1, usage_of(""));
    CHECK_INT(-1, usage_of("usage_usec\n"));
    CHECK_INT(-1, usage_of("usage_usec x\n"));
    CHECK_INT(-1, usage_of("usage_usec 12x\n"));
    CHECK_INT(-1, usage_of("usage_usec 18446744073709551616\n"));
    CHECK_INT(-1, usage_of("xusage_usec 1\n"));
}

static int64_t ticks_of(const char *text)
{
    uint64_t used, all;

    return skl_cpu_parse_stat(text, strlen(text), &used, &all)
               ? (int64_t)(used * 1000 + all)
               : -1;
}

TEST(cpu_stat_is_read)
{
    /* user nice system idle iowait irq softirq steal guest guest_nice */
    CHECK_INT(27036, ticks_of("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1\n"));
    CHECK_INT(27036, ticks_of("cpu  1 2 3 4 5 6 7 8\n"));
    CHECK_INT(-1, ticks_of(""));
    CHECK_INT(-1, ticks_of("cpu0 1 2 3 4 5 6 7 8\n"));
    CHECK_INT(-1, ticks_of("cpu  1 2 3 4 5 6 7\n"));
    CHECK_INT(-1, ticks_of("cpu  1 2 3 -4 5 6 7 8\n"));
    CHECK_INT(-1, ticks_of("cpu  9223372036854775807 2 3 4 5 6 7 8\n"));
    CHECK_INT(-1, ticks_of("intr 1 2 3 4 5 6 7 8\n"));
}

/* Any bytes, of any length, cut anywhere: no crash, no byte beyond. */
TEST(cpu_parsers_take_any_bytes)
{
    static const char letters[] = "cpu 0:/.-max\n19usage_ec";
    uint64_t r = tap_seed(88172645463325252u);
    const int rounds = tap_full() ? 5000000 : 200000;

    for (int i = 0; i < rounds; i++) {
        size_t len = (size_t)(r >> 20) % 48;
        char *text = malloc(len + 1);
        char path[8];
        skl_cpu_quota_t q;
        uint64_t a, b;

        for (size_t k = 0; k < len; k++) {
            r ^= r << 13;
            r ^= r >> 7;
            r ^= r << 17;
            text[k] = r % 16 == 0 ? (char)(r >> 8)
                                  : letters[(r >> 8) % (sizeof(letters) - 1)];
        }
        text = realloc(text, len > 0 ? len : 1); /* ASan sees its end */
        (void)skl_cpu_parse_group(text, len, path, sizeof(path));
        if (skl_cpu_parse_max(text, len, &q)) {
            CHECK(q.period > 0);
        }
        (void)skl_cpu_parse_usage(text, len, &a);
        if (skl_cpu_parse_stat(text, len, &a, &b)) {
            CHECK(a <= b);
        }
        r ^= r << 13;
        free(text);
    }
}

/* ---- Samples ------------------------------------------------------------- */

static void put(const char *dir, const char *name, const char *text)
{
    char path[512], command[640];
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s%s", scratch_dir(), dir);
    (void)snprintf(command, sizeof(command), "mkdir -p '%s'", path);
    if (!CHECK_INT(0, system(command))) {
        return;
    }
    (void)snprintf(command, sizeof(command), "%s/%s", path, name);
    f = fopen(command, "w");
    if (CHECK(f != NULL)) {
        (void)fputs(text, f);
        (void)fclose(f);
    }
}

static void clear(void)
{
    char command[256];

    (void)snprintf(command, sizeof(command), "rm -rf '%s'/*", scratch_dir());
    CHECK_INT(0, system(command));
}

#define IDLE_HOST "cpu  100 0 0 900 0 0 0 0 0 0\n"

/* A host, and of which group this process is. */
static void begin(const char *groups)
{
    clear();
    put("/proc", "stat", IDLE_HOST);
    put("/proc/self", "cgroup", groups);
}

static int is_about(double want, double got)
{
    return fabs(want - got) < 1e-6;
}

TEST(cpu_share_of_the_host)
{
    skl_cpu_t c = {0};
    double share = -1;

    clear();
    CHECK_INT(0, skl_cpu_sample(&c, scratch_dir(), T0, &share));
    CHECK_INT(SKL_CPU_NONE, c.source);
    put("/proc", "stat", IDLE_HOST);
    CHECK_INT(0, skl_cpu_sample(&c, scratch_dir(), T0, &share));
    CHECK_INT(SKL_CPU_STAT, c.source);
    put("/proc", "stat", "cpu  150 0 10 930 0 0 0 10 0 0\n");
    CHECK_INT(0, skl_cpu_sample(&c, scratch_dir(), T0 + SEC / 5, &share));
    CHECK_INT(1, skl_cpu_sample(&c, scratch_dir(), T0 + SEC / 4, &share));
    CHECK(is_about(0.7, share));
    /* Counters that go back (idle does at times) say nothing. */
    put("/proc", "stat", "cpu  140 0 10 930 0 0 0 10 0 0\n");
    CHECK_INT(0, skl_cpu_sample(&c, scratch_dir(), T0 + SEC, &share));
    put("/proc", "stat", "rubbish\n");
    CHECK_INT(0, skl_cpu_sample(&c, scratch_dir(), T0 + 2 * SEC, &share));
}

TEST(cpu_share_of_a_quota)
{
    skl_cpu_t c = {.cpus = 2};
    double share = -1;

    begin("0::/pod/box\n");
    put("/sys/fs/cgroup/pod/box", "cpu.max", "max 100000\n");
    put("/sys/fs/cgroup/pod", "cpu.max", "150000 100000\n");
    put("/sys/fs/cgroup/pod", "cpu.stat", "usage_usec 1000000\n");
    CHECK_INT(0, skl_cpu_sample(&c, scratch_dir(), T0, &share));
    CHECK_INT(SKL_CPU_CGROUP, c.source);
    CHECK_STR("/pod", c.group);
    put("/sys/fs/cgroup/pod", "cpu.stat", "usage_usec 1750000\n");
    CHECK_INT(1, skl_cpu_sample(&c, scratch_dir(), T0 + SEC, &share));
    CHECK(is_about(0.5, share)); /* 0.75 s of 1.5 s */
    put("/sys/fs/cgroup/pod", "cpu.stat", "usage_usec 9750000\n");
    CHECK_INT(1, skl_cpu_sample(&c, scratch_dir(), T0 + 2 * SEC, &share));
    CHECK(is_about(1, share)); /* never more */
    /* A quota that is tighter: another group, whose first sample says nothing,
     * and then its own share. */
    put("/sys/fs/cgroup/pod/box", "cpu.max", "50000 100000\n");
    put("/sys/fs/cgroup/pod/box", "cpu.stat", "usage_usec 5\n");
    CHECK_INT(0, skl_cpu_sample(&c, scratch_dir(), T0 + 3 * SEC, &share));
    CHECK_STR("/pod/box", c.group);
    put("/sys/fs/cgroup/pod/box", "cpu.stat", "usage_usec 100005\n");
    CHECK_INT(1, skl_cpu_sample(&c, scratch_dir(), T0 + 4 * SEC, &share));
    CHECK(is_about(0.2, share));
}

TEST(cpu_without_a_quota_is_the_host)
{
    skl_cpu_t c = {0};
    double share = -1;

    begin("1:cpu:/\n0::/\n");
    put("/sys/fs/cgroup/unified", "cpu.stat", "usage_usec 1000000\n");
    CHECK_INT(0, skl_cpu_sample(&c, scratch_dir(), T0, &share));
    CHECK_INT(SKL_CPU_STAT, c.source);
    put("/sys/fs/cgroup/unified", "cpu.max", "100000 100000\n");
    CHECK_INT(0, skl_cpu_sample(&c, scratch_dir(), T0 + SEC, &share));
    CHECK_INT(SKL_CPU_CGROUP, c.source);
    put("/sys/fs/cgroup/unified", "cpu.stat", "usage_usec 1250000\n");
    CHECK_INT(1, skl_cpu_sample(&c, scratch_dir(), T0 + 2 * SEC, &share));
    CHECK(is_about(0.25, share));
}

/* More than the machine has is no limit: the machine is busy before. */
TEST(cpu_quota_of_more_than_the_machine_has_is_none)
{
    skl_cpu_t c = {.cpus = 2};
    double share = -1;

    begin("0::/\n");
    put("/sys/fs/cgroup", "cpu.max", "400000 100000\n");
    put("/sys/fs/cgroup", "cpu.stat", "usage_usec 1000000\n");
    CHECK_INT(0, skl_cpu_sample(&c, scratch_dir(), T0, &share));
    put("/proc", "stat", "cpu  300 0 0 900 0 0 0 0 0 0\n");
    put("/sys/fs/cgroup", "cpu.stat", "usage_usec 3000000\n");
    CHECK_INT(1, skl_cpu_sample(&c, scratch_dir(), T0 + SEC, &share));
    CHECK(is_about(1, share));
    /* As much as it has, or less, is one. */
    put("/sys/fs/cgroup", "cpu.max", "200000 100000\n");
    CHECK_INT(0, skl_cpu_sample(&c, scratch_dir(), T0 + 2 * SEC, &share));
    CHECK_INT(SKL_CPU_CGROUP, c.source);
}

TEST(cpu_of_this_machine_is_sampled)
{
    skl_cpu_t c = {0};
    volatile uint64_t work = 0;
    double share = -1;

    (void)skl_cpu_sample(&c, "", T0, &share);
    CHECK(c.source != SKL_CPU_NONE);
    for (int i = 0; i < 100; i++) {
        for (int k = 0; k < 3000000; k++) {
            work += (uint64_t)k;
        }
        if (skl_cpu_sample(&c, "", T0 + (i + 1) * SEC, &share)) {
            break;
        }
    }
    CHECK(share >= 0 && share <= 1);
}

TAP_MAIN()

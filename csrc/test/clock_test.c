/* The clocks: right source, right unit, never back. */
#include "base/clock.h"
#include "test/support/tap.h"

#include <time.h>

static int64_t now(clockid_t id)
{
    struct timespec ts;

    (void)clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void brackets(clockid_t id, int64_t (*read)(void))
{
    int64_t before = now(id);
    int64_t value = read();
    int64_t after = now(id);

    CHECK(before <= value);
    CHECK(value <= after);
}

TEST(each_clock_reads_its_source_in_nanoseconds)
{
    brackets(CLOCK_MONOTONIC, skl_clock_mono_ns);
    brackets(CLOCK_BOOTTIME, skl_clock_boot_ns);
    brackets(CLOCK_REALTIME, skl_clock_wall_ns);
}

TEST(monotonic_clocks_never_go_back)
{
    int64_t mono = skl_clock_mono_ns();
    int64_t boot = skl_clock_boot_ns();

    for (int i = 0; i < 10000; i++) {
        int64_t m = skl_clock_mono_ns();
        int64_t b = skl_clock_boot_ns();

        CHECK(m >= mono);
        CHECK(b >= boot);
        mono = m;
        boot = b;
    }
    CHECK(boot >= mono); /* it counts suspend as well */
}

TAP_MAIN()

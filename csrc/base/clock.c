/* See clock.h. */
#include "base/clock.h"

#include "base/assert.h"

#include <time.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec ts;
    int rc = clock_gettime(id, &ts);

    skl_assert(rc == 0);
    return (int64_t)ts.tv_sec * SKL_NS_PER_SEC + ts.tv_nsec;
}

int64_t skl_clock_mono_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t skl_clock_boot_ns(void)
{
    return read_clock(CLOCK_BOOTTIME);
}

int64_t skl_clock_wall_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

/*
 * Steps of the machine's clocks while holds run: the wall clock set by an hour
 * both ways, in one life and between two, and a suspend. No hold ends early,
 * none never.
 *
 * All clocks of this program are variables: clock_gettime() below is the one
 * that the library gets. One thread.
 */
/* variants: rel */
#include "test/support/engine.h"

#include <time.h>

enum { TOLERANCE_S = 2 }; /* a sweep each second, and what is slewed */

static int64_t wall, boot, mono;

int clock_gettime(clockid_t id, struct timespec *ts)
{
    const int64_t now = id == CLOCK_REALTIME   ? wall
                        : id == CLOCK_BOOTTIME ? boot
                                               : mono;

    ts->tv_sec = now / SEC;
    ts->tv_nsec = now % SEC;
    return 0;
}

static void begin_clocks(void)
{
    wall = 1767225600LL * SEC; /* 2026 */
    boot = 100 * HOUR;
    mono = 90 * HOUR;
}

static void pass(int64_t ns)
{
    wall += ns;
    boot += ns;
    mono += ns;
}

/* Seconds that pass until the hold of "a" has ended; -1: it never does. */
static int seconds_held(seckill_t *sk, int more)
{
    for (int s = 0; s < 2 * HOLD / SEC; s++) {
        CHECK_INT(SECKILL_OK, engine_find(sk, "a"));
        if (engine_last.state == SECKILL_STATE_EXPIRED) {
            return s + more;
        }
        pass(SEC);
        CHECK(seckill_sweep(sk, 100) >= 0);
    }
    return -1;
}

static void check_length(int held)
{
    if (!CHECK(held >= HOLD / SEC - TOLERANCE_S &&
               held <= HOLD / SEC + TOLERANCE_S)) {
        printf("#   held for %d s\n", held);
    }
}

static void step_while_it_runs(const char *name, int64_t step)
{
    seckill_t *sk;

    begin_clocks();
    sk = engine_open(name);
    CHECK_INT(SECKILL_OK, engine_put(sk, 1));
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "a"));
    wall += step;
    check_length(seconds_held(sk, 0));
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "b")); /* its unit is back */
    engine_end(sk, name);
}

TEST(the_wall_clock_steps_by_an_hour_while_a_hold_runs)
{
    step_while_it_runs("forward", HOUR);
    step_while_it_runs("back", -HOUR);
}

static void step_between_lives(const char *name, int64_t step)
{
    seckill_t *sk;

    begin_clocks();
    sk = engine_open(name);
    CHECK_INT(SECKILL_OK, engine_put(sk, 1));
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "a"));
    pass(HOLD / 4);
    engine_flush(sk);
    engine_end(sk, name);
    pass(HOLD / 4);
    wall += step;
    sk = engine_open(name);
    check_length(seconds_held(sk, HOLD / SEC / 2));
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "b"));
    engine_end(sk, name);
}

TEST(the_wall_clock_steps_by_an_hour_between_two_lives)
{
    step_between_lives("restart-forward", HOUR);
    step_between_lives("restart-back", -HOUR);
}

/* The time of a suspend counts: only the monotonic clock stands still. */
TEST(a_suspend_counts)
{
    seckill_t *sk;

    begin_clocks();
    sk = engine_open("suspend");
    CHECK_INT(SECKILL_OK, engine_put(sk, 1));
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "a"));
    wall += HOLD / 2;
    boot += HOLD / 2;
    CHECK_INT(SECKILL_OK, engine_find(sk, "a"));
    CHECK_INT(SECKILL_STATE_RESERVED, engine_last.state);
    check_length(seconds_held(sk, HOLD / SEC / 2));
    CHECK_INT(SECKILL_OK, engine_reserve(sk, "b"));
    wall += HOLD;
    boot += HOLD;
    CHECK_INT(SECKILL_OK, engine_find(sk, "b"));
    CHECK_INT(SECKILL_STATE_EXPIRED, engine_last.state);
    engine_end(sk, "suspend");
}

TAP_MAIN()

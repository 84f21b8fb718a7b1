/*
 * Two requests at once, the second at every step of the first: a step is a
 * load or a change of a counter of requests in flight (SKL_PAIR_STEP).
 *
 * Built around the source, with its steps made visible. Threads: one.
 */
static void pair_step(void);
#define SKL_PAIR_STEP() pair_step()

#include "breaker/shed.c"
#include "test/support/shed_world.h"

static struct {
    shed_world_t w;
    skl_shed_t *s;
    int step, at; /* the second comes at this step of the first */
    int row;
    uint64_t second;
} test;

static void pair_step(void)
{
    if (test.at >= 0 && test.step++ == test.at) {
        test.at = -1;
        test.second = admit_in(&test.w, test.s, test.row, 3);
    }
}

/* Both come in row 0 and `row`, the second at step `at`: how many got in; *ran:
 * was there such a step? */
static int both(int row, int at, int *ran)
{
    uint64_t first;
    int in;

    test.row = row;
    test.step = 0;
    test.at = at;
    test.second = 0;
    first = admit_in(&test.w, test.s, 0, 3);
    *ran = test.at < 0;
    test.at = -1;
    in = (first != 0) + (test.second != 0);
    if (first != 0) {
        CHECK_INT(1, skl_shed_done(test.s, first, 1, MS, test.w.now));
    }
    if (test.second != 0) {
        CHECK_INT(1, skl_shed_done(test.s, test.second, 1, MS, test.w.now));
    }
    return in;
}

/* One place is left of `limit`. */
static void try_limit(int limit)
{
    const seckill_shedder_options_t o = {.cpu_high = -1, .max_inflight = limit};
    int steps = 0;

    memset(&test, 0, sizeof(test));
    test.at = -1;
    world_new(&test.w, 1);
    test.s = shedder_of(&test.w, "a", o);
    for (int i = 1; i < limit; i++) {
        CHECK(admit_in(&test.w, test.s, 2, 1) != 0);
    }
    for (int row = -1; row <= 1; row++) {
        int ran = 1;

        for (int at = 0; ran; at++, steps++) {
            CHECK(both(row, at, &ran) <= 1);
            CHECK_INT(limit - 1, stats_of(&test.w, test.s).inflight[1]);
            CHECK_INT(0, stats_of(&test.w, test.s).inflight[3]);
        }
    }
    printf("# limit %d: %d steps\n", limit, steps);
    CHECK(steps > 10);
    world_free(&test.w);
}

TEST(shed_two_at_once_never_both_take_the_last_place)
{
    try_limit(1);
    try_limit(3);
}

TAP_MAIN()

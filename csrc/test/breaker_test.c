/* Circuit breakers in one process: a model, all orders of calls, the traps. */
#include "breaker/breaker.h"
#include "test/support/breaker_world.h"

#include <math.h>

/* variants: rel asan */

/* ---- Numbers, names, records --------------------------------------------- */

static int try_option(seckill_breaker_options_t o)
{
    breaker_world_t w;
    skl_breaker_t *b;
    uint32_t made;
    int rc;

    world_new(&w, 1);
    o.struct_size = sizeof(o);
    rc = skl_breakers_open(&w.breakers, "a", &o, w.now, &b);
    made = skl_breakers_count(&w.breakers);
    CHECK_INT(rc == SECKILL_OK, made);
    world_free(&w);
    return rc;
}

#define BAD(...)                                                               \
    CHECK_INT(SECKILL_EBADOPTION,                                              \
              try_option((seckill_breaker_options_t){__VA_ARGS__}))
#define GOOD(...)                                                              \
    CHECK_INT(SECKILL_OK, try_option((seckill_breaker_options_t){__VA_ARGS__}))

TEST(breaker_numbers_are_checked)
{
    BAD(.window_ns = 9 * MS);
    BAD(.window_ns = -SEC);
    BAD(.window_ns = 86401 * SEC);
    BAD(.min_calls = 1000001);
    BAD(.probes = 17);
    BAD(.error_ratio = 1.01);
    BAD(.error_ratio = -0.5);
    BAD(.error_ratio = NAN);
    BAD(.error_ratio = INFINITY);
    BAD(.slow_ratio = 0.5);
    BAD(.slow_ratio = 2, .slow_ns = SEC);
    BAD(.slow_ns = 999);
    BAD(.slow_ns = -1);
    BAD(.cpu = 1.5);
    BAD(.cpu = -INFINITY);
    BAD(.consecutive = -2);
    BAD(.consecutive = 1000001);
    BAD(.open_ns = 1);
    BAD(.open_ns = INT64_MIN);
    BAD(.ramp_ns = -2);
    BAD(.probe_timeout_ns = INT64_MAX);
    BAD(.mode = 3);
    GOOD(.window_ns = 0);
    GOOD(.window_ns = 10 * MS, .min_calls = 1000000, .probes = 16);
    GOOD(.slow_ratio = 1, .slow_ns = 1000, .cpu = 1, .consecutive = 1000000);
    GOOD(.error_ratio = -1, .slow_ratio = -1, .cpu = -1, .consecutive = -1,
         .ramp_ns = -1);
}

TEST(breaker_has_defaults)
{
    seckill_breaker_options_t o;
    breaker_world_t w;
    skl_breaker_t *b;

    world_new(&w, 2);
    REQUIRE(skl_breakers_open(&w.breakers, "a", NULL, w.now, &b) == SECKILL_OK);
    skl_breaker_get(b, &o);
    CHECK_INT(10 * SEC, o.window_ns);
    CHECK_INT(20, o.min_calls);
    CHECK_INT(3, o.probes);
    CHECK(o.error_ratio >= 0.5 && o.error_ratio <= 0.5);
    CHECK(o.slow_ratio < 0 && o.cpu < 0);
    CHECK_INT(-1, o.consecutive);
    CHECK_INT(0, o.slow_ns);
    CHECK_INT(5 * SEC, o.open_ns);
    CHECK_INT(-1, o.ramp_ns);
    CHECK_INT(10 * SEC, o.probe_timeout_ns);
    CHECK_INT(SECKILL_LIMIT_ENFORCE, o.mode);
    world_free(&w);
}

TEST(breaker_names_attach_and_the_table_is_bounded)
{
    static const char *const bad[] = {
        "", "A", "a b", "a/b", "123456789012345678901234567890123", NULL};
    seckill_breaker_options_t o = small_options();
    skl_breaker_t *a, *again, *b;
    breaker_world_t w;

    world_new(&w, 2);
    for (int i = 0; i < 6; i++) {
        CHECK_INT(SECKILL_EBADNAME,
                  skl_breakers_open(&w.breakers, bad[i], &o, w.now, &a));
    }
    a = breaker_of(&w, "a", o);
    again = breaker_of(&w, "a", (seckill_breaker_options_t){.probes = 9});
    CHECK(a == again);
    skl_breaker_get(a, &o);
    CHECK_INT(9, o.probes);
    CHECK_INT(2, o.min_calls);
    b = breaker_of(&w, "12345678901234567890123456789012", o);
    CHECK(b != a);
    CHECK_INT(SECKILL_EFULL,
              skl_breakers_open(&w.breakers, "c", &o, w.now, &b));
    CHECK(skl_breakers_at(&w.breakers, 0) == a);
    CHECK(skl_breakers_at(&w.breakers, 2) == NULL);
    world_free(&w);
}

TEST(breaker_set_changes_nothing_when_it_is_refused)
{
    seckill_breaker_options_t bad = {
        .struct_size = sizeof(bad), .probes = 5, .error_ratio = 7};
    seckill_breaker_options_t o;
    breaker_world_t w;
    skl_breaker_t *b;

    b = one_breaker(&w, small_options());
    CHECK_INT(SECKILL_EBADOPTION, skl_breaker_set(b, &bad));
    bad.struct_size = 4;
    CHECK_INT(SECKILL_EBADOPTION, skl_breaker_set(b, &bad));
    skl_breaker_get(b, &o);
    CHECK_INT(2, o.probes);
    world_free(&w);
}

/* ---- When it trips ------------------------------------------------------- */

/* Small options, but it takes 10 calls. */
static seckill_breaker_options_t ten_calls(void)
{
    seckill_breaker_options_t o = small_options();

    o.min_calls = 10;
    return o;
}

static void use_every_bucket(breaker_world_t *w, skl_breaker_t *b)
{
    for (int i = 0; i < 2 * SKL_BREAKER_BUCKETS; i++) {
        calls(w, b, 2, 1);
        w->now += 100 * MS;
    }
}

TEST(breaker_trips_at_the_ratio_and_the_volume)
{
    seckill_breaker_options_t o = ten_calls();
    breaker_world_t w;
    skl_breaker_t *b;

    o.error_ratio = 0.3;
    b = one_breaker(&w, o);
    calls(&w, b, 3, 0);
    calls(&w, b, 6, 1);
    CHECK_INT(SECKILL_BREAKER_CLOSED, state(&w, b));
    calls(&w, b, 1, 1); /* a success that makes up the volume */
    CHECK_INT(SECKILL_BREAKER_OPEN, state(&w, b));
    CHECK_INT(0, allow(&w, b));
    CHECK_INT(1, stats_of(&w, b).rejected);
    CHECK_INT(1, stats_of(&w, b).opened);
    world_free(&w);
}

TEST(breaker_stays_closed_below_the_ratio)
{
    seckill_breaker_options_t o = ten_calls();
    breaker_world_t w;
    skl_breaker_t *b;

    o.error_ratio = 0.3;
    b = one_breaker(&w, o);
    for (int i = 0; i < 1000; i++) {
        calls(&w, b, 8, 1);
        calls(&w, b, 2, 0);
        w.now += 30 * MS;
    }
    CHECK_INT(SECKILL_BREAKER_CLOSED, state(&w, b));
    CHECK_INT(10000, stats_of(&w, b).allowed);
    world_free(&w);
}

TEST(breaker_trips_on_slow_calls)
{
    seckill_breaker_options_t o = small_options();
    breaker_world_t w;
    skl_breaker_t *b;

    o.slow_ratio = 1;
    o.slow_ns = 50 * MS;
    b = one_breaker(&w, o);
    CHECK_INT(1, skl_breaker_report(b, allow(&w, b), 1, 50 * MS, w.now));
    CHECK_INT(1, skl_breaker_report(b, allow(&w, b), 1, 51 * MS, w.now));
    CHECK_INT(SECKILL_BREAKER_CLOSED, state(&w, b));
    w.now += SEC; /* the fast one has left */
    CHECK_INT(1, skl_breaker_report(b, allow(&w, b), 1, SEC, w.now));
    CHECK_INT(1, skl_breaker_report(b, allow(&w, b), 1, SEC, w.now));
    CHECK_INT(SECKILL_BREAKER_OPEN, state(&w, b));
    CHECK_INT(3, stats_of(&w, b).slow);
    world_free(&w);
}

TEST(breaker_trips_on_failures_in_a_row)
{
    seckill_breaker_options_t o = small_options();
    breaker_world_t w;
    skl_breaker_t *b;

    o.error_ratio = -1;
    o.consecutive = 3;
    b = one_breaker(&w, o);
    calls(&w, b, 2, 0);
    calls(&w, b, 1, 1);
    w.now += 100 * SEC;
    calls(&w, b, 2, 0);
    w.now += 100 * SEC; /* in a row has no window */
    CHECK_INT(SECKILL_BREAKER_CLOSED, state(&w, b));
    calls(&w, b, 1, 0);
    CHECK_INT(SECKILL_BREAKER_OPEN, state(&w, b));
    world_free(&w);
}

TEST(breaker_trips_on_the_cpu_and_not_on_a_stale_one)
{
    seckill_breaker_options_t o = small_options();
    skl_gauge_t *g;
    breaker_world_t w;
    skl_breaker_t *b;

    o.cpu = 0.8;
    b = one_breaker(&w, o);
    g = &w.breakers.shm->gauge;
    calls(&w, b, 2, 1);
    CHECK_INT(1, atomic_load(&g->stale_reads));
    skl_gauge_feed(g, 0.9, w.now);
    w.now += 2 * SEC + MS;
    calls(&w, b, 2, 1);
    CHECK_INT(2, atomic_load(&g->stale_reads));
    CHECK_INT(SECKILL_BREAKER_CLOSED, state(&w, b));
    skl_gauge_feed(g, 0.81, w.now);
    calls(&w, b, 1, 1);
    CHECK_INT(SECKILL_BREAKER_OPEN, state(&w, b));
    world_free(&w);
}

/* Failures 5 in the last bucket of what would be one tumbling window, 5 in the
 * first of the next: a window that is emptied at its end sees neither. */
TEST(breaker_trips_on_a_burst_across_an_edge)
{
    for (int edge = 0; edge < 20; edge++) {
        breaker_world_t w;
        skl_breaker_t *b;

        world_new(&w, 1);
        w.now = BREAKER_T0 + edge * 100 * MS - 1;
        b = breaker_of(&w, "a", ten_calls());
        calls(&w, b, 5, 0);
        w.now += 1;
        CHECK_INT(SECKILL_BREAKER_CLOSED, state(&w, b));
        calls(&w, b, 5, 0);
        CHECK_INT(SECKILL_BREAKER_OPEN, state(&w, b));
        world_free(&w);
    }
}

/* Any 5 of 10 failures within 900 ms are seen, wherever they lie. */
TEST(breaker_window_slides)
{
    for (int from = 0; from < 1000; from += 7) {
        breaker_world_t w;
        skl_breaker_t *b;

        world_new(&w, 1);
        w.now = BREAKER_T0 + from * MS;
        b = breaker_of(&w, "a", ten_calls());
        for (int i = 0; i < 9; i++) {
            calls(&w, b, 1, i % 2);
            w.now += 100 * MS;
        }
        calls(&w, b, 1, 0);
        CHECK_INT(SECKILL_BREAKER_OPEN, state(&w, b));
        world_free(&w);
    }
}

/* Two configurations that fight over the length of the window, with nobody who
 * calls: the buckets are of a scale that is long ago. */
TEST(breaker_trips_after_many_changes_of_the_window)
{
    seckill_breaker_options_t o = small_options();
    breaker_world_t w;
    skl_breaker_t *b;

    b = one_breaker(&w, o);
    use_every_bucket(&w, b);
    for (int i = 0; i < 200; i++) {
        o.window_ns = i % 2 == 0 ? 2 * SEC : SEC;
        CHECK_INT(SECKILL_OK, skl_breaker_set(b, &o));
    }
    calls(&w, b, 2, 0);
    CHECK_INT(SECKILL_BREAKER_OPEN, state(&w, b));
    world_free(&w);
}

TEST(breaker_window_forgets)
{
    breaker_world_t w;
    skl_breaker_t *b;

    b = one_breaker(&w, ten_calls());
    calls(&w, b, 9, 0);
    w.now += SEC;
    CHECK_INT(0, stats_of(&w, b).calls);
    calls(&w, b, 9, 0);
    CHECK_INT(SECKILL_BREAKER_CLOSED, state(&w, b));
    world_free(&w);
}

TEST(breaker_window_of_another_length_begins_anew)
{
    seckill_breaker_options_t o = ten_calls();
    breaker_world_t w;
    skl_breaker_t *b;

    b = one_breaker(&w, o);
    calls(&w, b, 9, 0);
    o.window_ns = 3 * SEC;
    CHECK_INT(SECKILL_OK, skl_breaker_set(b, &o));
    CHECK_INT(0, stats_of(&w, b).calls);
    calls(&w, b, 9, 0);
    CHECK_INT(9, stats_of(&w, b).calls);
    calls(&w, b, 1, 0);
    CHECK_INT(SECKILL_BREAKER_OPEN, state(&w, b));
    world_free(&w);
}

TEST(breaker_rejected_calls_do_not_dilute)
{
    breaker_world_t w;
    skl_breaker_t *b;

    b = one_breaker(&w, small_options());
    calls(&w, b, 2, 0);
    for (int i = 0; i < 1000; i++) {
        CHECK_INT(0, allow(&w, b));
    }
    CHECK_INT(SECKILL_BREAKER_OPEN, state(&w, b));
    CHECK_INT(1000, stats_of(&w, b).rejected);
    world_free(&w);
}

TEST(breaker_full_bucket_keeps_its_ratios)
{
    seckill_breaker_options_t o = small_options();
    seckill_breaker_stats_t s;
    breaker_world_t w;
    skl_breaker_t *b;

    o.error_ratio = 0.9;
    b = one_breaker(&w, o);
    for (int i = 0; i < 3000000; i++) {
        (void)skl_breaker_report(b, allow(&w, b), i % 4 != 0, 0, w.now);
    }
    s = stats_of(&w, b);
    CHECK_INT(SECKILL_BREAKER_CLOSED, s.state);
    CHECK(s.calls > 1000000 && s.calls < (1 << 21));
    CHECK(fabs((double)s.errors / (double)s.calls - 0.25) < 1e-4);
    world_free(&w);
}

/* ---- Opening, probing, closing ------------------------------------------- */

/* Make it fail until it is open `times` times in a row. */
static void keep_failing(breaker_world_t *w, skl_breaker_t *b, int times)
{
    calls(w, b, 2, 0);
    for (int i = 1; i < times; i++) {
        pass_open(w, b);
        CHECK_INT(1, report(w, b, allow(w, b), 0));
        CHECK_INT(SECKILL_BREAKER_OPEN, state(w, b));
    }
}

TEST(breaker_openings_double_and_vary)
{
    int64_t least = INT64_MAX, most = 0;

    for (int seed = 0; seed < 200; seed++) {
        breaker_world_t w;
        skl_breaker_t *b;

        b = one_breaker(&w, small_options());
        b->record->seed = (uint64_t)seed * 7919;
        for (int i = 0; i < 8; i++) {
            int64_t want = SEC << (i < 5 ? i : 5), got;

            if (i == 0) {
                calls(&w, b, 2, 0);
            } else {
                pass_open(&w, b);
                CHECK_INT(1, report(&w, b, allow(&w, b), 0));
            }
            got = stats_of(&w, b).retry_ns;
            CHECK(got >= want * 9 / 10 && got <= want * 11 / 10);
            least = i == 0 && got < least ? got : least;
            most = i == 0 && got > most ? got : most;
        }
        world_free(&w);
    }
    CHECK(least < 910 * MS && most > 1090 * MS);
}

/* A long outage: buckets keep the generation of before it, which is too long
 * ago for 16 bits to tell that it was earlier. */
TEST(breaker_trips_after_any_number_of_openings)
{
    breaker_world_t w;
    skl_breaker_t *b;

    b = one_breaker(&w, small_options());
    use_every_bucket(&w, b);
    while (state(&w, b) == SECKILL_BREAKER_CLOSED) {
        calls(&w, b, 1, 0);
    }
    for (int i = 0; i < 20000; i++) {
        if (state(&w, b) == SECKILL_BREAKER_OPEN) {
            pass_open(&w, b);
        }
        (void)report(&w, b, allow(&w, b), 0);
    }
    pass_open(&w, b);
    calls(&w, b, 2, 1);
    CHECK_INT(SECKILL_BREAKER_CLOSED, state(&w, b));
    calls(&w, b, 2, 0);
    CHECK_INT(SECKILL_BREAKER_OPEN, state(&w, b));
    world_free(&w);
}

TEST(breaker_opening_ends_to_the_nanosecond)
{
    int64_t retry = 0;
    uint64_t permit;
    breaker_world_t w;
    skl_breaker_t *b;

    b = one_breaker(&w, small_options());
    calls(&w, b, 2, 0);
    CHECK_INT(SECKILL_EOPEN, skl_breaker_allow(b, w.now, &permit, &retry));
    w.now += retry - 1;
    CHECK_INT(0, allow(&w, b));
    w.now += 1;
    CHECK_INT(SECKILL_BREAKER_OPEN, state(&w, b));
    CHECK(allow(&w, b) != 0);
    CHECK_INT(SECKILL_BREAKER_HALF_OPEN, state(&w, b));
    world_free(&w);
}

TEST(breaker_closes_when_all_probes_are_good)
{
    uint64_t first, second;
    int64_t retry = 0;
    breaker_world_t w;
    skl_breaker_t *b;

    b = one_breaker(&w, small_options());
    trip_and_pass(&w, b);
    first = allow(&w, b);
    second = allow(&w, b);
    CHECK(first != 0 && second != 0);
    w.now += 100 * MS;
    CHECK_INT(SECKILL_EOPEN, skl_breaker_allow(b, w.now, &first, &retry));
    CHECK_INT(200 * MS, retry); /* the end of the first lease */
    CHECK_INT(1, report(&w, b, second, 1));
    CHECK_INT(SECKILL_BREAKER_HALF_OPEN, state(&w, b));
    CHECK_INT(0, allow(&w, b));
    CHECK_INT(0, report(&w, b, second, 1)); /* once */
    world_free(&w);
}

TEST(breaker_that_has_closed_begins_anew)
{
    breaker_world_t w;
    skl_breaker_t *b;

    b = one_breaker(&w, small_options());
    trip_and_pass(&w, b);
    calls(&w, b, 2, 1);
    CHECK_INT(SECKILL_BREAKER_CLOSED, state(&w, b));
    CHECK_INT(0, stats_of(&w, b).calls);
    CHECK_INT(1, stats_of(&w, b).closed);
    calls(&w, b, 1, 0);
    CHECK_INT(SECKILL_BREAKER_CLOSED, state(&w, b));
    calls(&w, b, 1, 0);
    CHECK_INT(SECKILL_BREAKER_OPEN, state(&w, b));
    CHECK(stats_of(&w, b).retry_ns > 1800 * MS); /* soon again: twice as long */
    world_free(&w);
}

TEST(breaker_that_was_healthy_opens_for_the_first_period)
{
    breaker_world_t w;
    skl_breaker_t *b;

    b = one_breaker(&w, small_options());
    keep_failing(&w, b, 4);
    pass_open(&w, b);
    calls(&w, b, 2, 1);
    w.now += SEC;
    calls(&w, b, 2, 0);
    CHECK(stats_of(&w, b).retry_ns <= 1100 * MS);
    world_free(&w);
}

TEST(breaker_slow_probe_is_a_bad_one)
{
    seckill_breaker_options_t o = small_options();
    breaker_world_t w;
    skl_breaker_t *b;

    o.slow_ratio = 0.9;
    o.slow_ns = 50 * MS;
    b = one_breaker(&w, o);
    trip_and_pass(&w, b);
    CHECK_INT(1, skl_breaker_report(b, allow(&w, b), 1, 60 * MS, w.now));
    CHECK_INT(SECKILL_BREAKER_OPEN, state(&w, b));
    world_free(&w);
}

TEST(breaker_ramp_lets_more_and_more_through)
{
    static const int want[] = {1000, 3250, 5500, 7750, 10000};
    seckill_breaker_options_t o = small_options();
    breaker_world_t w;
    skl_breaker_t *b;

    o.ramp_ns = 4 * SEC;
    b = one_breaker(&w, o);
    trip_and_pass(&w, b);
    calls(&w, b, 2, 1);
    for (int i = 0; i < 5; i++) {
        int passed = 0;

        for (int k = 0; k < 10000; k++) {
            uint64_t permit = allow(&w, b);

            passed += permit != 0;
            if (permit != 0) {
                CHECK_INT(1, report(&w, b, permit, 1));
            }
        }
        CHECK(abs(passed - want[i]) <= 10);
        w.now += SEC;
    }
    CHECK_INT(SECKILL_BREAKER_CLOSED, state(&w, b));
    world_free(&w);
}

TEST(breaker_ramp_says_when_it_ends)
{
    seckill_breaker_options_t o = small_options();
    int64_t retry = 0;
    uint64_t permit;
    breaker_world_t w;
    skl_breaker_t *b;

    o.ramp_ns = 4 * SEC;
    b = one_breaker(&w, o);
    trip_and_pass(&w, b);
    calls(&w, b, 2, 1);
    w.now += 500 * MS;
    while (skl_breaker_allow(b, w.now, &permit, &retry) == SECKILL_OK) {
        CHECK_INT(1, skl_breaker_cancel(b, permit, w.now));
    }
    CHECK_INT(3500 * MS, retry);
    w.now += retry;
    calls(&w, b, 1000, 1);
    world_free(&w);
}

/* ---- Permits of another time (T14) --------------------------------------- */

TEST(breaker_stale_success_does_not_close)
{
    uint64_t old[3], probe;
    breaker_world_t w;
    skl_breaker_t *b;

    b = one_breaker(&w, small_options());
    for (int i = 0; i < 3; i++) {
        old[i] = allow(&w, b);
    }
    calls(&w, b, 2, 0);
    CHECK_INT(0, report(&w, b, old[0], 1)); /* while it is open */
    pass_open(&w, b);
    probe = allow(&w, b);
    CHECK_INT(0, report(&w, b, old[1], 1));
    CHECK_INT(0, report(&w, b, old[2], 1));
    CHECK_INT(SECKILL_BREAKER_HALF_OPEN, state(&w, b));
    CHECK_INT(3, stats_of(&w, b).stale);
    CHECK_INT(1, report(&w, b, probe, 0));
    CHECK_INT(SECKILL_BREAKER_OPEN, state(&w, b));
    world_free(&w);
}

TEST(breaker_stale_failure_does_not_open)
{
    uint64_t old[8], probe[2];
    breaker_world_t w;
    skl_breaker_t *b;

    b = one_breaker(&w, small_options());
    for (int i = 0; i < 8; i++) {
        old[i] = allow(&w, b);
    }
    trip_and_pass(&w, b);
    probe[0] = allow(&w, b);
    probe[1] = allow(&w, b);
    for (int i = 0; i < 4; i++) {
        CHECK_INT(0, report(&w, b, old[i], 0));
    }
    CHECK_INT(SECKILL_BREAKER_HALF_OPEN, state(&w, b));
    CHECK_INT(1, report(&w, b, probe[0], 1));
    CHECK_INT(1, report(&w, b, probe[1], 1));
    CHECK_INT(SECKILL_BREAKER_CLOSED, state(&w, b));
    for (int i = 4; i < 8; i++) {
        CHECK_INT(0, report(&w, b, old[i], 0));
    }
    CHECK_INT(SECKILL_BREAKER_CLOSED, state(&w, b));
    CHECK_INT(0, stats_of(&w, b).errors);
    CHECK_INT(10, stats_of(&w, b).failed);
    world_free(&w);
}

TEST(breaker_stale_probe_does_not_decide)
{
    uint64_t old, probe;
    breaker_world_t w;
    skl_breaker_t *b;

    for (int ok = 0; ok < 2; ok++) {
        b = one_breaker(&w, small_options());
        trip_and_pass(&w, b);
        old = allow(&w, b);
        w.now += 300 * MS; /* its lease ends */
        CHECK_INT(SECKILL_BREAKER_OPEN, state(&w, b));
        pass_open(&w, b);
        probe = allow(&w, b);
        CHECK(probe != 0 && probe != old);
        CHECK_INT(0, report(&w, b, old, ok));
        CHECK_INT(SECKILL_BREAKER_HALF_OPEN, state(&w, b));
        CHECK_INT(1, report(&w, b, probe, 1));
        CHECK_INT(SECKILL_BREAKER_HALF_OPEN, state(&w, b));
        CHECK_INT(1, report(&w, b, allow(&w, b), 1));
        CHECK_INT(SECKILL_BREAKER_CLOSED, state(&w, b));
        world_free(&w);
    }
}

TEST(breaker_lost_probe_counts_as_failed)
{
    int64_t retry = 0;
    uint64_t lost, permit;
    breaker_world_t w;
    skl_breaker_t *b;

    b = one_breaker(&w, small_options());
    trip_and_pass(&w, b);
    lost = allow(&w, b);
    CHECK_INT(1, report(&w, b, allow(&w, b), 1));
    w.now += 300 * MS - 1;
    CHECK_INT(SECKILL_EOPEN, skl_breaker_allow(b, w.now, &permit, &retry));
    CHECK_INT(SECKILL_BREAKER_HALF_OPEN, state(&w, b));
    w.now += 1;
    CHECK_INT(SECKILL_EOPEN, skl_breaker_allow(b, w.now, &permit, &retry));
    CHECK_INT(SECKILL_BREAKER_OPEN, state(&w, b));
    CHECK(retry > 1800 * MS);
    CHECK_INT(1, stats_of(&w, b).expired);
    CHECK_INT(0, report(&w, b, lost, 1));
    world_free(&w);
}

TEST(breaker_late_probe_has_failed_whoever_sees_it_first)
{
    uint64_t late;
    breaker_world_t w;
    skl_breaker_t *b;

    b = one_breaker(&w, small_options());
    trip_and_pass(&w, b);
    late = allow(&w, b);
    w.now += 300 * MS;
    CHECK_INT(1, report(&w, b, late, 1));
    CHECK_INT(SECKILL_BREAKER_OPEN, state(&w, b));
    CHECK_INT(1, stats_of(&w, b).expired);
    world_free(&w);
}

TEST(breaker_cancelled_probe_can_be_had_again)
{
    uint64_t first, again;
    breaker_world_t w;
    skl_breaker_t *b;

    b = one_breaker(&w, small_options());
    trip_and_pass(&w, b);
    first = allow(&w, b);
    CHECK(allow(&w, b) != 0);
    CHECK_INT(0, allow(&w, b));
    CHECK_INT(1, skl_breaker_cancel(b, first, w.now));
    again = allow(&w, b);
    CHECK(again != 0 && again != first);
    CHECK_INT(0, report(&w, b, first, 0)); /* it is not its any more */
    CHECK_INT(0, skl_breaker_cancel(b, first, w.now));
    CHECK_INT(SECKILL_BREAKER_HALF_OPEN, state(&w, b));
    CHECK_INT(2, stats_of(&w, b).cancelled);
    world_free(&w);
}

/* Sentinel#1638: the first of a chain takes a probe, the second refuses, and
 * the first waits for ever. */
TEST(breaker_chain_gives_back_what_the_next_refused)
{
    breaker_world_t w;
    skl_breaker_t *chain[4];
    uint64_t permit[4];
    char name[2] = "a";

    world_new(&w, 4);
    for (int i = 0; i < 4; i++) {
        name[0] = (char)('a' + i);
        chain[i] = breaker_of(&w, name, small_options());
        calls(&w, chain[i], 2, 0);
    }
    CHECK_INT(SECKILL_OK,
              skl_breaker_force(chain[3], SECKILL_BREAKER_FORCED_OPEN, w.now));
    w.now += 2 * SEC;
    for (int round = 0; round < 1000; round++) {
        int n = 0;

        while (n < 4 && (permit[n] = allow(&w, chain[n])) != 0) {
            n++;
        }
        CHECK_INT(3, n);
        for (int i = n - 1; i >= 0; i--) {
            CHECK_INT(1, skl_breaker_cancel(chain[i], permit[i], w.now));
        }
        w.now += 10 * MS;
    }
    CHECK_INT(SECKILL_OK, skl_breaker_force(chain[3], 0, w.now));
    for (int i = 0; i < 3; i++) {
        CHECK_INT(SECKILL_BREAKER_HALF_OPEN, state(&w, chain[i]));
        calls(&w, chain[i], 2, 1);
        CHECK_INT(SECKILL_BREAKER_CLOSED, state(&w, chain[i]));
    }
    world_free(&w);
}

TEST(breaker_knows_its_permits)
{
    static const uint64_t strange[] = {0, 4, UINT64_MAX, UINT64_C(1) << 52,
                                       UINT64_C(1) << 63};
    breaker_world_t w;
    skl_breaker_t *a, *b;
    uint64_t permit;

    world_new(&w, 2);
    a = breaker_of(&w, "a", small_options());
    b = breaker_of(&w, "b", small_options());
    permit = allow(&w, b);
    CHECK(permit > 0 && permit < UINT64_C(1) << 53);
    CHECK_INT(SECKILL_EBADVALUE, report(&w, a, permit, 0));
    CHECK_INT(SECKILL_EBADVALUE, skl_breaker_cancel(a, permit, w.now));
    for (int i = 0; i < 5; i++) {
        CHECK_INT(SECKILL_EBADVALUE, report(&w, a, strange[i], 0));
    }
    CHECK_INT(0, stats_of(&w, a).failed);
    CHECK_INT(1, report(&w, b, permit, 0));
    world_free(&w);
}

/* ---- By hand, and shadow ------------------------------------------------- */

TEST(breaker_forced_open_refuses_until_it_is_released)
{
    int64_t retry = 0;
    uint64_t permit, before;
    breaker_world_t w;
    skl_breaker_t *b;

    b = one_breaker(&w, small_options());
    before = allow(&w, b);
    CHECK_INT(SECKILL_OK,
              skl_breaker_force(b, SECKILL_BREAKER_FORCED_OPEN, w.now));
    w.now += 1000 * SEC;
    CHECK_INT(SECKILL_EOPEN, skl_breaker_allow(b, w.now, &permit, &retry));
    CHECK_INT(SEC, retry);
    CHECK_INT(SECKILL_BREAKER_FORCED_OPEN, state(&w, b));
    CHECK_INT(0, report(&w, b, before, 0));
    CHECK_INT(SECKILL_OK, skl_breaker_force(b, 0, w.now));
    CHECK_INT(SECKILL_BREAKER_CLOSED, state(&w, b));
    CHECK(allow(&w, b) != 0);
    CHECK_INT(SECKILL_EBADOPTION,
              skl_breaker_force(b, SECKILL_BREAKER_OPEN, w.now));
    CHECK_INT(SECKILL_EBADOPTION, skl_breaker_force(b, 7, w.now));
    CHECK_INT(SECKILL_EBADOPTION, skl_breaker_force(b, -1, w.now));
    world_free(&w);
}

TEST(breaker_forced_closed_counts_and_does_not_trip)
{
    breaker_world_t w;
    skl_breaker_t *b;

    b = one_breaker(&w, small_options());
    calls(&w, b, 2, 0);
    CHECK_INT(SECKILL_OK,
              skl_breaker_force(b, SECKILL_BREAKER_FORCED_CLOSED, w.now));
    calls(&w, b, 100, 0);
    CHECK_INT(SECKILL_BREAKER_FORCED_CLOSED, state(&w, b));
    CHECK_INT(100, stats_of(&w, b).errors);
    CHECK_INT(SECKILL_OK, skl_breaker_force(b, 0, w.now));
    CHECK_INT(0, stats_of(&w, b).errors);
    calls(&w, b, 2, 0);
    CHECK_INT(SECKILL_BREAKER_OPEN, state(&w, b));
    CHECK_INT(SECKILL_OK, skl_breaker_force(b, 0, w.now));
    CHECK_INT(SECKILL_BREAKER_OPEN, state(&w, b)); /* it was not by hand */
    world_free(&w);
}

TEST(breaker_disabled_lets_all_through_and_looks_away)
{
    breaker_world_t w;
    skl_breaker_t *b;

    b = one_breaker(&w, small_options());
    CHECK_INT(SECKILL_OK,
              skl_breaker_force(b, SECKILL_BREAKER_DISABLED, w.now));
    for (int i = 0; i < 100; i++) {
        CHECK_INT(0, report(&w, b, allow(&w, b), 0));
    }
    CHECK_INT(SECKILL_BREAKER_DISABLED, state(&w, b));
    CHECK_INT(0, stats_of(&w, b).calls);
    CHECK_INT(0, stats_of(&w, b).stale);
    world_free(&w);
}

TEST(breaker_released_switch_ramps_up)
{
    seckill_breaker_options_t o = small_options();
    int passed = 0;
    breaker_world_t w;
    skl_breaker_t *b;

    o.ramp_ns = SEC;
    b = one_breaker(&w, o);
    CHECK_INT(SECKILL_OK,
              skl_breaker_force(b, SECKILL_BREAKER_FORCED_OPEN, w.now));
    CHECK_INT(SECKILL_OK, skl_breaker_force(b, 0, w.now));
    for (int i = 0; i < 1000; i++) {
        passed += allow(&w, b) != 0;
    }
    CHECK(passed >= 95 && passed <= 105);
    world_free(&w);
}

TEST(breaker_shadow_counts_and_refuses_nothing)
{
    seckill_breaker_options_t o = small_options();
    seckill_breaker_stats_t s;
    breaker_world_t w;
    skl_breaker_t *b;

    o.mode = SECKILL_LIMIT_SHADOW;
    b = one_breaker(&w, o);
    calls(&w, b, 2, 0);
    CHECK_INT(SECKILL_BREAKER_OPEN, state(&w, b));
    for (int i = 0; i < 10; i++) {
        CHECK_INT(0, report(&w, b, allow(&w, b), 0));
    }
    pass_open(&w, b);
    calls(&w, b, 2, 1); /* the probes */
    CHECK_INT(SECKILL_BREAKER_CLOSED, state(&w, b));
    s = stats_of(&w, b);
    CHECK_INT(0, s.rejected);
    CHECK_INT(10, s.shadow);
    CHECK_INT(14, s.allowed);
    CHECK_INT(SECKILL_OK,
              skl_breaker_force(b, SECKILL_BREAKER_FORCED_OPEN, w.now));
    CHECK_INT(0, allow(&w, b)); /* the switch is stronger */
    world_free(&w);
}

/* ---- Against a model, in every order ------------------------------------- */

/*
 * The specification, as plain as can be: lists of everything that happened,
 * in one thread. Lengths of openings are the breaker's own: each is checked to
 * be the period +- 10 %.
 */
enum { MODEL_MAX = 16, CALLS = 8, NEW_CALLS = 3 };

typedef struct {
    int kind;        /* SECKILL_BREAKER_* */
    int generation;  /* number of the state since the beginning */
    int64_t changed; /* when it began */
    int64_t until;   /* of OPEN */
    int doublings;   /* of the next opening, if it comes soon */
    int64_t report_at[MODEL_MAX];
    int report_failed[MODEL_MAX];
    int reports; /* of this generation */
    struct {
        int generation, probe; /* probe: 1 a probe, 0 not */
        int over;              /* reported or given back */
        int bad, good;
        int64_t lease;
    } call[CALLS];
    int count;
} model_t;

static void model_enter(model_t *m, int kind, int64_t now)
{
    m->kind = kind;
    m->generation++;
    m->changed = now;
    m->reports = 0;
}

static void model_open(model_t *m, int64_t now)
{
    if (m->kind == SECKILL_BREAKER_CLOSED && now - m->changed >= SEC) {
        m->doublings = 0;
    }
    model_enter(m, SECKILL_BREAKER_OPEN, now);
    m->until = -1; /* as the breaker says */
}

static int is_probe_now(const model_t *m, int i)
{
    return m->call[i].probe && m->call[i].generation == m->generation;
}

/* What the probes say: one bad or late opens, two good close. */
static void model_settle(model_t *m, int64_t now)
{
    int good = 0, bad = 0;

    if (m->kind != SECKILL_BREAKER_HALF_OPEN) {
        return;
    }
    for (int i = 0; i < m->count; i++) {
        if (is_probe_now(m, i)) {
            good += m->call[i].good;
            bad +=
                m->call[i].bad || (!m->call[i].over && now >= m->call[i].lease);
        }
    }
    if (bad) {
        model_open(m, now);
    } else if (good == 2) {
        model_enter(m, SECKILL_BREAKER_CLOSED, now);
    }
}

/* Is a call admitted? */
static int model_allow(model_t *m, int64_t now)
{
    int busy = 0;

    model_settle(m, now);
    if (m->kind == SECKILL_BREAKER_OPEN && now >= m->until && m->until > 0) {
        model_enter(m, SECKILL_BREAKER_HALF_OPEN, now);
    }
    for (int i = 0; i < m->count; i++) {
        busy += is_probe_now(m, i) && (!m->call[i].over || m->call[i].good);
    }
    if (m->kind == SECKILL_BREAKER_OPEN ||
        (m->kind == SECKILL_BREAKER_HALF_OPEN && busy == 2)) {
        return 0;
    }
    memset(&m->call[m->count], 0, sizeof(m->call[0]));
    m->call[m->count].generation = m->generation;
    m->call[m->count].probe = m->kind == SECKILL_BREAKER_HALF_OPEN;
    m->call[m->count].lease = now + 300 * MS;
    m->count++;
    return 1;
}

static void model_report(model_t *m, int failed, int64_t now)
{
    int seen = 0, errors = 0;

    m->report_at[m->reports] = now;
    m->report_failed[m->reports++] = failed;
    for (int i = 0; i < m->reports; i++) {
        if (m->report_at[i] / (100 * MS) > now / (100 * MS) - 10) {
            seen++;
            errors += m->report_failed[i];
        }
    }
    if (seen >= 2 && 2 * errors >= seen) {
        model_open(m, now);
    }
}

/* The end of call i: 'g'ood, 'b'ad, 'c'ancelled. 1: it counts. */
static int model_end(model_t *m, int i, char how, int64_t now)
{
    if (!m->call[i].probe && how == 'c') {
        m->call[i].over = 1;
        return 1;
    }
    if (m->call[i].over || m->call[i].generation != m->generation) {
        m->call[i].over = 1;
        return 0;
    }
    m->call[i].over = 1;
    if (!m->call[i].probe) {
        model_report(m, how == 'b', now);
        return 1;
    }
    m->call[i].bad = how == 'b' || now >= m->call[i].lease;
    m->call[i].good = how == 'g' && !m->call[i].bad;
    model_settle(m, now);
    return 1;
}

/* The breaker's word for when an opening ends, if it is a good one. */
static void model_adopt(model_t *m, const seckill_breaker_stats_t *s,
                        int64_t now)
{
    int64_t period = SEC << (m->doublings < 5 ? m->doublings : 5);

    if (m->kind != SECKILL_BREAKER_OPEN || m->until >= 0) {
        return;
    }
    CHECK(s->retry_ns >= period * 9 / 10 && s->retry_ns <= period * 11 / 10);
    m->until = now + s->retry_ns;
    m->doublings++;
}

/* A point of the search: breaker and model. */
typedef struct {
    breaker_world_t *w;
    skl_breaker_t *b;
    model_t m;
    uint64_t permit[CALLS];
    int most_calls;
    char path[64];
    uint64_t nodes, closings, reopenings;
} search_t;

static int same(search_t *s)
{
    const seckill_breaker_stats_t is = stats_of(s->w, s->b);
    int good;

    model_settle(&s->m, s->w->now);
    good = CHECK_INT(s->m.kind, is.state);
    model_adopt(&s->m, &is, s->w->now);
    if (!good) {
        printf("#   after %s\n", s->path);
    }
    return good;
}

static int do_allow(search_t *s)
{
    uint64_t permit = 0;
    int64_t retry = 0;
    int want = model_allow(&s->m, s->w->now);
    int got = skl_breaker_allow(s->b, s->w->now, &permit, &retry) == SECKILL_OK;

    if (got) {
        s->permit[s->m.count - (want ? 1 : 0)] = permit;
    } else {
        CHECK(retry > 0);
    }
    return CHECK_INT(want, got);
}

static int do_end(search_t *s, int i, char how)
{
    int want = model_end(&s->m, i, how, s->w->now);
    int got = how == 'c' ? skl_breaker_cancel(s->b, s->permit[i], s->w->now)
                         : report(s->w, s->b, s->permit[i], how == 'g');

    return CHECK_INT(want, got);
}

/* One action: 'a'llow; g, b, c of a call; t: to the next bucket, l: a lease,
 * o: past an opening, w: a window. 0: it is not possible here. */
static int act(search_t *s, char what, int i)
{
    switch (what) {
    case 'a':
        return s->m.count < s->most_calls && do_allow(s);
    case 't':
        s->w->now += 100 * MS;
        return 1;
    case 'l':
        s->w->now += 300 * MS;
        return 1;
    case 'w':
        s->w->now += SEC;
        return 1;
    case 'o':
        s->w->now += s->m.kind == SECKILL_BREAKER_OPEN && s->m.until > s->w->now
                         ? s->m.until - s->w->now
                         : 0;
        return s->m.kind == SECKILL_BREAKER_OPEN;
    default:
        return i < s->m.count && !s->m.call[i].over && do_end(s, i, what);
    }
}

static void search(search_t *s, int depth);

static void try_action(search_t *s, int depth, char what, int i)
{
    const skl_breaker_record_t record = *s->b->record;
    const search_t before = *s;
    const int64_t now = s->w->now;
    const size_t at = strlen(s->path);

    (void)snprintf(s->path + at, sizeof(s->path) - at, "%c%.0d", what, i);
    if (act(s, what, i) && same(s)) {
        s->closings += s->m.kind == SECKILL_BREAKER_CLOSED &&
                       before.m.kind == SECKILL_BREAKER_HALF_OPEN;
        s->reopenings += s->m.kind == SECKILL_BREAKER_OPEN &&
                         before.m.kind == SECKILL_BREAKER_HALF_OPEN;
        search(s, depth - 1);
    }
    memcpy((void *)s->b->record, &record, sizeof(record));
    s->w->now = now;
    s->m = before.m;
    memcpy(s->permit, before.permit, sizeof(s->permit));
    s->path[at] = '\0';
}

static void search(search_t *s, int depth)
{
    s->nodes++;
    if (depth == 0 || atomic_load(&tap_state.bad) > 5) {
        return;
    }
    for (const char *p = "atlwo"; *p != '\0'; p++) {
        try_action(s, depth, *p, 0);
    }
    for (int i = 0; i < s->m.count; i++) {
        for (const char *p = "gbc"; *p != '\0'; p++) {
            try_action(s, depth, *p, i);
        }
    }
}

#ifdef __SANITIZE_ADDRESS__
enum { SLOW = 1 };
#else
enum { SLOW = 0 };
#endif

/* Three calls and more, in every order with every end, from this beginning. */
static void search_from(const char *beginning, int depth)
{
    search_t s;
    breaker_world_t w;

    memset(&s, 0, sizeof(s));
    s.w = &w;
    s.b = one_breaker(&w, small_options());
    s.m.kind = SECKILL_BREAKER_CLOSED;
    s.m.changed = w.now;
    s.most_calls = CALLS;
    for (const char *p = beginning; *p != '\0'; p += 2) {
        CHECK(act(&s, p[0], p[1] - '0') && same(&s));
    }
    s.most_calls = s.m.count + NEW_CALLS;
    search(&s, tap_full() ? depth + 1 : depth - SLOW);
    printf("# after \"%s\": %llu points, %llu closings, %llu reopenings\n",
           beginning, (unsigned long long)s.nodes,
           (unsigned long long)s.closings, (unsigned long long)s.reopenings);
    CHECK(s.nodes > 1000);
    world_free(&w);
}

TEST(breaker_agrees_with_a_model_from_closed)
{
    search_from("", 7);
    search_from("a0a0", 6);
}

TEST(breaker_agrees_with_a_model_from_open)
{
    search_from("a0a0b0b1", 7);   /* tripped */
    search_from("a0a0a0b0b1", 7); /* and one call that has not ended */
    search_from("a0a0a0b0b1o0", 7);
}

TEST(breaker_agrees_with_a_model_from_half_open)
{
    search_from("a0a0b0b1o0a0", 7);
    search_from("a0a0b0b1o0a0a0", 7);
    search_from("a0a0b0b1o0a0l0o0", 7); /* a lost probe, and open again */
}

TAP_MAIN()

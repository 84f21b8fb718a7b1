/* Load shedding in one process: rules, and a simulated queue. */
#include "breaker/shed.h"
#include "breaker/shed_numbers.h"
#include "test/support/shed_world.h"

#include <math.h>

/* variants: rel */

/* ---- The gauge ----------------------------------------------------------- */

TEST(gauge_is_an_exponential_mean)
{
    skl_gauge_t *g = shared_pages(sizeof(*g));
    int64_t now = SHED_T0;
    double want = 0.2;

    CHECK(skl_gauge_read(g, now) < 0);
    skl_gauge_feed(g, 0.2, now);
    for (int i = 0; i < 20; i++) {
        now += SKL_GAUGE_PERIOD_NS;
        skl_gauge_feed(g, 1.0, now);
        want = 0.95 * want + 0.05;
        CHECK(fabs(skl_gauge_read(g, now) - want) < 1e-4);
    }
    munmap(g, sizeof(*g));
}

TEST(gauge_that_nobody_feeds_says_nothing)
{
    skl_gauge_t *g = shared_pages(sizeof(*g));
    int64_t age;

    skl_gauge_feed(g, 0.9, SHED_T0);
    CHECK(skl_gauge_read(g, SHED_T0 + 2 * SEC) > 0.8);
    CHECK(skl_gauge_read(g, SHED_T0 - SEC) > 0.8); /* an earlier time */
    CHECK(skl_gauge_read(g, SHED_T0 + 2 * SEC + MS) < 0);
    CHECK_INT(1, atomic_load(&g->stale_reads));
    CHECK(skl_gauge_peek(g, SHED_T0 + 7 * SEC, &age) > 0.8);
    CHECK_INT(7 * SEC, age);
    /* The first value after a gap is taken as it is. */
    skl_gauge_feed(g, 0.1, SHED_T0 + 10 * SEC);
    CHECK(skl_gauge_read(g, SHED_T0 + 10 * SEC) < 0.11);
    munmap(g, sizeof(*g));
}

TEST(gauge_keeps_to_0_and_1)
{
    static const double strange[] = {-1, NAN, 2, INFINITY, -INFINITY};
    skl_gauge_t *g = shared_pages(sizeof(*g));

    for (int i = 0; i < 5; i++) {
        double share;

        atomic_store(&g->word, 0);
        skl_gauge_feed(g, strange[i], SHED_T0);
        share = skl_gauge_read(g, SHED_T0);
        CHECK(share >= 0 && share <= 1);
    }
    munmap(g, sizeof(*g));
}

/* ---- Numbers ------------------------------------------------------------- */

static int try_option(seckill_shedder_options_t o)
{
    shed_world_t w;
    skl_shed_t *s;
    int rc;

    world_new(&w, 1);
    o.struct_size = sizeof(o);
    rc = skl_sheds_open(&w.sheds, "a", &o, &s);
    CHECK_INT(rc == SECKILL_OK, skl_sheds_count(&w.sheds));
    world_free(&w);
    return rc;
}

#define BAD(...)                                                               \
    CHECK_INT(SECKILL_EBADOPTION,                                              \
              try_option((seckill_shedder_options_t){__VA_ARGS__}))
#define GOOD(...)                                                              \
    CHECK_INT(SECKILL_OK, try_option((seckill_shedder_options_t){__VA_ARGS__}))

TEST(shed_numbers_are_checked)
{
    BAD(.cpu_high = 1.1);
    BAD(.cpu_high = NAN);
    BAD(.cpu_high = -0.5);
    BAD(.cpu_high = 0.5, .cpu_low = 0.6);
    BAD(.cpu_low = -1);
    BAD(.cpu_low = NAN);
    BAD(.cool_ns = 1);
    BAD(.cool_ns = -1);
    BAD(.cool_ns = INT64_MAX);
    BAD(.window_ns = 49 * MS);
    BAD(.window_ns = 3601 * SEC);
    BAD(.max_inflight = -2);
    BAD(.max_inflight = 1000001);
    BAD(.reserve = {0.5, 0.5, 0.1});
    BAD(.reserve = {1.5, -1, -1});
    BAD(.reserve = {NAN, -1, -1});
    BAD(.mode = 3);
    GOOD(.cpu_high = 1, .cpu_low = 1, .cool_ns = MS, .window_ns = 50 * MS);
    GOOD(.cpu_high = -1, .max_inflight = 1);
    GOOD(.reserve = {0.5, 0.4, 0.1});
    GOOD(.reserve = {-1, -1, 1});
}

TEST(shed_keeps_the_cpu_low_that_was_given)
{
    seckill_shedder_options_t o = {.cpu_low = 0.5};
    shed_world_t w;
    skl_shed_t *s;

    world_new(&w, 1);
    s = shedder_of(&w, "a", o);
    o = (seckill_shedder_options_t){.cpu_high = 0.9};
    CHECK(shedder_of(&w, "a", o) == s);
    skl_shed_get(s, &o);
    CHECK(fabs(o.cpu_high - 0.9) < 1e-9 && fabs(o.cpu_low - 0.5) < 1e-9);
    /* Off and on again, and below it: that does not fit. */
    o = (seckill_shedder_options_t){.struct_size = sizeof(o), .cpu_high = -1};
    CHECK_INT(SECKILL_OK, skl_shed_set(s, &o));
    o.cpu_high = 0.4;
    CHECK_INT(SECKILL_EBADOPTION, skl_shed_set(s, &o));
    o.cpu_high = 0.6;
    CHECK_INT(SECKILL_OK, skl_shed_set(s, &o));
    skl_shed_get(s, &o);
    CHECK(fabs(o.cpu_low - 0.5) < 1e-9);
    world_free(&w);
}

TEST(shed_has_defaults_and_keeps_what_is_not_given)
{
    seckill_shedder_options_t o = {.cpu_high = 0.5};
    shed_world_t w;
    skl_shed_t *s;

    world_new(&w, 1);
    REQUIRE(skl_sheds_open(&w.sheds, "a", NULL, &s) == SECKILL_OK);
    CHECK(shedder_of(&w, "a", o) == s);
    skl_shed_get(s, &o);
    CHECK(fabs(o.cpu_high - 0.5) < 1e-9 && fabs(o.cpu_low - 0.45) < 1e-9);
    CHECK_INT(SEC, o.cool_ns);
    CHECK_INT(5 * SEC, o.window_ns);
    CHECK_INT(-1, o.max_inflight);
    CHECK(fabs(o.reserve[2] - 0.1) < 1e-9);
    o.reserve[0] = -1;
    o.window_ns = 0;
    CHECK_INT(SECKILL_OK, skl_shed_set(s, &o));
    o.cpu_high = 2;
    o.max_inflight = 5;
    CHECK_INT(SECKILL_EBADOPTION, skl_shed_set(s, &o));
    skl_shed_get(s, &o);
    CHECK_INT(-1, o.max_inflight);
    CHECK_INT(SECKILL_EFULL,
              skl_sheds_open(
                  &w.sheds, "b",
                  &(seckill_shedder_options_t){.struct_size = sizeof(o)}, &s));
    CHECK_INT(SECKILL_EBADNAME, skl_sheds_open(&w.sheds, "B", NULL, &s));
    world_free(&w);
}

/* ---- In flight ----------------------------------------------------------- */

TEST(shed_max_inflight_is_exact)
{
    seckill_shedder_options_t o = {.cpu_high = -1, .max_inflight = 5};
    uint64_t permit[6];
    int64_t retry = 0;
    shed_world_t w;
    skl_shed_t *s;

    world_new(&w, 1);
    s = shedder_of(&w, "a", o);
    for (int i = 0; i < 5; i++) {
        permit[i] = admit_in(&w, s, i, SECKILL_PRIORITY_NORMAL);
        CHECK(permit[i] > 0 && permit[i] < UINT64_C(1) << 53);
    }
    CHECK_INT(SECKILL_EOVERLOADED,
              skl_shed_admit(s, 7, 3, w.now, &permit[5], &retry));
    CHECK(retry > 0);
    CHECK_INT(1, skl_shed_done(s, permit[0], 1, -1, w.now));
    CHECK_INT(0, skl_shed_done(s, permit[0], 1, -1, w.now));
    CHECK(admit_in(&w, s, -1, 2) != 0);
    CHECK_INT(0, admit_in(&w, s, 3, 2));
    CHECK_INT(5, stats_of(&w, s).inflight[2]);
    CHECK_INT(1, stats_of(&w, s).shed[2]);
    CHECK_INT(1, stats_of(&w, s).shed[3]);
    world_free(&w);
}

TEST(shed_lost_process_gives_back_what_it_had)
{
    seckill_shedder_options_t o = {.cpu_high = -1, .max_inflight = 8};
    shed_world_t w;
    skl_shed_t *a, *b;

    world_new(&w, 2);
    a = shedder_of(&w, "a", o);
    b = shedder_of(&w, "b", o);
    for (int i = 0; i < 8; i++) {
        CHECK(admit_in(&w, a, 3, (uint32_t)i % 4) != 0);
        CHECK(admit_in(&w, b, 4, 3) != 0);
    }
    CHECK_INT(0, admit_in(&w, a, 5, 3));
    skl_sheds_reap(&w.sheds, 3);
    skl_sheds_reap(&w.sheds, 3);
    CHECK(admit_in(&w, a, 5, 3) != 0);
    CHECK_INT(8, stats_of(&w, a).lost);
    CHECK_INT(0, admit_in(&w, b, 5, 3));
    CHECK_INT(0, stats_of(&w, b).lost);
    world_free(&w);
}

TEST(shed_knows_its_permits)
{
    static const uint64_t strange[] = {0, 1, UINT64_MAX, UINT64_C(1) << 53,
                                       UINT64_C(1) << 52 | 511 << 8};
    shed_world_t w;
    skl_shed_t *a, *b;
    uint64_t permit;

    world_new(&w, 2);
    a = shedder_of(&w, "a", (seckill_shedder_options_t){0});
    b = shedder_of(&w, "b", (seckill_shedder_options_t){0});
    permit = admit(&w, b, 2);
    CHECK_INT(SECKILL_EBADVALUE, skl_shed_done(a, permit, 1, -1, w.now));
    for (int i = 0; i < 5; i++) {
        CHECK_INT(SECKILL_EBADVALUE,
                  skl_shed_done(a, strange[i], 1, -1, w.now));
    }
    CHECK_INT(SECKILL_EBADVALUE,
              skl_shed_admit(a, 0, 4, w.now, &permit, &(int64_t){0}));
    CHECK_INT(1, stats_of(&w, b).inflight[2]);
    world_free(&w);
}

TEST(shed_measures_the_latency_itself)
{
    shed_world_t w;
    skl_shed_t *s;
    uint64_t permit;

    world_new(&w, 1);
    s = shedder_of(&w, "a", (seckill_shedder_options_t){0});
    permit = admit(&w, s, 2);
    w.now += 1234 * US;
    CHECK_INT(1, skl_shed_done(s, permit, 1, -1, w.now));
    CHECK(llabs(stats_of(&w, s).min_rt_ns - 1234 * US) <= US);
    permit = admit(&w, s, 2);
    w.now += 100 * MS;
    CHECK_INT(1, skl_shed_cancel(s, permit));
    CHECK_INT(0, skl_shed_cancel(s, permit));
    CHECK(llabs(stats_of(&w, s).min_rt_ns - 1234 * US) <= US);
    CHECK_INT(1, stats_of(&w, s).succeeded);
    world_free(&w);
}

/* ---- The limit ----------------------------------------------------------- */

/* c servers that are always busy with requests of `service` ns, for a while. */
static void work(shed_world_t *w, skl_shed_t *s, int servers, int64_t service,
                 int64_t how_long, int ok)
{
    uint64_t permit[64];
    const int64_t until = w->now + how_long;

    while (w->now < until) {
        for (int i = 0; i < servers; i++) {
            permit[i] = admit(w, s, 3);
            CHECK(permit[i] != 0);
        }
        w->now += service;
        for (int i = 0; i < servers; i++) {
            CHECK_INT(1, skl_shed_done(s, permit[i], ok, service, w->now));
        }
    }
}

TEST(shed_limit_of_a_fast_service_is_right)
{
    static const int64_t services[] = {20 * US, 100 * US, 999 * US, 10 * MS};

    for (int i = 0; i < 4; i++) {
        shed_world_t w;
        skl_shed_t *s;
        double limit;

        world_new(&w, 1);
        s = shedder_of(&w, "a", (seckill_shedder_options_t){0});
        work(&w, s, 8, services[i], 2 * SEC, 1);
        limit = stats_of(&w, s).limit;
        printf("# %lld us: limit %.2f\n", (long long)(services[i] / US), limit);
        CHECK(limit >= 7 && limit <= 9);
        world_free(&w);
    }
}

TEST(shed_limit_shrinks_when_all_time_out)
{
    shed_world_t w;
    skl_shed_t *s;

    world_new(&w, 1);
    s = shedder_of(&w, "a", (seckill_shedder_options_t){0});
    work(&w, s, 32, 10 * MS, 5 * SEC, 1);
    CHECK(stats_of(&w, s).limit > 28);
    work(&w, s, 32, 500 * MS, 6 * SEC, 0); /* a constant time, but time-outs */
    CHECK(stats_of(&w, s).limit < 1);
    cpu_is(&w, 0.9);
    CHECK(admit(&w, s, 2) != 0); /* never less than one, and one to come */
    CHECK(admit(&w, s, 2) != 0);
    CHECK_INT(0, admit(&w, s, 2));
    world_free(&w);
}

/* What is remembered of buckets of another length must not be taken for
 * buckets of this one. */
TEST(shed_limit_stays_when_the_window_changes)
{
    static const int64_t windows[] = {500 * MS, 5 * SEC, 50 * SEC};

    for (int i = 0; i < 3; i++) {
        seckill_shedder_options_t o = {.struct_size = sizeof(o)};
        shed_world_t w;
        skl_shed_t *s;
        double limit;

        world_new(&w, 1);
        s = shedder_of(&w, "a", (seckill_shedder_options_t){0});
        work(&w, s, 8, MS, 4 * SEC, 1);
        o.window_ns = windows[i];
        CHECK_INT(SECKILL_OK, skl_shed_set(s, &o));
        work(&w, s, 8, MS, 4 * SEC, 1);
        limit = stats_of(&w, s).limit;
        printf("# %lld ms: limit %.2f\n", (long long)(windows[i] / MS), limit);
        CHECK(limit >= 7 && limit <= 9);
        world_free(&w);
    }
}

TEST(shed_learns_after_many_changes_of_the_window)
{
    seckill_shedder_options_t o = {.struct_size = sizeof(o)};
    shed_world_t w;
    skl_shed_t *s;

    world_new(&w, 1);
    s = shedder_of(&w, "a", (seckill_shedder_options_t){0});
    work(&w, s, 8, MS, 6 * SEC, 1);
    for (int i = 0; i < 200; i++) {
        o.window_ns = i % 2 == 0 ? 10 * SEC : 5 * SEC;
        CHECK_INT(SECKILL_OK, skl_shed_set(s, &o));
    }
    work(&w, s, 8, MS, 2 * SEC, 1);
    CHECK(stats_of(&w, s).limit >= 7);
    world_free(&w);
}

/* The last value was high, and nobody samples any more: that says nothing, so a
 * service that has become slower is believed, as without a sampler. */
TEST(shed_learns_while_the_value_of_the_cpu_is_stale)
{
    shed_world_t w;
    skl_shed_t *s;

    world_new(&w, 1);
    s = shedder_of(&w, "a", (seckill_shedder_options_t){0});
    work(&w, s, 4, MS, 4 * SEC, 1);
    cpu_is(&w, 0.9);
    w.now += 3 * SEC;
    for (int i = 0; i < 60; i++) {
        work(&w, s, 4, 2 * MS, 2 * SEC, 1);
    }
    CHECK(stats_of(&w, s).min_rt_ns > 19 * MS / 10);
    world_free(&w);
}

/* ---- When it sheds ------------------------------------------------------- */

/* The window says 8, which with a line is 16.5; how many come in? */
static int room(shed_world_t *w, skl_shed_t *s, uint32_t priority)
{
    int n = 0;

    while (n < 100 && admit(w, s, priority) != 0) {
        n++;
    }
    return n;
}

static skl_shed_t *with_limit_8(shed_world_t *w, seckill_shedder_options_t o)
{
    skl_shed_t *s;

    world_new(w, 1);
    s = shedder_of(w, "a", o);
    work(w, s, 8, MS, SEC, 1);
    w->now += SEC;
    return s;
}

TEST(shed_sheds_when_the_cpu_is_high_and_no_room_is_left)
{
    shed_world_t w;
    skl_shed_t *s = with_limit_8(&w, (seckill_shedder_options_t){0});

    CHECK_INT(100, room(&w, s, 2)); /* nobody samples */
    CHECK(stats_of(&w, s).stale >= 100);
    skl_sheds_reap(&w.sheds, 0);
    cpu_is(&w, 0.79);
    CHECK_INT(100, room(&w, s, 2));
    skl_sheds_reap(&w.sheds, 0);
    cpu_is(&w, 0.80);
    CHECK_INT(17, room(&w, s, 2)); /* 8 + 3 sqrt(8), and one to come */
    CHECK_INT(1, stats_of(&w, s).shedding);
    w.now += 3 * SEC; /* the value is too old */
    CHECK_INT(100, room(&w, s, 2));
    world_free(&w);
}

/* The CPU is between low and high: it sheds until `cool` after the LAST drop,
 * however long the overload was. */
TEST(shed_goes_on_after_the_last_drop)
{
    shed_world_t w;
    skl_shed_t *s;

    world_new(&w, 1);
    s = shedder_of(&w, "a",
                   (seckill_shedder_options_t){.window_ns = 500 * SEC});
    work(&w, s, 8, MS, 20 * SEC, 1);
    w.now += 10 * SEC;
    cpu_is(&w, 0.9);
    CHECK_INT(17, room(&w, s, 2));
    for (int i = 0; i < 50; i++) { /* 5 s of overload */
        w.now += 100 * MS;
        cpu_is(&w, 0.9);
        CHECK_INT(0, admit(&w, s, 2));
    }
    w.now += 900 * MS;
    cpu_is(&w, 0.75);
    CHECK_INT(0, admit(&w, s, 2)); /* and that is a drop again */
    w.now += 999 * MS;
    cpu_is(&w, 0.75);
    CHECK_INT(0, admit(&w, s, 2));
    w.now += 1 * MS;
    cpu_is(&w, 0.71);
    CHECK(admit(&w, s, 2) != 0); /* below low */
    w.now += 1000 * MS;
    cpu_is(&w, 0.75);
    CHECK(admit(&w, s, 2) != 0); /* cooled down */
    world_free(&w);
}

TEST(shed_shadow_counts_and_refuses_nothing)
{
    shed_world_t w;
    skl_shed_t *s = with_limit_8(
        &w, (seckill_shedder_options_t){.mode = SECKILL_LIMIT_SHADOW});

    cpu_is(&w, 0.9);
    CHECK_INT(100, room(&w, s, 2));
    CHECK_INT(83, stats_of(&w, s).shadow);
    CHECK_INT(0, stats_of(&w, s).shed[2]);
    CHECK_INT(100, stats_of(&w, s).inflight[2]);
    world_free(&w);
}

TEST(shed_lowest_priority_goes_first)
{
    seckill_shedder_options_t o = {.reserve = {0.25, 0.25, 0.25},
                                   .max_inflight = 30};
    shed_world_t w;
    skl_shed_t *s = with_limit_8(&w, o);

    cpu_is(&w, 0.9);
    CHECK_INT(9, room(&w, s, 0)); /* 4.1 + 4.1 are kept for 1 and 2 */
    CHECK_INT(4, room(&w, s, 1)); /* 4.1 are kept for 2 */
    CHECK_INT(4, room(&w, s, 2));
    CHECK_INT(13, room(&w, s, 3)); /* the hard limit alone */
    world_free(&w);
}

TEST(shed_low_priority_keeps_its_share)
{
    seckill_shedder_options_t o = {.reserve = {0.25, 0.125, 0.1}};
    shed_world_t w;
    skl_shed_t *s = with_limit_8(&w, o);

    cpu_is(&w, 0.9);
    CHECK_INT(17, room(&w, s, 2));
    CHECK_INT(2, room(&w, s, 1));
    CHECK_INT(4, room(&w, s, 0));
    CHECK_INT(0, room(&w, s, 2));
    world_free(&w);
}

/* ---- A simulated queue --------------------------------------------------- */

/*
 * M/M/c: requests come at random, `load` times what c servers can do, and wait
 * in one line. The CPU is busy servers / c. What is asked: how many per second
 * are done, and how long they take.
 */
enum { SERVERS_MAX = 64, SYSTEM_MAX = 1 << 20, LATENCIES = 1 << 20 };

typedef struct {
    int64_t at, came;
    uint64_t permit;
} job_t;

typedef struct {
    shed_world_t w;
    skl_shed_t *s;
    uint64_t random;
    int servers;
    int64_t service;
    int64_t free_at[SERVERS_MAX];
    job_t *heap; /* those inside, by the time they leave */
    int inside;
    double busy_ns; /* since the last sample of the CPU */
    int64_t seen_at, sampled_at;
    int64_t *latency;
    int done, counting;
} queue_t;

static double uniform(queue_t *q)
{
    q->random ^= q->random << 13;
    q->random ^= q->random >> 7;
    q->random ^= q->random << 17;
    return ((double)(q->random >> 11) + 0.5) * 0x1p-53;
}

/* The natural logarithm of 0 < x < 1: by halves, then a series. */
static double natural_log(double x)
{
    double log = 0, y, power, sum = 0;

    for (; x < 0.75; x *= 2) {
        log -= 0.69314718055994531;
    }
    y = power = (x - 1) / (x + 1);
    for (int k = 1; k < 30; k += 2, power *= y * y) {
        sum += power / k;
    }
    return log + 2 * sum;
}

static int64_t exponential(queue_t *q, double mean)
{
    return (int64_t)(-mean * natural_log(uniform(q)));
}

static void sift_up(queue_t *q, int i)
{
    while (i > 0 && q->heap[(i - 1) / 2].at > q->heap[i].at) {
        job_t t = q->heap[i];

        q->heap[i] = q->heap[(i - 1) / 2];
        q->heap[(i - 1) / 2] = t;
        i = (i - 1) / 2;
    }
}

static void sift_down(queue_t *q)
{
    int i = 0, c;

    while ((c = 2 * i + 1) < q->inside) {
        job_t t = q->heap[i];

        c += c + 1 < q->inside && q->heap[c + 1].at < q->heap[c].at;
        if (q->heap[c].at >= t.at) {
            return;
        }
        q->heap[i] = q->heap[c];
        q->heap[c] = t;
        i = c;
    }
}

/* Time passes up to `now`; a sample of the CPU each 250 ms. */
static void pass_to(queue_t *q, int64_t now)
{
    const int busy = q->inside < q->servers ? q->inside : q->servers;

    q->busy_ns += (double)busy * (double)(now - q->seen_at);
    q->seen_at = now;
    q->w.now = now;
    if (now - q->sampled_at >= 250 * MS) {
        skl_gauge_feed(q->w.gauge,
                       q->busy_ns / (double)(now - q->sampled_at) / q->servers,
                       now);
        q->busy_ns = 0;
        q->sampled_at = now;
    }
}

static void leave_first(queue_t *q)
{
    const job_t job = q->heap[0];

    pass_to(q, job.at);
    q->heap[0] = q->heap[--q->inside];
    sift_down(q);
    if (job.permit != 0) {
        CHECK_INT(1, skl_shed_done(q->s, job.permit, 1, -1, job.at));
    }
    if (q->counting && q->done < LATENCIES) {
        q->latency[q->done++] = job.at - job.came;
    }
}

static void come_in(queue_t *q, int64_t now, int shedding)
{
    uint64_t permit = 0;
    int best = 0;

    pass_to(q, now);
    if (shedding && (permit = admit(&q->w, q->s, 2)) == 0) {
        return;
    }
    for (int i = 1; i < q->servers; i++) {
        best = q->free_at[i] < q->free_at[best] ? i : best;
    }
    if (q->free_at[best] < now) {
        q->free_at[best] = now;
    }
    q->free_at[best] += exponential(q, (double)q->service);
    if (q->inside < SYSTEM_MAX) {
        q->heap[q->inside] = (job_t){q->free_at[best], now, permit};
        sift_up(q, q->inside++);
    }
}

static void run(queue_t *q, double load, int64_t until, int shedding)
{
    const double gap = (double)q->service / q->servers / load;
    int64_t next = q->w.now + exponential(q, gap);

    while (next < until) {
        if (q->inside > 0 && q->heap[0].at <= next) {
            leave_first(q);
        } else {
            come_in(q, next, shedding);
            next += exponential(q, gap);
        }
    }
}

static int by_length(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* What share of the servers' best was done, and the 99th percentile. */
static double simulate(int servers, int64_t service, double load, int shedding,
                       int64_t *p99)
{
    const int64_t warm_up = 120 * SEC;
    const int64_t time = tap_full() ? 60 * SEC : 4 * SEC;
    static queue_t q;
    double share;

    memset(&q, 0, sizeof(q));
    world_new(&q.w, 1);
    q.s = shedder_of(&q.w, "a", (seckill_shedder_options_t){0});
    q.random = tap_seed(88172645463325252u);
    q.servers = servers;
    q.service = service;
    q.heap = calloc(SYSTEM_MAX, sizeof(*q.heap));
    q.latency = calloc(LATENCIES, sizeof(*q.latency));
    q.seen_at = q.sampled_at = q.w.now;
    run(&q, load < 0.5 ? load : 0.5, SHED_T0 + 10 * SEC, shedding);
    run(&q, load, SHED_T0 + warm_up, shedding);
    q.counting = 1;
    run(&q, load, SHED_T0 + warm_up + time, shedding);
    share = (double)q.done * (double)service / servers / (double)time;
    qsort(q.latency, (size_t)q.done, sizeof(q.latency[0]), by_length);
    *p99 = q.done > 0 ? q.latency[q.done * 99 / 100] : 0;
    free(q.heap);
    free(q.latency);
    world_free(&q.w);
    return share;
}

static void simulate_loads(int servers, int64_t service)
{
    static const double loads[] = {0.5, 0.8, 0.9, 1, 1.2, 1.5, 2, 3, 5};
    int64_t calm, p99;

    (void)simulate(servers, service, 0.1, 0, &calm);
    for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
        double done = simulate(servers, service, loads[i], 1, &p99);
        double due = loads[i] < 1 ? loads[i] : 1;

        printf("# %d servers, load %.1f: done %.3f, p99 %.2f x unloaded\n",
               servers, loads[i], done, (double)p99 / (double)calm);
        CHECK(done >= 0.9 * due);
        CHECK(p99 <= 2 * calm);
    }
}

TEST(shed_keeps_a_queue_of_64_servers_fast)
{
    simulate_loads(64, 10 * MS);
}

TEST(shed_keeps_a_queue_of_8_servers_fast)
{
    simulate_loads(8, 2 * MS);
}

TEST(shed_is_what_keeps_it_fast)
{
    int64_t calm, p99;

    (void)simulate(64, 10 * MS, 0.1, 0, &calm);
    (void)simulate(64, 10 * MS, 1.5, 0, &p99);
    CHECK(p99 > 20 * calm);
}

TAP_MAIN()

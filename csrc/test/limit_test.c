/* The token-bucket limiter in one process: virtual clock, threads, models. */
#include "limit/limits.h"
#include "limit/layout.h"
#include "limit/take.h"
#include "test/support/tap.h"

#include <math.h>
#include <pthread.h>
#include <sys/mman.h>

#define SEC INT64_C(1000000000)
#define HOUR (3600 * SEC)
#define YEAR (365 * 24 * HOUR)

typedef struct {
    void *section;
    size_t bytes;
    skl_counters_shm_t *counters_shm;
    skl_counters_t counters;
    skl_limits_t limits;
} world_t;

static void *pages(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return p;
}

static void world_new(world_t *w, uint32_t limit_keys, uint32_t limiters)
{
    const skl_hash_key_t key = {0x0123456789abcdef, 0xfedcba9876543210};
    const skl_limits_size_t size = {
        .keys = limit_keys, .limiters = limiters, .overrides = 8};

    w->bytes = skl_limits_bytes(&size);
    w->section = pages(w->bytes);
    w->counters_shm = pages(sizeof(*w->counters_shm));
    skl_counters_init(w->counters_shm);
    skl_counters_attach(&w->counters, w->counters_shm);
    skl_limits_init(w->section, &size);
    skl_limits_attach(&w->limits, w->section, &key, &w->counters);
}

static void world_free(world_t *w)
{
    skl_limits_detach(&w->limits);
    munmap(w->section, w->bytes);
    munmap(w->counters_shm, sizeof(*w->counters_shm));
}

static seckill_limit_t limit_of(double rate, double burst)
{
    return (seckill_limit_t){.struct_size = sizeof(seckill_limit_t),
                             .algorithm = SECKILL_TOKEN_BUCKET,
                             .rate = rate,
                             .burst = burst};
}

static skl_limiter_t *limiter(world_t *w, const char *name, double rate,
                              double burst, int64_t now)
{
    seckill_limit_t limit = limit_of(rate, burst);
    skl_limiter_t *lim = NULL;

    if (!CHECK_INT(SECKILL_OK,
                   skl_limits_open(&w->limits, name, &limit, now, &lim))) {
        exit(1);
    }
    return lim;
}

static int ask(skl_limiter_t *lim, const char *key, skl_limit_ask_t *a)
{
    skl_limit_place_t place;

    skl_limiter_locate(lim, key, strlen(key), &place);
    return skl_limiter_take(lim, &place, a);
}

static int take_n(skl_limiter_t *lim, const char *key, uint32_t cost,
                  int64_t now, skl_limit_ticket_t *ticket)
{
    skl_limit_ask_t a = {
        .now_ns = now, .cost = cost, .commit = 1, .ticket = ticket};

    return ask(lim, key, &a);
}

static int take(skl_limiter_t *lim, const char *key, int64_t now)
{
    return take_n(lim, key, 1, now, NULL);
}

/* Tokens that can be taken now, one by one. */
static int drain(skl_limiter_t *lim, const char *key, int64_t now)
{
    int n = 0;

    while (n < 1000000 && take(lim, key, now) == SECKILL_OK) {
        n++;
    }
    return n;
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static uint64_t event(const world_t *w, int which)
{
    return skl_limits_counted(&w->limits, which);
}

/* ---- Numbers, names, records --------------------------------------------- */

TEST(limit_numbers_are_checked)
{
    static const double bad[][2] = {
        {0, 1},   {-1, 1}, {0.9e-7, 1}, {1.1e7, 1}, {NAN, 1},  {INFINITY, 1},
        {1, 0.5}, {1, -1}, {1, 1.1e9},  {1, NAN},   {1e-7, 2}, {1, 1.9e7}};
    static const double good[][2] = {
        {1e-7, 1}, {1e7, 1e9}, {1, 1.8e7}, {0.3, 1.5}, {1, 1}};
    skl_limiter_t *lim;
    seckill_limit_t limit;
    world_t w;

    world_new(&w, 16, 64);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        limit = limit_of(bad[i][0], bad[i][1]);
        CHECK_INT(SECKILL_EBADOPTION,
                  skl_limits_open(&w.limits, "a", &limit, 1, &lim));
    }
    CHECK_INT(0, skl_limits_count(&w.limits));
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        char name[8] = {(char)('a' + (int)i)};

        lim = limiter(&w, name, good[i][0], good[i][1], 1);
        skl_limiter_get(lim, &limit);
        CHECK(limit.rate >= good[i][0] && limit.rate <= good[i][0]);
        CHECK(limit.burst >= good[i][1] && limit.burst <= good[i][1]);
        CHECK_INT(SECKILL_OK, take_n(lim, "k", (uint32_t)good[i][1], 1, NULL));
        CHECK_INT(SECKILL_EREJECTED, take(lim, "k", 1));
    }
    world_free(&w);
}

TEST(limit_burst_defaults_to_a_hundredth_of_a_second)
{
    seckill_limit_t limit;
    world_t w;

    world_new(&w, 16, 4);
    skl_limiter_get(limiter(&w, "a", 1000, 0, 1), &limit);
    CHECK_INT(10, (int)limit.burst);
    CHECK_INT(SECKILL_LIMIT_ENFORCE, limit.mode);
    CHECK_INT(SECKILL_TOKEN_BUCKET, limit.algorithm);
    skl_limiter_get(limiter(&w, "b", 5, 0, 1), &limit);
    CHECK_INT(1, (int)limit.burst);
    world_free(&w);
}

TEST(limit_names_are_checked)
{
    static const char *const bad[] = {
        "", "A", "a b", "a/b", "123456789012345678901234567890123", "\xff"};
    seckill_limit_t limit = limit_of(1, 1);
    skl_limiter_t *lim;
    world_t w;

    world_new(&w, 16, 4);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK_INT(SECKILL_EBADNAME,
                  skl_limits_open(&w.limits, bad[i], &limit, 1, &lim));
    }
    CHECK_INT(SECKILL_EBADNAME,
              skl_limits_open(&w.limits, NULL, &limit, 1, &lim));
    CHECK_INT(SECKILL_OK,
              skl_limits_open(&w.limits, "12345678901234567890123456789012",
                              &limit, 1, &lim));
    world_free(&w);
}

TEST(limit_open_attaches_changes_and_fills)
{
    seckill_limit_t limit = limit_of(1, 1);
    skl_limiter_t *a;
    skl_limiter_t *b;
    world_t w;

    world_new(&w, 16, 2);
    a = limiter(&w, "a", 1, 5, 1);
    CHECK_INT(SECKILL_OK, skl_limits_open(&w.limits, "a", NULL, 1, &b));
    CHECK(a == b);
    CHECK_INT(5, drain(b, "k", 1));
    CHECK(a == limiter(&w, "a", 1, 7, 1));
    CHECK_INT(2, drain(a, "k", 1));
    CHECK_INT(SECKILL_EBADOPTION,
              skl_limits_open(&w.limits, "new", NULL, 1, &b));
    limiter(&w, "b", 1, 1, 1);
    CHECK_INT(SECKILL_EFULL, skl_limits_open(&w.limits, "c", &limit, 1, &b));
    limit.algorithm = SECKILL_CONCURRENCY + 1;
    CHECK_INT(SECKILL_EBADOPTION,
              skl_limits_open(&w.limits, "a", &limit, 1, &b));
    limit = limit_of(1, 1);
    limit.mode = SECKILL_LIMIT_OFF + 1;
    CHECK_INT(SECKILL_EBADOPTION, skl_limiter_set(a, &limit, 1));
    limit = limit_of(1, 1);
    limit.struct_size = 8;
    CHECK_INT(SECKILL_EBADOPTION, skl_limiter_set(a, &limit, 1));
    world_free(&w);
}

TEST(limit_keys_of_two_limiters_are_apart)
{
    world_t w;

    world_new(&w, 16, 2);
    CHECK_INT(3, drain(limiter(&w, "a", 1, 3, 1), "k", 1));
    CHECK_INT(4, drain(limiter(&w, "b", 1, 4, 1), "k", 1));
    CHECK_INT(3, drain(limiter(&w, "a", 1, 3, 1), "k2", 1));
    world_free(&w);
}

/* ---- The bucket ---------------------------------------------------------- */

TEST(limit_burst_then_refill)
{
    skl_limiter_t *lim;
    world_t w;

    world_new(&w, 16, 2);
    lim = limiter(&w, "a", 10, 3, SEC);
    CHECK_INT(3, drain(lim, "k", SEC));
    CHECK_INT(0, drain(lim, "k", SEC + SEC / 10 - 1));
    CHECK_INT(1, drain(lim, "k", SEC + SEC / 10));
    CHECK_INT(2, drain(lim, "k", SEC + 3 * SEC / 10));
    CHECK_INT(3, drain(lim, "k", 100 * SEC));
    world_free(&w);
}

/* abs() instead of max(): rest would look like debt, a step back like rest. */
TEST(limit_idle_bucket_is_full)
{
    skl_limiter_t *lim;
    world_t w;

    world_new(&w, 16, 2);
    lim = limiter(&w, "a", 10, 3, SEC);
    CHECK_INT(SECKILL_OK, take(lim, "k", SEC));
    CHECK_INT(3, drain(lim, "k", HOUR));
    CHECK_INT(3, drain(lim, "k", 30 * 24 * HOUR));
    world_free(&w);
}

TEST(limit_clock_that_steps_back_gives_nothing)
{
    skl_limiter_t *lim;
    int admitted = 0;
    world_t w;

    world_new(&w, 16, 2);
    lim = limiter(&w, "a", 100, 1, 2 * HOUR);
    for (int i = 0; i < 1000; i++) {
        int64_t skew = i % 2 == 0 ? 0 : -10 * SEC / 1000;

        admitted += take(lim, "k", 2 * HOUR + skew) == SECKILL_OK;
    }
    CHECK_INT(1, admitted);
    CHECK_INT(0, drain(lim, "k", HOUR));
    CHECK_INT(1, drain(lim, "k", 2 * HOUR + SEC / 100));
    world_free(&w);
}

TEST(limit_remaining_and_retry)
{
    skl_limit_ask_t a = {.now_ns = SEC, .cost = 3, .commit = 1};
    skl_limiter_t *lim;
    world_t w;

    world_new(&w, 16, 2);
    lim = limiter(&w, "a", 7, 10, SEC);
    CHECK_INT(SECKILL_OK, ask(lim, "k", &a));
    CHECK_INT(7, a.remaining);
    a.cost = 8;
    CHECK_INT(SECKILL_EREJECTED, ask(lim, "k", &a));
    CHECK_INT(142857143, a.retry_ns);
    a.now_ns += a.retry_ns - 1;
    CHECK_INT(SECKILL_EREJECTED, ask(lim, "k", &a));
    CHECK_INT(1, a.retry_ns);
    a.now_ns += 1;
    CHECK_INT(SECKILL_OK, ask(lim, "k", &a));
    CHECK_INT(0, a.remaining);
    a.cost = 11;
    CHECK_INT(SECKILL_EREJECTED, ask(lim, "k", &a));
    CHECK_INT(-1, a.retry_ns);
    a.cost = UINT32_MAX;
    CHECK_INT(SECKILL_EREJECTED, ask(lim, "k", &a));
    CHECK_INT(-1, a.retry_ns);
    world_free(&w);
}

TEST(limit_refusals_and_peeks_take_nothing)
{
    skl_limit_ask_t a = {.now_ns = SEC, .cost = 1, .commit = 0};
    skl_limiter_t *lim;
    world_t w;

    world_new(&w, 16, 2);
    lim = limiter(&w, "a", 1, 2, SEC);
    for (int i = 0; i < 100; i++) {
        CHECK_INT(SECKILL_OK, ask(lim, "k", &a));
        CHECK_INT(1, a.remaining);
    }
    CHECK_INT(2, drain(lim, "k", SEC));
    for (int i = 0; i < 100; i++) {
        CHECK_INT(SECKILL_EREJECTED, take(lim, "k", SEC));
        CHECK_INT(SECKILL_EREJECTED, ask(lim, "k", &a));
        CHECK_INT(SEC, a.retry_ns);
    }
    CHECK_INT(1, drain(lim, "k", 2 * SEC));
    world_free(&w);
}

TEST(limit_shadow_counts_and_refuses_nothing)
{
    seckill_limit_t shadow = {.struct_size = sizeof(shadow),
                              .mode = SECKILL_LIMIT_SHADOW};
    seckill_limit_t enforce = {.struct_size = sizeof(shadow),
                               .mode = SECKILL_LIMIT_ENFORCE};
    skl_limit_ticket_t ticket;
    skl_limiter_t *lim;
    world_t w;

    world_new(&w, 16, 2);
    lim = limiter(&w, "a", 1, 2, SEC);
    CHECK_INT(SECKILL_OK, skl_limiter_set(lim, &shadow, SEC));
    for (int i = 0; i < 10; i++) {
        CHECK_INT(SECKILL_OK, take_n(lim, "k", 1, SEC, &ticket));
    }
    CHECK_INT(8, event(&w, SKL_LIMIT_SHADOWED));
    CHECK_INT(0, skl_limiter_undo(lim, &ticket, SEC));
    CHECK_INT(SECKILL_OK, take_n(lim, "k", 3, SEC, NULL));
    CHECK_INT(9, event(&w, SKL_LIMIT_SHADOWED));
    CHECK_INT(SECKILL_OK, skl_limiter_set(lim, &enforce, SEC));
    CHECK_INT(0, drain(lim, "k", SEC));
    world_free(&w);
}

TEST(limit_set_acts_at_once)
{
    seckill_limit_t fast = limit_of(100, 10);
    seckill_limit_t slow = limit_of(1, 2);
    skl_limiter_t *lim;
    world_t w;

    world_new(&w, 16, 2);
    lim = limiter(&w, "a", 1.0 / 3600, 5, SEC);
    CHECK_INT(5, drain(lim, "k", SEC));
    CHECK_INT(0, drain(lim, "k", 2 * SEC));
    CHECK_INT(SECKILL_OK, skl_limiter_set(lim, &fast, 3 * SEC));
    CHECK_INT(0, drain(lim, "k", 3 * SEC));
    CHECK_INT(1, drain(lim, "k", 3 * SEC + SEC / 100));
    CHECK_INT(10, drain(lim, "k", 4 * SEC));
    CHECK_INT(SECKILL_OK, skl_limiter_set(lim, &slow, 4 * SEC));
    CHECK_INT(1, drain(lim, "k", 4 * SEC));
    CHECK_INT(2, drain(lim, "k", 7 * SEC));
    world_free(&w);
}

/* The products and sums of instants wrap: nothing may come of it. */
TEST(limit_holds_at_the_ends_of_time)
{
    static const int64_t wrap = INT64_C(1) << 56;
    const int64_t starts[] = {1,
                              wrap / 2 - SEC,
                              wrap - SEC,
                              wrap - SEC / 20,
                              3 * wrap - 1,
                              INT64_MAX - 100 * SEC,
                              -SEC / 20,
                              INT64_MIN};

    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        int64_t t = starts[i];
        skl_limiter_t *lim;
        world_t w;

        world_new(&w, 16, 2);
        lim = limiter(&w, "a", 10, 3, t);
        CHECK_INT(3, drain(lim, "k", t));
        CHECK_INT(0, drain(lim, "k", t + SEC / 10 - 1));
        CHECK_INT(1, drain(lim, "k", t + SEC / 10));
        CHECK_INT(3, drain(lim, "k", t + 10 * SEC));
        CHECK_INT(0, drain(lim, "k", t + 10 * SEC));
        lim = limiter(&w, "slow", 1e-7, 1, t);
        CHECK_INT(1, drain(lim, "k", t));
        CHECK_INT(0, drain(lim, "k", t + 90 * SEC));
        world_free(&w);
    }
}

TEST(limit_sweep_empties_what_rests)
{
    skl_limiter_t *lim;
    int64_t t = SEC;
    uint32_t emptied = 0;
    world_t w;

    world_new(&w, 64, 2);
    lim = limiter(&w, "a", 1, 2, t);
    CHECK_INT(2, drain(lim, "live", t));
    CHECK_INT(2, drain(lim, "rests", t));
    CHECK_INT(1, drain(lim, "live", t + SEC));
    t += 2 * SEC;
    emptied =
        skl_limits_sweep(&w.limits, t, (uint32_t)skl_limits_groups(&w.limits));
    CHECK_INT(1, emptied);
    CHECK_INT(1, drain(lim, "live", t));
    /* One round in a year is enough. */
    for (int i = 0; i < 5; i++) {
        t += YEAR;
        skl_limits_sweep(&w.limits, t, (uint32_t)skl_limits_groups(&w.limits));
    }
    CHECK_INT(2, drain(lim, "live", t));
    CHECK_INT(2, drain(lim, "rests", t));
    world_free(&w);
}

/* ---- A full table -------------------------------------------------------- */

/* Eviction would be amnesty: ten times the capacity in other keys must not
 * bring the victims back. */
TEST(limit_flood_of_keys_is_no_amnesty)
{
    enum { KEYS = 256, VICTIMS = 20 };
    skl_limiter_t *lim;
    char key[32];
    world_t w;

    world_new(&w, KEYS, 2);
    lim = limiter(&w, "a", 1.0 / 3600, 1, SEC);
    for (int i = 0; i < VICTIMS; i++) {
        snprintf(key, sizeof(key), "victim%d", i);
        CHECK_INT(1, drain(lim, key, SEC));
    }
    for (int i = 0; i < 10 * KEYS; i++) {
        snprintf(key, sizeof(key), "flood%d", i);
        take(lim, key, SEC + i);
    }
    CHECK(event(&w, SKL_LIMIT_OVERFLOW) > 0);
    for (int i = 0; i < VICTIMS; i++) {
        snprintf(key, sizeof(key), "victim%d", i);
        CHECK_INT(0, drain(lim, key, 2 * SEC));
        CHECK_INT(1, drain(lim, key, SEC + HOUR + 1));
    }
    world_free(&w);
}

TEST(limit_capacity_is_kept_without_overflow)
{
    enum { KEYS = 4096 };
    skl_limiter_t *lim;
    char key[32];
    int admitted = 0;
    world_t w;

    world_new(&w, KEYS, 2);
    lim = limiter(&w, "a", 1.0 / 3600, 1, SEC);
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof(key), "user%d", i);
        admitted += take(lim, key, SEC) == SECKILL_OK;
    }
    CHECK_INT(KEYS, admitted);
    CHECK_INT(0, event(&w, SKL_LIMIT_OVERFLOW));
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof(key), "user%d", i);
        admitted += take(lim, key, SEC + 1) == SECKILL_OK;
    }
    CHECK_INT(KEYS, admitted);
    world_free(&w);
}

/* Each key of an overfull table stays within burst + rate * L, also when it
 * moves from its cell into the table. */
TEST(limit_overflow_keeps_the_bound_for_each_key)
{
    enum { KEYS = 64, ROUNDS = 400 };
    static int admitted[KEYS];
    uint64_t seed = tap_seed(7);
    skl_limiter_t *lim;
    char key[32];
    world_t w;

    memset(admitted, 0, sizeof(admitted));
    world_new(&w, 4, 2);
    lim = limiter(&w, "a", 10, 4, SEC);
    for (int i = 0; i < KEYS * ROUNDS; i++) {
        uint64_t k = next_random(&seed) % KEYS;
        int64_t now = SEC + i * (10 * SEC) / (KEYS * ROUNDS);

        snprintf(key, sizeof(key), "k%d", (int)k);
        admitted[k] += take(lim, key, now) == SECKILL_OK;
    }
    CHECK(event(&w, SKL_LIMIT_OVERFLOW) > 0);
    for (int i = 0; i < KEYS; i++) {
        CHECK(admitted[i] <= 4 + 10 * 10);
    }
    world_free(&w);
}

TEST(limit_overflow_peeks_and_undoes)
{
    skl_limit_ask_t peek = {.now_ns = SEC, .cost = 1, .commit = 0};
    skl_limit_ticket_t ticket;
    skl_limiter_t *lim;
    skl_limiter_t *other;
    char key[32];
    int i = 0;
    world_t w;

    world_new(&w, 2, 2); /* one group for all */
    lim = limiter(&w, "a", 1.0 / 3600, 2, SEC);
    other = limiter(&w, "b", 1.0 / 3600, 2, SEC);
    while (event(&w, SKL_LIMIT_OVERFLOW) == 0 && i < 100) {
        snprintf(key, sizeof(key), "k%d", i++);
        CHECK_INT(SECKILL_OK, take_n(lim, key, 2, SEC, &ticket));
    }
    CHECK_INT(5, i);
    CHECK_INT(SECKILL_EREJECTED, take(lim, key, SEC));
    CHECK_INT(SECKILL_EREJECTED, ask(lim, key, &peek));
    CHECK(peek.retry_ns > 3599 * SEC && peek.retry_ns < 3601 * SEC);
    skl_limit_ticket_t copy = ticket;
    CHECK_INT(0, skl_limiter_undo(other, &copy, SEC));
    CHECK_INT(1, skl_limiter_undo(lim, &ticket, SEC));
    CHECK_INT(SECKILL_OK, ask(lim, key, &peek));
    CHECK_INT(2, drain(lim, key, SEC));
    world_free(&w);
}

/* ---- Undo ---------------------------------------------------------------- */

TEST(limit_undo_at_once_is_exact)
{
    skl_limit_ticket_t ticket;
    skl_limiter_t *lim;
    world_t w;

    world_new(&w, 16, 2);
    lim = limiter(&w, "a", 10, 5, SEC);
    CHECK_INT(SECKILL_OK, take_n(lim, "k", 2, SEC, NULL));
    CHECK_INT(SECKILL_OK, take_n(lim, "k", 3, SEC, &ticket));
    CHECK_INT(SECKILL_EREJECTED, take(lim, "k", SEC));
    CHECK_INT(1, skl_limiter_undo(lim, &ticket, SEC));
    CHECK_INT(0, ticket.charge | ticket.key | ticket.at | ticket.depth);
    CHECK_INT(0, skl_limiter_undo(lim, &ticket, SEC));
    CHECK_INT(3, drain(lim, "k", SEC));
    CHECK_INT(1, event(&w, SKL_LIMIT_REFUNDED));
    world_free(&w);
}

TEST(limit_undo_never_gives_more_than_is_left)
{
    skl_limit_ticket_t ticket;
    skl_limiter_t *lim;
    world_t w;

    world_new(&w, 16, 2);
    lim = limiter(&w, "a", 10, 5, SEC);
    /* The bucket was full again before: another take's charge stays. */
    CHECK_INT(SECKILL_OK, take_n(lim, "k", 1, SEC, &ticket));
    CHECK_INT(5, drain(lim, "k", 2 * SEC));
    CHECK_INT(0, skl_limiter_undo(lim, &ticket, 2 * SEC));
    CHECK_INT(0, drain(lim, "k", 2 * SEC));
    /* In between: what time has not eaten yet. */
    CHECK_INT(SECKILL_OK, take_n(lim, "j", 5, SEC, &ticket));
    CHECK_INT(2, drain(lim, "j", SEC + SEC / 5));
    CHECK_INT(1, skl_limiter_undo(lim, &ticket, SEC + SEC / 5));
    CHECK_INT(3, drain(lim, "j", SEC + SEC / 5));
    world_free(&w);
}

/* Two undos: the first moves the second's charge forward in time. */
TEST(limit_undo_counts_what_was_given_back_before)
{
    skl_limit_ticket_t a;
    skl_limit_ticket_t b;
    skl_limiter_t *lim;
    int64_t later = SEC + 120 * SEC / 1000;
    world_t w;

    world_new(&w, 16, 2);
    lim = limiter(&w, "a", 10, 2, SEC);
    CHECK_INT(SECKILL_OK, take_n(lim, "k", 1, SEC, &a));
    CHECK_INT(SECKILL_OK, take_n(lim, "k", 1, SEC, &b));
    CHECK_INT(1, skl_limiter_undo(lim, &a, SEC));
    CHECK_INT(SECKILL_OK, take_n(lim, "k", 1, later, NULL));
    CHECK_INT(0, skl_limiter_undo(lim, &b, later));
    CHECK_INT(1, drain(lim, "k", later));
    world_free(&w);
}

/* A busy bucket keeps the charge: it can be given back in full much later. */
TEST(limit_undo_in_a_busy_bucket_is_whole)
{
    skl_limit_ticket_t ticket;
    skl_limiter_t *lim;
    int64_t now = SEC;
    world_t w;

    world_new(&w, 16, 2);
    lim = limiter(&w, "a", 1000, 1000, now);
    CHECK_INT(999, (int)(drain(lim, "k", now) - 1));
    now += SEC / 1000;
    CHECK_INT(SECKILL_OK, take_n(lim, "k", 1, now, &ticket));
    for (int i = 0; i < 900; i++) {
        now += SEC / 1000;
        CHECK_INT(1, drain(lim, "k", now));
    }
    CHECK_INT(1, skl_limiter_undo(lim, &ticket, now));
    CHECK_INT(1, drain(lim, "k", now));
    world_free(&w);
}

TEST(limit_undo_after_the_slot_went_to_another_key)
{
    skl_limit_ticket_t ticket;
    skl_limiter_t *lim;
    char key[32];
    world_t w;

    world_new(&w, 2, 2);
    lim = limiter(&w, "a", 10, 1, SEC);
    CHECK_INT(SECKILL_OK, take_n(lim, "k", 1, SEC, &ticket));
    for (int i = 0; i < 4; i++) {
        snprintf(key, sizeof(key), "other%d", i);
        CHECK_INT(1, drain(lim, key, 2 * SEC));
    }
    CHECK_INT(0, skl_limiter_undo(lim, &ticket, SEC));
    for (int i = 0; i < 4; i++) {
        snprintf(key, sizeof(key), "other%d", i);
        CHECK_INT(0, drain(lim, key, 2 * SEC));
    }
    world_free(&w);
}

/* ---- Against exact models ------------------------------------------------ */

__extension__ typedef __int128 wide_t;

/* A bucket of tokens in exact arithmetic: level in 1/256e9 tokens, of a rate
 * in whole tokens per second; and the same with the engine's rounded T. */
typedef struct {
    int64_t rate, burst, then;
    wide_t level;
    wide_t interval, units;
} model_t;

static void model_new(model_t *m, int64_t rate, int64_t burst, int64_t now)
{
    m->rate = rate;
    m->burst = burst;
    m->then = now;
    m->level = (wide_t)burst * 256 * SEC;
    m->interval = ((wide_t)256 * SEC + rate - 1) / rate;
    m->units = m->interval * burst;
}

static wide_t wide_min(wide_t a, wide_t b)
{
    return a < b ? a : b;
}

static void model_pass(model_t *m, int64_t now)
{
    wide_t passed = (wide_t)(now - m->then) * 256;

    if (passed > 0) {
        m->level =
            wide_min(m->level + passed * m->rate, (wide_t)m->burst * 256 * SEC);
        m->units = wide_min(m->units + passed, m->interval * (wide_t)m->burst);
        m->then = now;
    }
}

/* The model's answer must be the engine's. */
static int model_agrees(model_t *m, int rc, const skl_limit_ask_t *a)
{
    wide_t need = m->interval * a->cost;
    int good;

    if (rc == SECKILL_OK) {
        m->level -= (wide_t)a->cost * 256 * SEC;
        m->units -= need;
        good = m->level >= 0 && m->units >= 0;
        return good && (wide_t)a->remaining == m->units / m->interval;
    }
    if (a->cost > m->burst) {
        return a->retry_ns == -1;
    }
    good = m->units < need;
    return good && (wide_t)a->retry_ns == (need - m->units + 255) / 256;
}

static int64_t step(uint64_t *seed, int64_t rate)
{
    int64_t token = SEC / rate + 1;

    switch (next_random(seed) % 8) {
    case 0:
        return (int64_t)(next_random(seed) % 1000);
    case 1:
        return token * (int64_t)(next_random(seed) % 1000);
    case 2:
        return token;
    default:
        return (int64_t)(next_random(seed) % (uint64_t)(2 * token));
    }
}

static uint64_t model_trace(uint64_t *seed, int64_t rate, int64_t burst,
                            int steps)
{
    int64_t now = (int64_t)(next_random(seed) >> 8);
    skl_limiter_t *lim;
    model_t models[3];
    uint64_t wrong = 0;
    world_t w;

    world_new(&w, 16, 1);
    lim = limiter(&w, "a", (double)rate, (double)burst, now);
    for (int i = 0; i < 3; i++) {
        model_new(&models[i], rate, burst, now);
    }
    for (int i = 0; i < steps; i++) {
        char key[2] = {(char)('a' + (int)(next_random(seed) % 3))};
        model_t *m = &models[key[0] - 'a'];
        skl_limit_ask_t a = {.commit = 1};
        int rc;

        now += step(seed, rate);
        a.now_ns = now;
        a.cost = 1 + (uint32_t)(next_random(seed) % 3);
        model_pass(m, now);
        rc = ask(lim, key, &a);
        wrong += model_agrees(m, rc, &a) == 0;
    }
    world_free(&w);
    return wrong;
}

TEST(limit_agrees_with_an_exact_model)
{
    static const int64_t rates[] = {1, 3, 7, 100, 999, 1000000, 9999991};
    static const int64_t bursts[] = {1, 2, 10, 1000000000};
    int rounds = tap_full() ? 36 : 1;
    uint64_t seed = tap_seed(1);

    for (int r = 0; r < rounds; r++) {
        for (size_t i = 0; i < 7; i++) {
            for (size_t j = 0; j < 4; j++) {
                /* one burst in time must fit: burst / rate <= 208 days */
                int64_t burst = rates[i] < 100 && j == 3 ? 5 : bursts[j];

                CHECK_INT(0, model_trace(&seed, rates[i], burst, 10000));
            }
        }
    }
}

/* A take of the trace with undo. */
typedef struct {
    int64_t at;
    int64_t cost;
    int undone;
    skl_limit_ticket_t ticket;
} admitted_t;

/* Level of a bucket that never saw what was undone. */
static wide_t replay(const admitted_t *log, int n, const model_t *start,
                     int64_t now)
{
    model_t m = *start;

    for (int i = 0; i < n; i++) {
        if (!log[i].undone) {
            model_pass(&m, log[i].at);
            m.units -= m.interval * log[i].cost;
        }
    }
    model_pass(&m, now);
    return m.units;
}

/* Units the engine would give now, found by its own answers. */
static wide_t engine_units(skl_limiter_t *lim, const model_t *m, int64_t now)
{
    skl_limit_ask_t a = {
        .now_ns = now, .cost = (uint32_t)m->burst, .commit = 0};
    int rc = ask(lim, "k", &a);

    /* retry of a whole burst: how much is missing, rounded up to a ns */
    return m->interval * m->burst -
           (rc == SECKILL_OK ? 0 : (wide_t)a.retry_ns * 256);
}

static void undo_one(skl_limiter_t *lim, admitted_t *log, int n,
                     const model_t *start, uint64_t *seed, int64_t now)
{
    int recent = n > 8 ? 8 : n;
    admitted_t *a = &log[n - 1 - (int)(next_random(seed) % (uint64_t)recent)];

    (void)skl_limiter_undo(lim, &a->ticket, now);
    a->undone = 1;
    CHECK(engine_units(lim, start, now) <= replay(log, n, start, now));
}

static void undo_trace(uint64_t *seed, int64_t rate, int64_t burst)
{
    enum { STEPS = 300 };
    admitted_t log[STEPS];
    int64_t now = (int64_t)(next_random(seed) >> 8);
    skl_limiter_t *lim;
    model_t start;
    int n = 0;
    world_t w;

    world_new(&w, 16, 1);
    lim = limiter(&w, "a", (double)rate, (double)burst, now);
    model_new(&start, rate, burst, now);
    for (int i = 0; i < STEPS; i++) {
        now += next_random(seed) % 3 == 0 ? 0 : step(seed, rate) / 2;
        if (n > 0 && next_random(seed) % 3 == 0) {
            undo_one(lim, log, n, &start, seed, now);
            continue;
        }
        log[n].at = now;
        log[n].cost = 1 + (int64_t)(next_random(seed) % 3);
        log[n].undone = 0;
        n += take_n(lim, "k", (uint32_t)log[n].cost, now, &log[n].ticket) ==
             SECKILL_OK;
    }
    world_free(&w);
}

/* No sequence of takes and undos may leave a key with more than it would have
 * had without what was undone. */
TEST(limit_undo_is_never_above_as_if_never_taken)
{
    uint64_t seed = tap_seed(5);
    int rounds = tap_full() ? 5000 : 100;

    for (int i = 0; i < rounds; i++) {
        int64_t rate = 1 + (int64_t)(next_random(&seed) % 1000);
        int64_t burst = 3 + (int64_t)(next_random(&seed) % 10);

        undo_trace(&seed, rate, burst);
    }
}

/* ---- Threads ------------------------------------------------------------- */

enum { THREADS = 4 };

typedef struct {
    skl_limiter_t *lim;
    pthread_barrier_t *start;
    int number;
    int takes;
    int admitted;
    int undone;
} worker_t;

static void run_threads(worker_t *workers, void *(*body)(void *))
{
    pthread_t threads[THREADS];
    pthread_barrier_t start;

    pthread_barrier_init(&start, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        workers[i].start = &start;
        workers[i].number = i;
        if (pthread_create(&threads[i], NULL, body, &workers[i]) != 0) {
            abort();
        }
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&start);
}

static void *hammer(void *arg)
{
    worker_t *me = arg;

    pthread_barrier_wait(me->start);
    while (take(me->lim, "k", SEC) == SECKILL_OK) {
        me->admitted++;
    }
    return NULL;
}

/* At one instant exactly the burst is admitted, however they race: a charge
 * whose compare-and-swap failed must be tried again. */
TEST(limit_threads_admit_exactly_the_burst)
{
    enum { BURST = 2000000 };
    worker_t workers[THREADS] = {0};
    int admitted = 0;
    world_t w;

    world_new(&w, 16, 1);
    for (int i = 0; i < THREADS; i++) {
        workers[i].lim = limiter(&w, "a", 1, BURST, SEC);
    }
    run_threads(workers, hammer);
    for (int i = 0; i < THREADS; i++) {
        admitted += workers[i].admitted;
    }
    CHECK_INT(BURST, admitted);
    world_free(&w);
}

static void *take_and_undo(void *arg)
{
    worker_t *me = arg;
    skl_limit_ticket_t ticket;
    char key[16];

    pthread_barrier_wait(me->start);
    for (int i = 0; i < me->takes; i++) {
        snprintf(key, sizeof(key), "k%d", i % 7);
        if (take_n(me->lim, key, 1, SEC, &ticket) == SECKILL_OK) {
            me->undone += skl_limiter_undo(me->lim, &ticket, SEC);
        }
    }
    return NULL;
}

TEST(limit_threads_never_undo_too_much)
{
    worker_t workers[THREADS] = {0};
    skl_limiter_t *lim;
    char key[16];
    world_t w;

    world_new(&w, 16, 1);
    lim = limiter(&w, "a", 1, 10, SEC);
    for (int i = 0; i < THREADS; i++) {
        workers[i].lim = lim;
        workers[i].takes = 20000;
    }
    run_threads(workers, take_and_undo);
    for (int i = 0; i < 7; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        /* Undos that race may give back less, never more. */
        CHECK(drain(lim, key, SEC) <= 10);
        CHECK_INT(10, drain(lim, key, 21 * SEC));
    }
    world_free(&w);
}

static void *change_and_read(void *arg)
{
    worker_t *me = arg;
    seckill_limit_t limit;

    pthread_barrier_wait(me->start);
    for (int i = 0; i < me->takes; i++) {
        if (me->number == 0) {
            double r = 1 + i % 1000;

            limit = limit_of(r, 2 * r);
            me->undone += skl_limiter_set(me->lim, &limit, SEC) != SECKILL_OK;
        }
        skl_limiter_get(me->lim, &limit);
        if (limit.burst < 2 * limit.rate || limit.burst > 2 * limit.rate) {
            me->admitted++;
        }
        (void)take(me->lim, "k", SEC);
    }
    return NULL;
}

TEST(limit_threads_never_see_half_a_change)
{
    worker_t workers[THREADS] = {0};
    world_t w;

    world_new(&w, 16, 1);
    for (int i = 0; i < THREADS; i++) {
        workers[i].lim = limiter(&w, "a", 1, 2, SEC);
        workers[i].takes = 10000;
    }
    run_threads(workers, change_and_read);
    for (int i = 0; i < THREADS; i++) {
        CHECK_INT(0, workers[i].admitted);
        CHECK_INT(0, workers[i].undone);
    }
    world_free(&w);
}

/* Keys come, go and are reused all the time. */
static void *churn(void *arg)
{
    worker_t *me = arg;
    uint64_t seed = 77 + (uint64_t)me->number;
    char key[16];

    pthread_barrier_wait(me->start);
    for (int i = 0; i < me->takes; i++) {
        snprintf(key, sizeof(key), "k%d", (int)(next_random(&seed) % 64));
        me->admitted += take(me->lim, key, SEC + i * 1000) == SECKILL_OK;
        if (i % 1000 == 0) {
            skl_limits_sweep(me->lim->limits, SEC + i * 1000, 2);
        }
    }
    return NULL;
}

TEST(limit_threads_churn_keys_within_the_bound)
{
    enum { TAKES = 30000, KEYS = 64, RATE = 1000, BURST = 2 };
    worker_t workers[THREADS] = {0};
    int admitted = 0;
    world_t w;

    world_new(&w, 16, 1);
    for (int i = 0; i < THREADS; i++) {
        workers[i].lim = limiter(&w, "a", RATE, BURST, SEC);
        workers[i].takes = TAKES;
    }
    run_threads(workers, churn);
    for (int i = 0; i < THREADS; i++) {
        admitted += workers[i].admitted;
    }
    /* TAKES microseconds for each of the keys */
    CHECK(admitted <= KEYS * (BURST + RATE * TAKES / 1000000));
    CHECK(admitted > 0);
    world_free(&w);
}

/* ---- Clocks that differ, and changes ------------------------------------- */

/* A debt that is deeper than the burst is one from older numbers, or the clock
 * of who looks is behind: then it must not be cut. */
TEST(limit_change_and_a_clock_that_is_behind)
{
    static const int64_t behind[] = {1000, SEC / 100, SEC / 2, HOUR};
    const seckill_limit_t changes[] = {limit_of(10, 9), limit_of(9, 10),
                                       limit_of(10, 11), limit_of(20, 10)};

    for (size_t i = 0; i < sizeof(behind) / sizeof(behind[0]); i++) {
        for (size_t c = 0; c < sizeof(changes) / sizeof(changes[0]); c++) {
            const int64_t now = HOUR * 10;
            skl_limiter_t *lim;
            world_t w;
            int got;

            world_new(&w, 16, 1);
            lim = limiter(&w, "a", 10, 10, now);
            CHECK_INT(10, drain(lim, "k", now));
            CHECK_INT(SECKILL_OK, skl_limiter_set(lim, &changes[c], now));
            (void)drain(lim, "k", now + SEC / 2);
            got = 0;
            for (int j = 0; j < 10; j++) {
                got += drain(lim, "k", now + SEC / 2 - behind[i]);
                got += drain(lim, "k", now + SEC / 2);
            }
            CHECK_INT(0, got);
            world_free(&w);
        }
    }
}

/* The same after years without a change. */
TEST(limit_clock_that_is_behind_after_years)
{
    for (int years = 1; years < 6; years++) {
        const int64_t now = SEC + years * YEAR;
        skl_limiter_t *lim;
        int got = 0;
        world_t w;

        world_new(&w, 16, 1);
        lim = limiter(&w, "a", 10, 10, SEC);
        for (int year = 1; year <= years; year++) {
            skl_limits_sweep(&w.limits, SEC + year * YEAR, 8);
        }
        CHECK_INT(10, drain(lim, "k", now));
        for (int j = 0; j < 10; j++) {
            got += drain(lim, "k", now - SEC / 2);
            got += drain(lim, "k", now);
        }
        CHECK_INT(0, got);
        world_free(&w);
    }
}

/* How much of a charge has run off cannot be told by a clock that is behind
 * that of the take. */
TEST(limit_undo_by_a_clock_that_is_behind)
{
    const int64_t now = 10 * HOUR;
    skl_limit_ticket_t t = {0};
    skl_limiter_t *lim;
    world_t w;

    world_new(&w, 16, 1);
    lim = limiter(&w, "a", 1, 1, now);
    CHECK_INT(SECKILL_OK, take_n(lim, "k", 1, now, &t));
    CHECK_INT(SECKILL_OK, take(lim, "k", now + 5 * SEC));
    CHECK_INT(0, skl_limiter_undo(lim, &t, now - HOUR));
    CHECK_INT(SECKILL_EREJECTED, take(lim, "k", now + 5 * SEC));
    world_free(&w);
}

/* Handles come and go: each goes on where the last one stopped. */
TEST(limit_sweep_goes_round_over_restarts)
{
    enum { KEYS = 64 };
    const skl_hash_key_t hash = {0x0123456789abcdef, 0xfedcba9876543210};
    skl_limiter_t *lim;
    uint32_t emptied = 0;
    char key[16];
    world_t w;

    world_new(&w, KEYS, 1);
    lim = limiter(&w, "a", 1, 1, SEC);
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        CHECK_INT(SECKILL_OK, take(lim, key, SEC));
    }
    for (uint64_t i = 0; i < skl_limits_groups(&w.limits); i++) {
        skl_limits_detach(&w.limits);
        skl_limits_attach(&w.limits, w.section, &hash, &w.counters);
        emptied += skl_limits_sweep(&w.limits, HOUR, 1);
    }
    CHECK_INT(KEYS, emptied);
    world_free(&w);
}

/* What was lost is not forgiven to keys with greater numbers either. */
TEST(limit_after_a_loss_all_rules_begin_spent)
{
    static const uint32_t algorithms[] = {
        SECKILL_TOKEN_BUCKET, SECKILL_LEAKY_BUCKET, SECKILL_FIXED_WINDOW,
        SECKILL_SLIDING_WINDOW, SECKILL_SLIDING_LOG};

    for (size_t i = 0; i < sizeof(algorithms) / sizeof(algorithms[0]); i++) {
        const int bucket = algorithms[i] <= SECKILL_LEAKY_BUCKET;
        const int64_t now = 10 * HOUR;
        seckill_limit_t small = {.struct_size = sizeof(small),
                                 .algorithm = algorithms[i],
                                 .rate = bucket ? 1 : 0,
                                 .burst = bucket ? 2 : 0,
                                 .limit = bucket ? 0 : 2,
                                 .window_ns = bucket ? 0 : 100 * SEC};
        seckill_limit_t large = small;
        skl_limit_rule_t rule;
        skl_limit_place_t place;
        skl_limiter_t *lim;
        world_t w;

        large.burst = bucket ? 15 : 0;
        large.limit = bucket ? 0 : 15;
        CHECK_INT(SECKILL_OK, skl_limit_rule_make(&rule, &large, 0));
        world_new(&w, 64, 1);
        skl_limits_rebuilt(w.section, now);
        CHECK_INT(SECKILL_OK,
                  skl_limits_open(&w.limits, "a", &small, now, &lim));
        skl_limiter_locate(lim, "own", 3, &place);
        CHECK_INT(SECKILL_OK, skl_limiter_override(lim, &place, &large, now));
        CHECK_INT(0, drain(lim, "own", now + 1));
        for (int commit = 0; commit < 2; commit++) {
            skl_limit_ask_t a = {
                .now_ns = now + 1, .cost = 1, .commit = commit, .rule = &rule};

            CHECK_INT(SECKILL_EREJECTED, ask(lim, "as", &a));
            CHECK(a.retry_ns > 0);
        }
        CHECK_INT(SECKILL_OK, skl_limiter_set(lim, &large, now + 2));
        CHECK_INT(0, drain(lim, "k", now + 2));
        CHECK_INT(bucket ? 15 + (algorithms[i] == SECKILL_LEAKY_BUCKET) : 15,
                  drain(lim, "own", now + 300 * SEC));
        skl_limits_sweep(&w.limits, now + YEAR, 64);
        CHECK_INT(bucket ? 15 + (algorithms[i] == SECKILL_LEAKY_BUCKET) : 15,
                  drain(lim, "own", now + 3 * YEAR / 2));
        world_free(&w);
    }
}

/* An answer tells of the last look at the key, not of one before. */
TEST(limit_second_look_tells_no_older_delay)
{
    const seckill_limit_t l = {.struct_size = sizeof(l),
                               .algorithm = SECKILL_LEAKY_BUCKET,
                               .rate = 1,
                               .burst = 1};
    const seckill_limit_t shadow = {.struct_size = sizeof(l),
                                    .algorithm = SECKILL_LEAKY_BUCKET,
                                    .rate = 1,
                                    .burst = 1,
                                    .mode = SECKILL_LIMIT_SHADOW};

    for (int i = 0; i < 2; i++) {
        skl_limit_ticket_t first[2] = {0}, t = {0};
        skl_limit_ask_t a = {
            .now_ns = SEC, .cost = 1, .commit = 0, .ticket = &t};
        skl_limit_place_t place;
        skl_limit_take_t take_it;
        skl_limiter_t *lim;
        world_t w;

        world_new(&w, 16, 1);
        CHECK_INT(SECKILL_OK,
                  skl_limits_open(&w.limits, "a", i ? &shadow : &l, SEC, &lim));
        skl_limiter_locate(lim, "k", 1, &place);
        for (int j = 0; j <= i; j++) {
            CHECK_INT(SECKILL_OK, take_n(lim, "k", 1, SEC, &first[j]));
        }
        CHECK_INT(SECKILL_OK, skl_take_prepare(&take_it, lim, &place, &a));
        CHECK_INT(SECKILL_OK, skl_take_decide(&take_it));
        CHECK(i == 1 ? a.shadowed == 1 : a.delay_ns == SEC);
        for (int j = 0; j <= i; j++) {
            CHECK_INT(1, skl_limiter_undo(lim, &first[j], SEC));
        }
        a.commit = 1;
        CHECK_INT(SECKILL_OK, skl_take_charge(&take_it));
        CHECK_INT(0, a.delay_ns);
        CHECK_INT(0, a.shadowed);
        CHECK(t.charge > 0);
        world_free(&w);
    }
}

/* A count is given back in its own window only. */
TEST(limit_windows_give_nothing_back_when_they_are_over)
{
    static const uint32_t algorithms[] = {SECKILL_FIXED_WINDOW,
                                          SECKILL_SLIDING_WINDOW};
    static const int64_t windows[] = {SEC, 67 * SEC / 10, 131 * SEC / 100};

    for (size_t i = 0; i < 6; i++) {
        const int64_t window = windows[i / 2], now = 1000 * window;
        const seckill_limit_t l = {.struct_size = sizeof(l),
                                   .algorithm = algorithms[i % 2],
                                   .limit = 5,
                                   .window_ns = window};
        skl_limit_ticket_t t[2] = {0};
        skl_limit_place_t place;
        skl_limiter_t *lim;
        world_t w;

        world_new(&w, 16, 1);
        CHECK_INT(SECKILL_OK, skl_limits_open(&w.limits, "a", &l, now, &lim));
        skl_limiter_locate(lim, "k", 1, &place);
        for (int j = 0; j < 5; j++) {
            CHECK_INT(SECKILL_OK, take_n(lim, "k", 1, now, &t[j % 2]));
        }
        CHECK_INT(1, skl_limiter_undo(lim, &t[0], now + window - 1));
        CHECK_INT(1, skl_limiter_refund(lim, &place, NULL, 1, now + 1));
        CHECK_INT(0, skl_limiter_undo(lim, &t[1], now + window * 5 / 4));
        CHECK_INT(
            0, skl_limiter_refund(lim, &place, NULL, 1, now + window * 5 / 4));
        CHECK_INT(2, event(&w, SKL_LIMIT_REFUNDED));
        world_free(&w);
    }
}

/* "Until a window from now" must not be before now at the end of time. */
TEST(limit_log_knows_its_stamps_at_the_end_of_time)
{
    const int64_t now = INT64_MAX - SEC;
    seckill_limit_t limit = {.struct_size = sizeof(limit),
                             .algorithm = SECKILL_SLIDING_LOG,
                             .limit = 5,
                             .window_ns = 7 * 24 * HOUR};
    skl_limit_ticket_t tickets[5];
    skl_limiter_t *lim = NULL;
    world_t w;

    world_new(&w, 64, 2);
    CHECK_INT(SECKILL_OK, skl_limits_open(&w.limits, "a", &limit, now, &lim));
    for (int i = 0; i < 5; i++) {
        CHECK_INT(SECKILL_OK, take_n(lim, "k", 1, now, &tickets[i]));
    }
    CHECK_INT(1, skl_limiter_undo(lim, &tickets[0], now));
    CHECK_INT(1, skl_limiter_undo(lim, &tickets[1], now));
    limit.limit = 3;
    CHECK_INT(SECKILL_OK, skl_limiter_set(lim, &limit, now));
    CHECK_INT(SECKILL_EREJECTED, take(lim, "k", now));
    world_free(&w);
}

TEST(limit_log_undo_frees_for_clocks_that_are_behind)
{
    seckill_limit_t limit = {.struct_size = sizeof(limit),
                             .algorithm = SECKILL_SLIDING_LOG,
                             .limit = 1,
                             .window_ns = 60 * SEC};
    skl_limit_ticket_t ticket;
    skl_limiter_t *lim = NULL;
    world_t w;

    world_new(&w, 64, 2);
    CHECK_INT(SECKILL_OK, skl_limits_open(&w.limits, "a", &limit, SEC, &lim));
    CHECK_INT(SECKILL_OK, take_n(lim, "k", 1, HOUR, &ticket));
    CHECK_INT(SECKILL_EREJECTED, take(lim, "k", HOUR - SEC));
    CHECK_INT(1, skl_limiter_undo(lim, &ticket, HOUR));
    CHECK_INT(SECKILL_OK, take(lim, "k", HOUR - SEC));
    world_free(&w);
}

TAP_MAIN()

/*
 * Hot keys: what is listed is what was asked for most, whatever the number of
 * keys, processes and threads, and it is what was asked for lately.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "limit/hot.h"
#include "test/support/scratch.h"
#include "test/support/tap.h"

#include <math.h>
#include <pthread.h>

#define SEC INT64_C(1000000000)
/* Of CLOCK_MONOTONIC; somewhere within a period. */
#define START (12345 * SEC)

/* A sanitizer takes ten times as long; fewer samples find fewer keys. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { TAKES = 250000, RECALL = 80 };
#else
enum { TAKES = 1000000, RECALL = 95 };
#endif
enum { UNIVERSE = 100000, LISTED = 20, PROCESSES = 4 };

typedef struct {
    skl_hot_t hot;
    skl_counters_t counters;
} process_t;

typedef struct {
    void *section;
    skl_counters_shm_t *counters_shm;
    process_t one;
    int64_t now; /* the virtual clock */
} world_t;

static void process_new(world_t *w, process_t *p)
{
    skl_counters_attach(&p->counters, w->counters_shm);
    skl_hot_attach(&p->hot, w->section, &p->counters);
}

static void world_new(world_t *w, uint32_t limit_keys)
{
    w->section = scratch_shared(skl_hot_bytes(limit_keys));
    w->counters_shm = scratch_shared(sizeof(*w->counters_shm));
    w->now = START;
    skl_counters_init(w->counters_shm);
    skl_hot_init(w->section, limit_keys);
    process_new(w, &w->one);
}

static void world_free(world_t *w, uint32_t limit_keys)
{
    munmap(w->section, skl_hot_bytes(limit_keys));
    munmap(w->counters_shm, sizeof(*w->counters_shm));
}

/* Not the hash of the limiters: any good one will do. */
static uint64_t fingerprint_of(uint32_t limiter, const char *key, size_t len)
{
    const skl_hash_key_t hash_key = {3, limiter};

    return skl_hash128(&hash_key, key, len).lo | 1;
}

static void note(skl_hot_t *h, uint32_t limiter, const char *key, size_t len,
                 int64_t now)
{
    skl_hot_note(h, fingerprint_of(limiter, key, len), limiter, key, len, now);
}

static void note_number(skl_hot_t *h, uint32_t number, int64_t now)
{
    char key[16];
    int len = snprintf(key, sizeof(key), "key-%u", number);

    note(h, 0, key, (size_t)len, now);
}

/* The number of "key-<number>". */
static uint32_t number_of(const skl_hot_key_t *k)
{
    char text[SECKILL_ID_MAX + 1] = "";

    memcpy(text, k->key, k->key_len);
    CHECK(strncmp(text, "key-", 4) == 0);
    return (uint32_t)strtoul(text + 4, NULL, 10);
}

static int find_key(const skl_hot_key_t *keys, int n, uint32_t limiter,
                    const char *key, size_t len)
{
    for (int i = 0; i < n; i++) {
        if (keys[i].limiter == limiter && keys[i].key_len == len &&
            memcmp(keys[i].key, key, len) == 0) {
            return i;
        }
    }
    return -1;
}

/* ---- A stream of many keys ----------------------------------------------- */

/* Zipf(1.0): key i is asked for in proportion to 1 / (i + 1). */
typedef struct {
    double upto[UNIVERSE];
    uint64_t random;
    uint32_t counts[UNIVERSE]; /* the truth */
    uint32_t offset;           /* added to the number: another hot set */
} zipf_t;

static zipf_t zipf;

static uint64_t next_random(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    return skl_mix64(*state);
}

static void zipf_new(uint64_t seed)
{
    double sum = 0;

    for (int i = 0; i < UNIVERSE; i++) {
        sum += 1.0 / (i + 1);
        zipf.upto[i] = sum;
    }
    memset(zipf.counts, 0, sizeof(zipf.counts));
    zipf.random = seed;
    zipf.offset = 0;
}

static uint32_t zipf_next(void)
{
    double at = (double)(next_random(&zipf.random) >> 11) / 9007199254740992.0 *
                zipf.upto[UNIVERSE - 1];
    uint32_t low = 0, high = UNIVERSE - 1;

    while (low < high) {
        uint32_t mid = (low + high) / 2;

        if (zipf.upto[mid] > at) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    zipf.counts[low]++;
    return low;
}

/* `takes` of the stream at `rate` a second, spread over n processes. */
static void stream(world_t *w, skl_hot_t **hots, int n, int takes, double rate)
{
    int64_t begin = w->now;

    for (int i = 0; i < takes; i++) {
        uint32_t number = zipf_next() + zipf.offset;

        w->now = begin + (int64_t)((double)i * 1e9 / rate);
        note_number(hots[i % n], number, w->now);
    }
}

/* Is key `number` one of the LISTED that were asked for most? */
static int is_hot(uint32_t number)
{
    int more = 0;

    for (int i = 0; i < UNIVERSE; i++) {
        more += zipf.counts[i] > zipf.counts[number];
    }
    return more < LISTED;
}

/* How many of the true top 20 are among the first 20 of the report. */
static int recalled(const world_t *w)
{
    skl_hot_key_t keys[LISTED];
    int n = skl_hot_top(&w->one.hot, w->now, keys, LISTED);
    int good = 0;

    CHECK_INT(LISTED, n);
    for (int i = 0; i < n; i++) {
        uint32_t number = number_of(&keys[i]);

        good += number >= zipf.offset && number < zipf.offset + UNIVERSE &&
                is_hot(number - zipf.offset);
    }
    return good;
}

TEST(the_true_top_20_of_a_zipf_stream_are_found)
{
    const double rates[] = {2e3, 1e5, 1e6};
    const uint64_t seed = tap_seed(20);

    for (int i = 0; i < 3; i++) {
        skl_hot_t *hots[1];
        world_t w;
        int good;

        world_new(&w, 1 << 16);
        zipf_new(seed + (uint64_t)i);
        hots[0] = &w.one.hot;
        stream(&w, hots, 1, TAKES, rates[i]);
        good = recalled(&w);
        printf("# %.0f takes/s: %d of 20, one of %u looked at\n", rates[i],
               good, 1U << atomic_load(&w.one.hot.shift));
        CHECK(good >= LISTED * RECALL / 100);
        world_free(&w, 1 << 16);
    }
}

/* Old keys may still be listed, but no longer first: the hottest of them had
 * 20 times the rate of the last of the new ones. */
TEST(a_new_hot_set_is_found_within_two_periods)
{
    skl_hot_key_t keys[SKL_HOT_KEYS];
    skl_hot_t *hots[1];
    int n, found = 0;
    world_t w;

    world_new(&w, 1 << 16);
    zipf_new(tap_seed(21));
    hots[0] = &w.one.hot;
    stream(&w, hots, 1, 600000, 1e4); /* a minute */
    memset(zipf.counts, 0, sizeof(zipf.counts));
    zipf.offset = UNIVERSE;
    stream(&w, hots, 1, 200000, 1e4);
    n = skl_hot_top(&w.one.hot, w.now, keys, SKL_HOT_KEYS);
    REQUIRE(n > 0);
    CHECK_INT(UNIVERSE, number_of(&keys[0]));
    for (int i = 0; i < n; i++) {
        uint32_t number = number_of(&keys[i]);

        found += number >= UNIVERSE && is_hot(number - UNIVERSE);
    }
    CHECK(found >= LISTED * RECALL / 100);
    stream(&w, hots, 1, 400000, 1e4);
    CHECK(recalled(&w) >= LISTED * RECALL / 100);
    world_free(&w, 1 << 16);
}

TEST(after_minutes_without_takes_nothing_is_hot)
{
    skl_hot_key_t key;
    world_t w;

    world_new(&w, 64);
    for (int i = 0; i < 1000; i++) {
        note_number(&w.one.hot, 1, w.now);
    }
    CHECK_INT(1, skl_hot_top(&w.one.hot, w.now, &key, 1));
    CHECK_INT(1, skl_hot_top(&w.one.hot, w.now + 20 * SEC, &key, 1));
    CHECK_INT(0, skl_hot_top(&w.one.hot, w.now + 400 * SEC, &key, 1));
    world_free(&w, 64);
}

/* ---- Processes and threads ----------------------------------------------- */

typedef struct {
    world_t *w;
    int number;
} child_t;

/* Every key-0 take of all, and a key of its own for each process. */
static int child_notes(void *arg)
{
    const child_t *c = arg;
    process_t p;
    char own[16];
    int len = snprintf(own, sizeof(own), "own-%d", c->number);

    process_new(c->w, &p);
    for (int i = 0; i < 10000; i++) {
        int64_t now = START + i * (SEC / 1000);

        note_number(&p.hot, 0, now);
        if (i % 4 == 0) {
            note(&p.hot, 7, own, (size_t)len, now);
        }
    }
    return 0;
}

static void run_children(world_t *w, int (*body)(void *))
{
    child_t c[PROCESSES];
    pid_t pids[PROCESSES];

    for (int i = 0; i < PROCESSES; i++) {
        c[i] = (child_t){w, i};
        pids[i] = scratch_fork(body, &c[i]);
    }
    for (int i = 0; i < PROCESSES; i++) {
        CHECK_INT(0, scratch_wait(pids[i]));
    }
}

TEST(what_all_processes_saw_is_added_up)
{
    skl_hot_key_t keys[SKL_HOT_KEYS];
    world_t w;
    int n;

    world_new(&w, 1 << 16);
    run_children(&w, child_notes);
    n = skl_hot_top(&w.one.hot, START + 10 * SEC, keys, SKL_HOT_KEYS);
    CHECK_INT(1 + PROCESSES, n);
    CHECK_INT(0, find_key(keys, n, 0, "key-0", 5));
    CHECK(fabs(keys[0].rate - 4000) < 100);
    CHECK(fabs(keys[0].share - 0.8) < 0.02);
    for (int i = 0; i < PROCESSES; i++) {
        char own[16];
        int len = snprintf(own, sizeof(own), "own-%d", i);
        int at = find_key(keys, n, 7, own, (size_t)len);

        REQUIRE(at > 0);
        CHECK(fabs(keys[at].rate - 250) < 10);
        CHECK(fabs(keys[at].share - 0.05) < 0.005);
    }
    world_free(&w, 1 << 16);
}

/* Each sees a quarter of one stream. */
static int child_streams(void *arg)
{
    const child_t *c = arg;
    process_t p;
    int64_t now = START;

    process_new(c->w, &p);
    for (int i = 0; i < TAKES; i++) {
        uint32_t number = zipf_next();

        now += SEC / 100000;
        if (i % PROCESSES == c->number) {
            note_number(&p.hot, number, now);
        }
    }
    return 0;
}

TEST(the_true_top_20_of_four_processes_are_found)
{
    world_t w;

    world_new(&w, 1 << 16);
    zipf_new(tap_seed(22));
    run_children(&w, child_streams);
    for (int i = 0; i < TAKES; i++) {
        (void)zipf_next(); /* the truth, in this process */
    }
    w.now = START + TAKES * (SEC / 100000);
    CHECK(recalled(&w) >= LISTED * RECALL / 100);
    world_free(&w, 1 << 16);
}

enum { THREADS = 4, EACH = 100000 };

typedef struct {
    world_t *w;
    uint64_t random;
    _Atomic int *running;
} thread_t;

static void *thread_notes(void *arg)
{
    thread_t *t = arg;

    for (int i = 0; i < EACH; i++) {
        uint64_t x = next_random(&t->random);
        uint32_t number = x % 2 == 0 ? 0 : (uint32_t)(x >> 32) % 500;

        note_number(&t->w->one.hot, number, START + i * INT64_C(10000));
    }
    atomic_fetch_sub(t->running, 1);
    return NULL;
}

/* Lines of a report that are not keys of the threads. */
static int strange(const skl_hot_key_t *keys, int n)
{
    int bad = 0;

    for (int i = 0; i < n; i++) {
        uint32_t number = number_of(&keys[i]);
        char key[16];
        int len = snprintf(key, sizeof(key), "key-%u", number);

        bad += number >= 500 || keys[i].limiter != 0 ||
               keys[i].key_len != (uint32_t)len ||
               memcmp(keys[i].key, key, (size_t)len) != 0;
    }
    return bad;
}

TEST(threads_share_a_handle_while_others_read)
{
    skl_hot_key_t keys[SKL_HOT_KEYS];
    pthread_t threads[THREADS];
    thread_t t[THREADS];
    _Atomic int running = THREADS;
    world_t w;
    int n, reports = 0, bad = 0;

    world_new(&w, 1 << 16);
    for (int i = 0; i < THREADS; i++) {
        t[i] = (thread_t){&w, (uint64_t)i * 1000, &running};
        REQUIRE(pthread_create(&threads[i], NULL, thread_notes, &t[i]) == 0);
    }
    while (atomic_load(&running) > 0) {
        n = skl_hot_top(&w.one.hot, START + SEC, keys, SKL_HOT_KEYS);
        bad += strange(keys, n);
        reports++;
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK_INT(0, pthread_join(threads[i], NULL));
    }
    n = skl_hot_top(&w.one.hot, START + SEC, keys, SKL_HOT_KEYS);
    CHECK_INT(SKL_HOT_KEYS, n);
    CHECK_INT(0, bad + strange(keys, n));
    CHECK_INT(0, number_of(&keys[0]));
    CHECK(keys[0].share > 0.3 && keys[0].share < 0.7);
    printf("# %d reports\n", reports);
    world_free(&w, 1 << 16);
}

/* ---- Numbers ------------------------------------------------------------- */

/* Three keys at 8000, 800 and 80 takes a second for a while, one by one. */
static void check_rates(double scale, int64_t duration)
{
    static const double want[] = {8000, 800, 80};
    const double all = (want[0] + want[1] + want[2]) * scale;
    const int64_t takes = (int64_t)(all * (double)duration / 1e9);
    skl_hot_key_t keys[3];
    uint64_t random = 5;
    world_t w;

    world_new(&w, 1 << 16);
    for (int64_t i = 0; i < takes; i++) {
        uint64_t x = next_random(&random) % 111;

        w.now = START + (int64_t)((double)i * 1e9 / all);
        note_number(&w.one.hot, x < 100 ? 0 : x < 110 ? 1 : 2, w.now);
    }
    REQUIRE(skl_hot_top(&w.one.hot, w.now, keys, 3) == 3);
    for (int i = 0; i < 3; i++) {
        double off = keys[i].rate / (want[i] * scale) - 1;

        CHECK_INT(i, number_of(&keys[i]));
        CHECK(fabs(off) < (i == 0 ? 0.05 : i == 1 ? 0.15 : 0.4));
        CHECK(fabs(keys[i].share * 8880 / want[i] - 1) < (i == 0   ? 0.05
                                                          : i == 1 ? 0.15
                                                                   : 0.4));
    }
    world_free(&w, 1 << 16);
}

TEST(rates_are_those_of_the_stream)
{
    check_rates(1, 2 * SEC); /* the first seconds of a segment, too */
    check_rates(1, 7 * SEC);
    check_rates(1, 33 * SEC);
    check_rates(1, 119 * SEC);
}

TEST(rates_are_right_where_few_takes_are_looked_at)
{
    check_rates(100, 5 * SEC);
    check_rates(1000, SEC);
}

TEST(after_a_rush_a_slow_stream_is_seen_at_once)
{
    skl_hot_key_t keys[2];
    int64_t calm;
    world_t w;
    int n;

    world_new(&w, 1 << 16);
    for (int i = 0; i < 4000000; i++) {
        w.now += 50;
        note_number(&w.one.hot, 1, w.now);
    }
    CHECK_INT(8, atomic_load(&w.one.hot.shift));
    calm = w.now + 600 * SEC;
    for (int i = 0; i < 1500; i++) {
        w.now = calm + i * (SEC / 100);
        note_number(&w.one.hot, 2, w.now);
    }
    CHECK_INT(0, atomic_load(&w.one.hot.shift));
    n = skl_hot_top(&w.one.hot, w.now, keys, 2);
    CHECK_INT(1, n);
    CHECK_INT(2, number_of(&keys[0]));
    CHECK(keys[0].rate > 50 && keys[0].rate < 150);
    world_free(&w, 1 << 16);
}

TEST(a_flood_of_new_keys_does_not_hide_a_hot_one)
{
    skl_hot_key_t keys[4];
    world_t w;

    world_new(&w, 1 << 16);
    for (uint32_t i = 0; i < TAKES; i++) {
        w.now += 10000;
        note_number(&w.one.hot, i % 100 == 0 ? 7 : 1000 + i, w.now);
    }
    REQUIRE(skl_hot_top(&w.one.hot, w.now, keys, 4) == 4);
    CHECK_INT(7, number_of(&keys[0]));
    CHECK(keys[0].rate > 700 && keys[0].rate < 1300);
    CHECK(keys[1].rate < keys[0].rate / 10);
    world_free(&w, 1 << 16);
}

TEST(a_small_segment_finds_them_too)
{
    skl_hot_key_t keys[2];
    world_t w;

    CHECK(skl_hot_bytes(64) < 256 << 10);
    CHECK(skl_hot_bytes(1 << 16) < 700 << 10);
    CHECK(skl_hot_bytes(1 << 26) == skl_hot_bytes(1 << 16));
    world_new(&w, 64);
    for (uint32_t i = 0; i < 100000; i++) {
        w.now += 10000;
        note_number(&w.one.hot, i % 10 == 0 ? 7 : 1000 + i % 800, w.now);
    }
    CHECK_INT(2, skl_hot_top(&w.one.hot, w.now, keys, 2));
    CHECK_INT(7, number_of(&keys[0]));
    world_free(&w, 64);
}

/* ---- Keys and arguments -------------------------------------------------- */

TEST(keys_of_any_bytes_and_length_are_reported_whole)
{
    skl_hot_key_t keys[SKL_HOT_KEYS];
    char key[SECKILL_ID_MAX];
    world_t w;
    int n;

    world_new(&w, 1 << 16);
    for (int i = 0; i < SECKILL_ID_MAX; i++) {
        key[i] = (char)(i * 37 + 200);
    }
    key[3] = '\0';
    for (size_t len = 1; len <= sizeof(key); len += 9) {
        note(&w.one.hot, 0, key, len, w.now); /* each begins the next one */
        note(&w.one.hot, 1023, key, len, w.now);
        note(&w.one.hot, 1023, key, len, w.now);
    }
    n = skl_hot_top(&w.one.hot, w.now, keys, SKL_HOT_KEYS);
    CHECK_INT(16, n);
    for (size_t len = 1; len <= sizeof(key); len += 9) {
        int first = find_key(keys, n, 0, key, len);
        int other = find_key(keys, n, 1023, key, len);

        CHECK(first >= 8 && other >= 0 && other < 8);
    }
    world_free(&w, 1 << 16);
}

TEST(a_report_has_as_many_lines_as_asked_for)
{
    skl_hot_key_t keys[SKL_HOT_KEYS + 1];
    world_t w;

    world_new(&w, 1 << 16);
    CHECK_INT(0, skl_hot_top(&w.one.hot, w.now, keys, SKL_HOT_KEYS));
    for (int round = 0; round < 4; round++) {
        for (uint32_t i = 0; i < 100; i++) {
            note_number(&w.one.hot, i, w.now);
            w.now += SEC / 100;
        }
    }
    CHECK_INT(0, skl_hot_top(&w.one.hot, w.now, keys, -1));
    CHECK_INT(0, skl_hot_top(&w.one.hot, w.now, keys, 0));
    CHECK_INT(1, skl_hot_top(&w.one.hot, w.now, keys, 1));
    CHECK_INT(SKL_HOT_KEYS,
              skl_hot_top(&w.one.hot, w.now, keys, SKL_HOT_KEYS + 1));
    for (int i = 1; i < SKL_HOT_KEYS; i++) {
        CHECK(keys[i - 1].rate >= keys[i].rate);
    }
    world_free(&w, 1 << 16);
}

TEST(clocks_that_disagree_do_no_harm)
{
    const int64_t times[] = {
        START, START + 3600 * SEC, START - 3600 * SEC, START + 86400 * SEC,
        1,     INT64_MAX};
    skl_hot_key_t keys[SKL_HOT_KEYS];
    world_t w;
    int n;

    world_new(&w, 1 << 16);
    for (int i = 0; i < 6; i++) {
        for (uint32_t k = 0; k < 1000; k++) {
            note_number(&w.one.hot, k % 3, times[i]);
        }
        n = skl_hot_top(&w.one.hot, times[i], keys, SKL_HOT_KEYS);
        CHECK(n == 3 && strange(keys, n) == 0);
        CHECK(keys[0].rate > 0 && keys[0].rate <= 4000);
    }
    for (int i = 0; i < 6; i++) {
        n = skl_hot_top(&w.one.hot, times[i], keys, SKL_HOT_KEYS);
        CHECK_INT(0, strange(keys, n));
    }
    for (int i = 0; i < 200000; i++) { /* and it heals */
        note_number(&w.one.hot, 1, START + i * (SEC / 1000));
    }
    n = skl_hot_top(&w.one.hot, START + 200 * SEC, keys, SKL_HOT_KEYS);
    CHECK(n >= 1 && number_of(&keys[0]) == 1);
    CHECK(fabs(keys[0].rate / 1000 - 1) < 0.1);
    world_free(&w, 1 << 16);
}

/* Threads read the clock and count in any order. */
TEST(a_count_is_halved_once_at_the_end_of_a_period)
{
    const int64_t end = START / (10 * SEC) * (10 * SEC) + 10 * SEC;
    skl_hot_key_t key;
    world_t w;

    world_new(&w, 1 << 16);
    for (int i = 0; i < 4000; i++) {
        note_number(&w.one.hot, 1, end - (4000 - i) * (SEC / 1000));
    }
    for (int i = 0; i < 20; i++) {
        note_number(&w.one.hot, 1, end + i % 2 * 1000 - 500);
    }
    CHECK_INT(1, skl_hot_top(&w.one.hot, end + 500, &key, 1));
    CHECK(fabs(key.rate - 1000) < 20);
    CHECK(fabs(key.share - 1) < 0.01);
    world_free(&w, 1 << 16);
}

/* Whatever others have written there. */
TEST(bytes_that_nobody_wrote_are_not_keys)
{
    skl_hot_key_t keys[SKL_HOT_KEYS];
    uint64_t random = 3;
    world_t w;
    int n;

    world_new(&w, 64);
    for (size_t i = 64; i < skl_hot_bytes(64); i += 8) {
        uint64_t x = next_random(&random);

        memcpy((char *)w.section + i, &x, sizeof(x));
    }
    CHECK_INT(0, skl_hot_top(&w.one.hot, w.now, keys, SKL_HOT_KEYS));
    for (int i = 0; i < 100000; i++) {
        w.now += SEC / 1000;
        note_number(&w.one.hot, 1, w.now);
    }
    n = skl_hot_top(&w.one.hot, w.now, keys, SKL_HOT_KEYS);
    CHECK(n == 1 && number_of(&keys[0]) == 1);
    world_free(&w, 64);
}

/* ---- Figures ------------------------------------------------------------- */

/* How long a call takes when the clock goes on by step_ns with each. */
static double ns_for_each(world_t *w, uint32_t keys, int64_t step_ns, int n)
{
    char key[SECKILL_ID_MAX] = "key-0000";
    int64_t begin = skl_clock_mono_ns();

    for (int i = 0; i < n; i++) {
        uint64_t number = (uint64_t)i * UINT64_C(2654435761) % keys;

        memcpy(key + 4, &number, 4);
        skl_hot_note(&w->one.hot, skl_mix64(number + 1), 0, key, 24,
                     w->now + i * step_ns);
    }
    w->now += n * step_ns + SEC;
    return (double)(skl_clock_mono_ns() - begin) / n;
}

static void show_figures(world_t *w, uint32_t keys)
{
    double busy = ns_for_each(w, keys, 60, 4000000); /* as long as a take */
    double calm = ns_for_each(w, keys, SEC / 10000, 400000);

    printf("# %u keys: %.1f ns for each note at full load, %.0f ns where "
           "each take is looked at\n",
           keys, busy, calm);
}

TEST(figures_of_a_note)
{
    world_t w;

    world_new(&w, 1 << 16);
    show_figures(&w, 1);
    show_figures(&w, 500000);
    world_free(&w, 1 << 16);
}

TAP_MAIN()

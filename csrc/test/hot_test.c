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

enum { UNIVERSE = 100000, TAKES = 1000000, LISTED = 20, PROCESSES = 4 };

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
        CHECK(good >= LISTED * 95 / 100);
        world_free(&w, 1 << 16);
    }
}

TAP_MAIN()

/* Rules of single keys: readers while the table changes under them. */
#include "test/support/limits.h"

#include "limit/layout.h"
#include "limit/override.h"

#include <pthread.h>

#define NOW (1000 * NS_SEC)

static const char *const KEYS[] = {"a", "b", "c", "d", "e", "f"};

enum { KEY_COUNT = 6 };

static seckill_limit_t burst_of(double burst)
{
    return (seckill_limit_t){.struct_size = sizeof(seckill_limit_t),
                             .burst = burst};
}

static skl_limiter_t *open_bucket(lim_world_t *w)
{
    seckill_limit_t limit = {
        .struct_size = sizeof(limit), .rate = 1e-3, .burst = 1};

    return lim_open(w, "a", &limit, NOW);
}

static int put(skl_limiter_t *lim, const char *key, double burst)
{
    seckill_limit_t limit = burst_of(burst);

    return lim_override(lim, key, &limit, NOW);
}

/* The burst that a key has; 0: no rule of its own. */
static double burst_in(skl_limiter_t *lim, const char *key)
{
    skl_limit_place_t place;
    skl_limit_rule_t r;

    skl_limiter_locate(lim, key, strlen(key), &place);
    return skl_override_find(lim->limits, place.key, &r) ? r.burst : 0;
}

typedef struct {
    skl_limiter_t *lim;
    _Atomic int stop;
    _Atomic uint64_t wrong, seen;
} shared_t;

/* Key i has 100 * i + something below 100, whenever it has anything. */
static void *read_all(void *ctx)
{
    shared_t *s = ctx;

    while (!atomic_load(&s->stop)) {
        for (int i = 0; i < KEY_COUNT; i++) {
            int burst = (int)burst_in(s->lim, KEYS[i]);

            atomic_fetch_add(&s->seen, burst != 0);
            if (burst != 0 && burst / 100 != i + 1) {
                atomic_fetch_add(&s->wrong, 1);
            }
        }
    }
    return NULL;
}

TEST(override_readers_never_see_the_rule_of_another_key)
{
    int rounds = tap_full() ? 200000 : 5000;
    pthread_t threads[2];
    shared_t s = {0};
    lim_world_t w;

    lim_world_new(&w, 64, 2);
    w.limits.shm->exceptions = 8; /* crowded: cells change hands */
    w.limits.shm->overrides = 4;
    s.lim = open_bucket(&w);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(0, pthread_create(&threads[i], NULL, read_all, &s));
    }
    for (int i = 0; i < rounds || atomic_load(&s.seen) == 0; i++) {
        int k = i % KEY_COUNT;

        (void)lim_override(s.lim, KEYS[(k + 3) % KEY_COUNT], NULL, NOW);
        CHECK_INT(SECKILL_OK,
                  put(s.lim, KEYS[k], (double)((k + 1) * 100 + i % 100)));
    }
    atomic_store(&s.stop, 1);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK_INT(0, atomic_load(&s.wrong));
    CHECK(atomic_load(&s.seen) > 0);
    lim_world_free(&w);
}

TAP_MAIN()

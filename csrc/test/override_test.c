/*
 * Rules of single keys: the table, and what a killed writer leaves of it.
 * What the numbers do is in limit_model_test.c and combine_spec.lua.
 */
#include "test/support/limits.h"

#include "limit/layout.h"
#include "limit/override.h"
#include "test/support/stepper.h"

/* variants: rel */

#define NOW (1000 * NS_SEC)

enum { OVERRIDES = 64 /* of the world of a test */ };

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

static int is_burst(skl_limiter_t *lim, const char *key, int burst)
{
    return CHECK_INT(burst, (int)burst_in(lim, key));
}

TEST(override_of_many_keys_come_and_go)
{
    char key[16];
    lim_world_t w;
    skl_limiter_t *lim;

    lim_world_new(&w, 64, 2);
    lim = open_bucket(&w);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < OVERRIDES; i++) {
            snprintf(key, sizeof(key), "k%d-%d", round, i);
            CHECK_INT(SECKILL_OK, put(lim, key, 2 + i));
        }
        CHECK_INT(SECKILL_EFULL, put(lim, "one more", 2));
        for (int i = 0; i < OVERRIDES; i++) {
            snprintf(key, sizeof(key), "k%d-%d", round, i);
            is_burst(lim, key, 2 + i);
        }
        for (int i = 0; i < OVERRIDES; i++) {
            snprintf(key, sizeof(key), "k%d-%d", round, i);
            CHECK_INT(SECKILL_OK, lim_override(lim, key, NULL, NOW));
            is_burst(lim, key, 0);
        }
    }
    CHECK_INT(SECKILL_ENOTFOUND, lim_override(lim, "k0-0", NULL, NOW));
    CHECK_INT(0, atomic_load(&lim->record->overrides));
    lim_world_free(&w);
}

/* Marks of what has gone do not pile up, or every look would walk over them. */
TEST(override_leaves_no_marks_behind)
{
    uint64_t marks = 0;
    char key[16];
    lim_world_t w;
    skl_limiter_t *lim;

    lim_world_new(&w, 64, 2);
    lim = open_bucket(&w);
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        CHECK_INT(SECKILL_OK, put(lim, key, 5));
        CHECK_INT(SECKILL_OK, lim_override(lim, key, NULL, NOW));
    }
    for (uint64_t i = 0; i < w.limits.shm->exceptions; i++) {
        marks += atomic_load(&w.limits.exceptions[i].key) != 0;
    }
    CHECK_INT(0, marks);
    lim_world_free(&w);
}

/* ---- Death of a writer --------------------------------------------------- */

typedef struct {
    skl_limiter_t *lim;
    const char *key;
    double burst; /* 0: take away */
} call_t;

static void run_call(void *ctx)
{
    const call_t *c = ctx;

    if (c->burst > 0) {
        (void)put(c->lim, c->key, c->burst);
    } else {
        (void)lim_override(c->lim, c->key, NULL, NOW);
    }
}

/* Killed after `steps` instructions; 0: the call had come to its end. */
static int kill_after(const call_t *c, long steps)
{
    const char *why = NULL;
    stepper_t st;
    int rc;

    if (!CHECK(stepper_start(&st, run_call, (void *)(uintptr_t)c, &why))) {
        return 0;
    }
    rc = stepper_run(&st, steps);
    stepper_kill(&st);
    return rc == 1;
}

/* The key has its old numbers or the new ones, the others theirs, and the
 * table works on. */
static void check_after(skl_limiter_t *lim, const call_t *c, int before)
{
    int burst = (int)burst_in(lim, c->key);

    CHECK(burst == before || burst == (int)c->burst);
    is_burst(lim, "b", 200);
    CHECK_INT(SECKILL_OK, put(lim, "c", 300));
    is_burst(lim, "c", 300);
    CHECK_INT(SECKILL_OK, lim_override(lim, "c", NULL, NOW));
}

/* The room of a rule that a dead writer had claimed is found again. */
static void check_room(skl_limiter_t *lim)
{
    static const char *const more[] = {"w", "x", "y", "z"};
    int n = 0;

    (void)lim_override(lim, "a", NULL, NOW);
    while (n < 4 && put(lim, more[n], 7) == SECKILL_OK) {
        n++;
    }
    CHECK_INT(3, n); /* of four, one is b's */
}

static void kill_everywhere(double burst, int before)
{
    long step = 0;
    int alive = 1;

    while (alive) {
        lim_world_t w;
        call_t c;

        lim_world_new(&w, 16, 1);
        w.limits.shm->overrides = 4;
        c = (call_t){open_bucket(&w), "a", burst};
        CHECK_INT(SECKILL_OK, put(c.lim, "b", 200));
        if (before > 0) {
            CHECK_INT(SECKILL_OK, put(c.lim, "a", before));
        }
        alive = kill_after(&c, step);
        check_after(c.lim, &c, before);
        check_room(c.lim);
        lim_world_free(&w);
        step += tap_full() ? 1 : 17;
    }
    CHECK(step > 200);
    printf("# %ld instructions, killed at every %s of them\n", step,
           tap_full() ? "one" : "17th");
}

TEST(override_killed_while_it_is_given)
{
    kill_everywhere(500, 0);
}

TEST(override_killed_while_it_changes)
{
    kill_everywhere(500, 100);
}

TEST(override_killed_while_it_is_taken_away)
{
    kill_everywhere(0, 100);
}

TAP_MAIN()

/*
 * Hot keys and death: wherever the writer of a list stops, readers see whole
 * entries only, and those who go on find the list usable.
 */
#include "base/hash.h"
#include "limit/hot.h"
#include "test/support/scratch.h"
#include "test/support/stepper.h"
#include "test/support/tap.h"

/* variants: rel asan */

#define SEC INT64_C(1000000000)
#define NOW (12345 * SEC)

enum { LIMIT_KEYS = 4096, FIRST = 100, ROUNDS = 40 };

typedef struct {
    size_t bytes;
    char *live; /* shared with the child */
    char *copy; /* as a death would leave it */
    skl_counters_shm_t *counters_shm;
    skl_counters_t counters;
    skl_hot_t hot;
    uint32_t limiter, number; /* of the note that is stepped through */
    int64_t now;
    int64_t step_ns; /* from one note to the next: each is looked at */
    _Atomic uint64_t *notes;
} world_t;

static world_t w;

static void fresh(void)
{
    free(w.copy);
    w.now = NOW;
    w.step_ns = SEC / 1000;
    w.bytes = skl_hot_bytes(LIMIT_KEYS);
    w.live = scratch_shared(w.bytes);
    w.copy = aligned_alloc(64, w.bytes);
    w.counters_shm = scratch_shared(sizeof(*w.counters_shm));
    w.notes = scratch_shared(sizeof(*w.notes));
    skl_counters_init(w.counters_shm);
    skl_counters_attach(&w.counters, w.counters_shm);
    skl_hot_init(w.live, LIMIT_KEYS);
    skl_hot_attach(&w.hot, w.live, &w.counters);
}

/* Keys fill all their bytes, so that a mixture of two shows. */
static void make_key(char *key, uint32_t limiter, uint32_t number)
{
    for (int i = 0; i < SECKILL_ID_MAX; i += 8) {
        uint64_t x = skl_mix64((uint64_t)limiter << 40 | number << 8) + number;

        memcpy(key + i, &x, sizeof(x));
    }
    memcpy(key, &limiter, sizeof(limiter));
    memcpy(key + 4, &number, sizeof(number));
}

static uint32_t length_of(uint32_t number)
{
    return SECKILL_ID_MAX - number % 3;
}

static void note(skl_hot_t *h, uint32_t limiter, uint32_t number)
{
    const skl_hash_key_t hash_key = {3, limiter};
    char key[SECKILL_ID_MAX];
    uint32_t len = length_of(number);

    make_key(key, limiter, number);
    w.now += w.step_ns;
    skl_hot_note(h, skl_hash128(&hash_key, key, len).lo | 1, limiter, key, len,
                 w.now);
}

static int is_whole(const skl_hot_key_t *k)
{
    char key[SECKILL_ID_MAX];
    uint32_t limiter, number;

    memcpy(&limiter, k->key, sizeof(limiter));
    memcpy(&number, k->key + 4, sizeof(number));
    make_key(key, limiter, number);
    return k->limiter == limiter && k->key_len == length_of(number) &&
           memcmp(k->key, key, k->key_len) == 0;
}

/* Lines of the report that are no key; *listed: is this one there? */
static int torn(const skl_hot_t *h, uint32_t limiter, uint32_t number,
                int *listed)
{
    skl_hot_key_t keys[SKL_HOT_KEYS];
    int n = skl_hot_top(h, w.now, keys, SKL_HOT_KEYS);
    char key[SECKILL_ID_MAX];
    int bad = 0;

    make_key(key, limiter, number);
    *listed = 0;
    for (int i = 0; i < n; i++) {
        bad += !is_whole(&keys[i]);
        *listed += memcmp(keys[i].key, key, keys[i].key_len) == 0;
    }
    return bad;
}

/* ---- At every instruction ------------------------------------------------ */

static void one_note(void *ctx)
{
    (void)ctx;
    note(&w.hot, w.limiter, w.number);
}

/* Somebody goes on from here: the key comes again and is listed. */
static int goes_on(void)
{
    const int64_t now = w.now;
    skl_hot_t hot;
    int listed, bad;

    memcpy(w.copy, w.live, w.bytes);
    skl_hot_attach(&hot, w.copy, &w.counters);
    bad = torn(&hot, w.limiter, w.number, &listed);
    for (int i = 0; i < 3; i++) {
        note(&hot, w.limiter, w.number);
    }
    bad += torn(&hot, w.limiter, w.number, &listed);
    w.now = now; /* the next one is at the same time */
    return bad == 0 && listed == 1;
}

/* Step through one note; instructions after which something is wrong. */
static int step_through(int *steps)
{
    const char *why = "";
    stepper_t st;
    int bad = 0, rc;

    if (!CHECK(stepper_start(&st, one_note, NULL, &why))) {
        printf("# %s\n", why);
        return 1;
    }
    while ((rc = stepper_step(&st)) == 1) {
        bad += !goes_on();
    }
    CHECK_INT(0, rc);
    *steps = (int)st.steps;
    stepper_kill(&st);
    return bad;
}

/* A full list: key i was seen 1 + 2 i times. */
static void fill_list(void)
{
    for (uint32_t i = 0; i < SKL_HOT_KEYS; i++) {
        for (uint32_t k = 0; k < 1 + 2 * i; k++) {
            note(&w.hot, 1, i);
        }
    }
}

TEST(death_in_a_note_of_a_new_key_leaves_whole_entries)
{
    int listed = 0, steps = 0;

    fresh();
    fill_list();
    w.limiter = 2;
    w.number = FIRST;
    note(&w.hot, 2, FIRST); /* as often as the least of the list */
    CHECK_INT(0, torn(&w.hot, 2, FIRST, &listed));
    CHECK_INT(0, listed);
    CHECK_INT(0, step_through(&steps)); /* once more: takes its place */
    CHECK_INT(0, torn(&w.hot, 2, FIRST, &listed));
    CHECK_INT(1, listed);
    printf("# %d instructions\n", steps);
    CHECK(steps > 100);
}

TEST(death_in_a_note_of_a_listed_key_leaves_whole_entries)
{
    int listed = 0, steps = 0;

    fresh();
    fill_list();
    w.limiter = 1;
    w.number = 7;
    CHECK_INT(0, step_through(&steps));
    CHECK_INT(0, torn(&w.hot, 1, 7, &listed));
    CHECK_INT(1, listed);
    printf("# %d instructions\n", steps);
    CHECK(steps > 100);
}

/* ---- At any time --------------------------------------------------------- */

/* All handles of children are on one stripe, as with many processes. */
static int endless(void *arg)
{
    uint64_t random = (uint64_t)(intptr_t)arg;

    skl_hot_attach(&w.hot, w.live, &w.counters);
    for (;;) {
        random += UINT64_C(0x9e3779b97f4a7c15);
        atomic_store(&w.hot.skip, 1); /* look at each */
        atomic_store(&w.hot.shift, 0);
        note(&w.hot, (uint32_t)(skl_mix64(random) % 3),
             (uint32_t)(skl_mix64(random) >> 40) % 200);
        atomic_fetch_add(w.notes, 1);
    }
    return 0;
}

static void wait_for_notes(uint64_t n)
{
    while (atomic_load(w.notes) < n) {
        usleep(50);
    }
}

TEST(killed_writers_of_one_list_leave_it_usable)
{
    int listed, bad = 0, reports = 0;

    fresh();
    w.step_ns = 0;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t before = atomic_load(w.notes);
        pid_t one = scratch_fork(endless, (void *)(intptr_t)(2 * round));
        pid_t two = scratch_fork(endless, (void *)(intptr_t)(2 * round + 1));

        wait_for_notes(before + 2000 + (uint64_t)round);
        for (int i = 0; i < 200; i++, reports++) {
            bad += torn(&w.hot, 1, 1, &listed);
        }
        CHECK_INT(0, kill(one, SIGKILL));
        CHECK_INT(0, kill(two, SIGKILL));
        CHECK_INT(1000 + SIGKILL, scratch_wait(one));
        CHECK_INT(1000 + SIGKILL, scratch_wait(two));
        bad += torn(&w.hot, 1, 1, &listed);
    }
    CHECK_INT(0, bad);
    w.now += 100 * SEC; /* what they counted has faded */
    for (int i = 0; i < 100000; i++) {
        note(&w.hot, 2, FIRST * 10);
    }
    CHECK_INT(0, torn(&w.hot, 2, FIRST * 10, &listed));
    CHECK_INT(1, listed);
    printf("# %d reports\n", reports);
}

TAP_MAIN()

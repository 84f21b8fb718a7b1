/* Striped counters: every count is found again, whoever made it. */
#include "seckill.h"
#include "shm/counters.h"
#include "test/support/scratch.h"
#include "test/support/tap.h"

#include <pthread.h>

static skl_counters_shm_t *fresh(void)
{
    skl_counters_shm_t *shm = scratch_shared(sizeof(*shm));

    memset(shm, 0x5a, sizeof(*shm));
    skl_counters_init(shm);
    return shm;
}

TEST(a_new_section_is_all_zero)
{
    skl_counters_t c;

    skl_counters_attach(&c, fresh());
    for (int op = 0; op < SKL_OP_COUNT; op++) {
        CHECK_INT(0, skl_counters_result(&c, op, SECKILL_OK));
        for (int i = 0; seckill_errcode_at(i) != 0; i++) {
            CHECK_INT(0, skl_counters_result(&c, op, seckill_errcode_at(i)));
        }
    }
    for (int event = 0; event < SKL_EV_COUNT; event++) {
        CHECK_INT(0, skl_counters_event(&c, event));
    }
}

TEST(sixteen_processes_have_a_stripe_each_then_they_share)
{
    skl_counters_shm_t *shm = fresh();
    skl_counters_t c[SKL_STRIPES + 1];

    for (int i = 0; i <= SKL_STRIPES; i++) {
        skl_counters_attach(&c[i], shm);
        CHECK(c[i].shm == shm);
        for (int k = 0; k < i && i < SKL_STRIPES; k++) {
            CHECK(c[i].mine != c[k].mine);
        }
    }
    CHECK(c[SKL_STRIPES].mine == c[0].mine);
    for (int i = 0; i <= SKL_STRIPES; i++) {
        skl_count(&c[i], SKL_EV_replays, (uint64_t)(i + 1));
    }
    CHECK_INT(17 * 18 / 2, skl_counters_event(&c[3], SKL_EV_replays));
}

TEST(every_code_has_a_place_of_its_own)
{
    skl_counters_t c;
    uint64_t n = 0;

    skl_counters_attach(&c, fresh());
    CHECK_INT(0, skl_code_index(SECKILL_OK));
    for (int i = 0; seckill_errcode_at(i) != 0; i++) {
        int rc = seckill_errcode_at(i);

        CHECK(skl_code_index(rc) > 0);
        CHECK(skl_code_index(rc) < SKL_CODES);
        n++;
        for (uint64_t k = 0; k < n; k++) {
            skl_count_result(&c, SKL_OP_refund, rc);
        }
    }
    n = 0;
    for (int i = 0; seckill_errcode_at(i) != 0; i++) {
        n++;
        CHECK_INT(
            n, skl_counters_result(&c, SKL_OP_refund, seckill_errcode_at(i)));
    }
    CHECK_INT(0, skl_counters_result(&c, SKL_OP_find, SECKILL_EBUSY));
}

static int is_name(const char *s)
{
    return strlen(s) > 0 &&
           strspn(s, "abcdefghijklmnopqrstuvwxyz_") == strlen(s);
}

TEST(names_are_unique_words)
{
    for (int op = 0; op < SKL_OP_COUNT; op++) {
        CHECK(is_name(skl_op_name(op)));
        for (int k = 0; k < op; k++) {
            CHECK(strcmp(skl_op_name(op), skl_op_name(k)) != 0);
        }
    }
    for (int event = 0; event < SKL_EV_COUNT; event++) {
        CHECK(is_name(skl_event_name(event)));
        CHECK(strlen(skl_event_help(event)) > 0);
        for (int k = 0; k < event; k++) {
            CHECK(strcmp(skl_event_name(event), skl_event_name(k)) != 0);
        }
    }
}

enum { THREADS = 4, ROUNDS = 5000 };

static void *count_many(void *arg)
{
    skl_counters_t c;

    skl_counters_attach(&c, arg);
    for (int i = 0; i < ROUNDS; i++) {
        skl_count(&c, SKL_EV_wakeups, 2);
        skl_count_result(&c, SKL_OP_reserve, SECKILL_ESOLDOUT);
    }
    return NULL;
}

static int child_counts(void *arg)
{
    (void)count_many(arg);
    (void)kill(getpid(), SIGKILL);
    return 0;
}

TEST(no_count_is_lost_between_threads_and_dead_processes)
{
    skl_counters_shm_t *shm = fresh();
    pthread_t threads[THREADS];
    skl_counters_t c;

    atomic_store(&shm->next_stripe, SKL_STRIPES - 2); /* some share one */
    for (int i = 0; i < THREADS; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, count_many, shm) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    CHECK_INT(1000 + SIGKILL, scratch_run(child_counts, shm));
    skl_counters_attach(&c, shm);
    CHECK_INT(2 * ROUNDS * (THREADS + 1),
              skl_counters_event(&c, SKL_EV_wakeups));
    CHECK_INT(ROUNDS * (THREADS + 1),
              skl_counters_result(&c, SKL_OP_reserve, SECKILL_ESOLDOUT));
}

static int count_foreign(void *arg)
{
    (void)freopen("/dev/null", "w", stderr);
    skl_count_result(arg, SKL_OP_get, -1); /* -errno is not a code */
    return 0;
}

TEST(a_foreign_code_is_a_mistake_not_a_stray_write)
{
    skl_counters_t c;

    skl_counters_attach(&c, fresh());
    CHECK_INT(1000 + SIGABRT, scratch_run(count_foreign, &c));
}

TAP_MAIN()

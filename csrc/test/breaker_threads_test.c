/* Breakers and shedders between threads: for TSan, and for what must add up. */
#include "seckill_internal.h"
#include "test/support/scratch.h"
#include "test/support/tap.h"

#include <pthread.h>

enum { THREADS = 4 };

static seckill_t *sk;
static seckill_breaker_t *breaker;
static seckill_shedder_t *shed;
static _Atomic uint64_t reported, done;
static _Atomic int64_t now;

static void begin(void)
{
    const seckill_options_t o = {.struct_size = sizeof(o),
                                 .name = "threads",
                                 .shm_dir = scratch_dir(),
                                 .items = 1,
                                 .reservations = 1,
                                 .users = 1,
                                 .requests = 1,
                                 .limit_keys = 1,
                                 .limiters = 1,
                                 .lists = 1,
                                 .list_overlay = 1,
                                 .log_units = 64};
    const seckill_breaker_options_t b = {.struct_size = sizeof(b),
                                         .min_calls = 2,
                                         .consecutive = 3,
                                         .cpu = 0.9,
                                         .open_ns = 5000000,
                                         /* time goes on by calls: a thread
                                          * that is off its core is late */
                                         .probe_timeout_ns = 5000000,
                                         .ramp_ns = 1000000};
    const seckill_shedder_options_t s = {.struct_size = sizeof(s),
                                         .max_inflight = 3};
    char err[256];

    if (!CHECK_INT(SECKILL_OK, seckill_open(&o, &sk, err, sizeof(err))) ||
        !CHECK_INT(SECKILL_OK, seckill_breaker_open(sk, "b", &b, &breaker)) ||
        !CHECK_INT(SECKILL_OK, seckill_shedder_open(sk, "s", &s, &shed))) {
        exit(1);
    }
    atomic_store(&now, INT64_C(1000000000000));
}

/* Numbers change, the CPU is sampled, and somebody looks at it all. */
static void disturb(int i)
{
    seckill_breaker_options_t b = {.struct_size = sizeof(b),
                                   .min_calls = 1 + (uint32_t)i % 5,
                                   .window_ns = i % 2 ? 1000000000 : 500000000};
    seckill_shedder_options_t s = {.struct_size = sizeof(s),
                                   .max_inflight = 2 + i % 2};
    seckill_breaker_stats_t bs;
    seckill_shedder_stats_t ss;
    int rc = seckill_breaker_set(breaker, &b);

    CHECK(rc == SECKILL_OK || rc == SECKILL_EBUSY); /* the lock is waited for */
    rc = seckill_shedder_set(shed, &s);
    CHECK(rc == SECKILL_OK || rc == SECKILL_EBUSY);
    skl_gauge_feed(&sk->breakers.shm->gauge, (i % 10) / 10.0,
                   atomic_load(&now));
    seckill_breaker_stats(breaker, &bs);
    seckill_shedder_stats(shed, &ss);
    CHECK(bs.errors <= bs.calls);
    CHECK(ss.inflight[3] <= THREADS);
}

static void one_call(int i)
{
    int64_t at = atomic_fetch_add(&now, 100000), retry;
    uint64_t permit;

    if (seckill_breaker_allow(breaker, at, &permit, &retry) == SECKILL_OK) {
        if (i % 7 == 0) {
            (void)seckill_breaker_cancel(breaker, permit, at);
        } else {
            (void)seckill_breaker_report(breaker, permit, i / 16 % 4, 0, at);
            atomic_fetch_add(&reported, 1);
        }
    }
    if (seckill_shedder_admit(shed, 3, at, &permit, &retry) == SECKILL_OK) {
        CHECK_INT(1, seckill_shedder_done(shed, permit, 1, 1000, at));
        atomic_fetch_add(&done, 1);
    }
}

static void *run(void *arg)
{
    const int number = *(const int *)arg;

    for (int i = 0; i < 50000; i++) {
        one_call(i + number);
        if (i % 500 == number) {
            disturb(i + number);
        }
    }
    return NULL;
}

TEST(breaker_and_shedder_between_threads)
{
    int numbers[THREADS] = {0, 1, 2, 3};
    seckill_breaker_stats_t b;
    seckill_shedder_stats_t s;
    pthread_t threads[THREADS];

    begin();
    for (int i = 0; i < THREADS; i++) {
        CHECK_INT(0, pthread_create(&threads[i], NULL, run, &numbers[i]));
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK_INT(0, pthread_join(threads[i], NULL));
    }
    seckill_breaker_stats(breaker, &b);
    seckill_shedder_stats(shed, &s);
    CHECK_INT(atomic_load(&reported), b.succeeded + b.failed);
    CHECK(b.opened > 10 && b.half_opened > 10);
    CHECK_INT(atomic_load(&done), s.succeeded);
    CHECK_INT(0, s.inflight[3]);
    printf("# %llu reports, opened %llu times, %llu requests\n",
           (unsigned long long)atomic_load(&reported),
           (unsigned long long)b.opened, (unsigned long long)s.succeeded);
    seckill_close(sk);
    CHECK_INT(SECKILL_OK, seckill_destroy("threads", scratch_dir()));
}

TAP_MAIN()

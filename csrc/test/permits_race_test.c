/*
 * Permits between processes and threads that all want the same keys, and that
 * are killed while they do.
 *
 * What is in flight is counted in one shared word, raised after an acquire and
 * lowered before its release: 16 bits for each process, so that one atomic
 * operation shows all of them at one moment, and what a killed one counted can
 * be taken away.
 */
#include "test/support/permits.h"

#include "base/clock.h"
#include "base/hash.h"

#include <sched.h>

/* variants: rel asan */

enum { PROCESSES = 4, FIELD = 16 };

typedef struct {
    _Atomic uint64_t flying;
    _Atomic uint64_t admitted, refused, wrong, most;
    _Atomic int ready, go, stop;
} report_t;

typedef struct {
    permits_world_t w;
    report_t *r;
    uint32_t limit, cost;
    uint64_t key;
    int number, rounds;
} worker_t;

static uint64_t sum(uint64_t flying)
{
    uint64_t n = 0;

    for (int i = 0; i < PROCESSES; i++) {
        n += flying >> (i * FIELD) & 0xffff;
    }
    return n;
}

/* Count one more in flight, in units of the cost. */
static void rise(worker_t *wk)
{
    const uint64_t step = UINT64_C(1) << (wk->number * FIELD);
    const uint64_t n = sum(atomic_fetch_add(&wk->r->flying, step) + step);
    uint64_t most = atomic_load(&wk->r->most);

    atomic_fetch_add(&wk->r->admitted, 1);
    if (n * wk->cost > wk->limit || wk->w.in_use > wk->limit) {
        atomic_fetch_add(&wk->r->wrong, 1);
    }
    while (n > most && !atomic_compare_exchange_weak(&wk->r->most, &most, n)) {
    }
}

static void fall(worker_t *wk)
{
    atomic_fetch_sub(&wk->r->flying, UINT64_C(1) << (wk->number * FIELD));
}

static int acquire(worker_t *wk)
{
    const int rc =
        skl_permits_take(&wk->w.permits, wk->key, wk->cost, wk->limit, 1,
                         skl_clock_mono_ns(), &wk->w.last, &wk->w.in_use);

    if (rc != SECKILL_OK) {
        atomic_fetch_add(&wk->r->refused, 1);
        return 0;
    }
    rise(wk);
    return 1;
}

static void release(worker_t *wk, skl_permit_t t)
{
    fall(wk);
    if (skl_permits_release(&wk->w.permits, &t) != 1) {
        atomic_fetch_add(&wk->r->wrong, 1);
    }
}

static void begin(worker_t *wk)
{
    atomic_fetch_add(&wk->r->ready, 1);
    while (!atomic_load(&wk->r->go)) {
        sched_yield();
    }
}

/* ---- One key ------------------------------------------------------------- */

/* Take up to `deep`, give them back, again. */
static int hammer(void *arg)
{
    enum { DEEP = 32768 };
    static skl_permit_t held[DEEP];
    worker_t wk = *(worker_t *)arg;
    uint32_t deep = wk.limit / wk.cost / 2 + 1;

    deep = deep < DEEP ? deep : DEEP;
    begin(&wk);
    for (int i = 0; i < wk.rounds; i++) {
        uint32_t n = 0;

        while (n < deep && acquire(&wk)) {
            held[n++] = wk.w.last;
        }
        while (n > 0) {
            release(&wk, held[--n]);
        }
    }
    return 0;
}

static void hammer_with(uint32_t limit, uint32_t cost, uint32_t permits,
                        int rounds)
{
    worker_t wk = {.limit = limit,
                   .cost = cost,
                   .key = 0x1234567890abcdef,
                   .rounds = tap_full() ? rounds * 20 : rounds};
    pid_t pids[PROCESSES];

    permits_new(&wk.w, permits);
    wk.r = scratch_shared(sizeof(*wk.r));
    for (wk.number = 0; wk.number < PROCESSES; wk.number++) {
        pids[wk.number] = scratch_fork(hammer, &wk);
    }
    while (atomic_load(&wk.r->ready) < PROCESSES) {
        usleep(100);
    }
    atomic_store(&wk.r->go, 1);
    for (int i = 0; i < PROCESSES; i++) {
        CHECK_INT(0, scratch_wait(pids[i]));
    }
    printf("# limit %u, cost %u: %" PRIu64 " admitted, %" PRIu64
           " refused, at most %" PRIu64 " at once\n",
           limit, cost, atomic_load(&wk.r->admitted),
           atomic_load(&wk.r->refused), atomic_load(&wk.r->most));
    CHECK_INT(0, atomic_load(&wk.r->wrong));
    CHECK_INT(0, atomic_load(&wk.r->flying));
    CHECK(atomic_load(&wk.r->most) * cost <= limit);
    CHECK(atomic_load(&wk.r->admitted) > (uint64_t)wk.rounds / 10);
    CHECK_INT(0, permits_count(&wk.w, wk.key));
    CHECK_INT(0, skl_permits_held(&wk.w.permits));
    CHECK_INT(0, permits_event(&wk.w, SKL_EV_permits_full));
    permits_free(&wk.w);
}

TEST(permits_processes_hold_one_at_a_time)
{
    hammer_with(1, 1, 64, 200000);
}

TEST(permits_processes_hold_seven)
{
    hammer_with(7, 1, 64, 100000);
}

TEST(permits_processes_hold_seventy_thousand)
{
    hammer_with(70000, 1, 1 << 17, 6);
}

TEST(permits_processes_hold_threes_of_ten)
{
    hammer_with(10, 3, 64, 100000);
}

/* ---- Many keys ----------------------------------------------------------- */

/* Keys that come and go in a table that is too small for them. */
static int wander(void *arg)
{
    worker_t wk = *(worker_t *)arg;
    uint64_t seed = (uint64_t)wk.number;
    skl_permit_t held[4];

    begin(&wk);
    for (int i = 0; i < wk.rounds; i++) {
        uint32_t n = 0;

        for (int k = 0; k < 4; k++) {
            seed = skl_mix64(seed + 1);
            n += skl_permits_take(&wk.w.permits, 1 + skl_mix64(seed % 64), 1, 2,
                                  1, PERMITS_NOW, &held[n],
                                  &wk.w.in_use) == SECKILL_OK;
            if (wk.w.in_use > 2) {
                atomic_fetch_add(&wk.r->wrong, 1);
            }
        }
        while (n > 0) {
            if (skl_permits_release(&wk.w.permits, &held[--n]) != 1) {
                atomic_fetch_add(&wk.r->wrong, 1);
            }
        }
    }
    return 0;
}

TEST(permits_slots_that_change_hands_keep_their_counts)
{
    worker_t wk = {.rounds = tap_full() ? 3000000 : 50000};
    pid_t pids[PROCESSES];

    permits_new(&wk.w, 12);
    wk.r = scratch_shared(sizeof(*wk.r));
    for (wk.number = 0; wk.number < PROCESSES; wk.number++) {
        pids[wk.number] = scratch_fork(wander, &wk);
    }
    atomic_store(&wk.r->go, 1);
    for (int i = 0; i < PROCESSES; i++) {
        CHECK_INT(0, scratch_wait(pids[i]));
    }
    CHECK_INT(0, atomic_load(&wk.r->wrong));
    CHECK_INT(0, skl_permits_held(&wk.w.permits));
    for (uint64_t i = 0; i < 64; i++) {
        CHECK_INT(0, permits_count(&wk.w, 1 + skl_mix64(i)));
    }
    printf("# %" PRIu64 " times full\n",
           permits_event(&wk.w, SKL_EV_permits_full));
    permits_free(&wk.w);
}

/* ---- kill -9 ------------------------------------------------------------- */

static int live_dangerously(void *arg)
{
    worker_t wk = *(worker_t *)arg;
    skl_permit_t held[3];
    uint64_t turn = 0;

    begin(&wk);
    for (;;) {
        uint32_t n = 0;

        while (n < 3 && acquire(&wk)) {
            held[n++] = wk.w.last;
        }
        if (turn++ % 4 == 0) {
            (void)skl_processes_reap(&wk.w.processes, NULL, NULL);
        }
        while (n > 0) {
            release(&wk, held[--n]);
        }
    }
    return 0;
}

/* A killed worker's permits may be given to others at once, so what it counted
 * is taken away before: while it is stopped. */
static void kill_worker(worker_t *wk, pid_t pid, int number)
{
    const uint64_t field = UINT64_C(0xffff) << (number * FIELD);
    int status;

    CHECK_INT(0, kill(pid, SIGSTOP));
    CHECK_INT(pid, waitpid(pid, &status, WUNTRACED));
    atomic_fetch_and(&wk->r->flying, ~field);
    CHECK_INT(0, kill(pid, SIGKILL));
    CHECK_INT(1000 + SIGKILL, scratch_wait(pid));
}

static void kill_round(worker_t *wk, uint64_t random)
{
    pid_t pids[PROCESSES];
    const int first = (int)(random % PROCESSES);

    atomic_store(&wk->r->ready, 0);
    atomic_store(&wk->r->go, 0);
    for (wk->number = 0; wk->number < PROCESSES; wk->number++) {
        pids[wk->number] = scratch_fork(live_dangerously, wk);
    }
    while (atomic_load(&wk->r->ready) < PROCESSES) {
        usleep(50);
    }
    atomic_store(&wk->r->go, 1);
    usleep((useconds_t)(random >> 8) % 3000);
    kill_worker(wk, pids[first], first);
    usleep((useconds_t)(random >> 20) % 1000);
    for (int i = 0; i < PROCESSES; i++) {
        if (i != first) {
            kill_worker(wk, pids[i], i);
        }
    }
    (void)skl_processes_reap(&wk->w.processes, NULL, NULL);
    CHECK_INT(0, permits_count(&wk->w, wk->key));
    CHECK_INT(0, skl_permits_held(&wk->w.permits));
    CHECK_INT(0, atomic_load(&wk->r->flying));
}

TEST(permits_random_kills_lose_none_and_admit_none_too_many)
{
    const int rounds = tap_full() ? 5000 : 150;
    worker_t wk = {.limit = 7, .cost = 1, .key = 0xfeedfacecafebeef};
    uint64_t seed = tap_seed(1);

    permits_new(&wk.w, 32);
    wk.r = scratch_shared(sizeof(*wk.r));
    for (int i = 0; i < rounds; i++) {
        seed = skl_mix64(seed + 1);
        kill_round(&wk, seed);
    }
    printf("# %d rounds, %" PRIu64 " admitted, %" PRIu64
           " came back from the dead\n",
           rounds, atomic_load(&wk.r->admitted),
           permits_event(&wk.w, SKL_EV_permits_returned));
    CHECK_INT(0, atomic_load(&wk.r->wrong));
    CHECK_INT(7, atomic_load(&wk.r->most));
    CHECK(permits_event(&wk.w, SKL_EV_permits_returned) > 0);
    permits_free(&wk.w);
}

TAP_MAIN()

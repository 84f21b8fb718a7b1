/* Permits: exactness, limits over processes, death of holders. */
#include "test/support/many_locks.h"
#include "test/support/permits.h"

#include "base/hash.h"
#include "shm/lock.h"
#include "seckill_internal.h"

#include <pthread.h>
#include <sched.h>

enum { KEY = 77 };

static uint64_t next_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15ULL;
    return skl_mix64(*state);
}

/* ---- One process --------------------------------------------------------- */

TEST(permits_up_to_the_limit_and_back)
{
    permits_world_t w;
    skl_permit_t t[3];

    permits_new(&w, 16);
    for (uint32_t i = 0; i < 3; i++) {
        CHECK_INT(SECKILL_OK, permits_take(&w, KEY, 1, 3));
        CHECK_INT(i + 1, w.in_use);
        t[i] = w.last;
    }
    CHECK_INT(SECKILL_EREJECTED, permits_take(&w, KEY, 1, 3));
    CHECK_INT(3, w.in_use);
    CHECK_INT(0, w.last.number | w.last.cost);
    CHECK_INT(SECKILL_OK, permits_take(&w, KEY + 1, 1, 3));
    CHECK_INT(1, w.in_use);
    CHECK_INT(1, permits_release(&w, w.last));
    CHECK_INT(1, permits_release(&w, t[1]));
    CHECK_INT(2, permits_count(&w, KEY));
    CHECK_INT(SECKILL_OK, permits_take(&w, KEY, 1, 3));
    CHECK_INT(1, permits_release(&w, w.last));
    CHECK_INT(1, permits_release(&w, t[0]));
    CHECK_INT(1, permits_release(&w, t[2]));
    CHECK_INT(0, permits_count(&w, KEY));
    CHECK_INT(0, skl_permits_held(&w.permits));
    permits_free(&w);
}

TEST(permits_a_look_changes_nothing)
{
    permits_world_t w;

    permits_new(&w, 16);
    CHECK_INT(SECKILL_OK, permits_peek(&w, KEY, 2, 2));
    CHECK_INT(2, w.in_use);
    CHECK_INT(0, permits_count(&w, KEY));
    CHECK_INT(SECKILL_EREJECTED, permits_peek(&w, KEY, 3, 2));
    CHECK_INT(SECKILL_OK, permits_take(&w, KEY, 1, 2));
    CHECK_INT(SECKILL_EREJECTED, permits_peek(&w, KEY, 2, 2));
    CHECK_INT(1, w.in_use);
    CHECK_INT(1, skl_permits_held(&w.permits));
    permits_free(&w);
}

TEST(permits_limits_change_at_any_time)
{
    permits_world_t w;
    skl_permit_t t[4];

    permits_new(&w, 16);
    CHECK_INT(SECKILL_EREJECTED, permits_take(&w, KEY, 1, 0));
    for (int i = 0; i < 4; i++) {
        CHECK_INT(SECKILL_OK, permits_take(&w, KEY, 1, 4));
        t[i] = w.last;
    }
    CHECK_INT(SECKILL_EREJECTED, permits_take(&w, KEY, 1, 2));
    CHECK_INT(4, w.in_use);
    CHECK_INT(1, permits_release(&w, t[0]));
    CHECK_INT(1, permits_release(&w, t[1]));
    CHECK_INT(SECKILL_EREJECTED, permits_take(&w, KEY, 1, 2));
    CHECK_INT(1, permits_release(&w, t[2]));
    CHECK_INT(SECKILL_OK, permits_take(&w, KEY, 1, 2));
    CHECK_INT(SECKILL_EREJECTED, permits_take(&w, KEY, 1, 2));
    CHECK_INT(SECKILL_OK, permits_take(&w, KEY, 1, 5));
    CHECK_INT(3, w.in_use);
    permits_free(&w);
}

TEST(permits_count_beyond_16_bits)
{
    enum { MANY = 70000 };
    permits_world_t w;
    skl_permit_t *t = calloc(MANY, sizeof(*t));

    permits_new(&w, MANY);
    REQUIRE(t != NULL);
    for (int i = 0; i < MANY; i++) {
        REQUIRE(permits_take(&w, KEY, 1, MANY) == SECKILL_OK);
        t[i] = w.last;
    }
    CHECK_INT(MANY, w.in_use);
    CHECK_INT(SECKILL_EREJECTED, permits_take(&w, KEY, 1, MANY));
    for (int i = 0; i < MANY; i++) {
        REQUIRE(permits_release(&w, t[i]) == 1);
    }
    CHECK_INT(0, permits_count(&w, KEY));
    CHECK_INT(SECKILL_OK, permits_take(&w, KEY, SKL_PERMITS_LIMIT_MAX,
                                       SKL_PERMITS_LIMIT_MAX));
    CHECK_INT(SKL_PERMITS_LIMIT_MAX, w.in_use);
    t[0] = w.last;
    CHECK_INT(SECKILL_EREJECTED,
              permits_take(&w, KEY, 1, SKL_PERMITS_LIMIT_MAX));
    CHECK_INT(1, permits_release(&w, t[0]));
    CHECK_INT(0, permits_count(&w, KEY));
    free(t);
    permits_free(&w);
}

TEST(permits_a_permit_is_given_back_once)
{
    permits_world_t w;
    skl_permit_t old, forged;

    permits_new(&w, 1); /* the next acquire uses the same permit again */
    CHECK_INT(SECKILL_OK, permits_take(&w, KEY, 2, 9));
    old = w.last;
    CHECK_INT(1, permits_release(&w, old));
    CHECK_INT(0, permits_release(&w, old));
    CHECK_INT(SECKILL_OK, permits_take(&w, KEY, 2, 9));
    CHECK_INT(old.number, w.last.number);
    CHECK_INT(0, permits_release(&w, old));
    for (int i = 0; i < 5; i++) {
        forged = w.last;
        forged.number += i == 0 ? 1 : i == 4 ? UINT64_C(1) << 40 : 0;
        forged.key += i == 1;
        forged.seq += i == 2;
        forged.cost += i == 3;
        CHECK_INT(0, permits_release(&w, forged));
    }
    CHECK_INT(2, permits_count(&w, KEY));
    CHECK_INT(1, skl_permits_release(&w.permits, &w.last));
    CHECK_INT(0, w.last.number);
    CHECK_INT(0, skl_permits_release(&w.permits, &w.last));
    CHECK_INT(0, permits_count(&w, KEY));
    permits_free(&w);
}

TEST(permits_full_is_refused_and_counted)
{
    permits_world_t w;
    skl_permit_t t[8];

    permits_new(&w, 8);
    for (uint64_t i = 0; i < 8; i++) {
        CHECK_INT(SECKILL_OK, permits_take(&w, KEY, 1, 100));
        t[i] = w.last;
    }
    for (uint64_t i = 0; i < 8; i++) {
        CHECK_INT(SECKILL_EFULL, permits_take(&w, KEY + i, 1, 100));
        CHECK_INT(0, w.last.number);
    }
    CHECK_INT(8, permits_event(&w, SKL_EV_permits_full));
    CHECK_INT(8, permits_count(&w, KEY));
    CHECK_INT(1, permits_release(&w, t[5]));
    CHECK_INT(SECKILL_OK, permits_take(&w, KEY, 1, 100));
    CHECK_INT(SECKILL_EFULL, permits_take(&w, KEY, 1, 100));
    permits_free(&w);
}

/* All rows of processes are somebody else's. */
TEST(permits_without_a_row_nothing_is_admitted)
{
    static skl_processes_t others[SKL_PROCESSES];
    permits_world_t w;

    permits_new(&w, 8);
    for (int i = 0; i < SKL_PROCESSES; i++) {
        skl_processes_attach(&others[i], w.processes_shm);
        REQUIRE(skl_processes_mine(&others[i]) >= 0);
    }
    CHECK_INT(SECKILL_EFULL, permits_take(&w, KEY, 1, 9));
    CHECK_INT(0, permits_count(&w, KEY));
    CHECK_INT(1, skl_processes_leave(&others[9]));
    CHECK_INT(SECKILL_OK, permits_take(&w, KEY, 1, 9));
}

/* Every key of the model has its count, whatever the others do. */
TEST(permits_agree_with_a_model)
{
    enum { CAPACITY = 64, KEYS = 200 };
    const int rounds = tap_full() ? 3000000 : 200000;
    static uint32_t model[KEYS + 1];
    skl_permit_t held[CAPACITY];
    uint64_t of[CAPACITY];
    uint64_t seed = tap_seed(7);
    permits_world_t w;
    int n = 0;
    int bad = 0;

    memset(model, 0, sizeof(model));
    permits_new(&w, CAPACITY);
    for (int i = 0; i < rounds; i++) {
        const uint64_t r = next_random(&seed);
        const uint64_t key = 1 + (r >> 8) % KEYS;
        const uint32_t cost = 1 + (uint32_t)(r >> 20) % 3;
        const uint32_t limit = (uint32_t)(r >> 30) % 8;

        if (n > 0 && r % 128 < 63) {
            const int at = (int)((r >> 40) % (uint64_t)n);

            model[of[at]] -= (uint32_t)held[at].cost;
            bad += permits_release(&w, held[at]) != 1;
            bad += permits_release(&w, held[at]) != 0;
            held[at] = held[--n];
            of[at] = of[n];
        } else {
            const int fits = model[key] + cost <= limit;
            const int rc = permits_take(&w, skl_mix64(key), cost, limit);
            const int want = !fits           ? SECKILL_EREJECTED
                             : n == CAPACITY ? SECKILL_EFULL
                                             : SECKILL_OK;

            /* Both groups of a key may be full before the permits are. */
            bad += rc != want && !(rc == SECKILL_EFULL && n > CAPACITY / 2);
            if (rc == SECKILL_OK) {
                model[key] += cost;
                bad += w.in_use != model[key];
                of[n] = key;
                held[n++] = w.last;
            }
        }
        bad += permits_count(&w, skl_mix64(key)) != model[key];
        bad += (int)skl_permits_held(&w.permits) != n;
    }
    CHECK_INT(0, bad);
    for (uint64_t key = 1; key <= KEYS; key++) {
        CHECK_INT(model[key], permits_count(&w, skl_mix64(key)));
    }
    permits_free(&w);
}

/* A flood of keys takes no slot that counts. */
TEST(permits_a_key_that_is_held_is_never_evicted)
{
    permits_world_t w;
    skl_permit_t t[16];
    int full = 0;

    permits_new(&w, 64);
    for (uint64_t key = 1; key <= 16; key++) {
        CHECK_INT(SECKILL_OK, permits_take(&w, key << 40, 1, 1));
        t[key - 1] = w.last;
    }
    for (uint64_t i = 0; i < 100000; i++) {
        const int rc = permits_take(&w, skl_mix64(i + 1), 1, 1);

        if (rc == SECKILL_OK) {
            CHECK_INT(1, permits_release(&w, w.last));
        } else {
            full += rc == SECKILL_EFULL;
        }
    }
    for (uint64_t key = 1; key <= 16; key++) {
        CHECK_INT(SECKILL_EREJECTED, permits_take(&w, key << 40, 1, 1));
        CHECK_INT(1, permits_count(&w, key << 40));
        CHECK_INT(1, permits_release(&w, t[key - 1]));
        CHECK_INT(0, permits_count(&w, key << 40));
    }
    printf("# %d of 100000 new keys found no slot\n", full);
    permits_free(&w);
}

/* Slots for as many keys as there are permits. */
TEST(permits_every_permit_may_have_a_key_of_its_own)
{
    enum { CAPACITY = 1 << 14 };
    permits_world_t w;
    int full = 0;

    permits_new(&w, CAPACITY);
    for (uint64_t i = 0; i < CAPACITY; i++) {
        full += permits_take(&w, skl_mix64(i + 1), 1, 1) != SECKILL_OK;
    }
    printf("# %d of %d refused\n", full, CAPACITY);
    CHECK(full < CAPACITY / 500);
    permits_free(&w);
}

/* ---- Death --------------------------------------------------------------- */

typedef struct {
    permits_world_t w;
    _Atomic int *ready;
    int count;
} holder_t;

static int hold(void *arg)
{
    holder_t *h = arg;
    int n = 0;

    for (int i = 0; i < h->count; i++) {
        n += permits_take(&h->w, KEY, 1, 1000) == SECKILL_OK;
    }
    atomic_store(h->ready, n == h->count ? 1 : -1);
    for (;;) {
        pause();
    }
    return 0;
}

/* A child with so many permits of KEY. */
static pid_t start_holder(const permits_world_t *w, int count)
{
    holder_t h = {*w, scratch_shared(64), count};
    pid_t pid = scratch_fork(hold, &h);

    while (atomic_load(h.ready) == 0) {
        usleep(100);
    }
    CHECK_INT(1, atomic_load(h.ready));
    return pid;
}

static void end(pid_t pid)
{
    CHECK_INT(0, kill(pid, SIGKILL));
    CHECK_INT(1000 + SIGKILL, scratch_wait(pid));
}

TEST(permits_of_a_killed_process_come_back)
{
    permits_world_t w;
    skl_permit_t mine;
    pid_t victim, other;

    permits_new(&w, 64);
    CHECK_INT(SECKILL_OK, permits_take(&w, KEY, 3, 1000));
    mine = w.last;
    victim = start_holder(&w, 8);
    other = start_holder(&w, 5);
    for (int i = 0; i < 100; i++) {
        CHECK_INT(0, skl_processes_reap(&w.processes, NULL, NULL));
        CHECK_INT(16, permits_count(&w, KEY));
    }
    end(victim);
    CHECK_INT(16, permits_count(&w, KEY));
    CHECK_INT(1, skl_processes_reap(&w.processes, NULL, NULL));
    CHECK_INT(8, permits_count(&w, KEY));
    CHECK_INT(8, permits_event(&w, SKL_EV_permits_returned));
    for (int i = 0; i < 100; i++) {
        CHECK_INT(0, skl_processes_reap(&w.processes, NULL, NULL));
        CHECK_INT(8, permits_count(&w, KEY));
    }
    end(other);
    CHECK_INT(1, skl_processes_reap(&w.processes, NULL, NULL));
    CHECK_INT(3, permits_count(&w, KEY));
    CHECK_INT(1, permits_release(&w, mine));
    CHECK_INT(0, skl_permits_held(&w.permits));
    permits_free(&w);
}

/* A program without a sweep: the refusal itself looks, but not always. */
TEST(permits_a_refused_take_finds_the_dead)
{
    const int64_t tick = 100000000;
    permits_world_t w;
    pid_t pid;
    int64_t now = PERMITS_NOW;

    permits_new(&w, 64);
    pid = start_holder(&w, 8);
    CHECK_INT(SECKILL_EREJECTED, skl_permits_take(&w.permits, KEY, 1, 8, 1, now,
                                                  &w.last, &w.in_use));
    end(pid);
    now += tick - 1;
    CHECK_INT(SECKILL_EREJECTED, skl_permits_take(&w.permits, KEY, 1, 8, 1, now,
                                                  &w.last, &w.in_use));
    now += 1;
    CHECK_INT(SECKILL_OK, skl_permits_take(&w.permits, KEY, 1, 8, 1, now,
                                           &w.last, &w.in_use));
    CHECK_INT(1, w.in_use);
    CHECK_INT(1, permits_release(&w, w.last));
    pid = start_holder(&w, 8);
    end(pid);
    now -= 1000 * tick; /* a clock that went back */
    CHECK_INT(SECKILL_OK,
              skl_permits_take(&w.permits, KEY, 1, 8, 0, now, NULL, &w.in_use));
    permits_free(&w);
}

static int take_new_key(void *arg)
{
    permits_world_t *w = arg;

    for (;;) {
        (void)permits_take(w, 77, 1, 1);
    }
    return 0;
}

/* Killed while it waits for the lock of a new key, which somebody has who is
 * stopped: nobody can tell yet whether it still gets its slot. */
TEST(permits_of_one_killed_before_a_lock_come_back_when_it_is_free)
{
    skl_wait_t wait = {0};
    permits_world_t w;
    skl_lock_t *locks;
    pid_t pid;

    permits_new(&w, 16);
    locks = (skl_lock_t *)(void *)((char *)w.section + 64);
    CHECK_INT(SECKILL_OK, skl_lock_acquire(&locks[77 % 64], &wait, NULL, NULL));
    do {
        (void)skl_processes_reap(&w.processes, NULL, NULL);
        pid = scratch_fork(take_new_key, &w);
        while (skl_permits_held(&w.permits) == 0) {
            sched_yield();
        }
        end(pid);
    } while (skl_permits_held(&w.permits) == 0); /* between two tries */
    (void)skl_processes_reap(&w.processes, NULL, NULL);
    skl_lock_release(&locks[77 % 64]);
    (void)skl_processes_reap(&w.processes, NULL, NULL);
    CHECK_INT(0, skl_permits_held(&w.permits));
    CHECK_INT(0, permits_count(&w, 77));
    permits_free(&w);
}

static int take_and_tell(void *arg)
{
    permits_world_t *shared = arg;
    permits_world_t w = *shared;
    const int rc = permits_take(&w, KEY, 1, 1);

    shared->last = w.last;
    return rc == SECKILL_OK ? 0 : 1;
}

TEST(permits_a_ticket_of_the_dead_gives_nothing_back)
{
    permits_world_t *shared = scratch_shared(sizeof(*shared));
    permits_world_t w;

    permits_new(&w, 1);
    *shared = w;
    CHECK_INT(0, scratch_run(take_and_tell, shared));
    CHECK_INT(1, skl_processes_reap(&w.processes, NULL, NULL));
    CHECK_INT(0, permits_release(&w, shared->last));
    CHECK_INT(SECKILL_OK, permits_take(&w, KEY, 1, 1));
    CHECK_INT(shared->last.number, w.last.number);
    CHECK_INT(0, permits_release(&w, shared->last));
    CHECK_INT(1, permits_count(&w, KEY));
    permits_free(&w);
}

/* A child has its parent's handle and tickets, and a row of its own. */
static int take_and_leave(void *arg)
{
    permits_world_t *w = arg;

    return permits_take(w, KEY, 1, 10) == SECKILL_OK ? 0 : 1;
}

TEST(permits_a_fork_is_another_holder)
{
    permits_world_t w;

    permits_new(&w, 16);
    CHECK_INT(SECKILL_OK, permits_take(&w, KEY, 4, 10));
    CHECK_INT(0, scratch_run(take_and_leave, &w));
    CHECK_INT(5, permits_count(&w, KEY));
    CHECK_INT(1, skl_processes_reap(&w.processes, NULL, NULL));
    CHECK_INT(4, permits_count(&w, KEY));
    permits_free(&w);
}

static void *take_in_thread(void *arg)
{
    permits_world_t *w = arg;

    return permits_take(w, KEY, 1, 10) == SECKILL_OK ? arg : NULL;
}

/* The thread that claimed the row ends, and another process takes it for
 * dead: what is taken from then on is held again. */
TEST(permits_a_row_that_was_lost_is_claimed_anew)
{
    permits_world_t w, other;
    pthread_t thread;
    skl_permit_t old;
    void *good = NULL;

    permits_new(&w, 16);
    other = w;
    permits_attach(&other);
    permits_attach(&w);
    REQUIRE(pthread_create(&thread, NULL, take_in_thread, &w) == 0);
    (void)pthread_join(thread, &good);
    CHECK(good != NULL);
    old = w.last;
    CHECK_INT(1, skl_processes_reap(&other.processes, NULL, NULL));
    CHECK_INT(0, permits_count(&w, KEY));
    CHECK_INT(SECKILL_OK, permits_take(&w, KEY, 1, 10));
    CHECK_INT(0, permits_release(&w, old));
    CHECK_INT(0, skl_processes_reap(&other.processes, NULL, NULL));
    CHECK_INT(1, permits_count(&w, KEY));
    permits_free(&w);
}

/* Leaving gives back what is held, while the others keep theirs. */
TEST(permits_leaving_gives_them_back)
{
    permits_world_t w, other;

    permits_new(&w, 16);
    other = w;
    permits_attach(&other);
    permits_attach(&w);
    CHECK_INT(SECKILL_OK, permits_take(&w, KEY, 2, 10));
    CHECK_INT(SECKILL_OK, permits_take(&other, KEY, 3, 10));
    CHECK_INT(1, skl_processes_leave(&w.processes));
    CHECK_INT(3, permits_count(&w, KEY));
    CHECK_INT(0, permits_release(&w, w.last));
    CHECK_INT(1, permits_release(&other, other.last));
    CHECK_INT(1, skl_processes_leave(&other.processes));
    permits_free(&w);
}

/* ---- Threads ------------------------------------------------------------- */

typedef struct {
    permits_world_t *w;
    _Atomic uint32_t *flying;
    int rounds, wrong;
    uint32_t limit;
} thread_t;

/* In flight after an acquire and before its release. */
static void *hammer(void *arg)
{
    thread_t *t = arg;
    skl_permit_t held[3];
    uint32_t in_use;

    for (int i = 0; i < t->rounds; i++) {
        int n = 0;

        while (n < 3 && skl_permits_take(&t->w->permits, KEY, 1, t->limit, 1,
                                         PERMITS_NOW, &held[n], &in_use) == 0) {
            t->wrong += atomic_fetch_add(t->flying, 1) >= t->limit;
            t->wrong += in_use > t->limit;
            n++;
        }
        while (n > 0) {
            atomic_fetch_sub(t->flying, 1);
            t->wrong += skl_permits_release(&t->w->permits, &held[--n]) != 1;
        }
    }
    return NULL;
}

TEST(permits_threads_keep_to_the_limit)
{
    _Atomic uint32_t flying = 0;
    permits_world_t w;
    pthread_t threads[4];
    thread_t t[4];

    permits_new(&w, 16);
    CHECK(skl_processes_mine(&w.processes) >= 0);
    for (int i = 0; i < 4; i++) {
        t[i] = (thread_t){&w, &flying, tap_full() ? 1000000 : 20000, 0, 5};
        REQUIRE(pthread_create(&threads[i], NULL, hammer, &t[i]) == 0);
    }
    for (int i = 0; i < 4; i++) {
        (void)pthread_join(threads[i], NULL);
        CHECK_INT(0, t[i].wrong);
    }
    CHECK_INT(0, permits_count(&w, KEY));
    CHECK_INT(0, skl_permits_held(&w.permits));
    permits_free(&w);
}

/* ---- In an engine -------------------------------------------------------- */

typedef struct {
    seckill_t *sk;
    _Atomic int taken;
} shop_t;

static int take_eight(void *arg)
{
    shop_t *s = arg;
    skl_permit_t t;
    uint32_t in_use;
    int n = 0;

    for (int i = 0; i < 8; i++) {
        n += skl_permits_take(&s->sk->permits, KEY, 1, 100, 1, PERMITS_NOW, &t,
                              &in_use) == SECKILL_OK;
    }
    atomic_store(&s->taken, n);
    for (;;) {
        pause();
    }
    return 0;
}

/* The io thread finds out, and does not take its own process for dead. */
TEST(permits_the_sweep_of_an_engine_returns_them)
{
    const seckill_options_t o = {.struct_size = sizeof(o),
                                 .name = "permits",
                                 .shm_dir = scratch_dir(),
                                 .permits = 100};
    seckill_options_t has;
    shop_t *s = scratch_shared(sizeof(*s));
    skl_permit_t mine;
    uint32_t in_use;
    char err[256];
    pid_t pid;

    REQUIRE(seckill_open(&o, &s->sk, err, sizeof(err)) == SECKILL_OK);
    seckill_get_options(s->sk, &has);
    CHECK_INT(100, has.permits);
    CHECK_INT(100, skl_permits_capacity(&s->sk->permits));
    pid = scratch_fork(take_eight, s);
    REQUIRE(seckill_start(s->sk, err, sizeof(err)) == SECKILL_OK);
    CHECK_INT(SECKILL_OK, skl_permits_take(&s->sk->permits, KEY, 2, 100, 1,
                                           PERMITS_NOW, &mine, &in_use));
    while (atomic_load(&s->taken) == 0) {
        usleep(100);
    }
    CHECK_INT(8, atomic_load(&s->taken));
    CHECK_INT(10, skl_permits_in_use(&s->sk->permits, KEY));
    end(pid);
    while (skl_permits_in_use(&s->sk->permits, KEY) > 2) {
        usleep(1000);
    }
    CHECK_INT(2, skl_permits_in_use(&s->sk->permits, KEY));
    CHECK_INT(1, skl_permits_release(&s->sk->permits, &mine));
    CHECK_INT(SECKILL_OK, skl_permits_take(&s->sk->permits, KEY, 2, 100, 1,
                                           PERMITS_NOW, &mine, &in_use));
    seckill_close(s->sk);
    CHECK_INT(0, skl_permits_in_use(&s->sk->permits, KEY));
    CHECK_INT(SECKILL_OK, seckill_destroy("permits", scratch_dir()));
}

TAP_MAIN()

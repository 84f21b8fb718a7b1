/* The token-bucket limiter between processes: races, clocks, kill -9. */
#include "base/clock.h"
#include "limit/limits.h"
#include "limit/layout.h"
#include "test/support/tap.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* variants: rel asan */

#define SEC INT64_C(1000000000)
#define HOUR (3600 * SEC)

enum { PROCESSES = 4, KEYS = 4000 };

/* What the processes tell the test. */
typedef struct {
    _Atomic int ready;
    _Atomic int go;
    _Atomic int64_t first_ns, last_ns;
    _Atomic uint64_t admitted[KEYS];
    _Atomic uint64_t rounds;
} report_t;

typedef struct {
    void *section;
    size_t bytes;
    skl_counters_shm_t *counters_shm;
    skl_counters_t counters;
    skl_limits_t limits;
    skl_limiter_t *lim;
    report_t *report;
} world_t;

typedef void (*body_fn)(world_t *w, int number);

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

static void world_new(world_t *w, uint32_t limit_keys, double rate,
                      double burst)
{
    const skl_hash_key_t key = {0x0123456789abcdef, 0xfedcba9876543210};
    const skl_limits_size_t size = {
        .keys = limit_keys, .limiters = 1, .overrides = 1};
    seckill_limit_t limit = {.struct_size = sizeof(limit),
                             .algorithm = SECKILL_TOKEN_BUCKET,
                             .rate = rate,
                             .burst = burst};

    w->bytes = skl_limits_bytes(&size);
    w->section = pages(w->bytes);
    w->counters_shm = pages(sizeof(*w->counters_shm));
    w->report = pages(sizeof(*w->report));
    skl_counters_init(w->counters_shm);
    skl_counters_attach(&w->counters, w->counters_shm);
    skl_limits_init(w->section, &size);
    skl_limits_attach(&w->limits, w->section, &key, &w->counters);
    if (skl_limits_open(&w->limits, "a", &limit, SEC, &w->lim) != SECKILL_OK) {
        exit(1);
    }
}

static void world_free(world_t *w)
{
    skl_limits_detach(&w->limits);
    munmap(w->section, w->bytes);
    munmap(w->counters_shm, sizeof(*w->counters_shm));
    munmap(w->report, sizeof(*w->report));
}

static uint64_t overflows(const world_t *w)
{
    return skl_limits_counted(&w->limits, SKL_LIMIT_OVERFLOW);
}

static int take(skl_limiter_t *lim, const char *key, int64_t now)
{
    skl_limit_ask_t ask = {.now_ns = now, .cost = 1, .commit = 1};
    skl_limit_place_t place;

    skl_limiter_locate(lim, key, strlen(key), &place);
    return skl_limiter_take(lim, &place, &ask) == SECKILL_OK;
}

static pid_t spawn(world_t *w, int number, body_fn body)
{
    pid_t pid = fork();

    if (pid < 0) {
        perror("fork");
        exit(1);
    }
    if (pid == 0) {
        skl_counters_attach(&w->counters, w->counters_shm);
        atomic_fetch_add(&w->report->ready, 1);
        while (!atomic_load(&w->report->go)) {
            usleep(100);
        }
        body(w, number);
        _exit(0);
    }
    return pid;
}

static void start(world_t *w, pid_t *pids, int n, body_fn body)
{
    for (int i = 0; i < n; i++) {
        pids[i] = spawn(w, i, body);
    }
    while (atomic_load(&w->report->ready) < n) {
        usleep(100);
    }
    atomic_store(&w->report->go, 1);
}

static void finish(const pid_t *pids, int n)
{
    for (int i = 0; i < n; i++) {
        int status = -1;

        CHECK_INT(pids[i], waitpid(pids[i], &status, 0));
        CHECK_INT(0, status);
    }
}

static void run(world_t *w, body_fn body)
{
    pid_t pids[PROCESSES];

    start(w, pids, PROCESSES, body);
    finish(pids, PROCESSES);
}

/* ---- One key ------------------------------------------------------------- */

static void until_refused(world_t *w, int number)
{
    uint64_t n = 0;

    while (take(w->lim, "k", SEC)) {
        n++;
    }
    atomic_store(&w->report->admitted[number], n);
}

TEST(limit_processes_admit_exactly_the_burst)
{
    enum { BURST = 1000000 };
    uint64_t admitted = 0;
    world_t w;

    world_new(&w, 16, 1, BURST);
    run(&w, until_refused);
    for (int i = 0; i < PROCESSES; i++) {
        admitted += atomic_load(&w.report->admitted[i]);
    }
    CHECK_INT(BURST, admitted);
    CHECK_INT(0, overflows(&w));
    world_free(&w);
}

/* A virtual clock that all share: what comes in is what the rate allows. */
static void follow_clock(world_t *w, int number)
{
    uint64_t n = 0;
    uint64_t round;

    do {
        round = atomic_fetch_add(&w->report->rounds, 1);
        n += (uint64_t)take(w->lim, "k", SEC + (int64_t)round * 1000);
    } while (round < 1000000);
    atomic_store(&w->report->admitted[number], n);
}

TEST(limit_processes_admit_what_the_rate_allows)
{
    uint64_t admitted = 0;
    world_t w;

    world_new(&w, 16, 100000, 100);
    run(&w, follow_clock);
    for (int i = 0; i < PROCESSES; i++) {
        admitted += atomic_load(&w.report->admitted[i]);
    }
    /* one second; PROCESSES takes may come after the last instant */
    CHECK(admitted <= 100000 + 100 + 1);
    CHECK(admitted >= 99500);
    world_free(&w);
}

/* ---- Real clocks --------------------------------------------------------- */

enum { REAL_RATE = 20000, REAL_BURST = 20 };

static void hammer_for(world_t *w, int number, const int64_t *skews, int n)
{
    int64_t first = skl_clock_mono_ns();
    int64_t now = first;
    uint64_t admitted = 0;

    for (uint32_t i = 0; now < first + SEC / 4; i++) {
        now = skl_clock_mono_ns();
        admitted += (uint64_t)take(w->lim, "k", now + skews[i % (uint32_t)n]);
    }
    atomic_store(&w->report->admitted[number], admitted);
}

/* Tokens the rate gives in the time since `from`, at most. */
static uint64_t tokens_since(int64_t from)
{
    return (uint64_t)((skl_clock_mono_ns() - from) * REAL_RATE / SEC) + 1;
}

static void real_clock(world_t *w, int number)
{
    static const int64_t none[] = {0};

    hammer_for(w, number, none, 1);
}

static uint64_t run_real(world_t *w, body_fn body, uint64_t *tokens)
{
    int64_t from = skl_clock_mono_ns();
    uint64_t admitted = 0;

    run(w, body);
    *tokens = tokens_since(from);
    for (int i = 0; i < PROCESSES; i++) {
        admitted += atomic_load(&w->report->admitted[i]);
    }
    return admitted;
}

TEST(limit_real_clock_keeps_the_bound)
{
    uint64_t admitted;
    uint64_t tokens;
    world_t w;

    world_new(&w, 16, REAL_RATE, REAL_BURST);
    admitted = run_real(&w, real_clock, &tokens);
    CHECK(admitted <= REAL_BURST + tokens);
    CHECK(admitted >= REAL_BURST);
    world_free(&w);
}

/* Clocks that jump by 5 ms to and fro are worth their spread, once. */
static void jitter(world_t *w, int number)
{
    static const int64_t skews[] = {0, -5000000, 5000000, 1000, -1000000};

    hammer_for(w, number, skews, 5);
}

TEST(limit_clock_jitter_keeps_the_bound)
{
    uint64_t admitted;
    uint64_t tokens;
    world_t w;

    world_new(&w, 16, REAL_RATE, REAL_BURST);
    admitted = run_real(&w, jitter, &tokens);
    CHECK(admitted <= REAL_BURST + tokens + REAL_RATE / 100);
    world_free(&w);
}

/* A process whose clock is an hour off: each clock may bring one burst. */
static void hour_off(world_t *w, int number)
{
    const int64_t skew = (number - 1) * HOUR;

    hammer_for(w, number, &skew, 1);
}

TEST(limit_clocks_an_hour_apart_keep_the_bound)
{
    uint64_t admitted;
    uint64_t tokens;
    world_t w;

    world_new(&w, 16, REAL_RATE, REAL_BURST);
    admitted = run_real(&w, hour_off, &tokens);
    CHECK(admitted <= PROCESSES * REAL_BURST + tokens);
    world_free(&w);
}

/* ---- New keys ------------------------------------------------------------ */

static void insert_all(world_t *w, int number)
{
    char key[32];

    for (int i = 0; i < KEYS; i++) {
        int k = number % 2 == 0 ? i : KEYS - 1 - i;

        snprintf(key, sizeof(key), "user%d", k);
        if (take(w->lim, key, SEC)) {
            atomic_fetch_add(&w->report->admitted[k], 1);
        }
    }
}

/* All processes put the same keys in: no key may be there twice. */
TEST(limit_insert_race_admits_each_key_once)
{
    uint64_t lost = 0;
    world_t w;

    world_new(&w, KEYS, 1, 1);
    run(&w, insert_all);
    for (int i = 0; i < KEYS; i++) {
        uint64_t n = atomic_load(&w.report->admitted[i]);

        CHECK(n <= 1);
        lost += n == 0;
    }
    /* Only a take that could not get its lock may refuse for nothing. */
    CHECK(lost <= overflows(&w));
    world_free(&w);
}

static void flood(world_t *w, int number)
{
    char key[32];

    for (int i = 0; i < 10 * KEYS; i++) {
        snprintf(key, sizeof(key), "flood%d-%d", number, i);
        (void)take(w->lim, key, SEC + i);
        snprintf(key, sizeof(key), "user%d", i % 50);
        if (take(w->lim, key, SEC + i)) {
            atomic_fetch_add(&w->report->admitted[i % 50], 1);
        }
    }
}

TEST(limit_flood_from_processes_admits_no_victim_again)
{
    world_t w;

    world_new(&w, KEYS / 4, 1e-3, 1);
    run(&w, flood);
    CHECK(overflows(&w) > 0);
    for (int i = 0; i < 50; i++) {
        CHECK(atomic_load(&w.report->admitted[i]) <= 1);
    }
    world_free(&w);
}

/* ---- Dead and stuck holders ---------------------------------------------- */

static void hold_all_locks(world_t *w, int number)
{
    skl_wait_t wait = {0};

    (void)number;
    for (int i = 0; i < SKL_LIMIT_STRIPES; i++) {
        if (skl_lock_acquire(&w->limits.shm->stripes[i], &wait, NULL, NULL) !=
            SECKILL_OK) {
            _exit(1);
        }
    }
    atomic_store(&w->report->rounds, 1);
    pause();
}

/* While somebody is stuck with the locks, new keys share cells; what they took
 * there counts when they come into the table. */
TEST(limit_stuck_lock_is_no_amnesty)
{
    skl_wait_t wait = {0};
    int status;
    pid_t pid;
    world_t w;

    world_new(&w, 16, 1, 2);
    start(&w, &pid, 1, hold_all_locks);
    while (atomic_load(&w.report->rounds) == 0) {
        usleep(100);
    }
    CHECK_INT(1, take(w.lim, "k", SEC));
    CHECK_INT(1, take(w.lim, "k", SEC));
    CHECK_INT(0, take(w.lim, "k", SEC));
    CHECK_INT(3, overflows(&w));
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    CHECK_INT(0, take(w.lim, "k", SEC));
    CHECK_INT(1, take(w.lim, "k", 2 * SEC));
    CHECK_INT(0, take(w.lim, "k", 2 * SEC));
    CHECK_INT(3, overflows(&w));
    CHECK_INT(SECKILL_OK,
              skl_lock_acquire(&w.limits.shm->stripes[0], &wait, NULL, NULL));
    skl_lock_release(&w.limits.shm->stripes[0]);
    world_free(&w);
}

/* Takes of old and new keys until it is killed. */
static void work_until_killed(world_t *w, int number)
{
    char key[32];

    for (int i = number;; i = (i + 7919) % KEYS) {
        snprintf(key, sizeof(key), "user%d", i);
        if (take(w->lim, key, SEC)) {
            atomic_fetch_add(&w->report->admitted[i], 1);
        }
        atomic_fetch_add(&w->report->rounds, 1);
    }
}

static void kill_one(world_t *w, uint64_t after)
{
    uint64_t goal = atomic_load(&w->report->rounds) + after;
    int status = 0;
    pid_t pid = spawn(w, (int)(after % KEYS), work_until_killed);

    while (atomic_load(&w->report->rounds) < goal) {
        usleep(50);
    }
    kill(pid, SIGKILL);
    CHECK_INT(pid, waitpid(pid, &status, 0));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST(limit_killed_processes_leave_no_damage)
{
    int kills = tap_full() ? 500 : 40;
    char key[32];
    world_t w;

    world_new(&w, KEYS, 1, 3);
    atomic_store(&w.report->go, 1);
    for (int i = 0; i < kills; i++) {
        kill_one(&w, 1 + (uint64_t)i * 37 % 800);
    }
    for (int i = 0; i < KEYS; i++) {
        CHECK(atomic_load(&w.report->admitted[i]) <= 3);
        snprintf(key, sizeof(key), "user%d", i);
        while (take(w.lim, key, SEC)) {
            atomic_fetch_add(&w.report->admitted[i], 1);
        }
        CHECK(atomic_load(&w.report->admitted[i]) <= 3);
        CHECK_INT(1, take(w.lim, key, 2 * SEC));
    }
    CHECK_INT(0, overflows(&w));
    world_free(&w);
}

TAP_MAIN()

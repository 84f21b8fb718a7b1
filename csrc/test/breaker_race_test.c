/* Circuit breakers between processes: races, kill -9 at any moment. */
#include "breaker/breaker.h"
#include "test/support/breaker_world.h"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* variants: rel asan */

enum { PROCESSES = 4 };

/* What test and processes tell each other. */
typedef struct {
    _Atomic int round;    /* that is on; below 0: the end */
    _Atomic int finished; /* processes that are through with it */
    _Atomic int64_t now;
    _Atomic uint64_t admitted, refused, permit, reports;
} board_t;

static breaker_world_t world;
static skl_breaker_t *shared;
static board_t *board;

typedef void (*body_fn)(int number);

static void begin(seckill_breaker_options_t o)
{
    shared = one_breaker(&world, o);
    board = shared_pages(sizeof(*board));
    atomic_store(&board->now, world.now);
}

static void end(void)
{
    world_free(&world);
    munmap(board, sizeof(*board));
}

static pid_t spawn(int number, body_fn body)
{
    pid_t pid = fork();

    if (pid < 0) {
        perror("fork");
        exit(1);
    }
    if (pid == 0) {
        skl_counters_attach(&world.counters, world.counters_shm);
        body(number);
        _exit(0);
    }
    return pid;
}

static void finish(pid_t pid)
{
    int status = -1;

    CHECK_INT(pid, waitpid(pid, &status, 0));
    CHECK_INT(0, status);
}

static int64_t clock_now(void)
{
    return atomic_load(&board->now);
}

static uint64_t ask(void)
{
    uint64_t permit = 0;
    int64_t retry;

    (void)skl_breaker_allow(shared, clock_now(), &permit, &retry);
    atomic_fetch_add(permit != 0 ? &board->admitted : &board->refused, 1);
    return permit;
}

static void tell(uint64_t permit, int ok)
{
    (void)skl_breaker_report(shared, permit, ok, 0, clock_now());
}

/* ---- Rounds -------------------------------------------------------------- */

/* Wait for the next round; 0 at the end. */
static int next_round(int *round)
{
    int now;

    while ((now = atomic_load(&board->round)) == *round) {
        sched_yield();
    }
    *round = now;
    return now >= 0;
}

/* All processes do it once, at the same time. */
static void play_round(int number)
{
    atomic_store(&board->finished, 0);
    atomic_store(&board->admitted, 0);
    atomic_store(&board->refused, 0);
    atomic_store(&board->round, number);
    while (atomic_load(&board->finished) < PROCESSES) {
        sched_yield();
    }
}

static void start_rounds(pid_t *pids, body_fn body)
{
    atomic_store(&board->round, 0);
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = spawn(i, body);
    }
}

static void end_rounds(const pid_t *pids)
{
    atomic_store(&board->round, -1);
    for (int i = 0; i < PROCESSES; i++) {
        finish(pids[i]);
    }
}

static void ask_each_round(int number)
{
    int round = 0;

    (void)number;
    while (next_round(&round)) {
        (void)ask();
        atomic_fetch_add(&board->finished, 1);
    }
}

static void see_to(int64_t now)
{
    world.now = now;
    atomic_store(&board->now, now);
}

TEST(breaker_processes_get_exactly_the_probes)
{
    const int rounds = tap_full() ? 20000 : 2000;
    pid_t pids[PROCESSES];

    begin(small_options());
    start_rounds(pids, ask_each_round);
    calls(&world, shared, 2, 0);
    for (int i = 1; i <= rounds; i++) {
        see_to(world.now + stats_of(&world, shared).retry_ns);
        play_round(i);
        CHECK_INT(2, atomic_load(&board->admitted));
        CHECK_INT(SECKILL_BREAKER_HALF_OPEN, state(&world, shared));
        see_to(world.now + SEC); /* nobody reports */
        CHECK_INT(SECKILL_BREAKER_OPEN, state(&world, shared));
    }
    CHECK_INT(rounds, stats_of(&world, shared).half_opened);
    CHECK_INT(rounds + 1, stats_of(&world, shared).opened);
    end_rounds(pids);
    end();
}

static void fail_each_round(int number)
{
    int round = 0;

    (void)number;
    while (next_round(&round)) {
        uint64_t permit = ask();

        if (permit != 0) {
            tell(permit, 0);
        }
        atomic_fetch_add(&board->finished, 1);
    }
}

TEST(breaker_processes_open_it_once)
{
    const int rounds = tap_full() ? 20000 : 2000;
    pid_t pids[PROCESSES];

    begin(small_options());
    start_rounds(pids, fail_each_round);
    for (int i = 1; i <= rounds; i++) {
        play_round(i);
        CHECK_INT(SECKILL_BREAKER_OPEN, state(&world, shared));
        CHECK_INT(2 * i - 1, stats_of(&world, shared).opened);
        see_to(world.now + stats_of(&world, shared).retry_ns);
        play_round(1000000 + i); /* bad probes */
        CHECK_INT(2 * i, stats_of(&world, shared).opened);
        see_to(world.now + stats_of(&world, shared).retry_ns);
        calls(&world, shared, 2, 1);
        CHECK_INT(SECKILL_BREAKER_CLOSED, state(&world, shared));
    }
    end_rounds(pids);
    end();
}

/* ---- Counts -------------------------------------------------------------- */

enum { REPORTS = 200000 };

static void report_all(int number)
{
    int round = 0;

    if (!next_round(&round)) {
        return;
    }
    for (int i = 0; i < REPORTS; i++) {
        tell(ask(), i % 4 != number);
    }
    atomic_fetch_add(&board->finished, 1);
    (void)next_round(&round);
}

TEST(breaker_processes_lose_no_report)
{
    seckill_breaker_options_t o = small_options();
    seckill_breaker_stats_t s;
    pid_t pids[PROCESSES];

    o.error_ratio = -1;
    begin(o);
    start_rounds(pids, report_all);
    play_round(1);
    s = stats_of(&world, shared);
    CHECK_INT(PROCESSES * REPORTS, s.calls);
    CHECK_INT(REPORTS, s.errors);
    CHECK_INT(PROCESSES * REPORTS, s.allowed);
    CHECK_INT(REPORTS, s.failed);
    end_rounds(pids);
    end();
}

/* ---- kill -9 ------------------------------------------------------------- */

static void take_a_probe_and_hang(int number)
{
    (void)number;
    atomic_store(&board->permit, ask());
    for (;;) {
        pause();
    }
}

TEST(breaker_probe_of_a_killed_process_expires)
{
    int status;
    pid_t pid;

    begin(small_options());
    calls(&world, shared, 2, 0);
    see_to(world.now + stats_of(&world, shared).retry_ns);
    pid = spawn(0, take_a_probe_and_hang);
    while (atomic_load(&board->permit) == 0) {
        sched_yield();
    }
    CHECK_INT(0, kill(pid, SIGKILL));
    CHECK_INT(pid, waitpid(pid, &status, 0));
    calls(&world, shared, 1, 1);
    CHECK_INT(0, allow(&world, shared)); /* the dead one has it */
    see_to(world.now + 300 * MS);
    CHECK_INT(SECKILL_BREAKER_OPEN, state(&world, shared));
    CHECK_INT(1, stats_of(&world, shared).expired);
    see_to(world.now + stats_of(&world, shared).retry_ns);
    calls(&world, shared, 2, 1);
    CHECK_INT(SECKILL_BREAKER_CLOSED, state(&world, shared));
    end();
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Everything there is, without end. */
static void live(int number)
{
    uint64_t r = 88172645463325252u + (uint64_t)number;

    for (;;) {
        uint64_t permit = ask();

        if (next_random(&r) % 64 == 0) {
            atomic_fetch_add(&board->now, 20 * MS);
        }
        if (permit != 0 && r % 16 == 0) {
            (void)skl_breaker_cancel(shared, permit, clock_now());
        } else if (permit != 0 && r % 16 != 1) {
            tell(permit, r % 3 != 0);
        }
        if (r % 1024 == 0) {
            (void)skl_breaker_force(
                shared, r % 2048 == 0 ? SECKILL_BREAKER_DISABLED : 0,
                clock_now());
        }
        atomic_fetch_add(&board->reports, 1);
    }
}

/* Whatever was left, it opens, probes and closes as if nothing had been. */
static void must_work(void)
{
    CHECK_INT(SECKILL_OK,
              skl_breaker_force(shared, SECKILL_BREAKER_DISABLED, world.now));
    CHECK_INT(SECKILL_OK, skl_breaker_force(shared, 0, world.now));
    calls(&world, shared, 2, 0);
    CHECK_INT(SECKILL_BREAKER_OPEN, state(&world, shared));
    see_to(world.now + stats_of(&world, shared).retry_ns);
    calls(&world, shared, 2, 1);
    CHECK_INT(SECKILL_BREAKER_CLOSED, state(&world, shared));
}

/* Without a hand on it: out of any state it comes to CLOSED. */
static void must_recover(void)
{
    int i = 0;

    while (state(&world, shared) != SECKILL_BREAKER_CLOSED && i++ < 100) {
        uint64_t permit = allow(&world, shared);

        if (permit != 0) {
            (void)report(&world, shared, permit, 1);
        }
        see_to(world.now + SEC);
    }
    CHECK(i < 100);
}

TEST(breaker_survives_kill_9_anywhere)
{
    const int deaths = tap_full() ? 3000 : 300;
    pid_t pids[2];
    int status;

    begin(small_options());
    for (int i = 0; i < deaths; i++) {
        uint64_t before = atomic_load(&board->reports);

        pids[0] = spawn(2 * i, live);
        pids[1] = spawn(2 * i + 1, live);
        while (atomic_load(&board->reports) < before + 100 + (uint64_t)i) {
            sched_yield();
        }
        for (int k = 0; k < 2; k++) {
            CHECK_INT(0, kill(pids[k], SIGKILL));
            CHECK_INT(pids[k], waitpid(pids[k], &status, 0));
        }
        see_to(clock_now() + SEC);
        if (state(&world, shared) == SECKILL_BREAKER_DISABLED) {
            (void)skl_breaker_force(shared, 0, world.now);
        }
        must_recover();
        must_work();
        see_to(world.now + 2 * SEC);
    }
    end();
}

TAP_MAIN()

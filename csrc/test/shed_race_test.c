/* Load shedding between processes: the hard limit, kill -9, fork. */
#include "base/clock.h"
#include "seckill_internal.h"
#include "test/support/scratch.h"
#include "test/support/tap.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* variants: rel asan */

enum { PROCESSES = 4, LIMIT = 3 };

typedef struct {
    _Atomic int go, ready;
    _Atomic int inside, most;
    _Atomic uint64_t admitted, refused;
} board_t;

static board_t *board;
static seckill_t *sk;
static seckill_shedder_t *shed;

static void begin(int64_t max_inflight)
{
    const seckill_options_t o = {.struct_size = sizeof(o),
                                 .name = "shed",
                                 .shm_dir = scratch_dir(),
                                 .items = 1,
                                 .reservations = 1,
                                 .users = 1,
                                 .requests = 1,
                                 .limit_keys = 1,
                                 .limiters = 1,
                                 .lists = 1,
                                 .list_overlay = 1,
                                 .breakers = 1,
                                 .shedders = 1,
                                 .log_units = 64};
    const seckill_shedder_options_t options = {.struct_size = sizeof(options),
                                               .cpu_high = -1,
                                               .max_inflight = max_inflight};
    char err[256];

    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!CHECK(board != MAP_FAILED) ||
        !CHECK_INT(SECKILL_OK, seckill_open(&o, &sk, err, sizeof(err))) ||
        !CHECK_INT(SECKILL_OK,
                   seckill_shedder_open(sk, "all", &options, &shed))) {
        exit(1);
    }
}

static void end(void)
{
    seckill_close(sk);
    CHECK_INT(SECKILL_OK, seckill_destroy("shed", scratch_dir()));
    munmap(board, sizeof(*board));
}

static uint64_t admit(void)
{
    uint64_t permit = 0;
    int64_t retry;

    (void)seckill_shedder_admit(shed, 3, 0, &permit, &retry);
    return permit;
}

static pid_t spawn(void (*body)(void))
{
    pid_t pid = fork();

    if (pid < 0) {
        perror("fork");
        exit(1);
    }
    if (pid == 0) {
        seckill_refresh_process(sk);
        atomic_fetch_add(&board->ready, 1);
        while (!atomic_load(&board->go)) {
            sched_yield();
        }
        body();
        _exit(0);
    }
    return pid;
}

static void start(pid_t *pids, void (*body)(void))
{
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = spawn(body);
    }
    while (atomic_load(&board->ready) < PROCESSES) {
        sched_yield();
    }
    atomic_store(&board->go, 1);
}

static uint64_t inflight(void)
{
    seckill_shedder_stats_t s;

    seckill_shedder_stats(shed, &s);
    return s.inflight[3];
}

/* ---- The hard limit ------------------------------------------------------ */

static void come_and_go(void)
{
    for (int i = 0; i < (tap_full() ? 2000000 : 200000); i++) {
        uint64_t permit = admit();
        int inside, most;

        if (permit == 0) {
            atomic_fetch_add(&board->refused, 1);
            continue;
        }
        inside = atomic_fetch_add(&board->inside, 1) + 1;
        most = atomic_load(&board->most);
        while (inside > most &&
               !atomic_compare_exchange_weak(&board->most, &most, inside)) {
        }
        atomic_fetch_add(&board->admitted, 1);
        if (i % 8 == 0) {
            sched_yield();
        }
        atomic_fetch_sub(&board->inside, 1);
        (void)seckill_shedder_done(shed, permit, 1, 1000, 0);
    }
}

TEST(shed_processes_keep_the_hard_limit)
{
    pid_t pids[PROCESSES];
    int status;

    begin(LIMIT);
    start(pids, come_and_go);
    for (int i = 0; i < PROCESSES; i++) {
        CHECK_INT(pids[i], waitpid(pids[i], &status, 0));
        CHECK_INT(0, status);
    }
    printf("# %llu admitted, %llu refused, at most %d at once\n",
           (unsigned long long)atomic_load(&board->admitted),
           (unsigned long long)atomic_load(&board->refused),
           atomic_load(&board->most));
    CHECK(atomic_load(&board->most) <= LIMIT);
    CHECK(atomic_load(&board->admitted) > 1000);
    CHECK_INT(0, inflight());
    end();
}

/* ---- kill -9 ------------------------------------------------------------- */

static void fill_and_hang(void)
{
    uint64_t permit;

    while ((permit = admit()) != 0) {
        atomic_fetch_add(&board->admitted, 1);
    }
    atomic_store(&board->inside, 1);
    for (;;) {
        pause();
    }
}

TEST(shed_killed_process_gives_back_all_it_had)
{
    seckill_shedder_stats_t s;
    int status;
    pid_t pid;

    begin(8);
    atomic_store(&board->go, 1);
    for (int round = 1; round <= 20; round++) {
        atomic_store(&board->inside, 0);
        pid = spawn(fill_and_hang);
        while (!atomic_load(&board->inside)) {
            sched_yield();
        }
        CHECK_INT(8, inflight());
        CHECK_INT(0, admit());
        CHECK_INT(0, kill(pid, SIGKILL));
        CHECK_INT(pid, waitpid(pid, &status, 0));
        (void)seckill_sweep(sk, 1);
        CHECK_INT(0, inflight());
        seckill_shedder_stats(shed, &s);
        CHECK_INT(8 * round, s.lost);
    }
    CHECK(admit() != 0);
    end();
}

static void live(void)
{
    for (;;) {
        uint64_t permit = admit();

        atomic_fetch_add(&board->admitted, 1);
        if (permit != 0 && atomic_load(&board->admitted) % 5 != 0) {
            (void)seckill_shedder_done(shed, permit, 1, -1, 0);
        }
    }
}

TEST(shed_survives_kill_9_anywhere)
{
    const int deaths = tap_full() ? 3000 : 200;
    int status;
    pid_t pids[2];

    begin(100);
    atomic_store(&board->go, 1);
    for (int i = 0; i < deaths; i++) {
        uint64_t before = atomic_load(&board->admitted);

        pids[0] = spawn(live);
        pids[1] = spawn(live);
        while (atomic_load(&board->admitted) < before + 50 + (uint64_t)i) {
            sched_yield();
        }
        for (int k = 0; k < 2; k++) {
            CHECK_INT(0, kill(pids[k], SIGKILL));
            CHECK_INT(pids[k], waitpid(pids[k], &status, 0));
        }
        (void)seckill_sweep(sk, 1);
        CHECK_INT(0, inflight());
    }
    end();
}

/* What the parent has in flight stays the parent's. */
static void be_a_child(void)
{
    const int swept = seckill_sweep(sk, 1);

    atomic_store(&board->inside, swept == 0 && admit() != 0 ? 2 : 1);
}

TEST(shed_child_counts_in_a_row_of_its_own)
{
    uint64_t permit;
    int status;
    pid_t pid;

    begin(8);
    permit = admit();
    atomic_store(&board->go, 1);
    pid = spawn(be_a_child);
    CHECK_INT(pid, waitpid(pid, &status, 0));
    CHECK_INT(2, atomic_load(&board->inside));
    CHECK_INT(2, inflight());
    (void)seckill_sweep(sk, 1);
    CHECK_INT(1, inflight());
    CHECK_INT(1, seckill_shedder_done(shed, permit, 1, -1, 0));
    CHECK_INT(0, inflight());
    end();
}

/* ---- Taken for dead ------------------------------------------------------ */

static _Atomic int reaping;

static void *reap_all_the_time(void *arg)
{
    while (atomic_load(&reaping)) {
        skl_sheds_reap(arg, 0);
    }
    return NULL;
}

/* The thread that claimed the row has ended, and somebody clears it while it is
 * still used: the request that is being judged may not be there any more. */
TEST(shed_a_row_that_is_cleared_meanwhile_is_no_harm)
{
    skl_shed_t *s;
    pthread_t thread;
    int64_t retry;

    begin(4);
    s = (skl_shed_t *)(void *)shed;
    atomic_store(&reaping, 1);
    CHECK_INT(0, pthread_create(&thread, NULL, reap_all_the_time, s->sheds));
    for (int i = 0; i < 2000000; i++) {
        uint64_t permit = 0;

        if (skl_shed_admit(s, 0, 1, skl_clock_mono_ns(), &permit, &retry) ==
            SECKILL_OK) {
            (void)skl_shed_cancel(s, permit);
        }
    }
    atomic_store(&reaping, 0);
    CHECK_INT(0, pthread_join(thread, NULL));
    end();
}

TAP_MAIN()

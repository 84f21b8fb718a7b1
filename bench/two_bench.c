/*
 * Figures of several processes on one hot item, in memory:
 *
 *   one and two processes reserve as fast as they can, each on a core of its
 *   own where there are two; the total, and the share of the slower one;
 *   a process is killed while it reserves: the time until another one has the
 *   answer of the operation that took over a lock and repaired what was left.
 *
 *   usage: two_bench NAME
 */
#include "bench.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    ROWS = 1 << 20,
    PROCESSES = 2,
    TURN_MS = 250,
    PER_PROCESS = 1 << 28, /* numbers of buyers */
    KILLS = 400,
    CALLS = 1500, /* of a process that is going to be killed, at most */
    REPAIRS_MIN = 20
};

/* Shared by the processes of a turn. */
typedef struct {
    _Alignas(64) _Atomic uint64_t done;
    _Atomic uint64_t busy;
} count_t;

typedef struct {
    count_t counts[PROCESSES];
    _Alignas(64) _Atomic int ready, go, stop;
} board_t;

static board_t *board;

static void fail(const char *what)
{
    fprintf(stderr, "two_bench: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void to_core(int n)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)n, &set);
    (void)sched_setaffinity(0, sizeof(set), &set); /* where there is one */
}

/* In a child: reserve until it is told to stop, or killed. */
static void loop(seckill_t *sk, int who, uint32_t first, uint32_t most)
{
    count_t *c = &board->counts[who];
    uint32_t n = first;

    to_core(who);
    (void)bench_reserve(sk, n++);
    atomic_fetch_add(&board->ready, 1);
    while (!atomic_load(&board->go)) {
        (void)sched_yield();
    }
    while (!atomic_load_explicit(&board->stop, memory_order_relaxed) &&
           n - first < most) {
        const int rc = bench_reserve(sk, n++);

        if (rc == SECKILL_OK) {
            atomic_fetch_add_explicit(&c->done, 1, memory_order_relaxed);
        } else if (rc == SECKILL_EBUSY) {
            atomic_fetch_add_explicit(&c->busy, 1, memory_order_relaxed);
        } else {
            bench_must(rc, SECKILL_OK, "reserve");
        }
    }
    while (!atomic_load(&board->stop)) {
        (void)sched_yield();
    }
}

static pid_t begin(seckill_t *sk, int who, uint32_t first, uint32_t most)
{
    const pid_t pid = fork();

    if (pid < 0) {
        fail("fork");
    }
    if (pid == 0) {
        loop(sk, who, first, most);
        _exit(0);
    }
    return pid;
}

static void await(pid_t pid)
{
    int status;

    if (waitpid(pid, &status, 0) != pid) {
        fail("waitpid");
    }
    if (!WIFSIGNALED(status) && status != 0) {
        fprintf(stderr, "two_bench: a process failed\n");
        exit(1);
    }
}

/* Calls per second of `count` processes; the least share into *share. */
static double turn(const char *name, int count, double *share)
{
    seckill_t *sk = bench_open(name, ROWS, NULL, 0);
    uint64_t total = 0, least = UINT64_MAX;
    pid_t pids[PROCESSES];
    int64_t start, ns;

    bench_put(sk, 1LL << 40);
    memset(board, 0, sizeof(*board));
    for (int i = 0; i < count; i++) {
        pids[i] = begin(sk, i, (uint32_t)i * PER_PROCESS, ROWS);
    }
    while (atomic_load(&board->ready) < count) {
        (void)usleep(100);
    }
    start = skl_clock_mono_ns();
    atomic_store(&board->go, 1);
    (void)usleep(TURN_MS * 1000);
    atomic_store(&board->stop, 1);
    ns = skl_clock_mono_ns() - start;
    for (int i = 0; i < count; i++) {
        const uint64_t done = atomic_load(&board->counts[i].done);

        await(pids[i]);
        total += done;
        least = done < least ? done : least;
    }
    *share = (double)least / (double)(total > 0 ? total : 1);
    bench_close(sk, name);
    return 1e9 * (double)total / (double)ns;
}

static void bench_two(const char *name)
{
    double share;

    bench_emit("processes_one", turn(name, 1, &share), "1/s");
    bench_emit("processes_two", turn(name, 2, &share), "1/s");
    bench_emit("processes_share", share, "");
}

/* ---- Repair -------------------------------------------------------------- */

static uint64_t repairs(seckill_t *sk)
{
    static int at = -1; /* the counter, once it is found */
    const char *name = NULL;
    uint64_t value = 0;

    if (at >= 0) {
        bench_must(seckill_counter_at(sk, at, &name, &value), SECKILL_OK,
                   "counter");
        return value;
    }
    for (int i = 0; seckill_counter_at(sk, i, &name, &value) == SECKILL_OK;
         i++) {
        if (strstr(name, "lock_repairs") != NULL) {
            at = i;
            return value;
        }
    }
    fprintf(stderr, "two_bench: no counter of repairs\n");
    exit(1);
}

/* Kill a process at some moment; the time from then to the answer of the call
 * that repaired, in ms, or -1: it held no lock. A kernel that is busy may take
 * longer to end the process than a call waits: then it is tried again. */
static double kill_once(seckill_t *sk, uint32_t n)
{
    const uint64_t before = repairs(sk);
    pid_t pid;
    int64_t start, ns;
    int rc;

    memset(board, 0, sizeof(*board));
    atomic_store(&board->go, 1);
    pid = begin(sk, 1, PER_PROCESS + n, CALLS);
    while (atomic_load(&board->counts[1].done) < 200 + n % 97) {
        (void)usleep(50);
    }
    start = skl_clock_mono_ns();
    (void)kill(pid, SIGKILL);
    do {
        rc = bench_reserve(sk, n++);
        ns = skl_clock_mono_ns() - start;
    } while (rc == SECKILL_EBUSY ||
             (repairs(sk) == before && ns < 5 * SKL_NS_PER_MS));
    bench_must(rc, SECKILL_OK, "reserve");
    await(pid);
    return repairs(sk) != before ? (double)ns / 1e6 : -1;
}

static void bench_repair(const char *name)
{
    seckill_t *sk = bench_open(name, ROWS, NULL, 0);
    double ms[KILLS];
    int count = 0;

    bench_put(sk, 1LL << 40);
    to_core(0);
    for (uint32_t i = 0; i < KILLS; i++) {
        const double one = kill_once(sk, i * 4096);

        if (one >= 0) {
            ms[count++] = one;
        }
    }
    if (count < REPAIRS_MIN) {
        fprintf(stderr, "two_bench: only %d repairs\n", count);
        exit(1);
    }
    bench_emit("repair_p50", bench_quantile(ms, count, 0.5), "ms");
    bench_emit("repair_p99", bench_quantile(ms, count, 0.99), "ms");
    bench_emit("repairs", count, "");
    bench_close(sk, name);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "bench-two";

    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED) {
        fail("mmap");
    }
    bench_two(name);
    bench_repair(name);
    return 0;
}

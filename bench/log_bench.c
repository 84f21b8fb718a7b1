/*
 * Figures of the log through the C API: one process, one hot item, every
 * request id and every user new.
 *
 *   usage: log_bench NAME DIRECTORY
 *
 * DIRECTORY is on a real disk; each figure makes a ledger in it and removes it.
 * The same calls in memory, at async and at sync take turns in one run, so that
 * their ratios mean something where the absolute figures do not. At sync a
 * call is complete when the durable LSN has reached its record; a caller has a
 * fixed number of calls outstanding.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ROWS = 1 << 19,
    RESERVES = 400000,
    FEW = 50,
    MANY = 4000,
    SYNC_FEW = 100000,
    SYNCS = 400,
    BLOCK = 4096,
    FILE_BLOCKS = 1024
};

static const char *name, *dir;

static void fail(const char *what)
{
    fprintf(stderr, "log_bench: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- The disk ------------------------------------------------------------ */

/* fdatasync after 4 KiB were overwritten in a file full of zeros. */
static void bench_disk(void)
{
    static char block[BLOCK];
    double us[SYNCS];
    char path[512];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/disk", dir);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0) {
        fail(path);
    }
    for (int i = 0; i < FILE_BLOCKS; i++) {
        if (pwrite(fd, block, BLOCK, (off_t)i * BLOCK) != BLOCK) {
            fail("pwrite");
        }
    }
    (void)fsync(fd);
    for (int i = 0; i < SYNCS; i++) {
        int64_t start;

        memset(block, i, sizeof(block));
        if (pwrite(fd, block, BLOCK, (off_t)(i % FILE_BLOCKS) * BLOCK) < 0) {
            fail("pwrite");
        }
        start = skl_clock_mono_ns();
        if (fdatasync(fd) != 0) {
            fail("fdatasync");
        }
        us[i] = (double)(skl_clock_mono_ns() - start) / 1e3;
    }
    (void)close(fd);
    (void)unlink(path);
    bench_emit("fdatasync_p50", bench_quantile(us, SYNCS, 0.5), "us");
    bench_emit("fdatasync_p99", bench_quantile(us, SYNCS, 0.99), "us");
}

/* ---- Ledgers ------------------------------------------------------------- */

static seckill_t *begin(uint32_t durability)
{
    char path[512], err[256];
    seckill_t *sk;

    (void)snprintf(path, sizeof(path), "%s/ledger", dir);
    sk = bench_open(name, ROWS, durability != 0 ? path : NULL, durability);
    bench_must(seckill_start(sk, err, sizeof(err)), SECKILL_OK, "start");
    bench_put(sk, 1LL << 40);
    return sk;
}

static void end(seckill_t *sk)
{
    char command[600];

    bench_close(sk, name);
    (void)snprintf(command, sizeof(command), "rm -rf '%s/ledger'", dir);
    if (system(command) != 0) {
        fail("rm");
    }
}

/* Answered when the record is in memory. `busy`: the log lags or is full, and
 * the call is tried again. */
static void bench_plain(const char *figure, const char *busy_figure,
                        uint32_t durability)
{
    seckill_t *sk = begin(durability);
    const int64_t start = skl_clock_mono_ns();
    int64_t busy = 0;

    for (uint32_t n = 0; n < RESERVES; n++) {
        int rc = bench_reserve(sk, n);

        while (rc == SECKILL_EBUSY && durability != 0) {
            busy++;
            (void)sched_yield();
            rc = bench_reserve(sk, n);
        }
        bench_must(rc, SECKILL_OK, "reserve");
    }
    bench_emit(figure, 1e9 * RESERVES / (double)(skl_clock_mono_ns() - start),
               "1/s");
    if (busy_figure != NULL) {
        bench_emit(busy_figure, (double)busy, "");
    }
    end(sk);
}

/* Wait until the oldest outstanding call is durable. */
static void await(seckill_t *sk, uint64_t lsn)
{
    if (seckill_durable(sk) < lsn) {
        bench_must(seckill_sync_wait(sk, lsn, 5 * SKL_NS_PER_SEC), SECKILL_OK,
                   "sync_wait");
    }
}

/* `window` calls are outstanding; LSNs ascend, so the oldest is done first. */
static void bench_sync(const char *figure, uint32_t window, uint32_t count)
{
    static uint64_t lsns[MANY];
    seckill_t *sk = begin(SECKILL_SYNC);
    const int64_t start = skl_clock_mono_ns();

    for (uint32_t n = 0; n < count + window; n++) {
        if (n >= window) {
            await(sk, lsns[n % window]);
        }
        if (n < count) {
            bench_must(bench_reserve(sk, n), SECKILL_OK, "reserve");
            lsns[n % window] = seckill_answer_lsn();
        }
    }
    bench_emit(figure, 1e9 * count / (double)(skl_clock_mono_ns() - start),
               "1/s");
    end(sk);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: log_bench NAME DIRECTORY\n");
        return 2;
    }
    name = argv[1];
    dir = argv[2];
    bench_disk();
    bench_plain("log_none", NULL, 0);
    bench_plain("log_async", "log_async_busy", SECKILL_ASYNC);
    bench_sync("log_sync_many", MANY, RESERVES);
    bench_sync("log_sync_few", FEW, SYNC_FEW);
    return 0;
}

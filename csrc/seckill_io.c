/*
 * Threads and completions of the public API: gives the io layer what it calls
 * back (sweeping, the check of the log, the clock).
 *
 * The flush thread of a memory-only engine reads the log as a writer of a file
 * would, and verifies the checksum of each record: `log_corrupt` says that
 * memory was damaged. How far it came is in the segment; a record that was
 * overwritten before its turn is counted as `log_skipped`.
 */
#include "base/os.h"
#include "seckill.h"
#include "seckill_internal.h"

#include <stdio.h>

enum { CHECK_MAX = 1024 };

static int64_t now(void *ctx)
{
    return seckill_now(ctx);
}

static int sweep(void *ctx, int max)
{
    return seckill_sweep(ctx, max);
}

static int check_record(skl_ring_t *ring, uint64_t lsn)
{
    skl_record_t r;

    if (!skl_ring_read(ring, lsn, &r)) {
        return SKL_EV_log_skipped;
    }
    return r.crc == skl_rec_crc(&r, skl_rec_crc_body(&r)) ? SKL_EV_log_checked
                                                          : SKL_EV_log_corrupt;
}

/* One step: how many records. */
static int check_log(void *ctx, int has_role)
{
    seckill_t *sk = ctx;
    skl_ring_t *ring = &sk->stock.ring;
    _Atomic uint64_t *cursor = &sk->lists.shm->checked_lsn;
    uint64_t tail = skl_ring_tail(ring), head = skl_ring_head(ring);
    uint64_t next = atomic_load(cursor) + 1;
    int n = 0;

    if (!has_role) {
        return 0;
    }
    if (next < head) {
        skl_count(&sk->counters, SKL_EV_log_skipped, head - next);
        next = head;
    }
    for (; n < CHECK_MAX && next <= tail; n++, next++) {
        skl_count(&sk->counters, check_record(ring, next), 1);
    }
    atomic_store(cursor, next - 1);
    return n == CHECK_MAX;
}

static int write_log(void *sk, int has_role)
{
    return seckill_log_step(sk, has_role);
}

static void wait_log(void *sk, int has_role)
{
    seckill_log_wait(sk, has_role);
}

static void tick(void *ctx, int64_t mono_now)
{
    seckill_t *sk = ctx;

    seckill_sample_cpu(sk, mono_now);
    if (sk->log.writer.shm != NULL) {
        seckill_log_tick(sk, mono_now);
    }
}

static void leave_log(void *sk)
{
    seckill_log_leave_role(sk);
}

static void wake_log(void *sk)
{
    seckill_log_wake(sk);
}

int seckill_start(seckill_t *sk, char *err, size_t err_size)
{
    const int has_log = sk->log.writer.shm != NULL;
    const skl_io_config_t config = {
        .segment = &sk->segment,
        .lists = &sk->lists,
        .counters = &sk->counters,
        .ctx = sk,
        .sweep = sweep,
        .flush = has_log ? write_log : check_log,
        .tick = tick,
        .leave = has_log ? leave_log : NULL,
        .flush_wait = has_log ? wait_log : NULL,
        .flush_wake = has_log ? wake_log : NULL,
        .dir = skl_engine_dir(sk),
        .now = now,
    };

    if (err_size > 0) {
        err[0] = '\0';
    }
    seckill_refresh_process(sk);
    if (has_log && seckill_log_writable(sk, err, err_size) != SECKILL_OK) {
        return SECKILL_EIO;
    }
    /* In a thread that lives as long as the process, see processes.h. */
    (void)skl_processes_mine(&sk->processes);
    /* fork() does not pass on the page tables of a shared mapping. */
    skl_os_populate(sk->segment.header, sk->segment.header->bytes);
    return skl_io_start(&sk->io, &config, err, err_size);
}

void seckill_stop(seckill_t *sk)
{
    skl_io_stop(sk->io);
}

const char *seckill_wake_path(seckill_t *sk)
{
    return skl_io_wake_path(sk->io);
}

int seckill_cq_pop(seckill_t *sk, seckill_event_t *events, int max)
{
    return skl_io_pop(sk->io, events, max);
}

void seckill_cq_rearm(seckill_t *sk)
{
    skl_io_rearm(sk->io);
}

int seckill_cq_wait(seckill_t *sk, int timeout_ms)
{
    return skl_io_wait(sk->io, timeout_ms);
}

/*
 * The log of an engine: what the flush thread runs, waiting until an LSN is
 * durable, and numbers. See seckill_log.h.
 *
 * Threads: step, wait: the flush thread; the public functions any.
 */
#include "seckill_log.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/os.h"
#include "seckill_internal.h"

#include <stdio.h>
#include <string.h>

#define WAIT_ACTIVE_NS (10 * SKL_NS_PER_MS)
#define WAIT_QUIET_NS (50 * SKL_NS_PER_MS)
#define QUIET_AFTER_NS SKL_NS_PER_SEC
#define TAKEOVER_NS (2 * SKL_NS_PER_MS)
#define WAIT_IDLE_NS (100 * SKL_NS_PER_MS)

enum {
    NUDGE_PART = 64, /* of the ring's units */
    FLUSHES = 64     /* batches in one step of a program without threads */
};

/* ---- The flush thread ---------------------------------------------------- */

/* The event loop of this process waits for a step: tell it. */
static void notify(seckill_t *sk)
{
    const uint64_t durable = skl_wal_durable(&sk->stock.ring);

    if (durable != sk->log.notified && atomic_exchange(&sk->log.asked, 0)) {
        sk->log.notified = durable;
        skl_io_poke(sk->io);
    }
}

int seckill_log_step(seckill_t *sk, int has_role)
{
    skl_wal_shm_t *shm = sk->log.writer.shm;
    int n;

    /* A call that comes after this look moves the word: no wait then. */
    sk->log.flush_seen = atomic_load(&shm->flush_word);
    sk->log.durable_seen = atomic_load(&shm->durable_word);
    n = has_role ? skl_wal_flush(&sk->log.writer) : 0;
    notify(sk);
    return n;
}

static int64_t wait_of_flusher(const seckill_t *sk)
{
    const skl_wal_shm_t *shm = sk->log.writer.shm;
    const int64_t quiet = skl_clock_mono_ns() - atomic_load(&shm->quiet_since);

    return quiet > QUIET_AFTER_NS ? WAIT_QUIET_NS : WAIT_ACTIVE_NS;
}

void seckill_log_wait(seckill_t *sk, int has_role)
{
    skl_wal_shm_t *shm = sk->log.writer.shm;
    const int behind =
        skl_ring_tail(&sk->stock.ring) > skl_wal_durable(&sk->stock.ring);

    if (has_role) {
        atomic_store(&shm->idle, 1);
        skl_os_futex_wait(&shm->flush_word, sk->log.flush_seen,
                          wait_of_flusher(sk));
        atomic_store(&shm->idle, 0);
        return;
    }
    if (atomic_load(&sk->log.asked)) {
        atomic_store(&shm->waiting, 1);
    }
    /* Who holds the role may have died: with records waiting look soon. */
    skl_os_futex_wait(&shm->durable_word, sk->log.durable_seen,
                      behind ? TAKEOVER_NS : WAIT_IDLE_NS);
}

void seckill_log_wake(seckill_t *sk)
{
    skl_wal_shm_t *shm = sk->log.writer.shm;

    atomic_fetch_add(&shm->flush_word, 1);
    atomic_fetch_add(&shm->durable_word, 1);
    skl_os_futex_wake(&shm->flush_word);
    skl_os_futex_wake(&shm->durable_word);
}

void seckill_log_nudge(seckill_t *sk)
{
    skl_wal_shm_t *shm = sk->log.writer.shm;
    const skl_ring_t *ring = &sk->stock.ring;

    if (shm != NULL && atomic_load_explicit(&shm->idle, memory_order_relaxed) &&
        skl_ring_tail(ring) - skl_wal_durable(ring) >
            ring->shm->units / NUDGE_PART) {
        skl_wal_wake_flusher(shm);
    }
}

/* ---- Public -------------------------------------------------------------- */

uint64_t seckill_answer_lsn(void)
{
    return skl_answer_lsn();
}

/* With a dir, also after the last close: the segment stays mapped and says so,
 * the log is gone. */
static int is_logged(const seckill_t *sk)
{
#ifdef MUTANT_CLOSED_IS_DURABLE
    return seckill_has_log(sk);
#else
    return sk->segment.header->config.durability != 0;
#endif
}

uint64_t seckill_durable(seckill_t *sk)
{
    return is_logged(sk) ? skl_wal_durable(&sk->stock.ring) : seckill_lsn(sk);
}

int seckill_durability(seckill_t *sk)
{
    return seckill_has_log(sk) ? (int)sk->log.writer.shm->durability : 0;
}

int seckill_sync_ask(seckill_t *sk, uint64_t lsn)
{
    skl_wal_shm_t *shm = sk->log.writer.shm;

    if (!is_logged(sk) || seckill_durable(sk) >= lsn) {
        return SECKILL_OK;
    }
    if (!seckill_has_log(sk)) {
        return SECKILL_ECLOSED;
    }
    if (!skl_io_running(sk->io)) {
        return SECKILL_ENOTSTARTEDTHREADS;
    }
    atomic_store(&sk->log.asked, 1);
    atomic_store(&shm->waiting, 1);
    skl_wal_wake_flusher(shm);
    return seckill_durable(sk) >= lsn ? SECKILL_OK : SECKILL_EPENDING;
}

/* Write here what no other process writes: 1 after a step, 0: somebody else
 * has the role. */
static int flush_here(seckill_t *sk)
{
    skl_lock_t *role = &sk->lists.shm->roles[SKL_ROLE_FLUSHER];

    if (skl_lock_try(role, NULL, NULL) != SECKILL_OK) {
        return 0;
    }
    (void)skl_wal_flush(&sk->log.writer);
    skl_lock_release(role);
    return 1;
}

void seckill_log_flush_here(seckill_t *sk)
{
    if (!seckill_has_log(sk) || skl_io_running(sk->io)) {
        return;
    }
    for (int i = 0; i < FLUSHES && flush_here(sk); i++) {
        if (seckill_durable(sk) == seckill_lsn(sk)) {
            break;
        }
    }
}

int seckill_sync_wait(seckill_t *sk, uint64_t lsn, int64_t timeout_ns)
{
    const int64_t end = skl_clock_mono_ns() + timeout_ns;
    skl_wal_shm_t *shm = sk->log.writer.shm;

    if (!is_logged(sk)) {
        return SECKILL_OK;
    }
    if (!seckill_has_log(sk)) {
        return seckill_durable(sk) >= lsn ? SECKILL_OK : SECKILL_ECLOSED;
    }
    for (;;) {
        const uint32_t seen = atomic_load(&shm->durable_word);
        int64_t left = end - skl_clock_mono_ns();

        if (seckill_durable(sk) >= lsn) {
            return SECKILL_OK;
        }
        if (left <= 0) {
            return SECKILL_EPENDING;
        }
        atomic_store(&shm->waiting, 1);
        skl_wal_wake_flusher(shm);
        if (!skl_io_running(sk->io) && flush_here(sk) &&
            seckill_durable(sk) >= lsn) {
            return SECKILL_OK;
        }
        left = left < TAKEOVER_NS ? left : TAKEOVER_NS;
        skl_os_futex_wait(&shm->durable_word, seen, left);
    }
}

/* ---- Numbers ------------------------------------------------------------- */

static int64_t lag_of(const seckill_t *sk, int64_t now)
{
    skl_record_t r;
    const skl_ring_t *ring = &sk->stock.ring;

    if (!skl_ring_read((skl_ring_t *)(uintptr_t)ring, skl_wal_durable(ring) + 1,
                       &r) ||
        r.time > now) {
        return 0;
    }
    return now - r.time;
}

typedef struct {
    skl_fs_t *fs;
    seckill_log_stats_t *out;
} files_t;

static void see_snapshot(void *arg, const char *name)
{
    files_t *f = arg;
    uint64_t lsn;
    int64_t size;
    int fd;

    if (!skl_wal_parse_name(name, "snap.", &lsn)) {
        return;
    }
    if (lsn > f->out->snapshot_lsn) {
        f->out->snapshot_lsn = lsn;
    }
    fd = f->fs->open(f->fs, name, SKL_FS_READ);
    if (fd >= 0) {
        size = f->fs->size(f->fs, fd);
        f->out->bytes += size > 0 ? (uint64_t)size : 0;
        (void)f->fs->close(f->fs, fd);
    }
}

/* By names and headers: seckill_dir_stats() looks into the snapshots, too. */
static int count_files(seckill_t *sk, seckill_log_stats_t *out)
{
    files_t f = {sk->log.dir.fs, out};
    skl_wal_segments_t s;
    char err[160];
    int rc = skl_wal_scan(f.fs, sk->log.writer.shm->uuid, &s, err, sizeof(err));

    if (rc != SECKILL_OK) {
        return rc;
    }
    out->first_lsn = s.count > 0 ? s.list[0].first_lsn : 0;
    out->segments = s.count;
    out->free_segments = s.free_count;
    out->bytes = s.bytes;
    skl_wal_scan_free(&s);
    return f.fs->list(f.fs, see_snapshot, &f) < 0 ? SECKILL_EIO : SECKILL_OK;
}

int seckill_log_stats(seckill_t *sk, seckill_log_stats_t *out)
{
    const skl_wal_shm_t *shm = sk->log.writer.shm;

    memset(out, 0, sizeof(*out));
    if (!seckill_has_log(sk)) {
        return SECKILL_ENOTFOUND;
    }
    out->state = atomic_load(&shm->state);
    out->incarnation = shm->incarnation;
    out->lsn = seckill_lsn(sk);
    out->durable = seckill_durable(sk);
    out->lag_ns = lag_of(sk, seckill_now(sk));
    out->max_bytes = shm->max_bytes;
    out->batches = atomic_load(&shm->batches);
    out->records = atomic_load(&shm->records);
    out->sync_ns = atomic_load(&shm->sync_ns);
    out->failures = atomic_load(&shm->failures);
    out->snapshots = atomic_load(&shm->snapshots);
    out->snapshot_failures = atomic_load(&shm->snapshot_failures);
    skl_wal_text_get(&shm->snapshot_error, out->snapshot_error);
    skl_identity_text(shm->uuid, out->uuid);
    (void)snprintf(out->dir, sizeof(out->dir), "%s", shm->dir);
    if (out->state != SECKILL_LOG_OK) {
        skl_wal_text_get(&shm->error, out->error);
    }
    return count_files(sk, out);
}

const char *skl_engine_dir(seckill_t *sk)
{
    return seckill_has_log(sk) ? sk->log.writer.shm->dir : "";
}

/*
 * The log of an engine: what the sweeper's process does for it. See
 * seckill_log.h.
 *
 * Items under quarantine are rebuilt from the log; when enough segments are
 * full, or the log is at its limit, a child process builds a snapshot.
 *
 * Threads: the io thread of the process that has the sweeper's role.
 */
#include "seckill_log.h"

#include "base/assert.h"
#include "base/clock.h"
#include "io/recover.h"
#include "seckill_internal.h"
#include "stock/rebuild.h"

#include <stdio.h>
#include <string.h>

#define SYNC_NS SKL_NS_PER_SEC
#define SNAPSHOT_FULL_NS SKL_NS_PER_SEC
#define SNAPSHOT_RETRY_NS (5 * SKL_NS_PER_SEC)

enum { SEGMENTS_PER_SNAPSHOT = 4, ITEMS_AT_ONCE = 64 };

/* ---- Items under quarantine ---------------------------------------------- */

/* All that the log says up to a durable LSN, in private tables. */
static int replay_privately(seckill_t *sk, uint64_t lsn, skl_tables_t *t)
{
    const skl_identity_t *id = &sk->log.identity;
    skl_replay_t *replay;
    char err[200];
    int rc =
        skl_replay_begin(sk->log.dir.fs, id, t, 0, &replay, err, sizeof(err));

    if (rc != SECKILL_OK) {
        return rc;
    }
    do {
        rc = skl_replay_step(replay, lsn, UINT64_MAX, err, sizeof(err));
    } while (rc == 1);
    skl_replay_end(replay);
    return rc;
}

/* The items that are under quarantine now: nobody changes them, so all their
 * records are there. One that comes later may have sold on meanwhile. */
static uint32_t note_quarantined(const seckill_t *sk, uint32_t *slots)
{
    uint32_t slot = 0, n = 0;

    while (n < ITEMS_AT_ONCE && skl_next_quarantined(&sk->stock, &slot)) {
        slots[n++] = slot++;
    }
    return n;
}

int seckill_log_rebuild(seckill_t *sk)
{
    uint32_t slots[ITEMS_AT_ONCE];
    const uint32_t count =
        seckill_has_log(sk) ? note_quarantined(sk, slots) : 0;
    const uint64_t lsn = seckill_lsn(sk);
    skl_tables_t truth;
    int n = 0, rc;

    if (count == 0) {
        return 0;
    }
    rc = seckill_sync_wait(sk, lsn, SYNC_NS);
    rc = rc == SECKILL_OK ? skl_tables_new(&sk->log.identity, &truth) : rc;
    if (rc != SECKILL_OK) {
        return rc;
    }
    rc = replay_privately(sk, lsn, &truth);
    for (uint32_t i = 0; rc == SECKILL_OK && i < count; i++) {
        n += skl_rebuild_item(&sk->stock, slots[i], &truth) == SECKILL_OK;
    }
    skl_tables_free(&truth);
    return rc == SECKILL_OK ? n : rc;
}

/* ---- Snapshots ----------------------------------------------------------- */

/* The log is at its limit, or nearly: for as long as it is, look again whether
 * a consumer has moved on. */
static int is_full(const seckill_t *sk)
{
    return atomic_load(&sk->stock.ring.shm->refuse) &&
           atomic_load(&sk->log.writer.shm->state) != SECKILL_LOG_FAILING;
}

static void end_child(seckill_t *sk, int64_t mono_now)
{
    skl_wal_shm_t *shm = sk->log.writer.shm;
    char text[160] = "", why[SKL_WAL_TEXT];
    int rc;

    if (!skl_snapshot_child_poll(&sk->log.child, mono_now, &rc, text,
                                 sizeof(text))) {
        return;
    }
    if (rc == SECKILL_OK || rc == SECKILL_ENOTFOUND) {
        atomic_store(&shm->snapshot_seq, sk->log.child_seq);
        atomic_fetch_add(&shm->snapshots, rc == SECKILL_OK);
        skl_wal_text_set(&shm->snapshot_error, "");
        sk->log.child_at = 0;
        sk->log.recycle_at = mono_now + SNAPSHOT_FULL_NS;
    } else {
        (void)snprintf(why, sizeof(why), "%.40s: %.110s", seckill_errname(rc),
                       text);
        skl_wal_text_set(&shm->snapshot_error, why);
        atomic_fetch_add(&shm->snapshot_failures, rc != SECKILL_ELOCKED);
        sk->log.child_at =
            mono_now + (is_full(sk) ? SNAPSHOT_FULL_NS : SNAPSHOT_RETRY_NS);
    }
}

/* Often enough that two fit into half of a log of few segments. */
static uint64_t segments_per_snapshot(const skl_wal_shm_t *shm)
{
    const uint64_t quarter = shm->max_bytes / shm->segment_bytes / 4;

    return quarter < SEGMENTS_PER_SNAPSHOT ? quarter : SEGMENTS_PER_SNAPSHOT;
}

/* Enough full segments since the last one; or the log is full. */
static int wants_snapshot(const seckill_t *sk, int64_t mono_now)
{
    const skl_wal_shm_t *shm = sk->log.writer.shm;
    const uint64_t seq = atomic_load(&shm->last_seq);
    const uint64_t done = atomic_load(&shm->snapshot_seq);
    const uint64_t full = seq > 0 ? seq - 1 : 0;

    return full >= done + segments_per_snapshot(shm) ||
           (is_full(sk) && (full > done || mono_now >= sk->log.recycle_at));
}

void seckill_log_tick(seckill_t *sk, int64_t mono_now)
{
    seckill_log_t *log = &sk->log;

    if (mono_now >= log->rebuild_at && seckill_log_rebuild(sk) != 0) {
        log->rebuild_at = mono_now + SNAPSHOT_RETRY_NS;
    }
    if (log->child.pid != 0) {
        end_child(sk, mono_now);
    } else if (mono_now >= log->child_at && wants_snapshot(sk, mono_now)) {
        const uint64_t seq = atomic_load(&log->writer.shm->last_seq);

        log->child_seq = seq > 0 ? seq - 1 : 0;
        if (skl_snapshot_child_start(&log->child, log->path, is_full(sk),
                                     mono_now) != SECKILL_OK) {
            log->child_at = mono_now + SNAPSHOT_RETRY_NS;
        }
    }
}

void seckill_log_leave_role(seckill_t *sk)
{
    skl_snapshot_child_kill(&sk->log.child);
}

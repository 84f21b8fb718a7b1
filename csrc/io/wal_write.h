/*
 * Writing the log: group commit from the ring into segments (io/wal.h).
 *
 * One step (skl_wal_flush) takes the records behind the durable LSN out of the
 * ring, at most one batch, writes it, syncs it, and only then moves the durable
 * LSN (ring.flushed) and wakes those who wait. There is no delay: a batch is
 * what came during the sync before it.
 *
 * Where writing goes on (segment, offset) is in the shared segment, so that the
 * next holder of the flusher role continues. `syncing` is set around every
 * write and sync: who finds it set after a takeover cannot know whether the
 * kernel has reported a failure to the dead writer, and begins a new segment.
 *
 * Failures. Nothing is ever synced twice: after a failed write or sync the file
 * is given up and the next step begins a new one, with everything that is not
 * durable; when that fails too, again every second (state FAILING). No space,
 * or max_bytes reached: state FULL, tried again every 100 ms; on a full disk a
 * free.<seq> that is large enough is gone on with at once. While the state is
 * not OK, or when only half a segment is left under max_bytes, ring.refuse
 * makes reserve answer SECKILL_EBUSY; the other operations go on while the
 * ring has room.
 *
 * Threads: skl_wal_flush and skl_wal_begin_segment only by the holder of the
 * flusher role, or by the opener that is alone; the rest any.
 */
#ifndef SKL_IO_WAL_WRITE_H
#define SKL_IO_WAL_WRITE_H

#include "io/wal.h"
#include "io/wal_read.h"
#include "shm/counters.h"
#include "stock/ring.h"
#include "stock/tables.h"

#include <stdatomic.h>

enum { SKL_WAL_DIR = 200, SKL_WAL_TEXT = 160 };

/* A text that one process writes and others read meanwhile: words, each of
 * them whole. The last byte is always 0. */
typedef struct {
    _Atomic uint64_t words[SKL_WAL_TEXT / 8];
} skl_wal_text_t;

/* The section in the segment; zeroed where there is no dir. */
typedef struct {
    char dir[SKL_WAL_DIR]; /* "": memory only */
    uint8_t uuid[16];
    uint32_t incarnation, nonce; /* of the life that writes it */
    uint32_t durability; /* default of the engine: SECKILL_ASYNC, SYNC */
    uint64_t segment_bytes, max_bytes;
    char boot_id[SKL_BOOT_ID];
    /* Where the next batch goes; seq 0: into a new segment. */
    _Alignas(64) _Atomic uint64_t seq;
    _Atomic uint64_t offset, zeroed, salt;
    _Atomic uint32_t syncing;       /* a writer is between write and sync */
    _Atomic uint32_t state;         /* SECKILL_LOG_* */
    _Atomic uint32_t sealed;        /* the last batch is a seal */
    _Atomic uint32_t failed_before; /* the step before failed, too */
    _Atomic int64_t retry_at;       /* mono; not before it after a failure */
    _Atomic int64_t quiet_since;    /* mono; of the last batch with records */
    _Atomic uint64_t last_seq;      /* newest segment, full or not */
    _Atomic uint64_t snapshot_seq;  /* newest segment tried in a snapshot */
    /* Statistics. */
    _Atomic uint64_t batches, records, sync_ns, failures;
    _Atomic uint64_t snapshots, snapshot_failures;
    skl_wal_text_t snapshot_error; /* of the last one; "": it is in place */
    skl_wal_text_t error; /* of the last failure; written by the flusher */
    /* Futex words: moved at each durable step; and when somebody asks. */
    _Alignas(64) _Atomic uint32_t durable_word;
    _Atomic uint32_t waiting; /* processes may wait on durable_word */
    _Alignas(64) _Atomic uint32_t flush_word;
    _Atomic uint32_t idle; /* the flusher waits on flush_word */
} skl_wal_shm_t;

/* out has SKL_WAL_TEXT bytes; a longer text is cut. */
void skl_wal_text_get(const skl_wal_text_t *t, char *out);
void skl_wal_text_set(skl_wal_text_t *t, const char *text);

/* The writer of one process. */
typedef struct {
    skl_wal_shm_t *shm;
    skl_ring_t *ring;
    skl_fs_t *fs;
    char *buffer;      /* one batch */
    uint64_t fd_seq;   /* segment that fd is of */
    uint64_t room_seq; /* segment behind which there is room for another */
    int fd;            /* -1: none */
    int pad;
    /* Clocks: ledger time, and ledger time minus boot time. Tests bring their
     * own. */
    void *ctx;
    int64_t (*ledger_now)(void *ctx);
    int64_t (*clock_offset)(void *ctx);
    int64_t (*mono_now)(void *ctx);
} skl_wal_writer_t;

/* ENOMEM. */
int skl_wal_writer_init(skl_wal_writer_t *w, skl_fs_t *fs, skl_wal_shm_t *shm,
                        skl_ring_t *ring);
/* Also of a writer of zeros. */
void skl_wal_writer_free(skl_wal_writer_t *w);
/* Begin a new segment with the first record that is not durable; `digest` of
 * the tables before it, or 0. OK; a code after a failure (shm->error). */
int skl_wal_begin_segment(skl_wal_writer_t *w, uint64_t digest);
/* The same for an opener: the segment begins with a batch without records, for
 * the clock of this boot must be in the log before time passes. */
int skl_wal_begin_life(skl_wal_writer_t *w, uint64_t digest);
/* For an opener, before the identity is raised and before anything is promised:
 * make sure of what a recovery found. The last batch may be in the cache of the
 * system only, its writer having died before the sync, or after one that failed
 * (then no later sync of that file would help). Unless something behind it says
 * that it is durable, it is written again, into a new segment that appears with
 * it as a whole; shm->incarnation is that of its writer. OK, or as above. */
int skl_wal_repeat_tail(skl_wal_writer_t *w, const skl_wal_end_t *end);
/* One step: records made durable; 0: there were none, or it is not yet time to
 * try again; a code after a failure. */
int skl_wal_flush(skl_wal_writer_t *w);
/* Wake the flusher, if it sleeps. */
void skl_wal_wake_flusher(skl_wal_shm_t *shm);
/* Durable LSN. */
static inline uint64_t skl_wal_durable(const skl_ring_t *ring)
{
    return atomic_load_explicit(&ring->shm->flushed, memory_order_acquire);
}

#endif

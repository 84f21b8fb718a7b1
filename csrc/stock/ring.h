/*
 * The log ring: the newest records, in the segment.
 *
 * A record is published before it is applied. The store to `tail` is the
 * commit point of every change of the ledger: before it nothing happened,
 * after it the change is made, by its own process or by whoever takes over
 * one of its locks (apply.c).
 *
 * start[lsn] is the unit at which a record begins and start[tail + 1] the one
 * at which the next will, both written before tail moves; so a process that
 * dies under the ring lock leaves nothing to repair. pending[lsn] holds the
 * parts that are not applied yet: such a record is never overwritten, nor one
 * that an attached sink has not read.
 *
 * Writers: any process, under the ring lock, the last one in the lock order.
 * Readers: any thread, without a lock; they check afterwards that the record
 * was not overwritten meanwhile.
 */
#ifndef SKL_STOCK_RING_H
#define SKL_STOCK_RING_H

#include "shm/lock.h"
#include "stock/record.h"

#include <stdatomic.h>
#include <stdint.h>

enum { SKL_LIVES_MAX = 1024 };

/* A life of the ledger: the incarnation that ids of its reservations carry. A
 * ledger in memory has one, a ledger on disk one more for each recovery. */
typedef struct {
    uint64_t first_lsn;
    uint32_t incarnation;
    uint32_t nonce; /* random: a directory and a backup of it go on with the
                       same number, but are not the same life */
} skl_life_t;

/* Lines by who writes them: a publisher at each record, the flusher at each
 * batch, nobody. */
typedef struct {
    skl_lock_t lock;
    _Alignas(64) _Atomic uint64_t tail; /* newest published LSN */
    _Atomic uint64_t head;              /* oldest LSN still in the ring */
    _Atomic int64_t last_time;
    _Alignas(64) _Atomic uint64_t flushed; /* newest LSN the sink has read:
                                              durable */
    _Atomic uint32_t refuse; /* the log cannot take more: reserve is busy */
    _Alignas(64) _Atomic uint32_t sink_attached;
    uint32_t units;      /* a power of two */
    int64_t max_lag_ns;  /* 0: no limit. Fixed before sharing */
    uint32_t life_count; /* fixed before the segment is shared */
    uint32_t pad;
    skl_life_t lives[SKL_LIVES_MAX]; /* the newest ones, ascending */
} skl_ring_shm_t;

typedef struct {
    skl_ring_shm_t *shm;
    _Atomic uint64_t *start;
    _Atomic uint32_t *pending;
    unsigned char *units;
    uint32_t mask;
} skl_ring_t;

uint64_t skl_ring_bytes(uint32_t units);
void skl_ring_init(void *section, uint32_t units);
void skl_ring_attach(skl_ring_t *ring, void *section);

/* Give the record its LSN, time (at least `r->time`) and CRC, note it as the
 * intent of the locks held, and commit it. SECKILL_EBUSY: nothing happened. */
int skl_ring_publish(skl_ring_t *ring, skl_record_t *r, skl_lock_t **locks,
                     int count, skl_wait_t *wait);
/* The incarnation in which a record was written; 0: too long ago. */
uint32_t skl_ring_incarnation(const skl_ring_t *ring, uint64_t lsn);
/* Begin a life with the next record. Before the segment is shared. */
void skl_ring_begin_life(skl_ring_t *ring, uint64_t first_lsn,
                         uint32_t incarnation);
/* Does the log lag so far behind, or is it so full, that nothing more should be
 * promised? */
int skl_ring_refuses(const skl_ring_t *ring, int64_t now);
/* A ring without records whose next one follows `last_lsn`. Before sharing. */
void skl_ring_restart(skl_ring_t *ring, uint64_t last_lsn, int64_t last_time);
/* Hint: bring the place of the next record into the cache. */
void skl_ring_fetch_next(const skl_ring_t *ring);
/* All parts are applied. */
void skl_ring_applied(skl_ring_t *ring, uint64_t lsn);
/* One part is applied, by a repair. */
void skl_ring_part_applied(skl_ring_t *ring, uint64_t lsn, uint32_t part);
/* Parts of a record still to apply, or 0 when it left the ring. */
uint32_t skl_ring_pending(skl_ring_t *ring, uint64_t lsn);
/* Copy a record: 1, or 0 when it is not (or no longer) in the ring. */
int skl_ring_read(skl_ring_t *ring, uint64_t lsn, skl_record_t *out);

static inline uint64_t skl_ring_tail(const skl_ring_t *ring)
{
    return atomic_load_explicit(&ring->shm->tail, memory_order_acquire);
}

static inline uint64_t skl_ring_head(const skl_ring_t *ring)
{
    return atomic_load_explicit(&ring->shm->head, memory_order_acquire);
}

#endif

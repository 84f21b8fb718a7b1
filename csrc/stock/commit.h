/*
 * Taking the locks of an operation, and committing its record.
 *
 * A held set starts empty and zeroed, takes locks in the lock order, commits
 * at most as many records as it likes, and is released as a whole. Taking a
 * lock whose holder died repairs its domain first.
 */
#ifndef SKL_STOCK_COMMIT_H
#define SKL_STOCK_COMMIT_H

#include "stock/apply.h"
#include "stock/stock.h"

/* An order of 8 lines: the shard of its id, a user's shard and an item for each
 * line. */
enum { SKL_HELD_MAX = 1 + 2 * SKL_LINES_MAX };

typedef struct {
    skl_stock_t *s;
    skl_wait_t wait;
    skl_lock_t *locks[SKL_HELD_MAX];
    int count;
    int try_only; /* do not wait at all: housekeeping gives way */
    uint64_t lsn; /* of the last record committed; 0: none yet */
} skl_held_t;

/* An empty set, for hot paths: the locks need no zeroing. */
static inline void skl_held_init(skl_held_t *h, skl_stock_t *s)
{
    h->s = s;
    h->wait.deadline_ns = 0;
    h->count = 0;
    h->try_only = 0;
    h->lsn = 0;
}

/* Each: SECKILL_OK or SECKILL_EBUSY; after EBUSY the set is still valid. */
int skl_hold_catalog(skl_held_t *h);
int skl_hold_shard(skl_held_t *h, uint32_t shard);
int skl_hold_shards(skl_held_t *h, uint32_t a, uint32_t b); /* in order */
/* EBUSY also for an item under quarantine; an item that fails its sum is put
 * there (rebuild.h). */
int skl_hold_item(skl_held_t *h, uint32_t item);
/* As it is: to look at it, or to rebuild it. */
int skl_hold_item_any(skl_held_t *h, uint32_t item);
/* The shards of a list, which is sorted and freed of repetitions for that. */
int skl_hold_shard_list(skl_held_t *h, uint32_t *shards, uint32_t count);
/* The answer that was found under these locks is of the last commit; of the
 * newest record when there was none: while they are held nobody else can
 * change what it rests on. */
void skl_release(skl_held_t *h);
/* Release only the lock taken last. */
void skl_release_last(skl_held_t *h);

/* Before something new is promised: OK, or EBUSY when the log lags too far
 * behind or is full. What was promised may still be ended. */
int skl_check_log(skl_stock_t *s, int64_t now);

/* Publish and apply. EBUSY: nothing happened. The parts of the record must be
 * those of locks held. */
int skl_commit(skl_held_t *h, skl_record_t *r, const skl_rec_keys_t *keys);

/* A record of an item: type, parts, and the item's counters as they are. */
void skl_rec_begin(skl_record_t *r, int type, uint32_t parts,
                   const skl_stock_t *s, uint32_t item, int64_t now);

#endif

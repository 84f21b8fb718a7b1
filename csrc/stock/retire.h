/*
 * The life of a request id: a new one gets a row and a place in its shard's
 * queue; when the window has passed the row goes, with its reservation.
 */
#ifndef SKL_STOCK_RETIRE_H
#define SKL_STOCK_RETIRE_H

#include "stock/commit.h"
#include "stock/stock.h"

/* A request id of a call: checked, hashed. */
typedef struct {
    skl_bytes_t id;
    skl_hash_t key;
    uint32_t shard;
    int64_t made_at; /* of timed ids; INT64_MAX for opaque ones */
} skl_new_request_t;

/* SECKILL_OK or EBADREQUEST (its format, or made in the future). */
int skl_new_request(const skl_stock_t *s, skl_bytes_t id, int64_t now,
                    skl_new_request_t *out);
/* Past its window: it must not run, whether it ran before or not. */
int skl_request_too_old(const skl_stock_t *s, const skl_new_request_t *q,
                        int64_t now);
/* Put a free row and the queue position into a record that makes the id live.
 * The shard's lock is held. SECKILL_OK or EFULL. */
int skl_new_request_slot(const skl_stock_t *s, const skl_new_request_t *q,
                         skl_record_t *r);
/* Retire at most `max` ids of a shard whose window has passed. No lock is
 * held. How many, or EBUSY; with try_only nothing is waited for. */
int skl_retire_shard(skl_stock_t *s, uint32_t shard, int64_t now, int max,
                     int try_only);
/* Ids whose window has passed make room: some in this shard, a few of them in
 * every one. 1: there is some. No lock is held. */
int skl_make_room(skl_stock_t *s, uint32_t shard, int64_t now);

#endif

/* The handle of the ledger; see stock.h. */
#include "stock/stock.h"

#include "base/assert.h"

#include <stddef.h>
#include <string.h>

/* Another layout of any shared struct gives another number. */
uint64_t skl_stock_signature(void)
{
    const uint64_t parts[] = {
        sizeof(skl_lock_t),
        sizeof(skl_tables_shm_t),
        sizeof(skl_shard_t),
        sizeof(skl_item_row_t),
        sizeof(skl_request_row_t),
        sizeof(skl_user_row_t),
        sizeof(skl_row_t),
        sizeof(skl_ring_shm_t),
        sizeof(skl_record_t),
        sizeof(skl_leg_t),
        offsetof(skl_item_row_t, name),
        offsetof(skl_row_t, user_id),
        SKL_REC_TYPES,
        SKL_HOLD_LISTS,
    };
    uint64_t sum = 1;

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        sum = skl_mix64(sum + parts[i]);
    }
    return sum;
}

void skl_stock_attach(skl_stock_t *s, void *tables, void *ring,
                      const skl_hash_key_t *key, skl_counters_t *counters)
{
    skl_tables_attach(&s->tables, tables, key);
    skl_ring_attach(&s->ring, ring);
    s->counters = counters;
}

static _Thread_local uint64_t answer_lsn;

uint64_t skl_answer_lsn(void)
{
    return answer_lsn;
}

void skl_set_answer_lsn(uint64_t lsn)
{
    answer_lsn = lsn;
}

static uint32_t live_ids(const skl_tables_t *t, uint32_t shard)
{
    const uint32_t wrap = 2 * t->shm->requests;
    const uint32_t head = SKL_LD(t->shards[shard].fifo_head);
    const uint32_t tail = SKL_LD(t->shards[shard].fifo_tail);

    skl_assert(head < wrap && tail < wrap);
    return (tail + wrap - head) % wrap;
}

/* A reservation row lives as long as its request id; ids of refunds and
 * adjusts have none, so rows are counted. */
static uint64_t live_rows(const skl_tables_t *t)
{
    const uint32_t end = t->shm->shards * t->shm->rows;
    uint64_t n = 0;

    for (uint32_t i = 0; i < end; i++) {
        n += SKL_LD(t->rows[i].lsn) != 0;
    }
    return n;
}

void skl_stock_usage(const skl_stock_t *s, skl_usage_t *out)
{
    const skl_tables_t *t = &s->tables;
    const uint32_t items = SKL_LD(t->shm->high_water);

    memset(out, 0, sizeof(*out));
    for (uint32_t i = 0; i < t->shm->shards; i++) {
        out->requests += live_ids(t, i);
    }
    for (uint32_t i = 0; i < items; i++) {
        out->items += SKL_LD(t->items[i].state) != SKL_ITEM_FREE;
        out->users += SKL_LD(t->items[i].users);
    }
    out->rows = live_rows(t);
}

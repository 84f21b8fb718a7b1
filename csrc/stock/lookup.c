/* See lookup.h. Any thread. */
#include "stock/lookup.h"

#include "base/assert.h"

enum { TRIES = 16 };

static int find_locked(skl_stock_t *s, skl_hash_t key, uint32_t *slot,
                       skl_wait_t *wait)
{
    skl_held_t h = {.s = s, .wait = *wait};
    int rc = skl_hold_catalog(&h);

    *wait = h.wait;
    if (rc != SECKILL_OK) {
        return rc;
    }
    *slot = skl_find_item(&s->tables, key);
    skl_release(&h);
    return *slot == SKL_NONE ? SECKILL_EUNKNOWNITEM : SECKILL_OK;
}

int skl_lookup_item(skl_stock_t *s, skl_hash_t key, uint32_t *slot,
                    skl_wait_t *wait)
{
    _Atomic uint64_t *seq = &s->tables.shm->seq;

    for (int i = 0; i < TRIES; i++) {
        uint64_t before = skl_seq_read(seq);

        *slot = skl_find_item(&s->tables, key);
        if (skl_seq_same(seq, before)) {
            return *slot == SKL_NONE ? SECKILL_EUNKNOWNITEM : SECKILL_OK;
        }
    }
    return find_locked(s, key, slot, wait);
}

void skl_view_item(const skl_item_row_t *item, skl_view_t *v)
{
    skl_assert(item != NULL);
    v->available = SKL_LD(item->available);
    v->earliest = SKL_LD(item->earliest);
    v->last_time = SKL_LD(item->last_time);
    v->starts_at = SKL_LD(item->starts_at);
    v->ends_at = SKL_LD(item->ends_at);
    v->per_user = SKL_LD(item->per_user);
    v->max_qty = SKL_LD(item->max_qty);
    v->state = SKL_LD(item->state);
    v->sound = SKL_LD(item->fault) == 0 && skl_item_is_sound(item);
}

void skl_view_user(const skl_tables_t *t, uint32_t user, skl_view_t *v)
{
    if (user == SKL_NONE) {
        v->user_count = 0;
        v->user_ids = 0;
        return;
    }
    skl_assert(user < t->shm->shards * t->shm->users);
    v->user_count = SKL_LD(t->users[user].count);
    v->user_ids = SKL_LD(t->users[user].ids);
}

static int over_user_limit(const skl_view_t *v, int64_t qty)
{
    /* qty and counts are below 2^53: the sum does not overflow. */
    return (v->per_user > 0 && v->user_count + qty > v->per_user) ||
           v->user_ids >= SKL_IDS_PER_USER;
}

int skl_decide(const skl_view_t *v, int64_t qty, int64_t now)
{
    if (v->starts_at != 0 && now < v->starts_at) {
        return SECKILL_ENOTSTARTED;
    }
    if (v->ends_at != 0 && now >= v->ends_at) {
        return SECKILL_EENDED;
    }
    if (v->state == SECKILL_ITEM_PAUSED) {
        return SECKILL_EPAUSED;
    }
    if (v->max_qty > 0 && qty > v->max_qty) {
        return SECKILL_EQTYLIMIT;
    }
    if (over_user_limit(v, qty)) {
        return SECKILL_EUSERLIMIT;
    }
    return v->available < qty ? SECKILL_ESOLDOUT : SECKILL_OK;
}

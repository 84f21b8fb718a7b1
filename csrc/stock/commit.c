/* See commit.h. Any thread. */
#include "stock/commit.h"

#include "base/assert.h"

#include <stddef.h>
#include <string.h>

/* ---- Repair: what a dead holder of one lock had published ---------------- */

/* The same for a record with legs: several of them may have their user rows in
 * one shard. */
static uint32_t legs_of_lock(const skl_tables_t *t, const skl_record_t *r,
                             const skl_lock_t *lock)
{
    uint32_t parts = 0;

    skl_assert(r->lines.request_shard < t->shm->shards);
    if (lock == &t->shards[r->lines.request_shard].lock) {
        parts = SKL_PART_REQUEST;
    }
    for (uint32_t i = 0; i < r->lines.count; i++) {
        if (lock == &t->items[r->legs[i].item].lock) {
            parts |= SKL_PART_ITEM_LEG(i);
        }
        if (lock == &t->shards[r->legs[i].user_shard].lock) {
#ifdef MUTANT_ORDER_REPAIR_FIRST_USER
            return parts | SKL_PART_USER_LEG(i);
#endif
            parts |= SKL_PART_USER_LEG(i);
        }
    }
    return parts & skl_rec_pending(r);
}

/* The parts of a record that live under this lock. */
static uint32_t parts_of_lock(const skl_stock_t *s, const skl_record_t *r,
                              const skl_lock_t *lock)
{
    const skl_tables_t *t = &s->tables;
    uint32_t parts = 0;

    if (skl_rec_is_order(r)) {
        return legs_of_lock(t, r, lock);
    }
    if (lock == &t->shm->lock) {
        parts = SKL_PART_CATALOG;
    } else if (lock == &t->items[r->item].lock) {
        parts = SKL_PART_ITEM;
    } else {
        if ((r->parts & SKL_PART_REQUEST) &&
            lock == &t->shards[r->order.request_shard].lock) {
            parts |= SKL_PART_REQUEST;
        }
        if ((r->parts & SKL_PART_USER) &&
            lock == &t->shards[r->order.user_shard].lock) {
            parts |= SKL_PART_USER;
        }
    }
    return parts & r->parts;
}

/* The sequence of a domain stands right behind its lock. */
static _Atomic uint64_t *seq_of(skl_lock_t *lock)
{
    return (_Atomic uint64_t *)(void *)((char *)lock + sizeof(*lock));
}

_Static_assert(offsetof(skl_shard_t, seq) == sizeof(skl_lock_t), "seq_of");
_Static_assert(offsetof(skl_item_row_t, seq) == sizeof(skl_lock_t), "seq_of");
_Static_assert(offsetof(skl_tables_shm_t, seq) == sizeof(skl_lock_t), "seq_of");

/* May die at any instruction, too: then the next one does it again. The intent
 * of a record that was never published is above the tail, or names a record
 * of somebody else, which has no part under this lock. */
static void repair(void *ctx, skl_lock_t *lock)
{
    skl_stock_t *s = ctx;
    const uint64_t lsn = SKL_LD(lock->intent);
    const uint32_t pending = skl_ring_pending(&s->ring, lsn);
    skl_record_t r;

    if (pending != 0 && skl_ring_read(&s->ring, lsn, &r)) {
        uint32_t parts = parts_of_lock(s, &r, lock) & pending;

        if (parts != 0) {
            skl_apply(&s->tables, &r, parts, NULL);
            skl_ring_part_applied(&s->ring, lsn, parts);
        }
    }
    skl_seq_end(seq_of(lock));
    skl_count(s->counters, SKL_EV_lock_repairs, 1);
}

/* ---- Locks --------------------------------------------------------------- */

static int take(skl_held_t *h, skl_lock_t *lock)
{
    int rc;

    skl_assert(h->count < SKL_HELD_MAX);
    if (h->try_only) {
        rc = skl_lock_try(lock, repair, h->s);
    } else {
        rc = skl_lock_acquire(lock, &h->wait, repair, h->s);
    }
    if (rc == SECKILL_OK) {
        h->locks[h->count++] = lock;
    }
    return rc;
}

int skl_hold_catalog(skl_held_t *h)
{
    skl_assert(h->count == 0);
    return take(h, &h->s->tables.shm->lock);
}

int skl_hold_shard(skl_held_t *h, uint32_t shard)
{
    skl_assert(shard < h->s->tables.shm->shards);
    return take(h, &h->s->tables.shards[shard].lock);
}

int skl_hold_shards(skl_held_t *h, uint32_t a, uint32_t b)
{
    int rc = skl_hold_shard(h, a < b ? a : b);

    if (rc == SECKILL_OK && a != b) {
        rc = skl_hold_shard(h, a < b ? b : a);
    }
    return rc;
}

int skl_hold_item(skl_held_t *h, uint32_t item)
{
    skl_item_row_t *row = &h->s->tables.items[item];
    int rc = skl_hold_item_any(h, item);

    if (rc != SECKILL_OK) {
        return rc;
    }
    if (__builtin_expect(SKL_LD(row->fault) == 0 && skl_item_is_sound(row),
                         1)) {
        return SECKILL_OK;
    }
    if (SKL_LD(row->fault) == 0) {
        SKL_ST(row->fault, 1);
        skl_count(h->s->counters, SKL_EV_items_quarantined, 1);
    }
    skl_release_last(h);
    return SECKILL_EBUSY;
}

int skl_hold_item_any(skl_held_t *h, uint32_t item)
{
    skl_assert(item < h->s->tables.shm->items);
    return take(h, &h->s->tables.items[item].lock);
}

int skl_hold_shard_list(skl_held_t *h, uint32_t *shards, uint32_t count)
{
    int rc = SECKILL_OK;

    for (uint32_t i = 1; i < count; i++) { /* a handful: by insertion */
        const uint32_t shard = shards[i];
        uint32_t at = i;

        for (; at > 0 && shards[at - 1] > shard; at--) {
            shards[at] = shards[at - 1];
        }
        shards[at] = shard;
    }
    for (uint32_t i = 0; i < count && rc == SECKILL_OK; i++) {
        if (i == 0 || shards[i] != shards[i - 1]) {
            rc = skl_hold_shard(h, shards[i]);
        }
    }
    return rc;
}

void skl_release_last(skl_held_t *h)
{
    skl_assert(h->count > 0);
    skl_lock_release(h->locks[--h->count]);
}

void skl_release(skl_held_t *h)
{
    if (h->count > 0) {
        skl_set_answer_lsn(h->lsn != 0 ? h->lsn : skl_ring_tail(&h->s->ring));
    }
    while (h->count > 0) {
        skl_release_last(h);
    }
}

int skl_check_log(skl_stock_t *s, int64_t now)
{
    if (!skl_ring_refuses(&s->ring, now)) {
        return SECKILL_OK;
    }
    skl_count(s->counters, SKL_EV_log_refused, 1);
    return SECKILL_EBUSY;
}

/* ---- Commit -------------------------------------------------------------- */

/* Readers without a lock must not take the state between the commit and the
 * end of apply() for a whole one, so the sequences turn odd before it. */
static void mark_dirty(skl_held_t *h)
{
    for (int i = 0; i < h->count; i++) {
        skl_seq_begin(seq_of(h->locks[i]));
    }
}

static void mark_clean(skl_held_t *h)
{
    for (int i = 0; i < h->count; i++) {
        skl_seq_end(seq_of(h->locks[i]));
    }
}

int skl_commit(skl_held_t *h, skl_record_t *r, const skl_rec_keys_t *keys)
{
    skl_ring_t *ring = &h->s->ring;
    int rc;

    skl_assert(h->count > 0);
#ifndef MUTANT_DIRTY_AFTER_PUBLISH
    mark_dirty(h);
#endif
#ifdef MUTANT_APPLY_BEFORE_PUBLISH
    r->lsn = skl_ring_tail(ring) + 1;
    skl_apply(&h->s->tables, r, r->parts, keys);
#endif
    rc = skl_ring_publish(ring, r, h->locks, h->count, &h->wait);
#ifdef MUTANT_DIRTY_AFTER_PUBLISH
    mark_dirty(h);
#endif
    if (rc == SECKILL_OK) {
#ifndef MUTANT_APPLY_BEFORE_PUBLISH
        skl_apply(&h->s->tables, r, r->parts, keys);
#endif
        skl_ring_applied(ring, r->lsn);
        h->lsn = r->lsn;
    }
    mark_clean(h);
    return rc;
}

void skl_rec_begin(skl_record_t *r, int type, uint32_t parts,
                   const skl_stock_t *s, uint32_t item, int64_t now)
{
    const skl_item_row_t *row = &s->tables.items[item];

    memset(r, 0, SKL_UNIT);
    r->type = (uint8_t)type;
    r->parts = (uint8_t)parts;
    r->bytes = SKL_UNIT;
    r->time = now;
    r->item = item;
    r->item_live = SKL_LD(row->live);
    r->item_users = SKL_LD(row->users);
    r->available = SKL_LD(row->available);
    r->reserved = SKL_LD(row->reserved);
    r->sold = SKL_LD(row->sold);
}
